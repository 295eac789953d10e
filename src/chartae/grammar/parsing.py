"""Parsing and printing of batches: calls the loops of `earley` with arrays (lists, without numba) that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from chartae.grammar import earley
from chartae.grammar.derivations import Derivations
from chartae.grammar.earley import AMBIGUOUS, ENDLESS, INCOMPLETE, MOST_BYTES, OUTSIDE, TOO_LONG, Row, Tables, Work

__all__ = [
    "AMBIGUOUS",
    "ENDLESS",
    "INCOMPLETE",
    "MOST_BYTES",
    "OUTSIDE",
    "TOO_LONG",
    "Parsed",
    "expand",
    "expected",
    "parse",
]

#: items of one text, and heads of lists of items (places times nonterminals)
MOST_ITEMS, MOST_HEADS = 1 << 21, 1 << 25
#: bytes of all texts of a batch of derivations
MOST_OUT = 1 << 28


@dataclass(frozen=True)
class Parsed:
    """Derivations of a batch of n texts; a text outside the grammar, or too long, has none."""

    flat: np.ndarray  # production numbers of all derivations, one after the other
    lengths: np.ndarray  # (n,) number of productions, 0 for a text outside the grammar
    status: np.ndarray  # (n,) PARSED, AMBIGUOUS, OUTSIDE or TOO_LONG
    where: np.ndarray  # (n,) the byte at which no derivation continues, for a text outside the grammar


Rows = TypeVar("Rows", Tables, Work)


def _native(x: np.ndarray) -> Row:
    """An array for compiled loops; a list for interpreted ones, which read its elements four times as fast."""
    return x if earley.COMPILED else x.tolist()


def _all_native(rows: Rows) -> Rows:
    """The named tuple with `_native` applied to each of its arrays."""
    return type(rows)(*(_native(np.asarray(row)) for row in rows))


def _work(items: int, hashed: int, longest: int, nonterminals: int) -> Work:
    i32 = np.int32
    per_item = {name: np.zeros(items, i32) for name in ("dot", "origin", "before", "child", "link", "stack")}
    work = Work(
        **per_item,
        double=np.zeros(items, np.uint8),
        waiting=np.zeros((longest + 1) * nonterminals, i32),
        arriving=np.zeros(longest + 1, i32),
        token=np.zeros(longest + 1, i32),
        empty=np.zeros(nonterminals, i32),
        key=np.zeros(hashed, np.int64),
        stamp=np.zeros(hashed, np.int64),
        hashed=np.zeros(hashed, i32),
    )
    return _all_native(work)


def _joined(strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [s.encode() for s in strings]
    offsets = np.cumsum(np.fromiter((0, *map(len, encoded)), np.int64, len(encoded) + 1))
    return np.frombuffer(b"".join(encoded) or b"\0", np.uint8), offsets


def parse(tables: Tables, strings: Sequence[str]) -> Parsed:
    """Leftmost derivations of strings by `earley.parse`, with buffers that grow as it asks for."""
    n, nonterminals = len(strings), int(tables.sizes[0])
    # a text without characters stands for one that is longer than the buffers may be
    most = MOST_HEADS // nonterminals
    long = np.fromiter((4 * len(s) > most and len(s.encode()) > most for s in strings), bool, n)
    text, offsets = _joined(["" if is_long else s for s, is_long in zip(strings, long, strict=True)])
    longest = int(np.diff(offsets).max(initial=0))
    items, hashed = 1 << 13, 1 << 10
    native = _all_native(tables)
    work, clock = _work(items, hashed, longest, nonterminals), 0
    out = np.zeros(4 * int(offsets[-1]) + 64, np.uint16)
    ends, status, where = np.zeros(n + 1, np.int64), np.zeros(n, np.uint8), np.zeros(n, np.int64)
    letters, places = _native(text), _native(offsets)
    outputs = [_native(x) for x in (out, ends, status, where)]
    at, why = 0, -1
    while why != earley.DONE:
        at, why, clock = earley.parse(letters, places, at, n, native, work, clock, *outputs)
        if why == earley.GROW_OUT:
            longer = np.zeros(len(outputs[0]), np.uint16)
            outputs[0] = _native(np.concatenate([np.asarray(outputs[0], np.uint16), longer]))
        elif why == earley.GROW_ITEMS and items >= MOST_ITEMS:
            of_end, of_status, of_place = outputs[1:]
            of_status[at], of_place[at], of_end[at + 1] = TOO_LONG, 0, of_end[at]
            at, why = at + 1, -1 if at + 1 < n else earley.DONE
        elif why != earley.DONE:
            items, hashed = (items * 2, hashed) if why == earley.GROW_ITEMS else (items, hashed * 2)
            work, clock = _work(items, hashed, longest, nonterminals), 0
    flat, ends, status, where = (np.asarray(x) for x in outputs)
    kind, lengths = np.uint8 if len(tables.lhs) <= 256 else np.uint16, np.diff(ends)
    if long.any():  # the empty texts that stand for them may have derivations
        flat = flat[: ends[-1]][~np.repeat(long, lengths)]
        lengths, status = np.where(long, 0, lengths), np.where(long, TOO_LONG, status)
    return Parsed(flat[: lengths.sum()].astype(kind), lengths, status.astype(np.uint8), where)


def expected(tables: Tables, text: bytes) -> tuple[list[int], bool]:
    """The terminals that could follow where no derivation of `text` continues, and whether the text could end there."""
    # without look-ahead, so that the last set also holds the items that the next token of the text does not fit
    used = np.asarray(tables.viable).reshape(len(tables.symbol), -1).any(1, keepdims=True)
    loose = tables._replace(viable=(used * np.ones(int(tables.sizes[1]) + 2, np.uint8)).astype(np.uint8).reshape(-1))
    items, hashed = 1 << 13, 1 << 10
    native = _all_native(loose)
    buffer = _native(np.frombuffer(text or b"\0", np.uint8))
    while True:
        work = _work(items, hashed, len(text), int(tables.sizes[0]))
        count, first, _, _ = earley.recognise(buffer, 0, len(text), native, work, 0)
        if count == -3 or (count == -2 and items >= MOST_ITEMS):
            return [], False
        if count >= 0:
            break
        items, hashed = (items, hashed * 2) if count == -1 else (items * 2, hashed)
    dots = np.asarray(work.dot)[first:count]
    symbols, lhs, rule = (np.asarray(row) for row in (tables.symbol, tables.lhs, tables.rule))
    symbols, left = symbols[dots], lhs[rule[dots]]
    k, start = int(tables.sizes[0]), int(tables.sizes[2])
    complete = (symbols < 0) & (np.asarray(work.origin)[first:count] == 0) & (left == start)
    return sorted({int(s) - k for s in symbols if s >= k}), bool(complete.any())


def expand(tables: Tables, right: np.ndarray, derivations: Derivations) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts of derivations by `earley.expand`, with the status of each and the step at which it fails."""
    n = len(derivations)
    longest = int(derivations.lengths.max(initial=0))
    out, stack = np.zeros(2 * len(derivations.flat) + 64, np.uint8), np.zeros(longest + 64, np.int32)
    flat, offsets, sides = (_native(x) for x in (derivations.flat, derivations.offsets, right))
    native = _all_native(tables)
    ends, status, where = (
        _native(x) for x in (np.zeros(n + 1, np.int64), np.zeros(n, np.uint8), np.zeros(n, np.int64))
    )
    at, why = 0, -1
    while why != earley.DONE:
        # texts written before the loop asked for a longer buffer are kept
        buffer, room = _native(out), _native(stack)
        at, why = earley.expand(flat, offsets, at, n, native, sides, room, buffer, ends, status, where)
        out = np.asarray(buffer, np.uint8)
        if why == earley.GROW_OUT:
            if len(out) > MOST_OUT:
                raise ValueError(f"the strings have more than {MOST_OUT >> 20:,} MB; expected fewer, or shorter ones")
            out = np.concatenate([out, np.zeros(len(out), np.uint8)])
        elif why == earley.GROW_ITEMS:
            stack = np.zeros(2 * len(stack), np.int32)
    text, places = out.tobytes(), np.asarray(ends).tolist()
    texts = [text[a:b].decode() for a, b in pairwise(places)]
    return texts, np.asarray(status), np.asarray(where)
