"""What every density of codes has: fit, sample, log_prob, and a state that can be saved and loaded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.conditionals import Conditional
from chartae.distributions import Distribution
from chartae.records.settings import Plain

__all__ = ["Density", "Plain", "check_codes"]

#: what JSON holds: numbers, texts, and lists and tables of them


def check_codes(z: object, *, at_least: int = 2, what: str = "density") -> Float[Tensor, "N D"]:
    """`z` as a detached floating tensor (N, D), or an error that says what is wrong with it."""
    z = torch.as_tensor(z).detach()
    if z.ndim != 2 or not z.shape[1]:
        raise ValueError(f"codes have shape {tuple(z.shape)}; a {what} is fitted to a matrix (points, dimensions)")
    if not z.is_floating_point():
        raise TypeError(f"codes are {z.dtype}; a {what} is fitted to floating-point codes")
    if len(z) < at_least:
        raise ValueError(f"{len(z)} codes were given; this {what} needs at least {at_least}")
    bad = ~z.isfinite().all(1)
    if bad.any():
        raise ValueError(f"{int(bad.sum())} of {len(z)} codes are not finite (first: row {int(bad.nonzero()[0])})")
    return z


class Density(Conditional, ABC):
    """p(z), fitted to codes after training; it can stand in for any model's prior.

    What a subclass stores in `__init__` it hands back from `settings()`; what `fit` finds it keeps in buffers, so
    that `state_dict` is the whole of it. A buffer that is None in a fresh object takes its shape from the state that
    is loaded. Plain facts about the fit (`n_iter_`) are named in `facts`. Before `fit`, sampling is an error.

    Under `register`, a subclass with a `name` is known wherever a density is chosen by name.
    """

    #: the name by which recipes and the command line know the class
    name: str
    #: attributes, ending in `_`, that tell how the fit went; plain values
    facts: tuple[str, ...] = ()
    #: whether it is a density given a condition, which `fit`, `sample` and `log_prob` then take
    conditional: bool = False
    #: whether users choose it by its name; not if it only wraps others
    listed: bool = True
    #: the setting that a number behind the name stands for, as in ``gmm-20``; none by default
    number: str = ""

    @abstractmethod
    def fit(self, z: Float[Tensor, "N D"], *, seed: int = 0) -> Density:
        """Fit to codes (N, D) and return self; the same seed gives the same fit."""

    @abstractmethod
    def settings(self) -> dict[str, Plain]:
        """The constructor arguments, as plain values."""

    def fitted(self) -> dict[str, Plain]:
        """What is known about the fit, as plain values; empty before `fit`."""
        return {fact: getattr(self, fact) for fact in self.facts if hasattr(self, fact)}

    def restore(self, facts: Mapping[str, Plain]) -> None:
        """Take up what `fitted` gave; a fact that this class does not know is an error."""
        if strange := set(facts) - set(self.facts):
            raise ValueError(f"{', '.join(sorted(strange))} is not a fact of a {type(self).__name__}")
        for fact, value in facts.items():
            setattr(self, fact, value)

    @property
    def least(self) -> int:
        """The fewest codes that it can be fitted to."""
        return 2

    def tempered(self, temperature: float) -> Distribution:
        """The distribution at a temperature, which is 1 for the fitted one, and lower for draws nearer its modes.

        Raises:
            ValueError: a density for which no temperature is defined.
        """
        raise ValueError(
            f"temperature is {temperature}, but a {type(self).__name__} has none; expected 1. Leave temperature out."
        )

    def sample(
        self,
        n: int | None = None,
        c: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """`n` codes (n, D), or one (D,) where `n` is None; at a `temperature` of at least 0, as `tempered` says."""
        self.check_condition(condition)
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; expected a number of at least 0. Leave it out for 1.")
        distribution = self(c) if temperature == 1 else self.tempered(temperature)
        return distribution.sample(n, generator=generator)

    def log_prob(self, a: Tensor, c: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """log p(z) of codes (..., D), in nats per code."""
        self.check_condition(condition)
        return self(c).log_prob(a)

    def check_condition(self, condition: Tensor | None) -> None:
        """Raise a ValueError where there is a condition, but this density was fitted without one."""
        if condition is not None and not self.conditional:
            raise ValueError(
                f"condition has shape {tuple(condition.shape)}, but this {type(self).__name__} was fitted without one; "
                "expected None. Leave condition out, or fit a density with densities.fit(name, codes, condition=...)."
            )

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        super().register_buffer(name, tensor, persistent)
        self.declared = [*getattr(self, "declared", []), name]

    @property
    def is_fitted(self) -> bool:
        """Whether there is something to sample from: every buffer has its value."""
        return all(getattr(self, name) is not None for name in self.declared)

    def require_fit(self) -> None:
        """Raise a ValueError that names the remedy where `fit` has not been called."""
        if not self.is_fitted:
            raise ValueError(f"this {type(self).__name__} has not been fitted; call fit(codes), or load a fitted one")

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        for name in self.declared:
            value = state.get(prefix + name)
            if isinstance(value, Tensor):
                old: Tensor | None = getattr(self, name)
                if old is None or old.shape != value.shape or old.dtype != value.dtype:
                    setattr(self, name, torch.empty_like(value, device=None if old is None else old.device))
        super()._load_from_state_dict(state, prefix, *args)
