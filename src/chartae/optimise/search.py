"""The search loop: propose codes, decode them, score the strings. This module does not depend on runs."""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.optimise.acquisition import Region, box_batch, region_batch
from chartae.optimise.history import History, Row
from chartae.optimise.identity import Identities, Known
from chartae.optimise.problem import CodeDensity, Decode, Problem, Retrain, Retrained
from chartae.optimise.settings import OF_A_RUN, Search, lists_fields
from chartae.optimise.state import State, shared
from chartae.optimise.surrogates import EXACT, Surrogate, box_of, fit_surrogate, require_botorch, resolve
from chartae.optimise.workers import Score, check_importable, score_strings

__all__ = ["Loop", "rank_weights", "search"]

#: largest number of strings of one code that are scored, the most frequent first, until one has a score
TRIES = 10


def rank_weights(scores: object, k: float = 1e-3) -> Float[Tensor, " N"]:
    """Weights by the rank of the scores, proportional to 1 / (k N + rank).

    The best score has rank 0, and the weights sum to 1. Tripp, Daxberger, Hernández-Lobato, "Sample-efficient
    optimization in the latent space of deep generative models via weighted retraining", 2020, arXiv:2006.09191. Equal
    scores are ranked in their order.

    Args:
        scores: scores (N,), greater is better; none is NaN.
        k: constant > 0; a large k gives nearly equal weights, a small one concentrates on the best; default 1e-3.

    Returns:
        Weights (N,) in float64.

    Raises:
        ValueError: there are no scores, one is NaN, or k is out of range.

    >>> from chartae.optimise import rank_weights
    >>> rank_weights([3.0, 1.0, 2.0], k=1.0)
    tensor([0.4255, 0.2553, 0.3191], dtype=torch.float64)
    """
    values = torch.as_tensor(scores, dtype=torch.float64)
    if values.ndim != 1 or not len(values) or values.isnan().any():
        raise ValueError(
            f"scores have shape {tuple(values.shape)} and {int(values.isnan().sum())} NaN; expected a non-empty list "
            "of numbers. Leave out strings without a score."
        )
    if not (k > 0 and math.isfinite(k)):
        raise ValueError(f"k is {k}; expected a finite number > 0. Leave it out for 1e-3.")
    ranks = torch.empty_like(values)
    ranks[values.argsort(descending=True, stable=True)] = torch.arange(len(values), dtype=torch.float64)
    weights = 1 / (k * len(values) + ranks)
    return weights / weights.sum()


@lists_fields(Search, without=OF_A_RUN)
def search(
    codes: Float[Tensor, "N D"],
    scores: object,
    decode: Decode,
    score: Score,
    *,
    density: CodeDensity | None = None,
    strings: Sequence[str] | None = None,
    known: Known | None = None,
    folder: str | Path | None = None,
    retrain: Retrain | None = None,
    say: Callable[[str], None] | None = None,
    search: Search | None = None,
    **settings: object,
) -> History:
    """Search a latent space for strings with a high score, by Bayesian optimisation.

    Each round fits a surrogate of the scores to the codes, proposes new codes where it is promising, decodes them and
    scores the strings. There are two methods:

    * ``trust-region``: Thompson sampling in a box around the best code, which grows with success and shrinks without
      (TuRBO-1, Eriksson et al., 2019, arXiv:1910.01739; see `region_batch`). The surrogate is an exact Gaussian process
      on `keep` training codes and all new ones. All candidates are decoded first, and only those with a new string are
      proposed.
    * ``box``: expected improvement in the box [min, max] of the training codes, with a sparse Gaussian process on all
      of them (Kusner, Paige, Hernández-Lobato, 2017, arXiv:1703.01925; see `box_batch`).

    With a `density`, both propose codes only in its support, because the decoder has learnt nothing elsewhere. Of the
    strings of a code, the most frequent one that is new and has a score is kept. A code with known strings only is
    evaluated where there are not enough others; it costs no score and finds nothing. The surrogate treats a code
    without a score as if it had the worst training score. A score function that raises, hangs or ends its process does
    not stop the search.

    Args:
        codes: codes (N, D) of the training strings.
        scores: finite scores (N,) of the training strings; greater is better.
        decode: function of codes (n, D), a number of draws and a seed that returns a list of strings for each code, the
            likeliest first; None and "" are invalid. The same arguments must give the same strings.
        score: function from a string to a number, or to None; greater is better. With `workers` > 1 or a `timeout`,
            other processes must be able to import it. If it is a `Goal` that is minimised, messages and result have its
            sign.
        density: density of the codes, with ``log_prob`` and ``sample``; default: codes are proposed anywhere in the
            box.
        strings: training strings, which are known, and for `retrain`; default: unknown.
        known: further strings that are known, such as those that the codes leave out, and when two strings are the
            same; default: none, and strings are compared without white space. A known string is not scored and not
            reported as found.
        folder: folder for ``state.json`` and ``codes.safetensors``, written after every round; default: nothing is
            written.
        retrain: function of round, strings, scores (N,) and weights (N,) by rank, called between rounds; returns a
            `Retrained` or an equal tuple. A resumed search calls it again for every finished round with the same
            arguments, so it should cache its models. Default: no retraining.
        say: function called with a message for each round; default: no messages.
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
        workers: number of processes that score strings, >= 1; 1 is the current process. Default: 1.
        timeout: time limit for scoring one string, in seconds; > 0; default: none.
        k: constant k of the weights in retraining, 1 / (k N + rank); > 0; default 1e-3.
        resume: whether to continue the search in the folder, with the same result as an uninterrupted one.
        overwrite: whether to replace a search in the folder.

    Returns:
        The evaluated strings.

    Raises:
        ValueError: a setting out of range; codes, scores and strings of different lengths; a decoder that returns
            another number of lists than of codes; a resumed search with other settings.
        TypeError: an unknown setting, or a score that cannot be called.
        ArithmeticError: no code in the support of the density decodes to a new string in the first round; later, the
            search ends, and says so.
        FileExistsError: the folder holds a search, and neither resume nor overwrite is set; or it holds something else.
        ImportError: BoTorch is missing.

    >>> import torch
    >>> from chartae.optimise import search
    >>> decode = lambda z, draws, seed: [[f"{a:.2f}"] for a in z[:, 0].tolist()]
    >>> score = lambda string: -((float(string) - 0.6) ** 2)
    >>> codes = torch.linspace(-1, 0.4, 20)[:, None]
    >>> scores = [score(string) for [string] in decode(codes, 1, 0)]
    >>> history = search(codes, scores, decode, score, rounds=1, batch=3, candidates=50)
    >>> len(history.rows), history.valid
    (3, 1.0)
    """
    chosen = Search.of(search, settings)
    chosen.check_plain()
    start = Retrained(decode, codes, torch.as_tensor(scores, dtype=torch.float64), density).checked()
    strings = None if strings is None else list(strings)
    problem = Problem(start, score, strings, known or Known(), retrain)
    return Loop(problem, chosen, None if folder is None else Path(folder), say).run()


class _Exhausted(ArithmeticError):
    """No code that may be proposed decodes to a new string."""


class Loop:
    """The loop over the rounds of a search.

    Args:
        problem: what is searched.
        search: settings of the search.
        folder: folder for the state, written after every round; default: nothing is written.
        say: function called with a message for each round; default: no messages.

    Raises:
        ValueError: other processes cannot import the score function, or the search in the folder has other settings.
        TypeError: the score cannot be called.
        FileExistsError: the folder holds a search, and neither resume nor overwrite is set; or it holds something else.
        ImportError: BoTorch is missing.
    """

    def __init__(
        self, problem: Problem, search: Search, folder: Path | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.problem, self.search, self.folder = problem, search, folder
        self.say = say or (lambda line: None)
        self.workers = search.workers or 1
        score_strings([], problem.score, workers=self.workers, timeout=search.timeout)
        if self.workers > 1 or search.timeout is not None:
            check_importable(problem.score)
        require_botorch()
        start = problem.start
        self.facts = shared(problem, search)
        self.state = State(Region(search.side), start.codes[:0])
        if folder is not None:
            if search.resume and not (folder / "state.json").is_file():
                self.say(f"{folder} holds no search yet, so it starts anew")
            self.state = State.open(folder, self.state, self.facts, search)
        #: the current decoder with its codes, and the first row whose code is not among them yet (after a retraining)
        self.now, self.since = start, 0
        self.worst, self.best = float(start.scores.min()), float(start.scores.max())
        #: identities of strings; of each known one its score, None where it was never asked for
        self.identities = Identities(problem.known.identity)
        self.known: dict[str, float | None] = dict.fromkeys(self.identities.of(problem.known.strings))
        self.known |= zip(self.identities.of(problem.strings or ()), start.scores.tolist(), strict=False)
        #: the first spelling of each new string
        self.spellings = {self.identities[row.string]: row.string for row in self.state.rows if row.string}

    def run(self) -> History:
        """Run the remaining rounds."""
        state, rounds = self.state, self.search.rounds
        done = state.rows[-1].round if state.rows else 0
        for number in range(1, min(done, rounds - 1) + 1):
            self._retrain(number, [row for row in state.rows if row.round <= number])
        for number in range(done + 1, rounds + 1):
            try:
                self._round(number)
            except _Exhausted as error:
                if number == 1:
                    raise
                self.say(f"{error} The search ends after {number - 1} of {rounds} rounds.")
                break
            if number < rounds:
                self._retrain(number, state.rows)
        known = len(self.known) or None
        calls = tuple(result.score for result in state.scored.values())
        history = History(tuple(state.rows), self.worst, self.best, known, calls=calls)
        return history.flipped() if self.problem.minimised else history

    def _retrain(self, number: int, rows: Sequence[Row]) -> None:
        """Call the user's retraining function after a round, if there is one."""
        problem = self.problem
        if problem.retrain is None:
            return
        strings = list(problem.strings or ())
        new = {row.string: row.score for row in rows if row.new}
        scores = torch.cat([problem.start.scores, torch.tensor(list(new.values()), dtype=torch.float64)])
        weights = rank_weights(scores, self.search.k)
        after = Retrained(*problem.retrain(number, strings + list(new), scores, weights))
        if problem.start.density is not None and after.density is None:
            raise ValueError(
                "retrain returned no density; expected one, because a density bounds the search. Return a density "
                "fitted to the new codes as the fourth value."
            )
        self.now, self.since = after.checked(), len(rows)

    def _round(self, number: int) -> None:
        """Propose, decode, score; move the region; write the state."""
        state, search = self.state, self.search
        generator = _generator(search.seed, number)
        codes = self._propose(number, generator)
        if not len(codes):
            raise _Exhausted(
                f"round {number} has no candidates; expected codes in the support of the density that decode to a new "
                "string. Decrease support, or search without a density."
            )
        seed = int(torch.randint(2**31, (1,), generator=generator))
        lists = _decoded(self.now.decode, codes, search.draws, seed)
        chosen = self._choose(lists)
        first = len(state.rows)
        results = self._evaluate([*chosen.values()])
        rows = [replace(row, round=number, index=first + i) for i, row in enumerate(results)]
        former = max([self.best, *(row.score for row in state.rows if row.score is not None)])
        top = max([former, *(row.score for row in rows if row.score is not None)])
        better = top > former + 1e-3 * abs(former)
        state.region = state.region.after(better, dimension=codes.shape[1], batch=search.batch, start=search.side)
        state.rows = state.rows + rows
        state.proposed = torch.cat([state.proposed, codes[[*chosen]]])
        if self.folder is not None:
            state.write(self.folder, self.facts)
        self._report(number, state.rows[:first], rows)

    def _report(self, number: int, former: Sequence[Row], rows: Sequence[Row]) -> None:
        """Report the best score of a round, and how many of its strings are valid and new."""
        new = len({row.string for row in rows if row.new} - {row.string for row in former})
        minimised = self.problem.minimised
        scores = [0.0 - row.score if minimised else row.score for row in rows if row.new and row.score is not None]
        peak = f"{(min if minimised else max)(scores):.4g}" if scores else "none"
        valid = sum(row.valid for row in rows)
        self.say(f"round {number}/{self.search.rounds}  best {peak}  valid {valid}/{len(rows)}  new {new}")

    def _propose(self, number: int, generator: torch.Generator) -> Tensor:
        """The codes to decode, the most promising first."""
        search, state, now = self.search, self.state, self.now
        # of a known string that was never scored there is nothing to learn
        places = [i for i, row in enumerate(state.rows) if i >= self.since and not (row.known and row.score is None)]
        rows = [state.rows[i] for i in places]
        x = torch.cat([now.codes, state.proposed[places]])
        new = torch.tensor([self.worst if row.score is None else row.score for row in rows])
        y = torch.cat([now.scores, new.to(now.scores)])
        allowed, inside = None, torch.ones(len(x), dtype=torch.bool)
        if now.density is not None:
            allowed, inside = self._support(now.density, x[len(now.codes) :])
        # the best code; after a restart, another good one
        order = torch.where(inside, y, -math.inf).argsort(descending=True, stable=True)
        place = (state.region.restarts * search.batch) % max(1, int(inside.sum()))
        centre = x[order[place]]
        model = self._surrogate(number, x, y, centre if search.in_region else None, generator)
        wanted = search.batch * (1 + search.spares)
        if not search.in_region:
            return box_batch(model, wanted, generator, starts=search.starts, allowed=allowed)
        return region_batch(
            model,
            wanted,
            generator,
            centre=centre,
            side=state.region.side,
            candidates=max(search.candidates, wanted),
            explore=search.explore,
            allowed=allowed,
            ways=_segments(now.density, x[order[: search.keep]], generator),
            fresh=functools.partial(self._decode_to_new, {*self.known, *state.scored}),
        )

    def _decode_to_new(self, taken: set[str], z: Tensor) -> Tensor:
        """Which codes decode to a string that is neither among the taken identities nor that of an earlier code."""
        fresh = torch.zeros(len(z), dtype=torch.bool)
        texts = [next(iter(texts), None) or "" for texts in _decoded(self.now.decode, z, 1, self.search.seed)]
        for i, identity in enumerate(self.identities.of(texts)):
            if texts[i] and identity not in taken:
                taken.add(identity)
                fresh[i] = True
        return fresh

    def _choose(self, lists: Sequence[Sequence[str | None]]) -> dict[int, list[str]]:
        """The codes of a batch, by index, with their strings in the order in which they are tried.

        Codes with a string that is neither known nor scored are preferred, and this string comes first. The order of
        the codes is kept.
        """
        taken = {*self.known, *self.state.scored}
        chosen: dict[int, list[str]] = {}
        others: dict[int, list[str]] = {}
        for i, texts in enumerate(lists):
            ranked = _ranked(texts)
            fresh = [s for s, identity in zip(ranked, self.identities.of(ranked), strict=True) if identity not in taken]
            (chosen if fresh else others)[i] = [*fresh, *(s for s in ranked if s not in fresh)]
            taken.update(self.identities.of(fresh[:1]))
        return dict(sorted([*chosen.items(), *others.items()][: self.search.batch]))

    def _support(self, density: CodeDensity, new: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """A function that says which codes lie in the density's support, and its values at current and new codes."""
        codes = self.now.codes
        log_p = _log_prob(density, codes)
        if log_p.shape != (len(codes),) or not log_p.isfinite().any():
            raise ValueError(
                f"density.log_prob returned shape {tuple(log_p.shape)} with {int(log_p.isfinite().sum())} finite "
                f"values; expected ({len(codes)},), finite. Fit the density to these codes."
            )
        least = float(log_p.quantile(self.search.support) if len(codes) < 10**7 else log_p.min())

        def allowed(z: Tensor) -> Tensor:
            return _log_prob(density, z) >= least

        return allowed, torch.cat([log_p >= least, allowed(new)]) if len(new) else log_p >= least

    def _surrogate(
        self, number: int, x: Tensor, y: Tensor, centre: Tensor | None, generator: torch.Generator
    ) -> Surrogate:
        """Fit a surrogate to the scores `y` of the codes `x`; the exact process uses a subset of them."""
        search, old = self.search, len(self.now.codes)
        box = box_of(self.now.codes)
        least = float(self.now.scores.quantile(search.quantile)) if search.quantile else -math.inf
        exact = search.in_region and search.surrogate == "auto"
        kind = "exact" if exact else resolve(search.surrogate, len(x))
        rows = torch.arange(len(x))
        if kind == "exact":
            rows = _subset(x, y, old, search.keep, centre, box, generator)
        values = y[rows].clamp_min(least)
        return fit_surrogate(x[rows], values, kind=kind, box=box, seed=search.seed + number, **search.fit)

    def _evaluate(self, lists: Sequence[Sequence[str]]) -> list[Row]:
        """A row for each code: the first of its new strings that has a score, else the first failure.

        A code with known strings only has the first of these. New scores are added to the table of the state.
        """
        scored = self.state.scored
        rows, new = [], []
        for texts in lists:
            identities = self.identities.of(texts)
            known = [i for i in identities if i in self.known]
            new.append(list(dict.fromkeys(i for i in identities if i not in self.known))[:TRIES])
            for string, identity in zip(texts, identities, strict=True):
                if identity not in self.known:
                    self.spellings.setdefault(identity, string)
            row = Row(0, 0, "", None, "the decoder gave no valid string")
            rows.append(Row(0, 0, texts[0], self.known[known[0]], known=True) if known and not new[-1] else row)
        for turn in range(TRIES):
            unscored = [i for i, ids in enumerate(new) if turn < len(ids) and rows[i].score is None]
            unknown = [i for i in dict.fromkeys(new[i][turn] for i in unscored) if i not in scored]
            strings = [self.spellings[identity] for identity in unknown]
            answers = score_strings(strings, self.problem.score, workers=self.workers, timeout=self.search.timeout)
            scored.update(zip(unknown, answers, strict=True))
            for i in unscored:
                result = scored[new[i][turn]]
                if turn == 0 or result.score is not None:
                    rows[i] = Row(0, 0, self.spellings[new[i][turn]], result.score, result.error)
        return rows


def _generator(seed: int, number: int) -> torch.Generator:
    """The generator of a round; it depends only on seed and round, so that a search can be resumed."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))


def _log_prob(density: CodeDensity, z: Tensor) -> Tensor:
    """log p of codes in double precision, computed in the precision and on the device of the density."""
    buffers = [b for b in density.buffers() if b.is_floating_point()] if isinstance(density, torch.nn.Module) else []
    z = z.to(buffers[0]) if buffers else z
    with torch.no_grad():
        return torch.cat([density.log_prob(part) for part in z.split(10_000)]).to("cpu", torch.float64)


def _segments(density: CodeDensity | None, best: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Start and end codes of segments: from the best codes to each other, and to as many draws from the density."""
    if density is None:
        return best, best
    with torch.no_grad():
        drawn = density.sample(len(best), generator=generator)
    return best, torch.cat([best, drawn.to(best)])


def _decoded(decode: Decode, z: Tensor, draws: int, seed: int) -> list[Sequence[str | None]]:
    """The strings of each code.

    Raises:
        ValueError: `decode` returns another number of lists than of codes.
    """
    lists = list(decode(z, draws, seed))
    if len(lists) != len(z):
        raise ValueError(
            f"decode returned {len(lists)} lists of strings for {len(z)} codes; expected one list for each code. "
            "Return an empty list for a code without strings."
        )
    return lists


def _subset(
    x: Tensor, y: Tensor, old: int, keep: int, centre: Tensor | None, box: tuple[Tensor, Tensor],
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Rows for an exact process: `keep` training codes and all new codes, or the latest if these are too many.

    A third of the training codes are the best, a third are nearest to the centre, and a third are random. From good
    codes alone, the process would learn that unexplored codes are good.
    """
    orders = [y[:old].argsort(descending=True, stable=True), torch.randperm(old, generator=generator)]
    if centre is not None:
        orders.insert(1, ((x[:old] - centre) / (box[1] - box[0])).square().sum(1).argsort(stable=True))
    rows: dict[int, None] = {}
    for i, order in enumerate(orders, 1):
        for row in order.tolist():
            if len(rows) >= keep * i // len(orders):
                break
            rows[row] = None
    return torch.tensor([*rows, *range(max(old, len(x) - EXACT), len(x))])


def _ranked(candidates: Sequence[str | None]) -> list[str]:
    """The valid strings of a code, the most frequent first; equally frequent ones in order of appearance."""
    counts = Counter(s for s in candidates if s)
    return sorted(counts, key=lambda s: -counts[s])
