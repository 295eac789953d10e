"""The command line: a verb a command, each a few lines over the library."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chartae.cli.verb import Verb

__all__ = ["VERBS", "main"]


@dataclass(frozen=True)
class Entry:
    """Where a verb is written: the module of this package, and its class there; and what the overview says of it."""

    module: str
    name: str
    summary: str

    def load(self) -> type[Verb]:
        """The verb's class; its module is imported here."""
        verb: type[Verb] = getattr(importlib.import_module(f"chartae.cli.{self.module}"), self.name)
        return verb


VERBS: Mapping[str, Entry] = {
    "fit": Entry("fit", "Fit", "train a recipe on data"),
    "sample": Entry("use", "Sample", "draw new examples from a run"),
    "translate": Entry("use", "Translate", "translate examples between the two domains of a run"),
    "score": Entry("evaluate", "Score", "evaluate the score that a run estimates, the gradient of log p"),
    "diagnose": Entry("evaluate", "Diagnose", "show what a run has learnt: geometry, consistency, factors"),
    "evaluate": Entry("evaluate", "Evaluate", "compare a run's samples and reconstructions with the test set"),
    "compare": Entry("evaluate", "Compare", "train and evaluate several recipes on one data set"),
    "report": Entry("use", "Report", "write a run or a comparison as one HTML file"),
    "reproduce": Entry("reproduce", "Reproduce", "reproduce a published result"),
    "grammar": Entry("strings", "GrammarVerb", "count what a grammar makes of strings"),
    "optimise": Entry("strings", "Optimise", "search a run's latent space for strings that an objective likes"),
    "demo": Entry("fit", "Demo", "compare four recipes on the images that ship with chartae"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run a command.

    With CHARTAE_DEBUG set, errors keep their traceback, and warnings say where they come from.

    Args:
        words: what was typed after ``chartae``; by default the arguments of this process.

    Returns:
        The exit status: 0, 2 for input that cannot be used, 1 for training that failed, 130 for an interrupt.
    """
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("chartae"))
        return 0
    try:
        _run(words[0], words[1:])
    except KeyboardInterrupt as stop:
        _say(f"chartae: {stop or 'interrupted'}")
        return 130
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError) as error:
        if os.environ.get("CHARTAE_DEBUG"):
            raise
        _say(f"chartae: {error}")
        return 1 if isinstance(error, ArithmeticError) else 2
    return 0


def _run(name: str, words: Sequence[str]) -> None:
    if name not in VERBS:
        raise ValueError(f"there is no verb {name!r}; choose from {', '.join(VERBS)}")
    verb = VERBS[name].load()
    from chartae.cli.verb import parsed

    command, options = parsed(verb, name, words)
    with warnings.catch_warnings():
        if not os.environ.get("CHARTAE_DEBUG"):
            warnings.showwarning = _warn
        command.run(options)


def _warn(message: Warning | str, *where: object, **to: object) -> None:
    _say(f"warning: {message}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _overview() -> str:
    lines = [
        "usage: chartae VERB ...",
        "",
        "Regularised autoencoders as generators: fit, sample, translate, evaluate, compare, look.",
        "",
    ]
    lines += [f"  {name:10} {entry.summary}" for name, entry in VERBS.items()]
    return "\n".join([*lines, "", "`chartae VERB --help` lists a verb's flags."])
