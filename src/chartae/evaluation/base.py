"""Evaluators compare sets of examples with a test set: one class for each kind of data, in a table keyed by the kind.

A new kind of data needs one evaluator class, registered by `evaluates`, in this package or elsewhere.
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
    """Settings for comparing sets; each kind of data uses some of them (`Evaluator.options`).

    Attributes:
        extractor: for images, tables and points: a feature extractor, or its name in `chartae.metrics.NAMES`; None
            (default) chooses by the data set.
        weights: for images: file of the weights of ``"inception"``; None (default) otherwise.
        language: for strings: language in which a string must be to be valid, as ``"molecules"``, a grammar, or the
            name or file of a grammar; None (default) for the language of the codec.
        n: number of examples in each compared set, >= 20; default 10,000.
        device: device on which features are computed; default ``"cpu"``.

    >>> from chartae.evaluation import Measuring
    >>> Measuring(n=500, language="molecules").stated()
    ('language',)
    """

    extractor: str | Extractor | None = None
    weights: str | Path | None = None
    language: str | Path | Grammar | None = None
    n: int = 10_000
    device: str = "cpu"

    def stated(self) -> tuple[str, ...]:
        """Names of the settings that are given, except `n` and `device`."""
        names = (field.name for field in fields(self) if field.name not in ("n", "device"))
        return tuple(name for name in names if getattr(self, name) is not None)


@dataclass(frozen=True)
class Reconstruction:
    """How reconstructions of test examples compare with their originals.

    Attributes:
        errors: mean of each error.
        pairs: the first pairs (original, reconstruction), if they are strings.
    """

    errors: Scores
    pairs: tuple[tuple[str, str], ...] = ()


class Evaluator(ABC):
    """Compares sets of examples with the test set of a data set; one evaluator serves any number of runs.

    Abstract: a subclass for each kind of data is registered by `evaluates`, and `evaluator_for` builds one.

    Attributes:
        data: the data set.
        n: number of examples in each compared set.
        floor: metrics of `n` real examples, the best values that a sampler can be expected to reach.
    """

    #: the fields of `Measuring` that this kind of data uses
    options: ClassVar[frozenset[str]] = frozenset()

    data: Dataset
    n: int
    floor: Scores

    @abstractmethod
    def __init__(self, data: Dataset, measuring: Measuring) -> None:
        """Read the test set.

        Args:
            data: the data set.
            measuring: settings for comparing sets.

        Raises:
            ValueError: there are too few examples, or a setting is not for this kind of data.
        """

    @classmethod
    def check(cls, measuring: Measuring, kind: Kind) -> None:
        """Check the settings for a kind of data, before any data are read.

        Raises:
            ValueError: `n` is below 20, or a setting is given that this kind of data does not use.
        """
        if measuring.n < 20:
            raise ValueError(f"n is {measuring.n}; expected at least 20 examples in each compared set. Give a larger n")
        unused = [name for name in measuring.stated() if name not in cls.options]
        if unused:
            users = sorted({other.noun for other, row in rows() if set(unused) <= row.options})
            verb, pronoun = ("is", "it") if len(unused) == 1 else ("are", "them")
            raise ValueError(
                f"{' and '.join(unused)} {verb} for {' and '.join(users) or 'no data'}, but these data are "
                f"{kind.noun}; leave {pronoun} out"
            )

    def check_same(self, other: Evaluator) -> None:
        """Raise ValueError if metrics of this evaluator are not comparable with those of `other` in a comparison."""
        return

    @property
    @abstractmethod
    def metric(self) -> str:
        """Name of the metric of the sets, such as ``"frechet-pixels"``; it becomes `Results.metric`."""

    @abstractmethod
    def measure(self, examples: object) -> Scores:
        """Metrics of a set of examples against the test set.

        Args:
            examples: examples in the units of the data set, or strings.

        Returns:
            The metrics by name.
        """

    @abstractmethod
    def generated(self, run: Run, x: Tensor) -> object:
        """Convert examples from the model's form to the form that `measure` takes."""

    @abstractmethod
    def protocol(self, run: Run | None = None) -> dict[str, Value]:
        """Everything that is needed to reproduce the numbers, by name.

        Args:
            run: the run whose samples are compared; None (default) for several runs that this version has fitted.
        """

    @abstractmethod
    def reconstruction(self, run: Run, test: Codes) -> Reconstruction:
        """Compare the reconstructions of the test examples, from their codes, with the originals."""

    def drawn(self, run: Run, name: str, seed: int, n: int | None = None) -> Tensor:
        """Draw new examples under the conditions of the test set.

        Args:
            run: the run that is sampled.
            name: name of a density or sampler.
            seed: seed of the draws.
            n: number of examples; None (default) for the evaluator's `n`.

        Returns:
            Examples (n, *S) in the model's form.
        """
        size = n or self.n
        start = self.data.kind.inside(self.data.train) if name in by_name.NAMES else None
        return run.draw(size, name, condition=conditions_for(self.data, size), seed=seed, start=start)

    def reconstructed(self, run: Run, valid: Codes) -> Iterator[tuple[str, object]]:
        """Names and examples of the sets of reconstructed validation examples; none by default."""
        return iter(())

    def interpolated(self, run: Run, valid: Codes, seed: int) -> Iterator[tuple[str, object]]:
        """Names and examples of the sets of interpolations between validation examples; none by default."""
        return iter(())

    def examples(self, drawn: object) -> tuple[str, ...]:
        """The first new examples, if they are strings; none by default."""
        return ()

    def paths(self, run: Run, test: Codes) -> tuple[tuple[str, ...], ...]:
        """Rows of strings, each a path between two test strings; none by default."""
        return ()

    def pictures(self, run: Run, test: Codes, densities: Sequence[str], seed: int) -> dict[str, NDArray[np.generic]]:
        """Arrays that a report shows, as `chartae.records.pictures.Pictures` reads them; none by default."""
        return {}

    # -- a comparison -----------------------------------------------------------------------------------------------

    @property
    def compared(self) -> str:
        """Name of the main number of a comparison, by which recipes are ranked."""
        return self.metric

    @abstractmethod
    def columns(self, densities: Sequence[str]) -> Mapping[str, ComparedColumn]:
        """The columns of a comparison; those that are named after a set hold the main number.

        Args:
            densities: names of the densities that are sampled.
        """


R = TypeVar("R", bound=type[Evaluator])
_ROWS: dict[type[Kind], type[Evaluator]] = {}


def evaluates(*kinds: type[Kind]) -> Callable[[R], R]:
    """Decorator that registers a class as the evaluator of kinds of data, and of kinds that inherit from them.

    Args:
        kinds: classes of data, such as `chartae.data.kinds.Points`.

    Returns:
        A decorator for a subclass of `Evaluator`, which returns the class unchanged.

    >>> from chartae.data.kinds import Points
    >>> from chartae.evaluation import evaluates
    >>> from chartae.evaluation.points import PointEvaluator
    >>> evaluates(Points)(PointEvaluator).options == {"extractor", "weights"}  # registered already
    True
    """

    def register(row: R) -> R:
        _ROWS.update(dict.fromkeys(kinds, row))
        return row

    return register


def rows() -> list[tuple[type[Kind], type[Evaluator]]]:
    """All registered pairs (kind, evaluator), after importing every module of this package."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return list(_ROWS.items())


def row_of(kind: Kind) -> type[Evaluator]:
    """The evaluator class of a kind of data.

    Raises:
        ValueError: no evaluator is registered for the kind.
    """
    table = dict(rows())
    row = next((table[base] for base in type(kind).__mro__ if base in table), None)
    if row is None:
        raise ValueError(
            f"the data are {kind.noun} ({type(kind).__name__}), which have no evaluator; expected one of "
            f"{', '.join(known.noun for known in table)}. Register an evaluator with chartae.evaluation.evaluates"
        )
    return row


def evaluator_for(data: Dataset, measuring: Measuring | None = None) -> Evaluator:
    """Build the evaluator of a data set, which computes the features of the test set once for any number of runs.

    Args:
        data: the data set.
        measuring: settings for comparing sets; None (default) for the defaults.

    Returns:
        The evaluator for this kind of data.

    Raises:
        ValueError: this kind of data has no evaluator or does not use a setting that is given, or there are too few
            examples.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.evaluation import Measuring, evaluator_for
    >>> data = ch.data.from_arrays(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)))
    >>> evaluator = evaluator_for(data, Measuring(n=25))
    >>> evaluator.metric, evaluator.n, sorted(evaluator.floor)
    ('frechet-pixels', 25, ['coverage', 'density', 'frechet', 'kid', 'kid_sd', 'precision', 'recall'])
    """
    measuring = measuring or Measuring()
    row = row_of(data.kind)
    row.check(measuring, data.kind)
    return row(data, measuring)
