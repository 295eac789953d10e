"""A scikit-learn estimator over arrays, data frames, images and strings."""

from chartae.estimator.generative import GenerativeAutoencoder

__all__ = ["GenerativeAutoencoder"]
