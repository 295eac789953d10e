"""Nets by name: `encoder`, `decoder` and `critic` build one; `NETS` lists the names."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from chartae.nn.bodies import MLP, ConvDecoder, ConvEncoder, ResidualDecoder, ResidualEncoder
from chartae.nn.critics import Critic
from chartae.nn.denoisers import HiddenLayer
from chartae.nn.layers import Shape, image_of, spectral
from chartae.nn.papers import PAPERS, PaperDecoder, PaperEncoder
from chartae.records.choices import one_of

__all__ = ["NETS", "critic", "decoder", "encoder"]

NETS = ("mlp", "shallow", "smooth", "conv", "smooth-conv", "residual", "paper")

#: default widths of the nets whose name may give others: ``smooth:30x30``, ``conv:16x32x64``
_WIDTHS = {"smooth": (64, 64), "conv": (32, 64, 128), "smooth-conv": (32, 32, 32, 32)}


def _paper_for(shape: Shape) -> str:
    c, h, w = image_of(shape, "the paper's net")
    for name, (channels, side, _, _) in PAPERS.items():
        if c == channels and max(h, w) <= side and min(h, w) > side // 2:
            return name
    raise ValueError(
        f"net is 'paper', but the paper has no net for images of shape {tuple(shape)}; expected grey images of 17 to "
        "32 pixels a side, or colour images of 17 to 32 or 33 to 64. Use net='conv' or net='residual'."
    )


#: channels of the first convolution of the paper's encoder
_FILTERS = 128


def _filters(width: str, net: str) -> int:
    """Channels of the first convolution of the paper's net, for a width relative to the paper's."""
    try:
        filters = round(_FILTERS * float(width))
    except (ValueError, OverflowError):
        filters = 0
    if not 1 <= filters <= 8 * _FILTERS:
        raise ValueError(
            f"net is {net!r}; expected a factor on the paper's width after the colon, 0.01 to 8, as in paper:0.25"
        )
    return filters


def _parsed(net: str) -> tuple[str, tuple[int, ...]]:
    """The name of a net, and its widths where it has any."""
    name, _, widths = net.partition(":")
    if name == "paper":
        return name, (_filters(widths or "1", net),)
    if name not in NETS:
        raise ValueError(f"net is {net!r}; {one_of(net, NETS)}")
    if not widths:
        return name, _WIDTHS.get(name, ())
    if name not in _WIDTHS or not all(w.isdecimal() and int(w) for w in widths.split("x")):
        raise ValueError(
            f"net is {net!r}; expected whole numbers as widths, as in smooth:30x30, and only for {', '.join(_WIDTHS)}"
        )
    return name, tuple(int(w) for w in widths.split("x"))


def encoder(net: str, shape: Shape, out: int) -> nn.Module:
    """An encoder net (B, *shape) -> (B, out), by name.

    - ``"mlp"``: a perceptron of widths 512, 256;
    - ``"shallow"``: one hidden layer, the code itself;
    - ``"smooth"``, ``"smooth-conv"``: a perceptron and a convolutional net with SiLU and without batch normalisation,
      for objectives that use Jacobians;
    - ``"conv"``: a convolutional net, `ConvEncoder`;
    - ``"residual"``: a residual net, `ResidualEncoder`;
    - ``"paper"``: the net of the RAE paper (arXiv 1903.12436) for MNIST, CIFAR-10 or CelebA, whichever the image fits.

    Widths may follow the name of ``"smooth"``, ``"smooth-conv"`` and ``"conv"``, as in ``"smooth:30x30"`` or
    ``"conv:16x32x64"``. The name ``"paper"`` may be followed by a factor on the paper's numbers of channels:
    ``"paper:0.25"`` is a quarter as wide.

    Args:
        net: one of `NETS`, with or without widths.
        shape: shape of one example, (d,) or (C, H, W).
        out: number of outputs.

    Returns:
        The net, with fresh weights.

    Raises:
        ValueError: the name or its widths are unknown, or the net cannot read examples of this shape.

    >>> import torch
    >>> from chartae.nn import encoder
    >>> encoder("smooth:30x30", (7,), 2)(torch.zeros(4, 7)).shape
    torch.Size([4, 2])
    """
    name, widths = _parsed(net)
    bodies: dict[str, Callable[[], nn.Module]] = {
        "shallow": lambda: HiddenLayer(shape, out),
        "mlp": lambda: MLP(shape, out),
        "smooth": lambda: MLP(shape, out, widths, norm=False, activation="silu"),
        "conv": lambda: ConvEncoder(shape, out, widths),
        "smooth-conv": lambda: ConvEncoder(shape, out, widths, norm=False),
        "residual": lambda: ResidualEncoder(shape, out),
        "paper": lambda: PaperEncoder(_paper_for(shape), out, filters=widths[0]),
    }
    return bodies[name]()


def decoder(net: str, latent: int, shape: Shape, *, output: str) -> nn.Module:
    """A decoder net (B, latent) -> (B, *shape), by name: the counterpart of `encoder`.

    Args:
        net: one of `NETS`: ``"mlp"``, ``"shallow"`` (a linear map), ``"smooth"``, ``"conv"``, ``"smooth-conv"``,
            ``"residual"`` or ``"paper"``. Widths may follow as for the encoder, which are used in reverse.
        latent: number of inputs, D.
        shape: shape of one example, (d,) or (C, H, W).
        output: last activation, ``"identity"`` or ``"sigmoid"``.

    Returns:
        The net, with fresh weights.

    Raises:
        ValueError: the name, its widths or `output` are unknown, or the net cannot draw examples of this shape.

    >>> import torch
    >>> from chartae.nn import decoder
    >>> decoder("conv:8x16", 2, (3, 8, 8), output="sigmoid")(torch.zeros(4, 2)).shape
    torch.Size([4, 3, 8, 8])
    """
    name, widths = _parsed(net)
    bodies: dict[str, Callable[[], nn.Module]] = {
        "shallow": lambda: MLP(latent, shape, (), output=output),
        "mlp": lambda: MLP(latent, shape, (256, 512), output=output),
        "smooth": lambda: MLP(latent, shape, widths[::-1], norm=False, activation="silu", output=output),
        "conv": lambda: ConvDecoder(latent, shape, widths, output=output),
        "smooth-conv": lambda: ConvDecoder(latent, shape, widths, output=output, norm=False),
        "residual": lambda: ResidualDecoder(latent, shape, output=output),
        "paper": lambda: PaperDecoder(_paper_for(shape), latent, shape, filters=widths[0], output=output),
    }
    return bodies[name]()


def critic(
    net: str,
    shape: Shape | None,
    latent: int = 0,
    *,
    condition: int = 0,
    spectral_norm: bool = False,
    statistics: bool = False,
) -> Critic:
    """A critic (discriminator) of (x, z), of x or of z, of the same kind as the nets of a name.

    It uses leaky ReLU and no batch normalisation. With a convolutional or residual net, a convolutional trunk reads x.

    Args:
        net: one of `NETS`, with or without widths, which are ignored.
        shape: shape of one example; None for a critic of z only.
        latent: number of values in a code, D; 0 (default) for a critic of x only.
        condition: number of values in a condition, K; 0 (default) for an unconditional critic.
        spectral_norm: whether to divide each weight matrix by its largest singular value; False by default.
        statistics: whether the critic also sees the standard deviation over the batch, averaged over its inputs, by
            which it notices repeated samples; False by default.

    Returns:
        A `Critic`, called as ``critic(x, z)``, ``critic(x)`` or ``critic(z)``, and with ``condition=`` where K > 0.

    Raises:
        ValueError: the name or its widths are unknown, or the net cannot read examples of this shape.

    >>> import torch
    >>> from chartae.nn import critic
    >>> critic("mlp", (7,), 2)(torch.zeros(4, 7), torch.zeros(4, 2)).shape
    torch.Size([4])
    """
    name, _ = _parsed(net)
    trunk: nn.Module | None = None
    features = 0 if shape is None else math.prod(shape)
    if shape is not None and ("conv" in name or name in ("residual", "paper")):
        features = 256
        trunk = nn.Sequential(ConvEncoder(shape, features, norm=False), nn.LeakyReLU(0.2))
    wide = (128, 128) if features <= 64 else (512, 256)
    body = MLP(features + latent + condition + statistics, 1, wide, norm=False, activation="leaky-relu")
    result = Critic(body, trunk, statistics=statistics)
    if spectral_norm:
        spectral(result)
    return result
