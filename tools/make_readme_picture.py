"""Make docs/images/samples.png from a finished run: samples of the fitted normal next to samples of the mixture.

chartae fit mnist --recipe rae-l2 --latent-dim 16 --epochs 15 --seed 0 --out RUN
chartae evaluate RUN
python tools/make_readme_picture.py RUN
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from chartae.draw import pictures

OUT = Path(__file__).parents[1] / "docs" / "images" / "samples.png"


def main() -> None:
    with np.load(Path(sys.argv[1]) / "pictures.npz") as arrays:
        halves = [pictures.grid(arrays[f"samples_{name}"][:50], columns=10) for name in ("normal", "gmm")]
    gap = np.full((halves[0].shape[0], 24, *halves[0].shape[2:]), 255, np.uint8)
    pictures.save_png(OUT, pictures.enlarge(np.concatenate([halves[0], gap, halves[1]], 1), 2))


if __name__ == "__main__":
    main()
