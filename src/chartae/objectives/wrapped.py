"""Objectives that add a loss to another objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from chartae.autoencoder import Autoencoder
from chartae.data import Batches
from chartae.objectives.base import Alarm, Objective, Player

__all__ = ["Wrapped"]


class Wrapped(Objective):
    """An objective that adds a loss to an inner objective, whose model, players and schedule it keeps.

    An abstract class: derive an objective by writing `forward`, which calls ``self.inner(batch, player)`` and adds to
    its loss.

    Args:
        inner: the objective that is extended.
    """

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner = inner
        self.second_order, self.ema, self.cosine = inner.second_order, inner.ema, inner.cosine
        self.comparable, self.weighs = inner.comparable, inner.weighs
        self.uses = inner.uses | type(self).uses

    @property
    def model(self) -> Autoencoder:  # type: ignore[override]
        return self.inner.model

    @property
    def scheduled(self) -> bool:
        return self.inner.scheduled

    def players(self) -> dict[str, Player]:
        return self.inner.players()

    def choose_labels(self, labels: Tensor | None, *, name: str, seed: int) -> Tensor | None:
        return self.inner.choose_labels(labels, name=name, seed=seed)

    def check(self, batches: Batches) -> None:
        self.inner.check(batches)

    def plan(self, steps: int, batches: Batches) -> None:
        self.inner.plan(steps, batches)

    def finish(self) -> None:
        self.inner.finish()

    def alarms(self, rows: Sequence[Mapping[str, float | str]]) -> Iterator[Alarm]:
        yield from self.inner.alarms(rows)
