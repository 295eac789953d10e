"""What a categorical code should be besides: alike for two views of one example, and the label where there is one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from chartae.autoencoder import Autoencoder
from chartae.conditionals import Corruption
from chartae.data import Batches
from chartae.functional import as_float, nearest
from chartae.objectives import Objective

__all__ = ["Guided"]


class Guided(Objective):
    """An objective over a model whose code names a category, plus what is known of the category.

    ``- agreement (H(mean q) - ½ H(q, q') - ½ H(q', q))``, where q and q' are the category of an example and of one of
    its nearest neighbours, each under a view: what a view changes, and what sets neighbours apart, is no matter of the
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
            they are found before training starts. 0 for the example alone.
        fade: some neighbours are of another kind: they are taken ever less often, and from this share of training on
            an example agrees with itself alone. 1 takes them to the end; for vectors without views, which have nothing
            else, that is so in any case.
        agreement, supervision: weights.
        labelled: how many examples at the end of a batch come with their label; 0 for unsupervised training.

    Raises:
        ValueError: a negative weight, or agreement without views or neighbours.
    """

    comparable = False

    def __init__(
        self,
        inner: Objective,
        *,
        views: Corruption | None = None,
        neighbours: int = 0,
        fade: float = 1.0,
        agreement: float = 1.0,
        supervision: float = 1.0,
        labelled: int = 0,
    ) -> None:
        super().__init__()
        if not (agreement >= 0 and supervision >= 0 and labelled >= 0):
            raise ValueError(
                f"agreement is {agreement}, supervision {supervision} and labelled {labelled}; none may be below 0"
            )
        if neighbours < 0:
            raise ValueError(f"neighbours is {neighbours}; give 0 or more")
        if not 0 < fade <= 1:
            raise ValueError(f"fade is {fade}; neighbours are taken up to a share of training, above 0 and up to 1")
        if agreement and views is None and not neighbours:
            raise ValueError(
                f"agreement is {agreement}, but there is nothing to agree; give views or neighbours, or agreement=0"
            )
        self.inner, self.views, self.neighbours = inner, views, neighbours
        self.fade = float(fade) if views is not None else 1.0
        self.steps = 0
        self.register_buffer("passes", torch.zeros((), dtype=torch.float64))
        self.passes: Tensor
        self._graph: Tensor | None = None
        self._data: Callable[[], Batches | None] = lambda: None
        self.agreement, self.supervision, self.labelled = float(agreement), float(supervision), labelled
        self.rates, self.betas, self.ema, self.cosine = inner.rates, inner.betas, inner.ema, inner.cosine
        self.second_order = inner.second_order

    @property
    def model(self) -> Autoencoder:  # type: ignore[override]
        return self.inner.model

    def players(self) -> dict[str, list[Parameter]]:
        return self.inner.players()

    def plan(self, steps: int, batches: Batches) -> None:
        self.inner.plan(steps, batches)
        self.steps = steps
        if self.neighbours and self.agreement:
            self._graph = nearest(batches.x, self.neighbours).to(batches.x.device)
            self._data = weakref.ref(batches)  # a run does not keep its data

    def alarms(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        yield from self.inner.alarms(rows)

    def forward(self, x: Tensor, y: Tensor | None = None, player: str = "model") -> dict[str, Tensor]:
        known = self.labelled if y is not None else 0
        stream = x[: len(x) - known]
        values = self.inner(stream, None, player)
        if player != "model":
            return values
        loss = values["loss"]
        if self.agreement:
            seen = torch.cat(self._alike(stream))
            if self.views is not None:
                seen = self.views(seen).sample()
            one, two = self.model.encoder(seen).category.logits.log_softmax(1).chunk(2)
            crossed = -0.5 * (one.exp() * two + two.exp() * one).sum(1).mean()
            mean = 0.5 * (one.exp() + two.exp()).mean(0)
            values["agreement"] = -(mean * mean.clamp_min(1e-12).log()).sum() - crossed
            loss = loss - self.agreement * values["agreement"]
        if known:
            assert y is not None
            seen = x[-known:] if self.views is None else self.views(x[-known:]).sample()
            logits, labels = self.model.encoder(seen).category.logits, y[-known:]
            values["supervision"] = cross_entropy(logits, labels)
            values["right"] = (logits.argmax(1) == labels).to(x.dtype).mean()
            loss = loss + self.supervision * values["supervision"]
        return values | {"loss": loss}

    def _alike(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs that are of one category: in training random examples and a neighbour of each, else the same twice."""
        data = self._data()
        if not self.training or data is None or self._graph is None:
            return x, x
        rows = torch.randint(data.n, (len(x),), device=x.device)
        column = torch.randint(self._graph.shape[1], (len(x),), device=x.device)
        other = self._graph[rows, column]
        if self.fade < 1:
            left = 1 - self.passes / (self.fade * self.steps)
            other = torch.where(torch.rand(len(x), device=x.device) < left, other, rows)
        self.passes += 1
        return as_float(data.x[rows]), as_float(data.x[other])

    def __repr__(self) -> str:
        parts = [repr(self.inner)]
        if self.agreement:
            until = f" until {self.fade:g}" if self.fade < 1 else ""
            alike = [f"{self.neighbours} neighbours{until}"] if self.neighbours else []
            alike += [repr(self.views)] if self.views is not None else []
            parts.append(f"{self.agreement:g} agreement under {', '.join(alike)}")
        if self.labelled:
            parts.append(f"{self.supervision:g} H(label, q) of {self.labelled} a batch")
        return " + ".join(parts)
