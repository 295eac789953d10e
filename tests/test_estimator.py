from __future__ import annotations

import pickle
from unittest import SkipTest

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from chartae import GenerativeAutoencoder


@pytest.fixture(autouse=True)
def _float32(_float64):
    torch.set_default_dtype(torch.float32)


def digits():
    return (load_digits().images / 16).astype(np.float32)


def estimator(**kwargs):
    settings = {"recipe": "rae-l2", "latent_dim": 4, "epochs": 1, "components": 3, "random_state": 0}
    return GenerativeAutoencoder(**settings | kwargs)


LAYOUTS = {
    "images": digits(),
    "channels first": digits()[:, None],
    "channels last": np.repeat(digits()[..., None], 3, -1),
    "bytes": (digits() * 255).astype(np.uint8),
    "rows": digits().reshape(-1, 64),
    "rows of bytes": (digits() * 255).astype(np.uint8).reshape(-1, 64),
    "float64": digits().astype(np.float64),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_comes_out_looks_like_what_went_in(layout):
    X = LAYOUTS[layout]
    e = estimator(epochs=6).fit(X)
    Z = e.transform(X[:50])
    assert Z.shape == (50, 4)
    assert Z.dtype == np.float32
    for points, n in ((e.inverse_transform(Z), 50), (e.sample(7), 7)):
        assert points.shape == (n, *X.shape[1:])
        assert points.dtype == (np.uint8 if X.dtype == np.uint8 else np.float32)
    # an image that is reconstructed is nearer to its original than to the mean of all
    if layout != "rows":
        scale = 255.0 if X.dtype == np.uint8 else 1.0
        error = np.square((e.inverse_transform(e.transform(X)) - X.astype(float)) / scale).mean()
        assert error < np.square((X.mean(0) - X.astype(float)) / scale).mean()
    scores = e.score_samples(X[:50])
    assert scores.shape == (50,)
    assert np.isfinite(scores).all()


def test_score_is_the_log_joint_at_the_code():
    X = LAYOUTS["rows"]
    e = estimator(density="normal", epochs=6).fit(X)
    z = torch.from_numpy(e.transform(X[:5]))
    normal = e.run_.densities["normal"]
    with torch.no_grad():
        error = (torch.from_numpy(X[:5]) - e.run_.model.decode(z)).square().sum(1)
        expected = -error - 32 * np.log(np.pi) + normal.log_prob(z)
    np.testing.assert_allclose(e.score_samples(X[:5]), expected, rtol=1e-4)
    assert e.score(X[:5]) == pytest.approx(expected.mean().item(), rel=1e-4)
    # noise is unusual
    noise = np.random.default_rng(0).uniform(size=(200, 64)).astype(np.float32)
    assert e.score(noise) < e.score(X) - 10


def test_the_same_random_state_gives_the_same_numbers():
    X = LAYOUTS["images"]
    a, b, c = estimator().fit(X), estimator().fit(X), estimator(random_state=1).fit(X)
    assert np.array_equal(a.transform(X), b.transform(X))
    assert np.array_equal(a.sample(5), b.sample(5))
    assert not np.array_equal(a.transform(X), c.transform(X))


def test_it_is_an_estimator_among_others():
    X = LAYOUTS["rows"]
    e = estimator(options={"beta": 0.5}, density="prior", recipe="rae")
    assert clone(e).get_params() == e.get_params()
    pipeline = make_pipeline(StandardScaler(), estimator()).fit(X)
    assert pipeline.transform(X).shape == (len(X), 4)
    search = GridSearchCV(estimator(density="normal"), {"latent_dim": [2, 4]}, cv=2).fit(X)
    assert search.best_params_["latent_dim"] in (2, 4)
    again = pickle.loads(pickle.dumps(pipeline))
    assert np.array_equal(again.transform(X), pipeline.transform(X))


#: checks that ask for what single precision does not promise
OTHERWISE = {
    "check_methods_subset_invariance",  # float32: the seventh digit depends on how many rows go through at once
}


def test_scikit_learns_own_checks():
    failed = {}
    e = GenerativeAutoencoder(epochs=1, latent_dim=1, components=2, random_state=0)
    for instance, check in estimator_checks_generator(e):
        name = check.func.__name__
        try:
            check(instance)
        except SkipTest:
            continue
        except Exception as error:  # collected, to be shown together
            failed[name] = f"{type(error).__name__}: {error}"[:200]
    assert not set(failed) - OTHERWISE, failed


@pytest.mark.parametrize(
    ("make", "X", "error", "message"),
    [
        (lambda: estimator(recipe="gan"), LAYOUTS["rows"], ValueError, "there is no recipe 'gan'"),
        (lambda: estimator(density="flow"), LAYOUTS["rows"], ValueError, "'flow'.*normal, gmm"),
        (lambda: estimator(options={"gamma": 1}), LAYOUTS["rows"], TypeError, "has no option gamma"),
        (lambda: estimator(latent_dim=65), LAYOUTS["rows"], ValueError, "has only 64 values"),
        (estimator, LAYOUTS["images"] * 2, ValueError, r"\[0, 1\]"),
        (estimator, np.full((20, 4), np.inf), ValueError, "infinity|infinite"),
        (estimator, np.zeros((20, 4)), ValueError, "identical"),
        (estimator, np.zeros((1, 4)), ValueError, "1 sample"),
    ],
)
def test_bad_input(make, X, error, message):
    with pytest.raises(error, match=message):
        make().fit(X)


def test_bad_input_after_fit():
    with pytest.raises(NotFittedError):
        estimator().transform(LAYOUTS["rows"])
    e = estimator().fit(LAYOUTS["images"])
    with pytest.raises(ValueError, match="was fitted to"):
        e.transform(LAYOUTS["bytes"])
    with pytest.raises(ValueError, match="but the codes have 4 dimensions"):
        e.inverse_transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="at least one sample"):
        e.sample(0)


def test_recipes_of_a_score_are_refused():
    with pytest.raises(ValueError, match=r"estimates a score .* use chartae.fit"):
        GenerativeAutoencoder(recipe="dae").fit(np.random.default_rng(0).normal(size=(50, 4)))
