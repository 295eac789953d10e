"""What strings become: sequences of small integers of different lengths, one after the other in one flat array."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Codec", "Derivations", "Description", "Failure", "gather"]

#: all that makes a codec again: texts, and lists of texts
Description = dict[str, str | tuple[str, ...] | None]


@dataclass(frozen=True)
class Failure:
    """A string that cannot be encoded, and why."""

    index: int
    string: str
    place: int  # characters before the one at which no derivation goes on
    found: str
    expected: tuple[str, ...]

    def __str__(self) -> str:
        shown = (
            self.string if len(self.string) <= 60 else f"...{self.string[max(self.place - 30, 0) : self.place + 27]}..."
        )
        listed = ", ".join(repr(e) for e in self.expected[:40]) + ", ..." * (len(self.expected) > 40)
        found = repr(self.found) if self.found else "the end"
        return (
            f"string {self.index} ({shown!r}): found {found} at character {self.place}, expected {listed or 'nothing'}"
        )


@dataclass(frozen=True)
class Derivations:
    """N sequences of indices: production numbers of leftmost derivations, or token numbers of a `Codec`.

    One flat array of uint8 (uint16 where there are more than 256 indices) and N + 1 offsets; never one-hot. Indexing
    with an integer gives one sequence; with a slice, a list or an array, a `Derivations`.

    Attributes:
        flat: all indices, one sequence after the other.
        offsets: (N + 1,) int64; sequence i is ``flat[offsets[i]:offsets[i + 1]]``.
        kept: (N,) which of the encoded strings these are; all of them unless errors were skipped.
        failures: the strings that were skipped.
        ambiguous: (N,) whether the string has other derivations too.
    """

    flat: np.ndarray
    offsets: np.ndarray
    kept: np.ndarray
    failures: tuple[Failure, ...] = field(default=(), repr=False)
    ambiguous: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | np.ndarray]) -> Derivations:
        """From sequences of integers, in the smallest of uint8 and uint16.

        >>> Derivations.of([[3, 1], [2]])
        Derivations(2 sequences, 3 indices, uint8)
        """
        rows = [np.asarray(s) for s in sequences]
        for i, row in enumerate(rows):
            if row.ndim != 1 or (row.size and (row.dtype.kind not in "iu" or row.min() < 0 or row.max() > 65_535)):
                raise ValueError(f"sequence {i} is {row!r}; expected a row of integers from 0 to 65,535")
        flat = np.concatenate([np.zeros(0, np.int64), *rows])
        small = np.uint8 if not flat.size or flat.max() < 256 else np.uint16
        return cls(flat.astype(small), np.cumsum([0, *map(len, rows)]), np.arange(len(rows)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.flat[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True))

    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray) -> np.ndarray | Derivations:
        if isinstance(which, (int, np.integer)):
            i = range(len(self))[which]
            return self.flat[self.offsets[i] : self.offsets[i + 1]]
        chosen = np.arange(len(self))[which]
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        ambiguous = None if self.ambiguous is None else self.ambiguous[chosen]
        return Derivations(self.flat[places], offsets, self.kept[chosen], (), ambiguous)

    def __repr__(self) -> str:
        skipped = f", {len(self.failures):,} skipped" if self.failures else ""
        return f"Derivations({len(self):,} sequences, {len(self.flat):,} indices, {self.flat.dtype}{skipped})"

    @property
    def lengths(self) -> np.ndarray:
        """(N,) indices in each sequence."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes that stay in memory: indices, offsets, marks."""
        marks = 0 if self.ambiguous is None else self.ambiguous.nbytes
        return self.flat.nbytes + self.offsets.nbytes + self.kept.nbytes + marks

    def padded(self, fill: int, length: int | None = None) -> np.ndarray:
        """(N, length) of the same dtype, filled up with `fill`; `length` is the longest by default."""
        longest = int(self.lengths.max(initial=0))
        length = longest if length is None else length
        if longest > length:
            where = int(self.lengths.argmax())
            raise ValueError(
                f"sequence {where} has {longest} indices, more than length={length}; give at least {longest}"
            )
        if not 0 <= fill <= np.iinfo(self.flat.dtype).max:
            raise ValueError(f"fill is {fill}; expected an index that fits {self.flat.dtype}")
        rows = np.full((len(self), length), fill, dtype=self.flat.dtype)
        rows[np.arange(length) < self.lengths[:, None]] = self.flat
        return rows

    def save(self, path: str | Path) -> None:
        """Write flat indices and offsets as ``.npz``, without pickles."""
        np.savez_compressed(path, flat=self.flat, offsets=self.offsets, kept=self.kept)

    @classmethod
    def load(cls, path: str | Path) -> Derivations:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as f:
            if missing := {"flat", "offsets", "kept"} - set(f.files):
                raise ValueError(
                    f"{path} lacks {', '.join(sorted(missing))}; expected a file that Derivations.save wrote"
                )
            flat, offsets, kept = f["flat"], f["offsets"], f["kept"]
        if flat.ndim != 1 or offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(flat):
            raise ValueError(f"{path} holds indices {flat.shape} with offsets {offsets.shape} that do not fit them")
        if (np.diff(offsets) < 0).any() or len(kept) != len(offsets) - 1:
            raise ValueError(f"{path} holds offsets that do not rise, or of another number than its sequences")
        return cls(flat, offsets, kept)


def gather(sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray]) -> Derivations:
    """`sequences` as `Derivations`: as they are, from a padded (N, T) array, or from a list of rows."""
    if isinstance(sequences, Derivations):
        return sequences
    return Derivations.of(sequences)


class Codec(ABC):
    """Strings to sequences of indices and back: a `Grammar`, or the baselines `Characters`, `Tokens` and `Selfies`."""

    #: number of different indices, the padding included
    size: int
    #: the index that fills rows up
    padding: int
    #: (K, size), which indices may follow in each of K states of a stack; None where anything may follow anything
    masks: np.ndarray | None

    @property
    def language(self) -> str:
        """Whose strings they are, by a grammar's name, or ``"molecules"``; "" where any string is one."""
        return ""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Codec) and self.described() == other.described()

    def __hash__(self) -> int:
        return hash((type(self), self.size, self.padding))

    @property
    def states(self) -> int:
        """K, how many states the stack has; 1 where there is none."""
        return 1 if self.masks is None else len(self.masks)

    @abstractmethod
    def described(self) -> Description:
        """All that makes this codec again, by `chartae.grammar.restored`; plain strings and lists."""

    @abstractmethod
    def encode(self, strings: Sequence[str], *, errors: str = "raise") -> Derivations:
        """Indices of strings; those that cannot be encoded are an error, or with ``errors="skip"`` left out."""

    @abstractmethod
    def decode(self, sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray]) -> list[str]:
        """Strings of indices, from `Derivations`, a padded (N, T) array, or rows."""


def checked(strings: Sequence[str], errors: str) -> list[str]:
    """`strings` as a list, with `errors` known."""
    if errors not in ("raise", "skip"):
        raise ValueError(f"errors is {errors!r}; expected 'raise' or 'skip'")
    if isinstance(strings, str):
        raise TypeError(f"strings is the one string {strings[:40]!r}; expected a list of strings")
    listed = list(strings)
    for i, s in enumerate(listed):
        if not isinstance(s, str):
            raise TypeError(f"string {i} is {s!r}; expected a str")
    return listed
