"""Table 1 of Ghosh et al. (arXiv:1903.12436), on regularised autoencoders: FID of reconstructions and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chartae import report
from chartae.data import load
from chartae.evaluation import Comparison, compare
from chartae.records import files
from papers.parts import numbers, table
from papers.table import Request, reproduction

__all__ = ["TABLE1", "markdown", "rae_table1"]

#: FID of Table 1 of 1903.12436, by data set and model: reconstruction, N, GMM, interpolation
TABLE1: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "mnist": {
        "vae": (18.26, 19.21, 17.66, 18.21),
        "cv-vae": (15.15, 33.79, 17.87, 25.12),
        "wae": (10.03, 20.42, 9.39, 14.34),
        "rae-gp": (14.04, 22.21, 11.54, 15.32),
        "rae-l2": (10.53, 22.22, 8.69, 14.54),
        "rae-sn": (15.65, 19.67, 11.74, 15.15),
        "rae": (11.67, 23.92, 9.81, 14.67),
        "ae": (12.95, 58.73, 10.66, 17.12),
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
    },
}

#: the paper's training settings and code sizes
FULL: dict[str, Any] = {"net": "paper", "epochs": 100, "batch_size": 100}
CODES = {"mnist": 16, "cifar10": 128}
#: settings for two CPU cores; the net is 784-512-256-16 with batch normalisation
QUICK: dict[str, Any] = {"net": "mlp", "latent_dim": 16, "epochs": 15, "batch_size": 128}

#: heading -> column of the comparison
COLUMNS = {
    "reconstruction": "reconstruction",
    "N": "own",
    "GMM-10": "gmm",
    "GMM-100": "gmm-100",
    "interpolation": "interpolation-linear",
}


@reproduction("rae-table1", takes=("data", "weights"))
def rae_table1(request: Request) -> Comparison:
    """Table 1 of 1903.12436: Fréchet distances of reconstructions, samples and interpolations of eight models.

    It trains the paper's nets for the paper's number of epochs, which needs a GPU; `quick` trains small MLPs. The
    distance uses the features of the data set's classifier, or is FID if `weights` is the file of Inception's weights.

    Raises:
        ValueError: the table has no such data set.
    """
    data = request.data or "mnist"
    if data not in TABLE1:
        raise ValueError(f"--data is {data!r}; expected a data set of Table 1. Choose from {', '.join(TABLE1)}.")
    comparison = compare(
        load(data, root=request.root),
        list(TABLE1[data]),
        request.out,
        seeds=range(request.seeds or 1),
        densities=("prior", "normal", "gmm", "gmm-100"),
        extractor=None if request.weights is None else "inception",
        weights=request.weights,
        overwrite=request.overwrite,
        say=request.say,
        device=request.device,
        progress=request.progress,
        **(QUICK if request.quick else FULL | {"latent_dim": CODES[data]}),
    )
    out = Path(request.out)
    files.replace_text(out / "table.md", markdown(comparison) + "\n")
    report.write(out, out / "report.html")
    return comparison


def markdown(comparison: Comparison) -> str:
    """The table in Markdown: our numbers with standard deviations, and the paper's."""
    paper, facts = TABLE1[comparison.data], comparison.facts
    lines = [
        (row.recipe, *(row.columns.get(c, "-") for c in COLUMNS.values()), ", ".join(map(str, paper[row.recipe])))
        for row in comparison.summary
    ]
    note = (
        f"{comparison.data}: {comparison.metric}, lower is better; n = {comparison.protocol['n']}, "
        f"{comparison.summary[0].n} seed(s). The same number of training examples has "
        f"{numbers([facts], 'floor', 'frechet')[0]:.2f}."
    )
    return table(("model", *COLUMNS, "paper's FID: rec, N, GMM, interp"), lines) + f"\n\n{note}"
