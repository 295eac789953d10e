"""A trained model with its settings, densities and log, in memory and as a folder."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypedDict, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from chartae import densities as density_table
from chartae.autoencoder import Autoencoder, in_slices
from chartae.conditionals import Conditional
from chartae.data import Condition, Dataset, Encoded, Reading, as_tensor
from chartae.data import read as read_data
from chartae.data.conditions import ConditionRecord
from chartae.data.kinds import Kind
from chartae.densities import Density
from chartae.diagnostics import Score, code_use
from chartae.maths import as_float, sample_rows
from chartae.maths.interpolation import PATHS, principal_axes
from chartae.maths.rows import row_blocks
from chartae.objectives import Objective
from chartae.recipes import RECIPES, Built, Record, Setting, build
from chartae.records import lock
from chartae.records.choices import one_of
from chartae.records.settings import Plain, Settings
from chartae.records.space import after_work, check_memory
from chartae.runs.conditioning import conditioned, with_condition
from chartae.runs.reading import in_order, options_like, rows_and_condition
from chartae.runs.residuals import Residuals
from chartae.runs.sources import reread
from chartae.runs.weighting import relative
from chartae.runs.writing import write, write_density
from chartae.samplers import Chain, by_name
from chartae.training import History, Row

__all__ = [
    "Run",
    "TrainingFacts",
    "built_from",
    "check_codes",
    "condition_of",
    "fingerprint",
    "is_main_process",
    "only_writer",
]


P = ParamSpec("P")
T = TypeVar("T")

#: validation rows from which residuals are measured on these alone, and values that are enough to measure them
HELD_OUT, MEASURED = 100, 20_000_000
#: rows that are converted to the model's form at once, a multiple of the rows that a net sees at once
CONVERTED = 10_000
#: codes that are drawn at once, rows that are decoded at once, and values of examples whose noise is drawn at once
SLICE, AT_ONCE, SPREAD_AT_ONCE = 10_000, 1_000, 1 << 27


class TrainingFacts(TypedDict, total=False):
    """How a run was trained.

    Attributes:
        parameters: number of parameters of the model.
        epochs: number of epochs.
        seconds: duration, in seconds.
        best_epoch: epoch whose weights were kept.
        alarms: warnings that training logged.
    """

    parameters: int
    epochs: int
    seconds: float
    best_epoch: int
    alarms: list[str]


def slice_seed(seed: int, number: int) -> int:
    """The seed of a slice of draws, counted from 0; that of the first one is `seed` itself."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0]) if number else seed


def is_main_process() -> bool:
    """Whether this process writes files: under a distributed launcher, only the one of rank 0 does."""
    return int(os.environ.get("RANK", "0")) == 0


def fingerprint(x: Tensor) -> str:
    """Hash of a tensor's values, by which a run recognises its training data.

    The hash is BLAKE2b with a digest of 8 bytes, over the values in row-major order.

    Args:
        x: tensor of any shape and dtype, on any device.

    Returns:
        Sixteen hexadecimal digits.

    >>> import torch
    >>> from chartae.runs import fingerprint
    >>> x = torch.arange(4)
    >>> len(fingerprint(x)), fingerprint(x) == fingerprint(x.clone()), fingerprint(x) == fingerprint(x + 1)
    (16, True, False)
    """
    state = hashlib.blake2b(digest_size=8)
    for block in row_blocks(x.shape if x.ndim else (1,)):
        rows = (x[block] if x.ndim else x).contiguous().cpu()
        state.update(rows.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def built_from(settings: Settings, seed: int | None = None) -> Built:
    """Build the recipe of a run with a freshly initialised model.

    Args:
        settings: settings of the run.
        seed: seed of the initial weights; None (default) for the run's own.
    """
    kind = Kind.from_dict(settings.kind)
    condition = condition_of(settings)
    setting = Setting(
        settings.shape, settings.latent_dim, settings.net, kind.unit, Path(settings.data).stem, settings.to_shape,
        kind.codec, settings.classes, condition.size if condition else 0,
    )  # fmt: skip
    return build(settings.recipe, setting, seed=settings.seed if seed is None else seed, **settings.options)


def condition_of(settings: Settings) -> Condition | None:
    """The condition of a run; None if it has none."""
    return Condition.from_dict(cast(ConditionRecord, settings.condition)) if settings.condition else None


def only_writer(function: Callable[Concatenate[Run, P], T]) -> Callable[Concatenate[Run, P], T]:
    """Decorate a function of a run so that nothing else writes to the run's folder meanwhile.

    It raises `chartae.records.lock.InUse` if another process does.
    """

    @functools.wraps(function)
    def alone(run: Run, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        with nullcontext() if run.folder is None else lock.writer(run.folder):
            return function(run, *arguments, **keywords)

    return alone


@dataclass(frozen=True, eq=False)
class Run:
    """A trained autoencoder q(z|x), p(x|z), with densities p(z) fitted to its codes.

    `chartae.fit` returns one, and `chartae.load` reads one from its folder. `encode` and `decode` map data to codes and
    back, `fit_density` fits a density to the codes, and `sample` draws x ~ p(x|z) with z ~ p(z).

    Attributes:
        settings: settings that the run was trained with, as in `run.toml`.
        kind: kind of data, which reads new data in the same way as `fit` read the training data.
        model: the autoencoder, in evaluation mode.
        objective: the objective that was minimised.
        log: rows of `log.jsonl`.
        densities: densities fitted to the codes, by name.
        folder: the run folder; None (default) for a run in memory only.
        history: history of the training; None for a loaded run.
        skipped: number of strings that were left out of training because they could not be encoded; 0 for a loaded run.
        kept: epoch whose weights the model has; None if unknown.
        condition: what encoder, decoder and density are conditioned on; None (default) for nothing.
        residuals: how the training data spread around the decoder's mean; None (default) if the decoder itself
            estimates that.

    >>> import torch
    >>> import chartae as ch
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> run = ch.fit("rae", x, latent_dim=2, epochs=1, components=2, progress=False)
    >>> codes = run.encode(x)
    >>> codes.shape, run.decode(codes).shape, run.sample(5, "gmm").shape
    (torch.Size([64, 2]), torch.Size([64, 3]), torch.Size([5, 3]))
    >>> list(run.densities)
    ['normal', 'gmm']
    """

    settings: Settings
    kind: Kind
    model: Autoencoder
    objective: Objective
    log: list[Row] = field(default_factory=list, repr=False)
    densities: dict[str, Density] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    history: History | None = field(default=None, repr=False)
    skipped: int = 0
    kept: int | None = None
    condition: Condition | None = None
    residuals: Residuals | None = field(default=None, repr=False)

    # -- what it can do ---------------------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        """The defaults of the run's recipe."""
        return RECIPES[self.settings.recipe]

    @property
    def own(self) -> str:
        """Name of the density or sampler that the recipe itself is sampled by, such as ``"prior"``."""
        return self.record.density

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader decided about the data, the fit about its settings, and its densities, in sentences."""
        return (*self.settings.notes, *self.density_notes)

    @property
    def density_notes(self) -> tuple[str, ...]:
        """What the fits of densities decided by themselves, such as a number of components, in sentences."""
        sentences = ((name, density.note) for name, density in self.densities.items())
        return tuple(f"density {name}: {sentence}" for name, sentence in sentences if sentence)

    @property
    def translates(self) -> bool:
        """Whether the run translates: its codes are then points of another domain."""
        return "partner" in self.objective.uses

    @property
    def bottleneck(self) -> bool:
        """Whether the code is all that the decoder sees of x, and is smaller than x."""
        return self.model.noise is None and not self.translates

    @property
    def draws_noise(self) -> bool:
        """Whether `sample` draws x from p(x|z) by default, rather than to take its mean."""
        return self._noise(None)

    def refuse_densities(self) -> None:
        """Check that densities can be fitted to the codes.

        Raises:
            ValueError: the codes hold a category, or are points of another domain.
        """
        check_codes(self.objective, self.settings.recipe)

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return next(self.model.parameters()).device

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)

    # -- data to codes and back -------------------------------------------------------------------------------------

    def conditions(self, values: object, n: int) -> Float[Tensor, "n K"] | None:
        """Encode conditions as the rows that the model takes.

        Args:
            values: one value for all rows, or one for each; None if the run has no condition.
            n: number of rows.

        Returns:
            Encoded conditions (n, K), on the model's device; None if the run has no condition.

        Raises:
            ValueError: values are given to a run without a condition, are missing for a run with one, are not one or
                `n`, or hold an unknown class.
        """
        if self.condition is None:
            if values is not None:
                raise ValueError(
                    f"condition is {values!r}, but this run has none; fit it with condition='labels', or leave it out"
                )
            return None
        if isinstance(values, Encoded):
            return values.rows.to(self.device, self._dtype)
        if values is None:
            raise ValueError(
                f"condition is None, but this run is conditioned on {self.condition}; give condition, one value for "
                "all rows or one for each"
            )
        return self.condition.read(values, n).to(self.device, self._dtype)

    def _sliced(
        self, function: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, condition: Tensor | None
    ) -> Tensor:
        """Apply a function of (examples or codes, conditions) slice by slice, in evaluation mode without gradients."""
        if condition is None:
            return in_slices(self.model, lambda rows: function(rows, None), x)
        return in_slices(self.model, function, x, condition)

    def encode(self, x: object, condition: object = None) -> Float[Tensor, N * D]:
        """Encode data: the mean of q(z|x).

        Args:
            x: examples (N, ...) in any form that `fit` accepts, of the kind and shape that the run was fitted to.
            condition: for a run with a condition, one value for all examples or one for each; None (default) takes the
                labels or the condition's columns of a file or data frame.

        Returns:
            Codes (N, D), on the model's device.

        Raises:
            ValueError, TypeError: the data are of another kind or shape, or the condition is invalid.
        """
        return self.encode_inside(*self.read_rows(x, condition))

    def read_rows(self, x: object, condition: object = None) -> tuple[Tensor, object]:
        """Read new data as `fit` read the training data, with the same column of strings and size of pictures.

        Args:
            x: examples of the run's kind of data, in any form that `encode` takes, or the path of a file or folder, of
                which every row is read, in order.
            condition: for a run with a condition, one value for all rows or one for each; by default the labels or the
                condition's columns of a file or data frame. These columns never belong to the examples.

        Returns:
            The examples (N, *S) in the model's form, and the values of the condition, as `conditions` takes them.

        Raises:
            ValueError, TypeError: the data are of another kind or have other columns, or a file has no values of the
                condition.
            FileNotFoundError: there is no such file.
        """
        return rows_and_condition(x, condition, self.kind, self.settings, self.condition)

    def encode_inside(self, x: Tensor, condition: object = None) -> Float[Tensor, N * D]:
        """Encode examples that are in the model's form: the mean of q(z|x).

        Args:
            x: examples (N, *S), as `kind.read` returns them.
            condition: for a run with a condition, one value for all examples or one for each.

        Returns:
            Codes (N, D), on the model's device.
        """
        return self._sliced(lambda a, c: self.model.encoder(a, c).mean, x, self.conditions(condition, len(x)))

    def encode_split(self, data: Dataset, split: str = "train") -> Float[Tensor, N * D]:
        """Encode a split of a data set, with its conditions.

        Args:
            data: data set of the kind that the run was fitted to.
            split: ``"train"`` (default), ``"valid"`` or ``"test"``.

        Returns:
            Codes (N, D), on the model's device.
        """
        x, conditions = data.split(split), data.conditions(split)
        codes = []
        for start in range(0, len(x), CONVERTED):  # so that there is no second copy of all the data
            rows = slice(start, start + CONVERTED)
            of_rows = None if conditions is None else Encoded(conditions.rows[rows])
            codes.append(self.encode_inside(self.kind.inside(x[rows]), of_rows))
        return torch.cat(codes) if codes else self.encode_inside(self.kind.inside(x), conditions)

    def decode(self, z: object, condition: object = None) -> object:
        """Decode codes: the mean of p(x|z).

        Args:
            z: codes (N, D).
            condition: for a run with a condition, one value for all codes or one for each.

        Returns:
            Examples in the user's form: floats (N, C, h, w) in [0, 1] for images, a tensor or a data frame for tables,
            a list for strings.

        Raises:
            ValueError: the condition is invalid.
        """
        return self.restore(self.decode_inside(z, condition))

    def _codes(self, z: object) -> Tensor:
        """Codes as a tensor; a ValueError for another shape than the model's."""
        codes, shape = as_tensor(z, "z"), self.model.code_shape
        if tuple(codes.shape[1:]) != shape:
            sizes = ", ".join(map(str, shape))
            raise ValueError(f"z has shape {tuple(codes.shape)}; expected codes of shape (N, {sizes}) of this run")
        return codes

    def decode_inside(self, z: object, condition: object = None) -> Tensor:
        """Decode codes (N, D) to means of p(x|z) in the model's form (N, *S)."""
        codes = self._codes(z)
        return self._sliced(lambda a, c: self.model.decoder(a, c).mean, codes, self.conditions(condition, len(codes)))

    def reconstruct(self, x: object, condition: object = None) -> object:
        """Reconstructions of data: the decoder's mean at the encoder's mean.

        Args:
            x: N examples, in any form that `encode` takes.
            condition: one value for all or one for each example, if the run has a condition; by default its columns of
                a data frame.

        Returns:
            N examples, in the user's form: what `decode` gives.

        Raises:
            ValueError, TypeError: data of another kind or shape, or a condition that does not fit.
        """
        inside, values = self.read_rows(x, condition)
        return self.restore(self.reconstruct_inside(inside, values))

    def reconstruct_inside(self, x: Tensor, condition: object = None) -> Tensor:
        """`reconstruct` for examples in the model's form."""
        values = self.conditions(condition, len(x))
        encoded = None if values is None else Encoded(values)
        return self.decode_inside(self.encode_inside(x, encoded), encoded)

    def interpolate(
        self, a: object, b: object, steps: int = 8, *, how: str = "linear", condition: object = None
    ) -> object:
        """Examples on the path between the codes of two examples.

        Args:
            a: one example, in any form that `encode` takes, such as an array (1, ...) or a list of one string.
            b: one example.
            steps: number of points on the path, both ends included; >= 2, default 8.
            how: ``"linear"`` (default) or ``"spherical"``.
            condition: one value for the whole path, if the run has a condition.

        Returns:
            `steps` examples, in the user's form; the first is the reconstruction of `a`, the last that of `b`.

        Raises:
            ValueError, TypeError: `a` or `b` is not one example of the run's kind of data, `steps` is below 2, `how` is
                unknown, or the condition does not fit.
        """
        ends = [self.read_rows(x, condition)[0] for x in (a, b)]
        for name, end in zip("ab", ends, strict=True):
            if len(end) != 1:
                raise ValueError(f"{name} holds {len(end)} examples; expected one. Select a row, such as x[:1]")
        return self.restore(self.path_inside(ends[0], ends[1], steps, how, condition))

    def path_inside(self, a: Tensor, b: Tensor, steps: int, how: str = "linear", condition: object = None) -> Tensor:
        """`interpolate` between two examples (1, ...) in the model's form."""
        if steps < 2:
            raise ValueError(f"steps is {steps}; expected at least 2, the two ends")
        if how not in PATHS:
            raise ValueError(f"how is {how!r}; {one_of(how, PATHS)}")
        first, last = (self.encode_inside(x, condition) for x in (a, b))
        path = PATHS[how]
        codes = torch.cat([path(first, last, t) for t in torch.linspace(0, 1, steps).tolist()])
        return self.decode_inside(codes, condition)

    def traverse(
        self,
        axes: int | None = None,
        steps: int = 7,
        *,
        span: float = 2.0,
        codes: Float[Tensor, N * D] | None = None,
        condition: object = None,
        root: str | Path | None = None,
    ) -> object:
        """Examples along the principal axes of the codes, through their mean.

        Args:
            axes: number of principal axes, those of largest variance first; by default all, but at most 8.
            steps: number of points on each axis; >= 2, default 7.
            span: how far the axes reach to both sides of the mean, in standard deviations; > 0, default 2.
            codes: codes (N, D) that define mean and axes, N >= 2; by default those of the training data, which are
                loaded again.
            condition: one value for all points, if the run has a condition.
            root: folder of the named data sets.

        Returns:
            `axes` x `steps` examples in the user's form, axis after axis, from - `span` to + `span`.

        Raises:
            ValueError: a number is out of range, or the condition is missing or does not fit.
        """
        return self.restore(self.axes_inside(axes, steps, span, codes, condition, root).flatten(0, 1))

    def axes_inside(
        self,
        axes: int | None = None,
        steps: int = 7,
        span: float = 2.0,
        codes: Float[Tensor, N * D] | None = None,
        condition: object = None,
        root: str | Path | None = None,
    ) -> Tensor:
        """`traverse` in the model's form: (axes, steps, *S)."""
        if steps < 2:
            raise ValueError(f"steps is {steps}; expected at least 2")
        if not 0 < span < math.inf:
            raise ValueError(f"span is {span}; expected a number of standard deviations above 0")
        self.conditions(condition, 1)  # a wrong condition is refused before data are read
        codes = self.encode_split(self.data(root)) if codes is None else codes.to(self.device, self._dtype)
        if codes.ndim != 2 or len(codes) < 2:
            raise ValueError(f"codes have shape {tuple(codes.shape)}; expected (N, D), N >= 2")
        most = min(codes.shape[1], len(codes) - 1)
        axes = min(most, 8) if axes is None else axes
        if not 1 <= axes <= most:
            raise ValueError(f"axes is {axes}; expected a number from 1 to {most}, the dimension of the codes")
        t = torch.linspace(-span, span, steps).to(codes)
        points = codes.mean(0) + t[None, :, None] * principal_axes(codes, axes)[:, None]
        return self.decode_inside(points.flatten(0, 1), condition).unflatten(0, (axes, steps))

    def render(self, z: object, condition: object = None, *, seed: int = 0, noise: bool | None = False) -> Tensor:
        """One example for each code, in the model's form: the mean of p(x|z), or a draw if the decoder is implicit.

        Args:
            z: codes (N, D).
            condition: for a run with a condition, one value for all codes or one for each.
            seed: seed of the draws; default 0.
            noise: whether to draw from p(x|z) as `sample` does; None for the default of the kind of data; default
                False.

        Returns:
            Examples (N, *S).

        Raises:
            ValueError: the run does not know the spread of its data around the decoder's mean.
        """
        codes, generator = self._codes(z), self._generator(seed)
        conditions = self.conditions(condition, len(codes))
        noise, decoder = self._noise(noise), self.model.decoder

        def decoded(a: Tensor, c: Tensor | None) -> Tensor:
            distribution = decoder(a, c)
            drawn = noise and decoder.calibrated
            return distribution.sample(generator=generator) if drawn else distribution.point(generator)

        points = self._sliced(decoded, codes, conditions)
        return self._spread(points, generator) if noise else points

    def _noise(self, noise: bool | None) -> bool:
        """Whether examples are drawn from p(x|z); by default as the kind says, if the spread is known."""
        known = self.model.decoder.calibrated or self.residuals is not None
        if noise and not known:
            raise ValueError(
                "noise is True, but this run does not know how its data spread around the decoder's mean; leave noise "
                "out, or fit the run again with this version of chartae"
            )
        return self.kind.noise and known if noise is None else noise

    def _spread(self, points: Tensor, generator: torch.Generator) -> Tensor:
        """Draws around the decoder's means, with the residuals of the data; unchanged if the decoder drew them."""
        if self.model.decoder.calibrated:
            return points
        assert self.residuals is not None
        draws = self.residuals.draw(points, generator)
        return draws.clamp(0, 1) if self.kind.unit else draws

    def measure_residuals(self, data: Dataset) -> Residuals | None:
        """Measure how data spread around the decoder's means at their codes.

        Args:
            data: the data set of the fit. Its validation rows are used, and its training rows too if there are fewer
                than 100 of these, in proportion to their weights if they have any; of many pictures, a random part.

        Returns:
            The residuals for each output; None if the decoder estimates its own spread, or the run translates.
        """
        if self.model.decoder.calibrated or self.translates:
            return None
        size = math.prod(self.settings.shape)
        originals, means, weights = [], [], []
        enough = int((relative(data, "valid") > 0).sum()) >= HELD_OUT
        for split in ("valid",) if enough else ("valid", "train"):
            weight = relative(data, split)
            weighted = weight.nonzero()[:, 0]
            rows = weighted[sample_rows(len(weighted), max(2000, MEASURED // size))]
            if len(rows):
                x = as_float_like(self.kind.inside(data.split(split)[rows]), self.model)
                conditions = data.conditions(split)
                of_rows = None if conditions is None else Encoded(conditions.rows[rows])
                originals.append(x.to(self.device))
                weights.append(weight[rows])
                means.append(self.reconstruct_inside(x, of_rows))
        has_weights = data.train_weight is not None or data.valid_weight is not None
        x, m = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (originals, means))
        return Residuals.of(x, m, torch.cat(weights) if has_weights else None)

    def restore(self, x: Tensor) -> object:
        """Convert examples (N, *S) from the model's form to the user's."""
        return self.model.decoder.mend(self.kind.restore(x))

    def categories(self, x: object, condition: object = None) -> Float[Tensor, "N K"]:
        """Probabilities of the K clusters or classes for each example, for models whose code holds a category.

        Args:
            x: examples (N, ...) in any form that `fit` accepts.
            condition: for a run with a condition, one value for all examples or one for each.

        Returns:
            Probabilities (N, K), on the model's device.

        Raises:
            TypeError: the code of the model holds no category.
        """
        inside, condition = self.read_rows(x, condition)
        return self._sliced(
            lambda a, c: self.model.encoder(a, c).category.mean, inside, self.conditions(condition, len(inside))
        )

    # -- densities and samples --------------------------------------------------------------------------------------

    @property
    def default_density(self) -> str:
        """Name of what `sample` uses by default: ``"gmm"`` if it is fitted, otherwise the recipe's own."""
        return "gmm" if "gmm" in self.densities else self.own

    def density(self, name: str | None = None) -> Conditional:
        """The density of the codes with this name.

        Args:
            name: ``"prior"`` for the model's own, or the name of a fitted density; None (default) for ``"gmm"`` if it
                is fitted, otherwise the recipe's own.

        Raises:
            ValueError: the name is unknown, or the density has not been fitted.
        """
        name = name or self.default_density
        if name == "prior":
            return self.model.prior
        if name not in self.densities:
            density_table.make(name)  # raises with a list of the names if this one is unknown
            fitted = ", ".join(["prior", *self.densities])
            raise ValueError(f"density {name!r} has not been fitted to this run (fitted: {fitted}); use fit_density")
        return self.densities[name]

    def fit_density(
        self,
        name: str,
        codes: Float[Tensor, "N D"],
        *,
        condition: object = None,
        weight: Float[Tensor, " N"] | None = None,
        **settings: Plain,
    ) -> Density:
        """Fit a density to codes of the training data, and store it in `densities` and in the run folder.

        Args:
            name: name in `chartae.densities.NAMES`, or ``gmm-K`` for a mixture of K components.
            codes: codes (N, D).
            condition: for a run with a condition, one value for all codes or one for each.
            weight: weights of the codes (N,), >= 0 and not all 0; None (default) for equal weights.
            settings: settings of the density, such as ``components``.

        Returns:
            The fitted density.

        Raises:
            ValueError: the name is unknown, or the codes hold a category or are points of another domain.
        """
        self.refuse_densities()
        schema = self.condition
        density = density_table.fit(
            name, codes, condition=self.conditions(condition, len(codes)), discrete=schema.discrete if schema else 0,
            entries=schema.entries if schema else (), seed=self.settings.seed, weight=weight,
            settings=settings,
        )  # fmt: skip
        self.densities[name] = density
        if self.folder is not None and is_main_process():
            with after_work(self.folder, f"the density {name!r}"):
                write_density(self, name)
        return density

    def fit_densities(self, names: Mapping[str, Mapping[str, Plain]], data: Dataset) -> None:
        """Fit those densities that the run does not have yet to the codes of the training data.

        Args:
            names: name of each density -> its settings.
            data: data set whose training split is encoded, with its weights if it has any.
        """
        missing = {name: settings for name, settings in names.items() if name not in self.densities}
        if missing:
            codes = self.encode_split(data)
            if self.settings.weight and data.train_weight is None:
                warnings.warn(
                    "the training rows had weights, which the run does not store; densities are fitted to codes of "
                    "equal weight. Use fit_density(name, codes, weight=...).",
                    UserWarning,
                    stacklevel=2,
                )
            for name, settings in missing.items():
                self.fit_density(name, codes, condition=data.conditions("train"), weight=data.train_weight, **settings)

    def score(self, sigma: float | None = None) -> Score:
        """The estimate of the data's score, grad log p(x), by a model that was trained to denoise.

        Args:
            sigma: noise level, in the units of the model's data; > 0. None (default) for the level of training, or the
                lowest of several.

        Raises:
            ValueError: the model estimates no score, or not at this noise level.
        """
        return Score(self.model, sigma)

    def sample(
        self, n: int, density: str | None = None, *, condition: object = None, seed: int = 0, start: object = None,
        noise: bool | None = None,
    ) -> object:  # fmt: skip
        """Draw `n` new examples x ~ p(x|z) with z ~ p(z); the same seed gives the same examples.

        With noise, x is drawn from p(x|z); without, it is the mean of p(x|z), whose spread is smaller than that of the
        data. A decoder that estimates a standard deviation for each output, or has probabilities or a noise input, is
        drawn from as it is. The standard deviation of most Gaussian decoders is a constant of the loss, such as the
        sigma^2 = 1/2 of the papers, which says nothing about the data. Examples then follow N(a + b m(z), s^2), with
        m(z) the decoder's mean. a, b and s are measured for each output after training, on validation rows (and
        training rows, if there are fewer than 100 of these); pictures are cut to [0, 1].

        Args:
            n: number of examples, >= 1.
            density: name of a density of the codes, or of a sampler whose chains follow the score
                (`chartae.samplers.by_name.NAMES`); None (default) for ``"gmm"`` if it is fitted, otherwise the
                recipe's own.
            condition: for a run with a condition, one value for all examples or one for each.
            seed: seed of the draws; default 0.
            start: for a sampler, examples from which the chains start, in the user's form; None (default) loads the
                training data.
            noise: whether to draw x from p(x|z) rather than to take its mean; None (default) for yes on tables and
                points, and no on images (blurred by it) and strings (the most probable string is taken).

        Returns:
            Examples in the user's form: floats (n, C, h, w) in [0, 1] for images, a tensor or a data frame for tables,
            a list for strings.

        Raises:
            ValueError: `n` is below 1, the density is unknown or not fitted, or the condition is invalid.
        """
        inside = None if start is None else self.kind.read(start)
        return self.restore(self.draw(n, density, condition=condition, seed=seed, start=inside, noise=noise))

    def draw(
        self, n: int, density: str | None = None, *, condition: object = None, seed: int = 0,
        start: Tensor | None = None, noise: bool | None = None,
    ) -> Tensor:  # fmt: skip
        """Draw `n` new examples as `sample` does, but in the model's form.

        Args:
            n: number of examples, >= 1.
            density: name of a density of the codes, or of a sampler; None (default) for ``"gmm"`` if it is fitted,
                otherwise the recipe's own.
            condition: for a run with a condition, one value for all examples or one for each.
            seed: seed of the draws; default 0.
            start: for a sampler, examples (N, *S) from which the chains start; None (default) loads the training data.
            noise: whether to draw from p(x|z), as for `sample`; None (default) for the default of the kind of data.

        Returns:
            Examples (n, *S).

        Raises:
            ValueError: `n` is below 1, the density is unknown or not fitted, the condition is invalid, or `noise` is
                set for a sampler, whose chains are examples already.
        """
        slices = self.drawn(n, density, condition=condition, seed=seed, start=start, noise=noise)
        check_memory(
            n * math.prod(self.settings.shape) * torch.finfo(self._dtype).bits // 8, f"n is {n:,}, which",
            "Draw fewer, with several seeds, or write them to a file with `chartae sample`.",
        )  # fmt: skip
        first = next(slices)
        if len(first) == n:
            return first
        # one tensor from the start, as joining slices takes twice the memory
        points, filled = first.new_empty((n, *first.shape[1:])), 0
        for points_of_slice in itertools.chain((first,), slices):
            points[filled : filled + len(points_of_slice)] = points_of_slice
            filled += len(points_of_slice)
        return points

    def drawn(
        self, n: int, density: str | None = None, *, condition: object = None, seed: int = 0,
        start: Tensor | None = None, noise: bool | None = None,
    ) -> Iterator[Tensor]:  # fmt: skip
        """Draw `n` new examples as `draw` does, in slices, so that any number takes constant memory.

        Codes are drawn 10,000 at a time (fewer if x is large and noise is measured residuals). The first slice has the
        seed `seed`, and slice k the seed that `numpy.random.SeedSequence((seed, k))` gives. Beyond the first slice all
        slices are drawn whole and the last one is cut, so that no example depends on how many come after it: of two
        numbers above 10,000, the smaller one gives the first examples of the larger. Numbers up to 10,000 are one slice
        of this length, whose examples may depend on it. Chains are run in slices too, the last one as long as needed.

        Args:
            n, density, condition, seed, start, noise: those of `draw`.

        Returns:
            Iterator over examples (m, *S), at most 10,000 at a time, in order.

        Raises:
            ValueError: as for `draw`, before any example is drawn.
        """
        name = density or self.default_density
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one sample")
        rows = self._condition_rows(condition, n)
        if name in by_name.NAMES:
            if noise is not None:
                raise ValueError(
                    f"noise is {noise}, but {name!r} runs chains of examples, without a decoder; leave noise out"
                )
            return (chain.final for chain in self.chain_slices(n, name, seed=seed, start=start))
        return self._drawn(n, self.density(name), rows, seed, self._noise(noise))

    def _condition_rows(self, condition: object, n: int) -> Callable[[int, int], Tensor | None]:
        """The conditions of examples from one number to another; after the last of `n`, that of the last."""
        if condition is None or isinstance(
            condition, str | int | float
        ):  # one value, which need not be repeated n times
            one = self.conditions(condition, 1)
            return lambda first, last: None if one is None else one.expand(last - first, -1)
        values = self.conditions(condition, n)
        return lambda first, last: None if values is None else values[torch.arange(first, last).clamp(max=n - 1)]

    def _drawn(
        self, n: int, density: Conditional, conditions: Callable[[int, int], Tensor | None], seed: int, noise: bool
    ) -> Iterator[Tensor]:
        decoder = self.model.decoder
        spread, drawn = noise and not decoder.calibrated, noise and decoder.calibrated
        size = SLICE
        if spread:  # the noise of a slice is drawn at once
            size = min(SLICE, max(AT_ONCE, SPREAD_AT_ONCE // math.prod(self.settings.shape)))
        for number, first in enumerate(range(0, n, size)):
            generator = self._generator(slice_seed(seed, number))
            rows, left = size if n > size else n, n - first
            condition = conditions(first, first + rows)
            with torch.no_grad():
                codes = density.sample(rows, condition=condition, generator=generator)
            parts = self._decoded(codes, condition, generator, drawn)
            if spread:
                yield self._spread(torch.cat(list(parts)), generator)[:left]
                continue
            for place, part in zip(range(0, left, AT_ONCE), parts, strict=False):
                yield part[: left - place]

    def _decoded(
        self, codes: Tensor, condition: Tensor | None, generator: torch.Generator, noise: bool
    ) -> Iterator[Tensor]:
        """Examples of codes, a few at a time."""

        def decoded(a: Tensor, c: Tensor | None) -> Tensor:
            distribution = self.model.decoder(a, c)
            return distribution.sample(generator=generator) if noise else distribution.point(generator)

        for first in range(0, len(codes), AT_ONCE):
            rows = slice(first, first + AT_ONCE)
            yield self._sliced(decoded, codes[rows], None if condition is None else condition[rows])

    def chain_slices(
        self, n: int, sampler: str, *, seed: int = 0, start: Tensor | None = None, root: str | Path | None = None,
        **settings: Any,
    ) -> Iterator[Chain]:  # fmt: skip
        """Run `n` chains as `chains` does, 10,000 at a time; see `drawn` for the seeds.

        Args:
            n, sampler, seed, start, root: those of `chains`.
            settings: further keywords of `chains`.

        Returns:
            Iterator over the chains of each slice, in order.

        Raises:
            ValueError: as for `chains`, before any chain is run.
        """
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one chain")
        by_name.kernel(sampler, self.score(settings.get("sigma")), settings.get("step"))
        if start is None and not by_name.starts_from_noise(sampler):
            start = self.kind.inside(self.data(root).train)
        return (
            self.chains(min(SLICE, n - first), sampler, seed=slice_seed(seed, number), start=start, **settings)
            for number, first in enumerate(range(0, n, SLICE))
        )

    def chains(
        self,
        n: int,
        sampler: str,
        *,
        sigma: float | None = None,
        start: Tensor | None = None,
        root: str | Path | None = None,
        seed: int = 0,
        steps: int | None = None,
        warmup: int | None = None,
        step: float | None = None,
        thin: int | None = None,
    ) -> Chain:
        """Run `n` chains of a sampler that follows the score.

        Args:
            n: number of chains, >= 1.
            sampler: name in `chartae.samplers.by_name.NAMES`, such as ``"mala"``.
            sigma: noise level of the score; None (default) for the level of training, or the lowest of several.
            start: examples (N, *S) in the model's form, from which the starts of the chains are drawn; None (default)
                for the training data, which are loaded, or for noise if the sampler starts from noise.
            root: folder of named data sets.
            seed: seed of the chains; default 0.
            steps: number of steps; None (default) for the length of the sampler's schedule, otherwise 1,000.
            warmup: number of steps before these, in which the sampler is tuned; None (default) for 500 if the sampler
                can be tuned, otherwise 0.
            step: step size of the sampler, > 0; None (default) for one that follows from sigma.
            thin: number of steps from one stored position to the next; None (default) stores only the last.

        Returns:
            The chains, in the model's form.

        Raises:
            ValueError: `n` is below 1, the model estimates no score, or the sampler or a setting of it is invalid.
        """
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one chain")
        score = self.score(sigma)
        by_name.kernel(sampler, score, step)  # raises for invalid settings before any data are read
        if start is None and by_name.starts_from_noise(sampler):
            x = by_name.noise_start(score, self.settings.shape, n, seed, self.device)
        else:
            x = self.kind.inside(self.data(root).train) if start is None else start
            x = x[torch.randint(len(x), (n,), generator=torch.Generator().manual_seed(seed))]
            x = as_float_like(x, self.model)
        return by_name.run(
            score, sampler, x.to(self.device), seed=seed, steps=steps, warmup=warmup, step=step, thin=thin
        )

    # -- its data ---------------------------------------------------------------------------------------------------

    def data(self, root: str | Path | None = None) -> Dataset:
        """Reload the data set that the run was fitted to.

        Args:
            root: folder of named data sets; None (default) for that of the fit.

        Raises:
            FileNotFoundError: the files are not there; nothing is downloaded.
            ValueError: the run was fitted to in-memory data, or the data have changed.
        """
        reading = Reading.from_dict(self.settings.reading, self.kind.codec)
        data = reread(self.settings, self.kind, reading, root)
        if self.condition is not None:
            data = with_condition(data, self.condition)
        self.check_data(data)
        return data

    def source(self, data: object = None, root: str | Path | None = None) -> Dataset:
        """The data set that the run was fitted to, or other data in its place.

        Args:
            data: what `read` takes; None (default) for the data of the fit.
            root: folder of named data sets.

        Raises:
            FileNotFoundError, ValueError, TypeError: as for `data` and `read`.
        """
        return self.data(root) if data is None else self.read(data, root=root)

    def read(self, data: object, condition: object = None, root: str | Path | None = None) -> Dataset:
        """Read data in the same way as `fit` read the training data.

        Args:
            data: a `Dataset`, a name or path, or in-memory examples.
            condition: for a run with a condition, ``"labels"``, names of columns, or one value for each example; None
                (default) takes the condition's own columns, or the labels.
            root: folder of the named data sets.

        Returns:
            The data set, with its condition.

        Raises:
            ValueError, TypeError: the data are of another kind, or the condition is invalid.
        """
        kinds = [type(self.kind)]
        if isinstance(data, Dataset) and (data.condition is not None or self.condition is None):
            return in_order(data, self.kind)
        reading = options_like(data, self.kind, Reading.from_dict(self.settings.reading, self.kind.codec))
        if self.condition is None:
            return in_order(read_data(data, kinds=kinds, root=root, reading=reading), self.kind)
        requested = list(self.condition.names) if condition is None else condition
        return in_order(conditioned(data, requested, kinds, root, reading, self.condition), self.kind)

    def check_data(self, data: Dataset) -> None:
        """Check that a data set is the one that the run was fitted to.

        Raises:
            ValueError: the kind, the shape or the training examples differ.
        """
        codecs = [kind.to_dict().get("codec") for kind in (self.kind, data.kind)]
        if type(data.kind) is not type(self.kind) or codecs[0] != codecs[1]:
            raise ValueError(
                f"data are {data.kind.noun} ({data.kind!r}); expected {self.kind.noun} ({self.kind!r}), which the run "
                "was fitted to. Give the data of the fit"
            )
        if tuple(data.shape) != self.settings.shape:
            raise ValueError(
                f"data hold examples of shape {data.shape}; expected shape {self.settings.shape}, which the run was "
                "fitted to. Give the data of the fit"
            )
        if self.settings.fingerprint and fingerprint(data.train) != self.settings.fingerprint:
            raise ValueError(
                f"the training data of {data.name!r} are not those that the run was fitted to; give the data of the fit"
            )

    # -- its log and folder -----------------------------------------------------------------------------------------

    def training(self) -> TrainingFacts:
        """How the run was trained: number of parameters, epochs, seconds, the epoch whose weights were kept, alarms."""
        rows = [row for row in self.log if row["split"] == "train"]
        facts: TrainingFacts = {"parameters": sum(p.numel() for p in self.model.parameters())}
        if rows:
            facts["epochs"], facts["seconds"] = int(rows[-1]["epoch"]), float(rows[-1].get("seconds", 0.0))
        if self.kept is not None:
            facts["best_epoch"] = self.kept
        if alarms := [str(row["alarm"]) for row in self.log if row["split"] == "alarm"]:
            facts["alarms"] = alarms
        return facts

    def save(self, folder: str | Path) -> Run:
        """Write the run with its densities to a folder.

        Args:
            folder: a new or empty folder.

        Returns:
            The same run, with this `folder`.

        Raises:
            FileExistsError: the folder is not empty.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; choose a new folder")
        saved = replace(self, folder=folder)
        write(saved)
        for name in self.densities:
            write_density(saved, name)
        return saved

    def check_code_use(self, data: Dataset) -> None:
        """Warn, and log an alarm, of what the decoder ignores, which the losses of critics do not show."""
        rows = sample_rows(len(data.train), 1000)
        x = as_float_like(self.kind.inside(data.train[rows]), self.model).to(self.device)
        conditions = data.train_condition
        condition = None if conditions is None else conditions[rows].to(x)
        use = code_use(self.model, x, condition=condition)
        last = self.log[-1]
        for kind, text in use.warnings():
            self.log.append({
                "split": "alarm", "epoch": last["epoch"], "step": last["step"], "kind": kind, "alarm": text,
            })  # fmt: skip


def check_codes(objective: Objective, recipe: str) -> None:
    """Raise ValueError for codes to which no density can be fitted."""
    reason = ""
    if "partner" in objective.uses:
        reason = "are points of another domain"
    elif objective.model.encoder.has_category:
        reason = "hold a category"
    if reason:
        raise ValueError(
            f"the codes of {recipe!r} {reason}, so no density is fitted to them; use 'prior', or leave densities out"
        )


def as_float_like(x: Tensor, model: Autoencoder) -> Tensor:
    """Convert examples in the model's form to its dtype; uint8 becomes floats in [0, 1]."""
    return as_float(x, next(model.parameters()).dtype)
