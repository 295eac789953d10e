"""Recipes by what they can do, as their records and models say."""

from __future__ import annotations

from chartae.data import Strings
from chartae.recipes import RECIPES, Setting, build, recipes_for
from chartae.samplers import by_name

STRINGS = recipes_for(Strings)
SCORE = [name for name, record in RECIPES.items() if record.density in by_name.NAMES]
DOMAINS = [name for name, record in RECIPES.items() if record.net == "translator"]


def _objective(name: str):
    return build(name, Setting((9,), RECIPES[name].code(Setting((9,), 1).wanted), unit=False, other=(9,))).objective


_OBJECTIVES = {name: _objective(name) for name in RECIPES if name not in STRINGS}
CLUSTERS = [name for name, objective in _OBJECTIVES.items() if objective.model.encoder.has_category]
LABELS = [name for name, objective in _OBJECTIVES.items() if "labels" in objective.uses]
IMPLICIT = [name for name, objective in _OBJECTIVES.items() if not objective.model.decoder.has_density]
