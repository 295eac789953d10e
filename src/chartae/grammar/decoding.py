"""Logits to derivations: a stack of nonterminals for every row, all rows at once, on the device of the logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from chartae.grammar.cfg import Grammar
from chartae.grammar.derivations import Derivations

__all__ = ["Decoded", "Semantics", "StackDecoder", "Step"]

S = TypeVar("S")

#: (productions of the step before (B,), nonterminals on top (B,), state) -> logits (B, P), state; before the first
#: step the padding
Step = Callable[[Tensor, Tensor, S], tuple[Tensor, S]]


class Semantics(Protocol[S]):
    """What a grammar cannot say: a state beside every stack, which takes productions away from the mask."""

    def begin(self, rows: int, device: torch.device) -> S:
        """The state of `rows` empty derivations."""

    def allowed(self, state: S, top: Tensor, slack: Tensor) -> Tensor:
        """(B, P) bool for the nonterminals `top` (B,); `slack` (B,) is the number of steps beyond the fewest needed."""

    def reserve(self, state: S, top: Tensor) -> Tensor:
        """(B,) steps needed beside those that the grammar needs."""

    def advance(self, state: S, production: Tensor) -> S:
        """The state behind the productions (B,), the padding where a row is complete."""

    def select(self, state: S, rows: Tensor) -> S:
        """The state of some rows."""


@dataclass(frozen=True)
class Decoded:
    """Derivations as they came out of a `StackDecoder`.

    Attributes:
        productions: (B, T) production numbers, with padding behind the end of each derivation.
        lengths: (B,) productions before the padding.
        complete: (B,) whether no nonterminal remains; all of them when the decoder closes derivations.
        relaxed: (B,) whether at some step semantics left nothing that the grammar allows, and was set aside.
    """

    productions: Integer[Tensor, "B T"]
    lengths: Integer[Tensor, " B"]
    complete: Bool[Tensor, " B"]
    relaxed: Bool[Tensor, " B"]

    def derivations(self) -> Derivations:
        """On the CPU, without padding."""
        rows, lengths = self.productions.cpu().numpy(), self.lengths.cpu().numpy()
        flat = rows[np.arange(rows.shape[1]) < lengths[:, None]]
        return Derivations(flat, np.concatenate([[0], np.cumsum(lengths)]), np.arange(len(rows)))


class StackDecoder:
    """Draws leftmost derivations from logits over productions, as Kusner, Paige, Hernández-Lobato (2017,
    arXiv:1703.01925, section 3) do: the nonterminal on top of a row's stack is popped, the logits of the productions
    that are not its own are masked, one of the rest is taken, and the nonterminals of its right side are pushed.

    Two things are ours. All rows of a batch move together, each step a few operations on tensors. And a derivation ends
    in the steps there are: with `close`, productions from which it could no longer end in the steps that are left are
    masked too (with cost(A) the fewest steps from A, a row needs the sum of cost over its stack), so that every row is
    complete and every string is in the language. Without it rows may be cut off, as in the paper.

    Args:
        grammar: whose productions the logits are for.
        close: end every derivation in the steps there are.
        semantics: further masks, such as `chemistry.Molecules`.
    """

    def __init__(self, grammar: Grammar, *, close: bool = True, semantics: Semantics | None = None) -> None:
        self.grammar, self.close, self.semantics = grammar, close, semantics
        k = len(grammar.nonterminals)
        counts = grammar.masks.sum(1)
        choices = np.full((k, int(counts.max())), grammar.padding)
        usable = np.zeros(choices.shape, dtype=bool)
        for a in range(k):
            own = np.flatnonzero(grammar.masks[a])
            choices[a, : len(own)], usable[a, : len(own)] = own, True
        inner = [[s for s in rhs if 0 <= s < k][::-1] for _, rhs in grammar.rules]
        width = max(1, *map(len, inner))
        pushed = np.zeros((len(inner), width), dtype=np.int64)
        for p, symbols in enumerate(inner):
            pushed[p, : len(symbols)] = symbols
        cost = grammar.costs.copy()
        cost[grammar.lhs[grammar.padding]] = 0
        extra = np.array([sum(cost[s] for s in symbols) for symbols in inner]) - cost[grammar.lhs]
        steps = extra + (cost[grammar.lhs] > 0)
        counts_pushed = np.array(list(map(len, inner)))
        self._start = grammar.nonterminals.index(grammar.start)
        self._least = int(cost[self._start])
        # what is no option takes more steps than there ever are
        extras = np.where(usable, steps[choices], 1 << 40)
        self._tables = tuple(
            torch.from_numpy(np.ascontiguousarray(a))
            for a in (choices, usable, pushed.astype(np.int32), counts_pushed, steps, extras)
        )
        self._ways = (choices, usable.sum(1), pushed, counts_pushed, steps)

    def __call__(
        self,
        logits: Float[Tensor, "B T P"],
        *,
        sample: bool = False,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Decoded:
        """One derivation a row of at most T productions: the most probable production of each step, or a draw.

        On a CPU, where numba is installed and there are no semantics, rows are walked one after the other by a compiled
        loop. It takes the uniforms that the batched operations take, and both weigh in double precision: the same
        generator gives the same derivations either way.

        Raises:
            ValueError: P is not the grammar's number of productions, or T steps are too few to end any derivation.
        """
        if logits.ndim != 3 or logits.shape[2] != self.grammar.size:
            raise ValueError(
                f"logits have the shape {tuple(logits.shape)}; expected (B, T, {self.grammar.size}), the last for the"
                f" productions of {self.grammar.name}"
            )
        batch, limit, size = logits.shape
        self._check(limit, temperature)
        # one for every step of every row, so that a row's draws are the same whatever becomes of the others
        uniforms = None
        if sample:
            kind = _precise(logits.device)
            uniforms = torch.rand(batch, limit, generator=generator, dtype=kind, device=logits.device)
        native = logits.dtype in (torch.float32, torch.float64) and logits.device.type == "cpu"
        from chartae.grammar import earley  # numba, where it is there, takes a second to import

        if earley.COMPILED and self.semantics is None and native:
            return self._walk(logits, uniforms, temperature)
        flat = logits.reshape(-1)
        ordered = None if uniforms is None else uniforms.t().contiguous()

        def given(t: int, rows: Tensor, options: Tensor, top: Tensor) -> Tensor:
            # only the few logits that may be taken are read
            places = ((rows * limit + t) * size)[:, None] + options
            return flat.index_select(0, places.view(-1)).view(places.shape)

        def drawn(t: int, rows: Tensor) -> Tensor | None:
            return None if ordered is None else ordered[t].index_select(0, rows)

        return self._run(given, drawn, batch, limit, logits.device, temperature)

    def _walk(self, logits: Tensor, uniforms: Tensor | None, temperature: float) -> Decoded:
        from chartae.grammar import walks

        ways = walks.Ways(*self._ways)
        batch, limit, _ = logits.shape
        kind = torch.uint8 if self.grammar.size <= 256 else torch.int32
        out = torch.full((batch, limit), self.grammar.padding, dtype=kind)
        lengths, complete = torch.zeros(batch, dtype=torch.long), torch.zeros(batch, dtype=torch.bool)
        width, options = ways.inner.shape[1], ways.option.shape[1]
        walks.walk(
            logits.detach().numpy(),
            np.empty((0, 0)) if uniforms is None else uniforms.numpy(),
            float(temperature),
            self.close,
            self._start,
            self._least,
            ways,
            np.zeros(1 + limit * width, np.int64),
            np.zeros(options),
            *(a.numpy() for a in (out, lengths, complete)),
        )
        return Decoded(out, lengths, complete, torch.zeros(batch, dtype=torch.bool))

    def run(
        self,
        step: Step[S],
        state: S,
        batch: int,
        *,
        limit: int = 1000,
        device: torch.device | str = "cpu",
        sample: bool = False,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Decoded:
        """As a call, for decoders that see what was taken: ``logits, state = step(previous, top, state)``, until all
        rows are complete, or `limit` steps were made (with `close`, derivations begin to end in time for it)."""
        self._check(limit, temperature)
        where = torch.device(device)
        previous = torch.full((batch,), self.grammar.padding, dtype=torch.long, device=where)
        # the loop writes what it takes into `previous`; rows that are complete have the padding's nonterminal on top
        inner = state
        tops = torch.full((batch,), len(self.grammar.nonterminals) - 1, device=where)

        def stepped(t: int, rows: Tensor, options: Tensor, top: Tensor) -> Tensor:
            nonlocal inner
            tops.fill_(len(self.grammar.nonterminals) - 1)[rows] = top
            logits, inner = step(previous, tops, inner)
            if logits.shape != (batch, self.grammar.size):
                raise ValueError(f"the step gave logits {tuple(logits.shape)}; expected {(batch, self.grammar.size)}")
            return logits[rows].gather(1, options)

        def drawn(t: int, rows: Tensor) -> Tensor | None:
            return torch.rand(len(rows), generator=generator, dtype=_precise(where), device=where) if sample else None

        return self._run(stepped, drawn, batch, limit, where, temperature, previous)

    def _check(self, limit: int, temperature: float) -> None:
        if self.close and limit < self._least:
            raise ValueError(
                f"{limit} steps are too few: the shortest derivation of {self.grammar.name} has {self._least}; give"
                " more steps, or close=False to have derivations cut off"
            )
        if temperature <= 0:
            raise ValueError(
                f"temperature is {temperature}; expected a positive number (sample=False takes the largest)"
            )

    def _run(
        self,
        scores: Callable[[int, Tensor, Tensor, Tensor], Tensor],
        drawn: Callable[[int, Tensor], Tensor | None],
        batch: int,
        limit: int,
        device: torch.device,
        temperature: float,
        previous: Tensor | None = None,
    ) -> Decoded:
        choices, usable, pushed, count, extra, extras = (a.to(device) for a in self._tables)
        padding = self.grammar.padding
        kind = torch.uint8 if self.grammar.size <= 256 else torch.int32
        out = torch.full((limit, batch), padding, dtype=kind, device=device)
        nothing = len(self.grammar.nonterminals) - 1
        relaxed = torch.zeros(batch, dtype=torch.bool, device=device)
        rows = torch.arange(batch, device=device)  # those that are followed
        stack = torch.zeros(batch, 32 + pushed.shape[1], dtype=torch.int32, device=device)
        stack[:, 0] = self._start
        height = torch.ones(batch, dtype=torch.long, device=device)
        need = torch.full((batch,), self._least, dtype=torch.long, device=device)
        inner = self.semantics.begin(batch, device) if self.semantics is not None else None
        places = torch.arange(pushed.shape[1], device=device)
        ended = rows[:0]  # rows whose last production the next step still has to see
        t = 0
        for t in range(limit):
            place = (height - 1).clamp_(min=0)[:, None]
            top = torch.where(height > 0, stack.gather(1, place)[:, 0], nothing).long()
            options = choices.index_select(0, top)
            reserve: Tensor | int = 0
            if self.close:
                if self.semantics is not None:
                    reserve = self.semantics.reserve(inner, top)[:, None]
                more = extras.index_select(0, top) + need[:, None]
                allowed = more <= limit - t - reserve
            else:
                allowed = own = usable.index_select(0, top)
            if self.semantics is not None:
                slack = limit - t - need - (reserve[:, 0] if isinstance(reserve, Tensor) else 0)
                further = allowed & self.semantics.allowed(inner, top, slack).gather(1, options)
                # where nothing is left, a derivation that ends goes before semantics, and the language before that
                stuck = ~further.any(1)
                relaxed[rows] = relaxed[rows] | stuck
                least = more <= limit - t if self.close else own
                allowed = torch.where(stuck[:, None], least, further)
            place_taken = _choose(scores(t, rows, options, top), allowed, temperature, drawn(t, rows))
            taken = options.gather(1, place_taken[:, None])[:, 0]
            out[t].index_copy_(0, rows, taken.to(kind))
            need = need + extra.index_select(0, taken) - 1
            if self.semantics is not None:
                inner = self.semantics.advance(inner, taken)
            if int(height.max()) + pushed.shape[1] > stack.shape[1]:
                stack = torch.cat([stack, torch.zeros_like(stack)], 1)
            stack.scatter_(1, place + places, pushed.index_select(0, taken))
            height = (place[:, 0] + count.index_select(0, taken)).mul_(height > 0)
            alive = height > 0
            if previous is not None:
                previous[ended] = padding
                previous[rows] = taken
            # rows that are complete take padding until enough of them are there to be left behind
            left = int(alive.sum())
            if left <= 0.9 * len(rows):
                keep = alive.nonzero()[:, 0]
                ended = rows[~alive]
                rows, stack, height, need = (a.index_select(0, keep) for a in (rows, stack, height, need))
                inner = self.semantics.select(inner, keep) if self.semantics is not None else None
            if not left:
                break
        complete = torch.ones(batch, dtype=torch.bool, device=device)
        complete[rows] = height == 0
        out = (out if previous is None else out[: t + 1]).t().contiguous()
        return Decoded(out, (out != padding).sum(1), complete, relaxed)


def _precise(device: torch.device) -> torch.dtype:
    """Of sums of probabilities: double, but for devices that have none."""
    return torch.float32 if device.type == "mps" else torch.float64


def _choose(logits: Tensor, allowed: Tensor, temperature: float, uniforms: Tensor | None) -> Tensor:
    """(B,) places of the largest allowed logit of each row, or of draws from their softmax."""
    # a row of NaN or of -inf still gets an allowed production
    scores = logits.to(_precise(logits.device)).nan_to_num_(nan=-1e30).clamp_(-1e30, 1e30)
    scores.masked_fill_(~allowed, -torch.inf)
    if uniforms is None:
        return scores.argmax(1)
    # sums over the first dimension run over all rows side by side; and exp is slow where its result is no normal number
    weights = scores.t().contiguous()
    weights.sub_(weights.amax(0)).div_(temperature).clamp_(min=-80).exp_().mul_(allowed.t())
    total = weights.cumsum_(0)
    # a uniform is below 1 by half a unit in the last place or more: the product is below the last sum, and the first
    # sum above it is that of an allowed production
    return (total <= uniforms * total[-1]).sum(0)
