"""A data set: three disjoint splits and the kind of their examples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.arrays import SPLITS, as_labels, as_tensor, gathered, give_back, held_out, splits
from chartae.data.columns import Columns, as_frame, frame_columns, is_frame
from chartae.data.conditions import Condition, Encoded
from chartae.data.contents import Contents, Part
from chartae.data.files import read_contents
from chartae.data.kinds import Kind, Table, kind_of
from chartae.data.options import Reading
from chartae.grammar import Codec
from chartae.records.choices import one_of

__all__ = ["Dataset", "assemble", "from_arrays", "from_path"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Three disjoint splits of examples in the user's units, with their labels, targets and conditions.

    Args:
        name: name of the data set.
        train, valid, test: examples of each split. Images are (N, C, H, W), uint8 levels 0..255 or float32 in [0, 1];
            tables and points (N, d) float32 in the units of their columns; strings (N, T) rows of int8 or int16
            indices into `kind.codec`. An empty split is a tensor with no rows.
        train_labels, valid_labels, test_labels: labels of each split: int64 if they are classes, -1 where the class
            is unknown; float32 (N, K) if they are the factors that generated the examples; None by default.
        classes: name of each class, ``classes[label]``; empty (default) if there are none.
        source: path or name that the data came from.
        factors: names of the columns of the labels, if these are generative factors.
        skipped: number of strings that the codec could not encode and that were left out; default 0.
        notes: what the reader decided, in sentences; none by default.
        reading: options that the data were read with, completed by what the reader decided.
        train_target, valid_target, test_target: (N,) float32, a property of each example that can be predicted, NaN
            where it is unknown; None by default.
        train_weight, valid_weight, test_weight: (N,) float32, the weight of each example in the loss, >= 0; None by
            default.
        path: absolute path of the file or folder that the data came from; empty for named and in-memory data.
        condition: `Condition` that a model of these data is conditioned on; None by default.
        train_condition, valid_condition, test_condition: (N, K) values of the condition.
        kind: what one example is, and how it is scaled for the model; by default images or a table, by the number of
            dimensions of `train`.

    Raises:
        ValueError: no kind fits the shape of `train`, or `kind` has another shape.

    >>> import torch
    >>> from chartae.data import Dataset
    >>> x = torch.arange(20.0).reshape(10, 2)
    >>> data = Dataset("ramp", x[:6], x[6:8], x[8:])
    >>> data.kind, data.shape, len(data.split("valid"))
    (Table((2,)), (2,), 2)
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
    notes: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)
    train_weight: Tensor | None = None
    valid_weight: Tensor | None = None
    test_weight: Tensor | None = None
    path: str = ""
    kind: Kind = None  # type: ignore[assignment]  # never None after __post_init__

    def __post_init__(self) -> None:
        if self.kind is None:
            kind = kind_of(self.train)
            if kind is None:
                raise ValueError(
                    f"train has shape {tuple(self.train.shape)}; expected images (N, C, H, W) or rows (N, d)."
                    " Give kind= for other data."
                )
            object.__setattr__(self, "kind", kind.of(self.train))
        if self.kind.shape != self.shape:
            raise ValueError(
                f"kind is of shape {self.kind.shape}; expected {self.shape}, the shape of the examples."
                " Give the kind of these examples."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (C, H, W), (d,) or (T,)."""
        return tuple(self.train.shape[1:])

    @property
    def is_image(self) -> bool:
        """Whether one example is an image (C, H, W)."""
        return len(self.shape) == 3

    @property
    def codec(self) -> Codec | None:
        """Codec that maps indices to strings and back; None for other kinds."""
        return self.kind.codec

    def split(self, name: str) -> Tensor:
        """Examples of one split.

        Args:
            name: ``"train"``, ``"valid"`` or ``"test"``.

        Raises:
            ValueError: another name.
        """
        try:
            return {"train": self.train, "valid": self.valid, "test": self.test}[name]
        except KeyError:
            raise ValueError(f"split is {name!r}; {one_of(name, SPLITS)}") from None

    def conditions(self, split: str) -> Encoded | None:
        """Conditions of a split, ``"train"``, ``"valid"`` or ``"test"``; None if there are none."""
        rows = {"train": self.train_condition, "valid": self.valid_condition, "test": self.test_condition}[split]
        return None if rows is None else Encoded(rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns; empty if they have none."""
        return tuple(map(str, self.kind.columns.names))

    def strings(self, split: str = "train") -> list[str]:
        """Strings of a split, decoded by the codec.

        Args:
            split: ``"train"`` (default), ``"valid"`` or ``"test"``.

        Raises:
            ValueError: the examples are not strings.
        """
        return self.kind.strings(self.split(split))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        dtype = str(self.train.dtype).removeprefix("torch.")
        sizes = " + ".join(f"{len(self.split(s)):,}" for s in SPLITS)
        labelled = f"{len(self.classes)} classes" if self.classes else "labelled"
        if self.factors:
            labelled = f"{len(self.factors)} factors"
        labels = "" if self.train_labels is None else f", {labelled}"
        target = "" if self.train_target is None else ", with a target"
        split = f"{sizes} (train + valid + test)"
        return f"Dataset({self.name!r}: {self.kind.noun} {shape} {dtype}, {split}{labels}{target}; {self.source})"


@dataclass(frozen=True)
class Shares:
    """Fractions of the training examples that are held out at random.

    Attributes:
        seed: seed of the random split; default 0.
        valid, test: fractions, in [0, 1); default 0.1 each.
    """

    seed: int = 0
    valid: float = 0.1
    test: float = 0.1


def assemble(
    name: str,
    contents: Contents,
    *,
    shares: Shares = Shares(),
    kind: type[Kind] | None = None,
    source: str = "",
) -> Dataset:
    """Build a `Dataset` of what was read; a missing split is held out of train.

    Args:
        name: name of the data set.
        contents: examples and labels of each split, ``"train"`` at least, and what the reader decided.
        shares: fractions of train to hold out; only those of missing parts are used.
        kind: kind of the examples; by default images or a table, by their number of dimensions.
        source: path or name that the data came from.

    Returns:
        The data set, with all three splits.

    Raises:
        ValueError, TypeError: the parts are not examples of one kind and shape, or their labels do not fit.
    """
    parts = contents.parts
    kind = kind or kind_of(parts["train"].x) or Table  # Table's error message says what is expected
    x, contents = kind.convert(contents)
    for s, v in x.items():
        if v.shape[1:] != x["train"].shape[1:] or v.dtype != x["train"].dtype:
            raise ValueError(
                f"{s} holds {v.dtype} examples of shape {tuple(v.shape[1:])}; expected {x['train'].dtype} examples of"
                f" shape {tuple(x['train'].shape[1:])}, as in train. Give all splits in one format."
            )
    y, classes = _joint_labels(parts, {s: len(v) for s, v in x.items()})
    w = _weights(parts, {s: len(v) for s, v in x.items()})
    train, labels, weight = x["train"], y["train"], w["train"]
    valid, test = (0.0 if s in x else share for s, share in (("valid", shares.valid), ("test", shares.test)))
    rows = splits(len(train), valid, test, shares.seed)
    is_split = any(held_out(len(train), valid, test))
    give_back(parts["train"].x)  # what the checks have read
    held = {s: i for s, i in rows.items() if s not in parts or (s == "train" and is_split)}
    x |= gathered(train, held, parts["train"].x)
    for s, i in held.items():
        y[s] = None if labels is None else labels[i]
        w[s] = None if weight is None else weight[i.to(weight.device)]
    (a, b, c), (ya, yb, yc), (wa, wb, wc) = (x[s] for s in SPLITS), (y[s] for s in SPLITS), (w.get(s) for s in SPLITS)
    return Dataset(
        name, a, b, c, ya, yb, yc, classes, source, train_weight=wa, valid_weight=wb, test_weight=wc,
        notes=contents.notes, reading=contents.reading,
        kind=kind.of(a, columns=contents.columns).keeping(contents.reading),
    )  # fmt: skip


def _weights(parts: Mapping[str, Part], sizes: Mapping[str, int]) -> dict[str, Tensor | None]:
    """Weights of all parts, as float32."""
    weights: dict[str, Tensor | None] = dict.fromkeys(parts)
    for s, part in parts.items():
        if part.weight is None:
            continue
        w = as_tensor(part.weight, "weight").to(torch.float32)
        if w.shape != (sizes[s],):
            raise ValueError(f"weight has shape {tuple(w.shape)}; expected one number for each of {sizes[s]} examples.")
        if not (w.isfinite() & (w >= 0)).all() or not w.any():
            raise ValueError("weight is negative, not finite or 0 everywhere; expected finite numbers of at least 0.")
        weights[s] = w
    return weights


def _joint_labels(
    parts: Mapping[str, Part], sizes: Mapping[str, int]
) -> tuple[dict[str, Tensor | None], tuple[str, ...]]:
    """Labels of all parts and the names of the classes; a class has the same number in every split."""
    labelled = {s for s, part in parts.items() if part.labels is not None}
    if not labelled:
        return dict.fromkeys(parts), ()
    if labelled != set(parts):
        raise ValueError(
            f"labels are given for {sorted(labelled)} but not for {sorted(set(parts) - labelled)}; expected labels for"
            " all splits or for none."
        )
    arrays: list[NDArray[np.generic]] = [
        np.asarray(p.labels.detach().cpu() if isinstance(p.labels, Tensor) else p.labels) for p in parts.values()
    ]
    for s, labels in zip(parts, arrays, strict=True):
        as_labels(labels, sizes[s], f"labels of {s}" if len(parts) > 1 else "labels")
    joint, names = as_labels(np.concatenate(arrays), sum(map(len, arrays)))
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
    reading: Reading = Reading(),
) -> Dataset:
    """Build a `Dataset` from an array or a data frame, split at random.

    Args:
        x: table (n, d) of any real dtype; images (n, h, w), (n, c, h, w) or (n, h, w, c) as booleans, integers in
            0..255 or floats in [0, 1]; a list of Pillow images or of paths of pictures; or a pandas data frame of
            numbers.
        labels: one label for each example. Text becomes int64 classes, integers int64, floats float32. None by
            default.
        kind: `Images`, `Table` or `Points` of `chartae.data.kinds`, or another registered kind; by default images or
            a table, by the number of dimensions.
        name: name of the data set; default "array".
        seed: seed of the random split; default 0. The same seed gives the same split.
        valid, test: fractions to hold out, in [0, 1); default 0.1 each. They are rounded, to at least one example if
            positive; 0 leaves the split empty. At least two examples stay in train.
        reading: options for reading; none by default.

    Returns:
        The data set, with three disjoint splits.

    Raises:
        ValueError, TypeError: `x`, `labels` or the fractions are not as described; the message says what is expected.

    >>> import numpy as np
    >>> from chartae.data import from_arrays
    >>> from_arrays(np.eye(10), valid=0.2, test=0)
    Dataset('array': table rows 10 float32, 8 + 2 + 0 (train + valid + test); array)
    >>> from_arrays(np.eye(4), ["b", "a", "b", "a"], valid=0, test=0).classes
    ('a', 'b')
    """
    x = as_frame(x)
    contents = Contents({"train": Part(x, labels)}, frame_columns(x) if is_frame(x) else Columns(), reading)
    return assemble(name, contents, shares=Shares(seed, valid, test), kind=kind, source="array")


def from_path(
    path: str | os.PathLike[str],
    *,
    reading: Reading = Reading(),
    kind: type[Kind] | None = None,
    shares: Shares = Shares(),
) -> Dataset:
    """Read the `Dataset` in a file or folder; `chartae.data.load` lists the formats.

    Args:
        path: a file, or a folder of images.
        reading: options for reading.
        kind: kind of the examples; by default images or a table, by the number of dimensions.
        shares: fractions to hold out if the file has no splits.

    Returns:
        The data set, named after the file.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError, TypeError: the file cannot be read; the message begins with the path.
    """
    path = Path(path).expanduser()
    contents = read_contents(path, reading)
    name = path.name.split(".")[0] or path.name if path.is_file() else path.resolve().name
    try:
        data = assemble(name, contents, shares=shares, kind=kind, source=str(path))
        return replace(data, path=str(path.resolve()))
    except (ValueError, TypeError) as e:
        raise type(e)(f"{path}: {e}") from e
