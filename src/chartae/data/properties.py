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
