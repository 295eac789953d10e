"""One writer in a folder at a time: a lock that says which process holds it, and that a killed one does not keep.

A writer holds `run.lock`, in which stand its host, its process and the time. On one machine the operating system says
whether the holder lives. A holder on another machine shows that it lives by touching the file; one that has not for a
while has been killed. Readers need no lock, because every file is written whole.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from chartae.records.files import Damaged, boot, is_leftover, make_folder, sort_of

__all__ = ["NAME", "Holder", "InUse", "break_lock", "writer"]

NAME = "run.lock"
#: seconds between two signs of life, and those after which a holder on another machine counts as killed
BEAT, SILENCE = 15.0, 120.0
#: folders that are held, by process, device and inode: the thread that holds it, and how often; a forked process has a
#: copy of what its parent holds, and holds none of it
_held: dict[tuple[int, int, int], tuple[int, int]] = {}
_guard = threading.Lock()


class InUse(ValueError):
    """Another process, or another thread of this one, writes to the folder."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        host: name of the machine.
        boot: what tells one start of the machine from another; empty if unknown.
        process: number of the process.
        since: start of the lock, as seconds since 1970.
    """

    host: str
    boot: str
    process: int
    since: float

    @classmethod
    def this(cls) -> Holder:
        """This process."""
        return cls(socket.gethostname(), boot(), os.getpid(), round(time.time(), 3))

    @classmethod
    def read(cls, text: str) -> Holder | None:
        """The holder in the text of a lock; None if it holds none, as when its writer was killed at once."""
        try:
            values = json.loads(text)
            return cls(
                str(values["host"])[:100], str(values["boot"])[:100], int(values["process"]), float(values["since"])
            )
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return None

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine, perhaps in another container, whose locks the system knows."""
        here = boot()
        return self.boot == here if here else self.host == socket.gethostname()

    def __str__(self) -> str:
        with suppress(ValueError, OverflowError, OSError):
            began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
            return f"process {self.process} on {self.host} (since {began})"
        return f"process {self.process} on {self.host}"


@contextmanager
def writer(folder: str | os.PathLike[str]) -> Iterator[Holder | None]:
    """Be the only writer of a folder within the block; the thread that holds it may enter again.

    What killed processes have left of files that they were writing is deleted. A folder that did not exist, and to
    which the block writes nothing, is removed again.

    Args:
        folder: the folder; it is created if it does not exist.

    Yields:
        The former holder, if it was killed while it held the lock; otherwise None.

    Raises:
        InUse: another process writes to the folder; at once, without waiting.
        Damaged: its lock is a link, a folder or a pipe.
        FileExistsError: `folder`, or a folder above it, is a file, or a link to nothing.
        OSError: the folder cannot be written.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from chartae.records import lock
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with lock.writer(folder) as former:
    ...         former is None, Path(folder, lock.NAME).is_file()
    ...     Path(folder, lock.NAME).exists()
    (True, True)
    False
    """
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        with _entered(folder) as former:
            yield former
    finally:
        with suppress(OSError):  # one that is not empty
            for path in missing:
                path.rmdir()


@contextmanager
def _entered(folder: Path) -> Iterator[Holder | None]:
    """Hold the lock of a folder that exists, or enter again."""
    status = folder.stat()
    key, thread = (os.getpid(), status.st_dev, status.st_ino), threading.get_ident()
    with _guard:
        holder, count = _held.get(key, (thread, 0))
        if holder != thread:
            raise InUse(f"{folder} is being written by another thread of this process; give each fit its own folder")
        _held[key] = (thread, count + 1)
    try:
        if count:
            yield None
        else:
            with _exclusive(folder) as former:
                for path in folder.glob(".part.*"):
                    if is_leftover(path.name):
                        path.unlink(missing_ok=True)
                yield former
    finally:
        with _guard:
            if count:
                _held[key] = (thread, count)
            else:
                del _held[key]


def break_lock(folder: str | os.PathLike[str]) -> Holder | None:
    """Delete the lock of a folder whose holder was killed, where that cannot be seen from here.

    Args:
        folder: the folder.

    Returns:
        The holder that the lock named; None if there was no lock.

    Raises:
        InUse: its holder is a living process of this machine.
    """
    path = Path(folder) / NAME
    try:
        descriptor = _open(path, create=False)
    except FileNotFoundError:
        return None
    try:
        holder = _holder(descriptor)
        if _take(descriptor) is False:
            raise _in_use(path, holder, "end it first")
        path.unlink(missing_ok=True)
        return holder
    finally:
        os.close(descriptor)


@contextmanager
def _exclusive(folder: Path) -> Iterator[Holder | None]:
    """Hold the lock's file, which the operating system releases even if the process is killed."""
    path = folder / NAME
    descriptor, former = _acquired(path)
    process, stop = os.getpid(), threading.Event()
    beats = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, (json.dumps(asdict(Holder.this())) + "\n").encode())
        beats.start()
        yield former
    finally:
        stop.set()
        try:
            if os.getpid() == process:  # a forked process leaves its parent's lock
                path.unlink(missing_ok=True)  # before the lock is released, so that no other process's is deleted
        finally:
            os.close(descriptor)


def _acquired(path: Path) -> tuple[int, Holder | None]:
    """An open file that is locked and is still the one at the path; and its former holder."""
    while True:
        descriptor = _open(path, create=True)
        holder, taken = _holder(descriptor), _take(descriptor)
        if taken is False:
            os.close(descriptor)
            raise _in_use(path, holder, "wait until it is done, or choose another folder")
        if not _is_at(descriptor, path):  # its holder has just released, and so deleted, it
            os.close(descriptor)
            continue
        # only a holder that the lock does not show to be dead
        unsure = holder is not None and (taken is None or not holder.is_here)
        if unsure and _age(descriptor, path) < SILENCE:
            os.close(descriptor)
            remedy = f"if it was killed, wait {SILENCE / 60:.0f} minutes, or delete {path}"
            raise _in_use(path, holder, remedy)
        return descriptor, holder


def _in_use(path: Path, holder: Holder | None, remedy: str) -> InUse:
    who = "another process" if holder is None else str(holder)
    return InUse(f"{path.parent} is being written by {who}; {remedy}")


def _open(path: Path, *, create: bool) -> int:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(mode := os.lstat(path).st_mode):
            raise Damaged(f"{path} is a {sort_of(mode)}; expected a file of chartae. Delete it")
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.open(path, flags | (os.O_CREAT if create else 0), 0o666)


def _holder(descriptor: int) -> Holder | None:
    return Holder.read(os.read(descriptor, 1000).decode("utf-8", "replace"))


def _take(descriptor: int) -> bool | None:
    """Lock an open file, without waiting; whether it is locked now, or None if the system has no such locks.

    Without them (Windows, some network drives), a lock counts as held as long as its file is touched.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no locks
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _age(descriptor: int, path: Path) -> float:
    """Seconds since a lock was last touched, by the clock of the file system that holds it."""
    touched = os.fstat(descriptor).st_mtime
    probe = path.with_name(f"{NAME}.{os.getpid()}.now")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        return probe.stat().st_mtime - touched
    except FileExistsError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _beat(path: Path, stop: threading.Event) -> None:
    """Touch the lock now and then, until asked to stop."""
    while not stop.wait(BEAT):
        with suppress(OSError):
            os.utime(path, follow_symlinks=False)
