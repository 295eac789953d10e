"""VAE-GAN: who is told what, and that the feature error counts gamma for the decoder and 1 for the encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn as tnn

import chartae as ch
from chartae.conditionals import Dirac, Gaussian, StandardNormal
from chartae.data import Batch
from chartae.nn import Critic
from chartae.objectives.vae_gan import VAEGAN
from closed_forms import CODE, SIZE, linear, linear_autoencoder, points


def vae_gan(**options):
    critic = Critic(tnn.Linear(4, 1), tnn.Linear(SIZE, 4))
    return VAEGAN(linear_autoencoder(variational=True), critic, **options)


def touched(objective, value):
    objective.zero_grad()
    value.backward(retain_graph=True)
    parts = {"encoder": objective.model.encoder, "decoder": objective.model.decoder, "critic": objective.critic}
    return {k for k, part in parts.items() if any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())}


def test_who_is_told_what():
    objective = vae_gan()
    values = objective(points())
    assert touched(objective, values["kl"]) == {"encoder"}
    assert touched(objective, values["features"]) == {"encoder", "decoder", "critic"}
    assert touched(objective, values["gan"]) == {"decoder", "critic"}  # never the encoder
    assert touched(objective, objective(points(), player="critic")["loss"]) == {"critic"}
    # what reaches the critic from the model's loss is no part of what its own optimiser sees
    owners = [{id(p) for p in player.parameters} for player in objective.players().values()]
    assert not owners[0] & owners[1]
    assert owners[0] | owners[1] == {id(p) for p in objective.parameters()}


@pytest.mark.parametrize("gamma", [0.25, 4.0])
def test_the_feature_error_weighs_one_for_the_encoder_and_gamma_for_the_decoder(gamma):
    def gradients(gamma):
        torch.manual_seed(0)
        objective = vae_gan(gamma=gamma)
        with torch.no_grad():  # neither GAN nor features of the critic's drawing
            objective.critic.head.weight.zero_()
            objective.critic.trunk.weight.copy_(linear(4, SIZE, 5).weight)
        torch.manual_seed(1)
        objective(points())["loss"].backward()
        return objective.model.encoder.net.weight.grad, objective.model.decoder.net.weight.grad

    (encoder, decoder), (same, scaled) = gradients(1.0), gradients(gamma)
    assert torch.allclose(same, encoder)
    assert torch.allclose(scaled, gamma * decoder)


def test_with_an_orthogonal_trunk_it_is_the_squared_error():
    """D(x) = Q x with Q orthogonal: times their variance, the feature error is ½||x - x^||^2, a VAE's of sigma = 1."""
    model = linear_autoencoder(variational=True, sigma=1.0)
    trunk = tnn.Linear(SIZE, SIZE)
    with torch.no_grad():
        trunk.weight.copy_(torch.linalg.qr(linear(SIZE, SIZE, 7).weight).Q)
    objective = VAEGAN(model, Critic(tnn.Linear(SIZE, 1), trunk))
    torch.manual_seed(0)
    found = objective(points())["features"] * trunk(points()).var(0, correction=0).mean()
    torch.manual_seed(0)
    t = ch.Penalised(model, ch.terms.Reconstruction()).trace(Batch(points()))
    assert found.item() == pytest.approx(0.5 * (points() - t.p.mean).square().sum(1).mean().item())


def test_bad_settings():
    with pytest.raises(TypeError, match="give a Critic\\(head, trunk\\)"):
        VAEGAN(linear_autoencoder(variational=True), Critic(tnn.Linear(SIZE, 1)))
    model = ch.Autoencoder(Dirac(linear(CODE, SIZE, 1)), Gaussian(linear(SIZE, CODE, 2)), StandardNormal(CODE))
    with pytest.raises(TypeError, match="Use a Gaussian encoder"):
        VAEGAN(model, Critic(tnn.Linear(4, 1), tnn.Linear(SIZE, 4)))
    with pytest.raises(ValueError, match="gamma is 0"):
        vae_gan(gamma=0.0)
    with pytest.raises(ValueError, match="sigma is 0"):
        vae_gan(sigma=0.0)
    with pytest.raises(ValueError, match="penalty is -1"):
        vae_gan(penalty=-1.0)


@pytest.mark.parametrize("shape", [(6,), (1, 8, 8), (3, 12, 12)])
def test_the_recipe_trains_and_comes_back(shape, tmp_path, float32):
    x = torch.rand(40, *shape, generator=torch.Generator().manual_seed(0))
    run = ch.fit("vae-gan", x, epochs=1, batch_size=20, latent_dim=3, features=16, out=tmp_path / "run", progress=False)
    assert any("critic/accuracy" in row for row in run.log)
    again = ch.load(tmp_path / "run")
    assert torch.allclose(again.sample(4, "prior", seed=1), run.sample(4, "prior", seed=1), atol=1e-6)
