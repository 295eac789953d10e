"""Weights of the rows: twice the weight is the row twice, and no weight is no row."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

import chartae as ch
from chartae import densities
from chartae.conditionals import Jitter
from chartae.data import Batch, Batches
from chartae.objectives import Guided, Predicting
from chartae.recipes import RECIPES, options
from chartae.terms import MMD, Contraction, DecoderGradient, DecoderL2, Orthogonality, Term
from chartae.training import fit

pytestmark = pytest.mark.usefixtures("float32")
N = 12
#: the weights of rows, and the rows that a fit without weights must have for the same loss
SAME = {
    "twice": ([2.0] + [1.0] * (N - 1), [0, *range(N)]),
    "none": ([0.0, 0.0] + [3.0] * (N - 2), [*range(2, N)]),
    "mixed": ([0.0, 1.5] + [0.5] * (N - 2), [1, 1, *range(1, N)]),
}


def rows(n=N, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.5, 3.0])[:d]


def model(sigma=0.5):
    torch.manual_seed(0)
    encoder = ch.Dirac(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)))
    return ch.Autoencoder(encoder, ch.Gaussian(nn.Sequential(nn.Linear(2, 4)), sigma), ch.StandardNormal(2))


OBJECTIVES = {
    "penalised": lambda: ch.Penalised(model(), ch.Reconstruction() + 0.1 * ch.LatentNorm() + 0.01 * DecoderL2()),
    "optimal sigma": lambda: ch.Penalised(model("optimal"), ch.Reconstruction()),
    "gradients": lambda: ch.Penalised(
        model(), ch.Reconstruction() + 0.1 * Contraction("exact") + 0.1 * DecoderGradient("exact")
    ),
    "orthogonality": lambda: ch.Penalised(model(), ch.Reconstruction() + Orthogonality()),
    "property": lambda: Predicting(ch.Penalised(model(), ch.Reconstruction()), 2),
}


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_weight_is_a_number_of_rows(name, case):
    weight, kept = SAME[case]
    x, target = rows(), rows()[:, 0].clone()
    target[3] = torch.nan

    def after(x, target, weight=None):
        o = OBJECTIVES[name]()
        batches = Batches(x, len(x), target=target, weight=weight, shuffle=False)
        o.plan(3, Batches(rows(), N, target=rows()[:, 0]))  # the unit of the property
        o.plan = lambda *_: None
        history = fit(o, batches, epochs=3, lr=1e-2, optimizer="sgd", progress=False, device="cpu")
        return o, history.last()["loss"]

    weighted, loss = after(x, target, weight)
    repeated, expected = after(x[kept], target[kept])
    assert loss == pytest.approx(expected, rel=1e-4)
    assert loss != pytest.approx(after(x, target)[1], rel=1e-3)
    for a, b in zip(weighted.parameters(), repeated.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize(("name", "condition"), [("normal", False), ("gmm", False), ("normal", True)])
def test_a_density_of_weighted_codes(name, condition, case):
    weight, kept = SAME[case]
    z = rows(10 * N, 2)
    weight, kept = torch.tensor(weight * 10), torch.tensor([N * i + k for i in range(10) for k in kept])
    start = (torch.tensor([0.5, 0.5]), z[[5, 9]], torch.eye(2).repeat(2, 1, 1))
    settings = {"components": 2, "start": start, "tol": 0.0, "max_iter": 20} if name == "gmm" else {}
    c = torch.linspace(-1, 1, len(z))[:, None] if condition else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # EM of 20 iterations
        a = densities.fit(name, z, condition=c, weight=weight, settings=settings)
        b = densities.fit(name, z[kept], condition=None if c is None else c[kept], settings=settings)
    at = {"condition": c} if condition else {}
    assert torch.allclose(a.log_prob(z, **at), b.log_prob(z, **at), rtol=1e-3, atol=1e-3)
    plain = densities.fit(name, z, condition=c, settings={} if name == "normal" else {"components": 2})
    assert not torch.allclose(a.log_prob(z, **at), plain.log_prob(z, **at), rtol=1e-3, atol=1e-3)


def test_candidates_of_a_mixture_are_compared_by_weight():
    z = torch.cat([rows(300, 2), rows(300, 2) + 20])
    half = torch.cat([torch.ones(300), torch.full((300,), 1e-6)])
    many = densities.fit("gmm", z, weight=half, settings={"components": [1, 2]})
    assert torch.allclose(many().mean, rows(300, 2).mean(0), atol=0.1)


def test_an_unweighted_density_says_so():
    class Plain(densities.Normal):
        def fit_weighted(self, z, weight, *, seed=0):
            return densities.Density.fit_weighted(self, z, weight, seed=seed)

    with pytest.warns(UserWarning, match="cannot weigh codes; it is fitted to codes of equal weight"):
        a = Plain().fit_weighted(rows(), torch.ones(N))
    assert torch.equal(a.covariances, densities.Normal().fit(rows()).covariances)
    with pytest.raises(ValueError, match=r"weight has shape \(3,\) for 12 codes"):
        densities.fit("normal", rows(), weight=torch.ones(3))


class Whole(Term):
    """One value for the batch."""

    def forward(self, t):
        return t.z.square().mean()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: ch.Penalised(model(), ch.Reconstruction() + MMD()), "cannot weigh examples"),
        (lambda: ch.Penalised(model(), ch.Reconstruction() + Whole()), "whole returns one value for the batch"),
    ],
)
def test_what_cannot_weigh_is_refused(make, error):
    with pytest.raises((ValueError, TypeError), match=error):
        fit(make(), Batches(rows(), 4, weight=torch.ones(N)), epochs=1, progress=False)


@pytest.mark.parametrize(
    ("weight", "error"),
    [
        ([1.0] * 11, r"weight has shape \(11,\)"),
        ([[1.0]] * N, "weight has shape"),
        ([1.0] * 11 + [-1.0], r"weight is -1 in row 11 \(1 such rows\)"),
        ([1.0] * 11 + [float("nan")], "weight is nan in row 11"),
        ([float("inf")] * N, "weight is inf in row 0"),
        ([0] * N, r"weight is 0 in all (10 training )?rows"),
    ],
)
def test_weights_are_checked(weight, error):
    with pytest.raises(ValueError, match=error):
        Batches(rows(), 4, weight=weight)
    with pytest.raises(ValueError, match=error):
        ch.fit("rae", rows(), weight=weight, epochs=1, densities=(), progress=False)


def test_a_fit_splits_weights_like_the_rows_and_says_what_it_stores(tmp_path):
    x = torch.cat([rows(100), rows(100) + 8])
    weight = torch.cat([torch.ones(100), torch.zeros(100)])
    options = {"epochs": 1, "latent_dim": 2, "net": "smooth", "components": 1, "progress": False}
    run = ch.fit("rae", x, weight=weight, out=tmp_path / "r", **options)
    codes = run.encode(x)
    fitted = run.densities["normal"]().mean
    assert (fitted - codes[:100].mean(0)).norm() < 0.3 * (codes[:100].mean(0) - codes[100:].mean(0)).norm()
    assert run.settings.weight
    with pytest.raises(ValueError, match="weight is ''; expected"):
        ch.fit("rae", x, out=tmp_path / "r", resume=True, **options)
    data = ch.data.read(x)
    with pytest.warns(UserWarning, match="the training rows had weights, which the run does not store"):
        run.fit_densities({"gmm-3": {}}, data)
    split = replace(data, train_weight=weight[: len(data.train)])
    assert ch.fit("rae", split, **options).settings.weight
    with pytest.raises(ValueError, match="have weights, which fit_many does not use"):
        ch.fit_many("vae", split, {"seed": [0]}, steps=1)
    with pytest.raises(ValueError, match="the data are not in memory"):
        ch.fit("rae", "digits", weight=weight, **options)
    with pytest.raises(ValueError, match="the loss of recipe 'wae' is not a sum over examples"):
        ch.fit("wae", x, weight=weight, **options)
    # 20 rows are validated; here none of them weighs anything
    valid = torch.ones(200)
    valid[ch.data.arrays.splits(200, 0.1, 0.1, 0)["valid"]] = 0
    with pytest.warns(UserWarning, match="all 20 validation rows have the weight 0"):
        assert not [row for row in ch.fit("rae", x, weight=valid, **options).log if row["split"] == "valid"]


def test_rows_without_weight_do_not_count_as_rows():
    normal = torch.randn(440, 8, generator=torch.Generator().manual_seed(1))
    x = torch.cat([normal[:40, :2] @ normal[:2] + 0.1 * normal[40:80], 30 * normal[40:]])
    weight = torch.cat([torch.ones(40), torch.zeros(400)])
    options = {"epochs": 1, "net": "smooth", "progress": False}
    run = ch.fit("rae", x, weight=weight, **options)
    assert "36 training rows are fewer than the 45 that codes of size 8 need" in run.notes[0]
    spread = run.residuals.sigma * torch.tensor(run.kind.to_dict()["sd"])
    assert (spread < 1.5 * x[:40].std(0)).all()  # that of the other rows is thirty times as large
    for weights, message in (
        ([0.0] * 440, "weight is 0 in all 352 training rows"),
        ([1.0] + [0.0] * 439, "1 training examples with a"),
    ):
        with pytest.raises(ValueError, match=message):
            ch.fit("rae", x, weight=weights, **options)


def test_the_validation_loss_is_the_weighted_mean():
    o = OBJECTIVES["penalised"]()
    weight = torch.arange(N).float()
    history = fit(o, Batches(rows(), N), valid=Batches(rows(), 5, weight=weight, shuffle=False), epochs=1,
                  plateau=False, progress=False)  # fmt: skip
    with torch.no_grad():
        each = -o.model.decoder(o.model.encode(rows())).log_prob(rows())
    assert history.last("valid")["reconstruction"] == pytest.approx(
        float((weight * each).sum() / weight.sum()), rel=1e-4
    )


def test_what_wraps_asks_what_it_wraps():
    inner = OBJECTIVES["penalised"]()
    assert Predicting(inner, 2).weighs
    product = ch.Autoencoder(
        ch.conditionals.Categorical(nn.Linear(4, 3)),
        ch.Gaussian(nn.Linear(3, 4)),
        ch.conditionals.UniformCategorical(3),
    )
    assert not Guided(ch.Penalised(product, ch.Reconstruction()), views=Jitter()).weighs
    batch = Batch(rows(), weight=torch.ones(N))
    assert torch.equal(inner(batch)["loss"], inner(rows())["loss"])


def test_no_option_of_a_recipe_hides_behind_a_keyword_of_fit():
    keywords = set(inspect.signature(ch.fit).parameters)
    assert {name: both for name in RECIPES if (both := keywords & set(options(name)))} == {}
