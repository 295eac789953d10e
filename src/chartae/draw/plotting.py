"""Bare axes in one style, for every picture that is a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BLUE", "GREEN", "INK", "ORANGE", "panels", "scatter"]

INK, BLUE, ORANGE, GREEN = "#22221f", "#0072b2", "#d55e00", "#009e73"


def panels(width: float, height: float, count: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure of a size in inches, and its `count` axes side by side; the figure belongs to no window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(which="both", colors=INK, labelsize=8)
    return figure, axes


def scatter(points: NDArray[np.floating]) -> Figure:
    """Points (N, 2) of the plane."""
    figure, (axes,) = panels(5.0, 5.0)
    axes.scatter(points[:, 0], points[:, 1], s=4, color=BLUE, alpha=0.6, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")
    return figure
