"""Strings, made ready for a recipe: with a codec found for them, and with a property of molecules by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chartae.data import Dataset, from_strings, is_strings, read_strings
from chartae.grammar import CODECS, Codec
from chartae.grammar import NAMES as GRAMMARS
from chartae.metrics import molecules

__all__ = ["TARGETS", "string_data"]

#: properties of molecules that can be a target by name
TARGETS = (*molecules.PROPERTIES, "penalised-logp")


def string_data(recipe: str, data: Any, grammar: str | Path | Codec | None = None, **settings: Any) -> Dataset:
    """Strings as a recipe for them takes them.

    Args:
        recipe: one for strings; `cvae` alone needs no grammar, and then takes single characters.
        data: a list of strings, or a file of them.
        grammar: as the `codec` of `chartae.data.from_strings`.
        settings: those of `chartae.data.from_strings`; its target may also be one of `TARGETS`, computed by RDKit.

    Raises:
        ValueError: no grammar, no strings, and what `chartae.data.from_strings` refuses.
        ImportError: a target of `TARGETS` without RDKit.
    """
    if grammar is None:
        if recipe != "cvae":
            raise ValueError(
                f"recipe {recipe!r} needs a grammar: one of {', '.join(GRAMMARS)}, a file of one (.lark, or a list of "
                f"productions), or a codec without a grammar: {', '.join(CODECS)}"
            )
        grammar = "characters"
    if not is_strings(data):
        given = f"{data!r}" if isinstance(data, str | Path) else f"a {type(data).__name__}"
        raise ValueError(
            f"recipe {recipe!r} is for strings: a list of them, or a file (.txt, .smi, .csv, .tsv, also with .gz), "
            f"not {given}"
        )
    target = settings.get("target")
    if isinstance(target, str) and target in TARGETS:
        listed = data
        if isinstance(data, str | Path):
            listed = read_strings(data, column=settings.get("column"), limit=settings.get("limit"))
        settings["target"] = _measured(target, listed[: settings.get("limit")])
    return from_strings(data, grammar, **settings)


def _measured(name: str, strings: Sequence[str]) -> np.ndarray:
    return (
        molecules.penalised_logp(strings) if name == "penalised-logp" else molecules.properties(strings, [name])[name]
    )
