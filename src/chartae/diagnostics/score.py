"""What a denoising or contractive autoencoder says of the density: score, Hessian, energy differences, dimension."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from chartae import maths
from chartae.autoencoder import Autoencoder
from chartae.nn import HiddenLayer, SkipDecoder, SkipEncoder, TiedDecoder

__all__ = ["Score", "score_error"]

CACHED = 1 << 17  # values that go through a denoiser at once


class Score:
    """s(x) = (r(x) - x) / sigma^2, the estimate of grad log p by the reconstruction r of an autoencoder.

    A denoising autoencoder at its optimum gives the score of the *smoothed* density p * N(0, sigma^2 I), exactly
    (Tweedie, Miyasawa); a contractive one that of p up to O(sigma^2). Alain and Bengio, "What Regularized
    Auto-Encoders Learn from the Data Generating Distribution", 2014 (arXiv 1211.4246).

    Args:
        model: an autoencoder that was trained with noise or contraction, or any map r: (B, *S) -> (B, *S).
        sigma: the noise level, in the units of the data; by default the one that the model was trained with. Of a
            noise-conditional model any level between its lowest and highest (by default the lowest).

    Raises:
        ValueError: sigma is not above 0, is not the one of the training, or the model was trained without noise:
            r(x) - x is then no more than an error of reconstruction. For a model that another loop has trained with
            noise, pass its map: ``Score(model.reconstruct, sigma)``.

    >>> halve = lambda x: x / 2  # the best denoiser of N(0, 1) at sigma = 1
    >>> Score(halve, sigma=1.0)(torch.tensor([[3.0]]))
    tensor([[-1.5000]])
    """

    def __init__(self, model: Autoencoder | Callable[[Tensor], Tensor], sigma: float | None = None) -> None:
        if not callable(model):
            raise TypeError(f"the model is a {type(model).__name__}; give an Autoencoder or a map (B, *S) -> (B, *S)")
        self.model = model
        noise = model.noise if isinstance(model, Autoencoder) else sigma
        if noise is None and isinstance(model, Autoencoder):
            raise ValueError(
                "the model was trained without noise or contraction, so that (r(x) - x) / sigma^2 is an error of "
                "reconstruction and no score: nothing taught r where to move points. Train with the recipe dae, rcae "
                "or ncdae; if another loop trained it with noise, use Score(model.reconstruct, sigma)"
            )
        if noise is None:
            raise ValueError("sigma is not given; a map does not say what noise it removes")
        low, high = noise if isinstance(noise, tuple) else (noise, noise)
        sigma = low if sigma is None else sigma
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma}; a noise level is a finite number above 0")
        if not low * (1 - 1e-6) <= sigma <= high * (1 + 1e-6):
            trained = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            raise ValueError(
                f"sigma is {sigma:g}, but the model was trained with noise {trained}: r(x) - x is measured in the "
                "square of that. Use the trained level, or a noise-conditional model (recipe ncdae)"
            )
        self.sigma, self.levels = float(sigma), (float(low), float(high))
        self._told = isinstance(noise, tuple)

    def at(self, sigma: float) -> Score:
        """The score at another noise level, of a noise-conditional model."""
        return Score(self.model, sigma)

    def denoise(self, x: Float[Tensor, B * S]) -> Float[Tensor, B * S]:
        """r(x), the mean of the clean point given x at noise level sigma (Tweedie's formula)."""
        if torch.is_grad_enabled() or x.device.type != "cpu" or x.numel() <= CACHED:
            return self._denoise(x)
        # what a convolution makes of thousands of images does not fit a processor's cache: parts are twice as fast
        return torch.cat([self._denoise(part) for part in x.split(max(1, CACHED // x[0].numel()))])

    def _denoise(self, x: Tensor) -> Tensor:
        if not isinstance(self.model, Autoencoder):
            return self.model(x)
        return self.model.reconstruct(x, x.new_full((len(x),), self.sigma) if self._told else None)

    def __call__(self, x: Float[Tensor, B * S]) -> Float[Tensor, B * S]:
        return (self.denoise(x) - x) / self.sigma**2

    def jacobian(self, x: Float[Tensor, B * S]) -> Float[Tensor, "B N N"]:
        """dr/dx of each example, N the number of its values; one backward for each of them."""
        x = x.detach()
        with torch.enable_grad():
            return maths.jacobian_of(self.denoise, x).detach()

    def hessian(self, x: Float[Tensor, B * S]) -> Float[Tensor, "B N N"]:
        """(dr/dx - I) / sigma^2, its symmetric part: the estimate of the Hessian of log p."""
        x = x.detach()
        with torch.enable_grad():
            h = maths.jacobian_of(self, x).detach()
        return 0.5 * (h + h.mT)

    def antisymmetry(self, x: Float[Tensor, B * S]) -> Float[Tensor, " B"]:
        """||J - Jᵀ|| / ||J + Jᵀ|| of J = dr/dx: 0 where r(x) - x is a gradient, so that log ratios know no path."""
        j = self.jacobian(x)
        return (j - j.mT).flatten(1).norm(dim=1) / (j + j.mT).flatten(1).norm(dim=1).clamp_min(1e-30)

    def tangent_space(
        self, x: Float[Tensor, B * S], dimensions: int | None = None
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"]]:
        """Eigenvalues of the symmetric part of dr/dx, falling, and the first `dimensions` eigenvectors.

        Along the data an eigenvalue is near 1, across them below: for normal data of standard deviation v along a
        direction it is v^2 / (v^2 + sigma^2).
        """
        j = self.jacobian(x)
        values, vectors = torch.linalg.eigh(0.5 * (j + j.mT))
        return values.flip(1), vectors.flip(2)[:, :, :dimensions]

    def local_dimension(self, x: Float[Tensor, B * S], threshold: float = 0.5) -> Tensor:
        """How many eigenvalues of dr/dx exceed the threshold (B,): with 1/2, directions in which the data spread wider
        than sigma."""
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is {threshold}; an eigenvalue lies between 0 (across) and 1 (along)")
        return (self.tangent_space(x, 0)[0] > threshold).sum(1)

    def log_density(self, x: Float[Tensor, B * S]) -> Float[Tensor, " B"]:
        """log p(x) up to a constant, exact for this map: in closed form for one hidden layer with tied weights.

        (1/sigma^2) (Σ_j Φ(w_j·x + b_j) + c·x - ½||x||^2) with Φ' the activation, for r(x) = Wᵀ φ(W x + b) + c; for
        the residual form r(x) = x + a (Wᵀ φ(W x + b) + c) it is (a/sigma^2) (Σ_j Φ(w_j·x + b_j) + c·x).

        Raises:
            TypeError: a net without it. Use `log_ratio`.
        """
        tied = self._tied
        if tied is None:
            raise TypeError("only one hidden layer with tied weights has a potential in closed form; use log_ratio")
        layer, bias, scale = tied
        value = layer.potential(x) + x.flatten(1) @ bias
        if scale is None:
            return (value - 0.5 * x.flatten(1).square().sum(1)) / self.sigma**2
        return scale * value / self.sigma**2

    @property
    def _tied(self) -> tuple[HiddenLayer, Tensor, float | None] | None:
        """The hidden layer, the output's bias, and the scale of a residual form; where weights are tied."""
        if not isinstance(self.model, Autoencoder):
            return None
        encoder, decoder = (getattr(part, "net", None) for part in (self.model.encoder, self.model.decoder))
        scale = None
        if isinstance(encoder, SkipEncoder) and isinstance(decoder, SkipDecoder):
            scale = decoder.scale
            encoder, decoder = encoder.body, decoder.body
        if not isinstance(encoder, HiddenLayer) or not isinstance(decoder, TiedDecoder):
            return None
        return encoder, decoder.bias, scale

    def log_ratio(
        self, x: Float[Tensor, B * S], y: Float[Tensor, B * S], rule: str | None = None, nodes: int = 5
    ) -> Float[Tensor, " B"]:
        """log p(y) - log p(x), in nats.

        By `maths.log_ratio` along the straight line (``"gauss-legendre"``, ``"trapezoid"``, ``"first-order"``);
        without a rule, from the potential where the net has one, else Gauss-Legendre.
        """
        if rule is None and self._tied is not None:
            return self.log_density(y) - self.log_density(x)
        return maths.log_ratio(self, x, y, rule=rule or "gauss-legendre", nodes=nodes)

    def __repr__(self) -> str:
        return f"Score(sigma={self.sigma:g})"


def score_error(
    score: Callable[[Tensor], Tensor], truth: Callable[[Tensor], Tensor], x: Float[Tensor, B * S]
) -> dict[str, float]:
    """How far a score is from the truth over points x: `relative_l2` = sqrt(Σ||ŝ - s||^2 / Σ||s||^2), and `cosine`, of
    all the vectors stacked into one."""
    with torch.no_grad():
        a, b = score(x).flatten().double(), truth(x).flatten().double()
    return {"relative_l2": float((a - b).norm() / b.norm()), "cosine": float(a @ b / (a.norm() * b.norm()))}
