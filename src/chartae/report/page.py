"""The page that belongs to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

from chartae.records import lock, manifest
from chartae.records.files import replace_text
from chartae.records.run_folder import RunFolder
from chartae.records.space import check_output
from chartae.report import comparison, run, strings

__all__ = ["write"]

#: the page of a run, by its kind of data or by the main metric of its results; all others get the page of points
PAGES: Mapping[str, Callable[[RunFolder], str]] = {
    "strings": strings.page,
}


def _run_page(folder: Path) -> str:
    run_folder = RunFolder.read(folder)
    names = (run_folder.kind, run_folder.scored.metric)
    return next((PAGES[name] for name in names if name in PAGES), run.page)(run_folder)


#: the page of a folder, by the first of these files that lies in it
FOLDERS: Mapping[str, Callable[[Path], str]] = {
    "comparison.json": comparison.page,
    "run.toml": _run_page,
}


def write(folder: str | Path, out: str | Path) -> Path:
    """Write the report of a run, or of a comparison of runs, as one self-contained HTML file.

    A run folder holds ``run.toml`` and, if they have been written, ``log.jsonl``, ``results.json`` and
    ``pictures.npz``. A comparison folder holds ``comparison.json`` and run folders. The page names what is missing. It
    contains its pictures and styles, has no scripts, and opens offline. The file is written completely or not at all.

    Args:
        folder: folder of a run or of a comparison.
        out: HTML file to write; its folder is created if necessary.

    Returns:
        The path of the file, `out`.

    Raises:
        FileNotFoundError: the folder does not exist, or holds neither a run nor a comparison.
        ValueError: `out` is a file of the run itself, a file in the folder is damaged, or a comparison refers to a run
            outside its folder.
        OSError: `out` cannot be written, for example because it is a folder, a pipe or a device; raised before any
            work.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from chartae import report
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run.toml").write_text('recipe = "vae"')
    ...     page = report.write(folder, Path(folder, "report.html"))
    ...     "Not evaluated yet" in page.read_text(encoding="utf-8")
    True
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; expected the folder of a run or of a comparison")
    page = next((page for name, page in FOLDERS.items() if (folder / name).is_file()), None)
    if page is None:
        raise FileNotFoundError(
            f"{folder} holds neither run.toml nor comparison.json; expected the folder of a run or of a comparison"
        )
    manifest.check_free(folder, out)
    check_output(out)
    inside = out.parent.resolve() == folder.resolve()
    with lock.writer(folder) if inside else nullcontext():
        replace_text(out, page(folder))
        if inside:
            manifest.register(folder, out.name)
    return out
