"""What a search has evaluated, and its summaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

__all__ = ["BestString", "History", "OverRuns", "RoundSummary", "Row", "Summary", "over_runs"]


@dataclass(frozen=True)
class Row:
    """An evaluated code: its round (from 1), its number among all evaluated, its string, and a score or an error."""

    round: int
    index: int
    string: str
    score: float | None
    error: str | None = None

    @property
    def valid(self) -> bool:
        return self.score is not None


class RoundSummary(TypedDict):
    """A round: its best score (``peak``), the best so far, how many codes it had, how many of these have a score, and
    how many strings are new."""

    round: int
    peak: float | None
    best: float
    codes: int
    valid: int
    new: int


class BestString(TypedDict):
    """A string with its score, and the round that proposed it."""

    string: str
    score: float | None
    round: int


class Summary(TypedDict):
    """A search in plain numbers, as ``found.json`` has them."""

    maximise: bool
    codes: int
    best: float | None
    best_known: float
    worst_known: float
    valid: float | None
    unique: float | None
    novel: float | None
    mean: float | None
    rounds: list[RoundSummary]
    strings: list[BestString]


class OverRuns(TypedDict):
    """Several searches in one row, as `over_runs` gives them."""

    runs: int
    best_runs: list[float]
    best_strings: list[tuple[str, float | None]]
    valid: float
    valid_error: float
    valid_error_paper: float
    mean: float
    mean_error: float
    mean_error_paper: float


@dataclass(frozen=True)
class History:
    """What a search has evaluated, in the direction of its objective.

    Attributes:
        rows: every evaluated code, in order.
        worst: the worst training score.
        best_known: the best training score.
        known: the training strings, where they were given.
        maximise: whether greater scores are better.
    """

    rows: tuple[Row, ...]
    worst: float
    best_known: float
    known: frozenset[str] | None = None
    maximise: bool = True

    def best(self, n: int = 10) -> list[Row]:
        """The best `n` rows, each string once."""
        sign = -1 if self.maximise else 1
        rows = sorted((r for r in self.rows if r.score is not None), key=lambda r: (sign * (r.score or 0), r.index))
        return list({row.string: row for row in reversed(rows)}.values())[::-1][:n]

    @property
    def best_of_run(self) -> float | None:
        """The best score of the search, None without any: of the paper's best three, each is this of one run."""
        rows = self.best(1)
        return rows[0].score if rows else None

    @property
    def valid(self) -> float:
        """Share of evaluated codes with a score."""
        return sum(row.valid for row in self.rows) / len(self.rows) if self.rows else math.nan

    @property
    def unique(self) -> float:
        """Share of different strings among those with a score."""
        strings = [row.string for row in self.rows if row.valid]
        return len(set(strings)) / len(strings) if strings else math.nan

    @property
    def novel(self) -> float | None:
        """Share of strings outside the training data among the different ones with a score."""
        strings = {row.string for row in self.rows if row.valid}
        return None if self.known is None or not strings else len(strings - self.known) / len(strings)

    @property
    def mean(self) -> float:
        """Mean over scores strictly better than the worst training score, as Kusner, Paige, Hernández-Lobato (2017,
        arXiv:1703.01925) average: codes without a score, which count as the worst, are left out."""
        sign = 1 if self.maximise else -1
        kept = [r.score for r in self.rows if r.score is not None and sign * r.score > sign * self.worst]
        return float(np.mean(kept)) if kept else math.nan

    def rounds(self) -> list[RoundSummary]:
        """Of each round: its best score (``peak``), the best so far, the training strings' among them, how many have a
        score, how many strings are new."""
        better = max if self.maximise else min
        strings, best = set(self.known or ()), self.best_known
        table: list[RoundSummary] = []
        for number in sorted({row.round for row in self.rows}):
            rows = [row for row in self.rows if row.round == number]
            peak = better((r.score for r in rows if r.score is not None), default=None)
            best = best if peak is None else better(best, peak)
            new = {r.string for r in rows if r.valid} - strings
            strings |= new
            table.append(
                {
                    "round": number,
                    "peak": peak,
                    "best": best,
                    "codes": len(rows),
                    "valid": sum(r.valid for r in rows),
                    "new": len(new),
                }
            )
        return table

    def summary(self) -> Summary:
        """Plain numbers; nan becomes None."""

        def plain(value: float | None) -> float | None:
            return None if value is None or math.isnan(value) else value

        return {
            "maximise": self.maximise,
            "codes": len(self.rows),
            "best": self.best_of_run,
            "best_known": self.best_known,
            "worst_known": self.worst,
            "valid": plain(self.valid),
            "unique": plain(self.unique),
            "novel": plain(self.novel),
            "mean": plain(self.mean),
            "rounds": self.rounds(),
            "strings": [{"string": r.string, "score": r.score, "round": r.round} for r in self.best()],
        }

    def flipped(self) -> History:
        """The same search with the sign of all scores turned: of an objective with the other direction."""
        # 0 - x and not -x: a score of 0 stays 0.0
        rows = tuple(replace(row, score=None if row.score is None else 0.0 - row.score) for row in self.rows)
        worst, best = 0.0 - self.worst, 0.0 - self.best_known
        return replace(self, rows=rows, worst=worst, best_known=best, maximise=not self.maximise)


def over_runs(runs: Sequence[History]) -> OverRuns:
    """Several searches in one row, as the paper reports them and as one should.

    ``best_runs``: the best scores of the three best runs (the paper's "1st, 2nd, 3rd"); ``best_strings``: the three
    best strings over all runs. ``valid`` and ``mean``: averages over runs, with ``_error``: standard deviation over
    runs / sqrt of their number, and ``_error_paper``: / sqrt of the number of rounds, as the published tables have it.

    Raises:
        ValueError: no runs, or runs of opposite directions.
    """
    if not runs or len({run.maximise for run in runs}) != 1:
        raise ValueError("expected at least one search, all of one direction")
    up = runs[0].maximise
    tops = sorted((run.best_of_run for run in runs if run.best_of_run is not None), reverse=up)
    strings = {row.string: row.score for run in runs for row in run.best(3)}
    rounds = max(1, *(row.round for run in runs for row in run.rows), 1)
    valid, mean = _average([run.valid for run in runs], rounds), _average([run.mean for run in runs], rounds)
    return {
        "runs": len(runs),
        "best_runs": tops[:3],
        "best_strings": sorted(strings.items(), key=lambda item: item[1] or 0, reverse=up)[:3],
        "valid": valid[0],
        "valid_error": valid[1],
        "valid_error_paper": valid[2],
        "mean": mean[0],
        "mean_error": mean[1],
        "mean_error_paper": mean[2],
    }


def _average(numbers: Sequence[float], rounds: int) -> tuple[float, float, float]:
    """The mean of the finite numbers, its standard error, and the error bar of the paper."""
    values = np.array(numbers, dtype=float)
    values = values[np.isfinite(values)]
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    mean = float(values.mean()) if len(values) else math.nan
    return mean, spread / math.sqrt(max(1, len(values))), spread / math.sqrt(rounds)
