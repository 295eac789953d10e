"""The syntax tree of a regular expression."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any, cast

__all__ = ["ALLOWED", "Tree", "parsed_regex"]

#: whether the standard library's private parser may be used; else its deprecated public name is
ALLOWED = True

#: pairs of an operator and what it is applied to; the library has no types for them
Tree = Iterable[tuple[object, Any]]


def parsed_regex(pattern: str) -> Tree:
    """The tree of a regular expression, as the standard library parses it; a `re.error` where it cannot."""
    private = getattr(re, "_parser", None) if ALLOWED else None
    if private is not None:
        return cast(Tree, private.parse(pattern))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import sre_parse
    return cast(Tree, sre_parse.parse(pattern))
