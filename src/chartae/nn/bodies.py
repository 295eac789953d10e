"""Bodies for any vector or image: perceptrons, convolutional and residual nets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from chartae.nn.layers import MODULES, Conv2d, Linear, Shape, activation_of, image_of, output_of

__all__ = ["MLP", "ConvDecoder", "ConvEncoder", "ResidualDecoder", "ResidualEncoder"]


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
    """Sizes from the image's own down, one for each halving that leaves at least 2 pixels a side."""
    _, h, w = image_of(shape, what)
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
        sizes = halvings(shape, widths, "ConvEncoder")
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


class Resize(nn.Module):
    """Nearest-neighbour resize to a fixed size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, self.size)


class ResidualEncoder(nn.Sequential):
    """A stem, then for each width a residual block and a halving; Linear to the code."""

    def __init__(self, shape: Shape, out: int, widths: Sequence[int] = (32, 64, 128)) -> None:
        sizes = halvings(shape, widths, "ResidualEncoder")
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
        sizes = halvings(shape, widths, "ResidualDecoder")[::-1]
        widths = widths[: len(sizes) - 1][::-1]
        first = widths[0] * math.prod(sizes[0])
        layers: list[nn.Module] = [Linear(latent, first), nn.Unflatten(1, (widths[0], *sizes[0]))]
        for a, b, size in zip(widths, [*widths[1:], widths[-1]], sizes[1:], strict=True):
            layers += [_Block(a), Resize(size), nn.Conv2d(a, b, 3, 1, 1)]
        last = [_Block(widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], shape[0], 3, 1, 1), output_of(output)]
        super().__init__(*layers, *last)
