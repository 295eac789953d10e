"""Samplers: Markov chains that draw from what was fitted.

chain = run(MALA(score, step=0.01), x0, steps=2000, warmup=500, seed=0)
chain.positions, chain.info.acceptance
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
