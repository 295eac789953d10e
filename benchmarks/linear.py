"""Speed of chartae's drop-in Linear against torch's, forward and backward, in single precision on a CPU.

python benchmarks/linear.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from common import alternate, write
from torch import nn as tnn

from chartae import nn


def seconds(layer: tnn.Module, x: torch.Tensor, passes: int = 50) -> Callable[[], float]:
    """A function that returns the mean seconds of a forward and a backward pass."""
    weight = torch.randn_like(layer(x))

    def run() -> float:
        started = time.perf_counter()
        for _ in range(passes):
            layer(x).backward(weight)
        return (time.perf_counter() - started) / passes

    run()
    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    rows = {}
    for batch, size in ((100, (784, 512)), (128, (512, 256)), (1000, (784, 512)), (100, (16, 512))):
        x = torch.randn(batch, size[0], requires_grad=True)
        contestants = {"torch": seconds(tnn.Linear(*size), x), "chartae": seconds(nn.Linear(*size), x)}
        label = f"{batch} x {size[0]} to {size[1]}"
        rows[label] = alternate(contestants, repeats=arguments.repeats, ratio=("torch", "chartae"))
        print(label, rows[label], flush=True)
    write("linear", {"unit": "seconds", "rows": rows})


if __name__ == "__main__":
    main()
