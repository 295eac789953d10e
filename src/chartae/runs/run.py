"""A finished training: its settings, model, densities and log, in memory and as a folder."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict, cast

import torch
from jaxtyping import Float
from torch import Tensor

from chartae import densities as density_table
from chartae.autoencoder import Autoencoder, in_slices
from chartae.conditionals import Conditional
from chartae.data import Condition, Dataset, Encoded, Reading, as_tensor
from chartae.data import read as read_data
from chartae.data.columns import is_frame
from chartae.data.conditions import ConditionRecord
from chartae.data.kinds import Kind
from chartae.densities import Density
from chartae.diagnostics import Score, code_use
from chartae.maths import as_float, sample_rows
from chartae.maths.interpolation import PATHS
from chartae.objectives import Objective
from chartae.recipes import RECIPES, Built, Record, Setting, build
from chartae.records import manifest
from chartae.records.choices import choices
from chartae.records.files import replace_text, write_tensors
from chartae.records.settings import IN_MEMORY, Plain, Settings
from chartae.runs.conditioning import LABELS, apart, conditioned, with_condition
from chartae.samplers import Chain, by_name
from chartae.training import History, Row

__all__ = ["Run", "TrainingFacts", "built_from", "check_codes", "condition_of", "fingerprint", "writes"]


#: the files of a run that training itself writes; the others are made of its weights
OF_TRAINING = ("run.toml", "weights.safetensors", "log.jsonl", "checkpoint.safetensors")


class TrainingFacts(TypedDict, total=False):
    """How a run was trained."""

    parameters: int
    epochs: int
    seconds: float
    best_epoch: int
    alarms: list[str]


def writes() -> bool:
    """Whether this process writes: under a launcher of several, the first alone."""
    return int(os.environ.get("RANK", "0")) == 0


def fingerprint(x: Tensor) -> str:
    """Sixteen hex digits that change with the data."""
    return hashlib.blake2b(x.contiguous().cpu().numpy().tobytes(), digest_size=8).hexdigest()


def built_from(settings: Settings, seed: int | None = None) -> Built:
    """The recipe of a run over a fresh model, drawn from its own seed or another."""
    kind = Kind.from_dict(settings.kind)
    condition = condition_of(settings)
    setting = Setting(
        settings.shape, settings.latent_dim, settings.net, kind.unit, Path(settings.data).stem, settings.to_shape,
        kind.codec, settings.classes, condition.size if condition else 0,
    )  # fmt: skip
    return build(settings.recipe, setting, seed=settings.seed if seed is None else seed, **settings.options)


def condition_of(settings: Settings) -> Condition | None:
    """What a run is conditioned on."""
    return Condition.from_dict(cast(ConditionRecord, settings.condition)) if settings.condition else None


@dataclass(frozen=True, eq=False)
class Run:
    """A trained autoencoder with all that belongs to it.

    Attributes:
        settings: what it was made with.
        kind: the kind of data, which reads new data as `fit` read its own.
        model: the autoencoder, in evaluation mode.
        objective: what was minimised.
        log: the rows of `log.jsonl`.
        densities: the fitted densities of its codes, by name.
        folder: the run folder, if there is one.
        history: how training went (of the fit in this process; else None).
        skipped: number of strings that could not be encoded, and were left out (of the fit in this process).
        kept: the epoch whose weights the model has, where that is known.
        condition: what encoder, decoder and density are conditioned on; None for nothing.
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

    # -- what it can do ---------------------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        """The defaults of its recipe."""
        return RECIPES[self.settings.recipe]

    @property
    def own(self) -> str:
        """What the model itself is sampled by: a density's name, or a sampler's."""
        return self.record.density

    @property
    def translates(self) -> bool:
        """Whether its codes are points of another domain."""
        return "partner" in self.objective.uses

    @property
    def bottleneck(self) -> bool:
        """Whether its codes are smaller than its data, and nothing passes beside them."""
        return self.model.noise is None and not self.translates

    def refuse_densities(self) -> None:
        """Raise ValueError where no density is fitted to the codes: categories, and points of another domain."""
        check_codes(self.objective, self.settings.recipe)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)

    # -- data to codes and back -------------------------------------------------------------------------------------

    def conditions(self, values: object, n: int) -> Float[Tensor, "n K"] | None:
        """Conditions as the model reads them.

        Args:
            values: one value for all, or one for each row; None where the run has no condition.
            n: number of rows.

        Raises:
            ValueError: values for a run without a condition, none for one that has one, a wrong number of them, an
                unknown class.
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
            raise ValueError(f"this run is conditioned on {self.condition}; give condition, one value or one a row")
        return self.condition.read(values, n).to(self.device, self._dtype)

    def _sliced(
        self, function: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, condition: Tensor | None
    ) -> Tensor:
        if condition is None:
            return in_slices(self.model, lambda part: function(part, None), x)
        return in_slices(self.model, function, x, condition)

    def encode(self, x: object, condition: object = None) -> Float[Tensor, N * D]:
        """Codes of data of any size and form that `fit` accepts: the mean of q(z|x).

        Args:
            x: examples (N, ...) of the kind that the run was fitted to.
            condition: one value for all or one for each example, where the run has a condition; by default its columns
                of a data frame.

        Returns:
            Codes (N, D), on the model's device.

        Raises:
            ValueError, TypeError: data of another kind or shape; a condition that does not fit.
        """
        return self.encode_inside(*self.read_rows(x, condition))

    def read_rows(self, x: object, condition: object = None) -> tuple[Tensor, object]:
        """Examples in the model's form, and their condition, which may stand in columns of a data frame.

        Args:
            x: examples of the run's kind of data, in any form that `encode` takes.
            condition: values of the condition, if they do not stand in `x`.

        Returns:
            The examples (N, *S) in the model's form, and the values of the condition.
        """
        if condition is None and self.condition is not None and is_frame(x):
            label, names = self.kind.columns.label, self.condition.names
            if names == (LABELS,) and LABELS not in x.columns and label in x.columns:
                condition = {LABELS: x[[label]]}
            else:
                x, condition = apart(x, names)
        return self.kind.read(x), condition

    def encode_inside(self, x: Tensor, condition: object = None) -> Float[Tensor, N * D]:
        """`encode` of examples in the model's form."""
        return self._sliced(lambda a, c: self.model.encoder(a, c).mean, x, self.conditions(condition, len(x)))

    def encode_split(self, data: Dataset, split: str = "train") -> Float[Tensor, N * D]:
        """Codes of a split of a data set, with its conditions."""
        x: Tensor = getattr(data, split)
        return self.encode_inside(self.kind.inside(x), data.conditions(split))

    def decode(self, z: object, condition: object = None) -> object:
        """Decoder means of codes (N, D), in the user's form: floats (N, C, h, w) in [0, 1] for pictures, a tensor or
        a data frame for tables, a list for strings."""
        return self.restore(self.decode_inside(z, condition))

    def _codes(self, z: object) -> Tensor:
        """Codes as a tensor; a ValueError for another shape than the model's."""
        codes, shape = as_tensor(z, "z"), self.model.code_shape
        if tuple(codes.shape[1:]) != shape:
            sizes = ", ".join(map(str, shape))
            raise ValueError(f"z has shape {tuple(codes.shape)}; expected codes of shape (N, {sizes}) of this run")
        return codes

    def decode_inside(self, z: object, condition: object = None) -> Tensor:
        """Decoder means of codes (N, D), in the model's form."""
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
            raise ValueError(f"how is {how!r}. {choices(how, PATHS)}")
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
        mean = codes.mean(0)
        # float64: the smallest axes of many codes drown in the rounding of float32
        variances, vectors = torch.linalg.eigh(torch.atleast_2d(torch.cov((codes - mean).double().T.cpu())))
        deviations = variances.clamp_min(0).sqrt().flip(0)[:axes]
        units = vectors.T.flip(0)[:axes]
        # an axis has no sign of its own: its largest entry is positive
        signs = units.gather(1, units.abs().argmax(1, keepdim=True)).sign()
        directions = (units * signs * deviations[:, None]).to(codes)
        t = torch.linspace(-span, span, steps).to(codes)
        points = mean + t[None, :, None] * directions[:, None]
        return self.decode_inside(points.flatten(0, 1), condition).unflatten(0, (axes, steps))

    def render(self, z: object, condition: object = None, *, seed: int = 0) -> Tensor:
        """One point of each code, in the model's form: the decoder's mean, or a draw of a decoder with noise of its
        own."""
        codes, generator = self._codes(z), self._generator(seed)
        given = self.conditions(condition, len(codes))
        return self._sliced(lambda a, c: self.model.decoder(a, c).point(generator), codes, given)

    def restore(self, x: Tensor) -> object:
        """Examples in the model's form, in the user's."""
        return self.model.decoder.mend(self.kind.restore(x))

    def categories(self, x: object, condition: object = None) -> Float[Tensor, "N K"]:
        """The probabilities of the category that the code of each example names, of models that have one."""
        inside = self.kind.read(x)
        return self._sliced(
            lambda a, c: self.model.encoder(a, c).category.mean, inside, self.conditions(condition, len(inside))
        )

    # -- densities and samples --------------------------------------------------------------------------------------

    @property
    def default_density(self) -> str:
        """What is sampled where nothing is asked for: the mixture, where there is one."""
        return "gmm" if "gmm" in self.densities else self.own

    def density(self, name: str | None = None) -> Conditional:
        """A density of codes by name: ``"prior"`` is the model's own; by default the mixture, where there is one."""
        name = name or self.default_density
        if name == "prior":
            return self.model.prior
        if name not in self.densities:
            density_table.make(name)  # says which there are
            fitted = ", ".join(["prior", *self.densities])
            raise ValueError(f"density {name!r} has not been fitted to this run (fitted: {fitted}); use fit_density")
        return self.densities[name]

    def fit_density(
        self, name: str, codes: Float[Tensor, "N D"], *, condition: object = None, **settings: Plain
    ) -> Density:
        """Fit a density to codes of the training data; it is kept with the run, and in its folder.

        Args:
            name: of `chartae.densities.NAMES`, or ``gmm-K``.
            codes: (N, D).
            condition: of each code, where the run has a condition.
            settings: of the density.

        Raises:
            ValueError: codes that no density is fitted to: categories, and points of another domain.
        """
        self.refuse_densities()
        known = self.condition
        density = density_table.fit(
            name, codes, condition=self.conditions(condition, len(codes)), discrete=known.discrete if known else 0,
            entries=known.entries if known else (), seed=self.settings.seed, settings=settings,
        )  # fmt: skip
        self.densities[name] = density
        if self.folder is not None and writes():
            path = self.folder / f"density.{name}.safetensors"
            density_table.save(density, path)
            manifest.register(self.folder, path.name)
        return density

    def fit_densities(self, names: Mapping[str, Mapping[str, Plain]], data: Dataset) -> None:
        """Fit densities, name -> settings, that the run does not have yet, to the codes of the training data."""
        missing = {name: settings for name, settings in names.items() if name not in self.densities}
        if missing:
            codes = self.encode_split(data)
            for name, settings in missing.items():
                self.fit_density(name, codes, condition=data.conditions("train"), **settings)

    def score(self, sigma: float | None = None) -> Score:
        """The score of the density, where the model estimates one."""
        return Score(self.model, sigma)

    def sample(
        self, n: int, density: str | None = None, *, condition: object = None, seed: int = 0, start: object = None
    ) -> object:
        """`n` new points, in the user's form; the same seed gives the same points.

        Args:
            n: how many, >= 1.
            density: of codes, by name, or a sampler's name (`chartae.samplers.by_name.NAMES`), whose chains follow the
                score.
            condition: one value, or one for each draw, where the run has a condition.
            seed: of the draws.
            start: points of the data from which chains start, in the user's form; by default the training data, which
                are loaded.
        """
        inside = None if start is None else self.kind.read(start)
        return self.restore(self.draw(n, density, condition=condition, seed=seed, start=inside))

    def draw(
        self, n: int, density: str | None = None, *, condition: object = None, seed: int = 0,
        start: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """`sample` in the model's form (n, *S); so is `start`."""
        name = density or self.default_density
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one sample")
        given = self.conditions(condition, n)
        if name in by_name.NAMES:
            return self.chains(n, name, seed=seed, start=start).final
        return self.model.sample(n, prior=self.density(name), condition=given, generator=self._generator(seed))

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
        """`n` chains of a sampler by name, in the model's form; the last four are those of
        `chartae.samplers.by_name.run`."""
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one chain")
        score = self.score(sigma)
        by_name.kernel(sampler, score, step)  # what is wrong shows before data are read
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
        """The data that the run was fitted to, loaded again; an error if they have changed."""
        s = self.settings
        if s.data == IN_MEMORY:
            raise ValueError("this run was fitted to in-memory data, which it does not keep; pass the data again")
        reading = Reading(
            grammar=self.kind.codec, limit=s.limit or None, column=s.column or None, target=s.target or None,
            errors=None if s.errors == "raise" else s.errors,
        )  # fmt: skip
        data = read_data(s.data, kinds=[type(self.kind)], root=root or s.root or None, reading=reading)
        if self.condition is not None:
            data = with_condition(data, self.condition)
        self.check_data(data)
        return data

    def read(self, data: object, condition: object = None, root: str | Path | None = None) -> Dataset:
        """Data that `fit` would accept for this run, as the data set that it was fitted to.

        Args:
            data: a `Dataset`, a name or path, or examples in memory: what was given to `fit`.
            condition: as in `fit`, where the run has one; by default its columns of a data frame, or the labels.
            root: folder of the named data sets.
        """
        kinds = [type(self.kind)]
        if isinstance(data, Dataset) and (data.condition is not None or self.condition is None):
            return data
        reading = Reading(grammar=None if isinstance(data, Dataset) else self.kind.codec)
        if self.condition is None:
            return read_data(data, kinds=kinds, root=root, reading=reading)
        asked = list(self.condition.names) if condition is None else condition
        return conditioned(data, asked, kinds, root, reading, self.condition)

    def check_data(self, data: Dataset) -> None:
        """Raise ValueError unless these are the data of the run."""
        readers = [kind.to_dict().get("codec") for kind in (self.kind, data.kind)]
        if type(data.kind) is not type(self.kind) or readers[0] != readers[1]:
            raise ValueError(
                f"the run was fitted to {self.kind.noun} ({self.kind!r}), these data are {data.kind.noun} "
                f"({data.kind!r})"
            )
        if tuple(data.shape) != self.settings.shape:
            raise ValueError(f"the run was fitted to examples of shape {self.settings.shape}, these are {data.shape}")
        if self.settings.fingerprint and fingerprint(data.train) != self.settings.fingerprint:
            raise ValueError(f"the training data of {data.name!r} are not those that the run was fitted to")

    # -- its log and folder -----------------------------------------------------------------------------------------

    def training(self) -> TrainingFacts:
        """How it was trained: parameters, epochs, seconds, the epoch whose weights were kept, and the alarms."""
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
        """Write the run as a folder, which must be new or empty."""
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; choose a new folder")
        saved = replace(self, folder=folder)
        saved.write()
        for name, density in self.densities.items():
            density_table.save(density, folder / f"density.{name}.safetensors")
            manifest.register(folder, f"density.{name}.safetensors")
        return saved

    def ask_of_the_code(self, data: Dataset) -> None:
        """Whether the code is used, which no critic says: a warning, and an alarm in the log, where it is not."""
        rows = sample_rows(len(data.train), 1000)
        x = as_float_like(self.kind.inside(data.train[rows]), self.model).to(self.device)
        given = data.train_condition
        condition = None if given is None else given[rows].to(x)
        use = code_use(self.model, x, condition=condition)
        if use.ignored:
            last = self.log[-1]
            self.log.append({
                "split": "alarm", "epoch": last["epoch"], "step": last["step"], "kind": "the code is ignored",
                "alarm": use.remedy,
            })  # fmt: skip

    def write(self) -> None:
        """Write settings, weights and log into the run's folder."""
        assert self.folder is not None
        manifest.clear(self.folder, keep=OF_TRAINING)  # what was made of other weights is not of these
        replace_text(self.folder / "run.toml", self.settings.to_toml())
        facts = {"recipe": self.settings.recipe, "kept": self.kept}
        write_tensors(self.folder / "weights.safetensors", self.objective.state_dict(), kind="weights", facts=facts)
        History(rows=self.log).rewrite(self.folder)
        manifest.register(self.folder, "run.toml", "weights.safetensors", "log.jsonl")


def check_codes(objective: Objective, recipe: str) -> None:
    """Raise ValueError for codes that no density is fitted to."""
    what = ""
    if "partner" in objective.uses:
        what = "are points of another domain"
    elif objective.model.encoder.has_category:
        what = "are or hold a category"
    if what:
        raise ValueError(
            f"codes of {recipe!r} {what}, and no density is fitted to them; use 'prior', or leave out densities"
        )


def as_float_like(x: Tensor, model: Autoencoder) -> Tensor:
    """Examples in the model's form as it computes: uint8 as [0, 1]."""
    return as_float(x, next(model.parameters()).dtype)
