from __future__ import annotations

import pytest
import torch
from torch import nn

import chartae as ch
from chartae.data import Batch
from chartae.recipes import options
from chartae.terms import Term
from closed_forms import linear_autoencoder, points


def loss(terms, seed=0, **kwargs):
    torch.manual_seed(seed)
    return ch.Penalised(linear_autoencoder(variational=True), terms, **kwargs)(points())["loss"]


@pytest.mark.parametrize(
    "term",
    [
        ch.LatentNorm,
        ch.KL,
        ch.DecoderL2,
        ch.DecoderGradient,
        ch.MMD,
        ch.SlicedWasserstein,
        ch.Contraction,
        lambda: ch.SlicedScoreMatching(0.5),
    ],
    ids=lambda t: t.__name__,
)
def test_every_weight_changes_the_loss_by_the_predicted_amount(term):
    base = loss(ch.Reconstruction() + 0.0 * term())
    one, three = loss(ch.Reconstruction() + term()), loss(ch.Reconstruction() + 3 * term())
    assert not torch.allclose(one, base)
    assert torch.allclose(three - base, 3 * (one - base))
    assert torch.allclose(base, loss(ch.Reconstruction()))


def test_the_values_are_logged_by_name_and_unweighted():
    objective = ch.Penalised(linear_autoencoder(), ch.Reconstruction() + 0.1 * ch.LatentNorm())
    values = objective(points())
    assert list(values) == ["loss", "reconstruction", "latent_norm"]
    assert torch.allclose(values["loss"], values["reconstruction"] + 0.1 * values["latent_norm"])


def test_corruption_is_what_the_encoder_sees():
    objective = ch.Penalised(linear_autoencoder(), ch.Reconstruction(), corrupt=ch.GaussianNoise(0.3))
    t = objective.trace(Batch(points(20_000)))
    assert (t.corrupted - t.x).std().item() == pytest.approx(0.3, rel=0.02)
    assert torch.equal(t.q.mean, objective.model.encode(t.corrupted))
    assert repr(objective) == "Penalised: Reconstruction(), the encoder seeing GaussianNoise(0.3)"


class Critic(Term):
    """A term with a player of its own."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 1)

    def forward(self, t):
        return self.net(t.z)[:, 0]

    def critic_loss(self, t):
        return {"loss": -self.net(t.z.detach())[:, 0].mean()}


def test_a_term_with_a_critic_adds_a_player():
    objective = ch.Penalised(linear_autoencoder(), ch.Reconstruction() + 0.5 * Critic())
    players = objective.players()
    assert set(players) == {"model", "critic"}
    assert not {id(p) for p in players["model"].parameters} & {id(p) for p in players["critic"].parameters}
    assert torch.allclose(objective(points(), player="critic")["loss"], -objective(points())["critic"])


def test_a_condition_reaches_encoder_and_decoder():
    class Net(nn.Module):
        def forward(self, x, y):
            return x + y

    model = ch.Autoencoder(ch.Dirac(Net()), ch.Gaussian(Net()), ch.StandardNormal(2))
    x, y = torch.zeros(3, 2), torch.ones(3, 2)
    t = ch.Penalised(model, ch.Reconstruction()).trace(Batch(x, condition=y))
    assert torch.equal(t.p.mean, 2 * y)
    assert torch.equal(model.reconstruct(x, y), 2 * y)


def test_wrong_combinations_name_the_remedy():
    points_only = ch.Autoencoder(ch.Dirac(nn.Identity()), ch.Dirac(nn.Identity()), ch.StandardNormal(2))
    with pytest.raises(TypeError, match=r"decoder is Dirac \(a point\). Use Gaussian"):
        ch.Penalised(points_only, ch.Reconstruction())
    with pytest.raises(TypeError, match="Wrap the net in Dirac"):
        ch.Autoencoder(nn.Identity(), ch.Gaussian(nn.Identity()), ch.StandardNormal(2))
    with pytest.raises(TypeError, match="expected a Term"):
        ch.Penalised(linear_autoencoder(), nn.MSELoss())
    with pytest.raises(TypeError, match="expected an Autoencoder"):
        ch.Penalised(nn.Identity(), ch.Reconstruction())


def test_an_autoencoder_takes_data_as_they_are_stored():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model = ch.Autoencoder(ch.Dirac(net), ch.Gaussian(nn.Linear(2, 4)), ch.StandardNormal(2))
    x = torch.randint(0, 256, (2500, 1, 2, 2), dtype=torch.uint8)
    before = net[1].running_mean.clone()
    codes = model.encode(x)
    assert not codes.requires_grad
    assert net.training
    assert torch.equal(before, net[1].running_mean)
    assert torch.allclose(codes, model.encode(x.numpy()))
    model.eval()
    assert torch.allclose(codes, model.encode(x / 255))
    assert model.encode(x / 255).requires_grad
    with pytest.raises(TypeError, match="expected a tensor or a numpy array"):
        model.encode([[1.0]])
    with pytest.raises(ValueError, match="n is 0; expected at least 1"):
        model.sample(0)
    g = torch.Generator
    assert torch.equal(model.sample(3, generator=g().manual_seed(1)), model.sample(3, generator=g().manual_seed(1)))


def test_options_are_the_recipes_keywords():
    assert options("rae-gp") == {"beta": (float, None), "gp": (float, None), "method": (str, "hutchinson")}


def test_antithetic_pairs_see_opposite_noise():
    objective = ch.Penalised(linear_autoencoder(), ch.Reconstruction(), corrupt=ch.GaussianNoise(0.3), antithetic=True)
    x = points()
    t = objective.trace(Batch(x))
    assert len(t.x) == 2 * len(x)
    assert torch.equal(t.x[: len(x)], x)
    assert torch.allclose(t.corrupted[: len(x)] + t.corrupted[len(x) :], 2 * x)
    assert not torch.allclose(t.corrupted[: len(x)], x)
    with pytest.raises(ValueError, match="symmetric about x"):
        ch.Penalised(linear_autoencoder(), ch.Reconstruction(), corrupt=ch.Masking(0.3), antithetic=True)


def test_levels_are_told():
    class Net(nn.Module):
        def forward(self, x, y):
            return x * y[:, None]

    model = ch.Autoencoder(ch.Dirac(Net()), ch.Gaussian(Net()), ch.StandardNormal(2))
    objective = ch.Penalised(model, ch.Reconstruction(), corrupt=ch.NoiseLevels(0.1, 2.0), antithetic=True)
    t = objective.trace(Batch(torch.ones(4000, 2)))
    assert model.noise == (0.1, 2.0)
    assert torch.equal(t.condition[:4000], t.condition[4000:])
    e = (t.corrupted - t.x) / t.condition[:, None]
    assert e.std().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(t.q.mean, t.corrupted * t.condition[:, None])


def test_walkback_walks_from_the_corrupted_point_and_learns_the_way_to_the_data():
    model, x = linear_autoencoder(), points()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.decoder.net.bias.fill_(1.0)  # every reconstruction is 1
    noise = ch.GaussianNoise(1e-6)
    objective = ch.Penalised(model, ch.Reconstruction(), corrupt=noise, walkback=3)
    seen = torch.cat([objective.trace(Batch(x)).corrupted for _ in range(100)]).reshape(100, *x.shape)
    at_one = ((seen - 1).abs() < 1e-4).all(2)
    at_x = ((seen - x).abs() < 1e-4).all(2)
    assert (at_one | at_x).all()
    # 0 to 3 steps, each as likely: one quarter stays where the first corruption put it
    assert at_x.double().mean().item() == pytest.approx(0.25, abs=0.05)
    t = objective.trace(Batch(x))
    assert torch.equal(t.x, x)
    assert not t.corrupted.requires_grad
    assert "3 steps walked back" in repr(objective)
    with pytest.raises(ValueError, match="of one noise level"):
        ch.Penalised(model, ch.Reconstruction(), walkback=3)
    with pytest.raises(ValueError, match="of one noise level"):
        ch.Penalised(model, ch.Reconstruction(), corrupt=ch.NoiseLevels(0.1, 1.0), walkback=3)


def test_rare_noise_counts_by_its_inverse_variance():
    objective = ch.Penalised(linear_autoencoder(), ch.Reconstruction(), corrupt=ch.RareNoise(0.1), antithetic=True)
    torch.manual_seed(0)
    t = objective.trace(Batch(points(4000)))
    large = t.weight < 0.5
    assert t.weight[large].unique().tolist() == pytest.approx([1 / 101])
    assert torch.equal(t.weight[:4000], t.weight[4000:])
    # the weight belongs to the example whose noise it is
    noise = (t.corrupted - t.x).square().mean(1)
    assert noise[large].mean().item() == pytest.approx(0.01 * 101, rel=0.1)
    assert noise[~large].mean().item() == pytest.approx(0.01, rel=0.1)
    value = ch.Reconstruction()(t)
    assert torch.allclose(objective.terms.values(t)["reconstruction"], (value * t.weight).mean())
