"""Conditional distributions: q(z|x), p(x|z), p(z) and the corruption C(x~|x) share one interface."""

from chartae.conditionals.base import Conditional, event_shape, through
from chartae.conditionals.corruptions import (
    AnnealedNoise,
    Corruption,
    Crop,
    Flip,
    GaussianNoise,
    Jitter,
    Masking,
    NoiseLevels,
    RareNoise,
    SaltAndPepper,
)
from chartae.conditionals.implicit import Implicit
from chartae.conditionals.likelihoods import Bernoulli, Categorical, Denoised, Dirac, Gaussian, LogitNormal, Product
from chartae.conditionals.priors import Beta, Empirical, Laplace, StandardNormal, Uniform, UniformCategorical

__all__ = [
    "AnnealedNoise",
    "Bernoulli",
    "Beta",
    "Categorical",
    "Conditional",
    "Corruption",
    "Crop",
    "Denoised",
    "Dirac",
    "Empirical",
    "Flip",
    "Gaussian",
    "GaussianNoise",
    "Implicit",
    "Jitter",
    "Laplace",
    "LogitNormal",
    "Masking",
    "NoiseLevels",
    "Product",
    "RareNoise",
    "SaltAndPepper",
    "StandardNormal",
    "Uniform",
    "UniformCategorical",
    "event_shape",
    "through",
]
