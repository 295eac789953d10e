"""Chains that corrupt and denoise, and chains at several noise levels that change places."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chartae import maths
from chartae.maths import ScoreFunction, jacobian_of
from chartae.samplers.base import Info, Kernel, State, positive, randn, wide
from chartae.samplers.langevin import falling, moved
from chartae.samplers.metropolis import MALA

__all__ = ["GSN", "CorruptDenoise", "ParallelTempering"]


class CorruptDenoise(Kernel):
    """Corrupt, denoise, repeat, with a denoiser r at noise level sigma; which law this has depends on the form.

    On N(0, v) with the best r(x) = a x, a = v / (v + sigma^2):

    ==============  =======================================  ===================================
    form            a step                                   variance
    ==============  =======================================  ===================================
    ``langevin``    r(x + sqrt(2) sigma e)                   2 a^2 sigma^2 / (1 - a^2) ~ v - sigma^2 / 2
    ``after``       r(x) + sqrt(2) sigma e                   2 sigma^2 / (1 - a^2) ~ v + 3 sigma^2 / 2
    ``half``        y = x + sigma e; (y + r(y)) / 2          b^2 sigma^2 / (1 - b^2), b = (1 + a) / 2, ~ v + sigma^2 / 4
    ``naive``       r(x + sigma e)                           a^2 sigma^2 / (1 - a^2) ~ **v / 2**
    ==============  =======================================  ===================================

    ``langevin`` is the authors' of 1211.4246, ``half`` Hyvärinen's of 2410.05837. ``naive`` is what tutorials show:
    Langevin with half the noise, at temperature 1/2; it is here to be compared with.

    Args:
        denoise: x -> r(x), such as `Score.denoise`.
        sigma: the level that r removes.
    """

    FORMS = ("langevin", "after", "half", "naive")

    def __init__(self, denoise: ScoreFunction, sigma: float, form: str = "langevin") -> None:
        if form not in self.FORMS:
            raise ValueError(f"form is {form!r}; choose from {', '.join(self.FORMS)}")
        self.denoise, self.sigma, self.form = denoise, positive(sigma, "sigma"), form

    def init(self, x: Tensor) -> State:
        return State(x, x.new_tensor(self.sigma))

    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        noise = self.sigma * randn(state.x, generator)
        if self.form == "after":
            x = self.denoise(state.x) + math.sqrt(2) * noise
        elif self.form == "half":
            y = state.x + noise
            x = 0.5 * (y + self.denoise(y))
        else:
            x = self.denoise(state.x + noise * (math.sqrt(2) if self.form == "langevin" else 1))
        return State(x, state.step, state.made + 1), moved(x)


class GSN(Kernel):
    """Corrupt with sigma, then *draw* from p(x | x~) in place of its mean: the data's own law is stationary.

    Bengio, Yao, Alain, Vincent, "Generalized Denoising Auto-Encoders as Generative Models", 2013 (arXiv 1305.6663): the
    chain of a model trained by walkback. p(x | x~) is taken for a normal about r(x~), of covariance

    - ``"tweedie"``: sigma^2 dr/dx, its exact covariance (symmetric part, negative eigenvalues cut); a backward a value;
    - ``"isotropic"``: sigma^2 tr(dr/dx) / d, the trace by one random probe: for many dimensions;
    - a number: that standard deviation.

    Exact where the data are normal.
    """

    def __init__(self, denoise: ScoreFunction, sigma: float, spread: str | float = "tweedie") -> None:
        if isinstance(spread, str):
            if spread not in ("tweedie", "isotropic"):
                raise ValueError(f"spread is {spread!r}; choose 'tweedie', 'isotropic' or a standard deviation")
        else:
            positive(spread, "spread")
        self.denoise, self.sigma, self.spread = denoise, positive(sigma, "sigma"), spread

    def init(self, x: Tensor) -> State:
        return State(x, x.new_tensor(self.sigma))

    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        y = state.x + self.sigma * randn(state.x, generator)
        e = randn(y, generator)
        if self.spread == "tweedie":
            with torch.enable_grad():
                j = jacobian_of(self.denoise, y).detach()
            values, axes = torch.linalg.eigh(0.5 * (j + j.mT))
            root = axes * (self.sigma * values.clamp_min(0).sqrt())[:, None]
            x = self.denoise(y) + torch.einsum("bij,bj->bi", root, e.flatten(1)).reshape(y.shape)
        elif self.spread == "isotropic":
            with torch.enable_grad():
                seen = y.detach().requires_grad_()
                u = (2 * torch.rand(y.shape, dtype=y.dtype, device=y.device, generator=generator).round()) - 1
                out = self.denoise(seen)
                (pulled,) = torch.autograd.grad(out, seen, u)
            share = (pulled * u).flatten(1).mean(1).clamp(0, 1)
            x = out.detach() + wide(self.sigma * share.sqrt(), y) * e
        else:
            assert isinstance(self.spread, float | int)
            x = self.denoise(y) + self.spread * e
        return State(x, state.step, state.made + 1), moved(x)


class ParallelTempering(Kernel):
    """Chains at rising noise levels, each moving by MALA; neighbours offer each other their places.

    At a high level the smoothed density has no gaps, so that what happens there carries the lower chains from mode to
    mode. A swap of x at level i and y at level j is accepted with probability
    min(1, p_i(y) p_j(x) / (p_i(x) p_j(y))), both ratios by the path integral between x and y. The positions are those
    of the lowest level.

    Args:
        at: sigma -> the score at that level.
        levels: noise levels, falling: the last is sampled.
        step: of MALA, in units of (s0^2 + sigma^2), tuned at each level in warm-up; s0 is the lowest level.
        nodes: of the path integral between two levels' chains, which may be far apart.
    """

    target: float | None = 0.6

    def __init__(
        self, at: Callable[[float], ScoreFunction], levels: Sequence[float], *, step: float = 0.3, nodes: int = 15
    ) -> None:
        falling(levels)
        if len(levels) < 2:
            raise ValueError(f"levels are {list(levels)}; tempering needs at least 2")
        self.levels, self.nodes = list(levels)[::-1], nodes
        self.scores = [at(sigma) for sigma in self.levels]
        self.kernels = [
            MALA(s, positive(step) * (self.levels[0] ** 2 + v**2))
            for s, v in zip(self.scores, self.levels, strict=True)
        ]

    def init(self, x: Tensor) -> State:
        parts = [k.init(x) for k in self.kernels]
        score = torch.stack([s for p in parts if (s := p.score) is not None])
        return State(torch.stack([p.x for p in parts]), torch.stack([p.step for p in parts]), 0, score)

    def positions(self, state: State) -> Tensor:
        return state.x[0]

    def starts_well(self, state: State) -> Tensor:
        assert state.score is not None
        return state.score.isfinite().transpose(0, 1).flatten(1).all(1)

    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        assert state.score is not None
        parts = [
            k.step(State(x, h, state.made, s), generator)
            for k, x, h, s in zip(self.kernels, state.x, state.step, state.score, strict=True)
        ]
        infos = [info for _, info in parts]
        x = [s.x for s, _ in parts]
        score = [s.score for s, _ in parts]
        fault = torch.stack([i.fault for i in infos]).any(0)
        swapped = x[0].new_zeros(len(x) - 1)
        # pairs (0, 1), (2, 3), ... and (1, 2), (3, 4), ... in turn
        for i in range(state.made % 2, len(x) - 1, 2):
            a, b = x[i], x[i + 1]
            log_alpha = maths.log_ratio(self._difference(i), a, b, nodes=self.nodes)
            u = torch.rand(len(a), dtype=a.dtype, device=a.device, generator=generator)
            swap = u < log_alpha.clamp_max(0).exp()
            fault = fault | log_alpha.isnan()
            there = wide(swap, a)
            x[i], x[i + 1] = torch.where(there, b, a), torch.where(there, a, b)
            swapped[i] = swap.to(a.dtype).mean()
            for j in (i, i + 1):
                score[j] = torch.where(there, self.scores[j](x[j]), score[j])  # type: ignore[arg-type]
        pooled = torch.stack([i.pooled for i in infos])
        following = State(torch.stack(x), state.step, state.made + 1, torch.stack(score))  # type: ignore[arg-type]
        return following, Info(infos[0].acceptance, pooled, fault, swapped)

    def _difference(self, i: int) -> ScoreFunction:
        """s_i - s_{i+1}: its integral from a to b is the log ratio of the swap."""
        return lambda x: self.scores[i](x) - self.scores[i + 1](x)
