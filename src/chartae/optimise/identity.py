"""When two strings count as the same: without white space, or as molecules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chartae.metrics import molecules

__all__ = ["Identities", "Identity", "Known", "as_molecules", "without_spaces"]

#: function from strings to what is equal for equal strings
Identity: TypeAlias = Callable[[Sequence[str]], Sequence[str]]


def without_spaces(strings: Sequence[str]) -> list[str]:
    """The strings without white space.

    Args:
        strings: N strings.

    Returns:
        N strings.

    >>> from chartae.optimise import without_spaces
    >>> without_spaces(["x + 1", "x+1"])
    ['x+1', 'x+1']
    """
    return ["".join(string.split()) for string in strings]


def as_molecules(strings: Sequence[str]) -> list[str]:
    """The canonical SMILES of the strings; a string that is no molecule is itself, without white space.

    Args:
        strings: N strings.

    Returns:
        N strings.

    Raises:
        ImportError: RDKit is missing.

    >>> from chartae.optimise import as_molecules
    >>> as_molecules(["OCC", "CCO", "C("])
    ['CCO', 'CCO', 'C(']
    """
    return [
        plain if smiles is None else smiles
        for smiles, plain in zip(molecules.canonical(strings), without_spaces(strings), strict=True)
    ]


@dataclass(frozen=True)
class Known:
    """Strings that a search neither scores nor reports as found, besides the training strings.

    Attributes:
        strings: further strings that are known, such as those of validation and test; default: none.
        identity: function from strings to what is equal for equal strings; default: `without_spaces`.

    >>> from chartae.optimise import Known, as_molecules
    >>> Known(["CCO"], as_molecules).identity(["OCC"])
    ['CCO']
    """

    strings: Sequence[str] = ()
    identity: Identity = without_spaces


class Identities:
    """The identities of strings, each computed once.

    Args:
        identity: function from strings to what is equal for equal strings.
    """

    def __init__(self, identity: Identity = without_spaces) -> None:
        self._identity = identity
        self._of: dict[str, str] = {}

    def __getitem__(self, string: str) -> str:
        return self._of[string] if string in self._of else self.of([string])[0]

    def of(self, strings: Iterable[str]) -> list[str]:
        """The identity of each string."""
        strings = list(strings)
        new = list(dict.fromkeys(string for string in strings if string not in self._of))
        if new:
            self._of.update(zip(new, self._identity(new), strict=True))
        return [self._of[string] for string in strings]
