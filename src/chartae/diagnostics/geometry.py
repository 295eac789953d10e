"""The decoder's geometry: its Jacobian's columns, their lengths, angles and spectrum, and the IMA contrast."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.autoencoder import Autoencoder
from chartae.maths import column_gram, hadamard_gap
from chartae.maths import jacobian as forward_jacobian
from chartae.nn import BATCH_NORMS, DROPOUTS

__all__ = ["Geometry", "geometry", "ima_contrast", "jacobian"]

#: what a map from codes to examples may come as
Decoder = Autoencoder | Callable[..., Tensor]

#: numbers of a Jacobian and its tangents that are held at once
NUMBERS = 1 << 24


def decoder_of(decoder: Decoder) -> Callable[[Tensor], Tensor]:
    """The map z -> x of an autoencoder, module or function, if it has a derivative of each point alone.

    Raises:
        TypeError: it cannot be called.
        ValueError: batch normalisation in training mode, which mixes the points of a batch.
    """
    if not callable(decoder):
        raise TypeError(
            f"the decoder is a {type(decoder).__name__}; give an Autoencoder, a module or a function z -> x"
        )
    module = decoder if isinstance(decoder, nn.Module) else getattr(decoder, "__self__", None)
    if isinstance(module, nn.Module):
        for name, part in module.named_modules():
            if isinstance(part, BATCH_NORMS) and part.training:
                raise ValueError(
                    f"{name or 'the decoder'} is batch normalisation in training mode: a point's image depends on the "
                    "others of its batch, and there is no Jacobian. Call .eval() first, or use net='smooth'"
                )
            if isinstance(part, DROPOUTS) and part.training and part.p:
                raise ValueError(f"{name or 'the decoder'} is dropout in training mode: call .eval() first")
    return decoder.decode if isinstance(decoder, Autoencoder) else decoder


def _check(function: Callable[[Tensor], Tensor], z: Tensor) -> tuple[int, ...]:
    """The shape of one image."""
    if not isinstance(z, Tensor) or z.ndim != 2 or not z.is_floating_point() or not len(z):
        what = f"shape {tuple(z.shape)} and dtype {z.dtype}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"z is {what}; give codes as a floating tensor (B, D) with at least one row")
    if n := int((~z.isfinite()).any(1).sum()):
        raise ValueError(f"{n} of {len(z)} codes are not finite; leave them out")
    with torch.enable_grad():
        out = function(z[:1].detach().requires_grad_())
    if not isinstance(out, Tensor) or len(out) != 1:
        raise TypeError("the decoder does not map a tensor (B, D) to one (B, *S)")
    if not out.requires_grad:
        raise ValueError(
            "the decoder's output does not depend differentiably on z: it rounds, detaches, or runs without gradients. "
            "Give the map itself, without no_grad, .detach() or integer steps"
        )
    return tuple(out.shape[1:])


def _chunks(function: Callable[[Tensor], Tensor], z: Tensor, chunk: int | None) -> tuple[Tensor, ...]:
    size = max(1, torch.Size(_check(function, z)).numel())
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; give at least 1 point at a time")
    # a net's widest layers hold several times the numbers of its output
    return z.detach().split(chunk or max(1, NUMBERS // (4 * size * z.shape[1])))


def jacobian(decoder: Decoder, z: Float[Tensor, "B D"], *, chunk: int | None = None) -> Float[Tensor, "B *S D"]:
    """df/dz at each point, by D forward-mode products: never one backward pass for each of the outputs.

    Args:
        decoder: an `Autoencoder`, or any differentiable map (B, D) -> (B, *S) of each row alone.
        z: codes; the result has their dtype.
        chunk: points at a time; by default as many as keep 2^24 numbers in memory.

    Raises:
        ValueError: batch normalisation in training mode; a map without a derivative; codes of the wrong shape, or not
            finite.

    >>> A = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    >>> torch.equal(jacobian(lambda z: z @ A.T, torch.zeros(5, 2))[0], A)
    True
    """
    function = decoder_of(decoder)
    parts = _chunks(function, z, chunk)
    with torch.no_grad():
        return torch.cat([forward_jacobian(function, part) for part in parts])


def grams(decoder: Decoder, z: Tensor, chunk: int | None = None) -> Float[Tensor, "B D D"]:
    """JᵀJ at each point in float64, without keeping the Jacobians."""
    function = decoder_of(decoder)
    parts = _chunks(function, z, chunk)
    with torch.no_grad():
        found = torch.cat([column_gram(forward_jacobian(function, part)) for part in parts])
    if n := int((~found.isfinite()).flatten(1).any(1).sum()):
        raise ArithmeticError(
            f"at {n} of {len(z)} points the decoder's Jacobian is not finite: a pole, or a broken net"
        )
    return found


def contrast_of(gram: Float[Tensor, "B D D"], dtype: torch.dtype) -> Float[Tensor, " B"]:
    """The contrast from JᵀJ, J known to the precision of `dtype`; a warning where a Jacobian has no full rank."""
    tiny = (gram.shape[1] * torch.finfo(dtype).eps) ** 2 + gram.shape[1] * torch.finfo(torch.float64).eps
    contrast = hadamard_gap(gram, tiny).clamp_min(0)  # rounding
    if n := int(contrast.isinf().sum()):
        warnings.warn(
            f"at {n} of {len(gram)} points the Jacobian has no full rank (a code dimension without effect, or two with "
            "the same): the contrast there is infinite. Look at the spectrum, or at the KL of each dimension: a "
            "collapsed posterior",
            RuntimeWarning,
            stacklevel=3,
        )
    return contrast


def ima_contrast(decoder: Decoder, z: Float[Tensor, "B D"], *, chunk: int | None = None) -> Float[Tensor, " B"]:
    """c_IMA = Σ_k log ||J_k|| - ½ log det JᵀJ at each point, J_k the columns of df/dz; in nats, float64.

    0 iff the columns are orthogonal (Hadamard): the mechanisms by which the coordinates act on x are independent.
    Gresele et al., "Independent mechanism analysis, a new concept?", 2021 (arXiv 2106.05200). Its mean over codes
    is the global contrast; the contrast of a mean Jacobian is another, smaller thing.

    A warning says where a Jacobian has no full rank, and the contrast is inf.

    >>> f = lambda z: torch.stack([z[:, 0], z[:, 0] + z[:, 1]], 1)      # columns at 45 degrees
    >>> float(ima_contrast(f, torch.zeros(1, 2, dtype=torch.float64)))  # -½ log(1 - cos²)
    0.346...
    """
    return contrast_of(grams(decoder, z, chunk), z.dtype)


@dataclass(frozen=True)
class Geometry:
    """What the Jacobian says at each of B points.

    Attributes:
        singular_values: (B, D), descending: by how much the decoder stretches its principal directions.
        lengths: ||J_k|| (B, D), of the columns.
        cosines: (B, D, D), between columns.
        contrast: the IMA contrast (B,), in nats.
    """

    singular_values: Float[Tensor, "B D"]
    lengths: Float[Tensor, "B D"]
    cosines: Float[Tensor, "B D D"]
    contrast: Float[Tensor, " B"]

    @property
    def condition(self) -> Float[Tensor, " B"]:
        """The largest singular value over the smallest; inf where that is 0."""
        ratio = self.singular_values[:, 0] / self.singular_values[:, -1]
        return torch.where(self.singular_values[:, -1] == 0, math.inf, ratio)

    @property
    def angles(self) -> Float[Tensor, "B D D"]:
        """Between columns, in degrees from 0 to 90."""
        return self.cosines.abs().clamp_max(1).acos().rad2deg()


def geometry(decoder: Decoder, z: Float[Tensor, "B D"], *, chunk: int | None = None) -> Geometry:
    """Spectrum, lengths and angles of the Jacobian's columns, and the contrast, at each point; float64.

    Errors and arguments are those of `jacobian`.
    """
    gram = grams(decoder, z, chunk)
    lengths = gram.diagonal(dim1=1, dim2=2).sqrt()
    cosines = gram / (lengths[:, :, None] * lengths[:, None, :]).clamp_min(torch.finfo(gram.dtype).tiny)
    values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(1)
    return Geometry(values, lengths, cosines, contrast_of(gram, z.dtype))
