"""Decoding of logits to derivations, with a stack of nonterminals for every row of a batch."""

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

#: one step of an autoregressive decoder: (productions of the previous step (B,), nonterminals on top of the stacks
#: (B,), state) -> (logits (B, P), state); at the first step the previous production is the padding
Step = Callable[[Tensor, Tensor, S], tuple[Tensor, S]]


class Semantics(Protocol[S]):
    """Constraints that a grammar cannot express: a state per row that excludes further productions at each step."""

    def begin(self, rows: int, device: torch.device) -> S:
        """The state of `rows` empty derivations."""

    def allowed(self, state: S, top: Tensor, slack: Tensor) -> Tensor:
        """The productions that are allowed, (B, P) bool.

        `top` (B,) are the nonterminals on top of the stacks. `slack` (B,) is the number of steps left beyond those that
        the derivation needs at least.
        """

    def reserve(self, state: S, top: Tensor) -> Tensor:
        """(B,) steps that the derivation needs in addition to the fewest that the grammar needs."""

    def advance(self, state: S, production: Tensor) -> S:
        """The state after the productions (B,) were taken; a complete row takes the padding."""

    def select(self, state: S, rows: Tensor) -> S:
        """The state of the rows with these numbers."""


@dataclass(frozen=True)
class Decoded:
    """The result of a `StackDecoder`: B derivations.

    Attributes:
        productions: (B, T) production numbers, with padding after the end of each derivation.
        lengths: (B,) int, the number of productions before the padding.
        complete: (B,) bool, whether no nonterminal remains; always true if the decoder closes derivations.
        relaxed: (B,) bool, whether the semantics excluded all productions at some step, and were ignored there.

    >>> import torch
    >>> from chartae.grammar import StackDecoder, load
    >>> g = load("expressions")
    >>> out = StackDecoder(g)(torch.zeros(2, 15, g.size))
    >>> out.lengths, out.complete
    (tensor([14, 14]), tensor([True, True]))
    """

    productions: Integer[Tensor, "B T"]
    lengths: Integer[Tensor, " B"]
    complete: Bool[Tensor, " B"]
    relaxed: Bool[Tensor, " B"]

    def derivations(self) -> Derivations:
        """The derivations on the CPU and without padding, as the grammar's `decode` takes them."""
        rows, lengths = self.productions.cpu().numpy(), self.lengths.cpu().numpy()
        flat = rows[np.arange(rows.shape[1]) < lengths[:, None]]
        return Derivations(flat, np.concatenate([[0], np.cumsum(lengths)]), np.arange(len(rows)))


class StackDecoder:
    """Decodes logits over productions to leftmost derivations.

    Each step pops the nonterminal A on top of a row's stack, masks the logits of all productions whose left side is not
    A, takes one of the remaining productions, and pushes the nonterminals of its right side (Kusner, Paige,
    Hernández-Lobato, 2017, arXiv:1703.01925, section 3).

    There are two differences from the paper. All rows of a batch take each step together. And with ``close=True`` every
    derivation ends within the T steps: a production is masked too if the derivation could no longer end in the steps
    that remain. A row needs at least the sum of cost(A) over its stack, where cost(A) is the fewest productions that
    derive a string from A. So every string is in the language.

    Args:
        grammar: the grammar whose productions the logits stand for.
        close: whether every derivation must end within the steps; default True. With False, derivations may be cut off
            before their end, as in the paper.
        semantics: further constraints, such as `Molecules`, or None (default).

    >>> import torch
    >>> from chartae.grammar import StackDecoder, load
    >>> g = load("expressions")
    >>> decoder = StackDecoder(g)
    >>> out = decoder(torch.zeros(3, 15, g.size), sample=True, generator=torch.Generator().manual_seed(0))
    >>> g.decode(out.derivations())
    ['1', 'sin(2/x)/2+2*2*2', '1']
    """

    def __init__(self, grammar: Grammar, *, close: bool = True, semantics: Semantics | None = None) -> None:
        self.grammar, self.close, self.semantics = grammar, close, semantics
        k = len(grammar.nonterminals)
        counts = grammar.masks.sum(1)
        choices = np.full((k, int(counts.max())), grammar.padding)
        usable = np.zeros(choices.shape, dtype=bool)
        for a in range(k):
            productions = np.flatnonzero(grammar.masks[a])
            choices[a, : len(productions)], usable[a, : len(productions)] = productions, True
        children = [[s for s in rhs if 0 <= s < k][::-1] for _, rhs in grammar.rules]
        width = max(1, *map(len, children))
        pushed = np.zeros((len(children), width), dtype=np.int64)
        for p, symbols in enumerate(children):
            pushed[p, : len(symbols)] = symbols
        cost = grammar.costs.copy()
        cost[grammar.lhs[grammar.padding]] = 0
        change = np.array([sum(cost[s] for s in symbols) for symbols in children]) - cost[grammar.lhs]
        excess = change + (cost[grammar.lhs] > 0)  # steps beyond those of the cheapest production
        pushed_counts = np.array(list(map(len, children)))
        self._start = grammar.nonterminals.index(grammar.start)
        self._least = int(cost[self._start])
        # the padding of `choices` needs more steps than there ever are, so it is never allowed
        choice_excess = np.where(usable, excess[choices], 1 << 40)
        self._tables = tuple(
            torch.from_numpy(np.ascontiguousarray(a))
            for a in (choices, usable, pushed.astype(np.int32), pushed_counts, excess, choice_excess)
        )
        self._choices = (choices, usable.sum(1), pushed, pushed_counts, excess)

    def __call__(
        self,
        logits: Float[Tensor, "B T P"],
        *,
        sample: bool = False,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Decoded:
        """Decode one derivation of at most T productions per row.

        On a CPU, with numba and without semantics, a compiled loop decodes the rows one after another. It uses the same
        uniforms as the batched operations, and both compute in double precision, so the same generator gives the same
        derivations either way.

        Args:
            logits: (B, T, P) logits of the productions at each step.
            sample: whether to draw each production from the softmax over the allowed ones; by default the one with the
                largest logit is taken.
            temperature: divisor of the logits before the softmax, > 0; default 1. Without effect if `sample` is False.
            generator: random generator of the draws, on the device of the logits; by default torch's global one.

        Returns:
            The derivations.

        Raises:
            ValueError: P is not the grammar's number of productions, T is smaller than the length of the shortest
                derivation (with ``close=True``), or the temperature is not positive.
        """
        if logits.ndim != 3 or logits.shape[2] != self.grammar.size:
            raise ValueError(
                f"logits have shape {tuple(logits.shape)}; expected (B, T, {self.grammar.size}), whose last dimension"
                f" stands for the productions of {self.grammar.name}"
            )
        batch, limit, size = logits.shape
        self._check(limit, temperature)
        # one for every step of every row, so that the draws of a row do not depend on the other rows
        uniforms = None
        if sample:
            kind = _precise(logits.device)
            uniforms = torch.rand(batch, limit, generator=generator, dtype=kind, device=logits.device)
        native = logits.dtype in (torch.float32, torch.float64) and logits.device.type == "cpu"
        from chartae.grammar import earley  # imported here, because importing numba takes a second

        if earley.COMPILED and self.semantics is None and native:
            return self._decode_rows(logits, uniforms, temperature)
        flat = logits.reshape(-1)
        uniforms_of_step = None if uniforms is None else uniforms.t().contiguous()

        def option_logits(t: int, rows: Tensor, options: Tensor, top: Tensor) -> Tensor:
            # only the few logits of the options are read
            places = ((rows * limit + t) * size)[:, None] + options
            return flat.index_select(0, places.view(-1)).view(places.shape)

        def draws(t: int, rows: Tensor) -> Tensor | None:
            return None if uniforms_of_step is None else uniforms_of_step[t].index_select(0, rows)

        return self._run(option_logits, draws, batch, limit, logits.device, temperature)

    def _decode_rows(self, logits: Tensor, uniforms: Tensor | None, temperature: float) -> Decoded:
        from chartae.grammar import rowwise

        choices = rowwise.Choices(*self._choices)
        batch, limit, _ = logits.shape
        kind = torch.uint8 if self.grammar.size <= 256 else torch.int32
        out = torch.full((batch, limit), self.grammar.padding, dtype=kind)
        lengths, complete = torch.zeros(batch, dtype=torch.long), torch.zeros(batch, dtype=torch.bool)
        width, options = choices.children.shape[1], choices.productions.shape[1]
        rowwise.decode_rows(
            logits.detach().numpy(),
            np.empty((0, 0)) if uniforms is None else uniforms.numpy(),
            float(temperature),
            self.close,
            self._start,
            self._least,
            choices,
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
        """Decode derivations with an autoregressive decoder, whose logits depend on the productions taken before.

        It calls ``logits, state = step(previous, top, state)`` until all rows are complete, or `limit` steps are made.

        Args:
            step: one step of the decoder. It takes the productions of the previous step (B,), the nonterminals on top
                of the stacks (B,) and the state, and returns logits (B, P) and the new state. At the first step the
                previous production is the padding. A complete row has the nonterminal of the padding on top.
            state: state before the first step.
            batch: number B of rows.
            limit: largest number of steps; default 1000. With ``close=True`` every derivation ends within them.
            device: device of the computation; default ``"cpu"``.
            sample: whether to draw each production from the softmax over the allowed ones; by default the one with the
                largest logit is taken.
            temperature: divisor of the logits before the softmax, > 0; default 1. Without effect if `sample` is False.
            generator: random generator of the draws, on `device`; by default torch's global one.

        Returns:
            The derivations; T is the number of steps made.

        Raises:
            ValueError: `step` returned logits of another shape, `limit` is smaller than the length of the shortest
                derivation (with ``close=True``), or the temperature is not positive.
        """
        self._check(limit, temperature)
        where = torch.device(device)
        previous = torch.full((batch,), self.grammar.padding, dtype=torch.long, device=where)
        # `_run` writes the productions that it takes into `previous`
        current = state
        nothing = len(self.grammar.nonterminals) - 1
        tops = torch.full((batch,), nothing, device=where)

        def option_logits(t: int, rows: Tensor, options: Tensor, top: Tensor) -> Tensor:
            nonlocal current
            tops.fill_(nothing)[rows] = top
            logits, current = step(previous, tops, current)
            if logits.shape != (batch, self.grammar.size):
                raise ValueError(
                    f"step returned logits of shape {tuple(logits.shape)}; expected {(batch, self.grammar.size)}"
                )
            return logits[rows].gather(1, options)

        def draws(t: int, rows: Tensor) -> Tensor | None:
            return torch.rand(len(rows), generator=generator, dtype=_precise(where), device=where) if sample else None

        return self._run(option_logits, draws, batch, limit, where, temperature, previous)

    def _check(self, limit: int, temperature: float) -> None:
        if self.close and limit < self._least:
            raise ValueError(
                f"{limit} steps are too few for {self.grammar.name}; expected at least {self._least}, the length of its"
                " shortest derivation. Pass more steps, or close=False to allow derivations to be cut off."
            )
        if temperature <= 0:
            raise ValueError(
                f"temperature is {temperature}; expected > 0. Pass sample=False to take the most probable productions."
            )

    def _run(
        self,
        option_logits: Callable[[int, Tensor, Tensor, Tensor], Tensor],
        draws: Callable[[int, Tensor], Tensor | None],
        batch: int,
        limit: int,
        device: torch.device,
        temperature: float,
        previous: Tensor | None = None,
    ) -> Decoded:
        choices, usable, pushed, count, excess, choice_excess = (a.to(device) for a in self._tables)
        padding = self.grammar.padding
        kind = torch.uint8 if self.grammar.size <= 256 else torch.int32
        out = torch.full((limit, batch), padding, dtype=kind, device=device)
        nothing = len(self.grammar.nonterminals) - 1
        relaxed = torch.zeros(batch, dtype=torch.bool, device=device)
        rows = torch.arange(batch, device=device)  # the rows that are still decoded
        stack = torch.zeros(batch, 32 + pushed.shape[1], dtype=torch.int32, device=device)
        stack[:, 0] = self._start
        height = torch.ones(batch, dtype=torch.long, device=device)
        need = torch.full((batch,), self._least, dtype=torch.long, device=device)
        state = self.semantics.begin(batch, device) if self.semantics is not None else None
        places = torch.arange(pushed.shape[1], device=device)
        ended = rows[:0]  # rows whose last production is still in `previous`, for the next step
        t = 0
        for t in range(limit):
            place = (height - 1).clamp_(min=0)[:, None]
            top = torch.where(height > 0, stack.gather(1, place)[:, 0], nothing).long()
            options = choices.index_select(0, top)
            reserve: Tensor | int = 0
            if self.close:
                if self.semantics is not None:
                    reserve = self.semantics.reserve(state, top)[:, None]
                steps = choice_excess.index_select(0, top) + need[:, None]
                allowed = steps <= limit - t - reserve
            else:
                allowed = productions = usable.index_select(0, top)
            if self.semantics is not None:
                slack = limit - t - need - (reserve[:, 0] if isinstance(reserve, Tensor) else 0)
                meaningful = allowed & self.semantics.allowed(state, top, slack).gather(1, options)
                # where the semantics exclude everything, only the language and the end of the derivation count
                stuck = ~meaningful.any(1)
                relaxed[rows] = relaxed[rows] | stuck
                grammatical = steps <= limit - t if self.close else productions
                allowed = torch.where(stuck[:, None], grammatical, meaningful)
            choice = _choose(option_logits(t, rows, options, top), allowed, temperature, draws(t, rows))
            taken = options.gather(1, choice[:, None])[:, 0]
            out[t].index_copy_(0, rows, taken.to(kind))
            need = need + excess.index_select(0, taken) - 1
            if self.semantics is not None:
                state = self.semantics.advance(state, taken)
            if int(height.max()) + pushed.shape[1] > stack.shape[1]:
                stack = torch.cat([stack, torch.zeros_like(stack)], 1)
            stack.scatter_(1, place + places, pushed.index_select(0, taken))
            height = (place[:, 0] + count.index_select(0, taken)).mul_(height > 0)
            alive = height > 0
            if previous is not None:
                previous[ended] = padding
                previous[rows] = taken
            # complete rows take padding until a tenth of the rows is complete; then these are dropped
            remaining = int(alive.sum())
            if remaining <= 0.9 * len(rows):
                keep = alive.nonzero()[:, 0]
                ended = rows[~alive]
                rows, stack, height, need = (a.index_select(0, keep) for a in (rows, stack, height, need))
                state = self.semantics.select(state, keep) if self.semantics is not None else None
            if not remaining:
                break
        complete = torch.ones(batch, dtype=torch.bool, device=device)
        complete[rows] = height == 0
        out = (out if previous is None else out[: t + 1]).t().contiguous()
        return Decoded(out, (out != padding).sum(1), complete, relaxed)


def _precise(device: torch.device) -> torch.dtype:
    """The dtype for sums of probabilities: double precision, except on devices that lack it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _choose(logits: Tensor, allowed: Tensor, temperature: float, uniforms: Tensor | None) -> Tensor:
    """Columns (B,) of the largest allowed logit of each row, or, with uniforms (B,), of a draw from their softmax."""
    # a row of NaN or of -inf still gets an allowed production
    masked = logits.to(_precise(logits.device)).nan_to_num_(nan=-1e30).clamp_(-1e30, 1e30)
    masked.masked_fill_(~allowed, -torch.inf)
    if uniforms is None:
        return masked.argmax(1)
    # transposed, because sums over the first dimension treat all rows in parallel; clamped, because exp is slow where
    # its result is subnormal
    weights = masked.t().contiguous()
    weights.sub_(weights.amax(0)).div_(temperature).clamp_(min=-80).exp_().mul_(allowed.t())
    total = weights.cumsum_(0)
    # A uniform is below 1 by at least half a unit in the last place, so the product is below the last sum. The first
    # sum above it belongs to an allowed production.
    return (total <= uniforms * total[-1]).sum(0)
