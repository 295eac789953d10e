"""How fast encoder and decoder become inverses of each other as gamma grows (arXiv:2206.02416)."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from chartae.data import mixings
from chartae.diagnostics import consistency_rates
from chartae.draw import plotting
from papers.parts import Columns, Parts, Row, average, first, fresh_seeds, numbers, summary, table
from papers.table import Request, reproduction
from papers.vaes import BASELINES, Plan, train_vaes

__all__ = ["ima_consistency"]

#: the slope of each quantity in theory
EXPECTED = {"code": -1, "variance": -1, "reconstruction": -2, "variance_error": -1, "ima": -1, "likelihood": -1}
TRAINED: Columns = {
    "gamma²": first("gamma2", ".0e"),
    "n": len,
    "σ² / predicted": average("variance_ratio"),
    "mean squared error": lambda rows: f"{statistics.mean(numbers(rows, 'mse')):.2e}",
    "MCC": average("mcc"),
    **BASELINES,
    "contrast": average("contrast", digits=4),
    "infinite ones left out": average("infinite_contrasts", digits=1),
    "active": average("active", digits=1),
}


#: `values`: gamma² and each quantity at these values; `slopes`: slope of each quantity, with its standard error
Orders = dict[str, dict[str, Sequence[float]]]


@reproduction("ima-consistency")
def ima_consistency(request: Request) -> Row:
    """How fast encoder and decoder become inverses of each other as gamma grows (2206.02416).

    Measured with the optimal posterior of each point under a known decoder, and for VAEs trained on a smooth
    three-layer mixing of Gaussian sources.
    """
    quick = request.quick
    count = request.seeds or (2 if quick else 10)
    parts = Parts(request, "ima-consistency", quick=quick, seeds=count)
    exact = parts.make("exact", functools.partial(orders, 10 if quick else 200))
    gammas = [1e3, 1e5] if quick else [1e2, 1e3, 1e4, 1e5]
    points = [(gamma2, seed) for gamma2 in gammas for seed in fresh_seeds(count)]
    world, plan = mixings.mlp(dim=3, seed=1), Plan.of(quick)
    trained = parts.make("trained", functools.partial(train_vaes, [world], points, plan, prior="normal"))
    slopes = exact.result["slopes"]
    parts.write("\n\n".join([
        "### Known decoder, optimal posterior of each point: slopes against log gamma²",
        table(
            ("quantity", "slope", "expected"),
            [(name, f"{slope:.4f} ± {error:.4f}", EXPECTED[name]) for name, (slope, error) in slopes.items()],
        ),
        "### Trained VAEs",
        summary(trained.result, TRAINED, "gamma2"),
    ]))  # fmt: skip
    figure(exact.result).savefig(parts.folder / "consistency.png", dpi=130)
    return {"exact": exact.row(), "trained": trained.row()}


def orders(n: int) -> Orders:
    """The convergence rates under a known decoder, at n points."""
    world = mixings.two_dimensional()
    _, z = world.sample(n, seed=0)
    rates = consistency_rates(world.decode, z.double())
    return {"values": {"gamma2": rates.gamma2, **rates.values}, "slopes": {**rates.slopes}}


def figure(exact: Orders) -> Figure:
    drawing, (axis,) = plotting.panels(5.4, 4)
    for name, (slope, _) in exact["slopes"].items():
        label = f"{name}: slope {slope:.2f}"
        axis.plot(exact["values"]["gamma2"], exact["values"][name], marker="o", ms=3, lw=1.2, label=label)
    axis.set(xscale="log", yscale="log")
    axis.set_xlabel("γ²", fontsize=9)
    axis.legend(fontsize=7, frameon=False)
    return drawing
