"""Run the speed benchmarks one after another (`make bench`) on a machine that is otherwise idle.

python benchmarks/run.py --data-root FOLDER
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", default="../shared/data")
    arguments = parser.parse_args()
    for script, words in {
        "convolution": [],
        "linear": [],
        "gmm": [],
        "frechet": [],
        "grammar": ["--data-root", arguments.data_root],
        "startup": [],
        "memory": [],
        "threads": [],
        "small_fits": [],
        "training": ["--data-root", arguments.data_root],
    }.items():
        subprocess.run([sys.executable, HERE / f"{script}.py", *words], check=True)
    subprocess.run([sys.executable, HERE.parent / "tools" / "build_evidence.py"], check=True)


if __name__ == "__main__":
    main()
