"""Arithmetic expressions as functions: evaluated without `eval`, and compared with a target function."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np

__all__ = ["TARGET", "WORST", "evaluate_expression", "expression_scores"]

#: the target function of Kusner, Paige, Hernández-Lobato (2017, arXiv:1703.01925)
TARGET = "1/3+x+sin(x*x)"
#: the metric of an expression that cannot be evaluated
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
#: precedence of an operator, and whether it associates to the right
_BINDS = {"+": (1, False), "-": (1, False), "*": (2, False), "/": (2, False), "neg": (3, True), "^": (4, True)}


def _apply(operator: str, values: list[np.ndarray]) -> None:
    """Replace the operands on top of the stack `values` by the operator's result."""
    b = values.pop()
    if operator == "neg":
        values.append(-b)
    elif operator in _FUNCTIONS:
        values.append(_FUNCTIONS[operator](b))
    else:
        values.append(_OPERATORS[operator](values.pop(), b))


def _syntax_error(text: str, place: int, what: str) -> ValueError:
    return ValueError(f"text is {text[:60]!r}; expected an expression, but found {what} at character {place}")


def evaluate_expression(text: str, variables: Mapping[str, np.ndarray | float]) -> np.ndarray:
    """Evaluate an arithmetic expression at given values of its variables, without Python's `eval`.

    An expression consists of numbers, variables, ``+ - * / ^`` (or ``**``), brackets, and the functions sin, cos, exp,
    log and sqrt, with the usual precedence. Division is true division; ``1/0`` is infinite and ``0/0`` is NaN, without
    a warning. Operators are kept on a stack (the shunting-yard algorithm, Dijkstra, 1961), so an expression may be
    nested to any depth.

    Args:
        text: the expression.
        variables: value of each variable by name, numbers or arrays that broadcast with each other.

    Returns:
        The value, with the shape to which the variables broadcast.

    Raises:
        ValueError: the text is not an expression; the message names the character.

    >>> import numpy as np
    >>> from chartae.metrics import evaluate_expression
    >>> evaluate_expression("1/2 + x*x", {"x": np.array([0.0, 2.0])})
    array([0.5, 4.5])
    """
    values: list[np.ndarray] = []
    operators: list[str] = []

    value_next = True
    end = len(text.rstrip())
    position = 0
    with np.errstate(all="ignore"):
        while position < end:
            piece = _TOKEN.match(text, position)
            if piece is None:
                raise _syntax_error(text, position, repr(text[position]))
            number, name, sign = piece.groups()
            place, position = position, piece.end()
            sign = "^" if sign == "**" else sign
            # a value (or a function, a sign, an opening bracket) and an operator (or a closing bracket) alternate
            if value_next and number:
                values.append(np.asarray(float(number)))
                value_next = False
            elif value_next and name in _FUNCTIONS:
                if text[position:].lstrip()[:1] != "(":
                    raise _syntax_error(text, position, f"{name} without a bracket")
                operators.append(name)
            elif value_next and name:
                if name not in variables:
                    raise _syntax_error(
                        text, place, f"the unknown name {name!r} (known: {', '.join([*variables, *_FUNCTIONS])})"
                    )
                values.append(np.asarray(variables[name], dtype=float))
                value_next = False
            elif value_next and sign in ("(", "-", "+"):
                if sign != "+":
                    operators.append("neg" if sign == "-" else sign)
            elif not value_next and sign == ")":
                while operators and operators[-1] != "(":
                    _apply(operators.pop(), values)
                if not operators:
                    raise _syntax_error(text, place, "a bracket that was never opened")
                operators.pop()
                if operators and operators[-1] in _FUNCTIONS:
                    _apply(operators.pop(), values)
            elif not value_next and sign in _BINDS:
                strength, right = _BINDS[sign]
                while operators and operators[-1] in _BINDS:
                    top = _BINDS[operators[-1]][0]
                    if top < strength or (top == strength and right):
                        break
                    _apply(operators.pop(), values)
                operators.append(sign)
                value_next = True
            else:
                raise _syntax_error(text, place, f"{piece[0].strip()!r} in the wrong place")
        if value_next or "(" in operators:
            raise _syntax_error(text, end, "the end too early")
        while operators:
            _apply(operators.pop(), values)
    return values[0]


@cache
def _target(expression: str, low: float, high: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The points x, and the target's values there."""
    x = np.linspace(low, high, points)
    return x, np.broadcast_to(evaluate_expression(expression, {"x": x}), x.shape)


def expression_scores(
    strings: Sequence[str], target: str = TARGET, *, low: float = -10, high: float = 10, points: int = 1000
) -> np.ndarray:
    """Distance of expressions f(x) from a target function y(x), on evenly spaced points.

        log(1 + mean_x min((f(x) - y(x))^2, 1000)).

    It is 0 for the target. A string that is not an expression, or whose value is NaN at one of the points, gets the
    largest possible distance, log 1001. After Kusner, Paige, Hernández-Lobato, 2017 (arXiv:1703.01925), with true
    division throughout; their published results use integer division in the candidates.

    Args:
        strings: expressions in the variable x.
        target: target expression; by default ``1/3+x+sin(x*x)``, that of the paper.
        low: first point; default -10.
        high: last point; default 10.
        points: number of points; default 1000.

    Returns:
        The distance of each expression (N,); lower is better.

    Raises:
        TypeError: `strings` is a single string.
        ValueError: `target` is not an expression.

    >>> from chartae.metrics import expression_scores
    >>> expression_scores(["1/3+x+sin(x*x)", "1/2+(x)+sin(x*x)", "x+"]).round(4)
    array([0.    , 0.0274, 6.9088])
    """
    if isinstance(strings, str):
        raise TypeError(f"strings is the single string {strings[:40]!r}; expected a list of expressions")
    x, y = _target(target, low, high, points)
    values = []
    for text in strings:
        try:
            f = evaluate_expression(text, {"x": x})
        except ValueError:
            values.append(WORST)
            continue
        with np.errstate(all="ignore"):
            error = np.minimum((f - y) ** 2, 1000).mean()
        values.append(float(np.log1p(error)) if np.isfinite(error) else WORST)
    return np.array(values)
