"""Turn users' arrays into examples: checked, in one layout and dtype, and split without overlap."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from chartae.data.foreign import is_array_like, remedy_for
from chartae.data.levels import channels_first, channels_last_of, in_unit, levels_in_unit, white_of
from chartae.maths.rows import row_blocks
from chartae.records.files import quoted

__all__ = ["SPLITS", "as_examples", "as_labels", "as_tensor", "gathered", "give_back", "held_out", "splits"]

SPLITS = ("train", "valid", "test")


def as_tensor(x: object, what: str = "x") -> Tensor:
    """Convert `x` to a detached tensor of real numbers, without a copy where possible.

    Args:
        x: numpy array, torch tensor, list of tensors, (nested) list of numbers or numeric data frame.
        what: name of `x` in error messages; default "x".

    Returns:
        Tensor of the same shape. Unsigned integers wider than 8 bits become int64, or float64 if int64 does not hold
        them, and floats wider than 64 bits float64; other dtypes are unchanged. Memory is shared with `x` where torch
        can do so.

    Raises:
        TypeError: `x` is text, an object array, complex or sparse.
        ValueError: `x` is ragged or has masked values.

    >>> import numpy as np
    >>> from chartae.data import as_tensor
    >>> as_tensor(np.array([[1, 2], [3, 4]], np.uint16))
    tensor([[1, 2],
            [3, 4]])
    """
    if isinstance(x, list | tuple) and x and all(isinstance(row, Tensor) for row in x):
        if len({row.shape for row in x}) > 1:
            raise ValueError(f"{what} is ragged: its rows differ in length; expected a rectangular array.")
        x = torch.stack([row.detach() for row in x])
    if not isinstance(x, Tensor):
        if np.ma.is_masked(x):
            raise ValueError(f"{what} has masked (missing) values; expected none. Drop or impute them.")
        if not is_array_like(x):
            raise TypeError(_no_numbers(x, np.empty((), object), what))
        try:
            a = np.asarray(x)
        except TypeError as e:
            raise TypeError(_no_numbers(x, np.empty((), object), what)) from e
        except ValueError as e:
            remedy = " For (examples, labels), give chartae.data.from_arrays(*x)." if isinstance(x, tuple) else ""
            raise ValueError(
                f"{what} is ragged: its rows differ in length; expected a rectangular array.{remedy}"
            ) from e
        if a.dtype.kind not in "biufc":
            raise TypeError(_no_numbers(x, a, what))
        if a.dtype.kind == "u" and a.dtype.itemsize > 1:
            beyond = a.dtype.itemsize == 8 and a.size > 0 and a.max() > np.iinfo(np.int64).max
            a = a.astype(np.float64 if beyond else np.int64)
        elif a.dtype.kind == "f" and a.dtype.itemsize > 8:
            a = a.astype(np.float64)
        # torch shares memory only with writable native arrays of positive strides
        if not (a.flags.writeable and a.dtype.isnative) or any(s < 0 for s in a.strides):
            a = a.astype(a.dtype.newbyteorder("="), order="C")
        x = torch.from_numpy(a)
    x = x.detach()
    if x.dtype in (torch.uint16, torch.uint32, torch.uint64):  # torch computes little with them
        x = as_tensor(x.cpu().numpy(), what).to(x.device)
    if x.is_complex():
        raise TypeError(f"{what} is complex ({x.dtype}); expected real numbers. Give its real and imaginary parts.")
    if x.layout != torch.strided:
        raise TypeError(f"{what} is a sparse tensor; expected a dense one. Call .to_dense() on it.")
    return x


def _no_numbers(x: object, a: np.ndarray[tuple[int, ...], np.dtype[np.generic]], what: str) -> str:
    """The message about what NumPy does not read as numbers."""
    if a.ndim == 0 and a.dtype.kind == "O":
        return f"{what} is {_article(type(x).__name__)}; expected an array of numbers. {remedy_for(x)}"
    if a.dtype.names:
        return f"{what} has the columns {', '.join(a.dtype.names)}; expected an array without names. Give a data frame."
    if a.dtype.kind in "SUT":
        return f"{what} holds text (dtype {a.dtype}); expected numbers. Convert it with .astype(float), or encode it."
    first = next(iter(a.flat), None)
    return (
        f"{what} has dtype {a.dtype} and holds {_article(type(first).__name__)}; expected numbers. {remedy_for(first)}"
    )


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOUaeiou' else 'a'} {noun}"


def as_examples(
    x: object, *, at_least: int = 2, channels_last: bool | None = None, white: int | None = None,
    names: Sequence[str | int] = (),
) -> Tensor:  # fmt: skip
    """Check an array of examples and convert it to the layout and dtype that the library works with.

    Numpy arrays, torch tensors and anything that `numpy.asarray` converts to numbers are accepted:

    * Tables (n, d): any real dtype becomes float32 (booleans become 0 and 1). Values may have any range and are
      unchanged.
    * Images (n, h, w), (n, c, h, w) or channels-last (n, h, w, c) become (n, c, h, w). Booleans become uint8 0 and
      255; integers in 0..255 become uint8; integers up to `white` become float32 in [0, 1]; floats become float32
      and must lie in [0, 1], but for a rounding error of 0.001, which is clipped.

    Args:
        x: array of examples. It is copied only where layout or dtype must change.
        at_least: smallest number of examples; default 2. With 1 (to apply a fitted model rather than to fit one),
            the checks of the set as a whole, such as for constant data, are skipped.
        channels_last: for images of 4 dimensions: whether the last axis holds the channels. By default, the axis of
            1, 3 or 4 does, otherwise the first or the last one that is smaller than the other two; where sizes do not
            decide, a `chartae.data.notes.Guess` warns.
        white: for images of integers: the level that becomes 1; >= 1. By default 255, and for greater levels up to
            65535 the smallest 2^k - 1 that holds them, with a warning unless that is 65535.
        names: names of the columns of a table, for messages; none by default.

    Returns:
        Contiguous tensor: (n, d) float32 for tables, (n, c, h, w) uint8 or float32 for images.

    Raises:
        TypeError: `x` is text, an object array, complex or sparse.
        ValueError: there are too few examples, `x` has a wrong number of dimensions or is one image, holds NaN or
            infinity, or all examples are identical; or images hold negative integers or those above 65535, floats
            outside [0, 1], or integers of only 0 and 1.

    >>> import numpy as np
    >>> from chartae.data import as_examples
    >>> images = as_examples(np.array([[[0, 128], [255, 3]], [[1, 2], [3, 4]]]))
    >>> images.shape, images.dtype
    (torch.Size([2, 1, 2, 2]), torch.uint8)
    >>> as_examples(np.linspace(0, 1, 5 * 28 * 28 * 3).reshape(5, 28, 28, 3)).shape  # channels-last
    torch.Size([5, 3, 28, 28])
    """
    x = as_tensor(x)
    _check_dimensions(x, at_least, channels_last)
    if x.ndim == 2:
        x = _finite(x, names)
    else:
        last = False
        if x.ndim == 4:
            last = channels_last_of(x.shape)[0] if channels_last is None else channels_last
        x = _pixels(channels_first(x, last), white)
    if at_least > 1 and torch.equal(x[0], x[1]) and bool((x == x[0]).all()):
        raise ValueError(f"all {len(x)} examples of x are identical; expected data that vary.")
    return x.contiguous()


def _check_dimensions(x: Tensor, at_least: int, channels_last: bool | None) -> None:
    """Raise ValueError unless `x` can hold rows or images, and is not one image where several are expected."""
    shape = tuple(x.shape)
    if x.ndim not in (2, 3, 4):
        remedy = " Use x.reshape(-1, 1) for a single column." if x.ndim == 1 else ""
        raise ValueError(
            f"x has shape {shape}; expected a table (n, d), or images (n, h, w), (n, c, h, w) or (n, h, w, c).{remedy}"
        )
    if x.numel() == 0:
        raise ValueError(f"x is empty (shape {shape}); expected at least {at_least} examples.")
    if len(x) < at_least:
        raise ValueError(f"x has {len(x)} example{'s' * (len(x) > 1)} (shape {shape}); expected at least {at_least}.")
    if channels_last is not None and x.ndim == 3:
        raise ValueError(
            f"channels_last is {channels_last}; expected None, as x of shape {shape} has no axis of channels. Leave it"
            " out."
        )
    if at_least > 1 and x.ndim == 3 and shape[2] in (3, 4) and min(shape[:2]) >= 8:
        raise ValueError(
            f"x has shape {shape}, that of one image (h, w, c); expected several, (n, h, w, c). Stack them, or give"
            f" x[:, None] for {shape[0]} grey images of {shape[1]}x{shape[2]} pixels (height x width)."
        )


def _finite(x: Tensor, names: Sequence[str | int] = ()) -> Tensor:
    """Numbers as float32; ValueError for NaN and infinity."""
    wide, x = x, x.to(torch.float32)
    lo, hi = (float(v) for v in x.aminmax())  # one pass; NaN propagates
    if not (np.isfinite(lo) and np.isfinite(hi)):
        bad = ~x.isfinite().flatten(1).all(1)
        first, count = int(bad.nonzero()[0]), int((~x.isfinite()).sum())
        why = "NaN or infinite" if not wide.isfinite().all() else "beyond the range of float32"
        where = f"row {first}"
        if x.ndim == 2:
            column = int((~x[first].isfinite()).nonzero()[0])
            where += f", column {quoted(names[column], 200)}" if names else f", column {column + 1}"
        raise ValueError(
            f"{count} value{'s' * (count > 1)} of x in {int(bad.sum())} of {len(x)} examples"
            f" {'are' if count > 1 else 'is'} {why} (first: {where}); expected finite numbers."
            " Drop or impute these rows."
        )
    return x


def _pixels(x: Tensor, white: int | None) -> Tensor:
    """Images as uint8 levels 0..255 or as floats in [0, 1]."""
    if x.is_floating_point():
        return in_unit(_finite(x))
    if x.dtype == torch.bool:
        return x.to(torch.uint8).mul_(255)
    lo, hi = (int(v) for v in x.aminmax())
    if white is None and lo >= 0 and hi == 1:
        raise ValueError(
            "x holds integer images of only 0 and 1, which are almost black as levels; expected levels 0..255."
            " Give binary images as x.astype(bool), or as 0 and 255."
        )
    if white is None and lo >= 0 and hi > 255:
        white = white_of(hi, "x")[0]
    return levels_in_unit(x, white)


def as_labels(labels: object, n: int, what: str = "labels") -> tuple[Tensor, tuple[str, ...]]:
    """Convert the labels of `n` examples to a tensor, and list the names of their classes.

    Text becomes int64 class numbers, in the sorted order of the names; the text "-1" becomes -1, an unknown label.

    Args:
        labels: one label for each example: text, integers or floats; (n,), (n, 1) or (n, k).
        n: number of examples.
        what: what to call the labels in error messages.

    Returns:
        (tensor, names): int64 for text and integers, float32 for floats; no names unless the labels are text.

    Raises:
        ValueError: there is not one label for each example, or a label is NaN or infinite.
        TypeError: the labels are neither numbers nor text.
    """
    a = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if a.ndim == 2 and a.shape[1] == 1:
        a = a[:, 0]
    if a.ndim == 0 or len(a) != n:
        have = f"shape {a.shape}" if a.ndim != 1 else f"{len(a)} entries"
        raise ValueError(f"{what} have {have} for {n} examples; expected one label for each.")
    if a.dtype.kind == "O" and all(isinstance(v, str) for v in a.flat):
        a = a.astype(str)
    if a.dtype.kind in "US":
        names, codes = np.unique(a.astype(str), return_inverse=True)
        codes = codes.astype(np.int64).reshape(a.shape)
        if "-1" in names:  # an unknown label
            at = int(np.searchsorted(names, "-1"))
            codes = np.where(codes == at, -1, codes - (codes > at))
        return torch.from_numpy(codes), tuple(str(name) for name in names if name != "-1")
    y = as_tensor(a, what)
    if not y.is_floating_point():
        return y.to(torch.int64), ()
    if not y.isfinite().all():
        raise ValueError(
            f"{what} hold NaN or infinity (first: row {int((~y.isfinite()).nonzero()[0][0])}); expected finite numbers."
            " Drop these rows."
        )
    return y.to(torch.float32), ()


def held_out(n: int, valid: float, test: float) -> tuple[int, int]:
    """Numbers of examples, of `n`, that are held out for (valid, test).

    Each is the rounded fraction, at least 1 if the fraction is positive; at least 2 examples stay in train.

    Raises:
        ValueError: a fraction is outside [0, 1), or their sum is 1 or more.
    """
    for name, f in (("valid", valid), ("test", test)):
        if not 0 <= f < 1:
            raise ValueError(f"{name} is {f}; expected a fraction of the examples, 0 <= {name} < 1.")
    if valid + test >= 1:
        raise ValueError(
            f"valid is {valid} and test is {test}, which leave nothing to train on; expected a sum below 1."
        )
    n_test = min(max(1, round(n * test)), max(n - 2, 0)) if test else 0
    n_valid = min(max(1, round(n * valid)), max(n - n_test - 2, 0)) if valid else 0
    return n_valid, n_test


def gathered(x: Tensor, rows: Mapping[str, Tensor], source: object = None) -> dict[str, Tensor]:
    """Copy the rows of each split.

    Rows are read in their order. Pages of a memory map are given back once they are copied, so that at most one copy of
    the data is in memory.

    Args:
        x: (N, ...) examples.
        rows: disjoint row numbers of each split, as `splits` returns them.
        source: what `x` was converted from; its pages are given back if it is a memory map. None (default) for no map.

    Returns:
        ``x[rows[split]]`` for each split.
    """
    split_of = torch.full((len(x),), -1, dtype=torch.int8)
    place = torch.zeros(len(x), dtype=torch.int64)
    parts: dict[str, Tensor] = {}
    for number, (split, numbers) in enumerate(rows.items()):
        split_of[numbers], place[numbers] = number, torch.arange(len(numbers))
        parts[split] = x.new_empty((len(numbers), *x.shape[1:]))
    for block in row_blocks(x.shape):
        examples = x[block]
        for number, part in enumerate(parts.values()):
            chosen = split_of[block] == number
            part[place[block][chosen].to(x.device)] = examples[chosen.to(x.device)]
        give_back(source)
    return parts


def give_back(source: object) -> None:
    """Give the pages of a memory map back to the system, which reads them again where they are used.

    Does nothing for anything else, and on systems without `madvise`. Nothing may have been written to the map.
    """
    pages = getattr(source, "base", None) if isinstance(source, np.memmap) else None
    if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def splits(n: int, valid: float, test: float, seed: int) -> dict[str, Tensor]:
    """Row numbers of each split of `n` examples, at random; in order if nothing is held out.

    Args:
        n: number of examples.
        valid, test: fractions to hold out, in [0, 1), with a sum below 1.
        seed: seed of the random order.

    Returns:
        ``{"train": rows, "valid": rows, "test": rows}``: disjoint int64 tensors.

    Raises:
        ValueError: a fraction is outside [0, 1), or their sum is 1 or more.
    """
    sizes = held_out(n, valid, test)
    order = torch.arange(n)
    if any(sizes):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    v, t, train = order.split([*sizes, n - sum(sizes)])
    return {"train": train, "valid": v, "test": t}
