"""`chartae inspect`: what would be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

from rich.table import Table
from tyro.conf import Positional

from chartae.cli.flags import ReadingFlags, flag
from chartae.cli.printing import cells, console
from chartae.cli.verb import Printing, in_flags

if TYPE_CHECKING:
    from chartae.data import Inspection

__all__ = ["Inspect"]

#: columns and classes that are printed
LISTED = 30


@dataclass(frozen=True)
class Inspect(Printing):
    """Show what would be read: kind, rows, splits, columns or sizes, labels, and what the reader decided."""

    examples: ClassVar[tuple[str, ...]] = ("inspect table.csv", "inspect photos/ --size 64 --json")

    dataset: Annotated[Positional[str], flag("name of a data set (`chartae list data`), or a path", "DATA")]
    data: ReadingFlags = field(default_factory=ReadingFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae.data import Reading, inspect

        reading = Reading(**self.data.reading())  # type: ignore[arg-type]
        facts = inspect(self.dataset, root=self.data.data_root, reading=reading)
        self.conclude(cast(Mapping[str, object], facts.to_dict()), lambda: _print(facts))


def _print(facts: Inspection) -> None:
    rows = ", ".join(f"{split} {count:,}" for split, count in facts.rows.items())
    lines = {
        "data": f"{facts.name} ({facts.source})",
        "kind": f"{facts.kind}, one example is {'x'.join(map(str, facts.shape))} {facts.dtype}",
        "rows": f"{sum(facts.rows.values()):,}: {rows}",
        "columns": _listed(facts.columns),
        "label": facts.label or ("yes" if facts.labelled else "none"),
        "classes": _listed(facts.classes),
        "left out": f"{facts.skipped:,} strings" if facts.skipped else "",
        **{f"note {i}": in_flags(Inspect, note) for i, note in enumerate(facts.notes, 1)},
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, text in lines.items():
        if text:
            table.add_row(*cells(name, text))
    console().print(table)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:LISTED]) + (f", ... ({len(names)})" if len(names) > LISTED else "")
