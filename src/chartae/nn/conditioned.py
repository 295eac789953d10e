"""Nets with a second input, the condition; they are called as `net(c, condition)`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.nn.bodies import MLP
from chartae.nn.layers import MODULES, activation_of

__all__ = ["ConditionedDecoder", "ConditionedEncoder"]


def _concatenate(features: Tensor, condition: Tensor | None, net: nn.Module) -> Tensor:
    """Features (B, F) and a condition (B, K), concatenated to (B, F + K) in the dtype of the features."""
    if condition is None or condition.ndim != 2 or len(condition) != len(features):
        shown = "None" if condition is None else f"of shape {tuple(condition.shape)}"
        raise ValueError(
            f"condition is {shown}; expected shape ({len(features)}, K), as {type(net).__name__} has "
            f"{len(features)} rows. Give one row for each example, as Condition.read returns."
        )
    return torch.cat([features, condition.to(features.dtype)], 1)


class ConditionedEncoder(nn.Module):
    """An encoder of x and a condition: ``head([phi(trunk(x)), condition])``.

    The condition is concatenated to the features of x, and the head is a perceptron with one hidden layer of `features`
    units. The condition enters late, so that the trunk may be a net for images, vectors or sequences.

    Args:
        trunk: net from x (B, ...) to features (B, features).
        features: number of features that the trunk returns.
        size: number of values in a condition, K.
        out: number of outputs.
        activation: name of the activation phi, a key of `ACTIVATIONS`; ``"silu"`` by default, which is smooth, so that
            Jacobians of the net are.

    Raises:
        ValueError: `activation` is unknown; when called, `condition` is missing or not of shape (B, K).

    >>> import torch
    >>> from chartae.nn import ConditionedEncoder
    >>> net = ConditionedEncoder(torch.nn.Linear(7, 16), 16, size=3, out=2)
    >>> net(torch.zeros(5, 7), torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, trunk: nn.Module, features: int, size: int, out: int, *, activation: str = "silu") -> None:
        super().__init__()
        activation_of(activation)
        self.trunk, self.activation, self.size = trunk, MODULES[activation](), size
        self.head = MLP(features + size, out, (features,), norm=False, activation=activation)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Float[Tensor, "B out"]:
        return self.head(_concatenate(self.activation(self.trunk(x)), condition, self))


class ConditionedDecoder(nn.Module):
    """A decoder of a code and a condition: ``net([z, condition])``, the two concatenated.

    Args:
        net: net from (B, D + K) to (B, ...), where D is the size of a code and K that of a condition. Inside an
            `Implicit` conditional, D counts the code and its noise.

    Raises:
        ValueError: when called, `condition` is missing or not of shape (B, K).

    >>> import torch
    >>> from chartae.nn import ConditionedDecoder
    >>> net = ConditionedDecoder(torch.nn.Linear(2 + 3, 7))
    >>> net(torch.zeros(5, 2), torch.zeros(5, 3)).shape
    torch.Size([5, 7])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.net(_concatenate(z, condition, self))
