"""The files that examples of a run can be written to: those of its kind of data, and pictures of what is no picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.kinds import Images, Kind, Points, Strings, Table
from chartae.data.kinds.base import Stream
from chartae.data.kinds.images import levels
from chartae.data.streaming import write_lines
from chartae.draw import pictures
from chartae.records import manifest
from chartae.records.space import check_disk, check_output
from chartae.runs import Run

__all__ = ["Writer", "writer_for"]

#: formulas in one picture
MOST_DRAWN = 1000
#: values in a grid of pictures, and points in a scatter plot
MOST_IN_GRID, MOST_POINTS = 1 << 26, 1_000_000

Write: TypeAlias = Callable[[Tensor, Path], None]


@dataclass(frozen=True)
class Writer:
    """How examples are written to one file.

    Attributes:
        path: the file.
        write: writes examples in the model's form to a path.
        stream: writes slices of examples and the number of them all, in the memory of one slice; None if the file needs
            all examples at once.
        bytes_each: bytes that an example surely takes in the file, before compression; 0 if that is unknown.
        noun: what the file holds.
        most: the largest number of examples that it can hold; None for any number.
        folder: the run's folder, whose manifest lists the file if chartae has named it; None for the user's own files.
        is_grid: whether the file is a grid of pictures.
    """

    path: Path
    write: Write
    stream: Stream | None = None
    bytes_each: int = 0
    noun: str = "samples"
    most: int | None = None
    folder: Path | None = None
    is_grid: bool = False

    def __call__(self, x: Tensor) -> None:
        """Write examples in the model's form (n, ...); a missing folder is made."""
        self.write(x, self.path)
        register(self.folder, self.path)

    def write_slices(self, slices: Iterable[Tensor], n: int) -> None:
        """Write `n` examples in the model's form that come in slices (m, ...)."""
        if self.stream is None:
            self(torch.cat(list(slices)))
            return
        self.stream(slices, n, self.path)
        register(self.folder, self.path)

    def check_room(self, n: int) -> None:
        """Check, before any work, that `n` examples can be written.

        Raises:
            OSError: the path is a pipe or a device, its folder cannot be written to, or its disk has too little room.
        """
        check_disk(self.path, n * self.bytes_each, f"--out is {self.path}: {n:,} {self.noun}, which")
        check_output(self.path)

    @property
    def is_picture(self) -> bool:
        """Whether the file is a picture of many examples."""
        return self.path.suffix.lower() == ".png"

    def in_rows(self, columns: int) -> Writer:
        """This writer; where it draws a grid of pictures, one with this number of columns."""
        return self._drawing(lambda x: pictures.grid(levels(x.cpu()), columns))

    def in_pairs(self, originals: Tensor) -> Writer:
        """This writer; where it draws a grid of pictures, each has its original above it."""
        return self._drawing(lambda x: pictures.pairs(levels(originals.cpu()), levels(x.cpu())))

    def _drawing(self, draw: Callable[[Tensor], NDArray[np.uint8]]) -> Writer:
        def write(x: Tensor, path: Path) -> None:
            pictures.save_png(path, pictures.enlarge(draw(x), 2))

        return replace(self, write=write) if self.is_grid else self


def _lies_in(folder: Path | None, path: Path) -> bool:
    return folder is not None and path.parent.resolve() == folder.resolve()


def register(folder: Path | None, path: Path) -> None:
    """List a new file in the manifest of a run's folder, if it lies there."""
    if folder is not None and _lies_in(folder, path):
        manifest.register(folder, path.name)


def check_free(run: Run, path: Path) -> None:
    """Raise ValueError for a folder, and for a file that belongs to the run itself."""
    if path.is_dir():
        raise ValueError(f"--out is {path}, which is a folder; expected a file")
    if _lies_in(run.folder, path) and path.name == "pictures.npz":  # the only one whose suffix these verbs write
        raise ValueError(f"--out is {path}, which is a file of the run itself; choose another name")


def _by_kind(run: Run, path: Path) -> Writer:
    """The kind's file."""
    suffix = path.suffix.lower()
    stream = run.kind.write_slices if suffix in run.kind.streams() else None
    return Writer(path, run.kind.write, stream, run.kind.bytes_in(suffix))


def _grid(run: Run, path: Path) -> Writer:
    """The kind's grid of pictures."""
    most = max(1, MOST_IN_GRID // math.prod(run.kind.shape))
    return Writer(path, run.kind.write, most=most, is_grid=True)


def _scatter(run: Run, path: Path) -> Writer:
    """A scatter plot of points of the plane."""
    from chartae.draw import plotting

    def write(x: Tensor, path: Path) -> None:
        plotting.save_figure(plotting.scatter(run.kind.outside(x).numpy(force=True)), path)

    return Writer(path, write, most=MOST_POINTS)


def _lines(run: Run, path: Path) -> Writer:
    """Strings, one a line, as the decoder mends them."""

    def stream(slices: Iterable[Tensor], n: int, path: Path) -> None:
        write_lines((_strings(run, x) for x in slices), path)

    def write(x: Tensor, path: Path) -> None:
        stream([x], len(x), path)

    return Writer(path, write, stream, run.kind.bytes_in(".txt"), "strings")


def _formulas(run: Run, path: Path) -> Writer:
    """A picture of the formulas of molecules."""
    from chartae.draw import structures

    structures.molecules(["C"])  # fails before any work if RDKit is missing

    def write(x: Tensor, path: Path) -> None:
        pictures.save_png(path, structures.molecules(_strings(run, x)))

    return Writer(path, write, noun="formulas", most=MOST_DRAWN)


def _strings(run: Run, x: Tensor) -> list[str]:
    strings = run.restore(x)
    assert isinstance(strings, list)
    return strings


Files: TypeAlias = Mapping[str, Callable[[Run, Path], Writer]]


def _none(run: Run) -> Files:
    return {}


def _of_pictures(run: Run) -> Files:
    return {".png": _grid}


def _of_the_plane(run: Run) -> Files:
    return {".png": _scatter} if run.kind.shape == (2,) else {}


def _of_strings(run: Run) -> Files:
    text: Files = {".txt": _lines, ".smi": _lines}
    return {**text, ".png": _formulas} if cast(Strings, run.kind).molecules else text


#: kind -> its files beside those of `Kind.writers`, and the ends of the names that serve where none is given, of which
#: the first counts that there is; a kind that is not listed has those of `Kind.writers`
FILES: Mapping[type[Kind], tuple[Callable[[Run], Files], tuple[str, ...]]] = {
    Images: (_of_pictures, (".png",)),
    Points: (_of_the_plane, (".png", ".npy")),
    Strings: (_of_strings, (".txt",)),
    Table: (_of_the_plane, (".png", ".npy")),
}


def writer_for(run: Run, out: Path | None, n: int, stem: str = "samples") -> Writer:
    """How `n` examples of a run are written.

    Args:
        run: the run, whose kind of data says which files there are.
        out: a file, whose suffix says what is written; by default a file in the run's folder.
        n: number of examples.
        stem: name of that file, without its suffix.

    Raises:
        ValueError: this kind of data has no such file, or the file cannot hold `n` examples.
        OSError: the folder cannot be written to, or its disk has too little room.
        ImportError: RDKit is missing, for formulas.
    """
    more, preferred = FILES.get(type(run.kind), (_none, ()))
    files = {**dict.fromkeys(run.kind.writers(), _by_kind), **more(run)}
    is_default = out is None
    if out is None:
        assert run.folder is not None
        out = run.folder / f"{stem}{next(end for end in (*preferred, *files) if end in files)}"
    make = files.get(out.suffix.lower())
    if make is None:
        raise ValueError(f"--out is {out}, but samples of this run are {run.kind.noun}; use {' or '.join(files)}")
    check_free(run, out)
    writer = replace(make(run, out), folder=run.folder if is_default else None)
    if writer.most is not None and n > writer.most:
        raise ValueError(
            f"--n is {n}; {out.suffix} holds at most {writer.most} {writer.noun}. Use fewer, or another file"
        )
    writer.check_room(n)
    return writer
