"""What is drawn: curves, clouds of codes, rankings; for light pages and dark ones."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from chartae.draw import pictures
from chartae.report.reading import _Array, _mapping
from chartae.report.words import _densities, _finite, _number, _numeric, _said, _title

_Picture = NDArray[np.uint8]
NOT_TERMS = ("split", "epoch", "step", "lr", "seconds")


class _Theme(NamedTuple):
    ink: str
    muted: str
    line: str
    ground: str
    series: tuple[str, ...]
    classes: tuple[str, ...]


# Okabe and Ito's and Paul Tol's colours, told apart by every kind of eye; lighter on a dark page
LIGHT = _Theme(
    "#22221f", "#63625c", "#dddcd6", "#ffffff",
    ("#0072b2", "#d55e00", "#009e73", "#b5508c", "#a87900", "#3a9ad9", "#7a4fbf"),
    ("#cc6677", "#332288", "#c9b04f", "#117733", "#5fb4de",
     "#882255", "#44aa99", "#999933", "#aa4499", "#777777"),
)  # fmt: skip
DARK = _Theme(
    "#e9e8e3", "#a5a49d", "#3d3d3a", "#1b1b19",
    ("#56b4e9", "#ff8f4d", "#35c99b", "#e79ac6", "#e8bd48", "#a9d6f5", "#b79cf0"),
    ("#ee99aa", "#8f8ff0", "#eedd88", "#55b567", "#99ddff",
     "#d9659a", "#44ccb4", "#bbcc33", "#cc77cc", "#bbbbbb"),
)  # fmt: skip
MARKERS = "osD^vPX"


@dataclass(frozen=True)
class _Image:
    """A picture on the page: data URIs, what it is called, and what a reader who cannot see it is told."""

    title: str
    alt: str
    light: str
    dark: str | None = None
    note: str = ""
    name: str = ""


def _uri(picture: _Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(pictures.png(picture)).decode()


def _plain(text: str, most: int = 30) -> str:
    """A name as matplotlib may draw it: no formula, no private label, not too long."""
    text = "".join(c if c.isprintable() else " " for c in text).strip().lstrip("_") or "?"
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")


def _draw(
    size: tuple[float, float], title: str, alt: str, note: str, paint: Callable[..., None], *values: Any
) -> _Image:
    """The chart `paint(axes, theme, *values)`, for a light and for a dark page, on a transparent ground."""

    def render(theme: _Theme) -> str:
        figure = Figure(figsize=size, dpi=200, layout="constrained", facecolor="none")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        for spine in axes.spines.values():
            spine.set(color=theme.line, linewidth=0.8)
        axes.tick_params(which="both", color=theme.line, labelcolor=theme.muted, labelsize=7.5, length=2.5, width=0.8)
        axes.grid(color=theme.line, linewidth=0.5)
        axes.set_axisbelow(True)
        paint(axes, theme, *values)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=theme.muted, fontsize=7.5)
        for legend in [axes.get_legend(), *figure.legends]:
            for text in legend.get_texts() if legend else ():
                text.set(color=theme.ink, fontsize=7.5)
        canvas.draw()
        return _uri(np.asarray(canvas.buffer_rgba()))

    return _Image(title, alt, render(LIGHT), render(DARK), note)


def _log_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5, or at powers of ten where it is long."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 300 * min(values) else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def _curves(log: list[dict[str, Any]], best_epoch: Any) -> list[_Image]:
    """The loss, then each term: training and validation against epochs."""
    log = [r for r in log if _finite(r.get("step")) and _finite(r.get("epoch")) and r["epoch"] > 0]
    columns = dict.fromkeys(k for row in log for k, v in row.items() if k not in NOT_TERMS and _numeric(v))
    # the last row of an epoch has step = epoch * steps
    steps = max((r["step"] / r["epoch"] for r in log), default=0) or 1
    charts = []
    for name in sorted(columns, key=lambda k: k != "loss"):
        lines = {
            split: [(r["step"] / steps, r[name]) for r in log if r.get("split") == split and _finite(r.get(name))]
            for split in ("train", "valid")
        }
        lost = sum(_numeric(r.get(name)) and not _finite(r[name]) for r in log)
        note = ", ".join(f"{split} {_number(float(p[-1][1]))}" for split, p in lines.items() if p)
        note = f"last: {note}" + (f"; {lost} values not finite, not drawn" if lost else "")
        if any(lines.values()):
            alt = f"{name} against epochs; {note}"
            charts.append(_draw((3.4, 2.3), name.replace("_", " "), alt, note, _paint_curves, lines, best_epoch))
    return charts


def _paint_curves(axes: Axes, theme: _Theme, lines: dict[str, list[tuple[float, float]]], best: Any) -> None:
    values = [v for points in lines.values() for _, v in points]
    if min(values) > 0 and max(values) > 5 * min(values):
        _log_axis(axes, "y", values)
    if _finite(best) and best > 0:
        axes.axvline(best, color=theme.muted, linewidth=0.8, dashes=(3, 3))
    for (split, points), colour in zip(lines.items(), theme.series, strict=False):
        if points:
            x, y = zip(*points, strict=True)
            marker = "o" if (split == "valid" and len(points) <= 40) or len(points) == 1 else ""
            axes.plot(x, y, color=colour, linewidth=1, marker=marker, ms=2.2, label=split)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(left=0)
    axes.legend(frameon=False, loc="best", handlelength=1.4, borderaxespad=0.2)


def _clouds(points: _Array, labels: _Array | None, draws: dict[str, _Array], what: str) -> list[_Image]:
    """Points (n, 2), by label if they have one; then each density's draws over them; all on the same axes."""

    def clean(x: _Array) -> _Array:
        return x[np.isfinite(x).all(1)].astype(float)

    labels = None if labels is None else labels[np.isfinite(points).all(1)]
    points, draws = clean(points), {name: clean(x) for name, x in draws.items()}
    every = np.concatenate([points, *draws.values()])
    if not len(every):
        return []
    middle = (every.max(0) + every.min(0)) / 2
    reach = max(np.ptp(every, axis=0).max() / 2 * 1.05, 1e-9)
    form = {
        "xlim": (middle[0] - reach, middle[0] + reach),
        "ylim": (middle[1] - reach, middle[1] + reach),
        "xlabel": "axis 1" if what == "test codes" else "x₁",
        "ylabel": "axis 2" if what == "test codes" else "x₂",
        "aspect": "equal",
    }
    note = f"n = {len(points):,}" + ("" if labels is None else f", {len(np.unique(labels))} labels")
    first = _draw((3.4, 3.3), f"The {what}", f"scatter of the {what}", note, _paint_points, form, points, labels)
    return [first] + [
        _draw((3.4, 3.3), _title(name), f"scatter of {name} draws over the {what}", f"n = {len(x):,}",
              _paint_draws, form, points, x, _densities(draws).index(name))
        for name, x in draws.items()
    ]  # fmt: skip


def _scatter(axes: Axes, x: _Array, **style: Any) -> None:
    axes.scatter(x[:, 0], x[:, 1], s=float(np.clip(6000 / max(len(x), 1), 2, 12)), linewidths=0, **style)


def _paint_points(axes: Axes, theme: _Theme, form: dict[str, Any], x: _Array, labels: _Array | None) -> None:
    axes.set(**form)
    if labels is None:
        _scatter(axes, x, color=theme.muted, alpha=0.6)
        return
    classes, number = np.unique(labels, return_inverse=True)
    if len(classes) > len(theme.classes):
        _scatter(axes, x, c=number, cmap="viridis", alpha=0.8)
        return
    _scatter(axes, x, color=[theme.classes[i] for i in number], alpha=0.75)
    box = {"boxstyle": "circle,pad=0.2", "facecolor": theme.ground, "edgecolor": "none", "alpha": 0.85}
    style: dict[str, Any] = {"fontsize": 7.5, "color": theme.ink, "ha": "center", "va": "center", "bbox": box}
    for c in classes:
        u, v = np.median(x[labels == c], axis=0)
        axes.text(u, v, _plain(str(c), 8), **style)


def _paint_draws(axes: Axes, theme: _Theme, form: dict[str, Any], x: _Array, drawn: _Array, series: int) -> None:
    axes.set(**form)
    _scatter(axes, x, color=theme.muted, alpha=0.35)
    _scatter(axes, drawn, color=theme.series[series % len(theme.series)], alpha=0.6)


def _ranking(summary: list[dict[str, Any]], names: list[str], measure: str) -> _Image | None:
    """The Fréchet number of each recipe and density, with its spread over seeds, on a logarithmic axis."""
    series = {}
    for name in names:
        cells = {i: _cell(row, name) for i, row in enumerate(summary)}
        # a logarithm has no zero
        cells = {i: c for i, c in cells.items() if _finite(c.get("mean")) and c["mean"] > 0}
        if cells:
            series[name] = cells
    if not series:
        return None
    recipes = [str(row.get("recipe", "?")) for row in summary]
    alt = "; ".join(
        f"{recipes[i]}, {_said(name)}: {_number(c['mean'])}" for name, cells in series.items() for i, c in cells.items()
    )
    size = (5.2, 0.9 + 0.38 * len(recipes))
    return _draw(size, "By recipe and density, lower is better", alt, "", _paint_ranking, recipes, series, measure)


def _paint_ranking(
    axes: Axes, theme: _Theme, recipes: list[str], series: dict[str, dict[int, dict[str, Any]]], measure: str
) -> None:
    _log_axis(axes, "x", [c["mean"] for cells in series.values() for c in cells.values()])
    axes.grid(visible=False, axis="y")
    for j, (name, cells) in enumerate(series.items()):
        density = name in _densities(series)
        colour = theme.series[_densities(series).index(name) % len(theme.series)] if density else theme.muted
        x = [c["mean"] for c in cells.values()]
        up = [c["sd"] if _finite(c.get("sd")) else 0.0 for c in cells.values()]
        down = [min(s, 0.95 * m) for s, m in zip(up, x, strict=True)]
        y = [i + 0.5 * ((j + 0.5) / len(series) - 0.5) for i in cells]
        axes.errorbar(
            x, y, xerr=[down, up], fmt=MARKERS[j % len(MARKERS)], color=colour, ms=5, elinewidth=1, capsize=2,
            markerfacecolor=colour if density else "none", label=_plain(_title(name)),
        )  # fmt: skip
    for i in range(1, len(recipes)):
        axes.axhline(i - 0.5, color=theme.line, linewidth=0.5)
    axes.set_yticks(range(len(recipes)), [_plain(name, 24) for name in recipes])
    axes.tick_params(axis="y", length=0, labelcolor=theme.ink, labelsize=8.5)
    axes.set_ylim(len(recipes) - 0.5, -0.5)
    axes.set_xlabel(_plain(measure, 60))
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, handletextpad=0.2, columnspacing=1.2)


def _cell(row: dict[str, Any], name: str) -> dict[str, Any]:
    columns = _mapping(row.get("columns"), "columns of the summary")
    return _mapping(columns.get(name), f"{name} in the summary")
