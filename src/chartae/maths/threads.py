"""The number of threads of a computation: chosen from its work by a rule, and in force in one thread of Python only.

A second thread of the processor shortens a large matrix product, but each of the many small operations of a small net
then waits until both threads have come to its end. That costs little on a quiet machine; beside another busy process it
costs ten to a hundred times the computation. The rule looks at shapes only, never at the clock, so the same computation
has the same number of threads, and the same numbers, however busy the machine is.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["ONE_THREAD", "limited_threads", "threads_for"]

#: floating-point operations between two points where all threads meet, up to which one thread is used
ONE_THREAD = 3e8

#: held while torch's number of threads for new threads is not the caller's
_lock = threading.Lock()


def threads_for(work: float) -> int:
    """Return the number of threads for a computation: 1 up to `ONE_THREAD` operations, else the caller's number.

    The caller's number is `torch.get_num_threads()`, which `torch.set_num_threads` or the environment variable
    ``OMP_NUM_THREADS`` sets.

    Args:
        work: number of floating-point operations of one step of the computation.

    Returns:
        The number of threads, >= 1.

    >>> from chartae.maths.threads import threads_for
    >>> threads_for(1e6)
    1
    """
    return 1 if work <= ONE_THREAD else torch.get_num_threads()


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads inside a `with` block, in this thread of Python only.

    `torch.set_num_threads` alone would also set the number of every thread that is started later. Other threads of
    Python keep theirs, and this one has its former number again afterwards.

    Args:
        count: number of threads, >= 1.

    Yields:
        None.

    >>> import torch
    >>> from chartae.maths.threads import limited_threads
    >>> before = torch.get_num_threads()
    >>> with limited_threads(1):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()  # torch sets up a new thread when it is first asked
    if count == before:
        yield
        return
    with _openmp().limit(limits=count):
        # after a call of torch.set_num_threads, MKL has a number of its own; some builds of torch have no OpenMP
        separate = torch.get_num_threads() != count or _mkl_threads() not in (None, count)
        if separate:
            _set_here(count)
        try:
            yield
        finally:
            if separate:
                _set_here(before)


@functools.cache
def _openmp() -> ThreadpoolController:
    """The OpenMP libraries of this process, whose numbers of threads belong to one thread each."""
    return ThreadpoolController().select(user_api="openmp")


def _mkl_threads() -> int | None:
    """Number of threads of MKL in this thread; None if torch has no MKL."""
    line = re.search(r"mkl_get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())
    return None if line is None else int(line[1])


def _set_here(count: int) -> None:
    """Call `torch.set_num_threads`, and set the number for new threads back at once."""
    former: list[int] = []

    def read() -> None:
        former.append(torch.get_num_threads())

    def reset() -> None:
        torch.set_num_threads(former[0])

    with _lock:
        _in_a_new_thread(read)
        torch.set_num_threads(count)
        _in_a_new_thread(reset)


def _in_a_new_thread(function: Callable[[], None]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
