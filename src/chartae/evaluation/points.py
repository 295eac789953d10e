"""The evaluator of points: rows of numbers that share a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from torch import Tensor

from chartae import metrics
from chartae.data.kinds import Points
from chartae.evaluation.base import evaluates
from chartae.evaluation.codes import Codes
from chartae.evaluation.sets import CODES, SetEvaluator, plane
from chartae.maths import as_float
from chartae.runs import Run

__all__ = ["PointEvaluator", "RowEvaluator"]


class RowEvaluator(SetEvaluator):
    """Evaluator of rows of numbers (N, d), in the user's units."""

    def level(self, x: Tensor) -> Tensor:
        return as_float(x)

    @property
    def errors(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        return {"mse": metrics.mse}

    def shown(self, run: Run, test: Codes, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Test examples and samples, projected on the first two principal axes of the standardised test examples."""
        x = self.level(self.data.test[:CODES]).to(test.z.device)
        mean, scale = x.mean(0), x.std(0).clamp_min(1e-12)
        axes = plane((x - mean) / scale)
        shown = {"data_2d": (x - mean) / scale @ axes}
        shown |= {f"samples_2d_{k}": (self.generated(run, new) - mean) / scale @ axes for k, new in drawn.items()}
        return shown


@final
@evaluates(Points)
class PointEvaluator(RowEvaluator):
    """Evaluator of points; the mean squared error is in the square of their unit."""
