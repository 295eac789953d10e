"""Recipes with critics."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from chartae import nn
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
from chartae.objectives import Objective, Penalised
from chartae.objectives.adversarial import Adversarial
from chartae.objectives.guided import Guided
from chartae.objectives.vae_gan import VAEGAN
from chartae.recipes.setting import Asked, Setting, otherwise
from chartae.recipes.table import recipe
from chartae.terms import AdversarialKL, AdversarialLatent, Reconstruction

__all__ = [
    "aae", "aae_cluster", "aae_semisup", "ali", "avb", "iae", "iae_cluster", "iae_flipped", "iae_semisup",
    "iae_translate", "vae_gan",
    "wae_gan",
]  # fmt: skip

#: the critics of an implicit autoencoder
IAE = ("reconstruction", "latent")

#: of a critic that is to be near its optimum all the time, its learning rate beside the model's, and Adam's betas
PURSUIT, PURSUIT_BETAS = 4.0, (0.5, 0.99)


@dataclass(frozen=True)
class Matching:
    """Options of every recipe that matches laws by critics: see `Adversarial`, and of the critics `nn.critic`."""

    loss: str = "non-saturating"
    penalty: float = 0.05
    warmup: float | None = 0.4
    fade: float = 0.5
    anchor: float = 0.0
    spectral_norm: bool = False
    statistics: bool = False

    def of_laws(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("loss", "penalty", "warmup", "fade", "anchor")}


@dataclass(frozen=True)
class Latent:
    """Options of a latent critic beside a likelihood: the weight of its term, beside the squared error in units of
    2 sigma^2 (sigma is 1 where it is not given); `loss` and `penalty` of `AdversarialLatent`."""

    weight: float = 1.0
    loss: str = "non-saturating"
    penalty: float = 0.1
    sigma: float | None = None

    def term(self, critic: nn.Critic) -> AdversarialLatent:
        return AdversarialLatent(critic, self.penalty, self.loss)


@dataclass(frozen=True)
class Guidance:
    """Options of what agrees: the category of an example and of its nearest `neighbours`, under `Jitter` views (of
    images, unless `views` says otherwise), by the weight `agreement`, 10 by default where there is something to agree:
    see `Guided`. 0 is the paper's objective; what has labels is still learnt from under views, unless they are off."""

    agreement: float | None = None
    neighbours: int = 5
    views: bool | None = None


@dataclass(frozen=True)
class Supervised:
    """Options of labels: how many classes, by default as many as the labels have; how many examples keep their label,
    evenly over the classes (all that have one by default); how many of them are drawn beside each batch; the weight of
    their cross-entropy."""

    classes: int | None = None
    labels: int | None = None
    labelled: int = 64
    supervision: float = 20.0


MATCHED, LATENT, GUIDED, SUPERVISED = Matching(), Latent(), Guidance(), Supervised()


def categories(asked: Asked) -> int:
    """The size of a code that is a category alone: the number of clusters, or of classes."""
    size = asked.options.get("clusters") or asked.options.get("classes") or asked.classes or 10
    return int(str(size))


def style(asked: Asked) -> int:
    """The size of the style beside a category: 10, or the data's own where they are fewer."""
    return min(10, asked.size)


@recipe("aae")
def aae(s: Setting, *, likelihood: str = "gaussian", noise_dim: int = 0, latent: Latent = LATENT) -> Objective:
    """Adversarial autoencoder: a critic makes the codes' law the prior. Makhzani et al., 2015 (arXiv 1511.05644).

    likelihood: gaussian, or bernoulli, which has no sigma. noise_dim: of the encoder's own noise; above 0 the posterior
    is implicit, of any shape. latent: see `Latent`.
    """
    p = s.likelihood(otherwise(latent.sigma, 1.0), likelihood)
    model = Autoencoder(_encoder(s, noise_dim), p, StandardNormal(s.latent_dim))
    terms = Reconstruction() + latent.weight * latent.term(s.critic(None, s.latent_dim))
    if not noise_dim:
        return Penalised(model, terms)
    # a cloud of codes is chased, not a few points: the critic has to keep up
    return Penalised(model, terms, rates={"adversarial_latent": PURSUIT}, betas=PURSUIT_BETAS)


@recipe("wae-gan")
def wae_gan(s: Setting, *, weight: float = 10.0, loss: str = "non-saturating", penalty: float = 0.0) -> Objective:
    """WAE-GAN: ||x - x^||^2 + weight times the critic's term (Tolstikhin et al., 2018, arXiv 1711.01558).

    loss, penalty: of `AdversarialLatent`.
    """
    critic = s.critic(None, s.latent_dim)
    return Penalised(s.deterministic(), Reconstruction() + weight * AdversarialLatent(critic, penalty, loss))


@recipe("avb")
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
    critic = s.critic(s.shape, s.latent_dim)
    terms = Reconstruction() + AdversarialKL(critic, contrast, penalty)
    return Penalised(model, terms, rates={"adversarial_kl": PURSUIT}, betas=PURSUIT_BETAS)


@recipe("vae-gan")
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


@recipe("iae")
def iae(
    s: Setting,
    *,
    noise_dim: int = 10,
    encoder_noise_dim: int = 0,
    gradient: str = "both",
    cycle: float = 0.0,
    matching: Matching = MATCHED,
) -> Objective:
    """Implicit autoencoder: a normal code for what is abstract, noise for the rest, two critics (1805.09804).

    noise_dim, encoder_noise_dim: of the decoder's and the encoder's own noise; 0 makes them deterministic. gradient:
    positive (with the logit exact for the forward KL), both or negative. cycle: see `Adversarial`. matching: see
    `Matching`; penalty and warmup 0 give the paper's bare objective.
    """
    return _matched(s, _implicit(s, noise_dim, encoder_noise_dim), IAE, matching, gradient=gradient, cycle=cycle)


@recipe("iae-flipped")
def iae_flipped(
    s: Setting,
    *,
    noise_dim: int = 10,
    encoder_noise_dim: int = 10,
    gradient: str = "both",
    cycle: float = 0.0,
    matching: Matching = Matching(warmup=None),
) -> Objective:
    """Flipped implicit autoencoder: a GAN, and the posterior of its generator by a second critic (1805.09804).

    Its options are those of `iae`; ``gradient="none"`` leaves the generator to its own critic, and warmup is 0 then.
    """
    matching = replace(matching, warmup=otherwise(matching.warmup, 0.0 if gradient == "none" else 0.4))
    model = _implicit(s, noise_dim, encoder_noise_dim)
    return _matched(s, model, ("data", "inference"), matching, gradient=gradient, cycle=cycle)


@recipe("ali")
def ali(
    s: Setting,
    *,
    noise_dim: int = 0,
    encoder_noise_dim: int = 10,
    cycle: float = 0.0,
    matching: Matching = Matching(warmup=0.0),
) -> Objective:
    """Adversarially learnt inference, or BiGAN: one critic of (x, f(x)) against (g(z), z) (1606.00704, 1605.09782).

    Its options are those of `iae`, but for gradient: each side of the critic is one net's. There is no warm-up by
    default, as there is none in the papers.
    """
    return _matched(s, _implicit(s, noise_dim, encoder_noise_dim), ("joint",), matching, cycle=cycle)


@recipe(
    "iae-translate",
    code=lambda asked: math.prod(asked.other or asked.shape),
    lr=2e-3,
    net="translator",
    densities=(),
    bottleneck=False,
)
def iae_translate(
    s: Setting,
    *,
    noise_dim: int = 0,
    encoder_noise_dim: int = 8,
    gradient: str = "both",
    penalised: float = 0.25,
    warmup_back: float = 0.0,
    matching: Matching = MATCHED,
) -> Objective:
    """Unpaired translation: an implicit autoencoder and its flipped form, whose codes are another domain's points.

    noise_dim, encoder_noise_dim: of the noise on the way from the other domain B to the data A, and on the way from A
    to B: where one picture has many translations. gradient, penalised, warmup_back: see `Adversarial`; matching:
    `Matching` (1805.09804).
    """
    asked = s.wanted
    if not s.other:
        raise ValueError(
            "iae-translate translates between two domains; give the other as `to`, e.g. to='mnist+coloured'"
        )
    if asked.latent_dim is not None or asked.net not in ("auto", "translator"):
        raise ValueError(
            "the codes of iae-translate are points of the other domain, and its nets its own; leave out latent_dim and "
            "net"
        )
    s.unconditional("iae-translate")
    other = s.other
    encoder = Implicit(nn.translator(s.shape, other, encoder_noise_dim), encoder_noise_dim)
    decoder = Implicit(nn.translator(other, s.shape, noise_dim), noise_dim)
    model = Autoencoder(encoder, decoder, Empirical(other))
    seen = {"reconstruction": (s.shape, other), "latent": (other,), "inference": (s.shape, other), "data": (s.shape,)}
    critics = {
        name: nn.pair_critic(*shapes, spectral_norm=matching.spectral_norm, statistics=matching.statistics)
        for name, shapes in seen.items()
    }
    return Adversarial(
        model, critics, gradient=gradient, penalised=penalised, warmup_back=warmup_back,
        **matching.of_laws(),
    )  # fmt: skip


@recipe("iae-cluster", code=categories, densities=(), bottleneck=False)
def iae_cluster(
    s: Setting,
    *,
    clusters: int | None = None,
    mode: str = "softmax",
    noise_dim: int = 10,
    gradient: str = "both",
    cycle: float = 0.0,
    matching: Matching = MATCHED,
    guidance: Guidance = GUIDED,
) -> Objective:
    """Implicit autoencoder over a categorical code: clusters, and noise for what differs within them (1805.09804).

    clusters: the size of the code, which is `latent_dim`. mode: of its draws, softmax, straight-through or gumbel.
    guidance: see `Guidance`; agreement is 10 for images by default, and 0 for vectors, the paper's objective. The
    others are those of `iae`; the encoder has no noise of its own.
    """
    if clusters is not None and clusters < 2:
        raise ValueError(f"clusters is {clusters}; give at least 2")
    if clusters is not None and clusters != s.latent_dim:
        raise ValueError(
            f"clusters is {clusters} and latent_dim {s.latent_dim}; they are one number: give clusters alone"
        )
    objective = _matched(s, _categorical(s, mode, noise_dim), IAE, matching, gradient=gradient, cycle=cycle)
    return _guided(s, objective, guidance, usual=10.0 if len(s.shape) == 3 else 0.0)


@recipe("aae-cluster", code=style, densities=(), bottleneck=False)
def aae_cluster(
    s: Setting,
    *,
    clusters: int = 10,
    mode: str = "softmax",
    latent: Latent = LATENT,
    guidance: Guidance = GUIDED,
) -> Objective:
    """Adversarial autoencoder over a category and a style, whose size is `latent_dim`: clusters (1511.05644).

    clusters, mode: as in `iae_cluster`. latent: see `Latent`; guidance: `Guidance`.
    """
    if clusters < 2:
        raise ValueError(f"clusters is {clusters}; give at least 2")
    return _guided(s, _styled(s, clusters, mode, latent), guidance)


@recipe("aae-semisup", code=style, densities=(), bottleneck=False)
def aae_semisup(
    s: Setting,
    *,
    mode: str = "softmax",
    latent: Latent = LATENT,
    guidance: Guidance = GUIDED,
    supervised: Supervised = SUPERVISED,
) -> Objective:
    """Adversarial autoencoder over a class and a style, some of whose examples have labels (1511.05644).

    mode, latent, guidance: as in `aae_cluster`; supervised: see `Supervised`.
    """
    return _guided(s, _styled(s, _classes(s, supervised), mode, latent), guidance, supervised)


@recipe("iae-semisup", code=categories, densities=(), bottleneck=False)
def iae_semisup(
    s: Setting,
    *,
    mode: str = "softmax",
    noise_dim: int = 10,
    gradient: str = "both",
    cycle: float = 0.0,
    matching: Matching = MATCHED,
    guidance: Guidance = GUIDED,
    supervised: Supervised = SUPERVISED,
) -> Objective:
    """Implicit autoencoder over a class, some of whose examples have labels; noise for the rest (1805.09804).

    The code is the class alone: `latent_dim` is their number. The others are those of `iae_cluster` and `aae_semisup`.
    """
    if _classes(s, supervised) != s.latent_dim:
        raise ValueError(
            f"latent_dim is {s.latent_dim}, but the code is one of {_classes(s, supervised)} classes; leave latent_dim "
            "out"
        )
    objective = _matched(s, _categorical(s, mode, noise_dim), IAE, matching, gradient=gradient, cycle=cycle)
    return _guided(s, objective, guidance, supervised)


def _classes(s: Setting, supervised: Supervised) -> int:
    return supervised.classes or s.classes or 10


def _matched(s: Setting, model: Autoencoder, names: tuple[str, ...], matching: Matching, **more: Any) -> Adversarial:
    """`Adversarial` by critics of these names."""
    sides = {"latent": (None, s.latent_dim), "data": (s.shape, 0)}
    seen = {name: sides.get(name, (s.shape, s.latent_dim)) for name in names}
    critics = {
        name: s.critic(*parts, spectral_norm=matching.spectral_norm, statistics=matching.statistics)
        for name, parts in seen.items()
    }
    return Adversarial(model, critics, **matching.of_laws(), **more)


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
    trunk = torch.nn.Sequential(replace(s, condition=0).encoder(features), torch.nn.LeakyReLU(0.2))
    size = features + noise_dim + s.condition
    net: torch.nn.Module = nn.MLP(size, s.latent_dim, (128,), norm=False, activation="leaky-relu")
    return Implicit(nn.ConditionedDecoder(net) if s.condition else net, noise_dim, trunk)


def _styled(s: Setting, categories: int, mode: str, latent: Latent) -> Objective:
    """An adversarial autoencoder over a category and a normal style, its critic of both together."""
    size = categories + s.latent_dim
    pieces = [Categorical(torch.nn.Identity(), mode), Dirac(torch.nn.Identity())]
    encoder = Product(pieces, [categories, s.latent_dim], s.encoder(size))
    prior = Product([UniformCategorical(categories), StandardNormal(s.latent_dim)], [categories, s.latent_dim])
    model = Autoencoder(encoder, replace(s, latent_dim=size).likelihood(otherwise(latent.sigma, 1.0)), prior)
    return Penalised(model, Reconstruction() + latent.weight * latent.term(s.critic(None, size)))


def _guided(
    s: Setting, objective: Objective, guidance: Guidance, supervised: Supervised | None = None, usual: float = 10.0
) -> Objective:
    """What agrees, and the labels there are."""
    views = len(s.shape) == 3 if guidance.views is None else guidance.views
    seen: Corruption | None = Jitter() if views else None
    agreement = otherwise(guidance.agreement, usual if views or guidance.neighbours else 0.0)
    idle = guidance.neighbours not in (0, GUIDED.neighbours) or (guidance.views and supervised is None)
    if not agreement and idle:
        raise ValueError(
            f"neighbours is {guidance.neighbours} and views {guidance.views}, but agreement is 0, so that nothing "
            "would come of them; give an agreement above 0 too, e.g. 10"
        )
    if supervised is None:
        if not agreement:
            return objective
        return Guided(objective, views=seen, neighbours=guidance.neighbours, agreement=agreement)
    if supervised.labelled < 1 or not supervised.supervision > 0:
        raise ValueError(
            f"labelled is {supervised.labelled} and supervision {supervised.supervision:g}: no label would teach "
            "anything; give at least 1, and a weight above 0, or use a recipe that clusters"
        )
    return Guided(
        objective, views=seen, neighbours=guidance.neighbours, agreement=agreement, supervision=supervised.supervision,
        labelled=supervised.labelled, keep=supervised.labels,
    )  # fmt: skip
