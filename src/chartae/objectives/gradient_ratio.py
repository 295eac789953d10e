"""The gradient of one part of a loss at the codes, compared with that of all other parts."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["GradientRatio"]


class GradientRatio:
    """Measures the ratio of the norms of two gradients at the codes, during the usual backward pass.

    `ratio = ||d part / d z|| / ||d (loss - part) / d z||`, with norms over the whole batch. A second backward pass
    would cost as much as the first; this costs two norms.

    Attributes:
        ratio: a 0-d tensor, 0 until the backward pass has reached the codes; None before `watch`, and where there will
            be no backward pass (without gradients, or in compiled code). It is at least float32, so that a loop that
            casts its results to float32 before the backward pass does not copy it.

    >>> import torch
    >>> from chartae.objectives.gradient_ratio import GradientRatio
    >>> z = torch.ones(4, 2, requires_grad=True)
    >>> meter = GradientRatio()
    >>> watched = meter.watch(z)
    >>> (3 * watched.sum() + 2 * z.sum()).backward()
    >>> float(meter.ratio)
    1.5
    """

    def __init__(self) -> None:
        self.ratio: Tensor | None = None
        self._part: Tensor | None = None

    def watch(self, code: Tensor) -> Tensor:
        """The same codes, for the part of the loss whose gradient is measured; the other parts use `code` itself."""
        self.ratio = self._part = None
        if not (code.requires_grad and torch.is_grad_enabled()) or torch.compiler.is_compiling():
            return code
        self.ratio = code.new_zeros((), dtype=torch.promote_types(code.dtype, torch.float32))
        view = code.view_as(code)
        # the hooks must not refer to the view: a graph that refers to itself is not freed at once
        view.register_hook(self._keep)
        code.register_hook(self._compare)
        return view

    def _keep(self, gradient: Tensor) -> None:
        self._part = gradient.detach()

    def _compare(self, gradient: Tensor) -> None:
        if self._part is not None and self.ratio is not None:
            others = gradient.detach() - self._part
            self.ratio.copy_(self._part.norm() / others.norm().clamp_min(1e-12))
            self._part = None
