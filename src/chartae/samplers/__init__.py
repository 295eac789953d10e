"""Samplers: Markov chains that follow an estimated score.

>>> import torch
>>> from chartae.samplers import MALA, run
>>> score = lambda x: -x  # of the standard normal
>>> chain = run(MALA(score, step=0.5), torch.zeros(100, 2), steps=50, warmup=50, seed=0)
>>> chain.positions.shape, chain.info.acceptance.shape
(torch.Size([50, 100, 2]), torch.Size([50, 100]))
"""

from chartae.samplers import by_name
from chartae.samplers.base import Chain, Info, Kernel, State, run
from chartae.samplers.chains import GSN, CorruptDenoise, ParallelTempering
from chartae.samplers.langevin import ULA, AnnealedLangevin, geometric
from chartae.samplers.metropolis import MALA, RandomWalk

__all__ = [
    "GSN",
    "MALA",
    "ULA",
    "AnnealedLangevin",
    "Chain",
    "CorruptDenoise",
    "Info",
    "Kernel",
    "ParallelTempering",
    "RandomWalk",
    "State",
    "by_name",
    "geometric",
    "run",
]
