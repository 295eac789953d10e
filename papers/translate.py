"""Unpaired translation of pictures by implicit autoencoders (1805.09804): is the content kept, and are there many?

There is no published number to meet. The measures are ours: what a classifier of grey pictures reads in a translation,
and how much the translations of one picture differ.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae.data import VIEWS, Dataset, apart, derive, load
from chartae.draw import pictures
from chartae.maths import as_float
from chartae.metrics import LeNetFeatures, default_for, to_uint8
from chartae.runs import Run, fit
from papers.parts import Say, folder_of, keep, mean_sd, part, table

__all__ = ["grey", "hue", "iae_translate", "measures"]

#: what is measured on, and how many translations of each picture
PICTURES, DRAWS = 1000, 8


class Task(NamedTuple):
    """A pair of domains and how they are trained, quick and whole: steps, seeds."""

    source: str
    target: str
    steps: tuple[int, int]
    options: dict[str, Any]


#: of a set X of grey pictures: the first direction is A to B
TASKS = {
    "coloured": Task("", "coloured", (500, 2000), {}),
    # there is one right answer each way: no noise, and both ways back help at the start
    "edges": Task("edges", "", (6000, 6000), {"encoder_noise_dim": 0, "warmup_back": 0.4}),
}

#: quick or not; few steps suit a shorter average. At twice this step size the pictures run away at first
TRAINING: dict[bool, dict[str, Any]] = {
    True: {"batch_size": 32, "lr": 2e-3, "ema": 0.99, "cosine": True},
    False: {"batch_size": 128, "lr": 2e-3, "ema": 0.999, "cosine": True},
}


def grey(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 1 H W"]:
    """The value of HSV, the largest channel: what a picture was before it was coloured."""
    return x.amax(1, keepdim=True)


def hue(x: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """The hue of a picture's strokes, an angle, and their saturation between 0 (grey) and 1 (one pure hue).

    Of the sum of their colours, weighted as they are bright, on the colour circle: (R, G, B) at 0, 120 and 240 degrees.

    >>> angle, saturation = hue(torch.tensor([1.0, 1.0, 0.0]).reshape(1, 3, 1, 1))
    >>> round(float(angle) * 180 / math.pi), float(saturation)
    (60, 1.0)
    """
    strokes = x * (grey(x) > 0.4 * grey(x).amax((2, 3), keepdim=True))
    total = strokes.flatten(2).sum(2)
    angles = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], dtype=x.dtype)
    angle = torch.atan2((total * angles.sin()).sum(1), (total * angles.cos()).sum(1))
    largest = total.amax(1).clamp_min(1e-12)
    return angle, 1 - total.amin(1) / largest


def measures(run: Run, a: Dataset, b: Dataset, to: str = "B", *, n: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Of translations of test pictures: content, diversity, cycle, colour.

    Returns:
        `content`: share of translations whose grey version the set's LeNet reads as the label of the input; `real`,
        of real pictures of the target domain as theirs; `shuffled`, of translations as the label of another input,
        which is chance. `diversity`: the mean distance between two translations of one picture over that between two
        real pictures of the target; `inputs`, the same between translations of different pictures, which should be
        1. `back`: the mean squared error per pixel of there and back, one draw each way, and `back_shuffled` of
        another picture's. Of coloured targets `hues`, the circular variance of the hues of one picture's translations
        (0 one colour; independent ones have `hues_of_independent`), `recoloured`, the diversity of real colourings of
        one picture, `hue_entropy`, of all translations' hues in 12 bins over log 12, and `saturation`, both beside the
        real ones'.

    Raises:
        ValueError: data without class labels, or that no LeNet of the package reads.
    """
    source, target = (a, b) if to == "B" else (b, a)
    base = source.name.split("+")[0]
    name = default_for(base, (1, *source.shape[1:]))
    if not name.startswith("lenet") or source.test_labels is None:
        raise ValueError(
            f"what {source.name} shows is read by no classifier of the package; use MNIST or Fashion-MNIST"
        )
    net = LeNetFeatures(name).net
    x, y, labels = as_float(source.test[:n]), as_float(target.test[:n]), source.test_labels[:n]

    def right(pictures: Tensor, truth: Tensor) -> float:
        # quantised as a picture in a file is
        seen = as_float(to_uint8(grey(pictures)))
        with torch.no_grad():
            return float((net.classify(seen).argmax(1) == truth).double().mean())

    drawn = run.translate(x, to, DRAWS, seed=seed).cpu()
    again = run.translate(drawn[:, 0], "A" if to == "B" else "B", 1, seed=seed)[:, 0].cpu()
    flat, real = drawn.flatten(2), y.flatten(1)
    within = torch.stack([torch.pdist(one).mean() for one in flat]).mean()
    own = torch.pdist(real).mean()
    assert target.test_labels is not None
    found: dict[str, Any] = {
        "content": sum(right(drawn[:, i], labels) for i in range(DRAWS)) / DRAWS,
        "shuffled": right(drawn[:, 0], labels.roll(1)),
        "real": right(y, target.test_labels[:n]),
        "diversity": float(within / own),
        "inputs": float(torch.pdist(flat[:, 0]).mean() / own),
        "back": float((again - x).square().mean()),
        "back_shuffled": float((again - x.roll(1, 0)).square().mean()),
    }
    if target.shape[0] == 3:
        angle, saturation = hue(drawn.flatten(0, 1))
        real_angle, real_saturation = hue(y)
        unit = torch.polar(torch.ones_like(angle), angle).unflatten(0, (len(x), DRAWS))
        # of k independent uniform angles the mean resultant is sqrt(pi / 4k), not 0
        chance = math.sqrt(math.pi / (4 * DRAWS))
        found |= {
            "hues": float((1 - unit.mean(1).abs()).mean()),
            "hues_of_independent": 1 - chance,
            "recoloured": _recoloured(x, seed) / float(own) if source.shape[0] == 1 else None,
            "hue_entropy": _entropy(angle),
            "hue_entropy_real": _entropy(real_angle),
            "saturation": float(saturation.mean()),
            "saturation_real": float(real_saturation.mean()),
        }
    return found


def _recoloured(x: Tensor, seed: int) -> float:
    """The mean distance between two real colourings of one grey picture."""
    one, other = (VIEWS["coloured"](x, np.random.default_rng((seed, k))) for k in range(2))
    return float((one - other).flatten(1).norm(dim=1).mean())


def _entropy(angle: Tensor, bins: int = 12) -> float:
    share = torch.histc(angle, bins, -math.pi, math.pi) / len(angle)
    return float(-(share * share.clamp_min(1e-12).log()).sum() / math.log(bins))


def iae_translate(
    out: str | Path,
    *,
    data: str = "mnist",
    quick: bool = False,
    seeds: int | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    say: Say = lambda text: None,
    progress: bool | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Two pairs of domains, each trained on disjoint halves of the pictures: grey and coloured, edges and filled.

    `data` names the grey pictures: mnist, fashion-mnist or fashion-mini. `quick`: 3 seeds and small
    batches, instead of 5 and larger ones. ``NAME-seed-K`` in `out` are the runs, and ``NAME-seed-K.png`` their
    pictures.
    """
    count = seeds or (3 if quick else 5)
    steps = {name: task.steps[0 if quick else 1] for name, task in TASKS.items()}
    training = TRAINING[quick] | {"steps": steps}
    folder = folder_of(out, overwrite, "iae-translate", data=data, quick=quick, training=training)
    base = load(data, root=root)
    if base.test_labels is None or not default_for(base.name, base.shape).startswith("lenet"):
        raise ValueError(f"{data} has no classifier in the package; use mnist, fashion-mnist or fashion-mini")
    results: dict[str, Any] = {"data": data, "quick": quick, "training": TRAINING[quick], "rows": []}
    for name, task in TASKS.items():
        for seed in range(count):
            a, b = (derive(base, view) if view else base for view in task[:2])
            where = folder / f"{name}-seed-{seed}"

            def make(a: Dataset = a, b: Dataset = b, seed: int = seed, task: Task = task, to: Path = where) -> Any:
                run = _train(a, b, task, quick, seed, device, progress)
                if to.is_dir():
                    shutil.rmtree(to)
                run.save(to)
                _pictures(run, a, b, to.with_suffix(".png"))
                return {
                    "there": measures(run, a, b, "B", n=PICTURES),
                    "back": measures(run, a, b, "A", n=PICTURES),
                }

            made = part(folder, where.name, overwrite, say, make)
            results["rows"].append({"task": name, "seed": seed, "seconds": made["seconds"]} | made["found"])
            keep(folder, results, _tables(results) + "\n")
    return results


def _train(
    a: Dataset, b: Dataset, task: Task, quick: bool, seed: int, device: str | None, progress: bool | None
) -> Run:
    training = TRAINING[quick]
    steps = task.steps[0 if quick else 1]
    x, y = apart(a.train, b.train, seed)
    # few steps see less than one half, and an epoch is what is trained at least
    kept = min(len(x), steps * training["batch_size"])
    epochs = max(1, round(steps * training["batch_size"] / kept))
    sides = [
        replace(d, name=f"half of {d.name.replace('+', ' ')}", source="halves", train=part[:kept], train_labels=None)
        for d, part in ((a, x), (b, y))
    ]
    return fit(
        "iae-translate", sides[0], to=sides[1], epochs=epochs, seed=seed, device=device, progress=progress,
        **training, **task.options,
    )  # fmt: skip


def _pictures(run: Run, a: Dataset, b: Dataset, path: Path, rows: int = 8) -> None:
    """Left from A to B, right back from B: the input, then translations."""
    halves = []
    for source, to in ((a, "B"), (b, "A")):
        x = as_float(source.test[:rows])
        columns = [x[:, None].expand(-1, -1, 3, -1, -1) if x.shape[1] == 1 else x[:, None]]
        found = run.translate(x, to, 6 if to == "B" else 3).cpu()
        columns.append(found.expand(-1, -1, 3, -1, -1) if found.shape[2] == 1 else found)
        halves.append(torch.cat(columns, 1))
    shown = torch.cat(halves, 1)
    grid = pictures.grid(to_uint8(shown.flatten(0, 1)).numpy(), shown.shape[1])
    pictures.save_png(path, pictures.enlarge(grid, 2))


#: the columns of a table: of translations, with digits
COLUMNS = (
    ("content", "content", 4),
    ("real", "on real ones", 4),
    ("shuffled", "shuffled", 3),
    ("diversity", "diversity", 3),
    ("inputs", "of different inputs", 3),
    ("back", "there and back", 4),
    ("back_shuffled", "shuffled", 4),
)
HUES = (
    ("diversity", "diversity", 3),
    ("recoloured", "of real colourings", 3),
    ("hues", "hues of one picture", 3),
    ("hues_of_independent", "of independent draws", 3),
    ("hue_entropy", "hue entropy", 3),
    ("hue_entropy_real", "of real ones", 3),
    ("saturation", "saturation", 3),
    ("saturation_real", "of real ones", 3),
)


def _tables(results: dict[str, Any]) -> str:
    parts, data = [], results["data"]
    for columns, tasks in ((COLUMNS, list(TASKS)), (HUES, ["coloured"])):
        rows = []
        for name in tasks:
            some = [row for row in results["rows"] if row["task"] == name]
            sides = [f"{data}+{view}" if view else data for view in TASKS[name][:2]]
            for way in ("there", "back") if columns is COLUMNS else ("there",):
                if some:
                    start, end = sides if way == "there" else sides[::-1]
                    cells = [mean_sd([row[way][key] for row in some], digits) for key, _, digits in columns]
                    rows.append([f"{start} to {end}", len(some), *cells])
        parts.append(table(("translation", "seeds", *(head for _, head, _ in columns)), rows))
    return "\n\n".join(parts)
