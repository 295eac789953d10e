"""What is searched for: functions of one string by name, or any function of the user's."""

from __future__ import annotations

import hashlib
import importlib
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import SupportsFloat

from chartae.metrics import expressions, molecules
from chartae.optimise.workers import Score

__all__ = ["NAMES", "Goal", "goal"]


def _penalised_logp(string: str) -> float:
    return float(molecules.penalised_logp([string])[0])


def _logp(string: str) -> float:
    return float(molecules.properties([string], ["logp"])["logp"][0])


def _qed(string: str) -> float:
    return float(molecules.properties([string], ["qed"])["qed"][0])


def _expression_fit(string: str) -> float | None:
    try:
        expressions.evaluate_expression(string, {"x": 0.5})
    except ValueError:
        return None  # no expression at all; one that is infinite somewhere has the worst score
    return float(expressions.expression_scores([string])[0])


@dataclass(frozen=True)
class _Named:
    """A function with a name: whether greater is better, and whether it needs RDKit."""

    score: Score
    maximise: bool = True
    rdkit: bool = False


_GOALS = {
    "penalised-logp": _Named(_penalised_logp, rdkit=True),
    "logp": _Named(_logp, rdkit=True),
    "qed": _Named(_qed, rdkit=True),
    "expression-fit": _Named(_expression_fit, maximise=False),
}
NAMES = tuple(_GOALS)


@cache
def _imported(place: str, folder: str) -> Score:
    """The function at ``module:name``, with `folder` on the path of imports."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module, _, name = place.partition(":")
    try:
        part: object = importlib.import_module(module)
    except Exception as error:
        raise ValueError(f"the module {module!r} of {place!r} cannot be imported from {folder}: {error}") from error
    for attribute in name.split("."):
        part = getattr(part, attribute, None)
    if not callable(part):
        raise ValueError(f"the module {module!r} has no function {name!r}")
    return part


@dataclass(frozen=True)
class Goal:
    """A function of a string that is maximised or minimised. Calling it gives the score with the sign turned where it
    is minimised; it can be sent to other processes, which import its function themselves.

    Attributes:
        name: one of `NAMES`, or ``module:function``.
        maximise: whether greater is better.
        folder: from which a module is imported.
    """

    name: str
    maximise: bool = True
    folder: str = ""

    def value(self, string: str) -> SupportsFloat | None:
        """The function's value, with its sign as it is."""
        return (_imported(self.name, self.folder) if ":" in self.name else _GOALS[self.name].score)(string)

    def __call__(self, string: str) -> float | None:
        value = self.value(string)
        return None if value is None else float(value) if self.maximise else -float(value)

    def fingerprint(self) -> str:
        """Changes with the name, the direction, a module's source, and RDKit's version."""
        about = f"{self.name} {self.maximise}"
        if ":" in self.name:
            source = getattr(sys.modules.get(self.name.partition(":")[0]), "__file__", None)
            about += Path(source).read_text(errors="replace") if source else ""
        elif _GOALS[self.name].rdkit:
            try:
                about += version("rdkit")
            except PackageNotFoundError:  # an RDKit that was not installed by pip
                about += "rdkit"
        return hashlib.sha256(about.encode()).hexdigest()[:16]


def goal(name: str, *, minimise: bool = False, folder: str | Path = ".") -> Goal:
    """An objective by name: one of `NAMES`, or ``module:function`` of your own, which is imported here to be sure.

    Your own are maximised, unless `minimise` is said or a minus stands before the name.

    Args:
        name: what to look for.
        minimise: turn an own function's direction.
        folder: where modules are looked for first; it joins the path of imports.

    Raises:
        ValueError: an unknown name; a module that cannot be imported or lacks the function; `minimise` of a named one.
        ImportError: RDKit is missing.

    >>> goal("expression-fit").value("1/3+x+sin(x*x)")
    0.0
    """
    minus = name.startswith("-")
    bare = name.removeprefix("-")
    if ":" in bare and all(bare.partition(":")[::2]):
        place = str(Path(folder).resolve())
        _imported(bare, place)
        return Goal(bare, not (minimise or minus), place)
    if bare not in _GOALS:
        raise ValueError(
            f"there is no objective {name!r}; choose from {', '.join(NAMES)}, or give your own as module:function"
        )
    named = _GOALS[bare]
    if minimise or minus:
        raise ValueError(
            f"{bare} is {'maximised' if named.maximise else 'minimised'}; a direction is for functions of your own"
        )
    if named.rdkit:
        molecules.canonical([])  # names the extra where RDKit is missing
    return Goal(bare, named.maximise)
