"""Terms, the summands of an objective. Each is one class: a function of one forward pass of the autoencoder."""

from chartae.terms.adversarial import AdversarialKL, AdversarialLatent
from chartae.terms.base import Sum, Term, Trace
from chartae.terms.latent import MMD, LatentNorm, SlicedWasserstein
from chartae.terms.likelihood import KL, Reconstruction
from chartae.terms.score import SlicedScoreMatching
from chartae.terms.smoothness import Contraction, DecoderGradient, DecoderL2, Orthogonality

__all__ = [
    "KL",
    "MMD",
    "AdversarialKL",
    "AdversarialLatent",
    "Contraction",
    "DecoderGradient",
    "DecoderL2",
    "LatentNorm",
    "Orthogonality",
    "Reconstruction",
    "SlicedScoreMatching",
    "SlicedWasserstein",
    "Sum",
    "Term",
    "Trace",
]
