"""Trace, Term, Sum: a regulariser is a function of one forward pass, and an objective is a sum of such functions."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from chartae.autoencoder import Autoencoder
from chartae.distributions import Distribution

__all__ = ["Sum", "Term", "Trace"]


@dataclass(frozen=True)
class Trace:
    """One forward pass, computed once and handed to every term.

    Attributes:
        model: the autoencoder.
        x: the data (B, *S).
        condition: what encoder and decoder are conditioned on (B, K), if anything.
        seen: what the encoder saw: `x`, or a draw of the corruption C(x~|x).
        q: q(z|seen).
        z: one draw of it (B, D), with gradients.
        p: p(x|z).
        weight: how much each example counts (B,), where the corruption says so.
        judged: `z` again, for critics: what they tell the encoder is compared with what the other terms do.
        pull: the ratio of the two gradients, which the backward pass sets; None outside training.
    """

    model: Autoencoder
    x: Tensor
    condition: Tensor | None
    seen: Tensor
    q: Distribution
    z: Tensor
    p: Distribution
    weight: Tensor | None = None
    judged: Tensor | None = None
    pull: Tensor | None = None


class Term(nn.Module, ABC):
    """A summand of an objective, in nats per example; a pure function of its `Trace`."""

    #: whether the value is itself made of gradients, so that training differentiates twice
    second_order: bool = False
    #: whether it differentiates with respect to what the encoder saw (a second-order term; others: with respect to z)
    through_input: bool = False

    @abstractmethod
    def forward(self, t: Trace) -> Float[Tensor, "*B"]:
        """One value an example (B,), or one for the batch ()."""

    def rival(self, t: Trace) -> dict[str, Tensor]:
        """What this term's critic minimises, as ``"loss"``, and what else to log; only of terms with parameters.

        No gradients reach the model from here.
        """
        raise TypeError(f"the term {self.name} has parameters of its own, but no rival() that says what they minimise")

    def check(self, model: Autoencoder) -> None:
        """Raise TypeError if the term makes no sense for `model`; called where an objective is put together."""

    @property
    def name(self) -> str:
        """The class's name in snake case: the term's name in logs."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()

    def __add__(self, other: Term) -> Sum:
        return Sum([*self._summands(), *other._summands()])

    def __mul__(self, weight: float) -> Sum:
        return Sum([(weight * w, term) for w, term in self._summands()])

    __rmul__ = __mul__

    def _summands(self) -> list[tuple[float, Term]]:
        return [(1.0, self)]

    def __repr__(self) -> str:
        inside = self.extra_repr()
        return f"{type(self).__name__}({inside})"


class Sum(Term):
    """w_1 T_1 + w_2 T_2 + ...; built by writing it. Terms of one class are numbered apart.

    >>> from chartae.terms import LatentNorm, Reconstruction
    >>> Reconstruction() + 0.1 * LatentNorm()
    Reconstruction() + 0.1 LatentNorm()
    """

    def __init__(self, summands: list[tuple[float, Term]]) -> None:
        super().__init__()
        for w, term in summands:
            if not math.isfinite(w):
                raise ValueError(f"the weight of {term!r} is {w}; a weight is a finite number")
        self.weights: dict[str, float] = {}
        self.terms = nn.ModuleDict()
        for w, term in summands:
            same = sum(key.split("-")[0] == term.name for key in self.weights)
            key = f"{term.name}-{same + 1}" if same else term.name
            self.weights[key] = float(w)
            self.terms[key] = term
        self.second_order = any(term.second_order for _, term in summands)
        self.through_input = any(term.through_input for _, term in summands)

    def parts(self) -> dict[str, Term]:
        """The terms by their names."""
        return dict(self.terms.items())  # type: ignore[arg-type]

    def values(self, t: Trace) -> dict[str, Tensor]:
        """Every term by its name, unweighted, averaged over the batch."""
        return {name: _mean(term(t), t.weight) for name, term in self.terms.items()}

    def forward(self, t: Trace) -> Tensor:
        return self.weigh(self.values(t))

    def weigh(self, values: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms' values."""
        total = None
        for name, w in self.weights.items():
            # in an ensemble, weights that differ are tensors
            part = values[name] if isinstance(w, float) and w == 1 else w * values[name]
            total = part if total is None else total + part
        assert total is not None
        return total

    def check(self, model: Autoencoder) -> None:
        for term in self.parts().values():
            term.check(model)

    def _summands(self) -> list[tuple[float, Term]]:
        return [(self.weights[name], term) for name, term in self.parts().items()]

    def __repr__(self) -> str:
        return " + ".join(f"{term!r}" if w == 1 else f"{w:g} {term!r}" for w, term in self._summands())


def _mean(value: Tensor, weight: Tensor | None) -> Tensor:
    return value.mean() if weight is None or not value.ndim else (value * weight).mean()
