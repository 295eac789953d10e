from __future__ import annotations

import math

import pytest
import torch
from torch import nn as tnn

from chartae.data import Batch, Points
from chartae.recipes import (
    RECIPES,
    Setting,
    build,
    from_authors,
    options,
    setting_for,
)
from families import DOMAINS, SCORE, STRINGS

FACTS = {  # section 4 of the fact sheet on 1903.12436: data, D, C, d, key, theirs, ours
    "mnist": (1024, 1, 16, [("b", 1e-4, 0.0128), ("l2", 1e-7, 1.024e-4), ("b", 9e-3, 1.152), ("b", 5e-4, 0.064),
                            ("w", 0.312, 0.312), ("w", 0.039, 0.039), ("mmd", 3e-2, 30.72)]),
    "cifar10": (3072, 3, 128, [("b", 1e-3, 0.048), ("l2", 1e-6, 3.072e-3), ("b", 9e-4, 0.0432), ("b", 0.03, 1.44),
                               ("b", 1e-2, 0.48), ("w", 0.024, 0.072), ("w", 9e-4, 0.0027), ("mmd", 6e-3, 18.432)]),
    "celeba": (12288, 3, 64, [("b", 1e-4, 0.0384), ("l2", 1e-7, 1.2288e-3), ("b", 2.4e-3, 0.9216),
                              ("w", 0.09024, 0.27072), ("w", 0.01, 0.03), ("mmd", 100 / 0.05 / 12288, 2000.0)]),
}  # fmt: skip


@pytest.mark.parametrize("data", FACTS)
def test_the_authors_numbers_convert_as_in_the_sheet(data):
    size, channels, latent_dim, rows = FACTS[data]
    for key, theirs, ours in rows:
        assert from_authors(key, theirs, size=size, channels=channels, latent_dim=latent_dim) == pytest.approx(ours)


def test_the_conversion_is_the_loss_times_the_pixels():
    """mean error + b mean z^2 + gp mean_j (.)^2 + l2 Σ K^2, times D, is our sum; so is 4 gp D/d ||J^T x^||^2."""
    torch.manual_seed(0)
    setting = Setting((1, 28, 28), 16, data="mnist")
    objective = build("rae-gp", setting, method="authors").objective.eval()
    x = torch.rand(5, 1, 28, 28)
    t = objective.trace(Batch(x))
    size, b, gp = 1024, 1e-4, 0.5e-7
    (g,) = torch.autograd.grad(t.p.mean.square().sum(), t.z, retain_graph=True)
    # their means are over 32 x 32; the border they pad with is ours to leave out, so the error is summed over 28 x 28
    error = (x - t.p.mean).square().sum() / 5 / size
    theirs = error + b * t.z.square().mean() + gp * g.square().mean(1).mean()
    constant = 784 / 2 * math.log(math.pi)
    assert torch.allclose(objective(x)["loss"] - constant, theirs * size)


EXPECTED = {
    "ae": "Reconstruction()",
    "ae-l2": "Reconstruction() + 0.0001024 DecoderL2()",
    "rae": "Reconstruction() + 0.064 LatentNorm()",
    "rae-l2": "Reconstruction() + 0.0128 LatentNorm() + 0.0001024 DecoderL2()",
    "rae-gp": "Reconstruction() + 0.0128 LatentNorm() + 0.01 DecoderGradient(hutchinson)",
    "rae-sn": "Reconstruction() + 1.152 LatentNorm()",
    "vae": "Reconstruction() + KL()",
    "beta-vae": "Reconstruction() + 4 KL()",
    "sigma-vae": "Reconstruction() + KL()",
    "cv-vae": "Reconstruction() + 0.039 LatentNorm()",
    "wae": "Reconstruction() + 30.72 MMD(imq)",
    "dae": "Reconstruction(), the encoder seeing GaussianNoise(0.1)",
    "rcae": "Reconstruction() + 50 Contraction(hutchinson)",
    "cae": "Reconstruction() + 0.01 Contraction(closed, of the encoder)",
    "ncdae": "Reconstruction(), the encoder seeing NoiseLevels(0.01 to 3)",
    "aae": "Reconstruction() + AdversarialLatent(penalty=0.1)",
    "wae-gan": "Reconstruction() + 10 AdversarialLatent()",
    "avb": "Reconstruction() + AdversarialKL(contrast=32)",
}
AAE = "Penalised: Reconstruction() + AdversarialLatent(penalty=0.1)"
TOLD = " by critics: non-saturating, gradient both, penalty 0.05, warm-up 0.4 until 0.5"
IAE = f"KL(q(x,z) || q(z)p(x|z)) + KL(q(z) || p(z)){TOLD}"
VIEWS = " + 10 agreement under 5 neighbours, Jitter(15 degrees, shift 0.05, scale 0.15, shear 0.15)"
KNOWN = " + 20 H(label, q) of 64 a batch"
WITH_CRITICS = {
    "iae": IAE,
    "iae-flipped": f"KL(p(x,z) || p(x)q(z|x)) + KL(p(x) || data){TOLD}",
    "ali": "JS(q(x,z), p(x,z)) by critics: non-saturating, gradient both, penalty 0.05",
    "vae-gan": "encoder KL + features of sigma 1, decoder 0.01 features + GAN, by a critic of penalty 0.05",
    "aae-cluster": AAE + VIEWS,
    "iae-cluster": IAE + VIEWS,
    "aae-semisup": AAE + VIEWS + KNOWN,
    "iae-semisup": IAE + VIEWS + KNOWN,
    "iae-translate": IAE.removesuffix(TOLD) + " + KL(p(x,z) || p(x)q(z|x)) + KL(p(x) || data)" + TOLD,
}


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in STRINGS])
def test_contract(name):
    other = (1, 28, 28) if name in DOMAINS else ()
    setting = Setting((1, 28, 28), 10 if name == "iae-semisup" else 16, data="mnist", other=other)
    recipe = build(name, setting, seed=1)
    assert repr(recipe.objective) == (f"Penalised: {EXPECTED[name]}" if name in EXPECTED else WITH_CRITICS[name])
    x = torch.rand(4, 1, 28, 28)
    values = recipe.objective(Batch(x, partner=x.flip(0)))
    assert all(v.isfinite() for v in values.values())
    values["loss"].backward()
    assert all(p.grad is not None for p in recipe.objective.model.parameters())
    again = build(name, setting, seed=1).objective.state_dict()
    assert all(torch.equal(v, again[k]) for k, v in build(name, setting, seed=1).objective.state_dict().items())
    other = build(name, setting, seed=2).objective.state_dict()
    assert any(not torch.equal(v, again[k]) for k, v in other.items())
    vector = build(name, setting_for(name, Points((9,)), other=(9,) if name in DOMAINS else ()))
    x, y = torch.randn(2, 4, 9)
    assert vector.objective(Batch(x, partner=y))["loss"].isfinite()
    alone = ("iae-cluster", "iae-semisup")
    assert vector.setting.latent_dim == (128 if name in SCORE else 10 if name in alone else 9)


@pytest.mark.parametrize(
    ("name", "option", "terms"),
    [("rae", "beta", "latent_norm"), ("ae-l2", "l2", "decoder_l2"), ("rae-l2", "l2", "decoder_l2"),
     ("rae-gp", "gp", "decoder_gradient"),
     ("rae-sn", "beta", "latent_norm"), ("beta-vae", "beta", "kl"), ("sigma-vae", "beta", "kl"),
     ("cv-vae", "beta", "latent_norm"), ("wae", "strength", "mmd")],
)  # fmt: skip
def test_options_reach_the_objective(name, option, terms):
    objective = build(name, Setting((6,), 2, unit=False), **{option: 0.375}).objective
    assert objective.terms.weights[terms] == 0.375


def test_sigma_of_the_vae_is_the_authors_weight():
    """||x - x^||^2 + w KL is w times the negative ELBO of a decoder of sigma^2 = w / 2."""
    model = build("vae", Setting((1, 28, 28), 16, data="mnist")).objective.model
    assert model.decoder.sigma**2 == pytest.approx(0.312 / 2)
    assert build(
        "vae", Setting((3, 32, 32), 128, "conv", data="cifar10")
    ).objective.model.decoder.sigma ** 2 == pytest.approx(0.036)


def test_spectral_scopes():
    def normed(scope):
        model = build("rae-sn", Setting((6,), 2, unit=False), scope=scope).objective.model
        return [
            sum(tnn.utils.parametrize.is_parametrized(m) for m in part.modules())
            for part in (model.encoder, model.decoder)
        ]

    assert normed("decoder") == [0, 3]
    assert normed("both") == [3, 3]


def test_learning_rates_are_the_authors_for_their_nets():
    rates = {name: build(name, Setting((3, 64, 64), 4, "conv")).lr for name in ("ae", "vae")}
    assert rates == {"ae": 1e-3, "vae": 1e-3}
    with torch.device("meta"):
        assert build("rae-l2", Setting((1, 28, 28), 4, "paper")).lr == 5e-4
        assert build("vae", Setting((1, 28, 28), 4, "paper")).lr == 1e-4
        assert build("wae", Setting((1, 28, 28), 4, "paper")).lr == 1e-3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: build("gan", Setting((6,), 2)), ValueError, "recipe is 'gan'; expected one of ae, rae"),
        (lambda: options("gan"), ValueError, "expected one of .*ae"),
        (lambda: build("rae", Setting((6,), 2), l2=1.0), TypeError, "has no option l2; its options are: beta"),
        (lambda: build("ae", Setting((6,), 2), beta=1.0), TypeError, "its options are: none"),
        (lambda: build("rae", Setting((6,), 2), beta="much"), TypeError, "give a float"),
        (lambda: build("rae", Setting((6,), 2), beta=-1), ValueError, "0 or above"),
        (lambda: build("rae", Setting((6,), 2), beta=math.nan), ValueError, "finite"),
        (lambda: build("rae-sn", Setting((6,), 2), scope="all"), ValueError, "choose 'decoder'"),
        (lambda: build("wae", Setting((6,), 2), distance="gan"), ValueError, "choose 'mmd' or 'swd'"),
        (lambda: build("vae", Setting((6,), 2, unit=False), likelihood="bernoulli"), ValueError, "data in \\[0, 1\\]"),
        (lambda: build("vae", Setting((6,), 2), likelihood="bernoulli", gamma2=9.0), ValueError, "has no precision"),
        (lambda: build("vae", Setting((6,), 2), likelihood="bernoulli", warmup=5), ValueError, "takes neither"),
        (lambda: build("ae", Setting((6,), 7)), ValueError, "has only 6 values"),
        (lambda: Setting((6,), 0), ValueError, "at least 1"),
        (lambda: build("dae", Setting((6,), 9), sigma=0.0), ValueError, "sigma is 0"),
        (lambda: build("dae", Setting((6,), 9), sigma=-1.0), ValueError, "0 or above"),
        (lambda: build("dae", Setting((6,), 9), corrupt="rain"), ValueError, "expected one of gaussian, rare"),
        (lambda: build("dae", Setting((6,), 9), form="odd"), ValueError, "choose 'residual' or 'plain'"),
        (lambda: build("dae", Setting((6,), 9), weights="odd"), ValueError, "choose 'free' or 'tied'"),
        (lambda: build("dae", Setting((6,), 9), activation="odd"), ValueError, "expected one of relu, tanh"),
        (lambda: build("dae", Setting((6,), 9), antithetic="perhaps"), TypeError, "give true or false"),
        (lambda: build("rcae", Setting((6,), 9), method="closed"), TypeError, "needs one hidden layer"),
        (lambda: build("ncdae", Setting((6,), 9), low=2.0, high=1.0), ValueError, "expected low < high"),
        (lambda: build("ncdae", Setting((6,), 9), spread=0.0), ValueError, "spread is 0"),
        (lambda: build("ncdae", Setting((6,), 9), blocks=0), ValueError, "give at least 1"),
        (lambda: build("ae", Setting((6,), 2, "resnet")), ValueError, "expected one of mlp"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("corrupt", ["gaussian", "rare", "annealed", "masking", "salt-and-pepper"])
def test_every_corruption_of_the_dae(corrupt):
    objective = build("dae", Setting((6,), 9), corrupt=corrupt, antithetic="true").objective
    x = torch.rand(4, 6)
    assert objective(x)["loss"].isfinite()
    # replaced values do not estimate a score
    assert objective.model.noise == (None if corrupt in ("masking", "salt-and-pepper") else 0.1)


@pytest.mark.parametrize("net", ["mlp", "shallow", "conv", "residual"])
@pytest.mark.parametrize("name", ["dae", "ncdae"])
def test_denoisers_of_images_for_every_net(name, net):
    for shape in ((1, 12, 12), (3, 9, 14)):
        recipe = build(name, Setting(shape, 20, net))
        x = torch.rand(4, *shape)
        values = recipe.objective(x)
        assert values["loss"].isfinite()
        values["loss"].backward()
        assert all(p.grad is not None for p in recipe.objective.model.parameters())
        assert recipe.objective.model.reconstruct(x).shape == x.shape


def test_residual_denoisers_begin_as_the_identity():
    for form, distance in (("residual", 0.0), ("plain", 0.1)):
        model = build("dae", Setting((5,), 8, unit=False), form=form).objective.model
        x = torch.randn(4, 5)
        assert (model.reconstruct(x) - x).abs().max() >= distance
        assert torch.allclose(model.reconstruct(x), x) == (form == "residual")
