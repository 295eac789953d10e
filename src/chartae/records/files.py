"""Write files whole or not at all, and read them without following links.

Every file that chartae writes comes from `whole_file`, and every file of a run is read through `opened`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

__all__ = [
    "LINE", "Damaged", "boot", "check_file", "check_folder", "digest_of", "is_leftover", "make_folder", "one_line",
    "opened", "quoted", "read_text", "reading", "replace_text", "sort_of", "sync_folder", "whole_file", "with_remedy",
]  # fmt: skip

#: the largest text file of a run that is read, in bytes: JSON takes up to 40 times as much memory as text
MOST_TEXT = 12 << 20
#: characters of a file, or of another error's message, that a message quotes
LINE = 200
#: names of the files that `whole_file` writes to before it renames them
LEFTOVER = re.compile(r"\.part\.(?P<mark>[0-9a-f]{10})?[0-9a-f]{16}\.")

#: what may stand in the place of a file, by the type in its mode
SORTS = {
    stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device",
    stat.S_IFSOCK: "socket", stat.S_IFREG: "file", stat.S_IFLNK: "link",
}  # fmt: skip


class Damaged(ValueError):
    """A file cannot be used as it is: it is damaged, a link, or not what its name says. The message names it."""


def quoted(value: object, most: int = 60) -> str:
    """A value as a message quotes it: its repr in one line, cut after `most` characters.

    >>> from chartae.records.files import quoted
    >>> quoted("a\\nb"), quoted("x" * 100, 10)
    ("'a\\\\nb'", "'xxxxxxxxx…")
    """
    # the repr of a long value is not made whole, and Python refuses that of a number of thousands of digits
    if isinstance(value, int) and abs(value) >= 1 << 256:
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(_is_nested, value[:most]))):
        return f"a {type(value).__name__} of {len(value):,}"
    text = repr(value[: most + 1] if isinstance(value, str | bytes | list | tuple) else value)
    return text if len(text) <= most else f"{text[:most]}…"


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple) or (isinstance(value, int) and abs(value) >= 1 << 256)


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most `LINE` printable characters; the name of its class if it says nothing.

    >>> from chartae.records.files import one_line
    >>> one_line(ValueError("two\\nlines")), one_line(KeyError("shape")), one_line(MemoryError())
    ('two lines', "KeyError: 'shape'", 'MemoryError')
    """
    text = str(error)[: 2 * LINE]
    text = "".join(c if c.isprintable() else " " for c in text)
    text = f"{text[:LINE]}…" if len(text) > LINE else text
    if isinstance(error, ValueError | OSError) and text.strip():
        return text.strip()
    return f"{type(error).__name__}: {text}".rstrip(": ")


# -- output paths ------------------------------------------------------------------------------------------------------


def check_file(path: str | os.PathLike[str], remedy: str = "Choose another path.") -> None:
    """Check that a file may be written to a path: that a file, a link or nothing is there.

    Args:
        path: the path. A link is accepted, because `whole_file` replaces it and does not follow it.
        remedy: the last sentence of the message if something else is there.

    Raises:
        IsADirectoryError: it is a folder.
        FileExistsError: it is a pipe, a device or a socket; or a folder above it is a file, or a link to nothing.
        OSError: the system does not accept the path.

    >>> from chartae.records.files import check_file
    >>> check_file("/")
    Traceback (most recent call last):
    IsADirectoryError: / is a folder; expected a file. Choose another path.
    """
    path = Path(path)
    check_folder(path.parent)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:  # a name that is too long, for example
        raise with_remedy(error, f"{path} cannot be written to ({error.strerror}). {remedy}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        refusal = IsADirectoryError if stat.S_ISDIR(mode) else FileExistsError
        raise refusal(f"{path} is a {sort_of(mode)}; expected a file. {remedy}")


def check_folder(folder: str | os.PathLike[str], what: str = "a folder") -> None:
    """Check that a path is a folder, or that nothing stands in the way of making it.

    Args:
        folder: the path.
        what: what is expected, for the message; default ``"a folder"``.

    Raises:
        FileExistsError: it, or a folder above it, is a file, a pipe or a device, or a link to nothing.
    """
    folder = Path(folder)
    for place in (folder, *folder.parents):
        expected = what if place == folder else "a folder"
        try:  # once only, as another process may be making it
            mode = os.stat(place).st_mode
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP) and os.path.islink(place):
                remedy = "Delete it, or choose another path."
                raise FileExistsError(f"{place} is a link to nothing; expected {expected}. {remedy}") from error
            continue
        if stat.S_ISDIR(mode):
            return
        raise FileExistsError(f"{place} is a {sort_of(mode)}; expected {expected}. Choose another path.")


def make_folder(folder: str | os.PathLike[str], what: str = "a folder") -> None:
    """Make a folder, with those above it, if it does not exist.

    Args:
        folder: the path.
        what: what is expected, for the message; default ``"a folder"``.

    Raises:
        FileExistsError: it, or a folder above it, is something else.
        OSError: the system refuses to make it.
    """
    check_folder(folder, what)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise with_remedy(error, f"{folder} cannot be made ({error.strerror}). Choose another path.") from error


def sort_of(mode: int) -> str:
    """What a mode of the file system says that a path is: ``"file"``, ``"folder"``, ``"pipe"``, ``"device"``, ...

    >>> import stat
    >>> from chartae.records.files import sort_of
    >>> [sort_of(mode) for mode in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK | 0o600)]
    ['pipe', 'device', 'device']
    """
    return SORTS.get(stat.S_IFMT(mode), "special file")


def with_remedy(error: OSError, message: str) -> OSError:
    """An error of the same class and number with another message, which says what to do."""
    fault = type(error)(message)
    fault.errno = error.errno
    return fault


# -- writing -----------------------------------------------------------------------------------------------------------


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all, and durably.

    Yields the path of a new, empty file beside `path`, with the same suffix and a name that nobody can guess. When the
    block ends, its content is forced to the disk and it is renamed to `path`; a file at `path` stays as it is until
    then, and a link is replaced, not followed. If the block fails, the new file is deleted. What a killed process left
    of the same file is deleted first.

    Args:
        path: the file; its folder is created if it does not exist.

    Yields:
        The path to write to.

    Raises:
        IsADirectoryError, FileExistsError: `path` is a folder, a pipe or a device.
        OSError: the file cannot be written, for example because the disk is full; the message names `path`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from chartae.records.files import whole_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.txt")
    ...     with whole_file(path) as part:
    ...         _ = part.write_text("whole")
    ...     path.read_text(), [p.name for p in Path(folder).iterdir()]
    ('whole', ['a.txt'])
    """
    path = Path(path)
    check_file(path)
    make_folder(path.parent)
    _remove_leftovers(path)
    # writers choose the format by the suffix, so the name ends as that of the file
    part = path.with_name(f".part.{_mark()}{secrets.token_hex(8)}.{path.name[-50:]}")
    try:
        # the mode is what the user's umask says
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = stat.S_IMODE(part.stat().st_mode)
        yield part
        part.chmod(mode)  # safetensors makes files that only their owner can read
        descriptor = os.open(part, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, path)
    except OSError as error:
        if error.filename in (str(part), None) and error.errno is not None:
            raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def is_leftover(name: str) -> bool:
    """Whether a file of this name is what a killed process left of a file that it was writing."""
    return LEFTOVER.match(name) is not None


def _mark() -> str:
    """Who writes, in the name of an unfinished file: four hexadecimal digits of the machine, six of the process.

    Processes are numbered anew in each start of a machine, and in each container.
    """
    places = [boot() or socket.gethostname()]
    with suppress(OSError):
        places.append(os.readlink("/proc/self/ns/pid"))
    return f"{hashlib.sha256(' '.join(places).encode()).hexdigest()[:4]}{os.getpid() & 0xFFFFFF:06x}"


def _remove_leftovers(path: Path) -> None:
    """Delete what processes of this machine that live no more have left of a file that they were writing."""
    if os.name != "posix":  # elsewhere, os.kill would end the process
        return
    start, end = f".part.{_mark()[:4]}", f".{path.name[-50:]}"
    with suppress(OSError), os.scandir(path.parent) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(start)]:
            match = LEFTOVER.match(name)
            mark = match and match["mark"]
            if match and mark and name[match.end() - 1 :] == end and _is_gone(int(mark[4:], 16)):
                path.with_name(name).unlink(missing_ok=True)


def _is_gone(process: int) -> bool:
    """Whether no process of this machine has a number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # that of another user
        return False
    return False


def boot() -> str:
    """What tells one start of this machine from another; empty if the system does not say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk; does nothing on systems that cannot open folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all: an old file stays until the new one is complete.

    Bytes of file names that are no UTF-8 are written as ``\\udcXX``.
    """
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


# -- reading -----------------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: str | Path) -> Iterator[BufferedReader]:
    """Open a file for reading that is no link, device or pipe.

    Args:
        path: the file.

    Yields:
        The file, as bytes.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: it is a link, a folder, or another thing that is no regular file.
    """
    path = Path(path)
    # a pipe would wait for a writer
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if path.is_symlink():
        raise Damaged(f"{path} is a link; expected a file. Put the file itself into the folder")
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged(f"{path} is no regular file; expected a file that chartae wrote")
    with open(descriptor, "rb") as file:
        yield file


def read_text(path: str | Path, most: int = MOST_TEXT, *, remedy: str = "") -> str:
    """The text of a file of a run.

    Args:
        path: the file.
        most: the largest size that is read, in bytes.
        remedy: how to write the file again, as a sentence without a full stop; empty (default) if unknown.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: it is no regular file, is larger than `most`, or is not UTF-8.
    """
    with opened(path) as file:
        content = file.read(most + 1)
    after = f". {remedy}" if remedy else ""
    if len(content) > most:
        raise Damaged(f"{path} is larger than {most:,} bytes; expected a file that chartae wrote{after}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(f"{path} is damaged: {error.reason} at byte {error.start:,}; expected UTF-8{after}") from error


@contextmanager
def reading(path: str | Path, what: str = "file that chartae wrote") -> Iterator[None]:
    """Turn every error about the content of a file into `Damaged`, which names the file and quotes at most a line.

    A file of a run may come from a stranger, so whatever a parser or a constructor raises because of its content, from
    KeyError to MemoryError, is an error of the file. Errors of the system, such as a missing permission, and missing
    packages stay what they are.

    Args:
        path: the file that the block reads, or whose values it uses.
        what: what the file is expected to be, for the message.

    Raises:
        Damaged: the block raised an error about the content of the file.

    >>> from chartae.records.files import reading
    >>> with reading("run.toml", "run.toml of a run"):
    ...     {}["shape"]
    Traceback (most recent call last):
    chartae.records.files.Damaged: run.toml is damaged: KeyError: 'shape'; expected a run.toml of a run
    """
    try:
        yield
    except (Damaged, ImportError):
        raise
    except Exception as error:
        # a file that refers to a place before its beginning gives EINVAL
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise Damaged(f"{path} is damaged: {one_line(error)}; expected a {what}") from error


def digest_of(path: str | Path) -> str:
    """The sha256 of a file, as 64 hexadecimal digits.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: it is no regular file.
    """
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
