"""The table: name -> (autoencoder, objective, density), with the papers' settings.

Coefficients are in the paper's normalisation: the summed squared error ||x - x^||^2 of one example, which is a Gaussian
likelihood of sigma^2 = 1/2, plus beta ½||z||^2 and so on. The numbers come from the RAE authors' configurations
(1903.12436), which average over the D pixels instead; `from_authors` converts them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch

from chartae import nn
from chartae.adversarial import ImplicitAutoencoding
from chartae.autoencoder import Autoencoder
from chartae.conditionals import (
    AnnealedNoise,
    Bernoulli,
    Beta,
    Categorical,
    Conditional,
    Corruption,
    Denoised,
    Dirac,
    Gaussian,
    GaussianNoise,
    Implicit,
    Laplace,
    LogitNormal,
    Masking,
    NoiseLevels,
    RareNoise,
    SaltAndPepper,
    StandardNormal,
    Uniform,
    UniformCategorical,
)
from chartae.objectives import Objective, Penalised
from chartae.terms import (
    KL,
    MMD,
    AdversarialLatent,
    Contraction,
    DecoderGradient,
    DecoderL2,
    LatentNorm,
    Orthogonality,
    Reconstruction,
    SlicedWasserstein,
)

__all__ = ["AUTHORS", "RECIPES", "Recipe", "Setting", "build", "from_authors", "options"]

#: ||x - x^||^2 as a likelihood
HALF = math.sqrt(0.5)


@dataclass(frozen=True)
class Paper:
    """What the authors' configuration of a data set says, in their normalisation (means over pixels and codes).

    `size` is D, the number of values of an image as they feed it; `channels` C. `recipes` gives the weight `b` of
    mean_j z_j^2, `l2`, `gp`, the weight `w` of the KL divergence against errors averaged over channels, and `mmd`
    against errors averaged over everything.
    """

    size: int
    channels: int
    latent_dim: int
    recipes: dict[str, dict[str, float]]


AUTHORS = {
    "mnist": Paper(
        1024,
        1,
        16,
        {
            "rae": {"b": 5e-4},
            "rae-l2": {"b": 1e-4, "l2": 1e-7},
            "rae-gp": {"b": 1e-4, "gp": 0.5e-7},
            "rae-sn": {"b": 9e-3},
            "vae": {"w": 0.312},
            "cv-vae": {"w": 0.039},
            "wae": {"mmd": 3e-2},
        },
    ),
    "cifar10": Paper(
        3072,
        3,
        128,
        {
            "rae": {"b": 1e-2},
            "rae-l2": {"b": 1e-3, "l2": 1e-6},
            "rae-gp": {"b": 9e-4, "gp": 0.0},
            "rae-sn": {"b": 0.03},
            "vae": {"w": 0.024},
            "cv-vae": {"w": 9e-4},
            "wae": {"mmd": 6e-3},
        },
    ),
    "celeba": Paper(
        12288,
        3,
        64,
        {
            "rae": {"b": 1e-4},
            "rae-l2": {"b": 1e-4, "l2": 1e-7},
            "rae-gp": {"b": 1e-4, "gp": 1e-7},
            "rae-sn": {"b": 2.4e-3},
            "vae": {"w": 0.09024},
            "cv-vae": {"w": 0.01},
            # their loss there is 0.05 ||x - x^||^2 + 100 MMD
            "wae": {"mmd": 100 / 0.05 / 12288},
        },
    ),
}


def from_authors(key: str, value: float, *, size: int, channels: int, latent_dim: int) -> float:
    """A coefficient of the authors' code as one of the printed loss, where the squared error is summed.

    ======  =========================  ==========================================================
    key     theirs, beside             ours, beside ||x - x^||^2
    ======  =========================  ==========================================================
    b       mean_j z_j^2, mean error   2 b D / d on ½||z||^2
    l2      Σ K^2, mean error          l2 D on Σ K^2
    gp      (4/d)||J^T x^||^2, mean    gp D on the same (`DecoderGradient("authors")`)
    w       KL, channel-mean error     w C on KL
    mmd     MMD, mean error            mmd D on MMD
    ======  =========================  ==========================================================

    >>> from_authors("b", 1e-4, size=1024, channels=1, latent_dim=16)
    0.0128
    """
    factors = {"b": 2 * size / latent_dim, "l2": size, "gp": size, "w": channels, "mmd": size}
    return value * factors[key]


@dataclass(frozen=True)
class Setting:
    """What a recipe is cooked for.

    Attributes:
        shape: of one example.
        latent_dim: of the codes.
        net: a name of `chartae.nn.NETS`, or ``"auto"``: `mlp` for vectors and small grey images, else `conv`.
        unit: whether the data lie in [0, 1], so that the decoder ends in a sigmoid.
        data: the data set's name; the papers' coefficients are those of the nearest of their data sets.
    """

    shape: tuple[int, ...]
    latent_dim: int
    net: str = "auto"
    unit: bool = True
    data: str = ""

    def __post_init__(self) -> None:
        size = math.prod(self.shape)
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}; a code has at least 1 dimension")
        if self.net == "auto":
            small = len(self.shape) != 3 or (self.shape[0] == 1 and size <= 1024) or min(self.shape[1:]) < 4
            object.__setattr__(self, "net", "mlp" if small else "conv")

    @property
    def paper(self) -> str:
        """The paper's data set whose coefficients apply."""
        if self.data in AUTHORS:
            return self.data
        if len(self.shape) != 3 or self.shape[0] == 1:
            return "mnist"
        return "cifar10" if max(self.shape[1:]) <= 48 else "celeba"

    def authors(self, recipe: str, key: str) -> float:
        """The authors' coefficient in our normalisation; on data that are not the paper's, at the data's own size."""
        paper = AUTHORS[self.paper]
        own = self.data == self.paper
        size = paper.size if own else math.prod(self.shape)
        channels = paper.channels if own or len(self.shape) != 3 else self.shape[0]
        value = from_authors(key, paper.recipes[recipe][key], size=size, channels=channels, latent_dim=self.latent_dim)
        return float(f"{value:.6g}")

    def encoder(self, out: int | None = None) -> torch.nn.Module:
        return nn.encoder(self.net, self.shape, out or self.latent_dim)

    def decoder(self, output: str | None = None) -> torch.nn.Module:
        output = output or ("sigmoid" if self.unit else "identity")
        return nn.decoder(self.net, self.latent_dim, self.shape, output=output)

    def likelihood(
        self, sigma: float | str = HALF, likelihood: str = "gaussian", warmup: int = 0, output: str | None = None
    ) -> Conditional:
        if likelihood == "bernoulli":
            if not self.unit:
                raise ValueError("a Bernoulli likelihood needs data in [0, 1]; use likelihood='gaussian'")
            if warmup or output is not None:
                raise ValueError(f"warmup is {warmup} and output {output!r}; a Bernoulli likelihood takes neither")
            return Bernoulli(self.decoder("identity"))
        if likelihood != "gaussian":
            raise ValueError(f"likelihood is {likelihood!r}; choose 'gaussian' or 'bernoulli'")
        return Gaussian(self.decoder(output), sigma, warmup=warmup)

    def deterministic(self, sigma: float = HALF, output: str | None = None) -> Autoencoder:
        return Autoencoder(
            Dirac(self.encoder()), self.likelihood(sigma, output=output), StandardNormal(self.latent_dim)
        )

    def variational(
        self,
        sigma: float | str,
        likelihood: str = "gaussian",
        prior: str = "normal",
        limit: float = 5.0,
        warmup: int = 0,
        output: str | None = None,
    ) -> Autoencoder:
        priors: dict[str, Callable[[], Conditional]] = {
            "normal": lambda: StandardNormal(self.latent_dim),
            "laplace": lambda: Laplace(self.latent_dim, math.sqrt(0.5)),
            "uniform": lambda: Uniform(self.latent_dim),
            "beta": lambda: Beta(self.latent_dim, 2.0, 2.0, learnt=True),
        }
        if prior not in priors:
            raise ValueError(f"prior is {prior!r}; choose from {', '.join(priors)}")
        net = self.encoder(2 * self.latent_dim)
        bounded = prior in ("uniform", "beta")
        encoder = LogitNormal(net) if bounded else Gaussian(net, "learnt", limit=limit)
        return Autoencoder(encoder, self.likelihood(sigma, likelihood, warmup, output), priors[prior]())

    def denoiser(self, sigma: float, form: str, weights: str, activation: str, gain: float) -> Autoencoder:
        """r(x), its code as wide as `latent_dim`: x + sigma^2 g(x), or plain; one hidden layer (shallow, tied) or two.

        The net's output is sigma g, which noise keeps near 1 at every sigma. The residual's likelihood has standard
        deviation sigma^2, which divides the printed loss by 2 sigma^4.
        """
        if form not in ("residual", "plain"):
            raise ValueError(f"form is {form!r}; choose 'residual' or 'plain'")
        if weights not in ("free", "tied"):
            raise ValueError(f"weights is {weights!r}; choose 'free' or 'tied'")
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma}; a noise level is a finite number above 0")
        width, size = self.latent_dim, math.prod(self.shape)
        tied, residual = weights == "tied", form == "residual"
        encoder: torch.nn.Module
        if self.net in ("mlp", "shallow") or tied:
            layer = nn.HiddenLayer(self.shape, width, activation, gain)
            encoder = layer
            if self.net == "mlp" and not tied:
                encoder = torch.nn.Sequential(layer, nn.HiddenLayer(width, width, activation))
            flat: torch.nn.Module = nn.Linear(width, size)
            if tied:
                flat = nn.TiedDecoder(layer, size if residual else self.shape)
            elif residual:
                for p in flat.parameters():  # it begins as the identity
                    torch.nn.init.zeros_(p)
        else:
            encoder, flat = self.encoder(), torch.nn.Sequential(self.decoder("identity"), torch.nn.Flatten())
        prior = StandardNormal(width)
        if residual:
            decoder = nn.SkipDecoder(flat, self.shape, sigma)
            return Autoencoder(
                Dirac(nn.SkipEncoder(encoder)), Gaussian(decoder, sigma**2), StandardNormal(size + width)
            )
        if len(self.shape) > 1 and not tied:
            flat = torch.nn.Sequential(flat, torch.nn.Unflatten(1, self.shape))
        return Autoencoder(Dirac(encoder), Gaussian(flat, HALF), prior)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


# -- the recipes: each returns the objective; its keywords are the recipe's options -----------------------------------


def ae(s: Setting) -> Objective:
    """The plain autoencoder: nothing but ||x - x^||^2."""
    return Penalised(s.deterministic(), Reconstruction())


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
    terms = Reconstruction() + _or(beta, s.authors("rae", "b")) * LatentNorm()
    if orthogonality is not None:
        # D forward-mode products through a picture's decoder are dear: some examples of the batch will do
        terms = terms + orthogonality * Orthogonality(16 if len(s.shape) == 3 else None)
    return Penalised(s.deterministic(_or(sigma, HALF), output), terms)


def rae_l2(s: Setting, *, beta: float | None = None, l2: float | None = None, select: str = "all") -> Objective:
    """RAE-L2: + beta ½||z||^2 + l2 ||theta||^2 over the decoder's parameters."""
    beta, l2 = _or(beta, s.authors("rae-l2", "b")), _or(l2, s.authors("rae-l2", "l2"))
    return Penalised(s.deterministic(), Reconstruction() + beta * LatentNorm() + l2 * DecoderL2(select))


def rae_gp(s: Setting, *, beta: float | None = None, gp: float | None = None, method: str = "hutchinson") -> Objective:
    """RAE-GP: + beta ½||z||^2 + gp ||dD(z)/dz||^2 (method exact, hutchinson) or the authors' surrogate (authors).

    The paper gives no number for the Jacobian norm itself: `gp` is 0.01 there, ours; with ``method="authors"`` it is
    the authors' own.
    """
    beta = _or(beta, s.authors("rae-gp", "b"))
    gp = _or(gp, s.authors("rae-gp", "gp") if method == "authors" else 0.01)
    return Penalised(s.deterministic(), Reconstruction() + beta * LatentNorm() + gp * DecoderGradient(method))


def rae_sn(s: Setting, *, beta: float | None = None, scope: str = "decoder") -> Objective:
    """RAE-SN: + beta ½||z||^2, the decoder's weights divided by their spectral norms (scope "decoder", the paper) or
    the encoder's as well, transposed convolutions read as in the authors' code (scope "both")."""
    if scope not in ("decoder", "both"):
        raise ValueError(f"scope is {scope!r}; choose 'decoder' (the paper) or 'both' (the authors' code)")
    model = s.deterministic()
    nn.spectral(model.decoder, authors=scope == "both")
    if scope == "both":
        nn.spectral(model.encoder, authors=True)
    return Penalised(model, Reconstruction() + _or(beta, s.authors("rae-sn", "b")) * LatentNorm())


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
    sigma = _or(sigma, math.sqrt(s.authors("vae", "w") / 2))
    return Penalised(s.variational(sigma, likelihood, prior, limit, warmup, output), Reconstruction() + KL())


def beta_vae(s: Setting, *, beta: float = 4.0, sigma: float | None = None, likelihood: str = "gaussian") -> Objective:
    """beta-VAE: the VAE with beta KL. Higgins et al., 2017."""
    sigma = _or(sigma, math.sqrt(s.authors("vae", "w") / 2))
    return Penalised(s.variational(sigma, likelihood), Reconstruction() + beta * KL())


def sigma_vae(s: Setting, *, beta: float = 1.0) -> Objective:
    """sigma-VAE: the VAE whose decoder's sigma is the optimal one. Rybkin et al., 2021 (arXiv 2006.13202)."""
    return Penalised(s.variational("optimal"), Reconstruction() + beta * KL())


def cv_vae(s: Setting, *, beta: float | None = None, encoder_sigma: float = 0.7) -> Objective:
    """Constant-variance VAE: z = mu(x) + s e with s fixed, + beta ½||mu||^2."""
    model = Autoencoder(Gaussian(s.encoder(), encoder_sigma), s.likelihood(), StandardNormal(s.latent_dim))
    return Penalised(model, Reconstruction() + _or(beta, s.authors("cv-vae", "w")) * LatentNorm())


def wae(s: Setting, *, weight: float | None = None, distance: str = "mmd", kernel: str = "imq") -> Objective:
    """Wasserstein autoencoder: + weight MMD(codes, prior), or the sliced Wasserstein distance (distance "swd")."""
    if distance not in ("mmd", "swd"):
        raise ValueError(f"distance is {distance!r}; choose 'mmd' or 'swd'")
    term = MMD(kernel) if distance == "mmd" else SlicedWasserstein()
    return Penalised(s.deterministic(), Reconstruction() + _or(weight, s.authors("wae", "mmd")) * term)


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


def cae(s: Setting, *, sigma: float = 0.1, activation: str = "tanh", gain: float = 1.0) -> Objective:
    """Contractive autoencoder: one hidden layer, tied weights, + sigma^2 ||dh/dx||_F^2 of the encoder alone.

    Rifai et al., 2011. The decoder can undo the contraction: (r(x) - x) / sigma^2 points along the score at best.
    """
    model = s.denoiser(sigma, "plain", "tied", activation, gain)
    model.noise = sigma
    return Penalised(model, Reconstruction() + sigma**2 * Contraction("closed", of="encoder"))


def ncdae(
    s: Setting, *, low: float = 0.01, high: float | None = None, spread: float | None = None, blocks: int = 2
) -> Objective:
    """Noise-conditional denoising autoencoder: one net for all noise levels from low to high, which it is told.

    high is 3 for data in [0, 1], else 10; `spread`, the standard deviation of a coordinate, 0.3 or 1: give those of
    your data, or standardise them. What annealing and tempering need. On images take net="conv".
    """
    high, spread = _or(high, 3.0 if s.unit else 10.0), _or(spread, 0.3 if s.unit else 1.0)
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


def aae(s: Setting, *, weight: float = 1.0, penalty: float = 0.1, sigma: float | None = None) -> Objective:
    """Adversarial autoencoder: a critic makes the codes' law the prior. Makhzani et al., 2015 (arXiv 1511.05644).

    weight: of the critic's term beside the squared error in units of 2 sigma^2; sigma is 1 where it is not given.
    """
    _, latent = nn.critic(s.net, s.shape, s.latent_dim)
    terms = Reconstruction() + weight * AdversarialLatent(latent, penalty)
    return Penalised(s.deterministic(_or(sigma, 1.0)), terms)


def iae(
    s: Setting,
    *,
    noise_dim: int = 10,
    encoder_gradient: str = "both",
    loss: str = "non-saturating",
    penalty: float = 0.05,
    warmup: float = 0.4,
) -> Objective:
    """Implicit autoencoder: a normal code for what is abstract, noise for the rest, two critics (1805.09804).

    noise_dim: of the decoder's own noise; 0 makes it deterministic. encoder_gradient: positive (exact for the forward
    KL), both or negative. loss: non-saturating, relativistic or logit. penalty, warmup: see `ImplicitAutoencoding`;
    both 0 give the paper's bare objective.
    """
    prior = StandardNormal(s.latent_dim)
    return _implicit(s, Dirac(s.encoder()), prior, noise_dim, encoder_gradient, loss, penalty, warmup)


def iae_cluster(
    s: Setting,
    *,
    clusters: int | None = None,
    mode: str = "softmax",
    noise_dim: int = 10,
    encoder_gradient: str = "both",
    loss: str = "non-saturating",
    penalty: float = 0.05,
    warmup: float = 0.4,
) -> Objective:
    """Implicit autoencoder over a categorical code: clusters, and noise for what differs within them (1805.09804).

    clusters: the size of the code, which is `latent_dim`. mode: of its draws, softmax, straight-through or gumbel.
    The others are those of `iae`.
    """
    if clusters is not None and clusters != s.latent_dim:
        raise ValueError(
            f"clusters is {clusters} and latent_dim {s.latent_dim}; they are one number: give clusters alone"
        )
    prior = UniformCategorical(s.latent_dim)
    encoder = Categorical(s.encoder(), mode)
    return _implicit(s, encoder, prior, noise_dim, encoder_gradient, loss, penalty, warmup)


def _implicit(
    s: Setting, encoder: Conditional, prior: Conditional, noise_dim: int, encoder_gradient: str, loss: str,
    penalty: float, warmup: float,
) -> Objective:  # fmt: skip
    wide = replace(s, latent_dim=s.latent_dim + noise_dim)
    joint, latent = nn.critic(s.net, s.shape, s.latent_dim)
    return ImplicitAutoencoding(
        Autoencoder(encoder, Implicit(wide.decoder(), noise_dim), prior), joint, latent,
        encoder_gradient=encoder_gradient, loss=loss, penalty=penalty, warmup=warmup,
    )  # fmt: skip


RECIPES: dict[str, Callable[..., Objective]] = {
    "ae": ae,
    "rae": rae,
    "rae-l2": rae_l2,
    "rae-gp": rae_gp,
    "rae-sn": rae_sn,
    "vae": vae,
    "beta-vae": beta_vae,
    "sigma-vae": sigma_vae,
    "cv-vae": cv_vae,
    "wae": wae,
    "dae": dae,
    "rcae": rcae,
    "cae": cae,
    "ncdae": ncdae,
    "aae": aae,
    "iae": iae,
    "iae-cluster": iae_cluster,
}

#: recipes whose own prior is trained towards; the others are sampled ex post
WITH_PRIOR = ("vae", "beta-vae", "sigma-vae", "wae", "aae", "iae", "iae-cluster")

#: recipes whose codes are points of a simplex, which no density is fitted to
OF_CLUSTERS = ("iae-cluster",)

#: recipes that estimate a score: their codes are wider than the data, and chains sample them, not a density of codes
OF_SCORE = {"dae": "mala", "rcae": "mala", "cae": "mala", "ncdae": "annealed"}


def paper_lr(name: str, data: str) -> float:
    """The authors' step size (Adam) for their nets."""
    if name in OF_SCORE:
        return 1e-3
    if name in ("vae", "beta-vae", "sigma-vae", "cv-vae"):
        return 1e-4
    return 1e-3 if name == "wae" or data == "celeba" else 5e-4


@dataclass(frozen=True)
class Recipe:
    """A recipe cooked: its name, setting, options as given, and the objective over a fresh model."""

    name: str
    setting: Setting
    options: dict[str, Any]
    objective: Objective

    @property
    def lr(self) -> float:
        """The default step size: the authors' for their nets, else 1e-3."""
        return paper_lr(self.name, self.setting.paper) if self.setting.net == "paper" else 1e-3

    @property
    def own(self) -> str:
        """What the model itself is sampled by: the prior where training aims at it (Table 1's column N), else a normal
        fitted to the codes; the sampler of a recipe that estimates a score."""
        if self.name in OF_SCORE:
            return OF_SCORE[self.name]
        return "prior" if self.name in WITH_PRIOR else "normal"


def options(name: str) -> dict[str, tuple[type, Any]]:
    """A recipe's own keywords: name -> (type, default); a default of None is the papers' setting.

    >>> options("rae-l2")
    {'beta': (<class 'float'>, None), 'l2': (<class 'float'>, None), 'select': (<class 'str'>, 'all')}
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; choose from {', '.join(RECIPES)}")
    parameters = inspect.signature(RECIPES[name], eval_str=True).parameters.values()
    return {
        p.name: (next((t for t in get_args(p.annotation) if t is not type(None)), p.annotation), p.default)
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
    }


def build(name: str, setting: Setting, *, seed: int = 0, **given: Any) -> Recipe:
    """Cook a recipe: a fresh model, its parameters drawn from `seed`, under the recipe's objective.

    Raises:
        ValueError: an unknown recipe or net, or an option out of range.
        TypeError: an option that the recipe does not have; the message lists those it has.

    >>> build("rae-l2", Setting((1, 28, 28), 16, data="mnist")).objective
    Penalised: Reconstruction() + 0.0128 LatentNorm() + 0.0001024 DecoderL2()
    """
    given = recipe_options(name, given)
    size = math.prod(setting.shape)
    if setting.latent_dim > size and name not in (*OF_SCORE, *OF_CLUSTERS):
        raise ValueError(f"latent_dim is {setting.latent_dim}, but an example has only {size} values; choose fewer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective = RECIPES[name](setting, **given)
    return Recipe(name, setting, given, objective)


def recipe_options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A recipe's options, each of its own type; a ValueError or TypeError says what is wrong with name or option."""
    known = options(name)
    if unknown := set(given) - set(known):
        has = ", ".join(known) or "none"
        raise TypeError(f"recipe {name!r} has no option {', '.join(sorted(unknown))}; its options are: {has}")
    return {key: _cast(name, key, known[key][0], value) for key, value in given.items() if value is not None}


def _cast(recipe: str, key: str, kind: type, value: Any) -> Any:
    if kind is bool:
        truth = {"true": True, "false": False}.get(str(value).lower())
        if truth is None:
            raise TypeError(f"option {key} of recipe {recipe!r} is {value!r}; give true or false")
        return truth
    try:
        value = kind(value)
    except (TypeError, ValueError):
        raise TypeError(f"option {key} of recipe {recipe!r} is {value!r}; give a {kind.__name__}") from None
    if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
        raise ValueError(f"option {key} of recipe {recipe!r} is {value}; give a finite number, 0 or above")
    return value


def setting_for(
    recipe: str, shape: Sequence[int], dtype: torch.dtype, data: str, latent_dim: int | None, net: str,
    clusters: int | None = None,
) -> Setting:  # fmt: skip
    """The setting for examples of a shape and dtype: [0, 1] for images and bytes.

    Codes have at most 16 dimensions by default; those of recipes that estimate a score 128, or 1,024 on images.
    """
    shape = tuple(int(s) for s in shape)
    if latent_dim is None:
        wide = 1024 if math.prod(shape) > 128 else 128
        latent_dim = wide if recipe in OF_SCORE else min(16, math.prod(shape))
        if recipe in OF_CLUSTERS:
            latent_dim = clusters or 10
    return Setting(shape, latent_dim, net, unit=len(shape) == 3 or dtype == torch.uint8, data=data)
