"""Display names of sets, densities and metrics, and the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chartae.records.parsing import is_finite

__all__ = ["best", "densities", "in_order", "in_sentence", "is_metric", "metric_title", "title"]

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
#: titles of the main metrics of an evaluation that are not a Fréchet distance between features
MAIN_METRICS = {
    "fid": "FID",
    "fcd": "FCD",
    "strings": "share of new strings that are valid, unique and novel",
}
#: further metrics of a set that have their own column
METRICS = ("valid", "unique", "novel")
#: prefixes of the names of sets that are not samples of a density
OTHERS = ("interpolation", "translation", "floor")


def title(name: str) -> str:
    """The title of a set, of a density, or of a set's metric (``"gmm/valid"``)."""
    if is_metric(name):
        group, _, metric = name.rpartition("/")
        return f"{title(group)}: {metric}"
    return TITLES.get(name, name)


def is_metric(name: str) -> bool:
    """Whether a column holds a further metric of a set, such as ``"gmm/valid"``."""
    return name.rpartition("/")[2] in METRICS and "/" in name


def in_sentence(name: str) -> str:
    """The title inside a sentence, in lower case; names of persons, and names that the user gave, keep their case."""
    return title(name) if name in ("normal", "gmm") or name not in TITLES else title(name).lower()


def metric_title(metric: str) -> str:
    """The title of the main metric of an evaluation; only the Fréchet distance between Inception features is "FID"."""
    if metric in MAIN_METRICS:
        return MAIN_METRICS[metric]
    return f"Fréchet distance, {metric.removeprefix('frechet-')} features" if metric else "Fréchet distance"


def densities(names: Iterable[str]) -> list[str]:
    """The names that are densities: the known ones first, then the others in their order."""
    # "own" repeats the prior or the normal; it is the column N of published tables
    of_codes = [
        n for n in names if n not in ("reconstruction", "own") and not n.startswith(OTHERS) and not is_metric(n)
    ]
    return sorted(of_codes, key=lambda n: [*TITLES].index(n) if n in TITLES else len(TITLES))


def in_order(names: Iterable[str]) -> list[str]:
    """Names of sets in the order of a table.

    Real data come first, then reconstructions, densities (each with its further metrics), translations and
    interpolations.
    """
    every = [*names]
    first = [n for n in ("floor", "floor-b", "floor-a", "reconstruction", "own") if n in every]
    middle = [
        n for d in densities(every) for n in (d, *(m for m in every if is_metric(m) and m.rpartition("/")[0] == d))
    ]
    last = sorted(n for n in every if n.startswith("interpolation"))
    return first + middle + sorted((n for n in every if n.startswith("translation")), reverse=True) + last


def best(metrics: Mapping[str, float | None], better: str = "lower") -> str | None:
    """The density with the lowest or highest value; None if no density has a finite value."""
    numbers = {n: x for n in densities(metrics) if is_finite(x := metrics[n])}
    choose = min if better == "lower" else max
    return choose(numbers, key=lambda n: numbers[n], default=None)
