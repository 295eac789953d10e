"""Codecs without a grammar, as baselines: characters, tokens and SELFIES, each with a code book."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np

from chartae.grammar.derivations import Codec, Derivations, Description, Failure, checked, gather
from chartae.records.files import one_line, quoted

__all__ = ["PATTERNS", "SMILES_TOKENS", "Characters", "Selfies", "Tokens"]

#: regular expression of the tokens of SMILES: bracket atoms, two-letter elements, ring numbers above 9, and single
#: characters (after Schwaller et al., 2018, arXiv:1711.04810)
SMILES_TOKENS = r"\[[^\]]+\]|Br|Cl|%\d\d|."
#: regular expression of the symbols of SELFIES
_SYMBOLS = r"\[[^\]]*\]|\."
#: regular expressions that `Tokens` cuts strings by: each takes a time proportional to the string, or nearly so
PATTERNS = (".", SMILES_TOKENS, _SYMBOLS)

#: characters of a token, and of a decoded string
MOST_TOKEN, MOST_STRING = 1000, 1 << 20


class Tokens(Codec):
    """A codec that cuts strings into tokens and numbers them; the last number is the padding.

    The code book is fixed: strings with other tokens cannot be encoded. Any sequence of numbers decodes to a string,
    which need not be well-formed; there are no masks.

    Args:
        tokens: the code book: 1 to 65,535 different strings of 1 to 1,000 characters, in the order of their numbers.
        pattern: how strings are cut: None (default) takes the longest token of the code book at each position; or one
            of `PATTERNS`, such as `SMILES_TOKENS`. Others are refused, because a run folder stores the codec, and a
            stranger's pattern could take for ever.
        name: name of the codec in messages; default ``"tokens"``.

    Raises:
        ValueError: there are no tokens, too many, an empty or too long one, or one twice; or the pattern is unknown.

    >>> from chartae.grammar import SMILES_TOKENS, Tokens
    >>> t = Tokens.of(["CCl", "C[NH+]C"], SMILES_TOKENS)
    >>> t.tokens, t.size, t.encode(["CCl"])[0].tolist()
    (('C', 'Cl', '[NH+]'), 4, [0, 1])
    """

    masks = None

    def __init__(self, tokens: Sequence[str], pattern: str | None = None, *, name: str = "tokens") -> None:
        self.tokens = tuple(tokens)
        if not self.tokens or "" in self.tokens or len(set(self.tokens)) < len(self.tokens):
            raise ValueError(
                f"the tokens of {name} are {self.tokens[:9]!r}...; expected at least one, all different, none empty"
            )
        if len(self.tokens) > 65_535:
            raise ValueError(
                f"{name} has {len(self.tokens):,} tokens; expected at most 65,535, which 16 bits can number"
            )
        if max(map(len, self.tokens)) > MOST_TOKEN:
            raise ValueError(
                f"a token of {name} has {max(map(len, self.tokens)):,} characters; expected at most {MOST_TOKEN:,}"
            )
        if pattern is not None and pattern not in PATTERNS:
            raise ValueError(
                f"pattern is {pattern!r}; expected None, or one of {', '.join(map(repr, PATTERNS))}. Leave it out to"
                " take the longest token at each position."
            )
        self.name, self.pattern = name, pattern
        self.size, self.padding = len(self.tokens) + 1, len(self.tokens)
        self._number = {t: i for i, t in enumerate(self.tokens)}
        self._longest = max(map(len, self.tokens))
        self._regex = None if pattern is None else re.compile(f"{pattern}|.", re.DOTALL)
        #: first character -> lengths of the tokens that begin with it, the longest first
        lengths: dict[str, set[int]] = {}
        for token in self.tokens:
            lengths.setdefault(token[0], set()).add(len(token))
        self._lengths = {first: sorted(group, reverse=True) for first, group in lengths.items()}

    def _cut(self, string: str) -> list[str]:
        """The tokens of a string; a character that begins none stands alone."""
        if self._regex is not None:
            return self._regex.findall(string)
        at, pieces = 0, []
        while at < len(string):
            lengths = self._lengths.get(string[at], ())
            piece = next((p for n in lengths if (p := string[at : at + n]) in self._number), string[at])
            pieces.append(piece)
            at += len(piece)
        return pieces

    @classmethod
    def of(cls, strings: Iterable[str], pattern: str = ".", **settings: str) -> Tokens:
        """Build the codec whose code book holds all tokens of some strings, sorted.

        Args:
            strings: the strings.
            pattern: a regular expression of one token; by default a single character.
            settings: further arguments of the constructor: `name`.

        Returns:
            The codec. If the pattern is not one of `PATTERNS`, it takes the longest token of the code book at each
            position, which must cut the strings as the pattern does.

        Raises:
            ValueError: the longest tokens cut a string otherwise than the pattern.

        >>> from chartae.grammar import Tokens
        >>> Tokens.of(["a1b", "b12"], "[a-z]|[0-9]+").tokens
        ('1', '12', 'a', 'b')
        """
        listed = list(strings)
        cuts = [re.findall(pattern, s, re.DOTALL) for s in listed]
        codec = cls(sorted({t for cut in cuts for t in cut}), pattern if pattern in PATTERNS else None, **settings)
        for string, cut in zip(listed, cuts, strict=True):
            if (pieces := codec._cut(string)) != cut:
                raise ValueError(
                    f"pattern cuts {string[:40]!r} into {quoted(cut)}; expected the longest tokens at each position,"
                    f" {quoted(pieces)}. Use a pattern that takes the longest of its tokens."
                )
        return codec

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.tokens)} tokens and padding)"

    def described(self) -> Description:
        """The code book and the pattern."""
        return {"tokens": self.tokens, "pattern": self.pattern}

    def encode(self, strings: Sequence[str], *, errors: str = "raise") -> Derivations:
        """Encode strings as token numbers.

        Args:
            strings: a list of N strings.
            errors: what to do with strings whose tokens are not all in the code book: ``"raise"`` (default) raises
                ValueError for the first one; ``"skip"`` leaves them out and lists them in `Derivations.failures`.

        Returns:
            The token numbers of each string.

        Raises:
            ValueError: a token is not in the code book, or `errors` is unknown.
            TypeError: `strings` is a single string, or holds something other than strings.
        """
        rows, kept, failures = [], [], []
        for i, string in enumerate(checked(strings, errors)):
            cut = self._cut(string)
            row = [self._number.get(t, -1) for t in cut]
            if -1 in row:
                first = row.index(-1)
                place = sum(map(len, cut[:first]))
                failure = Failure(i, string, place, cut[first], self.tokens)
                if errors == "raise":
                    raise ValueError(f"{self.name}: {failure}. Add the token to the codec, or pass errors='skip'.")
                failures.append(failure)
                continue
            rows.append(row)
            kept.append(i)
        flat = np.fromiter((t for row in rows for t in row), np.uint8 if self.size <= 256 else np.uint16)
        return Derivations(flat, np.cumsum([0, *map(len, rows)]), np.array(kept, int), tuple(failures))

    def decode(self, sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray]) -> list[str]:
        """Join the tokens of each sequence to a string; padding is left out.

        Args:
            sequences: `Derivations`, a padded (N, T) array of token numbers, or N rows of them.

        Returns:
            N strings.

        Raises:
            ValueError: a number is not that of a token or of the padding.
        """
        texts = np.array([*self.tokens, ""], dtype=object)
        strings = []
        for i, row in enumerate(gather(sequences)):
            if row.size and row.max() >= self.size:
                raise ValueError(f"{self.name}: sequence {i} has the number {row.max()}; expected 0 to {self.size - 1}")
            if self._longest * row.size > MOST_STRING and (size := sum(map(len, texts[row]))) > MOST_STRING:
                raise ValueError(f"{self.name}: sequence {i} has {size:,} characters; expected at most {MOST_STRING:,}")
            strings.append("".join(texts[row]))
        return strings


class Characters(Tokens):
    """A codec whose tokens are single characters.

    It is the code of the baseline "CVAE" of Kusner, Paige, Hernández-Lobato (2017, arXiv:1703.01925).

    Args:
        characters: the code book, as a string or several strings; repeated characters count once.

    Raises:
        ValueError: there are no characters.

    >>> from chartae.grammar import Characters
    >>> c = Characters("CNO()=")
    >>> c.encode(["C=O"])[0].tolist(), c.decode([[0, 5, 2, 6, 6]])
    ([0, 5, 2], ['C=O'])
    """

    def __init__(self, characters: Iterable[str]) -> None:
        super().__init__(tuple(dict.fromkeys("".join(characters))), ".", name="characters")

    def described(self) -> Description:
        """The characters of the code book."""
        return {"characters": self.tokens}


def _package() -> ModuleType:
    try:
        import selfies
    except ImportError as e:
        raise ImportError("SELFIES need the package selfies. Install it by pip install 'chartae[molecules]'.") from e
    return selfies


class Selfies(Codec):
    """A codec that encodes SMILES as sequences of SELFIES symbols, every one of which decodes to a molecule.

    See Krenn, Häse, Nigam, Friederich, Aspuru-Guzik, 2020, arXiv:1905.13741. Decoding after encoding need not return
    the same SMILES, because SELFIES writes a molecule in its own order of atoms; and some molecules have no SELFIES.
    Needs the package selfies (``chartae[molecules]``).

    Args:
        strings: SMILES whose symbols the code book holds; those without SELFIES are skipped; none by default.
        robust: whether the code book also holds the package's semantically robust alphabet; default True.

    Raises:
        ImportError: the package selfies is not installed.
        ValueError: the code book is empty.

    >>> from chartae.grammar import Selfies
    >>> codec = Selfies(["CCO", "CC=O"], robust=False)
    >>> codec.tokens
    ('[=O]', '[C]', '[O]')
    >>> codec.decode(codec.encode(["OCC"]))
    ['OCC']
    """

    masks = None

    def __init__(self, strings: Iterable[str] = (), *, robust: bool = True) -> None:
        self._selfies = _package()
        symbols = set(self._selfies.get_semantic_robust_alphabet()) if robust else set()
        for s in strings:
            try:
                symbols |= set(self._selfies.split_selfies(self._selfies.encoder(s)))
            except self._selfies.EncoderError:
                continue  # `encode` reports the string, or skips it
        self._number(sorted(symbols))

    @classmethod
    def of_symbols(cls, symbols: Iterable[str]) -> Selfies:
        """Build the codec whose code book holds these symbols, in their order.

        Args:
            symbols: SELFIES symbols, such as ``"[C]"``.

        Returns:
            The codec.
        """
        codec = cls.__new__(cls)
        codec._selfies = _package()
        codec._number(list(symbols))
        return codec

    def _number(self, symbols: Sequence[str]) -> None:
        self._tokens = Tokens(symbols, _SYMBOLS, name="SELFIES")
        self.tokens, self.size, self.padding = self._tokens.tokens, self._tokens.size, self._tokens.padding

    def __repr__(self) -> str:
        return f"Selfies({len(self.tokens)} symbols and padding)"

    @property
    def language(self) -> str:
        """``"molecules"``."""
        return "molecules"

    def described(self) -> Description:
        """The symbols of the code book."""
        return {"selfies": self.tokens}

    def encode(self, strings: Sequence[str], *, errors: str = "raise") -> Derivations:
        """Encode SMILES as numbers of SELFIES symbols.

        Args:
            strings: a list of N SMILES.
            errors: what to do with SMILES that have no SELFIES, or whose symbols are not all in the code book:
                ``"raise"`` (default) raises ValueError for the first one; ``"skip"`` leaves them out and lists them in
                `Derivations.failures`.

        Returns:
            The symbol numbers of each SMILES.

        Raises:
            ValueError: a SMILES cannot be encoded, or `errors` is unknown.
            TypeError: `strings` is a single string, or holds something other than strings.
        """
        selfies, kept, failures = [], [], []
        for i, string in enumerate(checked(strings, errors)):
            try:
                selfies.append(self._selfies.encoder(string))
                kept.append(i)
            except self._selfies.EncoderError as e:
                reason = str(e).strip().splitlines()[-1]
                if errors == "raise":
                    raise ValueError(
                        f"string {i} ({string!r}) has no SELFIES: {reason}. Correct or remove it, or pass"
                        " errors='skip'."
                    ) from e
                failures.append(Failure(i, string, 0, string, ("a molecule that SELFIES can write",)))
        ids = self._tokens.encode(selfies, errors=errors)
        numbers = np.array(kept, int)
        failures += [replace(f, index=int(numbers[f.index])) for f in ids.failures]
        return Derivations(ids.flat, ids.offsets, numbers[ids.kept], tuple(failures))

    def decode(self, sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray]) -> list[str]:
        """Decode symbol numbers to SMILES, as the package selfies writes them.

        Args:
            sequences: `Derivations`, a padded (N, T) array of symbol numbers, or N rows of them.

        Returns:
            N SMILES.

        Raises:
            ValueError: a number is not that of a symbol or of the padding, or a symbol of the code book is none of
                SELFIES.
        """
        texts = self._tokens.decode(sequences)
        try:
            return [self._selfies.decoder(s) for s in texts]
        except self._selfies.DecoderError as e:
            raise ValueError(f"the code book holds symbols that are none of SELFIES ({one_line(e)})") from e
