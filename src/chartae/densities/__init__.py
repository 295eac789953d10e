"""Densities of codes, p(z), fitted after training: what turns an autoencoder into a generator."""

from chartae.densities.base import Density
from chartae.densities.conditional import ByCondition, fit
from chartae.densities.gaussian import GaussianMixture, Normal
from chartae.densities.registry import NAMES, accepted, load, make, register, save

__all__ = [
    "NAMES",
    "ByCondition",
    "Density",
    "GaussianMixture",
    "Normal",
    "accepted",
    "fit",
    "load",
    "make",
    "register",
    "save",
]
