"""Diagnostics: a model in, numbers out. They measure what it has learnt of the density, and how good its codes are."""

from chartae.diagnostics.codes import CodeUse, code_use
from chartae.diagnostics.consistency import (
    Rates,
    SelfConsistency,
    active_units,
    consistency_rates,
    self_consistency,
)
from chartae.diagnostics.geometry import Geometry, geometry, ima_contrast, jacobian
from chartae.diagnostics.optimal import optimal_reconstruction
from chartae.diagnostics.posterior import (
    Gap,
    Posterior,
    elbo_gap,
    linear_gap,
    optimal_posterior,
    predicted_variance,
)
from chartae.diagnostics.score import Score, score_error

__all__ = [
    "CodeUse",
    "Gap",
    "Geometry",
    "Posterior",
    "Rates",
    "Score",
    "SelfConsistency",
    "active_units",
    "code_use",
    "consistency_rates",
    "elbo_gap",
    "geometry",
    "ima_contrast",
    "jacobian",
    "linear_gap",
    "optimal_posterior",
    "optimal_reconstruction",
    "predicted_variance",
    "score_error",
    "self_consistency",
]
