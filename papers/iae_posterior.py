"""Implicit posteriors where the truth is known: four points that tile the prior, and a posterior with two modes."""

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
from papers.parts import Columns, Parts, Row, Rows, average, first, fresh_seeds, numbers, summary
from papers.table import Request, reproduction

__all__ = ["evaluate_four_points", "iae_posterior"]

#: the four points, as pictures of 2 x 2 pixels
POINTS = 255 * torch.eye(4, dtype=torch.uint8).reshape(4, 1, 2, 2)
#: number of draws from the prior to integrate p(x)
DRAWS = 200_000
COLOURS = (plotting.BLUE, plotting.ORANGE, plotting.GREEN, "#cc79a7")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "VAE, normal posterior": ("vae", {"likelihood": "bernoulli"}),
    "AAE, implicit posterior": ("aae", {"likelihood": "bernoulli", "noise_dim": 4, "strength": 10.0}),
    # with few draws, such as 32, moments are noisy and codes gather at the edges of the posteriors
    "AVB, implicit posterior": ("avb", {"likelihood": "bernoulli", "noise_dim": 4, "contrast": 128}),
}


@reproduction("iae-posterior")
def iae_posterior(request: Request) -> Row:
    """Implicit posteriors, trained with critics, compared with known true posteriors.

    The first problem has four one-hot pictures, a two-dimensional code and a Bernoulli decoder. The best q(z|x) divide
    the prior among the pictures, so that the aggregate posterior is N(0, I) and -log p(x) is log 4. The second problem
    is x = z² + noise with a known decoder, whose posterior has two modes; an expressive posterior has both. Mescheder
    et al., 2017 (arXiv:1701.04722); Makhzani, 2018 (arXiv:1805.09804). `quick` uses fewer steps.
    """
    quick = request.quick
    parts = Parts(request, "iae-posterior", quick=quick)
    points: Rows = []
    modes: Rows = []
    codes: dict[str, Tensor] = {}
    draws: dict[str, Tensor] = {}
    results: Row = {"quick": quick, "floor": floor(), "points": points, "modes": modes}
    for seed in fresh_seeds(request.seeds or 5):
        for name, (recipe, options) in METHODS.items():
            make = functools.partial(four_points, recipe, options, seed, 3000 if quick else 10_000)
            row = parts.make(f"points-{recipe}-{seed}", make).result
            codes.setdefault(name, torch.tensor(row.pop("codes")))
            points.append({"method": name, **row})
        for name, objective in SQUARE.items():
            make = functools.partial(two_modes, objective, seed, 1000 if quick else 6000)
            row = parts.make(f"modes-{name.split()[0].strip(',').lower()}-{seed}", make).result
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
    return evaluate_four_points(run.model, seed)


def evaluate_four_points(model: Autoencoder, seed: int) -> Row:
    """Metrics of a model of the four points: its aggregate posterior, each q(z|x), and -log p(x).

    Args:
        model: model with a two-dimensional code.
        seed: seed of the draws.

    Returns:
        `nll`, -log p(x) in nats, averaged over the points, and its standard error `nll_error`; `mmd` and `p`, the MMD
        test of the aggregate posterior against N(0, I); `aggregate`, the energy distance between these two;
        `posterior`, the mean energy distance of q(z|x) to the posterior of the decoder; `own`, the fraction of codes
        that are decoded to their own point; `codes`, codes of each point for the figure.
    """
    x = POINTS.float() / 255
    g = torch.Generator().manual_seed(1000 + seed)
    with evaluating(model):
        z = model.encoder(x).sample(1000, generator=g)  # (1000, 4, 2)
        prior = torch.randn(DRAWS, 2, generator=g)
        likelihood = torch.stack([
            torch.cat([model.decoder(part).log_prob(xi.expand(len(part), *xi.shape)) for part in prior.split(20_000)])
            for xi in x
        ]).double()  # fmt: skip
        decoded = model.decoder(z.flatten(0, 1)).mean.flatten(1).argmax(1).unflatten(0, (1000, 4))
    log_p = likelihood.logsumexp(1) - math.log(len(prior))
    ratios = (likelihood - log_p[:, None]).exp()  # p(x|z) / p(x), whose mean is 1
    error = ratios.std(1) / len(prior) ** 0.5  # standard error of log p(x), by the delta method
    distances = []
    for k in range(4):
        draws = prior[torch.multinomial(ratios[k], 1000, replacement=True, generator=g)]
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
        "own": float((decoded == torch.arange(4)).double().mean()),
        "codes": z[:500].transpose(0, 1).tolist(),
    }


# -- two modes --------------------------------------------------------------------------------------------------------

NOISE = 0.25
#: number of examples in an epoch, in batches of 256
EXAMPLES = 51_200
#: values of x at which posteriors are compared
AT = (0.5, 1.0, 2.0, 3.0)


class Square(nn.Module):
    """The map z -> z²."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def encoder(implicit: bool) -> Conditional:
    settings: dict[str, Any] = {"norm": False, "activation": "leaky-relu"}
    if implicit:
        return Implicit(MLP(1 + 4, 1, (64, 64), **settings), 4)
    return Gaussian(MLP(1, 2, (64, 64), **settings), "learnt")


def critic() -> Critic:
    return Critic(MLP(2, 1, (64, 64), norm=False, activation="leaky-relu"))


def known_decoder(implicit: bool) -> Autoencoder:
    """A model with the true decoder and a trainable encoder."""
    return Autoencoder(encoder(implicit), Gaussian(Square(), NOISE), StandardNormal(1))


SQUARE: dict[str, Callable[[], Objective]] = {
    "VAE, normal posterior": lambda: Penalised(known_decoder(False), Reconstruction() + KL()),
    # the critic learns faster, to follow a posterior that changes
    "AVB, implicit posterior": lambda: Penalised(
        known_decoder(True),
        Reconstruction() + AdversarialKL(critic()),
        rates={"adversarial_kl": 4.0},
        betas=(0.5, 0.99),
    ),
    "Flipped IAE, generator held": lambda: Adversarial(
        known_decoder(True), {"inference": critic()}, gradient="none", warmup=0.0, penalty=0.01
    ),
}


def exact(x: float, n: int, seed: int) -> Tensor:
    """Draws (n, 1) from p(z|x) for x = z² + noise and z ~ N(0, 1), computed on a fine grid."""
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
    """The mean energy distance between two sets of exact draws of the same size."""
    pairs = [(exact(at, 2000, 100 + k), exact(at, 2000, 200 + k)) for k in range(3) for at in AT]
    return statistics.mean(float(energy_distance(a, b)) for a, b in pairs)


# -- tables and pictures ----------------------------------------------------------------------------------------------

POINTS_COLUMNS: Columns = {
    "method": first("method"),
    "n": len,
    "-log p(x)": average("nll", digits=4),
    "standard error": lambda rows: f"{max(numbers(rows, 'nll_error')):.4f}",
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
    "smallest over seeds and x": lambda rows: f"{min(numbers(rows, 'least')):.3f}",
}


def tables(points: Rows, modes: Rows, between_exact: float) -> str:
    return "\n\n".join([
        "### Four points, two-dimensional code (log 4 = 1.3863)",
        summary(points, POINTS_COLUMNS, "method"),
        f"### A posterior with two modes: x = z² + {NOISE:g} e with known decoder, at x = {', '.join(map(str, AT))}",
        summary(modes, MODES_COLUMNS, "method"),
        f"The energy distance between two sets of exact draws of this size is {between_exact:.4f}.",
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
    which = 1  # the index of x = 1 in `AT`
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
