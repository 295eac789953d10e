"""Terms that keep the decoder smooth: its weights' norm, and the gradient with respect to its input."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.autoencoder import Autoencoder
from chartae.maths import (
    column_gram,
    hadamard_gap,
    jacobian,
    jacobian_norm,
    jacobian_norm_by_rows,
    jacobian_norm_hutchinson,
    one_hidden_jacobian_norm,
    output_energy_gradient,
)
from chartae.nn import BATCH_NORMS, HiddenLayer, SkipDecoder, SkipEncoder, TiedDecoder
from chartae.terms.base import Term, Trace

__all__ = ["Contraction", "DecoderGradient", "DecoderL2", "Orthogonality"]


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

    With J the Jacobian of D(z), the mean of p(x|z) (of categories the logits), at the trace's z:

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
        return self.METHODS[self.method](t.p.smooth(t.x), t.z)

    def extra_repr(self) -> str:
        return self.method


class Contraction(Term):
    """||J||_F^2, J the Jacobian of the whole map r(x) = decode(encode(x)) with respect to x, or of the encoder alone.

    Of the whole map it makes the reconstruction contractive autoencoder of Alain and Bengio (1211.4246): beside the
    printed ||r(x) - x||^2 its weight is sigma^2, beside a Gaussian likelihood of standard deviation t it is
    sigma^2 / (2 t^2), and (r(x) - x) / sigma^2 estimates the score. Of the encoder it is the contractive autoencoder
    of Rifai et al., 2011, whose decoder may undo the contraction.

    - ``"exact"``: one backward for each output, or for each input where those are fewer;
    - ``"hutchinson"``: ||Jᵀu||^2 with u of random signs (less variance than normal numbers), one backward;
    - ``"closed"``: one hidden layer, r(x) = V φ(W x + b) + c, free or tied, with or without the residual x + s^2 (.):
      φ'ᵀ [(VᵀV) ∘ (WWᵀ)] φ' and no derivative by autograd at all; it pays where a batch is larger than the input.
    """

    METHODS = ("exact", "hutchinson", "closed")

    def __init__(self, method: str = "hutchinson", of: str = "reconstruction") -> None:
        super().__init__()
        if method not in self.METHODS:
            raise ValueError(f"method is {method!r}; choose from {', '.join(self.METHODS)}")
        if of not in ("reconstruction", "encoder"):
            raise ValueError(f"of is {of!r}; choose 'reconstruction' (the whole map) or 'encoder'")
        self.method, self.of = method, of
        self.second_order = self.through_input = method != "closed"

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        if self.method == "closed":
            return self._closed(t)
        out = t.p.mean if self.of == "reconstruction" else t.q.mean
        if self.method == "hutchinson":
            return jacobian_norm_hutchinson(out, t.seen)
        few = out[0].numel() <= 2 * t.seen[0].numel()
        return jacobian_norm_by_rows(out, t.seen) if few else jacobian_norm(out, t.seen)

    def _closed(self, t: Trace) -> Tensor:
        layer, V, scale, skip = self._layers(t.model)
        slope = layer.slope(t.seen)
        if self.of == "encoder":
            return slope.square() @ layer.weight.square().sum(1)
        return one_hidden_jacobian_norm(slope, layer.weight, V, scale, skip)

    def _layers(self, model: Autoencoder) -> tuple[HiddenLayer, Tensor, float, bool]:
        """The hidden layer, the matrix out of it, what that is scaled by, and whether x is added."""
        encoder, decoder = getattr(model.encoder, "net", None), getattr(model.decoder, "net", None)
        scale, skip = 1.0, False
        if isinstance(encoder, SkipEncoder) and isinstance(decoder, SkipDecoder):
            scale, skip = decoder.scale, True
            encoder, decoder = encoder.body, decoder.body
        if not isinstance(encoder, HiddenLayer) or not isinstance(decoder, nn.Linear | TiedDecoder):
            raise TypeError(
                "Contraction('closed') needs one hidden layer: the encoder a Dirac(HiddenLayer), the decoder a Linear "
                "or TiedDecoder. Use method='hutchinson' or 'exact' for other nets"
            )
        return encoder, decoder.weight.t() if isinstance(decoder, TiedDecoder) else decoder.weight, scale, skip

    def check(self, model: Autoencoder) -> None:
        if self.method == "closed":
            self._layers(model)

    def extra_repr(self) -> str:
        return self.method if self.of == "reconstruction" else f"{self.method}, of the encoder"


class Orthogonality(Term):
    """c_IMA of the decoder at the codes: Σ_k log ||J_k|| - ½ log det JᵀJ, J_k the columns of its Jacobian; in nats.

    0 iff the columns are orthogonal. What the ELBO of a near-deterministic VAE holds without being asked (Reizinger et
    al., 2022, arXiv 2206.02416), put beside a deterministic autoencoder's loss; by D forward-mode products. The
    autoencoder's lengths are free: it fixes no scale of the codes.

    Args:
        points: examples of each batch at which it is computed; all by default.
    """

    def __init__(self, points: int | None = None) -> None:
        super().__init__()
        if points is not None and points < 1:
            raise ValueError(f"points is {points}; give at least 1")
        self.points = points

    def forward(self, t: Trace) -> Float[Tensor, ""]:
        condition = None if t.condition is None else t.condition[: self.points]
        gram = column_gram(jacobian(lambda z: t.model.decoder(z, condition).mean, t.z[: self.points]))
        # a singular Jacobian has an infinite contrast and no gradient: a little of the identity leaves it one
        ridge = 1e-6 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        return hadamard_gap(gram + ridge * eye).mean().to(t.z.dtype)

    def check(self, model: Autoencoder) -> None:
        if any(isinstance(m, BATCH_NORMS) for m in model.decoder.modules()):
            raise TypeError(
                "Orthogonality needs the Jacobian of each point alone, but the decoder has batch normalisation. Use "
                "net='smooth' or 'smooth-conv'"
            )

    def extra_repr(self) -> str:
        return "" if self.points is None else f"points={self.points}"
