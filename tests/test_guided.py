"""Categories under two views, few labels, codes of a category and a style."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import is_classifier, is_clusterer
from sklearn.model_selection import cross_val_score
from torch import nn as tnn

import chartae as ch
from chartae.cli import main
from chartae.conditionals import Categorical, Corruption, Dirac, Jitter, Product, StandardNormal, UniformCategorical
from chartae.data import Batch, Batches
from chartae.data.labels import choose_labels, class_codes
from chartae.distributions import PointMass
from chartae.evaluation import class_error
from chartae.maths import nearest
from chartae.objectives.guided import Guided
from chartae.recipes import Setting, build
from closed_forms import CODE, SIZE, linear, points

K = 3


def product_model():
    encoder = Product([Categorical(tnn.Identity()), Dirac(tnn.Identity())], [K, CODE], linear(K + CODE, SIZE, 1))
    prior = Product([UniformCategorical(K), StandardNormal(CODE)], [K, CODE])
    return ch.Autoencoder(encoder, ch.Gaussian(linear(SIZE, K + CODE, 2), 1.0), prior)


def guided(**options):
    return Guided(ch.Penalised(product_model(), ch.Reconstruction()), **{"views": Jitter(), **options})


def test_a_product_is_its_parts():
    model, x = product_model(), points()
    q = model.encoder(x)
    assert q.category.mean.shape == (11, K)
    assert torch.allclose(q.mean[:, :K], q.category.mean)
    assert q.has_category
    p, z = model.prior(), model.prior.sample(5)
    assert z.shape == (5, *model.code_shape) == (5, K + CODE)
    by_hand = -math.log(K) + StandardNormal(CODE).log_prob(z[:, K:])
    assert torch.allclose(p.log_prob(z), by_hand)
    exact = Product(
        [Categorical(tnn.Identity(), "exact"), ch.Gaussian(tnn.Identity(), 0.5)], [K, CODE], model.encoder.net
    )
    r = exact(x)
    draw = r.sample(generator=torch.Generator().manual_seed(0))
    apart = r.parts[0].kl(p.parts[0], draw[:, :K]) + r.parts[1].kl(p.parts[1], draw[:, K:])
    assert torch.allclose(r.kl(p, draw), apart)
    assert not StandardNormal(2)().has_category
    with pytest.raises(TypeError, match="has no category"):
        _ = StandardNormal(2)().category
    with pytest.raises(TypeError, match="has no category"):
        _ = Product([StandardNormal(2)], [2])().category
    assert not Product([StandardNormal(2)], [2])().has_category
    with pytest.raises(ValueError, match="one size for each part"):
        Product([StandardNormal(2)], [2, 3])


def test_views_move_an_image_a_little():
    torch.manual_seed(0)
    x = torch.zeros(500, 1, 29, 29)
    x[:, :, 14, 18] = 1.0  # four pixels right of the centre
    none = Jitter(0, 0, 0, 0)
    assert torch.allclose(none(x).sample(), x, atol=1e-6)
    seen = Jitter(20, 0.1, 0.2, 0.0)(x).sample()
    assert seen.shape == x.shape
    rows = torch.linspace(-14, 14, 29)
    mass = seen.sum((1, 2, 3))
    across = (seen.sum((1, 2)) * rows).sum(1) / mass
    down = (seen.sum((1, 3)) * rows).sum(1) / mass
    # shifts are within 2.9 pixels each way; turns and scales move the point by at most 20 degrees and a quarter
    assert across.mean().item() == pytest.approx(4, abs=0.4)
    assert down.mean().item() == pytest.approx(0, abs=0.4)
    assert across.min() > 4 * 0.8 * math.cos(math.radians(20)) - 2.9 - 0.6
    assert across.max() < 4 * 1.25 + 2.9 + 0.6
    assert across.std() > 1
    v = torch.randn(4000, 2) * torch.tensor([1.0, 10.0])
    moved = (Jitter(noise=0.1)(v).sample() - v).std(0)
    assert torch.allclose(moved, torch.tensor([0.1, 1.0]), rtol=0.1)
    for bad in ({"degrees": -1.0}, {"scale": 1.0}, {"noise": math.nan}):
        with pytest.raises(ValueError, match="expected a finite number >= 0"):
            Jitter(**bad)


def test_a_turn_is_one_on_pictures_that_are_no_squares():
    x = torch.zeros(1, 1, 33, 129)
    x[:, :, 16, 24:105] = 1.0  # a level line
    torch.manual_seed(1)
    seen = Jitter(15, 0, 0, 0)(x.expand(40, -1, -1, -1)).sample()
    torch.manual_seed(1)
    angles = 15 * (2 * torch.rand(5, 40) - 1)[0]
    across, down = torch.meshgrid(torch.arange(129.0) - 64, torch.arange(33.0) - 16, indexing="xy")
    slopes = (seen * across * down).sum((1, 2, 3)) / (seen * across**2).sum((1, 2, 3))
    found = torch.rad2deg(torch.atan(slopes)).abs()
    assert torch.allclose(found, angles.abs(), atol=1.0)


def test_agreement_is_the_information_where_views_agree():
    objective = guided(views=Jitter(noise=0.0), agreement=2.0)
    x = points()
    values = objective(x)
    p = objective.model.encoder(x).category.mean
    entropy = lambda a: -(a * a.log()).sum(-1)  # noqa: E731
    information = entropy(p.mean(0)) - entropy(p).mean()
    assert torch.allclose(values["agreement"], information)
    assert torch.allclose(values["loss"], objective.inner(x)["loss"] - 2 * information)


def test_labels_reach_the_encoder_alone_and_only_the_labelled_rows():
    objective = guided(agreement=0.0, views=None, supervision=3.0, labelled=4)
    x, y = points(), torch.tensor([-1] * 7 + [0, 1, 2, 1])
    values = objective(Batch(x, labels=y))
    logits = objective.model.encoder(x[7:]).category.logits
    by_hand = tnn.functional.cross_entropy(logits, y[7:])
    assert torch.allclose(values["supervision"], by_hand)
    assert torch.allclose(values["loss"], objective.inner(x[:7])["loss"] + 3 * by_hand)
    objective.zero_grad()
    values["supervision"].backward()
    assert all(p.grad is None for p in objective.model.decoder.parameters())
    assert objective.model.encoder.net.weight.grad[:K].abs().sum() > 0
    assert objective.model.encoder.net.weight.grad[K:].abs().sum() == 0
    assert "supervision" not in objective(x)  # without labels: as in validation
    with pytest.raises(ValueError, match="give views or neighbours, or agreement=0"):
        Guided(objective.inner)
    with pytest.raises(ValueError, match="expected 0 or more for each"):
        Guided(objective.inner, views=Jitter(), supervision=-1.0)
    with pytest.raises(ValueError, match="neighbours is -1"):
        Guided(objective.inner, neighbours=-1)


def test_neighbours_should_be_of_one_category():
    torch.manual_seed(0)
    # two far clusters on a line in 60 dimensions: neighbours never cross
    x = torch.randn(40, 60, dtype=torch.float32) * 0.1
    x[20:, 0] += 10
    graph = nearest(x, 5)
    assert graph.shape == (40, 5)
    side = torch.arange(40) >= 20
    assert (side[graph] == side[:, None]).all()
    assert (graph != torch.arange(40)[:, None]).all()
    first = torch.cdist(x, x).fill_diagonal_(torch.inf).argmin(1)
    assert (graph[:, 0] == first).double().mean() > 0.8  # ten of sixty axes are left out
    assert nearest(x[:3], 9).shape == (3, 2)
    for bad in ({"x": x[:1], "k": 1}, {"x": x, "k": 0}, {"x": x, "k": 1, "axes": 0}):
        with pytest.raises(ValueError, match="at least 2 rows"):
            nearest(**bad)

    class Seen(Corruption):
        def forward(self, c=None, condition=None):
            self.last = c
            return PointMass(c)

    seen = Seen()
    net = linear(K, 60, 1).float()
    model = ch.Autoencoder(Categorical(net), ch.Gaussian(linear(60, K, 2).float(), 1.0), UniformCategorical(K))
    objective = Guided(ch.Penalised(model, ch.Reconstruction()), views=seen, neighbours=5)
    batches = Batches(x, 16)
    objective.plan(3, batches)
    values = objective(x[:16])
    assert not torch.equal(seen.last, x[:16])  # a view of neighbours of examples of its own choice
    assert values["agreement"].isfinite()
    objective.eval()(x[:16])  # outside training, an example and itself
    assert torch.equal(seen.last, x[:16])
    del batches
    objective.train()(x[:16])  # nor where the data are gone
    assert torch.equal(seen.last, x[:16])
    assert "5 neighbours" in repr(objective)


def test_neighbours_are_found_again_by_what_was_learnt():
    torch.manual_seed(0)
    x = torch.randn(40, 60, dtype=torch.float32)
    net = tnn.Sequential(tnn.Linear(60, 60, bias=False), tnn.Linear(60, K)).float()
    with torch.no_grad():  # the last layer sees the first coordinate alone
        net[0].weight.zero_()
        net[0].weight[0, 0] = 1.0
    model = ch.Autoencoder(Categorical(net), ch.Gaussian(linear(60, K, 2).float(), 1.0), UniformCategorical(K))
    objective = Guided(ch.Penalised(model, ch.Reconstruction()), neighbours=3)
    batches = Batches(x, 16)
    objective.plan(8, batches)
    assert objective.scheduled
    objective(x[:16])
    before, state = objective._graph.clone(), objective.get_extra_state()
    assert len(state) == 2 + 40 * 3
    for _ in range(2):
        objective(x[:16])
    apart = (x[:, None, 0] - x[None, :, 0]).abs().fill_diagonal_(torch.inf)
    nearest_by_learnt = apart.topk(3, largest=False).indices
    assert torch.equal(objective._graph.sort(1).values, nearest_by_learnt.sort(1).values)
    assert not torch.equal(objective._graph, before)
    # a training that goes on keeps them, one that is new does not, one that has ended leaves none behind
    other = Guided(objective.inner, neighbours=3)
    other.plan(8, batches)
    other.set_extra_state(objective.get_extra_state())
    assert torch.equal(other._graph, objective._graph)
    objective.plan(8, batches)
    for _ in range(8):
        objective(x[:16])
        assert torch.equal(objective._graph, before) == (objective._step <= 2)
    assert len(objective.get_extra_state()) == 0
    other.finish()
    assert len(other.get_extra_state()) == 0
    # a last layer that convolves, or none at all
    images = x.reshape(40, 1, 6, 10)
    last = Guided(ch.Penalised(convolving(), ch.Reconstruction()), views=Jitter(), neighbours=3)
    assert last._features(Batches(images, 16)).shape[0] == 40
    nothing = ch.Autoencoder(Categorical(tnn.Identity()), ch.Gaussian(tnn.Identity(), 1.0), UniformCategorical(60))
    assert torch.equal(Guided(ch.Penalised(nothing, ch.Reconstruction()), neighbours=3)._features(Batches(x, 16)), x)


def convolving():
    net = tnn.Sequential(tnn.Conv2d(1, 2, 3), tnn.ReLU(), tnn.Conv2d(2, K, (4, 8)), tnn.Flatten()).float()
    back = tnn.Sequential(tnn.Linear(K, 60), tnn.Unflatten(1, (1, 6, 10))).float()
    return ch.Autoencoder(Categorical(net), ch.Gaussian(back, 1.0), UniformCategorical(K))


def test_early_stopping_and_longer_trainings(tmp_path, float32):
    x = torch.rand(120, 6, generator=torch.Generator().manual_seed(0))
    settings = {"clusters": 3, "latent_dim": 2, "batch_size": 30, "progress": False}
    run = ch.fit("aae-cluster", x, epochs=3, patience=5, **settings, out=tmp_path / "a")
    assert 1 <= run.kept <= 3
    again = ch.load(tmp_path / "a")
    assert torch.equal(again.encode(x), run.encode(x))
    assert not any("extra" in name and len(value) for name, value in again.objective.state_dict().items())
    # how it is trained depends on for how long: one that has ended is not gone on with
    ch.fit("aae-cluster", x, epochs=1, cosine=False, **settings, out=tmp_path / "b")
    before = (tmp_path / "b" / "run.toml").read_text()
    with pytest.raises(ValueError, match="epochs"):
        ch.fit("aae-cluster", x, epochs=2, cosine=False, resume=True, **settings, out=tmp_path / "b")
    assert (tmp_path / "b" / "run.toml").read_text() == before


def test_batches_bring_labelled_examples_along():
    x = torch.arange(20.0)[:, None]
    y = torch.full((20,), -1)
    y[[3, 8]] = torch.tensor([1, 0])
    batches = Batches(x, 8, seed=1, labels=y, labelled=5)
    seen = list(batches.epoch(0))
    assert [len(b) for b in seen] == [13, 13, 9]
    for a, labels in ((b.x, b.labels) for b in seen):
        assert (labels[:-5] == -1).all()
        assert {(int(v), int(k)) for v, k in zip(a[-5:, 0], labels[-5:], strict=True)} <= {(3, 1), (8, 0)}
    stream = torch.cat([b.x[:-5, 0] for b in seen])
    assert torch.equal(stream.sort().values, x[:, 0])
    again = list(batches.epoch(0, start=1))
    assert all(torch.equal(a.x, b.x) for a, b in zip(seen[1:], again, strict=True))
    halves = [list(batches.epoch(0, rank=r, world=2)) for r in (0, 1)]
    assert [len(b) for b in halves[0]] == [9, 9, 7]
    assert torch.equal(torch.cat([b.x[:-5, 0] for half in halves for b in half]).sort().values, x[:, 0])
    for labels in (None, torch.full((20,), -1), torch.rand(20)):
        with pytest.raises(ValueError, match="no example has a label"):
            Batches(x, 8, labels=labels, labelled=5)


def test_which_labels_are_known():
    data = ch.data.load("digits")
    known = data.train_labels
    y = choose_labels(known, keep=25, seed=0)
    counts = torch.bincount(y[y >= 0])
    assert (y >= 0).sum() == 25
    assert counts.min() == 2
    assert counts.max() == 3
    assert torch.equal(y[y >= 0], known[y >= 0])
    assert not torch.equal(y, choose_labels(known, keep=25, seed=1))
    assert torch.equal(y, choose_labels(known, keep=25, seed=0))
    for options, message in (
        ({"keep": 9}, "labels is 9; expected at least 10, one for each class"),
        ({"keep": 10**6}, "at most 1297, the number of labelled examples"),
        ({"classes": 11}, "labels run up to 9 and the classes without a label are 10; .* all 11 classes"),
        ({"classes": 5}, "labels run up to 9"),
        ({"classes": 1}, "classes is 1; expected two or more"),
    ):
        with pytest.raises(ValueError, match=message):
            choose_labels(known, **options)
    for labels, message in (
        (torch.full((50,), -1), "all .* labels are unknown"),
        (None, "has no labels|have no labels"),
        (torch.rand(50), "continuous labels"),
        (2020 + torch.arange(50) % 3, r"up to 2022.* 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and more; .*Number the classes"),
        (10**12 * (torch.arange(50) % 3), "Number the classes"),
    ):
        with pytest.raises(ValueError, match=message):
            choose_labels(labels)
    # text: "-1" is not known there either
    named = ch.data.from_arrays(torch.rand(50, 3), ["b", "a", "-1", "b", "a"] * 10, valid=0, test=0)
    assert named.classes == ("a", "b")
    assert torch.equal(choose_labels(named.train_labels)[:5], torch.tensor([1, 0, -1, 1, 0]))


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        ([3, -1, 7, 3], [3, 7], [0, -1, 1, 0]),
        ([3.0, -1.0, 7.0, 3.0], [3, 7], [0, -1, 1, 0]),
        (["b", "-1", "a", "b"], ["a", "b"], [1, -1, 0, 1]),
        (np.array(["b", -1, "a", "b"], dtype=object), ["a", "b"], [1, -1, 0, 1]),
        (np.array([3, -1, 7, 3], dtype=object), [3, 7], [0, -1, 1, 0]),
        (np.array([True, False, True, True]), [False, True], [1, 0, 1, 1]),
        (np.array([[3], [-1], [7], [3]], dtype=np.int32), [3, 7], [0, -1, 1, 0]),
        (torch.tensor([3, -1, 7, 3]), [3, 7], [0, -1, 1, 0]),
    ],
)
def test_classes_of_any_kind(y, classes, codes):
    found, numbers = class_codes(y, 4)
    assert found.tolist() == classes
    assert numbers.tolist() == codes


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1, math.nan, 1], ValueError, "y holds NaN"),
        ([0.5, 1, 2, 1], ValueError, "y holds fractions"),
        (np.array(["a", None, "b", "a"], dtype=object), TypeError, "y holds NoneType, str"),
        ([1, -1, 1, -1], ValueError, "-1 is not a class: it marks an unknown label"),
        ([-1, -1, -1, -1], ValueError, "all 4 labels in y are unknown"),
        ([0, 1, 1], ValueError, "for 4 examples"),
        (np.zeros((4, 2)), ValueError, "for 4 examples"),
        (np.zeros(4, dtype="datetime64[s]"), TypeError, "expected classes: whole numbers or text"),
    ],
)
def test_labels_that_are_no_classes(y, error, message):
    with pytest.raises(error, match=message):
        class_codes(y, 4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["aae-semisup", "iae-semisup"])
def test_the_estimator_learns_classes_from_few_labels(recipe, float32):
    rng = np.random.default_rng(0)
    centres = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    truth = rng.integers(0, 3, 600)
    X = centres[truth] + 0.3 * rng.normal(size=(600, 3))
    names = np.array([7, 11, 42])
    y = np.full(600, -1)
    for k in range(3):
        y[np.flatnonzero(truth == k)[:4]] = names[k]
    settings = {"epochs": 12, "batch_size": 60, "random_state": 0, "net": "smooth:32"}
    settings["latent_dim"] = None if recipe == "iae-semisup" else 2
    estimator = ch.GenerativeAutoencoder(recipe=recipe, **settings).fit(X, y)
    found = estimator.predict(X)
    # judged by accuracy, of those whose class is known
    assert estimator.score(X, names[truth]) == (found == names[truth]).mean()
    assert estimator.score(X, y) == (found == y)[y >= 0].mean()
    assert estimator.score(X[truth == 1], names[truth][truth == 1]) > 0.9
    assert is_classifier(estimator)
    assert hasattr(estimator, "score_samples") == (recipe == "aae-semisup")
    assert set(estimator.classes_) == {7, 11, 42}
    assert (found == names[truth]).mean() > 0.95
    size = 3 if recipe == "iae-semisup" else 5
    assert estimator.transform(X).shape == (600, size)
    assert estimator.inverse_transform(estimator.transform(X)).shape == X.shape
    assert estimator.sample(4).shape == (4, 3)
    with pytest.raises(ValueError, match="all 600 labels in y are unknown"):
        ch.GenerativeAutoencoder(recipe=recipe).fit(X, np.full(600, -1))
    with pytest.raises(ValueError, match="give y, with -1"):
        ch.GenerativeAutoencoder(recipe=recipe).fit(X)
    with pytest.raises(ValueError, match="one class for each"):
        ch.GenerativeAutoencoder(recipe=recipe).fit(X, y[:5])
    if recipe == "iae-semisup":
        with pytest.raises(ValueError, match="latent_dim is 5, but the code is one of 3 classes"):
            ch.GenerativeAutoencoder(recipe=recipe, latent_dim=5).fit(X, y)
    for options in ({"labelled": 0}, {"supervision": 0.0}):
        with pytest.raises(ValueError, match="labels would be ignored"):
            ch.GenerativeAutoencoder(recipe=recipe, options=options).fit(X, y)


def test_a_cross_validation_of_a_semi_supervised_recipe(float32):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 240)
    X = np.eye(2)[truth] * 3 + 0.3 * rng.normal(size=(240, 2))
    y = np.where(rng.random(240) < 0.3, truth, -1)
    estimator = ch.GenerativeAutoencoder(
        "aae-semisup", latent_dim=1, epochs=8, batch_size=32, random_state=0, net="smooth:16", lr=5e-3
    )
    scores = cross_val_score(estimator, X, y, cv=2)
    assert scores.min() > 0.9
    with pytest.raises(ValueError, match="translates between two domains"):
        ch.GenerativeAutoencoder("iae-translate").fit(X)
    implicit = ch.GenerativeAutoencoder("iae", epochs=1, latent_dim=1).fit(X)
    assert not hasattr(implicit, "score")
    assert not hasattr(implicit, "score_samples")
    assert is_clusterer(ch.GenerativeAutoencoder("iae-cluster"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the code is ignored")
def test_labels_that_are_not_known_are_no_errors(tmp_path, float32):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 900)
    X = (3 * np.eye(3)[truth] + 0.3 * rng.normal(size=(900, 3))).astype(np.float32)
    y = np.where(rng.random(900) < 0.3, truth, -1)
    data = ch.data.from_arrays(X, y)
    run = ch.fit(
        "aae-semisup", data, latent_dim=2, epochs=10, batch_size=60, net="smooth:32", progress=False, out=tmp_path / "r"
    )
    found = ch.evaluate(run, data)
    assert found["classes"]["error"] < 0.05
    assert found["clusters"]["error_majority"] < 0.05
    nothing = replace(data, test_labels=torch.full_like(data.test_labels, -1))
    assert "classes" not in ch.evaluate(run, nothing)
    with pytest.raises(ValueError, match="no class labels to compare with"):
        class_error(run, nothing)
    with pytest.raises(ValueError, match="so no density is fitted to them"):
        run.fit_density("gmm", run.encode(data.train))
    with pytest.raises(ValueError, match="so no density is fitted to them"):
        ch.evaluate(run, data, densities=["gmm"])
    assert main(["sample", str(tmp_path / "r"), "--density", "gmm", "--out", str(tmp_path / "s.npy")]) == 2
    assert not list((tmp_path / "r").glob("density.*"))


@pytest.mark.slow
def test_a_run_of_few_labels_is_kept_judged_and_resumed(tmp_path, monkeypatch, float32):
    settings = {"labels": 100, "net": "mlp", "labelled": 32, "progress": False}
    run = ch.fit("aae-semisup", "digits", epochs=3, out=tmp_path / "run", **settings)
    again = ch.load(tmp_path / "run")
    data = ch.data.load("digits")
    assert torch.allclose(again.categories(data.test), run.categories(data.test), atol=1e-6)
    found = ch.evaluate(again, n=100)
    assert 0 <= found["classes"]["error"] < 0.7
    assert found["clusters"]["used"] > 1
    forward, calls = Guided.forward, []

    def interrupted(self, *arguments):
        calls.append(0)
        if len(calls) == 40:  # of some 66: the neighbours have been found again twice
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Guided, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ch.fit("aae-semisup", "digits", epochs=3, out=tmp_path / "part", **settings)
    more = ch.fit("aae-semisup", "digits", epochs=3, out=tmp_path / "part", resume=True, **settings)
    assert torch.equal(more.categories(data.test), run.categories(data.test))


@pytest.mark.slow
def test_reproductions_make_their_tables(tmp_path, monkeypatch, capsys, float32):
    from papers import iae_cluster, iae_semisup

    monkeypatch.setitem(iae_cluster.QUICK, "epochs", 1)
    monkeypatch.setattr(iae_semisup, "labels_alone", partial(iae_semisup.labels_alone, steps=20))
    monkeypatch.setattr(iae_cluster, "METHODS", [iae_cluster.Method("aae-cluster", 10, {}, "both", every=True)])
    monkeypatch.setattr(iae_semisup, "METHODS", iae_semisup.METHODS[::2])
    words = ["reproduce", "iae-cluster", "--data", "digits", "--quick", "--seeds", "2", "--out", str(tmp_path / "c")]
    assert main(words) == 0
    table = (tmp_path / "c" / "table.md").read_text()
    assert "| aae-cluster | 10 | both | 2 |" in table
    assert (tmp_path / "c" / "aae-cluster-10-both-100.png").stat().st_size > 1000
    words = ["reproduce", "iae-semisup", "--data", "digits", "--quick", "--labels", "50", "--out", str(tmp_path / "s")]
    assert main(words) == 0
    rows = json.loads((tmp_path / "s" / "results.json").read_text())["rows"]
    assert [r["name"] for r in rows] == ["labels alone", "aae-semisup", "aae-semisup, nothing to agree"]
    assert all(r["labels"] == 50 and 0 <= r["error"] <= 1 for r in rows)
    capsys.readouterr()
    assert main(["reproduce", "ima-gap", "--labels", "50", "--out", str(tmp_path / "x")]) == 2
    assert "ima-gap takes no --labels; it is an option of iae-semisup" in capsys.readouterr().err


def test_the_same_net_on_the_labels_alone_learns_something(float32):
    from papers.iae_semisup import labels_alone

    data = ch.data.load("digits")
    assert labels_alone(data, 200, 0, "mlp", True, steps=150) < 0.3


def test_options_of_which_nothing_would_come():
    flat, picture = Setting((6,), 3, "mlp"), Setting((1, 8, 8), 3, "mlp")
    for setting, options in (
        (flat, {"neighbours": 3}),  # vectors agree on nothing by default
        (flat, {"views": True}),
        (picture, {"neighbours": 3, "agreement": 0.0}),
        (picture, {"views": True, "agreement": 0.0}),
    ):
        with pytest.raises(ValueError, match="give an agreement above 0 too"):
            build("iae-cluster", setting, **options)
    with pytest.raises(ValueError, match="there is nothing to agree; give views or neighbours"):
        build("iae-cluster", flat, agreement=5.0, neighbours=0)
    # nothing to agree, and none that was asked for
    assert not isinstance(build("aae-cluster", flat, clusters=3, neighbours=0).objective, Guided)
    assert build("iae-cluster", flat, neighbours=3, agreement=1.0).objective.neighbours == 3
    assert build("aae-cluster", picture).objective.agreement == 10
    assert build("aae-semisup", picture, agreement=0.0, views=True).objective.views is not None
    assert build("aae-semisup", picture, agreement=0.0, views=False).objective.views is None


def test_the_control_trains_the_encoder_alone(tmp_path, float32):
    """Without decoder and critics: their weights stay, no critic is logged, and the category is still learnt."""
    x = torch.cat([torch.zeros(60, 6), torch.ones(60, 6)]) + 0.05 * torch.randn(120, 6)
    y = (torch.arange(120) >= 60).long()
    data = ch.data.from_arrays(x, y, name="two")
    options = {"epochs": 12, "batch_size": 40, "net": "mlp", "encoder_alone": True, "progress": False}
    run = ch.fit("aae-semisup", data, labels=10, out=tmp_path / "run", **options)
    fresh = build("aae-semisup", Setting((6,), 6, "mlp", unit=False), classes=2, encoder_alone=True, seed=0).objective
    assert run.objective.trains(run.model.encoder)
    assert not run.objective.trains(run.model.decoder)
    for name, value in fresh.model.decoder.named_parameters():
        assert torch.equal(value, dict(run.model.decoder.named_parameters())[name]), name
    assert {"agreement", "supervision", "right", "loss"} <= set(run.log[0])
    assert not any("critic" in key or "adversarial" in key or key == "reconstruction" for key in run.log[0])
    assert class_error(ch.load(tmp_path / "run"), data) < 0.1
    with pytest.raises(ValueError, match="so nothing would be trained; give views or neighbours"):
        build("aae-cluster", Setting((6,), 3, "mlp"), encoder_alone=True, agreement=0.0, neighbours=5)


def test_what_agrees_has_its_condition():
    torch.set_default_dtype(torch.float32)
    x, y = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    settings = {"batch_size": 20, "epochs": 2, "clusters": 3, "latent_dim": 2, "progress": False}
    for recipe in ("aae-cluster", "iae-cluster"):
        run = ch.fit(recipe, x, condition=y, **settings if recipe == "aae-cluster" else settings | {"latent_dim": 3})
        assert run.categories(x, condition=y).shape == (60, 3)
        assert run.sample(4, condition=2).shape == (4, 1, 8, 8)
