"""The reproductions: their table, what they may import, and how the command line finds them."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import runpy
import sys
from pathlib import Path

import pytest

import papers
from chartae import cli
from chartae.cli import reproduce
from papers import Request, records, table

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
