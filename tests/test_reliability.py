"""Nothing is lost: one writer, locks, checkpoints that are damaged, runs that are replaced, and what a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import chartae as ch
from chartae.cli import main
from chartae.records import files, lock, manifest, replacing
from chartae.records.files import Damaged, whole_file
from chartae.records.log import LogFile, read_log
from chartae.records.results import Results
from chartae.records.run_folder import RunFolder
from chartae.records.tensors import kind_of, read_header, read_tensors, write_tensors
from chartae.records.verification import verify
from chartae.training import checkpoint
from chartae.training.saving import Saving

QUICK = {"latent_dim": 2, "densities": ("normal",), "progress": False, "device": "cpu"}


@pytest.fixture(autouse=True)
def _float32(float32):
    return float32


@pytest.fixture
def x():
    return torch.randn(80, 3, generator=torch.Generator().manual_seed(0))


def fitted(x, folder, recipe="rae", **options):
    return ch.fit(recipe, x, out=folder, **QUICK | {"epochs": 1} | options)


def same(a, b):
    return all(torch.equal(v, b.model.state_dict()[k]) for k, v in a.model.state_dict().items())


def fail_in_writing(path):
    with whole_file(path) as part:
        part.write_text("2")
        raise KeyError


# -- the one writer ---------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as part:
        part.write_text("1")
        assert not path.exists()
        assert files.is_leftover(part.name)
        assert part.suffix == ".txt"
    with pytest.raises(KeyError):
        fail_in_writing(path)
    assert path.read_text() == "1"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "a.txt").symlink_to(precious)
    files.replace_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert not (tmp_path / "a.txt").is_symlink()
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("sort", ["pipe", "socket", "folder"])
def test_only_a_file_is_replaced(tmp_path, sort, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket has few characters
    path = Path("a.txt")
    with socket.socket(socket.AF_UNIX) as server:
        {"pipe": os.mkfifo, "socket": lambda p: server.bind(str(p)), "folder": os.mkdir}[sort](path)
        mode = path.lstat().st_mode
        with pytest.raises(OSError, match=rf"^a\.txt is a {sort}; expected a file\. Choose another path\.$"):
            whole_file(path).__enter__()
        assert path.lstat().st_mode == mode
        assert os.listdir() == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="whether a process lives is not asked there")
def test_the_next_write_deletes_what_a_killed_one_left(tmp_path):
    path, other = tmp_path / "a.npy", tmp_path / "b.a.npy"
    code = f"""
import os, signal
from chartae.records.files import whole_file
with whole_file({str(path)!r}), whole_file({str(other)!r}):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    left = {p.name[33:]: p for p in tmp_path.iterdir()}
    assert sorted(left) == ["a.npy", "b.a.npy"]
    # after the machine and the process come 64 random bits, so that nobody can guess the name
    assert len({p.name[16:32] for p in left.values()}) == 2
    tag = left["a.npy"].name[6:10]
    elsewhere = tmp_path / left["a.npy"].name.replace(tag, f"{int(tag, 16) ^ 1:04x}", 1)
    elsewhere.write_text("of another machine, whose processes are not known here")
    with whole_file(path) as living:
        assert not left["a.npy"].exists()
        files.replace_text(path, "the same file again, while the first process still writes")
        assert living.exists()
    assert {*tmp_path.iterdir()} == {path, left["b.a.npy"], elsewhere}


def test_the_mode_is_that_of_the_umask(tmp_path):
    former = os.umask(0o027)
    try:
        write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, kind="weights", facts={})
        files.replace_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(former)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, call):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.txt"):
        files.replace_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert len([*tmp_path.iterdir()]) == 1


def test_what_is_read_is_a_regular_file(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"\xe9")
    for name, message in {"link": "is a link", "pipe": "no regular file", "latin": "invalid|unexpected"}.items():
        with pytest.raises(Damaged, match=message):
            files.read_text(tmp_path / name)
    with pytest.raises(Damaged, match="larger than 0 bytes"):
        files.read_text(tmp_path / "a", most=0)
    with pytest.raises(FileNotFoundError):
        files.read_text(tmp_path / "no")


def test_every_flipped_bit_of_a_file_of_tensors_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"a": torch.arange(5.0), "b": torch.tensor(3), "c": torch.zeros(0, 2), "d": torch.ones(2, 2).T}
    digest = write_tensors(path, tensors, kind="weights", facts={"x": [1, None]})
    read, facts = read_tensors(path, kind="weights")
    assert all(torch.equal(read[k], v) for k, v in tensors.items())
    assert facts == {"x": [1, None]}
    assert read_header(path, kind="weights")[2] == digest
    assert kind_of(path) == "weights"
    whole, generator = path.read_bytes(), torch.Generator().manual_seed(0)
    for _ in range(150):
        place, bit = (int(torch.randint(n, (), generator=generator)) for n in (len(whole), 8))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            again, others = read_tensors(path, kind="weights")
        except Damaged:
            continue
        # a flip in the blanks that fill the header changes nothing
        assert whole[place] == ord(" ")
        assert others == facts
        assert all(torch.equal(again[k], v) for k, v in tensors.items())


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    a = torch.arange(6.0)
    write_tensors(tmp_path / "a.safetensors", {"a": a, "b": a, "c": a[2:]}, kind="weights", facts={})
    read, _ = read_tensors(tmp_path / "a.safetensors", kind="weights")
    assert torch.equal(read["b"], a)
    assert torch.equal(read["c"], a[2:])


# -- locks ------------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from chartae.records import lock
with lock.writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holding(folder, seconds=60.0):
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_a_killed_one_holds_nothing(tmp_path, capsys):
    process = holding(tmp_path)
    try:
        with pytest.raises(lock.InUse, match=rf"written by process {process.pid} on .*; wait until it is done"):
            lock.writer(tmp_path).__enter__()
        assert main(["fit", "digits", "--epochs", "1", "--out", str(tmp_path)]) == 2
        assert "is being written by process" in capsys.readouterr().err
        with pytest.raises(lock.InUse, match="end it first"):
            lock.break_lock(tmp_path)
    finally:
        process.kill()
        process.communicate()
    (tmp_path / ".part.0123456789abcdef.a.txt").write_text("left by the killed one")
    with lock.writer(tmp_path) as former:
        assert former is not None
        assert former.process == process.pid
        assert [p.name for p in tmp_path.iterdir()] == [lock.NAME]
    assert [*tmp_path.iterdir()] == []


def test_a_thread_may_enter_again_and_another_may_not(tmp_path):
    refusals = []

    def enter():
        try:
            with lock.writer(tmp_path):
                pass
        except lock.InUse as error:
            refusals.append(str(error))

    with lock.writer(tmp_path), lock.writer(tmp_path):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(refusals) == 1
    assert "another thread of this process" in refusals[0]
    enter()
    assert len(refusals) == 1


def test_a_lock_of_another_machine_lasts_as_long_as_it_is_touched(tmp_path, monkeypatch):
    path = tmp_path / lock.NAME
    holder = {"host": "elsewhere", "boot": "another", "process": 7, "since": time.time()}
    path.write_text(json.dumps(holder))
    with pytest.raises(lock.InUse, match=r"process 7 on elsewhere .*; if it was killed, wait 2 minutes, or delete"):
        lock.writer(tmp_path).__enter__()
    os.utime(path, (time.time() - 2 * lock.SILENCE,) * 2)
    with lock.writer(tmp_path) as former:
        assert former.host == "elsewhere"
    path.write_text(json.dumps(holder))
    assert lock.break_lock(tmp_path).process == 7
    assert lock.break_lock(tmp_path) is None
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with lock.writer(tmp_path):
        os.utime(path, (1, 1))
        time.sleep(0.2)
        assert path.stat().st_mtime > 1e9


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"host": 1}', '{"host": "a", "boot": "", "process": "x", "since": 0}']
)
def test_a_lock_that_says_nothing_is_one_of_a_killed_process(tmp_path, text):
    (tmp_path / lock.NAME).write_text(text)
    with lock.writer(tmp_path) as former:
        assert former is None


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / lock.NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(Damaged, match="is a link"):
        lock.writer(folder).__enter__()
    assert not (tmp_path / "precious").exists()


@pytest.mark.parametrize("sort", ["pipe", "folder"])
def test_a_lock_that_is_no_file_is_refused(tmp_path, sort):
    {"pipe": os.mkfifo, "folder": os.mkdir}[sort](tmp_path / lock.NAME)
    with pytest.raises(Damaged, match=rf"run\.lock is a {sort}; expected a file of chartae\. Delete it"):
        lock.writer(tmp_path).__enter__()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_holds_nothing_of_its_parent(tmp_path):
    with ExitStack() as held:
        held.enter_context(lock.writer(tmp_path))
        child = os.fork()
        if not child:
            status = 1
            try:
                lock.writer(tmp_path).__enter__()
            except lock.InUse as error:
                status = 0 if f"written by process {os.getppid()}" in str(error) else 2
                with suppress(BaseException):
                    held.close()  # the end of the parent's block, as when an error is raised in the child
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (tmp_path / lock.NAME).is_file()
        with lock.writer(tmp_path):
            pass
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file", "file is a file; expected a folder. Choose another path."),
        ("file/run", "file is a file; expected a folder. Choose another path."),
        ("pipe/deep/run", "pipe is a pipe; expected a folder. Choose another path."),
        ("link", "link is a link to nothing; expected a folder. Delete it, or choose another path."),
        ("link/run", "link is a link to nothing; expected a folder. Delete it, or choose another path."),
        ("new", "new cannot be made (No such file or directory). Choose another path."),
    ],
)
def test_folders_that_cannot_be_made_are_named_with_a_remedy(tmp_path, monkeypatch, capsys, out, message):
    """The errors of the system would give a number and no remedy; the last one is that of /proc."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    os.mkfifo("pipe")
    Path("link").symlink_to("nothing")
    before = sorted(os.listdir())
    if out == "new":

        def refuse(*arguments, **keywords):
            raise FileNotFoundError(2, "No such file or directory", out)

        monkeypatch.setattr(os, "mkdir", refuse)
    for act in (lambda: lock.writer(out).__enter__(), lambda: files.replace_text(Path(out, "a"), "")):
        with pytest.raises(OSError) as error:
            act()
        assert str(error.value) == message
    for verb in (["fit", "digits"], ["compare", "digits", "--recipes", "ae"]):
        assert main([*verb, "--epochs", "1", "--out", out]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"chartae: {message.replace('folder.', EXPECTED[out])}"
    assert sorted(os.listdir()) == before


#: how `fit` calls the folder that it expects: only the last one of a path is for the run
EXPECTED = dict.fromkeys(("file", "link", "new"), "folder for the run.") | dict.fromkeys(
    ("file/run", "pipe/deep/run", "link/run"), "folder."
)


def test_a_folder_to_which_nothing_was_written_is_not_left(tmp_path, x):
    with pytest.raises(TypeError, match="has no option gamma"):
        fitted(x, tmp_path / "a" / "b", gamma=1.0)
    assert [*tmp_path.iterdir()] == []


# -- the log and the checkpoints ---------------------------------------------------------------------------------------


def test_the_log_is_only_appended_to_and_cut_where_a_checkpoint_says(tmp_path):
    log = LogFile(tmp_path / "log.jsonl")
    log.write([])
    log.append([{"split": "train", "loss": 1.0}])
    size, digest = log.size, log.digest
    log.append([{"split": "train", "loss": float("nan")}], durable=True)
    again = LogFile(log.path)
    assert [row.loss for row in again.resume(size, digest)] == [1.0]
    assert (again.size, again.digest) == (size, digest)
    assert len(read_log(log.path)) == 1
    with pytest.raises(Damaged, match="has changed since chartae wrote it"):
        again.resume(size, "0" * 64)
    with pytest.raises(Damaged, match=f"has {size} bytes; expected {size + 1}"):
        again.resume(size + 1, digest)


def test_a_resumed_run_is_the_uninterrupted_one_and_its_log_too(tmp_path, x):
    whole = fitted(x, tmp_path / "whole", epochs=4)
    fitted(x, tmp_path / "run", epochs=2)
    resumed = fitted(x, tmp_path / "run", epochs=4, resume=True)
    assert same(whole, resumed)
    drop = ("seconds",)
    assert [{k: v for k, v in row.items() if k not in drop} for row in resumed.log] == [
        {k: v for k, v in row.items() if k not in drop} for row in whole.log
    ]
    assert [row["loss"] for row in ch.load(tmp_path / "run").log] == [row["loss"] for row in whole.log]


@pytest.mark.parametrize("harm", ["cut", "flip", "missing", "next"])
def test_the_checkpoint_before_serves_where_the_last_is_damaged(tmp_path, x, harm):
    whole = fitted(x, tmp_path / "whole", epochs=4)
    folder = tmp_path / "run"
    fitted(x, folder, epochs=3, checkpoint_every=1)
    last = folder / "checkpoint.safetensors"
    content_ = last.read_bytes()
    if harm == "cut":
        last.write_bytes(content_[: len(content_) // 2])
    elif harm == "flip":
        last.write_bytes(content_[:-9] + bytes([content_[-9] ^ 1]) + content_[-8:])
    elif harm == "next":  # killed after it was written, before it got its name
        last.rename(folder / "checkpoint.next.safetensors")
    else:
        last.unlink()
    if harm in ("cut", "flip"):
        with pytest.warns(UserWarning, match=r"checkpoint\.safetensors .*The checkpoint before it is used"):
            resumed = fitted(x, folder, epochs=4, resume=True)
    else:
        resumed = fitted(x, folder, epochs=4, resume=True)
    assert same(whole, resumed)


def test_two_damaged_checkpoints_are_named(tmp_path, x):
    fitted(x, tmp_path, epochs=2, checkpoint_every=1)
    for name in ("checkpoint.safetensors", "checkpoint.former.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    before = (tmp_path / "weights.safetensors").read_bytes()
    with pytest.raises(Damaged, match=r"checkpoint\.safetensors is damaged.*former\.safetensors is damaged"):
        fitted(x, tmp_path, epochs=3, resume=True)
    assert (tmp_path / "weights.safetensors").read_bytes() == before


def test_checkpoints_take_a_small_share_of_the_time():
    saving = Saving(None)
    assert saving.is_due(1)
    assert not saving.is_late()
    saving.cost = 1e6
    assert not saving.is_due(2)
    assert [Saving(3).is_due(epoch) for epoch in (1, 2, 3, 6)] == [False, False, True, True]
    with saving.timed():
        time.sleep(0.01)
    assert 0.01 <= saving.cost < 5


def test_a_checkpoint_within_a_long_epoch(tmp_path, x, monkeypatch):
    monkeypatch.setattr("chartae.training.saving.LATE", 0.0)
    steps = []
    original = checkpoint.save

    def save(state, *others):
        steps.append(state.step)
        return original(state, *others)

    monkeypatch.setattr(checkpoint, "save", save)
    monkeypatch.setattr("chartae.training.saving.SHARE", 0.0)
    run = fitted(x, tmp_path, batch_size=16)
    assert steps == [1, 2, 3, 4, 0]
    assert same(run, fitted(x, None, batch_size=16))


def test_no_checkpoint_has_weights_that_are_not_finite(tmp_path, monkeypatch):
    """The gradient of the second step is NaN, but its loss is finite: only the weights show it."""
    monkeypatch.setattr("chartae.training.saving.LATE", 0.0)
    monkeypatch.setattr("chartae.training.saving.SHARE", 0.0)
    model = ch.Autoencoder(ch.Dirac(torch.nn.Linear(3, 2)), ch.Gaussian(torch.nn.Linear(2, 3)), ch.StandardNormal(2))
    calls = []

    def second_is_nan(gradient):
        calls.append(None)
        return gradient * float("nan") if len(calls) == 2 else gradient

    next(iter(model.parameters())).register_hook(second_is_nan)
    batches = ch.Batches(torch.randn(32, 3, generator=torch.Generator().manual_seed(0)), 16)
    with pytest.raises(ch.training.NonFinite):
        ch.training.fit(ch.Penalised(model, ch.Reconstruction()), batches, epochs=1, folder=tmp_path, progress=False)
    for name in ("checkpoint.safetensors", "checkpoint.former.safetensors"):
        if (tmp_path / name).is_file():
            tensors, facts = read_tensors(tmp_path / name, kind="checkpoint")
            assert facts["step"] == 1
            assert all(values.isfinite().all() for key, values in tensors.items() if key.startswith("model/"))
    assert (tmp_path / "checkpoint.safetensors").is_file()


def test_a_full_disk_ends_neither_training_nor_run(tmp_path, x, monkeypatch, capsys):
    """Full for a while, it costs checkpoints, and is warned of once; full to the end, the run is returned in memory."""
    full, original = [False], os.fsync

    def fsync(descriptor):
        if full[0]:
            raise OSError(28, "No space left on device")
        original(descriptor)

    def fill(row, model):
        full[0] = row["epoch"] in (1, 2)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.warns(
        UserWarning, match="No space left on device; training goes on, and the next checkpoint"
    ) as caught:
        run = fitted(x, tmp_path / "a", epochs=4, on_epoch=fill, checkpoint_every=1)
    assert len([w for w in caught if "goes on" in str(w.message)]) == 1
    assert same(run, ch.load(tmp_path / "a"))
    assert len(ch.load(tmp_path / "a").log) == len(run.log)

    def fill_for_ever(row, model):
        full[0] = True

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = fitted(x, tmp_path / "b", epochs=2, on_epoch=fill_for_ever, checkpoint_every=1)
    full[0] = False
    assert any("the run could not be written to" in str(w.message) for w in caught)
    assert run.folder is None
    assert list(run.densities) == ["normal"]
    assert same(run, fitted(x, tmp_path / "b", epochs=2, resume=True, checkpoint_every=1))


def test_what_on_epoch_raises_loses_nothing(tmp_path, x):
    def fail(row, model):
        if row["epoch"] == 3:
            raise KeyError("mine")

    with pytest.raises(KeyError):
        fitted(x, tmp_path, epochs=4, on_epoch=fail, checkpoint_every=4)
    assert read_header(tmp_path / "checkpoint.safetensors", kind="checkpoint")[1]["epoch"] == 3
    assert same(fitted(x, None, epochs=4), fitted(x, tmp_path, epochs=4, resume=True, checkpoint_every=4))


# -- resume -----------------------------------------------------------------------------------------------------------


def test_the_same_command_again(tmp_path, capsys):
    command = [
        "fit",
        "digits",
        "--recipe",
        "ae",
        "--epochs",
        "2",
        "--densities",
        "normal",
        "--resume",
        "--net",
        "mlp",
        "--out",
    ]
    command.append(str(tmp_path / "a"))
    assert main(command) == 0
    assert "holds no checkpoint yet, so training starts anew" in capsys.readouterr().err
    weights = (tmp_path / "a" / "weights.safetensors").read_bytes()
    (tmp_path / "a" / "density.normal.safetensors").unlink()
    manifest.forget(tmp_path / "a", "density.normal.safetensors")
    assert main(command) == 0
    assert "is complete" in capsys.readouterr().err
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == weights
    assert (tmp_path / "a" / "density.normal.safetensors").is_file()  # what a kill had prevented
    assert main(["resume", str(tmp_path / "a"), "--epochs", "3", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["epochs"] == 3
    assert "training continues from the checkpoint" in err
    assert main(["resume", str(tmp_path / "a"), "--epochs", "1"]) == 0
    assert "is complete" in capsys.readouterr().err
    assert main([*command, "--recipe", "vae"]) == 2
    assert "recipe is 'vae'; expected 'ae'" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "no")]) == 2
    assert "there is no run in" in capsys.readouterr().err


def test_resume_takes_every_setting_from_the_folder(tmp_path, x):
    options = {"epochs": 2, "clip": 0.5, "plateau": (0.3, 1), "ema": 0.9, "optimizer": "adamw", "components": 2,
               "densities": ("gmm", "normal"), "batch_size": 16, "seed": 3, "checkpoint_every": 2}  # fmt: skip
    folder = tmp_path / "run"
    first = fitted(x, folder, "vae", **options)
    assert first.settings.training["plateau"] == [0.3, 1]
    assert first.settings.densities["components"] == 2
    longer = ch.resume(folder, epochs=4, data=x, progress=False)
    assert same(longer, fitted(x, None, "vae", **options | {"epochs": 4}))
    assert list(longer.densities) == ["gmm", "normal"]
    with pytest.raises(ValueError, match="fitted to in-memory data"):
        ch.resume(folder, epochs=5)


@pytest.mark.parametrize(
    "options",
    [{"size": 6}, {"channels_last": True}, {"background": "black"}, {"condition": "labels"}],
    ids=lambda options: next(iter(options)),
)
def test_a_run_is_resumed_with_the_options_it_was_read_with(tmp_path, options):
    rng = np.random.default_rng(0)
    if "channels_last" in options:
        path = tmp_path / "x.npy"
        np.save(path, rng.integers(0, 255, (60, 8, 8, 3), dtype=np.uint8))
    else:
        path = tmp_path / "photos"
        for i in range(60):
            (path / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8, 4), dtype=np.uint8)).save(path / f"c{i % 2}" / f"{i}.png")
    words = {"net": "mlp", **QUICK, **({} if "background" in options else {"background": "white"}), **options}
    if "channels_last" in options:
        words.pop("background")
    first = ch.fit("ae", path, epochs=1, out=tmp_path / "run", **words)
    longer = ch.resume(tmp_path / "run", epochs=2, progress=False)
    assert longer.settings.reading == first.settings.reading
    assert same(longer, ch.fit("ae", path, epochs=2, **words))


@pytest.mark.parametrize("change", [{"clip": 0.001}, {"optimizer": "sgd"}, {"plateau": False}, {"ema": 0.9}])
@pytest.mark.parametrize("epochs", [1, 2])
def test_another_setting_of_the_training_is_refused(tmp_path, x, change, epochs):
    """Of a run with the defaults too, whether it is complete or not."""
    options = {"latent_dim": 2, "densities": (), "progress": False, "out": tmp_path / "r"}
    ch.fit("rae", x, epochs=1, **options)
    text = (tmp_path / "r" / "run.toml").read_text()
    with pytest.raises(ValueError, match=r"training(\.\w+)? is .*expected|is .*; expected .*as in the run in"):
        ch.fit("rae", x, epochs=epochs, resume=True, **change, **options)
    assert (tmp_path / "r" / "run.toml").read_text() == text


def test_a_run_follows_data_that_were_moved(tmp_path, x):
    np.save(tmp_path / "x.npy", x.numpy())
    options = {"latent_dim": 2, "densities": (), "progress": False, "out": tmp_path / "r"}
    ch.fit("rae", tmp_path / "x.npy", epochs=1, **options)
    os.rename(tmp_path / "x.npy", tmp_path / "moved.npy")
    run = ch.resume(tmp_path / "r", epochs=2, data=tmp_path / "moved.npy", progress=False)
    assert run.history.epochs == 2
    assert ch.load(tmp_path / "r").settings.data == str(tmp_path / "moved.npy")
    assert len(ch.load(tmp_path / "r").data().train) == len(run.data().train)
    np.save(tmp_path / "other.npy", x.numpy() + 1)
    with pytest.raises(ValueError, match="expected"):
        ch.resume(tmp_path / "r", epochs=3, data=tmp_path / "other.npy", progress=False)


def test_a_warm_start_cannot_be_given_to_a_run_that_began_without_it(tmp_path, x):
    options = {"latent_dim": 2, "densities": (), "progress": False}
    ch.fit("rae", x, epochs=1, out=tmp_path / "z", **options)
    ch.fit("rae", x, epochs=1, out=tmp_path / "h", **options)
    text = (tmp_path / "h" / "run.toml").read_text()
    with pytest.raises(
        ValueError, match="init names weights that the run in .*h has not begun with.*random ones.*Leave"
    ):
        ch.fit("rae", x, epochs=2, out=tmp_path / "h", resume=True, init=tmp_path / "z", **options)
    assert (tmp_path / "h" / "run.toml").read_text() == text


def test_a_replacement_without_a_checkpoint_is_begun_again(tmp_path, x, monkeypatch):
    """Interrupted before its first checkpoint, an overwrite is continued by `resume`, not dropped."""
    options = {"densities": (), "progress": False, "out": tmp_path / "r"}
    old = ch.fit("rae", x, epochs=1, latent_dim=2, **options)

    def stopped(row, model):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("chartae.training.checkpoint.save", lambda *arguments: True)
        with pytest.raises(KeyboardInterrupt):
            ch.fit("ae", x, epochs=2, latent_dim=3, overwrite=True, on_epoch=stopped, **options)
    assert ch.load(tmp_path / "r").settings.recipe == old.settings.recipe
    run = ch.resume(tmp_path / "r", data=x, progress=False)
    assert (run.settings.recipe, run.settings.latent_dim, run.history.epochs) == ("ae", 3, 2)
    assert ch.load(tmp_path / "r").settings.recipe == "ae"
    assert not (tmp_path / "r" / ".new").exists()


def test_a_function_cannot_be_resumed_from_a_folder(tmp_path, x):
    fitted(x, tmp_path, augment=torch.neg)
    with pytest.raises(ValueError, match=r"augment was the function .*neg.*call chartae\.fit with"):
        ch.resume(tmp_path, epochs=2, data=x)


def test_an_interrupted_write_of_a_run_is_completed(tmp_path, x, monkeypatch):
    """Killed between weights and run.toml: the weights hold their settings, and resume writes the rest."""
    folder = tmp_path / "run"
    fitted(x, folder, epochs=1)

    def killed(path, text):
        raise MemoryError

    monkeypatch.setattr("chartae.runs.writing.replace_text", killed)
    with pytest.raises(MemoryError):
        fitted(x, folder, epochs=2, resume=True)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="belongs to other weights and is left out"):
        loaded = ch.load(folder)
    assert loaded.settings.epochs == 2
    assert not loaded.densities
    assert loaded.residuals is None
    with pytest.warns(UserWarning, match="belongs to other weights"):
        run = fitted(x, folder, epochs=2, resume=True)
    assert list(run.densities) == ["normal"]
    assert run.residuals is not None
    assert {file.state for file in verify(folder)} == {"whole"}


@pytest.mark.parametrize(
    "harm", [lambda b: b[: len(b) // 2], lambda b: b[:-1] + bytes([b[-1] ^ 1])], ids=["cut", "flipped"]
)
def test_damaged_weights_are_written_again_from_the_checkpoint(tmp_path, x, harm):
    whole = fitted(x, tmp_path, epochs=2)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.warns(UserWarning, match="written again from the checkpoint"):
        run = ch.resume(tmp_path, data=x, progress=False)
    assert same(run, whole)
    assert {file.state for file in verify(tmp_path)} == {"whole"}


def test_a_density_that_is_missing_is_fitted_again(tmp_path, x):
    whole = fitted(x, tmp_path, epochs=1)
    (tmp_path / "density.normal.safetensors").unlink()
    run = fitted(x, tmp_path, epochs=1, resume=True)
    assert list(run.densities) == list(whole.densities)
    assert torch.equal(run.sample(5, "normal"), whole.sample(5, "normal"))
    assert {file.state for file in verify(tmp_path)} == {"whole"}


def test_a_run_that_lost_its_checkpoint_is_not_trained_over(tmp_path, x):
    fitted(x, tmp_path, epochs=1)
    (tmp_path / "checkpoint.safetensors").unlink()
    before = (tmp_path / "weights.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"no checkpoint to continue from; restore it, or fit a new run .*init="):
        fitted(x, tmp_path, epochs=2, resume=True)
    assert (tmp_path / "weights.safetensors").read_bytes() == before


def interrupted(x, folder, epochs, **options):
    def stop(row, model):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(x, folder, epochs=epochs, resume=True, on_epoch=stop, checkpoint_every=1, **options)


def test_an_interrupted_continuation_keeps_its_total(tmp_path, x):
    fitted(x, tmp_path / "run", epochs=2)
    interrupted(x, tmp_path / "run", epochs=5)
    assert fitted(x, tmp_path / "run", epochs=2, resume=True).history.stopped == "complete before"
    (tmp_path / "run" / "weights.safetensors").rename(tmp_path / "weights.safetensors")
    with pytest.raises(
        ValueError, match="epochs is 2, but the checkpoint in .* is in epoch 3; expected at least as many"
    ):
        fitted(x, tmp_path / "run", epochs=2, resume=True)
    (tmp_path / "weights.safetensors").rename(tmp_path / "run" / "weights.safetensors")
    run = ch.resume(tmp_path / "run", data=x, progress=False)
    assert run.history.epochs == 5
    assert same(run, fitted(x, None, epochs=5))


def test_a_warm_start_without_a_checkpoint_is_not_resumed_without_its_weights(tmp_path, x):
    fitted(x, tmp_path / "a")

    def stop(row, model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(x, tmp_path / "b", init=tmp_path / "a", on_epoch=stop)
    for name in ("checkpoint.safetensors", "checkpoint.former.safetensors"):
        (tmp_path / "b" / name).unlink(missing_ok=True)
    with pytest.raises(
        ValueError, match="starts with the weights of another run, and has no checkpoint yet; give init"
    ):
        ch.resume(tmp_path / "b", data=x, progress=False)
    assert fitted(x, tmp_path / "b", init=tmp_path / "a", resume=True).settings.start


def test_other_components_are_not_ignored(tmp_path, x):
    fitted(x, tmp_path, densities=("gmm",), components=2)
    with pytest.raises(ValueError, match="components is 3; expected 2, as in the run in"):
        fitted(x, tmp_path, densities=("gmm",), components=3, resume=True)


def test_own_files_stay_and_those_of_a_run_are_not_written_over(tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--recipe", "ae", "--net", "mlp", "--densities", "normal", "--out", str(run)]
    assert main(["fit", "digits", "--epochs", "1", *words]) == 0
    assert main(["sample", str(run), "--n", "3", "--out", str(run / "mine.npy")]) == 0
    assert main(["sample", str(run), "--n", "3"]) == 0
    for name in ("run.toml", "weights.safetensors", "results.json"):
        before = (run / name).read_bytes() if (run / name).exists() else None
        assert main(["report", str(run), "--out", str(run / name)]) == 2
        assert before == ((run / name).read_bytes() if (run / name).exists() else None)
    assert "which is a file of the run itself" in capsys.readouterr().err
    assert main(["resume", str(run), "--epochs", "2"]) == 0
    err = capsys.readouterr().err
    assert "deleted, as they were of the former weights: density.normal.safetensors" in err
    assert (run / "mine.npy").is_file()
    assert not (run / "samples.png").exists()


def test_a_run_without_its_settings_can_be_replaced(tmp_path, x):
    fitted(x, tmp_path)
    (tmp_path / "run.toml").unlink()
    assert fitted(x, tmp_path, "vae", overwrite=True).settings.recipe == "vae"


# -- warm start -------------------------------------------------------------------------------------------------------


def test_a_run_that_starts_with_the_weights_of_another(tmp_path, x):
    first = fitted(x, tmp_path / "a", lr=0.01)
    run = fitted(x, None, init=tmp_path / "a", lr=1e-12)
    weights = dict(run.model.named_parameters())
    for name, values in first.model.named_parameters():
        torch.testing.assert_close(weights[name], values)
    assert run.settings.start == read_header(tmp_path / "a" / "weights.safetensors", kind="weights")[2]
    wider = fitted(torch.cat([x, x], 1), None, init=tmp_path / "a")
    note = next(note for note in wider.notes if "start with the weights of" in note)
    assert "have other shapes and start at random: " in note
    for options, message in (
        ({"latent_dim": 1}, "latent_dim is 1; expected 2, as in the run"),
        ({"recipe": "vae"}, "recipe is 'vae'; expected 'rae'"),
        ({"init": tmp_path / "no"}, "which holds no run"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            fitted(x, None, **{"init": tmp_path / "a"} | options)
    path = tmp_path / "a" / "run.toml"
    path.write_text(path.read_text().replace("epochs = ", "epochs = 1"))
    with pytest.raises(Damaged, match=r"run\.toml has changed since chartae wrote it"):
        fitted(x, None, init=tmp_path / "a")


# -- overwrite --------------------------------------------------------------------------------------------------------


def test_a_run_is_replaced_when_the_new_one_is_complete(tmp_path, x):
    folder = tmp_path / "run"
    fitted(x, folder, densities=("normal", "gmm"), components=2)
    (folder / "notes.txt").write_text("mine")
    states = []

    def look(row, model):
        states.append(ch.load(folder).settings.recipe)

    new = fitted(x, folder, "vae", overwrite=True, on_epoch=look)
    assert states == ["rae"]
    assert new.folder == folder
    assert ch.load(folder).settings.recipe == "vae"
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "density.gmm.safetensors").exists()
    assert {file.state for file in verify(folder)} == {"whole", "not chartae's"}


def test_no_file_of_the_old_run_becomes_one_of_the_new(tmp_path, x):
    """A new run with one checkpoint has no checkpoint before it, which an old run may have."""
    fitted(x, tmp_path, epochs=3, checkpoint_every=1)
    assert (tmp_path / checkpoint.FORMER).is_file()
    new = fitted(x, tmp_path, "vae", overwrite=True)
    assert not (tmp_path / checkpoint.FORMER).exists()
    assert {file.name: file.state for file in verify(tmp_path) if file.state != "whole"} == {}
    assert same(ch.load(tmp_path), new)


@pytest.mark.parametrize("reader", ["verify", "report"])
def test_readers_without_weights_complete_an_interrupted_replacement(tmp_path, x, monkeypatch, capsys, reader):
    fitted(x, tmp_path)
    original = os.replace

    def killed(source, target):
        if Path(source) == tmp_path / ".new" / "weights.safetensors":
            raise KeyboardInterrupt
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            fitted(x, tmp_path, "vae", overwrite=True)
    assert (tmp_path / ".moves.json").is_file()
    assert main([reader, str(tmp_path)]) == 0
    assert not [name for name in (".moves.json", ".new") if (tmp_path / name).exists()]
    assert not [file for file in verify(tmp_path) if file.state != "whole"]
    assert ch.load(tmp_path).settings.recipe == "vae"


@pytest.mark.parametrize("name", ["weights.safetensors", "density.gmm.safetensors", "log.jsonl", ".moves.json"])
def test_a_folder_in_place_of_a_file_is_refused_before_training(tmp_path, x, name):
    fitted(x, tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("kept")
    epochs = []
    for how in ("overwrite", "resume"):
        with pytest.raises(IsADirectoryError, match=rf"{name} is a folder; expected a file\. Move it away, or"):
            fitted(x, tmp_path, epochs=2, on_epoch=lambda *_: epochs.append(1), **{how: True})
    assert not epochs
    assert (tmp_path / name / "mine").read_text() == "kept"


def test_a_folder_that_appears_during_training_wedges_nothing(tmp_path, x):
    fitted(x, tmp_path)
    place = tmp_path / "weights.safetensors"

    def appear(row, model):
        place.unlink()
        (place / "mine").mkdir(parents=True)

    with pytest.warns(UserWarning, match=r"the run could not be written to .*weights\.safetensors is a folder"):
        run = fitted(x, tmp_path, "vae", overwrite=True, on_epoch=appear)
    assert run.folder is None
    place.rename(tmp_path / "away")
    assert same(run, ch.resume(tmp_path, data=x, progress=False))
    assert same(run, ch.load(tmp_path))


def test_what_chartae_did_not_write_is_never_replaced(tmp_path, x):
    fitted(x, tmp_path)
    mine = tmp_path / ".new" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("kept")
    with pytest.raises(FileExistsError, match=r"\.new holds mine\.txt; expected only files that chartae wrote"):
        replacing.begin(tmp_path)
    assert mine.read_text() == "kept"
    mine.unlink()
    mine.parent.rmdir()
    mine.parent.write_text("kept")
    with pytest.raises(FileExistsError, match=r"\.new is a file; expected a folder"):
        replacing.begin(tmp_path)


def test_an_interrupted_replacement_leaves_the_old_run_and_can_be_continued(tmp_path, x):
    folder = tmp_path / "run"
    old = fitted(x, folder)

    def fail(row, model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(x, folder, "vae", epochs=3, overwrite=True, on_epoch=fail)
    assert same(ch.load(folder), old)
    run = ch.resume(folder, data=x, progress=False)
    assert run.settings.recipe == "vae"
    assert same(run, fitted(x, None, "vae", epochs=3))
    assert ch.load(folder).settings.recipe == "vae"
    assert not (folder / ".new").exists()


@pytest.mark.filterwarnings("ignore:.*which was killed")
@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_any_point_of_the_replacement_wedges_nothing(tmp_path, x, monkeypatch, stride):
    """Each call that changes the folder fails once; then the folder is read, and the same command is given again."""
    first = tmp_path / "first"
    fitted(x, first, densities=("normal", "gmm"), components=2)

    class Killed(BaseException):
        pass

    def attempt(folder, at):
        calls = [0]

        def counting(original):
            def call(*arguments, **keywords):
                calls[0] += 1
                if calls[0] > at:  # a killed process does nothing more
                    raise Killed
                return original(*arguments, **keywords)

            return call

        with monkeypatch.context() as patch:
            for name in ("replace", "unlink", "rmdir"):
                patch.setattr(os, name, counting(getattr(os, name)))
            try:
                fitted(x, folder, "vae", overwrite=True)
            except Killed:
                return False
        return True

    at, recipes = 0, set()
    while True:
        folder = tmp_path / f"run-{at}"
        shutil.copytree(first, folder)
        done = attempt(folder, at)
        loaded = ch.load(folder)
        recipes.add(loaded.settings.recipe)
        assert loaded.sample(2).shape == (2, 3)
        assert not [f for f in verify(folder) if f.state == "wrong"]
        again = fitted(x, folder, "vae", overwrite=True)
        assert same(again, ch.load(folder))
        assert not (folder / ".new").exists()
        shutil.rmtree(folder)
        if done:
            break
        at += stride
    assert recipes == {"rae", "vae"}
    assert at > 20


def test_a_link_in_place_of_the_new_folder_is_not_followed(tmp_path, x):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    fitted(x, folder)
    outside.mkdir()
    (outside / "weights.safetensors").write_text("precious")
    (folder / ".new").symlink_to(outside)
    fitted(x, folder, "vae", overwrite=True)
    assert (outside / "weights.safetensors").read_text() == "precious"
    assert ch.load(folder).settings.recipe == "vae"
    (folder / ".new").symlink_to(outside)
    (folder / ".moves.json").write_text(json.dumps({"delete": [], "move": ["weights.safetensors"]}))
    with pytest.raises(Damaged, match="is a link"):
        ch.load(folder)
    assert (outside / "weights.safetensors").is_file()


def test_a_lone_leftover_does_not_make_a_folder_unusable(tmp_path, x):
    for name in (".run.toml.part", ".part.0123456789abcdef.run.toml"):
        (tmp_path / name).write_text("")
    assert fitted(x, tmp_path).folder == tmp_path


# -- results of other weights -----------------------------------------------------------------------------------------


def test_results_of_other_weights_are_not_shown(tmp_path):
    run = ch.fit("rae", "digits", epochs=1, net="mlp", out=tmp_path, densities=("normal",), progress=False)
    results = ch.evaluate(run, n=50)
    digest = read_header(tmp_path / "weights.safetensors", kind="weights")[2]
    assert Results.read(tmp_path / "results.json").of == digest
    assert RunFolder.read(tmp_path).results.to_dict() == results.to_dict() | {"of": digest}
    kept = (tmp_path / "results.json").read_text()
    ch.resume(tmp_path, epochs=2, progress=False)
    assert not (tmp_path / "results.json").exists()
    (tmp_path / "results.json").write_text(kept)
    manifest.register(tmp_path, "results.json")
    record = RunFolder.read(tmp_path)
    assert record.is_stale
    assert record.results is None
    assert main(["report", str(tmp_path)]) == 0
    assert "results.json is of other weights" in (tmp_path / "report.html").read_text()
    assert [file.name for file in verify(tmp_path) if file.state == "wrong"] == ["results.json"]


def test_a_density_of_other_weights_is_left_out(tmp_path, x):
    fitted(x, tmp_path / "a")
    fitted(x, tmp_path / "b", seed=1)
    shutil.copy(tmp_path / "b" / "density.normal.safetensors", tmp_path / "a")
    manifest.register(tmp_path / "a", "density.normal.safetensors")
    with pytest.warns(UserWarning, match=r"density\.normal\.safetensors belongs to other weights"):
        assert ch.load(tmp_path / "a").densities == {}


# -- verify -----------------------------------------------------------------------------------------------------------


def test_verify_notices_flips_in_every_file(tmp_path, x, capsys):
    fitted(x, tmp_path, epochs=2, checkpoint_every=1)
    assert main(["verify", str(tmp_path)]) == 0
    assert "whole" in capsys.readouterr().out
    generator = torch.Generator().manual_seed(0)
    for path in sorted(p for p in tmp_path.iterdir()):
        whole = path.read_bytes()
        for _ in range(4):
            place, bit = (int(torch.randint(n, (), generator=generator)) for n in (len(whole), 8))
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            assert [f.name for f in verify(tmp_path) if f.state == "wrong"] == [path.name]
        path.write_bytes(whole)
    (tmp_path / "log.jsonl").write_text("")
    assert main(["verify", str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert {"name": "log.jsonl", "state": "wrong"}.items() <= next(
        f for f in json.loads(out) if f["name"] == "log.jsonl"
    ).items()
    assert "1 of " in err
    assert "log.jsonl" in err


def test_verify_reads_a_comparison_and_its_runs(tmp_path):
    ch.evaluation.compare(
        "digits", ["ae"], out=tmp_path, seeds=(0,), epochs=1, densities=("normal",), n=50, net="mlp", progress=False
    )
    names = {file.name: file.state for file in verify(tmp_path)}
    assert names["comparison.json"] == names[str(Path("ae", "seed-0", "weights.safetensors"))] == "whole"
    (tmp_path / "ae" / "seed-0" / "results.json").write_text("{}")
    assert [f.name for f in verify(tmp_path) if f.state == "wrong"] == [str(Path("ae", "seed-0", "results.json"))]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A finished comparison of two runs, to be copied."""
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("comparisons") / "c"
    options = {"densities": ("normal",), "n": 50, "net": "mlp", "latent_dim": 2, "progress": False}
    ch.evaluation.compare("digits", ["ae", "vae"], folder, epochs=1, **options)
    return folder


@pytest.mark.parametrize("gone", ["ae", "ae/seed-0", "ae/seed-0/manifest.json"])
def test_verify_misses_the_runs_that_a_comparison_names(compared, tmp_path, gone, capsys):
    folder = Path(shutil.copytree(compared, tmp_path / "c"))
    assert main(["verify", str(folder)]) == 0
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    wrong = [file for file in verify(folder) if file.state == "wrong"]
    assert [Path(file.name) for file in wrong] == [Path("ae", "seed-0")]
    assert "`chartae compare` with the same --out trains it again" in wrong[0].reason
    assert main(["verify", str(folder)]) == 1
    assert "ae/seed-0" in Path(capsys.readouterr().err).as_posix()


@pytest.mark.parametrize("harm", ["cut", "deleted", "without the run"])
def test_verify_checks_runs_that_comparison_json_does_not_name(compared, tmp_path, harm):
    folder = Path(shutil.copytree(compared, tmp_path / "c"))
    path = folder / "comparison.json"
    if harm == "cut":
        path.write_text(path.read_text()[:-50])
    elif harm == "deleted":
        path.unlink()
    else:
        values = json.loads(path.read_text())
        path.write_text(json.dumps(values | {"rows": values["rows"][1:]}))
        manifest.register(folder, path.name)
    of_comparison = [] if harm == "without the run" else ["comparison.json"]
    assert [file.name for file in verify(folder) if file.state == "wrong"] == of_comparison
    weights = folder / "ae" / "seed-0" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    wrong = [Path(file.name) for file in verify(folder) if file.state == "wrong"]
    assert weights.relative_to(folder) in wrong
    (weights.parent / "manifest.json").unlink()
    wrong = [Path(file.name) for file in verify(folder) if file.state == "wrong"]
    assert wrong == [Path("ae", "seed-0"), *map(Path, of_comparison)]


@pytest.mark.parametrize("named", ["loop", ".", "up/ae/seed-0"])
def test_verify_ends_where_a_comparison_names_itself(compared, tmp_path, named):
    """A comparison may come from a stranger: links within it lead back to it."""
    folder = Path(shutil.copytree(compared, tmp_path / "c"))
    for link in (folder / "loop", folder / "up"):
        link.symlink_to(folder, target_is_directory=True)
    path = folder / "comparison.json"
    values = json.loads(path.read_text())
    values["rows"][0]["folder"] = named
    path.write_text(json.dumps(values))
    manifest.register(folder, path.name)
    links = {file.name: file.reason for file in verify(folder) if file.state == "wrong"}
    assert list(links) == [str(Path(named))] * (named != ".")
    assert all("is a link" in reason for reason in links.values())


def test_a_refused_comparison_changes_nothing(tmp_path):
    options = {"out": tmp_path, "densities": ("normal",), "n": 50, "net": "mlp", "progress": False}
    ch.evaluation.compare("digits", ["ae"], seeds=(0,), epochs=1, **options)
    before = (tmp_path / "comparison.json").read_text()
    with pytest.raises(ValueError, match="epochs is 2; expected 1, as in the finished run"):
        ch.evaluation.compare("digits", ["ae"], seeds=(0, 1), epochs=2, **options)
    assert (tmp_path / "comparison.json").read_text() == before
