"""What a categorical code should be besides: alike for two views of one example, and the label where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from chartae.autoencoder import Autoencoder
from chartae.conditionals import Corruption
from chartae.data import Batches
from chartae.objectives import Objective

__all__ = ["Guided"]


class Guided(Objective):
    """An objective over a model whose code names a category, plus what is known of the category.

    ``- agreement (H(mean q) - ½ H(q, q') - ½ H(q', q))``, where q and q' are the category under two views of an
    example: what a view changes is no matter of the category, and categories are used alike. It is I(x; category) where
    views agree. ``+ supervision`` times the cross-entropy of the labels, of those
    examples that have one: the last `labelled` of each batch (`Batches(labelled=...)`), which the rest of the objective
    does not see. Makhzani et al., "Adversarial Autoencoders", 2015 (arXiv 1511.05644), without views; agreement as in
    Hu et al., "Learning Discrete Representations via Information Maximizing Self-Augmented Training", 2017
    (arXiv 1702.08720).

    Args:
        inner: the objective; its model's encoder has a `Categorical` code, or a `Product` with one.
        views: what leaves the category as it is; None for none.
        agreement, supervision: weights.
        labelled: how many examples at the end of a batch come with their label; 0 for unsupervised training.

    Raises:
        ValueError: a negative weight, or agreement without views.
    """

    comparable = False

    def __init__(
        self,
        inner: Objective,
        *,
        views: Corruption | None = None,
        agreement: float = 1.0,
        supervision: float = 1.0,
        labelled: int = 0,
    ) -> None:
        super().__init__()
        if not (agreement >= 0 and supervision >= 0 and labelled >= 0):
            raise ValueError(
                f"agreement is {agreement}, supervision {supervision} and labelled {labelled}; none may be below 0"
            )
        if agreement and views is None:
            raise ValueError(f"agreement is {agreement}, but there are no views to agree; give views, or agreement=0")
        self.inner, self.views = inner, views
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
            assert self.views is not None
            views = torch.cat([self.views(stream).sample(), self.views(stream).sample()])
            one, two = self.model.encoder(views).category.logits.log_softmax(1).chunk(2)
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

    def __repr__(self) -> str:
        parts = [repr(self.inner)]
        if self.agreement:
            parts.append(f"{self.agreement:g} agreement under {self.views!r}")
        if self.labelled:
            parts.append(f"{self.supervision:g} H(label, q) of {self.labelled} a batch")
        return " + ".join(parts)
