"""Gaussian densities of codes: a single normal, and a mixture fitted by expectation maximisation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from chartae.densities.base import Density, Plain, check_codes
from chartae.densities.registry import register
from chartae.distributions import LOG_2PI, Distribution, randn
from chartae.maths.random import generator_for
from chartae.records.choices import one_of

__all__ = ["GaussianMixture", "Normal", "NormalMixture"]

#: numbers in the largest temporary (components, rows, dimensions): few enough for a CPU's cache, many for a GPU
TEMPORARY, TEMPORARY_ON_GPU = 1 << 20, 1 << 26
#: a responsibility below this does not change a second moment in float32
NEGLIGIBLE = 1e-9


def _rows(components: int, dimension: int, device: torch.device) -> int:
    """The number of points to process at a time."""
    most = TEMPORARY if device.type == "cpu" else TEMPORARY_ON_GPU
    return max(1, most // (components * dimension))


def _cholesky(covariances: Tensor) -> Tensor:
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


class _Moments(NamedTuple):
    """Responsibilities and the moments of the codes weighted by them, in float64, summed or averaged over points."""

    mass: Tensor  # (K,)
    first: Tensor  # (K, D)
    second: Tensor  # same shape as the covariances

    def blend(self, other: _Moments, rate: float) -> _Moments:
        """(1 - rate) times these moments plus rate times the others."""
        return _Moments(*(torch.lerp(a, b, rate) for a, b in zip(self, other, strict=True)))

    def over(self, n: int) -> _Moments:
        """The moments divided by `n`."""
        return _Moments(*(a / n for a in self))


class _Mixture(NamedTuple):
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
        return _cholesky(covariances)

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

    def lift(self, white: _Moments, m: _Mixture) -> _Moments:
        """Transform moments from whitened coordinates to the coordinates of the data."""
        mass, shift = white.mass[:, None, None], (m.factors @ white.first[..., None])[..., 0]
        cross = shift[:, :, None] * m.means[:, None]
        outer = m.means[:, :, None] * m.means[:, None]
        second = m.factors @ white.second @ m.factors.mT + cross + cross.mT + mass * outer
        return _Moments(white.mass, shift + white.mass[:, None] * m.means, second)

    def central(self, moments: _Moments, means: Tensor) -> Tensor:
        """The covariances that the moments imply."""
        return moments.second / moments.mass[:, None, None] - means[:, :, None] * means[:, None]

    def ridge(self, covariances: Tensor, size: float) -> Tensor:
        return covariances + size * torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)


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

    def lift(self, white: _Moments, m: _Mixture) -> _Moments:
        shift = white.first @ m.factors.mT
        cross = shift.mT @ m.means
        outer = (white.mass[:, None] * m.means).mT @ m.means
        second = m.factors @ white.second @ m.factors.mT + cross + cross.mT + outer
        return _Moments(white.mass, shift + white.mass[:, None] * m.means, second)

    def central(self, moments: _Moments, means: Tensor) -> Tensor:
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

    def lift(self, white: _Moments, m: _Mixture) -> _Moments:
        mass, shift = white.mass[:, None], m.factors * white.first
        second = m.factors.square() * white.second + 2 * shift * m.means + mass * m.means.square()
        return _Moments(white.mass, shift + mass * m.means, second)

    def central(self, moments: _Moments, means: Tensor) -> Tensor:
        return moments.second / moments.mass[:, None] - means.square()

    def ridge(self, covariances: Tensor, size: float) -> Tensor:
        return covariances + size


COVARIANCES = {"full": _Full(), "diag": _Diagonal(), "tied": _Tied()}


class NormalMixture(Distribution):
    """The mixture of normals sum_k w_k N(z; mean_k, L_k L_k'), which `Normal` and `GaussianMixture` return.

    Args:
        weights: weights (K,), which sum to 1.
        means: means (K, D).
        factors: Cholesky factors L (K, D, D), or standard deviations (K, D) of independent coordinates.
        rows: number of points that `log_prob` processes at a time; default: as many as fit a CPU's cache, more on a
            GPU.
    """

    event_ndim = 1

    def __init__(self, weights: Tensor, means: Tensor, factors: Tensor, rows: int | None = None) -> None:
        self.weights, self.means, self.factors = weights, means, factors
        k, d = means.shape
        self.rows = rows or _rows(k, d, means.device)

    @property
    def mean(self) -> Float[Tensor, " D"]:
        return self.weights @ self.means

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent draws (n, D), in random order; one draw (D,) if `n` is None."""
        drawn = 1 if n is None else max(n, 1)
        choice = generator_for(self.weights.device, generator)
        which = torch.multinomial(self.weights, drawn, replacement=True, generator=choice)[:n]
        noise = randn((len(which), self.means.shape[1]), self.means, generator)
        out = torch.empty_like(noise)
        for k, (mean, factor) in enumerate(zip(self.means, self.factors, strict=True)):
            rows = which == k
            out[rows] = mean + (noise[rows] * factor if factor.ndim == 1 else noise[rows] @ factor.mT)
        return out[0] if n is None else out

    def log_prob(self, x: Tensor) -> Tensor:
        d = self.means.shape[1]
        if not x.ndim or x.shape[-1] != d:
            raise ValueError(
                f"codes have shape {tuple(x.shape)}; expected (..., {d}), codes of dimension {d}. Use codes of the "
                "model that the density was fitted to."
            )
        kind = COVARIANCES["diag" if self.factors.ndim == 2 else "full"]
        dtype = torch.promote_types(x.dtype, self.means.dtype)
        scale, shift, log_det = kind.coordinates(self.means.double(), self.factors.double())
        offset = (self.weights.double().log() + log_det - 0.5 * d * LOG_2PI)[:, None].to(dtype)
        scale, shift = scale.to(dtype), shift.to(dtype)
        parts = [
            (offset - 0.5 * kind.whiten(part, scale, shift).square().sum(-1)).logsumexp(0)
            for part in x.reshape(-1, d).to(dtype).split(self.rows)
        ]
        return torch.cat(parts).reshape(x.shape[:-1])


class _Gaussians(Density):
    """Base of `Normal` and `GaussianMixture`: the parameters of a `NormalMixture` as buffers."""

    weights: Float[Tensor, " K"]
    means: Float[Tensor, "K D"]
    factors: Tensor
    covariance: str = "full"

    def __init__(self) -> None:
        super().__init__()
        for key in ("weights", "means", "factors"):
            self.register_buffer(key, None)

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> NormalMixture:
        self.check_condition(condition)
        self.require_fit()
        return self._mixture(self.factors)

    def tempered(self, temperature: float) -> NormalMixture:
        """The mixture with the standard deviations of all components multiplied by the temperature."""
        self.require_fit()
        return self._mixture(self.factors * temperature)

    def _mixture(self, factors: Tensor) -> NormalMixture:
        k, d = self.means.shape
        factors = factors.expand(k, -1, -1) if self.covariance == "tied" else factors
        return NormalMixture(self.weights, self.means, factors, self._chunk(k, d, self.means.device))

    def _chunk(self, components: int, dimension: int, device: torch.device) -> int:
        return _rows(components, dimension, device)

    @property
    def covariances(self) -> Tensor:
        """The covariances (K, D, D); variances (K, D) if ``"diag"``, one matrix (D, D) if ``"tied"``."""
        self.require_fit()
        return COVARIANCES[self.covariance].covariances(self.factors)

    def _keep(self, mixture: _Mixture, centre: Tensor) -> None:
        # row-major, as a saved density is loaded: products of another layout differ in the last bit
        self.weights = mixture.weights.to(centre.dtype)
        self.means = (mixture.means + centre).to(centre.dtype)
        self.factors = mixture.factors.to(centre.dtype).contiguous()

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        tensors = [state.get(prefix + key) for key in ("weights", "means", "factors")]
        if all(isinstance(t, Tensor) for t in tensors):
            weights, means, factors = (t for t in tensors if t is not None)
            k, d = means.shape if means.ndim == 2 else (0, 0)
            shapes = {"full": (k, d, d), "diag": (k, d), "tied": (d, d)}
            if weights.shape != (k,) or not k or factors.shape != shapes[self.covariance]:
                raise ValueError(
                    f"weights has shape {tuple(weights.shape)}, means {tuple(means.shape)} and factors "
                    f"{tuple(factors.shape)}; expected the shapes of a mixture with {self.covariance} covariance. Load "
                    "a state that this class saved."
                )
            if not all(t.is_floating_point() and t.isfinite().all() for t in (weights, means, factors)):
                raise ValueError(
                    "weights, means or factors are not finite floating-point numbers; expected a state that this class "
                    "saved. Fit the density again."
                )
        super()._load_from_state_dict(state, prefix, *args)


def _centred(z: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The codes minus their mean, weighted if there are weights of mean 1, in single or double precision; the mean."""
    z = z if z.dtype == torch.float64 else z.float()
    if bool((z.amax(0) == z.amin(0)).all()):
        raise ValueError(
            f"all {len(z)} codes are the same point; expected codes that vary. Check whether the encoder collapsed."
        )
    mean = z.mean(0, dtype=torch.float64) if weight is None else (z.double() * weight.double()[:, None]).mean(0)
    centre = mean.to(z.dtype)
    return z - centre, centre


@register
class Normal(_Gaussians):
    """A multivariate normal with full covariance, fitted by maximum likelihood.

    p(z) = N(z; m, S), with m the mean of the codes and S their covariance, normalised by N. Each variance is multiplied
    by 1 + `ridge`, and a constant coordinate gets `ridge` times the mean variance, so that the density also exists for
    codes that lie on a subspace.

    Args:
        ridge: relative amount added to each variance; between 0 and 1; default 1e-8.

    Raises:
        ValueError: `ridge` is out of range.

    >>> import torch
    >>> from chartae.densities import Normal
    >>> z = 3 + 2 * torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    >>> normal = Normal().fit(z)
    >>> torch.allclose(normal.covariances[0], z.T.cov(correction=0), atol=1e-5)
    True
    >>> normal.sample(4).shape, normal.log_prob(z).shape
    (torch.Size([4, 2]), torch.Size([1000]))
    """

    name = "normal"

    def __init__(self, *, ridge: float = 1e-8) -> None:
        super().__init__()
        if not 0 < ridge < 1:
            raise ValueError(f"ridge is {ridge}; expected a number between 0 and 1. Leave it out for 1e-8.")
        self.ridge = ridge

    def settings(self) -> dict[str, Plain]:
        return {"ridge": self.ridge}

    def fit_weighted(self, z: Tensor, weight: Tensor, *, seed: int = 0) -> Normal:
        return self.fit(z, seed=seed, weight=weight)

    @torch.no_grad()
    def fit(self, z: Tensor, *, seed: int = 0, weight: Tensor | None = None) -> Normal:
        """Fit the density to codes (N, D) and return it; the fit is deterministic, so `seed` has no effect.

        The weights (N,) of the codes have mean 1; None for equal ones.
        """
        x, centre = _centred(check_codes(z, what="normal"), weight)
        scaled = x if weight is None else x * weight.to(x)[:, None]
        covariance = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64, device=x.device)
        rows = _rows(1, x.shape[1], x.device)
        for part, other in zip(x.split(rows), scaled.split(rows), strict=True):
            covariance.addmm_(part.double().mT, other.double())
        covariance /= len(x)
        variance = covariance.diagonal()
        covariance = covariance + self.ridge * torch.where(variance > 0, variance, variance.mean()).diag()
        one = torch.ones(1, dtype=torch.float64, device=x.device)
        zero = torch.zeros(1, x.shape[1], dtype=torch.float64, device=x.device)
        self._keep(_Mixture(one, zero, _cholesky(covariance)[None]), centre)
        return self


@register
class GaussianMixture(_Gaussians):
    """A mixture of Gaussians, fitted by expectation maximisation.

    p(z) = sum_k w_k N(z; mean_k, covariance_k), fitted by EM (Dempster, Laird, Rubin, "Maximum Likelihood from
    Incomplete Data via the EM Algorithm", 1977). With ten components and full covariance it is the ex-post density of
    Ghosh et al., "From Variational to Deterministic Autoencoders", 2020 (arXiv:1903.12436).

    From the same `start`, the fit is the same as scikit-learn's. The default initialisation differs. It runs k-means++
    and Lloyd's algorithm four times on a random part of the codes. From the two solutions with the smallest squared
    distances it makes one pass of stepwise EM over shuffled batches (Cappé, Moulines, "Online Expectation-Maximization
    Algorithm for Latent Data Models", 2009, arXiv:0712.4273) and continues from the likelier one. This saves about half
    of the later iterations and avoids most bad optima. A component whose total responsibility falls below 0.1 is
    restarted at a random code, with the covariance and half of the weight of the heaviest component.

    Args:
        components: number of components, >= 1; or several candidates. Of several, the one is used that gives a held-out
            tenth of the codes the highest likelihood (`scores_`); it is then fitted to all codes. Default 10.
        covariance: ``"full"``, ``"diag"`` (independent coordinates within a component) or ``"tied"`` (one matrix for
            all components); default ``"full"``.
        max_iter: maximum number of iterations, >= 1; `fit` warns if it is reached. Default 200.
        tol: EM stops when an iteration changes the mean log-likelihood by less than this, in nats per code; >= 0;
            default 1e-3.
        regularisation: amount added to the diagonal of each covariance, in squared units of the codes; > 0; default
            1e-6.
        restarts: number of independent initialisations, >= 1; the likeliest fit is kept. Default 1.
        chunk: number of codes processed at a time, >= 1; default: as many as fit a CPU's cache, more on a GPU.
        start: initial weights (K,), means (K, D) and covariances, (K, D, D), (K, D) or (D, D) for ``"full"``,
            ``"diag"`` or ``"tied"``; default: the initialisation above.

    Attributes:
        components_: number of components that was fitted.
        n_iter_: number of iterations.
        converged_: whether EM stopped before `max_iter`.
        lower_bound_: mean log-likelihood before the last iteration, in nats per code.
        scores_: held-out log-likelihood of each candidate, in nats per code; empty if there was only one.

    Raises:
        ValueError: an argument is out of range, or `start` has another number of components.

    >>> import torch
    >>> from chartae.densities import GaussianMixture
    >>> z = torch.cat([torch.randn(300, 2, generator=torch.Generator().manual_seed(s)) + 9 * s for s in (0, 1)])
    >>> mixture = GaussianMixture(2).fit(z)
    >>> mixture.weights
    tensor([0.5000, 0.5000]...)
    >>> mixture.sample(4, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([4, 2])
    """

    name = "gmm"
    number = "components"
    facts = ("components_", "n_iter_", "converged_", "lower_bound_", "scores_")
    components_: int
    n_iter_: int
    converged_: bool
    lower_bound_: float
    scores_: dict[int, float]

    def __init__(
        self,
        components: int | Sequence[int] = 10,
        covariance: str = "full",
        *,
        max_iter: int = 200,
        tol: float = 1e-3,
        regularisation: float = 1e-6,
        restarts: int = 1,
        chunk: int | None = None,
        start: Sequence[Tensor | np.ndarray] | None = None,
    ) -> None:
        super().__init__()
        candidates = [components] if isinstance(components, int) else list(components)
        if not candidates or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in candidates):
            raise ValueError(
                f"components is {components!r}; expected an integer >= 1, or several of them. Leave it out for 10."
            )
        if covariance not in COVARIANCES:
            raise ValueError(f"covariance is {covariance!r}; {one_of(covariance, COVARIANCES)}")
        for key, count in (("max_iter", max_iter), ("restarts", restarts), ("chunk", 1 if chunk is None else chunk)):
            if count < 1:
                raise ValueError(f"{key} is {count}; expected a number >= 1. Leave it out for the default.")
        if not tol >= 0:
            raise ValueError(f"tol is {tol}; expected a number >= 0, in nats per code. Leave it out for 1e-3.")
        if not 0 < regularisation < math.inf:
            raise ValueError(
                f"regularisation is {regularisation}; expected a number > 0, in squared units of the codes. Leave it "
                "out for 1e-6."
            )
        if start is not None and (len(candidates) > 1 or candidates[0] != len(start[0])):
            raise ValueError(
                f"start has {len(start[0])} components; expected {components!r}, the value of components. Make the two "
                "agree."
            )
        self.components = candidates[0] if len(candidates) == 1 else tuple(candidates)
        self.covariance = covariance
        self.max_iter, self.tol, self.regularisation = max_iter, tol, regularisation
        self.restarts, self.chunk, self.start = restarts, chunk, start

    def settings(self) -> dict[str, Plain]:
        """The arguments of the constructor, without `start`, which has no effect after the fit."""
        keys = ("components", "covariance", "max_iter", "tol", "regularisation", "restarts", "chunk")
        values = {key: getattr(self, key) for key in keys}
        return values | {"components": list(values["components"])} if isinstance(self.components, tuple) else values

    def extra_repr(self) -> str:
        return f"{self.components}, {self.covariance!r}"

    @property
    def _candidates(self) -> tuple[int, ...]:
        return self.components if isinstance(self.components, tuple) else (self.components,)

    @property
    def least(self) -> int:
        """The smallest number of codes: one for each component, plus the held-out tenth if there are candidates."""
        most = max(self._candidates)
        return max(2, most + (most - 1) // 9 if len(self._candidates) > 1 else most)

    def restore(self, facts: Mapping[str, Plain]) -> None:
        super().restore(facts)
        scores = cast(Mapping[str, float], facts.get("scores_", {}))
        self.scores_ = {int(k): score for k, score in scores.items()}

    def fit_weighted(self, z: Tensor, weight: Tensor, *, seed: int = 0) -> GaussianMixture:
        return self.fit(z, seed=seed, weight=weight)

    @torch.no_grad()
    def fit(self, z: Tensor, *, seed: int = 0, weight: Tensor | None = None) -> GaussianMixture:
        """Fit the mixture to codes (N, D), on their device and in their precision (at least float32).

        Args:
            z: codes (N, D), with at least as many codes as components.
            seed: seed of the held-out codes and of the initialisation.
            weight: weights (N,) > 0 of the codes in EM, of mean 1; the initialisation ignores them. None for equal
                ones.

        Returns:
            The fitted mixture itself.

        Raises:
            ValueError: too few codes, codes that are not finite or all equal, or a `start` of the wrong shape.
        """
        z = check_codes(z)
        candidates = self._candidates
        several = len(candidates) > 1
        n = len(z) - len(z) // 10 if several else len(z)
        if n < max(candidates):
            held_out = f" ({len(z) - n} more are held out)" if several else ""
            raise ValueError(
                f"components is {max(candidates)} for {n} codes{held_out}; expected at most one component for each "
                "code. Use fewer components, or encode more examples."
            )
        x, centre = _centred(z, weight)
        generator = torch.Generator().manual_seed(seed)
        # shuffled, because the codes may be sorted and the warm-up uses only the first rows
        order = torch.randperm(len(x), generator=generator).to(x.device)
        x, w = x[order], None if weight is None else weight.to(x)[order]
        self.scores_ = {}
        if several:
            for k in candidates:
                mixture = self._fit(x[:n], k, seed, centre, _part(w, slice(n)))[0]
                self._keep(mixture, torch.zeros_like(centre))
                score = self.log_prob(x[n:]) if w is None else self.log_prob(x[n:]) * w[n:] / w[n:].mean()
                self.scores_[k] = score.mean(dtype=torch.float64).item()
        self.components_ = max(self.scores_, key=self.scores_.__getitem__) if several else candidates[0]
        mixture, self.lower_bound_, self.n_iter_, self.converged_ = self._fit(x, self.components_, seed, centre, w)
        self._keep(mixture, centre)
        if not self.converged_:
            warnings.warn(
                f"max_iter is {self.max_iter}; EM has not converged and still gains more than {self.tol:g} nats per "
                "code. Increase max_iter or tol, or use fewer components.",
                stacklevel=2,
            )
        return self

    def _fit(self, x: Tensor, k: int, seed: int, centre: Tensor, w: Tensor | None) -> tuple[_Mixture, float, int, bool]:
        """The likeliest mixture of several starts, its lower bound, its iterations and whether it converged."""
        fits = []
        for restart in range(1 if self.start else self.restarts):
            generator = torch.Generator().manual_seed(seed + restart)
            first = self._from_start(x, centre) if self.start else self._warm_up(x, k, generator, w)
            fits.append(self._em(x, first, generator, w))
        return max(fits, key=lambda fit: fit[1])

    def _chunk(self, components: int, dimension: int, device: torch.device) -> int:
        return self.chunk or _rows(components, dimension, device)

    def _from_start(self, x: Tensor, centre: Tensor) -> _Mixture:
        """The mixture that the user gives as `start`, around the mean of the codes."""
        assert self.start is not None
        weights, means, covariances = (torch.as_tensor(t, dtype=torch.float64, device=x.device) for t in self.start)
        k, d = len(weights), x.shape[1]
        shapes = {"full": (k, d, d), "diag": (k, d), "tied": (d, d)}
        if means.shape != (k, d) or covariances.shape != shapes[self.covariance]:
            raise ValueError(
                f"start has means {tuple(means.shape)} and covariances {tuple(covariances.shape)}; expected {(k, d)} "
                f"and {shapes[self.covariance]} for {k} components with {self.covariance} covariance in {d} "
                "dimensions. Reshape them."
            )
        return _Mixture(weights / weights.sum(), means - centre, COVARIANCES[self.covariance].factor(covariances))

    def _warm_up(self, x: Tensor, k: int, generator: torch.Generator, w: Tensor | None) -> _Mixture:
        """The initial mixture: the best of four runs of k-means on the first rows.

        If there are enough codes, one pass of stepwise EM refines the two best runs, and the likelier is returned.
        """
        kind = COVARIANCES[self.covariance]
        batch = max(1024, 4 * k * x.shape[1])
        first, batches = x[: 4 * batch], x.split(batch) if len(x) >= 4 * batch else ()
        starts = sorted((_k_means(first, k, generator) for _ in range(4)), key=lambda fit: fit[2])
        mixtures = []
        for centres, labels, _ in starts[: 2 if batches else 1]:
            means, late = centres.double(), 0.0
            mixture = _Mixture(torch.full_like(means[:, 0], 1 / k), means, kind.identity(k, means))
            moments = self._expect(first, mixture, labels, w=_part(w, slice(len(first))))[1].over(len(first))
            mixture = self._maximise(moments, mixture)
            for step, part in enumerate(batches[: len(x) // batch]):
                total, fresh = self._expect(part, mixture, w=_part(w, slice(step * batch, step * batch + len(part))))
                late += total if 2 * step >= len(batches) else 0.0
                moments = moments.blend(fresh.over(batch), (step + 3) ** -0.5)
                mixture = self._maximise(moments, mixture)
            mixtures.append((mixture, late))
        return max(mixtures, key=lambda pair: pair[1])[0]

    def _em(
        self, x: Tensor, mixture: _Mixture, generator: torch.Generator, w: Tensor | None
    ) -> tuple[_Mixture, float, int, bool]:
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
                return mixture, bound, iteration, True
        return mixture, bound, self.max_iter, False

    def _expect(
        self, x: Tensor, mixture: _Mixture, labels: Tensor | None = None, *, w: Tensor | None = None
    ) -> tuple[float, _Moments]:
        """The E step, one pass over the data: the log-likelihood, and the moments for the M step.

        `labels`, if given, replace the responsibilities; weights `w` multiply them.
        """
        kind, (k, d) = COVARIANCES[self.covariance], mixture.means.shape
        scale, shift, log_det = kind.coordinates(mixture.means, mixture.factors)
        offset = (mixture.weights.log() + log_det - 0.5 * d * LOG_2PI)[:, None].to(x.dtype)
        scale, shift = scale.to(x.dtype), shift.to(x.dtype)
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        sums: list[Tensor] = []
        rows = min(self._chunk(k, d, x.device), len(x))
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
        return total.item(), kind.lift(_Moments(*sums), mixture)

    def _maximise(self, moments: _Moments, mixture: _Mixture) -> _Mixture:
        """The M step: the mixture that the moments imply."""
        kind = COVARIANCES[self.covariance]
        mass = moments.mass.clamp_min(torch.finfo(moments.mass.dtype).eps)
        means = moments.first / mass[:, None]
        covariances = kind.central(moments._replace(mass=mass), means)
        return _Mixture(mass / mass.sum(), means, kind.factor(kind.ridge(covariances, self.regularisation)))

    def _restart(self, x: Tensor, mixture: _Mixture, empty: Tensor, generator: torch.Generator) -> _Mixture:
        """Move empty components to random codes, with the covariance and half of the weight of the heaviest one."""
        weights, means, factors = (t.clone() for t in mixture)
        for k in empty.nonzero().flatten().tolist():
            heaviest = int(weights.argmax())
            weights[heaviest] = weights[k] = weights[heaviest] / 2
            means[k] = x[int(torch.randint(len(x), (), generator=generator))].double()
            if not COVARIANCES[self.covariance].shared:
                factors[k] = factors[heaviest]
        return _Mixture(weights / weights.sum(), means, factors)


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
