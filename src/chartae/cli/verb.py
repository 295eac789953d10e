"""What every verb of the command line is, and how settings of the library become its flags."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, ClassVar, TypeAlias

import tyro
from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from chartae.records.search import Search
from chartae.records.training import Training

__all__ = ["SearchFlags", "TrainingFlags", "Verb", "parsed", "say"]


def say(text: str) -> None:
    """Print a line for the user, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)


class Verb(ABC):
    """A verb: a dataclass whose fields are its flags.

    Modules of verbs import torch, and what needs it, in `run` alone: ``--help`` must be fast.
    """

    #: whether flags that it does not know are a recipe's options
    takes_options: ClassVar[bool] = False

    @abstractmethod
    def run(self, options: Mapping[str, str]) -> None:
        """Do it.

        Args:
            options: a recipe's own options, as they were typed.

        Raises:
            ValueError, TypeError, OSError, ImportError: input that cannot be used.
            ArithmeticError: training that failed.
        """


@dataclass(frozen=True)
class Flag:
    """How a setting is typed: the type of its value, and what --help says of it."""

    type: object
    help: str


#: settings of the library that are flags: class -> field -> flag; a field that is not listed keeps its default
FLAGS: Mapping[type, Mapping[str, Flag]] = {
    Training: {
        "epochs": Flag(int, "passes over the data"),
        "batch_size": Flag(int, "examples in a batch"),
        "seed": Flag(int, "of every random number; with several seeds, the first"),
        "lr": Flag(float | None, "learning rate; by default the recipe's"),
        "precision": Flag(str, "fp32, bf16 or fp16"),
        "clip": Flag(float | None, "largest gradient norm"),
        "cosine": Flag(
            bool | None, "let the learning rate fall to zero over the epochs; by default what the recipe says"
        ),
        "patience": Flag(int | None, "stop after so many epochs without a better validation loss"),
        "ema": Flag(float | None, "decay of a moving average of the weights, e.g. 0.999; 0 for none"),
        "device": Flag(str | None, "cpu keeps off a GPU"),
    },
    Search: {
        "rounds": Flag(int, "number of rounds"),
        "batch": Flag(int, "strings in a round"),
        "method": Flag(str, "trust-region, or box: the protocol of the grammar VAE's paper"),
        "surrogate": Flag(str, "exact, sparse, or auto"),
        "density": Flag(str | None, "density that bounds the search: prior, normal, gmm, or none"),
        "support": Flag(float, "share of the training codes that lie in the density's tail"),
        "draws": Flag(int, "strings decoded from each code; the most frequent valid one is kept"),
        "seed": Flag(int, "of every random number"),
        "workers": Flag(int | None, "processes that score strings"),
        "timeout": Flag(float | None, "seconds that the score of one string may take"),
        "limit": Flag(int | None, "learn from so many training strings, half of them the best"),
        "hide": Flag(float, "share of the best training strings that are hidden from the search"),
        "minimise": Flag(bool, "minimise a function of your own"),
        "retrain": Flag(int | None, "epochs over the data, weighted by rank, between rounds"),
        "resume": Flag(bool, "continue the search in the folder"),
        "overwrite": Flag(bool, "remove a search that is in the folder"),
    },
}

REGISTRY = ConstructorRegistry()


@REGISTRY.struct_rule
def flags(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The flags of a class of `FLAGS`, which make one object of it."""
    listed = FLAGS.get(info.type)
    if listed is None:
        return None
    defaults = {f.name: f.default for f in fields(info.type) if f.default is not MISSING}
    return StructConstructorSpec(
        info.type,
        tuple(
            StructFieldSpec(name=name, type=flag.type, default=defaults[name], helptext=flag.help)  # type: ignore[arg-type]
            for name, flag in listed.items()
        ),
    )


#: fields of a verb that hold settings: their flags have no prefix
TrainingFlags: TypeAlias = Annotated[Training, arg(name="")]
SearchFlags: TypeAlias = Annotated[Search, arg(name="")]


def parsed(verb: type[Verb], name: str, words: Sequence[str]) -> tuple[Verb, dict[str, str]]:
    """A verb with what was typed after it, and the flags that it does not know, as a recipe's options.

    Raises:
        ValueError: a word that is neither.
        SystemExit: after ``--help``, and for flags that tyro refuses, which it explains.
    """
    with REGISTRY:
        command, unknown = tyro.cli(verb, prog=f"chartae {name}", args=words, return_unknown_args=True)
    return command, _options(verb, name, unknown)


def _options(verb: type[Verb], name: str, words: Sequence[str]) -> dict[str, str]:
    """Flags as a recipe's options: --name value, or --name=value."""
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        flag = rest.pop(0)
        option, equals, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--") or not verb.takes_options:
            raise ValueError(f"{flag!r} is not understood; see `chartae {name} --help`")
        if not equals and (not rest or rest[0].startswith("--")):
            raise ValueError(f"{flag} needs a value, or is not a flag of `chartae {name}`; see its --help")
        options[option.replace("-", "_")] = value if equals else rest.pop(0)
    return options
