"""The nets of "From Variational to Deterministic Autoencoders" (arXiv 1903.12436), from its authors' configurations."""

from __future__ import annotations

import itertools

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from chartae.nn.layers import Conv2d, Linear, Shape, image_of, output_of

__all__ = ["PaperDecoder", "PaperEncoder"]

#: name -> channels, side, kernel size, multiples of `filters` in the decoder's layers
PAPERS = {
    "mnist": (1, 32, 4, (4, 2)),
    "cifar10": (3, 32, 4, (4, 2)),
    "celeba": (3, 64, 5, (4, 2, 1)),
}


def _paper(name: str) -> tuple[int, int, int, tuple[int, ...]]:
    if name not in PAPERS:
        raise ValueError(f"name is {name!r}, for which the paper has no net; choose from {', '.join(PAPERS)}")
    return PAPERS[name]


def _keras(module: nn.Module) -> None:
    """Glorot-uniform kernels and zero biases, the defaults of the authors' framework."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class PaperEncoder(nn.Module):
    """The encoder of the RAE paper: four convolutions of stride 2 with BatchNorm and ReLU, then a Linear layer.

    Images that are smaller than the paper's (28x28 instead of 32x32 for MNIST) are padded with zeros inside the net.
    For MNIST and CIFAR-10 they are then rescaled to 2x - 1, as in the paper. Ghosh et al., "From Variational to
    Deterministic Autoencoders", 2020 (arXiv 1903.12436).

    Args:
        name: data set of the paper: ``"mnist"``, ``"cifar10"`` or ``"celeba"``.
        out: number of outputs.
        filters: channels of the first convolution, which double with each; 128 (the paper's) by default.

    Raises:
        ValueError: `name` is unknown.

    >>> from chartae.nn import PaperEncoder
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
    """The decoder of the RAE paper: a Linear layer to 8x8x1024, then transposed convolutions and a sigmoid.

    Where `shape` is smaller than the paper's images (28x28 instead of 32x32 for MNIST), the output is cropped at the
    centre. Ghosh et al., "From Variational to Deterministic Autoencoders", 2020 (arXiv 1903.12436).

    Args:
        name: data set of the paper: ``"mnist"``, ``"cifar10"`` or ``"celeba"``.
        latent: number of inputs, D.
        shape: shape (C, H, W) of one image; None (default) for the paper's.
        filters: unit of the numbers of channels, >= 1; 128 (the paper's) by default. The Linear layer has 8 times as
            many channels.
        output: last activation, ``"sigmoid"`` (default) or ``"identity"``.

    Raises:
        ValueError: `name` or `output` is unknown, or `shape` is larger than the paper's images.

    >>> from chartae.nn import PaperDecoder
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
        self.shape = (channels, side, side) if shape is None else image_of(shape, "PaperDecoder")
        if self.shape[0] != channels or max(self.shape[1:]) > side:
            raise ValueError(
                f"shape is {self.shape}; expected at most ({channels}, {side}, {side}) for the paper's {name} net. "
                "Use net='conv' or net='residual'."
            )
        width = 8 * filters
        layers: list[nn.Module] = [Linear(latent, 8 * 8 * width), nn.Unflatten(1, (width, 8, 8))]
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
        self.body = nn.Sequential(*layers, output_of(output))
        self.apply(_keras)

    def forward(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        x = self.body(z)
        top, left = (x.shape[2] - self.shape[1]) // 2, (x.shape[3] - self.shape[2]) // 2
        return x[:, :, top : top + self.shape[1], left : left + self.shape[2]]


class _Crop(nn.Module):
    """Crops the output of a transposed convolution with padding 1 to the multiple of 8 that "same" padding gives."""

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[2] // 8 * 8
        return x[:, :, :side, :side]
