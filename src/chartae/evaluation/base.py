"""How sets of one kind of data are compared with its test set: one class a kind, in a table keyed by the kind's class.

A new kind of data has one row here: a class under `evaluates`, in one file of this package or anywhere else.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chartae.data import Dataset
from chartae.data.kinds import Kind
from chartae.evaluation.codes import Codes, conditions_for
from chartae.grammar import Grammar
from chartae.metrics import Extractor
from chartae.records.comparison import ComparedColumn
from chartae.records.parsing import Value
from chartae.records.results import Scores
from chartae.runs import Run
from chartae.samplers import by_name

__all__ = ["Evaluator", "Measuring", "Reconstruction", "evaluates", "evaluator_for", "row_of"]


@dataclass(frozen=True)
class Measuring:
    """What a user may say about how sets are compared; each kind of data understands some of it (`Evaluator.options`).

    Attributes:
        extractor: for pictures, tables and points: a name of `chartae.metrics.NAMES`, or an extractor; by default the
            one for these data.
        weights: for pictures: the file of the weights of ``"inception"``.
        language: for strings: what a string must be to be valid: ``"molecules"``, a grammar, its name or its file; by
            default the language of the codec.
        n: the size of every compared set, >= 20.
        device: where features are computed.
    """

    extractor: str | Extractor | None = None
    weights: str | Path | None = None
    language: str | Path | Grammar | None = None
    n: int = 10_000
    device: str = "cpu"

    def stated(self) -> tuple[str, ...]:
        """The names of what was said beyond size and device."""
        names = (field.name for field in fields(self) if field.name not in ("n", "device"))
        return tuple(name for name in names if getattr(self, name) is not None)


@dataclass(frozen=True)
class Reconstruction:
    """Reconstructions of test examples against their own originals.

    Attributes:
        errors: the mean of each measure.
        pairs: the first originals and reconstructions, where these are text.
    """

    errors: Scores
    pairs: tuple[tuple[str, str], ...] = ()


class Evaluator(ABC):
    """The test set of a data set, and how other sets are measured against it; one serves any number of runs.

    Attributes:
        data: the data set.
        n: the size of every compared set.
        floor: the metrics of as many real examples: the best that a good sampler can expect.
    """

    #: the fields of `Measuring` that this kind of data understands
    options: ClassVar[frozenset[str]] = frozenset()

    data: Dataset
    n: int
    floor: Scores

    @abstractmethod
    def __init__(self, data: Dataset, measuring: Measuring) -> None:
        """Read the test set.

        Raises:
            ValueError: too few examples, or something in `measuring` that these data do not go with.
        """

    @classmethod
    def check(cls, measuring: Measuring, kind: Kind) -> None:
        """Raise ValueError for what this kind of data has no use for, before any data are read."""
        if measuring.n < 20:
            raise ValueError(f"n is {measuring.n}; comparing sets needs at least 20 examples in each")
        idle = [name for name in measuring.stated() if name not in cls.options]
        if idle:
            users = sorted({other.noun for other, row in rows() if set(idle) <= row.options})
            raise ValueError(
                f"{', '.join(idle)}: for {' and '.join(users) or 'no data'}, but these data are {kind.noun}; leave "
                f"{'it' if len(idle) == 1 else 'them'} out"
            )

    def check_same(self, other: Evaluator) -> None:
        """Raise ValueError if numbers of this evaluator cannot stand beside those of another of a comparison."""
        return

    @property
    @abstractmethod
    def metric(self) -> str:
        """What the numbers of the sets are, as `Results.metric` names it."""

    @abstractmethod
    def measure(self, examples: object) -> Scores:
        """The metrics of a set against the test set.

        Args:
            examples: in the units of the data set, or strings.
        """

    @abstractmethod
    def generated(self, run: Run, x: Tensor) -> object:
        """Examples in the model's form, as `measure` takes them."""

    @abstractmethod
    def protocol(self) -> dict[str, Value]:
        """Everything that another laboratory needs to get the same numbers."""

    @abstractmethod
    def reconstruction(self, run: Run, test: Codes) -> Reconstruction:
        """Reconstructions of the test examples, by their codes, against their own originals."""

    def drawn(self, run: Run, name: str, seed: int, n: int | None = None) -> Tensor:
        """`n` new examples of a density or sampler in the model's form, under the test set's conditions."""
        size = n or self.n
        start = self.data.kind.inside(self.data.train) if name in by_name.NAMES else None
        return run.draw(size, name, condition=conditions_for(self.data, size), seed=seed, start=start)

    def reconstructed(self, run: Run, valid: Codes) -> Iterator[tuple[str, object]]:
        """The sets that are made of validation examples before anything is sampled."""
        return iter(())

    def interpolated(self, run: Run, valid: Codes, seed: int) -> Iterator[tuple[str, object]]:
        """The sets that are made of points between validation examples."""
        return iter(())

    def examples(self, drawn: object) -> tuple[str, ...]:
        """The first new examples, where they are text."""
        return ()

    def paths(self, run: Run, test: Codes) -> tuple[tuple[str, ...], ...]:
        """Rows of examples between two test examples, where they are text."""
        return ()

    def pictures(self, run: Run, test: Codes, densities: Sequence[str], seed: int) -> dict[str, NDArray[np.generic]]:
        """What a report shows, as `chartae.records.pictures.Pictures` reads it; nothing where there is text to show."""
        return {}

    # -- a comparison -----------------------------------------------------------------------------------------------

    @property
    def compared(self) -> str:
        """What the main number of a comparison is, by which recipes are ranked."""
        return self.metric

    @abstractmethod
    def columns(self, densities: Sequence[str]) -> Mapping[str, ComparedColumn]:
        """The columns of a comparison; those that are named after a set hold the main number.

        Args:
            densities: what is sampled.
        """


R = TypeVar("R", bound=type[Evaluator])
_ROWS: dict[type[Kind], type[Evaluator]] = {}


def evaluates(*kinds: type[Kind]) -> Callable[[R], R]:
    """A decorator that enters a class as the evaluator of kinds of data, and of kinds derived from them."""

    def register(row: R) -> R:
        _ROWS.update(dict.fromkeys(kinds, row))
        return row

    return register


def rows() -> list[tuple[type[Kind], type[Evaluator]]]:
    """The whole table: that of the files of this package, and what was registered elsewhere."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return list(_ROWS.items())


def row_of(kind: Kind) -> type[Evaluator]:
    """The evaluator of a kind of data.

    Raises:
        ValueError: there is none.
    """
    table = dict(rows())
    row = next((table[base] for base in type(kind).__mro__ if base in table), None)
    if row is None:
        raise ValueError(
            f"there is no evaluator of {kind.noun} ({type(kind).__name__}); there are those of "
            f"{', '.join(known.noun for known in table)}. Register one with chartae.evaluation.evaluates"
        )
    return row


def evaluator_for(data: Dataset, measuring: Measuring | None = None) -> Evaluator:
    """The evaluator of a data set, to share between runs.

    Args:
        data: the data set.
        measuring: how sets are compared; the defaults of this kind of data by default.

    Raises:
        ValueError: no evaluator of such data, an option that they do not go with, or too few examples.
    """
    measuring = measuring or Measuring()
    row = row_of(data.kind)
    row.check(measuring, data.kind)
    return row(data, measuring)
