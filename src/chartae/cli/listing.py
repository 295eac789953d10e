"""`chartae list`: what there is by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

from rich.table import Table
from tyro.conf import Positional

from chartae.cli.flags import flag
from chartae.cli.printing import cells, console
from chartae.cli.verb import Printing
from chartae.records.choices import one_of
from chartae.records.parsing import Value

__all__ = ["List"]

#: a name, its summary, and what else is known
Row: TypeAlias = dict[str, Value]


def _summary(thing: object) -> str:
    """The first sentence of a docstring."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()).replace("`", "")


def _recipes() -> list[Row]:
    from chartae.recipes import RECIPES, options

    return [
        {
            "name": name, "summary": record.summary, "kinds": [kind.name for kind in record.kinds],
            "samples_from": record.density, "densities": list(record.densities), "options": list(options(name)),
        }
        for name, record in RECIPES.items()
    ]  # fmt: skip


def _densities() -> list[Row]:
    from chartae.densities import NAMES

    rows: list[Row] = [{"name": "prior", "summary": "The model's prior p(z), which needs no fit."}]
    return rows + [{"name": name, "summary": _summary(kind)} for name, kind in NAMES.items() if kind.listed]


def _samplers() -> list[Row]:
    from chartae.samplers import by_name

    return _rows(by_name.NAMES, by_name.SUMMARIES)


def _data() -> list[Row]:
    from chartae.data import catalogue

    return _rows(catalogue.NAMES, catalogue.SUMMARIES)


def _metrics() -> list[Row]:
    from chartae import metrics

    functions = {name: getattr(metrics, name) for name in metrics.__all__}
    return [
        {"name": name, "summary": _summary(function)}
        for name, function in functions.items()
        if inspect.isfunction(function)
    ]


def _grammars() -> list[Row]:
    from chartae.grammar import builtin

    return _rows(builtin.NAMES, builtin.SUMMARIES)


def _rows(names: Iterable[str], summaries: Mapping[str, str]) -> list[Row]:
    return [{"name": name, "summary": summaries[name]} for name in names]


TABLES: Mapping[str, Callable[[], list[Row]]] = {
    "recipes": _recipes,
    "densities": _densities,
    "samplers": _samplers,
    "data": _data,
    "metrics": _metrics,
    "grammars": _grammars,
}


@dataclass(frozen=True)
class List(Printing):
    """List what there is by name: recipes, densities, samplers, data sets, metrics or grammars."""

    examples: ClassVar[tuple[str, ...]] = ("list recipes", "list densities --json")

    what: Annotated[Positional[str], flag(", ".join(TABLES), "WHAT")]

    def run(self, options: Mapping[str, str]) -> None:
        if self.what not in TABLES:
            raise ValueError(f"WHAT is {self.what!r}; {one_of(self.what, TABLES)}")
        rows = TABLES[self.what]()

        def show() -> None:
            table = Table(show_header=False, box=None, pad_edge=False)
            table.add_column(no_wrap=True)
            table.add_column()
            for row in rows:
                table.add_row(*cells(row["name"], row["summary"]))
            console().print(table)

        self.conclude(rows, show)
