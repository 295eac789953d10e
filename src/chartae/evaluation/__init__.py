"""Evaluate trained runs: metrics of reconstructions and samples, stored with the protocol that produced them."""

from chartae.evaluation.base import Evaluator, Measuring, evaluates, evaluator_for
from chartae.evaluation.categories import class_error, clusters_of
from chartae.evaluation.codes import interpolate, slerp
from chartae.evaluation.comparison import Comparing, Comparison, compare, spread
from chartae.evaluation.entry import evaluate
from chartae.evaluation.geometry import Diagnosis, diagnose
from chartae.evaluation.score import evaluate_score

__all__ = [
    "Comparing",
    "Comparison",
    "Diagnosis",
    "Evaluator",
    "Measuring",
    "class_error",
    "clusters_of",
    "compare",
    "diagnose",
    "evaluate",
    "evaluate_score",
    "evaluates",
    "evaluator_for",
    "interpolate",
    "slerp",
    "spread",
]
