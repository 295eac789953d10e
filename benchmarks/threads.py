"""Threads of a fit: by the rule of `chartae.maths.threads`, one thread, and torch's default, quiet and beside others.

    python benchmarks/threads.py [--repeats 2]

Each figure comes from a process of its own. Quiet and beside one busy process: seconds of an epoch of 17,117 x 10 rows,
the second of a fit. Side by side: seconds until two fits of digits are done, started together or one after the other.
Steps: milliseconds of a training step of multilayer perceptrons with one and with all threads, by the work of a step,
from which the rule's limit was chosen. A process is stopped after 60 s, and its figure is then null: more than 60 s.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import torch
from common import write

import chartae as ch
from chartae.data import Batches
from chartae.maths import threads
from chartae.training.work import step_work

MODES = ("rule", "one thread", "all threads")
#: mode -> operations up to which a step runs on one thread; None for chartae's own limit
LIMITS = {"rule": None, "one thread": float("inf"), "all threads": 0.0}
#: seconds after which a process is stopped
LONGEST = 60.0
WIDTHS = ((64, 64), (256, 128), (512, 256), (1024, 512), (1536, 768))


# -- what a worker process measures ------------------------------------------------------------------------------------


def epoch() -> float:
    """Seconds of the second epoch of a fit of 17,117 x 10."""
    x = torch.randn(17_117, 10, generator=torch.Generator().manual_seed(0))
    run = ch.fit("vae", x, epochs=2, densities=(), progress=False, device="cpu")
    ends = [max(row["seconds"] for row in run.log if row["split"] == "train" and row["epoch"] == e) for e in (1, 2)]
    return float(ends[1] - ends[0])


def digits() -> float:
    """Seconds of a fit of digits, densities included."""
    started = time.perf_counter()
    ch.fit("vae", "digits", epochs=20, progress=False, device="cpu")
    return time.perf_counter() - started


def step(widths: Sequence[int]) -> float:
    """Milliseconds of a training step of an MLP with these widths: the median of 30 epochs of 20 steps."""
    torch.manual_seed(0)
    encoder, decoder = ch.nn.MLP(10, 4, widths), ch.nn.MLP(4, 10, widths[::-1])
    model = ch.Autoencoder(ch.Dirac(encoder), ch.Gaussian(decoder, 0.7), ch.StandardNormal(4))
    objective = ch.Penalised(model, ch.Reconstruction() + 0.01 * ch.LatentNorm())
    batches = Batches(torch.randn(2560, 10), 128)
    history = ch.training.fit(objective, batches, epochs=30, progress=False, device="cpu")
    ends = [max(r["seconds"] for r in history.rows if r["epoch"] == e) for e in range(1, 31)]
    return 1000 * median(b - a for a, b in itertools.pairwise(ends)) / 20


def work(widths: Sequence[int]) -> float:
    """Operations of a training step of an MLP with these widths."""
    nets = (ch.nn.MLP(10, 4, widths), ch.nn.MLP(4, 10, widths[::-1]))
    return step_work([p for net in nets for p in net.parameters()], Batches(torch.zeros(256, 10), 128))


def worker(words: Sequence[str]) -> None:
    mode, task, *numbers = words
    if LIMITS[mode] is not None:
        threads.ONE_THREAD = LIMITS[mode]
    print({"epoch": epoch, "digits": digits}[task]() if not numbers else step([int(n) for n in numbers]))


# -- the contests ------------------------------------------------------------------------------------------------------


def start(mode: str, *task: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, __file__, "--worker", mode, *task]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def figure(mode: str, *task: str) -> float:
    """What a worker process measures."""
    return result(start(mode, *task))


def result(process: subprocess.Popen[str]) -> float:
    """What a process that runs has measured; infinity if it does not end in time."""
    try:
        return float(process.communicate(timeout=LONGEST)[0])
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return float("inf")


def rounded(value: float, digits: int) -> float | None:
    """For JSON, which has no infinity."""
    return None if value == float("inf") else round(value, digits)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Another process computes all the time."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def epochs(repeats: int) -> dict[str, Any]:
    """Seconds of an epoch for each mode, in turns; all threads beside a busy process are tried once."""
    seconds: dict[str, dict[str, list[float]]] = {place: {mode: [] for mode in MODES} for place in ("quiet", "busy")}
    for turn in range(repeats):
        for mode in MODES:
            seconds["quiet"][mode].append(figure(mode, "epoch"))
        with busy():
            for mode in MODES[: 3 if turn == 0 else 2]:
                seconds["busy"][mode].append(figure(mode, "epoch"))
    return {place: {mode: rounded(median(v), 3) for mode, v in modes.items()} for place, modes in seconds.items()}


def pairs() -> dict[str, Any]:
    """Seconds until two fits of digits are done, together and one after the other."""
    rows = {}
    for mode in ("rule", "all threads"):
        after = figure(mode, "digits") + figure(mode, "digits")
        both = [start(mode, "digits") for _ in range(2)]
        together = max(result(process) for process in both)
        rows[mode] = {"one after the other": rounded(after, 2), "side by side": rounded(together, 2)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return
    seconds = epochs(arguments.repeats)
    steps = []
    for widths in WIDTHS:
        task = [str(w) for w in widths]
        one, every = figure("one thread", "step", *task), figure("all threads", "step", *task)
        steps.append({"widths": list(widths), "operations": work(widths), "one thread": rounded(one, 3),
                      "all threads": rounded(every, 3)})  # fmt: skip
    write("threads", {
        "command": f"python benchmarks/threads.py --repeats {arguments.repeats}",
        "limit": threads.ONE_THREAD,
        "seconds of an epoch of 17,117 x 10": seconds,
        "busy: rule / one thread": {
            "ratio": round(seconds["busy"]["rule"] / seconds["busy"]["one thread"], 2), "target": "<= 1.3",
        },
        "quiet: rule / all threads": {
            "ratio": round(seconds["quiet"]["rule"] / seconds["quiet"]["all threads"], 2), "target": "<= 1",
        },
        "seconds of two fits of digits": pairs(),
        "milliseconds of a step": steps,
    })  # fmt: skip


if __name__ == "__main__":
    main()
