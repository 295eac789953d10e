"""Classification with few labels by adversarial and implicit autoencoders (arXiv:1511.05644, 1805.09804)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from chartae.autoencoder import in_slices
from chartae.conditionals import Categorical, Jitter
from chartae.data import Dataset
from chartae.data.labels import choose_labels
from chartae.draw import plotting
from chartae.evaluation import class_error
from chartae.maths import as_float
from chartae.recipes import setting_for
from chartae.runs import fit
from papers.factorial import factorial
from papers.iae_cluster import FULL, QUICK, each, labelled
from papers.parts import Columns, Parts, Row, Rows, average, first, fresh_seeds, grouped, numbers, summary
from papers.table import Request, reproduction

__all__ = ["iae_semisup"]

#: number of labels -> published errors in per cent (arXiv:1511.05644, 1706.00531)
PUBLISHED = {100: "AAE 1.90 ± 0.10, PixelGAN 1.08 ± 0.15, Ladder 1.06 ± 0.37", 1000: "AAE 1.60 ± 0.08"}


class Method(NamedTuple):
    """A row of the table: its name, a recipe or None for labels only, options, and whether to run every seed."""

    name: str
    recipe: str | None
    options: dict[str, Any]
    every: bool


METHODS = [
    Method("labels alone", None, {"views": False}, True),
    Method("labels alone, views", None, {"views": True}, True),
    Method("aae-semisup", "aae-semisup", {}, True),
    Method("iae-semisup", "iae-semisup", {}, False),
    Method("aae-semisup, nothing to agree", "aae-semisup", {"agreement": 0.0, "views": False}, False),
    Method("aae-semisup, convolutions", "aae-semisup", {"net": "conv:16x32x64", "lr": 2e-3}, False),
]

COLUMNS: Columns = {
    "trained on": first("name"),
    "labels": first("labels"),
    "n": len,
    "test error %": average("error", digits=2, scale=100),
    "every split": each("error"),
}


@reproduction("iae-semisup", takes=("data", "labels", "factorial"))
def iae_semisup(request: Request) -> Row:
    """Classification with few labels: test error on fixed splits, compared with training on the labels only.

    `labels` is the number of labels, the same for each class; default 100. Each seed has its own split. `quick` uses
    MLPs and fewer epochs. `factorial` switches decoder and critic, views and neighbours on and off, by default with 100
    and with 1,000 labels.

    Raises:
        ValueError: data without class labels.
    """
    quick, labels, name = request.quick, request.labels or 100, request.data or "mnist"
    settings = QUICK if quick else FULL
    if request.factorial:
        parts = Parts(request, "iae-semisup-factorial", data=name, quick=quick, training=settings)
        data = labelled(name, request)
        sizes = [request.labels] if request.labels else [*PUBLISHED]
        return factorial(request, parts, data, sizes, settings, supervised=True)
    parts = Parts(request, "iae-semisup", data=name, quick=quick, labels=labels, training=settings)
    data = labelled(name, request)
    count = request.seeds or (1 if quick else 5)
    note = f"\n\nPublished: {PUBLISHED[labels]} (%)." if labels in PUBLISHED and name == "mnist" else ""
    rows: Rows = []
    results: Row = {"data": name, "quick": quick, "labels": labels, "rows": rows}
    for method in METHODS:
        if not quick and "net" in method.options:
            continue  # all methods have convolutions in the full version
        for seed in fresh_seeds(count if method.every else 1):
            label = f"{method.name.replace(', ', '-').replace(' ', '-')}-{seed}"
            make = functools.partial(train_and_evaluate, method, data, labels, seed, settings | method.options, request)
            rows.append(parts.make(label, make).result)
            parts.write(summary(rows, COLUMNS, "name") + note, results)
    figure, (axis,) = plotting.panels(5, 2.2)
    for group in grouped(rows, "name"):
        errors = [100 * error for error in numbers(group, "error")]
        axis.plot(errors, [group[0]["name"]] * len(errors), "o", alpha=0.7)
    axis.set(xlabel=f"test error, %, {labels} labels", xscale="log")
    figure.savefig(parts.folder / "errors.png", dpi=130)
    return results


def train_and_evaluate(
    method: Method, data: Dataset, labels: int, seed: int, settings: dict[str, Any], request: Request
) -> Row:  # fmt: skip
    if method.recipe is None:
        error = labels_alone(data, labels, seed, settings["net"], settings["views"], request.device)
    else:
        run = fit(
            method.recipe, data, labels=labels, seed=seed, device=request.device, progress=request.progress, **settings
        )
        error = class_error(run, data)
    return {"name": method.name, "seed": seed, "labels": labels, "error": error}


def labels_alone(
    data: Dataset, labels: int, seed: int, net: str, views: bool, device: str | None = None, steps: int = 3000
) -> float:
    """The test error of the recipes' encoder, trained only on the labelled examples."""
    y = choose_labels(data.train_labels, keep=labels, name=data.name, seed=seed)
    classes = int(y.max()) + 1
    setting = setting_for("aae-semisup", data.kind, data=data.name, net=net, classes=classes)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Categorical(setting.encoder(classes)).to(target)
        x, y = as_float(data.train[y >= 0]).to(target), y[y >= 0].to(target)
        jitter = Jitter()
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            index = torch.randint(len(x), (64,), device=target)
            inputs = jitter(x[index]).sample() if views else x[index]
            optimiser.zero_grad()
            cross_entropy(model(inputs).logits, y[index]).backward()
            optimiser.step()
            schedule.step()
        predicted = in_slices(model, lambda part: model(part).mean, data.test).argmax(1).cpu()
    assert data.test_labels is not None
    return float((predicted != data.test_labels).double().mean())
