"""Building blocks of nets: activations with their derivatives and integrals, and fast matrix products."""

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
from chartae.records.choices import one_of

__all__ = [
    "ACTIVATIONS", "BATCH_NORMS", "DROPOUTS", "OUTPUTS", "Activation", "Conv2d", "Linear", "draws_itself", "product",
    "spectral",
]  # fmt: skip

Shape = Sequence[int]

#: torch's layers that mix the examples of a batch in training
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
#: torch's layers that draw random numbers in training
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

OUTPUTS = {"identity": nn.Identity, "sigmoid": nn.Sigmoid}


def output_of(name: str) -> nn.Module:
    if name not in OUTPUTS:
        raise ValueError(f"output is {name!r}; {one_of(name, OUTPUTS)}")
    return OUTPUTS[name]()


def _log_cosh(a: Tensor) -> Tensor:
    return a.abs() + F.softplus(-2 * a.abs()) - math.log(2)


class Activation(NamedTuple):
    """An activation φ, its derivative, and its integral where that is elementary."""

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
        raise ValueError(f"activation is {name!r}; {one_of(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]


def image_of(shape: Shape, what: str) -> tuple[int, int, int]:
    """A shape as (C, H, W); a ValueError says that `what` reads images where it has another number of dimensions."""
    if len(shape) != 3:
        raise ValueError(f"{what} reads images (C, H, W), but an example has shape {tuple(shape)}; use net='mlp'")
    c, h, w = shape
    return c, h, w


class _Product(torch.autograd.Function):
    """x W^T + b by oneDNN; its derivatives are such products again, so that it can be differentiated to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (x, weight), needed = gradients, ctx.saved_tensors, ctx.needs_input_grad
        return (
            product(g, weight.t()) if needed[0] else None,
            product(g.t(), x.t()) if needed[1] else None,
            g.sum(0) if needed[2] else None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, as `torch.nn.functional.linear`, but on some CPUs twice as fast (`benchmarks/linear.py`).

    torch computes such products by MKL, which uses half of an AMD processor's speed. oneDNN, which torch uses for
    convolutions, uses all of it. Intel processors, and anything but contiguous float32 matrices, use torch's `linear`:
    on a slice of a wider matrix, oneDNN falls back to a loop that is a thousand times slower.
    """
    plain = x.ndim == 2 and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    large = plain and x.shape[0] >= 16 and weight.numel() >= 1 << 15
    if (
        torch.compiler.is_compiling()  # first, as the checks below break a compiled graph
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
    """Whether oneDNN is available and pays off; on Intel's processors, MKL is at least as fast."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    name = str(capabilities().get("cpu_name")) if capabilities else platform.processor()
    return has_onednn() and "Intel" not in name


class Linear(nn.Linear):
    """`torch.nn.Linear`, x W^T + b, computed by oneDNN on CPUs where that is faster.

    Args:
        in_features: size of an input.
        out_features: size of an output.
        bias: whether to add a learnt bias b; True by default.
        device: device of the parameters.
        dtype: dtype of the parameters.

    >>> import torch
    >>> from chartae.nn import Linear
    >>> layer, x = Linear(64, 64), torch.randn(32, 64)
    >>> torch.allclose(layer(x), x @ layer.weight.T + layer.bias, atol=1e-5)
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        return product(input, self.weight, self.bias)


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, computed on a CPU as a matrix product where the output has at most 4 pixels.

    There, as in the last layer of an encoder, the backward pass of torch's convolution takes two to four times as long
    as a product (`benchmarks/convolution.py`). Where the output is one pixel, the product leaves out the part of the
    kernel that covers only padding.

    Args:
        in_channels: channels of an input.
        out_channels: channels of an output.
        kernel_size: height and width of the kernel, one number or a pair.
        stride: step of the kernel; 1 by default.
        padding: zeros added on each side, or ``"valid"`` or ``"same"``; 0 by default.
        dilation: spacing of the kernel's elements; 1 by default.
        groups: number of blocks of channels without connections between them; 1 by default.
        bias: whether to add a learnt bias; True by default.
        padding_mode: ``"zeros"`` (default), ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device: device of the parameters.
        dtype: dtype of the parameters.

    >>> import torch
    >>> from chartae.nn import Conv2d
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
    """Whether a part of `module` may draw random numbers from torch's global generator, not through `chartae.maths`.

    This holds for dropout layers, for recurrent and attention layers with dropout, and for every module whose class
    neither torch nor chartae defines.

    Args:
        module: the module, whose submodules are checked too.

    Returns:
        True if any part may draw random numbers from torch's global generator.

    >>> from torch import nn
    >>> from chartae.nn import draws_itself
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
    """Spectral normalisation: divide every weight matrix of `module` by its largest singular value, in place.

    theta <- theta / s(theta), where s is estimated by one power iteration in each forward pass in training, and is kept
    in evaluation. The kernel of a convolution is read as a matrix (out, in k k). Biases and batch normalisation are not
    constrained. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018 (arXiv 1802.05957).

    Args:
        module: the module; its linear, convolutional and recurrent layers are normalised.
        authors: whether to read the kernel of a transposed convolution as (in, out k k), as the code of the RAE paper
            (arXiv 1903.12436) does; False by default.

    Returns:
        The same module.

    >>> import torch
    >>> from chartae.nn import spectral
    >>> _ = torch.manual_seed(0)
    >>> layer = spectral(torch.nn.Linear(4, 4))
    >>> round(float(torch.linalg.matrix_norm(layer.weight.detach(), 2)), 2)  # the largest singular value
    1.0
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
