"""A run as plain values and arrays, for pickle and joblib: its settings, weights, densities and log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeAlias, TypedDict

import numpy as np
import torch
from torch import nn

from chartae import densities as density_table
from chartae.data.kinds import Kind
from chartae.densities import Density
from chartae.records.settings import Plain, Settings
from chartae.runs.residuals import Residuals
from chartae.runs.run import Run, built_from, condition_of
from chartae.training import Row

__all__ = ["Packed", "pack", "unpack"]

#: the values of a module's state by name
Arrays: TypeAlias = dict[str, np.ndarray]


class PackedDensity(TypedDict):
    """A density: the name of its class, its settings, facts about its fit, and its state."""

    name: str
    settings: dict[str, Plain]
    fitted: dict[str, Plain]
    state: Arrays


class Packed(TypedDict):
    """A run as plain values and arrays.

    Attributes:
        settings: the fields of `Settings`.
        weights: state of the objective.
        densities: the fitted densities by name.
        residuals: the spread of data around the decoder's mean, as the fields of `Residuals`; None if not measured.
        log: rows of the log.
        kept: epoch whose weights the model has; None if unknown.
        skipped: number of strings that were left out of training.
        device: name of the device that the model was on.
    """

    settings: dict[str, object]
    weights: Arrays
    densities: dict[str, PackedDensity]
    residuals: Arrays | None
    log: list[Row]
    kept: int | None
    skipped: int
    device: str


def pack(run: Run) -> Packed:
    """Describe a run by plain values and arrays, without code, open files or training data.

    Args:
        run: a trained run.

    Returns:
        Its settings, weights, densities and log, from which `unpack` rebuilds it.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.runs.packing import pack, unpack
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> run = ch.fit("rae", x, epochs=1, latent_dim=2, components=2, progress=False)
    >>> again = unpack(pack(run))
    >>> torch.equal(again.encode(x), run.encode(x)), list(again.densities)
    (True, ['normal', 'gmm'])
    """
    return {
        "settings": asdict(run.settings),
        "weights": _arrays(run.objective),
        "densities": {name: _packed(density) for name, density in run.densities.items()},
        "residuals": None if run.residuals is None else {k: _array(v) for k, v in vars(run.residuals).items()},
        "log": [dict(row) for row in run.log],
        "kept": run.kept,
        "skipped": run.skipped,
        "device": str(run.device),
    }


def unpack(packed: Packed) -> Run:
    """Rebuild a run that `pack` described, with the same numbers to the bit on the same machine.

    Args:
        packed: what `pack` returned.

    Returns:
        The run, with its model in evaluation mode, on its device if this machine has it, otherwise on the CPU. It has
        no folder and no `history`.

    Raises:
        ValueError: the recipe or a density is not registered, or the weights do not match the settings.
    """
    settings = Settings(**packed["settings"])  # type: ignore[arg-type]  # the fields that asdict returned
    device = _available(packed["device"])
    built = built_from(settings)
    try:
        built.objective.load_state_dict(_tensors(packed["weights"]))
    except RuntimeError as error:
        raise ValueError(
            f"the weights do not match the settings of recipe {settings.recipe!r}; expected those that version "
            f"{settings.version} wrote. Fit again, or use that version ({error})."
        ) from error
    objective, residuals = built.objective.to(device).eval(), packed["residuals"]
    return Run(
        settings, Kind.from_dict(settings.kind), objective.model, objective, packed["log"],
        {name: _unpacked(density).to(device) for name, density in packed["densities"].items()},
        residuals=None if residuals is None else Residuals(**_tensors(residuals)),
        skipped=packed["skipped"], kept=packed["kept"], condition=condition_of(settings),
    )  # fmt: skip


def _packed(density: Density) -> PackedDensity:
    return {
        "name": density.name, "settings": density.settings(), "fitted": density.fitted(), "state": _arrays(density),
    }  # fmt: skip


def _unpacked(packed: PackedDensity) -> Density:
    density = density_table.make(packed["name"], **packed["settings"])
    density.load_state_dict(_tensors(packed["state"]))
    density.restore(packed["fitted"])
    density.require_fit()
    return density


def _arrays(module: nn.Module) -> Arrays:
    """Copies of the values of a module's state, each with memory of its own."""
    return {name: _array(tensor) for name, tensor in module.state_dict().items()}


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.array(tensor.detach().cpu().contiguous())


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Copies of arrays as tensors; an array of joblib's may be a read-only map of a file."""
    return {name: torch.tensor(array) for name, array in arrays.items()}


def _available(device: str) -> torch.device:
    """A device by name, or the CPU if this machine lacks it."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError):
        return torch.device("cpu")
