"""Implicit conditionals: they can be sampled, but their density cannot be evaluated."""

from __future__ import annotations

from torch import Tensor, nn

from chartae.conditionals.base import Conditional
from chartae.distributions import (
    Pushed,
)

__all__ = ["Implicit"]


class Implicit(Conditional):
    """An implicit distribution, a = net(c, n) with noise n ~ N(0, I): it can be sampled, but has no density.

    The noise is concatenated to `c` in dimension 1. With ``noise_dim=0`` it is a deterministic map. Encoder and
    decoder of an implicit autoencoder are of this kind: Makhzani, "Implicit Autoencoders", 2018 (arXiv 1805.09804).

    Args:
        net: network that takes vectors (B, d + noise_dim), or images (B, C + noise_dim, H, W) in which each noise
            value fills one constant channel; its output may have any shape.
        noise_dim: number of noise dimensions, >= 0.
        trunk: network applied to `c` before the noise is concatenated, such as one from images to vectors (B, d);
            default None: `c` itself.

    Raises:
        ValueError: `noise_dim` is negative.

    >>> import torch
    >>> from chartae.conditionals import Implicit
    >>> decoder = Implicit(torch.nn.Linear(5, 7), noise_dim=2)
    >>> decoder(torch.zeros(4, 3)).sample().shape
    torch.Size([4, 7])
    """

    has_density = False

    def __init__(self, net: nn.Module, noise_dim: int, trunk: nn.Module | None = None) -> None:
        super().__init__()
        if noise_dim < 0:
            raise ValueError(f"noise_dim is {noise_dim}; expected 0 or more.")
        self.net, self.noise_dim, self.trunk = net, noise_dim, trunk

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Pushed:
        assert c is not None
        return Pushed(self.net, c if self.trunk is None else self.trunk(c), self.noise_dim, condition)

    def extra_repr(self) -> str:
        return f"noise_dim={self.noise_dim}"
