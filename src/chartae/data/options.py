"""How data are read: the user's options, and afterwards what the reader decided."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chartae.grammar import Codec
from chartae.records.files import quoted
from chartae.records.settings import Plain

__all__ = ["Reading", "height_and_width"]

#: option -> types of the entries of a list, none if it is no list, and of one value, as `Reading.to_dict` returns it
_TYPES: Mapping[str, tuple[tuple[type, ...], tuple[type, ...]]] = {
    "limit": ((), (int,)), "column": ((), (str,)), "target": ((), (str,)), "errors": ((), (str,)),
    "label": ((str, int), (str, int)), "drop": ((str, int), (str,)), "weight": ((), (str,)), "header": ((), (bool,)),
    "size": ((int,), (int, str)), "background": ((), (str,)), "channels_last": ((), (bool,)), "white": ((), (int,)),
    "shape": ((int,), ()), "longest": ((), (int,)),
}  # fmt: skip
#: what is neither stored nor an option of any kind of data
_UNSTORED = ("optional",)


@dataclass(frozen=True)
class Reading:
    """Options for reading data; each kind of data has some of them (`Kind.options`), all None by default.

    A data set that was read keeps them as `Dataset.reading`, completed by what the reader decided, so that new data
    are read in the same way.

    Attributes:
        grammar: for strings: name of a grammar or codec (such as ``"expressions"`` or ``"characters"``), path of a
            file of a grammar, or a `chartae.grammar.Codec`.
        limit: for strings: use only the first `limit` strings; >= 1; all by default.
        column: for strings: name of the column of a table that holds them; by default one named smiles, selfies,
            string, sequence, expression or text.
        target: for strings: property to predict: name of a property of molecules (logp, sa, qed, weight,
            penalised-logp), name of another column, or one number for each string.
        errors: for strings: ``"raise"`` (default) to raise if a string cannot be encoded, ``"skip"`` to leave it out.
        longest: for strings: largest number of indices of a string; longer ones count as those that cannot be encoded.
            A fit that skips such strings sets it, where a step with the longest string would not fit into memory.
        label: for tables: name of the column of labels; "" or None for none. A tuple of names in lower case: the first
            of them that is a column, if any is; a fit sets it where labels are needed.
        drop: for tables: names of columns to leave out, or one name.
        weight: for tables: name of the column that holds the weight of each row in the loss.
        header: for tables and strings in files: whether the first row holds the names of the columns; by default
            judged by the rows.
        size: for images: crop the centre of each image and resize it, to `size` x `size` pixels, or to
            (height, width), which may be written ``"HxW"``.
        background: for images with transparency: ``"white"`` or ``"black"``, the colour behind them, or ``"alpha"`` to
            keep transparency as a channel; white by default.
        channels_last: for arrays of images (n, h, w, c): whether the last axis holds the channels; by default, the
            sizes decide.
        white: for images of whole numbers: the level that is white; 255 by default, and for more than 8 bits what the
            files state, otherwise the smallest 2^k - 1 that no level of the training data exceeds.
        shape: for images: shape (C, H, W) of the fitted images, to which new ones are matched.
        optional: whether the named columns of labels, weights and those to leave out may be missing, as in new data.

    >>> from chartae.data import Reading, read
    >>> data = read(["x+1", "x*x"], valid=0, test=0, reading=Reading(grammar="expressions"))
    >>> data.strings()
    ['x+1', 'x*x']
    """

    grammar: str | os.PathLike[str] | Codec | None = None
    limit: int | None = None
    column: str | None = None
    target: str | Sequence[float] | NDArray[np.number] | None = None
    errors: str | None = None
    longest: int | None = None
    label: str | int | tuple[str, ...] | None = None
    drop: str | Sequence[str | int] | None = None
    weight: str | None = None
    header: bool | None = None
    size: int | str | Sequence[int] | None = None
    background: str | None = None
    channels_last: bool | None = None
    white: int | None = None
    shape: Sequence[int] | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.drop, str):
            object.__setattr__(self, "drop", (self.drop,))

    def without_candidates(self) -> Reading:
        """The options for data whose labels are not in a column: without names of columns that may hold them."""
        return replace(self, label=None) if isinstance(self.label, tuple) else self

    def stated(self) -> tuple[str, ...]:
        """Names of the options that are set."""
        options = replace(self, label=None) if self.label == "" else self.without_candidates()
        names = (field.name for field in fields(options) if field.name not in _UNSTORED)
        return tuple(name for name in names if getattr(options, name) is not None)

    def to_dict(self) -> dict[str, Plain]:
        """The options that are set, as plain values.

        The grammar is left out, as the kind of the data holds its codec; so is an array of targets.
        """
        values = {name: getattr(self, name) for name in self.stated() if name != "grammar"}
        facts = {name: list(value) if isinstance(value, list | tuple) else value for name, value in values.items()}
        if not isinstance(facts.get("target", ""), str):
            del facts["target"]
        return cast(dict[str, Plain], facts)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Plain], grammar: Codec | None = None) -> Reading:
        """Rebuild the options from the plain values that `to_dict` returned.

        Args:
            facts: values by name.
            grammar: codec of strings; None (default) for other data.

        Raises:
            ValueError: a name is unknown.
        """
        names = [field.name for field in fields(cls) if field.name not in ("grammar", *_UNSTORED)]
        if unknown := sorted(set(facts) - set(names)):
            raise ValueError(f"reading has {quoted(unknown)}; expected some of {', '.join(names)}.")
        for name, value in facts.items():
            of_list, single = _TYPES[name]
            listed = isinstance(value, list | tuple) and all(isinstance(entry, of_list) for entry in value)
            if not (listed if of_list and isinstance(value, list | tuple) else isinstance(value, single)):
                raise ValueError(f"reading.{name} is {quoted(value)}; expected what Reading.to_dict returned.")
        return cls(grammar=grammar, **cast(dict[str, Any], facts))

    def for_new_data(self) -> Reading:
        """The options for new data: without limit, errors, target and weight, which are about the training data alone.

        A column of weights, which new data may have, is left out.
        """
        drop = [*(self.drop or ()), *([self.weight] if self.weight else [])]
        return replace(
            self, limit=None, errors=None, longest=None, target=None, weight=None, drop=drop or None, optional=True,
        )  # fmt: skip


def height_and_width(size: int | str | Sequence[int]) -> tuple[int, int]:
    """Height and width in pixels of ``64``, ``"64"``, ``"48x64"`` or ``(48, 64)``.

    Raises:
        ValueError: `size` is something else, or a number is below 1.

    >>> from chartae.data.options import height_and_width
    >>> height_and_width(64), height_and_width("48x64")
    ((64, 64), (48, 64))
    """
    parts = str(size).lower().split("x") if isinstance(size, int | str) else [str(part) for part in size]
    if not (len(parts) in (1, 2) and all(part.strip().isdecimal() and int(part) >= 1 for part in parts)):
        raise ValueError(f"size is {size!r}; expected a number of pixels of at least 1, or height and width as HxW.")
    height, width = int(parts[0]), int(parts[-1])
    return height, width
