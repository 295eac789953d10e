"""Clustering by adversarial and implicit autoencoders (arXiv:1511.05644, 1805.09804)."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from chartae.data import Dataset, load
from chartae.draw.pictures import grid, save_png
from chartae.evaluation import clusters_of
from chartae.maths import as_float
from chartae.metrics import to_uint8
from chartae.runs import Run, fit
from papers.factorial import factorial
from papers.parts import Cell, Columns, Parts, Row, Rows, average, first, fresh_seeds, numbers, summary
from papers.table import Request, reproduction

__all__ = ["FULL", "QUICK", "each", "iae_cluster", "labelled"]

#: number of clusters -> published errors in per cent (arXiv:1511.05644, 1706.00531)
PUBLISHED = {16: "AAE 9.55 ± 2.05", 30: "AAE 4.10 ± 1.13, PixelGAN 5.27 ± 1.81"}

#: training settings for two CPU cores, and for a GPU
QUICK: dict[str, Any] = {"net": "mlp", "epochs": 8, "batch_size": 128, "cosine": True}
FULL = QUICK | {"net": "conv", "epochs": 20}


class Method(NamedTuple):
    """A row of the table: recipe, clusters, options, what must agree, and whether to run every seed instead of one."""

    recipe: str
    clusters: int
    options: dict[str, Any]
    agrees: str
    every: bool = False


METHODS = [
    Method("aae-cluster", 30, {}, "both", every=True),
    Method("aae-cluster", 16, {}, "both"),
    Method("aae-cluster", 10, {}, "both"),
    Method("iae-cluster", 30, {}, "both"),
    Method("aae-cluster", 30, {"agreement": 0.0}, "nothing"),
    Method("iae-cluster", 30, {"agreement": 0.0}, "nothing"),
    Method("aae-cluster", 30, {"neighbours": 0}, "views"),
    Method("aae-cluster", 30, {"views": False}, "neighbours"),
]


def each(key: str) -> Cell:
    """Cell with every number of the group, in per cent."""
    return lambda rows: " ".join(f"{100 * value:.2f}" for value in numbers(rows, key))


COLUMNS: Columns = {
    "recipe": first("recipe"),
    "clusters": first("clusters"),
    "agreement of": first("agrees"),
    "n": len,
    "error %, majority": average("error_majority", digits=2, scale=100),
    "error %, most confident": average("error_confident", digits=2, scale=100),
    "every seed": each("error_majority"),
    "NMI": average("nmi"),
    "used": average("used", digits=1),
    "published, most confident": lambda rows: PUBLISHED.get(int(numbers(rows, "clusters")[0]), "-"),
}


@reproduction("iae-cluster", takes=("data", "factorial"))
def iae_cluster(request: Request) -> Row:
    """Clustering by a categorical code: errors by two protocols, with and without agreement of views and neighbours.

    `quick` uses MLPs and fewer epochs, for two CPU cores. `factorial` switches decoder and critic, views and neighbours
    on and off, with 10 and with 30 clusters.

    Raises:
        ValueError: data without class labels.
    """
    quick, name = request.quick, request.data or "mnist"
    settings = QUICK if quick else FULL
    if request.factorial:
        parts = Parts(request, "iae-cluster-factorial", data=name, quick=quick, training=settings)
        return factorial(request, parts, labelled(name, request), (10, 30), settings, supervised=False)
    parts = Parts(request, "iae-cluster", data=name, quick=quick, training=settings)
    data = labelled(name, request)
    count = request.seeds or (2 if quick else 5)
    rows: Rows = []
    results: Row = {"data": name, "quick": quick, "rows": rows}
    for method in METHODS:
        seeds = fresh_seeds(count if method.every else 1)
        for seed in seeds:
            label = f"{method.recipe}-{method.clusters}-{method.agrees}-{seed}"
            picture = parts.folder / f"{label}.png" if seed == seeds[0] else None
            make = functools.partial(train_and_evaluate, method, data, seed, settings, request, picture)
            rows.append(parts.make(label, make).result)
            parts.write(summary(rows, COLUMNS, "recipe", "clusters", "agrees"), results)
    return results


def train_and_evaluate(
    method: Method, data: Dataset, seed: int, settings: dict[str, Any], request: Request, picture: Path | None
) -> Row:
    run = fit(
        method.recipe, data, clusters=method.clusters, seed=seed, device=request.device, progress=request.progress,
        **settings, **method.options,
    )  # fmt: skip
    if picture is not None:
        examples(run, data).savefig(picture, dpi=110)
        save_png(picture.with_name(f"{picture.stem}-drawn.png"), drawn(run))
    return {
        "recipe": method.recipe, "clusters": method.clusters, "options": method.options, "agrees": method.agrees,
        "seed": seed, **asdict(clusters_of(run, data)),
    }  # fmt: skip


def drawn(run: Run, rows: int = 8) -> np.ndarray:
    """A picture by the model, with one cluster in each column, and in each row the same style and noise."""
    category = run.model.prior().category.mean
    clusters = category.shape[-1]
    generator = torch.Generator(run.device).manual_seed(0)
    codes = run.model.prior().sample(rows, generator=generator).reshape(rows, -1)  # the category, then the style
    columns = []
    for k in range(clusters):
        codes[:, :clusters] = torch.eye(clusters).to(codes)[k]
        columns.append(to_uint8(run.render(codes, seed=0).cpu()))  # the same noise for each cluster
    return grid(torch.stack(columns, 1).flatten(0, 1).numpy(), clusters)


def examples(run: Run, data: Dataset, shown: int = 10) -> Figure:
    """A figure of test images with one row for each cluster, the most confident images first."""
    p = run.categories(data.test).cpu()
    size = p.shape[1]
    figure = Figure((0.5 * shown, 0.5 * size), layout="constrained")
    axes = figure.subplots(size, shown, squeeze=False)
    for k in range(size):
        best = torch.where(p.argmax(1) == k, p[:, k], -1.0).topk(shown)
        for axis, i, value in zip(axes[k], best.indices.tolist(), best.values.tolist(), strict=True):
            axis.set_axis_off()
            if value >= 0 and data.is_image:
                axis.imshow(as_float(data.test[i]).permute(1, 2, 0).squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1)
    return figure


def labelled(name: str, request: Request) -> Dataset:
    """A named data set with class labels; ValueError if it has none."""
    data = load(name, root=request.root)
    if data.train_labels is None or data.test_labels is None or data.train_labels.is_floating_point():
        raise ValueError(
            f"--data is {data.name}, which has no class labels; expected labelled data for the evaluation. Use mnist."
        )
    return data
