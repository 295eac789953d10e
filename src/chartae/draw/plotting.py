"""Bare axes in one style, for every picture that is a plot."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

__all__ = ["BLUE", "GREEN", "INK", "ORANGE", "panels"]

INK, BLUE, ORANGE, GREEN = "#22221f", "#0072b2", "#d55e00", "#009e73"


def panels(width: float, height: float, count: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure of a size in inches, and its `count` axes side by side; the figure belongs to no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(which="both", colors=INK, labelsize=8)
    return figure, axes
