"""Recipes for strings with a grammar, and their baseline without one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from chartae import nn
from chartae.autoencoder import Autoencoder
from chartae.conditionals import Conditional, Dirac, Gaussian, StandardNormal
from chartae.conditionals.strings import MaskedCategorical
from chartae.data.kinds import Strings
from chartae.grammar import Codec
from chartae.objectives import Objective, Penalised
from chartae.objectives.predicting import Predicting
from chartae.recipes.setting import Asked, Setting, otherwise
from chartae.recipes.table import F, recipe
from chartae.terms import KL, DecoderGradient, DecoderL2, LatentNorm, Reconstruction

__all__ = ["cvae", "gcv_vae", "grae", "gvae"]


def _size(asked: Asked) -> int:
    """The papers' sizes: 25 for short strings, 56 for others."""
    return 25 if asked.shape[0] <= 32 else 56


def strings(name: str, *, density: str = "prior", grammar: str = "") -> Callable[[F], F]:
    """The record of a recipe for strings."""
    return recipe(name, kinds=(Strings,), code=_size, density=density, grammar=grammar, bottleneck=False)


def _codec(s: Setting) -> Codec:
    if s.codec is None:
        raise ValueError("the recipe is for strings; give a grammar, such as grammar='expressions'")
    return s.codec


def _decoder(s: Setting, forcing: float, dropout: float, semantics: bool) -> MaskedCategorical:
    codec = _codec(s)
    net = nn.sequence_decoder(s.net, s.latent_dim + s.condition, codec.size, codec.states, s.shape)
    return MaskedCategorical(net, codec, s.shape[0], semantics=semantics, forcing=forcing, dropout=dropout)


def _encoder(s: Setting, out: int) -> torch.nn.Module:
    codec = _codec(s)
    if not s.condition:
        return nn.sequence_encoder(s.net, codec.size, codec.padding, s.shape, out)
    features = max(64, 2 * out)
    trunk = nn.sequence_encoder(s.net, codec.size, codec.padding, s.shape, features)
    return nn.ConditionedEncoder(trunk, features, s.condition, out)


def _model(s: Setting, encoder: Conditional, forcing: float, dropout: float, semantics: bool) -> Autoencoder:
    return Autoencoder(encoder, _decoder(s, forcing, dropout, semantics), StandardNormal(s.latent_dim))


def _with(s: Setting, inner: Penalised, weight: float) -> Objective:
    """With a head that reads a property off the code, where that has a weight."""
    return Predicting(inner, s.latent_dim, weight) if weight else inner


@strings("grae", density="normal")
def grae(
    s: Setting,
    *,
    beta: float = 0.1,
    penalty: str = "l2",
    weight: float | None = None,
    forcing: float = 1.0,
    dropout: float = 0.0,
    semantics: bool = True,
    property: float = 0.0,
) -> Objective:
    """GrammarRAE: a RAE of derivations, sampled ex post. Ghosh et al., 2020 (arXiv 1903.12436), section 6.2.

    -log p(x|z) + beta ½||z||^2 + a regulariser of the decoder; the paper states neither beta nor which, so the defaults
    are ours. penalty: l2 (of its parameters), gp (of the logits' gradient in z), sn (spectral normalisation) or none;
    weight: its weight, of l2 1e-6 and of gp 1e-3 by default. forcing, dropout, semantics: of `MaskedCategorical`.
    property: the weight of a head that reads the strings' property off the code (`Predicting`).
    """
    if penalty not in ("l2", "gp", "sn", "none"):
        raise ValueError(f"penalty is {penalty!r}; choose l2, gp, sn or none")
    if weight is not None and penalty in ("sn", "none"):
        raise ValueError(f"weight is {weight}, but penalty {penalty!r} has none; use l2 or gp")
    model = _model(s, Dirac(_encoder(s, s.latent_dim)), forcing, dropout, semantics)
    terms = Reconstruction() + beta * LatentNorm()
    if penalty == "l2":
        terms = terms + otherwise(weight, 1e-6) * DecoderL2()
    elif penalty == "gp":
        terms = terms + otherwise(weight, 1e-3) * DecoderGradient()
    elif penalty == "sn":
        nn.spectral(model.decoder)
    return _with(s, Penalised(model, terms), property)


@strings("gvae")
def gvae(
    s: Setting,
    *,
    beta: float | None = None,
    forcing: float = 1.0,
    dropout: float = 0.0,
    semantics: bool = True,
    property: float = 0.0,
) -> Objective:
    """Grammar VAE: -log p(x|z) + beta KL of derivations. Kusner, Paige, Hernández-Lobato, 2017 (arXiv 1703.01925).

    beta: 1/D by default, as its authors take the mean of the KL over the D dimensions (their code also scales the noise
    by 0.01, which is a deterministic autoencoder but for its penalty); 1 is the negative ELBO. forcing, dropout,
    semantics: of `MaskedCategorical`.
    """
    encoder = Gaussian(_encoder(s, 2 * s.latent_dim), "learnt")
    weight = otherwise(beta, 1 / s.latent_dim)
    inner = Penalised(_model(s, encoder, forcing, dropout, semantics), Reconstruction() + weight * KL())
    return _with(s, inner, property)


@strings("gcv-vae", density="normal")
def gcv_vae(
    s: Setting,
    *,
    beta: float = 0.1,
    encoder_sigma: float = 0.1,
    forcing: float = 1.0,
    dropout: float = 0.0,
    semantics: bool = True,
    property: float = 0.0,
) -> Objective:
    """Constant-variance grammar VAE: z = mu(x) + s e with s fixed, + beta ½||mu||^2."""
    encoder = Gaussian(_encoder(s, s.latent_dim), encoder_sigma)
    inner = Penalised(_model(s, encoder, forcing, dropout, semantics), Reconstruction() + beta * LatentNorm())
    return _with(s, inner, property)


@strings("cvae", grammar="characters")
def cvae(
    s: Setting, *, beta: float | None = None, forcing: float = 1.0, dropout: float = 0.0, property: float = 0.0
) -> Objective:
    """Character VAE, the grammar VAE's baseline: strings are rows of characters unless another codec is given.

    beta, forcing, dropout, property: as of `gvae`.
    """
    return gvae(s, beta=beta, forcing=forcing, dropout=dropout, property=property)
