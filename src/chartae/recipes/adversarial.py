"""Recipes with critics (discriminators).

Each function takes a `Setting` and the recipe's options, and returns an objective with a fresh model. Options that
several recipes share are dataclasses; their fields are options of the recipe.
"""

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
from chartae.objectives.guided import EncoderAlone, Guided
from chartae.objectives.vae_gan import VAEGAN
from chartae.recipes.setting import Asked, Setting, or_default
from chartae.recipes.table import recipe
from chartae.terms import AdversarialKL, AdversarialLatent, Reconstruction

__all__ = [
    "aae", "aae_cluster", "aae_semisup", "ali", "avb", "iae", "iae_cluster", "iae_flipped", "iae_semisup",
    "iae_translate", "vae_gan",
    "wae_gan",
]  # fmt: skip

#: the critics of an implicit autoencoder
IAE = ("reconstruction", "latent")

#: learning rate, as a multiple of the model's, and Adam's betas of a critic that must stay close to its optimum
FAST_CRITIC, FAST_BETAS = 4.0, (0.5, 0.99)


@dataclass(frozen=True)
class Matching:
    """Options of the recipes that match distributions by critics.

    Attributes:
        loss: loss of the model: non-saturating (default), relativistic (on pairs of real and generated examples), or
            logit (the critic's logit, whose gradient is that of the KL for an optimal critic).
        penalty: weight of the gradient penalty R1 + R2 on the critics, >= 0; default 0.05. The papers have none (0).
        warmup: initial weight of the squared reconstruction error, which fades to zero, as a multiple of 1 / (total
            variance of x), >= 0; default 0.4; 0 for ali, and for iae-flipped with gradient none. The papers have none
            (0).
        fade: share of training after which the warm-up has faded to zero, in (0, 1]; default 0.5.
        anchor: constant weight of the squared reconstruction error, in the unit of warmup, >= 0; default 0. It keeps
            codes informative and costs reconstructions their diversity.
        spectral_norm: whether the critics' weight matrices are divided by their largest singular values; false by
            default.
        statistics: whether the critics also see the standard deviation over the batch, by which they notice repeated
            samples (arXiv 1710.10196); false by default.
    """

    loss: str = "non-saturating"
    penalty: float = 0.05
    warmup: float | None = 0.4
    fade: float = 0.5
    anchor: float = 0.0
    spectral_norm: bool = False
    statistics: bool = False

    def keywords(self) -> dict[str, Any]:
        """The options that are keywords of `Adversarial`."""
        return {key: getattr(self, key) for key in ("loss", "penalty", "warmup", "fade", "anchor")}


@dataclass(frozen=True)
class Latent:
    """Options of the adversarial autoencoders: a critic of the codes, and a Gaussian likelihood.

    Attributes:
        strength: weight of the critic's term in the loss of the model, >= 0; default 1.
        loss: the critic's term: non-saturating (default), relativistic (on pairs of a code and a draw of the prior), or
            logit (the critic's logit, whose gradient is that of the KL for an optimal critic).
        penalty: weight of the gradient penalty R1 + R2 on the critic, >= 0; default 0.1. The paper has none (0).
        sigma: standard deviation of the decoder's Gaussian likelihood, in the units of the data, > 0; by default 1.
    """

    strength: float = 1.0
    loss: str = "non-saturating"
    penalty: float = 0.1
    sigma: float | None = None

    def term(self, critic: nn.Critic) -> AdversarialLatent:
        return AdversarialLatent(critic, self.penalty, self.loss)


@dataclass(frozen=True)
class Guidance:
    """Options of the agreement of categories between an example, its nearest neighbours and random views.

    Attributes:
        agreement: weight of the agreement, >= 0; by default 10, and 0 for iae-cluster on vectors. 0 is the paper's
            objective.
        neighbours: number of nearest neighbours of an example that should have its category; default 5; 0 for none.
            The paper has none.
        views: whether examples are seen under small random changes that must not change the category (images are
            turned, moved, scaled and sheared; vectors get noise); by default for images. The paper has none. Labelled
            examples are changed so even if agreement is 0.
        encoder_alone: whether agreement and labels alone train the encoder, without decoder and critics; false by
            default. It is the control that shows what these add.
    """

    agreement: float | None = None
    neighbours: int = 5
    views: bool | None = None
    encoder_alone: bool = False


@dataclass(frozen=True)
class Supervised:
    """Options of the recipes that learn from labels.

    Attributes:
        classes: number of classes; by default as many as the labels have.
        labels: number of training examples whose label is used, spread evenly over the classes; by default all that
            have one.
        labelled: number of labelled examples that are added to each batch, >= 1; default 64.
        supervision: weight of the cross-entropy of the labels, > 0; default 20.
    """

    classes: int | None = None
    labels: int | None = None
    labelled: int = 64
    supervision: float = 20.0


MATCHED, LATENT, GUIDED, SUPERVISED = Matching(), Latent(), Guidance(), Supervised()


def categories(asked: Asked) -> int:
    """The default size of a purely categorical code: the number of clusters or of classes."""
    size = asked.options.get("clusters") or asked.options.get("classes") or asked.classes or 10
    return int(str(size))


def style(asked: Asked) -> int:
    """The default size of a style: 10, or the number of values in an example if that is smaller."""
    return min(10, asked.size)


@recipe("aae")
def aae(s: Setting, *, likelihood: str = "gaussian", noise_dim: int = 0, latent: Latent = LATENT) -> Objective:
    """Adversarial autoencoder (AAE): a critic matches the distribution of the codes to the prior.

    The loss is `-log p(x|z)` plus a term of a critic, which separates codes from draws of the standard normal prior.
    Makhzani et al., "Adversarial Autoencoders", 2015 (arXiv 1511.05644).

    Args:
        likelihood: distribution of the data given a code: gaussian (default), or bernoulli for data in [0, 1], which
            has no sigma.
        noise_dim: number of noise values that the encoder reads, >= 0; 0 (default) for a deterministic encoder; above 0
            the posterior is implicit, of any shape.
        latent: strength, loss and penalty of the critic's term, and sigma of the likelihood; see `Latent`.
    """
    p = s.likelihood(or_default(latent.sigma, 1.0), likelihood)
    model = Autoencoder(_encoder(s, noise_dim), p, StandardNormal(s.latent_dim))
    terms = Reconstruction() + latent.strength * latent.term(s.critic(None, s.latent_dim))
    if not noise_dim:
        return Penalised(model, terms)
    # the critic has to follow a whole distribution of codes for each example
    return Penalised(model, terms, rates={"adversarial_latent": FAST_CRITIC}, betas=FAST_BETAS)


@recipe("wae-gan")
def wae_gan(s: Setting, *, strength: float = 10.0, loss: str = "non-saturating", penalty: float = 0.0) -> Objective:
    """WAE-GAN: a Wasserstein autoencoder whose codes are matched to the prior by a critic.

    The loss is `||x - x^||^2` plus strength times a term of a critic, which separates codes from draws of the standard
    normal prior. Tolstikhin et al., "Wasserstein Auto-Encoders", 2018 (arXiv 1711.01558).

    Args:
        strength: weight of the critic's term in the loss of the model, >= 0; default 10.
        loss: the critic's term: non-saturating (default), relativistic (on pairs of a code and a draw of the prior), or
            logit (the critic's logit, whose gradient is that of the KL for an optimal critic).
        penalty: weight of the gradient penalty R1 + R2 on the critic, >= 0; default 0, as in the paper.
    """
    critic = s.critic(None, s.latent_dim)
    return Penalised(s.deterministic(), Reconstruction() + strength * AdversarialLatent(critic, penalty, loss))


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
    """Adversarial variational Bayes (AVB): a VAE whose posterior may have any shape.

    The loss is the negative ELBO with an implicit posterior, whose KL a critic of (x, z) estimates. Mescheder, Nowozin,
    Geiger, "Adversarial Variational Bayes", 2017 (arXiv 1701.04722).

    Args:
        noise_dim: number of noise values that the encoder reads, >= 1; default 10.
        contrast: number of draws by whose mean and variance a posterior is normalised before the critic sees it, >= 2
            (the paper's adaptive contrast); default 32; 0 for no normalisation.
        penalty: weight of the gradient penalty R1 + R2 on the critic, >= 0; default 0, as in the paper.
        sigma: standard deviation of the decoder's Gaussian likelihood, in the units of the data, > 0; by default the
            RAE paper's VAE's for similar data (0.395 on MNIST).
        likelihood: distribution of the data given a code: gaussian (default), or bernoulli for data in [0, 1].
    """
    if noise_dim < 1:
        raise ValueError(f"noise_dim is {noise_dim}; expected at least 1, as the posterior is drawn from noise")
    sigma = or_default(sigma, math.sqrt(s.authors("vae", "w") / 2))
    model = Autoencoder(_encoder(s, noise_dim), s.likelihood(sigma, likelihood), StandardNormal(s.latent_dim))
    critic = s.critic(s.shape, s.latent_dim)
    terms = Reconstruction() + AdversarialKL(critic, contrast, penalty)
    return Penalised(model, terms, rates={"adversarial_kl": FAST_CRITIC}, betas=FAST_BETAS)


@recipe("vae-gan")
def vae_gan(
    s: Setting, *, gamma: float = 0.01, sigma: float = 1.0, penalty: float = 0.05, features: int = 256
) -> Objective:
    """VAE-GAN: a VAE whose reconstruction error is measured in the features of a critic.

    The encoder minimises the KL plus the feature error, the decoder gamma times the feature error plus a GAN loss.
    Larsen et al., "Autoencoding beyond pixels using a learned similarity metric", 2016 (arXiv 1512.09300).

    Args:
        gamma: weight of the feature error for the decoder, relative to the GAN loss, > 0; default 0.01.
        sigma: standard deviation of the likelihood of features, in units of their own, > 0; default 1.
        penalty: weight of the gradient penalty R1 + R2 on the critic, >= 0; default 0.05. The paper has none (0).
        features: number of features of the critic, >= 1; default 256.
    """
    if features < 1:
        raise ValueError(f"features is {features}; give at least 1")
    convolve = "conv" in s.net or s.net.partition(":")[0] in ("residual", "paper")
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
    """Implicit autoencoder (IAE): encoder and decoder are implicit, trained by two critics.

    One critic matches reconstructions to data, given the code, and one the codes to a standard normal prior. The code
    keeps what is abstract, and noise in the decoder draws the details. Makhzani, "Implicit Autoencoders", 2018
    (arXiv 1805.09804), which has neither penalty nor warm-up.

    Args:
        noise_dim: number of noise values that the decoder reads, >= 0; default 10; 0 for a deterministic decoder.
        encoder_noise_dim: number of noise values that the encoder reads, >= 0; default 0, a deterministic encoder.
        gradient: side of the reconstruction critic that trains the encoder: both (default), positive (the real side,
            which with loss logit is exact for the forward KL), or negative (the generated side).
        cycle: weight of -log q(z | g(z)), which asks that the code of a sample can be recovered, >= 0; default 0.
        matching: loss, penalty and warm-up of the critics' matching; see `Matching`.
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
    """Flipped implicit autoencoder: a GAN, and a second critic to learn the generator's posterior.

    Makhzani, "Implicit Autoencoders", 2018 (arXiv 1805.09804), which has neither penalty nor warm-up.

    Args:
        noise_dim: number of noise values that the decoder reads, >= 0; default 10; 0 for a deterministic decoder.
        encoder_noise_dim: number of noise values that the encoder reads, >= 0; default 10; 0 for a deterministic
            encoder.
        gradient: side of the inference critic that trains the decoder: both (default), positive (the real side, which
            with loss logit is exact for the forward KL), negative (the generated side), or none, so that only the GAN's
            critic trains it.
        cycle: weight of -log q(z | g(z)), which asks that the code of a sample can be recovered, >= 0; default 0.
        matching: loss, penalty and warm-up of the critics' matching; see `Matching`.
    """
    matching = replace(matching, warmup=or_default(matching.warmup, 0.0 if gradient == "none" else 0.4))
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
    """Adversarially learned inference (ALI, BiGAN): one critic separates (x, f(x)) from (g(z), z).

    Dumoulin et al., "Adversarially Learned Inference", 2016 (arXiv 1606.00704); Donahue, Krähenbühl, Darrell,
    "Adversarial Feature Learning", 2016 (arXiv 1605.09782). As in the papers, there is no warm-up by default.

    Args:
        noise_dim: number of noise values that the decoder reads, >= 0; default 0, a deterministic decoder.
        encoder_noise_dim: number of noise values that the encoder reads, >= 0; default 10; 0 for a deterministic
            encoder.
        cycle: weight of -log q(z | g(z)), which asks that the code of a sample can be recovered, >= 0; default 0.
        matching: loss, penalty and warm-up of the critic's matching; see `Matching`.
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
    """Unpaired translation between two domains, by implicit autoencoders in both directions.

    The codes of the data, domain A, are examples of the other domain, B; four critics match both directions. After
    Makhzani, "Implicit Autoencoders", 2018 (arXiv 1805.09804).

    Args:
        noise_dim: number of noise values of the translation from B to A, >= 0; default 0, one translation of each
            example.
        encoder_noise_dim: number of noise values of the translation from A to B, >= 0; default 8, many translations of
            each example.
        gradient: side of a critic through which a net is trained that feeds both: both (default), positive (the real
            side) or negative (the generated side).
        penalised: share of a batch on which the gradient penalty is estimated, in (0, 1]; default 0.25.
        warmup_back: initial weight of the squared error of examples of B that are translated to A and back, which fades
            to zero, as a multiple of 1 / (their total variance), >= 0; default 0.
        matching: loss, penalty and warm-up of the critics' matching; see `Matching`.
    """
    asked = s.wanted
    if not s.other:
        raise ValueError(
            "iae-translate translates between two domains; give the other as `to`, e.g. to='mnist+coloured'"
        )
    if asked.latent_dim is not None or asked.net not in ("auto", "translator"):
        raise ValueError(
            "iae-translate has examples of the other domain as codes, and nets of its own; leave out latent_dim and net"
        )
    s.unconditional("iae-translate")
    other = s.other
    encoder = Implicit(nn.translator(s.shape, other, encoder_noise_dim), encoder_noise_dim)
    decoder = Implicit(nn.translator(other, s.shape, noise_dim), noise_dim)
    model = Autoencoder(encoder, decoder, Empirical(other))
    inputs = {"reconstruction": (s.shape, other), "latent": (other,), "inference": (s.shape, other), "data": (s.shape,)}
    critics = {
        name: nn.pair_critic(*shapes, spectral_norm=matching.spectral_norm, statistics=matching.statistics)
        for name, shapes in inputs.items()
    }
    return Adversarial(
        model, critics, gradient=gradient, penalised=penalised, warmup_back=warmup_back,
        **matching.keywords(),
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
    """Clustering by an implicit autoencoder with a categorical code.

    The code is the cluster, and noise in the decoder draws what differs within a cluster. Makhzani, "Implicit
    Autoencoders", 2018 (arXiv 1805.09804), which has neither agreement nor penalty nor warm-up.

    Args:
        clusters: number of clusters, >= 2, which is also latent_dim; default 10.
        mode: how the category is drawn in training: softmax (default, its probabilities), straight-through (the most
            probable category, with the gradient of the probabilities), or gumbel (a random category, with the gradient
            of its relaxation).
        noise_dim: number of noise values that the decoder reads, >= 0; default 10; 0 for a deterministic decoder.
        gradient: side of the reconstruction critic that trains the encoder: both (default), positive (the real side,
            which with loss logit is exact for the forward KL), or negative (the generated side).
        cycle: weight of -log q(z | g(z)), which asks that the cluster of a sample can be recovered, >= 0; default 0.
        matching: loss, penalty and warm-up of the critics' matching; see `Matching`.
        guidance: agreement of the clusters of neighbours and views; see `Guidance`.
    """
    if clusters is not None and clusters < 2:
        raise ValueError(f"clusters is {clusters}; give at least 2")
    if clusters is not None and clusters != s.latent_dim:
        raise ValueError(
            f"clusters is {clusters} and latent_dim is {s.latent_dim}; expected the same number. Give only clusters."
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
    """Clustering by an adversarial autoencoder with a categorical code and a continuous style.

    A critic matches both parts of the code to a uniform category and a normal style, whose size is latent_dim. Makhzani
    et al., "Adversarial Autoencoders", 2015 (arXiv 1511.05644), which has neither agreement nor penalty.

    Args:
        clusters: number of clusters, >= 2; default 10.
        mode: how the category is drawn in training: softmax (default, its probabilities), straight-through (the most
            probable category, with the gradient of the probabilities), or gumbel (a random category, with the gradient
            of its relaxation).
        latent: strength, loss and penalty of the critic's term, and sigma of the likelihood; see `Latent`.
        guidance: agreement of the clusters of neighbours and views; see `Guidance`.
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
    """Semi-supervised classification by an adversarial autoencoder with a class and a style.

    The code is a class, which is learnt from the examples that have labels, and a normal style, whose size is
    latent_dim. Makhzani et al., "Adversarial Autoencoders", 2015 (arXiv 1511.05644), which has neither agreement nor
    penalty.

    Args:
        mode: how the class is drawn in training: softmax (default, its probabilities), straight-through (the most
            probable class, with the gradient of the probabilities), or gumbel (a random class, with the gradient of its
            relaxation).
        latent: strength, loss and penalty of the critic's term, and sigma of the likelihood; see `Latent`.
        guidance: agreement of the classes of neighbours and views; see `Guidance`.
        supervised: number of classes and labels, and weight of the labels; see `Supervised`.
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
    """Semi-supervised classification by an implicit autoencoder whose code is the class.

    The class is learnt from the examples that have labels, and noise in the decoder draws what differs within a class;
    latent_dim is the number of classes. Makhzani, "Implicit Autoencoders", 2018 (arXiv 1805.09804), which has neither
    agreement nor penalty nor warm-up.

    Args:
        mode: how the class is drawn in training: softmax (default, its probabilities), straight-through (the most
            probable class, with the gradient of the probabilities), or gumbel (a random class, with the gradient of its
            relaxation).
        noise_dim: number of noise values that the decoder reads, >= 0; default 10; 0 for a deterministic decoder.
        gradient: side of the reconstruction critic that trains the encoder: both (default), positive (the real side,
            which with loss logit is exact for the forward KL), or negative (the generated side).
        cycle: weight of -log q(z | g(z)), which asks that the class of a sample can be recovered, >= 0; default 0.
        matching: loss, penalty and warm-up of the critics' matching; see `Matching`.
        guidance: agreement of the classes of neighbours and views; see `Guidance`.
        supervised: number of classes and labels, and weight of the labels; see `Supervised`.
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
    """`Adversarial` with critics of these names."""
    single = {"latent": (None, s.latent_dim), "data": (s.shape, 0)}
    inputs = {name: single.get(name, (s.shape, s.latent_dim)) for name in names}
    critics = {
        name: s.critic(*parts, spectral_norm=matching.spectral_norm, statistics=matching.statistics)
        for name, parts in inputs.items()
    }
    return Adversarial(model, critics, **matching.keywords(), **more)


def _implicit(s: Setting, noise_dim: int, encoder_noise_dim: int) -> Autoencoder:
    """An autoencoder with implicit encoder and decoder, and a normal code."""
    return Autoencoder(_encoder(s, encoder_noise_dim), _implicit_decoder(s, noise_dim), StandardNormal(s.latent_dim))


def _categorical(s: Setting, mode: str, noise_dim: int) -> Autoencoder:
    """An autoencoder with a categorical code and an implicit decoder."""
    decoder = _implicit_decoder(s, noise_dim)
    return Autoencoder(Categorical(s.encoder(), mode), decoder, UniformCategorical(s.latent_dim))


def _implicit_decoder(s: Setting, noise_dim: int) -> Implicit:
    """A decoder that also reads noise."""
    return Implicit(replace(s, latent_dim=s.latent_dim + noise_dim).decoder(), noise_dim)


def _encoder(s: Setting, noise_dim: int) -> Conditional:
    """A deterministic encoder; or, with noise, a small net of features of x and the noise."""
    if not noise_dim:
        return Dirac(s.encoder())
    features = max(64, 2 * s.latent_dim)
    trunk = torch.nn.Sequential(replace(s, condition=0).encoder(features), torch.nn.LeakyReLU(0.2))
    size = features + noise_dim + s.condition
    net: torch.nn.Module = nn.MLP(size, s.latent_dim, (128,), norm=False, activation="leaky-relu")
    return Implicit(nn.ConditionedDecoder(net) if s.condition else net, noise_dim, trunk)


def _styled(s: Setting, categories: int, mode: str, latent: Latent) -> Objective:
    """An adversarial autoencoder with a category and a normal style, which one critic reads together."""
    size = categories + s.latent_dim
    parts = [Categorical(torch.nn.Identity(), mode), Dirac(torch.nn.Identity())]
    encoder = Product(parts, [categories, s.latent_dim], s.encoder(size))
    prior = Product([UniformCategorical(categories), StandardNormal(s.latent_dim)], [categories, s.latent_dim])
    model = Autoencoder(encoder, replace(s, latent_dim=size).likelihood(or_default(latent.sigma, 1.0)), prior)
    return Penalised(model, Reconstruction() + latent.strength * latent.term(s.critic(None, size)))


def _guided(
    s: Setting, objective: Objective, guidance: Guidance, supervised: Supervised | None = None, usual: float = 10.0
) -> Objective:
    """The objective with the agreement of categories, and with labels where there are any."""
    views = len(s.shape) == 3 if guidance.views is None else guidance.views
    jitter: Corruption | None = Jitter() if views else None
    agreement = or_default(guidance.agreement, usual if views or guidance.neighbours else 0.0)
    idle = guidance.neighbours not in (0, GUIDED.neighbours) or (guidance.views and supervised is None)
    if not agreement and idle:
        raise ValueError(
            f"neighbours is {guidance.neighbours} and views is {guidance.views}, but agreement is 0, so they would "
            "have no effect; give an agreement above 0 too, e.g. 10"
        )
    if guidance.encoder_alone:
        if supervised is None and not agreement:
            raise ValueError(
                "encoder_alone is true, but agreement is 0, so nothing would be trained; give views or neighbours, or "
                "leave encoder_alone out"
            )
        objective = EncoderAlone(objective)
    if supervised is None:
        if not agreement:
            return objective
        return Guided(objective, views=jitter, neighbours=guidance.neighbours, agreement=agreement)
    if supervised.labelled < 1 or not supervised.supervision > 0:
        raise ValueError(
            f"labelled is {supervised.labelled} and supervision is {supervised.supervision:g}, so labels would be "
            "ignored; expected labelled of at least 1 and supervision above 0. To train without labels, use "
            "aae-cluster or iae-cluster."
        )
    return Guided(
        objective, views=jitter, neighbours=guidance.neighbours, agreement=agreement,
        supervision=supervised.supervision, labelled=supervised.labelled, keep=supervised.labels,
    )  # fmt: skip
