"""Codecs by name, and their descriptions as JSON, from which the same codec is restored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike, fspath

from chartae.grammar.builtin import NAMES, UnknownGrammar, load
from chartae.grammar.cfg import Grammar
from chartae.grammar.codecs import PATTERNS, SMILES_TOKENS, Characters, Selfies, Tokens
from chartae.grammar.derivations import Codec
from chartae.records.choices import one_of
from chartae.records.files import LINE, one_line, quoted

__all__ = ["CODECS", "codec_for", "described", "needed", "restored"]

#: names of the codecs whose code book is taken from the strings to encode, for `codec_for`
CODECS = ("characters", "tokens", "selfies")


def codec_for(named: str | PathLike[str] | Codec, strings: Sequence[str], start: str | None = None) -> Codec:
    """Get a codec by name.

    Args:
        named: name of a built-in grammar (``zinc-smiles``, ``expressions``, ``smiles``, ``arithmetic``, ``rna``); path
            of a grammar file; ``"characters"``, ``"tokens"`` (of SMILES) or ``"selfies"``, whose code books are taken
            from `strings`; or a codec, which is returned as it is.
        strings: the strings to encode, read only for the last three names.
        start: start symbol of a grammar from a file; by default the left side of its first production, or the rule
            ``start`` of a ``.lark`` file that has one.

    Returns:
        The codec.

    Raises:
        ValueError: no codec or file has this name, or the file holds no valid grammar.
        ImportError: ``"selfies"`` without the package selfies, or a ``.lark`` file without lark.

    >>> from chartae.grammar import codec_for
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
    except UnknownGrammar:
        expected = one_of(fspath(named), [*NAMES, *CODECS], also="a grammar file (.lark, or text)")
        raise ValueError(f"grammar is {fspath(named)!r}; {expected}") from None


def described(codec: Codec) -> str:
    """Describe a codec as JSON, from which `restored` builds an equal codec.

    Args:
        codec: a codec.

    Returns:
        JSON text: the name of a built-in grammar; for any other codec, all that it consists of.

    >>> from chartae.grammar import Characters, described, load
    >>> described(load("rna"))
    '{"grammar": "rna"}'
    >>> described(Characters("ab"))
    '{"characters": ["a", "b"]}'
    """
    description = codec.described()
    name = str(description.get("grammar"))
    if name in NAMES and codec == load(name):
        description = {"grammar": name}
    return json.dumps(description, ensure_ascii=False)


def restored(text: str) -> Codec:
    """Build a codec from its description.

    Args:
        text: JSON text that `described` wrote.

    Returns:
        A codec that equals the described one.

    Raises:
        ValueError: the text is not the description of a codec. It never names a file: a text may come from a stranger.
        ImportError: the codec is `Selfies`, and the package selfies is not installed.

    >>> from chartae.grammar import described, load, restored
    >>> restored(described(load("expressions"))) == load("expressions")
    True
    """
    try:
        description = json.loads(text)
        if "text" in description:
            body, start, name, ignore = (_text(description[key]) for key in ("text", "start", "grammar", "ignore"))
            return Grammar(body, start, name=name, ignore=ignore, useless="mask")
        if "grammar" in description:
            if (name := _text(description["grammar"])) not in NAMES:
                raise ValueError(f"grammar is {quoted(name)}; {one_of(name[:LINE], NAMES)}")
            return load(name)
        if "selfies" in description:
            return Selfies.of_symbols(_texts(description["selfies"]))
        if "characters" in description:
            return Characters(_texts(description["characters"]))
        pattern = description["pattern"]
        return Tokens(_texts(description["tokens"]), pattern if pattern in PATTERNS else None)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"text is wrong ({one_line(error)}): {quoted(text)}; expected a description of a codec, as `described` "
            "writes it"
        ) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{quoted(value)} is no text")
    return value


def _texts(values: object) -> list[str]:
    if not isinstance(values, list):
        raise TypeError(f"{quoted(values)} is no list")
    return [_text(value) for value in values]


def needed(codec: Codec | None, what: str = "strings") -> Codec:
    """Return the codec, or raise ValueError if it is None.

    Args:
        codec: a codec, or None.
        what: what needs the codec, a plural that begins the message; default ``"strings"``.

    Returns:
        The codec.

    Raises:
        ValueError: `codec` is None.

    >>> from chartae.grammar import Characters, needed
    >>> needed(Characters("ab"))
    Characters(2 tokens and padding)
    """
    if codec is None:
        raise ValueError(
            f"{what} need a codec, which maps them to indices and back; expected a run or a data set of strings"
        )
    return codec
