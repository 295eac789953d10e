"""`chartae encode`, `decode`, `reconstruct`, `interpolate` and `traverse`: data to codes, and codes to data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

from chartae.cli.flags import DataFlags, RunDataFlags, RunFolder, flag
from chartae.cli.verb import Verb, say

if TYPE_CHECKING:
    from torch import Tensor

    from chartae.data import Dataset as Data
    from chartae.runs import Run

__all__ = ["Decode", "Encode", "Interpolate", "Reconstruct", "Traverse"]

Dataset = Annotated[
    Positional[str], flag("name of a data set, or a path: what `chartae fit` reads for this kind of data", "DATA")
]
Condition = Annotated[
    str | None,
    flag("for a conditional run: the value, such as 3, or a=1,b=2 for several columns; by default the labels of a "
         "data, or the columns of a table", "VALUE"),
]  # fmt: skip
Out = Annotated[
    Path | None, flag("file: .png, .npy, .csv, .txt, as the data allow; by default a file in the run's folder", "FILE")
]
#: examples in a picture, where the number is not given
SHOWN = 32
#: rows that are decoded and written at once, a multiple of the rows that a net sees at once
SLICE = 10_000


@dataclass(frozen=True)
class SplitFlags(DataFlags):
    """Which rows of the data are used."""

    split: Annotated[str, flag("split of a named data set: train, valid or test; a file has no splits", "NAME")] = (
        "test"
    )
    n: Annotated[int | None, flag("use only the first N rows", "N")] = None


def rows_of(run: Run, data: str, flags: SplitFlags, condition: str | None) -> tuple[Tensor, Tensor | None]:
    """Rows of data in the model's form, in their order, with their conditions.

    Args:
        run: the run, which reads the data.
        data: the name of a data set, of which one split is read, or a path, of which everything is read.
        flags: which rows.
        condition: one value for all rows, for a conditional run; by default that of each row.

    Raises:
        ValueError: no such split, data of another kind, n below 1, or a condition that is missing or does not fit.
    """
    from chartae.data import NAMES, split_views
    from chartae.data.arrays import SPLITS
    from chartae.records.choices import one_of

    if flags.n is not None and flags.n < 1:
        raise ValueError(f"--n is {flags.n}; expected at least 1")
    if flags.split not in SPLITS:
        raise ValueError(f"--split is {flags.split!r}; {one_of(flags.split, SPLITS)}")
    values: object = condition
    if split_views(data)[0] in NAMES:
        dataset = run.read(data, root=flags.data_root)
        if tuple(dataset.shape) != run.settings.shape:
            raise ValueError(
                f"{data} holds examples of shape {tuple(dataset.shape)}; expected shape {run.settings.shape}, as in "
                "the data that were fitted"
            )
        x = run.kind.inside(_split(dataset, flags.split))
        values = dataset.conditions(flags.split) if condition is None else condition
    elif Path(data).exists():
        x, values = run.read_rows(Path(data), condition)
    else:
        more = "a path; there is no such file or folder"
        raise FileNotFoundError(f"the data are {data!r}; {one_of(data, NAMES, also=more)}")
    encoded = run.conditions(values, len(x))
    rows = slice(flags.n)
    return x[rows], None if encoded is None else encoded[rows]


def _split(data: Data, name: str) -> Tensor:
    """The rows of a split; a ValueError for an empty one."""
    x = data.split(name)
    if not len(x):
        raise ValueError(f"the {name} split of {data.name} is empty; choose another --split")
    return x


def _encoded(condition: Tensor | None) -> object:
    from chartae.data import Encoded

    return None if condition is None else Encoded(condition)


@dataclass(frozen=True)
class Encode(Verb):
    """Encode data: the codes, one row for each example, in order."""

    examples: ClassVar[tuple[str, ...]] = (
        "encode runs/a fashion-mini --out codes.npy",
        "encode runs/table table.csv --out codes.csv",
    )

    run_folder: RunFolder
    dataset: Dataset
    out: Annotated[Path, flag("file: .npy, .npz, or .csv with a header z1,z2,...", "FILE")]
    condition: Condition = None
    rows: SplitFlags = field(default_factory=SplitFlags)

    def run(self, options: Mapping[str, str]) -> None:
        suffix = self.out.suffix.lower()
        if suffix not in (".npy", ".npz", ".csv"):
            raise ValueError(f"--out is {self.out}; expected a name that ends in .npy, .npz or .csv")
        import numpy as np

        from chartae import runs
        from chartae.cli.writers import check_free, register
        from chartae.records.files import whole_file
        from chartae.records.space import check_disk, check_output

        run = runs.load(self.run_folder)
        check_free(run, self.out)
        x, condition = rows_of(run, self.dataset, self.rows, self.condition)
        size = len(x) * math.prod(run.model.code_shape)
        check_disk(self.out, size * (2 if suffix == ".csv" else 4), f"--out is {self.out}: {len(x):,} codes, which")
        check_output(self.out)
        codes = run.encode_inside(x, _encoded(condition)).numpy(force=True)
        if suffix == ".csv" and codes.ndim != 2:
            raise ValueError(f"--out is {self.out}, but codes have shape {codes.shape[1:]}; use .npy")
        with whole_file(self.out) as part:
            if suffix == ".npy":
                np.save(part, codes)
            elif suffix == ".npz":
                np.savez_compressed(part, codes=codes)
            else:
                head = ",".join(f"z{i + 1}" for i in range(codes.shape[1]))
                np.savetxt(part, codes, "%.9g", ",", header=head, comments="")
        register(run.folder, self.out)
        say(f"{len(codes):,} codes of size {'x'.join(map(str, codes.shape[1:]))} are in {self.out}")


@dataclass(frozen=True)
class Decode(Verb):
    """Decode codes: one example for each row, in the form of the data."""

    examples: ClassVar[tuple[str, ...]] = (
        "decode runs/a codes.npy --out pictures.png",
        "decode runs/table codes.csv --out rows.csv",
    )

    run_folder: RunFolder
    codes: Annotated[Positional[Path], flag("codes (N, D): .npy, .npz, or .csv with or without a header", "CODES")]
    out: Out = None
    condition: Annotated[
        str | None, flag("for a conditional run: the value, such as 3, or a=1,b=2 for several columns", "VALUE")
    ] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.cli.writers import writer_for

        run = runs.load(self.run_folder)
        z = _read_codes(self.codes)
        writer = writer_for(run, self.out, len(z), "decoded")
        condition = run.conditions(self.condition, len(z))

        def decoded(rows: slice) -> Tensor:
            return run.decode_inside(z[rows], _encoded(None if condition is None else condition[rows]))

        writer.write_slices(map(decoded, _slices(len(z))), len(z))
        say(f"{len(z):,} decoded {run.kind.noun} are in {writer.path}")


def _slices(n: int) -> Iterator[slice]:
    """Slices of rows that are decoded and written at once; one if there are no rows."""
    return (slice(first, first + SLICE) for first in range(0, max(1, n), SLICE))


def _read_codes(path: Path) -> Tensor:
    """Codes of a file (N, ...).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no codes.
    """
    import numpy as np
    import torch

    from chartae.data import Reading
    from chartae.data.files import read_contents
    from chartae.records.arrays import check_npz
    from chartae.records.files import reading

    if path.suffix.lower() == ".npz":
        with open(path, "rb") as file, reading(path, "file that `chartae encode` wrote"):
            check_npz(file)
            with np.load(file, allow_pickle=False) as arrays:
                values = arrays["codes"]
    else:
        contents = read_contents(path, Reading(optional=True))
        values, names = np.asarray(contents.examples()), list(contents.columns.names)
        expected = [f"z{i + 1}" for i in range(values.shape[-1])]
        if names and sorted(names) != sorted(expected):
            raise ValueError(
                f"{path} has the columns {', '.join(map(str, names))}; expected {', '.join(expected)}, as `chartae "
                "encode` writes them, or no header"
            )
        if names:
            values = values[:, [names.index(name) for name in expected]]
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds {values.dtype}; expected numbers")
    z = torch.from_numpy(values.astype(np.float32))
    if not len(z):
        raise ValueError(f"{path} holds no codes; expected at least one row")
    if not z.isfinite().all():
        raise ValueError(f"{path} holds NaN or infinite values; expected finite codes")
    return z


@dataclass(frozen=True)
class Reconstruct(Verb):
    """Encode and decode data: a picture shows each original above its reconstruction; other files hold these alone."""

    examples: ClassVar[tuple[str, ...]] = (
        "reconstruct runs/a fashion-mini --n 16 --out pairs.png",
        "reconstruct runs/table table.csv --out reconstructed.csv",
    )

    run_folder: RunFolder
    dataset: Dataset
    out: Out = None
    condition: Condition = None
    rows: SplitFlags = field(default_factory=SplitFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.cli.writers import writer_for

        run = runs.load(self.run_folder)
        writer = writer_for(run, self.out, self.rows.n or 1, "reconstructions")
        x, condition = rows_of(run, self.dataset, self.rows, self.condition)
        if writer.is_picture and self.rows.n is None:
            x, condition = x[:SHOWN], None if condition is None else condition[:SHOWN]
        writer.check_room(len(x))

        def reconstructed(rows: slice) -> Tensor:
            return run.reconstruct_inside(x[rows], _encoded(None if condition is None else condition[rows]))

        writer.in_pairs(x).write_slices(map(reconstructed, _slices(len(x))), len(x))
        say(f"{len(x):,} reconstructions are in {writer.path}")


@dataclass(frozen=True)
class Interpolate(Verb):
    """Examples on the path between the codes of two examples: two rows of one data set, or the first of two files."""

    examples: ClassVar[tuple[str, ...]] = (
        "interpolate runs/a --rows 0 7 --steps 10 --out path.png",
        "interpolate runs/a first.npy second.npy --how spherical --out path.npy",
    )

    run_folder: RunFolder
    datasets: Annotated[
        Positional[tuple[str, ...]],
        flag("one data set or path, or two; by default the run's data, loaded again", "DATA ..."),
    ] = ()
    rows: Annotated[
        tuple[int, int] | None,
        flag("the two rows, counted from 0, or one row of each of two paths; by default the first ones", "A B"),
    ] = None
    steps: Annotated[int, flag("number of points on the path, both ends included", "N")] = 8
    how: Annotated[str, flag("linear or spherical", "NAME")] = "linear"
    out: Out = None
    condition: Annotated[
        str | None, flag("for a conditional run: one value for the whole path, such as 3, or a=1,b=2", "VALUE")
    ] = None
    data: SplitFlags = field(default_factory=SplitFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.cli.writers import writer_for

        if len(self.datasets) > 2:
            raise ValueError(f"{len(self.datasets)} data sets are given; expected none, one or two")
        run = runs.load(self.run_folder)
        writer = writer_for(run, self.out, max(1, self.steps), "interpolation")
        run.conditions(self.condition, 1)  # a wrong condition is refused before data are read
        names = self.datasets or (run.settings.data,)
        sources = [self._rows(run, name) for name in names]
        numbers = self.rows or ((0, 1) if len(sources) == 1 else (0, 0))
        ends = []
        for x, number in zip(sources * (3 - len(sources)), numbers, strict=True):
            if not 0 <= number < len(x):
                raise ValueError(f"--rows names row {number}, but the data have {len(x):,}; expected 0 to {len(x) - 1}")
            ends.append(x[number : number + 1])
        writer.in_rows(self.steps)(run.path_inside(ends[0], ends[1], self.steps, self.how, self.condition))
        say(f"{self.steps} points of the {self.how} path are in {writer.path}")

    def _rows(self, run: Run, name: str) -> Tensor:
        """The rows of the data set or path; of the run's own data, those of the split."""
        if not self.datasets:
            if self.data.n is not None and self.data.n < 1:
                raise ValueError(f"--n is {self.data.n}; expected at least 1")
            return run.kind.inside(_split(run.data(self.data.data_root), self.data.split)[: self.data.n])
        return rows_of(run, name, self.data, self.condition)[0]


@dataclass(frozen=True)
class Traverse(Verb):
    """Examples along the principal axes of the codes: a row for each axis, through the mean of the training codes."""

    examples: ClassVar[tuple[str, ...]] = (
        "traverse runs/a --axes 5 --out axes.png",
        "traverse runs/table --axes 2 --steps 9 --span 3 --out axes.csv",
    )

    run_folder: RunFolder
    axes: Annotated[int | None, flag("number of axes, those of largest variance first; by default at most 8", "N")] = (
        None
    )
    steps: Annotated[int, flag("number of points on each axis", "N")] = 7
    span: Annotated[float, flag("reach of the axes to both sides of the mean, in standard deviations", "SD")] = 2.0
    out: Out = None
    condition: Annotated[
        str | None, flag("for a conditional run: one value for all points, such as 3, or a=1,b=2", "VALUE")
    ] = None
    data: RunDataFlags = field(default_factory=RunDataFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.cli.writers import writer_for

        run = runs.load(self.run_folder)
        writer = writer_for(run, self.out, max(1, (self.axes or 1) * self.steps), "traversal")
        run.conditions(self.condition, 1)  # a wrong condition is refused before data are read
        codes = run.encode_split(run.source(self.data.dataset, self.data.data_root))
        x = run.axes_inside(self.axes, self.steps, self.span, codes, self.condition)
        writer.in_rows(self.steps)(x.flatten(0, 1))
        say(f"{x.shape[0]} axes with {x.shape[1]} points each are in {writer.path}")
