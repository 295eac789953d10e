"""Finding the cause of a non-finite loss: the epoch is replayed from its start with every layer watched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from chartae.data import Batch
from chartae.training.checkpoint import Snapshot, State, restore

__all__ = ["NonFinite", "examine"]


class NonFinite(ArithmeticError):
    """The loss became infinite or NaN; the message names the first layer, term and batch where it did."""


def examine(
    state: State,
    start: Snapshot,
    batches: Callable[[int], Iterable[Batch]],
    advance: Callable[[Batch], None],
    folder: Path | None,
) -> None:
    """Raise NonFinite if a step of the epoch had a non-finite loss; the model is then set back to its last good state.

    Args:
        state: the state at the end of an epoch.
        start: the state at the epoch's start, or where it was resumed.
        batches: function from a step to the batches of the epoch from that step on.
        advance: function that takes one training step.
        folder: folder of the run, for the message; None without one.

    Raises:
        NonFinite: a loss or a parameter is not finite.
    """
    bad = (~state.record[: state.step].isfinite().all(1)).float()
    counts = state.device.total(bad)  # so that all processes agree
    if float(counts.sum()):
        first = int(counts.nonzero()[0])
    else:
        # the last step's gradients have not entered any loss yet
        if _finite([p.detach() for p in state.objective.parameters()]):
            return
        first = state.step - 1
    steps = len(state.record)
    epoch = state.epoch
    restore(state, start)
    cause = _replay(state, first, batches(state.step), advance)
    restore(state, start)
    state.adopt_best()
    checkpoint = f" The last good checkpoint is kept in {folder}." if folder and epoch else ""
    raise NonFinite(
        f"the loss stopped being a finite number in epoch {epoch + 1}, batch {first + 1} of {steps}: "
        f"{cause}.{checkpoint} Try a smaller lr, clip=1.0, precision='fp32', or a smaller weight on that term."
    )


def _finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all values are finite; a finite sum settles it faster, but large values may have an infinite one."""
    if not tensors or bool(torch.stack([t.sum() for t in tensors]).isfinite().all()):
        return True
    return all(bool(t.isfinite().all()) for t in tensors)


def _replay(state: State, first: int, batches: Iterable[Batch], advance: Callable[[Batch], None]) -> str:
    """Repeat the steps up to the first bad one, watching every layer, term and gradient; the cause, in words."""
    culprit: list[str] = []

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def hook(module: nn.Module, args: object, out: object) -> None:
            if isinstance(out, Tensor) and not culprit and not bool(out.isfinite().all()):
                culprit.append(f"the first non-finite value is the output of layer {name} ({type(module).__name__})")

        return layer.register_forward_hook(hook)

    objective = state.objective
    objective.train()
    hooks = [watch(name, m) for name, m in objective.named_modules() if not any(m.children())]
    try:
        for batch in batches:
            advance(batch)
            row = state.record[state.step - 1]
            terms = [c for c, v in zip(state.columns, row.tolist(), strict=True) if not math.isfinite(v)]
            named = [n for n, p in objective.named_parameters() if not bool(p.isfinite().all())]
            if culprit or terms:
                term = [c for c in terms if c != "loss"]
                parts = [*culprit, *([f"term {term[0]} is not finite"] if term else [])]
                return "; ".join(parts) or "the first non-finite value is the loss"
            if named:
                return (
                    f"the first non-finite value is the gradient of {named[0]} in batch {state.step}, whose loss was "
                    "finite"
                )
            if state.step > first:
                break
    finally:
        for hook in hooks:
            hook.remove()
    return "a replay from the start of the epoch did not reproduce it, so an operation may be non-deterministic"
