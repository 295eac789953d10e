"""Arrays in files of NumPy, whose sizes are checked before memory is taken for them. No pickle."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from chartae.records.files import Damaged, opened, reading

__all__ = ["check_npy", "check_npz", "read_npz"]

#: bytes of the header of an array that are read
MOST_HEADER = 1 << 17
#: arrays in a file
MOST_ARRAYS = 10_000


def check_npy(file: IO[bytes], size: int, name: str) -> None:
    """Check that an array has the bytes that its header says, before NumPy takes memory for it.

    Args:
        file: the array in NumPy's format, from its beginning; the header is read from it.
        size: number of bytes of the whole, header included.
        name: what the message calls the array.

    Raises:
        ValueError: the header is damaged or that of pickled objects, or is followed by too few bytes.
    """
    head = io.BytesIO(file.read(min(size, MOST_HEADER)))
    version = np.lib.format.read_magic(head)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError(f"{name} has format {version}; expected (1, 0) or (2, 0)")
    shape, _, dtype = headers[version](head)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled objects, which are never loaded")
    expected, actual = math.prod(map(int, shape)) * dtype.itemsize, size - head.tell()
    if expected > actual or any(n < 0 for n in shape):
        raise ValueError(f"{name} has {actual:,} bytes of values; expected shape {shape} of {dtype}")


def check_npz(file: IO[bytes], most: int | None = None) -> None:
    """Check the sizes of the arrays of an ``.npz`` file by their headers, before any is unpacked whole.

    Args:
        file: the file, which is left at its beginning.
        most: the largest size of all arrays together, in bytes; None (default) for any.

    Raises:
        ValueError, zipfile.BadZipFile, ...: the file is damaged, or its arrays are too large.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if len(members) > MOST_ARRAYS or (most is not None and total > most):
            raise ValueError(f"it unpacks to {len(members):,} arrays of {total:,} bytes; expected at most {most:,}")
        for member in members:
            if member.flag_bits & 1:
                raise ValueError(f"{member.filename[:60]!r} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename[:60]!r} is packed in another way than NumPy's")
            if member.filename.endswith(".npy"):
                with archive.open(member) as part:
                    check_npy(part, member.file_size, repr(member.filename[:60]))
    file.seek(0)


def read_npz(path: str | Path, most: int) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of an ``.npz`` file of a run.

    Args:
        path: the file.
        most: the largest size of all arrays together, in bytes.

    Returns:
        The arrays by name.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: the file is a link or damaged, holds other things than arrays, or is larger than `most`.

    >>> import tempfile
    >>> import numpy as np
    >>> from chartae.records.arrays import read_npz
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez_compressed(f"{folder}/a.npz", x=np.zeros(1000))
    ...     read_npz(f"{folder}/a.npz", 10_000)["x"].shape
    (1000,)
    """
    with opened(path) as file, reading(path, "file of arrays that chartae wrote"):
        check_npz(file, most)
        with np.load(file, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise Damaged(f"{path} is damaged: it holds no arrays by name")
            loaded = {name: arrays[name] for name in arrays.files}
    for name, array in loaded.items():
        if not isinstance(array, np.ndarray):
            raise Damaged(f"{path} is damaged: {name[:60]!r} is no array")
    return loaded
