"""Near-deterministic VAEs: geometry, posteriors, gap, self-consistency; the facts sheet's tables are the truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import chartae as ch
from chartae import diagnostics as dg
from chartae.data import mixings
from closed_forms import CODE, SIZE, linear, linear_autoencoder, points

A33 = torch.tensor(  # numpy's default_rng(0).normal(size=(3, 3))
    [
        [0.12573022, -0.13210486, 0.64042265],
        [0.10490012, -0.53566937, 0.36159505],
        [1.30400005, 0.94708096, -0.70373524],
    ],
    dtype=torch.float64,
)


def affine(a):
    return lambda z: z @ a.T


def at(d, n=1, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# -- geometry ---------------------------------------------------------------------------------------------------------


def test_jacobian_is_autograds_and_chunks_do_not_matter():
    net = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 6), nn.Unflatten(1, (2, 3)))
    z = at(4, 7)
    expected = torch.stack([torch.autograd.functional.jacobian(lambda a: net(a[None])[0], one) for one in z])
    assert torch.allclose(dg.jacobian(net, z), expected)
    assert torch.allclose(dg.jacobian(net, z, chunk=2), expected)
    assert not dg.jacobian(net, z).requires_grad


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.9])
def test_contrast_of_unit_columns(cosine):
    a = torch.tensor([[1.0, cosine], [0.0, math.sqrt(1 - cosine**2)]])
    assert dg.ima_contrast(affine(a), at(2)).item() == pytest.approx(-0.5 * math.log(1 - cosine**2), abs=1e-12)


def test_contrast_closed_forms_and_invariances():
    t = 0.4
    rows = torch.tensor([[1.0, 0.0], [math.cos(t), math.sin(t)]])
    contrast = lambda a: dg.ima_contrast(affine(a), at(a.shape[1])).item()  # noqa: E731
    assert contrast(rows) == pytest.approx(0.5 * math.log(1 + math.cos(t) ** 2))
    turn = torch.tensor([[1.0, -1.0], [1.0, 1.0]]) / math.sqrt(2)
    stretch = torch.diag(torch.tensor([1.0, 2.0]))
    assert contrast(stretch @ turn) == pytest.approx(0.223144, abs=1e-6)
    assert contrast(stretch) == pytest.approx(0, abs=1e-12)
    assert contrast(A33) == pytest.approx(1.196320, abs=1e-6)
    # permuted and rescaled columns, and a rotation after it, change nothing; a rotation before it does
    Q = mixings.orthogonal(3, 1)
    assert contrast(Q @ A33[:, [2, 0, 1]] * torch.tensor([1.0, -5.0, 0.2])) == pytest.approx(contrast(A33))
    assert abs(contrast(A33 @ Q) - contrast(A33)) > 0.01


def test_geometry_of_a_linear_map():
    found = dg.geometry(affine(A33), at(3, 5))
    assert torch.allclose(found.singular_values, torch.linalg.svdvals(A33).expand(5, 3))
    assert torch.allclose(found.condition, torch.linalg.cond(A33).expand(5))
    assert torch.allclose(found.lengths, A33.norm(dim=0).expand(5, 3))
    assert torch.allclose(found.angles.diagonal(dim1=1, dim2=2), torch.zeros(5, 3), atol=1e-5)
    cosine = (A33[:, 0] @ A33[:, 1]) / A33[:, 0].norm() / A33[:, 1].norm()
    assert found.cosines[0, 0, 1].item() == pytest.approx(cosine.item())


def test_a_moebius_map_is_conformal_but_its_mean_jacobian_is_not():
    world = mixings.moebius(dim=3, a=torch.tensor([1.46210794, -2.06014071, 1.13376944]))
    nodes = torch.linspace(-0.5, 0.5, 41)[1::2]  # midpoints
    z = torch.cartesian_prod(nodes, nodes, nodes)
    assert dg.ima_contrast(world.decode, z).abs().max().item() < 1e-12
    mean = dg.jacobian(world.decode, z).mean(0)
    assert dg.ima_contrast(affine(mean), at(3)).item() == pytest.approx(2.929e-4, rel=0.01)


def test_an_infinite_contrast_is_said():
    flat = torch.tensor([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]])
    with pytest.warns(RuntimeWarning, match="at 1 of 1 points the Jacobian has no full rank"):
        assert dg.ima_contrast(affine(flat), at(2)).item() == math.inf
    with pytest.warns(RuntimeWarning, match="no full rank"):
        assert dg.geometry(affine(torch.tensor([[1.0, 0.0], [2.0, 0.0]])), at(2)).contrast.item() == math.inf
    with pytest.warns(RuntimeWarning, match="no full rank"):
        assert dg.geometry(affine(torch.zeros(3, 2)), at(2)).condition.item() == math.inf  # not 0 / 0


def test_what_has_no_jacobian_is_refused():
    normed = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match=r"1 is batch normalisation in training mode.*\.eval"):
        dg.jacobian(normed, at(2, 4))
    assert dg.jacobian(normed.eval(), at(2, 4)).shape == (4, 3, 2)
    with pytest.raises(ValueError, match="dropout in training mode"):
        dg.jacobian(nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)), at(2, 4))
    with pytest.raises(ValueError, match="no gradient with respect to z"):
        dg.ima_contrast(lambda z: (z * 3).round().detach(), at(2))
    with pytest.raises(ValueError, match=r"shape \(0, 2\)"):
        dg.jacobian(affine(torch.eye(2)), torch.zeros(0, 2))
    with pytest.raises(TypeError, match="expected an Autoencoder"):
        dg.jacobian(torch.eye(2), at(2))
    with pytest.raises(ValueError, match="1 of 2 codes are not finite"):
        dg.ima_contrast(affine(torch.eye(2)), torch.tensor([[0.0, 1.0], [math.nan, 0.0]]))
    with pytest.raises(ArithmeticError, match="at 1 of 2 points the decoder's Jacobian is not finite"):
        dg.geometry(lambda z: 1 / z, torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="chunk is 0"):
        dg.jacobian(affine(torch.eye(2)), at(2), chunk=0)


# -- posteriors and the gap -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gamma2", "expected"),
    [(1.0, 0.251740), (10.0, 0.885329), (1e2, 1.153555), (1e3, 1.191862), (1e4, 1.195872), (1e5, 1.196275)],
)
def test_the_linear_identity(gamma2, expected):
    assert dg.linear_gap(A33, gamma2).item() == pytest.approx(expected, abs=1e-6)
    z = at(3, 4, seed=2)
    found = dg.elbo_gap(affine(A33), z @ A33.T, gamma2, start=z)
    exact = torch.distributions.MultivariateNormal(torch.zeros(3), A33 @ A33.T + torch.eye(3) / gamma2)
    log_p = exact.log_prob(z @ A33.T)
    assert torch.allclose(found.log_likelihood, log_p, rtol=1e-9)
    assert torch.allclose(log_p - found.elbo, torch.full((4,), dg.linear_gap(A33, gamma2).item()), atol=1e-8)


def test_no_other_posterior_of_a_linear_model_is_better():
    gamma2, z = 10.0, at(3, 1, seed=5)
    x = z @ A33.T
    best = dg.optimal_posterior(affine(A33), x, gamma2, start=z)
    precision = torch.eye(3) + gamma2 * A33.T @ A33
    assert torch.allclose(best.mean, gamma2 * torch.linalg.solve(precision, A33.T @ x[0])[None])
    assert torch.allclose(best.sigma, precision.diagonal().rsqrt()[None])

    def elbo(m, s):
        norm = -1.5 * math.log(2 * math.pi / gamma2)
        error = (x - m @ A33.T).square().sum(1) + (s.square() * A33.square().sum(0)).sum(1)
        return norm - gamma2 / 2 * error - 0.5 * (m.square() + s.square() - 1 - 2 * s.log()).sum(1)

    assert torch.allclose(elbo(best.mean, best.sigma), best.elbo)
    for seed in range(20):
        m, s = best.mean + 0.1 * at(3, 1, seed), best.sigma * (0.1 * at(3, 1, seed + 99)).exp()
        assert elbo(m, s) < best.elbo


TABLE = {  # 2.6: |mu - z|, sigma^2, relative error of the formula, |f(mu) - x|^2, ELBO* - L_IMA, log p_g - log p
    1e1: (5.928e-2, (4.6111e-2, 6.2192e-2), (1.312e-2, 2.260e-3), 3.235e-3, -2.801e-2, -3.981e-2),
    1e3: (6.239e-4, (4.7668e-4, 6.6114e-4), (1.356e-4, 1.175e-5), 3.561e-7, -2.815e-4, -4.048e-4),
    1e5: (6.242e-6, (4.7684e-6, 6.6157e-6), (1.356e-6, 1.162e-7), 3.564e-11, -2.815e-6, -4.048e-6),
}


@pytest.mark.parametrize("gamma2", TABLE)
def test_the_nonlinear_reference(gamma2):
    world, z = mixings.two_dimensional(), torch.tensor([[0.4, -0.7]])
    x = world.decode(z)
    best = dg.optimal_posterior(world.decode, x, gamma2, start=z)
    gap = dg.elbo_gap(world.decode, x, gamma2, start=z)
    code, variance, relative, reconstruction, elbo, likelihood = TABLE[gamma2]
    close = lambda value: pytest.approx(value, rel=1e-3)  # noqa: E731
    assert (best.mean - z).norm().item() == close(code)
    assert best.sigma.square()[0].tolist() == close(variance)
    formula = best.sigma.square() / dg.predicted_variance(world.decode, z, gamma2) - 1
    assert formula[0].tolist() == close(relative)
    assert (world.decode(best.mean) - x).square().sum().item() == close(reconstruction)
    assert (gap.elbo - gap.ima).item() == close(elbo)
    assert (gap.log_likelihood - gap.limit).item() == close(likelihood)
    assert gap.contrast.item() == pytest.approx(0.126306396, abs=1e-8)
    assert gap.limit.item() == pytest.approx(-2.613425746, abs=1e-8)
    assert gap.elbo.item() <= math.log(gamma2 / (2 * math.pi))


@pytest.mark.parametrize(
    ("prior", "gamma2", "code", "variance", "elbo", "limit"),
    [
        ("uniform", 1e3, 2.793e-3, (8.716e-3, 1.3725e-2), -1.755e-3, -0.473226070),
        ("beta", 1e3, 2.087e-2, (8.509e-3, 1.3340e-2), -2.490e-3, 0.313235071),
    ],
)
def test_the_nonlinear_reference_under_a_bounded_prior(prior, gamma2, code, variance, elbo, limit):
    law = ch.Uniform(2) if prior == "uniform" else ch.Beta(2, 3.0, 5.0)
    world, z = mixings.two_dimensional(), torch.tensor([[0.6, 0.3]])
    x = world.decode(z)
    best = dg.optimal_posterior(world.decode, x, gamma2, start=z, prior=law)
    assert (best.mean - z.logit()).norm().item() == pytest.approx(code, rel=1e-3)
    assert best.sigma.square()[0].tolist() == pytest.approx(variance, rel=1e-3)
    gap = dg.elbo_gap(world.decode, x, gamma2, start=z, prior=law)
    assert (gap.elbo - gap.ima).item() == pytest.approx(elbo, rel=1e-3)
    assert gap.limit.item() == pytest.approx(limit, abs=1e-8)
    assert torch.allclose(gap.z, z)
    # 1 / ((a + b) s (1 - s) + gamma^2 (s (1 - s))^2 ||J||^2)
    lengths, inside = dg.geometry(world.decode, z).lengths.square(), z * (1 - z)
    a_and_b = 2.0 if prior == "uniform" else 8.0
    formula = 1 / (a_and_b * inside + gamma2 * inside.square() * lengths)
    assert torch.allclose(dg.predicted_variance(world.decode, z, gamma2, law), formula)


def test_the_orders_of_the_limit():
    rates = dg.consistency_rates(
        mixings.two_dimensional().decode, torch.tensor([[0.4, -0.7], [1.0, 0.2]]), (1e3, 1e4, 1e5)
    )
    expected = {"code": -1, "variance": -1, "reconstruction": -2, "variance_error": -1, "ima": -1, "likelihood": -1}
    assert {name: round(slope[0], 2) for name, slope in rates.slopes.items()} == expected
    with pytest.raises(ValueError, match="at least three"):
        dg.consistency_rates(affine(A33), at(3), (1e3, 1e4, 1e4))


def test_many_dimensions_by_quasi_random_points():
    A = at(5, 7, seed=1)
    z = at(5, 2, seed=2)
    best = dg.optimal_posterior(affine(A), z @ A.T, 100.0, start=z)
    precision = torch.eye(5) + 100 * A.T @ A
    assert torch.allclose(best.sigma, precision.diagonal().rsqrt().expand(2, 5), rtol=1e-3)


def test_bad_posteriors():
    z = at(3, 2)
    with pytest.raises(ValueError, match="gamma2 is 0"):
        dg.optimal_posterior(affine(A33), z, 0.0, start=z)
    with pytest.raises(ValueError, match="x holds 2 points and start 1 codes"):
        dg.elbo_gap(affine(A33), z, 1.0, start=z[:1])
    with pytest.raises(ValueError, match="x holds 0 points and start 0 codes"):
        dg.optimal_posterior(affine(A33), z[:0], 1.0, start=z[:0])
    with pytest.raises(ValueError, match=r"shape \(1,\); expected \(3,\)"):  # would broadcast
        dg.elbo_gap(affine(A33), z[:, :1], 1.0, start=z)
    with pytest.raises(ValueError, match="2 of 2 codes lie outside"):
        dg.optimal_posterior(affine(A33), z, 1.0, start=2 + z.abs(), prior=ch.Uniform(3))
    with pytest.raises(ValueError, match="1 of 2 codes lie outside"):
        dg.predicted_variance(affine(A33), torch.tensor([[0.5] * 3, [0.5, 0.5, 1.0]]), 1.0, ch.Uniform(3))
    with pytest.raises(ValueError, match="nodes is 0"):
        dg.optimal_posterior(affine(A33), z, 1.0, start=z, nodes=0)
    with pytest.warns(RuntimeWarning, match="2 of 2 points the search"):
        dg.optimal_posterior(affine(A33), z @ A33.T, 1e4, start=z + 1, iterations=2)
    with pytest.raises(TypeError, match=r"prior is a str; .* Uniform\(3\)"):
        dg.predicted_variance(affine(A33), z, 1.0, "uniform")
    with pytest.raises(ValueError, match=r"shape \(2,\); expected \(3,\)"):
        dg.optimal_posterior(affine(A33), z, 1.0, start=z, prior=ch.Uniform(2))
    with pytest.raises(ValueError, match="n >= d"):
        dg.linear_gap(A33[:2], 1.0)


# -- self-consistency -------------------------------------------------------------------------------------------------


def exact_linear_vae(gamma2, dead=False):
    """The encoder that is optimal for the decoder V z; with `dead`, one column is nought."""
    model = linear_autoencoder(variational=True, sigma=gamma2**-0.5)
    V = model.decoder.net.weight.detach()
    with torch.no_grad():
        model.decoder.net.bias.zero_()
        if dead:
            V[:, 2] = 0
        precision = torch.eye(CODE) + gamma2 * V.T @ V
        net = model.encoder.net
        net.weight.zero_()
        net.weight[:CODE] = gamma2 * torch.linalg.solve(precision, V.T)
        net.bias.zero_()
        model.encoder.limit = math.inf
        net.bias[CODE:] = -0.5 * precision.diagonal().log()
    return model, V


def test_self_consistency_of_the_exact_linear_vae():
    model, V = exact_linear_vae(1e4)
    x = at(CODE, 50) @ V.T
    found = dg.self_consistency(model, x)
    assert found.ratio == pytest.approx(1, abs=1e-10)
    assert found.active.all()
    assert found.code.max().item() < 1e-2
    loose = dg.self_consistency(exact_linear_vae(1e2)[0], x)
    assert found.reconstruction.mean() < 0.02 * loose.reconstruction.mean()
    total = model.encoder(x).kl(model.prior(), x).mean()
    assert found.kl.sum().item() == pytest.approx(total.item())


def test_an_optimal_sigma_predicts_a_variance_as_a_fixed_one_does():
    model, V = exact_linear_vae(1e4)
    x = at(CODE, 50) @ V.T
    fixed = dg.self_consistency(model, x)
    model.decoder = ch.Gaussian(model.decoder.net, "optimal").eval()
    model.decoder.running = torch.tensor(1e-4)
    assert torch.allclose(dg.self_consistency(model, x).predicted, fixed.predicted, rtol=1e-6)


def test_a_collapsed_dimension_is_told():
    model, V = exact_linear_vae(1e4, dead=True)
    kl, active = dg.active_units(model, at(CODE, 50) @ V.T)
    assert active.tolist() == [True, True, False]
    assert kl[2].item() == pytest.approx(0, abs=1e-10)


def test_self_consistency_asks_for_a_variance():
    with pytest.raises(TypeError, match="It is defined for VAEs"):
        dg.self_consistency(linear_autoencoder(), points())
    with pytest.raises(ValueError, match="expected at least one point, all finite"):
        dg.self_consistency(linear_autoencoder(variational=True), points() * math.nan)
    bounded = ch.Autoencoder(
        ch.LogitNormal(linear(2 * CODE, SIZE, 0)), ch.Gaussian(linear(SIZE, CODE, 1), 0.1), ch.Uniform(CODE)
    )
    found = dg.self_consistency(bounded, points())
    assert found.variance.shape == found.predicted.shape == (11, CODE)
    assert found.kl.sum().item() == pytest.approx(
        bounded.encoder(points()).kl(bounded.prior(), torch.full((11, CODE), 0.5)).mean().item()
    )
