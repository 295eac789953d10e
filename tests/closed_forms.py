"""One linear-Gaussian world, in which every quantity has a closed form."""

from __future__ import annotations

import torch
from torch import nn

from chartae import Autoencoder, Dirac, Gaussian, StandardNormal

SIZE, CODE = 7, 3


def linear(rows: int, columns: int, seed: int) -> nn.Linear:
    """A linear map whose weights are drawn from a seed."""
    layer = nn.Linear(columns, rows)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(rows, columns, generator=g))
        layer.bias.copy_(torch.randn(rows, generator=g))
    return layer


def linear_autoencoder(*, variational: bool = False, sigma: float = 0.5) -> Autoencoder:
    """Encoder A x + a (with ``variational``: its lower half the raw log sigma), decoder N(V z + v, sigma^2 I)."""
    net = linear(2 * CODE if variational else CODE, SIZE, 1)
    encoder = Gaussian(net, "learnt") if variational else Dirac(net)
    return Autoencoder(encoder, Gaussian(linear(SIZE, CODE, 2), sigma), StandardNormal(CODE))


def points(n: int = 11, seed: int = 3) -> torch.Tensor:
    return torch.randn(n, SIZE, generator=torch.Generator().manual_seed(seed))
