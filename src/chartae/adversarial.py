"""Objectives with several players: a critic stands where a divergence has no formula."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import softplus

from chartae.autoencoder import Autoencoder
from chartae.functional import gradient_penalty
from chartae.nn import Critic
from chartae.objectives import Objective

__all__ = ["ImplicitAutoencoding"]


class ImplicitAutoencoding(Objective):
    """KL(q(x, z) || r(x, z)) + KL(q(z) || p(z)), each by a critic: the implicit autoencoder.

    The negative ELBO less the data's entropy, where r(x, z) = q(z) p(x|z). The reconstruction critic tells (x, z) from
    (x^, z), z a code of x and x^ a stochastic reconstruction of it; the regularisation critic the prior from codes.
    Makhzani, "Implicit Autoencoders", 2018 (arXiv 1805.09804).

    Both costs are zero at a useless optimum, where the code says nothing of x and the decoder is a plain GAN, and a
    stabilised training finds it. `warmup` prevents that: a squared error, which fades to nothing at half time, after
    which the objective is the paper's own; an informative code that the joint laws agree on then stays. ``warmup=0``
    and ``penalty=0`` are the paper's bare objective. Whether the code is used, `chartae.diagnostics.code_use` says.

    Args:
        model: its decoder `Implicit`, or a Dirac; its encoder any that is drawn from with gradients.
        joint: the critic of (x, z).
        latent: the critic of z.
        encoder_gradient: through which pair the reconstruction's cost reaches the encoder: ``"positive"`` (x, z), exact
            for the forward KL; ``"negative"`` (x^, z); ``"both"``, for the Jensen-Shannon divergence.
        loss: ``"non-saturating"``; ``"relativistic"``, of pairs (Jolicoeur-Martineau, 2018, arXiv 1807.00734);
            ``"logit"``, the raw logit, whose gradient is the KL's where the critic is optimal.
        penalty: of R1 + R2 on both critics, as a share of the total variance of x.
        warmup: weight of ||x - x^||^2 at the start, as a multiple of 1 / (total variance of x).

    Raises:
        ValueError: an unknown gradient or loss, a negative weight.
        TypeError: a part that is no critic.
    """

    GRADIENTS = ("positive", "both", "negative")
    LOSSES = ("non-saturating", "relativistic", "logit")
    rates = {"critic": 2.0}  # noqa: RUF012
    betas = (0.0, 0.99)
    ema = 0.995
    comparable = False

    def __init__(
        self,
        model: Autoencoder,
        joint: Critic,
        latent: Critic,
        *,
        encoder_gradient: str = "both",
        loss: str = "non-saturating",
        penalty: float = 0.05,
        warmup: float = 0.4,
    ) -> None:
        super().__init__()
        if encoder_gradient not in self.GRADIENTS:
            raise ValueError(f"encoder_gradient is {encoder_gradient!r}; choose from {', '.join(self.GRADIENTS)}")
        if loss not in self.LOSSES:
            raise ValueError(f"loss is {loss!r}; choose from {', '.join(self.LOSSES)}")
        if penalty < 0 or warmup < 0:
            raise ValueError(f"penalty is {penalty} and warmup {warmup}; weights are 0 or above")
        for role, critic in (("joint", joint), ("latent", latent)):
            if not isinstance(critic, Critic):
                raise TypeError(f"the {role} critic is a {type(critic).__name__}; give a Critic(head, trunk)")
        self.model, self.joint, self.latent = model, joint, latent
        self.encoder_gradient, self.loss = encoder_gradient, loss
        self.penalty, self.warmup = float(penalty), float(warmup)
        self.second_order = penalty > 0
        self.steps = 0
        self.register_buffer("passes", torch.zeros((), dtype=torch.float64))
        self.register_buffer("variance", torch.zeros(()))
        self.passes: Tensor
        self.variance: Tensor

    def players(self) -> dict[str, list[Parameter]]:
        return {"model": list(self.model.parameters()), "critic": [*self.joint.parameters(), *self.latent.parameters()]}

    def plan(self, steps: int) -> None:
        self.steps = steps

    def _notice(self, x: Tensor) -> None:
        """The total variance of x, from the first batches."""
        if self.training:
            with torch.no_grad():
                now = x.flatten(1).var(0).sum()
                self.variance += (now - self.variance) / (1 + self.passes.clamp_max(99)).to(now.dtype)
                self.passes += 1

    def _left(self) -> Tensor:
        """What is left of the warm-up: 1 at the start, 0 from half time on."""
        if not self.steps:
            return self.variance.new_ones(())
        return (1 - 2 * self.passes / self.steps).clamp_min(0).to(self.variance.dtype)

    def forward(self, x: Tensor, y: Tensor | None = None, player: str = "model") -> dict[str, Tensor]:
        return self._critic(x, y) if player == "critic" else self._model(x, y)

    def _pair(self, better: Tensor, worse: Tensor) -> Tensor:
        """What a player pays that wants the one logit above the other; what does not depend on it is a constant."""
        if self.loss == "relativistic":
            return softplus(worse - better).mean()
        if self.loss == "logit":
            return (worse - better).mean()
        return (softplus(-better) + softplus(worse)).mean()

    def _model(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        self._notice(x)
        z = self.model.encoder(x, y).sample()
        positive = z if self.encoder_gradient != "negative" else z.detach()
        negative = z if self.encoder_gradient != "positive" else z.detach()
        drawn = self.model.decoder(negative, y).sample()
        # the model wants what it made to pass for the data, and the data's pair for what it made
        reconstruction = self._pair(self.joint(drawn, negative), self.joint(x, positive))
        prior = self.model.prior.sample(len(x))
        regularisation = self._pair(self.latent(z), self.latent(prior))
        error = (x - drawn).flatten(1).square().sum(1).mean()
        loss = reconstruction + regularisation
        if self.warmup:
            loss = loss + self.warmup * self._left() / self.variance.clamp_min(1e-12) * error
        return {"loss": loss, "reconstruction": reconstruction, "regularisation": regularisation, "error": error}

    def _critic(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        with torch.no_grad():
            z = self.model.encoder(x, y).sample()
            drawn = self.model.decoder(z, y).sample()
            prior = self.model.prior.sample(len(x))
        values: dict[str, Tensor] = {}
        loss = x.new_zeros(())
        for name, critic, good, bad in (
            ("joint", self.joint, (x, z), (drawn, z)),
            ("latent", self.latent, (prior,), (z,)),
        ):
            above, below = critic(*good), critic(*bad)
            if self.loss == "relativistic":
                loss = loss + softplus(below - above).mean()
                right = (above > below).to(x.dtype).mean()
            else:
                loss = loss + (softplus(-above) + softplus(below)).mean()
                right = 0.5 * ((above > 0).to(x.dtype).mean() + (below < 0).to(x.dtype).mean())
            if self.penalty:
                weight = self.penalty * self.variance.clamp_min(1e-12)
                loss = loss + weight * (gradient_penalty(critic, *good) + gradient_penalty(critic, *bad))
            values |= {f"{name}_accuracy": right, f"{name}_logit": above.mean()}
        return {"loss": loss, **values}

    def __repr__(self) -> str:
        bare = "" if self.warmup or self.penalty else ", the paper's bare objective"
        return (
            f"KL(q(x,z) || r(x,z)) + KL(q(z) || p(z)) by critics: {self.loss}, gradient {self.encoder_gradient}, "
            f"penalty {self.penalty:g}, warm-up {self.warmup:g}{bare}"
        )
