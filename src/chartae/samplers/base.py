"""The interface of samplers: a `Kernel` makes one step of many Markov chains, and `run` runs them in one batch."""

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

CHECK_EVERY = 16  # steps between two checks for values that are not finite: each check waits for the device


class State(NamedTuple):
    """The state of the chains between two steps.

    Attributes:
        x: positions `(B, *S)`, or `(L, B, *S)` for L noise levels.
        step: step size, a tensor, which warm-up tunes.
        taken: number of steps taken so far; default 0.
        score: score at `x`, if the kernel stores it; default None.

    >>> import torch
    >>> from chartae.samplers import MALA
    >>> state = MALA(lambda x: -x, step=0.5).init(torch.ones(4, 2))
    >>> state.step, state.taken, state.score[0]
    (tensor(0.5000), 0, tensor([-1., -1.]))
    """

    x: Tensor
    step: Tensor
    taken: int = 0
    score: Tensor | None = None


class Info(NamedTuple):
    """Statistics of one step, or of all kept steps of a `Chain` (with a first dimension T).

    Attributes:
        acceptance: probability with which each chain accepted its proposal (B,); 1 for kernels that accept all.
        pooled: mean acceptance, in the shape of the step size; warm-up tunes the step size with it.
        fault: which chains met a score or a density ratio that is not finite (B,), bool.
        swaps: share of chains that were swapped between neighbouring noise levels (L - 1,); default None.

    >>> import torch
    >>> from chartae.samplers import ULA
    >>> kernel = ULA(lambda x: -x, step=0.1)
    >>> state, info = kernel.step(kernel.init(torch.zeros(3, 2)), torch.Generator().manual_seed(0))
    >>> info.acceptance, info.fault.any()
    (tensor([1., 1., 1.]), tensor(False))
    """

    acceptance: Tensor
    pooled: Tensor
    fault: Tensor
    swaps: Tensor | None = None


class Kernel(ABC):
    """The transition kernel of a Markov chain: one step of all chains at once. It holds no state of its own.

    Subclasses define `init` and `step`. Most kernels consist of a score, any function from `(B, *S)` to `(B, *S)`, and
    a step size.
    """

    #: mean acceptance to which warm-up tunes the step size; None: the step size stays fixed
    target: float | None = None
    #: default number of steps, for kernels with a schedule
    length: int | None = None

    @abstractmethod
    def init(self, x: Tensor) -> State:
        """Return the initial state of chains.

        Args:
            x: initial positions `(B, *S)`.
        """

    @abstractmethod
    def step(self, state: State, generator: torch.Generator) -> tuple[State, Info]:
        """Make one step.

        Args:
            state: current state.
            generator: random generator of all draws.

        Returns:
            The next state and the statistics of the step.
        """

    def positions(self, state: State) -> Float[Tensor, B * S]:
        """Return the positions `(B, *S)` of the chains that sample the target.

        Args:
            state: current state.
        """
        return state.x

    def finish(self, state: State) -> Float[Tensor, B * S]:
        """Return the final positions `(B, *S)`, after a last step that the kernel may add, such as denoising.

        Args:
            state: state after the last step.
        """
        return self.positions(state)

    def starts_well(self, state: State) -> Tensor:
        """Return whether each chain starts at a finite position with a finite score (B,), bool.

        Args:
            state: initial state.
        """
        return _finite(self.positions(state)) & (torch.ones(()) > 0 if state.score is None else _finite(state.score))


def _finite(x: Tensor) -> Tensor:
    return x.isfinite().flatten(1).all(1)


def positive(value: float, name: str = "step") -> float:
    """Return a value as a float, after checking that it is finite and above 0; else raise ValueError."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}; expected a finite number above 0.")
    return float(value)


def randn(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers in the shape of `like`."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def per_chain(value: Tensor, like: Tensor) -> Tensor:
    """Reshape one number for each chain (B,) so that it broadcasts over positions."""
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))


@dataclass(frozen=True, eq=False)
class Chain:
    """The result of `run`: positions and statistics of Markov chains.

    Attributes:
        positions: kept positions `(T, B, *S)`, every `thin`-th step after warm-up.
        info: statistics of the kept steps, stacked: `info.acceptance` is (T, B).
        final: final positions `(B, *S)`, after the last denoising step if the kernel has one.
        step: step size after warm-up, a tensor.
        stopped: reason why the run stopped early, or "" (default) if it did not.

    >>> import torch
    >>> from chartae.samplers import MALA, run
    >>> run(MALA(lambda x: -x, step=0.5), torch.zeros(100, 2), steps=50)
    Chain(50 steps of 100 chains of shape (2,), acceptance 0...)
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
        """Return the positions as an ArviZ dataset with one variable `x` `(B, T, *S)`.

        Returns:
            The dataset.

        Raises:
            ImportError: ArviZ is not installed: ``pip install 'chartae[mcmc]'``.
        """
        return _arviz().convert_to_dataset({"x": self.positions.transpose(0, 1).numpy(force=True)})

    def diagnose(self) -> dict[str, Tensor]:
        """Compute diagnostics of mixing for each coordinate, by ArviZ.

        Vehtari et al., "Rank-normalization, folding, and localization: an improved R-hat", 2021.

        Returns:
            Tensors `(*S)`: `r_hat` (rank-normalised, split), the effective sample sizes `ess_bulk` and `ess_tail`, and
            `autocorrelation_time` = number of draws / ess_bulk, in kept steps.

        Raises:
            ImportError: ArviZ is not installed: ``pip install 'chartae[mcmc]'``.
            ValueError: fewer than 4 steps were kept.
        """
        if len(self.positions) < 4:
            raise ValueError(
                f"the chain has {len(self.positions)} kept steps; expected at least 4. Run more steps, or lower thin."
            )
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
            warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version
            import arviz
    except ImportError as error:
        raise ImportError("diagnostics of mixing need ArviZ. Install it with pip install 'chartae[mcmc]'.") from error
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
    """Run Markov chains, one for each row of `x0`, all in one batch and without gradients.

    During warm-up the step size of a kernel with a `target` acceptance is tuned by stochastic approximation (Robbins
    and Monro): in step t, log step rises by (a - target) / (target (1 - target)) / t^0.6, a the mean acceptance of all
    chains. The result is the average of log step over the second half of warm-up.

    Args:
        kernel: transition kernel, such as `MALA`.
        x0: initial positions `(B, *S)`, a floating-point tensor.
        steps: number of steps after warm-up, >= 1; default None: the kernel's schedule, if it has one.
        warmup: number of warm-up steps, which are discarded, >= 0; default 0.
        seed: seed of all random numbers; the same seed gives the same chains; default 0.
        thin: interval of the kept positions: every thin-th step, from 1 to `steps`; default 1. ``thin=steps`` keeps
            only the last one.

    Returns:
        The chains. If a score or a density ratio is not finite, the run stops, keeps the steps before, and reports
        where in `Chain.stopped` and in a RuntimeWarning.

    Raises:
        ValueError: `steps`, `warmup`, `thin` or `x0` is invalid, or chains start where the score is not finite or the
            density is 0.

    >>> import torch
    >>> from chartae.samplers import MALA, run
    >>> chain = run(MALA(lambda x: -x, step=0.5), torch.zeros(100, 2), steps=50, warmup=50)
    >>> chain.positions.shape, chain.info.acceptance.shape
    (torch.Size([50, 100, 2]), torch.Size([50, 100]))
    """
    steps = kernel.length if steps is None else steps
    if steps is None:
        raise ValueError(f"steps is None, and {type(kernel).__name__} has no schedule. Pass the number of steps.")
    if steps < 1 or warmup < 0 or not 1 <= thin <= steps:
        raise ValueError(f"steps is {steps}, warmup {warmup}, thin {thin}; expected steps >= thin >= 1, warmup >= 0.")
    if not isinstance(x0, Tensor) or not x0.is_floating_point() or x0.ndim < 2 or not len(x0):
        described = f"{x0.dtype} of shape {tuple(x0.shape)}" if isinstance(x0, Tensor) else type(x0).__name__
        raise ValueError(f"x0 is {described}; expected a floating-point tensor (chains, *S), one row for each chain.")
    generator = torch.Generator(x0.device).manual_seed(seed)
    with torch.no_grad():
        state = kernel.init(x0.detach().clone())
        valid = kernel.starts_well(state).expand(len(x0))
        if not valid.all():
            bad = (~valid).nonzero().flatten().tolist()
            raise ValueError(
                f"{len(bad)} of {len(x0)} chains start where the score is not finite or the density is 0 (the first: "
                f"chain {bad[0]} at {_show(x0[bad[0]])}). Start inside the support, for example at points of the data."
            )
        accepted = x0.new_zeros(())
        tuned = state.step.log()
        average, weight = torch.zeros_like(tuned), 0
        kept: list[Info] = []
        positions = x0.new_empty(steps // thin, *x0.shape)
        # a check waits for the device, so it covers several steps at once; the last good state is found afterwards
        faults: list[tuple[Tensor, Tensor, State]] = []
        stopped, last = "", state
        for i in range(warmup + steps):
            next_state, info = kernel.step(state, generator)
            faults.append((info.fault, kernel.positions(state), state))
            if kernel.target is not None and i < warmup:
                gain = 1 / (kernel.target * (1 - kernel.target) * (i + 1) ** 0.6)
                tuned = tuned + gain * (info.pooled - kernel.target)
                if 2 * i >= warmup:
                    average, weight = average + tuned, weight + 1
                end = i == warmup - 1 and weight
                next_state = next_state._replace(step=(average / weight if end else tuned).exp())
            state = next_state
            number = i - warmup + 1
            if number > 0:
                accepted = accepted + info.acceptance.mean()
            if number > 0 and number % thin == 0:
                positions[number // thin - 1] = kernel.positions(state)
                kept.append(info)
            if len(faults) == CHECK_EVERY or i == warmup + steps - 1:
                first = torch.stack([f.any() for f, _, _ in faults]).nonzero()
                if len(first):
                    at = i + 1 - len(faults) + int(first[0])
                    fault, x, last = faults[int(first[0])]
                    chains = fault.nonzero().flatten()
                    phase = f"step {at - warmup + 1}" if at >= warmup else f"warm-up step {at + 1}"
                    stopped = (
                        f"{phase}: the score or the density ratio is not finite for {len(chains)} of {len(x0)} chains "
                        f"(the first: chain {int(chains[0])}, coming from {_show(x[chains[0]])})"
                    )
                    kept = kept[: max(0, at - warmup) // thin]
                    state = last
                    break
                faults = []
    if stopped:
        warnings.warn(
            f"the chains stopped at {stopped}. The {len(kept)} positions kept before that are returned. Start closer "
            "to the data, lower the step size, or train the score in the region that the chains reached.",
            RuntimeWarning,
            stacklevel=2,
        )
    final = kernel.positions(state) if stopped else _finished(kernel, state)
    chain = Chain(positions[: len(kept)], _stack(kept, x0), final, state.step, stopped)
    if kernel.target is not None and not stopped:
        _warn_of_acceptance(float(accepted) / steps, float(chain.step.max()))
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


def _warn_of_acceptance(rate: float, step: float) -> None:
    """Warn if the chains accept almost nothing or almost everything."""
    if 0.01 <= rate <= 0.995:
        return
    what, remedy = ("nothing", "Lower") if rate < 0.5 else ("everything", "Raise")
    warnings.warn(
        f"the chains accept almost {what} ({rate:.1%} at step {step:.3g}), so they hardly move. "
        f"{remedy} the step size, or use warmup steps, which tune it.",
        RuntimeWarning,
        stacklevel=3,
    )


def _show(x: Tensor) -> str:
    values = x.flatten()[:4].tolist()
    return f"({', '.join(f'{v:.3g}' for v in values)}{', ...' if x.numel() > 4 else ''})"
