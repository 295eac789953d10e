"""A scikit-learn estimator that reads arrays, data frames or strings, and returns the same type."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import ClassifierTags, Tags, check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor

from chartae import runs
from chartae.autoencoder import in_slices
from chartae.data import Condition, Dataset, Encoded, Reading, read
from chartae.data.arrays import splits
from chartae.data.columns import is_frame
from chartae.data.labels import class_codes
from chartae.estimator.forms import Examples, Form, checked, whole
from chartae.objectives import Objective
from chartae.recipes import DEFAULT, RECIPES, options, trial
from chartae.runs.packing import pack, unpack
from chartae.samplers import by_name
from chartae.training import Training

__all__ = ["GenerativeAutoencoder"]


def _categorical(estimator: GenerativeAutoencoder) -> bool:
    """Whether the code holds a category (a cluster or a class) that `predict` can return."""
    if not estimator._objective().model.encoder.has_category:
        raise AttributeError(
            f"recipe is {estimator.recipe!r}, which has no clusters or classes to predict; expected a recipe that has, "
            "such as 'aae-cluster' or 'aae-semisup'. Use transform for its codes"
        )
    return True


def _has_density(estimator: GenerativeAutoencoder) -> bool:
    """Whether the decoder has a density p(x|z) that can be evaluated."""
    if not estimator._objective().model.decoder.has_density:
        raise AttributeError(
            f"recipe is {estimator.recipe!r}, whose decoder can be sampled but has no density to evaluate; expected a "
            "recipe whose decoder has one. Compare samples with chartae.evaluate instead"
        )
    return True


def _can_score(estimator: GenerativeAutoencoder) -> bool:
    """Whether `score` can return a number by which estimators are compared."""
    return "labels" in estimator._objective().uses or _has_density(estimator)


class GenerativeAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A scikit-learn estimator: a regularised autoencoder and a density fitted to its codes.

    `fit` trains q(z|x) and p(x|z) by a recipe, then fits p(z) to the codes of the training data (ex-post density
    estimation: Ghosh et al., 2020, arXiv 1903.12436). Samples are x ~ p(x|z) with z ~ p(z).

    `X` is one of

    - numbers (n, d), as an array or a data frame; columns are standardised internally;
    - images (n, h, w), (n, c, h, w) or (n, h, w, c), as uint8 or as floats in [0, 1];
    - n strings, as a list, an array or one column of a data frame.

    `sample` and `inverse_transform` return examples of the same type: an array with the layout, units and dtype of the
    `X` of `fit` (floats become float32), a data frame with the same columns and dtypes, or a list of strings. After
    ``set_output(transform="pandas")`` the codes come as a data frame too.

    A fitted estimator can be pickled, also by joblib. The file holds its parameters, settings, weights, densities and
    log, but no training data. In another process it gives the same numbers to the bit, on the same machine.

    Args:
        recipe: name of a recipe in `chartae.recipes.RECIPES`, such as ``"vae"``; default ``"rae-l2"``.
        density: name of the density p(z) that codes are sampled from: ``"gmm"`` (default), ``"normal"``, another name
            in `chartae.densities.NAMES`, or ``"prior"``, the model's own. Recipes whose code is a cluster or a class
            always use their prior.
        latent_dim: number of code dimensions, >= 1; None (default) for the recipe's default, which for most is 16, or
            the number of values in one example if that is smaller.
        epochs: number of passes over the training data, >= 1; default 20.
        batch_size: number of examples in a batch, >= 1; default 128.
        random_state: seed, or a NumPy `RandomState`, for training and sampling; the same number gives the same
            estimator, and the same samples in each call of `sample`. None (default) draws a new seed in each call.
        options: the recipe's own keywords, such as ``{"beta": 0.01}``, and for strings the fields of
            `chartae.data.Reading`, such as ``{"grammar": "expressions"}``; None (default) for none.
        lr: learning rate, > 0; None (default) for the recipe's own.
        net: architecture of encoder and decoder: ``"auto"`` (default) chooses by the data; otherwise ``"mlp"``,
            ``"conv"``, ``"residual"``, ``"smooth"`` or ``"paper"``, and for strings ``"gru"``, ``"transformer"`` or
            ``"paper"``.
        components: number of components of the mixture ``"gmm"``, >= 1; None (default) for 10, or for a number chosen
            by held-out likelihood if there are few rows (`chartae.densities.GaussianMixture`).
        validation_fraction: fraction of the data held out to choose the best epoch, in [0, 1); default 0.1. With 0 the
            last epoch is kept. Recipes that learn from labels hold nothing out.
        condition: ``"labels"`` or True conditions encoder, decoder and density on `y`, which `fit` and every other
            method then need; None (default) or False conditions them on nothing.
        device: device as PyTorch names it, such as ``"cpu"``; None (default) uses a GPU if there is one.
        verbose: whether to show progress; default False.

    Attributes:
        run_: the fitted `chartae.Run`, with model, densities and log.
        n_features_in_: number of values in one example, for arrays and data frames.
        feature_names_in_: names of the columns, for data frames whose columns are named by text.
        classes_: the sorted classes, for recipes that learn from labels.

    >>> import chartae as ch
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> X = digits.images / 16
    >>> estimator = ch.GenerativeAutoencoder("rae", latent_dim=8, epochs=1, components=3, random_state=0).fit(X)
    >>> estimator.transform(X).shape, estimator.sample(5).shape, estimator.score_samples(X).shape
    ((1797, 8), (5, 8, 8), (1797,))
    >>> estimator = ch.GenerativeAutoencoder("vae", epochs=1, components=1, condition="labels", random_state=0)
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
        components: int | None = None,
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

    def fit(self, X: object, y: object = None, *, weight: object = None) -> GenerativeAutoencoder:
        """Train the recipe on `X`, then fit the density to the codes of `X`.

        Args:
            X: n examples: numbers (n, d), a data frame, images, or a list of strings.
            y: with `condition`, the condition of each example: labels or real numbers (n,), or several of them as an
                array (n, k) or a data frame. For recipes that learn from labels, the class of each example (n,), with
                -1 for unknown. Ignored otherwise.
            weight: weight of each example in the loss and in the density, >= 0 (n,); None (default) for equal weights.
                It is not called sample_weight, since a whole number does not stand for as many copies of a row, which
                scikit-learn asks of that name: batches, held-out rows and the scaling of columns count rows.

        Returns:
            The fitted estimator itself.

        Raises:
            ValueError, TypeError: a parameter, an option, an example or `y` is invalid. Raised before training starts.
        """
        self._check_types()
        seed, conditional = self._seed(), self._conditional
        X = checked(self, X, reset=True)
        self._refuse_unsupported()
        objective = self._trial()
        supervised = objective is not None and "labels" in objective.uses
        if supervised and conditional:
            raise ValueError(
                f"condition is {self.condition!r}; expected None, since recipe {self.recipe!r} learns from y itself. "
                "Leave condition out, or use a recipe that does not learn from labels"
            )
        if (supervised or conditional) and y is None:
            needed = "y, with -1 for unknown classes" if supervised else "y, the condition of each example"
            why = f"recipe {self.recipe!r}" if supervised else f"condition {self.condition!r}"
            raise ValueError(f"{why} requires y to be passed, but the target y is None; give {needed}")
        # a validation split would take labelled examples away from training
        valid = 0.0 if supervised else self.validation_fraction
        reading, recipe_options = self._split_options()
        kinds = RECIPES[self.recipe].kinds
        data = read(X, kinds=kinds, seed=seed, valid=valid, test=0.0, reading=reading)
        if data.skipped and (supervised or conditional or weight is not None):
            raise ValueError(
                f"X holds {data.skipped} strings that cannot be encoded; expected none when y or weight is given. "
                "Leave them out of X, and their rows out of y and weight"
            )
        if supervised:
            labels = column_or_1d(y, warn=True)
            check_classification_targets(labels)
            self.classes_, codes = class_codes(labels, len(data.train))
            data = replace(data, train_labels=torch.from_numpy(codes))
        elif conditional:
            data = _conditioned(data, y, valid, seed)
        if weight is not None:
            data = _weighted(data, weight, valid, seed)
        density = self._density
        request = runs.Request(
            latent_dim=None if self.latent_dim is None else whole("latent_dim", self.latent_dim),
            net=self.net,
            densities=() if density == "prior" else (density,),
            components=None if self.components is None else whole("components", self.components),
            progress=bool(self.verbose),
            training=Training(
                epochs=whole("epochs", self.epochs), batch_size=whole("batch_size", self.batch_size), lr=self.lr,
                seed=seed, device=self.device,
            ),
            options=recipe_options,
        )  # fmt: skip
        self._form = Form.of(X)
        self.run_ = runs.fit_request(self.recipe, data, request)
        return self

    def fit_transform(self, X: object, y: object = None, **fit_params: object) -> np.ndarray:
        """Fit the estimator to `X`, and return the codes of `X`.

        Args:
            X: n examples: numbers (n, d), a data frame, images, or a list of strings.
            y: with `condition`, the condition of each example; for recipes that learn from labels, its class. Ignored
                otherwise.
            fit_params: further keywords of `fit`: `weight`.

        Returns:
            Codes (n, latent_dim), float32; a data frame after ``set_output(transform="pandas")``.

        Raises:
            ValueError, TypeError: a parameter, an option, an example or `y` is invalid.
        """
        return self.fit(X, y, **fit_params).transform(X, y if self._conditional else None)

    # -- using ------------------------------------------------------------------------------------------------------

    def transform(self, X: object, y: object = None) -> np.ndarray:
        """Encode examples: the mean of q(z|x), or of q(z|x,y) with `condition`.

        Args:
            X: n examples of the type and shape of the `X` of `fit`.
            y: with `condition`, one value for all examples, or one for each.

        Returns:
            Codes (n, latent_dim), float32; a data frame with the columns of `get_feature_names_out` after
            ``set_output(transform="pandas")``.

        Raises:
            ValueError, TypeError: the examples differ from those of `fit` in type or shape, `y` is missing with
                `condition`, or given without it.
        """
        check_is_fitted(self)
        examples = checked(self, X, reset=False)
        return _numpy(self.run_.encode(examples, self._condition_of(y, len(examples))))

    @available_if(_categorical)
    def predict(self, X: object, y: object = None) -> np.ndarray:
        """Predict the most probable cluster or class of each example.

        Available for recipes whose code holds a category.

        Args:
            X: n examples of the type and shape of the `X` of `fit`.
            y: with `condition`, one value for all examples, or one for each.

        Returns:
            The class of each example (n,), as given to `fit`, for recipes that learn from labels; otherwise the number
            of its cluster (n,).

        Raises:
            ValueError, TypeError: the examples differ from those of `fit` in type or shape, `y` is missing with
                `condition`, or given without it.
        """
        check_is_fitted(self)
        examples = checked(self, X, reset=False)
        categories = self.run_.categories(examples, self._condition_of(y, len(examples)))
        numbers = _numpy(categories.argmax(1))
        return self.classes_[numbers] if "labels" in self._objective().uses else numbers

    def inverse_transform(self, X: object, y: object = None) -> Examples:
        """Decode codes: the mean of p(x|z), or of p(x|z,y) with `condition`.

        Args:
            X: codes (n, latent_dim), as an array or a data frame.
            y: with `condition`, one value for all codes, or one for each.

        Returns:
            n examples of the type and layout of the `X` of `fit`; for codes in a data frame, with its index if
            they come as one.

        Raises:
            ValueError: `X` has another number of columns, `y` is missing with `condition`, or given without it.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32)
        (d,) = self.run_.model.code_shape
        if codes.shape[1] != d:
            raise ValueError(f"X has {codes.shape[1]} columns, but the codes have {d} dimensions; give codes (n, {d})")
        examples = self._restored(self.run_.decode(codes, self._condition_of(y, len(codes))))
        return examples.set_axis(X.index, axis=0) if is_frame(X) and is_frame(examples) else examples

    def sample(
        self,
        n_samples: int = 1,
        y: object = None,
        *,
        random_state: int | np.random.RandomState | None = None,
        noise: bool | None = None,
    ) -> Examples:
        """Draw new examples x ~ p(x|z) from codes z ~ p(z), the density; the same seed gives the same examples.

        Args:
            n_samples: number of examples, >= 1; default 1.
            y: with `condition`, one value for all examples, or one for each.
            random_state: seed, or a NumPy `RandomState`, of this draw. None (default) for the estimator's: every call
                then returns the same examples if that is a number, and new ones if it is None or a `RandomState`.
            noise: whether to draw x from p(x|z) rather than to take its mean; None (default) for yes for numbers
                (n, d), no for images and strings.

        Returns:
            `n_samples` examples of the type and layout of the `X` of `fit`.

        Raises:
            ValueError: `n_samples` is no whole number or below 1, `random_state` is neither a seed nor a `RandomState`,
                or `y` is missing with `condition`, or given without it.
        """
        check_is_fitted(self)
        n = whole("n_samples", n_samples)
        condition = self._condition_of(y, n)
        seed = self._seed(random_state)
        return self._restored(self.run_.sample(n, self._density, condition=condition, seed=seed, noise=noise))

    @available_if(_has_density)
    def score_samples(self, X: object, y: object = None) -> np.ndarray:
        """Log joint density log p(x|z) + log p(z) of each example at its code z = E[z|x]; higher is more typical.

        Use it to rank examples: an anomaly has a low value of either term. It is not a normalised log p(x), which a
        deterministic encoder does not have. The density is in the units of `X`; for images, of floats in [0, 1]. With
        `condition`, both terms are conditioned on `y`. The model computes in float64 here, so that the value of an
        example does not depend on the others in `X`.

        Args:
            X: n examples of the type and shape of the `X` of `fit`.
            y: with `condition`, one value for all examples, or one for each.

        Returns:
            Log densities (n,), in nats, float64.

        Raises:
            ValueError, TypeError: the examples differ from those of `fit` in type or shape, `y` is missing with
                `condition`, or given without it.
        """
        check_is_fitted(self)
        run = self.run_
        x = run.kind.read(checked(self, X, reset=False))
        device = "cpu" if run.device.type == "mps" else run.device  # which has no float64
        model = copy.deepcopy(run.model).to(device, torch.float64)
        density = copy.deepcopy(run.density(self._density)).to(device, torch.float64)
        conditions = run.conditions(self._condition_of(y, len(x)), len(x))

        def joint(batch: Tensor, condition: Tensor | None = None) -> Tensor:
            z = model.encoder(batch, condition).mean
            return model.decoder(z, condition).log_prob(batch) + density.log_prob(z, condition=condition)

        extra = () if conditions is None else (conditions.to(device, torch.float64),)
        return _numpy(in_slices(model, joint, x, *extra)).astype(np.float64) - run.kind.log_scale

    @available_if(_can_score)
    def score(self, X: object, y: object = None) -> float:
        """A number for model selection, such as by `GridSearchCV`; higher is better.

        Args:
            X: n examples of the type and shape of the `X` of `fit`.
            y: for recipes that learn from labels, the class of each example (n,), with -1 for unknown. With
                `condition`, one value for all examples, or one for each. Ignored otherwise.

        Returns:
            The accuracy of `predict` on the examples with a known class, for recipes that learn from labels; otherwise
            the mean of `score_samples`, in nats.

        Raises:
            ValueError, TypeError: the examples differ from those of `fit` in type or shape, or `y` is invalid.
        """
        if "labels" not in self._objective().uses:
            return float(self.score_samples(X, y if self._conditional else None).mean())
        predicted = self.predict(X)
        classes, codes = class_codes(cast(ArrayLike, y), len(predicted), allow_one_class=True)
        return float((predicted == classes[codes])[codes >= 0].mean())

    # -- what it can do ---------------------------------------------------------------------------------------------

    def _objective(self) -> Objective:
        """The objective that tells what this estimator can do: the fitted one, or else a small untrained one.

        Raises:
            AttributeError: the recipe cannot be built, because it is unknown or its options are invalid.
        """
        fitted = self._fitted()
        if fitted is not None:
            return fitted
        try:
            return trial(self.recipe, self._split_options()[1])
        except (ValueError, TypeError) as error:
            raise AttributeError(str(error)) from error

    @property
    def _n_features_out(self) -> int:
        """Number of columns of the codes, by which `get_feature_names_out` numbers them."""
        (d,) = self.run_.model.code_shape
        return int(d)

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted() is not None

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        return state | {"run_": pack(self.run_)} if "run_" in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"run_": unpack(state["run_"])} if "run_" in state else state)

    def _fitted(self) -> Objective | None:
        run: runs.Run | None = getattr(self, "run_", None)
        return None if run is None else run.objective

    def _trial(self) -> Objective | None:
        """A small untrained objective of the recipe; None if it cannot be built without the data, or at all."""
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
        tags.transformer_tags.preserves_dtype = []  # codes are float32 for any dtype of X
        tags.input_tags.three_d_array = True
        return tags

    def _check_types(self) -> None:
        """Raise TypeError or ValueError for a parameter of the wrong type, before it is compared with numbers."""
        for name, value in (("recipe", self.recipe), ("density", self.density), ("net", self.net)):
            if not isinstance(value, str):
                raise TypeError(f"{name} is {value!r}; expected a name. Leave it out for the default.")
        if not isinstance(self.options, Mapping | None):
            raise TypeError(f"options is {self.options!r}; expected a mapping such as {{'beta': 0.01}}, or None.")
        valid = self.validation_fraction
        if not isinstance(valid, Real) or not 0 <= valid < 1:
            raise ValueError(
                f"validation_fraction is {valid!r}; expected a fraction of the examples, 0 <= validation_fraction < 1. "
                "Leave it out for 0.1."
            )

    def _refuse_unsupported(self) -> None:
        """Raise ValueError for a recipe that has no density of the codes, or that needs two domains."""
        if RECIPES[self.recipe].density in by_name.NAMES:
            raise ValueError(
                f"recipe is {self.recipe!r}, which estimates a score and has no density of the codes; expected a "
                "recipe that has one. For this recipe, use chartae.fit, chartae.diagnostics.Score and Run.sample"
            )
        objective = self._trial()
        if objective is not None and "partner" in objective.uses:
            raise ValueError(
                f"recipe is {self.recipe!r}, which translates between two domains; expected a recipe of one domain. "
                "For translation, use chartae.fit(..., to=...) and chartae.runs.translate"
            )

    @property
    def _conditional(self) -> bool:
        """Whether `y` is a condition."""
        if self.condition is None or isinstance(self.condition, bool):
            return bool(self.condition)
        if self.condition != "labels":
            raise ValueError(
                f"condition is {self.condition!r}; expected 'labels' or True, to condition on y, or None. Pass the "
                "columns of the condition as y"
            )
        return True

    @property
    def _density(self) -> str:
        """Name of the density that codes are drawn from: the prior if the recipe has no fitted densities."""
        return self.density if RECIPES[self.recipe].densities else "prior"

    def _seed(self, random_state: int | np.random.RandomState | None = None) -> int:
        """A seed from a random state, or from the estimator's own if it is None."""
        state = self.random_state if random_state is None else random_state
        if isinstance(state, int | np.integer) and 0 <= state < 2**32:
            return int(state)
        return int(check_random_state(state).randint(2**31 - 1))

    def _split_options(self) -> tuple[Reading, Mapping[str, object]]:
        """Split `options` into how data are read and the recipe's own options."""
        recipe_options = dict(self.options or {})
        names = {f.name for f in fields(Reading)} - set(options(self.recipe))
        reading: dict[str, Any] = {name: recipe_options.pop(name) for name in names & set(recipe_options)}
        return RECIPES[self.recipe].reads(Reading(**reading)), recipe_options

    # -- examples in and out ----------------------------------------------------------------------------------------

    def _condition_of(self, y: object, n: int) -> Encoded | None:
        """Encode `y` as the condition of `n` rows; None if the estimator has no condition."""
        condition: Condition | None = self.run_.condition
        if condition is None:
            if y is not None:
                raise ValueError(
                    "y is given, but this estimator has no condition; set condition='labels', or leave y out"
                )
            return None
        if y is None:
            raise ValueError(
                f"y is missing, but the estimator is conditioned on {condition}; give one value for all rows, or one "
                "for each row"
            )
        return Encoded(condition.read(y, n))

    def _restored(self, x: object) -> Examples:
        return self._form.restore(x, self.run_.kind.unit) if isinstance(x, Tensor) else cast(Examples, x)


def _conditioned(data: Dataset, y: object, valid: float, seed: int) -> Dataset:
    """The data set with `y` as the condition of its examples, split into training and validation rows like them."""
    n = len(data.train) + len(data.valid)
    condition = Condition.of(y)
    rows = condition.read(y, n).float()
    parts = splits(n, valid, 0.0, seed)
    return replace(
        data, condition=condition, train_condition=rows[parts["train"]],
        valid_condition=rows[parts["valid"]] if len(data.valid) else None,
    )  # fmt: skip


def _weighted(data: Dataset, weight: object, valid: float, seed: int) -> Dataset:
    """The data set with weights of its examples, split into training and validation rows like them."""
    n = len(data.train) + len(data.valid)
    values = torch.tensor(column_or_1d(weight, dtype=np.float64))
    if len(values) != n or not bool(((values >= 0) & values.isfinite()).all()):
        least, most = float(values.min()), float(values.max())
        raise ValueError(
            f"weight has {len(values)} values from {least:g} to {most:g}; expected {n}, one for each example, finite "
            "and >= 0. Leave it out for equal weights."
        )
    parts = splits(n, valid, 0.0, seed)
    valid_weight = values[parts["valid"]] if len(data.valid) else None
    return replace(data, train_weight=values[parts["train"]], valid_weight=valid_weight)


def _numpy(x: Tensor) -> np.ndarray:
    return x.numpy(force=True)
