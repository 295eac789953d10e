"""How flags look in --help, and the groups of flags that several verbs share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

__all__ = ["DataFlags", "FitDataFlags", "MeasuringFlags", "ModelFlags", "RunFolder", "Seed", "flag"]

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
Seed = Annotated[int, flag("seed of the random numbers", "N")]


@dataclass(frozen=True)
class DataFlags:
    """Where named data sets are."""

    data_root: Root = None


@dataclass(frozen=True)
class FitDataFlags(DataFlags):
    """How the data are read."""

    condition: Annotated[
        str | None,
        flag("condition the model on the labels (labels), or on columns of a table, such as age,sex", "WHAT"),
    ] = None
    size: Annotated[
        int | None,
        flag("for a folder of pictures: cut a centred square out of each, resized to N x N pixels", "N"),
    ] = None
    grammar: Annotated[
        str | None,
        flag("for strings: zinc-smiles, expressions, smiles, arithmetic, rna, a file; or characters, selfies", "NAME"),
    ] = None
    limit: Annotated[int | None, flag("for strings: use only the first N", "N")] = None
    column: Annotated[str | None, flag("for strings: the column of a table that holds them", "NAME")] = None


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
