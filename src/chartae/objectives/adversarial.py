"""Objectives with critics, which estimate divergences between distributions that are known by samples only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from chartae.autoencoder import Autoencoder
from chartae.data import Batch, Batches
from chartae.maths import critic_loss, logits_of, loss_of, total_variance
from chartae.nn import Critic
from chartae.objectives.base import Objective, Player, needs_several
from chartae.objectives.gradient_ratio import GradientRatio
from chartae.records.choices import one_of

__all__ = ["Adversarial", "Match"]


class Match(NamedTuple):
    """The inputs of a critic: those that it should call real, and those that it should call generated."""

    real: tuple[Tensor, ...]
    generated: tuple[Tensor, ...]


class Adversarial(Objective):
    """Distribution matching by critics (discriminators): implicit autoencoders, forward and flipped, and ALI/BiGAN.

    With f the encoder, g the decoder, z^ = f(x) and z drawn from the prior, each critic matches two distributions:

    ==================  =================  ==================  =====================================================
    critic              real               generated           at its optimum the model minimises
    ==================  =================  ==================  =====================================================
    ``reconstruction``  (x, z^)            (g(z^), z^)         `KL(q(x, z) || q(z) p(x|z))`
    ``latent``          z                  z^                  `KL(q(z) || p(z))`
    ``inference``       (g(z), z)          (g(z), f(g(z)))     `KL(p(x, z) || p(x) q(z|x))`
    ``data``            x                  g(z)                `KL(p(x) || data)`, a GAN
    ``joint``           (x, z^)            (g(z), z)           `JS(q(x, z), p(x, z))`, up to the loss
    ==================  =================  ==================  =====================================================

    The first two together are the implicit autoencoder, whose objective is the negative ELBO minus the entropy of the
    data (Makhzani, "Implicit Autoencoders", 2018, arXiv 1805.09804). The next two are its flipped form, which learns
    the posterior of a generator. `joint` by itself is ALI, or BiGAN (Dumoulin et al., "Adversarially Learned
    Inference", 2016, arXiv 1606.00704).

    All of them have a degenerate optimum with loss zero, where the code contains no information on x and the decoder is
    a plain GAN; stabilised training finds it. `warmup` prevents that by a squared error that fades to zero. Afterwards
    the objective is the paper's, and an informative code on which the distributions agree is kept.
    ``warmup=0, penalty=0`` is the paper's objective from the start. `chartae.diagnostics.code_use` measures whether the
    code is used.

    With an `Empirical` prior, codes are examples of another domain, which are taken from the partner of each batch:
    unpaired translation.

    Args:
        model: an autoencoder whose decoder is `Implicit` or `Dirac`, and whose encoder draws with gradients.
        critics: a `Critic` for each name of the table; the critics of pairs are called with (x, z).
        gradient: the side of the critic through which a net is trained that feeds both sides, that is the encoder for
            `reconstruction` and the decoder for `inference`: ``"positive"``, the real side, exact for the forward KL;
            ``"negative"``, the generated side; ``"both"`` (default), for the Jensen-Shannon divergence; ``"none"``,
            neither side, so that the generator of the flipped form is trained by its `data` critic only.
        loss: the model's loss: ``"non-saturating"`` (default); ``"relativistic"``, on pairs (Jolicoeur-Martineau, 2018,
            arXiv 1807.00734); ``"logit"``, the logit itself, whose gradient is that of the KL where the critic is
            optimal.
        penalty: weight of the gradient penalty R1 + R2 on every critic, >= 0; default 0.05. Gradients in x are measured
            in units of the total standard deviation of x, and those in z in units of that of z under the prior, times
            the square root of `steadier`.
        steadier: factor on the penalty in z relative to that in x, >= 0; default 10. It is 1 where codes are examples
            of another domain. On a ring of eight normals the code collapsed in one of three seeds at 1 and in none of
            ten at 4; at 10 all reached at most 2.5 times the error of a perfect code.
        penalised: share of a batch on which the penalty is estimated, in (0, 1]; default 1. Less is faster and noisier.
        warmup: initial weight of the squared error `||x - g(z^)||^2`, as a multiple of 1 / (total variance of x), >= 0;
            default 0.4. With ``gradient="positive"`` it trains only the decoder.
        fade: share of training after which the warm-ups have faded to zero, in (0, 1]; default 0.5.
        anchor: constant weight of the same squared error, in the same unit, >= 0; default 0. It keeps codes informative
            and costs reconstructions their diversity.
        cycle: weight of -log q(z | g(z)) over z from the prior, or of `½ ||z - f(g(z))||^2` for a deterministic
            encoder, >= 0; default 0. The encoder is trained by it, and the decoder too unless ``gradient="none"``.
        warmup_back: initial weight of `||z - f(g(z))||^2`, as a multiple of 1 / (total variance of z), which fades as
            `warmup` does, >= 0; default 0.

    Raises:
        ValueError: a critic's name, `gradient` or `loss` is unknown, a weight or share is out of range, there are no
            critics, or ``gradient="none"`` with a warm-up or an anchor; in training, batches of one example.
        TypeError: a value of `critics` is not a `Critic`.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.conditionals import Implicit
    >>> from chartae.nn import MLP, critic
    >>> from chartae.objectives import Adversarial
    >>> model = ch.Autoencoder(ch.Dirac(MLP(3, 2)), Implicit(MLP(2 + 4, 3), noise_dim=4), ch.StandardNormal(2))
    >>> critics = {"reconstruction": critic("mlp", (3,), 2), "latent": critic("mlp", None, 2)}
    >>> objective = Adversarial(model, critics)
    >>> x = torch.randn(8, 3)
    >>> sorted(objective(x))
    ['error', 'latent', 'latent_gradient_ratio', 'loss', 'reconstruction']
    >>> sorted(name for name in objective(x, "critic") if name.startswith("latent"))
    ['latent_accuracy', 'latent_fake', 'latent_real']
    """

    #: the inputs of each critic
    MATCHES: Mapping[str, str] = MappingProxyType(
        {"reconstruction": "xz", "latent": "z", "inference": "xz", "data": "x", "joint": "xz"}
    )
    GRADIENTS = ("positive", "both", "negative", "none")
    ema = 0.995
    cosine = True
    comparable = False

    def __init__(
        self,
        model: Autoencoder,
        critics: Mapping[str, Critic],
        *,
        gradient: str = "both",
        loss: str = "non-saturating",
        penalty: float = 0.05,
        steadier: float = 10.0,
        penalised: float = 1.0,
        warmup: float = 0.4,
        fade: float = 0.5,
        anchor: float = 0.0,
        cycle: float = 0.0,
        warmup_back: float = 0.0,
    ) -> None:
        super().__init__()
        if not critics or (unknown := set(critics) - set(self.MATCHES)):
            names = ", ".join(sorted(unknown)) if critics else "none"
            raise ValueError(f"critics are given for {names}; choose from {', '.join(self.MATCHES)}")
        for role, critic in critics.items():
            if not isinstance(critic, Critic):
                raise TypeError(f"the {role} critic is a {type(critic).__name__}; expected a Critic(head, trunk)")
        if gradient not in self.GRADIENTS:
            raise ValueError(f"gradient is {gradient!r}; {one_of(gradient, self.GRADIENTS)}")
        weights = {
            "penalty": penalty,
            "steadier": steadier,
            "warmup": warmup,
            "anchor": anchor,
            "cycle": cycle,
            "warmup_back": warmup_back,
        }
        if negative := [name for name, w in weights.items() if not w >= 0]:
            raise ValueError(f"{negative[0]} is {weights[negative[0]]}; expected a weight of 0 or more")
        if gradient == "none" and (warmup or anchor):
            raise ValueError(
                f"gradient is 'none', which does not train the generator by a reconstruction, but warmup is {warmup:g} "
                f"and anchor is {anchor:g}, which would; expected 0 for both. Set warmup=0 and anchor=0."
            )
        if not 0 < fade <= 1:
            raise ValueError(f"fade is {fade}; expected a share of training, above 0 and at most 1")
        if not 0 < penalised <= 1:
            raise ValueError(f"penalised is {penalised}; expected a share of the batch, above 0 and at most 1")
        self.penalised = float(penalised)
        self.model, self.critics = model, nn.ModuleDict({k: critics[k] for k in self.MATCHES if k in critics})
        self.gradient, self.loss, self.fade = gradient, loss_of(loss), float(fade)
        self.domain = model.prior.remembers
        self.penalty, self.steadier, self.warmup = float(penalty), float(steadier), float(warmup)
        self.anchor, self.cycle, self.warmup_back = float(anchor), float(cycle), float(warmup_back)
        self.second_order = penalty > 0
        self.uses = frozenset({"partner"} if self.domain else ())
        for name in ("passes", "steps"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.register_buffer("variance", torch.zeros(()))
        self.passes: Tensor
        self.steps: Tensor
        self.variance: Tensor

    def players(self) -> dict[str, Player]:
        betas = (0.0, 0.99)
        return {
            "model": Player(list(self.model.parameters()), betas=betas),
            "critic": Player(list(self.critics.parameters()), 2.0, betas),
        }

    def check(self, batches: Batches) -> None:
        needs_several(batches)
        if self.domain and batches.partner is None:
            raise ValueError(
                "partner is None, but codes are examples of another domain; expected some of them. "
                "Give Batches(x, partner=...)."
            )

    def plan(self, steps: int, batches: Batches) -> None:
        self.passes.zero_()
        self.variance.zero_()
        self.steps.fill_(steps)

    @property
    def scheduled(self) -> bool:
        return bool(self.warmup or self.warmup_back)

    def _count(self, x: Tensor) -> None:
        """Count the step, and average the total variance of x over the first batches."""
        if self.training and len(x) > 1:
            variance = total_variance(x)
            self.variance += (variance - self.variance) / (1 + self.passes.clamp_max(99)).to(variance.dtype)
        self.passes += self.training

    def _left(self) -> Tensor:
        """The share of the warm-up that is left: 1 at the start, or without a planned end; 0 once it has faded."""
        elapsed = self.passes / (self.fade * self.steps).clamp_min(1e-12)
        return torch.where(self.steps > 0, (1 - elapsed).clamp_min(0), 1.0).to(self.variance.dtype)

    def _length(self, z: Tensor) -> Tensor:
        """The squared unit of z: its total variance under the prior, which is not learnt."""
        return total_variance(z).clamp_min(1e-12)

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        return self._critic(batch) if player == "critic" else self._model(batch)

    def _side(self, t: Tensor, side: str) -> Tensor:
        """A draw that feeds both sides of a critic, detached where `gradient` excludes this side."""
        return t if self.gradient in (side, "both") else t.detach()

    def _matches(self, batch: Batch, *, costs: bool = True) -> tuple[dict[str, Match], dict[str, Tensor]]:
        """The inputs of each critic, and, with `costs`, the draws that the other terms of the model's loss need."""
        x, condition, partner = batch.x, batch.condition, batch.partner
        encode = lambda a: self.model.encoder(a, condition)  # noqa: E731
        decode = lambda a: self.model.decoder(a, condition).sample()  # noqa: E731
        roles = self.critics.keys()
        error = costs and bool(self.warmup or self.anchor)
        back = costs and bool(self.cycle or self.warmup_back)
        if self.domain and partner is None:
            raise ValueError(
                "partner is None, but codes are examples of another domain; expected some of them. "
                "Give Batch(x, partner=...)."
            )
        z = partner if self.domain and partner is not None else self.model.prior.sample(len(x))
        code = encode(x).sample()
        meter = GradientRatio()
        watched = meter.watch(code) if self.training and "latent" in roles else code
        draws = {"z": z} | ({} if meter.ratio is None else {"latent_gradient_ratio": meter.ratio})
        matches: dict[str, Match] = {}
        if "reconstruction" in roles or error:
            draws["reconstruction"] = reconstruction = decode(self._side(code, "negative"))
            if "reconstruction" in roles:
                matches["reconstruction"] = Match(
                    (x, self._side(code, "positive")), (reconstruction, self._side(code, "negative"))
                )
        if "latent" in roles:
            matches["latent"] = Match((z,), (watched,))
        if {"inference", "data", "joint"} & roles or back:
            sample = decode(z)
            if "data" in roles:
                matches["data"] = Match((x,), (sample,))
            if "joint" in roles:
                matches["joint"] = Match((x, code), (sample, z))
            if "inference" in roles or back:
                encoded = self._side(sample, "negative")
                q = encode(encoded)
                inferred = q.sample()
                if "inference" in roles:
                    matches["inference"] = Match((self._side(sample, "positive"), z), (encoded, inferred))
                if back and self.gradient == "positive":  # the cycle trains the decoder too
                    q = encode(sample)
                    inferred = q.sample()
                squared_distance = (z - inferred).flatten(1).square().sum(1)
                if costs and self.warmup_back:
                    draws["back"] = squared_distance / self._length(z)
                if costs and self.cycle:
                    draws["cycle"] = -q.log_prob(z) if self.model.encoder.has_density else 0.5 * squared_distance
        return matches, draws

    def _pair(self, higher: Tensor, lower: Tensor) -> Tensor:
        """The loss of a player that wants one logit above the other.

        A logit that does not depend on the player adds a constant.
        """
        if self.loss == "logit":
            return (lower - higher).mean()
        if self.loss == "relativistic":
            return softplus(lower - higher).mean()
        return (softplus(-higher) + softplus(lower)).mean()

    def _model(self, batch: Batch) -> dict[str, Tensor]:
        x = batch.x
        self._count(x)
        matches, draws = self._matches(batch)
        values: dict[str, Tensor] = {}
        # the model wants the generated side to be called real, and the real side to be called generated
        for name, (real, fake) in matches.items():
            critic = self.critics[name]
            above, below = logits_of(critic, real, fake, batches=bool(critic.statistics), condition=batch.condition)
            values[name] = self._pair(below, above)
        loss = torch.stack([*values.values()]).sum()
        if "reconstruction" in draws:
            values["error"] = (x - draws["reconstruction"]).flatten(1).square().sum(1).mean()
            weight = self.anchor + self.warmup * self._left()
            loss = loss + weight / self.variance.clamp_min(1e-12) * values["error"]
        if "back" in draws:
            values["back"] = draws["back"].mean()
            loss = loss + self.warmup_back * self._left() * values["back"]
        if "cycle" in draws:
            values["cycle"] = draws["cycle"].mean()
            loss = loss + self.cycle * values["cycle"]
        if "latent_gradient_ratio" in draws:
            values["latent_gradient_ratio"] = draws["latent_gradient_ratio"]
        return {"loss": loss, **values}

    def _critic(self, batch: Batch) -> dict[str, Tensor]:
        x = batch.x
        with torch.no_grad():
            matches, draws = self._matches(batch, costs=False)
        steadier = 1.0 if self.domain else self.steadier
        lengths = {"x": self.variance.clamp_min(1e-12), "z": steadier * self._length(draws["z"])}
        values: dict[str, Tensor] = {}
        loss = x.new_zeros(())
        for name, (real, fake) in matches.items():
            critic = self.critics[name]
            verdict = critic_loss(
                critic, real, fake, penalty=self.penalty, lengths=[lengths[part] for part in self.MATCHES[name]],
                share=self.penalised, pairs=self.loss == "relativistic", batches=bool(critic.statistics),
                condition=batch.condition,
            )  # fmt: skip
            loss = loss + verdict.loss
            values |= {
                f"{name}_accuracy": verdict.right,
                f"{name}_real": verdict.real.mean(),
                f"{name}_fake": verdict.fake.mean(),
            }
        return {"loss": loss, **values}

    def __repr__(self) -> str:
        divergences = {
            "reconstruction": "KL(q(x,z) || q(z)p(x|z))",
            "latent": "KL(q(z) || p(z))",
            "inference": "KL(p(x,z) || p(x)q(z|x))",
            "data": "KL(p(x) || data)",
            "joint": "JS(q(x,z), p(x,z))",
        }
        formula = " + ".join(divergences[name] for name in self.critics)
        options = [self.loss, f"gradient {self.gradient}", f"penalty {self.penalty:g}"]
        if self.warmup:
            options.append(f"warm-up {self.warmup:g} until {self.fade:g}")
        if self.warmup_back:
            options.append(f"warm-up of the way back {self.warmup_back:g} until {self.fade:g}")
        options += [f"{name} {w:g}" for name, w in (("anchor", self.anchor), ("cycle", self.cycle)) if w]
        return f"{formula} by critics: {', '.join(options)}"
