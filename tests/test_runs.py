from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import chartae as ch
from chartae import data as chdata
from chartae.recipes import RECIPES
from chartae.records import manifest
from chartae.records.tensors import read_tensors, write_tensors
from chartae.runs import Settings
from families import DOMAINS, LABELS, STRINGS

pytestmark = pytest.mark.usefixtures("float32")


def table(n=300):
    g = np.random.default_rng(0)
    return (g.normal(size=(n, 3)) @ g.normal(size=(3, 8))).astype(np.float32)


QUICK = {"latent_dim": 3, "epochs": 1, "batch_size": 50, "components": 3, "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    return ch.fit("rae-l2", "digits", out=tmp_path_factory.mktemp("runs") / "a", **QUICK)


@pytest.fixture
def folder(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_comes_back_as_it_went(run):
    again = ch.load(run.folder)
    assert again.settings == run.settings
    assert again.log == run.log
    x = run.data().test[:9]
    assert torch.equal(again.encode(x), run.encode(x))
    for name in ("prior", "normal", "gmm"):
        assert torch.allclose(again.sample(5, name, seed=1), run.sample(5, name, seed=1), atol=1e-5)
        assert not torch.equal(again.sample(5, name, seed=1), run.sample(5, name, seed=2))
    assert run.sample(4).shape == (4, 1, 8, 8)


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in STRINGS])
def test_every_recipe_is_rebuilt_from_its_folder(recipe, tmp_path):
    own = {"to": table()[::-1].copy(), "latent_dim": None} if recipe in DOMAINS else {}
    data = table()
    if recipe in LABELS:
        data = ch.data.from_arrays(data, np.arange(len(data)) % 3)
    made = ch.fit(recipe, data, densities=(), **QUICK | own).save(tmp_path / "r")
    again = ch.load(tmp_path / "r")
    x = torch.from_numpy(table()[:7])
    assert torch.allclose(again.model.reconstruct(x), made.model.reconstruct(x))
    assert repr(again.objective) == repr(made.objective) == again.settings.objective
    with pytest.raises(FileExistsError, match="not empty"):
        made.save(tmp_path / "r")


def test_arrays_cannot_be_loaded_again():
    made = ch.fit("ae", table(), densities=(), **QUICK)
    assert made.kind.unit is False
    assert made.kind.name == "table"
    with pytest.raises(ValueError, match="pass the data again"):
        made.data()
    made.fit_density("normal", made.encode(table()))
    assert made.sample(3, "normal").shape == (3, 8)
    with pytest.raises(ValueError, match="has not been fitted to this run"):
        made.sample(3, "gmm")
    with pytest.raises(ValueError, match="density is 'flow'; expected one of prior, normal, gmm"):
        made.sample(3, "flow")


def test_data_that_changed_are_refused(run):
    data = run.data()
    other = chdata.from_arrays(data.train.flip(0), seed=0)
    with pytest.raises(ValueError, match="not those that the run was fitted to"):
        run.check_data(other)
    with pytest.raises(ValueError, match="data are table rows"):
        run.check_data(chdata.from_arrays(table()))


def test_nothing_is_overwritten(run, tmp_path):
    kept = (run.folder / "weights.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run; choose a new folder, or set overwrite or resume"):
        ch.fit("rae-l2", "digits", out=run.folder, **QUICK)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="not empty and holds no run"):
        ch.fit("rae-l2", "digits", out=tmp_path, overwrite=True, **QUICK)
    with pytest.raises(FileExistsError, match="is a file"):
        ch.fit("rae-l2", "digits", out=tmp_path / "thesis.tex", overwrite=True, **QUICK)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
    # what is wrong with the request shows before the old run is touched
    with pytest.raises(TypeError, match="has no option gamma"):
        ch.fit("rae-l2", "digits", out=run.folder, overwrite=True, gamma=1.0, **QUICK)
    assert (run.folder / "weights.safetensors").read_bytes() == kept


def test_overwrite_and_resume(folder):
    longer = QUICK | {"epochs": 3}
    with pytest.raises(ValueError, match="latent_dim is 2; expected 3, as in the run in"):
        ch.fit("rae-l2", "digits", out=folder, resume=True, **longer | {"latent_dim": 2})
    begun = ch.fit("rae-l2", "digits", out=folder.parent / "no", resume=True, **longer)
    resumed = ch.fit("rae-l2", "digits", out=folder, resume=True, **longer)
    whole = ch.fit("rae-l2", "digits", **longer)
    for run in (begun, resumed):
        assert all(torch.equal(v, whole.model.state_dict()[k]) for k, v in run.model.state_dict().items())
    fresh = ch.fit("ae", "digits", out=folder, overwrite=True, **QUICK)
    assert ch.load(folder).settings == fresh.settings


def test_a_run_of_a_version_that_knew_fewer_keys_is_resumed(tmp_path):
    x, options = torch.randn(50, 3), {"latent_dim": 2, "densities": (), "out": tmp_path, "progress": False}
    ch.fit("rae", x, epochs=1, **options)
    text = (tmp_path / "run.toml").read_text()
    (tmp_path / "run.toml").write_text(text.replace("others = []\n", ""))
    assert text.count("others = []\n") == 1
    manifest.register(tmp_path, "run.toml")
    assert ch.fit("rae", x, epochs=2, resume=True, **options).history.epochs == 2


@pytest.mark.parametrize("listed", ["state.json", "comparison.json"])
def test_only_a_run_is_replaced_by_a_run(tmp_path, listed):
    (tmp_path / listed).write_text("mine")
    manifest.register(tmp_path, listed)
    with pytest.raises(FileExistsError, match="is not empty and holds no run"):
        ch.fit("rae", torch.randn(50, 3), epochs=1, latent_dim=2, out=tmp_path, overwrite=True, progress=False)
    assert (tmp_path / listed).read_text() == "mine"


def test_a_resumed_run_keeps_nothing_of_its_former_weights(folder):
    ch.evaluate(ch.load(folder), n=100)
    assert {"density.gmm.safetensors", "results.json"} <= {p.name for p in folder.iterdir()}
    longer = ch.fit("rae-l2", "digits", out=folder, resume=True, densities=["normal"], **QUICK | {"epochs": 2})
    again = ch.load(folder)
    assert list(again.densities) == list(longer.densities) == ["normal"]
    assert not {"density.gmm.safetensors", "results.json"} & {p.name for p in folder.iterdir()}


def test_a_density_that_was_deleted_is_off_the_list_after_a_resume(folder):
    for density in ("gmm", "normal"):
        (folder / f"density.{density}.safetensors").unlink(missing_ok=True)
    ch.fit("rae-l2", "digits", out=folder, resume=True, densities=(), **QUICK | {"epochs": 2})
    assert not ch.load(folder).densities


def test_what_cannot_be_resumed_or_overwritten_safely(folder):
    with pytest.raises(ValueError, match="overwrite and resume are both given"):
        ch.fit("rae-l2", "digits", out=folder, resume=True, overwrite=True, **QUICK)
    ch.fit("rae-l2", "digits", out=folder, resume=True, **QUICK | {"epochs": 2})
    complete = ch.fit("rae-l2", "digits", out=folder, resume=True, **QUICK)
    assert (complete.history.epochs, complete.history.stopped) == (2, "complete before")
    (folder / "manifest.json").unlink()
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(FileExistsError, match="has no manifest.json, which lists the files of the run"):
        ch.fit("ae", "digits", out=folder, overwrite=True, **QUICK)
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_density_that_is_listed_and_missing_is_named(folder):
    (folder / "density.gmm.safetensors").unlink()
    with pytest.raises(ValueError, match=r"density.gmm.safetensors is missing, but .*manifest.json lists it"):
        ch.load(folder)


DAMAGE = {
    "no run": (lambda f: shutil.rmtree(f), FileNotFoundError, "there is no run in"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), FileNotFoundError, "its training is unfinished"),
    "toml": (lambda f: (f / "run.toml").write_text("recipe = "), ValueError, "run.toml is damaged"),
    "bytes": (lambda f: (f / "run.toml").write_bytes(b"\xff\xfe\x00"), ValueError, "run.toml is damaged"),
    "missing key": (lambda f: (f / "run.toml").write_text('recipe = "ae"'), ValueError, "lacks data"),
    "extra key": (lambda f: edit(f, "", 'hook = "os.system"\n'), ValueError, "unknown keys: hook"),
    "recipe": (lambda f: edit(f, '"rae-l2"', '"../../x"'), ValueError, "of recipe 'rae-l2'; expected"),
    "type": (lambda f: edit(f, "latent_dim = 3", "latent_dim = true"), ValueError, "latent_dim is True"),
    "huge": (lambda f: edit(f, "    8,\n    8,\n", "    80000,\n    80000,\n"), ValueError, "10\\^8 values"),
    "latent": (lambda f: edit(f, "latent_dim = 3", "latent_dim = 5"), ValueError, "do not match its run.toml"),
    "code": (lambda f: edit(f, "latent_dim = 3", "latent_dim = 999"), ValueError, "has only 64 values"),
    "option": (lambda f: edit(f, "[options]", "[options]\nos = 1"), ValueError, "run.toml is damaged: .*no option os"),
    "pickle": (lambda f: torch.save({"a": 1}, f / "weights.safetensors"), ValueError, "not a chartae weights"),
    "truncated": (lambda f: cut(f / "weights.safetensors"), ValueError, "damaged or not"),
    "swapped": (lambda f: swap(f), ValueError, "is not a chartae weights"),
    "density": (lambda f: cut(f / "density.gmm.safetensors"), ValueError, "density.gmm.safetensors"),
    "log": (lambda f: (f / "log.jsonl").write_text("{"), ValueError, "log.jsonl has 1 bytes"),
    "log line": (lambda f: scratch(f / "log.jsonl"), ValueError, "log.jsonl is damaged in line 1"),
    "other settings": (lambda f: longer(f), ValueError, "run.toml is not that of the weights"),
}


def scratch(path):
    path.write_text("!" + path.read_text()[1:])


def longer(folder):
    path = folder / "run.toml"
    path.write_text(path.read_text().replace("epochs = 1", "epochs = 9"))


def swap(folder):
    shutil.copy(folder / "density.gmm.safetensors", folder / "weights.safetensors")


def edit(folder, old, new):
    path = folder / "run.toml"
    text = path.read_text()
    assert old in text
    text = text.replace(old, new, 1) if old else new + text
    path.write_text(text)
    # the weights hold the settings too, and a stranger can change both
    tensors, facts = read_tensors(folder / "weights.safetensors", kind="weights")
    write_tensors(folder / "weights.safetensors", tensors, kind="weights", facts=facts | {"settings": text})


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_and_hostile_folders(damage, folder):
    harm, error, message = DAMAGE[damage]
    harm(folder)
    with pytest.raises(error, match=f"{message}|has changed since chartae wrote it"):
        ch.load(folder)
    # a stranger may send a folder without a manifest: what is wrong shows all the same
    (folder / "manifest.json").unlink(missing_ok=True)
    with pytest.raises(error, match=message):
        ch.load(folder)


def test_a_file_that_was_changed_is_named(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match=r"weights.safetensors has changed since chartae wrote it"):
        ch.load(folder)


def test_overwrite_removes_all_of_the_old_run(folder):
    (folder / "notes.txt").write_text("mine")
    ch.evaluate(ch.load(folder), n=100)
    assert (folder / "results.json").is_file()
    ch.fit("ae", "digits", out=folder, overwrite=True, densities=(), **QUICK)
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoint.safetensors", "log.jsonl", "manifest.json", "notes.txt", "residuals.safetensors", "run.toml",
        "weights.safetensors",
    ]  # fmt: skip


def test_settings_survive_any_string(tmp_path):
    odd = Settings(
        "ae",
        'a"b\\c\n☃ 😀',
        (2,),
        1,
        "mlp",
        1,
        1,
        1e-7,
        0,
        options={"beta": 1e-30, "select": "x'y"},
        notes=("\x7f\x1b\u2028[#]",),
        reading={"drop": ["\x7f\n"]},
        condition={'"\x7f': 1},
    )
    (tmp_path / "run.toml").write_text(odd.to_toml())
    assert Settings.read(tmp_path / "run.toml") == odd


@pytest.mark.parametrize(
    ("recipe", "data", "settings", "error", "message"),
    [
        ("gan", "digits", {}, ValueError, "recipe is 'gan'; expected one of"),
        ("ae", "digits", {"latent_dim": 65}, ValueError, "has only 64 values"),
        ("ae", "digits", {"net": "resnet"}, ValueError, "expected one of mlp"),
        ("ae", "nothing-here", {}, ValueError, "digits"),
        ("ae", np.full((50, 4), np.nan), {}, ValueError, "NaN"),
        ("ae", np.zeros((50, 4)), {}, ValueError, "identical|constant"),
        ("ae", np.zeros((1, 4)), {}, ValueError, "at least"),
        ("ae", np.zeros((0, 4)), {}, ValueError, "empty"),
        ("ae", np.random.default_rng(0).normal(size=(50, 1, 8, 8)), {}, ValueError, r"\[0, 1\]"),
        ("ae", table(), {"densities": ("flow",)}, ValueError, "'flow'"),
        ("ae", table(20), {"components": 30}, ValueError, "expected at least 30 for the density 'gmm'"),
        ("ae", table(), {"batch_size": 0}, ValueError, "batch_size"),
        ("ae", table(), {"epochs": 0}, ValueError, "epochs"),
    ],
)
def test_bad_input_is_refused_before_work_starts(recipe, data, settings, error, message, tmp_path):
    with pytest.raises(error, match=message):
        ch.fit(recipe, data, out=tmp_path / "run", **QUICK | settings)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_last_batch_of_one_is_left_out():
    assert ch.fit("ae", table(301), densities=(), **QUICK | {"batch_size": 60}).history.epochs == 1


def test_settings_that_cannot_be_trained_leave_the_folder_alone(tmp_path, float32):
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    settings = {"latent_dim": 2, "epochs": 1, "densities": (), "progress": False}
    ch.fit("ae", x, **settings, out=tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for wrong in ({"batch_size": 1}, {"clip": -1.0}, {"lr": 0.0}, {"ema": 2.0}, {"precision": "fp8"}):
        with pytest.raises(ValueError, match=r"batch_size is 1|clip is|lr is|ema is|precision is"):
            ch.fit("ae", x, **settings | wrong, out=tmp_path / "run", overwrite=True)
        with pytest.raises(ValueError, match=r"batch_size is 1|clip is|lr is|ema is|precision is"):
            ch.fit("ae", x, **settings | wrong, out=tmp_path / "new")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert not (tmp_path / "new").exists()
