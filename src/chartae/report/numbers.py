"""Numbers formatted for the page."""

from __future__ import annotations

from chartae.records.parsing import is_finite, is_number

__all__ = ["decimals", "duration", "lower", "number", "percent", "spread"]


def decimals(x: float) -> int:
    """Number of decimals with which a number of this size is shown."""
    return next((d for limit, d in ((1000, 0), (100, 1), (1, 2), (1e-3, 4)) if abs(x) >= limit), 4)


def number(x: object) -> str:
    """A number formatted for a table; any other value as a string.

    >>> from chartae.report.numbers import number
    >>> number(1234567), number(0.01234), number(None)
    ('1,234,567', '0.0123', '–')
    """
    if x is None:
        return "–"
    if not is_number(x):
        return str(x)
    if not is_finite(x):
        return "not finite"
    if isinstance(x, int):
        return f"{x:,}"
    return f"{x:.2e}" if 0 < abs(x) < 1e-3 else f"{x:,.{decimals(x)}f}"


def percent(x: float, digits: int = 0) -> str:
    """A share as a percentage; only exactly 0 and 1 are shown as 0 % and 100 %.

    >>> from chartae.report.numbers import percent
    >>> percent(0.5), percent(0.9999), percent(1)
    ('50 %', '> 99 %', '100 %')
    """
    p = 100 * float(x)
    text = f"{p:.{digits}f}"
    if 0 < p < 100 and float(text) in (0, 100):
        step = 10.0**-digits
        text = f"> {100 - step:.{digits}f}" if p > 50 else f"< {step:.{digits}f}"
    return f"{int(p)} %" if p in (0, 100) else f"{text} %"


def spread(mean: object, sd: object) -> str:
    """Mean ± standard deviation, both with the decimals of the mean.

    >>> from chartae.report.numbers import spread
    >>> spread(12.3, 0.4), spread(12.3, None)
    ('12.30 ± 0.40', '12.30')
    """
    if not (is_finite(mean) and is_finite(sd)):
        return number(mean)
    if abs(mean) < 1e-3:
        return f"{mean:.2e} ± {sd:.1e}"
    return f"{number(float(mean))} ± {sd:,.{decimals(mean)}f}"


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours.

    >>> from chartae.report.numbers import duration
    >>> duration(31.2), duration(412), duration(7260)
    ('31.2 s', '6 min 52 s', '2 h 1 min')
    """
    s = round(seconds)
    if s < 60:
        return f"{seconds:.1f} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"


def lower(a: float, b: float) -> str:
    """How much lower `a` is than `b`, as the end of a clause; empty if it is less than 0.5 % lower.

    >>> from chartae.report.numbers import lower
    >>> lower(1.0, 2.0), lower(9.0, 10.0)
    (', 2.0 times lower', ', 10.0% lower')
    """
    if a <= 0 or b / a < 1.005:
        return ""
    ratio = b / a
    return f", {ratio:.1f} times lower" if ratio >= 1.5 else f", {1 - a / b:.1%} lower"
