"""Bayesian optimisation over a latent space: a surrogate of the scores, an acquisition, rounds of new strings.

found = search(codes, scores, decode, score, density=density)       # any codes, any decoder
found = optimise(run, "penalised-logp", out="runs/search")          # a run of strings
"""

from chartae.optimise.acquisition import Region, box_batch, region_batch
from chartae.optimise.history import Found, Row, over_runs
from chartae.optimise.goals import NAMES, Goal, goal
from chartae.optimise.entry import optimise, training_scores
from chartae.optimise.workers import Scored, score_strings
from chartae.optimise.search import METHODS, Retrained, rank_weights, search
from chartae.optimise.surrogates import KINDS, Surrogate, fit_surrogate, judge_surrogate

__all__ = [
    "KINDS",
    "METHODS",
    "NAMES",
    "Found",
    "Goal",
    "Region",
    "Retrained",
    "Row",
    "Scored",
    "Surrogate",
    "box_batch",
    "fit_surrogate",
    "goal",
    "judge_surrogate",
    "optimise",
    "over_runs",
    "rank_weights",
    "region_batch",
    "score_strings",
    "search",
    "training_scores",
]
