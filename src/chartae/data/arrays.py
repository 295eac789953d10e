"""Arrays of users become examples: checked, in one layout and type, and split without overlap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chartae.grammar import Codec

__all__ = ["Dataset", "as_examples", "as_labels", "as_tensor", "assemble", "from_arrays"]

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Three splits that share no example, each with its labels where there are any.

    Images are (N, C, H, W): uint8 levels 0..255, or float32 in [0, 1]. Tables are float32 (N, d), in the
    units of their columns, or uint8 levels. Labels are int64 where they name classes (`classes[label]` is the name,
    where names are known), otherwise what the file holds; where they are the factors that made the examples, float32
    (N, K), `factors` names their columns. An empty split is a tensor with no rows. `source` is the
    path or name it came from.

    Strings are rows of indices (N, T), int8 or int16, whose meaning is that of `codec`; `skipped` counts the strings
    that it could not encode.
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
    codec: Codec | None = None
    skipped: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (C, H, W) or (d,)."""
        return tuple(self.train.shape[1:])

    @property
    def is_image(self) -> bool:
        """Whether one example is a picture (C, H, W)."""
        return len(self.shape) == 3

    def strings(self, split: str = "train") -> list[str]:
        """The strings of a split, as the codec writes them; a ValueError where the examples are no strings."""
        if self.codec is None:
            raise ValueError(f"the examples of {self.name} are numbers, not strings")
        return self.codec.decode(getattr(self, split).numpy().astype(np.int64))

    def __repr__(self) -> str:
        kind = "images" if self.is_image else "table rows" if self.codec is None else "strings"
        shape = "x".join(map(str, self.shape))
        dtype = str(self.train.dtype).removeprefix("torch.")
        sizes = " + ".join(f"{len(getattr(self, s)):,}" for s in SPLITS)
        kinds = f"{len(self.classes)} classes" if self.classes else "labelled"
        if self.factors:
            kinds = f"{len(self.factors)} factors"
        labels = "" if self.train_labels is None else f", {kinds}"
        split = f"{sizes} (train + valid + test)"
        return f"Dataset({self.name!r}: {kind} {shape} {dtype}, {split}{labels}; {self.source})"


def as_tensor(x: Any, what: str = "x") -> Tensor:
    """`x` (numpy, torch, lists, a data frame) as a detached tensor of real numbers, shared where possible."""
    if not isinstance(x, Tensor):
        if np.ma.is_masked(x):
            raise ValueError(f"{what} has masked (missing) values; drop or impute them")
        try:
            a = np.asarray(x)
        except ValueError as e:
            raise ValueError(f"{what} is ragged: its rows differ in length; give a rectangular array") from e
        if a.dtype.kind not in "biufc":
            raise TypeError(
                f"{what} has dtype {a.dtype}; numbers are needed. Encode text columns as numbers, call"
                " .toarray() on a sparse matrix, and convert an object array of numbers with .astype(float)"
            )
        if a.dtype.kind == "u" and a.dtype.itemsize > 1:
            a = a.astype(np.int64)
        elif a.dtype.kind == "f" and a.dtype.itemsize > 8:
            a = a.astype(np.float64)
        # torch shares memory only with writable native arrays of positive strides
        if not (a.flags.writeable and a.dtype.isnative) or any(s < 0 for s in a.strides):
            a = a.astype(a.dtype.newbyteorder("="), order="C")
        x = torch.from_numpy(a)
    x = x.detach()
    if x.is_complex():
        raise TypeError(f"{what} is complex ({x.dtype}); give real numbers, such as its real and imaginary parts")
    if x.layout != torch.strided:
        raise TypeError(f"{what} is a sparse tensor; call .to_dense() on it")
    return x


def as_examples(x: Any, *, at_least: int = 2) -> Tensor:
    """`x` as checked examples in the layout and type that everything downstream expects.

    Accepted are numpy arrays, torch tensors and what `numpy.asarray` makes numbers of:

    * tables (n, d): any real type becomes float32 (booleans 0 and 1), values unchanged, any range; but uint8 stays,
      as levels 0..255 of flattened images, which networks read as [0, 1];
    * images (n, h, w), (n, c, h, w) or channels-last (n, h, w, c) with c in {1, 3, 4} (taken for
      channels-last where the last size is one of these and the second is not) become (n, c, h, w): booleans
      become uint8 0 and 255, integers within 0..255 uint8, floats float32, which must lie in [0, 1].

    Args:
        x: the array; it is copied only where layout or type must change.
        at_least: the fewest examples that will do. With 1 (to apply a fitted model, not to fit one), the
            checks that concern the set as a whole, constant data and images of zeros and ones, are left out.

    Raises:
        TypeError: text, objects, complex numbers, sparse matrices.
        ValueError: too few examples, a wrong number of dimensions, NaN or infinity, integers outside 0..255
            or floats outside [0, 1] in images, uint8 images of only 0 and 1, examples that are all identical.

    >>> as_examples(np.linspace(0, 1, 5 * 28 * 28 * 3).reshape(5, 28, 28, 3)).shape
    torch.Size([5, 3, 28, 28])
    """
    x = as_tensor(x)
    shape = tuple(x.shape)
    if x.ndim not in (2, 3, 4):
        hint = "; use x.reshape(-1, 1) for a single column" if x.ndim == 1 else ""
        raise ValueError(
            f"x has shape {shape}; expected a table (n, d), or images (n, h, w), (n, c, h, w) or (n, h, w, c){hint}"
        )
    if x.numel() == 0:
        raise ValueError(f"x is empty (shape {shape}); at least {at_least} examples are needed")
    if len(x) < at_least:
        raise ValueError(f"x has {len(x)} example{'s' * (len(x) > 1)} (shape {shape}); at least {at_least} are needed")

    if x.ndim == 3:
        x = x.unsqueeze(1)
    elif x.ndim == 4 and shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4):
        x = x.permute(0, 3, 1, 2)
    image = x.ndim == 4

    if x.is_floating_point() or not (image or x.dtype == torch.uint8):
        wide, x = x, x.to(torch.float32)
        lo, hi = (float(v) for v in x.aminmax())  # one pass; NaN propagates
        if not (np.isfinite(lo) and np.isfinite(hi)):
            bad = ~x.isfinite().flatten(1).all(1)
            first, gone = int(bad.nonzero()[0]), int((~x.isfinite()).sum())
            why = "NaN or infinite" if not wide.isfinite().all() else "beyond the range of float32"
            raise ValueError(
                f"{gone} value{'s' * (gone > 1)} of x in {int(bad.sum())} of {len(x)} examples"
                f" {'are' if gone > 1 else 'is'} {why} (first: row {first}); drop or impute these rows"
            )
        if image and not (lo >= 0 and hi <= 1):
            raise ValueError(
                f"floating-point images must lie in [0, 1], but x runs from {lo:g} to {hi:g}; rescale it,"
                " such as (x - x.min()) / (x.max() - x.min()), or give levels 0..255 as uint8"
            )
    elif x.dtype == torch.bool:
        x = x.to(torch.uint8) * 255
    else:
        lo, hi = (int(v) for v in x.aminmax())
        if not (lo >= 0 and hi <= 255):
            raise ValueError(
                f"integer images must be levels 0..255, but x ({str(x.dtype).removeprefix('torch.')}) runs"
                f" from {lo} to {hi}; rescale it to floats in [0, 1]"
            )
        if hi == 1 and at_least > 1:
            raise ValueError(
                f"x holds integer {'images' if image else 'levels'} of only 0 and 1, which as levels 0..255 would be"
                f" black; give {'binary images as x.astype(bool)' if image else 'them as x.astype(float)'} or 0 and 255"
            )
        x = x.to(torch.uint8)

    if at_least > 1 and torch.equal(x[0], x[1]) and bool((x == x[0]).all()):
        raise ValueError(f"all {len(x)} examples of x are identical; there is nothing to learn from constant data")
    return x.contiguous()


def as_labels(labels: Any, n: int, what: str = "labels") -> tuple[Tensor, tuple[str, ...]]:
    """Labels for `n` examples and the names of their classes: text becomes int64, in the names' order, and the text
    "-1" is -1, a label that is not known."""
    a = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if a.ndim == 2 and a.shape[1] == 1:
        a = a[:, 0]
    if a.ndim == 0 or len(a) != n:
        have = f"shape {a.shape}" if a.ndim != 1 else f"{len(a)} entries"
        raise ValueError(f"{what}: {have} for {n} examples; one label for each example is needed")
    if a.dtype.kind == "O" and all(isinstance(v, str) for v in a.flat):
        a = a.astype(str)
    if a.dtype.kind in "US":
        names, codes = np.unique(a.astype(str), return_inverse=True)
        codes = codes.astype(np.int64).reshape(a.shape)
        if "-1" in names:  # not known
            at = int(np.searchsorted(names, "-1"))
            codes = np.where(codes == at, -1, codes - (codes > at))
        return torch.from_numpy(codes), tuple(str(name) for name in names if name != "-1")
    y = as_tensor(a, what)
    if not y.is_floating_point():
        return y.to(torch.int64), ()
    if not y.isfinite().all():
        raise ValueError(f"{what} hold NaN or infinity (first: row {int((~y.isfinite()).nonzero()[0][0])})")
    return y.to(torch.float32), ()


def held_out(n: int, valid: float, test: float) -> tuple[int, int]:
    """How many of `n` examples go to (valid, test).

    The rounded fractions, one at least where a fraction is positive, but two at least are left to train on.
    """
    for name, f in (("valid", valid), ("test", test)):
        if not 0 <= f < 1:
            raise ValueError(f"{name} is {f}; expected a fraction 0 <= {name} < 1 of the examples")
    if valid + test >= 1:
        raise ValueError(f"valid ({valid}) and test ({test}) leave nothing to train on; their sum must be below 1")
    n_test = min(max(1, round(n * test)), max(n - 2, 0)) if test else 0
    n_valid = min(max(1, round(n * valid)), max(n - n_test - 2, 0)) if valid else 0
    return n_valid, n_test


def assemble(
    name: str,
    parts: Mapping[str, tuple[Any, Any]],
    *,
    seed: int = 0,
    valid: float = 0.1,
    test: float = 0.1,
    classes: tuple[str, ...] = (),
    source: str = "",
) -> Dataset:
    """A `Dataset` of parts ``{"train": (x, labels or None), ...}``; a missing one is held out of train.

    `valid` and `test` are the fractions of train to hold out, used only for parts that are not given.
    """
    x = {s: as_examples(part[0], at_least=2 if s == "train" else 1) for s, part in parts.items()}
    for s, v in x.items():
        if v.shape[1:] != x["train"].shape[1:] or v.dtype != x["train"].dtype:
            raise ValueError(
                f"{s} holds {v.dtype} examples of shape {tuple(v.shape[1:])}, train {x['train'].dtype} of"
                f" {tuple(x['train'].shape[1:])}; all splits must agree"
            )
    given = {s for s, part in parts.items() if part[1] is not None}
    if given and given != set(parts):
        raise ValueError(f"labels are given for {sorted(given)} but not for {sorted(set(parts) - given)}")
    y: dict[str, Tensor | None] = dict.fromkeys(x)
    if given:
        # encoded together, so that one name is one number in every split
        each = [np.asarray(p[1].detach().cpu() if isinstance(p[1], Tensor) else p[1]) for p in parts.values()]
        for s, own in zip(x, each, strict=True):
            as_labels(own, len(x[s]), f"labels of {s}" if len(x) > 1 else "labels")
        joint, names = as_labels(np.concatenate(each), sum(map(len, each)))
        classes = classes or names
        y = dict(zip(x, joint.split([len(v) for v in x.values()]), strict=True))

    want = held_out(len(x["train"]), valid * ("valid" not in x), test * ("test" not in x))
    train, labels = x["train"], y["train"]
    order = torch.arange(len(train))
    if any(want):  # where nothing is held out, the order stays
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    for s, i in zip(("valid", "test", "train"), order.split([*want, len(train) - sum(want)]), strict=True):
        if s not in parts or (s == "train" and any(want)):
            x[s], y[s] = train[i.to(train.device)], None if labels is None else labels[i]
    (a, b, c), (ya, yb, yc) = (x[s] for s in SPLITS), (y[s] for s in SPLITS)
    return Dataset(name, a, b, c, ya, yb, yc, classes, source)


def from_arrays(
    x: Any, labels: Any = None, *, name: str = "array", seed: int = 0, valid: float = 0.1, test: float = 0.1
) -> Dataset:
    """A `Dataset` of an array: `as_examples`, then a random split that is the same for the same seed.

    Args:
        x: images or a table, as `as_examples` accepts them.
        labels: one for each example; text becomes int64 classes, integers int64, floats float32.
        valid, test: fractions to hold out, rounded, at least one example where positive; 0 leaves that split
            empty. Two examples at least stay in train, however few there are.

    >>> from_arrays(np.eye(10), valid=0.2, test=0)
    Dataset('array': table rows 10 float32, 8 + 2 + 0 (train + valid + test); array)
    """
    return assemble(name, {"train": (x, labels)}, seed=seed, valid=valid, test=test, source="array")
