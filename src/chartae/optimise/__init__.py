"""Bayesian optimisation of strings in a latent space, with a surrogate of the scores and batches of new codes.

history = search(codes, scores, decode, score, density=density)       # any codes, any decoder
history = optimise(run, "penalised-logp", out="runs/search")          # a run of strings
"""

from chartae.optimise.acquisition import Region, box_batch, region_batch
from chartae.optimise.baselines import evolve, random_search
from chartae.optimise.entry import optimise, training_scores
from chartae.optimise.goals import NAMES, Goal, goal
from chartae.optimise.history import History, Row, over_runs
from chartae.optimise.identity import Known, as_molecules, without_spaces
from chartae.optimise.problem import Retrained
from chartae.optimise.search import rank_weights, search
from chartae.optimise.settings import METHODS, Search
from chartae.optimise.surrogates import KINDS, Fit, Surrogate, evaluate_surrogate, fit_surrogate
from chartae.optimise.workers import Scored, score_strings

__all__ = [
    "KINDS",
    "METHODS",
    "NAMES",
    "Fit",
    "Goal",
    "History",
    "Known",
    "Region",
    "Retrained",
    "Row",
    "Scored",
    "Search",
    "Surrogate",
    "as_molecules",
    "box_batch",
    "evaluate_surrogate",
    "evolve",
    "fit_surrogate",
    "goal",
    "optimise",
    "over_runs",
    "random_search",
    "rank_weights",
    "region_batch",
    "score_strings",
    "search",
    "training_scores",
    "without_spaces",
]
