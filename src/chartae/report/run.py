"""The page of a run on points: images, tables, and all other data that are compared as sets of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chartae.records.parsing import Value, is_finite
from chartae.records.results import Scores
from chartae.records.run_folder import RunFolder
from chartae.report.embedded import Embedded
from chartae.report.grids import interpolations, reconstructions, samples
from chartae.report.names import best, densities, in_sentence, metric_title, title
from chartae.report.numbers import lower, number
from chartae.report.parts import Column, Columns, Facts, Head, resources, run_parts, sections, set_table
from chartae.report.rendering import render
from chartae.report.scatter import codes_and_samples, data_and_samples

__all__ = ["page"]

COLUMNS: Columns = {
    "kid": Column("KID × 10³", "↓", 1000, 3),
    "precision": Column("precision", "↑", 1, 3),
    "recall": Column("recall", "↑", 1, 3),
    "density": Column("density", "↑", 1, 3),
    "coverage": Column("coverage", "↑", 1, 3),
    "log_likelihood": Column("log p(z), nats per code", "↑", 1, 2),
}
#: largest number of bytes of images in one picture on the page
BUDGET = 400_000


@dataclass(frozen=True)
class PointParts:
    """The parts that only the page of a run on points has."""

    unpictured: str
    metric: str
    best: str | None
    samples: Sequence[Embedded]
    reconstructions: Embedded | None
    interpolations: Sequence[Embedded]
    latent: Sequence[Embedded]
    data: Sequence[Embedded]


def page(run: RunFolder) -> str:
    """The page as HTML."""
    results, pictures = run.scored, run.pictures
    metric, numbers = metric_title(results.metric), {n: s.get("frechet") for n, s in results.sets.items()}
    top = best(numbers)
    return render(
        "run.html",
        run_parts(run),
        Head(
            title=f"{run.settings.get('recipe', 'run')} on {run.settings.get('data', 'data')}",
            headline=_headline(numbers, results.own, metric, results.reconstruction),
            model=_model(run.settings),
            tiles=_tiles(run, numbers, top, metric),
            table=set_table(run, {"frechet": Column(metric, "↓"), **COLUMNS}, top),
            errors=[(k, number(v)) for k, v in results.reconstruction.items()],
            facts=sections(run.settings, results.protocol),
        ),
        PointParts(
            unpictured=_unpictured(run),
            metric=metric,
            best=top,
            samples=samples(pictures, BUDGET, top),
            reconstructions=reconstructions(pictures, BUDGET),
            interpolations=interpolations(pictures, BUDGET),
            latent=codes_and_samples(pictures, top),
            data=data_and_samples(pictures, top),
        ),
    )


def _unpictured(run: RunFolder) -> str:
    """Why there are no pictures; empty if there are some."""
    if run.has_other_pictures:
        return "pictures.npz belongs to other results, so it is not shown. Run chartae evaluate RUN to draw it again."
    if run.pictures:
        return ""
    return "There is no pictures.npz, so there are no samples, reconstructions or codes to show."


def _headline(numbers: Mapping[str, float | None], own: str, metric: str, errors: Scores) -> str:
    """The best density against a baseline, then reconstructions and real data; else the reconstruction error."""
    finite = {name: x for name, x in numbers.items() if is_finite(x)}
    top = best(finite)
    if top is None:
        mse = errors.get("mse")
        return f"Test data are reconstructed with a mean squared error of {number(mse)}." if is_finite(mse) else ""
    others = [n for n in densities(finite) if n != top]
    baseline = next((n for n in (own, "normal", "prior", *others) if n in others), None)
    text = f"{title(top)} samples reach {number(float(finite[top]))}"
    if baseline:
        text += f", against {number(float(finite[baseline]))} for the {in_sentence(baseline)}"
        text += lower(finite[top], finite[baseline])
    text += f" ({metric}; lower is better)."
    for name, what in (("reconstruction", "Reconstructions"), ("floor", "Real data (the floor)")):
        if name in finite:
            text += f" {what} reach {number(float(finite[name]))}."
    return text


def _tiles(run: RunFolder, numbers: Mapping[str, float | None], top: str | None, metric: str) -> Facts:
    errors, kind = run.scored.reconstruction, "FID" if metric == "FID" else "Fréchet"
    sets = ((top, f"{kind}, {in_sentence(top or '')} samples"), ("reconstruction", f"{kind}, reconstructions"))
    tiles = [(text, number(float(x))) for name, text in sets if is_finite(x := numbers.get(name or ""))]
    names = {"mse": "mean squared error", "psnr": "PSNR, dB", "ssim": "SSIM"}
    tiles += [(text, number(errors[k])) for k, text in names.items() if errors.get(k) is not None]
    return tiles + resources(run)


def _model(settings: Mapping[str, Value]) -> Facts:
    """The facts of the model that stand in one line."""
    shape = settings.get("shape")
    pairs = [
        ("data", settings.get("data")),
        ("shape", " × ".join(map(str, shape)) if isinstance(shape, list) else shape),
        ("latent dimensions", settings.get("latent_dim")),
        ("net", settings.get("net")),
        ("seed", settings.get("seed")),
    ]
    return [(k, str(v)) for k, v in pairs if v is not None]
