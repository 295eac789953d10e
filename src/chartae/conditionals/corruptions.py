"""Corruptions C(x~|x): the encoder of a denoising autoencoder sees x~ instead of x."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from chartae.conditionals.base import Conditional
from chartae.distributions import (
    Distribution,
    Normal,
    PointMass,
    Replaced,
)
from chartae.maths.random import rand, randn

__all__ = [
    "AnnealedNoise",
    "Corruption",
    "Crop",
    "Flip",
    "GaussianNoise",
    "Jitter",
    "Masking",
    "NoiseLevels",
    "RareNoise",
    "SaltAndPepper",
]


def _checked_level(sigma: float, name: str = "sigma") -> float:
    if not 0 < sigma < math.inf:
        raise ValueError(f"{name} is {sigma}; expected a finite number above 0.")
    return float(sigma)


def _checked_share(share: float, name: str) -> float:
    if not 0 < share < 1:
        raise ValueError(f"{name} is {share}; expected a number above 0 and below 1.")
    return float(share)


def _one_per_example(c: Tensor) -> tuple[int, ...]:
    """The shape (B, 1, ...) of one number for each example, which broadcasts over `c`."""
    return (len(c), *[1] * (c.ndim - 1))


def _check_images(c: Tensor) -> None:
    if c.ndim != 4:
        raise ValueError(f"the examples have shape {tuple(c.shape)}; expected images (B, C, H, W).")


class Corruption(Conditional):
    """A corruption C(x~|x): the encoder of a denoising autoencoder sees x~ instead of x.

    Subclasses define `forward(c, condition)`, which returns the distribution of x~ given the clean data `c`.
    """

    #: whether the autoencoder is conditioned on the noise level of each example
    noise_conditional: bool = False
    #: whether x + e and x - e are equally likely
    symmetric: bool = True

    @property
    def noise(self) -> float | tuple[float, float] | None:
        """The noise level, or (lowest, highest), at which a denoiser estimates the score; None if it does not."""
        return None

    def weight(self, noise: Distribution) -> Tensor | None:
        """Return the weight of each example in the loss.

        Args:
            noise: distribution of x~, as `forward` returns it.

        Returns:
            Weights (B,), or None if all examples weigh the same.
        """
        return None


class GaussianNoise(Corruption):
    """Gaussian noise, C(x~|x) = N(x, sigma^2 I).

    Args:
        sigma: noise standard deviation, in the units of the data; finite, > 0.

    Raises:
        ValueError: `sigma` is not a finite number above 0.

    >>> import torch
    >>> import chartae as ch
    >>> noise = ch.GaussianNoise(0.1)
    >>> noise(torch.zeros(4, 3)).sample().shape, noise.noise
    (torch.Size([4, 3]), 0.1)
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = _checked_level(sigma)

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        assert c is not None
        return Normal(c, self.sigma)

    @property
    def noise(self) -> float:
        return self.sigma

    def extra_repr(self) -> str:
        return f"{self.sigma:g}"


class RareNoise(GaussianNoise):
    """Gaussian noise N(x, sigma^2 I), with additional larger noise for a random share of the examples.

    An example has the standard deviation sigma with probability 1 - share, else sigma sqrt(1 + factor^2). The rare
    large noise trains the map in regions without data, where it is otherwise undetermined and has spurious attractors
    (Alain and Bengio, arXiv 1211.4246). Near the data the optimum remains that of sigma alone.

    `weight` gives each example the inverse of its noise variance, in units of 1 / sigma^2. Without these weights the
    rare examples would dominate the loss and blur the vector field near the data.

    Args:
        sigma: noise standard deviation, in the units of the data; finite, > 0.
        share: probability that an example gets the additional noise, above 0 and below 1; default 0.05.
        factor: standard deviation of the additional noise, in units of `sigma`; finite, > 0; default 10.

    Raises:
        ValueError: a parameter is out of range.

    >>> import torch
    >>> import chartae as ch
    >>> noise = ch.RareNoise(0.1, share=0.5, factor=10.0)
    >>> noise(torch.zeros(1000, 2)).sigma.unique()
    tensor([0.1000, 1.0050])
    """

    def weight(self, noise: Distribution) -> Tensor | None:
        assert isinstance(noise, Normal)
        return (self.sigma / torch.as_tensor(noise.sigma)).square().flatten()

    def __init__(self, sigma: float, share: float = 0.05, factor: float = 10.0) -> None:
        super().__init__(sigma)
        self.share, self.factor = _checked_share(share, "share"), _checked_level(factor, "factor")

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        assert c is not None
        large = rand(_one_per_example(c), c) < self.share
        return Normal(c, torch.where(large, self.sigma * math.hypot(1, self.factor), self.sigma).to(c.dtype))

    def extra_repr(self) -> str:
        return f"{self.sigma:g}, share={self.share:g}, factor={self.factor:g}"


class AnnealedNoise(GaussianNoise):
    """Gaussian noise N(x, s_t^2 I) whose level s_t falls geometrically from `start` to `sigma` during training.

    s_t = sigma (start / sigma)^(1 - t / draws) at draw t < `draws`, then `sigma`. In evaluation mode the level is
    `sigma`. The number of draws so far is part of the state dict.

    Args:
        sigma: final noise standard deviation, in the units of the data; finite, > 0.
        start: initial noise standard deviation, finite, >= `sigma`.
        draws: number of forward passes in training mode until `sigma` is reached, >= 1.

    Raises:
        ValueError: a parameter is out of range.

    >>> import torch
    >>> import chartae as ch
    >>> noise = ch.AnnealedNoise(0.01, start=1.0, draws=2)
    >>> [round(float(noise(torch.zeros(1, 1)).sigma), 2) for _ in range(3)]
    [1.0, 0.1, 0.01]
    """

    def __init__(self, sigma: float, start: float, draws: int) -> None:
        super().__init__(sigma)
        self.start, self.draws = _checked_level(start, "start"), draws
        if start < sigma or draws < 1:
            raise ValueError(
                f"start is {start} and draws is {draws}; expected start >= sigma = {sigma} and draws >= 1."
            )
        self.register_buffer("drawn", torch.zeros((), dtype=torch.float64))
        self.drawn: Tensor

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        assert c is not None
        if not self.training:
            return Normal(c, self.sigma)
        remaining = 1 - (self.drawn / self.draws).clamp_max(1)
        self.drawn += 1
        return Normal(c, (self.sigma * (self.start / self.sigma) ** remaining).to(c.dtype).reshape([1] * c.ndim))

    def extra_repr(self) -> str:
        return f"{self.start:g} to {self.sigma:g} in {self.draws} draws"


class NoiseLevels(Corruption):
    """Gaussian noise N(x, s^2 I) with a random level s for each example, on which the autoencoder is conditioned.

    log s is uniform between log(low) and log(high).

    Args:
        low: lowest noise standard deviation, in the units of the data; finite, > 0.
        high: highest noise standard deviation; finite, above `low`.

    Raises:
        ValueError: a level is not a finite number above 0, or `low` is not below `high`.

    >>> import torch
    >>> import chartae as ch
    >>> levels = ch.NoiseLevels(0.1, 10.0)(torch.zeros(1000, 3)).sigma
    >>> levels.shape, bool((levels >= 0.1).all() and (levels <= 10).all())
    (torch.Size([1000, 1]), True)
    """

    noise_conditional = True

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = _checked_level(low, "low"), _checked_level(high, "high")
        if not low < high:
            raise ValueError(f"low is {low} and high is {high}; expected low < high.")

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        assert c is not None
        u = rand(_one_per_example(c), c)
        return Normal(c, self.low * (self.high / self.low) ** u)

    @property
    def noise(self) -> tuple[float, float]:
        return self.low, self.high

    def extra_repr(self) -> str:
        return f"{self.low:g} to {self.high:g}"


class Jitter(Corruption):
    """Random small affine transforms of images: views that keep the content and change its pose.

    Each parameter of the transform is uniform in its range, for each image separately. Data that are not images
    (B, C, H, W) get Gaussian noise instead.

    Args:
        degrees: largest rotation in either direction, in degrees, >= 0; default 15.
        shift: largest shift in either direction, as a share of the image's side, >= 0; default 0.05.
        scale: largest relative change of size, from 1 - scale to 1 + scale; >= 0 and below 1; default 0.15.
        shear: largest shear in either direction, as a slope, >= 0; default 0.15.
        noise: standard deviation of the noise for data that are not images, in units of the standard deviation of
            each coordinate in the batch, >= 0; default 0.1.
        padding: pixels from outside the image: ``"zeros"`` (default), or ``"border"``, those of the nearest edge.

    Raises:
        ValueError: a parameter is out of range, or `padding` is unknown.

    >>> import torch
    >>> from chartae.conditionals import Jitter
    >>> x = torch.rand(2, 1, 8, 8)
    >>> Jitter()(x).sample().shape
    torch.Size([2, 1, 8, 8])
    >>> torch.allclose(Jitter(degrees=0, shift=0, scale=0, shear=0)(x).mean, x, atol=1e-5)
    True
    """

    has_density = False

    def __init__(
        self, degrees: float = 15.0, shift: float = 0.05, scale: float = 0.15, shear: float = 0.15, noise: float = 0.1,
        padding: str = "zeros",
    ) -> None:  # fmt: skip
        super().__init__()
        ranges = {"degrees": degrees, "shift": shift, "scale": scale, "shear": shear, "noise": noise}
        if wrong := [name for name, v in ranges.items() if not 0 <= v < math.inf] or (scale >= 1 and ["scale"]):
            raise ValueError(f"{wrong[0]} is {ranges[wrong[0]]}; expected a finite number >= 0 (scale: below 1).")
        if padding not in ("zeros", "border"):
            raise ValueError(f"padding is {padding!r}; expected 'zeros' or 'border'.")
        self.padding = padding
        self.degrees, self.shift, self.scale, self.shear, self.noise_share = degrees, shift, scale, shear, noise

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> PointMass:
        assert c is not None
        if c.ndim != 4:
            spread = c.std(0) if len(c) > 1 else torch.zeros_like(c[0])
            return PointMass(c + self.noise_share * spread * randn(c.shape, c))
        u = 2 * rand((5, len(c)), c) - 1
        angle, factor, shear = u[0] * math.radians(self.degrees), 1 + self.scale * u[1], self.shear * u[2]
        cos, sin = angle.cos() / factor, angle.sin() / factor
        # the grid runs from -1 to 1 along both sides, so a rotation of pixels needs the aspect ratio
        aspect = c.shape[2] / c.shape[3]
        across, down = (shear * cos - sin) * aspect, sin / aspect
        rows = [cos, across, 2 * self.shift * u[3], down, shear * sin + cos, 2 * self.shift * u[4]]
        grid = nn.functional.affine_grid(torch.stack(rows, 1).unflatten(1, (2, 3)), list(c.shape), align_corners=False)
        return PointMass(nn.functional.grid_sample(c, grid, padding_mode=self.padding, align_corners=False))

    def extra_repr(self) -> str:
        text = f"{self.degrees:g} degrees, shift {self.shift:g}, scale {self.scale:g}, shear {self.shear:g}"
        return text if self.padding == "zeros" else f"{text}, {self.padding}"


class Flip(Corruption):
    """Mirror images left to right, each with probability 1/2.

    >>> import torch
    >>> from chartae.conditionals import Flip
    >>> row = torch.tensor([1.0, 2.0, 3.0]).expand(50, 1, 1, 3)
    >>> sorted(set(map(tuple, Flip()(row).sample().flatten(1).tolist())))
    [(1.0, 2.0, 3.0), (3.0, 2.0, 1.0)]
    """

    has_density = False

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> PointMass:
        assert c is not None
        _check_images(c)
        return PointMass(torch.where(rand(_one_per_example(c), c) < 0.5, c.flip(3), c))


class Crop(Corruption):
    """Move images by a random whole number of pixels, as a crop of the image padded with the pixels of its edges does.

    Args:
        share: largest shift in each direction, as a share of the image's side, above 0 and below 1; default 0.125. It
            is rounded to whole pixels, at least one.

    Raises:
        ValueError: `share` is not above 0 and below 1.

    >>> import torch
    >>> from chartae.conditionals import Crop
    >>> row = torch.tensor([1.0, 2.0, 3.0]).expand(50, 1, 1, 3)
    >>> sorted(set(map(tuple, Crop(0.3)(row).sample().flatten(1).tolist())))
    [(1.0, 1.0, 2.0), (1.0, 2.0, 3.0), (2.0, 3.0, 3.0)]
    """

    has_density = False

    def __init__(self, share: float = 0.125) -> None:
        super().__init__()
        self.share = _checked_share(share, "share")

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> PointMass:
        assert c is not None
        _check_images(c)
        for dim in (2, 3):
            side = c.shape[dim]
            most = max(1, round(self.share * side))
            shift = (rand((len(c), 1), c) * (2 * most + 1)).floor() - most
            pixels = (torch.arange(side, device=c.device) + shift).clamp(0, side - 1).long()
            c = c.gather(dim, (pixels[:, None, :, None] if dim == 2 else pixels[:, None, None]).expand_as(c))
        return PointMass(c)

    def extra_repr(self) -> str:
        return f"{self.share:g}"


class Masking(Corruption):
    """Masking noise: each value is set to 0 independently with a fixed probability.

    Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders", 2008.

    Args:
        share: probability that a value is replaced, above 0 and below 1.

    Raises:
        ValueError: `share` is not above 0 and below 1.

    >>> import torch
    >>> import chartae as ch
    >>> ch.Masking(0.25)(torch.ones(1, 3)).mean
    tensor([[0.7500, 0.7500, 0.7500]])
    """

    has_density = False
    symmetric = False

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = _checked_share(share, "share")

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Replaced:
        assert c is not None
        return Replaced(c, self.share, (0.0,))

    def extra_repr(self) -> str:
        return f"{self.share:g}"


class SaltAndPepper(Masking):
    """Salt-and-pepper noise: each value is replaced by 0 or 1 with a fixed probability, for data in [0, 1].

    0 and 1 are equally likely.

    Args:
        share: probability that a value is replaced, above 0 and below 1.

    Raises:
        ValueError: `share` is not above 0 and below 1.

    >>> import torch
    >>> import chartae as ch
    >>> ch.SaltAndPepper(0.5)(torch.zeros(1, 3)).mean
    tensor([[0.2500, 0.2500, 0.2500]])
    """

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Replaced:
        assert c is not None
        return Replaced(c, self.share, (0.0, 1.0))
