"""Unpaired translation of pictures by implicit autoencoders (1805.09804): is the content kept, and are there many?

There is no published number to meet. The measures are ours: what a classifier of grey pictures reads in a translation,
and how much the translations of one picture differ.
"""

from __future__ import annotations

import functools
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae.data import VIEWS, Dataset, derive, disjoint_halves, load
from chartae.draw import pictures
from chartae.maths import as_float
from chartae.metrics import LeNetFeatures, default_for, to_uint8
from chartae.runs import Run, fit, translate
from papers.parts import Parts, Row, Rows, average, grouped, table
from papers.table import Request, reproduction

__all__ = ["grey", "hue", "iae_translate", "measures"]

#: what is measured on, and how many translations of each picture
PICTURES, DRAWS = 1000, 8


class Task(NamedTuple):
    """A pair of domains and how they are trained: steps, quick and whole, and the recipe's options."""

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

#: few steps suit a shorter average. At twice this learning rate the pictures run away at first
QUICK: dict[str, Any] = {"batch_size": 32, "lr": 2e-3, "ema": 0.99, "cosine": True}
FULL = QUICK | {"batch_size": 128, "ema": 0.999}


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


def measures(run: Run, a: Dataset, b: Dataset, to: str = "B", *, n: int = 1000, seed: int = 0) -> Row:
    """Measures of translations of test pictures: content, diversity, cycle, colour.

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

    def right(translations: Tensor, truth: Tensor) -> float:
        # quantised as a picture in a file is
        with torch.no_grad():
            return float((net.classify(as_float(to_uint8(grey(translations)))).argmax(1) == truth).double().mean())

    drawn = translate(run, x, to, DRAWS, seed=seed).cpu()
    again = translate(run, drawn[:, 0], "A" if to == "B" else "B", 1, seed=seed)[:, 0].cpu()
    flat, real = drawn.flatten(2), y.flatten(1)
    within = torch.stack([torch.pdist(one).mean() for one in flat]).mean()
    between = torch.pdist(real).mean()
    assert target.test_labels is not None
    row: Row = {
        "content": sum(right(drawn[:, i], labels) for i in range(DRAWS)) / DRAWS,
        "shuffled": right(drawn[:, 0], labels.roll(1)),
        "real": right(y, target.test_labels[:n]),
        "diversity": float(within / between),
        "inputs": float(torch.pdist(flat[:, 0]).mean() / between),
        "back": float((again - x).square().mean()),
        "back_shuffled": float((again - x.roll(1, 0)).square().mean()),
    }
    if target.shape[0] == 3:
        row |= colours(drawn, y)
        row["recoloured"] = recoloured(x, seed) / float(between) if source.shape[0] == 1 else None
    return row


def colours(drawn: Tensor, real: Tensor) -> Row:
    """The hues and the saturation of translations (N, draws, 3, H, W), and of real pictures."""
    angle, saturation = hue(drawn.flatten(0, 1))
    real_angle, real_saturation = hue(real)
    unit = torch.polar(torch.ones_like(angle), angle).unflatten(0, drawn.shape[:2])
    return {
        "hues": float((1 - unit.mean(1).abs()).mean()),
        # of k independent uniform angles the mean resultant is sqrt(pi / 4k), not 0
        "hues_of_independent": 1 - math.sqrt(math.pi / (4 * drawn.shape[1])),
        "hue_entropy": entropy(angle),
        "hue_entropy_real": entropy(real_angle),
        "saturation": float(saturation.mean()),
        "saturation_real": float(real_saturation.mean()),
    }


def recoloured(x: Tensor, seed: int) -> float:
    """The mean distance between two real colourings of one grey picture."""
    one, other = (VIEWS["coloured"](x, np.random.default_rng((seed, k))) for k in range(2))
    return float((one - other).flatten(1).norm(dim=1).mean())


def entropy(angle: Tensor, bins: int = 12) -> float:
    """Of a histogram of angles, over the largest there can be."""
    share = torch.histc(angle, bins, -math.pi, math.pi) / len(angle)
    return float(-(share * share.clamp_min(1e-12).log()).sum() / math.log(bins))


@reproduction("iae-translate", takes=("data",))
def iae_translate(request: Request) -> Row:
    """Two pairs of domains, each trained on disjoint halves of the pictures: grey and coloured, edges and filled.

    `data` names the grey pictures: mnist, fashion-mnist or fashion-mini. `quick`: 3 seeds and small batches, instead of
    5 and larger ones. ``NAME-seed-K`` in `out` are the runs, and ``NAME-seed-K.png`` their pictures.

    Raises:
        ValueError: pictures that no classifier of the package reads.
    """
    quick, data = request.quick, request.data or "mnist"
    training = QUICK if quick else FULL
    steps = {name: task.steps[0 if quick else 1] for name, task in TASKS.items()}
    parts = Parts(request, "iae-translate", data=data, quick=quick, training=training | {"steps": steps})
    base = load(data, root=request.root)
    if base.test_labels is None or not default_for(base.name, base.shape).startswith("lenet"):
        raise ValueError(f"{data} has no classifier in the package; use mnist, fashion-mnist or fashion-mini")
    rows: Rows = []
    results: Row = {"data": data, "quick": quick, "training": training, "rows": rows}
    for name in TASKS:
        for seed in range(request.seeds or (3 if quick else 5)):
            part = parts.make(f"{name}-seed-{seed}", functools.partial(judge, name, base, seed, request))
            rows.append({"task": name, "seed": seed, "seconds": part.seconds, **part.found})
            parts.write(tables(data, rows), results)
    return results


def judge(name: str, base: Dataset, seed: int, request: Request) -> Row:
    """Train on a pair of domains; keep the run and its pictures."""
    task = TASKS[name]
    a, b = (derive(base, view) if view else base for view in (task.source, task.target))
    run = trained(a, b, task, seed, request)
    folder = Path(request.out) / f"{name}-seed-{seed}"
    if folder.is_dir():
        shutil.rmtree(folder)
    run.save(folder)
    draw(run, a, b, folder.with_suffix(".png"))
    return {"there": measures(run, a, b, "B", n=PICTURES), "back": measures(run, a, b, "A", n=PICTURES)}


def trained(a: Dataset, b: Dataset, task: Task, seed: int, request: Request) -> Run:
    training, steps = (QUICK, task.steps[0]) if request.quick else (FULL, task.steps[1])
    x, y = disjoint_halves(a.train, b.train, seed)
    # few steps see less than one half, and an epoch is what is trained at least
    examples = steps * training["batch_size"]
    kept = min(len(x), examples)
    halves = [
        replace(d, name=f"half of {d.name.replace('+', ' ')}", source="halves", train=half[:kept], train_labels=None)
        for d, half in ((a, x), (b, y))
    ]
    return fit(
        "iae-translate", halves[0], to=halves[1], epochs=max(1, round(examples / kept)), seed=seed,
        device=request.device, progress=request.progress, **training, **task.options,
    )  # fmt: skip


def draw(run: Run, a: Dataset, b: Dataset, path: Path, rows: int = 8) -> None:
    """Left from A to B, right back from B: the input, then translations."""
    columns = []
    for source, to, n in ((a, "B", 6), (b, "A", 3)):
        x = as_float(source.test[:rows])
        columns += [x[:, None], translate(run, x, to, n).cpu()]
    shown = torch.cat([x.expand(-1, -1, 3, -1, -1) for x in columns], 1)
    grid = pictures.grid(to_uint8(shown.flatten(0, 1)).numpy(), shown.shape[1])
    pictures.save_png(path, pictures.enlarge(grid, 2))


#: key -> head and digits
COLUMNS = {
    "content": ("content", 4),
    "real": ("on real ones", 4),
    "shuffled": ("shuffled", 3),
    "diversity": ("diversity", 3),
    "inputs": ("of different inputs", 3),
    "back": ("there and back", 4),
    "back_shuffled": ("shuffled", 4),
}
HUES = {
    "diversity": ("diversity", 3),
    "recoloured": ("of real colourings", 3),
    "hues": ("hues of one picture", 3),
    "hues_of_independent": ("of independent draws", 3),
    "hue_entropy": ("hue entropy", 3),
    "hue_entropy_real": ("of real ones", 3),
    "saturation": ("saturation", 3),
    "saturation_real": ("of real ones", 3),
}


def tables(data: str, rows: Rows) -> str:
    """One table of both directions of every task, and one of the colours of coloured translations."""

    def lines(columns: dict[str, tuple[str, int]], ways: tuple[str, ...], tasks: tuple[str, ...]) -> str:
        cells = []
        for group in grouped([row for row in rows if row["task"] in tasks], "task"):
            task = TASKS[str(group[0]["task"])]
            sides = [f"{data}+{view}" if view else data for view in (task.source, task.target)]
            for way in ways:
                start, end = sides if way == "there" else sides[::-1]
                numbers = [average(way, key, digits=digits)(group) for key, (_, digits) in columns.items()]
                cells.append([f"{start} to {end}", len(group), *numbers])
        return table(("translation", "seeds", *(head for head, _ in columns.values())), cells)

    return "\n\n".join([lines(COLUMNS, ("there", "back"), tuple(TASKS)), lines(HUES, ("there",), ("coloured",))])
