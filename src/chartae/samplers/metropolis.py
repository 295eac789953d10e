"""Chains that may refuse a move, by a ratio of densities that is itself estimated from the score."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from chartae import maths
from chartae.maths import ScoreFunction
from chartae.samplers.base import Info, Kernel, State, positive, randn, wide

__all__ = ["MALA", "RandomWalk"]

#: (x, y) -> log p(y) - log p(x)
Ratio = Callable[[Tensor, Tensor], Tensor]


class _Metropolis(Kernel):
    """Propose, then accept with probability min(1, p(y) q(x|y) / (p(x) q(y|x))), each chain for itself."""

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
            raise TypeError(f"the score is a {type(score).__name__}; give a function (B, *S) -> (B, *S)")
        if target is not None and not 0 < target < 1:
            raise ValueError(f"target is {target}; an acceptance lies between 0 and 1, None leaves the step as it is")
        own: Ratio | None = getattr(score, "log_ratio", None)
        if log_ratio is not None:
            self.log_ratio = log_ratio
        elif own is not None and rule is None:
            self.log_ratio = own
        else:
            by = rule or "gauss-legendre"
            maths.log_ratio(torch.zeros_like, torch.zeros(1, 1), torch.zeros(1, 1), rule=by, nodes=nodes)
            self.log_ratio = lambda x, y: maths.log_ratio(score, x, y, rule=by, nodes=nodes)
        self.score, self.size, self.target = score, positive(step), target
        self.temperature = positive(temperature, "temperature")

    def accept(self, state: State, y: Tensor, log_alpha: Tensor, generator: torch.Generator) -> tuple[Tensor, Info]:
        """Which chains move (B,), and what to say of the step."""
        # NaN: neither accepted nor refused, but a fault
        alpha = log_alpha.clamp_max(0).exp()
        u = torch.rand(alpha.shape, dtype=alpha.dtype, device=alpha.device, generator=generator)
        return u < alpha, Info(alpha, alpha.mean(), log_alpha.isnan() | (log_alpha == math.inf))

    def starts_well(self, state: State) -> Tensor:
        return super().starts_well(state) & self.log_ratio(state.x, state.x).isfinite()


class RandomWalk(_Metropolis):
    """Random-walk Metropolis: y = x + step e, accepted with probability min(1, p(y) / p(x)).

    With ``rule="first-order"`` it is the simplest sampler of Alain and Bengio (1211.4246), whose ratio
    exp(s(x)·(y - x)) accepts too much and so spreads too wide; the path integral mends that.

    Args:
        score: x -> the score; its own `log_ratio` is used where it has one.
        step: standard deviation of a proposal, in the units of the data.
        log_ratio: (x, y) -> log p(y) - log p(x), where it is known.
        rule, nodes: of the path integral in its place, as in `chartae.maths.log_ratio`.
        temperature: T samples p^(1/T).
        target: acceptance that warm-up tunes to.
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
        return State(torch.where(wide(moved, y), y, state.x), state.step, state.made + 1), info


class MALA(_Metropolis):
    """Metropolis-adjusted Langevin: y = x + h s(x) + sqrt(2h) e, accepted with probability
    min(1, p(y) N(x; y + h s(y), 2h) / (p(x) N(y; x + h s(x), 2h))).

    Roberts and Tweedie, 1996. The arguments are those of `RandomWalk`, `step` being h, in the square of the data's
    units.
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
        # from outside the support there is no way back to be weighed
        log_alpha = torch.where(ratio == -math.inf, ratio, ratio - back + 0.5 * e.flatten(1).square().sum(1))
        moved, info = self.accept(state, y, log_alpha, generator)
        there = wide(moved, y)
        return State(torch.where(there, y, x), h, state.made + 1, torch.where(there, t, s)), info
