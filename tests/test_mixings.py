"""Mixings: inverses, Jacobians and densities against autograd and quadrature, and the numbers of the sheet on IMA."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from chartae.data import mixings, toys
from chartae.data.mixings import (
    Mixing,
    after,
    conformal,
    linear,
    mlp,
    moebius,
    orthogonal,
    polar,
    triangular,
    two_dimensional,
    unit_determinant,
)

A53 = np.random.default_rng(0).normal(size=(5, 3))
POLES = [(1.46210794, -2.06014071, 1.13376944), (1.74481176, -0.76120690, 1.46210794)]
MIXINGS = {
    "moebius": moebius,
    "moebius-2-beta": lambda: moebius(2, seed=1, sources="beta", beta=(2.0, 9.0), alpha=3.0),
    "moebius-normal": lambda: moebius(5, sources="normal", seed=2),
    "linear": lambda: linear(A53[:3]),
    "linear-5x3": lambda: linear(A53, "laplace"),
    "after": lambda: after(unit_determinant(3), moebius()),
    "after-5x3": lambda: after(orthogonal(5, 1), linear(A53)),
    "after-after": lambda: after(orthogonal(3), after(unit_determinant(3, 4), mlp())),
    "mlp": mlp,
    "mlp-laplace": lambda: mlp(4, layers=2, seed=3, sources="laplace"),
    "triangular": triangular,
    "triangular-uniform": lambda: triangular(4, layers=3, seed=1, sources="uniform"),
    "conformal": conformal,
    "conformal-beta": lambda: conformal(5, "beta", degree=9, strength=0.99),
    "polar": polar,
    "polar-beta": lambda: polar(2, "beta", r=(1.0, 6.0), a=(0.6, 3.0)),
    "two-dimensional": two_dimensional,
}
#: those whose Jacobians have orthogonal columns
ORTHOGONAL = ["moebius", "moebius-2-beta", "moebius-normal", "conformal", "conformal-beta", "polar", "polar-beta"]


def contrast(mixing: Mixing, z: torch.Tensor) -> torch.Tensor:
    j = mixing.jacobian(z)
    return j.norm(dim=1).log().sum(1) - 0.5 * torch.linalg.slogdet(j.mT @ j)[1]


def legendre(n: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes on (-1/2, 1/2)^dim and their weights, which add up to 1."""
    x, w = (torch.from_numpy(v / 2) for v in np.polynomial.legendre.leggauss(n))
    return torch.cartesian_prod(*[x] * dim), torch.cartesian_prod(*[w] * dim).prod(1)


@pytest.mark.parametrize("name", MIXINGS)
def test_contract(name):
    world = MIXINGS[name]()
    x, z = world.sample(200, seed=1)
    assert x.shape == (200, world.size)
    assert z.shape == (200, world.dim)
    assert x.dtype == z.dtype == torch.float64
    assert all(torch.equal(a, b) for a, b in zip((x, z), world.sample(200, seed=1), strict=True))
    assert not torch.equal(z, world.sample(200, seed=2)[1])
    assert torch.equal(x, MIXINGS[name]().decode(z))
    assert (world.encode(x) - z).abs().max() < 1e-8

    alone = torch.func.vmap(torch.func.jacrev(lambda a: world.decode(a[None])[0]))(z)
    assert torch.allclose(world.jacobian(z), alone, rtol=1e-10, atol=1e-12)
    log_det = 0.5 * torch.linalg.slogdet(alone.mT @ alone)[1]
    assert (world.log_abs_det_jacobian(z) - log_det).abs().max() < 1e-9
    assert torch.allclose(world.log_prob(x), world.source_log_prob(z) - log_det, atol=1e-7)
    if name in ORTHOGONAL:
        assert contrast(world, z).abs().max() < 1e-9
    if world.size == world.dim:
        inverse = torch.func.vmap(torch.func.jacrev(lambda a: world.encode(a[None])[0]))(x[:20])
        assert torch.allclose(inverse @ alone[:20], torch.eye(world.dim).expand(20, -1, -1), atol=1e-6)

    few = z[:20].float()
    for value in (world.decode(few), world.log_abs_det_jacobian(few), world.log_prob(x[:20].float())):
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    with pytest.raises(ValueError, match=r"sources have shape .* expected \(B, "):
        world.decode(torch.zeros(3, world.dim + 1))
    with pytest.raises(ValueError, match=r"observations have shape .* expected \(B, "):
        world.encode(torch.zeros(3, world.size + 1))
    assert f"{world.size} observed" in repr(world)


def test_the_dtype_of_samples_is_the_default_and_the_points_are_the_same(float32):
    x, z = moebius().sample(100)
    y, s = moebius().sample(100)
    assert (y.dtype, s.dtype) == (torch.float32, torch.float32)
    assert torch.equal(y, x.float())
    assert torch.equal(s, z.float())
    # rounding at the edges of the box does not lose points
    assert moebius().log_prob(moebius().sample(50_000)[0]).isfinite().all()


@pytest.mark.parametrize("sources", mixings.SOURCES)
def test_sources(sources):
    world = linear(torch.eye(1), sources, beta=(2.0, 4.0))
    z = world.sample(100_000, seed=3)[1]
    mean, variance = {
        "uniform": (0, 1 / 12), "normal": (0, 1), "laplace": (0, 2), "beta": (1 / 3 - 0.5, 2 * 4 / (36 * 7)),
    }[sources]  # fmt: skip
    assert z.mean().item() == pytest.approx(mean, abs=0.02)
    assert z.var().item() == pytest.approx(variance, rel=0.03)
    line = torch.linspace(-0.5, 0.5, 20_001) if sources in mixings.BOUNDED else torch.linspace(-30, 30, 60_001)
    p = torch.trapezoid(world.source_log_prob(line[:, None]).exp(), line)
    assert p.item() == pytest.approx(1, abs=1e-6)
    at = -z.quantile(torch.tensor([0.1, 0.5, 0.9]))
    below = torch.stack([(line <= -v).double() for v in at]) * world.source_log_prob(line[:, None]).exp()
    assert torch.trapezoid(below, line).tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.005)


@pytest.mark.parametrize(
    ("name", "n", "tolerance"),
    [("two-dimensional", 400, 1e-6), ("polar", 600, 0.01), ("conformal", 250, 0.02), ("moebius-2-beta", 300, 1e-3)],
)
def test_densities_integrate_to_one(name, n, tolerance):
    world = MIXINGS[name]()
    if name == "two-dimensional":
        low, high = torch.tensor([-9.0, -12.0]), torch.tensor([9.0, 12.0])
    else:
        edge = world.decode(legendre(60, 2)[0])
        margin = 0.1 * (edge.amax(0) - edge.amin(0))
        low, high = edge.amin(0) - margin, edge.amax(0) + margin
    lines = [torch.linspace(a, b, n) for a, b in zip(low, high, strict=True)]
    p = world.log_prob(torch.cartesian_prod(*lines)).exp()
    assert (p.sum() * (lines[0][1] - lines[0][0]) * (lines[1][1] - lines[1][0])).item() == pytest.approx(
        1, abs=tolerance
    )


# -- the numbers of the sheet


def test_moebius_is_conformal():
    world = moebius(a=[1.0, -0.8, 0.6], b=torch.zeros(3))
    z = torch.tensor([[0.1, 0.2, -0.3]])
    assert world.log_abs_det_jacobian(z).item() == pytest.approx(-2.889523, abs=1e-6)
    square = (z - world.a).square().sum()
    j = world.jacobian(z)[0]
    assert torch.allclose(j.T @ j, torch.eye(3) / square**2, atol=1e-14)
    again = moebius(alpha=2.0, a=world.a, A=world.A, b=[1.0, 2.0, 3.0])
    assert torch.allclose(again.decode(z), 2 * world.decode(z) + torch.tensor([1.0, 2.0, 3.0]))
    for seed in range(20):
        assert (moebius(4, seed=seed).a.abs() > 0.5).all()
    x = moebius().sample(100_000, seed=5)[0]
    assert x.mean(0).abs().max() < 0.02 * moebius().scale


@pytest.mark.parametrize(
    ("pole", "trace", "values", "log_prob", "of_mean"),
    [
        (POLES[0], 0.00430115, (0.001386, 0.001435, 0.001479), 6.143345, 2.92911e-4),
        (POLES[1], 0.00764891, (0.002438, 0.002546, 0.002665), 5.296749, 5.289e-4),
    ],
)
def test_fixed_maps(pole, trace, values, log_prob, of_mean):
    world = moebius(a=pole)
    z, w = legendre(40, 3)
    x = world.decode(z)
    mean = w @ x
    assert mean.abs().max() < 1e-3
    covariance = (x - mean).T @ (w[:, None] * (x - mean))
    assert covariance.trace().item() == pytest.approx(trace, abs=1e-8)
    assert torch.linalg.eigvalsh(covariance).tolist() == pytest.approx(values, abs=1e-6)
    assert (w @ world.log_prob(x)).item() == pytest.approx(log_prob, abs=1e-6)
    assert contrast(world, z[::7]).abs().max() < 1e-10
    j = torch.einsum("b,bij->ij", w, world.jacobian(z))
    c = j.norm(dim=0).log().sum() - torch.linalg.slogdet(j)[1]
    assert c.item() == pytest.approx(of_mean, abs=1e-7)
    assert world.scale == pytest.approx((trace / 3) ** 0.5, rel=0.02)


def test_two_dimensional_reference():
    world = two_dimensional()
    z = torch.tensor([[0.4, -0.7]])
    x = world.decode(z)
    assert x[0].tolist() == pytest.approx([0.516825503, -0.615381638], abs=1e-9)
    j = [1.276318298, 0, 0.684212199, 1.229452656]
    assert world.jacobian(z).flatten().tolist() == pytest.approx(j, abs=1e-9)
    assert contrast(world, z).item() == pytest.approx(0.126306396, abs=1e-9)
    assert world.log_prob(x).item() == pytest.approx(-2.613425746, abs=1e-9)


def test_linear_contrasts():
    for a, c in ((A53, 1.216397), (np.random.default_rng(0).normal(size=(3, 3)), 1.196320)):
        assert contrast(linear(a), torch.zeros(1, 3)).item() == pytest.approx(c, abs=1e-6)
    world, x = linear(A53), torch.randn(4, 5)
    # the point found for x is the nearest
    assert torch.allclose((x - world.decode(world.encode(x))) @ world.A, torch.zeros(4, 3), atol=1e-12)


def test_contrasts_of_networks():
    z = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    assert contrast(mlp(layers=1), z).abs().max() < 1e-10
    for layers, mean, deviation in ((2, 0.085, 0.041), (3, 0.149, 0.081)):
        c = torch.stack([contrast(mlp(layers=layers, seed=s), z).mean() for s in range(20)])
        assert c.min() > 0
        # two means of 20 maps each
        assert c.mean().item() == pytest.approx(mean, abs=3 * deviation * (2 / 20) ** 0.5)
    for seed in range(5):
        assert contrast(triangular(seed=seed), z).mean() > 0.05
        j = triangular(seed=seed).jacobian(z[:5])
        assert torch.equal(j.tril(), j)
        assert (j.diagonal(dim1=1, dim2=2) > 0).all()


def test_matrices():
    q, m = orthogonal(4, seed=1), unit_determinant(4, seed=1)
    assert q.dtype == m.dtype == torch.float64
    assert torch.allclose(q.T @ q, torch.eye(4), atol=1e-14)
    assert abs(torch.linalg.det(m).item()) == pytest.approx(1, abs=1e-12)
    assert (m > 0).all()
    assert torch.equal(m, unit_determinant(4, seed=1))
    # Haar: entries have variance 1/d, and reflections are as likely as rotations
    many = torch.stack([orthogonal(3, seed=s) for s in range(600)])
    assert many.square().mean(0).sub(1 / 3).abs().max() < 0.05
    assert many.mean(0).abs().max() < 0.1
    assert torch.linalg.det(many).mean().abs() < 0.15
    world = moebius()
    z = world.sample(300)[1]
    assert torch.allclose(contrast(after(q[:3, :3] @ torch.eye(3), linear(torch.eye(3))), z).std(), torch.zeros(()))
    assert contrast(after(orthogonal(3), world), z).abs().max() < 1e-10
    assert contrast(after(unit_determinant(3), world), z).min() > 0.1


def test_conformal_maps_are_injective_and_have_no_density_elsewhere():
    world = conformal(strength=0.99, degree=6)
    line = torch.linspace(-0.5, 0.5, 101)
    z = torch.cartesian_prod(line, line)
    assert (world.encode(world.decode(z)) - z).abs().max() < 1e-8
    far = torch.tensor(list(itertools.product((-3.0, 0.9, 3.0), (-3.0, 0.9, 3.0))))
    assert (world.log_prob(far[[0, 2, 6, 8]]) == -math.inf).all()


def test_worlds_of_toys():
    x, z = toys.moebius(dim=3, seed=0).sample(5)
    assert x.shape == z.shape == (5, 3)
    for name, made in (("linear_mixing", linear), ("mlp_mixing", mlp), ("triangular", triangular), ("after", after)):
        assert getattr(toys, name) is made
        assert name in toys.__all__


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moebius(a=[0.1, 0.5, -0.2]), "lies in the box"),
        (lambda: moebius(1), "dim is 1; expected at least 2"),
        (lambda: moebius(alpha=0.0), "alpha is 0.0"),
        (lambda: moebius(A=torch.ones(3, 3) + torch.eye(3)), "orthogonal matrix"),
        (lambda: moebius(A=torch.eye(2), a=[1.0, 2.0, 3.0]), "orthogonal matrix"),
        (lambda: moebius(b=[1.0, 2.0]), "expected 3 finite"),
        (lambda: moebius(a=[1.0, math.nan]), "finite"),
        (lambda: moebius(sources="cauchy"), "expected one of uniform, normal, laplace, beta"),
        (lambda: moebius(sources="beta", beta=(0.0, 1.0)), "above 0"),
        (lambda: linear(torch.ones(3, 2)), "has rank 1 but 2 columns"),
        (lambda: linear(torch.ones(2, 3)), "at least as many rows"),
        (lambda: linear(torch.full((2, 2), math.inf)), "NaN or infinity"),
        (lambda: after(torch.eye(2), moebius()), r"expected \(3, 3\)"),
        (lambda: after(torch.ones(3, 3), moebius()), "rank 1"),
        (lambda: after(torch.eye(3)[:, :2], moebius()), "square"),
        (lambda: mlp(layers=0), "layers is 0"),
        (lambda: triangular(dim=0), "dim is 0"),
        (lambda: conformal(sources="normal"), "expected one of uniform, beta"),
        (lambda: conformal(strength=1.0), "0 <= strength < 1"),
        (lambda: conformal(coefficients=[[1.0, 1.0]]), "injective"),
        (lambda: polar(sources="laplace"), "expected one of uniform, beta"),
        (lambda: polar(r=[1.0, 1.0], a=[0.5, 0.0]), r"a\[0\] > r"),
        (lambda: polar(r=[1.0, 7.0]), "2 pi"),
        (lambda: moebius().sample(0), "n is 0"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
