"""Room on the disk and in memory: asked for before work that needs it, and done without where that is possible."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chartae.records.files import check_file, make_folder, whole_file, with_remedy

__all__ = [
    "NotWritten",
    "Persisting",
    "after_work",
    "available_memory",
    "check_disk",
    "check_memory",
    "check_output",
    "check_writable",
    "free_disk",
    "in_units",
    "total_memory",
]

#: share of the available memory that a result may fill
SHARE = 0.8
#: share of all memory that one step of a training, or the rows of all strings, may fill
HALF = 0.5
#: files in which Linux states the memory of a container: its limit, what is in use, and of what
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


class NotWritten(UserWarning):
    """A file could not be written after the work was done; its content is returned or printed all the same."""


def in_units(size: float) -> str:
    """A number of bytes as people say it.

    >>> from chartae.records.space import in_units
    >>> in_units(512), in_units(3_500_000), in_units(2.4e10)
    ('512 bytes', '3.5 MB', '24 GB')
    """
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            number = size / factor
            return f"{number:,.0f} {unit}" if number >= 10 else f"{number:.2g} {unit}"
    return f"{size:.0f} bytes"


# -- the disk ----------------------------------------------------------------------------------------------------------


def _existing(path: Path) -> Path:
    """The path, or else the nearest folder above it that exists."""
    path = Path(os.path.abspath(path))
    return next(place for place in (path, *path.parents) if place.exists())


def free_disk(path: str | Path) -> int | None:
    """Free bytes of the disk that a path is on, which need not exist; None if the system does not say."""
    try:
        return shutil.disk_usage(_existing(Path(path))).free
    except OSError:
        return None


def check_disk(path: str | Path, size: float, what: str) -> None:
    """Check that a disk has room for what is to be written, before any work.

    Args:
        path: the file or folder, which need not exist.
        size: bytes that surely are needed.
        what: what needs them, for the message.

    Raises:
        OSError: fewer bytes are free (ENOSPC).
    """
    free = free_disk(path)
    if free is not None and size > free:
        error = OSError(
            f"{what} needs {in_units(size)}, but the disk of {path} has {in_units(free)} left. Free some space, or"
            " choose another disk"
        )
        error.errno = errno.ENOSPC
        raise error


def check_writable(folder: str | Path) -> None:
    """Check that files can be written to a folder, before any work: a small file is written and deleted.

    A folder that does not exist is created for the check, and deleted again.

    Args:
        folder: the folder.

    Raises:
        FileExistsError: it, or a folder above it, is a file, or a link to nothing.
        OSError: no file can be written there; the message says why.
    """
    folder = Path(folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        make_folder(folder)
        _write_anything(folder)
    finally:
        for place in missing:  # the innermost first
            with suppress(OSError):
                place.rmdir()


def check_output(path: str | Path) -> None:
    """Check that a file can be written to a path, before any work: that it is no folder, pipe or device.

    Args:
        path: the path of the file, which need not exist, and neither need its folder.

    Raises:
        IsADirectoryError: it is a folder.
        FileExistsError: it is a pipe or a device; or a folder above it is a file, or a link to nothing.
        OSError: no file can be written to its folder; the message says why.
    """
    check_file(path)
    check_writable(Path(path).parent)


def _write_anything(folder: Path) -> None:
    """Write a small file to a folder, and delete it."""
    try:
        with whole_file(folder / ".writable") as part:
            part.write_bytes(b"x")
            # the name of the file itself may be taken, so that it is not renamed
            raise _Checked
    except _Checked:
        pass
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "Choose another folder, or change its permissions"
        raise with_remedy(error, f"{folder} cannot be written to ({reason}). {remedy}") from error


class _Checked(Exception):
    """The small file could be written."""


@contextmanager
def after_work(path: str | Path, what: str) -> Iterator[None]:
    """Write what has been computed; if that fails, warn and go on, as the work would otherwise be lost.

    Args:
        path: the file, or the folder of several.
        what: what is written, for the warning.

    Warns:
        NotWritten: the block raised OSError; the message names the file.
    """
    try:
        yield
    except OSError as error:
        name, reason = error.filename or path, error.strerror or str(error)
        warnings.warn(f"{what} could not be written to {name}: {reason}", NotWritten, stacklevel=4)


class Persisting:
    """Writes that may fail while work goes on, such as checkpoints on a disk that is full for a while.

    The first failure is warned of, later ones are not, until a success ends the trouble.

    Args:
        remedy: what the warning says will happen.

    Attributes:
        error: the last error, if the last attempt failed; otherwise None.

    >>> import warnings
    >>> from chartae.records.space import Persisting
    >>> def full():
    ...     raise OSError(28, "No space left on device", "run/checkpoint")
    >>> persisting = Persisting("training goes on without a checkpoint")
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     results = [persisting.attempt(write) for write in (full, full, lambda: None, full)]
    >>> results, [str(warning.message) for warning in caught][0]
    ([False, False, True, False], 'run/checkpoint could not be written: No space left on device; \
training goes on without a checkpoint')
    >>> len(caught)
    2
    """

    def __init__(self, remedy: str) -> None:
        self.remedy = remedy
        self.error: OSError | None = None

    def attempt(self, write: Callable[[], object]) -> bool:
        """Call a function that writes.

        Args:
            write: the function.

        Returns:
            Whether it has written; False if it raised OSError.
        """
        try:
            write()
        except OSError as error:
            if self.error is None:
                name, reason = error.filename or "a file", error.strerror or str(error)
                warnings.warn(f"{name} could not be written: {reason}; {self.remedy}", UserWarning, stacklevel=3)
            self.error = error
            return False
        self.error = None
        return True


# -- memory ------------------------------------------------------------------------------------------------------------


def available_memory() -> int | None:
    """Bytes of memory that this process can still use without swapping; None if the system does not say.

    On Linux, the limit of a container counts too.
    """
    sizes = [size for size in (_of_system(), *map(_of_container, LIMITS)) if size is not None]
    return min(sizes, default=None)


def total_memory() -> int | None:
    """Bytes of memory of this machine, or of its container; None if the system does not say."""
    sizes = [_of_system("MemTotal", "SC_PHYS_PAGES")]
    for limit, *_ in LIMITS:
        with suppress(OSError, ValueError):
            sizes.append(int(Path(limit).read_text()))
    return min((size for size in sizes if size is not None), default=None)


def _of_system(name: str = "MemAvailable", setting: str = "SC_AVPHYS_PAGES") -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    with suppress(AttributeError, ValueError, OSError):  # not on all systems
        pages = os.sysconf(setting)
        return pages * os.sysconf("SC_PAGE_SIZE") if pages > 0 else None
    return None


def _of_container(files: tuple[str, str, str]) -> int | None:
    with suppress(OSError, ValueError):  # without a limit, the file says "max" or does not exist
        limit, used = (int(Path(path).read_text()) for path in files[:2])
        facts = dict(line.split() for line in Path(files[2]).read_text().splitlines())
        # what is in use counts files that the system holds in memory only as long as nothing else needs it
        cached = int(facts.get("inactive_file", 0)) or int(facts.get("total_inactive_file", 0))
        return max(0, limit - used + cached)
    return None


def check_memory(size: float, what: str, remedy: str) -> None:
    """Check that there is memory for a result, before any work.

    Args:
        size: bytes that the result takes.
        what: what takes them, for the message.
        remedy: what to do.

    Raises:
        ValueError: four fifths of the available memory are fewer bytes.
    """
    available = available_memory()
    if available is not None and size > SHARE * available:
        raise ValueError(f"{what} needs {in_units(size)}, but {in_units(available)} of memory are available. {remedy}")
