"""Kill, flip, link and race the command line, and count what goes wrong: no count is above 0 if nothing is lost.

    python benchmarks/reliability.py --kills 200 --verbs 50 --flips 500 --pairs 20 --links 0 [--out FILE] [--seed 0]

Each number is a total: trials that the file of results holds already are not repeated, so the command may be
interrupted and run again. `--links 0` tries every name of a file with every verb, and `--links N` only N of these.

kills   SIGKILL at a random moment of `chartae fit ... --resume`, answered by the same command until it ends: the
        weights and the density are bit-equal to those of a run that nobody killed.
verbs   SIGKILL at a random moment of evaluate, report, density fitting and --overwrite: what is left is whole, and the
        same command then succeeds.
flips   one bit of a file of a run: noticed by the reader of the file, or by `chartae verify`.
pairs   two processes fit into one folder, at a random offset: never both train, and the weights are the right ones.
links   a name of a file of a run, or of a temporary one, is a link to a file outside: no verb changes that file.

Processes are forked from one that has imported torch and has computed nothing, so that a trial takes no start-up time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

import chartae
from chartae import cli
from chartae.records import manifest
from chartae.records.run_folder import RunFolder
from chartae.records.verification import verify
from chartae.runs import load

RECIPES = ("vae", "rae-l2", "aae", "rae-gp", "iae")
#: epochs of each recipe, so that a fit takes one to two seconds
EPOCHS = {"vae": 30, "rae-l2": 30, "aae": 12, "rae-gp": 12, "iae": 8}
VERBS = ("evaluate", "report", "density", "overwrite")
#: seconds after which a command counts as hung
LONGEST = 300.0
#: files of a run that hold the result of its training
RESULT = ("weights.safetensors", "density.normal.safetensors")
RESULTS = Path(__file__).parent / "results" / "reliability.json"


# -- processes ---------------------------------------------------------------------------------------------------------


@dataclass
class Process:
    """A forked process that runs one command of `chartae`.

    Attributes:
        pid: its number.
        output: file of what it prints.
        started: when it was forked.
    """

    pid: int
    output: Path
    started: float = field(default_factory=time.monotonic)

    def wait(self, until: float | None = None) -> int | None:
        """The exit status; None if the process still runs at this time."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if until is not None and time.monotonic() >= until:
                return None
            time.sleep(0.002)

    def end(self) -> int:
        """The exit status, after at most `LONGEST` seconds; a process that hangs is killed, with status -9."""
        status = self.wait(self.started + LONGEST)
        return self.kill() if status is None else status

    def kill(self) -> int:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        status = self.wait()
        assert status is not None
        return status

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")


def start(words: Sequence[str], output: Path) -> Process:
    """Run a command in a forked process."""
    pid = os.fork()
    if pid:
        return Process(pid, output)
    status = 99  # an exception that the command line lets through: a traceback
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        status = cli.main(list(words))
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def in_child(function: Callable[[], object], output: Path) -> Any:
    """What a function returns in a forked process, as JSON; this process computes nothing."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            output.write_text(json.dumps(function()))
            status = 0
        finally:
            os._exit(status)
    if Process(pid, output).end():
        raise RuntimeError(f"a check failed: {getattr(function, '__name__', function)}")
    return json.loads(output.read_text())


def preload() -> None:
    """Import what commands import, before the forks."""
    for module in pkgutil.walk_packages(chartae.__path__, "chartae."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.neighbors", "sklearn.mixture"):
        importlib.import_module(name)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports much when it is first built


# -- what is fitted ----------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """The place of the trials, with a reference run of each recipe.

    Attributes:
        place: folder of data and runs.
        seconds: how long a command takes that nobody disturbs, by its name.
        seen: what the last trial met, such as a kill before there was a checkpoint.
    """

    place: Path
    seconds: dict[str, float] = field(default_factory=dict)
    seen: str = ""

    @property
    def data(self) -> Path:
        path = self.place / "digits.npy"
        if not path.exists():
            np.save(path, (load_digits().images[:600, None] * 15.9).astype(np.uint8))
        return path

    def command(self, recipe: str, out: Path, *more: str, seed: int = 0) -> list[str]:
        return [
            "fit", str(self.data), "--recipe", recipe, "--latent-dim", "4", "--net", "smooth:32x32",
            "--batch-size", "50", "--epochs", str(EPOCHS[recipe]), "--densities", "normal",
            "--seed", str(seed), "--device", "cpu", "--out", str(out), "--quiet", *more,
        ]  # fmt: skip

    def timed(self, name: str, words: Sequence[str]) -> Process:
        """Run a command that nobody disturbs, and keep how long it took.

        Raises:
            RuntimeError: it failed.
        """
        process = start(words, self.place / "output.txt")
        if process.end():
            raise RuntimeError(f"chartae {' '.join(words)} failed undisturbed:\n{process.text}")
        self.seconds.setdefault(name, time.monotonic() - process.started)
        return process

    def reference(self, recipe: str, seed: int = 0) -> Path:
        """A run of the recipe that nobody killed, evaluated and with its report."""
        folder = self.place / f"reference-{recipe}-{seed}"
        if not folder.exists():
            self.timed(f"fit {recipe}", self.command(recipe, folder, "--resume", seed=seed))
            self.timed("evaluate", evaluate_words(folder))
            self.timed("report", ["report", str(folder), "--quiet"])
        return folder

    def copy(self, source: Path) -> Path:
        """A copy of a run in a folder of its own, in place of the former copy."""
        folder = self.place / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(source, folder, symlinks=True))


def evaluate_words(folder: Path) -> list[str]:
    return ["evaluate", str(folder), "--n", "60", "--extractor", "pixels", "--densities", "normal", "--quiet"]


def same(a: Path, b: Path, names: Sequence[str] = RESULT) -> bool:
    """Whether the tensors of both runs are equal to the bit."""
    for name in names:
        x, y = ({k: (v.dtype, v.shape, v.tobytes()) for k, v in load_file(run / name).items()} for run in (a, b))
        if x != y:
            return False
    return True


def wrong_files(folder: Path) -> list[str]:
    """The files that `chartae verify` calls wrong."""
    return [f"{file.name}: {file.reason}"[:300] for file in verify(folder) if file.state == "wrong"]


def is_readable(folder: Path) -> str:
    """Why a run cannot be loaded or read; empty if it can."""
    try:
        load(folder)
        RunFolder.read(folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


# -- the parts: each trial returns what went wrong, or nothing -------------------------------------------------------


def kill(bench: Bench, number: int, rng: random.Random) -> str:
    """A kill at a random moment of a fit, answered by the same command."""
    recipe = RECIPES[number % len(RECIPES)]
    reference, folder = bench.reference(recipe), bench.place / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    words = bench.command(recipe, folder, "--resume")
    process = start(words, bench.place / "output.txt")
    moment = rng.uniform(0, bench.seconds[f"fit {recipe}"])
    bench.seen = "ended before the kill"
    if process.wait(process.started + moment) is None:
        process.kill()
        left = {path.name for path in folder.iterdir()} if folder.exists() else set()
        stages = {"weights.safetensors": "with weights", "checkpoint.safetensors": "with a checkpoint"}
        bench.seen = "killed " + next((text for name, text in stages.items() if name in left), "before a checkpoint")
    again = start(words, bench.place / "output.txt")
    if status := again.end():
        return f"{recipe}, killed after {moment:.3f} s: the same command ended with {status}: {again.text[-500:]}"
    if not same(folder, reference):
        return f"{recipe}, killed after {moment:.3f} s: other weights than those of the uninterrupted run"
    wrong = in_child(lambda: wrong_files(folder), bench.place / "answer.json")
    return f"{recipe}, killed after {moment:.3f} s: wrong files: {wrong}" if wrong else ""


def verb_kill(bench: Bench, number: int, rng: random.Random) -> str:
    """A kill at a random moment of another verb, or of an overwriting fit."""
    verb, old, new = VERBS[number % len(VERBS)], bench.reference("vae"), bench.reference("vae", 1)
    folder = bench.copy(old)
    words = {
        "evaluate": evaluate_words(folder),
        "report": ["report", str(folder), "--quiet"],
        "density": bench.command("vae", folder, "--resume"),
        "overwrite": bench.command("vae", folder, "--overwrite", seed=1),
    }[verb]
    if verb == "density":
        in_child(lambda: manifest.forget(folder, "density.normal.safetensors"), bench.place / "answer.json")
        (folder / "density.normal.safetensors").unlink()
    longest = bench.seconds.get(verb, bench.seconds["fit vae"])
    process = start(words, bench.place / "output.txt")
    moment = rng.uniform(0, longest if verb != "density" else 0.3)
    bench.seen = f"{verb} ended before the kill"
    if process.wait(process.started + moment) is None:
        process.kill()
        bench.seen = f"{verb} killed"
    where = f"{verb}, killed after {moment:.3f} s"
    wrong, unreadable = in_child(
        lambda: [wrong_files(folder), is_readable(folder)], bench.place / "answer.json"
    )  # fmt: skip
    if wrong or unreadable:
        return f"{where}: {wrong} {unreadable}"
    weights = ("weights.safetensors",)
    if not any(same(folder, run, weights) for run in (old, new)):
        return f"{where}: the weights are those of neither run"
    again = start(words, bench.place / "output.txt")
    if status := again.end():
        return f"{where}: the same command ended with {status}: {again.text[-500:]}"
    if not same(folder, new if verb == "overwrite" else old):
        return f"{where}: other weights or density after the same command"
    wrong = in_child(lambda: wrong_files(folder), bench.place / "answer.json")
    return f"{where}: wrong files after the same command: {wrong}" if wrong else ""


def flip(bench: Bench, number: int, rng: random.Random) -> str:
    """One bit of a file that chartae wrote."""
    folder = bench.copy(bench.reference(RECIPES[number % len(RECIPES)]))
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    path = folder / names[number % len(names)]
    content = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    bench.seen = path.name

    def unnoticed() -> bool:
        try:
            return not is_readable(folder) and not wrong_files(folder)
        except (ValueError, OSError):
            return False

    if in_child(unnoticed, bench.place / "answer.json"):
        return f"bit {bit} of {path.name} ({len(content)} bytes) is not noticed"
    return ""


def pair(bench: Bench, number: int, rng: random.Random) -> str:
    """Two processes fit into one folder."""
    recipe = RECIPES[number % len(RECIPES)]
    reference, folder = bench.reference(recipe), bench.place / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    words = [word for word in bench.command(recipe, folder, "--resume") if word != "--quiet"]
    offset = rng.uniform(0, 1.2 * bench.seconds[f"fit {recipe}"])
    first = start(words, bench.place / "first.txt")
    first_ended = first.wait(first.started + offset)
    second = start(words, bench.place / "second.txt")
    statuses = (first.end() if first_ended is None else first_ended, second.end())
    bench.seen = " and ".join(sorted(map(str, statuses))).join(("status ", ""))
    where, texts = f"{recipe}, {offset:.3f} s apart", (first.text, second.text)
    trained = [s == 0 and "is complete" not in text for s, text in zip(statuses, texts, strict=True)]
    if sum(trained) != 1:
        return f"{where}: {sum(trained)} of 2 trained, with status {statuses}: {texts[0][-300:]} | {texts[1][-300:]}"
    for status, text in zip(statuses, texts, strict=True):
        if status and not (status == 2 and "is being written by" in text):
            return f"{where}: ended with {status}: {text[-500:]}"
    return "" if same(folder, reference) else f"{where}: other weights than those of one process alone"


def link_cases(bench: Bench) -> list[tuple[str, str]]:
    """Every name of a file, and of a temporary one, with every verb that writes."""
    names = sorted(path.name for path in bench.reference("vae").iterdir())
    names += ["checkpoint.former.safetensors", "checkpoint.next.safetensors", "run.lock", ".moves.json", "samples.png"]
    names += [f".{name}.part" for name in names if not name.startswith(".")] + [".new", "postmortem"]
    return [(name, verb) for name in names for verb in (*VERBS, "resume", "sample", "break-lock", "diagnose")]


def writing_words(bench: Bench, verb: str, folder: Path) -> list[str]:
    """The command by which a verb writes into the folder of a run."""
    return {
        "evaluate": evaluate_words(folder),
        "report": ["report", str(folder), "--quiet"],
        "density": [*bench.command("vae", folder, "--resume"), "--densities", "normal", "gmm"],
        "overwrite": bench.command("vae", folder, "--overwrite"),
        "resume": ["resume", str(folder), "--epochs", str(EPOCHS["vae"] + 1), "--quiet"],
        "sample": ["sample", str(folder), "--n", "4", "--quiet"],
        "break-lock": ["resume", str(folder), "--break-lock", "--quiet"],
        "diagnose": ["diagnose", str(folder), "--n", "50", "--quiet"],
    }[verb]


def link(bench: Bench, number: int, rng: random.Random) -> str:
    """A name in a run folder is a link to a file, or a folder, outside."""
    name, verb = link_cases(bench)[number]
    if f"link {verb}" not in bench.seconds:  # a verb that always fails would show nothing
        bench.timed(f"link {verb}", writing_words(bench, verb, bench.copy(bench.reference("vae"))))
    folder, outside = bench.copy(bench.reference("vae")), bench.place / "outside"
    shutil.rmtree(outside, ignore_errors=True)
    outside.mkdir()
    is_folder = name in (".new", "postmortem")
    target = outside / "folder" if is_folder else outside / "file"
    original = folder / name
    if is_folder:
        target.mkdir()
        (target / "mine.txt").write_text("mine")
    else:
        target.write_bytes(original.read_bytes() if original.is_file() else b"mine")
    original.unlink(missing_ok=True)
    original.symlink_to(target)
    before = _contents(outside)
    words = writing_words(bench, verb, folder)
    process = start(words, bench.place / "output.txt")
    status = process.end()
    bench.seen = f"{verb}: status {status}"
    if _contents(outside) != before:
        return f"{verb} with {name} as a link changes what it leads to (status {status})"
    if status not in (0, 1, 2) or "Traceback" in process.text:
        return f"{verb} with {name} as a link ended with {status}: {process.text[-500:]}"
    return ""


def _contents(folder: Path) -> Mapping[str, tuple[bytes, int, int]]:
    """Content, mode and time of every file in a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p): (p.read_bytes(), p.stat().st_mode, p.stat().st_mtime_ns) for p in files}


PARTS: Mapping[str, Callable[[Bench, int, random.Random], str]] = {
    "kills": kill, "verbs": verb_kill, "flips": flip, "pairs": pair, "links": link,
}  # fmt: skip


# -- the results -------------------------------------------------------------------------------------------------------


def trials(bench: Bench, part: str, total: int, seed: int, results: dict[str, Any]) -> Iterator[None]:
    """Make the trials of a part that the results lack, and note each; yields after each of them."""
    entry = results.setdefault(part, {"trials": 0, "seed": seed, "seen": {}, "faults": []})
    for number in range(entry["trials"], total):
        try:
            fault = PARTS[part](bench, number, random.Random(f"{seed} {part} {number}"))
        except RuntimeError as error:  # a command fails undisturbed
            bench.seen, fault = "not tried", str(error)[-800:]
        entry["trials"] = number + 1
        entry["seen"][bench.seen] = entry["seen"].get(bench.seen, 0) + 1
        if fault:
            entry["faults"].append({"trial": number, "what": fault})
            print(f"{part} {number}: {fault}", file=sys.stderr, flush=True)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for part in PARTS:
        parser.add_argument(f"--{part}", type=int, metavar="N", help="number of trials")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of results, which is continued")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    results |= {"benchmark": "reliability", "command": f"python {' '.join(sys.argv)}"}
    preload()
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        bench = Bench(Path(place))
        for part in PARTS:
            total = getattr(arguments, part)
            if total is None:
                continue
            if part == "links":
                total = min(total or 10**9, len(link_cases(bench)))
            for _ in trials(bench, part, total, arguments.seed, results):
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                whole = arguments.out.with_name(f"{arguments.out.name}.new")
                whole.write_text(json.dumps(results, indent=1) + "\n")
                os.replace(whole, arguments.out)
            entry = results[part]
            print(f"{part}: {entry['trials']} trials, {len(entry['faults'])} faults", flush=True)
    return int(any(results[part]["faults"] for part in PARTS if part in results))


if __name__ == "__main__":
    sys.exit(main())
