"""What a critic's logits cost a critic and a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "LOSSES",
    "Judged",
    "gradient_penalty",
    "judged",
    "logits_of",
    "loss_of",
    "penalised_logits",
    "told_apart",
]


def _logits(critic: Callable[..., Tensor], parts: Sequence[Tensor], condition: Tensor | None) -> Tensor:
    """The critic's logits; a condition is data, through which no gradient goes."""
    return critic(*parts) if condition is None else critic(*parts, condition=condition.detach())


def gradient_penalty(
    critic: Callable[..., Tensor],
    *parts: Tensor,
    lengths: Sequence[float | Tensor] | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """½ E Σ_i l_i ||dT/d(part i)||^2, zero-centred: R1 on positives, R2 on negatives.

    `lengths` are the squared lengths l_i, in which each part is measured; 1 by default. The critic gets a `condition`
    (N, K) by that keyword, and its slope in it is not penalised. Mescheder, Geiger, Nowozin, "Which Training Methods
    for GANs do actually Converge?", 2018 (arXiv 1801.04406).
    """
    leaves = [part.detach().requires_grad_() for part in parts]
    with torch.enable_grad():
        return 0.5 * _steepness(_logits(critic, leaves, condition), leaves, lengths)


def _steepness(logits: Tensor, leaves: Sequence[Tensor], lengths: Sequence[float | Tensor] | None) -> Tensor:
    """The mean of Σ_i l_i ||dT/d(leaf i)||^2, differentiable."""
    gradients = torch.autograd.grad(logits.sum(), leaves, create_graph=True)
    total = logits.new_zeros(())
    for gradient, length in zip(gradients, lengths or [1.0] * len(leaves), strict=True):
        total = total + length * gradient.flatten(1).square().sum(1).mean()
    return total


def logits_of(
    critic: Callable[..., Tensor],
    real: Sequence[Tensor],
    made: Sequence[Tensor],
    *,
    batches: bool = False,
    condition: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A critic's logits (N,) of both sides, each a list of its inputs (N, ...), as many real as made ones: from one
    pass, or where it judges `batches`, each of one kind, from two. Row i of both sides has row i of the `condition`
    (N, K), which the critic gets by that keyword."""
    if batches:
        return _logits(critic, real, condition), _logits(critic, made, condition)
    parts = [torch.cat(sides) for sides in zip(real, made, strict=True)]
    above, below = _logits(critic, parts, _twice(condition)).chunk(2)
    return above, below


def _twice(condition: Tensor | None) -> Tensor | None:
    """The condition of both sides of a critic, one below the other."""
    return None if condition is None else torch.cat([condition, condition])


def penalised_logits(
    critic: Callable[..., Tensor],
    real: Sequence[Tensor],
    made: Sequence[Tensor],
    *,
    lengths: Sequence[float | Tensor] | None = None,
    share: float = 1.0,
    batches: bool = False,
    condition: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`logits_of` both sides, and R1 + R2 of `gradient_penalty` on a share of them: by one pass where it can be."""
    if share < 1 or batches:
        above, below = logits_of(critic, real, made, batches=batches, condition=condition)
        rows = slice(math.ceil(share * len(real[0])))
        first = None if condition is None else condition[rows]
        one, other = (
            gradient_penalty(critic, *(part[rows] for part in side), lengths=lengths, condition=first)
            for side in (real, made)
        )
        return above, below, one + other
    leaves = [torch.cat(sides).detach().requires_grad_() for sides in zip(real, made, strict=True)]
    with torch.enable_grad():
        logits = _logits(critic, leaves, _twice(condition))
        # half of the mean over the real and half of that over the made are one mean over both
        penalty = _steepness(logits, leaves, lengths)
    above, below = logits.chunk(2)
    return above, below, penalty


def told_apart(real: Tensor, made: Tensor, *, pairs: bool = False) -> tuple[Tensor, Tensor]:
    """What a critic pays for its logits (N,) and (M,) (of pairs M = N), in nats, and how often it is right, 0 to 1.

    softplus(-T) of the real and softplus(T) of the made, each averaged, and right where T has the sign; of `pairs`,
    softplus of the made one's less the real one's (Jolicoeur-Martineau, 2018, arXiv 1807.00734), and right where the
    real one's is the higher.
    """
    if pairs:
        return softplus(made - real).mean(), (real > made).to(real.dtype).mean()
    right = 0.5 * ((real > 0).to(real.dtype).mean() + (made < 0).to(real.dtype).mean())
    return (softplus(-real) + softplus(made)).mean(), right


#: what a model pays by a critic's logits
LOSSES = ("non-saturating", "relativistic", "logit")


def loss_of(name: str) -> str:
    """One of `LOSSES`; a ValueError says which there are."""
    if name not in LOSSES:
        raise ValueError(f"loss is {name!r}; choose from {', '.join(LOSSES)}")
    return name


class Judged(NamedTuple):
    """What a critic pays, penalty and all; how often it is right; and its logits of both sides."""

    loss: Tensor
    right: Tensor
    real: Tensor
    made: Tensor


def judged(
    critic: Callable[..., Tensor],
    real: Sequence[Tensor],
    made: Sequence[Tensor],
    *,
    penalty: float = 0.0,
    lengths: Sequence[float | Tensor] | None = None,
    share: float = 1.0,
    pairs: bool = False,
    batches: bool = False,
    condition: Tensor | None = None,
) -> Judged:
    """`told_apart` of both sides, plus `penalty` times R1 + R2 in units of `lengths`, on a `share` of them."""
    if not penalty:
        above, below = logits_of(critic, real, made, batches=batches, condition=condition)
        return Judged(*told_apart(above, below, pairs=pairs), above, below)
    above, below, steepness = penalised_logits(
        critic, real, made, lengths=lengths, share=share, batches=batches, condition=condition
    )
    loss, right = told_apart(above, below, pairs=pairs)
    return Judged(loss + penalty * steepness, right, above, below)
