"""The table of recipes, and building one from it.

A new recipe is one function with the decorator `recipe`, in one file of this package or in a user's code.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from types import UnionType
from typing import NamedTuple, TypeVar, get_args, get_type_hints

from chartae.data import Reading
from chartae.data.kinds import Images, Kind, Points, Strings, Table
from chartae.maths.random import Stream
from chartae.objectives import Objective
from chartae.recipes.setting import Asked, Setting, narrow, paper_rate
from chartae.records.choices import one_of

__all__ = [
    "COMPARED", "DEFAULT", "RECIPES", "Built", "F", "Option", "Record", "build", "options", "recipe", "recipe_options",
    "recipes_for", "setting_for",
]  # fmt: skip

#: the recipe that is fitted if none is named, and those that are compared by default
DEFAULT = "rae-l2"
COMPARED = ("ae", "vae", "wae", "rae-l2", "rae-gp")
#: the modules whose recipes are listed first
FIRST = ("classic", "denoising")

#: the type of an option's value
Option = str | int | float | bool
Options = dict[str, Option]


@dataclass(frozen=True)
class Record:
    """A recipe: the function that builds it, and its defaults.

    What the resulting model can do is a property of the model, for example ``model.decoder.has_density``.

    Attributes:
        name: name of the recipe, for `chartae.fit` and the command line.
        function: function from a `Setting` and options to the objective with a fresh model.
        kinds: kinds of data that the recipe reads, the preferred one first.
        code: function from the request to the default size of the codes.
        lr: default learning rate.
        paper_lr: function from a data set of the RAE paper to its authors' learning rate, for ``net="paper"``.
        net: default net, by name.
        density: default way of sampling: ``"prior"`` if training matches the codes to it, the name of a density that is
            fitted to the codes, or the name of a sampler that follows the score.
        densities: names of the densities that are fitted to the codes after training.
        grammar: default codec of strings; empty if a grammar must be given.
        bottleneck: whether codes must not have more values than an example.

    >>> from chartae.recipes import RECIPES
    >>> record = RECIPES["rae-l2"]
    >>> record.density, record.densities
    ('normal', ('normal', 'gmm'))
    >>> record.summary
    "RAE-L2: a regularised autoencoder with an L2 penalty on the decoder's parameters."
    """

    name: str
    function: Callable[..., Objective]
    kinds: tuple[type[Kind], ...]
    code: Callable[[Asked], int]
    lr: float
    paper_lr: Callable[[str], float]
    net: str
    density: str
    densities: tuple[str, ...]
    grammar: str
    bottleneck: bool

    def reads(self, reading: Reading) -> Reading:
        """How to read data for this recipe: by its default codec, if it has one and no grammar is given."""
        return replace(reading, grammar=self.grammar) if reading.grammar is None and self.grammar else reading

    @property
    def sized_by_rows(self) -> bool:
        """Whether codes may be smaller than the default where rows are few: their size is only that of a bottleneck."""
        return self.code is narrow

    @property
    def summary(self) -> str:
        """The recipe in one line: the first sentence of its function's docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").split("\n\n")[0].replace("\n", " ")


class _Table(Mapping[str, Record]):
    """Records by name, in the order of registration; the modules of this package register at the first access."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._complete = False

    def add(self, record: Record) -> None:
        self._records[record.name] = record

    def _all(self) -> dict[str, Record]:
        if not self._complete:
            self._complete = True
            package = importlib.import_module(__package__ or "chartae.recipes")
            names = [module.name for module in pkgutil.iter_modules(package.__path__)]
            for name in sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
                importlib.import_module(f"{package.__name__}.{name}")
        return self._records

    def __getitem__(self, name: str) -> Record:
        if name not in self._all():
            raise ValueError(f"recipe is {name!r}; {one_of(name, self)}")
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


#: every recipe by its name
RECIPES = _Table()

F = TypeVar("F", bound=Callable[..., Objective])


def recipe(
    name: str,
    *,
    kinds: tuple[type[Kind], ...] = (Images, Table, Points),
    code: Callable[[Asked], int] = narrow,
    lr: float = 1e-3,
    paper_lr: Callable[[str], float] = paper_rate,
    net: str = "auto",
    density: str = "prior",
    densities: tuple[str, ...] = ("normal", "gmm"),
    grammar: str = "",
    bottleneck: bool = True,
) -> Callable[[F], F]:
    """A decorator that adds a function to the table of recipes.

    The function takes a `Setting` and the recipe's options as keyword-only parameters with defaults, and returns an
    objective with a fresh model. The first sentence of its docstring is the recipe's summary.

    Args:
        name: name of the recipe, for `chartae.fit` and the command line.
        kinds: kinds of data that the recipe reads, the preferred one first; images, tables and points by default.
        code: function from the request to the default size of the codes; by default 16, or the number of values in an
            example if that is smaller.
        lr: default learning rate, > 0; default 1e-3.
        paper_lr: function from a data set of the RAE paper to its authors' learning rate, for ``net="paper"``.
        net: default net, by name; ``"auto"`` by default, which depends on the data.
        density: default way of sampling: ``"prior"`` (default) if training matches the codes to it, the name of a
            density that is fitted to the codes, or the name of a sampler that follows the score.
        densities: names of the densities that are fitted to the codes after training; ``("normal", "gmm")`` by default.
        grammar: default codec of strings; empty (default) if a grammar must be given.
        bottleneck: whether codes must not have more values than an example; True by default.

    Returns:
        A decorator that returns the function unchanged.

    >>> from chartae import Penalised, Reconstruction
    >>> from chartae.recipes import RECIPES, Setting, build, recipe
    >>> @recipe("my-ae", density="normal")
    ... def my_ae(setting, *, strength: float = 2.0):
    ...     \"\"\"An autoencoder with a weighted error.\"\"\"
    ...     return Penalised(setting.deterministic(), strength * Reconstruction())
    >>> build("my-ae", Setting((6,), 2, unit=False), strength=3.0).objective
    Penalised: 3 Reconstruction()
    >>> RECIPES["my-ae"].summary
    'An autoencoder with a weighted error.'
    >>> del RECIPES._records["my-ae"]  # so that the example leaves no recipe behind
    """

    def register(function: F) -> F:
        RECIPES.add(Record(name, function, kinds, code, lr, paper_lr, net, density, densities, grammar, bottleneck))
        return function

    return register


def recipes_for(kind: type[Kind]) -> list[str]:
    """The names of the recipes that read a kind of data.

    Args:
        kind: the class of the kind, such as `chartae.data.kinds.Strings`.

    Returns:
        Names of recipes, in the order of the table.

    >>> from chartae.data.kinds import Strings
    >>> from chartae.recipes import recipes_for
    >>> recipes_for(Strings)
    ['grae', 'gvae', 'gcv-vae', 'cvae']
    """
    return [name for name, record in RECIPES.items() if kind in record.kinds]


@dataclass(frozen=True)
class Built:
    """A recipe that was built for a setting.

    Attributes:
        record: record of the recipe, with its defaults.
        setting: the setting that it was built for.
        options: options that were given, by name, each of its own type.
        objective: the objective with a fresh model.

    >>> from chartae.recipes import Setting, build
    >>> built = build("wae", Setting((6,), 2, unit=False), strength=10)
    >>> built.options, built.lr
    ({'strength': 10.0}, 0.001)
    """

    record: Record
    setting: Setting
    options: Options
    objective: Objective

    @property
    def lr(self) -> float:
        """The default learning rate: the RAE authors' with the paper's nets, else the recipe's."""
        papers = self.setting.net.partition(":")[0] == "paper"
        return self.record.paper_lr(self.setting.paper) if papers else self.record.lr


def options(name: str) -> dict[str, tuple[type, Option | None]]:
    """The options of a recipe, with their types and defaults.

    Args:
        name: name of the recipe.

    Returns:
        (type, default) of each option, by its name. A default of None depends on the data or on other options, mostly a
        coefficient of the paper.

    >>> from chartae.recipes import options
    >>> options("rae-l2")
    {'beta': (<class 'float'>, None), 'l2': (<class 'float'>, None), 'select': (<class 'str'>, 'all')}
    """
    return {key: option[1:] for key, option in _options(name).items()}


class _Option(NamedTuple):
    """An option: the keyword of its group, empty without one; its type; its default."""

    group: str
    kind: type
    default: Option | None


def _options(name: str) -> dict[str, _Option]:
    known: dict[str, _Option] = {}
    for p in inspect.signature(RECIPES[name].function, eval_str=True).parameters.values():
        if p.kind is not p.KEYWORD_ONLY:
            continue
        if is_dataclass(p.default):
            kinds = get_type_hints(type(p.default))
            known |= {
                f.name: _Option(p.name, _plain(kinds[f.name]), getattr(p.default, f.name)) for f in fields(p.default)
            }
        else:
            known[p.name] = _Option("", _plain(p.annotation), p.default)
    return known


def _plain(annotation: type | UnionType) -> type:
    """The type of an option that is not None."""
    kinds = [t for t in get_args(annotation) if t is not type(None)] or [annotation]
    plain: type = kinds[0]
    return plain


def _grouped(name: str, chosen: Options) -> dict[str, object]:
    """Options as keywords of a recipe's function, with those of a group inside its dataclass."""
    known, parameters = _options(name), inspect.signature(RECIPES[name].function).parameters
    keywords: dict[str, object] = {key: value for key, value in chosen.items() if not known[key].group}
    for group in {known[key].group for key in chosen} - {""}:
        members = {key: value for key, value in chosen.items() if known[key].group == group}
        keywords[group] = replace(parameters[group].default, **members)
    return keywords


def build(name: str, setting: Setting, *, seed: int = 0, **options: object) -> Built:
    """Build a recipe: a fresh model, and the recipe's objective for it.

    Args:
        name: name of the recipe, one of `RECIPES`.
        setting: shape of the data, size of the codes and net.
        seed: seed of the initial parameters; default 0.
        options: options of the recipe, such as ``beta=0.1``; None for the default.

    Returns:
        The recipe as it was built, with its objective.

    Raises:
        ValueError: the recipe or the net is unknown, or an option or the size of the codes is out of range.
        TypeError: the recipe has no such option (the message lists those it has), or a value has the wrong type.

    >>> from chartae.recipes import Setting, build
    >>> build("rae-l2", Setting((1, 28, 28), 16, data="mnist")).objective
    Penalised: Reconstruction() + 0.0128 LatentNorm() + 0.0001024 DecoderL2()
    """
    record, chosen = RECIPES[name], recipe_options(name, options)
    size = math.prod(setting.shape)
    if record.bottleneck and setting.latent_dim > size:
        raise ValueError(
            f"latent_dim is {setting.latent_dim}, but an example has only {size} values; expected at most {size}"
        )
    if setting.codec is not None and Strings not in record.kinds:
        raise ValueError(f"recipe {name!r} does not read strings; use {', '.join(recipes_for(Strings))}")
    keywords = _grouped(name, chosen)
    with Stream(seed).initialising():
        objective = record.function(setting, **keywords)
    return Built(record, setting, chosen, objective)


def recipe_options(name: str, values: Mapping[str, object]) -> Options:
    """Check the options of a recipe, and convert each to its type.

    Args:
        name: name of the recipe.
        values: options by name; None for the default. Values may be strings, as from the command line.

    Returns:
        The options that are not None, each of its own type.

    Raises:
        ValueError: the recipe is unknown, or a number is negative or not finite.
        TypeError: the recipe has no such option, or a value cannot be converted.

    >>> from chartae.recipes import recipe_options
    >>> recipe_options("rae-gp", {"beta": "0.1", "gp": None})
    {'beta': 0.1}
    """
    known = options(name)
    if unknown := set(values) - set(known):
        has = ", ".join(known) or "none"
        raise TypeError(f"recipe {name!r} has no option {', '.join(sorted(unknown))}; its options are: {has}")
    return {key: _cast(name, key, known[key][0], value) for key, value in values.items() if value is not None}


def _cast(name: str, key: str, kind: type, value: object) -> Option:
    if kind is bool:
        truth = {"true": True, "false": False}.get(str(value).lower())
        if truth is None:
            raise TypeError(f"option {key} of recipe {name!r} is {value!r}; give true or false")
        return truth
    try:
        cast: Option = kind(value)
    except (TypeError, ValueError):
        raise TypeError(f"option {key} of recipe {name!r} is {value!r}; give a {kind.__name__}") from None
    if isinstance(cast, float) and not (math.isfinite(cast) and cast >= 0):
        raise ValueError(f"option {key} of recipe {name!r} is {cast}; give a finite number, 0 or above")
    return cast


def setting_for(
    name: str,
    kind: Kind,
    *,
    data: str = "",
    latent_dim: int | None = None,
    net: str | None = None,
    other: tuple[int, ...] = (),
    classes: int = 0,
    condition: int = 0,
    options: Mapping[str, object] | None = None,
) -> Setting:
    """The setting of a recipe for data of a kind, with the recipe's defaults.

    Args:
        name: name of the recipe.
        kind: the kind of the data, which has the shape of an example.
        data: name of the data set, which selects the papers' coefficients; empty by default.
        latent_dim: size of the codes; None (default) for the recipe's default.
        net: name of the net; None (default) or ``"auto"`` for the recipe's default.
        other: shape of one example of the other domain, for recipes that translate; empty by default.
        classes: number of classes that the labels have; 0 (default) without labels.
        condition: number of values in a condition, K; 0 (default) for none.
        options: options of the recipe, which may determine the size of the codes; None (default) for its defaults.

    Returns:
        The setting, for `build`.

    Raises:
        ValueError: the recipe is unknown, or `latent_dim` is below 1.

    >>> from chartae.data.kinds import Points
    >>> from chartae.recipes import setting_for
    >>> setting = setting_for("iae-cluster", Points((6,)), options={"clusters": 4})
    >>> setting.latent_dim, setting.net
    (4, 'mlp')
    """
    record = RECIPES[name]
    asked = Asked(kind.shape, other, classes, dict(options or {}), latent_dim, net or "auto")
    size = record.code(asked) if latent_dim is None else latent_dim
    chosen = record.net if asked.net == "auto" else asked.net
    return Setting(kind.shape, size, chosen, kind.unit, data, other, kind.codec, classes, condition, asked)
