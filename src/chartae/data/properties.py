"""Properties of molecules that can be a target by name, computed by RDKit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chartae.metrics import molecules

__all__ = ["TARGETS", "measured"]

#: properties of molecules that can be a target by name
TARGETS = (*molecules.PROPERTIES, "penalised-logp")


def measured(name: str, strings: Sequence[str]) -> NDArray[np.float64]:
    """A property of each of N molecules.

    Args:
        name: one of `TARGETS`.
        strings: SMILES.

    Returns:
        (N,) numbers, NaN for strings that are no molecules.

    Raises:
        ValueError: an unknown name.
        ImportError: RDKit is not installed.
    """
    if name == "penalised-logp":
        return molecules.penalised_logp(strings)
    return molecules.properties(strings, [name])[name]


def string_data(recipe, data, grammar=None, **settings):  # type: ignore[no-untyped-def]
    """Superseded by `chartae.data.read`; here until runs and estimator read by it."""
    from dataclasses import replace

    from chartae.data.reading import Reading, Strings, read

    own = {key: settings.pop(key) for key in ("seed", "valid", "test") if key in settings}
    grammar = "characters" if grammar is None and recipe == "cvae" else grammar
    out = read(data, kinds=[Strings], reading=Reading(grammar=grammar, **settings), **own)
    return replace(out, train_labels=out.train_target, valid_labels=out.valid_target, test_labels=out.test_target)
