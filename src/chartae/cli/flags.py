"""How flags look in --help, and the groups of flags that several verbs share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

__all__ = [
    "BreakLock",
    "DataFlags",
    "FitDataFlags",
    "MeasuringFlags",
    "ModelFlags",
    "ReadingFlags",
    "Root",
    "RunDataFlags",
    "RunFolder",
    "Seed",
    "flag",
]

#: defaults that go without saying
UNSAID = ("None", "False", "")


def flag(text: str, metavar: str | None = None, name: str | None = None) -> object:
    """What --help says of a flag: its text, what to type after it, and its default where there is one to tell.

    Args:
        text: the help text.
        metavar: placeholder of the value; by default the type's.
        name: the flag without its dashes; by default the field's.
    """
    hint = lambda default: "" if default in UNSAID else f"(default: {default})"  # noqa: E731
    return arg(help=text, metavar=metavar, name=name, help_behavior_hint=hint)


#: folder of named data sets, a flag of most verbs
Root = Annotated[
    Path | None,
    flag("folder of the named data sets; by default the environment variable CHARTAE_DATA, or a download", "FOLDER"),
]
RunFolder = Annotated[Positional[Path], flag("folder of a run", "RUN")]
BreakLock = Annotated[bool, flag("delete the lock that a killed process on another machine has left in the folder")]
Seed = Annotated[int, flag("seed of the random numbers", "N")]


@dataclass(frozen=True)
class DataFlags:
    """Where named data sets are."""

    data_root: Root = None


@dataclass(frozen=True)
class RunDataFlags(DataFlags):
    """Which data a run is used with."""

    dataset: Annotated[
        str | None,
        flag("name of a data set, or a path, in place of the data of the fit, which are read again by default", "DATA",
             "data"),
    ] = None  # fmt: skip


@dataclass(frozen=True)
class ReadingFlags(DataFlags):
    """How the data are read."""

    size: Annotated[
        str | None,
        flag("for pictures: cut out the centre of each, resized to N x N pixels, or to HxW", "N"),
    ] = None
    background: Annotated[
        str | None, flag("for pictures with transparency: white or black behind them, or alpha to keep it", "COLOUR")
    ] = None
    channels_last: Annotated[
        bool | None, flag("for arrays of pictures: whether the last axis holds the channels", "BOOL")
    ] = None
    white: Annotated[
        int | None, flag("for pictures of more than 8 bits: the level that is white; by default the data decide", "N")
    ] = None
    label: Annotated[str | None, flag("for tables: the column of labels, which is not a feature", "COLUMN")] = None
    no_label: Annotated[bool, flag("for tables: no column holds labels; all are features")] = False
    drop: Annotated[tuple[str, ...] | None, flag("for tables: columns to leave out", "COLUMN ...")] = None
    weight: Annotated[str | None, flag("the column of a table that weighs each row in the loss", "COLUMN")] = None
    header: Annotated[
        bool | None, flag("for tables: whether the first row holds names; by default judged by the rows", "BOOL")
    ] = None
    grammar: Annotated[
        str | None,
        flag("for strings: zinc-smiles, expressions, smiles, arithmetic, rna, a file; or characters, selfies", "NAME"),
    ] = None
    limit: Annotated[int | None, flag("for strings: use only the first N", "N")] = None
    column: Annotated[str | None, flag("for strings: the column of a table that holds them", "NAME")] = None

    def reading(self) -> dict[str, object]:
        """The fields of `chartae.data.Reading` that were typed.

        Raises:
            ValueError: --label and --no-label are both given.
        """
        if self.label is not None and self.no_label:
            raise ValueError(f"--label is {self.label!r} and --no-label is given; expected one of them. Leave one out")
        label = "" if self.no_label else self.label
        names = (
            "size", "background", "channels_last", "white", "drop", "weight", "header", "grammar", "limit", "column",
        )  # fmt: skip
        typed = {name: getattr(self, name) for name in names} | {"label": label}
        return {name: value for name, value in typed.items() if value is not None}


@dataclass(frozen=True)
class FitDataFlags(ReadingFlags):
    """How the data are read."""

    condition: Annotated[
        str | None,
        flag("condition the model on the labels (labels), or on columns of a table, such as age,sex", "WHAT"),
    ] = None


@dataclass(frozen=True)
class ModelFlags:
    """The model."""

    latent_dim: Annotated[
        int | None, flag("size of the codes; by default the recipe's, usually 16, or the data's where smaller", "N")
    ] = None
    net: Annotated[
        str, flag("mlp, conv or residual (or with widths, such as conv:16x32x64), paper, or auto", "NAME")
    ] = "auto"
    components: Annotated[
        int | None, flag("components of the Gaussian mixture; by default 10, or chosen where rows are few", "N")
    ] = None


@dataclass(frozen=True)
class MeasuringFlags:
    """How sets are compared."""

    n: Annotated[int, flag("examples in each compared set, at least 20", "N")] = 10_000
    extractor: Annotated[
        str | None, flag("features in which sets are compared: lenet-mnist, lenet-fashion, pixels, inception", "NAME")
    ] = None
    weights: Annotated[Path | None, flag("file of the weights of inception", "FILE")] = None
    language: Annotated[
        str | None, flag("for strings: the grammar by which a string is valid, or molecules", "NAME")
    ] = None
