"""`--check`: a condition on the results, by which a script can tell good from bad."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chartae.records.choices import one_of
from chartae.records.parsing import is_number

__all__ = ["Check", "NotMet"]

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


class NotMet(Exception):
    """A --check is not met: exit status 1."""


@dataclass(frozen=True)
class Check:
    """A condition such as ``sets.gmm.frechet<=30``.

    Attributes:
        path: the names that lead to a number in the results as JSON; those of lists count from 0.
        sign: a key of `COMPARISONS`.
        bound: the number it is compared with.
        actual: the number in the results, where it is known.
    """

    path: tuple[str, ...]
    sign: str
    bound: float
    actual: float | None = None

    @classmethod
    def of(cls, text: str) -> Check:
        """The condition that a text states.

        Raises:
            ValueError: another text.
        """
        parts = re.fullmatch(r"\s*([^<>=\s][^<>=]*?)\s*(<=|>=|==|<|>)\s*([^<>=\s]+)\s*", text)
        try:
            if parts is None:
                raise ValueError
            bound = float(parts[3])
            if not math.isfinite(bound):
                raise ValueError
            return cls(tuple(parts[1].split(".")), parts[2], bound)
        except ValueError:
            raise ValueError(
                f"--check is {text!r}; expected a name of the results, a comparison ({', '.join(COMPARISONS)}) and a "
                "number, such as 'sets.gmm.frechet<=30'"
            ) from None

    def of_results(self, results: Mapping[str, object] | Sequence[object]) -> Check | None:
        """The condition with the number in the results, if it is not met; None if it is.

        A value that is null or NaN meets no condition.

        Raises:
            ValueError: the results have no such number.
        """
        value: object = results
        for i, name in enumerate(self.path):
            named = _named(value)
            if name not in named:
                where = f"results.{'.'.join(self.path[:i])}" if i else "the results"
                raise ValueError(
                    f"--check is '{'.'.join(self.path)}{self.sign}{self.bound:g}', but {where} has no {name!r}; "
                    f"{one_of(name, named) if named else 'it has no entries'}"
                )
            value = named[name]
        if value is not None and not is_number(value):
            raise ValueError(f"--check is of {'.'.join(self.path)}, which is {str(value)[:60]!r}; expected a number")
        met = value is not None and COMPARISONS[self.sign](value, self.bound)
        return None if met else Check(self.path, self.sign, self.bound, value)

    def __str__(self) -> str:
        actual = "null" if self.actual is None else f"{self.actual:.4g}"
        return f"{'.'.join(self.path)} is {actual}; wanted {self.sign} {self.bound:g}"


def _named(value: object) -> dict[str, object]:
    """The entries of a mapping, or of a list by their numbers; nothing of anything else."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {str(i): entry for i, entry in enumerate(value)}
    return {str(name): entry for name, entry in value.items()} if isinstance(value, Mapping) else {}
