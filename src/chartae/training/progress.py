"""The progress of training: a bar on a terminal or in a notebook, a line for each epoch elsewhere."""

from __future__ import annotations

import html
import multiprocessing
import sys
import threading
import time
from abc import ABC, abstractmethod
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["TrainingProgress"]

#: held by the fit whose bar is on the terminal; bars of several threads would overwrite each other
_terminal = threading.Lock()


class TrainingProgress:
    """A bar with the remaining time on a terminal, a line for each epoch elsewhere; it never waits for the device.

    A Jupyter notebook shows a bar below the cell. The terminal shows one bar at a time, that of the fit that started
    first, and none of a process that another one has started.

    Args:
        wanted: True for a bar or lines, False for neither, None for a bar on a terminal or in a notebook only.
        main: whether this process shows progress.
        total: number of steps in all epochs.
        steps: number of steps in an epoch.
    """

    def __init__(self, wanted: bool | None, main: bool, total: int, steps: int) -> None:
        self.wanted, self.main, self.total = wanted, main, total
        self.bar: _Bar | None = None
        self.lines = False
        self.done, self.shown = 0, 0.0

    def __enter__(self) -> TrainingProgress:
        if self.main and self.wanted is not False:
            self.bar = self._bar()
            self.lines = self.wanted is True and self.bar is None
        if self.bar is not None:
            self.bar.start()
        return self

    def _bar(self) -> _Bar | None:
        """The bar that suits where standard error goes, if any."""
        console = Console(stderr=True)
        if console.is_jupyter:
            return _NotebookBar(self.total)
        if console.is_terminal and multiprocessing.parent_process() is None and _terminal.acquire(blocking=False):
            return _TerminalBar(console, self.total)
        return None

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.show(self.done)
            self.bar.stop()

    def reach(self, done: int) -> None:
        self.done = done

    def tick(self) -> None:
        self.done += 1
        if self.bar is not None and (now := time.monotonic()) - self.shown > 0.1:
            self.shown = now
            self.bar.show(self.done)

    def epoch(self, epoch: int, epochs: int, losses: str, seconds: float) -> None:
        if self.bar is not None:
            self.bar.describe(f"epoch {epoch}/{epochs}", losses)
            self.bar.show(self.done)
        if self.lines:
            print(f"epoch {epoch}/{epochs}  {losses}  {seconds:.1f} s", file=sys.stderr, flush=True)


class _Bar(ABC):
    """A bar that is started, shown at a number of steps, and stopped."""

    @abstractmethod
    def start(self) -> None:
        """Show the empty bar."""

    @abstractmethod
    def stop(self) -> None:
        """Leave the bar as it is."""

    @abstractmethod
    def describe(self, epoch: str, losses: str) -> None:
        """Set the text beside the bar."""

    @abstractmethod
    def show(self, done: int) -> None:
        """Show the bar at `done` steps."""


class _TerminalBar(_Bar):
    """A bar on a terminal; whoever makes it holds `_terminal`, which `stop` releases."""

    def __init__(self, console: Console, total: int) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}", markup=False),
            console=console,
        )
        self.task = self.progress.add_task("training", total=total, losses="")

    def start(self) -> None:
        self.progress.start()

    def stop(self) -> None:
        try:
            self.progress.stop()
        finally:
            _terminal.release()

    def describe(self, epoch: str, losses: str) -> None:
        self.progress.update(self.task, description=epoch, losses=losses)

    def show(self, done: int) -> None:
        self.progress.update(self.task, completed=done)


class _NotebookBar(_Bar):
    """A bar below the cell of a Jupyter notebook, by HTML alone, so that it needs no widgets."""

    def __init__(self, total: int) -> None:
        self.total, self.text = total, "training"
        self.started = time.monotonic()
        self.handle: Any = None

    def describe(self, epoch: str, losses: str) -> None:
        self.text = f"{epoch}  {losses}"

    def show(self, done: int) -> None:
        from IPython.display import display

        seconds = (time.monotonic() - self.started) / max(1, done) * (self.total - done)
        remaining = f", {seconds:.0f} s left" if 0 < done < self.total else ""
        text = f"{self.text}  {done}/{self.total}{remaining}"
        bar = f'<progress value="{done}" max="{self.total}"></progress>'
        formats = {"text/plain": text, "text/html": f"{bar} <code>{html.escape(text)}</code>"}
        if self.handle is None:
            self.handle = display(formats, raw=True, display_id=True)
        else:
            self.handle.update(formats, raw=True)

    def start(self) -> None:
        self.show(0)

    def stop(self) -> None:
        return
