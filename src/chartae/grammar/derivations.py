"""Encoded strings: integer sequences of different lengths in one flat array, and the codecs that produce them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chartae.records.files import quoted, whole_file

__all__ = ["Codec", "Derivations", "Description", "Failure", "gather"]

#: all that is needed to build a codec again: strings, and lists of strings
Description = dict[str, str | tuple[str, ...] | None]


@dataclass(frozen=True)
class Failure:
    """A string that cannot be encoded, and the reason.

    Attributes:
        index: number of the string among the strings to encode, from 0.
        string: the string.
        place: number of the character at which encoding fails, from 0.
        unexpected: the text there; empty at the end of the string.
        expected: what could follow there: terminals of a grammar, or tokens.
    """

    index: int
    string: str
    place: int
    unexpected: str
    expected: tuple[str, ...]

    def __str__(self) -> str:
        shown = (
            self.string if len(self.string) <= 60 else f"...{self.string[max(self.place - 30, 0) : self.place + 27]}..."
        )
        expected = ", ".join(quoted(e, 40) for e in self.expected[:40]) + ", ..." * (len(self.expected) > 40)
        unexpected = quoted(self.unexpected) if self.unexpected else "the end"
        return (
            f"string {self.index} ({shown!r}): found {unexpected} at character {self.place},"
            f" expected {expected or 'nothing'}"
        )


@dataclass(frozen=True)
class Derivations:
    """N sequences of indices: production numbers of leftmost derivations, or token numbers of a `Codec`.

    The sequences lie one after the other in a flat array of uint8, or of uint16 for codecs of more than 256 indices;
    they are never one-hot. Indexing by an integer returns one sequence as an array; indexing by a slice, a list or an
    array returns a `Derivations`.

    Attributes:
        flat: all indices, one sequence after the other.
        offsets: (N + 1,) int64; sequence i is ``flat[offsets[i]:offsets[i + 1]]``.
        kept: (N,) int, the numbers of these strings among the strings to encode; all of them unless errors were
            skipped.
        failures: the strings that were skipped, each with the reason (`index`, `place`, `unexpected`, `expected`);
            empty by default.
        ambiguous: (N,) bool, whether each string has other derivations too; None (default) where this is unknown.

    >>> from chartae.grammar import Derivations
    >>> ids = Derivations.of([[3, 1], [2]])
    >>> ids[0].tolist(), ids.lengths.tolist(), ids.padded(9).tolist()
    ([3, 1], [2, 1], [[3, 1], [2, 9]])
    """

    flat: np.ndarray
    offsets: np.ndarray
    kept: np.ndarray
    failures: tuple[Failure, ...] = field(default=(), repr=False)
    ambiguous: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | np.ndarray]) -> Derivations:
        """Join sequences of integers in an array of uint8, or of uint16 if an integer exceeds 255.

        Args:
            sequences: rows of integers from 0 to 65,535.

        Returns:
            The sequences, in the same order.

        Raises:
            ValueError: a row is not one-dimensional, or holds other numbers.

        >>> from chartae.grammar import Derivations
        >>> Derivations.of([[3, 1], [2]])
        Derivations(2 sequences, 3 indices, uint8)
        """
        rows = [np.asarray(s) for s in sequences]
        for i, row in enumerate(rows):
            if row.ndim != 1 or (row.size and (row.dtype.kind not in "iu" or row.min() < 0 or row.max() > 65_535)):
                raise ValueError(f"sequence {i} is {row!r}; expected a one-dimensional row of integers, 0 to 65,535")
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
        """(N,) int, the number of indices in each sequence."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays need."""
        ambiguous = 0 if self.ambiguous is None else self.ambiguous.nbytes
        return self.flat.nbytes + self.offsets.nbytes + self.kept.nbytes + ambiguous

    def padded(self, fill: int, length: int | None = None) -> np.ndarray:
        """Pad all sequences to one length.

        Args:
            fill: the index that fills the end of each row, usually the codec's `padding`.
            length: length of the rows; by default that of the longest sequence.

        Returns:
            An array (N, length) of the same dtype.

        Raises:
            ValueError: `length` is smaller than the longest sequence, or `fill` does not fit the dtype.
        """
        longest = int(self.lengths.max(initial=0))
        length = longest if length is None else length
        if longest > length:
            where = int(self.lengths.argmax())
            raise ValueError(f"length is {length}; expected at least {longest}, the length of sequence {where}")
        largest = np.iinfo(self.flat.dtype).max
        if not 0 <= fill <= largest:
            raise ValueError(f"fill is {fill}; expected 0 to {largest}, which fits {self.flat.dtype}")
        rows = np.full((len(self), length), fill, dtype=self.flat.dtype)
        rows[np.arange(length) < self.lengths[:, None]] = self.flat
        return rows

    def save(self, path: str | Path) -> None:
        """Write indices, offsets and string numbers to an ``.npz`` file, without pickles.

        Args:
            path: path of the file.
        """
        with whole_file(path) as part:
            np.savez_compressed(part, flat=self.flat, offsets=self.offsets, kept=self.kept)

    @classmethod
    def load(cls, path: str | Path) -> Derivations:
        """Read a file that `save` wrote.

        Args:
            path: path of the ``.npz`` file.

        Returns:
            The sequences, without failures and marks of ambiguity, which are not saved.

        Raises:
            ValueError: the file lacks an array, or its arrays do not match.
        """
        with np.load(path, allow_pickle=False) as f:
            if missing := {"flat", "offsets", "kept"} - set(f.files):
                raise ValueError(
                    f"{path} lacks {', '.join(sorted(missing))}; expected a file that Derivations.save wrote"
                )
            flat, offsets, kept = f["flat"], f["offsets"], f["kept"]
        if flat.ndim != 1 or offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(flat):
            raise ValueError(
                f"{path} holds indices of shape {flat.shape} and offsets of shape {offsets.shape} that do not match;"
                " expected a file that Derivations.save wrote"
            )
        if (np.diff(offsets) < 0).any() or len(kept) != len(offsets) - 1:
            raise ValueError(
                f"{path} holds {len(offsets):,} offsets for {len(kept):,} sequences, or offsets that decrease;"
                " expected a file that Derivations.save wrote"
            )
        return cls(flat, offsets, kept)


def gather(sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray]) -> Derivations:
    """Convert a padded (N, T) array or a list of rows to `Derivations`; return `Derivations` as they are."""
    if isinstance(sequences, Derivations):
        return sequences
    return Derivations.of(sequences)


class Codec(ABC):
    """Abstract base class of maps from strings to sequences of indices and back.

    Its subclasses are `Grammar` and the baselines `Characters`, `Tokens` and `Selfies`.

    Attributes:
        size: number of different indices, with the padding.
        padding: the index that pads rows to a common length.
        masks: (K, size) bool, the indices that are allowed in each of the K states of a stack; None if any index may
            follow any other.
    """

    size: int
    padding: int
    masks: np.ndarray | None

    @property
    def language(self) -> str:
        """Language of the strings: the name of a grammar, ``"molecules"``, or ``""`` if any string belongs to it."""
        return ""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Codec) and self.described() == other.described()

    def __hash__(self) -> int:
        return hash((type(self), self.size, self.padding))

    @property
    def states(self) -> int:
        """The number K of states of the stack; 1 without masks."""
        return 1 if self.masks is None else len(self.masks)

    @abstractmethod
    def described(self) -> Description:
        """All that `chartae.grammar.restored` needs to build an equal codec, as strings and lists of strings."""

    @abstractmethod
    def encode(self, strings: Sequence[str], *, errors: str = "raise") -> Derivations:
        """Encode strings as indices.

        Args:
            strings: a list of N strings.
            errors: what to do with strings that cannot be encoded: ``"raise"`` (default) raises ValueError for the
                first one; ``"skip"`` leaves them out and lists them in `Derivations.failures`.

        Returns:
            The indices of each string.

        Raises:
            ValueError: a string cannot be encoded, or `errors` is unknown.
            TypeError: `strings` is a single string, or holds something other than strings.
        """

    @abstractmethod
    def decode(self, sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray]) -> list[str]:
        """Decode indices to strings.

        Args:
            sequences: `Derivations`, a padded (N, T) array of indices, or N rows of them. Padding is skipped.

        Returns:
            N strings.

        Raises:
            ValueError: an index is out of range, or the sequence stands for no string.
        """


def checked(strings: Sequence[str], errors: str) -> list[str]:
    """Return `strings` as a list; raise TypeError if it is not a list of strings, ValueError if `errors` is unknown."""
    if errors not in ("raise", "skip"):
        raise ValueError(f"errors is {errors!r}; expected 'raise' or 'skip'")
    if isinstance(strings, str):
        raise TypeError(f"strings is the single string {strings[:40]!r}; expected a list of strings")
    listed = list(strings)
    for i, s in enumerate(listed):
        if not isinstance(s, str):
            raise TypeError(f"string {i} is {s!r}; expected a str")
    return listed
