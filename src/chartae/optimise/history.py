"""What a search has found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Found", "Row", "over_runs"]


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


@dataclass(frozen=True)
class Found:
    """What a search has found, in the objective's own direction.

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
        """The best score that was found, None without any: of the paper's best three, each is this of one run."""
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
        """Mean over scores strictly better than the worst one seen, as Kusner, Paige, Hernández-Lobato (2017,
        arXiv:1703.01925) average: codes without a score, which count as the worst, are left out."""
        sign = 1 if self.maximise else -1
        kept = [r.score for r in self.rows if r.score is not None and sign * r.score > sign * self.worst]
        return float(np.mean(kept)) if kept else math.nan

    def rounds(self) -> list[dict[str, Any]]:
        """Of each round: its best score (``peak``), the best so far, the training strings' among them, how many have a
        score, how many strings are new."""
        better = max if self.maximise else min
        seen, best, table = set(self.known or ()), self.best_known, []
        for number in sorted({row.round for row in self.rows}):
            rows = [row for row in self.rows if row.round == number]
            peak = better((r.score for r in rows if r.score is not None), default=None)
            best = best if peak is None else better(best, peak)
            new = {r.string for r in rows if r.valid} - seen
            seen |= new
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

    def summary(self) -> dict[str, Any]:
        """Plain numbers; nan becomes None."""
        plain = lambda v: None if v is None or math.isnan(v) else v  # noqa: E731
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


def over_runs(runs: Sequence[Found]) -> dict[str, Any]:
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
    table: dict[str, Any] = {
        "runs": len(runs),
        "best_runs": tops[:3],
        "best_strings": sorted(strings.items(), key=lambda item: item[1] or 0, reverse=up)[:3],
    }
    for name in ("valid", "mean"):
        values = np.array([getattr(run, name) for run in runs], dtype=float)
        values = values[np.isfinite(values)]
        spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        table[name] = float(values.mean()) if len(values) else math.nan
        table[f"{name}_error"] = spread / math.sqrt(max(1, len(values)))
        table[f"{name}_error_paper"] = spread / math.sqrt(rounds)
    return table
