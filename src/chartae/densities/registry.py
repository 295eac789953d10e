"""Densities by name, and as files.

A new density is one class in one file of this folder, or of anyone's: a `Density` with a `name`, under `register`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from chartae.densities.base import Density
from chartae.records.files import read_tensors, write_tensors
from chartae.records.settings import Plain

__all__ = ["NAMES", "Names", "accepted", "load", "make", "register", "save"]

D = TypeVar("D", bound=type[Density])


class Names(Mapping[str, type[Density]]):
    """The registered densities by name. All modules of this folder are imported when it is first read."""

    def __init__(self) -> None:
        self.registered: dict[str, type[Density]] = {}
        self.complete = False

    def _all(self) -> dict[str, type[Density]]:
        if not self.complete:
            package = importlib.import_module(__name__.rpartition(".")[0])
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
            self.complete = True
        return self.registered

    def __getitem__(self, name: str) -> type[Density]:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    @property
    def choices(self) -> list[str]:
        """What may stand where a density is chosen: ``prior``, the names, and ``gmm-K`` where a number may follow."""
        listed = {name: density for name, density in self.items() if density.listed}
        return ["prior", *listed, *(f"{name}-K" for name, density in listed.items() if density.number)]


#: the registered densities by name
NAMES = Names()


def register(density: D) -> D:
    """Make a density known by its `name` to `make`, `save`, `load` and every `densities=[...]`; a class decorator.

    A file in this folder with a registered class needs nothing else. A module elsewhere must be imported before a run
    with such a density is loaded.

    Args:
        density: a concrete `Density` whose `name` is lower-case letters, digits and hyphens. A class of the same
            module and name that was registered before is replaced, as when a notebook's cell runs again.

    Returns:
        The class itself.

    Raises:
        ValueError: a name that is no such text, that ends in a number, or that another class has.

    One of the codes themselves, all equally likely, as a density:

    >>> from chartae.distributions import Atoms
    >>> @register
    ... class Resampled(Density):
    ...     name = "resampled"
    ...     has_density = False
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.register_buffer("codes", None)
    ...     def settings(self):
    ...         return {}
    ...     def fit(self, z, *, seed=0):
    ...         self.codes = z
    ...         return self
    ...     def forward(self, c=None, condition=None):
    ...         self.require_fit()
    ...         return Atoms(self.codes)
    >>> make("resampled").fit(torch.randn(20, 3)).sample(5).shape
    torch.Size([5, 3])
    >>> del NAMES.registered["resampled"]
    """
    name = getattr(density, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*", name):
        raise ValueError(
            f"name of {density.__name__} is {name!r}; expected lower-case letters, digits and hyphens, not ending in a "
            "number. Set a class attribute such as name = 'flow'."
        )
    other = NAMES.registered.get(name)
    again = other is not None and (other.__module__, other.__qualname__) == (density.__module__, density.__qualname__)
    if name == "prior" or (other is not None and not again):
        owner = "the model's own density" if other is None else f"{other.__module__}.{other.__qualname__}"
        raise ValueError(f"name of {density.__name__} is {name!r}, which names {owner}; expected a new one. Rename it.")
    NAMES.registered[name] = density
    return density


def make(name: str, **settings: object) -> Density:
    """An unfitted density by its name; ``gmm-K`` is a mixture of K.

    Args:
        name: a key of `NAMES`, or ``gmm-K``.
        settings: arguments of the density's constructor.

    Raises:
        ValueError: an unknown name, or a setting out of its range.

    >>> make("gmm", components=20), make("gmm-20")
    (GaussianMixture(20, 'full'), GaussianMixture(20, 'full'))
    """
    stem, _, number = name.rpartition("-")
    if re.fullmatch(r"[1-9]\d{0,4}", number) and stem in NAMES and (setting := NAMES[stem].number):
        return NAMES[stem](**({setting: int(number)} | settings))
    if name not in NAMES:
        if name == "prior":
            raise ValueError("the density 'prior' is a model's own and is not fitted; it needs no making")
        raise ValueError(f"there is no density {name!r}; choose from {', '.join(NAMES.choices)}")
    return NAMES[name](**settings)


def accepted(name: str, **settings: Plain) -> dict[str, Plain]:
    """Those of some settings that a density has, for `make`; a ValueError for an unknown name.

    >>> accepted("gmm", components=3), accepted("normal", components=3), accepted("gmm-5", components=3)
    ({'components': 3}, {}, {})
    """
    density = make(name)
    if name not in NAMES:  # the number is in the name
        settings.pop(density.number, None)
    known = inspect.signature(type(density).__init__).parameters
    return {key: value for key, value in settings.items() if key in known}


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
