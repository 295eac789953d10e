"""Speed of chartae's drop-in Conv2d against torch's, forward and backward, for outputs of a few pixels.

python benchmarks/convolution.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from common import alternate, write
from torch import nn as tnn

from chartae import nn

#: label -> size of the input; kernel 4, stride 2, padding 1, 512 to 1024 channels, batch size 100
CASES = {"3x3 to 1x1": 3, "4x4 to 2x2": 4, "8x8 to 4x4 (left to torch)": 8}


def seconds(layer: tnn.Module, x: torch.Tensor) -> Callable[[], float]:
    """A function that runs a forward and a backward pass and returns the seconds."""
    weight = torch.randn_like(layer(x))

    def run() -> float:
        started = time.perf_counter()
        layer(x).backward(weight)
        return time.perf_counter() - started

    run()
    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rows = {}
    for label, size in CASES.items():
        x = torch.randn(100, 512, size, size, requires_grad=True)
        contestants = {
            "torch": seconds(tnn.Conv2d(512, 1024, 4, 2, 1), x),
            "chartae": seconds(nn.Conv2d(512, 1024, 4, 2, 1), x),
        }
        rows[label] = alternate(contestants, repeats=arguments.repeats, ratio=("torch", "chartae"))
        print(label, rows[label], flush=True)
    write("convolution", {"unit": "seconds", "rows": rows})


if __name__ == "__main__":
    main()
