"""Download a file: resume where the connection broke off, verify the checksum, and rename it when complete."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import tarfile
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

from chartae.records.files import sync_folder, whole_file

__all__ = ["digest", "extract", "fetch"]

_BLOCK = 1 << 16
_TRIES = 5
#: seconds over which the speed of a download is measured
_WINDOW = 30.0


def digest(path: str | os.PathLike[str], algorithm: str) -> str:
    """Hexadecimal checksum of a file; `algorithm` is a name of `hashlib`."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, algorithm).hexdigest()


def fetch(
    url: str | Sequence[str],
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    timeout: float = 10.0,
    limit: float = 3600.0,
    slowest: float = 1000.0,
    progress: bool = False,
) -> Path:
    """Download a file and verify its checksum, unless the right file exists already.

    The bytes are written to ``<path>.part``. An interrupted download is resumed by an HTTP range request, or started
    again if the server ignores ranges. The file is renamed to `path` only after its checksum was compared, so `path`
    is always complete. Only one process may download a file at a time: with several ranks, call this on the first.

    A part that is a link or no regular file is deleted, never written through, and an address of https is never left
    for one of http.

    Args:
        url: http(s) address, or several mirrors of the same file, tried in order.
        path: path of the file; its folder is created if necessary.
        sha256, md5: published checksum in hexadecimal; exactly one of the two.
        size: size in bytes, if it is known; a longer response is refused.
        timeout: seconds without a response after which a mirror is given up; default 10.
        limit: seconds after which the download is given up, over all mirrors; > 0; default 3,600. What has come is
            kept, and a later call resumes it.
        slowest: bytes per second, averaged over 30 seconds, below which a mirror is given up; >= 0; default 1,000.
        progress: whether to draw a progress bar on a terminal; default False.

    Returns:
        `path`, as a `pathlib.Path`.

    Raises:
        ValueError: an argument is invalid, or the downloaded file has another checksum or size; the partial file is
            deleted.
        ConnectionError: no mirror delivered the file in time; the message says why for each, and where to put the file
            by hand.
        OSError: the file cannot be written, for example because the disk is full.

    >>> import hashlib, pathlib, tempfile
    >>> from chartae.data import fetch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.txt")
    ...     _ = path.write_bytes(b"abc")
    ...     fetch("https://example.org/a.txt", path, md5=hashlib.md5(b"abc").hexdigest()).name  # exists: no download
    'a.txt'
    """
    urls = [url] if isinstance(url, str) else list(url)
    if not urls or any(not u.startswith(("https://", "http://")) for u in urls):
        raise ValueError(f"url is {url!r}; expected http:// or https:// addresses.")
    if (sha256 is None) == (md5 is None):
        raise ValueError(f"sha256 is {sha256!r} and md5 is {md5!r}; expected exactly one checksum.")
    if not limit > 0 or not slowest >= 0:
        raise ValueError(f"limit is {limit} and slowest is {slowest}; expected limit > 0 and slowest >= 0.")
    algorithm, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    assert expected is not None
    path = Path(path)
    if path.is_file() and digest(path, algorithm) == expected.lower():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    _remove_foreign(part)
    with _Watch(limit, slowest) as watch:
        return _from_mirrors(urls, path, part, (algorithm, expected), size, timeout, watch, progress)


def _from_mirrors(
    urls: Sequence[str], path: Path, part: Path, checksum: tuple[str, str], size: int | None, timeout: float,
    watch: _Watch, progress: bool,
) -> Path:  # fmt: skip
    """Download from the first mirror that has the file."""
    algorithm, expected = checksum
    reasons, wrong = [], False
    for u in urls:
        resumed = part.exists()
        for _ in range(_TRIES):
            if watch.is_over():
                break
            before = part.stat().st_size if part.exists() else 0
            try:
                _stream(u, part, size, timeout, watch, progress)
                if (actual := digest(part, algorithm)) == expected.lower():
                    os.replace(part, path)
                    sync_folder(path.parent)
                    return path
                why = f"has {algorithm} {actual}, expected {expected}"
            except _Full as e:
                raise type(e.error)(e.error.errno, e.error.strerror or str(e.error), str(part)) from e
            except (OSError, HTTPException) as e:
                if isinstance(e, _TooLong):
                    why = str(e)
                else:
                    reasons.append(f"{u}: {e}")
                    is_broken = part.exists() and part.stat().st_size > before
                    if is_broken and not isinstance(e, _TooSlow):
                        continue  # the connection broke off: resume from the same mirror
                    break
            part.unlink()
            if not resumed:  # a partial file of an earlier call may be of another file: try once without it
                reasons.append(f"{u}: {why}; the partial file was deleted")
                wrong = True
                break
            resumed = False
        if watch.is_over():
            reasons.append(f"the time of {watch.limit:g} seconds is over")
            break
    text = (
        f"could not download {path.name}:\n  "
        + "\n  ".join(dict.fromkeys(reasons))
        + f"\nPut the file at {path} by hand"
        + f", or call again to resume from {part.name}" * part.exists()
    )
    raise ValueError(text) if wrong else ConnectionError(text)


class _TooLong(OSError):
    """The response has more bytes than the file."""


class _TooSlow(OSError):
    """The server sends too little, or the time is over."""


class _Full(Exception):
    """The part cannot be written, which no other mirror changes."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Watch:
    """Ends a download when its time is over, or a mirror that is too slow.

    A thread cuts the connection when the time is over, because the header of a response, too, may come byte by byte.
    """

    def __init__(self, limit: float, slowest: float) -> None:
        self.limit, self.slowest = limit, slowest
        self.began = self.since = time.monotonic()
        self.bytes = 0
        self.socket: socket.socket | None = None
        self.timer = threading.Timer(min(limit, threading.TIMEOUT_MAX), self.cut)
        self.timer.daemon = True

    def __enter__(self) -> _Watch:
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()

    def hold(self, connection: socket.socket) -> None:
        """Remember the connection that is to be cut."""
        self.socket = connection
        if self.is_over():
            self.cut()

    def cut(self) -> None:
        """End the connection; whoever reads from it gets an error."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def is_over(self) -> bool:
        return time.monotonic() - self.began > self.limit

    def start(self) -> None:
        """Measure the speed of a new response."""
        self.since, self.bytes = time.monotonic(), 0

    def count(self, received: int) -> None:
        """Count received bytes; raise _TooSlow if there are too few, or the time is over."""
        self.bytes += received
        if self.is_over():
            raise _TooSlow(f"took more than {self.limit:g} seconds")
        elapsed = time.monotonic() - self.since
        if elapsed >= _WINDOW:
            if self.bytes < self.slowest * elapsed:
                raise _TooSlow(f"sent {self.bytes / elapsed:,.0f} bytes per second, fewer than {self.slowest:,.0f}")
            self.start()


class _Secure(HTTPRedirectHandler):
    """Follows redirections, but none from https to another protocol."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        allowed = ("https:",) if req.full_url.startswith("https:") else ("https:", "http:")
        if not newurl.startswith(allowed):
            raise ConnectionError(f"the server redirects to {newurl[:200]!r}; expected {' or '.join(allowed)} only")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _opener(watch: _Watch) -> OpenerDirector:
    """Opens addresses with connections that the watch can cut."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            watch.hold(self.sock)

    class Encrypted(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            watch.hold(self.sock)

    class PlainHandler(HTTPHandler):
        def http_open(self, req: Request) -> HTTPResponse:
            return self.do_open(Plain, req)

    class EncryptedHandler(HTTPSHandler):
        def https_open(self, req: Request) -> HTTPResponse:
            return self.do_open(Encrypted, req)

    return build_opener(_Secure, PlainHandler, EncryptedHandler)


def _remove_foreign(part: Path) -> None:
    """Delete a part that is a link, or has other names through which its content could be changed elsewhere."""
    if part.is_symlink() or (part.exists() and not part.is_dir() and part.stat().st_nlink > 1):
        part.unlink()
    elif part.exists() and not part.is_file():
        raise ValueError(f"{part} is no regular file; expected a part of the download. Delete it.")


def _opened(part: Path, resumes: bool) -> IO[bytes]:
    """Open a part for appending, or anew, never through a link."""
    if not resumes:
        part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(part, flags if resumes else flags | os.O_CREAT | os.O_EXCL, 0o666)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        raise ConnectionError(f"{part} was replaced during the download")
    return open(descriptor, "ab")


def _stream(url: str, part: Path, size: int | None, timeout: float, watch: _Watch, progress: bool) -> None:
    """Append to `part` the bytes of `url` that it lacks."""
    received = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "chartae", "Accept-Encoding": "identity"}
    if received:
        headers["Range"] = f"bytes={received}-"
    watch.start()
    try:
        response = _opener(watch).open(Request(url, headers=headers), timeout=timeout)
    except HTTPError as e:
        e.close()
        if e.code == 416 and received:  # no bytes are left to send; the checksum decides
            return
        raise ConnectionError(f"the server answered {e.code} {e.reason}") from None
    with response:
        start = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
        resumes = response.status == 206 and start == str(received)
        if response.status == 206 and not resumes:
            raise ConnectionError(f"the server sent a range from {start or '?'}, not from {received}")
        received = received if resumes else 0
        length = response.headers.get("Content-Length")
        total = received + int(length) if length and length.isdigit() else None
        if size is not None and total is not None and total > size:
            part.touch()
            raise _TooLong(f"has {total} bytes, expected {size}")
        with _opened(part, resumes) as f:
            for block in _blocks(response, part.stem, received, total, progress):
                received += len(block)
                if size is not None and received > size:
                    raise _TooLong(f"has more than the expected {size} bytes")
                try:
                    f.write(block)
                    f.flush()
                except OSError as error:
                    raise _Full(error) from error
                watch.count(len(block))
            os.fsync(f.fileno())
    if total is not None and received < total:
        raise ConnectionError(f"broke off after {received} of {total} bytes")


def _blocks(response: IO[bytes], name: str, received: int, total: int | None, progress: bool) -> Iterable[bytes]:
    """The blocks of a response as they come, with a progress bar if `progress`."""
    # read1 returns what is there: a full block of a slow server could take hours
    read = response.read1  # type: ignore[attr-defined]
    if not progress:
        yield from iter(lambda: read(_BLOCK), b"")
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total, completed=received)
        while block := read(_BLOCK):
            yield block
            bar.advance(task, len(block))


def extract(archive: Path, folder: Path, names: Iterable[str]) -> None:
    """Extract files of a tar archive directly into a folder, each whole or not at all.

    Only the base name of a member is used, so that no member can be written outside the folder. Links are skipped.

    Args:
        archive: path of the tar archive.
        folder: existing folder to write to.
        names: base names of the files to extract.
    """
    names = set(names)
    with tarfile.open(archive) as tar:
        for member in tar:
            base = member.name.rsplit("/", 1)[-1]
            if member.isreg() and base in names and (source := tar.extractfile(member)) is not None:
                with source, whole_file(folder / base) as part, open(part, "wb") as f:
                    shutil.copyfileobj(source, f)
