"""Metrics for pairs of images, one number per pair, and the quantisation that comes before a comparison."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from chartae.maths import as_float

__all__ = ["mse", "psnr", "ssim", "to_uint8"]


def to_uint8(x: Tensor, mode: str = "round") -> Tensor:
    """Quantise images in [0, 1] to the 256 levels of uint8; values outside [0, 1] are clipped.

    ``"round"`` takes the nearest level, which undoes a division by 255 exactly. ``"truncate"`` takes the level
    below, as the authors of the RAE paper and most image writers do; it darkens an image by half a level on
    average.

    Args:
        x: images of any shape, floating point in [0, 1]. A uint8 tensor is returned unchanged.
        mode: ``"round"`` or ``"truncate"``; default ``"round"``.

    Returns:
        The images as uint8, of the same shape.

    Raises:
        ValueError: `mode` is unknown, or `x` contains NaN.
        TypeError: `x` is neither floating point nor uint8.

    >>> import torch
    >>> from chartae.metrics import to_uint8
    >>> to_uint8(torch.tensor([-0.01, 0.499, 1.02])), to_uint8(torch.tensor([0.499]), "truncate")
    (tensor([  0, 127, 255], dtype=torch.uint8), tensor([127], dtype=torch.uint8))
    """
    if mode not in ("round", "truncate"):
        raise ValueError(f"mode is {mode!r}; expected 'round' or 'truncate'")
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}; expected images as floating point in [0, 1], or as uint8")
    if x.isnan().any():
        raise ValueError("x contains NaN; expected images in [0, 1]. NaN has no level from 0 to 255")
    levels = x * 255
    return (levels.round() if mode == "round" else levels).clamp(0, 255).to(torch.uint8)


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both batches in one floating dtype; uint8 is divided by 255."""
    if a.shape != b.shape or a.ndim < 2 or not a.numel():
        raise ValueError(
            f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected the same shape (B, ...) with B >= 1"
        )
    for x in (a, b):
        if x.dtype != torch.uint8 and not x.is_floating_point():
            raise TypeError(f"examples are {x.dtype}; expected floating point (images in [0, 1]), or uint8")
    dtype = torch.float64 if torch.float64 in (a.dtype, b.dtype) else torch.float32
    return as_float(a, dtype), as_float(b, dtype)


def mse(a: Tensor, b: Tensor) -> Float[Tensor, " B"]:
    """Mean squared error of each example, over all of its coordinates.

        mse_n = mean_i (a_ni - b_ni)^2

    Args:
        a: images (B, C, H, W) or vectors (B, D), floating point or uint8; uint8 is divided by 255.
        b: the examples to compare with, of the same shape.

    Returns:
        The error of each example (B,); float64 if `a` or `b` is float64, else float32.

    Raises:
        ValueError: the shapes differ, or there are no examples.
        TypeError: the examples are neither floating point nor uint8.

    >>> import torch
    >>> from chartae.metrics import mse
    >>> mse(torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5))
    tensor([0.2500, 0.2500])
    """
    a, b = _pair(a, b)
    return (a - b).square().flatten(1).mean(1)


def psnr(a: Tensor, b: Tensor) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio of each image, in decibels.

        psnr_n = -10 log10 mse_n     (the peak is 1)

    Args:
        a: images (B, C, H, W), floating point in [0, 1] or uint8; uint8 is divided by 255.
        b: the images to compare with, of the same shape.

    Returns:
        The ratio for each image (B,); higher is better, infinite for equal images.

    Raises:
        ValueError: the shapes differ, or there are no images.
        TypeError: the images are neither floating point nor uint8.

    >>> import torch
    >>> from chartae.metrics import psnr
    >>> psnr(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.1))
    tensor([20.])
    """
    return -10 * mse(a, b).log10()


def ssim(a: Tensor, b: Tensor, *, batch: int = 500) -> Float[Tensor, " B"]:
    """Structural similarity of each image, averaged over channels and window positions.

        (2 m_a m_b + C1) (2 s_ab + C2) / ((m_a^2 + m_b^2 + C1) (s_a^2 + s_b^2 + C2))

    C1 = 0.01^2 and C2 = 0.03^2, for images in [0, 1]. The means m, variances s^2 and covariance s_ab are taken under
    an 11 x 11 Gaussian window of sigma 1.5. Only windows that lie within the image count, and nothing is
    downsampled. For an image smaller than 11 pixels on a side, the window is the largest odd one that fits.

    Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004.

    Args:
        a: images (B, C, H, W), floating point in [0, 1] or uint8; uint8 is divided by 255.
        b: the images to compare with, of the same shape.
        batch: images processed at a time, which bounds the memory; default 500.

    Returns:
        The similarity of each image (B,), from -1 to 1; only equal images reach 1.

    Raises:
        ValueError: the images are not (B, C, H, W), the shapes differ, or there are no images.
        TypeError: the images are neither floating point nor uint8.

    >>> import torch
    >>> from chartae.metrics import ssim
    >>> x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> ssim(x, x)
    tensor([1., 1.])
    """
    if a.ndim != 4:
        raise ValueError(f"a has shape {tuple(a.shape)}; expected images (B, C, H, W)")
    a, b = _pair(a, b)
    return torch.cat([_ssim(p, q) for p, q in zip(a.split(batch), b.split(batch), strict=True)])


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    size = min(11, *a.shape[-2:])
    size -= 1 - size % 2
    offsets = torch.arange(size, dtype=a.dtype, device=a.device) - size // 2
    window = torch.exp(-0.5 * (offsets / 1.5).square())
    window = window / window.sum()
    # the window is separable: a column and a row convolution cost less than one with the square
    planes = torch.stack([a, b, a * a, b * b, a * b]).flatten(0, 2).unsqueeze(1)
    planes = F.conv2d(F.conv2d(planes, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    mean_a, mean_b, aa, bb, ab = planes.view(5, len(a), -1)
    c1, c2 = 0.01**2, 0.03**2
    product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    top = (2 * product + c1) * (2 * (ab - product) + c2)
    return (top / ((squares + c1) * (aa + bb - squares + c2))).mean(1)
