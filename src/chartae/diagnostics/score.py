"""Density information in a denoising or contractive autoencoder: score, Hessian, log-ratios, local dimension."""

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

CACHED = 1 << 17  # how many values a denoiser processes at a time on a CPU


class Score:
    """Estimate of the score grad log p by the reconstruction r of an autoencoder.

        s(x) = (r(x) - x) / sigma^2.

    For an optimal denoising autoencoder it is exactly the score of the smoothed density, p convolved with
    N(0, sigma^2 I) (Tweedie, Miyasawa). For an optimal contractive autoencoder it is the score of p up to O(sigma^2).
    Alain and Bengio, "What Regularized Auto-Encoders Learn from the Data Generating Distribution", 2014
    (arXiv 1211.4246).

    Calling the object with points (B, ...) returns s(x), of the same shape.

    Args:
        model: an autoencoder trained with noise or contraction, or any map r from points (B, ...) to points (B, ...).
        sigma: noise level, in the units of the data; > 0. By default the level that the model was trained with. For a
            noise-conditional model, any level from its lowest to its highest; by default the lowest. Required if
            `model` is a map.

    Raises:
        ValueError: `sigma` is not a finite number above 0, or is not a level of the training; a map has no `sigma`; the
            model was trained without noise, so that r(x) - x is a reconstruction error. For a model trained with noise
            by another loop, pass its map: ``Score(model.reconstruct, sigma)``.
        TypeError: `model` is not callable.

    >>> import torch
    >>> from chartae.diagnostics import Score
    >>> halve = lambda x: x / 2  # the optimal denoiser of N(0, 1) at sigma = 1
    >>> Score(halve, sigma=1.0)(torch.tensor([[3.0]]))
    tensor([[-1.5000]])
    """

    def __init__(self, model: Autoencoder | Callable[[Tensor], Tensor], sigma: float | None = None) -> None:
        if not callable(model):
            raise TypeError(f"model is a {type(model).__name__}; expected an Autoencoder, or a map (B, *S) -> (B, *S)")
        self.model = model
        noise = model.noise if isinstance(model, Autoencoder) else sigma
        if noise is None and isinstance(model, Autoencoder):
            raise ValueError(
                "the model was trained without noise or contraction, so r(x) - x is a reconstruction error and "
                "(r(x) - x) / sigma^2 is not a score; expected a model trained with either. Train with the recipe dae, "
                "rcae or ncdae; if another loop trained it with noise, use Score(model.reconstruct, sigma)"
            )
        if noise is None:
            raise ValueError("sigma is None; expected the noise level that the map removes. Pass Score(map, sigma)")
        low, high = noise if isinstance(noise, tuple) else (noise, noise)
        sigma = low if sigma is None else sigma
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma}; expected a finite noise level above 0")
        if not low * (1 - 1e-6) <= sigma <= high * (1 + 1e-6):
            trained = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            raise ValueError(
                f"sigma is {sigma:g}, but the model was trained with noise {trained}; expected that level, since it "
                "scales r(x) - x. Leave sigma out, or train a noise-conditional model (recipe ncdae)"
            )
        self.sigma, self.levels = float(sigma), (float(low), float(high))
        self._noise_conditional = isinstance(noise, tuple)

    def at(self, sigma: float) -> Score:
        """The score at another noise level, for a noise-conditional model."""
        return Score(self.model, sigma)

    def denoise(self, x: Float[Tensor, B * S]) -> Float[Tensor, B * S]:
        """The reconstruction r(x): the mean of the clean point given x at noise level sigma (Tweedie's formula)."""
        if torch.is_grad_enabled() or x.device.type != "cpu" or x.numel() <= CACHED:
            return self._denoise(x)
        # the activations of thousands of images do not fit into a processor's cache: smaller parts are twice as fast
        return torch.cat([self._denoise(part) for part in x.split(max(1, CACHED // x[0].numel()))])

    def _denoise(self, x: Tensor) -> Tensor:
        if not isinstance(self.model, Autoencoder):
            return self.model(x)
        return self.model.reconstruct(x, x.new_full((len(x),), self.sigma) if self._noise_conditional else None)

    def __call__(self, x: Float[Tensor, B * S]) -> Float[Tensor, B * S]:
        return (self.denoise(x) - x) / self.sigma**2

    def jacobian(self, x: Float[Tensor, B * S]) -> Float[Tensor, "B N N"]:
        """Jacobian dr/dx of each example (B, N, N), N the number of values of an example; N backward passes."""
        x = x.detach()
        with torch.enable_grad():
            return maths.jacobian_of(self.denoise, x).detach()

    def hessian(self, x: Float[Tensor, B * S]) -> Float[Tensor, "B N N"]:
        """Estimate of the Hessian of log p (B, N, N): the symmetric part of (dr/dx - I) / sigma^2."""
        x = x.detach()
        with torch.enable_grad():
            h = maths.jacobian_of(self, x).detach()
        return 0.5 * (h + h.mT)

    def antisymmetry(self, x: Float[Tensor, B * S]) -> Float[Tensor, " B"]:
        """||J - Jᵀ|| / ||J + Jᵀ|| of J = dr/dx (B,): 0 where r(x) - x is a gradient field.

        Only then do log-ratios not depend on the path of integration.
        """
        j = self.jacobian(x)
        return (j - j.mT).flatten(1).norm(dim=1) / (j + j.mT).flatten(1).norm(dim=1).clamp_min(1e-30)

    def tangent_space(
        self, x: Float[Tensor, B * S], dimensions: int | None = None
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N K"]]:
        """Eigenvalues and eigenvectors of the symmetric part of dr/dx, largest first.

        Tangential to the data an eigenvalue is near 1, normal to them near 0. For normal data of standard deviation v
        along a direction it is v^2 / (v^2 + sigma^2).

        Args:
            x: points (B, ...), N values each.
            dimensions: number K of eigenvectors; by default all N.

        Returns:
            All eigenvalues (B, N), and the first K eigenvectors (B, N, K).
        """
        j = self.jacobian(x)
        values, vectors = torch.linalg.eigh(0.5 * (j + j.mT))
        return values.flip(1), vectors.flip(2)[:, :, :dimensions]

    def local_dimension(self, x: Float[Tensor, B * S], threshold: float = 0.5) -> Tensor:
        """Number of eigenvalues of dr/dx above `threshold` (B,).

        With a threshold of 1/2 it counts the directions in which the data have a standard deviation above sigma.
        """
        if not 0 < threshold < 1:
            raise ValueError(
                f"threshold is {threshold}; expected a number between 0 (normal to the data) and 1 (tangential)"
            )
        return (self.tangent_space(x, 0)[0] > threshold).sum(1)

    def log_density(self, x: Float[Tensor, B * S]) -> Float[Tensor, " B"]:
        """log p(x) (B,) up to a constant, in closed form for a network with one hidden layer and tied weights.

        For r(x) = Wᵀ φ(W x + b) + c it is (1/sigma^2) (Σ_j Φ(w_j·x + b_j) + c·x - ½||x||^2), with Φ' = φ the
        activation. For the residual form r(x) = x + a (Wᵀ φ(W x + b) + c) it is (a/sigma^2) (Σ_j Φ(w_j·x + b_j) + c·x).

        Raises:
            TypeError: the network has another form. Use `log_ratio`.
        """
        tied = self._tied
        if tied is None:
            raise TypeError(
                "the model has no potential in closed form; expected one hidden layer with tied weights. For the "
                "log-ratio of two points, which any model has, use log_ratio"
            )
        layer, bias, scale = tied
        value = layer.potential(x) + x.flatten(1) @ bias
        if scale is None:
            return (value - 0.5 * x.flatten(1).square().sum(1)) / self.sigma**2
        return scale * value / self.sigma**2

    @property
    def _tied(self) -> tuple[HiddenLayer, Tensor, float | None] | None:
        """The hidden layer, the output bias, and the scale of a residual form, if the weights are tied; else None."""
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
        """Log-ratio log p(y) - log p(x) (B,), in nats, by integrating the score along the straight line from x to y.

        Args:
            x: start points (B, ...).
            y: end points (B, ...).
            rule: quadrature rule, ``"gauss-legendre"``, ``"trapezoid"`` or ``"first-order"``. By default the exact
                difference of potentials if the network has a potential in closed form, else Gauss-Legendre.
            nodes: number of quadrature nodes, >= 1; default 5.
        """
        if rule is None and self._tied is not None:
            return self.log_density(y) - self.log_density(x)
        return maths.log_ratio(self, x, y, rule=rule or "gauss-legendre", nodes=nodes)

    def __repr__(self) -> str:
        return f"Score(sigma={self.sigma:g})"


def score_error(
    score: Callable[[Tensor], Tensor], truth: Callable[[Tensor], Tensor], x: Float[Tensor, B * S]
) -> dict[str, float]:
    """Error of an estimated score ŝ with respect to the true score s, over a set of points.

        relative_l2 = sqrt(Σ_n ||ŝ_n - s_n||^2 / Σ_n ||s_n||^2),     cosine = Σ_n ŝ_n·s_n / sqrt(Σ||ŝ_n||^2 Σ||s_n||^2).

    Args:
        score: estimated score, from points (B, ...) to vectors of the same shape.
        truth: true score, likewise.
        x: points (B, ...).

    Returns:
        A dictionary of ``relative_l2`` (0 is best) and ``cosine`` (1 is best).

    >>> import torch
    >>> from chartae.diagnostics import score_error
    >>> score_error(lambda x: -1.5 * x, lambda x: -x, torch.ones(8, 2))
    {'relative_l2': 0.5, 'cosine': 1.0}
    """
    with torch.no_grad():
        a, b = score(x).flatten().double(), truth(x).flatten().double()
    return {"relative_l2": float((a - b).norm() / b.norm()), "cosine": float(a @ b / (a.norm() * b.norm()))}
