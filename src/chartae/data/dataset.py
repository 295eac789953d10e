"""Three splits that share no example, and of what kind the examples are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.arrays import SPLITS, as_labels, held_out, splits
from chartae.data.columns import Columns, frame_columns, is_frame
from chartae.data.conditions import Condition, Encoded
from chartae.data.files import Part, read_contents
from chartae.data.kinds import Kind, Table, kind_of
from chartae.grammar import Codec

__all__ = ["Dataset", "assemble", "from_arrays", "from_path"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Three splits that share no example, each with its labels where there are any, in the user's units.

    Images are (N, C, H, W): uint8 levels 0..255, or float32 in [0, 1]. Tables and points are float32 (N, d), in the
    units of their columns. Strings are rows of indices (N, T), int8 or int16, whose meaning is that of `codec`;
    `skipped` counts the strings that it could not encode. An empty split is a tensor with no rows.

    Labels are int64 where they name classes (`classes[label]` is the name, where names are known), otherwise what the
    file holds; where they are the factors that made the examples, float32 (N, K), `factors` names their columns.
    Targets are float32 (N,), a property of each example that can be learnt, NaN where it is not known.

    `condition` says what a model of these data is conditioned on, if anything; `train_condition` (N, K) and so on are
    its values.

    `kind` says what one example is, and scales it for the model; by default it is the one that `train` looks like.
    `source` is the path or name that the data came from.
    """

    name: str
    train: Tensor
    valid: Tensor
    test: Tensor
    train_labels: Tensor | None = None
    valid_labels: Tensor | None = None
    test_labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    source: str = ""
    factors: tuple[str, ...] = ()
    skipped: int = 0
    train_target: Tensor | None = None
    valid_target: Tensor | None = None
    test_target: Tensor | None = None
    condition: Condition | None = None
    train_condition: Tensor | None = None
    valid_condition: Tensor | None = None
    test_condition: Tensor | None = None
    kind: Kind = None  # type: ignore[assignment]  # never None after __post_init__

    def __post_init__(self) -> None:
        if self.kind is None:
            kind = kind_of(self.train)
            if kind is None:
                raise ValueError(f"train has shape {tuple(self.train.shape)}, which is that of no kind; give kind=")
            object.__setattr__(self, "kind", kind.of(self.train))
        if self.kind.shape != self.shape:
            raise ValueError(f"examples have shape {self.shape}, their kind {self.kind.shape}; give the kind of these")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (C, H, W), (d,) or (T,)."""
        return tuple(self.train.shape[1:])

    @property
    def is_image(self) -> bool:
        """Whether one example is a picture (C, H, W)."""
        return len(self.shape) == 3

    @property
    def codec(self) -> Codec | None:
        """What the indices mean, of strings; None of other kinds."""
        return self.kind.codec

    def split(self, name: str) -> Tensor:
        """The examples of ``"train"``, ``"valid"`` or ``"test"``; a ValueError of another name."""
        try:
            return {"train": self.train, "valid": self.valid, "test": self.test}[name]
        except KeyError:
            raise ValueError(f"unknown split {name!r}; choose from {', '.join(SPLITS)}") from None

    def conditions(self, split: str) -> Encoded | None:
        """The conditions of a split, where there are any."""
        rows = {"train": self.train_condition, "valid": self.valid_condition, "test": self.test_condition}[split]
        return None if rows is None else Encoded(rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, where they have any."""
        return tuple(map(str, self.kind.columns.names))

    def strings(self, split: str = "train") -> list[str]:
        """The strings of a split, as the codec writes them; a ValueError where the examples are no strings."""
        return self.kind.strings(self.split(split))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        dtype = str(self.train.dtype).removeprefix("torch.")
        sizes = " + ".join(f"{len(self.split(s)):,}" for s in SPLITS)
        kinds = f"{len(self.classes)} classes" if self.classes else "labelled"
        if self.factors:
            kinds = f"{len(self.factors)} factors"
        labels = "" if self.train_labels is None else f", {kinds}"
        target = "" if self.train_target is None else ", with a target"
        split = f"{sizes} (train + valid + test)"
        return f"Dataset({self.name!r}: {self.kind.noun} {shape} {dtype}, {split}{labels}{target}; {self.source})"


@dataclass(frozen=True)
class Shares:
    """How to hold examples out: fractions of the training examples, drawn by `seed`."""

    seed: int = 0
    valid: float = 0.1
    test: float = 0.1


def assemble(
    name: str,
    parts: Mapping[str, Part],
    *,
    shares: Shares = Shares(),
    kind: type[Kind] | None = None,
    columns: Columns | None = None,
    source: str = "",
) -> Dataset:
    """A `Dataset` of parts ``{"train": Part(x, labels or None), ...}``; a missing one is held out of train.

    Args:
        name: of the data set.
        parts: at least ``"train"``.
        shares: fractions of train to hold out, used only for the parts that are missing.
        kind: of the examples; by default the one that they look like.
        columns: names and types of the columns of a table.
        source: path or name that the data came from.

    Raises:
        ValueError, TypeError: parts that are no examples of one kind and shape, or whose labels do not fit.
    """
    first = parts["train"].x
    kind = kind or kind_of(first) or Table  # what looks like nothing is refused as a table, which says what is expected
    x = {s: kind.examples(part.x, at_least=2 if s == "train" else 1) for s, part in parts.items()}
    for s, v in x.items():
        if v.shape[1:] != x["train"].shape[1:] or v.dtype != x["train"].dtype:
            raise ValueError(
                f"{s} holds {v.dtype} examples of shape {tuple(v.shape[1:])}, train {x['train'].dtype} of"
                f" {tuple(x['train'].shape[1:])}; all splits must agree"
            )
    y, classes = _joint_labels(parts, {s: len(v) for s, v in x.items()})
    train, labels = x["train"], y["train"]
    valid, test = (0.0 if s in x else share for s, share in (("valid", shares.valid), ("test", shares.test)))
    rows = splits(len(train), valid, test, shares.seed)
    drawn = any(held_out(len(train), valid, test))
    for s, i in rows.items():
        if s not in parts or (s == "train" and drawn):
            x[s], y[s] = train[i.to(train.device)], None if labels is None else labels[i]
    (a, b, c), (ya, yb, yc) = (x[s] for s in SPLITS), (y[s] for s in SPLITS)
    return Dataset(name, a, b, c, ya, yb, yc, classes, source, kind=kind.of(a, columns=columns))


def _joint_labels(
    parts: Mapping[str, Part], sizes: Mapping[str, int]
) -> tuple[dict[str, Tensor | None], tuple[str, ...]]:
    """Labels of all parts, encoded together so that one name is one number in every split, and the names."""
    labelled = {s for s, part in parts.items() if part.labels is not None}
    if not labelled:
        return dict.fromkeys(parts), ()
    if labelled != set(parts):
        raise ValueError(f"labels are given for {sorted(labelled)} but not for {sorted(set(parts) - labelled)}")
    each: list[NDArray[np.generic]] = [
        np.asarray(p.labels.detach().cpu() if isinstance(p.labels, Tensor) else p.labels) for p in parts.values()
    ]
    for s, labels in zip(parts, each, strict=True):
        as_labels(labels, sizes[s], f"labels of {s}" if len(parts) > 1 else "labels")
    joint, names = as_labels(np.concatenate(each), sum(map(len, each)))
    return dict(zip(parts, joint.split([sizes[s] for s in parts]), strict=True)), names


def from_arrays(
    x: object,
    labels: object = None,
    *,
    kind: type[Kind] | None = None,
    name: str = "array",
    seed: int = 0,
    valid: float = 0.1,
    test: float = 0.1,
) -> Dataset:
    """A `Dataset` of an array or a data frame, with a random split that is the same for the same seed.

    Args:
        x: images or a table, as `as_examples` accepts them; or a pandas data frame of numbers.
        labels: one for each example; text becomes int64 classes, integers int64, floats float32.
        kind: `Images`, `Table` or `Points` of `chartae.data.kinds`, or another that was registered; by default images
            or a table, by the number of dimensions.
        name: of the data set.
        seed: of the random split.
        valid, test: fractions to hold out, rounded, at least one example where positive; 0 leaves that split
            empty. Two examples at least stay in train, however few there are.

    Raises:
        ValueError, TypeError: `x` or `labels` are not what is expected; the message says what is.

    >>> from_arrays(np.eye(10), valid=0.2, test=0)
    Dataset('array': table rows 10 float32, 8 + 2 + 0 (train + valid + test); array)
    """
    columns = frame_columns(x) if is_frame(x) else None
    return assemble(
        name, {"train": Part(x, labels)}, shares=Shares(seed, valid, test), kind=kind, columns=columns, source="array"
    )


def from_path(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    label: str | None = None,
    kind: type[Kind] | None = None,
    shares: Shares = Shares(),
) -> Dataset:
    """The `Dataset` in a file or folder; `chartae.data.load` says which kinds there are.

    Args:
        path: a file, or a folder of pictures.
        size: for folders of pictures: cut the middle square out of each and resize it to `size` x `size` pixels.
        label: for tables: name of the column of labels; "" for none; by default one named label, target, class or y.
        kind: of the examples; by default images or a table, by the number of dimensions.
        shares: fractions to hold out where the file does not say.

    Raises:
        ValueError, TypeError: it cannot be read; the message begins with the path.
    """
    path = Path(path).expanduser()
    contents = read_contents(path, size=size, label=label)
    name = path.stem if path.is_file() else path.resolve().name
    try:
        return assemble(name, contents.parts, shares=shares, kind=kind, columns=contents.columns, source=str(path))
    except (ValueError, TypeError) as e:
        raise type(e)(f"{path}: {e}") from e
