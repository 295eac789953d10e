"""Taking the failed step of a post-mortem again, from its saved state and batch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from chartae.data import Batch, Batches
from chartae.maths.random import Stream
from chartae.maths.threads import limited_threads
from chartae.objectives import Objective
from chartae.records.files import Damaged
from chartae.training.device import place
from chartae.training.examining import failed, watched
from chartae.training.loop import Loop
from chartae.training.postmortem import PostMortem, Rerun, batch_of

__all__ = ["rerun_step"]

#: the most steps of an epoch for whose losses memory is reserved
MOST_STEPS = 10_000_000


def rerun_step(postmortem: PostMortem, objective: Objective) -> Rerun:
    """Take the failed step of a training again, from its saved state and batch.

    Args:
        postmortem: what was saved of the training.
        objective: an objective that is built as that of the training was; its weights are replaced.

    Returns:
        Whether the step fails again, and its losses.

    Raises:
        ValueError: the objective is another one, or the saved state or batch does not fit it.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.training import NonFinite, fit, rerun_step
    >>> def objective():
    ...     decoder = ch.Gaussian(torch.nn.Linear(2, 3))
    ...     model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(3, 2)), decoder, ch.StandardNormal(2))
    ...     return ch.Penalised(model, ch.Reconstruction())
    >>> try:
    ...     _ = fit(objective(), ch.Batches(torch.randn(64, 3), 16), lr=1e30, progress=False)
    ... except NonFinite as error:
    ...     report = error.postmortem
    >>> rerun_step(report, objective()).repeats
    True
    """
    findings = postmortem.findings
    if findings.objective and repr(objective) != findings.objective:
        raise ValueError(
            f"objective is {objective!r}; expected {findings.objective[:300]}, that of the training. Build the same one"
        )
    if not postmortem.batch:
        return Rerun(None, f"The step cannot be taken again: the batch is not stored, as {findings.left_out}.")
    if any(name.startswith("optimizer") for name in postmortem.foreign):
        return Rerun(None, "The step cannot be taken again: its optimiser is a function, which is not stored.")
    batch = batch_of(postmortem.batch)
    size = sum(p.numel() for p in objective.parameters())
    stored = sum(v.numel() for k, v in postmortem.state.tensors.items() if k.startswith("model/"))
    if stored < size or len(batch) != findings.examples:
        raise Damaged(
            f"the state has {stored:,} values and the batch {len(batch)} rows; expected at least {size:,}, and "
            f"{findings.examples}. Fit the run again"
        )
    step = postmortem.state.facts.get("step")
    if not isinstance(step, int) or not 0 <= step < findings.steps <= MOST_STEPS:
        raise Damaged(f"step is {step!r} of {findings.steps:,}; expected a step of an epoch, from 0")
    training = replace(
        postmortem.training, augment=None, compile=False, device=_device(findings.device),
    )  # fmt: skip
    with limited_threads(max(1, min(findings.threads, torch.get_num_threads()))), torch.enable_grad():
        device = place(training.precision, training.device, len(objective.players()) > 1)
        with Stream(training.seed).used() as stream:
            loop = Loop(objective, _planned(batch), None, training, device, stream, None)
            loop.steps, loop.horizon = findings.steps, training.epochs * findings.steps
            objective.plan(loop.horizon, loop.batches)
            try:
                loop.restore(postmortem.state)
                watch = watched(loop, batch.map(lambda values: values.to(device.device)))
            except (KeyError, IndexError, RuntimeError, TypeError) as error:
                return Rerun(None, f"The step cannot be taken again from the batch alone: {_line(error)}.")
            finally:
                objective.eval()
            row = loop.state.record[loop.state.step - 1].double().tolist()
            values = dict(zip(loop.state.columns, row, strict=True))
            repeats, exact = failed(loop), _same(values, findings.tail[-1].values if findings.tail else {})
            return Rerun(repeats, _text(values, watch.layer, repeats, exact), values, exact)


def _device(name: str) -> str:
    """The device of the training, or the CPU if this machine lacks it."""
    kind = name.partition(":")[0]
    return kind if kind == "cuda" and torch.cuda.is_available() else "cpu"


def _planned(batch: Batch) -> Batches:
    """Batches of the one batch, for schedules; what they learn from its properties, the saved state replaces."""
    target: Tensor | None = None if batch.target is None else torch.arange(len(batch), dtype=torch.float32)
    x = torch.nan_to_num(batch.x.float())
    labels = batch.labels
    return Batches(x, len(batch), labels=labels, target=target, condition=batch.condition, partner=batch.partner)


def _same(values: Mapping[str, float], former: Mapping[str, float]) -> bool:
    """Whether the losses are those of the training to the bit."""
    return {k: str(v) for k, v in values.items()} == {k: str(v) for k, v in former.items()}


def _text(values: dict[str, float], layer: str, repeats: bool, exact: bool) -> str:
    """What happened, in a sentence or two."""
    why = "the machine differs, or the loss reads more rows than the batch"
    other = "" if exact else f" Its numbers are not those of the training: {why}."
    if not repeats:
        loss = values.get("loss", math.nan)
        return f"The step does not fail again: its loss is {loss:.6g}, and the weights after it are finite.{other}"
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    what = ", ".join(bad) if bad else "its losses are finite, but the weights after it are not"
    where = f", first in layer {layer}" if layer else ""
    return f"The step fails again: {what}{where}.{other}"


def _line(error: Exception) -> str:
    """The first line of an error, without a full stop."""
    return re.sub(r"\s+", " ", str(error) or type(error).__name__)[:200].rstrip(".")
