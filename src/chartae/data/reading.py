"""The one reader: whatever a user has becomes a data set, and where a data set can be loaded from again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from chartae.data.catalogue import NAMES, load
from chartae.data.columns import Columns, Frame, frame_columns, is_frame
from chartae.data.dataset import Dataset, Shares, assemble, from_path
from chartae.data.derived import VIEWS, split_views
from chartae.data.files import Part
from chartae.data.kinds import Kind, Strings, kind_of
from chartae.data.kinds import kinds as every_kind
from chartae.data.lines import is_string_file, is_string_list
from chartae.data.strings import from_strings
from chartae.grammar import CODECS, Codec
from chartae.grammar import NAMES as GRAMMARS

__all__ = ["IN_MEMORY", "Origin", "Reading", "WrongKind", "origin", "read"]

#: the name of data that lie in memory, and cannot be loaded again
IN_MEMORY = "array"


class WrongKind(ValueError):
    """Data of another kind than is asked for; `kind` is theirs."""

    def __init__(self, message: str, kind: type[Kind]) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Reading:
    """What a user may say about how to read data; each kind understands some of it (`Kind.options`).

    Attributes:
        grammar: for strings: a grammar's name or file, or another codec, as the codec of `chartae.data.from_strings`.
        limit: for strings: use only the first `limit`; >= 1.
        column: for strings: head of the column of a table that holds them.
        target: for strings: a property of each, as in `chartae.data.from_strings`.
        errors: for strings: ``"raise"`` (the default) or ``"skip"``, for what cannot be encoded.
        label: for tables: name of the column of labels; "" for none; by default, in files, one named label, target,
            class or y.
        size: for folders of pictures: cut the middle square out of each and resize it to `size` x `size` pixels.
    """

    grammar: str | os.PathLike[str] | Codec | None = None
    limit: int | None = None
    column: str | None = None
    target: str | Sequence[float] | NDArray[np.number] | None = None
    errors: str | None = None
    label: str | int | None = None
    size: int | None = None

    def stated(self) -> tuple[str, ...]:
        """The names of what was said."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)


def read(
    anything: object,
    *,
    kinds: Sequence[type[Kind]] | None = None,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    valid: float = 0.1,
    test: float = 0.1,
    reading: Reading = Reading(),
) -> Dataset:
    """Whatever a user has, as a `Dataset` of one of the kinds that are asked for.

    * A `Dataset` passes as it is.
    * A name or path is loaded (`chartae.data.load`); a file of strings is read by the grammar. A ``.csv`` file holds
      strings if these alone are asked for, and a table otherwise.
    * An array, a data frame or a list is split at random. It becomes the kind that it looks like: (n, d) numbers a
      table if tables will do, else points if points will.

    Table and points are one thing read in two ways, (n, d) numbers in the user's units: where the data come as the one
    and only the other is asked for, they become the other. A table standardises its columns, points stay unscaled.

    Args:
        anything: a `Dataset`, a name, a path, an array, a tensor, a data frame, a list of numbers or of strings.
        kinds: the kinds of data that will do; all by default.
        root: where the files of named data are, as in `chartae.data.load`.
        seed: of the random split.
        valid, test: fractions to hold out, where the data do not come in splits.
        reading: how to read them.

    Raises:
        ValueError, TypeError: the data cannot be read, are of another kind than asked for, or an option is for another
            kind of data.
        FileNotFoundError: there is no such file.

    >>> read([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]], valid=0, test=0).kind
    Table((2,))
    """
    wanted = tuple(kinds) if kinds is not None else every_kind()
    if isinstance(anything, Dataset):
        if stated := reading.stated():
            raise ValueError(f"{', '.join(stated)}: {anything.name!r} is a data set that has been read; leave it out")
        return _as_one_of(anything, wanted)
    if _holds_strings(anything, wanted):
        if Strings not in wanted:
            raise WrongKind(f"{_brief(anything)} holds strings; expected {_nouns(wanted)}", Strings)
        _refuse_options(reading, Strings, anything)
        return _read_strings(anything, reading, seed, valid, test)
    if wanted == (Strings,):
        raise ValueError(
            "strings are expected: a list of them, or a file (.txt, .smi, .csv, .tsv, also with .gz), not "
            f"{_brief(anything)}"
        )
    if isinstance(anything, str | os.PathLike):
        return _load(anything, wanted, root, Shares(seed, valid, test), reading)
    by_look = sorted(wanted, key=lambda kind: not kind.guessed)
    kind = next((kind for kind in by_look if kind.takes(anything)), None)
    look = kind or kind_of(anything)
    if look is not None:
        _refuse_options(reading, look, anything)
    part, columns = Part(anything), None
    if is_frame(anything):
        part, columns = _frame_part(anything, "" if reading.label is None else reading.label)
    shares = Shares(seed, valid, test)
    data = assemble(IN_MEMORY, {"train": part}, shares=shares, kind=look, columns=columns, source=IN_MEMORY)
    return _as_one_of(data, wanted)


def _frame_part(frame: Frame, label: str | int) -> tuple[Part, Columns]:
    """The numbers of a data frame, the labels in a column of it if one is named, and what its columns are."""
    if label == "":
        return Part(frame), frame_columns(frame)
    if label not in list(frame.columns):
        raise ValueError(f"the data frame has no column {label!r} to take labels from")
    labels = frame[[label]].to_numpy("O", na_value=np.nan)[:, 0]
    rest = frame.drop(columns=[label])
    return Part(rest, labels), frame_columns(rest, label)


def _holds_strings(x: object, wanted: Sequence[type[Kind]]) -> TypeGuard[str | os.PathLike[str] | Sequence[str]]:
    if isinstance(x, str) and x in NAMES:
        return False
    table = isinstance(x, str | os.PathLike) and Path(x).suffix.lower() == ".csv"
    return is_string_list(x) or (is_string_file(x) and (not table or tuple(wanted) == (Strings,)))


def _read_strings(
    strings: str | os.PathLike[str] | Sequence[str], reading: Reading, seed: int, valid: float, test: float
) -> Dataset:
    if reading.grammar is None:
        raise ValueError(
            f"reading strings needs a grammar: one of {', '.join(GRAMMARS)}, a file of one (.lark, or a list of "
            f"productions), or a codec without a grammar: {', '.join(CODECS)}"
        )
    return from_strings(
        strings, reading.grammar, limit=reading.limit, column=reading.column, target=reading.target,
        errors=reading.errors or "raise", seed=seed, valid=valid, test=test,
    )  # fmt: skip


def _load(
    name: str | os.PathLike[str],
    wanted: Sequence[type[Kind]],
    root: str | os.PathLike[str] | None,
    shares: Shares,
    reading: Reading,
) -> Dataset:
    """A named set, or a file or folder of numbers."""
    path = Path(name).expanduser()
    if not (isinstance(name, str) and name in NAMES) and path.exists():
        label = None if reading.label is None else str(reading.label)
        data = from_path(path, size=reading.size, label=label, shares=shares)
    else:
        data = load(name, root, seed=shares.seed, size=reading.size)
        if reading.label is not None:
            raise ValueError(f"label={reading.label!r} is for tables of yours; {data.name!r} has the labels it has")
    _refuse_options(reading, type(data.kind), name)
    return _as_one_of(data, wanted)


def _as_one_of(data: Dataset, wanted: Sequence[type[Kind]]) -> Dataset:
    """The data, as one of these kinds."""
    if type(data.kind) in wanted:
        return data
    for kind in wanted:
        if (adopted := kind.adopt(data.kind, data.train)) is not None:
            return replace(data, kind=adopted)
    raise ValueError(f"{data.name!r} holds {data.kind.noun} of shape {data.shape}; expected {_nouns(wanted)}")


def _refuse_options(reading: Reading, kind: type[Kind], x: object) -> None:
    """Raise ValueError if something was said that this kind of data has no use for."""
    idle = [name for name in reading.stated() if name not in kind.options]
    if idle:
        users = sorted({other.noun for other in every_kind() if set(idle) <= other.options})
        raise ValueError(
            f"{', '.join(idle)}: {'for ' + ' and '.join(users) + ', but' if users else 'not for data like this:'} "
            f"{_brief(x)} holds {kind.noun}; leave {'it' if len(idle) == 1 else 'them'} out"
        )


def _nouns(wanted: Sequence[type[Kind]]) -> str:
    return " or ".join(kind.noun for kind in wanted)


def _brief(x: object) -> str:
    return repr(os.fspath(x)) if isinstance(x, str | os.PathLike) else f"a {type(x).__name__}"


@dataclass(frozen=True)
class Origin:
    """Where data can be loaded from again.

    Attributes:
        data: a name or an absolute path, with views as suffixes; `IN_MEMORY` for data that cannot be loaded again.
        root: the folder where the files of named data were found; "" where none is needed.
    """

    data: str
    root: str = ""

    @property
    def in_memory(self) -> bool:
        """Whether the data lie in memory only."""
        return self.data == IN_MEMORY

    def same_examples(self, other: Origin) -> bool:
        """Whether both are views of the same pictures, such as mnist and mnist+coloured."""
        return not self.in_memory and split_views(self.data)[0] == split_views(other.data)[0]


def origin(data: Dataset) -> Origin:
    """Where a data set can be loaded from again, by its name and source.

    >>> from chartae.data import from_arrays, load
    >>> origin(load("digits")), origin(from_arrays(np.eye(4))).in_memory
    (Origin(data='digits', root=''), True)
    """
    base, views = split_views(data.name)
    source = Path(data.source)
    if base in NAMES and set(views) <= set(VIEWS):
        # where a set was read from serves as its root; one that ships has none
        return Origin(data.name, str(source.resolve()) if source.is_dir() else "")
    if source.exists():
        return Origin(str(source.resolve()))
    file, views = split_views(data.source)
    if views and Path(file).exists():
        return Origin("+".join([str(Path(file).resolve()), *views]))
    return Origin(IN_MEMORY)
