"""Bodies without probability: nets for any (C, H, W) or vector, the nets of the papers, and spectral normalisation.

Every body maps a batch (B, *shape_in) to (B, *shape_out). `encoder` and `decoder` build one by name; `NETS` lists them.
"""

from __future__ import annotations

import functools
import itertools
import math
import platform
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.autograd.forward_ad as fwAD
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETS",
    "Conv2d",
    "ConvDecoder",
    "ConvEncoder",
    "Critic",
    "HiddenLayer",
    "Linear",
    "NoiseConvDecoder",
    "NoiseDecoder",
    "NoiseEncoder",
    "PaperDecoder",
    "PaperEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "SkipDecoder",
    "SkipEncoder",
    "TiedDecoder",
    "Translator",
    "critic",
    "decoder",
    "encoder",
    "pair_critic",
    "spectral",
    "translator",
]

Shape = Sequence[int]

OUTPUTS = {"identity": nn.Identity, "sigmoid": nn.Sigmoid}


def _output(name: str) -> nn.Module:
    if name not in OUTPUTS:
        raise ValueError(f"output is {name!r}; choose from {', '.join(OUTPUTS)}")
    return OUTPUTS[name]()


def _log_cosh(a: Tensor) -> Tensor:
    return a.abs() + F.softplus(-2 * a.abs()) - math.log(2)


class Activation(NamedTuple):
    """φ, its derivative, and its integral where that is elementary."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    integral: Callable[[Tensor], Tensor] | None = None


def _silu_slope(a: Tensor) -> Tensor:
    s = a.sigmoid()
    return s * (1 + a * (1 - s))


ACTIVATIONS = {
    "relu": Activation(F.relu, lambda a: (a > 0).to(a.dtype), lambda a: 0.5 * a.relu().square()),
    "tanh": Activation(torch.tanh, lambda a: 1 - a.tanh().square(), _log_cosh),
    "sigmoid": Activation(torch.sigmoid, lambda a: a.sigmoid() * (-a).sigmoid(), F.softplus),
    "softplus": Activation(F.softplus, torch.sigmoid),
    "silu": Activation(F.silu, _silu_slope),
    "leaky-relu": Activation(lambda a: F.leaky_relu(a, 0.2), lambda a: torch.where(a > 0, 1.0, 0.2).to(a.dtype)),
}
_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "leaky-relu": functools.partial(nn.LeakyReLU, 0.2),
}


def _activation(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}; choose from {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _image(shape: Shape, what: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(f"{what} reads images (C, H, W), but an example has shape {tuple(shape)}; use net='mlp'")
    c, h, w = shape
    return c, h, w


class _Product(torch.autograd.Function):
    """x W^T + b by oneDNN; its derivatives are such products again, so that any order of them is right."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (x, weight), wanted = gradients, ctx.saved_tensors, ctx.needs_input_grad
        return (
            product(g, weight.t()) if wanted[0] else None,
            product(g.t(), x.t()) if wanted[1] else None,
            g.sum(0) if wanted[2] else None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, as torch's `linear`: on some CPUs twice as fast in single precision (`benchmarks/linear.py`).

    torch hands such products to MKL, which leaves half of an AMD processor's speed unused; oneDNN, which torch brings
    for convolutions, does not. An Intel processor, and anything but plain float32 matrices, goes the usual way: on a
    slice of a wider matrix, oneDNN falls back to a loop a thousand times slower.
    """
    plain = x.ndim == 2 and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    large = plain and x.shape[0] >= 16 and weight.numel() >= 1 << 15
    if (
        not large
        or not (_dense(x) and _dense(weight))
        or not _onednn()
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    ):
        return F.linear(x, weight, bias)
    if torch._C._functorch.maybe_current_level() is not None or fwAD._current_level >= 0:
        return F.linear(x, weight, bias)
    return cast(Tensor, _Product.apply(x, weight, bias))


def _dense(matrix: Tensor) -> bool:
    return matrix.is_contiguous() or matrix.t().is_contiguous()


@functools.cache
def _onednn() -> bool:
    """Whether oneDNN is there, and the processor one on which it gains: on Intel's, MKL is at least as fast."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    name = str(capabilities().get("cpu_name")) if capabilities else platform.processor()
    return there and "Intel" not in name


class Linear(nn.Linear):
    """torch's Linear, computed by `product`.

    >>> import torch
    >>> Linear(64, 64)(torch.zeros(32, 64)).shape
    torch.Size([32, 64])
    """

    def forward(self, input: Tensor) -> Tensor:
        return product(input, self.weight, self.bias)


class Conv2d(nn.Conv2d):
    """torch's Conv2d, the last one of an encoder made fast: to a few pixels it is a matrix product on a CPU.

    Where the output is at most 4 pixels, the library's backward pass takes two to four times as long as a product
    (`benchmarks/convolution.py`). To a single pixel, the part of the kernel that meets only padding is left out.

    >>> import torch
    >>> Conv2d(512, 64, 4, 2, 1)(torch.zeros(2, 512, 3, 3)).shape
    torch.Size([2, 64, 1, 1])
    """

    def forward(self, input: Tensor) -> Tensor:
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        if input.device.type != "cpu" or not plain or isinstance(self.padding, str) or input.ndim != 4:
            return super().forward(input)
        sizes = zip(input.shape[2:], self.kernel_size, self.stride, self.padding, strict=True)
        h, w = ((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)
        if not 1 <= h * w <= 4:
            return super().forward(input)
        if h * w == 1:
            (top, left), (rows, columns) = self.padding, input.shape[2:]
            weight = self.weight[:, :, top : top + rows, left : left + columns]
            met = input[:, :, : weight.shape[2], : weight.shape[3]]
            return product(met.flatten(1), weight.flatten(1), self.bias)[:, :, None, None]
        patches = F.unfold(input, self.kernel_size, stride=self.stride, padding=self.padding).mT
        out = product(patches.flatten(0, 1), self.weight.flatten(1), self.bias)
        return out.unflatten(0, (len(input), h * w)).mT.unflatten(2, (h, w))


class MLP(nn.Sequential):
    """Flatten, then Linear, (BatchNorm,) an activation for each hidden width, then Linear, reshaped to `shape_out`.

    `activation` is a name of `ACTIVATIONS`; where Jacobians matter, take a smooth one, and ``norm=False``.

    >>> import torch
    >>> MLP((1, 28, 28), 16)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        shape_in: int | Shape,
        shape_out: int | Shape,
        hidden: Sequence[int] = (512, 256),
        *,
        norm: bool = True,
        activation: str = "relu",
        output: str = "identity",
    ) -> None:
        _activation(activation)
        shape_in = (shape_in,) if isinstance(shape_in, int) else tuple(shape_in)
        shape_out = (shape_out,) if isinstance(shape_out, int) else tuple(shape_out)
        layers: list[nn.Module] = [nn.Flatten()] if len(shape_in) > 1 else []
        width = math.prod(shape_in)
        for h in hidden:
            layers.append(Linear(width, h))
            if norm:
                layers.append(nn.BatchNorm1d(h))
            layers.append(_MODULES[activation]())
            width = h
        layers += [Linear(width, math.prod(shape_out)), _output(output)]
        if len(shape_out) > 1:
            layers.append(nn.Unflatten(1, shape_out))
        super().__init__(*layers)


def _halvings(shape: Shape, widths: Sequence[int], what: str) -> list[tuple[int, int]]:
    """Sizes from the image's own down, one for each halving that leaves at least 2 pixels a side."""
    _, h, w = _image(shape, what)
    sizes = [(h, w)]
    for _ in widths:
        h, w = h // 2, w // 2
        if min(h, w) < 2:
            break
        sizes.append((h, w))
    if len(sizes) == 1:
        raise ValueError(f"images of {shape[1]}x{shape[2]} are too small for {what}; use net='mlp'")
    return sizes


class ConvEncoder(nn.Sequential):
    """Conv 4x4 of stride 2, BatchNorm, ReLU for each width (as many as the image's size allows), then Linear.

    Without `norm`, Conv and SiLU alone.

    >>> import torch
    >>> ConvEncoder((3, 17, 30), 8)(torch.zeros(2, 3, 17, 30)).shape
    torch.Size([2, 8])
    """

    def __init__(self, shape: Shape, out: int, widths: Sequence[int] = (32, 64, 128), *, norm: bool = True) -> None:
        sizes = _halvings(shape, widths, "ConvEncoder")
        channels = [shape[0], *widths[: len(sizes) - 1]]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(channels):
            layers.append(Conv2d(a, b, 4, 2, 1, bias=not norm))
            layers += [nn.BatchNorm2d(b), nn.ReLU()] if norm else [nn.SiLU()]
        super().__init__(*layers, nn.Flatten(), Linear(channels[-1] * math.prod(sizes[-1]), out))


class ConvDecoder(nn.Sequential):
    """The mirror of `ConvEncoder`: Linear, then transposed convolutions 4x4 of stride 2 back to (C, H, W).

    Without `norm`, SiLU alone between them.

    >>> import torch
    >>> ConvDecoder(8, (3, 17, 30))(torch.zeros(2, 8)).shape
    torch.Size([2, 3, 17, 30])
    """

    def __init__(
        self,
        latent: int,
        shape: Shape,
        widths: Sequence[int] = (32, 64, 128),
        *,
        output: str = "sigmoid",
        norm: bool = True,
    ) -> None:
        sizes = _halvings(shape, widths, "ConvDecoder")[::-1]
        channels = [shape[0], *widths[: len(sizes) - 1]][::-1]
        width = channels[0] * math.prod(sizes[0])
        layers: list[nn.Module] = [Linear(latent, width), nn.Unflatten(1, (channels[0], *sizes[0]))]
        for a, b, small, large in zip(channels, channels[1:], sizes, sizes[1:], strict=False):
            odd = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            between: list[nn.Module] = [nn.BatchNorm2d(a), nn.ReLU()] if norm else [nn.SiLU()]
            layers += [*between, nn.ConvTranspose2d(a, b, 4, 2, 1, output_padding=odd)]
        super().__init__(*layers, _output(output))


class _Block(nn.Module):
    """x + Conv(ReLU(BN(Conv(ReLU(BN(x)))))), pre-activated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Resize(nn.Module):
    """Nearest-neighbour resize to a fixed size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, self.size)


class ResidualEncoder(nn.Sequential):
    """A stem, then for each width a residual block and a halving; Linear to the code."""

    def __init__(self, shape: Shape, out: int, widths: Sequence[int] = (32, 64, 128)) -> None:
        sizes = _halvings(shape, widths, "ResidualEncoder")
        widths = widths[: len(sizes) - 1]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], widths[0], 3, 1, 1)]
        for a, b in zip(widths, [*widths[1:], widths[-1]], strict=True):
            layers += [_Block(a), Conv2d(a, b, 4, 2, 1)]
        width = widths[-1] * math.prod(sizes[-1])
        super().__init__(*layers, _Block(widths[-1]), nn.ReLU(), nn.Flatten(), Linear(width, out))


class ResidualDecoder(nn.Sequential):
    """The mirror of `ResidualEncoder`: nearest-neighbour doublings, a residual block at each size."""

    def __init__(
        self, latent: int, shape: Shape, widths: Sequence[int] = (32, 64, 128), *, output: str = "sigmoid"
    ) -> None:
        sizes = _halvings(shape, widths, "ResidualDecoder")[::-1]
        widths = widths[: len(sizes) - 1][::-1]
        first = widths[0] * math.prod(sizes[0])
        layers: list[nn.Module] = [Linear(latent, first), nn.Unflatten(1, (widths[0], *sizes[0]))]
        for a, b, size in zip(widths, [*widths[1:], widths[-1]], sizes[1:], strict=True):
            layers += [_Block(a), _Resize(size), nn.Conv2d(a, b, 3, 1, 1)]
        last = [_Block(widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], shape[0], 3, 1, 1), _output(output)]
        super().__init__(*layers, *last)


# -- denoisers: maps of the data space to itself, close to the identity ----------------------------------------------


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
        self.activation, self._phi = activation, _activation(activation)

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
        c, height, w = _image(shape, "NoiseConvDecoder")
        small = (-(-height // 4), -(-w // 4))
        super().__init__(nn.Identity(), shape, spread=spread, lowest=lowest)
        self.guide = nn.Sequential(
            nn.LayerNorm(width), Linear(width, 2 * channels * math.prod(small)),
            nn.Unflatten(1, (2 * channels, *small)), nn.SiLU(),
            _Resize((-(-height // 2), -(-w // 2))), nn.Conv2d(2 * channels, channels, 3, 1, 1), nn.SiLU(),
            _Resize((height, w)), nn.Conv2d(channels, channels, 3, 1, 1),
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


# -- the nets of "From Variational to Deterministic Autoencoders" (1903.12436), from the authors' configurations ------

#: data set -> channels, side, kernel, and the transposed convolutions' widths in units of `filters`
_PAPER = {
    "mnist": (1, 32, 4, (4, 2)),
    "cifar10": (3, 32, 4, (4, 2)),
    "celeba": (3, 64, 5, (4, 2, 1)),
}


def _paper(name: str) -> tuple[int, int, int, tuple[int, ...]]:
    if name not in _PAPER:
        raise ValueError(f"the paper has no net for {name!r}; choose from {', '.join(_PAPER)}")
    return _PAPER[name]


def _keras(module: nn.Module) -> None:
    """Glorot-uniform kernels, zero biases: the defaults of the authors' framework."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class PaperEncoder(nn.Module):
    """The encoder of the RAE paper: four convolutions of stride 2 ("same" padding), BatchNorm, ReLU; Linear.

    Images smaller than the paper's (MNIST's 28x28) are padded with zeros to its size, here and not in the data; where
    the paper does so, they are then rescaled to 2x - 1.

    >>> sum(p.numel() for p in PaperEncoder("mnist", 16).parameters())
    11083408
    """

    def __init__(self, name: str, out: int, *, filters: int = 128) -> None:
        super().__init__()
        channels, self.side, kernel, _ = _paper(name)
        self.rescale = name != "celeba"
        # "same" at stride 2: kernel 4 pads (1, 1), kernel 5 pads (1, 2)
        pad = (1, kernel - 3) * 2
        layers: list[nn.Module] = []
        widths = [channels, *(filters * m for m in (1, 2, 4, 8))]
        for a, b in itertools.pairwise(widths):
            layers += [nn.ZeroPad2d(pad), Conv2d(a, b, kernel, 2), _norm(b), nn.ReLU()]
        flat = widths[-1] * (self.side // 16) ** 2
        self.body = nn.Sequential(*layers, nn.Flatten(), Linear(flat, out))
        self.apply(_keras)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        dh, dw = self.side - x.shape[2], self.side - x.shape[3]
        if dh or dw:
            x = F.pad(x, (dw // 2, dw - dw // 2, dh // 2, dh - dh // 2))
        return self.body(2 * x - 1 if self.rescale else x)


class PaperDecoder(nn.Module):
    """The decoder of the RAE paper: Linear to 8x8x1024, transposed convolutions ("same"), sigmoid.

    Cropped at the centre to `shape` where that is smaller than the paper's images (MNIST's 28x28 in 32x32).

    >>> sum(p.numel() for p in PaperDecoder("mnist", 16, (1, 28, 28)).parameters())
    11606273
    """

    def __init__(
        self,
        name: str,
        latent: int,
        shape: Shape | None = None,
        *,
        filters: int = 128,
        output: str = "sigmoid",
    ) -> None:
        super().__init__()
        channels, side, kernel, multiples = _paper(name)
        self.shape = (channels, side, side) if shape is None else _image(shape, "PaperDecoder")
        if self.shape[0] != channels or max(self.shape[1:]) > side:
            raise ValueError(
                f"the paper's {name} net draws images up to ({channels}, {side}, {side}), not {self.shape}; "
                "use net='conv' or 'residual'"
            )
        layers: list[nn.Module] = [Linear(latent, 8 * 8 * 1024), nn.Unflatten(1, (1024, 8, 8))]
        width = 1024
        for m in multiples:
            layers += [
                nn.ConvTranspose2d(width, filters * m, kernel, 2, 1),
                _Crop(),
                _norm(filters * m),
                nn.ReLU(),
            ]
            width = filters * m
        # stride 1: kernel 4 pads 1 and drops the last row and column, kernel 5 pads 2
        layers += [nn.ConvTranspose2d(width, channels, kernel, 1, kernel - 3), _Crop()]
        self.body = nn.Sequential(*layers, _output(output))
        self.apply(_keras)

    def forward(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        x = self.body(z)
        top, left = (x.shape[2] - self.shape[1]) // 2, (x.shape[3] - self.shape[2]) // 2
        return x[:, :, top : top + self.shape[1], left : left + self.shape[2]]


class _Crop(nn.Module):
    """Drops what a transposed convolution of padding 1 leaves over the multiple of 8 that "same" padding gives."""

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[2] // 8 * 8
        return x[:, :, :side, :side]


class Critic(nn.Module):
    """T(x, z) or T(z): the logit by which two laws are told apart; at the optimum log(positive / negative).

    Args:
        head: (B, features) -> (B, 1), over the flattened inputs side by side.
        trunk: what x goes through first, to (B, features); nothing by default. No batch normalisation, whose
            statistics would tell the laws apart instead.
        statistics: the head has one feature more, last: the mean standard deviation of the others over the batch, by
            which a generator that draws too much of a kind is told (Karras et al., 2017, arXiv 1710.10196).
        joint: the trunk sees all parts side by side in dimension 1, such as the channels of two images that show the
            same in the same place; otherwise x alone.
    """

    def __init__(
        self, head: nn.Module, trunk: nn.Module | None = None, *, statistics: bool = False, joint: bool = False
    ) -> None:
        super().__init__()
        self.head, self.trunk, self.statistics, self.joint = head, trunk, statistics, joint

    def forward(self, *parts: Tensor) -> Tensor:
        first, *rest = (torch.cat(parts, 1),) if self.joint else parts
        seen = first.flatten(1) if self.trunk is None else self.trunk(first)
        features = torch.cat([seen, *(part.flatten(1) for part in rest)], 1)
        if self.statistics:
            spread = (features.var(0, correction=0) + 1e-8).sqrt().mean()
            features = torch.cat([features, spread.expand(len(features), 1)], 1)
        return self.head(features)[:, 0]


# -- translators: maps between two domains that leave everything in its place ------------------------------------------


class Translator(nn.Module):
    """Images (C, H, W) with noise as constant channels behind -> images (C', H, W): x, and a local change of it.

    Four convolutions over squares of 2 x 2 pixels, so that a pixel sees 18 x 18 others and none beyond: what a picture
    shows stays where it is, and cannot be exchanged for another. The noise scales and shifts all features alike
    everywhere, so that it decides on the picture as a whole. At the start the output is x (of another number of
    channels: the mean of x's in each). Beyond [0, 1] it grows by a tenth only, which keeps an early step too far from
    running away.

    >>> Translator((1, 28, 28), (3, 28, 28), noise_dim=2)(torch.zeros(5, 3, 28, 28)).shape
    torch.Size([5, 3, 28, 28])
    """

    def __init__(self, shape_in: Shape, shape_out: Shape, noise_dim: int = 0, width: int = 16) -> None:
        super().__init__()
        c, *size = _image(shape_in, "Translator")
        self.channels, *other = _image(shape_out, "Translator")
        if size != other:
            raise ValueError(f"images are {size[0]}x{size[1]} and {other[0]}x{other[1]}; a Translator keeps their size")
        self.read = c
        self.layers = nn.ModuleList(nn.Conv2d(a, width, 3, 1, 1) for a in (4 * c, width, width))
        self.noise = nn.ModuleList(Linear(noise_dim, 2 * width) for _ in self.layers if noise_dim)
        self.out = nn.Conv2d(width, 4 * self.channels, 3, 1, 1)
        for p in self.out.parameters():
            nn.init.zeros_(p)

    def forward(self, xn: Float[Tensor, "B Cn H W"]) -> Float[Tensor, "B Co H W"]:
        x, n = xn[:, : self.read], xn[:, self.read :, 0, 0]
        height, width = x.shape[2:]
        # an odd side has one row or column more to work on, which is cut off again
        h = F.pixel_unshuffle(F.pad(x, (0, width % 2, 0, height % 2)), 2)
        for i, layer in enumerate(self.layers):
            u = layer(h)
            if self.noise:
                gain, shift = self.noise[i](n)[:, :, None, None].chunk(2, 1)
                u = u * (1 + gain) + shift
            u = F.leaky_relu(u, 0.2)
            h = h + u if i else u
        change = F.pixel_shuffle(self.out(h), 2)[:, :, :height, :width]
        y = change + (x if self.channels == self.read else x.mean(1, keepdim=True))
        inside = y.clamp(0, 1)
        return inside + 0.1 * (y - inside)


class _VectorTranslator(nn.Module):
    """(B, d + noise) -> (B, d'): an MLP, and x itself where the sizes agree."""

    def __init__(self, size: int, out: int, noise_dim: int, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        self.size, self.skips = size, size == out
        self.body = MLP(size + noise_dim, out, hidden, norm=False, activation="leaky-relu")

    def forward(self, xn: Tensor) -> Tensor:
        change = self.body(xn)
        return xn[:, : self.size] + change if self.skips else change


def translator(shape_in: Shape, shape_out: Shape, noise_dim: int = 0) -> nn.Module:
    """The net from one domain to another, noise beside its input: a `Translator` of images, an MLP of vectors.

    Raises:
        ValueError: domains between which there is no net.
    """
    kinds = {len(shape_in), len(shape_out)}
    if kinds == {1}:
        return _VectorTranslator(shape_in[0], shape_out[0], noise_dim)
    if kinds != {3} or tuple(shape_in[1:]) != tuple(shape_out[1:]):
        raise ValueError(
            f"there is no net between examples of shape {tuple(shape_in)} and {tuple(shape_out)}; domains are vectors "
            "of any length, or images (C, H, W) of the same height and width: resize the one to the other"
        )
    return Translator(shape_in, shape_out, noise_dim)


def pair_critic(
    shape: Shape, other: Shape | None = None, *, spectral_norm: bool = False, statistics: bool = False
) -> Critic:
    """A critic of a domain, or of pairs of two domains between which there is a `translator`.

    Of images it sees the channels of both side by side; it is smaller than those of `critic`, as there are four of it.
    """
    shapes = [shape] if other is None else [shape, other]
    if len(shape) == 3 and min(shape[1:]) >= 4:
        c, (h, w) = sum(s[0] for s in shapes), (n // 4 for n in shape[1:])
        trunk = nn.Sequential(
            nn.Conv2d(c, 32, 8, 4, 2), nn.LeakyReLU(0.2),
            nn.Conv2d(32, 32, 3, 1, 1), nn.LeakyReLU(0.2), nn.Flatten(),
        )  # fmt: skip
        head = MLP(32 * h * w + statistics, 1, (64,), norm=False, activation="leaky-relu")
        made = Critic(head, trunk, statistics=statistics, joint=True)
    else:
        features = sum(math.prod(s) for s in shapes)
        head = MLP(features + statistics, 1, (128, 128), norm=False, activation="leaky-relu")
        made = Critic(head, statistics=statistics)
    if spectral_norm:
        spectral(made)
    return made


NETS = ("mlp", "shallow", "smooth", "conv", "smooth-conv", "residual", "paper")
#: what the smooth nets are as wide as, unless the name says: ``smooth:30x30``
_WIDTHS = {"smooth": (64, 64), "smooth-conv": (32, 32, 32, 32)}


def _paper_for(shape: Shape) -> str:
    c, h, w = _image(shape, "the paper's net")
    for name, (channels, side, _, _) in _PAPER.items():
        if c == channels and max(h, w) <= side and min(h, w) > side // 2:
            return name
    raise ValueError(f"the paper has no net for images of shape {tuple(shape)}; use net='conv' or 'residual'")


def _parsed(net: str) -> tuple[str, tuple[int, ...]]:
    """The name, and the widths of a smooth net."""
    name, _, widths = net.partition(":")
    if name not in NETS:
        raise ValueError(f"net is {net!r}; choose from {', '.join(NETS)}")
    if not widths:
        return name, _WIDTHS.get(name, ())
    if name not in _WIDTHS or not all(w.isdecimal() and int(w) for w in widths.split("x")):
        raise ValueError(f"net is {net!r}; widths are given to {' and '.join(_WIDTHS)} alone, as smooth:30x30")
    return name, tuple(int(w) for w in widths.split("x"))


def encoder(net: str, shape: Shape, out: int) -> nn.Module:
    """A body (B, *shape) -> (B, out) by name: `mlp`, `shallow` (one hidden layer), `conv`, `residual`, `paper`.

    `smooth` and `smooth-conv` are for where Jacobians matter: SiLU and no batch normalisation. Their widths may follow,
    as in ``smooth:30x30``; the decoder has them in reverse.
    """
    name, widths = _parsed(net)
    bodies: dict[str, Callable[[], nn.Module]] = {
        "shallow": lambda: HiddenLayer(shape, out),
        "mlp": lambda: MLP(shape, out),
        "smooth": lambda: MLP(shape, out, widths, norm=False, activation="silu"),
        "conv": lambda: ConvEncoder(shape, out),
        "smooth-conv": lambda: ConvEncoder(shape, out, widths, norm=False),
        "residual": lambda: ResidualEncoder(shape, out),
        "paper": lambda: PaperEncoder(_paper_for(shape), out),
    }
    return bodies[name]()


def decoder(net: str, latent: int, shape: Shape, *, output: str) -> nn.Module:
    """A body (B, latent) -> (B, *shape) by name, its last activation `identity` or `sigmoid`."""
    name, widths = _parsed(net)
    bodies: dict[str, Callable[[], nn.Module]] = {
        "shallow": lambda: MLP(latent, shape, (), output=output),
        "mlp": lambda: MLP(latent, shape, (256, 512), output=output),
        "smooth": lambda: MLP(latent, shape, widths[::-1], norm=False, activation="silu", output=output),
        "conv": lambda: ConvDecoder(latent, shape, output=output),
        "smooth-conv": lambda: ConvDecoder(latent, shape, widths, output=output, norm=False),
        "residual": lambda: ResidualDecoder(latent, shape, output=output),
        "paper": lambda: PaperDecoder(_paper_for(shape), latent, shape, output=output),
    }
    return bodies[name]()


def critic(
    net: str, shape: Shape | None, latent: int = 0, *, spectral_norm: bool = False, statistics: bool = False
) -> Critic:
    """A critic of (x, z), of x alone (no `latent`) or of z alone (no `shape`), beside the nets of a name.

    Leaky ReLU, no batch normalisation; `spectral_norm` divides its weights by their norms; `statistics` of `Critic`.
    """
    name, _ = _parsed(net)
    small: dict[str, Any] = {"norm": False, "activation": "leaky-relu"}
    trunk: nn.Module | None = None
    features = 0 if shape is None else math.prod(shape)
    if shape is not None and ("conv" in name or name in ("residual", "paper")):
        features = 256
        trunk = nn.Sequential(ConvEncoder(shape, features, norm=False), nn.LeakyReLU(0.2))
    wide = (128, 128) if features <= 64 else (512, 256)
    made = Critic(MLP(features + latent + statistics, 1, wide, **small), trunk, statistics=statistics)
    if spectral_norm:
        spectral(made)
    return made


def spectral(module: nn.Module, *, authors: bool = False) -> nn.Module:
    """Divide every weight matrix of `module` by its largest singular value, in place; returns the module.

    theta <- theta / s(theta), with s by one power iteration a forward pass in training, none in evaluation (Miyato et
    al., "Spectral Normalization for GANs", 2018, arXiv 1802.05957). A convolution's kernel is read as the matrix
    (out, in k k). The RAE authors' code reads a transposed one as (in, out k k): `authors=True` does so too.
    Biases and batch normalisation keep their freedom, as there.

    >>> import torch
    >>> layer = spectral(nn.Linear(4, 4))
    >>> float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) < 1.2
    True
    """
    for layer in list(module.modules()):
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            parametrizations.spectral_norm(layer, dim=0 if authors else 1)
        elif isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            parametrizations.spectral_norm(layer)
    return module
