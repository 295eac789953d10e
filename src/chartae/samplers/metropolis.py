"""Metropolis-Hastings chains, whose density ratios are estimated from the score."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from chartae import maths
from chartae.maths import ScoreFunction
from chartae.samplers.base import Info, Kernel, State, per_chain, positive, randn

__all__ = ["MALA", "RandomWalk"]

#: function from points x, y (B, *S) to log p(y) - log p(x) (B,)
Ratio = Callable[[Tensor, Tensor], Tensor]


class _Metropolis(Kernel):
    """Propose a move of each chain, and accept it with probability min(1, p(y) q(x|y) / (p(x) q(y|x)))."""

    def __init__(
        self,
        score: ScoreFunction,
        step: float,
        *,
        log_ratio: Ratio | None = None,
        rule: str | None = None,
        nodes: int = 5,
        temperature: float = 1.0,
        target: float | None,
    ) -> None:
        if not callable(score):
            raise TypeError(f"score is a {type(score).__name__}; expected a function (B, *S) -> (B, *S).")
        if target is not None and not 0 < target < 1:
            raise ValueError(f"target is {target}; expected a number above 0 and below 1, or None for a fixed step.")
        ratio_of_score: Ratio | None = getattr(score, "log_ratio", None)
        if log_ratio is not None:
            self.log_ratio = log_ratio
        elif ratio_of_score is not None and rule is None:
            self.log_ratio = ratio_of_score
        else:
            name = rule or "gauss-legendre"
            # raises ValueError for an unknown rule or too few nodes
            maths.log_ratio(torch.zeros_like, torch.zeros(1, 1), torch.zeros(1, 1), rule=name, nodes=nodes)
            self.log_ratio = lambda x, y: maths.log_ratio(score, x, y, rule=name, nodes=nodes)
        self.score, self.size, self.target = score, positive(step), target
        self.temperature = positive(temperature, "temperature")

    def accept(self, state: State, y: Tensor, log_alpha: Tensor, generator: torch.Generator) -> tuple[Tensor, Info]:
        """Return which chains move (B,), and the statistics of the step."""
        # NaN is neither accepted nor rejected; it is reported as a fault
        alpha = log_alpha.clamp_max(0).exp()
        u = torch.rand(alpha.shape, dtype=alpha.dtype, device=alpha.device, generator=generator)
        return u < alpha, Info(alpha, alpha.mean(), log_alpha.isnan() | (log_alpha == math.inf))

    def starts_well(self, state: State) -> Tensor:
        return super().starts_well(state) & self.log_ratio(state.x, state.x).isfinite()


class RandomWalk(_Metropolis):
    """Random-walk Metropolis: propose y = x + step e with normal noise e, accept with probability min(1, p(y) / p(x)).

    With ``rule="first-order"`` it is the simplest sampler of Alain and Bengio (arXiv 1211.4246), with the ratio
    exp(s(x)·(y - x)). That ratio accepts too often, so the samples spread too wide; the path integral, the default,
    does not have this error.

    Args:
        score: function from points `(B, *S)` to the score `(B, *S)`. If it has a method `log_ratio(x, y)`, such as
            `chartae.diagnostics.Score`, the density ratio is taken from it.
        step: standard deviation of a proposal, in the units of the data; finite, > 0.
        log_ratio: function (x, y) -> log p(y) - log p(x) (B,), if it is known; default None: the score's own, or a path
            integral of the score.
        rule: quadrature rule of the path integral: ``"gauss-legendre"``, ``"trapezoid"`` or ``"first-order"``; default
            None: the score's `log_ratio` if it has one, else ``"gauss-legendre"``.
        nodes: number of nodes of the path integral, >= 1; default 5.
        temperature: temperature T > 0; the chains sample p^(1/T); default 1.
        target: mean acceptance to which warm-up tunes the step size, above 0 and below 1; None: the step size stays
            fixed; default 0.35.

    Raises:
        TypeError: `score` is not callable.
        ValueError: a parameter is out of range.

    >>> import torch
    >>> from chartae.samplers import RandomWalk, run
    >>> kernel = RandomWalk(lambda x: -x, step=0.1)  # of the standard normal
    >>> chain = run(kernel, torch.zeros(500, 2), steps=20, warmup=200)
    >>> chain.positions.shape, bool((chain.info.acceptance.mean() - 0.35).abs() < 0.05)
    (torch.Size([20, 500, 2]), True)
    """

    def __init__(
        self,
        score: ScoreFunction,
        step: float,
        *,
        log_ratio: Ratio | None = None,
        rule: str | None = None,
        nodes: int = 5,
        temperature: float = 1.0,
        target: float | None = 0.35,
    ) -> None:
        super().__init__(
            score, step, log_ratio=log_ratio, rule=rule, nodes=nodes, temperature=temperature, target=target
        )

    def init(self, x: Tensor) -> State:
        return State(x, x.new_tensor(self.size), 0, self.score(x))

    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        y = state.x + state.step * randn(state.x, generator)
        moved, info = self.accept(state, y, self.log_ratio(state.x, y) / self.temperature, generator)
        return State(torch.where(per_chain(moved, y), y, state.x), state.step, state.taken + 1), info


class MALA(_Metropolis):
    """The Metropolis-adjusted Langevin algorithm: propose y = x + h s(x) + sqrt(2h) e with normal noise e.

    A proposal is accepted with probability min(1, p(y) N(x; y + h s(y), 2h) / (p(x) N(y; x + h s(x), 2h))). Roberts and
    Tweedie, "Exponential Convergence of Langevin Distributions and Their Discrete Approximations", 1996.

    Args:
        score: function from points `(B, *S)` to the score `(B, *S)`. If it has a method `log_ratio(x, y)`, such as
            `chartae.diagnostics.Score`, the density ratio is taken from it.
        step: step size h, in squared units of the data; finite, > 0.
        log_ratio: function (x, y) -> log p(y) - log p(x) (B,), if it is known; default None: the score's own, or a path
            integral of the score.
        rule: quadrature rule of the path integral: ``"gauss-legendre"``, ``"trapezoid"`` or ``"first-order"``; default
            None: the score's `log_ratio` if it has one, else ``"gauss-legendre"``.
        nodes: number of nodes of the path integral, >= 1; default 5.
        temperature: temperature T > 0; the chains sample p^(1/T); default 1.
        target: mean acceptance to which warm-up tunes the step size, above 0 and below 1; None: the step size stays
            fixed; default 0.6.

    Raises:
        TypeError: `score` is not callable.
        ValueError: a parameter is out of range.

    >>> import torch
    >>> from chartae.samplers import MALA, run
    >>> kernel = MALA(lambda x: -x, step=0.1)  # of the standard normal
    >>> chain = run(kernel, torch.zeros(500, 2), steps=20, warmup=200)
    >>> chain.positions.shape, bool((chain.info.acceptance.mean() - 0.6).abs() < 0.05)
    (torch.Size([20, 500, 2]), True)
    """

    def __init__(
        self,
        score: ScoreFunction,
        step: float,
        *,
        log_ratio: Ratio | None = None,
        rule: str | None = None,
        nodes: int = 5,
        temperature: float = 1.0,
        target: float | None = 0.6,
    ) -> None:
        super().__init__(
            score, step, log_ratio=log_ratio, rule=rule, nodes=nodes, temperature=temperature, target=target
        )

    def init(self, x: Tensor) -> State:
        return State(x, x.new_tensor(self.size), 0, self.score(x) / self.temperature)

    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        x, h, s = state.x, state.step, state.score
        assert s is not None
        e = randn(x, generator)
        y = x + h * s + (2 * h).sqrt() * e
        t = self.score(y) / self.temperature
        back = (x - y - h * t).flatten(1).square().sum(1) / (4 * h)
        ratio = self.log_ratio(x, y) / self.temperature
        # a proposal outside the support is rejected, whatever the (undefined) score there says of the way back
        log_alpha = torch.where(ratio == -math.inf, ratio, ratio - back + 0.5 * e.flatten(1).square().sum(1))
        moved, info = self.accept(state, y, log_alpha, generator)
        mask = per_chain(moved, y)
        return State(torch.where(mask, y, x), h, state.taken + 1, torch.where(mask, t, s)), info
