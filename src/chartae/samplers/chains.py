"""Chains that corrupt and denoise, and parallel tempering over noise levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chartae import maths
from chartae.maths import ScoreFunction, jacobian_of
from chartae.records.choices import one_of
from chartae.samplers.base import Info, Kernel, State, per_chain, positive, randn
from chartae.samplers.langevin import all_moved, check_falling
from chartae.samplers.metropolis import MALA

__all__ = ["GSN", "CorruptDenoise", "ParallelTempering"]


class CorruptDenoise(Kernel):
    """Alternate between corruption and denoising, with a denoiser r at noise level sigma.

    The stationary distribution depends on the form. For data from N(0, v) and the optimal r(x) = a x,
    a = v / (v + sigma^2):

    ==============  =======================================  ===================================
    form            a step                                   variance
    ==============  =======================================  ===================================
    ``langevin``    r(x + sqrt(2) sigma e)                   2 a^2 sigma^2 / (1 - a^2) ~ v - sigma^2 / 2
    ``after``       r(x) + sqrt(2) sigma e                   2 sigma^2 / (1 - a^2) ~ v + 3 sigma^2 / 2
    ``half``        y = x + sigma e; (y + r(y)) / 2          b^2 sigma^2 / (1 - b^2), b = (1 + a) / 2, ~ v + sigma^2 / 4
    ``naive``       r(x + sigma e)                           a^2 sigma^2 / (1 - a^2) ~ **v / 2**
    ==============  =======================================  ===================================

    ``langevin`` is the form of Alain and Bengio (arXiv 1211.4246), ``half`` that of Hyvärinen (arXiv 2410.05837).
    ``naive`` is the form that tutorials show: Langevin with half the noise, so it samples at temperature 1/2. It is
    included for comparison.

    Args:
        denoise: denoiser r, a function from points `(B, *S)` to points, such as `chartae.diagnostics.Score.denoise`.
        sigma: noise standard deviation that r removes, in the units of the data; finite, > 0.
        form: ``"langevin"`` (default), ``"after"``, ``"half"`` or ``"naive"``, see the table.

    Raises:
        ValueError: unknown `form`, or `sigma` is out of range.

    >>> import torch
    >>> from chartae.samplers import CorruptDenoise, run
    >>> denoise = lambda x: x / 1.01  # optimal for N(0, 1) at sigma = 0.1
    >>> x0 = torch.randn(5000, 1, generator=torch.Generator().manual_seed(1))
    >>> chain = run(CorruptDenoise(denoise, 0.1), x0, steps=10, thin=10)
    >>> chain.final.shape, bool((chain.final.var() - 1).abs() < 0.1)
    (torch.Size([5000, 1]), True)
    """

    FORMS = ("langevin", "after", "half", "naive")

    def __init__(self, denoise: ScoreFunction, sigma: float, form: str = "langevin") -> None:
        if form not in self.FORMS:
            raise ValueError(f"form is {form!r}; {one_of(form, self.FORMS)}")
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
        return State(x, state.step, state.taken + 1), all_moved(x)


class GSN(Kernel):
    """A generative stochastic network: corrupt with noise, then draw from p(x | x~) instead of taking its mean.

    So the data distribution is stationary. Bengio, Yao, Alain, Vincent, "Generalized Denoising Auto-Encoders as
    Generative Models", 2013 (arXiv 1305.6663): the chain of a model that is trained by walkback. p(x | x~) is
    approximated by a normal distribution about r(x~), which is exact if the data are normal.

    Args:
        denoise: denoiser r, a function from points `(B, *S)` to points, such as `chartae.diagnostics.Score.denoise`.
        sigma: noise standard deviation that r removes, in the units of the data; finite, > 0.
        spread: covariance of p(x | x~): ``"tweedie"`` (default), its exact covariance sigma^2 dr/dx (symmetric part,
            negative eigenvalues set to 0), with one backward pass for each dimension; ``"isotropic"``,
            sigma^2 tr(dr/dx) / d with the trace from one random probe, for many dimensions; or a number > 0, a fixed
            standard deviation.

    Raises:
        ValueError: `sigma` or `spread` is out of range.

    >>> import torch
    >>> from chartae.samplers import GSN, run
    >>> denoise = lambda x: x / 2  # optimal for N(0, 1) at sigma = 1
    >>> chain = run(GSN(denoise, 1.0), torch.zeros(5000, 1), steps=10, thin=10)
    >>> bool((chain.final.var() - 1).abs() < 0.1)
    True
    """

    def __init__(self, denoise: ScoreFunction, sigma: float, spread: str | float = "tweedie") -> None:
        if isinstance(spread, str):
            if spread not in ("tweedie", "isotropic"):
                raise ValueError(f"spread is {spread!r}; expected 'tweedie', 'isotropic' or a standard deviation.")
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
                leaf = y.detach().requires_grad_()
                u = (2 * torch.rand(y.shape, dtype=y.dtype, device=y.device, generator=generator).round()) - 1
                out = self.denoise(leaf)
                (product,) = torch.autograd.grad(out, leaf, u)
            share = (product * u).flatten(1).mean(1).clamp(0, 1)
            x = out.detach() + per_chain(self.sigma * share.sqrt(), y) * e
        else:
            assert isinstance(self.spread, float | int)
            x = self.denoise(y) + self.spread * e
        return State(x, state.step, state.taken + 1), all_moved(x)


class ParallelTempering(Kernel):
    """Parallel tempering over noise levels: a MALA chain at each level, with swaps between neighbouring levels.

    At a high noise level the smoothed density has no gaps, so the swaps carry the chains at lower levels from mode to
    mode. A swap of x at level i and y at level j is accepted with probability
    min(1, p_i(y) p_j(x) / (p_i(x) p_j(y))); both ratios are path integrals of the score between x and y. The sampled
    positions are those of the lowest level.

    Args:
        at: function from a noise level to the score at that level, such as `chartae.diagnostics.Score.at`.
        levels: noise levels, at least 2, > 0, in falling order; the last one is sampled.
        step: initial step size of MALA, in units of s0^2 + sigma^2, s0 the lowest level; > 0; warm-up tunes it for
            each level; default 0.3.
        nodes: number of nodes of the path integrals, >= 1; default 15, as chains of two levels may be far apart.

    Raises:
        ValueError: `levels` or `step` is out of range.

    >>> import torch
    >>> from chartae.samplers import ParallelTempering, run
    >>> at = lambda sigma: lambda x: -x / (1 + sigma**2)  # the smoothed standard normal
    >>> chain = run(ParallelTempering(at, [2.0, 1.0, 0.1]), torch.zeros(50, 2), steps=10, warmup=50)
    >>> chain.positions.shape, chain.info.swaps.shape
    (torch.Size([10, 50, 2]), torch.Size([10, 2]))
    """

    target: float | None = 0.6

    def __init__(
        self, at: Callable[[float], ScoreFunction], levels: Sequence[float], *, step: float = 0.3, nodes: int = 15
    ) -> None:
        check_falling(levels)
        if len(levels) < 2:
            raise ValueError(f"levels is {list(levels)}; expected at least 2 noise levels.")
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
            k.step(State(x, h, state.taken, s), generator)
            for k, x, h, s in zip(self.kernels, state.x, state.step, state.score, strict=True)
        ]
        infos = [info for _, info in parts]
        x = [s.x for s, _ in parts]
        score = [s.score for s, _ in parts]
        fault = torch.stack([i.fault for i in infos]).any(0)
        swapped = x[0].new_zeros(len(x) - 1)
        # pairs (0, 1), (2, 3), ... and (1, 2), (3, 4), ... in turn
        for i in range(state.taken % 2, len(x) - 1, 2):
            a, b = x[i], x[i + 1]
            log_alpha = maths.log_ratio(self._difference(i), a, b, nodes=self.nodes)
            u = torch.rand(len(a), dtype=a.dtype, device=a.device, generator=generator)
            swap = u < log_alpha.clamp_max(0).exp()
            fault = fault | log_alpha.isnan()
            mask = per_chain(swap, a)
            x[i], x[i + 1] = torch.where(mask, b, a), torch.where(mask, a, b)
            swapped[i] = swap.to(a.dtype).mean()
            for j in (i, i + 1):
                score[j] = torch.where(mask, self.scores[j](x[j]), score[j])  # type: ignore[arg-type]
        pooled = torch.stack([i.pooled for i in infos])
        next_state = State(torch.stack(x), state.step, state.taken + 1, torch.stack(score))  # type: ignore[arg-type]
        return next_state, Info(infos[0].acceptance, pooled, fault, swapped)

    def _difference(self, i: int) -> ScoreFunction:
        """s_i - s_{i+1}, whose integral from a to b is the log acceptance ratio of the swap."""
        return lambda x: self.scores[i](x) - self.scores[i + 1](x)
