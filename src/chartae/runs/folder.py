"""Create run folders, continue the runs in them, and replace them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from chartae.data.kinds import Kind
from chartae.records import lock, manifest, replacing
from chartae.records.files import Damaged, check_folder, is_leftover, replace_text
from chartae.records.log import LOG
from chartae.records.run_folder import WEIGHTS
from chartae.records.settings import Settings
from chartae.records.tensors import read_header, read_tensors
from chartae.training import checkpoint

__all__ = ["Target", "content", "held", "settings_in", "target_of"]

#: files that training keeps writing to
CHANGING = (LOG, *checkpoint.FILES)
#: names of unfinished files of older versions
OLD_LEFTOVER = re.compile(r"\.[\w.]+\.part(\.npz)?")
#: settings in which a resumed run may differ from the run in the folder
MAY_DIFFER = ("epochs", "root", "version", "notes", "threads", "densities", "start", "files", "to_files")
#: settings of the training in which it may differ
MAY_DIFFER_IN_TRAINING = ("patience", "device", "checkpoint_every")
#: settings that are fingerprints -> of what, in the plural
_OF_DATA = {
    "fingerprint": "the training data",
    "to_fingerprint": "the training data of the other domain",
}


@dataclass(frozen=True)
class Target:
    """Where a run is written, and how it begins.

    Attributes:
        out: folder of the run.
        folder: folder that training writes to: `out`, or a folder inside it if the run in `out` is replaced.
        start: ``"new"``, ``"resumed"`` from a checkpoint, or ``"complete"`` if there is nothing left to train.
    """

    out: Path
    folder: Path
    start: Literal["new", "resumed", "complete"] = "new"

    def prepare(self, settings: Settings) -> None:
        """Write the settings of a new run, or mark the files of a resumed one as changing."""
        if self.start == "new":
            if self.folder != self.out:
                replacing.begin(self.out)
            replace_text(self.folder / "run.toml", settings.to_toml())
            manifest.register(self.folder, "run.toml")
        # run.toml keeps describing the existing weights until new ones are written
        manifest.register(self.folder, *CHANGING, changing=True)

    def finish(self) -> None:
        """Put a replacement that is complete in the place of the former run. Files of other programs stay."""
        if self.folder != self.out:
            replacing.finish(self.out)


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Be the only writer of a run's folder within the block, and complete what a killed one left half done.

    Raises:
        InUse: another process writes to the folder.
        IsADirectoryError: a folder has the name of a file of the run.
        FileExistsError: `out`, or a folder above it, is a file, or a link to nothing.
    """
    check_folder(out, "a folder for the run")
    with lock.writer(out) as former:
        if former is not None:
            warnings.warn(f"{out} was locked by {former}, which was killed.", UserWarning, stacklevel=3)
        replacing.settle(out)
        replacing.check(out)
        yield


def content(folder: Path) -> list[str]:
    """Names of what is in a folder, besides locks and unfinished files; empty if there is no folder."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [n for n in names if n != lock.NAME and not is_leftover(n) and not OLD_LEFTOVER.fullmatch(n)]


def settings_in(folder: Path) -> Settings:
    """The settings of the run in a folder: those of its weights, or of run.toml if the weights hold none.

    The two differ if a writer was killed between the weights and run.toml.

    Raises:
        FileNotFoundError: there is no run.toml.
        Damaged: a file is damaged.
    """
    settings, weights = Settings.read(folder / "run.toml"), folder / WEIGHTS
    text = read_header(weights, kind="weights")[1].get("settings") if weights.is_file() else None
    if isinstance(text, str) and manifest.changes(folder, "run.toml"):
        return Settings.parse(text, weights)
    return settings


def target_of(out: Path, settings: Settings, *, overwrite: bool = False, resume: bool = False) -> Target:
    """Decide where a run is written and how it begins; changes nothing.

    Args:
        out: folder of the run.
        settings: settings of the run.
        overwrite: whether to replace a run in the folder, which stays until the new one is complete.
        resume: whether to continue the run in the folder; without a checkpoint there it is started.

    Raises:
        FileExistsError: the folder is not empty, cannot be one, or has no manifest of the files that may be deleted.
        IsADirectoryError: a folder has the name of a file of the run.
        ValueError: the run to resume has other settings or data, or no checkpoint; or `overwrite` and `resume` are both
            given.
    """
    if overwrite and resume:
        raise ValueError("overwrite and resume are both given; give one: overwrite starts anew, resume continues")
    check_folder(out, "a folder for the run")
    replacing.check(out)
    if not content(out):
        return Target(out, out)
    if not (out / "run.toml").is_file():
        if overwrite and "run.toml" in (manifest.listed(out) or ()):  # a run whose run.toml is lost
            return Target(out, out / replacing.NEW)
        raise FileExistsError(f"{out} is not empty and holds no run; choose a new folder")
    if resume:
        return _resumed(out, settings)
    if not overwrite:
        raise FileExistsError(f"{out} holds a run; choose a new folder, or set overwrite or resume")
    if manifest.listed(out) is None:
        raise FileExistsError(
            f"{out} has no {manifest.NAME}, which lists the files of the run in it; delete the folder, or choose a new "
            "one"
        )
    return Target(out, out / replacing.NEW)


def _resumed(out: Path, settings: Settings) -> Target:
    """How the run in a folder is resumed."""
    new = out / replacing.NEW
    has_new = not new.is_symlink() and (new / "run.toml").is_file()
    if has_new and _change(Settings.read(new / "run.toml"), settings) is None:
        return Target(out, new, "resumed" if checkpoint.exists(new) else "new")
    former, has_weights = Settings.read(out / "run.toml"), (out / WEIGHTS).is_file()
    if not checkpoint.exists(out) and not has_weights:
        if former.start and not settings.start:
            raise ValueError(
                f"the run in {out} starts with the weights of another run, and has no checkpoint yet; give init again"
            )
        return Target(out, out)
    _refuse_other(former, settings, out)
    if settings.start not in ("", former.start):
        began = "those of another run" if former.start else "random ones"
        raise ValueError(
            f"init names weights that the run in {out} has not begun with; expected {began}, as it did. Leave it out, "
            "or choose a new folder"
        )
    if has_weights and checkpoint.exists(out) and (damage := _damage(out / WEIGHTS)):
        warnings.warn(f"{damage}; they are written again from the checkpoint", UserWarning, stacklevel=4)
        return Target(out, out, "resumed")
    if has_weights and _is_complete(out / WEIGHTS, former, settings):
        return Target(out, out, "complete")
    if not checkpoint.exists(out):
        raise ValueError(
            f"epochs is {settings.epochs}, and the run in {out} has {former.epochs}, but no checkpoint to continue "
            f"from; restore it, or fit a new run that starts with these weights (init={str(out)!r})"
        )
    return Target(out, out, "resumed")


def _damage(weights: Path) -> str:
    """Why the weights in a file cannot be read; empty if they can."""
    try:
        read_tensors(weights, kind="weights")
    except Damaged as error:
        return str(error)
    return ""


def _is_complete(weights: Path, former: Settings, settings: Settings) -> bool:
    """Whether the weights in a folder are those that the settings ask for."""
    _, facts, _ = read_header(weights, kind="weights")
    trained, stopped = facts.get("epochs", former.epochs), facts.get("stopped", "")
    early = str(stopped).startswith("no better") and settings.epochs >= former.epochs
    return settings.epochs <= trained or (early and settings.epochs == former.epochs)


def _change(former: Settings, settings: Settings) -> tuple[str, object, object] | None:
    """The first setting in which a run differs from the one that it is to continue; None if there is none."""
    new, old = (_comparable(s) for s in (settings, _moved(former, settings)))
    return new.changed(old, MAY_DIFFER)


def _moved(former: Settings, settings: Settings) -> Settings:
    """The former settings with the new name of the data, where these have the same content."""
    if former.fingerprint and former.fingerprint == settings.fingerprint:
        former = replace(former, data=settings.data)
    if former.to_fingerprint and former.to_fingerprint == settings.to_fingerprint:
        former = replace(former, to=settings.to)
    return former


def _refuse_other(former: Settings, settings: Settings, folder: Path) -> None:
    """Raise ValueError if a run to resume has other settings, or else other data, than the run in the folder."""
    # other settings change the data too, and other data the means in their kind
    movable = (*MAY_DIFFER, *_OF_DATA, "kind", "to_kind", "training")
    former = _moved(former, settings)
    changed = settings.changed(former, movable)
    for name, what in _OF_DATA.items():
        if changed is None and getattr(settings, name) != getattr(former, name):
            raise ValueError(
                f"{what} are not those of the run in {folder} that is resumed, although they have the same name or"
                " path. Give the data of the fit, or choose a new folder"
            )
    components, others = (s.densities.get("components") for s in (settings, former))
    if changed is None and components not in (None, others):
        changed = "components", components, others
    if changed := changed or _change(former, settings):
        name, new, old = changed
        raise ValueError(
            f"{name} is {new!r}; expected {old!r}, as in the run in {folder} that is resumed. Give the same value, or "
            "choose a new folder"
        )


def _comparable(settings: Settings) -> Settings:
    """The settings as this version writes them, without those of the training that may change.

    An older version may not have known every key of a kind of data.
    """
    kind, to_kind = (Kind.from_dict(kind).to_dict() if kind else {} for kind in (settings.kind, settings.to_kind))
    training = {k: v for k, v in settings.training.items() if k not in MAY_DIFFER_IN_TRAINING}
    return replace(settings, kind=kind, to_kind=to_kind, training=training)
