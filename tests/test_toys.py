"""The worlds that everything else is judged by: against autograd, quadrature and the numbers of the literature."""

from __future__ import annotations

import math

import pytest
import torch

from chartae.data import load, toys
from chartae.data.toys import World

WITH_DENSITY = [name for name in toys.WORLDS if name != "spiral"]


@pytest.mark.parametrize("name", toys.WORLDS)
def test_contract(name):
    world = toys.WORLDS[name]()
    x = world.sample(60, seed=1)
    assert x.shape == (60, world.dim)
    assert x.dtype == torch.float64
    assert torch.equal(x, world.sample(60, seed=1))
    assert not torch.equal(x, world.sample(60, seed=2))
    smooth = world.smoothed(0.2)
    for law in [smooth] if name == "spiral" else [world, smooth]:
        assert torch.allclose(law.score(x), World.score(law, x), atol=1e-8)
        assert torch.allclose(law.hessian(x), World.hessian(law, x), rtol=1e-6, atol=1e-6)
        assert law.log_prob(x.float()).dtype == torch.float32
        with pytest.raises(ValueError, match=r"expected points \(B, "):
            law.log_prob(torch.zeros(3, world.dim + 1))


@pytest.mark.parametrize("name", ["mixture-1d", "sextic", "mixture-2d", "ninja-star", "ring"])
def test_densities_integrate_to_one_and_smoothing_is_a_convolution(name):
    world = toys.WORLDS[name]()
    line = torch.linspace(-8, 8, 1601 if world.dim == 1 else 641)
    x = torch.cartesian_prod(*[line] * world.dim).reshape(-1, world.dim)
    cell = (line[1] - line[0]).item() ** world.dim
    p = world.log_prob(x).exp() * cell
    assert p.sum().item() == pytest.approx(1, abs=1e-4)
    sigma, at = 0.3, world.sample(5, seed=3)
    kernel = (-torch.cdist(at, x).square() / (2 * sigma**2)).exp() / (2 * math.pi * sigma**2) ** (world.dim / 2)
    assert torch.allclose((kernel @ p).log(), world.smoothed(sigma).log_prob(at), atol=1e-3)


def test_samples_follow_the_density():
    """Moments of the sheet on 1211.4246, computed there by quadrature."""
    x = toys.sextic().sample(200_000, seed=0)
    assert math.exp(toys.sextic().log_z) == pytest.approx(0.8082882, rel=1e-6)
    assert x.mean().item() == pytest.approx(0.157942, abs=0.005)
    assert x.var().item() == pytest.approx(0.276066, abs=0.003)
    star = toys.ninja_star()
    x = star.sample(200_000, seed=0)
    assert math.exp(star.log_z) == pytest.approx(1.912581, rel=1e-5)
    assert x.square().sum(1).mean().item() == pytest.approx(2.89100, abs=0.01)
    assert x.norm(dim=1).mean().item() == pytest.approx(1.57153, abs=0.005)
    assert toys.mixture_2d().covariance.trace().item() == pytest.approx(4.329875, abs=1e-9)
    world = toys.manifold()
    assert torch.allclose(world.sample(200_000, seed=1).T.cov(), world.covariance, atol=0.01)


@pytest.mark.parametrize(
    ("sigma", "energy"), [(0.03, 2.930721), (0.1, 2.755147), (0.3, 1.729967), (1.0, 0.320254)]
)  # fmt: skip
def test_the_energy_of_the_smoothed_score(sigma, energy):
    law = toys.mixture_1d().smoothed(sigma)
    x = torch.linspace(-10, 10, 20_001)[:, None]
    assert (law.log_prob(x).exp() * law.score(x)[:, 0] ** 2).sum().item() * 1e-3 == pytest.approx(energy, abs=1e-5)


def test_spiral():
    x = toys.spiral().sample(4000, seed=0)
    assert 0.119 < x.norm(dim=1).min().item() < 0.13
    assert x.norm(dim=1).max().item() == pytest.approx(0.6, abs=0.01)
    assert toys.spiral().distance(x).max() < 1e-3
    noisy = toys.spiral(noise=0.02)
    d = noisy.distance(noisy.sample(4000, seed=0))
    assert d.mean().item() == pytest.approx(0.02 * math.sqrt(2 / math.pi), rel=0.05)
    assert torch.allclose(noisy.log_prob(x[:9]), toys.spiral().smoothed(0.02).log_prob(x[:9]))
    with pytest.raises(ValueError, match="Use .smoothed"):
        toys.spiral().log_prob(x)


def test_full_covariances_are_the_isotropic_ones_where_they_are():
    means, x = [[0.0, 1.0], [2.0, -1.0]], torch.randn(20, 2)
    a = toys.mixture(means, sds=[0.5, 0.8], weights=[1.0, 3.0])
    eye = torch.eye(2)
    b = toys.mixture(means, covariances=torch.stack([0.25 * eye, 0.64 * eye]), weights=[0.25, 0.75])
    for question in ("log_prob", "score", "hessian"):
        assert torch.allclose(getattr(a, question)(x), getattr(b, question)(x))
    assert torch.allclose(a.covariance, b.covariance)
    c = torch.tensor([[2.0, 0.6], [0.6, 1.0]])
    one = toys.gaussian(c)
    reference = torch.distributions.MultivariateNormal(torch.zeros(2), c)
    assert torch.allclose(one.log_prob(x), reference.log_prob(x))
    assert torch.allclose(one.smoothed(0.5).covariance, c + 0.25 * eye)


def test_worlds_are_data_sets():
    data = load("ring", seed=3)
    assert tuple(data.train.shape) == (20_000, 2)
    assert data.train.dtype == torch.float32
    assert torch.equal(data.train, load("ring", seed=3).train)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: toys.mixture([0.0, 1.0]), "means has shape"),
        (lambda: toys.mixture([[0.0], [1.0]], sds=[1.0, -1.0]), "above 0"),
        (lambda: toys.mixture([[0.0], [1.0]], sds=[1.0] * 3), "one for each of 2"),
        (lambda: toys.mixture([[0.0], [1.0]], weights=[1.0]), "expected 2 finite numbers"),
        (lambda: toys.mixture([[0.0], [math.nan]]), "finite"),
        (lambda: toys.mixture([[0.0, 0.0]], covariances=[[[1.0, 2.0], [2.0, 1.0]]]), "positive definite"),
        (lambda: toys.mixture([[0.0, 0.0]], covariances=[[[1.0, 2.0], [0.0, 1.0]]]), "symmetric"),
        (lambda: toys.ring().smoothed(0), "sigma is 0"),
        (lambda: toys.ring().sample(0), "n is 0"),
        (lambda: toys.spiral(noise=-1), "noise is -1"),
        (lambda: toys.manifold(dim=1), "at least 2"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
