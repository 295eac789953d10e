"""Whether the code is used: what it tells of x, and what happens when it is exchanged."""

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


@dataclass(frozen=True)
class CodeUse:
    """What the code holds.

    Attributes:
        error: E ||x - x^||^2 of reconstructions from x's own code.
        shuffled: the same from another example's code: where it is no larger, the decoder ignores the code.
        spread: the mean variance of reconstructions of one code, as a share of the total variance of x: 0 for a
            deterministic decoder, 1 where the code says nothing.
        information: I(x; code) in nats: of a categorical code H(mean q) - mean H(q); of another whose encoder has a
            density its bound E[ log q(z|x) - log mean q(z|x') ] over the points x', at most log n; None of others.
        bound: I(x; code) is at least so many nats, at most log 1000, whatever the code: `info_nce` of 1,000 x and their
            reconstructions, through which nothing can be known of x but by the code.
        used: how many categories hold more than 1 % of the points; None of others.
    """

    error: float
    shuffled: float
    spread: float
    information: float | None
    bound: float
    used: int | None

    @property
    def ignored(self) -> bool:
        """Whether own codes serve hardly better than another's."""
        return self.error > 0.9 * self.shuffled

    @property
    def remedy(self) -> str:
        """What an ignored code comes of, and what helps."""
        return (
            f"the code is ignored: reconstructions from another example's code are as near ({self.shuffled:.4g}) as "
            f"those from its own ({self.error:.4g}). Train for longer; else give the decoder less noise_dim, let the "
            "warm-up be heavier (warmup, or an anchor that stays), or weigh the reconstruction more, where the recipe "
            "has them"
        )


def code_use(
    model: Autoencoder,
    x: Float[Tensor, B * S],
    *,
    condition: Tensor | None = None,
    draws: int = 8,
    seed: int = 0,
) -> CodeUse:
    """The shuffled-code control, the spread within a code, and the information it holds; always asked.

    An implicit autoencoder has a useless optimum at which all of its costs are zero and the code is ignored; a warning
    says so, with the remedy.

    Args:
        model: any autoencoder.
        x: at least 10 points.
        condition: of each point (B, K), where the model has one; the shuffled code keeps it.
        draws: reconstructions of each code.

    Raises:
        ValueError: too few points, or draws below 2.
    """
    if len(x) < 10 or draws < 2:
        raise ValueError(f"there are {len(x)} points and {draws} draws; give at least 10 points and 2 draws")
    with evaluating(model), Stream(seed).lent(x.device):
        q = model.encoder(x, condition)
        z = q.sample()
        drawn = torch.stack([model.decoder(z, condition).point() for _ in range(draws)])
        order, partner = torch.randperm(len(z)), torch.empty(len(z), dtype=torch.long)
        partner[order] = order.roll(1)  # the one before in a random order, so that none has its own code
        other = model.decoder(z[partner], condition).point()
        error = (drawn[0] - x).flatten(1).square().sum(1).mean()
        shuffled = (other - x).flatten(1).square().sum(1).mean()
        within = drawn.var(0).flatten(1).sum(1).mean()
        spread = within / x.flatten(1).var(0).sum().clamp_min(1e-12)
        information = used = None
        if q.has_category:
            p = q.category.mean
            entropy = lambda a: -(a * a.clamp_min(1e-12).log()).sum(-1)  # noqa: E731
            information = float(entropy(p.mean(0)) - entropy(p).mean())
            used = int((torch.bincount(p.argmax(1), minlength=p.shape[1]) > 0.01 * len(x)).sum())
        elif model.encoder.has_density:
            information = _spoken(q, z)
        bound = info_nce(x[:1000], drawn[0, :1000])
    found = CodeUse(float(error), float(shuffled), float(spread), information, bound, used)
    if found.ignored:
        warnings.warn(found.remedy, RuntimeWarning, stacklevel=2)
    return found


def _spoken(q: Distribution, z: Tensor) -> float:
    """E[ log q(z|x) - log mean_x' q(z|x') ]: InfoNCE with the true density ratio in the place of a critic's."""
    own = q.log_prob(z)
    rows = [q.log_prob(part[:, None]).logsumexp(1) for part in z.split(max(1, (1 << 22) // z.numel()))]
    return float((own - torch.cat(rows)).mean()) + math.log(len(z))
