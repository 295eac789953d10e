"""A generative autoencoder: three distributions, q(z|x), p(x|z) and p(z)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.conditionals import Conditional
from chartae.maths import as_float

__all__ = ["Autoencoder", "evaluating", "in_slices"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the former mode of every submodule comes back afterwards."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for m, mode in modes:
            m.training = mode


def in_slices(
    module: nn.Module, function: Callable[..., Tensor], x: Tensor | np.ndarray, *beside: Tensor, size: int = 1000
) -> Tensor:
    """function(x, ...) in evaluation mode, without gradients, `size` rows at a time on the module's device.

    Args:
        module: whose mode and device count.
        function: of rows of `x`, and of the same rows of what is `beside` it.
        x: a tensor or an array (N, ...); uint8 is read as [0, 1].
        beside: tensors (N, ...).
        size: rows at a time.

    Returns:
        The results, one behind the other, on the module's device.
    """
    x = torch.as_tensor(x)
    home = next((t for t in (*module.parameters(), *module.buffers())), x)
    with evaluating(module):
        slices = zip(*(t.to(home.device).split(size) for t in beside), strict=True) if beside else itertools.repeat(())
        parts = [
            function(as_float(part.to(home.device), _floating(home)), *others)
            for part, others in zip(x.split(size), slices, strict=False)
        ]
    return torch.cat(parts) if len(parts) != 1 else parts[0]


def _floating(t: Tensor) -> torch.dtype:
    return t.dtype if t.is_floating_point() else torch.get_default_dtype()


@final
class Autoencoder(nn.Module):
    """Encoder q(z|x), decoder p(x|z) and prior p(z), each a `Conditional`.

    `encode`, `decode` and `reconstruct` take a floating tensor as a network does: in one differentiable pass, in the
    mode the module is in. Data as they are stored (uint8 tensors, numpy arrays) are scaled to [0, 1] where they are
    uint8, and go through in slices, in evaluation mode and without gradients.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z); what `sample` draws from unless it is given another.
        noise: the noise it is trained to remove, if any: a standard deviation, or (lowest, highest) where it is told
            the level as its condition y. (r(x) - x) / noise^2 is then an estimate of the score.

    >>> from chartae.conditionals import Dirac, Gaussian, StandardNormal
    >>> model = Autoencoder(Dirac(nn.Linear(3, 2)), Gaussian(nn.Linear(2, 3), sigma=0.5), StandardNormal(2))
    >>> model.sample(5).shape, model.code_shape
    (torch.Size([5, 3]), (2,))
    """

    def __init__(
        self,
        encoder: Conditional,
        decoder: Conditional,
        prior: Conditional,
        *,
        noise: float | tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        for role, part in (("encoder", encoder), ("decoder", decoder), ("prior", prior)):
            if not isinstance(part, Conditional):
                raise TypeError(
                    f"the {role} is a {type(part).__name__}, but must be a Conditional: "
                    "wrap a net in Dirac(net), Gaussian(net, sigma) or Bernoulli(net)"
                )
        self.encoder, self.decoder, self.prior, self.noise = encoder, decoder, prior, noise

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of a code, which is the prior's."""
        return tuple(self.prior().mean.shape)

    def _through(
        self, function: Callable[[Tensor, Tensor | None], Tensor], x: Tensor | np.ndarray, condition: Tensor | None
    ) -> Tensor:
        if isinstance(x, Tensor) and x.is_floating_point():
            return function(x, condition)
        if not isinstance(x, Tensor | np.ndarray):
            raise TypeError(f"got a {type(x).__name__}; give a tensor or a numpy array")
        if condition is None:
            return in_slices(self, lambda part: function(part, None), x)
        return in_slices(self, function, x, condition)

    def encode(self, x: Tensor | np.ndarray, condition: Tensor | None = None) -> Float[Tensor, B * D]:
        """The mean of q(z|x)."""
        return self._through(lambda a, c: self.encoder(a, c).mean, x, condition)

    def decode(self, z: Tensor | np.ndarray, condition: Tensor | None = None) -> Float[Tensor, B * S]:
        """The mean of p(x|z)."""
        return self._through(lambda a, c: self.decoder(a, c).mean, z, condition)

    def reconstruct(self, x: Tensor | np.ndarray, condition: Tensor | None = None) -> Float[Tensor, B * S]:
        """decode(encode(x))."""
        return self._through(lambda a, c: self.decoder(self.encoder(a, c).mean, c).mean, x, condition)

    def sample(
        self,
        n: int,
        *,
        prior: Conditional | None = None,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, n * S]:
        """`n` new points: codes from `prior` (a fitted density; else the model's own), through the decoder's mean.

        Ancestral sampling as in 1903.12436: the likelihood's own noise is left out. An implicit decoder, which has no
        mean to show, is drawn from.

        Args:
            n: how many, >= 1.
            prior: what codes are drawn from; by default the model's own.
            condition: of each point (n, K), where the model is conditional.
            generator: of the draws.
        """
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one sample")
        with torch.no_grad():
            z = (self.prior if prior is None else prior).sample(n, condition=condition, generator=generator)
        if condition is None:
            return in_slices(self, lambda part: self.decoder(part).point(generator), z)
        return in_slices(self, lambda part, c: self.decoder(part, c).point(generator), z, condition)
