"""The progress of training: a bar on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["TrainingProgress"]


class TrainingProgress:
    """A bar with the remaining time on a terminal, a line for each epoch elsewhere; it never waits for the device.

    Args:
        wanted: True for a bar or lines, False for neither, None for a bar on a terminal only.
        main: whether this process shows progress.
        total: number of steps in all epochs.
        steps: number of steps in an epoch.
    """

    def __init__(self, wanted: bool | None, main: bool, total: int, steps: int) -> None:
        console = Console(stderr=True)
        self.lines = main and wanted is True and not console.is_terminal
        self.bar: Progress | None = None
        if main and wanted is not False and console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}"),
                console=console,
            )
            self.task = self.bar.add_task("training", total=total, losses="")
        self.done, self.shown = 0, 0.0

    def __enter__(self) -> TrainingProgress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done)
            self.bar.stop()

    def reach(self, done: int) -> None:
        self.done = done

    def tick(self) -> None:
        self.done += 1
        if self.bar is not None and (now := time.monotonic()) - self.shown > 0.1:
            self.shown = now
            self.bar.update(self.task, completed=self.done)

    def epoch(self, epoch: int, epochs: int, losses: str, seconds: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, description=f"epoch {epoch}/{epochs}", losses=losses)
        if self.lines:
            print(f"epoch {epoch}/{epochs}  {losses}  {seconds:.1f} s", file=sys.stderr, flush=True)
