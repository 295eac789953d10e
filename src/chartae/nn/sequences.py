"""Nets that read sequences of indices into a code, and write logits over the next index from one.

A sequence is a row of whole numbers (B, T), as floats or integers, filled up with `padding` behind its end; an encoder
maps it to (B, out), whatever padding there is. A decoder maps codes and the true sequences to logits (B, T, size) all
at once (`forward`), and goes on step by step from what was taken so far (`begin`, `step`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "SEQUENCE_NETS",
    "ConvGRUEncoder",
    "GRUDecoder",
    "GrammarDecoder",
    "GrammarEncoder",
    "SequenceDecoder",
    "TransformerDecoder",
    "TransformerEncoder",
    "sequence_decoder",
    "sequence_encoder",
]

#: what a decoder keeps from one step to the next
S = TypeVar("S")

SEQUENCE_NETS = ("gru", "transformer", "paper")


def lengths_of(x: Int[Tensor, "B T"], padding: int) -> Int[Tensor, " B"]:
    """Indices in each row before its padding."""
    return (x != padding).sum(1)


# -- encoders ---------------------------------------------------------------------------------------------------------


class ConvGRUEncoder(nn.Module):
    """Sequences of any length -> (B, out): three convolutions of stride 2, and a GRU over what is left.

    What lies behind a sequence's end counts for nothing, so that a code does not depend on the padding.
    """

    def __init__(self, size: int, padding: int, out: int, width: int = 128, hidden: int = 256) -> None:
        super().__init__()
        self.padding = padding
        self.embedding = nn.Embedding(size, width)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 5, 2, 2) for _ in range(3))
        self.gru = nn.GRU(width, hidden)
        self.out = nn.Linear(hidden, out)

    def forward(self, x: Num[Tensor, "B T"]) -> Float[Tensor, "B out"]:
        x = x.long()
        length = lengths_of(x, self.padding).clamp_min(1)
        x = x[:, : int(length.max())]
        h = self.embedding(x).transpose(1, 2)
        h = h * _before(length, h.shape[2])
        for layer in self.layers:
            length = (length + 1) // 2
            h = F.gelu(layer(h))
            h = h * _before(length, h.shape[2])
        states, _ = self.gru(h.permute(2, 0, 1))
        last = states[length - 1, torch.arange(len(x), device=x.device)]
        return self.out(last)


def _before(length: Tensor, size: int) -> Tensor:
    """(B, 1, size) of 1 before the end of each row, 0 behind it."""
    return (torch.arange(size, device=length.device) < length[:, None])[:, None]


class GrammarEncoder(nn.Module):
    """The encoder of the grammar VAE: three valid convolutions over one-hot rows, and a dense layer.

    Kusner, Paige, Hernández-Lobato, 2017 (arXiv 1703.01925), as its authors' code has it: 9, 9, 10 filters of width 9,
    9, 11 and 435 units for molecules (277 rows); 2, 3, 4 filters of width 2, 3, 4, batch normalisation behind each
    ReLU, and 100 units for expressions (15 or 19 rows).

    >>> sum(p.numel() for p in GrammarEncoder(76, 75, 277, 56).parameters())
    1124604
    """

    def __init__(self, size: int, padding: int, length: int, out: int) -> None:
        super().__init__()
        self.size, self.padding, self.length = size, padding, length
        filters, widths, units, norm = _paper(length)
        if length < sum(widths) - 2:
            raise ValueError(f"the paper's net reads {sum(widths) - 2} rows or more, not {length}; use net='gru'")
        layers: list[nn.Module] = []
        channels = size
        for count, width in zip(filters, widths, strict=True):
            layers += [nn.Conv1d(channels, count, width), nn.ReLU()]
            layers += [nn.BatchNorm1d(count)] if norm else []
            channels, length = count, length - width + 1
        self.net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels * length, units), nn.ReLU(), nn.Linear(units, out)
        )

    def forward(self, x: Num[Tensor, "B T"]) -> Float[Tensor, "B out"]:
        x = x.long()
        if x.shape[1] > self.length and bool((x[:, self.length :] != self.padding).any()):
            longest = int(lengths_of(x, self.padding).max())
            raise ValueError(f"a sequence has {longest} indices; this net was built for {self.length}: use net='gru'")
        x = F.pad(x[:, : self.length], (0, max(0, self.length - x.shape[1])), value=self.padding)
        return self.net(F.one_hot(x, self.size).transpose(1, 2).to(self.net[0].weight.dtype))  # type: ignore[arg-type]


def _paper(length: int) -> tuple[tuple[int, ...], tuple[int, ...], int, bool]:
    """Filters, their widths, units and whether there is batch normalisation: of expressions, or of molecules."""
    return ((2, 3, 4), (2, 3, 4), 100, True) if length <= 32 else ((9, 9, 10), (9, 9, 11), 435, False)


class TransformerEncoder(nn.Module):
    """Sequences of any length -> (B, out): pre-normalised blocks, and the mean over places before the end."""

    def __init__(self, size: int, padding: int, out: int, width: int = 128, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.padding = padding
        self.embedding = nn.Embedding(size, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, out)

    def forward(self, x: Num[Tensor, "B T"]) -> Float[Tensor, "B out"]:
        x = x.long()
        length = lengths_of(x, self.padding).clamp_min(1)
        x = x[:, : int(length.max())]
        there = torch.arange(x.shape[1], device=x.device) < length[:, None]
        h = self.embedding(x) + _places(0, x.shape[1], self.embedding.weight)
        for block in self.blocks:
            h, _ = block(h, there[:, None, None, :])
        h = self.norm(h) * there[..., None]
        return self.out(h.sum(1) / length[:, None])


# -- decoders ---------------------------------------------------------------------------------------------------------


class SequenceDecoder(nn.Module, ABC, Generic[S]):
    """Logits over the next index from a code, what was taken before, and what is on top of the stack now.

    `tops` are the nonterminals that the indices of a derivation stand for, known from those before it; all 0 where
    there is no stack.
    """

    @abstractmethod
    def forward(
        self, z: Float[Tensor, "B D"], before: Int[Tensor, "B T"], tops: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T size"]:
        """Logits at all places at once, `before` being what was taken before each (the padding at the first)."""

    @abstractmethod
    def begin(self, z: Float[Tensor, "B D"]) -> S:
        """The state before the first step."""

    @abstractmethod
    def step(self, before: Int[Tensor, " B"], top: Int[Tensor, " B"], state: S) -> tuple[Tensor, S]:
        """Logits (B, size) of the next place, and the state behind it."""


class GRUDecoder(SequenceDecoder[tuple[Tensor, Tensor]]):
    """A GRU that sees the code, the index before and the top of the stack at each step; the code is its first state."""

    def __init__(self, latent: int, size: int, tops: int, hidden: int = 256, width: int = 64) -> None:
        super().__init__()
        self.before, self.top = nn.Embedding(size, width), nn.Embedding(tops, width)
        self.code = nn.Linear(latent, width)
        self.first = nn.Linear(latent, hidden)
        self.gru = nn.GRU(2 * width, hidden)
        self.out = nn.Linear(hidden, size)

    def _seen(self, code: Tensor, before: Tensor, top: Tensor) -> Tensor:
        return torch.cat([self.before(before) + self.top(top), code.expand(*before.shape, -1)], -1)

    def forward(self, z: Tensor, before: Tensor, tops: Tensor) -> Tensor:
        seen = self._seen(self.code(z)[None], before.T, tops.T)
        states, _ = self.gru(seen, self.first(z).tanh()[None])
        return self.out(states).transpose(0, 1)

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.code(z)[None], self.first(z).tanh()[None]

    def step(self, before: Tensor, top: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        code, hidden = state
        out, hidden = self.gru(self._seen(code, before[None], top[None]), hidden)
        return self.out(out[0]), (code, hidden)


class GrammarDecoder(SequenceDecoder[tuple[Tensor, int]]):
    """The decoder of the grammar VAE: the code, repeated, through three GRUs; it does not see what was taken.

    Kusner, Paige, Hernández-Lobato, 2017 (arXiv 1703.01925): 501 units for molecules, 100 for expressions, where a
    batch normalisation comes first. torch's GRU has two biases a gate and applies its reset gate behind the product.
    """

    def __init__(self, latent: int, size: int, length: int) -> None:
        super().__init__()
        self.length, small = length, length <= 32
        norm: list[nn.Module] = [nn.BatchNorm1d(latent)] if small else []
        self.code = nn.Sequential(*norm, nn.Linear(latent, latent), nn.ReLU())
        self.gru = nn.GRU(latent, 100 if small else 501, 3)
        self.out = nn.Linear(100 if small else 501, size)

    def _all(self, z: Tensor) -> Tensor:
        states, _ = self.gru(self.code(z)[None].expand(self.length, -1, -1))
        return self.out(states)

    def forward(self, z: Tensor, before: Tensor, tops: Tensor) -> Tensor:
        if before.shape[1] > self.length:
            raise ValueError(f"a sequence has {before.shape[1]} steps; this net writes {self.length}: use net='gru'")
        return self._all(z).transpose(0, 1)[:, : before.shape[1]]

    def begin(self, z: Tensor) -> tuple[Tensor, int]:
        return self._all(z), 0

    def step(self, before: Tensor, top: Tensor, state: tuple[Tensor, int]) -> tuple[Tensor, tuple[Tensor, int]]:
        logits, t = state
        if t >= self.length:
            raise ValueError(f"this net writes {self.length} steps and no more; lower the limit, or use net='gru'")
        return logits[t], (logits, t + 1)


#: the code (B, 1, width), the keys and values of every block so far, and how many steps there were
_Kept = tuple[Tensor, list[tuple[Tensor, Tensor] | None], int]


class TransformerDecoder(SequenceDecoder[_Kept]):
    """Causal blocks over what was taken before, the code being added at every place; keys and values are kept."""

    def __init__(self, latent: int, size: int, tops: int, width: int = 128, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.before, self.top = nn.Embedding(size, width), nn.Embedding(tops, width)
        self.code = nn.Linear(latent, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, size)

    def forward(self, z: Tensor, before: Tensor, tops: Tensor) -> Tensor:
        h = self.before(before) + self.top(tops) + self.code(z)[:, None] + _places(0, before.shape[1], self.top.weight)
        for block in self.blocks:
            h, _ = block(h, None)
        return self.out(self.norm(h))

    def begin(self, z: Tensor) -> _Kept:
        return self.code(z)[:, None], [None] * len(self.blocks), 0

    def step(self, before: Tensor, top: Tensor, state: _Kept) -> tuple[Tensor, _Kept]:
        code, kept, t = state
        h = self.before(before)[:, None] + self.top(top)[:, None] + code + _places(t, 1, code)
        now = []
        for block, past in zip(self.blocks, kept, strict=True):
            h, both = block(h, None, past, True)
            now.append(both)
        return self.out(self.norm(h))[:, 0], (code, now, t + 1)


class _Block(nn.Module):
    """Attention and a small net, each behind a normalisation and beside a way around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.net = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, h: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None = None, keep: bool = False
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """With a mask (B, 1, 1, T) every place sees what it marks; without, itself and what came before."""
        q, k, v = (a.unflatten(2, (self.heads, -1)).transpose(1, 2) for a in self.inner(self.norm(h)).chunk(3, 2))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        causal = mask is None and not keep
        seen = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
        h = h + self.outer(seen.transpose(1, 2).flatten(2))
        return h + self.net(self.second(h)), ((k, v) if keep else None)


def _places(start: int, count: int, like: Tensor) -> Tensor:
    """(count, width) sines and cosines of places from `start` on (Vaswani et al., 2017, arXiv 1706.03762)."""
    width = like.shape[-1]
    place = torch.arange(start, start + count, device=like.device, dtype=like.dtype)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=like.dtype) * (-math.log(10_000) / width))
    return torch.cat([(place * rate).sin(), (place * rate).cos()], 1)[:, :width]


# -- by name ----------------------------------------------------------------------------------------------------------


def _named(net: str, shape: Sequence[int]) -> tuple[str, int]:
    """The name, and the width: that of the GRU's state or of the transformer, less for short sequences."""
    name, _, width = net.partition(":")
    if name not in SEQUENCE_NETS:
        raise ValueError(f"net is {net!r}; for strings choose from {', '.join(SEQUENCE_NETS)}")
    if not width:
        return name, 128 if name == "transformer" or shape[0] <= 32 else 256
    if name == "paper" or not width.isdecimal() or int(width) < 8 or int(width) % 8:
        raise ValueError(f"net is {net!r}; a width is given as gru:256 or transformer:128, a multiple of 8")
    return name, int(width)


def sequence_encoder(net: str, size: int, padding: int, shape: Sequence[int], out: int) -> nn.Module:
    """A body (B, *shape) of indices -> (B, out) by name: `gru` (convolutions first), `transformer`, `paper`.

    The first two read sequences of any length; their width may follow, as in ``gru:256``.
    """
    name, width = _named(net, shape)
    if name == "paper":
        return GrammarEncoder(size, padding, shape[0], out)
    if name == "transformer":
        return TransformerEncoder(size, padding, out, width)
    return ConvGRUEncoder(size, padding, out, width // 2, width)


def sequence_decoder(net: str, latent: int, size: int, tops: int, shape: Sequence[int]) -> SequenceDecoder:
    """A body from codes to logits over `size` indices, with `tops` nonterminals, by name."""
    name, width = _named(net, shape)
    if name == "paper":
        return GrammarDecoder(latent, size, shape[0])
    if name == "transformer":
        return TransformerDecoder(latent, size, tops, width)
    return GRUDecoder(latent, size, tops, width, width // 4)
