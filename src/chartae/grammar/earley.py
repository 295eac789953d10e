"""The inner loops of parsing and printing, compiled by numba where it is installed, else interpreted.

The parser is Earley's ("An efficient context-free parsing algorithm", 1970), without a tokeniser: a terminal of several
characters leads from one place of the text to a later one, and one terminal of look-ahead keeps the sets of items
small. Left recursion, empty productions and ambiguity need no special case. Empty completions are paired with later
items as in Aycock and Horspool, "Practical Earley parsing", 2002.

All arrays are allocated by the caller, so that the same code runs over numpy arrays and over lists. If one is too
short, the loop says which, and the caller enlarges it and calls again.
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
    "MOST_BYTES",
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

#: why `parse` and `expand` stopped: all strings are done, or an array must grow
DONE, GROW_ITEMS, GROW_HASH, GROW_OUT = 0, 1, 2, 3

#: pairs of items that the parser tries for one text; and bytes of the text of one derivation
MOST_PAIRS, MOST_BYTES = 10_000_000, 1 << 20

#: status of a string after `parse`
PARSED, AMBIGUOUS, OUTSIDE, TOO_LONG = 0, 1, 2, 3
#: status of a derivation after `expand`; `PARSED` if it is complete
INCOMPLETE, MISPLACED, UNKNOWN, ENDLESS = 1, 2, 3, 4

#: a sequence of integers: an array for compiled loops, a list for interpreted ones
Row = np.ndarray | list[int]

Loop = TypeVar("Loop", bound=Callable[..., object])


class Tables(NamedTuple):
    """A grammar as arrays; a dot is a position in a production, symbols are nonterminals k < K or terminals K + t."""

    symbol: Row  # (D,) the symbol after each dot, -1 at the end of a production
    rule: Row  # (D,) the production of each dot
    lhs: Row  # (P,) the left side of each production, -1 if it can never be used
    dot: Row  # (P,) the first dot of each production
    options: Row  # the usable productions of every nonterminal, one list after the other
    option: Row  # (K + 1,) where each list begins
    viable: Row  # (D * (T + 2),) whether each token may come next after each dot
    step: Row  # (256 * nodes,) transitions of the trie of terminals
    accept: Row  # (nodes,) the terminal that ends at each node, -1 for none
    length: Row  # (T,) number of bytes of each terminal
    prefix: Row  # (T * T,) [u, t]: whether terminal t is a prefix of terminal u
    place: Row  # (T + 1,) where each terminal begins in `bytes`
    bytes: Row  # the terminals, one after the other
    sizes: Row  # K, T, start, padding


class Work(NamedTuple):
    """Buffers for items and sets, which all texts share."""

    dot: Row
    origin: Row  # the set in which the item's production began
    before: Row  # the item whose dot is one symbol to the left
    child: Row  # the completed item of that symbol, -1 for a terminal
    link: Row  # the next item of the same linked list (`waiting`, `arriving` or `empty`)
    double: Row  # whether the item has more than one derivation
    stack: Row
    waiting: Row  # ((n + 1) * K,) heads of the lists of items that wait for a nonterminal in each set
    arriving: Row  # (n + 1,) heads of the lists of items whose terminal ends at each place
    token: Row  # (n + 1,) the longest terminal at each place
    empty: Row  # (K,) heads of the lists of items that complete each nonterminal without text in the present set
    key: Row  # the hash of the present set: keys
    stamp: Row  # the clock at which each key was written
    hashed: Row  # the item of each key


def compiled(function: Loop) -> Loop:
    """Compile a function by numba, to run without the interpreter's lock; return it unchanged where numba is absent."""
    if njit is None:
        return function
    # a wrapper, such as an import hook's check of shapes, cannot be compiled
    bare = inspect.unwrap(function)
    try:
        machine_code = njit(cache=True, nogil=True)(bare)
    except RuntimeError:  # no folder can hold the cache of compiled code
        machine_code = njit(nogil=True)(bare)
    return cast(Loop, machine_code)


@compiled
def _scan(text: Row, begin: int, end: int, t: Tables, arriving: Row, tokens: Row) -> None:
    """Write the longest terminal at every place of a text (T for none, T + 1 at its end), and clear `arriving`."""
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
    """The place of a key in the hash of this clock, or a free place for it; -1 after too many collisions."""
    mask = len(keys) - 1
    place, tries = (key * 40503 + (key >> 7)) & mask, 0
    while stamps[place] == clock and keys[place] != key and tries < 64:
        place = (place + 1) & mask
        tries += 1
    return -1 if tries == 64 else place


@compiled
def _prefer(t: Tables, w: Work, item: int, before: int, child: int) -> None:
    """Mark an item as ambiguous, and keep the better of its two derivations.

    The better one has the shorter last symbol; if both are equally long, the production of the smaller number.
    """
    w.double[item] = 1
    old_child = w.child[item]
    old, new = w.origin[old_child], w.origin[child]
    if new > old or (new == old and t.rule[w.dot[child]] < t.rule[w.dot[old_child]]):
        w.before[item], w.child[item] = before, child


@compiled
def recognise(text: Row, begin: int, end: int, t: Tables, w: Work, clock: int) -> tuple[int, int, int, int]:
    """Build the sets of items of one text.

    Returns the number of items (-1 if the hash is full, -2 if the buffers of items are, -3 if the text needs more pairs
    than `MOST_PAIRS`), the first item of the last set reached, the place of this set, and the clock.
    """
    # locals, because compiled code counts a reference each time that a loop takes an array out of a tuple
    nonterminals, terminals, start = t.sizes[0], t.sizes[1], t.sizes[2]
    symbols, rules, lhs, viable, prefix, length = t.symbol, t.rule, t.lhs, t.viable, t.prefix, t.length
    option, options, first_dot = t.option, t.options, t.dot
    dots, origins, befores, childs, doubles, link = w.dot, w.origin, w.before, w.child, w.double, w.link
    waiting, arriving, tokens, empty = w.waiting, w.arriving, w.token, w.empty
    keys, stamps, hashed = w.key, w.stamp, w.hashed
    n, room, width, states = end - begin, len(dots), terminals + 2, len(symbols)

    _scan(text, begin, end, t, arriving, tokens)
    count = first = last = pairs = 0
    for j in range(n + 1):
        if j > 0 and arriving[j] < 0:
            continue
        first, last, token, clock = count, j, tokens[j], clock + 1
        for k in range(nonterminals):
            waiting[j * nonterminals + k] = -1
            empty[k] = -1
        cursor, predicted = count, start if j == 0 else -1
        # Every item that is not predicted arises from a pair: the item before it, and the completed item (or terminal)
        # that moves its dot. `item` is one of them, and `i` runs over its partners. Way 1: `item` is complete, partners
        # wait for it. Way 2: `item` waits, partners are complete without text. Way 0: partners arrive by a terminal.
        way, item, i = 0, -1, arriving[j]
        while True:
            if pairs > MOST_PAIRS:
                return -3, 0, 0, clock
            while i >= 0:
                before = item if way == 2 else i
                child = item if way == 1 else i if way == 2 else -1
                i = link[i]
                pairs += 1
                dot, origin = dots[before] + 1, origins[before]
                if viable[dot * width + token] == 0:
                    continue
                key = dot + origin * states
                place = _slot(keys, stamps, key, clock)
                if place < 0:
                    return -1, 0, 0, clock
                if stamps[place] == clock:
                    _prefer(t, w, hashed[place], before, child)
                    continue
                if count == room:
                    return -2, 0, 0, clock
                stamps[place], keys[place], hashed[place] = clock, key, count
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
    """Write the leftmost derivation below a completed item into `out`, from place `at`.

    Returns the place where it ends (-1 if `out` is too short, -2 if the stack is), and whether it is ambiguous.
    """
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
    """Write the derivations of texts first..count-1 into `out`, that of text i from ends[i] to ends[i + 1].

    Returns the text at which it stopped, why, and the clock.
    """
    for i in range(first, count):
        begin, end = offsets[i], offsets[i + 1]
        items, began, last, clock = recognise(text, begin, end, t, w, clock)
        if items == -3:
            status[i], where[i], ends[i + 1] = TOO_LONG, 0, ends[i]
            continue
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
    """Write the texts of derivations first..count-1 into `out`, that of derivation i from ends[i] to ends[i + 1].

    `right` holds all right sides, last symbol first, preceded by the places at which they begin. Returns the derivation
    at which it stopped, and why.
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
                if at + t.length[terminal] - ends[i] > MOST_BYTES:
                    status[i], where[i], top = ENDLESS, step - offsets[i], -1
                    break
                if at + t.length[terminal] > len(out):
                    return i, GROW_OUT
                for b in range(t.place[terminal], t.place[terminal + 1]):
                    out[at] = t.bytes[b]
                    at += 1
            if top < 0:
                break
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
