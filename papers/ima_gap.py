"""The ELBO of fixed decoders as gamma grows, with the log-likelihood and the limit (arXiv:2206.02416)."""

from __future__ import annotations

import functools

from matplotlib.figure import Figure

from chartae.conditionals import Uniform
from chartae.data import mixings
from chartae.diagnostics import elbo_gap
from chartae.draw import plotting
from papers.parts import Columns, Parts, Row, Rows, first, numbers, summary
from papers.table import Request, reproduction

__all__ = ["ima_gap"]

WORLDS = {"triangular": mixings.triangular(dim=2, seed=2), "moebius": mixings.moebius(dim=2, seed=0)}
COLUMNS: Columns = {
    "gamma²": first("gamma2", ".1e"),
    "ELBO*": first("elbo", ".5f"),
    "log p": first("log_likelihood", ".5f"),
    "log p - c_IMA (limit)": first("ima", ".5f"),
    "log p - ELBO*": lambda rows: f"{numbers(rows, 'log_likelihood')[0] - numbers(rows, 'elbo')[0]:.5f}",
    "C_IMA": first("contrast", ".5f"),
}


@reproduction("ima-gap")
def ima_gap(request: Request) -> Row:
    """ELBO*, log-likelihood and IMA-regularised log-likelihood of fixed decoders as gamma grows.

    The decoders are a triangular net, whose IMA contrast is positive, and a Moebius map, whose contrast is zero. The
    posterior of each point is optimal.
    """
    parts = Parts(request, "ima-gap", quick=request.quick)
    worlds = {name: parts.make(name, functools.partial(gaps, name, request.quick)) for name in WORLDS}
    rows = {name: part.result for name, part in worlds.items()}
    parts.write("\n\n".join(f"### {name}\n\n{summary(group, COLUMNS, 'gamma2')}" for name, group in rows.items()))
    figure(rows).savefig(parts.folder / "gap.png", dpi=130)
    return {name: part.row() for name, part in worlds.items()}


def gaps(name: str, quick: bool) -> Rows:
    world = WORLDS[name]
    _, z = world.sample(10 if quick else 200, seed=0)
    z = z.double()
    rows: Rows = []
    for gamma2 in [1e1, 1e2, 1e3, 1e4, 1e5] if quick else [10 ** (k / 2) for k in range(2, 13)]:
        if name == "moebius":  # codes in (0, 1), sources in (-1/2, 1/2)
            inside = 0.05 + 0.9 * (z + 0.5)  # a bounded prior has a boundary layer at the cube's faces
            gap = elbo_gap(
                lambda u: world.decode(u - 0.5), world.decode(inside - 0.5), gamma2, start=inside, prior=Uniform(2)
            )
        else:
            gap = elbo_gap(world.decode, world.decode(z), gamma2, start=z)
        rows.append({"gamma2": gamma2, **gap.means()})
    return rows


def figure(worlds: dict[str, Rows]) -> Figure:
    drawing, axes = plotting.panels(9, 3.4, 2)
    for axis, (name, rows) in zip(axes, worlds.items(), strict=True):
        for key, colour, label, style in (
            ("log_likelihood", plotting.INK, "log p", "-"),
            ("elbo", plotting.BLUE, "ELBO*", "-"),
            ("ima", plotting.ORANGE, "log p − c_IMA (limit)", "--"),
        ):
            axis.plot(numbers(rows, "gamma2"), numbers(rows, key), color=colour, lw=1.6, ls=style, label=label)
        axis.set_xscale("log")
        axis.set_xlabel("γ²", fontsize=9)
        axis.set_ylabel("nats per point", fontsize=9)
        axis.set_title(f"{name}: C_IMA {max(0.0, numbers(rows, 'contrast')[0]):.3f}", fontsize=9, loc="left")
        axis.legend(fontsize=7, frameon=False)
    return drawing
