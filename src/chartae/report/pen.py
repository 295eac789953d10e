"""Strings on the page: as text with its differences marked, and as formulas of molecules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from chartae.draw.structures import molecules
from chartae.report.embedded import uri

__all__ = ["Pair", "Pen", "Written", "can_draw"]

#: characters of one string that are shown
LONGEST = 400
#: pixels of a formula's side
SIDE = 190
#: strings less alike than this have no marks: all of them would be marked
ALIKE = 0.6


def can_draw() -> bool:
    """Whether RDKit, which draws formulas, is installed."""
    try:
        molecules(["C"], side=40)
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Written:
    """A string on the page: its pieces, which of them another string lacks, and its formula."""

    pieces: list[tuple[str, bool]]
    picture: str | None = None
    again: bool = False


@dataclass(frozen=True)
class Pair:
    """An original and its reconstruction, and whether they are the same."""

    given: Written
    back: Written
    same: bool


class Pen:
    """Writes strings, and draws them where they are molecules and RDKit is there; none is drawn twice.

    Args:
        draws: whether formulas are drawn.
    """

    def __init__(self, draws: bool) -> None:
        self.draws, self.known = draws, dict[str, str]()

    def _picture(self, text: str) -> str | None:
        if not self.draws:
            return None
        if text not in self.known:
            self.known[text] = uri(molecules([text[:LONGEST]], columns=1, side=SIDE))
        return self.known[text]

    def path(self, row: Iterable[str]) -> list[Written]:
        """Strings on a path, in which one that is as before is not written again."""
        strings, before = [], None
        for text in row:
            strings.append(self.write(text, again=text == before))
            before = text
        return strings

    def write(self, text: str, pieces: list[tuple[str, bool]] | None = None, again: bool = False) -> Written:
        """A string, whole or in pieces; `again` if it is the same as the one before."""
        whole = [(_cut(text), False)] if text else []
        return Written(pieces or whole, self._picture(text), again)

    def pair(self, given: str, back: str) -> Pair:
        """Original and reconstruction, with what one of them has and the other lacks."""
        a, b = _cut(given), _cut(back)
        matcher = SequenceMatcher(None, a, b, autojunk=False)
        if matcher.ratio() < ALIKE:
            return Pair(self.write(given), self.write(back), given == back)
        codes = matcher.get_opcodes()
        first = [(a[i:j], tag != "equal") for tag, i, j, _, _ in codes if i < j]
        second = [(b[i:j], tag != "equal") for tag, _, _, i, j in codes if i < j]
        return Pair(self.write(given, first), self.write(back, second), given == back)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
