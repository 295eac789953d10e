"""When a checkpoint is due: by epochs, or by time, so that writing takes a small share of the training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Saving"]

#: seconds after which a checkpoint is written within an epoch
LATE = 600.0
#: training takes at least this many times as long as the checkpoints
SHARE = 60.0


class Saving:
    """Decides when a checkpoint is due.

    Args:
        every: number of epochs between checkpoints; None for as many as keep the time of writing below a sixtieth of
            the training. The first epoch has one in any case.
    """

    def __init__(self, every: int | None) -> None:
        self.every = every
        self.cost = 0.0
        self.last = time.perf_counter()

    def is_due(self, epoch: int) -> bool:
        """Whether a checkpoint follows an epoch, counted from 1."""
        return self._is_affordable() if self.every is None else epoch % self.every == 0

    def is_late(self) -> bool:
        """Whether so much time has passed that a checkpoint does not wait for the end of the epoch."""
        return time.perf_counter() - self.last > LATE and self._is_affordable()

    def _is_affordable(self) -> bool:
        return time.perf_counter() - self.last >= SHARE * self.cost

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure how long the block takes, which writes a checkpoint."""
        started = time.perf_counter()
        yield
        self.last = time.perf_counter()
        self.cost = self.last - started
