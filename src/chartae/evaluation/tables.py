"""The evaluator of tables, whose columns have different units."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from chartae.data.kinds import Table
from chartae.evaluation.base import Reconstruction, evaluates
from chartae.evaluation.codes import Codes
from chartae.evaluation.points import RowEvaluator
from chartae.records.results import Scores
from chartae.runs import Run

__all__ = ["TableEvaluator", "explained"]


def explained(x: Tensor, reconstruction: Tensor) -> Tensor:
    """R² of each column that varies: `1 - sum (x - x^)^2 / sum (x - mean(x))^2`.

    Args:
        x: rows (N, D).
        reconstruction: their reconstructions (N, D).

    Returns:
        R² of each column that is not constant in `x`.

    >>> import torch
    >>> from chartae.evaluation.tables import explained
    >>> explained(torch.tensor([[0.0, 5.0], [2.0, 5.0]]), torch.tensor([[0.0, 5.0], [1.0, 5.0]]))
    tensor([0.5000])
    """
    total = (x - x.mean(0)).square().sum(0)
    varies = total > 0
    return 1 - (x - reconstruction).square().sum(0)[varies] / total[varies]


@final
@evaluates(Table)
class TableEvaluator(RowEvaluator):
    """Evaluator of tables: the mean squared error in the user's units, and the mean R² over columns, without a unit."""

    def reconstruction(self, run: Run, test: Codes) -> Reconstruction:
        errors = super().reconstruction(run, test).errors
        rows = self.data.kind.outside(run.decode_inside(test.z, test.condition)).cpu()
        values = explained(self.data.test.to(torch.float64), rows.to(torch.float64))
        return Reconstruction(Scores({**errors, "r2": float(values.mean()) if len(values) else None}))
