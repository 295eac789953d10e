"""Published tables, made again: one function a table, its rows resumable, the paper's numbers beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chartae.data import load
from chartae.evaluation.comparison import Comparison, compare, spread
from chartae.records.files import replace_text
from papers.parts import Say

__all__ = ["TABLE1", "rae_table1", "table1_markdown"]

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

#: data set -> what the paper trained with
FULL: dict[str, dict[str, Any]] = {
    "mnist": {"net": "paper", "latent_dim": 16, "epochs": 100, "batch_size": 100},
    "cifar10": {"net": "paper", "latent_dim": 128, "epochs": 100, "batch_size": 100},
}

#: a net that trains on two cores: 784-512-256-16 with batch normalisation
QUICK: dict[str, Any] = {"net": "mlp", "latent_dim": 16, "epochs": 15, "batch_size": 128}


def rae_table1(
    out: str | Path,
    *,
    data: str = "mnist",
    quick: bool = False,
    seeds: int | None = None,
    root: str | Path | None = None,
    weights: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    say: Say = lambda text: None,
    progress: bool | None = None,
) -> Comparison:
    """Table 1 of 1903.12436: models x (reconstruction, N, GMM, interpolation).

    Full, it trains the paper's nets for the paper's epochs (a GPU is wanted); `quick`, a small perceptron. The
    numbers are the Fréchet distance of the data set's own extractor, not FID, unless Inception's `weights` are given.
    """
    if data not in TABLE1:
        raise ValueError(f"Table 1 has no data set {data!r} that can be loaded; choose from {', '.join(TABLE1)}")
    done = compare(
        load(data, root=root),
        list(TABLE1[data]),
        out,
        seeds=range(seeds or 1),
        densities=("prior", "normal", "gmm", "gmm-100"),
        extractor=None if weights is None else "inception",
        weights=weights,
        overwrite=overwrite,
        say=say,
        device=device,
        progress=progress,
        **(QUICK if quick else FULL[data]),
    )
    replace_text(Path(out) / "table.md", table1_markdown(done) + "\n")
    return done


def table1_markdown(comparison: Comparison) -> str:
    """The table, ours with its spread and the paper's beside it."""
    paper = TABLE1[comparison.facts["data"]]
    columns = ("reconstruction", "own", "gmm", "gmm-100", "interpolation-linear")
    heads = ("reconstruction", "N (own)", "GMM-10", "GMM-100", "interpolation")
    lines = ["| model | " + " | ".join(heads) + " | paper's FID: rec, N, GMM, interp |", "| --- " * 7 + "|"]
    for row in comparison.summary():
        cells = [spread(row["columns"].get(c)) for c in columns]
        lines.append(f"| {row['recipe']} | " + " | ".join(cells) + f" | {', '.join(map(str, paper[row['recipe']]))} |")
    return "\n".join(lines)
