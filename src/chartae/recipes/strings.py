"""Recipes for strings with a grammar, and a baseline without one.

Each function takes a `Setting` and the recipe's options, and returns an objective with a fresh model.
"""

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
from chartae.recipes.setting import Asked, Setting, or_default
from chartae.recipes.table import F, recipe
from chartae.terms import KL, DecoderGradient, DecoderL2, LatentNorm, Reconstruction

__all__ = ["cvae", "gcv_vae", "grae", "gvae"]


def _size(asked: Asked) -> int:
    """The default size of codes, as in the papers: 25 for short strings, 56 for others."""
    return 25 if asked.shape[0] <= 32 else 56


def strings(name: str, *, density: str = "prior", grammar: str = "") -> Callable[[F], F]:
    """A decorator for recipes for strings."""
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


def _with_property(s: Setting, inner: Penalised, weight: float) -> Objective:
    """The objective with a head that predicts a property from the code, if that has a weight."""
    return Predicting(inner, s.latent_dim, weight) if weight else inner


@strings("grae", density="normal")
def grae(
    s: Setting,
    *,
    beta: float = 0.1,
    penalty: str = "l2",
    strength: float | None = None,
    forcing: float = 1.0,
    dropout: float = 0.0,
    semantics: bool = True,
    property: float = 0.0,
) -> Objective:
    """Grammar RAE: a regularised autoencoder of strings that generates only strings of the grammar.

    The loss is `-log p(x|z) + beta ½ ||z||^2` plus a penalty on the decoder, with x the derivation of a string; it is
    sampled from a density that is fitted to the codes. Ghosh et al., "From Variational to Deterministic Autoencoders",
    2020 (arXiv 1903.12436), section 6.2, which states neither beta nor the penalty: the defaults are ours.

    Args:
        beta: weight of half the squared norm of a code, >= 0; default 0.1.
        penalty: penalty on the decoder: l2 (default, its squared parameters), gp (the squared gradient of its logits in
            z), sn (spectral normalisation) or none.
        strength: weight of the penalty, >= 0; by default 1e-6 for l2 and 1e-3 for gp.
        forcing: probability at the end of training that the decoder reads the true last step and not its own choice
            (scheduled sampling); it falls linearly from 1; in [0, 1]; default 1, always the true one.
        dropout: share of the preceding steps that are hidden from the decoder in training, so that it relies on the
            code, in [0, 1]; default 0.
        semantics: whether generated molecules also respect valences, rings and brackets; true by default. The
            paper follows the grammar only.
        property: weight of a head that predicts a property of the strings (the target) from the code, >= 0; default 0,
            no head.
    """
    if penalty not in ("l2", "gp", "sn", "none"):
        raise ValueError(f"penalty is {penalty!r}; choose l2, gp, sn or none")
    if strength is not None and penalty in ("sn", "none"):
        raise ValueError(
            f"strength is {strength}, but penalty is {penalty!r}, which has none; leave strength out, or use "
            "penalty='l2' or penalty='gp'"
        )
    model = _model(s, Dirac(_encoder(s, s.latent_dim)), forcing, dropout, semantics)
    terms = Reconstruction() + beta * LatentNorm()
    if penalty == "l2":
        terms = terms + or_default(strength, 1e-6) * DecoderL2()
    elif penalty == "gp":
        terms = terms + or_default(strength, 1e-3) * DecoderGradient()
    elif penalty == "sn":
        nn.spectral(model.decoder)
    return _with_property(s, Penalised(model, terms), property)


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
    """Grammar VAE: a VAE of strings that generates only strings of the grammar.

    The loss is `-log p(x|z) + beta KL(q(z|x) || p(z))`, with x the derivation of a string. Kusner, Paige,
    Hernández-Lobato, "Grammar Variational Autoencoder", 2017 (arXiv 1703.01925). Its authors' code also scales the
    noise of the encoder by 0.01, which makes it almost a deterministic autoencoder.

    Args:
        beta: weight of the KL, >= 0; by default 1/D with D = latent_dim, as its authors average the KL over the D
            dimensions; 1 gives the negative ELBO.
        forcing: probability at the end of training that the decoder reads the true last step and not its own choice
            (scheduled sampling); it falls linearly from 1; in [0, 1]; default 1, always the true one.
        dropout: share of the preceding steps that are hidden from the decoder in training, so that it relies on the
            code, in [0, 1]; default 0.
        semantics: whether generated molecules also respect valences, rings and brackets; true by default. The
            paper follows the grammar only.
        property: weight of a head that predicts a property of the strings (the target) from the code, >= 0; default 0,
            no head.
    """
    encoder = Gaussian(_encoder(s, 2 * s.latent_dim), "learnt")
    weight = or_default(beta, 1 / s.latent_dim)
    inner = Penalised(_model(s, encoder, forcing, dropout, semantics), Reconstruction() + weight * KL())
    return _with_property(s, inner, property)


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
    """Constant-variance grammar VAE: Gaussian codes of fixed variance, and a penalty on their means.

    The codes are z = mu(x) + s e with e ~ N(0, I), and the loss is `-log p(x|z) + beta ½ ||mu||^2`, with x the
    derivation of a string. Ghosh et al., "From Variational to Deterministic Autoencoders", 2020 (arXiv 1903.12436),
    section 6.2.

    Args:
        beta: weight of half the squared norm of mu(x), >= 0; default 0.1.
        encoder_sigma: standard deviation s of the codes, > 0; default 0.1.
        forcing: probability at the end of training that the decoder reads the true last step and not its own choice
            (scheduled sampling); it falls linearly from 1; in [0, 1]; default 1, always the true one.
        dropout: share of the preceding steps that are hidden from the decoder in training, so that it relies on the
            code, in [0, 1]; default 0.
        semantics: whether generated molecules also respect valences, rings and brackets; true by default. The
            paper follows the grammar only.
        property: weight of a head that predicts a property of the strings (the target) from the code, >= 0; default 0,
            no head.
    """
    encoder = Gaussian(_encoder(s, s.latent_dim), encoder_sigma)
    inner = Penalised(_model(s, encoder, forcing, dropout, semantics), Reconstruction() + beta * LatentNorm())
    return _with_property(s, inner, property)


@strings("cvae", grammar="characters")
def cvae(
    s: Setting, *, beta: float | None = None, forcing: float = 1.0, dropout: float = 0.0, property: float = 0.0
) -> Objective:
    """Character VAE: a VAE of strings as rows of characters, without a grammar.

    The baseline of the grammar VAE, which may generate strings outside the language. The loss is
    `-log p(x|z) + beta KL(q(z|x) || p(z))`. After Gómez-Bombarelli et al., "Automatic Chemical Design Using a
    Data-Driven Continuous Representation of Molecules", 2018 (arXiv 1610.02415).

    Args:
        beta: weight of the KL, >= 0; by default 1/D with D = latent_dim, as for the grammar VAE; 1 gives the negative
            ELBO.
        forcing: probability at the end of training that the decoder reads the true last character and not its own
            choice (scheduled sampling); it falls linearly from 1; in [0, 1]; default 1, always the true one.
        dropout: share of the preceding characters that are hidden from the decoder in training, so that it relies on
            the code, in [0, 1]; default 0.
        property: weight of a head that predicts a property of the strings (the target) from the code, >= 0; default 0,
            no head.
    """
    return gvae(s, beta=beta, forcing=forcing, dropout=dropout, property=property)
