"""One file from the network: resumed where it broke off, checked, and put in place only when it is whole."""

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
    """Hexadecimal checksum of a file, by the name of the algorithm in `hashlib`."""
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
    """Download `url` to `path`, unless the right file is there already, and return the path.

    The bytes go to ``<path>.part``; what a broken download left there is continued by an HTTP range request
    (or started anew where the server ignores ranges). The checksum is compared before the file gets its name,
    so `path` is either absent or right. For one process at a time: with several ranks, let the first one
    fetch.

    Args:
        url: one http(s) address, or several mirrors of the same file, tried in order.
        sha256, md5: the published checksum in hexadecimal; exactly one.
        size: in bytes where it is known; a longer answer is refused.
        timeout: seconds without an answer after which a mirror is given up.
        progress: draw a bar on a terminal.

    Raises:
        ValueError: the file that came has another checksum or size; the partial file is deleted.
        ConnectionError: no mirror delivered; says why for each, and where to put the file by hand.
    """
    urls = [url] if isinstance(url, str) else list(url)
    if not urls or any(not u.startswith(("https://", "http://")) for u in urls):
        raise ValueError(f"url is {url!r}; expected http:// or https:// addresses")
    if (sha256 is None) == (md5 is None):
        raise ValueError("give exactly one checksum, sha256= or md5=")
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
                if (found := digest(part, algorithm)) == expected.lower():
                    os.replace(part, path)
                    return path
                why = f"has {algorithm} {found}, expected {expected}"
            except (OSError, HTTPException) as e:
                if isinstance(e, _TooLong):
                    why = str(e)
                else:
                    reasons.append(f"{u}: {e}")
                    if part.exists() and part.stat().st_size > before:
                        continue  # it broke off on the way: the same mirror, from there
                    break
            part.unlink()
            if not resumed:  # a part left by an earlier call may be of another file: once more without it
                reasons.append(f"{u}: {why}; the partial file was deleted")
                wrong = True
                break
            resumed = False
    text = (
        f"could not download {path.name}:\n  "
        + "\n  ".join(dict.fromkeys(reasons))
        + f"\nPut the file at {path} by hand"
        + f", or call again to continue from {part.name}" * part.exists()
    )
    raise ValueError(text) if wrong else ConnectionError(text)


class _TooLong(OSError):
    """More bytes than the file has."""


def _stream(url: str, part: Path, size: int | None, timeout: float, progress: bool) -> None:
    """Append to `part` what it lacks of `url`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "chartae", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as e:
        e.close()
        if e.code == 416 and have:  # nothing is lacking; the checksum decides
            return
        raise ConnectionError(f"the server answered {e.code} {e.reason}") from None
    with answer:
        start = answer.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
        resumes = answer.status == 206 and start == str(have)
        if answer.status == 206 and not resumes:
            raise ConnectionError(f"the server answered a range from {start or '?'}, not from {have}")
        have = have if resumes else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        if size is not None and total is not None and total > size:
            part.touch()
            raise _TooLong(f"has {total} bytes, expected {size}")
        with open(part, "ab" if resumes else "wb") as f:
            for block in _drawn(answer, part.stem, have, total, progress):
                f.write(block)
                have += len(block)
                if size is not None and have > size:
                    raise _TooLong(f"has more than the expected {size} bytes")
    if total is not None and have < total:
        raise ConnectionError(f"broke off after {have} of {total} bytes")


def _drawn(answer: IO[bytes], name: str, have: int, total: int | None, progress: bool) -> Iterable[bytes]:
    """The blocks of an answer, with a bar where one is wanted."""
    if not progress:
        yield from iter(lambda: answer.read(_BLOCK), b"")
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total, completed=have)
        while block := answer.read(_BLOCK):
            yield block
            bar.advance(task, len(block))


def extract(archive: Path, folder: Path, names: Iterable[str]) -> None:
    """Write the plain files of the tar archive whose base names are among `names` straight into `folder`.

    Nothing but the base name is taken from the archive, so no member can leave the folder; links are passed
    over.
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
