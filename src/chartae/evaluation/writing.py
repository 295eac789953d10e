"""What every evaluation says of itself, and how its files are written."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray

from chartae.records import manifest
from chartae.records.parsing import Value
from chartae.records.pictures import write_arrays
from chartae.records.results import Results
from chartae.runs import Run

__all__ = ["stamp", "write"]


def stamp(data: str, seed: int) -> dict[str, Value]:
    """What every protocol says besides: the seed, the name of the data, the versions."""
    return {"seed": seed, "data": data, "chartae": version("chartae"), "torch": torch.__version__}


def write(run: Run, results: Results, pictures: Mapping[str, NDArray[np.generic]]) -> None:
    """Write `results.json`, and `pictures.npz` where there are pictures, into the run's folder, if it has one."""
    if run.folder is None:
        return
    names = ("results.json", "pictures.npz") if pictures else ("results.json",)
    with manifest.writing(run.folder, *names):
        results.write(run.folder / "results.json")
        if pictures:
            write_arrays(run.folder / "pictures.npz", pictures)
