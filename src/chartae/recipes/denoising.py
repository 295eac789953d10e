"""Recipes that learn to remove noise, and thereby estimate the score (1211.4246)."""

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
from chartae.recipes.setting import Asked, Setting, otherwise
from chartae.recipes.table import F, recipe
from chartae.terms import Contraction, Reconstruction

__all__ = ["cae", "dae", "ncdae", "rcae"]


def wide(asked: Asked) -> int:
    """1,024 hidden units on images and other large examples, 128 on small ones."""
    return 1024 if asked.size > 128 else 128


def score(name: str, sampler: str) -> Callable[[F], F]:
    """The record of a recipe that estimates a score: its codes are wider than the data, and chains sample them."""
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
        raise ValueError(f"corrupt is {kind!r}; choose from {', '.join(kinds)}")
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
    """Denoising autoencoder: ||r(x + sigma e) - x||^2, whose optimum is x + sigma^2 times the score of the data's
    density smoothed by sigma.

    corrupt: gaussian; rare (a `share` has noise of `factor` sigma on top); annealed (from `factor` sigma down within
    so many `draws` of a batch); masking or salt-and-pepper (a `share` of the values), which estimate no score.
    walkback: up to so many further steps. antithetic: each example under opposite noises.
    form: residual, r = x + sigma^2 g(x) and the loss divided by 2 sigma^4, or plain. weights tied: one hidden layer.
    gain: of the first layer's initial weights; raise it where the data have structure much finer than 1.
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
    """Reconstruction contractive autoencoder: ||r(x) - x||^2 + sigma^2 ||dr/dx||_F^2, an estimate of the score without
    noise (method exact, hutchinson, closed)."""
    model = s.denoiser(sigma, form, weights, activation, gain)
    model.noise = sigma
    weight = sigma**2 / (2 * sigma**4) if form == "residual" else sigma**2
    return Penalised(model, Reconstruction() + weight * Contraction(method))


@score("cae", "mala")
def cae(s: Setting, *, sigma: float = 0.1, activation: str = "tanh", gain: float = 1.0) -> Objective:
    """Contractive autoencoder: one hidden layer, tied weights, + sigma^2 ||dh/dx||_F^2 of the encoder alone.

    Rifai et al., 2011. The decoder can undo the contraction: (r(x) - x) / sigma^2 points along the score at best.
    """
    model = s.denoiser(sigma, "plain", "tied", activation, gain)
    model.noise = sigma
    return Penalised(model, Reconstruction() + sigma**2 * Contraction("closed", of="encoder"))


@score("ncdae", "annealed")
def ncdae(
    s: Setting, *, low: float = 0.01, high: float | None = None, spread: float | None = None, blocks: int = 2
) -> Objective:
    """Noise-conditional denoising autoencoder: one net for all noise levels from low to high, which it is told.

    high is 3 for data in [0, 1], else 10; `spread`, the standard deviation of a coordinate, 0.3 or 1: give those of
    your data, or standardise them. What annealing and tempering need. On images take net="conv".
    """
    high, spread = otherwise(high, 3.0 if s.unit else 10.0), otherwise(spread, 0.3 if s.unit else 1.0)
    s.unconditional("a noise-conditional denoiser")
    if not spread > 0:
        raise ValueError(f"spread is {spread}; a standard deviation is above 0")
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
