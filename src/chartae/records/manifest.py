"""Which files of a folder chartae wrote, each with its sha256: `manifest.json`.

A writer registers what it has written; a reader verifies what it is about to read; who starts anew clears all that
is registered, and nothing else. A file without an entry is a stranger: it is read as it is, and never deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from chartae.records.files import replace_text
from chartae.records.parsing import Place, Value, read_json

__all__ = ["NAME", "clear", "files", "forget", "listed", "register", "verify", "writing"]

NAME, VERSION = "manifest.json", 1
#: name -> sha256, or None of a file whose content still changes
Entries = dict[str, str | None]


def register(folder: str | Path, *names: str, changing: bool = False) -> None:
    """Say that chartae wrote these files, and what they hold now.

    Args:
        folder: where they lie.
        names: file names in the folder, without any path.
        changing: their content still changes, as that of a log does during training: they are listed (so that `clear`
            knows them), but not verified. They need not be there yet.

    Raises:
        FileNotFoundError: a file that is not there.
        ValueError: a name that leads elsewhere, a link, or a manifest that cannot be read.
    """
    folder = Path(folder)
    paths = [_plain(folder, name) for name in names]
    entries: Entries = {path.name: None if changing else _sha256(path) for path in paths}
    _change(folder, lambda old: old | entries)


def forget(folder: str | Path, *names: str) -> None:
    """Take files off the list, for instance those that were deleted; a name that is not listed is no error."""
    _change(Path(folder), lambda old: {k: v for k, v in old.items() if k not in names})


@contextmanager
def writing(folder: str | Path, *names: str) -> Iterator[None]:
    """Within the block these files are written; on leaving it they are registered.

    If the block fails or the process is killed in it, the files stay listed and are not verified.

    Args:
        folder: where they lie; it is made if it is absent.
        names: file names in the folder, without any path.

    Raises:
        FileNotFoundError: a file that was not written.
        ValueError: as in `register`.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    register(folder, *names, changing=True)
    yield
    register(folder, *names)


def verify(folder: str | Path, *names: str) -> None:
    """Check that files are as they were written. One that is not listed, or still changing, passes.

    Args:
        folder: where they lie.
        names: the files that are about to be read.

    Raises:
        ValueError: a listed file is missing, is a link, or has changed; or the manifest cannot be read.
    """
    folder = Path(folder)
    entries = _read(folder)
    for name in names:
        path, written = _plain(folder, name), entries.get(name)
        if written is None:
            continue
        if not path.is_file():
            raise ValueError(f"{path} is missing, and {folder / NAME} lists it. {_remedy(folder, name)}")
        if (actual := _sha256(path)) != written:
            raise ValueError(
                f"{path} has changed since chartae wrote it: its sha256 is {actual[:12]}…, and {folder / NAME} says "
                f"{written[:12]}…. {_remedy(folder, name)}; if the change is meant, delete its line in {NAME}"
            )


def files(folder: str | Path) -> list[Path]:
    """The files in a folder that chartae wrote and that are there: unfinished ones too, and the manifest last.

    Args:
        folder: a run's, or any other that has a manifest; of one that has none there are no files.

    Returns:
        Their paths.

    Raises:
        ValueError: the manifest cannot be read.
    """
    folder = Path(folder)
    listed = [folder / name for name in _read(folder)]
    parts = [part for path in listed for part in sorted(folder.glob(f".{_literal(path.name)}.part*"))]
    return [path for path in (*listed, *parts, folder / NAME) if path.is_file() or path.is_symlink()]


def listed(folder: str | Path) -> list[str] | None:
    """The names of the files that chartae wrote in a folder, there or not; None where there is no manifest."""
    folder = Path(folder)
    return list(_read(folder)) if (folder / NAME).is_file() else None


def clear(folder: str | Path, keep: Collection[str] = ()) -> None:
    """Delete what chartae wrote in a folder, and nothing else; the manifest last, unless something is kept.

    Args:
        folder: where the files lie.
        keep: names of files that stay, and stay listed.

    Raises:
        ValueError: the manifest cannot be read.
    """
    stays = {*keep, *([NAME] if keep else [])}
    for path in files(folder):
        if path.name not in stays:
            path.unlink(missing_ok=True)
    # those too that were listed and not there
    if gone := [name for name in listed(folder) or () if name not in keep]:
        forget(folder, *gone)


def _remedy(folder: Path, name: str) -> str:
    again = {"results.json": "evaluate", "pictures.npz": "evaluate"}.get(name)
    how = f"evaluate the run again (chartae {again} {folder})" if again else "fit the run again (--overwrite)"
    return f"Restore the file, or {how}"


def _literal(name: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", name)


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..", NAME) and not any(c in name for c in "/\\:\0\n")


def _plain(folder: Path, name: str) -> Path:
    """The path of a file that lies in the folder itself."""
    if not _is_plain(name):
        raise ValueError(f"the file name is {name!r}; expected a plain name in the folder, other than {NAME}")
    path = folder / name
    if path.is_symlink():
        raise ValueError(f"{path} is a link; expected a file. Put the file itself into the folder")
    return path


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; register it after it was written")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(folder: Path) -> Entries:
    """What the manifest lists; nothing if there is none."""
    path = folder / NAME
    if path.is_symlink():
        raise ValueError(f"{path} is a link; expected a file. Put the file itself into the folder, or delete the link")
    if not path.is_file():
        return {}
    values, place = read_json(path, "Fit the run again (--overwrite), or delete the file to go without it")
    version = place.at("version").whole(values.get("version"))
    if version is None or version < 1:
        raise place.at("version").wrong(values.get("version"), f"a whole number from 1 to {VERSION}")
    if version > VERSION:
        raise ValueError(
            f"{path} was written by a newer chartae (its version is {version}; this one reads {VERSION}); "
            "update chartae"
        )
    if unknown := sorted(set(values) - {"version", "files"}):
        raise ValueError(f"{path} has unknown keys: {', '.join(unknown)}; expected version and files. {place.remedy}")
    listed = place.at("files")
    return {name: _entry(name, value, listed) for name, value in listed.mapping(values.get("files")).items()}


def _entry(name: str, value: Value, place: Place) -> str | None:
    if not _is_plain(name):
        raise place.wrong(name, "plain names of files in the folder")
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise place.at(name).wrong(value, "64 hexadecimal digits or null")
    return value


def _change(folder: Path, change: Callable[[Entries], Mapping[str, str | None]]) -> None:
    """Read, change and write the manifest while no other process does."""
    with _alone(folder):
        values = {"version": VERSION, "files": dict(sorted(change(_read(folder)).items()))}
        replace_text(folder / NAME, json.dumps(values, indent=1) + "\n")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system gives back even if the process is killed.

    Where there are no such locks (Windows, some network drives) only one process at a time may write to a folder.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
