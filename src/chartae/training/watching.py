"""What a replay of training steps looks at: gradient norms of every step, and every layer and operation of one step."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from chartae.data import Batch
from chartae.objectives import Objective
from chartae.terms import Term

__all__ = ["Extent", "Norms", "Observer", "Operation", "Watch", "extent_of", "is_finite"]

#: functions of torch that put constants into a tensor; an infinite one is meant, such as that of a mask
_PLACING = {
    "where", "masked_fill", "masked_fill_", "fill_", "full", "full_like", "new_full", "tensor", "as_tensor",
    "nan_to_num", "scatter", "scatter_", "index_fill", "index_fill_", "copy_", "__setitem__", "empty", "empty_like",
    "new_empty",
}  # fmt: skip
#: layers whose activations are kept
MOST_LAYERS = 1000


class Observer:
    """What the training loop tells an observer within a step; by default nothing is kept."""

    def begin(self, batch: Batch) -> None:
        """A step begins with this batch, after augmentation."""
        return

    def turn(self, player: str) -> None:
        """It is the turn of a player."""
        return

    def computed(self, losses: Mapping[str, Tensor]) -> None:
        """The losses of the player have been computed; the backward pass follows."""
        return

    def gradients(self, parameters: Iterable[Tensor]) -> None:
        """The parameters of the player have their gradients, and the optimiser's step follows."""
        return


class Extent(NamedTuple):
    """The range of a tensor: its least and largest finite value, and how many values are not finite."""

    least: float
    most: float
    bad: int

    @property
    def largest(self) -> float:
        """The largest absolute finite value."""
        return max(abs(self.least), abs(self.most))


def extent_of(values: Tensor) -> Extent | None:
    """The range of a tensor; None where it has no values that can be read, as inside `torch.func.vmap`."""
    if not values.is_floating_point():
        return None
    try:
        with torch.no_grad():
            finite = values.detach()[values.detach().isfinite()]
            bad = values.numel() - finite.numel()
            if not finite.numel():
                return Extent(0.0, 0.0, bad)
            least, most = finite.aminmax()
            return Extent(float(least), float(most), bad)
    except (RuntimeError, NotImplementedError):
        return None


def is_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all values are finite; a finite sum settles it faster, but large values may have an infinite one."""
    if not tensors or bool(torch.stack([t.sum() for t in tensors]).isfinite().all()):
        return True
    return all(bool(t.isfinite().all()) for t in tensors)


class Norms(Observer):
    """The norm of each player's gradient in the last steps, before clipping.

    Args:
        last: number of steps that are kept.
        scale: function that returns the factor that the gradients are multiplied by.
        start: function that is called when a step begins, with its batch.
    """

    def __init__(self, last: int, scale: Callable[[], float], start: Callable[[Batch], None]) -> None:
        self.steps: deque[dict[str, float]] = deque(maxlen=last)
        self._scale, self._start = scale, start
        self._player = ""

    def begin(self, batch: Batch) -> None:
        self._start(batch)
        self.steps.append({})

    def turn(self, player: str) -> None:
        self._player = player

    def gradients(self, parameters: Iterable[Tensor]) -> None:
        squares = [p.grad.detach().double().square().sum() for p in parameters if p.grad is not None]
        norm = float(torch.stack(squares).sum().sqrt()) if squares else 0.0
        self.steps[-1][self._player] = norm / self._scale()


@dataclass(frozen=True)
class Operation:
    """An operation of torch that made values that are not finite from values that are.

    Attributes:
        name: its name in torch.
        least: the least value that it was given.
        most: the largest value that it was given.
        divisor: the value nearest to 0 by which it divided; None for other operations.
        nan: whether it made NaN, and not only infinity.
    """

    name: str
    least: float
    most: float
    divisor: float | None
    nan: bool


@dataclass
class Watch(Observer):
    """Everything about one step: what each layer gives, and where the first value that is not finite comes from.

    Args:
        objective: the objective whose layers are watched.
        operations: whether operations are watched, which compiled code cannot be.
    """

    objective: Objective
    operations: bool = True
    player: str = ""
    forward: bool = True
    layers: dict[str, Extent] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    #: the first layer, and the first operation, in the order of the forward passes
    layer: str = ""
    operation: Operation | None = None
    #: whether the operation came before the layer's output, and so belongs to it
    within: bool = False
    #: the layer whose output has the first gradient that is not finite, in the order of the backward pass
    returning: str = ""
    #: the first player and term that were not finite, and the first parameter whose gradient was not
    losing: str = ""
    terms: tuple[str, ...] = ()
    parameter: str = ""
    fields: tuple[str, ...] = ()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Watch]:
        """Watch what happens in the block."""
        modules = self.objective.named_modules()
        leaves = [(name, m) for name, m in modules if name and not any(m.children()) and not isinstance(m, Term)]
        handles = [m.register_forward_hook(self._hook(name)) for name, m in leaves[:MOST_LAYERS]]
        mode: contextlib.AbstractContextManager[object] = (
            _Operations(self) if self.operations else contextlib.nullcontext()
        )
        try:
            with mode:
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def begin(self, batch: Batch) -> None:
        # a target may be NaN, where it is unknown
        parts = {name: getattr(batch, name) for name in ("x", "condition", "partner", "weight")}
        self.fields = tuple(
            name for name, v in parts.items() if v is not None and v.is_floating_point() and not is_finite([v])
        )

    def turn(self, player: str) -> None:
        self.player, self.forward = player, True

    def computed(self, losses: Mapping[str, Tensor]) -> None:
        self.forward = False
        bad = tuple(name for name, v in losses.items() if not math.isfinite(float(v.detach())))
        if bad and not self.losing:
            self.losing, self.terms = self.player, tuple(name for name in bad if name != "loss")

    def gradients(self, parameters: Iterable[Tensor]) -> None:
        if self.parameter:
            return
        bad = {id(p) for p in parameters if p.grad is not None and not bool(p.grad.isfinite().all())}
        names = (name for name, p in self.objective.named_parameters() if id(p) in bad)
        self.parameter = next(names, "")

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            for out in _tensors(output):
                self._given(name, type(module).__name__, inputs, out)

        return hook

    def _given(self, name: str, kind: str, inputs: tuple[object, ...], out: Tensor) -> None:
        """Keep what a layer gave."""
        extent = extent_of(out)
        if extent is None:
            return
        former = self.layers.get(name, Extent(0.0, 0.0, 0))
        self.layers[name] = Extent(
            min(former.least, extent.least), max(former.most, extent.most), former.bad + extent.bad
        )
        self.kinds[name] = kind
        if self.forward and extent.bad and not self.layer:
            entered = [e for x in _tensors(inputs) if (e := extent_of(x)) is not None]
            if not any(e.bad for e in entered):
                self.layer, self.within = name, self.operation is not None
        if out.requires_grad:
            with contextlib.suppress(RuntimeError):  # a tensor inside `torch.func` takes no hook
                out.register_hook(lambda gradient: self._returned(name, gradient))

    def _returned(self, name: str, gradient: Tensor | None) -> None:
        """Keep a layer if it is the first whose output has a gradient that is not finite; one without is None."""
        if self.forward or self.returning or gradient is None:
            return
        extent = extent_of(gradient)
        if extent is not None and extent.bad:
            self.returning = name

    def operated(self, function: Callable[..., object], arguments: Sequence[object], result: object) -> None:
        """Keep an operation of the forward pass if it is the first to make values that are not finite."""
        name = getattr(function, "__name__", "")
        if not self.forward or self.operation is not None or self.layer or name in _PLACING:
            return
        results = [(out, e) for out in _tensors(result) if (e := extent_of(out)) is not None and e.bad]
        if not results:
            return
        operands = [x for x in arguments if isinstance(x, Tensor)]
        extents = [e for x in operands if (e := extent_of(x)) is not None]
        if any(e.bad for e in extents) or not extents:
            return
        nan = any(bool(out.detach().isnan().any()) for out, _ in results)
        least, most = min(e.least for e in extents), max(e.most for e in extents)
        self.operation = Operation(_plain(name), least, most, _divisor(name, arguments), nan)


class _Operations(TorchFunctionMode):
    """Shows a watch every operation of torch in this thread."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor | tuple):
            self.watch.operated(func, [*args, *(kwargs or {}).values()], result)
        return result


def _plain(name: str) -> str:
    """The name of an operation without the marks of Python's operators, which torch gives division several of."""
    plain = name.strip("_")
    return "div" if plain in ("truediv", "rtruediv", "itruediv", "rdiv", "true_divide", "divide") else plain


def _divisor(name: str, arguments: Sequence[object]) -> float | None:
    """The value nearest to 0 by which an operation divides; None for other operations."""
    position = {"reciprocal": 0, "rsqrt": 0, "__rtruediv__": 0, "__rdiv__": 0}.get(name)
    if name in ("div", "div_", "true_divide", "divide", "__truediv__", "__div__", "__itruediv__"):
        position = 1
    if position is None or position >= len(arguments):
        return None
    value = arguments[position]
    if isinstance(value, Tensor):
        return float(value.detach().abs().min()) if value.numel() else None
    return abs(float(value)) if isinstance(value, int | float) else None


def _tensors(values: object) -> Iterator[Tensor]:
    """The tensors in an output or in inputs."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
