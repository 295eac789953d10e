"""Repair of aromatic rings after decoding, since no mask can ensure alternating double bonds while a SMILES is written.

A SMILES with lower-case atoms denotes a molecule only if the atoms that need a double bond can be paired along aromatic
bonds, that is, if the graph of these atoms has a perfect matching. If it has none, `repair` makes a small change: it
gives one n of the ring system a hydrogen (n instead of [nH] is the usual mistake); if that does not help, it writes the
ring system in capitals, which makes it saturated. The skeleton is unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["repair"]

_TOKEN = re.compile(r"\[(?:\d*)(?P<symbol>[A-Z][a-z]?|[a-z])(?P<suffix>[^\]]*)\]|(?P<organic>Cl|Br|[BCNOSPFIcnos])|.")


@dataclass
class _Molecule:
    """The parts of a SMILES that aromatic rings depend on: atoms, bonds, and the position of each atom in the text."""

    spans: list[tuple[int, int]] = field(default_factory=list)  # begin and end of each atom in the text
    symbols: list[str] = field(default_factory=list)
    bracket: list[str | None] = field(default_factory=list)  # text behind the symbol of a bracket atom, else None
    bonds: list[tuple[int, int, str]] = field(default_factory=list)  # two atoms and the bond sign
    dangling: list[tuple[int, int]] = field(default_factory=list)  # ring digits that make no bond, with their signs

    @classmethod
    def read(cls, smiles: str) -> _Molecule:
        m = cls()
        outer: list[int] = []
        rings: dict[str, tuple[int, str, int, int]] = {}
        last, sign, sign_at = -1, "", -1
        for token in _TOKEN.finditer(smiles):
            text = token[0]
            symbol = token["symbol"] or token["organic"]
            if symbol:
                atom = len(m.symbols)
                m.symbols.append(symbol)
                m.spans.append(token.span())
                m.bracket.append(token["suffix"] if token["symbol"] else None)
                if last >= 0:
                    m.bonds.append((last, atom, sign))
                last, sign = atom, ""
            elif text == "(":
                outer.append(last)
            elif text == ")":
                last = outer.pop()
            elif text.isdigit():
                begin = sign_at if sign else token.start()
                if text in rings:
                    other, other_sign, start, stop = rings.pop(text)
                    if other == last or any({other, last} == {i, j} for i, j, _ in m.bonds):
                        m.dangling += [(start, stop), (begin, token.end())]
                    else:
                        m.bonds.append((other, last, "-" if "-" in (sign, other_sign) else sign or other_sign))
                else:
                    rings[text] = last, sign, begin, token.end()
                sign = ""
            else:
                sign, sign_at = text, token.start()
        m.dangling += [(begin, end) for _, _, begin, end in rings.values()]
        return m


def _ring_bonds(atoms: int, bonds: Sequence[tuple[int, int, str]]) -> list[bool]:
    """Whether each bond is part of a ring, that is, no bridge, by depth-first search (Tarjan, 1974)."""
    neighbours: list[list[tuple[int, int]]] = [[] for _ in range(atoms)]
    for b, (i, j, _) in enumerate(bonds):
        neighbours[i].append((j, b))
        neighbours[j].append((i, b))
    order, low = [-1] * atoms, [0] * atoms
    ring = [True] * len(bonds)
    clock = 0
    for root in range(atoms):
        if order[root] >= 0:
            continue
        order[root] = low[root] = clock
        clock += 1
        path = [(root, -1, iter(neighbours[root]))]
        while path:
            i, via, remaining = path[-1]
            for j, b in remaining:
                if b == via:
                    continue
                if order[j] < 0:
                    order[j] = low[j] = clock
                    clock += 1
                    path.append((j, b, iter(neighbours[j])))
                    break
                low[i] = min(low[i], order[j])
            else:
                path.pop()
                if path:
                    parent = path[-1][0]
                    low[parent] = min(low[parent], low[i])
                    ring[via] = low[i] <= order[parent]
    return ring


def _has_perfect_matching(atoms: set[int], aromatic: dict[int, set[int]]) -> bool:
    """Whether the atoms can be paired along the aromatic bonds between them."""
    if len(atoms) % 2:
        return False
    unpaired = {i: aromatic[i] & atoms for i in atoms}
    # An atom with one neighbour must be paired with it. Then rings are left, in which nearly any pair works.
    while unpaired:
        i = min(unpaired, key=lambda a: (len(unpaired[a]), a))
        if not unpaired[i]:
            break
        j = min(unpaired[i], key=lambda a: (len(unpaired[a]), a))
        for k in (i, j):
            for other in unpaired.pop(k):
                if other in unpaired:
                    unpaired[other].discard(k)
    if not unpaired:
        return True
    import networkx

    graph = networkx.Graph((i, j) for i in atoms for j in aromatic[i] & atoms)
    return 2 * len(networkx.max_weight_matching(graph, maxcardinality=True)) == len(atoms)


def _hydrogens(bracket: str | None) -> int:
    """The number of hydrogens that a bracket atom names."""
    match = re.search(r"H(\d?)", bracket or "")
    return int(match[1] or 1) if match else 0


def _needs_double_bond(m: _Molecule, atom: int, degree: int, double: bool) -> bool:
    """Whether an aromatic atom lacks a bond that only a double bond in the ring can provide."""
    symbol, bracket = m.symbols[atom], m.bracket[atom] or ""
    hydrogens = _hydrogens(bracket)
    if double:
        return False
    if symbol == "c":
        return degree + hydrogens <= 3
    if "+" in bracket:
        return degree + hydrogens <= (3 if symbol == "n" else 2)
    return symbol == "n" and "-" not in bracket and degree + hydrogens == 2


def _repair(smiles: str) -> str:
    m = _Molecule.read(smiles)
    if m.dangling:
        for begin, end in sorted(m.dangling, reverse=True):
            smiles = smiles[:begin] + smiles[end:]
        return _repair(smiles)
    lower_case = [s in "cnos" for s in m.symbols]
    if not any(lower_case):
        return smiles
    count = len(m.symbols)
    aromatic = {i: set[int]() for i in range(count)}  # neighbours along aromatic bonds
    degree, double = [0] * count, [False] * count
    for (i, j, sign), ring in zip(m.bonds, _ring_bonds(count, m.bonds), strict=True):
        for a in (i, j):
            degree[a] += 1
            double[a] |= sign in ("=", "#")
        if ring and lower_case[i] and lower_case[j] and sign in ("", "/", "\\"):
            aromatic[i].add(j)
            aromatic[j].add(i)
    needs = {i for i in range(count) if aromatic[i] and _needs_double_bond(m, i, degree[i], double[i])}
    saturate = {i for i in range(count) if lower_case[i] and not aromatic[i]}
    add_hydrogen: set[int] = set()
    visited: set[int] = set()
    for i in range(count):
        if not aromatic[i] or i in visited:
            continue
        system, todo = {i}, [i]
        while todo:
            fresh = aromatic[todo.pop()] - system
            system |= fresh
            todo += fresh
        visited |= system
        unpaired = system & needs
        # an atom with a double bond out of the system and fewer than three neighbours has a bond too few
        hopeless = any(double[a] and degree[a] + _hydrogens(m.bracket[a]) < 3 for a in system)
        if not hopeless and _has_perfect_matching(unpaired, aromatic):
            continue
        candidates = [a for a in sorted(unpaired) if m.symbols[a] == "n" and m.bracket[a] is None]
        nitrogen = None
        if not hopeless:
            nitrogen = next((a for a in candidates if _has_perfect_matching(unpaired - {a}, aromatic)), None)
        if nitrogen is None:
            saturate |= system
        else:
            add_hydrogen.add(nitrogen)
    if not saturate and not add_hydrogen:
        return smiles
    pieces, at = [], 0
    for i, (begin, end) in enumerate(m.spans):
        text = smiles[begin:end]
        if i in add_hydrogen:
            text = "[nH]"
        elif i in saturate:
            symbol = m.symbols[i]
            text = text.replace(symbol, symbol.upper(), 1)
        pieces += [smiles[at:begin], text]
        at = end
    return "".join([*pieces, smiles[at:]])


def repair(strings: Sequence[str]) -> list[str]:
    """Repair SMILES so that the double bonds of their aromatic rings can alternate.

    Strings without a defect are returned unchanged. In each ring system whose double bonds cannot alternate, one ``n``
    becomes ``[nH]`` if that is enough; else all its atoms become aliphatic. So do aromatic atoms without an aromatic
    bond. Ring digits without a partner are removed. Elements and all other bonds are unchanged.

    Args:
        strings: N SMILES in the language of ``zinc-smiles``, as a `StackDecoder` writes them. Strings outside that
            language are not refused, and the result for them is undefined.

    Returns:
        N SMILES, in the same order.

    >>> from chartae.grammar import repair
    >>> repair(["c1ccccc1", "c1ccnc1", "c1cccc1", "cC"])
    ['c1ccccc1', 'c1cc[nH]c1', 'C1CCCC1', 'CC']
    """
    return [_repair(s) for s in strings]
