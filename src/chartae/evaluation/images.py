"""Metrics on a finished run under one pinned protocol -> `results.json`, and pictures -> `pictures.npz`.

The protocol (section 8 of the RAE paper's evaluation, its traps mended): n images of each kind against the test images;
everything is rounded to uint8 without wrap-around before its features are taken; reconstructions and interpolations
are of validation images, so that nothing is compared with itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae import metrics
from chartae.data import Dataset
from chartae.data.labels import class_labels
from chartae.diagnostics import code_use
from chartae.evaluation.strings import evaluate_strings
from chartae.maths import as_float, sample_rows
from chartae.metrics import Extractor, Reference
from chartae.recipes import OF_CLUSTERS, OF_DOMAINS, OF_LABELS
from chartae.records.files import replace_text
from chartae.runs import Run
from chartae.samplers import by_name

__all__ = ["Judge", "class_error", "clusters_of", "evaluate", "interpolate", "pictures", "slerp"]

#: pictures kept of each kind
SHOWN, STRIPS, STEPS, CODES = 32, 8, 9, 2000


def slerp(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"], t: float) -> Float[Tensor, "N D"]:
    """Spherical interpolation sin((1-t)w)/sin w a + sin(t w)/sin w b, w the angle between a and b; linear where w = 0.

    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    tensor([[0.7071, 0.7071]])
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    angle = cosine.acos()[:, None]
    straight = angle.sin() < 1e-6
    divisor = torch.where(straight, 1.0, angle.sin())
    curve = ((1 - t) * angle).sin() / divisor * a + (t * angle).sin() / divisor * b
    return torch.where(straight, torch.lerp(a, b, t), curve)


INTERPOLATIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "interpolation-linear": torch.lerp,
    "interpolation-spherical": slerp,
}


def interpolate(codes: Float[Tensor, "N D"], n: int, how: str, seed: int, t: float = 0.5) -> Float[Tensor, "n D"]:
    """The points at `t` between `n` random pairs of different codes."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(codes), (n,), generator=generator)
    second = (first + torch.randint(1, len(codes), (n,), generator=generator)) % len(codes)
    return INTERPOLATIONS[how](codes[first], codes[second], t)


@dataclass(frozen=True)
class Judge:
    """The test set as an extractor sees it: made once, it judges any number of sets and runs on the same data.

    Attributes:
        data: the data set.
        extractor: what the sets are compared by.
        reference: the test set's features.
        n: points in every compared set.
        kid_size: points in each of the kernel distance's subsets.
        floor: what as many training images score: the least a good sampler can expect.
    """

    data: Dataset
    extractor: Extractor
    reference: Reference
    n: int
    kid_size: int
    floor: dict[str, float]

    @classmethod
    def of(
        cls,
        data: Dataset,
        *,
        extractor: str | Extractor | None = None,
        weights: str | Path | None = None,
        n: int = 10_000,
        device: str = "cpu",
    ) -> Judge:
        """A judge for a data set; `n` is lowered to the size of the test set.

        Raises:
            ValueError: an unknown extractor, one that cannot read these data, or a test or validation set too small.
        """
        if len(data.test) < 20 or len(data.valid) < 20:
            raise ValueError(
                f"{data.name} has {len(data.valid)} validation and {len(data.test)} test examples; "
                "evaluation compares sets and needs at least 20 of each"
            )
        if n < 20:
            raise ValueError(f"n is {n}; a comparison of sets needs at least 20 points")
        if not isinstance(extractor, Extractor):
            name = extractor or metrics.default_for(data.name, data.shape)
            extractor = metrics.extractor(name, reference=quantised(data.train), weights=weights, device=device)
        n = min(n, len(data.test))
        reference = Reference(extractor(quantised(data.test)))
        self = cls(data, extractor, reference, n, min(1000, n // 2), {})
        self.floor.update(self.score(data.train[sample_rows(len(data.train), n)]))
        return self

    def score(self, x: Tensor) -> dict[str, float]:
        """Fréchet and kernel distance, precision, recall, density and coverage of a set against the test set."""
        features = self.extractor(quantised(x))
        kid, kid_sd = self.reference.kid(features, subsets=50, subset_size=min(self.kid_size, len(x)))
        return {
            "frechet": self.reference.frechet(features),
            "kid": kid,
            "kid_sd": kid_sd,
        } | self.reference.prdc(features)

    def protocol(self) -> dict[str, Any]:
        """Everything that another laboratory needs to get the same number."""
        return {
            "extractor": self.extractor.describe(),
            "n": self.n,
            "reference": f"all {len(self.data.test)} test examples",
            "reconstructions": "validation examples, against the test set",
            "interpolations": "one mid-point each of random pairs of validation codes, against the test set",
            "quantisation": "x 255, rounded, clamped to 0..255" if self.data.is_image else "none",
            "kid": f"cubic polynomial kernel, 50 subsets of {self.kid_size}",
            "neighbours": 5,
            "split": f"train {len(self.data.train)}, valid {len(self.data.valid)}, test {len(self.data.test)}",
            "densities": "fitted to the means of q(z|x) of all training examples",
        }


def _plane(x: Float[Tensor, "N D"]) -> Float[Tensor, "D 2"]:
    """The first two principal axes of centred points; the second is zero where there is but one dimension."""
    axes = torch.linalg.svd(x, full_matrices=False).Vh[:2].T
    return axes if axes.shape[1] == 2 else torch.nn.functional.pad(axes, (0, 1))


def quantised(x: Tensor) -> Tensor:
    """Images as uint8, rounded without wrap-around; tables as floats."""
    if x.ndim != 4:
        return as_float(x)
    return x if x.dtype == torch.uint8 else metrics.to_uint8(x)


def evaluate(
    run: Run,
    data: Dataset | None = None,
    *,
    densities: Sequence[str] | None = None,
    judge: Judge | None = None,
    extractor: str | None = None,
    weights: str | Path | None = None,
    n: int = 10_000,
    seed: int = 0,
    root: str | Path | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """Judge a run's reconstructions, interpolations and the samples of its densities.

    Densities that the run lacks are fitted. Where the run has a folder, `results.json` and `pictures.npz` go there.

    Args:
        run: what is judged.
        data: its data; loaded again by the run where they are not given.
        densities: ``"prior"`` and names of `chartae.densities.NAMES`, or of samplers (
            `chartae.samplers.by_name.NAMES`); by
            default the prior and all that are fitted, or the sampler of a recipe that estimates a score.
        judge: a judge of these data, to share between runs.
        extractor: a name of `chartae.metrics.NAMES`; by default the one for these data. `weights`: its file, for
            ``"inception"``.
        n: points in every compared set (at most as many as there are test examples).
        seed: of the samples and pairs.
        language: of runs on strings, which are judged by `chartae.evaluation.strings.evaluate_strings`.

    Returns:
        `{"protocol", "metric", "sets", "reconstruction", "densities", "training"}`, plain numbers and strings; of
        clusters `"clusters"` (they are named by the validation set), of semi-supervised recipes `"classes"`, of
        implicit autoencoders `"code"`, whether the code is used.
    """
    if run.settings.recipe in OF_DOMAINS:
        raise ValueError(
            f"{run.settings.recipe!r} translates between two domains, and this protocol is about one; look at its "
            "translations (chartae translate), and measure as chartae reproduce iae-translate does"
        )
    if run.settings.codec:
        if judge is not None or extractor is not None or weights is not None:
            raise ValueError(f"{run.settings.recipe!r} is a recipe for strings, which no extractor of pictures reads")
        return evaluate_strings(run, data, densities=densities, language=language, n=n, seed=seed)
    if language is not None:
        raise ValueError(f"language is {language!r}, but {run.settings.recipe!r} is no recipe for strings")
    data = run.data(root) if data is None else data
    run.check_data(data)
    device = str(next(run.model.parameters()).device)
    judge = judge or Judge.of(data, extractor=extractor, weights=weights, n=n, device=device)
    if densities is not None:
        names = list(densities)
    else:
        alone = run.own in by_name.NAMES or run.settings.recipe in OF_CLUSTERS
        names = [run.own] if alone else ["prior", *(run.densities or ("normal", "gmm"))]
    of_codes = [name for name in names if name not in by_name.NAMES]
    codes = None
    for name in of_codes:
        if name != "prior" and name not in run.densities:
            codes = run.encode(data.train) if codes is None else codes
            run.fit_density(name, codes)

    held_out = run.encode(data.valid)
    scores = {"reconstruction": judge.score(run.render(held_out[sample_rows(len(held_out), judge.n)]))}
    for name in names:
        scores[name] = judge.score(run.sample(judge.n, name, seed=seed, start=data.train))
    for how in INTERPOLATIONS:
        scores[how] = judge.score(run.render(interpolate(held_out, judge.n, how, seed)))
    test_codes = run.encode(data.test)
    results = {
        "protocol": judge.protocol()
        | {"seed": seed, "data": data.name, "chartae": version("chartae"), "torch": torch.__version__},
        "metric": judge.extractor.metric,
        "own": run.own,
        "sets": scores | {"floor": judge.floor},
        "reconstruction": _against_originals(run, data.test, test_codes),
        "densities": {name: {"log_likelihood": _log_likelihood(run, name, test_codes)} for name in of_codes},
        "training": run.training(),
    }
    if run.settings.recipe in OF_CLUSTERS and class_labels(data.test_labels) and class_labels(data.valid_labels):
        if run.settings.recipe in OF_LABELS:
            results["classes"] = {"error": class_error(run, data)}
        results["clusters"] = asdict(clusters_of(run, data))
    if not run.objective.comparable:  # critics do not say whether the code is used
        some = data.test[sample_rows(len(data.test), CODES)]
        results["code"] = asdict(code_use(run.model, as_float(some).to(held_out.device)))
    if run.folder is not None:
        replace_text(run.folder / "results.json", json.dumps(results, indent=1) + "\n")
        save_pictures(run.folder / "pictures.npz", pictures(run, data, names, seed=seed))
    return results


def class_error(run: Run, data: Dataset) -> float:
    """The share of the test examples with a label whose category is another."""
    y = data.test_labels
    if not class_labels(y):
        raise ValueError(f"the test set of {data.name} has no class labels, by which classes are judged; give some")
    assert y is not None
    return float((run.categories(data.test).argmax(1).cpu() != y)[y >= 0].double().mean())


def clusters_of(run: Run, data: Dataset) -> metrics.ClusterScore:
    """How a run's categories agree with the classes of the test set; the validation set names them.

    Raises:
        ValueError: a validation or test set without class labels.
        TypeError: a run whose code names no category.
    """
    if not (class_labels(data.valid_labels) and class_labels(data.test_labels)):
        missing = "test" if class_labels(data.valid_labels) else "validation"
        raise ValueError(
            f"the {missing} set of {data.name} has no class labels, by which clusters are judged; give some"
        )
    assert data.valid_labels is not None
    assert data.test_labels is not None
    named, judged = run.categories(data.valid).cpu(), run.categories(data.test).cpu()
    return metrics.cluster_score(named, data.valid_labels, judged, data.test_labels)


def _against_originals(run: Run, x: Tensor, codes: Tensor) -> dict[str, float]:
    """Mean squared error, and for images PSNR and SSIM, of test reconstructions against their own originals."""
    measures = {"mse": metrics.mse} | ({"psnr": metrics.psnr, "ssim": metrics.ssim} if x.ndim == 4 else {})
    totals = dict.fromkeys(measures, 0.0)
    for part, z in zip(x.split(1000), codes.split(1000), strict=True):
        original, image = as_float(part.to(z.device)), run.decode(z)
        for name, measure in measures.items():
            totals[name] += measure(original, image).sum().item()
    return {name: total / len(x) for name, total in totals.items()}


def _log_likelihood(run: Run, name: str, codes: Tensor) -> float:
    with torch.no_grad():
        return run.density(name).log_prob(codes).mean().item()


def pictures(run: Run, data: Dataset, densities: Sequence[str], *, seed: int = 0) -> dict[str, np.ndarray]:
    """What a report shows: originals, reconstructions, samples, interpolations, and codes on two principal axes."""
    codes = run.encode(data.test[:CODES])
    draws = {
        name: run.density(name).sample(CODES, generator=torch.Generator(codes.device).manual_seed(seed)).detach()
        for name in densities
        if name not in by_name.NAMES
    }
    points = {name: run.render(z) for name, z in draws.items()}
    for name in densities:
        if name in by_name.NAMES:
            points[name] = run.sample(2 * SHOWN if data.is_image else CODES, name, seed=seed, start=data.train)
    centre = codes.mean(0)
    axes = _plane(codes - centre)
    shown: dict[str, Tensor] = {"latent": (codes - centre) @ axes}
    shown |= {f"latent_{name}": (z - centre) @ axes for name, z in draws.items()}
    if data.test_labels is not None and not data.test_labels.is_floating_point():
        shown["latent_labels"] = data.test_labels[:CODES]
    if data.is_image:
        shown |= {
            "originals": quantised(data.test[:SHOWN]),
            "reconstructions": quantised(run.render(codes[:SHOWN])),
        }
        shown |= {f"samples_{name}": quantised(x[: 2 * SHOWN]) for name, x in points.items()}
        ends = codes[:STRIPS], codes[STRIPS : 2 * STRIPS]
        for how, function in INTERPOLATIONS.items():
            strips = [run.render(function(*ends, i / (STEPS - 1))) for i in range(STEPS)]
            shown[how.replace("-", "_")] = torch.stack([quantised(s) for s in strips], 1)
    else:
        x = as_float(data.test[:CODES].flatten(1)).to(codes.device)
        mean, scale = x.mean(0), x.std(0).clamp_min(1e-12)
        plane = _plane((x - mean) / scale)
        shown["data_2d"] = (x - mean) / scale @ plane
        for name, samples in points.items():
            shown[f"samples_2d_{name}"] = (samples.flatten(1) - mean) / scale @ plane
    return {key: value.numpy(force=True) for key, value in shown.items()}


def save_pictures(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as an .npz, whole or not at all."""
    part = path.with_name(f".{path.name}.part.npz")
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
    part.replace(path)
