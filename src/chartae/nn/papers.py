"""The nets of "From Variational to Deterministic Autoencoders" (1903.12436), from the authors' configurations."""

from __future__ import annotations

import itertools

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from chartae.nn.layers import Conv2d, Linear, Shape, image_of, output_of

__all__ = ["PaperDecoder", "PaperEncoder"]

PAPERS = {
    "mnist": (1, 32, 4, (4, 2)),
    "cifar10": (3, 32, 4, (4, 2)),
    "celeba": (3, 64, 5, (4, 2, 1)),
}


def _paper(name: str) -> tuple[int, int, int, tuple[int, ...]]:
    if name not in PAPERS:
        raise ValueError(f"the paper has no net for {name!r}; choose from {', '.join(PAPERS)}")
    return PAPERS[name]


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
        self.shape = (channels, side, side) if shape is None else image_of(shape, "PaperDecoder")
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
        self.body = nn.Sequential(*layers, output_of(output))
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
