"""The interface of every density of codes: fit, sample, log_prob, and a state that can be saved and loaded."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.conditionals import Conditional
from chartae.distributions import Distribution
from chartae.records.settings import Plain

__all__ = ["Density", "Plain", "check_codes"]


def check_codes(z: object, *, at_least: int = 2, what: str = "density") -> Float[Tensor, "N D"]:
    """Return `z` as a detached floating-point tensor (N, D).

    Args:
        z: codes (N, D), as anything that `torch.as_tensor` reads.
        at_least: smallest number of codes that is accepted.
        what: what the codes are for, as a noun for messages.

    Returns:
        The codes (N, D), detached.

    Raises:
        ValueError: the codes are no matrix, are too few, or are not finite.
        TypeError: the codes are not floating-point numbers.
    """
    z = torch.as_tensor(z).detach()
    if z.ndim != 2 or not z.shape[1]:
        raise ValueError(
            f"codes have shape {tuple(z.shape)}; expected a matrix (codes, dimensions) for a {what}. Flatten each "
            "code to a row, as Run.encode does."
        )
    if not z.is_floating_point():
        raise TypeError(f"codes have dtype {z.dtype}; expected floating-point numbers for a {what}. Use z.float().")
    if len(z) < at_least:
        raise ValueError(f"codes have {len(z)} rows; expected at least {at_least} for a {what}. Encode more examples.")
    bad = ~z.isfinite().all(1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(z)} codes are not finite (first: row {int(bad.nonzero()[0])}); expected finite "
            "numbers. Leave these rows out, or find out why the encoder gives them."
        )
    return z


class Density(Conditional, ABC):
    """A density of codes p(z), fitted after training; it can replace the prior of any model.

    A subclass implements `fit`, `settings` and `forward`:

    * `settings()` returns the arguments of the constructor, so that an unfitted copy can be made.
    * `fit` stores everything it learns in buffers, so that `state_dict` describes the fitted density completely. A
      buffer that is None in an unfitted density takes its shape from the state that is loaded.
    * `facts` names plain attributes about the fit, such as `n_iter_`.

    Sampling before `fit` raises ValueError. A subclass decorated with `register` can be chosen by its `name` everywhere
    a density is chosen by name.

    Attributes:
        name: name of the class for recipes and the command line: lower-case letters, digits and hyphens.
        facts: names of attributes, ending in ``_``, that say how the fit went; their values are plain.
        conditional: whether the density is p(z | condition); `fit`, `sample` and `log_prob` then take a condition.
        listed: whether users choose the class by its name; False for a class that only wraps other densities.
        number: the setting that a number after the name stands for, such as ``components`` in ``gmm-20``; empty for
            none.
    """

    #: name of the class for recipes and the command line
    name: str
    #: names of attributes, ending in `_`, that say how the fit went
    facts: tuple[str, ...] = ()
    #: whether the density takes a condition
    conditional: bool = False
    #: whether users choose the class by its name
    listed: bool = True
    #: the setting that a number after the name stands for
    number: str = ""

    @abstractmethod
    def fit(self, z: Float[Tensor, "N D"], *, seed: int = 0) -> Density:
        """Fit the density to codes (N, D) and return it; the same seed gives the same fit."""

    def fit_weighted(self, z: Float[Tensor, "N D"], weight: Float[Tensor, " N"], *, seed: int = 0) -> Density:
        """Fit the density to codes (N, D) with weights (N,) > 0 of mean 1, and return it.

        A class that does not override this warns, and is fitted to the codes without their weights.
        """
        warnings.warn(
            f"the density {self.name!r} cannot weigh codes; it is fitted to codes of equal weight. Use 'normal' or "
            "'gmm' for weighted ones.",
            UserWarning,
            stacklevel=3,
        )
        return self.fit(z, seed=seed)

    @abstractmethod
    def settings(self) -> dict[str, Plain]:
        """The arguments of the constructor, as plain values."""

    def fitted(self) -> dict[str, Plain]:
        """The values of `facts` as plain values; empty before `fit`."""
        return {fact: getattr(self, fact) for fact in self.facts if hasattr(self, fact)}

    def restore(self, facts: Mapping[str, Plain]) -> None:
        """Set the facts that `fitted` returned.

        Raises:
            ValueError: a key is none of this class's `facts`.
        """
        if unknown := set(facts) - set(self.facts):
            raise ValueError(
                f"facts has {', '.join(sorted(unknown))}; expected only {', '.join(self.facts) or 'an empty mapping'} "
                f"for a {type(self).__name__}. Pass what fitted() returned."
            )
        for fact, value in facts.items():
            setattr(self, fact, value)

    @property
    def note(self) -> str:
        """One sentence about what the fit decided by itself, such as a number of components; empty if nothing."""
        return ""

    @property
    def least(self) -> int:
        """The smallest number of codes that the density can be fitted to."""
        return 2

    def tempered(self, temperature: float) -> Distribution:
        """The density at a temperature: 1 is the fitted density, a lower temperature draws codes nearer its modes.

        Raises:
            ValueError: the class defines no temperature.
        """
        raise ValueError(
            f"temperature is {temperature}; expected 1, because a {type(self).__name__} defines no temperature. Leave "
            "temperature out."
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
        """Draw codes.

        Args:
            n: number of codes; None for a single code without a leading dimension.
            c: ignored; it is part of the interface of every `Conditional`.
            condition: must be None, unless the density is conditional.
            generator: source of randomness; default: torch's global generator.
            temperature: >= 0; 1 samples the fitted density, less gives codes nearer its modes.

        Returns:
            Codes (n, D), or one code (D,) if `n` is None.

        Raises:
            ValueError: a negative temperature, a temperature that the class does not define, or a condition for a
                density that was fitted without one.
        """
        self.check_condition(condition)
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; expected a finite number >= 0. Leave it out for 1.")
        distribution = self(c) if temperature == 1 else self.tempered(temperature)
        return distribution.sample(n, generator=generator)

    def log_prob(self, a: Tensor, c: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """log p(z) of codes `a` (..., D), in nats per code (...)."""
        self.check_condition(condition)
        return self(c).log_prob(a)

    def check_condition(self, condition: Tensor | None) -> None:
        """Raise ValueError if a condition is passed to a density that was fitted without one."""
        if condition is not None and not self.conditional:
            raise ValueError(
                f"condition has shape {tuple(condition.shape)}; expected None, because this {type(self).__name__} was "
                "fitted without a condition. Leave condition out, or fit with densities.fit(name, codes, "
                "condition=...)."
            )

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        super().register_buffer(name, tensor, persistent)
        self.declared = [*getattr(self, "declared", []), name]

    @property
    def is_fitted(self) -> bool:
        """Whether the density can be sampled: every buffer has a value."""
        return all(getattr(self, name) is not None for name in self.declared)

    def require_fit(self) -> None:
        """Raise ValueError if the density has not been fitted."""
        if not self.is_fitted:
            raise ValueError(
                f"this {type(self).__name__} has not been fitted; expected a fitted density. Call fit(codes), or load "
                "one with densities.load(path)."
            )

    def check_state(self, shape: tuple[int, ...] | None = None) -> None:
        """Check a density that was loaded from a file, whose parts need not belong together, by drawing one code.

        Args:
            shape: shape of one code, (D,), which the density must have; None (default) for any.

        Raises:
            ValueError: codes have another shape. Parts that do not fit raise other errors.
        """
        drawn = tuple(self.sample(1, generator=torch.Generator().manual_seed(0)).shape[1:])
        if shape is not None and drawn != shape:
            raise ValueError(f"codes of the density have shape {drawn}; expected {shape}, as of the run")
        str(self.note)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        for name in self.declared:
            value = state.get(prefix + name)
            if isinstance(value, Tensor):
                old: Tensor | None = getattr(self, name)
                if old is None or old.shape != value.shape or old.dtype != value.dtype:
                    setattr(self, name, torch.empty_like(value, device=None if old is None else old.device))
        super()._load_from_state_dict(state, prefix, *args)
