"""What does the work in clustering and in learning from few labels: decoder and critic, views, or neighbours?"""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from chartae.data import Dataset
from chartae.evaluation import class_error, clusters_of
from chartae.runs import fit
from papers.parts import Claim, Columns, Parts, Row, Rows, average, claims_table, first, fresh_seeds, summary
from papers.table import Request

__all__ = ["PARTS", "Cell", "cells", "factorial", "factorial_claims"]

#: the parts of the objective that are switched on and off
PARTS = ("decoder and critic", "views", "neighbours")


class Cell(NamedTuple):
    """A cell of the factorial: which parts of the objective are there."""

    decoder: bool
    views: bool
    neighbours: bool

    @property
    def options(self) -> dict[str, Any]:
        """The options of `aae-cluster` and `aae-semisup` that leave the other parts out."""
        return {
            "encoder_alone": not self.decoder, "views": self.views, "neighbours": 5 if self.neighbours else 0,
            **({} if self.views or self.neighbours else {"agreement": 0.0}),
        }  # fmt: skip

    @property
    def name(self) -> str:
        return ", ".join(name for name, there in zip(PARTS, self, strict=True) if there) or "none"


def cells(supervised: bool) -> list[Cell]:
    """All cells; without labels one part at least must train the encoder."""
    every = [Cell(*there) for there in itertools.product((True, False), repeat=3)]
    return [cell for cell in every if supervised or any(cell)]


def factorial(
    request: Request, parts: Parts, data: Dataset, sizes: Sequence[int], settings: dict[str, Any], *, supervised: bool
) -> Row:
    """Train every cell for every size and seed, and write the table after each.

    Args:
        request: the request, with the number of seeds; default 5.
        parts: the folder.
        data: labelled data.
        sizes: numbers of labels if `supervised`, else of clusters.
        settings: keywords of `chartae.fit`.
        supervised: whether the encoder learns from labels.

    Returns:
        The rows and claims.
    """
    seeds = fresh_seeds(request.seeds or 5)
    what = "labels" if supervised else "clusters"
    rows: Rows = []
    results: Row = {"data": data.name, "quick": request.quick, "seeds": [*seeds], "rows": rows}
    columns: Columns = {
        what: first(what), "the objective has": first("cell"), "n": len,
        "test error %": average("error", digits=2, scale=100),
    }  # fmt: skip
    for size in sizes:
        for cell in cells(supervised):
            for seed in seeds:
                label = f"{what}-{size}-{cell.name.replace(', ', '+').replace(' ', '-')}-{seed}"
                make = functools.partial(_error, cell, data, what, size, seed, settings, request)
                result = parts.make(label, make)
                rows.append({**result.result, "seconds": result.seconds})
                claims = factorial_claims(rows, what)
                results["claims"] = [claim.row() for claim in claims]
                text = f"{summary(rows, columns, what, 'cell')}\n\n{EXPLAINED}\n\n{claims_table(claims, 2)}"
                parts.write(text, results)
    return results


#: how the claims are to be read
EXPLAINED = (
    "A claim compares runs that differ in one part and have the same seed. It is that the part lowers the error, in "
    "per cent points; the control is the objective without it."
)


def _error(
    cell: Cell, data: Dataset, what: str, size: int, seed: int, settings: dict[str, Any], request: Request
) -> Row:
    recipe = "aae-semisup" if what == "labels" else "aae-cluster"
    options: dict[str, Any] = {what: size, **settings, **cell.options}
    run = fit(recipe, data, seed=seed, device=request.device, progress=request.progress, **options)
    error = class_error(run, data) if what == "labels" else clusters_of(run, data).error_majority
    return {"cell": cell.name, what: size, "seed": seed, "error": error}


def factorial_claims(rows: Rows, what: str) -> list[Claim]:
    """What each part takes off the error in per cent points, beside all others and alone."""
    errors = {
        (row[what], row["cell"], row["seed"]): float(row["error"]) for row in rows if isinstance(row["error"], float)
    }
    claims = []
    for size, (k, part) in itertools.product(dict.fromkeys(row[what] for row in rows), enumerate(PARTS)):
        for others, said in ((True, "beside the others"), (False, "alone")):
            there, gone = (Cell(*(x if i == k else others for i in range(3))).name for x in (True, False))
            gains = [
                100 * (errors[size, gone, seed] - error)
                for (n, cell, seed), error in errors.items()
                if (n, cell) == (size, there) and (size, gone, seed) in errors
            ]
            if gains:
                rest = statistics.mean(e for (n, cell, _), e in errors.items() if (n, cell) == (size, gone))
                note = f"the control has {100 * rest:.2f} %"
                claims.append(
                    Claim(f"{size} {what}: what {part}, {said}, take off the error", "ours", "> 0", gains, note=note)
                )
    return claims
