"""Arrays in, numbers out: set against set, image against image, and the features to compare them by."""

from chartae.metrics.features import (
    NAMES,
    Extractor,
    Inception,
    LeNetFeatures,
    Pixels,
    default_for,
    extractor,
)
from chartae.metrics.images import mse, psnr, ssim, to_uint8
from chartae.metrics.sets import Reference, frechet, kid, prdc

__all__ = [
    "NAMES",
    "Extractor",
    "Inception",
    "LeNetFeatures",
    "Pixels",
    "Reference",
    "default_for",
    "extractor",
    "frechet",
    "kid",
    "mse",
    "prdc",
    "psnr",
    "ssim",
    "to_uint8",
]
