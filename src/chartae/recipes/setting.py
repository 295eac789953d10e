"""The setting that a recipe is built for: shapes and nets, and the papers' coefficients for such data."""

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
from chartae.records.choices import one_of

__all__ = ["AUTHORS", "HALF", "Asked", "Setting", "from_authors", "narrow", "or_default", "paper_rate"]

#: the sigma at which a Gaussian likelihood is ||x - x^||^2, up to a constant
HALF = math.sqrt(0.5)


@dataclass(frozen=True)
class Paper:
    """The authors' configuration of a data set, in their normalisation (means over pixels and over codes).

    Attributes:
        size: number of values in an image as they feed it, D.
        channels: number of channels, C.
        latent_dim: number of values in a code, d.
        recipes: coefficients by recipe: the weight `b` of mean_j z_j^2; `l2`; `gp`; the weight `w` of the KL
            divergence, relative to errors averaged over channels; `mmd`, relative to errors averaged over all values.
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
            "ae-l2": {"l2": 1e-7},
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
            "ae-l2": {"l2": 1e-6},
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
            "ae-l2": {"l2": 1e-6},
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
    """Convert a coefficient of the RAE authors' code to the loss as the paper prints it.

    Their code averages the squared error over the D values of an example (with the KL only over its C channels), and
    the squared norm of a code over its d values. The paper (arXiv 1903.12436) prints sums, `||x - x^||^2`, and so does
    chartae.

    ======  =============================  ===================  =======================================
    key     term in their code             weight here          term here
    ======  =============================  ===================  =======================================
    b       mean_j z_j^2                   2 b D / d            `½ ||z||^2`
    l2      Σ K^2                          l2 D                 Σ K^2
    gp      `(4/d) ||J^T x^||^2`           gp D                 the same, `DecoderGradient("authors")`
    w       KL                             w C                  KL
    mmd     MMD                            mmd D                MMD
    ======  =============================  ===================  =======================================

    Args:
        key: the coefficient, a key of the table.
        value: its value in the authors' code.
        size: number of values in an example, D.
        channels: number of channels, C.
        latent_dim: number of values in a code, d.

    Returns:
        The coefficient relative to the summed squared error.

    >>> from chartae.recipes import from_authors
    >>> from_authors("b", 1e-4, size=1024, channels=1, latent_dim=16)
    0.0128
    """
    factors = {"b": 2 * size / latent_dim, "l2": size, "gp": size, "w": channels, "mmd": size}
    return value * factors[key]


@dataclass(frozen=True)
class Asked:
    """The request for a recipe, before its defaults are filled in.

    Attributes:
        shape: shape of one example.
        other: shape of one example of the other domain; empty without one.
        classes: number of classes that the labels have; 0 without labels.
        options: options of the recipe.
        latent_dim: requested size of the codes; None for the recipe's default.
        net: requested net; ``"auto"`` for the recipe's default.
    """

    shape: tuple[int, ...]
    other: tuple[int, ...] = ()
    classes: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
    latent_dim: int | None = None
    net: str = "auto"

    @property
    def size(self) -> int:
        """The number of values in an example."""
        return math.prod(self.shape)


def narrow(asked: Asked) -> int:
    """The default size of codes: 16, or the number of values in an example if that is smaller."""
    return min(16, asked.size)


def paper_rate(data: str) -> float:
    """The RAE authors' learning rate (Adam) for regularised autoencoders with the paper's nets, by data set."""
    return 1e-3 if data == "celeba" else 5e-4


@dataclass(frozen=True)
class Setting:
    """The setting that a recipe is built for: the shape of the data, the size of the codes and the nets.

    Attributes:
        shape: shape of one example, (d,), (C, H, W), or (T,) for strings.
        latent_dim: number of values in a code, >= 1.
        net: name of the nets, one of `chartae.nn.NETS`, or of `chartae.nn.SEQUENCE_NETS` for strings. ``"auto"``
            (default) for ``"mlp"`` on vectors and small grey images, ``"conv"`` on other images and ``"gru"`` on
            strings.
        unit: whether the data lie in [0, 1], so that the decoder ends in a sigmoid; True by default.
        data: name of the data set. The papers' coefficients are those of this data set if it is one of theirs, and
            otherwise of the most similar one.
        other: shape of one example of the other domain, for recipes that translate; empty by default.
        codec: codec of the strings; None (default) for other data.
        classes: number of classes that the labels have; 0 (default) without labels.
        condition: number of values in the condition of encoder, decoder and critics, K; 0 (default) for none.
        asked: the request before defaults were filled in; None (default) if there was none.

    Raises:
        ValueError: `latent_dim` is below 1.

    >>> from chartae.recipes import Setting
    >>> setting = Setting((1, 28, 28), 16, data="mnist")
    >>> setting.net, setting.authors("rae-l2", "b")
    ('mlp', 0.0128)
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
            raise ValueError(f"latent_dim is {self.latent_dim}; give at least 1")
        if self.net == "auto":
            object.__setattr__(self, "net", self._net())

    def _net(self) -> str:
        """The default net."""
        if self.codec is not None:
            return "gru"
        size = math.prod(self.shape)
        small = len(self.shape) != 3 or (self.shape[0] == 1 and size <= 1024) or min(self.shape[1:]) < 4
        return "mlp" if small else "conv"

    @property
    def wanted(self) -> Asked:
        """The request before defaults were filled in; if there was none, one that agrees with the setting."""
        return self.asked or Asked(self.shape, self.other, self.classes)

    def unconditional(self, what: str) -> None:
        """Raise ValueError if there is a condition, which `what` does not support."""
        if self.condition:
            raise ValueError(f"{what} takes no condition; leave condition out, or choose another recipe")

    @property
    def paper(self) -> str:
        """The data set of the RAE paper whose coefficients apply."""
        if self.data in AUTHORS:
            return self.data
        if len(self.shape) != 3 or self.shape[0] == 1:
            return "mnist"
        return "cifar10" if max(self.shape[1:]) <= 48 else "celeba"

    def authors(self, recipe: str, key: str) -> float:
        """The authors' coefficient relative to the summed squared error.

        For data that are not the paper's, it is converted at the size of these data.
        """
        paper = AUTHORS[self.paper]
        is_papers = self.data == self.paper
        size = paper.size if is_papers else math.prod(self.shape)
        channels = paper.channels if is_papers or len(self.shape) != 3 else self.shape[0]
        value = from_authors(key, paper.recipes[recipe][key], size=size, channels=channels, latent_dim=self.latent_dim)
        return float(f"{value:.6g}")

    def encoder(self, out: int | None = None) -> torch.nn.Module:
        """A net from an example, and its condition if there is one, to `out` numbers (by default `latent_dim`)."""
        out = out or self.latent_dim
        if not self.condition:
            return nn.encoder(self.net, self.shape, out)
        features = max(64, 2 * out)
        return nn.ConditionedEncoder(nn.encoder(self.net, self.shape, features), features, self.condition, out)

    def decoder(self, output: str | None = None) -> torch.nn.Module:
        """A net from a code, and its condition if there is one, to an example."""
        output = output or ("sigmoid" if self.unit else "identity")
        net = nn.decoder(self.net, self.latent_dim + self.condition, self.shape, output=output)
        return nn.ConditionedDecoder(net) if self.condition else net

    def critic(self, shape: tuple[int, ...] | None, latent: int = 0, **settings: bool) -> nn.Critic:
        """A critic of examples, codes, or both, and of their condition if there is one."""
        return nn.critic(self.net, shape, latent, condition=self.condition, **settings)

    def likelihood(
        self, sigma: float | str = HALF, likelihood: str = "gaussian", warmup: int = 0, output: str | None = None
    ) -> Conditional:
        """The decoder p(x|z): a Gaussian of standard deviation `sigma`, or a Bernoulli."""
        if likelihood == "bernoulli":
            if not self.unit:
                raise ValueError("likelihood is 'bernoulli', which needs data in [0, 1]; use likelihood='gaussian'")
            if warmup or output is not None:
                raise ValueError(
                    f"warmup is {warmup} and output is {output!r}, but likelihood is 'bernoulli', which takes neither; "
                    "leave both out, or use likelihood='gaussian'"
                )
            return Bernoulli(self.decoder("identity"))
        if likelihood != "gaussian":
            raise ValueError(f"likelihood is {likelihood!r}; choose 'gaussian' or 'bernoulli'")
        return Gaussian(self.decoder(output), sigma, warmup=warmup)

    def deterministic(self, sigma: float = HALF, output: str | None = None) -> Autoencoder:
        """An autoencoder with a deterministic encoder and a Gaussian decoder."""
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
        """An autoencoder with a Gaussian encoder, or a logit-normal one for priors over (0, 1)."""
        priors: dict[str, Callable[[], Conditional]] = {
            "normal": lambda: StandardNormal(self.latent_dim),
            "laplace": lambda: Laplace(self.latent_dim, math.sqrt(0.5)),
            "uniform": lambda: Uniform(self.latent_dim),
            "beta": lambda: Beta(self.latent_dim, 2.0, 2.0, learnt=True),
        }
        if prior not in priors:
            raise ValueError(f"prior is {prior!r}; {one_of(prior, priors)}")
        net = self.encoder(2 * self.latent_dim)
        bounded = prior in ("uniform", "beta")
        encoder = LogitNormal(net) if bounded else Gaussian(net, "learnt", limit=limit)
        return Autoencoder(encoder, self.likelihood(sigma, likelihood, warmup, output), priors[prior]())

    def denoiser(self, sigma: float, form: str, weights: str, activation: str, gain: float) -> Autoencoder:
        """A denoiser r(x) with `latent_dim` hidden units: ``"residual"``, r(x) = x + sigma^2 g(x), or ``"plain"``.

        It has one hidden layer with ``net="shallow"`` or tied weights, and otherwise two. In the residual form the net
        outputs sigma g(x), which is of order 1 at every noise level, and the likelihood has standard deviation sigma^2,
        which divides the squared error by 2 sigma^4.
        """
        self.unconditional("a denoiser that estimates a score")
        if form not in ("residual", "plain"):
            raise ValueError(f"form is {form!r}; choose 'residual' or 'plain'")
        if weights not in ("free", "tied"):
            raise ValueError(f"weights is {weights!r}; choose 'free' or 'tied'")
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma}; expected a noise level, a finite number above 0")
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
                for p in flat.parameters():  # so that the denoiser starts as the identity
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


def or_default(value: float | None, default: float) -> float:
    """`value`, or `default` if it is None."""
    return default if value is None else value
