"""Baselines to a grammar: single characters, tokens, and SELFIES, as codecs with one code book each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np

from chartae.grammar.derivations import Codec, Derivations, Description, Failure, checked, gather

__all__ = ["SMILES_TOKENS", "Characters", "Selfies", "Tokens"]

#: tokens of SMILES: atoms in brackets whole, two-letter elements, ring numbers above 9 (Schwaller et al., 2018,
#: arXiv:1711.04810)
SMILES_TOKENS = r"\[[^\]]+\]|Br|Cl|%\d\d|."


class Tokens(Codec):
    """Strings as sequences of tokens, each of which has a number; the last number is padding.

    The code book is fixed: what it lacks cannot be encoded. Any sequence of numbers decodes to some string, well-formed
    or not, so that there are no masks.

    Args:
        tokens: the code book, in order.
        pattern: a regular expression that cuts a string into tokens; without it, the longest token of the code book.
        name: shown in messages.

    >>> t = Tokens.of(["CCl", "C[NH+]C"], SMILES_TOKENS)
    >>> t.tokens, t.size, t.encode(["CCl"])[0].tolist()
    (('C', 'Cl', '[NH+]'), 4, [0, 1])
    """

    masks = None

    def __init__(self, tokens: Sequence[str], pattern: str | None = None, *, name: str = "tokens") -> None:
        self.tokens = tuple(tokens)
        if not self.tokens or "" in self.tokens or len(set(self.tokens)) < len(self.tokens):
            raise ValueError(
                f"the tokens of {name} are {self.tokens[:9]!r}...; expected some, all different, none empty"
            )
        if len(self.tokens) > 65_535:
            raise ValueError(f"{name} has {len(self.tokens):,} tokens; at most 65,535 can be numbered in 16 bits")
        self.name, self.pattern = name, pattern
        self.size, self.padding = len(self.tokens) + 1, len(self.tokens)
        self._number = {t: i for i, t in enumerate(self.tokens)}
        longest = "|".join(re.escape(t) for t in sorted(self.tokens, key=len, reverse=True))
        self._cut = re.compile(f"{pattern or longest}|.", re.DOTALL)

    @classmethod
    def of(cls, strings: Iterable[str], pattern: str = ".", **settings: str) -> Tokens:
        """The code book of all tokens in `strings`, sorted."""
        found = {t for s in strings for t in re.findall(pattern, s, re.DOTALL)}
        return cls(sorted(found), pattern, **settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.tokens)} tokens and padding)"

    def described(self) -> Description:
        return {"tokens": self.tokens, "pattern": self.pattern}

    def encode(self, strings: Sequence[str], *, errors: str = "raise") -> Derivations:
        rows, kept, failures = [], [], []
        for i, string in enumerate(checked(strings, errors)):
            cut = self._cut.findall(string)
            row = [self._number.get(t, -1) for t in cut]
            if -1 in row:
                first = row.index(-1)
                place = sum(map(len, cut[:first]))
                failure = Failure(i, string, place, cut[first], self.tokens)
                if errors == "raise":
                    raise ValueError(f"{self.name}: {failure}; add the token, or pass errors='skip'")
                failures.append(failure)
                continue
            rows.append(row)
            kept.append(i)
        flat = np.fromiter((t for row in rows for t in row), np.uint8 if self.size <= 256 else np.uint16)
        return Derivations(flat, np.cumsum([0, *map(len, rows)]), np.array(kept, int), tuple(failures))

    def decode(self, sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray]) -> list[str]:
        """Strings of token numbers; padding is left out."""
        texts = np.array([*self.tokens, ""], dtype=object)
        strings = []
        for i, row in enumerate(gather(sequences)):
            if row.size and row.max() >= self.size:
                raise ValueError(f"{self.name}: sequence {i} has the number {row.max()}; expected 0 to {self.size - 1}")
            strings.append("".join(texts[row]))
        return strings


class Characters(Tokens):
    """Strings as sequences of characters: the baseline "CVAE" of Kusner, Paige, Hernández-Lobato (2017,
    arXiv:1703.01925).

    >>> c = Characters("CNO()=")
    >>> c.encode(["C=O"])[0].tolist(), c.decode([[0, 5, 2, 6, 6]])
    ([0, 5, 2], ['C=O'])
    """

    def __init__(self, characters: Iterable[str]) -> None:
        super().__init__(tuple(dict.fromkeys("".join(characters))), ".", name="characters")

    def described(self) -> Description:
        return {"characters": self.tokens}


def _package() -> ModuleType:
    try:
        import selfies
    except ImportError as e:
        raise ImportError("SELFIES need the package selfies: pip install 'chartae[molecules]'") from e
    return selfies


class Selfies(Codec):
    """SMILES as sequences of SELFIES symbols, of which any sequence decodes to a molecule (Krenn, Häse, Nigam,
    Friederich, Aspuru-Guzik, 2020, arXiv:1905.13741). Needs the package selfies: ``chartae[molecules]``.

    The round trip is not the identity: SELFIES writes a molecule anew, and does not know all of them. Symbols are those
    of `strings`, and of selfies' own robust alphabet unless ``robust=False``.
    """

    masks = None

    def __init__(self, strings: Iterable[str] = (), *, robust: bool = True) -> None:
        self._selfies = _package()
        found = set(self._selfies.get_semantic_robust_alphabet()) if robust else set()
        for s in strings:
            try:
                found |= set(self._selfies.split_selfies(self._selfies.encoder(s)))
            except self._selfies.EncoderError:
                continue  # `encode` says so, or leaves it out
        self._number(sorted(found))

    @classmethod
    def of_symbols(cls, symbols: Iterable[str]) -> Selfies:
        """With these symbols, in their order."""
        made = cls.__new__(cls)
        made._selfies = _package()
        made._number(list(symbols))
        return made

    def _number(self, symbols: Sequence[str]) -> None:
        self._tokens = Tokens(symbols, r"\[[^\]]*\]|\.", name="SELFIES")
        self.tokens, self.size, self.padding = self._tokens.tokens, self._tokens.size, self._tokens.padding

    def __repr__(self) -> str:
        return f"Selfies({len(self.tokens)} symbols and padding)"

    @property
    def language(self) -> str:
        return "molecules"

    def described(self) -> Description:
        return {"selfies": self.tokens}

    def encode(self, strings: Sequence[str], *, errors: str = "raise") -> Derivations:
        written, kept, failures = [], [], []
        for i, string in enumerate(checked(strings, errors)):
            try:
                written.append(self._selfies.encoder(string))
                kept.append(i)
            except self._selfies.EncoderError as e:
                why = str(e).strip().splitlines()[-1]
                if errors == "raise":
                    raise ValueError(f"string {i} ({string!r}) has no SELFIES: {why}; or pass errors='skip'") from e
                failures.append(Failure(i, string, 0, string, ("a molecule that SELFIES can write",)))
        made = self._tokens.encode(written, errors=errors)
        numbers = np.array(kept, int)
        failures += [replace(f, index=int(numbers[f.index])) for f in made.failures]
        return Derivations(made.flat, made.offsets, numbers[made.kept], tuple(failures))

    def decode(self, sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray]) -> list[str]:
        """SMILES, as selfies writes them."""
        return [self._selfies.decoder(s) for s in self._tokens.decode(sequences)]
