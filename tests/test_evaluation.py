from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import chartae as ch
from chartae import data as chdata
from chartae import metrics
from chartae.evaluation.comparison import compare
from chartae.evaluation.images import Judge, evaluate, interpolate, pictures, slerp

QUICK = {"latent_dim": 3, "epochs": 1, "batch_size": 50, "components": 3, "progress": False}


@pytest.fixture(autouse=True)
def _float32(_float64):
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    return ch.fit("vae", "digits", out=tmp_path_factory.mktemp("runs") / "a", **QUICK)


@pytest.fixture(scope="module")
def results(run):
    torch.set_default_dtype(torch.float32)
    return evaluate(run)


def test_results_are_whole_and_stamped(run, results):
    assert json.loads((run.folder / "results.json").read_text()) == results
    assert results["metric"] == "frechet-pixels"
    expected = {"reconstruction", "prior", "normal", "gmm", "interpolation-linear", "interpolation-spherical", "floor"}
    assert set(results["sets"]) == expected
    for scores in results["sets"].values():
        assert set(scores) == {"frechet", "kid", "kid_sd", "precision", "recall", "density", "coverage"}
        assert np.isfinite(list(scores.values())).all()
    for key in ("extractor", "n", "reference", "quantisation", "seed", "split", "chartae", "torch"):
        assert key in results["protocol"]
    assert results["sets"]["floor"]["frechet"] < min(results["sets"][k]["frechet"] for k in ("prior", "normal", "gmm"))


def test_the_numbers_are_those_of_the_metrics(run, results):
    data = run.data()
    n = len(data.test)
    extractor = metrics.extractor("pixels", reference=data.train)
    real = extractor(data.test)
    samples = metrics.to_uint8(run.sample(n, "gmm", seed=0))
    assert results["sets"]["gmm"]["frechet"] == pytest.approx(metrics.frechet(real, extractor(samples)), rel=1e-6)
    x, r = data.test / 255, run.model.reconstruct(data.test)
    assert results["reconstruction"]["mse"] == pytest.approx((x - r).square().mean().item(), rel=1e-5)
    codes = run.encode(data.test)
    expected = run.densities["gmm"].log_prob(codes).mean().item()
    assert results["densities"]["gmm"]["log_likelihood"] == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_gives_the_same_results(run, results):
    assert evaluate(run)["sets"] == results["sets"]
    assert evaluate(run, seed=1)["sets"]["gmm"] != results["sets"]["gmm"]
    evaluate(run)


def test_pictures(run, results):
    with np.load(run.folder / "pictures.npz") as kept:
        assert kept["originals"].shape == kept["reconstructions"].shape == (32, 1, 8, 8)
        assert kept["samples_gmm"].dtype == np.uint8
        assert kept["interpolation_linear"].shape == (8, 9, 1, 8, 8)
        assert kept["latent"].shape == (len(run.data().test), 2)
        # the ends of a strip are reconstructions
        assert np.array_equal(kept["interpolation_linear"][:, 0], kept["reconstructions"][:8])
        assert np.array_equal(kept["interpolation_linear"][:, -1], kept["reconstructions"][8:16])


def test_tables_are_judged_and_drawn():
    g = np.random.default_rng(0)
    data = chdata.from_arrays((g.normal(size=(400, 2)) @ g.normal(size=(2, 5))).astype(np.float32))
    made = ch.fit("rae", data, **QUICK | {"latent_dim": 1})
    results = evaluate(made, data)
    assert set(results["reconstruction"]) == {"mse"}
    drawn = pictures(made, data, ["prior"])
    assert drawn["data_2d"].shape == (len(data.test), 2)
    assert drawn["latent"].shape == (len(data.test), 2)


def test_slerp():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    for t in (0.0, 0.3, 1.0):
        angle = torch.tensor(t * torch.pi / 2)
        assert torch.allclose(slerp(a, b, t), 2 * torch.stack([angle.cos(), angle.sin()])[None], atol=1e-6)
    assert torch.allclose(slerp(a, 3 * a, 0.5), 2 * a)
    assert torch.allclose(slerp(a, -a, 0.5), 0 * a)


def test_pairs_are_of_different_codes():
    codes = torch.arange(5.0)[:, None]
    ends = (
        interpolate(codes, 1000, "interpolation-linear", 0, t=0.0),
        interpolate(codes, 1000, "interpolation-linear", 0, t=1.0),
    )
    assert (ends[0] != ends[1]).all()
    middle = interpolate(codes, 1000, "interpolation-linear", 0)
    assert torch.allclose(middle, (ends[0] + ends[1]) / 2)


def test_bad_input(run):
    with pytest.raises(ValueError, match="lenet-mnist, lenet-fashion"):
        evaluate(run, extractor="vgg")
    with pytest.raises(ValueError, match="at least 20"):
        evaluate(run, n=5)
    with pytest.raises(ValueError, match="'flow'"):
        evaluate(run, densities=("flow",))
    tiny = chdata.from_arrays(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    with pytest.raises(ValueError, match="needs at least 20 of each"):
        Judge.of(tiny)


def test_a_comparison_goes_on_where_it_stopped(tmp_path):
    data = chdata.load("digits")
    said = []
    settings = {"say": said.append, **QUICK}
    first = compare(data, ["ae", "vae"], tmp_path / "c", seeds=(0, 1), **settings)
    assert [(r["recipe"], r["seed"]) for r in first.rows] == [("ae", 0), ("vae", 0), ("ae", 1), ("vae", 1)]
    summary = {row["recipe"]: row for row in first.summary()}
    gmm = [row["sets"]["gmm"]["frechet"] for row in first.rows if row["recipe"] == "ae"]
    assert summary["ae"]["columns"]["gmm"]["mean"] == pytest.approx(np.mean(gmm))
    assert summary["ae"]["columns"]["gmm"]["sd"] == pytest.approx(np.std(gmm, ddof=1))
    # the model's own column: a fitted normal for ae, the prior for vae
    assert summary["ae"]["columns"]["own"] == summary["ae"]["columns"]["normal"]
    assert summary["vae"]["columns"]["own"] == summary["vae"]["columns"]["prior"]
    (tmp_path / "c" / "vae" / "seed-1" / "results.json").unlink()
    said.clear()
    again = compare(data, ["ae", "vae"], tmp_path / "c", seeds=(0, 1), **settings)
    assert [text.split(": ")[1] for text in said] == ["there already"] * 3 + ["going on"]
    assert [r["sets"] for r in again.rows] == [r["sets"] for r in first.rows]
    with pytest.raises(ValueError, match="has epochs = 1, not 2"):
        compare(data, ["ae", "vae"], tmp_path / "c", seeds=(0, 1), **settings | {"epochs": 2})


def test_comparisons_refuse_what_makes_no_sense(tmp_path):
    data = chdata.load("digits")
    with pytest.raises(ValueError, match="none of these recipes has an option gamma"):
        compare(data, ["ae", "rae"], tmp_path / "c", options={"gamma": "1"}, **QUICK)
    with pytest.raises(ValueError, match="there is no recipe 'gan'"):
        compare(data, ["ae", "gan"], tmp_path / "c", **QUICK)
    with pytest.raises(ValueError, match="must not repeat"):
        compare(data, ["ae", "ae"], tmp_path / "c", **QUICK)
    with pytest.raises(ValueError, match="at least one recipe"):
        compare(data, [], tmp_path / "c", **QUICK)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="holds no comparison"):
        compare(data, ["ae"], tmp_path, **QUICK)
