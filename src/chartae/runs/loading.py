"""Load runs from their folders."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from chartae import densities as density_table
from chartae.data.kinds import Kind
from chartae.records import manifest
from chartae.records.files import Damaged, quoted, read_text, reading
from chartae.records.log import LOG
from chartae.records.replacing import settle
from chartae.records.run_folder import WEIGHTS
from chartae.records.settings import Settings
from chartae.records.tensors import read_header, read_tensors
from chartae.runs.residuals import Residuals
from chartae.runs.run import Run, condition_of
from chartae.runs.sizes import built_for
from chartae.runs.writing import RESIDUALS
from chartae.training import checkpoint
from chartae.training.history import read_rows

__all__ = ["load"]


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
    settle(folder)
    if not (folder / "run.toml").is_file():
        raise FileNotFoundError(f"there is no run in {folder} (it has no run.toml); give the folder of a run")
    if not (folder / WEIGHTS).is_file():
        unfinished = checkpoint.exists(folder)
        hint = "its training is unfinished; continue it with resume" if unfinished else "fit it again"
        raise FileNotFoundError(f"the run in {folder} has no weights: {hint}")
    names = manifest.listed(folder)
    if names is None:
        names = [path.name for path in folder.glob("density.*.safetensors")]
    files = {name.split(".")[1]: folder / name for name in sorted(names) if fnmatch(name, "density.*.safetensors")}
    logs = [name for name in names if name == LOG]
    residual = [RESIDUALS] if RESIDUALS in names or (folder / RESIDUALS).is_file() else []
    manifest.verify(folder, "run.toml", WEIGHTS, *logs, *residual, *(path.name for path in files.values()))
    path = folder / WEIGHTS
    _, facts, mark = read_header(path, kind="weights")
    settings = _settings(folder, facts)
    objective = built_for(settings, path)
    tensors, _ = read_tensors(path, kind="weights")
    with reading(path, "file of weights that match run.toml"):
        objective.load_state_dict(tensors)
    objective = objective.to(device).eval()
    current = [name for name in (*residual, *(path.name for path in files.values())) if _belongs(folder / name, mark)]
    shape = objective.model.code_shape
    fitted = {name: file for name, file in files.items() if file.name in current}
    densities = {name: density_table.load(file, device=device, shape=shape) for name, file in fitted.items()}
    kept, log = facts.get("kept"), facts.get("log")
    residuals = Residuals.load(folder / RESIDUALS, settings.shape) if RESIDUALS in current else None
    return Run(
        settings, Kind.from_dict(settings.kind), objective.model, objective,
        read_rows(folder, log if isinstance(log, int) else None), densities, folder,
        kept=kept if isinstance(kept, int) else None, condition=condition_of(settings), residuals=residuals,
    )  # fmt: skip


def _settings(folder: Path, facts: Mapping[str, object]) -> Settings:
    """The settings of the weights in a folder, which are those of its run.toml unless its writer was killed."""
    path, text = folder / "run.toml", facts.get("settings")
    settings = Settings.read(path)
    if isinstance(text, str) and text != read_text(path):
        if not manifest.changes(folder, "run.toml"):
            raise Damaged(f"{path} is not that of the weights beside it. Restore the files, or fit the run again")
        settings = Settings.parse(text, folder / WEIGHTS)
    if facts.get("recipe") != settings.recipe:
        raise Damaged(
            f"the weights in {folder} are of recipe {quoted(facts.get('recipe'))}; expected {quoted(settings.recipe)}, "
            "as in run.toml. Restore the files, or fit the run again"
        )
    return settings


def _belongs(path: Path, mark: str) -> bool:
    """Whether a file that was derived from weights belongs to those with this digest; warn of one that does not."""
    try:
        of = read_header(path, kind="residuals" if path.name == RESIDUALS else "density")[1].get("of", "")
    except FileNotFoundError:
        return False
    if of in ("", mark):  # an older version did not store it
        return True
    warnings.warn(f"{path} belongs to other weights and is left out; fit it again.", UserWarning, stacklevel=3)
    return False
