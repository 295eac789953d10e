"""Sets of strings of any grammar against each other: how many, how different, how new, how long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["Summary", "string_summary", "wasserstein"]

#: numbers by name, None for what cannot be said; under ``notes``, why
Summary = dict[str, float | dict[str, str] | None]


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """The Wasserstein-1 distance of two sets of numbers: the area between their distribution functions.

    >>> wasserstein(np.array([0.0, 1.0]), np.array([2.0]))
    1.5
    """
    a, b = np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))
    if not len(a) or not len(b):
        raise ValueError(f"there are {len(a)} and {len(b)} numbers; expected at least one in each set")
    both = np.sort(np.concatenate([a, b]))
    steps = [np.searchsorted(x, both[:-1], side="right") / len(x) for x in (a, b)]
    return float((np.abs(steps[0] - steps[1]) * np.diff(both)).sum())


def string_summary(strings: Sequence[str], training: Sequence[str], reference: Sequence[str] | None = None) -> Summary:
    """What can be said of generated strings without knowing what they mean.

    ``count``; ``complete``, the share that is not empty (a derivation that was cut off is written as the empty string);
    of these ``unique``, the share that is different, and ``novel``, the share of the different ones that are not in
    `training`; ``mean_length`` in characters, ``reference_length``, and ``length_distance``, the Wasserstein-1 distance
    between the lengths and those of `reference` (by default, of `training`). What cannot be said is None, and ``notes``
    says why.

    >>> found = string_summary(["x+1", "x+1", "x", ""], training=["x", "1+x+x"])
    >>> found["complete"], found["novel"], round(found["mean_length"], 2), round(found["length_distance"], 2)
    (0.75, 0.5, 2.33, 1.33)
    """
    given = {"strings": strings, "training": training, "reference": training if reference is None else reference}
    for what, some in given.items():
        if isinstance(some, str):
            raise TypeError(f"{what} is the one string {some[:40]!r}; expected a list of strings")
    found: Summary = {"count": len(strings)}
    notes: dict[str, str] = {}
    written = [s for s in strings if s]
    different, known = set(written), set(training)
    own, other = ([len(s) for s in some if s] for some in (written, given["reference"]))
    nothing = "no string is complete" if len(strings) else "there are no strings"
    values: dict[str, tuple[float | None, str]] = {
        "complete": (len(written) / len(strings) if len(strings) else None, nothing),
        "unique": (len(different) / len(written) if written else None, nothing),
        "novel": (len(different - known) / len(different) if different else None, nothing),
        "mean_length": (float(np.mean(own)) if own else None, nothing),
        "reference_length": (float(np.mean(other)) if other else None, "the reference holds no strings"),
        "length_distance": (
            wasserstein(np.array(own), np.array(other)) if own and other else None,
            "the reference holds no strings" if own else nothing,
        ),
    }
    for name, (value, reason) in values.items():
        found[name] = value
        if value is None:
            notes[name] = reason
    return found | {"notes": notes}
