"""Random numbers that belong to one piece of work, such as a fit, and to nothing else in the process.

torch's own generator is one for the whole process: two threads that draw from it disturb each other. Inside
`Stream.used` every draw of ours comes from generators that the stream holds, and so from nowhere that anyone else
looks. A stream seeded with s gives the numbers that torch gives after `torch.manual_seed(s)`, bit for bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["Stream", "generator_for", "process_wide", "rand", "randn", "supplied"]

#: the stream that this thread draws from, if any
_stream: ContextVar[Stream | None] = ContextVar("stream", default=None)
#: where normal numbers come from, if not from a generator
_source: ContextVar[Callable[[tuple[int, ...], Tensor], Tensor] | None] = ContextVar("source", default=None)
#: held by whoever uses torch's process-wide generator in the name of a stream
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
    def used(self, *, everywhere: bool = False) -> Iterator[Stream]:
        """In this thread, draws of ours without a generator come from the stream.

        Args:
            everywhere: also those that other code asks torch for (`torch.randn(3)`, `nn.init`, `nn.Dropout`): torch
                then shows every call of its functions to Python first, some 2 microseconds each.
        """
        token = _stream.set(self)
        try:
            if everywhere:
                with _Redirected(self):
                    yield self
            else:
                yield self
        finally:
            _stream.reset(token)

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


def generator_for(device: torch.device, generator: torch.Generator | None = None) -> torch.Generator | None:
    """The generator to draw with on a device: the one given, else that of the `Stream` in use, else None (torch's).

    Compiled code cannot hold a generator, so it always draws from torch's process-wide one: see `process_wide`.
    """
    if generator is not None or torch.compiler.is_compiling():
        return generator
    stream = _stream.get()
    return None if stream is None or device.type == "meta" else stream.on(device)


def randn(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers of a shape, with the dtype and device of `like`; the `supplied` ones, if any are."""
    source = _source.get()
    if source is not None and generator is None:
        return source(tuple(shape), like)
    return torch.randn(
        tuple(shape), dtype=like.dtype, device=like.device, generator=generator_for(like.device, generator)
    )


def rand(shape: Sequence[int], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Numbers uniform in [0, 1) of a shape, with the dtype and device of `like`."""
    return torch.rand(
        tuple(shape), dtype=like.dtype, device=like.device, generator=generator_for(like.device, generator)
    )


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


@contextmanager
def process_wide(seed: int, devices: Sequence[int] = ()) -> Iterator[None]:
    """Within it, torch's process-wide generator is seeded; afterwards its state is the one of before.

    For code that can draw from nowhere else, such as compiled code. A lock lets one thread in at a time. It does not
    keep out a thread that draws from torch without asking: that one's numbers depend on the moment.

    Args:
        seed: of the process-wide generator of every device.
        devices: the CUDA devices whose state is kept, besides that of the CPU.
    """
    with _lock, torch.random.fork_rng(list(devices)):
        torch.manual_seed(seed)
        yield


class _Redirected(TorchFunctionMode):
    """Whatever this thread asks of torch that draws without a generator draws from the stream."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        options = dict(kwargs or {})
        if func in _DRAWS or "generator" in options:
            if options.get("generator") is None:
                options["generator"] = self.stream.on(_device_of(args, options))
        elif func in _LIKE:
            return _LIKE[func](self.stream, *args, **options)
        elif func in _OPAQUE:
            with self._lent(_device_of(args, options)):
                return func(*args, **options)
        return func(*args, **options)

    @contextmanager
    def _lent(self, device: torch.device) -> Iterator[None]:
        """torch's generators have the stream's state, for functions that take no generator."""
        devices = [device.index or 0] if device.type == "cuda" else []
        with _lock, torch.random.fork_rng(devices):
            torch.set_rng_state(self.stream.on("cpu").get_state())
            if devices:
                torch.cuda.set_rng_state(self.stream.on(device).get_state(), device)
            yield
            self.stream.on("cpu").set_state(torch.get_rng_state())
            if devices:
                self.stream.on(device).set_state(torch.cuda.get_rng_state(device))


def _device_of(args: tuple[object, ...], options: Mapping[str, object]) -> torch.device:
    """Where a function draws: on the device asked for, else on that of its first tensor, else on the default one."""
    device = options.get("device")
    if device is not None:
        return torch.device(device)
    tensors = [v for v in (*args, *options.values()) if isinstance(v, Tensor)]
    return tensors[0].device if tensors else torch.get_default_device()


def _empty_like(x: Tensor, options: Mapping[str, object]) -> Tensor:
    return cast("Callable[..., Tensor]", torch.empty_like)(x, **options)


def _randn_like(stream: Stream, x: Tensor, *, requires_grad: bool = False, **options: object) -> Tensor:
    out = _empty_like(x, options)
    return out.normal_(generator=stream.on(out.device)).requires_grad_(requires_grad)


def _rand_like(stream: Stream, x: Tensor, *, requires_grad: bool = False, **options: object) -> Tensor:
    out = _empty_like(x, options)
    return out.uniform_(generator=stream.on(out.device)).requires_grad_(requires_grad)


def _randint_like(
    stream: Stream, x: Tensor, *bounds: int, low: int = 0, high: int | None = None, **options: object
) -> Tensor:
    ends = [*bounds] if high is None else [*bounds, high]
    out = _empty_like(x, options)
    return out.random_(*([low, *ends] if len(ends) == 1 else ends), generator=stream.on(out.device))


def _dropout(stream: Stream, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or not 0 < p < 1:
        return F.dropout(input, p, training, inplace)
    kept = torch.empty_like(input).bernoulli_(1 - p, generator=stream.on(input.device)).div_(1 - p)
    return input.mul_(kept) if inplace else input * kept


#: functions that draw, and take a generator
_DRAWS = {
    torch.bernoulli, torch.binomial, torch.multinomial, torch.normal, torch.poisson, torch.rand, torch.randint,
    torch.randn, torch.randperm, Tensor.bernoulli, Tensor.bernoulli_, Tensor.cauchy_, Tensor.exponential_,
    Tensor.geometric_, Tensor.log_normal_, Tensor.multinomial, Tensor.normal_, Tensor.random_, Tensor.uniform_,
}  # fmt: skip
#: functions that draw and take none, with what does the same from a stream
_LIKE: dict[Callable[..., object], Callable[..., Tensor]] = {
    torch.rand_like: _rand_like,
    torch.randn_like: _randn_like,
    torch.randint_like: _randint_like,
    torch.dropout: _dropout,
    F.dropout: _dropout,
}
#: functions that may draw deep inside
_OPAQUE = {
    F.alpha_dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.feature_alpha_dropout, F.fractional_max_pool2d,
    F.fractional_max_pool3d, F.gumbel_softmax, F.multi_head_attention_forward, F.rrelu, F.scaled_dot_product_attention,
    torch.alpha_dropout, torch.feature_alpha_dropout, torch.feature_dropout, torch.gru, torch.lstm, torch.rnn_relu,
    torch.rnn_tanh, torch.rrelu,
}  # fmt: skip
