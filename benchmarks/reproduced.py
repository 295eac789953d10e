"""Collect the results of `chartae reproduce iae-*` and `grae-*`.

python benchmarks/reproduced.py --results FOLDER [--full-on MACHINE]

FOLDER holds the folders posterior, style, cluster, semisup, semisup-1000 and translate, whose results go to
results/iae.json, and expressions and molecules, whose results go to results/strings.json. Folders named -full may come
from another machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common import RESULTS, machine, write

KEPT = {
    "iae": (
        "posterior", "style", "cluster", "cluster-full", "semisup", "semisup-full", "semisup-1000",
        "semisup-1000-full", "translate", "translate-full",
    ),
    "strings": ("expressions", "molecules"),
}  # fmt: skip


def command(kind: str, name: str, folder: Path, results: dict[str, Any]) -> str:
    """The command line that made the results in a folder."""
    prefix = "grae" if kind == "strings" else "iae"
    words = [f"chartae reproduce {prefix}-{name.split('-')[0]}"]
    rows = results.get("points") or results.get("rows") or results["searches"]
    settings = json.loads((folder / "made.json").read_text())
    words += ["--quick"] * bool(results["quick"])
    for key in ("limit", "epochs") if kind == "strings" else ():
        words += [f"--{key} {settings[key]}"] if settings.get(key) else []
    words += [f"--labels {results['labels']}"] if "labels" in results else []
    recipes = [model["recipe"] for model in results.get("models", [])]
    words += [f"--recipes {' '.join(recipes)}"] if 0 < len(recipes) < 4 else []
    seeds = 1 + max(row["seed"] for row in rows)
    needs = kind == "strings" or results.get("data") == "mnist"
    return " ".join([*words, f"--seeds {seeds}", *(["--data-root FOLDER"] if needs else []), f"--out runs/{name}"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--full-on", help="name of the machine that made the folders named -full")
    args = parser.parse_args()
    folder = args.results
    if args.full_on is None and any(folder.glob("*-full")):
        parser.error(f"{folder} has folders named -full; name the machine that made them with --full-on")
    for kind, names in KEPT.items():
        path = RESULTS / f"{kind}.json"
        entries: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        entries = {key: value for key, value in entries.items() if key not in ("benchmark", "machine")}
        for name in names:
            source = folder / name / "results.json"
            if not source.is_file():
                continue
            results = json.loads(source.read_text())
            entries[f"{'grae' if kind == 'strings' else 'iae'}-{name}"] = {
                "command": command(kind, name, source.parent, results),
                "machine": args.full_on if name.endswith("-full") else machine(),
                "table": (source.parent / "table.md").read_text(),
                "results": results,
            }
        if entries:
            write(kind, entries)


if __name__ == "__main__":
    main()
