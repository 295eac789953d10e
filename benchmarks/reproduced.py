"""Keep what `chartae reproduce iae-*` and `grae-*` left in their folders.

python benchmarks/reproduced.py --results FOLDER [--full-on MACHINE]

Of the folders in it: posterior, style, cluster, semisup, semisup-1000, translate (kept in results/iae.json), and
expressions, molecules (results/strings.json); and those named -full, which another machine may have made.
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
    prefix = "grae" if kind == "strings" else "iae"
    words = [f"chartae reproduce {prefix}-{name.split('-')[0]}"]
    rows = results.get("points") or results.get("rows") or results["searches"]
    made = json.loads((folder / "made.json").read_text())
    words += ["--quick"] * bool(results["quick"])
    for key in ("limit", "epochs") if kind == "strings" else ():
        words += [f"--{key} {made[key]}"] if made.get(key) else []
    words += [f"--labels {results['labels']}"] if "labels" in results else []
    recipes = [model["recipe"] for model in results.get("models", [])]
    words += [f"--recipes {' '.join(recipes)}"] if 0 < len(recipes) < 4 else []
    seeds = 1 + max(row["seed"] for row in rows)
    needs = kind == "strings" or results.get("data") == "mnist"
    return " ".join([*words, f"--seeds {seeds}", *(["--data-root FOLDER"] if needs else []), f"--out runs/{name}"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--full-on", help="the machine of the folders named -full, in words")
    args = parser.parse_args()
    folder = args.results
    if args.full_on is None and any(folder.glob("*-full")):
        parser.error(f"{folder} has folders named -full; say which machine made them (--full-on)")
    for kind, names in KEPT.items():
        path = RESULTS / f"{kind}.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        found = {key: value for key, value in found.items() if key not in ("benchmark", "machine")}
        for name in names:
            made = folder / name / "results.json"
            if not made.is_file():
                continue
            results = json.loads(made.read_text())
            found[f"{'grae' if kind == 'strings' else 'iae'}-{name}"] = {
                "command": command(kind, name, made.parent, results),
                "machine": args.full_on if name.endswith("-full") else machine(),
                "table": (made.parent / "table.md").read_text(),
                "results": results,
            }
        if found:
            write(kind, found)


if __name__ == "__main__":
    main()
