"""Expressive posteriors: four points whose codes must tile the prior, and a decoder whose posterior has two modes."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor, nn

from chartae.autoencoder import Autoencoder, evaluating
from chartae.conditionals import Conditional, Gaussian, Implicit, StandardNormal
from chartae.data import Batches, from_arrays
from chartae.draw import plotting
from chartae.maths import energy_distance
from chartae.metrics import mmd_test
from chartae.nn import MLP, Critic
from chartae.objectives import Adversarial, Objective, Penalised
from chartae.runs import fit
from chartae.terms import KL, AdversarialKL, Reconstruction
from chartae.training import fit as train
from papers.parts import Columns, Parts, Row, Rows, average, first, numbers, summary
from papers.table import Request, reproduction

__all__ = ["iae_posterior", "judge"]

#: the four points, as pictures of 2 x 2
POINTS = 255 * torch.eye(4, dtype=torch.uint8).reshape(4, 1, 2, 2)
#: of the prior, by which p(x) is integrated
DRAWS = 200_000
COLOURS = (plotting.BLUE, plotting.ORANGE, plotting.GREEN, "#cc79a7")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "VAE, normal posterior": ("vae", {"likelihood": "bernoulli"}),
    "AAE, implicit posterior": ("aae", {"likelihood": "bernoulli", "noise_dim": 4, "weight": 10.0}),
    # moments of few draws are noisy: with 32, codes crowd at the posteriors' edges
    "AVB, implicit posterior": ("avb", {"likelihood": "bernoulli", "noise_dim": 4, "contrast": 128}),
}


@reproduction("iae-posterior")
def iae_posterior(request: Request) -> Row:
    """Posteriors of any shape, learnt by critics, where the truth is known.

    Four one-hot pictures, a code of two dimensions and a Bernoulli decoder: the best model's q(z|x) share the prior out
    among them, so that the aggregate is N(0, I) and -log p(x) is log 4. And x = z^2 + noise, whose posterior has two
    modes, under the known decoder: which posteriors have both? Mescheder et al., 2017 (arXiv 1701.04722); Makhzani,
    2018 (arXiv 1805.09804). `quick`: fewer steps.
    """
    quick = request.quick
    parts = Parts(request, "iae-posterior", quick=quick)
    points: Rows = []
    modes: Rows = []
    codes: dict[str, Tensor] = {}
    draws: dict[str, Tensor] = {}
    results: Row = {"quick": quick, "floor": floor(), "points": points, "modes": modes}
    for seed in range(request.seeds or 5):
        for name, (recipe, options) in METHODS.items():
            make = functools.partial(four_points, recipe, options, seed, 3000 if quick else 10_000)
            row = parts.make(f"points-{recipe}-{seed}", make).found
            codes.setdefault(name, torch.tensor(row.pop("codes")))
            points.append({"method": name, **row})
        for name, objective in SQUARE.items():
            make = functools.partial(two_modes, objective, seed, 1000 if quick else 6000)
            row = parts.make(f"modes-{name.split()[0].strip(',').lower()}-{seed}", make).found
            draws.setdefault(name, torch.tensor(row.pop("codes")))
            modes.append({"method": name, **row})
        parts.write(tables(points, modes, floor()), results)
        points_figure(codes).savefig(parts.folder / "points.png", dpi=130)
        modes_figure(draws).savefig(parts.folder / "modes.png", dpi=130)
    return results


# -- four points ------------------------------------------------------------------------------------------------------


def four_points(recipe: str, options: dict[str, Any], seed: int, steps: int) -> Row:
    data = from_arrays(POINTS.repeat(3200, 1, 1, 1), valid=0, test=0)
    run = fit(
        recipe, data, latent_dim=2, net="smooth:64x64", epochs=steps // 100, batch_size=128, lr=2e-3, seed=seed,
        cosine=True, ema=0.99, densities=(), progress=False, device="cpu", **options,
    )  # fmt: skip
    return judge(run.model, seed)


def judge(model: Autoencoder, seed: int) -> Row:
    """A model of the four points: all codes together, each posterior against the decoder's own, and -log p(x)."""
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
        draws = prior[torch.multinomial(shares[k], 1000, replacement=True, generator=g)]
        distances.append(float(energy_distance(z[:, k], draws)))
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


class Square(nn.Module):
    """z -> z^2"""

    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def encoder(implicit: bool) -> Conditional:
    settings: dict[str, Any] = {"norm": False, "activation": "leaky-relu"}
    if implicit:
        return Implicit(MLP(1 + 4, 1, (64, 64), **settings), 4)
    return Gaussian(MLP(1, 2, (64, 64), **settings), "learnt")


def critic() -> Critic:
    return Critic(MLP(2, 1, (64, 64), norm=False, activation="leaky-relu"))


def known(implicit: bool) -> Autoencoder:
    return Autoencoder(encoder(implicit), Gaussian(Square(), NOISE), StandardNormal(1))


SQUARE: dict[str, Callable[[], Objective]] = {
    "VAE, normal posterior": lambda: Penalised(known(False), Reconstruction() + KL()),
    # the critic has to keep up with a posterior that moves
    "AVB, implicit posterior": lambda: Penalised(
        known(True), Reconstruction() + AdversarialKL(critic()), rates={"adversarial_kl": 4.0}, betas=(0.5, 0.99)
    ),
    "Flipped IAE, generator held": lambda: Adversarial(
        known(True), {"inference": critic()}, gradient="none", warmup=0.0, penalty=0.01
    ),
}


def exact(x: float, n: int, seed: int) -> Tensor:
    """Draws of p(z|x) of x = z^2 + noise, z ~ N(0, 1), from a fine grid."""
    grid = torch.linspace(-4, 4, 16_001, dtype=torch.float64)
    weights = (-0.5 * grid.square() - 0.5 * ((x - grid.square()) / NOISE).square()).exp()
    g = torch.Generator().manual_seed(seed)
    return grid[torch.multinomial(weights, n, replacement=True, generator=g)][:, None].float()


def two_modes(make: Callable[[], Objective], seed: int, steps: int) -> Row:
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
    distance = [float(energy_distance(part, exact(at, 2000, seed + 50))) for at, part in zip(AT, z, strict=True)]
    lighter = [min(share, 1 - share) for share in right]
    return {
        "seed": seed,
        "distance": distance,
        "mean_distance": statistics.mean(distance),
        "lighter": lighter,
        "mean_lighter": statistics.mean(lighter),
        "least": min(lighter),
        "codes": z[:, :1000, 0].tolist(),
    }


@functools.cache
def floor() -> float:
    """The distance of as many exact draws."""
    pairs = [(exact(at, 2000, 100 + k), exact(at, 2000, 200 + k)) for k in range(3) for at in AT]
    return statistics.mean(float(energy_distance(a, b)) for a, b in pairs)


# -- tables and pictures ----------------------------------------------------------------------------------------------

POINTS_COLUMNS: Columns = {
    "method": first("method"),
    "n": len,
    "-log p(x)": average("nll", digits=4),
    "its error": lambda rows: f"{max(numbers(rows, 'nll_error')):.4f}",
    "energy distance of all codes to N(0, I)": average("aggregate", digits=4),
    "p of the MMD test": lambda rows: ", ".join(f"{p:.3f}" for p in numbers(rows, "p")),
    "energy distance of q(z given x) to the decoder's posterior": average("posterior", digits=4),
    "codes decoded to their own point": lambda rows: f"{statistics.mean(numbers(rows, 'own')):.4f}",
}
MODES_COLUMNS: Columns = {
    "method": first("method"),
    "n": len,
    "energy distance to the exact posterior": average("mean_distance", digits=4),
    "mass of the lighter mode (exact: 0.5)": average("mean_lighter"),
    "least, of any seed and x": lambda rows: f"{min(numbers(rows, 'least')):.3f}",
}


def tables(points: Rows, modes: Rows, between_exact: float) -> str:
    return "\n\n".join([
        "### Four points, a code of two dimensions (log 4 = 1.3863)",
        summary(points, POINTS_COLUMNS, "method"),
        f"### A posterior of two modes: x = z² + {NOISE:g} e, the decoder known, at x = {', '.join(map(str, AT))}",
        summary(modes, MODES_COLUMNS, "method"),
        f"As many exact draws are {between_exact:.4f} apart.",
    ])  # fmt: skip


def points_figure(codes: dict[str, Tensor]) -> Figure:
    figure, axes = plotting.panels(3.2 * len(codes), 3.4, len(codes))
    for axis, (name, z) in zip(axes, codes.items(), strict=True):
        for k, colour in enumerate(COLOURS):
            axis.scatter(z[k, :, 0], z[k, :, 1], s=3, color=colour, alpha=0.6, linewidths=0)
        for radius in (1, 2):
            axis.add_patch(Circle((0, 0), radius, fill=False, ec=plotting.INK, lw=0.5, ls=":"))
        axis.set(aspect="equal", xlim=(-3.6, 3.6), ylim=(-3.6, 3.6))
        axis.set_title(name, fontsize=9, loc="left")
    return figure


def modes_figure(draws: dict[str, Tensor]) -> Figure:
    figure, axes = plotting.panels(3.2 * len(draws), 3.0, len(draws))
    bins = torch.linspace(-2.6, 2.6, 79).tolist()
    which = 1  # x = 1
    truth = exact(AT[which], 50_000, 7)[:, 0].tolist()
    for axis, (name, z) in zip(axes, draws.items(), strict=True):
        axis.hist(truth, bins=bins, density=True, histtype="step", color=plotting.INK, lw=1, label="exact")
        axis.hist(z[which].tolist(), bins=bins, density=True, color=plotting.BLUE, alpha=0.5, label="learnt")
        axis.set_title(name, fontsize=9, loc="left")
        axis.set_xlabel(f"z given x = {AT[which]:g}", fontsize=9)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
    axes[0].legend(fontsize=7, frameon=False)
    return figure
