"""The scikit-learn facade: arrays, data frames or strings in, and the same out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import ClassifierTags, Tags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from chartae import runs
from chartae.autoencoder import in_slices
from chartae.data import Condition, Dataset, Encoded, Reading, read
from chartae.data.arrays import splits
from chartae.data.columns import Frame, is_frame
from chartae.data.kinds.base import dimensions
from chartae.data.labels import class_codes
from chartae.data.lines import is_string_list
from chartae.objectives import Objective
from chartae.recipes import DEFAULT, RECIPES, options, trial
from chartae.samplers import by_name
from chartae.training import Training

__all__ = ["GenerativeAutoencoder"]

#: examples in the form of the `X` of `fit`
Examples: TypeAlias = np.ndarray | list[str] | Frame


def _categorical(estimator: GenerativeAutoencoder) -> bool:
    """Whether codes name a category, which can be predicted."""
    if not estimator._objective().model.encoder.has_category:
        raise AttributeError(
            f"recipe {estimator.recipe!r} has no clusters or classes to predict; use transform, or a recipe that does"
        )
    return True


def _dense(estimator: GenerativeAutoencoder) -> bool:
    """Whether the decoder has a density."""
    if not estimator._objective().model.decoder.has_density:
        raise AttributeError(
            f"recipe {estimator.recipe!r} has a decoder that can be sampled, but has no density to score by; compare "
            "samples instead (chartae.evaluate)"
        )
    return True


def _scored(estimator: GenerativeAutoencoder) -> bool:
    """Whether there is a number to choose estimators by."""
    return "labels" in estimator._objective().uses or _dense(estimator)


@dataclass(frozen=True)
class _Form:
    """The layout and the type of number of an array of examples, and how examples get them back.

    Attributes:
        shape: of one example.
        dtype: of the numbers that come back: the whole numbers or truth values that came, otherwise float32.
    """

    shape: tuple[int, ...] = ()
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.float32))

    @classmethod
    def of(cls, x: object) -> _Form:
        """The form of an array; of what restores itself, such as a data frame, there is nothing to keep."""
        if not isinstance(x, np.ndarray):
            return cls()
        return cls(x.shape[1:], x.dtype if x.dtype.kind in "biu" else np.dtype(np.float32))

    def restore(self, x: Tensor, unit: bool) -> np.ndarray:
        """Examples in this form; `unit` says that they are pictures in [0, 1], whose whole numbers are 0..255."""
        # images are (C, H, W) inside; colours last is the only layout in which the order differs
        if x.ndim == 4 and len(self.shape) == 3 and tuple(x.shape[1:]) != self.shape:
            x = x.permute(0, 2, 3, 1)
        values = x.reshape(len(x), *self.shape).numpy(force=True)
        if self.dtype.kind == "b":
            return values >= 0.5
        if self.dtype.kind in "iu":
            info = np.iinfo(self.dtype)
            largest = 255.0 if unit else np.nextafter(float(info.max), 0)  # the largest of 64 bits is no float64
            smallest = 0.0 if unit else float(info.min)
            values = (values.astype(np.float64) * (255 if unit else 1)).round().clip(smallest, largest)
        return values.astype(self.dtype)


class GenerativeAutoencoder(TransformerMixin, BaseEstimator):
    """A regularised autoencoder with a density of its codes, as a scikit-learn estimator.

    `X` is (n, d) numbers or a data frame of them, images (n, h, w), (n, c, h, w) or (n, h, w, c) as uint8 or as floats
    in [0, 1], or a list of strings. `sample` and `inverse_transform` return the same: an array of the layout, the units
    and the type of number of the `X` of `fit` (floats as float32), a data frame with its columns and their types, or a
    list of strings. Columns of a table are standardised inside.

    Args:
        recipe: a name of `chartae.recipes.RECIPES`.
        density: the density that codes are sampled from: ``"gmm"``, ``"normal"``, another of
            `chartae.densities.NAMES`, or ``"prior"``, the model's own. Recipes to whose codes no density is fitted
            (clusters, classes) use their prior.
        latent_dim: size of the codes; None for the recipe's default: 16 for most, or the data's own size where that is
            smaller.
        epochs, batch_size, lr, net: as in `chartae.fit`.
        random_state: seeds everything; the same number gives the same estimator, and the same samples.
        options: the recipe's own keywords, such as ``{"beta": 0.01}``, and how strings are read
            (`chartae.data.Reading`), such as ``{"grammar": "expressions"}``.
        components: number of components of the mixture.
        validation_fraction: share of the data that chooses the best epoch; 0 keeps the last one. Recipes that learn
            from labels hold nothing out.
        condition: ``"labels"`` or True: encoder, decoder and density are conditioned on `y`, which `fit` and every
            other method then take; None or False: nothing is.
        device: ``"cpu"`` keeps off a GPU.
        verbose: whether progress is shown.

    Attributes:
        run_: the `chartae.Run`: model, densities, log.
        n_features_in_: values of one example, for arrays and data frames.
        classes_: the classes, in order, for recipes that learn from labels.

    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> X = digits.images / 16
    >>> estimator = GenerativeAutoencoder("rae", latent_dim=8, epochs=1, components=3, random_state=0).fit(X)
    >>> estimator.transform(X).shape, estimator.sample(5).shape, estimator.score_samples(X).shape
    ((1797, 8), (5, 8, 8), (1797,))
    >>> estimator = GenerativeAutoencoder("vae", epochs=1, components=1, condition="labels", random_state=0)
    >>> estimator.fit(X, digits.target).sample(5, y=3).shape
    (5, 8, 8)
    """

    def __init__(
        self,
        recipe: str = DEFAULT,
        density: str = "gmm",
        latent_dim: int | None = None,
        epochs: int = 20,
        batch_size: int = 128,
        random_state: int | np.random.RandomState | None = None,
        options: Mapping[str, object] | None = None,
        *,
        lr: float | None = None,
        net: str = "auto",
        components: int = 10,
        validation_fraction: float = 0.1,
        condition: bool | str | None = None,
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
        self.condition = condition
        self.device = device
        self.verbose = verbose

    # -- fitting ----------------------------------------------------------------------------------------------------

    def fit(self, X: object, y: object = None) -> GenerativeAutoencoder:
        """Train the recipe on `X`, then fit the density to its codes.

        Args:
            X: n examples, as the class says.
            y: with `condition`, the condition of each example: (n,) labels or real numbers, or (n, k), or a data frame
                of several. For recipes that learn from labels, the class of each example, -1 where it is not known.
                Ignored otherwise.

        Raises:
            ValueError, TypeError: a parameter, option, example or `y` that does not fit; before training starts.
        """
        seed, conditional = self._seed(), self._conditional
        X = self._checked(X, reset=True)
        self._refuse_others()
        objective = self._trial()
        supervised = objective is not None and "labels" in objective.uses
        if supervised and conditional:
            raise ValueError(
                f"condition is {self.condition!r}, but recipe {self.recipe!r} learns from y itself. Leave condition "
                "out, or use a recipe that does not learn from labels"
            )
        if (supervised or conditional) and y is None:
            needed = "y, with -1 where the class is not known" if supervised else "y, the condition of each example"
            why = f"recipe {self.recipe!r} learns from labels" if supervised else f"condition is {self.condition!r}"
            raise ValueError(f"{why}; give {needed}")
        # examples that are held out would take their labels along
        valid = 0.0 if supervised else self.validation_fraction
        reading, own = self._split_options()
        kinds = RECIPES[self.recipe].kinds
        data = read(X, kinds=kinds, seed=seed, valid=valid, test=0.0, reading=reading)
        if data.skipped and (supervised or conditional):
            raise ValueError(f"{data.skipped} strings cannot be encoded; leave them out of X, and their rows out of y")
        if supervised:
            self.classes_, codes = class_codes(cast(ArrayLike, y), len(data.train))
            data = replace(data, train_labels=torch.from_numpy(codes))
        elif conditional:
            data = _conditioned(data, y, valid, seed)
        density = self._density
        request = runs.Request(
            latent_dim=self.latent_dim,
            net=self.net,
            densities=() if density == "prior" else (density,),
            components=self.components,
            progress=bool(self.verbose),
            training=Training(
                epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, seed=seed, device=self.device
            ),
            options=own,
        )
        self._form = _Form.of(X)
        self.run_ = runs.fit_request(self.recipe, data, request)
        return self

    def fit_transform(self, X: object, y: object = None, **fit_params: object) -> np.ndarray:
        """`fit`, then `transform` of the same examples, with `y` where it is the condition."""
        return self.fit(X, y, **fit_params).transform(X, y if self._conditional else None)

    # -- using ------------------------------------------------------------------------------------------------------

    def transform(self, X: object, y: object = None) -> np.ndarray:
        """Codes (n, latent_dim), float32: the mean of q(z|x), or of q(z|x,y) with `condition`.

        Args:
            X: n examples, as in `fit`.
            y: with `condition`: one value for all examples, or one for each.

        Raises:
            ValueError, TypeError: other examples than those of `fit`; a missing `y`, or one without `condition`.
        """
        check_is_fitted(self)
        examples = self._checked(X, reset=False)
        return _numpy(self.run_.encode(examples, self._given(y, len(examples))))

    @available_if(_categorical)
    def predict(self, X: object, y: object = None) -> np.ndarray:
        """The most probable cluster of each example (n,), for recipes whose code names one; the class, as it was given
        to `fit`, for those that learn from labels."""
        check_is_fitted(self)
        examples = self._checked(X, reset=False)
        categories = self.run_.categories(examples, self._given(y, len(examples)))
        numbers = _numpy(categories.argmax(1))
        return self.classes_[numbers] if "labels" in self._objective().uses else numbers

    def inverse_transform(self, Z: object, y: object = None) -> Examples:
        """Points of codes (n, latent_dim): the mean of p(x|z), or of p(x|z,y), in the form of the `X` of `fit`."""
        check_is_fitted(self)
        codes = check_array(Z, dtype=np.float32)
        (d,) = self.run_.model.code_shape
        if codes.shape[1] != d:
            raise ValueError(f"Z has {codes.shape[1]} columns, but the codes have {d} dimensions")
        return self._restored(self.run_.decode(codes, self._given(y, len(codes))))

    def sample(self, n_samples: int = 1, y: object = None) -> Examples:
        """New points, in the form of the `X` of `fit`, of codes drawn from the density.

        Args:
            n_samples: how many, >= 1.
            y: with `condition`: one value for all draws, or one for each.
        """
        check_is_fitted(self)
        condition = self._given(y, n_samples)
        return self._restored(self.run_.sample(n_samples, self._density, condition=condition, seed=self._seed()))

    @available_if(_dense)
    def score_samples(self, X: object, y: object = None) -> np.ndarray:
        """log p(x|z) + log p(z) at the code z = E[z|x], in nats for each example (n,); higher is more usual.

        The log joint density at one code: fit to rank examples (an anomaly scores low on either term), not a
        normalised log p(x), which a deterministic encoder does not have. It is a density in the units of `X`, of images
        as floats in [0, 1]. With `condition`, both terms are given `y`.
        """
        check_is_fitted(self)
        x = self.run_.kind.read(self._checked(X, reset=False))
        model, density = self.run_.model, self.run_.density(self._density)
        given = self.run_.conditions(self._given(y, len(x)), len(x))

        def joint(part: Tensor, condition: Tensor | None = None) -> Tensor:
            z = model.encoder(part, condition).mean
            return model.decoder(z, condition).log_prob(part) + density.log_prob(z, condition=condition)

        rows = in_slices(model, joint, x) if given is None else in_slices(model, joint, x, given)
        return _numpy(rows).astype(np.float64) - self.run_.kind.log_scale

    @available_if(_scored)
    def score(self, X: object, y: object = None) -> float:
        """A number that a grid search may maximise: the mean of `score_samples`; for recipes that learn from labels,
        the share of examples whose class is predicted, among those with a class in `y`."""
        if "labels" not in self._objective().uses:
            return float(self.score_samples(X, y if self._conditional else None).mean())
        predicted = self.predict(X)
        classes, codes = class_codes(cast(ArrayLike, y), len(predicted), allow_one_class=True)
        return float((predicted == classes[codes])[codes >= 0].mean())

    # -- what it can do ---------------------------------------------------------------------------------------------

    def _objective(self) -> Objective:
        """The objective whose parts say what this estimator can do: the fitted one, or a small untrained one.

        Raises:
            AttributeError: the recipe cannot be built, as it is unknown or its options are wrong.
        """
        fitted = self._fitted()
        if fitted is not None:
            return fitted
        try:
            return trial(self.recipe, self._split_options()[1])
        except (ValueError, TypeError) as error:
            raise AttributeError(str(error)) from error

    def _fitted(self) -> Objective | None:
        run: runs.Run | None = getattr(self, "run_", None)
        return None if run is None else run.objective

    def _trial(self) -> Objective | None:
        """What the recipe as it is set now can do; None where only `fit` can say, or refuses it."""
        try:
            return trial(self.recipe, self._split_options()[1])
        except (ValueError, TypeError):
            return None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        fitted = self._fitted()
        objective = self._trial() if fitted is None else fitted
        supervised = objective is not None and "labels" in objective.uses
        if supervised:
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags()
        elif objective is not None and objective.model.encoder.has_category:
            tags.estimator_type = "clusterer"
        tags.target_tags.required = supervised or bool(self.condition)
        tags.transformer_tags.preserves_dtype = []  # codes are float32 whatever came in
        tags.input_tags.three_d_array = True
        return tags

    def _refuse_others(self) -> None:
        """Raise ValueError for recipes that no density of codes and no single domain goes with."""
        if RECIPES[self.recipe].density in by_name.NAMES:
            raise ValueError(
                f"the recipe {self.recipe!r} estimates a score and has no density of codes, which this estimator is "
                "about; use chartae.fit, chartae.diagnostics.Score and Run.sample"
            )
        objective = self._trial()
        if objective is not None and "partner" in objective.uses:
            raise ValueError(
                f"the recipe {self.recipe!r} translates between two domains, and this estimator is fitted to one; use "
                "chartae.fit(..., to=...) and chartae.runs.translate"
            )

    @property
    def _conditional(self) -> bool:
        """Whether `y` is a condition."""
        if self.condition is None or isinstance(self.condition, bool):
            return bool(self.condition)
        if self.condition != "labels":
            raise ValueError(
                f"condition is {self.condition!r}; expected 'labels' or True, for y, or None. Give the columns of a "
                "condition as y"
            )
        return True

    @property
    def _density(self) -> str:
        """What codes are drawn from: the model's own prior, where no density is fitted to codes of this recipe."""
        return self.density if RECIPES[self.recipe].densities else "prior"

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _split_options(self) -> tuple[Reading, Mapping[str, object]]:
        """How data are read, and the recipe's own options."""
        given = dict(self.options or {})
        names = {f.name for f in fields(Reading)} - set(options(self.recipe))
        stated: dict[str, Any] = {name: given.pop(name) for name in names & set(given)}
        return RECIPES[self.recipe].reads(Reading(**stated)), given

    # -- examples in and out ----------------------------------------------------------------------------------------

    def _checked(self, X: object, *, reset: bool) -> Examples:
        """Examples by scikit-learn's own rules; everything else about them is up to the one reader."""
        if isinstance(X, str | os.PathLike | Dataset):
            raise TypeError(f"X is a {type(X).__name__}; expected an array, a data frame or a list of strings")
        if is_string_list(X):
            return [str(s) for s in X]
        if isinstance(X, Tensor):
            X = X.numpy(force=True)
        if is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        settings = {"dtype": "numeric", "ensure_min_samples": 2 if reset else 1}
        if dimensions(X) > 2:
            images: np.ndarray = check_array(X, allow_nd=True, **settings)
            validate_data(self, images.reshape(len(images), -1), reset=reset, skip_check_array=True)
            return images
        table: np.ndarray = validate_data(self, X, reset=reset, **settings)
        return table

    def _given(self, y: object, n: int) -> Encoded | None:
        """The condition of `n` rows."""
        condition: Condition | None = self.run_.condition
        if condition is None:
            if y is not None:
                raise ValueError(
                    "y is given, but this estimator has no condition; set condition='labels', or leave y out"
                )
            return None
        if y is None:
            raise ValueError(
                f"y is missing, but the estimator is conditioned on {condition}; give one value, or one a row"
            )
        return Encoded(condition.read(y, n))

    def _restored(self, x: object) -> Examples:
        return self._form.restore(x, self.run_.kind.unit) if isinstance(x, Tensor) else cast(Examples, x)


def _conditioned(data: Dataset, y: object, valid: float, seed: int) -> Dataset:
    """A data set with `y` as the condition of its examples, split as these are."""
    n = len(data.train) + len(data.valid)
    condition = Condition.of(y)
    rows = condition.read(y, n).float()
    parts = splits(n, valid, 0.0, seed)
    return replace(
        data, condition=condition, train_condition=rows[parts["train"]],
        valid_condition=rows[parts["valid"]] if len(data.valid) else None,
    )  # fmt: skip


def _numpy(x: Tensor) -> np.ndarray:
    return x.numpy(force=True)
