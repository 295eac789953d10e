"""A finished training: its settings, model, densities and log, in memory and as a folder."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from chartae import densities as density_table
from chartae import training
from chartae.autoencoder import Autoencoder, in_slices
from chartae.conditionals import Conditional
from chartae.conditionals.strings import MaskedCategorical
from chartae.data import (
    Batches,
    Dataset,
    indices,
    taken_apart,
)
from chartae.data import load as load_data
from chartae.data.properties import string_data
from chartae.densities import Density
from chartae.diagnostics import Score, code_use
from chartae.grammar import Codec, described, restored
from chartae.maths import as_float, sample_rows
from chartae.objectives import Objective
from chartae.objectives.predicting import Predicting
from chartae.recipes import (
    OF_CLUSTERS,
    OF_DOMAINS,
    OF_STRINGS,
    Recipe,
    Setting,
    build,
)
from chartae.records.files import replace_text, write_tensors
from chartae.samplers import Chain, by_name

__all__ = ["IN_MEMORY", "Run", "Settings", "fingerprint", "writes"]

IN_MEMORY = "array"  # the name of data that were handed over and cannot be loaded again


@dataclass(frozen=True)
class Settings:
    """Everything a run was made with; `run.toml` is this and nothing else."""

    recipe: str
    data: str
    shape: tuple[int, ...]
    unit: bool
    latent_dim: int
    net: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    precision: str = "fp32"
    root: str = ""
    fingerprint: str = ""
    objective: str = ""
    version: str = ""
    to: str = ""
    to_shape: tuple[int, ...] = ()
    to_fingerprint: str = ""
    codec: str = ""
    limit: int = 0
    column: str = ""
    errors: str = "raise"
    target: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, cooked: Recipe, data: Dataset, source: str, root: str, *, epochs: int, batch_size: int, lr: float | None,
        seed: int, precision: str = "fp32",
    ) -> Settings:  # fmt: skip
        """Of a recipe that is about to be trained on data, which lie at `source` under `root`."""
        setting = cooked.setting
        return cls(
            recipe=cooked.name,
            data=source,
            shape=setting.shape,
            unit=setting.unit,
            latent_dim=setting.latent_dim,
            net=setting.net,
            epochs=epochs,
            batch_size=batch_size,
            lr=cooked.lr if lr is None else float(lr),
            seed=seed,
            precision=precision,
            root=root,
            fingerprint=fingerprint(data.train),
            objective=repr(cooked.objective),
            version=version("chartae"),
            codec="" if setting.codec is None else described(setting.codec),
            options=cooked.options,
        )

    def to_toml(self) -> str:
        plain = {k: v for k, v in asdict(self).items() if k != "options"}
        return _toml(plain) + "\n[options]\n" + _toml(self.options)

    @classmethod
    def read(cls, path: Path) -> Settings:
        """From a `run.toml`; a ValueError says what is wrong with it."""
        try:
            given = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        known = {f.name: f for f in fields(cls)}
        if unknown := set(given) - set(known):
            raise ValueError(f"{path} has keys that no run has: {', '.join(sorted(unknown))}")
        needed = [
            "recipe",
            "data",
            "shape",
            "unit",
            "latent_dim",
            "net",
            "epochs",
            "batch_size",
            "lr",
            "seed",
        ]
        if missing := [k for k in needed if k not in given]:
            raise ValueError(f"{path} lacks {', '.join(missing)}")
        kinds = {"str": str, "int": int, "float": (int, float), "bool": bool, "tuple[int, ...]": list}
        for key, value in given.items():
            kind = kinds.get(str(known[key].type), dict)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):  # type: ignore[arg-type]
                raise ValueError(f"{path}: {key} is {value!r}, but should be {known[key].type}")
        shapes = {key: tuple(given.get(key, ())) for key in ("shape", "to_shape")}
        for key, shape in shapes.items():
            if not all(isinstance(s, int) and s > 0 for s in shape) or not 1 <= math.prod(shape) <= 10**8:
                raise ValueError(f"{path}: {key} is {list(shape)}, but should be sizes above 0 of at most 10^8 values")
        return cls(**given | shapes)

    def cook(self) -> Recipe:
        """The recipe over a fresh model."""
        codec = restored(self.codec) if self.codec else None
        name = Path(self.data).stem
        setting = Setting(self.shape, self.latent_dim, self.net, self.unit, name, self.to_shape, codec)
        return build(self.recipe, setting, seed=self.seed, **self.options)

    def cook_as(self, seed: int) -> Recipe:
        """The recipe over a model drawn from another seed."""
        return replace(self, seed=seed).cook()


def _toml(table: dict[str, Any]) -> str:
    """Flat key = value lines; JSON's strings, numbers and lists are TOML's."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())


@dataclass(frozen=True, eq=False)
class Run:
    """A trained autoencoder with all that belongs to it.

    Attributes:
        settings: what it was made with.
        model: the autoencoder, in evaluation mode.
        objective: what was minimised.
        log: the rows of `log.jsonl`.
        densities: the fitted densities of its codes, by name.
        folder: where it lies, if it does.
        history: how training went (of the fit in this process; else empty).
        skipped: strings that could not be encoded, and were left out (of the fit in this process).
        kept: the epoch whose weights the model has, where that is known.
    """

    settings: Settings
    model: Autoencoder
    objective: Objective
    own: str
    log: list[dict[str, Any]] = field(default_factory=list, repr=False)
    densities: dict[str, Density] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    history: training.History | None = field(default=None, repr=False)
    skipped: int = 0
    kept: int | None = None

    def encode(self, x: Any) -> Float[Tensor, N * D]:
        """Codes of data of any size: slice by slice, in evaluation mode, without gradients."""
        return in_slices(self.model, self.model.encode, x)

    def decode(self, z: Any) -> Tensor:
        """Decoder means of codes of any number."""
        return in_slices(self.model, self.model.decode, z)

    def render(self, z: Any, *, seed: int = 0) -> Tensor:
        """One point of each code: the decoder's mean, or a draw of a decoder that has noise of its own."""
        generator = torch.Generator(next(self.model.parameters()).device).manual_seed(seed)
        return in_slices(self.model, lambda part: self.model.decoder(part).point(generator), z)

    def categories(self, x: Any) -> Float[Tensor, "N K"]:
        """The probabilities of the category that the code of each example names, of recipes that have one."""
        return in_slices(self.model, lambda part: self.model.encoder(part).category.mean, x)

    def density(self, name: str | None = None) -> Conditional:
        """A density of codes by name: ``"prior"`` is the model's own; by default the mixture, where there is one."""
        name = name or ("gmm" if "gmm" in self.densities else self.own)
        if name == "prior":
            return self.model.prior
        if name not in self.densities:
            density_table.make(name)  # says which there are
            fitted = ", ".join(["prior", *self.densities])
            raise ValueError(f"density {name!r} has not been fitted to this run (fitted: {fitted}); use fit_density")
        return self.densities[name]

    def fit_density(self, name: str, codes: Float[Tensor, "N D"], **settings: Any) -> Density:
        """Fit a density to codes of the training data; it is kept with the run, and in its folder.

        Raises:
            ValueError: codes that no density is fitted to: categories, and points of another domain.
        """
        if self.settings.recipe in (*OF_CLUSTERS, *OF_DOMAINS):
            kind = "points of another domain" if self.settings.recipe in OF_DOMAINS else "or hold a category"
            raise ValueError(
                f"codes of {self.settings.recipe!r} are {kind}, and no density is fitted to them; use 'prior'"
            )
        density = density_table.make(name, **settings).fit(codes, seed=self.settings.seed)
        self.densities[name] = density
        if self.folder is not None and writes():
            density_table.save(density, self.folder / f"density.{name}.safetensors")
        return density

    def score(self, sigma: float | None = None) -> Score:
        """The score of the density, where the recipe estimates one."""
        return Score(self.model, sigma)

    def sample(self, n: int, density: str | None = None, *, seed: int = 0, start: Tensor | None = None) -> Tensor:
        """`n` new points (n, *S) from a density of codes, or by a sampler's name (`samplers.by_name.NAMES`) from chains
        that follow the score; the same seed gives the same points.

        Chains over noise levels start from noise, others at points of the training data, which are loaded unless
        `start`, some points to choose from, is given.
        """
        name = density or ("gmm" if "gmm" in self.densities else self.own)
        if name in by_name.NAMES:
            return self.chains(n, name, seed=seed, start=start).final
        prior = self.density(name)
        device = next(self.model.parameters()).device
        return self.model.sample(n, prior=prior, generator=torch.Generator(device).manual_seed(seed))

    def chains(
        self,
        n: int,
        sampler: str,
        *,
        sigma: float | None = None,
        start: Tensor | None = None,
        root: str | Path | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Chain:
        """`n` chains of a sampler by name; `settings` are those of `chartae.samplers.by_name.run`."""
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one chain")
        score = self.score(sigma)
        by_name.kernel(sampler, score, settings.get("step"))  # what is wrong shows before data are read
        device = next(self.model.parameters()).device
        if sampler == "annealed" and start is None:
            x = by_name.noise_start(score, self.settings.shape, n, seed, device)
        else:
            x = as_float(self.data(root).train if start is None else start)
            x = x[torch.randint(len(x), (n,), generator=torch.Generator().manual_seed(seed))]
        return by_name.run(score, sampler, x.to(device), seed=seed, **settings)

    def data(self, root: str | Path | None = None) -> Dataset:
        """The data that the run was fitted to, loaded again; an error if they have changed."""
        s = self.settings
        if s.data == IN_MEMORY:
            raise ValueError("this run was fitted to an array, which it does not keep; pass the data again")
        if s.codec:
            given: dict[str, Any] = {"limit": s.limit or None, "column": s.column or None, "errors": s.errors}
            given["target"] = s.target or None
            data = string_data(s.recipe, s.data, self.codec, **given)
        else:
            data = load_data(s.data, root=root or s.root or None)
        self.check_data(data)
        return data

    @property
    def codec(self) -> Codec:
        """What the indices mean, of a run on strings; a ValueError of another."""
        return self._law.codec

    @property
    def _law(self) -> MaskedCategorical:
        if not isinstance(decoder := self.model.decoder, MaskedCategorical):
            raise ValueError(
                f"this is a run of {self.settings.recipe!r} on numbers; strings need {', '.join(OF_STRINGS)}"
            )
        return decoder

    def encode_strings(self, strings: Sequence[str]) -> Float[Tensor, N * D]:
        """Codes of strings; a ValueError where one cannot be encoded."""
        return self.encode(indices(self.codec.encode(strings), self.codec))

    def decode_strings(self, z: Any, draws: int = 1, *, seed: int = 0) -> list[list[str]]:
        """Strings of each code: the likeliest, step by step, then `draws` - 1 that are drawn from p(x|z).

        Of a grammar every string is in its language; of molecules see `MaskedCategorical.written`.
        """
        if draws < 1:
            raise ValueError(f"draws is {draws}; ask for at least one string a code")
        generator = torch.Generator(next(self.model.parameters()).device).manual_seed(seed)
        found = [in_slices(self.model, lambda part: self.model.decoder(part).mean, z)]
        for _ in range(draws - 1):
            found.append(in_slices(self.model, lambda part: self.model.decoder(part).sample(generator=generator), z))
        texts = [self.written(x) for x in found]
        return [list(row) for row in zip(*texts, strict=True)]

    def written(self, x: Float[Tensor, "N T"]) -> list[str]:
        """The strings of rows of indices, as `sample` and `decode` give them."""
        return self._law.written(x)

    def properties(self, strings: Sequence[str]) -> Float[Tensor, " N"]:
        """What the head reads off the codes of strings, in the units of the target; a ValueError without a head."""
        if not isinstance(self.objective, Predicting):
            raise ValueError("this run has learnt no property; fit it with a target")
        return in_slices(self.objective, self.objective.predict, self.encode_strings(strings))

    def retrained(self, strings: Sequence[str], weights: Float[Tensor, " N"], *, epochs: int = 1, seed: int = 0) -> Run:
        """This run, its model trained on for so many passes over `strings`, drawn with these weights.

        Weighted retraining: Tripp, Daxberger, Hernández-Lobato, 2020 (arXiv 2006.09191). The run itself stays as it is;
        the new one has no folder, and its densities are the old ones.

        Raises:
            ValueError: another number of weights than of strings, weights that are none, no string that can be encoded.
        """
        weights = torch.as_tensor(weights).double().cpu()
        if len(weights) != len(strings) or not len(weights) or not (weights >= 0).all() or not weights.sum() > 0:
            raise ValueError(
                f"there are {len(strings)} strings and {len(weights)} weights; give one of 0 or above each"
            )
        rows = self.codec.encode(strings, errors="skip")
        if not len(rows):
            raise ValueError(f"none of the {len(strings)} strings can be encoded")
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(weights[rows.kept], len(rows), replacement=True, generator=generator)
        objective = copy.deepcopy(self.objective)
        # what a head reads is not told of these strings
        learner = objective.inner if isinstance(objective, Predicting) else objective
        s = self.settings
        batches = Batches(indices(rows, self.codec)[drawn], min(s.batch_size, len(rows)), seed=seed)
        training.fit(learner, batches, epochs=epochs, lr=s.lr, cosine=True, seed=seed, progress=False)
        objective.eval()
        return replace(self, objective=objective, model=objective.model, folder=None, densities=dict(self.densities))

    def sample_strings(self, n: int, density: str | None = None, *, seed: int = 0) -> list[str]:
        """`n` new strings, each the likeliest of a code that is drawn from a density."""
        return self.written(self.sample(n, density, seed=seed))

    def training(self) -> dict[str, Any]:
        """How it was trained: parameters, epochs, seconds, the epoch whose weights were kept, and the alarms."""
        rows = [row for row in self.log if row["split"] == "train"]
        facts: dict[str, Any] = {"parameters": sum(p.numel() for p in self.model.parameters())}
        if rows:
            facts |= {"epochs": rows[-1]["epoch"], "seconds": rows[-1]["seconds"]}
        if self.kept is not None:
            facts["best_epoch"] = self.kept
        if alarms := [row["alarm"] for row in self.log if row["split"] == "alarm"]:
            facts["alarms"] = alarms
        return facts

    @property
    def halves(self) -> bool:
        """Whether its two domains are the same pictures, so that each was trained on a half of them."""
        s = self.settings
        return s.data != IN_MEMORY and taken_apart(s.data)[0] == taken_apart(s.to)[0]

    def domain(self, name: str, root: str | Path | None = None) -> Dataset:
        """The data of a domain of a run that translates, loaded again: ``"A"``, what it was fitted on, or ``"B"``.

        Raises:
            ValueError: no such domain; data that were an array, or have changed.
        """
        self.shape_of(name)
        s = self.settings
        if (s.data if name == "A" else s.to) == IN_MEMORY:
            raise ValueError(
                f"domain {name} of this run was an array, which it does not keep; name the data to translate (--data), "
                "or call Run.translate with yours"
            )
        if name == "A":
            return self.data(root)
        found = load_data(s.to, root=root or s.root or None)
        if tuple(found.shape) != s.to_shape or fingerprint(found.train) != s.to_fingerprint:
            raise ValueError(f"the training data of {found.name!r} are not those that the run was fitted to")
        return found

    def shape_of(self, domain: str) -> tuple[int, ...]:
        """The shape of an example of domain ``"A"`` or ``"B"`` of a run that translates; a ValueError of others."""
        s = self.settings
        if s.recipe not in OF_DOMAINS:
            raise ValueError(
                f"this is a run of {s.recipe!r}, which has one domain; translation needs a run of "
                f"{' or '.join(OF_DOMAINS)}: chartae fit DATA --recipe {OF_DOMAINS[0]} --to OTHER"
            )
        if domain not in ("A", "B"):
            raise ValueError(
                f"there is no domain {domain!r}; the run's two are A, the data it was fitted on ({s.data}), and B, "
                f"what it was fitted to ({s.to})"
            )
        return s.shape if domain == "A" else s.to_shape

    def translate(self, x: Any, to: str = "B", n: int = 8, *, seed: int = 0) -> Float[Tensor, "N n *S"]:
        """`n` translations of each example of the one domain into the other, of a run that translates.

        Where a direction has no noise, its `n` draws are the same. Images are cut to [0, 1].

        Args:
            x: examples of the other domain than `to`; uint8 is read as [0, 1].
            to: ``"B"``, or ``"A"`` for the way back.

        Raises:
            ValueError: another recipe's run, an unknown domain, examples of another shape, n below 1.
        """
        self.shape_of(to)
        x, shape = torch.as_tensor(x), self.shape_of("A" if to == "B" else "B")
        if tuple(x.shape[1:]) != shape or not len(x):
            raise ValueError(f"x has shape {tuple(x.shape)}; to {to} go at least one example of shape {shape}")
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one translation")
        if x.is_floating_point() and not x.isfinite().all():
            raise ValueError(f"{int((~x.isfinite()).sum())} values of x are NaN or infinite; drop or impute them")
        if x.is_floating_point() and len(shape) == 3 and not (x.min() >= 0 and x.max() <= 1):
            raise ValueError(f"x runs from {x.min():g} to {x.max():g}; images are floats in [0, 1], or uint8")
        part = self.model.encoder if to == "B" else self.model.decoder
        generator = torch.Generator(next(self.model.parameters()).device).manual_seed(seed)
        # a slice becomes n times as large
        size = max(1, 1000 // n)
        out = in_slices(self.model, lambda a: part(a).sample(n, generator=generator).transpose(0, 1), x, size)
        return out.clamp(0, 1) if len(shape) == 3 else out

    def check_data(self, data: Dataset) -> None:
        """Raise ValueError unless these are the data of the run."""
        if self.settings.codec != ("" if data.codec is None else described(data.codec)):
            raise ValueError(f"the run is one of {self.settings.codec or 'numbers'}, these data of {data.codec}")
        if tuple(data.shape) != self.settings.shape:
            raise ValueError(f"the run was fitted to examples of shape {self.settings.shape}, these are {data.shape}")
        if self.settings.fingerprint and fingerprint(data.train) != self.settings.fingerprint:
            raise ValueError(f"the training data of {data.name!r} are not those that the run was fitted to")

    def save(self, folder: str | Path) -> Run:
        """Write the run as a folder, which must be new or empty."""
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; choose a new folder")
        saved = replace(self, folder=folder)
        saved._write()
        saved._write_log()
        for name, density in self.densities.items():
            density_table.save(density, folder / f"density.{name}.safetensors")
        return saved

    def _ask_of_the_code(self, data: Dataset) -> None:
        """Whether the code is used, which no critic says: a warning, and an alarm in the log, where it is not."""
        some = data.train[sample_rows(len(data.train), 1000)]
        use = code_use(self.model, as_float(some).to(next(self.model.parameters()).device))
        if use.ignored:
            last = self.log[-1]
            self.log.append({
                "split": "alarm", "epoch": last["epoch"], "step": last["step"], "kind": "the code is ignored",
                "alarm": use.remedy,
            })  # fmt: skip
            if self.folder is not None and writes():
                self._write_log()

    def _write_log(self) -> None:
        assert self.folder is not None
        replace_text(self.folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in self.log))

    def _write(self) -> None:
        assert self.folder is not None
        replace_text(self.folder / "run.toml", self.settings.to_toml())
        facts = {"recipe": self.settings.recipe, "kept": self.kept}
        write_tensors(self.folder / "weights.safetensors", self.objective.state_dict(), kind="weights", facts=facts)


def writes() -> bool:
    """Whether this process writes: under a launcher of several, the first alone."""
    return int(os.environ.get("RANK", "0")) == 0


def fingerprint(x: Tensor) -> str:
    """Sixteen hex digits that change with the data."""
    return hashlib.blake2b(x.contiguous().cpu().numpy().tobytes(), digest_size=8).hexdigest()
