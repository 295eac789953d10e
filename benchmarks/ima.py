"""Speed of Jacobians by forward mode against a loop over outputs, and of many small nets at once against one.

python benchmarks/ima.py                       # both, about three minutes
python benchmarks/ima.py --results FOLDER      # add the results of `chartae reproduce ima-*` in these folders
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, alternate, machine

from chartae import nn
from chartae.diagnostics import ima_contrast, jacobian
from chartae.recipes import Setting, build
from chartae.runs import train_many


def jacobians() -> dict[str, Any]:
    """A decoder from 10 dimensions to 64x64x3: the Jacobian at 4 points, and the memory for 1,000 points."""
    decoder = nn.decoder("smooth-conv", 10, (3, 64, 64), output="identity")
    z = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))

    def forward() -> float:
        started = time.perf_counter()
        jacobian(decoder, z)
        return (time.perf_counter() - started) / len(z)

    def loop() -> float:
        """One backward pass for each output; 100 of the 12,288 are timed, because the time is linear in them."""
        a = z.clone().requires_grad_()
        out = decoder(a).flatten(1)
        started = time.perf_counter()
        for k in range(100):
            torch.autograd.grad(out[:, k * 100].sum(), a, retain_graph=True)
        return (time.perf_counter() - started) / 100 * out.shape[1] / len(z)

    forward()
    rows = alternate({"loop": loop, "forward": forward}, repeats=5, ratio=("loop", "forward"))
    exact = jacobian(decoder, z)
    a = z.clone().requires_grad_()
    (row,) = torch.autograd.grad(decoder(a)[:, 1, 20, 30].sum(), a)
    assert torch.allclose(row, exact[:, 1, 20, 30], atol=1e-5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    ima_contrast(decoder, torch.randn(1000, 10))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"unit": "seconds a point", "rows": rows, "points": 1000, "seconds": seconds,
            "grown_by_MiB": (peak - before) / 1024, "peak_MiB": peak / 1024}  # fmt: skip


def ensembles() -> dict[str, Any]:
    """Training 64 VAEs 3-30-3 at once against training one: a step with 64 points for each."""
    setting = Setting((3,), 3, "smooth:30", unit=False)
    x = torch.randn(12_800, 3, generator=torch.Generator().manual_seed(0))

    def seconds(count: int, steps: int = 100) -> float:
        members = [build("vae", setting, seed=k, gamma2=100.0).objective for k in range(count)]
        started = time.perf_counter()
        train_many(members, x, seeds=list(range(count)), steps=steps, batch_size=64, progress=False)
        return (time.perf_counter() - started) / steps

    def single() -> float:
        from chartae import data, training

        objective = build("vae", setting, seed=0, gamma2=100.0).objective
        batches = data.Batches(x[:6400], 64)
        started = time.perf_counter()
        training.fit(objective, batches, epochs=1, progress=False)
        return (time.perf_counter() - started) / 100

    seconds(2, 10)
    single()
    rows = alternate({"64 models": lambda: seconds(64), "one": single}, repeats=7, ratio=("64 models", "one"))
    return {"unit": "seconds a step", "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    path = RESULTS / "ima.json"
    results = json.loads(path.read_text()) if path.is_file() else {"benchmark": "ima"}
    if arguments.results is None:
        for part in (jacobians, ensembles):
            results[part.__name__] = {"command": "python benchmarks/ima.py", "machine": machine(), **part()}
            print(part.__name__, json.dumps(results[part.__name__], indent=1), flush=True)
    else:
        for folder in sorted(p for p in arguments.results.iterdir() if (p / "table.md").is_file()):
            summary = folder / "results.json"
            quick = summary.is_file() and json.loads(summary.read_text())["quick"]
            extra = (" --quick" if quick else "") + (" --data-root FOLDER" if folder.name == "sprites" else "")
            results[f"ima-{folder.name}"] = {
                "command": f"chartae reproduce ima-{folder.name}{extra} --out runs/{folder.name}",
                "machine": machine(),
                "table": (folder / "table.md").read_text(),
                "parts": {
                    p.stem: json.loads(p.read_text()) for p in sorted(folder.glob("*.json")) if p.stem != "results"
                },
            }
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
