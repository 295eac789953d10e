"""The images and two-dimensional points that a report shows of a run, stored in `pictures.npz`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from chartae.records.arrays import read_npz
from chartae.records.files import Damaged, whole_file

__all__ = ["Images", "Labels", "Pictures", "Points", "write_arrays"]

#: (n, C, H, W) or (rows, steps, C, H, W)
Images: TypeAlias = NDArray[np.uint8]
#: (n, 2)
Points: TypeAlias = NDArray[np.floating]
#: (n,)
Labels: TypeAlias = NDArray[np.generic]

Array: TypeAlias = NDArray[np.generic]
X = TypeVar("X")

#: name of the array that holds the sha256 of the results.json that the pictures belong to, as bytes
RESULTS = "results"
#: the largest size of all arrays of the file, in bytes
MOST_PICTURES = 256 << 20


@dataclass(frozen=True)
class Pictures:
    """The arrays that a report shows; one that is absent is None or empty.

    Attributes:
        originals: test images, uint8 (n, C, H, W).
        reconstructions: reconstructions of these images, uint8 (n, C, H, W).
        samples: name of each density -> samples, uint8 (n, C, H, W).
        interpolations: name of each kind of path -> images, uint8 (rows, steps, C, H, W).
        latent: test codes on their first two principal axes, (n, 2).
        latent_labels: labels of these codes, (n,).
        latent_samples: name of each density -> its samples on the same axes, (n, 2).
        data: test data that are not images, on two axes, (n, 2).
        data_samples: name of each density -> samples of such data on the same axes, (n, 2).
        of: sha256 of the results.json that the pictures belong to, as 64 hexadecimal digits; empty (default) if
            unknown, as in files of older versions.
    """

    originals: Images | None = None
    reconstructions: Images | None = None
    samples: Mapping[str, Images] = field(default_factory=dict)
    interpolations: Mapping[str, Images] = field(default_factory=dict)
    latent: Points | None = None
    latent_labels: Labels | None = None
    latent_samples: Mapping[str, Points] = field(default_factory=dict)
    data: Points | None = None
    data_samples: Mapping[str, Points] = field(default_factory=dict)
    of: str = ""

    def __bool__(self) -> bool:
        single = (self.originals, self.reconstructions, self.latent, self.data)
        return any(x is not None for x in single) or any(
            (self.samples, self.interpolations, self.latent_samples, self.data_samples)
        )

    @classmethod
    def read(cls, path: str | Path) -> Pictures:
        """Read a `pictures.npz`, without empty arrays and arrays of other names.

        Raises:
            FileNotFoundError: the file does not exist.
            Damaged: the file is damaged, or an array has another dtype or shape.
        """
        path = Path(path)
        arrays = read_npz(path, MOST_PICTURES)
        pictures = cls(
            _first(_images(arrays, path, "originals", "originals")),
            _first(_images(arrays, path, "reconstructions", "reconstructions")),
            _images({k: x for k, x in arrays.items() if not k.startswith("samples_2d_")}, path, "samples_"),
            _images(arrays, path, "interpolation_", ndim=5),
            _first(_points(arrays, path, "latent", "latent")),
            _labels(arrays, path),
            _points({k: x for k, x in arrays.items() if k != "latent_labels"}, path, "latent_"),
            _first(_points(arrays, path, "data_2d", "data_2d")),
            _points(arrays, path, "samples_2d_"),
            _digest(arrays, path),
        )
        a, b = arrays.get("originals"), arrays.get("reconstructions")
        if a is not None and b is not None and a.shape != b.shape:
            raise Damaged(f"{path}: reconstructions have shape {b.shape}; expected that of originals, {a.shape}")
        return pictures

    def belongs_to(self, digest: str) -> bool:
        """Whether these pictures belong to the results.json with this sha256; True if theirs is unknown."""
        return not self.of or self.of == digest


def write_arrays(path: str | Path, arrays: Mapping[str, Array], of: str) -> None:
    """Write arrays by name as a `pictures.npz`, whole or not at all.

    Args:
        path: the file.
        arrays: the arrays that `Pictures.read` reads.
        of: sha256 of the results.json that they belong to, as 64 hexadecimal digits.
    """
    digest = np.frombuffer(bytes.fromhex(of), np.uint8)
    with whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **{**arrays, RESULTS: digest})  # type: ignore[arg-type]


def _first(arrays: Mapping[str, X]) -> X | None:
    """The first array, or None if there is none."""
    return next(iter(arrays.values()), None)


def _named(arrays: Mapping[str, Array], prefix: str, only: str) -> dict[str, Array]:
    """The arrays whose names have this prefix, by the name without it; with `only`, just the array of that name."""
    return {k.removeprefix(prefix): x for k, x in arrays.items() if (k == only if only else k.startswith(prefix))}


def _images(
    arrays: Mapping[str, Array], path: Path, prefix: str, only: str = "", *, ndim: int = 4
) -> dict[str, Images]:
    named = _named(arrays, prefix, only)
    for name, x in named.items():
        if x.ndim != ndim or x.dtype != np.uint8:
            form = "uint8 (k, C, H, W)" if ndim == 4 else "uint8 (rows, steps, C, H, W)"
            raise Damaged(f"{path}: {only or prefix + name} is {x.dtype} {x.shape}; expected {form}")
    return {name: x.astype(np.uint8, copy=False) for name, x in named.items() if x.size}


def _points(arrays: Mapping[str, Array], path: Path, prefix: str, only: str = "") -> dict[str, Points]:
    named = _named(arrays, prefix, only)
    for name, x in named.items():
        if x.ndim != 2 or x.shape[1] != 2 or x.dtype.kind not in "iuf":
            raise Damaged(f"{path}: {only or prefix + name} is {x.dtype} {x.shape}; expected numbers (n, 2)")
    return {name: x.astype(float) for name, x in named.items() if x.size}


def _labels(arrays: Mapping[str, Array], path: Path) -> Labels | None:
    labels, codes = arrays.get("latent_labels"), arrays.get("latent")
    if labels is None:
        return None
    if labels.ndim != 1 or (codes is not None and len(labels) != len(codes)):
        expected = f"one label for each of {len(labels if codes is None else codes)} codes"
        raise Damaged(f"{path}: latent_labels is {labels.dtype} {labels.shape}; expected {expected}")
    return labels if labels.size else None


def _digest(arrays: Mapping[str, Array], path: Path) -> str:
    digest = arrays.get(RESULTS)
    if digest is None:
        return ""
    if digest.shape != (32,) or digest.dtype != np.uint8:
        raise Damaged(f"{path}: {RESULTS} is {digest.dtype} {digest.shape}; expected uint8 (32,), a sha256")
    return digest.tobytes().hex()
