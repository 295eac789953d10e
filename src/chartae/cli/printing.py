"""What the command line prints: names from files and folders stand as they are, and control nothing."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

__all__ = ["cells", "console", "printable", "title"]

#: characters of a message; a longer one is cut
MOST = 4000
#: characters that are no letters, and yet stand as they are
SPACES = "\n\t\u00a0\u2009\u202f"


def printable(text: str, most: int | None = None) -> str:
    """Text for a terminal: with control characters, and bytes of names that are no UTF-8, as escapes.

    Args:
        text: any text.
        most: number of characters after which it is cut; None (default) for all.

    >>> from chartae.cli.printing import printable
    >>> printable("a\\x1b[31m\\udcffb"), printable("abc", 2)
    ('a\\\\x1b[31m\\\\udcffb', 'ab…')
    """
    cut = text if most is None or len(text) <= most else f"{text[:most]}…"
    return "".join(c if c.isprintable() or c in SPACES else ascii(c)[1:-1] for c in cut)


def console() -> Console:
    """A console for tables on stdout, for which brackets and colons in names mean nothing."""
    return Console(markup=False, emoji=False, highlight=False)


def cells(*values: object) -> tuple[Text, ...]:
    """The cells of a row of a table."""
    return tuple(Text(printable(str(value))) for value in values)


def title(text: str) -> Text:
    """The title of a table."""
    return Text(printable(text), style="table.title")
