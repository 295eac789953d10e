"""Densities of codes, p(z), fitted after training: what turns an autoencoder into a generator."""

from chartae.densities.base import Density
from chartae.densities.gaussian import GaussianMixture, Normal
from chartae.densities.registry import NAMES, load, make, save

__all__ = ["NAMES", "Density", "GaussianMixture", "Normal", "load", "make", "save"]
