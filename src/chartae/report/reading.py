"""A run folder, or a comparison's, read and checked: plain values, or an error that names the file."""

from __future__ import annotations

import json
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]
#: what NumPy and zipfile raise on a file that is no .npz, or is cut short, or has a wrong bit
DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, NotImplementedError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclass(frozen=True)
class _Run:
    settings: dict[str, Any]
    log: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Any] | None = None
    arrays: dict[str, _Array] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Any]:
        """One mapping of the results, empty if it is absent."""
        return _mapping((self.results or {}).get(name), f"{name} in results.json")


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{what} is a {type(value).__name__}; a mapping of names to values is expected")
    return value


def _mappings(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value or [], list):
        raise ValueError(f"{what} is a {type(value).__name__}; a list is expected")
    return [_mapping(item, f"an item of {what}") for item in value or []]


def _json(path: Path) -> dict[str, Any]:
    try:
        return _mapping(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise ValueError(f"{path} is damaged: {error}") from error


def _log(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    number = 0
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines, 1):  # noqa: B007 - the error names it
            if line.strip():
                rows.append(_mapping(json.loads(line), "a row"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged in line {number}: {error}") from error
    return rows


def _arrays(path: Path) -> dict[str, _Array]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    for name, x in arrays.items():
        if name == "latent_labels":
            codes = arrays.get("latent", x)
            right, form = x.ndim == 1 and len(x) == len(codes), f"one label for each of {len(codes)} codes"
        elif name in ("latent", "data_2d") or name.startswith(("latent_", "samples_2d_")):
            right, form = x.ndim == 2 and x.shape[1] == 2 and x.dtype.kind in "iuf", "numbers (n, 2)"
        elif name.startswith("interpolation_"):
            right, form = x.ndim == 5 and x.dtype == np.uint8, "uint8 (rows, steps, C, H, W)"
        elif name in ("originals", "reconstructions") or name.startswith("samples_"):
            right, form = x.ndim == 4 and x.dtype == np.uint8, "uint8 (k, C, H, W)"
        else:
            continue
        if not right:
            raise ValueError(f"{path}: {name} is {x.dtype} {x.shape}; {form} is expected")
    originals, partners = arrays.get("originals"), arrays.get("reconstructions")
    if originals is not None and partners is not None and originals.shape != partners.shape:
        raise ValueError(f"{path}: originals are {originals.shape}, but reconstructions {partners.shape}")
    return {name: x for name, x in arrays.items() if x.size}


def _read(folder: Path) -> _Run:
    try:
        settings = tomllib.loads((folder / "run.toml").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / 'run.toml'} is damaged: {error}") from error

    def optional(name: str, read: Callable[[Path], Any], otherwise: Any) -> Any:
        return read(folder / name) if (folder / name).is_file() else otherwise

    return _Run(
        settings,
        optional("log.jsonl", _log, []),
        optional("results.json", _json, None),
        optional("pictures.npz", _arrays, {}),
    )


def _inside(folder: Path, name: Any) -> Path:
    """A subfolder of a comparison, by the name its file gives: nothing outside is ever read."""
    if not isinstance(name, str):
        raise ValueError(f"a row of {folder / 'comparison.json'} has folder {name!r}; give a relative path")
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or "\0" in name or Path(name).is_absolute() or ":" in parts[0]:
        raise ValueError(f"{folder / 'comparison.json'} points to {name!r}, outside its own folder")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder / 'comparison.json'} points to {name!r}, which leads outside its own folder")
    return path
