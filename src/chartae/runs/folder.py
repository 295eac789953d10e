"""Create run folders, and load runs from them."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from chartae import densities as density_table
from chartae.data.kinds import Kind
from chartae.records import manifest
from chartae.records.files import reading, replace_text
from chartae.records.settings import Settings
from chartae.records.tensors import read_tensors
from chartae.runs.residuals import Residuals
from chartae.runs.run import RESIDUALS, Run, condition_of
from chartae.runs.sizes import built_for
from chartae.training.history import read_log

__all__ = ["check_folder", "load", "prepare"]

#: files that training keeps writing to
CHANGING = ("log.jsonl", "checkpoint.safetensors")
#: settings in which a resumed run may differ from the run in the folder
MAY_DIFFER = ("epochs", "root", "version", "notes", "threads", "files", "to_files")
#: settings that are fingerprints -> of what, in the plural
_OF_DATA = {
    "fingerprint": "the training data",
    "to_fingerprint": "the training data of the other domain",
}


def check_folder(folder: Path, settings: Settings, overwrite: bool, resume: bool) -> None:
    """Check that a run can be written to a folder, or resumed in it; changes nothing.

    Args:
        folder: the run folder.
        settings: settings of the run.
        overwrite: whether to delete the files of a run in the folder.
        resume: whether to continue the run in the folder.

    Raises:
        FileExistsError: the folder is not empty, is a file, or has no manifest of the files that may be deleted.
        FileNotFoundError: there is no run to resume.
        ValueError: the run to resume has other settings or more epochs, or `overwrite` and `resume` are both given.
    """
    if overwrite and resume:
        raise ValueError("overwrite and resume are both given; give one: overwrite starts anew, resume continues")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; expected a folder for the run. Choose another name")
    if resume:
        former = Settings.read(folder / "run.toml") if (folder / "run.toml").is_file() else None
        if former is None:
            raise FileNotFoundError(f"{folder} holds no run to resume; leave resume out to start one")
        _refuse_other(former, settings, folder)
        if settings.epochs < former.epochs:
            raise ValueError(
                f"epochs is {settings.epochs}; expected at least {former.epochs}, as in the run in {folder} that is "
                "resumed. Give as many or more"
            )
    elif folder.is_dir() and any(folder.iterdir()):
        if not (folder / "run.toml").is_file():
            raise FileExistsError(f"{folder} is not empty and holds no run; choose a new folder")
        if not overwrite:
            raise FileExistsError(f"{folder} holds a run; choose a new folder, or set overwrite or resume")
        if manifest.listed(folder) is None:
            raise FileExistsError(
                f"{folder} has no {manifest.NAME}, which lists the files of the run in it; delete the folder, or "
                "choose a new one"
            )


def _refuse_other(former: Settings, settings: Settings, folder: Path) -> None:
    """Raise ValueError if a run to resume has other settings, or else other data, than the run in the folder."""
    # other settings change the data too, and other data the means in their kind
    changed = settings.changed(former, (*MAY_DIFFER, *_OF_DATA, "kind", "to_kind"))
    for name, what in _OF_DATA.items():
        if changed is None and getattr(settings, name) != getattr(former, name):
            raise ValueError(
                f"{what} are not those of the run in {folder} that is resumed, although they have the same name or"
                " path. Give the data of the fit, or choose a new folder"
            )
    if changed := changed or _as_written_now(settings).changed(_as_written_now(former), MAY_DIFFER):
        name, new, old = changed
        raise ValueError(
            f"{name} is {new!r}; expected {old!r}, as in the run in {folder} that is resumed. Give the same value, or "
            "choose a new folder"
        )


def _as_written_now(settings: Settings) -> Settings:
    """The settings as this version writes them; an older one may not have known every key of a kind of data."""
    kind, to_kind = (Kind.from_dict(kind).to_dict() if kind else {} for kind in (settings.kind, settings.to_kind))
    return replace(settings, kind=kind, to_kind=to_kind)


def prepare(folder: Path, settings: Settings, overwrite: bool, resume: bool) -> None:
    """Create the folder of a new run, or prepare the folder of a resumed one; delete files only with `overwrite`.

    Args, Raises: those of `check_folder`.
    """
    check_folder(folder, settings, overwrite, resume)
    if resume:
        # run.toml keeps describing the existing weights until new ones are written
        manifest.register(folder, *CHANGING, changing=True)
        return
    if folder.is_dir() and any(folder.iterdir()):
        manifest.clear(folder)
    replace_text(folder / "run.toml", settings.to_toml())
    manifest.register(folder, "run.toml")
    manifest.register(folder, *CHANGING, changing=True)


def load(folder: str | Path, *, device: str = "cpu") -> Run:
    """Load a run from its folder: settings, weights, densities and log.

    Args:
        folder: run folder that `chartae.fit` or `Run.save` wrote.
        device: device of the model, as PyTorch names it; default ``"cpu"``.

    Returns:
        The run, with its model in evaluation mode.

    Raises:
        FileNotFoundError: there is no run in the folder, or its training is unfinished.
        ValueError: a file is damaged, is not chartae's, has changed since it was written, or does not match the others.

    >>> import tempfile
    >>> import torch
    >>> import chartae as ch
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = ch.fit("rae", x, epochs=1, latent_dim=2, components=2, out=folder, progress=False)
    ...     loaded = ch.load(folder)
    >>> torch.equal(loaded.encode(x), run.encode(x)), list(loaded.densities)
    (True, ['gmm', 'normal'])
    """
    folder = Path(folder)
    if not (folder / "run.toml").is_file():
        raise FileNotFoundError(f"there is no run in {folder} (it has no run.toml); give the folder of a run")
    settings = Settings.read(folder / "run.toml")
    if not (folder / "weights.safetensors").is_file():
        unfinished = (folder / "checkpoint.safetensors").is_file()
        hint = "its training is unfinished; continue it with resume" if unfinished else "fit it again"
        raise FileNotFoundError(f"the run in {folder} has no weights: {hint}")
    names = manifest.listed(folder)
    if names is None:
        names = [path.name for path in folder.glob("density.*.safetensors")]
    files = {name.split(".")[1]: folder / name for name in sorted(names) if fnmatch(name, "density.*.safetensors")}
    logs = [name for name in names if name == "log.jsonl"]
    residual = [RESIDUALS] if RESIDUALS in names or (folder / RESIDUALS).is_file() else []
    manifest.verify(
        folder, "run.toml", "weights.safetensors", *logs, *residual, *(path.name for path in files.values())
    )
    objective = built_for(settings, folder / "weights.safetensors")
    tensors, facts = read_tensors(folder / "weights.safetensors", kind="weights")
    with reading(folder / "weights.safetensors", "file of weights that match run.toml"):
        objective.load_state_dict(tensors)
    objective = objective.to(device).eval()
    shape = objective.model.code_shape
    densities = {name: density_table.load(path, device=device, shape=shape) for name, path in files.items()}
    kept = facts.get("kept")
    residuals = Residuals.load(folder / RESIDUALS, settings.shape) if residual else None
    return Run(
        settings, Kind.from_dict(settings.kind), objective.model, objective, read_log(folder), densities, folder,
        kept=kept if isinstance(kept, int) else None, condition=condition_of(settings), residuals=residuals,
    )  # fmt: skip
