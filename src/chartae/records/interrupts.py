"""Signals that end the process: work stops at a whole state, and the exit status says which signal it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Interrupted", "catching"]

#: the signals that ask a process to end; Windows has no SIGHUP
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Work was interrupted by a signal; what is on disk can be resumed.

    Args:
        message: how far the work had come.
        number: the number of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = int(number)

    @property
    def status(self) -> int:
        """The exit status of a process that ends by this signal: 128 + its number."""
        return 128 + self.number


@contextmanager
def catching(request: Callable[[int], None]) -> Iterator[None]:
    """Within the block, `request` is called with the number of a signal that asks the process to end.

    The former handlers come back afterwards. A signal that the process ignores, as under `nohup`, stays ignored, and so
    does one with a handler that Python did not set and could not set again. In another thread than the main one nothing
    happens, because only the main thread can have handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [s for s in SIGNALS if signal.getsignal(s) not in (signal.SIG_IGN, None)]
    former = {s: signal.signal(s, lambda number, _: request(number)) for s in caught}
    try:
        yield
    finally:
        for s, handler in former.items():
            signal.signal(s, handler)
