"""Recipes that learn to remove noise, and thereby estimate the score (Alain and Bengio, 2014, arXiv 1211.4246).

Each function takes a `Setting` and the recipe's options, and returns an objective with a fresh model.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from chartae import nn
from chartae.autoencoder import Autoencoder
from chartae.conditionals import (
    AnnealedNoise,
    Corruption,
    Denoised,
    Dirac,
    GaussianNoise,
    Masking,
    NoiseLevels,
    RareNoise,
    SaltAndPepper,
    StandardNormal,
)
from chartae.data.kinds import Images, Points
from chartae.objectives import Objective, Penalised
from chartae.recipes.setting import Asked, Setting, or_default
from chartae.recipes.table import F, recipe
from chartae.records.choices import one_of
from chartae.terms import Contraction, Reconstruction

__all__ = ["cae", "dae", "ncdae", "rcae"]


def wide(asked: Asked) -> int:
    """The default size of codes: 1,024 hidden units for examples of more than 128 values, 128 for smaller ones."""
    return 1024 if asked.size > 128 else 128


def score(name: str, sampler: str) -> Callable[[F], F]:
    """A decorator for recipes that estimate a score: their codes are wider than the data, and chains sample them."""
    return recipe(
        name, kinds=(Images, Points), code=wide, paper_lr=lambda data: 1e-3, density=sampler, densities=(),
        bottleneck=False,
    )  # fmt: skip


def _corruption(kind: str, sigma: float, share: float, factor: float, draws: int) -> Corruption:
    kinds: dict[str, Callable[[], Corruption]] = {
        "gaussian": lambda: GaussianNoise(sigma),
        "rare": lambda: RareNoise(sigma, share, factor),
        "annealed": lambda: AnnealedNoise(sigma, factor * sigma, draws),
        "masking": lambda: Masking(share),
        "salt-and-pepper": lambda: SaltAndPepper(share),
    }
    if kind not in kinds:
        raise ValueError(f"corrupt is {kind!r}; {one_of(kind, kinds)}")
    return kinds[kind]()


@score("dae", "mala")
def dae(
    s: Setting,
    *,
    sigma: float = 0.1,
    corrupt: str = "gaussian",
    walkback: int = 0,
    antithetic: bool = True,
    form: str = "residual",
    weights: str = "free",
    activation: str = "tanh",
    gain: float = 1.0,
    share: float = 0.05,
    factor: float = 10.0,
    draws: int = 2000,
) -> Objective:
    """Denoising autoencoder (DAE), which estimates the score of the data at one noise level.

    The loss is `||r(x + sigma e) - x||^2` with e ~ N(0, I). Its optimum is r(x) = x + sigma^2 score(x), with the score
    of the density smoothed by sigma. Vincent, "A Connection Between Score Matching and Denoising Autoencoders", 2011;
    Alain and Bengio, "What Regularized Auto-Encoders Learn from the Data-Generating Distribution", 2014 (arXiv
    1211.4246).

    Args:
        sigma: standard deviation of the noise, in the units of the data, > 0; default 0.1.
        corrupt: corruption that the encoder sees: gaussian (default); rare, stronger noise for a share of the examples;
            annealed, noise that falls to sigma; masking or salt-and-pepper, a share of the values replaced by 0, or by
            0 or 1, which estimate no score.
        walkback: largest number of further steps of corruption and reconstruction from which the model learns to return
            to x (arXiv 1305.6663); 0 (default) for none.
        antithetic: whether each example is seen with opposite noise x + e and x - e, for less variance; true by
            default. The papers draw one noise.
        form: residual (default), r(x) = x + sigma^2 g(x) with the loss divided by 2 sigma^4, or plain, as in the
            papers.
        weights: free (default), or tied, one hidden layer whose decoder has the encoder's weights.
        activation: activation of the hidden layers: tanh (default), sigmoid, relu, leaky-relu, silu or softplus.
        gain: factor on the first layer's initial weights, > 0; default 1. Raise it for data with structure much finer
            than 1.
        share: share of the examples with stronger noise (rare), or of the values that are replaced (masking,
            salt-and-pepper), in (0, 1); default 0.05.
        factor: standard deviation of the added noise (rare), or of the first noise (annealed), as a multiple of sigma;
            default 10.
        draws: number of batches over which annealed noise falls to sigma, >= 1; default 2000.
    """
    noise = _corruption(corrupt, sigma, share, factor, draws)
    model = s.denoiser(sigma, form if noise.symmetric else "plain", weights, activation, gain)
    pairs = antithetic and noise.symmetric
    return Penalised(model, Reconstruction(), corrupt=noise, walkback=walkback, antithetic=pairs)


@score("rcae", "mala")
def rcae(
    s: Setting,
    *,
    sigma: float = 0.1,
    method: str = "hutchinson",
    form: str = "residual",
    weights: str = "free",
    activation: str = "tanh",
    gain: float = 1.0,
) -> Objective:
    """Reconstruction contractive autoencoder (RCAE), which estimates the score without noise.

    The loss is `||r(x) - x||^2 + sigma^2 ||dr/dx||_F^2`, and (r(x) - x) / sigma^2 estimates the score. Alain and
    Bengio, "What Regularized Auto-Encoders Learn from the Data-Generating Distribution", 2014 (arXiv 1211.4246).

    Args:
        sigma: noise level whose denoiser is approximated, in the units of the data, > 0; default 0.1.
        method: how the norm of the Jacobian is computed: hutchinson (default, an unbiased estimate), exact, or closed,
            for one hidden layer.
        form: residual (default), r(x) = x + sigma^2 g(x) with the loss divided by 2 sigma^4, or plain, as in the
            paper.
        weights: free (default), or tied, one hidden layer whose decoder has the encoder's weights.
        activation: activation of the hidden layers: tanh (default), sigmoid, relu, leaky-relu, silu or softplus.
        gain: factor on the first layer's initial weights, > 0; default 1. Raise it for data with structure much finer
            than 1.
    """
    model = s.denoiser(sigma, form, weights, activation, gain)
    model.noise = sigma
    weight = sigma**2 / (2 * sigma**4) if form == "residual" else sigma**2
    return Penalised(model, Reconstruction() + weight * Contraction(method))


@score("cae", "mala")
def cae(s: Setting, *, sigma: float = 0.1, activation: str = "tanh", gain: float = 1.0) -> Objective:
    """Contractive autoencoder (CAE): one hidden layer whose Jacobian is penalised.

    The loss is `||r(x) - x||^2 + sigma^2 ||dh/dx||_F^2`, with h the hidden units and tied weights. Rifai et al.,
    "Contractive Auto-Encoders: Explicit Invariance During Feature Extraction", 2011. The decoder can undo the
    contraction, so that (r(x) - x) / sigma^2 at best points along the score.

    Args:
        sigma: square root of the weight of the penalty, in the units of the data, > 0; default 0.1.
        activation: activation of the hidden layer: tanh (default), sigmoid, relu, leaky-relu, silu or softplus.
        gain: factor on the initial weights, > 0; default 1. Raise it for data with structure much finer than 1.
    """
    model = s.denoiser(sigma, "plain", "tied", activation, gain)
    model.noise = sigma
    return Penalised(model, Reconstruction() + sigma**2 * Contraction("closed", of="encoder"))


@score("ncdae", "annealed")
def ncdae(
    s: Setting, *, low: float = 0.01, high: float | None = None, spread: float | None = None, blocks: int = 2
) -> Objective:
    """Noise-conditional denoising autoencoder: one net estimates the score at every noise level.

    The loss is that of the denoising autoencoder at levels between low and high, log-uniform, on which the net is
    conditioned; annealed and tempered sampling need it. On images use ``net="conv"``. The scaling of the net is that of
    Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022 (arXiv 2206.00364).

    Args:
        low: lowest noise level, in the units of the data, > 0; default 0.01.
        high: highest noise level, in the units of the data; by default 3 for data in [0, 1], and 10 otherwise.
        spread: standard deviation of a coordinate of the data, > 0; by default 0.3 for data in [0, 1], and 1 otherwise.
            Give that of your data, or standardise them.
        blocks: number of residual blocks of the encoder, >= 1; default 2.
    """
    high, spread = or_default(high, 3.0 if s.unit else 10.0), or_default(spread, 0.3 if s.unit else 1.0)
    s.unconditional("a noise-conditional denoiser")
    if not spread > 0:
        raise ValueError(f"spread is {spread}; expected a standard deviation above 0")
    if blocks < 1:
        raise ValueError(f"blocks is {blocks}; give at least 1")
    noise = NoiseLevels(low, high)
    size = math.prod(s.shape)
    convolve = "conv" in s.net or s.net == "residual"
    encoder = nn.NoiseEncoder(s.shape, s.latent_dim, blocks, spread=spread, lowest=low, convolve=convolve)
    if convolve:
        decoder: nn.NoiseDecoder = nn.NoiseConvDecoder(s.latent_dim, s.shape, spread=spread, lowest=low)
    else:
        out = torch.nn.Sequential(torch.nn.LayerNorm(s.latent_dim), torch.nn.SiLU(), nn.Linear(s.latent_dim, size))
        decoder = nn.NoiseDecoder(out, s.shape, spread=spread, lowest=low)
    model = Autoencoder(Dirac(encoder), Denoised(decoder), StandardNormal(size + s.latent_dim))
    return Penalised(model, Reconstruction(), corrupt=noise)
