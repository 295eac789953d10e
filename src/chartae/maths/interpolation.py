"""Paths between two codes, and the principal axes of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["PATHS", "principal_axes", "slerp"]


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


def principal_axes(codes: Float[Tensor, "N D"], n: int) -> Float[Tensor, "n D"]:
    """The principal axes of largest variance, each of the length of its standard deviation.

    They are the eigenvectors of the covariance (divisor N - 1) times the roots of its eigenvalues, computed in float64,
    because the smallest axes of many codes are lost in the rounding of float32. An axis has no sign of its own: its
    largest entry is made positive.

    Args:
        codes: codes (N, D), N >= 2.
        n: number of axes, from 1 to D.

    Returns:
        The axes (n, D), that of largest variance first.

    >>> import torch
    >>> from chartae.maths.interpolation import principal_axes
    >>> principal_axes(torch.tensor([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0], [-1.0, 0.0]]), 1).round(decimals=4)
    tensor([[0.0000, 2.4495]])
    """
    centred = (codes - codes.mean(0)).double().cpu()
    variances, vectors = torch.linalg.eigh(torch.atleast_2d(torch.cov(centred.T)))
    units = vectors.T.flip(0)[:n]
    signs = units.gather(1, units.abs().argmax(1, keepdim=True)).sign()
    deviations = variances.clamp_min(0).sqrt().flip(0)[:n]
    return (units * signs * deviations[:, None]).to(codes)
