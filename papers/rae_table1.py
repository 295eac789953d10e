"""Table 1 of Ghosh et al. (arXiv:1903.12436), on regularised autoencoders: FID of reconstructions and samples."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from chartae import report
from chartae.data import load
from chartae.evaluation import Comparison, compare
from chartae.records import files
from chartae.records.choices import one_of
from chartae.records.parsing import Value
from papers.parts import fresh_seeds, numbers, table
from papers.side_by_side import IMAGENET, Row, assemble, train_all
from papers.table import Request, reproduction

__all__ = ["TABLE1", "markdown", "rae_table1"]

#: FID of Table 1 of 1903.12436, by data set and model: reconstruction, N, GMM, interpolation; None for a model of the
#: authors' code that the table lacks
TABLE1: dict[str, dict[str, tuple[float, float, float, float] | None]] = {
    "mnist": {
        "vae": (18.26, 19.21, 17.66, 18.21),
        "cv-vae": (15.15, 33.79, 17.87, 25.12),
        "wae": (10.03, 20.42, 9.39, 14.34),
        "rae-gp": (14.04, 22.21, 11.54, 15.32),
        "rae-l2": (10.53, 22.22, 8.69, 14.54),
        "rae-sn": (15.65, 19.67, 11.74, 15.15),
        "rae": (11.67, 23.92, 9.81, 14.67),
        "ae": (12.95, 58.73, 10.66, 17.12),
        "ae-l2": None,
    },
    "cifar10": {
        "vae": (57.94, 106.37, 103.78, 88.62),
        "cv-vae": (37.74, 94.75, 86.64, 69.71),
        "wae": (35.97, 117.44, 93.53, 76.89),
        "rae-gp": (32.17, 83.05, 76.33, 64.08),
        "rae-l2": (32.24, 80.80, 74.16, 62.54),
        "rae-sn": (27.61, 84.25, 75.30, 63.62),
        "rae": (29.05, 83.87, 76.28, 63.27),
        "ae": (30.52, 84.74, 76.47, 61.57),
        "ae-l2": None,
    },
}

#: the paper's training settings and code sizes
FULL: dict[str, Any] = {"net": "paper", "epochs": 100, "batch_size": 100}
CODES = {"mnist": 16, "cifar10": 128}
#: settings for two CPU cores; the net is 784-512-256-16 with batch normalisation
QUICK: dict[str, Any] = {"net": "mlp", "latent_dim": 16, "epochs": 15, "batch_size": 128}
#: order in which the rows are trained side by side: those that the paper's claims need come first
ORDER = ("rae-l2", "vae", "rae", "ae", "ae-l2", "cv-vae", "wae", "rae-gp", "rae-sn")
#: densities that are fitted to the codes and sampled
DENSITIES = ("prior", "normal", "gmm", "gmm-100")

#: heading -> column of the comparison
COLUMNS = {
    "reconstruction": "reconstruction",
    "N": "own",
    "GMM-10": "gmm",
    "GMM-100": "gmm-100",
    "interpolation, linear": "interpolation-linear",
    "spherical": "interpolation-spherical",
}


@reproduction("rae-table1", takes=("data", "weights", "recipes", "epochs", "net", "precision", "jobs", "minutes"))
def rae_table1(request: Request) -> Comparison:
    """Table 1 of 1903.12436: Fréchet distances of reconstructions, samples and interpolations of eight models.

    It trains the paper's nets for the paper's number of epochs, which needs a GPU; `quick` trains small MLPs. The
    distance uses the features of the data set's classifier, or is FID if `weights` is the file of Inception's weights.

    With `jobs` or `minutes`, the models are trained side by side, each in a process of its own. Once the minutes are
    spent, each model is evaluated with the epochs that it has reached, which the table states; another start continues
    from there. The features of ImageNet are used beside those of the classifier if the folder of data sets has them.

    Raises:
        ValueError: the table has no such data set or recipe, `weights` is given with `jobs` or `minutes`, or the
            minutes are too few to begin a row.
        ChildProcessError: a model that is trained side by side with others fails.
    """
    data = request.data or "mnist"
    if data not in TABLE1:
        raise ValueError(f"--data is {data!r}; expected a data set of Table 1. Choose from {', '.join(TABLE1)}.")
    for recipe in request.recipes:
        if recipe not in TABLE1[data]:
            raise ValueError(f"--recipes has {recipe!r}; {one_of(recipe, TABLE1[data])}")
    settings = dict(QUICK) if request.quick else FULL | {"latent_dim": CODES[data]}
    chosen = {"net": request.net, "epochs": request.epochs, "precision": request.precision}
    settings |= {name: value for name, value in chosen.items() if value is not None}
    together = request.jobs is not None or request.minutes is not None
    if together:
        return _side_by_side(request, data, settings)
    comparison = _in_turn(request, data, settings)
    return _written(request, comparison)


def _written(request: Request, comparison: Comparison) -> Comparison:
    """Write the comparison, with how it was made, its table and its report."""
    out = Path(request.out)
    origin: dict[str, Value] = {"command": _command(request), "machine": _machine()}
    comparison = replace(comparison, facts={**origin, **comparison.facts})
    comparison.write(out)
    files.replace_text(out / "table.md", markdown(comparison) + "\n")
    report.write(out, out / "report.html")
    return comparison


def _seeds(request: Request) -> range:
    return fresh_seeds(request.seeds or 1)


def _in_turn(request: Request, data: str, settings: dict[str, Any]) -> Comparison:
    return compare(
        load(data, root=request.root),
        list(request.recipes or TABLE1[data]),
        request.out,
        seeds=_seeds(request),
        densities=DENSITIES,
        extractor=None if request.weights is None else "inception",
        weights=request.weights,
        overwrite=request.overwrite,
        say=request.say,
        device=request.device,
        progress=request.progress,
        **settings,
    )


def _side_by_side(request: Request, data: str, settings: dict[str, Any]) -> Comparison:
    if request.weights is not None:
        raise ValueError(f"--weights is {request.weights}; expected none with --jobs or --minutes. Leave it out.")
    load(data, root=request.root)  # downloaded once, before the processes read it
    out, epochs = Path(request.out), settings.pop("epochs")
    out.mkdir(parents=True, exist_ok=True)
    recipes = request.recipes or [recipe for recipe in ORDER if recipe in TABLE1[data]]
    root = None if request.root is None else str(request.root)
    rows = [
        Row(recipe, seed, str(out), data, root, epochs, settings, DENSITIES, device=request.device)
        for seed in _seeds(request)
        for recipe in recipes
    ]
    stated = {"epochs": epochs, **settings}
    facts: dict[str, Value] = {"settings": stated}
    facts |= {} if request.minutes is None else {"minutes": request.minutes}
    _check_settings(out / "comparison.json", stated, request.overwrite)

    def write() -> Comparison | None:
        other, more = assemble(rows, {}, IMAGENET), dict(facts)
        if other is not None:
            more["imagenet"] = {
                "metric": other.metric, "extractor": other.protocol["extractor"], "floor": other.facts["floor"],
                "epochs_reached": other.facts["epochs_reached"], "summary": [row.to_dict() for row in other.summary],
            }  # fmt: skip
        comparison = assemble(rows, more)
        return None if comparison is None else _written(request, comparison)

    limits: dict[str, Any] = {"jobs": request.jobs or 1, "minutes": request.minutes, "overwrite": request.overwrite}
    train_all(rows, say=request.say, write=write, **limits)
    comparison = write()
    if comparison is None:
        raise ValueError(f"--minutes is {request.minutes}; expected enough to train a row. Give more minutes.")
    return comparison


def _check_settings(path: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Raise ValueError if a comparison has rows with other settings than these, besides the number of epochs."""
    if overwrite or not path.is_file():
        return
    former = json.loads(path.read_text())["settings"]
    if {**former, "epochs": None} != {**settings, "epochs": None}:
        raise ValueError(f"--out holds rows with {former}; expected {settings}. Choose another folder or --overwrite.")


def _command(request: Request) -> str:
    """The command line of the request, with folders that anybody has."""
    words = ["chartae reproduce rae-table1 --quick" if request.quick else "chartae reproduce rae-table1"]
    for name in ("data", "seeds", "net", "epochs", "precision", "jobs", "minutes", "device"):
        value = getattr(request, name)
        words += [] if value is None else [f"--{name} {value}"]
    words += [f"--recipes {' '.join(request.recipes)}"] if request.recipes else []
    return " ".join([*words, "--data-root FOLDER --out runs/table1"])


def _machine() -> dict[str, Value]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none", "torch": torch.__version__,
    }  # fmt: skip


def markdown(comparison: Comparison) -> str:
    """The table in Markdown: our numbers with standard deviations, and the paper's."""
    paper, facts = TABLE1[comparison.data], comparison.facts
    lines = [
        (row.recipe, *(row.columns.get(c, "-") for c in COLUMNS.values()),
         ", ".join(map(str, paper[row.recipe] or ["-"])))
        for row in comparison.summary
    ]  # fmt: skip
    note = (
        f"{comparison.data}: {comparison.metric}, lower is better; n = {comparison.protocol['n']}, "
        f"{comparison.summary[0].n} seed(s). The same number of training examples has "
        f"{numbers([facts], 'floor', 'frechet')[0]:.2f}."
    )
    reached = facts.get("epochs_reached")
    if isinstance(reached, dict):
        note += " Epochs: " + "; ".join(f"{name} {', '.join(map(str, n))}" for name, n in reached.items()) + "."
    return table(("model", *COLUMNS, "paper's FID: rec, N, GMM, interp"), lines) + f"\n\n{note}"
