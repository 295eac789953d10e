"""Names of sets, densities and metrics as a reader wants them, and the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chartae.records.parsing import is_finite

__all__ = ["best", "densities", "in_order", "measure", "said", "title"]

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
}


def title(name: str) -> str:
    """The name of a set or density as a title."""
    return TITLES.get(name, name)


def said(name: str) -> str:
    """The title inside a sentence: a person's name, or one the user gave, keeps its case."""
    return title(name) if name in ("normal", "gmm") or name not in TITLES else title(name).lower()


def measure(metric: str) -> str:
    """What the Fréchet number is called: only that of Inception's features is FID."""
    if metric == "fid":
        return "FID"
    return f"Fréchet distance, {metric.removeprefix('frechet-')} features" if metric else "Fréchet distance"


def densities(names: Iterable[str]) -> list[str]:
    """The names that are densities: the known ones first, then the others as they come."""
    # "own" is the prior or the normal once more: the published tables' N
    of_codes = [n for n in names if n not in ("reconstruction", "floor", "own") and not n.startswith("interpolation")]
    return sorted(of_codes, key=lambda n: [*TITLES].index(n) if n in TITLES else len(TITLES))


def in_order(names: Iterable[str]) -> list[str]:
    """Names of sets in the order of a table: real data, reconstructions, densities, interpolations."""
    every = [*names]
    first = [n for n in ("floor", "reconstruction", "own") if n in every]
    return first + densities(every) + sorted(n for n in every if n.startswith("interpolation"))


def best(metrics: Mapping[str, float | None]) -> str | None:
    """The density of the lowest number, if any density has one."""
    numbers = {n: x for n in densities(metrics) if is_finite(x := metrics[n])}
    return min(numbers, key=lambda n: numbers[n], default=None)
