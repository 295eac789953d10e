"""Paths between two codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["PATHS", "slerp"]


def slerp(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], t: float) -> Float[Tensor, "N D"]:
    """Spherical interpolation between codes.

    `sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b`, where w is the angle between a and b; linear where `sin(w) = 0`.

    Args:
        a: codes (N, D) at t = 0.
        b: codes (N, D) at t = 1.
        t: position on the path, from 0 to 1.

    Returns:
        The points (N, D) at t.

    >>> import torch
    >>> from chartae.evaluation import slerp
    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    tensor([[0.7071, 0.7071]])
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    angle = cosine.acos()[:, None]
    straight = angle.sin() < 1e-6
    divisor = torch.where(straight, 1.0, angle.sin())
    curve = ((1 - t) * angle).sin() / divisor * a + (t * angle).sin() / divisor * b
    return torch.where(straight, torch.lerp(a, b, t), curve)


#: the paths between two codes by name: (code at 0, code at 1, t) -> code at t
PATHS: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {"linear": torch.lerp, "spherical": slerp}
