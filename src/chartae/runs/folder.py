"""Run folders, made and read back."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from chartae import densities as density_table
from chartae.records.files import read_tensors, replace_text
from chartae.runs.run import Run, Settings

__all__ = ["FILES", "load", "prepare", "read_log"]

#: every file that a run writes
FILES = (
    "run.toml",
    "weights.safetensors",
    "checkpoint.safetensors",
    "log.jsonl",
    "results.json",
    "pictures.npz",
    "report.html",
    "diagnose.json",
    "score.json",
    "score-field.png",
    "score-dimension.png",
)


def prepare(folder: Path, settings: Settings, overwrite: bool, resume: bool) -> None:
    """The folder of a new run; nothing is lost unless asked for."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a run needs a folder")
    if resume:
        former = Settings.read(folder / "run.toml") if (folder / "run.toml").is_file() else None
        if former is None:
            raise FileNotFoundError(f"{folder} holds no run to resume")
        for f in fields(Settings):
            old, new = getattr(former, f.name), getattr(settings, f.name)
            if f.name not in ("epochs", "root", "version") and old != new:
                raise ValueError(f"the run in {folder} has {f.name} = {old!r}, this one {new!r}; resume needs the same")
    elif folder.is_dir() and any(folder.iterdir()):
        if not (folder / "run.toml").is_file():
            raise FileExistsError(f"{folder} is not empty and holds no run; choose a new folder")
        if not overwrite:
            raise FileExistsError(f"{folder} holds a run; choose a new folder, or say overwrite or resume")
        for path in [*(folder / name for name in FILES), *folder.glob("density.*.safetensors")]:
            path.unlink(missing_ok=True)
    if not resume:  # of what is gone on with, it is what the weights there are of until others are written
        replace_text(folder / "run.toml", settings.to_toml())


def load(folder: str | Path, *, device: str = "cpu") -> Run:
    """Read a run folder back.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: a file of it is damaged, foreign, or does not fit the others.
    """
    folder = Path(folder)
    if not (folder / "run.toml").is_file():
        raise FileNotFoundError(f"there is no run in {folder} (no run.toml)")
    settings = Settings.read(folder / "run.toml")
    if not (folder / "weights.safetensors").is_file():
        unfinished = (folder / "checkpoint.safetensors").is_file()
        hint = "its training did not end; go on with resume" if unfinished else "fit it again"
        raise FileNotFoundError(f"the run in {folder} has no weights: {hint}")
    tensors, facts = read_tensors(folder / "weights.safetensors", kind="weights")
    if facts.get("recipe") != settings.recipe:
        raise ValueError(
            f"the weights in {folder} are of recipe {facts.get('recipe')!r}, run.toml says {settings.recipe!r}"
        )
    if settings.latent_dim * math.prod(settings.shape) > 0 and sum(t.numel() for t in tensors.values()) == 0:
        raise ValueError(f"the weights in {folder} are empty")
    try:
        cooked = settings.cook()
        cooked.objective.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the weights in {folder} do not fit its run.toml: {error}") from error
    cooked.objective.to(device).eval()
    files = {path.name.split(".")[1]: path for path in sorted(folder.glob("density.*.safetensors"))}
    fitted = {name: density_table.load(path, device=device) for name, path in files.items()}
    kept = facts.get("kept")
    return Run(
        settings, cooked.objective.model, cooked.objective, cooked.own, read_log(folder), fitted, folder,
        kept=kept if isinstance(kept, int) else None,
    )  # fmt: skip


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log; an empty list where there is none."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
