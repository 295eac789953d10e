"""Expressive posteriors: a KL by a critic against its closed form, and what is told to whom."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn as tnn

import chartae as ch
from chartae import nn
from chartae.conditionals import Bernoulli, Gaussian, Implicit, StandardNormal
from chartae.diagnostics import code_use
from chartae.maths import gradient_penalty, info_nce, penalised_logits
from chartae.metrics import mmd_test
from chartae.nn import Critic
from chartae.objectives import Penalised
from chartae.recipes import Setting, build
from chartae.terms import AdversarialKL, Reconstruction
from closed_forms import CODE, SIZE, linear, linear_autoencoder, points
from papers import Request, iae_posterior, iae_style
from papers.iae_posterior import evaluate_four_points


def small(inputs):
    return Critic(nn.MLP(inputs, 1, (64, 64), norm=False, activation="leaky-relu"))


def objective(contrast, penalty=0.0):
    term = AdversarialKL(Critic(tnn.Linear(SIZE + CODE, 1)), contrast, penalty)
    model = linear_autoencoder(variational=True)
    return Penalised(model, Reconstruction() + term, rates={"adversarial_kl": 4.0}, betas=(0.5, 0.99))


@pytest.mark.parametrize("contrast", [0, 4])
def test_who_is_told_what(contrast):
    made = objective(contrast, penalty=0.1)
    assert set(made.players()) == {"model", "adversarial_kl"}
    assert made.players()["adversarial_kl"].rate == 4.0
    assert made.players()["model"].betas == (0.5, 0.99)
    values = made(points())
    values["adversarial_kl"].backward()
    reached = [any(p.grad is not None for p in part.parameters()) for part in (made.model.encoder, made.model.decoder)]
    assert reached == [True, False]
    made.zero_grad()
    critic = made(points(), player="adversarial_kl")
    critic["loss"].backward()
    assert all(p.grad is None for p in made.model.parameters())
    assert made.terms.terms["adversarial_kl"].critic.head.weight.grad is not None
    assert 0 <= critic["accuracy"] <= 1


def test_the_value_at_the_best_critic_is_the_kl():
    """q = N(m, s^2) whatever x is: T = log q - log p is put in by hand, without and with a contrast."""
    m, s = 0.7, 0.4

    class Ratio(tnn.Module):
        def forward(self, features):
            z = features[:, SIZE:]
            a = -0.5 * ((z - m) / s) ** 2 - math.log(s)
            return a + 0.5 * z**2

    net = tnn.Linear(SIZE, 2)
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor([m, math.log(s)]))
    model = ch.Autoencoder(Gaussian(net, "learnt", limit=math.inf), Gaussian(linear(SIZE, 1, 2)), StandardNormal(1))
    exact = 0.5 * (s**2 + m**2 - 1 - 2 * math.log(s))
    torch.manual_seed(0)
    x = torch.zeros(20_000, SIZE)
    plain = Penalised(model, AdversarialKL(Critic(Ratio()), 0))(x)["adversarial_kl"].item()
    assert plain == pytest.approx(exact, abs=0.03)

    class Nothing(tnn.Module):
        def forward(self, features):
            return torch.zeros(len(features), 1)

    # q is the normal r of its own moments: nothing is left for the critic
    many = Penalised(model, AdversarialKL(Critic(Nothing()), 200))(x)["adversarial_kl"].item()
    assert many == pytest.approx(exact, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("contrast", [0, 32])
def test_a_trained_critic_finds_the_kl(contrast, float32):
    """Posteriors N(a x, s^2) of a known s: the mean of the critic's term against the closed form, two seeds."""
    found, s = [], 0.5
    for seed in range(2):
        torch.manual_seed(seed)
        model = ch.Autoencoder(Gaussian(tnn.Linear(1, 1), s), Gaussian(tnn.Linear(1, 1)), StandardNormal(1))
        with torch.no_grad():
            model.encoder.net.weight.fill_(0.8)
            model.encoder.net.bias.zero_()
        made = Penalised(model, AdversarialKL(small(2), contrast))
        optimiser = torch.optim.Adam(made.players()["adversarial_kl"].parameters, lr=3e-3)
        for step in range(300):
            optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / 300)
            optimiser.zero_grad()
            made(torch.randn(256, 1), player="adversarial_kl")["loss"].backward()
            optimiser.step()
        with torch.no_grad():
            found.append(made(torch.randn(20_000, 1))["adversarial_kl"].item())
    exact = 0.5 * (s**2 + 0.8**2 - 1 - 2 * math.log(s))
    assert sum(found) / 2 == pytest.approx(exact, abs=0.1)


@pytest.mark.slow
def test_a_model_trained_by_avb_has_the_posterior_of_its_decoder(float32):
    """A linear decoder that is held: the implicit posterior's moments against the closed form."""
    torch.manual_seed(0)
    w, sigma = 1.5, 0.8
    decoder = tnn.Linear(1, 1)
    with torch.no_grad():
        decoder.weight.fill_(w)
        decoder.bias.zero_()
    encoder = Implicit(nn.MLP(2, 1, (32,), norm=False, activation="leaky-relu"), 1)
    model = ch.Autoencoder(encoder, Gaussian(decoder, sigma), StandardNormal(1))
    made = Penalised(model, Reconstruction() + AdversarialKL(small(2)))
    steps = {
        "model": torch.optim.Adam(encoder.parameters(), lr=3e-3, betas=(0.5, 0.99)),
        "adversarial_kl": torch.optim.Adam(made.players()["adversarial_kl"].parameters, lr=6e-3, betas=(0.5, 0.99)),
    }
    for _ in range(400):
        x = w * torch.randn(128, 1) + sigma * torch.randn(128, 1)
        for player, optimiser in steps.items():
            optimiser.zero_grad()
            made(x, player=player)["loss"].backward()
            optimiser.step()
    with torch.no_grad():
        drawn = encoder(torch.tensor([[-2.0], [0.0], [2.0]])).sample(4000)[..., 0]
    variance = 1 / (1 + w**2 / sigma**2)
    assert torch.allclose(drawn.mean(0), torch.tensor([-2.0, 0.0, 2.0]) * variance * w / sigma**2, atol=0.2)
    assert torch.allclose(drawn.std(0), torch.full((3,), variance**0.5), atol=0.15)


def test_avb_trains_from_its_recipe(tmp_path, float32):
    x = (torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).to(torch.uint8) * 255
    run = ch.fit("avb", x, likelihood="bernoulli", latent_dim=2, epochs=2, batch_size=20, out=tmp_path / "run",
                 noise_dim=3, progress=False)  # fmt: skip
    assert any("adversarial_kl/accuracy" in row for row in run.log)
    again = ch.load(tmp_path / "run")
    assert torch.equal(again.sample(4, "prior", seed=1), run.sample(4, "prior", seed=1))
    assert again.model.encoder(torch.rand(3, 1, 4, 4)).sample(5).shape == (5, 3, 2)


def test_bad_settings():
    with pytest.raises(ValueError, match="contrast is 1"):
        AdversarialKL(Critic(tnn.Linear(3, 1)), contrast=1)
    with pytest.raises(ValueError, match="penalty is -1"):
        AdversarialKL(Critic(tnn.Linear(3, 1)), penalty=-1)
    with pytest.raises(ValueError, match="noise_dim is 0; expected at least 1"):
        build("avb", Setting((6,), 2), noise_dim=0)
    with pytest.raises(ValueError, match="features is 0"):
        build("vae-gan", Setting((6,), 2), features=0)


def test_one_pass_of_a_critic_is_two():
    critic, real, made = small(5), torch.randn(9, 5), torch.randn(9, 5)
    above, below, penalty = penalised_logits(critic, (real[:, :2], real[:, 2:]), (made[:, :2], made[:, 2:]))
    assert torch.allclose(above, critic(real))
    assert torch.allclose(below, critic(made))
    assert torch.allclose(penalty, gradient_penalty(critic, real) + gradient_penalty(critic, made))


def test_information_of_continuous_codes():
    """x = y + noise: I = D/2 log(1 + 1/s^2), of which InfoNCE's kernel is the optimum; of independent pairs 0."""
    g = torch.Generator().manual_seed(0)
    y, s = torch.randn(800, 2, generator=g), 0.5
    x = y + s * torch.randn(800, 2, generator=g)
    exact = math.log(1 + 1 / s**2)
    assert info_nce(x, y) == pytest.approx(exact, abs=0.1)
    assert info_nce(x, torch.randn(800, 2, generator=g)) < 0.02
    assert info_nce(x, x) == pytest.approx(math.log(800), abs=1e-6)


def test_a_codes_information():
    """q(z|x) = N(x, s^2), x ~ N(0, 1): ½ log(1 + 1/s^2); the decoder's own noise takes some of it away."""
    identity = tnn.Linear(1, 1)
    with torch.no_grad():
        identity.weight.fill_(1.0)
        identity.bias.zero_()
    x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(5))
    model = ch.Autoencoder(Gaussian(identity, 0.5), Gaussian(identity, 0.1), StandardNormal(1))
    found = code_use(model, x)
    exact = 0.5 * math.log(1 + 1 / 0.5**2)
    assert found.information == pytest.approx(exact, abs=0.1)
    assert found.bound == pytest.approx(exact, abs=0.1)
    assert found.used is None
    implicit = ch.Autoencoder(Implicit(tnn.Linear(2, 1), 1), Gaussian(identity, 0.1), StandardNormal(1))
    assert code_use(implicit, x).information is None


def test_one_law_or_two():
    """Under one law the p-values are uniform; a shift of the mean is found; sets of unequal size."""
    g = torch.Generator().manual_seed(0)
    draw = lambda n, shift=0.0: torch.randn(n, 2, generator=g) + shift  # noqa: E731
    same = [mmd_test(draw(60), draw(90), permutations=99, seed=k)[1] for k in range(60)]
    assert 0.35 < sum(same) / len(same) < 0.65
    assert min(same) >= 0.01
    value, p = mmd_test(draw(60), draw(90, 1.0), permutations=99)
    assert (value > 0, p) == (True, 0.01)
    with pytest.raises(ValueError, match="at least 1"):
        mmd_test(draw(5), draw(5), permutations=0)
    with pytest.raises(ValueError, match="expected the same number"):
        mmd_test(draw(5), torch.randn(5, 3))


def test_what_is_measured_of_the_four_points(float32):
    """An encoder of quarter planes, a decoder that names them: -log p is log 4, posteriors and aggregate are exact."""

    class Quarter(tnn.Module):
        def forward(self, features):
            signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
            return signs[features[:, :4].argmax(1)] * features[:, 4:].abs()

    class Names(tnn.Module):
        def forward(self, z):
            which = 2 * (z[:, 0] < 0).long() + (z[:, 1] < 0).long()
            return (80 * tnn.functional.one_hot(which, 4) - 40.0).reshape(-1, 1, 2, 2).to(z.dtype)

    model = ch.Autoencoder(Implicit(Quarter(), 2, tnn.Flatten()), Bernoulli(Names()), StandardNormal(2))
    found = evaluate_four_points(model, 0)
    assert found["nll"] == pytest.approx(math.log(4), abs=4 * found["nll_error"] + 1e-6)
    assert found["nll_error"] < 0.003
    assert found["own"] == 1
    assert found["p"] > 0.01
    assert found["posterior"] < 0.02
    assert found["aggregate"] < 0.01


@pytest.mark.slow
def test_the_reproductions_make_their_tables(tmp_path, monkeypatch, float32):
    four, modes = iae_posterior.four_points, iae_posterior.two_modes
    monkeypatch.setattr(
        iae_posterior, "four_points", lambda recipe, options, seed, steps: four(recipe, options, seed, 100)
    )
    monkeypatch.setattr(iae_posterior, "two_modes", lambda make, seed, steps: modes(make, seed, 20))
    monkeypatch.setattr(iae_posterior, "EXAMPLES", 20 * 256)
    monkeypatch.setattr(iae_posterior, "DRAWS", 10_000)
    monkeypatch.setattr(iae_posterior, "METHODS", {"VAE": iae_posterior.METHODS["VAE, normal posterior"]})
    kept = "Flipped IAE, generator held"
    monkeypatch.setattr(iae_posterior, "SQUARE", {kept: iae_posterior.SQUARE[kept]})
    request = Request(tmp_path / "posterior", quick=True, seeds=1)
    found = iae_posterior.iae_posterior(request)
    assert found["points"][0]["nll"] > math.log(4)
    assert found["floor"] < 0.01
    assert "| VAE | 1 |" in (tmp_path / "posterior" / "table.md").read_text()
    assert (tmp_path / "posterior" / "points.png").stat().st_size > 1000
    assert (tmp_path / "posterior" / "modes.png").stat().st_size > 1000
    again = iae_posterior.iae_posterior(request)  # from the parts
    assert again["points"] == found["points"]

    small = ch.data.load("fashion-mini")
    small = replace(small, source="", train=small.train[:256], valid=small.valid[:0], test=small.test[:200],
                    test_labels=small.test_labels[:200])  # fmt: skip
    monkeypatch.setattr(iae_style, "load", lambda name, root=None: small)
    monkeypatch.setattr(iae_style, "QUICK", 4)
    monkeypatch.setattr(iae_style, "CELLS", ((2, 3), (3, 0)))
    found = iae_style.iae_style(Request(tmp_path / "style", quick=True, seeds=1))
    assert [row["spread"] > 0 for row in found["rows"]] == [True, False]  # without noise one code has one picture
    assert 0.6 < found["real"] <= 1
    assert "200 test pictures" in (tmp_path / "style" / "table.md").read_text()
    assert (tmp_path / "style" / "style.png").stat().st_size > 1000
