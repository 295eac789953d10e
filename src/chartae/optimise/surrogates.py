"""Gaussian processes over codes: an exact one for few codes, and a sparse variational one for many.

Both return a `Surrogate`, a posterior in closed form that acquisition functions evaluate.
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
from chartae.records.choices import one_of
from chartae.records.search import KINDS, Fit, check_fit

if TYPE_CHECKING:
    from gpytorch.distributions import MultivariateNormal
    from gpytorch.kernels import Kernel

__all__ = ["KINDS", "Fit", "Surrogate", "SurrogateMetrics", "evaluate_surrogate", "fit_surrogate"]

#: largest number of codes for which ``auto`` is the exact process
EXACT = 2000
#: ridge on the diagonal of a matrix over inducing points, relative to the kernel's scale (the paper uses 1e-3)
JITTER = 1e-5
#: number of rows processed at a time, to keep matrices (points, inducing points) small
SLICE = 5000


def require_botorch() -> None:
    """Raise ImportError, naming the extra to install, if BoTorch is missing."""
    try:
        import botorch  # noqa: F401
    except ImportError as e:
        raise ImportError("BoTorch is missing; optimisation needs it. Run pip install 'chartae[optimise]'.") from e


@contextmanager
def quietly(seed: int) -> Iterator[None]:
    """Silence BoTorch's numerical warnings, which it handles itself, and seed the global generator for the block.

    The state of the generator is restored afterwards.
    """
    require_botorch()
    from botorch.exceptions.warnings import BotorchWarning
    from gpytorch.utils.warnings import GPInputWarning
    from linear_operator.utils.warnings import NumericalWarning

    silenced = (BotorchWarning, NumericalWarning, GPInputWarning)
    # recorded, not only filtered, because BoTorch sets its own filters before it warns
    with warnings.catch_warnings(record=True) as caught, Stream(seed).lent():
        for category in silenced:
            warnings.simplefilter("ignore", category)
        yield
    for w in caught:
        if not issubclass(w.category, silenced):
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


@dataclass(frozen=True)
class Process:
    """The fitted hyperparameters of a Gaussian process over normalised codes and standardised scores.

    Attributes:
        kernel: GPyTorch kernel.
        constant: mean of the prior.
        noise: variance of the observation noise.
        points: support points (M, D): all codes of an exact process, or the inducing points of a sparse one.
    """

    kernel: Kernel
    constant: float
    noise: float
    points: Tensor


class Surrogate:
    """The posterior of a Gaussian process from codes to scores; `fit_surrogate` makes it.

    Let z be normalised to the box, k the kernel, Z the M support points (all codes, or inducing points), m the constant
    mean, and K = k(Z, Z) + e I = L L'. Then::

        mean(z) = m + v(z)' b
        cov(z, z') = k(z, z') - v(z)' v(z') + w(z)' w(z')
        v(z) = L^-1 k(Z, z)

    For the exact process, e is the noise variance s^2 and w = 0. For the sparse one, e is a small ridge, w = R^-1 v and
    R R' = I + s^-2 L^-1 k(Z, X) k(X, Z) L^-T, which is the optimal q(u) in closed form (Titsias, "Variational learning
    of inducing variables in sparse Gaussian processes", 2009) for hyperparameters fitted on minibatches.

    Args:
        kind: ``"exact"`` or ``"sparse"``.
        process: fitted hyperparameters: kernel, constant mean, noise variance and support points.
        x: codes (N, D), normalised to the box.
        y: standardised scores (N,).
        box: lower and upper edge (D,) of the box that is normalised to [0, 1], in units of the codes.
        scale: mean and standard deviation of the scores.

    Attributes:
        lower, upper: edges (D,) of the box.
        lengthscales: lengthscales (D,) of the kernel, in units of the box.
        noise: standard deviation of the observation noise, in units of the scores.
        n: number of codes that the process was fitted to.

    >>> import torch
    >>> from chartae.optimise import fit_surrogate
    >>> z = torch.linspace(0, 1, 20)[:, None]
    >>> surrogate = fit_surrogate(z, z[:, 0] ** 2, iterations=20)
    >>> surrogate.kind, surrogate.n, surrogate.lengthscales.shape
    ('exact', 20, torch.Size([1]))
    >>> mean, sd = surrogate.predict(torch.tensor([[0.5], [3.0]]))
    >>> bool(sd[0] < sd[1])
    True
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
        """Codes in units of the box, where the box is [0, 1]."""
        return (z.to(self.lower) - self.lower) / (self.upper - self.lower)

    def restore(self, z: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Normalised codes in their original units."""
        return self.lower + z * (self.upper - self.lower)

    def _k(self, a: Tensor, b: Tensor) -> Tensor:
        return self.kernel(a, b).to_dense()

    def _v(self, x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.root, self._k(self.points, x), upper=False)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """v(x) and w(x), each (M, N)."""
        v = self._v(x)
        w = v[:0] if self.inner is None else torch.linalg.solve_triangular(self.inner, v, upper=False)
        return v, w

    def mean(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Posterior mean (N,) at normalised codes, in units of the standardised scores."""
        return self.constant + self._v(x).T @ self.weights

    def moments(self, x: Float[Tensor, "N D"], believed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean (N,) and variance (N,) at normalised codes, in units of the standardised scores.

        The process is conditioned on its own means at the `believed` codes, which leaves the mean and reduces the
        variance.
        """
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
        """Mean (N,) and a root (N, N) of the covariance at normalised codes, in units of the standardised scores."""
        v, w = self._parts(x)
        covariance = self._k(x, x) - v.T @ v + w.T @ w
        # nearby codes make it singular; adding a ridge at once saves failed attempts
        covariance.diagonal().add_(1e-6 * float(covariance.diagonal().mean()))
        return self.constant + v.T @ self.weights, _cholesky(covariance)

    @torch.no_grad()
    def predict(self, z: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Mean (N,) and standard deviation (N,) of an observed score at codes, including the noise."""
        parts = [self.moments(rows) for rows in self.normalise(z).split(SLICE)]
        mean, variance = (torch.cat(p) for p in zip(*parts, strict=True))
        return self.shift + self.unit * mean, self.unit * (variance + self.variance).sqrt()


def _cholesky(matrix: Tensor) -> Tensor:
    """L with L L' = matrix; if rounding has made it indefinite, the smallest ridge that helps is added."""
    scale = float(matrix.diagonal().abs().mean())
    eye = torch.eye(len(matrix), dtype=matrix.dtype)
    for ridge in (0.0, *(10.0**power for power in range(-12, 0))):
        factor, info = torch.linalg.cholesky_ex(matrix + ridge * scale * eye if ridge else matrix)
        if not info.any():
            return factor
    raise ArithmeticError(
        "the covariance of the codes is not positive definite; expected codes and scores of moderate size. Standardise "
        "codes and scores."
    )


def check_scores(values: object, n: int) -> Float[Tensor, " N"]:
    """Return `values` as a detached tensor (n,) in double precision on the CPU.

    Raises:
        ValueError: another number of scores than of codes, or scores that are not finite.
    """
    scores = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    if scores.shape != (n,):
        raise ValueError(
            f"scores have shape {tuple(scores.shape)}; expected ({n},), one for each code. Pass a score for each."
        )
    if not scores.isfinite().all():
        bad = ~scores.isfinite()
        raise ValueError(
            f"{int(bad.sum())} of {n} scores are not finite (first: row {int(bad.nonzero()[0])}); expected finite "
            "numbers. Leave out the codes without a score."
        )
    return scores


def resolve(kind: str, n: int) -> str:
    """The kind of surrogate for `n` codes, ``exact`` or ``sparse``."""
    if kind not in KINDS:
        raise ValueError(f"surrogate is {kind!r}; {one_of(kind, KINDS)}")
    return kind if kind != "auto" else "exact" if n <= EXACT else "sparse"


def box_of(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum (D,) of codes, in float64; a constant dimension is widened to length 1."""
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
    """Fit a Gaussian process from codes to scores.

    * ``exact``: BoTorch's SingleTaskGP with an ARD Matérn-5/2 kernel and the prior over lengthscales of Hvarfner,
      Hellsten, Nardi, "Vanilla Bayesian optimization performs great in high dimensions", 2024, arXiv:2402.02229. The
      cost grows as N^3; use it for at most about 2,000 codes.
    * ``sparse``: an ARD RBF kernel with inducing points (Hensman, Fusi, Lawrence, "Gaussian processes for big data",
      2013, arXiv:1309.6835). The hyperparameters are fitted with Adam on minibatches of the evidence lower bound; then
      the optimal q(u) is computed in closed form on all codes. Kusner, Paige, Hernández-Lobato (2017, arXiv:1703.01925)
      use power EP instead.
    * ``auto``: ``exact`` for up to 2,000 codes, else ``sparse``.

    Args:
        codes: codes (N, D), N >= 2.
        scores: finite scores (N,), which are standardised internally.
        kind: ``"auto"`` (default), ``"exact"`` or ``"sparse"``.
        inducing: number of inducing points of the sparse process, >= 1, at most N are used; default 500. They are drawn
            from the codes and then optimised.
        steps: number of Adam steps of the sparse process, >= 1; default 500.
        batch_size: number of codes in a step of the sparse process, >= 1; default 500.
        lr: initial learning rate of the sparse process, > 0, which falls to 0 along a cosine; default 0.03.
        iterations: maximum number of L-BFGS-B iterations for the exact process, >= 1; default 100.
        box: lower and upper edge, each (D,), of the box that is normalised to [0, 1]; default: [min, max] of the codes.
        seed: seed of the inducing points and minibatches; default 0.

    Returns:
        The posterior, which predicts the mean and standard deviation of the score at new codes.

    Raises:
        ValueError: codes or scores of a wrong shape or not finite, an unknown kind, or a setting out of range.
        ArithmeticError: the training of the sparse process diverges, or a covariance is not positive definite.
        ImportError: BoTorch is missing.

    >>> import torch
    >>> from chartae.optimise import fit_surrogate
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
    # if no attempt converges, the hyperparameters of the last one still define a posterior
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

    # single precision is enough on minibatches; the closed form at the end uses double precision
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
        raise ArithmeticError(
            f"lr is {lr}; training of the sparse surrogate diverged, expected a finite loss. Use a smaller lr."
        )
    points = model.variational_strategy.inducing_points.detach().double()
    constant, noise = float(model.mean_module.constant.detach()), float(likelihood.noise.detach())
    return Process(model.covar_module.double(), constant, noise, points)


class SurrogateMetrics(TypedDict):
    """Metrics of a surrogate's predictions, as `evaluate_surrogate` returns them."""

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
    """Evaluate how well a surrogate predicts the scores of held-out codes.

    It is compared with a trivial predictor, a normal with the mean and standard deviation of the training scores.

    Args:
        codes: codes (N, D), N >= 4.
        scores: finite scores (N,).
        kind: ``"auto"`` (default; exact for up to 2,000 training codes), ``"exact"`` or ``"sparse"``. The exact process
            uses at most 2,000 training codes.
        share: fraction of the codes that are held out at random, between 0 and 1; default 0.1.
        seed: seed of the split and of the fit; default 0.
        settings: settings of `fit_surrogate`: inducing, steps, batch_size, lr, iterations.

    Returns:
        ``rmse`` and ``log_likelihood`` (mean over held-out codes, in nats per noisy observation); ``trivial_rmse`` and
        ``trivial_log_likelihood`` of the trivial predictor; ``kind`` of the surrogate; ``train`` and ``test``, numbers
        of codes; ``seconds``, duration of the fit.

    Raises:
        ValueError: codes or scores of a wrong shape or not finite, a setting out of range, or a share that leaves no
            codes for training or testing.
        ImportError: BoTorch is missing.

    >>> import torch
    >>> from chartae.optimise import evaluate_surrogate
    >>> z = torch.linspace(0, 1, 40)[:, None]
    >>> metrics = evaluate_surrogate(z, (6 * z[:, 0]).sin(), iterations=20)
    >>> metrics["kind"], metrics["test"], metrics["rmse"] < 0.1 * metrics["trivial_rmse"]
    ('exact', 4, True)
    """
    codes = check_codes(codes, at_least=4, what="surrogate").to("cpu", torch.float64)
    values = check_scores(scores, len(codes))
    held_out = round(share * len(codes))
    if not 1 <= held_out <= len(codes) - 2:
        raise ValueError(
            f"share is {share}, which holds out {held_out} of {len(codes)} codes; expected at least 1 held out and 2 "
            "left. Change share, or pass more codes."
        )
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    test, train = order[:held_out], order[held_out:]
    kind = resolve(kind, len(train))
    fitted = train[:EXACT] if kind == "exact" else train
    start = time.perf_counter()
    surrogate = fit_surrogate(codes[fitted], values[fitted], kind=kind, seed=seed, **settings)
    seconds = time.perf_counter() - start
    mean, sd = surrogate.predict(codes[test])
    truth, centre, spread = values[test], values[train].mean(), values[train].std().clamp_min(1e-12)
    normal = lambda m, s: float(torch.distributions.Normal(m, s, validate_args=False).log_prob(truth).mean())  # noqa: E731
    return {
        "kind": kind,
        "train": len(fitted),
        "test": held_out,
        "rmse": float((mean - truth).square().mean().sqrt()),
        "log_likelihood": normal(mean, sd),
        "trivial_rmse": float((centre - truth).square().mean().sqrt()),
        "trivial_log_likelihood": normal(centre, spread),
        "seconds": seconds,
    }
