"""Implicit autoencoders on known distributions: a ring of eight normals with a categorical code, a grid of 25 normals.

python benchmarks/implicit.py [--seeds 10] [--faithful 3]      # the ring, about a minute per seed on one core
python benchmarks/implicit.py --only recommended               # one row of the ring; the others are kept
python benchmarks/implicit.py --grid [--seeds 10]              # the grid, with ALI and IAE, about four minutes per seed
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import warnings
from typing import Any

import torch
from common import RESULTS, write

import chartae as ch
from chartae.data import toys
from chartae.diagnostics import code_use
from chartae.maths import energy_distance

SD, K = 0.15, 8
ANGLE = torch.arange(K) * 2 * math.pi / K
MEANS = 2 * torch.stack([ANGLE.cos(), ANGLE.sin()], 1)
WORLD = toys.mixture(MEANS.tolist(), sds=SD, weights=[1.0] * K)


def within(a: torch.Tensor, b: torch.Tensor, code: torch.Tensor) -> float:
    """The mean energy distance within codes with more than 100 points, weighted by their share of the points."""
    total = 0.0
    for k in range(K):
        rows = code == k
        if rows.sum() > 100:
            total += float(rows.double().mean() * energy_distance(a[rows], b[rows]))
    return total


def floor() -> float:
    """The energy distance of a perfect code: a component against new draws from the component."""
    values = []
    for seed in range(10):
        a = WORLD.sample(4000, seed=100 + seed)
        code = torch.cdist(a, MEANS).argmin(1)
        b = MEANS[code] + SD * torch.randn(a.shape, generator=torch.Generator().manual_seed(seed))
        values.append(within(a, b, code))
    return statistics.mean(values)


def train(seed: int, **options: Any) -> dict[str, Any]:
    data = ch.data.from_arrays(WORLD.sample(96_000, seed=0), kind=ch.data.Points, valid=0, test=0)
    run = ch.fit(
        "iae-cluster", data, clusters=K, noise_dim=4, net="smooth:96x96", epochs=8, batch_size=192, seed=seed,
        progress=False, **options,
    )  # fmt: skip
    x = WORLD.sample(4000, seed=9)
    component = torch.cdist(x, MEANS).argmin(1)
    torch.manual_seed(seed)
    with torch.no_grad():
        q = run.model.encoder(x)
        code = q.mean.argmax(1)
        drawn = run.model.decoder(q.sample()).sample()
        samples = run.sample(4000, "prior", seed=seed, noise=False)
    table = torch.zeros(K, K).index_put((component, code), torch.ones(len(x)), accumulate=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        use = code_use(run.model, x)
    return {
        "seed": seed,
        "purity": float(table.max(0).values.sum() / len(x)),
        "used": use.used,
        "information": use.information,
        "within": within(drawn, x, code),
        "spread": use.spread,
        "samples": float(energy_distance(samples, x)),
        "near_a_mode": float((torch.cdist(samples, MEANS).amin(1) < 3 * SD).double().mean()),
    }


RING: dict[str, dict[str, Any]] = {
    "recommended": {},
    "the paper's bare objective": {"warmup": 0.0, "penalty": 0.0, "ema": 0.995, "cosine": False},
    "stabilised, without warm-up": {"warmup": 0.0},
}

GRID = toys.grid()
GRID_SD = 0.05
LINE = torch.linspace(-4, 4, 5)
GRID_MEANS = torch.cartesian_prod(LINE, LINE)
#: the penalty is small, because a mode is only 1/80 as wide as the data and the usual penalty would blur it
METHODS: dict[str, dict[str, Any]] = {
    "ali": {"noise_dim": 2, "encoder_noise_dim": 2, "penalty": 0.002, "net": "smooth:256x256x256"},
    "iae": {"noise_dim": 2, "penalty": 0.002, "net": "smooth:128x128"},
}


def train_grid(recipe: str, seed: int) -> dict[str, Any]:
    """Train on 100,000 points, and count the modes that are nearest to one of 10,000 samples.

    Codes are drawn from the prior, and from a mixture of 25 normals fitted to the codes after training.
    """
    data = ch.data.from_arrays(GRID.sample(100_000, seed=0), kind=ch.data.Points, valid=0, test=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an ignored code shows in the results
        run = ch.fit(
            recipe, data, latent_dim=2, epochs=20, batch_size=200, lr=2e-3, seed=seed, densities=(), progress=False,
            **METHODS[recipe],
        )  # fmt: skip
        use = code_use(run.model, GRID.sample(2000, seed=9).float())
    run.fit_density("gmm", run.encode(data.train), components=25)
    results: dict[str, Any] = {"seed": seed, "error": use.error, "shuffled": use.shuffled}
    for density in ("prior", "gmm"):
        samples = run.sample(10_000, density, seed=seed, noise=False)
        distance, mode = torch.cdist(samples, GRID_MEANS).min(1)
        near = distance < 3 * GRID_SD
        results[density] = {
            "modes": len(mode.unique()),
            "modes_near": len(mode[near].unique()),
            "near_a_mode": float(near.double().mean()),
            "samples": float(energy_distance(samples, GRID.sample(10_000, seed=8).float())),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--faithful", type=int, default=3)
    parser.add_argument("--only", choices=RING, help="only this row of the ring; the other rows are kept")
    parser.add_argument("--grid", action="store_true")
    arguments = parser.parse_args()
    if arguments.grid:
        result: dict[str, Any] = {"command": "python benchmarks/implicit.py --grid", "rows": {}}
        for seed in range(arguments.seeds):
            for recipe in METHODS:
                result["rows"].setdefault(recipe, []).append(train_grid(recipe, seed))
                print(recipe, result["rows"][recipe][-1], flush=True)
                write("implicit-grid", result)
        return
    path = RESULTS / "implicit.json"
    result = {"command": "python benchmarks/implicit.py", "floor": floor(), "rows": {}}
    if arguments.only and path.is_file():
        result["rows"] = json.loads(path.read_text())["rows"]
    for name, options in RING.items():
        if arguments.only not in (None, name):
            continue
        result["rows"][name] = []
        for seed in range(arguments.seeds if name == "recommended" else arguments.faithful):
            result["rows"][name].append(train(seed, **options))
            print(name, result["rows"][name][-1], flush=True)
            write("implicit", result)


if __name__ == "__main__":
    main()
