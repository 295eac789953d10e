"""The likelihood of strings: a categorical over indices at each step, of which a stack allows some."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import functional as F

from chartae.conditionals import Conditional
from chartae.distributions import Distribution
from chartae.grammar import Codec, Grammar, Molecules, StackDecoder, load, repair
from chartae.maths.random import generator_for
from chartae.nn import SequenceDecoder

__all__ = ["Derivation", "MaskedCategorical"]


class MaskedCategorical(Conditional):
    """p(x|z) of derivations: at each step a softmax over the productions of the nonterminal that is leftmost.

        log p(x|z) = Σ_t log softmax over {p: lhs(p) = lhs(x_t)} of logits_t(z, x_<t), at x_t

    in nats for each string; padding costs nothing. Kusner, Paige, Hernández-Lobato, "Grammar variational autoencoder",
    2017 (arXiv 1703.01925), whose logits do not depend on x_<t, and whose authors' code takes a binary cross-entropy
    over the allowed productions; with a net that sees x_<t the likelihood is exact. Of a codec without a stack
    (characters, tokens) everything may follow anything, and the first padding is the end, which counts.

    Args:
        net: logits of codes.
        codec: what the indices mean.
        limit: steps that a drawn derivation may take; with a grammar every one is complete by then.
        semantics: whether decoding also respects valence, rings and brackets, where the grammar is one of molecules.
        forcing: in training, the net sees the true index before with this probability at the end, its own choice
            otherwise; it falls linearly from 1 (scheduled sampling: Bengio et al., 2015, arXiv 1506.03099, in the
            parallel form of two passes: Mihaylova, Martins, 2019, arXiv 1906.07651).
        dropout: in training, the share of indices before that the net sees as padding, so that it needs the code
            (Bowman et al., 2016, arXiv 1511.06349).

    Raises:
        ValueError: a share outside 0 to 1, or fewer steps than the shortest derivation takes.
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
                raise ValueError(f"{name} is {share}; a share is between 0 and 1")
        self.net, self.codec, self.limit = net, codec, int(limit)
        self.forcing, self.dropout = float(forcing), float(dropout)
        self.stack: StackDecoder | None = None
        lhs, closed = [0] * codec.size, torch.zeros(1, codec.size, dtype=torch.bool)
        if isinstance(codec, Grammar):
            chemistry = Molecules(codec) if semantics and codec == load("zinc-smiles") else None
            self.stack = StackDecoder(codec, semantics=chemistry)
            least = int(codec.costs[codec.nonterminals.index(codec.start)])
            if limit < least:
                raise ValueError(f"limit is {limit}, but the shortest derivation of {codec.name} takes {least} steps")
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

    def true(self) -> float:
        """How often the net sees what was true before, now."""
        if not self.training or self.forcing == 1:
            return 1.0
        share = 1.0 if not self.steps else min(1.0, int(self.passes) / self.steps)
        return 1 - (1 - self.forcing) * share

    def mend(self, examples: object) -> object:
        """With chemistry, aromatic rings that have no alternating arrangement are mended in strings, which no mask can
        see to."""
        if self.stack is None or self.stack.semantics is None or not isinstance(examples, list):
            return examples
        return repair(examples)

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Derivation:
        assert c is not None
        return Derivation(self, c if condition is None else torch.cat([c, condition.to(c.dtype)], 1))

    def extra_repr(self) -> str:
        return f"{self.codec!r}, limit={self.limit}"


class Derivation(Distribution):
    """Derivations (B, T), padding behind their end, given codes."""

    event_ndim = 1

    def __init__(self, law: MaskedCategorical, z: Float[Tensor, "B D"]) -> None:
        self.law, self.z = law, z
        self._made: tuple[Tensor, Tensor] | None = None  # the x that was asked about, and its logits

    @property
    def mean(self) -> Tensor:
        """The derivation of the most probable production at each step (B, limit); categories have no mean."""
        return self._drawn(self.z, False, None)

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        z = self.z if n is None else self.z.repeat(n, 1)
        drawn = self._drawn(z, True, generator)
        return drawn if n is None else drawn.unflatten(0, (n, len(self.z)))

    def smooth(self, x: Num[Tensor, "B T"]) -> Float[Tensor, "B S P"]:
        return self.logits(x)

    def logits(self, x: Num[Tensor, "B T"]) -> Float[Tensor, "B S P"]:
        """Logits, -1e9 where a production does not fit, up to the longest end in the batch, as training sees them; of
        the same `x` they are made once."""
        law = self.law
        if self._made is not None and self._made[0] is x:
            return self._made[1]
        given, x = x, self._cut(x)
        before = F.pad(x[:, :-1], (1, 0), value=law.codec.padding)
        tops = law.lhs[x]
        true = law.true()
        if true < 1:
            with torch.no_grad():
                own = (law.net(self.z, before, tops) + law.closed[tops]).argmax(2)
            own = F.pad(own[:, :-1], (1, 0), value=law.codec.padding)
            u = torch.rand(before.shape, device=x.device, generator=generator_for(x.device))
            before = torch.where(u < true, before, own)
        if law.training and law.dropout:
            hidden = torch.rand(before.shape, device=x.device, generator=generator_for(x.device)) < law.dropout
            before = before.masked_fill(hidden, law.codec.padding)
        if law.training:
            law.passes += 1
        made = law.net(self.z, before, tops) + law.closed[tops]
        self._made = given, made
        return made

    def log_prob(self, x: Num[Tensor, "B T"]) -> Float[Tensor, " B"]:
        logits = self.logits(x)
        x = x.long()[:, : logits.shape[1]]
        each = -F.cross_entropy(logits.transpose(1, 2), x, reduction="none")
        if self.law.stack is None:  # the end counts, and nothing behind it
            counts = F.pad(x[:, :-1] != self.law.codec.padding, (1, 0), value=True)
            each = each * counts
        return each.sum(1)

    def _cut(self, x: Num[Tensor, "B T"]) -> Int[Tensor, "B S"]:
        """Without the places behind the longest end, but for one where ends are told by padding."""
        x = x.long()
        longest = int((x != self.law.codec.padding).sum(1).max())
        return x[:, : max(1, longest + (self.law.stack is None))]

    def _drawn(self, z: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
        law = self.law
        generator = generator_for(z.device, generator)
        with torch.no_grad():
            if law.stack is None:
                found = _free(law, z, sample, generator)
            else:
                settings: dict[str, Any] = {"limit": law.limit, "sample": sample, "generator": generator}
                found = law.stack.run(
                    law.net.step, law.net.begin(z), len(z), device=z.device, **settings
                ).productions.long()
        rest = law.limit - found.shape[1]
        return F.pad(found, (0, rest), value=law.codec.padding).to(z.dtype)


def _free(law: MaskedCategorical, z: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
    """Indices one by one until each row has ended in padding, or the limit is there."""
    padding = law.codec.padding
    before = torch.full((len(z),), padding, device=z.device)
    top, going = torch.zeros_like(before), torch.ones_like(before, dtype=torch.bool)
    state, out = law.net.begin(z), []
    for _ in range(law.limit):
        logits, state = law.net.step(before, top, state)
        taken = logits.argmax(1)
        if sample:
            taken = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        before = torch.where(going, taken, padding)
        out.append(before)
        going = before != padding
        if not going.any():
            break
    return torch.stack(out, 1)
