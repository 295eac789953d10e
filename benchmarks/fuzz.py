"""Fuzz the readers: mutated files, each of which must give a value or the one kind of error.

    python benchmarks/fuzz.py [--inputs 2000] [--formats csv png ...] [--only csv:17] [--out fuzz.json]

Inputs are made by a seeded mutator, so that FORMAT:NUMBER names one for ever, and read in child processes. It is a
fault if a reader raises anything but `Damaged` (of files of a run) or ValueError and TypeError (of a user's own), ends
the process, takes longer than 20 s or 1 GB of memory beyond that of the imports, starts a process, connects, or looks
up a class for a pickle. The result file is written after every few hundred inputs, and a later call with more inputs
continues.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import re
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: seconds and bytes that an input may take
SECONDS, BYTES = 20.0, 1 << 30
#: inputs of a child process, and between two writes of the result file
BATCH, WRITTEN = 2000, 500
#: what no reader may do; and modules and names not to be looked up for a pickle (numba pickles its own cache)
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")
NOT_PICKLED = ("os", "posix", "nt", "subprocess", "sys", "importlib", "shutil", "runpy", "eval", "exec", "open")

Seeds = list[tuple[str, bytes]]

#: tensors and facts of the weights in each folder that `_copy_runs` made
_WEIGHTS: dict[Path, Any] = {}


# -- the mutator -------------------------------------------------------------------------------------------------------

#: pieces that parsers treat in a special way
TOKENS = [
    b"0", b"-1", b"1", b"255", b"256", b"65535", b"65536", b"2147483648", b"18446744073709551616", b"1e999", b"-0.0",
    b"nan", b"inf", b"null", b"true", b"[]", b"{}", b"[" * 200, b"{" * 200, b"(" * 400, b"'", b'"', b'"""', b"\\",
    b"\\u0000", b"\\ud800", b"\x00", b"\x7f", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b",", b";", b"\t",
    b"=", b"->", b"|", b"#", b"..", b"../../etc/passwd", b"file:///etc/passwd", b"/dev/zero", b"\xf0\x9f\x98\x80",
    b"\x80", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"9" * 5000, b"a" * 2000, b"PK\x03\x04",
    b"\x93NUMPY", b"c\nos\nsystem\n",
]  # fmt: skip
#: values of TOML and JSON, which take the place of others
LITERALS = [
    b"0", b"-1", b"1", b"2", b"3", b"64", b"4096", b"1000000000", b"1" + b"0" * 30, b"1.5", b"-2.5e300", b"true",
    b"[]", b"[1, 2]", b"[1, 8, 8]", b"[[1]]", b'["a"]', b'[100000000]', b'""', b'"x"', b'"../x"', b'"mlp"', b'"gru"',
    b'"conv"', b'"conv:99999999"', b'"conv:' + b"1x" * 300 + b'1"', b'"vae"', b'"ncdae"', b'"grae"', b'"images"',
    b'"strings"', b'"table"', b'"\\u0000"', b'"' + b"a" * 500 + b'"', b'"[red]"', b'"/etc/passwd"',
]  # fmt: skip


def mutated(seeds: Seeds, name: str, number: int) -> tuple[str, bytes]:
    """Input `number` of a format, with the suffix of its file: a seed after one to eight random changes."""
    rng = random.Random(f"{name}:{number}")
    suffix, data = rng.choice(seeds)
    packed = data[:2] == b"\x1f\x8b" and rng.random() < 0.7
    content = bytearray(gzip.decompress(data) if packed else data)
    others = [other for end, other in seeds if end == suffix]
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 2, 3, 5))):
        if suffix in (".toml", ".json", ".jsonl") and rng.random() < 0.7:
            _change_value(content, rng)
        else:
            _change(content, rng, rng.choice(others))
    if packed:
        return suffix, gzip.compress(bytes(content), 1)
    if suffix in (".npz", ".png", ".safetensors") and rng.random() < 0.7:
        return suffix, _mended(bytes(content), suffix)
    if name == "manifest" and rng.random() < 0.7:  # the first format had no digest of itself
        return suffix, bytes(content).replace(b'"version": 2', b'"version": 1')
    return suffix, bytes(content)


def _change_value(content: bytearray, rng: random.Random) -> None:
    """Put another value, or the same key again, in the place of a value of TOML or JSON."""
    values = list(re.finditer(rb'"[^"\n]*"|-?\d[\d.e+-]*|\[[^\[\]]*\]|true|false|null', bytes(content)))
    if values:
        value = rng.choice(values)
        content[value.start() : value.end()] = rng.choice([*LITERALS, rng.choice(values)[0]])


def _change(content: bytearray, rng: random.Random, other: bytes) -> None:
    size = len(content)
    at = rng.randrange(size + 1)
    # headers are short, and matter most
    if rng.random() < 0.3:
        at = min(at, rng.randrange(200))
    end = min(size, at + rng.choice((1, 1, 2, 4, 8, 50, 1000)))
    way = rng.randrange(10)
    if way == 0 and at < size:
        content[at] ^= 1 << rng.randrange(8)
    elif way == 1 and at < size:
        content[at] = rng.randrange(256)
    elif way == 2:
        del content[at:end]
    elif way == 3:
        content[at:at] = content[at:end]
    elif way in (4, 5):
        content[at:at] = rng.choice(TOKENS)
    elif way == 6:
        token = rng.choice(TOKENS)
        content[at : at + len(token)] = token
    elif way == 7:
        begin = rng.randrange(len(other) + 1)
        content[at:end] = other[begin : begin + rng.choice((4, 40, 4000))]
    elif way == 8 and rng.random() < 0.3:
        del content[at:]
    elif way == 8:
        content[at:at] = bytes(content[at:end]) * min(rng.choice((2, 30, 3000)), 60_000 // max(1, end - at))
    else:  # a number in text
        numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(content[at : at + 300])))
        if numbers:
            found = rng.choice(numbers)
            content[at + found.start() : at + found.end()] = rng.choice(TOKENS[:15])


def _mended(content: bytes, suffix: str) -> bytes:
    """The content with the check sums of its chunks made right, so that the parser behind them is reached."""
    if suffix == ".safetensors":  # the first format had no digest, and a stranger can renew it
        return content.replace(b'"version":"2"', b'"version":"1"').replace(b'"digest"', b'"digesu"')
    if suffix == ".npz":  # zipfile checks the sum of what it unpacks: without it
        return re.sub(rb"(PK\x01\x02.{12})(.{4})", lambda m: m[1] + m[2], content, flags=re.DOTALL)
    out, at = bytearray(content[:8]), 8
    while at + 8 <= len(content):
        length = min(int.from_bytes(content[at : at + 4], "big"), len(content) - at - 8)
        chunk = content[at + 4 : at + 8 + length]
        out += content[at : at + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        at += 12 + length
    return bytes(out)


# -- formats -----------------------------------------------------------------------------------------------------------


def _run_folder(work: Path) -> Path:
    """A small run with results and pictures, which is fitted once."""
    import torch

    import chartae as ch

    folder = work / "run"
    if not (folder / "pictures.npz").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        run = ch.fit("rae-l2", "digits", out=folder, epochs=1, latent_dim=3, components=2, progress=False)
        ch.evaluate(run, n=50)
        ch.fit("vae", torch.randn(60, 3), out=work / "table", epochs=1, latent_dim=2, densities=(), progress=False)
        strings = ["x", "x+1", "x*2", "sin(x)", "exp(x)", "x/3"] * 10
        ch.fit("grae", strings, grammar="expressions", out=work / "strings", epochs=1, latent_dim=2, net="gru",
               densities=("normal",), progress=False)  # fmt: skip
    return folder


def _files(work: Path, pattern: str) -> Seeds:
    _run_folder(work)
    return [(path.suffix, path.read_bytes()) for path in sorted(work.glob(pattern))]


def _saved(save: Callable[[Any], None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def _arrays(work: Path) -> Seeds:
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(size=(20, 3)), rng.integers(0, 256, (12, 6, 5), dtype=np.uint8), rng.random((8, 3, 4, 4)) > 0.5,
        np.zeros((5, 2), ">f8"), np.asfortranarray(rng.random((6, 2), dtype=np.float32)),
        np.array([(1, 2.0), (3, 4.0)], [("a", "i4"), ("b", "f8")]), np.array(["a", "b"]),
    ]  # fmt: skip
    return [(".npy", _saved(lambda f, a=a: np.save(f, a))) for a in arrays]  # type: ignore[misc]


def _archives(work: Path) -> Seeds:
    import numpy as np

    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 3
    return [
        (".npz", _saved(lambda f: np.savez_compressed(f, X=x, y=y))),
        (".npz", _saved(lambda f: np.savez(f, train=x, test=x[:5], train_labels=y, test_labels=y[:5]))),
        (".npz", (_run_folder(work) / "pictures.npz").read_bytes()),
    ]


def _idx(work: Path) -> Seeds:
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 4, 5)) + bytes(range(60))
    labels = b"\0\0\x08\x01" + (3).to_bytes(4, "big") + bytes(range(3))
    return [(".idx", images), (".idx", labels), (".gz", gzip.compress(images)), (".gz", gzip.compress(labels))]


def _tables(work: Path) -> Seeds:
    rows = [f"{i},{i * 0.5 - 2},{i % 2}" for i in range(12)]
    numbers = "\n".join(f"{i}\t{-i / 3:.3f}\t{i * i}" for i in range(10))
    quoted = '"n, 1","a ""b""",c\n' + "\n".join(f'"{i}",{i * i},{i + 0.5}' for i in range(8))
    plain = "\n".join(["a,b,label", *rows])
    european = "a;b;c\n" + "\n".join(f"{i};{i},5;-{i},25" for i in range(9))
    texts = [(".csv", text.encode()) for text in (plain, quoted, european)]
    packed = gzip.compress(plain.encode())
    return [*texts, (".tsv", numbers.encode()), (".csv", plain.encode("utf-16")), (".csv.gz", packed)]


def _parquet(work: Path) -> Seeds:
    import pandas as pd

    frames = [
        pd.DataFrame({"a": range(10), "b": [0.5 * i for i in range(10)]}),
        pd.DataFrame({"x": [1, 2, 7], "c": [True, False, True], "t": [1e9, 2.5, -1.0]}),
    ]
    return [(".parquet", _saved(lambda f, x=frame: x.to_parquet(f))) for frame in frames]  # type: ignore[misc]


def _png(work: Path) -> Seeds:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for shape in ((6, 5), (6, 5, 3), (6, 5, 4))
    ]
    pictures += [pictures[1].convert("P"), Image.fromarray(rng.integers(0, 60000, (4, 4)).astype(np.uint16)),
                 pictures[0].convert("1")]  # fmt: skip
    return [(".png", _saved(lambda f, p=p: p.save(f, "png"))) for p in pictures]  # type: ignore[misc]


def _grammars(work: Path) -> Seeds:
    from chartae.grammar import load

    lark = (
        'start: sum\n?sum: product | sum "+" product\n?product: NUMBER | "(" sum ")"\n'
        'NUMBER: /[0-9]+(\\.[0-9]{1,3})?/\n%ignore " "\n'
    )
    ebnf = "number = digit {digit} ['.' (digit)+] ; digit = '0'..'9' ; (* a comment *)\n"
    texts = [load(name).text for name in ("expressions", "rna", "arithmetic", "smiles")]
    return [*((".txt", text.encode()) for text in (*texts, ebnf, "S = 'a' S | ;")), (".lark", lark.encode())]


def _strings(work: Path) -> Seeds:
    from chartae.grammar import Characters, Tokens, described, load, restored

    full = json.dumps({"grammar": "mine", "text": load("rna").text, "start": "structure", "ignore": " "})
    codecs = [described(Characters("ab(+)")), described(Tokens(["ab", "a", "b"])), described(load("rna")), full,
              described(Tokens.of(["CCl", "C[NH+]C"], restored.__globals__["SMILES_TOKENS"]))]  # fmt: skip
    lines = "CCO\nc1ccccc1\nC(=O)O\nCC(C)N\n" * 5
    table = "id,smiles,logp\n" + "".join(f"{i},C{'C' * i}O,{i / 2}\n" for i in range(12))
    texts = [(".smi", lines.encode()), (".csv", table.encode()), (".txt", b"x+1\nsin(x)\nx*x\n" * 4)]
    return [*((".json", codec.encode()) for codec in codecs), *texts]


def _read_data(path: Path) -> None:
    from chartae.data import read

    read(path)


def _read_settings(path: Path) -> None:
    from chartae.records.tensors import read_tensors, write_tensors
    from chartae.runs import load

    content = path.read_bytes()
    folder = path.parent / next((name for name in ("strings", "table") if f'"{name}"'.encode() in content), "run")
    shutil.copy(path, folder / "run.toml")
    # the weights hold the text of their run.toml, which a stranger can renew
    if folder not in _WEIGHTS:
        _WEIGHTS[folder] = read_tensors(folder / "weights.safetensors", kind="weights")
    tensors, facts = _WEIGHTS[folder]
    recipe = re.search(rb'recipe = "([^"]*)"', content)
    facts = {**facts, "settings": content.decode("utf-8", "replace"), "log": 0}
    facts |= {"recipe": recipe[1].decode("utf-8", "replace")} if recipe else {}
    write_tensors(folder / "weights.safetensors", tensors, kind="weights", facts=facts)
    load(folder)


def _read_manifest(path: Path) -> None:
    from chartae.records import manifest

    shutil.copy(path, path.parent / "manifest.json")
    manifest.listed(path.parent)
    shutil.copy(path.with_name("seed.json"), path.parent / "run.toml")
    manifest.verify(path.parent, "run.toml")


def _read_log(path: Path) -> None:
    from chartae.records.log import read_log

    for row in read_log(path):
        _ = row.split, row.epoch, row.step, row.alarm, row.terms


def _read_results(path: Path) -> None:
    from chartae.records.comparison import Comparison
    from chartae.records.results import Results

    if b'"rows"' in path.read_bytes()[:10_000]:
        Comparison.read(path)
    else:
        Results.read(path).to_json()


def _read_tensors(path: Path) -> None:
    from chartae import densities
    from chartae.records.files import Damaged
    from chartae.records.tensors import read_tensors

    try:
        read_tensors(path, kind="weights")
    except Damaged:
        densities.load(path)


def _read_archive(path: Path) -> None:
    from chartae.records.files import Damaged
    from chartae.records.pictures import Pictures

    try:
        Pictures.read(path)
    except Damaged:
        _read_data(path)


def _read_idx(path: Path) -> None:
    from chartae.data.catalogue import read_idx

    read_idx(path)


def _read_picture(path: Path) -> None:
    from chartae.data.files import read_contents

    read_contents(path)


def _read_grammar(path: Path) -> None:
    from chartae.grammar import load

    grammar = load(path)
    rows = grammar.encode(["", "x", "1+2", "sin(x)*x", "((...))", "CCO"], errors="skip")
    grammar.decode(rows)


def _read_strings(path: Path) -> None:
    import numpy as np

    from chartae.data import Reading, read
    from chartae.grammar import restored

    if path.suffix != ".json":
        read(path, reading=Reading(grammar="characters"))
        return
    codec = restored(path.read_text(errors="surrogateescape"))
    codec.encode(["", "a", "ab+(", "CCl", "((...))", "C[NH+]" * 50], errors="skip")
    if codec.masks is None:
        codec.decode(np.arange(min(codec.size, 300))[None])


def _results(work: Path) -> Seeds:
    comparison = {"data": "d", "metric": "m", "protocol": {"n": 3},
                  "columns": {"own": {"set": "own", "metrics": ["f"]}},
                  "rows": [{"recipe": "ae", "seed": 0, "folder": "ae-0", "sets": {"gmm": {"f": 1.0}}}],
                  "summary": [{"recipe": "ae", "n": 1, "columns": {"own": {"mean": 1.0, "sd": None}}}]}  # fmt: skip
    return [*_files(work, "run/results.json"), (".json", json.dumps(comparison).encode())]


#: format -> (its seeds, its reader, whether it belongs to a run, whose one error is Damaged)
FORMATS: Mapping[str, tuple[Callable[[Path], Seeds], Callable[[Path], None], bool]] = {
    "run.toml": (lambda work: _files(work, "*/run.toml"), _read_settings, True),
    "manifest": (lambda work: _files(work, "run/manifest.json"), _read_manifest, True),
    "log": (lambda work: _files(work, "*/log.jsonl"), _read_log, True),
    "results": (_results, _read_results, True),
    "safetensors": (lambda work: _files(work, "*/[dwr]*.safetensors"), _read_tensors, True),
    "npy": (_arrays, _read_data, False),
    "npz": (_archives, _read_archive, False),
    "idx": (_idx, _read_idx, False),
    "csv": (_tables, _read_data, False),
    "parquet": (_parquet, _read_data, False),
    "png": (_png, _read_picture, False),
    "grammar": (_grammars, _read_grammar, False),
    "strings": (_strings, _read_strings, False),
}


# -- the child ---------------------------------------------------------------------------------------------------------


def child(name: str, first: int, last: int, work: Path) -> None:
    """Read inputs first..last-1, and print the number, the outcome, the seconds and the peak memory of each."""
    warnings.simplefilter("ignore")
    seeds_of, reader, of_run = FORMATS[name]
    seeds = seeds_of(work)
    from chartae.records.files import Damaged

    allowed = (Damaged, FileNotFoundError) if of_run else (ValueError, TypeError)
    done: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in FORBIDDEN or (event == "pickle.find_class" and {*args} & {*NOT_PICKLED}):
            done.append(event)

    sys.addaudithook(hook)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        place = Path(folder)
        if name == "run.toml":
            _copy_runs(work, place)
        for suffix, data in seeds:  # so that imports do not count
            _outcome(reader, place / f"seed{suffix}", data, allowed)
        done.clear()
        baseline = _peak()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        virtual = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (virtual + BYTES, hard))
        for number in range(first, last):
            suffix, data = mutated(seeds, name, number)
            print(json.dumps(["start", number]), flush=True)
            begin = time.perf_counter()
            outcome = _outcome(reader, place / f"input{suffix}", data, allowed)
            seconds = time.perf_counter() - begin
            peak = _peak() - baseline
            if done:
                outcome = f"fault: {done[0]}"
                done.clear()
            print(json.dumps(["end", number, outcome, round(seconds, 4), peak]), flush=True)


def _copy_runs(work: Path, place: Path) -> None:
    """Put the weights of the runs beside the inputs."""
    for kind in ("run", "strings", "table"):
        (place / kind).mkdir()
        shutil.copy(work / kind / "weights.safetensors", place / kind)


def _peak() -> int:
    """The largest memory since the last call, in bytes."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) << 10  # type: ignore[index]


def _outcome(reader: Callable[[Path], None], path: Path, data: bytes, allowed: tuple[type[Exception], ...]) -> str:
    path.write_bytes(data)
    try:
        reader(path)
    except allowed as error:
        text = str(error)
        if not text.strip() or len(text) > 3000:
            return f"fault: a message of {len(text)} characters"
        return "error"
    except BaseException as error:
        return f"fault: {type(error).__name__}: {str(error)[:150]}"
    return "value"


# -- the parent --------------------------------------------------------------------------------------------------------


def outcomes(name: str, first: int, last: int, work: Path) -> Iterator[tuple[int, str, float, int]]:
    """The outcome of each input, from child processes that are started again after a crash or a hang."""
    while first < last:
        stop = min(last, first + BATCH)
        words = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--child",
            name,
            str(first),
            str(stop),
            "--work",
            str(work),
        ]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        assert process.stdout is not None
        begun = None
        try:
            for kind, number, *rest in _lines(process.stdout):
                if kind == "start":
                    begun = number
                else:
                    begun, first = None, number + 1
                    yield number, *rest  # type: ignore[misc]
        except TimeoutError:
            process.kill()
            if begun is None:
                raise RuntimeError(f"the child that reads {name} does not start") from None
            yield begun, f"fault: longer than {SECONDS:g} s", SECONDS, 0
            first = begun + 1
            continue
        finally:
            process.stdout.close()
            code = process.wait()
        if begun is not None:
            yield begun, f"fault: the process ended with {code}", 0.0, 0
            first = begun + 1
        elif code:
            raise RuntimeError(f"the child that reads {name} ended with {code}")


def _lines(stream: Any) -> Iterator[list[Any]]:
    """The lines of a child, or TimeoutError; its start, with the fit of a run, may take longer."""
    selector = selectors.DefaultSelector()
    selector.register(stream, selectors.EVENT_READ)
    patience, buffer = 300.0, b""
    while True:
        if not selector.select(patience):
            raise TimeoutError
        part = os.read(stream.fileno(), 1 << 16)
        if not part:
            return
        *lines, buffer = (buffer + part).split(b"\n")
        for line in lines:
            yield json.loads(line)
        patience = SECONDS + 5


def fuzz(name: str, inputs: int, former: dict[str, Any], work: Path) -> Iterator[dict[str, Any]]:
    """The counts of a format, continued up to this number of inputs, after every batch."""
    counts = {"inputs": 0, "values": 0, "errors": 0, "seconds": 0.0, "slowest": 0.0, "slowest_input": None,
              "peak_megabytes": 0, "faults": []} | former  # fmt: skip
    for number, outcome, seconds, peak in outcomes(name, counts["inputs"], inputs, work):
        counts["inputs"] = number + 1
        counts["seconds"] = round(counts["seconds"] + seconds, 3)
        counts["peak_megabytes"] = max(counts["peak_megabytes"], peak >> 20)
        if seconds > counts["slowest"]:
            counts["slowest"], counts["slowest_input"] = round(seconds, 3), f"{name}:{number}"
        if outcome.startswith("fault") or peak > BYTES:
            counts["faults"].append({"input": f"{name}:{number}", "fault": outcome})
        else:
            counts["values" if outcome == "value" else "errors"] += 1
        if counts["inputs"] % WRITTEN == 0:
            yield counts
    yield counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--only", help="read one input, such as csv:17, in this process, and raise what it raises")
    parser.add_argument("--out", default=str(HERE / "results" / "fuzz.json"))
    parser.add_argument("--anew", action="store_true", help="forget the former results of these formats")
    parser.add_argument("--work", help="folder for the runs that inputs are made from; by default a temporary one")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], *map(int, arguments.child[1:]), Path(arguments.work))
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(arguments.work or temporary)
        work.mkdir(exist_ok=True, parents=True)
        _run_folder(work)
        if arguments.only:
            name, number = arguments.only.split(":")
            suffix, data = mutated(FORMATS[name][0](work), name, int(number))
            with tempfile.TemporaryDirectory(dir=work) as folder:
                _copy_runs(work, Path(folder))
                path = Path(folder, f"input{suffix}")
                path.write_bytes(data)
                print(f"{suffix}: {data[:300]!r}")
                FORMATS[name][1](path)
            return
        out = Path(arguments.out)
        result = json.loads(out.read_text()) if out.is_file() else {}
        formats = {
            k: v for k, v in result.get("formats", {}).items() if not (arguments.anew and k in arguments.formats)
        }
        for name in arguments.formats:
            for counts in fuzz(name, arguments.inputs, formats.get(name, {}), work):
                formats[name] = counts
                _write(out, formats)
            rate = counts["inputs"] / max(counts["seconds"], 1e-9)
            print(f"{name:12} {counts['inputs']:>8,} inputs, {rate:7,.0f} a second, {counts['values']:,} values, "
                  f"{counts['errors']:,} errors, slowest {counts['slowest']:.2f} s ({counts['slowest_input']}), "
                  f"{counts['peak_megabytes']} MB, {len(counts['faults'])} faults", flush=True)  # fmt: skip
            for fault in counts["faults"][:10]:
                print(f"    {fault['input']}: {fault['fault']}", flush=True)
    sys.exit(any(counts["faults"] for counts in formats.values()))


def _write(out: Path, formats: Mapping[str, Any]) -> None:
    """Write the results; formats that have fewer inputs than the command says are continued by it."""
    from common import machine

    inputs = max(counts["inputs"] for counts in formats.values())
    for counts in formats.values():
        counts["inputs_a_second"] = round(counts["inputs"] / max(counts["seconds"], 1e-9), 1)
    result = {"benchmark": "fuzz", "machine": machine(), "command": f"python benchmarks/fuzz.py --inputs {inputs}",
              "faults": sum(len(counts["faults"]) for counts in formats.values()), "formats": formats}  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(out)


if __name__ == "__main__":
    main()
