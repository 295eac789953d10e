"""The table of reproductions: what each is called, what it takes, and how one is requested."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = ["OPTIONAL", "Record", "Request", "Say", "record", "records", "reproduce", "reproduction"]

Say = Callable[[str], None]
Result = TypeVar("Result")

#: fields of a request that only some reproductions take
OPTIONAL = ("data", "labels", "recipes", "limit", "epochs", "weights")


@dataclass(frozen=True)
class Request:
    """How a result is to be reproduced.

    Args:
        out: folder for the parts, the table and the pictures. An interrupted reproduction continues there.
        quick: small nets, few seeds and few steps, for two CPU cores.
        seeds: number of seeds, >= 1; each reproduction has its own default.
        root: folder of named data sets; default: the environment variable CHARTAE_DATA, else a download.
        overwrite: remove the parts in `out` first.
        device: where to train, such as "cpu"; default: a GPU where there is one.
        say: called with each progress message.
        progress: show progress bars; default: on a terminal.
        data: name of the data set.
        labels: number of training examples that keep their label, >= 1.
        recipes: the rows to make; default: all.
        limit: use only the first so many strings, >= 1.
        epochs: training epochs, >= 1.
        weights: file of Inception's weights; with it the numbers are FID.

    Raises:
        ValueError: a count is below 1.
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

    def __post_init__(self) -> None:
        counts = {"seeds": self.seeds, "labels": self.labels, "limit": self.limit, "epochs": self.epochs}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise ValueError(f"--{name} is {count}; give at least 1")

    def given(self) -> list[str]:
        """The names of the optional fields that are set."""
        return [name for name in OPTIONAL if getattr(self, name) not in (None, ())]


@dataclass(frozen=True)
class Record:
    """A reproduction: its name, its function, and which of the `OPTIONAL` fields it takes."""

    name: str
    function: Callable[[Request], object]
    takes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The first sentence or two of the function's documentation, up to an empty line."""
        return " ".join((self.function.__doc__ or "").split("\n\n")[0].split())


TABLE: dict[str, Record] = {}


def reproduction(
    name: str, takes: tuple[str, ...] = ()
) -> Callable[[Callable[[Request], Result]], Callable[[Request], Result]]:
    """Enter a function in the table. Every module of this package may do so: a new reproduction is one new file.

    Args:
        name: what it is called on the command line.
        takes: which of the `OPTIONAL` fields of a request it takes.
    """

    def enter(function: Callable[[Request], Result]) -> Callable[[Request], Result]:
        TABLE[name] = Record(name, function, takes)
        return function

    return enter


def records() -> dict[str, Record]:
    """All reproductions by name, in alphabetical order; every module of this package is imported for it."""
    for module in pkgutil.iter_modules(sys.modules[__package__ or "papers"].__path__):
        if module.name != "__main__":
            importlib.import_module(f"papers.{module.name}")
    return dict(sorted(TABLE.items()))


def record(name: str) -> Record:
    """The reproduction of a name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    known = records()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ValueError(f"there is no reproduction {name!r}{hint}; choose from {', '.join(known)}")


def reproduce(name: str, request: Request) -> object:
    """Reproduce a result.

    Args:
        name: one of `records()`.
        request: how.

    Returns:
        What the reproduction returns: its numbers.

    Raises:
        ValueError: an unknown name; a field is set that this reproduction does not take.
    """
    chosen = record(name)
    for field in request.given():
        if field not in chosen.takes:
            takers = [other.name for other in records().values() if field in other.takes]
            raise ValueError(f"{name} takes no --{field}; it is an option of {', '.join(takers)}")
    return chosen.function(request)
