"""Regularised autoencoders as generators.

A generative autoencoder is three distributions: q(z|x), p(x|z), p(z). An objective fits the first two, a density the
third, a sampler draws from what was fitted, and a diagnostic says what was learnt.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chartae import (
        data,
        densities,
        diagnostics,
        evaluation,
        grammar,
        maths,
        metrics,
        nn,
        objectives,
        optimise,
        recipes,
        samplers,
        terms,
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
    from chartae.data import Batches
    from chartae.estimator import GenerativeAutoencoder
    from chartae.evaluation import evaluate
    from chartae.objectives import Objective, Penalised
    from chartae.runs import Run, fit, fit_many, load, postmortem, resume
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

#: module -> the public names that it defines; they are imported when they are first asked for
_NAMES = {
    "autoencoder": "Autoencoder",
    "conditionals": "AnnealedNoise Bernoulli Beta Conditional Dirac Gaussian GaussianNoise Laplace LogitNormal Masking "
    "NoiseLevels RareNoise SaltAndPepper StandardNormal Uniform",
    "data": "Batches",
    "estimator": "GenerativeAutoencoder",
    "evaluation": "evaluate",
    "objectives": "Objective Penalised",
    "runs": "Run fit fit_many load postmortem resume",
    "terms": "KL MMD Contraction DecoderGradient DecoderL2 LatentNorm Orthogonality Reconstruction "
    "SlicedScoreMatching SlicedWasserstein Term Trace",
}
_MODULES = [
    "data",
    "densities",
    "diagnostics",
    "evaluation",
    "grammar",
    "maths",
    "metrics",
    "nn",
    "objectives",
    "optimise",
    "recipes",
    "samplers",
    "terms",
    "training",
]
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "KL",
    "MMD",
    "AnnealedNoise",
    "Autoencoder",
    "Batches",
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
    "evaluation",
    "fit",
    "fit_many",
    "grammar",
    "load",
    "maths",
    "metrics",
    "nn",
    "objectives",
    "optimise",
    "postmortem",
    "recipes",
    "resume",
    "samplers",
    "terms",
    "training",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"chartae.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"chartae.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("chartae")
    raise AttributeError(f"module 'chartae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
