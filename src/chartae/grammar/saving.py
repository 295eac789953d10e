"""Codecs by name, and as a text from which the same codec is made again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike, fspath

from chartae.grammar.builtin import NAMES, load
from chartae.grammar.cfg import Grammar
from chartae.grammar.codecs import SMILES_TOKENS, Characters, Selfies, Tokens
from chartae.grammar.derivations import Codec

__all__ = ["CODECS", "codec_for", "described", "needed", "restored"]

#: codecs whose code book is that of the strings to encode
CODECS = ("characters", "tokens", "selfies")


def codec_for(named: str | PathLike[str] | Codec, strings: Sequence[str], start: str | None = None) -> Codec:
    """A codec by name: a grammar's (or a file of one, see `load`), or ``characters``, ``tokens`` (of SMILES),
    ``selfies``, with the code book of `strings`. A codec is itself.

    >>> codec_for("characters", ["abc", "ca"])
    Characters(3 tokens and padding)
    """
    if isinstance(named, Codec):
        return named
    if named == "characters":
        return Characters(sorted(set("".join(strings))))
    if named == "tokens":
        return Tokens.of(strings, SMILES_TOKENS)
    if named == "selfies":
        return Selfies(strings)
    try:
        return load(named, start)
    except ValueError as error:
        if fspath(named) not in NAMES and "unknown grammar" in str(error):
            raise ValueError(f"{error}; or a codec: {', '.join(CODECS)}") from None
        raise


def described(codec: Codec) -> str:
    """A codec as JSON: a built-in grammar by its name, others with all they consist of."""
    description = codec.described()
    name = str(description.get("grammar"))
    if name in NAMES and codec == load(name):
        description = {"grammar": name}
    return json.dumps(description, ensure_ascii=False)


def restored(text: str) -> Codec:
    """The codec that `described` wrote; a ValueError of anything else.

    >>> restored(described(load("expressions"))) == load("expressions")
    True
    """
    try:
        told = json.loads(text)
        if "text" in told:
            settings = {"name": told["grammar"], "ignore": told["ignore"], "useless": "mask"}
            return Grammar(told["text"], told["start"], **settings)
        if "grammar" in told:
            return load(told["grammar"])
        if "selfies" in told:
            return Selfies.of_symbols(told["selfies"])
        if "characters" in told:
            return Characters(told["characters"])
        return Tokens(told["tokens"], told["pattern"])
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise ValueError(f"this is no description of a codec: {text[:80]!r}") from error


def needed(codec: Codec | None, what: str = "strings") -> Codec:
    """A codec that has to be there; a ValueError where there is none."""
    if codec is None:
        raise ValueError(f"{what} need a codec, which says what their indices mean; expected a run or data of strings")
    return codec
