"""Jacobians and their norms: of outputs that autograd has recorded, and of functions."""

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

#: function from points (B, *S) to grad log p(x) (B, *S)
ScoreFunction = Callable[[Tensor], Tensor]


def random_signs(like: Tensor) -> Tensor:
    """Draw independent random signs, +1 or -1 with equal probability.

    Args:
        like: tensor that defines shape, dtype and device.

    Returns:
        Signs in the shape of `like`.

    >>> import torch
    >>> from chartae.maths import random_signs
    >>> random_signs(torch.zeros(1000)).unique()
    tensor([-1.,  1.])
    """
    return torch.empty_like(like).bernoulli_(0.5, generator=generator_for(like.device)).mul_(2).sub_(1)


def jacobian_norm(out: Float[Tensor, B * S], z: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """Return ||J||_F^2 of each example, J = d out / d z, with one double backward for each of the D columns of J.

    Jᵀu is linear in u, and its gradient with respect to u is a column J e_j. Each example gets a random sign. The signs
    have no effect if examples are independent. If batch normalisation couples them, the signs make the cross terms zero
    in expectation: moving all examples together would cancel in the normalisation.

    Args:
        out: output `(B, *S)`, computed from `z` with autograd.
        z: input `(B, *T)` that requires grad.

    Returns:
        One value for each example (B,), differentiable.

    >>> import torch
    >>> from chartae.maths import jacobian_norm
    >>> z = torch.ones(3, 2, requires_grad=True)
    >>> jacobian_norm(2 * z, z).detach()  # J = 2 I
    tensor([8., 8., 8.])
    """
    u = torch.zeros_like(out, requires_grad=True)
    (product,) = torch.autograd.grad(out, z, u, create_graph=True)
    product = product.flatten(1)
    signs = random_signs(product[:, 0].detach())
    total = z.new_zeros(len(z))
    for j in range(product.shape[1]):
        (column,) = torch.autograd.grad(product[:, j], u, signs, create_graph=True)
        total = total + column.flatten(1).square().sum(1)
    return total


def jacobian_norm_hutchinson(out: Float[Tensor, B * S], z: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """Return an unbiased estimate of ||J||_F^2 of each example, J = d out / d z, with one backward pass.

    The estimate is ||Jᵀu||^2 with random signs u. Hutchinson, "A stochastic estimator of the trace of the influence
    matrix", 1990.

    Args:
        out: output `(B, *S)`, computed from `z` with autograd.
        z: input `(B, *T)` that requires grad.

    Returns:
        One value for each example (B,), differentiable.

    >>> import torch
    >>> from chartae.maths import jacobian_norm_hutchinson
    >>> z = torch.ones(3, 2, requires_grad=True)
    >>> jacobian_norm_hutchinson(2 * z, z).detach()  # exact for a diagonal Jacobian
    tensor([8., 8., 8.])
    """
    (product,) = torch.autograd.grad(out, z, random_signs(out.detach()), create_graph=True)
    return product.flatten(1).square().sum(1)


def jacobian_norm_by_rows(out: Float[Tensor, B * S], x: Float[Tensor, B * T]) -> Float[Tensor, " B"]:
    """Return ||J||_F^2 of each example, J = d out / d x, with one backward pass for each output dimension.

    Use it for maps with few outputs. Examples must not influence each other (no batch normalisation in training mode).

    Args:
        out: output `(B, *S)`, computed from `x` with autograd.
        x: input `(B, *T)` that requires grad.

    Returns:
        One value for each example (B,), differentiable.

    >>> import torch
    >>> from chartae.maths import jacobian_norm_by_rows
    >>> x = torch.ones(3, 5, requires_grad=True)
    >>> jacobian_norm_by_rows(x[:, :1] * 2, x).detach()
    tensor([4., 4., 4.])
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
    """Return ||J||_F^2 of a map with one hidden layer in closed form, J = a V diag(φ') W, or I + a V diag(φ') W.

        ||J||_F^2 = a^2 φ'ᵀ [(VᵀV) ∘ (WWᵀ)] φ',  with a skip connection + D + 2 a Σ_j φ'_j (WV)_jj

    Args:
        slope: derivative φ' of the activation at each hidden unit (B, K).
        weight: matrix W into the hidden layer (K, D).
        out: matrix V out of the hidden layer (D, K).
        scale: factor a; default 1.
        skip: whether the map adds its input; default False.

    Returns:
        One value for each example (B,).

    >>> import torch
    >>> from chartae.maths import one_hidden_jacobian_norm
    >>> one_hidden_jacobian_norm(torch.ones(1, 3), torch.eye(3), torch.eye(3), skip=True)  # J = 2 I
    tensor([12.])
    """
    gram = (out.t() @ out) * (weight @ weight.t())
    norm = scale**2 * ((slope @ gram) * slope).sum(1)
    if not skip:
        return norm
    return weight.shape[1] + 2 * scale * (slope @ (weight * out.t()).sum(1)) + norm


def output_energy_gradient(out: Float[Tensor, B * S], z: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Return mean_j (d/dz_j Σ out^2)^2 = (4/D) ||Jᵀ out||^2 of each example, with one backward pass.

    This is what the code of the RAE authors (Ghosh et al., arXiv 1903.12436) minimises as the gradient penalty.

    Args:
        out: output `(B, *S)`, computed from `z` with autograd.
        z: input (B, D) that requires grad.

    Returns:
        One value for each example (B,), differentiable.

    >>> import torch
    >>> from chartae.maths import output_energy_gradient
    >>> z = torch.ones(3, 2, requires_grad=True)
    >>> output_energy_gradient(2 * z, z).detach()  # (8 z_j)^2
    tensor([64., 64., 64.])
    """
    (gradient,) = torch.autograd.grad(out.square().sum(), z, create_graph=True)
    return gradient.square().mean(1)


def jacobian(function: Callable[[Tensor], Tensor], z: Float[Tensor, "B D"]) -> Float[Tensor, "B *S D"]:
    """Return the Jacobian of a function at each point, J[b, ..., k] = d function(z)[b, ...] / d z[b, k].

    It is computed by D forward-mode products in one batch, and is differentiable.

    Args:
        function: map from (B, D) to `(B, *S)` that treats each row separately.
        z: points (B, D).

    Returns:
        The Jacobians `(B, *S, D)`.

    >>> import torch
    >>> from chartae.maths import jacobian
    >>> jacobian(lambda z: z**2, torch.tensor([[1.0, 2.0]]))
    tensor([[[2., 0.],
             [0., 4.]]])
    """
    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)

    def column(e: Tensor) -> Tensor:
        return cast(Tensor, torch.func.jvp(function, (z,), (e.expand_as(z),))[1])

    return torch.func.vmap(column, out_dims=-1, randomness="same")(basis)


def jacobian_of(function: ScoreFunction, x: Float[Tensor, B * S]) -> Float[Tensor, "B M N"]:
    """Return the Jacobian of a function at each point, with outputs and inputs flattened, by reverse-mode autograd.

    Args:
        function: map from `(B, *S)` to (B, ...) that treats each row separately, such as a score.
        x: points `(B, *S)`.

    Returns:
        The Jacobians (B, M, N): M output values, N input values.

    >>> import torch
    >>> from chartae.maths import jacobian_of
    >>> jacobian_of(lambda x: -x, torch.zeros(4, 1, 2, 2)).shape
    torch.Size([4, 4, 4])
    """

    def one_row(a: Tensor) -> Tensor:
        return function(a.unflatten(0, x.shape[1:])[None]).flatten()

    return torch.func.vmap(torch.func.jacrev(one_row), chunk_size=max(1, (1 << 22) // x[0].numel() ** 2))(x.flatten(1))


def column_gram(jacobian: Float[Tensor, "B *S D"]) -> Float[Tensor, "B D D"]:
    """Return JᵀJ of each Jacobian, the scalar products of its columns, in float64.

    Args:
        jacobian: Jacobians `(B, *S, D)`.

    Returns:
        The Gram matrices (B, D, D), float64.

    >>> import torch
    >>> from chartae.maths import column_gram
    >>> column_gram(torch.tensor([[[1.0, 0.0], [1.0, 2.0]]]))
    tensor([[[2., 2.],
             [2., 4.]]], dtype=torch.float64)
    """
    flat = jacobian.flatten(1, -2).double()
    return flat.mT @ flat


def hadamard_gap(gram: Float[Tensor, "B D D"], tiny: float = 0.0) -> Float[Tensor, " B"]:
    """Return the gap in Hadamard's inequality, ½ (Σ_k log G_kk - log det G), in nats.

    It is 0 if and only if G is diagonal, and infinite if G is singular. For G = JᵀJ it is the IMA contrast of a map
    with Jacobian J. It is computed from the matrix of cosines of the columns, whose determinant does not overflow.

    Args:
        gram: Gram matrices G (B, D, D), symmetric and positive semidefinite.
        tiny: largest eigenvalue of the matrix of cosines that counts as 0, >= 0; default 0.

    Returns:
        One value for each matrix (B,), >= 0.

    >>> import torch
    >>> from chartae.maths import hadamard_gap
    >>> hadamard_gap(torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]))  # -½ log(1 - 0.6^2), singular
    tensor([0.2231,    inf])
    """
    size = gram.diagonal(dim1=1, dim2=2).sqrt()
    cosines = gram / (size[:, :, None] * size[:, None, :]).clamp_min(torch.finfo(gram.dtype).tiny)
    values = torch.linalg.eigvalsh(cosines)
    gap = -0.5 * values.clamp_min(torch.finfo(gram.dtype).tiny).log().sum(1)
    return torch.where((values[:, 0] <= tiny) | (size == 0).any(1), math.inf, gap)
