"""The evaluator of images: quantised to uint8, with PSNR and SSIM, sample grids and interpolation strips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from chartae import metrics
from chartae.data.kinds import Images
from chartae.evaluation.base import evaluates
from chartae.evaluation.codes import INTERPOLATIONS, Codes
from chartae.evaluation.sets import SetEvaluator
from chartae.runs import Run

__all__ = ["ImageEvaluator"]

#: number of images kept of each set; number of rows and of steps of the interpolations
SHOWN, STRIPS, STEPS = 32, 8, 9


@final
@evaluates(Images)
class ImageEvaluator(SetEvaluator):
    """Evaluator of images, which are rounded and clamped to uint8 before features and errors are computed."""

    quantisation: ClassVar[str] = "x 255, rounded, clamped to 0..255"
    shown_of_chains: ClassVar[int] = 2 * SHOWN

    def level(self, x: Tensor) -> Tensor:
        return metrics.to_uint8(x)

    @property
    def errors(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        return {"mse": metrics.mse, "psnr": metrics.psnr, "ssim": metrics.ssim}

    def shown(self, run: Run, test: Codes, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        first = test[:SHOWN]
        shown = {
            "originals": self.level(self.data.test[:SHOWN]),
            "reconstructions": self.level(run.render(first.z, first.condition)),
        }
        shown |= {f"samples_{name}": self.level(x[: 2 * SHOWN]) for name, x in drawn.items()}
        left, right = test[:STRIPS], test[STRIPS : 2 * STRIPS]
        for how, function in INTERPOLATIONS.items():
            strips = [run.render(function(left.z, right.z, i / (STEPS - 1)), left.condition) for i in range(STEPS)]
            shown[how.replace("-", "_")] = torch.stack([self.level(strip) for strip in strips], 1)
        return shown
