"""Numbers and names as a reader wants them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


def _finite(x: Any) -> bool:
    return _numeric(x) and -1e300 < x < 1e300


def _numeric(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _decimals(x: float) -> int:
    return next((d for limit, d in ((1000, 0), (100, 1), (1, 2), (1e-3, 4)) if abs(x) >= limit), 4)


def _number(x: Any) -> str:
    """A number as a table shows it; what is no number is shown as it is."""
    if x is None:
        return "–"
    if not _numeric(x):
        return str(x)
    if not _finite(x):
        return "not finite"
    if isinstance(x, int):
        return f"{x:,}"
    return f"{x:.2e}" if 0 < abs(x) < 1e-3 else f"{x:,.{_decimals(x)}f}"


def _percent(x: Any, decimals: int = 0) -> str:
    """A share as a percentage; all and none are said of all and none alone."""
    p = 100 * float(x)
    text = f"{p:.{decimals}f}"
    if 0 < p < 100 and float(text) in (0, 100):
        step = 10.0**-decimals
        text = f"> {100 - step:.{decimals}f}" if p > 50 else f"< {step:.{decimals}f}"
    return f"{int(p)} %" if p in (0, 100) else f"{text} %"


def _spread(mean: Any, sd: Any) -> str:
    """mean ± sd, both with the decimals of the mean."""
    if not (_finite(mean) and _finite(sd)):
        return _number(mean)
    if abs(mean) < 1e-3:
        return f"{mean:.2e} ± {sd:.1e}"
    return f"{_number(float(mean))} ± {sd:,.{_decimals(mean)}f}"


def _duration(seconds: float) -> str:
    s = round(seconds)
    return (
        f"{seconds:.1f} s"
        if s < 60
        else f"{s // 60} min {s % 60} s"
        if s < 3600
        else f"{s // 3600} h {s % 3600 // 60} min"
    )


def _title(name: str) -> str:
    return TITLES.get(name, name)


def _said(name: str) -> str:
    """The title inside a sentence: a person's name, or one the user gave, keeps its case."""
    return _title(name) if name in ("normal", "gmm") or name not in TITLES else _title(name).lower()


def _measure(metric: Any) -> str:
    """What the Fréchet number is called: FID is Inception's alone."""
    if metric == "fid":
        return "FID"
    return f"Fréchet distance, {str(metric).removeprefix('frechet-')} features" if metric else "Fréchet distance"


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as rows (name, value), names joined by dots, values in full."""
    if isinstance(value, dict):
        return [row for k, v in value.items() for row in _flat(v, f"{prefix}.{k}" if prefix else str(k))]
    if isinstance(value, list) and not any(isinstance(v, dict | list) for v in value):
        return [(prefix, ", ".join(map(_fact, value)))]
    return [(prefix, _fact(value))]


def _fact(value: Any) -> str:
    return {True: "yes", False: "no", None: "–"}[value] if value is None or isinstance(value, bool) else str(value)


def _densities(names: Iterable[str]) -> list[str]:
    """The names that are densities: the known ones first, then as they come."""
    # "own" is the prior or the normal once more: the published tables' N
    own = [n for n in names if n not in ("reconstruction", "floor", "own") and not n.startswith("interpolation")]
    return sorted(own, key=lambda n: [*TITLES].index(n) if n in TITLES else len(TITLES))


def _in_order(names: Iterable[str]) -> list[str]:
    given = [*names]
    first = [n for n in ("floor", "reconstruction", "own") if n in given]
    return first + _densities(given) + sorted(n for n in given if n.startswith("interpolation"))
