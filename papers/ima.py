"""Near-deterministic VAEs and independent mechanisms (2206.02416): the paper's experiments, and what it leaves open.

Each function makes its parts one after the other and keeps each as JSON in its folder, so that an interrupted one goes
on where it stopped; then it writes `table.md` and pictures.
"""

from __future__ import annotations

import functools
import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from chartae.autoencoder import Autoencoder, in_slices
from chartae.data import Dataset, load, mixings
from chartae.diagnostics import (
    active_units,
    consistency_rates,
    elbo_gap,
    geometry,
    linear_gap,
    self_consistency,
)
from chartae.draw.plotting import BLUE, GREEN, INK, ORANGE, panels
from chartae.metrics import dci, mcc
from chartae.recipes import Setting, build
from chartae.records.files import replace_text
from chartae.runs import fit
from chartae.runs.ensembles import train_many
from papers.parts import Rows, Say, folder_of, keep, mean_sd, part, table

__all__ = ["ima_consistency", "ima_gap", "ima_linear", "ima_moebius", "ima_sprites"]


def ranks(values: Sequence[float]) -> Tensor:
    """Of each value, ties sharing theirs."""
    v = torch.tensor(values, dtype=torch.float64)
    return (v[:, None] > v).sum(1) + 0.5 * ((v[:, None] == v).sum(1) - 1)


def spearman(a: Sequence[float], b: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The rank correlation, and its 95 % interval by 2,000 bootstrap draws."""

    def of(index: Tensor) -> float:
        x, y = (ranks([v[i] for i in index.tolist()]) for v in (a, b))
        return float(torch.corrcoef(torch.stack([x, y]))[0, 1])

    generator = torch.Generator().manual_seed(seed)
    draws = sorted(of(torch.randint(len(a), (len(a),), generator=generator)) for _ in range(2000))
    return of(torch.arange(len(a))), draws[50], draws[1949]


# -- Moebius ----------------------------------------------------------------------------------------------------------


def _judge(model: Autoencoder, x: Tensor, z: Tensor, scale: float) -> dict[str, Any]:
    """Of a trained VAE on held-out points in the units it was trained in."""
    means = in_slices(model, model.encode, x)
    with torch.no_grad():
        drawn = model.encoder(x).sample(generator=torch.Generator().manual_seed(0))
    found = self_consistency(model, x[:2000])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a collapsed model's contrast is infinite: the row says so
        contrast = geometry(model, means[:2000].clamp(1e-4, 1 - 1e-4)).contrast
    finite = contrast[contrast.isfinite()]
    return {
        "mcc": float(mcc(z, means, baselines=False)),
        "mcc_authors": float(mcc(z, drawn, protocol="batches", baselines=False)),
        "contrast": float(finite.mean()) if len(finite) else math.inf,
        "contrast_median": float(contrast.median()),
        "kl": float(found.kl.sum()),
        "active": int(found.active.sum()),
        "variance_ratio": found.ratio,
        "mse": float((found.reconstruction**2).mean()) * scale**2 / x.shape[1],
    }


def _vaes(
    worlds: Sequence[mixings.Mixing], points: Sequence[tuple[float, int]], steps: int, *, n: int, net: str, lr: float,
    batch: int, prior: str = "uniform",
) -> Rows:  # fmt: skip
    """VAEs of (gamma^2, seed), each on its world or all on the first, judged on 6,000 held-out points."""
    drawn = [world.sample(n + 6000, seed=0) for world in worlds]
    drawn = [(x.float(), z.float()) for x, z in drawn]
    scales = [float(x[:n].var(0).mean().sqrt()) for x, _ in drawn]
    of = [0] * len(points) if len(worlds) == 1 else list(range(len(points)))
    sets = [x / s for (x, _), s in zip(drawn, scales, strict=True)]
    setting = Setting((worlds[0].size,), worlds[0].dim, net, unit=False)
    # a stiff decoder is reached from a softer one: there the axes are found
    warmups = [steps * 3 // 5 if g > 1e4 else 0 for g, _ in points]
    objectives = [
        build("vae", setting, seed=seed, gamma2=g * scales[of[i]] ** 2, prior=prior, warmup=warmups[i]).objective
        for i, (g, seed) in enumerate(points)
    ]
    for warmup in dict.fromkeys(warmups):
        members = [i for i, w in enumerate(warmups) if w == warmup]
        train_many(
            [objectives[i] for i in members],
            sets[0][:n] if len(worlds) == 1 else [sets[i][:n] for i in members],
            seeds=[points[i][1] for i in members],
            steps=steps,
            batch_size=batch,
            lr=lr,
        )
    rows = []
    for i, (g, seed) in enumerate(points):
        x, z = sets[of[i]][n:], drawn[of[i]][1][n:]
        rows.append({"gamma2": g, "seed": seed} | _judge(objectives[i].model, x, z, scales[of[i]]))
    return rows


def ima_moebius(
    out: str | Path,
    *,
    quick: bool = False,
    seeds: int | None = None,
    overwrite: bool = False,
    say: Say = lambda text: None,
    **_: Any,
) -> dict[str, Any]:
    """Recovery of the factors by VAEs of growing precision on Moebius maps, uniform sources and prior.

    Four parts: precision (d = 3, 20 seeds), dimension (d = 5 and 10), 100 maps of unit determinant after the Moebius
    map, whose own contrast is then above zero, and whether an explicit `Orthogonality` term makes a deterministic
    autoencoder do the same. `quick`: fewer seeds, maps and steps.
    """
    count = seeds or (3 if quick else 20)
    folder = folder_of(out, overwrite, "ima-moebius", quick=quick, seeds=count)
    steps = 2500 if quick else 15_000
    n = 12_000 if quick else 42_000
    net: dict[str, Any] = {"net": "smooth:48x48", "lr": 5e-3, "batch": 64, "n": n}
    world = mixings.moebius(dim=3, seed=0)
    gammas = [1e1, 1e4] if quick else [1e1, 1e3, 1e4, 1e5]
    results: dict[str, Any] = {"quick": quick, "steps": steps, "net": net}
    results["precision"] = part(
        folder, "precision", overwrite, say,
        lambda: _vaes([world], [(g, s) for g in gammas for s in range(count)], steps, **net),
    )  # fmt: skip
    some = min(count, 5)
    for dim in (5,) if quick else (5, 10):
        large = mixings.moebius(dim=dim, seed=0)
        points = [(g, s) for g in gammas[-2:] for s in range(some)]
        make = functools.partial(_vaes, [large], points, steps, **net | {"net": "smooth:96x96"})
        results[f"dimension-{dim}"] = part(folder, f"dimension-{dim}", overwrite, say, make)
    results["maps"] = part(folder, "maps", overwrite, say, lambda: _maps(8 if quick else 100, steps, net))
    results["orthogonality"] = part(
        folder, "orthogonality", overwrite, say, lambda: _deterministic(world, some, steps // 2, net)
    )
    keep(folder, results, _moebius_tables(results))
    _moebius_figure(results).savefig(folder / "moebius.png", dpi=130)
    return results


def _maps(count: int, steps: int, net: dict[str, Any]) -> Rows:
    worlds = [
        mixings.after(mixings.unit_determinant(3, seed), mixings.moebius(dim=3, seed=seed)) for seed in range(count)
    ]
    rows = _vaes(worlds, [(1e5, seed) for seed in range(count)], steps, **net)
    for seed, (world, row) in enumerate(zip(worlds, rows, strict=True)):
        L = mixings.unit_determinant(3, seed)
        row["contrast_of_L"] = float(geometry(lambda z, L=L: z @ L.T, torch.zeros(1, 3, dtype=L.dtype)).contrast)
        _, z = world.sample(2000, seed=1)
        row["contrast_of_map"] = float(geometry(world.decode, z.double()).contrast.mean())
    return rows


def _deterministic(world: mixings.Mixing, count: int, steps: int, net: dict[str, Any]) -> Rows:
    """RAEs without and with `Orthogonality`, sources scaled to unit variance by the latent norm alone."""
    n = net["n"]
    x, z = (t.float() for t in world.sample(n + 6000, seed=0))
    x = x / float(x[:n].var(0).mean().sqrt())
    setting = Setting((world.size,), world.dim, net["net"], unit=False)
    rows: Rows = []
    for weight in (0.0, 0.01, 0.1, 1.0):
        objectives = [
            build("rae", setting, seed=seed, sigma=0.03, beta=1.0, orthogonality=weight).objective
            for seed in range(count)
        ]
        train_many(objectives, x[:n], seeds=list(range(count)), steps=steps, batch_size=net["batch"], lr=net["lr"])
        for seed, objective in enumerate(objectives):
            model = objective.model
            codes = in_slices(model, model.encode, x[n:])
            rows.append({
                "weight": weight,
                "seed": seed,
                "mcc": float(mcc(z[n:], codes, baselines=False)),
                "contrast": float(geometry(model, codes[:2000]).contrast.mean()),
                "mse": float((in_slices(model, model.decode, codes) - x[n:]).square().mean()),
            })  # fmt: skip
    return rows


def _moebius_tables(results: dict[str, Any]) -> str:
    head = ("gamma²", "n", "MCC (means, all)", "MCC (authors' protocol)", "contrast", "active", "σ² / predicted")
    parts = []
    for name, title in (
        ("precision", "Moebius, d = 3"),
        ("dimension-5", "Moebius, d = 5"),
        ("dimension-10", "Moebius, d = 10"),
    ):
        if name not in results:
            continue
        found = results[name]["found"]
        rows = []
        for g in dict.fromkeys(row["gamma2"] for row in found):
            some = [row for row in found if row["gamma2"] == g]
            rows.append((
                f"{g:.0e}", len(some), mean_sd([r["mcc"] for r in some]), mean_sd([r["mcc_authors"] for r in some]),
                mean_sd([r["contrast"] for r in some]), mean_sd([r["active"] for r in some], 1),
                mean_sd([r["variance_ratio"] for r in some if r["active"]]) if any(r["active"] for r in some) else "-",
            ))  # fmt: skip
        parts += [f"### {title}", table(head, rows)]
    maps = results["maps"]["found"]
    rho = {k: spearman([r["mcc"] for r in maps], [r[k] for r in maps]) for k in ("contrast_of_L", "contrast_of_map")}
    parts += [
        f"### {len(maps)} maps of unit determinant after Moebius, gamma² = 1e5",
        table(
            ("contrast of", "Spearman with MCC", "95 % interval"),
            [(k.removeprefix("contrast_of_"), f"{v[0]:.2f}", f"{v[1]:.2f} to {v[2]:.2f}") for k, v in rho.items()],
        ),
        "### A deterministic autoencoder with the term Orthogonality",
        table(
            ("weight", "n", "MCC", "contrast", "mean squared error"),
            [
                (f"{w:g}", len(some), mean_sd([r["mcc"] for r in some]), mean_sd([r["contrast"] for r in some], 4),
                 f"{statistics.mean(r['mse'] for r in some):.1e}")
                for w in dict.fromkeys(r["weight"] for r in results["orthogonality"]["found"])
                if (some := [r for r in results["orthogonality"]["found"] if r["weight"] == w])
            ],
        ),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _moebius_figure(results: dict[str, Any]) -> Figure:
    figure, (left, middle, right) = panels(11, 3.6, 3)
    found = results["precision"]["found"]
    for key, colour, label, shift in (
        ("mcc", BLUE, "encoder means, all points", 1.0),
        ("mcc_authors", ORANGE, "authors' protocol", 1.15),
    ):
        left.scatter(
            [r["gamma2"] * shift for r in found], [r[key] for r in found], s=14, color=colour, alpha=0.6, label=label
        )
    left.set_xscale("log")
    left.axhline(0.828, color=INK, lw=0.8, ls=":")
    left.text(min(r["gamma2"] for r in found), 0.84, "random rotation", fontsize=7, color=INK)
    left.set_ylim(0, 1.02)
    left.set_xlabel("γ²", fontsize=9)
    left.set_ylabel("MCC", fontsize=9)
    left.legend(fontsize=7, frameon=False, loc="lower right")
    left.set_title("precision, d = 3", fontsize=9, loc="left")
    maps = results["maps"]["found"]
    middle.scatter([r["contrast_of_map"] for r in maps], [r["mcc"] for r in maps], s=14, color=BLUE, alpha=0.7)
    middle.set_xlabel("IMA contrast of the map, nats", fontsize=9)
    middle.set_title(f"{len(maps)} maps that are not orthogonal", fontsize=9, loc="left")
    rae = results["orthogonality"]["found"]
    weights = list(dict.fromkeys(r["weight"] for r in rae))
    right.scatter([weights.index(r["weight"]) for r in rae], [r["mcc"] for r in rae], s=18, color=GREEN, alpha=0.7)
    right.set_xticks(range(len(weights)), [f"{w:g}" for w in weights])
    right.axhline(0.828, color=INK, lw=0.8, ls=":")
    right.text(0, 0.84, "random rotation", fontsize=7, color=INK)
    right.set_ylim(0, 1.02)
    right.set_xlabel("weight of Orthogonality", fontsize=9)
    right.set_title("deterministic autoencoder", fontsize=9, loc="left")
    return figure


# -- exact and fixed decoders -----------------------------------------------------------------------------------------


def ima_linear(
    out: str | Path, *, overwrite: bool = False, say: Say = lambda text: None, quick: bool = False, **_: Any
) -> dict[str, Any]:
    """The linear-Gaussian identity log p - ELBO* = ½ (Σ log Λ_kk - log det Λ), from closed forms of both."""
    folder = folder_of(out, overwrite, "ima-linear")
    gammas = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)

    def make() -> Rows:
        rows = []
        for n, d in ((3, 3), (5, 3), (20, 8)):
            g = torch.Generator().manual_seed(0)
            A = torch.randn(n, d, generator=g, dtype=torch.float64)
            z, e = (torch.randn(8, k, generator=g, dtype=torch.float64) for k in (d, n))
            contrast = float(geometry(lambda z, A=A: z @ A.T, torch.zeros(1, d, dtype=A.dtype)).contrast)
            for gamma2 in gammas:
                x = z @ A.T + e / math.sqrt(gamma2)
                exact = linear_gap(A, gamma2)
                direct = _linear_log_likelihood(A, gamma2, x) - _linear_elbo(A, gamma2, x)
                rows.append({
                    "n": n, "d": d, "gamma2": gamma2, "gap": float(exact), "contrast": contrast,
                    "worst": float((direct - exact).abs().max()),
                })  # fmt: skip
        return rows

    found = part(folder, "linear", overwrite, say, make)
    head = ("n x d", *(f"{g:.0e}" for g in gammas), "c_IMA(A)", "worst error")
    rows = []
    for size in dict.fromkeys((r["n"], r["d"]) for r in found["found"]):
        some = [r for r in found["found"] if (r["n"], r["d"]) == size]
        worst = max(r["worst"] for r in some)
        rows.append(
            (f"{size[0]} x {size[1]}", *(f"{r['gap']:.6f}" for r in some), f"{some[0]['contrast']:.6f}", f"{worst:.1e}")
        )
    replace_text(folder / "table.md", "log p - ELBO*, nats, at each gamma²\n\n" + table(head, rows) + "\n")
    return {"linear": found}


def _linear_log_likelihood(A: Tensor, gamma2: float, x: Tensor) -> Tensor:
    """log N(x; 0, A Aᵀ + I / gamma^2), in the axes of A: the residual off its image is not lost in rounding."""
    U, s, _ = torch.linalg.svd(A, full_matrices=False)
    along = x @ U
    off = x - along @ U.T
    variance = s.square() + 1 / gamma2
    n, d = A.shape
    quadratic = (along.square() / variance).sum(1) + gamma2 * off.square().sum(1)
    return -0.5 * (quadratic + variance.log().sum() - (n - d) * math.log(gamma2) + n * math.log(2 * math.pi))


def _linear_elbo(A: Tensor, gamma2: float, x: Tensor) -> Tensor:
    """The ELBO at the best factorised posterior, term by term."""
    n, d = A.shape
    precision = torch.eye(d, dtype=A.dtype) + gamma2 * A.T @ A
    m = gamma2 * torch.linalg.solve(precision, A.T @ x.T).T
    v = 1 / precision.diagonal()
    error = (x - m @ A.T).square().sum(1) + (v * A.square().sum(0)).sum()
    divergence = 0.5 * (m.square().sum(1) + (v - 1 - v.log()).sum())
    return -0.5 * n * math.log(2 * math.pi / gamma2) - 0.5 * gamma2 * error - divergence


def ima_gap(
    out: str | Path, *, quick: bool = False, overwrite: bool = False, say: Say = lambda text: None, **_: Any
) -> dict[str, Any]:
    """ELBO*, log-likelihood and IMA-regularised log-likelihood of fixed decoders as gamma grows: a triangular net,
    whose contrast is above zero, and a Moebius map, whose contrast is zero; each point at its best posterior."""
    folder = folder_of(out, overwrite, "ima-gap", quick=quick)
    gammas = [1e1, 1e2, 1e3, 1e4, 1e5] if quick else [10 ** (k / 2) for k in range(2, 13)]
    worlds = {
        "triangular": (mixings.triangular(dim=2, seed=2), None),
        "moebius": (mixings.moebius(dim=2, seed=0), "uniform"),
    }

    def make(name: str) -> Rows:
        from chartae.conditionals import Uniform

        world, bounded = worlds[name]
        _, z = world.sample(10 if quick else 200, seed=0)
        z = z.double()
        rows = []
        for gamma2 in gammas:
            if bounded:  # codes in (0, 1), sources in (-1/2, 1/2)
                inside = 0.05 + 0.9 * (z + 0.5)  # a bounded prior has a layer of its own at the cube's faces
                found = elbo_gap(
                    lambda u: world.decode(u - 0.5), world.decode(inside - 0.5), gamma2, start=inside, prior=Uniform(2)
                )
            else:
                found = elbo_gap(world.decode, world.decode(z), gamma2, start=z)
            rows.append({"gamma2": gamma2} | found.means())
        return rows

    results = {name: part(folder, name, overwrite, say, functools.partial(make, name)) for name in worlds}
    head = ("gamma²", "ELBO*", "log p", "log p - c_IMA (limit)", "log p - ELBO*", "C_IMA")
    tables = [
        f"### {name}\n\n"
        + table(head, [
            (f"{r['gamma2']:.1e}", f"{r['elbo']:.5f}", f"{r['log_likelihood']:.5f}", f"{r['ima']:.5f}",
             f"{r['log_likelihood'] - r['elbo']:.5f}", f"{r['contrast']:.5f}")
            for r in found["found"]
        ])
        for name, found in results.items()
    ]  # fmt: skip
    replace_text(folder / "table.md", "\n\n".join(tables) + "\n")
    figure, axes = panels(9, 3.4, 2)
    for a, (name, found) in zip(axes, results.items(), strict=True):
        g = [r["gamma2"] for r in found["found"]]
        for key, colour, label in (
            ("log_likelihood", INK, "log p"),
            ("elbo", BLUE, "ELBO*"),
            ("ima", ORANGE, "log p − c_IMA, the limit"),
        ):
            a.plot(
                g, [r[key] for r in found["found"]], color=colour, lw=1.6, ls="--" if key == "ima" else "-", label=label
            )
        a.set_xscale("log")
        a.set_xlabel("γ²", fontsize=9)
        a.set_ylabel("nats a point", fontsize=9)
        a.set_title(f"{name}: C_IMA {max(0.0, found['found'][0]['contrast']):.3f}", fontsize=9, loc="left")
        a.legend(fontsize=7, frameon=False)
    figure.savefig(folder / "gap.png", dpi=130)
    return results


def ima_consistency(
    out: str | Path,
    *,
    quick: bool = False,
    seeds: int | None = None,
    overwrite: bool = False,
    say: Say = lambda text: None,
    **_: Any,
) -> dict[str, Any]:
    """The orders in which encoder and decoder become each other's inverse: on a known decoder, point by point, and of
    VAEs trained on a smooth three-layer mixing of Gaussian sources."""
    count = seeds or (2 if quick else 10)
    folder = folder_of(out, overwrite, "ima-consistency", quick=quick, seeds=count)

    def exact() -> dict[str, Any]:
        world = mixings.two_dimensional()
        _, z = world.sample(10 if quick else 200, seed=0)
        rates = consistency_rates(world.decode, z.double())
        return {"gamma2": rates.gamma2, "values": rates.values, "slopes": rates.slopes}

    results = {"exact": part(folder, "exact", overwrite, say, exact)}
    gammas = [1e3, 1e5] if quick else [1e2, 1e3, 1e4, 1e5]
    results["trained"] = part(
        folder, "trained", overwrite, say,
        lambda: _vaes(
            [mixings.mlp(dim=3, seed=1)], [(g, s) for g in gammas for s in range(count)], 2500 if quick else 15_000,
            n=12_000 if quick else 42_000, net="smooth:48x48", lr=5e-3, batch=64, prior="normal",
        ),
    )  # fmt: skip
    slopes = results["exact"]["found"]["slopes"]
    expected = {"code": -1, "variance": -1, "reconstruction": -2, "variance_error": -1, "ima": -1, "likelihood": -1}
    trained = results["trained"]["found"]
    tables = [
        "### Known decoder, best posterior of each point: slopes against log gamma²",
        table(
            ("quantity", "slope", "expected"),
            [(k, f"{v[0]:.4f} ± {v[1]:.4f}", expected[k]) for k, v in slopes.items()],
        ),
        "### Trained VAEs",
        table(
            ("gamma²", "n", "σ² / predicted", "mean squared error", "MCC", "contrast", "active"),
            [
                (f"{g:.0e}", len(some), mean_sd([r["variance_ratio"] for r in some]),
                 f"{statistics.mean(r['mse'] for r in some):.2e}", mean_sd([r["mcc"] for r in some]),
                 mean_sd([r["contrast"] for r in some], 4), mean_sd([r["active"] for r in some], 1))
                for g in gammas
                if (some := [r for r in trained if r["gamma2"] == g])
            ],
        ),
    ]  # fmt: skip
    replace_text(folder / "table.md", "\n\n".join(tables) + "\n")
    figure, (axes,) = panels(5.4, 4)
    found = results["exact"]["found"]
    for name, values in found["values"].items():
        axes.plot(found["gamma2"], values, marker="o", ms=3, lw=1.2, label=f"{name}: slope {slopes[name][0]:.2f}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("γ²", fontsize=9)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(folder / "consistency.png", dpi=130)
    return results


# -- pictures ---------------------------------------------------------------------------------------------------------


def ima_sprites(
    out: str | Path,
    *,
    quick: bool = False,
    seeds: int | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    say: Say = lambda text: None,
    progress: bool | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Four factors of drawn sprites, by a VAE at gamma^2 = 1 and by deterministic autoencoders with and without
    `Orthogonality`; and of dSprites (where `root` has them) by beta-VAE and RAE: MCC, DCI, contrast.

    Full, it trains on 64x64 pixels for 41,500 steps of 512 (a GPU is wanted); `quick`, on 32x32, a quarter as many, of
    which each counts four times, with 16, 32 and 32 channels for 12,000 steps of 64.
    """
    folder = folder_of(out, overwrite, "ima-sprites", quick=quick)
    count = seeds or (1 if quick else 10)
    results: dict[str, Any] = {"quick": quick}
    cells: list[tuple[str, str, dict[str, Any]]] = [
        ("sprites", "vae", {"gamma2": 4.0 if quick else 1.0, "prior": "beta", "output": "identity"}),
        ("sprites", "rae", {"sigma": 0.5 if quick else 1.0, "beta": 0.1, "output": "identity"}),
        ("sprites", "rae", {"sigma": 0.5 if quick else 1.0, "beta": 0.1, "output": "identity", "orthogonality": 1.0}),
        ("dsprites", "beta-vae", {"beta": 4.0, "likelihood": "bernoulli"}),
        ("dsprites", "vae", {"likelihood": "bernoulli"}),
        ("dsprites", "rae", {}),
    ]
    rows: Rows = []
    for data, recipe, options in cells:
        if data == "dsprites":
            try:
                load("dsprites", root=root)
            except (FileNotFoundError, OSError) as error:
                say(f"dsprites left out: {error}")
                continue
        for seed in range(count):
            label = f"{data}-{recipe}" + ("-orthogonal" if "orthogonality" in options else "") + f"-{seed}"
            made = part(
                folder, label, overwrite, say,
                lambda: _sprites(data, recipe, options, seed, quick, root, device, progress),  # noqa: B023
            )  # fmt: skip
            rows.append(made["found"])
            # an interrupted one shows what it has
            keep(folder, results | {"rows": rows}, _sprites_table(rows) + "\n")
    return results | {"rows": rows}


def _sprites_table(rows: Rows) -> str:
    head = (
        "data",
        "recipe",
        "options",
        "n",
        "MCC (means)",
        "MCC (authors' protocol)",
        "contrast",
        "DCI disentanglement",
        "mse",
    )
    lines = []
    for key in dict.fromkeys((r["data"], r["recipe"], r["options"]) for r in rows):
        some = [r for r in rows if (r["data"], r["recipe"], r["options"]) == key]
        lines.append((
            *key, len(some), mean_sd([r["mcc"] for r in some]),
            mean_sd([r["mcc_authors"] for r in some]) if some[0]["mcc_authors"] is not None else "-",
            mean_sd([r["contrast"] for r in some]), mean_sd([r["dci"] for r in some]),
            mean_sd([r["mse"] for r in some], 5),
        ))  # fmt: skip
    return table(head, lines)


def _pictures(data: str, quick: bool, root: str | Path | None) -> Dataset:
    """The data set; `quick`, every 2x2 pixels of it averaged."""
    found = load(data, root=root)
    if not quick:
        return found

    def halved(x: Tensor) -> Tensor:
        parts = [torch.nn.functional.avg_pool2d(part.float(), 2).round().to(torch.uint8) for part in x.split(1000)]
        return torch.cat(parts)

    train, valid, test = map(halved, (found.train, found.valid, found.test))
    return replace(found, name=f"{data}-32", source="", train=train, valid=valid, test=test)


def _sprites(
    data: str, recipe: str, options: dict[str, Any], seed: int, quick: bool, root: str | Path | None,
    device: str | None, progress: bool | None,
) -> dict[str, Any]:  # fmt: skip
    dataset = _pictures(data, quick, root)
    batch = 64 if quick else 512
    steps = (12_000 if data == "sprites" else 6000) if quick else 41_500
    epochs = max(1, round(steps * batch / len(dataset.train)))
    run = fit(
        recipe, dataset, latent_dim=len(dataset.factors) if data == "sprites" else 10,
        net="smooth-conv:16x32x32" if quick else "smooth-conv",
        epochs=epochs, batch_size=batch, lr=1e-3 if quick else 5e-4, seed=seed,
        cosine=True, densities=(), device=device, progress=progress, **options,
    )  # fmt: skip
    x, truth = dataset.test, dataset.test_labels
    assert truth is not None
    truth = truth.double()
    home = next(run.model.parameters()).device
    means = run.encode(x).cpu()
    authors = None
    if recipe != "rae":
        with torch.no_grad():
            drawn = torch.cat([
                run.model.encoder(part.to(home).float() / 255).sample(generator=torch.Generator(home).manual_seed(0))
                for part in x.split(500)
            ]).cpu()  # fmt: skip
        authors = float(mcc(truth, drawn, protocol="batches", batch=512, baselines=False))
    kl = active = None
    if recipe != "rae":
        kl, used = active_units(run.model, x[:500].to(home).float() / 255)
        active = int(used.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        contrast = geometry(run.model, means[:200].to(home)).contrast
    return {
        "data": data,
        "recipe": recipe,
        "options": ", ".join(f"{k} {v}" for k, v in options.items()),
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "mcc": float(mcc(truth, means, baselines=False)),
        "mcc_authors": authors,
        "contrast": float(contrast[contrast.isfinite()].mean()) if contrast.isfinite().any() else math.inf,
        "active": active,
        "kl": None if kl is None else kl.tolist(),
        "dci": float(dci(truth, means, ordered=True).disentanglement),
        "mse": float((run.decode(means[:1000]).cpu() - x[:1000].float() / 255).square().mean()),
    }
