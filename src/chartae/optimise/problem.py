"""What is searched: codes with scores, a decoder, a function of a string."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Generator, Tensor

from chartae.densities.base import check_codes
from chartae.optimise.surrogates import check_scores
from chartae.optimise.workers import Score

__all__ = ["CodeDensity", "Decode", "Problem", "Retrain", "Retrained"]

#: from codes (n, D), a number of draws and a seed to the strings of each code
Decode = Callable[[Tensor, int, int], Sequence[Sequence[str | None]]]


class CodeDensity(Protocol):
    """A density of codes: the log-density (n,) of codes (n, D), and new codes."""

    def log_prob(self, a: Tensor, /) -> Tensor: ...

    def sample(self, n: int, /, *, generator: Generator | None) -> Tensor: ...


class Retrained(NamedTuple):
    """What a retraining gives back: a decoder, the codes (N, D) of all strings, their scores (N,), and where a density
    bounds the search, one fitted to the new codes."""

    decode: Decode
    codes: Tensor
    scores: Tensor
    density: CodeDensity | None = None

    def checked(self) -> Retrained:
        """The same in double precision on the CPU, or a ValueError that says what is wrong with codes or scores."""
        codes = check_codes(self.codes, what="search").to("cpu").double()
        return self._replace(codes=codes, scores=check_scores(self.scores, len(codes)))


#: from round, strings, scores (N,) and weights (N,) to a retrained decoder and its codes
Retrain = Callable[
    [int, list[str], Tensor, Tensor],
    Retrained | tuple[Decode, Tensor, Tensor] | tuple[Decode, Tensor, Tensor, CodeDensity | None],
]


@dataclass(frozen=True)
class Problem:
    """What is searched, apart from the settings of the search.

    Attributes:
        start: the decoder, the training codes (N, D) and scores (N,), and the density that bounds the search.
        score: from a string to a number; greater is better.
        strings: the training strings, for novelty and `retrain`; their scores are then known.
        minimised: whether the scores are those of an objective that is minimised, with their sign turned.
        retrain: called between rounds.
        about: plain facts that a resumed search must share (the objective's name, say).
    """

    start: Retrained
    score: Score
    strings: Sequence[str] | None = None
    minimised: bool = False
    retrain: Retrain | None = None
    about: Mapping[str, str | float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.strings is not None and len(self.strings) != len(self.start.codes):
            raise ValueError(
                f"there are {len(self.strings)} strings and {len(self.start.codes)} codes; expected as many"
            )
        if self.retrain is not None and self.strings is None:
            raise ValueError("retraining needs the training strings; pass strings=")
