from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as td
from torch import nn

from chartae import (
    AnnealedNoise,
    Bernoulli,
    Beta,
    Gaussian,
    GaussianNoise,
    Laplace,
    Masking,
    NoiseLevels,
    RareNoise,
    SaltAndPepper,
    StandardNormal,
    Uniform,
)
from chartae.distributions import Distribution, Normal, Squashed
from closed_forms import CODE, SIZE, linear, points

MEMBERS = {
    "gaussian": lambda: Gaussian(linear(CODE, SIZE, 0), 0.7),
    "gaussian-learnt": lambda: Gaussian(linear(2 * CODE, SIZE, 0), "learnt"),
    "gaussian-optimal": lambda: Gaussian(linear(CODE, SIZE, 0), "optimal"),
    "bernoulli": lambda: Bernoulli(linear(CODE, SIZE, 0)),
}


@pytest.mark.parametrize("name", ["gaussian", "gaussian-learnt", "bernoulli"])
def test_log_prob_is_torchs(name):
    conditional, x = MEMBERS[name](), points()
    a = torch.rand(len(x), CODE).round() if name == "bernoulli" else torch.randn(len(x), CODE)
    out = conditional.net(x)
    reference = {
        "gaussian": lambda: td.Normal(out, 0.7),
        "gaussian-learnt": lambda: td.Normal(out[:, :CODE], (5 * out[:, CODE:].tanh()).exp()),
        "bernoulli": lambda: td.Bernoulli(logits=out),
    }[name]()
    assert torch.allclose(conditional.log_prob(a, x), reference.log_prob(a).sum(1))


def test_kl_is_torchs_and_the_corrected_form():
    mean, sigma = torch.randn(5, CODE), torch.rand(5, CODE) + 0.1
    q, p = Normal(mean, sigma), StandardNormal(CODE)()
    z = q.sample()
    by_torch = td.kl_divergence(td.Normal(mean, sigma), td.Normal(0.0, 1.0)).sum(1)
    by_hand = 0.5 * (mean.square() + sigma.square() - 1 - 2 * sigma.log()).sum(1)
    assert torch.allclose(q.kl(p, z), by_torch)
    assert torch.allclose(q.kl(p, z), by_hand)
    fixed = Normal(mean, 0.7)
    assert torch.allclose(fixed.kl(p, z), td.kl_divergence(td.Normal(mean, 0.7), td.Normal(0.0, 1.0)).sum(1))
    # against something that is not a normal: the one-draw estimate is right in the mean
    draws = q.sample(200_000, generator=torch.Generator().manual_seed(0))
    estimate = Distribution.kl(q, p, draws).mean(0)
    assert torch.allclose(estimate, by_torch, rtol=0.02)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 1.5, 2.0, 6.0, 30.0])
@pytest.mark.parametrize("name", ["laplace", "uniform", "beta"])
def test_kl_by_quadrature_is_the_integral(name, sigma):
    prior = {"laplace": Laplace(1, 0.7), "uniform": Uniform(1), "beta": Beta(1, 3.0, 5.0)}[name]()
    mean = torch.tensor([[0.7]])
    u = torch.linspace(0.7 - 12 * sigma, 0.7 + 12 * sigma, 20_001)[:, None]
    q = Normal(mean[0], sigma, 1)
    if name == "laplace":
        found, log_p = Normal(mean, sigma).kl(prior, mean), prior.log_prob(u)
    else:
        # a change of variables leaves the divergence alone; the draw is not looked at
        found = Squashed(Normal(mean, sigma)).kl(prior, mean)
        a, b = (3.0, 5.0) if name == "beta" else (1.0, 1.0)
        norm = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
        log_p = (a * torch.nn.functional.logsigmoid(u) + b * torch.nn.functional.logsigmoid(-u))[:, 0] - norm
    log_q = q.log_prob(u)
    assert found.item() == pytest.approx(torch.trapezoid(log_q.exp() * (log_q - log_p), u[:, 0]).item(), abs=2e-5)


def test_the_quadrature_has_gradients_at_every_width():
    """The two rules meet without a jump, and neither gives NaN where the other one is used."""
    mean = torch.tensor([-30.0, -1.0, 0.5, 40.0]).repeat(5, 1).requires_grad_()
    sigma = torch.tensor([[1e-4], [1.4999], [1.5001], [6.0], [500.0]]).requires_grad_()
    values = Beta(1, 3.0, 5.0)().base.expected_log_prob(mean[..., None], sigma[..., None].expand(5, 4, 1))
    values.sum().backward()
    assert torch.allclose(values[1], values[2], rtol=1e-3)
    for tensor in (values, mean.grad, sigma.grad):
        assert tensor.isfinite().all()
    half = torch.tensor([[0.7]], dtype=torch.float32)
    assert Beta(1, 3.0, 5.0).float()().base.expected_log_prob(half, 2.0).dtype == torch.float32


@pytest.mark.parametrize("name", ["uniform", "beta", "laplace"])
def test_priors_have_their_moments_and_densities(name):
    prior, law = {
        "uniform": (Uniform(2), td.Beta(1.0, 1.0)),
        "beta": (Beta(2, 3.0, 5.0), td.Beta(3.0, 5.0)),
        "laplace": (Laplace(2, 0.7), td.Laplace(0.0, 0.7)),
    }[name]
    x = prior.sample(100_000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(x.mean(0), law.mean.expand(2), atol=5 * float(law.stddev) / 300)
    assert torch.allclose(x.std(0), law.stddev.expand(2), rtol=0.02)
    assert torch.allclose(prior.log_prob(x[:10]), law.log_prob(x[:10]).sum(1))


def test_bad_priors():
    with pytest.raises(ValueError, match="scale is 0"):
        Laplace(3, 0.0)
    with pytest.raises(ValueError, match=r"a is 0.* above 0"):
        Beta(3, 0.0, 1.0)
    with pytest.raises(ValueError, match="above 1"):
        Beta(3, 1.0, 2.0, learnt=True)
    with pytest.raises(ValueError, match="dimensions of at least 1"):
        Uniform(0)


def test_a_likelihood_warms_up_in_training_alone():
    gaussian, x = Gaussian(linear(CODE, SIZE, 0), 0.1, warmup=2), points()
    assert [float(gaussian(x).sigma) for _ in range(4)] == pytest.approx([1.0, 0.1 * 10**0.5, 0.1, 0.1])
    assert gaussian.eval()(x).sigma == 0.1
    with pytest.raises(ValueError, match="fixed sigma"):
        Gaussian(linear(CODE, SIZE, 0), "optimal", warmup=3)


def test_optimal_sigma_is_the_maximum_of_the_likelihood():
    gaussian, x = MEMBERS["gaussian-optimal"](), points()
    a = torch.randn(len(x), CODE)
    best = (a - gaussian.net(x)).square().mean().sqrt().item()
    at = {s: Normal(gaussian.net(x), s).log_prob(a).sum() for s in (0.99 * best, best, 1.01 * best)}
    assert max(at, key=at.get) == best
    assert torch.allclose(gaussian.log_prob(a, x).sum(), at[best])
    running = gaussian.running.clone()
    gaussian.eval().log_prob(a, x)
    assert torch.equal(running, gaussian.running)
    assert torch.allclose(running, torch.tensor(0.99 + 0.01 * best**2))


def test_squared_error_is_sigma_squared_one_half():
    mean, x = torch.randn(5, CODE), torch.randn(5, CODE)
    log_p = Normal(mean, math.sqrt(0.5)).log_prob(x)
    assert torch.allclose(-log_p, (x - mean).square().sum(1) + CODE / 2 * math.log(math.pi))


@pytest.mark.parametrize("sigma", [0, -1, math.nan, math.inf, "big"])
def test_bad_sigma(sigma):
    with pytest.raises(ValueError, match="sigma is"):
        Gaussian(nn.Identity(), sigma)
    if sigma != "big":
        with pytest.raises(ValueError, match="sigma is"):
            GaussianNoise(sigma)


def test_bad_shape():
    with pytest.raises(ValueError, match="at least 1"):
        StandardNormal(0)


def test_rare_noise_is_large_for_its_share():
    x = torch.zeros(100_000, 1)
    noise = RareNoise(0.1, share=0.05, factor=10.0)
    scales = noise(x).sigma
    large = scales > 0.2
    assert large.double().mean().item() == pytest.approx(0.05, abs=0.003)
    # further noise on top: variances add
    assert scales[large].unique().tolist() == pytest.approx([0.1 * math.sqrt(101)])
    assert noise.noise == 0.1


def test_annealed_noise_falls_in_training_and_its_place_is_kept():
    noise, x = AnnealedNoise(0.01, 1.0, draws=4), torch.zeros(1000, 2)
    falling = [float(torch.as_tensor(noise(x).sigma).max()) for _ in range(6)]
    assert falling == pytest.approx([1, 10**-0.5, 0.1, 10**-1.5, 0.01, 0.01])
    again = AnnealedNoise(0.01, 1.0, draws=4)
    again.load_state_dict({"drawn": torch.tensor(2.0)})
    assert float(again(x).sigma) == pytest.approx(0.1)
    assert again.eval()(x).sigma == 0.01
    assert float(again.drawn) == 3


def test_noise_levels_are_log_uniform():
    levels = NoiseLevels(0.01, 1.0)(torch.zeros(100_000, 2)).sigma
    logs = levels.log10()
    assert (logs.min().item(), logs.max().item()) == pytest.approx((-2, 0), abs=1e-3)
    assert logs.mean().item() == pytest.approx(-1, abs=0.01)
    assert logs.var().item() == pytest.approx(4 / 12, abs=0.01)


def test_replaced_values():
    x = torch.full((50_000, 2), 0.4)
    for noise, values in ((Masking(0.3), {0.0: 0.3}), (SaltAndPepper(0.3), {0.0: 0.15, 1.0: 0.15})):
        seen = noise(x).sample(generator=torch.Generator().manual_seed(0))
        for value, share in values.items():
            assert (seen == value).double().mean().item() == pytest.approx(share, abs=0.01)
        assert (seen == 0.4).double().mean().item() == pytest.approx(0.7, abs=0.01)
        assert torch.allclose(noise(x).mean.mean(), seen.mean(), atol=0.01)
        assert noise.noise is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: RareNoise(0.1, share=0.0),
        lambda: RareNoise(0.1, factor=-1.0),
        lambda: AnnealedNoise(0.1, 0.01, 5),
        lambda: AnnealedNoise(0.1, 1.0, 0),
        lambda: NoiseLevels(1.0, 0.1),
        lambda: NoiseLevels(0.0, 1.0),
        lambda: Masking(1.0),
        lambda: SaltAndPepper(-0.1),
    ],
)
def test_bad_corruptions(call):
    with pytest.raises(ValueError, match=r"is|run from"):
        call()
