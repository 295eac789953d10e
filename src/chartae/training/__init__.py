"""Training: one loop for any objective and any number of players.

It writes checkpoints, resumes to the same numbers, averages weights, follows learning-rate schedules, and finds the
layer and batch where a loss first became non-finite.
"""

from chartae.records.training import Training
from chartae.training.history import History, Row
from chartae.training.loop import OnEpoch, fit
from chartae.training.postmortem import NonFinite, PostMortem, Rerun
from chartae.training.rerun import rerun_step
from chartae.training.settings import check

__all__ = [
    "History", "NonFinite", "OnEpoch", "PostMortem", "Rerun", "Row", "Training", "check", "fit", "rerun_step",
]  # fmt: skip
