"""The device of a training run: one device in one process, or one of several processes of a launcher."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from chartae.records.choices import one_of

__all__ = ["PRECISIONS", "Alone", "Device", "Distributed", "place"]

#: name -> dtype of the forward pass; None for the dtype of the weights
PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Device(ABC):
    """A device, the precision of the forward pass, and the communication with other processes.

    Attributes:
        device: the torch device of the tensors.
        rank: number of this process, counted from 0.
        world: number of processes.
        scaler: gradient scaler, for ``"fp16"``; None otherwise.

    Raises:
        ValueError: the precision is unknown, or the device does not support it.
    """

    def __init__(self, device: torch.device, precision: str, rank: int = 0, world: int = 1) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; {one_of(precision, PRECISIONS)}")
        if precision == "fp16" and device.type == "cpu":
            raise ValueError("precision is 'fp16', which needs a GPU; use 'bf16' or 'fp32' on a CPU")
        if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise ValueError("precision is 'bf16', which this GPU does not support; use 'fp16' or 'fp32'")
        self.device, self.rank, self.world = device, rank, world
        self._dtype = PRECISIONS[precision]
        self.scaler = GradScaler(device.type) if precision == "fp16" else None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which operations run in the precision if they can."""
        return nullcontext() if self._dtype is None else torch.autocast(self.device.type, dtype=self._dtype)

    def prepare(self, objective: nn.Module) -> nn.Module:
        """The objective as the loop calls it: in the precision, with float32 results; `objective` is not changed."""
        return objective if self._dtype is None else _Mixed(objective, self)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate the loss, scaled if there is a scaler."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def step(
        self,
        optimiser: Optimizer,
        parameters: Iterable[Tensor],
        clip: float | None = None,
        take: Callable[[], object] | None = None,
    ) -> None:
        """Clip the norm of the gradients of `parameters` to `clip`, and take a step of their optimiser.

        Args:
            optimiser: the optimiser.
            parameters: its parameters.
            clip: largest norm of their gradient, > 0; None (default) for no limit.
            take: function that takes the step where there is no scaler; None (default) for the optimiser's own.
        """
        if clip is not None:
            if self.scaler is not None:
                self.scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(list(parameters), clip)
        if self.scaler is None:
            (take or optimiser.step)()
        else:
            self.scaler.step(optimiser)
            self.scaler.update()

    @abstractmethod
    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""

    def average(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        return value if self.world == 1 else self.total(value) / self.world

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor:
        """The rows (N, ...) of all processes, concatenated to (world N, ...)."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until every process has come to this point."""


class Alone(Device):
    """One process on one device; it shares no state, so that several may train at the same time."""

    def __init__(self, device: torch.device, precision: str = "fp32") -> None:
        super().__init__(device, precision)

    def total(self, value: Tensor) -> Tensor:
        return value

    def gather(self, rows: Tensor) -> Tensor:
        return rows

    def wait(self) -> None:
        return


class Distributed(Device):
    """One of several processes, each with its share of every batch; gradients are averaged.

    accelerate connects the processes and chooses their devices, by its `PartialState`, which a process has once; one
    that the caller has made is used as it is. Everything else is torch's.

    Args:
        device: ``"cpu"`` to use no GPU; None for a GPU if there is one.
        precision: ``"fp32"``, ``"bf16"``, or ``"fp16"`` (GPU only).
        several: whether the objective has several players, so that some losses do not use all parameters.
    """

    def __init__(self, device: str | None, precision: str = "fp32", *, several: bool = False) -> None:
        self._state, self._several = PartialState(cpu=device == "cpu"), several
        super().__init__(self._state.device, precision, rank=self._state.process_index, world=self._state.num_processes)

    def prepare(self, objective: nn.Module) -> nn.Module:
        inner = super().prepare(objective)
        if self.world == 1 or not any(p.requires_grad for p in inner.parameters()):
            return inner
        devices = None if self.device.type == "cpu" else [self.device]
        return nn.parallel.DistributedDataParallel(inner, device_ids=devices, find_unused_parameters=self._several)

    def total(self, value: Tensor) -> Tensor:
        if self.world == 1:
            return value
        out = value.clone()
        torch.distributed.all_reduce(out)
        return out

    def gather(self, rows: Tensor) -> Tensor:
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def wait(self) -> None:
        self._state.wait_for_everyone()


class _Mixed(nn.Module):
    """An objective that is computed in a device's precision and returns float32 values."""

    def __init__(self, objective: nn.Module, device: Device) -> None:
        super().__init__()
        self.objective, self._device = objective, device

    def forward(self, *args: object, **options: object) -> dict[str, Tensor]:
        with self._device.autocast():
            values = cast("dict[str, Tensor]", self.objective(*args, **options))
        halves = (torch.float16, torch.bfloat16)
        return {name: v.float() if v.dtype in halves else v for name, v in values.items()}


def place(precision: str = "fp32", device: str | None = None, several: bool = False) -> Device:
    """The device of a training run.

    Args:
        precision: ``"fp32"``, ``"bf16"``, or ``"fp16"`` (GPU only; the loss is scaled).
        device: torch's name of the device; None for a GPU if there is one.
        several: whether the objective has several players.

    Returns:
        `Distributed` if a launcher (torchrun, `accelerate launch`, mpirun) runs several processes, else `Alone`.

    >>> from chartae.training.device import place
    >>> place(device="cpu").device
    device(type='cpu')
    """
    if _launched():
        return Distributed(device, precision, several=several)
    return Alone(_chosen(device), precision)


def _launched() -> bool:
    """Whether this is one of several processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size() > 1
    sizes = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    return any(int(os.environ.get(name) or 1) > 1 for name in sizes)


def _chosen(device: str | None) -> torch.device:
    """The requested device, or else the first available of cuda, mps and cpu."""
    if device is None and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in ("1", "true", "yes", "on"):
        gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        device = next((name for name, available in gpus.items() if available), None)
    chosen = torch.device(device or "cpu")
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen
