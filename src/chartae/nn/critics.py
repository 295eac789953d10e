"""Critics of points and of pairs, and translators between two domains that leave everything in its place."""

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
    """T(x, z) or T(z): the logit by which two laws are told apart; at the optimum log(positive / negative).

    Args:
        head: (B, features) -> (B, 1), over the flattened inputs side by side.
        trunk: what x goes through first, to (B, features); nothing by default. No batch normalisation, whose
            statistics would tell the laws apart instead.
        statistics: the head has one feature more, last: the mean standard deviation of the others over the batch, by
            which a generator that draws too much of a kind is told (Karras et al., 2017, arXiv 1710.10196).
        joint: the trunk sees all parts side by side in dimension 1, such as the channels of two images that show the
            same in the same place; otherwise x alone.

    A critic of a condition as well, T(x, z | c), has a head of K features more: the condition (B, K) stands behind the
    inputs, and before `statistics`, which do not count it.
    """

    def __init__(
        self, head: nn.Module, trunk: nn.Module | None = None, *, statistics: bool = False, joint: bool = False
    ) -> None:
        super().__init__()
        self.head, self.trunk, self.statistics, self.joint = head, trunk, statistics, joint

    def forward(self, *parts: Tensor, condition: Tensor | None = None) -> Tensor:
        first, *rest = (torch.cat(parts, 1),) if self.joint else parts
        seen = first.flatten(1) if self.trunk is None else self.trunk(first)
        inputs = torch.cat([seen, *(part.flatten(1) for part in rest)], 1)
        features = inputs if condition is None else torch.cat([inputs, condition.to(inputs.dtype)], 1)
        if self.statistics:
            spread = (inputs.var(0, correction=0) + 1e-8).sqrt().mean()
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
        c, *size = image_of(shape_in, "Translator")
        self.channels, *other = image_of(shape_out, "Translator")
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
