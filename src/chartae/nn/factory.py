"""Nets by name: `encoder`, `decoder` and `critic` build one; `NETS` lists them."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from chartae.nn.bodies import MLP, ConvDecoder, ConvEncoder, ResidualDecoder, ResidualEncoder
from chartae.nn.critics import Critic
from chartae.nn.denoisers import HiddenLayer
from chartae.nn.layers import Shape, image_of, spectral
from chartae.nn.papers import PAPERS, PaperDecoder, PaperEncoder

__all__ = ["NETS", "critic", "decoder", "encoder"]

NETS = ("mlp", "shallow", "smooth", "conv", "smooth-conv", "residual", "paper")

#: how wide nets are whose name may say: ``smooth:30x30``, ``conv:16x32x64``
_WIDTHS = {"smooth": (64, 64), "conv": (32, 64, 128), "smooth-conv": (32, 32, 32, 32)}


def _paper_for(shape: Shape) -> str:
    c, h, w = image_of(shape, "the paper's net")
    for name, (channels, side, _, _) in PAPERS.items():
        if c == channels and max(h, w) <= side and min(h, w) > side // 2:
            return name
    raise ValueError(f"the paper has no net for images of shape {tuple(shape)}; use net='conv' or 'residual'")


def _parsed(net: str) -> tuple[str, tuple[int, ...]]:
    """The name, and the widths of a net that has some."""
    name, _, widths = net.partition(":")
    if name not in NETS:
        raise ValueError(f"net is {net!r}; choose from {', '.join(NETS)}")
    if not widths:
        return name, _WIDTHS.get(name, ())
    if name not in _WIDTHS or not all(w.isdecimal() and int(w) for w in widths.split("x")):
        raise ValueError(f"net is {net!r}; widths are given to {', '.join(_WIDTHS)} alone, as smooth:30x30")
    return name, tuple(int(w) for w in widths.split("x"))


def encoder(net: str, shape: Shape, out: int) -> nn.Module:
    """A body (B, *shape) -> (B, out) by name: `mlp`, `shallow` (one hidden layer), `conv`, `residual`, `paper`.

    `smooth` and `smooth-conv` are for where Jacobians matter: SiLU and no batch normalisation. Widths of these and of
    `conv` may follow, as in ``smooth:30x30`` or ``conv:16x32x64``; the decoder has them in reverse.
    """
    name, widths = _parsed(net)
    bodies: dict[str, Callable[[], nn.Module]] = {
        "shallow": lambda: HiddenLayer(shape, out),
        "mlp": lambda: MLP(shape, out),
        "smooth": lambda: MLP(shape, out, widths, norm=False, activation="silu"),
        "conv": lambda: ConvEncoder(shape, out, widths),
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
        "conv": lambda: ConvDecoder(latent, shape, widths, output=output),
        "smooth-conv": lambda: ConvDecoder(latent, shape, widths, output=output, norm=False),
        "residual": lambda: ResidualDecoder(latent, shape, output=output),
        "paper": lambda: PaperDecoder(_paper_for(shape), latent, shape, output=output),
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
    """A critic of (x, z), of x alone (no `latent`) or of z alone (no `shape`), beside the nets of a name.

    Leaky ReLU, no batch normalisation; `condition` features more, of a condition, where it is told one;
    `spectral_norm` divides its weights by their norms; `statistics` of `Critic`.
    """
    name, _ = _parsed(net)
    trunk: nn.Module | None = None
    features = 0 if shape is None else math.prod(shape)
    if shape is not None and ("conv" in name or name in ("residual", "paper")):
        features = 256
        trunk = nn.Sequential(ConvEncoder(shape, features, norm=False), nn.LeakyReLU(0.2))
    wide = (128, 128) if features <= 64 else (512, 256)
    body = MLP(features + latent + condition + statistics, 1, wide, norm=False, activation="leaky-relu")
    made = Critic(body, trunk, statistics=statistics)
    if spectral_norm:
        spectral(made)
    return made
