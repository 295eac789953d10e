"""The scikit-learn facade: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import ClassifierTags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from chartae import densities, runs
from chartae.autoencoder import in_slices
from chartae.data import Dataset, as_examples, from_arrays, indices, is_strings
from chartae.data.labels import class_codes
from chartae.data.properties import string_data
from chartae.recipes import OF_CLUSTERS, OF_DOMAINS, OF_IMPLICIT, OF_LABELS, OF_SCORE, OF_STRINGS
from chartae.runs import Run

__all__ = ["GenerativeAutoencoder"]


def _clusters(estimator: GenerativeAutoencoder) -> bool:
    if estimator.recipe not in OF_CLUSTERS:
        raise AttributeError(
            f"recipe {estimator.recipe!r} has no clusters to predict; use {' or '.join(OF_CLUSTERS)}, or transform"
        )
    return True


def _dense(estimator: GenerativeAutoencoder) -> bool:
    if estimator.recipe in OF_IMPLICIT:
        raise AttributeError(
            f"recipe {estimator.recipe!r} has a decoder that is drawn from, and no density to score by; compare "
            "samples (chartae.evaluate)"
        )
    return True


def _scored(estimator: GenerativeAutoencoder) -> bool:
    return estimator.recipe in OF_LABELS or _dense(estimator)


class GenerativeAutoencoder(TransformerMixin, BaseEstimator):
    """A regularised autoencoder with a density of its codes, as a scikit-learn estimator.

    `X` is (n, d), or images (n, h, w), (n, c, h, w) or (n, h, w, c); uint8, or floats (images in [0, 1]). What comes
    back out of the decoder has the layout, the units and the kind of number (uint8 or float32) of the `X` of `fit`.
    Recipes for strings take and give lists of them; their grammar is an option, ``options={"grammar": "expressions"}``.

    Args:
        recipe: a name of `chartae.recipes.RECIPES`.
        density: what codes are drawn from: ``"gmm"``, ``"normal"``, or ``"prior"``, the model's own.
        latent_dim: size of the codes; None for 16, or the data's own where that is smaller.
        epochs, batch_size, lr, net: as in `chartae.fit`.
        components: of the mixture.
        validation_fraction: share of the data that chooses the best epoch; 0 keeps the last one.
        random_state: seeds everything; the same number gives the same estimator, and the same samples.
        options: the recipe's own keywords, such as ``{"beta": 0.01}``.
        device: ``"cpu"`` keeps off a GPU.
        verbose: whether progress is shown.

    Attributes:
        run_: the `chartae.Run`: model, densities, log.
        n_features_in_: values of one example.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().images / 16
    >>> estimator = GenerativeAutoencoder("rae", latent_dim=8, epochs=1, components=3, random_state=0).fit(X)
    >>> estimator.transform(X).shape, estimator.sample(5).shape, estimator.score_samples(X).shape
    ((1797, 8), (5, 8, 8), (1797,))
    """

    def __init__(
        self,
        recipe: str = "rae-l2",
        density: str = "gmm",
        latent_dim: int | None = None,
        epochs: int = 20,
        batch_size: int = 128,
        random_state: Any = None,
        options: dict[str, Any] | None = None,
        *,
        lr: float | None = None,
        net: str = "auto",
        components: int = 10,
        validation_fraction: float = 0.1,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.density = density
        self.latent_dim = latent_dim
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.options = options
        self.lr = lr
        self.net = net
        self.components = components
        self.validation_fraction = validation_fraction
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> GenerativeAutoencoder:
        """Train the recipe on `X`, then fit the density to its codes.

        `y` is used by the semi-supervised recipes alone: the class of each example, -1 where it is not known.
        """
        seed = self._seed()
        if self.recipe in OF_STRINGS:
            return self._fit_strings(X, seed)
        X = self._validate(X, reset=True)
        if self.recipe in OF_SCORE:
            raise ValueError(
                f"the recipe {self.recipe!r} estimates a score and has no density of codes, which this estimator is "
                "about; use chartae.fit, chartae.diagnostics.Score and Run.sample"
            )
        if self.recipe in OF_DOMAINS:
            raise ValueError(
                f"the recipe {self.recipe!r} translates between two domains, and this estimator is fitted to one; use "
                "chartae.fit(..., to=...) and Run.translate"
            )
        density = self._density
        if density != "prior":
            densities.make(density)
        labels = self._classes(y, len(X)) if self.recipe in OF_LABELS else None
        # held out examples would take their labels along
        valid = 0.0 if labels is not None else self.validation_fraction
        data = from_arrays(X, labels, seed=seed, valid=valid, test=0)
        self._layout = X.shape[1:]
        self._bytes = X.dtype == np.uint8
        self.run_ = self._train(data, seed, self.options or {})
        return self

    def _fit_strings(self, X: Any, seed: int) -> GenerativeAutoencoder:
        options = dict(self.options or {})
        named = {key: options.pop(key) for key in ("grammar", "limit", "errors") if key in options}
        split: dict[str, Any] = {"seed": seed, "valid": self.validation_fraction, "test": 0.0}
        data = string_data(self.recipe, self._listed(X), **named, **split)
        self.run_ = self._train(data, seed, options)
        return self

    def _train(self, data: Dataset, seed: int, options: dict[str, Any]) -> Run:
        density = self._density
        return runs.fit(
            self.recipe,
            data,
            latent_dim=self.latent_dim,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            net=self.net,
            lr=self.lr,
            densities=() if density == "prior" else (density,),
            components=self.components,
            device=self.device,
            progress=bool(self.verbose),
            **options,
        )

    def transform(self, X: Any) -> np.ndarray:
        """Codes (n, latent_dim), float32: the mean of q(z|x)."""
        x = self._examples(X)  # says so first where nothing is fitted
        return _numpy(self.run_.encode(x))

    @available_if(_clusters)
    def predict(self, X: Any) -> np.ndarray:
        """The likeliest cluster of each example (n,), of recipes whose code names one; the class, as it was given to
        `fit`, of the semi-supervised ones."""
        found = _numpy(self.run_.categories(self._examples(X)).argmax(1))
        return self.classes_[found] if self.recipe in OF_LABELS else found

    def inverse_transform(self, Z: Any) -> np.ndarray | list[str]:
        """Points of codes (n, latent_dim): the mean of p(x|z), in the layout and units of the `X` of `fit`; of
        strings a list."""
        check_is_fitted(self)
        Z = check_array(Z, dtype=np.float32)
        (d,) = self.run_.model.code_shape
        if Z.shape[1] != d:
            raise ValueError(f"Z has {Z.shape[1]} columns, but the codes have {d} dimensions")
        return self._points(self.run_.decode(Z))

    def sample(self, n_samples: int = 1) -> np.ndarray | list[str]:
        """New points, as `inverse_transform` gives them, of codes drawn from the density."""
        check_is_fitted(self)
        return self._points(self.run_.sample(n_samples, self._density, seed=self._seed()))

    @available_if(_dense)
    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x|z) + log p(z) at the code z = E[z|x], in nats for each example; higher is more usual.

        The log joint density at one code: fit to rank examples (an anomaly scores low on either term), not a
        normalised log p(x), which a deterministic encoder does not have.
        """
        x = self._examples(X)
        model, density = self.run_.model, self.run_.density(self._density)

        def joint(part: Tensor) -> Tensor:
            z = model.encoder(part).mean
            return model.decoder(z).log_prob(part) + density.log_prob(z)

        return _numpy(in_slices(model, joint, x)).astype(np.float64)

    @available_if(_scored)
    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, by which a grid search may choose; of semi-supervised recipes the share of
        examples whose class is predicted, of those with a class in `y`."""
        if self.recipe not in OF_LABELS:
            return float(self.score_samples(X).mean())
        found = self.predict(X)
        classes, own = class_codes(y, len(found), alone=True)
        return float((found == classes[own])[own >= 0].mean())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.recipe in OF_LABELS:
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags()
            tags.target_tags.required = True
        elif self.recipe in OF_CLUSTERS:
            tags.estimator_type = "clusterer"
        tags.transformer_tags.preserves_dtype = []  # codes are float32 whatever came in
        tags.input_tags.three_d_array = True
        return tags

    def _classes(self, y: Any, n: int) -> np.ndarray:
        """Classes as 0, 1, ... in the order of `classes_`, -1 where unknown."""
        if y is None:
            raise ValueError(f"recipe {self.recipe!r} learns from labels; give y, with -1 where the class is not known")
        self.classes_, found = class_codes(y, n)
        return found

    @property
    def _density(self) -> str:
        """No density is fitted to points of a simplex: clusters have their prior."""
        return "prior" if self.recipe in OF_CLUSTERS else self.density

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _validate(self, X: Any, *, reset: bool) -> np.ndarray:
        if isinstance(X, Tensor):
            X = X.numpy(force=True)
        X = validate_data(self, X, reset=reset, allow_nd=True, dtype=None, ensure_min_samples=2 if reset else 1)
        if X.dtype.kind not in "fu":
            X = check_array(X, dtype=np.float32, allow_nd=True)
        return X

    def _listed(self, X: Any) -> list[str]:
        if isinstance(X, str) or not is_strings(X):
            raise TypeError(f"recipe {self.recipe!r} is for strings; X is a {type(X).__name__}, not a list of strings")
        return [str(s) for s in X]

    def _examples(self, X: Any) -> Tensor:
        check_is_fitted(self)
        if self.recipe in OF_STRINGS:
            return indices(self.run_.codec.encode(self._listed(X)), self.run_.codec)
        X = self._validate(X, reset=False)
        if X.shape[1:] != self._layout:
            raise ValueError(f"X has examples of shape {X.shape[1:]}, but the estimator was fitted to {self._layout}")
        if (X.dtype == np.uint8) != self._bytes:
            kinds = ("floats", "uint8")
            raise ValueError(f"X holds {kinds[not self._bytes]}, but the estimator was fitted to {kinds[self._bytes]}")
        return as_examples(X, at_least=1)

    def _points(self, x: Tensor) -> np.ndarray | list[str]:
        if self.recipe in OF_STRINGS:
            return self.run_.written(x)
        shape = self._layout
        # images are (C, H, W) inside; colours last is the only layout in which the order differs
        if x.ndim == 4 and len(shape) == 3 and tuple(x.shape[1:]) != shape:
            x = x.permute(0, 2, 3, 1)
        if self._bytes:
            x = x.mul(255).round().clamp(0, 255).to(torch.uint8)
        return _numpy(x.reshape(len(x), *shape))


def _numpy(x: Tensor) -> np.ndarray:
    return x.numpy(force=True)
