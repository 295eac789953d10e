"""Gaussian processes over codes: an exact one on a few points, a sparse variational one on all of them.

Both end as one `Surrogate`: a posterior in closed form, from which acquisition functions read.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.densities.base import check_codes
from chartae.maths.random import Stream
from chartae.records.search import KINDS, Fit, check_fit

if TYPE_CHECKING:
    from gpytorch.distributions import MultivariateNormal
    from gpytorch.kernels import Kernel

__all__ = ["KINDS", "Fit", "Surrogate", "SurrogateMetrics", "evaluate_surrogate", "fit_surrogate"]

#: points up to which ``auto`` takes the exact process
EXACT = 2000
#: added to the diagonal of a matrix over inducing points, in units of the kernel's scale (the paper's is 1e-3)
JITTER = 1e-5
#: rows at a time, where a matrix (points, inducing points) would be large
SLICE = 5000


def require_botorch() -> None:
    """Raise an ImportError that names the extra if BoTorch is missing."""
    try:
        import botorch  # noqa: F401
    except ImportError as e:
        raise ImportError("optimisation needs BoTorch: pip install 'chartae[optimise]'") from e


@contextmanager
def quietly(seed: int) -> Iterator[None]:
    """Silence BoTorch's notes on numerics, all of which it answers itself; the global generator is seeded, and left
    as it was."""
    require_botorch()
    from botorch.exceptions.warnings import BotorchWarning
    from gpytorch.utils.warnings import GPInputWarning
    from linear_operator.utils.warnings import NumericalWarning

    notes = (BotorchWarning, NumericalWarning, GPInputWarning)
    # recorded, not filtered: BoTorch sets filters of its own before it warns
    with warnings.catch_warnings(record=True) as caught, Stream(seed).lent():
        for note in notes:
            warnings.simplefilter("ignore", note)
        yield
    for w in caught:
        if not issubclass(w.category, notes):
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


@dataclass(frozen=True)
class Process:
    """A Gaussian process over normalised codes and standardised scores, as its hyperparameters were fitted.

    Attributes:
        kernel: of GPyTorch.
        constant: the prior's mean.
        noise: variance of an observation.
        points: the support (M, D): all data of an exact process, the inducing points of a sparse one.
    """

    kernel: Kernel
    constant: float
    noise: float
    points: Tensor


class Surrogate:
    """The posterior of a Gaussian process over codes, exact or through inducing points.

    With z normalised to the box, k the kernel, Z the M support points (data or inducing), K = k(Z, Z) + e I = L L':

        mean(z) = m + v(z)' b,     cov(z, z') = k(z, z') - v(z)' v(z') + w(z)' w(z'),     v(z) = L^-1 k(Z, z)

    where w = 0 for the exact process (e = its noise), and w = R^-1 v, R R' = I + s^-2 L^-1 k(Z, X) k(X, Z) L^-T for the
    sparse one: the best q(u) in closed form (Titsias, "Variational learning of inducing variables in sparse Gaussian
    processes", 2009) at the hyperparameters that were found on minibatches.

    Attributes:
        kind: ``"exact"`` or ``"sparse"``.
        lower, upper: the box (D,) that is normalised to [0, 1].
        lengthscales: (D,), in units of the box.
        noise: standard deviation of an observation, in units of the scores.
        n: how many points it was fitted to.
    """

    def __init__(
        self, kind: str, process: Process, x: Tensor, y: Tensor, *, box: tuple[Tensor, Tensor],
        scale: tuple[float, float],
    ) -> None:  # fmt: skip
        self.kind, self.n = kind, len(x)
        self.lower, self.upper = box
        self.shift, self.unit = scale
        self.kernel, self.constant, self.variance = process.kernel, process.constant, process.noise
        constant, noise, points = process.constant, process.noise, process.points
        self.points = points
        eye = torch.eye(len(points), dtype=points.dtype)
        gram = self._k(points, points)
        if kind == "exact":
            self.root = _cholesky(gram + noise * eye)
            self.inner: Tensor | None = None
            self.weights = torch.linalg.solve_triangular(self.root, (y - constant)[:, None], upper=False)[:, 0]
        else:
            self.root = _cholesky(gram + JITTER * float(gram.diagonal().mean()) * eye)
            inner, target = noise * eye, torch.zeros(len(points), dtype=points.dtype)
            for rows, values in zip(x.split(SLICE), y.split(SLICE), strict=True):
                v = self._v(rows)
                inner = inner + v @ v.T
                target = target + v @ (values - constant)
            self.inner = _cholesky(inner / noise)
            self.weights = torch.cholesky_solve(target[:, None] / noise, self.inner)[:, 0]

    @property
    def lengthscales(self) -> Tensor:
        base = getattr(self.kernel, "base_kernel", self.kernel)
        return base.lengthscale.detach().reshape(-1)

    @property
    def noise(self) -> float:
        return self.unit * math.sqrt(self.variance)

    def normalise(self, z: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        return (z.to(self.lower) - self.lower) / (self.upper - self.lower)

    def restore(self, z: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        return self.lower + z * (self.upper - self.lower)

    def _k(self, a: Tensor, b: Tensor) -> Tensor:
        return self.kernel(a, b).to_dense()

    def _v(self, x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.root, self._k(self.points, x), upper=False)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """v(x) and w(x), (M, N) each."""
        v = self._v(x)
        w = v[:0] if self.inner is None else torch.linalg.solve_triangular(self.inner, v, upper=False)
        return v, w

    def mean(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Of normalised codes, in standardised scores."""
        return self.constant + self._v(x).T @ self.weights

    def moments(self, x: Float[Tensor, "N D"], believed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean (N,) and variance (N,) at normalised codes, in standardised scores; `believed` codes are held to their
        means: the mean stays, the variance shrinks."""
        v, w = self._parts(x)
        diagonal = self.kernel(x, x, diag=True)
        variance = diagonal - v.square().sum(0) + w.square().sum(0)
        if believed is not None and len(believed):
            gv, gw = self._parts(believed)
            inner = self._k(believed, believed) - gv.T @ gv + gw.T @ gw
            floor = 1e-6 * float(inner.diagonal().mean()) + 1e-9
            root = _cholesky(inner + floor * torch.eye(len(believed), dtype=inner.dtype))
            cross = self._k(believed, x) - gv.T @ v + gw.T @ w
            variance = variance - torch.linalg.solve_triangular(root, cross, upper=False).square().sum(0)
        return self.constant + v.T @ self.weights, variance.clamp_min(1e-10)

    def joint(self, x: Float[Tensor, "N D"]) -> tuple[Tensor, Tensor]:
        """Mean (N,) and a root (N, N) of the covariance at normalised codes, in standardised scores."""
        v, w = self._parts(x)
        covariance = self._k(x, x) - v.T @ v + w.T @ w
        # many near codes make it singular but for rounding; one ridge spares the attempts without
        covariance.diagonal().add_(1e-6 * float(covariance.diagonal().mean()))
        return self.constant + v.T @ self.weights, _cholesky(covariance)

    @torch.no_grad()
    def predict(self, z: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Mean and standard deviation of an observed score at codes, noise included."""
        parts = [self.moments(rows) for rows in self.normalise(z).split(SLICE)]
        mean, variance = (torch.cat(p) for p in zip(*parts, strict=True))
        return self.shift + self.unit * mean, self.unit * (variance + self.variance).sqrt()


def _cholesky(matrix: Tensor) -> Tensor:
    """L with L L' = matrix; where rounding has left it indefinite, with the least ridge that helps."""
    scale = float(matrix.diagonal().abs().mean())
    eye = torch.eye(len(matrix), dtype=matrix.dtype)
    for ridge in (0.0, *(10.0**power for power in range(-12, 0))):
        factor, info = torch.linalg.cholesky_ex(matrix + ridge * scale * eye if ridge else matrix)
        if not info.any():
            return factor
    raise ArithmeticError("a covariance of codes is not positive definite; are codes or scores of absurd size?")


def check_scores(values: object, n: int) -> Float[Tensor, " N"]:
    """`values` as a detached tensor (n,) in double precision, or a ValueError that says what is wrong with it."""
    scores = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    if scores.shape != (n,):
        raise ValueError(f"scores have shape {tuple(scores.shape)}, but there are {n} codes; expected one a code")
    if not scores.isfinite().all():
        bad = ~scores.isfinite()
        raise ValueError(
            f"{int(bad.sum())} of {n} scores are not finite (first: row {int(bad.nonzero()[0])}); leave such codes out"
        )
    return scores


def resolve(kind: str, n: int) -> str:
    """``exact`` or ``sparse``."""
    if kind not in KINDS:
        raise ValueError(f"surrogate is {kind!r}; choose from {', '.join(KINDS)}")
    return kind if kind != "auto" else "exact" if n <= EXACT else "sparse"


def box_of(codes: Tensor) -> tuple[Tensor, Tensor]:
    """[min, max] of codes by dimension, in float64; a dimension without extent gets a little."""
    codes = codes.to("cpu", torch.float64)
    lower, upper = codes.amin(0), codes.amax(0)
    flat = upper - lower < 1e-9
    return torch.where(flat, lower - 0.5, lower), torch.where(flat, upper + 0.5, upper)


def fit_surrogate(
    codes: Float[Tensor, "N D"],
    scores: object,
    *,
    kind: str = "auto",
    inducing: int = 500,
    steps: int = 500,
    batch_size: int = 500,
    lr: float = 0.03,
    iterations: int = 100,
    box: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
) -> Surrogate:
    """A Gaussian process from codes to scores.

    * ``exact``: BoTorch's SingleTaskGP, an ARD Matérn-5/2 kernel whose lengthscales have the prior of Hvarfner,
      Hellsten, Nardi ("Vanilla Bayesian optimization performs great in high dimensions", 2024, arXiv:2402.02229). Its
      cost grows as N^3; give it some 2,000 points at most.
    * ``sparse``: an ARD RBF kernel over inducing points (Hensman, Fusi, Lawrence, "Gaussian processes for big data",
      2013, arXiv:1309.6835): Adam on minibatches of the evidence bound, then the best q(u) in closed form over all
      points. Kusner, Paige, Hernández-Lobato (2017, arXiv:1703.01925) train such a process by power EP instead.
    * ``auto``: exact up to 2,000 points.

    Args:
        codes: (N, D), at least 2.
        scores: (N,), finite; they are standardised inside.
        inducing: how many inducing points (of the sparse one), at most N; drawn from the codes, then moved.
        steps: of Adam (of the sparse one); the learning rate falls from `lr` to 0.
        batch_size: points in a step.
        iterations: of L-BFGS-B over the exact one's hyperparameters.
        box: (lower, upper), each (D,), to be normalised to [0, 1]; by default [min, max] of the codes.
        seed: of inducing points and minibatches.

    Raises:
        ValueError: codes or scores of a wrong shape or not finite, an unknown kind, sizes below 1.
        ImportError: BoTorch is missing.

    >>> z = torch.linspace(0, 1, 30)[:, None]
    >>> mean, sd = fit_surrogate(z, (6 * z[:, 0]).sin()).predict(torch.tensor([[0.25]]))
    >>> bool((mean - 0.9975).abs() < 0.02)
    True
    """
    codes = check_codes(codes, what="surrogate").to("cpu", torch.float64)
    values = check_scores(scores, len(codes))
    kind = resolve(kind, len(codes))
    check_fit({"inducing": inducing, "steps": steps, "batch_size": batch_size, "lr": lr, "iterations": iterations})
    box = box or box_of(codes)
    lower, upper = (edge.to(torch.float64) for edge in box)
    x = (codes - lower) / (upper - lower)
    shift, unit = float(values.mean()), float(values.std())
    unit = unit if unit > 1e-12 * max(1.0, abs(shift)) else 1.0
    y = (values - shift) / unit
    generator = torch.Generator().manual_seed(seed)
    with quietly(seed):
        if kind == "exact":
            process = _exact(x, y, iterations)
        else:
            sizes = min(inducing, len(x)), steps, min(batch_size, len(x))
            process = _sparse(x, y, *sizes, lr, generator)
        process.kernel.requires_grad_(False)
        with torch.no_grad():
            return Surrogate(kind, process, x, y, box=(lower, upper), scale=(shift, unit))


def _exact(x: Tensor, y: Tensor, iterations: int) -> Process:
    from botorch import fit_gpytorch_mll
    from botorch.exceptions import ModelFittingError
    from botorch.models import SingleTaskGP
    from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
    from gpytorch.mlls import ExactMarginalLogLikelihood

    kernel = get_covar_module_with_dim_scaled_prior(ard_num_dims=x.shape[1], use_rbf_kernel=False)
    model = SingleTaskGP(x, y[:, None], covar_module=kernel, outcome_transform=None)
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    # where no attempt ends well, the hyperparameters of the last one still make a posterior
    with suppress(ModelFittingError):
        fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": iterations}})
    return Process(kernel, float(model.mean_module.constant.detach()), float(model.likelihood.noise.detach()), x)


def _sparse(
    x: Tensor, y: Tensor, inducing: int, steps: int, size: int, lr: float, generator: torch.Generator
) -> Process:
    import gpytorch as gp

    start = torch.randperm(len(x), generator=generator)[:inducing]
    pairs = torch.randint(len(x), (2, 2000), generator=generator)
    squared = (x[pairs[0]] - x[pairs[1]]).square().sum(1)
    length = float((squared[squared > 0].median() / 2).sqrt()) if (squared > 0).any() else 1.0

    class Variational(gp.models.ApproximateGP):
        def __init__(self) -> None:
            q = gp.variational.CholeskyVariationalDistribution(inducing)
            super().__init__(
                gp.variational.VariationalStrategy(self, x[start].float(), q, learn_inducing_locations=True)
            )
            self.mean_module = gp.means.ConstantMean()
            self.covar_module = gp.kernels.ScaleKernel(gp.kernels.RBFKernel(ard_num_dims=x.shape[1]))
            self.covar_module.base_kernel.lengthscale = length

        def forward(self, z: Tensor) -> MultivariateNormal:
            return gp.distributions.MultivariateNormal(self.mean_module(z), self.covar_module(z))

    # single precision is enough for steps on minibatches; the closed form at the end is in double
    model, likelihood = Variational().float(), gp.likelihoods.GaussianLikelihood().float()
    likelihood.noise = 0.5
    bound = gp.mlls.VariationalELBO(likelihood, model, num_data=len(x))
    optimiser = torch.optim.Adam([*model.parameters(), *likelihood.parameters()], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    x32, y32 = x.float(), y.float()
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(x), (size,), generator=generator)
        optimiser.zero_grad()
        loss = -bound(model(x32[rows]), y32[rows])
        loss.backward()
        optimiser.step()
        schedule.step()
    if not loss.isfinite():
        raise ArithmeticError("the sparse surrogate's training diverged; try a smaller lr")
    points = model.variational_strategy.inducing_points.detach().double()
    constant, noise = float(model.mean_module.constant.detach()), float(likelihood.noise.detach())
    return Process(model.covar_module.double(), constant, noise, points)


class SurrogateMetrics(TypedDict):
    """How well a surrogate predicts, as `evaluate_surrogate` gives it."""

    kind: str
    train: int
    test: int
    rmse: float
    log_likelihood: float
    trivial_rmse: float
    trivial_log_likelihood: float
    seconds: float


def evaluate_surrogate(
    codes: Float[Tensor, "N D"],
    scores: object,
    *,
    kind: str = "auto",
    share: float = 0.1,
    seed: int = 0,
    **settings: Unpack[Fit],
) -> SurrogateMetrics:
    """How well a surrogate predicts scores of codes that it has not seen, beside the trivial predictor: a normal with
    the mean and standard deviation of the training scores.

    Args:
        codes: (N, D).
        scores: (N,).
        kind: as in `fit_surrogate`; the exact one sees at most 2,000 of the training codes.
        share: of the codes, held out at random.
        seed: of the split and the fit.
        settings: of `fit_surrogate`: inducing, steps, batch_size, lr, iterations.

    Returns:
        ``rmse`` and ``log_likelihood`` (mean, in nats a point, of a noisy observation), ``trivial_rmse`` and
        ``trivial_log_likelihood``, ``kind``, ``train`` and ``test`` (how many), ``seconds`` of the fit.

    Raises:
        ValueError: as `fit_surrogate`; a share that leaves either part without points.
    """
    codes = check_codes(codes, at_least=4, what="surrogate").to("cpu", torch.float64)
    values = check_scores(scores, len(codes))
    hidden = round(share * len(codes))
    if not 1 <= hidden <= len(codes) - 2:
        raise ValueError(f"share {share} of {len(codes)} codes holds {hidden} out; expected at least 1, and 2 left")
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    test, train = order[:hidden], order[hidden:]
    kind = resolve(kind, len(train))
    learnt = train[:EXACT] if kind == "exact" else train
    start = time.perf_counter()
    surrogate = fit_surrogate(codes[learnt], values[learnt], kind=kind, seed=seed, **settings)
    seconds = time.perf_counter() - start
    mean, sd = surrogate.predict(codes[test])
    truth, centre, spread = values[test], values[train].mean(), values[train].std().clamp_min(1e-12)
    normal = lambda m, s: float(torch.distributions.Normal(m, s, validate_args=False).log_prob(truth).mean())  # noqa: E731
    return {
        "kind": kind,
        "train": len(learnt),
        "test": hidden,
        "rmse": float((mean - truth).square().mean().sqrt()),
        "log_likelihood": normal(mean, sd),
        "trivial_rmse": float((centre - truth).square().mean().sqrt()),
        "trivial_log_likelihood": normal(centre, spread),
        "seconds": seconds,
    }
