"""Keep what `chartae reproduce iae-*` left in its folders.

python benchmarks/iae.py --results FOLDER      # of the folders posterior, style, cluster, semisup, translate
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common import RESULTS, machine, write


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, required=True)
    folder = parser.parse_args().results
    path = RESULTS / "iae.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for name in ("posterior", "style", "cluster", "semisup", "translate"):
        made = folder / name / "results.json"
        if not made.is_file():
            continue
        results = json.loads(made.read_text())
        rows = results.get("points") or results["rows"]
        told = (" --quick" if results["quick"] else "") + f" --seeds {1 + max(row['seed'] for row in rows)}"
        told += f" --labels {results['labels']}" if "labels" in results else ""
        told += " --data-root FOLDER" if results.get("data") == "mnist" else ""
        found[f"iae-{name}"] = {
            "command": f"chartae reproduce iae-{name}{told} --out runs/{name}",
            "machine": machine(),
            "table": (folder / name / "table.md").read_text(),
            "results": results,
        }
    write("iae", found)


if __name__ == "__main__":
    main()
