"""Run folders, made and read back."""

from __future__ import annotations

from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path

from chartae import densities as density_table
from chartae.data.kinds import Kind
from chartae.records import manifest
from chartae.records.files import read_tensors, replace_text
from chartae.records.settings import Settings
from chartae.runs.run import Run, built_from, condition_of
from chartae.training.history import read_log

__all__ = ["load", "prepare"]

#: files that training goes on writing to
CHANGING = ("log.jsonl", "checkpoint.safetensors")
#: what a resumed run may have other than the one whose checkpoint it takes up
MAY_DIFFER = ("epochs", "root", "version")


def prepare(folder: Path, settings: Settings, overwrite: bool, resume: bool) -> None:
    """The folder of a new run; nothing is lost unless asked for.

    Raises:
        FileExistsError: the folder is not empty, is a file, or has no manifest of what may be overwritten.
        FileNotFoundError: there is no run to resume.
        ValueError: the run to resume has other settings or more epochs, or `overwrite` and `resume` are both given.
    """
    if overwrite and resume:
        raise ValueError("overwrite and resume are both given; overwrite starts anew, resume continues: give one")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a run needs a folder")
    if resume:
        former = Settings.read(folder / "run.toml") if (folder / "run.toml").is_file() else None
        if former is None:
            raise FileNotFoundError(f"{folder} holds no run to resume")
        for f in fields(Settings):
            old, new = getattr(former, f.name), getattr(settings, f.name)
            if f.name not in MAY_DIFFER and old != new:
                raise ValueError(f"the run in {folder} has {f.name} = {old!r}, this one {new!r}; resume needs the same")
        if settings.epochs < former.epochs:
            raise ValueError(
                f"the run in {folder} has epochs = {former.epochs}, this one {settings.epochs}; resume with as many or "
                "more"
            )
        # run.toml keeps describing the existing weights until new ones are written
        manifest.register(folder, *CHANGING, changing=True)
        return
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "run.toml").is_file():
            raise FileExistsError(f"{folder} is not empty and holds no run; choose a new folder")
        if not overwrite:
            raise FileExistsError(f"{folder} holds a run; choose a new folder, or say overwrite or resume")
        if manifest.listed(folder) is None:
            raise FileExistsError(
                f"{folder} has no {manifest.NAME}, which says what belongs to the run in it; delete the folder, or "
                "choose a new one"
            )
        manifest.clear(folder)
    replace_text(folder / "run.toml", settings.to_toml())
    manifest.register(folder, "run.toml")
    manifest.register(folder, *CHANGING, changing=True)


def load(folder: str | Path, *, device: str = "cpu") -> Run:
    """Read a run folder back.

    Args:
        folder: as `fit` wrote it.
        device: where the model goes.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: a file of it is damaged, foreign, was changed since it was written, or does not fit the others.
    """
    folder = Path(folder)
    if not (folder / "run.toml").is_file():
        raise FileNotFoundError(f"there is no run in {folder} (no run.toml)")
    settings = Settings.read(folder / "run.toml")
    if not (folder / "weights.safetensors").is_file():
        unfinished = (folder / "checkpoint.safetensors").is_file()
        hint = "its training did not end; continue it with resume" if unfinished else "fit it again"
        raise FileNotFoundError(f"the run in {folder} has no weights: {hint}")
    names = manifest.listed(folder)
    if names is None:
        names = [path.name for path in folder.glob("density.*.safetensors")]
    files = {name.split(".")[1]: folder / name for name in sorted(names) if fnmatch(name, "density.*.safetensors")}
    logs = [name for name in names if name == "log.jsonl"]
    manifest.verify(folder, "run.toml", "weights.safetensors", *logs, *(path.name for path in files.values()))
    tensors, facts = read_tensors(folder / "weights.safetensors", kind="weights")
    if facts.get("recipe") != settings.recipe:
        raise ValueError(
            f"the weights in {folder} are of recipe {facts.get('recipe')!r}, run.toml says {settings.recipe!r}"
        )
    if sum(t.numel() for t in tensors.values()) == 0:
        raise ValueError(f"the weights in {folder} are empty")
    try:
        built = built_from(settings)
        built.objective.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the weights in {folder} do not fit its run.toml: {error}") from error
    objective = built.objective.to(device).eval()
    densities = {name: density_table.load(path, device=device) for name, path in files.items()}
    kept = facts.get("kept")
    return Run(
        settings, Kind.from_dict(settings.kind), objective.model, objective, read_log(folder), densities, folder,
        kept=kept if isinstance(kept, int) else None, condition=condition_of(settings),
    )  # fmt: skip
