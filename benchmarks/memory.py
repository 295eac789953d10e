"""The most memory that commands take beyond their start-up, as a multiple of the data that they read or write.

python benchmarks/memory.py [--megabytes 500] [--folder FOLDER]

Each command is a fresh process, whose largest resident memory (`VmHWM`, files that are mapped into memory included)
is compared with that of the same command on data of a hundredth of the size; for `sample`, of four slices. Wanted: at
most the data once for `fit` on float32 rows and uint8 pictures, and nothing that grows with n for `sample`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import peak, write

#: shape of one example and its type; whether it is pictures
DATA = {"float32 rows": ((125,), np.float32), "uint8 pictures": ((28, 28), np.uint8)}
FIT = ["--epochs", "1", "--batch-size", "500", "--latent-dim", "8", "--densities", "normal", "--quiet", "--overwrite"]
WANTED = {"fit float32 rows": 1.0, "fit uint8 pictures": 1.0, "sample .npy": 0.1, "sample .csv": 0.1}


def random_file(path: Path, shape: tuple[int, ...], dtype: type[np.generic], size: int) -> int:
    """Write random examples of about `size` bytes, and return how many bytes they are."""
    n = size // (int(np.prod(shape)) * np.dtype(dtype).itemsize)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(n, *shape))
    for start in range(0, n, 20_000):
        rng, rows = np.random.default_rng(start), (min(20_000, n - start), *shape)
        file[start : start + rows[0]] = (
            rng.normal(size=rows) if dtype is np.float32 else rng.integers(0, 256, rows, dtype=np.uint8)
        )
    return file.nbytes


def measured(size: int, folder: Path) -> dict[str, dict[str, float | None]]:
    rows: dict[str, dict[str, float | None]] = {}

    def record(name: str, small: int, large: int, data: int) -> None:
        ratio = (large - small) / data
        rows[name] = {
            "data_mb": round(data / 1e6), "start_up_mb": round(small / 1e6), "peak_mb": round(large / 1e6),
            "ratio": round(ratio, 2), "wanted": WANTED.get(name),
        }  # fmt: skip
        print(name, rows[name], flush=True)

    for name, (shape, dtype) in DATA.items():
        peaks: dict[str, list[int]] = {"fit": [], "encode": []}
        data = 0
        for part in (size // 100, size):
            data = random_file(folder / "x.npy", shape, dtype, part)
            run = str(folder / name.replace(" ", "-"))
            peaks["fit"].append(peak(["fit", str(folder / "x.npy"), "--out", run, *FIT]))
            peaks["encode"].append(
                peak(["encode", run, str(folder / "x.npy"), "--out", str(folder / "z.npy"), "--quiet"])
            )
        for verb, (small, large) in peaks.items():
            record(f"{verb} {name}", small, large, data)
    run = str(folder / "float32-rows")
    for suffix in (".npy", ".npz", ".csv", ".parquet"):
        counts = [40_000, size // 500]  # four slices, and many
        small, large = (
            peak(["sample", run, "--n", str(n), "--out", str(folder / f"many{suffix}"), "--quiet"]) for n in counts
        )
        record(f"sample {suffix}", small, large, 500 * counts[1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--folder", help="folder for the data, which are deleted; by default a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rows = measured(arguments.megabytes * 1_000_000, Path(folder))
    write(
        "memory",
        {"command": "python benchmarks/memory.py", "unit": "multiples of the data, beyond start-up", "rows": rows},
    )


if __name__ == "__main__":
    main()
