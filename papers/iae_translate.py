"""Unpaired translation of pictures by implicit autoencoders (arXiv:1805.09804): content and diversity.

There are no published numbers. We measure whether a classifier of grey pictures reads the same label in a translation,
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
from papers.parts import Parts, Row, Rows, average, fresh_seeds, grouped, table
from papers.table import Request, reproduction

__all__ = ["grey", "hue", "iae_translate", "measures"]

#: number of test pictures, and of translations of each picture
PICTURES, DRAWS = 1000, 8


class Task(NamedTuple):
    """A pair of domains: views of the source and the target, numbers of steps (quick, full), the recipe's options."""

    source: str
    target: str
    steps: tuple[int, int]
    options: dict[str, Any]


#: tasks on a set of grey pictures; the first direction is A to B
TASKS = {
    "coloured": Task("", "coloured", (500, 2000), {}),
    # each direction has a single right answer: the encoder needs no noise, and warming up both inverse maps helps
    "edges": Task("edges", "", (6000, 6000), {"encoder_noise_dim": 0, "warmup_back": 0.4}),
}

#: few steps need a shorter average of the weights; with twice this learning rate, training diverges at first
QUICK: dict[str, Any] = {"batch_size": 32, "lr": 2e-3, "ema": 0.99, "cosine": True}
FULL = QUICK | {"batch_size": 128, "ema": 0.999}


def grey(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 1 H W"]:
    """The largest channel (the value of HSV), which is the picture before it was coloured."""
    return x.amax(1, keepdim=True)


def hue(x: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """The hue of a picture's strokes in radians, and their saturation from 0 (grey) to 1 (a pure hue).

    They are computed from the sum of the colours of the strokes, on the colour circle with (R, G, B) at 0, 120 and 240
    degrees.

    >>> import math
    >>> import torch
    >>> from papers.iae_translate import hue
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
    """Metrics of translations of test pictures: content, diversity, cycle consistency and colour.

    Args:
        run: run of the recipe iae-translate.
        a: data set of domain A.
        b: data set of domain B.
        to: target domain, "A" or "B"; default "B".
        n: number of test pictures; default 1000.
        seed: seed of the translations; default 0.

    Returns:
        A row with these keys.

        * `content`: fraction of translations in whose grey version the data set's LeNet reads the label of the input;
          `real`: the same for real pictures of the target domain; `shuffled`: the same with the label of another
          input, which is chance.
        * `diversity`: mean distance between two translations of a picture, divided by that between two real pictures
          of the target; `inputs`: the same between translations of different pictures, which should be 1.
        * `back`: mean squared error per pixel after translating to the target and back; `back_shuffled`: the same
          against another picture.
        * For coloured targets, `hues`: circular variance of the hues of the translations of a picture, which is 0 for
          a single hue and `hues_of_independent` for independent ones; `recoloured`: diversity of real colourings of a
          picture; `hue_entropy`: entropy of the hues of all translations in 12 bins, divided by log 12; `saturation`;
          and `hue_entropy_real` and `saturation_real` of real pictures.

    Raises:
        ValueError: the data have no class labels, or the package has no classifier for them.
    """
    source, target = (a, b) if to == "B" else (b, a)
    base = source.name.split("+")[0]
    name = default_for(base, (1, *source.shape[1:]))
    if not name.startswith("lenet") or source.test_labels is None:
        raise ValueError(
            f"the data set is {source.name}; expected labelled pictures for which the package has a classifier. Use "
            "MNIST or Fashion-MNIST."
        )
    net = LeNetFeatures(name).net
    x, y, labels = as_float(source.test[:n]), as_float(target.test[:n]), source.test_labels[:n]

    def accuracy(translations: Tensor, truth: Tensor) -> float:
        # quantised like a picture in a file
        with torch.no_grad():
            return float((net.classify(as_float(to_uint8(grey(translations)))).argmax(1) == truth).double().mean())

    drawn = translate(run, x, to, DRAWS, seed=seed).cpu()
    back = translate(run, drawn[:, 0], "A" if to == "B" else "B", 1, seed=seed)[:, 0].cpu()
    flat, real = drawn.flatten(2), y.flatten(1)
    within = torch.stack([torch.pdist(one).mean() for one in flat]).mean()
    between = torch.pdist(real).mean()
    assert target.test_labels is not None
    row: Row = {
        "content": sum(accuracy(drawn[:, i], labels) for i in range(DRAWS)) / DRAWS,
        "shuffled": accuracy(drawn[:, 0], labels.roll(1)),
        "real": accuracy(y, target.test_labels[:n]),
        "diversity": float(within / between),
        "inputs": float(torch.pdist(flat[:, 0]).mean() / between),
        "back": float((back - x).square().mean()),
        "back_shuffled": float((back - x.roll(1, 0)).square().mean()),
    }
    if target.shape[0] == 3:
        row |= colours(drawn, y)
        row["recoloured"] = recoloured(x, seed) / float(between) if source.shape[0] == 1 else None
    return row


def colours(drawn: Tensor, real: Tensor) -> Row:
    """Metrics of the hues and saturation of translations (N, draws, 3, H, W) and of real pictures (N, 3, H, W)."""
    angle, saturation = hue(drawn.flatten(0, 1))
    real_angle, real_saturation = hue(real)
    unit = torch.polar(torch.ones_like(angle), angle).unflatten(0, drawn.shape[:2])
    return {
        "hues": float((1 - unit.mean(1).abs()).mean()),
        # the mean resultant length of k independent uniform angles is sqrt(pi / 4k), not 0
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
    """The entropy of a histogram of angles, divided by its maximum."""
    share = torch.histc(angle, bins, -math.pi, math.pi) / len(angle)
    return float(-(share * share.clamp_min(1e-12).log()).sum() / math.log(bins))


@reproduction("iae-translate", takes=("data",))
def iae_translate(request: Request) -> Row:
    """Unpaired translation between grey and coloured pictures, and between edges and filled pictures.

    Each domain of a pair is trained on its own half of the pictures. `data` names the grey pictures: mnist,
    fashion-mnist or fashion-mini. `quick` uses 3 seeds and small batches instead of 5 seeds and larger ones. The folder
    `out` holds the runs, ``NAME-seed-K``, and their pictures, ``NAME-seed-K.png``.

    Raises:
        ValueError: the package has no classifier for the pictures.
    """
    quick, data = request.quick, request.data or "mnist"
    training = QUICK if quick else FULL
    steps = {name: task.steps[0 if quick else 1] for name, task in TASKS.items()}
    parts = Parts(request, "iae-translate", data=data, quick=quick, training=training | {"steps": steps})
    base = load(data, root=request.root)
    if base.test_labels is None or not default_for(base.name, base.shape).startswith("lenet"):
        raise ValueError(
            f"--data is {data}; expected labelled pictures for which the package has a classifier. Use mnist, "
            "fashion-mnist or fashion-mini."
        )
    rows: Rows = []
    results: Row = {"data": data, "quick": quick, "training": training, "rows": rows}
    for name in TASKS:
        for seed in fresh_seeds(request.seeds or (3 if quick else 5)):
            part = parts.make(f"{name}-seed-{seed}", functools.partial(train_and_evaluate, name, base, seed, request))
            rows.append({"task": name, "seed": seed, "seconds": part.seconds, **part.result})
            parts.write(tables(data, rows), results)
    return results


def train_and_evaluate(name: str, base: Dataset, seed: int, request: Request) -> Row:
    """Train on a pair of domains, save the run and its pictures, and evaluate both directions."""
    task = TASKS[name]
    a, b = (derive(base, view) if view else base for view in (task.source, task.target))
    run = train(a, b, task, seed, request)
    folder = Path(request.out) / f"{name}-seed-{seed}"
    if folder.is_dir():
        shutil.rmtree(folder)
    run.save(folder)
    draw(run, a, b, folder.with_suffix(".png"))
    return {"there": measures(run, a, b, "B", n=PICTURES), "back": measures(run, a, b, "A", n=PICTURES)}


def train(a: Dataset, b: Dataset, task: Task, seed: int, request: Request) -> Run:
    training, steps = (QUICK, task.steps[0]) if request.quick else (FULL, task.steps[1])
    x, y = disjoint_halves(a.train, b.train, seed)
    # training takes at least one epoch, so the halves are cut if the steps do not need all examples
    examples = steps * training["batch_size"]
    used = min(len(x), examples)
    halves = [
        replace(d, name=f"half of {d.name.replace('+', ' ')}", source="halves", train=half[:used], train_labels=None)
        for d, half in ((a, x), (b, y))
    ]
    return fit(
        "iae-translate", halves[0], to=halves[1], epochs=max(1, round(examples / used)), seed=seed,
        device=request.device, progress=request.progress, **training, **task.options,
    )  # fmt: skip


def draw(run: Run, a: Dataset, b: Dataset, path: Path, rows: int = 8) -> None:
    """Draw pictures of A with their translations to B on the left, and of B with translations to A on the right."""
    columns = []
    for source, to, n in ((a, "B", 6), (b, "A", 3)):
        x = as_float(source.test[:rows])
        columns += [x[:, None], translate(run, x, to, n).cpu()]
    shown = torch.cat([x.expand(-1, -1, 3, -1, -1) for x in columns], 1)
    grid = pictures.grid(to_uint8(shown.flatten(0, 1)).numpy(), shown.shape[1])
    pictures.save_png(path, pictures.enlarge(grid, 2))


#: key -> heading and digits
COLUMNS = {
    "content": ("content", 4),
    "real": ("of real pictures", 4),
    "shuffled": ("shuffled", 3),
    "diversity": ("diversity", 3),
    "inputs": ("of different inputs", 3),
    "back": ("cycle error", 4),
    "back_shuffled": ("shuffled", 4),
}
HUES = {
    "diversity": ("diversity", 3),
    "recoloured": ("of real colourings", 3),
    "hues": ("hue variance of one picture", 3),
    "hues_of_independent": ("of independent draws", 3),
    "hue_entropy": ("hue entropy", 3),
    "hue_entropy_real": ("of real pictures", 3),
    "saturation": ("saturation", 3),
    "saturation_real": ("of real pictures", 3),
}


def tables(data: str, rows: Rows) -> str:
    """A table of both directions of every task, and a table of the colours of coloured translations."""

    def part(columns: dict[str, tuple[str, int]], directions: tuple[str, ...], tasks: tuple[str, ...]) -> str:
        cells = []
        for group in grouped([row for row in rows if row["task"] in tasks], "task"):
            task = TASKS[str(group[0]["task"])]
            sides = [f"{data}+{view}" if view else data for view in (task.source, task.target)]
            for direction in directions:
                start, end = sides if direction == "there" else sides[::-1]
                numbers = [average(direction, key, digits=digits)(group) for key, (_, digits) in columns.items()]
                cells.append([f"{start} to {end}", len(group), *numbers])
        return table(("translation", "seeds", *(heading for heading, _ in columns.values())), cells)

    return "\n\n".join([part(COLUMNS, ("there", "back"), tuple(TASKS)), part(HUES, ("there",), ("coloured",))])
