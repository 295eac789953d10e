"""Choose the images of `fashion-mini` from Fashion-MNIST and write the file that ships with the package.

    python tools/make_fashion_mini.py FOLDER_OF_FASHION_MNIST

The selection is balanced: 600 + 100 images of each class from the training file (train and valid), and 100 of each
from the test file. All 8,000 images are different; their order is random, but the same in every run. The arrays are
stored as a zip of .npy files with LZMA compression, which `numpy.load` reads and which is 14 % smaller than
`numpy.savez_compressed`, together with the licence of Fashion-MNIST.
"""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np

from chartae.data.catalogue import read_idx

TARGET = Path(__file__).parents[1] / "src" / "chartae" / "data" / "fashion_mini"


def choose(labels: np.ndarray, each: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `each` members of every class, with classes in turn, so that any slice is nearly balanced."""
    return np.stack([rng.permutation(np.flatnonzero(labels == c))[:each] for c in range(10)], 1).reshape(-1)


def main(folder: Path) -> None:
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    x, y, xt, yt = (read_idx(folder / f"{stem}-ubyte.gz") for stem in stems)
    rng = np.random.default_rng(0)
    training, test = choose(y, 700, rng), choose(yt, 100, rng)
    parts = {"train": (x, y, training[:6000]), "valid": (x, y, training[6000:]), "test": (xt, yt, test)}
    parts = {s: (x, y, rng.permutation(i)) for s, (x, y, i) in parts.items()}
    different = len({x[j].tobytes() for x, _, i in parts.values() for j in i})
    if different != 8000:
        raise SystemExit(f"only {different} of 8,000 images are different; expected all of them. Change the seed.")
    TARGET.mkdir(exist_ok=True)
    with zipfile.ZipFile(TARGET / "fashion_mini.npz", "w", zipfile.ZIP_LZMA) as archive:
        for split, (images, labels, i) in parts.items():
            for key, array in ((split, images[i]), (f"{split}_labels", labels[i])):
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                # a fixed date, so that the bytes of the file are the same in every run
                member = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
                archive.writestr(member, buffer.getvalue(), zipfile.ZIP_LZMA)
    shutil.copyfile(folder / "LICENSE", TARGET / "LICENSE")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
