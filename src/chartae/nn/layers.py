"""What nets are made of: activations with their slopes and integrals, and products made fast."""

from __future__ import annotations

import functools
import math
import platform
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from chartae.maths.private import has_onednn, onednn_linear, transformed

__all__ = [
    "ACTIVATIONS", "BATCH_NORMS", "DROPOUTS", "OUTPUTS", "Activation", "Conv2d", "Linear", "draws_itself", "product",
    "spectral",
]  # fmt: skip

Shape = Sequence[int]

#: torch's layers that mix the examples of a batch, in training
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
#: torch's layers that draw random numbers, in training
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

OUTPUTS = {"identity": nn.Identity, "sigmoid": nn.Sigmoid}


def output_of(name: str) -> nn.Module:
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
MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "leaky-relu": functools.partial(nn.LeakyReLU, 0.2),
}


def activation_of(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}; choose from {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def image_of(shape: Shape, what: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(f"{what} reads images (C, H, W), but an example has shape {tuple(shape)}; use net='mlp'")
    c, h, w = shape
    return c, h, w


class _Product(torch.autograd.Function):
    """x W^T + b by oneDNN; its derivatives are such products again, so that any order of them is right."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight, bias)

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
        torch.compiler.is_compiling()  # first: compiled code breaks at the questions below
        or not large
        or not (_dense(x) and _dense(weight))
        or not _onednn()
        or torch.is_autocast_enabled("cpu")
        or transformed()
    ):
        return F.linear(x, weight, bias)
    return cast(Tensor, _Product.apply(x, weight, bias))


def _dense(matrix: Tensor) -> bool:
    return matrix.is_contiguous() or matrix.t().is_contiguous()


@functools.cache
def _onednn() -> bool:
    """Whether oneDNN is there, and the processor one on which it gains: on Intel's, MKL is at least as fast."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    name = str(capabilities().get("cpu_name")) if capabilities else platform.processor()
    return has_onednn() and "Intel" not in name


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


def draws_itself(module: nn.Module) -> bool:
    """Whether a part of `module` may draw random numbers by asking torch for them, and not through `chartae.maths`.

    That is a dropout layer, a recurrent or attention layer with dropout, or any module of a class that neither torch
    nor chartae defines.

    >>> draws_itself(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))), draws_itself(nn.Linear(2, 2))
    (True, False)
    """
    parts = list(module.modules())
    return (
        any(type(part).__module__.split(".")[0] not in ("torch", "chartae") for part in parts)
        or any(isinstance(part, (*DROPOUTS, nn.RReLU)) for part in parts)
        or any(isinstance(part, nn.RNNBase | nn.MultiheadAttention) and part.dropout > 0 for part in parts)
    )


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
        elif isinstance(layer, nn.RNNBase):
            for name in [name for name, _ in layer.named_parameters(recurse=False)]:
                if name.startswith("weight"):
                    parametrizations.spectral_norm(layer, name)
    return module
