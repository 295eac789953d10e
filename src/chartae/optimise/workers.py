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
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, NamedTuple, SupportsFloat

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

    Context = ForkServerContext | SpawnContext

__all__ = ["Score", "Scored", "score_strings"]

#: from a string to a number, or None where it has none
Score = Callable[[str], SupportsFloat | None]

#: strings that a process is given at a time; it answers one by one, so that the one in hand is always known
HAND = 32
#: what a process says before its first answer
READY = "ready"


class Scored(NamedTuple):
    """A score, or None and what went wrong."""

    score: float | None
    error: str | None = None


def _outcome(score: Score, string: str) -> Scored:
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


def _work(pipe: Connection, score: Score) -> None:
    """A process: takes lists of strings, answers one by one, until it is given None."""
    try:
        pipe.send(READY)
        while (strings := pipe.recv()) is not None:
            for string in strings:
                pipe.send(_outcome(score, string))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass  # the parent is gone, or going


def _context() -> Context:
    """Processes that share no threads with this one (a fork of a process with threads may hang)."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # it is imported once, not in each process
    return context


@dataclass
class _Worker:
    """A process, its pipe, and the rows that it has in hand; `since` is when it last answered, in seconds."""

    process: BaseProcess
    pipe: Connection
    hand: deque[int]
    since: float = 0.0
    ready: bool = False

    @classmethod
    def start(cls, context: Context, score: Score) -> _Worker:
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


class _Pool:
    """Scores of strings by processes, one of which is replaced where it hangs or dies."""

    def __init__(self, strings: Sequence[str], score: Score, workers: int, timeout: float | None) -> None:
        self.strings, self.score, self.timeout = strings, score, timeout
        self.context = _context()
        self.waiting = deque(range(len(strings)))
        self.results: dict[int, Scored] = {}
        self.workers: list[_Worker] = []
        self.size = min(workers, len(strings))

    def run(self) -> list[Scored]:
        """The score of each string, in order."""
        try:
            for _ in range(self.size):
                self.workers.append(_Worker.start(self.context, self.score))
            while self.waiting or any(worker.hand for worker in self.workers):
                self._hand_out()
                self._collect()
        finally:
            for worker in self.workers:
                worker.end()
        return [self.results[i] for i in range(len(self.strings))]

    def _hand_out(self) -> None:
        for worker in self.workers:
            if not worker.hand and self.waiting:
                share = min(HAND, max(1, len(self.waiting) // (2 * len(self.workers))))
                worker.hand.extend(self.waiting.popleft() for _ in range(min(share, len(self.waiting))))
                worker.since = time.monotonic()
                with suppress(OSError):  # the process has died, which `_collect` notices
                    worker.pipe.send([self.strings[i] for i in worker.hand])

    def _collect(self) -> None:
        busy = [worker for worker in self.workers if worker.hand]
        patience = None if self.timeout is None else min(self.timeout / 4, 0.5)
        ready = wait([worker.pipe for worker in busy], timeout=patience)
        for worker in busy:
            if (why := self._failure(worker, worker.pipe in ready)) is not None:
                self.results[worker.hand.popleft()] = Scored(None, why)
                self.waiting.extendleft(reversed(worker.hand))
                worker.end()
                self.workers[self.workers.index(worker)] = _Worker.start(self.context, self.score)

    def _failure(self, worker: _Worker, ready: bool) -> str | None:
        """Take an answer, if there is one; why the string in hand has failed, None where it has not."""
        if not ready:
            late = self.timeout is not None and worker.ready and time.monotonic() - worker.since > self.timeout
            return f"no score within {self.timeout:g} s" if late else None
        try:
            answer = worker.pipe.recv()
        except (EOFError, OSError) as error:
            worker.process.join(5)
            why = f"its process ended with exit code {worker.process.exitcode}"
            if not worker.ready:
                raise ChildProcessError(
                    f"a process for scoring could not start ({why[4:]}): can it import {self.score!r}, and has "
                    "your script an `if __name__ == '__main__':`?"
                ) from error
            return why
        worker.since = time.monotonic()
        if worker.ready:
            self.results[worker.hand.popleft()] = answer
        worker.ready = True
        return None


def score_strings(
    strings: Iterable[str], score: Score, *, workers: int = 1, timeout: float | None = None
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
        results = [_outcome(score, string) for string in distinct]
    else:
        check_importable(score)
        results = _Pool(distinct, score, workers, timeout).run() if distinct else []
    table = dict(zip(distinct, results, strict=True))
    return [table[string] for string in strings]


def check_importable(score: Score) -> None:
    """Raise a ValueError if other processes could not import the function."""
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.dumps(score)
    except Exception as error:
        raise ValueError(
            f"{score!r} cannot be sent to another process ({error}); write it as a function of a module, "
            "or score with workers=1 and no timeout"
        ) from error
