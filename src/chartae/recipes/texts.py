"""What docstrings say of a recipe's options, for the command line's help."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass

from chartae.recipes.table import RECIPES

__all__ = ["option_texts"]


def option_texts(name: str) -> dict[str, str]:
    """The text of each option of a recipe, as the docstrings of its function and of its groups of options state it.

    Args:
        name: name of a recipe.

    Returns:
        Option -> its text; an option that no docstring explains is left out.

    Raises:
        ValueError: there is no such recipe.

    >>> from chartae.recipes import option_texts
    >>> sorted(option_texts("rae-l2"))
    ['beta', 'l2', 'select']
    """
    function = RECIPES[name].function
    groups = [type(p.default) for p in inspect.signature(function).parameters.values() if is_dataclass(p.default)]
    texts: dict[str, str] = {}
    for documented in (*groups, function):
        texts |= _entries(inspect.cleandoc(documented.__doc__ or ""))
    return texts


def _entries(doc: str) -> dict[str, str]:
    """The entries of the sections `Args` and `Attributes` of a docstring."""
    texts: dict[str, str] = {}
    for section in re.findall(r"^(?:Args|Attributes):\n((?:(?: {4}.*)?\n?)+)", doc, re.MULTILINE):
        for names, text in re.findall(r"^ {4}(\w[\w, ]*): ((?:.*\n?)(?: {8}.*\n?)*)", section, re.MULTILINE):
            texts |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return texts
