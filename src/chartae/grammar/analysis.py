"""Analysis of a set of productions: nullable symbols, FIRST and FOLLOW sets, shortest derivations, defects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["UNREACHED", "Rules", "costs", "cycle", "follow", "nullable", "reachable", "viable"]

#: the cost of a nonterminal or production that derives no string
UNREACHED = np.iinfo(np.int32).max // 4

#: the left and the right side of every production, as numbers: k < K is the k-th nonterminal, K + t the t-th terminal
Rules = Sequence[tuple[int, tuple[int, ...]]]


def costs(rules: Rules, nonterminals: int) -> tuple[np.ndarray, np.ndarray]:
    """The fewest productions that derive a string.

    cost(A) = min over A -> alpha of 1 + sum over the nonterminals B in alpha of cost(B); `UNREACHED` if A derives no
    string.

    Args:
        rules: the productions.
        nonterminals: number K of nonterminals.

    Returns:
        The cost of each nonterminal, (K,), and the cost of a derivation that begins with each production, (P,).
    """
    least = np.full(nonterminals, UNREACHED, dtype=np.int64)
    each = np.full(len(rules), UNREACHED, dtype=np.int64)
    changed = True
    while changed:
        changed = False
        for p, (lhs, rhs) in enumerate(rules):
            total = 1 + sum(int(least[s]) for s in rhs if s < nonterminals)
            if total < each[p]:
                each[p] = total
                if total < least[lhs]:
                    least[lhs] = total
                    changed = True
    return least, each


def reachable(rules: Rules, nonterminals: int, start: int) -> set[int]:
    """The nonterminals that occur in derivations from `start`."""
    reached, todo = {start}, [start]
    while todo:
        a = todo.pop()
        for lhs, rhs in rules:
            if lhs == a:
                fresh = {s for s in rhs if s < nonterminals} - reached
                reached |= fresh
                todo += fresh
    return reached


def nullable(rules: Rules, nonterminals: int) -> np.ndarray:
    """Whether each nonterminal derives the empty string, (K,)."""
    empty = np.zeros(nonterminals, dtype=bool)
    changed = True
    while changed:
        changed = False
        for lhs, rhs in rules:
            if not empty[lhs] and all(s < nonterminals and empty[s] for s in rhs):
                empty[lhs] = changed = True
    return empty


def cycle(rules: Rules, nonterminals: int) -> list[int]:
    """A cycle A => B => ... => A of nonterminals that derive each other without further symbols; [] if none exists."""
    empty = nullable(rules, nonterminals)
    units: dict[int, set[int]] = {a: set() for a in range(nonterminals)}
    for lhs, rhs in rules:
        for i, s in enumerate(rhs):
            if s < nonterminals and all(r < nonterminals and empty[r] for r in (*rhs[:i], *rhs[i + 1 :])):
                units[lhs].add(s)
    for a in range(nonterminals):
        parent: dict[int, int] = {}
        todo = [a]
        while todo:
            b = todo.pop()
            for c in units[b]:
                if c == a:
                    path = [b]
                    while path[-1] != a:
                        path.append(parent[path[-1]])
                    return path[::-1]
                if c not in parent:
                    parent[c] = b
                    todo.append(c)
    return []


def _first(rules: Rules, nonterminals: int, terminals: int, empty: np.ndarray) -> np.ndarray:
    """FIRST sets of all symbols, (K + T, T) bool."""
    first = np.zeros((nonterminals + terminals, terminals), dtype=bool)
    first[nonterminals:][np.diag_indices(terminals)] = True
    before = -1
    while (now := int(first.sum())) != before:
        before = now
        for lhs, rhs in rules:
            for s in rhs:
                first[lhs] |= first[s]
                if s >= nonterminals or not empty[s]:
                    break
    return first


def follow(rules: Rules, nonterminals: int, terminals: int, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FIRST sets (K + T, T), FOLLOW sets (K, T + 1) and nullable nonterminals (K,), as bool.

    The last column of FOLLOW stands for the end of the string. See Aho, Lam, Sethi, Ullman, "Compilers", section 4.4.2.
    """
    empty = nullable(rules, nonterminals)
    first = _first(rules, nonterminals, terminals, empty)
    after = np.zeros((nonterminals, terminals + 1), dtype=bool)
    after[start, terminals] = True
    before = -1
    while (now := int(after.sum())) != before:
        before = now
        for lhs, rhs in rules:
            tail = after[lhs].copy()
            for s in reversed(rhs):
                if s < nonterminals:
                    after[s] |= tail
                if s >= nonterminals or not empty[s]:
                    tail = np.zeros(terminals + 1, dtype=bool)
                tail[:terminals] |= first[s]
    return first, after, empty


def viable(rules: Rules, nonterminals: int, terminals: Sequence[bytes], start: int) -> np.ndarray:
    """The tokens that may come next at every dot, (D, T + 2) uint8.

    A dot is a position in a production. Dots are numbered production by production, from before the first symbol to
    after the last. The token at a position of the text is the longest terminal that matches there: column t < T for
    terminal t, column T if no terminal matches, column T + 1 at the end of the text. Terminals that are prefixes of
    terminal t match there too, so column t is the union over these prefixes.
    """
    count = len(terminals)
    first, after, empty = follow(rules, nonterminals, count, start)
    prefix = np.array([[u.startswith(t) for t in terminals] for u in terminals], dtype=bool).reshape(count, count)
    rows = []
    for lhs, rhs in rules:
        row = after[lhs].copy()
        reversed_rows = [row]
        for s in reversed(rhs):
            row = row.copy() if s < nonterminals and empty[s] else np.zeros(count + 1, dtype=bool)
            row[:count] |= first[s]
            reversed_rows.append(row)
        rows += reversed_rows[::-1]
    exact = np.array(rows)
    table = np.zeros((len(rows), count + 2), dtype=np.uint8)
    table[:, :count] = exact[:, :count].astype(np.uint8) @ prefix.T.astype(np.uint8) > 0
    table[:, count + 1] = exact[:, count]
    return table
