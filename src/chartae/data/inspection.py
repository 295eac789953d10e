"""What was read: kind, rows, splits, columns, labels and the decisions of the reader, as plain values."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import cast

from chartae.data.arrays import SPLITS
from chartae.data.dataset import Dataset
from chartae.data.lines import holds_strings, is_string_list
from chartae.data.options import Reading
from chartae.data.reading import read
from chartae.grammar import CODECS
from chartae.grammar import NAMES as GRAMMARS
from chartae.records.settings import Plain

__all__ = ["Inspection", "inspect"]


@dataclass(frozen=True)
class Inspection:
    """What was read from a file, a folder, an array or by a name.

    Attributes:
        name: name of the data set.
        source: path or name that the data came from.
        kind: name of the kind of data, such as ``"table"``.
        shape: shape of one example: (C, H, W), (d,) or (T,).
        dtype: type of the numbers, such as ``"uint8"``.
        rows: number of examples in each split.
        columns: names of the columns; empty if they have none.
        label: name of the column of labels; empty if there is none.
        labelled: whether the examples have labels.
        classes: names of the classes; empty if the labels have no names.
        skipped: number of strings that were left out.
        notes: what the reader decided, in sentences.
        reading: options that the data were read with, completed by what the reader decided.

    >>> from chartae.data import inspect, load
    >>> inspect(load("digits")).classes[:3]
    ('0', '1', '2')
    """

    name: str
    source: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    rows: dict[str, int]
    columns: tuple[str, ...]
    label: str
    labelled: bool
    classes: tuple[str, ...]
    skipped: int
    notes: tuple[str, ...]
    reading: dict[str, Plain]

    def to_dict(self) -> dict[str, Plain]:
        """The same facts as plain values, as JSON holds them."""
        return cast(dict[str, Plain], asdict(self))


def inspect(data: object, *, root: str | os.PathLike[str] | None = None, reading: Reading = Reading()) -> Inspection:
    """What is read, as plain values: the command ``chartae inspect`` prints it.

    Strings are read as characters if `reading` has no grammar.

    Args:
        data: data set, as `chartae.data.read` returns it, or anything that it reads.
        root: folder of the files of named data.
        reading: options for reading.

    Returns:
        Kind, shape, rows of each split, columns, labels, and the decisions of the reader.

    >>> from chartae.data import inspect, load
    >>> facts = inspect(load("digits"))
    >>> facts.kind, facts.shape, facts.rows
    ('images', (1, 8, 8), {'train': 1297, 'valid': 250, 'test': 250})
    """
    said: tuple[str, ...] = ()
    if not isinstance(data, Dataset):
        is_path = isinstance(data, str | os.PathLike)
        in_file = is_path and (reading.column is not None or holds_strings(cast(str, data)))
        if reading.grammar is None and (is_string_list(data) or in_file):
            said = (
                f"Read as characters; to fit strings, give a grammar: {', '.join([*GRAMMARS, *CODECS])}, or a file.",
            )
            reading = replace(reading, grammar="characters")
        data = read(data, root=root, reading=reading)
    return Inspection(
        name=data.name,
        source=data.source,
        kind=data.kind.name,
        shape=data.shape,
        dtype=str(data.train.dtype).removeprefix("torch."),
        rows={split: len(data.split(split)) for split in SPLITS},
        columns=data.columns,
        label=str(data.kind.columns.label),
        labelled=data.train_labels is not None,
        classes=data.classes,
        skipped=data.skipped,
        notes=data.notes + said,
        reading=data.reading.to_dict(),
    )
