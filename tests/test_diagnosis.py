from __future__ import annotations

import json
from dataclasses import replace
from statistics import mean

import pytest
import torch

import chartae as ch
from chartae import cli
from chartae.data import Dataset
from chartae.evaluation.geometry import diagnose
from papers import Request
from papers.parts import Parts

pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture(scope="module")
def known():
    x, z = (t.float() for t in ch.data.toys.moebius(dim=3, seed=0).sample(900, seed=0))
    x = x / x.std()
    return Dataset("moebius", x[:600], x[600:700], x[700:], z[:600], z[600:700], z[700:], factors=("a", "b", "c"))


@pytest.mark.parametrize(
    ("recipe", "options"),
    [("vae", {"gamma2": 100.0, "prior": "uniform"}), ("vae", {"gamma2": 0.01}), ("rae", {}), ("sigma-vae", {})],
)
def test_every_recipe_says_what_it_has_learnt(recipe, options, known, tmp_path):
    epochs = 60 if options.get("gamma2") == 0.01 else 3
    run = ch.fit(
        recipe, known, epochs=epochs, lr=1e-2, net="smooth:16", latent_dim=3, densities=(), progress=False, **options
    )
    run = run.save(tmp_path / "run")
    found = diagnose(run, known, n=60, out=tmp_path / "page.html")
    assert json.loads((tmp_path / "run" / "diagnose.json").read_text()) == found
    assert len(found["geometry"]["singular_values"]) == 3
    assert found["recovery"]["factors"] == ["a", "b", "c"]
    assert 0 < found["recovery"]["chance"] < found["recovery"]["rotation"] < 1
    assert ("kl" in found["codes"]) == (recipe != "rae")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") >= 3
    assert "http" not in page
    if options.get("gamma2") == 0.01:
        assert found["codes"]["active"] == [False] * 3
        assert "collapsed onto the prior" in found["warnings"][0]


@pytest.mark.slow
def test_images_by_the_command_line(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["fit", "digits", "--recipe", "rae", "--latent-dim", "3", "--epochs", "1", "--out", str(folder)]
    assert cli.main(words) == 0
    assert cli.main(["diagnose", str(folder), "--n", "20", "--out", str(tmp_path / "d.html")]) == 0
    out = capsys.readouterr()
    assert "IMA contrast" in out.out
    assert "3 of 3" in out.out
    assert (tmp_path / "d.html").is_file()
    assert cli.main(["diagnose", str(folder), "--n", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 20
    assert (folder / "diagnose.html").is_file()
    assert cli.main(["diagnose", str(folder), "--n", "1"]) == 2
    assert "give at least 2 points" in capsys.readouterr().err
    assert cli.main(["diagnose", str(folder), "--out", str(tmp_path)]) == 2
    assert "is a folder; give a file" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["grae", "gvae"])
def test_strings_have_codes_but_no_geometry(recipe, tmp_path):
    strings = [f"{'x+' * i}{end}" for i in range(12) for end in ("x", "1", "2", "sin(x)", "3*x", "x*x", "exp(x)")] * 2
    lengths = [float(len(s)) for s in strings]
    run = ch.fit(
        recipe, strings, grammar="expressions", target=lengths, latent_dim=4, epochs=8, batch_size=32, lr=5e-3,
        densities=(), progress=False, out=tmp_path / "run",
    )  # fmt: skip
    data = ch.data.from_strings(strings, "expressions", target=lengths)
    diagnosis = diagnose(run, data, n=60, out=tmp_path / "page.html")
    assert json.loads((tmp_path / "run" / "diagnose.json").read_text()) == diagnosis
    assert not {"geometry", "columns"} & set(diagnosis)
    assert ("kl" in diagnosis["codes"]) == (recipe == "gvae")
    assert len(diagnosis["codes"]["active"]) == 4
    assert diagnosis["consistency"]["code_relative"] > 0
    assert diagnosis["recovery"]["factors"] == ["target"]
    assert 0.3 < diagnosis["recovery"]["affine_r2"]["target"] <= 1
    assert "active code dimensions" in (tmp_path / "page.html").read_text()


def test_a_translating_or_conditional_run_is_sent_elsewhere():
    run = ch.fit("iae-translate", torch.randn(40, 4), to=torch.randn(30, 6), epochs=1, progress=False)
    with pytest.raises(ValueError, match="points of another domain"):
        diagnose(run)
    run = ch.fit("vae", "digits", condition="labels", latent_dim=3, epochs=1, densities=(), progress=False)
    with pytest.raises(ValueError, match="conditioned on labels"):
        diagnose(run)


def test_a_score_recipe_is_sent_elsewhere():
    run = ch.fit("dae", torch.randn(64, 2), sigma=0.3, epochs=1, latent_dim=8, progress=False)
    with pytest.raises(ValueError, match="Use `chartae score`"):
        diagnose(run)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ima-linear", "ima-gap"])
def test_reproduce(name, tmp_path, capsys):
    words = ["reproduce", name, "--quick", "--out", str(tmp_path / "r")]
    assert cli.main(words) == 0
    shown = capsys.readouterr()
    assert (tmp_path / "r" / "table.md").read_text() in shown.out
    assert cli.main(words) == 0
    assert "read from" in capsys.readouterr().err
    if name == "ima-linear":
        rows = json.loads((tmp_path / "r" / "linear.json").read_text())["found"]
        assert max(row["worst"] for row in rows) < 1e-10
    else:
        last = json.loads((tmp_path / "r" / "triangular.json").read_text())["found"][-1]
        assert last["elbo"] == pytest.approx(last["ima"], abs=1e-4)
        assert last["log_likelihood"] - last["elbo"] == pytest.approx(last["contrast"], abs=1e-3)
        assert (tmp_path / "r" / "gap.png").stat().st_size > 10_000
        assert cli.main([w for w in words if w != "--quick"]) == 2  # quick parts are no parts of the whole result
        assert "holds parts made with {'result': 'ima-gap', 'quick': True}; expected" in capsys.readouterr().err


def test_an_overwritten_result_has_no_old_parts(tmp_path):
    request = Request(tmp_path / "r")
    assert Parts(request, "result", labels=100).make("one", lambda: 100).result == 100
    assert Parts(request, "result", labels=100).make("one", lambda: 0).result == 100  # kept
    run = tmp_path / "r" / "model" / "run.toml"
    run.parent.mkdir()
    run.write_text("")
    with pytest.raises(FileExistsError, match="holds parts made with"):
        Parts(request, "result", labels=1000)
    Parts(replace(request, overwrite=True), "result", labels=1000)
    assert not run.exists()
    # interrupted there, and resumed
    assert Parts(request, "result", labels=1000).make("one", lambda: 1000).result == 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ima-moebius", "ima-consistency"])
def test_reproduce_trained(name, tmp_path):
    assert cli.main(["reproduce", name, "--quick", "--out", str(tmp_path)]) == 0
    if name == "ima-moebius":
        rows = json.loads((tmp_path / "precision.json").read_text())["found"]
        soft, stiff = ([row["mcc"] for row in rows if row["gamma2"] == gamma2] for gamma2 in (1e1, 1e4))
        assert mean(stiff) > mean(soft) + 0.2
    else:
        slopes = json.loads((tmp_path / "exact.json").read_text())["found"]["slopes"]
        assert slopes["reconstruction"][0] == pytest.approx(-2, abs=0.1)
