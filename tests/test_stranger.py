"""A run folder is data from a stranger: crafted ones are refused, at once, in little memory, and read nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import chartae as ch
from chartae.cli import main
from chartae.data import Reading, read
from chartae.data.sources import Source
from chartae.densities import make
from chartae.densities import save as save_density
from chartae.grammar import Grammar, Production, Terminal, Tokens, described, restored
from chartae.records.files import Damaged, one_line, quoted, read_text
from chartae.records.run_folder import RunFolder
from chartae.records.settings import Settings
from chartae.records.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("float32")

ROOT = Path(__file__).parents[1]
#: what a stranger must not get to see
SECRET = "hunter2-do-not-quote"
#: seconds of the processor, and bytes, that a crafted folder may take
SECONDS, BYTES = 2.0, 500 << 20

#: verbs that run once before any is timed
WARM = {
    "images": ("sample", "report", "traverse"), "strings": ("sample",),
    "table": ("evaluate --n 50", "traverse", "diagnose --n 20", "interpolate"),
}  # fmt: skip

#: paths that were opened, and names of forbidden events, while `watch` is on
watch: dict[str, list[str]] | None = None


def _hook(event: str, args: tuple[object, ...]) -> None:
    if watch is None:
        return
    if event == "open" and isinstance(args[0], str | bytes):
        writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        watch["written" if writes else "read"].append(os.fsdecode(args[0]))
    elif event in ("socket.connect", "socket.getaddrinfo", "os.system", "subprocess.Popen", "pickle.find_class"):
        watch["forbidden"].append(event)


sys.addaudithook(_hook)


# -- the runs that are mutated -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """A run on images, on a table in a file, and on strings; the first one is evaluated."""
    place = tmp_path_factory.mktemp("honest")
    torch.set_default_dtype(torch.float32)
    quick = {"epochs": 1, "progress": False}
    run = ch.fit("rae-l2", "digits", out=place / "images", latent_dim=3, components=2, **quick)
    ch.evaluate(run, n=50)
    table = place / "data" / "table.csv"
    table.parent.mkdir()
    rows = np.random.default_rng(0).normal(size=(300, 3))
    np.savetxt(table, rows, "%.6f", ",", header="a,b,c", comments="")
    ch.fit("vae", table, out=place / "table", latent_dim=2, densities=("normal",), **quick)
    strings = ["x", "x+1", "x*2", "sin(x)", "exp(x)", "x/3"] * 10
    ch.fit("grae", strings, grammar="expressions", out=place / "strings", latent_dim=2, net="gru",
           densities=("normal",), **quick)  # fmt: skip
    for kind, verbs in WARM.items():  # what verbs import does not count
        shutil.copytree(place / kind, place / "warm")
        for words in verbs:
            verb, *rest = words.split()
            assert main([verb, str(place / "warm"), *rest]) == 0
        shutil.rmtree(place / "warm")
    return place


@pytest.fixture
def stranger(honest, tmp_path):
    """A copy of a run, without the manifest, which a stranger can write anew; and a secret beside it."""

    def copy(kind: str) -> Path:
        folder = tmp_path / "run"
        shutil.copytree(honest / kind, folder)
        (folder / "manifest.json").unlink()
        (tmp_path / "secret").mkdir()
        (tmp_path / "secret" / "table.csv").write_text(f"a,b,c\n{SECRET},1,2\n3,4,5\n")
        return folder

    return copy


@dataclass
class Case:
    """A crafted folder.

    Attributes:
        harm: what the stranger does to the folder.
        message: what the error says.
        kind: the run that is harmed.
        verbs: the verbs that must refuse it, whose words follow the folder.
        load: whether `load` must refuse it.
        read: whether `RunFolder.read` must refuse it.
    """

    harm: Callable[[Path], object]
    message: str
    kind: str = "images"
    verbs: tuple[str, ...] = ("sample", "encode digits --out codes.npy")
    load: bool = True
    read: bool = False


def toml(old: str, new: str) -> Callable[[Path], None]:
    """Replace a text of run.toml."""

    def harm(folder: Path) -> None:
        text = (folder / "run.toml").read_text()
        assert old in text, text
        (folder / "run.toml").write_text(text.replace(old, new, 1))

    return harm


def whole(name: str, content: str | bytes) -> Callable[[Path], None]:
    """Replace a file."""
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def key(line: str, old: str = r"^") -> Callable[[Path], None]:
    """Put a line before the keys of run.toml, and remove the keys that match a pattern."""

    def harm(folder: Path) -> None:
        text = (folder / "run.toml").read_text()
        (folder / "run.toml").write_text(f"{line}\n" + (text if old == "^" else re.sub(old, "", text, flags=re.M)))

    return harm


def linked(name: str) -> Callable[[Path], None]:
    """Replace a file by a link to its like outside."""

    def harm(folder: Path) -> None:
        target = folder.parent / "secret" / name
        shutil.move(folder / name, target)
        (folder / name).symlink_to(target)

    return harm


def pipe(name: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return harm


def weights(change: Callable[[dict[str, torch.Tensor], dict[str, object]], None]) -> Callable[[Path], None]:
    """Change tensors and facts of the weights, and renew their digest."""

    def harm(folder: Path) -> None:
        tensors, facts = read_tensors(folder / "weights.safetensors", kind="weights")
        change(tensors, facts)
        write_tensors(folder / "weights.safetensors", tensors, kind="weights", facts=facts)

    return harm


def drop_one(tensors, facts):
    del tensors[next(iter(tensors))]


def widen_one(tensors, facts):
    name = next(name for name, t in tensors.items() if t.ndim == 2)
    tensors[name] = torch.zeros(7, 7)


def header(text: bytes, size: int | None = None) -> bytes:
    return (len(text) if size is None else size).to_bytes(8, "little") + text


def density(change: Callable[[dict[str, torch.Tensor], dict[str, object]], None]) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        path = folder / "density.gmm.safetensors"
        tensors, facts = read_tensors(path, kind="density")
        change(tensors, facts)
        write_tensors(path, tensors, kind="density", facts=facts)

    return harm


def other_size(folder: Path) -> None:
    save_density(make("normal").fit(torch.randn(50, 5)), folder / "density.normal.safetensors")


def residuals(**tensors: torch.Tensor) -> Callable[[Path], object]:
    return lambda folder: write_tensors(folder / "residuals.safetensors", tensors, kind="residuals", facts={})


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def bomb() -> bytes:
    """An archive of 600 MB of zeros in less than 1 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("originals.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (600 << 20,)})
        for _ in range(600):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def lying() -> bytes:
    """An archive of an array whose header says that it has 10^12 values."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("originals.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    return buffer.getvalue()


def codec(text: str) -> Callable[[Path], None]:
    """Give the run of strings another codec."""

    def harm(folder: Path) -> None:
        settings = Settings.read(folder / "run.toml")
        kind = {**settings.kind, "codec": text}
        (folder / "run.toml").write_text(Settings(**{**vars(settings), "kind": kind, "codec": text}).to_toml())

    return harm


def grammar(text: str) -> str:
    return json.dumps({"grammar": "mine", "text": text, "start": "S", "ignore": ""})


def blocks(folder: Path) -> None:
    weights(lambda tensors, facts: facts.update(recipe="ncdae"))(folder)
    toml('recipe = "rae-l2"', 'recipe = "ncdae"')(folder)
    toml("[options]", "[options]\nblocks = 1000000000")(folder)


def results(change: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        values = json.loads((folder / "results.json").read_text())
        change(values)
        (folder / "results.json").write_text(json.dumps(values))

    return harm


def of_pages(harm: Callable[[Path], object], message: str) -> Case:
    """A case of the files that only reports read."""
    return Case(harm, message, verbs=("report",), load=False, read=True)


def of_log(content: str | bytes) -> Case:
    return Case(whole("log.jsonl", content), "log.jsonl", verbs=("report", "sample"), read=True)


def with_read(harm: Callable[[Path], object], message: str) -> Case:
    return Case(harm, message, verbs=("sample", "report", "evaluate"), read=True)


def renew(folder: Path) -> None:
    """Renew all check sums, as a stranger can: settings and digests in the files of weights, densities, residuals."""
    with contextlib.suppress(ValueError, OSError, KeyError, RecursionError):
        path = folder / "weights.safetensors"
        tensors, facts = read_tensors(path, kind="weights")
        facts |= {"settings": read_text(folder / "run.toml")}
        facts.pop("log", None)
        digest = write_tensors(path, tensors, kind="weights", facts=facts)
        for path in (*folder.glob("density.*"), folder / "residuals.safetensors"):
            kind = path.name.partition(".")[0]
            tensors, facts = read_tensors(path, kind=kind)
            write_tensors(path, tensors, kind=kind, facts=facts | {"of": digest})
        path = folder / "results.json"
        path.write_text(path.read_text().replace(json.loads(path.read_text())["of"], digest))


MATCH = "do not match its run.toml"
CASES: dict[str, Case] = {
    # run.toml as a file
    "no toml": with_read(whole("run.toml", "recipe = "), "run.toml is damaged"),
    "no text": with_read(whole("run.toml", b"\xff\xfe\x00"), "run.toml is damaged"),
    "deep lists": with_read(key("notes = " + "[" * 50_000, r"^notes.*"), "run.toml is damaged"),
    "deep keys": with_read(key(".".join(["a"] * 20_000) + " = 1"), "run.toml"),
    "large toml": with_read(key("x = [" + "1.5, " * 900_000 + "]"), "is larger than"),
    "many keys": with_read(key("".join(f"k{i} = 1\n" for i in range(30_000))), "expected at most 20,000"),
    "toml a link": with_read(linked("run.toml"), "run.toml is a link"),
    "toml a pipe": Case(pipe("run.toml"), "there is no run|no regular file", verbs=("sample",)),
    "control characters": Case(key('"\\u001b[31mred" = 1'), "unknown keys: '.x1b"),
    "long keys": Case(key("".join(f"{'k' * 900}{i} = 1\n" for i in range(3000))), "unknown keys"),
    # values of run.toml
    "hex number": Case(key(f"epochs = 0x{'f' * 5000}", r"^epochs.*"), "epochs is a number of 20,000 bits"),
    "float shape": Case(toml("shape = [\n    1,", "shape = [\n    1.5,"), "shape is"),
    "huge shape": Case(toml("shape = [\n    1,\n    8,\n    8,", "shape = [\n    100000000,"), "shape"),
    "shape of 10^9": Case(toml("shape = [\n    1,\n    8,", "shape = [\n    1,\n    1000000000,"), "10.8 values"),
    "both shapes": Case(lambda f: (f / "run.toml").write_text(
        (f / "run.toml").read_text().replace("    8,\n    8,", "    9999,\n    9999,")), MATCH),
    "wide net": Case(toml('net = "mlp"', 'net = "conv:99999999"'), MATCH),
    "deep net": Case(toml('net = "mlp"', f'net = "smooth:{"1x" * 490}1"'), MATCH),
    "long net": Case(toml('net = "mlp"', f'net = "smooth:{"1x" * 5000}1"'), "at most 1,000 characters"),
    "other net": Case(toml('net = "mlp"', 'net = "conv"'), MATCH),
    "code size": Case(toml("latent_dim = 3", "latent_dim = 30"), MATCH),
    "huge code": Case(toml("latent_dim = 3", "latent_dim = 1000000000"), "has only 64 values"),
    "boolean": Case(toml("latent_dim = 3", "latent_dim = true"), "latent_dim is True"),
    "recipe": Case(toml('"rae-l2"', '"../../x"'), "of recipe 'rae-l2'; expected '../../x'"),
    "seed": Case(toml("seed = 0", f"seed = {10**30}"), "64 bits"),
    "blocks": Case(blocks, MATCH),
    "no kind": Case(toml('[kind]\nkind = "images"', "[kind]"), "kind is ''"),
    "unknown kind": Case(toml('kind = "images"', f'kind = "{"x" * 9999}"'), "kind is 'xxx"),
    "kind without shape": Case(lambda f: (f / "run.toml").write_text(re.sub(
        r'(kind = "images"\n)shape[^\]]*\]\n', r"\1", (f / "run.toml").read_text())), "KeyError: 'shape'"),
    "kind of text": Case(key('kind = "images"', r"^\[kind\]\n(?:(?!\[).*\n)*"), "kind is 'images'"),
    "sizes": Case(toml("[kind]\n", '[kind]\nsize = ["a", "b"]\n'), "reading.size"),
    "reading": Case(toml("[options]", '[reading]\nlimit = "all"\n[options]'), "reading.limit is 'all'"),
    "reading a grammar": Case(toml("[options]", '[reading]\ngrammar = "x"\n[options]'), "reading has"),
    "condition": Case(toml("[options]", "[condition]\ncolumns = 3\n[options]"), "condition is"),
    "condition of nothing": Case(toml("[options]", "[condition]\ncolumns = [{}]\n[options]"), "condition is"),
    "option unknown": Case(toml("[options]", "[options]\nos = 1"), "no option os"),
    "option a list": Case(toml("[options]", "[options]\nbeta = [1]"), "options.beta is"),
    "option not a number": Case(toml("[options]", "[options]\nbeta = nan"), "beta"),
    "means": Case(toml("mean = [\n", 'mean = [\n    "x",\n'), "run.toml is damaged", "table"),
    "columns": Case(toml("columns = [\n", "columns = [\n    [1],\n"), "run.toml is damaged", "table"),
    # codecs
    "codec a file": Case(codec('{"grammar": "../secret/table.csv"}'), "grammar is '../secret", "strings", ("sample",)),
    "codec a path": Case(codec('{"grammar": "/etc/passwd"}'), "grammar is '/etc/passwd'", "strings", ("sample",)),
    "codec deep": Case(codec('{"tokens": ' + "[" * 90_000), "run.toml is damaged", "strings", ("sample",)),
    "codec a list": Case(codec("[1, 2]"), "run.toml is damaged", "strings", ("sample",)),
    "one symbol": Case(lambda f: codec('{"characters": ["x"]}')(f) or (f / "run.toml").write_text(
        re.sub(r"shape = \[\n    \d+,\n\]", "shape = [\n    100000000,\n]", (f / "run.toml").read_text())),
        "length is 100,000,000", "strings", ("sample",)),
    "grammar wide": Case(codec(grammar("\n".join(f"A{i} -> 'x'" for i in range(9000)))), "table of", "strings",
                         ("sample",)),
    "grammar deep": Case(codec(grammar("S = " + "(" * 20_000 + "'x'")), "too deep", "strings", ("sample",)),
    "grammar chain": Case(codec(grammar("S -> A0\n" +
        "".join(f"A{i} -> A{i + 1}\n" for i in range(3000)) + "A3000 -> 'x'")), "takes 3002 steps", "strings",
        ("sample",)),
    "grammar range": Case(codec(grammar("S = " + " ".join("'a'..'\U0010fffe'" for _ in range(50)))), "productions",
                          "strings", ("sample",)),
    # weights
    "weights truncated": Case(lambda f: os.truncate(f / "weights.safetensors", 5000), "weights.safetensors"),
    "weights a pickle": Case(whole("weights.safetensors", pickle.dumps(os.getcwd)), "weights.safetensors"),
    "weights empty": Case(whole("weights.safetensors", b""), "weights.safetensors"),
    "long header": Case(whole("weights.safetensors", header(b"{}", 1 << 60)), "its header has"),
    "deep header": Case(whole("weights.safetensors", header(b'{"a":' * 100_000)), "RecursionError"),
    "header a list": Case(whole("weights.safetensors", header(b"[1]")), "not a chartae weights"),
    "shapes overflow": Case(whole("weights.safetensors", header(json.dumps({
        "__metadata__": {"chartae": "weights", "version": "1", "facts": '{"recipe": "rae-l2"}'},
        "w": {"dtype": "F32", "shape": [1 << 60, 1 << 60], "data_offsets": [0, 0]}}).encode())), "damaged|" + MATCH),
    "tensor missing": Case(weights(drop_one), MATCH),
    "tensor unknown": Case(weights(lambda tensors, facts: tensors.update(x=torch.zeros(2))), MATCH),
    "tensor of other shape": Case(weights(widen_one), MATCH),
    "no tensors": Case(weights(lambda tensors, facts: tensors.clear()), "are empty"),
    "no recipe": Case(weights(lambda tensors, facts: facts.clear()), "of recipe None"),
    "weights a link": Case(linked("weights.safetensors"), "weights.safetensors is a link"),
    "weights of others": Case(lambda f: save_file({"x": torch.zeros(3)}, f / "weights.safetensors"), "not a chartae"),
    "weights a density": Case(lambda f: shutil.copy(f / "density.gmm.safetensors", f / "weights.safetensors"),
                              "is not a chartae weights"),
    # densities and residuals
    "density unknown": Case(density(lambda t, facts: facts.update(name="os.system")), "density.gmm.safetensors"),
    "density settings": Case(density(lambda t, facts: facts.update(settings=[1])), "density.gmm.safetensors"),
    "density components": Case(density(lambda t, facts: facts["settings"].update(components="x")),
                               "density.gmm.safetensors"),
    "density facts": Case(density(lambda t, facts: facts.update(fitted={"scores_": {"x": 1}})),
                          "density.gmm.safetensors"),
    "density endless": Case(density(lambda t, facts: t.update(
        weights=torch.ones(2), means=torch.zeros(2, 0), factors=torch.zeros(2, 0, 0))), "density.gmm.safetensors"),
    "density not finite": Case(density(lambda t, facts: t["means"].fill_(torch.nan)), "density.gmm.safetensors"),
    "density of another size": Case(other_size, r"codes of the density have shape \(5,\)"),
    "density by condition": Case(density(lambda t, facts: facts.update(
        name="by-condition", settings={"density": "normal", "discrete": 0}) or t.update(
        groups=torch.zeros(100_000, 0), intercepts=torch.zeros(100_000, 3), slopes=torch.zeros(100_000, 0, 3))),
        "density.gmm.safetensors"),
    "residuals of another shape": Case(residuals(offset=torch.zeros(2), slope=torch.zeros(2), sigma=torch.zeros(2)),
                                       "residuals.safetensors"),
    "residuals missing": Case(residuals(offset=torch.zeros(1, 8, 8)), "residuals.safetensors is damaged: KeyError"),
    "residuals negative": Case(residuals(**{n: -torch.ones(1, 8, 8) for n in ("offset", "slope", "sigma")}),
                               "residuals.safetensors"),
    # results and pictures
    "results no json": of_pages(whole("results.json", "{"), "results.json is damaged"),
    "results no text": of_pages(whole("results.json", b"\xff"), "results.json is damaged"),
    "results deep": of_pages(whole("results.json", '{"a":' * 100_000), "results.json is damaged"),
    "results large": of_pages(whole("results.json", '{"a": [' + "[]," * 5_000_000 + "[]]}"), "is larger than"),
    "results sets": of_pages(results(lambda values: values.update(sets=3)), "sets in results.json is 3"),
    "results huge": of_pages(results(lambda values: values.update(reconstruction={"mse": 10**4000})),
                             "mse in results.json is a number of"),
    "results a link": of_pages(linked("results.json"), "results.json is a link"),
    "pictures no archive": of_pages(whole("pictures.npz", b"PK\x03\x04" + b"x" * 100), "pictures.npz is damaged"),
    "pictures an array": of_pages(whole("pictures.npz", npy(np.zeros(3))), "pictures.npz is damaged"),
    "pictures a bomb": of_pages(whole("pictures.npz", bomb()), "unpacks to"),
    "pictures lie": of_pages(whole("pictures.npz", lying()), "pictures.npz is damaged"),
    "pictures pickled": of_pages(whole("pictures.npz", npz(originals=np.array([os.getcwd], object))),
                                 "never loaded"),
    "pictures of text": of_pages(whole("pictures.npz", npz(originals=np.array(["a"]))), "originals is"),
    "pictures a link": of_pages(linked("pictures.npz"), "pictures.npz is a link"),
    "log no json": of_log("{"),
    "log no text": of_log(b'{"split": "\xff"}\n'),
    "log deep": of_log('{"a":' * 100_000),
    "log of numbers": of_log("[1]\n"),
}  # fmt: skip


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """Within the block, the time, the memory and the files that are opened are limited."""
    monkeypatch.chdir(tmp_path)

    class Guard:
        def __enter__(self):
            global watch
            if Path("/proc/self/clear_refs").exists():
                Path("/proc/self/clear_refs").write_text("5")
            self.memory, self.begin = peak(), time.process_time()
            watch = {"read": [], "written": [], "forbidden": []}

        def __exit__(self, *exception):
            global watch
            seen, watch = watch, None
            seconds, memory = time.process_time() - self.begin, peak() - self.memory
            assert seconds < SECONDS, seconds
            assert memory < BYTES, memory
            assert not seen["forbidden"]
            outside = [path for path in seen["read"] if "secret" in path]
            assert not outside
            inside = (str(tmp_path), "/dev/null", str(Path(sys.prefix)), str(ROOT))
            assert not [path for path in seen["written"] if not str(Path(path).absolute()).startswith(inside)]

    return Guard


def peak() -> int:
    """The largest memory of the process since it was reset, in bytes."""
    status = Path("/proc/self/status")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) << 10 if status.exists() else 0


def check_message(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text
    assert len(text) < 1200, len(text)
    assert SECRET not in text
    assert not [c for c in text if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize("name", CASES)
def test_crafted_folders_are_refused(name, stranger, guarded, tmp_path, capsys):
    case = CASES[name]
    folder = stranger(case.kind)
    case.harm(folder)
    renew(folder)
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    if case.load:
        with guarded(), pytest.raises((Damaged, FileNotFoundError)) as error:
            ch.load(folder)
        check_message(str(error.value), case.message)
    else:
        ch.load(folder)
    if case.read:
        with guarded(), pytest.raises((Damaged, FileNotFoundError)) as error:
            RunFolder.read(folder)
        check_message(str(error.value), case.message)
    for words in case.verbs:
        verb, *rest = words.split()
        with guarded():
            assert main([verb, str(folder), *rest]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("chartae: ")
        assert "Traceback" not in printed
        check_message(printed, case.message)
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "secret"]


@pytest.mark.parametrize(
    "harm", [toml('net = "mlp"', 'net = "conv:99999999"'), toml("latent_dim = 3", "latent_dim = 30")]
)
def test_crafted_runs_are_not_resumed(harm, stranger, guarded, capsys):
    folder = stranger("images")
    harm(folder)
    with guarded(), pytest.raises(Damaged, match=MATCH):
        ch.resume(folder, epochs=2, progress=False)
    assert main(["resume", str(folder), "--epochs", "2"]) == 2
    check_message(capsys.readouterr().err, MATCH)


def test_lists_of_moves_touch_nothing_that_chartae_did_not_write(stranger, guarded, capsys):
    """Whoever passes a run on may add a list of files that the next reader is to delete or to replace."""
    folder = stranger("images")
    renew(folder)
    mine, moves = folder / "mine.txt", folder / ".moves.json"
    mine.write_text("kept")
    (folder / ".new").mkdir()
    (folder / ".new" / "other.txt").write_text("kept")
    moves.write_text(json.dumps({"delete": ["mine.txt"], "move": []}))
    with guarded():
        ch.load(folder)
    assert not moves.exists()
    assert (folder / ".new" / "other.txt").read_text() == mine.read_text() == "kept"
    (folder / ".new" / "mine.txt").write_text("theirs")
    moves.write_text(json.dumps({"delete": [], "move": ["mine.txt"]}))
    for verb in ("verify", "report", "sample"):
        with guarded():
            assert main([verb, str(folder)]) == 2
        check_message(capsys.readouterr().err, r"would replace .*mine\.txt, which chartae did not write\. Delete it")
    assert mine.read_text() == "kept"
    for names in (["../secret/table.csv"], ["/secret"]):
        moves.write_text(json.dumps({"delete": names, "move": names}))
        with guarded(), pytest.raises(ValueError, match="expected a plain name"):
            ch.load(folder)
    assert mine.read_text() == "kept"


def test_crafted_post_mortems_build_no_large_nets(tmp_path, guarded):
    with pytest.raises(ArithmeticError):
        ch.fit("rae", torch.randn(64, 3), lr=1e30, latent_dim=2, out=tmp_path / "run", progress=False)
    assert ch.postmortem(tmp_path / "run").rerun is not None
    place = tmp_path / "run" / "postmortem"
    (place / "manifest.json").unlink()
    toml('net = "mlp"', 'net = "smooth:20000x20000"')(place)
    with guarded(), pytest.raises(Damaged, match=MATCH):
        ch.postmortem(tmp_path / "run")


# -- the data that run.toml names --------------------------------------------------------------------------------------


def named(data: str, root: str = "") -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        settings = Settings.read(folder / "run.toml")
        changed = {**vars(settings), "data": data.replace("~", str(folder.parent)), "root": root}
        (folder / "run.toml").write_text(Settings(**changed).to_toml())

    return harm


def same_name_and_size(folder: Path) -> None:
    """A file as large as the one of the fit, of the same name."""
    source = Path(Settings.read(folder / "run.toml").data)
    other = folder.parent / "secret" / source.name
    other.write_text(f"{SECRET}".ljust(source.stat().st_size))
    named(str(other))(folder)


def without_digest(folder: Path) -> None:
    """An older version stored no digest of the files."""
    settings = Settings.read(folder / "run.toml")
    other = str(folder.parent / "secret" / "table.csv")
    (folder / "run.toml").write_text(Settings(**{**vars(settings), "files": {}, "data": other}).to_toml())


def without_fingerprint(folder: Path) -> None:
    without_digest(folder)
    toml('fingerprint = "', 'fingerprint = ""\nobjective = "')(folder)
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(re.sub(r'^objective = "[0-9a-f]{16}"\n', "", text, flags=re.M))


def a_link(folder: Path) -> None:
    (folder.parent / "link.csv").symlink_to(Settings.read(folder / "run.toml").data)
    named("~/link.csv")(folder)


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder.parent / "pipe.csv")
    named("~/pipe.csv")(folder)


def mnist_files(folder: Path) -> None:
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder.parent / "secret" / f"{name}-ubyte").write_text(SECRET)
    named("mnist", str(folder.parent / "secret"))(folder)


#: what is said of files that are not those of the fit
OTHERS = "are not those that the run was fitted to, which were 1 of"
#: how run.toml names data -> what the error says; files that may be read before are marked
DATA = {
    "another file": (named("~/secret/table.csv"), OTHERS, False),
    "same name and size": (same_name_and_size, OTHERS, True),
    "a device": (named("/dev/zero"), "a link, a device or a pipe", False),
    "a pipe": (a_pipe, "a link, a device or a pipe", False),
    "a link": (a_link, "a link, a device or a pipe", False),
    "a folder": (named("~/secret"), OTHERS, False),
    "the whole disk": (
        named("/usr"),
        f"holds more than|{OTHERS}",
        False,
    ),
    "an absent file": (named("~/absent.csv"), "is not there", False),
    "a home": (named("~~/x.csv"), "is not there", False),
    "an address": (named("https://example.org/x.csv"), "is not there", False),
    "a download": (named("mnist"), "not downloaded on the word of a run folder", False),
    "a root": (mnist_files, OTHERS, False),
    "a view": (named("~/secret/table.csv+edges"), OTHERS, False),
    "no digest": (without_digest, "which an older version fitted", True),
    "no fingerprint": (without_fingerprint, "has no fingerprint of its data", False),
    "digests of other types": (toml("count = 1", 'count = "1"'), "files has", False),
    "a wrong digest": (
        toml('listing = "', 'listing = "x'),
        OTHERS,
        False,
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_data_are_not_read_on_the_word_of_a_run(name, stranger, guarded, tmp_path, monkeypatch, capsys):
    harm, message, may_read = DATA[name]
    folder = stranger("table")
    harm(folder)
    renew(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CHARTAE_DATA", raising=False)
    run = ch.load(folder)
    if may_read:
        with pytest.raises((ValueError, OSError)) as error:
            run.data()
    else:
        with guarded(), pytest.raises((ValueError, OSError)) as error:
            run.data()
    check_message(str(error.value), message)
    assert error.value.__suppress_context__ or SECRET not in str(error.value.__cause__)
    for words in ("evaluate", "traverse --out x.csv", "diagnose", "interpolate --out x.csv", "sample --density gmm-2"):
        verb, *rest = words.split()
        assert main([verb, str(folder), *rest]) == 2
        printed = capsys.readouterr().err
        check_message(printed, message)
        assert "--data" in printed
    assert not (tmp_path / "cache").exists()


def test_data_that_moved_are_named(stranger, tmp_path, capsys):
    folder = stranger("table")
    source = Path(Settings.read(folder / "run.toml").data)
    moved = tmp_path / "moved.csv"
    shutil.copy(source, moved)
    named("~/absent.csv")(folder)
    renew(folder)
    assert main(["traverse", str(folder), "--out", str(tmp_path / "x.csv")]) == 2
    for words in (["traverse", "--out", str(tmp_path / "x.csv")], ["evaluate"], ["diagnose"]):
        assert main([words[0], str(folder), *words[1:], "--data", str(moved)]) == 0, capsys.readouterr().err
    run = ch.load(folder)
    assert torch.equal(run.source(moved).train, read(moved).train)


def test_data_are_read_again_where_they_are_those_of_the_fit(honest):
    run = ch.load(honest / "table")
    assert run.settings.files["count"] == 1
    assert torch.equal(run.data().train, read(run.settings.data).train)
    assert len(ch.load(honest / "images").data().train) == 1297


def test_a_folder_of_pictures_is_recognised(tmp_path):
    for i in range(12):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (4, 4), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not read")
    source = Source.of(str(tmp_path))
    assert source.count == 12
    (tmp_path / "notes.txt").write_text("changed, and still not read")
    source.check(str(tmp_path))
    assert Source.from_dict(source.to_dict()) == source
    (tmp_path / "3.png").rename(tmp_path / "x.png")
    with pytest.raises(ValueError, match="are not those that the run was fitted to, which were 12 of"):
        source.check(str(tmp_path))
    assert Source.of("digits") is None
    assert Source.of("array") is None


def test_named_data_come_from_folders_that_the_user_names(stranger, tmp_path, monkeypatch):
    """A folder in the environment or in `root` is the user's word, and the fingerprint decides."""
    folder, good = stranger("table"), tmp_path / "good"
    (good / "mnist").mkdir(parents=True)
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (12, 4, 4)) + bytes(range(192))
    labels = b"\0\0\x08\x01" + (12).to_bytes(4, "big") + bytes(12)
    for name, content in (("train-images-idx3", images), ("train-labels-idx1", labels), ("t10k-images-idx3", images),
                          ("t10k-labels-idx1", labels)):  # fmt: skip
        (good / "mnist" / f"{name}-ubyte").write_bytes(content)
    run = ch.fit("ae", "mnist", root=good, latent_dim=2, epochs=1, densities=(), progress=False)
    assert run.settings.files["count"] == 4
    assert len(run.data().train) == 10
    run.save(tmp_path / "saved")
    text = (tmp_path / "saved" / "run.toml").read_text()
    (tmp_path / "saved" / "manifest.json").unlink()
    (tmp_path / "saved" / "run.toml").write_text(re.sub(r"^root = .*", f'root = "{folder}"', text, flags=re.M))
    renew(tmp_path / "saved")
    monkeypatch.setenv("CHARTAE_DATA", str(good))
    assert len(ch.load(tmp_path / "saved").data().train) == 10
    (good / "mnist" / "train-images-idx3-ubyte").write_bytes(images[:16] + b"\7" + images[17:])
    with pytest.raises(ValueError, match="not those that the run was fitted to"):
        ch.load(tmp_path / "saved").data()
    with pytest.raises(ValueError, match="not those that the run was fitted to"):
        ch.load(tmp_path / "saved").data(root=good)
    assert good.is_dir()


# -- codecs ------------------------------------------------------------------------------------------------------------


def cpu(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def test_patterns_of_strangers_are_never_compiled():
    codec = restored(json.dumps({"tokens": ["a", "ab", "b"], "pattern": "(a+)+$"}))
    assert codec.pattern is None
    assert codec.encode(["aab"])[0].tolist() == [0, 1]
    assert cpu(lambda: codec.encode(["a" * 20_000 + "!"], errors="skip")) < SECONDS
    with pytest.raises(ValueError, match="pattern is '\\(a\\+\\)\\+\\$'; expected None, or one of"):
        Tokens(["a"], "(a+)+$")
    with pytest.raises(ValueError, match="no list"):
        restored('{"tokens": "abc", "pattern": null}')
    with pytest.raises(ValueError, match="1,001 characters"):
        Tokens(["a" * 1001])


def test_own_patterns_find_tokens_that_are_then_taken_longest_first():
    codec = Tokens.of(["a1b", "b12"], "[a-z]|[0-9]+")
    assert codec == restored(described(codec))
    assert codec.decode(codec.encode(["b1", "12a"])) == ["b1", "12a"]
    # the code book's longest token would be taken: 'ab', where the pattern takes 'a'
    with pytest.raises(ValueError, match="pattern cuts 'aab' into"):
        Tokens.of(["ab", "aab"], "^ab|a|b")


@pytest.mark.parametrize(
    ("productions", "string"),
    [
        ("S -> S S | 'a'", "a" * 400),  # every bracketing is a derivation
        ("S -> S S S | S S | 'a' | ", "a" * 200),
        ("S -> 'a' S | ", "a" * 20_000),
    ],
)
def test_strings_that_take_the_parser_too_long_are_failures(productions, string, monkeypatch):
    from chartae.grammar import earley, parsing

    if not earley.COMPILED:
        monkeypatch.setattr(earley, "MOST_PAIRS", 100_000)
    grammar = Grammar(productions, useless="mask") if "S S S" not in productions else Grammar("S -> S S | 'a' | 'aa'")
    rows = grammar.encode(["a", string, "aa"], errors="skip")
    assert len(rows) + len(rows.failures) == 3
    for failure in rows.failures:
        assert failure.expected == ("a string that needs fewer steps to parse",)
    assert grammar.decode(rows)[0] == "a"
    assert parsing.MOST_ITEMS == 1 << 21


def test_a_text_beyond_the_limits_of_the_parser_is_a_failure(monkeypatch):
    from chartae.grammar import parsing

    grammar = Grammar("S -> 'a' S | ")
    whole = grammar.encode(["aaa", "a" * 50, "", "aa"])
    monkeypatch.setattr(parsing, "MOST_HEADS", 2 * 40)
    rows = grammar.encode(["aaa", "a" * 50, "", "aa"], errors="skip")
    assert rows.kept.tolist() == [0, 2, 3]
    assert [row.tolist() for row in rows] == [whole[i].tolist() for i in (0, 2, 3)]
    assert rows.failures[0].index == 1


def test_derivations_and_rows_of_tokens_have_a_largest_text():
    grammar = Grammar([Production("S", (Terminal("a" * 900), "S")), Production("S", ())])
    assert len(grammar.decode([[0] * 5 + [1]])[0]) == 4500
    with pytest.raises(ValueError, match="has more than 1,048,576 bytes"):
        grammar.decode([[0] * 3000 + [1]])
    tokens = Tokens(["a" * 900, "b"])
    with pytest.raises(ValueError, match="2,700,000 characters"):
        tokens.decode([[0] * 3000])


def test_grammars_have_tables_of_bounded_size():
    with pytest.raises(ValueError, match="expected at most 16,777,216"):
        Grammar("S -> " + " | ".join(f"'{chr(0x4E00 + i)}'" for i in range(9000)))
    long_chain = "S -> A0\n" + "\n".join(f"A{i} -> A{i + 1} | '{i}'" for i in range(1500)) + "\nA1500 -> 'x'"
    assert cpu(lambda: Grammar(long_chain)) < SECONDS


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_with_brackets_control_characters_and_other_bytes(honest, tmp_path, capfd):
    """Non-UTF-8 bytes, U+007F, an escape and rich's markup in the names of the data and of the run folder."""
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/[red]\x7f\x1b\xff"))
    place.mkdir()
    data, folder = place / "[bold]data.csv", place / "run[0]"
    shutil.copy(honest / "data" / "table.csv", data)
    words = ["--latent-dim", "2", "--epochs", "1", "--out", str(folder), "--densities", "normal"]
    assert main(["fit", str(data), "--recipe", "rae", *words]) == 0, capfd.readouterr().err
    settings = Settings.read(folder / "run.toml")
    assert settings.data == str(data)
    assert (folder / "run.toml").read_bytes().decode()
    run = ch.load(folder)
    assert torch.equal(run.data().train, read(data).train)
    for words in (["evaluate", str(folder)], ["report", str(folder)],
                  ["sample", str(folder), "--out", str(place / "[x].csv")], ["inspect", str(data)]):  # fmt: skip
        assert main(words) == 0, capfd.readouterr().err
    printed = capfd.readouterr()
    assert "[bold]data" in re.sub(r"\s", "", printed.out)
    assert "\x1b" not in printed.out + printed.err
    assert "\\x7f" in printed.err
    assert "[red]" in (folder / "report.html").read_text()
    assert main(["sample", str(place / "absent[/]")]) == 2


def test_settings_hold_any_bytes_of_paths(tmp_path):
    odd = os.fsdecode(b"/data/\xff[\x7f/caf\xc3\xa9 +%41.csv+edges")
    settings = Settings("ae", odd, (2,), 1, "mlp", 1, 1, 0.1, 0, root=odd, notes=(odd,), to="file.csv")
    (tmp_path / "run.toml").write_text(settings.to_toml(), encoding="utf-8")
    again = Settings.read(tmp_path / "run.toml")
    assert (again.data, again.root, again.to) == (odd, odd, "file.csv")
    with pytest.raises(ValueError, match="expected at most 4,194,304 bytes"):
        Settings("ae", "x", (2,), 1, "mlp", 1, 1, 0.1, 0, kind={"mean": [0.123456789] * 300_000}).to_toml()


# -- messages ----------------------------------------------------------------------------------------------------------


def test_what_messages_quote():
    assert quoted(10**5000) == f"a number of {(10**5000).bit_length():,} bits"
    assert quoted([10**5000]) == "a list of 1"
    assert quoted({"a": 1}) == "a dict of 1"
    assert len(quoted("x" * 10_000)) == 61
    assert one_line(KeyError("shape")) == "KeyError: 'shape'"
    assert one_line(ValueError("a\x1bb\nc" + "x" * 999)) == "a b c" + "x" * 195 + "…"
    assert one_line(ValueError()) == "ValueError"


def test_errors_without_text_and_lack_of_memory_are_said(monkeypatch, capsys):
    from chartae.cli import main as module

    for error, said in ((ValueError(), "chartae: ValueError\n"), (OSError(" "), "chartae: OSError\n"),
                        (MemoryError(), "chartae: not enough memory; use less data, or a smaller model\n"),
                        (KeyboardInterrupt(), "chartae: interrupted\n"),
                        (ValueError("\x1b[31m" + "x" * 9999), f"chartae: \\x1b[31m{'x' * 3986}…\n")):  # fmt: skip

        def fails(*words: object, error: BaseException = error) -> int:
            raise error

        monkeypatch.setattr(sys.modules["chartae.cli.main"], "_run", fails)
        assert main(["list", "data"]) == (130 if isinstance(error, KeyboardInterrupt) else 2)
        assert capsys.readouterr().err == said
    assert module is not None


# -- what users bring --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_whose_headers_lie_are_refused_before_memory_is_taken(suffix, tmp_path, guarded):
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        path.write_bytes(lying().replace(b"originals.npy", b"data_data.npy"))
    else:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with guarded(), pytest.raises(ValueError, match="cannot be read"):
        read(path)


def test_idx_files_whose_headers_lie_are_refused(tmp_path, guarded):
    import gzip

    from chartae.data.catalogue import read_idx

    content = b"\0\0\x08\x03" + b"\xff" * 12 + bytes(100)
    for name, packed in (("x", content), ("x.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(packed)
        with guarded(), pytest.raises(ValueError, match="is damaged"):
            read_idx(tmp_path / name)


def test_long_strings_are_refused_with_their_remedy():
    with pytest.raises(ValueError, match=r"length is 20,00\d.* expected 1 to 16,384. Leave longer strings out"):
        read(["a" * 20_000, "b", "a"], reading=Reading(grammar="characters"), valid=0, test=0)


# -- fuzz --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_mutated_files_give_a_value_or_the_one_kind_of_error(tmp_path):
    words = [sys.executable, "benchmarks/fuzz.py", "--inputs", "500", "--out", str(tmp_path / "fuzz.json")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    formats = json.loads((tmp_path / "fuzz.json").read_text())["formats"]
    assert len(formats) == 13
    assert all(counts["values"] and counts["errors"] for counts in formats.values())
