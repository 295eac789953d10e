"""Losses of a critic (discriminator), computed from its logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "LOSSES",
    "CriticLoss",
    "critic_loss",
    "gradient_penalty",
    "logistic_loss",
    "logits_of",
    "loss_of",
    "penalised_logits",
]


def _logits(critic: Callable[..., Tensor], parts: Sequence[Tensor], condition: Tensor | None) -> Tensor:
    """The critic's logits; a condition is data, so no gradient flows through it."""
    return critic(*parts) if condition is None else critic(*parts, condition=condition.detach())


def gradient_penalty(
    critic: Callable[..., Tensor],
    *parts: Tensor,
    lengths: Sequence[float | Tensor] | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """Return the zero-centred gradient penalty of a critic, ½ E Σ_i l_i ||dT/d(part i)||^2.

    On real examples it is called R1, on generated ones R2. Mescheder, Geiger, Nowozin, "Which Training Methods for GANs
    do actually Converge?", 2018 (arXiv 1801.04406).

    Args:
        critic: function from the parts, and a keyword `condition` if there is one, to logits (N,).
        *parts: inputs of the critic (N, ...), such as x and z.
        lengths: squared length scale l_i of each part, so that the penalty does not depend on its units; default None:
            1 for every part.
        condition: labels or covariates (N, K); the gradient with respect to them is not penalised. Default None.

    Returns:
        The penalty, a 0-d tensor, differentiable with respect to the critic's parameters.

    >>> import torch
    >>> from chartae.maths import gradient_penalty
    >>> gradient_penalty(lambda x: 3 * x[:, 0], torch.zeros(5, 2)).item()  # half of 3^2
    4.5
    """
    leaves = [part.detach().requires_grad_() for part in parts]
    with torch.enable_grad():
        return 0.5 * _mean_squared_gradient(_logits(critic, leaves, condition), leaves, lengths)


def _mean_squared_gradient(
    logits: Tensor, leaves: Sequence[Tensor], lengths: Sequence[float | Tensor] | None
) -> Tensor:
    """The mean of Σ_i l_i ||dT/d(leaf i)||^2, differentiable."""
    gradients = torch.autograd.grad(logits.sum(), leaves, create_graph=True)
    total = logits.new_zeros(())
    for gradient, length in zip(gradients, lengths or [1.0] * len(leaves), strict=True):
        total = total + length * gradient.flatten(1).square().sum(1).mean()
    return total


def logits_of(
    critic: Callable[..., Tensor],
    real: Sequence[Tensor],
    fake: Sequence[Tensor],
    *,
    batches: bool = False,
    condition: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return a critic's logits of real and of generated examples, computed in one forward pass if possible.

    Args:
        critic: function from its inputs, and a keyword `condition` if there is one, to logits (N,).
        real: inputs of the critic for real examples, each (N, ...).
        fake: inputs of the critic for generated examples, each (N, ...).
        batches: whether the critic uses statistics of the batch, so that real and generated examples need separate
            forward passes; default False.
        condition: labels or covariates (N, K); row i belongs to row i of both sides. Default None.

    Returns:
        Logits (N,) of the real and (N,) of the generated examples.

    >>> import torch
    >>> from chartae.maths import logits_of
    >>> logits_of(lambda x: x[:, 0], [torch.ones(2, 1)], [torch.zeros(2, 1)])
    (tensor([1., 1.]), tensor([0., 0.]))
    """
    if batches:
        return _logits(critic, real, condition), _logits(critic, fake, condition)
    parts = [torch.cat(sides) for sides in zip(real, fake, strict=True)]
    of_real, of_fake = _logits(critic, parts, _repeated(condition)).chunk(2)
    return of_real, of_fake


def _repeated(condition: Tensor | None) -> Tensor | None:
    """The condition twice, for the real and the generated examples."""
    return None if condition is None else torch.cat([condition, condition])


def penalised_logits(
    critic: Callable[..., Tensor],
    real: Sequence[Tensor],
    fake: Sequence[Tensor],
    *,
    lengths: Sequence[float | Tensor] | None = None,
    share: float = 1.0,
    batches: bool = False,
    condition: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a critic's logits of real and generated examples, and the gradient penalty R1 + R2.

    Everything is computed in one forward pass if `share` is 1 and `batches` is False.

    Args:
        critic: function from its inputs, and a keyword `condition` if there is one, to logits (N,).
        real: inputs of the critic for real examples, each (N, ...).
        fake: inputs of the critic for generated examples, each (N, ...).
        lengths: squared length scale of each input in the penalty; default None: 1 for every input.
        share: share of the examples on which the penalty is computed, above 0 and at most 1; default 1.
        batches: whether the critic uses statistics of the batch, so that real and generated examples need separate
            forward passes; default False.
        condition: labels or covariates (N, K); row i belongs to row i of both sides. Default None.

    Returns:
        Logits (N,) of the real examples, logits (N,) of the generated examples, and the penalty, a 0-d tensor.

    >>> import torch
    >>> from chartae.maths import penalised_logits
    >>> critic = lambda x: 3 * x[:, 0]
    >>> *_, penalty = penalised_logits(critic, [torch.ones(2, 1)], [torch.zeros(2, 1)])
    >>> penalty.item()  # half of 3^2 on either side
    9.0
    """
    if share < 1 or batches:
        of_real, of_fake = logits_of(critic, real, fake, batches=batches, condition=condition)
        rows = slice(math.ceil(share * len(real[0])))
        first = None if condition is None else condition[rows]
        r1, r2 = (
            gradient_penalty(critic, *(part[rows] for part in side), lengths=lengths, condition=first)
            for side in (real, fake)
        )
        return of_real, of_fake, r1 + r2
    leaves = [torch.cat(sides).detach().requires_grad_() for sides in zip(real, fake, strict=True)]
    with torch.enable_grad():
        logits = _logits(critic, leaves, _repeated(condition))
        # ½ mean over the real + ½ mean over the generated examples = the mean over all of them
        penalty = _mean_squared_gradient(logits, leaves, lengths)
    of_real, of_fake = logits.chunk(2)
    return of_real, of_fake, penalty


def logistic_loss(real: Tensor, fake: Tensor, *, pairs: bool = False) -> tuple[Tensor, Tensor]:
    """Return the logistic loss of a critic's logits, in nats, and its accuracy.

    The loss is E softplus(-T(real)) + E softplus(T(fake)); the critic is right where T has the right sign. For pairs
    it is the relativistic loss E softplus(T(fake) - T(real)) of Jolicoeur-Martineau, 2018 (arXiv 1807.00734); the
    critic is right where the real example has the larger logit.

    Args:
        real: logits of real examples (N,).
        fake: logits of generated examples (M,); M = N for pairs.
        pairs: whether to use the relativistic loss; default False.

    Returns:
        The loss and the accuracy (from 0 to 1), 0-d tensors.

    >>> import torch
    >>> from chartae.maths import logistic_loss
    >>> logistic_loss(torch.tensor([2.0]), torch.tensor([-2.0]))
    (tensor(0.2539), tensor(1.))
    """
    if pairs:
        return softplus(fake - real).mean(), (real > fake).to(real.dtype).mean()
    right = 0.5 * ((real > 0).to(real.dtype).mean() + (fake < 0).to(real.dtype).mean())
    return (softplus(-real) + softplus(fake)).mean(), right


#: names of the losses that a model can minimise, given a critic's logits
LOSSES = ("non-saturating", "relativistic", "logit")


def loss_of(name: str) -> str:
    """Return the name of an adversarial loss, after checking that it exists.

    Args:
        name: one of `LOSSES`: ``"non-saturating"``, ``"relativistic"`` or ``"logit"``.

    Returns:
        The name.

    Raises:
        ValueError: unknown name.

    >>> from chartae.maths import loss_of
    >>> loss_of("relativistic")
    'relativistic'
    """
    if name not in LOSSES:
        raise ValueError(f"loss is {name!r}; expected one of {', '.join(LOSSES)}")
    return name


class CriticLoss(NamedTuple):
    """The loss of a critic, its accuracy and its logits.

    Attributes:
        loss: loss that the critic minimises, including the gradient penalty; a 0-d tensor in nats.
        right: accuracy, from 0 to 1; a 0-d tensor.
        real: logits of the real examples (N,).
        fake: logits of the generated examples (N,).

    >>> import torch
    >>> from chartae.maths import critic_loss
    >>> out = critic_loss(lambda x: x[:, 0], [torch.ones(2, 1)], [-torch.ones(2, 1)])
    >>> out.right, out.real
    (tensor(1.), tensor([1., 1.]))
    """

    loss: Tensor
    right: Tensor
    real: Tensor
    fake: Tensor


def critic_loss(
    critic: Callable[..., Tensor],
    real: Sequence[Tensor],
    fake: Sequence[Tensor],
    *,
    penalty: float = 0.0,
    lengths: Sequence[float | Tensor] | None = None,
    share: float = 1.0,
    pairs: bool = False,
    batches: bool = False,
    condition: Tensor | None = None,
) -> CriticLoss:
    """Return the loss that a critic minimises: the logistic loss of its logits plus penalty (R1 + R2).

    The logistic loss is E softplus(-T(real)) + E softplus(T(fake)), or E softplus(T(fake) - T(real)) for pairs. R1 and
    R2 are ½ E ||dT||^2 on real and on generated examples.

    Args:
        critic: function from its inputs, and a keyword `condition` if there is one, to logits (N,).
        real: inputs of the critic for real examples, each (N, ...).
        fake: inputs of the critic for generated examples, each (N, ...).
        penalty: weight of the gradient penalty R1 + R2, >= 0; default 0.
        lengths: squared length scale of each input in the penalty; default None: 1 for every input.
        share: share of the examples on which the penalty is computed, above 0 and at most 1; default 1.
        pairs: whether to use the relativistic loss, which compares pairs; default False.
        batches: whether the critic uses statistics of the batch, so that real and generated examples need separate
            forward passes; default False.
        condition: labels or covariates (N, K); row i belongs to row i of both sides. Default None.

    Returns:
        The loss, the accuracy, and the logits of both sides.

    >>> import torch
    >>> from chartae.maths import critic_loss
    >>> out = critic_loss(lambda x: 3 * x[:, 0], [torch.ones(2, 1)], [-torch.ones(2, 1)], penalty=0.5)
    >>> out.loss  # 2 softplus(-3) + 9 / 2
    tensor(4.5972, ...)
    """
    if not penalty:
        of_real, of_fake = logits_of(critic, real, fake, batches=batches, condition=condition)
        return CriticLoss(*logistic_loss(of_real, of_fake, pairs=pairs), of_real, of_fake)
    of_real, of_fake, gradients = penalised_logits(
        critic, real, fake, lengths=lengths, share=share, batches=batches, condition=condition
    )
    loss, right = logistic_loss(of_real, of_fake, pairs=pairs)
    return CriticLoss(loss + penalty * gradients, right, of_real, of_fake)
