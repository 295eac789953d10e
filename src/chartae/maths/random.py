"""Random numbers that belong to one piece of work, such as a fit, and to nothing else in the process.

torch's own generator is one for the whole process: two threads that draw from it disturb each other. Inside
`Stream.used` every draw of ours comes from generators that the stream holds. A stream seeded with s gives the numbers
that torch gives after `torch.manual_seed(s)`, bit for bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Stream", "generator_for", "rand", "randn", "supplied"]

#: held by the one thread whose stream torch's process-wide generator continues
_lock = threading.RLock()


class Stream:
    """Random numbers from a seed: one generator a device, each seeded alike, as `torch.manual_seed` does.

    Args:
        seed: any integer that `torch.manual_seed` takes.

    >>> with Stream(0).used():
    ...     a = randn((3,), torch.zeros(()))
    >>> torch.equal(a, torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=a.dtype))
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device | str) -> torch.Generator:
        """The stream's generator on a device."""
        key = torch.device(device)
        if key.type == "cuda" and key.index is None:
            key = torch.device("cuda", torch.cuda.current_device())
        if key not in self._generators:
            self._generators[key] = torch.Generator(key).manual_seed(self.seed)
        return self._generators[key]

    @contextmanager
    def used(self) -> Iterator[Stream]:
        """In this thread, draws of ours come from the stream, where no generator is passed to them.

        torch's process-wide generator is not touched, so that any number of threads may be in streams of their own.
        """
        token = _stream.set(self)
        try:
            yield self
        finally:
            _stream.reset(token)

    @contextmanager
    def initialising(self) -> Iterator[Stream]:
        """In this thread, what torch's layers and `nn.init` draw comes from the stream as well; nothing else notices.

        torch then shows each call of its functions to Python first, some 2 microseconds a call: for building, not for
        training. A function that takes no generator, such as `torch.randn_like`, still draws from torch's own.
        """
        with self.used(), _Redirected():
            yield self

    @contextmanager
    def lent(self, device: torch.device | str = "cpu") -> Iterator[Stream]:
        """torch's process-wide generators, of the CPU and of `device`, continue the stream; then theirs come back.

        For code that asks torch itself for random numbers, such as `nn.Dropout` and compiled code. A lock lets
        one thread in at a time. It cannot keep out a thread that draws from torch without asking for the lock: that
        thread's numbers, and ours, would depend on the moment.
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
        """The state of the generators of the CPU and of `device`, as one row of bytes."""
        devices = dict.fromkeys((torch.device("cpu"), torch.device(device)))
        return torch.cat([self.on(d).get_state() for d in devices])

    def restore(self, row: Tensor, device: torch.device | str = "cpu") -> None:
        """Continue where `state` was taken; a row of the CPU alone leaves the other device as it is."""
        row = row.cpu()
        size = len(self.on("cpu").get_state())
        self.on("cpu").set_state(row[:size].clone())
        if len(row) > size and torch.device(device).type != "cpu":
            self.on(device).set_state(row[size:].clone())


class _Redirected(TorchFunctionMode):
    """Functions of torch that draw, called in this thread without a generator, get that of the stream in use."""

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


#: functions that draw and take a generator; those of `nn.init` hand it on
_DRAWING = {
    torch.bernoulli, torch.multinomial, torch.normal, torch.rand, torch.randint, torch.randn, torch.randperm,
    Tensor.bernoulli_, Tensor.exponential_, Tensor.normal_, Tensor.random_, Tensor.uniform_,
}  # fmt: skip

#: the stream that this thread draws from, if any
_stream: ContextVar[Stream | None] = ContextVar("stream", default=None)
#: where normal numbers come from, if not from a generator
_source: ContextVar[Callable[[tuple[int, ...], Tensor], Tensor] | None] = ContextVar("source", default=None)


def generator_for(device: torch.device, generator: torch.Generator | None = None) -> torch.Generator | None:
    """The generator to draw with on a device: the one passed, else that of the `Stream` in use, else None (torch's).

    Compiled code cannot hold a generator, so it always draws from torch's process-wide one: call it in `Stream.lent`.
    """
    if generator is not None or torch.compiler.is_compiling():
        return generator
    stream = _stream.get()
    return None if stream is None or device.type == "meta" else stream.on(device)


def randn(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers of a shape, with the dtype and device of `like`; the `supplied` ones, if any are."""
    # compiled code breaks where a context variable is read
    source = None if generator is not None or torch.compiler.is_compiling() else _source.get()
    if source is not None:
        return source(tuple(shape), like)
    generator = generator_for(like.device, generator)
    return torch.randn(tuple(shape), dtype=like.dtype, device=like.device, generator=generator)


def rand(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Numbers uniform in [0, 1) of a shape, with the dtype and device of `like`."""
    generator = generator_for(like.device, generator)
    return torch.rand(tuple(shape), dtype=like.dtype, device=like.device, generator=generator)


@contextmanager
def supplied(source: Callable[[tuple[int, ...], Tensor], Tensor]) -> Iterator[None]:
    """Within it, normal numbers drawn without a generator are `source(shape, like)`.

    So each of the models of an ensemble, trained in one pass, sees the numbers that it would draw alone.
    """
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)
