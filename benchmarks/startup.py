"""How long the command line takes to start, beside `python -c pass` in the same run.

python benchmarks/startup.py [--repeats 9]

Each command is a fresh process; the commands take turns. Wanted: at most 0.5 s for `chartae --help`, and at most 0.8 s
for each `chartae VERB --help`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from common import write

from chartae.cli.main import VERBS

PROGRAM = str(Path(sys.executable).with_name("chartae"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import chartae": [sys.executable, "-c", "import chartae"],
    "chartae --help": [PROGRAM, "--help"],
    **{f"chartae {verb} --help": [PROGRAM, verb, "--help"] for verb in VERBS},
}
#: the most seconds that a command may take
WANTED = {"chartae --help": 0.5} | {f"chartae {verb} --help": 0.8 for verb in VERBS}


def seconds(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(repeats + 1):
        for name, words in COMMANDS.items():
            if (value := seconds(words)) and turn:  # the first turn fills the caches of the system
                times[name].append(value)
    rows = {}
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times["python -c pass"], strict=True)]
        rows[name] = {
            "seconds": round(median(values), 3), "least": round(min(values), 3), "most": round(max(values), 3),
            "ratio": round(median(ratios), 1), "wanted": WANTED.get(name), "repeats": repeats,
        }  # fmt: skip
        print(name, rows[name], flush=True)
    write("startup", {"unit": "seconds", "rows": rows})


if __name__ == "__main__":
    main()
