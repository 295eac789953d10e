"""Jacobians and their norms, of maps whose pass is on the tape, and of functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths.random import generator_for

__all__ = [
    "ScoreFunction",
    "column_gram",
    "hadamard_gap",
    "jacobian",
    "jacobian_norm",
    "jacobian_norm_by_rows",
    "jacobian_norm_hutchinson",
    "jacobian_of",
    "one_hidden_jacobian_norm",
    "output_energy_gradient",
    "random_signs",
]

#: x -> grad log p(x)
ScoreFunction = Callable[[Tensor], Tensor]


def random_signs(like: Tensor) -> Tensor:
    """Independent +1 and -1 in the shape of `like`."""
    return torch.empty_like(like).bernoulli_(0.5, generator=generator_for(like.device)).mul_(2).sub_(1)


def jacobian_norm(out: Float[Tensor, B * S], z: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """||J||_F^2 of each example, J = d out / d z, differentiable: one double backward for each of the D columns.

    J^T u is linear in u; its gradient with respect to u gives a column J e_j. The columns carry a random sign an
    example: without effect where examples are independent, and where batch normalisation couples them it keeps the
    cross terms at zero in the mean (moved all together, the shift would vanish in the normalisation).
    """
    u = torch.zeros_like(out, requires_grad=True)
    (pulled,) = torch.autograd.grad(out, z, u, create_graph=True)
    pulled = pulled.flatten(1)
    signs = random_signs(pulled[:, 0].detach())
    total = z.new_zeros(len(z))
    for j in range(pulled.shape[1]):
        (column,) = torch.autograd.grad(pulled[:, j], u, signs, create_graph=True)
        total = total + column.flatten(1).square().sum(1)
    return total


def jacobian_norm_hutchinson(out: Float[Tensor, B * S], z: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """An unbiased estimate of ||J||_F^2 of each example: ||J^T u||^2 with u of random signs; one backward.

    Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1990.
    """
    (pulled,) = torch.autograd.grad(out, z, random_signs(out.detach()), create_graph=True)
    return pulled.flatten(1).square().sum(1)


def jacobian_norm_by_rows(out: Float[Tensor, B * S], x: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """||J||_F^2 of each example, differentiable: one backward for each output, for maps to few of them.

    Examples must not influence each other (no batch normalisation in training).
    """
    total = x.new_zeros(len(x))
    for row in out.flatten(1).unbind(1):
        (gradient,) = torch.autograd.grad(row.sum(), x, create_graph=True)
        total = total + gradient.flatten(1).square().sum(1)
    return total


def one_hidden_jacobian_norm(
    slope: Float[Tensor, "B K"],
    weight: Float[Tensor, "K D"],
    out: Float[Tensor, "D K"],
    scale: float = 1.0,
    skip: bool = False,
) -> Float[Tensor, " B"]:
    """||J||_F^2 of J = a V diag(φ') W, or of I + a V diag(φ') W (`skip`), V = `out`, W = `weight`, φ' = `slope`:

    a^2 φ'ᵀ [(VᵀV) ∘ (WWᵀ)] φ', and with `skip` D + 2 a Σ_j φ'_j (WV)_jj more.
    """
    gram = (out.t() @ out) * (weight @ weight.t())
    norm = scale**2 * ((slope @ gram) * slope).sum(1)
    if not skip:
        return norm
    return weight.shape[1] + 2 * scale * (slope @ (weight * out.t()).sum(1)) + norm


def output_energy_gradient(out: Float[Tensor, B * S], z: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """mean_j (d/dz_j Σ out^2)^2 = (4/D) ||J^T out||^2 of each example; one backward."""
    (gradient,) = torch.autograd.grad(out.square().sum(), z, create_graph=True)
    return gradient.square().mean(1)


def jacobian(function: Callable[[Tensor], Tensor], z: Float[Tensor, "B D"]) -> Float[Tensor, "B *S D"]:
    """J[b, ..., k] = d function(z)[b, ...] / d z[b, k], differentiable, by D forward-mode products.

    `function` maps rows one by one; the values themselves are computed once, not D times.
    """
    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)

    def column(e: Tensor) -> Tensor:
        return cast(Tensor, torch.func.jvp(function, (z,), (e.expand_as(z),))[1])

    return torch.func.vmap(column, out_dims=-1, randomness="same")(basis)


def jacobian_of(function: ScoreFunction, x: Float[Tensor, B * S]) -> Float[Tensor, "B M N"]:
    """The Jacobian of a map that treats each example alone, flattened: M values out, N in."""

    def alone(a: Tensor) -> Tensor:
        return function(a.unflatten(0, x.shape[1:])[None]).flatten()

    return torch.func.vmap(torch.func.jacrev(alone), chunk_size=max(1, (1 << 22) // x[0].numel() ** 2))(x.flatten(1))


def column_gram(jacobian: Float[Tensor, "B *S D"]) -> Float[Tensor, "B D D"]:
    """JᵀJ of each point, in float64: the scalar products of the columns."""
    flat = jacobian.flatten(1, -2).double()
    return flat.mT @ flat


def hadamard_gap(gram: Float[Tensor, "B D D"], tiny: float = 0.0) -> Float[Tensor, " B"]:
    """½ (Σ_k log G_kk - log det G), in nats: 0 iff G is diagonal, inf where it is singular (Hadamard's inequality).

    Computed from the matrix of the columns' cosines, whose determinant neither overflows nor underflows early.
    `tiny`: an eigenvalue of that matrix up to which it counts as singular.
    """
    size = gram.diagonal(dim1=1, dim2=2).sqrt()
    cosines = gram / (size[:, :, None] * size[:, None, :]).clamp_min(torch.finfo(gram.dtype).tiny)
    values = torch.linalg.eigvalsh(cosines)
    gap = -0.5 * values.clamp_min(torch.finfo(gram.dtype).tiny).log().sum(1)
    return torch.where((values[:, 0] <= tiny) | (size == 0).any(1), math.inf, gap)
