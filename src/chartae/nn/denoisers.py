"""Denoisers: maps of the data space to itself, close to the identity."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from chartae.nn.bodies import ConvEncoder, Resize
from chartae.nn.layers import Linear, Shape, activation_of, image_of, product

__all__ = [
    "HiddenLayer",
    "NoiseConvDecoder",
    "NoiseDecoder",
    "NoiseEncoder",
    "SkipDecoder",
    "SkipEncoder",
    "TiedDecoder",
]


class HiddenLayer(nn.Linear):
    """φ(W x + b), the code of an autoencoder with one hidden layer; its slopes and potential are known.

    `gain` multiplies the initial W and b: the finer the structure of the data, the larger it should be.

    >>> import torch
    >>> HiddenLayer(2, 5)(torch.zeros(3, 2)).shape
    torch.Size([3, 5])
    """

    def __init__(self, shape: int | Shape, width: int, activation: str = "tanh", gain: float = 1.0) -> None:
        super().__init__(shape if isinstance(shape, int) else math.prod(shape), width)
        with torch.no_grad():
            self.weight.mul_(gain)
            self.bias.mul_(gain)
        self.activation, self._phi = activation, activation_of(activation)

    def before(self, x: Tensor) -> Tensor:
        """W x + b."""
        return product(x.flatten(1), self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self._phi.value(self.before(x))

    def slope(self, x: Tensor) -> Float[Tensor, "B K"]:
        """φ'(W x + b)."""
        return self._phi.slope(self.before(x))

    def potential(self, x: Tensor) -> Float[Tensor, " B"]:
        """Σ_j Φ(w_j x + b_j) with Φ' = φ: its gradient is Wᵀ φ(W x + b)."""
        if self._phi.integral is None:
            raise ValueError(f"the integral of {self.activation} is not elementary; use tanh, sigmoid or relu")
        return self._phi.integral(self.before(x)).sum(1)


class TiedDecoder(nn.Module):
    """Wᵀ h + c, W the weight of a `HiddenLayer`: reconstruction minus input is then the gradient of a potential."""

    def __init__(self, layer: HiddenLayer, shape: int | Shape) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.weight = layer.weight
        self.bias = nn.Parameter(torch.zeros(layer.in_features))

    def forward(self, h: Tensor) -> Tensor:
        return product(h, self.weight.t(), self.bias).unflatten(1, self.shape)


class SkipEncoder(nn.Module):
    """x -> (x, body(x)): a code that keeps what it was read from, for `SkipDecoder` to correct."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        h = self.body(x) if level is None else self.body(x, level)
        return torch.cat([x.flatten(1), h], 1)


class SkipDecoder(nn.Module):
    """(x, h) -> x + scale body(h): a denoiser that has only the correction to learn.

    With scale sigma the body says the noise, with its sign changed, in units of sigma.
    """

    def __init__(self, body: nn.Module, shape: Shape, scale: float) -> None:
        super().__init__()
        self.body, self.shape, self.scale = body, tuple(shape), float(scale)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, *S) and h."""
        size = math.prod(self.shape)
        return z[:, :size].unflatten(1, self.shape), z[:, size:]

    def forward(self, z: Tensor) -> Tensor:
        x, h = self.split(z)
        return x + self.scale * self.body(h).unflatten(1, self.shape)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"


class NoiseEncoder(nn.Module):
    """(x, sigma) -> (x, h): residual blocks of an MLP that is told the noise level.

    x enters as x / sqrt(sigma^2 + spread^2), sigma as sines of its logarithm, which shift every block.

    Args:
        shape: of one example.
        width: of h and of every block.
        blocks: how many.
        spread: the standard deviation of a coordinate of the data.
        lowest: the level where none is given.
        convolve: images enter through two convolutions.
    """

    def __init__(
        self, shape: Shape, width: int, blocks: int, *, spread: float, lowest: float, convolve: bool = False
    ) -> None:
        super().__init__()
        self.spread, self.lowest = spread, lowest
        self.first: nn.Module = nn.Sequential(nn.Flatten(), Linear(math.prod(shape), width))
        if convolve:
            self.first = nn.Sequential(ConvEncoder(shape, width, (32, 64), norm=False))
        self.register_buffer("frequencies", torch.arange(1, 17, dtype=torch.float32) * 0.25)
        self.frequencies: Tensor
        self.level = nn.Sequential(nn.Linear(33, width), nn.SiLU(), Linear(width, width), nn.SiLU())
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.shifts = nn.ModuleList(Linear(width, 2 * width) for _ in range(blocks))
        self.up = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.down = nn.ModuleList(Linear(width, width) for _ in range(blocks))

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        sigma = x.new_full((len(x),), self.lowest) if level is None else level
        t = sigma.log()[:, None]
        angles = t * self.frequencies
        e = self.level(torch.cat([t, angles.sin(), angles.cos()], 1))
        h = self.first(x / (sigma.square() + self.spread**2).sqrt().reshape(-1, *[1] * (x.ndim - 1)))
        for norm, shifts, up, down in zip(self.norms, self.shifts, self.up, self.down, strict=True):
            shift, gain = shifts(e).chunk(2, 1)
            h = h + down(F.silu(up(norm(h) * (1 + gain) + shift)))
        return torch.cat([x.flatten(1), h], 1)


class NoiseDecoder(SkipDecoder):
    """(x, h), sigma -> c_skip x + c_out body(h), which tends to x + sigma body(h) for small sigma.

    With s the data's `spread`: c_skip = s^2 / (sigma^2 + s^2), c_out = sigma s / sqrt(sigma^2 + s^2), so that the
    body's target has unit variance at every level. Karras et al., "Elucidating the Design Space of Diffusion-Based
    Generative Models", 2022 (arXiv 2206.00364).
    """

    def __init__(self, body: nn.Module, shape: Shape, *, spread: float, lowest: float) -> None:
        super().__init__(body, shape, lowest)
        self.spread, self.lowest = spread, lowest

    def spread_of_error(self, sigma: Tensor) -> Tensor:
        """c_out."""
        return sigma * self.spread / (sigma.square() + self.spread**2).sqrt()

    def correction(self, x: Tensor, h: Tensor) -> Tensor:
        """What is learnt, of unit scale; x is scaled to unit variance."""
        return self.body(h).unflatten(1, self.shape)

    def forward(self, z: Tensor, level: Tensor | None = None) -> Tensor:
        x, h = self.split(z)
        sigma = x.new_full((len(x),), self.lowest) if level is None else level
        sigma = sigma.reshape(-1, *[1] * len(self.shape))
        variance = sigma.square() + self.spread**2
        return self.spread**2 / variance * x + self.spread_of_error(sigma) * self.correction(x / variance.sqrt(), h)


class NoiseConvDecoder(NoiseDecoder):
    """A `NoiseDecoder` of images that reads x again, by convolutions at full size under the guidance of h.

    h says what the picture is of, x where every stroke lies.
    """

    def __init__(self, width: int, shape: Shape, channels: int = 24, *, spread: float, lowest: float) -> None:
        c, height, w = image_of(shape, "NoiseConvDecoder")
        small = (-(-height // 4), -(-w // 4))
        super().__init__(nn.Identity(), shape, spread=spread, lowest=lowest)
        self.guide = nn.Sequential(
            nn.LayerNorm(width), Linear(width, 2 * channels * math.prod(small)),
            nn.Unflatten(1, (2 * channels, *small)), nn.SiLU(),
            Resize((-(-height // 2), -(-w // 2))), nn.Conv2d(2 * channels, channels, 3, 1, 1), nn.SiLU(),
            Resize((height, w)), nn.Conv2d(channels, channels, 3, 1, 1),
        )  # fmt: skip
        self.look = nn.Conv2d(c, channels, 3, 1, 1)
        self.gains = Linear(width, 2 * channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(), nn.Conv2d(channels, channels, 3, 1, 1), nn.SiLU(), nn.Conv2d(channels, channels, 3, 1, 1)
            )
            for _ in range(2)
        )
        self.out = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, c, 3, 1, 1))

    def correction(self, x: Tensor, h: Tensor) -> Tensor:
        u = self.look(x) + self.guide(h)
        for block, gain in zip(self.blocks, self.gains(h).chunk(2, 1), strict=True):
            u = u + block(u) * (1 + gain[:, :, None, None])
        return self.out(u)
