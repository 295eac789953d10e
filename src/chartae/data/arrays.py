"""Arrays of users become examples: checked, in one layout and type, and split without overlap."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["SPLITS", "as_examples", "as_labels", "as_tensor", "held_out", "splits"]

SPLITS = ("train", "valid", "test")


def as_tensor(x: object, what: str = "x") -> Tensor:
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


def as_examples(x: object, *, at_least: int = 2) -> Tensor:
    """`x` as checked examples in the layout and type that everything downstream expects.

    Accepted are numpy arrays, torch tensors and what `numpy.asarray` makes numbers of:

    * tables (n, d): any real type becomes float32 (booleans 0 and 1), values unchanged, any range;
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
            or floats outside [0, 1] in images, integer images of only 0 and 1, examples that are all identical.

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

    if x.is_floating_point() or not image:
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
                "x holds integer images of only 0 and 1, which as levels 0..255 would be black; give binary images as"
                " x.astype(bool) or 0 and 255"
            )
        x = x.to(torch.uint8)

    if at_least > 1 and torch.equal(x[0], x[1]) and bool((x == x[0]).all()):
        raise ValueError(f"all {len(x)} examples of x are identical; there is nothing to learn from constant data")
    return x.contiguous()


def as_labels(labels: object, n: int, what: str = "labels") -> tuple[Tensor, tuple[str, ...]]:
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


def splits(n: int, valid: float, test: float, seed: int) -> dict[str, Tensor]:
    """The row numbers of each split of `n` examples, drawn by `seed`; where nothing is held out, the order stays.

    Args:
        n: number of examples.
        valid, test: fractions to hold out, as in `held_out`.
        seed: of the random order.

    Returns:
        ``{"train": rows, "valid": rows, "test": rows}``, int64, which share no row.
    """
    sizes = held_out(n, valid, test)
    order = torch.arange(n)
    if any(sizes):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    v, t, train = order.split([*sizes, n - sum(sizes)])
    return {"train": train, "valid": v, "test": t}
