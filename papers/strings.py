"""Grammar autoencoders (1703.01925; 1903.12436, section 6.2): validity, reconstruction, and search over the codes."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chartae.data import Dataset, from_strings, read_strings
from chartae.draw import pictures, structures
from chartae.evaluation.images import evaluate
from chartae.optimise import evaluate_surrogate, goal, optimise, training_scores
from chartae.records.files import replace_text
from chartae.runs import Run, fit, load
from papers.parts import Rows, Say, folder_of, mean_sd, part, table

__all__ = ["grae_expressions", "grae_molecules"]


class Problem(NamedTuple):
    """A search of the paper: its data, objective, and how it is trained on two cores and whole."""

    files: tuple[str, ...]
    grammar: str
    objective: str
    latent_dim: int
    #: strings, epochs and net, quick or not
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

#: new strings that are judged, and what differs from the defaults of the sparse process
SAMPLES = 10_000
SURROGATE: dict[str, Any] = {}

RECIPES = ("grae", "gcv-vae", "gvae", "cvae")
#: how the codes are searched: the paper's protocol, and the one that is recommended
SEARCHES: dict[str, dict[str, Any]] = {
    "trust region": {"method": "trust-region", "density": "gmm", "draws": 5},
    "trust region, best 1 % hidden": {"method": "trust-region", "density": "gmm", "draws": 5, "hide": 0.01},
    "box": {"method": "box", "draws": 25},
}


#: of these no more than three seeds are made: a process over all codes takes minutes a round
DEAR = ("box",)


def grae_expressions(out: str | Path, **settings: Any) -> dict[str, Any]:
    """Symbolic regression of 1/3 + x + sin(x²) by a search over the codes of grammar autoencoders.

    Scores are log(1 + MSE) with true division, lower is better; the target is one of the training expressions, so a
    search need not invent it. quick: 30,000 of the 100,000 expressions.
    """
    return _reproduce(EXPRESSIONS, out, **settings)


def grae_molecules(out: str | Path, **settings: Any) -> dict[str, Any]:
    """Molecules of high penalised logP by a search over the codes of grammar autoencoders.

    quick: the first 20,000 of the 249,456 molecules of ZINC, and a smaller net.
    """
    return _reproduce(MOLECULES, out, **settings)


def _reproduce(
    problem: Problem,
    out: str | Path,
    *,
    quick: bool = False,
    seeds: int | None = None,
    recipes: Sequence[str] = RECIPES,
    limit: int | None = None,
    epochs: int | None = None,
    root: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    say: Say = print,
    progress: bool = False,
    **_: Any,
) -> dict[str, Any]:
    if wrong := [name for name in recipes if name not in RECIPES]:
        raise ValueError(f"there is no row {wrong[0]!r}; choose from {', '.join(RECIPES)}")
    count = seeds or (3 if quick else 10)
    size, passes, net = problem.sizes[quick]
    size, passes = limit or size, epochs or passes
    path = _file(problem, root)
    folder = folder_of(
        out, overwrite, f"grae-{problem.grammar}", quick=quick, limit=size, epochs=passes, net=net
    )  # fmt: skip
    strings = [s.replace(" ", "") for s in read_strings(path, limit=size)]
    want = goal(problem.objective)
    results: dict[str, Any] = {"problem": problem.grammar, "quick": quick, "strings": len(strings), "epochs": passes}
    models: Rows = []
    searches: Rows = []
    for recipe in recipes:
        data = _data(strings, recipe, problem.grammar)
        place = folder / recipe
        made: list[Run] = []  # loaded once, where anything is to be made with it

        def run() -> Run:
            if not made:  # noqa: B023
                made.append(_trained(recipe, data, place, problem, passes, net, device, progress))  # noqa: B023
            return made[0]  # noqa: B023

        def model() -> dict[str, Any]:
            judged = evaluate(run(), data, densities=["gmm"], language=problem.grammar, n=SAMPLES)  # noqa: B023
            scores = training_scores(data.strings(), want, place, workers=os.cpu_count() or 1)  # noqa: B023
            there = scores.isfinite()
            codes = run().encode(data.train[there]).cpu()  # noqa: B023
            predicted = evaluate_surrogate(codes, scores[there], kind="sparse", **SURROGATE)
            return {
                "recipe": recipe,  # noqa: B023
                "gmm": judged["sets"]["gmm"],
                "reconstruction": judged["reconstruction"],
                "surrogate": predicted,
                "best_known": scores[there].max().item() * (1 if want.maximise else -1),
                "seconds": run().training()["seconds"],
                "parameters": run().training()["parameters"],
            }

        models.append(part(folder, f"model-{recipe}", overwrite, say, model)["found"])
        for name, settings in SEARCHES.items():
            for seed in range(min(count, 3) if name in DEAR else count):

                def search() -> dict[str, Any]:
                    where = folder / f"search-{recipe}-{_slug(name)}-{seed}"  # noqa: B023
                    shutil.rmtree(where, ignore_errors=True)
                    where.mkdir()
                    shutil.copy(place / "scores.safetensors", where)  # noqa: B023
                    found = optimise(
                        run(), want, out=where, data=data, seed=seed,  # noqa: B023
                        **settings,  # noqa: B023
                    )  # fmt: skip
                    told = found.summary()
                    return {"recipe": recipe, "search": name, "seed": seed} | told  # noqa: B023

                label = f"search-{recipe}-{_slug(name)}-{seed}"
                searches.append(part(folder, label, overwrite, say, search)["found"])
            _write(folder, problem, results | {"models": models, "searches": searches})
    return results | {"models": models, "searches": searches}


def _slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name)


def _file(problem: Problem, root: str | Path | None) -> Path:
    where = Path(root or os.environ.get("CHARTAE_DATA") or ".").expanduser()
    found = [where / name for name in problem.files if (where / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"there is no {problem.files[0]} in {where}; give the folder that holds it as --data-root"
        )
    return found[0]


def _data(strings: list[str], recipe: str, grammar: str) -> Dataset:
    return from_strings(strings, "characters" if recipe == "cvae" else grammar, seed=0)


def _trained(
    recipe: str, data: Dataset, place: Path, problem: Problem, epochs: int, net: str, device: str | None, progress: bool
) -> Run:
    if (place / "weights.safetensors").is_file():
        return load(place)
    return fit(
        recipe, data, latent_dim=problem.latent_dim, epochs=epochs, net=net, batch_size=128, lr=2e-3, cosine=True,
        densities=("gmm",), out=place, overwrite=True, device=device, progress=progress,
    )  # fmt: skip


# -- tables -----------------------------------------------------------------------------------------------------------


def _write(folder: Path, problem: Problem, results: dict[str, Any]) -> None:
    replace_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
    replace_text(folder / "table.md", _tables(problem, results))
    if problem is MOLECULES:
        _picture(folder / "best.png", results["searches"])


def _picture(path: Path, searches: Rows) -> None:
    """The best molecule of each search of the first kind, with its score."""
    first = [(s["recipe"], s["search"]) for s in searches][:1]
    shown = [s for s in searches if (s["recipe"], s["search"]) in first and s["strings"]]
    if shown:
        best = [s["strings"][0]["string"] for s in shown]
        legends = [f"seed {s['seed']}: {s['best']:.2f}" for s in shown]
        pictures.save_png(path, structures.molecules(best, legends, columns=5, side=200))


def _tables(problem: Problem, results: dict[str, Any]) -> str:
    percent = lambda v: "-" if v is None else f"{100 * v:.1f}"  # noqa: E731
    models = [
        (
            m["recipe"], percent(m["gmm"]["valid"]), percent(m["gmm"]["unique"]), percent(m["gmm"]["novel"]),
            percent(m["reconstruction"]["exact"]), percent(m["reconstruction"]["steps"]),
            f"{m['reconstruction']['nll']:.2f}",
            f"{m['surrogate']['rmse']:.3f} ({m['surrogate']['trivial_rmse']:.3f})",
            f"{m['surrogate']['log_likelihood']:.3f} ({m['surrogate']['trivial_log_likelihood']:.3f})",
        )
        for m in results["models"]
    ]  # fmt: skip
    rows = []
    for recipe in dict.fromkeys(s["recipe"] for s in results["searches"]):
        for name in SEARCHES:
            some = [s for s in results["searches"] if (s["recipe"], s["search"]) == (recipe, name)]
            if not some:
                continue
            best = [s["best"] for s in some if s["best"] is not None]
            top = sorted(best, reverse=some[0]["maximise"])[:3]
            rows.append((
                recipe, name, len(some), mean_sd([100 * s["valid"] for s in some], 1),
                mean_sd([s["mean"] for s in some if s["mean"] is not None] or [float("nan")], 2),
                mean_sd(best or [float("nan")], problem.digits), ", ".join(f"{v:.{problem.digits}f}" for v in top),
                mean_sd([100 * (s["novel"] or 0) for s in some], 0),
                "; ".join(problem.published.get(recipe, ("-",))),
            ))  # fmt: skip
    known = results["models"][0]["best_known"]
    return "\n\n".join([
        f"### Models, {results['strings']:,} strings, {results['epochs']} epochs; new strings of a mixture, ex post",
        table(
            ("recipe", "valid %", "unique %", "novel %", "exact reconstructions %", "steps right %",
             "-log p(x given z)",
             "sparse GP's RMSE (trivial)", "its log-likelihood (trivial)"),
            models,
        ),
        f"### Search, 5 rounds of 50 (best training string: {known:.{problem.digits}f})",
        table(
            ("recipe", "search", "n", "valid %", "average over valid", "best of a run", "best three runs", "novel %",
             "published: valid; average; best three"),
            rows,
        ),
    ]) + "\n"  # fmt: skip
