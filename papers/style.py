"""Content and style: what a small code keeps of a picture, and what the decoder's noise makes up."""

from __future__ import annotations

import math
import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chartae.data import Dataset, load
from chartae.diagnostics import code_use
from chartae.draw.pictures import enlarge, grid, save_png
from chartae.maths import as_float
from chartae.metrics import LeNetFeatures, default_for, extractor, to_uint8
from chartae.runs import Run, fit
from papers.parts import Rows, Say, folder_of, grouped, keep, mean_sd, part, table

__all__ = ["iae_style"]

#: latent_dim, noise_dim
CELLS = ((2, 20), (5, 20), (10, 20), (20, 0))
DRAWS = 6
QUICK = 3000  # steps of 64


def iae_style(
    out: str | Path,
    *,
    quick: bool = False,
    seeds: int | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    say: Say = lambda text: None,
    progress: bool | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Stochastic reconstructions at three code sizes, and deterministic ones: Makhzani, 2018 (arXiv 1805.09804).

    MNIST, or `fashion-mini` where there is no `root`. Of each: the squared error, the same from another's code, the
    spread within a code, what the code tells of x at least, and how often a classifier gives a reconstruction the label
    of its picture. As the code shrinks, what it does not hold is drawn anew each time. `quick`: dense nets, 3,000
    steps of 64; else convolutions, 40 epochs (a GPU is wanted).
    """
    count = seeds or 1
    data = load("fashion-mini") if root is None else load("mnist", root=root)
    folder = folder_of(out, overwrite, "iae-style", quick=quick, data=data.name, steps=QUICK if quick else None)
    rows: Rows = []
    panels: dict[tuple[int, int], np.ndarray] = {}
    for size, noise in CELLS:
        for seed in range(count):
            found = part(
                folder, f"code-{size}-noise-{noise}-{seed}", overwrite, say,
                lambda: _cell(data, size, noise, seed, quick, device, progress),  # noqa: B023
            )["found"]  # fmt: skip
            if not seed:
                panels[size, noise] = np.array(found["picture"], np.uint8)
            rows.append({k: v for k, v in found.items() if k != "picture"})
    real = _agreement(data, data.test[:2000], data.test_labels)
    tested = min(2000, len(data.test))
    results = {"quick": quick, "data": data.name, "rows": rows, "real": real, "tested": tested}
    keep(folder, results, _table(results))
    tall = next(iter(panels.values())).shape[0]
    gap = np.full((tall, 12), 255, np.uint8)
    parts = [piece for panel in panels.values() for piece in (panel, gap)][:-1]
    save_png(folder / "style.png", enlarge(np.concatenate(parts, 1), 2))
    return results


def _cell(
    data: Dataset, size: int, noise: int, seed: int, quick: bool, device: str | None, progress: bool | None
) -> dict[str, Any]:
    batch = 64 if quick else 128
    epochs = math.ceil(QUICK * batch / len(data.train)) if quick else 40
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # whether the code is used is what the row says
        run = fit(
            "iae", data, latent_dim=size, noise_dim=noise, net="mlp" if quick else "conv", epochs=epochs,
            batch_size=batch, seed=seed, densities=(), device=device, progress=progress,
        )  # fmt: skip
        home = next(run.model.parameters()).device
        use = code_use(run.model, as_float(data.test[:2000]).to(home))
    again = to_uint8(_draws(run, data.test[:2000], 1)[0])
    rows, labels = _one_of_each(data)
    drawn = to_uint8(_draws(run, rows, DRAWS).flatten(0, 1)).unflatten(0, (DRAWS, len(rows)))
    strips = torch.cat([rows[:, None], drawn.transpose(0, 1)], 1)
    return {
        "latent_dim": size,
        "noise_dim": noise,
        "seed": seed,
        "steps": epochs * math.ceil(len(data.train) / batch),
        "error": use.error,
        "shuffled": use.shuffled,
        "spread": use.spread,
        "bound": use.bound,
        "agreement": _agreement(data, again, data.test_labels),
        "labels": labels,
        "picture": grid(strips.flatten(0, 1).numpy(), DRAWS + 1).tolist(),
    }


def _draws(run: Run, x: Tensor, n: int) -> Tensor:
    """n reconstructions of each picture, of one code each."""
    codes = run.encode(x)
    return torch.stack([run.render(codes, seed=k).cpu() for k in range(n)])


def _one_of_each(data: Dataset) -> tuple[Tensor, list[int]]:
    assert data.test_labels is not None
    labels = sorted(set(data.test_labels.tolist()))
    first = [int((data.test_labels == label).nonzero()[0]) for label in labels]
    return data.test[first], labels


def _agreement(data: Dataset, images: Tensor, labels: Tensor | None) -> float:
    """The share of pictures to which a LeNet gives the labels."""
    lenet = extractor(default_for(data.name, data.shape))
    assert isinstance(lenet, LeNetFeatures)
    assert labels is not None
    with torch.no_grad():
        named = torch.cat([lenet.net.eval().classify(as_float(part)).argmax(1).cpu() for part in images.split(500)])
    return float((named == labels[: len(images)]).double().mean())


def _table(results: dict[str, Any]) -> str:
    head = (
        "code", "noise", "n", "squared error", "from another's code", "spread within a code",
        "I(x; code) at least, nats", "label kept",
    )  # fmt: skip
    rows = []
    for (size, noise), some in grouped(results["rows"], "latent_dim", "noise_dim"):
        rows.append((
            size, noise, len(some), *(mean_sd([r[k] for r in some], 1) for k in ("error", "shuffled")),
            mean_sd([r["spread"] for r in some]), mean_sd([r["bound"] for r in some], 2),
            mean_sd([r["agreement"] for r in some]),
        ))  # fmt: skip
    steps = round(statistics.mean(r["steps"] for r in results["rows"]))
    return (
        f"{table(head, rows)}\n\n{results['data']}, {results['tested']:,} test pictures, {steps} steps; of the "
        f"pictures themselves the classifier gives {results['real']:.3f} their label.\n"
    )
