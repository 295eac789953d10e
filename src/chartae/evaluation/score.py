"""What a run says of the density -> `score.json` and pictures: errors where the truth is known, field, dimension."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae.data import toys
from chartae.diagnostics import Score, score_error
from chartae.draw.plotting import BLUE, INK, ORANGE, panels
from chartae.maths import as_float
from chartae.records import manifest
from chartae.records.files import replace_text
from chartae.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ScoreErrors", "ScoreEvaluation", "ScoreLevel", "evaluate_score", "field", "histogram"]

#: at how many points a Hessian is taken: up to few dimensions it is cheap
HESSIANS = {"few": 1000, "many": 32}


class ScoreErrors(TypedDict):
    """Errors of a score: relative L2 error and cosine; against a smoothed density those of the Hessian (relative) and
    of log p(y) - log p(x) (root mean square) as well."""

    relative_l2: float
    cosine: float
    hessian_relative: NotRequired[float]
    log_ratio_rmse: NotRequired[float]


class ScoreLevel(TypedDict):
    """What is known of a score at one noise level.

    Attributes:
        sigma: the noise level.
        denoising: the mean of ||r(x + sigma e) - x||^2 / (d sigma^2), which must lie below 1, that of r(x) = x.
        antisymmetry: the median of ||J - Jᵀ|| / ||J + Jᵀ||.
        local_dimension: how many points have 0, 1, 2, ... directions of data.
        eigenvalues: of dr/dx, descending, means over points; at most 32.
        smoothed: errors against the density smoothed by sigma, where the data are a world of `chartae.data.toys`.
        plain: errors against the density itself, if the world has one.
    """

    sigma: float
    denoising: float
    antisymmetry: float
    local_dimension: list[int]
    eigenvalues: list[float]
    smoothed: NotRequired[ScoreErrors]
    plain: NotRequired[ScoreErrors]


class ScoreEvaluation(TypedDict):
    """What `score.json` holds: the data set, the number of test points, a row for each noise level."""

    data: str
    points: int
    levels: list[ScoreLevel]


def evaluate_score(
    run: Run,
    data: object = None,
    *,
    sigma: float | None = None,
    n: int = 5000,
    seed: int = 0,
    root: str | Path | None = None,
) -> ScoreEvaluation:
    """Put a run's score to the test on held-out points; written to its folder as `score.json` and pictures.

    Args:
        run: whose model is trained to remove Gaussian noise, so that it estimates a score.
        data: its data; loaded again where they are not given.
        sigma: one noise level; by default the trained one, or five of a noise-conditional model.
        n: test points, at most.
        seed: of noise and proposals.
        root: where named data lie.

    Returns:
        A `ScoreLevel` for each noise level.

    Raises:
        ValueError: a model that estimates no score, or not at this level; data that are not the run's.
    """
    if run.model.noise is None:
        raise ValueError(
            f"{run.settings.recipe!r} estimates no score: that takes a model of numbers that is trained to remove "
            "Gaussian noise. Use `chartae evaluate` and `chartae report`"
        )
    low, high = run.score(sigma).levels
    if sigma is not None:
        levels = [sigma]
    else:
        levels = [low] if low == high else [low * (high / low) ** (i / 4) for i in range(5)]
    scores = [run.score(level) for level in levels]  # a level out of range is an error before any data are read
    data = run.data(root) if data is None else run.read(data)
    run.check_data(data)
    x = as_float(run.kind.inside(data.test[:n] if len(data.test) else data.train[:n])).to(run.device)
    world = toys.WORLDS[data.name]() if data.name in toys.WORLDS else None
    results = ScoreEvaluation(data=data.name, points=len(x), levels=[_level(s, x, world, seed) for s in scores])
    if run.folder is not None:
        _write(run.folder, results, scores[0], x, world)
    return results


def _write(folder: Path, results: ScoreEvaluation, score: Score, x: Tensor, world: toys.World | None) -> None:
    """`score.json`, and its pictures."""
    names = ["score.json", "score-dimension.png", *(["score-field.png"] if x.shape[1:] == (2,) else [])]
    with manifest.writing(folder, *names):
        replace_text(folder / "score.json", json.dumps(results, indent=1) + "\n")
        histogram(results["levels"]).savefig(folder / "score-dimension.png", dpi=130)
        if x.shape[1:] == (2,):
            field(score, x, world).savefig(folder / "score-field.png", dpi=130)


def _level(s: Score, x: Tensor, world: toys.World | None, seed: int) -> ScoreLevel:
    generator = torch.Generator(x.device).manual_seed(seed)
    e = torch.randn(x.shape, generator=generator, device=x.device)
    size = x[0].numel()
    with torch.no_grad():
        error = torch.cat([(s.denoise(a + s.sigma * b) - a).flatten(1).square().sum(1) for a, b in _pairs(x, e)])
    few = x[: HESSIANS["few" if size <= 32 else "many"]]
    values = s.tangent_space(few, 0)[0]
    level = ScoreLevel(
        sigma=s.sigma,
        denoising=float(error.mean() / (size * s.sigma**2)),
        antisymmetry=float(s.antisymmetry(few).median()),
        local_dimension=torch.bincount((values > 0.5).sum(1), minlength=min(size, 16) + 1).tolist(),
        eigenvalues=values.mean(0)[:32].tolist(),
    )
    if world is not None:
        smooth = world.smoothed(s.sigma)
        y = x + s.sigma * e
        with torch.no_grad():
            ratio = s.log_ratio(x, y) - (smooth.log_prob(y) - smooth.log_prob(x))
        truth = smooth.hessian(few)
        errors = score_error(s, smooth.score, x)
        level["smoothed"] = ScoreErrors(
            relative_l2=errors["relative_l2"],
            cosine=errors["cosine"],
            hessian_relative=float((s.hessian(few) - truth).norm() / truth.norm()),
            log_ratio_rmse=float(ratio.square().mean().sqrt()),
        )
        if not isinstance(world, toys.Curve):
            errors = score_error(s, world.score, x)
            level["plain"] = ScoreErrors(relative_l2=errors["relative_l2"], cosine=errors["cosine"])
    return level


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
        density = world.smoothed(score.sigma) if isinstance(score, Score) else world
        p = density.log_prob(fine).reshape(200, 200).T.cpu()
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


def histogram(levels: Sequence[ScoreLevel]) -> Figure:
    """How many points have how many directions along which the data spread wider than sigma, at each level."""
    most = max(i for level in levels for i, count in enumerate(level["local_dimension"]) if count)
    figure, (axes,) = panels(5.6, 3.2)
    width = 0.8 / len(levels)
    for k, level in enumerate(levels):
        counts = np.asarray(level["local_dimension"], float)
        counts = np.pad(counts, (0, max(0, most + 1 - len(counts))))[: most + 1] / counts.sum()
        shade = 0.35 + 0.65 * (1 - k / max(1, len(levels) - 1)) if len(levels) > 1 else 1.0
        axes.bar(
            np.arange(most + 1) + (k - (len(levels) - 1) / 2) * width, counts, width, color=BLUE, alpha=shade,
            label=f"σ = {level['sigma']:.3g}",
        )  # fmt: skip
    axes.set_xticks(range(0, most + 1, max(1, math.ceil((most + 1) / 16))))
    axes.set_xlabel("local dimension: eigenvalues of dr/dx above ½", fontsize=8, color=INK)
    axes.set_ylabel("share of points", fontsize=8, color=INK)
    axes.legend(fontsize=7, frameon=False)
    return figure
