"""Speed of GaussianMixture against scikit-learn's: 60,000 codes of 16 and 64 dimensions, ten full components.

    python benchmarks/gmm.py [--repeats 3] [--threads 1] [--data-root FOLDER]

There are two contests on each set of codes: from the same start with the same number of iterations, and from the
default start of each until convergence (tol 1e-3), with another seed in each turn. scikit-learn is timed with one
thread and with all threads, and the faster run counts, because on small matrices its threads often slow each other
down. The codes are draws from fifteen anisotropic normals, which are then bent. They overlap, or are so far apart that
EM converges quickly. With a data root, principal components of MNIST's 60,000 training images are used as well.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from common import alternate, write
from sklearn.mixture import GaussianMixture as Theirs
from threadpoolctl import threadpool_limits

from chartae import data
from chartae.densities import GaussianMixture as Ours

N, K = 60_000, 10


def bent(d: int, spread: float) -> torch.Tensor:
    """Codes that resemble those of a nonlinear encoder: correlated, curved clusters with centres of this spread."""
    g = torch.Generator().manual_seed(0)
    which = torch.randint(15, (N,), generator=g)
    means = spread * torch.randn(15, d, generator=g)
    shapes = torch.randn(15, d, d, generator=g) / d**0.5 * (0.3 + torch.rand(15, 1, d, generator=g))
    z = means[which] + torch.einsum("nd,nde->ne", torch.randn(N, d, generator=g), shapes[which])
    return z + 0.3 * torch.sin(z.roll(1, 1))


def components(root: str, d: int) -> torch.Tensor:
    """The first d principal components of all training images of MNIST."""
    mnist = data.load("mnist", root=root)
    x = torch.cat([mnist.train, mnist.valid]).flatten(1).float() / 255
    x = x - x.mean(0)
    return (x @ torch.linalg.eigh(x.T @ x).eigenvectors[:, -d:]).contiguous()


def timed(name: str, make: Callable[[int], Any], codes: Any, log: dict[str, list[float]]) -> float:
    """The seconds of a fit, whose seed is the number of the turn; its log-likelihood and iterations go into the log."""
    turn = len(log.setdefault(name, []))
    seconds = []
    for threads in sorted({1, torch.get_num_threads()}) if name == "scikit-learn" else [None]:
        mixture = make(turn)
        with threadpool_limits(threads):
            started = time.perf_counter()
            mixture.fit(codes, **({} if name == "scikit-learn" else {"seed": turn}))
            seconds.append(time.perf_counter() - started)
    points = mixture.score_samples(codes) if name == "scikit-learn" else mixture.log_prob(codes).double().numpy()
    log[name].append(float(points.mean(dtype=np.float64)))
    log.setdefault(f"{name} iterations", []).append(mixture.n_iter_)
    return min(seconds)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data-root")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: dict[str, Any] = {}
    likelihoods: dict[str, Any] = {}
    sets = {f"{d}": bent(d, 2 / d**0.5) for d in (16, 64)} | {f"{d} far apart": bent(d, 1.5) for d in (16, 64)}
    if arguments.data_root:
        sets |= {f"{d} MNIST": components(arguments.data_root, d) for d in (16, 64)}
    for label, z in sets.items():
        x = z.numpy()
        first = x[np.random.default_rng(0).choice(N, K, replace=False)]
        eye = np.eye(x.shape[1]) * x.var(0).mean()
        start = (np.full(K, 1 / K), first.astype(np.float64), np.broadcast_to(eye, (K, *eye.shape)).copy())
        contests = {
            "own start": (
                lambda seed: Ours(K, max_iter=500),
                lambda seed: Theirs(K, max_iter=500, random_state=seed),
            ),
            "same start, 20 iterations": (
                lambda seed, start=start: Ours(K, max_iter=20, tol=0, start=start),
                lambda seed, start=start: Theirs(
                    K,
                    max_iter=20,
                    tol=0,
                    weights_init=start[0],
                    means_init=start[1],
                    precisions_init=np.linalg.inv(start[2]),
                ),
            ),
        }
        for title, (ours, theirs) in contests.items():
            log: dict[str, list[float]] = {}
            key = f"{N:,} x {label}, {title}"
            rows[key] = alternate(
                {
                    "scikit-learn": partial(timed, "scikit-learn", theirs, x, log),
                    "chartae": partial(timed, "chartae", ours, z, log),
                },
                repeats=arguments.repeats,
                ratio=("scikit-learn", "chartae"),
            )
            likelihoods[key] = {name: float(np.mean(values)) for name, values in log.items()}
            likelihoods[key]["difference"] = likelihoods[key]["chartae"] - likelihoods[key]["scikit-learn"]
            print(key, rows[key], likelihoods[key], flush=True)
    write("gmm", {"unit": "seconds", "rows": rows, "log_likelihood": likelihoods})


if __name__ == "__main__":
    main()
