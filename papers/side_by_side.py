"""Rows of a comparison that are trained side by side, each in a process of its own, within a time budget.

A row is a recipe with a seed. It is trained in parts of whole epochs, so that it ends at its deadline with weights that
are then evaluated; a later start with more time continues from its checkpoint.

    python -m papers.side_by_side ROW      # trains and evaluates one row; ROW is JSON
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import chartae as ch
from chartae.data import load
from chartae.evaluation import Measuring, evaluate, evaluator_for
from chartae.records import manifest
from chartae.records.comparison import ComparedColumn, ComparedRecipe, ComparedRun, Comparison, Spread
from chartae.records.log import read_log
from chartae.records.parsing import Value
from chartae.records.results import Results
from papers.imagenet import WEIGHTS, ImageNetFeatures

__all__ = ["IMAGENET", "Row", "assemble", "columns", "train_all"]

#: results of a row with ImageNet's features
IMAGENET = "imagenet.json"
#: share of the time left that the next part of a training may take
SHARE = 0.6


@dataclass(frozen=True)
class Row:
    """A row to be trained and evaluated.

    Args:
        recipe: name of the recipe.
        seed: seed of training and sampling.
        out: folder of the comparison; the row's run folder is RECIPE/seed-SEED in it.
        data: name of the data set.
        root: folder of named data sets; default: as `chartae.data.load`.
        epochs: number of training epochs, >= 1.
        settings: further keywords of `chartae.fit`.
        densities: names of the densities that are sampled.
        until: time in seconds since 1970 at which training stops; default: after all epochs.
        device: device to train on; default: a GPU if there is one.
        threads: number of threads of the process on the CPU, >= 1.
    """

    recipe: str
    seed: int
    out: str
    data: str
    root: str | None = None
    epochs: int = 100
    settings: Mapping[str, Any] = field(default_factory=dict)
    densities: Sequence[str] = ("prior", "normal", "gmm")
    until: float | None = None
    device: str | None = None
    threads: int = 1

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out) / self.recipe / f"seed-{self.seed}"

    def reached(self) -> int:
        """The number of epochs with which the row is evaluated; 0 if it is not."""
        path = self.folder / "results.json"
        return (Results.read(path).training.epochs or 0) if path.is_file() else 0

    def finished(self) -> bool:
        """Whether the row is trained for all epochs, and evaluated."""
        return self.reached() >= self.epochs

    def train(self) -> ch.Run:
        """Train, from the checkpoint if there is one, until all epochs are done or the time is up."""
        resume = (self.folder / "checkpoint.safetensors").is_file()
        done = self._epochs_done() if resume else 0
        run, pace = None, None
        while (target := self._target(done, pace)) > done or run is None:
            started = time.time()
            run = ch.fit(
                self.recipe, load(self.data, root=self.root), out=self.folder, resume=resume, overwrite=not resume,
                epochs=max(1, target), seed=self.seed, densities=(), device=self.device, progress=False,
                checkpoint_every=10**9, **self.settings,
            )  # fmt: skip
            pace = (time.time() - started) / max(1, target - done)
            done, resume = max(1, target), True
        return run

    def _epochs_done(self) -> int:
        """The number of epochs in the log, of which the last one may be unfinished."""
        return max(
            (int(row.epoch or 0) for row in read_log(self.folder / "log.jsonl") if row.split == "train"), default=0
        )

    def _target(self, done: int, pace: float | None) -> int:
        """The number of epochs at which the next part of the training ends."""
        left = math.inf if self.until is None else self.until - time.time()
        if pace is None:  # one epoch, to measure its time
            return min(self.epochs, done + (left > 0))
        if self.until is None:
            return self.epochs
        part = math.floor(SHARE * left / pace)
        return min(self.epochs, done + max(part, int(left > 1.2 * pace)))

    def evaluate(self, run: ch.Run) -> None:
        """Compare sets with the features of the data set's classifier, and with ImageNet's if its weights are there."""
        data, device = load(self.data, root=self.root), str(run.device)

        def measured(measuring: Measuring) -> Results:
            evaluator = evaluator_for(data, measuring)
            return evaluate(run, data, evaluator=evaluator, densities=self.densities, seed=self.seed)

        results = measured(Measuring(device=device))
        weights = Path(self.root or os.environ.get("CHARTAE_DATA") or ".") / WEIGHTS
        if weights.is_file():
            try:
                measured(Measuring(ImageNetFeatures(weights, device), device=device)).write(self.folder / IMAGENET)
            finally:  # `evaluate` writes results.json each time
                with manifest.writing(self.folder, "results.json"):
                    results.write(self.folder / "results.json")


def train_all(
    rows: Sequence[Row],
    *,
    jobs: int,
    minutes: float | None,
    say: Callable[[str], None],
    write: Callable[[], object],
    overwrite: bool = False,
) -> None:
    """Train and evaluate rows, several at a time; rows that are finished are left as they are.

    Each row has its output in OUT/RECIPE-SEED.log. If the time is up before a row has begun, it is left out.

    Args:
        rows: the rows, in the order in which they start.
        jobs: number of processes, >= 1.
        minutes: time for training, in minutes; evaluation comes on top. None for no limit.
        say: function called with each progress message.
        write: function called after each row, which writes the table of the rows so far.
        overwrite: whether to train all rows anew; default False.

    Raises:
        ChildProcessError: a row failed; the message says where its output is.
    """
    end = None if minutes is None else time.time() + 60 * minutes
    for row in rows if overwrite else ():
        shutil.rmtree(row.folder, ignore_errors=True)
    waiting = [row for row in rows if not row.finished()]
    for row in rows:
        if row not in waiting:
            say(f"{row.recipe}, seed {row.seed}: finished already")
    threads = max(1, (os.cpu_count() or 1) // min(jobs, max(1, len(waiting))))
    running: dict[subprocess.Popen[bytes], Row] = {}
    failed: list[Row] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                row, turns = waiting.pop(0), math.ceil((len(waiting) + 1) / jobs)
                if end is not None and time.time() >= end:
                    say(f"{row.recipe}, seed {row.seed}: no time left")
                    continue
                until = None if end is None else time.time() + (end - time.time()) / turns
                say(f"{row.recipe}, seed {row.seed}: training")
                running[_start(dataclasses.replace(row, until=until, threads=threads))] = row
            time.sleep(0.1)
            for process in [process for process in running if process.poll() is not None]:
                row = running.pop(process)
                failed += [row] if process.returncode else []
                say(f"{row.recipe}, seed {row.seed}: {'failed' if process.returncode else f'{row.reached()} epochs'}")
                write()
    finally:
        for process in running:  # an interrupted training writes its checkpoint
            process.terminate()
        for process in running:
            process.wait()
    if failed:
        logs = ", ".join(str(_log(row)) for row in failed)
        raise ChildProcessError(f"{len(failed)} of {len(rows)} rows failed. Their output is in {logs}.")


def _log(row: Row) -> Path:
    return Path(row.out) / f"{row.recipe}-{row.seed}.log"


def _start(row: Row) -> subprocess.Popen[bytes]:
    """Start the process of a row."""
    root = str(Path(__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(row.threads)}
    words = [sys.executable, "-m", "papers.side_by_side", json.dumps(dataclasses.asdict(row))]
    with _log(row).open("ab") as log:
        return subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)


# -- the table --------------------------------------------------------------------------------------------------------


def columns(densities: Sequence[str]) -> dict[str, ComparedColumn]:
    """The columns of a comparison of pictures."""
    names = ("reconstruction", "own", *densities, "interpolation-linear", "interpolation-spherical")
    return {name: ComparedColumn(name) for name in names}


def assemble(rows: Sequence[Row], facts: Mapping[str, Value], name: str = "results.json") -> Comparison | None:
    """The comparison of the rows that are evaluated; None if there are none.

    Args:
        rows: all rows of the table.
        facts: further entries of `comparison.json`.
        name: file of a row's results.
    """
    evaluated = [(row, Results.read(row.folder / name)) for row in rows if (row.folder / name).is_file()]
    if not evaluated:
        return None
    runs = [
        ComparedRun(row.recipe, row.seed, row.folder, r.sets, r.reconstruction, r.training.seconds, r.own)
        for row, r in evaluated
    ]
    last, described = evaluated[-1][1], columns(rows[0].densities)
    epochs = {
        recipe: [r.training.epochs for row, r in evaluated if row.recipe == recipe]
        for recipe in dict.fromkeys(row.recipe for row, _ in evaluated)
    }
    stated: dict[str, Value] = {
        "data": rows[0].data, "metric": last.metric, "recipes": list(epochs),
        "seeds": sorted({row.seed for row, _ in evaluated}), "floor": last.sets["floor"].to_dict(),
        "epochs_reached": epochs,
    }  # fmt: skip
    summary = tuple(_summary([run for run in runs if run.recipe == recipe], described) for recipe in epochs)
    return Comparison(rows[0].data, last.metric, last.protocol, tuple(runs), summary, described, {**stated, **facts})


def _summary(runs: Sequence[ComparedRun], described: Mapping[str, ComparedColumn]) -> ComparedRecipe:
    spreads = {}
    for name, column in described.items():
        values = [value for value in (run.value(column) for run in runs) if value is not None]
        if values:
            spreads[name] = Spread(mean(values), stdev(values) if len(values) > 1 else None)
    return ComparedRecipe(runs[0].recipe, runs[0].own, len(runs), spreads)


def main(words: Sequence[str]) -> None:
    """Train and evaluate the row that is described in JSON."""
    row = Row(**json.loads(words[0]))
    started = time.time()
    run = row.train()
    trained = time.time()
    row.evaluate(run)
    print(f"{row.reached()} epochs, training {trained - started:.1f} s, evaluation {time.time() - trained:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
