"""Nets for denoisers: maps from the data space to itself that are close to the identity."""

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
    """A dense layer with its activation, φ(W x + b): the encoder of an autoencoder with one hidden layer.

    Its derivative φ' and the integral of φ are known in closed form, so that contractive penalties and, with tied
    weights, the potential of the reconstruction cost no automatic differentiation.

    Args:
        shape: shape of one input, which is flattened; an int d stands for (d,).
        width: number of hidden units, K.
        activation: name of φ, a key of `ACTIVATIONS`; ``"tanh"`` by default.
        gain: factor on the initial W and b, > 0; 1 by default. The finer the structure of the data, the larger it
            should be.

    Raises:
        ValueError: `activation` is unknown.

    >>> import torch
    >>> from chartae.nn import HiddenLayer
    >>> layer = HiddenLayer(2, 5)
    >>> layer(torch.zeros(3, 2)).shape
    torch.Size([3, 5])
    >>> x = torch.randn(3, 2)
    >>> torch.allclose(layer.slope(x), 1 - layer(x) ** 2)  # the derivative of tanh
    True
    """

    def __init__(self, shape: int | Shape, width: int, activation: str = "tanh", gain: float = 1.0) -> None:
        super().__init__(shape if isinstance(shape, int) else math.prod(shape), width)
        with torch.no_grad():
            self.weight.mul_(gain)
            self.bias.mul_(gain)
        self.activation, self._phi = activation, activation_of(activation)

    def before(self, x: Tensor) -> Tensor:
        """The pre-activation W x + b, (B, K)."""
        return product(x.flatten(1), self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self._phi.value(self.before(x))

    def slope(self, x: Tensor) -> Float[Tensor, "B K"]:
        """The derivative φ'(W x + b)."""
        return self._phi.slope(self.before(x))

    def potential(self, x: Tensor) -> Float[Tensor, " B"]:
        """The potential Σ_j Φ(w_j·x + b_j) with Φ' = φ; its gradient in x is Wᵀ φ(W x + b)."""
        if self._phi.integral is None:
            raise ValueError(
                f"activation is {self.activation!r}, which has no elementary integral; expected tanh, sigmoid or relu"
            )
        return self._phi.integral(self.before(x)).sum(1)


class TiedDecoder(nn.Module):
    """A decoder Wᵀ h + c that shares W with the encoder, a `HiddenLayer`.

    With tied weights, reconstruction minus input, and so the score that it implies, is the gradient of a potential.

    Args:
        layer: the encoder φ(W x + b), whose weight is used.
        shape: shape of one reconstruction; an int d stands for (d,).

    >>> import torch
    >>> from chartae.nn import HiddenLayer, TiedDecoder
    >>> encoder = HiddenLayer(2, 5)
    >>> decoder = TiedDecoder(encoder, 2)
    >>> decoder(encoder(torch.zeros(3, 2))).shape
    torch.Size([3, 2])
    >>> decoder.weight is encoder.weight
    True
    """

    def __init__(self, layer: HiddenLayer, shape: int | Shape) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.weight = layer.weight
        self.bias = nn.Parameter(torch.zeros(layer.in_features))

    def forward(self, h: Tensor) -> Tensor:
        return product(h, self.weight.t(), self.bias).unflatten(1, self.shape)


class SkipEncoder(nn.Module):
    """An encoder x -> (x, body(x)), whose code keeps its input, so that a `SkipDecoder` can correct it.

    Args:
        body: net from x (B, ...), and the noise level (B,) if there is one, to features (B, K).

    >>> import torch
    >>> from chartae.nn import SkipEncoder
    >>> SkipEncoder(torch.nn.Linear(2, 5))(torch.zeros(3, 2)).shape
    torch.Size([3, 7])
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        h = self.body(x) if level is None else self.body(x, level)
        return torch.cat([x.flatten(1), h], 1)


class SkipDecoder(nn.Module):
    """A decoder (x, h) -> x + scale body(h), which has only the correction to learn.

    If scale is the noise level sigma, the body predicts the negative of the noise, in units of sigma.

    Args:
        body: net from features h (B, K) to a correction, whose rows have as many values as an example.
        shape: shape of one example.
        scale: factor on the correction, in the units of the data.

    >>> import torch
    >>> from chartae.nn import SkipDecoder
    >>> decoder = SkipDecoder(torch.nn.Linear(5, 2), (2,), scale=0.1)
    >>> decoder(torch.zeros(3, 2 + 5)).shape
    torch.Size([3, 2])
    """

    def __init__(self, body: nn.Module, shape: Shape, scale: float) -> None:
        super().__init__()
        self.body, self.shape, self.scale = body, tuple(shape), float(scale)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The parts of a code: x `(B, *S)` and h (B, K)."""
        size = math.prod(self.shape)
        return z[:, :size].unflatten(1, self.shape), z[:, size:]

    def forward(self, z: Tensor) -> Tensor:
        x, h = self.split(z)
        return x + self.scale * self.body(h).unflatten(1, self.shape)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"


class NoiseEncoder(nn.Module):
    """An encoder (x, sigma) -> (x, h): a residual MLP conditioned on the noise level sigma.

    x is scaled to unit variance, x / sqrt(sigma^2 + spread^2). Sines and cosines of log sigma, through a small net,
    shift and scale the features of every block.

    Args:
        shape: shape of one example.
        width: number of features h and units of each block.
        blocks: number of residual blocks.
        spread: standard deviation of a coordinate of the data, in the units of the data; > 0.
        lowest: noise level that is used if none is given; > 0.
        convolve: whether images are first read by two convolutions of stride 2; False by default.

    >>> import torch
    >>> from chartae.nn import NoiseEncoder
    >>> encoder = NoiseEncoder((2,), 8, 1, spread=1.0, lowest=0.1)
    >>> encoder(torch.zeros(3, 2), torch.tensor([0.1, 0.5, 2.0])).shape
    torch.Size([3, 10])
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
    """A decoder conditioned on the noise level: (x, h), sigma -> c_skip x + c_out body(h).

    With s the `spread` of the data,

        c_skip = s^2 / (sigma^2 + s^2),   c_out = sigma s / sqrt(sigma^2 + s^2),

    so that the target of the body has unit variance at every level. For small sigma the decoder tends to
    x + sigma body(h). Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022
    (arXiv 2206.00364), Table 1.

    Args:
        body: net from features h (B, K) to a correction, whose rows have as many values as an example.
        shape: shape of one example.
        spread: standard deviation of a coordinate of the data, in the units of the data; > 0.
        lowest: noise level that is used if none is given; > 0.

    >>> import torch
    >>> from chartae.nn import NoiseDecoder
    >>> decoder = NoiseDecoder(torch.nn.Linear(8, 2), (2,), spread=1.0, lowest=0.1)
    >>> decoder(torch.zeros(3, 2 + 8), torch.tensor([0.1, 0.5, 2.0])).shape
    torch.Size([3, 2])
    >>> decoder.spread_of_error(torch.tensor(1.0)).item()  # c_out: sigma = s = 1 gives 1 / sqrt(2)
    0.7071...
    """

    def __init__(self, body: nn.Module, shape: Shape, *, spread: float, lowest: float) -> None:
        super().__init__(body, shape, lowest)
        self.spread, self.lowest = spread, lowest

    def spread_of_error(self, sigma: Tensor) -> Tensor:
        """c_out: the standard deviation of the error that is left to the body, (B, 1, ...) as sigma."""
        return sigma * self.spread / (sigma.square() + self.spread**2).sqrt()

    def correction(self, x: Tensor, h: Tensor) -> Tensor:
        """The learnt correction, of unit scale; x is scaled to unit variance."""
        return self.body(h).unflatten(1, self.shape)

    def forward(self, z: Tensor, level: Tensor | None = None) -> Tensor:
        x, h = self.split(z)
        sigma = x.new_full((len(x),), self.lowest) if level is None else level
        sigma = sigma.reshape(-1, *[1] * len(self.shape))
        variance = sigma.square() + self.spread**2
        return self.spread**2 / variance * x + self.spread_of_error(sigma) * self.correction(x / variance.sqrt(), h)


class NoiseConvDecoder(NoiseDecoder):
    """A `NoiseDecoder` for images, whose correction also reads x, by convolutions at full resolution.

    The features h say what the picture shows, and x says where each stroke lies. The output is
    c_skip x + c_out correction(x, h), with the same coefficients as `NoiseDecoder`.

    Args:
        width: number of features h.
        shape: shape (C, H, W) of one image.
        channels: number of features of the convolutions; 24 by default.
        spread: standard deviation of a pixel of the data, in the units of the data; > 0.
        lowest: noise level that is used if none is given; > 0.

    Raises:
        ValueError: `shape` is not (C, H, W).

    >>> import torch
    >>> from chartae.nn import NoiseConvDecoder
    >>> decoder = NoiseConvDecoder(8, (1, 6, 6), channels=4, spread=0.3, lowest=0.01)
    >>> decoder(torch.zeros(3, 36 + 8), torch.tensor([0.01, 0.1, 1.0])).shape
    torch.Size([3, 1, 6, 6])
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
