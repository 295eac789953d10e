"""Densities by name, and densities as files.

A new density is one class in one file: a subclass of `Density` with a `name`, decorated with `register`. A file in this
folder is imported automatically; a file elsewhere must be imported by the user.
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
from chartae.records.choices import one_of
from chartae.records.files import reading
from chartae.records.settings import Plain
from chartae.records.tensors import read_tensors, write_tensors

__all__ = ["NAMES", "Names", "accepted", "load", "make", "register", "save"]

D = TypeVar("D", bound=type[Density])


class Names(Mapping[str, type[Density]]):
    """The registered densities by name; reading it for the first time imports all modules of this folder."""

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
        """The names to choose a density by: ``prior``, the listed names, and ``NAME-K`` if a number may follow."""
        listed = {name: density for name, density in self.items() if density.listed}
        return ["prior", *listed, *(f"{name}-K" for name, density in listed.items() if density.number)]


#: the registered densities by name
NAMES = Names()


def register(density: D) -> D:
    """Class decorator that registers a density under its `name`.

    `make`, `save`, `load` and every ``densities=[...]`` argument then accept the name. Import the module of your own
    density before you load a run that uses it.

    Args:
        density: concrete subclass of `Density`. Its `name` consists of lower-case letters, digits and hyphens and does
            not end in a number. A class with the same module and qualified name replaces the one registered before,
            so that a notebook cell can run again.

    Returns:
        The class, unchanged.

    Raises:
        ValueError: the name is malformed, or another class has it.

    A density that draws one of the training codes, all equally likely:

    >>> import torch
    >>> from chartae.densities import NAMES, Density, make, register
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
            f"name of {density.__name__} is {name!r}; expected lower-case letters, digits and hyphens, without a "
            "number at the end. Set a class attribute such as name = 'flow'."
        )
    other = NAMES.registered.get(name)
    same = other is not None and (other.__module__, other.__qualname__) == (density.__module__, density.__qualname__)
    if name == "prior" or (other is not None and not same):
        owner = "the model's prior" if other is None else f"{other.__module__}.{other.__qualname__}"
        raise ValueError(
            f"name of {density.__name__} is {name!r}; expected a name that is free, but it names {owner}. Choose "
            "another name."
        )
    NAMES.registered[name] = density
    return density


def make(name: str, **settings: object) -> Density:
    """Make an unfitted density by name.

    Args:
        name: a key of `NAMES`, such as ``normal``, or ``gmm-K`` for a Gaussian mixture of K components.
        settings: arguments of the density's constructor.

    Returns:
        The density, to be fitted with ``density.fit(codes)``.

    Raises:
        ValueError: an unknown name, or a setting out of range.
        TypeError: a setting that the constructor does not have.

    >>> from chartae.densities import make
    >>> make("gmm", components=20), make("gmm-20")
    (GaussianMixture(20, 'full'), GaussianMixture(20, 'full'))
    """
    stem, _, number = name.rpartition("-")
    if re.fullmatch(r"[1-9]\d{0,4}", number) and stem in NAMES and (setting := NAMES[stem].number):
        return NAMES[stem](**({setting: int(number)} | settings))
    if name not in NAMES:
        if name == "prior":
            raise ValueError(
                "density is 'prior'; expected one that is fitted to codes, but the prior belongs to the model. Use "
                "run.density('prior')."
            )
        raise ValueError(f"density is {name!r}; {one_of(name, NAMES.choices)}")
    return NAMES[name](**settings)


def accepted(name: str, **settings: Plain) -> dict[str, Plain]:
    """Keep only the settings that a density's constructor accepts, for `make`.

    A number in the name, as in ``gmm-5``, takes precedence over the setting that it stands for.

    Args:
        name: a key of `NAMES`, or ``gmm-K``.
        settings: candidate arguments of the constructor.

    Returns:
        The accepted settings.

    Raises:
        ValueError: an unknown name.

    >>> from chartae.densities import accepted
    >>> accepted("gmm", components=3), accepted("normal", components=3), accepted("gmm-5", components=3)
    ({'components': 3}, {}, {})
    """
    density = make(name)
    if name not in NAMES:  # the number is in the name
        settings.pop(density.number, None)
    known = inspect.signature(type(density).__init__).parameters
    return {key: value for key, value in settings.items() if key in known}


def save(density: Density, path: str | Path, of: str = "") -> None:
    """Write a fitted density to a safetensors file.

    The file replaces an older one only when it is complete.

    Args:
        density: the fitted density; its class is registered.
        path: the file to write.
        of: digest of the weights that the codes come from; empty (default) for none.

    Raises:
        ValueError: the density has not been fitted.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from chartae import densities
    >>> z = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    >>> normal = densities.make("normal").fit(z)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     densities.save(normal, Path(folder) / "normal.safetensors")
    ...     loaded = densities.load(Path(folder) / "normal.safetensors")
    >>> torch.equal(loaded.log_prob(z), normal.log_prob(z))
    True
    """
    density.require_fit()
    facts = {"name": density.name, "settings": density.settings(), "fitted": density.fitted(), "of": of}
    write_tensors(path, density.state_dict(), kind="density", facts=facts)


def load(path: str | Path, device: str | torch.device = "cpu", shape: tuple[int, ...] | None = None) -> Density:
    """Read a density that `save` wrote.

    Args:
        path: the safetensors file.
        device: device to put the density on; default: "cpu".
        shape: shape of one code, (D,), which the density must have; None (default) for any.

    Returns:
        The fitted density.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: the file is damaged, does not hold a density, or one of codes of another shape.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from chartae import densities
    >>> z = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     densities.save(densities.GaussianMixture(3).fit(z), Path(folder) / "gmm.safetensors")
    ...     densities.load(Path(folder) / "gmm.safetensors")
    GaussianMixture(3, 'full')
    """
    state, facts = read_tensors(path, kind="density")
    with reading(path, "file that densities.save wrote"):
        density = make(facts["name"], **facts["settings"])
        density.load_state_dict(state)
        density.restore(facts["fitted"])
        density.require_fit()
        density.check_state(shape)
    return density.to(device)
