"""Analysis of a set of productions: nullable symbols, FIRST and FOLLOW sets, shortest derivations, defects."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["UNREACHED", "Rules", "costs", "cycle", "follow", "nullable", "prefixes", "reachable", "viable"]

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
    # Knuth, "A generalization of Dijkstra's algorithm", 1977: a nonterminal is settled when it is the cheapest one left
    least = np.full(nonterminals, UNREACHED, dtype=np.int64)
    each = np.full(len(rules), UNREACHED, dtype=np.int64)
    uses, waiting = _uses(rules, nonterminals)
    heap = [(1, p) for p, count in enumerate(waiting) if not count]
    totals = [1] * len(rules)
    settled = [False] * nonterminals
    heapq.heapify(heap)
    while heap:
        total, p = heapq.heappop(heap)
        each[p] = total
        lhs = rules[p][0]
        if settled[lhs]:
            continue
        settled[lhs] = True
        least[lhs] = total
        for q in uses[lhs]:
            totals[q] = min(totals[q] + total, UNREACHED)
            waiting[q] -= 1
            if not waiting[q] and totals[q] < UNREACHED:
                heapq.heappush(heap, (totals[q], q))
    return least, each


def _uses(rules: Rules, nonterminals: int) -> tuple[list[list[int]], list[int]]:
    """For each nonterminal the productions on whose right side it is, once for each time; and the number of them."""
    uses: list[list[int]] = [[] for _ in range(nonterminals)]
    waiting = []
    for p, (_, rhs) in enumerate(rules):
        inside = [s for s in rhs if s < nonterminals]
        waiting.append(len(inside))
        for s in inside:
            uses[s].append(p)
    return uses, waiting


def reachable(rules: Rules, nonterminals: int, start: int) -> set[int]:
    """The nonterminals that occur in derivations from `start`."""
    right: dict[int, set[int]] = {}
    for lhs, rhs in rules:
        right.setdefault(lhs, set()).update(s for s in rhs if s < nonterminals)
    reached, todo = {start}, [start]
    while todo:
        fresh = right.get(todo.pop(), set()) - reached
        reached |= fresh
        todo += fresh
    return reached


def nullable(rules: Rules, nonterminals: int) -> np.ndarray:
    """Whether each nonterminal derives the empty string, (K,)."""
    empty = np.zeros(nonterminals, dtype=bool)
    bare = [(p, lhs) for p, (lhs, rhs) in enumerate(rules) if all(s < nonterminals for s in rhs)]
    uses, waiting = _uses([rules[p] for p, _ in bare], nonterminals)
    todo = [lhs for count, (_, lhs) in zip(waiting, bare, strict=True) if not count]
    while todo:
        a = todo.pop()
        if empty[a]:
            continue
        empty[a] = True
        for q in uses[a]:
            waiting[q] -= 1
            if not waiting[q]:
                todo.append(bare[q][1])
    return empty


def _components(edges: Sequence[Iterable[int]]) -> list[list[int]]:
    """The strongly connected components of a graph, each after all that it leads to (Tarjan, 1972), without recursion.

    Args:
        edges: the nodes that each node leads to.
    """
    number = [-1] * len(edges)
    low = [0] * len(edges)
    on_stack = [False] * len(edges)
    stack: list[int] = []
    components: list[list[int]] = []
    count = 0
    for root in range(len(edges)):
        if number[root] >= 0:
            continue
        path = [(root, iter(edges[root]))]
        number[root] = low[root] = count
        count += 1
        stack.append(root)
        on_stack[root] = True
        while path:
            node, rest = path[-1]
            for other in rest:
                if number[other] < 0:
                    number[other] = low[other] = count
                    count += 1
                    stack.append(other)
                    on_stack[other] = True
                    path.append((other, iter(edges[other])))
                    break
                if on_stack[other]:
                    low[node] = min(low[node], number[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == number[node]:
                    component: list[int] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack[component[-1]] = False
                    components.append(component)
    return components


def cycle(rules: Rules, nonterminals: int) -> list[int]:
    """A cycle A => B => ... => A of nonterminals that derive each other without further symbols; [] if none exists."""
    empty = nullable(rules, nonterminals)
    units: list[set[int]] = [set() for _ in range(nonterminals)]
    for lhs, rhs in rules:
        # the symbols that may not be empty: with none, each may stand alone; with one, only that one
        full = [i for i, s in enumerate(rhs) if s >= nonterminals or not empty[s]]
        alone = rhs if not full else [rhs[full[0]]] if len(full) == 1 else []
        units[lhs].update(s for s in alone if s < nonterminals)
    inside = [c for c in _components(units) if len(c) > 1 or c[0] in units[c[0]]]
    if not inside:
        return []
    component = min((set(c) for c in inside), key=min)
    a = min(component)
    parent: dict[int, int] = {}
    todo = [a]
    while todo:
        b = todo.pop()
        for c in units[b] & component:
            if c == a:
                path = [b]
                while path[-1] != a:
                    path.append(parent[path[-1]])
                return path[::-1]
            if c not in parent:
                parent[c] = b
                todo.append(c)
    raise AssertionError("a component of several nodes has a cycle through each of them")


def _closed(sets: np.ndarray, edges: Sequence[Iterable[int]]) -> None:
    """Add to the set of each node, a row of bools, the sets of all nodes that it leads to, in place."""
    for component in _components(edges):
        union = sets[component].any(0)
        for other in {other for node in component for other in edges[node]}.difference(component):
            union |= sets[other]
        sets[component] = union


def _first(rules: Rules, nonterminals: int, terminals: int, empty: np.ndarray) -> np.ndarray:
    """FIRST sets of all symbols, (K + T, T) bool."""
    first = np.zeros((nonterminals + terminals, terminals), dtype=bool)
    first[nonterminals:][np.diag_indices(terminals)] = True
    begins: list[set[int]] = [set() for _ in range(nonterminals + terminals)]
    for lhs, rhs in rules:
        for s in rhs:
            begins[lhs].add(s)
            if s >= nonterminals or not empty[s]:
                break
    _closed(first, begins)
    return first


def follow(rules: Rules, nonterminals: int, terminals: int, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FIRST sets (K + T, T), FOLLOW sets (K, T + 1) and nullable nonterminals (K,), as bool.

    The last column of FOLLOW stands for the end of the string. See Aho, Lam, Sethi, Ullman, "Compilers", section 4.4.2.
    """
    empty = nullable(rules, nonterminals)
    first = _first(rules, nonterminals, terminals, empty)
    after = np.zeros((nonterminals, terminals + 1), dtype=bool)
    after[start, terminals] = True
    ends: list[set[int]] = [set() for _ in range(nonterminals)]
    for lhs, rhs in rules:
        tail, last = np.zeros(terminals, dtype=bool), True
        for s in reversed(rhs):
            if s < nonterminals:
                after[s, :terminals] |= tail
                if last:
                    ends[s].add(lhs)
            if s >= nonterminals or not empty[s]:
                tail, last = np.zeros(terminals, dtype=bool), False
            tail = tail | first[s]
    _closed(after, ends)
    return first, after, empty


def prefixes(terminals: Sequence[bytes]) -> np.ndarray:
    """[u, t]: whether terminal t is a prefix of terminal u, (T, T) bool."""
    number = {t: i for i, t in enumerate(terminals)}
    lengths = sorted({len(t) for t in terminals})
    table = np.zeros((len(terminals), len(terminals)), dtype=bool)
    for u, text in enumerate(terminals):
        for n in lengths:
            if n > len(text):
                break
            if (t := number.get(text[:n])) is not None:
                table[u, t] = True
    return table


def viable(rules: Rules, nonterminals: int, terminals: Sequence[bytes], start: int) -> np.ndarray:
    """The tokens that may come next at every dot, (D, T + 2) uint8.

    A dot is a position in a production. Dots are numbered production by production, from before the first symbol to
    after the last. The token at a position of the text is the longest terminal that matches there: column t < T for
    terminal t, column T if no terminal matches, column T + 1 at the end of the text. Terminals that are prefixes of
    terminal t match there too, so column t is the union over these prefixes.
    """
    count = len(terminals)
    first, after, empty = follow(rules, nonterminals, count, start)
    prefix = prefixes(terminals)
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
    table[:, :count] = exact[:, :count]
    for u, t in zip(*np.nonzero(prefix & ~np.eye(count, dtype=bool)), strict=True):
        table[:, u] |= exact[:, t]
    table[:, count + 1] = exact[:, count]
    return table
