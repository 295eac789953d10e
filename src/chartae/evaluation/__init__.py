"""Metrics on finished runs, under protocols that are written beside the numbers."""

from chartae.evaluation.comparison import Comparison, compare, spread
from chartae.evaluation.geometry import diagnose
from chartae.evaluation.images import Judge, class_error, clusters_of, evaluate
from chartae.evaluation.score import judge

__all__ = ["Comparison", "Judge", "class_error", "clusters_of", "compare", "diagnose", "evaluate", "judge", "spread"]
