"""The command line: a verb a command, each a few lines over the library."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional, arg

from chartae.cli.reproduce import Reproduce

__all__ = ["main"]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


#: what strings are written to, one a line
_TEXTS = (".txt", ".smi")

#: formulas in one picture
MOST_DRAWN = 1000


@dataclass(frozen=True)
class Fit:
    """Train a recipe on data; the recipe's own options are further flags, such as --beta 0.01."""

    data: Annotated[
        Positional[str],
        arg(help="a data set's name, a folder of pictures, .npy, .npz, .csv, .parquet; of strings .txt, .smi"),
    ]
    out: Annotated[Path, arg(help="folder for the run")]
    recipe: Annotated[str, arg(help="what to train: ae, rae, rae-l2, rae-gp, rae-sn, vae, beta-vae, ...")] = "rae-l2"
    to: Annotated[str | None, arg(help="the other domain, of iae-translate: a name or path, e.g. mnist+coloured")] = (
        None
    )
    grammar: Annotated[
        str | None, arg(help="of strings: zinc-smiles, expressions, smiles, arithmetic, rna, a file; or characters ...")
    ] = None
    limit: Annotated[int | None, arg(help="the first so many strings alone")] = None
    column: Annotated[str | None, arg(help="of a table: the one that holds the strings")] = None
    target: Annotated[
        str | None, arg(help="a property for the code to tell: a table's column; logp, sa, qed, weight, penalised-logp")
    ] = None
    skip: Annotated[bool, arg(help="leave out strings that the grammar cannot read, and count them")] = False
    latent_dim: Annotated[int | None, arg(help="size of the codes; 16, or the data's own where smaller")] = None
    epochs: int = 10
    batch_size: int = 128
    seed: int = 0
    net: Annotated[str, arg(help="mlp, conv (or with widths, conv:16x32x64), residual, paper, or auto")] = "auto"
    lr: Annotated[float | None, arg(help="Adam's step size; the recipe's own by default")] = None
    densities: Annotated[
        tuple[str, ...] | None, arg(help="fitted to the codes afterwards; by default normal gmm, or none for a score")
    ] = None
    components: Annotated[int, arg(help="of the mixture")] = 10
    precision: Annotated[str, arg(help="fp32, bf16 or fp16")] = "fp32"
    clip: Annotated[float | None, arg(help="largest gradient norm")] = None
    cosine: Annotated[
        bool | None, arg(help="let the step size fall to zero over the epochs; default: for a score, or critics")
    ] = None
    patience: Annotated[int | None, arg(help="stop after so many epochs without a better validation loss")] = None
    ema: Annotated[float | None, arg(help="decay of an average of the weights, e.g. 0.999")] = None
    device: Annotated[str | None, arg(help="cpu keeps off a GPU")] = None
    data_root: Annotated[Path | None, arg(help="where named data lie; else CHARTAE_DATA, else a download")] = None
    resume: Annotated[bool, arg(help="go on from the folder's checkpoint")] = False
    overwrite: Annotated[bool, arg(help="remove a run that is in the folder")] = False

    takes_options: ClassVar[bool] = True

    def run(self, options: dict[str, Any]) -> None:
        import chartae

        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        recipe, data, root = plain.pop("recipe"), plain.pop("data"), plain.pop("data_root")
        plain["errors"] = "skip" if plain.pop("skip") else "raise"
        made = chartae.fit(recipe, data, root=root, progress=True, **plain, **options)
        history = made.history
        assert history is not None
        _say(f"{recipe} on {data}: epoch {history.best_epoch} of {history.epochs} is kept; the run is in {self.out}")
        if made.skipped:
            _say(f"{made.skipped:,} strings were left out; chartae grammar audit says why")
        if made.halves:
            _say(f"{data} and {self.to} are the same pictures: each was trained on a half that the other has not seen")


@dataclass(frozen=True)
class Sample:
    """Draw new points from a run: a picture (.png), or an array (.npy, .npz); strings as text (.txt, .smi).

    Of molecules .png is a picture of their formulas.
    """

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    out: Annotated[
        Path | None, arg(help="NAME.png, .npy, .npz, or .txt of strings; by default samples.png, ... in the run")
    ] = None
    density: Annotated[str | None, arg(help="prior, normal or gmm; by default the mixture")] = None
    sampler: Annotated[str | None, arg(help="chains that follow the score: mala, annealed, tempering, ...")] = None
    n: int = 64
    steps: Annotated[int | None, arg(help="of the chains; 1000, or the sampler's schedule")] = None
    warmup: Annotated[int | None, arg(help="steps before, which tune the step size; 500 where it can be tuned")] = None
    step: Annotated[float | None, arg(help="the chains' step size")] = None
    sigma: Annotated[float | None, arg(help="noise level, of a noise-conditional model")] = None
    seed: int = 0
    data_root: Annotated[Path | None, arg(help="where the data lie, should they have to be read")] = None

    def run(self, options: dict[str, Any]) -> None:
        import numpy as np

        from chartae import metrics, runs
        from chartae.draw import pictures
        from chartae.samplers import by_name

        if self.out is not None and self.out.suffix not in (".png", ".npy", ".npz", *_TEXTS):
            raise ValueError(f"--out is {self.out}; give a name that ends in .png, .npy or .npz, or .txt of strings")
        if self.density is not None and self.sampler is not None:
            raise ValueError("--density draws codes, --sampler runs chains of points; give one of them")
        made = runs.load(self.run_folder)
        if made.settings.codec:
            self._strings(made)
            return
        sampler = self.sampler or (made.own if self.density is None and made.own in by_name.NAMES else None)
        chain_flags = {"steps": self.steps, "warmup": self.warmup, "step": self.step, "sigma": self.sigma}
        given = {key: value for key, value in chain_flags.items() if value is not None}
        if sampler is not None:
            settings: dict[str, Any] = given
            chain = made.chains(self.n, sampler, seed=self.seed, root=self.data_root, **settings)
            x = chain.final
            _say(f"{sampler}: {self.n} chains, acceptance {float(chain.info.acceptance.mean()):.2f}")
        else:
            if given:
                raise ValueError(f"--{next(iter(given))} is for chains; give --sampler as well")
            self._fitted(made)
            x = made.sample(self.n, self.density, seed=self.seed)
        if self.out is not None and self.out.suffix in _TEXTS:
            raise ValueError(f"samples of {made.settings.data} are numbers, not strings; use .png, .npy or .npz")
        image, plane = x.ndim == 4, x.shape[1:] == (2,)
        out = self.out or self.run_folder / ("samples.png" if image or plane else "samples.npy")
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".png":
            if image:
                pictures.save_png(out, pictures.enlarge(pictures.grid(metrics.to_uint8(x).numpy()), 2))
            elif plane:
                from chartae.evaluation import score

                score.scatter(x).savefig(out, dpi=130)
            else:
                raise ValueError(f"samples of {made.settings.data} are rows of a table, not pictures; use .npy or .npz")
        else:
            x = metrics.to_uint8(x) if image else x
            np.save(out, x.numpy()) if out.suffix == ".npy" else np.savez_compressed(out, x=x.numpy())
        _say(f"{self.n} samples are in {out}")

    def _fitted(self, made: Any) -> None:
        from chartae import densities

        name = self.density
        if name is not None and name not in ("prior", *made.densities):
            densities.make(name)  # an unknown one is an error before the data are read
            made.fit_density(name, made.encode(made.data(self.data_root).train))

    def _strings(self, made: Any) -> None:
        from chartae.draw import pictures, structures
        from chartae.evaluation import strings
        from chartae.records.files import replace_text

        for flag in ("sampler", "steps", "warmup", "step", "sigma"):
            if getattr(self, flag) is not None:
                raise ValueError(
                    f"--{flag} is for chains of numbers, but samples of this run are strings; use --density"
                )
        out = self.out or self.run_folder / "samples.txt"
        drawn = out.suffix == ".png" and strings.judged_as(made) == "molecules"
        if not drawn and out.suffix not in _TEXTS:
            raise ValueError(f"--out is {out}, but samples of this run are strings; use .txt or .smi")
        if drawn and self.n > MOST_DRAWN:
            raise ValueError(f"--n is {self.n}; a picture holds {MOST_DRAWN} formulas at most, .smi any number")
        if drawn:
            structures.molecules(["C"])  # RDKit is missed before any work
        self._fitted(made)
        drawn_strings = made.sample_strings(self.n, self.density, seed=self.seed)
        out.parent.mkdir(parents=True, exist_ok=True)
        if drawn:
            pictures.save_png(out, structures.molecules(drawn_strings))
            _say(f"{len(drawn_strings)} formulas are in {out}")
        else:
            replace_text(out, "\n".join(drawn_strings) + "\n")
            _say(f"{len(drawn_strings)} strings are in {out}")


@dataclass(frozen=True)
class Translate:
    """Translate test examples between the two domains of a run: a grid, the input first, then its translations."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    out: Annotated[Path, arg(help="NAME.png of a grid; or .npy, an array (inputs, n, ...)")]
    source: Annotated[
        str | None, arg(name="from", help="A, the data the run was fitted on, or B, those it was fitted to; default: A")
    ] = None
    to: Annotated[str | None, arg(help="B or A; by default the other one")] = None
    n: Annotated[int, arg(help="translations of each input")] = 8
    inputs: Annotated[int, arg(help="how many test examples")] = 8
    data: Annotated[
        str | None, arg(help="whose test examples, a data set's name or path; by default the run's own")
    ] = None
    seed: int = 0
    data_root: Annotated[Path | None, arg(help="where named data lie")] = None

    def run(self, options: dict[str, Any]) -> None:
        import numpy as np
        import torch

        from chartae import metrics, runs
        from chartae.data import load
        from chartae.draw import pictures
        from chartae.maths import as_float

        if self.out.suffix not in (".png", ".npy"):
            raise ValueError(f"--out is {self.out}; give a name that ends in .png or .npy")
        if self.inputs < 1:
            raise ValueError(f"--inputs is {self.inputs}; give at least 1")
        other = {"A": "B", "B": "A"}
        source = self.source or other.get(self.to or "B", "A")
        to = self.to or other.get(source, "B")
        made = runs.load(self.run_folder)
        for name in (source, to):
            shape = made.shape_of(name)
        if to == source:
            raise ValueError(f"--from and --to are both {to}; translate from A to B, or from B to A")
        if self.out.suffix == ".png" and len(shape) != 3:
            raise ValueError(f"translations of {made.settings.data} are rows of a table, not pictures; use .npy")
        root = self.data_root or made.settings.root or None
        data = load(self.data, root=root) if self.data else made.domain(source, root)
        x = data.test if len(data.test) else data.train
        x = as_float(x[: self.inputs])
        found = made.translate(x, to, self.n, seed=self.seed)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        if self.out.suffix == ".npy":
            np.save(self.out, found.numpy())
        else:
            colours = max(x.shape[1], found.shape[2])
            columns = torch.cat([x.expand(-1, colours, -1, -1)[:, None], found.expand(-1, -1, colours, -1, -1)], 1)
            shown = metrics.to_uint8(columns.flatten(0, 1)).numpy()
            pictures.save_png(self.out, pictures.enlarge(pictures.grid(shown, columns.shape[1]), 2))
        _say(f"{len(x)} test examples of {data.name}, {self.n} translations each, are in {self.out}")


@dataclass(frozen=True)
class Score:
    """What a run says of the density: its score's errors where the truth is known, field and local dimension."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    sigma: Annotated[float | None, arg(help="one noise level of a noise-conditional model; by default five")] = None
    n: Annotated[int, arg(help="test points, at most")] = 5000
    json: Annotated[bool, arg(help="print the results as JSON")] = False
    seed: int = 0
    data_root: Path | None = None

    def run(self, options: dict[str, Any]) -> None:
        from chartae import runs
        from chartae.evaluation import score

        made = runs.load(self.run_folder)
        results = score.judge(made, sigma=self.sigma, n=self.n, seed=self.seed, root=self.data_root)
        if self.json:
            print(json.dumps(results, indent=1))
            return
        title = f"{self.run_folder}: the score on {results['points']} test points of {results['data']}"
        caption = (
            "denoise: mean |r(x + e) - x|^2 / (d sigma^2), 1 for r(x) = x. L2, cosine, Hessian, log p: errors against "
            "the density smoothed by sigma; raw: against the density itself. dim: mean local dimension."
        )
        table = Table(title=title, caption=caption)
        columns: dict[str, Callable[[dict[str, Any]], float]] = {
            "sigma": lambda r: r["sigma"],
            "denoise": lambda r: r["denoising"],
            "L2": lambda r: r["smoothed"]["relative_l2"],
            "cosine": lambda r: r["smoothed"]["cosine"],
            "Hessian": lambda r: r["smoothed"]["hessian_relative"],
            "log p": lambda r: r["smoothed"]["log_ratio_rmse"],
            "L2, raw": lambda r: r["plain"]["relative_l2"],
            "antisym": lambda r: r["antisymmetry"],
            "dim": lambda r: _mean_index(r["local_dimension"]),
        }
        first = results["levels"][0]
        if "smoothed" not in first:
            columns = {k: v for k, v in columns.items() if k in ("sigma", "denoise", "antisym", "dim")}
        elif "plain" not in first:
            columns.pop("L2, raw")
        for column in columns:
            table.add_column(column, justify="right")
        for row in results["levels"]:
            table.add_row(*(f"{value(row):.3g}" for value in columns.values()))
        Console().print(table)
        _say(f"score.json and pictures are in {self.run_folder}")


@dataclass(frozen=True)
class Diagnose:
    """What a run has learnt: the decoder's geometry, self-consistency, collapsed dimensions, factors recovered."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    out: Annotated[Path | None, arg(help="the page; by default diagnose.html in the run's folder")] = None
    n: Annotated[int, arg(help="test points at which Jacobians are taken, at most")] = 500
    json: Annotated[bool, arg(help="print the results as JSON")] = False
    seed: int = 0
    data_root: Path | None = None

    def run(self, options: dict[str, Any]) -> None:
        from chartae import runs
        from chartae.evaluation import geometry

        out = self.out or self.run_folder / "diagnose.html"
        results = geometry.diagnose(runs.load(self.run_folder), n=self.n, seed=self.seed, root=self.data_root, out=out)
        if self.json:
            print(json.dumps(results, indent=1))
            return
        table = Table(title=f"{self.run_folder}: {results['recipe']} on {results['data']}", show_header=False)
        shape, codes = results["geometry"], results["codes"]
        said = lambda value: "-" if value is None else f"{value:.4g}"  # noqa: E731
        table.add_row(
            "IMA contrast (untrained)", f"{said(shape['contrast'])} ({said(shape['untrained_contrast'])}) nats"
        )
        table.add_row("condition number", said(shape["condition"]))
        table.add_row("active code dimensions", f"{sum(codes['active'])} of {len(codes['active'])}")
        for key, value in results["consistency"].items():
            table.add_row(key.replace("_", " "), said(value))
        if "mcc" in results.get("recovery", {}):
            found = results["recovery"]
            table.add_row(
                "MCC (chance, rotation)", f"{found['mcc']:.3f} ({found['chance']:.3f}, {found['rotation']:.3f})"
            )
        Console().print(table)
        for note in results["warnings"]:
            _say(note)
        _say(f"the page is {out}")


def _mean_index(counts: list[int]) -> float:
    return sum(i * c for i, c in enumerate(counts)) / sum(counts)


@dataclass(frozen=True)
class Evaluate:
    """Judge a run: reconstructions, samples of each density and interpolations against the test set."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    json: Annotated[bool, arg(help="print the results as JSON")] = False
    densities: Annotated[
        tuple[str, ...], arg(help="which densities; by default the prior and all that are fitted")
    ] = ()
    n: Annotated[int, arg(help="points in every compared set")] = 10_000
    extractor: Annotated[str | None, arg(help="lenet-mnist, lenet-fashion, pixels or inception")] = None
    weights: Annotated[Path | None, arg(help="Inception's weights")] = None
    language: Annotated[str | None, arg(help="of strings: the grammar by which one is valid; or molecules")] = None
    seed: int = 0
    device: Annotated[str, arg(help="cpu, or cuda")] = "cpu"
    data_root: Path | None = None

    def run(self, options: dict[str, Any]) -> None:
        from chartae import runs
        from chartae.evaluation import images

        results = images.evaluate(
            runs.load(self.run_folder, device=self.device),
            densities=self.densities or None,
            n=self.n,
            extractor=self.extractor,
            weights=self.weights,
            seed=self.seed,
            root=self.data_root,
            language=self.language,
        )
        if self.json:
            print(json.dumps(results, indent=1))
            return
        if results["metric"] == "strings":
            _strings_table(str(self.run_folder), results)
            return
        table = Table(title=f"{self.run_folder}: {results['metric']} (lower is better), n = {results['protocol']['n']}")
        columns = ("frechet", "kid", "precision", "recall", "density", "coverage")
        for column in ("set", *columns):
            table.add_column(column, justify="left" if column == "set" else "right")
        for name, scores in results["sets"].items():
            table.add_row(name, *(f"{scores[c]:.4g}" for c in columns))
        console = Console()
        console.print(table)
        for part in ("reconstruction", "classes", "clusters", "code"):
            found = {k: v for k, v in results.get(part, {}).items() if v is not None}
            if found:
                told = "  ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in found.items())
                console.print(f"{part}: {told}", highlight=False, soft_wrap=True)


def _strings_table(title: str, results: dict[str, Any]) -> None:
    """What `evaluate` found of strings: a row a measure, a column a density."""
    sets = results["sets"]
    measures = [key for key in sets["floor"] if isinstance(sets["floor"][key], int | float)]
    valid = results["protocol"]["valid"]
    table = Table(title=f"{title}: new strings ({valid} are valid), n = {results['protocol']['n']}")
    table.add_column("")
    for name in sets:
        table.add_column(name, justify="right")
    for key in measures:
        values = [scores.get(key) for scores in sets.values()]
        table.add_row(key.replace("_", " "), *("-" if v is None else f"{v:.4g}" for v in values))
    console = Console()
    console.print(table)
    told = "  ".join(f"{k} {v:.4g}" for k, v in results["reconstruction"].items())
    console.print(f"reconstruction: {told}", highlight=False)
    console.print("floor: as many test strings", highlight=False)


@dataclass(frozen=True)
class Compare:
    """Train several recipes on one data set: one table, one report. Finished rows are not made again."""

    data: Annotated[Positional[str], arg(help="a data set's name or path")]
    out: Annotated[Path, arg(help="folder for the comparison")]
    recipes: tuple[str, ...] = ("ae", "vae", "wae", "rae-l2", "rae-gp")
    seeds: Annotated[int, arg(help="how many seeds; more than one gives standard deviations")] = 1
    epochs: int = 10
    latent_dim: int | None = None
    batch_size: int = 128
    net: str = "auto"
    lr: float | None = None
    components: int = 10
    precision: str = "fp32"
    n: Annotated[int, arg(help="points in every compared set")] = 10_000
    extractor: str | None = None
    weights: Path | None = None
    device: str | None = None
    data_root: Path | None = None
    overwrite: Annotated[bool, arg(help="make every row again")] = False

    takes_options: ClassVar[bool] = True

    def run(self, options: dict[str, Any]) -> None:
        from chartae import data, recipes
        from chartae.evaluation import comparison

        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for key in ("data", "data_root", "recipes", "seeds", "out"):
            plain.pop(key)
        for name in self.recipes:
            recipes.options(name)  # an unknown one is an error before any data are read
        comparison.check_numbers(self.data, self.recipes)
        if self.seeds < 1:
            raise ValueError(f"--seeds is {self.seeds}; give at least 1")
        done = comparison.compare(
            data.load(self.data, root=self.data_root),
            self.recipes,
            self.out,
            seeds=range(self.seeds),
            say=_say,
            options=options,
            progress=True,
            **plain,
        )
        _show(done, self.out)


def _show(done: Any, out: Path) -> None:
    from chartae import report
    from chartae.evaluation.comparison import spread

    columns = {
        "reconstruction": "rec",
        "own": "N (own)",
        "gmm": "GMM",
        "interpolation-linear": "interpolation",
    }
    facts = done.facts
    n, seeds = facts["protocol"]["n"], len(facts["seeds"])
    title = f"{facts['data']}: {facts['metric']}, lower is better; n = {n}, {seeds} seed(s)"
    table = Table(title=title, caption=f"{n} training examples score {facts['floor']['frechet']:.2f}")
    table.add_column("recipe")
    for head in columns.values():
        table.add_column(head, justify="right")
    for row in done.summary():
        table.add_row(row["recipe"], *(spread(row["columns"].get(c)) for c in columns))
    Console().print(table)
    _say(f"the report is {report.write(out, out / 'report.html')}")


@dataclass(frozen=True)
class Report:
    """Write a run or a comparison as one HTML file without outside links."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    out: Annotated[Path | None, arg(help="by default report.html in the folder")] = None

    def run(self, options: dict[str, Any]) -> None:
        from chartae import report

        _say(f"the report is {report.write(self.run_folder, self.out or self.run_folder / 'report.html')}")


@dataclass(frozen=True)
class GrammarVerb:
    """What a grammar makes of strings: `chartae grammar audit FILE --grammar NAME`."""

    what: Annotated[Positional[str], arg(help="audit: the share that parses and comes back, and why the rest does not")]
    file: Annotated[Positional[Path], arg(help=".txt, .smi, .csv or .tsv, with or without .gz")]
    grammar: Annotated[
        str, arg(help="zinc-smiles, expressions, smiles, arithmetic, rna, or a file (.lark, EBNF, list)")
    ]
    column: Annotated[str | None, arg(help="of a table; by default smiles, or the first")] = None
    limit: Annotated[int | None, arg(help="read so many strings at most")] = None
    json: Annotated[bool, arg(help="print the results as JSON")] = False

    def run(self, options: dict[str, Any]) -> None:
        from chartae import data, grammar

        if self.what != "audit":
            raise ValueError(f"`chartae grammar` can audit; {self.what!r} is unknown")
        made = grammar.load(self.grammar)
        found = grammar.audit(data.read_strings(self.file, column=self.column, limit=self.limit), made)
        if self.json:
            print(json.dumps({"file": str(self.file), "grammar": made.name} | found.summary(), indent=1))
            return
        share = lambda n: f"{n:,} ({100 * n / found.strings:.3f} %)"  # noqa: E731
        table = Table(title=f"{self.file}: {found.strings:,} strings under {made.name}", show_header=False)
        table.add_row("different", share(found.different))
        table.add_row("parse", share(found.parsed))
        table.add_row("come back as they were", share(found.survived))
        table.add_row("have several derivations", share(found.ambiguous))
        table.add_row("productions a string", f"{found.mean:.1f} on average, {found.longest} at most")
        table.add_row("productions used", f"{found.used} of {found.size - 1}")
        table.add_row("in memory", f"{found.bytes / 1e6:.1f} MB")
        console = Console()
        console.print(table)
        if found.reasons:
            lost = Table(title="Why the rest is lost")
            for head in ("reason", "strings", "string", "character", "example"):
                lost.add_column(head, justify="right" if head in ("strings", "string", "character") else "left")
            for r in found.reasons[:20]:
                example = r.string if len(r.string) <= 50 else r.string[:49] + "…"
                lost.add_row(r.why, f"{r.count:,}", str(r.index), str(r.place), Text(example))
            console.print(lost)
            if len(found.reasons) > 20:
                _say(f"{len(found.reasons) - 20} further reasons; --json has them all")


@dataclass(frozen=True)
class Optimise:
    """Look in a run's latent space for strings that an objective likes; one that stopped goes on with --resume."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    objective: Annotated[str, arg(help="penalised-logp, logp, qed, expression-fit, or module:function of your own")]
    out: Annotated[Path, arg(help="folder for the search")]
    rounds: int = 5
    batch: Annotated[int, arg(help="strings a round")] = 50
    method: Annotated[str, arg(help="trust-region, or box: the grammar VAE paper's protocol")] = "trust-region"
    surrogate: Annotated[str, arg(help="exact, sparse, or auto")] = "auto"
    density: Annotated[str | None, arg(help="that bounds the search: prior, normal, gmm, or none")] = None
    support: Annotated[float, arg(help="share of the training codes that lie in the density's tail")] = 0.01
    draws: Annotated[int, arg(help="strings decoded of each code; the most frequent valid one is kept")] = 1
    seed: int = 0
    workers: Annotated[int | None, arg(help="processes that score strings")] = None
    timeout: Annotated[float | None, arg(help="seconds that a string's score may take")] = None
    limit: Annotated[int | None, arg(help="learn from so many training strings, half of them the best")] = None
    hide: Annotated[float, arg(help="share of the best training strings that the search is not told of")] = 0.0
    minimise: Annotated[bool, arg(help="an own function is minimised")] = False
    retrain: Annotated[int | None, arg(help="passes over the data, weighted by rank, between rounds")] = None
    resume: Annotated[bool, arg(help="go on with the folder's search")] = False
    overwrite: Annotated[bool, arg(help="remove a search that is in the folder")] = False
    data_root: Annotated[Path | None, arg(help="where named data lie")] = None

    def run(self, options: dict[str, Any]) -> None:
        from chartae import optimise, runs

        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        folder, objective, root = plain.pop("run_folder"), plain.pop("objective"), plain.pop("data_root")
        optimise.goal(objective, minimise=self.minimise)  # an unknown one is an error before the run is read
        found = optimise.optimise(runs.load(folder), objective, root=root, say=_say, **plain)
        console = Console()
        table = Table(title=f"{objective}, {'maximised' if found.maximise else 'minimised'}")
        for head in ("round", "best of it", "best so far", "valid", "new"):
            table.add_column(head, justify="right")
        table.add_row("data", "", f"{found.best_known:.4g}", "", "")
        for row in found.rounds():
            peak = "none" if row["peak"] is None else f"{row['peak']:.4g}"
            table.add_row(
                str(row["round"]), peak, f"{row['best']:.4g}", f"{row['valid']}/{row['codes']}", str(row["new"])
            )
        console.print(table)
        best = Table(title="The best strings")
        best.add_column("score", justify="right")
        best.add_column("round", justify="right")
        best.add_column("string", overflow="fold")
        for found_row in found.best():
            best.add_row(f"{found_row.score:.4g}", str(found_row.round), Text(found_row.string))
        console.print(best)
        _say(f"found.csv, found.json and the search's state are in {self.out}")


@dataclass(frozen=True)
class Demo:
    """Compare ae, vae, rae-l2 and rae-gp on the images that ship with chartae: a table and a report."""

    out: Path = Path("chartae-demo")
    epochs: int = 20
    overwrite: bool = False

    def run(self, options: dict[str, Any]) -> None:
        recipes = ("ae", "vae", "rae-l2", "rae-gp")
        Compare("fashion-mini", self.out, recipes, epochs=self.epochs, overwrite=self.overwrite).run({})


VERBS: dict[str, Any] = {
    "fit": Fit,
    "sample": Sample,
    "translate": Translate,
    "score": Score,
    "diagnose": Diagnose,
    "evaluate": Evaluate,
    "compare": Compare,
    "report": Report,
    "reproduce": Reproduce,
    "grammar": GrammarVerb,
    "optimise": Optimise,
    "demo": Demo,
}


def _options(verb: str, words: Sequence[str]) -> dict[str, str]:
    """Flags that the verb does not know, as a recipe's options: --name value, or --name=value."""
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        flag = rest.pop(0)
        name, equals, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--") or not getattr(VERBS[verb], "takes_options", False):
            raise ValueError(f"{flag!r} is not understood; see `chartae {verb} --help`")
        if not equals and (not rest or rest[0].startswith("--")):
            raise ValueError(f"{flag} needs a value, or is not a flag of `chartae {verb}`; see its --help")
        options[name.replace("-", "_")] = value if equals else rest.pop(0)
    return options


def _warn(message: Warning | str, *_: Any) -> None:
    _say(f"warning: {message}")


def _overview() -> str:
    lines = [
        "usage: chartae VERB ...",
        "",
        "Regularised autoencoders as generators: fit, sample, translate, evaluate, compare, look.",
        "",
    ]
    lines += [f"  {verb:10} {(kind.__doc__ or '').splitlines()[0]}" for verb, kind in VERBS.items()]
    return "\n".join([*lines, "", "`chartae VERB --help` lists a verb's flags."])


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 2 for input that cannot be used, 1 for training that failed.

    With CHARTAE_DEBUG set, errors keep their traceback, and warnings say where they come from.
    """
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("chartae"))
        return 0
    try:
        verb = words[0]
        if verb not in VERBS:
            raise ValueError(f"there is no verb {verb!r}; choose from {', '.join(VERBS)}")
        command, unknown = tyro.cli(VERBS[verb], prog=f"chartae {verb}", args=words[1:], return_unknown_args=True)
        with warnings.catch_warnings():
            if not os.environ.get("CHARTAE_DEBUG"):
                warnings.showwarning = _warn  # type: ignore[assignment]
            command.run(_options(verb, unknown))
    except KeyboardInterrupt as stop:
        _say(f"chartae: {stop or 'interrupted'}")
        return 130
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError) as error:
        if os.environ.get("CHARTAE_DEBUG"):
            raise
        _say(f"chartae: {error}")
        return 1 if isinstance(error, ArithmeticError) else 2
    return 0
