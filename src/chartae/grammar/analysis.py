"""What a set of productions says of itself: nullable, FIRST and FOLLOW sets, shortest derivations, and its defects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["UNREACHED", "Rules", "costs", "cycle", "follow", "nullable", "reachable", "viable"]

#: the cost of what derives no string
UNREACHED = np.iinfo(np.int32).max // 4

#: left side and right side of every production: k < K is the k-th nonterminal, K + t the t-th terminal
Rules = Sequence[tuple[int, tuple[int, ...]]]


def costs(rules: Rules, nonterminals: int) -> tuple[np.ndarray, np.ndarray]:
    """The fewest productions that derive a string from each nonterminal, (K,), and by each production, (P,).

    cost(A) = min over A -> alpha of 1 + sum over the nonterminals B in alpha of cost(B); `UNREACHED` for no string.
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
    """The nonterminals that occur in what can be derived from `start`."""
    seen, todo = {start}, [start]
    while todo:
        a = todo.pop()
        for lhs, rhs in rules:
            if lhs == a:
                fresh = {s for s in rhs if s < nonterminals} - seen
                seen |= fresh
                todo += fresh
    return seen


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
    """Nonterminals A => B => ... => A that derive themselves and nothing else, [] where there are none."""
    empty = nullable(rules, nonterminals)
    units: dict[int, set[int]] = {a: set() for a in range(nonterminals)}
    for lhs, rhs in rules:
        for i, s in enumerate(rhs):
            if s < nonterminals and all(r < nonterminals and empty[r] for r in (*rhs[:i], *rhs[i + 1 :])):
                units[lhs].add(s)
    for a in range(nonterminals):
        back: dict[int, int] = {}
        todo = [a]
        while todo:
            b = todo.pop()
            for c in units[b]:
                if c == a:
                    path = [b]
                    while path[-1] != a:
                        path.append(back[path[-1]])
                    return path[::-1]
                if c not in back:
                    back[c] = b
                    todo.append(c)
    return []


def _first(rules: Rules, nonterminals: int, terminals: int, empty: np.ndarray) -> np.ndarray:
    """FIRST of every symbol, (K + T, T)."""
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
    """FIRST (K + T, T), FOLLOW (K, T + 1) whose last column is the end of the string, and nullable (K,).

    Aho, Lam, Sethi, Ullman, "Compilers", section 4.4.2.
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
    """Which tokens may come next at every dot, (D, T + 2).

    Dots are numbered production by production, from before the first symbol to after the last. The token at a place is
    the longest terminal that the text has there: column t < T; T where it has none, T + 1 at the end. Terminals that
    are beginnings of t are there too, so that column t is the union over them.
    """
    count = len(terminals)
    first, after, empty = follow(rules, nonterminals, count, start)
    begins = np.array([[u.startswith(t) for t in terminals] for u in terminals], dtype=bool).reshape(count, count)
    rows = []
    for lhs, rhs in rules:
        row = after[lhs].copy()
        part = [row]
        for s in reversed(rhs):
            row = row.copy() if s < nonterminals and empty[s] else np.zeros(count + 1, dtype=bool)
            row[:count] |= first[s]
            part.append(row)
        rows += part[::-1]
    exact = np.array(rows)
    table = np.zeros((len(rows), count + 2), dtype=np.uint8)
    table[:, :count] = exact[:, :count].astype(np.uint8) @ begins.T.astype(np.uint8) > 0
    table[:, count + 1] = exact[:, count]
    return table
