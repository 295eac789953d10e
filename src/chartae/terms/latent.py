"""Terms that regularise the codes: their norm, and distances of their distribution to the prior."""

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
    """The squared norm of the codes, ½ ||E[z|x]||^2: the L_Z of regularised autoencoders.

    Ghosh et al., "From Variational to Deterministic Autoencoders", 2020 (arXiv 1903.12436), equation 11. If the
    encoder's sigma is fixed, it equals KL(q || N(0, I)) up to a constant, so it is also the term of the
    constant-variance VAE (equation 10 prints ||mu||^2 without the ½, which the weight absorbs).

    >>> import torch
    >>> import chartae as ch
    >>> identity = torch.nn.Identity()
    >>> model = ch.Autoencoder(ch.Dirac(identity), ch.Gaussian(identity), ch.StandardNormal(2))
    >>> ch.Penalised(model, ch.LatentNorm())(torch.ones(4, 2))["latent_norm"]  # half of 1 + 1
    tensor(1.)
    """

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        return 0.5 * t.q.mean.square().sum(1)


class _ToPrior(Term):
    """A distance between the codes of a batch and the same number of new draws of the prior."""

    weighs = False

    def prior_draws(self, t: Trace) -> Tensor:
        with torch.no_grad():
            return t.model.prior.sample(len(t.z))

    def check(self, model: Autoencoder) -> None:
        if not model.prior.drawable:
            raise TypeError(
                f"the prior {model.prior!r} cannot be sampled, but {type(self).__name__} draws from it. "
                "Use StandardNormal(D)."
            )


class MMD(_ToPrior):
    """The squared maximum mean discrepancy between the codes of a batch and the prior: the term of WAE-MMD.

    The estimate is unbiased (the sums within a set leave out the diagonal), so it may be negative. Tolstikhin et al.,
    "Wasserstein Auto-Encoders", 2018 (arXiv 1711.01558).

    Args:
        kernel: ``"imq"`` (default), k(a, b) = Σ_s C_s / (C_s + ||a - b||^2), or ``"rbf"``,
            k(a, b) = Σ_s exp(-||a - b||^2 / C_s), each with C_s = 2 D s. For a prior of unit variance,
            E||a - b||^2 = 2 D.
        scales: values of s, each > 0; default: the seven scales of the authors' code, from 0.1 to 10.

    Raises:
        ValueError: unknown `kernel`, or `scales` is empty or has a value of 0 or below.

    >>> import torch
    >>> import chartae as ch
    >>> identity = torch.nn.Identity()
    >>> model = ch.Autoencoder(ch.Dirac(identity), ch.Gaussian(identity), ch.StandardNormal(2))
    >>> objective = ch.Penalised(model, ch.MMD())
    >>> codes = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(objective(codes)["mmd"] < 0.1), bool(objective(codes + 3)["mmd"] > 1)
    (True, True)
    """

    SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

    def __init__(self, kernel: str = "imq", scales: Sequence[float] = SCALES) -> None:
        super().__init__()
        if kernel not in ("imq", "rbf"):
            raise ValueError(f"kernel is {kernel!r}; expected 'imq' or 'rbf'.")
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales is {tuple(scales)}; expected at least one number, each above 0.")
        self.kernel, self.scales = kernel, tuple(scales)

    def forward(self, t: Trace) -> Float[Tensor, ""]:
        return mmd(t.z, self.prior_draws(t), kernel=self.kernel, scales=self.scales)

    def extra_repr(self) -> str:
        return self.kernel


class SlicedWasserstein(_ToPrior):
    """The squared sliced 2-Wasserstein distance between the codes of a batch and the prior, times D.

    It is the mean, over random directions, of the mean squared difference of the sorted projections. The factor D keeps
    it from vanishing in many dimensions. Kolouri et al., "Sliced-Wasserstein Auto-Encoder", 2018 (arXiv 1804.01947).

    Args:
        projections: number of random directions, >= 1; default 50.

    Raises:
        ValueError: `projections` is below 1.

    >>> import torch
    >>> import chartae as ch
    >>> identity = torch.nn.Identity()
    >>> model = ch.Autoencoder(ch.Dirac(identity), ch.Gaussian(identity), ch.StandardNormal(2))
    >>> objective = ch.Penalised(model, ch.SlicedWasserstein())
    >>> codes = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(objective(codes)["sliced_wasserstein"] < 1), bool(objective(codes + 3)["sliced_wasserstein"] > 5)
    (True, True)
    """

    def __init__(self, projections: int = 50) -> None:
        super().__init__()
        if projections < 1:
            raise ValueError(f"projections is {projections}; expected at least 1.")
        self.projections = projections

    def forward(self, t: Trace) -> Float[Tensor, ""]:
        return t.z.shape[1] * sliced_wasserstein(t.z, self.prior_draws(t), self.projections)

    def extra_repr(self) -> str:
        return str(self.projections)
