"""Score matching, of the score that a reconstruction implies."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths import random_signs
from chartae.terms.base import Term, Trace

__all__ = ["SlicedScoreMatching"]


class SlicedScoreMatching(Term):
    """½ ||s||^2 + u·(∇s) u with u of random signs, s = (r(x) - x) / sigma^2: Hyvärinen's implicit score matching.

    It is what is left of the contractive criterion: ||r - x||^2 + sigma^2 ||J||_F^2 is
    sigma^2 d + 2 sigma^4 (½ ||s||^2 + tr ∇s) + sigma^6 ||∇s||_F^2. Song et al., "Sliced Score Matching", 2019
    (arXiv 1905.07088), with their reduction of variance. May be negative.
    """

    second_order = True
    through_input = True

    def __init__(self, sigma: float) -> None:
        super().__init__()
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma}; a noise level is a finite number above 0")
        self.sigma = float(sigma)

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        score = (t.p.mean - t.seen) / self.sigma**2
        u = random_signs(score.detach())
        (pulled,) = torch.autograd.grad(score, t.seen, u, create_graph=True)
        return 0.5 * score.flatten(1).square().sum(1) + (pulled * u).flatten(1).sum(1)

    def extra_repr(self) -> str:
        return f"{self.sigma:g}"
