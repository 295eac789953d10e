"""Properties of molecules that can be selected as a target by name; RDKit computes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chartae.metrics import molecules

__all__ = ["TARGETS", "molecule_property"]

#: names of the properties of molecules that can be a target
TARGETS = (*molecules.PROPERTIES, "penalised-logp")


def molecule_property(name: str, strings: Sequence[str]) -> NDArray[np.float64]:
    """Compute a property of each of N molecules.

    Args:
        name: one of `TARGETS`.
        strings: SMILES.

    Returns:
        (N,) values; NaN for strings that are not molecules.

    Raises:
        ValueError: the name is unknown.
        ImportError: RDKit is not installed.
    """
    if name == "penalised-logp":
        return molecules.penalised_logp(strings)
    return molecules.properties(strings, [name])[name]
