"""The likelihood of strings: a categorical distribution at each step over the indices that a stack allows."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import functional as F

from chartae.conditionals import Conditional
from chartae.distributions import Distribution
from chartae.grammar import Codec, Grammar, Molecules, StackDecoder, load, repair
from chartae.maths.random import generator_for, rand
from chartae.nn import SequenceDecoder

__all__ = ["Derivation", "MaskedCategorical"]


class MaskedCategorical(Conditional):
    """The likelihood p(x|z) of a derivation: at each step a softmax over the productions that fit.

    A production fits if its left-hand side is the leftmost nonterminal:

        log p(x|z) = Σ_t log softmax over {p: lhs(p) = lhs(x_t)} of logits_t(z, x_<t), at x_t

    in nats per string; padding contributes nothing. Kusner, Paige, Hernández-Lobato, "Grammar variational
    autoencoder", 2017 (arXiv 1703.01925). Two differences: their logits do not depend on x_<t, and their code computes
    a binary cross-entropy over the allowed productions; here the likelihood is exact also for a net that sees x_<t. A
    codec without a stack (characters, tokens) allows every index at every step, and the first padding index, which
    ends the string, is part of the likelihood.

    Args:
        net: network from codes (and the previous indices) to logits.
        codec: grammar or alphabet that defines the indices.
        limit: largest number of steps of a sampled derivation; with a grammar, every derivation is complete by then.
        semantics: whether decoding also respects valence, rings and brackets, if the grammar is that of molecules;
            default True.
        forcing: teacher forcing: probability, at the end of training, that the net sees the true previous index rather
            than its own prediction, from 0 to 1; default 1. The probability falls linearly from 1 (scheduled sampling:
            Bengio et al., 2015, arXiv 1506.03099, in the parallel form with two forward passes: Mihaylova, Martins,
            2019, arXiv 1906.07651).
        dropout: probability in training that the net sees padding in place of a previous index, from 0 to 1, so that
            it has to use the code (Bowman et al., 2016, arXiv 1511.06349); default 0.

    Raises:
        ValueError: `forcing` or `dropout` is not between 0 and 1, or `limit` is below the length of the shortest
            derivation.
    """

    differentiable = False

    def __init__(
        self,
        net: SequenceDecoder,
        codec: Codec,
        limit: int,
        *,
        semantics: bool = True,
        forcing: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, share in (("forcing", forcing), ("dropout", dropout)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; expected a number between 0 and 1.")
        self.net, self.codec, self.limit = net, codec, int(limit)
        self.forcing, self.dropout = float(forcing), float(dropout)
        self.stack: StackDecoder | None = None
        lhs, closed = [0] * codec.size, torch.zeros(1, codec.size, dtype=torch.bool)
        if isinstance(codec, Grammar):
            chemistry = Molecules(codec) if semantics and codec == load("zinc-smiles") else None
            self.stack = StackDecoder(codec, semantics=chemistry)
            least = int(codec.costs[codec.nonterminals.index(codec.start)])
            if limit < least:
                raise ValueError(f"limit is {limit}; the shortest derivation of {codec.name} takes {least} steps.")
            lhs, closed = codec.lhs.tolist(), ~torch.from_numpy(codec.masks)
        self.register_buffer("lhs", torch.tensor(lhs), persistent=False)
        self.register_buffer("closed", torch.zeros(closed.shape).masked_fill(closed, -1e9), persistent=False)
        self.lhs: Tensor
        self.closed: Tensor
        self.steps = 0
        self.scheduled = forcing < 1
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.passes: Tensor

    def plan(self, steps: int) -> None:
        self.steps = steps

    def forcing_now(self) -> float:
        """Return the current probability that the net sees the true previous index, which falls during training."""
        if not self.training or self.forcing == 1:
            return 1.0
        share = 1.0 if not self.steps else min(1.0, int(self.passes) / self.steps)
        return 1 - (1 - self.forcing) * share

    def mend(self, examples: object) -> object:
        """Repair aromatic rings without an alternating arrangement of bonds in decoded SMILES strings.

        No mask can prevent such rings. Without the semantics of molecules, examples are returned unchanged.

        Args:
            examples: decoded strings.

        Returns:
            The repaired strings.
        """
        if self.stack is None or self.stack.semantics is None or not isinstance(examples, list):
            return examples
        return repair(examples)

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Derivation:
        assert c is not None
        return Derivation(self, c if condition is None else torch.cat([c, condition.to(c.dtype)], 1))

    def extra_repr(self) -> str:
        return f"{self.codec!r}, limit={self.limit}"


class Derivation(Distribution):
    """The distribution of derivations (B, T), padded after their end, given codes.

    Args:
        decoder: the likelihood.
        z: codes (B, D).
    """

    event_ndim = 1

    def __init__(self, decoder: MaskedCategorical, z: Float[Tensor, "B D"]) -> None:
        self.decoder, self.z = decoder, z
        self._cache: tuple[Tensor, Tensor] | None = None  # the last x and its logits

    @property
    def mean(self) -> Tensor:
        """The greedy derivation (B, limit): the most probable production at each step, as categories have no mean."""
        return self._decode(self.z, False, None)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        z = self.z if n is None else self.z.repeat(n, 1)
        derivations = self._decode(z, True, generator)
        return derivations if n is None else derivations.unflatten(0, (n, len(self.z)))

    def smooth(self, x: Num[Tensor, "B T"]) -> Float[Tensor, "B S P"]:
        return self.logits(x)

    def logits(self, x: Num[Tensor, "B T"]) -> Float[Tensor, "B S P"]:
        """Return the logits of every step, with -1e9 for productions that do not fit.

        In training the previous indices are replaced according to `forcing` and `dropout`. The logits of the last `x`
        are cached.

        Args:
            x: derivations (B, T).

        Returns:
            Logits (B, S, P), S the length of the longest derivation in the batch.
        """
        decoder = self.decoder
        if self._cache is not None and self._cache[0] is x:
            return self._cache[1]
        key, x = x, self._trim(x)
        before = F.pad(x[:, :-1], (1, 0), value=decoder.codec.padding)
        tops = decoder.lhs[x]
        forcing = decoder.forcing_now()
        if forcing < 1:
            with torch.no_grad():
                predicted = (decoder.net(self.z, before, tops) + decoder.closed[tops]).argmax(2)
            predicted = F.pad(predicted[:, :-1], (1, 0), value=decoder.codec.padding)
            u = rand(before.shape, torch.empty((), device=x.device))
            before = torch.where(u < forcing, before, predicted)
        if decoder.training and decoder.dropout:
            hidden = rand(before.shape, torch.empty((), device=x.device)) < decoder.dropout
            before = before.masked_fill(hidden, decoder.codec.padding)
        if decoder.training:
            decoder.passes += 1
        logits = decoder.net(self.z, before, tops) + decoder.closed[tops]
        self._cache = key, logits
        return logits

    def log_prob(self, x: Num[Tensor, "B T"]) -> Float[Tensor, " B"]:
        logits = self.logits(x)
        x = x.long()[:, : logits.shape[1]]
        each = -F.cross_entropy(logits.transpose(1, 2), x, reduction="none")
        if self.decoder.stack is None:  # the index that ends the string counts, and nothing after it
            counts = F.pad(x[:, :-1] != self.decoder.codec.padding, (1, 0), value=True)
            each = each * counts
        return each.sum(1)

    def _trim(self, x: Num[Tensor, "B T"]) -> Int[Tensor, "B S"]:
        """Cut off the steps after the longest end, but keep one step of padding if padding marks the end."""
        x = x.long()
        longest = int((x != self.decoder.codec.padding).sum(1).max())
        return x[:, : max(1, longest + (self.decoder.stack is None))]

    def _decode(self, z: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        """Decode codes to derivations (B, limit), greedily or by sampling."""
        decoder = self.decoder
        generator = generator_for(z.device, generator)
        with torch.no_grad():
            if decoder.stack is None:
                derivations = _decode_freely(decoder, z, sample, generator)
            else:
                settings: dict[str, Any] = {"limit": decoder.limit, "sample": sample, "generator": generator}
                derivations = decoder.stack.run(
                    decoder.net.step, decoder.net.begin(z), len(z), device=z.device, **settings
                ).productions.long()
        missing = decoder.limit - derivations.shape[1]
        return F.pad(derivations, (0, missing), value=decoder.codec.padding).to(z.dtype)


def _decode_freely(decoder: MaskedCategorical, z: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
    """Decode index by index, without a stack, until each row has ended in padding or the limit is reached."""
    padding = decoder.codec.padding
    before = torch.full((len(z),), padding, device=z.device)
    top, unfinished = torch.zeros_like(before), torch.ones_like(before, dtype=torch.bool)
    state, out = decoder.net.begin(z), []
    for _ in range(decoder.limit):
        logits, state = decoder.net.step(before, top, state)
        chosen = logits.argmax(1)
        if sample:
            chosen = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        before = torch.where(unfinished, chosen, padding)
        out.append(before)
        unfinished = before != padding
        if not unfinished.any():
            break
    return torch.stack(out, 1)
