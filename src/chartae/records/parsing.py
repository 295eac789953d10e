"""Read and check values of JSON and TOML files; errors name the file, the key, the value and what is expected."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeGuard

from chartae.records.files import Damaged, one_line, quoted, read_text, reading

__all__ = ["MOST_TOML", "Place", "Value", "is_finite", "is_number", "parse_toml", "read_json", "read_toml"]

#: the largest TOML file that is read, in bytes, its keys, and the dots in a key: the time that tomllib takes grows with
#: the square of the last
MOST_TOML, MOST_KEYS, MOST_DOTS = 4 << 20, 20_000, 30
#: strings and comments in TOML; and the beginnings of tables
_QUOTED = re.compile(
    r'''"""(?:[^"\\]|\\.|"(?!""))*"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*''', re.DOTALL
)
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)

#: a value in a JSON or TOML file
Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is an int or a float, finite or not; True and False are not numbers.

    >>> is_number(2.5), is_number(True), is_number("2.5")
    (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[float]:
    """Whether a value is a number of ordinary size, below 1e300.

    >>> is_finite(2.5), is_finite(float("nan")), is_finite("2.5")
    (True, False, False)
    """
    return is_number(value) and -1e300 < value < 1e300


def _is_huge(value: float) -> bool:
    """Whether a value is a whole number that no float can hold."""
    return isinstance(value, int) and abs(value) >= 1 << 1000


@dataclass(frozen=True)
class Place:
    """The place of a value: a file, and a key in it.

    Attributes:
        file: the file; None for values in memory.
        key: names of the nested mappings, joined by dots; empty for the whole file.
        remedy: how to write the file again, as a sentence without a full stop; may be empty.
    """

    file: Path | None = None
    key: str = ""
    remedy: str = ""

    def at(self, name: str) -> Place:
        """The place of the value with this name in the mapping at this place."""
        name = name if len(name) <= 60 and name.isprintable() else quoted(name)
        return replace(self, key=f"{self.key}.{name}" if self.key else name)

    def wrong(self, value: object, expected: str) -> Damaged | ValueError:
        """The error that says that the value at this place is not what is expected."""
        if isinstance(value, list | tuple | dict):
            shown = f"a {type(value).__name__}"
        else:
            shown = quoted(value)
        if self.file is None:
            return ValueError(f"{self.key or 'the value'} is {shown}; expected {expected}")
        where = f"{self.key} in {self.file.name}" if self.key else str(self.file)
        file = f". The file is {self.file}" if self.key else ""
        return Damaged(f"{where} is {shown}; expected {expected}{file}{'. ' if self.remedy else ''}{self.remedy}")

    def mapping(self, value: Value) -> Mapping[str, Value]:
        """The value as a mapping of names to values; null is an empty one."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(value, "a mapping of names to values")
        return value

    def items(self, value: Value) -> Sequence[Value]:
        """The value as a list; null and other empty values are an empty one."""
        if not value:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.wrong(value, "a list")
        return value

    def number(self, value: Value) -> float | None:
        """The value as a number, finite or not, or None."""
        if value is None or (is_number(value) and not _is_huge(value)):
            return value
        raise self.wrong(value, "a number or null")

    def whole(self, value: Value) -> int | None:
        """The value as a whole number, or None."""
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and not _is_huge(value)):
            return value
        raise self.wrong(value, "a whole number or null")

    def text(self, value: Value) -> str:
        """The value as a string; null is the empty one."""
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(value, "a string")
        return value

    def texts(self, value: Value) -> tuple[str, ...]:
        """The value as a list of strings; null is an empty one."""
        values = () if value is None else value
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise self.wrong(value, "a list of strings")
        strings = tuple(v for v in values if isinstance(v, str))
        if len(strings) < len(values):
            raise self.wrong(value, "a list of strings and nothing else")
        return strings


def _parsed(text: str, path: Path, parse: Callable[[str], Value], remedy: str = "") -> Value:
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:  # JSON and TOML errors are ValueErrors
        raise Damaged(f"{path} is damaged: {one_line(error)}{'. ' if remedy else ''}{remedy}") from error


@contextmanager
def read_json(path: Path, remedy: str = "") -> Iterator[tuple[Mapping[str, Value], Place]]:
    """A block that uses the mapping in a JSON file; it also has the file as a `Place`, for error messages.

    Raises:
        FileNotFoundError: the file does not exist.
        Damaged: the file is damaged or a link, does not hold a mapping, or holds values that the block cannot use.
    """
    place = Place(path, remedy=remedy)
    values = place.mapping(_parsed(read_text(path, remedy=remedy), path, json.loads, remedy))
    with reading(path):
        yield values, place


def read_toml(path: Path) -> Mapping[str, Value]:
    """Read the mapping in a TOML file.

    Raises:
        FileNotFoundError: the file does not exist.
        Damaged: the file is damaged.
    """
    return parse_toml(read_text(path, MOST_TOML), path)


def parse_toml(text: str, path: Path) -> Mapping[str, Value]:
    """The mapping in the text of a TOML file; the path is for error messages.

    Raises:
        Damaged: the text is damaged, or too long.
    """
    if len(text) > MOST_TOML:
        raise Damaged(f"{path} is damaged: it holds a text of {len(text):,} characters; expected at most {MOST_TOML:,}")
    return Place(path).mapping(_parsed(text, path, _toml))


def _toml(text: str) -> Mapping[str, Value]:
    bare = _QUOTED.sub("q", text)
    keys = bare.count("=") + len(_TABLE.findall(bare))
    dots = max((line.partition("=")[0].count(".") for line in bare.split("\n") if "=" in line), default=0)
    if keys > MOST_KEYS or dots > MOST_DOTS:
        raise ValueError(
            f"it has {keys:,} keys, some with {dots:,} dots; expected at most {MOST_KEYS:,}, with {MOST_DOTS} dots"
        )
    return tomllib.loads(text)
