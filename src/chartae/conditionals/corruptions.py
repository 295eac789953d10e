"""Corruptions C(x~|x): what a denoising autoencoder sees in place of x."""

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
    "GaussianNoise",
    "Jitter",
    "Masking",
    "NoiseLevels",
    "RareNoise",
    "SaltAndPepper",
]


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

    #: whether the autoencoder is told the noise level of each example, as its condition
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

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
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

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        assert c is not None
        large = rand(_column(c), c) < self.share
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

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
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

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Normal:
        assert c is not None
        u = rand(_column(c), c)
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

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> PointMass:
        assert c is not None
        if c.ndim != 4:
            spread = c.std(0) if len(c) > 1 else torch.zeros_like(c[0])
            return PointMass(c + self.noise_share * spread * randn(c.shape, c))
        u = 2 * rand((5, len(c)), c) - 1
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

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Replaced:
        assert c is not None
        return Replaced(c, self.share, (0.0,))

    def extra_repr(self) -> str:
        return f"{self.share:g}"


class SaltAndPepper(Masking):
    """Each value is set to 0 or 1, either as likely, with a probability: for data in [0, 1]."""

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Replaced:
        assert c is not None
        return Replaced(c, self.share, (0.0, 1.0))
