"""Why a loss stopped being finite: the epoch is taken again from its start, with every layer watched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from chartae.data import Batch
from chartae.training.checkpoint import Snapshot, State, restore

__all__ = ["NonFinite", "examine"]


class NonFinite(ArithmeticError):
    """A loss that is no longer a number; says which layer, term and batch were the first."""


def examine(
    state: State,
    start: Snapshot,
    batches: Callable[[int], Iterable[Batch]],
    advance: Callable[[Batch], None],
    folder: Path | None,
) -> None:
    """Raise NonFinite where a step of the epoch had a loss that is not finite; the model is then set back.

    Args:
        state: of the training, at the end of an epoch.
        start: the state at the epoch's start (or where it was resumed).
        batches: the batches of the epoch from a step on.
        advance: takes a step.
        folder: of the run, to be named.
    """
    bad = (~state.record[: state.step].isfinite().all(1)).float()
    counts = state.device.total(bad)  # one answer for all processes
    if float(counts.sum()):
        first = int(counts.nonzero()[0])
    else:
        # the last step's gradients have not been seen by any loss yet
        if all(bool(p.detach().isfinite().all()) for p in state.objective.parameters()):
            return
        first = state.step - 1
    steps = len(state.record)
    epoch = state.epoch
    restore(state, start)
    finding = _replay(state, first, batches(state.step), advance)
    restore(state, start)
    state.adopt_best()
    kept = f" The last good checkpoint is kept in {folder}." if folder and epoch else ""
    raise NonFinite(
        f"the loss stopped being a finite number in epoch {epoch + 1}, batch {first + 1} of {steps}: "
        f"{finding}.{kept} Try a smaller lr, clip=1.0, precision='fp32', or a smaller weight on that term."
    )


def _replay(state: State, first: int, batches: Iterable[Batch], advance: Callable[[Batch], None]) -> str:
    """Take the steps to the first bad one again, watching every layer, term and gradient."""
    culprit: list[str] = []

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def hook(module: nn.Module, args: object, out: object) -> None:
            if isinstance(out, Tensor) and not culprit and not bool(out.isfinite().all()):
                culprit.append(f"the output of layer {name} ({type(module).__name__}) is the first")

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
                return "; ".join(parts) or "the loss is the first"
            if named:
                return f"the gradient of {named[0]} is the first, in batch {state.step}, though its loss was finite"
            if state.step > first:
                break
    finally:
        for hook in hooks:
            hook.remove()
    return "a replay from the start of the epoch did not show it again (is some operation not deterministic?)"
