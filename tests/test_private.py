"""What no one else may notice: private doors with public ways round them, random streams, devices, threads."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
from accelerate import Accelerator, PartialState
from torch import nn

import chartae as ch
from chartae import training
from chartae.data import Batches
from chartae.grammar import load
from chartae.maths import private, random_signs, sliced_wasserstein
from chartae.maths.random import Stream, generator_for, rand, randn
from chartae.nn import draws_itself
from chartae.nn.layers import product
from chartae.objectives.gradient_ratio import GradientRatio
from chartae.recipes import RECIPES, Setting, build
from chartae.training.device import Alone, place

WAYS = pytest.mark.parametrize("allowed", [True, False], ids=["private", "public"])


# -- private doors, and the public ways -------------------------------------------------------------------------------


@WAYS
def test_a_product_and_its_derivatives(monkeypatch, allowed):
    monkeypatch.setattr(private, "ALLOWED", allowed)
    x, weight, bias = torch.randn(32, 256), torch.randn(256, 256), torch.randn(256)
    exact = x @ weight.T + bias
    leaves = [t.float().requires_grad_() for t in (x, weight, bias)]
    out = product(*leaves)
    assert out.dtype == torch.float32
    assert torch.allclose(out.double(), exact, atol=1e-4)
    g = torch.randn(32, 256)
    gradients = torch.autograd.grad(out, leaves, g.float())
    for gradient, wanted in zip(gradients, (g @ weight, g.T @ x, g.sum(0)), strict=True):
        assert torch.allclose(gradient.double(), wanted, atol=1e-3)


@WAYS
def test_onednn_or_linear(monkeypatch, allowed):
    monkeypatch.setattr(private, "ALLOWED", allowed)
    x, weight = torch.randn(5, 7), torch.randn(3, 7)
    assert torch.allclose(private.onednn_linear(x.float(), weight.float()).double(), x @ weight.T, atol=1e-5)
    assert private.has_onednn() <= allowed


def test_transforms_are_noticed(monkeypatch):
    noticed: list[bool] = []

    def note(x):
        noticed.append(private.transformed())
        return x

    assert not private.transformed()
    torch.func.vmap(note)(torch.zeros(3))
    torch.func.jvp(note, (torch.zeros(3),), (torch.ones(3),))
    with torch.autograd.forward_ad.dual_level():
        note(torch.zeros(3))
    assert noticed == [True, True, True]
    monkeypatch.setattr(private, "ALLOWED", False)
    assert private.transformed(), "where torch does not say, the careful answer"


@WAYS
def test_gamma(monkeypatch, allowed):
    monkeypatch.setattr(private, "ALLOWED", allowed)
    a = torch.tensor([0.5, 3.0]).expand(100_000, 2)
    draw = lambda: private.standard_gamma(a, torch.Generator().manual_seed(0))  # noqa: E731
    before = torch.get_rng_state()
    x = draw()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(x, draw())
    assert torch.allclose(x.mean(0), a[0], rtol=0.02)
    assert torch.allclose(x.var(0), a[0], rtol=0.03)
    # d E[x] / d a = 1
    leaf = torch.full((100_000,), 2.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(private.standard_gamma(leaf, torch.Generator().manual_seed(1)).sum(), leaf)
    assert float(gradient.mean()) == pytest.approx(1, abs=0.02)


@WAYS
def test_foreach(monkeypatch, allowed):
    monkeypatch.setattr(private, "ALLOWED", allowed)
    a, b = [torch.zeros(3), torch.ones(2)], [torch.ones(3), torch.full((2,), 3.0)]
    private.foreach_lerp_(a, b, 0.25)
    assert [t.tolist() for t in a] == [[0.25] * 3, [1.5] * 2]
    private.foreach_copy_(a, b)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# -- streams ----------------------------------------------------------------------------------------------------------


def draws():
    """Every way in which ours draw without a generator."""
    z = torch.zeros(4, 3)
    one_hot = ch.distributions.OneHot(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), "gumbel")
    image = rand((4, 1, 8, 8), z)
    return [
        randn((4, 3), z),
        rand((4, 3), z),
        random_signs(z),
        sliced_wasserstein(torch.ones(4, 3), z, 5),
        ch.Laplace(3).sample(4),
        ch.Beta(3, 2.0, 3.0).sample(4),
        ch.StandardNormal(3).sample(4),
        ch.Bernoulli(nn.Identity())(z).sample(),
        one_hot.sample(),
        ch.distributions.Atoms(torch.arange(100.0)[:, None]).sample(9),
        *(noise(z).sample() for noise in (ch.GaussianNoise(1.0), ch.Masking(0.5), ch.SaltAndPepper(0.5))),
        *(noise(z).sample() for noise in (ch.RareNoise(1.0, 0.5), ch.NoiseLevels(0.1, 1.0))),
        ch.conditionals.Jitter()(image).sample(),
        ch.conditionals.Jitter()(image.flatten(1)).sample(),
        ch.conditionals.Implicit(nn.Identity(), 2)(z).sample(),
    ]


def test_a_stream_is_torchs_numbers_and_torchs_generator_is_left_alone():
    torch.manual_seed(5)
    by_torch = draws()
    before = torch.get_rng_state()
    with Stream(5).used() as stream:
        ours = draws()
        half = stream.state()
        later = draws()
        stream.restore(half)
        again = draws()
    assert torch.equal(before, torch.get_rng_state())
    with Stream(5).lent() as stream:
        lent = draws()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(half, stream.state()), "torch's draws are told to the stream"
    for a, b, c, d, e in zip(by_torch, ours, lent, later, again, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
        assert torch.equal(d, e)


def test_a_generator_goes_before_the_stream_and_streams_nest():
    like, given = torch.zeros(2), torch.Generator()
    assert generator_for(like.device) is None
    with Stream(0).used() as outer:
        assert generator_for(like.device) is outer.on("cpu")
        assert generator_for(like.device, given) is given
        with Stream(1).used() as inner:
            assert generator_for(like.device) is inner.on("cpu")
        with inner.lent():
            assert generator_for(like.device) is None
        assert generator_for(like.device) is outer.on("cpu")
        assert generator_for(torch.device("meta")) is None
    assert generator_for(like.device) is None


def test_a_stream_survives_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="shape"), Stream(0).lent():
        torch.rand(3).reshape(2, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_streams_in_vmap():
    """The same numbers as from torch's generator, different or the same a row."""
    x = torch.zeros(3, 4)
    for randomness in ("different", "same"):
        function = torch.func.vmap(lambda t: t + randn((4,), t), randomness=randomness)
        torch.manual_seed(2)
        by_torch = function(x)
        with Stream(2).used():
            assert torch.equal(by_torch, function(x))


@pytest.mark.parametrize("name", ["vae", "rae-sn", "aae", "grae", "dae"])
def test_initialising_is_torchs_numbers_and_no_one_notices(name):
    codec = load("expressions") if name == "grae" else None
    setting = (
        Setting((15,), 3, "gru", codec=codec) if codec else Setting((6,), 3, "shallow" if name == "dae" else "mlp")
    )
    torch.manual_seed(4)
    by_torch = RECIPES[name].function(setting).state_dict()
    before = torch.get_rng_state()
    with Stream(4).initialising():
        ours = RECIPES[name].function(setting).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    weights = [key for key, v in by_torch.items() if isinstance(v, torch.Tensor)]
    assert all(torch.equal(by_torch[key], ours[key]) for key in weights)


def test_who_draws_from_torch_itself():
    class Own(nn.Linear):
        pass

    assert not draws_itself(nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 2), nn.BatchNorm1d(2)))
    assert not draws_itself(build("vae", Setting((4,), 2)).objective)
    for layer in (nn.Dropout(), nn.LSTM(2, 2, 2, dropout=0.1), nn.MultiheadAttention(2, 1, 0.1), Own(2, 2)):
        assert draws_itself(nn.Sequential(nn.Linear(2, 2), layer))


# -- devices ----------------------------------------------------------------------------------------------------------


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8)).float()
        with torch.no_grad():
            for p in self.net.parameters():
                p.copy_(torch.randn(p.shape, generator=g))

    def forward(self, x):
        out = self.net(x)
        return {"loss": (out - x).square().mean(), "size": out.mean()}


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_accelerates_bit_for_bit(precision, clip):
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1)).float()

    def alone(loss, optimiser):
        device = place(precision, "cpu")
        objective = device.prepare(loss)
        for _ in range(3):
            values = objective(x)
            device.backward(values["loss"])
            device.step(optimiser, loss.parameters(), clip)
            optimiser.zero_grad()
        assert (device.rank, device.world, device.is_main) == (0, 1, True)
        assert torch.equal(device.average(x), x)
        assert torch.equal(device.gather(x), x)
        return values

    def accelerated(loss, optimiser):
        # accelerate's state is one for the process: the precision is set round its public parts
        accelerator = Accelerator(cpu=True)
        objective = accelerator.prepare(loss)
        mixed = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
        forward = accelerate_convert(mixed(objective.forward))
        for _ in range(3):
            values = forward(x)
            accelerator.backward(values["loss"])
            if clip:
                accelerator.clip_grad_norm_(loss.parameters(), clip)
            optimiser.step()
            optimiser.zero_grad()
        return values

    results = []
    for steps in (alone, accelerated):
        loss = Loss()
        values = steps(loss, torch.optim.Adam(loss.parameters(), lr=0.1))
        assert {v.dtype for v in values.values()} == {torch.float32}
        results.append([*values.values(), *loss.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def accelerate_convert(forward):
    from accelerate.utils import convert_outputs_to_fp32

    return convert_outputs_to_fp32(forward)


def test_bad_precision():
    with pytest.raises(ValueError, match="expected one of fp32, bf16, fp16"):
        place("fp8", "cpu")
    with pytest.raises(ValueError, match="needs a GPU"):
        place("fp16", "cpu")


def test_placing_leaves_no_trace():
    before = dict(vars(PartialState()))
    device = place("bf16", "cpu")
    assert isinstance(device, Alone)
    assert dict(vars(PartialState())) == before


# -- the ratio of gradients at the codes -------------------------------------------------------------------------------


def test_the_ratio_of_gradients():
    z = torch.randn(5, 3, requires_grad=True)
    code = 2 * z
    meter = GradientRatio()
    part = meter.watch(code)
    assert torch.equal(part, code)
    (part.pow(3).sum() + 0.1 * code.exp().sum()).backward()
    code = code.detach()
    wanted = (3 * code.square()).norm() / (0.1 * code.exp()).norm()
    assert float(meter.ratio) == pytest.approx(float(wanted))
    assert meter.watch(code) is code, "there is nothing to differentiate"
    assert meter.ratio is None


def test_the_ratio_is_not_copied_in_low_precision_and_keeps_no_graph():
    gc.collect()
    gc.disable()
    try:
        z = torch.ones(4, 2, dtype=torch.bfloat16, requires_grad=True)
        code, meter = 2 * z, GradientRatio()
        part = meter.watch(code)
        ratio = meter.ratio.float()  # as a loop does before the backward pass
        (3 * part.sum() + 2 * code.sum()).backward()
        assert float(ratio) == pytest.approx(1.5)
        alive = weakref.ref(code)
        del code, part
        assert alive() is None
    finally:
        gc.enable()


# -- fits side by side -------------------------------------------------------------------------------------------------


@pytest.fixture
def float32():
    torch.set_default_dtype(torch.float32)


class Dropping(nn.Module):
    """A net that draws from torch itself."""

    def __init__(self, out):
        super().__init__()
        self.net, self.dropout = nn.Linear(6, out), nn.Dropout(0.3)

    def forward(self, x):
        return self.dropout(self.net(x))


def fitted(name, seed):
    """The weights after a fit, as one vector."""
    if name == "dropping":
        with Stream(seed).lent():
            encoder, decoder = Dropping(4), nn.Linear(2, 6)
        model = ch.Autoencoder(ch.Gaussian(encoder, "learnt"), ch.Gaussian(decoder, 0.5), ch.StandardNormal(2))
        objective = ch.Penalised(model, ch.Reconstruction() + ch.KL())
    else:
        objective = build(name, Setting((6,), 2, "mlp"), seed=seed).objective
    x = torch.rand(64, 6, generator=torch.Generator().manual_seed(1))
    batches = Batches(x, batch_size=16, seed=seed)
    training.fit(objective, batches, valid=Batches(x, 64), epochs=3, seed=seed, device="cpu", progress=False)
    return torch.cat([p.detach().flatten() for p in objective.parameters()])


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("names", [("vae", "wae"), ("aae", "vae"), ("dropping", "dropping"), ("dropping", "vae")])
def test_two_fits_in_two_threads_are_the_two_fits(names):
    work = [(name, seed) for seed, name in enumerate(names)]
    alone = [fitted(*job) for job in work]
    state = torch.get_rng_state()
    beside: list[torch.Tensor | None] = [None, None]
    start = threading.Barrier(2)

    def run(i):
        start.wait()
        beside[i] = fitted(*work[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, beside, strict=True):
        assert b is not None
        assert torch.equal(a, b)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.usefixtures("float32")
def test_a_fit_leaves_the_callers_accelerator_and_random_numbers_alone():
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=3)
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    fitted("vae", 0)
    fitted("dropping", 0)
    assert torch.equal(torch.rand(4), wanted)
    assert accelerator.gradient_accumulation_steps == 3
    assert accelerator.gradient_state.initialized


@pytest.mark.parametrize("allowed", [True, False])
def test_the_tree_of_a_regular_expression(allowed, monkeypatch):
    monkeypatch.setattr(private, "ALLOWED", allowed)
    (one,) = private.parsed_regex("[ab]")
    assert str(one[0]) == "IN"
    assert [chr(code) for _, code in one[1]] == ["a", "b"]
