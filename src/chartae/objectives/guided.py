"""What a categorical code should be besides: alike for two views of one example, and the label where there is one."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from chartae.autoencoder import in_slices
from chartae.conditionals import Corruption
from chartae.data import Batch, Batches
from chartae.data.labels import choose_labels
from chartae.maths import as_float, nearest
from chartae.maths.random import generator_for
from chartae.objectives.base import Objective
from chartae.objectives.wrapped import Wrapped

__all__ = ["Guided"]


class Guided(Wrapped):
    """An objective over a model whose code names a category, plus what is known of the category.

    ``- agreement (H(mean q) - ½ H(q, q') - ½ H(q', q))``, where q is the category of an example and q' that of a view
    of one of its nearest neighbours: what a view changes, and what sets neighbours apart, is no matter of the
    category, and categories are used alike. It is I(x; category) where they agree. ``+ supervision`` times the
    cross-entropy of the labels, of those examples that have one: the last `labelled` of each batch
    (`Batches(labelled=...)`), which the rest of the objective does not see.

    Makhzani et al., "Adversarial Autoencoders", 2015 (arXiv 1511.05644), has supervision alone; agreement of views is
    that of Hu et al., "Learning Discrete Representations via Information Maximizing Self-Augmented Training", 2017
    (arXiv 1702.08720), that of neighbours of Van Gansbeke et al., "SCAN", 2020 (arXiv 2005.12320).

    Args:
        inner: the objective; its model's encoder has a `Categorical` code, or a `Product` with one.
        views: what leaves the category as it is; None for none.
        neighbours: how many nearest neighbours of an example, in the data's first 50 principal axes, count as like it;
            they are found as training starts, and again after each quarter of it by what the encoder's last layer
            is given, where neighbours are less often of another kind. 0 for the example alone.
        agreement, supervision: weights.
        labelled: how many examples at the end of a batch come with their label; 0 for unsupervised training.
        keep: how many training examples keep their label, evenly over the classes; None for all that have one.

    Raises:
        ValueError: a negative weight, or agreement without views or neighbours.
        TypeError: a model whose code names no category.
    """

    def __init__(
        self,
        inner: Objective,
        *,
        views: Corruption | None = None,
        neighbours: int = 0,
        agreement: float = 1.0,
        supervision: float = 1.0,
        labelled: int = 0,
        keep: int | None = None,
    ) -> None:
        if not (agreement >= 0 and supervision >= 0 and labelled >= 0):
            raise ValueError(
                f"agreement is {agreement}, supervision {supervision} and labelled {labelled}; none may be below 0"
            )
        if neighbours < 0:
            raise ValueError(f"neighbours is {neighbours}; give 0 or more")
        if agreement and views is None and not neighbours:
            raise ValueError(
                f"agreement is {agreement}, but there is nothing to agree; give views or neighbours, or agreement=0"
            )
        super().__init__(inner)
        if not inner.model.encoder.has_category:
            raise TypeError(
                f"the encoder is {inner.model.encoder!r}, whose code names no category; use a Categorical, or a "
                "Product with one"
            )
        self.views, self.neighbours = views, neighbours
        self._step = self._steps = 0
        self._graph: Tensor | None = None
        self._data: Callable[[], Batches | None] = lambda: None
        self.agreement, self.supervision = float(agreement), float(supervision)
        self.labelled, self.keep = labelled, keep
        self.comparable = False
        self.uses = inner.uses | ({"labels"} if labelled else set())

    def plan(self, steps: int, batches: Batches) -> None:
        super().plan(steps, batches)
        self._steps, self._step, self._graph = steps, 0, None
        self._data = weakref.ref(batches)  # a run does not keep its data

    def choose_labels(self, labels: Tensor | None, *, name: str, seed: int) -> Tensor | None:
        if not self.labelled:
            return super().choose_labels(labels, name=name, seed=seed)
        classes = self.model.prior().category.mean.shape[-1]
        return choose_labels(labels, classes=classes, keep=self.keep, name=name, seed=seed)

    def rest(self) -> None:
        self._step, self._graph = 0, None
        super().rest()

    @property
    def scheduled(self) -> bool:
        return bool(self.neighbours and self.agreement) or super().scheduled

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        known = self.labelled if batch.labels is not None else 0
        size = len(batch) - known
        stream = replace(batch.map(lambda rows: rows[:size]), labels=None)
        values = self.inner(stream, player)
        if player != "model":
            return values
        x, y = batch.x, batch.labels
        loss = values["loss"]
        if self.agreement:
            pairs = self._alike(stream)
            example, like = pairs.x.chunk(2)
            if self.views is not None:
                like = self.views(like).sample()
            seen = torch.cat([example, like])
            one, two = self.model.encoder(seen, pairs.condition).category.logits.log_softmax(1).chunk(2)
            crossed = -0.5 * (one.exp() * two + two.exp() * one).sum(1).mean()
            mean = 0.5 * (one.exp() + two.exp()).mean(0)
            values["agreement"] = -(mean * mean.clamp_min(1e-12).log()).sum() - crossed
            loss = loss - self.agreement * values["agreement"]
        if known:
            assert y is not None
            seen = x[-known:] if self.views is None else self.views(x[-known:]).sample()
            condition = None if batch.condition is None else batch.condition[-known:]
            logits, labels = self.model.encoder(seen, condition).category.logits, y[-known:]
            values["supervision"] = cross_entropy(logits, labels)
            values["right"] = (logits.argmax(1) == labels).to(x.dtype).mean()
            loss = loss + self.supervision * values["supervision"]
        return values | {"loss": loss}

    def _alike(self, batch: Batch) -> Batch:
        """Pairs that are of one category, the second ones behind the first: in training random examples and a
        neighbour of each, else the same twice; with their conditions."""
        data, x = self._data(), batch.x
        if not self.training or data is None or not self.neighbours:
            return replace(batch, x=torch.cat([x, x]), condition=_twice(batch.condition, slice(None), slice(None)))
        if self._graph is None:
            self._graph = nearest(data.x, self.neighbours).to(data.x.device)
        elif self._step in (self._steps // 4, self._steps // 2, 3 * self._steps // 4):
            self._graph = nearest(self._features(data), self.neighbours).to(data.x.device)
        self._step += 1
        draw = functools.partial(torch.randint, size=(len(x),), device=x.device, generator=generator_for(x.device))
        rows, column = draw(data.n), draw(self._graph.shape[1])
        near = self._graph[rows, column]
        pairs = torch.cat([as_float(data.x[rows]), as_float(data.x[near])])
        return Batch(pairs, condition=_twice(data.condition, rows, near))

    def _features(self, data: Batches) -> Tensor:
        """What the last layer of the encoder with weights is given."""
        x = data.x
        layers = [
            m for m in self.model.encoder.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        ]
        if not layers:
            return x
        seen: list[Tensor] = []
        handle = layers[-1].register_forward_pre_hook(lambda module, given: seen.append(given[0].cpu()))
        try:
            beside = () if data.condition is None else (data.condition,)
            in_slices(self.model, lambda *part: self.model.encoder(*part).mean, x, *beside)
        finally:
            handle.remove()
        return torch.cat(seen)

    def get_extra_state(self) -> Tensor:
        """Until training ends, how far it has come and the neighbours: an interrupted one goes on with the same."""
        if self._graph is None or self._step >= self._steps:
            return torch.empty(0, dtype=torch.int64)
        return torch.cat([torch.tensor([self._step, self._graph.shape[1]]), self._graph.flatten().cpu()])

    def set_extra_state(self, state: Tensor) -> None:
        if len(state):
            step, columns = state[:2].tolist()
            self._step, self._graph = step, state[2:].view(-1, columns).to(self._device())
        else:
            self._step, self._graph = 0, None

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def __repr__(self) -> str:
        parts = [repr(self.inner)]
        if self.agreement:
            alike = [f"{self.neighbours} neighbours"] if self.neighbours else []
            alike += [repr(self.views)] if self.views is not None else []
            parts.append(f"{self.agreement:g} agreement under {', '.join(alike)}")
        if self.labelled:
            parts.append(f"{self.supervision:g} H(label, q) of {self.labelled} a batch")
        return " + ".join(parts)


def _twice(condition: Tensor | None, one: Tensor | slice, other: Tensor | slice) -> Tensor | None:
    """The conditions of pairs of rows, where there are any."""
    return None if condition is None else torch.cat([condition[one], condition[other]])
