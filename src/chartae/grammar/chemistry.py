"""Molecules that are valid while they are decoded: what the grammar of SMILES cannot say of valences and rings.

The derivation is followed atom by atom. Every atom knows how many bonds it can still make; what its production of
``branched_atom`` promises (a ring bond, a branch, a next atom of the chain) is set aside before its element is chosen,
so that only elements with room for it are offered, and a bond of higher order only where both ends have room. Rings: a
digit may be opened only while enough atoms are still to come to close all rings that are open, on atoms that are not
neighbours of the one that opened them; where the last such atom is reached, it must close its ring. (The g rings that
one atom opened need g different atoms among the F to come, or the F - 1 that are not its next one. An atom has room for
three rings at least, so that this suffices for three openers; for more of them, R <= 3 (F - 1) open rings do.)

What is checked afterwards, by `aromatic.repair`, is that aromatic atoms form rings with alternating double bonds: this
hangs together over the whole molecule.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from chartae.grammar.builtin import load
from chartae.grammar.cfg import Grammar

__all__ = ["CAPACITY", "ELEMENTS", "Molecules", "State"]

#: in the order of the productions: aliphatic 4..13, aromatic 14..17
ELEMENTS = ("B", "C", "N", "O", "S", "P", "F", "I", "Cl", "Br", "c", "n", "o", "s")

# the most bonds and hydrogens of an atom with charge -1, 0, +1; never above what RDKit 2026.09 accepts (S- and P- and
# the positive halogens less). An aromatic atom's are its bonds as single ones, beside its share of a double bond.
CAPACITY = (
    (4, 3, 2),  # B
    (3, 4, 3),  # C
    (2, 3, 4),  # N
    (1, 2, 3),  # O
    (1, 6, 5),  # S
    (4, 5, 4),  # P
    (0, 1, 0),  # F
    (0, 1, 2),  # I
    (0, 1, 2),  # Cl
    (0, 1, 2),  # Br
    (-9, 3, -9),  # c
    (2, 3, 3),  # n
    (-9, 2, 2),  # o
    (-9, 2, 2),  # s
)
_MOST = 6  # of S
_C = ELEMENTS.index("c")
_RINGS = 8
_RING_STEPS = 3  # RB -> ringbond -> DIGIT -> '1'
_BRANCH_STEPS = 6  # BB -> branch -> ( chain ) -> branched_atom -> atom -> aliphatic_organic -> 'C'
_BRACKET_STEPS = 16  # more than anything within brackets can take

# what a DIGIT is part of
_ISOTOPE, _HYDROGENS, _CHARGE, _RING = range(4)


@dataclass
class State:
    """B derivations on their way; the widths A (atoms), D (depth of branches), S (stack) grow."""

    attributes: Tensor  # (B, S) of every nonterminal on the stack: 2 * depth + whether its atom has a next one
    height: Tensor  # (B,)
    coming: Tensor  # (B,) atoms to come for certain: chain and branched_atom on the stack
    atoms: Tensor  # (B,) atoms so far
    free: Tensor  # (B, A) bonds that an atom can still make, beside those set aside
    aromatic: Tensor  # (B, A)
    double: Tensor  # (B, A) whether an aromatic atom can have a double bond out of its ring
    frame: Tensor  # (B, D) the atom at the end of the chain at each depth, -1
    order: Tensor  # (B,) of the bond sign that was written last, 0 for none
    need: Tensor  # (B,) bonds of the atom that is being made
    forced: Tensor  # (B,) of these, what rings that it cannot leave open need beyond one
    aliphatic: Tensor  # (B,) whether it must be, to close a ring by a double bond
    incoming: Tensor  # (B,) the order of the one to the atom before it, of these
    followed: Tensor  # (B,) whether the atom has a next one in its chain
    inside: Tensor  # (B,) in brackets: 1 without, 2 with something behind the symbol; 0 outside
    element: Tensor  # (B,)
    hydrogens: Tensor  # (B,)
    charged: Tensor  # (B,) whether a charge is to come
    digit: Tensor  # (B,) what the next DIGIT is part of
    ringbond: Tensor  # (B,) whether the next bond sign is
    opener: Tensor  # (B, 8) the atom that opened each ring, -1
    ring_order: Tensor  # (B, 8) 0 as long as no sign was written
    excludes: Tensor  # (B, 8) whether the opener's next atom is still to come
    blocked: Tensor  # (B, 8) rings that the present atom cannot close: its own, and those of its neighbours
    outstanding: Tensor  # (B,) ring bonds of the present atom that are to come
    planned: Tensor  # (B,) of these, the ones that will close a ring


class _Groups(NamedTuple):
    rings: Tensor  # (B,) open
    openers: Tensor  # (B,) atoms that opened them
    critical: Tensor  # (B, 8) rings of openers with more of them than the atoms to come could close
    urgent: Tensor  # (B,) such openers
    wanted: Tensor  # (B,) rings that the present atom must close: at least one of each of these
    heavy: Tensor  # (B,) of these openers, the ones with a double ring bond
    lone: Tensor  # (B, 8) rings that are their opener's only one


class Molecules:
    """Semantics for a `StackDecoder` over ``zinc-smiles``: valences and rings, as the module says.

    Departures from SMILES, all towards caution: charges are -1, 0, +1; ring bonds are never triple, and double ones
    begin on aliphatic atoms; a double bond does not join two aromatic atoms; an aromatic atom is offered only while a
    ring is open or where it opens one. 99.5 % of ZINC's 250k molecules can be derived (`admits`);
    the rest open a ring that is closed within a branch of the same atom, or by a double bond that
    its opener has no room for.
    """

    def __init__(self, grammar: Grammar | None = None) -> None:
        own = load("zinc-smiles")
        if grammar is not None and grammar != own:
            raise ValueError(f"the semantics are those of 'zinc-smiles', but the grammar is {grammar!r}; load that one")
        self.grammar = own
        number = {n: k for k, n in enumerate(own.nonterminals)}
        self._rb = number["RB"]
        self._branched, self._padding = number["branched_atom"], own.padding
        carriers = {number["chain"], number["branched_atom"]}
        add = torch.zeros(own.size, 3, dtype=torch.long)
        clear = torch.zeros(own.size, 3, dtype=torch.bool)
        count = torch.zeros(own.size, dtype=torch.long)
        coming = torch.zeros(own.size, dtype=torch.long)
        for p, (lhs, rhs) in enumerate(own.rules):
            inner = [s for s in rhs if 0 <= s < len(number)][::-1]
            count[p] = len(inner)
            coming[p] = sum(s in carriers for s in inner) - (lhs in carriers)
            for i, s in enumerate(inner):
                if p in (73, 74) and s == number["chain"]:
                    clear[p, i], add[p, i] = True, 1
                if p in (70, 71):
                    clear[p, i], add[p, i] = True, 2
        self._tables = add, clear, count, coming, torch.tensor(CAPACITY)

    # -- life of a state -------------------------------------------------------------------------------------

    def begin(self, rows: int, device: torch.device) -> State:
        self._add, self._clear, self._count, self._coming, self._capacity = (a.to(device) for a in self._tables)

        def whole(*shape: int, fill: int = 0, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.full((rows, *shape), fill, dtype=dtype, device=device)

        def no(*shape: int) -> Tensor:
            return whole(*shape, dtype=torch.bool)

        return State(
            attributes=whole(32), height=whole() + 1, coming=whole(), atoms=whole(), free=whole(32, dtype=torch.int8),
            aromatic=no(32), double=no(32), frame=whole(8, fill=-1), order=whole(), need=whole(), forced=whole(),
            aliphatic=no(), incoming=whole(), followed=no(), inside=whole(), element=whole(), hydrogens=whole(),
            charged=no(), digit=whole(), ringbond=no(), opener=whole(_RINGS, fill=-1), ring_order=whole(_RINGS),
            excludes=no(_RINGS), blocked=no(_RINGS), outstanding=whole(), planned=whole(),
        )  # fmt: skip

    def select(self, state: State, rows: Tensor) -> State:
        return State(*(getattr(state, f.name).index_select(0, rows) for f in fields(State)))

    # -- rings -----------------------------------------------------------------------------------------------

    @staticmethod
    def _closable(opener: Tensor, usable: Tensor) -> Tensor:
        """(B, 8) the first of the usable rings of every opener, since two atoms are joined once."""
        same = (opener[:, :, None] == opener[:, None, :]) & usable[:, None, :]
        return usable & ~same.tril(-1).any(2)

    def _groups(self, s: State, excludes: Tensor, coming: Tensor) -> _Groups:
        """What the open rings ask of the atoms to come, `coming` (B,) of them."""
        opened = s.opener >= 0
        same = (s.opener[:, :, None] == s.opener[:, None, :]) & opened[:, None, :]
        size = same.sum(2) * opened
        first = opened & ~same.tril(-1).any(2)
        critical = opened & (size > coming[:, None] - excludes.long())
        heavy = (same & (s.ring_order == 2)[:, None, :]).any(2)
        rings, openers, lone = opened.sum(1), first.sum(1), (size == 1).sum(1)
        fewer = torch.where(lone >= openers - 3, openers - 3, _RINGS)
        short = torch.minimum(rings - 3 * (coming - 1), fewer)
        short = torch.where(self._fits(rings, openers, coming), 0, short)
        return _Groups(
            rings=rings,
            openers=openers,
            critical=critical,
            urgent=(first & critical).sum(1),
            wanted=torch.maximum((first & critical).sum(1), short),
            heavy=(first & critical & heavy).sum(1),
            lone=size == 1,
        )

    @staticmethod
    def _fits(rings: Tensor, openers: Tensor, coming: Tensor) -> Tensor:
        """Whether the atoms to come have room for the rings, beside what each opener's own rings ask."""
        return (openers <= 3) | (rings <= 3 * (coming - 1))

    def _before(self, s: State) -> tuple[Tensor, Tensor, Tensor]:
        """The atom that the next one will be bound to (-1 for none), whether as the next of its chain, its depth."""
        attribute = s.attributes.gather(1, (s.height - 1).clamp(min=0)[:, None])[:, 0]
        depth = attribute // 2
        own = s.frame.gather(1, depth[:, None])[:, 0]
        outer = torch.where(depth > 0, s.frame.gather(1, (depth - 1).clamp(min=0)[:, None])[:, 0], -1)
        return torch.where(own >= 0, own, outer), own >= 0, attribute

    def _at(self, table: Tensor, atom: Tensor) -> Tensor:
        return table.gather(1, atom.clamp(min=0)[..., None] if atom.ndim == 1 else atom.clamp(min=0)).view(atom.shape)

    # -- what may come ---------------------------------------------------------------------------------------

    def reserve(self, s: State, top: Tensor) -> Tensor:
        before, _, _ = self._before(s)
        opened = s.opener >= 0
        # where a ring can be closed the steps of closing it are counted as those of the choice that leads there; the
        # other choices pay for them (`_atom`)
        closes = (opened & (s.opener != before[:, None])).any(1) & (top == self._branched)
        more = self._closable(s.opener, opened & ~s.blocked).sum(1) > s.planned
        lower = closes | (more & (top == self._rb))
        return _RING_STEPS * (opened.sum(1) + s.outstanding - 2 * s.planned - lower.long())

    def allowed(self, s: State, top: Tensor, slack: Tensor) -> Tensor:
        allow = torch.ones(len(top), self.grammar.size, dtype=torch.bool, device=top.device)
        before, chained, attribute = self._before(s)
        rings = (s.opener >= 0).sum(1)
        self._atom(allow, s, before, chained, attribute % 2, slack)
        self._element(allow, s, before, rings, slack)
        self._bracket(allow, s)
        self._digits(allow, s, slack)
        self._bonds(allow, s, before)
        return allow

    def _atom(self, allow: Tensor, s: State, before: Tensor, chained: Tensor, followed: Tensor, slack: Tensor) -> None:
        coming = s.coming - 1
        touching = s.opener == before[:, None]
        excludes = s.excludes & ~(touching & chained[:, None])
        g = self._groups(s, excludes, coming)
        closes = ((s.opener >= 0) & ~touching).any(1)
        lone = (g.wanted == 0) & (slack >= _RING_STEPS * closes)
        opens = (g.wanted == 0) & (g.rings < _RINGS) & self._fits(g.rings + 1, g.openers + 1, coming)
        opens = opens & (coming - followed >= 1) & (slack >= 2 * _RING_STEPS)
        ring = closes | opens
        base = torch.where(before >= 0, s.order.clamp(min=1), 0) + followed
        bonds = base + self._load(s, g, touching)
        allow[:, 62] = lone & (base <= _MOST)
        allow[:, 63] = ring & (bonds <= _MOST)
        allow[:, 64] = lone & (base + 1 <= _MOST) & (slack >= _RING_STEPS * closes + _BRANCH_STEPS)
        allow[:, 65] = (closes | (opens & (slack >= 2 * _RING_STEPS + _BRANCH_STEPS))) & (bonds + 1 <= _MOST)

    @staticmethod
    def _load(s: State, g: _Groups, touching: Tensor) -> Tensor:
        """(B,) bonds that an atom with ring bonds must have room for: those it cannot leave open, or the first."""
        usable = (s.opener >= 0) & ~touching
        twofold = usable.any(1) & ~(usable & (s.ring_order < 2)).any(1)
        return torch.maximum(g.wanted + g.heavy, 1 + twofold.long())

    def _element(self, allow: Tensor, s: State, before: Tensor, rings: Tensor, slack: Tensor) -> None:
        capacity = self._capacity  # (14, 3)
        need = s.need
        joined = (s.incoming == 2) & self._at(s.aromatic, before) & (before >= 0)
        soft = need - (s.incoming == 2).long()
        aromatic = ((rings > 0) | (s.outstanding > 0)) & (s.incoming < 3) & ~joined & ~s.aliphatic
        allow[:, 1] = slack >= _BRACKET_STEPS
        # in brackets a hydrogen or a charge may follow, or must
        plain, best = capacity[:, 1], capacity[:, [0, 2]].amax(1)
        for lo, hi, wanted in ((0, 10, need), (10, 14, soft)):
            room = plain[None, lo:hi] - wanted[:, None]
            charged = best[None, lo:hi] >= wanted[:, None]
            more = charged | (room >= 1) | ((room >= 0) & (lo == 0))
            allow[:, 4 + lo : 4 + hi] = torch.where((s.inside == 2)[:, None], more, room >= 0)
        only = s.incoming == 2
        allow[:, 15:18] &= ~only[:, None]
        allow[:, 3] = allow[:, 33] = aromatic & allow[:, 14:18].any(1)

    def _bracket(self, allow: Tensor, s: State) -> None:
        capacity = self._capacity[s.element]
        aromatic = s.element >= _C
        need = s.need - (aromatic & (s.incoming == 2)).long()
        room = capacity[:, 1] - need
        charged = capacity[:, [0, 2]].amax(1) - need
        behind = (room >= 1) | (charged >= 0)
        allow[:, 23] = behind & ~aromatic
        allow[:, 24] = behind
        allow[:, 25] = (room >= 0) & ~aromatic
        allow[:, 26] = charged >= 1
        allow[:, 27] = charged >= 0
        allow[:, 28] = room >= 1
        negative, positive = capacity[:, 0] - need - s.hydrogens, capacity[:, 2] - need - s.hydrogens
        allow[:, 49] = allow[:, 50] = negative >= 0
        allow[:, 52] = allow[:, 53] = positive >= 0
        allow[:, 51] = allow[:, 54] = False
        digits = torch.arange(1, 9, device=allow.device)
        most = torch.where(s.charged, charged, room)
        hydrogens = digits[None] <= most[:, None]
        free = torch.where((s.digit == _HYDROGENS)[:, None], hydrogens, True)
        allow[:, 37:45] = torch.where((s.digit == _CHARGE)[:, None], digits[None] == 1, free)

    def _digits(self, allow: Tensor, s: State, slack: Tensor) -> None:
        present = s.atoms - 1
        free, soft = self._at(s.free, present), self._at(s.aromatic, present)
        g = self._groups(s, s.excludes, s.coming)
        opened = s.opener >= 0
        usable = opened & ~s.blocked
        own = (opened & (s.opener == present[:, None])).sum(1)
        # a double ring bond that may be closed here keeps its room
        spare = free - ((usable & (s.ring_order == 2)).any(1) & ~soft).long()
        closable = self._closable(s.opener, usable & ((s.ring_order < 2) | ((free >= 1) & ~soft)[:, None]))
        lone = (closable & g.lone).sum(1)
        number = closable.sum(1)

        # another ring bond for this atom
        total = s.outstanding + 1
        lower = number > s.planned
        sizes = number, g.rings, g.openers, lone, own
        paid = lower | (slack >= 2 * _RING_STEPS)
        allow[:, 66] = (s.outstanding < g.wanted) | ((spare >= 1) & self._left(s, total, *sizes) & paid)
        allow[:, 67] = (
            (s.outstanding >= g.urgent) & self._left(s, s.outstanding, *sizes) & (slack >= _RING_STEPS * lower)
        )
        # which digits, by the order that was written (0: none)
        later = s.outstanding - 1
        at_ease = g.urgent <= later
        open_after, lone_after = (x[:, None] - g.lone.long() for x in (g.openers, lone))
        close = usable & (g.critical | at_ease[:, None])
        bonds, others, rings = later[:, None], (number - 1)[:, None], (g.rings - 1)[:, None]
        close = close & self._left(s, bonds, others, rings, open_after, lone_after, own[:, None])
        planned = torch.minimum(s.planned, later)
        paid = slack >= 2 * _RING_STEPS * (s.planned - planned)
        fresh = at_ease & paid & (g.rings < _RINGS) & (own + 1 <= s.coming - s.followed.long())
        fresh = fresh & self._left(s, later, number, g.rings + 1, g.openers + (own == 0).long(), lone, own + 1)
        opens = ~opened & fresh[:, None]
        double = ~soft & (spare >= 1) & ~(opened & (s.ring_order == 2)).any(1)
        twofold = ((free >= 1) & ~soft)[:, None]
        easily = ((spare >= 1) & ~soft)[:, None]
        elsewhere = self._at(s.free, s.opener) >= 1
        upgrade = (s.ring_order == 0) & ((elsewhere & ~self._at(s.aromatic, s.opener)) | self._at(s.double, s.opener))
        digits = {
            0: opens | (close & ((s.ring_order < 2) | twofold)),
            1: opens | (close & (s.ring_order < 2)),
            2: (opens & double[:, None]) | (close & ((twofold & (s.ring_order == 2)) | (easily & upgrade))),
        }
        written = torch.where(
            (s.order == 2)[:, None], digits[2], torch.where((s.order == 1)[:, None], digits[1], digits[0])
        )
        allow[:, 37:45] = torch.where((s.digit == _RING)[:, None], written, allow[:, 37:45])
        one, two = digits[1].any(1), digits[2].any(1)
        allow[:, 60] = digits[0].any(1)
        allow[:, 61] = one | two
        allow[:, 55] = allow[:, 58] = allow[:, 59] = one
        allow[:, 56] = two

    def _left(
        self, s: State, bonds: Tensor, number: Tensor, rings: Tensor, openers: Tensor, lone: Tensor, own: Tensor
    ) -> Tensor:
        """Whether so many ring bonds of this atom can be had, as many as can be by closing rings: with `number` rings
        that can be closed (`lone` the only one of their opener), of `rings` by `openers`, `own` by this atom."""
        closing = torch.minimum(bonds, number).clamp(min=0)
        opening = (bonds - closing).clamp(min=0)
        rings = rings - closing + opening
        openers = openers - torch.minimum(closing, lone) + ((opening > 0) & (own == 0)).long()
        coming, followed = s.coming, s.followed.long()
        if bonds.ndim == 2:  # for each of the eight digits
            coming, followed = coming[:, None], followed[:, None]
        room = (opening == 0) | ((own + opening <= coming - followed) & (rings <= _RINGS))
        return self._fits(rings, openers, coming) & room

    def _bonds(self, allow: Tensor, s: State, before: Tensor) -> None:
        free, soft = self._at(s.free, before), self._at(s.aromatic, before)
        # the next atom, for which the bond is, must have room for the rings that it cannot leave open
        chained = self._before(s)[1]
        touching = (s.opener == before[:, None]) & chained[:, None]
        g = self._groups(s, s.excludes & ~touching, s.coming - 1)
        double = ((free >= 1) & ~soft) | self._at(s.double, before)
        double = double & (g.wanted + g.heavy + 3 <= _MOST)
        triple = (free >= 2) & ~soft & (g.wanted + g.heavy + 4 <= _MOST)
        ring = s.ringbond
        for p in (55, 58, 59):
            allow[:, p] |= ~ring
        allow[:, 56] = torch.where(ring, allow[:, 56], double)
        allow[:, 57] = ~ring & triple
        allow[:, 68] = free >= 1

    # -- what it does ----------------------------------------------------------------------------------------

    def advance(self, s: State, p: Tensor) -> State:
        live = p != self._padding
        before, chained, attribute = self._before(s)
        s.digit = torch.where((p >= 34) & (p <= 36), _ISOTOPE, s.digit)
        s.digit = torch.where(p == 48, _HYDROGENS, s.digit)
        s.digit = torch.where((p == 50) | (p == 53), _CHARGE, s.digit)
        s.digit = torch.where((p == 60) | (p == 61), _RING, s.digit)
        self._ring(s, p)
        self._bond(s, p, before)
        self._begin_atom(s, p, before, chained, attribute)
        self._make_atom(s, p, before, attribute // 2)
        self._push(s, p, attribute, live)
        return s

    def _push(self, s: State, p: Tensor, attribute: Tensor, live: Tensor) -> None:
        depth = attribute // 2 + 1
        if int(depth.max()) >= s.frame.shape[1]:
            s.frame = pad(s.frame, (0, s.frame.shape[1]), value=-1)
        branch = ((p == 70) | (p == 71))[:, None]
        s.frame.scatter_(1, depth[:, None], torch.where(branch, -1, s.frame.gather(1, depth[:, None])))
        if int(s.height.max()) + 3 > s.attributes.shape[1]:
            s.attributes = pad(s.attributes, (0, s.attributes.shape[1]))
        clear = self._clear.index_select(0, p)
        pushed = torch.where(clear, attribute[:, None] // 2 * 2, attribute[:, None]) + self._add.index_select(0, p)
        places = (s.height - 1).clamp(min=0)[:, None] + torch.arange(3, device=p.device)
        s.attributes.scatter_(1, places, pushed)
        s.height = torch.where(live, s.height - 1 + self._count.index_select(0, p), s.height)
        s.coming = s.coming + self._coming.index_select(0, p)

    def _bond(self, s: State, p: Tensor, before: Tensor) -> None:
        sign = (p >= 55) & (p <= 59)
        order = torch.where(p == 56, 2, torch.where(p == 57, 3, 1))
        s.order = torch.where(sign, order, s.order)
        link = sign & ~s.ringbond & (order > 1)
        soft = self._at(s.aromatic, before)
        place = before.clamp(min=0)[:, None]
        taken = torch.where(link & ~soft, order - 1, 0)
        s.free.scatter_add_(1, place, -taken[:, None].to(torch.int8))
        s.double.scatter_(1, place, (s.double.gather(1, place)[:, 0] & ~(link & soft))[:, None])
        s.free.scatter_add_(1, place, -(p == 68)[:, None].to(torch.int8))
        s.ringbond = torch.where(p == 61, True, torch.where(sign, False, s.ringbond))

    def _begin_atom(self, s: State, p: Tensor, before: Tensor, chained: Tensor, attribute: Tensor) -> None:
        begins = (p >= 62) & (p <= 65)
        ring = (p == 63) | (p == 65)
        branch = (p == 64) | (p == 65)
        touching = s.opener == before[:, None]
        s.excludes = s.excludes & ~(touching & (begins & chained)[:, None])
        opened = s.opener >= 0
        s.blocked = torch.where(begins[:, None], opened & touching, s.blocked)
        usable = opened & ~s.blocked
        g = self._groups(s, s.excludes, s.coming - 1)
        incoming = torch.where(before >= 0, s.order.clamp(min=1), 0)
        follows = attribute % 2
        forced = ring.long() * self._load(s, g, touching)
        # what is forced is set aside for the choice of the element only: ring bonds come next, before anything else
        s.forced = torch.where(begins, (forced - 1).clamp(min=0), s.forced)
        twofold = (usable & (s.ring_order == 2)).any(1) & (forced > g.wanted)
        s.aliphatic = torch.where(begins, ring & twofold, s.aliphatic)
        need = incoming + follows + forced + branch.long()
        s.need = torch.where(begins, need, s.need)
        s.incoming = torch.where(begins, incoming, s.incoming)
        s.order = torch.where(begins, 0, s.order)
        s.followed = torch.where(begins, follows > 0, s.followed)
        s.outstanding = torch.where(begins, ring.long(), s.outstanding)
        s.planned = torch.where(begins, (ring & usable.any(1)).long(), s.planned)
        for name, value in (("inside", 0), ("hydrogens", 0)):
            setattr(s, name, torch.where(begins, value, getattr(s, name)))
        s.charged = s.charged & ~begins

    def _make_atom(self, s: State, p: Tensor, before: Tensor, depth: Tensor) -> None:
        s.inside = torch.where((p == 19) | (p == 20), 2, torch.where((p == 21) | (p == 22), 1, s.inside))
        made = (p >= 4) & (p <= 17)
        s.element = torch.where(made, p - 4, s.element)
        aromatic = s.element >= _C
        if int(s.atoms.max()) >= s.free.shape[1]:
            wider = (0, s.free.shape[1])
            s.free, s.aromatic, s.double = pad(s.free, wider), pad(s.aromatic, wider), pad(s.double, wider)
        # hydrogens and charges within brackets change the room of the atom that was made last
        s.charged = s.charged | (p == 26) | (p == 27)
        s.hydrogens = torch.where((p == 47) | (p == 48), 1, s.hydrogens)
        counted = (p >= 37) & (p <= 44) & (s.digit == _HYDROGENS)
        s.hydrogens = torch.where(counted, p - 36, s.hydrogens)
        negative, positive = (p == 49) | (p == 50), (p == 52) | (p == 53)
        changed = made | negative | positive | (((p == 47) | (p == 48) | counted) & (s.inside > 0))
        charge = torch.where(negative, 0, torch.where(positive, 2, 1))
        soft = (aromatic & (s.incoming == 2)).long()
        room = self._capacity[s.element, charge] - (s.need - soft) - s.hydrogens
        s.atoms = s.atoms + made.long()
        place = (s.atoms - 1).clamp(min=0)[:, None]

        self._put(s.free, place, room + s.forced, changed)
        self._put(s.aromatic, place, aromatic, made)
        self._put(s.double, place, (s.element == _C) & (s.incoming < 2), made)
        end = s.frame.gather(1, depth[:, None])[:, 0]
        s.frame.scatter_(1, depth[:, None], torch.where(made, s.atoms - 1, end)[:, None])

    @staticmethod
    def _put(table: Tensor, place: Tensor, value: Tensor, where: Tensor) -> None:
        before = table.gather(1, place)[:, 0]
        table.scatter_(1, place, torch.where(where, value.to(table.dtype), before)[:, None])

    def _ring(self, s: State, p: Tensor) -> None:
        present = (s.atoms - 1).clamp(min=0)
        more = p == 66
        opened = s.opener >= 0
        room = (self._at(s.free, present) > more) & ~self._at(s.aromatic, present)
        usable = opened & ~s.blocked & ((s.ring_order < 2) | room[:, None])
        closable = self._closable(s.opener, usable).sum(1)
        s.outstanding = s.outstanding + more.long()
        s.planned = torch.where(more, torch.minimum(s.outstanding, closable), s.planned)
        acts = (p >= 37) & (p <= 44) & (s.digit == _RING)
        which = torch.nn.functional.one_hot((p - 37).clamp(0, 7), _RINGS).bool() & acts[:, None]
        opens, closes = which & ~opened, which & opened
        closing = closes.any(1)
        other = torch.where(closes, s.opener, 0).sum(1)
        order = torch.where(closing & (s.order == 0), torch.where(closes, s.ring_order, 0).sum(1), s.order)
        taken = more.long() + (acts & (order == 2)).long()
        s.free.scatter_add_(1, present[:, None], -taken[:, None].to(torch.int8))
        # a ring whose opener wrote no sign, closed by a double bond: the opener makes it too
        upgraded = closing & (order == 2) & (torch.where(closes, s.ring_order, 0).sum(1) == 0)
        soft = self._at(s.aromatic, other)
        s.free.scatter_add_(1, other[:, None], -(upgraded & ~soft).to(torch.int8)[:, None])
        s.double.scatter_(1, other[:, None], (self._at(s.double, other) & ~(upgraded & soft))[:, None])
        s.blocked = s.blocked | (closing[:, None] & opened & (s.opener == other[:, None])) | opens
        s.blocked = s.blocked & ~closes
        s.opener = torch.where(opens, present[:, None], torch.where(closes, -1, s.opener))
        s.ring_order = torch.where(opens, s.order[:, None], torch.where(closes, 0, s.ring_order))
        s.excludes = torch.where(opens, s.followed[:, None], s.excludes & ~closes)
        s.outstanding = s.outstanding - acts.long()
        s.planned = torch.where(acts, torch.where(closing, (s.planned - 1).clamp(min=0), s.planned), s.planned)
        s.planned = torch.minimum(s.planned, s.outstanding.clamp(min=0))
        s.order = torch.where(acts, 0, s.order)

    # -- whole derivations -----------------------------------------------------------------------------------

    def admits(self, productions: Tensor) -> Tensor:
        """(B,) whether a derivation, a row of (B, T) with padding, could have been decoded under these masks."""
        rows, steps = productions.shape
        state = self.begin(rows, productions.device)
        lhs = torch.from_numpy(self.grammar.lhs).to(productions.device)
        # no step is scarce: the derivation is there
        slack = torch.full((rows,), 1 << 20, device=productions.device)
        good = torch.ones(rows, dtype=torch.bool, device=productions.device)
        for t in range(steps):
            p = productions[:, t].long()
            fine = self.allowed(state, lhs[p], slack).gather(1, p[:, None])[:, 0]
            good &= fine | (p == self._padding)
            state = self.advance(state, p)
        return good
