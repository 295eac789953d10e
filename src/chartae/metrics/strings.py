"""Sets of strings: placeholders until the helper's version is merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def string_summary(strings: Sequence[str], training: Sequence[str], reference: Sequence[str]) -> dict[str, Any]:
    valid = [s for s in strings if s]
    u = set(valid)
    t = set(training)
    return {
        "valid": len(valid) / len(strings),
        "unique": len(u) / max(1, len(valid)),
        "novel": sum(s not in t for s in u) / max(1, len(u)),
    }
