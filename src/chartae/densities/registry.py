"""Densities by name, and as files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from chartae.densities.base import Density
from chartae.densities.gaussian import GaussianMixture, Normal
from chartae.records.files import read_tensors, write_tensors

__all__ = ["NAMES", "load", "make", "save"]

NAMES: dict[str, type[Density]] = {kind.name: kind for kind in (Normal, GaussianMixture)}


def make(name: str, **settings: Any) -> Density:
    """An unfitted density by its name; ``gmm-K`` is a mixture of K.

    >>> make("gmm", components=20), make("gmm-20")
    (GaussianMixture(20, 'full'), GaussianMixture(20, 'full'))
    """
    if match := re.fullmatch(r"gmm-([1-9]\d{0,4})", name):
        return GaussianMixture(**{"components": int(match[1])} | settings)
    if name not in NAMES:
        if name == "prior":
            raise ValueError("the density 'prior' is a model's own and is not fitted; it needs no making")
        raise ValueError(f"there is no density {name!r}; choose from prior, {', '.join(NAMES)}, gmm-K")
    return NAMES[name](**settings)


def save(density: Density, path: str | Path) -> None:
    """Write a fitted density to a safetensors file; an older file stays until the new one is whole."""
    density.require_fit()
    facts = {"name": density.name, "settings": density.settings(), "fitted": density.fitted()}
    write_tensors(path, density.state_dict(), kind="density", facts=facts)


def load(path: str | Path, device: str | torch.device = "cpu") -> Density:
    """The density that `save` wrote; any other file is a ValueError that says what is wrong with it."""
    state, facts = read_tensors(path, kind="density")
    try:
        density = make(facts["name"], **facts["settings"])
        density.load_state_dict(state)
        density.restore(facts["fitted"])
        density.require_fit()
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged, or no density of chartae: {error}") from error
    return density.to(device)
