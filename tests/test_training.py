from __future__ import annotations

import copy
import json
import math
import os
import signal

import pytest
import torch
from torch import nn

import chartae as ch
from chartae import training
from chartae.data import Batches
from chartae.maths.random import Stream
from chartae.terms import Term
from chartae.training import NonFinite, checkpoint, fit
from chartae.training.adam import AdamSteps
from chartae.training.device import place

N, SIZE, CODE = 200, 6, 2


pytestmark = pytest.mark.usefixtures("float32")


def data(n=N, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, CODE, generator=g) @ torch.randn(CODE, SIZE, generator=g) + 0.1 * torch.randn(
        n, SIZE, generator=g
    )


def batches(batch_size=32):
    return Batches(data(), batch_size, seed=0)


def valid():
    return Batches(data(50, 1), 50, shuffle=False)


def objective(seed=0, norm=True, terms=None, variational=False):
    torch.manual_seed(seed)
    encoder = nn.Sequential(
        nn.Linear(SIZE, 8),
        nn.BatchNorm1d(8) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Linear(8, CODE * (1 + variational)),
    )
    decoder = nn.Sequential(nn.Linear(CODE, 8), nn.ReLU(), nn.Linear(8, SIZE))
    q = ch.Gaussian(encoder, "learnt") if variational else ch.Dirac(encoder)
    model = ch.Autoencoder(q, ch.Gaussian(decoder, 0.5), ch.StandardNormal(CODE))
    return ch.Penalised(model, terms or ch.Reconstruction() + 0.1 * ch.LatentNorm())


def weights(o):
    return {k: v.clone() for k, v in o.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_it_is_the_loop_one_would_write():
    """Bit for bit: Adam over the same batches, without validation or anything else."""
    ours, theirs = objective(), objective()
    fit(ours, batches(), epochs=3, progress=False)
    adam = torch.optim.Adam(theirs.parameters(), 1e-3, fused=True)
    theirs.train()
    for epoch in range(3):
        for batch in batches().epoch(epoch):
            adam.zero_grad()
            theirs(batch)["loss"].backward()
            adam.step()
    assert same(weights(ours), weights(theirs))
    assert not ours.training


def test_the_log_has_every_term_and_adds_up(tmp_path):
    o = objective()
    history = fit(o, batches(), epochs=2, valid=valid(), folder=tmp_path, progress=False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == history.rows
    for row in rows:
        assert row["loss"] == pytest.approx(row["reconstruction"] + 0.1 * row["latent_norm"], rel=1e-5)
    valids = [row for row in rows if row["split"] == "valid"]
    assert [row["epoch"] for row in valids] == [1, 2]
    assert rows[-2]["step"] == 2 * len(batches())
    # the model has the weights of the best epoch: its loss is the least of the log
    with torch.no_grad():
        assert o(next(iter(valid())))["loss"].item() == pytest.approx(min(r["loss"] for r in valids), rel=1e-5)


def test_best_weights_are_kept_and_training_stops_early():
    o = objective(norm=False)
    # a step size that can only make it worse after the first epochs
    history = fit(o, batches(), epochs=60, valid=valid(), optimizer="sgd", lr=0.02, patience=3, progress=False)
    losses = [row["loss"] for row in history.rows if row["split"] == "valid"]
    assert history.best_epoch == losses.index(min(losses)) + 1
    assert history.epochs == len(losses)
    if history.epochs < 60:
        assert history.epochs == history.best_epoch + 3
        assert "no better" in history.stopped


def test_early_stopping_counts_from_the_best():
    class Worse(Term):
        """Rises with every evaluation."""

        calls = 0

        def forward(self, t):
            Worse.calls += not t.model.training
            return t.z.new_full((), float(Worse.calls))

    history = fit(
        objective(terms=ch.Reconstruction() + 1e6 * Worse()),
        batches(),
        epochs=20,
        valid=valid(),
        patience=3,
        progress=False,
    )
    assert (history.best_epoch, history.epochs) == (1, 4)


@pytest.mark.parametrize("n", [33, 64, 65, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_own_nets_with_batch_normalisation_train_on_any_number_of_rows(n, shuffle):
    terms = ch.Reconstruction() + ch.MMD()  # a distance between batches has no value for one example either
    rows = Batches(data(n), 32, shuffle=shuffle)
    history = fit(objective(terms=terms), rows, valid=Batches(data(n), 32, shuffle=False), epochs=2, progress=False)
    assert history.last()["step"] == 2 * max(1, round(n / 32))
    assert all(math.isfinite(row["loss"]) for row in history.rows)


def test_one_row_is_refused_where_there_is_batch_normalisation():
    with pytest.raises(ValueError, match="x has 1 example"):
        fit(objective(), Batches(data(1), 32), progress=False)
    fit(objective(norm=False), Batches(data(1), 32), epochs=1, progress=False)


def test_direct_steps_of_adam_are_its_own():
    """Also where a parameter has no gradient in some steps, a state is loaded, or the learning rate changes."""
    optimisers, nets = [], []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(nn.ModuleList([nn.Linear(3, 3) for _ in range(3)]))
        optimisers.append(torch.optim.Adam(nets[-1].parameters(), lr=0.1, fused=True))
    direct = AdamSteps(optimisers[1])
    for i in range(12):
        for net, optimiser, step in zip(nets, optimisers, (optimisers[0].step, direct.step), strict=True):
            layers = [net[0], *([net[1]] if i % 3 else []), *([net[2]] if i > 6 else [])]
            sum(layer(torch.ones(2, 3)).square().sum() for layer in layers).backward()
            step()
            optimiser.zero_grad()
            if i == 8:
                optimiser.load_state_dict(copy.deepcopy(optimiser.state_dict()))
                direct.forget()
                optimiser.param_groups[0]["lr"] = 0.01
    assert same(nets[0].state_dict(), nets[1].state_dict())


def test_plateau_lowers_the_step_size():
    frozen = fit(objective(norm=False), batches(), epochs=6, valid=valid(), lr=1e-30, plateau=(0.5, 1), progress=False)
    rates = [row["lr"] for row in frozen.rows if row["split"] == "train"]
    assert rates[0] == 1e-30
    assert rates[-1] == pytest.approx(0.25e-30)


def test_cosine_lowers_the_step_size_to_zero_and_keeps_the_last_weights():
    o = objective()
    history = fit(o, batches(), epochs=4, valid=valid(), lr=1e-2, cosine=True, progress=False)
    rates = [row["lr"] for row in history.rows if row["split"] == "train"]
    steps = batches().steps()
    # the log says an epoch's last rate
    assert rates[-1] == pytest.approx(1e-2 * 0.5 * (1 + math.cos(math.pi * (4 * steps - 1) / (4 * steps))))
    assert rates == sorted(rates, reverse=True)
    assert history.best_epoch == 4
    with pytest.raises(ValueError, match="not both"):
        fit(o, batches(), valid=valid(), cosine=True, plateau=(0.5, 1))


def test_the_same_seed_gives_the_same_weights_and_global_numbers_stay():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    runs = []
    for seed in (1, 1, 2):
        o = objective(variational=True, terms=ch.Reconstruction() + ch.KL())
        torch.set_rng_state(state)
        fit(o, batches(), epochs=1, valid=valid(), seed=seed, progress=False)
        assert torch.equal(torch.get_rng_state(), state)
        runs.append(weights(o))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("stop", [3, 7, 14])  # in the first epoch, at its end, at the end of the second
def test_resume_gives_the_numbers_of_an_uninterrupted_run(tmp_path, stop, ema):
    settings = {"valid": valid(), "plateau": (0.5, 0), "ema": ema, "clip": 1.0, "progress": False, "seed": 3}

    class Interrupt(Term):
        """Asks for a stop, as Ctrl-C does, in the middle of a step."""

        steps = 0

        def forward(self, t):
            if t.model.training:
                Interrupt.steps += 1
                if Interrupt.steps == stop:
                    os.kill(os.getpid(), signal.SIGINT)
            return t.z.new_zeros(())

    def make():
        return objective(variational=True, terms=ch.Reconstruction() + ch.KL() + 0.0 * Interrupt())

    Interrupt.steps = 0
    with pytest.raises(KeyboardInterrupt, match="its checkpoint is in"):
        fit(make(), batches(), epochs=4, folder=tmp_path / "a", **settings)
    resumed = make()
    history = fit(resumed, batches(), epochs=4, folder=tmp_path / "a", resume=True, **settings)
    Interrupt.steps = 1000
    whole = make()
    expected = fit(whole, batches(), epochs=4, folder=tmp_path / "b", **settings)
    assert same(weights(resumed), weights(whole))

    def numbers(h):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in h.rows]

    assert numbers(history) == numbers(expected)
    assert len((tmp_path / "a" / "log.jsonl").read_text().splitlines()) == len(expected.rows)


def test_more_epochs_go_on_from_the_last_checkpoint(tmp_path):
    a, b = objective(), objective()
    fit(a, batches(), epochs=2, folder=tmp_path, progress=False)
    a = objective()
    fit(a, batches(), epochs=4, folder=tmp_path, resume=True, progress=False)
    fit(b, batches(), epochs=4, progress=False)
    assert same(weights(a), weights(b))


def test_resume_refuses_another_run(tmp_path):
    fit(objective(), batches(), epochs=1, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="batch_size = 32, but this run has 16"):
        fit(objective(), batches(16), epochs=2, folder=tmp_path, resume=True, progress=False)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        fit(objective(), batches(), epochs=2, folder=tmp_path / "no", resume=True, progress=False)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x80\x04}q\x00.")
    with pytest.raises(ValueError, match="damaged or not a chartae checkpoint"):
        fit(objective(), batches(), epochs=2, folder=tmp_path, resume=True, progress=False)


def test_ema_is_the_average_of_the_weights():
    o, plain = objective(norm=False), objective(norm=False)
    fit(o, batches(), epochs=2, ema=0.8, progress=False)
    adam = torch.optim.Adam(plain.parameters(), 1e-3, fused=True)
    shadow, step = [p.detach().clone() for p in plain.parameters()], 0
    for epoch in range(2):
        for batch in batches().epoch(epoch):
            adam.zero_grad()
            plain(batch)["loss"].backward()
            adam.step()
            decay = min(0.8, (1 + step) / (10 + step))
            shadow = [decay * s + (1 - decay) * p.detach() for s, p in zip(shadow, plain.parameters(), strict=True)]
            step += 1
    for s, p in zip(shadow, o.parameters(), strict=True):
        assert torch.allclose(s, p, atol=1e-6)


class Critic(Term):
    """A player of its own: the model wants it low, the critic high."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(CODE, 1)

    def forward(self, t):
        return self.net(t.z)[:, 0]

    def critic_loss(self, t):
        return {"loss": (self.net(t.z.detach())[:, 0] - 1).square().mean()}


def test_two_players_move_their_own_parameters_only():
    torch.manual_seed(0)
    critic = Critic()
    o = objective(norm=False, terms=ch.Reconstruction() + 0.1 * critic)
    before = weights(o)
    history = fit(o, batches(), epochs=1, lr={"model": 1e-30, "critic": 1e-2}, progress=False)
    moved = {k for k, v in weights(o).items() if not torch.allclose(v, before[k])}
    assert moved == {k for k in before if "critic" in k}
    assert "critic/loss" in history.rows[-1]


@pytest.mark.parametrize("precision", ["bf16"])
def test_low_precision_trains_and_leaves_float32_weights(precision):
    o = objective()
    history = fit(o, batches(), epochs=3, precision=precision, lr=1e-2, progress=False)
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    assert all(p.dtype == torch.float32 for p in o.parameters())
    # another precision afterwards, in the same process
    fit(o, batches(), epochs=1, progress=False)


def test_second_order_terms_are_validated_too():
    o = objective(terms=ch.Reconstruction() + 0.1 * ch.DecoderGradient("exact"))
    history = fit(o, batches(), epochs=1, valid=valid(), progress=False)
    assert history.last("valid")["decoder_gradient"] > 0


class Explodes(Term):
    """Not finite from a given step on."""

    def __init__(self, at, how):
        super().__init__()
        self.at, self.how = at, how

    def forward(self, t):
        # decided by the data, so that a replay sees it again
        bad = (t.x[:, 0] > self.at).any()
        value = t.z.square().sum(1)
        if self.how == "value":
            return torch.where(bad, torch.inf, value)
        return torch.where(bad, (value - value.detach()).sqrt(), value * 0)  # its gradient is infinite


@pytest.mark.parametrize(
    ("how", "message"),
    [("value", "term explodes is not finite"), ("gradient", "the first non-finite value is the gradient of")],
)
def test_a_loss_that_is_no_number_stops_with_the_culprit(tmp_path, how, message):
    x = data()
    x[150] = 100.0
    b = Batches(x, 32, seed=0)
    bad = next(i for i, part in enumerate(b.epoch(0)) if (part.x[:, 0] > 50).any())
    o = objective(norm=False, terms=ch.Reconstruction() + 0.1 * Explodes(50, how))
    before = weights(o)
    with pytest.raises(NonFinite, match=message) as caught:
        fit(o, b, epochs=2, folder=tmp_path, progress=False)
    if how == "value":
        assert f"epoch 1, batch {bad + 1} of {len(b)}" in str(caught.value)
    assert same(weights(o), before)


class FailsAt(Term):
    """0, and NaN in one step."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def forward(self, t):
        self.left -= 1
        return 0 * t.z[:, 0] + (math.nan if self.left == 0 else 0.0)


def test_a_loss_that_fails_late_leaves_the_weights_of_the_last_good_epoch():
    """The snapshots of all epochs share their memory, which further steps must not change."""
    b, good = batches(), objective(terms=ch.Reconstruction())
    fit(good, b, epochs=2, progress=False)
    bad = objective(terms=ch.Reconstruction() + FailsAt(2 * len(b) + 3))
    with pytest.raises(NonFinite, match="epoch 3"):
        fit(bad, b, epochs=4, progress=False)
    assert same(weights(good), weights(bad))


def test_snapshots_reuse_their_memory():
    o, b, buffers = objective(), batches(), {}
    adam = torch.optim.Adam(o.parameters(), 1e-3, fused=True)
    state = checkpoint.State(o, place("fp32", "cpu", False), Stream(0), {"model": adam})
    first = checkpoint.snapshot(state, {}, buffers=buffers)
    before, places = weights(o), {k: v.data_ptr() for k, v in first.tensors.items()}
    o(next(iter(b)))["loss"].backward()
    adam.step()
    assert all(torch.equal(first.tensors[f"model/{k}"], v) for k, v in before.items())
    state.record = torch.ones(3, 2)
    second = checkpoint.snapshot(state, {}, buffers=buffers)
    assert all(torch.equal(second.tensors[f"model/{k}"], v) for k, v in weights(o).items())
    assert torch.equal(second.tensors["record"], state.record)
    assert second.tensors["optimiser/model/0/exp_avg"].data_ptr() != adam.state_dict()["state"][0]["exp_avg"].data_ptr()
    assert all(second.tensors[k].data_ptr() == v for k, v in places.items() if k != "record")


def test_a_layer_that_overflows_is_named_and_the_last_good_checkpoint_stays(tmp_path):
    o = objective(norm=False)
    fit(o, batches(), epochs=1, folder=tmp_path, progress=False)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()

    class Overflow(nn.Module):
        def forward(self, x):
            return x * float("inf")

    broken = objective(norm=False)
    fit(broken, batches(), epochs=1, progress=False)
    broken.model.decoder.net[1].forward = Overflow().forward
    with pytest.raises(NonFinite, match=r"layer model.decoder.net.1 \(ReLU\)") as caught:
        fit(broken, batches(), epochs=3, folder=tmp_path, resume=True, progress=False)
    assert "last good checkpoint is kept" in str(caught.value)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "at least 1"),
        ({"precision": "int8"}, ValueError, "expected one of fp32"),
        ({"ema": 1.0}, ValueError, "between 0 and 1"),
        ({"clip": 0.0}, ValueError, "above 0"),
        ({"patience": 3}, ValueError, "Give valid="),
        ({"lr": 0.0}, ValueError, "finite number above 0"),
        ({"lr": {"critic": 1.0}}, ValueError, "no learning rate for model"),
        ({"optimizer": "lion"}, ValueError, "choose from adam"),
        ({"resume": True}, ValueError, "expected the folder"),
        ({"valid": Batches(torch.zeros(5, 3).normal_(), 5)}, ValueError, "validation examples have shape"),
    ],
)
def test_bad_input(settings, error, message):
    with pytest.raises(error, match=message):
        fit(objective(), batches(), **{"epochs": 1, "progress": False} | settings)


def test_a_device_that_is_none():
    with pytest.raises(ValueError, match="device is 'banana'; give cpu"):
        fit(objective(), batches(), device="banana", progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_cuda_needs_a_gpu():
    with pytest.raises(ValueError, match="torch finds no GPU"):
        fit(objective(), batches(), device="cuda", progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU takes fp16")
def test_fp16_needs_a_gpu():
    with pytest.raises(ValueError, match="needs a GPU"):
        fit(objective(), batches(), precision="fp16", progress=False)


def test_wrong_kinds():
    with pytest.raises(TypeError, match="expected an Objective"):
        fit(nn.Linear(2, 2), batches())
    with pytest.raises(TypeError, match="expected chartae.data.Batches"):
        fit(objective(), [data()])
    with pytest.raises(ValueError, match="torch.compile does not support"):
        fit(objective(terms=ch.Reconstruction() + 0.1 * ch.DecoderGradient()), batches(), compile=True)


def test_an_objective_is_planned_once_and_checked_without_a_trace():
    o = objective(norm=False)
    calls = []
    plan = o.plan
    o.plan = lambda steps, batches: (calls.append(steps), plan(steps, batches))
    before = weights(o)
    training.check(o, batches(), training.Training(epochs=3))
    assert calls == []
    assert same(weights(o), before)
    fit(o, batches(), epochs=2, progress=False)
    assert calls == [2 * batches().steps(1)]


def test_the_settings_are_listed_one_by_one():
    import inspect
    from dataclasses import fields

    listed = set(inspect.signature(ch.training.fit).parameters)
    named = {f.name for f in fields(training.Training)}
    assert named - {"batch_size"} <= listed
    assert named <= set(inspect.signature(ch.fit).parameters)
    with pytest.raises(TypeError, match="training and epochs are both given"):
        fit(objective(), batches(), training=training.Training(), epochs=2)


def test_on_epoch_sees_each_epoch_and_changes_nothing(tmp_path):
    seen = []

    def watch(row, model):
        assert not model.training
        seen.append((row["split"], row["epoch"], model.encode(data(50, 1)).sum().item(), model.sample(2)))
        row.clear()

    with_valid, plain = objective(variational=True), objective(variational=True)
    options = {"valid": valid(), "epochs": 3, "ema": 0.9, "progress": False}
    history = fit(with_valid, batches(), on_epoch=watch, **options)
    without = fit(plain, batches(), **options)
    assert [row["loss"] for row in history.rows] == [row["loss"] for row in without.rows]
    assert same(weights(with_valid), weights(plain))
    assert [row[:2] for row in seen] == [("valid", 1), ("valid", 2), ("valid", 3)]
    # the weights are the averaged ones that were validated: the best are those the model has at the end
    assert seen[history.best_epoch - 1][2] == pytest.approx(with_valid.model.encode(data(50, 1)).sum().item())
    fit(objective(), batches(), epochs=1, on_epoch=watch, progress=False)
    assert seen[-1][:2] == ("train", 1)


@pytest.mark.parametrize("answer", [None, "yes", 1, False, True, torch.ones(1).numpy()[0] > 0])
def test_on_epoch_stops_by_true_alone(answer):
    history = fit(objective(), batches(), epochs=2, on_epoch=lambda row, model: answer, progress=False)
    is_true = not isinstance(answer, int | str | None) or answer is True
    assert (history.epochs, history.stopped) == ((1, "on_epoch asked to stop") if is_true else (2, "all epochs done"))


def test_what_on_epoch_stops_or_breaks_is_resumed_to_the_bit(tmp_path):
    def broken(row, model):
        if row["epoch"] == 3:
            raise LookupError("mine")

    whole = objective()
    fit(whole, batches(), epochs=4, progress=False)
    options = {"epochs": 4, "progress": False, "checkpoint_every": 2, "folder": tmp_path}
    stopped = fit(objective(), batches(), on_epoch=lambda row, model: row["epoch"] == 1, **options)
    assert stopped.epochs == 1
    with pytest.raises(LookupError, match="mine"):
        fit(objective(), batches(), on_epoch=broken, resume=True, **options)
    resumed = objective()
    assert fit(resumed, batches(), resume=True, **options).stopped == "all epochs done"
    assert same(weights(resumed), weights(whole))


def test_on_epoch_of_a_run():
    run = ch.fit("rae", data(), epochs=3, on_epoch=lambda row, model: row["epoch"] == 2, densities=(), progress=False)
    assert (run.history.epochs, run.history.stopped) == (2, "on_epoch asked to stop")
