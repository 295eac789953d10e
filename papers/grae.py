"""Grammar autoencoders (arXiv:1703.01925; 1903.12436, section 6.2): validity, reconstruction and latent search."""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from chartae.data import Dataset, from_strings, read_strings
from chartae.draw import pictures, structures
from chartae.evaluation import evaluate
from chartae.optimise import evaluate_surrogate, goal, optimise, training_scores
from chartae.runs import Run, fit, load
from papers.parts import Cell, Columns, Parts, Row, Rows, average, first, mean_sd, numbers, summary
from papers.table import Request, reproduction

__all__ = ["EXPRESSIONS", "MOLECULES", "Problem", "grae_expressions", "grae_molecules"]


class Problem(NamedTuple):
    """A search problem of the paper: data, objective, training settings, and published numbers."""

    files: tuple[str, ...]
    grammar: str
    objective: str
    latent_dim: int
    #: quick -> number of strings (None for all), epochs and net
    sizes: dict[bool, tuple[int | None, int, str]]
    #: fraction valid, average score, best three (1903.12436, Figure 2)
    published: dict[str, tuple[str, str, str]]
    digits: int


EXPRESSIONS = Problem(
    ("expressions/equation2_15_dataset.txt", "equation2_15_dataset.txt"),
    "expressions",
    "expression-fit",
    25,
    {True: (30_000, 5, "gru"), False: (None, 8, "gru")},
    {
        "grae": ("1.00 ± 0.00", "3.22 ± 0.03", "0.39, 0.39, 0.43"),
        "gvae": ("0.99 ± 0.01", "3.26 ± 0.20", "0.10, 0.46, 0.52"),
        "cvae": ("0.82 ± 0.07", "4.74 ± 0.25", "0.45, 0.48, 0.61"),
    },
    3,
)
MOLECULES = Problem(
    ("zinc250k/250k_rndm_zinc_drugs_clean.smi.gz", "250k_rndm_zinc_drugs_clean.smi.gz"),
    "zinc-smiles",
    "penalised-logp",
    56,
    {True: (20_000, 6, "gru:192"), False: (None, 10, "gru")},
    {
        "grae": ("0.72 ± 0.09", "-5.62 ± 0.71", "3.74, 3.52, 3.14"),
        "gvae": ("0.28 ± 0.04", "-7.89 ± 1.90", "3.13, 3.10, 2.37"),
        "cvae": ("0.16 ± 0.04", "-25.64 ± 6.35", "2.75, 0.82, 0.63"),
    },
    2,
)

#: number of new strings to evaluate, and settings of the sparse process that differ from its defaults
SAMPLES = 10_000
SURROGATE: dict[str, Any] = {}

RECIPES = ("grae", "gcv-vae", "gvae", "cvae")
#: settings of the searches: the recommended trust region, and the paper's protocol, a box
SEARCHES: dict[str, dict[str, Any]] = {
    "trust region": {"method": "trust-region", "density": "gmm", "draws": 5},
    "trust region, best 1 % hidden": {"method": "trust-region", "density": "gmm", "draws": 5, "hide": 0.01},
    "box": {"method": "box", "draws": 25},
}


#: searches with at most three seeds, because a Gaussian process on all codes takes minutes in each round
EXPENSIVE = ("box",)
TAKES = ("recipes", "limit", "epochs")


@reproduction("grae-expressions", takes=TAKES)
def grae_expressions(request: Request) -> Row:
    """Symbolic regression of 1/3 + x + sin(x²) by latent search with grammar autoencoders (1903.12436).

    The score is log(1 + MSE), with true division; lower is better. The target is one of the training expressions, so a
    search does not need to discover it. `quick` uses 30,000 of the 100,000 expressions.
    """
    return reproduce(EXPRESSIONS, request)


@reproduction("grae-molecules", takes=TAKES)
def grae_molecules(request: Request) -> Row:
    """Molecules with high penalised logP by latent search with grammar autoencoders (1903.12436).

    `quick` uses the first 20,000 of the 249,456 molecules of ZINC, and a smaller net.
    """
    return reproduce(MOLECULES, request)


def reproduce(problem: Problem, request: Request) -> Row:
    """Fit and evaluate every recipe, and search its latent space with several seeds.

    Raises:
        ValueError: the table has no such recipe.
        FileNotFoundError: the data are not in the request's root.
    """
    recipes = request.recipes or RECIPES
    if unknown := [name for name in recipes if name not in RECIPES]:
        raise ValueError(f"--recipes has {unknown[0]!r}; expected rows of the table. Choose from {', '.join(RECIPES)}.")
    count = request.seeds or (3 if request.quick else 10)
    limit, epochs, net = problem.sizes[request.quick]
    limit, epochs = request.limit or limit, request.epochs or epochs
    path = data_file(problem, request.root)
    parts = Parts(request, f"grae-{problem.grammar}", quick=request.quick, limit=limit, epochs=epochs, net=net)
    strings = [s.replace(" ", "") for s in read_strings(path, limit=limit)]
    models: Rows = []
    searches: Rows = []
    results: Row = {
        "problem": problem.grammar, "quick": request.quick, "strings": len(strings), "epochs": epochs,
        "models": models, "searches": searches,
    }  # fmt: skip
    for recipe in recipes:
        study = Study(problem, recipe, tuple(strings), epochs, net, request)
        models.append(parts.make(f"model-{recipe}", study.model).result)
        for name in SEARCHES:
            for seed in range(min(count, 3) if name in EXPENSIVE else count):
                label = study.label(name, seed)
                searches.append(parts.make(label, functools.partial(study.search, name, seed)).result)
            title = f"{len(strings):,} strings, {epochs} epochs"
            parts.write(tables(problem, title, models, searches), results)
            if problem is MOLECULES:
                draw_best(parts.folder / "best.png", searches)
    return results


@dataclass(frozen=True)
class Study:
    """One recipe on one problem: its data, the run trained on them, and its evaluation and searches."""

    problem: Problem
    recipe: str
    strings: tuple[str, ...]
    epochs: int
    net: str
    request: Request

    @property
    def folder(self) -> Path:
        return Path(self.request.out) / self.recipe

    @functools.cached_property
    def data(self) -> Dataset:
        grammar = "characters" if self.recipe == "cvae" else self.problem.grammar
        return from_strings(list(self.strings), grammar, seed=0)

    @functools.cached_property
    def run(self) -> Run:
        """The run, loaded if it has been trained before."""
        if (self.folder / "weights.safetensors").is_file():
            return load(self.folder)
        return fit(
            self.recipe, self.data, latent_dim=self.problem.latent_dim, epochs=self.epochs, net=self.net,
            batch_size=128, lr=2e-3, cosine=True, densities=("gmm",), out=self.folder, overwrite=True,
            device=self.request.device, progress=self.request.progress,
        )  # fmt: skip

    def model(self) -> Row:
        """Metrics of new strings, of reconstructions, and of a surrogate that predicts scores from codes."""
        run, data, objective = self.run, self.data, goal(self.problem.objective)
        evaluation = evaluate(run, data, densities=["gmm"], language=self.problem.grammar, n=SAMPLES)
        scores = training_scores(data.strings(), objective, self.folder, workers=os.cpu_count() or 1)
        scored = scores.isfinite()
        codes = run.encode(data.train[scored]).cpu()
        training = run.training()
        return {
            "recipe": self.recipe,
            "gmm": evaluation.sets["gmm"].to_dict(),
            "reconstruction": evaluation.reconstruction.to_dict(),
            "surrogate": cast(Row, evaluate_surrogate(codes, scores[scored], kind="sparse", **SURROGATE)),
            "best_known": scores[scored].max().item() * (1 if objective.maximise else -1),
            "seconds": training["seconds"],
            "parameters": training["parameters"],
        }

    def label(self, name: str, seed: int) -> str:
        return f"search-{self.recipe}-{re.sub('[^a-z0-9]+', '-', name)}-{seed}"

    def search(self, name: str, seed: int) -> Row:
        """Search the latent space in a new folder."""
        folder = Path(self.request.out) / self.label(name, seed)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(self.folder / "scores.safetensors", folder)
        objective = goal(self.problem.objective)
        result = optimise(self.run, objective, out=folder, data=self.data, seed=seed, **SEARCHES[name])
        return {"recipe": self.recipe, "search": name, "seed": seed, **cast(Row, result.summary())}


def data_file(problem: Problem, root: str | Path | None) -> Path:
    folder = Path(root or os.environ.get("CHARTAE_DATA") or ".").expanduser()
    for name in problem.files:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"--data-root is {folder}, which does not hold {problem.files[0]}; expected the folder with this file. Pass it "
        "as --data-root."
    )


# -- tables -----------------------------------------------------------------------------------------------------------


def percent(*keys: str) -> Cell:
    return average(*keys, digits=1, scale=100)


def against_trivial(key: str) -> Cell:
    """Cell with a metric of the surrogate, and in brackets that of the trivial predictor."""
    return lambda rows: "{:.3f} ({:.3f})".format(
        *numbers(rows, "surrogate", key), *numbers(rows, "surrogate", f"trivial_{key}")
    )


MODELS: Columns = {
    "recipe": first("recipe"),
    "valid %": percent("gmm", "valid"),
    "unique %": percent("gmm", "unique"),
    "novel %": percent("gmm", "novel"),
    "exact reconstructions %": percent("reconstruction", "exact"),
    "correct steps %": percent("reconstruction", "steps"),
    "-log p(x given z)": average("reconstruction", "nll", digits=2),
    "sparse GP's RMSE (trivial)": against_trivial("rmse"),
    "sparse GP's log-likelihood (trivial)": against_trivial("log_likelihood"),
}


def searches_columns(problem: Problem) -> Columns:
    def best_three(rows: Sequence[Mapping[str, object]]) -> str:
        best = sorted(numbers(rows, "best"), reverse=bool(rows[0]["maximise"]))[:3]
        return ", ".join(f"{value:.{problem.digits}f}" for value in best)

    return {
        "recipe": first("recipe"),
        "search": first("search"),
        "n": len,
        "valid %": percent("valid"),
        "average over valid": average("mean", digits=2),
        "best of a run": average("best", digits=problem.digits),
        "best three runs": best_three,
        "novel %": lambda rows: mean_sd([100 * sum(numbers([row], "novel")) for row in rows], 0),
        "published: valid; average; best three": lambda rows: "; ".join(
            problem.published.get(str(rows[0]["recipe"]), ("-",))
        ),
    }


def tables(problem: Problem, title: str, models: Rows, searches: Rows) -> str:
    known = numbers(models, "best_known")[0]
    return "\n\n".join([
        f"### Models, {title}; new strings from an ex-post Gaussian mixture",
        summary(models, MODELS, "recipe"),
        f"### Search in 5 rounds of 50 codes (best training string: {known:.{problem.digits}f})",
        summary(searches, searches_columns(problem), "recipe", "search"),
    ])  # fmt: skip


def draw_best(path: Path, searches: Rows) -> None:
    """Draw the best molecule of each search with the first recipe and method, with its score."""
    strings, legends = [], []
    for row in searches:
        match row["strings"]:
            case [{"string": str(best)}, *_] if all(row[key] == searches[0][key] for key in ("recipe", "search")):
                strings.append(best)
                legends.append(f"seed {row['seed']}: {row['best']:.2f}")
    if strings:
        pictures.save_png(path, structures.molecules(strings, legends, columns=5, side=200))
