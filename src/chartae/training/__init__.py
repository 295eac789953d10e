"""One loop for any objective and any number of players: checkpoint, exact resume, averaging, schedules, post-mortem."""

from chartae.training.loop import History, NonFinite, check, fit

__all__ = ["History", "NonFinite", "check", "fit"]
