"""The loop: steps, epochs, validation, interrupts.

It asks nothing of the device inside a step: every term of every step goes into a table on the device that is
read once an epoch. What went wrong in a step whose loss is not finite is found afterwards, by replaying the epoch
from its start with every layer watched; a run that goes well never pays for it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Unpack, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from chartae.data import Batch, Batches
from chartae.maths.random import Stream
from chartae.nn import draws_itself
from chartae.objectives import Objective, Player
from chartae.records.training import Training
from chartae.training import checkpoint
from chartae.training.average import Average
from chartae.training.checkpoint import Fixed, State
from chartae.training.device import Device, place
from chartae.training.history import History, Row
from chartae.training.postmortem import examine
from chartae.training.progress import TrainingProgress
from chartae.training.settings import OPTIMISERS, TrainingFields, check, lists_fields

__all__ = ["fit"]

POINTS = 20  # rows of the log for each epoch of training


@lists_fields(Training, "batch_size")
def fit(
    objective: Objective,
    batches: Batches,
    *,
    valid: Batches | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
    training: Training | None = None,
    **settings: Unpack[TrainingFields],
) -> History:
    """Minimise an objective; afterwards its model has the best weights and is in evaluation mode.

    With `valid`, the weights of the epoch of least validation loss are kept; without, or where the learning rate falls
    to zero (`cosine`) and no `patience` is set, the last ones.

    Args:
        objective: what is minimised; each of its players gets an optimiser of its own.
        batches: the training data.
        valid: data on which the plateau schedule, early stopping and the choice of weights look.
        folder: where `log.jsonl` and `checkpoint.safetensors` go; without it nothing is written.
        resume: go on from the folder's checkpoint, to the same numbers as an uninterrupted run.
        progress: a progress bar (a line an epoch where there is no terminal); by default only on a terminal.
        training: the settings, as one object.
        settings: the settings by their names, the fields of `Training`; in place of `training`.

    Returns:
        The log, and how training ended.

    Raises:
        ValueError, TypeError: settings, data or objective that do not go together, before any work starts.
        NonFinite: the loss stopped being a number. The model has the weights of the last good epoch again.
        KeyboardInterrupt: after a checkpoint was written, if there is a folder.
    """
    if training is not None and settings:
        raise TypeError(f"training and {', '.join(settings)} are both given; give one of them")
    training = Training(**settings) if training is None else training
    check(objective, batches, training, valid)
    if resume and folder is None:
        raise ValueError("resume needs the folder that holds the checkpoint")
    training = training.resolved(objective, valid=valid is not None)
    device = place(training.precision, training.device, len(objective.players()) > 1)
    with Stream(training.seed + device.rank).used() as stream:
        loop = _Loop(objective, batches, valid, training, device, stream, None if folder is None else Path(folder))
        try:
            if resume:
                loop.load()
            return loop.run(progress)
        finally:
            objective.eval()


class _Loop:
    """One training from its first step (or its checkpoint) to its last."""

    def __init__(
        self,
        objective: Objective,
        batches: Batches,
        valid: Batches | None,
        training: Training,
        device: Device,
        stream: Stream,
        folder: Path | None,
    ) -> None:
        self.objective, self.training, self.device, self.folder = objective, training, device, folder
        self.batches = batches.to(device.device)
        self.valid = None if valid is None else valid.to(device.device)
        self.steps = batches.steps(device.world)
        self.horizon = training.epochs * self.steps  # steps in all epochs
        objective.to(device.device)
        self.players = objective.players()
        optimisers = {name: _optimiser(training, name, player) for name, player in self.players.items()}
        self.called = cast(nn.Module, torch.compile(objective)) if training.compile else objective
        self.module = device.prepare(self.called)
        # compiled code, and layers and optimisers of others, draw from torch's own generator
        self.lends = training.compile or callable(training.optimizer) or draws_itself(objective)
        self.peak = {name: o.param_groups[0]["lr"] for name, o in optimisers.items()} if training.cosine else {}
        self.parameters = [p for player in self.players.values() for p in player.parameters]
        self.state = State(
            objective,
            device,
            stream,
            optimisers,
            {name: _plateau(o, training.plateau) for name, o in optimisers.items()} if training.plateau else {},
            Average(objective, training.ema) if training.ema else None,
        )
        objective.plan(self.horizon, self.batches)
        self.fixed: Fixed = checkpoint.fixed(objective, batches, training)
        self.stop_requested = False

    def load(self) -> None:
        assert self.folder is not None
        checkpoint.load(self.state, self.folder, self.fixed)

    def run(self, progress: bool | None) -> History:
        state, epochs = self.state, self.training.epochs
        history = state.history
        with (
            TrainingProgress(progress, self.device.is_main, self.horizon, self.steps) as bar,
            self._interrupts(),
        ):
            while state.epoch < epochs and not history.stopped:
                started = time.perf_counter()
                start = checkpoint.snapshot(state, self.fixed, copied=True)
                bar.reach(state.epoch * self.steps + state.step)
                self.module.train()
                for batch in self._epoch(state.step):
                    self._advance(batch)
                    bar.tick()
                    if self.stop_requested:
                        history.seconds += time.perf_counter() - started
                        self._interrupted()
                examine(state, start, self._epoch, self._advance, self.folder)
                # the snapshot may have been taken in mid-epoch: what was logged is the whole epoch all the same
                self._log_training(time.perf_counter() - started)
                self._raise_alarms()
                state.epoch, state.step = state.epoch + 1, 0
                history.epochs = state.epoch
                self._validate()
                history.seconds += time.perf_counter() - started
                bar.epoch(state.epoch, epochs, self._losses(), history.seconds)
                if state.epoch == epochs or history.stopped or state.epoch % self.training.checkpoint_every == 0:
                    checkpoint.save(state, self.folder, self.fixed)
        if not history.stopped:
            history.stopped = "all epochs done"
        state.adopt_best()
        self.objective.finish()
        return history

    def _epoch(self, start: int) -> Iterator[Batch]:
        """The batches of the current epoch from step `start` on."""
        return self.batches.epoch(self.state.epoch, start=start, rank=self.device.rank, world=self.device.world)

    def _drawing(self, stream: Stream) -> contextlib.AbstractContextManager[Stream]:
        """Within it, random numbers come from a stream."""
        return stream.lent(self.device.device) if self.lends else stream.used()

    def _advance(self, batch: Batch) -> None:
        """One step of every player."""
        with self._drawing(self.state.stream):
            self._step(batch)

    def _step(self, batch: Batch) -> None:
        state = self.state
        values: dict[str, Tensor] = {}
        for name, optimiser in state.optimisers.items():
            losses: dict[str, Tensor] = self.module(batch, name)
            self.device.backward(losses["loss"])
            if self.peak:
                done = (state.epoch * self.steps + state.step) / self.horizon
                for group in optimiser.param_groups:
                    group["lr"] = self.peak[name] * 0.5 * (1 + math.cos(math.pi * done))
            self.device.step(optimiser, self.players[name].parameters, self.training.clip)
            # another player's parameters were differentiated as well
            for p in self.parameters:
                p.grad = None
            values |= losses if name == "model" else {f"{name}/{key}": v for key, v in losses.items()}
        if state.average is not None:
            state.average.update(state.epoch * self.steps + state.step)
        if not state.columns or state.record.shape != (self.steps, len(state.columns)):
            state.columns = list(values)
            state.record = torch.zeros(self.steps, len(values), device=self.device.device)
        torch.stack([v.detach().float() for v in values.values()], out=state.record[state.step])
        state.step += 1

    # -- the log --------------------------------------------------------------------------------------------------

    def _log_training(self, seconds: float) -> None:
        state = self.state
        table = self.device.average(state.record).double().cpu()
        offset = state.epoch * self.steps
        lr = {name: float(o.param_groups[0]["lr"]) for name, o in state.optimisers.items()}
        edges = [round(i * self.steps / min(POINTS, self.steps)) for i in range(min(POINTS, self.steps) + 1)]
        rows: list[Row] = []
        for a, b in itertools.pairwise(edges):
            means = dict(zip(state.columns, table[a:b].mean(0).tolist(), strict=True))
            rows.append({
                "split": "train", "epoch": state.epoch + 1, "step": offset + b, **means,
                "lr": lr["model"] if "model" in lr else next(iter(lr.values())),
                "seconds": round(state.history.seconds + seconds * b / self.steps, 3),
            })  # fmt: skip
        self._write(rows)

    def _raise_alarms(self) -> None:
        """What the objective finds wrong is warned of and logged, once of a kind."""
        history = self.state.history
        rows = history.of("train")
        known = {row["kind"] for row in history.of("alarm")}
        for kind, text in self.objective.alarms(rows):
            if kind not in known:
                known.add(kind)
                where: Row = {"epoch": self.state.epoch + 1, "step": rows[-1]["step"]}
                self._write([{"split": "alarm", **where, "kind": kind, "alarm": text}])
                warnings.warn(text, RuntimeWarning, stacklevel=4)

    def _write(self, rows: list[Row]) -> None:
        self.state.history.append(rows, self.folder if self.device.is_main else None)

    def _losses(self) -> str:
        splits = ("train", *(["valid"] if self.valid is not None else []))
        rows = [self.state.history.last(split) for split in splits]
        return "  ".join(f"{row['split']} {row['loss']:.4g}" for row in rows)

    # -- validation -----------------------------------------------------------------------------------------------

    def _validate(self) -> None:
        state, history = self.state, self.state.history
        history.best_epoch = state.epoch
        if self.valid is None:
            return
        means = self._means(self.valid)
        self._write([{"split": "valid", "epoch": state.epoch, "step": state.epoch * self.steps, **means}])
        loss = means["loss"]
        for schedule in state.schedules.values():
            schedule.step(loss)
        if (self.peak or not self.objective.comparable) and self.training.patience is None:
            return
        if loss < state.best_loss:
            state.best_loss, state.bad_epochs, state.best_at = loss, 0, state.epoch
            state.keep_best()
        else:
            state.bad_epochs += 1
        history.best_epoch = state.best_at
        if self.training.patience is not None and state.bad_epochs >= self.training.patience:
            history.stopped = f"no better validation loss for {self.training.patience} epochs"

    def _means(self, batches: Batches) -> dict[str, float]:
        """Means of every term over a set; every process reads the whole of it, so that all decide alike."""
        total: dict[str, Tensor] = {}
        self.objective.eval()
        average = self.state.average
        averaged = contextlib.nullcontext() if average is None else average.applied()
        grad = torch.enable_grad if self.objective.second_order else torch.no_grad
        # the same noise in every epoch: losses differ by the weights alone
        with averaged, grad(), self._drawing(Stream(self.training.seed)), self.device.autocast():
            for batch in batches.epoch(0):
                for name, v in self.called(batch).items():
                    part = v.detach().double() * len(batch)
                    total[name] = part if name not in total else total[name] + part
        return {name: v / batches.n for name, v in zip(total, torch.stack([*total.values()]).tolist(), strict=True)}

    # -- the end --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """The first interrupt waits for the end of the step, so that the state is whole; a second does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request(number: int, frame: FrameType | None) -> None:
            if self.stop_requested:
                raise KeyboardInterrupt
            self.stop_requested = True

        former = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for s, handler in former.items():
                signal.signal(s, handler)

    def _interrupted(self) -> None:
        checkpoint.save(self.state, self.folder, self.fixed)
        where = f"epoch {self.state.epoch + 1}, step {self.state.step} of {self.steps}"
        kept = f"; go on from {self.folder} with resume" if self.folder else ""
        raise KeyboardInterrupt(f"stopped in {where}{kept}")


def _optimiser(training: Training, name: str, player: Player) -> Optimizer:
    """The optimiser of a player."""
    parameters = list(player.parameters)
    if not isinstance(training.optimizer, str):
        build: Callable[[list[nn.Parameter]], Optimizer] = training.optimizer
        return build(parameters)
    assert training.lr is not None
    rate = training.lr[name] if isinstance(training.lr, dict) else training.lr * player.rate
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, fused=True)
    return OPTIMISERS[training.optimizer](parameters, lr=rate, fused=True, betas=player.betas)  # type: ignore[call-arg]


def _plateau(optimiser: Optimizer, plateau: tuple[float, int]) -> ReduceLROnPlateau:
    factor, patience = plateau
    return ReduceLROnPlateau(optimiser, factor=factor, patience=patience)
