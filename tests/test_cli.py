from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from chartae import cli
from chartae.cli import verb
from chartae.cli.fit import Fit
from chartae.cli.main import VERBS
from chartae.records.settings import Settings
from chartae.records.training import Training

pytestmark = pytest.mark.usefixtures("float32")


FIT = ["fit", "digits", "--recipe", "rae-l2", "--latent-dim", "4", "--epochs", "1", "--components", "3", "--seed", "0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("runs") / "a"
    assert cli.main([*FIT, "--out", str(folder), "--beta", "0.05", "--l2=1e-5"]) == 0
    return folder


def test_options_are_flags(run):
    text = (run / "run.toml").read_text()
    assert "beta = 0.05" in text
    assert "l2 = 1e-05" in text


def test_sample_evaluate_report(run, tmp_path, capsys):
    assert cli.main(["sample", str(run), "--density", "gmm", "--n", "10", "--out", str(tmp_path / "grid.png")]) == 0
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size[0] > 20
    assert cli.main(["sample", str(run), "--n", "10", "--out", str(tmp_path / "x.npy")]) == 0
    assert cli.main(["sample", str(run), "--n", "10", "--out", str(tmp_path / "x.npz")]) == 0
    x = np.load(tmp_path / "x.npy")
    assert x.shape == (10, 1, 8, 8)
    assert x.dtype == np.uint8
    with np.load(tmp_path / "x.npz") as z:
        assert np.array_equal(z["x"], x)
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "results.json").read_text())
    assert cli.main(["evaluate", str(run)]) == 0
    assert "frechet-pixels" in capsys.readouterr().out
    assert cli.main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    assert "rae-l2" in (tmp_path / "report.html").read_text()


def test_compare(tmp_path, capsys):
    words = ["compare", "digits", "--recipes", "ae", "vae", "--epochs", "1", "--latent-dim", "3", "--components", "3"]
    assert cli.main([*words, "--out", str(tmp_path / "c")]) == 0
    out = capsys.readouterr().out
    assert "GMM" in out
    assert "vae" in out
    assert (tmp_path / "c" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("default:the code is ignored")
def test_compare_what_clusters(tmp_path, capsys):
    words = ["compare", "digits", "--recipes", "ae", "iae-cluster", "--clusters", "6", "--epochs", "1", "--net", "mlp"]
    assert cli.main([*words, "--components", "3", "--out", str(tmp_path / "c")]) == 0
    rows = json.loads((tmp_path / "c" / "comparison.json").read_text())["rows"]
    assert [row["recipe"] for row in rows] == ["ae", "iae-cluster"]
    assert "gmm" in rows[0]["sets"]
    assert "gmm" not in rows[1]["sets"]
    # a warning is a sentence, not a line of code
    err = capsys.readouterr().err
    assert "warning: the code is ignored" in err
    assert "warnings.warn" not in err


@pytest.mark.slow
def test_reproduce_lists_and_resumes(tmp_path, capsys, monkeypatch):
    from chartae import data
    from papers import rae_table1

    monkeypatch.setattr(rae_table1, "load", lambda name, root=None: data.load("digits"))
    monkeypatch.setattr(rae_table1, "QUICK", {"net": "mlp", "latent_dim": 3, "epochs": 1, "batch_size": 100})
    monkeypatch.setitem(rae_table1.TABLE1, "digits", {"ae": (1.0, 2.0, 3.0, 4.0), "vae": (5.0, 6.0, 7.0, 8.0)})
    words = ["reproduce", "rae-table1", "--data", "digits", "--quick", "--out", str(tmp_path / "t")]
    assert cli.main(words) == 0
    table = (tmp_path / "t" / "table.md").read_text()
    assert "| vae |" in table
    assert "5.0, 6.0, 7.0, 8.0" in table
    capsys.readouterr()
    assert cli.main(words) == 0
    assert capsys.readouterr().err.count("finished already") == 2


BAD = {
    "no such verb": (["paint"], "the verb is 'paint'; expected one of fit, resume, compare"),
    "no such recipe": (
        ["fit", "digits", "--recipe", "gan", "--out", "{}"],
        "recipe is 'gan'; expected one of ae, rae",
    ),
    "no such data": (["fit", "nowhere", "--out", "{}"], "digits"),
    "no such option": (
        ["fit", "digits", "--gamma", "1", "--out", "{}"],
        "whose options are --beta, --l2, --select",
    ),
    "an option without value": (["fit", "digits", "--beta", "--out", "{}"], "--beta needs a value"),
    "an option that is no number": (["fit", "digits", "--beta", "much", "--out", "{}"], "give a float"),
    "a code too large": (["fit", "digits", "--latent-dim", "100", "--out", "{}"], "has only 64 values"),
    "no run": (["evaluate", "{}"], "there is no run in"),
    "no run to sample": (["sample", "{}", "--out", "{}/x.png"], "there is no run in"),
    "no run to report": (["report", "{}"], "run"),
    "no such table": (
        ["reproduce", "vae-table1", "--out", "{}"],
        "NAME is 'vae-table1'; expected one of grae-expressions,",
    ),
    "a flag of another result": (
        ["reproduce", "iae-style", "--data", "digits", "--out", "{}"],
        "iae-style takes no --data; it is an option of iae-cluster, iae-semisup, iae-translate, rae-table1",
    ),
    "no seeds": (["reproduce", "iae-style", "--seeds", "0", "--out", "{}"], "--seeds is 0; expected a number >= 1"),
    "a comparison with what translates": (
        ["compare", "digits", "--recipes", "ae", "iae-translate", "--out", "{}"],
        "iae-translate translates between two domains",
    ),
    "a comparison with too many clusters": (
        ["compare", "digits", "--recipes", "ae", "aae-cluster", "--clusters", "100000", "--out", "{}"],
        "there are 100000 clusters for 1297",
    ),
    "a comparison without labels": (
        ["compare", "spiral", "--recipes", "ae", "aae-semisup", "--out", "{}"],
        "spiral has no labels",
    ),
    "a word too many": (
        ["sample", "{}", "--out", "x.png", "--gamma", "1"],
        "`chartae sample` does not understand '--gamma'",
    ),
    "labels of data without": (
        ["fit", "spiral", "--recipe", "vae", "--condition", "labels", "--out", "{}"],
        "condition is 'labels', but spiral has no labels",
    ),
    "columns of data without": (
        ["fit", "digits", "--recipe", "vae", "--condition", "age,sex", "--out", "{}"],
        "condition names age, sex, which digits does not have",
    ),
    "a training that cannot be": (["fit", "digits", "--ema", "2", "--out", "{}"], "ema is 2.0"),
    "a device that is not there": (["fit", "digits", "--device", "tpu9", "--out", "{}"], "device is 'tpu9'"),
    "a search that cannot be": (
        ["optimise", "{}", "--objective", "logp", "--method", "grid", "--out", "{}"],
        "expected one of trust-region, box",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_line_and_status_2(case, tmp_path, capsys):
    words, message = BAD[case]
    assert cli.main([w.format(tmp_path / "run") for w in words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Give size= to crop.", "Give --size to crop."),
        ("fit with size=.", "fit with --size."),
        ("write size=", "write --size"),
        ("give label='' or label='a b'", "give --label '' or --label 'a b'"),
        ("Give channels_last=True, subsize=3", "Give --channels-last True, subsize=3"),
    ],
)
def test_keywords_are_said_as_flags(text, expected):
    assert verb.in_flags(Fit, text) == expected


def test_a_comparison_without_seeds(tmp_path, capsys):
    assert cli.main(["compare", "digits", "--seeds", "0", "--out", str(tmp_path / "c")]) == 2
    assert "--seeds is 0; expected at least 1" in capsys.readouterr().err


def test_flags_that_are_refused_are_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "digits", "--out", "x", "--epochs", "many"])
    assert stop.value.code == 2
    assert "--epochs" in capsys.readouterr().err


def test_samples_are_written_as_their_kind_can(run, tmp_path, capsys):
    for name in ("x.gif", "x.txt", "x.csv"):
        assert cli.main(["sample", str(run), "--out", str(tmp_path / name)]) == 2
        assert "samples of this run are images; use .png or .npy or .npz" in capsys.readouterr().err
    assert cli.main(["sample", str(run), "--n", "5"]) == 0
    assert f"5 samples are in {run / 'samples.png'}" in capsys.readouterr().err


def test_rows_of_a_table_are_written(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(60, 3)) * [1, 10, 100] + [0, 50, -500]
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="a,b,c", comments="")
    fit = ["fit", str(tmp_path / "t.csv"), "--recipe", "rae", "--latent-dim", "2", "--epochs", "1"]
    assert cli.main([*fit, "--components", "2", "--out", str(tmp_path / "r")]) == 0
    assert cli.main(["sample", str(tmp_path / "r"), "--n", "7"]) == 0
    assert np.load(tmp_path / "r" / "samples.npy").shape == (7, 3)
    assert cli.main(["sample", str(tmp_path / "r"), "--n", "7", "--out", str(tmp_path / "deep" / "s.csv")]) == 0
    head, *rows = (tmp_path / "deep" / "s.csv").read_text().splitlines()
    assert head == "a,b,c"
    c = np.array([[float(v) for v in row.split(",")] for row in rows])[:, 2]
    assert len(c) == 7
    assert (abs(c + 500) < 400).all()  # in the user's units
    assert cli.main(["sample", str(tmp_path / "r"), "--out", str(tmp_path / "s.png")]) == 2
    assert "are table rows; use .csv or .parquet or .npy or .npz" in capsys.readouterr().err


def test_points_of_the_plane_are_drawn(tmp_path):
    fit = ["fit", "mixture-2d", "--recipe", "vae", "--epochs", "1", "--batch-size", "500", "--densities", "normal"]
    assert cli.main([*fit, "--out", str(tmp_path / "r")]) == 0
    assert cli.main(["sample", str(tmp_path / "r"), "--n", "20"]) == 0
    with Image.open(tmp_path / "r" / "samples.png") as picture:
        assert picture.size[0] > 400


def test_strings_are_written_as_text(tmp_path, capsys):
    (tmp_path / "e.txt").write_text("\n".join(["x", "x+x", "sin(x)", "x*x", "1+x", "exp(x)"] * 8))
    fit = ["fit", str(tmp_path / "e.txt"), "--recipe", "grae", "--grammar", "expressions", "--net", "gru:8"]
    assert cli.main([*fit, "--epochs", "1", "--densities", "normal", "--out", str(tmp_path / "r")]) == 0
    assert cli.main(["sample", str(tmp_path / "r"), "--n", "6"]) == 0
    assert len((tmp_path / "r" / "samples.txt").read_text().splitlines()) == 6
    assert "6 strings are in" in capsys.readouterr().err
    assert cli.main(["sample", str(tmp_path / "r"), "--out", str(tmp_path / "s.png")]) == 2
    assert "are strings; use .txt or .smi" in capsys.readouterr().err


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("runs") / "c"
    words = ["fit", "digits", "--recipe", "vae", "--condition", "labels", "--latent-dim", "4", "--epochs", "1"]
    assert cli.main([*words, "--components", "2", "--out", str(folder)]) == 0
    return folder


def test_samples_of_a_class(conditional, tmp_path):
    for condition, name in (("3", "a"), ("labels=3", "b"), ("4", "c")):
        words = ["sample", str(conditional), "--condition", condition, "--n", "8", "--out", str(tmp_path / name)]
        assert cli.main([*words[:-1], f"{words[-1]}.npy"]) == 0
    three, again, four = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert np.array_equal(three, again)
    assert not np.array_equal(three, four)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "this run is conditioned on labels (10 classes)"),
        (["--condition", "12"], "condition is '12'; expected a class of 'labels'"),
        (["--condition", "age=3"], "expected a class of 'labels'"),
        (["--condition", "3", "--sampler", "mala"], "--condition is for densities of codes"),
    ],
)
def test_bad_conditions(conditional, words, message, capsys):
    assert cli.main(["sample", str(conditional), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_condition_for_a_run_without(run, capsys):
    assert cli.main(["sample", str(run), "--condition", "3"]) == 2
    assert "condition is '3', but this run has none" in capsys.readouterr().err


def test_settings_reach_the_loop_as_one_object(monkeypatch, tmp_path):
    from chartae import runs

    requests = []

    def fit_request(recipe, data, request):
        requests.append(request)
        raise ValueError("enough")

    monkeypatch.setattr(runs, "fit_request", fit_request)
    words = ["--lr", "0.5", "--epochs", "3", "--batch-size", "7", "--seed", "4", "--precision", "bf16", "--clip", "2"]
    more = ["--cosine", "True", "--patience", "5", "--ema", "0.9", "--device", "cpu", "--beta", "1", "--resume"]
    assert cli.main(["fit", "digits", "--out", str(tmp_path / "x"), *words, *more]) == 2
    assert requests[0].training == Training(3, 7, 0.5, "adam", "bf16", 2.0, None, True, 5, 0.9, 4, "cpu")
    assert requests[0].resume
    assert requests[0].options == {"beta": "1"}
    assert cli.main(["fit", "digits", "--out", str(tmp_path / "x")]) == 2
    assert requests[1].training == Training()


def test_a_density_that_is_not_there(run, capsys):
    assert cli.main(["sample", str(run), "--density", "flow", "--out", "x.png"]) == 2
    assert "density is 'flow'; expected one of prior, normal, gmm" in capsys.readouterr().err


def test_an_old_run_is_not_overwritten(run, capsys):
    before = (run / "weights.safetensors").read_bytes()
    assert cli.main([*FIT, "--out", str(run)]) == 2
    assert "set overwrite or resume" in capsys.readouterr().err
    assert (run / "weights.safetensors").read_bytes() == before


def test_a_loss_that_is_no_number_is_status_1(tmp_path, capsys):
    assert cli.main([*FIT, "--out", str(tmp_path / "r"), "--lr", "1e30"]) == 1
    assert "the loss stopped being a finite number in epoch 1" in capsys.readouterr().err


SUGGESTED = {
    "a verb": (["smaple", "{}"], "Did you mean 'sample'?"),
    "a recipe": (["fit", "digits", "--recipe", "rea-l2", "--out", "{}"], "'rae-l2'"),
    "a density": (["fit", "digits", "--densities", "norml", "--out", "{}"], "'normal'"),
    "a data set": (["fit", "digit", "--out", "{}"], "'digits'"),
    "a flag of fit": (["fit", "digits", "--epoch", "3", "--out", "{}"], "Did you mean '--epochs'?"),
    "an option": (["fit", "digits", "--recipe", "vae", "--sigmas", "3", "--out", "{}"], "Did you mean '--sigma'?"),
    "a flag of sample": (["sample", "{}", "--densty", "gmm"], "Did you mean '--density'?"),
    "a flag without a value": (["fit", "digits", "--out", "{}", "--overwrit"], "Did you mean '--overwrite'?"),
    "a list": (["list", "recipe"], "Did you mean 'recipes'?"),
    "a grammar": (["grammar", "audit", "x.txt", "--grammar", "zinc"], "'zinc-smiles'"),
    "an objective": (["optimise", "{}", "--objective", "penalized-logp", "--out", "{}"], "'penalised-logp'"),
    "a net": (["fit", "digits", "--net", "residul", "--out", "{}"], "'residual'"),
}


@pytest.mark.parametrize("case", SUGGESTED)
def test_the_nearest_name_is_suggested(case, tmp_path, capsys):
    words, message = SUGGESTED[case]
    assert cli.main([w.format(tmp_path / "run") for w in words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["recipes", "densities", "samplers", "data", "metrics", "grammars"])
def test_lists(what, capsys):
    assert cli.main(["list", what, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len({row["name"] for row in rows}) == len(rows) > 2
    assert all(10 < len(row["summary"]) < 300 for row in rows)
    assert cli.main(["list", what]) == 0
    printed = capsys.readouterr().out
    assert all(row["name"] in printed for row in rows)


def test_a_dry_run_says_what_a_fit_would_do_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["fit", "digits", "--recipe", "rae-l2", "--latent-dim", "4", "--epochs", "3", "--batch-size", "200"]
    assert cli.main([*words, "--dry-run", "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)
    assert estimate["steps"] == 7  # 1297 / 200
    assert estimate["epochs"] == 3
    assert "LatentNorm" in estimate["objective"]
    assert estimate["seconds"] == pytest.approx(3 * estimate["seconds_per_epoch"])
    assert not list(tmp_path.iterdir())
    assert cli.main([*words, "--out", "r"]) == 0
    from chartae import runs

    assert estimate["parameters"] == runs.load("r").training()["parameters"]
    assert sum(estimate["parts"].values()) == estimate["parameters"]
    assert cli.main([*words, "--dry-run"]) == 0
    assert f"parameters  {estimate['parameters']:,}" in capsys.readouterr().out
    assert cli.main([*words, "--dry-run", "--latent-dim", "100"]) == 2
    assert cli.main(words) == 2
    assert "--out is missing" in capsys.readouterr().err


def test_quiet_leaves_results_and_errors(run, tmp_path, capsys):
    assert cli.main([*FIT, "--out", str(tmp_path / "r"), "--quiet"]) == 0
    assert cli.main(["sample", str(run), "--n", "3", "--out", str(tmp_path / "x.npy"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main(["list", "densities", "--quiet", "--json"]) == 0
    assert cli.main(["sample", str(run), "--n", "0", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert "n is 0" in err


def test_verbose_shows_where_an_error_comes_from(run, capsys):
    assert cli.main(["sample", str(run), "--n", "0", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_checks_decide_the_exit_status(run, capsys):
    words = ["evaluate", str(run), "--n", "100", "--densities", "prior", "--json"]
    assert cli.main([*words, "--check", "sets.prior.frechet>0", "sets.prior.precision<=1"]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--check", "sets.prior.frechet<0"]) == 1
    out, err = capsys.readouterr()
    actual = json.loads(out)["sets"]["prior"]["frechet"]
    assert f"not met: sets.prior.frechet is {actual:.4g}; wanted < 0" in err
    assert cli.main([*words, "--check", "sets.priors.frechet<0"]) == 2
    assert "results.sets has no 'priors'; expected one of reconstruction, prior" in capsys.readouterr().err
    assert cli.main(["evaluate", "nowhere", "--check", "frechet"]) == 2
    assert "--check is 'frechet'; expected a name of the results" in capsys.readouterr().err


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_two_examples_that_it_understands(name):
    entry = VERBS[name].load()
    assert len(entry.examples) >= 2
    for example in entry.examples:
        words = shlex.split(example)
        assert words[0] == name
        command, options = verb.parsed(entry, name, words[1:])
        assert not options or entry.takes_options
        assert isinstance(command, entry)


def test_help_of_a_recipe_lists_its_options_with_the_numbers_of_the_paper(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--recipe", "rae-l2", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "--beta FLOAT" in shown
    assert "0.0128 LatentNorm()" in shown  # the authors' number for MNIST
    for group in ("data options", "model options", "training options", "output options"):
        assert group in shown
    assert "\x1b[" not in shown


@pytest.mark.parametrize(("number", "status"), [("SIGHUP", 129), ("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_fit_that_can_be_resumed(number, status, tmp_path, capsys):
    folder, handler = tmp_path / "r", signal.getsignal(getattr(signal, number))

    def interrupt():
        for _ in range(1000):
            if (folder / "log.jsonl").exists():
                break
            time.sleep(0.02)
        os.kill(os.getpid(), getattr(signal, number))

    thread = threading.Thread(target=interrupt)
    thread.start()
    words = ["--latent-dim", "4", "--epochs", "1000", "--densities", "normal", "--seed", "0"]
    assert cli.main(["fit", "digits", *words, "--out", str(folder)]) == status
    thread.join()
    err = capsys.readouterr().err
    assert f"its checkpoint is in {folder}. To continue, run the same command with --resume" in err
    assert (folder / "checkpoint.safetensors").is_file()
    assert signal.getsignal(getattr(signal, number)) == handler


@pytest.mark.parametrize("name", [None, *VERBS])
def test_help_is_fast(name):
    """Neither the overview nor a verb's flags load torch."""
    code = f"""
import sys
from chartae.cli import main
try:
    main({[name] if name else []} + ["--help"])
except SystemExit as stop:
    assert not stop.code
assert "torch" not in sys.modules, "torch"
assert "numpy" not in sys.modules, "numpy"
assert {name is not None} or "tyro" not in sys.modules, "tyro"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: chartae" in done.stdout


HEAVY = """
import sys
from chartae import cli
for words in ({words}):
    assert cli.main(words) == 0
heavy = {{"accelerate", "matplotlib", "botorch", "rdkit", "numba"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_no_verb_imports_what_it_does_not_need(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (260, 1, 8, 8), np.uint8))
    folder, data = str(tmp_path / "r"), str(tmp_path / "x.npy")
    words = [
        ["fit", data, "--recipe", "vae", "--epochs", "1", "--densities", "normal", "--out", folder, "--quiet"],
        ["sample", folder, "--quiet"],
        ["evaluate", folder, "--n", "20", "--extractor", "pixels", "--quiet"],
        ["encode", folder, data, "--n", "5", "--out", folder + "/z.npy"],
        ["interpolate", folder, "--out", folder + "/path.png"],
        ["list", "recipes"],
    ]
    code = HEAVY.format(words=", ".join(map(repr, words)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_chartae_loads_nothing():
    code = "import sys, chartae; assert 'torch' not in sys.modules; print(chartae.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    from importlib.metadata import version

    assert done.stdout.strip() == version("chartae")


def test_every_setting_that_is_a_flag_exists():
    for settings, listed in verb.FLAGS.items():
        assert set(listed) <= {field.name for field in dataclasses.fields(settings)}
    assert verb.FLAGS[Training]["precision"].type is str


def test_help_and_version(capsys):
    assert cli.main(["--help"]) == 0
    assert "compare" in capsys.readouterr().out
    assert cli.main([]) == 2
    assert cli.main(["--version"]) == 0
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--help"])
    assert stop.value.code == 0


def test_score_and_chains(tmp_path, capsys):
    run = str(tmp_path / "r")
    assert cli.main(["fit", "mixture-2d", "--recipe", "dae", "--sigma", "0.3", "--epochs", "1", "--out", run]) == 0
    capsys.readouterr()
    assert cli.main(["score", run, "--n", "500", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results == json.loads((tmp_path / "r" / "score.json").read_text())
    (level,) = results["levels"]
    assert level["sigma"] == 0.3
    assert 0 < level["smoothed"]["cosine"] <= 1
    assert level["denoising"] < 1
    assert sum(level["local_dimension"]) == 500
    for name in ("score-field.png", "score-dimension.png"):
        with Image.open(tmp_path / "r" / name) as picture:
            assert picture.size[0] > 400
    assert cli.main(["score", run, "--n", "500"]) == 0
    assert "antisym" in capsys.readouterr().out
    words = ["sample", run, "--sampler", "mala", "--n", "20", "--steps", "30", "--warmup", "30"]
    assert cli.main(words) == 0
    assert (tmp_path / "r" / "samples.png").is_file()
    assert cli.main([*words, "--out", str(tmp_path / "x.npy")]) == 0
    assert np.load(tmp_path / "x.npy").shape == (20, 2)
    capsys.readouterr()
    for wrong, message in (
        (["score", run, "--sigma", "0.1"], "trained with noise 0.3"),
        (["sample", run, "--sampler", "annealed"], "Train the recipe ncdae"),
        (["sample", run, "--sampler", "hmc"], "sampler is 'hmc'"),
        (["sample", run, "--sampler", "mala", "--density", "gmm"], "give one of them"),
        (["fit", "mixture-2d", "--recipe", "dae", "--sigma", "-1", "--out", str(tmp_path / "n")], "0 or above"),
    ):
        assert cli.main(wrong) == 2
        assert message in capsys.readouterr().err


def test_a_score_of_a_model_without_noise_says_what_it_would_mean(run, capsys):
    assert cli.main(["score", str(run)]) == 2
    assert "estimates no score" in capsys.readouterr().err
    assert cli.main(["sample", str(run), "--steps", "5"]) == 2
    assert "is for chains" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_a_run_that_is_sampled_by_chains(tmp_path, capsys):
    words = ["fit", "digits", "--recipe", "ncdae", "--latent-dim", "32", "--epochs", "1", "--out", str(tmp_path / "r")]
    assert cli.main(words) == 0
    assert cli.main(["evaluate", str(tmp_path / "r"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["own"] == "annealed"
    assert results["sets"]["annealed"]["frechet"] > 0
    assert cli.main(["report", str(tmp_path / "r")]) == 0
    assert cli.main(["sample", str(tmp_path / "r"), "--n", "9"]) == 0


def test_pictures_of_different_sizes_are_resized_and_read_again(tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(30):
        size = (9 + i % 3, 8 + i % 5, 3)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(tmp_path / "pictures" / f"{i:02}.png")
    words = ["fit", str(tmp_path / "pictures"), "--recipe", "ae", "--latent-dim", "2", "--epochs", "1", "--net", "mlp"]
    words += ["--densities", "normal", "--out", str(tmp_path / "r")]
    assert cli.main(words) == 2
    assert "Give --size " in capsys.readouterr().err
    assert cli.main([*words, "--size", "8"]) == 0
    assert Settings.read(tmp_path / "r" / "run.toml").reading["size"] == [8, 8]
    assert cli.main(["traverse", str(tmp_path / "r"), "--steps", "3"]) == 0  # loads the data again
