"""Records: results and manifests survive the round trip; a bad file is named, with its key and what is expected."""

import copy
import json
import multiprocessing
import pickle
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from chartae.records import manifest
from chartae.records.comparison import ComparedColumn, Comparison, Spread
from chartae.records.files import Damaged
from chartae.records.log import LogRow, read_log
from chartae.records.pictures import Pictures
from chartae.records.results import Results, Scores, Sets
from chartae.records.run_folder import RunFolder

POINTS = {
    "protocol": {"extractor": {"name": "lenet-mnist", "dim": 128}, "n": 100, "skipped": None},
    "metric": "frechet-lenet-mnist",
    "own": "normal",
    "sets": {
        "reconstruction": {"frechet": 8.5, "kid": 0.01, "kid_sd": 0.002},
        "gmm": {"frechet": 12.25, "kid": -0.001, "kid_sd": 0.002},
        "interpolation-linear": {"frechet": 15.0},
        "floor": {"frechet": 1.25},
    },
    "reconstruction": {"mse": 0.0125, "psnr": 21.5},
    "densities": {"gmm": {"log_likelihood": -14.5, "components": 10}},
    "training": {"parameters": 1234, "epochs": 3, "seconds": 2.5, "best_epoch": 2, "alarms": ["a critic has won"]},
    "classes": {"error": 0.25},
    "clusters": {"error_majority": 0.5, "nmi": 0.75, "used": 10},
    "code": {"error": 31.0, "information": None},
}
STRINGS = {
    "protocol": {"valid": "molecules", "n": 60},
    "metric": "strings",
    "own": "prior",
    "sets": {"prior": {"valid": 0.5, "scaffolds": None, "notes": {"scaffolds": "no rings"}}, "floor": {"valid": 1.0}},
    "reconstruction": {"exact": 0.5, "steps": 0.75, "nll": 1.5},
    "densities": {"prior": {"log_likelihood": -8.0}},
    "training": {"parameters": 12},
    "property": {"rmse": 0.5, "trivial_rmse": 1.5},
    "examples": {"prior": ["C", ""]},
    "reconstructions": [["C", "CC"]],
    "interpolations": [["C", "CO", "O"]],
}


# -- results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [POINTS, STRINGS], ids=["points", "strings"])
def test_results_are_what_lies_on_disk(tmp_path, values):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(values, indent=1) + "\n")
    results = Results.read(path)
    assert json.loads(results.to_json()) == values
    assert list(results) == list(values)
    results.write(path)
    assert Results.read(path) == results
    assert results != Results.from_dict(values | {"own": "other"})
    for again in (copy.deepcopy(results), pickle.loads(pickle.dumps(results))):
        assert again == results
        assert again.sets["floor"] == results.sets["floor"]


def test_results_are_read_by_attribute_and_by_name():
    results = Results.from_dict(POINTS)
    assert results.sets.gmm.frechet == results.sets["gmm"].frechet == results["sets"]["gmm"]["frechet"] == 12.25
    assert results["sets"]["interpolation-linear"].get("kid") is None
    assert results.densities.gmm.log_likelihood == results["densities"]["gmm"]["log_likelihood"] == -14.5
    assert (results.training.seconds, results["training"].get("best_epoch")) == (2.5, 2)
    assert results.training.alarms == ("a critic has won",)
    assert results.code == {"error": 31.0, "information": None}
    assert "property" not in results
    assert results.property is None
    with pytest.raises(KeyError):
        results["property"]
    with pytest.raises(AttributeError, match=r"Scores has no 'fid'; there are frechet, kid, kid_sd"):
        _ = results.sets.gmm.fid
    strings = Results.from_dict(STRINGS)
    assert strings.sets.prior.notes == {"scaffolds": "no rings"}
    assert "notes" not in strings.sets.prior
    assert strings["reconstructions"] == (("C", "CC"),)


def test_results_cannot_be_changed():
    results = Results.from_dict(POINTS)
    with pytest.raises(AttributeError):
        results.metric = "fid"
    with pytest.raises(AttributeError):
        results.sets.gmm.frechet = 0.0
    with pytest.raises(TypeError):
        results.sets["gmm"] = Scores({})


def test_a_new_metric_needs_no_change_here():
    sets = Sets({"gmm": Scores({"frechet": 1.0, "novelty of tomorrow": 2.0})})
    results = Results({"n": 5}, "frechet-x", "gmm", sets, more={"memorisation": Scores({"share": 0.125})})
    again = Results.from_dict(json.loads(results.to_json()))
    assert again["memorisation"]["share"] == 0.125
    assert again.sets.gmm["novelty of tomorrow"] == 2.0
    assert again == results


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sets": {"gmm": {"frechet": "12"}}}, r"sets.gmm.frechet in results.json is '12'; expected a number or null"),
        ({"sets": {"gmm": [1]}}, "sets.gmm in results.json is a list; expected a mapping"),
        ({"sets": {"gmm": {"notes": {"kid": 1}}}}, "sets.gmm.notes.kid in results.json is 1; expected a string"),
        ({"metric": 3}, "metric in results.json is 3; expected a string"),
        ({"training": {"epochs": "3"}}, "training.epochs in results.json is '3'; expected a whole number"),
        ({"training": {"alarms": "no"}}, "training.alarms in results.json is 'no'; expected a list of strings"),
        ({"classes": 0.5}, "classes in results.json is 0.5; expected a mapping"),
        ({"examples": {"gmm": ["C", 1]}}, "examples.gmm in results.json is a list; expected a list of strings and"),
        ({"reconstructions": [["C"]]}, "reconstructions in results.json is a list; expected pairs"),
        ({"interpolations": ["C"]}, "interpolations.0 in results.json is 'C'; expected a list of strings"),
        ({"news": [1]}, "news in results.json is a list; expected a mapping"),
        ({"news": {"x": {"y": 1}}}, "news.x in results.json is a dict; expected a number"),
    ],
)
def test_bad_results_are_named(tmp_path, change, says):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(POINTS | change))
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        Results.read(path)
    assert f"The file is {path}. `chartae evaluate {tmp_path}` writes it again" in str(error.value)
    with pytest.raises(ValueError, match="; expected "):
        Results.from_dict(POINTS | change)


@pytest.mark.parametrize(("text", "says"), [("{", "is damaged"), ("[1]", "is a list; expected a mapping")])
def test_damaged_results_are_named(tmp_path, text, says):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=rf"results\.json {says}"):
        Results.read(tmp_path / "results.json")
    with pytest.raises(FileNotFoundError):
        Results.read(tmp_path / "none.json")


# -- log, comparison, pictures, folders -----------------------------------------------------------------------


def test_rows_of_a_log(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    rows = [
        {"split": "train", "epoch": 1, "step": 10, "loss": 2.5, "critic/loss": None, "lr": 0.1, "seconds": 3.0},
        {"split": "alarm", "epoch": 2, "step": 20, "kind": "won", "alarm": "a critic has won"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train, alarm = read_log(path)
    assert (train.split, train.epoch, train.step, train["loss"], train.loss) == ("train", 1, 10, 2.5, 2.5)
    assert train.terms == {"loss": 2.5}
    assert (alarm.split, alarm.alarm, dict(alarm.terms)) == ("alarm", "a critic has won", {})
    assert train == rows[0]
    assert LogRow({"epoch": float("nan"), "step": True}).epoch is None
    path.write_text(json.dumps(rows[0]) + "\n[1]\n")
    with pytest.raises(ValueError, match=r"log\.jsonl is damaged in line 2: a row is a list"):
        read_log(path)


def test_a_comparison_is_read(tmp_path):
    path = tmp_path / "comparison.json"
    row = {"recipe": "vae", "seed": 1, "folder": "vae/seed-1", "own": "prior", "sets": POINTS["sets"], "seconds": 2.5}
    summary = {"recipe": "vae", "own": "prior", "n": 1, "columns": {"gmm": {"mean": 12.25, "sd": None}}}
    path.write_text(json.dumps({"data": "mnist", "metric": "fid", "seeds": [1], "rows": [row], "summary": [summary]}))
    record = Comparison.read(path)
    assert record.rows[0].folder == tmp_path / "vae" / "seed-1"
    assert record.rows[0].sets.gmm.frechet == 12.25
    assert record.summary[0].columns == {"gmm": Spread(12.25)}
    shares = ComparedColumn("gmm", ("valid", "unique", "novel"), "higher")
    for scores, share in (({"valid": 0.5, "unique": 0.5, "novel": 1}, 0.25), ({"valid": 0, "unique": None}, 0)):
        assert replace(record.rows[0], sets=Sets.read({"gmm": scores})).value(shares) == share
    assert record.rows[0].value(shares) is None
    assert record.facts == {"data": "mnist", "metric": "fid", "seeds": [1]}
    for folder in ("../vae", "/etc", 3):
        path.write_text(json.dumps({"rows": [row | {"folder": folder}]}))
        with pytest.raises(ValueError, match=r"rows\.0\.folder in comparison\.json is"):
            Comparison.read(path)
    # a half of a surrogate pair, which JSON may hold, is no name of a file
    path.write_text(json.dumps({"rows": [row | {"folder": "vae\ud800"}]}))
    with pytest.raises(Damaged, match=r"comparison\.json is damaged"):
        Comparison.read(path)


def test_pictures_are_sorted_by_what_they_are(tmp_path):
    images, points = np.zeros((4, 1, 2, 2), np.uint8), np.zeros((4, 2), np.float32)
    arrays = {
        "originals": images, "samples_gmm": images, "samples_2d_kde": points, "interpolation_linear": images[:, None],
        "latent": points, "latent_labels": np.arange(4), "latent_gmm": points, "data_2d": points[:0], "other": points,
    }  # fmt: skip
    np.savez(tmp_path / "pictures.npz", **arrays)
    pictures = Pictures.read(tmp_path / "pictures.npz")
    assert pictures
    assert [*pictures.samples, *pictures.data_samples, *pictures.interpolations] == ["gmm", "kde", "linear"]
    assert [*pictures.latent_samples] == ["gmm"]
    assert pictures.latent_labels.tolist() == [0, 1, 2, 3]
    assert pictures.data is None
    assert not Pictures()


def test_a_folder_says_its_kind(tmp_path):
    texts = {'codec = "{}"': "strings", 'kind = "table"': "table", '[kind]\nkind = "points"': "points", "": ""}
    for text, kind in texts.items():
        (tmp_path / "run.toml").write_text(text)
        assert RunFolder.read(tmp_path).kind == kind


# -- manifest -------------------------------------------------------------------------------------------------


def written(folder, *names):
    for name in names:
        (folder / name).write_text(f"this is {name}")
    manifest.register(folder, *names)
    return folder


def listed(folder):
    return json.loads((folder / "manifest.json").read_text())["files"]


def test_what_was_written_is_verified(tmp_path):
    import hashlib

    written(tmp_path, "weights.safetensors", "results.json")
    (tmp_path / "notes.txt").write_text("the user's own")
    assert listed(tmp_path)["results.json"] == hashlib.sha256(b"this is results.json").hexdigest()
    manifest.verify(tmp_path, "weights.safetensors", "results.json", "notes.txt")
    manifest.verify(tmp_path / "nowhere", "results.json")
    (tmp_path / "results.json").write_text("changed")
    manifest.verify(tmp_path, "weights.safetensors")
    with pytest.raises(ValueError, match="has changed since chartae wrote it") as error:
        manifest.verify(tmp_path, "weights.safetensors", "results.json")
    for said in (tmp_path / "results.json", f"chartae evaluate {tmp_path}", "delete its line in manifest.json"):
        assert str(said) in str(error.value)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights\.safetensors is missing, but .*manifest\.json lists it\. Restore"):
        manifest.verify(tmp_path, "weights.safetensors")
    manifest.forget(tmp_path, "weights.safetensors", "never-there")
    manifest.verify(tmp_path, "weights.safetensors")
    manifest.register(tmp_path, "results.json")
    manifest.verify(tmp_path, "results.json")


def test_a_file_that_still_changes_is_listed_and_not_verified(tmp_path):
    manifest.register(tmp_path, "log.jsonl", changing=True)
    assert listed(tmp_path) == {"log.jsonl": None}
    manifest.verify(tmp_path, "log.jsonl")
    (tmp_path / "log.jsonl").write_text("{}")
    manifest.verify(tmp_path, "log.jsonl")
    manifest.register(tmp_path, "log.jsonl")
    with manifest.writing(tmp_path, "log.jsonl", "new.json"):
        assert listed(tmp_path) == {"log.jsonl": None, "new.json": None}
        written(tmp_path, "log.jsonl", "new.json")
    (tmp_path / "log.jsonl").write_text("changed")
    with pytest.raises(ValueError, match=r"log\.jsonl has changed"):
        manifest.verify(tmp_path, "log.jsonl")
    with pytest.raises(KeyboardInterrupt), manifest.writing(tmp_path, "new.json"):
        raise KeyboardInterrupt
    assert listed(tmp_path)["new.json"] is None


def test_all_of_the_old_run_goes_and_nothing_else(tmp_path):
    written(tmp_path, "run.toml", "diagnose.html", "weights[1].safetensors", "density.gmm.safetensors")
    for name in ("notes.txt", ".part.0123456789abcdef.run.toml", ".notes.txt.part"):
        (tmp_path / name).write_text("")
    (tmp_path / "seed-0").mkdir()
    manifest.forget(tmp_path, "density.gmm.safetensors")
    names = [path.name for path in manifest.files(tmp_path)]
    assert sorted(names) == [".part.0123456789abcdef.run.toml", "diagnose.html", "manifest.json", "run.toml",
                             "weights[1].safetensors"]  # fmt: skip
    assert names[-1] == "manifest.json"
    manifest.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".notes.txt.part", "density.gmm.safetensors", "notes.txt", "seed-0"]  # fmt: skip
    assert manifest.files(tmp_path) == []
    manifest.clear(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:x", "a\0b", "manifest.json"])
def test_names_stay_in_the_folder(tmp_path, name):
    for function in (manifest.register, manifest.verify):
        with pytest.raises(ValueError, match="expected a plain name"):
            function(tmp_path, name)
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 1, "files": {name: None}}))
    with pytest.raises(ValueError, match="expected plain names of files"):
        manifest.clear(tmp_path)


def test_links_are_refused_and_never_followed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    written(folder, "results.json")
    (tmp_path / "precious").write_text("this is results.json")
    (folder / "results.json").unlink()
    (folder / "results.json").symlink_to(tmp_path / "precious")
    for function in (manifest.register, manifest.verify):
        with pytest.raises(ValueError, match=r"results\.json is a link; expected a file"):
            function(folder, "results.json")
    manifest.clear(folder)
    assert list(folder.iterdir()) == []
    assert (tmp_path / "precious").read_text() == "this is results.json"
    (folder / "manifest.json").symlink_to(tmp_path / "precious")
    with pytest.raises(ValueError, match=r"manifest\.json is a link"):
        manifest.verify(folder, "results.json")


def test_only_what_is_there_is_registered(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*gone"):
        manifest.register(tmp_path, "gone")
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", r"manifest\.json is damaged"),
        ("[]", r"manifest\.json is a list; expected a mapping"),
        (
            '{"version": 3, "files": {}, "more": 1}',
            r"was written by a newer chartae \(its version is 3; .* 2\); update",
        ),
        (
            '{"version": 1, "files": {}, "owner": 1, "age": 2}',
            r"manifest\.json has unknown keys: 'age', 'owner'; expected",
        ),
        ('{"files": {}}', r"version in manifest\.json is None; expected a whole number"),
        ('{"version": "1"}', r"version in manifest\.json is '1'; expected a whole number"),
        ('{"version": 2, "files": {}}', r"manifest\.json has changed since chartae wrote it"),
        ('{"version": 1, "files": ["a"]}', r"files in manifest\.json is a list; expected a mapping"),
        ('{"version": 1, "files": {"run.toml": "abc"}}', r"files\.run\.toml in manifest\.json is 'abc'; expected 64"),
    ],
)
def test_bad_manifests_are_named(tmp_path, text, says):
    (tmp_path / "run.toml").write_text("")
    (tmp_path / "manifest.json").write_text(text)
    for function in (manifest.verify, manifest.register, manifest.forget):
        with pytest.raises(ValueError, match=says):
            function(tmp_path, "run.toml")
    with pytest.raises(ValueError, match=says):
        manifest.clear(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == text


def register_many(folder, start, barrier):
    barrier.wait()
    for i in range(start, start + 50):
        name = f"file-{i}"
        (folder / name).write_text(str(i))
        manifest.register(folder, name)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the children compute nothing
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork, no locks")
def test_two_processes_lose_no_entry(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2, timeout=60)
    processes = [context.Process(target=register_many, args=(tmp_path, start, barrier)) for start in (0, 50)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    assert set(listed(tmp_path)) == {f"file-{i}" for i in range(100)}
    manifest.verify(tmp_path, *(f"file-{i}" for i in range(100)))


def test_without_locks_one_process_still_registers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    manifest.verify(written(tmp_path, "run.toml"), "run.toml")


@pytest.mark.parametrize("content", [b'{"version": 2, "fil', b"\xff\xfe", b"[]", b"[" * 100_000, b" " * (13 << 20)])
def test_a_damaged_json_file_says_how_to_write_it_again(tmp_path, content):
    """Whatever is wrong with it: a cut file, bytes that are no text, another value, or too many."""
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"manifest\.json.*\. Fit the run again \(--overwrite\), or delete the file"):
        manifest.listed(tmp_path)
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(Damaged, match=rf"\. `chartae evaluate {tmp_path}` writes it again$"):
        Results.read(tmp_path / "results.json")
    (tmp_path / "comparison.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"\. `chartae compare` with the same --out writes it again$"):
        Comparison.read(tmp_path / "comparison.json")
