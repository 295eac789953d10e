"""Objectives that misbehave, as a module that other processes can import."""

from __future__ import annotations

import os
import time


def length(string: str) -> float:
    return float(len(string))


def bad(string: str) -> float | None:
    match string:
        case "raise":
            raise RuntimeError("no such thing")
        case "nan":
            return float("nan")
        case "none":
            return None
        case "word":
            return "high"  # type: ignore[return-value]
        case "die":
            os._exit(3)
        case "sleep":
            time.sleep(60)
    return float(len(string))
