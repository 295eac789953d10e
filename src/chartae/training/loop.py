"""The training loop: steps, epochs, validation and interrupts.

A step never waits for the device: the values of all terms go into a table on the device, which is read once an epoch.
If a loss is not finite, the epoch is replayed from its start with every layer watched, to find the cause; a run without
such a loss does not pay for it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias, Unpack, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from chartae.autoencoder import Autoencoder
from chartae.data import Batch, Batches
from chartae.maths.random import Stream
from chartae.maths.threads import limited_threads, threads_for
from chartae.nn import draws_itself
from chartae.objectives import Objective, Player
from chartae.records.interrupts import Interrupted, catching
from chartae.records.log import LOG, LogFile
from chartae.records.space import Persisting
from chartae.records.training import Training
from chartae.training import checkpoint
from chartae.training.adam import AdamSteps
from chartae.training.augmentation import Augmentation
from chartae.training.average import Average
from chartae.training.checkpoint import Fixed, Snapshot, State
from chartae.training.device import Device, place
from chartae.training.examining import examine
from chartae.training.history import History, Row
from chartae.training.progress import TrainingProgress
from chartae.training.saving import Saving
from chartae.training.settings import OPTIMISERS, TrainingFields, check, lists_fields
from chartae.training.watching import Observer, is_finite
from chartae.training.work import step_work

__all__ = ["Loop", "OnEpoch", "check_resumable", "fit"]

#: what is called after each epoch; True ends the training
OnEpoch: TypeAlias = Callable[[Row, Autoencoder], object]

POINTS = 20  # rows of the log for each epoch of training
RECENT = 400  # last rows of the log that alarms are raised from


@lists_fields(Training, "batch_size")
def fit(
    objective: Objective,
    batches: Batches,
    *,
    valid: Batches | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
    on_epoch: OnEpoch | None = None,
    training: Training | None = None,
    **settings: Unpack[TrainingFields],
) -> History:
    """Train the model of an objective; afterwards it has the best weights and is in evaluation mode.

    With `valid`, the weights of the epoch with the lowest validation loss are kept. The last weights are kept without
    `valid`, where a critic is part of the loss, and where the learning rate falls to zero (`cosine`); in the last two
    cases a `patience` makes the validation loss choose all the same.

    Settings are given either by name, or together as one `Training` object.

    Args:
        objective: the objective; each of its players has its own optimiser.
        batches: the training data, with their batch size.
        valid: validation data, for the plateau schedule, early stopping and the choice of weights; None (default) for
            none.
        folder: folder for `log.jsonl` and `checkpoint.safetensors`; None (default) to write nothing.
        resume: whether to continue from the folder's checkpoint, to the same numbers as an uninterrupted run; False by
            default.
        progress: True for a progress bar, or a line for each epoch without a terminal; False for neither; None
            (default) for a progress bar only on a terminal or in a notebook.
        on_epoch: function that is called after each epoch, and after its checkpoint, with the last row of the log (of
            the validation data, or else of the training data) and the model in evaluation mode, with the weights that
            were validated: the moving average if there is one. Training ends if it returns True; it can be resumed. The
            function must not change the model. What it draws does not change the training. With several processes each
            of them calls it, and training ends if it returns True in any. None (default) for none.
        training: all settings as one object, in place of those below.
        epochs: number of passes over the training data, >= 1; default 10.
        lr: learning rate, > 0, for all players or as a dict by player; None (default) for 1e-3.
        optimizer: ``"adam"`` (default), ``"adamw"``, ``"sgd"``, or a function from parameters to an optimiser.
        precision: ``"fp32"`` (default), ``"bf16"``, or ``"fp16"`` (GPU only; the loss is scaled).
        clip: largest norm of a player's gradient, > 0; None (default) for no limit.
        plateau: (factor, patience): multiply the learning rate by `factor` after `patience` epochs without a lower
            validation loss. None (default) for (0.5, 5) where it makes sense; False for no such schedule.
        cosine: whether the learning rate falls to zero as half a cosine; None (default) for the objective's choice.
        patience: number of epochs without a lower validation loss after which training stops; None (default) for no
            such limit.
        ema: decay of the moving average of the weights, in (0, 1), which is then validated and kept; 0 for no average;
            None (default) for the objective's choice.
        seed: seed of all random numbers drawn in training; default 0.
        device: ``"cpu"``, ``"cuda"`` or another of torch's devices; None (default) for a GPU if there is one.
        compile: whether to use `torch.compile` on the objective; False by default.
        checkpoint_every: number of epochs between checkpoints, >= 1; None (default) for as many as keep the time of
            writing below a sixtieth of the training. An interrupt writes one too, and so do ten minutes without one.
        augment: random changes of the training pictures, new in every step: ``"flip"``, ``"crop"``, ``"rotate"``, or
            several, separated by commas; or a function from a batch of examples (n, *S) in the model's form to one of
            the same shape, for any kind of data, which draws random numbers from torch. Validation data are not
            changed. None (default) for no changes.

    Returns:
        The log of training, with the reason why it ended.

    Raises:
        TypeError: an argument has the wrong type, or `training` and settings are both given.
        ValueError: settings, data and objective do not fit together; raised before any work starts.
        NonFinite: the loss became infinite or NaN. The model then has the weights of the last good epoch. The error's
            `postmortem` reproduces the step, and is written into the folder if there is one.
        KeyboardInterrupt: the run was interrupted; a checkpoint was written if there is a folder.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.training import fit
    >>> _ = torch.manual_seed(0)
    >>> decoder = ch.Gaussian(torch.nn.Linear(2, 3))
    >>> model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(3, 2)), decoder, ch.StandardNormal(2))
    >>> batches = ch.Batches(torch.randn(64, 3), 16)
    >>> history = fit(ch.Penalised(model, ch.Reconstruction()), batches, epochs=3, device="cpu", progress=False)
    >>> history.stopped, history.last()["step"]
    ('all epochs done', 12)
    """
    if training is not None and settings:
        raise TypeError(f"training and {', '.join(settings)} are both given; give one of them")
    training = Training(**settings) if training is None else training
    check(objective, batches, training, valid)
    if resume and folder is None:
        raise ValueError("resume is True, but folder is None; expected the folder of the checkpoint. Give folder=...")
    training = training.resolved(objective, valid=valid is not None)
    device = place(training.precision, training.device, len(objective.players()) > 1)
    with (
        torch.enable_grad(),  # the caller may have switched gradients off
        limited_threads(_threads(objective, batches, device)),
        Stream(training.seed + device.rank).used() as stream,
    ):
        loop = Loop(objective, batches, valid, training, device, stream, None if folder is None else Path(folder))
        try:
            if resume:
                loop.load()
            return loop.run(progress, on_epoch)
        finally:
            objective.eval()


def check_resumable(
    objective: Objective, batches: Batches, training: Training, valid: Batches | None, folder: Path
) -> None:
    """Check that a training can be continued from the checkpoint in a folder, before anything changes there.

    Args:
        objective: the objective.
        batches: the training data.
        training: settings of the training.
        valid: validation data; None for none.
        folder: folder of the checkpoint.

    Raises:
        ValueError: the checkpoint was written with other settings.
    """
    training = training.resolved(objective, valid=valid is not None)
    checkpoint.check(folder, checkpoint.fixed(objective, batches, training))
    epoch, step, _ = checkpoint.progress_of(folder)
    if (epoch, step) > (training.epochs, 0):
        raise ValueError(
            f"epochs is {training.epochs}, but the checkpoint in {folder} is in epoch {epoch + 1 if step else epoch}; "
            "expected at least as many. Give more epochs, or train in a new folder"
        )


class Loop:
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
        # batch normalisation, and distances between batches, need more than one example
        batches = batches.without_single(device.world)
        self.batches = batches.to(device.device)
        self.valid = None if valid is None else valid.resized().to(device.device)
        self.steps = batches.steps(device.world)
        self.horizon = training.epochs * self.steps  # number of steps in all epochs
        objective.to(device.device)
        self.players = objective.players()
        optimisers = {name: _optimiser(training, name, player) for name, player in self.players.items()}
        adam = training.optimizer == "adam"
        self.adam = {name: AdamSteps(o) for name, o in optimisers.items()} if adam else {}
        self.called = cast(nn.Module, torch.compile(objective)) if training.compile else objective
        self.module = device.prepare(self.called)
        # compiled code, and foreign layers, optimisers and augmentations, draw from torch's global generator
        self.augment = None if training.augment is None else Augmentation(training.augment)
        foreign = callable(training.optimizer) or callable(training.augment)
        self.lends = training.compile or foreign or draws_itself(objective)
        self.peak = {name: o.param_groups[0]["lr"] for name, o in optimisers.items()} if training.cosine else {}
        self.parameters = [p for player in self.players.values() for p in player.parameters]
        self.state = State(
            objective,
            device,
            stream,
            optimisers,
            {name: _plateau(o, training.plateau) for name, o in optimisers.items()} if training.plateau else {},
            Average(objective, training.ema) if training.ema else None,
            total=training.epochs,
        )
        objective.plan(self.horizon, self.batches)
        self.fixed: Fixed = checkpoint.fixed(objective, batches, training)
        self.buffers: dict[str, Tensor] = {}  # the memory of the snapshot at the start of each epoch
        self.state.history.threads = torch.get_num_threads()
        if self.folder is not None and device.is_main:
            self.state.log = LogFile(self.folder / LOG)
        self.alarms: set[str] = set()  # kinds that have been raised
        self.saving = Saving(training.checkpoint_every)
        self.writes = Persisting("training goes on, and the next checkpoint tries again")
        self.logging = Persisting("training goes on, and the next rows of the log try again")
        self.unlogged: list[Row] = []  # rows that the disk had no room for
        self.signal = 0  # the number of the signal that asks for a stop
        self.observer: Observer | None = None  # what a replay looks at

    def load(self) -> None:
        assert self.folder is not None
        threads = self.state.history.threads
        checkpoint.load(self.state, self.folder, self.fixed)
        self.alarms = {str(row["kind"]) for row in self.state.history.of("alarm")}
        former, self.state.history.threads = self.state.history.threads, threads
        if former not in (0, threads):
            warnings.warn(
                f"the run in {self.folder} was trained with {former} threads and continues with {threads}, so the last "
                "digits of its numbers may differ from those of an uninterrupted run. For the same numbers, call "
                f"torch.set_num_threads({former}) first, or set OMP_NUM_THREADS={former}.",
                UserWarning,
                stacklevel=4,
            )

    def run(self, progress: bool | None, on_epoch: OnEpoch | None) -> History:
        state, epochs = self.state, self.training.epochs
        history = state.history
        if state.log is not None and not history.rows:
            state.log.write([])
        with (
            TrainingProgress(progress, self.device.is_main, self.horizon, self.steps) as bar,
            catching(self._stop),
        ):
            while state.epoch < epochs and not history.stopped:
                started = time.perf_counter()
                start = checkpoint.snapshot(state, self.fixed, buffers=self.buffers)
                bar.reach(state.epoch * self.steps + state.step)
                self.module.train()
                with self._explained(start):
                    for batch in self.epoch(state.step):
                        self.advance(batch)
                        bar.tick()
                        if self.signal:
                            if self.device.world == 1 and not self._is_finite():
                                break  # a checkpoint of such weights could not be continued
                            history.seconds += time.perf_counter() - started
                            self._interrupted()
                        # several processes would have to agree in every step
                        if self.device.world == 1 and self.saving.is_late() and self._is_finite():
                            self._save_within_epoch(started)
                examine(self, start)
                # even if the snapshot was taken within the epoch, the whole epoch is logged
                self._log_training(time.perf_counter() - started)
                self._raise_alarms()
                state.epoch, state.step = state.epoch + 1, 0
                history.epochs = state.epoch
                self._validate()
                history.seconds += time.perf_counter() - started
                bar.epoch(state.epoch, epochs, self._losses(), history.seconds)
                due = state.epoch == epochs or bool(history.stopped) or self._is_due()
                if due:
                    self._save()
                if on_epoch is not None and self._asks_to_stop(on_epoch, saved=due) and not history.stopped:
                    self._save()  # resumable, so without the reason
                    history.stopped = "on_epoch asked to stop"
        if not history.stopped:
            history.stopped = "all epochs done"
        state.adopt_best()
        self.objective.finish()
        return history

    def _is_due(self) -> bool:
        """Whether a checkpoint follows this epoch, which all processes agree on."""
        due = torch.tensor([self.saving.is_due(self.state.epoch)], device=self.device.device)
        return bool(self.device.total(due.float()))

    def _is_finite(self) -> bool:
        """Whether all losses of the epoch so far are finite, and the parameters after its last step."""
        losses = self.state.record[: self.state.step]
        return bool(losses.isfinite().all()) and is_finite([p.detach() for p in self.objective.parameters()])

    def _save(self) -> bool:
        """Write a checkpoint; whether the disk had room."""
        with self.saving.timed():
            return checkpoint.save(self.state, self.folder, self.fixed, self.writes)

    def _save_within_epoch(self, started: float) -> None:
        """Write a checkpoint whose clock shows the time so far."""
        history, seconds = self.state.history, self.state.history.seconds
        history.seconds += time.perf_counter() - started
        self._save()
        history.seconds = seconds

    @contextlib.contextmanager
    def _explained(self, start: Snapshot) -> Iterator[None]:
        """Raise NonFinite in place of an error of a step after one whose loss was not finite, such as of scikit-learn.

        With several processes, the others do not have the error and would wait for each other.
        """
        try:
            yield
        except Exception:
            if self.device.world == 1 and self.state.step > 0:
                examine(self, start)
            raise

    def restore(self, former: Snapshot) -> None:
        """Set the state back to a snapshot."""
        checkpoint.restore(self.state, former)
        self._forget()

    def _forget(self) -> None:
        """Let the optimisers gather their states anew, as these may have been restored."""
        for steps in self.adam.values():
            steps.forget()

    def epoch(self, start: int) -> Iterator[Batch]:
        """The batches of the current epoch from step `start` on."""
        self._forget()
        return self.batches.epoch(self.state.epoch, start=start, rank=self.device.rank, world=self.device.world)

    def _drawing(self, stream: Stream) -> contextlib.AbstractContextManager[Stream]:
        """A context in which random numbers come from a stream."""
        return stream.lent(self.device.device) if self.lends else stream.used()

    def advance(self, batch: Batch) -> None:
        """Take one step of every player; the state's stream is in use during the whole training."""
        if self.augment is not None:
            with self._lending():
                batch = self.augment(batch)
        self.take(batch)

    def take(self, batch: Batch) -> None:
        """Take one step of every player on a batch that has been augmented."""
        if self.observer is not None:
            self.observer.begin(batch)
        with self._lending():
            self._step(batch)

    def _lending(self) -> contextlib.AbstractContextManager[object]:
        """A context in which torch draws from the state's stream, if anything may draw from torch."""
        return self._drawing(self.state.stream) if self.lends else contextlib.nullcontext()

    def _step(self, batch: Batch) -> None:
        state, observer = self.state, self.observer
        values: dict[str, Tensor] = {}
        for name, optimiser in state.optimisers.items():
            if observer is not None:
                observer.turn(name)
            losses: dict[str, Tensor] = self.module(batch, name)
            if observer is not None:
                observer.computed(losses)
            self.device.backward(losses["loss"])
            if observer is not None:
                observer.gradients(self.players[name].parameters)
            if self.peak:
                done = (state.epoch * self.steps + state.step) / self.horizon
                for group in optimiser.param_groups:
                    group["lr"] = self.peak[name] * 0.5 * (1 + math.cos(math.pi * done))
            take = self.adam[name].step if self.adam else None
            self.device.step(optimiser, self.players[name].parameters, self.training.clip, take)
            # clear all gradients, as the loss also reaches the other players' parameters
            for p in self.parameters:
                p.grad = None
            values |= losses if name == "model" else {f"{name}/{key}": v for key, v in losses.items()}
        if state.average is not None:
            state.average.update(state.epoch * self.steps + state.step)
        if not state.columns or state.record.shape != (self.steps, len(state.columns)):
            state.columns = list(values)
            state.record = torch.zeros(self.steps, len(values), device=self.device.device)
        torch.stack([v.detach() for v in values.values()], out=state.record[state.step])
        state.step += 1

    # -- the log --------------------------------------------------------------------------------------------------

    def _log_training(self, seconds: float) -> None:
        state = self.state
        table = self.device.average(state.record).double().cpu()
        offset = state.epoch * self.steps
        lr = {name: float(o.param_groups[0]["lr"]) for name, o in state.optimisers.items()}
        edges = [round(i * self.steps / min(POINTS, self.steps)) for i in range(min(POINTS, self.steps) + 1)]
        if len(table) > POINTS:
            table = torch.stack([table[a:b].mean(0) for a, b in itertools.pairwise(edges)])
        rows: list[Row] = []
        for b, means in zip(edges[1:], table.tolist(), strict=True):
            rows.append({
                "split": "train", "epoch": state.epoch + 1, "step": offset + b,
                **dict(zip(state.columns, means, strict=True)),
                "lr": lr["model"] if "model" in lr else next(iter(lr.values())),
                "seconds": round(state.history.seconds + seconds * b / self.steps, 3),
            })  # fmt: skip
        self._write(rows)

    def _raise_alarms(self) -> None:
        """Warn of and log the objective's alarms, each kind once."""
        history = self.state.history
        rows = history.tail("train", RECENT)
        for kind, text in self.objective.alarms(rows):
            if kind not in self.alarms:
                self.alarms.add(kind)
                position: Row = {"epoch": self.state.epoch + 1, "step": rows[-1]["step"]}
                self._write([{"split": "alarm", **position, "kind": kind, "alarm": text}])
                warnings.warn(text, RuntimeWarning, stacklevel=4)

    def _write(self, rows: list[Row]) -> None:
        self.state.history.rows += rows
        if (log := self.state.log) is not None:
            self.unlogged += rows
            if self.logging.attempt(lambda: log.append(self.unlogged)):
                self.unlogged = []

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
        """The mean of each term over a set.

        Every process reads the whole set, so that all processes take the same decisions.
        """
        total: dict[str, Tensor] = {}
        self.objective.eval()
        average = self.state.average
        averaged = contextlib.nullcontext() if average is None else average.applied()
        grad = torch.enable_grad if self.objective.second_order else torch.no_grad
        # the same noise in every epoch, so that only the weights make losses differ
        with averaged, grad(), self._drawing(Stream(self.training.seed)), self.device.autocast():
            for batch in batches.epoch(0):
                for name, v in self.called(batch).items():
                    part = v.detach().double() * len(batch)
                    total[name] = part if name not in total else total[name] + part
        return {name: v / batches.n for name, v in zip(total, torch.stack([*total.values()]).tolist(), strict=True)}

    def _asks_to_stop(self, on_epoch: OnEpoch, *, saved: bool) -> bool:
        """Call the user's function, with random numbers that are not those of training; whether to stop.

        If it fails, the epoch is saved first, unless it is `saved` already.
        """
        row = self.state.history.last("train" if self.valid is None else "valid")
        average = self.state.average
        self.objective.eval()
        averaged = contextlib.nullcontext() if average is None else average.applied()
        try:
            with averaged, Stream(self.training.seed).used():
                answer = on_epoch(dict(row), self.objective.model)
        except BaseException:
            if not saved and self.device.world == 1:
                self._save()
            raise
        asked = torch.tensor([isinstance(answer, bool | np.bool_) and bool(answer)], device=self.device.device)
        return bool(self.device.total(asked.float()))  # so that all processes agree

    # -- the end --------------------------------------------------------------------------------------------------

    def _stop(self, number: int) -> None:
        """The first signal waits for the end of the step, so that the state is whole; a second one does not."""
        if self.signal:
            raise Interrupted("interrupted within a step", number)
        self.signal = number

    def _interrupted(self) -> None:
        saved = self._save()
        position = f"epoch {self.state.epoch + 1}, step {self.state.step} of {self.steps}"
        now = "its checkpoint is" if saved else "its checkpoint could not be written; the last one, if any, is"
        remedy = f"; {now} in {self.folder}" if self.folder else ""
        raise Interrupted(f"stopped in {position}{remedy}", self.signal)


def _threads(objective: Objective, batches: Batches, device: Device) -> int:
    """The number of threads of a training: by the work of a step on a CPU, else the caller's."""
    if device.device.type != "cpu":
        return torch.get_num_threads()
    parameters = (p for player in objective.players().values() for p in player.parameters)
    return threads_for(step_work(parameters, batches) / device.world)


def _optimiser(training: Training, name: str, player: Player) -> Optimizer:
    """The optimiser of a player; `rate` multiplies a common learning rate only."""
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
