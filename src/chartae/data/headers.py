"""Whether the first row of a table is a header, judged by its cells and those of the rows below."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["MISSING", "Verdict", "first_row", "is_missing", "is_number"]

#: cells, in lower case, that stand for a missing value
MISSING = frozenset({"", "na", "n/a", "<na>", "nan", "null", "none", "?"})
#: from this many columns on, numbers that are evenly spaced in the first row alone are no accident
MANY = 8
#: share of the largest step by which steps may differ, by rounding, to be equal
EVEN = 0.02
#: share of the columns that must agree
MOST = 0.9

_TRUTH = ("true", "false")
_WHOLE = re.compile(r"[-+]?\d+")


@dataclass(frozen=True)
class Verdict:
    """Whether the first row is a header.

    Attributes:
        header: whether it is.
        doubt: why that could be wrong; empty if it is clear.
        numeric: whether the header is one of numbers.
        unlike: whether numbers of the first row are unlike those below: far from them, or whole where they are not.
    """

    header: bool
    doubt: str = ""
    numeric: bool = False
    unlike: bool = False


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a missing value, such as NA, ? or nothing."""
    return cell.strip().lower() in MISSING


def is_number(cell: str) -> bool:
    """Whether a cell holds a number or a truth value, with a decimal point or comma."""
    return not math.isnan(_value(cell)) or cell.strip().lower() in _TRUTH


def first_row(first: Sequence[str], below: Sequence[Sequence[str]], *, of_text: bool = False) -> Verdict:
    """Judge whether the first row of a table is a header.

    Text above numbers is a header, and so is a row whose first cell alone is empty, as pandas writes it. Numbers are a
    header if they are evenly spaced (wavelengths, years, the numbers of columns), unlike the rows below, or lie far
    outside these.

    Args:
        first: cells of the first row.
        below: cells of the rows below, each as long as `first`.
        of_text: whether rows may be text alone, so that a first row of text need not be a header; default False.

    Returns:
        The verdict; in doubt, the more probable one.
    """
    text = [not is_number(cell) and not is_missing(cell) for cell in first]
    if len(first) > 1 and not first[0].strip() and all(cell.strip() for cell in first[1:]):
        return Verdict(True, numeric=not any(text))
    above_numbers = [
        is_text and any(is_number(row[i]) for row in below) and not any(_is_text(row[i]) for row in below)
        for i, is_text in enumerate(text)
    ]
    values = np.array([_value(cell) for cell in first])
    numbers = [i for i, value in enumerate(values) if not math.isnan(value)]
    part = _of_numbers([first[i] for i in numbers], values[numbers], [[row[i] for i in numbers] for row in below])
    if any(above_numbers):
        steps = np.diff(values[numbers])
        usual = sum(text) >= len(numbers) or part.header or part.unlike or (len(steps) > 1 and _monotone(steps))
        return Verdict(True, "" if usual else "some of its cells are names and some are numbers")
    if all(text):
        return Verdict(not of_text)
    return Verdict(False) if any(is_missing(cell) for cell in first) else part


def _of_numbers(first: Sequence[str], values: NDArray[np.float64], below: Sequence[Sequence[str]]) -> Verdict:
    """The verdict on a row of numbers."""
    width, below = len(values), [row for row in below if all(map(is_number, row))]
    if width < 2 or not below:
        return Verdict(False)
    rows = np.array([[_value(cell) for cell in row] for row in below])
    low, high = rows.min(0), rows.max(0)
    reach = high - low
    far = len(rows) >= 5 and bool(np.mean((values > high + reach) | (values < low - reach)) >= MOST)
    whole = all(_WHOLE.fullmatch(cell.strip()) for cell in first)
    fractions = np.mean([[_WHOLE.fullmatch(cell.strip()) is None for cell in row] for row in below], 0) > 0.5
    whole_above_fractions = whole and bool(np.mean(fractions) >= MOST)
    unlike = far or whole_above_fractions
    header = Verdict(True, numeric=True, unlike=unlike)
    unevenness, steps = _unevenness(values), np.diff(values)
    spaced = unevenness <= EVEN
    alike = np.array([_unevenness(row) <= unevenness + 1e-6 for row in rows])
    numbered = bool(spaced and values[0] == 0 and steps[0] == 1)
    if spaced and width >= 3 and unlike:
        return header
    if spaced and not alike.any() and width >= MANY:
        return header
    if spaced and (width == 2 or not alike.any() or (numbered and alike.mean() < 0.5)):
        doubt = "its numbers are evenly spaced" + ("" if unlike else ", but like those below")
        if width >= 5 or (numbered and width >= 3) or (unlike and steps[0] == 1):
            return replace(header, doubt=doubt)
        return Verdict(False, doubt if width >= 3 else "", unlike=unlike)
    doubt = "its numbers lie far from those below" if far and width >= 3 else ""
    if doubt and (whole_above_fractions or (width >= 5 and _monotone(steps))):
        return replace(header, doubt=doubt)
    return Verdict(False, doubt, unlike=unlike)


def _monotone(steps: NDArray[np.float64]) -> bool:
    return len(steps) > 0 and bool((steps > 0).all() or (steps < 0).all())


def _unevenness(values: NDArray[np.float64]) -> float:
    """By which share of the largest one the steps between numbers differ; infinite unless they all grow or fall."""
    steps = np.diff(values)
    return float(np.ptp(steps) / abs(steps).max()) if _monotone(steps) else math.inf


def _is_text(cell: str) -> bool:
    return not is_number(cell) and not is_missing(cell)


def _value(cell: str) -> float:
    """The number in a cell, NaN if there is none."""
    try:
        return float(cell)
    except ValueError:
        try:
            return float(cell.replace(",", ".", 1))
        except ValueError:
            return math.nan
