"""Metrics on finished runs, under protocols that are written beside the numbers."""

from chartae.evaluation.comparison import Comparison, compare
from chartae.evaluation.geometry import diagnose
from chartae.evaluation.images import Judge, evaluate
from chartae.evaluation.score import judge

__all__ = ["Comparison", "Judge", "compare", "diagnose", "evaluate", "judge"]
