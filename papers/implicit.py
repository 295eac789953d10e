"""Adversarial and implicit autoencoders (1511.05644, 1805.09804): clusters, and classes from few labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cross_entropy

from chartae.autoencoder import in_slices
from chartae.conditionals import Categorical, Corruption, Jitter
from chartae.data import Dataset, load
from chartae.data.labels import known_labels
from chartae.draw.plotting import panels
from chartae.evaluation.images import class_error, clusters_of
from chartae.maths import as_float
from chartae.recipes import Setting, setting_for
from chartae.runs import Run, fit
from papers.parts import Rows, Say, folder_of, grouped, keep, mean_sd, part, table

__all__ = ["iae_cluster", "iae_semisup"]

#: published errors in per cent: 1511.05644, 1706.00531
CLUSTERS = {16: "AAE 9.55 ± 2.05", 30: "AAE 4.10 ± 1.13, PixelGAN 5.27 ± 1.81"}
LABELS = {100: "AAE 1.90 ± 0.10, PixelGAN 1.08 ± 0.15, Ladder 1.06 ± 0.37", 1000: "AAE 1.60 ± 0.08"}


def _percent(values: list[float]) -> str:
    return mean_sd([100 * v for v in values], 2)


def _each(values: list[float]) -> str:
    return " ".join(f"{100 * v:.2f}" for v in values)


# -- clusters ---------------------------------------------------------------------------------------------------------

#: recipe, clusters, options, and whether all seeds are made, or the first alone
CLUSTERINGS: list[tuple[str, int, dict[str, Any], bool]] = [
    ("aae-cluster", 30, {}, True),
    ("aae-cluster", 16, {}, False),
    ("aae-cluster", 10, {}, False),
    ("iae-cluster", 30, {}, False),
    ("aae-cluster", 30, {"agreement": 0.0}, False),
    ("iae-cluster", 30, {"agreement": 0.0}, False),
    ("aae-cluster", 30, {"neighbours": 0}, False),
    ("aae-cluster", 30, {"views": False}, False),
]


def iae_cluster(
    out: str | Path,
    *,
    data: str = "mnist",
    quick: bool = False,
    seeds: int | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    say: Say = print,
    progress: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """Clustering by a categorical code: errors by both protocols, with and without what must agree.

    quick: fully connected nets and fewer epochs, for two cores.
    """
    count = seeds or (2 if quick else 5)
    settings = QUICK if quick else FULL
    folder = folder_of(out, overwrite, "iae-cluster", data=data, quick=quick, training=settings)
    source = load(data, root=root)
    _needs_labels(source)
    results = {"data": data, "quick": quick}
    rows: Rows = []
    for recipe, clusters, options, every in CLUSTERINGS:
        for seed in range(count if every else 1):
            label = f"{recipe}-{clusters}-{_agree(options)}-{seed}"

            def make() -> dict[str, Any]:
                run = fit(
                    recipe, source, clusters=clusters, seed=seed, device=device, progress=progress,  # noqa: B023
                    **settings, **options,  # noqa: B023
                )  # fmt: skip
                row = {"recipe": recipe, "clusters": clusters, "options": options, "seed": seed}  # noqa: B023
                if not seed:  # noqa: B023
                    _examples(run, source).savefig(folder / f"{label}.png", dpi=110)  # noqa: B023
                return row | asdict(clusters_of(run, source))

            rows.append(part(folder, label, overwrite, say, make)["found"])
            lines = []
            for (name, k, agree), some in grouped(rows, "recipe", "clusters", lambda r: _agree(r["options"])):
                majority, confident = [r["error_majority"] for r in some], [r["error_confident"] for r in some]
                lines.append((
                    name, k, agree, len(some), _percent(majority), _percent(confident),
                    _each(majority), mean_sd([r["nmi"] for r in some]), mean_sd([float(r["used"]) for r in some], 1),
                    CLUSTERS.get(k, "-"),
                ))  # fmt: skip
            head = (
                "recipe", "clusters", "what agrees", "n", "error %, majority", "error %, surest", "every seed", "NMI",
                "used", "published, surest",
            )  # fmt: skip
            keep(folder, results | {"rows": rows}, table(head, lines) + "\n")
    return results | {"rows": rows}


def _agree(options: dict[str, Any]) -> str:
    given = {"agreement": "nothing", "neighbours": "views", "views": "neighbours"}
    return next((given[key] for key in options), "both")


#: fits of two cores, and of a GPU
QUICK: dict[str, Any] = {"net": "mlp", "epochs": 8, "batch_size": 128, "cosine": True}
FULL: dict[str, Any] = {"net": "conv", "epochs": 20, "batch_size": 128, "cosine": True}


def _examples(run: Run, data: Dataset, shown: int = 10) -> Figure:
    """Test images by their likeliest cluster, the surest ones first: a row a cluster."""
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


# -- few labels -------------------------------------------------------------------------------------------------------

#: title, recipe, options, and whether all seeds are made, or the first alone
SUPERVISIONS: list[tuple[str, str | None, dict[str, Any], bool]] = [
    ("labels alone", None, {"views": False}, True),
    ("labels alone, views", None, {"views": True}, True),
    ("aae-semisup", "aae-semisup", {}, True),
    ("iae-semisup", "iae-semisup", {}, False),
    ("aae-semisup, nothing to agree", "aae-semisup", {"agreement": 0.0}, False),
    ("aae-semisup, convolutions", "aae-semisup", {"net": "conv:16x32x64", "lr": 2e-3}, False),
]


def iae_semisup(
    out: str | Path,
    *,
    data: str = "mnist",
    quick: bool = False,
    seeds: int | None = None,
    labels: int | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    say: Say = print,
    progress: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """Classes from few labels: test error over fixed splits (the seed's), beside the same net on the labels alone.

    labels: how many, evenly over the classes; 100 by default. quick: fully connected nets and fewer epochs.
    """
    count, labels = seeds or (1 if quick else 5), labels or 100
    settings = QUICK if quick else FULL
    folder = folder_of(out, overwrite, "iae-semisup", data=data, quick=quick, labels=labels, training=settings)
    source = load(data, root=root)
    _needs_labels(source)
    results = {"data": data, "quick": quick, "labels": labels}
    rows: Rows = []
    for name, recipe, options, every in SUPERVISIONS:
        if not quick and "net" in options:
            continue  # all have convolutions there
        for seed in range(count if every else 1):

            def make() -> dict[str, Any]:
                if recipe is None:  # noqa: B023
                    error = _alone(source, labels, seed, settings["net"], options["views"], device)  # noqa: B023
                else:
                    run = fit(
                        recipe, source, labels=labels, seed=seed, device=device, progress=progress,  # noqa: B023
                        **settings | options,  # noqa: B023
                    )  # fmt: skip
                    error = class_error(run, source)
                return {"name": name, "seed": seed, "labels": labels, "error": error}  # noqa: B023

            label = f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            rows.append(part(folder, label, overwrite, say, make)["found"])
            lines = []
            for (title,), some in grouped(rows, "name"):
                errors = [r["error"] for r in some]
                lines.append((title, labels, len(some), _percent(errors), _each(errors)))
            note = f"\n\nPublished: {LABELS[labels]} (%)." if labels in LABELS and data == "mnist" else ""
            head = ("trained on", "labels", "n", "test error %", "every split")
            keep(folder, results | {"rows": rows}, table(head, lines) + note + "\n")
    figure, (axis,) = panels(5, 2.2)
    for (title,), some in grouped(rows, "name"):
        axis.plot([100 * r["error"] for r in some], [title] * len(some), "o", alpha=0.7)
    axis.set(xlabel=f"test error, %, {labels} labels", xscale="log")
    figure.savefig(folder / "errors.png", dpi=130)
    return results | {"rows": rows}


def _alone(
    data: Dataset, labels: int, seed: int, net: str, views: bool, device: str | None, steps: int = 3000
) -> float:
    """The test error of the recipes' encoder trained on the labelled examples and nothing else."""
    y, options = known_labels(data, {"labels": labels}, seed)
    setting: Setting = setting_for("aae-semisup", data.shape, data.train.dtype, data.name, None, net)
    home = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Categorical(setting.encoder(options["classes"])).to(home)
        x, y = as_float(data.train[y >= 0]).to(home), y[y >= 0].to(home)
        view: Corruption | None = Jitter() if views else None
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            some = torch.randint(len(x), (64,), device=home)
            seen = x[some] if view is None else view(x[some]).sample()
            optimiser.zero_grad()
            cross_entropy(model(seen).logits, y[some]).backward()
            optimiser.step()
            schedule.step()
        probabilities = in_slices(model, lambda a: model(a).mean, data.test)
    return _error(probabilities.cpu(), data)


def _error(p: Tensor, data: Dataset) -> float:
    assert data.test_labels is not None
    return float((p.argmax(1) != data.test_labels).double().mean())


def _needs_labels(data: Dataset) -> None:
    if data.train_labels is None or data.test_labels is None or data.train_labels.is_floating_point():
        raise ValueError(f"{data.name} has no class labels, by which clusters and classes are judged; use mnist")
