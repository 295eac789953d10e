"""Where a training runs: one device, or one of several processes."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn
from torch.optim import Optimizer

from chartae.training.settings import PRECISIONS

__all__ = ["Place"]


class Place:
    def __init__(self, precision: str, device: str | None, several: bool) -> None:
        # accelerate keeps its state for the whole process: a second fit may want another precision or device
        if AcceleratorState._shared_state:
            alone = PartialState().num_processes == 1
            AcceleratorState._reset_state(reset_partial_state=alone)
            GradientState._reset_state()
        handlers = [DistributedDataParallelKwargs(find_unused_parameters=several)]
        self.accelerator = Accelerator(
            mixed_precision=PRECISIONS[precision], cpu=device == "cpu", kwargs_handlers=handlers
        )
        self.device = self.accelerator.device
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.main = self.accelerator.is_main_process

    @property
    def devices(self) -> list[int]:
        return [self.device.index or 0] if self.device.type == "cuda" else []

    def prepare(self, module: nn.Module) -> nn.Module:
        return self.accelerator.prepare(module)

    def prepare_optimiser(self, optimiser: Optimizer) -> Optimizer:
        # accelerate's wrapper of an optimiser is for the scaler alone, and looks for packages on disk in every step
        return optimiser if self.accelerator.scaler is None else self.accelerator.prepare(optimiser)

    def release(self, module: nn.Module) -> None:
        self.accelerator.unwrap_model(module, keep_fp32_wrapper=False)
        self.accelerator.free_memory()

    def backward(self, loss: Tensor) -> None:
        if self.accelerator.scaler is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)

    def clip(self, parameters: list[nn.Parameter], norm: float) -> None:
        self.accelerator.clip_grad_norm_(parameters, norm)

    def autocast(self) -> AbstractContextManager[None]:
        return self.accelerator.autocast()

    def reduce(self, values: Tensor, how: str) -> Tensor:
        return self.accelerator.reduce(values, how)

    def gather(self, rows: Tensor) -> Tensor:
        return self.accelerator.gather(rows.to(self.device))

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()

    def random(self) -> Tensor:
        """The state of this process's generators, in one row."""
        if self.device.type != "cuda":
            return torch.get_rng_state()
        return torch.cat([torch.get_rng_state(), torch.cuda.get_rng_state(self.device)])

    def restore_random(self, states: Tensor) -> None:
        own = states[min(self.rank, len(states) - 1)].cpu()
        size = len(torch.get_rng_state())
        torch.set_rng_state(own[:size].clone())
        if len(own) > size and self.device.type == "cuda":
            torch.cuda.set_rng_state(own[size:].clone(), self.device)

    def scaler_state(self) -> dict[str, float] | None:
        scaler = self.accelerator.scaler
        return None if scaler is None else scaler.state_dict()

    def restore_scaler(self, state: dict[str, float] | None) -> None:
        if self.accelerator.scaler is not None and state is not None:
            self.accelerator.scaler.load_state_dict(state)
