"""Mixings: observations x = f(z) of independent sources z, with known map, inverse and Jacobian.

world = moebius(dim=3, seed=0)
x, z = world.sample(60_000, seed=1)
world.decode(z), world.encode(x), world.log_abs_det_jacobian(z), world.log_prob(x)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from chartae.maths.private import standard_gamma
from chartae.records.choices import one_of

__all__ = [
    "SOURCES",
    "After",
    "Conformal",
    "Layered",
    "Linear",
    "Mixing",
    "Moebius",
    "Polar",
    "TwoDimensional",
    "after",
    "conformal",
    "linear",
    "mlp",
    "moebius",
    "orthogonal",
    "polar",
    "triangular",
    "two_dimensional",
    "unit_determinant",
]

#: distributions of one source: U(-1/2, 1/2), N(0, 1), Laplace of scale 1, Beta(a, b) - 1/2
SOURCES = ("uniform", "normal", "laplace", "beta")
BOUNDED = ("uniform", "beta")
#: default shapes (a, b) of Beta sources
BETA = (3.0, 5.0)
#: number of points from which the centre of a map is estimated
CENTRE = 1 << 17
#: tolerance, in units of machine epsilon, of the box of bounded sources; it absorbs rounding errors of an inverse
MARGIN = 100


class Mixing(ABC):
    """A map x = f(z) of independent, identically distributed sources z; injective, with known inverse and Jacobian.

    z is (B, dim) and x is (B, size), with size >= dim. Results have the dtype and device of the arguments; samples
    have torch's default dtype. Parameters are float64 tensors and attributes of the instance. To reproduce a map, save
    them rather than the seed, as the numbers of a seed may differ between versions of torch.

    Args:
        dim: number of sources.
        size: dimension of the observations.
        sources: distribution of each source: ``"uniform"`` (default), U(-1/2, 1/2); ``"normal"``, N(0, 1);
            ``"laplace"`` of scale 1; ``"beta"``, Beta(a, b) - 1/2.
        beta: (a, b), > 0, the shapes of Beta sources; default (3, 5).

    Raises:
        ValueError: `sources` or `beta` is not as described.
    """

    def __init__(self, dim: int, size: int, sources: str = "uniform", beta: tuple[float, float] = BETA) -> None:
        if sources not in SOURCES:
            raise ValueError(f"sources is {sources!r}; {one_of(sources, SOURCES)}")
        if len(beta) != 2 or not all(0 < v < math.inf for v in beta):
            raise ValueError(f"beta is {beta}; expected two finite numbers above 0.")
        self.dim, self.size, self.sources = dim, size, sources
        self.beta = (float(beta[0]), float(beta[1]))

    # -- sources

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draw `n` sources (n, dim) in float64."""
        shape = (n, self.dim)
        if self.sources == "normal":
            return torch.randn(shape, generator=generator, dtype=torch.float64)
        if self.sources == "beta":
            g, h = (standard_gamma(torch.full(shape, v, dtype=torch.float64), generator) for v in self.beta)
            return g / (g + h) - 0.5
        u = torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5
        if self.sources == "uniform":
            return u
        # clamped, as u = -1/2 would give log(0)
        return -u.sign() * (-2 * u.abs()).clamp_min(-1 + 2**-53).log1p()

    def sample(self, n: int, seed: int = 0) -> tuple[Float[Tensor, "n size"], Float[Tensor, "n d"]]:
        """Draw observations and their sources.

        Args:
            n: number of points; >= 1.
            seed: seed of the sources; default 0. The same seed gives the same points.

        Returns:
            Observations (n, size) and sources (n, dim).

        Raises:
            ValueError: `n` is below 1.
        """
        if n < 1:
            raise ValueError(f"n is {n}; expected at least 1.")
        z = self.draw(n, torch.Generator().manual_seed(seed))
        dtype = torch.get_default_dtype()
        return self.decode(z).to(dtype), z.to(dtype)

    def source_log_prob(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """Log density of the sources, ``sum_k log p(z_k)``, in nats; -inf outside the box of bounded sources."""
        self._check(z, self.dim, "sources")
        if self.sources == "normal":
            return (-0.5 * z.square() - 0.5 * math.log(2 * math.pi)).sum(1)
        if self.sources == "laplace":
            return (-z.abs() - math.log(2)).sum(1)
        eps = torch.finfo(z.dtype).eps
        p = torch.zeros_like(z)
        if self.sources == "beta":
            a, b = self.beta
            u = (z + 0.5).clamp(eps, 1 - eps)
            p = (a - 1) * u.log() + (b - 1) * (-u).log1p() + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        return torch.where(z.abs() <= 0.5 + MARGIN * eps, p, -math.inf).sum(1)

    # -- the map

    @abstractmethod
    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size"]:
        """Observations x = f(z), (B, size)."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "B size"]) -> Float[Tensor, "B d"]:
        """Sources z = f^-1(x), (B, dim), accurate to 1e-10 in float64."""

    @abstractmethod
    def log_abs_det_jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """``log |det J_f(z)|`` (B,); ``log det(J^T J) / 2`` if size > dim."""

    def jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size d"]:
        """Jacobian J_f(z), (B, size, dim), by `dim` forward-mode derivatives."""
        self._check(z, self.dim, "sources")
        e = torch.eye(self.dim, dtype=z.dtype, device=z.device)
        columns = [torch.func.jvp(self.decode, (z,), (e[k].expand_as(z).contiguous(),))[1] for k in range(self.dim)]
        return torch.stack(columns, 2)

    def log_prob(self, x: Float[Tensor, "B size"]) -> Float[Tensor, " B"]:
        """Log density of observations, ``log p(x) = log p(z) - log |det J_f(z)|`` with z = f^-1(x), in nats.

        If size > dim, it is the density on the image of f with respect to its volume, at the point f(f^-1(x)).
        """
        z = self.encode(x)
        return self.source_log_prob(z) - self.log_abs_det_jacobian(z)

    @cached_property
    def scale(self) -> float:
        """Root mean variance of the observations, ``sqrt(tr Cov(x) / size)``, from 20,000 fixed points."""
        x = self.decode(self.draw(20_000, torch.Generator().manual_seed(0)))
        return x.var(0).mean().sqrt().item()

    def _check(self, a: Tensor, width: int, what: str) -> None:
        if a.ndim != 2 or a.shape[1] != width:
            raise ValueError(f"{what} have shape {tuple(a.shape)}; expected (B, {width}).")
        if not a.is_floating_point():
            raise ValueError(f"{what} have dtype {a.dtype}; expected floating-point numbers. Call .double() on them.")

    def _require_bounded(self, why: str) -> None:
        if self.sources not in BOUNDED:
            raise ValueError(f"sources is {self.sources!r}; expected one of {', '.join(BOUNDED)}, as {why}.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dim} {self.sources} sources, {self.size} observed)"


def _matrix(a: ArrayLike, what: str, square: bool = False) -> Tensor:
    """Convert to a float64 matrix, checking that it is finite and of full column rank."""
    a = torch.as_tensor(a).detach().double()
    if a.ndim != 2 or not a.numel() or a.shape[0] < a.shape[1] or (square and a.shape[0] != a.shape[1]):
        form = "a square matrix" if square else "a matrix with at least as many rows as columns"
        raise ValueError(f"{what} has shape {tuple(a.shape)}; expected {form}.")
    if not a.isfinite().all():
        raise ValueError(f"{what} holds NaN or infinity; expected finite numbers.")
    if (rank := int(torch.linalg.matrix_rank(a))) < a.shape[1]:
        raise ValueError(f"{what} has rank {rank} but {a.shape[1]} columns; expected independent columns.")
    return a


def _at_least(dim: int, least: int) -> int:
    if dim < least:
        raise ValueError(f"dim is {dim}; expected at least {least}.")
    return dim


def _haar(dim: int, generator: torch.Generator) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


def _activation(t: Tensor) -> Tensor:
    return 0.2 * t + 0.8 * torch.logaddexp(t, torch.zeros_like(t))


def _slope(t: Tensor) -> Tensor:
    return 0.2 + 0.8 * t.sigmoid()


def _inverse_activation(y: Tensor) -> Tensor:
    """Newton's method, started to the right of the root: the activation is convex, so it descends without overshoot."""
    t = torch.minimum(y, 5 * y)
    for _ in range(12):
        t = t - (_activation(t) - y) / _slope(t)
    return t


class Moebius(Mixing):
    """Möbius map ``f(z) = b + alpha A (z - a) / ||z - a||^2``; `moebius` builds one.

    It is conformal, ``J^T J = (alpha / ||z - a||^2)^2 I``, so its IMA contrast is 0. Its inverse is
    ``a + A^T w / ||w||^2`` with ``w = (x - b) / alpha``, and ``log |det J| = d log alpha - 2 d log ||z - a||``.

    Args:
        alpha: scale; > 0.
        a: (d,) pole, outside the box of bounded sources.
        A: (d, d) orthogonal matrix.
        b: (d,) shift; None for one such that observations have mean 0, up to the error of a fixed sample.
        sources: ``"uniform"``, ``"normal"``, ``"laplace"`` or ``"beta"``.
        beta: (a, b), > 0, the shapes of Beta sources.
    """

    def __init__(
        self,
        alpha: float,
        a: ArrayLike,
        A: ArrayLike,
        b: ArrayLike | None,
        sources: str,
        beta: tuple[float, float],
    ) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha is {alpha}; expected a finite number above 0.")
        a = torch.as_tensor(a).detach().double()
        if a.ndim != 1 or not a.isfinite().all():
            raise ValueError(f"a has shape {tuple(a.shape)}; expected a vector of finite numbers, the pole.")
        d = _at_least(len(a), 2)
        super().__init__(d, d, sources, beta)
        A = _matrix(A, "A", square=True)
        if A.shape != (d, d) or not torch.allclose(A.T @ A, torch.eye(d, dtype=torch.float64), atol=1e-6):
            raise ValueError(f"A has shape {tuple(A.shape)}; expected an orthogonal matrix ({d}, {d}).")
        if sources in BOUNDED and (a.abs() <= 0.5).all():
            raise ValueError(
                f"a is {a.tolist()}, a pole that lies in the box of the sources; expected at least one |a_i| above 1/2."
            )
        self.alpha, self.a, self.A = float(alpha), a, A
        self.b = torch.zeros(d, dtype=torch.float64)
        if b is None:
            self.b = -self.decode(self.draw(CENTRE, torch.Generator().manual_seed(0))).mean(0)
        else:
            self.b = torch.as_tensor(b).detach().double()
            if self.b.shape != (d,) or not self.b.isfinite().all():
                raise ValueError(f"b has shape {tuple(self.b.shape)}; expected {d} finite numbers.")

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size"]:
        self._check(z, self.dim, "sources")
        u = z - self.a.to(z)
        return self.b.to(z) + self.alpha * (u / u.square().sum(1, keepdim=True)) @ self.A.to(z).T

    def encode(self, x: Float[Tensor, "B size"]) -> Float[Tensor, "B d"]:
        self._check(x, self.size, "observations")
        w = (x - self.b.to(x)) / self.alpha
        return self.a.to(x) + (w / w.square().sum(1, keepdim=True)) @ self.A.to(x)

    def log_abs_det_jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        self._check(z, self.dim, "sources")
        return self.dim * (math.log(self.alpha) - (z - self.a.to(z)).square().sum(1).log())


class Linear(Mixing):
    """Linear map f(z) = A z; its inverse is the pseudo-inverse. `linear` builds one.

    Args:
        A: (size, dim) matrix of full column rank.
        sources: ``"uniform"``, ``"normal"``, ``"laplace"`` or ``"beta"``.
        beta: (a, b), > 0, the shapes of Beta sources.
    """

    def __init__(self, A: ArrayLike, sources: str, beta: tuple[float, float]) -> None:
        self.A = _matrix(A, "A")
        super().__init__(self.A.shape[1], self.A.shape[0], sources, beta)
        self.pseudo_inverse = torch.linalg.pinv(self.A)
        self.log_det = torch.linalg.svdvals(self.A).log().sum().item()

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size"]:
        self._check(z, self.dim, "sources")
        return z @ self.A.to(z).T

    def encode(self, x: Float[Tensor, "B size"]) -> Float[Tensor, "B d"]:
        self._check(x, self.size, "observations")
        return x @ self.pseudo_inverse.to(x).T

    def log_abs_det_jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        self._check(z, self.dim, "sources")
        return torch.zeros_like(z[:, 0]) + self.log_det


class After(Mixing):
    """x = L f(z): an invertible linear map applied to the observations of another mixing, with the same sources.

    Unless L is a multiple of an orthogonal matrix, orthogonal columns of a Jacobian do not stay orthogonal. `after`
    builds one.

    Args:
        L: (size, size) invertible matrix.
        mixing: mixing f with observations of dimension size.
    """

    def __init__(self, L: ArrayLike, mixing: Mixing) -> None:
        self.L, self.mixing = _matrix(L, "L", square=True), mixing
        if len(self.L) != mixing.size:
            raise ValueError(
                f"L has shape {tuple(self.L.shape)}; expected ({mixing.size}, {mixing.size}) for {mixing!r}."
            )
        super().__init__(mixing.dim, mixing.size, mixing.sources, mixing.beta)
        self.inverse = torch.linalg.inv(self.L)
        self.log_det = torch.linalg.svdvals(self.L).log().sum().item()

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size"]:
        return self.mixing.decode(z) @ self.L.to(z).T

    def encode(self, x: Float[Tensor, "B size"]) -> Float[Tensor, "B d"]:
        self._check(x, self.size, "observations")
        return self.mixing.encode(x @ self.inverse.to(x).T)

    def log_abs_det_jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        if self.size == self.dim:
            return self.mixing.log_abs_det_jacobian(z) + self.log_det
        j = self.jacobian(z)
        return 0.5 * torch.linalg.slogdet(j.mT @ j)[1]


class Layered(Mixing):
    """Invertible network of L layers ``x <- W_l act(x)``, with ``act(t) = .2 t + .8 log(1 + e^t)``.

    The map is smooth and onto R^d. ``log |det J| = sum_l (sum_i log act'(x_i) + log |det W_l|)``; act is inverted by
    Newton's method. `mlp` and `triangular` build one.

    Args:
        weights: (layers, dim, dim) invertible matrices W_l.
        sources: ``"uniform"``, ``"normal"``, ``"laplace"`` or ``"beta"``.
        beta: (a, b), > 0, the shapes of Beta sources.
    """

    def __init__(self, weights: ArrayLike, sources: str, beta: tuple[float, float]) -> None:
        weights = torch.as_tensor(weights).detach().double()
        if weights.ndim != 3 or not len(weights):
            raise ValueError(f"weights has shape {tuple(weights.shape)}; expected (layers, dim, dim).")
        self.weights = torch.stack([_matrix(w, f"weights[{i}]", square=True) for i, w in enumerate(weights)])
        super().__init__(weights.shape[1], weights.shape[1], sources, beta)
        self.log_det = torch.linalg.slogdet(self.weights)[1].sum().item()

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size"]:
        self._check(z, self.dim, "sources")
        for w in self.weights.to(z).unbind():
            z = _activation(z) @ w.T
        return z

    def encode(self, x: Float[Tensor, "B size"]) -> Float[Tensor, "B d"]:
        self._check(x, self.size, "observations")
        for w in reversed(self.weights.to(x).unbind()):
            x = _inverse_activation(torch.linalg.solve(w, x.T).T)
        return x

    def log_abs_det_jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        self._check(z, self.dim, "sources")
        total = torch.zeros_like(z[:, 0]) + self.log_det
        for w in self.weights.to(z).unbind():
            total = total + _slope(z).log().sum(1)
            z = _activation(z) @ w.T
        return total


class Conformal(Mixing):
    """Complex polynomial ``h(w) = w + sum_{k>=2} c_k w^k`` of ``w = z_1 + i z_2``; `conformal` builds one.

    The coefficients must satisfy ``sum_k k |c_k| 2^(-(k-1)/2) < 1``. Then h is injective and its image starlike on the
    disc ``|w| < 2^(-1/2)`` around the box of the sources (Alexander, 1915), so that Newton's method, continued along
    the ray from 0 to x, converges to the inverse. ``log |det J| = 2 log |h'(w)|``.

    Args:
        coefficients: (K, 2), the real and imaginary parts of c_2, c_3, ...
        sources: ``"uniform"`` or ``"beta"``.
        beta: (a, b), > 0, the shapes of Beta sources.
    """

    def __init__(self, coefficients: ArrayLike, sources: str, beta: tuple[float, float]) -> None:
        super().__init__(2, 2, sources, beta)
        self._require_bounded("a conformal map of the whole plane is affine")
        c = torch.as_tensor(coefficients).detach().double()
        if c.ndim != 2 or c.shape[1] != 2 or not c.isfinite().all():
            raise ValueError(f"coefficients has shape {tuple(c.shape)}; expected finite numbers (K, 2).")
        strength = sum(k * math.hypot(*v) * 0.5 ** ((k - 1) / 2) for k, v in enumerate(c.tolist(), 2))
        if not strength < 1:
            raise ValueError(
                f"coefficients has sum_k k |c_k| 2^(-(k-1)/2) = {strength:.4g}; expected less than 1, so that the map"
                " is injective. Scale them down."
            )
        self.coefficients = c

    def _values(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Real and imaginary parts of h and of h', by Horner's rule."""
        x, y = z[:, 0], z[:, 1]
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        (p, q), (r, s) = (zero, zero), (zero, zero)
        c = self.coefficients.to(z)
        for a, b in [*((v[0], v[1]) for v in c.flip(0).unbind()), (one, zero), (zero, zero)]:
            r, s = r * x - s * y + p, r * y + s * x + q
            p, q = p * x - q * y + a, p * y + q * x + b
        return p, q, r, s

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size"]:
        self._check(z, 2, "sources")
        return torch.stack(self._values(z)[:2], 1)

    def encode(self, x: Float[Tensor, "B size"]) -> Float[Tensor, "B d"]:
        self._check(x, 2, "observations")
        z = torch.zeros_like(x)
        for t in [*(i / 24 for i in range(1, 24)), *[1.0] * 10]:
            p, q, r, s = self._values(z)
            p, q = p - t * x[:, 0], q - t * x[:, 1]
            z = z - torch.stack([p * r + q * s, q * r - p * s], 1) / (r * r + s * s)[:, None]
        return z

    def log_abs_det_jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        self._check(z, 2, "sources")
        _, _, r, s = self._values(z)
        return (r * r + s * s).log()

    def log_prob(self, x: Float[Tensor, "B size"]) -> Float[Tensor, " B"]:
        # outside the image of h no inverse exists, and the result of Newton's method is meaningless
        z = self.encode(x)
        converged = (self.decode(z) - x).abs().amax(1) < 1e3 * torch.finfo(x.dtype).eps
        return torch.where(converged, self.source_log_prob(z) - self.log_abs_det_jacobian(z), -math.inf)


class Polar(Mixing):
    """Polar to Cartesian coordinates, ``x = (rho cos phi, rho sin phi)`` with ``(rho, phi) = r z + a``.

    The columns of the Jacobian are orthogonal and differ in length; ``log |det J| = log(rho r_1 r_2)``. `polar` builds
    one.

    Args:
        r: (2,), > 0, with r_2 <= 2 pi.
        a: (2,), with a_1 > r_1 / 2, so that rho > 0.
        sources: ``"uniform"`` or ``"beta"``.
        beta: (a, b), > 0, the shapes of Beta sources.
    """

    def __init__(self, r: ArrayLike, a: ArrayLike, sources: str, beta: tuple[float, float]) -> None:
        super().__init__(2, 2, sources, beta)
        self._require_bounded("the radius must stay above 0")
        self.r, self.a = (torch.as_tensor(v).detach().double() for v in (r, a))
        for name, v in (("r", self.r), ("a", self.a)):
            if v.shape != (2,) or not v.isfinite().all():
                raise ValueError(f"{name} has shape {tuple(v.shape)}; expected 2 finite numbers.")
        if not (self.r > 0).all() or self.r[1] > 2 * math.pi or not self.a[0] > self.r[0] / 2:
            raise ValueError(
                f"r is {self.r.tolist()} and a is {self.a.tolist()}; expected r > 0, r[1] <= 2 pi and a[0] > r[0] / 2."
            )

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size"]:
        self._check(z, 2, "sources")
        rho, phi = (z * self.r.to(z) + self.a.to(z)).unbind(1)
        return torch.stack([rho * phi.cos(), rho * phi.sin()], 1)

    def encode(self, x: Float[Tensor, "B size"]) -> Float[Tensor, "B d"]:
        self._check(x, 2, "observations")
        a = self.a.to(x)
        # the angle relative to the centre of the box, in [-π, π)
        angle = (torch.atan2(x[:, 1], x[:, 0]) - a[1] + math.pi).remainder(2 * math.pi) - math.pi
        return torch.stack([x.square().sum(1).sqrt() - a[0], angle], 1) / self.r.to(x)

    def log_abs_det_jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        self._check(z, 2, "sources")
        r, a = self.r.to(z), self.a.to(z)
        return (z[:, 0] * r[0] + a[0]).log() + r.log().sum()


class TwoDimensional(Mixing):
    """``f(z) = (z_1 + .3 sin z_1, z_2 + .5 z_1 + .3 sin z_2 + .2 sin z_1)``, with sources N(0, 1).

    Its IMA contrast is ``log(1 + ((.5 + .2 cos z_1) / (1 + .3 cos z_1))^2) / 2``.
    """

    def __init__(self) -> None:
        super().__init__(2, 2, "normal")

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B size"]:
        self._check(z, 2, "sources")
        s = z + 0.3 * z.sin()
        return torch.stack([s[:, 0], s[:, 1] + 0.5 * z[:, 0] + 0.2 * z[:, 0].sin()], 1)

    def encode(self, x: Float[Tensor, "B size"]) -> Float[Tensor, "B d"]:
        self._check(x, 2, "observations")
        z1 = self._solve(x[:, 0])
        return torch.stack([z1, self._solve(x[:, 1] - 0.5 * z1 - 0.2 * z1.sin())], 1)

    @staticmethod
    def _solve(y: Tensor) -> Tensor:
        """Solve t + .3 sin t = y by Newton's method from t = y, which converges: the root is within .3 of y."""
        t = y
        for _ in range(8):
            t = t - (t + 0.3 * t.sin() - y) / (1 + 0.3 * t.cos())
        return t

    def log_abs_det_jacobian(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        self._check(z, 2, "sources")
        return (0.3 * z.cos()).log1p().sum(1)


# -- the mixings ------------------------------------------------------------------------------------------------------


def orthogonal(dim: int, seed: int = 0) -> Float[Tensor, "d d"]:
    """Draw a random orthogonal matrix from the uniform (Haar) distribution.

    Args:
        dim: d; >= 1.
        seed: seed of the draw; default 0.

    Returns:
        (d, d) float64.

    Raises:
        ValueError: `dim` is below 1.

    >>> import torch
    >>> from chartae.data import mixings
    >>> q = mixings.orthogonal(3)
    >>> torch.allclose(q.T @ q, torch.eye(3, dtype=torch.float64))
    True
    """
    return _haar(_at_least(dim, 1), torch.Generator().manual_seed(seed))


def unit_determinant(dim: int, seed: int = 0) -> Float[Tensor, "d d"]:
    """Draw a random matrix of determinant 1 or -1, which preserves volumes.

    It is ``M / |det M|^(1/d)``, with M uniform on [0, 1]^(d x d) and of full rank.

    Args:
        dim: d; >= 1.
        seed: seed of the draw; default 0.

    Returns:
        (d, d) float64.

    Raises:
        ValueError: `dim` is below 1.

    >>> from chartae.data import mixings
    >>> mixings.unit_determinant(3).det().abs()
    tensor(1.0000, dtype=torch.float64)
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        m = torch.rand(_at_least(dim, 1), dim, generator=generator, dtype=torch.float64)
        if int(torch.linalg.matrix_rank(m, atol=1e-6)) == dim:
            return m / torch.linalg.det(m).abs() ** (1 / dim)


def moebius(
    dim: int = 3,
    seed: int = 0,
    sources: str = "uniform",
    alpha: float = 1.0,
    a: ArrayLike | None = None,
    A: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    beta: tuple[float, float] = BETA,
) -> Moebius:
    """Möbius map ``x = b + alpha A (z - a) / ||z - a||^2``, which is conformal: its IMA contrast is 0.

    Reizinger et al., "Embrace the Gap: VAEs Perform Independent Mechanism Analysis", 2022 (arXiv:2206.02416).

    Args:
        dim: d, the number of sources; >= 2; default 3. If `a` or `A` is given, theirs.
        seed: seed of the parameters that are not given; default 0.
        sources: ``"uniform"`` (default), ``"normal"``, ``"laplace"`` or ``"beta"``. Unbounded sources reach the pole,
            near which observations are large.
        alpha: scale; > 0; default 1.
        a: (d,) pole, outside the box of bounded sources; by default N(0, 1), each number redrawn until its absolute
            value is above 1/2.
        A: (d, d) orthogonal matrix; by default drawn from the uniform (Haar) distribution.
        b: (d,) shift; by default such that observations have mean 0, up to the error of a fixed sample.
        beta: (a, b), > 0, the shapes of Beta sources; default (3, 5).

    Returns:
        The mixing, of d sources and d observed dimensions.

    Raises:
        ValueError: a parameter is not as described.

    >>> import torch
    >>> from chartae.data import mixings
    >>> world = mixings.moebius(a=[1.0, -0.8, 0.6])
    >>> world.log_abs_det_jacobian(torch.tensor([[0.1, 0.2, -0.3]], dtype=torch.float64)).item()
    -2.88952...
    """
    for parameter in (a, A):
        if parameter is not None:
            dim = np.shape(parameter)[0]
    generator = torch.Generator().manual_seed(seed)
    haar = _haar(_at_least(dim, 2), generator)
    pole = torch.randn(dim, generator=generator, dtype=torch.float64)
    while (small := pole.abs() <= 0.5).any():
        pole = torch.where(small, torch.randn(dim, generator=generator, dtype=torch.float64), pole)
    return Moebius(alpha, pole if a is None else a, haar if A is None else A, b, sources, beta)


def linear(A: ArrayLike, sources: str = "normal", *, beta: tuple[float, float] = BETA) -> Linear:
    """Linear map x = A z; its inverse is the pseudo-inverse.

    Args:
        A: (size, dim) matrix of full column rank.
        sources: ``"normal"`` (default), ``"uniform"``, ``"laplace"`` or ``"beta"``.
        beta: (a, b), > 0, the shapes of Beta sources; default (3, 5).

    Returns:
        The mixing, of dim sources and size observed dimensions.

    Raises:
        ValueError: `A` is not a matrix of full column rank, or `sources` or `beta` is not as described.

    >>> import torch
    >>> from chartae.data import mixings
    >>> world = mixings.linear([[2.0, 0.0], [0.0, 3.0]])
    >>> world.log_abs_det_jacobian(torch.zeros(1, 2))  # log 6
    tensor([1.7918])
    """
    return Linear(A, sources, beta)


def after(L: ArrayLike, mixing: Mixing) -> After:
    """Apply an invertible linear map to another mixing, x = L f(z).

    After a Möbius map, the result violates independent mechanism analysis (Reizinger et al., 2022, arXiv:2206.02416),
    unless L is a multiple of an orthogonal matrix.

    Args:
        L: (size, size) invertible matrix.
        mixing: mixing f with observations of dimension size.

    Returns:
        The mixing, with the sources of `mixing`.

    Raises:
        ValueError: `L` is not invertible or has another size.

    >>> from chartae.data import mixings
    >>> mixings.after(mixings.unit_determinant(3), mixings.moebius(3))
    After(3 uniform sources, 3 observed)
    """
    return After(L, mixing)


def mlp(
    dim: int = 3, layers: int = 3, seed: int = 0, sources: str = "normal", *, beta: tuple[float, float] = BETA
) -> Layered:
    """Invertible network of layers ``x <- Q_l act(x)``, with Q_l orthogonal and ``act(t) = .2 t + .8 log(1 + e^t)``.

    From Reizinger et al., 2022 (arXiv:2206.02416). The IMA contrast of one layer is 0, that of three layers at dim 3
    about .15 in the mean over maps.

    Args:
        dim: number of sources; >= 1; default 3.
        layers: number of layers; >= 1; default 3.
        seed: seed of Q_l, which are drawn from the uniform (Haar) distribution; default 0.
        sources: ``"normal"`` (default), ``"uniform"``, ``"laplace"`` or ``"beta"``.
        beta: (a, b), > 0, the shapes of Beta sources; default (3, 5).

    Returns:
        The mixing, of dim sources and dim observed dimensions.

    Raises:
        ValueError: an argument is not as described.

    >>> from chartae.data import mixings
    >>> world = mixings.mlp()
    >>> x, z = world.sample(100)
    >>> bool((world.encode(x) - z).abs().max() < 1e-4)
    True
    """
    generator = torch.Generator().manual_seed(seed)
    weights = [_haar(_at_least(dim, 1), generator) for _ in range(_layers(layers))]
    return Layered(torch.stack(weights), sources, beta)


def triangular(
    dim: int = 3, layers: int = 2, seed: int = 0, sources: str = "normal", *, beta: tuple[float, float] = BETA
) -> Layered:
    """Invertible network of layers ``x <- W_l act(x)``, with W_l lower triangular; its IMA contrast is positive.

    ``act(t) = .2 t + .8 log(1 + e^t)``; the diagonals of W_l are drawn from U(.5, 1.5), the entries below from N(0, 1).

    Args:
        dim: number of sources; >= 1; default 3.
        layers: number of layers; >= 1; default 2.
        seed: seed of W_l; default 0.
        sources: ``"normal"`` (default), ``"uniform"``, ``"laplace"`` or ``"beta"``.
        beta: (a, b), > 0, the shapes of Beta sources; default (3, 5).

    Returns:
        The mixing, of dim sources and dim observed dimensions.

    Raises:
        ValueError: an argument is not as described.

    >>> import torch
    >>> from chartae.data import mixings
    >>> jacobian = mixings.triangular().jacobian(torch.zeros(1, 3))[0]
    >>> torch.equal(jacobian, jacobian.tril())
    True
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (_layers(layers), _at_least(dim, 1), dim)
    diagonal = 0.5 + torch.rand(shape[:2], generator=generator, dtype=torch.float64)
    below = torch.randn(shape, generator=generator, dtype=torch.float64).tril(-1)
    return Layered(below + diagonal.diag_embed(), sources, beta)


def _layers(layers: int) -> int:
    if layers < 1:
        raise ValueError(f"layers is {layers}; expected at least 1.")
    return layers


def conformal(
    seed: int = 0,
    sources: str = "uniform",
    *,
    degree: int = 4,
    strength: float = 0.8,
    coefficients: ArrayLike | None = None,
    beta: tuple[float, float] = BETA,
) -> Conformal:
    """Complex polynomial ``h(w) = w + sum_{k>=2} c_k w^k`` of ``w = z_1 + i z_2``: conformal, with IMA contrast 0.

    Args:
        seed: seed of the coefficients, which are complex normal before they are scaled; default 0.
        sources: ``"uniform"`` (default) or ``"beta"``.
        degree: highest power; >= 2; default 4.
        strength: ``sum_k k |c_k| 2^(-(k-1)/2)``, in [0, 1); default 0.8. It bounds the distance of h' from 1.
        coefficients: (K, 2) real and imaginary parts of c_2, c_3, ..., instead of drawn ones.
        beta: (a, b), > 0, the shapes of Beta sources; default (3, 5).

    Returns:
        The mixing, of 2 sources and 2 observed dimensions.

    Raises:
        ValueError: an argument is not as described, or the map is not injective.

    >>> import torch
    >>> from chartae.data import mixings
    >>> jacobian = mixings.conformal().jacobian(torch.tensor([[0.2, -0.3]], dtype=torch.float64))[0]
    >>> gram = jacobian.T @ jacobian  # a multiple of the identity
    >>> torch.allclose(gram, gram[0, 0] * torch.eye(2, dtype=torch.float64))
    True
    """
    if coefficients is None:
        if degree < 2 or not 0 <= strength < 1:
            raise ValueError(
                f"degree is {degree} and strength is {strength}; expected degree >= 2 and 0 <= strength < 1."
            )
        generator = torch.Generator().manual_seed(seed)
        coefficients = torch.randn(degree - 1, 2, generator=generator, dtype=torch.float64)
        k = torch.arange(2, degree + 1, dtype=torch.float64)
        coefficients = coefficients * strength / (k * coefficients.norm(dim=1) * 0.5 ** ((k - 1) / 2)).sum()
    return Conformal(coefficients, sources, beta)


def polar(
    seed: int = 0,
    sources: str = "uniform",
    r: ArrayLike | None = None,
    a: ArrayLike | None = None,
    *,
    beta: tuple[float, float] = BETA,
) -> Polar:
    """Polar to Cartesian coordinates, ``x = (rho cos phi, rho sin phi)`` with ``(rho, phi) = r z + a``.

    Its IMA contrast is 0, although it is not conformal.

    Args:
        seed: seed of r and a; default 0.
        sources: ``"uniform"`` (default) or ``"beta"``.
        r: (2,), > 0, with r_2 <= 2 pi; by default drawn from U(.5, 1.5).
        a: (2,), with a_1 > r_1 / 2; by default drawn from U(0, 2), a_1 again until a_1 > r_1 / 2 + .1, so that
            rho > .1.
        beta: (a, b), > 0, the shapes of Beta sources; default (3, 5).

    Returns:
        The mixing, of 2 sources and 2 observed dimensions.

    Raises:
        ValueError: an argument is not as described.

    >>> import torch
    >>> from chartae.data import mixings
    >>> world = mixings.polar(r=[1.0, 2.0], a=[1.5, 0.0])
    >>> world.decode(torch.zeros(1, 2))  # rho = 1.5, phi = 0
    tensor([[1.5000, 0.0000]])
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = 0.5 + torch.rand(2, generator=generator, dtype=torch.float64)
    width = drawn if r is None else torch.as_tensor(r).double()
    shift = 2 * torch.rand(2, generator=generator, dtype=torch.float64)
    while a is None and width[0] < 3 and shift[0] <= width[0] / 2 + 0.1:
        shift = torch.stack([2 * torch.rand((), generator=generator, dtype=torch.float64), shift[1]])
    return Polar(width, shift if a is None else a, sources, beta)


def two_dimensional() -> TwoDimensional:
    """``f(z) = (z_1 + .3 sin z_1, z_2 + .5 z_1 + .3 sin z_2 + .2 sin z_1)``, with sources N(0, 1).

    A smooth map with IMA contrast .126306 at z = (.4, -.7); a reference for limits of VAEs.

    Returns:
        The mixing, of 2 sources and 2 observed dimensions.

    >>> import torch
    >>> from chartae.data import mixings
    >>> mixings.two_dimensional().decode(torch.zeros(1, 2))
    tensor([[0., 0.]])
    """
    return TwoDimensional()
