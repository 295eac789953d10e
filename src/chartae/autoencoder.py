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
    """Put a module in evaluation mode, without gradients; afterwards restore the mode of every submodule.

    Args:
        module: the module.
    """
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for m, mode in modes:
            m.training = mode


def in_slices(
    module: nn.Module, function: Callable[..., Tensor], x: Tensor | np.ndarray, *extra: Tensor, size: int = 1000
) -> Tensor:
    """Apply a function to `size` rows at a time, with a module in evaluation mode and without gradients.

    Args:
        module: the module that `function` uses; it is put in evaluation mode, and its device and dtype are used.
        function: a function of rows of `x` and the same rows of each tensor in `extra`; returns one row for each.
        x: a tensor or an array (N, ...); uint8 values are scaled to [0, 1].
        *extra: further tensors (N, ...), sliced like `x`.
        size: number of rows in a slice, >= 1; default 1,000.

    Returns:
        The results of all slices, concatenated in order: (N, ...), on the module's device.
    """
    x = torch.as_tensor(x)
    reference = next((t for t in (*module.parameters(), *module.buffers())), x)
    device, dtype = reference.device, _floating_dtype(reference)
    with evaluating(module):
        slices = zip(*(t.to(device).split(size) for t in extra), strict=True) if extra else itertools.repeat(())
        parts = (
            function(as_float(part.to(device), dtype), *others)
            for part, others in zip(x.split(size), slices, strict=False)
        )
        first = next(parts)
        if len(first) == len(x):
            return first
        # filled slice by slice, as joining all of them takes twice the memory
        result, filled = first.new_empty((len(x), *first.shape[1:])), 0
        for part in itertools.chain((first,), parts):
            result[filled : filled + len(part)] = part
            filled += len(part)
    return result


def _floating_dtype(t: Tensor) -> torch.dtype:
    return t.dtype if t.is_floating_point() else torch.get_default_dtype()


@final
class Autoencoder(nn.Module):
    """A generative autoencoder: an encoder q(z|x), a decoder p(x|z) and a prior p(z), each a `Conditional`.

    `encode`, `decode` and `reconstruct` treat floating-point tensors as any network does: one differentiable forward
    pass, in the mode that the module is in. Stored data (integer tensors, numpy arrays) go through in slices, in
    evaluation mode and without gradients; uint8 values are scaled to [0, 1] first.

    Args:
        encoder: q(z|x), the distribution of the code given the data.
        decoder: p(x|z), the distribution of the data given the code.
        prior: p(z), the distribution of the codes; `sample` draws from it unless it gets another one.
        noise: noise level that the model is trained to remove, in the units of the data: one standard deviation, or
            (lowest, highest) if the model is conditioned on the level. (r(x) - x) / noise^2, r the reconstruction,
            then estimates the score. Default None: not trained on noise.

    Raises:
        TypeError: `encoder`, `decoder` or `prior` is not a `Conditional`.

    >>> import torch
    >>> import chartae as ch
    >>> encoder = ch.Dirac(torch.nn.Linear(3, 2))
    >>> decoder = ch.Gaussian(torch.nn.Linear(2, 3), sigma=0.5)
    >>> model = ch.Autoencoder(encoder, decoder, ch.StandardNormal(2))
    >>> model.code_shape, model.encode(torch.zeros(4, 3)).shape, model.sample(5).shape
    ((2,), torch.Size([4, 2]), torch.Size([5, 3]))
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
                    f"{role} is a {type(part).__name__}; expected a Conditional. "
                    "Wrap the net in Dirac(net), Gaussian(net, sigma) or Bernoulli(net)."
                )
        self.encoder, self.decoder, self.prior, self.noise = encoder, decoder, prior, noise

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of one code, taken from the prior."""
        return tuple(self.prior().mean.shape)

    def _apply_to(
        self, function: Callable[[Tensor, Tensor | None], Tensor], x: Tensor | np.ndarray, condition: Tensor | None
    ) -> Tensor:
        if isinstance(x, Tensor) and x.is_floating_point():
            return function(x, condition)
        if not isinstance(x, Tensor | np.ndarray):
            raise TypeError(f"the input is a {type(x).__name__}; expected a tensor or a numpy array.")
        if condition is None:
            return in_slices(self, lambda part: function(part, None), x)
        return in_slices(self, function, x, condition)

    def encode(self, x: Tensor | np.ndarray, condition: Tensor | None = None) -> Float[Tensor, B * D]:
        """Encode data: the mean of q(z|x).

        Args:
            x: data `(B, *S)`, a tensor or a numpy array.
            condition: condition of each row (B, K), for a conditional model; default None.

        Returns:
            Codes `(B, *D)`.

        Raises:
            TypeError: `x` is neither a tensor nor a numpy array.
        """
        return self._apply_to(lambda a, c: self.encoder(a, c).mean, x, condition)

    def decode(self, z: Tensor | np.ndarray, condition: Tensor | None = None) -> Float[Tensor, B * S]:
        """Decode codes: the mean of p(x|z).

        Args:
            z: codes `(B, *D)`, a tensor or a numpy array.
            condition: condition of each row (B, K), for a conditional model; default None.

        Returns:
            Data `(B, *S)`.

        Raises:
            TypeError: `z` is neither a tensor nor a numpy array.
        """
        return self._apply_to(lambda a, c: self.decoder(a, c).mean, z, condition)

    def reconstruct(self, x: Tensor | np.ndarray, condition: Tensor | None = None) -> Float[Tensor, B * S]:
        """Encode data and decode the codes: decode(encode(x)).

        Args:
            x: data `(B, *S)`, a tensor or a numpy array.
            condition: condition of each row (B, K), for a conditional model; default None.

        Returns:
            Reconstructions `(B, *S)`.

        Raises:
            TypeError: `x` is neither a tensor nor a numpy array.
        """
        return self._apply_to(lambda a, c: self.decoder(self.encoder(a, c).mean, c).mean, x, condition)

    def sample(
        self,
        n: int,
        *,
        prior: Conditional | None = None,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: bool = False,
    ) -> Float[Tensor, n * S]:
        """Generate new points: draw codes from the prior, and decode them to the decoder's mean or to draws of p(x|z).

        By default this is ancestral sampling as in Ghosh et al. (arXiv 1903.12436): the noise of p(x|z) is left out. An
        implicit decoder has no mean in closed form, so a point is drawn from it.

        Args:
            n: number of points, >= 1.
            prior: distribution of the codes, such as a fitted density; default None: the model's own prior.
            condition: condition of each point (n, K), for a conditional model; default None.
            generator: random generator of the draws; default None: the current `Stream`, or torch's global generator.
            noise: whether to draw x from p(x|z) as the decoder states it; default False. A standard deviation that is a
                constant of the loss, such as the sigma^2 = 1/2 of the papers, is not that of the data: `chartae.Run`
                then draws with the spread that it has measured.

        Returns:
            Points `(n, *S)`, on the model's device.

        Raises:
            ValueError: `n` is below 1.
        """
        if n < 1:
            raise ValueError(f"n is {n}; expected at least 1.")
        with torch.no_grad():
            z = (self.prior if prior is None else prior).sample(n, condition=condition, generator=generator)

        def decoded(part: Tensor, c: Tensor | None = None) -> Tensor:
            distribution = self.decoder(part, c)
            return distribution.sample(generator=generator) if noise else distribution.point(generator)

        return in_slices(self, decoded, z) if condition is None else in_slices(self, decoded, z, condition)
