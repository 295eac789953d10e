"""Numbers for pairs of images, one per pair, and the quantisation that precedes a comparison of pictures."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from chartae.maths import as_float

__all__ = ["mse", "psnr", "ssim", "to_uint8"]


def to_uint8(x: Tensor, mode: str = "round") -> Tensor:
    """Images in [0, 1] as uint8: values outside are clipped, never wrapped; uint8 is returned as it is.

    `round` takes the nearest of the 256 levels and so undoes a division by 255 exactly; `truncate` takes the
    one below, as the authors of the RAE paper and most image writers do: it darkens by half a level on
    average.

    >>> to_uint8(torch.tensor([-0.01, 0.499, 1.02])), to_uint8(torch.tensor([0.499]), "truncate")
    (tensor([  0, 127, 255], dtype=torch.uint8), tensor([127], dtype=torch.uint8))
    """
    if mode not in ("round", "truncate"):
        raise ValueError(f'mode={mode!r}; choose "round" or "truncate"')
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise TypeError(f"images are {x.dtype}; to_uint8 reads floating point in [0, 1], or uint8")
    if x.isnan().any():
        raise ValueError("some pixels are NaN, and NaN has no level among 0..255")
    levels = x * 255
    return (levels.round() if mode == "round" else levels).clamp(0, 255).to(torch.uint8)


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.ndim < 2 or not a.numel():
        raise ValueError(f"examples have shapes {tuple(a.shape)} and {tuple(b.shape)}; both must be one (B, ...)")
    for x in (a, b):
        if x.dtype != torch.uint8 and not x.is_floating_point():
            raise TypeError(f"examples are {x.dtype}; give floating point, in [0, 1] for images, or uint8")
    dtype = torch.float64 if torch.float64 in (a.dtype, b.dtype) else torch.float32
    return as_float(a, dtype), as_float(b, dtype)


def mse(a: Tensor, b: Tensor) -> Float[Tensor, " B"]:
    """Mean squared error per example, over all its coordinates; uint8 is divided by 255.

    Images (B, C, H, W) or vectors (B, D), both of the same shape.

    >>> mse(torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5))
    tensor([0.2500, 0.2500])
    """
    a, b = _pair(a, b)
    return (a - b).square().flatten(1).mean(1)


def psnr(a: Tensor, b: Tensor) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio per image in decibel, -10 log10 MSE (the peak is 1); infinite if equal.

    >>> psnr(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.1))
    tensor([20.])
    """
    return -10 * mse(a, b).log10()


def ssim(a: Tensor, b: Tensor, *, batch: int = 500) -> Float[Tensor, " B"]:
    """Structural similarity per image, the mean over channels and window positions of

        (2 m_a m_b + C1) (2 s_ab + C2) / ((m_a^2 + m_b^2 + C1) (s_a^2 + s_b^2 + C2)),

    C1 = 0.01^2, C2 = 0.03^2, with means, variances and covariance under an 11 x 11 Gaussian window of sigma
    1.5 and data range 1; only windows within the image count, and nothing is downsampled. An image smaller
    than 11 pixels on a side takes the largest odd window that fits. Between -1 and 1, which only equal images
    reach.

    Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004.

    >>> x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> ssim(x, x)
    tensor([1., 1.])
    """
    if a.ndim != 4:
        raise ValueError(f"images have shape {tuple(a.shape)}; ssim compares (B, C, H, W)")
    a, b = _pair(a, b)
    return torch.cat([_ssim(p, q) for p, q in zip(a.split(batch), b.split(batch), strict=True)])


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    size = min(11, *a.shape[-2:])
    size -= 1 - size % 2
    offsets = torch.arange(size, dtype=a.dtype, device=a.device) - size // 2
    window = torch.exp(-0.5 * (offsets / 1.5).square())
    window = window / window.sum()
    # the window is a product, so two passes of a line do the work of the square
    planes = torch.stack([a, b, a * a, b * b, a * b]).flatten(0, 2).unsqueeze(1)
    planes = F.conv2d(F.conv2d(planes, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    mean_a, mean_b, aa, bb, ab = planes.view(5, len(a), -1)
    c1, c2 = 0.01**2, 0.03**2
    product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    top = (2 * product + c1) * (2 * (ab - product) + c2)
    return (top / ((squares + c1) * (aa + bb - squares + c2))).mean(1)
