"""Metrics of generated strings of any grammar: how many are complete, unique and novel, and how long they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["Summary", "string_summary", "wasserstein"]

#: a value by name, None where it cannot be computed; ``notes`` says why
Summary = dict[str, float | dict[str, str] | None]


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Wasserstein-1 distance of two sets of numbers: the area between their distribution functions.

        integral abs(F_a(t) - F_b(t)) dt.

    Args:
        a: the first set of numbers (N,), N >= 1.
        b: the second set of numbers (M,), M >= 1.

    Returns:
        The distance, in the units of the numbers.

    Raises:
        ValueError: one of the sets is empty.

    >>> import numpy as np
    >>> from chartae.metrics import wasserstein
    >>> wasserstein(np.array([0.0, 1.0]), np.array([2.0]))
    1.5
    """
    a, b = np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))
    if not len(a) or not len(b):
        raise ValueError(f"a and b hold {len(a)} and {len(b)} numbers; expected at least one in each")
    both = np.sort(np.concatenate([a, b]))
    steps = [np.searchsorted(x, both[:-1], side="right") / len(x) for x in (a, b)]
    return float((np.abs(steps[0] - steps[1]) * np.diff(both)).sum())


def string_summary(strings: Sequence[str], training: Sequence[str], reference: Sequence[str] | None = None) -> Summary:
    """Metrics of generated strings that need no knowledge of their meaning.

    Args:
        strings: generated strings. An empty string stands for a derivation that was cut off, and counts as incomplete.
        training: training strings, which new strings are compared with.
        reference: strings whose lengths are compared with; by default those of `training`.

    Returns:
        A dictionary of

        - ``count``: number of strings;
        - ``complete``: share of the strings that are not empty;
        - ``unique``: number of different complete strings, as a share of the complete ones;
        - ``novel``: share of the different complete strings that are not in `training`;
        - ``mean_length``, ``reference_length``: mean length in characters, of the complete strings and of `reference`;
        - ``length_distance``: Wasserstein-1 distance between the lengths of these two sets;
        - ``notes``: for each value that cannot be computed (it is None), the reason.

    Raises:
        TypeError: an argument is a single string.

    >>> from chartae.metrics import string_summary
    >>> summary = string_summary(["x+1", "x+1", "x", ""], training=["x", "1+x+x"])
    >>> summary["complete"], summary["novel"], round(summary["mean_length"], 2), round(summary["length_distance"], 2)
    (0.75, 0.5, 2.33, 1.33)
    """
    compared = training if reference is None else reference
    for name, argument in (("strings", strings), ("training", training), ("reference", compared)):
        if isinstance(argument, str):
            raise TypeError(f"{name} is the single string {argument[:40]!r}; expected a list of strings")
    summary: Summary = {"count": len(strings)}
    notes: dict[str, str] = {}
    complete = [s for s in strings if s]
    different, known = set(complete), set(training)
    lengths, reference_lengths = ([len(s) for s in group if s] for group in (complete, compared))
    empty = "no string is complete" if len(strings) else "there are no strings"
    values: dict[str, tuple[float | None, str]] = {
        "complete": (len(complete) / len(strings) if len(strings) else None, empty),
        "unique": (len(different) / len(complete) if complete else None, empty),
        "novel": (len(different - known) / len(different) if different else None, empty),
        "mean_length": (float(np.mean(lengths)) if lengths else None, empty),
        "reference_length": (
            float(np.mean(reference_lengths)) if reference_lengths else None,
            "the reference holds no strings",
        ),
        "length_distance": (
            wasserstein(np.array(lengths), np.array(reference_lengths)) if lengths and reference_lengths else None,
            "the reference holds no strings" if lengths else empty,
        ),
    }
    for name, (value, reason) in values.items():
        summary[name] = value
        if value is None:
            notes[name] = reason
    return summary | {"notes": notes}
