"""Terms that hold the codes together: their norm, and distances of the code cloud to the prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.autoencoder import Autoencoder
from chartae.maths import mmd, sliced_wasserstein
from chartae.terms.base import Term, Trace

__all__ = ["MMD", "LatentNorm", "SlicedWasserstein"]


class LatentNorm(Term):
    """½ ||E[z|x]||^2: the L_Z of regularised autoencoders (equation 11 of 1903.12436).

    It is KL(q || N(0, I)) up to a constant where the encoder's sigma is fixed, hence the constant-variance VAE's term
    as well (equation 10 prints ||mu||^2 without the half; the weight absorbs it).
    """

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        return 0.5 * t.q.mean.square().sum(1)


class _ToPrior(Term):
    """A distance of the batch's codes to as many fresh draws of the prior."""

    def prior_draws(self, t: Trace) -> Tensor:
        with torch.no_grad():
            return t.model.prior.sample(len(t.z))

    def check(self, model: Autoencoder) -> None:
        if not model.prior.drawable:
            raise TypeError(f"{type(self).__name__} needs a prior to draw from; use StandardNormal(D)")


class MMD(_ToPrior):
    """The squared maximum mean discrepancy between the batch's codes and the prior: the WAE-MMD's term.

    Unbiased: within-sums leave out the diagonal. `kernel` is ``"imq"``, Σ_s C_s / (C_s + ||a - b||^2) with
    C_s = 2 D s over the scales s, or ``"rbf"``, Σ_s exp(-||a - b||^2 / C_s) with the same bandwidths (for a prior
    of unit variance, E||a - b||^2 = 2 D). Tolstikhin et al., "Wasserstein Auto-Encoders", 2018 (arXiv 1711.01558);
    the seven scales are those of its authors' code.
    """

    SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

    def __init__(self, kernel: str = "imq", scales: Sequence[float] = SCALES) -> None:
        super().__init__()
        if kernel not in ("imq", "rbf"):
            raise ValueError(f"kernel is {kernel!r}; choose 'imq' or 'rbf'")
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales are {tuple(scales)}; give at least one, each above 0")
        self.kernel, self.scales = kernel, tuple(scales)

    def forward(self, t: Trace) -> Float[Tensor, ""]:
        return mmd(t.z, self.prior_draws(t), kernel=self.kernel, scales=self.scales)

    def extra_repr(self) -> str:
        return self.kernel


class SlicedWasserstein(_ToPrior):
    """The sliced 2-Wasserstein distance, squared, between the batch's codes and the prior.

    The mean over `projections` random directions of the mean squared difference of sorted projections, times D
    so that it does not fade with the dimension. Kolouri et al., "Sliced-Wasserstein Auto-Encoder", 2018
    (arXiv 1804.01947).
    """

    def __init__(self, projections: int = 50) -> None:
        super().__init__()
        if projections < 1:
            raise ValueError(f"projections is {projections}; give at least 1")
        self.projections = projections

    def forward(self, t: Trace) -> Float[Tensor, ""]:
        return t.z.shape[1] * sliced_wasserstein(t.z, self.prior_draws(t), self.projections)

    def extra_repr(self) -> str:
        return str(self.projections)
