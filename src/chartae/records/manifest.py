"""`manifest.json` lists the files of a folder that chartae wrote, each with its sha256.

A writer registers the files that it has written, and a reader verifies those that it is about to read. Overwriting a
folder deletes the registered files and nothing else. An unregistered file is read without a check, and never deleted.
A registered folder, such as that of a post-mortem, is listed as changing, and has a manifest of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from chartae.records.files import LINE, Damaged, digest_of, is_leftover, make_folder, quoted, replace_text
from chartae.records.parsing import Place, Value, read_json

__all__ = [
    "NAME",
    "changes",
    "check_free",
    "clear",
    "files",
    "forget",
    "listed",
    "path_of",
    "register",
    "remove",
    "verify",
    "writing",
]

NAME, VERSION = "manifest.json", 2
#: name -> sha256, or None for a file whose content still changes
Entries = dict[str, str | None]


def register(folder: str | Path, *names: str, changing: bool = False) -> None:
    """List files as written by chartae, with the sha256 of their present content.

    Args:
        folder: folder of the files.
        names: names of files in the folder, without a path.
        changing: whether their content still changes, as that of a log during training; default False. Such files are
            listed, so that `clear` deletes them, but not verified. They need not exist yet.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a name is not a plain file name, a file is a link, or the manifest cannot be read.
    """
    folder = Path(folder)
    paths = [_plain(folder, name) for name in names]
    entries: Entries = {path.name: None if changing else _sha256(path) for path in paths}
    _change(folder, lambda old: old | entries)


def forget(folder: str | Path, *names: str) -> None:
    """Remove files from the list, such as deleted ones; names that are not listed are ignored."""
    _change(Path(folder), lambda old: {k: v for k, v in old.items() if k not in names})


@contextmanager
def writing(folder: str | Path, *names: str) -> Iterator[None]:
    """Register files that the block writes, when it ends.

    If the block fails or the process is killed in it, the files stay listed as changing, and are not verified.

    Args:
        folder: folder of the files; it is created if it does not exist.
        names: names of files in the folder, without a path.

    Raises:
        FileNotFoundError: a file was not written.
        ValueError: a name is not a plain file name, a file is a link, or the manifest cannot be read.
    """
    make_folder(folder)
    register(folder, *names, changing=True)
    yield
    register(folder, *names)


def verify(folder: str | Path, *names: str) -> None:
    """Check that files have not changed since chartae wrote them. Files that are not listed, or still change, pass.

    Args:
        folder: folder of the files.
        names: names of the files that are about to be read.

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
            raise Damaged(f"{path} is missing, but {folder / NAME} lists it. {_remedy(folder, name)}")
        if (actual := _sha256(path)) != written:
            raise Damaged(
                f"{path} has changed since chartae wrote it: its sha256 is {actual[:12]}…; expected {written[:12]}…, "
                f"as in {folder / NAME}. {_remedy(folder, name)}; if you changed it on purpose, delete its line in "
                f"{NAME}"
            )


def files(folder: str | Path) -> list[Path]:
    """The existing files in a folder that chartae wrote, including unfinished ones; the manifest is the last.

    Args:
        folder: a folder with a manifest; for one without, the list is empty.

    Returns:
        Paths of the files.

    Raises:
        ValueError: the manifest cannot be read.
    """
    folder = Path(folder)
    listed = [folder / name for name in _read(folder)]
    unfinished = [path for path in sorted(folder.glob(".part.*")) if is_leftover(path.name)]
    return [path for path in (*listed, *unfinished, folder / NAME) if path.is_file() or path.is_symlink()]


def listed(folder: str | Path) -> list[str] | None:
    """Names of the files that the manifest of a folder lists, existing or not; None if there is no manifest."""
    folder = Path(folder)
    return list(_read(folder)) if (folder / NAME).is_file() else None


def changes(folder: str | Path, name: str) -> bool:
    """Whether a file's content may still change, as it does while chartae writes several files that belong together.

    Args:
        folder: folder of the file.
        name: name of the file.

    Raises:
        ValueError: the manifest cannot be read.
    """
    return _read(Path(folder)).get(name, "") is None


def path_of(folder: str | Path, name: str) -> Path:
    """The path of a file that is directly in a folder.

    Raises:
        ValueError: the name is not a plain file name, or the file is a link.
    """
    return _plain(Path(folder), name)


def check_free(folder: str | Path, path: str | Path) -> None:
    """Check that a page may be written to a path: that it is none of the files that a run is read from.

    Args:
        folder: folder of the run.
        path: the path, which may be anywhere.

    Raises:
        ValueError: it is a file of the run.
    """
    path = Path(path)
    inside = path.parent.resolve() == Path(folder).resolve()
    if inside and (path.suffix in (".toml", ".json", ".jsonl", ".safetensors", ".npz") or path.name == "run.lock"):
        raise ValueError(f"out is {path}, which is a file of the run itself; choose another name")


def clear(folder: str | Path, keep: Collection[str] = ()) -> None:
    """Delete the files in a folder that chartae wrote, and nothing else.

    Args:
        folder: folder of the files.
        keep: names of files that are not deleted and stay listed; if there are any, the manifest stays too.

    Raises:
        ValueError: the manifest cannot be read.
    """
    folder = Path(folder)
    kept = {*keep, *([NAME] if keep else [])}
    for name in _read(folder):
        if name not in kept:
            remove(folder, name)
    for path in files(folder):
        if path.name not in kept:
            path.unlink(missing_ok=True)
    # also those that were listed but did not exist
    if gone := [name for name in listed(folder) or () if name not in keep]:
        forget(folder, *gone)


def remove(folder: str | Path, name: str) -> None:
    """Delete a file, or of a listed folder the files that chartae wrote; it stays listed. A link is not followed.

    Args:
        folder: folder of the file; a listed folder in it has a manifest of its own.
        name: name of the file, which need not exist.

    Raises:
        ValueError: the name is not a plain file name, or a manifest cannot be read.
    """
    if not _is_plain(name):
        _plain(Path(folder), name)  # raises
    path = Path(folder) / name
    if path.is_dir() and not path.is_symlink():
        clear(path)
        with suppress(OSError):  # it holds more
            path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _remedy(folder: Path, name: str) -> str:
    """How to get a file back that is missing or has changed."""
    evaluated = name in ("results.json", "pictures.npz")
    how = f"evaluate the run again (chartae evaluate {folder})" if evaluated else "fit the run again (--overwrite)"
    return f"Restore the file, or {how}"


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..", NAME) and not any(c in name for c in "/\\:\0\n")


def _plain(folder: Path, name: str) -> Path:
    """The path of a file that is directly in the folder."""
    if not _is_plain(name):
        raise ValueError(f"the file name is {name!r}; expected a plain name of a file in the folder, not {NAME}")
    path = folder / name
    if path.is_symlink():
        raise Damaged(f"{path} is a link; expected a file. Put the file itself into the folder")
    return path


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; register it after it has been written")
    return digest_of(path)


def _read(folder: Path) -> Entries:
    """The entries of the manifest; empty if there is none."""
    path = folder / NAME
    if path.is_symlink():
        raise Damaged(f"{path} is a link; expected a file. Put the file itself into the folder, or delete the link")
    if not path.is_file():
        return {}
    with read_json(path, "Fit the run again (--overwrite), or delete the file to skip its checks") as (values, place):
        version = place.at("version").whole(values.get("version"))
        if version is None or version < 1:
            raise place.at("version").wrong(values.get("version"), f"a whole number from 1 to {VERSION}")
        if version > VERSION:
            raise Damaged(
                f"{path} was written by a newer chartae (its version is {version}; this one reads {VERSION}); "
                "update chartae"
            )
        if unknown := sorted(set(values) - {"version", "files", "digest"}):
            names = ", ".join(map(quoted, unknown))[:LINE]
            raise Damaged(f"{path} has unknown keys: {names}; expected version and files. {place.remedy}")
        listed = place.at("files")
        entries = {name: _entry(name, value, listed) for name, value in listed.mapping(values.get("files")).items()}
        if version > 1 and values.get("digest") != _digest(entries):
            raise Damaged(f"{path} has changed since chartae wrote it. {place.remedy}")
        return entries


def _digest(entries: Mapping[str, str | None]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _entry(name: str, value: Value, place: Place) -> str | None:
    if not _is_plain(name):
        raise place.wrong(name, "plain names of files in the folder")
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise place.at(name).wrong(value, "64 hexadecimal digits or null")
    return value


def _change(folder: Path, change: Callable[[Entries], Mapping[str, str | None]]) -> None:
    """Read, change and write the manifest under a lock."""
    with _locked(folder):
        entries = dict(sorted(change(_read(folder)).items()))
        values = {"version": VERSION, "digest": _digest(entries), "files": entries}
        replace_text(folder / NAME, json.dumps(values, indent=1) + "\n")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases even if the process is killed.

    Without such locks (Windows, some network drives), only one process at a time may write to a folder.
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
