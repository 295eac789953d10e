"""Scoring strings with any function, in separate processes: a string on which it fails does not stop the others."""

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

#: function from a string to a number, or to None for a string without a score
Score = Callable[[str], SupportsFloat | None]

#: number of strings sent to a process at a time; it answers one by one, so the string in progress is always known
CHUNK = 32
#: what a process sends before its first answer
READY = "ready"


class Scored(NamedTuple):
    """The result of scoring a string.

    Attributes:
        score: the score, or None if the string has none.
        error: why there is no score; default None.

    >>> from chartae.optimise import Scored
    >>> Scored(1.5), Scored(None, "no score within 2 s").error
    (Scored(score=1.5, error=None), 'no score within 2 s')
    """

    score: float | None
    error: str | None = None


def _evaluate(score: Score, string: str) -> Scored:
    """Score one string; an exception or a value that is no finite number becomes an error of this string."""
    try:
        value = score(string)
    except Exception as error:  # the user's function may raise anything
        return Scored(None, f"{type(error).__name__}: {error}"[:300])
    if value is None:
        return Scored(None, "the score is None")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return Scored(None, f"the score is {str(value)[:40]!r}, not a number")
    return Scored(number) if math.isfinite(number) else Scored(None, f"the score is {number}")


def _work(pipe: Connection, score: Score) -> None:
    """The loop of a worker process: receive lists of strings, answer string by string, end at None."""
    try:
        pipe.send(READY)
        while (strings := pipe.recv()) is not None:
            for string in strings:
                pipe.send(_evaluate(score, string))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass  # the parent process is ending


def _context() -> Context:
    """A way of starting processes that does not fork this one: a fork of a process with threads may hang."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # import this module once instead of in each process
    return context


@dataclass
class _Worker:
    """A worker process, its pipe, the rows sent to it, when it last answered (in seconds), and whether it started."""

    process: BaseProcess
    pipe: Connection
    pending: deque[int]
    last_answer: float = 0.0
    ready: bool = False

    @classmethod
    def start(cls, context: Context, score: Score) -> _Worker:
        parent_end, child_end = context.Pipe()
        process = context.Process(target=_work, args=(child_end, score), daemon=True)
        process.start()
        child_end.close()
        return cls(process, parent_end, deque())

    def end(self) -> None:
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


class _Pool:
    """A pool of worker processes that score strings; a process that hangs or dies is replaced."""

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
            while self.waiting or any(worker.pending for worker in self.workers):
                self._send()
                self._collect()
        finally:
            for worker in self.workers:
                worker.end()
        return [self.results[i] for i in range(len(self.strings))]

    def _send(self) -> None:
        """Send strings to the idle processes."""
        for worker in self.workers:
            if not worker.pending and self.waiting:
                count = min(CHUNK, max(1, len(self.waiting) // (2 * len(self.workers))))
                worker.pending.extend(self.waiting.popleft() for _ in range(min(count, len(self.waiting))))
                worker.last_answer = time.monotonic()
                with suppress(OSError):  # the process has died; `_collect` handles this
                    worker.pipe.send([self.strings[i] for i in worker.pending])

    def _collect(self) -> None:
        """Receive answers, and replace the processes that have failed."""
        busy = [worker for worker in self.workers if worker.pending]
        patience = None if self.timeout is None else min(self.timeout / 4, 0.5)
        ready = wait([worker.pipe for worker in busy], timeout=patience)
        for worker in busy:
            if (failure := self._failure(worker, worker.pipe in ready)) is not None:
                self.results[worker.pending.popleft()] = Scored(None, failure)
                self.waiting.extendleft(reversed(worker.pending))
                worker.end()
                self.workers[self.workers.index(worker)] = _Worker.start(self.context, self.score)

    def _failure(self, worker: _Worker, ready: bool) -> str | None:
        """Receive an answer if there is one; return why the string in progress has failed, or None."""
        if not ready:
            late = self.timeout is not None and worker.ready and time.monotonic() - worker.last_answer > self.timeout
            return f"no score within {self.timeout:g} s" if late else None
        try:
            answer = worker.pipe.recv()
        except (EOFError, OSError) as error:
            worker.process.join(5)
            ending = f"process ended with exit code {worker.process.exitcode}"
            if not worker.ready:
                raise ChildProcessError(
                    f"score is {self.score!r}; expected a function that a new process can import, but the {ending}. "
                    "Put the function in a module, and guard your script with if __name__ == '__main__'."
                ) from error
            return f"its {ending}"
        worker.last_answer = time.monotonic()
        if worker.ready:
            self.results[worker.pending.popleft()] = answer
        worker.ready = True
        return None


def score_strings(
    strings: Iterable[str], score: Score, *, workers: int = 1, timeout: float | None = None
) -> list[Scored]:
    """Score strings with a function, and record why a string has no score.

    Each different string is scored once. If the function raises, or returns None, NaN or infinity, only this string
    fails. With `workers` > 1 or a `timeout`, strings are scored in separate processes; a string that exceeds the time
    limit or ends its process fails as well, and a new process continues.

    Args:
        strings: strings to score.
        score: function from a string to a number, or to None. For separate processes it must be a function of a module
            that they can import.
        workers: number of processes, >= 1; default 1, the current process, unless there is a `timeout`.
        timeout: time limit for one string, in seconds; > 0; default: none.

    Returns:
        The score of each string, or the error, in the order of the strings.

    Raises:
        ValueError: `workers` or `timeout` out of range, or a function that other processes cannot import.
        ChildProcessError: a process cannot start.
        TypeError: `score` cannot be called.

    >>> from chartae.optimise import score_strings
    >>> score_strings(["12", "nan"], float)
    [Scored(score=12.0, error=None), Scored(score=None, error='the score is nan')]
    """
    if not callable(score):
        raise TypeError(f"score is {score!r}; expected a function from a string to a number. Pass a callable.")
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected a number >= 1. Leave it out for the current process.")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is {timeout}; expected seconds > 0, or None. Leave it out for no limit.")
    strings = list(strings)
    distinct = list(dict.fromkeys(strings))
    if workers == 1 and timeout is None:
        results = [_evaluate(score, string) for string in distinct]
    else:
        check_importable(score)
        results = _Pool(distinct, score, workers, timeout).run() if distinct else []
    table = dict(zip(distinct, results, strict=True))
    return [table[string] for string in strings]


def check_importable(score: Score) -> None:
    """Raise ValueError if other processes cannot import the function."""
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.dumps(score)
    except Exception as error:
        raise ValueError(
            f"score is {score!r}; expected a function that can be sent to another process ({error}). Make it a "
            "function of a module, or use workers=1 without a timeout."
        ) from error
