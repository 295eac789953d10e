"""The slow lane's share of benchmarks/reliability.py: a few trials of each part, and none goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
#: part -> number of trials
TRIALS = {"kills": 10, "verbs": 8, "flips": 40, "pairs": 4, "links": 24}


@pytest.mark.parametrize("part", TRIALS)
def test_nothing_is_lost(part, tmp_path):
    results = tmp_path / "results.json"
    script = [sys.executable, str(ROOT / "benchmarks" / "reliability.py"), "--out", str(results)]
    for trials in (TRIALS[part] // 2, TRIALS[part]):  # the second call continues the first
        done = subprocess.run([*script, f"--{part}", str(trials)], capture_output=True, text=True, check=False)
        entry = json.loads(results.read_text())[part]
        assert (done.returncode, entry["faults"]) == (0, []), done.stderr
        assert entry["trials"] == sum(entry["seen"].values()) == trials
