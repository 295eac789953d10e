from __future__ import annotations

import csv
import dataclasses
import json
import math
import warnings
from inspect import signature
from types import SimpleNamespace

import pytest
import torch

import chartae
import objective_cases
from chartae import cli, densities, optimise
from chartae.optimise import Region, Row, Scored, entry
from chartae.optimise.acquisition import region_batch
from chartae.optimise.surrogates import quietly
from chartae.records import manifest
from chartae.records.verification import verify

D = 4
TARGET = torch.tensor([0.6, -0.4, 0.5, 0.7])


def decode(z, draws=1, seed=0):
    return [[" ".join(f"{v:.3f}" for v in row.tolist())] * draws for row in z]


def closeness(string):
    return -sum((float(v) - t) ** 2 for v, t in zip(string.split(), TARGET.tolist(), strict=True))


def world(n=60, seed=0):
    codes = 0.3 * torch.randn(n, D, generator=torch.Generator().manual_seed(seed))
    return codes, torch.tensor([closeness(s[0]) for s in decode(codes)])


def searched(codes, scores, decode_with=decode, score=closeness, **settings):
    plain = {"rounds": 3, "batch": 5, "keep": 60, "candidates": 200, "fit": {"iterations": 15}} | settings
    return optimise.search(codes, scores, decode_with, score, **plain)


# --- surrogates


def test_the_sparse_process_beats_the_trivial_predictor():
    z = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    y = (2 * z[:, 0]).sin() + 0.5 * z[:, 1] + 3
    found = optimise.evaluate_surrogate(z, y, kind="sparse", inducing=40, steps=80, batch_size=200)
    assert found["rmse"] < 0.4 * found["trivial_rmse"]
    assert found["log_likelihood"] > found["trivial_log_likelihood"] + 0.5
    assert (found["train"], found["test"]) == (540, 60)


@pytest.mark.parametrize("kind", ["exact", "sparse"])
def test_a_surrogate_is_a_posterior(kind):
    z = torch.rand(80, 2, generator=torch.Generator().manual_seed(0))
    y = (4 * z).sin().sum(1)
    model = optimise.fit_surrogate(z, y, kind=kind, inducing=30, steps=100)
    mean, sd = model.predict(z)
    assert (mean - y).square().mean().sqrt() < 0.15
    assert (model.predict(z + 30)[1] > 1.2 * sd.max()).all(), "far from the data nothing is known"
    x = torch.rand(7, 2)
    moments, joint = model.moments(x), model.joint(x)
    assert torch.allclose(moments[0], joint[0])
    assert torch.allclose(moments[1], (joint[1] @ joint[1].mT).diagonal(), atol=1e-5)
    held = model.moments(x, x[:3])
    assert torch.allclose(held[0], moments[0])
    assert (held[1][:3] < 1e-3).all(), "a believed code is known"
    assert (held[1] <= moments[1] + 1e-9).all()


def test_a_surrogate_of_equal_scores_and_flat_codes():
    z = torch.rand(20, 3)
    z[:, 1] = 2.0
    mean, sd = optimise.fit_surrogate(z, torch.ones(20)).predict(z)
    assert torch.allclose(mean, torch.ones(20), atol=1e-3)
    assert sd.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "deep"}, "expected one of auto"),
        ({"scores": torch.ones(9)}, r"expected \(10,\), one for each code"),
        ({"scores": torch.tensor([1.0, math.nan] * 5)}, r"5 of 10 scores are not finite \(first: row 1\)"),
        ({"codes": torch.full((10, 2), math.inf)}, "not finite"),
        ({"inducing": 0}, "inducing is 0"),
    ],
)
def test_surrogates_refuse(change, message):
    given = {"codes": torch.rand(10, 2), "scores": torch.rand(10)} | change
    with pytest.raises(ValueError, match=message):
        optimise.fit_surrogate(given.pop("codes"), given.pop("scores"), **given)


def test_judging_needs_both_parts():
    with pytest.raises(ValueError, match="holds out 10 of 10 codes"):
        optimise.evaluate_surrogate(torch.rand(10, 2), torch.rand(10), share=1.0)


def test_notes_on_numerics_are_answered_and_others_pass(recwarn):
    from botorch.exceptions.warnings import OptimizationWarning

    with quietly(0):  # BoTorch's own first import may say something
        pass
    recwarn.clear()
    warnings.simplefilter("always")
    with quietly(0), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("ABNORMAL", OptimizationWarning)
        warnings.warn("something else", UserWarning)
    assert [str(w.message) for w in recwarn] == ["something else"]


# --- weights


def test_rank_weights_in_closed_form():
    w = optimise.rank_weights([5.0, 7.0, 1.0], k=0.5)
    expected = torch.tensor([1 / 2.5, 1 / 1.5, 1 / 3.5])
    assert torch.allclose(w, expected / expected.sum())
    assert torch.allclose(optimise.rank_weights(torch.randn(50), k=1e9), torch.full((50,), 1 / 50))
    assert optimise.rank_weights([0.0, 1.0], k=1e-12)[1] > 0.999
    for scores, k in (([], 1.0), ([math.nan], 1.0), ([1.0], 0.0)):
        with pytest.raises(ValueError, match="expected"):
            optimise.rank_weights(scores, k)


# --- the trust region's rule


def test_a_region_grows_shrinks_and_begins_again():
    r = Region()
    for _ in range(3):
        r = r.after(True, dimension=10, batch=5)
    assert r == Region(1.6)
    r = r.after(False, dimension=10, batch=5)
    assert r == Region(1.6, failures=1)
    assert r.after(False, dimension=10, batch=5) == Region(0.8)
    assert Region(0.01).after(False, dimension=4, batch=5) == Region(restarts=1)


def test_half_of_the_candidates_lie_on_ways_between_codes():
    codes, scores = world()
    model = optimise.fit_surrogate(codes, scores, kind="exact", iterations=5)
    begin, end = torch.full((1, D), -0.5).double(), torch.full((3, D), 0.5).double()
    seen, new = [], 10

    def fresh(z):
        seen.append(z)
        return torch.arange(len(z)) < new

    centre = codes[0].double()
    settings = {"centre": centre, "side": 0.2, "candidates": 100, "fresh": fresh}

    def shares(z, start):
        part = (z - start) / (end[0] - start)
        assert torch.allclose(part, part[:, :1].expand_as(part))
        assert 0 <= float(part.min()) < float(part.max()) <= 0.2 + 1e-9

    found = region_batch(model, 7, torch.Generator().manual_seed(0), ways=(begin, end), **settings)
    assert found.shape == (7, D)
    assert len(seen) == 1  # a tenth of the candidates is enough
    shares(seen[0][:50], centre)
    off = seen[0][50:]
    region_batch(model, 7, torch.Generator().manual_seed(0), **settings)
    assert torch.equal(seen[1][50:], off)  # the region is the same without
    new = 9
    region_batch(model, 7, torch.Generator().manual_seed(0), ways=(begin, end), **settings)
    assert len(seen) == 4
    assert torch.equal(seen[2], seen[0])
    shares(seen[3][:50], begin)  # then from any good code
    new = 0
    region_batch(model, 7, torch.Generator().manual_seed(0), ways=(begin, end), **settings)
    assert len(seen) == 4 + 5  # and then at 0.4, 0.8, 1.6 times the box


# --- scores


@pytest.mark.slow
def test_whatever_an_objective_does_the_rest_goes_on():
    words = ["raise", "nan", "fine", "none", "word", "die", "sleep", "", "fine", "longer"]
    found = dict(zip(words, optimise.score_strings(words, objective_cases.bad, workers=2, timeout=2.0), strict=True))
    assert found["fine"] == Scored(4.0)
    assert found["longer"] == Scored(6.0)
    assert found[""] == Scored(0.0)
    errors = {word: f.error for word, f in found.items() if f.score is None}
    assert errors == {
        "raise": "RuntimeError: no such thing",
        "nan": "the score is nan",
        "none": "the score is None",
        "word": "the score is 'high', not a number",
        "die": "its process ended with exit code 3",
        "sleep": "no score within 2 s",
    }


def test_a_string_is_scored_once():
    calls = []
    found = optimise.score_strings(["a", "b", "a"], lambda s: calls.append(s) or 1.0)
    assert calls == ["a", "b"]
    assert len(found) == 3


def test_scoring_refuses():
    with pytest.raises(ValueError, match="workers=1"):
        optimise.score_strings(["a"], lambda s: 1.0, workers=2)
    with pytest.raises(ValueError, match="workers is 0"):
        optimise.score_strings(["a"], len, workers=0)
    with pytest.raises(ValueError, match="timeout is -1"):
        optimise.score_strings(["a"], len, timeout=-1)
    with pytest.raises(TypeError, match="expected a function"):
        optimise.score_strings(["a"], "length")  # type: ignore[arg-type]


# --- the search


def test_a_trust_region_beats_random_search():
    codes, scores = world()
    found = searched(codes, scores, rounds=5, batch=5)
    edges = codes.amin(0), codes.amax(0)
    at_random = edges[0] + (edges[1] - edges[0]) * torch.rand(25, D, generator=torch.Generator().manual_seed(1))
    luck = max(closeness(s[0]) for s in decode(at_random))
    # what can be had within the box
    possible = -float((TARGET - TARGET.clamp(*edges)).square().sum())
    assert possible - found.best_new.score < 0.2 * (possible - max(luck, float(scores.max())))
    assert found.valid == 1.0
    assert [row.index for row in found.rows] == list(range(25))


def test_a_resumed_search_is_the_uninterrupted_one(tmp_path):
    codes, scores = world()
    whole = searched(codes, scores, folder=tmp_path / "a", rounds=3)
    searched(codes, scores, folder=tmp_path / "b", rounds=1)
    lines = []
    resumed = searched(codes, scores, folder=tmp_path / "b", rounds=3, resume=True, say=lines.append)
    assert resumed == whole
    assert len(lines) == 2
    assert (tmp_path / "a" / "state.json").read_text() == (tmp_path / "b" / "state.json").read_text()
    assert searched(codes, scores, folder=tmp_path / "b", rounds=3, resume=True) == whole
    assert searched(codes, scores, rounds=3, seed=1) != whole


def test_resuming_refuses_what_has_changed(tmp_path):
    codes, scores = world()
    searched(codes, scores, folder=tmp_path, rounds=1)
    with pytest.raises(ValueError, match="batch is 6; expected 5, as in the search"):
        searched(codes, scores, folder=tmp_path, resume=True, batch=6)
    with pytest.raises(ValueError, match="data is "):
        searched(codes, scores + 1, folder=tmp_path, resume=True)
    with pytest.raises(FileExistsError, match="Set resume or overwrite"):
        searched(codes, scores, folder=tmp_path)
    lines = []
    begun = searched(codes, scores, folder=tmp_path / "none", resume=True, rounds=1, say=lines.append)
    assert begun == searched(codes, scores, rounds=1)  # a job script is simply run again
    assert lines[0].endswith("holds no search yet, so it starts anew")
    (tmp_path / "state.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match="is damaged"):
        searched(codes, scores, folder=tmp_path, resume=True)


def test_nothing_is_proposed_outside_the_support():
    codes, scores = world(200)
    density = densities.Normal().fit(codes)
    least = density.log_prob(codes).quantile(0.1)
    seen = []
    for method in optimise.METHODS:
        spy = lambda z, draws, seed: seen.append(z) or decode(z)  # noqa: E731
        searched(
            codes, scores, spy, method=method, density=density, support=0.1, rounds=2, starts=200, surrogate="exact"
        )
    assert (density.log_prob(torch.cat(seen)) >= least).all()
    assert sum(map(len, seen)) >= 20
    free = []
    searched(codes, scores, lambda z, draws, seed: free.append(z) or decode(z))
    assert (density.log_prob(torch.cat(free)) < least).any(), "without a density the search leaves the support"


@pytest.mark.slow
def test_the_papers_box():
    codes, scores = world(200)
    seen = []
    spy = lambda z, draws, seed: seen.append(z) or decode(z)  # noqa: E731
    small = {"inducing": 30, "steps": 60, "batch_size": 100}
    found = searched(codes, scores, spy, method="box", surrogate="sparse", starts=300, fit=small, rounds=2, batch=4)
    assert [z.shape for z in seen] == [(4, D), (4, D)]
    z = torch.cat(seen)
    assert (z >= codes.amin(0) - 1e-9).all()
    assert (z <= codes.amax(0) + 1e-9).all()
    assert torch.pdist(seen[0]).min() > 1e-3, "believing the mean keeps a batch apart"
    assert found.best_new.score > float(scores.max())


def test_invalid_strings_count_as_the_worst_and_duplicates_are_free():
    codes, scores = world()
    calls = []

    def score(string):
        calls.append(string)
        if string == "bad":
            raise ValueError("bad")
        return 1.0

    answers = [["", None], ["bad", "good", "bad"], ["good"], ["bad"], ["good", "good"]]
    found = searched(codes, scores, lambda z, draws, seed: answers, score, rounds=2, draws=3, method="box")
    assert calls == ["bad", "good"]
    assert [r.string for r in found.rows[:5]] == ["", "good", "good", "bad", "good"]
    assert [r.valid for r in found.rows[:5]] == [False, True, True, False, True]
    assert found.rows[3].error == "ValueError: bad"
    assert found.valid == 0.6
    assert found.unique == pytest.approx(1 / 6)
    assert found.mean == 1.0


def test_a_round_is_not_spent_on_strings_that_are_known():
    """A decoder that gives whole neighbourhoods one string: all that a trust region evaluates is new, once each."""
    codes, scores = world()
    coarse = lambda z, draws, seed: [[" ".join(f"{v:.1f}" for v in row.tolist())] * draws for row in z]  # noqa: E731
    strings = [s for [s] in coarse(codes, 1, 0)]
    found = searched(codes, scores, coarse, strings=strings, rounds=3)
    texts = [r.string for r in found.rows]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set(strings)
    assert found.novel == 1
    with pytest.raises(ArithmeticError, match="decode to a new string"):
        searched(codes, scores, lambda z, draws, seed: [["one"]] * len(z), strings=strings[:-1] + ["one"])
    lines = []
    ended = searched(codes, scores, lambda z, draws, seed: [["one"]] * len(z), score=lambda s: 9.0, say=lines.append)
    assert [row.string for row in ended.rows if row.round == 1] == ["one"]
    assert max(row.round for row in ended.rows) == 1
    assert "round 2 has no candidates" in lines[-1]


def always(*answers):
    """A decoder with the same strings for every code."""
    return lambda z, draws, seed: [list(answers)] * len(z)


def test_what_is_known_is_neither_scored_nor_found():
    """A decoder that mostly writes strings of the data, some of them in another way."""
    codes, scores = world()
    strings = [s for [s] in decode(codes)]
    calls = []

    def score(string):
        calls.append(string)
        return 1.0 if string == "new" else 9.0

    texts = [strings[0], " ".join(strings[1]), "held out", "new", "n e w"]
    answers = [[text] for text in texts]
    plain = {
        "strings": strings,
        "known": optimise.Known(["heldout"]),
        "rounds": 1,
        "method": "box",
        "batch": 5,
        "starts": 50,
    }
    found = searched(codes, scores, lambda z, draws, seed: answers, score, **plain)
    assert calls == ["new"]
    assert [row.known for row in found.rows] == [True, True, True, False, False]
    assert [row.score for row in found.rows[:3]] == [float(scores[0]), float(scores[1]), None]
    assert [row.string for row in found.rows] == [*texts[:4], "new"]
    assert found.best_new.string == "new"
    assert [row.string for row in found.best()] == ["new"]
    assert (found.valid, found.novel, found.known) == (1.0, 0.25, len({*strings}) + 1)
    # the most frequent string is known, and a rarer one is not
    lucky = searched(codes, scores, always(strings[0], strings[0], "new"), score, **plain | {"batch": 1, "draws": 3})
    assert [row.string for row in lucky.rows] == ["new"]
    assert calls == ["new", "new"]
    # nothing is found where all is known, and the next round learns from what is
    nothing = searched(codes, scores, always("held out"), score, **plain | {"rounds": 2})
    assert nothing.best_new is None
    assert nothing.curve() == []
    assert nothing.summary()["rounds"][0]["best"] is None
    assert len(nothing.rows) == 10
    assert calls == ["new", "new"]


def test_molecules_are_compared_as_molecules():
    codes, scores = world(20)
    calls = []
    score = lambda string: calls.append(string) or float(len(string))  # noqa: E731
    answers = [["OCC"], ["C(C)N"], ["NCC"], ["C("], ["CCCl"]]
    plain = {"known": optimise.Known(["CCO"], optimise.as_molecules), "rounds": 1, "method": "box", "starts": 50}
    found = searched(codes, scores, lambda z, draws, seed: answers, score, **plain)
    assert calls == ["C(C)N", "C(", "CCCl"]
    assert [row.string for row in found.rows] == ["OCC", "C(C)N", "C(C)N", "C(", "CCCl"]
    assert found.rows[0].known


def test_searches_without_a_surrogate_have_the_same_budget():
    grammar = chartae.grammar.load("expressions")
    strings = ["x+1", "x*x", "sin(x)+2", "x/3", "x+sin(x)", "exp(x)"]
    score = optimise.goal("expression-fit")
    scores = [score(s) for s in strings]
    plain = {"calls": 60, "batch": 25, "known": optimise.Known(["1/2+x"]), "seed": 1}
    found = optimise.evolve(grammar, strings, scores, score, population=6, **plain)
    assert len(found.rows) == len(found.calls) == len({row.string for row in found.rows}) == 60
    assert not {row.string for row in found.rows} & {*strings, "1/2+x"}
    assert [row.round for row in found.rows] == [1] * 25 + [2] * 25 + [3] * 10
    assert (grammar.encode([row.string for row in found.rows]).lengths <= grammar.encode(strings).lengths.max()).all()
    assert found.best_new.score == min(found.calls) < found.best_known
    assert not found.maximise
    again = optimise.evolve(grammar, strings, scores, score, population=6, **plain)
    assert again == found
    assert optimise.evolve(grammar, strings, scores, score, population=6, **plain | {"seed": 2}) != found
    # crossover alone leaves a population of one string nothing to exchange
    assert not optimise.evolve(grammar, ["x"], [1.0], score, population=2, mutation=0.0, **plain).rows
    # draws that are known or invalid cost nothing
    draws = iter([["x+1", "", "1/2 + x"], ["x", "x", "2"], ["3"]] + [["x"]] * 10**5)
    drawn = optimise.random_search(lambda n, seed: next(draws), strings, scores, score, **plain | {"calls": 3})
    assert [row.string for row in drawn.rows] == ["x", "2", "3"]
    for change, message in (
        ({"calls": 0}, "calls is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"mutation": 2.0}, "mutation 2"),
    ):
        with pytest.raises(ValueError, match=message):
            optimise.evolve(grammar, strings, scores, score, **plain | change)
    with pytest.raises(ValueError, match="strings is empty"):
        optimise.random_search(lambda n, seed: ["x"], [], [], score)


def test_the_curve_and_its_area():
    def history(*calls, maximise=False):
        return optimise.History((), worst=4.0, best_known=0.0, maximise=maximise, calls=calls)

    assert history(None, 3.0, 5.0, None, 1.0).curve() == [None, 3.0, 3.0, 3.0, 1.0]
    assert history(2.0, 3.0, maximise=True).curve() == [2.0, 3.0]
    assert history(None, 3.0, 5.0, None, 1.0).area(5) == pytest.approx((4 + 3 + 3 + 3 + 1) / 5)
    assert history(None, 3.0, 5.0, None, 1.0).area(2) == pytest.approx((4 + 3) / 2)
    assert history(2.0, 1.0).area(4) == pytest.approx((2 + 1 + 1 + 1) / 4)
    assert history().area(3) == 4.0
    assert history(2.0, None).flipped().curve() == [-2.0, -2.0]
    with pytest.raises(ValueError, match="calls is 0"):
        history(2.0).area(0)


def test_the_whole_file_is_known(tmp_path):
    """Strings that the split, the limit or the user's own list leave out are known to the search."""
    strings = [f"{a}{op}{b}" for a in ("x", "1", "2", "sin(x)") for op in "+*/" for b in ("x", "3", "(x*x)")]
    path = tmp_path / "strings.txt"
    path.write_text("\n".join(s.replace("+", " + ") for s in strings) + "\n")
    data = chartae.data.from_strings(path, "expressions", limit=30)
    known = entry.strings_of(data)
    assert {"".join(s.split()) for s in known} == set(strings)
    run = chartae.fit("grae", data, net="gru:8", latent_dim=2, epochs=1, densities=("normal",), progress=False)
    plain = {"rounds": 1, "batch": 20, "method": "box", "draws": 10, "starts": 50, "surrogate": "exact"}
    plain |= {"fit": {"iterations": 5}, "density": "none"}
    made = optimise.optimise(run, "expression-fit", out=tmp_path / "s", data=data, known=["x+x+x"], **plain)
    assert made.known == len(strings) + 1
    assert {row.string for row in made.rows if row.new}.isdisjoint(strings)


def test_the_best_may_be_hidden(tmp_path, fake_run):
    run, settings = fake_run, {"objective": "expression-fit", "rounds": 1, "batch": 3, "candidates": 100}
    told = optimise.optimise(run, out=tmp_path / "a", **settings)
    hidden = optimise.optimise(run, out=tmp_path / "b", hide=0.5, **settings)
    assert hidden.best_known > told.best_known
    with pytest.raises(ValueError, match="hide is 1"):
        optimise.optimise(run, out=tmp_path / "c", hide=1.0, **settings)
    with pytest.raises(ValueError, match="explore is -1"):
        searched(*world(), explore=-1.0)


def test_all_that_fails_is_reported():
    codes, scores = world()
    found = searched(codes, scores, score=lambda s: None, rounds=2)
    assert found.best() == []
    assert found.valid == 0.0
    assert found.summary()["best_new"] is None
    assert found.summary()["mean"] is None
    json.dumps(found.summary(), allow_nan=False)


def test_retraining_between_rounds(tmp_path):
    codes, scores = world()
    strings = [s[0] for s in decode(codes)]
    seen = []

    def retrain(number, every, values, weights):
        seen.append((number, len(every)))
        assert weights.argmax() == values.argmax()
        again = torch.tensor([[float(v) / 2 for v in s.split()] for s in every])
        return lambda z, draws, seed: decode(2 * z), again, values

    settings = {"strings": strings, "retrain": retrain}
    whole = searched(codes, scores, folder=tmp_path / "a", **settings)
    assert [n for n, _ in seen] == [1, 2]
    assert seen[1][1] > seen[0][1] > len(strings)
    assert whole.best_new.score > float(scores.max())
    assert whole.novel == 1.0
    searched(codes, scores, folder=tmp_path / "b", rounds=2, **settings)
    assert searched(codes, scores, folder=tmp_path / "b", resume=True, **settings) == whole
    with pytest.raises(ValueError, match="Pass strings="):
        searched(codes, scores, retrain=retrain)
    with pytest.raises(ValueError, match="retrain returned no density"):
        searched(codes, scores, density=densities.Normal().fit(codes), **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "grid"}, "method is 'grid'; expected one of trust-region, box"),
        ({"surrogate": "forest"}, "surrogate is 'forest'"),
        ({"rounds": 0}, "rounds is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"draws": 0}, "draws is 0"),
        ({"keep": 1}, "keep is 1"),
        ({"support": 1.0}, "support is 1.0"),
        ({"floor": -0.1}, "floor is -0.1"),
        ({"spares": -1}, "spares is -1"),
        ({"side": 0.0}, "side is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"k": 0.0}, "k is 0"),
        ({"timeout": math.nan}, "timeout is nan"),
        ({"fit": {"iteration": 5}}, "fit has unknown settings iteration; choose from inducing"),
        ({"fit": {"lr": 0.0}}, "lr is 0"),
        ({"strings": ["a"]}, "strings has 1 strings for 60 codes"),
        ({"workers": 2}, "workers=1"),
    ],
)
def test_searches_refuse(change, message):
    with pytest.raises(ValueError, match=message):
        searched(*world(), score=lambda s: 1.0, **change)


def test_settings_are_one_object_and_its_fields_are_keywords(tmp_path, fake_run):
    fields = [field.name for field in dataclasses.fields(optimise.Search)]
    listed = list(signature(optimise.optimise).parameters)
    assert listed == ["run", "objective", "out", "data", "root", "known", "say", "search", *fields]
    assert signature(optimise.optimise).parameters["batch"].default == optimise.Search().batch == 50
    assert {"limit", "hide", "minimise"}.isdisjoint(signature(optimise.search).parameters)
    assert set(fields) <= {*signature(optimise.search).parameters, "limit", "hide", "minimise"}
    flat = {"rounds": 1, "batch": 3, "keep": 60, "candidates": 100, "fit": {"iterations": 5}}
    codes, scores = world()
    packed = optimise.search(codes, scores, decode, closeness, search=optimise.Search(**flat))
    assert packed == optimise.search(codes, scores, decode, closeness, **flat)
    settings = optimise.Search(**(flat | {"batch": 2}))
    assert len(optimise.optimise(fake_run, "expression-fit", out=tmp_path, search=settings, batch=4).rows) == 4
    with pytest.raises(ValueError, match="limit is 3, but only a search over a run has this setting"):
        optimise.search(codes, scores, decode, closeness, limit=3)
    with pytest.raises(TypeError, match="batches: unknown setting of a search; choose from rounds, batch"):
        optimise.optimise(fake_run, "expression-fit", out=tmp_path / "none", batches=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.batch = 3


def test_a_decoder_gives_a_list_a_code():
    with pytest.raises(ValueError, match="returned 1 lists of strings for"):
        searched(*world(), lambda z, draws, seed: [["a"]])


# --- what was found


def found(*scores, maximise=True, name="s"):
    rows = tuple(Row(1 + i // 2, i, f"{name}{i}", v) for i, v in enumerate(scores))
    return optimise.History(rows, -3.0 if maximise else 3.0, 0.0, None, maximise)


def test_the_papers_mean_leaves_the_worst_out():
    assert found(1.0, -3.0, 2.0, None).mean == 1.5
    assert found(1.0, 3.0, 2.0, None, maximise=False).mean == 1.5
    assert found(1.0, 3.0, 2.0, maximise=False).best_new.score == 1.0
    assert [r.string for r in found(1.0, 5.0, None, 3.0).best(2)] == ["s1", "s3"]


def test_runs_in_one_row():
    row = optimise.over_runs([found(1.0, 2.0), found(5.0, 4.0, name="t"), found(3.0, None, name="u")])
    assert row["best_runs"] == [5.0, 3.0, 2.0]
    assert row["best_strings"] == [("t0", 5.0), ("t1", 4.0), ("u0", 3.0)]
    spread = torch.tensor([1.5, 4.5, 3.0]).std()
    assert row["mean_error"] == pytest.approx(float(spread) / math.sqrt(3))
    assert row["mean_error_paper"] == pytest.approx(float(spread))
    with pytest.raises(ValueError, match="runs has 0 searches"):
        optimise.over_runs([])


# --- objectives by name


def test_goals_by_name(tmp_path, monkeypatch):
    assert optimise.goal("expression-fit")("x/(1-1)") == pytest.approx(-math.log(1001))  # infinite, but an expression
    assert optimise.goal("expression-fit")("x+") is None
    assert optimise.goal("penalised-logp")("CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1") == pytest.approx(3.14, abs=0.01)
    assert math.isnan(optimise.goal("penalised-logp")("C1CC"))
    assert optimise.goal("logp")("CCO") == pytest.approx(-0.0014, abs=1e-3)
    assert math.isnan(optimise.goal("qed")("C1CC"))
    (tmp_path / "own_goal_here.py").write_text("def count(s):\n    return len(s)\nnumber = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = optimise.goal("own_goal_here:count", folder=tmp_path)
    assert own("abc") == 3.0
    assert optimise.goal("-own_goal_here:count", folder=tmp_path)("abc") == -3.0
    assert optimise.goal("own_goal_here:count", folder=tmp_path, minimise=True).maximise is False
    assert optimise.score_strings(["abcd"], own, workers=2) == [Scored(4.0)]
    for name, message in (
        ("logq", "expected one of penalised-logp"),
        ("no_such_module:f", "cannot be imported"),
        ("own_goal_here:none", "has no function 'none'"),
        ("own_goal_here:number", "has no function 'number'"),
        ("-qed", "qed is always maximised"),
    ):
        with pytest.raises(ValueError, match=message):
            optimise.goal(name, folder=tmp_path)


# --- a run


class FakeRun:
    """A run whose strings are the expressions `x*A+B` of its codes."""

    kind = SimpleNamespace(molecules=False)

    def __init__(self, n=40):
        self.codes = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
        self.densities = {"normal": densities.Normal().fit(self.codes)}

    def encode(self, x):
        if isinstance(x, torch.Tensor):
            return self.codes[x[:, 0].long()]
        return torch.tensor([[float(v) for v in s[3:-1].split(")+(")] for s in x])

    def data(self, root=None):
        written = [s[0] for s in self.draws(self.codes)]
        others = {"train": written, "valid": ["x*(9.00)+(9.00)"], "test": ["x * (8.00) + (8.00)"]}
        return SimpleNamespace(
            train=torch.arange(len(self.codes), dtype=torch.int8)[:, None],
            strings=lambda split="train": others[split],
            name="fake",
            path="",
        )

    def draws(self, z, draws=1, seed=0):
        return [[f"x*({a:.2f})+({b:.2f})"] * draws for a, b in z.tolist()]

    def density(self, name=None):
        return self.densities[name or "normal"]

    def retrained(self, strings, weights, *, epochs, seed):
        assert len(strings) == len(weights)
        return self


@pytest.fixture
def fake_run(monkeypatch):
    monkeypatch.setattr("chartae.optimise.strings.decode_draws", FakeRun.draws)
    monkeypatch.setattr("chartae.optimise.strings.retrained", FakeRun.retrained)
    return FakeRun()


def test_a_run_is_optimised_in_the_objectives_own_direction(tmp_path, fake_run):
    lines = []
    run = fake_run
    plain = {
        "out": tmp_path,
        "rounds": 2,
        "batch": 4,
        "candidates": 200,
        "fit": {"iterations": 15},
        "say": lines.append,
    }
    made = optimise.optimise(run, "expression-fit", **plain)
    assert made.maximise is False
    assert 0 < made.best_new.score < made.best_known
    facts = json.loads((tmp_path / "results.json").read_text())
    assert facts["best_new"] == {"string": made.best_new.string, "score": made.best_new.score}
    assert facts["curve"] == made.curve()
    assert facts["curve"][-1] == made.best_new.score
    assert facts["objective"] == "expression-fit"
    with (tmp_path / "strings.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert float(rows[0]["score"]) == made.best_new.score
    assert [float(r["score"]) for r in rows] == sorted(float(r["score"]) for r in rows)
    kept = (tmp_path / "scores.safetensors").stat().st_mtime_ns
    again = optimise.optimise(run, "expression-fit", resume=True, **plain)
    assert again == made
    assert (tmp_path / "scores.safetensors").stat().st_mtime_ns == kept
    with pytest.raises(ValueError, match="about is "):
        optimise.optimise(run, "expression-fit", resume=True, density="none", **plain)
    limited = optimise.optimise(run, "expression-fit", overwrite=True, limit=20, retrain=1, **plain)
    assert len(limited.rows) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "logq"}, "objective is 'logq'"),
        ({"limit": 1}, "limit is 1"),
        ({"retrain": 0}, "retrain is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"objective": "objective_cases:bad", "method": "grid"}, "expected one of trust-region"),
        ({"objective": "logp"}, "at least one of the 40 training strings, but none has one"),
    ],
)
def test_runs_refuse(change, message, tmp_path, fake_run):
    with pytest.raises(ValueError, match=message):
        optimise.optimise(fake_run, **{"objective": "expression-fit", "out": tmp_path} | change)


def test_the_verb(tmp_path, monkeypatch, capsys, fake_run):
    monkeypatch.setattr("chartae.runs.load", lambda folder: fake_run)
    words = ["optimise", "RUN", "--objective", "expression-fit", "--rounds", "1", "--batch", "3"]
    assert cli.main([*words, "--out", str(tmp_path / "s")]) == 0
    out, lines = capsys.readouterr()
    assert "minimised" in out
    assert "x*(" in out
    summary = json.loads((tmp_path / "s" / "results.json").read_text())
    assert f"round 1/1  best {summary['best_new']['score']:.4g}  valid 3/3" in lines
    assert summary["rounds"][0]["peak"] == summary["best_new"]["score"] > 0
    assert cli.main([*words, "--out", str(tmp_path / "s")]) == 2
    assert "Set resume or overwrite" in capsys.readouterr().err
    assert cli.main(["optimise", "RUN", "--objective", "none", "--out", str(tmp_path)]) == 2
    assert "expected one of penalised-logp" in capsys.readouterr().err


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "botorch", None)
    with pytest.raises(ImportError, match=r"pip install 'chartae\[optimise\]'"):
        searched(*world())


@pytest.mark.parametrize("listed", ["run.toml", "comparison.json"])
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_search_is_not_written_over_a_run(fake_run, tmp_path, listed, options):
    (tmp_path / listed).write_text("mine")
    manifest.register(tmp_path, listed)
    for _ in range(2):  # with a search beside it, too
        with pytest.raises(FileExistsError, match=f"holds {listed}, which no search wrote.*Choose another folder"):
            optimise.optimise(fake_run, "expression-fit", out=tmp_path, rounds=1, batch=2, candidates=50, **options)
        assert (tmp_path / listed).read_text() == "mine"
        (tmp_path / "state.json").write_text("{}")
        manifest.register(tmp_path, "state.json")
        if not options:
            break


def test_scoring_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(entry, "PART", 2)
    monkeypatch.setattr(entry, "PARTS", 3)
    goal, seen = optimise.goal("expression-fit"), []
    real = entry.score_strings

    def interrupted(strings, score, **settings):
        if len(seen) == 1:
            seen.append(())
            raise KeyboardInterrupt
        seen.append(tuple(strings))
        return real(strings, score, **settings)

    monkeypatch.setattr(entry, "score_strings", interrupted)
    strings = ["x", "x+1", "x+", "x*x", "2"]
    with pytest.raises(KeyboardInterrupt):
        optimise.training_scores(strings, goal, tmp_path)
    scores = optimise.training_scores(strings, goal, tmp_path)
    assert seen == [("x", "x+1"), (), ("x+", "x*x"), ("2",)]
    assert scores.isnan().tolist() == [False, False, True, False, False]
    optimise.training_scores(strings, goal, tmp_path)
    assert seen[-1] == ("2",)  # all of them are in the cache
    (tmp_path / "scores.safetensors").write_bytes(b"damaged")
    again = optimise.training_scores(strings, goal, tmp_path)
    assert torch.equal(again.nan_to_num(9.0), scores.nan_to_num(9.0))


def test_a_search_is_replaced_when_the_new_one_is_complete(fake_run, tmp_path, monkeypatch):
    """Killed in its last step, the new search leaves the old one, and is continued by --resume."""
    run, options = fake_run, {"out": tmp_path, "batch": 4, "candidates": 200, "fit": {"iterations": 15}}
    optimise.optimise(run, "expression-fit", rounds=1, **options)
    old = (tmp_path / "state.json").read_text()

    def killed(*arguments):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("chartae.optimise.entry.write", killed)
        with pytest.raises(MemoryError):
            optimise.optimise(run, "expression-fit", rounds=2, seed=5, overwrite=True, **options)
    assert (tmp_path / "state.json").read_text() == old
    resumed = optimise.optimise(run, "expression-fit", rounds=2, seed=5, resume=True, **options)
    whole = optimise.optimise(run, "expression-fit", rounds=2, seed=5, **options | {"out": tmp_path / "whole"})
    assert resumed.rows == whole.rows
    assert not (tmp_path / ".new").exists()
    assert {file.state for file in verify(tmp_path)} == {"whole"}
