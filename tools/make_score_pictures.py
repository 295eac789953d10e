"""Make the pictures of docs/score.md in docs/images/ (two minutes).

python tools/make_score_pictures.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import chartae as ch
from chartae.data import toys
from chartae.diagnostics import optimal_reconstruction
from chartae.evaluation import score

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
BLUE, ORANGE, INK = "#0072b2", "#d55e00", "#22221f"


def tidy(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)


def criteria() -> None:
    """Plot the scores of both optimal reconstructions on the sextic, at the paper's three noise levels."""
    world, grid = toys.sextic(), torch.linspace(-1.5, 1.5, 3001, dtype=torch.float64)
    truth, p = world.score(grid[:, None])[:, 0], world.log_prob(grid[:, None]).exp()
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    for i, (axes, sigma) in enumerate(zip(figure.subplots(1, 3, sharey=True), (0.31, 0.06, 0.01), strict=True)):
        axes.fill_between(grid, -30, -30 + 12 * p, color="#dddcd6", linewidth=0)
        axes.plot(grid, truth, color=INK, linewidth=1, label="the score")
        for name, colour, style in (("rcae", BLUE, "-"), ("dae", ORANGE, "--")):
            r = optimal_reconstruction(world.log_prob, grid, sigma, name)
            axes.plot(grid, (r - grid) / sigma**2, color=colour, linestyle=style, linewidth=1.6, label=name)
        axes.set_ylim(-30, 30)
        axes.set_xlim(-1.3, 1.3)
        axes.set_title(f"σ = {sigma}", fontsize=9, loc="left")
        tidy(axes)
        if i == 0:
            axes.set_ylabel("(r(x) − x) / σ²", fontsize=8)
            axes.legend(fontsize=8, frameon=False, loc="upper right")
    figure.savefig(IMAGES / "score-criteria.png", dpi=130)


def field() -> None:
    world = toys.mixture_2d()
    run = ch.fit("dae", world.sample(20_000, seed=0), sigma=0.1, epochs=50, seed=0, progress=False)
    picture = score.field(run.score(), world.sample(1000, seed=1), world, arrows=24)
    picture.set_size_inches(5.2, 5.0)
    picture.savefig(IMAGES / "score-field.png", dpi=130)


def curve() -> None:
    """Plot the error of the score against the noise level, from benchmarks/results/score.json."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "score.json").read_text())["fields"]["rows"]
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for form, colour, marker in (("plain", ORANGE, "s"), ("residual", BLUE, "o")):
        entries = sorted((float(k.split()[2]), v) for k, v in rows.items() if k.startswith(f"dae {form}"))
        sigmas = [s for s, _ in entries]
        axes.plot(sigmas, [v["plain"]["relative_l2"]["mean"] for _, v in entries], color=colour, marker=marker,
                  markersize=5, label=f"{form}: against the score")  # fmt: skip
        axes.plot(sigmas, [v["smoothed"]["relative_l2"]["mean"] for _, v in entries], color=colour, marker=marker,
                  markersize=3, linestyle=":", label=f"{form}: against the smoothed score")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("noise level σ of training", fontsize=8)
    axes.set_ylabel("relative L2 error", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    tidy(axes)
    figure.savefig(IMAGES / "score-sigma.png", dpi=130)


def attractors() -> None:
    """Plot iterates of r from a grid on [-1, 1]^2, trained with one noise level and with rare large noise."""
    world = toys.spiral()
    data = ch.data.from_arrays(world.sample(20_000, seed=0), kind=ch.data.Points, valid=0, test=0)
    figure = Figure(figsize=(8, 4.1), layout="constrained")
    line = torch.linspace(-1, 1, 26)
    start = torch.cartesian_prod(line, line)
    for axes, (title, options) in zip(
        figure.subplots(1, 2),
        (("plain output, σ = 0.01", {"form": "plain"}), ("residual, 5 % with additional 10 σ", {"corrupt": "rare"})),
        strict=True,
    ):
        run = ch.fit("dae", data, sigma=0.01, gain=6.0, epochs=100, lr=2e-3, seed=0, progress=False, **options)
        s = run.score()
        with torch.no_grad():
            x, path = start, [start]
            for i in range(400):
                x = s.denoise(x)
                if i % 8 == 7:
                    path.append(x)
        paths = torch.stack(path).numpy()
        for k in range(paths.shape[1]):
            axes.plot(paths[:, k, 0], paths[:, k, 1], color="#9a9992", linewidth=0.4)
        shown = world.sample(1500, seed=2)
        axes.scatter(shown[:, 0], shown[:, 1], s=1.5, color=BLUE, linewidths=0)
        away = world.distance(x) > 0.05
        axes.scatter(x[away, 0], x[away, 1], s=9, color=ORANGE, linewidths=0, zorder=3)
        axes.set_xlim(-1.15, 1.15)
        axes.set_ylim(-1.15, 1.15)
        axes.set_aspect("equal")
        axes.set_title(f"{title}: {away.float().mean():.0%} end off the data", fontsize=8, loc="left")
        tidy(axes)
    figure.savefig(IMAGES / "score-attractors.png", dpi=130)


if __name__ == "__main__":
    for draw in (criteria, field, curve, attractors):
        draw()
