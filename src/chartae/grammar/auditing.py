"""How much of a data set a codec keeps, and why it loses the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chartae.grammar.cfg import Grammar
from chartae.grammar.derivations import Codec

__all__ = ["Audit", "Reason", "audit"]


@dataclass(frozen=True)
class Reason:
    """Why some strings are lost."""

    why: str
    count: int
    index: int  # the first of them
    string: str
    place: int


@dataclass(frozen=True)
class Audit:
    """What came of `audit`.

    Attributes:
        strings, different: how many, and how many different ones.
        parsed: strings that the codec can encode.
        survived: of these, the ones that decoding gives back.
        ambiguous: strings with several derivations, of which one was taken by rule.
        longest, mean: productions (or tokens) in a string.
        bytes: that the indices need in memory.
        used: how many of the codec's indices occur; padding is not counted.
        reasons: why the rest is lost, most frequent first.
    """

    strings: int
    different: int
    parsed: int
    survived: int
    ambiguous: int
    longest: int
    mean: float
    bytes: int
    used: int
    size: int
    reasons: tuple[Reason, ...]

    def summary(self) -> dict[str, int | float | list[dict[str, str | int]]]:
        """As plain values, for JSON."""
        return {**vars(self), "reasons": [vars(r) for r in self.reasons]}


def audit(strings: Sequence[str], codec: Codec) -> Audit:
    """Encode and decode a data set: what parses, what comes back as it was, and why the rest does not.

    A string survives where decoding gives it back, apart from characters that the grammar ignores. Losses are grouped
    by what was found and, for the strings that parse, by how they came back.

    >>> from chartae.grammar import load
    >>> found = audit(["x + 1", "x + y", "sin(x)", "z"], load("expressions"))
    >>> found.parsed, found.survived, [(r.why, r.count) for r in found.reasons]
    (2, 2, [("found 'y'", 1), ("found 'z'", 1)])
    """
    listed = list(strings)
    if not listed:
        raise ValueError("there are no strings to audit; expected at least one")
    ids = codec.encode(listed, errors="skip")
    back = codec.decode(ids)
    ignored = {ord(c): None for c in codec.ignore} if isinstance(codec, Grammar) else {}
    groups: Counter[str] = Counter()
    first: dict[str, tuple[int, str, int]] = {}

    def lose(why: str, index: int, place: int) -> None:
        groups[why] += 1
        first.setdefault(why, (index, listed[index], place))

    for f in ids.failures:
        lose(f"found {f.found!r}" if f.found else "ends too early", f.index, f.place)
    survived = 0
    for i, text in zip(ids.kept.tolist(), back, strict=True):
        wanted = listed[i].translate(ignored)
        if text == wanted:
            survived += 1
        else:
            lose("comes back as another string", i, 0)
    reasons = tuple(Reason(why, count, *first[why]) for why, count in groups.most_common())
    lengths = ids.lengths
    return Audit(
        strings=len(listed),
        different=len(set(listed)),
        parsed=len(ids),
        survived=survived,
        ambiguous=0 if ids.ambiguous is None else int(ids.ambiguous.sum()),
        longest=int(lengths.max(initial=0)),
        mean=float(lengths.mean()) if len(ids) else 0.0,
        bytes=ids.nbytes,
        used=len(np.unique(ids.flat)),
        size=codec.size,
        reasons=reasons,
    )
