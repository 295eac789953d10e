"""Terms that keep the decoder smooth: its weights' norm, and the gradient with respect to its input."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from chartae.autoencoder import Autoencoder
from chartae.functional import jacobian_norm, jacobian_norm_hutchinson, output_energy_gradient
from chartae.terms.base import Term, Trace

__all__ = ["DecoderGradient", "DecoderL2"]


class DecoderL2(Term):
    """||theta||^2, the squared norm of the decoder's parameters: the regulariser of RAE-L2 (1903.12436).

    Args:
        select: ``"all"`` parameters, as the paper prints it; ``"weights"``, kernels without biases and
            normalisation; ``"transposed"``, the kernels of transposed convolutions only, as the authors' code does on
            MNIST and CIFAR-10 (its CelebA net adds the first dense layer).
    """

    def __init__(self, select: str = "all") -> None:
        super().__init__()
        if select not in ("all", "weights", "transposed"):
            raise ValueError(f"select is {select!r}; choose 'all', 'weights' or 'transposed'")
        self.select = select

    def parameters_of(self, decoder: nn.Module) -> list[Tensor]:
        """The decoder's parameters that are counted."""
        if self.select == "transposed":
            layers = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose1d | nn.ConvTranspose2d)]
            return [p for m in layers for p in m.parameters() if p.ndim > 1]
        return [p for p in decoder.parameters() if self.select == "all" or p.ndim > 1]

    def forward(self, t: Trace) -> Float[Tensor, ""]:
        return sum((p.square().sum() for p in self.parameters_of(t.model.decoder)), start=t.z.new_zeros(()))

    def check(self, model: Autoencoder) -> None:
        if not self.parameters_of(model.decoder):
            raise TypeError(f"DecoderL2({self.select!r}) finds no such parameters in the decoder; use select='all'")

    def extra_repr(self) -> str:
        return "" if self.select == "all" else repr(self.select)


class DecoderGradient(Term):
    """The squared norm of the decoder's gradient with respect to its input z: the regulariser of RAE-GP (1903.12436).

    With J the Jacobian of D(z), the mean of p(x|z), at the trace's z:

    - ``"exact"``: ||J||_F^2, by one double backward for each latent dimension;
    - ``"hutchinson"``: ||J^T u||^2 with u of random signs, whose mean over u is ||J||_F^2; one backward;
    - ``"authors"``: mean_j (d/dz_j Σ D(z)^2)^2 = (4/d) ||J^T D(z)||^2, what the authors' code minimises; one backward.

    In training, batch normalisation couples the examples of a batch; the derivative goes through it, as theirs does.
    """

    second_order = True

    METHODS = {  # noqa: RUF012
        "exact": jacobian_norm,
        "hutchinson": jacobian_norm_hutchinson,
        "authors": output_energy_gradient,
    }

    def __init__(self, method: str = "hutchinson") -> None:
        super().__init__()
        if method not in self.METHODS:
            raise ValueError(f"method is {method!r}; choose from {', '.join(self.METHODS)}")
        self.method = method

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        return self.METHODS[self.method](t.p.mean, t.z)

    def extra_repr(self) -> str:
        return self.method
