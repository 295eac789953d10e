"""Bookkeeping of a run folder: log and checkpoints as a share of the training, early and late in a run.

    python benchmarks/bookkeeping.py [--epochs 10000] [--window 200] [--repeats 3]

A fit of a tiny net in a process of its own. The time within the functions that append to the log and that write a
checkpoint is measured as it passes, because the time of an epoch drifts over minutes by more than they take. Their
share is relative to the rest of the epoch, over a window of epochs: the first ones, and the last ones.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import write

import chartae as ch
from chartae.records.log import LogFile
from chartae.training import checkpoint

ROWS = 1000


class Clock:
    """Seconds that were spent in functions since the start."""

    def __init__(self) -> None:
        self.seconds, self.depth = 0.0, 0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its time added; a call within a call counts once."""

        def call(*args: Any, **settings: Any) -> Any:
            started, self.depth = time.perf_counter(), self.depth + 1
            try:
                return function(*args, **settings)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - started

        return call


def worker(epochs: int, window: int) -> None:
    """Print milliseconds of training and of bookkeeping an epoch, from epoch 10, and over the last ones."""
    clock = Clock()
    LogFile.append = clock.timed(LogFile.append)  # type: ignore[method-assign]
    checkpoint.save = clock.timed(checkpoint.save)
    x = torch.randn(ROWS, 10, generator=torch.Generator().manual_seed(0))
    marks = [(time.perf_counter(), 0.0)]
    with tempfile.TemporaryDirectory() as folder:
        ch.fit(
            "rae", x, net="smooth:32x32", epochs=epochs, out=Path(folder, "run"), densities=(), progress=False,
            device="cpu", on_epoch=lambda row, model: marks.append((time.perf_counter(), clock.seconds)),
        )  # fmt: skip
    for first, last in ((10, 10 + window), (epochs - window, epochs)):
        whole, kept = (1000 * (b - a) / window for a, b in zip(marks[first], marks[last], strict=True))
        print(whole - kept, kept)


def figures(epochs: int, window: int) -> list[list[float]]:
    """What a process of its own prints."""
    command = [sys.executable, __file__, "--worker", "--epochs", str(epochs), "--window", str(window)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [[float(number) for number in line.split()] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10_000)
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.epochs, arguments.window)
        return
    turns = [figures(arguments.epochs, arguments.window) for _ in range(arguments.repeats)]
    rows = {}
    for i, name in enumerate((f"epochs 10 to {10 + arguments.window}", f"the last {arguments.window} epochs")):
        training, kept = (statistics.median(turn[i][k] for turn in turns) for k in (0, 1))
        rows[name] = {
            "milliseconds of training an epoch": round(training, 3),
            "milliseconds of bookkeeping": round(kept, 3),
            "share": round(statistics.median(turn[i][1] / turn[i][0] for turn in turns), 4),
            "shares": [round(turn[i][1] / turn[i][0], 4) for turn in turns],
        }
    write("bookkeeping", {
        "command": f"python benchmarks/bookkeeping.py --epochs {arguments.epochs} --window {arguments.window}"
        f" --repeats {arguments.repeats}",
        "epochs": arguments.epochs,
        "rows": ROWS,
        "target": 0.05,
        "shares": rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
