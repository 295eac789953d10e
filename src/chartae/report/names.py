"""Names of sets, densities and metrics as a reader wants them, and the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chartae.records.parsing import is_finite

__all__ = ["best", "densities", "in_order", "is_metric", "measure", "said", "title"]

TITLES = {
    "floor": "Real data (floor)",
    "reconstruction": "Reconstructions",
    "own": "N",
    "prior": "Prior",
    "normal": "Normal",
    "gmm": "Gaussian mixture",
    "kde": "Kernel density",
    "flow": "Flow",
    "interpolation-linear": "Interpolations, linear",
    "interpolation-spherical": "Interpolations, spherical",
    "translation-b": "Translations, A to B",
    "translation-a": "Translations, B to A",
    "floor-b": "Real data of B (floor)",
    "floor-a": "Real data of A (floor)",
}
#: what the number of a comparison or an evaluation is, where it is no Fréchet distance of features
MEASURES = {
    "fid": "FID",
    "fcd": "FCD",
    "strings": "share of new strings that are valid, unique and novel",
}
#: further metrics of a set that have a column of their own
METRICS = ("valid", "unique", "novel")
#: the beginnings of names that are sets, but no densities
OTHERS = ("interpolation", "translation", "floor")


def title(name: str) -> str:
    """The name of a set, a density, or a set's metric (``"gmm/valid"``) as a title."""
    if is_metric(name):
        of, _, metric = name.rpartition("/")
        return f"{title(of)}: {metric}"
    return TITLES.get(name, name)


def is_metric(name: str) -> bool:
    """Whether a column's name is that of a further metric of a set, as ``"gmm/valid"``."""
    return name.rpartition("/")[2] in METRICS and "/" in name


def said(name: str) -> str:
    """The title inside a sentence: a person's name, or one the user gave, keeps its case."""
    return title(name) if name in ("normal", "gmm") or name not in TITLES else title(name).lower()


def measure(metric: str) -> str:
    """What the Fréchet number is called: only that of Inception's features is FID."""
    if metric in MEASURES:
        return MEASURES[metric]
    return f"Fréchet distance, {metric.removeprefix('frechet-')} features" if metric else "Fréchet distance"


def densities(names: Iterable[str]) -> list[str]:
    """The names that are densities: the known ones first, then the others as they come."""
    # "own" is the prior or the normal once more: the published tables' N
    of_codes = [
        n for n in names if n not in ("reconstruction", "own") and not n.startswith(OTHERS) and not is_metric(n)
    ]
    return sorted(of_codes, key=lambda n: [*TITLES].index(n) if n in TITLES else len(TITLES))


def in_order(names: Iterable[str]) -> list[str]:
    """Names of sets in the order of a table: real data, reconstructions, densities, each with its further metrics,
    translations, interpolations."""
    every = [*names]
    first = [n for n in ("floor", "floor-b", "floor-a", "reconstruction", "own") if n in every]
    middle = [
        n for d in densities(every) for n in (d, *(m for m in every if is_metric(m) and m.rpartition("/")[0] == d))
    ]
    last = sorted(n for n in every if n.startswith("interpolation"))
    return first + middle + sorted((n for n in every if n.startswith("translation")), reverse=True) + last


def best(metrics: Mapping[str, float | None], better: str = "lower") -> str | None:
    """The density of the lowest or highest number, if any density has one."""
    numbers = {n: x for n in densities(metrics) if is_finite(x := metrics[n])}
    choose = min if better == "lower" else max
    return choose(numbers, key=lambda n: numbers[n], default=None)
