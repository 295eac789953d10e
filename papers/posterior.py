"""Expressive posteriors: four points whose codes must tile the prior, and a decoder whose posterior has two modes."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from chartae.autoencoder import Autoencoder, evaluating
from chartae.conditionals import Conditional, Gaussian, Implicit, StandardNormal
from chartae.data import Batches, from_arrays
from chartae.draw.plotting import BLUE, GREEN, INK, ORANGE, panels
from chartae.maths import energy_distance
from chartae.metrics import mmd_test
from chartae.nn import MLP, Critic
from chartae.objectives import Objective, Penalised
from chartae.objectives.adversarial import Adversarial
from chartae.runs import fit
from chartae.terms import KL, AdversarialKL, Reconstruction
from chartae.training import fit as train
from papers.parts import Say, folder_of, grouped, keep, mean_sd, part, table

__all__ = ["iae_posterior"]

#: the four points, as pictures of 2 x 2
POINTS = 255 * torch.eye(4, dtype=torch.uint8).reshape(4, 1, 2, 2)
#: of the prior, by which p(x) is integrated
DRAWS = 200_000
COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "VAE, normal posterior": ("vae", {"likelihood": "bernoulli"}),
    "AAE, implicit posterior": ("aae", {"likelihood": "bernoulli", "noise_dim": 4, "weight": 10.0}),
    # moments of few draws are noisy: with 32, codes crowd at the posteriors' edges
    "AVB, implicit posterior": ("avb", {"likelihood": "bernoulli", "noise_dim": 4, "contrast": 128}),
}


def iae_posterior(
    out: str | Path,
    *,
    quick: bool = False,
    seeds: int | None = None,
    overwrite: bool = False,
    say: Say = lambda text: None,
    **_: Any,
) -> dict[str, Any]:
    """Posteriors of any shape, learnt by critics, where the truth is known.

    Four one-hot pictures, a code of two dimensions and a Bernoulli decoder: the best model's q(z|x) share the prior out
    among them, so that the aggregate is N(0, I) and -log p(x) is log 4. And x = z^2 + noise, whose posterior has two
    modes, under the known decoder: which posteriors have both? Mescheder et al., 2017 (arXiv 1701.04722); Makhzani,
    2018 (arXiv 1805.09804). `quick`: fewer steps.
    """
    count = seeds or 5
    folder = folder_of(out, overwrite, "iae-posterior", quick=quick)
    results: dict[str, Any] = {"quick": quick, "floor": _floor(), "points": [], "modes": []}
    codes: dict[str, Tensor] = {}
    drawn: dict[str, Tensor] = {}
    for seed in range(count):
        for name, (recipe, options) in METHODS.items():
            make = functools.partial(_four, recipe, options, seed, 3000 if quick else 10_000)
            found = part(folder, f"points-{recipe}-{seed}", overwrite, say, make)["found"]
            codes.setdefault(name, torch.tensor(found.pop("codes")))
            results["points"].append({"method": name} | found)
        for name, objective in SQUARE.items():
            make = functools.partial(_two_modes, objective, seed, 1000 if quick else 6000)
            label = f"modes-{name.split()[0].strip(',').lower()}-{seed}"
            found = part(folder, label, overwrite, say, make)["found"]
            drawn.setdefault(name, torch.tensor(found.pop("codes")))
            results["modes"].append({"method": name} | found)
        _write(folder, results, codes, drawn)
    return results


def _write(folder: Path, results: dict[str, Any], codes: dict[str, Tensor], drawn: dict[str, Tensor]) -> None:
    keep(folder, results, _tables(results))
    _points_figure(codes).savefig(folder / "points.png", dpi=130)
    _modes_figure(drawn).savefig(folder / "modes.png", dpi=130)


# -- four points ------------------------------------------------------------------------------------------------------


def _four(recipe: str, options: dict[str, Any], seed: int, steps: int) -> dict[str, Any]:
    data = from_arrays(POINTS.repeat(3200, 1, 1, 1), valid=0, test=0)
    run = fit(
        recipe, data, latent_dim=2, net="smooth:64x64", epochs=steps // 100, batch_size=128, lr=2e-3, seed=seed,
        cosine=True, ema=0.99, densities=(), progress=False, device="cpu", **options,
    )  # fmt: skip
    return judge(run.model, seed)


def judge(model: Autoencoder, seed: int) -> dict[str, Any]:
    """Of the four points: the law of all codes together, each posterior against the decoder's own, and -log p(x)."""
    x = POINTS.float() / 255
    g = torch.Generator().manual_seed(1000 + seed)
    with evaluating(model):
        z = model.encoder(x).sample(1000, generator=g)  # (1000, 4, 2)
        prior = torch.randn(DRAWS, 2, generator=g)
        likelihood = torch.stack([
            torch.cat([model.decoder(part).log_prob(one.expand(len(part), *one.shape)) for part in prior.split(20_000)])
            for one in x
        ]).double()  # fmt: skip
        named = model.decoder(z.flatten(0, 1)).mean.flatten(1).argmax(1).unflatten(0, (1000, 4))
    log_p = likelihood.logsumexp(1) - math.log(len(prior))
    shares = (likelihood - log_p[:, None]).exp()  # p(x|z) / p(x), of mean 1
    error = shares.std(1) / len(prior) ** 0.5  # of log p(x), by the delta method
    distances = []
    for k in range(4):
        exact = prior[torch.multinomial(shares[k], 1000, replacement=True, generator=g)]
        distances.append(float(energy_distance(z[:, k], exact)))
    aggregate = z[:250].flatten(0, 1)
    mmd, p = mmd_test(aggregate, torch.randn(1000, 2, generator=g), seed=seed)
    return {
        "seed": seed,
        "nll": -float(log_p.mean()),
        "nll_error": float(error.square().sum().sqrt()) / 4,
        "mmd": mmd,
        "p": p,
        "aggregate": float(energy_distance(z.flatten(0, 1), torch.randn(4000, 2, generator=g))),
        "posterior": statistics.mean(distances),
        "own": float((named == torch.arange(4)).double().mean()),
        "codes": z[:500].transpose(0, 1).tolist(),
    }


# -- two modes --------------------------------------------------------------------------------------------------------

NOISE = 0.25
#: of x, an epoch, in batches of 256
EXAMPLES = 51_200
AT = (0.5, 1.0, 2.0, 3.0)


class _Square(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def _encoder(implicit: bool) -> Conditional:
    settings: dict[str, Any] = {"norm": False, "activation": "leaky-relu"}
    if implicit:
        return Implicit(MLP(1 + 4, 1, (64, 64), **settings), 4)
    return Gaussian(MLP(1, 2, (64, 64), **settings), "learnt")


def _critic() -> Critic:
    return Critic(MLP(2, 1, (64, 64), norm=False, activation="leaky-relu"))


def _known(implicit: bool) -> Autoencoder:
    return Autoencoder(_encoder(implicit), Gaussian(_Square(), NOISE), StandardNormal(1))


SQUARE: dict[str, Callable[[], Objective]] = {
    "VAE, normal posterior": lambda: Penalised(_known(False), Reconstruction() + KL()),
    "AVB, implicit posterior": lambda: Penalised(_known(True), Reconstruction() + AdversarialKL(_critic())),
    "Flipped IAE, generator held": lambda: Adversarial(
        _known(True), {"inference": _critic()}, gradient="none", warmup=0.0, penalty=0.01
    ),
}


def _exact(x: float, n: int, seed: int) -> Tensor:
    """Draws of p(z|x) of x = z^2 + noise, z ~ N(0, 1), from a fine grid."""
    grid = torch.linspace(-4, 4, 16_001, dtype=torch.float64)
    weights = (-0.5 * grid.square() - 0.5 * ((x - grid.square()) / NOISE).square()).exp()
    g = torch.Generator().manual_seed(seed)
    return grid[torch.multinomial(weights, n, replacement=True, generator=g)][:, None].float()


def _two_modes(make: Callable[[], Objective], seed: int, steps: int) -> dict[str, Any]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(EXAMPLES, 1, generator=g).square() + NOISE * torch.randn(EXAMPLES, 1, generator=g)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective = make()
    train(
        objective, Batches(x, 256, seed=seed), epochs=steps * 256 // EXAMPLES, lr=2e-3, cosine=True, ema=0.99,
        seed=seed, progress=False, device="cpu",
    )  # fmt: skip
    with evaluating(objective.model):
        z = objective.model.encoder(torch.tensor(AT)[:, None]).sample(2000, generator=g).transpose(0, 1)
    right = [float((part > 0).double().mean()) for part in z]
    return {
        "seed": seed,
        "distance": [float(energy_distance(part, _exact(at, 2000, seed + 50))) for at, part in zip(AT, z, strict=True)],
        "lighter": [min(share, 1 - share) for share in right],
        "codes": z[:, :1000, 0].tolist(),
    }


def _floor() -> float:
    """The distance of as many exact draws."""
    pairs = [(_exact(at, 2000, 100 + k), _exact(at, 2000, 200 + k)) for k in range(3) for at in AT]
    return statistics.mean(float(energy_distance(a, b)) for a, b in pairs)


# -- tables and pictures ----------------------------------------------------------------------------------------------


def _tables(results: dict[str, Any]) -> str:
    points = [
        (
            name, len(some), mean_sd([r["nll"] for r in some], 4), f"{max(r['nll_error'] for r in some):.4f}",
            mean_sd([r["aggregate"] for r in some], 4), ", ".join(f"{r['p']:.3f}" for r in some),
            mean_sd([r["posterior"] for r in some], 4), f"{statistics.mean(r['own'] for r in some):.4f}",
        )
        for (name,), some in grouped(results["points"], "method")
    ]  # fmt: skip
    modes = [
        (
            name, len(some), mean_sd([statistics.mean(r["distance"]) for r in some], 4),
            mean_sd([statistics.mean(r["lighter"]) for r in some]), f"{min(min(r['lighter']) for r in some):.3f}",
        )
        for (name,), some in grouped(results["modes"], "method")
    ]  # fmt: skip
    parts = [
        "### Four points, a code of two dimensions (log 4 = 1.3863)",
        table(
            ("method", "n", "-log p(x)", "its error", "energy distance of all codes to N(0, I)", "p of the MMD test",
             "energy distance of q(z given x) to the decoder's posterior", "codes decoded to their own point"),
            points,
        ),
        f"### A posterior of two modes: x = z² + {NOISE:g} e, the decoder known, at x = {', '.join(map(str, AT))}",
        table(
            ("method", "n", "energy distance to the exact posterior", "mass of the lighter mode (exact: 0.5)",
             "least, of any seed and x"),
            modes,
        ),
        f"As many exact draws are {results['floor']:.4f} apart.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _points_figure(codes: dict[str, Tensor]) -> Figure:
    figure, axes = panels(3.2 * len(codes), 3.4, len(codes))
    for one, (name, z) in zip(axes, codes.items(), strict=True):
        for k, colour in enumerate(COLOURS):
            one.scatter(z[k, :, 0], z[k, :, 1], s=3, color=colour, alpha=0.6, linewidths=0)
        for radius in (1, 2):
            one.add_patch(_circle(radius))
        one.set_aspect("equal")
        one.set_xlim(-3.6, 3.6)
        one.set_ylim(-3.6, 3.6)
        one.set_title(name, fontsize=9, loc="left")
    return figure


def _circle(radius: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((0, 0), radius, fill=False, ec=INK, lw=0.5, ls=":")


def _modes_figure(codes: dict[str, Tensor]) -> Figure:
    figure, axes = panels(3.2 * len(codes), 3.0, len(codes))
    bins = torch.linspace(-2.6, 2.6, 79).tolist()
    which = 1  # x = 1
    exact = _exact(AT[which], 50_000, 7)[:, 0].tolist()
    for one, (name, z) in zip(axes, codes.items(), strict=True):
        one.hist(exact, bins=bins, density=True, histtype="step", color=INK, lw=1, label="exact")
        one.hist(z[which].tolist(), bins=bins, density=True, color=BLUE, alpha=0.5, label="learnt")
        one.set_title(name, fontsize=9, loc="left")
        one.set_xlabel(f"z given x = {AT[which]:g}", fontsize=9)
        one.set_yticks([])
        one.spines["left"].set_visible(False)
    axes[0].legend(fontsize=7, frameon=False)
    return figure
