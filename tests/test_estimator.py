from __future__ import annotations

import io
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone, is_classifier, is_clusterer
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from chartae import GenerativeAutoencoder
from chartae.recipes import DEFAULT, RECIPES

pytestmark = pytest.mark.usefixtures("float32")


def digits():
    return (load_digits().images / 16).astype(np.float32)


def estimator(**kwargs):
    settings = {"recipe": "rae-l2", "latent_dim": 4, "epochs": 1, "components": 3, "random_state": 0}
    return GenerativeAutoencoder(**settings | kwargs)


def small(**kwargs):
    return estimator(**{"latent_dim": 2} | kwargs)


LAYOUTS = {
    "images": digits(),
    "channels first": digits()[:, None],
    "channels last": np.repeat(digits()[..., None], 3, -1),
    "bytes": (digits() * 255).astype(np.uint8),
    "rows": digits().reshape(-1, 64),
    "rows of bytes": (digits() * 255).astype(np.uint8).reshape(-1, 64),
    "float64": digits().astype(np.float64),
    "levels": (digits() * 255).astype(np.int64),
    "truth values": digits() > 0.5,
    "rows of integers": (digits() * 16).astype(np.int32).reshape(-1, 64),
}

CORPUS = [f"{a}{op}{b}" for a in ("x", "1", "sin(x)") for op in "+*/" for b in ("x", "3", "exp(2)")]
#: a third number has no unit of the others
CLASSES = np.random.default_rng(0).integers(0, 3, 300)
TABLE = (3 * np.eye(3)[CLASSES] + 0.3 * np.random.default_rng(1).normal(size=(300, 3))) * [1, 100, 1e-3] + [0, 1e4, 0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_comes_out_looks_like_what_went_in(layout):
    X = LAYOUTS[layout]
    e = estimator(epochs=6).fit(X)
    Z = e.transform(X[:50])
    assert Z.shape == (50, 4)
    assert Z.dtype == np.float32
    for points, n in ((e.inverse_transform(Z), 50), (e.sample(7), 7)):
        assert points.shape == (n, *X.shape[1:])
        assert points.dtype == (np.float32 if X.dtype.kind == "f" else X.dtype)
    # what is reconstructed is nearer to its original than the mean of all
    error = np.square(e.inverse_transform(e.transform(X)) - X.astype(float)).mean()
    assert error < np.square(X.mean(0) - X.astype(float)).mean()
    scores = e.score_samples(X[:50])
    assert scores.shape == (50,)
    assert np.isfinite(scores).all()


def test_score_is_the_log_joint_at_the_code():
    X = LAYOUTS["rows"]
    e = estimator(density="normal", epochs=6, validation_fraction=0).fit(X)
    z = torch.from_numpy(e.transform(X[:5]))
    normal = e.run_.densities["normal"]
    sd = np.where(X.std(0) == 0, 1, X.std(0))
    with torch.no_grad():
        # sigma^2 = 1/2 in units of the columns' standard deviations; constant columns, which come back as they are,
        # are modelled too
        inside = e.run_.kind.inside(torch.from_numpy(X[:5]))
        error = (inside - e.run_.model.reconstruct(inside)).square().sum(1).numpy()
        expected = -error - 32 * np.log(np.pi) - np.log(sd).sum() + normal.log_prob(z).numpy()
    np.testing.assert_allclose(e.score_samples(X[:5]), expected, rtol=1e-4)
    assert e.score(X[:5]) == pytest.approx(expected.mean().item(), rel=1e-4)
    # noise is unusual
    noise = np.random.default_rng(0).uniform(size=(200, 64)).astype(np.float32)
    assert e.score(noise) < e.score(X) - 10
    # columns in other units: the same codes, and the density of the other units
    scaled = estimator(density="normal", epochs=6, validation_fraction=0).fit(X * 8)
    np.testing.assert_allclose(scaled.transform(X * 8), e.transform(X), atol=1e-3)
    moving = (X.std(0) > 0).sum()
    np.testing.assert_allclose(scaled.score_samples(X * 8), e.score_samples(X) - moving * np.log(8), atol=0.1)


def test_the_same_random_state_gives_the_same_numbers():
    X = LAYOUTS["images"]
    a, b, c = estimator().fit(X), estimator().fit(X), estimator(random_state=1).fit(X)
    assert np.array_equal(a.transform(X), b.transform(X))
    assert np.array_equal(a.sample(5), b.sample(5))
    assert not np.array_equal(a.transform(X), c.transform(X))


def test_what_the_seed_of_a_sample_decides():
    fixed, free, state = (small(random_state=s).fit(TABLE) for s in (0, None, np.random.RandomState(0)))
    for e in (fixed, free, state):
        draws = [e.sample(5, random_state=s) for s in (1, 1, 2, np.random.RandomState(2), np.random.RandomState(2))]
        assert np.array_equal(draws[0], draws[1])
        assert np.array_equal(draws[3], draws[4])
        assert not np.array_equal(draws[0], draws[2])
        assert not np.array_equal(draws[2], draws[3])
        # as in a GaussianMixture, a number is a seed for every call
        assert np.array_equal(e.sample(5), e.sample(5)) == (e is fixed)
    assert np.array_equal(fixed.sample(5), fixed.sample(5, random_state=0))


def test_scores_do_not_depend_on_the_precision_of_x_or_on_the_other_rows():
    X = TABLE.astype(np.float32)
    a, b = small().fit(X), small().fit(X.astype(np.float64))
    for method in ("transform", "score_samples"):
        assert np.array_equal(getattr(a, method)(X), getattr(b, method)(X.astype(np.float64)))
    assert np.array_equal(a.sample(5), b.sample(5))
    rows = np.concatenate([a.score_samples(X[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(rows, a.score_samples(X[:20]), rtol=1e-12)
    # further from the data is less typical
    mean, sd = X.mean(0), X.std(0)
    direction = np.random.default_rng(0).normal(size=3)
    away = mean + np.arange(3, 30, 3)[:, None] * sd * direction / np.linalg.norm(direction)
    assert (np.diff(a.score_samples(away)) < 0).all()


def test_few_rows_have_few_components():
    for n in (5, 9, 40):
        e = estimator(latent_dim=1, components=None, validation_fraction=0).fit(TABLE[:n])
        assert e.run_.densities["gmm"].components_ <= max(1, n // 5)
        assert np.isfinite(e.score_samples(TABLE[:n])).all()
    with pytest.raises(ValueError, match="there are 9 training examples; expected at least 10"):
        small(components=10, validation_fraction=0).fit(TABLE[:9])


def test_weights_of_the_rows():
    n = len(TABLE)
    weight = np.where(CLASSES == 0, 1.0, 0.0)
    e = small(epochs=20, components=1).fit(TABLE, weight=weight)
    # the density is that of the weighted rows, whichever are held out
    codes = e.transform(TABLE)
    density = e.run_.densities["gmm"].log_prob(torch.from_numpy(codes)).detach().numpy()
    assert density[CLASSES == 0].min() > np.median(density[CLASSES != 0])
    ones = small().fit(TABLE, weight=[2] * n)
    np.testing.assert_allclose(ones.transform(TABLE), small().fit(TABLE).transform(TABLE), atol=1e-5)
    piped = make_pipeline(StandardScaler(), small(epochs=1)).fit(TABLE, generativeautoencoder__weight=weight)
    assert piped.transform(TABLE).shape == (n, 2)
    for wrong in (weight[1:], -weight, weight * np.nan):
        with pytest.raises(ValueError, match="weight has .* expected 300, one for each example"):
            small().fit(TABLE, weight=wrong)


class OnlyKnown(pickle.Unpickler):
    """Reads a pickle that names no code but the estimator's own and NumPy's."""

    def find_class(self, module, name):
        assert module.startswith(("chartae.estimator", "numpy", "_codecs")), f"the pickle needs {module}.{name}"
        return super().find_class(module, name)


#: name -> settings, examples and y
PICKLED = {
    "table": ({}, TABLE, None),
    "images": ({}, LAYOUTS["bytes"][:200], None),
    "spectral norm": ({"recipe": "rae-sn", "density": "normal"}, TABLE, None),
    "several components": ({"recipe": "vae", "components": None}, TABLE, None),
    "critic": ({"recipe": "aae-cluster", "latent_dim": None, "options": {"clusters": 3}}, TABLE, None),
    "classes": ({"recipe": "aae-semisup", "latent_dim": None}, TABLE, CLASSES),
    "condition": ({"recipe": "vae", "condition": "labels"}, TABLE, np.stack([CLASSES, TABLE[:, 0]], 1)),
    "strings": ({"recipe": "grae", "options": {"grammar": "expressions"}}, CORPUS, None),
}


@pytest.mark.parametrize("name", PICKLED)
def test_a_pickle_holds_arrays_and_gives_the_same_numbers(name):
    settings, X, y = PICKLED[name]
    e = small(**settings).fit(X, y)
    blob = pickle.dumps(e)
    again = OnlyKnown(io.BytesIO(blob)).load()
    condition = (y,) if settings.get("condition") else ()
    calls = {
        "transform": (X, *condition), "score_samples": (X, *condition), "predict": (X, *condition),
        "sample": (len(X), *condition),
    }  # fmt: skip
    for method, arguments in calls.items():
        if hasattr(e, method):
            assert np.array_equal(getattr(again, method)(*arguments), getattr(e, method)(*arguments)), method
    assert again.get_params() == e.get_params()
    assert (again.run_.log, again.run_.kept) == (e.run_.log, e.run_.kept)
    # settings, log and names take a few kilobytes beside the weights, whatever the number of rows
    weights = sum(tensor.nbytes for tensor in e.run_.objective.state_dict().values())
    assert len(blob) < weights + 20_000


def test_a_pickle_does_not_grow_with_the_rows():
    sizes = [len(pickle.dumps(small().fit(np.tile(TABLE, (k, 1))))) for k in (1, 30)]
    assert abs(sizes[0] - sizes[1]) < 29 * TABLE.size / 4  # a sixteenth of the added rows; the log has more lines
    assert len(pickle.dumps(estimator())) < 1000


def test_another_process_reads_it(frame, tmp_path):
    e = make_pipeline(StandardScaler().set_output(transform="pandas"), small()).fit(frame)
    joblib.dump((e, frame), tmp_path / "e.joblib")
    code = (
        "import sys, joblib; e, X = joblib.load(sys.argv[1], mmap_mode='r'); "
        "joblib.dump((e.transform(X), e.score_samples(X), e[-1].sample(9)), sys.argv[2])"
    )
    command = [sys.executable, "-W", "error", "-c", code, tmp_path / "e.joblib", tmp_path / "out.joblib"]
    subprocess.run(command, check=True)
    Z, scores, drawn = joblib.load(tmp_path / "out.joblib")
    assert np.array_equal(Z, e.transform(frame))
    assert np.array_equal(scores, e.score_samples(frame))
    assert drawn.equals(e[-1].sample(9))


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


SIBLINGS = {
    "vae": {"recipe": "vae", "density": "normal"},
    "prior": {"density": "prior"},
    "clusters": {"recipe": "aae-cluster", "options": {"clusters": 2}},
    "implicit": {"recipe": "iae"},
}


@pytest.mark.parametrize("name", ["default", *(pytest.param(name, marks=pytest.mark.slow) for name in SIBLINGS)])
def test_scikit_learns_own_checks(name):
    check_estimator(GenerativeAutoencoder(epochs=2, **SIBLINGS.get(name, {})), on_skip=None)


@pytest.mark.parametrize(
    ("make", "X", "error", "message"),
    [
        (lambda: estimator(recipe="gan"), LAYOUTS["rows"], ValueError, "recipe is 'gan'"),
        (lambda: estimator(density="flow"), LAYOUTS["rows"], ValueError, "'flow'.*normal, gmm"),
        (lambda: estimator(options={"gamma": 1}), LAYOUTS["rows"], TypeError, "has no option gamma"),
        (lambda: estimator(latent_dim=65), LAYOUTS["rows"], ValueError, "has only 64 values"),
        (estimator, LAYOUTS["images"] * 2, ValueError, r"\[0, 1\]"),
        (estimator, np.full((20, 4), np.inf), ValueError, "infinity|infinite"),
        (estimator, np.zeros((20, 4)), ValueError, "identical"),
        (estimator, np.zeros((1, 4)), ValueError, "1 sample"),
        (estimator, np.where(TABLE > 3, np.nan, TABLE), ValueError, "Input X contains NaN"),
        (estimator, csr_array(TABLE), TypeError, "Sparse data was passed for X, but dense data is required"),
        (estimator, TABLE[:, 0], ValueError, "Expected 2D array, got 1D array"),
        (estimator, TABLE[:0], ValueError, r"0 sample\(s\)"),
        (estimator, TABLE + 1j, ValueError, "Complex data not supported"),
        (estimator, np.array([["a", 1.0], ["b", 2.0]], dtype=object), ValueError, "could not convert string to float"),
        (estimator, None, ValueError, "Expected 2D array, got scalar"),
        (estimator, [*CORPUS, None], ValueError, "row 27 is None .1 of 28 rows"),
        (lambda: estimator(epochs="a"), TABLE, ValueError, "epochs is 'a'; expected a whole number of at least 1"),
        (lambda: estimator(batch_size=0), TABLE, ValueError, "batch_size is 0"),
        (lambda: estimator(latent_dim=2.0), TABLE, ValueError, "latent_dim is 2.0"),
        (lambda: estimator(components=True), TABLE, ValueError, "components is True"),
        (lambda: estimator(density=None), TABLE, TypeError, "density is None; expected a name"),
        (lambda: estimator(options=3), TABLE, TypeError, "options is 3; expected a mapping"),
        (lambda: estimator(validation_fraction=1.5), TABLE, ValueError, "validation_fraction is 1.5"),
        (lambda: estimator(validation_fraction=None), TABLE, ValueError, "validation_fraction is None"),
        (lambda: estimator(random_state=-1), TABLE, ValueError, "Seed must be between 0"),
    ],
)
def test_bad_input(make, X, error, message):
    with pytest.raises(error, match=message):
        make().fit(X)


def test_bad_input_after_fit():
    with pytest.raises(NotFittedError):
        estimator().transform(LAYOUTS["rows"])
    e = estimator().fit(LAYOUTS["images"])
    with pytest.raises(ValueError, match="expected images of shape"):
        e.transform(LAYOUTS["rows"])
    with pytest.raises(ValueError, match="X has 49 features, but GenerativeAutoencoder is expecting 64"):
        e.transform(LAYOUTS["images"][:, :7, :7])
    with pytest.raises(ValueError, match=r"shape \(1, 4, 16\); expected shape \(1, 8, 8\)"):
        e.transform(LAYOUTS["images"].reshape(-1, 4, 16))
    with pytest.raises(ValueError, match="holds strings"):
        e.transform(CORPUS)
    with pytest.raises(TypeError, match="X is a str; expected an array, a data frame or a list of strings"):
        e.transform("digits")
    with pytest.raises(ValueError, match="but the codes have 4 dimensions"):
        e.inverse_transform(np.zeros((2, 3)))
    for wrong in (0, -1, 2.5, True, "a"):
        with pytest.raises(ValueError, match="n_samples is .*; expected a whole number of at least 1"):
            e.sample(wrong)
    with pytest.raises(ValueError, match="cannot be used to seed"):
        e.sample(1, random_state="a")


def test_every_layout_of_the_same_pictures_is_read_alike():
    X = LAYOUTS["bytes"]
    e = estimator().fit(X)
    Z = e.transform(X)
    np.testing.assert_allclose(e.transform(X[:, None] / np.float32(255)), Z, atol=1e-5)
    np.testing.assert_allclose(e.transform(torch.from_numpy(X)), Z, atol=1e-5)


def test_a_table_keeps_its_units():
    e = estimator(latent_dim=3, epochs=30, batch_size=32).fit(TABLE)
    mean, sd = TABLE.mean(0), TABLE.std(0)
    # in these units only a model of standardised columns learns the first and the last
    error = np.square((e.inverse_transform(e.transform(TABLE)) - TABLE) / sd).mean(0)
    assert (error < 0.5).all()
    drawn = e.sample(2000)
    assert (np.abs(drawn.mean(0) - mean) < 0.25 * sd).all()


@pytest.fixture(scope="module")
def frame():
    pandas = pytest.importorskip("pandas")
    columns = {"a": TABLE[:, 0], "n": TABLE[:, 1].astype(np.int64), "b": TABLE[:, 2] > 1e-3}
    return pandas.DataFrame(columns, index=[f"row {i}" for i in range(300)])


@pytest.fixture(scope="module")
def of_frame(frame):
    return small().fit(frame)


def test_data_frames_in_and_out(frame, of_frame):
    assert list(of_frame.feature_names_in_) == ["a", "n", "b"]
    pandas_out = clone(of_frame).set_output(transform="pandas")
    Z = pandas_out.fit_transform(frame)
    assert list(Z.columns) == list(of_frame.get_feature_names_out()) == list(pandas_out.get_feature_names_out())
    assert list(Z.index) == list(frame.index)
    assert np.array_equal(Z, of_frame.transform(frame))
    # codes in a data frame keep their rows
    for points, index in ((of_frame.inverse_transform(Z[5:9]), Z.index[5:9]), (of_frame.sample(4), range(4))):
        assert list(points.columns) == ["a", "n", "b"]
        assert list(points.dtypes) == list(frame.dtypes)
        assert list(points.index) == list(index)
    assert of_frame.transform(of_frame.inverse_transform(Z)).shape == (300, 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x.rename(columns={"a": "c"}), ValueError, "seen at fit time, yet now missing:\n- a"),
        (lambda x: x[["n", "a", "b"]], ValueError, "must be in the same order"),
        (lambda x: x[["a", "n"]], ValueError, "yet now missing:\n- b"),
        (lambda x: x.assign(c=1), ValueError, "unseen at fit time:\n- c"),
        (lambda x: x.assign(a=np.nan), ValueError, "300 missing values, the first in row 0, column 'a'"),
        (lambda x: x.assign(a=x["a"].where(x["a"] < 1)), ValueError, "missing values.*column 'a'"),
        (lambda x: x.assign(n=x["n"].astype("Int64").where(x["n"] > 1e4)), ValueError, "missing values.*column 'n'"),
        (lambda x: x.assign(a=np.inf), ValueError, "300 values of x .* infinite"),
        (lambda x: x.astype({"a": object}), TypeError, r"not numeric in column 'a' \(object\)"),
        (lambda x: x.assign(a="text"), TypeError, r"not numeric in column 'a' \(str\)|'a' \(object\)"),
        (lambda x: x.astype({"b": "category"}), TypeError, r"not numeric in column 'b' \(category\)"),
        (lambda x: x["a"], ValueError, "Expected a 2-dimensional container"),
        (lambda x: x[:0], ValueError, "x is empty"),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_other_data_frames(frame, of_frame, change, error, message):
    for method in (of_frame.transform, of_frame.score_samples):
        with pytest.raises(error, match=message):
            method(change(frame))


def test_tables_of_the_other_type_are_read_with_scikit_learns_warning(frame, of_frame):
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        codes = of_frame.transform(frame.to_numpy(np.float64))
    assert np.array_equal(codes, of_frame.transform(frame))
    array = small().fit(frame.to_numpy(np.float64))
    with pytest.warns(UserWarning, match="X has feature names, but GenerativeAutoencoder was fitted without"):
        assert np.array_equal(array.transform(frame), codes)


def test_columns_that_are_numbers_are_taken_by_name(frame):
    numbered = frame.set_axis([10, 20, 30], axis=1)
    e = small().fit(numbered)
    assert np.array_equal(e.transform(numbered[[30, 10, 20]]), e.transform(numbered))
    assert list(e.sample(2).columns) == [10, 20, 30]


#: name -> a composition of estimators, and the columns that it gives
COMPOSED = {
    "pipeline": (lambda e: make_pipeline(StandardScaler(), e), ["generativeautoencoder0", "generativeautoencoder1"]),
    "union": (
        lambda e: FeatureUnion([("ae", e), ("scaled", StandardScaler())]),
        ["ae__generativeautoencoder0", "ae__generativeautoencoder1", "scaled__a", "scaled__n", "scaled__b"],
    ),
    "columns": (
        lambda e: ColumnTransformer([("ae", e, ["n", "a"]), ("rest", "passthrough", ["b"])]),
        ["ae__generativeautoencoder0", "ae__generativeautoencoder1", "rest__b"],
    ),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_with_other_transformers(name, frame):
    compose, columns = COMPOSED[name]
    composed = compose(small()).set_output(transform="pandas")
    Z = composed.fit_transform(frame)
    assert list(Z.columns) == columns
    assert list(Z.index) == list(frame.index)
    assert np.array_equal(composed.transform(frame), Z)
    assert np.isfinite(Z.astype(float)).all(axis=None)


def test_searches_and_cross_validation(frame, tmp_path):
    scores = cross_val_score(small(density="normal"), TABLE, cv=3)
    assert np.isfinite(scores).all()
    # numbers of an array are NumPy's, and a run with them can be saved
    grid = {"latent_dim": np.arange(1, 3), "components": np.arange(2, 3), "epochs": np.arange(1, 2)}
    search = GridSearchCV(estimator(), grid, cv=2).fit(frame)
    assert search.best_params_["latent_dim"] == search.best_estimator_.run_.settings.latent_dim
    assert search.best_estimator_.sample(3).shape == (3, 3)
    search.best_estimator_.run_.save(tmp_path / "run")


@pytest.mark.slow
def test_a_search_in_two_processes_gives_the_same_numbers():
    grid = {"latent_dim": [1, 2], "density": ["normal", "prior"]}
    results = [
        GridSearchCV(estimator(), grid, cv=2, n_jobs=jobs, error_score="raise").fit(TABLE).cv_results_
        for jobs in (1, 2)
    ]
    assert np.array_equal(results[0]["mean_test_score"], results[1]["mean_test_score"])


def test_strings():
    e = clone(estimator(recipe="grae", latent_dim=5, options={"grammar": "expressions", "beta": 0.2})).fit(CORPUS)
    codes = e.transform(CORPUS)
    assert codes.shape == (len(CORPUS), 5)
    assert e.run_.settings.options == {"beta": 0.2}
    for strings, n in ((e.inverse_transform(codes), len(CORPUS)), (e.sample(4), 4)):
        assert len(strings) == n
        assert all(isinstance(s, str) for s in strings)
    # an array, or the column of a data frame that a ColumnTransformer selects
    for column in (np.array(CORPUS[:2]), np.array(CORPUS[:2], dtype=object)[:, None]):
        np.testing.assert_allclose(e.transform(column), codes[:2], atol=1e-5)
    assert list(e.get_feature_names_out()) == [f"generativeautoencoder{i}" for i in range(5)]
    assert e.score_samples(CORPUS[:3]).shape == (3,)
    assert e.score(CORPUS) == pytest.approx(e.score_samples(CORPUS).mean())
    with pytest.raises(ValueError, match="strings"):
        e.transform([[1.0, 2.0]])
    with pytest.raises(ValueError, match="strings needs? a grammar"):
        estimator(recipe="grae").fit(CORPUS)
    with pytest.raises(ValueError, match="expected strings: a list of them"):
        estimator(recipe="grae", options={"grammar": "expressions"}).fit(TABLE)
    with pytest.raises(ValueError, match="expected images or table rows"):
        estimator().fit(CORPUS)
    # the record knows the codec of those that read characters
    assert estimator(recipe="cvae", latent_dim=5).fit(CORPUS).transform(CORPUS[:2]).shape == (2, 5)


@pytest.mark.slow
def test_conditional():
    names = np.array(["a", "b", "c"])[CLASSES]
    settings = {"recipe": "rae", "latent_dim": 1, "epochs": 40, "batch_size": 32, "components": 1, "lr": 5e-3}
    e = estimator(**settings, condition="labels").fit(TABLE, names)
    mean = np.stack([TABLE[names == name].mean(0) for name in "abc"])
    sd = TABLE.std(0)
    for k, name in enumerate("abc"):
        drawn = e.sample(200, y=name)
        nearest = (np.abs((drawn[:, None] - mean) / sd).sum(-1)).argmin(1)
        assert (nearest == k).mean() > 0.95
    each = e.sample(6, y=["a", "b", "c"] * 2)
    assert (np.abs((each[:, None] - mean) / sd).sum(-1).argmin(1) == [0, 1, 2] * 2).all()
    Z = e.transform(TABLE, names)
    assert Z.shape == (300, 1)
    np.testing.assert_allclose(e.transform(TABLE[:5], names[:5]), Z[:5], atol=1e-5)
    error = np.square((e.inverse_transform(Z, names) - TABLE) / sd).mean()
    assert error < 0.2
    # examples are more usual under their own class
    wrong = np.array(["b", "c", "a"])[CLASSES]
    assert e.score(TABLE, names) > e.score(TABLE, wrong) + 5
    assert e.score_samples(TABLE, names).shape == (300,)
    fitted = clone(e).set_params(epochs=1, condition=True)
    assert np.array_equal(fitted.fit_transform(TABLE, names), fitted.transform(TABLE, names))


def test_conditions_of_several_columns():
    y = np.stack([CLASSES, TABLE[:, 0]], 1)
    e = estimator(recipe="vae", latent_dim=1, density="prior", condition="labels").fit(TABLE, y)
    assert e.run_.condition.size == 2
    assert e.sample(4, y=[[1, 0.5]] * 4).shape == (4, 3)


def test_what_is_wrong_with_y():
    e = estimator(latent_dim=1, components=1, condition="labels").fit(TABLE, CLASSES)
    calls = {
        "y is missing, but the estimator is conditioned on condition": [
            lambda: e.transform(TABLE), lambda: e.sample(3), lambda: e.inverse_transform(np.zeros((2, 1))),
            lambda: e.score(TABLE), lambda: e.score_samples(TABLE),
        ],
        "expected a class": [lambda: e.sample(3, y=7)],
        "has 2 values; expected one for all 3 rows": [lambda: e.sample(3, y=[0, 1])],
        "has 5 values": [lambda: clone(e).fit(TABLE, CLASSES[:5])],
        "give y, the condition of each example": [lambda: clone(e).fit(TABLE)],
        "condition is 'age'; expected 'labels' or True": [lambda: estimator(condition="age").fit(TABLE, CLASSES)],
        "learns from y itself": [lambda: estimator(recipe="aae-semisup", condition="labels").fit(TABLE, CLASSES)],
        "n_samples is 0": [lambda: e.sample(0, y=1)],
    }  # fmt: skip
    for message, functions in calls.items():
        for call in functions:
            with pytest.raises(ValueError, match=message):
                call()
    plain = estimator(latent_dim=1, components=1).fit(TABLE, CLASSES)  # y is ignored
    assert np.array_equal(plain.transform(TABLE), clone(plain).fit_transform(TABLE, CLASSES))
    assert plain.score(TABLE, CLASSES) == plain.score(TABLE)
    for call in (lambda: plain.transform(TABLE, CLASSES), lambda: plain.sample(3, y=1)):
        with pytest.raises(ValueError, match="this estimator has no condition; set condition='labels'"):
            call()


def test_what_a_recipe_can_do_is_known_before_fit():
    for name in RECIPES:
        e = GenerativeAutoencoder(name, options={})
        implicit = name.startswith(("iae", "ali"))
        clusters, classes = name.endswith("-cluster"), name.endswith("-semisup")
        assert hasattr(e, "predict") == (clusters or classes)
        assert hasattr(e, "score_samples") == (not implicit)
        assert hasattr(e, "score") == (not implicit or classes)
        assert (is_clusterer(e), is_classifier(e)) == (clusters, classes)
        assert e.__sklearn_tags__().target_tags.required == classes
    assert GenerativeAutoencoder().recipe == DEFAULT
    assert GenerativeAutoencoder(condition="labels").__sklearn_tags__().target_tags.required
    # options count, and what cannot be built can do nothing
    assert is_clusterer(estimator(recipe="iae-cluster", options={"clusters": 4}))
    for e in (estimator(recipe="gan"), estimator(recipe="iae-cluster", options={"beta": 1})):
        assert not hasattr(e, "predict")
        assert not is_clusterer(e)
    # a fitted one is what it was fitted as
    e = estimator(recipe="iae-cluster", latent_dim=None, options={"clusters": 3}).fit(TABLE)
    assert set(e.predict(TABLE)) <= {0, 1, 2}
    assert e.sample(4).shape == (4, 3)
    e.set_params(recipe="rae", options=None)
    assert hasattr(e, "predict")


def test_recipes_of_a_score_are_refused():
    with pytest.raises(ValueError, match=r"estimates a score .* use chartae.fit"):
        GenerativeAutoencoder(recipe="dae").fit(np.random.default_rng(0).normal(size=(50, 4)))
    with pytest.raises(ValueError, match="translates between two domains"):
        GenerativeAutoencoder(recipe="iae-translate").fit(np.random.default_rng(0).normal(size=(50, 4)))
