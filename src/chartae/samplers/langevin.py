"""Chains that follow the score without rejections; they sample the target up to an error of the step size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chartae.maths import ScoreFunction
from chartae.samplers.base import Info, Kernel, State, positive, randn

__all__ = ["ULA", "AnnealedLangevin", "geometric"]


def all_moved(x: Tensor) -> Info:
    """Return the statistics of a step that all chains accept, to positions x `(B, *S)`."""
    one = x.new_ones(len(x))
    return Info(one, one.mean(), ~x.isfinite().flatten(1).all(1))


class ULA(Kernel):
    """The unadjusted Langevin algorithm: x <- x + h s(x) + sqrt(2h) e with normal noise e.

    For the target N(0, v) its variance is v / (1 - h / (2v)), too large by about h / 2.

    Args:
        score: function from points `(B, *S)` to the score `(B, *S)`.
        step: step size h, in squared units of the data; finite, > 0.

    Raises:
        ValueError: `step` is out of range.

    >>> import torch
    >>> from chartae.samplers import ULA, run
    >>> chain = run(ULA(lambda x: -x, step=0.1), torch.zeros(5000, 1), steps=50, thin=50)
    >>> bool((chain.final.var() - 1 / 0.95).abs() < 0.1)
    True
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
        info = all_moved(y)
        return State(y, h, state.taken + 1, s), info._replace(fault=info.fault | ~s.isfinite().flatten(1).all(1))


def geometric(high: float, low: float, n: int) -> list[float]:
    """Return `n` noise levels from `high` to `low` in a geometric sequence.

    Args:
        high: highest level, >= `low`.
        low: lowest level, > 0.
        n: number of levels, >= 1.

    Returns:
        The levels in falling order.

    Raises:
        ValueError: a parameter is out of range.

    >>> from chartae.samplers import geometric
    >>> geometric(1.0, 0.01, 3)
    [1.0, 0.1, 0.01]
    """
    if not (0 < low <= high and n >= 1):
        raise ValueError(f"high is {high}, low is {low} and n is {n}; expected 0 < low <= high and n >= 1.")
    return [float(f"{high * (low / high) ** (i / max(1, n - 1)):.12g}") for i in range(n)]


class AnnealedLangevin(Kernel):
    """Annealed Langevin dynamics: Langevin steps at falling noise levels, then one denoising step.

    A step at level sigma is x <- x + step sigma^2 s(x, sigma) + b e, `repeats` times for each level. Start from noise
    at the highest level. The last denoising step is Tweedie's formula, x + sigma_L^2 s(x, sigma_L).

    Song and Ermon, "Generative Modeling by Estimating Gradients of the Data Distribution", 2019 (arXiv 1907.05600), use
    b^2 = 2 step sigma^2 (their constant 2e-5 at a lowest level of 0.01 is step = 0.2). This leaves more noise in x than
    the next level expects, which is visible in many dimensions. With ``consistent=True``,
    b^2 = next^2 - (1 - step)^2 sigma^2, so the noise of a clean point matches the level at every step
    (Jolicoeur-Martineau et al., "Adversarial Score Matching and Improved Sampling for Image Generation", 2020, arXiv
    2009.05475). In directions in which the data spread much wider than sigma, the variance is then too small by a
    relative error of step / 2.

    Args:
        at: function from a noise level to the score at that level, such as `chartae.diagnostics.Score.at`.
        levels: noise levels, > 0, in falling order, such as `geometric(high, low, n)`.
        repeats: number of steps for each level, >= 1; default 10.
        step: step size in units of sigma^2, above 0 and at most 1; default 0.2. If `consistent`, at least the largest
            relative fall between levels, 1 - next / sigma.
        consistent: whether the noise matches the levels; default True; False: the noise of Song and Ermon.

    Raises:
        ValueError: `levels`, `repeats` or `step` is out of range.

    >>> import torch
    >>> from chartae.samplers import AnnealedLangevin, geometric, run
    >>> at = lambda sigma: lambda x: -x / (1 + sigma**2)  # the smoothed standard normal
    >>> kernel = AnnealedLangevin(at, geometric(10.0, 0.1, 30))
    >>> noise = 10 * torch.randn(5000, 1, generator=torch.Generator().manual_seed(1))
    >>> chain = run(kernel, noise, thin=kernel.length)
    >>> kernel.length, bool((chain.final.var() - 1).abs() < 0.15)
    (300, True)
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
        check_falling(levels)
        if repeats < 1 or not 0 < step <= 1:
            raise ValueError(f"repeats is {repeats} and step is {step}; expected repeats >= 1 and 0 < step <= 1.")
        fall = max((1 - b / a for a, b in itertools.pairwise(levels)), default=0.0)
        if consistent and step < fall:
            raise ValueError(
                f"step is {step}; expected at least {fall:.3g}, the largest relative fall between noise levels. "
                "Use more levels, or a larger step."
            )
        self.levels, self.repeats, self.size, self.consistent = list(levels), repeats, float(step), consistent
        self.scores = [at(sigma) for sigma in levels]
        self.length = len(self.levels) * repeats

    def init(self, x: Tensor) -> State:
        return State(x, x.new_tensor(self.size), 0, self.scores[0](x))

    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        last = len(self.levels) - 1
        level, next_level = (min(n // self.repeats, last) for n in (state.taken, state.taken + 1))
        sigma = self.levels[level]
        b2 = 2 * self.size * sigma**2
        if self.consistent:
            b2 = max(0.0, self.levels[next_level] ** 2 - ((1 - self.size) * sigma) ** 2)
        x = state.x + self.size * sigma**2 * self.scores[level](state.x) + math.sqrt(b2) * randn(state.x, generator)
        return State(x, state.step, state.taken + 1), all_moved(x)

    def finish(self, state: State) -> Tensor:
        return state.x + self.levels[-1] ** 2 * self.scores[-1](state.x)


def check_falling(levels: Sequence[float]) -> None:
    """Raise ValueError unless all levels are finite, above 0 and in falling order."""
    rising = any(a <= b for a, b in itertools.pairwise(levels))
    if not levels or rising or not all(0 < sigma < math.inf for sigma in levels):
        raise ValueError(f"levels is {list(levels)}; expected noise levels above 0 in falling order.")
