"""What no mask can see to while a SMILES is written: that its aromatic atoms have alternating double bonds.

A SMILES with lower-case atoms stands for a molecule only if the atoms that need a double bond can be paired along
aromatic bonds: a perfect matching of that graph. Where there is none, `repair` changes as little as it finds: it gives
one n of the ring system a hydrogen (the usual slip, n for [nH]), or else writes the ring system in capitals, that is
saturated. The skeleton stays as it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["repair"]

_TOKEN = re.compile(r"\[(?:\d*)(?P<symbol>[A-Z][a-z]?|[a-z])(?P<rest>[^\]]*)\]|(?P<organic>Cl|Br|[BCNOSPFIcnos])|.")


@dataclass
class _Molecule:
    """A SMILES read as far as aromatic rings ask: atoms, bonds, where each atom stands."""

    spans: list[tuple[int, int]] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    bracket: list[str | None] = field(default_factory=list)
    bonds: list[tuple[int, int, str]] = field(default_factory=list)
    dangling: list[tuple[int, int]] = field(default_factory=list)

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
                m.bracket.append(token["rest"] if token["symbol"] else None)
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
                    other, written, start, stop = rings.pop(text)
                    if other == last or any({other, last} == {i, j} for i, j, _ in m.bonds):
                        m.dangling += [(start, stop), (begin, token.end())]
                    else:
                        m.bonds.append((other, last, "-" if "-" in (sign, written) else sign or written))
                else:
                    rings[text] = last, sign, begin, token.end()
                sign = ""
            else:
                sign, sign_at = text, token.start()
        m.dangling += [(begin, end) for _, _, begin, end in rings.values()]
        return m


def _ring_bonds(atoms: int, bonds: Sequence[tuple[int, int, str]]) -> list[bool]:
    """Which bonds are no bridges, by depth-first search (Tarjan, 1974)."""
    around: list[list[tuple[int, int]]] = [[] for _ in range(atoms)]
    for b, (i, j, _) in enumerate(bonds):
        around[i].append((j, b))
        around[j].append((i, b))
    order, low = [-1] * atoms, [0] * atoms
    ring = [True] * len(bonds)
    clock = 0
    for root in range(atoms):
        if order[root] >= 0:
            continue
        order[root] = low[root] = clock
        clock += 1
        path = [(root, -1, iter(around[root]))]
        while path:
            i, via, rest = path[-1]
            for j, b in rest:
                if b == via:
                    continue
                if order[j] < 0:
                    order[j] = low[j] = clock
                    clock += 1
                    path.append((j, b, iter(around[j])))
                    break
                low[i] = min(low[i], order[j])
            else:
                path.pop()
                if path:
                    parent = path[-1][0]
                    low[parent] = min(low[parent], low[i])
                    ring[via] = low[i] <= order[parent]
    return ring


def _paired(atoms: set[int], near: dict[int, set[int]]) -> bool:
    """Whether the graph has a perfect matching."""
    if len(atoms) % 2:
        return False
    left = {i: near[i] & atoms for i in atoms}
    # an atom with one partner must have that one; what remains are rings, of which any bond will nearly always do
    while left:
        i = min(left, key=lambda a: (len(left[a]), a))
        if not left[i]:
            break
        j = min(left[i], key=lambda a: (len(left[a]), a))
        for k in (i, j):
            for other in left.pop(k):
                if other in left:
                    left[other].discard(k)
    if not left:
        return True
    import networkx

    graph = networkx.Graph((i, j) for i in atoms for j in near[i] & atoms)
    return 2 * len(networkx.max_weight_matching(graph, maxcardinality=True)) == len(atoms)


def _hydrogens(inner: str | None) -> int:
    """Those written within the brackets of an atom."""
    found = re.search(r"H(\d?)", inner or "")
    return int(found[1] or 1) if found else 0


def _needs(m: _Molecule, atom: int, degree: int, double: bool) -> bool:
    """Whether an aromatic atom lacks a bond that only a double bond in the ring can give."""
    symbol, inner = m.symbols[atom], m.bracket[atom] or ""
    hydrogens = _hydrogens(inner)
    if double:
        return False
    if symbol == "c":
        return degree + hydrogens <= 3
    if "+" in inner:
        return degree + hydrogens <= (3 if symbol == "n" else 2)
    return symbol == "n" and "-" not in inner and degree + hydrogens == 2


def _repair(smiles: str) -> str:
    m = _Molecule.read(smiles)
    if m.dangling:
        for begin, end in sorted(m.dangling, reverse=True):
            smiles = smiles[:begin] + smiles[end:]
        return _repair(smiles)
    soft = [s in "cnos" for s in m.symbols]
    if not any(soft):
        return smiles
    count = len(m.symbols)
    near = {i: set[int]() for i in range(count)}
    degree, double = [0] * count, [False] * count
    for (i, j, sign), ring in zip(m.bonds, _ring_bonds(count, m.bonds), strict=True):
        for a in (i, j):
            degree[a] += 1
            double[a] |= sign in ("=", "#")
        if ring and soft[i] and soft[j] and sign in ("", "/", "\\"):
            near[i].add(j)
            near[j].add(i)
    needs = {i for i in range(count) if soft[i] and near[i] and _needs(m, i, degree[i], double[i])}
    capitals = {i for i in range(count) if soft[i] and not near[i]}
    hydrogen: set[int] = set()
    seen: set[int] = set()
    for i in range(count):
        if not near[i] or i in seen:
            continue
        system, todo = {i}, [i]
        while todo:
            fresh = near[todo.pop()] - system
            system |= fresh
            todo += fresh
        seen |= system
        wanting = system & needs
        # a carbon with a double bond out of the system and no third neighbour has a bond too few
        odd = any(double[a] and degree[a] + _hydrogens(m.bracket[a]) < 3 for a in system)
        if not odd and _paired(wanting, near):
            continue
        free = [a for a in sorted(wanting) if m.symbols[a] == "n" and m.bracket[a] is None]
        chosen = None if odd else next((a for a in free if _paired(wanting - {a}, near)), None)
        if chosen is None:
            capitals |= system
        else:
            hydrogen.add(chosen)
    if not capitals and not hydrogen:
        return smiles
    pieces, at = [], 0
    for i, (begin, end) in enumerate(m.spans):
        text = smiles[begin:end]
        if i in hydrogen:
            text = "[nH]"
        elif i in capitals:
            symbol = m.symbols[i]
            text = text.replace(symbol, symbol.upper(), 1)
        pieces += [smiles[at:begin], text]
        at = end
    return "".join([*pieces, smiles[at:]])


def repair(strings: Sequence[str]) -> list[str]:
    """SMILES over ``zinc-smiles`` whose aromatic rings have alternating double bonds; those that have are unchanged.

    In each ring system that has none, one ``n`` becomes ``[nH]`` if that is enough, else its atoms become aliphatic; so
    do aromatic atoms without an aromatic bond. Ring digits without a partner are left out. Bonds and elements stay as
    they were.

    >>> repair(["c1ccccc1", "c1ccnc1", "c1cccc1", "cC"])
    ['c1ccccc1', 'c1cc[nH]c1', 'C1CCCC1', 'CC']
    """
    return [_repair(s) for s in strings]
