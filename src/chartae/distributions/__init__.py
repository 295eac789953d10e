"""Distributions over points, as conditionals return them; cheap enough to be built in every training step."""

from chartae.distributions.base import LOG_2PI, Distribution, PointMass
from chartae.distributions.bounded import Beta, LogitBeta, Squashed
from chartae.distributions.discrete import Atoms, Bernoulli, OneHot, Product, Replaced
from chartae.distributions.implicit import Pushed
from chartae.distributions.real import Laplace, Normal, OptimalNormal
from chartae.maths.random import randn, supplied

__all__ = [
    "LOG_2PI",
    "Atoms",
    "Bernoulli",
    "Beta",
    "Distribution",
    "Laplace",
    "LogitBeta",
    "Normal",
    "OneHot",
    "OptimalNormal",
    "PointMass",
    "Product",
    "Pushed",
    "Replaced",
    "Squashed",
    "randn",
    "supplied",
]
