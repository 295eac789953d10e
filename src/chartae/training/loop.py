"""One loop for any objective and any number of players: checkpoint, exact resume, averaging, schedules, post-mortem.

The loop asks nothing of the device inside a step: every term of every step goes into a table on the device that is
read once an epoch. What went wrong in a step whose loss is not finite is found afterwards, by replaying the epoch
from its start with every layer watched; a run that goes well never pays for it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from chartae.data import Batches
from chartae.objectives import Objective
from chartae.records.files import read_tensors, write_tensors
from chartae.training.progress import TrainingProgress

__all__ = ["History", "NonFinite", "check", "fit"]

OPTIMISERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_EXTRA = "_extra_state"  # torch's name for what a module keeps besides
POINTS = 20  # rows of the log for each epoch of training


class NonFinite(ArithmeticError):
    """A loss that is no longer a number; says which layer, term and batch were the first."""


@dataclass
class History:
    """What `fit` saw.

    Attributes:
        rows: the log, as written to `log.jsonl`: dicts with `split` ("train" or "valid"), `epoch` (from 1), `step`
            (of the whole run), `loss` and every term by its name, in nats per example; train rows also `lr` and
            `seconds` since the start. Of split "alarm" are what the objective finds wrong, with `kind` and `alarm`.
        epochs: how many epochs were trained.
        best_epoch: the epoch whose weights the model now has.
        stopped: why training ended.
        seconds: wall time in training steps and validation, over all resumed parts.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 0
    best_epoch: int = 0
    stopped: str = ""
    seconds: float = 0.0

    def last(self, split: str = "train") -> dict[str, Any]:
        """The newest row of a split."""
        return next(row for row in reversed(self.rows) if row["split"] == split)


def fit(
    objective: Objective,
    batches: Batches,
    *,
    epochs: int = 10,
    valid: Batches | None = None,
    lr: float | dict[str, float] = 1e-3,
    optimizer: str | Callable[[list[nn.Parameter]], Optimizer] = "adam",
    precision: str = "fp32",
    clip: float | None = None,
    plateau: tuple[float, int] | None = None,
    cosine: bool = False,
    patience: int | None = None,
    ema: float | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = 1,
    seed: int = 0,
    device: str | None = None,
    compile: bool = False,
    progress: bool | None = None,
) -> History:
    """Minimise an objective; afterwards its model has the best weights and is in evaluation mode.

    With `valid`, the weights of the epoch of least validation loss are kept; without, or where the step size falls to
    zero (`cosine`) and no `patience` is set, the last ones.

    Args:
        objective: what is minimised; each of its players gets an optimiser of its own.
        batches: the training data.
        epochs: passes over the data.
        valid: data on which the plateau schedule, early stopping and the choice of weights look.
        lr: step size, one for all or one a player.
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"``, or a function from parameters to an optimiser.
        precision: ``"fp32"``, ``"bf16"``, or ``"fp16"`` (a GPU only; the loss is scaled).
        clip: the largest gradient norm, over a player's parameters.
        plateau: (factor, patience): multiply the step size by `factor` after `patience` epochs without a better
            validation loss.
        cosine: let the step size fall to zero over the epochs as half a cosine; in place of `plateau`.
        patience: stop after this many epochs without a better validation loss.
        ema: decay of an exponential moving average of the weights, which is then what is validated and kept.
        folder: where `log.jsonl` and `checkpoint.safetensors` go; without it nothing is written.
        resume: go on from the folder's checkpoint, to the same numbers as an uninterrupted run.
        checkpoint_every: epochs between checkpoints; one is also written on an interrupt, at the next step.
        seed: of every random number drawn in training; the caller's generators are left as they were.
        device: ``"cpu"`` keeps off a GPU; by default accelerate chooses.
        compile: `torch.compile` the objective.
        progress: a progress bar (a line an epoch where there is no terminal); by default only on a terminal.

    Raises:
        NonFinite: the loss stopped being a number. The model has the weights of the last good epoch again.
        KeyboardInterrupt: after a checkpoint was written, if there is a folder.
    """
    settings = check(
        objective, batches, epochs=epochs, valid=valid, lr=lr, precision=precision, clip=clip, plateau=plateau,
        cosine=cosine, patience=patience, ema=ema, device=device, compile=compile,
    )  # fmt: skip
    accelerator = _accelerator(precision, device, len(objective.players()) > 1)
    folder = None if folder is None else Path(folder)
    devices = [accelerator.device.index or 0] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices, enabled=True):
        torch.manual_seed(seed + accelerator.process_index)
        loop = _Loop(
            objective=objective,
            batches=batches.to(accelerator.device),
            valid=None if valid is None else valid.to(accelerator.device),
            accelerator=accelerator,
            optimizer=optimizer,
            lr=lr,
            clip=clip,
            plateau=plateau,
            cosine=cosine,
            patience=patience,
            ema=ema,
            folder=folder,
            seed=seed,
            settings=settings | {"seed": seed},
            compile=compile,
        )
        try:
            loop.plan(epochs)
            if resume:
                if folder is None:
                    raise ValueError("resume needs the folder that holds the checkpoint")
                loop.load()
            return loop.run(epochs, checkpoint_every, progress)
        finally:
            loop.close()


def check(
    objective: Objective,
    batches: Batches,
    *,
    epochs: int = 10,
    valid: Batches | None = None,
    lr: float | dict[str, float] = 1e-3,
    precision: str = "fp32",
    clip: float | None = None,
    plateau: tuple[float, int] | None = None,
    cosine: bool = False,
    patience: int | None = None,
    ema: float | None = None,
    device: str | None = None,
    compile: bool = False,
) -> dict[str, Any]:
    """Everything that can be wrong with the settings of `fit`, before any work starts; returns what a checkpoint must
    agree with.

    Raises:
        ValueError, TypeError: what is wrong, what is expected.
    """
    if not isinstance(objective, Objective):
        raise TypeError(
            f"the objective is a {type(objective).__name__}; give an Objective, e.g. Penalised(model, terms)"
        )
    if not isinstance(batches, Batches):
        raise TypeError(f"the batches are a {type(batches).__name__}; give chartae.data.Batches(x, batch_size=...)")
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; train for at least 1")
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; choose from {', '.join(PRECISIONS)}")
    if precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("precision 'fp16' needs a GPU; use 'bf16' or 'fp32' on a CPU")
    if device is not None:
        try:
            kind = torch.device(device).type
        except RuntimeError:
            raise ValueError(f"device is {device!r}; give cpu, or cuda for a GPU") from None
        if kind == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device is {device!r}, but torch finds no GPU; leave it out, or give cpu")
    if ema is not None and not 0 < ema < 1:
        raise ValueError(f"ema is {ema}; a decay lies between 0 and 1, e.g. 0.999")
    if clip is not None and clip <= 0:
        raise ValueError(f"clip is {clip}; a gradient norm is above 0")
    if valid is None and (plateau is not None or patience is not None):
        raise ValueError("plateau and patience look at the validation loss; give valid=Batches(...)")
    if compile and objective.second_order:
        raise ValueError(f"{objective!r} differentiates twice, which torch.compile does not support; use compile=False")
    players = objective.players()
    owners: dict[int, str] = {}
    for name, parameters in players.items():
        for p in parameters:
            if owners.setdefault(id(p), name) != name:
                raise ValueError(f"a parameter belongs to both players {owners[id(p)]!r} and {name!r}")
    if isinstance(lr, dict) and (missing := set(players) - set(lr)):
        raise ValueError(f"lr has no step size for {', '.join(sorted(missing))}")
    for rate in lr.values() if isinstance(lr, dict) else [lr]:
        if not 0 < rate < math.inf:
            raise ValueError(f"lr is {rate}; a step size is a finite number above 0")
    if batches.batch_size == 1 and any(isinstance(m, _BatchNorm) for m in objective.modules()):
        raise ValueError("batch_size is 1, but batch normalisation has no batch of one; give 2 or more")
    if valid is not None and valid.shape != batches.shape:
        raise ValueError(f"validation examples have shape {valid.shape}, training examples {batches.shape}")
    if cosine and plateau is not None:
        raise ValueError("the step size follows a plateau or a cosine, not both")
    objective.plan(epochs * batches.steps(1), batches)  # what it cannot be trained on
    # where training depends on its own length, a longer one is another from the start
    length = epochs if cosine or objective.scheduled else None
    return {
        "objective": repr(objective),
        "points": batches.n,
        "batch_size": batches.batch_size,
        "precision": precision,
        "ema": ema,
        "parameters": sum(p.numel() for ps in players.values() for p in ps),
        "cosine": cosine,
        "epochs": length,
    }


def _accelerator(precision: str, device: str | None, several: bool) -> Accelerator:
    # accelerate keeps its state for the whole process: a second fit may want another precision or device
    if AcceleratorState._shared_state:
        alone = PartialState().num_processes == 1
        AcceleratorState._reset_state(reset_partial_state=alone)
        GradientState._reset_state()
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=several)]
    return Accelerator(mixed_precision=PRECISIONS[precision], cpu=device == "cpu", kwargs_handlers=handlers)


class _Loop:
    def __init__(
        self,
        *,
        objective: Objective,
        batches: Batches,
        valid: Batches | None,
        accelerator: Accelerator,
        optimizer: str | Callable[[list[nn.Parameter]], Optimizer],
        lr: float | dict[str, float],
        clip: float | None,
        plateau: tuple[float, int] | None,
        cosine: bool,
        patience: int | None,
        ema: float | None,
        folder: Path | None,
        seed: int,
        settings: dict[str, Any],
        compile: bool,
    ) -> None:
        self.bare, self.batches, self.valid, self.accelerator = objective, batches, valid, accelerator
        self.clip, self.patience, self.folder, self.seed, self.settings = (
            clip,
            patience,
            folder,
            seed,
            settings,
        )
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.steps = batches.steps(self.world)
        objective.to(accelerator.device)
        self.players = objective.players()
        build = (lambda name, ps: optimizer(ps)) if callable(optimizer) else _optimiser(optimizer, lr, objective)
        inner = {name: build(name, ps) for name, ps in self.players.items()}
        if compile:
            objective.compile()
        self.objective = accelerator.prepare(objective)
        # accelerate's wrapper of an optimiser is for the scaler alone, and looks for packages on disk in every step
        self.optimisers = inner
        if accelerator.scaler is not None:
            self.optimisers = {name: accelerator.prepare(o) for name, o in inner.items()}
        self.parameters = [p for ps in self.players.values() for p in ps]
        self.schedules = {}
        if plateau is not None:
            for name, o in inner.items():
                self.schedules[name] = torch.optim.lr_scheduler.ReduceLROnPlateau(
                    o, factor=plateau[0], patience=plateau[1]
                )
        self.peak = {name: o.param_groups[0]["lr"] for name, o in inner.items()} if cosine else {}
        self.horizon = 0  # steps in all epochs
        self.average = _Average(objective, ema) if ema is not None else None
        self.columns: list[str] = []
        self.record = torch.empty(0)
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.best_at, self.bad_epochs = math.inf, 0, 0
        self.history = History()
        self.epoch = self.step = 0  # the position: the next step is number `step` of epoch `epoch`, both from 0
        self.stop_requested = False

    # -- the walk -------------------------------------------------------------------------------------------------

    def plan(self, epochs: int) -> None:
        self.horizon = epochs * self.steps
        self.bare.plan(self.horizon, self.batches)

    def run(self, epochs: int, checkpoint_every: int, progress: bool | None) -> History:
        with (
            TrainingProgress(progress, self.accelerator.is_main_process, epochs * self.steps, self.steps) as bar,
            self._interrupts(),
        ):
            while self.epoch < epochs and not self.history.stopped:
                started = time.perf_counter()
                snapshot = self._snapshot()
                bar.reach(self.epoch * self.steps + self.step)
                self.objective.train()
                for x, y in self.batches.epoch(self.epoch, start=self.step, rank=self.rank, world=self.world):
                    self._advance(x, y)
                    bar.tick()
                    if self.stop_requested:
                        self.history.seconds += time.perf_counter() - started
                        self._interrupted()
                self._examine(snapshot)
                # the snapshot may have been taken in mid-epoch: what was logged is the whole epoch all the same
                self._log_training(time.perf_counter() - started)
                self._raise_alarms()
                self.epoch, self.step = self.epoch + 1, 0
                self.history.epochs = self.epoch
                self._validate()
                self.history.seconds += time.perf_counter() - started
                bar.epoch(self.epoch, epochs, self._losses(), self.history.seconds)
                if self.epoch == epochs or self.history.stopped or self.epoch % checkpoint_every == 0:
                    self.save()
        if not self.history.stopped:
            self.history.stopped = "all epochs done"
        self._adopt_best()
        self.bare.rest()
        return self.history

    def _advance(self, x: Tensor, y: Tensor | None) -> None:
        values: dict[str, Tensor] = {}
        for name, optimiser in self.optimisers.items():
            losses = self.objective(x, y, name)
            if self.accelerator.scaler is None:
                losses["loss"].backward()
            else:
                self.accelerator.backward(losses["loss"])
            if self.peak:
                done = (self.epoch * self.steps + self.step) / self.horizon
                for group in optimiser.param_groups:
                    group["lr"] = self.peak[name] * 0.5 * (1 + math.cos(math.pi * done))
            if self.clip is not None:
                self.accelerator.clip_grad_norm_(self.players[name], self.clip)
            optimiser.step()
            # another player's parameters were differentiated as well
            for p in self.parameters:
                p.grad = None
            values |= losses if name == "model" else {f"{name}/{key}": v for key, v in losses.items()}
        if self.average is not None:
            self.average.update(self.epoch * self.steps + self.step)
        if not self.columns or self.record.shape != (self.steps, len(self.columns)):
            self.columns = list(values)
            self.record = torch.zeros(self.steps, len(values), device=x.device)
        torch.stack([v.detach().float() for v in values.values()], out=self.record[self.step])
        self.step += 1

    def _log_training(self, seconds: float) -> None:
        table = self.accelerator.reduce(self.record, "mean").double().cpu()
        offset = self.epoch * self.steps
        lr = {name: o.param_groups[0]["lr"] for name, o in self.optimisers.items()}
        edges = [round(i * self.steps / min(POINTS, self.steps)) for i in range(min(POINTS, self.steps) + 1)]
        rows: list[dict[str, Any]] = []
        for a, b in itertools.pairwise(edges):
            means = dict(zip(self.columns, table[a:b].mean(0).tolist(), strict=True))
            elapsed = self.history.seconds + seconds * b / self.steps
            rows.append(
                {"split": "train", "epoch": self.epoch + 1, "step": offset + b, **means}
                | {
                    "lr": lr["model"] if "model" in lr else next(iter(lr.values())),
                    "seconds": round(elapsed, 3),
                }
            )
        self._write(rows)

    def _raise_alarms(self) -> None:
        """What the objective finds wrong is warned of and logged, once of a kind."""
        rows = [row for row in self.history.rows if row["split"] == "train"]
        said = {row.get("kind") for row in self.history.rows if row["split"] == "alarm"}
        for kind, text in self.bare.alarms(rows):
            if kind not in said:
                said.add(kind)
                where = {"epoch": self.epoch + 1, "step": rows[-1]["step"]}
                self._write([{"split": "alarm", **where, "kind": kind, "alarm": text}])
                warnings.warn(text, RuntimeWarning, stacklevel=4)

    def _validate(self) -> None:
        self.history.best_epoch = self.epoch
        if self.valid is None:
            return
        means = self._evaluate(self.valid)
        self._write([{"split": "valid", "epoch": self.epoch, "step": self.epoch * self.steps, **means}])
        loss = means["loss"]
        for schedule in self.schedules.values():
            schedule.step(loss)
        if (self.peak or not self.bare.comparable) and self.patience is None:
            return
        if loss < self.best_loss:
            self.best_loss, self.bad_epochs = loss, 0
            self.best = _copy(self._weights(), self.best)
            self.best_at = self.epoch
        else:
            self.bad_epochs += 1
        self.history.best_epoch = self.best_at
        if self.patience is not None and self.bad_epochs >= self.patience:
            self.history.stopped = f"no better validation loss for {self.patience} epochs"

    def _evaluate(self, batches: Batches) -> dict[str, float]:
        """Means over a set; every process reads the whole of it, so that all decide alike."""
        total: dict[str, Tensor] = {}
        self.bare.eval()
        averaged = contextlib.nullcontext() if self.average is None else self.average.applied()
        grad = torch.enable_grad if self.bare.second_order else torch.no_grad
        devices = [self.accelerator.device.index or 0] if self.accelerator.device.type == "cuda" else []
        with averaged, grad(), torch.random.fork_rng(devices), self.accelerator.autocast():
            torch.manual_seed(self.seed)  # the same noise in every epoch: losses differ by the weights alone
            for x, y in batches.epoch(0):
                for name, v in self.bare(x, y).items():
                    part = v.detach().double() * len(x)
                    total[name] = part if name not in total else total[name] + part
        return {name: v / batches.n for name, v in zip(total, torch.stack([*total.values()]).tolist(), strict=True)}

    def _losses(self) -> str:
        rows = [self.history.last(split) for split in ("train", *(["valid"] if self.valid is not None else []))]
        return "  ".join(f"{row['split']} {row['loss']:.4g}" for row in rows)

    def _weights(self) -> dict[str, Tensor]:
        """Parameters and buffers; what is kept for training alone is not of an epoch's weights."""
        weights = {k: v for k, v in self.bare.state_dict().items() if not k.endswith(_EXTRA)}
        return weights if self.average is None else weights | self.average.named()

    def _adopt_best(self) -> None:
        self.bare.load_state_dict(self.bare.state_dict() | (self.best or self._weights()))
        self.bare.eval()

    def close(self) -> None:
        self.accelerator.unwrap_model(self.objective, keep_fp32_wrapper=False)
        self.bare._compiled_call_impl = None
        self.bare.eval()
        self.accelerator.free_memory()

    # -- interrupts -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """The first interrupt waits for the end of the step, so that the state is whole; a second does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request(number: int, frame: Any) -> None:
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
        self.save()
        where = f"epoch {self.epoch + 1}, step {self.step} of {self.steps}"
        kept = f"; go on from {self.folder} with resume" if self.folder else ""
        raise KeyboardInterrupt(f"stopped in {where}{kept}")

    # -- the checkpoint -------------------------------------------------------------------------------------------

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model/{k}": v for k, v in self.bare.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        if self.average is not None:
            tensors |= {f"average/{i}": v for i, v in enumerate(self.average.shadow)}
        for name, optimiser in self.optimisers.items():
            for i, state in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{name}/{i}/{k}": v for k, v in state.items() if isinstance(v, Tensor)}
        return tensors | {"random": self._random()[None], "record": self.record}

    def _random(self) -> Tensor:
        """The state of this process's generators, in one row."""
        if self.accelerator.device.type != "cuda":
            return torch.get_rng_state()
        return torch.cat([torch.get_rng_state(), torch.cuda.get_rng_state(self.accelerator.device)])

    def _restore_random(self, states: Tensor) -> None:
        own = states[min(self.rank, len(states) - 1)].cpu()
        size = len(torch.get_rng_state())
        torch.set_rng_state(own[:size].clone())
        if len(own) > size and self.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(own[size:].clone(), self.accelerator.device)

    def _facts(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "settings": self.settings,
            "epoch": self.epoch,
            "step": self.step,
            "columns": self.columns,
            "best_loss": self.best_loss,
            "best_at": self.best_at,
            "bad_epochs": self.bad_epochs,
            "lr": {name: [g["lr"] for g in o.param_groups] for name, o in self.optimisers.items()},
            "schedules": {name: s.state_dict() for name, s in self.schedules.items()},
            "scaler": None if scaler is None else scaler.state_dict(),
            "history": vars(self.history),
        }

    def save(self) -> None:
        if self.folder is None:
            return
        # each process has random numbers of its own
        random = self.accelerator.gather(self._random()[None].to(self.accelerator.device))
        if self.accelerator.is_main_process:
            path = self.folder / "checkpoint.safetensors"
            write_tensors(path, self._tensors() | {"random": random}, kind="checkpoint", facts=self._facts())
        self.accelerator.wait_for_everyone()

    def load(self) -> None:
        assert self.folder is not None
        path = self.folder / "checkpoint.safetensors"
        tensors, facts = read_tensors(path, kind="checkpoint")
        for key, value in self.settings.items():
            if facts["settings"].get(key) != value:
                raise ValueError(
                    f"{path} was written with {key} = {facts['settings'].get(key)!r}, but this run has {value!r}; "
                    "resume with the same settings, or start a new folder"
                )
        self._restore(tensors, facts)
        self.history = History(**facts["history"])
        self._rewind_log()

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        def group(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        device = self.accelerator.device
        self.bare.load_state_dict(group("model/"))
        self.best = {k: v.to(device, copy=True) for k, v in group("best/").items()}
        if self.average is not None:
            for i, v in enumerate(self.average.shadow):
                v.copy_(tensors[f"average/{i}"])
        for name, optimiser in self.optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, v in group(f"optimiser/{name}/").items():
                index, _, k = key.partition("/")
                state.setdefault(int(index), {})[k] = v.clone()
            groups = optimiser.state_dict()["param_groups"]
            for g, rate in zip(groups, facts["lr"][name], strict=True):
                g["lr"] = rate
            optimiser.load_state_dict({"state": state, "param_groups": groups})
        for name, schedule in self.schedules.items():
            schedule.load_state_dict(facts["schedules"][name])
        if self.accelerator.scaler is not None and facts["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        self._restore_random(tensors["random"])
        self.record = tensors["record"].to(device, copy=True)
        self.columns = list(facts["columns"])
        self.epoch, self.step = facts["epoch"], facts["step"]
        self.best_loss, self.best_at, self.bad_epochs = (
            facts["best_loss"],
            facts["best_at"],
            facts["bad_epochs"],
        )

    def _rewind_log(self) -> None:
        """The log again as it was at the checkpoint: rows of steps that will be walked once more are dropped."""
        if self.folder is not None and self.accelerator.is_main_process:
            text = "".join(json.dumps(row) + "\n" for row in self.history.rows)
            (self.folder / "log.jsonl").write_text(text)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self.history.rows += rows
        if self.folder is not None and self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "log.jsonl").open("a") as f:
                f.writelines(json.dumps(row) + "\n" for row in rows)

    # -- the post-mortem ------------------------------------------------------------------------------------------

    def _snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        # the best weights do not change within an epoch
        tensors = {
            k: v if k.startswith("best/") else v.detach().to("cpu", copy=True) for k, v in self._tensors().items()
        }
        return tensors, json.loads(json.dumps(self._facts()))

    def _examine(self, snapshot: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
        bad = (~self.record[: self.step].isfinite().all(1)).float()
        # one answer for all processes
        if not float(self.accelerator.reduce(bad, "sum").sum()):
            # the last step's gradients have not been seen by any loss yet
            finite = torch.stack([p.detach().isfinite().all() for p in self.parameters])
            if bool(finite.all()):
                return
            first = self.step - 1
        else:
            first = int(self.accelerator.reduce(bad, "sum").nonzero()[0])
        failed_epoch = self.epoch
        self._restore(*snapshot)
        finding = self._replay(first)
        self._restore(*snapshot)
        self._adopt_best()
        kept = f" The last good checkpoint is kept in {self.folder}." if self.folder and failed_epoch else ""
        raise NonFinite(
            f"the loss stopped being a finite number in epoch {failed_epoch + 1}, batch {first + 1} of {self.steps}: "
            f"{finding}.{kept} Try a smaller lr, clip=1.0, precision='fp32', or a smaller weight on that term."
        )

    def _replay(self, first: int) -> str:
        """Walk from the snapshot to the first bad step again, watching every layer, term and gradient."""
        culprit: list[str] = []

        def watch(name: str, layer: nn.Module) -> Any:
            def hook(module: nn.Module, args: Any, out: Any) -> None:
                if isinstance(out, Tensor) and not culprit and not bool(out.isfinite().all()):
                    culprit.append(f"the output of layer {name} ({type(module).__name__}) is the first")

            return layer.register_forward_hook(hook)

        self.objective.train()
        hooks = [watch(name, m) for name, m in self.bare.named_modules() if not any(m.children())]
        try:
            for x, y in self.batches.epoch(self.epoch, start=self.step, rank=self.rank, world=self.world):
                self._advance(x, y)
                row = self.record[self.step - 1]
                terms = [c for c, v in zip(self.columns, row.tolist(), strict=True) if not math.isfinite(v)]
                named = [n for n, p in self.bare.named_parameters() if not bool(p.isfinite().all())]
                if culprit or terms:
                    term = [c for c in terms if c != "loss"]
                    parts = [*culprit, *([f"term {term[0]} is not finite"] if term else [])]
                    return "; ".join(parts) or "the loss is the first"
                if named:
                    return f"the gradient of {named[0]} is the first, in batch {self.step}, though its loss was finite"
                if self.step > first:
                    break
        finally:
            for hook in hooks:
                hook.remove()
        return "a replay from the start of the epoch did not show it again (is some operation not deterministic?)"


def _optimiser(
    kind: str, lr: float | dict[str, float], objective: Objective
) -> Callable[[str, list[nn.Parameter]], Optimizer]:
    if kind not in OPTIMISERS:
        raise ValueError(f"optimizer is {kind!r}; choose from {', '.join(OPTIMISERS)}, or give a function")

    def build(name: str, parameters: list[nn.Parameter]) -> Optimizer:
        rate = lr[name] if isinstance(lr, dict) else lr * objective.rates.get(name, 1.0)
        more: dict[str, Any] = {} if kind == "sgd" else {"betas": objective.betas}
        return OPTIMISERS[kind](parameters, lr=rate, fused=True, **more)  # type: ignore[call-arg]

    return build


def _copy(source: dict[str, Tensor], into: dict[str, Tensor]) -> dict[str, Tensor]:
    if not into:
        return {k: v.detach().clone() for k, v in source.items()}
    for k, v in source.items():
        into[k].copy_(v)
    return into


class _Average:
    """The exponential moving average of parameters; its decay rises to `decay`, so that the start is forgotten."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [n for n, _ in module.named_parameters()]
        self.own: list[Tensor] = [p for _, p in module.named_parameters()]
        self.shadow = [p.detach().clone() for p in self.own]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.own], 1 - decay)

    def named(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.shadow, strict=True))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The averages in the place of the parameters."""
        kept = [p.detach().clone() for p in self.own]
        with torch.no_grad():
            torch._foreach_copy_(self.own, self.shadow)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.own, kept)
