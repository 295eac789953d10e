"""Axes in one plain style, for all plots of the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chartae.records.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BLUE", "GREEN", "INK", "ORANGE", "panels", "save_figure", "scatter"]

INK, BLUE, ORANGE, GREEN = "#22221f", "#0072b2", "#d55e00", "#009e73"


def panels(width: float, height: float, count: int = 1) -> tuple[Figure, np.ndarray]:
    """Create a figure with axes side by side. The figure is not attached to a window.

    Args:
        width: width of the figure in inches.
        height: height of the figure in inches.
        count: number of axes; default 1.

    Returns:
        The figure, and an array (count,) of its axes.

    >>> from chartae.draw.plotting import panels
    >>> figure, (left, right) = panels(6.0, 3.0, 2)
    >>> figure.get_size_inches().tolist()
    [6.0, 3.0]
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(which="both", colors=INK, labelsize=8)
    return figure, axes


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG, whole or not at all.

    Args:
        figure: the figure.
        path: the file; its folder is created if it does not exist.
    """
    with whole_file(path) as part:
        figure.savefig(part, dpi=130, format="png")


def scatter(points: NDArray[np.floating]) -> Figure:
    """Plot points of the plane, with the same scale on both axes.

    Args:
        points: points (N, 2).

    Returns:
        The figure.

    >>> import numpy as np
    >>> from chartae.draw.plotting import scatter
    >>> len(scatter(np.eye(2)).axes)
    1
    """
    figure, (axes,) = panels(5.0, 5.0)
    axes.scatter(points[:, 0], points[:, 1], s=4, color=BLUE, alpha=0.6, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")
    return figure
