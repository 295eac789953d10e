"""The search over a run's codes: the data's scores, the files, the table."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.data import Dataset
from chartae.optimise.goals import Goal, goal
from chartae.optimise.history import History
from chartae.optimise.problem import Problem, Retrain, Retrained
from chartae.optimise.search import Loop
from chartae.optimise.settings import Search, lists_fields
from chartae.optimise.state import check_folder, fingerprint
from chartae.optimise.strings import CodedStrings
from chartae.optimise.workers import score_strings
from chartae.records.files import read_tensors, replace_text, write_tensors
from chartae.runs import Run

__all__ = ["optimise", "training_scores"]

#: number of strings from which on a second process is worth its start
MANY = 2000


def training_scores(
    strings: Sequence[str], score: Goal, folder: Path, *, workers: int = 1, timeout: float | None = None
) -> Float[Tensor, " N"]:
    """The score of each string, nan where it has none; kept in `folder` and read back while strings and objective are
    the same.

    Args:
        strings: what is scored.
        score: the objective.
        folder: where ``scores.safetensors`` is kept.
        workers: number of processes that score; at least 1.
        timeout: seconds that the score of one string may take.

    Raises:
        ValueError: no string has a score; the first failure is named.
    """
    path, mark = folder / "scores.safetensors", fingerprint(score.fingerprint(), timeout, *strings)
    if path.is_file():
        tensors, facts = read_tensors(path, kind="scores")
        if facts.get("fingerprint") == mark and len(tensors["scores"]) == len(strings):
            return tensors["scores"]
    results = score_strings(strings, score, workers=workers, timeout=timeout)
    if all(result.score is None for result in results):
        why = results[0].error if results else "there are none"
        raise ValueError(f"none of the {len(strings)} training strings has a score ({score.name}): {why}")
    scores = torch.tensor([float("nan") if r.score is None else r.score for r in results], dtype=torch.float64)
    write_tensors(path, {"scores": scores}, kind="scores", facts={"fingerprint": mark, "objective": score.name})
    return scores


@lists_fields(Search)
def optimise(
    run: Run,
    objective: str | Goal,
    *,
    out: str | Path,
    data: Dataset | None = None,
    root: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    search: Search | None = None,
    **settings: object,
) -> History:
    """Look in a run's latent space for strings that an objective likes, by `search`.

    Args:
        run: of a recipe over strings: it encodes, decodes to strings and knows its training strings.
        objective: one of `NAMES`, ``module:function`` of your own, or a `Goal`.
        out: folder of the search (`search` says what is in it); the scores of the training strings are kept there too,
            and at the end ``found.json`` and ``found.csv``.
        data: the run's data, if it was fitted to an array; otherwise they are loaded, from `root`.
        root: folder of named data.
        say: called with one line for each round.
        search: the settings of the search; by default the defaults.
        settings: fields of `Search` that replace those of `search`: rounds, batch, method and so on.

    Returns:
        what was evaluated, in the objective's own direction.

    Raises:
        ValueError: what `search` refuses; an unknown objective or density; training strings without any score.
        TypeError: there is no such setting.
        FileExistsError: the folder holds a search, and neither resume nor overwrite is set.
        FileNotFoundError: there is nothing to resume.
        ImportError: BoTorch, or RDKit for objectives over molecules, is missing.
    """
    chosen = Search.of(search, settings)
    target = goal(objective, minimise=chosen.minimise) if isinstance(objective, str) else objective
    folder = Path(out)
    check_folder(folder, chosen)
    coded = CodedStrings(run, chosen.bound)
    data = coded.data(root) if data is None else data
    strings = data.strings()
    say = say or (lambda line: None)
    say(f"{target.name} of {len(strings):,} training strings")
    workers = chosen.workers or (os.cpu_count() or 1 if len(strings) > MANY else 1)
    scores = training_scores(strings, target, folder, workers=workers, timeout=chosen.timeout)
    rows = _rows(scores, chosen.limit, chosen.hide, chosen.seed)
    learnt = [strings[i] for i in rows.tolist()]
    start = Retrained(coded.decode, coded.encode(data.train[rows]), scores[rows], coded.density).checked()
    problem = Problem(
        start,
        target,
        learnt,
        minimised=not target.maximise,
        retrain=None if chosen.retrain is None else _retrain(coded, chosen.retrain, chosen.seed),
        about={
            "objective": target.name,
            "maximise": target.maximise,
            "source": target.fingerprint(),
            "density": chosen.bound,
            "limit": chosen.limit,
            "hide": chosen.hide,
            "retrain": chosen.retrain,
        },
    )
    history = Loop(problem, chosen, folder, say).run()
    # all training strings are known, also those that the limit left out; but not those that were hidden
    history = replace(history, known=frozenset(learnt if chosen.hide else strings))
    write(history, folder, target.name)
    return history


def _rows(scores: Tensor, limit: int | None, hide: float, seed: int) -> Tensor:
    """Rows with a score, but for the share `hide` that is best; of more than `limit` the best half, and others at
    random, in their order."""
    rows = scores.isfinite().nonzero()[:, 0]
    if hide:
        worst_first = rows[scores[rows].argsort(stable=True)]
        rows = worst_first[: max(2, round((1 - hide) * len(rows)))].sort().values
    if limit is None or len(rows) <= limit:
        return rows
    order = rows[scores[rows].argsort(descending=True, stable=True)]
    rest = order[limit // 2 :]
    others = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))[: limit - limit // 2]]
    return torch.cat([order[: limit // 2], others]).sort().values


def _retrain(coded: CodedStrings, epochs: int, seed: int) -> Retrain:
    """A function that trains the run on between rounds, each time from the run as it was."""

    def retrain(number: int, strings: list[str], scores: Tensor, weights: Tensor) -> Retrained:
        after, codes = coded.retrained(strings, weights, epochs=epochs, seed=seed + number, fit_seed=seed)
        return Retrained(after.decode, codes, scores, after.density)

    return retrain


def write(history: History, folder: Path, objective: str) -> None:
    """``found.json``, the summary, and ``found.csv``: string, score, round of every valid string, the best first."""
    replace_text(folder / "found.json", json.dumps({"objective": objective, **history.summary()}, indent=1))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["string", "score", "round"])
    table.writerows([row.string, row.score, row.round] for row in history.best(len(history.rows)))
    replace_text(folder / "found.csv", text.getvalue())
