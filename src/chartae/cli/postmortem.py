"""`chartae postmortem`: why a training failed, and what to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from chartae.cli.flags import flag
from chartae.cli.verb import Printing

if TYPE_CHECKING:
    from chartae.training import PostMortem

__all__ = ["Postmortem"]

#: layers and steps that the tables show
LAYERS, STEPS = 12, 5


@dataclass(frozen=True)
class Postmortem(Printing):
    """Show why a training failed whose loss became infinite or NaN, repeat the failed step, and say what to try."""

    examples: ClassVar[tuple[str, ...]] = ("postmortem runs/broken", "postmortem runs/broken --json --no-rerun")

    run_folder: Annotated[
        Positional[Path], flag("folder of a run whose training failed, or of a post-mortem alone", "RUN")
    ]
    no_rerun: Annotated[bool, flag("do not take the failed step again")] = False

    def run(self, options: Mapping[str, str]) -> None:
        from chartae.runs import postmortem

        report = postmortem(self.run_folder, rerun=not self.no_rerun)
        self.conclude(report.to_dict(), lambda: _print(report))


def _print(report: PostMortem) -> None:
    console, findings = Console(), report.findings

    def line(text: str) -> None:
        console.print(escape(text), highlight=False, soft_wrap=True)

    for sentence in findings.sentences:
        line(sentence)
    rows = report.rows.tolist()
    shown = ", ".join(map(str, rows[:8])) + (f", ... ({len(rows):,})" if len(rows) > 8 else "")
    line(f"The batch holds the rows {shown} of the training data, counted from 0.")
    if findings.left_out:
        line(f"The batch itself is not stored: {findings.left_out}.")
    if report.rerun is not None:
        line(report.rerun.text)
    console.print(_of_layers(report), highlight=False)
    console.print(_of_steps(report), highlight=False)
    line("What to try:")
    for i, change in enumerate(report.tries, 1):
        line(f"{i}. {change.text}")
        keywords = ", ".join(f"{k}={v!r}" for k, v in change.changes.items() if v is not None)
        if change.command:
            line(f"   {change.command}")
        elif keywords:
            line(f"   in Python: {keywords}")


def _of_layers(report: PostMortem) -> Table:
    """The layers around the one that failed, or the last ones."""
    layers = report.findings.layers
    first = next((i for i, layer in enumerate(layers) if layer.bad), len(layers))
    start = max(0, min(first - LAYERS // 2, len(layers) - LAYERS))
    table = Table(title="layers in the failed step", title_justify="left")
    for column in ("layer", "class", "largest |value|", "not finite"):
        table.add_column(column, justify="left" if column in ("layer", "class") else "right")
    for layer in layers[start : start + LAYERS]:
        largest = "-" if layer.bad and not layer.largest else f"{layer.largest:.4g}"
        table.add_row(escape(layer.name), escape(layer.kind), largest, f"{layer.bad:,}")
    return table


def _of_steps(report: PostMortem) -> Table:
    """The losses and gradient norms of the last steps."""
    rows = report.findings.tail[-STEPS:]
    values = list(rows[-1].values) if rows else []
    norms = list(rows[-1].norms) if rows else []
    table = Table(title="the last steps", title_justify="left")
    for column in ("batch", *values, *(f"|gradient| {name}" for name in norms)):
        table.add_column(escape(column), justify="right")
    for row in rows:
        numbers = [*(row.values.get(v) for v in values), *(row.norms.get(n) for n in norms)]
        table.add_row(str(row.batch), *("-" if x is None else f"{x:.4g}" for x in numbers))
    return table
