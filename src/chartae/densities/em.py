"""Expectation maximisation for mixtures of Gaussians, and the forms of their covariances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from chartae.distributions import LOG_2PI

__all__ = ["COVARIANCES", "EM", "Components", "cholesky", "rows_at_a_time"]

#: numbers in the largest temporary (components, rows, dimensions): few enough for a CPU's cache, many for a GPU
TEMPORARY, TEMPORARY_ON_GPU = 1 << 20, 1 << 26
#: a responsibility below this does not change a second moment in float32
NEGLIGIBLE = 1e-9


def rows_at_a_time(components: int, dimension: int, device: torch.device) -> int:
    """The number of points to process at a time."""
    most = TEMPORARY if device.type == "cpu" else TEMPORARY_ON_GPU
    return max(1, most // (components * dimension))


def cholesky(covariances: Tensor) -> Tensor:
    """L with L L' = covariance; if rounding has made it indefinite, the smallest relative ridge that helps is added."""
    diagonal = torch.diag_embed(covariances.diagonal(dim1=-2, dim2=-1).abs())
    for ridge in (0.0, *(10.0**power for power in range(-13, 2))):
        factors, info = torch.linalg.cholesky_ex(covariances + ridge * diagonal if ridge else covariances)
        if not info.any():
            return factors
    raise ValueError(
        "a covariance is not positive definite; expected positive definite matrices. Check the covariances in `start`, "
        "or standardise the codes."
    )


class Moments(NamedTuple):
    """Responsibilities and the moments of the codes weighted by them, in float64, summed or averaged over points."""

    mass: Tensor  # (K,)
    first: Tensor  # (K, D)
    second: Tensor  # same shape as the covariances

    def blend(self, other: Moments, rate: float) -> Moments:
        """(1 - rate) times these moments plus rate times the others."""
        return Moments(*(torch.lerp(a, b, rate) for a, b in zip(self, other, strict=True)))

    def over(self, n: int) -> Moments:
        """The moments divided by `n`."""
        return Moments(*(a / n for a in self))


class Components(NamedTuple):
    """A mixture in float64; `factors` are the Cholesky factors L of the covariances L L'."""

    weights: Tensor  # (K,)
    means: Tensor  # (K, D)
    factors: Tensor


class _Full:
    """One covariance matrix (D, D) for each component.

    A pass over the data works in whitened coordinates of each component, y = L^-1 (z - mean). There the second moments
    are near the identity, so that products in float32 stay accurate however ill-conditioned the codes are. Only the
    sums, in float64, are transformed back to the coordinates of the data.
    """

    shared = False

    def identity(self, k: int, like: Tensor) -> Tensor:
        """Factors of k unit covariances, with the dtype, device and dimension of `like` (K, D)."""
        return torch.eye(like.shape[1], dtype=like.dtype, device=like.device).repeat(k, 1, 1)

    def factor(self, covariances: Tensor) -> Tensor:
        return cholesky(covariances)

    def covariances(self, factors: Tensor) -> Tensor:
        return factors @ factors.mT

    def coordinates(self, means: Tensor, factors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`scale` = L^-T and `shift` = L^-1 mean (K, 1, D), the arguments of `whiten`, and log det L^-1 (K,)."""
        eye = torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
        scale = torch.linalg.solve_triangular(factors, eye.expand_as(factors), upper=False).mT
        return scale, means[:, None] @ scale, scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def whiten(self, x: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None = None) -> Float[Tensor, "K B D"]:
        return torch.baddbmm(shift, x.expand(len(scale), *x.shape), scale, beta=-1, out=out)

    def second(self, y: Tensor, r: Tensor) -> Tensor:
        """sum_n r_n y_n y_n' of each component."""
        k, b, d = y.shape
        if d >= 32 and y.device.type == "cpu":
            # in many dimensions a point belongs to one or two components: use only the rows that contribute
            active = r > NEGLIGIBLE
            counts = active.sum(1).tolist()
            if 2 * sum(counts) < k * b:
                rows = active.nonzero()[:, 1].split(counts)
                pairs = [(y[j].index_select(0, i), r[j].index_select(0, i)[:, None]) for j, i in enumerate(rows)]
                return torch.stack([(points * weight).mT @ points for points, weight in pairs])
        return (y * r[..., None]).mT @ y

    def lift(self, white: Moments, m: Components) -> Moments:
        """Transform moments from whitened coordinates to the coordinates of the data."""
        mass, shift = white.mass[:, None, None], (m.factors @ white.first[..., None])[..., 0]
        cross = shift[:, :, None] * m.means[:, None]
        outer = m.means[:, :, None] * m.means[:, None]
        second = m.factors @ white.second @ m.factors.mT + cross + cross.mT + mass * outer
        return Moments(white.mass, shift + white.mass[:, None] * m.means, second)

    def central(self, moments: Moments, means: Tensor) -> Tensor:
        """The covariances that the moments imply."""
        return moments.second / moments.mass[:, None, None] - means[:, :, None] * means[:, None]

    def ridge(self, covariances: Tensor, size: Float[Tensor, " D"]) -> Tensor:
        return covariances + size.diag()


class _Tied(_Full):
    """One covariance matrix (D, D) for all components."""

    shared = True

    def identity(self, k: int, like: Tensor) -> Tensor:
        return torch.eye(like.shape[1], dtype=like.dtype, device=like.device)

    def whiten(self, x: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None = None) -> Float[Tensor, "K B D"]:
        return torch.sub(x @ scale, shift, out=out)

    def second(self, y: Tensor, r: Tensor) -> Tensor:
        flat = y.flatten(0, 1)
        return (flat * r.reshape(-1, 1)).mT @ flat

    def lift(self, white: Moments, m: Components) -> Moments:
        shift = white.first @ m.factors.mT
        cross = shift.mT @ m.means
        outer = (white.mass[:, None] * m.means).mT @ m.means
        second = m.factors @ white.second @ m.factors.mT + cross + cross.mT + outer
        return Moments(white.mass, shift + white.mass[:, None] * m.means, second)

    def central(self, moments: Moments, means: Tensor) -> Tensor:
        return (moments.second - (moments.mass[:, None] * means).mT @ means) / moments.mass.sum()


class _Diagonal(_Full):
    """Variances (K, D) without correlations within a component; the factors are standard deviations."""

    def identity(self, k: int, like: Tensor) -> Tensor:
        return torch.ones_like(like)

    def factor(self, covariances: Tensor) -> Tensor:
        return covariances.clamp_min(torch.finfo(covariances.dtype).tiny).sqrt()

    def covariances(self, factors: Tensor) -> Tensor:
        return factors.square()

    def coordinates(self, means: Tensor, factors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return 1 / factors[:, None], (means / factors)[:, None], -factors.log().sum(-1)

    def whiten(self, x: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None = None) -> Float[Tensor, "K B D"]:
        return torch.addcmul(-shift, x, scale, out=out)

    def second(self, y: Tensor, r: Tensor) -> Tensor:
        return (r[:, None] @ y.square())[:, 0]

    def lift(self, white: Moments, m: Components) -> Moments:
        mass, shift = white.mass[:, None], m.factors * white.first
        second = m.factors.square() * white.second + 2 * shift * m.means + mass * m.means.square()
        return Moments(white.mass, shift + mass * m.means, second)

    def central(self, moments: Moments, means: Tensor) -> Tensor:
        return moments.second / moments.mass[:, None] - means.square()

    def ridge(self, covariances: Tensor, size: Float[Tensor, " D"]) -> Tensor:
        return covariances + size


COVARIANCES = {"full": _Full(), "diag": _Diagonal(), "tied": _Tied()}


class Fit(NamedTuple):
    """A fitted mixture, its lower bound in nats per code, its iterations, and whether it converged."""

    mixture: Components
    bound: float
    iterations: int
    converged: bool


@dataclass(frozen=True, eq=False)
class EM:
    """Expectation maximisation for a mixture of Gaussians on centred codes of scale 1.

    Attributes:
        covariance: a key of `COVARIANCES`.
        ridge: amount added to the diagonal of each covariance (D,), in float64.
        max_iter: maximum number of iterations.
        tol: EM stops when an iteration changes the mean log-likelihood by less than this, in nats per code.
        chunk: number of codes processed at a time; None for as many as fit a CPU's cache, more on a GPU.
        seed: seed of the initialisations.
        restarts: number of initialisations, of which the likeliest fit is kept.
        starts: number of runs of k-means in an initialisation, of which the best are used.
        start: initial mixture; None for initialisations of its own.
    """

    covariance: str
    ridge: Tensor
    max_iter: int
    tol: float
    chunk: int | None = None
    seed: int = 0
    restarts: int = 1
    starts: int = 4
    start: Components | None = None

    def fit(self, x: Tensor, k: int, w: Tensor | None = None) -> Fit:
        """The likeliest mixture of several initialisations, or the one that follows from `start`.

        The weights (N,) of the codes have mean 1; None for equal ones. The initialisation by k-means ignores them.
        """
        fits = []
        for restart in range(1 if self.start else self.restarts):
            generator = torch.Generator().manual_seed(self.seed + restart)
            fits.append(self._em(x, self.start or self._warm_up(x, k, generator, w), generator, w))
        return max(fits, key=lambda fit: fit.bound)

    def _warm_up(self, x: Tensor, k: int, generator: torch.Generator, w: Tensor | None) -> Components:
        """The initial mixture: the best run of k-means on the first rows.

        If there are enough codes, one pass of stepwise EM refines the two best runs, and the likelier is returned.
        """
        kind = COVARIANCES[self.covariance]
        batch = max(1024, 4 * k * x.shape[1])
        first, batches = x[: 4 * batch], x.split(batch) if len(x) >= 4 * batch else ()
        starts = sorted((_k_means(first, k, generator) for _ in range(self.starts)), key=lambda fit: fit[2])
        mixtures = []
        for centres, labels, _ in starts[: 2 if batches else 1]:
            means, late = centres.double(), 0.0
            mixture = Components(torch.full_like(means[:, 0], 1 / k), means, kind.identity(k, means))
            moments = self._expect(first, mixture, labels, w=_part(w, slice(len(first))))[1].over(len(first))
            mixture = self._maximise(moments, mixture)
            for step, part in enumerate(batches[: len(x) // batch]):
                total, fresh = self._expect(part, mixture, w=_part(w, slice(step * batch, step * batch + len(part))))
                late += total if 2 * step >= len(batches) else 0.0
                moments = moments.blend(fresh.over(batch), (step + 3) ** -0.5)
                mixture = self._maximise(moments, mixture)
            mixtures.append((mixture, late))
        return max(mixtures, key=lambda pair: pair[1])[0]

    def _em(self, x: Tensor, mixture: Components, generator: torch.Generator, w: Tensor | None) -> Fit:
        """Run EM from a mixture; return the fit, its lower bound, its iterations and whether it converged."""
        bound = -math.inf
        for iteration in range(1, self.max_iter + 1):
            before = bound
            total, moments = self._expect(x, mixture, w=w)
            bound = total / len(x)
            mixture = self._maximise(moments, mixture)
            empty = moments.mass < 0.1
            if empty.any():
                mixture = self._restart(x, mixture, empty, generator)
            elif abs(bound - before) < self.tol:
                return Fit(mixture, bound, iteration, True)
        return Fit(mixture, bound, self.max_iter, False)

    def _expect(
        self, x: Tensor, mixture: Components, labels: Tensor | None = None, *, w: Tensor | None = None
    ) -> tuple[float, Moments]:
        """The E step, one pass over the data: the log-likelihood, and the moments for the M step.

        `labels`, if given, replace the responsibilities; weights `w` multiply them.
        """
        kind, (k, d) = COVARIANCES[self.covariance], mixture.means.shape
        scale, shift, log_det = kind.coordinates(mixture.means, mixture.factors)
        offset = (mixture.weights.log() + log_det - 0.5 * d * LOG_2PI)[:, None].to(x.dtype)
        scale, shift = scale.to(x.dtype), shift.to(x.dtype)
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        sums: list[Tensor] = []
        rows = min(self.chunk or rows_at_a_time(k, d, x.device), len(x))
        space = x.new_empty(k * rows * d)
        for i in range(0, len(x), rows):
            part = x[i : i + rows]
            y = kind.whiten(part, scale, shift, space[: k * len(part) * d].view(k, len(part), d))
            if labels is None:
                joint = torch.linalg.vector_norm(y, dim=-1).square_().mul_(-0.5).add_(offset)
                top = joint.amax(0)
                # smaller values would become denormal numbers, which are slow and have no effect
                r = joint.sub_(top).clamp_min_(-80.0).exp_()
                evidence = r.sum(0)
                each = top + evidence.log()
                total += (each if w is None else each * w[i : i + rows]).sum(dtype=torch.float64)
                r /= evidence
            else:
                r = F.one_hot(labels[i : i + rows], k).mT.to(x.dtype).contiguous()
            if w is not None:
                r *= w[i : i + rows]
            more = [r.sum(1).double(), (r[:, None] @ y)[:, 0].double(), kind.second(y, r).double()]
            sums = [a.add_(b) for a, b in zip(sums, more, strict=True)] if sums else more
        return total.item(), kind.lift(Moments(*sums), mixture)

    def _maximise(self, moments: Moments, mixture: Components) -> Components:
        """The M step: the mixture that the moments imply."""
        kind = COVARIANCES[self.covariance]
        mass = moments.mass.clamp_min(torch.finfo(moments.mass.dtype).eps)
        means = moments.first / mass[:, None]
        covariances = kind.central(moments._replace(mass=mass), means)
        return Components(mass / mass.sum(), means, kind.factor(kind.ridge(covariances, self.ridge)))

    def _restart(self, x: Tensor, mixture: Components, empty: Tensor, generator: torch.Generator) -> Components:
        """Move empty components to random codes, with the covariance and half of the weight of the heaviest one."""
        weights, means, factors = (t.clone() for t in mixture)
        for k in empty.nonzero().flatten().tolist():
            heaviest = int(weights.argmax())
            weights[heaviest] = weights[k] = weights[heaviest] / 2
            means[k] = x[int(torch.randint(len(x), (), generator=generator))].double()
            if not COVARIANCES[self.covariance].shared:
                factors[k] = factors[heaviest]
        return Components(weights / weights.sum(), means, factors)


def _part(w: Tensor | None, rows: slice) -> Tensor | None:
    return None if w is None else w[rows]


def _k_means(x: Tensor, k: int, generator: torch.Generator, steps: int = 100) -> tuple[Tensor, Tensor, float]:
    """Centres (K, D), labels (N,) and the summed squared distance, by greedy k-means++ and Lloyd's algorithm.

    Arthur, Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007.
    """
    squares = x.square().sum(1)

    def distances(centres: Tensor) -> Tensor:
        """Squared distances (K, N) minus the squared norms of the points."""
        return torch.addmm(centres.square().sum(1)[:, None], centres, x.mT, alpha=-2)

    centres = x[torch.randint(len(x), (1,), generator=generator).to(x.device)]
    nearest = (distances(centres)[0] + squares).clamp_min_(0)
    for _ in range(k - 1):
        # all points are centres already, because fewer points than centres are distinct: draw any
        chance = nearest.cpu() if nearest.sum() > 0 else torch.ones(len(x))
        drawn = torch.multinomial(chance, 2 + int(math.log(k)), replacement=True, generator=generator).to(x.device)
        distance = torch.minimum((distances(x[drawn]) + squares).clamp_min_(0), nearest)
        best = distance.sum(1).argmin()
        nearest, centres = distance[best], torch.cat([centres, x[drawn[best]][None]])
    tolerance = 1e-4 * x.var(0, correction=0).mean()
    for _ in range(steps):
        labels = distances(centres).min(0).indices
        counts = torch.bincount(labels, minlength=k)[:, None]
        means = torch.zeros_like(centres).index_add_(0, labels, x) / counts.clamp_min(1)
        before, centres = centres, torch.where(counts > 0, means, centres)
        if (centres - before).square().sum() <= tolerance:
            break
    closest = distances(centres).min(0)
    return centres, closest.indices, (closest.values + squares).sum(dtype=torch.float64).item()
