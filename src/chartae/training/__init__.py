"""One loop for any objective and any number of players: checkpoint, exact resume, averaging, schedules, post-mortem."""

from chartae.records.training import Training
from chartae.training.history import History, Row
from chartae.training.loop import fit
from chartae.training.postmortem import NonFinite
from chartae.training.settings import check

__all__ = ["History", "NonFinite", "Row", "Training", "check", "fit"]
