"""The problem that a search solves: codes with scores, a decoder, and a score function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Generator, Tensor

from chartae.densities.base import check_codes
from chartae.optimise.goals import is_minimised
from chartae.optimise.identity import Known
from chartae.optimise.surrogates import check_scores
from chartae.optimise.workers import Score

__all__ = ["CodeDensity", "Decode", "Problem", "Retrain", "Retrained"]

#: function of codes (n, D), a number of draws and a seed that returns the strings of each code
Decode = Callable[[Tensor, int, int], Sequence[Sequence[str | None]]]


class CodeDensity(Protocol):
    """A density of codes: `log_prob` maps codes (n, D) to log-densities (n,), and `sample` draws codes (n, D)."""

    def log_prob(self, a: Tensor, /) -> Tensor: ...

    def sample(self, n: int, /, *, generator: Generator | None) -> Tensor: ...


class Retrained(NamedTuple):
    """The result of retraining: a decoder, and the codes and scores of all strings.

    Attributes:
        decode: function of codes (n, D), a number of draws and a seed that returns the strings of each code.
        codes: codes (N, D) of all strings, by the new encoder.
        scores: scores (N,) of the strings.
        density: density fitted to the new codes; required if a density bounds the search. Default None.

    >>> import torch
    >>> from chartae.optimise import Retrained
    >>> decode = lambda z, draws, seed: [[f"{a:.1f}"] for a in z[:, 0].tolist()]
    >>> Retrained(decode, torch.rand(3, 2), [1.0, 2.0, 3.0]).checked().codes.dtype
    torch.float64
    """

    decode: Decode
    codes: Tensor
    scores: Tensor
    density: CodeDensity | None = None

    def checked(self) -> Retrained:
        """The same, with codes and scores in double precision on the CPU.

        Raises:
            ValueError: codes or scores are not finite, have a wrong shape or different lengths.
        """
        codes = check_codes(self.codes, what="search").to("cpu").double()
        return self._replace(codes=codes, scores=check_scores(self.scores, len(codes)))


#: function of round, strings, scores (N,) and weights (N,) that returns a retrained decoder and its codes
Retrain = Callable[
    [int, list[str], Tensor, Tensor],
    Retrained | tuple[Decode, Tensor, Tensor] | tuple[Decode, Tensor, Tensor, CodeDensity | None],
]


@dataclass(frozen=True)
class Problem:
    """What a search optimises; the settings of the search are in `Search`.

    Attributes:
        start: decoder, training codes (N, D) and scores (N,), and the density that bounds the search.
        score: function from a string to a number; greater is better.
        strings: training strings, which are known, and for `retrain`; default: unknown.
        known: further strings that are known, and when two strings are the same; default: none.
        retrain: function called between rounds; default: no retraining.
        about: plain facts that must be the same in a resumed search, such as the name of the objective.
    """

    start: Retrained
    score: Score
    strings: Sequence[str] | None = None
    known: Known = field(default_factory=Known)
    retrain: Retrain | None = None
    about: Mapping[str, str | float | None] = field(default_factory=dict)

    @property
    def minimised(self) -> bool:
        """Whether the scores belong to an objective to be minimised, with their sign flipped."""
        return is_minimised(self.score)

    def __post_init__(self) -> None:
        if self.strings is not None and len(self.strings) != len(self.start.codes):
            raise ValueError(
                f"strings has {len(self.strings)} strings for {len(self.start.codes)} codes; expected one for each "
                "code. Pass the strings that were encoded."
            )
        if self.retrain is not None and self.strings is None:
            raise ValueError("strings is None; expected the training strings, because retrain is set. Pass strings=.")
