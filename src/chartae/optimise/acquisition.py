"""Acquisition: batches of codes by expected improvement in a box, or by Thompson sampling in a trust region."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.optimise.surrogates import Surrogate, quietly, require_botorch
from chartae.records.search import SIDE

if TYPE_CHECKING:
    from botorch.acquisition import AcquisitionFunction

__all__ = ["Region", "box_batch", "region_batch"]

#: the largest side length of TuRBO-1, and the one below which the region is restarted at `chartae.records.search.SIDE`
WIDEST, NARROWEST = 1.6, 0.5**7
#: number of consecutive successes after which the side doubles
SUCCESSES = 3


@dataclass(frozen=True)
class Region:
    """The state of a trust region in TuRBO-1.

    Eriksson, Pearce, Gardner, Turner, Poloczek, "Scalable global optimization via local Bayesian optimization", 2019,
    arXiv:1910.01739. A round is a success if it finds a better string.

    Attributes:
        side: side length, in units of the box of the codes; default 0.8.
        successes: number of consecutive successes so far.
        failures: number of consecutive failures so far.
        restarts: number of restarts so far; a region restarts when its side falls below 0.5^7.

    >>> from chartae.optimise import Region
    >>> region = Region()
    >>> for _ in range(3):
    ...     region = region.after(True, dimension=10, batch=5)
    >>> region.side
    1.6
    """

    side: float = SIDE
    successes: int = 0
    failures: int = 0
    restarts: int = 0

    def after(self, better: bool, *, dimension: int, batch: int, start: float = SIDE) -> Region:
        """The region of the next round.

        The side doubles, up to 1.6, after 3 consecutive successes. It halves after ceil(max(4, D) / batch) consecutive
        failures. A region that would become too small restarts.

        Args:
            better: whether the round found a better string.
            dimension: dimension D of the codes.
            batch: number of codes in a round.
            start: side length after a restart; default 0.8.

        Returns:
            The new state.
        """
        successes, failures = (self.successes + 1, 0) if better else (0, self.failures + 1)
        if successes >= SUCCESSES:
            return replace(self, side=min(2 * self.side, WIDEST), successes=0, failures=0)
        if failures >= math.ceil(max(4, dimension) / batch):
            if self.side / 2 < NARROWEST:
                return Region(start, restarts=self.restarts + 1)
            return replace(self, side=self.side / 2, successes=0, failures=0)
        return replace(self, successes=successes, failures=failures)


def _climb(function: AcquisitionFunction, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Local maxima (n, D) of an acquisition function in the unit box, and their values, by L-BFGS-B from `starts`."""
    from botorch.generation.gen import gen_candidates_scipy

    maxima, values = gen_candidates_scipy(
        starts[:, None],
        function,
        lower_bounds=0.0,
        upper_bounds=1.0,
        options={"maxiter": 150},
    )
    return maxima[:, 0].detach(), values.detach()


def box_batch(
    surrogate: Surrogate,
    batch: int,
    generator: torch.Generator,
    *,
    starts: int = 10_000,
    climbs: int = 4,
    allowed: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "B D"]:
    """Propose a batch of codes by greedy expected improvement in the surrogate's box.

    This is the protocol of Kusner, Paige, Hernández-Lobato, "Grammar variational autoencoder", 2017, arXiv:1703.01925.
    The incumbent is the largest mean of the Gaussian process, not the best observed score. Each code of the batch
    maximises expected improvement by L-BFGS-B (150 iterations) from the best `climbs` of `starts` uniform codes. The
    process is then conditioned on its own mean at that code (kriging believer), and the next code is chosen.

    Args:
        surrogate: surrogate of the scores.
        batch: number of codes, >= 1.
        generator: source of the uniform codes.
        starts: number of uniform codes for each code of the batch, >= 1; default 10,000.
        climbs: number of them from which L-BFGS-B starts, >= 1; default 4.
        allowed: function from codes (N, D), in the units of the codes, to booleans (N,) that say which may be proposed;
            default: all.

    Returns:
        Codes (B, D) in the units of the codes; fewer than `batch` if no uniform code is allowed.

    Raises:
        ImportError: BoTorch is missing.

    >>> import torch
    >>> from chartae.optimise import box_batch, fit_surrogate
    >>> z = torch.linspace(0, 1, 20)[:, None]
    >>> surrogate = fit_surrogate(z, -(z[:, 0] - 0.6) ** 2, iterations=20)
    >>> codes = box_batch(surrogate, 2, torch.Generator().manual_seed(0), starts=100, climbs=1)
    >>> codes.shape, bool((codes[0] - 0.6).abs() < 0.1)
    (torch.Size([2, 1]), True)
    """
    require_botorch()
    from botorch.acquisition import LogExpectedImprovement, PosteriorMean
    from botorch.models.model import Model
    from botorch.posteriors import GPyTorchPosterior
    from gpytorch.distributions import MultivariateNormal

    class Believer(Model):
        """The surrogate as a BoTorch model, conditioned on its own means at the codes in `believed`."""

        num_outputs = 1
        batch_shape = torch.Size()

        def __init__(self) -> None:
            super().__init__()
            self.believed = torch.empty(0, len(surrogate.lower), dtype=torch.float64)

        def posterior(self, X: Tensor, *_: object, **__: object) -> GPyTorchPosterior:
            mean, variance = surrogate.moments(X.flatten(0, -2), self.believed)
            shape = X.shape[:-1]
            return GPyTorchPosterior(MultivariateNormal(mean.view(shape), variance.view(shape)[..., None]))

    def uniform() -> Tensor:
        x = torch.rand(starts, len(surrogate.lower), generator=generator, dtype=torch.float64)
        return x if allowed is None else x[allowed(surrogate.restore(x))]

    model = Believer()
    with quietly(0):
        x = uniform()
        if not len(x):
            return surrogate.restore(x)
        with torch.no_grad():
            means = torch.cat([surrogate.mean(part) for part in x.split(5000)])
        _, values = _climb(PosteriorMean(model), x[means.topk(min(climbs, len(x))).indices])
        incumbent = torch.cat([values, means]).max()
        improvement = LogExpectedImprovement(model, best_f=incumbent)
        for place in range(batch):
            x = uniform() if place else x
            if not len(x):
                break
            with torch.no_grad():
                values = torch.cat([improvement(part[:, None]) for part in x.split(2000)])
            maxima, heights = _climb(improvement, x[values.topk(min(climbs, len(x))).indices])
            if allowed is not None:
                kept = allowed(surrogate.restore(maxima))
                maxima, heights = maxima[kept], heights[kept]
            best = x[values.argmax()] if not len(maxima) or heights.max() < values.max() else maxima[heights.argmax()]
            model.believed = torch.cat([model.believed, best[None]])
    return surrogate.restore(model.believed)


@torch.no_grad()
def region_batch(
    surrogate: Surrogate,
    batch: int,
    generator: torch.Generator,
    *,
    centre: Float[Tensor, " D"],
    side: float = SIDE,
    candidates: int = 2000,
    explore: float = 0.1,
    allowed: Callable[[Tensor], Tensor] | None = None,
    fresh: Callable[[Tensor], Tensor] | None = None,
    ways: tuple[Float[Tensor, "L D"], Float[Tensor, "M D"]] | None = None,
) -> Float[Tensor, "B D"]:
    """Propose a batch of codes by Thompson sampling in a trust region.

    This is TuRBO-1 of Eriksson, Pearce, Gardner, Turner, Poloczek, "Scalable global optimization via local Bayesian
    optimization", 2019, arXiv:1910.01739. The region is a box around `centre`, inside the surrogate's box, with sides
    ``side * l_i / (l_1 ... l_D)^(1/D)``, where l are the lengthscales of the surrogate. A candidate differs from the
    centre in each coordinate with probability min(1, 20/D), and in at least one. Each draw from the posterior at the
    candidates contributes its best candidate to the batch.

    We depart from the paper in two ways. Codes fill only a small part of their box, so a random step often leaves their
    support before it reaches another string. With `ways`, half of the candidates therefore lie on segments from the
    centre to other codes. A candidate that is not `allowed` is moved 30 % of the way back to its origin, up to 20
    times, and dropped if this does not help.

    Args:
        surrogate: surrogate of the scores.
        batch: number of codes, >= 1.
        generator: source of the candidates and of the draws.
        centre: centre of the region (D,), in the units of the codes.
        side: side length of the region, in units of the surrogate's box; > 0; default 0.8.
        candidates: number of candidates, >= 1; the cost grows as its cube; default 2,000.
        explore: factor on the deviations of the draws from the posterior mean, >= 0; default 0.1. With 1 it is ordinary
            Thompson sampling; if the surrogate knows little, the best of many candidates is then mostly noise.
        allowed: function from codes (N, D), in the units of the codes, to booleans (N,) that say which may be proposed;
            default: all.
        fresh: function from codes (N, D) to booleans (N,) that say which are worth proposing, such as those that decode
            to a new string; default: all. If fewer than `batch` are, the region is searched again with twice the side,
            up to 1.6.
        ways: pair of codes (L, D) and (M, D), in the units of the codes, or None (default). Half of the candidates lie
            on segments from the centre towards one of the second codes, within the fraction `side` of the segment. If
            fewer than a tenth of the candidates are fresh, more are drawn on segments that start at the first codes.

    Returns:
        Codes (B, D) in the units of the codes, in the order of the draws; fewer than `batch` if fewer candidates
        remain.

    >>> import torch
    >>> from chartae.optimise import fit_surrogate, region_batch
    >>> z = torch.linspace(0, 1, 20)[:, None]
    >>> surrogate = fit_surrogate(z, -(z[:, 0] - 0.6) ** 2, iterations=20)
    >>> codes = region_batch(surrogate, 2, torch.Generator().manual_seed(0), centre=z[8], side=0.4, candidates=100)
    >>> codes.shape, bool(((codes - z[8]).abs() <= 0.2).all())
    (torch.Size([2, 1]), True)
    """
    middle = surrogate.normalise(centre).clamp(0, 1)
    lengths = surrogate.lengthscales.to(middle)
    shape = lengths / lengths.log().mean().exp()
    begin, end = (middle[None], None) if ways is None else map(surrogate.normalise, ways)
    # of each stage: where segments start, the side of the region, and how many fresh candidates suffice
    stages = [(begin, side, batch)]
    while side < WIDEST:
        side = min(2 * side, WIDEST)
        stages.append((begin, side, batch))
    if ways is not None:
        stages.insert(0, (middle[None], stages[0][1], max(batch, candidates // 10)))
    pool: list[Tensor] = []
    for start, wide, enough in stages:
        part = _candidates(surrogate, middle, wide / 2 * shape, candidates, generator, allowed, start, end, wide)
        if fresh is not None and len(part):
            part = part[fresh(surrogate.restore(part))]
        pool.append(part)
        if fresh is None or sum(map(len, pool)) >= enough:
            break
    x = torch.cat(pool)
    if not len(x):
        return surrogate.restore(x)
    mean, root = surrogate.joint(x)
    chosen: list[int] = []
    noise = torch.randn(len(x), min(batch, len(x)), generator=generator, dtype=mean.dtype)
    for sample in (mean[:, None] + explore * (root @ noise)).T:
        sample[chosen] = -math.inf
        chosen.append(int(sample.argmax()))
    return surrogate.restore(x[chosen])


def _candidates(
    surrogate: Surrogate,
    middle: Tensor,
    half: Tensor,
    n: int,
    generator: torch.Generator,
    allowed: Callable[[Tensor], Tensor] | None,
    begin: Float[Tensor, "L D"],
    end: Float[Tensor, "M D"] | None,
    far: float,
) -> Tensor:
    """Allowed candidates, in units of the surrogate's box.

    Half of them lie in the box with half-sides `half` around the middle, the other half on segments from `begin` to
    `end`, within the fraction `far` of the segment; without `end`, all lie in the box.
    """
    low, high = (middle - half).clamp(0, 1), (middle + half).clamp(0, 1)
    d = len(middle)
    draw = low + (high - low) * torch.rand(n, d, generator=generator, dtype=middle.dtype)
    moved = torch.rand(n, d, generator=generator) < min(1.0, 20 / d)
    moved[torch.arange(n), torch.randint(d, (n,), generator=generator)] = True
    x = torch.where(moved, draw, middle)
    origin = middle.expand(n, d).clone()
    if end is not None:
        end = end[torch.randint(len(end), (n // 2,), generator=generator)]
        share = min(1.0, far) * torch.rand(n // 2, 1, generator=generator, dtype=middle.dtype)
        if len(begin) > 1:
            begin = begin[torch.randint(len(begin), (n // 2,), generator=generator)]
        origin[: n // 2] = begin.clamp(0, 1)
        x[: n // 2] = torch.lerp(begin.expand_as(end), end, share).clamp(0, 1)
    if allowed is not None:
        fine = allowed(surrogate.restore(x))
        for _ in range(20):
            if fine.all():
                break
            x[~fine] = origin[~fine] + 0.7 * (x[~fine] - origin[~fine])
            fine[~fine] = allowed(surrogate.restore(x[~fine]))
        x = x[fine]
    return x
