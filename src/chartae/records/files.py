"""Files of ours: safetensors with a header that says what they are. Never a pickle; written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["read_tensors", "replace_text", "write_tensors"]

VERSION = 1


def write_tensors(path: str | Path, tensors: dict[str, Tensor], *, kind: str, facts: dict[str, Any]) -> None:
    """Write tensors and plain facts; the old file stays until the new one is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"chartae": kind, "version": str(VERSION), "facts": json.dumps(facts)}
    part = path.with_name(f".{path.name}.part")
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, part, metadata=header)
    os.replace(part, path)


def read_tensors(path: str | Path, *, kind: str, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote; anything else is a ValueError that says what is wrong with the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {kind} at {path}")
    try:
        with safe_open(path, framework="pt", device=device) as f:
            header = f.metadata() or {}
            if header.get("chartae") != kind:
                raise ValueError(
                    f"{path} is not a chartae {kind} (its header says {header.get('chartae', 'nothing')!r})"
                )
            if int(header["version"]) > VERSION:
                raise ValueError(f"{path} was written by a newer chartae (format {header['version']}); update chartae")
            facts = json.loads(header["facts"])
            return {key: f.get_tensor(key) for key in f.keys()}, facts  # noqa: SIM118 - not a dict
    except (SafetensorError, json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged or not a chartae {kind}: {error}") from error


def replace_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
