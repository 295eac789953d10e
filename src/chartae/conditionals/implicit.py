"""Conditionals that are drawn from and never evaluated."""

from __future__ import annotations

from torch import Tensor, nn

from chartae.conditionals.base import Conditional
from chartae.distributions import (
    Pushed,
)

__all__ = ["Implicit"]


class Implicit(Conditional):
    """a = net(c, n), n ~ N(0, I) of so many dimensions beside c: a distribution that is drawn from, never evaluated.

    Both conditionals of an implicit autoencoder (Makhzani, 2018, arXiv 1805.09804). With no noise it is a map.

    Args:
        net: of vectors (B, d + noise_dim), or of images (B, C + noise_dim, H, W), each number of the noise a constant
            channel; whatever its output.
        noise_dim: 0 or more.
        trunk: what c goes through before the noise joins it, such as from an image to a vector (B, d).

    >>> import torch
    >>> Implicit(nn.Linear(5, 7), noise_dim=2)(torch.zeros(4, 3)).sample().shape
    torch.Size([4, 7])
    """

    has_density = False

    def __init__(self, net: nn.Module, noise_dim: int, trunk: nn.Module | None = None) -> None:
        super().__init__()
        if noise_dim < 0:
            raise ValueError(f"noise_dim is {noise_dim}; give 0 or more")
        self.net, self.noise_dim, self.trunk = net, noise_dim, trunk

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Pushed:
        assert c is not None
        return Pushed(self.net, c if self.trunk is None else self.trunk(c), self.noise_dim, condition)

    def extra_repr(self) -> str:
        return f"noise_dim={self.noise_dim}"
