"""Conditional distributions: q(z|x), p(x|z), p(z) and the corruption C(x~|x) are one kind of thing.

A conditional is a module whose forward pass returns a distribution. Four objects thereby replace four flags
(deterministic or not, which likelihood, which prior, which noise).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.distributions import (
    Atoms,
    Distribution,
    Normal,
    OneHot,
    OptimalNormal,
    PointMass,
    Pushed,
    Replaced,
    Squashed,
)
from chartae.distributions import Bernoulli as BernoulliDistribution
from chartae.distributions import Beta as BetaDistribution
from chartae.distributions import Laplace as LaplaceDistribution
from chartae.distributions import Product as ProductDistribution
from chartae.nn import NoiseDecoder

__all__ = [
    "AnnealedNoise",
    "Bernoulli",
    "Beta",
    "Categorical",
    "Conditional",
    "Corruption",
    "Denoised",
    "Dirac",
    "Empirical",
    "Gaussian",
    "GaussianNoise",
    "Implicit",
    "Jitter",
    "Laplace",
    "LogitNormal",
    "Masking",
    "NoiseLevels",
    "Product",
    "RareNoise",
    "SaltAndPepper",
    "StandardNormal",
    "Uniform",
    "UniformCategorical",
]


class Conditional(nn.Module, ABC):
    """p(a | c): a module whose forward pass returns a `Distribution`, one row for each row of `c`.

    `y` is a condition (labels, covariates) that travels beside `c`; it is handed to the net only where it is given.
    """

    #: whether the distribution has a density, so that `log_prob` and `KL` exist
    has_density: bool = True
    #: whether its points lie in the unit cube
    bounded: bool = False
    #: whether it changes with how far training has come, which `plan` tells
    scheduled: bool = False

    @abstractmethod
    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Distribution:
        """The distribution given `c`."""

    def plan(self, steps: int) -> None:
        """Told before training how many steps there will be: for what changes on the way."""

    def sample(
        self,
        n: int | None = None,
        c: Tensor | None = None,
        y: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`n` draws (n, *S) of an unconditional distribution; with `c`, one draw for each row where `n` is None."""
        return self(c, y).sample(n, generator=generator)

    def log_prob(self, a: Tensor, c: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        """log p(a | c) in nats per point, shape (B,)."""
        return self(c, y).log_prob(a)


def _apply(net: nn.Module, c: Tensor | None, y: Tensor | None) -> Tensor:
    return net(c) if y is None else net(c, y)


class Dirac(Conditional):
    """A deterministic map: all mass at net(c).

    >>> Dirac(nn.Linear(3, 2))(torch.zeros(5, 3)).mean.shape
    torch.Size([5, 2])
    """

    has_density = False

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> PointMass:
        return PointMass(_apply(self.net, c, y))


class Gaussian(Conditional):
    """N(mean(c), sigma^2), independent in every coordinate.

    Args:
        net: c -> mean. With ``sigma="learnt"`` its output carries twice the channels (dimension 1): the mean, then the
            raw log sigma, which is squashed to ``limit * tanh(raw)`` as in the RAE authors' VAE (1903.12436).
        sigma: a positive number (fixed standard deviation, in the units of the data); ``"learnt"`` (one for each
            coordinate and row, by the net); ``"optimal"`` (one for the batch, the maximum-likelihood value: the
            sigma-VAE of 2006.13202, whose running mean serves outside training).
        limit: bound on abs(log sigma) where it is learnt; ``math.inf`` for none, log sigma = raw.
        warmup: over so many passes in training a fixed sigma falls geometrically to its value, from ten times as much:
            a near-deterministic decoder's loss is stiff, and what it should find is found sooner under more noise.

    A squared error ||x - x^||^2, as the papers print it, is -log p at ``sigma = sqrt(1/2)`` up to a constant.

    >>> Gaussian(nn.Linear(3, 2), sigma=0.5).log_prob(torch.zeros(5, 2), torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, net: nn.Module, sigma: float | str = 1.0, *, limit: float = 5.0, warmup: int = 0) -> None:
        super().__init__()
        if isinstance(sigma, str):
            if sigma not in ("learnt", "optimal"):
                raise ValueError(f"sigma is {sigma!r}; give a positive number, 'learnt' or 'optimal'")
        elif not 0 < float(sigma) < float("inf"):
            raise ValueError(f"sigma is {sigma}; a standard deviation is a finite number above 0")
        if warmup < 0 or (warmup and isinstance(sigma, str)):
            raise ValueError(f"warmup is {warmup} for sigma {sigma!r}; a fixed sigma takes 0 or more passes")
        self.net, self.limit, self.warmup = net, limit, warmup
        self.sigma: float | str = sigma if isinstance(sigma, str) else float(sigma)
        if warmup:
            self.register_buffer("passes", torch.zeros((), dtype=torch.float64))
            self.passes: Tensor
        if sigma == "optimal":
            self.register_buffer("running", torch.ones(()))
            self.running: Tensor

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal | OptimalNormal:
        out = _apply(self.net, c, y)
        if self.sigma == "learnt":
            mean, raw = out.chunk(2, 1)
            return Normal(mean, (raw if self.limit == math.inf else self.limit * raw.tanh()).exp())
        if self.sigma == "optimal":
            return OptimalNormal(out, self.running, 0.01 if self.training else 0.0)
        assert not isinstance(self.sigma, str)
        if self.warmup and self.training:
            left = 1 - (self.passes / self.warmup).clamp_max(1)
            self.passes += 1
            return Normal(out, (self.sigma * 10**left).to(out.dtype))
        return Normal(out, self.sigma)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma!r}"


class Bernoulli(Conditional):
    """Independent coins whose logits are net(c); for binary data, or data in [0, 1] read as probabilities."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> BernoulliDistribution:
        return BernoulliDistribution(_apply(self.net, c, y))


class LogitNormal(Conditional):
    """z = sigmoid(u), u ~ N(mu(c), s(c)^2): a posterior over codes in (0, 1), for a `Uniform` or `Beta` prior.

    The net's output carries mu, then log s. Where a prior is bounded, no normal posterior stays within its support.

    >>> LogitNormal(nn.Linear(3, 4))(torch.zeros(5, 3)).sample().shape
    torch.Size([5, 2])
    """

    bounded = True

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.base = Gaussian(net, "learnt", limit=math.inf)

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Squashed:
        return Squashed(self.base(c, y))


def _event(shape: int | tuple[int, ...], what: str) -> tuple[int, ...]:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not shape or any(s < 1 for s in shape):
        raise ValueError(f"shape is {shape}; {what} needs a dimension of at least 1")
    return shape


class Laplace(Conditional):
    """Independent Laplace distributions about 0, exp(-abs(z)/scale) / (2 scale): heavier tails, axes that can be told.

    With a rotation-invariant prior no diagonal direction differs from another: here one does.
    """

    def __init__(self, shape: int | tuple[int, ...], scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}; a scale is a finite number above 0")
        self.scale = float(scale)
        self.register_buffer("zero", torch.zeros(_event(shape, "a Laplace prior")), persistent=False)
        self.zero: Tensor

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> LaplaceDistribution:
        return LaplaceDistribution(self.zero, self.scale, self.zero.ndim)

    def extra_repr(self) -> str:
        return f"{'x'.join(map(str, self.zero.shape))}, scale={self.scale:g}"


class Beta(Conditional):
    """Independent Beta(a, b) priors over (0, 1).

    Args:
        shape: of a code.
        a, b: above 0, or above 1 where they are learnt.
        learnt: a and b of each coordinate are parameters, 1 + softplus of them: what is fitted stays unimodal.
    """

    bounded = True

    def __init__(self, shape: int | tuple[int, ...], a: float = 1.0, b: float = 1.0, *, learnt: bool = False) -> None:
        super().__init__()
        event, least = _event(shape, "a Beta prior"), 1.0 if learnt else 0.0
        if not (least < a < math.inf and least < b < math.inf):
            raise ValueError(f"a and b are {a} and {b}; they are finite numbers above {least:g}")
        self.learnt = learnt
        for name, value in (("raw_a", a), ("raw_b", b)):
            start = torch.full(event, math.log(math.expm1(value - 1)) if learnt else float(value))
            if learnt:
                self.register_parameter(name, nn.Parameter(start))
            else:
                self.register_buffer(name, start, persistent=False)
        self.raw_a: Tensor
        self.raw_b: Tensor

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Squashed:
        a, b = self.raw_a, self.raw_b
        if self.learnt:
            a, b = 1 + nn.functional.softplus(a), 1 + nn.functional.softplus(b)
        return BetaDistribution(a, b, self.raw_a.ndim)

    def extra_repr(self) -> str:
        size = "x".join(map(str, self.raw_a.shape))
        return f"{size}, learnt" if self.learnt else f"{size}, {float(self.raw_a.flatten()[0]):g}"


def Uniform(shape: int | tuple[int, ...]) -> Beta:
    """The uniform prior over (0, 1) in every coordinate: Beta(1, 1).

    >>> Uniform(3).sample(4).shape
    torch.Size([4, 3])
    """
    return Beta(shape)


class StandardNormal(Conditional):
    """N(0, I) over vectors of a dimension, or arrays of a shape.

    >>> StandardNormal(16).sample(4, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([4, 16])
    """

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(_event(shape, "a standard normal")), persistent=False)
        self.zero: Float[Tensor, "*S"]

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal:
        return Normal(self.zero, 1.0, self.zero.ndim)

    def extra_repr(self) -> str:
        return "x".join(map(str, self.zero.shape))


class Empirical(Conditional):
    """One of some examples that it remembers, all equally likely: a prior where codes are points of another set.

    They are part of its state, so that they are saved with a model's weights, and zeros before `remember`.

    >>> prior = Empirical((3,), size=5)
    >>> prior.remember(torch.ones(2, 3))
    >>> prior.sample(4).sum()
    tensor(12.)
    """

    has_density = False

    def __init__(self, shape: int | tuple[int, ...], size: int = 128) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size is {size}; remember at least 1 example")
        self.register_buffer("points", torch.zeros(size, *_event(shape, "a prior of examples")))
        self.points: Tensor

    @torch.no_grad()
    def remember(self, examples: Tensor) -> None:
        """The first examples, again from the start where there are fewer than it holds.

        Raises:
            ValueError: no examples, or of another shape.
        """
        if not len(examples) or examples.shape[1:] != self.points.shape[1:]:
            raise ValueError(
                f"examples have shape {tuple(examples.shape)}; give at least one of {tuple(self.points.shape[1:])}"
            )
        self.points.copy_(examples[torch.arange(len(self.points)) % len(examples)])

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Atoms:
        return Atoms(self.points)

    def extra_repr(self) -> str:
        return f"{len(self.points)} examples of {'x'.join(map(str, self.points.shape[1:]))}"


class Implicit(Conditional):
    """a = net(c, n), n ~ N(0, I) of so many dimensions beside c: a distribution that is drawn from, never evaluated.

    Both conditionals of an implicit autoencoder (Makhzani, 2018, arXiv 1805.09804). With no noise it is a map.

    Args:
        net: of vectors (B, d + noise_dim), or of images (B, C + noise_dim, H, W), each number of the noise a constant
            channel; whatever its output.
        noise_dim: 0 or more.
        trunk: what c goes through before the noise joins it, such as from an image to a vector (B, d).

    >>> Implicit(nn.Linear(5, 7), noise_dim=2)(torch.zeros(4, 3)).sample().shape
    torch.Size([4, 7])
    """

    has_density = False

    def __init__(self, net: nn.Module, noise_dim: int, trunk: nn.Module | None = None) -> None:
        super().__init__()
        if noise_dim < 0:
            raise ValueError(f"noise_dim is {noise_dim}; give 0 or more")
        self.net, self.noise_dim, self.trunk = net, noise_dim, trunk

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Pushed:
        assert c is not None
        return Pushed(self.net, c if self.trunk is None else self.trunk(c), self.noise_dim, y)

    def extra_repr(self) -> str:
        return f"noise_dim={self.noise_dim}"


class Categorical(Conditional):
    """A category as a one-hot vector, its logits net(c); `mode` of `chartae.distributions.OneHot`.

    >>> Categorical(nn.Linear(3, 4), "gumbel")(torch.zeros(5, 3)).sample().shape
    torch.Size([5, 4])
    """

    bounded = True

    def __init__(self, net: nn.Module, mode: str = "softmax") -> None:
        super().__init__()
        if mode not in OneHot.MODES:
            raise ValueError(f"mode is {mode!r}; choose from {', '.join(OneHot.MODES)}")
        self.net, self.mode = net, mode

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> OneHot:
        return OneHot(_apply(self.net, c, y), self.mode)

    def extra_repr(self) -> str:
        return self.mode


class UniformCategorical(Conditional):
    """One of K categories, all equally likely, as a one-hot vector."""

    bounded = True

    def __init__(self, categories: int) -> None:
        super().__init__()
        if categories < 2:
            raise ValueError(f"categories is {categories}; give at least 2")
        self.register_buffer("logits", torch.zeros(categories), persistent=False)
        self.logits: Tensor

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> OneHot:
        return OneHot(self.logits, "exact")

    def extra_repr(self) -> str:
        return str(len(self.logits))


class Product(Conditional):
    """Codes of several parts side by side, such as a category and a style.

    Args:
        parts: of an encoder, conditionals over the pieces of the net's output, such as ``Categorical(nn.Identity())``
            and ``Dirac(nn.Identity())``; of a prior, priors.
        sizes: of the pieces.
        net: (B, *S) -> (B, sum of sizes); None for a prior.

    >>> encoder = Product([Categorical(nn.Identity()), Dirac(nn.Identity())], [3, 2], nn.Linear(7, 5))
    >>> prior = Product([UniformCategorical(3), StandardNormal(2)], [3, 2])
    >>> encoder(torch.zeros(4, 7)).sample().shape, prior.sample(4).shape
    (torch.Size([4, 5]), torch.Size([4, 5]))
    """

    def __init__(self, parts: Sequence[Conditional], sizes: Sequence[int], net: nn.Module | None = None) -> None:
        super().__init__()
        if len(parts) != len(sizes) or not len(parts):
            raise ValueError(f"there are {len(parts)} parts and {len(sizes)} sizes; give a size for each part")
        self.parts, self.sizes, self.net = nn.ModuleList(parts), tuple(sizes), net
        self.has_density = all(part.has_density for part in parts)
        self.bounded = all(part.bounded for part in parts)

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> ProductDistribution:
        if self.net is None:
            return ProductDistribution([part() for part in self.parts], self.sizes)
        pieces = _apply(self.net, c, y).split(self.sizes, 1)
        return ProductDistribution([part(p) for part, p in zip(self.parts, pieces, strict=True)], self.sizes)


class Denoised(Conditional):
    """N(r(z, sigma), c_out(sigma)^2) over a `chartae.nn.NoiseDecoder`: every noise level weighs alike in the loss."""

    def __init__(self, net: NoiseDecoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal:
        mean = self.net(c, y)
        level = mean.new_full((len(mean),), self.net.lowest) if y is None else y
        return Normal(mean, self.net.spread_of_error(level).reshape(-1, *[1] * (mean.ndim - 1)))


# -- corruptions C(x~|x) ----------------------------------------------------------------------------------------------


def _level(sigma: float, what: str = "sigma") -> float:
    if not 0 < sigma < math.inf:
        raise ValueError(f"{what} is {sigma}; a noise level is a finite number above 0")
    return float(sigma)


def _share(share: float, what: str) -> float:
    if not 0 < share < 1:
        raise ValueError(f"{what} is {share}; a share lies between 0 and 1")
    return float(share)


def _column(c: Tensor) -> tuple[int, ...]:
    """A shape of one number for each example, which broadcasts."""
    return (len(c), *[1] * (c.ndim - 1))


class Corruption(Conditional):
    """C(x~|x): what a denoising autoencoder sees in place of x."""

    #: whether the autoencoder is told the noise level of each example, as its condition y
    tells: bool = False
    #: whether x + e and x - e are equally likely
    symmetric: bool = True

    @property
    def noise(self) -> float | tuple[float, float] | None:
        """The level at which removing it estimates the score; None where it does not."""
        return None

    def weight(self, noise: Distribution) -> Tensor | None:
        """How much each example counts in the loss, given its noise; None: all alike."""
        return None


class GaussianNoise(Corruption):
    """The corruption C(x~|x) = N(x, sigma^2 I), sigma in the units of the data."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = _level(sigma)

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal:
        assert c is not None
        return Normal(c, self.sigma)

    @property
    def noise(self) -> float:
        return self.sigma

    def extra_repr(self) -> str:
        return f"{self.sigma:g}"


class RareNoise(GaussianNoise):
    """N(x, sigma^2 I), and for a share of the examples further noise of factor sigma on top.

    The rare large steps teach the map what to do in the empty regions, which are else left to chance: spurious
    attractors (Alain and Bengio, 1211.4246). Near the data the optimum stays that of sigma alone.

    An example counts by the inverse of its noise's variance, in units of sigma^2: unweighted, the rare ones would make
    up most of the loss, and blur the field near the data.
    """

    def weight(self, noise: Distribution) -> Tensor | None:
        assert isinstance(noise, Normal)
        return (self.sigma / torch.as_tensor(noise.sigma)).square().flatten()

    def __init__(self, sigma: float, share: float = 0.05, factor: float = 10.0) -> None:
        super().__init__(sigma)
        self.share, self.factor = _share(share, "share"), _level(factor, "factor")

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal:
        assert c is not None
        large = torch.rand(_column(c), dtype=c.dtype, device=c.device) < self.share
        return Normal(c, torch.where(large, self.sigma * math.hypot(1, self.factor), self.sigma).to(c.dtype))

    def extra_repr(self) -> str:
        return f"{self.sigma:g}, {self.share:g} of the examples {self.factor:g} times as much on top"


class AnnealedNoise(GaussianNoise):
    """N(x, s_t^2 I), s_t falling geometrically from `start` to `sigma` over so many draws in training, then `sigma`.

    Outside training it is `sigma`. How far it has come is part of its state.
    """

    def __init__(self, sigma: float, start: float, draws: int) -> None:
        super().__init__(sigma)
        self.start, self.draws = _level(start, "start"), draws
        if start < sigma or draws < 1:
            raise ValueError(f"start is {start}, draws {draws}; noise falls from a start above sigma = {sigma}")
        self.register_buffer("drawn", torch.zeros((), dtype=torch.float64))
        self.drawn: Tensor

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal:
        assert c is not None
        if not self.training:
            return Normal(c, self.sigma)
        left = 1 - (self.drawn / self.draws).clamp_max(1)
        self.drawn += 1
        return Normal(c, (self.sigma * (self.start / self.sigma) ** left).to(c.dtype).reshape([1] * c.ndim))

    def extra_repr(self) -> str:
        return f"{self.start:g} to {self.sigma:g} in {self.draws} draws"


class NoiseLevels(Corruption):
    """N(x, s^2 I), log s uniform between two levels for each example, which the autoencoder is told."""

    tells = True

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = _level(low, "low"), _level(high, "high")
        if not low < high:
            raise ValueError(f"levels run from {low} to {high}; the first must be the lower")

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Normal:
        assert c is not None
        u = torch.rand(_column(c), dtype=c.dtype, device=c.device)
        return Normal(c, self.low * (self.high / self.low) ** u)

    @property
    def noise(self) -> tuple[float, float]:
        return self.low, self.high

    def extra_repr(self) -> str:
        return f"{self.low:g} to {self.high:g}"


class Jitter(Corruption):
    """An image turned, moved and scaled a little at random: views that keep what it shows, not how.

    Rotation by up to `degrees` either way, shifts by up to a share `shift` of the side, scales within 1 +- `scale`,
    shear by up to `shear`, each uniform; what comes in from outside is 0. Vectors are seen under normal noise of
    `noise` times each coordinate's standard deviation in the batch.
    """

    has_density = False

    def __init__(
        self, degrees: float = 15.0, shift: float = 0.05, scale: float = 0.15, shear: float = 0.15, noise: float = 0.1
    ) -> None:
        super().__init__()
        given = {"degrees": degrees, "shift": shift, "scale": scale, "shear": shear, "noise": noise}
        if wrong := [name for name, v in given.items() if not 0 <= v < math.inf] or (scale >= 1 and ["scale"]):
            raise ValueError(f"{wrong[0]} is {given[wrong[0]]}; give a range of 0 or above (scale below 1)")
        self.degrees, self.shift, self.scale, self.shear, self.noise_share = degrees, shift, scale, shear, noise

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> PointMass:
        assert c is not None
        if c.ndim != 4:
            spread = c.std(0) if len(c) > 1 else torch.zeros_like(c[0])
            return PointMass(c + self.noise_share * spread * torch.randn_like(c))
        u = 2 * torch.rand(5, len(c), dtype=c.dtype, device=c.device) - 1
        angle, factor, shear = u[0] * math.radians(self.degrees), 1 + self.scale * u[1], self.shear * u[2]
        cos, sin = angle.cos() / factor, angle.sin() / factor
        # each side runs from -1 to 1, however long it is: a turn of those numbers alone would be none of pixels
        tall = c.shape[2] / c.shape[3]
        across, down = (shear * cos - sin) * tall, sin / tall
        rows = [cos, across, 2 * self.shift * u[3], down, shear * sin + cos, 2 * self.shift * u[4]]
        where = nn.functional.affine_grid(torch.stack(rows, 1).unflatten(1, (2, 3)), list(c.shape), align_corners=False)
        return PointMass(nn.functional.grid_sample(c, where, align_corners=False))

    def extra_repr(self) -> str:
        return f"{self.degrees:g} degrees, shift {self.shift:g}, scale {self.scale:g}, shear {self.shear:g}"


class Masking(Corruption):
    """Each value is set to zero with a probability, independently: the corruption of Vincent et al., 2008."""

    has_density = False
    symmetric = False

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = _share(share, "share")

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Replaced:
        assert c is not None
        return Replaced(c, self.share, (0.0,))

    def extra_repr(self) -> str:
        return f"{self.share:g}"


class SaltAndPepper(Masking):
    """Each value is set to 0 or 1, either as likely, with a probability: for data in [0, 1]."""

    def forward(self, c: Tensor | None = None, y: Tensor | None = None) -> Replaced:
        assert c is not None
        return Replaced(c, self.share, (0.0, 1.0))
