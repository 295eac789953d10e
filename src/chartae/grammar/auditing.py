"""How many strings of a data set survive a codec, and why the others are lost."""

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
    """A reason why strings are lost, with an example.

    Attributes:
        why: the reason.
        count: number of strings lost for it.
        index: number of the first of these strings in the data set, from 0.
        string: this string.
        place: number of the character at which it fails, from 0.
    """

    why: str
    count: int
    index: int
    string: str
    place: int


@dataclass(frozen=True)
class Audit:
    """The result of `audit`: how many strings a codec encodes and decodes unchanged.

    Attributes:
        strings: number of strings.
        different: number of different strings.
        parsed: number of strings that the codec can encode.
        survived: number of strings that come back unchanged after encoding and decoding.
        ambiguous: number of strings with several derivations, of which `encode` takes one by rule.
        longest: largest number of indices (productions or tokens) in a string.
        mean: mean number of indices in a string.
        bytes: memory that the indices of all strings need.
        used: number of the codec's indices that occur in the data, without the padding.
        size: number of the codec's indices, with the padding.
        reasons: why strings are lost, the most frequent reason first; each has `why`, `count` and its first example
            (`index`, `string`, `place`).

    >>> from chartae.grammar import audit, load
    >>> result = audit(["x+1", "x+y"], load("expressions"))
    >>> result.strings, result.parsed, result.mean, result.used, result.size
    (2, 1, 4.0, 4, 12)
    >>> result.reasons[0].why, result.reasons[0].place
    ("found 'y'", 2)
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
        """All attributes as plain values, for JSON."""
        return {**vars(self), "reasons": [vars(r) for r in self.reasons]}


def audit(strings: Sequence[str], codec: Codec) -> Audit:
    """Encode and decode a data set, and report how many strings survive and why the others are lost.

    A string survives if decoding returns it unchanged, apart from characters that the grammar ignores. Strings that
    cannot be encoded are grouped by the text at which encoding fails.

    Args:
        strings: N strings; at least one.
        codec: the grammar or other codec to encode them with.

    Returns:
        Counts, lengths, and the reasons for losses with an example of each.

    Raises:
        ValueError: `strings` is empty.

    >>> from chartae.grammar import audit, load
    >>> result = audit(["x + 1", "x + y", "sin(x)", "z"], load("expressions"))
    >>> result.parsed, result.survived, [(r.why, r.count) for r in result.reasons]
    (2, 2, [("found 'y'", 1), ("found 'z'", 1)])
    """
    listed = list(strings)
    if not listed:
        raise ValueError("strings is empty; expected at least one string")
    ids = codec.encode(listed, errors="skip")
    decoded = codec.decode(ids)
    ignored = {ord(c): None for c in codec.ignore} if isinstance(codec, Grammar) else {}
    groups: Counter[str] = Counter()
    first: dict[str, tuple[int, str, int]] = {}

    def lose(why: str, index: int, place: int) -> None:
        groups[why] += 1
        first.setdefault(why, (index, listed[index], place))

    for f in ids.failures:
        lose(f"found {f.unexpected!r}" if f.unexpected else "ends too early", f.index, f.place)
    survived = 0
    for i, text in zip(ids.kept.tolist(), decoded, strict=True):
        if text == listed[i].translate(ignored):
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
