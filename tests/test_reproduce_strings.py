"""The tables of grammar autoencoders, made small: every part, its resumption, and what is refused."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from chartae import cli
from papers import Request, grae, reproduce

pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture
def root(tmp_path):
    terms = ("x", "1", "2", "3", "sin ( x )", "( x + 1 )", "exp ( x )")
    lines = [f"{a} {op} {b} + {c}" for a in terms for op in "+*/" for b in terms for c in terms[:2]]
    (tmp_path / "equation2_15_dataset.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.slow
def test_expressions(root, monkeypatch, capsys):
    pytest.importorskip("botorch")
    small = {"keep": 30, "candidates": 60, "fit": {"iterations": 2}}
    coarse = {"starts": 20, "fit": {"steps": 5, "inducing": 10}}
    searches = tuple(
        s if s.settings is None else s._replace(settings=s.settings | (coarse if s.name == "box" else small))
        for s in grae.SEARCHES
    )
    monkeypatch.setattr(grae, "SEARCHES", searches)
    monkeypatch.setattr(grae, "SAMPLES", 50)
    monkeypatch.setattr(grae, "BATCH", 3)
    monkeypatch.setattr(grae, "EXPRESSIONS", grae.EXPRESSIONS._replace(rounds=2))
    monkeypatch.setattr(grae, "SURROGATE", {"steps": 5, "inducing": 10})
    command = ["reproduce", "grae-expressions", "--quick", "--seeds", "1", "--epochs", "1", "--limit", "290",
               "--recipes", "grae", "cvae", "--data-root", str(root), "--out", str(root / "out")]  # fmt: skip
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert "trust region" in told
    assert "1.00 ± 0.00; 3.22 ± 0.03; 0.39, 0.39, 0.43" in told
    found = json.loads((root / "out" / "results.json").read_text())
    assert [m["recipe"] for m in found["models"]] == ["grae", "cvae"]
    assert found["models"][0]["gmm"]["valid"] == 1
    rows = {(s["search"], s["recipe"]): s for s in found["searches"]}
    assert len(rows) == len(found["searches"]) == 2 * 5 + 2
    assert all(s["valid"] == 1 for s in found["searches"] if s["recipe"] == "grae" and s["codes"])
    assert found["searches"][0]["seed"] == 100
    known = {line.replace(" ", "") for line in (root / "equation2_15_dataset.txt").read_text().splitlines()}
    assert found["known"] == len(known) > found["strings"] == 290
    for row in rows.values():
        assert row["known"] == len(known)
        assert known.isdisjoint(string["string"] for string in row["strings"])
        if row["best_new"] is not None:
            assert row["best_new"]["score"] == pytest.approx(row["curve"][-1], abs=1e-6)
            assert row["best_new"]["score"] >= 0  # in its own direction
    # the best strings are hidden from the autoencoder too
    hidden = load_data(root / "out" / "grae-hidden" / "run")
    assert len(hidden) == round(0.99 * 290)
    claims = {claim["claim"]: claim for claim in found["claims"]}
    gain = claims["expression-fit: best new string of grae's trust region, gain on genetic algorithm"]
    ours, theirs = (rows[key]["best_new"]["score"] for key in [("trust region", "grae"), ("genetic algorithm", "-")])
    assert gain["mean"] == pytest.approx(theirs - ours)
    assert gain["met"] == (theirs > ours)
    assert cli.main(command) == 0  # from its parts
    assert "search-expression-fit-grae-box-100: read" in capsys.readouterr().err


def load_data(folder):
    """Number of strings that a run was fitted to, with those for validation and test."""
    return sum(json.loads((folder / "results.json").read_text())["data"].values())


def test_what_is_refused(root):
    with pytest.raises(ValueError, match="--recipes has 'rae'"):
        reproduce("grae-expressions", Request(root / "o", root=root, recipes=("rae",)))
    with pytest.raises(FileNotFoundError, match="which does not hold zinc250k/.*Pass it as --data-root"):
        reproduce("grae-molecules", Request(root / "o", root=root))
    assert cli.main(["reproduce", "iae-cluster", "--limit", "3", "--out", str(root / "o")]) == 2


def test_the_best_molecule_of_each_search_is_drawn(tmp_path):
    pytest.importorskip("rdkit")
    found = [
        {
            "recipe": "grae",
            "search": search,
            "seed": seed,
            "objective": "qed",
            "best_new": {"string": "CCO", "score": 1.0} if n else None,
        }
        for search, seed, n in (("trust region", 0, 2), ("trust region", 1, 1), ("trust region", 2, 0), ("box", 0, 1))
    ]

    def width(searches):
        grae.draw_best(tmp_path / "best.png", searches)
        with Image.open(tmp_path / "best.png") as shown:
            return shown.width

    assert 1.9 * width(found[:1]) < width(found) < 2.2 * width(found[:1])  # two: the third found nothing
    grae.draw_best(tmp_path / "none.png", [])
    assert not (tmp_path / "none.png").exists()
