"""Replace the files of a folder by new ones that were written beside them, so that a kill at any point loses neither.

The new files are written into a folder inside the old one. When they are complete, a list of what is to be deleted and
moved is written, and then worked through. Whoever opens the folder after a kill works through it again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from chartae.records import lock, manifest
from chartae.records.files import Damaged, check_file, is_leftover, replace_text, sync_folder
from chartae.records.parsing import read_json

__all__ = ["NEW", "begin", "check", "finish", "settle"]

#: the folder, inside that of the old files, in which the new ones are written; and the list of what is then moved
NEW, MOVES = ".new", ".moves.json"
#: names of the files that chartae writes into the folders of runs and of searches, whether a manifest lists them or not
OURS = re.compile(
    r"run\.toml|log\.jsonl|run\.lock(\.\d+\.now)?|pictures\.npz|strings\.csv"
    r"|(manifest|results|diagnose|state|postmortem|comparison)\.json"
    r"|(weights|residuals|checkpoint|checkpoint\.(former|next)|density\.[^.]+|scores|codes|state|batch)\.safetensors"
)
#: the remedy where something else stands in the place of a file of a run
MOVE_AWAY = "Move it away, or choose another folder."


def check(out: Path) -> None:
    """Check, before any work, that the files of a run can be written to its folder.

    Args:
        out: folder of the run, which need not exist.

    Raises:
        IsADirectoryError, FileExistsError: a folder, a pipe or a device has the name of one of them.
    """
    if out.is_dir():
        for path in sorted(out.iterdir()):
            if _is_ours(path.name) or path.name == MOVES:
                check_file(path, MOVE_AWAY)


def begin(out: Path) -> Path:
    """An empty folder for the new files; what an earlier attempt has left there is removed.

    Args:
        out: folder of the old files.

    Raises:
        FileExistsError: there is something that chartae did not write.
    """
    folder = out / NEW
    _remove(folder)
    if folder.is_dir():
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:3])
        raise FileExistsError(f"{folder} holds {names}; expected only files that chartae wrote. Move the others away.")
    if folder.exists():
        raise FileExistsError(f"{folder} is a file; expected a folder of chartae. Move it away.")
    folder.mkdir()
    return folder


def finish(out: Path) -> None:
    """Delete the old files that chartae wrote, and put the new ones in their place. Files of other programs stay.

    Args:
        out: folder of the old files.

    Raises:
        IsADirectoryError, FileExistsError: a folder, a pipe or a device has the name of a new file.
    """
    old, new = manifest.listed(out) or [], manifest.listed(out / NEW) or []
    # some files are listed before they are written, and a short run never writes them
    moved = [*(name for name in new if (out / NEW / name).exists()), manifest.NAME]
    for name in moved:
        if not (out / NEW / name).is_dir():
            check_file(out / name, MOVE_AWAY)
    deleted = sorted({*old} - {*moved})
    replace_text(out / MOVES, json.dumps({"delete": deleted, "move": moved}))
    _move(out, deleted, moved)


def settle(out: Path) -> None:
    """Complete a replacement that was interrupted while its files were moved; usually there is none.

    The list of files may come from a stranger. So it deletes and replaces only files that the manifest of the folder
    lists, or whose names are those of chartae's own files.

    Args:
        out: folder of the old files.

    Raises:
        InUse: another process is doing so.
        Damaged: the list of files is damaged, or would replace a file that chartae did not write.
        IsADirectoryError, FileExistsError: a folder, a pipe or a device has the name of a new file.
    """
    if not (out / MOVES).is_file():
        return
    with lock.writer(out):
        if not (out / MOVES).is_file():  # another process has completed it
            return
        remedy = "Delete it, and write the folder again (--overwrite)"
        with read_json(out / MOVES, remedy) as (values, place):
            delete, move = (place.at(key).texts(values.get(key)) for key in ("delete", "move"))
        listed = manifest.listed(out) or []
        for name in move:
            is_known = name in listed or _is_ours(name)
            if not is_known and os.path.lexists(out / NEW / name) and os.path.lexists(out / name):
                raise Damaged(f"{out / MOVES} would replace {out / name}, which chartae did not write. {remedy}.")
        # the manifest is moved last: once it is the new one, every old file has been deleted
        _move(out, [name for name in delete if name in listed], move)


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
            if (out / name).is_dir():
                raise FileExistsError(f"{out / name} holds files that chartae did not write. Move them away.")
        elif part.exists():
            check_file(out / name, MOVE_AWAY)
        with suppress(FileNotFoundError):
            os.replace(part, out / name)
    sync_folder(out)
    _remove(source)
    (out / MOVES).unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """Remove the files of chartae in a folder, and the folder if it holds no others; a link to it is not followed."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        with suppress(Damaged):  # then only the names of the files say whose they are
            for name in manifest.listed(folder) or []:
                manifest.remove(folder, name)
        for path in [*folder.iterdir()]:
            if path.is_dir() and not path.is_symlink():
                with suppress(Damaged):
                    manifest.clear(path)
                with suppress(OSError):
                    path.rmdir()
            elif _is_ours(path.name) or is_leftover(path.name):
                path.unlink()
        with suppress(OSError):  # it holds more
            folder.rmdir()


def _is_ours(name: str) -> bool:
    return OURS.fullmatch(name) is not None
