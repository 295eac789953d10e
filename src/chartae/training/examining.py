"""Finding the cause of a non-finite loss: the epoch is replayed from its start, and the failed step once more."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from chartae.data import Batch, Batches
from chartae.records import manifest
from chartae.records.postmortem import Arithmetic, Findings, LayerExtent, StepRow
from chartae.records.training import Training
from chartae.training.checkpoint import Fixed, Snapshot, State, snapshot
from chartae.training.postmortem import (
    FOLDER,
    MOST_BATCH,
    NonFinite,
    PostMortem,
    foreign_of,
    tensors_of,
    tries_for,
)
from chartae.training.watching import Norms, Observer, Watch, extent_of, is_finite

__all__ = ["Steps", "examine", "failed", "watched"]

#: steps before the failed one that a post-mortem keeps
TAIL = 10
#: values beyond which an operation that gives NaN has overflowed within
LARGE = 1e15
LOGARITHMS = ("log", "log2", "log10", "log1p", "log_", "logit", "xlogy")


class Steps(Protocol):
    """What a training loop can do: steps, from its state, on batches."""

    state: State
    steps: int
    training: Training
    batches: Batches
    fixed: Fixed
    folder: Path | None
    observer: Observer | None

    def restore(self, former: Snapshot) -> None:
        """Set the state back to a snapshot."""

    def epoch(self, start: int) -> Iterator[Batch]:
        """The batches of the current epoch from step `start` on."""

    def advance(self, batch: Batch) -> None:
        """Augment a batch, and take one step of every player."""

    def take(self, batch: Batch) -> None:
        """Take one step of every player on a batch that has been augmented."""


class _Replay(NamedTuple):
    """The failed step in a replay of its epoch, or the step at which the replay ended."""

    before: Snapshot
    batch: Batch
    norms: Norms
    repeated: bool


def examine(loop: Steps, start: Snapshot) -> None:
    """Raise NonFinite if a step of the epoch had a non-finite loss; the model is then set back to its last good state.

    Args:
        loop: the training at the end of an epoch.
        start: the state at the epoch's start, or where it was resumed.

    Raises:
        NonFinite: a loss or a parameter is not finite.
    """
    state = loop.state
    bad = (~state.record[: state.step].isfinite().all(1)).float()
    counts = state.device.total(bad)  # so that all processes agree
    if float(counts.sum()):
        first = int(counts.nonzero()[0])
        process = int(state.device.gather(bad[first][None]).nonzero()[0])
    else:
        # the last step's gradients have not entered any loss yet
        if is_finite([p.detach() for p in state.objective.parameters()]):
            return
        first, process = state.step - 1, 0
    loop.restore(start)
    replay = _replayed(loop, first)
    report = _report(loop, replay, first, process)
    loop.restore(start)
    state.adopt_best()
    raise NonFinite(*_message(loop, report, process))


def _replayed(loop: Steps, first: int) -> _Replay:
    """Repeat the steps of the epoch up to the first one that fails."""
    state = loop.state
    buffers: dict[str, Tensor] = {}
    at: list[tuple[Snapshot, Batch]] = []

    def begin(batch: Batch) -> None:
        # random numbers as they are after augmentation, so that the step can be repeated without it
        at[:] = [(snapshot(state, loop.fixed, buffers=buffers), batch)]

    scaler = state.device.scaler
    norms = Norms(TAIL, lambda: 1.0 if scaler is None else scaler.get_scale(), begin)
    state.objective.train()
    repeated = False
    loop.observer = norms
    try:
        for batch in loop.epoch(state.step):
            loop.advance(batch)
            # all processes leave at the same step
            repeated = bool(state.device.total(torch.tensor(float(failed(loop)), device=state.device.device)))
            if repeated or state.step > first:
                break
    finally:
        loop.observer = None
    (before, last), *_ = at
    return _Replay(before, last, norms, repeated)


def failed(loop: Steps) -> bool:
    """Whether a loss of the last step, or a parameter after it, is not finite."""
    state = loop.state
    if not bool(state.record[state.step - 1].isfinite().all()):
        return True
    return not is_finite([p.detach() for p in state.objective.parameters()])


def watched(loop: Steps, batch: Batch, *, layers: bool = True) -> Watch:
    """Take a step with every layer and operation watched, or only losses and gradients."""
    watch = Watch(loop.state.objective, operations=not loop.training.compile)
    loop.state.objective.train()
    loop.observer = watch
    try:
        with watch.watching() if layers else contextlib.nullcontext():
            loop.take(batch)
    finally:
        loop.observer = None
    return watch


def _report(loop: Steps, replay: _Replay, first: int, process: int) -> PostMortem:
    """What was found, with the state before the step, and its batch."""
    state, before = loop.state, replay.before
    loop.restore(before)
    weights = {n: p.detach() for n, p in state.objective.named_parameters()}
    wrong = next((n for n, p in weights.items() if not bool(p.isfinite().all())), "")
    largest = max((e.largest for p in weights.values() if (e := extent_of(p)) is not None), default=0.0)
    step = state.step
    try:
        watch = watched(loop, replay.batch)
    except Exception:  # a layer of the user's that cannot be watched
        loop.restore(before)
        watch = watched(loop, replay.batch, layers=False)
    after = next((n for n, p in state.objective.named_parameters() if not bool(p.isfinite().all())), "")
    repeated = replay.repeated and failed(loop)
    device = state.device
    rows = loop.batches.rows(state.epoch, step, rank=device.rank, world=device.world)
    batch = tensors_of(replay.batch)
    size = sum(v.numel() * v.element_size() for v in batch.values())
    findings = Findings(
        cause=_cause(watch, wrong, repeated), epoch=state.epoch + 1, batch=(step if repeated else first) + 1,
        steps=loop.steps, examples=len(replay.batch), player=watch.losing or watch.player, layer=watch.layer,
        layer_kind=watch.kinds.get(watch.layer, ""), operation=_arithmetic(watch),
        terms=watch.terms, parameter=wrong or watch.parameter or after, returning=watch.returning, fields=watch.fields,
        layers=tuple(LayerExtent(n, watch.kinds[n], e.largest, e.bad) for n, e in watch.layers.items()),
        tail=_tail(state, replay.norms), largest_weight=largest, repeated=repeated, threads=torch.get_num_threads(),
        device=str(device.device), ranks=device.world, rank=process, objective=repr(state.objective),
        versions={"chartae": version("chartae"), "torch": torch.__version__},
        left_out="" if size <= MOST_BATCH else f"it has {size:,} bytes; only its row numbers are kept",
    )  # fmt: skip
    training, foreign = loop.training, foreign_of(loop.training)
    named = replace(
        training, optimizer=training.optimizer if isinstance(training.optimizer, str) else "adam",
        augment=training.augment if isinstance(training.augment, str) else None,
    )  # fmt: skip
    kept = Snapshot({k: v for k, v in before.tensors.items() if not k.startswith("best/")}, before.facts)
    return PostMortem(
        findings, named, kept, {} if findings.left_out else batch, rows, foreign,
        tries_for(findings, training, "augment" in str(foreign)),
    )  # fmt: skip


def _tail(state: State, norms: Norms) -> tuple[StepRow, ...]:
    """The last steps up to the one that was just taken."""
    last = state.step
    rows = state.record[max(0, last - len(norms.steps)) : last].double().tolist()
    numbers = range(last - len(rows) + 1, last + 1)
    return tuple(
        StepRow(number, dict(zip(state.columns, row, strict=True)), taken)
        for number, row, taken in zip(numbers, rows, list(norms.steps)[-len(rows) :], strict=True)
    )


def _arithmetic(watch: Watch) -> Arithmetic | None:
    """The operation that made the first value that is not finite, if it belongs to what is named beside it."""
    operation = watch.operation
    if operation is None or (watch.layer and not watch.within):
        return None
    return Arithmetic(operation.name, operation.least, operation.most, operation.nan)


def _cause(watch: Watch, wrong: str, repeated: bool) -> str:
    """The cause, a key of `chartae.records.postmortem.CAUSES`."""
    if not repeated:
        return "unrepeated"
    if watch.fields:
        return "input"
    if wrong:
        return "weights"
    if not watch.losing:
        return "gradient"
    operation = watch.operation if not watch.layer or watch.within else None
    largest = max((e.largest for e in watch.layers.values()), default=0.0)
    if operation is None:
        return "overflow" if largest > LARGE else "undefined"
    if operation.divisor == 0:
        return "division"
    if operation.name in LOGARITHMS and operation.least <= (-1 if operation.name == "log1p" else 0):
        return "logarithm"
    if not operation.nan or max(abs(operation.least), abs(operation.most), largest) > LARGE:
        return "overflow"
    return "undefined"


def _message(loop: Steps, report: PostMortem, process: int) -> tuple[str, PostMortem]:
    """The message of the error, and the post-mortem, which the process with the failed batch has written."""
    state, folder, findings = loop.state, loop.folder, report.findings
    checkpoint = f" The last good checkpoint is kept in {folder}." if folder and state.epoch else ""
    more = ""
    if folder is not None:
        try:
            if state.device.rank == process:
                saved = report.save(folder / FOLDER)
                manifest.register(folder, FOLDER, changing=True)
                report = replace(saved, folder=folder / FOLDER)
            more = f" `chartae postmortem {shlex.quote(str(folder))}` shows more, and repeats the step."
        except (OSError, ValueError) as error:
            more = f" Its post-mortem could not be written: {error}."
        state.device.wait()
    return (
        f"the loss stopped being a finite number in epoch {findings.epoch}, batch {findings.batch} of {loop.steps}: "
        f"{findings.described}.{checkpoint} {_advice(report)}{more}"
    ), report


def _advice(report: PostMortem) -> str:
    """The changes that may help, in a sentence."""
    pairs = (f"{k}={v!r}" for t in report.tries for k, v in t.changes.items() if v is not None)
    choices = list(dict.fromkeys(pairs))
    if choices and report.findings.terms and not report.findings.layer:
        choices.append(f"a smaller weight on the term {report.findings.terms[0]}")
    if not choices:
        return " ".join(t.text for t in report.tries)
    *others, last = choices
    return f"Try {', '.join(others)}{', or ' if others else ''}{last}."
