"""Content and style: what a small code keeps of a picture, and what the decoder's noise adds (arXiv:1805.09804)."""

from __future__ import annotations

import functools
import math
import statistics
import warnings

import numpy as np
import torch
from torch import Tensor

from chartae.data import Dataset, load
from chartae.diagnostics import code_use
from chartae.draw import pictures
from chartae.maths import as_float
from chartae.metrics import LeNetFeatures, default_for, extractor, to_uint8
from chartae.runs import Run, fit
from papers.parts import Columns, Parts, Row, Rows, average, first, fresh_seeds, numbers, summary
from papers.table import Request, reproduction

__all__ = ["iae_style"]

#: (latent_dim, noise_dim)
CELLS = ((2, 20), (5, 20), (10, 20), (20, 0))
DRAWS = 6
QUICK = 3000  # quick training steps, with batches of 64
TESTED = 2000  # largest number of test pictures

COLUMNS: Columns = {
    "code": first("latent_dim"),
    "noise": first("noise_dim"),
    "n": len,
    "squared error": average("error", digits=1),
    "from another's code": average("shuffled", digits=1),
    "spread within a code": average("spread"),
    "calibration": average("calibration", digits=2),
    "I(x; code) at least, nats": average("bound", digits=2),
    "label kept": average("agreement"),
}


@reproduction("iae-style")
def iae_style(request: Request) -> Row:
    """Stochastic reconstructions at three code sizes, and deterministic ones: Makhzani, 2018 (arXiv:1805.09804).

    The data are MNIST, or `fashion-mini` without a `root`. The columns are the squared error; the squared error with
    the code of another picture; the spread of reconstructions of a code; a lower bound of the information in the code;
    and how often a classifier gives a reconstruction the label of its picture. The smaller the code, the more of the
    picture is drawn anew each time. The full version trains convolutions for 40 epochs, which needs a GPU; `quick`
    trains MLPs for 3,000 steps with batches of 64.
    """
    quick = request.quick
    data = load("fashion-mini") if request.root is None else load("mnist", root=request.root)
    parts = Parts(request, "iae-style", quick=quick, data=data.name, steps=QUICK if quick else None)
    rows: Rows = []
    panels: list[np.ndarray] = []
    for size, noise in CELLS:
        for k, seed in enumerate(fresh_seeds(request.seeds or 1)):
            make = functools.partial(train_and_evaluate, data, size, noise, seed, request)
            row = parts.make(f"code-{size}-noise-{noise}-{seed}", make).result
            picture = np.array(row.pop("picture"), np.uint8)
            if not k:
                panels += [picture, np.full((len(picture), 12), 255, np.uint8)]
            rows.append(row)
    real, tested = agreement(data, data.test[:TESTED]), min(TESTED, len(data.test))
    results: Row = {"quick": quick, "data": data.name, "rows": rows, "real": real, "tested": tested}
    parts.write(
        f"{summary(rows, COLUMNS, 'latent_dim', 'noise_dim')}\n\n{data.name}, {tested:,} test pictures, "
        f"{statistics.mean(numbers(rows, 'steps')):.0f} steps; the classifier gives {real:.3f} of the pictures "
        "themselves their label.",
        results,
    )
    pictures.save_png(parts.folder / "style.png", pictures.enlarge(np.concatenate(panels[:-1], 1), 2))
    return results


def train_and_evaluate(data: Dataset, size: int, noise: int, seed: int, request: Request) -> Row:
    quick = request.quick
    batch = 64 if quick else 128
    epochs = math.ceil(QUICK * batch / len(data.train)) if quick else 40
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an ignored code shows in the row
        run = fit(
            "iae", data, latent_dim=size, noise_dim=noise, net="mlp" if quick else "conv", epochs=epochs,
            batch_size=batch, seed=seed, densities=(), device=request.device, progress=request.progress,
        )  # fmt: skip
        device = next(run.model.parameters()).device
        use = code_use(run.model, as_float(data.test[:TESTED]).to(device))
    reconstructions = to_uint8(draws(run, data.test[:TESTED], 1)[0])
    originals, labels = one_of_each(data)
    drawn = to_uint8(draws(run, originals, DRAWS).flatten(0, 1)).unflatten(0, (DRAWS, len(originals)))
    strips = torch.cat([originals[:, None], drawn.transpose(0, 1)], 1)
    return {
        "latent_dim": size,
        "noise_dim": noise,
        "seed": seed,
        "steps": epochs * math.ceil(len(data.train) / batch),
        "error": use.error,
        "shuffled": use.shuffled,
        "spread": use.spread,
        "calibration": use.calibration,
        "bound": use.bound,
        "agreement": agreement(data, reconstructions),
        "labels": labels,
        "picture": pictures.grid(strips.flatten(0, 1).numpy(), DRAWS + 1).tolist(),
    }


def draws(run: Run, x: Tensor, n: int) -> Tensor:
    """n reconstructions of each picture, all from the same code (n, N, C, H, W)."""
    codes = run.encode(x)
    return torch.stack([run.render(codes, seed=k).cpu() for k in range(n)])


def one_of_each(data: Dataset) -> tuple[Tensor, list[int]]:
    """The first test picture of each label, and the labels."""
    assert data.test_labels is not None
    labels = sorted(set(data.test_labels.tolist()))
    return data.test[[int((data.test_labels == label).nonzero()[0]) for label in labels]], labels


def agreement(data: Dataset, images: Tensor) -> float:
    """The fraction of pictures to which a LeNet gives the label of the test picture with the same index."""
    lenet = extractor(default_for(data.name, data.shape))
    assert isinstance(lenet, LeNetFeatures)
    assert data.test_labels is not None
    with torch.no_grad():
        predicted = torch.cat([lenet.net.eval().classify(as_float(part)).argmax(1).cpu() for part in images.split(500)])
    return float((predicted == data.test_labels[: len(images)]).double().mean())
