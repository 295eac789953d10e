"""Terms: what an objective is a sum of. Each is one class, a function of one forward pass."""

from chartae.terms.base import Sum, Term, Trace
from chartae.terms.latent import MMD, LatentNorm, SlicedWasserstein
from chartae.terms.likelihood import KL, Reconstruction
from chartae.terms.smoothness import DecoderGradient, DecoderL2

__all__ = [
    "KL",
    "MMD",
    "DecoderGradient",
    "DecoderL2",
    "LatentNorm",
    "Reconstruction",
    "SlicedWasserstein",
    "Sum",
    "Term",
    "Trace",
]
