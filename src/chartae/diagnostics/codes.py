"""Whether the decoder uses the code: how much information it holds about x, and what happens when it is shuffled."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.autoencoder import Autoencoder, evaluating
from chartae.distributions import Distribution
from chartae.maths import info_nce
from chartae.maths.random import Stream

__all__ = ["CodeUse", "code_use"]

#: calibration below which a decoder is said to ignore its noise
CALIBRATED = 0.1


@dataclass(frozen=True)
class CodeUse:
    """Whether and how much a decoder uses the code; returned by `code_use`.

    Attributes:
        error: E ||x - x^||^2 of reconstructions from the code of x, summed over coordinates.
        shuffled: the same with another example's code. If it is not clearly larger than `error`, the decoder ignores
            the code.
        other_category: for a code that is a category and a style, the same with another example's category and the own
            style. If it is not clearly larger than `error`, the decoder ignores the category, and draws the same for
            each cluster. None for other codes.
        spread: mean variance of the reconstructions of one code, as a share of the total variance of x; 0 for a
            deterministic decoder, about 1 if the code holds no information.
        calibration: whether the reconstructions of a code vary as much as the examples that have it: the mean of
            tr Var(x^|z) over half of `error`. It is 1 if p(x^|z) is the distribution of x given z, 0 if the decoder
            ignores its noise, and None if the reconstructions of a code are all the same, as those of a decoder
            without noise are (a Gaussian decoder reconstructs by its mean).
        information: mutual information I(x; code), in nats. For a categorical code, H(mean q) - mean H(q). If the
            encoder has a density, the lower bound E[log q(z|x) - log mean_x' q(z|x')] over the n points, at most log n.
            Else None.
        bound: lower bound on I(x; code), in nats, for any kind of code; at most log 1000. It is the InfoNCE bound
            between 1,000 examples and their reconstructions, which depend on x only through the code.
        used: number of categories that hold more than 1 % of the points; None if the code is not categorical.

    >>> from chartae.diagnostics import CodeUse
    >>> use = CodeUse(error=3.1, shuffled=8.4, other_category=3.2, spread=0.0, calibration=0.02, information=None,
    ...               bound=2.0, used=None)
    >>> use.ignored, [kind for kind, text in use.warnings()]
    (False, ['the category is ignored', 'the noise is ignored'])
    """

    error: float
    shuffled: float
    other_category: float | None
    spread: float
    calibration: float | None
    information: float | None
    bound: float
    used: int | None

    @property
    def ignored(self) -> bool:
        """Whether reconstructions from the code of x are hardly better than from another code: error > 0.9 shuffled."""
        return self.error > 0.9 * self.shuffled

    def warnings(self) -> list[tuple[str, str]]:
        """What the decoder ignores: in a few words, and as a message that says what was measured and what helps."""
        found = []
        if self.ignored:
            return [("the code is ignored", self.remedy)]
        if self.other_category is not None and self.error >= 0.9 * self.other_category:
            found.append((
                "the category is ignored",
                f"the decoder ignores the category: the error of reconstructions is {self.error:.4g} with their own "
                f"category, and {self.other_category:.4g} with another example's; expected a clearly larger error. The "
                "categories may still cluster the data, but the decoder draws the same for each. Decrease latent_dim, "
                "the size of the style, so that it cannot hold everything, or train for longer",
            ))  # fmt: skip
        if self.calibration is not None and self.calibration < CALIBRATED:
            found.append((
                "the noise is ignored",
                f"the decoder ignores its noise: reconstructions of one code have {self.calibration:.2g} of the "
                f"variance of the examples with this code; expected about 1, and at least {CALIBRATED}. The losses do "
                "not show it. Decrease latent_dim, so that the code cannot hold everything, end the warmup earlier, or "
                "leave the noise out (noise_dim=0)",
            ))  # fmt: skip
        return found

    @property
    def remedy(self) -> str:
        """A message for an ignored code: what was measured, and which settings help."""
        return (
            f"the code is ignored: the error of reconstructions is {self.error:.4g} with their own code, and "
            f"{self.shuffled:.4g} with another example's; expected a clearly larger error with another's. Train for "
            "longer. If that does not help, lower the decoder's noise_dim, raise warmup (or keep an anchor), or weigh "
            "the reconstruction more, where the recipe has these options"
        )


def code_use(
    model: Autoencoder,
    x: Float[Tensor, B * S],
    *,
    condition: Tensor | None = None,
    draws: int = 8,
    seed: int = 0,
) -> CodeUse:
    """Measure whether the decoder uses the code: shuffled-code control, spread within a code, and information.

    An implicit autoencoder has a useless optimum at which all of its losses are zero and the decoder ignores the code.
    If ``error > 0.9 * shuffled``, a RuntimeWarning says so and names settings that help. Another one says if the
    decoder ignores the category of a code (``error > 0.9 * other_category``) or its noise (``calibration < 0.1``),
    which losses do not show either. `chartae.fit` calls this function after training with critics.

    Args:
        model: any autoencoder.
        x: points (B, ...), at least 10.
        condition: condition of each point (B, K), for a model that has one. It stays in place when codes are shuffled.
        draws: number of reconstructions drawn for each code, >= 2; default 8.
        seed: seed of all draws; default 0.

    Returns:
        The errors with the own and with a shuffled code, the spread, and two estimates of the information.

    Raises:
        ValueError: there are fewer than 10 points, or `draws` is below 2.

    >>> import torch
    >>> import chartae as ch
    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> identity = torch.nn.Identity()
    >>> model = ch.Autoencoder(ch.Dirac(identity), ch.Gaussian(identity, sigma=0.1), ch.StandardNormal(2))
    >>> use = ch.diagnostics.code_use(model, x)
    >>> use.error, use.shuffled > 1, use.ignored
    (0.0, True, False)
    """
    if len(x) < 10:
        raise ValueError(f"x holds {len(x)} points; expected at least 10")
    if draws < 2:
        raise ValueError(f"draws is {draws}; expected at least 2")
    with evaluating(model), Stream(seed).lent(x.device):
        q = model.encoder(x, condition)
        z = q.sample()
        reconstructions = torch.stack([model.decoder(z, condition).point() for _ in range(draws)])
        order, partner = torch.randperm(len(z)), torch.empty(len(z), dtype=torch.long)
        partner[order] = order.roll(1)  # the predecessor in a random order, so that no point keeps its own code
        swapped = model.decoder(z[partner], condition).point()
        error = (reconstructions - x).flatten(2).square().sum(2).mean()
        shuffled = (swapped - x).flatten(1).square().sum(1).mean()
        other_category = None
        if q.has_category and q.category.mean.shape[-1] < z.shape[-1]:
            mixed = z.clone()
            mixed[:, q.category_at] = z[partner][:, q.category_at]
            other = model.decoder(mixed, condition).point()
            other_category = float((other - x).flatten(1).square().sum(1).mean())
        within = reconstructions.var(0).flatten(1).sum(1).mean()
        noisy = bool((reconstructions != reconstructions[0]).any())
        calibration = float(2 * within / error.clamp_min(1e-12)) if noisy else None
        spread = within / x.flatten(1).var(0).sum().clamp_min(1e-12)
        information = used = None
        if q.has_category:
            p = q.category.mean
            entropy = lambda a: -(a * a.clamp_min(1e-12).log()).sum(-1)  # noqa: E731
            information = float(entropy(p.mean(0)) - entropy(p).mean())
            used = int((torch.bincount(p.argmax(1), minlength=p.shape[1]) > 0.01 * len(x)).sum())
        elif model.encoder.has_density:
            information = _encoder_information(q, z)
        bound = info_nce(x[:1000], reconstructions[0, :1000])
    use = CodeUse(float(error), float(shuffled), other_category, float(spread), calibration, information, bound, used)
    for _, text in use.warnings():
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return use


def _encoder_information(q: Distribution, z: Tensor) -> float:
    """E[log q(z|x) - log mean_x' q(z|x')]: InfoNCE with the true density ratio in the place of a critic."""
    log_q = q.log_prob(z)
    rows = [q.log_prob(part[:, None]).logsumexp(1) for part in z.split(max(1, (1 << 22) // z.numel()))]
    return float((log_q - torch.cat(rows)).mean()) + math.log(len(z))
