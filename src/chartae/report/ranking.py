"""A chart of recipes, by the main metric of each of their densities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chartae.records.comparison import ComparedRecipe
from chartae.records.parsing import is_finite
from chartae.report.charts import MARKERS, Theme, chart, log_axis, plain
from chartae.report.embedded import Embedded
from chartae.report.names import densities, in_sentence, title
from chartae.report.numbers import number

__all__ = ["ranking"]

#: for each set, one (row of the recipe, mean, standard deviation) per recipe; the deviation is 0 if it is unknown
Series: TypeAlias = "Mapping[str, Sequence[tuple[int, float, float]]]"


def ranking(
    summary: Sequence[ComparedRecipe], names: Sequence[str], metric: str, better: str = "lower"
) -> Embedded | None:
    """The metric of each recipe and set, with its spread over seeds; None without any.

    If lower is better the metric is a distance, and its axis is logarithmic. If higher is better it is a share, on an
    axis from 0 to 1.

    Args:
        summary: recipes, with their means and standard deviations.
        names: names of the sets.
        metric: title of the metric.
        better: ``"lower"`` or ``"higher"``.
    """
    logarithmic = better == "lower"
    series: dict[str, list[tuple[int, float, float]]] = {}
    for name in names:
        for i, row in enumerate(summary):
            cell = row.columns.get(name)
            if cell is not None and is_finite(cell.mean) and (cell.mean > 0 or not logarithmic):
                series.setdefault(name, []).append((i, cell.mean, cell.sd if is_finite(cell.sd) else 0.0))
    if not series:
        return None
    recipes = [row.recipe for row in summary]
    alt = "; ".join(
        f"{recipes[i]}, {in_sentence(name)}: {number(mean)}" for name, cells in series.items() for i, mean, _ in cells
    )
    paint = partial(_paint, recipes=recipes, series=series, metric=metric, logarithmic=logarithmic)
    return chart((5.2, 0.9 + 0.38 * len(recipes)), f"By recipe and density, {better} is better", alt, "", paint)


def _paint(axes: Axes, theme: Theme, recipes: Sequence[str], series: Series, metric: str, logarithmic: bool) -> None:
    if logarithmic:
        log_axis(axes, "x", [mean for cells in series.values() for _, mean, _ in cells])
    else:
        axes.set_xlim(-0.02, 1.02)
    axes.grid(visible=False, axis="y")
    order = densities(series)
    for j, (name, cells) in enumerate(series.items()):
        colour = theme.series[order.index(name) % len(theme.series)] if name in order else theme.muted
        x, up = [mean for _, mean, _ in cells], [sd for _, _, sd in cells]
        # a logarithmic axis has no 0
        down = [min(s, 0.95 * m) for s, m in zip(up, x, strict=True)]
        y = [i + 0.5 * ((j + 0.5) / len(series) - 0.5) for i, _, _ in cells]
        axes.errorbar(
            x, y, xerr=[down, up], fmt=MARKERS[j % len(MARKERS)], color=colour, ms=5, elinewidth=1, capsize=2,
            markerfacecolor=colour if name in order else "none", label=plain(title(name)),
        )  # fmt: skip
    for i in range(1, len(recipes)):
        axes.axhline(i - 0.5, color=theme.line, linewidth=0.5)
    axes.set_yticks(range(len(recipes)), [plain(name, 24) for name in recipes])
    axes.tick_params(axis="y", length=0, labelcolor=theme.ink, labelsize=8.5)
    axes.set_ylim(len(recipes) - 0.5, -0.5)
    axes.set_xlabel(plain(metric, 60))
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, handletextpad=0.2, columnspacing=1.2)
