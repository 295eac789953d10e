"""Strings, encoded by a codec as rows of indices."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self, cast, final

import numpy as np
import torch
from torch import Tensor

from chartae.data.arrays import as_tensor
from chartae.data.columns import Columns, as_frame, is_frame
from chartae.data.kinds.base import FileRows, Kind, Plain, Stream, Writer, at_once, register, shape_of
from chartae.data.lines import frame_strings, indices, is_string_file, is_string_list, plain_strings, string_rows
from chartae.data.options import Reading
from chartae.data.streaming import write_lines
from chartae.data.text import suffix_of
from chartae.grammar import MOLECULES, Codec, described, needed, restored

__all__ = ["Strings"]

#: indices in a row: a decoder may take as many steps
MOST_LENGTH = 1 << 14


@final
@register
class Strings(Kind):
    """Strings, which the model sees as rows (T,) of indices, padded at the end.

    Args:
        codec: codec that encodes strings as indices, such as a grammar.
        length: T, the number of indices in a row, from 1 to 16,384.

    Raises:
        ValueError: the length is out of range.

    >>> from chartae.data import Strings
    >>> from chartae.grammar import codec_for
    >>> strings = Strings(codec_for("characters", ["abc"]), 4)
    >>> strings.read(["ab", "c"])
    tensor([[0, 1, 3, 3],
            [2, 3, 3, 3]], dtype=torch.int8)
    >>> strings.restore(strings.read(["ab", "c"]))
    ['ab', 'c']
    """

    name: ClassVar[str] = "strings"
    noun: ClassVar[str] = "strings"
    guessed: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = frozenset(
        {"grammar", "limit", "column", "target", "errors", "longest", "weight", "header"}
    )
    codec: Codec

    def __init__(self, codec: Codec, length: int) -> None:
        if not 1 <= length <= MOST_LENGTH:
            raise ValueError(
                f"length is {length:,}, that of the longest string in indices; expected 1 to {MOST_LENGTH:,}. Leave"
                " longer strings out."
            )
        self.codec = codec
        self.shape = (int(length),)

    @property
    def molecules(self) -> bool:
        """Whether the strings are molecules."""
        return self.codec.language in MOLECULES

    @classmethod
    def takes(cls, x: object) -> bool:
        return is_string_list(x)

    @classmethod
    def examples(cls, x: object, *, at_least: int = 1) -> Tensor:
        """Not supported, as strings need a codec: use `chartae.data.from_strings`, or `read` of a fitted kind."""
        raise TypeError("kind is Strings; expected a codec as well. Use chartae.data.from_strings with a grammar.")

    @classmethod
    def of(cls, train: Tensor, *, columns: Columns | None = None, codec: Codec | None = None) -> Self:
        return cls(needed(codec), train.shape[1])

    def read(self, x: object) -> Tensor:
        """Encode strings as rows of indices.

        Args:
            x: a list of strings, a file of strings, or rows of indices (N, T) in the range of the codec.

        Returns:
            (N, T) tensor of int8, int16 or int32.

        Raises:
            ValueError, TypeError: a string cannot be encoded or is too long, or `x` does not hold strings.
        """
        if isinstance(x, str | os.PathLike):
            return self.read(self.file_rows(x).x)
        x = as_frame(x)
        if is_frame(x):
            x = frame_strings(x, share=self.share).strings
        if is_string_list(x):
            rows = self.codec.encode(plain_strings(x))
            longest = int(rows.lengths.max(initial=0))
            # without masks at least one padding index must mark the end
            limit = self.shape[0] - (self.codec.masks is None)
            if longest > limit:
                first = int(rows.lengths.argmax())
                raise ValueError(
                    f"string {first}, {str(x[first])[:40]!r}, has {longest} indices; expected at most {limit}, as in "
                    "the fitted data. Leave it out."
                )
            return indices(rows, self.codec, self.shape[0])
        shape = shape_of(x)
        if shape is not None and shape[1:] == self.shape:
            return self._indices(as_tensor(x))
        self.refuse_others(x)
        raise ValueError(f"x is {_brief(x)}; expected a list of strings, or a file of strings.")

    def file_rows(self, path: str | os.PathLike[str], reading: Reading = Reading()) -> FileRows:
        if not is_string_file(path):
            raise ValueError(
                f"x is {os.fspath(path)!r}; expected a list of strings, such as [{os.fspath(path)!r}], or a file."
            )
        if suffix_of(path) == ".txt":  # has no columns
            reading = replace(reading, column=None)
        return FileRows(string_rows(path, replace(reading, weight=None), self.share).strings)

    def share(self, strings: Sequence[str]) -> float:
        """Share of strings that the codec can encode."""
        return len(self.codec.encode(strings, errors="skip")) / len(strings)

    def _indices(self, x: Tensor) -> Tensor:
        rounded = x.round()
        if not (torch.equal(rounded, x) and len(x) and x.min() >= 0 and x.max() < self.codec.size):
            raise ValueError(
                f"x holds numbers that are not indices of the codec; expected strings, or whole numbers from 0 to "
                f"{self.codec.size - 1}."
            )
        return self.outside(x)

    def inside(self, x: Tensor) -> Tensor:
        """The same tensor: batches convert indices to floats."""
        return x

    def outside(self, x: Tensor) -> Tensor:
        dtype = torch.int8 if self.codec.size <= 128 else torch.int16 if self.codec.size <= 32_768 else torch.int32
        return x.round().to(dtype)

    def restore(self, x: Tensor) -> list[str]:
        """Decode rows of indices (N, T) as strings."""
        return self.codec.decode(x.detach().cpu().round().to(torch.int64).numpy())

    def lengths(self, x: Tensor) -> Tensor:
        return torch.cat([(rows != self.codec.padding).sum(1) for rows in x.split(10_000)])

    def strings(self, x: Tensor) -> list[str]:
        return self.restore(x)

    def writers(self) -> Mapping[str, Writer]:
        return at_once(self.streams())

    def streams(self) -> Mapping[str, Stream]:
        def write(slices: Iterable[Tensor], n: int, path: Path) -> None:
            write_lines(map(self.restore, slices), path)

        return {".txt": write, ".smi": write}

    def bytes_in(self, suffix: str) -> int:
        return int(suffix in self.streams())  # the end of the line

    def to_dict(self) -> dict[str, Plain]:
        return {"kind": self.name, "shape": list(self.shape), "codec": described(self.codec)}

    @classmethod
    def restored(cls, facts: Mapping[str, Plain]) -> Self:
        return cls(restored(str(facts["codec"])), cast(list[int], facts["shape"])[0])


def _brief(x: object) -> str:
    empty = isinstance(x, list | tuple | np.ndarray) and not len(x)
    return f"an empty {type(x).__name__}" if empty else f"a {type(x).__name__}"
