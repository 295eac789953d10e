"""State, Info, Kernel, run: Markov chains, thousands at once, driven by any function x -> score."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    import xarray

__all__ = ["Chain", "Info", "Kernel", "State", "run"]

LOOK = 16  # steps between two looks at whether a score is still finite: each look waits for the device


class State(NamedTuple):
    """Where the chains are.

    Attributes:
        x: positions (B, *S); of several temperatures (L, B, *S).
        step: the step size, a tensor that warm-up tunes.
        made: steps made.
        score: at x, where the kernel keeps it.
    """

    x: Tensor
    step: Tensor
    made: int = 0
    score: Tensor | None = None


class Info(NamedTuple):
    """What one step did.

    Attributes:
        acceptance: the probability with which each chain moved (B,); 1 where nothing is refused.
        pooled: its mean, in the shape of the step size: what warm-up tunes by.
        fault: which chains met a score or a ratio that is no number (B,).
        swaps: between temperatures, the share of chains that changed places (L - 1,).
    """

    acceptance: Tensor
    pooled: Tensor
    fault: Tensor
    swaps: Tensor | None = None


class Kernel(ABC):
    """One step of a Markov chain, of all chains at once; holds no state.

    A kernel is made of a score, any function (B, *S) -> (B, *S), and a step size.
    """

    #: the acceptance that warm-up tunes the step size to; None: it stays
    target: float | None = None
    #: steps of one pass, where the kernel has a schedule
    length: int | None = None

    @abstractmethod
    def init(self, x: Tensor) -> State:
        """The state of chains that start at x."""

    @abstractmethod
    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """The next state."""

    def positions(self, state: State) -> Float[Tensor, B * S]:
        """Where the chains of interest are."""
        return state.x

    def finish(self, state: State) -> Float[Tensor, B * S]:
        """The positions after the last step."""
        return self.positions(state)

    def starts_well(self, state: State) -> Tensor:
        """Whether each chain starts where the target has mass, as far as can be told (B,)."""
        return _finite(self.positions(state)) & (torch.ones(()) > 0 if state.score is None else _finite(state.score))


def _finite(x: Tensor) -> Tensor:
    return x.isfinite().flatten(1).all(1)


def positive(value: float, what: str = "step") -> float:
    """The value, if it is finite and above 0; else a ValueError."""
    if not 0 < value < math.inf:
        raise ValueError(f"{what} is {value}; give a finite number above 0")
    return float(value)


def randn(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers in the shape of `like`."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def wide(value: Tensor, like: Tensor) -> Tensor:
    """One number a chain (B,), in a shape that broadcasts over positions."""
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))


@dataclass(frozen=True, eq=False)
class Chain:
    """What `run` saw.

    Attributes:
        positions: (steps, chains, *S), every `thin`-th after warm-up.
        info: `Info` of the kept steps, stacked: `info.acceptance` is (steps, chains).
        final: (chains, *S), after the kernel's last touch (a denoising step, where it has one).
        step: the step size after warm-up.
        stopped: why the run ended before its time; empty where it did not.
    """

    positions: Float[Tensor, "T B *S"]
    info: Info
    final: Float[Tensor, B * S]
    step: Tensor
    stopped: str = ""

    def __repr__(self) -> str:
        steps, chains, *shape = self.positions.shape
        accepted = f"acceptance {self.info.acceptance.mean():.2f}" if steps else "no steps"
        return f"Chain({steps} steps of {chains} chains of shape {tuple(shape)}, {accepted})"

    def to_arviz(self) -> xarray.Dataset:
        """The positions as an ArviZ dataset of one variable `x` (needs chartae[mcmc])."""
        return _arviz().convert_to_dataset({"x": self.positions.transpose(0, 1).numpy(force=True)})

    def diagnose(self) -> dict[str, Tensor]:
        """How well the chains mix, for each coordinate (*S): `r_hat` (rank-normalised, split), `ess_bulk` and
        `ess_tail`, the effective sample sizes, and `autocorrelation_time` = draws / ess_bulk, in kept steps.

        By ArviZ. Vehtari et al., "Rank-normalization, folding, and localization: an improved R-hat", 2021.

        Raises:
            ImportError: ArviZ is not installed: ``pip install 'chartae[mcmc]'``.
            ValueError: fewer than 4 steps.
        """
        if len(self.positions) < 4:
            raise ValueError(f"{len(self.positions)} steps were kept; diagnostics of mixing need at least 4")
        az, data = _arviz(), self.to_arviz()
        values = {
            "r_hat": az.rhat(data),
            "ess_bulk": az.ess(data, method="bulk"),
            "ess_tail": az.ess(data, method="tail"),
        }
        out = {key: torch.from_numpy(value["x"].to_numpy().copy()) for key, value in values.items()}
        draws = self.positions.shape[0] * self.positions.shape[1]
        return out | {"autocorrelation_time": draws / out["ess_bulk"]}


def _arviz() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it announces its next version
            import arviz
    except ImportError as error:
        raise ImportError("diagnostics of mixing need ArviZ: pip install 'chartae[mcmc]'") from error
    return arviz


def run(
    kernel: Kernel,
    x0: Float[Tensor, B * S],
    steps: int | None = None,
    *,
    warmup: int = 0,
    seed: int = 0,
    thin: int = 1,
) -> Chain:
    """Run chains from x0, one for each row, all in one batch and without gradients.

    Args:
        kernel: what makes a step.
        x0: where the chains start, (chains, *S).
        steps: how many are made after warm-up; by default the kernel's own schedule.
        warmup: steps before, which are thrown away; while they last, a kernel with an acceptance `target` has its step
            size tuned to it, by the mean a over all chains (Robbins and Monro: log step rises by
            (a - target) / (target (1 - target)) / t^0.6 in step t; the later half is averaged).
        seed: of all random numbers; the same seed gives the same chains.
        thin: keep every thin-th position; ``thin=steps`` keeps the last.

    Returns:
        A `Chain`. Where a score or a ratio stops being a number, the run stops, keeps the steps before, and says where
        in `chain.stopped` and in a warning.

    Raises:
        ValueError: counts out of range, or chains that start where the target has no mass.

    >>> from chartae.samplers import MALA
    >>> chain = run(MALA(lambda x: -x, step=0.5), torch.zeros(100, 2), steps=50, warmup=50)
    >>> chain.positions.shape, chain.info.acceptance.shape
    (torch.Size([50, 100, 2]), torch.Size([50, 100]))
    """
    steps = kernel.length if steps is None else steps
    if steps is None:
        raise ValueError(f"{type(kernel).__name__} has no schedule of its own; say how many steps")
    if steps < 1 or warmup < 0 or not 1 <= thin <= steps:
        raise ValueError(f"steps is {steps}, warmup {warmup}, thin {thin}; give steps >= thin >= 1 and warmup >= 0")
    if not isinstance(x0, Tensor) or not x0.is_floating_point() or x0.ndim < 2 or not len(x0):
        raise ValueError("x0 must be a floating-point tensor (chains, *S), one row for each chain")
    generator = torch.Generator(x0.device).manual_seed(seed)
    with torch.no_grad():
        state = kernel.init(x0.detach().clone())
        good = kernel.starts_well(state).expand(len(x0))
        if not good.all():
            bad = (~good).nonzero().flatten().tolist()
            raise ValueError(
                f"{len(bad)} of {len(x0)} chains start where the score is not finite or the density is 0 (the first: "
                f"chain {bad[0]} at {_show(x0[bad[0]])}); start inside the support, such as at points of the data"
            )
        accepted = x0.new_zeros(())
        tuned = state.step.log()
        average, weight = torch.zeros_like(tuned), 0
        kept: list[Info] = []
        positions = x0.new_empty(steps // thin, *x0.shape)
        # a check waits for the device, so that it is made now and then; what was good before it is known afterwards
        faults: list[tuple[Tensor, Tensor, State]] = []
        stopped, last = "", state
        for i in range(warmup + steps):
            following, info = kernel.step(state, generator)
            faults.append((info.fault, kernel.positions(state), state))
            if kernel.target is not None and i < warmup:
                gain = 1 / (kernel.target * (1 - kernel.target) * (i + 1) ** 0.6)
                tuned = tuned + gain * (info.pooled - kernel.target)
                if 2 * i >= warmup:
                    average, weight = average + tuned, weight + 1
                end = i == warmup - 1 and weight
                following = following._replace(step=(average / weight if end else tuned).exp())
            state = following
            made = i - warmup + 1
            if made > 0:
                accepted = accepted + info.acceptance.mean()
            if made > 0 and made % thin == 0:
                positions[made // thin - 1] = kernel.positions(state)
                kept.append(info)
            if len(faults) == LOOK or i == warmup + steps - 1:
                first = torch.stack([f.any() for f, _, _ in faults]).nonzero()
                if len(first):
                    at = i + 1 - len(faults) + int(first[0])
                    fault, x, last = faults[int(first[0])]
                    chains = fault.nonzero().flatten()
                    phase = f"step {at - warmup + 1}" if at >= warmup else f"warm-up step {at + 1}"
                    stopped = (
                        f"{phase}: the score or the density's ratio is no number for {len(chains)} of {len(x0)} chains "
                        f"(the first: chain {int(chains[0])}, coming from {_show(x[chains[0]])})"
                    )
                    kept = kept[: max(0, at - warmup) // thin]
                    state = last
                    break
                faults = []
    if stopped:
        warnings.warn(
            f"the chains stopped at {stopped}. {len(kept)} kept positions before it are returned; start closer to the "
            "data, lower the step, or train the score where the chains went",
            RuntimeWarning,
            stacklevel=2,
        )
    final = kernel.positions(state) if stopped else _finished(kernel, state)
    chain = Chain(positions[: len(kept)], _stack(kept, x0), final, state.step, stopped)
    if kernel.target is not None and not stopped:
        _judge(float(accepted) / steps, float(chain.step.max()))
    return chain


def _finished(kernel: Kernel, state: State) -> Tensor:
    with torch.no_grad():
        return kernel.finish(state)


def _stack(kept: list[Info], x0: Tensor) -> Info:
    if not kept:
        return Info(x0.new_empty(0, len(x0)), x0.new_empty(0), torch.empty(0, len(x0), dtype=torch.bool))
    swaps = None if kept[0].swaps is None else torch.stack([s for i in kept if (s := i.swaps) is not None])
    acceptance, pooled, fault = (torch.stack(part) for part in zip(*(i[:3] for i in kept), strict=True))
    return Info(acceptance, pooled, fault, swaps)


def _judge(rate: float, step: float) -> None:
    if 0.01 <= rate <= 0.995:
        return
    what, remedy = ("nothing", "lower") if rate < 0.5 else ("everything", "raise")
    warnings.warn(
        f"the chains accept almost {what} ({rate:.1%} at step {step:.3g}), and so hardly move: "
        f"{remedy} the step, or give warmup, which tunes it",
        RuntimeWarning,
        stacklevel=3,
    )


def _show(x: Tensor) -> str:
    values = x.flatten()[:4].tolist()
    return f"({', '.join(f'{v:.3g}' for v in values)}{', ...' if x.numel() > 4 else ''})"
