"""Near-deterministic VAEs recover the factors of Moebius maps (arXiv:2206.02416), with further experiments."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from matplotlib.figure import Figure
from torch import Tensor

from chartae.autoencoder import in_slices
from chartae.data import mixings
from chartae.diagnostics import geometry
from chartae.draw import plotting
from chartae.recipes import Setting, build
from chartae.runs import train_many
from papers.parts import Columns, Parts, Row, Rows, average, first, fresh_seeds, mean_sd, numbers, summary, table
from papers.table import Request, reproduction
from papers.vaes import BASELINES, HELD_OUT, Plan, recovery, train_vaes

__all__ = ["ima_moebius"]

TITLES = {"precision": "Moebius, d = 3", "dimension-5": "Moebius, d = 5", "dimension-10": "Moebius, d = 10"}
VAES: Columns = {
    "gamma²": first("gamma2", ".0e"),
    "n": len,
    "MCC (means, all)": average("mcc"),
    **BASELINES,
    "MCC (authors' protocol)": average("mcc_authors"),
    "contrast": average("contrast"),
    "infinite ones left out": average("infinite_contrasts", digits=1),
    "active": average("active", digits=1),
    "σ² / predicted": lambda rows: mean_sd(numbers([row for row in rows if row["active"]], "variance_ratio")),
}
DETERMINISTIC: Columns = {
    "weight": first("weight", "g"),
    "n": len,
    "MCC": average("mcc"),
    **BASELINES,
    "contrast": average("contrast", digits=4),
    "mean squared error": lambda rows: f"{sum(numbers(rows, 'mse')) / len(rows):.1e}",
}
#: MCC of a random rotation of three factors
ROTATION = 0.828


@reproduction("ima-moebius")
def ima_moebius(request: Request) -> Row:
    """Recovery of factors by VAEs of growing precision on Moebius maps, with uniform sources and prior.

    There are four parts: precision (d = 3, 20 seeds); dimension (d = 5 and 10); 100 maps that are no longer orthogonal,
    a matrix of unit determinant after a Moebius map; and whether an explicit `Orthogonality` term lets a deterministic
    autoencoder recover the factors as well. `quick` uses fewer seeds, maps and steps.
    """
    quick, plan = request.quick, Plan.of(request.quick)
    count = request.seeds or (3 if quick else 20)
    few = min(count, 5)
    parts = Parts(request, "ima-moebius", quick=quick, seeds=count)
    world = mixings.moebius(dim=3, seed=0)
    gammas = [1e1, 1e4] if quick else [1e1, 1e3, 1e4, 1e5]
    points = [(gamma2, seed) for gamma2 in gammas for seed in fresh_seeds(count)]
    parts_by_name = {"precision": parts.make("precision", functools.partial(train_vaes, [world], points, plan))}
    points = [(gamma2, seed) for gamma2 in gammas[-2:] for seed in fresh_seeds(few)]
    for dim in (5,) if quick else (5, 10):
        worlds, wide = [mixings.moebius(dim=dim, seed=0)], replace(plan, net="smooth:96x96")
        name = f"dimension-{dim}"
        parts_by_name[name] = parts.make(name, functools.partial(train_vaes, worlds, points, wide))
    parts_by_name["maps"] = parts.make("maps", functools.partial(maps, 8 if quick else 100, plan))
    shorter = replace(plan, steps=plan.steps // 2)
    parts_by_name["orthogonality"] = parts.make("orthogonality", functools.partial(deterministic, world, few, shorter))
    results: Row = {"quick": quick, "plan": asdict(plan)}
    results |= {name: part.row() for name, part in parts_by_name.items()}
    rows = {name: part.result for name, part in parts_by_name.items()}
    parts.write(tables(rows), results)
    figure(rows).savefig(parts.folder / "moebius.png", dpi=130)
    return results


def maps(count: int, plan: Plan) -> Rows:
    """VAEs on maps that are not orthogonal: a matrix of unit determinant after a Moebius map."""
    worlds = [
        mixings.after(mixings.unit_determinant(3, seed), mixings.moebius(dim=3, seed=seed))
        for seed in fresh_seeds(count)
    ]
    rows = train_vaes(worlds, [(1e5, seed) for seed in fresh_seeds(count)], plan)
    for seed, (world, row) in enumerate(zip(worlds, rows, strict=True)):
        L = mixings.unit_determinant(3, seed)
        row["contrast_of_L"] = float(geometry(lambda z, L=L: z @ L.T, torch.zeros(1, 3, dtype=L.dtype)).contrast)
        _, z = world.sample(2000, seed=1)
        row["contrast_of_map"] = float(geometry(world.decode, z.double()).contrast.mean())
    return rows


def deterministic(world: mixings.Mixing, count: int, plan: Plan) -> Rows:
    """RAEs with and without `Orthogonality`; only the latent norm fixes the scale of the codes."""
    x, z = (t.float() for t in world.sample(plan.n + HELD_OUT, seed=0))
    x = x / float(x[: plan.n].var(0).mean().sqrt())
    train, held_out, truth = x[: plan.n], x[plan.n :], z[plan.n :]
    setting = Setting((world.size,), world.dim, plan.net, unit=False)
    rows: Rows = []
    for weight in (0.0, 0.01, 0.1, 1.0):
        objectives = [
            build("rae", setting, seed=seed, sigma=0.03, beta=1.0, orthogonality=weight).objective
            for seed in fresh_seeds(count)
        ]
        train_many(
            objectives, train, seeds=list(range(count)), steps=plan.steps, batch_size=plan.batch, lr=plan.lr
        )  # fmt: skip
        for seed, objective in enumerate(objectives):
            model = objective.model
            codes = in_slices(model, model.encode, held_out)
            rows.append({
                "weight": weight,
                "seed": seed,
                **recovery(truth, codes),
                "contrast": float(geometry(model, codes[:2000]).contrast.mean()),
                "mse": float((in_slices(model, model.decode, codes) - held_out).square().mean()),
            })  # fmt: skip
    return rows


# -- rank correlation -------------------------------------------------------------------------------------------------


def ranks(values: Sequence[float]) -> Tensor:
    """The rank of each value; tied values share their mean rank."""
    v = torch.tensor(values, dtype=torch.float64)
    return (v[:, None] > v).sum(1) + 0.5 * ((v[:, None] == v).sum(1) - 1)


def spearman(a: Sequence[float], b: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The rank correlation and its 95 % interval, from 2,000 bootstrap draws."""

    def correlation(index: Tensor) -> float:
        x, y = (ranks([v[i] for i in index.tolist()]) for v in (a, b))
        return float(torch.corrcoef(torch.stack([x, y]))[0, 1])

    generator = torch.Generator().manual_seed(seed)
    draws = sorted(correlation(torch.randint(len(a), (len(a),), generator=generator)) for _ in range(2000))
    return correlation(torch.arange(len(a))), draws[50], draws[1949]


# -- table and picture ------------------------------------------------------------------------------------------------


def tables(rows: dict[str, Rows]) -> str:
    sections: list[str] = []
    for name, title in TITLES.items():
        if name in rows:
            sections += [f"### {title}", summary(rows[name], VAES, "gamma2")]
    recovered = numbers(rows["maps"], "mcc")
    correlations = []
    for kind in ("L", "map"):
        rho, low, high = spearman(recovered, numbers(rows["maps"], f"contrast_of_{kind}"))
        correlations.append((kind, f"{rho:.2f}", f"{low:.2f} to {high:.2f}"))
    return "\n\n".join([
        *sections,
        f"### {len(recovered)} maps of unit determinant after Moebius, gamma² = 1e5",
        table(("contrast of", "Spearman with MCC", "95 % interval"), correlations),
        "### A deterministic autoencoder with an Orthogonality term",
        summary(rows["orthogonality"], DETERMINISTIC, "weight"),
    ])  # fmt: skip


def figure(rows: dict[str, Rows]) -> Figure:
    drawing, (left, middle, right) = plotting.panels(11, 3.6, 3)
    gammas = numbers(rows["precision"], "gamma2")
    for key, colour, label, shift in (
        ("mcc", plotting.BLUE, "encoder means, all points", 1.0),
        ("mcc_authors", plotting.ORANGE, "authors' protocol", 1.15),
    ):
        shifted = [gamma2 * shift for gamma2 in gammas]
        left.scatter(shifted, numbers(rows["precision"], key), s=14, color=colour, alpha=0.6, label=label)
    left.set(xscale="log", ylim=(0, 1.02))
    left.set_xlabel("γ²", fontsize=9)
    left.set_ylabel("MCC", fontsize=9)
    left.legend(fontsize=7, frameon=False, loc="lower right")
    left.set_title("precision, d = 3", fontsize=9, loc="left")
    maps_rows = rows["maps"]
    middle.scatter(
        numbers(maps_rows, "contrast_of_map"), numbers(maps_rows, "mcc"), s=14, color=plotting.BLUE, alpha=0.7
    )  # fmt: skip
    middle.set_xlabel("IMA contrast of the map, nats", fontsize=9)
    middle.set_title(f"{len(maps_rows)} maps that are not orthogonal", fontsize=9, loc="left")
    weights = numbers(rows["orthogonality"], "weight")
    ticks = list(dict.fromkeys(weights))
    right.scatter(
        [ticks.index(w) for w in weights], numbers(rows["orthogonality"], "mcc"), s=18, color=plotting.GREEN, alpha=0.7
    )
    right.set_xticks(range(len(ticks)), [f"{w:g}" for w in ticks])
    right.set_ylim(0, 1.02)
    right.set_xlabel("weight of Orthogonality", fontsize=9)
    right.set_title("deterministic autoencoder", fontsize=9, loc="left")
    for axis, start in ((left, min(gammas)), (right, 0)):
        axis.axhline(ROTATION, color=plotting.INK, lw=0.8, ls=":")
        axis.text(start, ROTATION + 0.012, "random rotation", fontsize=7, color=plotting.INK)
    return drawing
