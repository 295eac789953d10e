"""The exponential moving average of a module's parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from chartae.maths.private import foreach_copy_, foreach_lerp_

__all__ = ["Average"]


class Average:
    """An exponential moving average of a module's parameters.

    The decay rises to `decay`, `min(decay, (1 + step) / (10 + step))`, so that the initial weights are soon forgotten.

    Args:
        module: the module whose parameters are averaged.
        decay: final decay, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [n for n, _ in module.named_parameters()]
        self.parameters: list[Tensor] = [p for _, p in module.named_parameters()]
        self.shadow = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the averages after step number `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1 - decay)

    def named(self) -> dict[str, Tensor]:
        """The averages, by the names of the parameters."""
        return dict(zip(self.names, self.shadow, strict=True))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the parameters by their averages inside the `with` block."""
        originals = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            foreach_copy_(self.parameters, self.shadow)
        try:
            yield
        finally:
            with torch.no_grad():
                foreach_copy_(self.parameters, originals)
