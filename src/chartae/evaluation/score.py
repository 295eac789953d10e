"""Evaluate the score of a denoising model, in `score.json` and plots: errors if the truth is known, local dimension."""

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
from chartae.draw.plotting import BLUE, INK, ORANGE, panels, save_figure
from chartae.evaluation.writing import check
from chartae.maths import as_float
from chartae.records import manifest
from chartae.records.files import replace_text
from chartae.records.space import after_work
from chartae.runs import Run
from chartae.runs.run import only_writer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ScoreErrors", "ScoreEvaluation", "ScoreLevel", "evaluate_score", "field", "histogram"]

#: number of points at which a Hessian is computed, for few dimensions (up to 32) and for many
HESSIANS = {"few": 1000, "many": 32}


class ScoreErrors(TypedDict):
    """Errors of a score against a known density.

    Attributes:
        relative_l2: relative L2 error of the score.
        cosine: cosine between the score and the true one, with the vectors of all points stacked into one.
        hessian_relative: relative error of the Hessian of log p; for a smoothed density only.
        log_ratio_rmse: root mean squared error of log p(y) - log p(x); for a smoothed density only.
    """

    relative_l2: float
    cosine: float
    hessian_relative: NotRequired[float]
    log_ratio_rmse: NotRequired[float]


class ScoreLevel(TypedDict):
    """The evaluation of a score at one noise level.

    Attributes:
        sigma: noise level.
        denoising: mean of `||r(x + sigma e) - x||^2 / (d sigma^2)`; it is 1 for r(x) = x, and should be lower.
        antisymmetry: median of `||J - Jᵀ|| / ||J + Jᵀ||`, with J = dr/dx; 0 for a gradient field.
        local_dimension: number of points with 0, 1, 2, ... directions along which the data spread wider than sigma.
        eigenvalues: eigenvalues of dr/dx, descending, averaged over points; at most 32.
        smoothed: errors against the density smoothed by sigma, if the data are a toy data set of known density
            (`chartae.data.toys`).
        plain: errors against the density itself, if it has one.
    """

    sigma: float
    denoising: float
    antisymmetry: float
    local_dimension: list[int]
    eigenvalues: list[float]
    smoothed: NotRequired[ScoreErrors]
    plain: NotRequired[ScoreErrors]


class ScoreEvaluation(TypedDict):
    """The contents of `score.json`.

    Attributes:
        data: name of the data set.
        points: number of test points.
        levels: the evaluation at each noise level.
    """

    data: str
    points: int
    levels: list[ScoreLevel]


@only_writer
def evaluate_score(
    run: Run,
    data: object = None,
    *,
    sigma: float | None = None,
    n: int = 5000,
    seed: int = 0,
    root: str | Path | None = None,
) -> ScoreEvaluation:
    """Evaluate the score `s(x) = (r(x) - x) / sigma^2` of a denoising model r on test points.

    At each noise level it measures denoising, the antisymmetry of dr/dx and the local dimension of the data. On toy
    data of known density it also measures the errors of the score, its Hessian and its log ratios. If the run has a
    folder, `score.json` and plots are written there.

    Args:
        run: a run whose model is trained to remove Gaussian noise, such as one of ``"dae"``.
        data: the data of the run, in any form that `fit` accepts; None (default) reloads them.
        sigma: noise level, in the units of the model's data; > 0. None (default) for the level of training, or five
            levels of a noise-conditional model.
        n: largest number of test points; default 5,000.
        seed: seed of the noise; default 0.
        root: folder of named data sets; None (default) for that of the fit.

    Returns:
        A dictionary with ``data``, ``points`` and ``levels``, one dictionary for each noise level.

    Raises:
        ValueError: the model estimates no score, or not at this noise level, or the data are not the run's.
        OSError: nothing can be written to the run folder; raised before any work. If writing fails afterwards, the
            results are returned and `chartae.records.space.NotWritten` warns.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.evaluation import evaluate_score
    >>> x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    >>> run = ch.fit("dae", x, sigma=0.5, epochs=1, progress=False)
    >>> evaluation = evaluate_score(run, x)
    >>> evaluation["points"], [level["sigma"] for level in evaluation["levels"]]
    (10, [0.5])
    """
    if run.model.noise is None:
        raise ValueError(
            f"recipe is {run.settings.recipe!r}, which estimates no score; expected a recipe that is trained to remove "
            "Gaussian noise, such as 'dae'. Use `chartae evaluate` and `chartae report` for this run"
        )
    check(run)
    low, high = run.score(sigma).levels
    if sigma is not None:
        levels = [sigma]
    else:
        levels = [low] if low == high else [low * (high / low) ** (i / 4) for i in range(5)]
    scores = [run.score(level) for level in levels]  # raises for a level out of range before any data are read
    data = run.source(data, root)
    run.check_data(data)
    x = as_float(run.kind.inside(data.test[:n] if len(data.test) else data.train[:n])).to(run.device)
    world = toys.WORLDS[data.name]() if data.name in toys.WORLDS else None
    results = ScoreEvaluation(data=data.name, points=len(x), levels=[_level(s, x, world, seed) for s in scores])
    if run.folder is not None:
        _write(run.folder, results, scores[0], x, world)
    return results


def _write(folder: Path, results: ScoreEvaluation, score: Score, x: Tensor, world: toys.World | None) -> None:
    """Write `score.json` and its plots to the run folder."""
    names = ["score.json", "score-dimension.png", *(["score-field.png"] if x.shape[1:] == (2,) else [])]
    with after_work(folder, "the evaluation of the score"), manifest.writing(folder, *names):
        replace_text(folder / "score.json", json.dumps(results, indent=1) + "\n")
        save_figure(histogram(results["levels"]), folder / "score-dimension.png")
        if x.shape[1:] == (2,):
            save_figure(field(score, x, world), folder / "score-field.png")


def _level(s: Score, x: Tensor, world: toys.World | None, seed: int) -> ScoreLevel:
    """Evaluate the score at one noise level; `world` is the known density of the data, if there is one."""
    generator = torch.Generator(x.device).manual_seed(seed)
    e = torch.randn(x.shape, generator=generator, device=x.device)
    size = x[0].numel()
    with torch.no_grad():
        error = torch.cat([(s.denoise(a + s.sigma * b) - a).flatten(1).square().sum(1) for a, b in _slices(x, e)])
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


def _slices(x: Tensor, e: Tensor) -> zip[tuple[Tensor, Tensor]]:
    """Slices of 1,000 points with their noise."""
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
    """Plot a score over the plane as arrows, with data points and, if it is known, the density.

    The length of an arrow is the square root of the score's norm, so that short arrows stay visible.

    Args:
        score: function from points (B, 2) to scores (B, 2).
        x: data points (N, 2); at most 1,000 are drawn.
        world: known density of the data; None (default) draws none.
        window: (left, right, bottom, top); None (default) for the range of the points and a margin of 15 %.
        arrows: number of arrows along each axis; default 30.
        title: title of the plot; empty (default) for a description.

    Returns:
        The figure.
    """
    low, high = x.amin(0), x.amax(0)
    margin = 0.15 * (high - low)
    left, bottom = (low - margin).tolist()
    right, top = (high + margin).tolist()
    left, right, bottom, top = window or (left, right, bottom, top)
    positions = _grid((left, right, bottom, top), arrows, x)
    with torch.no_grad():
        s = score(positions)
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
    grid = positions.cpu()
    axes.quiver(
        grid[:, 0], grid[:, 1], s[:, 0], s[:, 1], angles="xy", scale_units="xy", scale=scale, width=0.0016,
        color=ORANGE,
    )  # fmt: skip
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    title = title or "(r(x) − x) / σ², arrow length: square root of the norm"
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    return figure


def _grid(window: tuple[float, float, float, float], n: int, like: Tensor) -> Tensor:
    left, right, bottom, top = window
    a = torch.linspace(left, right, n, dtype=like.dtype, device=like.device)
    return torch.cartesian_prod(a, torch.linspace(bottom, top, n, dtype=like.dtype, device=like.device))


def histogram(levels: Sequence[ScoreLevel]) -> Figure:
    """Histogram of the local dimension at each noise level.

    The local dimension of a point is the number of directions along which the data spread wider than sigma.
    """
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
