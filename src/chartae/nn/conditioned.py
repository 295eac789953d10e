"""Nets that take a condition: they are called as `net(c, condition)`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.nn.bodies import MLP
from chartae.nn.layers import MODULES, activation_of

__all__ = ["ConditionedDecoder", "ConditionedEncoder"]


def _beside(features: Tensor, condition: Tensor | None, reader: nn.Module) -> Tensor:
    """Features (B, F) and a condition (B, K) side by side, in the precision of the features."""
    if condition is None or condition.ndim != 2 or len(condition) != len(features):
        got = "None" if condition is None else f"of shape {tuple(condition.shape)}"
        raise ValueError(
            f"condition is {got}; a {type(reader).__name__} of {len(features)} rows expects ({len(features)}, K). "
            "Give one row for each, as Condition.read does."
        )
    return torch.cat([features, condition.to(features.dtype)], 1)


class ConditionedEncoder(nn.Module):
    """x and a condition -> features: a perceptron over what any net makes of x and the condition beside it.

    head([phi(trunk(x)), condition]), where the head has one hidden layer of `features` units. The condition joins
    late, so that the trunk may be a net of images, of vectors or of sequences.

    Args:
        trunk: x (B, ...) -> (B, features).
        features: numbers that the trunk returns for each row.
        size: K, numbers of a condition.
        out: numbers that come out.
        activation: phi, a name of `ACTIVATIONS`; a smooth one by default, as Jacobians may matter.

    >>> net = ConditionedEncoder(nn.Linear(7, 16), 16, size=3, out=2)
    >>> net(torch.zeros(5, 7), torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, trunk: nn.Module, features: int, size: int, out: int, *, activation: str = "silu") -> None:
        super().__init__()
        activation_of(activation)
        self.trunk, self.activation, self.size = trunk, MODULES[activation](), size
        self.head = MLP(features + size, out, (features,), norm=False, activation=activation)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Float[Tensor, "B out"]:
        return self.head(_beside(self.activation(self.trunk(x)), condition, self))


class ConditionedDecoder(nn.Module):
    """A code and a condition -> whatever a net makes of the two side by side: net([z, condition]).

    Args:
        net: (B, D + K) -> (B, ...), D the size of a code (of an `Implicit` conditional: of a code and its noise).

    >>> ConditionedDecoder(nn.Linear(2 + 3, 7))(torch.zeros(5, 2), torch.zeros(5, 3)).shape
    torch.Size([5, 7])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.net(_beside(z, condition, self))
