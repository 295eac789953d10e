"""Download a file: resume where the connection broke off, verify the checksum, and rename it when complete."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

__all__ = ["digest", "extract", "fetch"]

_BLOCK = 1 << 18
_TRIES = 5


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
    progress: bool = False,
) -> Path:
    """Download a file and verify its checksum, unless the right file exists already.

    The bytes are written to ``<path>.part``. An interrupted download is resumed by an HTTP range request, or started
    again if the server ignores ranges. The file is renamed to `path` only after its checksum was compared, so `path`
    is always complete. Only one process may download a file at a time: with several ranks, call this on the first.

    Args:
        url: http(s) address, or several mirrors of the same file, tried in order.
        path: path of the file; its folder is created if necessary.
        sha256, md5: published checksum in hexadecimal; exactly one of the two.
        size: size in bytes, if it is known; a longer response is refused.
        timeout: seconds without a response after which a mirror is given up; default 10.
        progress: whether to draw a progress bar on a terminal; default False.

    Returns:
        `path`, as a `pathlib.Path`.

    Raises:
        ValueError: an argument is invalid, or the downloaded file has another checksum or size; the partial file is
            deleted.
        ConnectionError: no mirror delivered the file; the message says why for each, and where to put the file by
            hand.

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
    algorithm, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    assert expected is not None
    path = Path(path)
    if path.is_file() and digest(path, algorithm) == expected.lower():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")

    reasons, wrong = [], False
    for u in urls:
        resumed = part.exists()
        for _ in range(_TRIES):
            before = part.stat().st_size if part.exists() else 0
            try:
                _stream(u, part, size, timeout, progress)
                if (actual := digest(part, algorithm)) == expected.lower():
                    os.replace(part, path)
                    return path
                why = f"has {algorithm} {actual}, expected {expected}"
            except (OSError, HTTPException) as e:
                if isinstance(e, _TooLong):
                    why = str(e)
                else:
                    reasons.append(f"{u}: {e}")
                    if part.exists() and part.stat().st_size > before:
                        continue  # the connection broke off: resume from the same mirror
                    break
            part.unlink()
            if not resumed:  # a partial file of an earlier call may be of another file: try once without it
                reasons.append(f"{u}: {why}; the partial file was deleted")
                wrong = True
                break
            resumed = False
    text = (
        f"could not download {path.name}:\n  "
        + "\n  ".join(dict.fromkeys(reasons))
        + f"\nPut the file at {path} by hand"
        + f", or call again to resume from {part.name}" * part.exists()
    )
    raise ValueError(text) if wrong else ConnectionError(text)


class _TooLong(OSError):
    """The response has more bytes than the file."""


def _stream(url: str, part: Path, size: int | None, timeout: float, progress: bool) -> None:
    """Append to `part` the bytes of `url` that it lacks."""
    received = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "chartae", "Accept-Encoding": "identity"}
    if received:
        headers["Range"] = f"bytes={received}-"
    try:
        response = urlopen(Request(url, headers=headers), timeout=timeout)
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
        with open(part, "ab" if resumes else "wb") as f:
            for block in _blocks(response, part.stem, received, total, progress):
                f.write(block)
                received += len(block)
                if size is not None and received > size:
                    raise _TooLong(f"has more than the expected {size} bytes")
    if total is not None and received < total:
        raise ConnectionError(f"broke off after {received} of {total} bytes")


def _blocks(response: IO[bytes], name: str, received: int, total: int | None, progress: bool) -> Iterable[bytes]:
    """The blocks of a response, with a progress bar if `progress`."""
    if not progress:
        yield from iter(lambda: response.read(_BLOCK), b"")
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total, completed=received)
        while block := response.read(_BLOCK):
            yield block
            bar.advance(task, len(block))


def extract(archive: Path, folder: Path, names: Iterable[str]) -> None:
    """Extract files of a tar archive directly into a folder.

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
                part = folder / (base + ".part")
                with source, open(part, "wb") as f:
                    shutil.copyfileobj(source, f)
                os.replace(part, folder / base)
