"""Nets for sequences of indices: encoders to a code, and decoders from a code to logits over the next index.

Sequences are whole numbers (B, T), as floats or integers, padded at the end with `padding`. An encoder maps them to
(B, out), and the amount of padding does not matter. A decoder maps codes and the true sequences to logits (B, T, size)
in one pass (`forward`), or generates step by step from the indices chosen so far (`begin`, `step`).
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

from chartae.records.choices import one_of

__all__ = [
    "SEQUENCE_NETS",
    "ConvGRUEncoder",
    "GRUDecoder",
    "GrammarDecoder",
    "GrammarEncoder",
    "SequenceDecoder",
    "TransformerDecoder",
    "TransformerEncoder",
    "sequence_bytes",
    "sequence_decoder",
    "sequence_encoder",
]

#: the state that a decoder passes from one step to the next
S = TypeVar("S")

SEQUENCE_NETS = ("gru", "transformer", "paper")


def lengths_of(x: Int[Tensor, "B T"], padding: int) -> Int[Tensor, " B"]:
    """The number of indices in each row before its padding."""
    return (x != padding).sum(1)


# -- encoders ---------------------------------------------------------------------------------------------------------


class ConvGRUEncoder(nn.Module):
    """An encoder of sequences of any length: three convolutions of stride 2, then a GRU.

    Positions after the end of a sequence are set to zero after each layer, so that a code does not depend on padding.
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
        h = h * _mask(length, h.shape[2])
        for layer in self.layers:
            length = (length + 1) // 2
            h = F.gelu(layer(h))
            h = h * _mask(length, h.shape[2])
        states, _ = self.gru(h.permute(2, 0, 1))
        last = states[length - 1, torch.arange(len(x), device=x.device)]
        return self.out(last)


def _mask(length: Tensor, size: int) -> Tensor:
    """A mask (B, 1, size), True before the end of each row."""
    return (torch.arange(size, device=length.device) < length[:, None])[:, None]


class GrammarEncoder(nn.Module):
    """The encoder of the grammar VAE: three convolutions over one-hot rows without padding, then a dense layer.

    Kusner, Paige, Hernández-Lobato, "Grammar Variational Autoencoder", 2017 (arXiv 1703.01925), with the sizes of its
    authors' code: 9, 9, 10 filters of width 9, 9, 11 and 435 units for molecules (277 rows); 2, 3, 4 filters of width
    2, 3, 4, batch normalisation after each ReLU, and 100 units for expressions (15 or 19 rows).

    >>> from chartae.nn.sequences import GrammarEncoder
    >>> sum(p.numel() for p in GrammarEncoder(76, 75, 277, 56).parameters())
    1124604
    """

    def __init__(self, size: int, padding: int, length: int, out: int) -> None:
        super().__init__()
        self.size, self.padding, self.length = size, padding, length
        filters, widths, units, norm = _paper(length)
        if length < sum(widths) - 2:
            raise ValueError(f"length is {length}; expected at least {sum(widths) - 2} for net='paper'. Use net='gru'.")
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
            raise ValueError(
                f"the longest sequence has {longest} indices; expected at most {self.length}, the length that this net "
                "was built for. Train with net='gru', which reads any length."
            )
        x = F.pad(x[:, : self.length], (0, max(0, self.length - x.shape[1])), value=self.padding)
        return self.net(F.one_hot(x, self.size).transpose(1, 2).to(self.net[0].weight.dtype))  # type: ignore[arg-type]


def _paper(length: int) -> tuple[tuple[int, ...], tuple[int, ...], int, bool]:
    """Filters, their widths, units and batch normalisation: the paper's for expressions (short) or molecules (long)."""
    return ((2, 3, 4), (2, 3, 4), 100, True) if length <= 32 else ((9, 9, 10), (9, 9, 11), 435, False)


class TransformerEncoder(nn.Module):
    """An encoder of sequences of any length: pre-norm transformer blocks, averaged over positions before the end."""

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
        mask = torch.arange(x.shape[1], device=x.device) < length[:, None]
        h = self.embedding(x) + _position_encoding(0, x.shape[1], self.embedding.weight)
        for block in self.blocks:
            h, _ = block(h, mask[:, None, None, :])
        h = self.norm(h) * mask[..., None]
        return self.out(h.sum(1) / length[:, None])


# -- decoders ---------------------------------------------------------------------------------------------------------


class SequenceDecoder(nn.Module, ABC, Generic[S]):
    """Logits over the next index, given a code, the indices before, and the nonterminal on top of the stack.

    An abstract class, for the likelihood `p(x|z) = Π_t p(x_t | z, x_1, ..., x_(t-1))`. Derive a decoder by writing
    `forward` (all steps at once, for training) and `begin` and `step` (one step at a time, for generation). `tops` are
    the nonterminals that the indices of a derivation expand, each known from the indices before it; all 0 for a codec
    without a grammar.
    """

    @abstractmethod
    def forward(
        self, z: Float[Tensor, "B D"], before: Int[Tensor, "B T"], tops: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T size"]:
        """Logits at all steps at once.

        Args:
            z: codes.
            before: the index before each step; the padding index at the first step.
            tops: the nonterminal on top of the stack at each step; 0 without a stack.
        """

    @abstractmethod
    def begin(self, z: Float[Tensor, "B D"]) -> S:
        """The state before the first step, for codes z."""

    @abstractmethod
    def step(self, before: Int[Tensor, " B"], top: Int[Tensor, " B"], state: S) -> tuple[Tensor, S]:
        """Logits (B, size) of the next step, and the state after it."""


class GRUDecoder(SequenceDecoder[tuple[Tensor, Tensor]]):
    """A GRU whose first state is the code, and whose inputs are the code, the last index and the top of the stack."""

    def __init__(self, latent: int, size: int, tops: int, hidden: int = 256, width: int = 64) -> None:
        super().__init__()
        self.before, self.top = nn.Embedding(size, width), nn.Embedding(tops, width)
        self.code = nn.Linear(latent, width)
        self.first = nn.Linear(latent, hidden)
        self.gru = nn.GRU(2 * width, hidden)
        self.out = nn.Linear(hidden, size)

    def _inputs(self, code: Tensor, before: Tensor, top: Tensor) -> Tensor:
        return torch.cat([self.before(before) + self.top(top), code.expand(*before.shape, -1)], -1)

    def forward(self, z: Tensor, before: Tensor, tops: Tensor) -> Tensor:
        inputs = self._inputs(self.code(z)[None], before.T, tops.T)
        states, _ = self.gru(inputs, self.first(z).tanh()[None])
        return self.out(states).transpose(0, 1)

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.code(z)[None], self.first(z).tanh()[None]

    def step(self, before: Tensor, top: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        code, hidden = state
        out, hidden = self.gru(self._inputs(code, before[None], top[None]), hidden)
        return self.out(out[0]), (code, hidden)


class GrammarDecoder(SequenceDecoder[tuple[Tensor, int]]):
    """The decoder of the grammar VAE: three GRU layers over the repeated code; it does not see the indices before.

    Kusner, Paige, Hernández-Lobato, "Grammar Variational Autoencoder", 2017 (arXiv 1703.01925): 501 units for
    molecules, and 100 for expressions, after batch normalisation of the code. Unlike its authors' GRU, torch's has two
    biases for each gate, and applies the reset gate after the matrix product.
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
            raise ValueError(
                f"a sequence has {before.shape[1]} steps; expected at most {self.length}, the length that this net was "
                "built for. Train with net='gru', which writes any length."
            )
        return self._all(z).transpose(0, 1)[:, : before.shape[1]]

    def begin(self, z: Tensor) -> tuple[Tensor, int]:
        return self._all(z), 0

    def step(self, before: Tensor, top: Tensor, state: tuple[Tensor, int]) -> tuple[Tensor, tuple[Tensor, int]]:
        logits, t = state
        if t >= self.length:
            raise ValueError(
                f"step is {t + 1}; expected at most {self.length}, the length that this net was built for. Lower the "
                "limit, or train with net='gru', which writes any length."
            )
        return logits[t], (logits, t + 1)


#: the code (B, 1, width), the keys and values of each block so far, and the number of steps so far
_Cache = tuple[Tensor, list[tuple[Tensor, Tensor] | None], int]


class TransformerDecoder(SequenceDecoder[_Cache]):
    """Causal transformer blocks over the indices before; the code is added at every position.

    Generation caches the keys and values of past steps.
    """

    def __init__(self, latent: int, size: int, tops: int, width: int = 128, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.before, self.top = nn.Embedding(size, width), nn.Embedding(tops, width)
        self.code = nn.Linear(latent, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, size)

    def forward(self, z: Tensor, before: Tensor, tops: Tensor) -> Tensor:
        positions = _position_encoding(0, before.shape[1], self.top.weight)
        h = self.before(before) + self.top(tops) + self.code(z)[:, None] + positions
        for block in self.blocks:
            h, _ = block(h, None)
        return self.out(self.norm(h))

    def begin(self, z: Tensor) -> _Cache:
        return self.code(z)[:, None], [None] * len(self.blocks), 0

    def step(self, before: Tensor, top: Tensor, state: _Cache) -> tuple[Tensor, _Cache]:
        code, cache, t = state
        h = self.before(before)[:, None] + self.top(top)[:, None] + code + _position_encoding(t, 1, code)
        extended = []
        for block, past in zip(self.blocks, cache, strict=True):
            h, keys_values = block(h, None, past, True)
            extended.append(keys_values)
        return self.out(self.norm(h))[:, 0], (code, extended, t + 1)


class _Block(nn.Module):
    """A pre-norm transformer block: attention, then a small net, each with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.net = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, h: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None = None, keep: bool = False
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """With a mask (B, 1, 1, T), each position attends to those marked; without, to itself and those before."""
        q, k, v = (a.unflatten(2, (self.heads, -1)).transpose(1, 2) for a in self.inner(self.norm(h)).chunk(3, 2))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        causal = mask is None and not keep
        attended = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
        h = h + self.outer(attended.transpose(1, 2).flatten(2))
        return h + self.net(self.second(h)), ((k, v) if keep else None)


def _position_encoding(start: int, count: int, like: Tensor) -> Tensor:
    """Sines and cosines (count, width) of positions from `start` on (Vaswani et al., 2017, arXiv 1706.03762)."""
    width = like.shape[-1]
    position = torch.arange(start, start + count, device=like.device, dtype=like.dtype)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=like.dtype) * (-math.log(10_000) / width))
    return torch.cat([(position * rate).sin(), (position * rate).cos()], 1)[:, :width]


# -- by name ----------------------------------------------------------------------------------------------------------


def _named(net: str, shape: Sequence[int]) -> tuple[str, int]:
    """The name and width of a net, the size of the GRU's state or of the transformer; less for short sequences."""
    name, _, width = net.partition(":")
    if name not in SEQUENCE_NETS:
        raise ValueError(f"net is {net!r}; for strings {one_of(name, SEQUENCE_NETS)}")
    if not width:
        return name, 128 if name == "transformer" or shape[0] <= 32 else 256
    if name == "paper" or not width.isdecimal() or int(width) < 8 or int(width) % 8:
        raise ValueError(f"net is {net!r}; expected a width that is a multiple of 8, as in gru:256 or transformer:128")
    return name, int(width)


def sequence_bytes(net: str, shape: Sequence[int]) -> int:
    """Bytes of memory that a training step takes for each index of each row, padding included, on the CPU.

    Measured for encoder and decoder with their gradients; the memory is proportional to the width, and to the length of
    the longest row of a batch.

    Args:
        net: one of `SEQUENCE_NETS`, with or without a width.
        shape: shape of one example, (T,).
    """
    name, width = _named(net, shape)
    return {"gru": 40 * width, "transformer": 300 * width}.get(name, 30_000)


def sequence_encoder(net: str, size: int, padding: int, shape: Sequence[int], out: int) -> nn.Module:
    """An encoder net from sequences of indices (B, T) to (B, out), by name.

    - ``"gru"``: three convolutions of stride 2, then a GRU; sequences of any length;
    - ``"transformer"``: three pre-norm blocks, averaged over positions; sequences of any length;
    - ``"paper"``: the convolutional net of the grammar VAE (Kusner et al., 2017, arXiv 1703.01925); sequences of at
      most `shape[0]` indices.

    Positions after the end of a sequence do not matter.

    Args:
        net: one of `SEQUENCE_NETS`; a width that is a multiple of 8 may follow the first two, as in ``"gru:256"``.
            The default width is 128, or 256 for a GRU on sequences of more than 32 indices.
        size: number of indices.
        padding: the index that fills a row after its end.
        shape: shape of one example, (T,).
        out: number of outputs.

    Returns:
        The net, with fresh weights.

    Raises:
        ValueError: the name or its width is unknown, or sequences are too short for ``"paper"``.

    >>> import torch
    >>> from chartae.nn import sequence_encoder
    >>> net = sequence_encoder("gru:16", size=5, padding=4, shape=(9,), out=2)
    >>> x = torch.tensor([[0, 1, 2, 4, 4]])
    >>> torch.allclose(net(x), net(x[:, :3]))  # padding does not matter
    True
    """
    name, width = _named(net, shape)
    if name == "paper":
        return GrammarEncoder(size, padding, shape[0], out)
    if name == "transformer":
        return TransformerEncoder(size, padding, out, width)
    return ConvGRUEncoder(size, padding, out, width // 2, width)


def sequence_decoder(net: str, latent: int, size: int, tops: int, shape: Sequence[int]) -> SequenceDecoder:
    """A decoder net from codes to logits over the next index, by name.

    - ``"gru"``, ``"transformer"``: autoregressive nets, which see the code, the indices before and the nonterminal on
      top of the stack;
    - ``"paper"``: three GRU layers over the repeated code, without the previous indices as input (the grammar VAE,
      Kusner et al., 2017, arXiv 1703.01925).

    Args:
        net: one of `SEQUENCE_NETS`; a width that is a multiple of 8 may follow the first two, as in ``"gru:256"``.
            The default width is 128, or 256 for a GRU on sequences of more than 32 indices.
        latent: number of values in a code, D.
        size: number of indices.
        tops: number of nonterminals that may be on top of the stack; 1 for a codec without a grammar.
        shape: shape of one example, (T,).

    Returns:
        The net, with fresh weights; called with codes (B, D), the indices before each step (B, T) and the nonterminals
        on top of the stack (B, T), it returns logits (B, T, size).

    Raises:
        ValueError: the name or its width is unknown.

    >>> import torch
    >>> from chartae.nn import sequence_decoder
    >>> net = sequence_decoder("gru:16", latent=2, size=5, tops=1, shape=(9,))
    >>> before = torch.zeros(3, 9, dtype=torch.long)
    >>> net(torch.zeros(3, 2), before, before).shape
    torch.Size([3, 9, 5])
    """
    name, width = _named(net, shape)
    if name == "paper":
        return GrammarDecoder(latent, size, shape[0])
    if name == "transformer":
        return TransformerDecoder(latent, size, tops, width)
    return GRUDecoder(latent, size, tops, width, width // 4)
