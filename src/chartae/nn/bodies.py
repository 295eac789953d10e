"""Nets for vectors and images: multilayer perceptrons, convolutional and residual nets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from chartae.nn.layers import MODULES, Conv2d, Linear, Shape, activation_of, image_of, output_of

__all__ = ["MLP", "ConvDecoder", "ConvEncoder", "ResidualDecoder", "ResidualEncoder"]


class MLP(nn.Sequential):
    """A multilayer perceptron between vectors or images.

    The input is flattened. Each hidden layer is Linear, BatchNorm (if `norm`) and an activation; a last Linear layer is
    reshaped to `shape_out`. Where Jacobians of the net matter, use a smooth activation and ``norm=False``.

    Args:
        shape_in: shape of one input; an int D stands for (D,).
        shape_out: shape of one output; an int D stands for (D,).
        hidden: widths of the hidden layers; (512, 256) by default; empty for a linear map.
        norm: whether to use batch normalisation in the hidden layers; True by default.
        activation: name of the activation, a key of `ACTIVATIONS`; ``"relu"`` by default.
        output: last activation, ``"identity"`` (default) or ``"sigmoid"``.

    Raises:
        ValueError: `activation` or `output` is unknown.

    >>> import torch
    >>> from chartae.nn import MLP
    >>> net = MLP((1, 28, 28), 16)
    >>> net(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 16])
    >>> sum(p.numel() for p in MLP(3, 2, hidden=()).parameters())  # 3 x 2 weights and 2 biases
    8
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
        activation_of(activation)
        shape_in = (shape_in,) if isinstance(shape_in, int) else tuple(shape_in)
        shape_out = (shape_out,) if isinstance(shape_out, int) else tuple(shape_out)
        layers: list[nn.Module] = [nn.Flatten()] if len(shape_in) > 1 else []
        width = math.prod(shape_in)
        for h in hidden:
            layers.append(Linear(width, h))
            if norm:
                layers.append(nn.BatchNorm1d(h))
            layers.append(MODULES[activation]())
            width = h
        layers += [Linear(width, math.prod(shape_out)), output_of(output)]
        if len(shape_out) > 1:
            layers.append(nn.Unflatten(1, shape_out))
        super().__init__(*layers)


def halvings(shape: Shape, widths: Sequence[int], what: str) -> list[tuple[int, int]]:
    """Sizes (height, width) of the image before and after each halving, at most one halving for each width.

    Halving stops before a side would have fewer than 2 pixels.
    """
    _, h, w = image_of(shape, what)
    sizes = [(h, w)]
    for _ in widths:
        h, w = h // 2, w // 2
        if min(h, w) < 2:
            break
        sizes.append((h, w))
    if len(sizes) == 1:
        raise ValueError(
            f"images are {shape[1]}x{shape[2]}, too small for {what}; expected at least 4x4. Use net='mlp'."
        )
    return sizes


class ConvEncoder(nn.Sequential):
    """A convolutional encoder for images of any size.

    For each width, a 4x4 convolution of stride 2, BatchNorm and ReLU; then a Linear layer to the output. Halving stops
    before a side would have fewer than 2 pixels, so small images use only the first widths.

    Args:
        shape: shape (C, H, W) of one image; H and W at least 4.
        out: number of outputs.
        widths: channels after each halving; (32, 64, 128) by default.
        norm: whether to use batch normalisation; True by default. False replaces BatchNorm and ReLU by SiLU, which
            suits objectives that use Jacobians.

    Raises:
        ValueError: `shape` is not (C, H, W), or the image is smaller than 4x4.

    >>> import torch
    >>> from chartae.nn import ConvEncoder
    >>> ConvEncoder((3, 17, 30), 8)(torch.zeros(2, 3, 17, 30)).shape
    torch.Size([2, 8])
    """

    def __init__(self, shape: Shape, out: int, widths: Sequence[int] = (32, 64, 128), *, norm: bool = True) -> None:
        sizes = halvings(shape, widths, "ConvEncoder")
        channels = [shape[0], *widths[: len(sizes) - 1]]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(channels):
            layers.append(Conv2d(a, b, 4, 2, 1, bias=not norm))
            layers += [nn.BatchNorm2d(b), nn.ReLU()] if norm else [nn.SiLU()]
        super().__init__(*layers, nn.Flatten(), Linear(channels[-1] * math.prod(sizes[-1]), out))


class ConvDecoder(nn.Sequential):
    """A convolutional decoder, the mirror image of `ConvEncoder`.

    A Linear layer to a small feature map, then 4x4 transposed convolutions of stride 2 up to (C, H, W), with BatchNorm
    and ReLU before each.

    Args:
        latent: number of inputs, D.
        shape: shape (C, H, W) of one image; H and W at least 4.
        widths: channels as the encoder has them, from the image inwards; (32, 64, 128) by default.
        output: last activation, ``"sigmoid"`` (default, for data in [0, 1]) or ``"identity"``.
        norm: whether to use batch normalisation; True by default. False replaces BatchNorm and ReLU by SiLU.

    Raises:
        ValueError: `shape` is not (C, H, W), the image is smaller than 4x4, or `output` is unknown.

    >>> import torch
    >>> from chartae.nn import ConvDecoder
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
        sizes = halvings(shape, widths, "ConvDecoder")[::-1]
        channels = [shape[0], *widths[: len(sizes) - 1]][::-1]
        width = channels[0] * math.prod(sizes[0])
        layers: list[nn.Module] = [Linear(latent, width), nn.Unflatten(1, (channels[0], *sizes[0]))]
        for a, b, small, large in zip(channels, channels[1:], sizes, sizes[1:], strict=False):
            odd = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            between: list[nn.Module] = [nn.BatchNorm2d(a), nn.ReLU()] if norm else [nn.SiLU()]
            layers += [*between, nn.ConvTranspose2d(a, b, 4, 2, 1, output_padding=odd)]
        super().__init__(*layers, output_of(output))


class _Block(nn.Module):
    """A pre-activation residual block: x + Conv(ReLU(BN(Conv(ReLU(BN(x))))))."""

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


class Resize(nn.Module):
    """Nearest-neighbour resizing to a fixed (height, width)."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, self.size)


class ResidualEncoder(nn.Sequential):
    """A residual convolutional encoder for images of any size.

    A 3x3 convolution, then for each width a pre-activation residual block and a 4x4 convolution of stride 2; a last
    residual block, ReLU and a Linear layer. Halving stops before a side would have fewer than 2 pixels.

    Args:
        shape: shape (C, H, W) of one image; H and W at least 4.
        out: number of outputs.
        widths: channels at each size; (32, 64, 128) by default.

    Raises:
        ValueError: `shape` is not (C, H, W), or the image is smaller than 4x4.

    >>> import torch
    >>> from chartae.nn import ResidualEncoder
    >>> ResidualEncoder((1, 8, 8), 5, widths=(4, 8))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 5])
    """

    def __init__(self, shape: Shape, out: int, widths: Sequence[int] = (32, 64, 128)) -> None:
        sizes = halvings(shape, widths, "ResidualEncoder")
        widths = widths[: len(sizes) - 1]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], widths[0], 3, 1, 1)]
        for a, b in zip(widths, [*widths[1:], widths[-1]], strict=True):
            layers += [_Block(a), Conv2d(a, b, 4, 2, 1)]
        width = widths[-1] * math.prod(sizes[-1])
        super().__init__(*layers, _Block(widths[-1]), nn.ReLU(), nn.Flatten(), Linear(width, out))


class ResidualDecoder(nn.Sequential):
    """A residual convolutional decoder, the mirror image of `ResidualEncoder`.

    A Linear layer to a small feature map, then at each size a pre-activation residual block, nearest-neighbour
    resizing and a 3x3 convolution, up to (C, H, W).

    Args:
        latent: number of inputs, D.
        shape: shape (C, H, W) of one image; H and W at least 4.
        widths: channels as the encoder has them, from the image inwards; (32, 64, 128) by default.
        output: last activation, ``"sigmoid"`` (default, for data in [0, 1]) or ``"identity"``.

    Raises:
        ValueError: `shape` is not (C, H, W), the image is smaller than 4x4, or `output` is unknown.

    >>> import torch
    >>> from chartae.nn import ResidualDecoder
    >>> ResidualDecoder(5, (1, 8, 8), widths=(4, 8))(torch.zeros(2, 5)).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self, latent: int, shape: Shape, widths: Sequence[int] = (32, 64, 128), *, output: str = "sigmoid"
    ) -> None:
        sizes = halvings(shape, widths, "ResidualDecoder")[::-1]
        widths = widths[: len(sizes) - 1][::-1]
        first = widths[0] * math.prod(sizes[0])
        layers: list[nn.Module] = [Linear(latent, first), nn.Unflatten(1, (widths[0], *sizes[0]))]
        for a, b, size in zip(widths, [*widths[1:], widths[-1]], sizes[1:], strict=True):
            layers += [_Block(a), Resize(size), nn.Conv2d(a, b, 3, 1, 1)]
        last = [_Block(widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], shape[0], 3, 1, 1), output_of(output)]
        super().__init__(*layers, *last)
