"""Scores of strings by any function, in processes of their own: what raises, hangs or dies is noted, and the rest goes
on."""

from __future__ import annotations

import math
import multiprocessing as mp
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

__all__ = ["Scored", "score_strings"]

#: strings that a process is given at a time; it answers one by one, so that the one in hand is always known
HAND = 32
#: what a process says before its first answer
READY = "ready"


class Scored(NamedTuple):
    """A score, or None and what went wrong."""

    score: float | None
    error: str | None = None


def _judge(score: Callable[[str], Any], string: str) -> Scored:
    try:
        value = score(string)
    except Exception as error:  # whatever the function does wrong is this string's failure
        return Scored(None, f"{type(error).__name__}: {error}"[:300])
    if value is None:
        return Scored(None, "the score is None")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return Scored(None, f"the score is {str(value)[:40]!r}, not a number")
    return Scored(number) if math.isfinite(number) else Scored(None, f"the score is {number}")


def _work(pipe: Connection, score: Callable[[str], Any]) -> None:
    """A process: takes lists of strings, answers one by one, until it is given None."""
    try:
        pipe.send(READY)
        while (strings := pipe.recv()) is not None:
            for string in strings:
                pipe.send(_judge(score, string))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass  # the parent is gone, or going


def _context() -> Any:
    """Processes that share no threads with this one (a fork of a process with threads may hang)."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # it is imported once, not in each process
    return context


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    hand: deque[int]
    since: float = 0.0
    ready: bool = False

    @classmethod
    def start(cls, context: Any, score: Callable[[str], Any]) -> _Worker:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, score), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours, deque())

    def end(self) -> None:
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _in_processes(
    strings: Sequence[str], score: Callable[[str], Any], workers: int, timeout: float | None
) -> list[Scored]:
    context = _context()
    waiting = deque(range(len(strings)))
    found: list[Scored | None] = [None] * len(strings)
    pool: list[_Worker] = []
    try:
        pool = [_Worker.start(context, score) for _ in range(min(workers, len(strings)))]
        while waiting or any(worker.hand for worker in pool):
            for worker in pool:
                if not worker.hand and waiting:
                    share = min(HAND, max(1, len(waiting) // (2 * len(pool))))
                    worker.hand.extend(waiting.popleft() for _ in range(min(share, len(waiting))))
                    worker.since = time.monotonic()
                    with suppress(OSError):  # it has died; seen below
                        worker.pipe.send([strings[i] for i in worker.hand])
            busy = [worker for worker in pool if worker.hand]
            ready = wait([worker.pipe for worker in busy], timeout=None if timeout is None else min(timeout / 4, 0.5))
            for worker in busy:
                why = None
                if worker.pipe in ready:
                    try:
                        answer = worker.pipe.recv()
                        worker.since = time.monotonic()
                        if worker.ready:
                            found[worker.hand.popleft()] = answer
                        worker.ready = True
                    except (EOFError, OSError) as error:
                        worker.process.join(5)
                        why = f"its process ended with exit code {worker.process.exitcode}"
                        if not worker.ready:
                            raise ChildProcessError(
                                f"a process for scoring could not start ({why[4:]}): can it import {score!r}, and has "
                                "your script an `if __name__ == '__main__':`?"
                            ) from error
                elif timeout is not None and worker.ready and time.monotonic() - worker.since > timeout:
                    why = f"no score within {timeout:g} s"
                if why is not None:
                    found[worker.hand.popleft()] = Scored(None, why)
                    waiting.extendleft(reversed(worker.hand))
                    worker.end()
                    pool[pool.index(worker)] = _Worker.start(context, score)
    finally:
        for worker in pool:
            worker.end()
    assert all(f is not None for f in found)
    return found  # type: ignore[return-value]


def score_strings(
    strings: Iterable[str], score: Callable[[str], Any], *, workers: int = 1, timeout: float | None = None
) -> list[Scored]:
    """The score of each string, or why it has none; the same string is scored once.

    An exception, None, NaN and infinity are failures of that string alone. In processes of their own (`workers` above
    1, or a `timeout`) so are a time limit and the end of the process, after which another takes its place.

    Args:
        strings: what is scored.
        score: from a string to a number; for processes of their own it must be picklable: a function of a module.
        workers: processes; 1 means none beside this one, unless there is a `timeout`.
        timeout: seconds a string may take.

    Raises:
        ValueError: workers below 1, a timeout that is not above 0, a function that no other process could import.
        ChildProcessError: a process could not start.
        TypeError: a score that cannot be called.

    >>> score_strings(["12", "x"], float)[0]
    Scored(score=12.0, error=None)
    """
    if not callable(score):
        raise TypeError(f"score is {score!r}; expected a function from a string to a number")
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is {timeout}; expected seconds above 0, or None")
    strings = list(strings)
    distinct = list(dict.fromkeys(strings))
    if workers == 1 and timeout is None:
        found = [_judge(score, string) for string in distinct]
    else:
        check_importable(score)
        found = _in_processes(distinct, score, workers, timeout) if distinct else []
    table = dict(zip(distinct, found, strict=True))
    return [table[string] for string in strings]


def check_importable(score: Callable[[str], Any]) -> None:
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.dumps(score)
    except Exception as error:
        raise ValueError(
            f"{score!r} cannot be sent to another process ({error}); write it as a function of a module, "
            "or score with workers=1 and no timeout"
        ) from error
