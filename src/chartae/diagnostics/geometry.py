"""The decoder's geometry: lengths, angles and singular values of its Jacobian, and the IMA contrast."""

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

#: a map from codes to examples: an autoencoder, a module, or a function
Decoder = Autoencoder | Callable[..., Tensor]

#: how many numbers of a Jacobian and its tangents are in memory at a time
NUMBERS = 1 << 24


def decoder_of(decoder: Decoder) -> Callable[[Tensor], Tensor]:
    """The map z -> x of an autoencoder, module or function, checked to act on each point separately.

    Raises:
        TypeError: the decoder is not callable.
        ValueError: the decoder has batch normalisation in training mode, which mixes the points of a batch, or dropout
            in training mode.
    """
    if not callable(decoder):
        raise TypeError(
            f"decoder is a {type(decoder).__name__}; expected an Autoencoder, a module or a function z -> x"
        )
    module = decoder if isinstance(decoder, nn.Module) else getattr(decoder, "__self__", None)
    if isinstance(module, nn.Module):
        for name, part in module.named_modules():
            if isinstance(part, BATCH_NORMS) and part.training:
                raise ValueError(
                    f"{name or 'the decoder'} is batch normalisation in training mode, so the image of a point depends "
                    "on the other points of its batch; expected a map of each point alone. Call .eval() first, or use "
                    "net='smooth'"
                )
            if isinstance(part, DROPOUTS) and part.training and part.p:
                raise ValueError(
                    f"{name or 'the decoder'} is dropout in training mode; expected a deterministic map. Call .eval() "
                    "first"
                )
    return decoder.decode if isinstance(decoder, Autoencoder) else decoder


def _check(function: Callable[[Tensor], Tensor], z: Tensor) -> tuple[int, ...]:
    """Check the codes and the map; the shape of the image of one code."""
    if not isinstance(z, Tensor) or z.ndim != 2 or not z.is_floating_point() or not len(z):
        what = f"of shape {tuple(z.shape)} and dtype {z.dtype}" if isinstance(z, Tensor) else f"a {type(z).__name__}"
        raise ValueError(f"z is {what}; expected codes as a floating-point tensor (B, D) with B >= 1")
    if n := int((~z.isfinite()).any(1).sum()):
        raise ValueError(f"{n} of {len(z)} codes are not finite; expected finite numbers. Drop these codes")
    with torch.enable_grad():
        out = function(z[:1].detach().requires_grad_())
    if not isinstance(out, Tensor) or len(out) != 1:
        what = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise TypeError(f"the decoder maps one code (1, D) to {what}; expected a tensor (1, *S)")
    if not out.requires_grad:
        raise ValueError(
            "the decoder's output has no gradient with respect to z; expected a differentiable map. Pass the map "
            "without no_grad, .detach() or integer steps"
        )
    return tuple(out.shape[1:])


def _chunks(function: Callable[[Tensor], Tensor], z: Tensor, chunk: int | None) -> tuple[Tensor, ...]:
    size = max(1, torch.Size(_check(function, z)).numel())
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; expected at least 1 point")
    # the widest layers of a network hold several times as many numbers as its output
    return z.detach().split(chunk or max(1, NUMBERS // (4 * size * z.shape[1])))


def jacobian(decoder: Decoder, z: Float[Tensor, "B D"], *, chunk: int | None = None) -> Float[Tensor, "B *S D"]:
    """Jacobian df/dz of a decoder f at each code, by D forward-mode (Jacobian-vector) products.

    The cost grows with the number of code dimensions D, not with the size of an example.

    Args:
        decoder: an `Autoencoder`, or a differentiable map (B, D) -> (B, ...) that acts on each row separately.
        z: codes (B, D), B >= 1; the result has their dtype.
        chunk: number of codes processed at a time, >= 1; by default as many as keep about 2^24 numbers in memory.

    Returns:
        The Jacobian at each code (B, ..., D).

    Raises:
        ValueError: the decoder has batch normalisation or dropout in training mode, or no derivative; the codes have
            the wrong shape, or are not finite.
        TypeError: the decoder is not callable, or does not map (B, D) to (B, ...).

    >>> import torch
    >>> from chartae.diagnostics import jacobian
    >>> A = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    >>> torch.equal(jacobian(lambda z: z @ A.T, torch.zeros(5, 2))[0], A)
    True
    """
    function = decoder_of(decoder)
    parts = _chunks(function, z, chunk)
    with torch.no_grad():
        return torch.cat([forward_jacobian(function, part) for part in parts])


def grams(decoder: Decoder, z: Tensor, chunk: int | None = None) -> Float[Tensor, "B D D"]:
    """JᵀJ at each point, in float64, without keeping the Jacobians."""
    function = decoder_of(decoder)
    parts = _chunks(function, z, chunk)
    with torch.no_grad():
        gram = torch.cat([column_gram(forward_jacobian(function, part)) for part in parts])
    if n := int((~gram.isfinite()).flatten(1).any(1).sum()):
        raise ArithmeticError(
            f"at {n} of {len(z)} points the decoder's Jacobian is not finite; expected finite derivatives. The decoder "
            "has a pole there, or its weights are not finite"
        )
    return gram


def contrast_of(gram: Float[Tensor, "B D D"], dtype: torch.dtype) -> Float[Tensor, " B"]:
    """The contrast from JᵀJ, with J known to the precision of `dtype`; warns where a Jacobian has no full rank."""
    tiny = (gram.shape[1] * torch.finfo(dtype).eps) ** 2 + gram.shape[1] * torch.finfo(torch.float64).eps
    contrast = hadamard_gap(gram, tiny).clamp_min(0)  # rounding can give a tiny negative number
    if n := int(contrast.isinf().sum()):
        warnings.warn(
            f"at {n} of {len(gram)} points the Jacobian has no full rank, so the contrast there is infinite: a code "
            "dimension has no effect, or two have the same. Look at the singular values (geometry) or at the KL of "
            "each dimension (active_units); the posterior may have collapsed",
            RuntimeWarning,
            stacklevel=3,
        )
    return contrast


def ima_contrast(decoder: Decoder, z: Float[Tensor, "B D"], *, chunk: int | None = None) -> Float[Tensor, " B"]:
    """IMA contrast of a decoder f at each code: how far the columns J_k of its Jacobian are from orthogonal.

        c_IMA = Σ_k log ||J_k|| - ½ log det JᵀJ >= 0.

    It is 0 if and only if the columns are orthogonal (Hadamard's inequality), that is, if the code dimensions act on x
    by independent mechanisms. The mean over codes is the global contrast; it differs from the contrast of the mean
    Jacobian. Where a Jacobian has no full rank the contrast is infinite, and a RuntimeWarning says at how many codes.

    Gresele et al., "Independent mechanism analysis, a new concept?", 2021 (arXiv 2106.05200).

    Args:
        decoder: an `Autoencoder`, or a differentiable map (B, D) -> (B, ...) that acts on each row separately.
        z: codes (B, D), B >= 1.
        chunk: number of codes processed at a time, >= 1; by default as many as keep about 2^24 numbers in memory.

    Returns:
        The contrast at each code (B,), in nats, float64.

    Raises:
        ValueError: the decoder has batch normalisation or dropout in training mode, or no derivative; the codes have
            the wrong shape, or are not finite.
        TypeError: the decoder is not callable, or does not map (B, D) to (B, ...).
        ArithmeticError: a Jacobian is not finite.

    >>> import torch
    >>> from chartae.diagnostics import ima_contrast
    >>> f = lambda z: torch.stack([z[:, 0], z[:, 0] + z[:, 1]], 1)      # columns at 45 degrees
    >>> float(ima_contrast(f, torch.zeros(1, 2, dtype=torch.float64)))  # -½ log(1 - cos²)
    0.346...
    """
    return contrast_of(grams(decoder, z, chunk), z.dtype)


@dataclass(frozen=True)
class Geometry:
    """Local geometry of a decoder, from its Jacobian J at each of B codes; returned by `geometry`.

    Attributes:
        singular_values: singular values of J (B, D), descending: how much the decoder stretches its principal
            directions.
        lengths: length ||J_k|| of each column (B, D).
        cosines: cosines between columns (B, D, D).
        contrast: IMA contrast Σ_k log ||J_k|| - ½ log det JᵀJ (B,), in nats.

    >>> import torch
    >>> from chartae.diagnostics import geometry
    >>> g = geometry(lambda z: z * torch.tensor([2.0, 1.0]), torch.zeros(1, 2))
    >>> g.singular_values, g.condition
    (tensor([[2., 1.]], dtype=torch.float64), tensor([2.], dtype=torch.float64))
    """

    singular_values: Float[Tensor, "B D"]
    lengths: Float[Tensor, "B D"]
    cosines: Float[Tensor, "B D D"]
    contrast: Float[Tensor, " B"]

    @property
    def condition(self) -> Float[Tensor, " B"]:
        """Condition number (B,): the largest singular value over the smallest; inf where the smallest is 0."""
        ratio = self.singular_values[:, 0] / self.singular_values[:, -1]
        return torch.where(self.singular_values[:, -1] == 0, math.inf, ratio)

    @property
    def angles(self) -> Float[Tensor, "B D D"]:
        """Angles between columns (B, D, D), in degrees from 0 to 90."""
        return self.cosines.abs().clamp_max(1).acos().rad2deg()


def geometry(decoder: Decoder, z: Float[Tensor, "B D"], *, chunk: int | None = None) -> Geometry:
    """Local geometry of a decoder at each code: singular values, column lengths, angles, and the IMA contrast.

    All are computed from JᵀJ, J the Jacobian df/dz, in float64. Where a Jacobian has no full rank the contrast is
    infinite, and a RuntimeWarning says at how many codes.

    Args:
        decoder: an `Autoencoder`, or a differentiable map (B, D) -> (B, ...) that acts on each row separately.
        z: codes (B, D), B >= 1.
        chunk: number of codes processed at a time, >= 1; by default as many as keep about 2^24 numbers in memory.

    Returns:
        Singular values (B, D), column lengths (B, D), cosines between columns (B, D, D), and the contrast (B,).

    Raises:
        ValueError: the decoder has batch normalisation or dropout in training mode, or no derivative; the codes have
            the wrong shape, or are not finite.
        TypeError: the decoder is not callable, or does not map (B, D) to (B, ...).
        ArithmeticError: a Jacobian is not finite.

    >>> import torch
    >>> from chartae.diagnostics import geometry
    >>> shear = lambda z: torch.stack([z[:, 0], z[:, 0] + z[:, 1]], 1)
    >>> geometry(shear, torch.zeros(1, 2, dtype=torch.float64)).angles[0].round()
    tensor([[ 0., 45.],
            [45.,  0.]], dtype=torch.float64)
    """
    gram = grams(decoder, z, chunk)
    lengths = gram.diagonal(dim1=1, dim2=2).sqrt()
    cosines = gram / (lengths[:, :, None] * lengths[:, None, :]).clamp_min(torch.finfo(gram.dtype).tiny)
    values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(1)
    return Geometry(values, lengths, cosines, contrast_of(gram, z.dtype))
