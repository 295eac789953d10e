"""The form of the examples that an estimator was fitted to: how they are checked, and given back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, validate_data
from torch import Tensor

from chartae.data import Dataset
from chartae.data.columns import Frame, is_frame
from chartae.data.kinds.base import dimensions, shape_of
from chartae.data.lines import is_string_list

__all__ = ["Examples", "Form", "checked", "whole"]

#: examples of the type and layout of the `X` of `fit`
Examples: TypeAlias = np.ndarray | list[str] | Frame


@dataclass(frozen=True)
class Form:
    """The layout and dtype of the array passed to `fit`, which the examples that are returned also have.

    Attributes:
        shape: shape of one example.
        dtype: dtype of the returned numbers: that of the input if it is integer or boolean, otherwise float32.
    """

    shape: tuple[int, ...] = ()
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.float32))

    @classmethod
    def of(cls, x: object) -> Form:
        """The layout and dtype of an array; empty for other types, such as data frames, which `Run` restores itself."""
        if not isinstance(x, np.ndarray):
            return cls()
        return cls(x.shape[1:], x.dtype if x.dtype.kind in "biu" else np.dtype(np.float32))

    def restore(self, x: Tensor, unit: bool) -> np.ndarray:
        """Convert examples to this layout and dtype.

        Args:
            x: examples (n, *shape), as the run returns them.
            unit: whether they are images in [0, 1], which become 0..255 for an integer dtype.
        """
        # the model sees (C, H, W); channels-last is the only layout whose axes are in another order
        if x.ndim == 4 and len(self.shape) == 3 and tuple(x.shape[1:]) != self.shape:
            x = x.permute(0, 2, 3, 1)
        values = x.reshape(len(x), *self.shape).numpy(force=True)
        if self.dtype.kind == "b":
            return values >= 0.5
        if self.dtype.kind in "iu":
            info = np.iinfo(self.dtype)
            largest = 255.0 if unit else np.nextafter(float(info.max), 0)  # float64 cannot hold the largest int64
            smallest = 0.0 if unit else float(info.min)
            values = (values.astype(np.float64) * (255 if unit else 1)).round().clip(smallest, largest)
        return values.astype(self.dtype)


def checked(estimator: BaseEstimator, X: object, *, reset: bool) -> Examples:
    """Validate examples by scikit-learn's rules; the run's own reader checks everything else.

    Args:
        estimator: the estimator, whose `n_features_in_` and `feature_names_in_` are set or compared.
        X: n examples in any form that `fit` accepts.
        reset: whether `X` is fitted to; otherwise it is compared with the fitted examples.

    Returns:
        The examples: a list of strings, a data frame, or an array of numbers.

    Raises:
        ValueError, TypeError: the examples are invalid, or differ from those of `fit`.
    """
    if isinstance(X, str | os.PathLike | Dataset):
        raise TypeError(f"X is a {type(X).__name__}; expected an array, a data frame or a list of strings")
    if isinstance(X, Tensor):
        X = X.numpy(force=True)
    strings = _strings(X)
    if strings is not None:
        return strings
    if is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X
    settings = {"dtype": "numeric", "ensure_min_samples": 2 if reset else 1}
    if dimensions(X) > 2:
        images: np.ndarray = check_array(X, allow_nd=True, **settings)
        validate_data(estimator, images.reshape(len(images), -1), reset=reset, skip_check_array=True)
        return images
    table: np.ndarray = validate_data(estimator, X, reset=reset, **settings)
    return table


def whole(name: str, value: object) -> int:
    """A parameter as a whole number >= 1, such as an element of an array of numbers to search over.

    Args:
        name: name of the parameter, for the message.
        value: its value.

    Raises:
        ValueError: the value is no whole number, or below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1.")
    return int(value)


def _strings(X: object) -> list[str] | None:
    """The strings of a list, of an array or of the one column of a data frame; None if it holds no strings.

    Raises:
        ValueError: some rows are strings and others are not.
    """
    is_list, shape = is_string_list(X), shape_of(X) or ()
    if not (is_list or len(shape) == 1 or shape[1:] == (1,)):
        return None
    rows = np.asarray(X, dtype=object if is_list else None).reshape(-1)
    others = [i for i, row in enumerate(rows) if not isinstance(row, str)] if rows.dtype.kind in "OUT" else rows
    if len(others) == len(rows):
        return None
    if len(others):
        raise ValueError(
            f"X holds strings, but row {others[0]} is {rows[others[0]]!r} ({len(others)} of {len(rows)} rows are no "
            "strings); expected a string in each row. Drop or fill these rows."
        )
    return [str(row) for row in rows]
