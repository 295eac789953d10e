"""Score matching for the score that the reconstruction of an autoencoder defines."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.maths import random_signs
from chartae.terms.base import Term, Trace

__all__ = ["SlicedScoreMatching"]


class SlicedScoreMatching(Term):
    """Sliced score matching of s = (r(x) - x) / sigma^2, r the reconstruction: ½ ||s||^2 + uᵀ(∇s) u, u random signs.

    It is an unbiased estimate of Hyvärinen's implicit score matching, ½ ||s||^2 + tr ∇s, and may be negative. Song et
    al., "Sliced Score Matching", 2019 (arXiv 1905.07088), with their variance reduction. The contractive criterion
    contains it: ||r - x||^2 + sigma^2 ||J||_F^2 = sigma^2 d + 2 sigma^4 (½ ||s||^2 + tr ∇s) + sigma^6 ||∇s||_F^2.

    Args:
        sigma: noise level that defines the score, in the units of the data; finite, > 0.

    Raises:
        ValueError: `sigma` is out of range.

    >>> import torch
    >>> import chartae as ch
    >>> half = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(half.weight, 0.5)
    >>> model = ch.Autoencoder(ch.Dirac(torch.nn.Identity()), ch.Gaussian(half), ch.StandardNormal(1))
    >>> objective = ch.Penalised(model, ch.SlicedScoreMatching(sigma=1.0))
    >>> objective(torch.ones(4, 1))["sliced_score_matching"].item()  # s = -x / 2: half of 0.5^2, minus 0.5
    -0.375
    """

    second_order = True
    through_input = True

    def __init__(self, sigma: float) -> None:
        super().__init__()
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma}; expected a finite number above 0.")
        self.sigma = float(sigma)

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        score = (t.p.mean - t.corrupted) / self.sigma**2
        u = random_signs(score.detach())
        (product,) = torch.autograd.grad(score, t.corrupted, u, create_graph=True)
        return 0.5 * score.flatten(1).square().sum(1) + (product * u).flatten(1).sum(1)

    def extra_repr(self) -> str:
        return f"{self.sigma:g}"
