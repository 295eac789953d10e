"""Scores from reconstructions, and the paper's theorem on a grid."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn as tnn

import chartae as ch
from chartae import maths
from chartae.data import Batch, toys
from chartae.diagnostics import Score, optimal_reconstruction, score_error
from chartae.evaluation import evaluate_score
from chartae.recipes import Setting, build
from chartae.records import manifest

SIGMA = 0.5


def best(world, sigma=SIGMA):
    """The best denoiser there is: Tweedie's formula."""
    law = world.smoothed(sigma)
    return lambda x: x + sigma**2 * law.score(x)


def random_model(weights="free", form="residual", net="shallow", size=3):
    """A denoiser whose weights are drawn, the last layer's too."""
    options = {"sigma": SIGMA, "form": form, "weights": weights}
    model = build("dae", Setting((size,), 8, net, unit=False), **options).objective.model
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.4)
    return model.eval()


# -- closed forms ------------------------------------------------------------------------------------------------------


def test_the_best_denoiser_gives_score_and_hessian_of_the_smoothed_density():
    world = toys.mixture_2d()
    law, x = world.smoothed(SIGMA), world.sample(50, seed=1)
    s = Score(best(world), SIGMA)
    assert torch.allclose(s(x), law.score(x))
    assert torch.allclose(s.hessian(x), law.hessian(x))
    assert s.antisymmetry(x).max() < 1e-6
    y = x + 0.3 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(s.log_ratio(x, y, nodes=20), law.log_prob(y) - law.log_prob(x), atol=1e-6)
    assert score_error(s, law.score, x) == pytest.approx({"relative_l2": 0, "cosine": 1}, abs=1e-9)


def test_tangent_space_of_a_normal_is_its_axes():
    """Eigenvalues v / (v + sigma^2): along an axis wider than sigma they exceed 1/2."""
    world = toys.gaussian([[4.0, 0.0, 0.0], [0.0, 0.01, 0.0], [0.0, 0.0, 1.0]])
    s = Score(best(world), SIGMA)
    x = world.sample(6, seed=0)
    values, axes = s.tangent_space(x, 2)
    expected = torch.tensor([4 / 4.25, 1 / 1.25, 0.01 / 0.26])
    assert torch.allclose(values, expected.expand(6, 3))
    assert torch.allclose(axes.abs()[0], torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), atol=1e-9)
    assert s.local_dimension(x).tolist() == [2] * 6
    assert s.local_dimension(x, threshold=0.01).tolist() == [3] * 6


@pytest.mark.parametrize("form", ["residual", "plain"])
def test_tied_weights_have_an_exact_potential(form):
    s = Score(random_model("tied", form), SIGMA)
    x, y = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(3))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(s.log_density(x).sum(), x)
    assert torch.allclose(gradient, s(x), atol=1e-12)
    assert s.antisymmetry(x).max() < 1e-9
    exact = s.log_density(y) - s.log_density(x)
    assert torch.equal(s.log_ratio(x, y), exact)
    assert torch.allclose(s.log_ratio(x, y, rule="gauss-legendre", nodes=30), exact, atol=1e-6)
    free = Score(random_model(), SIGMA)
    assert free.antisymmetry(x).min() > 1e-3
    with pytest.raises(TypeError, match="use log_ratio"):
        free.log_density(x)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_activations_know_their_slopes_and_integrals(activation):
    layer = ch.nn.HiddenLayer(3, 7, activation)
    x = torch.randn(5, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer.potential(x).sum(), x)
    assert torch.allclose(gradient, layer(x) @ layer.weight)


@pytest.mark.parametrize("activation", ch.nn.ACTIVATIONS)
def test_slopes_are_autograds(activation):
    layer = ch.nn.HiddenLayer(3, 7, activation)
    x = torch.randn(5, 3)
    j = maths.jacobian_of(layer, x)
    assert torch.allclose(j, layer.slope(x)[:, :, None] * layer.weight)


# -- identities --------------------------------------------------------------------------------------------------------


def test_both_losses_are_score_matching_seen_from_the_other_side():
    """L_DAE = 2 s^4 DSM, L_RCAE = s^2 d + 2 s^4 ISM + s^6 ||grad g||^2, for any net; to rounding."""
    model = random_model()
    s = Score(model, SIGMA)
    x, e = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(2))
    denoising = (s.denoise(x + SIGMA * e) - x).square().sum(1)
    assert torch.allclose(denoising, 2 * SIGMA**4 * maths.denoising_score_matching(s, x, SIGMA, e))
    contractive = (s.denoise(x) - x).square().sum(1) + SIGMA**2 * s.jacobian(x).square().sum((1, 2))
    own = maths.jacobian_of(s, x).square().sum((1, 2))
    implicit = maths.implicit_score_matching(s, x)
    assert torch.allclose(contractive, SIGMA**2 * 3 + 2 * SIGMA**4 * implicit + SIGMA**6 * own)


def test_the_recipes_minimise_these_losses():
    """In nats the residual's loss is the printed one over 2 s^4, up to the constant of the normal's log density."""
    setting, x = Setting((3,), 8, "shallow", unit=False), torch.randn(30, 3)
    constant = 3 * math.log(SIGMA**2) + 1.5 * math.log(2 * math.pi)
    objective = build("rcae", setting, sigma=SIGMA, method="exact").objective
    objective.model = random_model()
    s = Score(objective.model, SIGMA)
    printed = (s.denoise(x) - x).square().sum(1) + SIGMA**2 * s.jacobian(x).square().sum((1, 2))
    assert torch.allclose(objective(x)["loss"], printed.mean() / (2 * SIGMA**4) + constant)
    objective = build("dae", setting, sigma=SIGMA, antithetic=False).objective
    objective.model = random_model()
    torch.manual_seed(0)
    t = objective.trace(Batch(x))
    e = (t.corrupted - x) / SIGMA
    dsm = maths.denoising_score_matching(Score(objective.model), x, SIGMA, e).mean()
    torch.manual_seed(0)
    assert torch.allclose(objective(x)["loss"], dsm + constant)


def test_the_excess_loss_is_the_error_of_the_score():
    """E ||r(x + s e) - x||^2 - minimum = s^4 E ||score error||^2 over the smoothed data."""
    world, n = toys.mixture_2d(), 400_000
    law, x = world.smoothed(SIGMA), world.sample(n, seed=0)
    y = x + SIGMA * torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    wrong = lambda a: 0.7 * law.score(a)  # noqa: E731
    loss = (y + SIGMA**2 * wrong(y) - x).square().sum(1) - (y + SIGMA**2 * law.score(y) - x).square().sum(1)
    error = (wrong(y) - law.score(y)).square().sum(1).mean()
    assert loss.mean().item() == pytest.approx(SIGMA**4 * error.item(), rel=0.02)


def test_sliced_score_matching_is_the_implicit_one_in_the_mean():
    model = random_model()
    x = torch.randn(1, 3).expand(40_000, 3).contiguous()
    objective = ch.Penalised(model, ch.SlicedScoreMatching(SIGMA))
    exact = maths.implicit_score_matching(Score(model, SIGMA), x[:1])
    values = objective.terms.terms["sliced_score_matching"](objective.trace(Batch(x)))
    assert values.mean().item() == pytest.approx(exact.item(), abs=4 * values.std().item() / 200)


# -- the path integral -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "nodes", "rmse"),
    [("first-order", 1, 1.036), ("trapezoid", 2, 0.261), ("trapezoid", 9, 0.00337), ("trapezoid", 20, 6.0e-4),
     ("gauss-legendre", 2, 0.0354), ("gauss-legendre", 3, 0.0107), ("gauss-legendre", 5, 0.00136)],
)  # fmt: skip
def test_quadrature_errors(rule, nodes, rmse):
    world = toys.mixture_2d()
    x = world.sample(20_000, seed=0)
    y = x + 0.5 * torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1))
    truth = world.log_prob(y) - world.log_prob(x)
    found = maths.log_ratio(world.score, x, y, rule=rule, nodes=nodes)
    assert (found - truth).square().mean().sqrt().item() == pytest.approx(rmse, rel=0.3)
    back = maths.log_ratio(world.score, y, x, rule=rule, nodes=nodes)
    assert torch.allclose(found, -back, atol=1e-9) == (rule != "first-order")


def test_gauss_legendre_is_exact_on_polynomials():
    score = lambda x: 4 * x**3  # log p = x^4: an integrand of degree 3, two nodes  # noqa: E731
    x, y = torch.randn(2, 10, 1)
    assert torch.allclose(maths.log_ratio(score, x, y, nodes=2), (y**4 - x**4)[:, 0])


# -- the theorem on a grid ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["rcae", "dae"])
@pytest.mark.parametrize("sigma", [1.0, 0.3])
def test_both_criteria_have_the_wiener_filter_for_normal_data(criterion, sigma):
    world, grid = toys.gaussian([[2.25]]), torch.linspace(-15, 15, 6001)
    r = optimal_reconstruction(world.log_prob, grid, sigma, criterion)
    inner = grid.abs() < 4
    assert torch.allclose(r[inner], grid[inner] * 2.25 / (2.25 + sigma**2), atol=1e-5)


SHEET = {  # section 6.2: relative L2 and cosine on the sextic, 1,001 nodes of [-1.5, 1.5]
    1.00: ((0.9384, 0.5734), (0.9401, 0.5526)),
    0.31: ((0.7740, 0.7093), (0.8056, 0.6675)),
    0.10: ((0.4151, 0.9476), (0.4294, 0.9499)),
    0.06: ((0.2352, 0.9855), (0.2498, 0.9858)),
    0.03: ((0.08199, 0.99834), (0.08936, 0.99840)),
    0.01: ((0.01039, 0.99997), (0.01162, 0.99997)),
}


def weighted_errors(world, grid, sigma, criterion):
    p, s = world.log_prob(grid[:, None]).exp(), world.score(grid[:, None])[:, 0]
    found = (optimal_reconstruction(world.log_prob, grid, sigma, criterion) - grid) / sigma**2
    error = ((p * (found - s) ** 2).sum() / (p * s**2).sum()).sqrt().item()
    return error, ((p * found * s).sum() / ((p * s * s).sum() * (p * found**2).sum()).sqrt()).item()


@pytest.mark.parametrize("sigma", SHEET)
def test_the_sextics_table(sigma):
    for criterion, expected in zip(("rcae", "dae"), SHEET[sigma], strict=True):
        error, cosine = weighted_errors(toys.sextic(), torch.linspace(-1.5, 1.5, 1001), sigma, criterion)
        assert error == pytest.approx(expected[0], rel=0.01)
        assert cosine == pytest.approx(expected[1], abs=0.001)


@pytest.mark.parametrize("criterion", ["rcae", "dae"])
def test_the_error_falls_with_the_square_of_sigma(criterion):
    world, grid = toys.mixture_1d(), torch.linspace(-8, 8, 8001)
    a, b = (weighted_errors(world, grid, sigma, criterion)[0] for sigma in (0.03, 0.01))
    assert math.log(a / b) / math.log(3) > 1.95


def test_the_grid_solver_does_not_underflow():
    """On [-4, 4] the sextic's density falls below the smallest double: the plain system is singular there."""
    wide, narrow = torch.linspace(-4, 4, 8001), torch.linspace(-1.5, 1.5, 3001)
    r = optimal_reconstruction(toys.sextic().log_prob, wide, 0.1, "rcae")
    assert r.isfinite().all()
    assert toys.sextic().log_prob(wide[:1, None]).exp() == 0
    short = optimal_reconstruction(toys.sextic().log_prob, narrow, 0.1, "rcae")
    assert torch.allclose(r[3000:5001], short[500:2501], atol=1e-4)


# -- bad input ---------------------------------------------------------------------------------------------------------


def noiseless():
    return build("ae", Setting((3,), 2, unit=False)).objective.model


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Score(noiseless(), 0.1), ValueError, "trained without noise .* a reconstruction error"),
        (lambda: Score(random_model(), 0.0), ValueError, "sigma is 0"),
        (lambda: Score(random_model(), -1.0), ValueError, "sigma is -1"),
        (lambda: Score(random_model(), 0.1), ValueError, "trained with noise 0.5"),
        (lambda: Score(lambda x: x), ValueError, "sigma is None"),
        (lambda: Score(lambda x: x, math.inf), ValueError, "finite"),
        (lambda: Score("model", 1.0), TypeError, "expected an Autoencoder, or a map"),
        (lambda: Score(lambda x: x, 1.0).log_ratio(*torch.zeros(2, 1, 1), rule="simpson"), ValueError, "rule is"),
        (lambda: Score(lambda x: x, 1.0).log_ratio(*torch.zeros(2, 1, 1), nodes=0), ValueError, "nodes is 0"),
        (lambda: Score(lambda x: x, 1.0).local_dimension(torch.zeros(1, 1), 2.0), ValueError, "threshold is 2"),
        (lambda: optimal_reconstruction(toys.sextic().log_prob, torch.linspace(-1, 1, 99), 0.0), ValueError, "sigma"),
        (lambda: optimal_reconstruction(toys.sextic().log_prob, torch.linspace(-1, 1, 9), 0.01), ValueError, "wider"),
        (lambda: optimal_reconstruction(toys.sextic().log_prob, torch.randn(99), 1.0), ValueError, "evenly spaced"),
        (lambda: optimal_reconstruction(toys.sextic().log_prob, torch.zeros(3), 1.0), ValueError, "one dimension"),
        (lambda: optimal_reconstruction(lambda x: x[:, 0].sqrt(), torch.linspace(-1, 1, 99), 1.0), ValueError, "NaN"),
        (lambda: optimal_reconstruction(toys.sextic().log_prob, torch.linspace(-1, 1, 99), 1.0, "cae"), ValueError,
         "expected 'rcae' or 'dae'"),
        (lambda: ch.Contraction("closed").check(linear()), TypeError, "needs one hidden layer"),
        (lambda: ch.Contraction("fast"), ValueError, "expected one of exact"),
        (lambda: ch.Contraction(of="decoder"), ValueError, "the whole map"),
        (lambda: ch.SlicedScoreMatching(0.0), ValueError, "sigma is 0"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def linear():
    return ch.Autoencoder(ch.Dirac(tnn.Linear(3, 2)), ch.Gaussian(tnn.Linear(2, 3)), ch.StandardNormal(2))


def test_a_noise_conditional_model_has_a_score_at_every_level():
    model = build("ncdae", Setting((2,), 16, unit=False), low=0.1, high=2.0).objective.model.eval()
    x = torch.randn(5, 2)
    s = Score(model)
    assert (s.sigma, s.levels) == (0.1, (0.1, 2.0))
    assert not torch.allclose(s(x), s.at(1.0)(x))
    assert torch.allclose(s.at(1.0).denoise(x), model.reconstruct(x, torch.ones(5)))
    assert torch.allclose(s.denoise(x), model.reconstruct(x))
    with pytest.raises(ValueError, match=r"trained with noise 0.1 to 2"):
        s.at(3.0)


def test_a_foreign_model_says_its_noise_by_its_map():
    model = linear()
    s = Score(model.reconstruct, 0.3)
    x = torch.randn(4, 3)
    assert torch.allclose(s(x), (model.reconstruct(x) - x) / 0.09)
    ch.Penalised(model, ch.Reconstruction(), corrupt=ch.GaussianNoise(0.2))
    assert Score(model).sigma == 0.2


# -- a run's score -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_runs_score_is_evaluated_where_the_truth_is_known(tmp_path, float32):
    run = ch.fit("dae", "mixture-2d", sigma=0.5, epochs=2, latent_dim=16, progress=False, out=tmp_path / "run")
    results = evaluate_score(run, n=200)
    assert json.loads((tmp_path / "run" / "score.json").read_text()) == results
    (level,) = results["levels"]
    assert level["sigma"] == 0.5
    assert level["denoising"] < 1.2
    assert sum(level["local_dimension"]) == 200
    assert set(level["smoothed"]) == {"relative_l2", "cosine", "hessian_relative", "log_ratio_rmse"}
    manifest.verify(tmp_path / "run", "score.json", "score-field.png", "score-dimension.png")
    with pytest.raises(ValueError, match="trained with noise 0.5"):
        evaluate_score(run, sigma=0.1)
    with pytest.raises(ValueError, match="'rae', which estimates no score"):
        evaluate_score(ch.fit("rae", "mixture-2d", latent_dim=2, epochs=1, densities=(), progress=False))
