"""Replace the files of a folder by new ones that were written beside them, so that a kill at any point loses neither.

The new files are written into a folder inside the old one. When they are complete, a list of what is to be deleted and
moved is written, and then worked through. Whoever opens the folder after a kill works through it again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from chartae.records import lock, manifest
from chartae.records.files import Damaged, replace_text, sync_folder
from chartae.records.parsing import read_json

__all__ = ["NEW", "begin", "finish", "settle"]

#: the folder, inside that of the old files, in which the new ones are written; and the list of what is then moved
NEW, MOVES = ".new", ".moves.json"


def begin(out: Path) -> Path:
    """An empty folder for the new files; what an earlier attempt has left there is removed.

    Args:
        out: folder of the old files.
    """
    folder = out / NEW
    _remove(folder)
    folder.mkdir()
    return folder


def finish(out: Path) -> None:
    """Delete the old files that chartae wrote, and put the new ones in their place. Files of other programs stay.

    Args:
        out: folder of the old files.
    """
    old, new = manifest.listed(out) or [], manifest.listed(out / NEW) or []
    moved = [*new, manifest.NAME]
    deleted = sorted({*old} - {*moved})
    replace_text(out / MOVES, json.dumps({"delete": deleted, "move": moved}))
    _move(out, deleted, moved)


def settle(out: Path) -> None:
    """Complete a replacement that was interrupted while its files were moved; usually there is none.

    Args:
        out: folder of the old files.

    Raises:
        InUse: another process is doing so.
        Damaged: the list of files is damaged.
    """
    if not (out / MOVES).is_file():
        return
    with lock.writer(out):
        with read_json(out / MOVES, "Delete it, and write the folder again (--overwrite)") as (values, place):
            delete, move = (place.at(key).texts(values.get(key)) for key in ("delete", "move"))
        _move(out, delete, move)


def _move(out: Path, delete: Iterable[str], move: Iterable[str]) -> None:
    """Delete old files and move new ones up; may be repeated at any point."""
    source = out / NEW
    if source.is_symlink():
        raise Damaged(f"{source} is a link; expected a folder of chartae. Delete it and {out / MOVES}")
    for name in delete:
        manifest.remove(out, name)
    for name in move:
        part = source / name if name == manifest.NAME else manifest.path_of(source, name)
        if part.is_dir():
            manifest.remove(out, name)
        with suppress(FileNotFoundError):
            os.replace(part, out / name)
    sync_folder(out)
    _remove(source)
    (out / MOVES).unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """Remove a folder, or a link in its place, which is not followed."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)
