"""What the model of a recipe can do, found out from a small one before there are data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache

from chartae.data.kinds import Images, Kind, Points, Strings, Table
from chartae.grammar import codec_for
from chartae.objectives import Objective
from chartae.recipes.table import RECIPES, Option, Record, build, recipe_options, setting_for

__all__ = ["trial"]

#: number of values in an example of the small models
SIZE = 4


@cache
def _small() -> dict[type[Kind], Kind]:
    """A kind with small examples, for each kind of data."""
    return {
        Table: Table([0.0] * SIZE, [1.0] * SIZE),
        Points: Points((SIZE,)),
        Images: Images((1, 8, 8)),
        Strings: Strings(codec_for("characters", ["ab"]), SIZE),
    }


def _kinds(record: Record) -> Iterator[Kind]:
    """Kinds with small examples that a recipe reads; points if it reads none of those known here."""
    small = [kind for name, kind in _small().items() if name in record.kinds]
    yield from small or [Points((SIZE,))]


def trial(name: str, options: Mapping[str, object] | None = None) -> Objective:
    """The objective of a recipe with a small untrained model, to see what the recipe can do before there are data.

    Its parts tell, for example ``objective.uses``, ``objective.model.encoder.has_category`` and
    ``objective.model.decoder.has_density``. Sizes and the number of classes are not those of any data. The objective is
    built once for each recipe and its options, and shared, so it must not be trained.

    Args:
        name: name of the recipe.
        options: options of the recipe by name; None (default) for its defaults.

    Returns:
        The objective, in evaluation mode.

    Raises:
        ValueError: the recipe is unknown, an option is out of range, or no small model of it can be built.
        TypeError: the recipe has no such option.

    >>> from chartae.recipes import trial
    >>> trial("vae").model.decoder.has_density, trial("iae").model.decoder.has_density
    (True, False)
    >>> sorted(trial("aae-semisup").uses)
    ['labels']
    """
    return _built(RECIPES[name], tuple(sorted(recipe_options(name, options or {}).items())))


@lru_cache(maxsize=64)
def _built(record: Record, options: tuple[tuple[str, Option], ...]) -> Objective:
    errors: list[ValueError] = []
    for kind in _kinds(record):
        try:
            setting = setting_for(record.name, kind, other=kind.shape, classes=2, options=dict(options))
            return build(record.name, setting, seed=0, **dict(options)).objective.eval()
        except ValueError as error:  # an option may suit only one kind of data, such as a likelihood for pictures
            errors.append(error)
    raise errors[0]
