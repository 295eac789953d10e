"""Rows of numbers: the common base of tables and points."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.arrays import as_examples, as_tensor
from chartae.data.columns import Columns, Frame, as_frame, frame_columns, frame_of, frame_values, is_frame
from chartae.data.contents import Contents
from chartae.data.kinds.base import Kind, Plain, Stream, Writer, at_once, dimensions
from chartae.data.lines import is_string_list
from chartae.data.streaming import write_csv, write_npy, write_npz, write_parquet
from chartae.maths.rows import row_blocks
from chartae.records.files import quoted

__all__ = ["Rows"]

#: largest acceptable rounding error of float32, as a fraction of a column's standard deviation
COARSEST = 0.01


class Rows(Kind):
    """Rows (d,) of numbers of any real dtype and range.

    Columns of a data frame or of a file with a header are identified by name: new data may have them in any order,
    and may contain the column of labels, which is ignored. If a data frame was read, `restore` returns a data frame
    with the same columns, order and dtypes; integers are rounded.

    Attributes:
        columns: names and types of the columns; empty if they are unknown.
    """

    noise: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = frozenset({"label", "drop", "weight", "header"})
    columns: Columns

    @abstractmethod
    def inside(self, x: Tensor) -> Tensor: ...

    @classmethod
    def takes(cls, x: object) -> bool:
        return dimensions(x) == 2 and not is_string_list(x)

    @classmethod
    def examples(cls, x: object, *, at_least: int = 1) -> Tensor:
        names = frame_columns(x).names if is_frame(x) else ()
        return _rows(frame_values(x) if is_frame(x) else x, names, at_least)

    @classmethod
    def convert(cls, contents: Contents) -> tuple[dict[str, Tensor], Contents]:
        names = contents.columns.names
        parts = {split: frame_values(part.x) if is_frame(part.x) else part.x for split, part in contents.parts.items()}
        return {split: _rows(x, names, 2 if split == "train" else 1) for split, x in parts.items()}, contents

    def read(self, x: object) -> Tensor:
        x = as_frame(x)
        if is_frame(x):
            return self.read_named(x, frame_columns(x).names, "the data frame")
        return super().read(x)

    def read_named(self, x: object, names: Sequence[str | int], source: str) -> Tensor:
        if self.columns.names and names:
            order = self.columns.order(names, source)
            x = x[[names[i] for i in order]] if is_frame(x) else np.asarray(x)[:, order]
        elif is_frame(x):
            x = x.drop(columns=[name for name in (self.columns.label, *self.columns.others) if name in names])
        return super().read(frame_values(x) if is_frame(x) else x)

    def restore(self, x: Tensor) -> Tensor | Frame:
        """Convert examples to numbers (n, d) in the user's units: a data frame if one was read, otherwise a tensor."""
        rows = self.outside(x)
        if not self.columns.dtypes:
            return rows
        return frame_of(rows.detach().cpu().to(torch.float64).numpy(), self.columns)

    def writers(self) -> Mapping[str, Writer]:
        return at_once(self.streams())

    def streams(self) -> Mapping[str, Stream]:
        names = self.columns.names
        return {
            ".csv": lambda slices, n, path: write_csv(self._restored(slices), path, names),
            ".parquet": lambda slices, n, path: write_parquet(self._restored(slices), path, names),
            ".npy": lambda slices, n, path: write_npy(self._arrays(slices), n, path),
            ".npz": lambda slices, n, path: write_npz(self._arrays(slices), n, path),
        }

    def bytes_in(self, suffix: str) -> int:
        # in text, a digit and what follows it
        return {".csv": 2, ".parquet": 4, ".npy": 4, ".npz": 4}.get(suffix, 0) * math.prod(self.shape)

    def _arrays(self, slices: Iterable[Tensor]) -> Iterator[NDArray[np.generic]]:
        return (self.outside(x).numpy() for x in slices)

    def _restored(self, slices: Iterable[Tensor]) -> Iterator[NDArray[np.generic] | Frame]:
        for x in slices:
            rows = self.restore(x)
            yield rows if is_frame(rows) else self.outside(x).numpy()

    def to_dict(self) -> dict[str, Plain]:
        columns = self.columns
        return {
            "kind": self.name,
            "shape": list(self.shape),
            "columns": list(columns.names),
            "dtypes": list(columns.dtypes),
            "label": columns.label,
            "others": list(columns.others),
        }


def columns_from(facts: Mapping[str, Plain]) -> Columns:
    """Rebuild the columns from the plain values that `Rows.to_dict` returned.

    Raises:
        TypeError, KeyError: an entry is missing, or has another type.
    """
    for key, kinds in {"columns": str | int, "dtypes": str, "others": str | int}.items():
        values = facts.get(key, []) if key == "others" else facts[key]
        if not isinstance(values, list | tuple) or not all(isinstance(value, kinds) for value in values):
            raise TypeError(f"{key} is {quoted(values)}")
    label = facts["label"]
    if not isinstance(label, str | int):
        raise TypeError(f"label is {quoted(label)}")
    return Columns(
        tuple(cast(list[str | int], facts["columns"])),
        tuple(cast(list[str], facts["dtypes"])),
        label,
        tuple(cast(list[str | int], facts.get("others", []))),
    )


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column of rows (N, d), N >= 1, with N in the denominator.

    They are computed in float64, as the mean of a column may be large compared with its standard deviation.
    """
    blocks = list(row_blocks(x.shape))
    if len(blocks) == 1:
        exact = x.to(torch.float64)
        mean = exact.mean(0)
        return mean, (exact - mean).square().mean(0).sqrt()
    # in one buffer: new memory for each block would pile up between the sums
    buffer = torch.empty_like(x[blocks[0]], dtype=torch.float64)
    mean, variance = (torch.zeros_like(buffer[0]) for _ in range(2))
    for block in blocks:
        mean += buffer[: block.stop - block.start].copy_(x[block]).sum(0) / len(x)
    for block in blocks:
        variance += buffer[: block.stop - block.start].copy_(x[block]).sub_(mean).square_().sum(0) / len(x)
    return mean, variance.sqrt()


def _rows(x: object, names: Sequence[str | int], at_least: int) -> Tensor:
    """Rows (n, d) of float32; `names` are those of the columns, for messages."""
    values = as_tensor(x)
    if values.ndim != 2:
        remedy = "x.reshape(-1, 1) for a single column" if values.ndim == 1 else "x.reshape(len(x), -1)"
        raise ValueError(f"x has shape {tuple(values.shape)}; expected a table (n, d). Use {remedy}.")
    rows = as_examples(values, at_least=at_least, names=names)
    if at_least > 1:
        _check_resolution(values, rows, names)
    return rows


def _check_resolution(values: Tensor, rows: Tensor, names: Sequence[str | int]) -> None:
    """Raise ValueError if a column varies too little around too large a mean for float32."""
    if values.dtype not in (torch.float64, torch.int64, torch.int32):
        return
    error = torch.zeros(values.shape[1], dtype=torch.float64, device=values.device)
    for block in row_blocks(values.shape):
        lost = (values[block].to(torch.float64) - rows[block]).abs_().amax(0)
        torch.maximum(error, lost, out=error)
    mean, sd = moments(values)
    coarse = ((sd > 0) & (error > COARSEST * sd)).nonzero().flatten().tolist()
    if coarse:
        first = coarse[0]
        raise ValueError(
            f"column {quoted(names[first], 200) if names else first + 1} of x varies by {float(sd[first]):.3g} around "
            f"{float(mean[first]):.6g}; expected a variation that 32-bit floats can represent. Subtract an "
            "offset from the column, or leave it out."
        )
