"""Implicit autoencoders on a ring of eight normals with a categorical code: recommended and faithful settings.

python benchmarks/implicit.py [--seeds 10] [--faithful 3]      # about a minute a seed on one core
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from typing import Any

import torch
from common import machine, write

import chartae as ch
from chartae.data import toys
from chartae.diagnostics import code_use
from chartae.functional import energy_distance

SD, K = 0.15, 8
ANGLE = torch.arange(K) * 2 * math.pi / K
MEANS = 2 * torch.stack([ANGLE.cos(), ANGLE.sin()], 1)
WORLD = toys.mixture(MEANS.tolist(), sds=SD, weights=[1.0] * K)


def within(a: torch.Tensor, b: torch.Tensor, code: torch.Tensor) -> float:
    """The energy distance within each code that holds more than 100 points, weighted by its share."""
    total = 0.0
    for k in range(K):
        own = code == k
        if own.sum() > 100:
            total += float(own.double().mean() * energy_distance(a[own], b[own]))
    return total


def floor() -> float:
    """That of a perfect code: a component against fresh draws of it."""
    values = []
    for seed in range(10):
        a = WORLD.sample(4000, seed=100 + seed)
        code = torch.cdist(a, MEANS).argmin(1)
        b = MEANS[code] + SD * torch.randn(a.shape, generator=torch.Generator().manual_seed(seed))
        values.append(within(a, b, code))
    return statistics.mean(values)


def train(seed: int, **options: Any) -> dict[str, Any]:
    data = ch.data.from_arrays(WORLD.sample(96_000, seed=0), valid=0, test=0)
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
        made = run.sample(4000, "prior", seed=seed)
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
        "samples": float(energy_distance(made, x)),
        "near_a_mode": float((torch.cdist(made, MEANS).amin(1) < 3 * SD).double().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--faithful", type=int, default=3)
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "command": "python benchmarks/implicit.py",
        "machine": machine(),
        "floor": floor(),
        "rows": {},
    }
    for name, count, options in (
        ("recommended", arguments.seeds, {}),
        ("the paper's bare objective", arguments.faithful, {"warmup": 0.0, "penalty": 0.0, "ema": 0.995}),
        ("stabilised, without warm-up", arguments.faithful, {"warmup": 0.0}),
    ):
        rows = []
        for seed in range(count):
            rows.append(train(seed, **options))
            print(name, rows[-1], flush=True)
            result["rows"][name] = rows
            write("implicit", result)


if __name__ == "__main__":
    main()
