"""Worlds: distributions whose density, score and Hessian are known, to judge by.

world = mixture([[-2.0], [0.5], [2.0]], sds=[0.5, 0.4, 0.7], weights=[0.3, 0.4, 0.3])
x = world.sample(1000, seed=0)
world.log_prob(x), world.score(x), world.hessian(x), world.smoothed(0.1).score(x)

Worlds with known factors, `moebius` and others, are those of `chartae.data.mixings`.
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
#: pairs of a point and a component that are looked at together
PAIRS = 1 << 22


class World(ABC):
    """A distribution of which everything is known.

    Points are (B, d). What is computed has the dtype of the points; samples have torch's default dtype.
    """

    dim: int

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """`n` points in float64."""

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """The normalised log density, in nats."""

    @abstractmethod
    def smoothed(self, sigma: float) -> World:
        """The law of a point plus noise N(0, sigma^2 I): p_sigma = p * N(0, sigma^2 I)."""

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n d"]:
        """`n` independent points; the same seed gives the same points."""
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one point")
        return self.draw(n, torch.Generator().manual_seed(seed)).to(torch.get_default_dtype())

    def score(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
        """The gradient of log p."""
        return torch.func.vmap(torch.func.grad(self._alone))(x)

    def hessian(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d d"]:
        """The matrix of second derivatives of log p."""
        return torch.func.vmap(torch.func.hessian(self._alone))(x)

    def _alone(self, x: Tensor) -> Tensor:
        return self.log_prob(x[None])[0]

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"points have shape {tuple(x.shape)}; this world has dimension {self.dim}: give (B, d)")


def _positive(sigma: float) -> float:
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}; a noise level is a finite number above 0")
    return float(sigma)


class Mixture(World):
    """Σ_k w_k N(m_k, C_k): everything in closed form, and smoothing stays in the family.

    Args:
        means: (K, d).
        variances: (K,) of isotropic components; with `axes`, (K, d) along each component's axes.
        weights: (K,), above 0; they are divided by their sum.
        axes: (K, d, d), orthonormal columns: C_k = Q_k diag(v_k) Q_kᵀ.
    """

    def __init__(self, means: Tensor, variances: Tensor, weights: Tensor, axes: Tensor | None = None) -> None:
        self.means, self.variances, self.axes = means.double(), variances.double(), axes
        self.weights = weights.double() / weights.double().sum()
        self.dim = means.shape[1]
        self._cast: dict[torch.dtype, tuple[Tensor, ...]] = {}

    def _parts(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Means, variances, constants of the log densities, axes; in the dtype of the points."""
        if dtype not in self._cast:
            v = self.variances if self.axes is not None else self.variances[:, None].expand(-1, self.dim)
            constant = self.weights.log() - 0.5 * (v.log().sum(1) + self.dim * LOG_2PI)
            axes = torch.eye(self.dim)[None] if self.axes is None else self.axes
            self._cast[dtype] = tuple(t.to(dtype) for t in (self.means, self.variances, constant, axes))
        return self._cast[dtype]

    def _in_parts(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        self._check(x)
        return torch.cat([function(part) for part in x.split(max(1, PAIRS // len(self.means)))])

    def _joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log w_k N(x; m_k, C_k), and C_k^-1 (m_k - x) where components have axes."""
        means, variances, constant, axes = self._parts(x.dtype)
        delta = means - x[:, None]
        if self.axes is None:
            return constant - 0.5 * delta.square().sum(2) / variances, delta / variances[:, None]
        along = torch.einsum("kij,bki->bkj", axes, delta)
        pull = torch.einsum("kij,bkj->bki", axes, along / variances)
        return constant - 0.5 * (along.square() / variances).sum(2), pull

    def log_prob(self, x: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        return self._in_parts(lambda a: self._joint(a)[0].logsumexp(1), x)

    def score(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
        def part(a: Tensor) -> Tensor:
            joint, pull = self._joint(a)
            return torch.einsum("bk,bki->bi", joint.softmax(1), pull)

        return self._in_parts(part, x)

    def hessian(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d d"]:
        def part(a: Tensor) -> Tensor:
            joint, pull = self._joint(a)
            r = joint.softmax(1)
            _, variances, _, axes = self._parts(a.dtype)
            if self.axes is None:
                precision = (r @ (1 / variances))[:, None, None] * axes
            else:
                precision = torch.einsum("bk,kij->bij", r, axes / variances[:, None] @ axes.mT)
            score = torch.einsum("bk,bki->bi", r, pull)
            # about their mean the pulls lose no digits
            spread = pull - score[:, None]
            return torch.einsum("bk,bki,bkj->bij", r, spread, spread) - precision

        return self._in_parts(part, x)

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
        return self.weights @ self.means

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """The covariance of the whole mixture."""
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
    """exp(-E(x)) / Z over a box, outside of which there is nothing to speak of.

    Args:
        energy: (B, d) -> (B,), differentiable.
        side: the box is [-side, side]^d; d is 1 or 2.
        dim: d.
    """

    def __init__(self, energy: Callable[[Tensor], Tensor], side: float, dim: int) -> None:
        assert dim in (1, 2)
        self.energy, self.side, self.dim = energy, side, dim
        _, mass = self._nodes(4001 if dim == 1 else 1601)
        self.log_z = math.log(float(mass.sum()))

    def _nodes(self, n: int) -> tuple[Tensor, Tensor]:
        """A grid, and exp(-E) times the size of a cell."""
        line = torch.linspace(-self.side, self.side, n, dtype=torch.float64)
        x = torch.cartesian_prod(*[line] * self.dim).reshape(-1, self.dim)
        return x, (-self.energy(x)).exp() * (line[1] - line[0]) ** self.dim

    def log_prob(self, x: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        self._check(x)
        return -self.energy(x) - self.log_z

    def smoothed(self, sigma: float) -> Mixture:
        # a sum over a grid no wider than the kernel is exact to 1e-8; half of that, to rounding
        n = max(2001 if self.dim == 1 else 201, math.ceil(2 * self.side / _positive(sigma) * (3 - self.dim)) + 1)
        x, mass = self._nodes(n)
        kept = mass > 1e-14 * mass.max()
        return Mixture(x[kept], torch.full((int(kept.sum()),), sigma**2), mass[kept])

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Rejection from cells of the grid, each as high as its highest corner and a half more: exact."""
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
            at = (corner[k] + u[:, :-1]) * h - self.side
            drawn = torch.cat([drawn, at[u[:, -1].log() < low[k] - self.energy(at)]])
        return drawn[:n]


class Curve(World):
    """Points t -> c(t), t uniform on an interval, plus noise N(0, noise^2 I); without noise there is no density.

    Args:
        curve: (n,) -> (n, 2).
        ends: the interval.
        noise: standard deviation.
    """

    def __init__(self, curve: Callable[[Tensor], Tensor], ends: tuple[float, float], noise: float = 0.0) -> None:
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise is {noise}; a standard deviation is a finite number, 0 or above")
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

    def _law(self) -> World:
        if not self.noise:
            raise ValueError("a curve without noise has no density; use .smoothed(sigma)")
        return Curve(self.curve, self.ends).smoothed(self.noise)

    def log_prob(self, x: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        return self._law().log_prob(x)

    def score(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
        return self._law().score(x)

    def hessian(self, x: Float[Tensor, "B d"]) -> Float[Tensor, "B d d"]:
        return self._law().hessian(x)

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        x = self.curve(self.ends[0] + u * (self.ends[1] - self.ends[0]))
        return x + self.noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)

    def distance(self, x: Float[Tensor, "B d"], nodes: int = 10_000) -> Float[Tensor, " B"]:
        """How far points lie from the curve: from the nearest of `nodes` points along it."""
        line = self.curve(self._t(nodes))
        parts = [torch.cdist(part, line).min(1).values for part in x.double().split(PAIRS // nodes)]
        return torch.cat(parts).to(x.dtype)


# -- the worlds -------------------------------------------------------------------------------------------------------


def mixture(
    means: ArrayLike, sds: ArrayLike = 1.0, weights: ArrayLike | None = None, *, covariances: ArrayLike | None = None
) -> Mixture:
    """A mixture of normals in any dimension.

    Args:
        means: (K, d), or a list of vectors.
        sds: the standard deviations of isotropic components: one number, or K.
        weights: K numbers above 0, divided by their sum; equal by default.
        covariances: (K, d, d), in place of `sds`.

    Raises:
        ValueError: shapes that do not fit, a standard deviation or weight that is not above 0, a covariance that is
            not symmetric and positive definite.

    >>> world = mixture([[-2.0], [0.5], [2.0]], sds=[0.5, 0.4, 0.7], weights=[0.3, 0.4, 0.3])
    >>> round(world.score(torch.zeros(1, 1, dtype=torch.float64)).item(), 4)
    3.1351
    """
    means = torch.as_tensor(means, dtype=torch.float64)
    if means.ndim != 2 or not means.numel() or not means.isfinite().all():
        raise ValueError(f"means have shape {tuple(means.shape)}; give finite numbers (K, d): one row a component")
    k, d = means.shape
    w = torch.ones(k) if weights is None else torch.as_tensor(weights, dtype=torch.float64)
    if w.shape != (k,) or not (w > 0).all() or not w.isfinite().all():
        raise ValueError(f"weights are {w.tolist()}; give {k} finite numbers above 0, one for each component")
    if covariances is None:
        s = torch.as_tensor(sds, dtype=torch.float64)
        if s.shape not in ((), (k,)) or not (s > 0).all() or not s.isfinite().all():
            raise ValueError(f"sds are {s.tolist()}; give one finite number above 0, or one for each of {k} components")
        return Mixture(means, s.expand(k).square(), w)
    c = torch.as_tensor(covariances, dtype=torch.float64)
    if c.shape != (k, d, d) or not torch.allclose(c, c.mT):
        raise ValueError(f"covariances have shape {tuple(c.shape)}; give symmetric matrices ({k}, {d}, {d})")
    values, axes = torch.linalg.eigh(c)
    if not (values > 0).all():
        raise ValueError("a covariance is not positive definite; its eigenvalues must be above 0")
    return Mixture(means, values, w, axes)


def gaussian(covariance: ArrayLike, mean: ArrayLike | None = None) -> Mixture:
    """N(mean, covariance), the covariance a matrix (d, d)."""
    c = torch.as_tensor(covariance, dtype=torch.float64)
    m = torch.zeros(len(c)) if mean is None else torch.as_tensor(mean, dtype=torch.float64)
    return mixture(m[None], covariances=c[None])


def mixture_1d() -> Mixture:
    """Weights (.3, .4, .3), means (-2, .5, 2), standard deviations (.5, .4, .7)."""
    return mixture([[-2.0], [0.5], [2.0]], sds=[0.5, 0.4, 0.7], weights=[0.3, 0.4, 0.3])


def mixture_2d() -> Mixture:
    """Weights (.4, .35, .25), means (-2, 0), (2, .5), (0, 2), standard deviations (.6, .5, .7)."""
    return mixture([[-2.0, 0.0], [2.0, 0.5], [0.0, 2.0]], sds=[0.6, 0.5, 0.7], weights=[0.4, 0.35, 0.25])


def _sextic(x: Tensor) -> Tensor:
    x = x[:, 0]
    return (10 * (x + 1) ** 2 + 1) * (20 * x**2 + 1) * (30 * (x - 1) ** 2 + 1) / 1000


def sextic() -> Energy:
    """The one-dimensional density of Alain and Bengio (1211.4246):

    E(x) = (10 (x+1)^2 + 1) (20 x^2 + 1) (30 (x-1)^2 + 1) / 1000, two wells and a shoulder.
    """
    return Energy(_sextic, 2.0, 1)


def _ninja(x: Tensor) -> Tensor:
    squares = x.square().sum(1)
    # at the origin the gradient of the radius is undefined: zero here
    radius = (squares + 1e-30).sqrt()
    return (radius - 2) ** 2 + (x[:, 0] ** 2 - x[:, 1] ** 2) ** 2 + 0.5 * (squares + 1).log()


def ninja_star() -> Energy:
    """Four narrow blades: E = (ρ - 2)^2 + (x^2 - y^2)^2 + ½ log(ρ^2 + 1), ρ the distance from the origin."""
    return Energy(_ninja, 6.0, 2)


def spiral(noise: float = 0.0) -> Curve:
    """The spiral of Alain and Bengio: (.04 t sin t, .04 t cos t), t uniform on [3, 15], plus isotropic noise.

    Radius .12 to .60, arms .251 apart. (Their noise runs along the radius; isotropic noise has a density in closed
    form.)
    """
    return Curve(lambda t: 0.04 * t[:, None] * torch.stack([t.sin(), t.cos()], 1), (3.0, 15.0), noise)


def ring(modes: int = 8, radius: float = 2.0, sd: float = 0.15) -> Mixture:
    """Equal normals around a circle."""
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    return mixture(radius * torch.stack([angle.cos(), angle.sin()], 1), sds=sd)


def grid(side: int = 5, spacing: float = 2.0, sd: float = 0.05) -> Mixture:
    """side x side equal normals on a square grid about the origin."""
    line = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
    return mixture(torch.cartesian_prod(line, line), sds=sd)


def two_bumps() -> Mixture:
    """N((5, 0), S) and its mirror image, S = ((22.5, 17.5), (17.5, 22.5)): long ridges that cross."""
    s = [[22.5, 17.5], [17.5, 22.5]]
    return mixture([[5.0, 0.0], [-5.0, 0.0]], covariances=[s, [[22.5, -17.5], [-17.5, 22.5]]])


def manifold(dim: int = 10, components: int = 25, seed: int = 0) -> Mixture:
    """Normals strung along a random curve: the 10-dimensional experiment of Alain and Bengio.

    Coordinate i of the means is sin(2π f_i t)^{e_i}, f_i uniform on (-1, 1), e_i 1 or 2, t even on [0, 1]. Along the
    chord to the next mean the standard deviation is the chord's length, across it a tenth.
    """
    if dim < 2 or components < 2:
        raise ValueError(f"dim is {dim}, components {components}; each must be at least 2")
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


#: worlds by name, as `chartae.data.load` knows them
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
