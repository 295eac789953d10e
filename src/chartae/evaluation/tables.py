"""The row of tables: columns with units of their own."""

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
    """R² of each column that varies: 1 - the sum of squared errors / that of deviations from the mean.

    >>> explained(torch.tensor([[0.0, 5.0], [2.0, 5.0]]), torch.tensor([[0.0, 5.0], [1.0, 5.0]]))
    tensor([0.5000])
    """
    total = (x - x.mean(0)).square().sum(0)
    varies = total > 0
    return 1 - (x - reconstruction).square().sum(0)[varies] / total[varies]


@final
@evaluates(Table)
class TableEvaluator(RowEvaluator):
    """Tables: beside the mean squared error in the user's units, the mean R² over columns, which has no unit."""

    def reconstruction(self, run: Run, test: Codes) -> Reconstruction:
        errors = super().reconstruction(run, test).errors
        rows = self.data.kind.outside(run.decode_inside(test.z, test.condition)).cpu()
        values = explained(self.data.test.to(torch.float64), rows.to(torch.float64))
        return Reconstruction(Scores({**errors, "r2": float(values.mean()) if len(values) else None}))
