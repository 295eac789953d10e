"""Regularised autoencoders as generators.

A generative autoencoder is three distributions: q(z|x), p(x|z), p(z). An objective fits the first two, a density the
third, a sampler draws from what was fitted, and a diagnostic says what was learnt.
"""

from typing import TYPE_CHECKING, Any

from chartae import (
    data,
    densities,
    diagnostics,
    functional,
    grammar,
    metrics,
    nn,
    optimise,
    recipes,
    samplers,
    training,
)
from chartae.autoencoder import Autoencoder
from chartae.conditionals import (
    AnnealedNoise,
    Bernoulli,
    Beta,
    Conditional,
    Dirac,
    Gaussian,
    GaussianNoise,
    Laplace,
    LogitNormal,
    Masking,
    NoiseLevels,
    RareNoise,
    SaltAndPepper,
    StandardNormal,
    Uniform,
)
from chartae.ensembles import fit_many
from chartae.evaluation import evaluate
from chartae.objectives import Objective, Penalised
from chartae.runs import Run, fit, load
from chartae.samplers import by_name
from chartae.terms import (
    KL,
    MMD,
    Contraction,
    DecoderGradient,
    DecoderL2,
    LatentNorm,
    Orthogonality,
    Reconstruction,
    SlicedScoreMatching,
    SlicedWasserstein,
    Term,
    Trace,
)

if TYPE_CHECKING:
    from chartae.estimator import GenerativeAutoencoder

__all__ = [
    "KL",
    "MMD",
    "AnnealedNoise",
    "Autoencoder",
    "Bernoulli",
    "Beta",
    "Conditional",
    "Contraction",
    "DecoderGradient",
    "DecoderL2",
    "Dirac",
    "Gaussian",
    "GaussianNoise",
    "GenerativeAutoencoder",
    "Laplace",
    "LatentNorm",
    "LogitNormal",
    "Masking",
    "NoiseLevels",
    "Objective",
    "Orthogonality",
    "Penalised",
    "RareNoise",
    "Reconstruction",
    "Run",
    "SaltAndPepper",
    "SlicedScoreMatching",
    "SlicedWasserstein",
    "StandardNormal",
    "Term",
    "Trace",
    "Uniform",
    "data",
    "densities",
    "diagnostics",
    "evaluate",
    "fit",
    "fit_many",
    "functional",
    "grammar",
    "load",
    "metrics",
    "nn",
    "optimise",
    "recipes",
    "samplers",
    "sampling",
    "training",
]


def __getattr__(name: str) -> Any:
    # scikit-learn takes longer to import than all the rest but torch
    if name == "GenerativeAutoencoder":
        from chartae.estimator import GenerativeAutoencoder

        return GenerativeAutoencoder
    raise AttributeError(f"module 'chartae' has no attribute {name!r}")
