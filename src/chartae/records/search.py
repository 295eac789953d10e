"""The settings of a search, as one object for the command line and the search loop.

This module does not import torch, so that the command line can list the settings as flags quickly.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, cast

from chartae.records.choices import one_of

__all__ = ["KINDS", "METHODS", "OF_A_RUN", "SIDE", "Fit", "Search", "check_fit"]

#: kinds of surrogate
KINDS = ("auto", "exact", "sparse")
METHODS = ("trust-region", "box")
#: the first side length of a trust region, that of TuRBO-1
SIDE = 0.8
#: settings that only a search over a run (`optimise`) has
OF_A_RUN = ("density", "limit", "hide", "minimise", "retrain")


class Fit(TypedDict, total=False):
    """Settings that a search passes to `chartae.optimise.fit_surrogate`; a missing one has its default there.

    Attributes:
        inducing: number of inducing points of the sparse Gaussian process, >= 1.
        steps: number of optimisation steps of the sparse process, >= 1.
        batch_size: number of codes in a batch of the sparse process, >= 1.
        lr: learning rate of the sparse process, > 0.
        iterations: largest number of iterations of the exact process's optimiser, >= 1.
    """

    inducing: int
    steps: int
    batch_size: int
    lr: float
    iterations: int


def check_fit(fit: Fit) -> None:
    """Raise ValueError if a setting is unknown, or its value is out of range."""
    if unknown := [name for name in fit if name not in Fit.__annotations__]:
        raise ValueError(f"fit has unknown settings {', '.join(unknown)}; choose from {', '.join(Fit.__annotations__)}")
    for name, value in cast(Mapping[str, float], fit).items():
        if name == "lr" and not 0 < value < math.inf:
            raise ValueError(f"lr is {value}; expected a number above 0")
        if name != "lr" and not value >= 1:
            raise ValueError(f"{name} is {value}; expected at least 1")


@dataclass(frozen=True)
class Search:
    """Settings of a latent search; the values are validated on construction.

    The method ``trust-region`` is TuRBO-1 (Eriksson et al., 2019, arXiv 1910.01739); ``box`` is the protocol of the
    grammar VAE (Kusner, Paige, Hernández-Lobato, 2017, arXiv 1703.01925).

    Args:
        rounds: total number of rounds, including those before a resume; >= 1; default 5.
        batch: number of new strings in a round, >= 1; default 50.
        method: ``"trust-region"`` (default): Thompson sampling in a box around the best code, which grows with success
            and shrinks without; or ``"box"``: expected improvement in the box that holds all training codes.
        surrogate: Gaussian process over the codes: ``"exact"``, ``"sparse"``, or ``"auto"`` (default), which is exact
            in a trust region, and in a box for up to 2,000 codes.
        density: name of the run's density outside whose support no codes are proposed, or ``"none"`` for no bound;
            None (default) for the run's own choice in a trust region, and no bound in a box. Only for a search over a
            run.
        support: fraction of the training codes that count as the density's tail, where no codes are proposed; in
            [0, 1); default 0.01.
        keep: number of training codes that the exact process is fitted to, >= 2; default 500. A third are the best
            codes, a third those nearest to the best, and the others random.
        floor: quantile of the training scores, in [0, 1), at which the surrogate clips lower scores, so that outliers
            do not dominate it; None (default) for 0.01 in a trust region, 0 in a box.
        draws: number of strings decoded from each code, >= 1; default 1.
        spares: number of extra codes proposed for each code of the batch, >= 0; default 0. They replace codes whose
            string is already known.
        side: initial side length of the trust region, in units of the box; > 0; default 0.8.
        candidates: number of codes in the trust region that are decoded; Thompson sampling chooses among those with new
            strings; >= 1; default 2,000.
        explore: factor on the deviations of Thompson sampling's draws from the mean, >= 0; default 0.1. With 1 it is
            ordinary Thompson sampling.
        starts: number of uniform codes from which the acquisition function is optimised in a box, >= 1; default
            10,000.
        fit: settings of the surrogate's fit: inducing, steps, batch_size, lr, iterations; default none.
        seed: seed of the search, >= 0; default 0.
        workers: number of processes that score strings, >= 1; 1 means the current process. None (default) is 1, except
            for scoring many training strings of a run, which uses one process for each core.
        timeout: time limit for scoring one string, in seconds; > 0; None (default) for no limit. A limit needs a
            separate process.
        limit: number of training strings to learn from, >= 2: half of them the best, the others random; None (default)
            for all. Only for a search over a run.
        hide: fraction of the best training strings that are hidden from the search, in [0, 1); default 0. It shows
            whether the search finds new strings as good as these. Only for a search over a run.
        minimise: whether to minimise your own function instead of maximising it; default False. Only for a search over
            a run.
        retrain: number of epochs of weighted retraining between rounds, >= 1; None (default) for no retraining. The
            training strings are weighted by the rank of their score (Tripp, Daxberger, Hernández-Lobato, 2020, arXiv
            2006.09191). Only for a search over a run.
        k: constant k in the weights by rank, 1 / (k N + rank); > 0; default 1e-3.
        resume: whether to continue the search in the folder, with the same result as an uninterrupted one; default
            False.
        overwrite: whether to replace a search in the folder; default False.

    Raises:
        ValueError: a value is out of range.

    >>> from chartae.optimise import Search
    >>> search = Search(rounds=10, batch=20)
    >>> search.in_region, search.quantile, Search(method="box").quantile
    (True, 0.01, 0.0)
    """

    rounds: int = 5
    batch: int = 50
    method: str = "trust-region"
    surrogate: str = "auto"
    density: str | None = None
    support: float = 0.01
    keep: int = 500
    floor: float | None = None
    draws: int = 1
    spares: int = 0
    side: float = SIDE
    candidates: int = 2000
    explore: float = 0.1
    starts: int = 10_000
    fit: Fit = dataclasses.field(default_factory=Fit)
    seed: int = 0
    workers: int | None = None
    timeout: float | None = None
    limit: int | None = None
    hide: float = 0.0
    minimise: bool = False
    retrain: int | None = None
    k: float = 1e-3
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, value, names in (("method", self.method, METHODS), ("surrogate", self.surrogate, KINDS)):
            if value not in names:
                raise ValueError(f"{name} is {value!r}; {one_of(value, names)}")
        least = {
            "rounds": (self.rounds, 1),
            "batch": (self.batch, 1),
            "draws": (self.draws, 1),
            "candidates": (self.candidates, 1),
            "starts": (self.starts, 1),
            "keep": (self.keep, 2),
            "spares": (self.spares, 0),
            "seed": (self.seed, 0),
            "workers": (self.workers, 1),
            "limit": (self.limit, 2),
            "retrain": (self.retrain, 1),
        }
        for name, (number, bound) in least.items():
            if number is not None and number < bound:
                raise ValueError(f"{name} is {number}; expected at least {bound}")
        for name, share in (("support", self.support), ("floor", self.floor), ("hide", self.hide)):
            if share is not None and not 0 <= share < 1:
                raise ValueError(f"{name} is {share}; expected a fraction from 0 to below 1")
        for name, size in (("side", self.side), ("k", self.k), ("timeout", self.timeout)):
            if size is not None and not 0 < size < math.inf:
                raise ValueError(f"{name} is {size}; expected a number above 0")
        if not 0 <= self.explore < math.inf:
            raise ValueError(f"explore is {self.explore}; expected a number >= 0")
        check_fit(self.fit)

    @classmethod
    def of(cls, search: Search | None, fields: Mapping[str, object]) -> Search:
        """Replace some fields of `search`, or of the defaults if it is None.

        Args:
            search: the settings; None for the defaults.
            fields: name -> value of the fields to replace.

        Raises:
            ValueError: a value is out of range.
            TypeError: a field is unknown.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in fields if name not in names]:
            raise TypeError(f"{', '.join(unknown)}: unknown setting of a search; choose from {', '.join(names)}")
        return dataclasses.replace(search or cls(), **fields)  # type: ignore[arg-type]

    @property
    def in_region(self) -> bool:
        """Whether the method is ``"trust-region"``."""
        return self.method == "trust-region"

    @property
    def quantile(self) -> float:
        """`floor`, or the method's default: 0.01 in a trust region, 0 in a box."""
        return self.floor if self.floor is not None else 0.01 if self.in_region else 0.0

    @property
    def bound(self) -> str | None:
        """Name of the run's density that bounds the search; None for the run's own choice, ``"none"`` for no bound."""
        return self.density or (None if self.in_region else "none")

    def check_plain(self) -> None:
        """Raise ValueError if a setting that only a search over a run has differs from its default."""
        plain = Search()
        for name in OF_A_RUN:
            if (value := getattr(self, name)) != getattr(plain, name):
                raise ValueError(
                    f"{name} is {value!r}, but only a search over a run has this setting; use "
                    "chartae.optimise.optimise, or leave it out"
                )
