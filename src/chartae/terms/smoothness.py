"""Terms that make maps smooth: norms of the decoder's weights, and norms and angles of Jacobians."""

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
from chartae.records.choices import one_of
from chartae.terms.base import Term, Trace

__all__ = ["Contraction", "DecoderGradient", "DecoderL2", "Orthogonality"]


class DecoderL2(Term):
    """The squared norm of the decoder's parameters, ||theta||^2: the regulariser of RAE-L2.

    Ghosh et al., "From Variational to Deterministic Autoencoders", 2020 (arXiv 1903.12436).

    Args:
        select: which parameters are included: ``"all"`` (default), as the paper prints it; ``"weights"``, those with
            more than one dimension, so no biases and no normalisation; ``"transposed"``, the kernels of transposed
            convolutions only, as in the authors' code for MNIST and CIFAR-10 (for CelebA it adds the first dense
            layer).

    Raises:
        ValueError: unknown `select`.

    >>> import torch
    >>> import chartae as ch
    >>> decoder = torch.nn.Linear(2, 3)
    >>> _ = torch.nn.init.ones_(decoder.weight)
    >>> model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(3, 2)), ch.Gaussian(decoder), ch.StandardNormal(2))
    >>> ch.Penalised(model, ch.DecoderL2("weights"))(torch.zeros(4, 3))["decoder_l2"].item()
    6.0
    """

    weighs = True  # it does not depend on the examples

    def __init__(self, select: str = "all") -> None:
        super().__init__()
        if select not in ("all", "weights", "transposed"):
            raise ValueError(f"select is {select!r}; expected 'all', 'weights' or 'transposed'.")
        self.select = select

    def parameters_of(self, decoder: nn.Module) -> list[Tensor]:
        """Return the parameters of a decoder that the norm includes.

        Args:
            decoder: the decoder.
        """
        if self.select == "transposed":
            layers = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose1d | nn.ConvTranspose2d)]
            return [p for m in layers for p in m.parameters() if p.ndim > 1]
        return [p for p in decoder.parameters() if self.select == "all" or p.ndim > 1]

    def forward(self, t: Trace) -> Float[Tensor, ""]:
        return sum((p.square().sum() for p in self.parameters_of(t.model.decoder)), start=t.z.new_zeros(()))

    def check(self, model: Autoencoder) -> None:
        if not self.parameters_of(model.decoder):
            raise TypeError(f"DecoderL2({self.select!r}) finds no such parameters in the decoder. Use select='all'.")

    def extra_repr(self) -> str:
        return "" if self.select == "all" else repr(self.select)


class DecoderGradient(Term):
    """The squared norm of the decoder's Jacobian with respect to z: the gradient penalty of RAE-GP.

    J = dD/dz at the code z, D the mean of p(x|z) (for categories the logits). Ghosh et al., "From Variational to
    Deterministic Autoencoders", 2020 (arXiv 1903.12436). If batch normalisation couples the examples of a batch, the
    derivative passes through it, as in the authors' code.

    Args:
        method: how the norm is computed:

            - ``"exact"``: ||J||_F^2, with one double backward pass for each latent dimension;
            - ``"hutchinson"`` (default): ||Jᵀu||^2 with random signs u, whose mean is ||J||_F^2; one backward pass;
            - ``"authors"``: mean_j (d/dz_j Σ D(z)^2)^2 = (4/d) ||Jᵀ D(z)||^2, which the authors' code minimises; one
              backward pass.

    Raises:
        ValueError: unknown `method`.

    >>> import torch
    >>> import chartae as ch
    >>> decoder = torch.nn.Linear(2, 3)
    >>> _ = torch.nn.init.ones_(decoder.weight)
    >>> model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(3, 2)), ch.Gaussian(decoder), ch.StandardNormal(2))
    >>> ch.Penalised(model, ch.DecoderGradient("exact"))(torch.zeros(4, 3))["decoder_gradient"].item()
    6.0
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
            raise ValueError(f"method is {method!r}; {one_of(method, self.METHODS)}")
        self.method = method

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        return self.METHODS[self.method](t.p.smooth(t.x), t.z)

    def extra_repr(self) -> str:
        return self.method


class Contraction(Term):
    """The contractive penalty ||J||_F^2, J the Jacobian with respect to x of the reconstruction or of the encoder.

    For the reconstruction r(x) = decode(encode(x)) it gives the reconstruction contractive autoencoder (RCAE) of Alain
    and Bengio (arXiv 1211.4246). Its weight is sigma^2 in a sum with ||r(x) - x||^2 as printed, and sigma^2 / (2 t^2)
    with a Gaussian likelihood of standard deviation t; (r(x) - x) / sigma^2 then estimates the score. For the encoder
    it gives the contractive autoencoder of Rifai et al., 2011, whose decoder may undo the contraction.

    Args:
        method: how the norm is computed:

            - ``"exact"``: one backward pass for each output, or for each input if those are fewer;
            - ``"hutchinson"`` (default): ||Jᵀu||^2 with random signs u (less variance than normal numbers); one
              backward pass;
            - ``"closed"``: for one hidden layer, r(x) = V φ(W x + b) + c, free or tied, with or without a skip
              connection x + s^2 (.): φ'ᵀ [(VᵀV) ∘ (WWᵀ)] φ', without autograd; it is faster if a batch has more rows
              than the input has dimensions.

        of: ``"reconstruction"`` (default) or ``"encoder"``.

    Raises:
        ValueError: unknown `method` or `of`.

    >>> import torch
    >>> import chartae as ch
    >>> identity = torch.nn.Identity()
    >>> model = ch.Autoencoder(ch.Dirac(identity), ch.Gaussian(identity), ch.StandardNormal(3))
    >>> ch.Penalised(model, ch.Contraction("exact"))(torch.ones(4, 3))["contraction"].item()  # J = I
    3.0
    """

    METHODS = ("exact", "hutchinson", "closed")

    def __init__(self, method: str = "hutchinson", of: str = "reconstruction") -> None:
        super().__init__()
        if method not in self.METHODS:
            raise ValueError(f"method is {method!r}; {one_of(method, self.METHODS)}")
        if of not in ("reconstruction", "encoder"):
            raise ValueError(f"of is {of!r}; expected 'reconstruction' (the whole map) or 'encoder'.")
        self.method, self.of = method, of
        self.second_order = self.through_input = method != "closed"

    def forward(self, t: Trace) -> Float[Tensor, " B"]:
        if self.method == "closed":
            return self._closed(t)
        out = t.p.mean if self.of == "reconstruction" else t.q.mean
        if self.method == "hutchinson":
            return jacobian_norm_hutchinson(out, t.corrupted)
        few_outputs = out[0].numel() <= 2 * t.corrupted[0].numel()
        return jacobian_norm_by_rows(out, t.corrupted) if few_outputs else jacobian_norm(out, t.corrupted)

    def _closed(self, t: Trace) -> Tensor:
        layer, V, scale, skip = self._layers(t.model)
        slope = layer.slope(t.corrupted)
        if self.of == "encoder":
            return slope.square() @ layer.weight.square().sum(1)
        return one_hidden_jacobian_norm(slope, layer.weight, V, scale, skip)

    def _layers(self, model: Autoencoder) -> tuple[HiddenLayer, Tensor, float, bool]:
        """The hidden layer, the matrix out of it, the scale of its output, and whether x is added."""
        encoder, decoder = getattr(model.encoder, "net", None), getattr(model.decoder, "net", None)
        scale, skip = 1.0, False
        if isinstance(encoder, SkipEncoder) and isinstance(decoder, SkipDecoder):
            scale, skip = decoder.scale, True
            encoder, decoder = encoder.body, decoder.body
        if not isinstance(encoder, HiddenLayer) or not isinstance(decoder, nn.Linear | TiedDecoder):
            raise TypeError(
                "Contraction('closed') needs one hidden layer: a HiddenLayer as the encoder's net and a Linear or "
                "TiedDecoder as the decoder's. Use method='hutchinson' or 'exact' for other nets."
            )
        return encoder, decoder.weight.t() if isinstance(decoder, TiedDecoder) else decoder.weight, scale, skip

    def check(self, model: Autoencoder) -> None:
        if self.method == "closed":
            self._layers(model)

    def extra_repr(self) -> str:
        return self.method if self.of == "reconstruction" else f"{self.method}, of the encoder"


class Orthogonality(Term):
    """The IMA contrast of the decoder at the codes, which is 0 iff the columns of its Jacobian are orthogonal.

        c_IMA = Σ_k log ||J_k|| - ½ log det JᵀJ, in nats, J_k the columns of the Jacobian

    The ELBO of a near-deterministic VAE contains it implicitly (Reizinger et al., 2022, arXiv 2206.02416); this term
    adds it to the loss of a deterministic autoencoder. It takes D forward-mode products. It does not depend on the
    norms of the columns, so it does not fix the scale of the codes.

    Args:
        points: number of examples of each batch at which it is computed, >= 1; default None: all.

    Raises:
        ValueError: `points` is below 1.

    >>> import torch
    >>> import chartae as ch
    >>> decoder = torch.nn.Linear(2, 2)
    >>> decoder.weight.data = torch.tensor([[1.0, 0.6], [0.0, 0.8]])  # unit columns with cosine 0.6
    >>> model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(2, 2)), ch.Gaussian(decoder), ch.StandardNormal(2))
    >>> value = ch.Penalised(model, ch.Orthogonality())(torch.zeros(4, 2))["orthogonality"]
    >>> round(value.item(), 4)  # -½ log(1 - 0.6^2)
    0.2231
    """

    weighs = True

    def __init__(self, points: int | None = None) -> None:
        super().__init__()
        if points is not None and points < 1:
            raise ValueError(f"points is {points}; expected at least 1.")
        self.points = points

    def forward(self, t: Trace) -> Float[Tensor, ""]:
        condition = None if t.condition is None else t.condition[: self.points]
        gram = column_gram(jacobian(lambda z: t.model.decoder(z, condition).mean, t.z[: self.points]))
        # the contrast of a singular Jacobian is infinite and has no gradient, so add a small multiple of the identity
        ridge = 1e-6 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        gap = hadamard_gap(gram + ridge * eye)
        return (gap if t.weight is None else gap * t.weight[: self.points]).mean().to(t.z.dtype)

    def check(self, model: Autoencoder) -> None:
        if any(isinstance(m, BATCH_NORMS) for m in model.decoder.modules()):
            raise TypeError(
                "Orthogonality needs the Jacobian of each point separately, but the decoder has batch normalisation. "
                "Use net='smooth' or net='smooth-conv'."
            )

    def extra_repr(self) -> str:
        return "" if self.points is None else f"points={self.points}"
