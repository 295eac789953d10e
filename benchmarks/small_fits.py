"""Many small fits: the fixed cost of a fit, the speed of its steps against a plain loop, and a grid of 100 fits.

    python benchmarks/small_fits.py [--repeats 15] [--grid 100]

A fit of 1 and one of 4 epochs run in turns with a plain PyTorch loop of the same nets, which has as many threads. The
slope between 1 and 4 epochs is the time of a step; what is left of a fit of one epoch is its fixed cost. The grid is
scikit-learn's GridSearchCV with two processes over 1,000 x 10 rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import sklearn
import torch
from common import write
from sklearn.model_selection import GridSearchCV
from torch import nn

import chartae as ch
from chartae.data import Batches
from chartae.maths.threads import limited_threads, threads_for
from chartae.recipes import HALF
from chartae.training.work import step_work

WEIGHT = 0.0128


def small() -> tuple[nn.Module, nn.Module, int]:
    """The net 10-64-64-4 and its mirror image, and the size of a batch."""
    encoder = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    decoder = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return encoder, decoder, 128


def large() -> tuple[nn.Module, nn.Module, int]:
    """The net 784-512-16 and its mirror image, and the size of a batch."""
    encoder = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 16))
    decoder = nn.Sequential(nn.Linear(16, 512), nn.ReLU(), nn.Linear(512, 784), nn.Sigmoid())
    return encoder, decoder, 100


def ours(make: Callable[[], tuple[nn.Module, nn.Module, int]], x: torch.Tensor, epochs: int) -> float:
    """Seconds of a fit."""
    torch.manual_seed(0)
    encoder, decoder, size = make()
    started = time.perf_counter()
    latent = encoder[-1].out_features
    model = ch.Autoencoder(ch.Dirac(encoder), ch.Gaussian(decoder, HALF), ch.StandardNormal(latent))
    objective = ch.Penalised(model, ch.Reconstruction() + WEIGHT * ch.LatentNorm())
    ch.training.fit(objective, Batches(x, size), epochs=epochs, lr=1e-3, progress=False, device="cpu")
    return time.perf_counter() - started


def plain(make: Callable[[], tuple[nn.Module, nn.Module, int]], x: torch.Tensor, epochs: int) -> float:
    """Seconds of a loop written by hand, with the same nets, loss and optimiser, and without a log."""
    torch.manual_seed(0)
    encoder, decoder, size = make()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    with limited_threads(threads_for(step_work(parameters, Batches(x, size)))):
        started = time.perf_counter()
        adam = torch.optim.Adam(parameters, 1e-3, fused=True)
        for _ in range(epochs):
            order = torch.randperm(len(x))
            for i in range(0, len(x), size):
                batch = x[order[i : i + size]]
                code = encoder(batch)
                error = (batch - decoder(code)).square().sum(1).mean()
                loss = error + WEIGHT * 0.5 * code.square().sum(1).mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
        return time.perf_counter() - started


def contest(make: Callable[[], tuple[nn.Module, nn.Module, int]], x: torch.Tensor, repeats: int) -> dict[str, Any]:
    """Times of a step, in turns, from the slopes between fits of 1 and 4 epochs; and the fixed cost of a fit."""
    steps = -(-len(x) // make()[2])
    figures: dict[str, list[float]] = {"ours": [], "plain": [], "fixed": []}
    for _ in range(repeats + 1):
        short, long = ours(make, x, 1), ours(make, x, 4)
        figures["plain"].append((plain(make, x, 4) - plain(make, x, 1)) / 3 / steps)
        figures["ours"].append((long - short) / 3 / steps)
        figures["fixed"].append(short - (long - short) / 3)
    first = {name: median(values[1:]) for name, values in figures.items()}  # the first turn warms up
    ratios = [b / a for a, b in zip(figures["ours"][1:], figures["plain"][1:], strict=True)]
    return {
        "speed / plain loop, median of turns": round(median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
        "speed / plain loop, medians": round(first["plain"] / first["ours"], 3),
        "milliseconds of a step": {"chartae": round(1e3 * first["ours"], 4), "plain": round(1e3 * first["plain"], 4)},
        "fixed seconds of a fit": round(first["fixed"], 4),
        "repeats": repeats,
    }


def grid(count: int) -> dict[str, Any]:
    """Seconds of a fit in a grid search with two processes, and the share that no epoch takes."""
    x = np.random.default_rng(0).normal(size=(1000, 10))

    def search(epochs: int, points: int) -> float:
        estimator = ch.GenerativeAutoencoder("rae", epochs=epochs, density="normal", random_state=0)
        parameters = {"lr": np.geomspace(1e-4, 1e-2, points // 5).tolist()}
        started = time.perf_counter()
        GridSearchCV(estimator, parameters, cv=5, n_jobs=2, refit=False, error_score="raise").fit(x)
        return (time.perf_counter() - started) / points

    search(1, 10)  # starts the processes
    one, four = search(1, count), search(4, count)
    return {
        "fits": count,
        "seconds of a fit of 1 epoch": round(one, 4),
        "seconds of a fit of 4 epochs": round(four, 4),
        "share of the fixed cost, 4 epochs": round(1 - (four - one) / 3 * 4 / four, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--grid", type=int, default=100, help="number of fits of the grid search, a multiple of 5")
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    write("small-fits", {
        "command": f"python benchmarks/small_fits.py --repeats {arguments.repeats} --grid {arguments.grid}",
        "scikit-learn": sklearn.__version__,
        "10-64-64-4, batch 128, 6,400 rows (target: speed >= 0.95, fixed <= 0.03 s)":
            contest(small, torch.rand(6400, 10, generator=generator), arguments.repeats),
        "10-64-64-4, batch 128, 1,024 rows":
            contest(small, torch.rand(1024, 10, generator=generator), arguments.repeats),
        "784-512-16, batch 100, 10,000 rows (target: speed >= 0.97)":
            contest(large, torch.rand(10_000, 784, generator=generator), max(3, arguments.repeats // 3)),
        "GridSearchCV(n_jobs=2), 1,000 x 10": grid(arguments.grid),
    })  # fmt: skip


if __name__ == "__main__":
    main()
