"""The search over a run's codes: the data's scores, the files, the table."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from chartae import densities
from chartae.optimise.history import Found
from chartae.optimise.goals import Goal, goal
from chartae.optimise.workers import score_strings
from chartae.optimise.search import Retrained, fingerprint, search
from chartae.records.files import read_tensors, replace_text, write_tensors

__all__ = ["optimise", "training_scores"]

#: strings from which on a second process is worth its start
MANY = 2000


def training_scores(
    strings: Sequence[str], score: Goal, folder: Path, *, workers: int = 1, timeout: float | None = None
) -> Float[Tensor, " N"]:
    """The score of each string, nan where it has none; kept in `folder` and read back while strings and objective are
    the same.

    Raises:
        ValueError: no string has a score; the first failure is named.
    """
    path, mark = folder / "scores.safetensors", fingerprint(score.fingerprint(), timeout, *strings)
    if path.is_file():
        tensors, facts = read_tensors(path, kind="scores")
        if facts.get("fingerprint") == mark and len(tensors["scores"]) == len(strings):
            return tensors["scores"]
    found = score_strings(strings, score, workers=workers, timeout=timeout)
    if all(f.score is None for f in found):
        why = found[0].error if found else "there are none"
        raise ValueError(f"none of the {len(strings)} training strings has a score ({score.name}): {why}")
    scores = torch.tensor([float("nan") if f.score is None else f.score for f in found], dtype=torch.float64)
    write_tensors(path, {"scores": scores}, kind="scores", facts={"fingerprint": mark, "objective": score.name})
    return scores


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


def optimise(
    run: Any,
    objective: str | Goal,
    *,
    out: str | Path,
    rounds: int = 5,
    batch: int = 50,
    method: str = "trust-region",
    density: str | None = None,
    draws: int = 1,
    seed: int = 0,
    workers: int | None = None,
    timeout: float | None = None,
    limit: int | None = None,
    hide: float = 0.0,
    minimise: bool = False,
    retrain: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    data: Any = None,
    root: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **settings: Any,
) -> Found:
    """Look in a run's latent space for strings that an objective likes, by `search`.

    Args:
        run: of a recipe over strings: it encodes, decodes to strings and knows its training strings.
        objective: one of `NAMES`, ``module:function`` of your own, or a `Goal`.
        out: folder of the search (`search` says what is in it); the scores of the training strings are kept there too,
            and at the end ``found.json`` and ``found.csv``.
        rounds, batch, method, draws, seed, timeout, resume, overwrite, say: as in `search`.
        density: the run's density that bounds the search, ``"none"`` for no bound; by default the run's own choice in a
            trust region, none in a box.
        workers: processes that score; by default one a core for many training strings, else none beside this one.
        limit: learn from so many training strings: the best half, and others at random.
        hide: the share of the best training strings that the search is not told of, to see whether it finds as good.
        minimise: an own function is minimised.
        retrain: passes over the data, weighted by rank, between rounds (weighted retraining; Tripp et al., 2020).
        data: the run's data, where it was fitted to an array; else it is loaded, from `root`.
        settings: further arguments of `search`.

    Returns:
        what was found, in the objective's own direction.

    Raises:
        ValueError: what `search` refuses; an unknown objective or density; training strings without any score.
        ImportError: BoTorch, or RDKit for objectives over molecules, is missing.
    """
    want = goal(objective, minimise=minimise) if isinstance(objective, str) else objective
    out = Path(out)
    if limit is not None and limit < 2:
        raise ValueError(f"limit is {limit}; expected at least 2 training strings")
    if not 0 <= hide < 1:
        raise ValueError(f"hide is {hide}; a share is 0 or above, and below 1")
    if retrain is not None and retrain < 1:
        raise ValueError(f"retrain is {retrain}; expected at least 1 pass over the data")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    held = (out / "state.json").is_file()
    if held and not (resume or overwrite):
        raise FileExistsError(f"{out} holds a search; choose a new folder, or say overwrite or resume")
    if resume and not held:
        raise FileNotFoundError(f"{out} holds no search to resume")
    name = density or (None if method == "trust-region" else "none")
    bound = None if name == "none" else run.density(name)
    data = run.data(root) if data is None else data
    strings = data.strings()
    say = say or (lambda line: None)
    say(f"{want.name} of {len(strings):,} training strings")
    many = workers or (os.cpu_count() or 1 if len(strings) > MANY else 1)
    scores = training_scores(strings, want, out, workers=many, timeout=timeout)
    rows = _rows(scores, limit, hide, seed)
    codes = run.encode(data.train[rows]).detach().to("cpu", torch.float64)

    def decode(z: Tensor, draws: int, seed: int) -> list[list[str]]:
        return run.decode_strings(z.float(), draws=draws, seed=seed)

    def again(number: int, every: list[str], values: Tensor, weights: Tensor) -> Retrained:
        made = run.retrained(every, weights, epochs=retrain, seed=seed + number)
        codes = made.encode_strings(every).detach().to("cpu", torch.float64)
        new = None if bound is None else _refitted(made, name, codes.float(), seed)
        return Retrained(
            lambda z, draws, seed: made.decode_strings(z.float(), draws=draws, seed=seed), codes, values, new
        )

    found = search(
        codes,
        scores[rows],
        decode,
        want,
        rounds=rounds,
        batch=batch,
        method=method,
        density=bound,
        draws=draws,
        strings=[strings[i] for i in rows.tolist()],
        seed=seed,
        workers=workers or 1,
        timeout=timeout,
        folder=out,
        resume=resume,
        overwrite=overwrite,
        minimised=not want.maximise,
        about={
            "objective": want.name,
            "maximise": want.maximise,
            "source": want.fingerprint(),
            "density": name,
            "limit": limit,
            "hide": hide,
            "retrain": retrain,
        },
        retrain=None if retrain is None else again,
        say=say,
        **settings,
    )
    # all training strings are known, also those that the limit left out; but not those that were hidden
    told = strings if not hide else [strings[i] for i in rows.tolist()]
    found = replace(found, known=frozenset(told))
    write(found, out, want.name)
    return found


def _refitted(run: Any, name: str | None, codes: Tensor, seed: int) -> Any:
    """The density of a retrained run: a fitted one fitted anew, or its prior."""
    former = run.density(name)
    if not isinstance(former, densities.Density):
        return former
    return densities.make(former.name, **former.settings()).fit(codes, seed=seed)


def write(found: Found, folder: Path, objective: str) -> None:
    """``found.json``, the summary, and ``found.csv``: string, score, round of every valid string, the best first."""
    facts = {"objective": objective} | found.summary()
    replace_text(folder / "found.json", json.dumps(facts, indent=1))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["string", "score", "round"])
    table.writerows([r.string, r.score, r.round] for r in found.best(len(found.rows)))
    replace_text(folder / "found.csv", text.getvalue())
