"""The training log, stored in `log.jsonl`: one line for each row of training losses, validation losses or alarm."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from chartae.records.files import Damaged, one_line, opened, replace_text
from chartae.records.named import Named
from chartae.records.parsing import Place, Value, is_finite, is_number

__all__ = ["LOG", "LogFile", "LogRow", "read_log"]

#: the file of the log in a run folder
LOG = "log.jsonl"
#: the largest log that is read, in bytes, and its rows
MOST_LOG, MOST_ROWS = 1 << 29, 2_000_000
#: keys of a row that are not terms of the loss
NOT_TERMS = ("split", "epoch", "step", "lr", "seconds", "kind", "alarm")


class LogRow(Named[Value]):
    """A row of the log: `row["loss"]` or `row.loss`.

    `split` is ``"train"``, ``"valid"`` or ``"alarm"``; `epoch` and `step` count from 1; the loss and its terms are in
    nats per example. In an alarm row, `alarm` says what went wrong.
    """

    __slots__ = ()

    @property
    def split(self) -> str:
        return str(self.get("split", ""))

    @property
    def epoch(self) -> float | None:
        value = self.get("epoch")
        return value if is_finite(value) else None

    @property
    def step(self) -> float | None:
        value = self.get("step")
        return value if is_finite(value) else None

    @property
    def alarm(self) -> str:
        return str(self.get("alarm"))

    @property
    def terms(self) -> Mapping[str, float]:
        """The loss and all numbers logged with it, finite or not."""
        return {k: v for k, v in self.items() if is_number(v) and k not in NOT_TERMS}

    def to_dict(self) -> dict[str, Value]:
        return {**self}


class LogFile:
    """A `log.jsonl` that rows are appended to, with its length and the sha256 of its content so far.

    A checkpoint keeps both, so that resuming cuts off the rows of steps that will be repeated.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.size = 0
        self._state = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The sha256 of the rows so far."""
        return self._state.hexdigest()

    def write(self, rows: Sequence[Mapping[str, Value]]) -> None:
        """Write these rows, in place of an older file."""
        text = _lines(rows)
        replace_text(self.path, text)
        self.size, self._state = len(text.encode()), hashlib.sha256(text.encode())

    def digest_of(self, size: int) -> str:
        """The sha256 of the first `size` bytes of the file.

        Raises:
            Damaged: the file is shorter, or a row is damaged.
        """
        return hashlib.sha256(_rows(self.path, size)[1]).hexdigest()

    def resume(self, size: int, digest: str) -> list[LogRow]:
        """Cut the file to its first `size` bytes, and return their rows.

        Raises:
            Damaged: the file is missing or shorter, or these bytes are not those of the digest.
        """
        rows, content = _rows(self.path, size)
        state = hashlib.sha256(content)
        if state.hexdigest() != digest:
            raise Damaged(f"{self.path} has changed since chartae wrote it; restore it, or fit the run anew")
        descriptor = os.open(self.path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
        self.size, self._state = size, state
        return rows

    def append(self, rows: Sequence[Mapping[str, Value]], *, durable: bool = False) -> None:
        """Append rows; with `durable`, also force the file to the disk.

        Raises:
            Damaged: the file is a link.
            OSError: the rows cannot be written, for example because the disk is full; the file then ends as before.
        """
        if self.path.is_symlink():
            raise Damaged(f"{self.path} is a link; expected a file. Delete the link")
        text = _lines(rows).encode()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self.path, flags, 0o666)
        try:
            before, written = os.fstat(descriptor).st_size, 0
            while written < len(text):
                written += os.write(descriptor, text[written:])
            if durable:
                os.fsync(descriptor)
        except OSError as error:
            with suppress(OSError):  # half a row would make the log unreadable
                os.ftruncate(descriptor, before)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        finally:
            os.close(descriptor)
        self.size += len(text)
        self._state.update(text)


def _lines(rows: Sequence[Mapping[str, Value]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read_log(path: str | Path, size: int | None = None) -> list[LogRow]:
    """Read the rows of a `log.jsonl`; empty if the file does not exist.

    Args:
        path: the file.
        size: number of bytes to read; None (default) for the whole file.

    Raises:
        Damaged: a line is damaged; the message names the file and the line.
    """
    path = Path(path)
    return _rows(path, size)[0] if path.is_file() or path.is_symlink() else []


def _rows(path: Path, size: int | None) -> tuple[list[LogRow], bytes]:
    """The rows in the first `size` bytes of a log, and these bytes."""
    with opened(path) as file:
        content = file.read(MOST_LOG + 1 if size is None else max(0, min(size, MOST_LOG)))
    if len(content) > MOST_LOG or (size is not None and len(content) < size):
        raise Damaged(f"{path} has {len(content):,} bytes; expected {MOST_LOG if size is None else size:,}")
    if (count := content.count(b"\n")) > MOST_ROWS:
        raise Damaged(f"{path} has {count:,} rows; expected at most {MOST_ROWS:,}")
    rows: list[LogRow] = []
    place = Place(key="a row")
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            if line.strip():
                rows.append(LogRow(place.mapping(json.loads(line))))
        except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
            raise Damaged(f"{path} is damaged in line {number}: {one_line(error)}") from error
    return rows, content
