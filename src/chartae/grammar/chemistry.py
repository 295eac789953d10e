"""Masks for valences and rings, which the grammar of SMILES cannot express, so that decoded molecules are valid.

The masks follow the derivation atom by atom.

Valences: every atom has a number of bonds that it can still make. Its production of ``branched_atom`` requires bonds (a
ring bond, a branch, the next atom of the chain). These are reserved before its element is chosen, so that only elements
with enough free bonds are allowed. A double or triple bond is allowed only if both atoms have enough free bonds.

Rings: a ring may be opened only if enough atoms follow to close all open rings, on atoms that are not bonded to the one
that opened them (the opener). When the last such atom is reached, it must close its ring. The g rings of one opener
need g different atoms among the F atoms that follow, or among F - 1 of them if the next atom of its chain is still to
follow. Every atom has room for at least three rings, so this condition suffices for up to three openers; with more of
them, R open rings must also satisfy R <= 3 (F - 1).

Alternating double bonds of aromatic rings depend on the whole molecule. `aromatic.repair` checks them after decoding.
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

#: elements in the order of their productions: aliphatic 4 to 13, aromatic 14 to 17
ELEMENTS = ("B", "C", "N", "O", "S", "P", "F", "I", "Cl", "Br", "c", "n", "o", "s")

# Largest number of bonds and hydrogens of an atom with charge -1, 0, +1, at most what RDKit 2026.09 accepts (for S-, P-
# and the positive halogens less). Bonds of an aromatic atom count as single bonds, without its part in a double bond.
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
_MOST = 6  # the largest capacity, that of S
_C = ELEMENTS.index("c")
_RINGS = 8  # ring digits
_RING_STEPS = 3  # RB -> ringbond -> DIGIT -> '1'
_BRANCH_STEPS = 6  # BB -> branch -> ( chain ) -> branched_atom -> atom -> aliphatic_organic -> 'C'
_BRACKET_STEPS = 16  # more steps than any bracket atom takes

# what the next DIGIT stands for
_ISOTOPE, _HYDROGENS, _CHARGE, _RING = range(4)


@dataclass
class State:
    """State of B unfinished derivations; the widths A (atoms), D (depth of branches) and S (stack) grow as needed.

    The present atom is the one that is being written.
    """

    attributes: Tensor  # (B, S) for every nonterminal on the stack, 2 * depth + whether its atom has a next one
    height: Tensor  # (B,) height of the stack
    coming: Tensor  # (B,) atoms that are certain to follow: chain and branched_atom on the stack
    atoms: Tensor  # (B,) number of atoms so far
    free: Tensor  # (B, A) bonds that an atom can still make, without those that are reserved
    aromatic: Tensor  # (B, A) whether an atom is aromatic
    double: Tensor  # (B, A) whether an aromatic atom can have a double bond out of its ring
    frame: Tensor  # (B, D) the last atom of the chain at each depth, -1 for none
    order: Tensor  # (B,) order of the last bond sign, 0 for none
    need: Tensor  # (B,) bonds that the present atom needs
    forced: Tensor  # (B,) those of `need` beyond the first ring bond that close rings which cannot stay open
    aliphatic: Tensor  # (B,) whether the present atom must be aliphatic, to close a ring by a double bond
    incoming: Tensor  # (B,) order of the bond to the previous atom, part of `need`
    followed: Tensor  # (B,) whether the present atom has a next one in its chain
    inside: Tensor  # (B,) 0 outside brackets; in brackets 2 if something follows the symbol, else 1
    element: Tensor  # (B,) element of the present atom, an index of ELEMENTS
    hydrogens: Tensor  # (B,) hydrogens that its brackets name
    charged: Tensor  # (B,) whether a charge follows in its brackets
    digit: Tensor  # (B,) what the next DIGIT stands for
    ringbond: Tensor  # (B,) whether the next bond sign is that of a ring bond
    opener: Tensor  # (B, 8) the atom that opened each ring, -1 for none
    ring_order: Tensor  # (B, 8) bond order of each ring, 0 if its opener wrote no sign
    excludes: Tensor  # (B, 8) whether the next atom of the opener's chain still follows; it cannot close the ring
    blocked: Tensor  # (B, 8) rings that the present atom cannot close: its own, and those of its neighbours
    outstanding: Tensor  # (B,) ring bonds of the present atom that are still to be written
    planned: Tensor  # (B,) those of `outstanding` that will close a ring


class _OpenRings(NamedTuple):
    rings: Tensor  # (B,) number of open rings
    openers: Tensor  # (B,) number of atoms that opened them
    critical: Tensor  # (B, 8) rings of openers that have more open rings than the following atoms could close
    urgent: Tensor  # (B,) number of such openers
    wanted: Tensor  # (B,) rings that the present atom must close: at least one of each urgent opener
    heavy: Tensor  # (B,) number of urgent openers with a double ring bond
    lone: Tensor  # (B, 8) rings that are the only one of their opener


class Molecules:
    """Semantics for a `StackDecoder` over ``zinc-smiles`` that respects valences and closes rings.

    At each step it excludes the productions that no valid molecule could follow: elements with too few free bonds,
    bonds of too high an order, and rings that the following atoms could not close. `repair` then settles the double
    bonds of aromatic rings.

    The masks are stricter than SMILES. Charges are -1, 0 or +1. Ring bonds are never triple, and double ring bonds
    begin on aliphatic atoms. A double bond does not join two aromatic atoms. An aromatic atom is allowed only while a
    ring is open, or if it opens one. 99.5 % of ZINC's 250k molecules can be derived (see `admits`). The others open a
    ring that is closed within a branch of the same atom, or by a double bond for which its opener has no room.

    Args:
        grammar: the grammar ``zinc-smiles`` or None (default), which loads it.

    Raises:
        ValueError: `grammar` is another grammar.

    >>> import torch
    >>> from chartae.grammar import Molecules, load
    >>> g = load("zinc-smiles")
    >>> ids = g.encode(["CCO", "CC(C)(C)(C)C"])  # the second has a carbon with five bonds
    >>> Molecules().admits(torch.from_numpy(ids.padded(g.padding)))
    tensor([ True, False])
    """

    def __init__(self, grammar: Grammar | None = None) -> None:
        zinc = load("zinc-smiles")
        if grammar is not None and grammar != zinc:
            raise ValueError(
                f"grammar is {grammar!r}; expected the grammar 'zinc-smiles', for which the masks are written. Load it"
                " by chartae.grammar.load('zinc-smiles')."
            )
        self.grammar = zinc
        number = {n: k for k, n in enumerate(zinc.nonterminals)}
        self._rb = number["RB"]
        self._branched, self._padding = number["branched_atom"], zinc.padding
        carriers = {number["chain"], number["branched_atom"]}
        add = torch.zeros(zinc.size, 3, dtype=torch.long)
        clear = torch.zeros(zinc.size, 3, dtype=torch.bool)
        count = torch.zeros(zinc.size, dtype=torch.long)
        coming = torch.zeros(zinc.size, dtype=torch.long)
        for p, (lhs, rhs) in enumerate(zinc.rules):
            children = [s for s in rhs if 0 <= s < len(number)][::-1]
            count[p] = len(children)
            coming[p] = sum(s in carriers for s in children) - (lhs in carriers)
            for i, s in enumerate(children):
                if p in (73, 74) and s == number["chain"]:
                    clear[p, i], add[p, i] = True, 1
                if p in (70, 71):
                    clear[p, i], add[p, i] = True, 2
        self._tables = add, clear, count, coming, torch.tensor(CAPACITY)

    # -- states ----------------------------------------------------------------------------------------------

    def begin(self, rows: int, device: torch.device) -> State:
        """The state of `rows` empty derivations."""
        self._add, self._clear, self._count, self._coming, self._capacity = (a.to(device) for a in self._tables)

        def ints(*shape: int, fill: int = 0, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.full((rows, *shape), fill, dtype=dtype, device=device)

        def false(*shape: int) -> Tensor:
            return ints(*shape, dtype=torch.bool)

        return State(
            attributes=ints(32), height=ints() + 1, coming=ints(), atoms=ints(), free=ints(32, dtype=torch.int8),
            aromatic=false(32), double=false(32), frame=ints(8, fill=-1), order=ints(), need=ints(), forced=ints(),
            aliphatic=false(), incoming=ints(), followed=false(), inside=ints(), element=ints(), hydrogens=ints(),
            charged=false(), digit=ints(), ringbond=false(), opener=ints(_RINGS, fill=-1), ring_order=ints(_RINGS),
            excludes=false(_RINGS), blocked=false(_RINGS), outstanding=ints(), planned=ints(),
        )  # fmt: skip

    def select(self, state: State, rows: Tensor) -> State:
        """The state of the rows with these numbers."""
        return State(*(getattr(state, f.name).index_select(0, rows) for f in fields(State)))

    # -- rings -----------------------------------------------------------------------------------------------

    @staticmethod
    def _closable(opener: Tensor, usable: Tensor) -> Tensor:
        """(B, 8) the first of the usable rings of every opener, because two atoms are bonded only once."""
        same = (opener[:, :, None] == opener[:, None, :]) & usable[:, None, :]
        return usable & ~same.tril(-1).any(2)

    def _open_rings(self, s: State, excludes: Tensor, coming: Tensor) -> _OpenRings:
        """What the open rings require of the `coming` (B,) atoms that follow."""
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
        return _OpenRings(
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
        """Whether the following atoms have room for all rings together."""
        return (openers <= 3) | (rings <= 3 * (coming - 1))

    def _previous(self, s: State) -> tuple[Tensor, Tensor, Tensor]:
        """The atom that the next one is bonded to (-1 for none), whether both are in the same chain, the attribute."""
        attribute = s.attributes.gather(1, (s.height - 1).clamp(min=0)[:, None])[:, 0]
        depth = attribute // 2
        chain_end = s.frame.gather(1, depth[:, None])[:, 0]
        outer = torch.where(depth > 0, s.frame.gather(1, (depth - 1).clamp(min=0)[:, None])[:, 0], -1)
        return torch.where(chain_end >= 0, chain_end, outer), chain_end >= 0, attribute

    def _at(self, table: Tensor, atom: Tensor) -> Tensor:
        """The entries of a table (B, A) at one atom (B,) or at several (B, n) of each row."""
        return table.gather(1, atom.clamp(min=0)[..., None] if atom.ndim == 1 else atom.clamp(min=0)).view(atom.shape)

    # -- the masks -------------------------------------------------------------------------------------------

    def reserve(self, s: State, top: Tensor) -> Tensor:
        """(B,) steps that closing the open rings takes in addition to the fewest that the grammar needs."""
        previous, _, _ = self._previous(s)
        opened = s.opener >= 0
        # Where a ring can be closed, the steps for it are not reserved: the choice that closes it takes them, and the
        # other choices need as much slack (see `_mask_atoms`).
        closes = (opened & (s.opener != previous[:, None])).any(1) & (top == self._branched)
        more = self._closable(s.opener, opened & ~s.blocked).sum(1) > s.planned
        lower = closes | (more & (top == self._rb))
        return _RING_STEPS * (opened.sum(1) + s.outstanding - 2 * s.planned - lower.long())

    def allowed(self, s: State, top: Tensor, slack: Tensor) -> Tensor:
        """(B, P) bool, the productions after which the molecule can still be completed.

        Args:
            s: state of B derivations.
            top: (B,) nonterminals on top of the stacks.
            slack: (B,) steps left beyond those that the derivation needs at least.
        """
        allow = torch.ones(len(top), self.grammar.size, dtype=torch.bool, device=top.device)
        previous, chained, attribute = self._previous(s)
        rings = (s.opener >= 0).sum(1)
        self._mask_atoms(allow, s, previous, chained, attribute % 2, slack)
        self._mask_elements(allow, s, previous, rings, slack)
        self._mask_brackets(allow, s)
        self._mask_digits(allow, s, slack)
        self._mask_bonds(allow, s, previous)
        return allow

    def _mask_atoms(
        self, allow: Tensor, s: State, previous: Tensor, chained: Tensor, followed: Tensor, slack: Tensor
    ) -> None:
        coming = s.coming - 1
        touching = s.opener == previous[:, None]
        excludes = s.excludes & ~(touching & chained[:, None])
        g = self._open_rings(s, excludes, coming)
        closes = ((s.opener >= 0) & ~touching).any(1)
        no_ring = (g.wanted == 0) & (slack >= _RING_STEPS * closes)
        opens = (g.wanted == 0) & (g.rings < _RINGS) & self._fits(g.rings + 1, g.openers + 1, coming)
        opens = opens & (coming - followed >= 1) & (slack >= 2 * _RING_STEPS)
        ring = closes | opens
        base = torch.where(previous >= 0, s.order.clamp(min=1), 0) + followed
        bonds = base + self._ring_bonds(s, g, touching)
        allow[:, 62] = no_ring & (base <= _MOST)
        allow[:, 63] = ring & (bonds <= _MOST)
        allow[:, 64] = no_ring & (base + 1 <= _MOST) & (slack >= _RING_STEPS * closes + _BRANCH_STEPS)
        allow[:, 65] = (closes | (opens & (slack >= 2 * _RING_STEPS + _BRANCH_STEPS))) & (bonds + 1 <= _MOST)

    @staticmethod
    def _ring_bonds(s: State, g: _OpenRings, touching: Tensor) -> Tensor:
        """(B,) bonds that an atom needs for its ring bonds: for the rings that it must close, and for one at least."""
        usable = (s.opener >= 0) & ~touching
        only_double = usable.any(1) & ~(usable & (s.ring_order < 2)).any(1)
        return torch.maximum(g.wanted + g.heavy, 1 + only_double.long())

    def _mask_elements(self, allow: Tensor, s: State, previous: Tensor, rings: Tensor, slack: Tensor) -> None:
        capacity = self._capacity  # (14, 3)
        double = s.incoming == 2
        joined = double & self._at(s.aromatic, previous) & (previous >= 0)
        aromatic_need = s.need - double.long()
        aromatic = ((rings > 0) | (s.outstanding > 0)) & (s.incoming < 3) & ~joined & ~s.aliphatic
        allow[:, 1] = slack >= _BRACKET_STEPS
        # in brackets a hydrogen or a charge may follow the symbol, or must follow it
        neutral, charged = capacity[:, 1], capacity[:, [0, 2]].amax(1)
        for lo, hi, need in ((0, 10, s.need), (10, 14, aromatic_need)):
            room = neutral[None, lo:hi] - need[:, None]
            enough_if_charged = charged[None, lo:hi] >= need[:, None]
            bracketed = enough_if_charged | (room >= 1) | ((room >= 0) & (lo == 0))
            allow[:, 4 + lo : 4 + hi] = torch.where((s.inside == 2)[:, None], bracketed, room >= 0)
        # of the aromatic elements, only c can have a double bond out of its ring
        allow[:, 15:18] &= ~double[:, None]
        allow[:, 3] = allow[:, 33] = aromatic & allow[:, 14:18].any(1)

    def _mask_brackets(self, allow: Tensor, s: State) -> None:
        capacity = self._capacity[s.element]
        aromatic = s.element >= _C
        need = s.need - (aromatic & (s.incoming == 2)).long()
        room = capacity[:, 1] - need
        charged = capacity[:, [0, 2]].amax(1) - need
        hydrogens_or_charge = (room >= 1) | (charged >= 0)
        allow[:, 23] = hydrogens_or_charge & ~aromatic
        allow[:, 24] = hydrogens_or_charge
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
        uncharged = torch.where((s.digit == _HYDROGENS)[:, None], hydrogens, True)
        allow[:, 37:45] = torch.where((s.digit == _CHARGE)[:, None], digits[None] == 1, uncharged)

    def _mask_digits(self, allow: Tensor, s: State, slack: Tensor) -> None:
        present = s.atoms - 1
        free, aromatic = self._at(s.free, present), self._at(s.aromatic, present)
        g = self._open_rings(s, s.excludes, s.coming)
        opened = s.opener >= 0
        usable = opened & ~s.blocked
        present_rings = (opened & (s.opener == present[:, None])).sum(1)
        # the free bond that a double ring bond needs, if it may be closed here, is kept
        spare = free - ((usable & (s.ring_order == 2)).any(1) & ~aromatic).long()
        closable = self._closable(s.opener, usable & ((s.ring_order < 2) | ((free >= 1) & ~aromatic)[:, None]))
        lone = (closable & g.lone).sum(1)
        number = closable.sum(1)

        # whether the present atom gets another ring bond
        total = s.outstanding + 1
        closes_more = number > s.planned
        sizes = number, g.rings, g.openers, lone, present_rings
        affordable = closes_more | (slack >= 2 * _RING_STEPS)
        possible = (spare >= 1) & self._can_place(s, total, *sizes) & affordable
        allow[:, 66] = (s.outstanding < g.wanted) | possible
        allow[:, 67] = (
            (s.outstanding >= g.urgent)
            & self._can_place(s, s.outstanding, *sizes)
            & (slack >= _RING_STEPS * closes_more)
        )
        # which digits are allowed, for each order of the bond sign (0 for none)
        later = s.outstanding - 1
        not_urgent = g.urgent <= later
        openers_after, lone_after = (x[:, None] - g.lone.long() for x in (g.openers, lone))
        close = usable & (g.critical | not_urgent[:, None])
        bonds, others, rings = later[:, None], (number - 1)[:, None], (g.rings - 1)[:, None]
        close = close & self._can_place(s, bonds, others, rings, openers_after, lone_after, present_rings[:, None])
        planned = torch.minimum(s.planned, later)
        affordable = slack >= 2 * _RING_STEPS * (s.planned - planned)
        can_open = (g.rings < _RINGS) & (present_rings + 1 <= s.coming - s.followed.long())
        can_open = can_open & not_urgent & affordable
        openers = g.openers + (present_rings == 0).long()
        can_open = can_open & self._can_place(s, later, number, g.rings + 1, openers, lone, present_rings + 1)
        opens = ~opened & can_open[:, None]
        double = ~aromatic & (spare >= 1) & ~(opened & (s.ring_order == 2)).any(1)
        has_room = ((free >= 1) & ~aromatic)[:, None]
        has_spare_room = ((spare >= 1) & ~aromatic)[:, None]
        opener_room = (self._at(s.free, s.opener) >= 1) & ~self._at(s.aromatic, s.opener)
        upgrade = (s.ring_order == 0) & (opener_room | self._at(s.double, s.opener))
        digits = {
            0: opens | (close & ((s.ring_order < 2) | has_room)),
            1: opens | (close & (s.ring_order < 2)),
            2: (opens & double[:, None]) | (close & ((has_room & (s.ring_order == 2)) | (has_spare_room & upgrade))),
        }
        ring_digits = torch.where(
            (s.order == 2)[:, None], digits[2], torch.where((s.order == 1)[:, None], digits[1], digits[0])
        )
        allow[:, 37:45] = torch.where((s.digit == _RING)[:, None], ring_digits, allow[:, 37:45])
        single, double = digits[1].any(1), digits[2].any(1)
        allow[:, 60] = digits[0].any(1)
        allow[:, 61] = single | double
        allow[:, 55] = allow[:, 58] = allow[:, 59] = single
        allow[:, 56] = double

    def _can_place(
        self, s: State, bonds: Tensor, number: Tensor, rings: Tensor, openers: Tensor, lone: Tensor, present: Tensor
    ) -> Tensor:
        """Whether the present atom can have further ring bonds, of which as many as possible close rings.

        Args:
            s: state of B derivations.
            bonds: (B,) number of the ring bonds, or (B, 8) for each digit.
            number: open rings that the atom can close.
            rings: all open rings.
            openers: atoms that opened them.
            lone: those of `number` that are the only ring of their opener.
            present: open rings that the present atom opened.
        """
        closing = torch.minimum(bonds, number).clamp(min=0)
        opening = (bonds - closing).clamp(min=0)
        rings = rings - closing + opening
        openers = openers - torch.minimum(closing, lone) + ((opening > 0) & (present == 0)).long()
        coming, followed = s.coming, s.followed.long()
        if bonds.ndim == 2:
            coming, followed = coming[:, None], followed[:, None]
        room = (opening == 0) | ((present + opening <= coming - followed) & (rings <= _RINGS))
        return self._fits(rings, openers, coming) & room

    def _mask_bonds(self, allow: Tensor, s: State, previous: Tensor) -> None:
        free, aromatic = self._at(s.free, previous), self._at(s.aromatic, previous)
        # the next atom must have room for this bond and for the rings that it must close
        chained = self._previous(s)[1]
        touching = (s.opener == previous[:, None]) & chained[:, None]
        g = self._open_rings(s, s.excludes & ~touching, s.coming - 1)
        double = ((free >= 1) & ~aromatic) | self._at(s.double, previous)
        double = double & (g.wanted + g.heavy + 3 <= _MOST)
        triple = (free >= 2) & ~aromatic & (g.wanted + g.heavy + 4 <= _MOST)
        ring = s.ringbond
        for p in (55, 58, 59):
            allow[:, p] |= ~ring
        allow[:, 56] = torch.where(ring, allow[:, 56], double)
        allow[:, 57] = ~ring & triple
        allow[:, 68] = free >= 1

    # -- the transition --------------------------------------------------------------------------------------

    def advance(self, s: State, p: Tensor) -> State:
        """The state after the productions `p` (B,) were taken; a complete row takes the padding."""
        live = p != self._padding
        previous, chained, attribute = self._previous(s)
        s.digit = torch.where((p >= 34) & (p <= 36), _ISOTOPE, s.digit)
        s.digit = torch.where(p == 48, _HYDROGENS, s.digit)
        s.digit = torch.where((p == 50) | (p == 53), _CHARGE, s.digit)
        s.digit = torch.where((p == 60) | (p == 61), _RING, s.digit)
        self._advance_ring(s, p)
        self._advance_bond(s, p, previous)
        self._begin_atom(s, p, previous, chained, attribute)
        self._set_atom(s, p, attribute // 2)
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

    def _advance_bond(self, s: State, p: Tensor, previous: Tensor) -> None:
        sign = (p >= 55) & (p <= 59)
        order = torch.where(p == 56, 2, torch.where(p == 57, 3, 1))
        s.order = torch.where(sign, order, s.order)
        multiple = sign & ~s.ringbond & (order > 1)
        aromatic = self._at(s.aromatic, previous)
        place = previous.clamp(min=0)[:, None]
        used = torch.where(multiple & ~aromatic, order - 1, 0)
        s.free.scatter_add_(1, place, -used[:, None].to(torch.int8))
        s.double.scatter_(1, place, (s.double.gather(1, place)[:, 0] & ~(multiple & aromatic))[:, None])
        s.free.scatter_add_(1, place, -(p == 68)[:, None].to(torch.int8))
        s.ringbond = torch.where(p == 61, True, torch.where(sign, False, s.ringbond))

    def _begin_atom(self, s: State, p: Tensor, previous: Tensor, chained: Tensor, attribute: Tensor) -> None:
        begins = (p >= 62) & (p <= 65)
        ring = (p == 63) | (p == 65)
        branch = (p == 64) | (p == 65)
        touching = s.opener == previous[:, None]
        s.excludes = s.excludes & ~(touching & (begins & chained)[:, None])
        opened = s.opener >= 0
        s.blocked = torch.where(begins[:, None], opened & touching, s.blocked)
        usable = opened & ~s.blocked
        g = self._open_rings(s, s.excludes, s.coming - 1)
        incoming = torch.where(previous >= 0, s.order.clamp(min=1), 0)
        follows = attribute % 2
        forced = ring.long() * self._ring_bonds(s, g, touching)
        # these bonds are reserved only for the choice of the element: the ring bonds follow it before anything else
        s.forced = torch.where(begins, (forced - 1).clamp(min=0), s.forced)
        double = (usable & (s.ring_order == 2)).any(1) & (forced > g.wanted)
        s.aliphatic = torch.where(begins, ring & double, s.aliphatic)
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

    def _set_atom(self, s: State, p: Tensor, depth: Tensor) -> None:
        s.inside = torch.where((p == 19) | (p == 20), 2, torch.where((p == 21) | (p == 22), 1, s.inside))
        is_new = (p >= 4) & (p <= 17)
        s.element = torch.where(is_new, p - 4, s.element)
        aromatic = s.element >= _C
        if int(s.atoms.max()) >= s.free.shape[1]:
            wider = (0, s.free.shape[1])
            s.free, s.aromatic, s.double = pad(s.free, wider), pad(s.aromatic, wider), pad(s.double, wider)
        # hydrogens and charges in brackets change the number of free bonds of the last atom
        s.charged = s.charged | (p == 26) | (p == 27)
        s.hydrogens = torch.where((p == 47) | (p == 48), 1, s.hydrogens)
        counted = (p >= 37) & (p <= 44) & (s.digit == _HYDROGENS)
        s.hydrogens = torch.where(counted, p - 36, s.hydrogens)
        negative, positive = (p == 49) | (p == 50), (p == 52) | (p == 53)
        changed = is_new | negative | positive | (((p == 47) | (p == 48) | counted) & (s.inside > 0))
        charge = torch.where(negative, 0, torch.where(positive, 2, 1))
        aromatic_double = (aromatic & (s.incoming == 2)).long()
        room = self._capacity[s.element, charge] - (s.need - aromatic_double) - s.hydrogens
        s.atoms = s.atoms + is_new.long()
        place = (s.atoms - 1).clamp(min=0)[:, None]

        self._put(s.free, place, room + s.forced, changed)
        self._put(s.aromatic, place, aromatic, is_new)
        self._put(s.double, place, (s.element == _C) & (s.incoming < 2), is_new)
        end = s.frame.gather(1, depth[:, None])[:, 0]
        s.frame.scatter_(1, depth[:, None], torch.where(is_new, s.atoms - 1, end)[:, None])

    @staticmethod
    def _put(table: Tensor, place: Tensor, value: Tensor, where: Tensor) -> None:
        """Write the values (B,) into a table (B, A) at the places (B, 1), in the rows that `where` (B,) selects."""
        present = table.gather(1, place)[:, 0]
        table.scatter_(1, place, torch.where(where, value.to(table.dtype), present)[:, None])

    def _advance_ring(self, s: State, p: Tensor) -> None:
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
        used = more.long() + (acts & (order == 2)).long()
        s.free.scatter_add_(1, present[:, None], -used[:, None].to(torch.int8))
        # a double bond that closes a ring whose opener wrote no sign takes a bond of the opener too
        upgraded = closing & (order == 2) & (torch.where(closes, s.ring_order, 0).sum(1) == 0)
        aromatic = self._at(s.aromatic, other)
        s.free.scatter_add_(1, other[:, None], -(upgraded & ~aromatic).to(torch.int8)[:, None])
        s.double.scatter_(1, other[:, None], (self._at(s.double, other) & ~(upgraded & aromatic))[:, None])
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
        """Check whether derivations could be decoded under these masks.

        Args:
            productions: (B, T) production numbers of B derivations, with padding at the end.

        Returns:
            (B,) bool.
        """
        rows, steps = productions.shape
        state = self.begin(rows, productions.device)
        lhs = torch.from_numpy(self.grammar.lhs).to(productions.device)
        # the derivations are complete, so the number of steps sets no limit
        slack = torch.full((rows,), 1 << 20, device=productions.device)
        admitted = torch.ones(rows, dtype=torch.bool, device=productions.device)
        for t in range(steps):
            p = productions[:, t].long()
            allowed = self.allowed(state, lhs[p], slack).gather(1, p[:, None])[:, 0]
            admitted &= allowed | (p == self._padding)
            state = self.advance(state, p)
        return admitted
