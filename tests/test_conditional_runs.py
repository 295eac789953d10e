"""Runs that are conditional on labels, columns and covariates: from `fit` to draws and back from a folder."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import chartae as ch
from chartae.recipes import RECIPES
from families import DOMAINS, LABELS, SCORE, STRINGS

pytestmark = pytest.mark.usefixtures("float32")
QUICK = {"epochs": 1, "batch_size": 50, "components": 1, "progress": False}
PLAIN = [name for name in RECIPES if name not in (*DOMAINS, *LABELS, *SCORE, *STRINGS)]


def pictures(n=160):
    g = torch.Generator().manual_seed(0)
    return ch.data.from_arrays(torch.rand(n, 1, 6, 6, generator=g), np.arange(n) % 4, valid=0.1, test=0.1)


def fitted(recipe, data, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # so short a training may ignore the code
        return ch.fit(recipe, data, **QUICK | settings)


@pytest.mark.parametrize("recipe", PLAIN)
def test_every_recipe_takes_a_condition(recipe):
    run = fitted(recipe, pictures(), condition="labels")
    assert run.condition.size == 4
    x = run.sample(6, condition=3, seed=0)
    assert x.shape == (6, 1, 6, 6)
    assert not torch.equal(x, run.sample(6, condition=1, seed=0))
    each = run.sample(3, condition=[0, 1, 2], seed=0)
    assert each.isfinite().all()
    new = torch.rand(5, 1, 6, 6)
    codes = run.encode(new, condition=[0, 1, 2, 3, 0])
    assert run.decode(codes, condition=2).shape == new.shape
    # the condition reaches the encoder, the decoder, and what trains them
    assert not torch.equal(run.encode(new, condition=0), run.encode(new, condition=1))
    assert not torch.equal(run.decode(codes, condition=0), run.decode(codes, condition=1))


@pytest.mark.parametrize("recipe", SCORE)
def test_denoisers_refuse_one_in_words(recipe):
    with pytest.raises(ValueError, match="takes no condition"):
        fitted(recipe, pictures(), condition="labels")


def test_a_conditional_run_comes_back(tmp_path):
    run = fitted("rae-l2", pictures(), condition="labels", out=tmp_path / "r")
    again = ch.load(tmp_path / "r")
    assert again.condition == run.condition
    for density in ("normal", "gmm"):
        assert torch.allclose(again.sample(5, density, condition=2), run.sample(5, density, condition=2), atol=1e-6)


def test_strings_take_one():
    strings = ["x+1", "sin(x)", "x*x", "x/3"] * 20
    run = fitted("grae", strings, grammar="expressions", condition=[len(s) % 2 for s in strings], densities=())
    assert all(isinstance(s, str) for s in run.sample(4, "prior", condition=1))
    assert run.encode(["x+1", "x*x"], condition=[0, 1]).shape[0] == 2


def test_values_and_columns():
    pd = pytest.importorskip("pandas")
    g = np.random.default_rng(0)
    age, group = g.uniform(20, 80, 200), g.choice(["a", "b"], 200)
    frame = pd.DataFrame({"u": age + g.normal(size=200), "v": g.normal(size=200), "age": age, "group": group})
    run = fitted("vae", frame, condition=["age", "group"])
    assert run.condition.size == 3
    new = run.sample(5, condition={"age": 40.0, "group": "a"})
    assert list(new.columns) == ["u", "v"]
    # the frame that fit accepts is accepted everywhere, with its columns of the condition or beside them
    codes = run.encode(frame[:5])
    assert torch.equal(run.encode(frame[["u", "v"]][:5], condition=frame[["age", "group"]][:5]), codes)
    assert ch.evaluate(run, frame, n=20).sets.gmm.frechet >= 0
    # whole numbers of many values are an amount, of few a class
    for name, size in (("years", 1), ("stage", 4)):
        whole = frame.assign(years=age.astype(int), stage=np.arange(200) % 4)
        assert fitted("ae", whole.drop(columns="group"), condition=name).condition.size == size
    values = g.normal(size=(200, 2))
    by_values = fitted("rae", g.normal(size=(200, 4)), condition=values)
    assert by_values.condition.discrete == 0
    assert by_values.sample(3, condition=values[:3]).shape == (3, 4)


@pytest.mark.slow
def test_a_density_learns_what_the_condition_says():
    """Codes are the data here: their mean is that of the class, and moves with a covariate."""
    g = np.random.default_rng(0)
    labels = np.arange(2000) % 2
    x = np.stack([6 * labels + g.normal(size=2000), g.normal(size=2000)], 1)
    run = fitted("rae", x, condition=labels, epochs=30, latent_dim=2, densities=("normal",))
    means = [run.sample(500, "normal", condition=k, seed=0)[:, 0].mean() for k in (0, 1)]
    assert abs(means[0]) < 0.8
    assert abs(means[1] - 6) < 0.8


def test_bad_conditions():
    run, plain = fitted("rae", pictures(), condition="labels"), fitted("rae", pictures())
    for call, message in (
        (lambda: run.sample(3), "this run is conditioned on"),
        (lambda: run.sample(3, condition=[0, 1]), "condition has 2 values; expected one for all 3 rows"),
        (lambda: run.sample(3, condition=7), "expected a class"),
        (lambda: plain.sample(3, condition=1), "this run has none"),
        (lambda: plain.encode(torch.rand(2, 1, 6, 6), condition=1), "this run has none"),
        (lambda: fitted("rae", torch.rand(50, 1, 6, 6), condition="labels"), "has no labels"),
        (lambda: fitted("rae", pictures(), condition="age"), "names age, which"),
        (lambda: fitted("rae", torch.rand(60, 4), condition=np.arange(60) // 59), "too few codes in 1 of 2 groups"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_labels_that_are_not_used_are_ignored():
    """What came with the data is no error where an objective has no use for it."""
    objective = ch.recipes.build("rae", ch.recipes.Setting((5,), 2, unit=False)).objective
    x, y = torch.randn(100, 5), torch.arange(100) % 3
    history = ch.training.fit(objective, ch.data.Batches(x, batch_size=64, labels=y), epochs=1, progress=False)
    assert history.epochs == 1
    strings = ["x+1", "sin(x)", "x*x", "x/3"] * 20
    run = fitted("grae", strings, grammar="expressions", target=[float(len(s)) for s in strings], property=0)
    assert "property" not in run.log[-1]


def test_nothing_changes_without_one():
    """The nets are the plain ones: no parameter more."""
    with_one, without = (fitted("vae", pictures(), condition=c) for c in ("labels", None))
    count = lambda run: sum(p.numel() for p in run.model.parameters())  # noqa: E731
    assert count(with_one) > count(without)
    assert without.condition is None
    assert "condition" not in without.settings.to_toml()
