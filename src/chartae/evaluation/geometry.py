"""`diagnose`: what the code and the decoder of a run have learnt, in `diagnose.json` and one HTML page of plots."""

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
from chartae.evaluation.writing import check
from chartae.maths import as_float
from chartae.metrics import affine_r2, mcc
from chartae.records import manifest
from chartae.records.files import replace_text
from chartae.records.space import after_work, check_output
from chartae.runs import Run
from chartae.runs.run import built_from, only_writer

__all__ = ["Diagnosis", "diagnose"]


@only_writer
def diagnose(
    run: Run,
    data: object = None,
    *,
    n: int = 500,
    seed: int = 0,
    root: str | Path | None = None,
    out: str | Path | None = None,
) -> Diagnosis:
    """Diagnose a run: the decoder's geometry, self-consistency, use of the code, and recovery of known factors.

    The geometry is that of the Jacobian of the decoder's mean at the codes of test points. It is left out for a decoder
    without a derivative, such as one of strings.

    The IMA contrast at a code is `sum_k log ||J_k|| - 1/2 log det(J^T J)`, with J_k the columns of the Jacobian J. It
    is 0 if the columns are orthogonal (Gresele et al., 2021, arXiv 2106.05200).

    Args:
        run: a run whose decoder sees x only through a code. For one that estimates a score use `evaluate_score`.
        data: the data of the run, in any form that `fit` accepts; None (default) reloads them.
        n: largest number of test points, >= 2; default 500.
        seed: seed of codes drawn from the prior, and of the untrained decoder used for comparison; default 0.
        root: folder of named data sets; None (default) for that of the fit.
        out: file for the HTML page; None (default) writes no page. If the run has a folder, `diagnose.json` is written
            there in any case.

    Returns:
        A dictionary of numbers and lists, as `diagnose.json` holds it.

    Raises:
        ValueError: the run estimates a score, translates, or has a condition; the data are not the run's; `n` is
            below 2.
        IsADirectoryError: `out` is a folder.
        OSError: a file cannot be written; raised before any work. If writing fails afterwards, the results are
            returned and `chartae.records.space.NotWritten` warns.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.evaluation import diagnose
    >>> data = ch.data.from_arrays(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)))
    >>> run = ch.fit("vae", data, latent_dim=2, epochs=1, net="smooth:8", densities=(), progress=False)
    >>> diagnosis = diagnose(run, data)
    >>> diagnosis["points"], len(diagnosis["geometry"]["singular_values"]), len(diagnosis["codes"]["active"])
    (10, 2, 2)
    """
    _check(run, n, out)
    data = run.source(data, root)
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
    """Raise for a run that cannot be diagnosed and for invalid arguments, before any data are read."""
    recipe = run.settings.recipe
    if run.translates:
        raise ValueError(
            f"recipe is {recipe!r}, whose codes are points of another domain; expected a run with codes of its own. "
            "Use `chartae translate`, or `chartae evaluate` for metrics of its translations"
        )
    if not run.bottleneck:
        raise ValueError(
            f"recipe is {recipe!r}, which estimates a score and passes x to the decoder in addition to the code; "
            "expected a decoder that sees only the code. Use `chartae score`"
        )
    if run.condition is not None:
        raise ValueError(
            f"this run is conditioned on {run.condition}, so its decoder is a different map for each condition; "
            "expected a run without a condition. Use `chartae evaluate`"
        )
    if n < 2:
        raise ValueError(f"n is {n}; give at least 2 points")
    if out is not None and run.folder is not None:
        manifest.check_free(run.folder, out)
    if out is not None and Path(out).is_dir():
        raise IsADirectoryError(f"{out} is a folder; give a file for the page, such as {Path(out) / 'diagnose.html'}")
    check(run)
    if out is not None:
        check_output(out)


def _write(run: Run, results: Diagnosis, plots: list[Plot], out: str | Path | None) -> None:
    """Write `diagnose.json` to the run folder, and the page to `out`."""
    if run.folder is not None:
        with after_work(run.folder, "the diagnosis"), manifest.writing(run.folder, "diagnose.json"):
            replace_text(run.folder / "diagnose.json", json.dumps(results, indent=1) + "\n")
    if out is not None:
        path = Path(out)
        with after_work(path, "the page of the diagnosis"):
            replace_text(path, page(results, plots))
            if run.folder is not None and path.parent.resolve() == run.folder.resolve():
                manifest.register(run.folder, path.name)


# -- the parts --------------------------------------------------------------------------------------------------------


def _finite(value: float) -> float | None:
    """The value, or None if it is not finite, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def _finite_mean(values: Tensor) -> float | None:
    """The mean over the points where the value is finite; None if there are none."""
    values = values[values.isfinite()]
    return float(values.mean()) if len(values) else None


def _geometry(run: Run, codes: Tensor, seed: int, plots: list[Plot]) -> tuple[GeometryFacts, list[list[float]]]:
    """Facts about the Jacobian at the codes, and the mean absolute cosines between its columns."""
    like = next(run.model.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the diagnosis has its own warning for a rank deficiency
        shape = geometry(run.model, codes)
        initial = built_from(run.settings, seed + 1).objective.model.to(like).eval()
        untrained = _finite_mean(geometry(initial, codes[: min(100, len(codes))]).contrast)
    cosines = shape.cosines.abs().mean(0)
    plots.append(("Singular values of the decoder's Jacobian", figures.spectrum(shape)))
    plots.append(("Mean absolute cosine between the columns", figures.matrix(cosines)))
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
    """The KL of each dimension, and how nearly encoder and decoder invert each other, for a posterior with variance."""
    result = self_consistency(run.model, x, codes=n, seed=seed)
    plots.append(_kl_plot(result.kl, result.active))
    if result.active.any() and result.predicted.isfinite().all():
        plots.append((
            "Posterior variance against 1 / (−(log p)″ + γ²‖J_k‖²)",
            figures.against(result.predicted[:, result.active], result.variance[:, result.active]),
        ))  # fmt: skip
    consistency = {
        "code": float(result.code.mean()),
        "reconstruction": float(result.reconstruction.mean()),
        "variance_over_predicted": _finite(result.ratio),
    }
    return CodeFacts(kl=result.kl.tolist(), active=result.active.tolist()), consistency


def _kl_plot(kl: Tensor, active: Tensor) -> Plot:
    return "KL of each code dimension: information about x", figures.bars(kl, active, "nats")


def _use_of_the_code(
    run: Run, x: Tensor, codes: Tensor, variational: bool, plots: list[Plot]
) -> tuple[CodeFacts, dict[str, float | None]]:
    """Which dimensions are active, and how far codes move when they are decoded and encoded again."""
    if variational:
        kl, active = active_units(run.model, x)
        plots.append(_kl_plot(kl, active))
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
    """How well factors, or otherwise a target, are recovered from the code; None if the data have neither."""
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
    """The warnings of a diagnosis."""
    notes = []
    active = results["codes"]["active"]
    shape = results.get("geometry")
    if shape is not None and shape["infinite"]:
        notes.append(
            f"At {shape['infinite']:.0%} of the points the decoder's Jacobian does not have full rank: a code "
            "dimension has no effect there, and the contrast is infinite. Look at the inactive dimensions."
        )
    if not all(active):
        dead = [k for k, used in enumerate(active) if not used]
        what = "collapsed onto the prior" if "kl" in results["codes"] else "hardly vary"
        notes.append(
            f"{len(dead)} of {len(active)} code dimensions {what} (numbers {', '.join(map(str, dead))}). Use a smaller "
            "latent_dim, or less decoder noise."
        )
    if shape is not None and shape["contrast"] is not None and shape["untrained_contrast"] is not None:
        size, untrained = shape["contrast"], shape["untrained_contrast"]
        if size > untrained:
            notes.append(
                f"The contrast, {size:.3g} nats, is not below that of the same decoder before training, "
                f"{untrained:.3g}: training has not made the columns more orthogonal. In many output dimensions, "
                "random columns are nearly orthogonal."
            )
    return notes
