"""Objectives of a search: functions of a string by name, or the user's own."""

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
from chartae.records.choices import one_of

__all__ = ["NAMES", "Goal", "goal", "is_minimised"]


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
        return None  # not an expression; an expression that is infinite somewhere gets the worst score instead
    return float(expressions.expression_scores([string])[0])


@dataclass(frozen=True)
class _Named:
    """A built-in objective: its function, whether greater is better, and whether it needs RDKit."""

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
def _import_function(path: str, folder: str) -> Score:
    """Import the function ``module:name``, after adding `folder` to the import path."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module, _, name = path.partition(":")
    try:
        function: object = importlib.import_module(module)
    except Exception as error:
        raise ValueError(
            f"objective is {path!r}; expected module:function, but the module {module!r} cannot be imported from "
            f"{folder} ({error}). Check the name, or run from the folder of the module."
        ) from error
    for attribute in name.split("."):
        function = getattr(function, attribute, None)
    if not callable(function):
        raise ValueError(
            f"objective is {path!r}; expected module:function, but the module {module!r} has no function {name!r}. "
            "Check the name."
        )
    return function


@dataclass(frozen=True)
class Goal:
    """An objective: a function of a string that is maximised or minimised.

    Calling it returns the score, with the sign flipped if the objective is minimised, so that greater is always better.
    It can be sent to other processes, which import the function themselves. Create it with `goal`.

    Attributes:
        name: one of `NAMES`, or ``module:function``.
        maximise: whether greater is better; default True.
        folder: folder from which the module is imported; default: none.

    >>> from chartae.optimise import Goal
    >>> goal = Goal("expression-fit", maximise=False)
    >>> goal.value("x") > 0, goal("x") == -goal.value("x"), goal("x+") is None
    (True, True, True)
    """

    name: str
    maximise: bool = True
    folder: str = ""

    def value(self, string: str) -> SupportsFloat | None:
        """The value of the function at a string, with its own sign; None if the string has no value."""
        return (_import_function(self.name, self.folder) if ":" in self.name else _GOALS[self.name].score)(string)

    def __call__(self, string: str) -> float | None:
        value = self.value(string)
        return None if value is None else float(value) if self.maximise else -float(value)

    def fingerprint(self) -> str:
        """A digest that changes with the name, the direction, the source of the module, and the version of RDKit."""
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


def is_minimised(score: Score) -> bool:
    """Whether a score is an objective to be minimised, which returns its value with the sign flipped."""
    return isinstance(score, Goal) and not score.maximise


def goal(name: str, *, minimise: bool = False, folder: str | Path = ".") -> Goal:
    """Get an objective by name, built-in or your own function.

    Args:
        name: one of `NAMES`: ``penalised-logp``, ``logp``, ``qed`` (molecules, maximised) or ``expression-fit``
            (expressions, minimised); or ``module:function`` for your own function of a string, which is maximised
            unless a minus precedes the name. The module is imported at once.
        minimise: whether to minimise your own function; default False.
        folder: folder where your module is looked for first, which is added to the import path; default: the current
            folder.

    Returns:
        The objective.

    Raises:
        ValueError: an unknown name, a module that cannot be imported or lacks the function, or a direction for a
            built-in objective.
        ImportError: RDKit is missing.

    >>> from chartae.optimise import goal
    >>> goal("expression-fit").value("1/3+x+sin(x*x)")
    0.0
    """
    minus = name.startswith("-")
    bare = name.removeprefix("-")
    if ":" in bare and all(bare.partition(":")[::2]):
        path = str(Path(folder).resolve())
        _import_function(bare, path)
        return Goal(bare, not (minimise or minus), path)
    if bare not in _GOALS:
        raise ValueError(f"objective is {name!r}; {one_of(name, NAMES, also='module:function of your own')}")
    named = _GOALS[bare]
    if minimise or minus:
        raise ValueError(
            f"objective is {name!r} with minimise={minimise}; expected no direction, because {bare} is always "
            f"{'maximised' if named.maximise else 'minimised'}. Leave out minimise and the minus."
        )
    if named.rdkit:
        molecules.canonical([])  # if RDKit is missing, the error names the extra to install
    return Goal(bare, named.maximise)
