"""What every reproduction is made of: parts that are kept, and the tables of their numbers."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chartae.records.files import replace_text

__all__ = ["Rows", "Say", "folder_of", "grouped", "keep", "mean_sd", "part", "table"]

Say = Callable[[str], None]
Rows = list[dict[str, Any]]


def part(out: Path, name: str, overwrite: bool, say: Say, make: Callable[[], Any]) -> Any:
    path = out / f"{name}.json"
    if path.is_file() and not overwrite:
        say(f"{name}: kept from {path}")
        return json.loads(path.read_text())
    say(f"{name} ...")
    started = time.perf_counter()
    found = {"seconds": 0.0, "found": make()}
    found["seconds"] = round(time.perf_counter() - started, 1)
    replace_text(path, json.dumps(found, indent=1) + "\n")
    return found


def folder_of(out: str | Path, overwrite: bool, result: str, **made: Any) -> Path:
    """The folder of a result; parts made with other settings are not gone on with; more seeds are more parts."""
    folder = Path(out)
    made = {"result": result} | made
    if folder.is_file():
        raise FileExistsError(f"{folder} is a file; give a folder")
    path = folder / "made.json"
    if path.is_file() and not overwrite and (former := json.loads(path.read_text())) != made:
        raise FileExistsError(f"{folder} holds parts made with {former}, not {made}; choose a new folder, or overwrite")
    if path.is_file() and overwrite:  # all of them, or an interrupted one would go on with old parts among the new
        for old in folder.glob("*.json"):
            old.unlink()
    replace_text(path, json.dumps(made) + "\n")
    return folder


def keep(folder: Path, results: dict[str, Any], text: str) -> None:
    """The numbers and their table, after each part: an interrupted one shows what it has."""
    replace_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
    replace_text(folder / "table.md", text)


def grouped(rows: Rows, *keys: str | Callable[[dict[str, Any]], Any]) -> list[tuple[tuple[Any, ...], Rows]]:
    """Rows that agree in `keys`, their names or functions of a row, in the order in which they come."""
    groups: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] if isinstance(k, str) else k(row) for k in keys), []).append(row)
    return list(groups.items())


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
