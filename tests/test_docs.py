"""Every Python block of the README and the docs runs, page by page, in an empty folder."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

from chartae import densities
from chartae.data import kinds
from chartae.evaluation import base as evaluators
from chartae.recipes import RECIPES, options
from families import DOMAINS, STRINGS

ROOT = Path(__file__).parents[1]
PAGE_OF_RECIPES = ROOT / "docs" / "recipes.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))


@pytest.fixture
def _own_tables(monkeypatch):
    """What a page registers is forgotten after it."""
    monkeypatch.setattr(RECIPES, "_records", {**RECIPES})
    monkeypatch.setattr(densities.NAMES, "registered", {**densities.NAMES})
    monkeypatch.setattr(kinds.base, "_KINDS", {kind.name: kind for kind in kinds.kinds()})
    monkeypatch.setattr(evaluators, "_ROWS", dict(evaluators.rows()))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
@pytest.mark.usefixtures("_own_tables", "float32")
def test_the_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(blocks(page), str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_the_table_of_recipes_has_every_option():
    rows = re.findall(r"^\| (`[a-z0-9-]+`) \|[^|]*(?:\\\|[^|]*)*\| (.*) \|$", PAGE_OF_RECIPES.read_text(), re.MULTILINE)
    table = {name.strip("`"): set(re.findall(r"`([a-z0-9_]+)`", cell)) for name, cell in rows}
    for name in RECIPES:
        if name not in STRINGS:
            given = {"gamma2"} if name == "vae" else {"to"} if name in DOMAINS else set()
            assert table[name] | given == set(options(name)) | given, name


def test_the_evidence_is_what_the_results_say():
    page = runpy.run_path(str(ROOT / "tools" / "build_evidence.py"))
    assert page["PAGE"].read_text() == page["page"](), "run tools/build_evidence.py"
    assert page["POSTERIORS"].read_text() == page["posteriors_page"](), "run tools/build_evidence.py"
