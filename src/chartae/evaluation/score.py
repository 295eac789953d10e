"""What a run says of the density -> `score.json` and pictures: errors where the truth is known, field, dimension."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from chartae.data import Dataset, toys
from chartae.diagnostics import Score, score_error
from chartae.draw.plotting import BLUE, INK, ORANGE, panels
from chartae.maths import as_float
from chartae.records.files import replace_text
from chartae.runs import Run

__all__ = ["field", "histogram", "judge", "scatter"]

#: at how many points a Hessian is taken: up to few dimensions it is cheap
HESSIANS = {"few": 1000, "many": 32}


def judge(
    run: Run,
    data: Dataset | None = None,
    *,
    sigma: float | None = None,
    n: int = 5000,
    seed: int = 0,
    root: str | Path | None = None,
) -> dict[str, Any]:
    """Put a run's score to the test on held-out points; written to its folder as `score.json` and pictures.

    Args:
        run: of a recipe that estimates a score.
        data: its data; loaded again where they are not given.
        sigma: one noise level; by default the trained one, or five of a noise-conditional model.
        n: test points, at most.
        seed: of noise and proposals.

    Returns:
        ``{"levels": [...]}``, for each level: `sigma`; `denoising`, the mean of ||r(x + sigma e) - x||^2 / (d sigma^2),
        which must lie below 1, the score of r(x) = x; `antisymmetry`, the median of ||J - Jᵀ|| / ||J + Jᵀ||;
        `local_dimension`, how many points have how many directions of data. Where the data are a world of
        `chartae.data.toys`, `smoothed` and `plain`, `relative_l2` and `cosine` of the score against that of the
        smoothed density and of the density itself (if it has one), and the relative error of the Hessian and the
        root mean square error of log p(y) - log p(x), y = x + sigma e, against the smoothed one.

    Raises:
        ValueError: a run on strings, or another that estimates no score; data that are not the run's.
    """
    if run.settings.codec:
        raise ValueError(
            f"{run.settings.recipe!r} is for strings, which have no score: the gradient of log p needs points that can "
            "move; use `chartae evaluate` and `chartae report`"
        )
    run.score(sigma)  # what estimates no score, or not at this level, is an error before any data are read
    data = run.data(root) if data is None else data
    run.check_data(data)
    low, high = run.score().levels
    if sigma is not None:
        levels = [sigma]
    else:
        levels = [low] if low == high else [low * (high / low) ** (i / 4) for i in range(5)]
    scores = [run.score(level) for level in levels]  # a level out of range is an error before any work
    device = next(run.model.parameters()).device
    x = as_float(data.test[:n] if len(data.test) else data.train[:n]).to(device)
    world = toys.WORLDS[data.name]() if data.name in toys.WORLDS else None
    rows = [_level(s, x, world, seed) for s in scores]
    results = {"data": data.name, "points": len(x), "levels": rows}
    if run.folder is not None:
        replace_text(run.folder / "score.json", json.dumps(results, indent=1) + "\n")
        histogram(rows).savefig(run.folder / "score-dimension.png", dpi=130)
        if x.shape[1:] == (2,):
            field(scores[0], x, world).savefig(run.folder / "score-field.png", dpi=130)
    return results


def _level(s: Score, x: Tensor, world: toys.World | None, seed: int) -> dict[str, Any]:
    generator = torch.Generator(x.device).manual_seed(seed)
    e = torch.randn(x.shape, generator=generator, device=x.device)
    size = x[0].numel()
    with torch.no_grad():
        error = torch.cat([(s.denoise(a + s.sigma * b) - a).flatten(1).square().sum(1) for a, b in _pairs(x, e)])
    few = x[: HESSIANS["few" if size <= 32 else "many"]]
    values = s.tangent_space(few, 0)[0]
    found: dict[str, Any] = {
        "sigma": s.sigma,
        "denoising": float(error.mean() / (size * s.sigma**2)),
        "antisymmetry": float(s.antisymmetry(few).median()),
        "local_dimension": torch.bincount((values > 0.5).sum(1), minlength=min(size, 16) + 1).tolist(),
        "eigenvalues": values.mean(0)[:32].tolist(),
    }
    if world is not None:
        smooth = world.smoothed(s.sigma)
        y = x + s.sigma * e
        with torch.no_grad():
            ratio = s.log_ratio(x, y) - (smooth.log_prob(y) - smooth.log_prob(x))
        truth = smooth.hessian(few)
        found["smoothed"] = score_error(s, smooth.score, x) | {
            "hessian_relative": float((s.hessian(few) - truth).norm() / truth.norm()),
            "log_ratio_rmse": float(ratio.square().mean().sqrt()),
        }
        if not isinstance(world, toys.Curve):
            found["plain"] = score_error(s, world.score, x)
    return found


def _pairs(x: Tensor, e: Tensor) -> zip[tuple[Tensor, Tensor]]:
    return zip(x.split(1000), e.split(1000), strict=True)


def field(
    score: Callable[[Tensor], Tensor],
    x: Float[Tensor, "N 2"],
    world: toys.World | None = None,
    *,
    window: tuple[float, float, float, float] | None = None,
    arrows: int = 30,
    title: str = "",
) -> Figure:
    """Arrows of a score over the plane, longer ones drawn by the square root of their length, with points of the data
    and, where the world is known, lines of its density.

    Args:
        score: (B, 2) -> (B, 2).
        x: points; at most 1,000 are drawn.
        window: (left, right, bottom, top); by default the points and a seventh more.
        arrows: a side of their grid.
    """
    low, high = x.amin(0), x.amax(0)
    margin = 0.15 * (high - low)
    left, bottom = (low - margin).tolist()
    right, top = (high + margin).tolist()
    left, right, bottom, top = window or (left, right, bottom, top)
    at = _grid((left, right, bottom, top), arrows, x)
    with torch.no_grad():
        s = score(at)
    length = s.norm(dim=1, keepdim=True).clamp_min(1e-30)
    s = (s / length.sqrt()).cpu()
    span = max(right - left, top - bottom)
    figure, (axes,) = panels(6.2, 0.4 + 6.0 * (top - bottom) / span if top - bottom < span else 6.4)
    if world is not None:
        fine = _grid((left, right, bottom, top), 200, x.double())
        sigma = getattr(score, "sigma", None)
        law = world.smoothed(sigma) if sigma else world
        p = law.log_prob(fine).reshape(200, 200).T.cpu()
        peak = float(p.max())
        axes.contourf(
            np.linspace(left, right, 200), np.linspace(bottom, top, 200), p, cmap="Greys", alpha=0.45,
            levels=[peak - d for d in (8, 6, 4.5, 3.2, 2.2, 1.4, 0.7, 0)],
        )  # fmt: skip
    shown = x[:1000].cpu()
    axes.scatter(shown[:, 0], shown[:, 1], s=3, color=BLUE, alpha=0.5, linewidths=0, label="data")
    step = max((right - left), (top - bottom)) / arrows
    scale = float(s.norm(dim=1).quantile(0.95)) / (1.1 * step)
    grid = at.cpu()
    axes.quiver(
        grid[:, 0], grid[:, 1], s[:, 0], s[:, 1], angles="xy", scale_units="xy", scale=scale, width=0.0016,
        color=ORANGE,
    )  # fmt: skip
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.set_title(title or "(r(x) − x) / σ², arrows by the root of their length", fontsize=9, color=INK, loc="left")
    return figure


def _grid(window: tuple[float, float, float, float], n: int, like: Tensor) -> Tensor:
    left, right, bottom, top = window
    a = torch.linspace(left, right, n, dtype=like.dtype, device=like.device)
    return torch.cartesian_prod(a, torch.linspace(bottom, top, n, dtype=like.dtype, device=like.device))


def scatter(x: Float[Tensor, "N 2"]) -> Figure:
    """Points of the plane."""
    figure, (axes,) = panels(5.0, 5.0)
    points = x.cpu()
    axes.scatter(points[:, 0], points[:, 1], s=4, color=BLUE, alpha=0.6, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")
    return figure


def histogram(levels: list[dict[str, Any]]) -> Figure:
    """How many points have how many directions along which the data spread wider than sigma, at each level."""
    most = max(i for found in levels for i, count in enumerate(found["local_dimension"]) if count)
    figure, (axes,) = panels(5.6, 3.2)
    width = 0.8 / len(levels)
    for k, found in enumerate(levels):
        counts = np.asarray(found["local_dimension"], float)
        counts = np.pad(counts, (0, max(0, most + 1 - len(counts))))[: most + 1] / counts.sum()
        shade = 0.35 + 0.65 * (1 - k / max(1, len(levels) - 1)) if len(levels) > 1 else 1.0
        axes.bar(
            np.arange(most + 1) + (k - (len(levels) - 1) / 2) * width, counts, width, color=BLUE, alpha=shade,
            label=f"σ = {found['sigma']:.3g}",
        )  # fmt: skip
    axes.set_xticks(range(0, most + 1, max(1, math.ceil((most + 1) / 16))))
    axes.set_xlabel("local dimension: eigenvalues of dr/dx above ½", fontsize=8, color=INK)
    axes.set_ylabel("share of points", fontsize=8, color=INK)
    axes.legend(fontsize=7, frameon=False)
    return figure
