"""Recipes: name -> (autoencoder, objective, density), with the papers' settings.

Coefficients are in the paper's normalisation: the summed squared error ||x - x^||^2 of one example, which is a Gaussian
likelihood of sigma^2 = 1/2, plus beta ½||z||^2 and so on. The numbers come from the RAE authors' configurations
(1903.12436), which average over the D pixels instead; `from_authors` converts them.
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
