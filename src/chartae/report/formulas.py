"""Strings on the page: as text with marked differences, and as drawn formulas if they are molecules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from chartae.draw.structures import molecules
from chartae.report.embedded import uri

__all__ = ["RenderedString", "StringPair", "StringRenderer", "can_draw"]

#: largest number of characters shown of one string
LONGEST = 400
#: side of a formula in pixels
SIDE = 190
#: least similarity of two strings whose differences are marked; below it, most characters would be marked
ALIKE = 0.6


def can_draw() -> bool:
    """Whether RDKit, which draws formulas, is installed."""
    try:
        molecules(["C"], side=40)
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class RenderedString:
    """A string on the page.

    Attributes:
        pieces: consecutive pieces of the string, each with a flag: whether the string it is compared with lacks it.
        picture: data URI of its formula, if it is drawn.
        repeated: whether it equals the string before it on a path.
    """

    pieces: list[tuple[str, bool]]
    picture: str | None = None
    repeated: bool = False


@dataclass(frozen=True)
class StringPair:
    """An original, its reconstruction, and whether they are equal."""

    original: RenderedString
    reconstruction: RenderedString
    same: bool


class StringRenderer:
    """Renders strings as text, and as formulas if they are molecules and RDKit is installed; caches the formulas.

    Args:
        draws: whether to draw formulas.
    """

    def __init__(self, draws: bool) -> None:
        self.draws, self._pictures = draws, dict[str, str]()

    def _picture(self, text: str) -> str | None:
        if not self.draws:
            return None
        if text not in self._pictures:
            self._pictures[text] = uri(molecules([text[:LONGEST]], columns=1, side=SIDE))
        return self._pictures[text]

    def path(self, row: Iterable[str]) -> list[RenderedString]:
        """The strings of a path; a string that equals its predecessor is flagged as repeated."""
        strings, previous = [], None
        for text in row:
            strings.append(self.render(text, repeated=text == previous))
            previous = text
        return strings

    def render(self, text: str, pieces: list[tuple[str, bool]] | None = None, repeated: bool = False) -> RenderedString:
        """A string, whole or in the given pieces."""
        whole = [(_cut(text), False)] if text else []
        return RenderedString(pieces or whole, self._picture(text), repeated)

    def pair(self, original: str, reconstruction: str) -> StringPair:
        """An original and its reconstruction, with their differences marked."""
        a, b, same = _cut(original), _cut(reconstruction), original == reconstruction
        matcher = SequenceMatcher(None, a, b, autojunk=False)
        if matcher.ratio() < ALIKE:
            return StringPair(self.render(original), self.render(reconstruction), same)
        codes = matcher.get_opcodes()
        first = [(a[i:j], tag != "equal") for tag, i, j, _, _ in codes if i < j]
        second = [(b[i:j], tag != "equal") for tag, _, _, i, j in codes if i < j]
        return StringPair(self.render(original, first), self.render(reconstruction, second), same)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
