"""Where to look next: batches of codes by expected improvement in a box, or by Thompson's draws in a trust region."""

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

#: side lengths of TuRBO-1: at most, and where the region is given up (at the start: `chartae.records.search.SIDE`)
WIDEST, NARROWEST = 1.6, 0.5**7
#: successes in a row after which the side doubles
SUCCESSES = 3


@dataclass(frozen=True)
class Region:
    """The state of a trust region (Eriksson et al., 2019, arXiv:1910.01465): `side` in units of the box, and how many
    rounds in a row have and have not found a better string. `restarts` counts the regions that were given up."""

    side: float = SIDE
    successes: int = 0
    failures: int = 0
    restarts: int = 0

    def after(self, better: bool, *, dimension: int, batch: int, start: float = SIDE) -> Region:
        """The region of the next round: doubled after 3 successes, halved after max(4, D) / batch failures, at least 1,
        begun again at `start` where it has become too small."""
        successes, failures = (self.successes + 1, 0) if better else (0, self.failures + 1)
        if successes >= SUCCESSES:
            return replace(self, side=min(2 * self.side, WIDEST), successes=0, failures=0)
        if failures >= math.ceil(max(4, dimension) / batch):
            if self.side / 2 < NARROWEST:
                return Region(start, restarts=self.restarts + 1)
            return replace(self, side=self.side / 2, successes=0, failures=0)
        return replace(self, successes=successes, failures=failures)


def _climb(function: AcquisitionFunction, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Local maxima of an acquisition function in the unit box, by L-BFGS-B from `starts` (n, D)."""
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
    """A batch by greedy expected improvement in the surrogate's box, as Kusner, Paige, Hernández-Lobato (2017,
    arXiv:1703.01925) have it.

    The incumbent is the greatest mean of the process, not the best observed value. For each place in the batch: the
    best that L-BFGS-B (150 steps) finds from the best `climbs` of `starts` uniform codes; then the process is held to
    its mean there (kriging believer) and the next place is filled.

    Args:
        surrogate: of the scores.
        batch: how many codes.
        generator: of the uniform codes.
        allowed: of codes (N, D) in their own units, which may be proposed; climbs that leave them are not taken.

    Returns:
        codes (B, D) in their own units; fewer than `batch` where too few uniform codes are allowed.
    """
    require_botorch()
    from botorch.acquisition import LogExpectedImprovement, PosteriorMean
    from botorch.models.model import Model
    from botorch.posteriors import GPyTorchPosterior
    from gpytorch.distributions import MultivariateNormal

    class Believer(Model):
        """The surrogate, held to its means at `believed`, as BoTorch sees it: one code at a time."""

        num_outputs = 1
        batch_shape = torch.Size()

        def __init__(self) -> None:
            super().__init__()
            self.believed = torch.empty(0, len(surrogate.lower), dtype=torch.float64)

        def posterior(self, X: Tensor, *_: object, **__: object) -> GPyTorchPosterior:
            mean, variance = surrogate.moments(X.flatten(0, -2), self.believed)
            shape = X.shape[:-1]
            return GPyTorchPosterior(MultivariateNormal(mean.view(shape), variance.view(shape)[..., None]))

    def grid() -> Tensor:
        x = torch.rand(starts, len(surrogate.lower), generator=generator, dtype=torch.float64)
        return x if allowed is None else x[allowed(surrogate.restore(x))]

    model = Believer()
    with quietly(0):
        x = grid()
        if not len(x):
            return surrogate.restore(x)
        with torch.no_grad():
            means = torch.cat([surrogate.mean(part) for part in x.split(5000)])
        _, values = _climb(PosteriorMean(model), x[means.topk(min(climbs, len(x))).indices])
        incumbent = torch.cat([values, means]).max()
        improvement = LogExpectedImprovement(model, best_f=incumbent)
        for place in range(batch):
            x = grid() if place else x
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
    """A batch by Thompson sampling in a trust region: TuRBO-1 of Eriksson, Pearce, Gardner, Turner, Poloczek ("Scalable
    global optimization via local Bayesian optimization", 2019, arXiv:1910.01465).

    The region is a box about `centre` with sides side * l_i / (l_1 ... l_D)^(1/D), l the surrogate's lengthscales,
    within the surrogate's own box. A candidate differs from the centre in each coordinate with probability min(1,
    20/D), in at least one. Each draw from the posterior over the candidates names its best one.

    Ours are `ways`: codes lie on little of their box, so that a step in a random direction leads out of their support
    before it leads to another string. So half of the candidates lie on ways from the centre to other codes; and where
    the strings about one code are mostly known, as many again are sought with ways that begin at any good code.

    Candidates that are not `allowed` are drawn back to where they came from, by 30 % at a time, and left out if that
    does not help: the region keeps its shape but follows the codes' support.

    Args:
        surrogate: of the scores.
        batch: how many codes.
        generator: of candidates and draws.
        centre: in the codes' own units.
        side: in units of the surrogate's box.
        candidates: how many; their covariance is factored, at a cost of candidates^3.
        explore: by what the draws' deviations from the posterior's mean are multiplied; 1 is Thompson sampling proper.
            Where a surrogate knows little, the best of thousands of candidates in a draw is mostly the draw's noise.
        allowed: of codes (N, D) in their own units, which may be proposed.
        fresh: of codes, which are worth it: a decoder gives a whole neighbourhood one string, which is scored once.
            Where they are fewer than a batch, the region is searched again at twice the side, up to the whole box.
        ways: codes (L, D) and (M, D) in their own units: half of the candidates lie on a way from the centre towards
            one of the latter, up to the share `side` of it; where fewer than a tenth of all are fresh, also from any
            of the former.

    Returns:
        codes (B, D) in their own units, the first draw's first; fewer than `batch` where too few are allowed.
    """
    middle = surrogate.normalise(centre).clamp(0, 1)
    lengths = surrogate.lengthscales.to(middle)
    shape = lengths / lengths.log().mean().exp()
    begin, end = (middle[None], None) if ways is None else map(surrogate.normalise, ways)
    # where ways begin, the region's side, and how many fresh ones are enough
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
    """Codes in the box of half the sides `half` about the middle, half of them on the first share `far` of a way from
    `begin` to `end`, in units of the surrogate's box, that are allowed."""
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
