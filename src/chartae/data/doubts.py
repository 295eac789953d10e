"""Columns of numbers that may not be amounts: numbers of rows, dates written as numbers, and identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chartae.data.notes import guess
from chartae.records.files import quoted

__all__ = ["doubts"]

#: names by which a column that only numbers the rows is recognised
_NUMBERING = re.compile(r"(unnamed: [\d.]+|index|id|row|row[_ ]?id|row[_ ]?number|no\.?|#)?", re.IGNORECASE)
#: names by which a column of different numbers is recognised as identifiers of the rows
_OF_ROWS = re.compile(r"([iI][dD]|.*([_ .-][iI][dD]|[a-z0-9]I[dD]))")
#: names of columns of identifiers
_IDENTIFIER = re.compile(r"(.*[_ .-])?(id|uid|uuid|key|code|number|phone|zip)", re.IGNORECASE)
#: whole numbers from here on are rounded by 32-bit floats, and by those of 64 bits
_EXACT, _EXACT_IN_64 = 2**24, 2**53
#: days that are written as one number
_FIRST_DAY, _LAST_DAY = 1900_01_01, 2100_12_31


def doubts(
    x: NDArray[np.number | np.bool_],
    names: Sequence[str | int],
    source: str,
    whole: Sequence[bool],
    *,
    may_drop: bool = True,
) -> list[str]:
    """Warn of columns that are read as amounts, but may be something else.

    Args:
        x: (n, d) numbers.
        names: names of the d columns.
        source: what to call the table.
        whole: for each column, whether it is written as whole numbers.
        may_drop: whether columns can be left out with drop=; default True.

    Returns:
        One sentence for each such column.

    >>> import numpy as np
    >>> from chartae.data.doubts import doubts
    >>> doubts(np.array([[0.5, 2**24], [1.5, 9.0], [2.5, 2**24 + 1]]), ["a", "users"], "t.csv", [False, True])
    ["Column 'users' of t.csv holds whole numbers up to 16,777,217, which 32-bit floats round to 7 digits."]
    """
    notes: list[str] = []
    for name, values, is_whole in zip(names, x.T, whole, strict=True):
        column = values.astype(np.float64)  # one column at a time, as the table may be large
        if len(column) > 2 and np.isfinite(column).all() and (column == np.rint(column)).all():
            remedy = f"leave it out with drop={quoted(name)}" if may_drop else "leave it out"
            what = f"Column {quoted(name)} of {source}"
            if _are_days(column):
                notes.append(guess(
                    f"{what} holds dates as whole numbers, such as {column[0]:.0f}, which are read as amounts, so that"
                    f" samples need not be dates. Give days since the first one, or {remedy}."
                ))  # fmt: skip
            elif is_whole and (sentences := list(_rounded(column, str(name), what, remedy))):
                notes += sentences
            elif len(names) > 1 and (verb := _numbering(str(name), column)):
                notes.append(guess(f"{what} {verb} the rows and is read as a feature. L{remedy[1:]}."))
    return notes


def _numbering(name: str, column: NDArray[np.float64]) -> str:
    """What a column of whole numbers does to the rows, by its name and numbers: it numbers or identifies them."""
    steps = np.diff(np.sort(column))
    if (steps == 1).all() and (_NUMBERING.fullmatch(name) or _OF_ROWS.fullmatch(name)):
        return "numbers"
    return "identifies" if (steps >= 1).all() and _OF_ROWS.fullmatch(name) else ""


def _rounded(column: NDArray[np.float64], name: str, what: str, remedy: str) -> Iterator[str]:
    """A sentence if 32-bit floats round whole numbers; a guess if these may be identifiers."""
    largest = np.abs(column).max()
    if (
        largest < _EXACT
        or largest > 2**64
        or (largest < _EXACT_IN_64 and np.array_equal(column.astype(np.float32), column))
    ):
        return
    sentence = f"{what} holds whole numbers up to {int(largest):,}, which 32-bit floats round to 7 digits"
    if largest >= _EXACT_IN_64 or (_IDENTIFIER.fullmatch(name) and len(np.unique(column)) == len(column)):
        yield guess(f"{sentence}. If they are identifiers, {remedy}.")
    else:
        yield f"{sentence}."


def _are_days(values: NDArray[np.float64]) -> bool:
    """Whether whole numbers are days, such as 20230623, and not all the same."""
    if values.min() < _FIRST_DAY or values.max() > _LAST_DAY or values.min() == values.max():
        return False
    day, month = values % 100, values // 100 % 100
    return bool(((day >= 1) & (day <= 31) & (month >= 1) & (month <= 12)).all())
