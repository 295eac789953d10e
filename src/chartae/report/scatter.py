"""Scatter plots: codes or data on two axes, with the samples of each density over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from chartae.records.pictures import Labels, Pictures, Points
from chartae.report.charts import Theme, chart, plain
from chartae.report.embedded import Embedded
from chartae.report.names import densities, title

__all__ = ["codes_and_samples", "data_and_samples"]

SIZE = (3.4, 3.3)


@dataclass(frozen=True)
class Frame:
    """The axes that several plots share: their centre, half of their width, and their labels."""

    centre: tuple[float, float]
    half_width: float
    names: tuple[str, str]

    def set(self, axes: Axes) -> None:
        (x, y), r = self.centre, self.half_width
        axes.set(xlim=(x - r, x + r), ylim=(y - r, y + r), xlabel=self.names[0], ylabel=self.names[1], aspect="equal")


def codes_and_samples(pictures: Pictures, best: str | None) -> list[Embedded]:
    """The test codes, coloured by label if they have one; then samples of each density over them, the best first."""
    if pictures.latent is None:
        return []
    samples = _ordered(pictures.latent_samples, best)
    return _scatter_plots(pictures.latent, pictures.latent_labels, samples, "test codes", ("axis 1", "axis 2"))


def data_and_samples(pictures: Pictures, best: str | None) -> list[Embedded]:
    """The data; then samples of each density over them, the best first."""
    if pictures.data is None:
        return []
    return _scatter_plots(pictures.data, None, _ordered(pictures.data_samples, best), "data", ("x₁", "x₂"))


def _ordered(samples: Mapping[str, Points], best: str | None) -> dict[str, Points]:
    return {n: samples[n] for n in sorted(densities(samples), key=lambda n: n != best)}


def _scatter_plots(
    points: Points, labels: Labels | None, samples: Mapping[str, Points], what: str, names: tuple[str, str]
) -> list[Embedded]:
    """Points (n, 2), then the samples of each density over them, all on the same axes."""

    def clean(x: Points) -> Points:
        return x[np.isfinite(x).all(1)].astype(float)

    labels = None if labels is None else labels[np.isfinite(points).all(1)]
    points, samples = clean(points), {name: clean(x) for name, x in samples.items()}
    every = np.concatenate([points, *samples.values()])
    if not len(every):
        return []
    x, y = (every.max(0) + every.min(0)) / 2
    frame = Frame((float(x), float(y)), max(float(np.ptp(every, axis=0).max()) / 2 * 1.05, 1e-9), names)
    note = f"n = {len(points):,}" + ("" if labels is None else f", {len(np.unique(labels))} labels")
    paint = partial(_paint_points, frame=frame, x=points, labels=labels)
    images = [chart(SIZE, f"The {what}", f"scatter of the {what}", note, paint)]
    for name, sample in samples.items():
        paint = partial(_paint_samples, frame=frame, x=points, sample=sample, series=densities(samples).index(name))
        alt = f"scatter of {name} samples over the {what}"
        images.append(chart(SIZE, title(name), alt, f"n = {len(sample):,}", paint))
    return images


def _dot(x: Points) -> float:
    """The area of a dot, which falls with the number of points."""
    return float(np.clip(6000 / max(len(x), 1), 2, 12))


def _scatter(axes: Axes, x: Points, colour: str | list[str], alpha: float) -> None:
    axes.scatter(x[:, 0], x[:, 1], s=_dot(x), linewidths=0, color=colour, alpha=alpha)


def _paint_points(axes: Axes, theme: Theme, frame: Frame, x: Points, labels: Labels | None) -> None:
    frame.set(axes)
    if labels is None:
        _scatter(axes, x, theme.muted, 0.6)
        return
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) > len(theme.classes):
        axes.scatter(x[:, 0], x[:, 1], s=_dot(x), linewidths=0, c=numbers, cmap="viridis", alpha=0.8)
        return
    _scatter(axes, x, [theme.classes[i] for i in numbers], 0.75)
    for c in classes:
        u, v = np.median(x[labels == c], axis=0)
        axes.text(
            u, v, plain(str(c), 8), fontsize=7.5, color=theme.ink, ha="center", va="center",
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": theme.background, "edgecolor": "none", "alpha": 0.85},
        )  # fmt: skip


def _paint_samples(axes: Axes, theme: Theme, frame: Frame, x: Points, sample: Points, series: int) -> None:
    frame.set(axes)
    _scatter(axes, x, theme.muted, 0.35)
    _scatter(axes, sample, theme.series[series % len(theme.series)], 0.6)
