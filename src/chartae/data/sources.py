"""The files that data are read from, and a digest of them, by which they are recognised before they are read again."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from chartae.data.catalogue import NAMES, files_of
from chartae.data.derived import split_views
from chartae.data.folders import files_in
from chartae.records.files import quoted
from chartae.records.settings import IN_MEMORY, Plain

__all__ = ["Source", "is_named"]

#: files and folders in a folder, for each of its pictures, and at least
SURPLUS, LEAST = 10, 10_000


@dataclass(frozen=True)
class Source:
    """The files that a data set was read from: their number, and digests of them.

    Attributes:
        count: number of files.
        size: size of all of them, in bytes.
        listing: sha256 of their names and sizes.
        content: sha256 of their names, sizes and contents.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from chartae.data.sources import Source
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("x,y")
    ...     source = Source.of(str(path))
    ...     source.check(str(path))
    >>> source.count, source.size
    (1, 3)
    """

    count: int
    size: int
    listing: str
    content: str

    @classmethod
    def of(cls, data: str, root: str | Path | None = None) -> Source | None:
        """The files of data that were just read; None for data without files of their own.

        Args:
            data: name or path, with views as suffixes, as `chartae.data.Origin` has it.
            root: folder of the files of named data; None (default) for the cache folder.

        Raises:
            OSError: a file cannot be read.
        """
        paths = {} if data == IN_MEMORY else _paths(data, root)
        if not paths:
            return None
        sizes = [path.stat().st_size for path in paths.values()]
        return cls(len(paths), sum(sizes), _listing(paths), _content(paths))

    @classmethod
    def from_dict(cls, facts: Mapping[str, Plain]) -> Source:
        """Rebuild the object from the plain values that `to_dict` returned.

        Raises:
            ValueError: the values are others.
        """
        types = {"count": int, "size": int, "listing": str, "content": str}
        if set(facts) != set(types) or not all(isinstance(facts[name], kind) for name, kind in types.items()):
            raise ValueError(f"files has {quoted(sorted(facts))}; expected {', '.join(types)}, as fit writes them")
        return cls(**cast(dict[str, int], facts))  # type: ignore[arg-type]

    @staticmethod
    def folder(data: str, root: Path | None) -> Path | None:
        """The folder that the files of named data are in, which then serves as their root; None if there are none.

        Args:
            data: name, with views as suffixes.
            root: folder to look in; None for the cache folder.

        Raises:
            FileNotFoundError: a file is missing.
        """
        paths = files_of(split_views(data)[0], root)
        return paths[0].parent if paths else root

    def to_dict(self) -> dict[str, Plain]:
        """The plain values."""
        return asdict(self)

    def check(self, data: str, root: str | Path | None = None) -> None:
        """Check that the files are these; none is opened unless there are as many of the same names and sizes.

        Args:
            data: name or path, with views as suffixes.
            root: folder of the files of named data.

        Raises:
            FileNotFoundError: there are no such files.
            ValueError: the files are others. The message quotes nothing of them.
        """
        paths = _paths(data, root, most=max(LEAST, SURPLUS * self.count))
        if _listing(paths) != self.listing or _content(paths) != self.content:
            raise ValueError(
                f"the files of {quoted(data, 200)} are not those that the run was fitted to, which were "
                f"{self.count:,} of {self.size:,} bytes"
            )


def is_named(data: str) -> bool:
    """Whether data are a named data set, or a view of one."""
    return split_views(data)[0] in NAMES


def _paths(data: str, root: str | Path | None, most: int | None = None) -> dict[str, Path]:
    """The files of data by their names: relative ones in a folder."""
    base = split_views(data)[0]
    if base in NAMES:
        paths = files_of(base, Path(root) if root else None)
        return {path.name: path for path in paths}
    path = Path(data if Path(data).exists() else base)
    mode = os.lstat(path).st_mode
    if stat.S_ISDIR(mode):
        return {file.relative_to(path).as_posix(): file for file in files_in(path, most)[0]}
    if not stat.S_ISREG(mode):
        raise ValueError(f"{quoted(data, 200)} is a link, a device or a pipe; expected a regular file or a folder")
    return {path.name: path}


def _listing(paths: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(paths):
        digest.update(f"{name}\0{paths[name].stat().st_size}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _content(paths: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(paths):
        with open(paths[name], "rb") as file:
            digest.update(name.encode("utf-8", "backslashreplace") + b"\0")
            # the digest of each file, so that no content is taken for a name
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
