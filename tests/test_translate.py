"""Unpaired translation: derived domains, four critics, runs of two domains, and refusals that say why."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn as tnn

import chartae as ch
from chartae import nn
from chartae.cli import main
from chartae.conditionals import Empirical, Implicit
from chartae.data import Batch, Batches, Origin, derive, disjoint_halves, from_arrays, load, origin, split_views
from chartae.nn import Critic
from chartae.objectives.adversarial import Adversarial
from chartae.recipes import Setting, build
from chartae.records.tensors import read_tensors, write_tensors
from chartae.runs import domain, same_pictures, translate
from papers import Request
from papers.iae_translate import grey, hue, measures

QUICK = {"epochs": 1, "batch_size": 8, "progress": False}
CRITICS = ("reconstruction", "latent", "inference", "data")


@pytest.fixture
def float32():
    torch.set_default_dtype(torch.float32)


def some(n: int = 24, side: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# -- derived domains


@pytest.mark.parametrize(("view", "shape"), [("coloured", (3, 8, 8)), ("edges", (1, 8, 8)), ("inverted", (1, 8, 8))])
def test_views_of_grey_pictures(view, shape):
    plain, seen, again = load("digits"), load(f"digits+{view}"), load(f"digits+{view}")
    assert seen.name == f"digits+{view}"
    assert seen.shape == shape
    assert seen.train.dtype == plain.train.dtype
    for split in ("train", "valid", "test"):
        assert torch.equal(getattr(seen, f"{split}_labels"), getattr(plain, f"{split}_labels"))
        assert torch.equal(getattr(seen, split), getattr(again, split))
    # an index has its picture whatever else there is
    fewer = derive(from_arrays(plain.train[:40], valid=0, test=0, name="few"), view)
    assert torch.equal(fewer.train, derive(from_arrays(plain.train[:90], valid=0, test=0), view).train[:40])


def test_what_views_show(float32):
    x = some().float() / 255
    coloured = derive(from_arrays(x, valid=0, test=0), "coloured").train
    assert torch.allclose(grey(coloured), x)
    angle, saturation = hue(coloured)
    assert torch.allclose(saturation, torch.ones(24))
    assert angle.std() > 1
    step = torch.zeros(2, 1, 6, 6)
    step[:, :, :, 3:] = 1
    step[1] *= 0.5
    edges = derive(from_arrays(step, valid=0, test=0), "edges").train
    assert edges[0, 0, 2].tolist() == [0, 0, 1, 1, 0, 0]
    assert edges[1, 0, 2].tolist() == [0, 0, 0.5, 0.5, 0, 0]
    assert torch.equal(derive(from_arrays(step, valid=0, test=0), "inverted").train, 1 - step)
    assert load("digits+edges+inverted").shape == (1, 8, 8)


def test_views_of_files_are_loaded_again(tmp_path, float32):
    (tmp_path / "a+b").mkdir()
    path = tmp_path / "a+b" / "x.npy"
    np.save(path, some()[:, 0].numpy())
    assert split_views(f"{path}+edges") == (str(path), ("edges",))
    run = ch.fit("ae", f"{path}+edges", latent_dim=2, densities=(), **QUICK)
    assert run.settings.data == f"{path}+edges"
    assert torch.equal(run.data().train, load(f"{path}+edges").train)
    assert origin(load("digits+inverted")) == Origin("digits+inverted")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits+glitter", r"view is 'glitter'; expected a view of digits: one of \+coloured, \+edges, \+inverted"),
        ("digits+coloured+edges", r"shape \(3, 8, 8\); \+edges expects grey images \(1, H, W\)"),
        ("spiral+edges", r"grey images"),
        ("digit+edges", "Did you mean 'digits'"),
    ],
)
def test_views_that_are_not(name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


# -- what is trained


def test_batches_with_partners():
    x, y = torch.arange(10.0)[:, None], torch.arange(100, 104, dtype=torch.float32)[:, None]
    batches = Batches(x, 4, seed=3, partner=y)
    met = [list(batches.epoch(e)) for e in range(2)]
    assert [(len(a), len(b)) for a, b in ((m.x, m.partner) for m in met[0])] == [(4, 4), (4, 4), (2, 2)]
    first, other = (torch.cat([b.partner for b in epoch])[:, 0] for epoch in met)
    assert set(other.tolist()) == set(y[:, 0].tolist())
    assert set(first.tolist()) == set(y[:, 0].tolist())
    assert torch.equal(first[:4], first[4:8])  # from the start again
    assert sorted(first[:4].tolist()) == y[:, 0].tolist()
    assert any(not torch.equal(first[:4], torch.cat([b.partner for b in batches.epoch(e)])[:4, 0]) for e in range(1, 5))
    whole = list(batches.epoch(0, start=1))
    assert torch.equal(whole[0].partner, met[0][1].partner)
    ranks = [list(batches.epoch(0, rank=r, world=2)) for r in range(2)]
    assert torch.equal(torch.cat([ranks[0][0].partner, ranks[1][0].partner]), met[0][0].partner)
    levels = Batches(x, 4, partner=some())
    assert next(iter(levels)).partner.max() <= 1
    both = next(iter(Batches(x, 4, labels=torch.zeros(10), partner=y)))
    assert both.labels is not None
    assert both.partner is not None
    with pytest.raises(ValueError, match="at least one example"):
        Batches(x, 4, partner=y[:0])


def test_halves_share_nothing():
    x = torch.arange(9.0)[:, None]
    a, b = disjoint_halves(x, x + 100, seed=1)
    assert sorted(torch.cat([a, b - 100])[:, 0].tolist()) == x[:, 0].tolist()
    assert (len(a), len(b)) == (4, 5)
    with pytest.raises(ValueError, match="as many of each"):
        disjoint_halves(x, x[:3], seed=0)


def linear(**options) -> Adversarial:
    """Between 3 and 2 dimensions, noise both ways, linear critics."""
    torch.manual_seed(0)
    model = ch.Autoencoder(Implicit(tnn.Linear(4, 2), 1), Implicit(tnn.Linear(3, 3), 1), Empirical(2))
    sizes = {"reconstruction": 5, "latent": 2, "inference": 5, "data": 3}
    return Adversarial(model, {k: Critic(tnn.Linear(sizes[k], 1)) for k in CRITICS}, **options)


@pytest.mark.parametrize(
    ("gradient", "reconstruction", "inference"),
    [("both", {"encoder", "decoder"}, {"encoder", "decoder"}), ("none", {"decoder"}, {"encoder"})],
)
def test_who_is_told_what_by_four_critics(gradient, reconstruction, inference):
    objective = linear(gradient=gradient, warmup=0.0)
    x, y = torch.randn(11, 3), torch.randn(11, 2)
    expected = {
        "reconstruction": reconstruction,
        "latent": {"encoder"},
        "inference": inference,
        "data": {"decoder"},
    }
    parts = {"encoder": objective.model.encoder, "decoder": objective.model.decoder}
    for critic, told in expected.items():
        objective.zero_grad()
        objective(Batch(x, partner=y))[critic].backward()
        found = {k for k, part in parts.items() if any(p.grad is not None and p.grad.any() for p in part.parameters())}
        assert found == told, critic
    objective.zero_grad()
    objective(Batch(x, partner=y), "critic")["loss"].backward()
    assert all(p.grad is None for p in objective.model.parameters())
    assert all(p.grad.any() for c in CRITICS for p in objective.critics[c].head.parameters() if p.ndim > 1)
    with pytest.raises(ValueError, match="partner is None, but codes are examples of another domain"):
        objective(x)


def test_the_warm_up_of_the_way_back_fades():
    objective = linear(warmup_back=0.3, warmup=0.0, fade=0.5)
    assert "warm-up of the way back 0.3 until 0.5" in repr(objective)
    x, y = torch.randn(11, 3), torch.randn(11, 2)
    objective.plan(8, Batches(x, 4, partner=y))
    left = []
    for _ in range(5):
        values = objective(Batch(x, partner=y))
        critics = sum(values[name] for name in CRITICS)
        left.append(round(((values["loss"] - critics) / values["back"]).item(), 6))
    assert left == [0.225, 0.15, 0.075, 0.0, 0.0]
    # a share of the total variance of y: 1 for a way back to a random other one's mean
    with torch.no_grad():
        for part in (objective.model.encoder, objective.model.decoder):
            part.net.weight.zero_()
        objective.model.encoder.net.bias.copy_(y.mean(0))
    assert objective(Batch(x, partner=y))["back"].item() == pytest.approx(10 / 11)
    with pytest.raises(ValueError, match="warmup_back is -1"):
        linear(warmup_back=-1.0)
    with pytest.raises(ValueError, match="penalised is 0"):
        linear(penalised=0.0)


def test_the_penalty_on_a_share_of_the_batch():
    """A linear critic's gradient is the same everywhere, and so is its penalty on any share."""
    x, y = torch.randn(11, 3), torch.randn(11, 2)
    losses = []
    for share in (1.0, 0.2):
        objective = linear(penalised=share, penalty=0.7)
        objective(Batch(x, partner=y))
        torch.manual_seed(1)
        losses.append(objective(Batch(x, partner=y), "critic")["loss"].item())
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize("sides", [(8, 8), (7, 10), (3, 3)])
def test_translators_begin_as_the_identity_and_stay_local(sides):
    for channels in (1, 3):
        shape, x = (1, *sides), torch.rand(4, 1, *sides)
        net = nn.translator(shape, (channels, *sides), 2)
        noise = torch.randn(4, 2)[:, :, None, None].expand(-1, -1, *sides)
        assert torch.equal(net(torch.cat([x, noise], 1)), x.expand(-1, channels, -1, -1))
        assert nn.pair_critic(shape, (channels, *sides))(x, torch.rand(4, channels, *sides)).shape == (4,)
    back = nn.translator((3, *sides), shape)
    assert torch.allclose(back(x.expand(-1, 3, -1, -1)), x)
    wide = nn.translator((1, 40, 40), (1, 40, 40))
    tnn.init.normal_(wide.out.weight)
    x = torch.rand(1, 1, 40, 40, requires_grad=True)
    wide(x)[0, 0, 20, 20].backward()
    rows, columns = x.grad[0, 0].nonzero().T
    assert max(rows.max() - rows.min(), columns.max() - columns.min()) < 18


# -- runs


def test_a_run_of_two_domains_comes_back(tmp_path, float32):
    run = ch.fit(
        "iae-translate", "digits+edges", to="digits+coloured", out=tmp_path / "run", **QUICK | {"batch_size": 64}
    )
    again = ch.load(tmp_path / "run")
    assert again.settings == run.settings
    assert (again.settings.to, again.settings.to_shape) == ("digits+coloured", (3, 8, 8))
    assert same_pictures(again)
    assert run.history.epochs == 1
    assert (run.settings.latent_dim, run.settings.net) == (192, "translator")
    x = domain(again, "A").test[:5]
    drawn = translate(again, x, n=3, seed=1)
    assert drawn.shape == (5, 3, 3, 8, 8)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert torch.allclose(drawn, translate(run, x, n=3, seed=1), atol=1e-6)
    assert not torch.equal(drawn, translate(run, x, n=3, seed=2))
    assert drawn.std(1).max() > 0
    back = translate(again, domain(again, "B").test[:5], to="A", n=2)
    assert back.shape == (5, 2, 1, 8, 8)
    assert torch.equal(back[:, 0], back[:, 1])  # no noise that way
    # the examples of B that the prior remembers come back too
    assert again.model.prior.points.max() > 0.5
    assert torch.allclose(again.sample(4, seed=1), run.sample(4, seed=1), atol=1e-6)
    grid = tmp_path / "grid.png"
    words = ["translate", str(tmp_path / "run"), "--n", "4", "--inputs", "3"]
    assert main([*words, "--from", "A", "--to", "B", "--out", str(grid)]) == 0
    with Image.open(grid) as picture:
        assert picture.size == (2 * (5 * 10 + 2), 2 * (3 * 10 + 2))
    assert main([*words, "--from", "B", "--to", "A", "--out", str(tmp_path / "a.npy")]) == 0
    assert np.load(tmp_path / "a.npy").shape == (3, 4, 1, 8, 8)
    (tmp_path / "run" / "manifest.json").unlink()  # or the changes below were found by their sha256
    text = (tmp_path / "run" / "run.toml").read_text()
    text = text.replace(run.settings.to_fingerprint, "0" * 16)
    (tmp_path / "run" / "run.toml").write_text(text)
    tensors, facts = read_tensors(tmp_path / "run" / "weights.safetensors", kind="weights")
    write_tensors(tmp_path / "run" / "weights.safetensors", tensors, kind="weights", facts=facts | {"settings": text})
    with pytest.raises(ValueError, match="not those that the run was fitted to"):
        domain(ch.load(tmp_path / "run"), "B")
    (tmp_path / "run" / "run.toml").write_text(text.replace("    3,\n    8,\n    8,\n", "    3,\n    8,\n    -8,\n", 1))
    with pytest.raises(ValueError, match="to_shape is"):
        ch.load(tmp_path / "run")


def test_vectors_of_any_length(float32):
    x, y = torch.randn(40, 4), torch.randn(30, 6) + 3
    run = ch.fit("iae-translate", x, to=y, noise_dim=2, **QUICK)
    assert not same_pictures(run)
    assert translate(run, x[:3], "B", 2).shape == (3, 2, 6)
    assert translate(run, y[:3], "A", 2).shape == (3, 2, 4)
    with pytest.raises(ValueError, match="was in memory, which it does not keep"):
        domain(run, "B")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ch.fit("iae-translate", "digits", **QUICK), "give the other as `to`"),
        (lambda: ch.fit("ae", "digits", to="digits+edges", **QUICK), "to is given, but recipe 'ae' has one domain"),
        (lambda: ch.fit("iae-translate", "digits", to="digits+edges", latent_dim=3, **QUICK), "leave out latent_dim"),
        (lambda: ch.fit("iae-translate", "digits", to="digits+edges", net="mlp", **QUICK), "out latent_dim and net"),
        (lambda: ch.fit("iae-translate", "digits", to=np.zeros((0, 8, 8)), **QUICK), "domain B: x is empty"),
        (lambda: ch.fit("iae-translate", "digits", to="digitz", **QUICK), "domain B: there is no data set 'digitz'"),
        (lambda: ch.fit("iae-translate", "digits", to=some(side=9), **QUICK), r"examples of shape .*\(1, 9, 9\)"),
        (lambda: ch.fit("iae-translate", "digits", to=torch.randn(9, 5), **QUICK), "same height and width. Resize"),
        (lambda: build("iae-translate", Setting((5,), 5, other=(1, 8, 8))), "the domains have examples of shape"),
        (lambda: Empirical(3).remember(torch.zeros(0, 3)), r"expected \(N, 3\) with N >= 1"),
    ],
)  # fmt: skip
def test_bad_domains(call, message, float32):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_empty_domain(float32):
    data = load("digits")
    empty = ch.data.Dataset("nothing", data.train[:0], data.valid[:0], data.test[:0], source="nowhere")
    with pytest.raises(ValueError, match="domain B, 'nothing', has no training examples"):
        ch.fit("iae-translate", data, to=empty, **QUICK)
    with pytest.raises(ValueError, match="at least one example"):
        ch.fit("iae-translate", empty, to=data, **QUICK)


def test_bad_translations(tmp_path, float32, capsys):
    run = ch.fit("iae-translate", some(), to=some(seed=1), out=tmp_path / "run", **QUICK)
    for call, message in (
        (lambda: translate(run, some(), to="C"), "domain is 'C'; expected 'A'"),
        (lambda: translate(run, some(side=9)), r"shape \(1, 9, 9\); expected shape \(1, 8, 8\)"),
        (lambda: translate(run, some()[:0]), "x is empty"),
        (lambda: translate(run, some(), n=0), "n is 0"),
        (lambda: translate(run, some() + math.nan), "values of x in 24 of 24 examples are NaN"),
        (lambda: translate(run, some() + 7.0), "values from 7"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    plain = ch.fit("ae", "digits", latent_dim=2, densities=(), out=tmp_path / "ae", **QUICK | {"batch_size": 256})
    with pytest.raises(ValueError, match="a run of 'ae', which has one domain"):
        translate(plain, some())
    out = ["--out", str(tmp_path / "g.png")]
    for words, message in (
        ([str(tmp_path / "ae"), "--from", "A", "--to", "B", *out], "which has one domain"),
        ([str(tmp_path / "run"), "--from", "A", "--to", "A", *out], "--from and --to are both A"),
        ([str(tmp_path / "run"), "--from", "X", "--to", "B", *out], "domain is 'X'"),
        ([str(tmp_path / "run"), "--from", "A", "--to", "X", *out], "domain is 'X'"),
        ([str(tmp_path / "run"), "--from", "A", "--to", "B", *out], "domain A of this run was in memory"),
        ([str(tmp_path / "run"), "--to", "A", *out], "name the data to translate (--data)"),
        ([str(tmp_path / "run"), "--data", "fashion-mini", *out], "expected shape (1, 8, 8)"),
        ([str(tmp_path / "run"), "--data", "digitz", *out], "there is no data set 'digitz'"),
        ([str(tmp_path / "none"), "--from", "A", "--to", "B", *out], "there is no run"),
        ([str(tmp_path / "run"), "--from", "A", "--to", "B", "--out", "g.gif"], "ends in .png or .npy"),
    ):
        assert main(["translate", *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["translate", str(tmp_path / "run"), "--data", "digits", "--inputs", "3", *out]) == 0
    with Image.open(tmp_path / "g.png") as picture:
        assert picture.size == (2 * (9 * 10 + 2), 2 * (3 * 10 + 2))


@pytest.mark.slow
def test_digits_are_coloured(data_root, float32):
    """A quarter more steps give content .99, hues .68 and diversity .64 (docs/translate.md)."""
    a, b = (load(name, root=data_root) for name in ("mnist", "mnist+coloured"))
    x, y = disjoint_halves(a.train, b.train, 0)
    small = from_arrays(x[:12800], valid=0.01, test=0.01)
    run = ch.fit("iae-translate", small, to=y, epochs=1, batch_size=32, ema=0.99, cosine=True, progress=False)
    found = measures(run, a, b, n=300)
    assert found["content"] > 0.9
    assert found["hues"] > 0.3
    assert found["diversity"] > 0.4


@pytest.mark.slow
def test_reproduce_on_the_data_that_ship(tmp_path, float32, monkeypatch):
    from papers import iae_translate

    tiny = {name: task._replace(steps=(2, 2)) for name, task in iae_translate.TASKS.items()}
    monkeypatch.setattr(iae_translate, "TASKS", tiny)
    monkeypatch.setattr(iae_translate, "PICTURES", 30)
    whole = load("fashion-mini")
    parts = {
        key: getattr(whole, key)[:150] for split in ("train", "valid", "test") for key in (split, f"{split}_labels")
    }
    small = replace(whole, **parts)
    monkeypatch.setattr(iae_translate, "load", lambda name, root=None: small if name == whole.name else load(name))
    request = Request(tmp_path / "r", data="fashion-mini", quick=True, seeds=1, progress=False)
    done = iae_translate.iae_translate(request)
    assert [row["task"] for row in done["rows"]] == ["coloured", "edges"]
    there = done["rows"][0]["there"]
    assert 0 <= there["content"] <= 1
    assert there["saturation_real"] == pytest.approx(1, abs=0.01)
    assert there["hue_entropy_real"] > 0.8
    assert (tmp_path / "r" / "coloured-seed-100.png").is_file()
    assert "fashion-mini to fashion-mini+coloured" in (tmp_path / "r" / "table.md").read_text()
    again = iae_translate.iae_translate(request)
    assert again == done
    with pytest.raises(ValueError, match="package has a classifier"):
        iae_translate.iae_translate(Request(tmp_path / "d", data="digits", quick=True))
