"""Check every file of a run folder: against the manifest, against its own digest, and against the weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chartae.records import manifest
from chartae.records.comparison import Comparison
from chartae.records.files import Damaged, read_text
from chartae.records.log import LOG, LogFile
from chartae.records.parsing import Value
from chartae.records.replacing import settle
from chartae.records.results import Results
from chartae.records.run_folder import WEIGHTS, weights_digest
from chartae.records.tensors import kind_of, read_header, read_tensors

__all__ = ["Verified", "verify"]

WHOLE, CHANGING, WRONG, FOREIGN = "whole", "unfinished", "wrong", "not chartae's"
#: kinds of files that are derived from weights
DERIVED = ("density", "residuals")


@dataclass(frozen=True)
class Verified:
    """A file of a folder, and whether it is as chartae wrote it.

    Attributes:
        name: path of the file, relative to the folder.
        state: ``"whole"``; ``"unfinished"`` if chartae still writes to it, or was interrupted; ``"wrong"``; or ``"not
            chartae's"`` for a file that no manifest lists.
        reason: what is wrong; empty (default) otherwise.
    """

    name: str
    state: str
    reason: str = ""

    def to_dict(self) -> dict[str, Value]:
        """The values as plain JSON types."""
        return {"name": self.name, "state": self.state, **({"reason": self.reason} if self.reason else {})}


def verify(folder: str | Path) -> list[Verified]:
    """Check every file of a run folder, or of a comparison with its runs.

    The runs of a comparison are those that comparison.json names, each of which must be there, and those in folders
    ``RECIPE/seed-N``, even if comparison.json lacks them.

    Files are compared with the sha256 in the manifest. Files of tensors are also compared with the digest in their
    header, which is all there is for a checkpoint; settings, densities, residuals and results with the weights that
    they belong to; and the log with the last checkpoint. A stranger who changes a file can renew all of these: this
    finds accidents, not forgery. A replacement of the run that was interrupted is completed first.

    Args:
        folder: the folder.

    Returns:
        The files, in order of their names.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no manifest.
        InUse: another process replaces the run.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from chartae.records import manifest
    >>> from chartae.records.verification import verify
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("a")
    ...     manifest.register(folder, "a.txt")
    ...     before = verify(folder)
    ...     _ = Path(folder, "a.txt").write_text("b")
    ...     after = verify(folder)
    >>> [file.state for file in before], [file.state for file in after]
    (['whole'], ['wrong'])
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; expected the folder of a run or of a comparison")
    settle(folder)
    if not (folder / manifest.NAME).exists():
        raise FileNotFoundError(f"{folder} has no {manifest.NAME}, by which its files are verified")
    checked = {file.name: file for file in _listed(folder)}
    for path in sorted(folder.iterdir()):
        if path.name not in (*checked, manifest.NAME) and not path.is_dir():
            checked[path.name] = Verified(path.name, FOREIGN)
    for run in dict.fromkeys((*_folders_in(folder), *_runs_in(folder))):
        missing = _missing(run, folder)
        files = [Verified("", WRONG, missing)] if missing else verify(run)
        for file in files:
            name = str((run / file.name).relative_to(folder))
            checked[name] = Verified(name, file.state, file.reason)
    return [checked[name] for name in sorted(checked)]


def _listed(folder: Path) -> Iterator[Verified]:
    """The files that the manifest lists, checked."""
    try:
        names = manifest.listed(folder) or []
    except ValueError as error:
        yield Verified(manifest.NAME, WRONG, str(error))
        return
    for name in names:
        path, changing = folder / name, manifest.changes(folder, name)
        try:
            manifest.verify(folder, name)
            if path.is_file() or path.is_symlink():
                _check(path)
            elif changing:
                continue  # listed before it is written
        except ValueError as error:
            yield Verified(name, WRONG, str(error))
            continue
        yield Verified(name, CHANGING if changing else WHOLE)


def _check(path: Path) -> None:
    """Raise Damaged if a file does not agree with itself, or with the others of its run."""
    folder = path.parent
    if path.suffix == ".safetensors":
        kind = kind_of(path)
        _, facts = read_tensors(path, kind=kind)
        of = facts.get("of", "") if kind in DERIVED else ""
        _same_weights(path, of)
    elif path.name == LOG:
        _check_log(path)
    elif path.name == "run.toml":
        weights = folder / WEIGHTS
        text = read_header(weights, kind="weights")[1].get("settings") if weights.is_file() else None
        if text is not None and text != read_text(path) and not manifest.changes(folder, path.name):
            raise Damaged(f"{path} is not that of the weights beside it")
    elif path.name == "results.json" and (folder / "run.toml").is_file():
        _same_weights(path, Results.read(path).of)


def _same_weights(path: Path, of: str) -> None:
    if of and of != weights_digest(path.parent):
        raise Damaged(f"{path} is of other weights than those beside it")


def _check_log(path: Path) -> None:
    """Raise Damaged if the rows up to the last checkpoint have changed since it was written."""
    last = path.parent / "checkpoint.safetensors"
    facts = read_header(last, kind="checkpoint")[1].get("log", {}) if last.is_file() else {}
    size, digest = facts.get("size"), facts.get("digest")
    if isinstance(size, int) and LogFile(path).digest_of(size) != digest:
        raise Damaged(f"{path} has changed since the checkpoint was written")


def _folders_in(folder: Path) -> list[Path]:
    """The folders that the manifest lists, such as that of a post-mortem; each has a manifest of its own."""
    try:
        paths = [folder / name for name in manifest.listed(folder) or []]
    except ValueError:  # told already
        return []
    return [path for path in paths if not path.is_symlink() and (path / manifest.NAME).exists()]


def _runs_in(folder: Path) -> list[Path]:
    """The run folders of a comparison: those that comparison.json names, existing or not, and those that lie there."""
    try:
        rows = Comparison.read(folder / "comparison.json").rows
    except (FileNotFoundError, ValueError):  # told already, as a file that is missing or has changed
        rows = ()
    named = [row.folder for row in rows if row.folder not in (None, folder)]
    return [*named, *(path for path in sorted(folder.glob("*/seed-*")) if _is_run(path))]


def _is_run(path: Path) -> bool:
    """Whether a path ``RECIPE/seed-N`` is the folder of a run, and no link."""
    if path.is_symlink() or path.parent.is_symlink() or not re.fullmatch(r"seed--?\d+", path.name):
        return False
    return any((path / name).is_file() for name in (manifest.NAME, WEIGHTS))


def _missing(run: Path, folder: Path) -> str:
    """Why the folder of a run in a folder cannot be checked; empty if it can."""
    again = "`chartae compare` with the same --out trains it again"
    if run.resolve() != folder.resolve() / run.relative_to(folder):  # could lead back to the folder, without end
        return f"the path to this run is a link; expected a folder. Delete the link, and {again}"
    if not run.is_dir():
        return f"the folder of this run is missing; {again}"
    if not (run / manifest.NAME).is_file():
        return f"the folder has no {manifest.NAME}, by which its files are verified; delete the folder, and {again}"
    return ""
