"""What is minimised, and by whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import Parameter

from chartae.autoencoder import Autoencoder
from chartae.data import Batch, Batches

__all__ = ["Alarm", "Objective", "Player", "needs_several"]


class Alarm(NamedTuple):
    """What is wrong with a training: its kind, by which it is reported once, and the words."""

    kind: str
    text: str


@dataclass(frozen=True)
class Player:
    """A set of parameters with an optimiser of its own.

    Attributes:
        parameters: what this player moves; no parameter belongs to two players.
        rate: its learning rate as a multiple of the training's, > 0.
        betas: Adam's.
    """

    parameters: Sequence[Parameter]
    rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)


class Objective(nn.Module, ABC):
    """A loss for each of its players.

    Called with a `Batch`, or with plain examples, it returns the loss and every term of one player.
    """

    model: Autoencoder
    #: whether the loss is itself made of gradients: then a pass needs gradients even in evaluation, and
    #: `torch.compile`, which has no double backward, is refused
    second_order: bool = False
    #: the fields of a batch that it learns from, besides `x` and `condition`; the others are ignored
    uses: frozenset[str] = frozenset()
    #: labelled examples that it wants at the end of each batch
    labelled: int = 0
    #: decay of the averaged weights, where training keeps such by default
    ema: float | None = None
    #: whether the learning rate falls to zero over a training by default: players that chase each other come to rest
    #: only so
    cosine: bool = False
    #: whether a lower loss is a better model, by which a learning rate and the best epoch may be chosen
    comparable: bool = True

    @property
    def scheduled(self) -> bool:
        """Whether what it does changes with how far training has come: then a longer training is another from the
        start, and one that has ended is not resumed."""
        return False

    def choose_labels(self, labels: Tensor | None, *, name: str, seed: int) -> Tensor | None:
        """The labels (N,) of the training data of a data set that it learns from; None where it uses none.

        Raises:
            ValueError: labels that it needs and that are not there.
        """
        return None

    def check(self, batches: Batches) -> None:
        """Refuse batches that it cannot be trained on; changes nothing.

        Raises:
            ValueError: what is wrong with the batches.
        """

    def plan(self, steps: int, batches: Batches) -> None:
        """Called once before training, with the number of steps and the training data: for what changes on the way."""

    def rest(self) -> None:
        """Called once after training: what was kept for it alone may go."""

    def alarms(self, rows: Sequence[Mapping[str, float | str]]) -> Iterator[Alarm]:
        """What is wrong with a training, by the rows of its log so far; asked after each epoch, said once of a kind.

        A critic that has been right (over 98 %) all through the last 20 rows, and the last 300 steps, tells the model
        nothing any more.
        """
        first = next((i for i, row in enumerate(rows) if float(row["step"]) > float(rows[-1]["step"]) - 300), 0)
        last = rows[min(first, max(0, len(rows) - 20)) :]
        if len(last) < 20 or float(rows[-1]["step"]) < 300:
            return
        for name in (key for key in rows[-1] if key.endswith("accuracy")):
            if min(float(row.get(name, 0.0)) for row in last) > 0.98:
                yield Alarm(
                    f"{name.removesuffix('accuracy').rstrip('/_')} has won",
                    f"a critic has won outright for long ({name} above .98 up to epoch {last[-1]['epoch']}): the model "
                    "learns little from it. Raise the penalty, lower lr, or let a warm-up bring the laws nearer first",
                )

    @abstractmethod
    def players(self) -> dict[str, Player]:
        """Who minimises what, by name; the first is the model."""

    @abstractmethod
    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        """`{"loss": ..., every term by its name}` for one player, each averaged over the batch, in nats."""

    def __call__(self, batch: Batch | Tensor, player: str = "model") -> dict[str, Tensor]:
        """`forward`; plain examples (B, *S) are a batch without anything beside them."""
        values: dict[str, Tensor] = super().__call__(Batch(batch) if isinstance(batch, Tensor) else batch, player)
        return values


def needs_several(batches: Batches) -> None:
    """Refuse batches of one example, whose variance, by which critics are measured, is none."""
    if batches.batch_size < 2:
        raise ValueError("batch_size is 1, but critics are measured by the variance of a batch; give 2 or more")
