"""Charts for light and dark pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from chartae.report.embedded import Embedded, uri

__all__ = ["MARKERS", "Theme", "chart", "log_axis", "plain"]


class Theme(NamedTuple):
    """The colours of a page: text, muted text, lines, background, series, and classes."""

    ink: str
    muted: str
    line: str
    background: str
    series: tuple[str, ...]
    classes: tuple[str, ...]


# the colours of Okabe and Ito, and of Paul Tol, which colour-blind readers can distinguish; lighter on a dark page
LIGHT = Theme(
    "#22221f", "#63625c", "#dddcd6", "#ffffff",
    ("#0072b2", "#d55e00", "#009e73", "#b5508c", "#a87900", "#3a9ad9", "#7a4fbf"),
    ("#cc6677", "#332288", "#c9b04f", "#117733", "#5fb4de",
     "#882255", "#44aa99", "#999933", "#aa4499", "#777777"),
)  # fmt: skip
DARK = Theme(
    "#e9e8e3", "#a5a49d", "#3d3d3a", "#1b1b19",
    ("#56b4e9", "#ff8f4d", "#35c99b", "#e79ac6", "#e8bd48", "#a9d6f5", "#b79cf0"),
    ("#ee99aa", "#8f8ff0", "#eedd88", "#55b567", "#99ddff",
     "#d9659a", "#44ccb4", "#bbcc33", "#cc77cc", "#bbbbbb"),
)  # fmt: skip
MARKERS = "osD^vPX"


def plain(text: str, most: int = 30) -> str:
    """A name that matplotlib can show as a label: without formulas, without a leading underscore, not too long."""
    text = "".join(c if c.isprintable() else " " for c in text).strip().lstrip("_") or "?"
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")


def chart(size: tuple[float, float], title: str, alt: str, note: str, paint: Callable[[Axes, Theme], None]) -> Embedded:
    """A chart drawn by `paint(axes, theme)` for a light and for a dark page, on a transparent background.

    Args:
        size: width and height in inches.
        title: title of the chart.
        alt: alternative text for readers who cannot see it.
        note: note next to the title.
        paint: function that draws on axes in the colours of a theme.
    """

    def render(theme: Theme) -> str:
        figure = Figure(figsize=size, dpi=200, layout="constrained", facecolor="none")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right"]].set_visible(False)
        for spine in axes.spines.values():
            spine.set(color=theme.line, linewidth=0.8)
        axes.tick_params(which="both", color=theme.line, labelcolor=theme.muted, labelsize=7.5, length=2.5, width=0.8)
        axes.grid(color=theme.line, linewidth=0.5)
        axes.set_axisbelow(True)
        paint(axes, theme)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=theme.muted, fontsize=7.5)
        for legend in [axes.get_legend(), *figure.legends]:
            for text in legend.get_texts() if legend else ():
                text.set(color=theme.ink, fontsize=7.5)
        canvas.draw()
        return uri(np.asarray(canvas.buffer_rgba()))

    return Embedded(title, alt, render(LIGHT), render(DARK), note)


def log_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Make an axis, ``"x"`` or ``"y"``, logarithmic, with numbers at 1, 2, 5, or at powers of 10 if it is long."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 300 * min(values) else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())
