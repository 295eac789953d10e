"""The search over the codes of a run: scores of the training strings, the search, and its files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.data import Dataset, read_strings
from chartae.data.arrays import SPLITS
from chartae.data.lines import is_string_file
from chartae.optimise.goals import Goal, goal
from chartae.optimise.history import History
from chartae.optimise.identity import Identity, Known, as_molecules, without_spaces
from chartae.optimise.problem import Problem, Retrain, Retrained
from chartae.optimise.search import Loop
from chartae.optimise.settings import Search, lists_fields
from chartae.optimise.state import FILES, check_target, fingerprint
from chartae.optimise.strings import CodedStrings
from chartae.optimise.workers import score_strings
from chartae.records import lock, manifest, replacing
from chartae.records.files import Damaged, replace_text, whole_file
from chartae.records.tensors import read_tensors, write_tensors
from chartae.runs import Run

__all__ = ["optimise", "training_scores"]

#: number of strings above which starting more processes pays off
MANY = 2000
#: training strings are scored in parts, whose scores are kept: at most so many, of at least so many strings
PARTS, PART = 20, 1000
#: the file of the scores of training strings
SCORES = "scores.safetensors"


def training_scores(
    strings: Sequence[str], score: Goal, folder: Path, *, workers: int = 1, timeout: float | None = None
) -> Float[Tensor, " N"]:
    """Score strings, and cache the scores in a folder.

    A second call reads the cache if strings, objective and timeout are the same, and goes on where an interrupted one
    stopped.

    Args:
        strings: strings to score.
        score: objective.
        folder: folder for the cache, ``scores.safetensors``.
        workers: number of processes that score strings, >= 1; default 1, the current process.
        timeout: time limit for one string, in seconds; > 0; default: none.

    Returns:
        Scores (N,) in float64, greater is better; NaN for a string without a score.

    Raises:
        ValueError: no string has a score; the message names the first failure.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from chartae.optimise import goal, training_scores
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     training_scores(["1/3+x+sin(x*x)", "x+"], goal("expression-fit"), Path(folder)).isnan()
    tensor([False,  True])
    """
    path, mark = folder / SCORES, fingerprint(score.fingerprint(), timeout, *strings)
    done, reasons = _cached(path, mark)[: len(strings)], ["there are no strings"] * (not strings)
    part = max(PART, math.ceil(len(strings) / PARTS))
    for begin in range(len(done), len(strings), part):
        results = score_strings(strings[begin : begin + part], score, workers=workers, timeout=timeout)
        reasons += [result.error for result in results if result.error]
        done += [math.nan if result.score is None else result.score for result in results]
        facts = {"fingerprint": mark, "objective": score.name}
        write_tensors(path, {"scores": torch.tensor(done, dtype=torch.float64)}, kind="scores", facts=facts)
    if all(map(math.isnan, done)):
        raise ValueError(
            f"objective is {score.name!r}; expected a score for at least one of the {len(strings)} training strings, "
            f"but none has one (first failure: {next(iter(reasons), 'as before')}). Choose an objective for strings of "
            "this kind."
        )
    return torch.tensor(done, dtype=torch.float64)


def _cached(path: Path, mark: str) -> list[float]:
    """The scores in a cache, perhaps not yet of all strings; none if it is of others, or damaged."""
    with suppress(Damaged):
        if path.is_file():
            tensors, facts = read_tensors(path, kind="scores")
            if facts.get("fingerprint") == mark:
                return tensors["scores"].tolist()
    return []


@lists_fields(Search)
def optimise(
    run: Run,
    objective: str | Goal,
    *,
    out: str | Path,
    data: Dataset | None = None,
    root: str | Path | None = None,
    known: str | Path | Sequence[str] = (),
    say: Callable[[str], None] | None = None,
    search: Search | None = None,
    **settings: object,
) -> History:
    """Search the latent space of a run for strings with a good score.

    It scores the training strings, encodes them, and runs Bayesian optimisation on their codes (see `search` for the
    method). All strings of the data are known, those for validation and test and those of the file that `limit` left
    out among them: a known string is neither scored nor reported as found. Molecules are compared by their canonical
    SMILES, other strings without white space.

    The folder `out` holds these files:

    * ``scores.safetensors``: scores of the training strings;
    * ``state.json`` and ``codes.safetensors``: the state from which a search resumes;
    * ``strings.csv``: all new strings with score and round, the best first;
    * ``results.json``: the summary of the result, with the best new string and the best score after each string that
      was scored.

    Args:
        run: trained run of a recipe for strings.
        objective: what to optimise: one of `NAMES`, ``"module:function"`` for your own function of a string, or a
            `Goal`.
        out: folder of the search.
        data: data set of the run; required if the run was fitted to in-memory data, otherwise loaded by default.
        root: folder of named data sets; default: the environment variable CHARTAE_DATA.
        known: further strings that are known, as a list or a file of strings; default: none.
        say: function called with each progress message; default: no messages.
        search: settings of the search as one object; default: ``Search()``. The keywords below replace its fields.
        rounds: total number of rounds, including those before a resume; >= 1; default 5.
        batch: number of new strings in a round, >= 1; default 50.
        method: ``"trust-region"`` (default) or ``"box"``.
        surrogate: Gaussian process over the codes: ``"exact"``, ``"sparse"``, or ``"auto"`` (default), which is exact
            in a trust region, and in a box for up to 2,000 codes.
        support: fraction of the training codes that count as the tail of the density, where no codes are proposed; in
            [0, 1); default 0.01.
        keep: number of training codes that the exact process is fitted to, >= 2; default 500.
        floor: quantile of the training scores, in [0, 1), to which the surrogate raises lower scores, so that outliers
            do not dominate it; default: 0.01 in a trust region, 0 in a box.
        draws: number of strings decoded from each code, >= 1; default 1.
        spares: number of extra codes proposed for each code of the batch, >= 0; default 0. They replace codes whose
            string is already known.
        side: initial side length of the trust region, in units of the box; > 0; default 0.8.
        candidates: number of codes in the trust region that are decoded before one is chosen, >= 1; default 2,000.
        explore: factor on the deviations of Thompson sampling's draws from the mean, >= 0; default 0.1.
        starts: number of uniform codes from which a box is searched, >= 1; default 10,000.
        fit: settings of `fit_surrogate`: inducing, steps, batch_size, lr, iterations; default: none.
        seed: seed of the search, >= 0; default 0.
        workers: number of processes that score strings, >= 1; 1 is the current process. Default: 1, but one for each
            core to score many training strings.
        timeout: time limit for scoring one string, in seconds; > 0; default: none.
        k: constant k of the weights in retraining, 1 / (k N + rank); > 0; default 1e-3.
        resume: whether to continue the search in the folder, with the same result as an uninterrupted one.
        overwrite: whether to replace a search in the folder.
        density: name of the run's density outside whose support no codes are proposed, or ``"none"`` for no bound;
            default: the run's own choice in a trust region, no bound in a box.
        limit: number of training strings to learn from, >= 2: half of them the best, the others random; default: all.
        hide: fraction of the best training strings that are hidden from the search, in [0, 1), to see whether it finds
            new strings as good as these; default 0. The run was trained on them, unless it was fitted without.
        minimise: whether to minimise your own function instead of maximising it; default False.
        retrain: number of epochs of weighted retraining between rounds, >= 1 (Tripp, Daxberger, Hernández-Lobato, 2020,
            arXiv:2006.09191); default: no retraining.

    Returns:
        The evaluated strings, with scores in the direction of the objective.

    Raises:
        ValueError: a setting out of range; an unknown objective or density; training strings without any score; a
            resumed search with other settings.
        TypeError: an unknown setting.
        FileExistsError: the folder holds a search, and neither resume nor overwrite is set; or it holds something else,
            such as a run.
        ImportError: BoTorch is missing, or RDKit for an objective over molecules.

    >>> import tempfile
    >>> import chartae as ch
    >>> from chartae.optimise import optimise
    >>> strings = [f"{a}{op}{b}" for a in ("x", "1", "sin(x)") for op in "+*/" for b in ("x", "3", "(x*x)")]
    >>> data = ch.data.from_strings(strings, "expressions")
    >>> run = ch.fit("grae", data, net="gru:16", latent_dim=2, epochs=1, components=2, progress=False)
    >>> settings = {"rounds": 1, "batch": 2, "candidates": 30, "density": "none"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = optimise(run, "expression-fit", out=folder, data=data, **settings)
    >>> len(history.rounds()), history.maximise
    (1, False)
    """
    chosen = Search.of(search, settings)
    known = read_strings(known) if isinstance(known, str | Path) else list(known)
    target = goal(objective, minimise=chosen.minimise) if isinstance(objective, str) else objective
    folder = Path(out)
    with lock.writer(folder):
        replacing.settle(folder)
        check_target(folder, chosen)
        replacing.check(folder)
        unfinished = folder / replacing.NEW / "state.json"
        if chosen.overwrite and (folder / "state.json").is_file():
            folder = replacing.begin(folder)  # the old search stays until the new one is complete
            if (Path(out) / SCORES).is_file():
                with whole_file(folder / SCORES) as part:
                    shutil.copyfile(Path(out) / SCORES, part)
        elif chosen.resume and unfinished.is_file():
            folder = unfinished.parent
        history = _optimised(run, target, folder, data, root, known, say, chosen)
        if folder != Path(out):
            replacing.finish(Path(out))
    return history


def _optimised(
    run: Run, target: Goal, folder: Path, data: Dataset | None, root: str | Path | None, known: Sequence[str],
    say: Callable[[str], None] | None, chosen: Search,
) -> History:  # fmt: skip
    """Run the search in a folder that no other process writes to."""
    coded = CodedStrings(run, chosen.bound)
    data = coded.data(root) if data is None else data
    strings = data.strings()
    say = say or (lambda line: None)
    say(f"objective {target.name}, {len(strings):,} training strings")
    workers = chosen.workers or (os.cpu_count() or 1 if len(strings) > MANY else 1)
    scores = training_scores(strings, target, folder, workers=workers, timeout=chosen.timeout)
    rows = _rows(scores, chosen.limit, chosen.hide, chosen.seed)
    training = [strings[i] for i in rows.tolist()]
    start = Retrained(coded.decode, coded.encode(data.train[rows]), scores[rows], coded.density).checked()
    problem = Problem(
        start,
        target,
        training,
        Known([*strings_of(data), *known], _identity(run, say)),
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
    write(history, folder, target.name)
    return history


def strings_of(data: Dataset) -> list[str]:
    """All strings of the data, and of the file that they were read from, of which they may be a part."""
    path = data.path if data.path and is_string_file(data.path) else None
    left_out = [] if path is None else read_strings(path, column=data.reading.column)
    return [*(string for split in SPLITS for string in data.strings(split)), *left_out]


def _identity(run: Run, say: Callable[[str], None]) -> Identity:
    """When strings of a run are the same: as molecules, or without white space."""
    if not run.kind.molecules:
        return without_spaces
    try:
        as_molecules([])  # needs RDKit
    except ImportError:
        say("RDKit is missing, so that molecules are compared as they are written; install chartae[molecules]")
        return without_spaces
    return as_molecules


def _rows(scores: Tensor, limit: int | None, hide: float, seed: int) -> Tensor:
    """The rows to learn from, in order.

    They have a finite score and are not among the best fraction `hide`. If they are more than `limit`, half of `limit`
    are the best ones, and the others are random.
    """
    rows = scores.isfinite().nonzero()[:, 0]
    if hide:
        worst_first = rows[scores[rows].argsort(stable=True)]
        rows = worst_first[: max(2, round((1 - hide) * len(rows)))].sort().values
    if limit is None or len(rows) <= limit:
        return rows
    order = rows[scores[rows].argsort(descending=True, stable=True)]
    best, worse = order[: limit // 2], order[limit // 2 :]
    generator = torch.Generator().manual_seed(seed)
    others = worse[torch.randperm(len(worse), generator=generator)[: limit - limit // 2]]
    return torch.cat([best, others]).sort().values


def _retrain(coded: CodedStrings, epochs: int, seed: int) -> Retrain:
    """A function that retrains the run between rounds, each time starting from the original run."""

    def retrain(number: int, strings: list[str], scores: Tensor, weights: Tensor) -> Retrained:
        after, codes = coded.retrained(strings, weights, epochs=epochs, seed=seed + number, fit_seed=seed)
        return Retrained(after.decode, codes, scores, after.density)

    return retrain


def write(history: History, folder: Path, objective: str) -> None:
    """Write ``results.json``, and ``strings.csv``: string, score and round of every valid string, the best first."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["string", "score", "round"])
    table.writerows([row.string, row.score, row.round] for row in history.best(len(history.rows)))
    with manifest.writing(folder, "results.json", "strings.csv"):
        replace_text(folder / "results.json", json.dumps({"objective": objective, **history.summary()}, indent=1))
        replace_text(folder / "strings.csv", text.getvalue())
    manifest.register(folder, *FILES, SCORES)
