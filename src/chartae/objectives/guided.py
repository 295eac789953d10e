"""Guidance for categorical codes: the category agrees between views and neighbours, and with labels where known."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from chartae.autoencoder import in_slices
from chartae.conditionals import Corruption
from chartae.data import Batch, Batches
from chartae.data.labels import choose_labels
from chartae.maths import as_float, nearest
from chartae.maths.random import randint
from chartae.objectives.base import Alarm, Objective, Player
from chartae.objectives.wrapped import Wrapped

__all__ = ["EncoderAlone", "Guided"]


class EncoderAlone(Wrapped):
    """The inner objective without its losses and critics: only what is added to it trains the model, and no decoder.

    Within `Guided`, it is the control that shows what decoder and critics add to agreement and labels. The decoder
    keeps its initial weights.

    Args:
        inner: the objective whose model is kept.

    >>> import torch
    >>> from chartae import Autoencoder, Gaussian, Penalised, Reconstruction
    >>> from chartae.conditionals import Categorical, Jitter, UniformCategorical
    >>> from chartae.objectives import EncoderAlone, Guided
    >>> encoder, decoder = Categorical(torch.nn.Linear(3, 4)), Gaussian(torch.nn.Linear(4, 3))
    >>> inner = Penalised(Autoencoder(encoder, decoder, UniformCategorical(4)), Reconstruction())
    >>> objective = Guided(EncoderAlone(inner), views=Jitter())
    >>> objective(torch.randn(8, 3))["loss"].backward()
    >>> decoder.net.weight.grad is None, objective.trains(decoder)
    (True, False)
    """

    def __init__(self, inner: Objective) -> None:
        super().__init__(inner)
        self.comparable = self.second_order = False
        self.ema = None

    @property
    def scheduled(self) -> bool:
        return False

    def players(self) -> dict[str, Player]:
        model = next(iter(self.inner.players().values()))
        return {"model": replace(model, parameters=list(self.model.encoder.parameters()))}

    def check(self, batches: Batches) -> None:
        pass  # the inner objective is not trained

    def alarms(self, rows: Sequence[Mapping[str, float | str]]) -> Iterator[Alarm]:
        yield from ()

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        return {"loss": batch.x.new_zeros(())}

    def __repr__(self) -> str:
        return "the encoder alone"


class Guided(Wrapped):
    """An objective over a model with a categorical code, guided by views, neighbours and labels.

        loss - agreement (H(mean q) - ½ H(q, q') - ½ H(q', q)) + supervision CE(label, q)

    Here q are the probabilities of the category of an example, and q' those of a view of one of its nearest neighbours;
    H(a, b) is the cross-entropy -Σ a log b. The agreement asks that a view and a neighbour have the same category, and
    that all categories are used equally; where q = q', it is the mutual information of x and its category. The
    cross-entropy CE of labels is taken over the last `labelled` examples of each batch (`Batches(labelled=...)`), which
    the inner objective does not see.

    Supervision follows Makhzani et al., "Adversarial Autoencoders", 2015 (arXiv 1511.05644), which has no agreement.
    Agreement of views follows Hu et al., "Learning Discrete Representations via Information Maximizing Self-Augmented
    Training", 2017 (arXiv 1702.08720), and agreement of neighbours Van Gansbeke et al., "SCAN: Learning to Classify
    Images without Labels", 2020 (arXiv 2005.12320).

    Args:
        inner: the objective that is extended; its model's encoder has a `Categorical` code, or a `Product` with one.
        views: corruption that must not change the category, such as `Jitter` for images; None (default) for none.
        neighbours: number of nearest neighbours of an example that should have its category; 0 (default) for none.
            They are searched in the first 50 principal components of the data at the start of training, and in the
            input of the encoder's last layer after each quarter of it, where they are more often of the same class.
        agreement: weight of the agreement, >= 0; default 1.
        supervision: weight of the labels' cross-entropy, >= 0; default 1.
        labelled: number of labelled examples at the end of each batch; 0 (default) for unsupervised training.
        keep: number of training examples whose label is used, spread evenly over the classes; None (default) for all
            that have one.

    Raises:
        ValueError: a weight or a number is negative, or `agreement` has neither views nor neighbours.
        TypeError: the model's code has no category.

    >>> import torch
    >>> from torch import nn
    >>> from chartae import Autoencoder, Gaussian, Penalised, Reconstruction
    >>> from chartae.conditionals import Categorical, Jitter, UniformCategorical
    >>> from chartae.objectives import Guided
    >>> model = Autoencoder(Categorical(nn.Linear(3, 4)), Gaussian(nn.Linear(4, 3)), UniformCategorical(4))
    >>> objective = Guided(Penalised(model, Reconstruction()), views=Jitter(), agreement=2.0)
    >>> sorted(objective(torch.randn(8, 3)))
    ['agreement', 'loss', 'reconstruction']
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
                f"agreement is {agreement}, supervision is {supervision} and labelled is {labelled}; expected 0 or "
                "more for each"
            )
        if neighbours < 0:
            raise ValueError(f"neighbours is {neighbours}; expected 0 or more")
        if agreement and views is None and not neighbours:
            raise ValueError(
                f"agreement is {agreement}, but there is nothing to agree; give views or neighbours, or agreement=0"
            )
        super().__init__(inner)
        if not inner.model.encoder.has_category:
            raise TypeError(
                f"the encoder is {inner.model.encoder!r}, whose code has no category; expected a Categorical, or a "
                "Product with one"
            )
        self.views, self.neighbours = views, neighbours
        self._step = self._steps = 0
        self._graph: Tensor | None = None
        self._data: Callable[[], Batches | None] = lambda: None
        self.agreement, self.supervision = float(agreement), float(supervision)
        self.labelled, self.keep = labelled, keep
        self.comparable = self.weighs = False
        self.uses = inner.uses | ({"labels"} if labelled else set())

    def plan(self, steps: int, batches: Batches) -> None:
        super().plan(steps, batches)
        self._steps, self._step, self._graph = steps, 0, None
        self._data = weakref.ref(batches)  # so that a run does not keep its data alive

    def choose_labels(self, labels: Tensor | None, *, name: str, seed: int) -> Tensor | None:
        if not self.labelled:
            return super().choose_labels(labels, name=name, seed=seed)
        classes = self.model.prior().category.mean.shape[-1]
        return choose_labels(labels, classes=classes, keep=self.keep, name=name, seed=seed)

    def finish(self) -> None:
        self._step, self._graph = 0, None
        super().finish()

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
            pairs = self._pairs(stream)
            examples, neighbours = pairs.x.chunk(2)
            if self.views is not None:
                neighbours = self.views(neighbours).sample()
            inputs = torch.cat([examples, neighbours])
            log_q, log_r = self.model.encoder(inputs, pairs.condition).category.logits.log_softmax(1).chunk(2)
            cross_entropies = -0.5 * (log_q.exp() * log_r + log_r.exp() * log_q).sum(1).mean()
            mean = 0.5 * (log_q.exp() + log_r.exp()).mean(0)
            values["agreement"] = -(mean * mean.clamp_min(1e-12).log()).sum() - cross_entropies
            loss = loss - self.agreement * values["agreement"]
        if known:
            assert y is not None
            inputs = x[-known:] if self.views is None else self.views(x[-known:]).sample()
            condition = None if batch.condition is None else batch.condition[-known:]
            logits, labels = self.model.encoder(inputs, condition).category.logits, y[-known:]
            values["supervision"] = cross_entropy(logits, labels)
            values["right"] = (logits.argmax(1) == labels).to(x.dtype).mean()
            loss = loss + self.supervision * values["supervision"]
        return values | {"loss": loss}

    def _pairs(self, batch: Batch) -> Batch:
        """Pairs of examples that should share a category, all first members before all second ones, with conditions.

        In training they are random examples and a neighbour of each; otherwise each example of the batch twice.
        """
        data, x = self._data(), batch.x
        if not self.training or data is None or not self.neighbours:
            return replace(batch, x=torch.cat([x, x]), condition=_of_pairs(batch.condition, slice(None), slice(None)))
        if self._graph is None:
            self._graph = nearest(data.x, self.neighbours).to(data.x.device)
        elif self._step in (self._steps // 4, self._steps // 2, 3 * self._steps // 4):
            self._graph = nearest(self._features(data), self.neighbours).to(data.x.device)
        self._step += 1
        rows, column = (randint(n, (len(x),), x.device) for n in (data.n, self._graph.shape[1]))
        near = self._graph[rows, column]
        pairs = torch.cat([as_float(data.x[rows]), as_float(data.x[near])])
        return Batch(pairs, condition=_of_pairs(data.condition, rows, near))

    def _features(self, data: Batches) -> Tensor:
        """The input of the last layer of the encoder that has weights, for all of the data."""
        x = data.x
        layers = [
            m for m in self.model.encoder.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        ]
        if not layers:
            return x
        features: list[Tensor] = []
        handle = layers[-1].register_forward_pre_hook(lambda module, inputs: features.append(inputs[0].cpu()))
        try:
            conditions = () if data.condition is None else (data.condition,)
            in_slices(self.model, lambda *part: self.model.encoder(*part).mean, x, *conditions)
        finally:
            handle.remove()
        return torch.cat(features)

    def get_extra_state(self) -> Tensor:
        """The step and the neighbours until training ends, so that a resumed training continues with the same."""
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
            sources = [f"{self.neighbours} neighbours"] if self.neighbours else []
            sources += [repr(self.views)] if self.views is not None else []
            parts.append(f"{self.agreement:g} agreement under {', '.join(sources)}")
        if self.labelled:
            parts.append(f"{self.supervision:g} H(label, q) of {self.labelled} a batch")
        return " + ".join(parts)


def _of_pairs(condition: Tensor | None, first: Tensor | slice, second: Tensor | slice) -> Tensor | None:
    """The conditions of pairs of rows; None without conditions."""
    return None if condition is None else torch.cat([condition[first], condition[second]])
