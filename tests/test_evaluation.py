from __future__ import annotations

import inspect
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import chartae as ch
from chartae import data as chdata
from chartae import metrics, report
from chartae.data.kinds import Images
from chartae.evaluation import Comparison, Measuring, compare, evaluate, evaluator_for, interpolate, slerp, writing
from chartae.evaluation.base import row_of
from chartae.grammar import load as load_grammar
from chartae.records import manifest
from chartae.records.results import Results
from chartae.records.run_folder import RunFolder
from chartae.records.verification import verify

QUICK = {"latent_dim": 3, "epochs": 1, "batch_size": 50, "components": 3, "progress": False}


pytestmark = pytest.mark.usefixtures("float32")


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
    assert Results.read(run.folder / "results.json") == results
    manifest.verify(run.folder, "results.json", "pictures.npz")
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


def test_a_table_is_measured_in_its_own_units(tmp_path):
    """Columns of different units, from a data frame: the metrics see what the user sees."""
    pandas = pytest.importorskip("pandas")
    g = np.random.default_rng(0)
    x = (g.normal(size=(400, 2)) @ g.normal(size=(2, 4))) * [1, 10, 1000, 0.1] + [0, 5, 3000, 0]
    run = ch.fit("rae", pandas.DataFrame(x, columns=list("abcd")), **QUICK | {"latent_dim": 2}, out=tmp_path / "r")
    frame = pandas.DataFrame(x, columns=list("abcd"))
    data = chdata.read(frame)
    results = evaluate(run, data)
    assert set(results.reconstruction) == {"mse", "r2"}
    back = run.decode(run.encode(data.test)).to_numpy()
    truth = data.test.numpy()
    assert results.reconstruction.mse == pytest.approx(np.square(back - truth).mean(), rel=1e-4)
    r2 = 1 - np.square(back - truth).sum(0) / np.square(truth - truth.mean(0)).sum(0)
    assert results.reconstruction.r2 == pytest.approx(r2.mean(), abs=1e-4)
    samples = torch.tensor(run.sample(len(data.test), "gmm", seed=0).to_numpy(), dtype=torch.float32)
    extractor = metrics.extractor("pixels", reference=data.train)
    expected = metrics.frechet(extractor(data.test), extractor(samples))
    assert results.sets.gmm.frechet == pytest.approx(expected, rel=1e-4)
    with np.load(tmp_path / "r" / "pictures.npz") as drawn:
        assert drawn["data_2d"].shape == (len(data.test), 2)
        assert drawn["samples_2d_gmm"].shape == (2000, 2)


@pytest.mark.slow
def test_points_are_measured_in_their_unit():
    run = ch.fit("dae", "spiral", sigma=0.1, epochs=1, latent_dim=8, progress=False)
    results = evaluate(run, n=40)
    assert list(results.sets) == ["reconstruction", "mala", "interpolation-linear", "interpolation-spherical", "floor"]
    assert list(results.reconstruction) == ["mse"]
    assert not results.densities


def test_a_conditional_run_is_sampled_under_the_conditions_of_the_test_set():
    data = chdata.load("digits")
    run = ch.fit("vae", data, condition="labels", **QUICK | {"epochs": 2})
    known = run.condition
    assert known is not None
    labelled = replace(
        data, condition=known, train_condition=known.read({"labels": data.train_labels.numpy()}, len(data.train)),
        valid_condition=known.read({"labels": data.valid_labels.numpy()}, len(data.valid)),
        test_condition=known.read({"labels": data.test_labels.numpy()}, len(data.test)),
    )  # fmt: skip
    results = evaluate(run, labelled, densities=("prior", "normal"))
    n = len(data.test)
    images = metrics.to_uint8(run.sample(n, "prior", condition=data.test_labels, seed=0))
    assert results.sets.prior.frechet == pytest.approx(evaluator_for(data).measure(images).frechet, rel=1e-6)
    codes = run.encode(data.test, data.test_labels)
    rows = run.conditions(data.test_labels, n)
    expected = run.densities["normal"].log_prob(codes, condition=rows).mean().item()
    assert results.densities.normal.log_likelihood == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_translations_are_measured_in_each_domain(tmp_path):
    run = ch.fit(
        "iae-translate", "digits+edges", to="digits+coloured", epochs=1, batch_size=64, progress=False,
        out=tmp_path / "run",
    )  # fmt: skip
    results = evaluate(run, n=60)
    assert set(results.sets) == {"translation-b", "translation-a", "floor-b", "floor-a"}
    coloured = chdata.load("digits+coloured")
    evaluator = evaluator_for(coloured, Measuring(n=60))
    assert results.sets["floor-b"] == evaluator.floor
    assert results.sets["translation-b"].frechet > results.sets["floor-b"].frechet
    assert set(results.reconstruction) == {"cycle_a", "cycle_b"}
    text = report.write(tmp_path / "run", tmp_path / "r.html").read_text()
    assert "Translations, A to B" in text
    with pytest.raises(ValueError, match="densities and evaluator are for runs of one domain"):
        evaluate(run, densities=("gmm",))
    with pytest.raises(ValueError, match="language is for strings"):
        evaluate(run, language="expressions")
    other = chdata.from_arrays(torch.rand(90, 3, 8, 8))
    with pytest.raises(ValueError, match="not those of the run's domain B"):
        evaluate(run, to=other)


def test_a_kind_without_a_row_says_how_to_add_one():
    class Spectra(Images):
        noun = "spectra"

    assert row_of(Spectra((1, 8, 8))) is row_of(Images((1, 8, 8)))  # a derived kind has its parent's row


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
    with pytest.raises(ValueError, match="'nonsense'"):
        evaluate(run, densities=("nonsense",))
    with pytest.raises(ValueError, match="language is for strings, but these data are images"):
        evaluate(run, language="expressions")
    with pytest.raises(ValueError, match="does not translate"):
        evaluate(run, to=run.data())
    tiny = chdata.from_arrays(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    with pytest.raises(ValueError, match="needs at least 20 of each"):
        evaluator_for(tiny)


@pytest.mark.slow
def test_a_comparison_is_resumed_where_it_stopped(tmp_path):
    data = chdata.load("digits")
    said = []
    settings = {"say": said.append, **QUICK}
    first = compare(data, ["ae", "vae"], tmp_path / "c", seeds=(0, 1), **settings)
    assert [(r.recipe, r.seed) for r in first.rows] == [("ae", 0), ("vae", 0), ("ae", 1), ("vae", 1)]
    summary = {row.recipe: row.columns for row in first.summary}
    gmm = [row.sets.gmm.frechet for row in first.rows if row.recipe == "ae"]
    assert summary["ae"]["gmm"].mean == pytest.approx(np.mean(gmm))
    assert summary["ae"]["gmm"].sd == pytest.approx(np.std(gmm, ddof=1))
    # the model's own column: a fitted normal for ae, the prior for vae
    assert summary["ae"]["own"] == summary["ae"]["normal"]
    assert summary["vae"]["own"] == summary["vae"]["prior"]
    assert Comparison.read(tmp_path / "c" / "comparison.json") == first
    (tmp_path / "c" / "vae" / "seed-1" / "results.json").unlink()
    said.clear()
    again = compare(data, ["ae", "vae"], tmp_path / "c", seeds=(0, 1), **settings)
    assert [text.split(": ")[1] for text in said] == ["finished already"] * 3 + ["resuming"]
    assert [r.sets for r in again.rows] == [r.sets for r in first.rows]
    with pytest.raises(ValueError, match="epochs is 2; expected 1, as in the finished run in"):
        compare(data, ["ae", "vae"], tmp_path / "c", seeds=(0, 1), **settings | {"epochs": 2})


@pytest.mark.slow
def test_models_without_densities_of_codes_are_compared_by_what_they_are_sampled_by(tmp_path):
    comparison = compare("spiral", ["vae", "dae"], tmp_path / "c", n=40, **QUICK | {"latent_dim": 2})
    vae, dae = comparison.summary
    assert vae.own == "prior"
    assert dae.own == "mala"
    assert dae.columns["own"] == dae.columns["mala"]
    assert "gmm" not in dae.columns


PIECES = ["x", "1", "2", "sin(x)", "exp(x)", "3*x", "x/2", "(1+x)"]
STRINGS = [f"{a}{sign}{b}" for a in PIECES for b in PIECES for sign in "+*"]


def test_strings_are_compared_under_one_language(tmp_path):
    """A grammar's recipes read by the grammar, the baseline characters; both must write expressions."""
    path = tmp_path / "strings.txt"
    path.write_text("\n".join(STRINGS * 2) + "\n")
    settings = QUICK | {"epochs": 1, "batch_size": 32, "grammar": "expressions", "limit": 250, "n": 50}
    comparison = compare(path, ["grae", "cvae"], tmp_path / "c", densities=("prior", "gmm"), **settings)
    assert comparison.metric == "strings"
    assert comparison.protocol["valid"] == "expressions"
    by_grammar, baseline = comparison.summary
    assert by_grammar.columns["gmm/valid"].mean == 1
    written = ch.load(tmp_path / "c" / "cvae" / "seed-0").sample(50, "prior", seed=0)
    valid = len(load_grammar("expressions").encode(written, errors="skip")) / len(written)
    assert baseline.columns["prior/valid"].mean == pytest.approx(valid)
    assert valid < 1
    for row, run in zip(comparison.summary, comparison.rows, strict=True):
        scores = run.sets.gmm
        known = [scores[k] for k in ("valid", "unique", "novel")]
        if None not in known:
            assert row.columns["gmm"].mean == pytest.approx(np.prod(known))
        assert row.columns["reconstruction"].mean == run.reconstruction.exact
    # a row is a run like any other: it knows how its strings were read
    again = ch.load(tmp_path / "c" / "grae" / "seed-0")
    assert again.data().strings("test") == ch.load(tmp_path / "c" / "cvae" / "seed-0").data().strings("test")
    text = report.write(tmp_path / "c", tmp_path / "r.html").read_text()
    assert "is best: " in text
    assert "Gaussian mixture: valid&nbsp;↑" in text
    assert "New strings of the first run of this recipe (seed 0)" in text
    said = []
    compare(path, ["grae", "cvae"], tmp_path / "c", densities=("prior", "gmm"), say=said.append, **settings)
    assert said == ["grae, seed 0: finished already", "cvae, seed 0: finished already"]


def test_comparisons_refuse_what_makes_no_sense(tmp_path):
    data = chdata.load("digits")
    with pytest.raises(ValueError, match="none of these recipes has an option gamma"):
        compare(data, ["ae", "rae"], tmp_path / "c", options={"gamma": "1"}, **QUICK)
    with pytest.raises(ValueError, match="recipe is 'gan'"):
        compare(data, ["ae", "gan"], tmp_path / "c", **QUICK)
    with pytest.raises(ValueError, match="must not repeat"):
        compare(data, ["ae", "ae"], tmp_path / "c", **QUICK)
    with pytest.raises(ValueError, match="at least one recipe"):
        compare(data, [], tmp_path / "c", **QUICK)
    with pytest.raises(ValueError, match="translates between two domains"):
        compare(data, ["ae", "iae-translate"], tmp_path / "c", epochs=1)
    with pytest.raises(ValueError, match="holds images of shape"):
        compare(data, ["ae", "grae"], tmp_path / "c", **QUICK)
    with pytest.raises(ValueError, match="holds strings; expected"):
        compare(STRINGS, ["ae"], tmp_path / "c", **QUICK)
    odd = [*STRINGS * 2, *["y+1"] * 60]
    with pytest.raises(ValueError, match="reads other strings"):
        compare(odd, ["grae", "cvae"], tmp_path / "c", grammar="expressions", errors="skip", **QUICK)
    with pytest.raises(TypeError, match="no keyword 'epoch'"):
        compare(data, ["ae"], tmp_path / "c", epoch=1)
    assert not (tmp_path / "c").exists()
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="holds no comparison"):
        compare(data, ["ae"], tmp_path, **QUICK)


def test_the_signature_of_compare_lists_every_keyword():
    listed = inspect.signature(compare).parameters
    assert {"seeds", "densities", "extractor", "n", "epochs", "latent_dim", "grammar", "condition"} <= set(listed)
    assert len(listed) == len(set(listed))
    assert not {"seed", "resume", "request", "measuring"} & set(listed)


# -- a finished row is one of this comparison -------------------------------------------------------------------------

SMALL = {"latent_dim": 2, "net": "mlp", "epochs": 1, "n": 40, "components": 2, "progress": False}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished comparison of one run, to be copied."""
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("comparisons") / "c"
    return folder, compare("digits", ["ae"], folder, **SMALL)


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished[0], tmp_path / "c"))


def rows_of(folder, **changes):
    """The sets of the only row of a comparison that is repeated, and what is said about it."""
    said = []
    comparison = compare("digits", ["ae"], folder, say=said.append, **SMALL | changes)
    return comparison.rows[0].sets, said


@pytest.mark.parametrize("keeps_results", [True, False])
def test_a_run_that_was_resumed_alone_is_refused(copied, keeps_results):
    """Its settings are those of its weights, even if the process was killed before it wrote run.toml."""
    run = copied / "ae" / "seed-0"
    former = (run / "run.toml").read_text()
    resumed = ch.resume(run, epochs=2, progress=False)
    if keeps_results:
        evaluate(resumed, n=40)
    expected = r"epochs is 1; expected 2, as in the finished run in .*seed-0\. Choose a new folder, set overwrite, or"
    with pytest.raises(ValueError, match=expected):
        rows_of(copied)
    manifest.register(run, "run.toml", changing=True)
    (run / "run.toml").write_text(former)
    with pytest.raises(ValueError, match=expected):
        rows_of(copied)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"n": 20}, "n is 20 in its results and 40 in this comparison"),
        ({"seed": 4}, "seed is 4 in its results and 0 in this comparison"),
        ({"densities": ("normal",)}, "densities is ['normal'] in its results and ['gmm', 'normal', 'prior'] in"),
        ({"densities": ("prior", "normal", "gmm", "gmm-2")}, "densities is ['gmm', 'gmm-2', 'normal', 'prior'] in"),
        ({"extractor": "lenet-mnist"}, "metric is 'frechet-lenet-mnist' in its results and 'frechet-pixels' in"),
    ],
)
def test_results_of_another_evaluation_are_evaluated_again(copied, finished, other, why):
    if "extractor" in other:  # its weights need not be here: the results say that they are of it
        path = copied / "ae" / "seed-0" / "results.json"
        values = json.loads(path.read_text())
        path.write_text(json.dumps(values | {"metric": "frechet-lenet-mnist"}))
        manifest.register(path.parent, path.name)
    else:
        evaluate(ch.load(copied / "ae" / "seed-0"), **{"n": 40, "densities": ("prior", "normal", "gmm")} | other)
    sets, said = rows_of(copied)
    assert len(said) == 1
    assert said[0].startswith(f"ae, seed 0: evaluating again, as {why}")
    assert sets == finished[1].rows[0].sets
    assert rows_of(copied) == (sets, ["ae, seed 0: finished already"])


def test_a_comparison_of_another_evaluation_evaluates_its_rows_again(copied):
    sets, said = rows_of(copied, n=30, densities=("normal",))
    why = "densities is ['gmm', 'normal', 'prior'] in its results and ['normal'] in this comparison"
    assert said == [f"ae, seed 0: evaluating again, as {why}"]
    assert {"normal", "gmm"} & set(sets) == {"normal"}


@pytest.mark.parametrize("components", [3, None])
def test_other_components_are_refused(copied, components):
    """None stands for a number that the fit chooses, which need not be that of the finished run."""
    before = (copied / "comparison.json").read_text()
    with pytest.raises(ValueError, match=f"components is {components}; expected 2, as in the finished run in"):
        rows_of(copied, components=components)
    assert (copied / "comparison.json").read_text() == before


def test_what_has_no_densities_is_finished_whatever_densities_are_sampled(tmp_path):
    """A recipe with a category in its code is sampled by its own prior."""
    settings = {**SMALL, "latent_dim": None, "options": {"clusters": 5}, "components": None}
    compare("digits", ["iae-cluster"], tmp_path / "c", **settings)
    said = []
    compare("digits", ["iae-cluster"], tmp_path / "c", say=said.append, **settings)
    assert said == ["iae-cluster, seed 0: finished already"]


@pytest.mark.parametrize("lost", [("comparison.json",), ("comparison.json", "manifest.json")])
def test_a_comparison_whose_file_is_lost_goes_on_with_its_runs(copied, finished, lost):
    report.write(copied, copied / "report.html")
    (copied / "notes.txt").write_text("mine")
    for name in lost:
        (copied / name).unlink()
    with pytest.raises(ValueError, match="epochs is 2; expected 1, as in the finished run in"):
        rows_of(copied, epochs=2)
    assert rows_of(copied) == (finished[1].rows[0].sets, ["ae, seed 0: finished already"])
    assert Comparison.read(copied / "comparison.json").rows == tuple(
        replace(row, folder=copied / "ae" / "seed-0") for row in finished[1].rows
    )


def test_a_folder_whose_manifest_lists_a_comparison_takes_other_recipes(copied):
    report.write(copied, copied / "report.html")
    (copied / "comparison.json").unlink()
    comparison = compare("digits", ["vae"], copied, **SMALL)
    assert [row.recipe for row in comparison.rows] == ["vae"]


@pytest.mark.parametrize("name", ["weights.safetensors", "run.toml"])
@pytest.mark.parametrize("harm", ["cut", "missing"])
def test_damage_in_a_run_says_which_folder_to_delete(copied, finished, name, harm):
    run = copied / "ae" / "seed-0"
    (run / "results.json").unlink()
    manifest.forget(run, "results.json")
    path = run / name
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
    if name == "run.toml":
        with pytest.raises(ValueError, match=rf"To train this run again, delete {run} and repeat the command$"):
            rows_of(copied)
        shutil.rmtree(run)
    # the weights are written again from the checkpoint
    cut = harm == "cut" and name == "weights.safetensors"
    with pytest.warns(UserWarning, match="written again from the checkpoint") if cut else nullcontext():
        assert rows_of(copied)[0] == finished[1].rows[0].sets


# -- pictures belong to results ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_of", ["run", "comparison"])
def test_a_report_shows_no_pictures_of_other_results(copied, monkeypatch, page_of):
    """A kill between the results and the pictures leaves pictures of the former evaluation."""
    run = copied / "ae" / "seed-0"
    folder = run if page_of == "run" else copied
    pictures = ("images: ", "above its reconstruction", "rows of images", "test codes")
    shown = [report.write(folder, folder / "report.html").read_text().count(text) for text in pictures]
    assert all(shown[:3])

    def killed(*arguments):
        raise SystemExit

    monkeypatch.setattr(writing, "write_arrays", killed)
    with pytest.raises(SystemExit):
        evaluate(ch.load(run), n=40, seed=3)
    monkeypatch.undo()
    assert RunFolder.read(run).has_other_pictures
    text = report.write(folder, folder / "report.html").read_text()
    assert not any(picture in text for picture in pictures[:3])
    assert "scatter of" not in text
    says = {"run": "pictures.npz belongs to other results", "comparison": "no pictures.npz of these results"}
    assert says[page_of] in text
    assert {file.state for file in verify(run) if file.name in ("results.json", "pictures.npz")} == {"unfinished"}
    assert rows_of(copied)[1] == ["ae, seed 0: resuming"]
    assert not RunFolder.read(run).has_other_pictures
    text = report.write(folder, folder / "report.html").read_text()
    assert [text.count(picture) for picture in pictures] == shown
