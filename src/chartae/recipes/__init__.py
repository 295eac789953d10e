"""The table: name -> (autoencoder, objective, density), with the papers' settings.

Coefficients are in the paper's normalisation: the summed squared error ||x - x^||^2 of one example, which is a Gaussian
likelihood of sigma^2 = 1/2, plus beta ½||z||^2 and so on. The numbers come from the RAE authors' configurations
(1903.12436), which average over the D pixels instead; `from_authors` converts them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple, get_args, get_type_hints

import torch

from chartae.grammar import Codec
from chartae.objectives import Objective
from chartae.recipes.adversarial import (
    aae,
    aae_cluster,
    aae_semisup,
    ali,
    avb,
    iae,
    iae_cluster,
    iae_flipped,
    iae_semisup,
    iae_translate,
    vae_gan,
    wae_gan,
)
from chartae.recipes.classic import ae, beta_vae, cv_vae, rae, rae_gp, rae_l2, rae_sn, sigma_vae, vae, wae
from chartae.recipes.denoising import cae, dae, ncdae, rcae
from chartae.recipes.setting import AUTHORS, HALF, Setting, from_authors
from chartae.recipes.strings import cvae, gcv_vae, grae, gvae

__all__ = [
    "AUTHORS", "HALF", "OF_CLUSTERS", "OF_DOMAINS", "OF_IMPLICIT", "OF_LABELS", "OF_SCORE", "OF_STRINGS", "RECIPES",
    "WITH_PRIOR", "Recipe", "Setting", "build", "from_authors", "options", "recipe_options", "setting_for",
]  # fmt: skip

RECIPES: dict[str, Callable[..., Objective]] = {
    "ae": ae,
    "rae": rae,
    "rae-l2": rae_l2,
    "rae-gp": rae_gp,
    "rae-sn": rae_sn,
    "vae": vae,
    "beta-vae": beta_vae,
    "sigma-vae": sigma_vae,
    "cv-vae": cv_vae,
    "wae": wae,
    "dae": dae,
    "rcae": rcae,
    "cae": cae,
    "ncdae": ncdae,
    "aae": aae,
    "wae-gan": wae_gan,
    "aae-cluster": aae_cluster,
    "aae-semisup": aae_semisup,
    "iae": iae,
    "iae-flipped": iae_flipped,
    "iae-cluster": iae_cluster,
    "iae-semisup": iae_semisup,
    "iae-translate": iae_translate,
    "ali": ali,
    "avb": avb,
    "vae-gan": vae_gan,
    "grae": grae,
    "gvae": gvae,
    "gcv-vae": gcv_vae,
    "cvae": cvae,
}

#: recipes whose code names a category, alone or beside a style: no density is fitted to it
OF_CLUSTERS = ("iae-cluster", "aae-cluster", "aae-semisup", "iae-semisup")

#: of these, the ones that learn from labels
OF_LABELS = ("aae-semisup", "iae-semisup")

#: recipes whose codes are points of another domain, which is given beside the data
OF_DOMAINS = ("iae-translate",)

#: recipes whose decoder is drawn from and has no density
OF_IMPLICIT = ("iae", "iae-flipped", "ali", "iae-cluster", "iae-semisup", "iae-translate")

#: recipes for strings, which a codec makes rows of indices
OF_STRINGS = ("grae", "gvae", "gcv-vae", "cvae")

#: recipes whose own prior is trained towards; the others are sampled ex post
WITH_PRIOR = (
    "vae",
    "beta-vae",
    "sigma-vae",
    "wae",
    "aae",
    "wae-gan",
    "iae",
    "iae-flipped",
    "ali",
    "avb",
    "vae-gan",
    "gvae",
    "cvae",
    *OF_CLUSTERS,
    *OF_DOMAINS,
)

#: recipes that estimate a score: their codes are wider than the data, and chains sample them, not a density of codes
OF_SCORE = {"dae": "mala", "rcae": "mala", "cae": "mala", "ncdae": "annealed"}


def paper_lr(name: str, data: str) -> float:
    """The authors' step size (Adam) for their nets."""
    if name in OF_SCORE:
        return 1e-3
    if name in ("vae", "beta-vae", "sigma-vae", "cv-vae"):
        return 1e-4
    return 1e-3 if name == "wae" or data == "celeba" else 5e-4


@dataclass(frozen=True)
class Recipe:
    """A recipe cooked: its name, setting, options as given, and the objective over a fresh model."""

    name: str
    setting: Setting
    options: dict[str, Any]
    objective: Objective

    @property
    def lr(self) -> float:
        """The default step size: the authors' for their nets, else 1e-3; twice that where the nets are small."""
        if self.name in OF_DOMAINS:
            return 2e-3
        return paper_lr(self.name, self.setting.paper) if self.setting.net == "paper" else 1e-3

    @property
    def own(self) -> str:
        """What the model itself is sampled by: the prior where training aims at it (Table 1's column N), else a normal
        fitted to the codes; the sampler of a recipe that estimates a score."""
        if self.name in OF_SCORE:
            return OF_SCORE[self.name]
        return "prior" if self.name in WITH_PRIOR else "normal"


def options(name: str) -> dict[str, tuple[type, Any]]:
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
    default: Any


def _options(name: str) -> dict[str, _Option]:
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; choose from {', '.join(RECIPES)}")
    found: dict[str, _Option] = {}
    for p in inspect.signature(RECIPES[name], eval_str=True).parameters.values():
        if p.kind is not p.KEYWORD_ONLY:
            continue
        if is_dataclass(p.default):
            kinds = get_type_hints(type(p.default))
            found |= {
                f.name: _Option(p.name, _plain(kinds[f.name]), getattr(p.default, f.name)) for f in fields(p.default)
            }
        else:
            found[p.name] = _Option("", _plain(p.annotation), p.default)
    return found


def _plain(annotation: Any) -> type:
    """The type that an option has where it is not None."""
    return next((t for t in get_args(annotation) if t is not type(None)), annotation)


def _grouped(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Options as the keywords of a recipe's function: those of a group within it."""
    known, parameters = _options(name), inspect.signature(RECIPES[name]).parameters
    keywords = {key: value for key, value in given.items() if not known[key].group}
    for group in {known[key].group for key in given} - {""}:
        own = {key: value for key, value in given.items() if known[key].group == group}
        keywords[group] = replace(parameters[group].default, **own)
    return keywords


def build(name: str, setting: Setting, *, seed: int = 0, **given: Any) -> Recipe:
    """Cook a recipe: a fresh model, its parameters drawn from `seed`, under the recipe's objective.

    Raises:
        ValueError: an unknown recipe or net, or an option out of range.
        TypeError: an option that the recipe does not have; the message lists those it has.

    >>> build("rae-l2", Setting((1, 28, 28), 16, data="mnist")).objective
    Penalised: Reconstruction() + 0.0128 LatentNorm() + 0.0001024 DecoderL2()
    """
    given = recipe_options(name, given)
    if (name in OF_STRINGS) != (setting.codec is not None):
        raise ValueError(
            f"recipe {name!r} is for strings; give a grammar, such as grammar='expressions'"
            if setting.codec is None
            else f"recipe {name!r} is for numbers; for strings use {', '.join(OF_STRINGS)}"
        )
    size = math.prod(setting.shape)
    if setting.latent_dim > size and name not in (*OF_SCORE, *OF_CLUSTERS, *OF_DOMAINS, *OF_STRINGS):
        raise ValueError(f"latent_dim is {setting.latent_dim}, but an example has only {size} values; choose fewer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective = RECIPES[name](setting, **_grouped(name, given))
    return Recipe(name, setting, given, objective)


def recipe_options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A recipe's options, each of its own type; a ValueError or TypeError says what is wrong with name or option."""
    known = options(name)
    if unknown := set(given) - set(known):
        has = ", ".join(known) or "none"
        raise TypeError(f"recipe {name!r} has no option {', '.join(sorted(unknown))}; its options are: {has}")
    return {key: _cast(name, key, known[key][0], value) for key, value in given.items() if value is not None}


def _cast(recipe: str, key: str, kind: type, value: Any) -> Any:
    if kind is bool:
        truth = {"true": True, "false": False}.get(str(value).lower())
        if truth is None:
            raise TypeError(f"option {key} of recipe {recipe!r} is {value!r}; give true or false")
        return truth
    try:
        value = kind(value)
    except (TypeError, ValueError):
        raise TypeError(f"option {key} of recipe {recipe!r} is {value!r}; give a {kind.__name__}") from None
    if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
        raise ValueError(f"option {key} of recipe {recipe!r} is {value}; give a finite number, 0 or above")
    return value


def setting_for(
    recipe: str, shape: Sequence[int], dtype: torch.dtype, data: str, latent_dim: int | None, net: str,
    clusters: int | None = None, codec: Codec | None = None,
) -> Setting:  # fmt: skip
    """The setting for examples of a shape and dtype: [0, 1] for images and bytes.

    Codes have at most 16 dimensions by default; those of recipes that estimate a score 128, or 1,024 on images; those
    that are a category alone as many as `clusters`, 10 by default; those of strings the papers' 25 for short ones, 56
    for others. The net of recipes of two domains, which have their own, is called ``"translator"``.
    """
    shape = tuple(int(s) for s in shape)
    if latent_dim is None:
        wide = 1024 if math.prod(shape) > 128 else 128
        latent_dim = wide if recipe in OF_SCORE else min(16, math.prod(shape))
        if recipe in ("iae-cluster", "iae-semisup"):
            latent_dim = clusters or 10
        elif recipe in OF_CLUSTERS:
            latent_dim = min(10, math.prod(shape))
        elif recipe in OF_STRINGS:
            latent_dim = 25 if shape[0] <= 32 else 56
    if recipe in OF_DOMAINS:
        net = "translator"
    return Setting(shape, latent_dim, net, unit=len(shape) == 3 or dtype == torch.uint8, data=data, codec=codec)
