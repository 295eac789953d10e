"""Samplers by name, with settings that follow from the score's own noise level."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from chartae.samplers import base
from chartae.samplers.base import Chain, Kernel
from chartae.samplers.chains import GSN, CorruptDenoise, ParallelTempering
from chartae.samplers.langevin import ULA, AnnealedLangevin, geometric
from chartae.samplers.metropolis import MALA, RandomWalk

__all__ = ["NAMES", "WITH_LEVELS", "kernel", "noise_start", "run", "starts_from_noise"]


class Score(Protocol):
    """An estimate of a score, as `chartae.diagnostics.Score` is one."""

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
    "half": "Corrupt, then go half of the way that denoising goes (2410.05837).",
    "naive": "Corrupt and denoise as it is: Langevin at temperature 1/2, so that samples are too narrow.",
    "gsn": lambda s, h: GSN(s.denoise, s.sigma, "isotropic"),
    "annealed": lambda s, h: AnnealedLangevin(s.at, _levels(s, 200), repeats=1, step=h or 0.2),
    "tempering": lambda s, h: ParallelTempering(s.at, _levels(s, 10), step=h or 0.3),
}
NAMES = tuple(_KERNELS)
#: samplers that need a noise-conditional model
WITH_LEVELS = ("annealed", "tempering")
#: samplers that walk down the levels, from noise
FROM_NOISE = ("annealed",)


def _levels(s: Score, n: int) -> list[float]:
    return geometric(s.levels[1], s.levels[0], n)


def starts_from_noise(name: str) -> bool:
    """Whether chains of a sampler begin in noise of the highest level, and need no data."""
    return name in FROM_NOISE


def kernel(name: str, score: Score, step: float | None = None) -> Kernel:
    """A kernel by name; its step size, where not given, follows from the noise level.

    Raises:
        ValueError: an unknown name, or a sampler over noise levels for a model of one.
    """
    if name not in _KERNELS:
        close = difflib.get_close_matches(name, NAMES, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"there is no sampler {name!r}{hint}; choose from {', '.join(NAMES)}")
    if name in WITH_LEVELS and score.levels[0] == score.levels[1]:
        raise ValueError(
            f"the sampler {name!r} walks over noise levels, but the model was trained at sigma = {score.sigma:g} "
            "alone; train the recipe ncdae, or use mala"
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
    """Run a named sampler from `start` (chains, *S); by default 1,000 steps (or the kernel's schedule) after 500 of
    warm-up where that tunes something, of which the last positions are kept."""
    made = kernel(name, score, step)
    steps = steps or made.length or 1000
    warmup = (0 if made.target is None else 500) if warmup is None else warmup
    return base.run(made, start, steps, warmup=warmup, seed=seed, thin=thin or steps)


def noise_start(score: Score, shape: tuple[int, ...], n: int, seed: int, device: torch.device) -> Tensor:
    """Noise of the highest level about the data's mean: where a walk down the levels begins.

    The mean is what the denoiser makes of so much noise; off it, chains would begin on one side of the data.
    """
    generator = torch.Generator(device).manual_seed(seed)
    top = score.at(score.levels[1])
    noise = top.sigma * torch.randn((n, *shape), generator=generator, device=device)
    centre = torch.zeros(shape, device=device)
    with torch.no_grad():
        for _ in range(3):
            centre = torch.cat([top.denoise(centre + part) for part in noise[:1000].split(250)]).mean(0)
    return centre + noise


_SUMMARIES = {
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


def summary(name: str) -> str:
    """One sentence about a sampler.

    Args:
        name: one of `NAMES`.

    Raises:
        KeyError: there is no such sampler.
    """
    return _SUMMARIES[name]
