"""Objectives with several players: a critic stands where a divergence has no formula."""

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
from chartae.objectives.pull import PullMeter

__all__ = ["Adversarial", "Match"]


class Match(NamedTuple):
    """What a critic is to call real, and what it is to call made."""

    real: tuple[Tensor, ...]
    made: tuple[Tensor, ...]


class Adversarial(Objective):
    """Laws that critics make equal: implicit autoencoders, forward and flipped, ALI, and what lies between.

    With f the encoder, g the decoder, z^ = f(x), and z of the prior, the critics that are given say what is matched:

    ==================  =================  ==================  =====================================================
    critic              real               made                at its optimum the model minimises
    ==================  =================  ==================  =====================================================
    ``reconstruction``  (x, z^)            (g(z^), z^)         KL(q(x, z) || q(z) p(x|z))
    ``latent``          z                  z^                  KL(q(z) || p(z))
    ``inference``       (g(z), z)          (g(z), f(g(z)))     KL(p(x, z) || p(x) q(z|x))
    ``data``            x                  g(z)                KL(p(x) || data), a GAN
    ``joint``           (x, z^)            (g(z), z)           JS(q(x, z), p(x, z)), up to the loss
    ==================  =================  ==================  =====================================================

    The first two are the implicit autoencoder, the negative ELBO less the data's entropy (Makhzani, "Implicit
    Autoencoders", 2018, arXiv 1805.09804); the next two its flipped form, which learns the posterior of a generator;
    `joint` alone is ALI or BiGAN (Dumoulin et al., 2016, arXiv 1606.00704).

    All of them have a useless optimum at cost zero, where the code says nothing of x and the decoder is a plain GAN,
    and a stabilised training finds it. `warmup` prevents that: a squared error that fades to nothing, after which the
    objective is the paper's own; an informative code that the laws agree on then stays. ``warmup=0, penalty=0`` is the
    paper's bare objective. Whether the code is used, `chartae.diagnostics.code_use` says.

    Where the prior remembers examples (`Empirical`), codes are points of another domain, which come as the partner of
    each batch in place of the prior's: unpaired translation.

    Args:
        model: its decoder `Implicit`, or a Dirac; its encoder any that is drawn from with gradients.
        critics: by the names above; those of pairs are critics of (x, z).
        gradient: through which side of a critic a net is told that feeds both (the encoder of `reconstruction`, the
            decoder of `inference`): ``"positive"``, the real side, exact for the forward KL; ``"negative"``, the made
            one; ``"both"``, for the Jensen-Shannon divergence; ``"none"``, neither: of `inference`, the generator is
            left alone, and only its posterior is learnt.
        loss: ``"non-saturating"``; ``"relativistic"``, of pairs (Jolicoeur-Martineau, 2018, arXiv 1807.00734);
            ``"logit"``, the raw logit, whose gradient is the KL's where the critic is optimal.
        penalty: of R1 + R2 on every critic, each of its inputs measured in its own length: as a share of the total
            variance of x, and `steadier` times that share of the variance of z under the prior.
        steadier: how much more a critic is smoothed in z, but for another domain's points. On the ring of eight normals
            one seed of three lost a code at 1, none of ten at 4, and at 10 all came within 2.5 times the floor of a
            perfect code.
        penalised: the share of a batch on which the penalty is estimated; less is cheaper, and noisier.
        warmup: weight of ||x - g(z^)||^2 at the start, as a multiple of 1 / (total variance of x). Under ``"positive"``
            it trains the decoder alone.
        fade: by which share of training it has faded to nothing.
        anchor: of the same error, what never fades: then codes stay informative, and reconstructions lose diversity.
        cycle: weight of -log q(z | g(z)) over z of the prior, or of ½||z - f(g(z))||^2 where q is a point. It trains
            encoder and decoder, but for ``"none"``, the encoder alone.
        warmup_back: weight of ||z - f(g(z))||^2 at the start, as a multiple of 1 / (total variance of z), which fades
            as `warmup` does.

    Raises:
        ValueError: an unknown critic, gradient or loss, a negative weight, no critic at all; a warm-up of a generator
            that is to be left alone; in training, batches of one example.
        TypeError: a part that is no critic.
    """

    #: what each critic sees
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
            given = ", ".join(sorted(unknown)) if critics else "none"
            raise ValueError(f"critics are given for {given}; choose from {', '.join(self.MATCHES)}")
        for role, critic in critics.items():
            if not isinstance(critic, Critic):
                raise TypeError(f"the {role} critic is a {type(critic).__name__}; give a Critic(head, trunk)")
        if gradient not in self.GRADIENTS:
            raise ValueError(f"gradient is {gradient!r}; choose from {', '.join(self.GRADIENTS)}")
        weights = {
            "penalty": penalty,
            "steadier": steadier,
            "warmup": warmup,
            "anchor": anchor,
            "cycle": cycle,
            "warmup_back": warmup_back,
        }
        if negative := [name for name, w in weights.items() if not w >= 0]:
            raise ValueError(f"{negative[0]} is {weights[negative[0]]}; weights are 0 or above")
        if gradient == "none" and (warmup or anchor):
            raise ValueError(
                f"gradient 'none' leaves the generator alone, but warmup {warmup:g} and anchor {anchor:g} would train "
                "it; give 0 for both"
            )
        if not 0 < fade <= 1:
            raise ValueError(f"fade is {fade}; the warm-up ends at a share of training, above 0 and up to 1")
        if not 0 < penalised <= 1:
            raise ValueError(f"penalised is {penalised}; a share of the batch is above 0 and up to 1")
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
                "codes are another domain's points, but there are none: give them as partner of the batches"
            )

    def plan(self, steps: int, batches: Batches) -> None:
        self.passes.zero_()
        self.variance.zero_()
        self.steps.fill_(steps)

    @property
    def scheduled(self) -> bool:
        return bool(self.warmup or self.warmup_back)

    def _notice(self, x: Tensor) -> None:
        """The total variance of x, from the first batches."""
        if self.training and len(x) > 1:
            now = total_variance(x)
            self.variance += (now - self.variance) / (1 + self.passes.clamp_max(99)).to(now.dtype)
        self.passes += self.training

    def _left(self) -> Tensor:
        """What is left of the warm-up: 1 at the start, and where no end is known, 0 once it has faded."""
        gone = self.passes / (self.fade * self.steps).clamp_min(1e-12)
        return torch.where(self.steps > 0, (1 - gone).clamp_min(0), 1.0).to(self.variance.dtype)

    def _length(self, t: Tensor) -> Tensor:
        """The square of the length in which z is measured: its variance under the prior, which is not learnt."""
        return total_variance(t).clamp_min(1e-12)

    def forward(self, batch: Batch, player: str = "model") -> dict[str, Tensor]:
        return self._critic(batch) if player == "critic" else self._model(batch)

    def _side(self, t: Tensor, side: str) -> Tensor:
        """A draw that feeds both sides of a critic, as one of them sees it."""
        return t if self.gradient in (side, "both") else t.detach()

    def _matches(self, batch: Batch, *, costs: bool = True) -> tuple[dict[str, Match], dict[str, Tensor]]:
        """What each critic sees; and beside it the draws that the model's other `costs` are about."""
        x, condition, partner = batch.x, batch.condition, batch.partner
        encode = lambda a: self.model.encoder(a, condition)  # noqa: E731
        decode = lambda a: self.model.decoder(a, condition).sample()  # noqa: E731
        wanted = self.critics.keys()
        error = costs and bool(self.warmup or self.anchor)
        back = costs and bool(self.cycle or self.warmup_back)
        if self.domain and partner is None:
            raise ValueError("codes are another domain's points, but there are none: give the batch a partner")
        z = partner if self.domain and partner is not None else self.model.prior.sample(len(x))
        code = encode(x).sample()
        meter = PullMeter()
        judged_code = meter.watch(code) if self.training and "latent" in wanted else code
        draws = {"z": z} | ({} if meter.ratio is None else {"latent_pull": meter.ratio})
        found: dict[str, Match] = {}
        if "reconstruction" in wanted or error:
            draws["again"] = again = decode(self._side(code, "negative"))
            if "reconstruction" in wanted:
                found["reconstruction"] = Match(
                    (x, self._side(code, "positive")), (again, self._side(code, "negative"))
                )
        if "latent" in wanted:
            found["latent"] = Match((z,), (judged_code,))
        if {"inference", "data", "joint"} & wanted or back:
            drawn = decode(z)
            if "data" in wanted:
                found["data"] = Match((x,), (drawn,))
            if "joint" in wanted:
                found["joint"] = Match((x, code), (drawn, z))
            if "inference" in wanted or back:
                seen = self._side(drawn, "negative")
                q = encode(seen)
                inferred = q.sample()
                if "inference" in wanted:
                    found["inference"] = Match((self._side(drawn, "positive"), z), (seen, inferred))
                if back and self.gradient == "positive":  # the way back teaches the decoder too
                    q = encode(drawn)
                    inferred = q.sample()
                apart = (z - inferred).flatten(1).square().sum(1)
                if costs and self.warmup_back:
                    draws["back"] = apart / self._length(z)
                if costs and self.cycle:
                    draws["cycle"] = -q.log_prob(z) if self.model.encoder.has_density else 0.5 * apart
        return found, draws

    def _pair(self, better: Tensor, worse: Tensor) -> Tensor:
        """What a player pays that wants the one logit above the other; what does not depend on it is a constant."""
        if self.loss == "logit":
            return (worse - better).mean()
        if self.loss == "relativistic":
            return softplus(worse - better).mean()
        return (softplus(-better) + softplus(worse)).mean()

    def _model(self, batch: Batch) -> dict[str, Tensor]:
        x = batch.x
        self._notice(x)
        found, draws = self._matches(batch)
        values: dict[str, Tensor] = {}
        # the model wants what it made to pass for the real, and the real for what it made
        for name, (real, made) in found.items():
            critic = self.critics[name]
            above, below = logits_of(critic, real, made, batches=bool(critic.statistics), condition=batch.condition)
            values[name] = self._pair(below, above)
        loss = torch.stack([*values.values()]).sum()
        if "again" in draws:
            values["error"] = (x - draws["again"]).flatten(1).square().sum(1).mean()
            weight = self.anchor + self.warmup * self._left()
            loss = loss + weight / self.variance.clamp_min(1e-12) * values["error"]
        if "back" in draws:
            values["back"] = draws["back"].mean()
            loss = loss + self.warmup_back * self._left() * values["back"]
        if "cycle" in draws:
            values["cycle"] = draws["cycle"].mean()
            loss = loss + self.cycle * values["cycle"]
        if "latent_pull" in draws:
            values["latent_pull"] = draws["latent_pull"]
        return {"loss": loss, **values}

    def _critic(self, batch: Batch) -> dict[str, Tensor]:
        x = batch.x
        with torch.no_grad():
            found, draws = self._matches(batch, costs=False)
        steadier = 1.0 if self.domain else self.steadier
        lengths = {"x": self.variance.clamp_min(1e-12), "z": steadier * self._length(draws["z"])}
        values: dict[str, Tensor] = {}
        loss = x.new_zeros(())
        for name, (real, made) in found.items():
            critic = self.critics[name]
            verdict = critic_loss(
                critic, real, made, penalty=self.penalty, lengths=[lengths[part] for part in self.MATCHES[name]],
                share=self.penalised, pairs=self.loss == "relativistic", batches=bool(critic.statistics),
                condition=batch.condition,
            )  # fmt: skip
            loss = loss + verdict.loss
            values |= {
                f"{name}_accuracy": verdict.right,
                f"{name}_real": verdict.real.mean(),
                f"{name}_made": verdict.made.mean(),
            }
        return {"loss": loss, **values}

    def __repr__(self) -> str:
        costs = {
            "reconstruction": "KL(q(x,z) || q(z)p(x|z))",
            "latent": "KL(q(z) || p(z))",
            "inference": "KL(p(x,z) || p(x)q(z|x))",
            "data": "KL(p(x) || data)",
            "joint": "JS(q(x,z), p(x,z))",
        }
        formula = " + ".join(costs[name] for name in self.critics)
        told = [self.loss, f"gradient {self.gradient}", f"penalty {self.penalty:g}"]
        if self.warmup:
            told.append(f"warm-up {self.warmup:g} until {self.fade:g}")
        if self.warmup_back:
            told.append(f"warm-up of the way back {self.warmup_back:g} until {self.fade:g}")
        told += [f"{name} {w:g}" for name, w in (("anchor", self.anchor), ("cycle", self.cycle)) if w]
        return f"{formula} by critics: {', '.join(told)}"
