"""Write and read chartae's files atomically: text, and safetensors with a header that names their kind. No pickle."""

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
    """Write tensors and plain facts atomically: an old file stays until the new one is complete.

    Args:
        path: the file; its folder is created if it does not exist.
        tensors: tensors by name.
        kind: kind of file, such as ``"weights"``, which the header names.
        facts: values that JSON can hold.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"chartae": kind, "version": str(VERSION), "facts": json.dumps(facts)}
    part = path.with_name(f".{path.name}.part")
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, part, metadata=header)
    os.replace(part, path)


def read_tensors(path: str | Path, *, kind: str, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and facts that `write_tensors` wrote.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or is not a chartae file of this kind.
    """
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
    """Write a text file atomically: an old file stays until the new one is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
