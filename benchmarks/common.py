"""Helpers of all benchmarks: alternating runs, medians of their ratios, and result files that name the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
#: what a fresh process runs: a command of chartae, and then the largest resident memory of the process in kB
MEASURED = """
import sys
from chartae.cli import main
status = main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
sys.exit(status)
"""


def alternate(contestants: dict[str, Callable[[], float]], *, repeats: int, ratio: tuple[str, str]) -> dict[str, Any]:
    """Run the contestants in turn, `repeats` times; each returns its figure, in seconds or as a rate.

    The ratio of the two named contestants is computed within each turn, so that a machine that is slow for a while
    slows both.

    Args:
        contestants: name -> function that runs once and returns the figure.
        repeats: number of turns, >= 1.
        ratio: names of the numerator and the denominator.

    Returns:
        Median, least and most of the ratio, and the median figure of each contestant.
    """
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            figures[name].append(run())
    ratios = [a / b for a, b in zip(figures[ratio[0]], figures[ratio[1]], strict=True)]
    return {
        "ratio": f"{ratio[0]} / {ratio[1]}",
        "median": round(median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
        "repeats": repeats,
        **{name: float(f"{median(values):.4g}") for name, values in figures.items()},
    }


def machine() -> dict[str, Any]:
    """The machine: processor, cores, GPU, and torch with its number of threads."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def write(name: str, result: dict[str, Any]) -> None:
    """Write a result to ``benchmarks/results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"benchmark": name, "machine": machine()} | result, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def peak(words: list[str]) -> int:
    """The largest resident memory of a command, in bytes; not from `wait4`, which counts that of the parent too."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", MEASURED, *words], env=environment, stdout=subprocess.PIPE, check=True
    )
    return int(answer.stdout.split()[-1]) * 1024
