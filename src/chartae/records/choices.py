"""Names that a user mistypes: the nearest one that exists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["choices", "suggestion"]


def suggestion(name: object, known: Iterable[str]) -> str:
    """`Did you mean 'x'? ` (with the space), or nothing if no known name is close.

    >>> suggestion("rea-l2", ["ae", "rae", "rae-l2"])
    "Did you mean 'rae-l2'? "
    >>> suggestion("paint", ["ae", "rae"])
    ''
    """
    by_key = {_key(text): text for text in known}
    close = difflib.get_close_matches(_key(str(name)), by_key, 1)
    return f"Did you mean {by_key[close[0]]!r}? " if close else ""


def choices(name: object, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest one, if any is close, and the list of all.

    >>> choices("gms", ["prior", "normal", "gmm"])
    "Did you mean 'gmm'? Choose from prior, normal, gmm"
    """
    names = list(known)
    return f"{suggestion(name, names)}Choose from {', '.join(names)}"


def _key(name: str) -> str:
    return name.casefold().replace("_", "-")
