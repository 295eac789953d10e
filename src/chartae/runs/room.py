"""What a fit surely writes, so that a disk without room for it is noticed before training."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from chartae.objectives import Objective
from chartae.records.space import check_disk
from chartae.records.training import Training

__all__ = ["check_room", "written_bytes"]

#: moments that an optimiser keeps of each parameter
MOMENTS = {"adam": 2, "adamw": 2, "sgd": 0}
#: checkpoints that are kept, and the one that is being written
CHECKPOINTS = 3


def written_bytes(objective: Objective, training: Training, *, best: bool) -> int:
    """The least bytes that a fit writes: the weights, and its checkpoints with the state of the optimisers.

    Args:
        objective: the objective.
        training: settings of the training.
        best: whether the best weights are kept besides the last ones, by the validation loss.

    >>> import chartae as ch
    >>> from chartae.runs.room import written_bytes
    >>> from chartae.training import Training
    >>> decoder = ch.Gaussian(ch.nn.Linear(2, 3))
    >>> model = ch.Autoencoder(ch.Dirac(ch.nn.Linear(3, 2)), decoder, ch.StandardNormal(2))
    >>> objective = ch.Penalised(model, ch.Reconstruction())
    >>> written_bytes(objective, Training(optimizer="sgd"), best=False)  # 17 numbers of 4 bytes in 4 files
    272
    """
    state = sum(value.nbytes for value in objective.state_dict().values() if isinstance(value, Tensor))
    learnt = sum(p.nbytes for player in objective.players().values() for p in player.parameters)
    moments = MOMENTS.get(training.optimizer, 0) if isinstance(training.optimizer, str) else 0
    average = learnt * bool(training.ema)
    return state + CHECKPOINTS * (state * (1 + best) + moments * learnt + average)


def check_room(folder: Path, objective: Objective, training: Training, *, best: bool) -> None:
    """Raise OSError if the disk of a run's folder lacks the room for what a fit surely writes.

    Args:
        folder: the folder, which need not exist.
        objective, training, best: those of `written_bytes`.
    """
    size = written_bytes(objective, training, best=best)
    check_disk(folder, size, f"out is {folder}: weights and {CHECKPOINTS} checkpoints, which")
