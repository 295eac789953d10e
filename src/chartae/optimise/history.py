"""The results of a search, and summaries of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypedDict

import numpy as np

__all__ = ["BestString", "History", "NewString", "OverRuns", "RoundSummary", "Row", "Summary", "over_runs"]


@dataclass(frozen=True)
class Row:
    """One evaluated code.

    Attributes:
        round: round that proposed the code, from 1.
        index: index of the row among all rows of the search, from 0.
        string: decoded string.
        score: score of the string; None if it has none.
        error: why the string has no score; default None.
        known: whether the string is one of the data, so that it was not scored, and nothing was found; default False.

    >>> from chartae.optimise import Row
    >>> Row(round=1, index=0, string="CCO", score=0.4).valid, Row(1, 1, "C(", None, "not a molecule").valid
    (True, False)
    """

    round: int
    index: int
    string: str
    score: float | None
    error: str | None = None
    known: bool = False

    @property
    def valid(self) -> bool:
        """Whether the string has a score, or is known."""
        return self.score is not None or self.known

    @property
    def new(self) -> bool:
        """Whether the string has a score and is not known."""
        return self.score is not None and not self.known


class RoundSummary(TypedDict):
    """Summary of a round.

    Attributes:
        round: number of the round, from 1.
        peak: best score of a new string of the round; None without any.
        best: best score of a new string so far; None without any.
        codes: number of evaluated codes.
        valid: number of codes with a valid string.
        new: number of different strings with a score that were not known before.
    """

    round: int
    peak: float | None
    best: float | None
    codes: int
    valid: int
    new: int


class NewString(TypedDict):
    """A string with its score."""

    string: str
    score: float | None


class BestString(NewString):
    """A string with its score and the round that proposed it."""

    round: int


class Summary(TypedDict):
    """A search in plain numbers, the content of ``results.json``; see the attributes of `History`."""

    maximise: bool
    codes: int
    best_new: NewString | None
    best_known: float
    worst_known: float
    known: int | None
    valid: float | None
    unique: float | None
    novel: float | None
    mean: float | None
    rounds: list[RoundSummary]
    strings: list[BestString]
    curve: list[float | None]


class OverRuns(TypedDict):
    """Several searches in one row, as `over_runs` returns them."""

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
    """The result of a search, with scores in the direction of its objective.

    Attributes:
        rows: all evaluated codes, in order.
        worst: worst training score.
        best_known: best training score.
        known: number of different strings that count as known; None (default) if none do.
        maximise: whether greater scores are better; default True.
        calls: scores of all strings that were scored, in this order; None for a string without a score. Default: none.

    >>> from chartae.optimise import History, Row
    >>> rows = Row(1, 0, "CC", 4.0, known=True), Row(1, 1, "C(", None, "not a molecule"), Row(2, 2, "CCO", 3.0)
    >>> history = History(rows, worst=-1.0, best_known=4.0, known=1, calls=(None, 3.0))
    >>> history.best_new.string, round(history.valid, 2), history.novel, history.mean, history.curve()
    ('CCO', 0.67, 0.5, 3.5, [None, 3.0])
    """

    rows: tuple[Row, ...]
    worst: float
    best_known: float
    known: int | None = None
    maximise: bool = True
    calls: tuple[float | None, ...] = ()

    def best(self, n: int = 10) -> list[Row]:
        """The best `n` rows with a new string, the best first, with each string once."""
        sign = -1 if self.maximise else 1
        rows = sorted((r for r in self.rows if r.new), key=lambda r: (sign * (r.score or 0), r.index))
        return list({row.string: row for row in reversed(rows)}.values())[::-1][:n]

    @property
    def best_new(self) -> Row | None:
        """The row of the new string with the best score; None without any."""
        return next(iter(self.best(1)), None)

    def curve(self) -> list[float | None]:
        """The best score after each string that was scored; None before the first score."""
        return list(accumulate(self.calls, self._better))

    def _better(self, *scores: float | None) -> float | None:
        """The best of the scores that are not None; None without any."""
        return (max if self.maximise else min)((score for score in scores if score is not None), default=None)

    def area(self, calls: int) -> float:
        """The mean of the best score so far over a budget of scored strings, the area under its curve.

        After the last string the curve stays at its last value, and before the first score it has the worst training
        score. It is the measure of sample efficiency of Gao, Fu, Sun, Coley, "Sample efficiency matters: a benchmark
        for practical molecular optimization", 2022, arXiv:2206.12411, with the best string instead of the best ten.

        Args:
            calls: number of strings that may be scored, >= 1.

        Returns:
            The mean, in the units of the objective.

        Raises:
            ValueError: `calls` is below 1.
        """
        if calls < 1:
            raise ValueError(f"calls is {calls}; expected a number of strings >= 1.")
        curve = [self.worst if score is None else score for score in self.curve()] or [self.worst]
        curve = curve[:calls] + curve[-1:] * (calls - len(curve))
        return float(np.mean(curve))

    @property
    def valid(self) -> float:
        """Fraction of the evaluated codes that have a valid string; NaN without codes."""
        return sum(row.valid for row in self.rows) / len(self.rows) if self.rows else math.nan

    @property
    def unique(self) -> float:
        """Fraction of different strings among the valid ones; NaN without any."""
        strings = [row.string for row in self.rows if row.valid]
        return len(set(strings)) / len(strings) if strings else math.nan

    @property
    def novel(self) -> float | None:
        """Fraction of the different valid strings that are not known; None if it is unknown."""
        strings = {row.string: row.known for row in self.rows if row.valid}
        return None if self.known is None or not strings else 1 - sum(strings.values()) / len(strings)

    @property
    def mean(self) -> float:
        """Mean of the scores that are strictly better than the worst training score; NaN without any.

        Kusner, Paige, Hernández-Lobato (2017, arXiv:1703.01925) average in this way: they give an invalid string the
        worst score, and so leave it out.
        """
        sign = 1 if self.maximise else -1
        scores = [r.score for r in self.rows if r.score is not None and sign * r.score > sign * self.worst]
        return float(np.mean(scores)) if scores else math.nan

    def rounds(self) -> list[RoundSummary]:
        """A summary of each round."""
        strings: set[str] = set()
        best: float | None = None
        table: list[RoundSummary] = []
        for number in sorted({row.round for row in self.rows}):
            rows = [row for row in self.rows if row.round == number]
            peak = self._better(*(row.score for row in rows if row.new))
            best = self._better(best, peak)
            new = {r.string for r in rows if r.new} - strings
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
        """The search in plain numbers; NaN becomes None."""

        def plain(value: float | None) -> float | None:
            return None if value is None or math.isnan(value) else value

        best = self.best_new
        return {
            "maximise": self.maximise,
            "codes": len(self.rows),
            "best_new": None if best is None else {"string": best.string, "score": best.score},
            "best_known": self.best_known,
            "worst_known": self.worst,
            "known": self.known,
            "valid": plain(self.valid),
            "unique": plain(self.unique),
            "novel": plain(self.novel),
            "mean": plain(self.mean),
            "rounds": self.rounds(),
            "strings": [{"string": r.string, "score": r.score, "round": r.round} for r in self.best()],
            "curve": self.curve(),
        }

    def flipped(self) -> History:
        """The same search with the sign of all scores flipped, for an objective with the opposite direction."""
        # 0 - x instead of -x, because a score of 0 should not become -0.0
        rows = tuple(replace(row, score=None if row.score is None else 0.0 - row.score) for row in self.rows)
        calls = tuple(None if score is None else 0.0 - score for score in self.calls)
        worst, best = 0.0 - self.worst, 0.0 - self.best_known
        return replace(self, rows=rows, worst=worst, best_known=best, maximise=not self.maximise, calls=calls)


def over_runs(runs: Sequence[History]) -> OverRuns:
    """Summarise several searches in one row, with the paper's columns and with standard errors.

    The paper is Kusner, Paige, Hernández-Lobato, "Grammar variational autoencoder", 2017, arXiv:1703.01925.

    Args:
        runs: searches for the same objective, at least one.

    Returns:
        ``best_runs``, the scores of the best new string of the three best searches (the paper's "1st, 2nd, 3rd");
        ``best_strings``, the three best new strings of all searches; ``valid`` and ``mean``, averages over the searches
        of `History.valid` and `History.mean`. ``valid_error`` and ``mean_error`` are the standard deviation over
        searches divided by the square root of their number; ``valid_error_paper`` and ``mean_error_paper`` divide by
        the square root of the number of rounds instead, as the published tables do.

    Raises:
        ValueError: no searches, or searches in opposite directions.

    >>> from chartae.optimise import History, Row, over_runs
    >>> runs = [History((Row(1, 0, f"s{k}", float(k)),), worst=-1.0, best_known=0.0) for k in range(4)]
    >>> row = over_runs(runs)
    >>> row["best_runs"], row["mean"], round(row["mean_error"], 3)
    ([3.0, 2.0, 1.0], 1.5, 0.645)
    """
    if not runs or len({run.maximise for run in runs}) != 1:
        raise ValueError(
            f"runs has {len(runs)} searches, {sum(run.maximise for run in runs)} of them maximised; expected at least "
            "one, all in one direction. Summarise each objective by itself."
        )
    up = runs[0].maximise
    tops = sorted((row.score or 0.0 for run in runs if (row := run.best_new) is not None), reverse=up)
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
    """The mean of the finite numbers, its standard error, and the paper's error bar."""
    values = np.array(numbers, dtype=float)
    values = values[np.isfinite(values)]
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    mean = float(values.mean()) if len(values) else math.nan
    return mean, spread / math.sqrt(max(1, len(values))), spread / math.sqrt(rounds)
