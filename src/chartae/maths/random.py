"""Random numbers that belong to one task, such as a fit, and do not affect anything else in the process.

torch has one global generator for the whole process, so two threads that draw from it disturb each other. Inside
`Stream.used`, chartae draws from the generators of that stream instead. A stream with seed s gives the numbers that
torch gives after `torch.manual_seed(s)`, bit for bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypedDict

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Stream", "generator_for", "rand", "randint", "randn", "supplied"]

#: held by the thread whose stream currently sets torch's global generator
_lock = threading.RLock()


class Stream:
    """A stream of random numbers from a seed, with one generator for each device.

    All generators get the same seed, as with `torch.manual_seed`.

    Args:
        seed: any integer that `torch.manual_seed` accepts.

    >>> import torch
    >>> from chartae.maths.random import Stream, randn
    >>> with Stream(0).used():
    ...     a = randn((3,), torch.zeros(()))
    >>> torch.equal(a, torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=a.dtype))
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device | str) -> torch.Generator:
        """Return the stream's generator on a device, which is created when it is first used.

        Args:
            device: device of the generator.
        """
        key = torch.device(device)
        if key.type == "cuda" and key.index is None:
            key = torch.device("cuda", torch.cuda.current_device())
        if key not in self._generators:
            self._generators[key] = torch.Generator(key).manual_seed(self.seed)
        return self._generators[key]

    @contextmanager
    def used(self) -> Iterator[Stream]:
        """Make chartae draw from the stream in this thread, unless a generator is passed to the function that draws.

        torch's global generator is not changed, so any number of threads can each use their own stream.
        """
        token = _stream.set(self)
        try:
            yield self
        finally:
            _stream.reset(token)

    @contextmanager
    def initialising(self) -> Iterator[Stream]:
        """Make torch's layers and `nn.init` draw from the stream as well, in this thread only.

        Every call of a torch function then passes through Python first, which takes about 2 microseconds. So use it to
        build models, not to train them. A function that takes no generator, such as `torch.randn_like`, still draws
        from torch's global generator.
        """
        with self.used(), _Redirected():
            yield self

    @contextmanager
    def lent(self, device: torch.device | str = "cpu") -> Iterator[Stream]:
        """Let torch's global generators, of the CPU and of `device`, continue the stream; afterwards restore them.

        This is for code that draws from torch's global generators, such as `nn.Dropout` and compiled code. A lock lets
        one thread in at a time. It cannot stop another thread from drawing from torch without the lock; the numbers of
        both threads would then depend on timing.

        Args:
            device: device whose generator continues the stream, in addition to the CPU's.
        """
        device = torch.device(device)
        cards = [device.index or 0] if device.type == "cuda" else []
        with _lock, torch.random.fork_rng(cards):
            torch.set_rng_state(self.on("cpu").get_state())
            if cards:
                torch.cuda.set_rng_state(self.on(device).get_state(), device)
            token = _stream.set(None)
            try:
                yield self
            finally:
                _stream.reset(token)
                self.on("cpu").set_state(torch.get_rng_state())
                if cards:
                    self.on(device).set_state(torch.cuda.get_rng_state(device))

    def state(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the state of the generators of the CPU and of `device`, as one row of bytes.

        Args:
            device: device whose state is saved, in addition to the CPU's.
        """
        devices = dict.fromkeys((torch.device("cpu"), torch.device(device)))
        return torch.cat([self.on(d).get_state() for d in devices])

    def restore(self, row: Tensor, device: torch.device | str = "cpu") -> None:
        """Restore a state that `state` returned; the state of the CPU alone leaves the other device unchanged.

        Args:
            row: bytes from `state`.
            device: device for which the state was saved.
        """
        row = row.cpu()
        size = len(self.on("cpu").get_state())
        self.on("cpu").set_state(row[:size].clone())
        if len(row) > size and torch.device(device).type != "cpu":
            self.on(device).set_state(row[size:].clone())


class _Redirected(TorchFunctionMode):
    """Pass the current stream's generator to torch functions that draw and are called without one, in this thread."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        options = dict(kwargs or {})
        if (func in _DRAWING or "generator" in options) and options.get("generator") is None:
            tensors = [v for v in (*args, *options.values()) if isinstance(v, Tensor)]
            device = tensors[0].device if tensors else options.get("device") or torch.get_default_device()
            options["generator"] = generator_for(torch.device(str(device)))
        return func(*args, **options)


#: functions that draw and take a generator; those of `nn.init` pass it on
_DRAWING = {
    torch.bernoulli, torch.multinomial, torch.normal, torch.rand, torch.randint, torch.randn, torch.randperm,
    Tensor.bernoulli_, Tensor.exponential_, Tensor.normal_, Tensor.random_, Tensor.uniform_,
}  # fmt: skip

#: the current stream of this thread, if any
_stream: ContextVar[Stream | None] = ContextVar("stream", default=None)
#: function that supplies normal numbers instead of a generator, if any
_source: ContextVar[Callable[[tuple[int, ...], Tensor], Tensor] | None] = ContextVar("source", default=None)


def generator_for(device: torch.device, generator: torch.Generator | None = None) -> torch.Generator | None:
    """Return the generator to draw with on a device.

    Compiled code cannot hold a generator, so it always draws from torch's global one: call it inside `Stream.lent`.

    Args:
        device: device of the numbers.
        generator: generator that the caller passed, if any; default None.

    Returns:
        `generator` if it is not None, else the generator of the current `Stream`, else None: torch's global one.
    """
    if generator is not None or torch.compiler.is_compiling():
        return generator
    stream = _stream.get()
    return None if stream is None or device.type == "meta" else stream.on(device)


def randn(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw standard normal numbers.

    Without a generator they come from the source of `supplied`, if one is active, else from the current `Stream`, else
    from torch's global generator.

    Args:
        shape: shape of the result.
        like: tensor that defines dtype and device.
        generator: random generator; default None.

    Returns:
        Random numbers of the given shape.

    >>> import torch
    >>> from chartae.distributions import randn
    >>> randn((2, 3), torch.zeros(()), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    # reading a context variable would break compiled code
    source = None if generator is not None or torch.compiler.is_compiling() else _source.get()
    if source is not None:
        return source(tuple(shape), like)
    return torch.randn(tuple(shape), dtype=like.dtype, device=like.device, **_with(like.device, generator))


def rand(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw random numbers that are uniform in [0, 1).

    Args:
        shape: shape of the result.
        like: tensor that defines dtype and device.
        generator: random generator; default None: that of the current `Stream`, or torch's global one.

    Returns:
        Random numbers of the given shape.
    """
    return torch.rand(tuple(shape), dtype=like.dtype, device=like.device, **_with(like.device, generator))


def randint(high: int, shape: Sequence[int], device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Draw random integers 0, ..., high - 1.

    Args:
        high: number of values, >= 1.
        shape: shape of the result.
        device: device of the result.
        generator: random generator; default None: that of the current `Stream`, or torch's global one.

    Returns:
        Random integers of the given shape, int64.
    """
    return torch.randint(high, tuple(shape), device=device, **_with(device, generator))


class _Keyword(TypedDict, total=False):
    generator: torch.Generator


def _with(device: torch.device, generator: torch.Generator | None) -> _Keyword:
    """The keyword for a generator, if there is one.

    torch cannot compile ``generator=None`` with a shape that changes, such as that of the last batch of an epoch.
    """
    chosen = generator_for(device, generator)
    return {} if chosen is None else {"generator": chosen}


@contextmanager
def supplied(source: Callable[[tuple[int, ...], Tensor], Tensor]) -> Iterator[None]:
    """Take normal numbers from a function, inside a `with` block, wherever `randn` is called without a generator.

    The models of an ensemble, which are trained in one batch, get in this way the numbers that each would draw alone.

    Args:
        source: function from a shape and a tensor (for dtype and device) to numbers of that shape.

    Yields:
        None; afterwards the previous source is restored.

    >>> import torch
    >>> from chartae.distributions import randn, supplied
    >>> with supplied(lambda shape, like: torch.ones(shape)):
    ...     randn((3,), torch.zeros(()))
    tensor([1., 1., 1.])
    """
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)
