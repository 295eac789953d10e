"""The table of recipes: a record for each, made by a decorator at its function, and recipes built from it.

A new recipe is one decorated function in one file of this package, or of a user's own.
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

__all__ = [
    "COMPARED", "DEFAULT", "RECIPES", "Built", "F", "Option", "Record", "build", "options", "recipe", "recipe_options",
    "recipes_for", "setting_for",
]  # fmt: skip

#: the recipe that is fitted where none is named, and those that are compared
DEFAULT = "rae-l2"
COMPARED = ("ae", "vae", "wae", "rae-l2", "rae-gp")
#: the modules whose recipes are listed first
FIRST = ("classic", "denoising")

#: what an option can be
Option = str | int | float | bool
Options = dict[str, Option]


@dataclass(frozen=True)
class Record:
    """A recipe's defaults; what a model can do is asked of the model.

    Attributes:
        name: by which `chartae.fit` and the command line know it.
        function: Setting and options -> the objective over a fresh model.
        kinds: the kinds of data that it reads, the preferred one first.
        code: the size of the codes where none is given.
        lr: the learning rate, and `paper_lr`, that of the authors for their nets, by the paper's data set.
        net: the net, by name.
        density: what the model itself is sampled by: ``"prior"`` where training aims at it (Table 1's column N), a
            density of the codes, or a sampler that follows the score.
        densities: what is fitted to the codes after training.
        grammar: what strings are read by where no grammar is given, or another codec; empty where one is needed.
        bottleneck: whether codes must not be larger than an example.
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
        """How to read data for this recipe: by its codec, where no grammar is given."""
        return replace(reading, grammar=self.grammar) if reading.grammar is None and self.grammar else reading

    @property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").split("\n\n")[0].replace("\n", " ")


class _Table(Mapping[str, Record]):
    """Name -> record, in the order of registration; the modules of this package register when it is first read."""

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
            raise ValueError(f"there is no recipe {name!r}; choose from {', '.join(self)}")
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
    """A decorator that enters a function (setting, own options as keywords) into the table of recipes.

    The arguments are the attributes of `Record`.
    """

    def register(function: F) -> F:
        RECIPES.add(Record(name, function, kinds, code, lr, paper_lr, net, density, densities, grammar, bottleneck))
        return function

    return register


def recipes_for(kind: type[Kind]) -> list[str]:
    """The names of the recipes that read a kind of data."""
    return [name for name, record in RECIPES.items() if kind in record.kinds]


@dataclass(frozen=True)
class Built:
    """A recipe that was built: record, setting, options as they were given, and the objective over a fresh model."""

    record: Record
    setting: Setting
    options: Options
    objective: Objective

    @property
    def lr(self) -> float:
        """The default learning rate: the authors' for their nets, else the recipe's."""
        return self.record.paper_lr(self.setting.paper) if self.setting.net == "paper" else self.record.lr


def options(name: str) -> dict[str, tuple[type, Option | None]]:
    """A recipe's own keywords, those of its groups of options among them: name -> (type, default); a default of None is
    the papers' setting.

    >>> options("rae-l2")
    {'beta': (<class 'float'>, None), 'l2': (<class 'float'>, None), 'select': (<class 'str'>, 'all')}
    """
    return {key: option[1:] for key, option in _options(name).items()}


class _Option(NamedTuple):
    """The keyword that an option belongs to, if it is one of a group; its type and default."""

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
    """The type that an option has where it is not None."""
    kinds = [t for t in get_args(annotation) if t is not type(None)] or [annotation]
    plain: type = kinds[0]
    return plain


def _grouped(name: str, given: Options) -> dict[str, object]:
    """Options as the keywords of a recipe's function: those of a group within it."""
    known, parameters = _options(name), inspect.signature(RECIPES[name].function).parameters
    keywords: dict[str, object] = {key: value for key, value in given.items() if not known[key].group}
    for group in {known[key].group for key in given} - {""}:
        members = {key: value for key, value in given.items() if known[key].group == group}
        keywords[group] = replace(parameters[group].default, **members)
    return keywords


def build(name: str, setting: Setting, *, seed: int = 0, **given: object) -> Built:
    """Build a recipe: a fresh model, its parameters drawn from `seed`, under the recipe's objective.

    Raises:
        ValueError: an unknown recipe or net, or an option out of range.
        TypeError: an option that the recipe does not have; the message lists those it has.

    >>> build("rae-l2", Setting((1, 28, 28), 16, data="mnist")).objective
    Penalised: Reconstruction() + 0.0128 LatentNorm() + 0.0001024 DecoderL2()
    """
    record, chosen = RECIPES[name], recipe_options(name, given)
    size = math.prod(setting.shape)
    if record.bottleneck and setting.latent_dim > size:
        raise ValueError(f"latent_dim is {setting.latent_dim}, but an example has only {size} values; choose fewer")
    if setting.codec is not None and Strings not in record.kinds:
        raise ValueError(f"recipe {name!r} is for numbers; for strings use {', '.join(recipes_for(Strings))}")
    keywords = _grouped(name, chosen)
    with Stream(seed).initialising():
        objective = record.function(setting, **keywords)
    return Built(record, setting, chosen, objective)


def recipe_options(name: str, given: Mapping[str, object]) -> Options:
    """A recipe's options, each of its own type; a ValueError or TypeError says what is wrong with name or option."""
    known = options(name)
    if unknown := set(given) - set(known):
        has = ", ".join(known) or "none"
        raise TypeError(f"recipe {name!r} has no option {', '.join(sorted(unknown))}; its options are: {has}")
    return {key: _cast(name, key, known[key][0], value) for key, value in given.items() if value is not None}


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
    """The setting for data of a kind.

    Args:
        name: of the recipe.
        kind: of the data.
        data: the data set's name.
        latent_dim: the size of the codes; None for the recipe's default.
        net: by name; None or ``"auto"`` for the recipe's default.
        other: the shape of an example of the other domain.
        classes: how many classes the labels have, where there are labels.
        condition: K, numbers of a condition; 0 for none.
        options: the recipe's own, which may set the size of the codes.
    """
    record = RECIPES[name]
    asked = Asked(kind.shape, other, classes, dict(options or {}), latent_dim, net or "auto")
    size = record.code(asked) if latent_dim is None else latent_dim
    chosen = record.net if asked.net == "auto" else asked.net
    return Setting(kind.shape, size, chosen, kind.unit, data, other, kind.codec, classes, condition, asked)
