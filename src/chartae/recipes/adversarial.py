"""Recipes with critics."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from chartae import nn
from chartae.adversarial import Adversarial
from chartae.autoencoder import Autoencoder
from chartae.conditionals import (
    Categorical,
    Conditional,
    Corruption,
    Dirac,
    Empirical,
    Implicit,
    Jitter,
    Product,
    StandardNormal,
    UniformCategorical,
)
from chartae.guided import Guided
from chartae.objectives import Objective, Penalised
from chartae.recipes.setting import Setting, otherwise
from chartae.terms import AdversarialKL, AdversarialLatent, Reconstruction
from chartae.vae_gan import VAEGAN

__all__ = [
    "aae", "aae_cluster", "aae_semisup", "ali", "avb", "iae", "iae_cluster", "iae_flipped", "iae_semisup",
    "iae_translate", "vae_gan",
    "wae_gan",
]  # fmt: skip

#: the critics of an implicit autoencoder
IAE = ("reconstruction", "latent")


def aae(
    s: Setting,
    *,
    weight: float = 1.0,
    loss: str = "non-saturating",
    penalty: float = 0.1,
    sigma: float | None = None,
    likelihood: str = "gaussian",
    noise_dim: int = 0,
) -> Objective:
    """Adversarial autoencoder: a critic makes the codes' law the prior. Makhzani et al., 2015 (arXiv 1511.05644).

    weight: of the critic's term beside the squared error in units of 2 sigma^2; sigma is 1 where it is not given.
    loss, penalty: of `AdversarialLatent`. likelihood: gaussian, or bernoulli, which has no sigma. noise_dim: of the
    encoder's own noise; above 0 the posterior is implicit, of any shape.
    """
    encoder = _encoder(s, noise_dim)
    model = Autoencoder(encoder, s.likelihood(otherwise(sigma, 1.0), likelihood), StandardNormal(s.latent_dim))
    term = AdversarialLatent(nn.critic(s.net, None, s.latent_dim), penalty, loss)
    if noise_dim:  # a cloud of codes is chased, not a few points: the critic has to keep up
        term.rate, term.betas = AdversarialKL.rate, AdversarialKL.betas
    return Penalised(model, Reconstruction() + weight * term)


def wae_gan(s: Setting, *, weight: float = 10.0, loss: str = "non-saturating", penalty: float = 0.0) -> Objective:
    """WAE-GAN: ||x - x^||^2 + weight times the critic's term (Tolstikhin et al., 2018, arXiv 1711.01558).

    loss, penalty: of `AdversarialLatent`.
    """
    critic = nn.critic(s.net, None, s.latent_dim)
    return Penalised(s.deterministic(), Reconstruction() + weight * AdversarialLatent(critic, penalty, loss))


def avb(
    s: Setting,
    *,
    noise_dim: int = 10,
    contrast: int = 32,
    penalty: float = 0.0,
    sigma: float | None = None,
    likelihood: str = "gaussian",
) -> Objective:
    """Adversarial variational Bayes: the ELBO of a posterior of any shape. Mescheder et al., 2017 (arXiv 1701.04722).

    noise_dim: of the encoder's own noise. contrast, penalty: of `AdversarialKL`. sigma, likelihood: those of `vae`.
    """
    if noise_dim < 1:
        raise ValueError(f"noise_dim is {noise_dim}; a posterior that is no point takes 1 or more")
    sigma = otherwise(sigma, math.sqrt(s.authors("vae", "w") / 2))
    model = Autoencoder(_encoder(s, noise_dim), s.likelihood(sigma, likelihood), StandardNormal(s.latent_dim))
    critic = nn.critic(s.net, s.shape, s.latent_dim)
    return Penalised(model, Reconstruction() + AdversarialKL(critic, contrast, penalty))


def vae_gan(
    s: Setting, *, gamma: float = 0.01, sigma: float = 1.0, penalty: float = 0.05, features: int = 256
) -> Objective:
    """VAE-GAN: a VAE whose error is that of a critic's features. Larsen et al., 2016 (arXiv 1512.09300).

    gamma: of the feature error for the decoder, beside the GAN. sigma: of the features' likelihood, in units of their
    spread. penalty: see `VAEGAN`. features: how many.
    """
    if features < 1:
        raise ValueError(f"features is {features}; give at least 1")
    convolve = "conv" in s.net or s.net in ("residual", "paper")
    body: torch.nn.Module
    if convolve:
        body = nn.ConvEncoder(s.shape, features, norm=False)
    else:
        body = nn.MLP(s.shape, features, (256,), norm=False, activation="leaky-relu")
    trunk = torch.nn.Sequential(body, torch.nn.LeakyReLU(0.2))
    head = nn.MLP(features, 1, (128,), norm=False, activation="leaky-relu")
    return VAEGAN(s.variational(1.0), nn.Critic(head, trunk), gamma=gamma, sigma=sigma, penalty=penalty)


def iae(
    s: Setting,
    *,
    noise_dim: int = 10,
    encoder_noise_dim: int = 0,
    gradient: str = "both",
    loss: str = "non-saturating",
    penalty: float = 0.05,
    warmup: float = 0.4,
    fade: float = 0.5,
    anchor: float = 0.0,
    cycle: float = 0.0,
    spectral_norm: bool = False,
    statistics: bool = False,
) -> Objective:
    """Implicit autoencoder: a normal code for what is abstract, noise for the rest, two critics (1805.09804).

    noise_dim, encoder_noise_dim: of the decoder's and the encoder's own noise; 0 makes them deterministic. gradient:
    positive (exact for the forward KL), both or negative. loss: non-saturating, relativistic or logit. penalty, warmup,
    fade, anchor, cycle: see `Adversarial`; penalty and warmup 0 give the paper's bare objective. spectral_norm,
    statistics: of the critics.
    """
    return _matched(
        s, _implicit(s, noise_dim, encoder_noise_dim), IAE, spectral_norm, statistics, gradient=gradient, loss=loss,
        penalty=penalty, warmup=warmup, fade=fade, anchor=anchor, cycle=cycle,
    )  # fmt: skip


def iae_flipped(
    s: Setting,
    *,
    noise_dim: int = 10,
    encoder_noise_dim: int = 10,
    gradient: str = "both",
    loss: str = "non-saturating",
    penalty: float = 0.05,
    warmup: float | None = None,
    fade: float = 0.5,
    anchor: float = 0.0,
    cycle: float = 0.0,
    spectral_norm: bool = False,
    statistics: bool = False,
) -> Objective:
    """Flipped implicit autoencoder: a GAN, and the posterior of its generator by a second critic (1805.09804).

    Its options are those of `iae`; ``gradient="none"`` leaves the generator to its own critic, and warmup is 0 then.
    """
    return _matched(
        s, _implicit(s, noise_dim, encoder_noise_dim), ("data", "inference"), spectral_norm, statistics,
        gradient=gradient, loss=loss, penalty=penalty, warmup=otherwise(warmup, 0.0 if gradient == "none" else 0.4),
        fade=fade, anchor=anchor, cycle=cycle,
    )  # fmt: skip


def ali(
    s: Setting,
    *,
    noise_dim: int = 0,
    encoder_noise_dim: int = 10,
    loss: str = "non-saturating",
    penalty: float = 0.05,
    warmup: float = 0.0,
    fade: float = 0.5,
    anchor: float = 0.0,
    cycle: float = 0.0,
    spectral_norm: bool = False,
    statistics: bool = False,
) -> Objective:
    """Adversarially learnt inference, or BiGAN: one critic of (x, f(x)) against (g(z), z) (1606.00704, 1605.09782).

    Its options are those of `iae`, but for gradient: each side of the critic is one net's. There is no warm-up by
    default, as there is none in the papers.
    """
    return _matched(
        s, _implicit(s, noise_dim, encoder_noise_dim), ("joint",), spectral_norm, statistics, loss=loss,
        penalty=penalty, warmup=warmup, fade=fade, anchor=anchor, cycle=cycle,
    )  # fmt: skip


def iae_translate(
    s: Setting,
    *,
    noise_dim: int = 0,
    encoder_noise_dim: int = 8,
    gradient: str = "both",
    loss: str = "non-saturating",
    penalty: float = 0.05,
    penalised: float = 0.25,
    warmup: float = 0.4,
    warmup_back: float = 0.0,
    fade: float = 0.5,
    anchor: float = 0.0,
    spectral_norm: bool = False,
    statistics: bool = False,
) -> Objective:
    """Unpaired translation: an implicit autoencoder and its flipped form, whose codes are another domain's points.

    noise_dim, encoder_noise_dim: of the noise on the way from the other domain B to the data A, and on the way from A
    to B: where one picture has many translations. penalised, warmup_back: see `Adversarial`. The others are those of
    `iae` (1805.09804).
    """
    other = s.other or s.shape
    encoder = Implicit(nn.translator(s.shape, other, encoder_noise_dim), encoder_noise_dim)
    decoder = Implicit(nn.translator(other, s.shape, noise_dim), noise_dim)
    model = Autoencoder(encoder, decoder, Empirical(other))
    seen = {"reconstruction": (s.shape, other), "latent": (other,), "inference": (s.shape, other), "data": (s.shape,)}
    critics = {
        name: nn.pair_critic(*shapes, spectral_norm=spectral_norm, statistics=statistics)
        for name, shapes in seen.items()
    }
    return Adversarial(
        model, critics, gradient=gradient, loss=loss, penalty=penalty, penalised=penalised, warmup=warmup,
        warmup_back=warmup_back, fade=fade, anchor=anchor, domain=True,
    )  # fmt: skip


def iae_cluster(
    s: Setting,
    *,
    clusters: int | None = None,
    mode: str = "softmax",
    noise_dim: int = 10,
    gradient: str = "both",
    loss: str = "non-saturating",
    penalty: float = 0.05,
    warmup: float = 0.4,
    fade: float = 0.5,
    anchor: float = 0.0,
    cycle: float = 0.0,
    agreement: float | None = None,
    neighbours: int = 5,
    views: bool | None = None,
    spectral_norm: bool = False,
    statistics: bool = False,
) -> Objective:
    """Implicit autoencoder over a categorical code: clusters, and noise for what differs within them (1805.09804).

    clusters: the size of the code, which is `latent_dim`. mode: of its draws, softmax, straight-through or gumbel.
    agreement: of the category of an example and of its nearest `neighbours`, under `Jitter` views (of images, unless
    `views` says otherwise): see `Guided`; 0 is the paper's objective, and the default for vectors, 10 for images. The
    others are those of `iae`; the encoder has no noise of its own.
    """
    if clusters is not None and clusters < 2:
        raise ValueError(f"clusters is {clusters}; give at least 2")
    if clusters is not None and clusters != s.latent_dim:
        raise ValueError(
            f"clusters is {clusters} and latent_dim {s.latent_dim}; they are one number: give clusters alone"
        )
    objective = _matched(
        s, _categorical(s, mode, noise_dim), IAE, spectral_norm, statistics, gradient=gradient, loss=loss,
        penalty=penalty, warmup=warmup, fade=fade, anchor=anchor, cycle=cycle,
    )  # fmt: skip
    agreement = otherwise(agreement, 10.0 if len(s.shape) == 3 else 0.0)
    return _guided(s, objective, agreement, neighbours, views)


def aae_cluster(
    s: Setting,
    *,
    clusters: int = 10,
    mode: str = "softmax",
    weight: float = 1.0,
    loss: str = "non-saturating",
    penalty: float = 0.1,
    sigma: float | None = None,
    agreement: float = 10.0,
    neighbours: int = 5,
    views: bool | None = None,
) -> Objective:
    """Adversarial autoencoder over a category and a style, whose size is `latent_dim`: clusters (1511.05644).

    weight, loss, penalty, sigma are those of `aae`, the others those of `iae_cluster`; agreement is 10 for vectors too.
    """
    if clusters < 2:
        raise ValueError(f"clusters is {clusters}; give at least 2")
    return _guided(s, _styled(s, clusters, mode, weight, loss, penalty, sigma), agreement, neighbours, views)


def aae_semisup(
    s: Setting,
    *,
    classes: int = 10,
    labels: int | None = None,
    labelled: int = 64,
    mode: str = "softmax",
    weight: float = 1.0,
    loss: str = "non-saturating",
    penalty: float = 0.1,
    sigma: float | None = None,
    agreement: float = 10.0,
    neighbours: int = 5,
    views: bool | None = None,
    supervision: float = 20.0,
) -> Objective:
    """Adversarial autoencoder over a class and a style, some of whose examples have labels (1511.05644).

    classes: how many. labels: how many training examples keep their label, evenly over the classes; all that have one
    by default. labelled: drawn beside each batch, at least 1. supervision: the weight of their cross-entropy, above 0.
    The others are those of `aae_cluster`.
    """
    objective = _styled(s, classes, mode, weight, loss, penalty, sigma)
    return _supervised(s, objective, agreement, neighbours, views, supervision, labelled)


def iae_semisup(
    s: Setting,
    *,
    classes: int = 10,
    labels: int | None = None,
    labelled: int = 64,
    mode: str = "softmax",
    noise_dim: int = 10,
    gradient: str = "both",
    loss: str = "non-saturating",
    penalty: float = 0.05,
    warmup: float = 0.4,
    fade: float = 0.5,
    anchor: float = 0.0,
    cycle: float = 0.0,
    agreement: float = 10.0,
    neighbours: int = 5,
    views: bool | None = None,
    supervision: float = 20.0,
    spectral_norm: bool = False,
    statistics: bool = False,
) -> Objective:
    """Implicit autoencoder over a class, some of whose examples have labels; noise for the rest (1805.09804).

    classes: the size of the code, which is `latent_dim`. The others are those of `iae_cluster` and `aae_semisup`.
    """
    if classes != s.latent_dim:
        raise ValueError(
            f"latent_dim is {s.latent_dim}, but the code is one of {classes} classes; leave latent_dim out"
        )
    objective = _matched(
        s, _categorical(s, mode, noise_dim), IAE, spectral_norm, statistics, gradient=gradient, loss=loss,
        penalty=penalty, warmup=warmup, fade=fade, anchor=anchor, cycle=cycle,
    )  # fmt: skip
    return _supervised(s, objective, agreement, neighbours, views, supervision, labelled)


def _matched(
    s: Setting,
    model: Autoencoder,
    names: tuple[str, ...],
    spectral_norm: bool = False,
    statistics: bool = False,
    **options: Any,
) -> Adversarial:
    """`Adversarial` with its `options`, by critics of these names."""
    sides = {"latent": (None, s.latent_dim), "data": (s.shape, 0)}
    critics = {
        name: nn.critic(
            s.net, *sides.get(name, (s.shape, s.latent_dim)), spectral_norm=spectral_norm, statistics=statistics
        )
        for name in names
    }
    return Adversarial(model, critics, **options)


def _implicit(s: Setting, noise_dim: int, encoder_noise_dim: int) -> Autoencoder:
    """Both paths implicit over a normal code."""
    return Autoencoder(_encoder(s, encoder_noise_dim), _drawn(s, noise_dim), StandardNormal(s.latent_dim))


def _categorical(s: Setting, mode: str, noise_dim: int) -> Autoencoder:
    """A category for a code, and an implicit decoder."""
    return Autoencoder(Categorical(s.encoder(), mode), _drawn(s, noise_dim), UniformCategorical(s.latent_dim))


def _drawn(s: Setting, noise_dim: int) -> Implicit:
    """A decoder with noise of its own."""
    return Implicit(replace(s, latent_dim=s.latent_dim + noise_dim).decoder(), noise_dim)


def _encoder(s: Setting, noise_dim: int) -> Conditional:
    """A point; or, with noise of its own, features of x and the noise through a small net."""
    if not noise_dim:
        return Dirac(s.encoder())
    features = max(64, 2 * s.latent_dim)
    trunk = torch.nn.Sequential(s.encoder(features), torch.nn.LeakyReLU(0.2))
    return Implicit(
        nn.MLP(features + noise_dim, s.latent_dim, (128,), norm=False, activation="leaky-relu"), noise_dim, trunk
    )


def _styled(
    s: Setting, categories: int, mode: str, weight: float, loss: str, penalty: float, sigma: float | None
) -> Objective:
    """An adversarial autoencoder over a category and a normal style, its critic of both together."""
    size = categories + s.latent_dim
    pieces = [Categorical(torch.nn.Identity(), mode), Dirac(torch.nn.Identity())]
    encoder = Product(pieces, [categories, s.latent_dim], s.encoder(size))
    prior = Product([UniformCategorical(categories), StandardNormal(s.latent_dim)], [categories, s.latent_dim])
    model = Autoencoder(encoder, replace(s, latent_dim=size).likelihood(otherwise(sigma, 1.0)), prior)
    critic = nn.critic(s.net, None, size)
    return Penalised(model, Reconstruction() + weight * AdversarialLatent(critic, penalty, loss))


def _supervised(
    s: Setting,
    objective: Objective,
    agreement: float,
    neighbours: int,
    views: bool | None,
    supervision: float,
    labelled: int,
) -> Objective:
    """With labels, which must be seen and count."""
    if labelled < 1 or not supervision > 0:
        raise ValueError(
            f"labelled is {labelled} and supervision {supervision:g}: no label would teach anything; give at least 1, "
            "and a weight above 0, or use a recipe that clusters"
        )
    return _guided(s, objective, agreement, neighbours, views, supervision, labelled)


def _guided(
    s: Setting,
    objective: Objective,
    agreement: float,
    neighbours: int,
    views: bool | None,
    supervision: float = 0.0,
    labelled: int = 0,
) -> Objective:
    seen: Corruption | None = Jitter() if (len(s.shape) == 3 if views is None else views) else None
    if seen is None and not neighbours:
        agreement = 0.0
    if not agreement and not labelled:
        return objective
    return Guided(
        objective, views=seen, neighbours=neighbours, agreement=agreement, supervision=supervision,
        labelled=labelled,
    )  # fmt: skip
