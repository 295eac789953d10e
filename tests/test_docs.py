"""Every Python block of the README and the docs runs, page by page, in an empty folder; every command parses."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest
import torch

from chartae import densities
from chartae.cli.fit import Fit
from chartae.cli.main import VERBS
from chartae.cli.recipes import refuse_unknown
from chartae.cli.verb import parsed
from chartae.data import kinds
from chartae.evaluation import base as evaluators
from chartae.recipes import RECIPES
from chartae.recipes import options as options_of
from families import DOMAINS, STRINGS

ROOT = Path(__file__).parents[1]
PAGE_OF_RECIPES = ROOT / "docs" / "recipes.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS]
FENCE = re.compile(
    r"^```(?P<language>python|sh|\{code-cell\} python)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
#: executed by the site's build, with more epochs than a test has time for
BUILT = ["tour.md"]
#: pages whose code trains for long: they run in the slow lane
LONG = ["posteriors.md", "implicit.md", "score.md"]


def blocks(page: Path, language: str = "python") -> str:
    """The blocks of a page in one language, one below the other."""
    matches = [m for m in FENCE.finditer(page.read_text()) if m["language"].endswith(language)]
    text = "\n".join(m["text"] for m in matches)
    return re.sub(r"^:[\w-]+:.*\n", "", text, flags=re.MULTILINE)  # the options of a cell


def commands(page: Path) -> list[list[str]]:
    """The words of every `chartae` command of a page, and of the gallery's pictures on its page."""
    text = blocks(page, "sh")
    if page.name == "gallery.md":
        pictures = tomllib.loads((ROOT / "docs" / "gallery" / "pictures.toml").read_text())["picture"]
        text = "\n".join(c for p in pictures for c in p["commands"])
    lines = [
        shlex.split(part.split(" > ")[0], comments=True) for line in text.splitlines() for part in line.split("&&")
    ]
    return [words[1:] for words in lines if words[:1] == ["chartae"] and "..." not in words]


@pytest.fixture
def _own_tables(monkeypatch):
    """What a page registers is forgotten after it."""
    monkeypatch.setattr(RECIPES, "_records", {**RECIPES})
    monkeypatch.setattr(densities.NAMES, "registered", {**densities.NAMES})
    monkeypatch.setattr(kinds.base, "_KINDS", {kind.name: kind for kind in kinds.kinds()})
    monkeypatch.setattr(evaluators, "_ROWS", dict(evaluators.rows()))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=[pytest.mark.slow] if p.name in LONG else [], id=p.name)
        for p in PAGES
        if blocks(p) and p.name not in BUILT
    ],
)
@pytest.mark.usefixtures("_own_tables", "float32")
def test_the_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(blocks(page), str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in DOCS if p.name in BUILT], ids=lambda p: p.name)
@pytest.mark.usefixtures("_own_tables", "float32")
def test_the_code_of_a_built_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.sub(r"epochs=\d+", "epochs=1", blocks(page))
    exec(compile(code, str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_the_commands_parse(page):
    for name, *words in commands(page):
        if name.startswith("--"):
            continue
        verb, options = parsed(VERBS[name].load(), name, words)
        if options:
            recipes = [verb.model.recipe] if isinstance(verb, Fit) else verb.output.recipes
            refuse_unknown(type(verb), recipes, options)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_what_holds_the_promises_of_security_exists():
    text = (ROOT / "SECURITY.md").read_text()
    promises = re.findall(r"^\| \*\*.*\|$", text, re.MULTILINE)
    assert len(promises) >= 10
    for promise in promises:
        holders = re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)`", promise.split("|")[-2])
        assert holders, promise
        for holder in holders:
            assert (ROOT / holder).is_file(), holder


def test_the_table_of_recipes_has_every_option():
    rows = re.findall(r"^\| (`[a-z0-9-]+`) \|[^|]*(?:\\\|[^|]*)*\| (.*) \|$", PAGE_OF_RECIPES.read_text(), re.MULTILINE)
    table = {name.strip("`"): set(re.findall(r"`([a-z0-9_]+)`", cell)) for name, cell in rows}
    for name in RECIPES:
        if name not in STRINGS:
            given = {"gamma2"} if name == "vae" else {"to"} if name in DOMAINS else set()
            assert table[name] | given == set(options_of(name)) | given, name


def test_the_evidence_is_what_the_results_say():
    page = runpy.run_path(str(ROOT / "tools" / "build_evidence.py"))
    assert page["PAGE"].read_text() == page["page"](), "run tools/build_evidence.py"
    assert page["POSTERIORS"].read_text() == page["posteriors_page"](), "run tools/build_evidence.py"
    assert page["lacking"]() == []  # every claim has numbers, and says what differs from the published protocol


def test_every_page_is_in_the_navigation():
    index = (ROOT / "docs" / "index.md").read_text()
    listed = {line for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL) for line in block.split()}
    for page in DOCS:
        assert page.stem == "index" or page.stem in listed, page.name


def test_pictures_of_the_gallery_are_small():
    pictures = list((ROOT / "docs" / "gallery").glob("*.png"))
    assert max(p.stat().st_size for p in pictures) < 150_000
    assert sum(p.stat().st_size for p in pictures) < 1_500_000
