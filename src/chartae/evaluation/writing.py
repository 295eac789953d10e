"""The facts that every evaluation records, and the files that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from chartae.records import manifest
from chartae.records.files import digest_of
from chartae.records.parsing import Value
from chartae.records.pictures import write_arrays
from chartae.records.results import Results, TrainingFacts
from chartae.records.run_folder import weights_digest
from chartae.records.space import after_work, check_writable
from chartae.runs import Run

__all__ = ["check", "stamp", "training_facts", "written"]


def check(run: Run) -> None:
    """Raise OSError if the results cannot be written to the run folder, if the run has one, before any work."""
    if run.folder is not None:
        check_writable(run.folder)


def stamp(data: str, seed: int) -> dict[str, Value]:
    """The entries that every protocol has: seed, name of the data set, and versions."""
    return {"seed": seed, "data": data, "chartae": version("chartae"), "torch": torch.__version__}


def training_facts(run: Run) -> TrainingFacts:
    """The training facts of a run, as `Results` holds them."""
    return TrainingFacts(cast(Mapping[str, Value], run.training()))


def written(run: Run, results: Results, pictures: Mapping[str, NDArray[np.generic]]) -> Results:
    """Write `results.json`, and `pictures.npz` if there are pictures, to the run folder, if the run has one.

    Returns:
        The results, marked with the weights that they are of.

    Warns:
        NotWritten: a file cannot be written.
    """
    if run.folder is None:
        return results
    results = replace(results, of=weights_digest(run.folder))
    names = ("results.json", "pictures.npz") if pictures else ("results.json",)
    with after_work(run.folder, "the results"), manifest.writing(run.folder, *names):
        results.write(run.folder / "results.json")
        if pictures:
            # a kill in between leaves the former pictures, which name the former results
            write_arrays(run.folder / "pictures.npz", pictures, digest_of(run.folder / "results.json"))
    return results
