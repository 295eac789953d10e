"""Recipes whose objective is a sum of terms: deterministic, regularised and variational autoencoders."""

from __future__ import annotations

import math

from chartae import nn
from chartae.autoencoder import Autoencoder
from chartae.conditionals import Gaussian, StandardNormal
from chartae.objectives import Objective, Penalised
from chartae.recipes.setting import HALF, Setting, otherwise
from chartae.recipes.table import recipe
from chartae.terms import (
    KL,
    MMD,
    DecoderGradient,
    DecoderL2,
    LatentNorm,
    Orthogonality,
    Reconstruction,
    SlicedWasserstein,
)

__all__ = ["ae", "beta_vae", "cv_vae", "rae", "rae_gp", "rae_l2", "rae_sn", "sigma_vae", "vae", "wae"]


def variational_rate(data: str) -> float:
    """The authors' learning rate (Adam) for their variational nets."""
    return 1e-4


@recipe("ae", density="normal")
def ae(s: Setting) -> Objective:
    """The plain autoencoder: nothing but ||x - x^||^2."""
    return Penalised(s.deterministic(), Reconstruction())


@recipe("rae", density="normal")
def rae(
    s: Setting,
    *,
    beta: float | None = None,
    sigma: float | None = None,
    orthogonality: float | None = None,
    output: str | None = None,
) -> Objective:
    """Regularised autoencoder: + beta ½||z||^2.

    orthogonality: the weight of the IMA contrast (`Orthogonality`) beside it, of images at 16 of a batch. sigma: the
    likelihood's, by default sqrt(1/2), which is the printed ||x - x^||^2. output: identity or sigmoid, the decoder's
    last step.
    """
    terms = Reconstruction() + otherwise(beta, s.authors("rae", "b")) * LatentNorm()
    if orthogonality is not None:
        # D forward-mode products through a picture's decoder are dear: some examples of the batch will do
        terms = terms + orthogonality * Orthogonality(16 if len(s.shape) == 3 else None)
    return Penalised(s.deterministic(otherwise(sigma, HALF), output), terms)


@recipe("rae-l2", density="normal")
def rae_l2(s: Setting, *, beta: float | None = None, l2: float | None = None, select: str = "all") -> Objective:
    """RAE-L2: + beta ½||z||^2 + l2 ||theta||^2 over the decoder's parameters."""
    beta, l2 = otherwise(beta, s.authors("rae-l2", "b")), otherwise(l2, s.authors("rae-l2", "l2"))
    return Penalised(s.deterministic(), Reconstruction() + beta * LatentNorm() + l2 * DecoderL2(select))


@recipe("rae-gp", density="normal")
def rae_gp(s: Setting, *, beta: float | None = None, gp: float | None = None, method: str = "hutchinson") -> Objective:
    """RAE-GP: + beta ½||z||^2 + gp ||dD(z)/dz||^2 (method exact, hutchinson) or the authors' surrogate (authors).

    The paper gives no number for the Jacobian norm itself: `gp` is 0.01 there, ours; with ``method="authors"`` it is
    the authors' own.
    """
    beta = otherwise(beta, s.authors("rae-gp", "b"))
    gp = otherwise(gp, s.authors("rae-gp", "gp") if method == "authors" else 0.01)
    return Penalised(s.deterministic(), Reconstruction() + beta * LatentNorm() + gp * DecoderGradient(method))


@recipe("rae-sn", density="normal")
def rae_sn(s: Setting, *, beta: float | None = None, scope: str = "decoder") -> Objective:
    """RAE-SN: + beta ½||z||^2, the decoder's weights divided by their spectral norms (scope "decoder", the paper) or
    the encoder's as well, transposed convolutions read as in the authors' code (scope "both")."""
    if scope not in ("decoder", "both"):
        raise ValueError(f"scope is {scope!r}; choose 'decoder' (the paper) or 'both' (the authors' code)")
    model = s.deterministic()
    nn.spectral(model.decoder, authors=scope == "both")
    if scope == "both":
        nn.spectral(model.encoder, authors=True)
    return Penalised(model, Reconstruction() + otherwise(beta, s.authors("rae-sn", "b")) * LatentNorm())


@recipe("vae", paper_lr=variational_rate)
def vae(
    s: Setting,
    *,
    sigma: float | None = None,
    gamma2: float | None = None,
    warmup: int = 0,
    likelihood: str = "gaussian",
    prior: str = "normal",
    output: str | None = None,
) -> Objective:
    """Variational autoencoder: the negative ELBO, in nats.

    The authors weigh KL by w against the squared error; that is the ELBO of a decoder of sigma^2 = w C / 2.
    gamma2: the decoder's precision 1 / sigma^2 instead, in inverse squared units of the data; large, the VAE is
    near-deterministic (2206.02416), and the encoder's sigma is not squashed; it may rise to its value, from a hundredth
    of it, over `warmup` batches. prior: normal, laplace (of unit variance),
    uniform or beta (learnt) over codes in (0, 1), with logit-normal posteriors. output: identity or sigmoid, the
    decoder's last step; by default a sigmoid for data in [0, 1].
    """
    if sigma is not None and gamma2 is not None:
        raise ValueError(f"sigma is {sigma} and gamma2 {gamma2}; they are one thing, gamma2 = 1 / sigma^2: give one")
    if gamma2 is not None and gamma2 <= 0:
        raise ValueError(f"gamma2 is {gamma2}; a precision is above 0")
    if gamma2 is not None and likelihood == "bernoulli":
        raise ValueError(f"gamma2 is {gamma2}; a Bernoulli likelihood has no precision: use likelihood='gaussian'")
    limit = 5.0 if gamma2 is None else math.inf
    if gamma2 is not None:
        sigma = gamma2**-0.5
    sigma = otherwise(sigma, math.sqrt(s.authors("vae", "w") / 2))
    return Penalised(s.variational(sigma, likelihood, prior, limit, warmup, output), Reconstruction() + KL())


@recipe("beta-vae", paper_lr=variational_rate)
def beta_vae(s: Setting, *, beta: float = 4.0, sigma: float | None = None, likelihood: str = "gaussian") -> Objective:
    """beta-VAE: the VAE with beta KL. Higgins et al., 2017."""
    sigma = otherwise(sigma, math.sqrt(s.authors("vae", "w") / 2))
    return Penalised(s.variational(sigma, likelihood), Reconstruction() + beta * KL())


@recipe("sigma-vae", paper_lr=variational_rate)
def sigma_vae(s: Setting, *, beta: float = 1.0) -> Objective:
    """sigma-VAE: the VAE whose decoder's sigma is the optimal one. Rybkin et al., 2021 (arXiv 2006.13202)."""
    return Penalised(s.variational("optimal"), Reconstruction() + beta * KL())


@recipe("cv-vae", paper_lr=variational_rate, density="normal")
def cv_vae(s: Setting, *, beta: float | None = None, encoder_sigma: float = 0.7) -> Objective:
    """Constant-variance VAE: z = mu(x) + s e with s fixed, + beta ½||mu||^2."""
    model = Autoencoder(Gaussian(s.encoder(), encoder_sigma), s.likelihood(), StandardNormal(s.latent_dim))
    return Penalised(model, Reconstruction() + otherwise(beta, s.authors("cv-vae", "w")) * LatentNorm())


@recipe("wae", paper_lr=lambda data: 1e-3)
def wae(s: Setting, *, weight: float | None = None, distance: str = "mmd", kernel: str = "imq") -> Objective:
    """Wasserstein autoencoder: + weight MMD(codes, prior), or the sliced Wasserstein distance (distance "swd")."""
    if distance not in ("mmd", "swd"):
        raise ValueError(f"distance is {distance!r}; choose 'mmd' or 'swd'")
    term = MMD(kernel) if distance == "mmd" else SlicedWasserstein()
    return Penalised(s.deterministic(), Reconstruction() + otherwise(weight, s.authors("wae", "mmd")) * term)
