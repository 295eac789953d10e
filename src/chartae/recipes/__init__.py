"""Recipes: an autoencoder, its objective and a density of its codes by name, with the papers' settings.

Coefficients are in the normalisation of the RAE paper (arXiv 1903.12436): they are relative to the squared error
`||x - x^||^2` of one example, summed over its values, which is a Gaussian likelihood of sigma^2 = 1/2. The numbers come
from its authors' configurations, whose code averages over the D pixels instead; `from_authors` converts them.
"""

from chartae.recipes.capabilities import trial
from chartae.recipes.setting import AUTHORS, HALF, Setting, from_authors
from chartae.recipes.table import (
    COMPARED,
    DEFAULT,
    RECIPES,
    Built,
    Record,
    build,
    options,
    recipe,
    recipe_options,
    recipes_for,
    setting_for,
)
from chartae.recipes.texts import option_texts

__all__ = [
    "AUTHORS",
    "COMPARED",
    "DEFAULT",
    "HALF",
    "RECIPES",
    "Built",
    "Record",
    "Setting",
    "build",
    "from_authors",
    "option_texts",
    "options",
    "recipe",
    "recipe_options",
    "recipes_for",
    "setting_for",
    "trial",
]
