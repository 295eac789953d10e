"""Regularised autoencoders as generators.

A generative autoencoder is three distributions: q(z|x), p(x|z), p(z). An objective fits the first two, a density the
third, a sampler draws from what was fitted, and a diagnostic says what was learnt.
"""

from typing import TYPE_CHECKING, Any

from chartae import data, densities, metrics, nn, recipes, training
from chartae.autoencoder import Autoencoder
from chartae.conditionals import Bernoulli, Conditional, Dirac, Gaussian, GaussianNoise, StandardNormal
from chartae.evaluation import evaluate
from chartae.objectives import Objective, Penalised
from chartae.runs import Run, fit, load
from chartae.terms import (
    KL,
    MMD,
    DecoderGradient,
    DecoderL2,
    LatentNorm,
    Reconstruction,
    SlicedWasserstein,
    Term,
    Trace,
)

if TYPE_CHECKING:
    from chartae.estimator import GenerativeAutoencoder

__all__ = [
    "KL",
    "MMD",
    "Autoencoder",
    "Bernoulli",
    "Conditional",
    "DecoderGradient",
    "DecoderL2",
    "Dirac",
    "Gaussian",
    "GaussianNoise",
    "GenerativeAutoencoder",
    "LatentNorm",
    "Objective",
    "Penalised",
    "Reconstruction",
    "Run",
    "SlicedWasserstein",
    "StandardNormal",
    "Term",
    "Trace",
    "data",
    "densities",
    "evaluate",
    "fit",
    "load",
    "metrics",
    "nn",
    "recipes",
    "training",
]


def __getattr__(name: str) -> Any:
    # scikit-learn takes longer to import than all the rest but torch
    if name == "GenerativeAutoencoder":
        from chartae.estimator import GenerativeAutoencoder

        return GenerativeAutoencoder
    raise AttributeError(f"module 'chartae' has no attribute {name!r}")
