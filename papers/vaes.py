"""Small VAEs trained together on known mixings, and how well each recovers the factors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chartae.autoencoder import Autoencoder, in_slices
from chartae.data.mixings import Mixing
from chartae.diagnostics import geometry, self_consistency
from chartae.metrics import mcc
from chartae.recipes import Setting, build
from chartae.runs import train_many
from papers.parts import Columns, Row, Rows, average

__all__ = ["BASELINES", "HELD_OUT", "Plan", "contrasts", "recovery", "train_vaes"]

#: number of held-out points for evaluation
HELD_OUT = 6000


@dataclass(frozen=True)
class Plan:
    """How the small models are trained: number of steps and training points, net, learning rate, batch size."""

    steps: int
    n: int
    net: str = "smooth:48x48"
    lr: float = 5e-3
    batch: int = 64

    @classmethod
    def of(cls, quick: bool) -> Plan:
        return cls(2500, 12_000) if quick else cls(15_000, 42_000)


#: columns of every table of recovered factors, beside the MCC
BASELINES: Columns = {
    "MCC of independent codes": average("chance"),
    "of a random rotation": average("rotation"),
}


def recovery(z: Tensor, codes: Tensor) -> Row:
    """How well codes recover factors, with what independent codes and randomly rotated factors have."""
    found = mcc(z, codes)
    return {"mcc": float(found), "chance": found.chance, "rotation": found.rotation}


def contrasts(values: Tensor) -> Row:
    """The mean of the finite contrasts, infinite if there are none, and how many are left out as infinite."""
    finite = values[values.isfinite()]
    return {
        "contrast": float(finite.mean()) if len(finite) else math.inf,
        "infinite_contrasts": len(values) - len(finite),
    }


def train_vaes(
    worlds: Sequence[Mixing], points: Sequence[tuple[float, int]], plan: Plan, prior: str = "uniform"
) -> Rows:
    """Train and evaluate a VAE for each (gamma², seed), on the world with the same index, or all on a single one."""
    n = plan.n
    drawn = [[t.float() for t in world.sample(n + HELD_OUT, seed=0)] for world in worlds]
    scales = [float(x[:n].var(0).mean().sqrt()) for x, _ in drawn]
    sets = [x / scale for (x, _), scale in zip(drawn, scales, strict=True)]
    index = [i % len(worlds) for i in range(len(points))]  # the world of each model
    setting = Setting((worlds[0].size,), worlds[0].dim, plan.net, unit=False)
    # with large gamma, training starts from a softer decoder, which helps to find the axes
    warmups = [plan.steps * 3 // 5 if gamma2 > 1e4 else 0 for gamma2, _ in points]
    objectives = [
        build("vae", setting, seed=seed, gamma2=gamma2 * scales[i] ** 2, prior=prior, warmup=warmup).objective
        for (gamma2, seed), i, warmup in zip(points, index, warmups, strict=True)
    ]
    for warmup in dict.fromkeys(warmups):
        members = [k for k, w in enumerate(warmups) if w == warmup]
        train_many(
            [objectives[k] for k in members],
            sets[0][:n] if len(worlds) == 1 else [sets[index[k]][:n] for k in members],
            seeds=[points[k][1] for k in members],
            steps=plan.steps,
            batch_size=plan.batch,
            lr=plan.lr,
        )
    return [
        {"gamma2": gamma2, "seed": seed, **evaluate(objective.model, sets[i][n:], drawn[i][1][n:], scales[i])}
        for (gamma2, seed), i, objective in zip(points, index, objectives, strict=True)
    ]


def evaluate(model: Autoencoder, x: Tensor, z: Tensor, scale: float) -> Row:
    """Metrics of a trained VAE on held-out points, in the units of its training."""
    means = in_slices(model, model.encode, x)
    with torch.no_grad():
        codes = model.encoder(x).sample(generator=torch.Generator().manual_seed(0))
    consistency = self_consistency(model, x[:2000])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a collapsed model has infinite contrast
        contrast = geometry(model, means[:2000].clamp(1e-4, 1 - 1e-4)).contrast
    return {
        **recovery(z, means),
        "mcc_authors": float(mcc(z, codes, protocol="batches", baselines=False)),
        **contrasts(contrast),
        "contrast_median": float(contrast.median()),
        "kl": float(consistency.kl.sum()),
        "active": int(consistency.active.sum()),
        "variance_ratio": consistency.ratio,
        "mse": float((consistency.reconstruction**2).mean()) * scale**2 / x.shape[1],
    }
