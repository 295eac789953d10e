"""Trace, Term, Sum: a term is a function of one forward pass, and an objective is a weighted sum of terms."""

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
    """The results of one forward pass, computed once and passed to every term.

    Attributes:
        model: the autoencoder.
        x: data `(B, *S)`.
        condition: condition of encoder and decoder (B, K), or None.
        corrupted: input of the encoder `(B, *S)`: `x`, or a draw from the corruption C(x~|x).
        q: the distribution q(z|corrupted).
        z: one draw from q (B, D), differentiable.
        p: the distribution p(x|z).
        weight: weight of each example in the loss (B,), or None (default) if all weigh the same.
        critic_z: alias of `z`, used to compare the critics' gradient with that of the other terms; default None: terms
            with a critic then use `z`.
        gradient_ratio: ratio of these two gradients, set by the backward pass; None (default) outside training.

    >>> import torch
    >>> import chartae as ch
    >>> model = ch.Autoencoder(
    ...     ch.Dirac(torch.nn.Linear(3, 2)), ch.Gaussian(torch.nn.Linear(2, 3)), ch.StandardNormal(2)
    ... )
    >>> trace = ch.Penalised(model, ch.Reconstruction()).trace(ch.data.Batch(torch.zeros(5, 3)))
    >>> trace.z.shape, trace.p.mean.shape
    (torch.Size([5, 2]), torch.Size([5, 3]))
    """

    model: Autoencoder
    x: Tensor
    condition: Tensor | None
    corrupted: Tensor
    q: Distribution
    z: Tensor
    p: Distribution
    weight: Tensor | None = None
    critic_z: Tensor | None = None
    gradient_ratio: Tensor | None = None


class Term(nn.Module, ABC):
    """A summand of an objective, in nats per example: a pure function of one forward pass (its `Trace`).

    Subclasses define `forward`. Terms are added and multiplied by weights: ``Reconstruction() + 0.1 * LatentNorm()``.
    """

    #: whether the value depends on gradients, so that training differentiates twice
    second_order: bool = False
    #: whether a second-order term differentiates with respect to the encoder's input; False: with respect to z
    through_input: bool = False
    #: whether weights of the examples can be used: None if they multiply its value for each example; True if its one
    #: value for the batch accounts for `Trace.weight`, or does not depend on the examples; False if it cannot
    weighs: bool | None = None

    @abstractmethod
    def forward(self, t: Trace) -> Float[Tensor, "*B"]:
        """Return the value of the term.

        Args:
            t: the forward pass.

        Returns:
            One value for each example (B,), or one for the batch ().
        """

    def critic_loss(self, t: Trace) -> dict[str, Tensor]:
        """Return the loss of this term's own parameters, those of a critic; only terms with parameters define it.

        No gradient from here reaches the model.

        Args:
            t: the forward pass.

        Returns:
            The loss to minimise as ``"loss"``, and further values to log.

        Raises:
            TypeError: the term does not define this method.
        """
        raise TypeError(f"the term {self.name} has parameters. Define critic_loss(t), which returns their loss.")

    def check(self, model: Autoencoder) -> None:
        """Check that the term can be used with a model; called when an objective is built.

        Args:
            model: the autoencoder.

        Raises:
            TypeError: the term is not defined for `model`; the message names the remedy.
        """

    @property
    def name(self) -> str:
        """The name of the term in logs: the name of its class in snake case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()

    def __add__(self, other: Term) -> Sum:
        return Sum([*self._summands(), *other._summands()])

    def __mul__(self, weight: float) -> Sum:
        return Sum([(weight * w, term) for w, term in self._summands()])

    __rmul__ = __mul__

    def _summands(self) -> list[tuple[float, Term]]:
        return [(1.0, self)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


class Sum(Term):
    """A weighted sum of terms, w_1 T_1 + w_2 T_2 + ..., as Python's + and * build it.

    The second term of a class is named with ``-2`` appended, and so on.

    Args:
        summands: pairs of a finite weight and a term.

    Raises:
        ValueError: a weight is not finite.

    >>> from chartae.terms import LatentNorm, Reconstruction
    >>> Reconstruction() + 0.1 * LatentNorm()
    Reconstruction() + 0.1 LatentNorm()
    """

    def __init__(self, summands: list[tuple[float, Term]]) -> None:
        super().__init__()
        for w, term in summands:
            if not math.isfinite(w):
                raise ValueError(f"the weight of {term!r} is {w}; expected a finite number.")
        self.weights: dict[str, float] = {}
        self.terms = nn.ModuleDict()
        for w, term in summands:
            same = sum(key.split("-")[0] == term.name for key in self.weights)
            key = f"{term.name}-{same + 1}" if same else term.name
            self.weights[key] = float(w)
            self.terms[key] = term
        self.second_order = any(term.second_order for _, term in summands)
        self.through_input = any(term.through_input for _, term in summands)
        self.weighs = None if all(term.weighs is not False for _, term in summands) else False

    def parts(self) -> dict[str, Term]:
        """Return the terms by name."""
        return dict(self.terms.items())  # type: ignore[arg-type]

    def values(self, t: Trace) -> dict[str, Tensor]:
        """Return the value of every term by name, unweighted and averaged over the batch.

        Args:
            t: the forward pass.

        Raises:
            TypeError: the examples have weights, and a term returns one value for the batch and does not say what it
                does with them.
        """
        return {name: _mean(term, term(t), t.weight) for name, term in self.parts().items()}

    def forward(self, t: Trace) -> Tensor:
        return self.weigh(self.values(t))

    def weigh(self, values: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms' values.

        Args:
            values: value of every term by name, as `values` returns them.
        """
        total = None
        for name, w in self.weights.items():
            # in an ensemble, weights that differ between the models are tensors
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


def _mean(term: Term, value: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return value.mean()
    if value.ndim:
        return (value * weight).mean()
    if term.weighs is None:
        raise TypeError(
            f"the examples have weights, but the term {term.name} returns one value for the batch. Return one for each "
            "example, or set the attribute weighs of the class, which says whether the value accounts for the weights."
        )
    return value
