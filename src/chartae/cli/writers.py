"""The files that samples of a run can be written to: those of its kind of data, and pictures of what is no picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from torch import Tensor

from chartae.data.files import whole_file
from chartae.data.kinds import Images, Kind, Points, Strings, Table
from chartae.draw import pictures, plotting, structures
from chartae.runs import Run

__all__ = ["Writer", "writer_for"]

#: formulas in one picture
MOST_DRAWN = 1000

Write: TypeAlias = Callable[[Tensor, Path], None]


@dataclass(frozen=True)
class Writer:
    """How samples are written to one file.

    Attributes:
        path: of the file.
        write: from examples in the model's form and a path to a file.
        noun: what the file holds.
        most: how many of them at most; None for any number.
    """

    path: Path
    write: Write
    noun: str = "samples"
    most: int | None = None

    def __call__(self, x: Tensor) -> None:
        """Write examples in the model's form (n, ...); the folder is made where it is missing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.write(x, self.path)


def _own(run: Run, path: Path) -> Writer:
    """The kind's file."""
    return Writer(path, run.kind.write)


def _scatter(run: Run, path: Path) -> Writer:
    """A scatter plot of points of the plane."""

    def write(x: Tensor, path: Path) -> None:
        with whole_file(path) as part:
            plotting.scatter(run.kind.outside(x).numpy(force=True)).savefig(part, dpi=130, format="png")

    return Writer(path, write)


def _lines(run: Run, path: Path) -> Writer:
    """Strings, one a line, as the decoder mends them."""

    def write(x: Tensor, path: Path) -> None:
        with whole_file(path) as part:
            part.write_text("".join(f"{line}\n" for line in _strings(run, x)), encoding="utf-8")

    return Writer(path, write, "strings")


def _formulas(run: Run, path: Path) -> Writer:
    """A picture of the formulas of molecules."""
    structures.molecules(["C"])  # RDKit is missed before any work

    def write(x: Tensor, path: Path) -> None:
        pictures.save_png(path, structures.molecules(_strings(run, x)))

    return Writer(path, write, "formulas", MOST_DRAWN)


def _strings(run: Run, x: Tensor) -> list[str]:
    strings = run.restore(x)
    assert isinstance(strings, list)
    return strings


Files: TypeAlias = Mapping[str, Callable[[Run, Path], Writer]]


def _none(run: Run) -> Files:
    return {}


def _of_the_plane(run: Run) -> Files:
    return {".png": _scatter} if run.kind.shape == (2,) else {}


def _of_strings(run: Run) -> Files:
    text: Files = {".txt": _lines, ".smi": _lines}
    return {**text, ".png": _formulas} if cast(Strings, run.kind).molecules else text


#: kind -> its files beside those of `Kind.writers`, and the ends of the names that serve where none is given, of which
#: the first counts that there is; a kind that is not listed has those of `Kind.writers`
FILES: Mapping[type[Kind], tuple[Callable[[Run], Files], tuple[str, ...]]] = {
    Images: (_none, (".png",)),
    Points: (_of_the_plane, (".png", ".npy")),
    Strings: (_of_strings, (".txt",)),
    Table: (_of_the_plane, (".png", ".npy")),
}


def writer_for(run: Run, out: Path | None, n: int) -> Writer:
    """How `n` samples of a run are written.

    Args:
        run: whose samples.
        out: a file, whose end says what is written; by default samples.png, .npy, .txt, ... in the run's folder.
        n: how many.

    Raises:
        ValueError: no such file can be written of this kind of data, or it cannot hold `n`.
        ImportError: RDKit is missing, for formulas.
    """
    more, preferred = FILES.get(type(run.kind), (_none, ()))
    files = {**dict.fromkeys(run.kind.writers(), _own), **more(run)}
    if out is None:
        assert run.folder is not None
        out = run.folder / f"samples{next(end for end in (*preferred, *files) if end in files)}"
    make = files.get(out.suffix.lower())
    if make is None:
        raise ValueError(f"--out is {out}, but samples of this run are {run.kind.noun}; use {' or '.join(files)}")
    writer = make(run, out)
    if writer.most is not None and n > writer.most:
        raise ValueError(f"--n is {n}; {out.suffix} holds {writer.most} {writer.noun} at most; choose another file")
    return writer
