"""The state of a training run, and its checkpoint, which contains all of it and is read back to the same numbers."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from chartae.data import Batches
from chartae.maths.random import Stream
from chartae.objectives import Objective
from chartae.records.files import Damaged
from chartae.records.log import LogFile
from chartae.records.space import Persisting
from chartae.records.tensors import read_header, read_tensors, write_tensors
from chartae.records.training import Training
from chartae.training.augmentation import augmentation_name
from chartae.training.average import Average
from chartae.training.device import Device
from chartae.training.history import History, Row, read_rows

__all__ = [
    "FILES",
    "Facts",
    "Snapshot",
    "State",
    "check",
    "exists",
    "fixed",
    "load",
    "progress_of",
    "restore",
    "save",
    "snapshot",
]

#: torch's name for the state of a module besides its parameters and buffers
EXTRA = "_extra_state"
#: the last checkpoint, the one before, and one that was written whole and not yet given its name
NAME, FORMER, NEXT = "checkpoint.safetensors", "checkpoint.former.safetensors", "checkpoint.next.safetensors"
#: all of them, from the newest to the oldest
FILES = (NEXT, NAME, FORMER)

#: the settings that must be the same in a checkpoint and in the run that resumes it
Fixed = dict[str, float | str | bool | None]


class Facts(TypedDict):
    """The plain values of a checkpoint."""

    settings: Fixed
    epoch: int
    step: int
    columns: list[str]
    best_loss: float
    best_at: int
    bad_epochs: int
    lr: dict[str, list[float]]
    schedules: dict[str, dict[str, float]]
    scaler: dict[str, float] | None
    total: int
    history: dict[str, object]
    log: dict[str, int | str]


class Snapshot(NamedTuple):
    """A state, as tensors and plain values."""

    tensors: dict[str, Tensor]
    facts: Facts


@dataclass
class State:
    """Everything that changes during training.

    Attributes:
        objective: the objective; its parameters and buffers are part of the state.
        device: the device, with its processes and gradient scaler.
        stream: the stream of random numbers.
        optimisers: the optimiser of each player.
        schedules: the plateau schedule of each player; empty without one.
        average: the moving average of the weights; None without one.
        columns: names of the values that each step returns.
        record: values (steps, columns) of the current epoch, on the device.
        best: weights of the epoch with the lowest validation loss.
        best_loss: the lowest validation loss.
        best_at: the epoch of the lowest validation loss, counted from 1.
        bad_epochs: number of epochs since then.
        epoch: the current epoch, counted from 0.
        step: the next step of the current epoch, counted from 0.
        history: the log.
        log: the file of the log; None without a folder.
        total: number of epochs that the training shall have.
    """

    objective: Objective
    device: Device
    stream: Stream
    optimisers: dict[str, Optimizer]
    schedules: dict[str, ReduceLROnPlateau] = field(default_factory=dict)
    average: Average | None = None
    columns: list[str] = field(default_factory=list)
    record: Tensor = field(default_factory=lambda: torch.empty(0))
    best: dict[str, Tensor] = field(default_factory=dict)
    best_loss: float = math.inf
    best_at: int = 0
    bad_epochs: int = 0
    epoch: int = 0
    step: int = 0
    history: History = field(default_factory=History)
    log: LogFile | None = None
    total: int = 0

    def weights(self) -> dict[str, Tensor]:
        """The current parameters (or their averages) and buffers, without the state that only training needs."""
        weights = {k: v for k, v in self.objective.state_dict().items() if not k.endswith(EXTRA)}
        return weights if self.average is None else weights | self.average.named()

    def keep_best(self) -> None:
        """Copy the current weights to `best`."""
        for name, value in self.weights().items():
            if name in self.best:
                self.best[name].copy_(value)
            else:
                self.best[name] = value.detach().clone()

    def adopt_best(self) -> None:
        """Load the best weights, or the last ones if there are none, and switch to evaluation mode."""
        self.objective.load_state_dict(self.objective.state_dict() | (self.best or self.weights()))
        self.objective.eval()


def fixed(objective: Objective, batches: Batches, training: Training) -> Fixed:
    """The settings that must be the same in a checkpoint and in the run that resumes it."""
    # a schedule over all epochs makes a longer training differ from the first step
    length = training.epochs if training.cosine or objective.scheduled else None
    return {
        "objective": repr(objective),
        "points": batches.n,
        "batch_size": batches.batch_size,
        "precision": training.precision,
        "ema": training.ema,
        "parameters": sum(p.numel() for player in objective.players().values() for p in player.parameters),
        "cosine": training.cosine,
        "epochs": length,
        "seed": training.seed,
        "augment": augmentation_name(training.augment) or None,
        "weight": None if batches.weight is None else _hash(batches.weight),
    }


def _hash(values: Tensor) -> str:
    return hashlib.blake2b(values.cpu().numpy().tobytes(), digest_size=8).hexdigest()


def snapshot(state: State, settings: Fixed, *, buffers: dict[str, Tensor] | None = None) -> Snapshot:
    """The state as tensors and plain values.

    With `buffers`, it is a state to return to within the epoch. Tensors are copied into these tensors on the CPU, which
    are added or replaced where they do not fit, so that further steps do not change them. A later call with the same
    `buffers` overwrites the snapshot: new memory of this size in each epoch takes several times as long as the copying.
    The best weights are not copied, because they do not change within an epoch. The log, which `restore` does not
    change, is left out.
    """
    tensors = {f"model/{k}": v for k, v in state.objective.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average/{i}": v for i, v in enumerate(state.average.shadow)}
    for name, optimiser in state.optimisers.items():
        for i, values in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{name}/{i}/{k}": v for k, v in values.items() if isinstance(v, Tensor)}
    tensors |= {"random": state.stream.state(state.device.device)[None], "record": state.record}
    if buffers is not None:
        tensors = {k: _copied(v.detach(), k, buffers) for k, v in tensors.items()}
    tensors |= {f"best/{k}": v for k, v in state.best.items()}
    scaler = state.device.scaler
    facts: Facts = {
        "settings": settings,
        "epoch": state.epoch,
        "step": state.step,
        "columns": list(state.columns),
        "best_loss": state.best_loss,
        "best_at": state.best_at,
        "bad_epochs": state.bad_epochs,
        "lr": {name: [g["lr"] for g in o.param_groups] for name, o in state.optimisers.items()},
        "schedules": {name: dict(s.state_dict()) for name, s in state.schedules.items()},
        "scaler": None if scaler is None else dict(scaler.state_dict()),
        "total": state.total,
        "history": {name: value for name, value in vars(state.history).items() if name != "rows"},
        "log": {},  # of the file, which a checkpoint adds
    }
    return Snapshot(tensors, facts)


def _copied(values: Tensor, name: str, buffers: dict[str, Tensor]) -> Tensor:
    """Copy a tensor into the buffer of this name, which is made anew if it does not fit."""
    buffer = buffers.get(name)
    if buffer is None or buffer.shape != values.shape or buffer.dtype != values.dtype:
        buffer = buffers[name] = torch.empty_like(values, device="cpu")
    return buffer.copy_(values)


def restore(state: State, former: Snapshot) -> None:
    """Set a state back to a snapshot, except for its history."""
    tensors, facts = former

    def group(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    device = state.device.device
    state.objective.load_state_dict(group("model/"))
    state.best = {k: v.to(device, copy=True) for k, v in group("best/").items()}
    if state.average is not None:
        for i, v in enumerate(state.average.shadow):
            v.copy_(tensors[f"average/{i}"])
    for name, optimiser in state.optimisers.items():
        values: dict[int, dict[str, Tensor]] = {}
        for key, v in group(f"optimiser/{name}/").items():
            index, _, k = key.partition("/")
            values.setdefault(int(index), {})[k] = v.clone()
        groups = optimiser.state_dict()["param_groups"]
        for g, rate in zip(groups, facts["lr"][name], strict=True):
            g["lr"] = rate
        optimiser.load_state_dict({"state": values, "param_groups": groups})
    for name, schedule in state.schedules.items():
        schedule.load_state_dict(facts["schedules"][name])
    if state.device.scaler is not None and facts["scaler"] is not None:
        state.device.scaler.load_state_dict(facts["scaler"])
    rows = tensors["random"]
    state.stream.restore(rows[min(state.device.rank, len(rows) - 1)], device)
    state.record = tensors["record"].to(device, copy=True)
    state.columns = list(facts["columns"])
    state.epoch, state.step = facts["epoch"], facts["step"]
    state.best_loss, state.best_at, state.bad_epochs = facts["best_loss"], facts["best_at"], facts["bad_epochs"]


def save(state: State, folder: Path | None, settings: Fixed, writes: Persisting) -> bool:
    """Write a checkpoint to a folder, and keep the one before; does nothing without a folder.

    Args:
        state: the state.
        folder: the folder; None for none.
        settings: the settings that a run that resumes it must have.
        writes: what to do if the disk is full.

    Returns:
        Whether it was written, or need not be.
    """
    if folder is None:
        return True
    tensors, facts = snapshot(state, settings)
    random = state.device.gather(tensors["random"].to(state.device.device))  # one row for each process
    written = True
    if state.device.is_main:
        written = writes.attempt(lambda: _write(state, folder, tensors | {"random": random}, facts))
    state.device.wait()
    return written


def _write(state: State, folder: Path, tensors: dict[str, Tensor], facts: Facts) -> None:
    assert state.log is not None
    state.log.append([], durable=True)  # a checkpoint never knows more of the log than the disk does
    facts["log"] = {"size": state.log.size, "digest": state.log.digest}
    write_tensors(folder / NEXT, tensors, kind="checkpoint", facts=facts)
    with suppress(FileNotFoundError):
        os.replace(folder / NAME, folder / FORMER)
    os.replace(folder / NEXT, folder / NAME)


def exists(folder: Path) -> bool:
    """Whether a folder has a checkpoint."""
    return any((folder / name).is_file() for name in FILES)


def check(folder: Path, settings: Fixed) -> None:
    """Raise ValueError if the last checkpoint of a folder was written with other settings; damage shows later."""
    for path in (folder / name for name in FILES if (folder / name).is_file()):
        with suppress(Damaged):
            _check_same(read_header(path, kind="checkpoint")[1].get("settings", {}), settings, path)
            return


def progress_of(folder: Path) -> tuple[int, int, int]:
    """How far the last checkpoint of a folder is: whole epochs, steps of the next one, and epochs in all.

    Zeros without a checkpoint that can be read.
    """
    for path in (folder / name for name in FILES if (folder / name).is_file()):
        with suppress(Damaged):
            facts = read_header(path, kind="checkpoint")[1]
            epoch, step, total = (facts.get(name) for name in ("epoch", "step", "total"))
            if isinstance(epoch, int) and isinstance(step, int):
                return epoch, step, total if isinstance(total, int) else 0
    return 0, 0, 0


def load(state: State, folder: Path, settings: Fixed) -> None:
    """Set a state to a folder's checkpoint, and cut the folder's log to the rows up to there.

    If the last checkpoint is damaged, the one before is taken, with a warning.

    Args:
        state: the state, which is changed.
        folder: folder of the checkpoint.
        settings: the settings of this run, which must be those of the checkpoint.

    Raises:
        FileNotFoundError: the folder has no checkpoint.
        ValueError: the checkpoints are damaged, or were written with other settings.
    """
    if not exists(folder):
        raise FileNotFoundError(f"there is no checkpoint at {folder / NAME}")
    faults: list[str] = []
    for path in (folder / name for name in FILES):
        try:
            if path.is_file():
                _load(state, path, settings)
                break
        except Damaged as error:
            faults.append(str(error))
    else:
        raise Damaged(f"{'; '.join(faults)}. Restore the file, or fit the run anew")
    if faults:
        warnings.warn(f"{faults[0]}. The checkpoint before it is used.", UserWarning, stacklevel=5)


def _load(state: State, path: Path, settings: Fixed) -> None:
    """Set a state to a checkpoint, if it and the log that it belongs to are whole."""
    tensors, facts = read_tensors(path, kind="checkpoint")
    try:
        _check_same(facts["settings"], settings, path)
        _adopt(state, path, tensors, facts)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise Damaged(f"{path} is damaged, or of another version of chartae ({reason})") from error


def _check_same(known: Fixed, settings: Fixed, path: Path) -> None:
    """Raise ValueError if a checkpoint was written with other settings."""
    for key, value in settings.items():
        if known.get(key) != value:
            raise ValueError(
                f"{path} was written with {key} = {known.get(key)!r}, but this run has {value!r}; "
                "resume with the same settings, or train in a new folder"
            )


def _adopt(state: State, path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    rows = facts["history"].pop("rows", None)  # an older version kept the log in the checkpoint
    if state.log is not None and rows is None:
        rows = [cast(Row, {**row}) for row in state.log.resume(**facts["log"])]
    elif rows is None:  # a process that does not write the log
        rows = read_rows(path.parent, facts["log"]["size"])
    elif state.log is not None:
        state.log.write(rows)
    restore(state, Snapshot(tensors, facts))  # type: ignore[arg-type]
    state.history = History(rows=rows, **facts["history"])
