"""Toy distributions with known density, score and Hessian, as ground truth for tests and benchmarks.

world = mixture([[-2.0], [0.5], [2.0]], sds=[0.5, 0.4, 0.7], weights=[0.3, 0.4, 0.3])
x = world.sample(1000, seed=0)
world.log_prob(x), world.score(x), world.hessian(x), world.smoothed(0.1).score(x)

Distributions with known factors, such as `moebius`, are re-exported from `chartae.data.mixings`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from chartae.data.mixings import (
    after,
    conformal,
    moebius,
    orthogonal,
    polar,
    triangular,
    two_dimensional,
    unit_determinant,
)
from chartae.data.mixings import linear as linear_mixing
from chartae.data.mixings import mlp as mlp_mixing

__all__ = [
    "WORLDS",
    "Curve",
    "Energy",
    "Mixture",
    "World",
    "after",
    "conformal",
    "gaussian",
    "grid",
    "linear_mixing",
    "manifold",
    "mixture",
    "mixture_1d",
    "mixture_2d",
    "mlp_mixing",
    "moebius",
    "ninja_star",
    "orthogonal",
    "polar",
    "ring",
    "sextic",
    "spiral",
    "triangular",
    "two_bumps",
    "two_dimensional",
    "unit_determinant",
]

LOG_2PI = math.log(2 * math.pi)
#: number of (point, component) pairs that are evaluated at once
PAIRS = 1 << 22


class World(ABC):
    """A distribution with known density, score and Hessian.

    Points are (B, d). Results have the dtype of the points; samples have torch's default dtype.
    """

    dim: int

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draw `n` points (n, d) in float64."""

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """Normalised log density of points (B, d), in nats."""

    @abstractmethod
    def smoothed(self, sigma: float) -> World:
        """Distribution of a point plus noise N(0, sigma^2 I): ``p_sigma = p * N(0, sigma^2 I)``.

        Args:
            sigma: noise standard deviation, in the units of the points; > 0.
        """

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n d"]:
        """Draw `n` independent points (n, d); the same seed gives the same points.

        Raises:
            ValueError: `n` is below 1.
        """
        if n < 1:
            raise ValueError(f"n is {n}; expected at least 1.")
        return self.draw(n, torch.Generator().manual_seed(seed)).to(torch.get_default_dtype())

    def score(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
        """Score, the gradient of log p, at points (B, d)."""
        return torch.func.vmap(torch.func.grad(self._log_prob_of_point))(x)

    def hessian(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d d"]:
        """Hessian of log p, (B, d, d), at points (B, d)."""
        return torch.func.vmap(torch.func.hessian(self._log_prob_of_point))(x)

    def _log_prob_of_point(self, x: Tensor) -> Tensor:
        return self.log_prob(x[None])[0]

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected points (B, {self.dim}).")


def _positive(sigma: float) -> float:
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}; expected a finite noise level above 0.")
    return float(sigma)


class Mixture(World):
    """Mixture of normals, ``p(x) = sum_k w_k N(x; m_k, C_k)``, with everything in closed form.

    A smoothed mixture is a mixture again. `mixture` builds one from means and standard deviations or covariances, and
    checks them.

    Args:
        means: (K, d) means.
        variances: (K,) variances of isotropic components; with `axes`, (K, d) variances along the axes.
        weights: (K,) weights, > 0; they are divided by their sum.
        axes: (K, d, d) matrices with orthonormal columns, ``C_k = Q_k diag(v_k) Q_k^T``; None (default) for isotropic
            components.
    """

    def __init__(self, means: Tensor, variances: Tensor, weights: Tensor, axes: Tensor | None = None) -> None:
        self.means, self.variances, self.axes = means.double(), variances.double(), axes
        self.weights = weights.double() / weights.double().sum()
        self.dim = means.shape[1]
        self._cast: dict[torch.dtype, tuple[Tensor, ...]] = {}

    def _parts(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Means, variances, constants of the log densities and axes, in the dtype of the points."""
        if dtype not in self._cast:
            v = self.variances if self.axes is not None else self.variances[:, None].expand(-1, self.dim)
            constant = self.weights.log() - 0.5 * (v.log().sum(1) + self.dim * LOG_2PI)
            axes = torch.eye(self.dim)[None] if self.axes is None else self.axes
            self._cast[dtype] = tuple(t.to(dtype) for t in (self.means, self.variances, constant, axes))
        return self._cast[dtype]

    def _in_chunks(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        self._check(x)
        return torch.cat([function(chunk) for chunk in x.split(max(1, PAIRS // len(self.means)))])

    def _joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log w_k N(x; m_k, C_k) (B, K), and the scores C_k^-1 (m_k - x) of the components (B, K, d)."""
        means, variances, constant, axes = self._parts(x.dtype)
        delta = means - x[:, None]
        if self.axes is None:
            return constant - 0.5 * delta.square().sum(2) / variances, delta / variances[:, None]
        along = torch.einsum("kij,bki->bkj", axes, delta)
        scores = torch.einsum("kij,bkj->bki", axes, along / variances)
        return constant - 0.5 * (along.square() / variances).sum(2), scores

    def log_prob(self, x: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        return self._in_chunks(lambda a: self._joint(a)[0].logsumexp(1), x)

    def score(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
        def score_of(chunk: Tensor) -> Tensor:
            joint, scores = self._joint(chunk)
            return torch.einsum("bk,bki->bi", joint.softmax(1), scores)

        return self._in_chunks(score_of, x)

    def hessian(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d d"]:
        def hessian_of(chunk: Tensor) -> Tensor:
            joint, scores = self._joint(chunk)
            r = joint.softmax(1)
            _, variances, _, axes = self._parts(chunk.dtype)
            if self.axes is None:
                precision = (r @ (1 / variances))[:, None, None] * axes
            else:
                precision = torch.einsum("bk,kij->bij", r, axes / variances[:, None] @ axes.mT)
            score = torch.einsum("bk,bki->bi", r, scores)
            # centring the scores first avoids cancellation
            spread = scores - score[:, None]
            return torch.einsum("bk,bki,bkj->bij", r, spread, spread) - precision

        return self._in_chunks(hessian_of, x)

    def smoothed(self, sigma: float) -> Mixture:
        return Mixture(self.means, self.variances + _positive(sigma) ** 2, self.weights, self.axes)

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        e = torch.randn(n, self.dim, generator=generator, dtype=torch.float64)
        if self.axes is None:
            return self.means[k] + self.variances[k].sqrt()[:, None] * e
        return self.means[k] + torch.einsum("nij,nj->ni", self.axes[k], self.variances[k].sqrt() * e)

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Mean (d,) of the mixture."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Covariance (d, d) of the mixture."""
        delta = self.means - self.mean
        within = (
            (self.weights @ self.variances) * torch.eye(self.dim, dtype=torch.float64)
            if self.axes is None
            else torch.einsum("k,kij->ij", self.weights, self.axes * self.variances[:, None] @ self.axes.mT)
        )
        return within + torch.einsum("k,ki,kj->ij", self.weights, delta, delta)

    def __repr__(self) -> str:
        return f"Mixture({len(self.means)} components in {self.dim} dimensions)"


class Energy(World):
    """Density ``exp(-E(x)) / Z``, normalised over a box, outside of which it is negligible.

    Args:
        energy: differentiable function of points (B, d) that returns (B,).
        side: half the side of the box [-side, side]^d, in the units of the points.
        dim: d, 1 or 2.
    """

    def __init__(self, energy: Callable[[Tensor], Tensor], side: float, dim: int) -> None:
        assert dim in (1, 2)
        self.energy, self.side, self.dim = energy, side, dim
        _, mass = self._nodes(4001 if dim == 1 else 1601)
        self.log_z = math.log(float(mass.sum()))

    def _nodes(self, n: int) -> tuple[Tensor, Tensor]:
        """Points of a grid, and exp(-E) times the volume of a cell."""
        line = torch.linspace(-self.side, self.side, n, dtype=torch.float64)
        x = torch.cartesian_prod(*[line] * self.dim).reshape(-1, self.dim)
        return x, (-self.energy(x)).exp() * (line[1] - line[0]) ** self.dim

    def log_prob(self, x: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        self._check(x)
        return -self.energy(x) - self.log_z

    def smoothed(self, sigma: float) -> Mixture:
        # with a grid spacing of sigma the sum is exact to 1e-8, with half of that to rounding errors
        n = max(2001 if self.dim == 1 else 201, math.ceil(2 * self.side / _positive(sigma) * (3 - self.dim)) + 1)
        x, mass = self._nodes(n)
        kept = mass > 1e-14 * mass.max()
        return Mixture(x[kept], torch.full((int(kept.sum()),), sigma**2), mass[kept])

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draw by rejection from the cells of a grid, bounded by 1.5 times the largest density of their corners."""
        m = 2001 if self.dim == 1 else 401
        x, _ = self._nodes(m)
        e = self.energy(x).reshape([m] * self.dim)
        low = -torch.nn.functional.max_pool2d(-e.reshape(1, 1, m, -1), (2, min(2, e.reshape(m, -1).shape[1])), 1)[0, 0]
        low = low.flatten() - math.log(1.5)
        h = 2 * self.side / (m - 1)
        corner = torch.cartesian_prod(*[torch.arange(m - 1)] * self.dim).reshape(-1, self.dim)
        kept = -low > -low.min() - 40
        corner, low = corner[kept], low[kept]
        drawn = torch.empty(0, self.dim, dtype=torch.float64)
        while len(drawn) < n:
            k = torch.multinomial((low.min() - low).exp(), 4 * n, replacement=True, generator=generator)
            u = torch.rand(4 * n, self.dim + 1, generator=generator, dtype=torch.float64)
            proposals = (corner[k] + u[:, :-1]) * h - self.side
            drawn = torch.cat([drawn, proposals[u[:, -1].log() < low[k] - self.energy(proposals)]])
        return drawn[:n]


class Curve(World):
    """Points c(t) on a curve, t uniform on an interval, plus noise N(0, noise^2 I); without noise, no density exists.

    Args:
        curve: function of t (n,) that returns points (n, 2).
        ends: the interval of t.
        noise: noise standard deviation, in the units of the points; >= 0; default 0.

    Raises:
        ValueError: `noise` is negative or not finite.
    """

    def __init__(self, curve: Callable[[Tensor], Tensor], ends: tuple[float, float], noise: float = 0.0) -> None:
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise is {noise}; expected a finite standard deviation of at least 0.")
        self.curve, self.ends, self.noise = curve, ends, float(noise)
        self.dim = curve(torch.zeros(1, dtype=torch.float64)).shape[1]

    def _t(self, n: int) -> Tensor:
        # mid-points
        return self.ends[0] + (torch.arange(n, dtype=torch.float64) + 0.5) / n * (self.ends[1] - self.ends[0])

    def smoothed(self, sigma: float) -> Mixture:
        total = math.hypot(self.noise, _positive(sigma))
        length = float(self.curve(self._t(1000)).diff(dim=0).norm(dim=1).max()) * 1000
        x = self.curve(self._t(max(200, math.ceil(2 * length / total))))
        return Mixture(x, torch.full((len(x),), total**2), torch.ones(len(x)))

    def _density(self) -> World:
        if not self.noise:
            raise ValueError("noise is 0, so that the curve has no density; expected noise > 0. Use .smoothed(sigma).")
        return Curve(self.curve, self.ends).smoothed(self.noise)

    def log_prob(self, x: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        return self._density().log_prob(x)

    def score(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
        return self._density().score(x)

    def hessian(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d d"]:
        return self._density().hessian(x)

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        x = self.curve(self.ends[0] + u * (self.ends[1] - self.ends[0]))
        return x + self.noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)

    def distance(self, x: Float[Tensor, "B d"], nodes: int = 10_000) -> Float[Tensor, " B"]:
        """Distance (B,) of points (B, d) from the curve, taken as the nearest of `nodes` points along it."""
        line = self.curve(self._t(nodes))
        distances = [torch.cdist(chunk, line).min(1).values for chunk in x.double().split(PAIRS // nodes)]
        return torch.cat(distances).to(x.dtype)


# -- the distributions ------------------------------------------------------------------------------------------------


def mixture(
    means: ArrayLike, sds: ArrayLike = 1.0, weights: ArrayLike | None = None, *, covariances: ArrayLike | None = None
) -> Mixture:
    """Mixture of normals in any dimension, ``sum_k w_k N(m_k, C_k)``.

    Args:
        means: (K, d) means of the components.
        sds: standard deviations of isotropic components, > 0: one number for all, or K; default 1.
        weights: K weights, > 0, which are divided by their sum; equal by default.
        covariances: (K, d, d) covariances of the components, instead of `sds`.

    Returns:
        The mixture.

    Raises:
        ValueError: shapes do not agree, a standard deviation or weight is not positive, or a covariance is not
            symmetric and positive definite.

    >>> import torch
    >>> from chartae.data import toys
    >>> world = toys.mixture([[-2.0], [0.5], [2.0]], sds=[0.5, 0.4, 0.7], weights=[0.3, 0.4, 0.3])
    >>> round(world.score(torch.zeros(1, 1, dtype=torch.float64)).item(), 4)
    3.1351
    """
    means = torch.as_tensor(means, dtype=torch.float64)
    if means.ndim != 2 or not means.numel() or not means.isfinite().all():
        raise ValueError(f"means has shape {tuple(means.shape)}; expected finite numbers (K, d), a row per component.")
    k, d = means.shape
    w = torch.ones(k) if weights is None else torch.as_tensor(weights, dtype=torch.float64)
    if w.shape != (k,) or not (w > 0).all() or not w.isfinite().all():
        raise ValueError(f"weights is {w.tolist()}; expected {k} finite numbers above 0, one for each component.")
    if covariances is None:
        s = torch.as_tensor(sds, dtype=torch.float64)
        if s.shape not in ((), (k,)) or not (s > 0).all() or not s.isfinite().all():
            raise ValueError(
                f"sds is {s.tolist()}; expected one finite number above 0, or one for each of {k} components."
            )
        return Mixture(means, s.expand(k).square(), w)
    c = torch.as_tensor(covariances, dtype=torch.float64)
    if c.shape != (k, d, d) or not torch.allclose(c, c.mT):
        raise ValueError(f"covariances has shape {tuple(c.shape)}; expected symmetric matrices ({k}, {d}, {d}).")
    values, axes = torch.linalg.eigh(c)
    if not (values > 0).all():
        raise ValueError("covariances holds a matrix that is not positive definite; expected eigenvalues above 0.")
    return Mixture(means, values, w, axes)


def gaussian(covariance: ArrayLike, mean: ArrayLike | None = None) -> Mixture:
    """Normal distribution N(mean, covariance).

    Args:
        covariance: (d, d) symmetric, positive definite.
        mean: (d,); 0 by default.

    Returns:
        A mixture of one component.

    Raises:
        ValueError: the covariance is not symmetric and positive definite, or the shapes do not agree.

    >>> import torch
    >>> from chartae.data import toys
    >>> toys.gaussian(torch.eye(2)).log_prob(torch.zeros(1, 2))  # -log(2 pi)
    tensor([-1.8379])
    """
    c = torch.as_tensor(covariance, dtype=torch.float64)
    m = torch.zeros(len(c)) if mean is None else torch.as_tensor(mean, dtype=torch.float64)
    return mixture(m[None], covariances=c[None])


def mixture_1d() -> Mixture:
    """Mixture of three normals in 1 dimension.

    Weights (.3, .4, .3), means (-2, .5, 2), standard deviations (.5, .4, .7).

    Returns:
        The mixture.

    >>> from chartae.data import toys
    >>> round(toys.mixture_1d().mean.item(), 3)
    0.2
    """
    return mixture([[-2.0], [0.5], [2.0]], sds=[0.5, 0.4, 0.7], weights=[0.3, 0.4, 0.3])


def mixture_2d() -> Mixture:
    """Mixture of three isotropic normals in 2 dimensions.

    Weights (.4, .35, .25), means (-2, 0), (2, .5), (0, 2), standard deviations (.6, .5, .7).

    Returns:
        The mixture.

    >>> from chartae.data import toys
    >>> toys.mixture_2d()
    Mixture(3 components in 2 dimensions)
    """
    return mixture([[-2.0, 0.0], [2.0, 0.5], [0.0, 2.0]], sds=[0.6, 0.5, 0.7], weights=[0.4, 0.35, 0.25])


def _sextic(x: Tensor) -> Tensor:
    x = x[:, 0]
    return (10 * (x + 1) ** 2 + 1) * (20 * x**2 + 1) * (30 * (x - 1) ** 2 + 1) / 1000


def sextic() -> Energy:
    """The one-dimensional density ``exp(-E(x)) / Z`` of Alain and Bengio (arXiv:1211.4246).

    ``E(x) = (10 (x+1)^2 + 1) (20 x^2 + 1) (30 (x-1)^2 + 1) / 1000`` has two wells and a shoulder.

    Returns:
        The distribution.

    >>> import torch
    >>> from chartae.data import toys
    >>> p = toys.sextic().log_prob(torch.tensor([[-0.9], [0.0], [0.95]], dtype=torch.float64)).exp()
    >>> bool((p > 0.1).all())
    True
    """
    return Energy(_sextic, 2.0, 1)


def _ninja(x: Tensor) -> Tensor:
    squares = x.square().sum(1)
    # the gradient of the radius is undefined at the origin; this makes it 0
    radius = (squares + 1e-30).sqrt()
    return (radius - 2) ** 2 + (x[:, 0] ** 2 - x[:, 1] ** 2) ** 2 + 0.5 * (squares + 1).log()


def ninja_star() -> Energy:
    """Density ``exp(-E) / Z`` in 2 dimensions with four narrow blades.

    ``E = (rho - 2)^2 + (x^2 - y^2)^2 + log(rho^2 + 1) / 2``, where rho is the distance from the origin.

    Returns:
        The distribution.

    >>> import torch
    >>> from chartae.data import toys
    >>> blade, gap = toys.ninja_star().log_prob(torch.tensor([[1.4, 1.4], [2.0, 0.0]]))
    >>> bool(blade > gap + 10)
    True
    """
    return Energy(_ninja, 6.0, 2)


def spiral(noise: float = 0.0) -> Curve:
    """The spiral of Alain and Bengio (arXiv:1211.4246): ``(.04 t sin t, .04 t cos t)``, t uniform on [3, 15].

    The radius is .12 to .60, the distance between arms .251. Their noise is radial; here it is isotropic, which gives
    a density in closed form.

    Args:
        noise: noise standard deviation; >= 0; default 0. Without noise there is no density.

    Returns:
        The distribution.

    Raises:
        ValueError: `noise` is negative or not finite.

    >>> from chartae.data import toys
    >>> world = toys.spiral()
    >>> bool(world.distance(world.sample(100)).max() < 1e-3)
    True
    """
    return Curve(lambda t: 0.04 * t[:, None] * torch.stack([t.sin(), t.cos()], 1), (3.0, 15.0), noise)


def ring(modes: int = 8, radius: float = 2.0, sd: float = 0.15) -> Mixture:
    """Mixture of equal normals on a circle about the origin.

    Args:
        modes: number of normals; >= 1; default 8.
        radius: radius of the circle; default 2.
        sd: standard deviation of each normal; > 0; default 0.15.

    Returns:
        The mixture.

    >>> from chartae.data import toys
    >>> toys.ring(modes=6)
    Mixture(6 components in 2 dimensions)
    """
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    return mixture(radius * torch.stack([angle.cos(), angle.sin()], 1), sds=sd)


def grid(side: int = 5, spacing: float = 2.0, sd: float = 0.05) -> Mixture:
    """Mixture of equal normals on a square grid about the origin.

    Args:
        side: number of normals along each side; >= 1; default 5.
        spacing: distance between neighbours; default 2.
        sd: standard deviation of each normal; > 0; default 0.05.

    Returns:
        The mixture.

    >>> from chartae.data import toys
    >>> toys.grid(side=3)
    Mixture(9 components in 2 dimensions)
    """
    line = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
    return mixture(torch.cartesian_prod(line, line), sds=sd)


def two_bumps() -> Mixture:
    """Mixture of N((5, 0), S) and its mirror image, S = ((22.5, 17.5), (17.5, 22.5)): long ridges that cross.

    Returns:
        The mixture.

    >>> from chartae.data import toys
    >>> toys.two_bumps().covariance.diagonal()
    tensor([47.5000, 22.5000], dtype=torch.float64)
    """
    s = [[22.5, 17.5], [17.5, 22.5]]
    return mixture([[5.0, 0.0], [-5.0, 0.0]], covariances=[s, [[22.5, -17.5], [-17.5, 22.5]]])


def manifold(dim: int = 10, components: int = 25, seed: int = 0) -> Mixture:
    """Mixture of normals along a random curve, after the 10-dimensional experiment of Alain and Bengio.

    Coordinate i of the means is ``sin(2 pi f_i t)^e_i``, with f_i uniform on (-1, 1), e_i either 1 or 2, and t evenly
    spaced on [0, 1]. The standard deviation of a component is the distance to the next mean in the direction of this
    mean, and a tenth of it in all other directions.

    Args:
        dim: dimension; >= 2; default 10.
        components: number of normals; >= 2; default 25.
        seed: seed of f and e; default 0.

    Returns:
        The mixture.

    Raises:
        ValueError: `dim` or `components` is below 2.

    >>> from chartae.data import toys
    >>> toys.manifold(dim=5)
    Mixture(25 components in 5 dimensions)
    """
    if dim < 2 or components < 2:
        raise ValueError(f"dim is {dim} and components is {components}; expected at least 2 each.")
    g = torch.Generator().manual_seed(seed)
    f = 2 * torch.rand(dim, generator=g, dtype=torch.float64) - 1
    e = torch.randint(1, 3, (dim,), generator=g)
    t = torch.linspace(0, 1, components, dtype=torch.float64)
    means = (2 * math.pi * f * t[:, None]).sin() ** e
    chords = means.diff(dim=0)
    chords = torch.cat([chords, chords[-1:]])
    length = chords.norm(dim=1)
    u = chords / length[:, None]
    across = 0.01 * length[:, None, None] ** 2 * torch.eye(dim, dtype=torch.float64)
    along = 0.99 * length[:, None, None] ** 2 * u[:, :, None] * u[:, None]
    return mixture(means, covariances=across + along)


#: distributions by the name under which `chartae.data.load` samples them
WORLDS: dict[str, Callable[[], World]] = {
    "mixture-1d": mixture_1d,
    "mixture-2d": mixture_2d,
    "sextic": sextic,
    "ninja-star": ninja_star,
    "spiral": spiral,
    "ring": ring,
    "grid": grid,
    "two-bumps": two_bumps,
    "manifold": manifold,
}
