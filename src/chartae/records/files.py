"""Write files whole or not at all, and read them without following links.

Every file that chartae writes comes from `whole_file`, and every file of a run is read through `opened`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

__all__ = [
    "LINE", "Damaged", "digest_of", "is_leftover", "one_line", "opened", "quoted", "read_text", "reading",
    "replace_text", "sync_folder", "whole_file",
]  # fmt: skip

#: the largest text file of a run that is read, in bytes: JSON takes up to 40 times as much memory as text
MOST_TEXT = 12 << 20
#: characters of a file, or of another error's message, that a message quotes
LINE = 200
#: names of the files that `whole_file` writes to before it renames them
LEFTOVER = re.compile(r"\.part\.[0-9a-f]{16}\.")


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


# -- writing -----------------------------------------------------------------------------------------------------------


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all, and durably.

    Yields the path of a new, empty file beside `path`, with the same suffix and a name that nobody can guess. When the
    block ends, its content is forced to the disk and it is renamed to `path`; a file at `path` stays as it is until
    then, and a link is replaced, not followed. If the block fails, the new file is deleted.

    Args:
        path: the file; its folder is created if it does not exist.

    Yields:
        The path to write to.

    Raises:
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
    path.parent.mkdir(parents=True, exist_ok=True)
    # writers choose the format by the suffix, so the name ends as that of the file
    part = path.with_name(f".part.{secrets.token_hex(8)}.{path.name[-50:]}")
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
