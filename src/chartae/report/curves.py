"""Training curves: the loss and each of its terms against epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from chartae.records.log import LogRow
from chartae.records.parsing import is_finite
from chartae.report.charts import Theme, chart, log_axis
from chartae.report.embedded import Embedded
from chartae.report.numbers import number

__all__ = ["curves"]

#: for training and for validation, points (epoch, value)
Lines: TypeAlias = "Mapping[str, Sequence[tuple[float, float]]]"


def curves(log: Sequence[LogRow], best_epoch: int | None) -> list[Embedded]:
    """Training and validation curves of the loss and each term, in nats per example; a line marks the best epoch."""
    rows = [(row.epoch, row.step, row.split, row.terms) for row in log]
    dated = [(e, step, split, t) for e, step, split, t in rows if e is not None and e > 0 and step is not None]
    columns = dict.fromkeys(name for *_, terms in dated for name in terms)
    # steps per epoch: the last row of an epoch has step = epoch * steps
    steps = max((step / epoch for epoch, step, *_ in dated), default=0) or 1
    charts = []
    for name in sorted(columns, key=lambda k: k != "loss"):
        values = [(split, step / steps, terms[name]) for _, step, split, terms in dated if name in terms]
        lines = {s: [(x, y) for split, x, y in values if split == s and is_finite(y)] for s in ("train", "valid")}
        omitted = sum(not is_finite(y) for _, _, y in values)
        note = ", ".join(f"{split} {number(float(p[-1][1]))}" for split, p in lines.items() if p)
        note = f"last: {note}" + (f"; without {omitted} values that are not finite" if omitted else "")
        if any(lines.values()):
            paint = partial(_paint, lines=lines, best=best_epoch)
            charts.append(chart((3.4, 2.3), name.replace("_", " "), f"{name} against epochs; {note}", note, paint))
    return charts


def _paint(axes: Axes, theme: Theme, lines: Lines, best: int | None) -> None:
    values = [v for points in lines.values() for _, v in points]
    if min(values) > 0 and max(values) > 5 * min(values):
        log_axis(axes, "y", values)
    if best is not None and best > 0:
        axes.axvline(best, color=theme.muted, linewidth=0.8, dashes=(3, 3))
    for (split, points), colour in zip(lines.items(), theme.series, strict=False):
        if points:
            x, y = zip(*points, strict=True)
            marker = "o" if (split == "valid" and len(points) <= 40) or len(points) == 1 else ""
            axes.plot(x, y, color=colour, linewidth=1, marker=marker, ms=2.2, label=split)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(left=0)
    axes.legend(frameon=False, loc="best", handlelength=1.4, borderaxespad=0.2)
