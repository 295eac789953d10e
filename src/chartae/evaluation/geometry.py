"""What a run has learnt, said in numbers and one page of plots: `diagnose` -> diagnose.json and an HTML file."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

from torch import Tensor

from chartae.autoencoder import evaluating, in_slices
from chartae.data import Dataset
from chartae.diagnostics import Geometry, active_units, geometry, self_consistency
from chartae.diagnostics.consistency import has_variance
from chartae.evaluation import diagnosis_figures as figures
from chartae.evaluation.diagnosis import CodeFacts, Diagnosis, GeometryFacts, Recovery
from chartae.evaluation.diagnosis_page import Plot, page
from chartae.maths import as_float
from chartae.metrics import affine_r2, mcc
from chartae.records import manifest
from chartae.records.files import replace_text
from chartae.runs import Run
from chartae.runs.run import built_from

__all__ = ["Diagnosis", "diagnose"]


def diagnose(
    run: Run,
    data: object = None,
    *,
    n: int = 500,
    seed: int = 0,
    root: str | Path | None = None,
    out: str | Path | None = None,
) -> Diagnosis:
    """The decoder's geometry at held-out codes, self-consistency, use of the code, and recovery of known factors.

    A decoder whose mean has no derivative, as that of strings, has no geometry; all else is asked of it as well.

    Args:
        run: whose codes are a bottleneck; one that estimates a score is for `evaluate_score`.
        data: its data; loaded again where they are not given.
        n: test points at which Jacobians are taken, at most.
        seed: of codes drawn from the prior, and of the untrained decoder with which the contrast is compared.
        root: where named data lie.
        out: where the page goes, if it shall be written; `diagnose.json` goes to the run's folder, if it has one.

    Returns:
        Numbers and lists that JSON holds.

    Raises:
        ValueError: a run without a bottleneck, or with a condition; data that are not the run's; n below 2.
        IsADirectoryError: `out` is a folder.
    """
    _check(run, n, out)
    data = run.data(root) if data is None else run.read(data)
    run.check_data(data)
    run.model.eval()
    stored = data.test if len(data.test) >= 2 else data.train
    inside = run.kind.inside(stored[:n])
    x, codes = as_float(inside).to(run.device), run.encode_inside(inside)
    plots: list[Plot] = []
    results = Diagnosis(
        recipe=run.settings.recipe, data=data.name, points=len(x), codes=CodeFacts(active=[]), consistency={},
        warnings=[],
    )  # fmt: skip
    if run.model.decoder.differentiable:
        results["geometry"], results["columns"] = _geometry(run, codes, seed, plots)
    with evaluating(run.model):
        variational = has_variance(run.model.encoder(x[:2]))
    if variational and run.model.decoder.differentiable:
        results["codes"], results["consistency"] = _self_consistency(run, x, n, seed, plots)
    else:
        results["codes"], results["consistency"] = _use_of_the_code(run, x, codes, variational, plots)
    recovery = _recovery(run, data)
    if recovery is not None:
        results["recovery"] = recovery
    results["warnings"] = _notes(results)
    _write(run, results, plots, out)
    return results


def _check(run: Run, n: int, out: str | Path | None) -> None:
    """Raise for what cannot be diagnosed, before any data are read."""
    recipe = run.settings.recipe
    if run.translates:
        raise ValueError(
            f"the codes of {recipe!r} are points of another domain, whose coordinates mean nothing by themselves; use "
            "`chartae translate`, or `chartae evaluate`, which measures its translations"
        )
    if not run.bottleneck:
        raise ValueError(
            f"recipe {recipe!r} estimates a score and passes x on beside its code, so that its decoder has no geometry "
            "of its own; use `chartae score`"
        )
    if run.condition is not None:
        raise ValueError(
            f"this run is conditioned on {run.condition}, so that its decoder is a different map for each condition; "
            "diagnose expects a run without one. Use `chartae evaluate`"
        )
    if n < 2:
        raise ValueError(f"n is {n}; give at least 2 points")
    if out is not None and Path(out).is_dir():
        raise IsADirectoryError(f"{out} is a folder; give a file for the page, such as {Path(out) / 'diagnose.html'}")


def _write(run: Run, results: Diagnosis, plots: list[Plot], out: str | Path | None) -> None:
    if run.folder is not None:
        with manifest.writing(run.folder, "diagnose.json"):
            replace_text(run.folder / "diagnose.json", json.dumps(results, indent=1) + "\n")
    if out is not None:
        path = Path(out)
        replace_text(path, page(results, plots))
        if run.folder is not None and path.parent.resolve() == run.folder.resolve():
            manifest.register(run.folder, path.name)


# -- the parts --------------------------------------------------------------------------------------------------------


def _finite(value: float) -> float | None:
    """None where JSON has no such number."""
    return value if math.isfinite(value) else None


def _finite_mean(values: Tensor) -> float | None:
    """Over the points where it is finite, None where it is nowhere."""
    values = values[values.isfinite()]
    return float(values.mean()) if len(values) else None


def _geometry(run: Run, codes: Tensor, seed: int, plots: list[Plot]) -> tuple[GeometryFacts, list[list[float]]]:
    """The Jacobian at the codes, and the mean absolute cosines between its columns."""
    home = next(run.model.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the notes say in words what is not of full rank
        shape = geometry(run.model, codes)
        fresh = built_from(run.settings, seed + 1).objective.model.to(home).eval()
        untrained = _finite_mean(geometry(fresh, codes[: min(100, len(codes))]).contrast)
    cosines = shape.cosines.abs().mean(0)
    plots.append(("Singular values of the decoder's Jacobian", figures.spectrum(shape)))
    plots.append(("Between the columns: mean absolute cosine", figures.matrix(cosines)))
    if shape.contrast.isfinite().any():
        plots.append(("IMA contrast at each point", figures.histogram(shape.contrast, untrained)))
    return _facts(shape, untrained), cosines.tolist()


def _facts(shape: Geometry, untrained: float | None) -> GeometryFacts:
    return GeometryFacts(
        singular_values=shape.singular_values.mean(0).tolist(),
        condition=_finite(float(shape.condition.median())),
        contrast=_finite_mean(shape.contrast),
        contrast_median=_finite(float(shape.contrast.median())),
        infinite=float(shape.contrast.isinf().double().mean()),
        lengths=shape.lengths.mean(0).tolist(),
        untrained_contrast=untrained,
    )


def _self_consistency(
    run: Run, x: Tensor, n: int, seed: int, plots: list[Plot]
) -> tuple[CodeFacts, dict[str, float | None]]:
    """Whether encoder and decoder invert each other, of a posterior with a variance, and the KL of each dimension."""
    found = self_consistency(run.model, x, codes=n, seed=seed)
    plots.append(_kl(found.kl, found.active))
    if found.active.any() and found.predicted.isfinite().all():
        plots.append((
            "Posterior variance against 1 / (−(log p)″ + γ²‖J_k‖²)",
            figures.against(found.predicted[:, found.active], found.variance[:, found.active]),
        ))  # fmt: skip
    consistency = {
        "code": float(found.code.mean()),
        "reconstruction": float(found.reconstruction.mean()),
        "variance_over_predicted": _finite(found.ratio),
    }
    return CodeFacts(kl=found.kl.tolist(), active=found.active.tolist()), consistency


def _kl(kl: Tensor, active: Tensor) -> Plot:
    return "KL of each code dimension: what it tells of x", figures.bars(kl, active, "nats")


def _use_of_the_code(
    run: Run, x: Tensor, codes: Tensor, variational: bool, plots: list[Plot]
) -> tuple[CodeFacts, dict[str, float | None]]:
    """Which dimensions are used, and how far codes move when they are decoded and encoded again."""
    if variational:
        kl, active = active_units(run.model, x)
        plots.append(_kl(kl, active))
        use = CodeFacts(kl=kl.tolist(), active=active.tolist())
    else:
        spread = codes.var(0)
        active = spread > 0.01 * spread.max()
        plots.append(("Variance of each code dimension", figures.bars(spread, active, "variance")))
        use = CodeFacts(variance=spread.tolist(), active=active.tolist())
    cycle = in_slices(run.model, lambda z: run.model.encode(run.model.decode(z)), codes)
    error = (cycle - codes).norm(dim=1).mean() / (codes - codes.mean(0)).norm(dim=1).mean()
    return use, {"code_relative": _finite(float(error))}


def _recovery(run: Run, data: Dataset) -> Recovery | None:
    """How well factors, or else a target, are recovered from the code; None where the data have neither."""
    split = "test" if len(data.test) >= 100 else "train"
    labels, target = (data.test_labels, data.test_target) if split == "test" else (data.train_labels, data.train_target)
    if data.factors and labels is not None:
        truth, names = labels.double(), list(data.factors)
    elif target is not None:
        truth, names = target.double()[:, None], ["target"]
    else:
        return None
    codes = run.encode_split(data, split).cpu().double()
    known = truth.isfinite().all(1)
    truth, codes = truth[known], codes[known]
    if len(truth) < codes.shape[1] + 2:
        return None
    keep = truth.std(0) > 0
    truth = truth[:, keep]
    names = [name for name, kept in zip(names, keep.tolist(), strict=True) if kept]
    recovery = Recovery(
        factors=names, affine_r2=dict(zip(names, affine_r2(truth, codes).tolist(), strict=True)) if names else {}
    )
    if data.factors and names and codes.shape[1] >= truth.shape[1]:
        correlation = mcc(truth, codes)
        recovery["mcc"] = float(correlation)
        recovery["chance"], recovery["rotation"] = correlation.chance, correlation.rotation
        recovery["matching"] = dict(zip(names, correlation.matching, strict=True))
    return recovery


def _notes(results: Diagnosis) -> list[str]:
    notes = []
    active = results["codes"]["active"]
    shape = results.get("geometry")
    if shape is not None and shape["infinite"]:
        notes.append(
            f"At {shape['infinite']:.0%} of the points the decoder's Jacobian has no full rank: a code dimension has "
            "no effect there, and the contrast is infinite. Look at the dimensions that are not active."
        )
    if not all(active):
        dead = [k for k, used in enumerate(active) if not used]
        what = "collapsed onto the prior" if "kl" in results["codes"] else "hardly vary"
        notes.append(
            f"{len(dead)} of {len(active)} code dimensions {what} (numbers {', '.join(map(str, dead))}): fewer would "
            "do, or the decoder's noise is too large for them."
        )
    if shape is not None and shape["contrast"] is not None and shape["untrained_contrast"] is not None:
        size, untrained = shape["contrast"], shape["untrained_contrast"]
        if size > untrained:
            notes.append(
                f"The contrast, {size:.3g} nats, is not below that of the same decoder untrained, {untrained:.3g}: "
                "training has not made its columns more orthogonal. In many output dimensions random columns nearly "
                "are."
            )
    return notes
