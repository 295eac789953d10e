"""Gaussian densities of codes: a single normal, and a mixture fitted by expectation maximisation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae.densities import few
from chartae.densities.base import Density, Plain, check_codes
from chartae.densities.em import COVARIANCES, EM, Components, cholesky, rows_at_a_time
from chartae.densities.registry import register
from chartae.distributions import LOG_2PI, Distribution, randn
from chartae.maths.random import generator_for
from chartae.records.choices import one_of

__all__ = ["GaussianMixture", "Normal", "NormalMixture"]

#: candidates for the shrinkage of the correlations of few codes
SHRINKAGES = (0.0, 0.03, 0.1, 0.3, 1.0)
#: components of a mixture by default, and the candidates if codes are few for that
COMPONENTS, CANDIDATES = 10, (1, 2, 3, 5, 10)
#: largest number of iterations for a candidate
QUICK = 30


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
        self.rows = rows or rows_at_a_time(k, d, means.device)

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
        centre = self.mean.to(dtype)  # so that codes far from 0 keep their digits
        means = self.means.double() - centre.double()
        scale, shift, log_det = kind.coordinates(means, self.factors.double())
        offset = (self.weights.double().log() + log_det - 0.5 * d * LOG_2PI)[:, None].to(dtype)
        scale, shift = scale.to(dtype), shift.to(dtype)
        parts = [
            (offset - 0.5 * kind.whiten(part - centre, scale, shift).square().sum(-1)).logsumexp(0)
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
        return rows_at_a_time(components, dimension, device)

    @property
    def covariances(self) -> Tensor:
        """The covariances (K, D, D); variances (K, D) if ``"diag"``, one matrix (D, D) if ``"tied"``."""
        self.require_fit()
        return COVARIANCES[self.covariance].covariances(self.factors)

    def _keep(self, mixture: Components, units: _Units) -> None:
        dtype = units.centre.dtype
        self.weights = mixture.weights.to(dtype)
        self.means = (mixture.means * units.scale + units.centre).to(dtype)
        # row-major, as a saved density is loaded: products of another layout differ in the last bit
        self.factors = (mixture.factors * units.scale).to(dtype).contiguous()

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        tensors = [state.get(prefix + key) for key in ("weights", "means", "factors")]
        if all(isinstance(t, Tensor) for t in tensors):
            weights, means, factors = (t for t in tensors if t is not None)
            k, d = means.shape if means.ndim == 2 else (0, 0)
            shapes = {"full": (k, d, d), "diag": (k, d), "tied": (d, d)}
            if weights.shape != (k,) or not k or not d or factors.shape != shapes[self.covariance]:
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


class _Units(NamedTuple):
    """The units in which a density is fitted: codes are `centre` (D,) + `scale` times the fitted ones."""

    centre: Tensor
    scale: float


def _scaled(z: Tensor, weight: Tensor | None = None) -> tuple[Tensor, _Units, Tensor]:
    """The codes centred and scaled, in single or double precision; the units; and the variance of each dimension (D,).

    The scale is the power of two nearest to the root-mean-square deviation, so that scaling rounds nothing. A constant
    dimension has the mean variance. The weights (N,) of the codes have mean 1; None for equal ones.
    """
    z = z if z.dtype == torch.float64 else z.float()
    if bool((z.amax(0) == z.amin(0)).all()):
        raise ValueError(
            f"all {len(z)} codes are the same point; expected codes that vary. Check whether the encoder collapsed."
        )
    w = z.new_ones(len(z), 1) if weight is None else weight.to(z)[:, None]
    mean = z.mean(0, dtype=torch.float64) if weight is None else (z.double() * w.double()).mean(0)
    centre = mean.to(z.dtype)
    x = z - centre
    largest = x.abs().amax().double()
    variance = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    rows = rows_at_a_time(1, x.shape[1], x.device)
    for part, share in zip(x.split(rows), w.split(rows), strict=True):
        variance += ((part.double() / largest).square() * share).sum(0)
    variance /= len(x)
    exponent = round(math.log2(float(largest * variance.mean().sqrt())))
    scale = 2.0**exponent
    variance *= (largest / scale) ** 2
    constant = z.amax(0) == z.amin(0)
    variance = torch.where(constant, variance.mean(), variance)
    # in two steps, as 1 / scale of very small codes is not a float32
    x = x * 2.0 ** -(exponent // 2) * 2.0 ** -(exponent - exponent // 2)
    return x, _Units(centre, scale), variance


@register
class Normal(_Gaussians):
    """A multivariate normal with full covariance, fitted by maximum likelihood.

    p(z) = N(z; m, S), with m the mean of the codes and S their covariance, normalised by N. Each variance is multiplied
    by 1 + `ridge`, and a constant coordinate gets `ridge` times the mean variance, so that the density also exists for
    codes that lie on a subspace.

    With fewer than 5 (D + 1) codes, the correlations are multiplied by 1 - `shrinkage_`. Of 0, 0.03, 0.1, 0.3 and 1,
    the value is chosen that gives held-out codes the highest likelihood, by cross-validation inside the codes (five
    folds; with fewer than 10 codes it is 1).

    Args:
        ridge: relative amount added to each variance; between 0 and 1; default 1e-8.

    Attributes:
        codes_: number of codes that it was fitted to.
        shrinkage_: by how much correlations are reduced, from 0 (not at all) to 1 (no correlations).

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
    facts = ("codes_", "shrinkage_")
    codes_: int
    shrinkage_: float

    def __init__(self, *, ridge: float = 1e-8) -> None:
        super().__init__()
        if not 0 < ridge < 1:
            raise ValueError(f"ridge is {ridge}; expected a number between 0 and 1. Leave it out for 1e-8.")
        self.ridge = ridge

    def settings(self) -> dict[str, Plain]:
        return {"ridge": self.ridge}

    @property
    def note(self) -> str:
        if not self.fitted().get("shrinkage_") or self.means.shape[1] == 1:
            return ""
        chosen = ", chosen by held-out likelihood," if self.codes_ >= few.LEAST else ""
        return (
            f"correlations of the normal are multiplied by {1 - self.shrinkage_:.2g}{chosen} "
            f"because {self.codes_:,} codes are few for {self.means.shape[1]} dimensions"
        )

    def fit_weighted(self, z: Tensor, weight: Tensor, *, seed: int = 0) -> Normal:
        return self.fit(z, seed=seed, weight=weight)

    @torch.no_grad()
    def fit(self, z: Tensor, *, seed: int = 0, weight: Tensor | None = None) -> Normal:
        """Fit the density to codes (N, D) and return it; `seed` chooses the folds if there are few codes.

        The weights (N,) of the codes have mean 1; None for equal ones.
        """
        x, units, variance = _scaled(check_codes(z, what="normal"), weight)
        w = None if weight is None else weight.to(x)
        few_codes = few.are_few(len(x), 1, x.shape[1])
        self.shrinkage_ = self._shrinkage(x, w, variance, seed) if few_codes else 0.0
        self.codes_ = len(x)
        self._keep(self._fit(x, w, variance, self.shrinkage_), units)
        return self

    def _fit(self, x: Tensor, w: Tensor | None, variance: Tensor, shrinkage: float) -> Components:
        """The normal of codes (N, D), with its correlations multiplied by 1 - `shrinkage`."""
        weights = x.new_ones(len(x), 1).double() if w is None else (w / w.mean()).double()[:, None]
        mean = (x.double() * weights).mean(0)
        covariance = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64, device=x.device)
        rows = rows_at_a_time(1, x.shape[1], x.device)
        for part, share in zip(x.split(rows), weights.split(rows), strict=True):
            centred = part.double() - mean
            covariance.addmm_(centred.mT, centred * share)
        covariance /= len(x)
        uncorrelated = covariance.diagonal().diag()
        covariance = torch.lerp(covariance, uncorrelated, shrinkage) + self.ridge * variance.diag()
        one = torch.ones(1, dtype=torch.float64, device=x.device)
        return Components(one, mean[None], cholesky(covariance)[None])

    def _shrinkage(self, x: Tensor, w: Tensor | None, variance: Tensor, seed: int) -> float:
        """The shrinkage with the highest held-out likelihood; 1 if there are too few codes to hold any out."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
        x, w = x[order], None if w is None else w[order]

        def score(shrinkage: float, fitted: Tensor, held: Tensor) -> Tensor:
            normal = self._fit(x[fitted], None if w is None else w[fitted], variance, shrinkage)
            return NormalMixture(*normal).log_prob(x[held])

        scores = {a: few.held_out(x, partial(score, a), w) for a in SHRINKAGES}
        known = {a: value for a, value in scores.items() if value is not None}
        return max(known, key=known.__getitem__, default=1.0)


def _score(em: EM, k: int, x: Tensor, w: Tensor | None, fitted: Tensor, held: Tensor) -> Tensor:
    """log p of held-out codes by a mixture of the fitted ones, both as masks or slices of codes (N, D)."""
    weights, means, factors = em.fit(x[fitted], k, None if w is None else w[fitted] / w[fitted].mean()).mixture
    shared = COVARIANCES[em.covariance].shared
    return NormalMixture(weights, means, factors.expand(k, -1, -1) if shared else factors).log_prob(x[held])


@register
class GaussianMixture(_Gaussians):
    """A mixture of Gaussians, fitted by expectation maximisation.

    p(z) = sum_k w_k N(z; mean_k, covariance_k), fitted by EM (Dempster, Laird, Rubin, "Maximum Likelihood from
    Incomplete Data via the EM Algorithm", 1977). With ten components and full covariance it is the ex-post density of
    Ghosh et al., "From Variational to Deterministic Autoencoders", 2020 (arXiv:1903.12436).

    With `components` and `covariance` left out, there are 10 components with full covariance if there are at least
    5 x 10 (D + 1) codes. Fewer are few: then the number, one of 1, 2, 3, 5 and 10, and the form of the covariance are
    those that give held-out codes the highest likelihood, by cross-validation inside the codes (five folds; one
    held-out fifth from 500 codes on; with fewer than 10 codes, one component with diagonal covariance). A number that
    is given is kept, with a UserWarning if there are fewer codes than its covariance matrices need.

    From the same `start`, the fit of standardised codes is the same as scikit-learn's. The default initialisation
    differs. It runs k-means++ and Lloyd's algorithm four times on a random part of the codes. From the two solutions
    with the smallest squared distances it makes one pass of stepwise EM over shuffled batches (Cappé, Moulines, "Online
    Expectation-Maximization Algorithm for Latent Data Models", 2009, arXiv:0712.4273) and continues from the likelier
    one. This saves about half of the later iterations and avoids most bad optima. A component whose total
    responsibility falls below 0.1 is restarted at a random code, with the covariance and half of the weight of the
    heaviest component.

    Args:
        components: number of components, >= 1; or several candidates. Of several, the one is used that gives a held-out
            tenth of the codes the highest likelihood (`scores_`); it is then fitted to all codes. None (default) for
            10, or for a number chosen by held-out likelihood if there are few codes.
        covariance: ``"full"``, ``"diag"`` (independent coordinates within a component) or ``"tied"`` (one matrix for
            all components); None (default) for ``"full"``, or for the form chosen together with the number.
        max_iter: maximum number of iterations, >= 1; `fit` warns if it is reached. Default 200.
        tol: EM stops when an iteration changes the mean log-likelihood by less than this, in nats per code; >= 0;
            default 1e-3.
        regularisation: amount added to the diagonal of each covariance, relative to the variance of that coordinate of
            the codes; > 0; default 1e-6.
        restarts: number of independent initialisations, >= 1; the likeliest fit is kept. Default 1.
        chunk: number of codes processed at a time, >= 1; default: as many as fit a CPU's cache, more on a GPU.
        start: initial weights (K,), means (K, D) and covariances, (K, D, D), (K, D) or (D, D) for ``"full"``,
            ``"diag"`` or ``"tied"``; default: the initialisation above.

    Attributes:
        codes_: number of codes that it was fitted to.
        components_: number of components that was fitted.
        covariance_: form of covariance that was fitted.
        n_iter_: number of iterations.
        converged_: whether EM stopped before `max_iter`.
        lower_bound_: mean log-likelihood before the last iteration, in nats per code.
        scores_: held-out log-likelihood of each number of components that was tried, in nats per code; empty if there
            was only one.

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
    facts = ("codes_", "components_", "covariance_", "n_iter_", "converged_", "lower_bound_", "scores_")
    codes_: int
    components_: int
    covariance_: str
    n_iter_: int
    converged_: bool
    lower_bound_: float
    scores_: dict[int, float]

    def __init__(
        self,
        components: int | Sequence[int] | None = None,
        covariance: str | None = None,
        *,
        max_iter: int = 200,
        tol: float = 1e-3,
        regularisation: float = 1e-6,
        restarts: int = 1,
        chunk: int | None = None,
        start: Sequence[Tensor | np.ndarray] | None = None,
    ) -> None:
        super().__init__()
        candidates = [components] if isinstance(components, int) else list(components or ())
        invalid = any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in candidates)
        if invalid or (components is not None and not candidates):
            raise ValueError(
                f"components is {components!r}; expected an integer >= 1, or several of them. Leave it out for 10, or "
                "fewer where codes are few."
            )
        if covariance is not None and covariance not in COVARIANCES:
            raise ValueError(f"covariance is {covariance!r}; {one_of(covariance, COVARIANCES)}")
        for key, count in (("max_iter", max_iter), ("restarts", restarts), ("chunk", 1 if chunk is None else chunk)):
            if count < 1:
                raise ValueError(f"{key} is {count}; expected a number >= 1. Leave it out for the default.")
        if not tol >= 0:
            raise ValueError(f"tol is {tol}; expected a number >= 0, in nats per code. Leave it out for 1e-3.")
        if not 0 < regularisation < math.inf:
            raise ValueError(
                f"regularisation is {regularisation}; expected a number > 0, relative to the variance of the codes. "
                "Leave it out for 1e-6."
            )
        if start is not None and candidates != [len(start[0])]:
            raise ValueError(
                f"start has {len(start[0])} components; expected {components!r}, the value of components. Make the two "
                "agree."
            )
        self.candidates, self.form = tuple(candidates), covariance
        self.covariance = covariance or "full"  # how the factors are stored; a form that is chosen is stored as full
        self.max_iter, self.tol, self.regularisation = max_iter, tol, regularisation
        self.restarts, self.chunk, self.start = restarts, chunk, start

    def settings(self) -> dict[str, Plain]:
        """The arguments of the constructor, without `start`, which has no effect after the fit."""
        components = self.components
        values = {key: getattr(self, key) for key in ("max_iter", "tol", "regularisation", "restarts", "chunk")}
        listed = list(components) if isinstance(components, tuple) else components
        return {"components": listed, "covariance": self.form} | values

    @property
    def components(self) -> int | tuple[int, ...] | None:
        """The number of components, or the candidates, as they were given; None if they were left out."""
        return self.candidates if len(self.candidates) > 1 else next(iter(self.candidates), None)

    def extra_repr(self) -> str:
        return f"{self.components}, {self.covariance!r}" if self.candidates else ""

    @property
    def least(self) -> int:
        """The smallest number of codes: one for each component, plus the held-out tenth if there are candidates."""
        most = max(self.candidates, default=1)
        return max(2, most + (most - 1) // 9 if len(self.candidates) > 1 else most)

    @property
    def note(self) -> str:
        d = self.means.shape[1] if self.is_fitted else 0
        if self.candidates or not d or not few.are_few(self.codes_, COMPONENTS, d):
            return ""
        score = max(self.scores_.values(), default=None)
        how = "" if score is None else f"chosen by held-out likelihood ({score:.2f} nats per code), "
        return (
            f"{self.components_} component{'s' if self.components_ > 1 else ''} with {self.covariance_} covariance, "
            f"{how}because {self.codes_:,} codes are fewer than the {few.enough(COMPONENTS, d):,} "
            f"that {COMPONENTS} full components need in {d} dimensions"
        )

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
        candidates = self.candidates or (1,)
        several = len(candidates) > 1
        n = len(z) - len(z) // 10 if several else len(z)
        if n < max(candidates):
            held_out = f" ({len(z) - n} more are held out)" if several else ""
            raise ValueError(
                f"components is {max(candidates)} for {n} codes{held_out}; expected at most one component for each "
                "code. Use fewer components, or encode more examples."
            )
        x, units, variance = _scaled(z, weight)
        generator = torch.Generator().manual_seed(seed)
        # shuffled, because the codes may be sorted and the warm-up uses only the first rows
        order = torch.randperm(len(x), generator=generator).to(x.device)
        x, w = x[order], None if weight is None else weight.to(x)[order]
        em = EM(
            self.covariance, self.regularisation * variance, self.max_iter, self.tol, self.chunk, seed, self.restarts,
            start=self._from_start(x, units),
        )  # fmt: skip
        self.codes_, shift = len(x), x.shape[1] * math.log(units.scale)
        self.components_, self.covariance_, scores = self._chosen(x, w, n, em)
        self.scores_ = {k: score - shift for k, score in scores.items()}
        mixture, bound, self.n_iter_, self.converged_ = replace(em, covariance=self.covariance_).fit(
            x, self.components_, w
        )
        self.lower_bound_ = bound - shift
        self._keep(self._stored(mixture), units)
        self._warn(x.shape[1])
        return self

    def _chosen(self, x: Tensor, w: Tensor | None, n: int, em: EM) -> tuple[int, str, dict[int, float]]:
        """The number of components and the form of covariance, and the held-out likelihood of each number tried."""
        if len(self.candidates) == 1:
            return self.candidates[0], self.covariance, {}
        if self.candidates:
            fitted = torch.arange(len(x), device=x.device) < n
            share = torch.ones_like(x[n:, 0]) if w is None else w[n:] / w[n:].mean()
            likelihoods = {k: _score(em, k, x, w, fitted, ~fitted) for k in self.candidates}
            scores = {k: (value * share).mean(dtype=torch.float64).item() for k, value in likelihoods.items()}
            return max(scores, key=scores.__getitem__), self.covariance, scores
        if not few.are_few(len(x), COMPONENTS, x.shape[1]):
            return COMPONENTS, self.covariance, {}
        best: dict[int, tuple[float, str]] = {}
        for form in [self.form] if self.form else ["full", "diag", "tied"]:
            quick, highest = replace(em, covariance=form, max_iter=QUICK, restarts=1, starts=1), -math.inf
            for k in CANDIDATES:
                if 2 * k > len(x) or (k == 1 and form == "tied" and not self.form):
                    continue  # with one component, tied is full
                score = few.held_out(x, partial(_score, quick, k, x, w), w)
                if score is None:
                    return 1, self.form or "diag", {}
                best[k] = max(best.get(k, (-math.inf, "")), (score, form))
                if score <= highest:
                    break
                highest = score
        number = max(best, key=lambda k: best[k][0])
        return number, best[number][1], {k: score for k, (score, _) in sorted(best.items())}

    def _stored(self, mixture: Components) -> Components:
        """The mixture with its factors in the form that is stored."""
        if self.covariance_ == self.covariance:
            return mixture
        factors = mixture.factors.diag_embed() if self.covariance_ == "diag" else mixture.factors
        return mixture._replace(factors=factors.expand(len(mixture.weights), -1, -1).contiguous())

    def _warn(self, dimensions: int) -> None:
        """Warn if EM has not converged, or if there are too few codes for a number of components that was given."""
        if not self.converged_:
            warnings.warn(
                f"max_iter is {self.max_iter}; EM has not converged and still gains more than {self.tol:g} nats per "
                "code. Increase max_iter or tol, or use fewer components.",
                stacklevel=3,
            )
        k = self.components_
        needed = {"full": k * (dimensions + 1), "diag": 2 * k, "tied": k + dimensions}[self.covariance_]
        if len(self.candidates) == 1 and self.codes_ < needed:
            warnings.warn(
                f"components is {k} for {self.codes_} codes; expected at least {needed} codes for that many components "
                f"with {self.covariance_} covariance in {dimensions} dimensions, so log-densities of new codes will be "
                "far too low. Leave components out to have the number chosen by held-out likelihood.",
                stacklevel=3,
            )

    def _chunk(self, components: int, dimension: int, device: torch.device) -> int:
        return self.chunk or rows_at_a_time(components, dimension, device)

    def _from_start(self, x: Tensor, units: _Units) -> Components | None:
        """The mixture that the user gives as `start`, in the units of the fit; None if there is none."""
        if self.start is None:
            return None
        weights, means, covariances = (torch.as_tensor(t, dtype=torch.float64, device=x.device) for t in self.start)
        k, d = len(weights), x.shape[1]
        shapes = {"full": (k, d, d), "diag": (k, d), "tied": (d, d)}
        if means.shape != (k, d) or covariances.shape != shapes[self.covariance]:
            raise ValueError(
                f"start has means {tuple(means.shape)} and covariances {tuple(covariances.shape)}; expected {(k, d)} "
                f"and {shapes[self.covariance]} for {k} components with {self.covariance} covariance in {d} "
                "dimensions. Reshape them."
            )
        factors = COVARIANCES[self.covariance].factor(covariances / units.scale**2)
        return Components(weights / weights.sum(), (means - units.centre) / units.scale, factors)
