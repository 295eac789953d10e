"""Factors of sprites and of dSprites by VAEs and deterministic autoencoders (arXiv:2206.02416)."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from chartae.data import Dataset, Images, load
from chartae.diagnostics import active_units, geometry
from chartae.maths import as_float
from chartae.metrics import dci, mcc
from chartae.runs import Run, fit
from papers.parts import Columns, Parts, Row, Rows, average, first, fresh_seeds, summary
from papers.table import Request, reproduction
from papers.vaes import BASELINES, contrasts, recovery

__all__ = ["ima_sprites"]

COLUMNS: Columns = {
    "data": first("data"),
    "recipe": first("recipe"),
    "options": first("options"),
    "n": len,
    "MCC (means)": average("mcc"),
    **BASELINES,
    "MCC (authors' protocol)": average("mcc_authors"),
    "contrast": average("contrast"),
    "infinite ones left out": average("infinite_contrasts", digits=1),
    "DCI disentanglement": average("dci"),
    "mse": average("mse", digits=5),
}


@dataclass(frozen=True)
class Model:
    """A row of the table: data set, recipe, its options, changes to them with `quick`, number of quick steps."""

    data: str
    recipe: str
    options: dict[str, Any] = field(default_factory=dict)
    quick_options: dict[str, Any] = field(default_factory=dict)
    quick_steps: int = 6000

    def options_for(self, quick: bool) -> dict[str, Any]:
        """The options of the recipe."""
        return self.options | self.quick_options if quick else self.options

    def label(self, seed: int) -> str:
        """The name of the part."""
        return f"{self.data}-{self.recipe}{'-orthogonal' if 'orthogonality' in self.options else ''}-{seed}"


RAE = {"sigma": 1.0, "beta": 0.1, "output": "identity"}
#: quick options weight each pixel four times, because quick pictures have a quarter of the pixels
MODELS = (
    Model("sprites", "vae", {"gamma2": 1.0, "prior": "beta", "output": "identity"}, {"gamma2": 4.0}, 12_000),
    Model("sprites", "rae", RAE, {"sigma": 0.5}, 12_000),
    Model("sprites", "rae", RAE | {"orthogonality": 1.0}, {"sigma": 0.5}, 12_000),
    Model("dsprites", "beta-vae", {"beta": 4.0, "likelihood": "bernoulli"}),
    Model("dsprites", "vae", {"likelihood": "bernoulli"}),
    Model("dsprites", "rae"),
)


@reproduction("ima-sprites")
def ima_sprites(request: Request) -> Row:
    """Recovery of the factors of sprites, and of dSprites if `root` has them: MCC, DCI, contrast (2206.02416).

    A VAE with gamma² = 1 and deterministic autoencoders with and without `Orthogonality` are trained on sprites, which
    have four factors; VAE, beta-VAE and RAE on dSprites. The full version trains on 64x64 pixels for 41,500 steps with
    batches of 512, which needs a GPU. `quick` trains on 32x32 pixels, each weighted four times, with 16, 32 and 32
    channels for 12,000 steps (6,000 on dSprites) with batches of 64.
    """
    parts = Parts(request, "ima-sprites", quick=request.quick)
    rows: Rows = []
    results: Row = {"quick": request.quick, "rows": rows}
    for model in MODELS:
        if model.data == "dsprites":
            try:
                load("dsprites", root=request.root)
            except OSError as error:
                request.say(f"skipping dsprites: {error}")
                continue
        for seed in fresh_seeds(request.seeds or (1 if request.quick else 10)):
            make = functools.partial(train_and_evaluate, model, seed, request)
            rows.append(parts.make(model.label(seed), make).result)
            parts.write(summary(rows, COLUMNS, "data", "recipe", "options"), results)
    return results


def dataset(name: str, request: Request) -> Dataset:
    """The data set; with `quick`, every 2x2 pixels are averaged."""
    data = load(name, root=request.root)
    if not request.quick:
        return data

    def halved(x: Tensor) -> Tensor:
        return torch.cat([
            torch.nn.functional.avg_pool2d(piece.float(), 2).round().to(torch.uint8) for piece in x.split(1000)
        ])  # fmt: skip

    train, valid, test = map(halved, (data.train, data.valid, data.test))
    kind = Images.of(train)
    return replace(data, name=f"{name}-32", source="", train=train, valid=valid, test=test, kind=kind)


def train_and_evaluate(model: Model, seed: int, request: Request) -> Row:
    quick, options, data = request.quick, model.options_for(request.quick), dataset(model.data, request)
    batch = 64 if quick else 512
    steps = model.quick_steps if quick else 41_500
    run = fit(
        model.recipe, data, latent_dim=len(data.factors) if model.data == "sprites" else 10,
        net="smooth-conv:16x32x32" if quick else "smooth-conv",
        epochs=max(1, round(steps * batch / len(data.train))), batch_size=batch, lr=1e-3 if quick else 5e-4, seed=seed,
        cosine=True, densities=(), device=request.device, progress=request.progress, **options,
    )  # fmt: skip
    truth = data.test_labels
    assert truth is not None
    truth = truth.double()
    device = next(run.model.parameters()).device
    means = run.encode(data.test).cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        contrast = geometry(run.model, means[:200].to(device)).contrast
    return {
        "data": model.data,
        "recipe": model.recipe,
        "options": ", ".join(f"{k} {v}" for k, v in options.items()),
        "seed": seed,
        "steps": steps,
        "batch": batch,
        **recovery(truth, means),
        **contrasts(contrast),
        "dci": float(dci(truth, means, ordered=True).disentanglement),
        "mse": float((run.decode_inside(means[:1000]).cpu() - as_float(data.test[:1000])).square().mean()),
        **({} if model.recipe == "rae" else posterior(run, data.test, truth)),
    }


def posterior(run: Run, x: Tensor, truth: Tensor) -> Row:
    """Metrics of a run with a stochastic encoder: recovery by drawn codes, and the active units."""
    device = next(run.model.parameters()).device
    with torch.no_grad():
        codes = torch.cat([
            run.model.encoder(as_float(piece.to(device))).sample(generator=torch.Generator(device).manual_seed(0))
            for piece in x.split(500)
        ]).cpu()  # fmt: skip
    kl, active = active_units(run.model, as_float(x[:500].to(device)))
    return {
        "mcc_authors": float(mcc(truth, codes, protocol="batches", batch=512, baselines=False)),
        "active": int(active.sum()),
        "kl": kl.tolist(),
    }
