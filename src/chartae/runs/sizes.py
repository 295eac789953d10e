"""Build the nets of a stored run, without taking more memory than its weights account for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from chartae.data import Reading
from chartae.data.kinds import Kind
from chartae.objectives import Objective
from chartae.records.files import Damaged, reading
from chartae.records.settings import Settings
from chartae.records.tensors import read_header
from chartae.runs.run import built_from

__all__ = ["built_for"]

#: memory that building a net may take beside its weights, in bytes, and in multiples of the weights
SPARE, TIMES = 64 << 20, 4
#: tensors that it may make, for each tensor of the weights, and beside them
TENSORS, SPARE_TENSORS = 10, 1000
#: functions of torch, and methods of tensors, that take memory of a size that their arguments say
FACTORIES = frozenset({
    "arange", "empty", "empty_strided", "eye", "full", "linspace", "logspace", "new_empty", "new_full", "new_ones",
    "new_zeros", "normal", "ones", "rand", "randint", "randn", "randperm", "zeros",
})  # fmt: skip
#: names of tensors that a message lists
LISTED = 3

#: type and shape of each tensor of a file, by name
Shapes = Mapping[str, tuple[str, Sequence[int]]]


class TooLarge(Exception):
    """Building a net would take more memory, or make more tensors, than allowed."""


class _Limited(TorchFunctionMode):
    """Raises `TooLarge` before new tensors take more than `most` bytes, or are more than `tensors`, in this thread."""

    def __init__(self, most: int, tensors: int = SPARE_TENSORS) -> None:
        super().__init__()
        self.left, self.tensors = most, tensors

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in FACTORIES and "out" not in kwargs:
            on_meta = {k: v for k, v in kwargs.items() if k not in ("generator", "pin_memory")}
            shape_of = function(*args, **on_meta | {"device": "meta"})
            self.left -= shape_of.numel() * shape_of.element_size()
            self.tensors -= 1
        elif getattr(function, "__name__", "") == "repeat":
            self.left -= args[0].numel() * args[0].element_size() * math.prod(torch.Size(args[1:]))
        if self.left < 0 or self.tensors < 0:
            raise TooLarge
        return function(*args, **kwargs)


def built_for(settings: Settings, weights: Path, *, kind: str = "weights", prefix: str = "") -> Objective:
    """Build the objective of a run for the tensors in a file of weights, which are not read yet.

    The settings may come from a stranger: they are refused before memory is taken for nets that are larger than the
    weights, and if the tensors are not exactly those of the nets.

    Args:
        settings: settings of the run.
        weights: the file of its weights, or one that holds them beside other tensors, such as a checkpoint.
        kind: kind of the file.
        prefix: what the names of the weights begin with in the file; "" (default) if it holds nothing else.

    Returns:
        The objective over a freshly initialised model.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: the file is damaged, or its tensors are not those of the settings.
        ValueError: the settings are invalid.
    """
    header, _, _ = read_header(weights, kind=kind)
    shapes = {name.removeprefix(prefix): entry for name, entry in header.items() if name.startswith(prefix)}
    values = sum(math.prod(shape) for _, shape in shapes.values())
    if not values:
        raise Damaged(f"the weights in {weights.parent} are empty; fit the run again")
    try:
        # eight bytes a value, whatever their type is
        limits = _Limited(SPARE + TIMES * 8 * values, SPARE_TENSORS + TENSORS * len(shapes))
        with reading(weights.parent / "run.toml", "run.toml of a run"), limits:
            _check_kinds(settings)
            objective = built_from(settings).objective
    except Damaged as error:
        if not isinstance(error.__cause__, TooLarge):
            raise
        raise _unlike(weights, f"its nets have far more than the {values:,} values of the weights") from error
    _compare(objective.state_dict(), shapes, weights)
    return objective


def _check_kinds(settings: Settings) -> None:
    """Raise ValueError if the kinds of data are not those of the shapes, or how the data were read is unknown."""
    kind = Kind.from_dict(settings.kind)
    Reading.from_dict(settings.reading, kind.codec)
    shapes = {"shape": (settings.shape, kind.shape)}
    if settings.to_kind:
        shapes["to_shape"] = settings.to_shape, Kind.from_dict(settings.to_kind).shape
    for name, (shape, of_kind) in shapes.items():
        if shape != of_kind:
            raise ValueError(f"{name} is {shape}, but the kind of data has the shape {of_kind}")


def _compare(state: Mapping[str, Tensor], shapes: Shapes, weights: Path) -> None:
    """Raise Damaged unless a state has the tensors of a file."""
    missing, unknown = sorted(set(state) - set(shapes)), sorted(set(shapes) - set(state))
    for what, names in (("lack", missing), ("have unknown", unknown)):
        if names:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            raise _unlike(weights, f"they {what} {', '.join(name[:60] for name in names[:LISTED])}{more}")
    for name, values in state.items():
        if tuple(values.shape) != tuple(shapes[name][1]):
            raise _unlike(weights, f"{name} has shape {tuple(shapes[name][1])}; expected {tuple(values.shape)}")


def _unlike(weights: Path, reason: str) -> Damaged:
    return Damaged(f"the weights in {weights.parent} do not match its run.toml: {reason}")
