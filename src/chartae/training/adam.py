"""Steps of Adam without the search for parameters and states that `torch.optim.Adam.step` repeats in every step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adam import adam

__all__ = ["AdamSteps"]


class _Lists(NamedTuple):
    """The parameters that have a state, the tensors of the state, and the parameters that have none."""

    parameters: list[Tensor]
    averages: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    others: list[Tensor]


class AdamSteps:
    """Take the steps of an Adam optimiser with one group of parameters, to the same numbers as its method `step`.

    In each step, `step` gathers parameters and states anew and reports to the profiler. For a small net that takes as
    long as the forward pass. Here the lists are kept from one step to the next; `forget` must be called when other
    states have been loaded into the optimiser. Hooks of the optimiser are not called.

    Args:
        optimiser: the optimiser, fused and without amsgrad, which keeps the learning rate and the state.

    >>> import torch
    >>> from chartae.training.adam import AdamSteps
    >>> weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    >>> plain, direct = (torch.optim.Adam([w], fused=True) for w in weights)
    >>> steps = AdamSteps(direct)
    >>> for _ in range(3):
    ...     for weight in weights:
    ...         weight.grad = weight.detach().square()
    ...     plain.step(), steps.step()
    (None, None)
    (None, None)
    (None, None)
    >>> torch.equal(*weights)
    True
    """

    def __init__(self, optimiser: Optimizer) -> None:
        self.optimiser = optimiser
        self._lists: _Lists | None = None

    def forget(self) -> None:
        """Gather the states anew in the next step."""
        self._lists = None

    def step(self) -> None:
        """Take one step with the gradients of the parameters."""
        lists = self._lists
        gradients = [] if lists is None else [p.grad for p in lists.parameters if p.grad is not None]
        if lists is None or len(gradients) < len(lists.parameters) or any(p.grad is not None for p in lists.others):
            self.optimiser.step()
            self._lists = self._gathered()
            return
        (group,) = self.optimiser.param_groups  # another one after a state has been loaded
        with torch.no_grad():
            adam(
                lists.parameters, gradients, lists.averages, lists.squares, [], lists.steps,
                fused=True, amsgrad=False, beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"],
                weight_decay=group["weight_decay"], eps=group["eps"], maximize=group["maximize"],
            )  # fmt: skip

    def _gathered(self) -> _Lists:
        state, (group,) = self.optimiser.state, self.optimiser.param_groups
        with_state = [p for p in group["params"] if state.get(p)]
        averages, squares, steps = ([state[p][name] for p in with_state] for name in ("exp_avg", "exp_avg_sq", "step"))
        return _Lists(with_state, averages, squares, steps, [p for p in group["params"] if not state.get(p)])
