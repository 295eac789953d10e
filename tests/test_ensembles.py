from __future__ import annotations

import numpy as np
import pytest
import torch

import chartae as ch
from chartae.recipes import Setting, build
from chartae.runs import ensembles

SMALL = {"net": "smooth:8", "latent_dim": 2, "batch_size": 16}


pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture(scope="module")
def data():
    x = torch.randn(70, 3, generator=torch.Generator().manual_seed(0))
    return ch.data.from_arrays(x @ x[:3], valid=0, test=0)


def drawn(recipe):
    return {"vae": {"gamma2": [1.0, 30.0]}, "beta-vae": {"beta": [1.0, 4.0]}, "rae": {"beta": [0.1, 1.0]}}[recipe]


@pytest.mark.parametrize("recipe", ["vae", "beta-vae", "rae"])
def test_every_run_is_the_single_one(recipe, data):
    whole = ch.data.from_arrays(data.train[:64], valid=0, test=0)
    for run in ch.fit_many(recipe, whole, {**drawn(recipe), "seed": [0, 5]}, epochs=3, progress=False, **SMALL):
        alone = ch.fit(
            recipe, whole, epochs=3, seed=run.settings.seed, cosine=True, densities=(), progress=False, **SMALL,
            **run.settings.options,
        )  # fmt: skip
        start = build(recipe, run_setting(run), seed=run.settings.seed, **run.settings.options).objective
        for a, b in zip(run.model.parameters(), alone.model.parameters(), strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=2e-6)
        assert any(not torch.equal(a, c) for a, c in zip(run.model.parameters(), start.model.parameters(), strict=True))


def run_setting(run):
    s = run.settings
    return Setting(s.shape, s.latent_dim, s.net, run.kind.unit, s.data)


def test_runs_are_whole(data, tmp_path):
    run = ch.fit_many("vae", data, {"seed": [3]}, steps=5, progress=False, **SMALL)[0]
    assert [row["step"] for row in run.log] == [4, 5]
    assert set(run.log[0]) == {"split", "epoch", "step", "loss", "reconstruction", "kl"}
    again = ch.load(run.save(tmp_path / "run").folder)
    assert torch.allclose(again.encode(data.train), run.encode(data.train))
    assert again.sample(3).shape == (3, 3)
    assert not run.model.training


def test_a_saved_run_finds_its_file_again(data, tmp_path):
    np.save(tmp_path / "x.npy", data.train.numpy())
    run = ch.fit_many("vae", tmp_path / "x.npy", {"seed": (s for s in [3])}, steps=2, progress=False, **SMALL)[0]
    again = ch.load(run.save(tmp_path / "run").folder)
    assert again.settings.data == str(tmp_path / "x.npy")
    assert again.data().shape == (3,)


def test_a_sweep_says_what_it_read_and_reads_it_again(tmp_path):
    rows = "".join(f"{i},{i % 7},{i % 3 + 0.5}\n" for i in range(40))
    (tmp_path / "x.csv").write_text("# a comment\n400,410,420\n" + rows)
    run = ch.fit_many("vae", tmp_path / "x.csv", {"seed": [3]}, steps=2, progress=False, **SMALL)[0]
    data = ch.data.read(tmp_path / "x.csv")
    assert run.notes == data.notes
    assert data.notes


def test_batch_normalisation_is_kept_apart(data):
    runs = ch.fit_many("rae", data, {"seed": [0, 1]}, steps=4, batch_size=16, net="mlp", latent_dim=2, progress=False)
    means = [run.model.encoder.net[1].running_mean for run in runs]
    assert means[0].abs().max() > 0
    assert not torch.equal(*means)
    assert runs[0].model.encoder.net[1].num_batches_tracked == 4


def test_priors_are_trained_in_groups(data):
    runs = ch.fit_many(
        "vae", data, {"prior": ["normal", "beta"], "gamma2": [1.0, 9.0]}, steps=3, progress=False, **SMALL
    )
    assert [type(run.model.encoder).__name__ for run in runs] == ["Gaussian", "Gaussian", "LogitNormal", "LogitNormal"]


def test_each_member_may_have_its_own_data():
    setting = Setting((3,), 2, "smooth:8", unit=False)
    sets = [torch.randn(32, 3, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    members = [build("rae", setting, seed=0).objective for _ in sets]
    ensembles.train_many(members, [x.float() for x in sets], seeds=[0, 0], steps=4, batch_size=16, progress=False)
    alone = build("rae", setting, seed=0).objective
    ensembles.train_many([alone], sets[1].float(), seeds=[0], steps=4, batch_size=16, progress=False)
    for a, b in zip(members[1].parameters(), alone.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="1 data sets for 2 members"):
        ensembles.train_many(members, sets[:1], seeds=[0, 0], steps=1, batch_size=16)


def test_a_loss_that_is_no_number_names_the_member(data):
    with pytest.raises(ArithmeticError, match=r"member 1 \(seed 0"):
        ch.fit_many("rae", data, {"beta": [1.0, 1e39]}, steps=20, lr=1.0, progress=False, **SMALL)


def test_bad_grids(data):
    fit = lambda grid, **more: ch.fit_many("vae", data, grid, **{"steps": 2, **SMALL, **more})  # noqa: E731
    with pytest.raises(ValueError, match="the grid is empty"):
        fit({"seed": []})
    with pytest.raises(ValueError, match="give one of them"):
        fit({"seed": [0]}, epochs=2)
    with pytest.raises(TypeError, match="no option colour"):
        fit({"colour": [1]})
    with pytest.raises(ValueError, match="given twice"):
        fit({"gamma2": [1.0]}, gamma2=2.0)
    with pytest.raises(ValueError, match="do not fill a batch of 100"):
        fit({"seed": [0]}, batch_size=100)
    with pytest.raises(TypeError, match="contains gradients"):
        ch.fit_many("rae-gp", data, {"seed": [0]}, steps=2, **SMALL)
    for recipe in ("rae-sn", "cae"):
        with pytest.raises(TypeError, match="cannot be stacked"):
            ch.fit_many(recipe, data, {"seed": [0]}, steps=2, **SMALL)
    with pytest.raises(ValueError, match="gamma2 is 0"):
        fit({"gamma2": [1.0, 0.0]})
    for grid in ({"gamma2": 5.0}, {"prior": "uniform"}, [1, 2], None):
        with pytest.raises(TypeError, match="option -> its values"):
            fit(grid)
    for seed in (0.5, -1, "a"):
        with pytest.raises(ValueError, match="expected a whole number of at least 0"):
            fit({"seed": [seed]})
    with pytest.raises(ValueError, match="batch_size is 0"):
        fit({"seed": [0]}, batch_size=0)
    with pytest.raises(ValueError, match="device is 'tpuu', which torch cannot use"):
        fit({"seed": [0]}, device="tpuu")
