"""What is minimised, and by whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import Parameter

from chartae.autoencoder import Autoencoder
from chartae.data import Batches

__all__ = ["Alarm", "Objective", "needs_several"]


class Alarm(NamedTuple):
    """What is wrong with a training: its kind, by which it is said once, and the words."""

    kind: str
    text: str


class Objective(nn.Module, ABC):
    """A loss for each of its players; a player is a set of parameters with an optimiser of its own."""

    model: Autoencoder
    #: whether the loss is itself made of gradients: then a pass needs gradients even in evaluation, and
    #: `torch.compile`, which has no double backward, is refused
    second_order: bool = False
    #: of each player its step size as a multiple of the training's, where that is not 1
    rates: Mapping[str, float] = MappingProxyType({})
    #: Adam's, of all players
    betas: tuple[float, float] = (0.9, 0.999)
    #: decay of the averaged weights, where training shall keep such unless told otherwise
    ema: float | None = None
    #: whether the step size falls to zero over a training, unless told otherwise: players that chase each other come to
    #: rest only so
    cosine: bool = False
    #: whether a lower loss is a better model, by which a step size and the best epoch may be chosen
    comparable: bool = True

    @property
    def scheduled(self) -> bool:
        """Whether what it does changes with how far training has come: then a longer training is another from the
        start, and one that has ended is not gone on with."""
        return False

    def plan(self, steps: int, batches: Batches) -> None:
        """Told before training how many steps there will be, over what: for what changes on the way.

        Raises:
            ValueError: batches with which it cannot be trained.
        """

    def rest(self) -> None:
        """Told after training: what was kept for it alone may go."""

    def alarms(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Alarm]:
        """What is wrong with a training, by the rows of its log so far; asked after each epoch, said once of a kind.

        A critic that has been right (over 98 %) all through the last 20 rows, and the last 300 steps, tells the model
        nothing any more.
        """
        first = next((i for i, row in enumerate(rows) if row["step"] > rows[-1]["step"] - 300), 0)
        last = rows[min(first, max(0, len(rows) - 20)) :]
        if len(last) < 20 or rows[-1]["step"] < 300:
            return
        for name in (key for key in rows[-1] if key.endswith("accuracy")):
            if min(row.get(name, 0.0) for row in last) > 0.98:
                yield Alarm(
                    f"{name.removesuffix('accuracy').rstrip('/_')} has won",
                    f"a critic has won outright for long ({name} above .98 up to epoch {last[-1]['epoch']}): the model "
                    "learns little from it. Raise the penalty, lower lr, or let a warm-up bring the laws nearer first",
                )

    @abstractmethod
    def players(self) -> dict[str, list[Parameter]]:
        """Each player's parameters; no parameter belongs to two."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None, player: str = "model") -> dict[str, Tensor]:
        """`{"loss": ..., every term by its name}` for one player, each averaged over the batch, in nats."""


def needs_several(batches: Batches) -> None:
    """Refuse batches of one example, whose variance, by which critics are measured, is none."""
    if batches.batch_size < 2:
        raise ValueError("batch_size is 1, but critics are measured by the variance of a batch; give 2 or more")
