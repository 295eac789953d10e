"""The inner loops of parsing and printing: compiled by numba where it is installed, else run as they stand.

The parser is Earley's, without a tokeniser: a terminal of several characters leads from one place of the text to a
later one, and every set of items is kept small by one terminal of look-ahead. Left recursion, empty productions and
ambiguity need no special case. (Earley, "An efficient context-free parsing algorithm", 1970; the pairing of empty
completions with items that come later follows Aycock and Horspool, "Practical Earley parsing", 2002.)

Arrays are passed in and never made here, so that the same lines run over numpy arrays and over lists: whatever is too
short is reported to the caller, who makes it longer and calls again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np

try:
    from numba import njit
except ImportError:
    njit = None  # type: ignore[assignment]

__all__ = [
    "COMPILED",
    "DONE",
    "GROW_HASH",
    "GROW_ITEMS",
    "GROW_OUT",
    "Row",
    "Tables",
    "Work",
    "compiled",
    "expand",
    "parse",
    "recognise",
]

#: whether numba compiles this module
COMPILED: bool = njit is not None

#: what `parse` and `expand` return beside the string they stopped at
DONE, GROW_ITEMS, GROW_HASH, GROW_OUT = 0, 1, 2, 3

#: status of one string
PARSED, AMBIGUOUS, OUTSIDE = 0, 1, 2
#: and of one derivation
INCOMPLETE, MISPLACED, UNKNOWN = 1, 2, 3

#: whole numbers in a row: an array for compiled loops, a list for interpreted ones
Row = np.ndarray | list[int]

Loop = TypeVar("Loop", bound=Callable[..., object])


class Tables(NamedTuple):
    """A grammar as arrays; a dot is a place in a production, symbols are k < K or K + t."""

    symbol: Row  # (D,) the symbol after a dot, -1 at the end of a production
    rule: Row  # (D,) the production of a dot
    lhs: Row  # (P,)
    dot: Row  # (P,) its first dot
    options: Row  # the live productions of every nonterminal, one list after the other
    option: Row  # (K + 1,) where each list begins
    viable: Row  # (D * (T + 2),) whether the token may come next
    step: Row  # (256 * nodes,) the trie of terminals
    accept: Row  # (nodes,) the terminal that ends at a node, -1
    length: Row  # (T,) bytes of a terminal
    prefix: Row  # (T * T,) [u, t]: whether terminal t begins terminal u
    place: Row  # (T + 1,) where each terminal begins in `bytes`
    bytes: Row  # the terminals, one after the other
    sizes: Row  # K, T, start, padding


class Work(NamedTuple):
    """Space for items and sets, used over and over."""

    dot: Row
    origin: Row
    before: Row  # the item whose dot is one symbol to the left
    child: Row  # the completed item of that symbol, -1 for a terminal
    link: Row  # the next item that waits for the same symbol
    double: Row  # whether the item arose in more than one way
    stack: Row
    waiting: Row  # (n + 1) * K heads of `link`
    arriving: Row  # (n + 1) items whose terminal ends here
    token: Row  # (n + 1) the longest terminal at a place
    empty: Row  # (K,) the items that complete a nonterminal within the present set
    key: Row
    stamp: Row
    found: Row


def compiled(function: Loop) -> Loop:
    """The function compiled by numba, to run without the interpreter's lock; as it stands where numba is absent."""
    if njit is None:
        return function
    # what an import hook has wrapped around the function, to check shapes, cannot be compiled
    bare = inspect.unwrap(function)
    try:
        machine = njit(cache=True, nogil=True)(bare)
    except RuntimeError:  # there is no folder that compiled code could be kept in
        machine = njit(nogil=True)(bare)
    return cast(Loop, machine)


@compiled
def _scan(text: Row, begin: int, end: int, t: Tables, arriving: Row, tokens: Row) -> None:
    """The longest terminal at every place of a text, T where there is none, T + 1 at its end; nothing arrives yet."""
    terminals, step, accept = t.sizes[1], t.step, t.accept
    for j in range(end - begin + 1):
        arriving[j] = -1
        token, node, i = terminals, 0, begin + j
        while i < end:
            node = step[node * 256 + text[i]]
            if node < 0:
                break
            if accept[node] >= 0:
                token = accept[node]
            i += 1
        tokens[j] = token
    tokens[end - begin] = terminals + 1


@compiled
def _slot(keys: Row, stamps: Row, key: int, clock: int) -> int:
    """Where a key is in the hash of this clock, or could be written; -1 where too many others lie in its way."""
    mask = len(keys) - 1
    place, tries = (key * 40503 + (key >> 7)) & mask, 0
    while stamps[place] == clock and keys[place] != key and tries < 64:
        place = (place + 1) & mask
        tries += 1
    return -1 if tries == 64 else place


@compiled
def _prefer(t: Tables, w: Work, item: int, before: int, child: int) -> None:
    """Note that an item arose again, and keep one of its two derivations: the one whose last symbol is as short as it
    can be, then that of its production of least number."""
    w.double[item] = 1
    kept = w.child[item]
    old, new = w.origin[kept], w.origin[child]
    if new > old or (new == old and t.rule[w.dot[child]] < t.rule[w.dot[kept]]):
        w.before[item], w.child[item] = before, child


@compiled
def recognise(text: Row, begin: int, end: int, t: Tables, w: Work, clock: int) -> tuple[int, int, int, int]:
    """Build all sets of one text: the number of items (-1: the hash is full, -2: the items are), the first item of the
    last set that is reached, the place of that set, and the clock."""
    # locals: compiled code counts a reference whenever an array is taken out of a tuple within the loops
    nonterminals, terminals, start = t.sizes[0], t.sizes[1], t.sizes[2]
    symbols, rules, lhs, viable, prefix, length = t.symbol, t.rule, t.lhs, t.viable, t.prefix, t.length
    option, options, first_dot = t.option, t.options, t.dot
    dots, origins, befores, childs, doubles, link = w.dot, w.origin, w.before, w.child, w.double, w.link
    waiting, arriving, tokens, empty = w.waiting, w.arriving, w.token, w.empty
    keys, stamps, founds = w.key, w.stamp, w.found
    n, room, width, states = end - begin, len(dots), terminals + 2, len(symbols)

    _scan(text, begin, end, t, arriving, tokens)
    count = first = last = 0
    for j in range(n + 1):
        if j > 0 and arriving[j] < 0:
            continue
        first, last = count, j
        token = tokens[j]
        clock += 1
        for k in range(nonterminals):
            waiting[j * nonterminals + k] = -1
            empty[k] = -1
        cursor = count
        predicted = start if j == 0 else -1
        # every item but those predicted comes of a pair: the one before it, and the completed one (or the terminal)
        # that takes its dot on. `i` runs over a list of one kind, `item` is the other: a completed item and those that
        # wait for it (way 1), one that waits and what is complete already without a letter (way 2), arrivals (way 0)
        way, item, i = 0, -1, arriving[j]
        while True:
            while i >= 0:
                before = item if way == 2 else i
                child = item if way == 1 else i if way == 2 else -1
                i = link[i]
                dot, origin = dots[before] + 1, origins[before]
                if viable[dot * width + token] == 0:
                    continue
                key = dot + origin * states
                place = _slot(keys, stamps, key, clock)
                if place < 0:
                    return -1, 0, 0, clock
                if stamps[place] == clock:
                    _prefer(t, w, founds[place], before, child)
                    continue
                if count == room:
                    return -2, 0, 0, clock
                stamps[place], keys[place], founds[place] = clock, key, count
                dots[count], origins[count], doubles[count] = dot, origin, 0
                befores[count], childs[count] = before, child
                count += 1
            if predicted >= 0:
                for o in range(option[predicted], option[predicted + 1]):
                    dot = first_dot[options[o]]
                    if viable[dot * width + token]:
                        if count == room:
                            return -2, 0, 0, clock
                        dots[count], origins[count], befores[count], childs[count], doubles[count] = dot, j, -1, -1, 0
                        count += 1
                predicted = -1
            if cursor == count:
                break
            item = cursor
            cursor += 1
            symbol = symbols[dots[item]]
            if symbol < 0:
                a, origin = lhs[rules[dots[item]]], origins[item]
                if origin == j:
                    link[item] = empty[a]
                    empty[a] = item
                way, i = 1, waiting[origin * nonterminals + a]
            elif symbol < nonterminals:
                head = j * nonterminals + symbol
                if waiting[head] < 0 and not (j == 0 and symbol == start):
                    predicted = symbol
                link[item] = waiting[head]
                waiting[head] = item
                way, i = 2, empty[symbol]
            elif token < terminals and prefix[token * terminals + symbol - nonterminals]:
                place = j + length[symbol - nonterminals]
                link[item] = arriving[place]
                arriving[place] = item
    return count, first, last, clock


@compiled
def derive(t: Tables, w: Work, root: int, out: Row, at: int, limit: int) -> tuple[int, int]:
    """Write the leftmost derivation below a completed item: where it ends (-1: no room), whether it is one of many."""
    double = 0
    w.stack[0], top = root, 1
    while top > 0:
        top -= 1
        item = w.stack[top]
        if at >= limit:
            return -1, 0
        out[at] = t.rule[w.dot[item]]
        at += 1
        while w.before[item] >= 0:
            double |= w.double[item]
            if w.child[item] >= 0:
                if top >= len(w.stack):
                    return -2, 0
                w.stack[top] = w.child[item]
                top += 1
            item = w.before[item]
    return at, double


@compiled
def parse(
    text: Row,
    offsets: Row,
    first: int,
    count: int,
    t: Tables,
    w: Work,
    clock: int,
    out: Row,
    ends: Row,
    status: Row,
    where: Row,
) -> tuple[int, int, int]:
    """Derivations of texts first..count-1 into `out`, from ends[i] to ends[i + 1]: where it stopped, why, clock."""
    for i in range(first, count):
        begin, end = offsets[i], offsets[i + 1]
        items, began, last, clock = recognise(text, begin, end, t, w, clock)
        if items < 0:
            return i, GROW_HASH if items == -1 else GROW_ITEMS, clock
        root, roots = -1, 0
        if last == end - begin:
            for item in range(began, items):
                dot = w.dot[item]
                if t.symbol[dot] < 0 and w.origin[item] == 0 and t.lhs[t.rule[dot]] == t.sizes[2]:
                    roots += 1
                    if root < 0 or t.rule[dot] < t.rule[w.dot[root]]:
                        root = item
        at = ends[i]
        if root < 0:
            status[i], where[i] = OUTSIDE, last
        else:
            at, double = derive(t, w, root, out, at, len(out))
            if at < 0:
                return i, GROW_OUT if at == -1 else GROW_ITEMS, clock
            status[i] = AMBIGUOUS if double or roots > 1 else PARSED
        ends[i + 1] = at
    return count, DONE, clock


@compiled
def expand(
    rules: Row,
    offsets: Row,
    first: int,
    count: int,
    t: Tables,
    right: Row,
    stack: Row,
    out: Row,
    ends: Row,
    status: Row,
    where: Row,
) -> tuple[int, int]:
    """Texts of derivations first..count-1 into `out`, from ends[i] to ends[i + 1]: the one it stopped at, and why.

    `right` begins with the places at which the right sides begin in it, each from its last symbol to its first.
    """
    nonterminals, start, padding = t.sizes[0], t.sizes[2], t.sizes[3]
    productions = len(t.lhs)
    for i in range(first, count):
        at = ends[i]
        status[i] = PARSED
        stack[0], top = start, 1
        step, stop = offsets[i], offsets[i + 1]
        while True:
            while top > 0 and stack[top - 1] >= nonterminals:
                top -= 1
                terminal = stack[top] - nonterminals
                if at + t.length[terminal] > len(out):
                    return i, GROW_OUT
                for b in range(t.place[terminal], t.place[terminal + 1]):
                    out[at] = t.bytes[b]
                    at += 1
            if step == stop:
                if top > 0:
                    status[i], where[i] = INCOMPLETE, step - offsets[i]
                break
            p = rules[step]
            if p == padding and top == 0:
                while step < stop and rules[step] == padding:
                    step += 1
                if step < stop:
                    status[i], where[i] = MISPLACED, step - offsets[i]
                    break
                continue
            if p < 0 or p >= productions:
                status[i], where[i] = UNKNOWN, step - offsets[i]
                break
            if top == 0 or t.lhs[p] != stack[top - 1]:
                status[i], where[i] = MISPLACED, step - offsets[i]
                break
            top -= 1
            a, b = right[p], right[p + 1]
            if top + b - a > len(stack):
                return i, GROW_ITEMS
            for s in range(a, b):
                stack[top] = right[s]
                top += 1
            step += 1
        ends[i + 1] = at
    return count, DONE
