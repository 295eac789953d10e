"""The command line: a verb a command, each a few lines over the library."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

from chartae.records.choices import one_of
from chartae.records.interrupts import Interrupted, catching

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


GROUPS: Mapping[str, Mapping[str, Entry]] = {
    "train": {
        "fit": Entry("fit", "Fit", "train a recipe on data"),
        "resume": Entry("fit", "Resume", "continue the training of a run"),
        "compare": Entry("evaluate", "Compare", "train and evaluate several recipes on one data set"),
        "reproduce": Entry("reproduce", "Reproduce", "reproduce a published result"),
        "demo": Entry("fit", "Demo", "compare four recipes on the images that ship with chartae"),
    },
    "use a run": {
        "sample": Entry("use", "Sample", "draw new examples"),
        "encode": Entry("codes", "Encode", "compute the codes of data"),
        "decode": Entry("codes", "Decode", "turn codes into examples"),
        "reconstruct": Entry("codes", "Reconstruct", "encode and decode data"),
        "interpolate": Entry("codes", "Interpolate", "show the path between two examples"),
        "traverse": Entry("codes", "Traverse", "show the principal axes of the codes"),
        "translate": Entry("use", "Translate", "translate examples between two domains"),
        "optimise": Entry("strings", "Optimise", "search the latent space for strings with a high score"),
    },
    "question a run": {
        "evaluate": Entry("evaluate", "Evaluate", "compare samples and reconstructions with the test set"),
        "score": Entry("evaluate", "Score", "evaluate the estimated score, the gradient of log p"),
        "diagnose": Entry("evaluate", "Diagnose", "show what was learnt: geometry, consistency, factors"),
        "verify": Entry("verifying", "Verify", "check that the files of a run are as they were written"),
        "report": Entry("use", "Report", "write a run or a comparison as one HTML file"),
        "postmortem": Entry("postmortem", "Postmortem", "show why a training failed, and what to try"),
    },
    "look up": {
        "inspect": Entry("inspecting", "Inspect", "show what would be read from a file, a folder or a name"),
        "list": Entry("listing", "List", "list recipes, densities, samplers, data sets, metrics, grammars"),
        "grammar": Entry("strings", "GrammarVerb", "audit a grammar on a file of strings"),
    },
}
#: how an interrupted verb is continued
CONTINUED = {
    "fit": "run the same command with --resume (in place of --overwrite, where that was given)",
    "resume": "run the same command again",
    "optimise": "run the same command with --resume (in place of --overwrite, where that was given)",
    "compare": "run the same command again",
    "reproduce": "run the same command again",
    "demo": "run the same command again, without --overwrite",
}
VERBS: Mapping[str, Entry] = {name: entry for group in GROUPS.values() for name, entry in group.items()}


def main(words: Sequence[str] | None = None) -> int:
    """Run a command.

    With --verbose, or CHARTAE_DEBUG set, errors keep their traceback, and warnings say where they come from.

    Args:
        words: the words after ``chartae``; by default the arguments of this process.

    Returns:
        The exit status: 0 when done; 1 if training failed or a --check is not met; 2 for bad input, or if a file could
        not be written; 129, 130 or 143 if SIGHUP, SIGINT or SIGTERM interrupted it.

    >>> from chartae.cli import main
    >>> main(["--version"])
    0.1...
    0
    """
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        print(version("chartae"))
        return 0
    verbose = "--verbose" in words or bool(os.environ.get("CHARTAE_DEBUG"))
    try:
        with catching(_interrupt):
            return _run(words[0], words[1:], verbose)
    except Interrupted as stop:
        advice = CONTINUED.get(words[0])
        _say(f"chartae: {stop}" + (f". To continue, {advice}" if advice else ""))
        return stop.status
    except KeyboardInterrupt:
        _say("chartae: interrupted")
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError, RecursionError) as error:
        if verbose:
            traceback.print_exc()
        _say(f"chartae: {_in_flags(words[0], _text(error))}")
        return 1 if isinstance(error, (ArithmeticError, ChildProcessError)) else 2


def _text(error: Exception) -> str:
    """What an error says, never nothing."""
    if isinstance(error, MemoryError):
        return f"not enough memory{f' ({error})' if str(error) else ''}; use less data, or a smaller model"
    return str(error).strip() or type(error).__name__


def _in_flags(name: str, text: str) -> str:
    """A message of the library with its keywords as the verb's flags: `size=64` is `--size 64`."""
    if name not in VERBS:
        return text
    from chartae.cli.verb import in_flags

    return in_flags(VERBS[name].load(), text)


def _interrupt(number: int) -> NoReturn:
    raise Interrupted("interrupted", number)


def _run(name: str, words: Sequence[str], verbose: bool) -> int:
    if name not in VERBS:
        raise ValueError(f"the verb is {name!r}; {one_of(name, VERBS)}")
    verb = VERBS[name].load()
    from chartae.cli.checks import NotMet
    from chartae.cli.verb import parsed, talking
    from chartae.records.space import NotWritten

    command, options = parsed(verb, name, words)
    command.refuse()
    with warnings.catch_warnings(), talking(command.quiet, verb) as notes:
        shown = warnings.showwarning

        def show(message: Warning | str, *where: Any, **to: Any) -> None:
            notes.unwritten |= isinstance(message, NotWritten)
            shown(message, *where, **to)

        warnings.showwarning = show if verbose else notes.warn
        try:
            command.run(options)
        except NotMet as unmet:
            _say(f"chartae: {unmet}")
            return 1
    return 2 if notes.unwritten else 0


def _say(text: str) -> None:
    from chartae.cli.printing import MOST, printable

    print(printable(text, MOST), file=sys.stderr, flush=True)


def _overview() -> str:
    lines = ["usage: chartae VERB ...", "", "Regularised autoencoders as generators.", ""]
    for group, verbs in GROUPS.items():
        lines += [f"{group}:", *(f"  {name:12} {entry.summary}" for name, entry in verbs.items()), ""]
    return "\n".join([
        *lines,
        "`chartae VERB --help` lists a verb's flags and shows examples; `chartae --version` prints the version.",
        "",
        "exit status: 0 done; 1 training failed, or a --check is not met; 2 bad input, or a file was not written; 129,",
        "130, 143 interrupted by SIGHUP, SIGINT, SIGTERM (fit and optimise continue with --resume, compare and",
        "reproduce when run again)",
    ])  # fmt: skip
