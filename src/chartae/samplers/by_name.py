"""Samplers by name, with step sizes that follow from the noise level of the score."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from chartae.records.choices import one_of
from chartae.samplers import base
from chartae.samplers.base import Chain, Kernel
from chartae.samplers.chains import GSN, CorruptDenoise, ParallelTempering
from chartae.samplers.langevin import ULA, AnnealedLangevin, geometric
from chartae.samplers.metropolis import MALA, RandomWalk

__all__ = ["NAMES", "SUMMARIES", "WITH_LEVELS", "kernel", "noise_start", "run", "starts_from_noise"]


class Score(Protocol):
    """An estimate of the score with its noise level, such as `chartae.diagnostics.Score`."""

    @property
    def sigma(self) -> float: ...

    @property
    def levels(self) -> tuple[float, float]: ...

    def __call__(self, x: Tensor) -> Tensor: ...

    def denoise(self, x: Tensor) -> Tensor: ...

    def at(self, sigma: float) -> Score: ...


#: name -> (score, step or None) -> kernel
_KERNELS: dict[str, Callable[[Score, float | None], Kernel]] = {
    "mala": lambda s, h: MALA(s, h or s.sigma**2),
    "random-walk": lambda s, h: RandomWalk(s, h or 2 * s.sigma),
    "ula": lambda s, h: ULA(s, h or 0.2 * s.sigma**2),
    "langevin": lambda s, h: CorruptDenoise(s.denoise, s.sigma),
    "half": lambda s, h: CorruptDenoise(s.denoise, s.sigma, "half"),
    "naive": lambda s, h: CorruptDenoise(s.denoise, s.sigma, "naive"),
    "gsn": lambda s, h: GSN(s.denoise, s.sigma, "isotropic"),
    "annealed": lambda s, h: AnnealedLangevin(s.at, _levels(s, 200), repeats=1, step=h or 0.2),
    "tempering": lambda s, h: ParallelTempering(s.at, _levels(s, 10), step=h or 0.3),
}
NAMES = tuple(_KERNELS)
#: samplers that need a noise-conditional model
WITH_LEVELS = ("annealed", "tempering")
#: samplers that start from noise at the highest level
FROM_NOISE = ("annealed",)


def _levels(s: Score, n: int) -> list[float]:
    return geometric(s.levels[1], s.levels[0], n)


def starts_from_noise(name: str) -> bool:
    """Return whether a sampler starts from noise at the highest level, so that it needs no data.

    Args:
        name: name of the sampler.
    """
    return name in FROM_NOISE


def kernel(name: str, score: Score, step: float | None = None) -> Kernel:
    """Return a kernel by name.

    Args:
        name: one of `NAMES`.
        score: estimate of the score with its noise level.
        step: step size of the kernel; default None: chosen from the noise level.

    Returns:
        The kernel.

    Raises:
        ValueError: unknown name, or a sampler that needs several noise levels for a model with one.
    """
    if step is not None and not 0 < step < math.inf:
        raise ValueError(f"step is {step}; expected a step size above 0")
    if name not in _KERNELS:
        raise ValueError(f"sampler is {name!r}; {one_of(name, NAMES)}")
    if name in WITH_LEVELS and score.levels[0] == score.levels[1]:
        raise ValueError(
            f"sampler is {name!r}, which needs several noise levels, but the model was trained only at sigma = "
            f"{score.sigma:g}. Train the recipe ncdae, or use the sampler mala."
        )
    return _KERNELS[name](score, step)


def run(
    score: Score,
    name: str,
    start: Tensor,
    *,
    steps: int | None = None,
    warmup: int | None = None,
    step: float | None = None,
    seed: int = 0,
    thin: int | None = None,
) -> Chain:
    """Run a sampler by name.

    Args:
        score: estimate of the score with its noise level.
        name: one of `NAMES`.
        start: initial positions `(B, *S)`.
        steps: number of steps after warm-up; default None: the kernel's schedule, or 1,000.
        warmup: number of warm-up steps; default None: 500 if they tune the step size, else 0.
        step: step size of the kernel; default None: chosen from the noise level.
        seed: seed of all random numbers; default 0.
        thin: interval of the kept positions; default None: `steps`, which keeps only the last.

    Returns:
        The chains.

    Raises:
        ValueError: unknown name, a sampler that does not fit the model, or invalid counts.
    """
    chosen = kernel(name, score, step)
    steps = (chosen.length or 1000) if steps is None else steps
    warmup = (0 if chosen.target is None else 500) if warmup is None else warmup
    return base.run(chosen, start, steps, warmup=warmup, seed=seed, thin=steps if thin is None else thin)


def noise_start(score: Score, shape: tuple[int, ...], n: int, seed: int, device: torch.device) -> Tensor:
    """Draw initial positions for annealed sampling: noise at the highest level about the mean of the data.

    The mean is estimated by denoising such noise. Without it, chains would start on one side of the data.

    Args:
        score: estimate of the score with its noise levels.
        shape: shape of a point.
        n: number of points.
        seed: seed of the noise.
        device: device of the points.

    Returns:
        Points `(n, *shape)`.
    """
    # another stream than that of the chains: with the same one, the first step's noise would repeat this noise
    stream_seed = int(np.random.SeedSequence((seed, 1)).generate_state(1, np.uint64)[0])
    generator = torch.Generator(device).manual_seed(stream_seed)
    top = score.at(score.levels[1])
    noise = top.sigma * torch.randn((n, *shape), generator=generator, device=device)
    centre = torch.zeros(shape, device=device)
    with torch.no_grad():
        for _ in range(3):
            centre = torch.cat([top.denoise(centre + part) for part in noise[:1000].split(250)]).mean(0)
    return centre + noise


#: name of a sampler -> one sentence about it
SUMMARIES = {
    "mala": "Metropolis-adjusted Langevin: a step along the score, then accepted or rejected.",
    "random-walk": "Random-walk Metropolis: Gaussian proposals; the score alone gives the acceptance ratio.",
    "ula": "Unadjusted Langevin: steps along the score without an acceptance test.",
    "langevin": "Corrupt and denoise, with the noise that makes it a Langevin step.",
    "half": "Corrupt, then go half of the way that denoising goes (2410.05837).",
    "naive": "Corrupt and denoise as it is: Langevin at temperature 1/2, so that samples are too narrow.",
    "gsn": "Generative stochastic network: corrupt, then draw from the denoising distribution.",
    "annealed": "Annealed Langevin over noise levels, from noise to data; for noise-conditional models.",
    "tempering": "Parallel tempering over noise levels; for noise-conditional models.",
}
