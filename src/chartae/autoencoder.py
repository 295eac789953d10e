"""A generative autoencoder: three distributions, q(z|x), p(x|z) and p(z)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

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


def in_slices(module: nn.Module, function: Callable[[Tensor], Tensor], x: Any, size: int = 1000) -> Tensor:
    """function(x) in evaluation mode, without gradients, `size` rows at a time on the module's device.

    `x` is a tensor or an array; uint8 is read as [0, 1]. The result lies on the module's device.
    """
    x = torch.as_tensor(x)
    home = next((t for t in (*module.parameters(), *module.buffers())), x)
    with evaluating(module):
        parts = [function(as_float(part.to(home.device), _floating(home))) for part in x.split(size)]
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

    def _through(self, function: Callable[[Tensor], Tensor], x: Any) -> Tensor:
        if isinstance(x, Tensor) and x.is_floating_point():
            return function(x)
        if not isinstance(x, Tensor | np.ndarray):
            raise TypeError(f"got a {type(x).__name__}; give a tensor or a numpy array")
        return in_slices(self, function, x)

    def encode(self, x: Any, y: Tensor | None = None) -> Float[Tensor, B * D]:
        """The mean of q(z|x)."""
        return self._through(lambda a: self.encoder(a, y).mean, x)

    def decode(self, z: Any, y: Tensor | None = None) -> Float[Tensor, B * S]:
        """The mean of p(x|z)."""
        return self._through(lambda a: self.decoder(a, y).mean, z)

    def reconstruct(self, x: Any, y: Tensor | None = None) -> Float[Tensor, B * S]:
        """decode(encode(x))."""
        return self._through(lambda a: self.decoder(self.encoder(a, y).mean, y).mean, x)

    def sample(
        self, n: int, *, prior: Conditional | None = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, n * S]:
        """`n` new points: codes from `prior` (a fitted density; else the model's own), through the decoder's mean.

        Ancestral sampling as in 1903.12436: the likelihood's own noise is left out. An implicit decoder, which has no
        mean to show, is drawn from.
        """
        if n < 1:
            raise ValueError(f"n is {n}; ask for at least one sample")
        with torch.no_grad():
            z = (self.prior if prior is None else prior).sample(n, generator=generator)
        return in_slices(self, lambda part: self.decoder(part).point(generator), z)
