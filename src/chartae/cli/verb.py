"""What a verb of the command line is, and how settings of the library become its flags."""

from __future__ import annotations

import json as json_format
import logging
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, ClassVar, get_args, get_type_hints

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from chartae.cli.checks import Check, NotMet
from chartae.cli.flags import flag
from chartae.cli.printing import MOST, printable
from chartae.records.choices import suggestion
from chartae.records.search import Search
from chartae.records.space import NotWritten
from chartae.records.training import Training

__all__ = [
    "Notes",
    "Printing",
    "Verb",
    "flag_names",
    "flag_of",
    "in_flags",
    "parsed",
    "progress",
    "say",
    "talking",
    "unlock",
]

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


class Notes(logging.Handler):
    """Says on stderr what the library warns of, and what it decided and logs, each sentence once."""

    def __init__(self, verb: type) -> None:
        super().__init__(logging.INFO)
        self.verb = verb
        self.said: set[str] = set()
        #: whether a file could not be written after the work
        self.unwritten = False

    def warn(self, message: Warning | str, *where: object, **to: object) -> None:
        """Stand in for `warnings.showwarning`."""
        self.unwritten |= isinstance(message, NotWritten)
        self.said.add(str(message))
        print(f"warning: {printable(in_flags(self.verb, str(message)), MOST)}", file=sys.stderr, flush=True)

    def emit(self, record: logging.LogRecord) -> None:
        if (text := record.getMessage()) not in self.said:
            self.said.add(text)
            say(in_flags(self.verb, text))


@contextmanager
def talking(quiet: bool, verb: type) -> Iterator[Notes]:
    """Within the block, the library's notes are said; these, `say` and `progress` are silent if `quiet` is set."""
    token, notes, logger = _QUIET.set(quiet), Notes(verb), logging.getLogger("chartae")
    level = logger.level
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    try:
        yield notes
    finally:
        logger.setLevel(level)
        logger.removeHandler(notes)
        _QUIET.reset(token)


def unlock(folder: Path) -> None:
    """Delete a folder's lock, and say whose it was.

    Raises:
        ValueError: its holder is a living process of this machine.
    """
    from chartae.records.lock import break_lock

    holder = break_lock(folder)
    say(f"{folder} was not locked" if holder is None else f"the lock of {folder}, held by {holder}, is deleted")


def say(text: str) -> None:
    """Print a line for the user on stderr, unless --quiet is set: stdout is for results."""
    if not _QUIET.get():
        print(printable(text), file=sys.stderr, flush=True)


def progress() -> bool:
    """Whether training shows its progress."""
    return not _QUIET.get()


@dataclass(frozen=True)
class Verb(ABC):
    """A verb: a dataclass whose fields are its flags.

    Modules of verbs import torch, and what needs it, in `run` alone: ``--help`` must be fast.
    """

    #: whether unknown flags are options of a recipe
    takes_options: ClassVar[bool] = False
    #: worked examples, which --help prints: the words after ``chartae``
    examples: ClassVar[tuple[str, ...]] = ()

    quiet: Annotated[bool, flag("print results and errors, and nothing else")] = field(default=False, kw_only=True)
    verbose: Annotated[bool, flag("show where warnings and errors come from")] = field(default=False, kw_only=True)

    def refuse(self) -> None:
        """Raise ValueError for flags that are wrong whatever the data are, before any work."""
        return

    @abstractmethod
    def run(self, options: Mapping[str, str]) -> None:
        """Do it.

        Args:
            options: a recipe's options, as they were typed.

        Raises:
            ValueError, TypeError, OSError, ImportError: input that cannot be used.
            ArithmeticError: training failed.
            NotMet: a --check is not met.
        """

    @classmethod
    def options_help(cls, words: Sequence[str]) -> str:
        """What --help says of a recipe's options, given the words that were typed."""
        return ""


@dataclass(frozen=True)
class Printing(Verb):
    """A verb that prints results: as a table, or as JSON; and compares them with what the user wants."""

    json: Annotated[bool, flag("print the results as JSON on stdout")] = field(default=False, kw_only=True)
    check: Annotated[
        tuple[str, ...], flag("exit with status 1 unless these hold, such as 'sets.gmm.frechet<=30'", "CONDITION")
    ] = field(default=(), kw_only=True)

    def refuse(self) -> None:
        for text in self.check:
            Check.of(text)

    def conclude(self, values: Mapping[str, object] | Sequence[object], show: Callable[[], None]) -> None:
        """Print the results, and compare them with each --check.

        Args:
            values: the results, as JSON holds them.
            show: prints them for people.

        Raises:
            ValueError: a check of something that the results do not have.
            NotMet: a check that is not met.
        """
        if self.json:
            print(json_format.dumps(values, indent=1))
        else:
            show()
        failed = [str(check) for text in self.check if (check := Check.of(text).of_results(values)) is not None]
        if failed:
            raise NotMet("not met: " + "; ".join(failed))


@dataclass(frozen=True)
class Flag:
    """How a setting is typed: the type of its value, what --help says of it, and its placeholder."""

    type: object
    help: str
    metavar: str | None = None


#: settings of the library that are flags: class -> field -> flag; a field that is not listed keeps its default
FLAGS: Mapping[type, Mapping[str, Flag]] = {
    Training: {
        "epochs": Flag(int, "passes over the data", "N"),
        "batch_size": Flag(int, "examples in a batch", "N"),
        "seed": Flag(int, "seed of every random number; the first one, where there are several", "N"),
        "lr": Flag(float | None, "learning rate; by default the recipe's", "RATE"),
        "precision": Flag(str, "fp32, bf16, or fp16 (GPU only)", "NAME"),
        "clip": Flag(float | None, "largest gradient norm; by default no limit", "NORM"),
        "cosine": Flag(
            bool | None, "let the learning rate fall to zero over the epochs; by default as the recipe says", "BOOL"
        ),
        "patience": Flag(int | None, "stop after N epochs without a better validation loss", "N"),
        "ema": Flag(float | None, "decay of a moving average of the weights, such as 0.999; 0 for no average", "DECAY"),
        "augment": Flag(
            str | None, "change the training pictures at random in every step: flip, crop, rotate, or several", "NAMES"
        ),
        "device": Flag(str | None, "cpu or cuda; by default a GPU if there is one", "NAME"),
    },
    Search: {
        "rounds": Flag(int, "number of rounds", "N"),
        "batch": Flag(int, "strings in a round", "N"),
        "method": Flag(str, "trust-region, or box: the protocol of the grammar VAE's paper", "NAME"),
        "surrogate": Flag(str, "exact, sparse, or auto", "NAME"),
        "density": Flag(str | None, "density that bounds the search: prior, normal, gmm, or none", "NAME"),
        "support": Flag(float, "share of the training codes outside the density's support", "SHARE"),
        "draws": Flag(int, "strings decoded from each code; the most frequent valid one is kept", "N"),
        "seed": Flag(int, "seed of every random number", "N"),
        "workers": Flag(int | None, "processes that compute scores", "N"),
        "timeout": Flag(float | None, "seconds that the score of one string may take", "SECONDS"),
        "limit": Flag(int | None, "use at most N training strings, half of them the best", "N"),
        "hide": Flag(float, "share of the best training strings that are hidden from the search", "SHARE"),
        "minimise": Flag(bool, "minimise your own function"),
        "retrain": Flag(int | None, "between rounds, train N epochs on data weighted by rank", "N"),
        "resume": Flag(bool, "resume the search in the folder"),
        "overwrite": Flag(bool, "remove the search in the folder first"),
    },
}

REGISTRY = ConstructorRegistry()


class _Refused(Exception):
    """A setting of the library is refused; tyro passes this on, while it would put a ValueError into a box."""


def _built_from(settings: type, values: Mapping[str, object]) -> object:
    try:
        return settings(**values)
    except (ValueError, TypeError) as error:
        raise _Refused(str(error)) from error


@REGISTRY.struct_rule
def flags(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The flags of a class of `FLAGS`, which make one object of it."""
    listed = FLAGS.get(info.type)
    if listed is None:
        return None
    defaults = {f.name: f.default for f in fields(info.type) if f.default is not MISSING}
    return StructConstructorSpec(
        lambda **values: _built_from(info.type, values),
        tuple(
            StructFieldSpec(
                name=name, type=Annotated[setting.type, flag(setting.help, setting.metavar)],  # type: ignore[arg-type]
                default=defaults[name], helptext=setting.help,
            )
            for name, setting in listed.items()
        ),
    )  # fmt: skip


def flag_names(verb: type) -> set[str]:
    """The flags of a verb, with their dashes; positional words are not among them."""
    names: set[str] = set()
    hints = get_type_hints(verb, include_extras=True)
    for entry in fields(verb):
        kind, *notes = get_args(hints[entry.name]) or (hints[entry.name],)
        if kind in FLAGS:
            names |= set(map(flag_of, FLAGS[kind]))
        elif isinstance(kind, type) and is_dataclass(kind):
            names |= flag_names(kind)
        elif None not in notes:  # tyro's mark of a positional word
            names.add(flag_of(next((n.name for n in notes if getattr(n, "name", None)), entry.name)))
    return names


def flag_of(name: str) -> str:
    """The flag of a setting or an option: ``--latent-dim`` of ``latent_dim``."""
    return f"--{name.replace('_', '-')}"


def in_flags(verb: type, text: str) -> str:
    """A message of the library with its keywords as the verb's flags: `size=64` is `--size 64`."""
    for name in flag_names(verb):
        keyword = name.removeprefix("--").replace("-", "_")
        if len(keyword) > 1:
            text = re.sub(rf"(?<![\w-]){keyword}=(?=[\s.,;)]|$)", name, text)
            text = re.sub(rf"(?<![\w-]){keyword}=(?=\W?\w|'')", f"{name} ", text)
    return text


def parsed(verb: type[Verb], name: str, words: Sequence[str]) -> tuple[Verb, dict[str, str]]:
    """A verb with what was typed after it, and the flags that it does not know, as a recipe's options.

    Raises:
        ValueError: a word that is neither.
        SystemExit: after ``--help``, and for flags that tyro refuses, which it explains.
    """
    try:
        with REGISTRY:
            command, unknown = tyro.cli(
                verb, prog=f"chartae {name}", args=words, return_unknown_args=True,
                config=(OmitArgPrefixes, FlagCreatePairsOff),
            )  # fmt: skip
    except _Refused as error:
        raise ValueError(str(error)) from error
    except SystemExit as end:
        if not end.code:
            print(_after_help(verb, words))
        raise
    return command, _options(verb, name, unknown)


def _after_help(verb: type[Verb], words: Sequence[str]) -> str:
    """What follows the flags in --help: a recipe's options, and examples."""
    options = verb.options_help(words)
    lines = [*([options, ""] if options else []), "examples:", *(f"  chartae {example}" for example in verb.examples)]
    return "\n".join(lines)


def _options(verb: type[Verb], name: str, words: Sequence[str]) -> dict[str, str]:
    """Flags as a recipe's options: --name value, or --name=value."""
    options: dict[str, str] = {}
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        option, equals, value = word.partition("=")
        if not re.match("--[a-zA-Z]", word) or not verb.takes_options:
            hint = _hint(option, verb) if word.startswith("-") else _one_path(word)
            raise ValueError(f"`chartae {name}` does not understand {word!r}. {hint}See `chartae {name} --help`")
        if not equals and (not remaining or remaining[0].startswith("--")):
            hint = _hint(option, verb)
            raise ValueError(
                f"{word} needs a value, or is not a flag of `chartae {name}`. {hint}See `chartae {name} --help`"
            )
        options[option[2:].replace("-", "_")] = value if equals else remaining.pop(0)
    return options


def _one_path(word: str) -> str:
    """What to do about a second path, as a shell makes many of a pattern, with a space behind it."""
    return "It takes one path: give the folder of the files. " if os.path.exists(word) else ""


def _hint(flag: str, verb: type[Verb]) -> str:
    """The nearest flag of a verb, as a sentence with a space behind it; empty if none is near."""
    nearest = suggestion(flag, flag_names(verb))
    return f"{nearest} " if nearest else ""
