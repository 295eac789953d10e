"""How hard one part of a loss pulls at the codes, beside all of the rest."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["PullMeter"]


class PullMeter:
    """Measures, in the backward pass that happens anyway, the norm ratio of two gradients that reach the codes.

        ratio = ||d part / d z|| / ||d (loss - part) / d z||,

    with norms over the whole batch. A second backward pass would cost as much as the first; this costs two norms.

    Attributes:
        ratio: a number (a 0-d tensor), 0 until the backward pass has reached the codes; None before `watch`, and where
            there will be no backward pass (without gradients, or in compiled code). float32 at least, so that a loop
            that casts results to float32 does not copy it before it is known.

    >>> z = torch.ones(4, 2, requires_grad=True)
    >>> meter = PullMeter()
    >>> judged = meter.watch(z)
    >>> (3 * judged.sum() + 2 * z.sum()).backward()
    >>> float(meter.ratio)
    1.5
    """

    def __init__(self) -> None:
        self.ratio: Tensor | None = None
        self._part: Tensor | None = None

    def watch(self, code: Tensor) -> Tensor:
        """The same codes, for that part of the loss whose pull is measured; the rest takes `code` itself."""
        self.ratio = self._part = None
        if not (code.requires_grad and torch.is_grad_enabled()) or torch.compiler.is_compiling():
            return code
        self.ratio = code.new_zeros((), dtype=torch.promote_types(code.dtype, torch.float32))
        view = code.view_as(code)
        # the hooks must not hold the view: a graph that holds itself is not freed at once
        view.register_hook(self._keep)
        code.register_hook(self._compare)
        return view

    def _keep(self, gradient: Tensor) -> None:
        self._part = gradient.detach()

    def _compare(self, gradient: Tensor) -> None:
        if self._part is not None and self.ratio is not None:
            rest = gradient.detach() - self._part
            self.ratio.copy_(self._part.norm() / rest.norm().clamp_min(1e-12))
            self._part = None
