"""Which page a folder gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from chartae.records import manifest
from chartae.records.files import replace_text
from chartae.records.run_folder import RunFolder
from chartae.report import comparison, run, strings

__all__ = ["write"]

#: the page of a run by its kind of data, or by the metric that its results name; all others have the page of points
PAGES: Mapping[str, Callable[[RunFolder], str]] = {
    "strings": strings.page,
}


def _run(folder: Path) -> str:
    read = RunFolder.read(folder)
    names = (read.kind, read.scored.metric)
    return next((PAGES[name] for name in names if name in PAGES), run.page)(read)


#: what the folder is by a file that lies in it; the first one that does
FOLDERS: Mapping[str, Callable[[Path], str]] = {
    "comparison.json": comparison.page,
    "run.toml": _run,
}


def write(folder: str | Path, out: str | Path) -> Path:
    """Write the report of a run, or of a comparison of runs, as one HTML file, whole or not at all.

    A run folder holds ``run.toml`` and, as far as it got, ``log.jsonl``, ``results.json`` and
    ``pictures.npz``; a comparison folder holds ``comparison.json`` and run folders. What is absent is said on
    the page. The page has no scripts and asks nothing of any network: its pictures and its style are in it.

    Args:
        folder: the run or the comparison.
        out: the file to write; its folder is made where it is absent.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: no such folder, or one that holds neither a run nor a comparison.
        ValueError: a file that is damaged, or a comparison that points outside its own folder.
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give the folder of a run or of a comparison")
    page = next((page for name, page in FOLDERS.items() if (folder / name).is_file()), None)
    if page is None:
        raise FileNotFoundError(f"{folder} holds neither run.toml nor comparison.json: it is no run and no comparison")
    replace_text(out, page(folder))
    if out.parent.resolve() == folder.resolve():
        manifest.register(folder, out.name)
    return out
