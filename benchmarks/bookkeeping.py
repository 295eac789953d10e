"""Bookkeeping of a run folder: log, checkpoints and manifest, as a share of the training, early and late in a run.

    python benchmarks/bookkeeping.py [--epochs 10000] [--window 200]

The same fit of a tiny net, with and without a folder, in turns of one process each. The share is what an epoch takes
longer with a folder, over what it takes without, as means over a window of epochs: the first ones, and the last ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import write

import chartae as ch

ROWS = 1000


def ends(epochs: int, folder: Path | None) -> list[float]:
    """The time at the end of each epoch of a fit."""
    x = torch.randn(ROWS, 10, generator=torch.Generator().manual_seed(0))
    times = [time.perf_counter()]
    ch.fit(
        "rae", x, epochs=epochs, out=folder, densities=(), progress=False, device="cpu",
        on_epoch=lambda row, model: times.append(time.perf_counter()),
    )  # fmt: skip
    return times


def worker(epochs: int, window: int, with_folder: bool) -> None:
    """Print seconds of an epoch: the mean over the epochs from 10, and over the last ones."""
    with tempfile.TemporaryDirectory() as folder:
        times = ends(epochs, Path(folder, "run") if with_folder else None)
    print((times[10 + window] - times[10]) / window, (times[-1] - times[-1 - window]) / window)


def figures(epochs: int, window: int, with_folder: bool) -> tuple[float, float]:
    """What a process of its own prints."""
    command = [
        sys.executable,
        __file__,
        "--worker",
        str(int(with_folder)),
        "--epochs",
        str(epochs),
        "--window",
        str(window),
    ]
    first, last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(first), float(last)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10_000)
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        worker(arguments.epochs, arguments.window, bool(arguments.worker))
        return
    turns = [
        {kind: figures(arguments.epochs, arguments.window, kind == "folder") for kind in ("memory", "folder")}
        for _ in range(arguments.repeats)
    ]
    rows = {}
    for i, name in enumerate((f"epochs 10 to {10 + arguments.window}", f"the last {arguments.window} epochs")):
        memory, folder = (min(turn[kind][i] for turn in turns) for kind in ("memory", "folder"))
        rows[name] = {
            "milliseconds of an epoch in memory": round(1000 * memory, 3),
            "milliseconds with a folder": round(1000 * folder, 3),
            "share": round(folder / memory - 1, 3),
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
