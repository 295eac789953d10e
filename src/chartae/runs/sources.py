"""The data of a run, read again from where its settings say they are, which a stranger may have written."""

from __future__ import annotations

import os
from pathlib import Path

from chartae.data import Dataset, Reading
from chartae.data import read as read_data
from chartae.data.kinds import Kind
from chartae.data.sources import Source, is_named
from chartae.records.files import Damaged, quoted
from chartae.records.settings import IN_MEMORY, Plain, Settings

__all__ = ["reread", "source_facts"]

#: what to do about data that are not read on the word of run.toml
_REMEDY = "Restore them, or name the data to read (data=PATH), or the folder of a named data set (data_root=FOLDER)"


def source_facts(data: str, root: str) -> dict[str, Plain]:
    """The files of data that were just read, as `Settings.files` stores them; empty for data without files."""
    source = Source.of(data, root or None)
    return {} if source is None else source.to_dict()


def reread(
    settings: Settings, kind: Kind, reading: Reading, root: str | Path | None = None, *, other: bool = False
) -> Dataset:
    """Read the data of a run again, without following its settings blindly.

    Where the settings name a file or a folder, it must be a regular one, not a link, and its files must have the names,
    sizes and contents that were stored at the fit, before anything in them is parsed. Nothing is downloaded. A folder
    that the user names, in `root` or in the environment, is trusted. In the end the caller compares the examples with
    the fingerprint in the settings.

    Args:
        settings: settings of the run.
        kind: kind of the data.
        reading: options for reading them.
        root: folder of named data sets; None (default) for that of the fit, or those where `chartae.data.load` looks.
        other: whether to read the data of the other domain of a run that translates; default False.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: the data were in memory, or the files are not those of the fit.
    """
    name = settings.to if other else settings.data
    facts = settings.to_files if other else settings.files
    if name == IN_MEMORY:
        raise ValueError("this run was fitted to in-memory data, which it does not keep; pass the data again")
    if not (facts or (settings.to_fingerprint if other else settings.fingerprint)):
        raise ValueError(f"the run has no fingerprint of its data, {quoted(name, 200)}. {_REMEDY}")
    place, is_trusted = _place(name, settings.root, root)
    if not is_trusted and facts:
        try:
            Source.from_dict(facts).check(name, place)
        except (OSError, ValueError) as error:
            raise type(error)(f"{_said(error)}. {_REMEDY}") from None
    try:
        return read_data(name, kinds=[type(kind)], root=place, reading=reading)
    except Exception:
        if is_trusted or facts:
            raise
        # without a digest any file may have been parsed: what the parser says quotes it
        raise Damaged(
            f"{quoted(name, 200)} cannot be read as the data of this run, which an older version fitted. {_REMEDY}"
        ) from None


def _said(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"{quoted(error.filename or '', 200)} is not there, or cannot be read ({error.strerror})"
    return str(error).rstrip(".")


def _place(name: str, stored: str, root: str | Path | None) -> tuple[Path | None, bool]:
    """The folder that named data are read from, None for other data; and whether it is the user who names it.

    Raises:
        FileNotFoundError: the files of named data are in none of the folders.
    """
    if not is_named(name):
        return None, False
    environment = os.environ.get("CHARTAE_DATA")
    cache = (Path(environment).expanduser() if environment else None, True)
    places = [(Path(root).expanduser(), True)] if root else [*([(Path(stored), False)] if stored else []), cache]
    missing = ""
    for place, is_trusted in places:
        try:
            folder = Source.folder(name, place)
        except FileNotFoundError as error:
            missing = missing or str(error)
        else:
            return folder, is_trusted
    raise FileNotFoundError(f"{missing.rstrip('.')}. It is not downloaded on the word of a run folder. {_REMEDY}")
