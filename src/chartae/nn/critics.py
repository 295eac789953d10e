"""Critics (discriminators) of points and of pairs, and translators between two domains.

A critic estimates the log-ratio of two densities from samples. A translator maps one domain to another and keeps
everything in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from chartae.nn.bodies import MLP
from chartae.nn.layers import Linear, Shape, image_of, spectral

__all__ = ["Critic", "Translator", "pair_critic", "translator"]


class Critic(nn.Module):
    """A critic, or discriminator: a net T(x, z) or T(z) whose logit separates real from generated samples.

    Trained by binary cross-entropy, its optimum is the log-ratio of the two densities, log(real / generated). It is
    called with its inputs (B, ...), and returns logits (B,). A conditional critic T(x, z | c) is called with
    `condition` (B, K) as well; its head then has K more inputs, after the other inputs and before the batch statistic,
    which leaves the condition out.

    Args:
        head: net from (B, features) to (B, 1); it reads the flattened inputs, concatenated.
        trunk: net that maps the first input to (B, features) before the head; None (default) for no such net. It should
            not use batch normalisation, whose statistics would separate the two sides by themselves.
        statistics: whether the head has one more input, the last one: the standard deviation of each other input over
            the batch, averaged. It lets the critic see that a generator repeats itself (minibatch standard deviation,
            Karras et al., 2017, arXiv 1710.10196). False by default.
        joint: whether the trunk reads all inputs concatenated in dimension 1, such as the channels of two images that
            show the same scene, or only the first input (False, default).

    >>> import torch
    >>> from chartae.nn import MLP, Critic
    >>> critic = Critic(MLP(3 + 2, 1, (8,), norm=False))
    >>> critic(torch.zeros(4, 3), torch.zeros(4, 2)).shape
    torch.Size([4])
    """

    def __init__(
        self, head: nn.Module, trunk: nn.Module | None = None, *, statistics: bool = False, joint: bool = False
    ) -> None:
        super().__init__()
        self.head, self.trunk, self.statistics, self.joint = head, trunk, statistics, joint

    def forward(self, *parts: Tensor, condition: Tensor | None = None) -> Tensor:
        first, *others = (torch.cat(parts, 1),) if self.joint else parts
        features = first.flatten(1) if self.trunk is None else self.trunk(first)
        inputs = torch.cat([features, *(part.flatten(1) for part in others)], 1)
        features = inputs if condition is None else torch.cat([inputs, condition.to(inputs.dtype)], 1)
        if self.statistics:
            spread = (inputs.var(0, correction=0) + 1e-8).sqrt().mean()
            features = torch.cat([features, spread.expand(len(features), 1)], 1)
        return self.head(features)[:, 0]


# -- translators: maps between two domains that keep everything in its place -------------------------------------------


class Translator(nn.Module):
    """A net from images (C, H, W) to images (C', H, W) of another domain: x plus a local change.

    Four 3x3 convolutions act on blocks of 2x2 pixels, so that an output pixel depends on a window of at most 18x18
    pixels: the net can restyle a picture, but cannot exchange its content. The noise scales and shifts the features in
    the same way at every pixel, so that it changes the picture as a whole. An untrained net returns x, or, where the
    number of channels differs, the mean of its channels. Outside [0, 1] the output is compressed tenfold, which keeps
    training stable in its first steps.

    The noise enters as extra input channels that are constant over the image: the input has shape
    (B, C + noise_dim, H, W).

    Args:
        shape_in: shape (C, H, W) of an input image.
        shape_out: shape (C', H, W) of an output image, of the same height and width.
        noise_dim: number of noise channels; 0 (default) for a deterministic translation.
        width: number of features of the hidden layers; 16 by default.

    Raises:
        ValueError: a shape is not (C, H, W), or the heights or widths differ.

    >>> import torch
    >>> from chartae.nn import Translator
    >>> net = Translator((1, 28, 28), (3, 28, 28), noise_dim=2)
    >>> net(torch.zeros(5, 1 + 2, 28, 28)).shape
    torch.Size([5, 3, 28, 28])
    """

    def __init__(self, shape_in: Shape, shape_out: Shape, noise_dim: int = 0, width: int = 16) -> None:
        super().__init__()
        c, *size = image_of(shape_in, "Translator")
        self.channels, *other = image_of(shape_out, "Translator")
        if size != other:
            raise ValueError(
                f"images are {size[0]}x{size[1]} and {other[0]}x{other[1]}; expected the same size. Resize one of the "
                "domains to the other."
            )
        self.read = c
        self.layers = nn.ModuleList(nn.Conv2d(a, width, 3, 1, 1) for a in (4 * c, width, width))
        self.noise = nn.ModuleList(Linear(noise_dim, 2 * width) for _ in self.layers if noise_dim)
        self.out = nn.Conv2d(width, 4 * self.channels, 3, 1, 1)
        for p in self.out.parameters():
            nn.init.zeros_(p)

    def forward(self, xn: Float[Tensor, "B Cn H W"]) -> Float[Tensor, "B Co H W"]:
        x, n = xn[:, : self.read], xn[:, self.read :, 0, 0]
        height, width = x.shape[2:]
        # an odd side is padded by one row or column, which is cropped from the output
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
    """An MLP (B, d + noise) -> (B, d'), which is added to x where d = d'."""

    def __init__(self, size: int, out: int, noise_dim: int, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        self.size, self.skips = size, size == out
        self.body = MLP(size + noise_dim, out, hidden, norm=False, activation="leaky-relu")

    def forward(self, xn: Tensor) -> Tensor:
        change = self.body(xn)
        return xn[:, : self.size] + change if self.skips else change


def translator(shape_in: Shape, shape_out: Shape, noise_dim: int = 0) -> nn.Module:
    """A net from one domain to another: a `Translator` for images, an MLP for vectors.

    Noise is concatenated to the input in dimension 1: as extra values of a vector (B, d + noise_dim), or as channels
    that are constant over an image (B, C + noise_dim, H, W).

    Args:
        shape_in: shape of an example of the first domain, (d,) or (C, H, W).
        shape_out: shape of an example of the second domain, (d',) or (C', H, W).
        noise_dim: number of noise values; 0 (default) for a deterministic translation.

    Returns:
        The net. For images, and for vectors of equal length, it learns a correction to x.

    Raises:
        ValueError: one domain has vectors and the other images, or images of different height or width.

    >>> import torch
    >>> from chartae.nn import translator
    >>> translator((3,), (5,), noise_dim=2)(torch.zeros(4, 3 + 2)).shape
    torch.Size([4, 5])
    """
    kinds = {len(shape_in), len(shape_out)}
    if kinds == {1}:
        return _VectorTranslator(shape_in[0], shape_out[0], noise_dim)
    if kinds != {3} or tuple(shape_in[1:]) != tuple(shape_out[1:]):
        raise ValueError(
            f"the domains have examples of shape {tuple(shape_in)} and {tuple(shape_out)}; expected vectors of any "
            "length, or images (C, H, W) of the same height and width. Resize one of the domains to the other."
        )
    return Translator(shape_in, shape_out, noise_dim)


def pair_critic(
    shape: Shape, other: Shape | None = None, *, spectral_norm: bool = False, statistics: bool = False
) -> Critic:
    """A critic of one domain, or of pairs from two domains that a `translator` connects.

    For images it reads the channels of both, concatenated. It is smaller than a net of `critic`, because unpaired
    translation needs four critics.

    Args:
        shape: shape of an example of the first domain, (d,) or (C, H, W).
        other: shape of an example of the second domain; None (default) for a critic of the first domain only.
        spectral_norm: whether to divide each weight matrix by its largest singular value; False by default.
        statistics: whether the critic also sees the standard deviation over the batch; False by default.

    Returns:
        A `Critic`, called with one batch, or with two.

    >>> import torch
    >>> from chartae.nn import pair_critic
    >>> pair_critic((3,), (5,))(torch.zeros(4, 3), torch.zeros(4, 5)).shape
    torch.Size([4])
    """
    shapes = [shape] if other is None else [shape, other]
    if len(shape) == 3 and min(shape[1:]) >= 4:
        c, (h, w) = sum(s[0] for s in shapes), (n // 4 for n in shape[1:])
        trunk = nn.Sequential(
            nn.Conv2d(c, 32, 8, 4, 2), nn.LeakyReLU(0.2),
            nn.Conv2d(32, 32, 3, 1, 1), nn.LeakyReLU(0.2), nn.Flatten(),
        )  # fmt: skip
        head = MLP(32 * h * w + statistics, 1, (64,), norm=False, activation="leaky-relu")
        net = Critic(head, trunk, statistics=statistics, joint=True)
    else:
        features = sum(math.prod(s) for s in shapes)
        head = MLP(features + statistics, 1, (128, 128), norm=False, activation="leaky-relu")
        net = Critic(head, statistics=statistics)
    if spectral_norm:
        spectral(net)
    return net
