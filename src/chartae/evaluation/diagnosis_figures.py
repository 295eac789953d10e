"""The plots of a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from chartae.diagnostics import Geometry
from chartae.draw.plotting import BLUE, ORANGE, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["against", "bars", "histogram", "matrix", "spectrum"]


def spectrum(shape: Geometry) -> Figure:
    """Quantiles over points of the Jacobian's singular values, and of its sorted column lengths."""
    figure, (axes,) = panels(5.4, 3.2)
    values = shape.singular_values.cpu().numpy()
    k = range(1, values.shape[1] + 1)
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95), axis=0)
    axes.fill_between(k, low, high, color=BLUE, alpha=0.2, linewidth=0, label="5 to 95 % of points")
    axes.plot(k, middle, color=BLUE, marker="o", ms=3, lw=1.4, label="median")
    axes.plot(
        k, np.median(-np.sort(-shape.lengths.cpu().numpy(), 1), 0), color=ORANGE, lw=1.2, ls="--",
        label="column lengths, sorted: equal to these if columns are orthogonal",
    )  # fmt: skip
    if high.min() > 0:
        axes.set_yscale("log")
    axes.set_xlabel("rank", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    return figure


def matrix(cosines: Tensor) -> Figure:
    """Mean absolute cosines (D, D) between the Jacobian's columns, as an image."""
    figure, (axes,) = panels(3.8, 3.2)
    shown = axes.imshow(cosines.cpu().numpy(), vmin=0, vmax=1, cmap="Blues")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("code dimension", fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    return figure


def histogram(contrast: Tensor, untrained: float | None) -> Figure:
    """Histogram of the IMA contrast over points, with the mean of the untrained decoder."""
    figure, (axes,) = panels(5.4, 3.2)
    axes.hist(contrast[contrast.isfinite()].cpu().numpy(), bins=40, color=BLUE, alpha=0.8)
    if untrained is not None:
        axes.axvline(untrained, color=ORANGE, lw=1.4, label="mean of the same decoder before training")
        axes.legend(fontsize=7, frameon=False)
    axes.set_xlabel("nats; 0 if columns are orthogonal", fontsize=8)
    axes.set_ylabel("points", fontsize=8)
    return figure


def bars(values: Tensor, active: Tensor, unit: str) -> Figure:
    """One bar for each code dimension; inactive dimensions are grey."""
    figure, (axes,) = panels(5.4, 3.2)
    colours = [BLUE if used else "#b8b8b0" for used in active.tolist()]
    axes.bar(range(len(values)), values.cpu().numpy(), color=colours)
    axes.set_xlabel("code dimension (grey: inactive)", fontsize=8)
    axes.set_ylabel(unit, fontsize=8)
    return figure


def against(predicted: Tensor, learnt: Tensor) -> Figure:
    """Scatter plot of the encoder's variances against the predicted ones, on logarithmic axes."""
    figure, (axes,) = panels(4, 3.6)
    a, b = predicted.flatten().cpu().numpy(), learnt.flatten().cpu().numpy()
    axes.scatter(a, b, s=4, color=BLUE, alpha=0.3, linewidths=0)
    ends = [float(min(a.min(), b.min())), float(max(a.max(), b.max()))]
    axes.plot(ends, ends, color=ORANGE, lw=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("encoder's", fontsize=8)
    return figure
