"""Start a training with the weights of another run."""

from __future__ import annotations

from pathlib import Path

from chartae.objectives import Objective
from chartae.records import manifest
from chartae.records.replacing import settle
from chartae.records.run_folder import WEIGHTS, weights_digest
from chartae.records.settings import Settings
from chartae.records.tensors import read_tensors

__all__ = ["start_from"]

#: names that a note lists
LISTED = 5


def start_from(objective: Objective, folder: str | Path, recipe: str, latent_dim: int) -> tuple[str, str]:
    """Give an objective the weights of another run, as far as their shapes agree.

    Args:
        objective: the objective, whose weights are changed.
        folder: folder of the other run.
        recipe: name of the recipe, which must be the other run's.
        latent_dim: size of the codes, which must be the other run's.

    Returns:
        The digest of the other run's weights; and a sentence that says which ones were taken.

    Raises:
        FileNotFoundError: there is no run in the folder, or it has no weights.
        ValueError: it is of another recipe or code size, or no shape agrees.
    """
    folder = Path(folder)
    settle(folder)
    if not (folder / "run.toml").is_file():
        raise FileNotFoundError(f"init is {folder}, which holds no run (it has no run.toml); give the folder of a run")
    manifest.verify(folder, "run.toml", WEIGHTS)
    settings = Settings.read(folder / "run.toml")
    for name, new, old in (("recipe", recipe, settings.recipe), ("latent_dim", latent_dim, settings.latent_dim)):
        if new != old:
            raise ValueError(f"{name} is {new!r}; expected {old!r}, as in the run {folder} that init names")
    weights, _ = read_tensors(folder / WEIGHTS, kind="weights")
    state = objective.state_dict()
    same = {name: weights[name] for name in state if name in weights and weights[name].shape == state[name].shape}
    if not same:
        raise ValueError(f"init is {folder}, none of whose weights have the shapes of this model; leave init out")
    objective.load_state_dict(state | same)
    others = [name for name in state if name not in same]
    listed = ", ".join(others[:LISTED]) + (", ..." if len(others) > LISTED else "")
    fresh = f"; {len(others)} have other shapes and start at random: {listed}" if others else ""
    note = f"{len(same)} of {len(state)} tensors start with the weights of {folder}{fresh}"
    return weights_digest(folder), note
