"""Speed of the Fréchet distance of 10,000 x 2,048 features: chartae against numpy and scipy's matrix square root.

    python benchmarks/frechet.py [--points 10000] [--dimensions 2048] [--repeats 3]

The features imitate the pooled features of Inception: they are non-negative and correlated, with a decaying spectrum.
Both implementations start from the same float32 arrays and return a number. The result includes the relative difference
of the two numbers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from common import alternate, write
from torch import Tensor
from torch.nn import functional as F

from chartae.maths import frechet_from_features


def features(n: int, d: int, seed: int, shift: float) -> Tensor:
    """Softplus of correlated normals (n, d) in float32; the correlations are the same for every seed."""
    axes = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(99))).Q
    scales = 5 * torch.arange(1, d + 1, dtype=torch.float64) ** -0.6
    z = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.softplus(z * scales @ axes + shift - 1).float()


def usual(a: np.ndarray, b: np.ndarray) -> float:
    """The distance as in published implementations, without their fallback for singular products."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return float(shift + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    n, d = arguments.points, arguments.dimensions
    a, b = features(n, d, 1, 0.0), features(n, d, 2, 0.05)
    numbers: dict[str, float] = {}

    def seconds(name: str, distance: Callable[[], float]) -> float:
        start = time.perf_counter()
        numbers[name] = distance()
        return time.perf_counter() - start

    row = alternate(
        {
            "chartae": lambda: seconds("chartae", lambda: frechet_from_features(a, b).item()),
            "sqrtm": lambda: seconds("sqrtm", lambda: usual(a.numpy(), b.numpy())),
        },
        repeats=arguments.repeats,
        ratio=("sqrtm", "chartae"),
    )
    spectrum = torch.linalg.eigvalsh(a.T.double().cov())
    result = {
        "unit": "seconds",
        "points": n,
        "dimensions": d,
        "condition": (spectrum[-1] / spectrum[0]).item(),
        "distance": numbers,
        "relative_difference": abs(numbers["chartae"] - numbers["sqrtm"]) / numbers["sqrtm"],
        "rows": {"frechet": row},
    }
    print(result, flush=True)
    write("frechet", result)


if __name__ == "__main__":
    main()
