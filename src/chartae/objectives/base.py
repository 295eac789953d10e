"""The interface of objectives: a loss for each player, and what training needs to know about it."""

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
    """A warning about a training run; each kind of alarm is raised once in a run.

    Attributes:
        kind: identifier of the kind of alarm.
        text: the warning, in words.

    >>> from chartae.objectives import Alarm
    >>> Alarm("latent has won", "the latent critic is always right").kind
    'latent has won'
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Player:
    """A set of parameters with its own optimiser, such as an autoencoder, or the critic that it plays against.

    Attributes:
        parameters: the parameters that this player optimises; no parameter belongs to two players.
        rate: learning rate, as a multiple of the training's; > 0; default 1.
        betas: Adam's betas; (0.9, 0.999) by default.

    >>> from torch import nn
    >>> from chartae.objectives import Player
    >>> player = Player(list(nn.Linear(2, 1).parameters()), rate=2.0)
    >>> len(player.parameters), player.betas
    (2, (0.9, 0.999))
    """

    parameters: Sequence[Parameter]
    rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)


class Objective(nn.Module, ABC):
    """A loss for each of its players: what training minimises.

    An abstract class. It is called with a `Batch`, or with plain examples `(B, *S)`, and the name of a player. It
    returns a dict of scalars: the player's ``"loss"`` and each of its terms, averaged over the batch, in nats per
    example. The first player is the model, the autoencoder `objective.model`; the others are critics. Derive an
    objective by writing `players` and `forward`. `Penalised` is the objective of most recipes: a weighted sum of terms.

    Attributes:
        model: the autoencoder.
        second_order: whether the loss contains derivatives of the model. Gradients are then needed in evaluation too,
            and `torch.compile` is refused, as it has no double backward.
        uses: fields of a batch that the objective learns from, besides `x` and `condition`; the others are ignored.
        labelled: number of labelled examples that it needs at the end of each batch.
        ema: decay of the moving average of the weights that training keeps by default; None for no average.
        cosine: whether the learning rate falls to zero during training by default; players that compete converge only
            then.
        weighs: whether the loss is a sum over examples, so that those of a batch can have weights.
        comparable: whether a lower loss means a better model, so that the loss can choose the learning rate and the
            best epoch. It does not where a critic is trained too.
    """

    model: Autoencoder
    second_order: bool = False
    uses: frozenset[str] = frozenset()
    labelled: int = 0
    ema: float | None = None
    cosine: bool = False
    comparable: bool = True
    weighs: bool = False

    @property
    def scheduled(self) -> bool:
        """Whether the objective changes during training, by a schedule over all its steps.

        A longer training then differs from the first step, so that a finished one cannot be resumed.
        """
        return False

    def choose_labels(self, labels: Tensor | None, *, name: str, seed: int) -> Tensor | None:
        """The labels that the objective learns from; None if it uses none.

        Args:
            labels: labels (N,) of the training data, -1 where the class is unknown; None without labels.
            name: name of the data set, for messages.
            seed: seed by which the labels to keep are drawn, where it keeps only some.

        Returns:
            Labels (N,), or None.

        Raises:
            ValueError: the objective needs labels that the data lack.
        """
        return None

    def check(self, batches: Batches) -> None:
        """Check that the objective can be trained on `batches`; changes nothing.

        Raises:
            ValueError: the objective cannot be trained on these batches.
        """

    def plan(self, steps: int, batches: Batches) -> None:
        """Prepare schedules; called once before training, with the number of steps and the training data."""

    def finish(self) -> None:
        """Release what was kept only for training; called once after training."""

    def alarms(self, rows: Sequence[Mapping[str, float | str]]) -> Iterator[Alarm]:
        """Warnings about a training run, from the rows of its log so far; called after each epoch.

        By default there is one alarm: a critic whose accuracy has been above 98 % in the last 20 rows and the last
        300 steps gives the model no useful gradient any more.
        """
        accuracies = [key for key in rows[-1] if key.endswith("accuracy")]
        if not accuracies:
            return
        first = next((i for i, row in enumerate(rows) if float(row["step"]) > float(rows[-1]["step"]) - 300), 0)
        last = rows[min(first, max(0, len(rows) - 20)) :]
        if len(last) < 20 or float(rows[-1]["step"]) < 300:
            return
        for name in accuracies:
            if min(float(row.get(name, 0.0)) for row in last) > 0.98:
                yield Alarm(
                    f"{name.removesuffix('accuracy').rstrip('/_')} has won",
                    f"a critic has won outright ({name} has stayed above 0.98 up to epoch {last[-1]['epoch']}), so "
                    "that the model learns little from it. Raise penalty, lower lr, or use a warm-up, which brings the "
                    "distributions closer first.",
                )

    def trains(self, module: nn.Module) -> bool:
        """Whether a player optimises a parameter of this part of the model."""
        trained = {id(parameter) for player in self.players().values() for parameter in player.parameters}
        return any(id(parameter) in trained for parameter in module.parameters())

    @abstractmethod
    def players(self) -> dict[str, Player]:
        """The players by name; the first is the model."""

    @abstractmethod
    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        """The ``"loss"`` of one player and each of its terms by name, averaged over the batch, in nats per example."""

    def __call__(self, batch: Batch | Tensor, player: str = "model") -> dict[str, Tensor]:
        """Call `forward`; plain examples `(B, *S)` stand for a `Batch` of nothing else."""
        values: dict[str, Tensor] = super().__call__(Batch(batch) if isinstance(batch, Tensor) else batch, player)
        return values


def needs_several(batches: Batches) -> None:
    """Check that batches have at least two examples; critics scale their penalty by the variance of a batch.

    Args:
        batches: the training data.

    Raises:
        ValueError: `batch_size` is 1.

    >>> import torch
    >>> from chartae import Batches
    >>> from chartae.objectives import needs_several
    >>> needs_several(Batches(torch.zeros(4, 3), 2))
    """
    if batches.batch_size < 2:
        raise ValueError(
            f"batch_size is {batches.batch_size}; expected at least 2, as critics scale their penalty by the variance "
            "of a batch"
        )
