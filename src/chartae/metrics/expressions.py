"""Arithmetic expressions as functions: evaluated without `eval`, and scored against a target function."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np

__all__ = ["TARGET", "WORST", "evaluate_expression", "expression_scores"]

#: the function that Kusner, Paige, Hernández-Lobato (2017, arXiv:1703.01925) search for
TARGET = "1/3+x+sin(x*x)"
#: the score of what cannot be evaluated
WORST = float(np.log(1001))

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|([A-Za-z_]\w*)|(\*\*|[-+*/^()]))")
_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sin": np.sin,
    "cos": np.cos,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
}
_OPERATORS = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "^": np.power}
#: how strongly an operator binds, and whether from the right
_BINDS = {"+": (1, False), "-": (1, False), "*": (2, False), "/": (2, False), "neg": (3, True), "^": (4, True)}


def _apply(operator: str, values: list[np.ndarray]) -> None:
    """Replace the operands on top of `values` by what the operator makes of them."""
    b = values.pop()
    if operator == "neg":
        values.append(-b)
    elif operator in _FUNCTIONS:
        values.append(_FUNCTIONS[operator](b))
    else:
        values.append(_OPERATORS[operator](values.pop(), b))


def _wrong(text: str, place: int, what: str) -> ValueError:
    return ValueError(f"{text[:60]!r} is no expression: {what} at character {place}")


def evaluate_expression(text: str, variables: Mapping[str, np.ndarray | float]) -> np.ndarray:
    """The value of an expression of numbers, `variables`, ``+ - * / ^`` (or ``**``), brackets and sin, cos, exp, log,
    sqrt, with the usual precedence. Division is true division; 1/0 is infinite and 0/0 nan, without a warning.

    Operators wait on a stack (Dijkstra, 1961), so that an expression may be as deep as it likes.

    >>> evaluate_expression("1/2 + x*x", {"x": np.array([0.0, 2.0])})
    array([0.5, 4.5])

    Raises:
        ValueError: the place at which the text is no expression.
    """
    values: list[np.ndarray] = []
    waiting: list[str] = []

    value_next = True
    end = len(text.rstrip())
    at = 0
    with np.errstate(all="ignore"):
        while at < end:
            piece = _TOKEN.match(text, at)
            if piece is None:
                raise _wrong(text, at, f"{text[at]!r} is not understood")
            number, name, sign = piece.groups()
            place, at = at, piece.end()
            sign = "^" if sign == "**" else sign
            if value_next and number:
                values.append(np.asarray(float(number)))
                value_next = False
            elif value_next and name in _FUNCTIONS:
                if text[at:].lstrip()[:1] != "(":
                    raise _wrong(text, at, f"{name} without a bracket")
                waiting.append(name)
            elif value_next and name:
                if name not in variables:
                    raise _wrong(
                        text, place, f"the unknown name {name!r} (known: {', '.join([*variables, *_FUNCTIONS])})"
                    )
                values.append(np.asarray(variables[name], dtype=float))
                value_next = False
            elif value_next and sign in ("(", "-", "+"):
                if sign != "+":
                    waiting.append("neg" if sign == "-" else sign)
            elif not value_next and sign == ")":
                while waiting and waiting[-1] != "(":
                    _apply(waiting.pop(), values)
                if not waiting:
                    raise _wrong(text, place, "a bracket that was never opened")
                waiting.pop()
                if waiting and waiting[-1] in _FUNCTIONS:
                    _apply(waiting.pop(), values)
            elif not value_next and sign in _BINDS:
                strength, right = _BINDS[sign]
                while waiting and waiting[-1] in _BINDS:
                    top = _BINDS[waiting[-1]][0]
                    if top < strength or (top == strength and right):
                        break
                    _apply(waiting.pop(), values)
                waiting.append(sign)
                value_next = True
            else:
                raise _wrong(text, place, f"{piece[0].strip()!r} is out of place")
        if value_next or "(" in waiting:
            raise _wrong(text, end, "the end is too early")
        while waiting:
            _apply(waiting.pop(), values)
    return values[0]


@cache
def _target(expression: str, low: float, high: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(low, high, points)
    return x, np.broadcast_to(evaluate_expression(expression, {"x": x}), x.shape)


def expression_scores(
    strings: Sequence[str], target: str = TARGET, *, low: float = -10, high: float = 10, points: int = 1000
) -> np.ndarray:
    """log(1 + mean over x of min((f(x) - y(x))^2, 1000)) of each expression f in x; lower is better, 0 is the target y.

    x are `points` values from `low` to `high`. What is no expression, or no number anywhere, scores `WORST`, log 1001.
    Kusner, Paige, Hernández-Lobato, 2017, arXiv:1703.01925; with true division throughout (their results have integer
    division in the candidates).

    >>> expression_scores(["1/3+x+sin(x*x)", "1/2+(x)+sin(x*x)", "x+"]).round(4)
    array([0.    , 0.0274, 6.9088])
    """
    if isinstance(strings, str):
        raise TypeError(f"strings is the one string {strings[:40]!r}; expected a list of expressions")
    x, y = _target(target, low, high, points)
    scores = []
    for text in strings:
        try:
            f = evaluate_expression(text, {"x": x})
        except ValueError:
            scores.append(WORST)
            continue
        with np.errstate(all="ignore"):
            error = np.minimum((f - y) ** 2, 1000).mean()
        scores.append(float(np.log1p(error)) if np.isfinite(error) else WORST)
    return np.array(scores)
