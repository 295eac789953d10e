"""Objectives with critics: what each network is told, exact identities, and what a code is used for."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn as tnn

import chartae as ch
from chartae import nn
from chartae.conditionals import (
    Categorical,
    Dirac,
    Empirical,
    Gaussian,
    Implicit,
    Product,
    StandardNormal,
    UniformCategorical,
)  # fmt: skip
from chartae.data import Batch, Batches
from chartae.diagnostics import code_use
from chartae.distributions import OneHot
from chartae.evaluation import clusters_of
from chartae.maths import LOSSES, critic_loss, gradient_penalty
from chartae.metrics import cluster_score
from chartae.nn import Critic
from chartae.objectives.adversarial import Adversarial
from chartae.recipes import Setting, build
from chartae.terms import AdversarialLatent, Reconstruction
from closed_forms import CODE, SIZE, linear, points


def implicit(**options):
    model = ch.Autoencoder(
        Dirac(linear(CODE, SIZE, 1)), Implicit(linear(SIZE, CODE + 2, 2), noise_dim=2), StandardNormal(CODE)
    )
    critics = {"reconstruction": Critic(tnn.Linear(SIZE + CODE, 1)), "latent": Critic(tnn.Linear(CODE, 1))}
    return Adversarial(model, critics, **options)


def touched(objective):
    parts = {"encoder": objective.model.encoder, "decoder": objective.model.decoder, **objective.critics}
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in part.parameters()) for name, part in parts.items()
    }


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gradient", Adversarial.GRADIENTS[:3])
def test_who_is_told_what(loss, gradient):
    objective = implicit(loss=loss, gradient=gradient)
    values = objective(points())
    assert set(values) == {"loss", "reconstruction", "latent", "error", "latent_gradient_ratio"}
    objective.zero_grad()
    values["reconstruction"].backward()
    found = touched(objective)
    assert (found["encoder"], found["decoder"], found["latent"]) == (True, True, False)
    objective.zero_grad()
    critic = objective(points(), player="critic")
    critic["loss"].backward()
    assert touched(objective) == {"encoder": False, "decoder": False, "reconstruction": True, "latent": True}
    assert 0 <= critic["reconstruction_accuracy"] <= 1
    owners = [{id(p) for p in player.parameters} for player in objective.players().values()]
    assert not owners[0] & owners[1]
    assert owners[0] | owners[1] == {id(p) for p in objective.parameters()}


def test_the_encoders_gradient_is_that_of_its_pair():
    """With a linear critic T = a.x + b.z and the raw logit, only b reaches the encoder through a pair's own z."""
    got = {}
    for gradient in Adversarial.GRADIENTS[:3]:
        objective = implicit(loss="logit", gradient=gradient)
        torch.manual_seed(0)
        with torch.no_grad():
            objective.critics["reconstruction"].head.weight.copy_(torch.arange(1.0, 1 + SIZE + CODE)[None])
        a, b = objective.critics["reconstruction"].head.weight[0].split([SIZE, CODE])
        objective(points())["reconstruction"].backward()
        got[gradient] = objective.model.encoder.net.bias.grad
        V = objective.model.decoder.net.weight[:, :CODE]
    # T(x, z) - T(x^, z): forward b through the first; -(b + V^T a) through the second
    assert torch.allclose(got["positive"], b)
    assert torch.allclose(got["negative"], -(b + V.T @ a))
    assert torch.allclose(got["both"], -(V.T @ a))


PAIRS = ("reconstruction", "inference", "joint")


def matched(*names, encoder_noise=0, **options):
    """All of linear nets, so that gradients are known by hand."""
    torch.manual_seed(1)
    encoder = Implicit(linear(CODE, SIZE + encoder_noise, 1), encoder_noise)
    model = ch.Autoencoder(encoder, Implicit(linear(SIZE, CODE + 2, 2), noise_dim=2), StandardNormal(CODE))
    sizes = {"latent": CODE, "data": SIZE}
    critics = {name: Critic(tnn.Linear(sizes.get(name, SIZE + CODE), 1)) for name in names}
    return Adversarial(model, critics, **{"warmup": 0.0, **options})


@pytest.mark.parametrize("name", Adversarial.MATCHES)
def test_what_each_critic_tells_whom(name):
    objective = matched(name)
    objective(points())[name].backward()
    found = touched(objective)
    told = {"latent": (True, False), "data": (False, True)}.get(name, (True, True))
    assert (found["encoder"], found["decoder"]) == told
    objective.zero_grad()
    objective(points(), player="critic")["loss"].backward()
    assert touched(objective) == {"encoder": False, "decoder": False, name: True}


def test_the_critics_pass_draws_only_what_critics_see():
    objective = matched("data", warmup=0.4, cycle=0.1)
    calls = {"encoder": 0, "decoder": 0}
    for name in calls:
        part = getattr(objective.model, name)
        part.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    objective(points())
    assert calls == {"encoder": 2, "decoder": 2}
    objective(points(), player="critic")
    assert calls == {"encoder": 3, "decoder": 3}


def test_a_generator_that_is_left_alone():
    objective = matched("inference", gradient="none")
    objective(points())["inference"].backward()
    found = touched(objective)
    assert (found["encoder"], found["decoder"]) == (True, False)
    # "positive": the generator through the real pair alone, T = a.x + b.z there and -T in the other
    objective = matched("inference", gradient="positive", loss="logit")
    a, b = objective.critics["inference"].head.weight[0].split([SIZE, CODE])
    objective(points())["inference"].backward()
    assert torch.allclose(objective.model.decoder.net.bias.grad, a)
    assert torch.allclose(objective.model.encoder.net.bias.grad, -b)


def test_the_joint_critic_swaps_the_labels():
    objective = matched("joint", loss="logit")
    a, b = objective.critics["joint"].head.weight[0].split([SIZE, CODE])
    objective(points())["joint"].backward()
    assert torch.allclose(objective.model.encoder.net.bias.grad, b)
    assert torch.allclose(objective.model.decoder.net.bias.grad, -a)


def test_weights_change_the_loss_and_a_latent_cycle_is_by_hand():
    plain = matched("reconstruction", "latent")
    for name in ("anchor", "cycle", "warmup"):
        other = matched("reconstruction", "latent", **{name: 0.7})
        torch.manual_seed(2)
        values = other(points())
        extra = {"anchor": "error", "warmup": "error", "cycle": "cycle"}[name]
        variance = points().var(0).sum() if extra == "error" else 1.0
        expected = values["reconstruction"] + values["latent"] + 0.7 * values[extra] / variance
        assert values["loss"].item() == pytest.approx(expected.item())
        assert f"{name} {0.7:g}" in repr(other).replace("warm-up", "warmup")
    assert "warm-up" not in repr(plain)
    # of a point the cycle is half the squared distance of codes
    objective = matched("latent", cycle=1.0)
    with torch.no_grad():
        V = objective.model.decoder.net.weight[:, :CODE]
        objective.model.encoder.net.weight.copy_(torch.linalg.pinv(V))
        objective.model.decoder.net.weight[:, CODE:] = 0
        objective.model.decoder.net.bias.zero_()
        objective.model.encoder.net.bias.fill_(0.5)
    assert objective(points())["cycle"].item() == pytest.approx(0.5 * CODE * 0.25)


def test_a_cycle_teaches_the_decoder_too_unless_it_is_to_be_left_alone():
    for gradient, told in (("both", True), ("positive", True), ("negative", True), ("none", False)):
        objective = matched("latent", "inference", gradient=gradient, cycle=1.0)
        objective(points())["cycle"].backward()
        found = touched(objective)
        assert (found["encoder"], found["decoder"]) == (True, told), gradient
    objective = matched("latent", gradient="positive", warmup_back=1.0)
    objective(points())["back"].backward()
    assert touched(objective)["decoder"]
    flipped = build("iae-flipped", Setting((6,), 2, unit=False), gradient="none").objective
    assert flipped.warmup == 0
    assert build("iae-flipped", Setting((6,), 2, unit=False)).objective.warmup == 0.4


def test_units_of_the_data_are_no_matter():
    """The penalty is measured in each input's own length: of nets that scale their input back, nothing changes."""

    class Scaled(tnn.Module):
        def __init__(self, net, into, out=1.0):
            super().__init__()
            self.net, self.into, self.out = net, into, out

        def forward(self, x):
            return self.out * self.net(x * self.into)

    found = []
    for s in (1.0, 100.0):
        torch.manual_seed(5)
        scale = torch.cat([torch.full((SIZE,), 1 / s), torch.ones(CODE)])
        model = ch.Autoencoder(
            Dirac(Scaled(linear(CODE, SIZE, 1), 1 / s)),
            Implicit(Scaled(linear(SIZE, CODE + 2, 2), 1.0, s), noise_dim=2), StandardNormal(CODE),
        )  # fmt: skip
        critics = {
            "reconstruction": Critic(Scaled(nn.MLP(SIZE + CODE, 1, (8,), norm=False), scale)),
            "latent": Critic(nn.MLP(CODE, 1, (8,), norm=False)),
        }
        objective = Adversarial(model, critics)
        x = s * points()
        objective(x)
        torch.manual_seed(6)
        losses = objective(x)["loss"], objective(x, player="critic")["loss"]
        sum(losses).backward()
        latent = objective.critics["latent"].head[0].weight.grad
        found.append(torch.cat([torch.stack(losses), latent.flatten()]))
    assert torch.allclose(found[0], found[1], rtol=1e-9)


def test_the_gradient_ratio_of_two_critics_is_measured_in_the_backward_pass():
    objective = matched("reconstruction", "latent", gradient="positive", loss="logit")
    values = objective(points())
    assert values["latent_gradient_ratio"] == 0
    values["loss"].backward()
    b = objective.critics["reconstruction"].head.weight[0, SIZE:].norm()
    ratio = (objective.critics["latent"].head.weight.norm() / b).item()
    assert values["latent_gradient_ratio"].item() == pytest.approx(ratio)


def test_another_domain_in_place_of_a_prior():
    objective = matched("latent", "data")
    objective.model.prior = Empirical(CODE)
    objective = Adversarial(objective.model, dict(objective.critics))
    assert objective.uses == {"partner"}
    other = torch.randn(11, CODE)
    values = objective(Batch(points(), partner=other))
    assert values["loss"].isfinite()
    with pytest.raises(ValueError, match="codes are examples of another domain"):
        objective(points())


@pytest.mark.slow
def test_a_critic_that_wins_for_long_raises_the_alarm(tmp_path, float32):
    rows = [{"split": "train", "epoch": 2, "step": 20 * k, "critic/latent_accuracy": 0.99} for k in range(21)]
    objective = matched("latent")
    assert not list(objective.alarms(rows[:19]))
    assert not list(objective.alarms([row | {"step": k} for k, row in enumerate(rows)]))  # 21 steps are not long
    alarm = next(iter(objective.alarms(rows)))
    assert "critic/latent_accuracy has stayed above 0.98" in alarm.text
    # once of each critic, the second one too
    other = [row | {"critic/data_accuracy": 0.99} for row in rows]
    assert [one.kind for one in objective.alarms(other)] == ["critic/latent has won", "critic/data has won"]
    assert alarm.kind == "critic/latent has won"
    assert not list(objective.alarms([*rows[:-1], rows[-1] | {"critic/latent_accuracy": 0.9}]))
    # codes that start far from the prior, and an encoder that does not move
    x = 50 + torch.randn(400, 1)
    model = ch.Autoencoder(Dirac(tnn.Linear(1, 1)), Gaussian(tnn.Linear(1, 1), 1.0), StandardNormal(1))
    with torch.no_grad():
        model.encoder.net.weight.fill_(1.0)
    critic = Critic(tnn.Linear(1, 1))
    with torch.no_grad():
        critic.head.weight.fill_(-1.0)
        critic.head.bias.fill_(20.0)
    told = ch.Penalised(model, Reconstruction() + AdversarialLatent(critic))
    with pytest.warns(RuntimeWarning, match="a critic has won outright"):
        history = ch.training.fit(told, Batches(x, 4), epochs=4, lr=1e-6, progress=False, folder=tmp_path)
    assert sum(row["split"] == "alarm" for row in history.rows) == 1
    assert "alarm" in (tmp_path / "log.jsonl").read_text()


def test_statistics_and_spectral_norm_of_critics():
    torch.manual_seed(0)
    critic = nn.critic("mlp", (4,), 2, statistics=True, spectral_norm=True)
    x, z = torch.randn(8, 4), torch.randn(8, 2)
    first = next(m for m in critic.modules() if isinstance(m, tnn.Linear))
    assert first.in_features == 4 + 2 + 1
    assert torch.linalg.matrix_norm(first.weight, 2) < 1.5
    # the same points seen together with others are judged otherwise
    assert not torch.allclose(critic(x, z)[:2], critic(x[:2], z[:2]))
    assert nn.critic("mlp", None, 3)(torch.randn(5, 3)).shape == (5,)
    assert nn.critic("conv", (1, 8, 8))(torch.rand(5, 1, 8, 8)).shape == (5,)


def test_the_penalty_of_a_linear_critic():
    critic = Critic(tnn.Linear(SIZE + CODE, 1))
    expected = 0.5 * critic.head.weight.square().sum()
    assert torch.allclose(gradient_penalty(critic, points(), torch.randn(11, CODE)), expected)


@pytest.mark.slow
def test_a_critics_logit_is_the_log_ratio():
    g = torch.Generator().manual_seed(0)
    critic = Critic(nn.MLP(1, 1, (32,), norm=False, activation="leaky-relu"))
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(400):
        p, q = torch.randn(512, 1, generator=g), 1 + 0.7 * torch.randn(512, 1, generator=g)
        optimiser.zero_grad()
        critic_loss(critic, (p,), (q,)).loss.backward()
        optimiser.step()
    x = torch.linspace(-1, 2.5, 100)[:, None]
    truth = StandardNormal(1).log_prob(x) - torch.distributions.Normal(1.0, 0.7).log_prob(x)[:, 0]
    with torch.no_grad():
        residual = (critic(x) - truth).square().sum() / (truth - truth.mean()).square().sum()
    assert 1 - residual.item() > 0.95


def test_the_costs_are_the_gap_and_the_useless_code_is_an_optimum():
    """KL(q(x,z)||p(x,z)) = KL(q(x,z)||q(z)p(x|z)) + KL(q(z)||p(z)), finite sums; zero for a code of nothing."""
    g = torch.Generator().manual_seed(0)
    data = torch.rand(6, generator=g).softmax(0)
    posterior, likelihood = torch.rand(6, 4, generator=g).softmax(1), torch.rand(4, 6, generator=g).softmax(1)
    prior = torch.rand(4, generator=g).softmax(0)
    kl = lambda a, b: (a * (a / b).log()).sum()  # noqa: E731
    for q, p in ((posterior, likelihood), (prior.expand(6, 4), data.expand(4, 6))):
        joint = data[:, None] * q
        aggregate = joint.sum(0)
        costs = kl(joint, aggregate[None] * p.T) + kl(aggregate, prior)
        assert costs.item() == pytest.approx(kl(joint, prior[None] * p.T).item(), abs=1e-12)
        elbo = (data[:, None] * q * (p.T * prior[None] / q).log()).sum()
        assert costs.item() == pytest.approx((-elbo + (data * data.log()).sum()).item(), abs=1e-12)
    assert costs.item() == pytest.approx(0, abs=1e-12)  # the last: z tells nothing of x


class Quadratic(tnn.Module):
    """log N(v; 0, A) - log N(v; 0, B): the best critic of two normals."""

    def __init__(self, a, b):
        super().__init__()
        self.form, self.level = torch.linalg.inv(a) - torch.linalg.inv(b), torch.logdet(a) - torch.logdet(b)

    def forward(self, v):
        return -0.5 * ((v @ self.form * v).sum(1, keepdim=True) + self.level)


def divergence(a, b):
    """KL(N(0, A) || N(0, B))."""
    return 0.5 * (torch.trace(torch.linalg.solve(b, a)) - len(a) + torch.logdet(b) - torch.logdet(a))


def test_gradients_are_those_of_the_divergences_where_critics_are_optimal():
    """x ~ N(0, 1), z^ = a x + s e, x^ = b z^ + t n: all laws are normal, and so is what the raw logit should give."""
    a, s, b, t = (torch.tensor(v, requires_grad=True) for v in (0.8, 0.5, 1.3, 0.4))

    def laws():
        v = a**2 + s**2
        q = torch.stack([torch.stack([torch.ones(()), a]), torch.stack([a, v])])
        r = torch.stack([torch.stack([b**2 * v + t**2, b * v]), torch.stack([b * v, v])])
        return q, r, v.reshape(1, 1)

    model = ch.Autoencoder(
        Implicit(tnn.Linear(2, 1, bias=False), 1), Implicit(tnn.Linear(2, 1, bias=False), 1), StandardNormal(1)
    )
    with torch.no_grad():
        model.encoder.net.weight.copy_(torch.stack([a, s])[None])
        model.decoder.net.weight.copy_(torch.stack([b, t])[None])
        q, r, v = laws()
        critics = {"reconstruction": Critic(Quadratic(q, r)), "latent": Critic(Quadratic(torch.eye(1), v))}
    x = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(0))
    x /= x.std()
    found = {}
    for gradient in ("positive", "both"):
        objective = Adversarial(model, critics, loss="logit", gradient=gradient, penalty=0.0, warmup=0.0)
        torch.manual_seed(0)
        values = objective(x)
        for name in ("reconstruction", "latent"):
            parts = [model.encoder.net.weight, model.decoder.net.weight]
            found[gradient, name] = torch.autograd.grad(values[name], parts, retain_graph=True, allow_unused=True)
    q, r, v = laws()
    forward = torch.stack(torch.autograd.grad(divergence(q, r), (a, s), retain_graph=True))
    backward = torch.stack(torch.autograd.grad(divergence(r, q), (b, t), retain_graph=True))
    prior = torch.stack(torch.autograd.grad(divergence(v, torch.eye(1)), (a, s)))
    # the encoder: KL(q(x,z) || q(z)p(x|z)), exactly through the positive pair alone; the decoder: the other direction
    assert torch.allclose(found["positive", "reconstruction"][0][0], forward, atol=0.03)
    assert not torch.allclose(found["both", "reconstruction"][0][0], forward, atol=0.3)
    assert torch.allclose(found["positive", "reconstruction"][1][0], backward, atol=0.03)
    assert torch.allclose(found["positive", "latent"][0][0], prior, atol=0.01)
    assert found["positive", "latent"][1] is None
    # the term of an adversarial autoencoder is that of the implicit one
    told = ch.Penalised(
        ch.Autoencoder(model.encoder, Gaussian(tnn.Linear(1, 1), 1.0), StandardNormal(1)),
        Reconstruction() + AdversarialLatent(critics["latent"], penalty=0.0, loss="logit"),
    )
    (same,) = torch.autograd.grad(told(x)["adversarial_latent"], [model.encoder.net.weight])
    assert torch.allclose(same[0], prior, atol=0.01)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_a_latent_critic(loss):
    model = ch.Autoencoder(Dirac(linear(CODE, SIZE, 1)), Gaussian(linear(SIZE, CODE, 2), 1.0), StandardNormal(CODE))
    critic = Critic(tnn.Linear(CODE, 1))
    objective = ch.Penalised(model, Reconstruction() + AdversarialLatent(critic, 0.0, loss))
    torch.manual_seed(3)
    values = objective(points())
    torch.manual_seed(3)
    made, real = critic(model.encode(points())), critic(model.prior.sample(len(points())))
    softplus = tnn.functional.softplus
    by_hand = {"logit": -made, "relativistic": softplus(real - made), "non-saturating": softplus(-made)}[loss]
    assert torch.allclose(values["adversarial_latent"], by_hand.mean())
    torch.manual_seed(3)
    paid = objective(points(), player="adversarial_latent")["loss"]
    pairs = softplus(made - real).mean()
    assert torch.allclose(paid, pairs if loss == "relativistic" else (softplus(-real) + softplus(made)).mean())
    assert (loss in repr(objective)) == (loss != "non-saturating")
    with pytest.raises(ValueError, match="loss is 'hinge'"):
        AdversarialLatent(critic, loss="hinge")


def test_the_warm_up_fades_to_nothing_at_half_time():
    objective = implicit()
    objective.plan(8, Batches(points(), 4))
    left = []
    for _ in range(8):
        objective(points())
        left.append(round(objective._left().item(), 6))
    assert left == [0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert objective.variance.item() == pytest.approx(points().var(0).sum().item())
    before = objective.passes.clone()
    objective.eval()(points())
    assert torch.equal(objective.passes, before)
    # how far it has come goes along with the weights; a training that is new starts anew
    other = implicit()
    other.load_state_dict(objective.state_dict())
    assert other._left() == 0
    assert other.scheduled
    assert not implicit(warmup=0.0).scheduled
    objective.plan(8, Batches(points(), 4))
    assert objective._left() == 1
    with pytest.raises(ValueError, match="batch_size is 1"):
        objective.check(Batches(points(), 1))


@pytest.mark.parametrize("mode", OneHot.MODES)
def test_one_hot_codes(mode):
    logits = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    draw = OneHot(logits, mode).sample(generator=torch.Generator().manual_seed(1))
    assert torch.allclose(draw.sum(1), torch.ones(2000))
    assert draw.requires_grad == (mode != "exact")
    if mode in ("gumbel", "exact"):
        many = OneHot(logits[:1].detach(), mode).sample(20_000, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(many.mean(0)[0], logits[0].softmax(0), atol=0.015)
    if mode != "softmax":
        assert set(draw.detach().round(decimals=9).unique().tolist()) <= {0.0, 1.0}
    assert OneHot(logits, mode).log_prob(torch.eye(3)[0]).shape == (2000,)


def test_an_implicit_decoder_is_drawn_from():
    model = implicit().model
    z = torch.zeros(5, CODE)
    assert torch.equal(model.decode(z), model.decode(z))  # n = 0
    a, b = (model.sample(5, generator=torch.Generator().manual_seed(k)) for k in (0, 0))
    assert torch.equal(a, b)
    assert model.decoder(z).point().std(0).min() > 0
    assert model.decoder(z).sample(3).shape == (3, 5, SIZE)
    with pytest.raises(TypeError, match="no density to evaluate"):
        model.decoder(z).log_prob(points(5))


@pytest.mark.slow
def test_a_latent_critic_gives_codes_the_priors_law(float32):
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(2000, 1)
    model = ch.Autoencoder(Dirac(tnn.Linear(1, 1)), Gaussian(tnn.Linear(1, 1), 1.0), StandardNormal(1))
    critic = Critic(nn.MLP(1, 1, (32,), norm=False, activation="leaky-relu"))
    objective = ch.Penalised(model, Reconstruction() + 10.0 * AdversarialLatent(critic))
    assert set(objective.players()) == {"model", "adversarial_latent"}
    ch.training.fit(objective, Batches(x, 200), epochs=60, lr=5e-3, cosine=False, progress=False)
    codes = model.encode(x)
    assert codes.mean().item() == pytest.approx(0, abs=0.25)
    assert codes.std().item() == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_the_calibration_of_a_conditional_in_closed_form(share):
    """x = (c, e) with code c and noise e of variance 1; the decoder draws noise of variance `share`^2."""
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    model = ch.Autoencoder(Dirac(tnn.Linear(2, 1, bias=False)), Implicit(tnn.Linear(2, 2), 1), StandardNormal(1))
    with torch.no_grad():
        model.encoder.net.weight.copy_(torch.tensor([[1.0, 0.0]]))
        model.decoder.net.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, share]]))
        model.decoder.net.bias.zero_()
    expected = 2 * share**2 / (1 + share**2)
    with pytest.warns(RuntimeWarning, match="ignores its noise.*noise_dim=0") if expected < 0.1 else nullcontext():
        use = code_use(model, x, draws=16)
    assert use.calibration == pytest.approx(expected, rel=0.05)
    assert ("the noise is ignored" in dict(use.warnings())) == (share == 0.1)
    assert not use.ignored
    with torch.no_grad():
        model.decoder.net.weight[1, 1] = 0.0
    assert code_use(model, x).calibration is None  # nothing varies


@pytest.mark.parametrize("weight", [3.0, 0.0])
def test_a_decoder_that_ignores_the_category_is_found(weight):
    """Four clusters whose examples differ in a style too: the decoder may draw them from the style alone."""
    x = torch.cat([3 * torch.eye(4).repeat(50, 1), torch.randn(200, 2)], 1)
    parts = [Categorical(tnn.Identity()), Dirac(tnn.Identity())]
    prior = Product([UniformCategorical(4), StandardNormal(6)], [4, 6])
    encoder = Product(parts, [4, 6], tnn.Linear(6, 10, bias=False))
    model = ch.Autoencoder(encoder, ch.Gaussian(tnn.Linear(10, 6, bias=False)), prior)
    with torch.no_grad():
        model.encoder.net.weight.copy_(torch.cat([20 * torch.eye(4, 6), torch.eye(6)]))
        # from the category and the style, or from the style alone
        clusters = torch.cat([weight * torch.eye(4, 4), torch.zeros(2, 4)])
        style = torch.eye(6) * torch.tensor([0.0 if weight else 1.0] * 4 + [1.0] * 2)
        model.decoder.net.weight.copy_(torch.cat([clusters, style], 1))
    with nullcontext() if weight else pytest.warns(RuntimeWarning, match="ignores the category.*Decrease latent_dim"):
        use = code_use(model, x)
    assert use.error == pytest.approx(0, abs=1e-6)
    assert not use.ignored
    assert (use.other_category > 10) == (weight > 0)
    assert [kind for kind, _ in use.warnings()] == ([] if weight else ["the category is ignored"])


def test_what_a_code_is_used_for():
    x = torch.eye(4).repeat(50, 1) * 3
    model = ch.Autoencoder(Categorical(tnn.Linear(4, 4)), Implicit(tnn.Linear(5, 4), 1), UniformCategorical(4))
    with torch.no_grad():
        model.encoder.net.weight.copy_(20 * torch.eye(4))
        model.encoder.net.bias.zero_()
        model.decoder.net.weight.copy_(torch.cat([3 * torch.eye(4), torch.zeros(4, 1)], 1))
        model.decoder.net.bias.zero_()
    found = code_use(model, x)
    assert found.information == pytest.approx(torch.log(torch.tensor(4.0)).item(), abs=1e-6)
    assert (found.used, found.ignored) == (4, False)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.spread == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        model.decoder.net.weight[:, :4] = 0
        model.decoder.net.weight[:, 4] = 1
    with pytest.warns(RuntimeWarning, match=r"the code is ignored.*warmup"):
        assert code_use(model, x).ignored
    with pytest.raises(ValueError, match="x holds 5 points; expected at least 10"):
        code_use(model, x[:5])
    # no example is given its own code in exchange: of ten different points none comes back
    same = ch.Autoencoder(Dirac(tnn.Identity()), ch.Gaussian(tnn.Identity(), 1.0), StandardNormal(4))
    seen = []
    same.decoder.net.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    distinct = torch.arange(40.0).reshape(10, 4)
    for seed in range(5):
        seen.clear()
        code_use(same, distinct, seed=seed)
        (other,) = [z for z in seen if not torch.equal(z, distinct)]
        again = other[other.argsort(0)[:, 0]]
        assert torch.equal(again, distinct)
        assert all(not torch.equal(a, b) for a, b in zip(other, distinct, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("error:the code is ignored")
def test_sorted_examples_raise_no_false_alarm(float32):
    torch.manual_seed(0)
    x = torch.cat([torch.randn(1100, 2) + 8 * k for k in range(3)])  # the first thousand are of one kind
    run = ch.fit(
        "aae-cluster", ch.data.from_arrays(x, valid=0, test=0), clusters=3, latent_dim=1, epochs=3, batch_size=64,
        net="smooth:32", lr=5e-3, neighbours=0, agreement=0, progress=False,
    )  # fmt: skip
    assert not [row for row in run.log if row["split"] == "alarm"]


def test_an_ignored_code_is_an_alarm_in_the_log(tmp_path, float32):
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    with pytest.warns(RuntimeWarning, match="the code is ignored"):
        run = ch.fit("ali", x, epochs=1, batch_size=20, out=tmp_path / "run", progress=False)
    alarm = [row for row in ch.load(tmp_path / "run").log if row["split"] == "alarm"][-1]
    assert alarm["kind"] == "the code is ignored"
    assert run.training()["alarms"] == [alarm["alarm"]]


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("aae", {}),
        ("aae", {"noise_dim": 2}),
        ("wae-gan", {}),
        ("iae", {"noise_dim": 3}),
        ("iae", {"encoder_noise_dim": 3}),
        ("iae-flipped", {}),
        ("ali", {}),
        ("iae-cluster", {"clusters": 5}),
        ("aae-cluster", {"clusters": 5, "mode": "gumbel"}),
    ],
)
@pytest.mark.parametrize("shape", [(6,), (1, 8, 8)])
def test_recipes_train_and_come_back(recipe, options, shape, tmp_path, float32):
    x = torch.rand(110, *shape, generator=torch.Generator().manual_seed(0))
    run = ch.fit(recipe, x, epochs=2, batch_size=40, out=tmp_path / "run", progress=False, **options)
    critic = "adversarial_latent" if recipe in ("aae", "wae-gan", "aae-cluster") else "critic"
    assert any(f"{critic}/loss" in row for row in run.log)
    again = ch.load(tmp_path / "run")
    assert torch.allclose(again.sample(4, "prior", seed=1), run.sample(4, "prior", seed=1), atol=1e-6)
    codes = again.encode(x)
    size = 6 if shape == (6,) else 16
    assert codes.shape == (110, {"iae-cluster": 5, "aae-cluster": 5 + min(10, size)}.get(recipe, size))
    # a critic's loss chooses no epoch, and how strong it is no step size
    assert run.history.best_epoch == again.kept == again.training()["best_epoch"] == 2
    assert run.log[-1]["split"] in ("valid", "alarm")
    assert all("latent_gradient_ratio" not in row for row in run.log if row["split"] == "valid")
    ratios = [row["latent_gradient_ratio"] for row in run.log if "latent_gradient_ratio" in row]
    assert all(ratio > 0 for ratio in ratios)
    assert bool(ratios) == (recipe not in ("ali", "iae-flipped"))


def test_bad_settings():
    with pytest.raises(ValueError, match="gradient is 'all'"):
        implicit(gradient="all")
    with pytest.raises(ValueError, match="loss is 'hinge'"):
        implicit(loss="hinge")
    with pytest.raises(ValueError, match="warmup is -1.0; expected a weight of 0 or more"):
        implicit(warmup=-1.0)
    with pytest.raises(ValueError, match="a share of training"):
        implicit(fade=0.0)
    with pytest.raises(ValueError, match="critics are given for nobody; choose from reconstruction"):
        Adversarial(implicit().model, {"nobody": Critic(tnn.Linear(1, 1))})
    with pytest.raises(ValueError, match="critics are given for none"):
        Adversarial(implicit().model, {})
    with pytest.raises(TypeError, match="the latent critic is a Linear"):
        Adversarial(implicit().model, {"latent": tnn.Linear(1, 1)})
    with pytest.raises(ValueError, match="12 clusters for 8 training examples"):
        ch.fit("iae-cluster", ch.data.from_arrays(torch.randn(8, 2), valid=0, test=0), clusters=12)
    for recipe, options, message in (
        ("aae-cluster", {}, "10 clusters for 8 training examples"),
        ("iae-cluster", {"latent_dim": 500}, "500 clusters for 8"),
        ("iae-cluster", {"clusters": 1}, "clusters is 1; give at least 2"),
        ("aae-cluster", {"clusters": 0}, "clusters is 0; give at least 2"),
        ("iae-cluster", {"densities": ("gmm",)}, "hold a category, so no density is fitted"),
        ("iae", {"batch_size": 1, "net": "smooth:8", "densities": ()}, "batch_size is 1; expected at least 2"),
        ("vae-gan", {"batch_size": 1, "net": "smooth:8", "densities": ()}, "batch_size is 1; expected at least 2"),
        ("ae", {"batch_size": 1, "densities": ()}, "batch normalisation needs several examples"),
        (
            "iae-flipped",
            {"gradient": "none", "warmup": 0.4, "latent_dim": 2},
            "gradient is 'none', .* but warmup is 0.4",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            ch.fit(recipe, ch.data.from_arrays(torch.randn(8, 2), valid=0, test=0), **options)
    with pytest.raises(ValueError, match="expected the same number. Give only clusters"):
        build("iae-cluster", Setting((2,), 3), clusters=4)
    with pytest.raises(ValueError, match="at least 2"):
        UniformCategorical(1)


@pytest.mark.slow
def test_eight_gaussians_are_eight_codes(float32):
    angle = torch.arange(8) * torch.pi / 4
    means = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    world = ch.data.toys.mixture(means.tolist(), sds=0.15, weights=[1] * 8)
    data = ch.data.from_arrays(world.sample(60_000, seed=0).float(), valid=0, test=0)
    settings = {"clusters": 8, "noise_dim": 4, "net": "smooth:96x96", "epochs": 8, "batch_size": 192}
    run = ch.fit("iae-cluster", data, progress=False, **settings)
    x = world.sample(4000, seed=9).float()
    code = run.encode(x).argmax(1)
    component = torch.cdist(x, means.float()).argmin(1)
    table = torch.zeros(8, 8).index_put((component, code), torch.ones(4000), accumulate=True)
    assert table.max(0).values.sum() / 4000 >= 0.95
    assert code_use(run.model, x).used == 8


def test_cluster_scores_by_hand():
    p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.05, 0.95]])
    y = torch.tensor([0, 0, 1, 1, 0])
    found = cluster_score(p, y, p, y)
    # cluster 1 holds 1, 1, 0: the majority is 1, the surest member is the 0
    assert found.error_majority == pytest.approx(1 / 5)
    assert found.error_confident == pytest.approx(2 / 5)
    assert found.used == 2
    # points whose label is not known are left out, on both sides, however the others are numbered
    more, none = torch.cat([p, p[:2].flip(1)]), torch.tensor([-1, -1])
    assert cluster_score(more, torch.cat([y, none]), more, torch.cat([y, none])) == found
    assert cluster_score(p, 2020 * y, p, 2020 * y) == found
    for wrong in (y.double(), y[:, None]):
        with pytest.raises(ValueError, match="expected vectors of whole numbers, one class per point"):
            cluster_score(p.numpy(), wrong.numpy(), p.numpy(), wrong.numpy())
    with pytest.raises(ValueError, match="there are 0 labelled points"):
        cluster_score(p, 0 * y - 1, p, y)
    with pytest.raises(ValueError, match="one label per row"):
        cluster_score(p, y[:3].numpy(), p, y)
    with pytest.raises(ValueError, match="there are 0 labelled points"):
        cluster_score(p[:0], y[:0], p, y)
    # a cluster that no labelled point names is misnamed
    assert cluster_score(p[:2], y[:2], p, y).error_majority == pytest.approx(3 / 5)


@pytest.mark.filterwarnings("ignore:the code is ignored")  # after one epoch it may be
def test_clusters_are_evaluated_and_predicted(tmp_path, float32):
    data = ch.data.load("digits")
    run = ch.fit("iae-cluster", data, clusters=6, noise_dim=4, epochs=1, out=tmp_path / "run", progress=False)
    found = ch.evaluate(run, data, n=100)
    assert found["clusters"]["error_majority"] < 0.9 - 0.1  # better than chance
    with pytest.raises(ValueError, match="validation set of digits has no class labels"):
        clusters_of(run, replace(data, valid_labels=None))
    assert set(found["code"]) == {
        "error",
        "shuffled",
        "other_category",
        "spread",
        "calibration",
        "information",
        "bound",
        "used",
    }
    x = data.train[:200].numpy()
    estimator = ch.GenerativeAutoencoder(recipe="iae-cluster", epochs=1, options={"clusters": 4, "noise_dim": 2})
    labels = estimator.fit(x).predict(x)
    assert labels.shape == (200,)
    assert labels.max() < 4
    assert estimator.sample(3).shape == (3, 1, 8, 8)
    assert not hasattr(ch.GenerativeAutoencoder(recipe="rae"), "predict")
