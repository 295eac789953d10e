"""Write runs to their folders: the weights first, which hold their settings, then what is derived from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from chartae import densities as density_table
from chartae.densities import Density
from chartae.objectives import Objective
from chartae.records import lock, manifest
from chartae.records.files import replace_text
from chartae.records.log import LOG, LogFile
from chartae.records.run_folder import WEIGHTS, weights_digest
from chartae.records.settings import Settings
from chartae.records.tensors import write_tensors
from chartae.runs.residuals import Residuals
from chartae.training import History, Row, checkpoint

__all__ = ["RESIDUALS", "write", "write_density", "write_residuals", "write_texts"]

_LOG = logging.getLogger(__name__)

#: the file of the residuals
RESIDUALS = "residuals.safetensors"
#: the files that training itself writes; all others in a run folder are derived from its weights
OF_TRAINING = ("run.toml", WEIGHTS, LOG, *checkpoint.FILES)


class Writable(Protocol):
    """What a run's files are written from, which a `chartae.runs.Run` has."""

    @property
    def folder(self) -> Path | None: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def objective(self) -> Objective: ...

    @property
    def log(self) -> list[Row]: ...

    @property
    def kept(self) -> int | None: ...

    @property
    def history(self) -> History | None: ...

    @property
    def residuals(self) -> Residuals | None: ...

    @property
    def densities(self) -> Mapping[str, Density]: ...


def write(run: Writable) -> None:
    """Write settings, weights, log and residuals of a run to its folder.

    The weights come first, and hold the settings, so that they are complete in themselves; files that are derived from
    earlier weights are then deleted.

    Args:
        run: the run, with a folder.

    Raises:
        OSError: a file cannot be written.
    """
    assert run.folder is not None
    folder, text, history = run.folder, run.settings.to_toml(), run.history
    with lock.writer(folder):
        with manifest.writing(folder, "run.toml", WEIGHTS, LOG):
            log = LogFile(folder / LOG)
            log.write(run.log)
            facts = {
                "recipe": run.settings.recipe, "kept": run.kept, "settings": text, "log": log.size,
                **({} if history is None else {"epochs": history.epochs, "stopped": history.stopped}),
            }  # fmt: skip
            write_tensors(folder / WEIGHTS, run.objective.state_dict(), kind="weights", facts=facts)
            replace_text(folder / "run.toml", text)
            derived = [n for n in sorted({*(manifest.listed(folder) or [])} - {*OF_TRAINING}) if (folder / n).exists()]
            manifest.clear(folder, keep=OF_TRAINING)
        if derived:
            _LOG.info("deleted, as they were of the former weights: %s", ", ".join(derived))
        _register_checkpoints(folder)
        write_residuals(run)


def write_texts(run: Writable) -> None:
    """Write the settings and the log of a run anew, which an interrupted `write` left out, as its weights hold them.

    Args:
        run: the run, with a folder.

    Raises:
        OSError: a file cannot be written.
    """
    assert run.folder is not None
    with lock.writer(run.folder):
        with manifest.writing(run.folder, "run.toml", WEIGHTS, LOG):
            LogFile(run.folder / LOG).write(run.log)
            replace_text(run.folder / "run.toml", run.settings.to_toml())
        _register_checkpoints(run.folder)


def write_density(run: Writable, name: str) -> None:
    """Write a density of a run to its folder.

    Args:
        run: the run, with a folder.
        name: name of the density.

    Raises:
        OSError: the file cannot be written.
    """
    assert run.folder is not None
    file = f"density.{name}.safetensors"
    with lock.writer(run.folder), manifest.writing(run.folder, file):
        density_table.save(run.densities[name], run.folder / file, weights_digest(run.folder))


def write_residuals(run: Writable) -> None:
    """Write the residuals of a run, if it has them, to its folder.

    Args:
        run: the run, with a folder.

    Raises:
        OSError: the file cannot be written.
    """
    assert run.folder is not None
    if run.residuals is not None:
        with lock.writer(run.folder), manifest.writing(run.folder, RESIDUALS):
            run.residuals.save(run.folder / RESIDUALS, weights_digest(run.folder))


def _register_checkpoints(folder: Path) -> None:
    """List the checkpoints as they are after training."""
    manifest.register(folder, *(name for name in checkpoint.FILES if (folder / name).is_file()))
