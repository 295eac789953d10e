"""What a run has learnt, said in numbers and one page of pictures: `diagnose` -> diagnose.json and an HTML file."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from chartae.autoencoder import evaluating, in_slices
from chartae.data import Dataset
from chartae.diagnostics import Geometry, geometry, self_consistency
from chartae.diagnostics.consistency import has_variance
from chartae.draw.plotting import BLUE, ORANGE, panels
from chartae.maths import as_float
from chartae.metrics import affine_r2, mcc
from chartae.recipes import OF_DOMAINS, OF_SCORE
from chartae.records.files import replace_text
from chartae.runs import Run

__all__ = ["diagnose", "page"]


def diagnose(
    run: Run,
    data: Dataset | None = None,
    *,
    n: int = 500,
    seed: int = 0,
    root: str | Path | None = None,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """The decoder's geometry at held-out codes, self-consistency, use of the code, and recovery of known factors.

    Args:
        run: of a recipe whose codes are a bottleneck; one that estimates a score is for `chartae score`.
        data: its data; loaded again where they are not given.
        n: test points at which Jacobians are taken, at most.
        seed: of codes drawn from the prior, and of the untrained decoder beside which the contrast is shown.
        out: where the page goes, if it shall be written; `diagnose.json` goes to the run's folder, if it has one.

    Returns:
        Numbers and lists that JSON holds, None for what is not finite.

        `geometry`: means of singular values, condition number, the IMA contrast (mean, median, share of points where it
        is infinite) and that of the same decoder untrained; `columns`: the mean absolute cosines between columns;
        `consistency` (of a posterior with a variance): what `self_consistency` says; `codes`: KL of each dimension, or
        its variance, and which are active; `recovery`, where the data have factors: MCC with chance and
        random-rotation levels, affine R^2; `warnings`: what a user should know, in words.

    Raises:
        ValueError: a recipe without a bottleneck, or for strings, data that are not the run's, n below 2.
    """
    if run.settings.recipe in OF_SCORE:
        raise ValueError(
            f"recipe {run.settings.recipe!r} estimates a score and passes x on beside its code, so that its decoder "
            "has no geometry of its own; use `chartae score`"
        )
    if run.settings.recipe in OF_DOMAINS:
        raise ValueError(
            f"the codes of {run.settings.recipe!r} are points of another domain, whose coordinates mean nothing by "
            "themselves; use `chartae translate`"
        )
    if run.settings.codec:
        raise ValueError(
            f"{run.settings.recipe!r} writes strings, step by step: there is no Jacobian of a string; use `chartae "
            "evaluate` and `chartae report`, which say what comes back, what is new, and what lies between"
        )
    if n < 2:
        raise ValueError(f"n is {n}; give at least 2 points")
    if out is not None and Path(out).is_dir():
        raise IsADirectoryError(f"{out} is a folder; give a file for the page, such as {Path(out) / 'diagnose.html'}")
    data = run.data(root) if data is None else data
    run.check_data(data)
    home = next(run.model.parameters())
    stored = data.test if len(data.test) >= 2 else data.train
    x = as_float(stored[:n]).to(home.device)
    run.model.eval()
    codes = in_slices(run.model, run.model.encode, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what is not of full rank is said in words below
        found = geometry(run.model, codes)
        fresh = run.settings.cook_as(seed + 1).objective.model.to(home).eval()
        untrained = geometry(fresh, codes[: min(100, len(codes))]).contrast
    results: dict[str, Any] = {
        "recipe": run.settings.recipe,
        "data": data.name,
        "points": len(x),
        "geometry": _geometry(found) | {"untrained_contrast": _finite_mean(untrained)},
        "columns": found.cosines.abs().mean(0).tolist(),
    }
    pictures = [("Singular values of the decoder's Jacobian", _spectrum(found))]
    pictures.append(("Between the columns: mean absolute cosine", _matrix(found.cosines.abs().mean(0))))
    if found.contrast.isfinite().any():
        pictures.append(("IMA contrast at each point", _histogram(found.contrast, _finite_mean(untrained))))
    notes = []
    with evaluating(run.model):
        variational = has_variance(run.model.encoder(x[:2]))
    if variational:
        consistency = self_consistency(run.model, x, codes=n, seed=seed)
        kl, active = consistency.kl, consistency.active
        results["codes"] = {"kl": kl.tolist(), "active": active.tolist()}
        results["consistency"] = {
            "code": float(consistency.code.mean()),
            "reconstruction": float(consistency.reconstruction.mean()),
            "variance_over_predicted": _finite(consistency.ratio),
        }
        pictures.append(("KL of each code dimension: what it tells of x", _bars(kl, active, "nats")))
        if active.any() and consistency.predicted.isfinite().all():
            pictures.append((
                "Posterior variance against 1 / (−(log p)″ + γ²‖J_k‖²)",
                _against(consistency.predicted[:, active], consistency.variance[:, active]),
            ))  # fmt: skip
    else:
        spread = codes.var(0)
        active = spread > 0.01 * spread.max()
        results["codes"] = {"variance": spread.tolist(), "active": active.tolist()}
        with torch.no_grad():
            cycle = in_slices(run.model, lambda z: run.model.encode(run.model.decode(z)), codes)
        error = (cycle - codes).norm(dim=1).mean() / (codes - codes.mean(0)).norm(dim=1).mean()
        results["consistency"] = {"code_relative": float(error)}
        pictures.append(("Variance of each code dimension", _bars(spread, active, "variance")))
    if data.factors:
        results["recovery"] = _recovery(run, data)
    notes += _notes(results, found)
    results["warnings"] = notes
    if run.folder is not None:
        replace_text(run.folder / "diagnose.json", json.dumps(results, indent=1) + "\n")
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        replace_text(Path(out), page(run, results, pictures))
    return results


def _finite(value: float) -> float | None:
    """None where JSON has no such number."""
    return value if math.isfinite(value) else None


def _finite_mean(values: Tensor) -> float | None:
    """Over the points where it is finite, None where it is nowhere."""
    values = values[values.isfinite()]
    return float(values.mean()) if len(values) else None


def _geometry(found: Geometry) -> dict[str, Any]:
    return {
        "singular_values": found.singular_values.mean(0).tolist(),
        "condition": _finite(float(found.condition.median())),
        "contrast": _finite_mean(found.contrast),
        "contrast_median": _finite(float(found.contrast.median())),
        "infinite": float(found.contrast.isinf().double().mean()),
        "lengths": found.lengths.mean(0).tolist(),
    }


def _recovery(run: Run, data: Dataset) -> dict[str, Any]:
    labels, x = (data.test_labels, data.test) if len(data.test) >= 100 else (data.train_labels, data.train)
    assert labels is not None
    keep = labels.double().std(0) > 0
    truth = labels.double()[:, keep]
    codes = run.encode(x).cpu().double()
    names = [name for name, kept in zip(data.factors, keep.tolist(), strict=True) if kept]
    found: dict[str, Any] = {
        "factors": names,
        "affine_r2": dict(zip(names, affine_r2(truth, codes).tolist(), strict=True)),
    }
    if codes.shape[1] >= truth.shape[1]:
        score = mcc(truth, codes)
        found |= {
            "mcc": float(score), "chance": score.chance, "rotation": score.rotation,
            "matching": dict(zip(names, score.matching, strict=True)),
        }  # fmt: skip
    return found


def _notes(results: dict[str, Any], found: Geometry) -> list[str]:
    notes = []
    if share := results["geometry"]["infinite"]:
        notes.append(
            f"At {share:.0%} of the points the decoder's Jacobian has no full rank: a code dimension has no effect "
            "there, and the contrast is infinite. Look at the dimensions that are not active."
        )
    active = results["codes"]["active"]
    if not all(active):
        dead = [k for k, used in enumerate(active) if not used]
        what = "collapsed onto the prior" if "kl" in results["codes"] else "hardly vary"
        notes.append(
            f"{len(dead)} of {len(active)} code dimensions {what} (numbers {', '.join(map(str, dead))}): fewer would "
            "do, or the decoder's noise is too large for them."
        )
    size = results["geometry"]["contrast"]
    untrained = results["geometry"]["untrained_contrast"]
    if size is not None and untrained is not None and size > untrained:
        notes.append(
            f"The contrast, {size:.3g} nats, is not below that of the same decoder untrained, {untrained:.3g}: "
            "training has not made its columns more orthogonal. In many output dimensions random columns nearly are."
        )
    return notes


# -- pictures ---------------------------------------------------------------------------------------------------------


def _spectrum(found: Geometry) -> Figure:
    figure, (axes,) = panels(5.4, 3.2)
    values = found.singular_values.cpu().numpy()
    k = range(1, values.shape[1] + 1)
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95), axis=0)
    axes.fill_between(k, low, high, color=BLUE, alpha=0.2, linewidth=0, label="5 to 95 % of points")
    axes.plot(k, middle, color=BLUE, marker="o", ms=3, lw=1.4, label="median")
    axes.plot(
        k, np.median(-np.sort(-found.lengths.cpu().numpy(), 1), 0), color=ORANGE, lw=1.2, ls="--",
        label="column lengths, sorted: the same where columns are orthogonal",
    )  # fmt: skip
    if high.min() > 0:
        axes.set_yscale("log")
    axes.set_xlabel("rank", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    return figure


def _matrix(cosines: Tensor) -> Figure:
    figure, (axes,) = panels(3.8, 3.2)
    shown = axes.imshow(cosines.cpu().numpy(), vmin=0, vmax=1, cmap="Blues")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("code dimension", fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    return figure


def _histogram(contrast: Tensor, untrained: float | None) -> Figure:
    figure, (axes,) = panels(5.4, 3.2)
    axes.hist(contrast[contrast.isfinite()].cpu().numpy(), bins=40, color=BLUE, alpha=0.8)
    if untrained is not None:
        axes.axvline(untrained, color=ORANGE, lw=1.4, label="the same decoder untrained, mean")
        axes.legend(fontsize=7, frameon=False)
    axes.set_xlabel("nats; 0 where columns are orthogonal", fontsize=8)
    axes.set_ylabel("points", fontsize=8)
    return figure


def _bars(values: Tensor, active: Tensor, unit: str) -> Figure:
    figure, (axes,) = panels(5.4, 3.2)
    colours = [BLUE if used else "#b8b8b0" for used in active.tolist()]
    axes.bar(range(len(values)), values.cpu().numpy(), color=colours)
    axes.set_xlabel("code dimension; grey: not active", fontsize=8)
    axes.set_ylabel(unit, fontsize=8)
    return figure


def _against(predicted: Tensor, learnt: Tensor) -> Figure:
    figure, (axes,) = panels(4, 3.6)
    a, b = predicted.flatten().cpu().numpy(), learnt.flatten().cpu().numpy()
    axes.scatter(a, b, s=4, color=BLUE, alpha=0.3, linewidths=0)
    ends = [float(min(a.min(), b.min())), float(max(a.max(), b.max()))]
    axes.plot(ends, ends, color=ORANGE, lw=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("of the encoder", fontsize=8)
    return figure


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22221f; background: #fcfcfa; margin: 2rem auto; max-width: 64rem;
       padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1rem; margin: 0 0 .3rem }
.pictures { display: flex; flex-wrap: wrap; gap: 1.5rem; margin-top: 1.5rem } figure { margin: 0; flex: 0 1 30rem }
img { max-width: 100%; height: auto } table { border-collapse: collapse } td { padding: .15rem 1.2rem .15rem 0 }
.note { border-left: 3px solid #d55e00; padding: .3rem .8rem; background: #fff4ea }
"""


def page(run: Run, results: dict[str, Any], pictures: Sequence[tuple[str, Figure]]) -> str:
    """One self-contained HTML page."""
    rows = {
        "test points": results["points"],
        "IMA contrast, mean (nats)": results["geometry"]["contrast"],
        "IMA contrast, median": results["geometry"]["contrast_median"],
        "the same decoder untrained": results["geometry"]["untrained_contrast"],
        "condition number, median": results["geometry"]["condition"],
        "active code dimensions": f"{sum(results['codes']['active'])} of {len(results['codes']['active'])}",
    }
    names = {
        "code": "‖mu(f(z)) − z‖, codes of the prior",
        "reconstruction": "‖f(mu(x)) − x‖",
        "variance_over_predicted": "posterior variance / predicted, median",
        "code_relative": "‖e(d(z)) − z‖ / spread of codes",
    }
    rows |= {names[key]: value for key, value in results["consistency"].items()}
    if "mcc" in results.get("recovery", {}):
        found = results["recovery"]
        rows["MCC with the true factors"] = (
            f"{found['mcc']:.3f} (chance {found['chance']:.3f}, random rotation {found['rotation']:.3f})"
        )
    for name, value in results.get("recovery", {}).get("affine_r2", {}).items():
        rows[f"affine R², {name}"] = value
    cells = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(_shown(v))}</td></tr>" for k, v in rows.items())
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in results["warnings"])
    shown = "".join(
        f'<figure><h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="{_uri(figure)}"></figure>'
        for title, figure in pictures
    )
    title = f"{results['recipe']} on {results['data']}: what it has learnt"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{html.escape(title)}</h1>'
        f"{notes}<table>{cells}</table><div class='pictures'>{shown}</div></html>\n"
    )


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png", facecolor="#fcfcfa")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
