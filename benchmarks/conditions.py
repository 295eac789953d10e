"""Conditional samples of MNIST: the fraction that the shipped LeNet assigns to the requested class.

    python benchmarks/conditions.py --data-root FOLDER [--seeds 100 101 102]

`rae-l2` and `vae` are trained conditional on the label, and 100 samples of each class are drawn from each density. The
settings were fixed before the first run, and no others were tried. There are two controls: the fraction for real test
pictures, and the fraction of unconditional samples of `rae-l2` in a class drawn at random.
"""

from __future__ import annotations

import argparse
import time
from statistics import mean, stdev

import torch
from common import write

import chartae as ch
from chartae.data import load
from chartae.maths import as_float
from chartae.metrics import LeNetFeatures

SETTINGS = {"epochs": 10, "batch_size": 128, "net": "mlp", "latent_dim": 16, "progress": False}
EACH = 100


def share(lenet: LeNetFeatures, x: torch.Tensor, wanted: torch.Tensor) -> float:
    """The fraction of pictures that the LeNet assigns to the wanted class."""
    with torch.no_grad():
        classes = torch.cat([lenet.net.eval().classify(part).argmax(1) for part in as_float(x).split(500)])
    return float((classes.cpu() == wanted).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    arguments = parser.parse_args()
    data = load("mnist", root=arguments.data_root)
    lenet = LeNetFeatures("lenet-mnist")
    wanted = torch.arange(10).repeat_interleave(EACH)
    rows: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in arguments.seeds:
        for recipe in ("rae-l2", "vae"):
            started = time.perf_counter()
            run = ch.fit(recipe, data, condition="labels", seed=seed, **SETTINGS)
            seconds.setdefault(recipe, []).append(time.perf_counter() - started)
            for density in ("gmm", "normal", *(("prior",) if run.own == "prior" else ())):
                x = run.sample(len(wanted), density, condition=wanted.tolist(), seed=seed)
                rows.setdefault(f"{recipe}, {density}", []).append(share(lenet, x, wanted))
                print(seed, recipe, density, rows[f"{recipe}, {density}"][-1], flush=True)
        plain = ch.fit("rae-l2", data, seed=seed, **SETTINGS)
        rows.setdefault("control: unconditional rae-l2, gmm, class at random", []).append(
            share(lenet, plain.sample(len(wanted), "gmm", seed=seed), wanted)
        )
    best = {recipe: mean(rows[f"{recipe}, gmm"]) for recipe in ("rae-l2", "vae")}
    write("conditions", {
        "what": f"share of {EACH} samples of each class of MNIST that the LeNet puts in the class asked for",
        "settings": {k: v for k, v in SETTINGS.items() if k != "progress"},
        "seeds": arguments.seeds,
        "target": 0.95,
        "met": {recipe: value >= 0.95 for recipe, value in best.items()},
        "real_test_pictures": share(lenet, data.test, data.test_labels),
        "rows": {
            name: {"mean": mean(v), "sd": stdev(v) if len(v) > 1 else None, "n": len(v), "each": v}
            for name, v in rows.items()
        },
        "seconds": {recipe: mean(v) for recipe, v in seconds.items()},
    })  # fmt: skip


if __name__ == "__main__":
    main()
