"""The one reader, which turns arrays, frames, files and names into a data set, and the origin of a data set."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeGuard, cast

import numpy as np
import torch

from chartae.data.arrays import as_tensor
from chartae.data.catalogue import NAMES, load
from chartae.data.columns import Frame, as_frame, frame_columns, frame_values, index_note, is_frame
from chartae.data.contents import Contents, Part
from chartae.data.dataset import Dataset, Shares, assemble, from_path
from chartae.data.derived import VIEWS, split_views
from chartae.data.doubts import doubts
from chartae.data.headers import is_number
from chartae.data.items import is_items, items_of
from chartae.data.kinds import Images, Kind, Strings, Table, kind_of
from chartae.data.kinds import kinds as every_kind
from chartae.data.labels import known_labels
from chartae.data.lines import is_string_file, is_string_list
from chartae.data.notes import guess
from chartae.data.options import Reading
from chartae.data.pictures import is_pictures
from chartae.data.strings import from_strings
from chartae.data.tables import roles, weights_of
from chartae.data.text import TABLES, suffix_of, text_of
from chartae.grammar import CODECS
from chartae.grammar import NAMES as GRAMMARS

__all__ = ["IN_MEMORY", "Origin", "WrongKind", "origin", "read"]

#: the name of in-memory data, which cannot be loaded again
IN_MEMORY = "array"


class WrongKind(ValueError):
    """Raised by `read` for data of a kind that is not accepted.

    Args:
        message: error message.
        kind: kind of the data.
    """

    def __init__(self, message: str, kind: type[Kind]) -> None:
        super().__init__(message)
        self.kind = kind


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
    """Read any input as a `Dataset` of one of the accepted kinds.

    * A `Dataset` is returned as it is.
    * A name or path is loaded, as by `chartae.data.load`. A file of strings is encoded by the grammar of `reading`.
      A ``.csv`` or ``.tsv`` file is read as strings if only strings are accepted or `reading` has a grammar or a column
      of strings, otherwise as a table.
    * An array, a data frame or a list is split at random. Numbers (n, d) become a table if tables are accepted,
      otherwise points.

    Tables and points are the same numbers (n, d) in the user's units: a table standardises its columns for the model,
    points are not scaled. Data that come as one of the two are converted to the other if only that one is accepted.

    Args:
        anything: `Dataset`, name, path, array, tensor, data frame, or list of numbers or strings.
        kinds: accepted kinds of data, such as ``(Images, Table)``; all by default.
        root: folder of the files of named data; by default the environment variable CHARTAE_DATA, otherwise they are
            downloaded.
        seed: seed of the random split; default 0.
        valid, test: fractions to hold out, in [0, 1), of data that do not come in splits; default 0.1 each.
        reading: options for reading; none by default.

    Returns:
        The data set, with three disjoint splits.

    Raises:
        ValueError, TypeError: the data cannot be read, are of a kind that is not accepted, or an option is for another
            kind of data.
        FileNotFoundError: there is no such file.

    >>> from chartae.data import Points, read
    >>> rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]
    >>> read(rows, valid=0, test=0).kind, read(rows, kinds=[Points], valid=0, test=0).kind
    (Table((2,)), Points((2,)))
    """
    accepted = tuple(kinds) if kinds is not None else every_kind()
    items = items_of(anything) if is_items(anything) else None
    anything = as_frame(anything) if items is None else items.examples
    if isinstance(anything, Dataset):
        if stated := reading.stated():
            raise ValueError(
                f"reading has {', '.join(stated)}; expected no options, as {anything.name!r} is a data set that has"
                " been read. Leave them out."
            )
        return _as_one_of(anything, accepted)
    if _holds_strings(anything, accepted, reading):
        if Strings not in accepted:
            raise WrongKind(f"{_brief(anything)} holds strings; expected {_nouns(accepted)}", Strings)
        reading = reading.without_candidates()
        _refuse_options(reading, Strings, anything)
        return _read_strings(anything, reading, seed, valid, test)
    if accepted == (Strings,):
        raise ValueError(
            f"x is {_brief(anything)}; expected strings: a list of them, or a file (.txt, .smi, .csv, .tsv, also with"
            " .gz)."
        )
    if isinstance(anything, str | os.PathLike):
        return _load(anything, accepted, root, Shares(seed, valid, test), reading)
    guessed_first = sorted(accepted, key=lambda kind: not kind.guessed)
    kind = next((kind for kind in guessed_first if kind.takes(anything)), None) or kind_of(anything)
    if kind is not None:
        _refuse_options(reading, kind, anything)
    contents = _frame_contents(anything, reading) if is_frame(anything) else _array_contents(anything, reading)
    if items is not None:
        part = replace(contents.parts["train"], labels=items.labels)
        contents = replace(contents, parts={"train": part}, notes=(*items.notes, *contents.notes))
    shares = Shares(seed, valid, test)
    return _as_one_of(assemble(IN_MEMORY, contents, shares=shares, kind=kind, source=IN_MEMORY), accepted)


def _array_contents(x: object, reading: Reading) -> Contents:
    """Examples without names."""
    if reading.weight is not None or reading.drop:
        option = "drop" if reading.weight is None else "weight"
        raise ValueError(
            f"{option} is {getattr(reading, option)!r}; expected None, as {_brief(x)} has no named columns. Give a data"
            " frame, or leave it out."
        )
    notes: list[str] = []
    if kind_of(x) is Table:
        values = as_tensor(x)
        names = [f"column {i + 1}" for i in range(values.shape[1])]
        whole = [not values.is_floating_point()] * len(names)
        if values.dtype == torch.bfloat16:  # NumPy has no such type
            values = values.float()
        notes = doubts(values.cpu().numpy(), names, "x", whole, may_drop=False)
    return Contents({"train": Part(x)}, reading=reading.without_candidates(), notes=tuple(notes))


def _frame_contents(frame: Frame, reading: Reading) -> Contents:
    """The numbers, labels and weights of a data frame, and its columns."""
    names = frame_columns(frame).names
    source = "the data frame"
    parts = roles(names, reading, source)
    features = frame[[names[i] for i in parts.features]]
    values, chosen = frame_values(features), frame_columns(features)
    whole = ["int" in dtype.lower() for dtype in chosen.dtypes]
    notes = [*index_note(frame), *parts.notes, *doubts(values, chosen.names, source, whole)]
    labels = weight = None
    if parts.label is not None:
        cells = frame[[names[parts.label]]].to_numpy("O", na_value=np.nan)[:, 0]
        labels, said = known_labels(list(cells), names[parts.label], source)
        notes += said
    if parts.weight is not None:
        cells = frame[[names[parts.weight]]].to_numpy("O", na_value=np.nan)[:, 0]
        weight = weights_of(list(cells), names[parts.weight], source)
    others = parts.columns(names, True)
    columns = frame_columns(features, others.label, others.others)
    return Contents({"train": Part(values, labels, weight)}, columns, parts.decided(names, reading), tuple(notes))


def _holds_strings(
    x: object, accepted: Sequence[type[Kind]], reading: Reading
) -> TypeGuard[str | os.PathLike[str] | Sequence[str] | Frame]:
    """Whether to read strings: a table holds them if only strings are accepted, or an option for strings is given."""
    if (isinstance(x, str) and x in NAMES) or (Images in accepted and is_pictures(x)):
        return False
    for_strings = tuple(accepted) == (Strings,) or (Strings in accepted and bool(reading.grammar or reading.column))
    is_table = is_frame(x) or (isinstance(x, str | os.PathLike) and suffix_of(x) in TABLES)
    return is_string_list(x) or (for_strings if is_table else is_string_file(x))


def _read_strings(
    strings: str | os.PathLike[str] | Sequence[str] | Frame, reading: Reading, seed: int, valid: float, test: float
) -> Dataset:
    if reading.grammar is None:
        if other := _no_strings(strings):
            raise ValueError(other)
        raise ValueError(
            f"grammar is None; reading strings needs a grammar: one of {', '.join(GRAMMARS)}, a file of one (.lark, or "
            f"a list of productions), or a codec without a grammar: {', '.join(CODECS)}."
        )
    return from_strings(
        strings, reading.grammar, limit=reading.limit, column=reading.column, target=reading.target,
        weight=reading.weight, errors=reading.errors or "raise", longest=reading.longest, header=reading.header,
        seed=seed, valid=valid, test=test,
    )  # fmt: skip


def _no_strings(strings: object) -> str:
    """The message about what is given as strings, but surely holds none; empty otherwise."""
    if is_string_file(strings):
        path = Path(cast(str, strings)).expanduser()
        if suffix_of(path) == ".txt" and path.is_file():
            with text_of(path) as file:
                cells = [re.split(r"[,;\s]+", line.strip()) for line in islice(file, 20) if line.strip()]
            if len(cells) > 1 and all(is_number(cell) for row in cells[1:] for cell in row):
                return (
                    f"{path} holds numbers; expected strings, which .txt files hold. Rename it to .csv to read a table."
                )
        return ""
    listed = cast(Sequence[object], strings) if is_string_list(strings) else ()
    if len(listed) and all(isinstance(one, str) and Path(one).is_file() for one in listed[:100]):
        return (
            f"x is a list of {len(listed):,} paths, such as {str(listed[0])!r}; expected one path, or paths of"
            " pictures. Join tables with pandas.concat, arrays with numpy.concatenate."
        )
    return ""


def _load(
    name: str | os.PathLike[str],
    accepted: Sequence[type[Kind]],
    root: str | os.PathLike[str] | None,
    shares: Shares,
    reading: Reading,
) -> Dataset:
    """Load a named data set, or a file or folder of numbers."""
    if not os.fspath(name).strip():
        raise ValueError(f"data is {os.fspath(name)!r}; expected a name or a path. For this folder, write '.'.")
    path = Path(name).expanduser()
    if not (isinstance(name, str) and name in NAMES) and path.exists():
        data = from_path(path, reading=reading, shares=shares)
    else:
        data = load(name, root, seed=shares.seed, reading=reading)
        if not data.path and path.exists():
            note = guess(
                f"{os.fspath(name)!r} is the named data set; for the file or folder of this name, write"
                f" {os.path.join(os.curdir, os.fspath(name))!r}."
            )
            data = replace(data, notes=(note, *data.notes))
        if "label" in reading.stated():
            raise ValueError(
                f"label is {reading.label!r}; expected None, as {data.name!r} comes with its labels. Use label for"
                " tables in files and data frames."
            )
    _refuse_options(reading, type(data.kind), name)
    return _as_one_of(data, accepted)


def _as_one_of(data: Dataset, accepted: Sequence[type[Kind]]) -> Dataset:
    """The data, converted to one of these kinds if necessary."""
    if type(data.kind) in accepted:
        return data
    for kind in accepted:
        if (adopted := kind.adopt(data.kind, data.train)) is not None:
            return replace(data, kind=adopted)
    raise ValueError(f"{data.name!r} holds {data.kind.noun} of shape {data.shape}; expected {_nouns(accepted)}.")


def _refuse_options(reading: Reading, kind: type[Kind], x: object) -> None:
    """Raise ValueError if an option is set that this kind of data does not have."""
    unused = [name for name in reading.stated() if name not in kind.options]
    if unused:
        users = sorted({other.noun for other in every_kind() if set(unused) <= other.options})
        several = len(unused) > 1
        raise ValueError(
            f"{', '.join(unused)} {'are options' if several else 'is an option'} for "
            f"{' and '.join(users) or 'different kinds of data'}; {_brief(x)} holds {kind.noun}. Leave "
            f"{'them' if several else 'it'} out."
        )


def _nouns(accepted: Sequence[type[Kind]]) -> str:
    return " or ".join(kind.noun for kind in accepted)


def _brief(x: object) -> str:
    return repr(os.fspath(x)) if isinstance(x, str | os.PathLike) else f"a {type(x).__name__}"


@dataclass(frozen=True)
class Origin:
    """Where a data set can be loaded from again.

    Attributes:
        data: name or absolute path, with views as suffixes; `IN_MEMORY` for data that cannot be loaded again.
        root: folder of the files of named data; "" (default) if none is needed.

    >>> from chartae.data import Origin
    >>> Origin("mnist").same_examples(Origin("mnist+coloured")), Origin("array").in_memory
    (True, True)
    """

    data: str
    root: str = ""

    @property
    def in_memory(self) -> bool:
        """Whether the data exist in memory only."""
        return self.data == IN_MEMORY

    def same_examples(self, other: Origin) -> bool:
        """Whether both are views of the same images, such as mnist and mnist+coloured."""
        return not self.in_memory and split_views(self.data)[0] == split_views(other.data)[0]


def origin(data: Dataset) -> Origin:
    """Find where a data set can be loaded from again.

    Args:
        data: data set; its name and source are looked at.

    Returns:
        Name of a named data set and the folder of its files, or the absolute path of a file or folder; `Origin.data`
        is `IN_MEMORY` if the source no longer exists or never did.

    >>> import numpy as np
    >>> from chartae.data import from_arrays, load, origin
    >>> origin(load("digits")), origin(from_arrays(np.eye(4))).in_memory
    (Origin(data='digits', root=''), True)
    """
    if data.path:
        return Origin(data.path if Path(split_views(data.path)[0]).exists() else IN_MEMORY)
    base, views = split_views(data.name)
    source = Path(data.source)
    if base in NAMES and set(views) <= set(VIEWS):
        # the folder it was read from serves as root; a set that ships with the package needs none
        return Origin(data.name, str(source.resolve()) if source.is_dir() else "")
    if source.exists():
        return Origin(str(source.resolve()))
    return Origin(IN_MEMORY)
