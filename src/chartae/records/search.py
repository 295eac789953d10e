"""The settings of a search: one object from the command line to the loop.

Nothing here imports torch: the command line lists these settings as its flags.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, cast

__all__ = ["KINDS", "METHODS", "OF_A_RUN", "SIDE", "Fit", "Search", "check_fit"]

#: kinds of surrogate
KINDS = ("auto", "exact", "sparse")
METHODS = ("trust-region", "box")
#: the first side length of a trust region, that of TuRBO-1
SIDE = 0.8
#: settings that only a search over a run has
OF_A_RUN = ("density", "limit", "hide", "minimise", "retrain")


class Fit(TypedDict, total=False):
    """Settings of `fit_surrogate` that a search passes on; those left out have their defaults there."""

    inducing: int
    steps: int
    batch_size: int
    lr: float
    iterations: int


def check_fit(fit: Fit) -> None:
    """Raise a ValueError if there is no such setting, or a value is out of range."""
    if unknown := [name for name in fit if name not in Fit.__annotations__]:
        raise ValueError(f"fit has {', '.join(unknown)}; choose from {', '.join(Fit.__annotations__)}")
    for name, value in cast(Mapping[str, float], fit).items():
        if name == "lr" and not 0 < value < math.inf:
            raise ValueError(f"lr is {value}; expected a number above 0")
        if name != "lr" and not value >= 1:
            raise ValueError(f"{name} is {value}; expected at least 1")


@dataclass(frozen=True)
class Search:
    """How a search is done. The values are checked here, once.

    Args:
        rounds: number of rounds, those before a resume included; at least 1.
        batch: number of new strings in a round; at least 1.
        method: ``trust-region`` or ``box``, as in `search`.
        surrogate: ``exact``, ``sparse``, or ``auto``: exact in a trust region, and in a box up to 2,000 codes.
        density: name of the run's density that bounds the search, ``none`` for no bound; by default the run's own
            choice in a trust region, none in a box. Only for a search over a run.
        support: share of the training codes that lie in the density's tail, where nothing is proposed; in [0, 1).
        keep: number of training codes that the exact process learns from, at least 2: a third each are the best, near
            the best, and any.
        floor: quantile of the training scores, in [0, 1), below which scores count as that quantile for the
            surrogate, which far outliers would dominate otherwise; by default 0.01 in a trust region, 0 in a box.
        draws: number of strings decoded from each code; at least 1.
        spares: number of codes beyond each of the batch, which replace those whose string is already known.
        side: first side length of the trust region, in units of the box; > 0.
        candidates: number of codes in the trust region that are decoded, and among whose new strings Thompson's draws
            choose; at least 1.
        explore: factor on the draws' deviations from the mean there, 0 or more; 1 is Thompson sampling proper
            (`region_batch`).
        starts: number of uniform codes from which the climbs in a box begin; at least 1.
        fit: settings of `fit_surrogate`: inducing, steps, batch_size, lr, iterations.
        seed: the same seed gives the same search; at least 0.
        workers: number of processes that score; 1 means this one. By default 1, but for the training strings of a run,
            where there are many, one process for each core.
        timeout: seconds that the score of one string may take; it needs a process of its own.
        limit: number of training strings to learn from, at least 2: the best half, and others at random. Only for a
            search over a run.
        hide: share of the best training strings, in [0, 1), that are hidden from the search, to see whether it finds
            strings as good. Only for a search over a run.
        minimise: whether a function of your own is minimised. Only for a search over a run.
        retrain: epochs over the data, weighted by rank, between rounds (weighted retraining; Tripp et al., 2020); at
            least 1, None for none. Only for a search over a run.
        k: constant of the weights by rank (`rank_weights`); > 0.
        resume: continue the search in the folder, to the same numbers as an uninterrupted one.
        overwrite: begin again where the folder holds a search.

    Raises:
        ValueError: a value is out of range.
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
                raise ValueError(f"{name} is {value!r}; choose from {', '.join(names)}")
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
                raise ValueError(f"{name} is {share}; expected a share from 0 to below 1")
        for name, size in (("side", self.side), ("k", self.k), ("timeout", self.timeout)):
            if size is not None and not 0 < size < math.inf:
                raise ValueError(f"{name} is {size}; expected a number above 0")
        if not 0 <= self.explore < math.inf:
            raise ValueError(f"explore is {self.explore}; expected 0 or more")
        check_fit(self.fit)

    @classmethod
    def of(cls, search: Search | None, fields: Mapping[str, object]) -> Search:
        """`search`, or the defaults, with some fields replaced.

        Raises:
            ValueError: a value is out of range.
            TypeError: there is no such setting.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in fields if name not in known]:
            raise TypeError(f"{', '.join(unknown)}: unknown setting of a search; choose from {', '.join(known)}")
        return dataclasses.replace(search or cls(), **fields)  # type: ignore[arg-type]

    @property
    def in_region(self) -> bool:
        """Whether a trust region bounds each round."""
        return self.method == "trust-region"

    @property
    def quantile(self) -> float:
        """`floor`, or the method's default."""
        return self.floor if self.floor is not None else 0.01 if self.in_region else 0.0

    @property
    def bound(self) -> str | None:
        """The name of the run's density that bounds the search, None for the run's own choice, ``none`` for none."""
        return self.density or (None if self.in_region else "none")

    def check_plain(self) -> None:
        """Raise a ValueError if a setting has a value that only a search over a run can have."""
        plain = Search()
        for name in OF_A_RUN:
            if (value := getattr(self, name)) != getattr(plain, name):
                raise ValueError(
                    f"{name} is {value!r}; it is a setting of a search over a run: use `optimise`, or leave it out"
                )
