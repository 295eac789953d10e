"""Diagnostics: a model in, numbers out. What it has learnt of the density."""

from chartae.diagnostics.optimal import optimal_reconstruction
from chartae.diagnostics.score import Score, score_error

__all__ = ["Score", "optimal_reconstruction", "score_error"]
