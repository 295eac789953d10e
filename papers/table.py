"""The table of reproductions: their names, the options they take, and the request to run one."""

from __future__ import annotations

import importlib
import math
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chartae.records.choices import one_of

__all__ = ["OPTIONAL", "Record", "Request", "Say", "record", "records", "reproduce", "reproduction"]

Say = Callable[[str], None]
Result = TypeVar("Result")

#: fields of a request that only some reproductions take
OPTIONAL = (
    "data", "labels", "recipes", "limit", "epochs", "weights", "net", "precision", "jobs", "minutes", "factorial",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request to reproduce a result.

    Args:
        out: folder for the parts, the table and the pictures. An interrupted reproduction continues there.
        quick: whether to use small nets, few seeds and few steps, for two CPU cores; default False.
        seeds: number of seeds, >= 1; each reproduction has its own default.
        root: folder of named data sets; default: the environment variable CHARTAE_DATA, else a download.
        overwrite: whether to remove the parts in `out` first; default False.
        device: device to train on, such as "cpu"; default: a GPU if there is one.
        say: function called with each progress message; default: no messages.
        progress: whether to show progress bars; default: on a terminal.
        data: name of the data set.
        labels: number of training examples that keep their label, >= 1.
        recipes: recipes to make rows for; default: all of the table.
        limit: use only the first N strings, >= 1.
        epochs: number of training epochs, >= 1.
        weights: file with the weights of Inception; with it, the metric is FID.
        net: architecture of encoder and decoder, as for `chartae.fit`.
        precision: "fp32", "bf16" or "fp16" (GPU only).
        jobs: number of models that are trained at the same time, >= 1; default 1.
        minutes: time for training in minutes, > 0, after which it stops, resumable; default: no limit.
        factorial: whether to switch each part of the objective on and off, in all combinations; default False.

    Raises:
        ValueError: a count is below 1, or `minutes` is 0 or less.
    """

    out: str | Path
    quick: bool = False
    seeds: int | None = None
    root: str | Path | None = None
    overwrite: bool = False
    device: str | None = None
    say: Say = lambda text: None
    progress: bool | None = None
    data: str | None = None
    labels: int | None = None
    recipes: tuple[str, ...] = ()
    limit: int | None = None
    epochs: int | None = None
    weights: str | Path | None = None
    net: str | None = None
    precision: str | None = None
    jobs: int | None = None
    minutes: float | None = None
    factorial: bool = False

    def __post_init__(self) -> None:
        counts = {"seeds": self.seeds, "labels": self.labels, "limit": self.limit, "epochs": self.epochs}
        counts["jobs"] = self.jobs
        for name, count in counts.items():
            if count is not None and count < 1:
                raise ValueError(f"--{name} is {count}; expected a number >= 1. Leave it out for the default.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(
                f"--minutes is {self.minutes:g}; expected a finite number above 0. Leave it out for no limit."
            )

    def options_set(self) -> list[str]:
        """The names of the optional fields that are set."""
        return [name for name in OPTIONAL if getattr(self, name) not in (None, (), False)]


@dataclass(frozen=True)
class Record:
    """A reproduction: its name, its function, and the names of the `OPTIONAL` fields that it takes."""

    name: str
    function: Callable[[Request], object]
    takes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The first paragraph of the function's docstring."""
        return " ".join((self.function.__doc__ or "").split("\n\n")[0].split())


TABLE: dict[str, Record] = {}


def reproduction(
    name: str, takes: tuple[str, ...] = ()
) -> Callable[[Callable[[Request], Result]], Callable[[Request], Result]]:
    """Decorator that adds a function to the table of reproductions; a new reproduction is one new file in this folder.

    Args:
        name: name of the reproduction on the command line.
        takes: names of the `OPTIONAL` fields of a request that it takes.

    Returns:
        The decorator.
    """

    def decorate(function: Callable[[Request], Result]) -> Callable[[Request], Result]:
        TABLE[name] = Record(name, function, takes)
        return function

    return decorate


def records() -> dict[str, Record]:
    """All reproductions by name, in alphabetical order; this imports every module of the package."""
    for module in pkgutil.iter_modules(sys.modules[__package__ or "papers"].__path__):
        if module.name != "__main__":
            importlib.import_module(f"papers.{module.name}")
    return dict(sorted(TABLE.items()))


def record(name: str) -> Record:
    """The reproduction with a name.

    Raises:
        ValueError: there is no such reproduction; the message lists the names.
    """
    known = records()
    if name in known:
        return known[name]
    raise ValueError(f"NAME is {name!r}; {one_of(name, known)}")


def reproduce(name: str, request: Request) -> object:
    """Reproduce a result.

    Args:
        name: name of the reproduction, a key of `records()`.
        request: the settings.

    Returns:
        The numbers of the reproduction.

    Raises:
        ValueError: an unknown name, or an option that this reproduction does not take.
    """
    chosen = record(name)
    for field in request.options_set():
        if field not in chosen.takes:
            takers = [other.name for other in records().values() if field in other.takes]
            raise ValueError(
                f"--{field} is {getattr(request, field)!r}; expected none, because {name} takes no --{field}; it is an "
                f"option of {', '.join(takers)}. Leave it out."
            )
    return chosen.function(request)
