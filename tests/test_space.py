"""Room: constant memory for samples of any number, and disks that are full, unwritable or too small."""

from __future__ import annotations

import errno
import json
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import chartae as ch
from benchmarks.common import peak
from chartae import cli
from chartae.data import streaming
from chartae.data import strings as strings_module
from chartae.data.kinds import Kind, Points
from chartae.grammar import earley, parsing
from chartae.records import files, space
from chartae.records.log import LogFile, read_log
from chartae.runs import Run, long_strings
from chartae.runs import run as run_module
from chartae.runs.room import written_bytes
from chartae.training import Training

pytestmark = pytest.mark.usefixtures("float32")
STRINGS = ["x", "x+1", "x*2", "sin(x)", "exp(x)", "x/3"] * 10


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of each kind of data, in folders."""
    folder = tmp_path_factory.mktemp("runs")
    torch.set_default_dtype(torch.float32)
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": uniform(200).numpy(), "b": (9 * uniform(200)).long().numpy()})
    quick = {"latent_dim": 2, "epochs": 1, "densities": ("normal",), "progress": False}
    return {
        "images": ch.fit("rae", uniform(60, 1, 4, 4), out=folder / "images", **quick),
        "table": ch.fit("rae", uniform(200, 3), out=folder / "table", **quick),
        "frame": ch.fit("rae", frame, out=folder / "frame", **quick),
        "strings": ch.fit("grae", STRINGS, grammar="expressions", net="gru", out=folder / "strings", **quick),
    }


@pytest.fixture
def slices_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "SLICE", 4)
    monkeypatch.setattr(run_module, "AT_ONCE", 2)


# -- samples in slices -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("slices_of_four")
@pytest.mark.parametrize("kind", ["images", "table", "strings"])
def test_no_example_depends_on_those_after_it(runs: dict[str, Run], kind: str) -> None:
    """Of numbers beyond the first slice; the first slice alone is what one draw of its length gives."""
    run = runs[kind]
    most = run.draw(11, seed=3, noise=True)
    for n in (5, 8, 10):
        assert torch.equal(run.draw(n, seed=3, noise=True), most[:n])
    assert torch.equal(run.draw(4, seed=3, noise=True), most[:4])
    assert not torch.equal(most[:4], most[4:8])  # the slices have different seeds
    assert [len(x) for x in run.drawn(11, seed=3, noise=False)] == [2, 2, 2, 2, 2, 1]


@pytest.mark.usefixtures("slices_of_four")
def test_slices_have_their_own_conditions() -> None:
    x, labels = uniform(200, 3), [i % 2 for i in range(200)]
    data = ch.data.from_arrays(x, labels)
    run = ch.fit("rae", data, condition="labels", latent_dim=2, epochs=1, densities=("normal",), progress=False)
    ones, mixed = run.draw(11, condition=1, seed=3), run.draw(11, condition=[1] * 6 + [0] * 5, seed=3)
    assert torch.equal(ones[:4], mixed[:4])
    assert torch.equal(ones, run.draw(11, condition=[1] * 11, seed=3))
    assert not torch.equal(ones[8:], mixed[8:])
    with pytest.raises(ValueError, match="expected one for all 11 rows"):
        run.draw(11, condition=[1] * 4)


@pytest.mark.usefixtures("slices_of_four")
@pytest.mark.filterwarnings("ignore:the chains accept almost everything")
def test_chains_run_in_slices() -> None:
    x = uniform(50, 2)
    run = ch.fit("rcae", x, epochs=1, progress=False)
    settings = {"seed": 1, "start": x, "steps": 3, "warmup": 2}
    chains = list(run.chain_slices(6, "mala", **settings))
    assert [len(chain.final) for chain in chains] == [4, 2]
    assert torch.equal(chains[0].final, run.chains(4, "mala", **settings).final)
    assert torch.equal(run.draw(6, "mala", seed=1, start=x)[:4], run.draw(4, "mala", seed=1, start=x))
    with pytest.raises(ValueError, match="sampler"):
        run.chain_slices(6, "hmc-of-nobody", start=x)


FILES = {"images": (".npy", ".npz"), "table": (".npy", ".npz", ".csv", ".parquet"), "frame": (".csv", ".parquet"),
         "strings": (".txt", ".smi")}  # fmt: skip


@pytest.mark.parametrize(("kind", "suffix"), [(kind, suffix) for kind, names in FILES.items() for suffix in names])
def test_slices_make_the_same_file_as_all_at_once(runs: dict[str, Run], kind: str, suffix: str, tmp_path: Path) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    run = runs[kind]
    x = run.draw(9, seed=1)
    run.kind.write(x, tmp_path / f"whole{suffix}")
    run.kind.write_slices(iter([x[:4], x[4:8], x[8:]]), 9, tmp_path / f"parts{suffix}")
    whole, parts = (tmp_path / f"{name}{suffix}" for name in ("whole", "parts"))
    if suffix == ".parquet":
        pd = pytest.importorskip("pandas")
        pd.testing.assert_frame_equal(pd.read_parquet(parts), pd.read_parquet(whole))
        assert pd.read_parquet(parts).shape[0] == 9
    elif suffix == ".npz":
        a, b = (np.load(path)["x"] for path in (whole, parts))
        assert len(a) == 9
        assert np.array_equal(a, b)
    else:
        assert whole.read_bytes() == parts.read_bytes()
        if suffix == ".npy":  # as NumPy writes it
            np.save(tmp_path / "numpy.npy", np.load(whole))
            assert whole.read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_kind_without_streams_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers of older kinds take all examples."""
    written = []
    monkeypatch.setattr(Points, "streams", lambda self: {})
    monkeypatch.setattr(Points, "writers", lambda self: {".own": lambda x, path: written.append(x)})
    kind: Kind = Points((2,))
    kind.write_slices([torch.zeros(3, 2), torch.ones(1, 2)], 4, tmp_path / "a.own")
    assert torch.equal(written[0], torch.tensor([[0.0, 0], [0, 0], [0, 0], [1, 1]]))


def test_slices_of_another_number_make_no_file(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="hold 3 rows, not 4"):
        streaming.write_npy([np.zeros((3, 2))], 4, tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("slices_of_four")
@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_the_command_line_writes_what_python_draws(runs: dict[str, Run], suffix: str, tmp_path: Path) -> None:
    run, out = runs["table"], tmp_path / f"many{suffix}"
    words = ["--n", "11", "--seed", "3", "--density", "normal"]
    assert cli.main(["sample", str(run.folder), "--out", str(out), *words]) == 0
    drawn = run.sample(11, "normal", seed=3)
    assert isinstance(drawn, torch.Tensor)
    rows = np.load(out) if suffix == ".npy" else np.loadtxt(out, np.float32, delimiter=",")
    np.testing.assert_allclose(rows, drawn.numpy(), rtol=1e-7)


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_a_number_beyond_memory_is_refused(runs: dict[str, Run]) -> None:
    with pytest.raises(ValueError, match=r"n is 1,000,000,000,000, which needs 12 TB, but .* of memory are available"):
        runs["table"].sample(10**12)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("images", ".npy"), ("images", ".npz"), ("table", ".csv"), ("table", ".npy"), ("strings", ".txt")],
)
def test_a_file_beyond_the_disk_is_refused(
    runs: dict[str, Run], kind: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / f"many{suffix}"
    assert cli.main(["sample", str(runs[kind].folder), "--n", str(10**15), "--out", str(out)]) == 2
    assert "Free some space" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("decode", "codes.npy"), ("encode", "x.npy"), ("reconstruct", "x.npy")])
def test_other_files_beyond_the_disk_are_refused(
    runs: dict[str, Run], words: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    np.save(tmp_path / "codes.npy", np.zeros((20, 2), np.float32))
    np.save(tmp_path / "x.npy", uniform(20, 3).numpy())
    monkeypatch.setattr(space, "free_disk", lambda path: 100)
    out = tmp_path / "out.npy"
    assert cli.main([words[0], str(runs["table"].folder), str(tmp_path / words[1]), "--out", str(out)]) == 2
    assert f"needs {20 * (2 if words[0] == 'encode' else 3) * 4} bytes" in capsys.readouterr().err
    assert not out.exists()


def test_a_grid_of_too_many_pictures_is_refused(
    runs: dict[str, Run], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "a.png"
    assert cli.main(["sample", str(runs["images"].folder), "--n", "9000000", "--out", str(out)]) == 2
    assert ".png holds at most 4194304" in capsys.readouterr().err


# -- one long string ---------------------------------------------------------------------------------------------------

LONG = "+".join(["x"] * 300)


def test_a_string_too_long_for_a_step_is_refused_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step with the long string would need 53 rows x 600 indices x 10 kB."""
    (tmp_path / "s.txt").write_text("\n".join([*STRINGS, *[LONG] * 5]) + "\n")
    quick = {"grammar": "expressions", "latent_dim": 2, "epochs": 1, "net": "gru", "densities": (), "progress": False}
    monkeypatch.setattr(long_strings, "total_memory", lambda: 200_000_000)
    with pytest.raises(ValueError, match=r"'x\+x.*' of 599 characters has 600 indices.* needs about .* MB of memory"):
        ch.fit("grae", str(tmp_path / "s.txt"), **quick)
    run = ch.fit("grae", str(tmp_path / "s.txt"), errors="skip", out=tmp_path / "r", **quick)
    assert run.skipped == 5
    assert run.settings.shape == (15,)
    assert 15 < run.settings.reading["longest"] < 600
    assert any("indices are left out, as memory has no room for them" in note for note in run.notes)
    monkeypatch.undo()  # another machine reads the same strings
    assert ch.load(tmp_path / "r").data().skipped == 5
    small = ch.fit("grae", str(tmp_path / "s.txt"), batch_size=8, **quick)
    assert small.skipped == 0


def test_rows_padded_beyond_memory_are_refused_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strings_module, "total_memory", lambda: 100_000)
    with pytest.raises(ValueError, match=r"1 of 61 strings cannot be encoded.*at most 273 indices"):
        ch.data.from_strings([*STRINGS, LONG], "expressions")
    data = ch.data.from_strings([*STRINGS, LONG], "expressions", errors="skip")
    assert (data.skipped, data.shape) == (1, (15,))
    assert LONG not in data.strings()
    assert ch.data.from_strings(STRINGS, "expressions").reading.longest is None


@pytest.mark.parametrize("compiled", [True, False])
def test_a_string_that_needs_too_many_items_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    """The items of an ambiguous grammar grow with the square of the length."""
    grammar = ch.grammar.Grammar("S -> S '+' S | 'x'")
    texts = ["x+x", "+".join(["x"] * 1500), "x", "x+", "y" * 400]
    whole = grammar.encode([texts[0], texts[2]])
    monkeypatch.setattr(parsing, "MOST_ITEMS", 1 << 14)
    if not compiled:
        monkeypatch.setattr(earley, "COMPILED", False)
        for name in ("parse", "recognise", "derive", "_scan", "_slot", "_prefer"):
            function = getattr(earley, name)
            monkeypatch.setattr(earley, name, getattr(function, "py_func", function))
    rows = grammar.encode(texts, errors="skip")
    assert rows.kept.tolist() == [0, 2]
    assert rows.flat.tolist() == whole.flat.tolist()
    assert [failure.index for failure in rows.failures] == [1, 3, 4]
    assert "needs fewer steps to parse" in rows.failures[0].expected[0]
    with pytest.raises(ValueError, match=r"string 1 .*needs fewer steps"):
        grammar.encode(texts)
    monkeypatch.setattr(parsing, "MOST_HEADS", 1)  # surely too little, before parsing
    assert len(grammar.encode(texts, errors="skip")) == 0


# -- writing that fails ------------------------------------------------------------------------------------------------


@pytest.fixture
def full_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the disk full for files whose names hold a text."""
    fsync, names = os.fsync, []

    def full(descriptor: int) -> None:
        if any(name in os.readlink(f"/proc/self/fd/{descriptor}") for name in names):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not say which file a descriptor is of")
    monkeypatch.setattr(files.os, "fsync", full)
    return names.append


@pytest.mark.filterwarnings("default::chartae.records.space.NotWritten")
@pytest.mark.parametrize("file", ["results.json", "pictures.npz"])
def test_an_evaluation_survives_a_full_disk(
    file: str, tmp_path: Path, full_for: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", uniform(300, 3).numpy())
    ch.fit("rae", str(tmp_path / "x.npy"), latent_dim=2, epochs=1, densities=("normal",), out=tmp_path / "r",
           progress=False)  # fmt: skip
    full_for(file)
    words = ["evaluate", str(tmp_path / "r"), "--json", "--n", "20", "--densities", "normal"]
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["sets"]["normal"]["frechet"] > 0
    assert f"the results could not be written to {tmp_path / 'r' / file}: No space left" in printed.err
    assert cli.main([*words, "--verbose"]) == 2
    capsys.readouterr()
    run = ch.load(tmp_path / "r")  # nothing half-written is in the way
    with pytest.warns(space.NotWritten, match=file):
        results = ch.evaluate(run, densities=["normal"], n=20)
    assert results.sets.normal.frechet > 0


def test_a_diagnosis_and_a_density_survive_a_full_disk(tmp_path: Path, full_for: Callable[[str], None]) -> None:
    x = uniform(100, 3)
    run = ch.fit("vae", x, latent_dim=2, epochs=1, net="smooth:8", densities=(), out=tmp_path / "r", progress=False)
    full_for("diagnose.json")
    full_for("density.normal")
    with pytest.warns(space.NotWritten, match="diagnose.json"):
        assert ch.evaluation.diagnose(run, x)["points"] == 10
    with pytest.warns(space.NotWritten, match=r"the density 'normal' could not be written to .*density.normal"):
        run.fit_density("normal", run.encode(x))
    assert list(run.densities) == ["normal"]
    assert list(ch.load(tmp_path / "r").densities) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_folders_without_permission_are_refused_before_work(runs: dict[str, Run], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="Permission denied"):
        space.check_writable(tmp_path)
    assert cli.main(["sample", str(runs["table"].folder), "--out", str(tmp_path / "a.npy")]) == 2


@pytest.mark.parametrize("verb", ["evaluate", "diagnose", "sample", "report", "fit"])
def test_folders_that_cannot_be_written_are_refused_before_work(
    runs: dict[str, Run], verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in the place of a folder is one such, for the superuser too."""
    np.save(tmp_path / "x.npy", uniform(300, 3).numpy())
    (tmp_path / "file").write_text("mine")
    out, folder = tmp_path / "file" / "deep" / "a.npy", str(runs["table"].folder)
    words = {"sample": [folder, "--out", str(out)], "report": [folder, "--out", str(out)],
             "diagnose": [folder, "--out", str(out)], "fit": [str(tmp_path / "x.npy"), "--out", str(out)],
             "evaluate": [folder]}[verb]  # fmt: skip
    if verb == "evaluate":
        refuse = OSError(errno.EROFS, "Read-only file system")
        monkeypatch.setattr(space, "whole_file", lambda path: (_ for _ in ()).throw(refuse))
        with pytest.raises(OSError, match=r"cannot be written to \(Read-only file system\)"):
            ch.evaluate(runs["table"], uniform(200, 3))
        return
    assert cli.main([verb, *words]) == 2
    assert "file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("verb", ["sample", "encode", "report", "diagnose"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pipe.npy", "pipe.npy is a pipe; expected a file. Choose another path."),
        ("folder.npy", r"folder.npy.* is a folder; (expected|give) a file"),
        ("file/x.npy", "file is a file; expected a folder. Choose another path."),
        ("link/x.npy", "link is a link to nothing; expected a folder. Delete it, or choose another path."),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_work(
    runs: dict[str, Run], verb: str, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def work(*arguments: object, **keywords: object) -> None:
        raise AssertionError

    for place in ("chartae.runs.Run.drawn", "chartae.runs.Run.encode_inside", "chartae.report.run.page"):
        monkeypatch.setattr(place, work)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    np.save(tmp_path / "x.npy", uniform(20, 3).numpy())
    before = {path: (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")}
    data = [str(tmp_path / "x.npy")] if verb == "encode" else []
    assert cli.main([verb, str(runs["table"].folder), *data, "--out", str(tmp_path / name)]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert {path: (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")} == before


def test_a_disk_too_small_for_a_run_is_noticed_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ch.fit("rae", uniform(200, 3), latent_dim=2, epochs=3, checkpoint_every=1, densities=(), out=tmp_path / "a",
                 progress=False)  # fmt: skip
    assert run.folder is not None
    bytes_of = {path.name: path.stat().st_size for path in run.folder.iterdir()}
    needed = written_bytes(run.objective, Training(), best=True)
    kept = sum(size for name, size in bytes_of.items() if name.startswith(("checkpoint", "weights")))
    assert kept <= needed < 2 * kept  # two checkpoints are kept while a third one is written
    monkeypatch.setattr(space, "free_disk", lambda path: 1000)
    with pytest.raises(OSError, match=r"weights and 3 checkpoints, which needs .* has 1 kB left"):
        ch.fit("rae", uniform(200, 3), latent_dim=2, epochs=1, densities=(), out=tmp_path / "b", progress=False)
    assert not (tmp_path / "b").exists()


def test_checks_leave_no_trace(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for folder in (tmp_path / "a", tmp_path / "b" / "c"):
        space.check_writable(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


def test_writes_that_fail_are_tried_again() -> None:
    persisting, tries = space.Persisting("training goes on"), iter([True, True, False, True])

    def write() -> None:
        if next(tries):
            raise OSError(errno.ENOSPC, "No space left on device", "run/checkpoint")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [persisting.attempt(write) for _ in range(3)] == [False, False, True]
        assert persisting.error is None
        assert not persisting.attempt(write)
        assert persisting.error is not None
    message = "run/checkpoint could not be written: No space left on device; training goes on"
    assert [str(warning.message) for warning in caught] == [message, message]


def test_a_log_keeps_no_half_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = LogFile(tmp_path / "log.jsonl"), os.write
    log.append([{"split": "train", "epoch": 1}])
    room = iter([10, None])

    def full(descriptor: int, text: bytes) -> int:
        if (left := next(room)) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, text[:left])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*log.jsonl'"):
            log.append([{"split": "train", "epoch": 2}])
    log.append([{"split": "train", "epoch": 3}])
    assert [row["epoch"] for row in read_log(log.path)] == [1, 3]
    assert log.digest == log.digest_of(log.size)


def test_memory_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [tmp_path / name for name in ("max", "current", "stat")]
    for path, text in zip(names, ("5000000", "3000000", "anon 2000000\ninactive_file 500000\n"), strict=True):
        path.write_text(text)
    monkeypatch.setattr(space, "LIMITS", (tuple(map(str, names)),))
    assert space.available_memory() == 2_500_000
    names[0].write_text("max")
    assert (space.available_memory() or 2**63) > 2_500_000


# -- memory, measured --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not measure processes")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_samples_of_any_number_take_constant_memory(tmp_path: Path, suffix: str) -> None:
    run = ch.fit("rae", uniform(60, 1, 16, 16).flatten(1), latent_dim=2, epochs=1, densities=("normal",),
                 out=tmp_path / "r", progress=False)  # fmt: skip
    assert run.folder is not None
    peaks = {}
    for n in (20_000, 200_000):
        out = tmp_path / f"{n}{suffix}"
        peaks[n] = peak(["sample", str(run.folder), "--n", str(n), "--out", str(out)])
        if suffix == ".npy":
            assert np.load(out, mmap_mode="r").shape == (n, 256)
    assert peaks[200_000] - peaks[20_000] < 30_000 * 1024  # the samples themselves are 205 MB


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not measure processes")
def test_a_fit_keeps_one_copy_of_the_data(tmp_path: Path) -> None:
    big = np.lib.format.open_memmap(tmp_path / "big.npy", mode="w+", dtype=np.float32, shape=(400_000, 125))
    for first in range(0, len(big), 50_000):
        big[first : first + 50_000] = np.random.default_rng(first).normal(size=(50_000, 125))
    np.save(tmp_path / "small.npy", big[:20_000])
    words = ["--epochs", "1", "--batch-size", "1000", "--densities", "normal", "--latent-dim", "4"]
    peaks = {
        name: peak(["fit", str(tmp_path / f"{name}.npy"), *words, "--out", str(tmp_path / name)])
        for name in ("small", "big")
    }
    assert peaks["big"] - peaks["small"] < 1.3 * big.nbytes
