"""Write examples to a file slice by slice, so that a file of any length needs the memory of one slice."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chartae.records.files import whole_file

if TYPE_CHECKING:
    from chartae.data.columns import Frame

__all__ = ["write_csv", "write_lines", "write_npy", "write_npz", "write_parquet"]

Arrays = Iterable[NDArray[np.generic]]


def write_npy(slices: Arrays, n: int, path: Path) -> None:
    """Write arrays, one after the other, as one array of a .npy file.

    Args:
        slices: arrays (m, ...) of one dtype and shape.
        n: number of rows of all of them together.
        path: the file.
    """
    with whole_file(path) as part, open(part, "wb") as file:
        _write_array(slices, n, file)


def write_npz(slices: Arrays, n: int, path: Path, name: str = "x") -> None:
    """Write arrays, one after the other, as one compressed array of a .npz file.

    Args:
        slices: arrays (m, ...) of one dtype and shape.
        n: number of rows of all of them together.
        path: the file.
        name: name of the array; default "x".
    """
    member = zipfile.ZipInfo(f"{name}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED
    with (
        whole_file(path) as part,
        zipfile.ZipFile(part, "w") as archive,
        # the size is unknown before the slices are there
        archive.open(member, "w", force_zip64=True) as file,
    ):
        _write_array(slices, n, file)


def _write_array(slices: Arrays, n: int, file: IO[bytes]) -> None:
    rows = 0
    for array in slices:
        if not rows:
            descr = np.lib.format.dtype_to_descr(array.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": (n, *array.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        rows += len(array)
    assert rows == n, f"the slices hold {rows} rows, not {n}"


def write_lines(slices: Iterable[Sequence[str]], path: Path) -> None:
    """Write strings, one a line, as UTF-8."""
    with whole_file(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        for strings in slices:
            file.writelines(f"{string}\n" for string in strings)


def write_csv(slices: Iterable[NDArray[np.generic] | Frame], path: Path, names: Sequence[str | int] = ()) -> None:
    """Write rows of numbers, or data frames, as CSV.

    Args:
        slices: arrays (m, d), or data frames with the same columns.
        path: the file.
        names: names of the columns of arrays; none by default. Data frames have their own.
    """
    with whole_file(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, rows in enumerate(slices):
            if isinstance(rows, np.ndarray):
                if names and not number:
                    writer.writerow(names)
                # a row at a time, as Python's numbers are large
                writer.writerows([f"{value:.9g}" for value in row.tolist()] for row in rows)
            else:
                rows.to_csv(file, index=False, header=not number, lineterminator="\n")


def write_parquet(slices: Iterable[NDArray[np.generic] | Frame], path: Path, names: Sequence[str | int] = ()) -> None:
    """Write rows of numbers, or data frames, as Parquet, each slice as a group of rows.

    Args:
        slices: arrays (m, d), or data frames with the same columns.
        path: the file.
        names: names of the columns of arrays; by default "column 1", "column 2" and so on.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"pyarrow is not installed; expected it to write {path}. Run pip install 'chartae[parquet]'."
        ) from error
    tables: Iterator[pyarrow.Table] = (
        pyarrow.table({str(name): rows[:, i] for i, name in enumerate(names or _numbered(rows.shape[1]))})
        if isinstance(rows, np.ndarray)
        else pyarrow.Table.from_pandas(rows, preserve_index=False)
        for rows in slices
    )
    with whole_file(path) as part:
        first = next(tables)
        with parquet.ParquetWriter(part, first.schema) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table.cast(first.schema))


def _numbered(columns: int) -> list[str]:
    return [f"column {i + 1}" for i in range(columns)]
