"""Recipes with a sum of terms as objective: deterministic, regularised and variational autoencoders.

Each function takes a `Setting` and the recipe's options, and returns an objective with a fresh model.
"""

from __future__ import annotations

import math

from chartae import nn
from chartae.autoencoder import Autoencoder
from chartae.conditionals import Gaussian, StandardNormal
from chartae.objectives import Objective, Penalised
from chartae.recipes.setting import HALF, Setting, or_default
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

__all__ = ["ae", "ae_l2", "beta_vae", "cv_vae", "rae", "rae_gp", "rae_l2", "rae_sn", "sigma_vae", "vae", "wae"]


def variational_rate(data: str) -> float:
    """The RAE authors' learning rate (Adam) for variational autoencoders with the paper's nets."""
    return 1e-4


@recipe("ae", density="normal")
def ae(s: Setting) -> Objective:
    """Plain autoencoder, trained by the squared reconstruction error only.

    The loss is `||x - x^||^2`. Sample it from a density that is fitted to its codes.
    """
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
    """Regularised autoencoder (RAE): deterministic, with a penalty on the squared norm of the codes.

    The loss is `||x - x^||^2 + beta ½ ||z||^2`. Ghosh et al., "From Variational to Deterministic Autoencoders", 2020
    (arXiv 1903.12436).

    Args:
        beta: weight of half the squared norm of a code, >= 0; by default the paper's for similar data (0.064 on MNIST).
        sigma: standard deviation of the decoder's Gaussian likelihood, in the units of the data, > 0; by default
            sqrt(1/2), which gives the paper's squared error.
        orthogonality: weight of a penalty on Jacobian columns of the decoder that are not orthogonal (the IMA
            contrast), >= 0; by default none, as in the paper. On images it is estimated from 16 examples of a batch.
        output: last activation of the decoder, identity or sigmoid; by default sigmoid for data in [0, 1].
    """
    terms = Reconstruction() + or_default(beta, s.authors("rae", "b")) * LatentNorm()
    if orthogonality is not None:
        # D forward-mode products through an image decoder are slow, so only some examples of a batch are used
        terms = terms + orthogonality * Orthogonality(16 if len(s.shape) == 3 else None)
    return Penalised(s.deterministic(or_default(sigma, HALF), output), terms)


@recipe("rae-l2", density="normal")
def rae_l2(s: Setting, *, beta: float | None = None, l2: float | None = None, select: str = "all") -> Objective:
    """RAE-L2: a regularised autoencoder with an L2 penalty on the decoder's parameters.

    The loss is `||x - x^||^2 + beta ½ ||z||^2 + l2 ||theta||^2`. Ghosh et al., "From Variational to Deterministic
    Autoencoders", 2020 (arXiv 1903.12436).

    Args:
        beta: weight of half the squared norm of a code, >= 0; by default the paper's for similar data (0.0128 on
            MNIST).
        l2: weight of the squared norm of the decoder's parameters, >= 0; by default the paper's for similar data
            (1.024e-4 on MNIST).
        select: parameters that are penalised: all (default, as in the paper), weights (no biases or normalisation), or
            transposed (kernels of transposed convolutions, as in its authors' code on MNIST and CIFAR-10).
    """
    beta, l2 = or_default(beta, s.authors("rae-l2", "b")), or_default(l2, s.authors("rae-l2", "l2"))
    return Penalised(s.deterministic(), Reconstruction() + beta * LatentNorm() + l2 * DecoderL2(select))


@recipe("ae-l2", density="normal")
def ae_l2(s: Setting, *, l2: float | None = None, select: str = "all") -> Objective:
    """AE-L2: an autoencoder with an L2 penalty on the decoder's parameters, and none on the codes.

    The loss is `||x - x^||^2 + l2 ||theta||^2`, RAE-L2 without its penalty on the codes: what these two differ in is
    due to that. It is a control of Ghosh et al., "From Variational to Deterministic Autoencoders", 2020 (arXiv
    1903.12436), in the configurations of its authors' code.

    Args:
        l2: weight of the squared norm of the decoder's parameters, >= 0; by default the authors' for similar data
            (1.024e-4 on MNIST).
        select: parameters that are penalised: all (default), weights (no biases or normalisation), or transposed
            (kernels of transposed convolutions, as in the authors' code on MNIST and CIFAR-10).
    """
    return Penalised(s.deterministic(), Reconstruction() + or_default(l2, s.authors("ae-l2", "l2")) * DecoderL2(select))


@recipe("rae-gp", density="normal")
def rae_gp(s: Setting, *, beta: float | None = None, gp: float | None = None, method: str = "hutchinson") -> Objective:
    """RAE-GP: a regularised autoencoder with a penalty on the gradient of the decoder.

    The loss is `||x - x^||^2 + beta ½ ||z||^2 + gp ||dD(z)/dz||_F^2`. Ghosh et al., "From Variational to Deterministic
    Autoencoders", 2020 (arXiv 1903.12436).

    Args:
        beta: weight of half the squared norm of a code, >= 0; by default the paper's for similar data (0.0128 on
            MNIST).
        gp: weight of the squared norm of the decoder's Jacobian, >= 0; by default 0.01, which is ours, as the paper
            states none; with method authors, the paper's for similar data.
        method: how the norm is computed: hutchinson (default, an unbiased estimate), exact, or authors (the quantity
            that the paper's code minimises instead, `(4/d) ||J^T D(z)||^2`).
    """
    beta = or_default(beta, s.authors("rae-gp", "b"))
    gp = or_default(gp, s.authors("rae-gp", "gp") if method == "authors" else 0.01)
    return Penalised(s.deterministic(), Reconstruction() + beta * LatentNorm() + gp * DecoderGradient(method))


@recipe("rae-sn", density="normal")
def rae_sn(s: Setting, *, beta: float | None = None, scope: str = "decoder") -> Objective:
    """RAE-SN: a regularised autoencoder with spectral normalisation of the decoder.

    The loss is `||x - x^||^2 + beta ½ ||z||^2`; each weight matrix is divided by its largest singular value. Ghosh et
    al., "From Variational to Deterministic Autoencoders", 2020 (arXiv 1903.12436).

    Args:
        beta: weight of half the squared norm of a code, >= 0; by default the paper's for similar data (1.152 on MNIST).
        scope: nets that are normalised: decoder (default, as in the paper), or both, the encoder too, as in its
            authors' code, which also reads the kernels of transposed convolutions in another way.
    """
    if scope not in ("decoder", "both"):
        raise ValueError(f"scope is {scope!r}; choose 'decoder' (the paper) or 'both' (the authors' code)")
    model = s.deterministic()
    nn.spectral(model.decoder, authors=scope == "both")
    if scope == "both":
        nn.spectral(model.encoder, authors=True)
    return Penalised(model, Reconstruction() + or_default(beta, s.authors("rae-sn", "b")) * LatentNorm())


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
    """Variational autoencoder (VAE), trained by the negative ELBO.

    The loss is `-E log p(x|z) + KL(q(z|x) || p(z))`, in nats per example. Kingma, Welling, "Auto-Encoding Variational
    Bayes", 2014 (arXiv 1312.6114). The default sigma is that of the RAE paper (arXiv 1903.12436), which weights the KL
    by w relative to the squared error: sigma^2 = w C / 2 with C channels.

    Args:
        sigma: standard deviation of the decoder's Gaussian likelihood, in the units of the data, > 0; by default the
            RAE paper's for similar data (0.395 on MNIST).
        gamma2: precision 1 / sigma^2 of the decoder, in inverse squared units of the data, > 0, in place of sigma. A
            large one gives a near-deterministic VAE (arXiv 2206.02416); the encoder's sigma is then unbounded.
        warmup: number of batches over which the decoder's sigma falls to its value, from ten times as much; 0 (default)
            for none.
        likelihood: distribution of the data given a code: gaussian (default), or bernoulli for data in [0, 1].
        prior: distribution of the codes: normal (default), laplace (of unit variance), or uniform or beta (learnt) over
            codes in (0, 1), with logit-normal posteriors.
        output: last activation of the decoder, identity or sigmoid; by default sigmoid for data in [0, 1].
    """
    if sigma is not None and gamma2 is not None:
        raise ValueError(
            f"sigma is {sigma} and gamma2 is {gamma2}; expected only one of them, as gamma2 = 1 / sigma^2. Leave one "
            "of them out."
        )
    if gamma2 is not None and gamma2 <= 0:
        raise ValueError(f"gamma2 is {gamma2}; expected a precision above 0")
    if gamma2 is not None and likelihood == "bernoulli":
        raise ValueError(
            f"gamma2 is {gamma2}, but likelihood is 'bernoulli', which has no precision; use likelihood='gaussian'"
        )
    limit = 5.0 if gamma2 is None else math.inf
    if gamma2 is not None:
        sigma = gamma2**-0.5
    sigma = or_default(sigma, math.sqrt(s.authors("vae", "w") / 2))
    return Penalised(s.variational(sigma, likelihood, prior, limit, warmup, output), Reconstruction() + KL())


@recipe("beta-vae", paper_lr=variational_rate)
def beta_vae(s: Setting, *, beta: float = 4.0, sigma: float | None = None, likelihood: str = "gaussian") -> Objective:
    """beta-VAE: a VAE whose KL term is weighted by beta.

    The loss is `-E log p(x|z) + beta KL(q(z|x) || p(z))`. Higgins et al., "beta-VAE: Learning Basic Visual Concepts
    with a Constrained Variational Framework", 2017.

    Args:
        beta: weight of the KL term, >= 0; default 4; 1 gives the VAE. A larger one gives fewer and more separate
            factors.
        sigma: standard deviation of the decoder's Gaussian likelihood, in the units of the data, > 0; by default the
            RAE paper's for similar data (0.395 on MNIST).
        likelihood: distribution of the data given a code: gaussian (default), or bernoulli for data in [0, 1].
    """
    sigma = or_default(sigma, math.sqrt(s.authors("vae", "w") / 2))
    return Penalised(s.variational(sigma, likelihood), Reconstruction() + beta * KL())


@recipe("sigma-vae", paper_lr=variational_rate)
def sigma_vae(s: Setting, *, beta: float = 1.0) -> Objective:
    """sigma-VAE: a VAE whose decoder has the maximum-likelihood noise level.

    The decoder's sigma is computed from each batch, `sigma^2 = mean (x - x^)^2`. Rybkin, Daniilidis, Levine, "Simple
    and Effective VAE Training with Calibrated Decoders", 2021 (arXiv 2006.13202).

    Args:
        beta: weight of the KL term, >= 0; default 1, as in the paper.
    """
    return Penalised(s.variational("optimal"), Reconstruction() + beta * KL())


@recipe("cv-vae", paper_lr=variational_rate, density="normal")
def cv_vae(s: Setting, *, beta: float | None = None, encoder_sigma: float = 0.7) -> Objective:
    """Constant-variance VAE (CV-VAE): Gaussian codes of fixed variance, and a penalty on their means.

    The codes are z = mu(x) + s e with e ~ N(0, I), and the loss is `||x - x^||^2 + beta ½ ||mu||^2`. Ghosh et al.,
    "From Variational to Deterministic Autoencoders", 2020 (arXiv 1903.12436).

    Args:
        beta: weight of half the squared norm of mu(x), >= 0; by default the paper's for similar data (0.039 on MNIST).
        encoder_sigma: standard deviation s of the codes, > 0; default 0.7.
    """
    model = Autoencoder(Gaussian(s.encoder(), encoder_sigma), s.likelihood(), StandardNormal(s.latent_dim))
    return Penalised(model, Reconstruction() + or_default(beta, s.authors("cv-vae", "w")) * LatentNorm())


@recipe("wae", paper_lr=lambda data: 1e-3)
def wae(s: Setting, *, strength: float | None = None, distance: str = "mmd", kernel: str = "imq") -> Objective:
    """Wasserstein autoencoder (WAE-MMD): a penalty on the distance between the codes and the prior.

    The loss is `||x - x^||^2 + strength distance(codes, prior)` over a batch. Tolstikhin et al., "Wasserstein
    Auto-Encoders", 2018 (arXiv 1711.01558); with the sliced distance, Kolouri et al., "Sliced-Wasserstein
    Auto-Encoder", 2018 (arXiv 1804.01947).

    Args:
        strength: weight of the distance, >= 0; by default the RAE paper's for similar data (30.72 on MNIST).
        distance: mmd (default), the squared maximum mean discrepancy, or swd, the squared sliced Wasserstein distance.
        kernel: kernel of the MMD, imq (default, inverse multiquadratics, as in the paper) or rbf.
    """
    if distance not in ("mmd", "swd"):
        raise ValueError(f"distance is {distance!r}; choose 'mmd' or 'swd'")
    term = MMD(kernel) if distance == "mmd" else SlicedWasserstein()
    return Penalised(s.deterministic(), Reconstruction() + or_default(strength, s.authors("wae", "mmd")) * term)
