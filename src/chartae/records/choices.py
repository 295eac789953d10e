"""Names that a user mistypes: what is expected, and the nearest name that exists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["one_of", "suggestion"]


def suggestion(name: object, known: Iterable[str]) -> str:
    """`Did you mean 'x'?`, or nothing if no known name is close.

    >>> suggestion("rea-l2", ["ae", "rae", "rae-l2"])
    "Did you mean 'rae-l2'?"
    >>> suggestion("paint", ["ae", "rae"])
    ''
    """
    by_key, key = {_key(text): text for text in known}, _key(str(name))
    beginning = [k for k in by_key if len(key) > 2 and k.startswith(key)]
    close = difflib.get_close_matches(key, by_key, 1) or beginning[:1]
    return f"Did you mean {by_key[close[0]]!r}?" if close else ""


def one_of(name: object, known: Iterable[str], *, also: str = "") -> str:
    """What is expected in place of an unknown name, and the nearest known one, if any is close.

    Args:
        name: the unknown name.
        known: the names that exist.
        also: what else is accepted, after the names.

    >>> f"density is 'gms'; {one_of('gms', ['prior', 'normal', 'gmm'])}"
    "density is 'gms'; expected one of prior, normal, gmm. Did you mean 'gmm'?"
    """
    names = list(known)
    more = f", or {also}" if also else ""
    return f"expected one of {', '.join(names)}{more}. {suggestion(name, names)}".rstrip()


def _key(name: str) -> str:
    return name.casefold().replace("_", "-")
