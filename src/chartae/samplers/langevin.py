"""Chains that follow the score and refuse nothing: their law is the target's up to the step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chartae.maths import ScoreFunction
from chartae.samplers.base import Info, Kernel, State, positive, randn

__all__ = ["ULA", "AnnealedLangevin", "geometric"]


def moved(x: Tensor) -> Info:
    """The info of a step that every chain made."""
    one = x.new_ones(len(x))
    return Info(one, one.mean(), ~x.isfinite().flatten(1).all(1))


class ULA(Kernel):
    """Unadjusted Langevin: x <- x + h s(x) + sqrt(2h) e.

    On N(0, v) its variance is v / (1 - h / (2v)): too wide by about h / 2.

    Args:
        score: x -> the score.
        step: h, in the square of the data's units.
    """

    def __init__(self, score: ScoreFunction, step: float) -> None:
        self.score, self.size = score, positive(step)

    def init(self, x: Tensor) -> State:
        return State(x, x.new_tensor(self.size), 0, self.score(x))

    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        x, h = state.x, state.step
        assert state.score is not None
        y = x + h * state.score + (2 * h).sqrt() * randn(x, generator)
        s = self.score(y)
        info = moved(y)
        return State(y, h, state.made + 1, s), info._replace(fault=info.fault | ~s.isfinite().flatten(1).all(1))


def geometric(high: float, low: float, n: int) -> list[float]:
    """`n` noise levels from high to low, each the same factor below the last.

    >>> geometric(1.0, 0.01, 3)
    [1.0, 0.1, 0.01]
    """
    if not (0 < low <= high and n >= 1):
        raise ValueError(f"high is {high}, low {low}, n {n}; give 0 < low <= high and n >= 1")
    return [float(f"{high * (low / high) ** (i / max(1, n - 1)):.12g}") for i in range(n)]


class AnnealedLangevin(Kernel):
    """Langevin steps at falling noise levels, then Tweedie's formula: x + sigma_L^2 s(x, sigma_L).

    A step at level sigma moves x <- x + step sigma^2 s(x, sigma) + b e, `repeats` times a level; start from noise of
    the highest. Song and Ermon, "Generative Modeling by Estimating Gradients of the Data Distribution", 2019
    (arXiv 1907.05600), take b^2 = 2 step sigma^2 (their constant 2e-5 at a lowest level of 0.01 is a step of 0.2).
    That leaves more noise in x than the next score expects, and in many dimensions it shows. ``consistent`` takes
    b^2 = next^2 - (1 - step)^2 sigma^2, so that a clean point's noise is at every step what the level says.
    Jolicoeur-Martineau et al., "Adversarial Score Matching and Improved Sampling", 2020 (arXiv 2009.05475). Along
    directions in which the data spread much wider than sigma its variance is then too small by a share of step / 2.

    Args:
        at: sigma -> the score at that level: `Score.at`, or ``lambda sigma: world.smoothed(sigma).score``.
        levels: noise levels, falling; `geometric(high, low, n)`.
        repeats: steps a level.
        step: in units of sigma^2, at most 1; where ``consistent``, no less than the fall to the next level,
            1 - next / sigma.
    """

    def __init__(
        self,
        at: Callable[[float], ScoreFunction],
        levels: Sequence[float],
        *,
        repeats: int = 10,
        step: float = 0.2,
        consistent: bool = True,
    ) -> None:
        falling(levels)
        if repeats < 1 or not 0 < step <= 1:
            raise ValueError(f"repeats is {repeats}, step {step}; give repeats >= 1 and 0 < step <= 1")
        fall = max((1 - b / a for a, b in itertools.pairwise(levels)), default=0.0)
        if consistent and step < fall:
            raise ValueError(
                f"step is {step}, but from level to level the noise falls by {fall:.3g}; take more levels, or a step "
                f"of at least {fall:.3g}"
            )
        self.levels, self.repeats, self.size, self.consistent = list(levels), repeats, float(step), consistent
        self.scores = [at(sigma) for sigma in levels]
        self.length = len(self.levels) * repeats

    def init(self, x: Tensor) -> State:
        return State(x, x.new_tensor(self.size), 0, self.scores[0](x))

    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        last = len(self.levels) - 1
        level, following = (min(n // self.repeats, last) for n in (state.made, state.made + 1))
        sigma = self.levels[level]
        b2 = 2 * self.size * sigma**2
        if self.consistent:
            b2 = max(0.0, self.levels[following] ** 2 - ((1 - self.size) * sigma) ** 2)
        x = state.x + self.size * sigma**2 * self.scores[level](state.x) + math.sqrt(b2) * randn(state.x, generator)
        return State(x, state.step, state.made + 1), moved(x)

    def finish(self, state: State) -> Tensor:
        return state.x + self.levels[-1] ** 2 * self.scores[-1](state.x)


def falling(levels: Sequence[float]) -> None:
    """Raise ValueError unless these are noise levels, falling."""
    rising = any(a <= b for a, b in itertools.pairwise(levels))
    if not levels or rising or not all(0 < sigma < math.inf for sigma in levels):
        raise ValueError(f"levels are {list(levels)}; give noise levels above 0, each below the last")
