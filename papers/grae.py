"""Grammar autoencoders (arXiv:1703.01925; 1903.12436, section 6.2): validity, reconstruction and latent search."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from chartae.data import Dataset, from_strings, read_strings
from chartae.draw import pictures, structures
from chartae.evaluation import evaluate
from chartae.grammar import load
from chartae.optimise import (
    Goal,
    History,
    Known,
    as_molecules,
    evaluate_surrogate,
    evolve,
    goal,
    optimise,
    random_search,
    training_scores,
    without_spaces,
)  # fmt: skip
from chartae.records.parsing import Value
from chartae.runs import Run, fit
from papers.parts import (
    Cell,
    Claim,
    Columns,
    Parts,
    Row,
    Rows,
    average,
    claims_table,
    first,
    fresh_seeds,
    numbers,
    summary,
)  # fmt: skip
from papers.table import Request, reproduction

__all__ = ["EXPRESSIONS", "MOLECULES", "Problem", "grae_expressions", "grae_molecules"]


class Problem(NamedTuple):
    """A search problem of the paper: data, objectives, training settings, and published numbers."""

    files: tuple[str, ...]
    grammar: str
    #: the paper's objective first
    objectives: tuple[str, ...]
    latent_dim: int
    #: number of rounds of a search, with 50 new strings each
    rounds: int
    #: quick -> number of strings (None for all) and settings of the training
    settings: dict[bool, tuple[int | None, dict[str, Any]]]
    #: fraction valid, average score, best three (1903.12436, Figure 2)
    published: dict[str, tuple[str, str, str]]
    digits: int


#: settings of a short training
SHORT: dict[str, Any] = {"net": "gru", "batch_size": 128, "lr": 2e-3, "cosine": True}

EXPRESSIONS = Problem(
    ("expressions/equation2_15_dataset.txt", "equation2_15_dataset.txt"),
    "expressions",
    ("expression-fit",),
    25,
    5,
    {
        True: (30_000, SHORT | {"epochs": 5}),
        # those of the grammar VAE's authors
        False: (None, {"net": "paper", "batch_size": 600, "lr": 1e-3, "plateau": (0.2, 1), "epochs": 50}),
    },
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
    ("penalised-logp", "qed"),
    56,
    20,
    {True: (20_000, SHORT | {"net": "gru:192", "epochs": 6}), False: (None, SHORT | {"epochs": 10})},
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
#: number of new strings in a round of a search
BATCH = 50
#: fraction of the best strings that are hidden from the autoencoder and from the search
HIDDEN = 0.01

RECIPES = ("grae", "gcv-vae", "gvae", "cvae")


class Search(NamedTuple):
    """A row of the table of searches: its name, its settings, and whether the best strings are hidden from it.

    Without settings it draws at random from the recipe's density, or evolves derivations without any recipe.
    """

    name: str
    settings: dict[str, Any] | None = None
    hidden: bool = False
    recipe: bool = True


#: the recommended trust region, the paper's protocol (a box), and the controls under the same budget
TRUST_REGION: dict[str, Any] = {"method": "trust-region", "density": "gmm", "draws": 5}
SEARCHES = (
    Search("trust region", TRUST_REGION),
    Search("box", {"method": "box", "draws": 25}),
    Search("random draws"),
    Search("genetic algorithm", recipe=False),
    Search("trust region, best 1 % hidden", TRUST_REGION, hidden=True),
    Search("random draws, best 1 % hidden", hidden=True),
    Search("genetic algorithm, best 1 % hidden", hidden=True, recipe=False),
)
#: the row of searches that need no recipe
NO_RECIPE = "-"

TAKES = ("recipes", "limit", "epochs", "net")


@reproduction("grae-expressions", takes=TAKES)
def grae_expressions(request: Request) -> Row:
    """Symbolic regression of 1/3 + x + sin(x²) by latent search with grammar autoencoders (1903.12436).

    The score is log(1 + MSE), with true division; lower is better. Strings of the data are known: a search neither
    scores nor reports them. `quick` uses 30,000 of the 100,000 expressions.
    """
    return reproduce(EXPRESSIONS, request)


@reproduction("grae-molecules", takes=TAKES)
def grae_molecules(request: Request) -> Row:
    """Molecules with high penalised logP, or QED, by latent search with grammar autoencoders (1903.12436).

    Molecules of the data are known: a search neither scores nor reports them. `quick` uses the first 20,000 of the
    249,456 molecules of ZINC, and a smaller net.
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
    seeds = fresh_seeds(request.seeds or (3 if request.quick else 10))
    limit, training = problem.settings[request.quick]
    chosen = {"epochs": request.epochs, "net": request.net}
    training = training | {name: value for name, value in chosen.items() if value is not None}
    limit = request.limit or limit
    path = data_file(problem, request.root)
    parts = Parts(request, f"grae-{problem.grammar}", quick=request.quick, limit=limit, training=cast(Value, training))
    every = tuple(s.replace(" ", "") for s in read_strings(path))
    strings = every[:limit]
    models: Rows = []
    searches: Rows = []
    results: Row = {
        "problem": problem.grammar, "quick": request.quick, "strings": len(strings), "known": len(every),
        "training": cast(Value, training), "seeds": [*seeds], "budget": problem.rounds * BATCH,
        "models": models, "searches": searches,
    }  # fmt: skip

    def write() -> None:
        results["claims"] = [claim.row() for claim in claims(problem, models, searches)]
        title = f"{len(strings):,} strings, {training['epochs']} epochs"
        parts.write(tables(problem, title, models, searches), results)
        if problem is MOLECULES:
            draw_best(parts.folder / "best.png", searches)

    studies = {
        (recipe, hidden): Study(problem, recipe, strings, every, hidden, training, request)
        for recipe in (*recipes, NO_RECIPE)
        for hidden in (False, True)
    }
    for recipe in recipes:
        models.append(parts.make(f"model-{recipe}", studies[recipe, False].model).result)
        write()
    for objective in problem.objectives:
        for search in SEARCHES:
            for recipe in recipes if search.recipe else (NO_RECIPE,):
                study = studies[recipe, search.hidden]
                for seed in seeds:
                    make = functools.partial(study.search, search, objective, seed)
                    searches.append(parts.make(study.label(search, objective, seed), make).result)
                write()
    return results


@dataclass(frozen=True)
class Study:
    """One recipe on one problem, with or without the best strings: its data, the run, its evaluation and searches."""

    problem: Problem
    recipe: str
    strings: tuple[str, ...]
    every: tuple[str, ...]
    hidden: bool
    training: dict[str, Any]
    request: Request

    @property
    def folder(self) -> Path:
        name = "controls" if self.recipe == NO_RECIPE else self.recipe
        return Path(self.request.out) / (name + "-hidden" * self.hidden)

    @functools.cached_property
    def data(self) -> Dataset:
        """The data; where the best strings are hidden, without them in any split."""
        strings = self.strings
        if self.hidden:
            scores = self.scores(self.problem.objectives[0], strings, "all")
            finite = scores.nan_to_num(-torch.inf)
            worst_first = finite.argsort(stable=True)[: round((1 - HIDDEN) * len(strings))]
            strings = tuple(strings[i] for i in worst_first.sort().values.tolist())
        grammar = "characters" if self.recipe == "cvae" else self.problem.grammar
        return from_strings(list(strings), grammar, seed=0)

    def scores(self, objective: str, strings: Sequence[str], name: str) -> Tensor:
        """Scores of strings, greater is better, NaN without one; kept in the folder."""
        folder = self.folder / f"scores-{objective}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        return training_scores(strings, goal(objective), folder, workers=os.cpu_count() or 1)

    @functools.cached_property
    def run(self) -> Run:
        """The run, loaded if it has been trained before."""
        return fit(
            self.recipe, self.data, latent_dim=self.problem.latent_dim, densities=("gmm",), out=self.folder / "run",
            resume=True, device=self.request.device, progress=self.request.progress, **self.training,
        )  # fmt: skip

    def model(self) -> Row:
        """Metrics of new strings, of reconstructions, and of a surrogate that predicts scores from codes."""
        run, data, objective = self.run, self.data, goal(self.problem.objectives[0])
        evaluation = evaluate(run, data, densities=["gmm"], language=self.problem.grammar, n=SAMPLES)
        scores = self.scores(objective.name, data.strings(), "train")
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
            "epochs": training["epochs"],
            "parameters": training["parameters"],
        }

    def label(self, search: Search, objective: str, seed: int) -> str:
        name = f"{objective}-{self.recipe}-{search.name}-{seed}"
        return f"search-{re.sub('[^a-z0-9]+', '-', name)}"

    def search(self, search: Search, objective: str, seed: int) -> Row:
        """Search for new strings: those that are not in the file, whatever the model was trained on."""
        budget = self.problem.rounds * BATCH
        history = self._search(search, goal(objective), seed, budget)
        summary = cast(Row, history.summary())
        curve = [None if score is None else round(score, 6) for score in history.curve()]
        return {
            "recipe": self.recipe, "search": search.name, "objective": objective, "seed": seed, **summary,
            "curve": cast(Value, curve), "scored": len(curve), "area": history.area(budget),
        }  # fmt: skip

    def _search(self, search: Search, objective: Goal, seed: int, budget: int) -> History:
        if search.settings is not None:
            folder = Path(self.request.out) / "searches" / self.label(search, objective.name, seed)
            settings = {"rounds": self.problem.rounds, "batch": BATCH, **search.settings}
            return optimise(
                self.run, objective, out=folder, data=self.data, known=self.every, seed=seed,
                resume=(folder / "state.json").is_file(), **settings,
            )  # fmt: skip
        strings = self.data.strings()
        scores = self.scores(objective.name, strings, "train")
        scored = scores.isfinite()
        strings = [strings[i] for i in scored.nonzero()[:, 0].tolist()]
        identity = as_molecules if self.problem is MOLECULES else without_spaces
        settings = {
            "calls": budget, "batch": BATCH, "known": Known(self.every, identity), "seed": seed,
            "workers": os.cpu_count() or 1,
        }  # fmt: skip
        if not search.recipe:
            return evolve(load(self.problem.grammar), strings, scores[scored], objective, **settings)
        draw = lambda n, seed: cast(Sequence[str], self.run.sample(n, "gmm", seed=seed))  # noqa: E731
        return random_search(draw, strings, scores[scored], objective, **settings)


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


def best_new(row: Mapping[str, object]) -> float | None:
    """The score of the best new string of a search."""
    return next(iter(numbers([row], "best_new", "score")), None)


def searches_columns(problem: Problem) -> Columns:
    def best_three(rows: Sequence[Mapping[str, object]]) -> str:
        best = sorted(numbers(rows, "best_new", "score"), reverse=bool(rows[0]["maximise"]))[:3]
        return ", ".join(f"{value:.{problem.digits}f}" for value in best)

    def published(rows: Sequence[Mapping[str, object]]) -> str:
        known = problem.published.get(str(rows[0]["recipe"])) if rows[0]["search"] == "box" else None
        return "-" if known is None or rows[0]["objective"] != problem.objectives[0] else "; ".join(known)

    return {
        "objective": first("objective"),
        "search": first("search"),
        "recipe": first("recipe"),
        "n": len,
        "strings scored": average("scored", digits=0),
        "valid %": percent("valid"),
        "average over valid": average("mean", digits=2),
        "best new string": average("best_new", "score", digits=problem.digits),
        "best three runs": best_three,
        f"area, {problem.rounds * BATCH:,} strings": average("area", digits=problem.digits),
        "published: valid; average; best three": published,
    }


def tables(problem: Problem, title: str, models: Rows, searches: Rows) -> str:
    known = numbers(models, "best_known")
    best = f"; best training string: {known[0]:.{problem.digits}f}" if known else ""
    return "\n\n".join([
        f"### Models, {title}; new strings from an ex-post Gaussian mixture",
        summary(models, MODELS, "recipe"),
        f"### Search: at most {problem.rounds * BATCH:,} new strings are scored{best}",
        summary(searches, searches_columns(problem), "objective", "search", "recipe"),
        "A new string is one that is not in the whole file. The area is the mean of the best new score so far over the "
        "budget of scored strings.",
        claims_table(claims(problem, models, searches)),
    ])  # fmt: skip


def claims(problem: Problem, models: Rows, searches: Rows) -> list[Claim]:
    """What the paper claims of valid strings, and what a latent search owes to the model and to its surrogate."""
    found = []
    valid = {str(row["recipe"]): numbers([row], "gmm", "valid") for row in models}
    for better, worse in (("grae", "gvae"), ("gvae", "cvae")):
        if better in valid and worse in valid:
            differences = [a - b for a, b in zip(valid[better], valid[worse], strict=True)]
            found.append(Claim(f"{better}: share of valid new strings, minus that of {worse}", "1903.12436",
                               ">= 0", differences, published="0.01" if worse == "gvae" else "0.17"))  # fmt: skip
    for objective in problem.objectives:
        rows = [row for row in searches if row["objective"] == objective]
        for suffix in ("", ", best 1 % hidden"):
            for recipe in dict.fromkeys(str(row["recipe"]) for row in rows if row["recipe"] != NO_RECIPE):
                ours = _by_seed(rows, "trust region" + suffix, recipe)
                for control, of in (("random draws", recipe), ("genetic algorithm", NO_RECIPE)):
                    theirs = _by_seed(rows, control + suffix, of)
                    gains = [
                        (ours[seed] - theirs[seed]) * (1 if rows[0]["maximise"] else -1)
                        for seed in ours
                        if seed in theirs
                    ]
                    if gains:
                        text = f"{objective}{suffix}: best new string of {recipe}'s trust region, gain on {control}"
                        found.append(Claim(text, "ours", "> 0", gains))
    return found


def _by_seed(rows: Rows, search: str, recipe: str) -> dict[int, float]:
    chosen = [row for row in rows if (row["search"], row["recipe"]) == (search, recipe)]
    scores = {int(numbers([row], "seed")[0]): best_new(row) for row in chosen}
    return {seed: score for seed, score in scores.items() if score is not None}


def draw_best(path: Path, searches: Rows) -> None:
    """Draw the best new molecule of each search with the first recipe and method, with its score."""
    strings, legends = [], []
    for row in searches:
        match row["best_new"]:
            case {"string": str(best), "score": float(score)} if all(
                row[key] == searches[0][key] for key in ("objective", "recipe", "search")
            ):
                strings.append(best)
                legends.append(f"seed {row['seed']}: {score:.2f}")
    if strings:
        pictures.save_png(path, structures.molecules(strings, legends, columns=5, side=200))
