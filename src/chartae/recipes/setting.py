"""What a recipe is built for: shapes and nets, and the coefficients of the papers for data like these."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from chartae import nn
from chartae.autoencoder import Autoencoder
from chartae.conditionals import (
    Bernoulli,
    Beta,
    Conditional,
    Dirac,
    Gaussian,
    Laplace,
    LogitNormal,
    StandardNormal,
    Uniform,
)
from chartae.grammar import Codec

__all__ = ["AUTHORS", "HALF", "Asked", "Setting", "from_authors", "narrow", "otherwise", "paper_rate"]

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
class Asked:
    """What was asked of a recipe, before its defaults are filled in.

    Attributes:
        shape: of one example.
        other: shape of an example of the other domain, where one is given.
        classes: how many classes the labels have; 0 without labels.
        options: the recipe's own.
        latent_dim, net: as they were given.
    """

    shape: tuple[int, ...]
    other: tuple[int, ...] = ()
    classes: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
    latent_dim: int | None = None
    net: str = "auto"

    @property
    def size(self) -> int:
        """Values of one example."""
        return math.prod(self.shape)


def narrow(asked: Asked) -> int:
    """16 dimensions, or the data's own where they are fewer."""
    return min(16, asked.size)


def paper_rate(data: str) -> float:
    """The authors' learning rate (Adam) for their nets and regularised autoencoders, by the paper's data set."""
    return 1e-3 if data == "celeba" else 5e-4


@dataclass(frozen=True)
class Setting:
    """What a recipe is built for.

    Attributes:
        shape: of one example.
        latent_dim: of the codes.
        net: a name of `chartae.nn.NETS`, or ``"auto"``: `mlp` for vectors and small grey images, else `conv`; what the
            nets of a recipe are called that has its own.
        unit: whether the data lie in [0, 1], so that the decoder ends in a sigmoid.
        data: the data set's name; the papers' coefficients are those of the nearest of their data sets.
        other: shape of an example of the other domain, of recipes that translate.
        codec: what the indices mean, of strings; their nets are those of `chartae.nn.SEQUENCE_NETS`, ``"auto"`` being
            `gru`.
        classes: how many classes the labels have; 0 without labels.
        condition: K, numbers of the condition that encoder, decoder and critics are told; 0 for none.
        asked: what was asked for, before defaults were filled in.
    """

    shape: tuple[int, ...]
    latent_dim: int
    net: str = "auto"
    unit: bool = True
    data: str = ""
    other: tuple[int, ...] = ()
    codec: Codec | None = None
    classes: int = 0
    condition: int = 0
    asked: Asked | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}; a code has at least 1 dimension")
        if self.net == "auto":
            object.__setattr__(self, "net", self._net())

    def _net(self) -> str:
        """The net where none is asked for."""
        if self.codec is not None:
            return "gru"
        size = math.prod(self.shape)
        small = len(self.shape) != 3 or (self.shape[0] == 1 and size <= 1024) or min(self.shape[1:]) < 4
        return "mlp" if small else "conv"

    @property
    def wanted(self) -> Asked:
        """What was asked for; where nothing is known, what the setting says."""
        return self.asked or Asked(self.shape, self.other, self.classes)

    def unconditional(self, what: str) -> None:
        """Raise ValueError where there is a condition that a recipe cannot take."""
        if self.condition:
            raise ValueError(f"{what} takes no condition; leave condition out, or choose another recipe")

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
        """A net from an example, and the condition where there is one, to `out` numbers; by default a code."""
        out = out or self.latent_dim
        if not self.condition:
            return nn.encoder(self.net, self.shape, out)
        features = max(64, 2 * out)
        return nn.ConditionedEncoder(nn.encoder(self.net, self.shape, features), features, self.condition, out)

    def decoder(self, output: str | None = None) -> torch.nn.Module:
        """A net from a code, and the condition where there is one, to an example."""
        output = output or ("sigmoid" if self.unit else "identity")
        net = nn.decoder(self.net, self.latent_dim + self.condition, self.shape, output=output)
        return nn.ConditionedDecoder(net) if self.condition else net

    def critic(self, shape: tuple[int, ...] | None, latent: int = 0, **settings: bool) -> nn.Critic:
        """A critic of examples, codes, or both, told the condition where there is one."""
        return nn.critic(self.net, shape, latent, condition=self.condition, **settings)

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
        self.unconditional("a denoiser that estimates a score")
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


def otherwise(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
