"""The reproductions: their table, what they may import, and how the command line finds them."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import chartae as ch
import papers
from chartae import cli
from chartae.cli import reproduce
from papers import Request, factorial, rae_table1, records, side_by_side, table
from papers.parts import Claim, Parts, claims_table
from papers.side_by_side import Row, train_all

FILES = sorted((Path(__file__).parents[1] / "papers").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_reproductions_use_public_names_only(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("chartae", "papers"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                submodules = [found.name for found in pkgutil.iter_modules(vars(module).get("__path__", []))]
                assert alias.name in (*submodules, *vars(module).get("__all__", ())), f"{node.module}.{alias.name}"
                assert not alias.name.startswith("_")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or body[-1].end_lineno - body[0].lineno < 80, node.name
            assert len(node.args.args) + len(node.args.kwonlyargs) <= 7, node.name


def test_every_record_says_what_it_takes():
    assert len(records()) >= 13
    for name, record in records().items():
        assert record.name == name
        assert set(record.takes) <= set(table.OPTIONAL)
        assert 20 < len(record.summary) < 120
    assert set(table.OPTIONAL) == {field for record in records().values() for field in record.takes}


@pytest.mark.parametrize("field", ["seeds", "labels", "limit", "epochs"])
def test_counts_are_at_least_one(field):
    with pytest.raises(ValueError, match=f"--{field} is 0; expected a number >= 1"):
        Request("out", **{field: 0})


def test_a_new_reproduction_is_one_new_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy.py").write_text(
        "from papers.parts import Parts\n"
        "from papers.table import reproduction\n"
        "@reproduction('toy', takes=('limit',))\n"
        "def toy(request):\n"
        "    'a toy'\n"
        "    parts = Parts(request, 'toy')\n"
        "    parts.write(str(parts.make('one', lambda: 7 * request.limit).result))\n"
    )
    table.records()  # imports the others into the table, which is restored afterwards
    monkeypatch.setattr(papers, "__path__", [*papers.__path__, str(tmp_path)])
    monkeypatch.setattr(table, "TABLE", dict(table.TABLE))
    try:
        assert cli.main(["reproduce", "toy", "--limit", "6", "--out", str(tmp_path / "out")]) == 0
        assert capsys.readouterr().out.startswith("42\n")
        with pytest.raises(SystemExit, match="0"):
            cli.main(["reproduce", "--help"])
        assert "toy: a toy" in capsys.readouterr().out
    finally:
        sys.modules.pop("papers.toy")


def test_outside_a_checkout_it_says_where_they_live(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "papers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(reproduce, "__file__", str(tmp_path / "site-packages" / "chartae" / "cli" / "reproduce.py"))
    assert cli.main(["reproduce", "ima-linear", "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "source checkout" in message
    assert "make setup" in message
    assert "python -m papers NAME --out FOLDER" in message
    with pytest.raises(SystemExit, match="0"):
        cli.main(["reproduce", "--help"])
    assert "source checkout" in capsys.readouterr().out


def test_the_package_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["papers", "ima-linear", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("papers", run_name="__main__")
    assert "| 3 x 3 |" in capsys.readouterr().out


# -- Table 1 of the RAE paper, with its rows side by side -------------------------------------------------------------


@pytest.fixture
def digits(monkeypatch):
    """Table 1 of the digits that ship with scikit-learn."""
    monkeypatch.setitem(rae_table1.TABLE1, "digits", dict.fromkeys(("ae", "vae"), (1.0, 2.0, 3.0, 4.0)))
    monkeypatch.setattr(rae_table1, "QUICK", {"net": "mlp", "latent_dim": 3, "epochs": 1, "batch_size": 100})
    return ["reproduce", "rae-table1", "--data", "digits", "--quick"]


def test_flags_reach_the_rows(digits, monkeypatch, tmp_path, capsys):
    calls = []
    monkeypatch.setattr(rae_table1, "train_all", lambda rows, **limits: calls.append((rows, limits)))
    flags = ["--recipes", "vae", "--epochs", "7", "--net", "conv:4x8", "--precision", "bf16", "--seeds", "2"]
    flags += ["--jobs", "3", "--minutes", "0.5", "--device", "cpu"]
    assert cli.main([*digits, *flags, "--out", str(tmp_path)]) == 2
    assert "--minutes is 0.5; expected enough to train a row" in capsys.readouterr().err
    [(rows, limits)] = calls
    settings = {"net": "conv:4x8", "precision": "bf16", "latent_dim": 3, "batch_size": 100}
    assert [(r.recipe, r.seed, r.epochs, r.settings, r.device) for r in rows] == [
        ("vae", 100, 7, settings, "cpu"), ("vae", 101, 7, settings, "cpu"),
    ]  # fmt: skip
    assert (limits["jobs"], limits["minutes"], limits["overwrite"]) == (3, 0.5, False)


def test_flags_that_do_not_fit_are_refused(digits, tmp_path, capsys):
    for words, message in {
        ("--recipes", "dae"): "--recipes has 'dae'; expected one of ae, vae",
        ("--jobs", "0"): "--jobs is 0; expected a number >= 1",
        ("--minutes", "0"): "--minutes is 0; expected a finite number above 0",
        ("--jobs", "2", "--weights", "w.pt"): "--weights is w.pt; expected none with --jobs or --minutes",
    }.items():
        assert cli.main([*digits, *words, "--out", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err


def test_a_row_that_fails_loses_no_other(digits, tmp_path, monkeypatch, capsys):
    """The table is written after each row, whether it fails or not."""
    monkeypatch.setattr(
        side_by_side, "_start", lambda row: subprocess.Popen([sys.executable, "-c", f"exit({row.recipe == 'ae'})"])
    )
    rows, tables = [Row(recipe, 0, str(tmp_path), "digits") for recipe in ("ae", "vae", "rae")], []
    with pytest.raises(ChildProcessError, match=r"1 of 3 rows failed. Their output is in .*ae-0\.log"):
        train_all(rows, jobs=2, minutes=None, say=lambda text: None, write=lambda: tables.append(1))
    assert len(tables) == 3
    assert cli.main([*digits, "--recipes", "ae", "--jobs", "1", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("chartae: 1 of 1 rows failed")


@pytest.mark.usefixtures("float32")
def test_the_paper_net_has_narrower_widths():
    pictures = torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8)
    settings = {"latent_dim": 16, "epochs": 1, "batch_size": 16, "densities": (), "device": "cpu", "progress": False}
    run = ch.fit("ae", pictures, net="paper:0.25", **settings)
    count = sum(p.numel() for p in run.model.parameters())
    assert 1 / 16 < count / 22.7e6 < 1 / 12  # the convolutions have a sixteenth of the paper's parameters
    assert run.history.last()["loss"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
def test_minutes_stop_a_training_that_continues(digits, monkeypatch, tmp_path):
    monkeypatch.setattr(rae_table1, "DENSITIES", ("prior", "normal"))
    words = [*digits, "--recipes", "ae", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main([*words, "--epochs", "100000", "--jobs", "1", "--minutes", "0.01"]) == 0
    written = json.loads((tmp_path / "comparison.json").read_text())
    [reached] = written["epochs_reached"]["ae"]
    assert 1 <= reached < 100000
    assert "| ae |" in (tmp_path / "table.md").read_text()
    goal = reached + 2
    assert cli.main([*words, "--epochs", str(goal), "--jobs", "2"]) == 0
    assert json.loads((tmp_path / "comparison.json").read_text())["epochs_reached"] == {"ae": [goal]}
    log = [json.loads(line) for line in (tmp_path / "ae" / "seed-100" / "log.jsonl").read_text().splitlines()]
    valid = [row["epoch"] for row in log if row["split"] == "valid"]
    assert valid == list(range(1, goal + 1))  # no epoch is trained twice


def test_a_claim_is_met_by_its_numbers():
    claim = Claim("error", "1805.09804", "<= 2", [1.0, 2.0, 1.5])
    assert claim.met
    assert claim.verdict == "met, within noise"
    assert Claim("error", "ours", "<= 2", [1.0, 1.1]).verdict == "met"
    assert Claim("error", "ours", "> 2", [1.0, 1.1]).verdict == "**not met**"
    assert Claim("error", "ours", ">= 2", []).met is None
    row = claim.row()
    assert (row["n"], row["mean"], row["sd"], row["met"]) == (3, 1.5, 0.5, True)
    assert "| error | 1805.09804 | - | <= 2 | 1.500 ± 0.500 | 3 | met, within noise |" in claims_table([claim])
    with pytest.raises(ValueError, match="target is 'about 2'; expected one of >"):
        Claim("error", "ours", "about 2", [])


def test_the_factorial_switches_every_part(tmp_path, monkeypatch):
    """Every cell is trained with the parts that it names, and a claim compares cells that differ in one part."""
    fitted = []
    errors = {"decoder and critic": 0.01, "views": 0.1, "neighbours": 0.05}

    def fit(recipe, data, **options):
        fitted.append((recipe, options))
        return options

    def error(run, data):
        there = [not run["encoder_alone"], run["views"], run["neighbours"] > 0]
        return 0.3 - sum(e for e, on in zip(errors.values(), there, strict=True) if on)

    monkeypatch.setattr(factorial, "fit", fit)
    monkeypatch.setattr(factorial, "class_error", error)
    request = Request(tmp_path, seeds=2)
    data = ch.data.load("digits")
    parts = Parts(request, "few")
    found = factorial.factorial(request, parts, data, (100,), {"epochs": 1}, supervised=True)
    assert len(fitted) == 8 * 2
    assert {options["seed"] for _, options in fitted} == {100, 101}
    assert all(
        options.get("agreement") == 0.0 for _, options in fitted if not (options["views"] or options["neighbours"])
    )
    claims = {claim["claim"]: claim for claim in found["claims"]}
    assert claims["100 labels: what views, beside the others, take off the error"]["mean"] == pytest.approx(10)
    alone = claims["100 labels: what decoder and critic, alone, take off the error"]
    assert (alone["mean"], alone["n"], alone["met"]) == (pytest.approx(1), 2, True)
    assert alone["note"] == "the control has 30.00 %"
    # without labels there is nothing to train in the last cell
    assert len(factorial.cells(supervised=False)) == 7
