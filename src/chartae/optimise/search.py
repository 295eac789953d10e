"""The search: rounds of proposing codes, decoding them, scoring the strings. It knows nothing of runs."""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence, Set
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.optimise.acquisition import Region, box_batch, region_batch
from chartae.optimise.history import History, Row
from chartae.optimise.problem import CodeDensity, Decode, Problem, Retrain, Retrained
from chartae.optimise.settings import OF_A_RUN, Search, lists_fields
from chartae.optimise.state import State, shared
from chartae.optimise.surrogates import EXACT, Surrogate, box_of, fit_surrogate, require_botorch, resolve
from chartae.optimise.workers import Score, Scored, check_importable, score_strings

__all__ = ["Loop", "rank_weights", "search"]

#: strings of one code that are tried, the most frequent first, until one has a score
TRIES = 10


def rank_weights(scores: object, k: float = 1e-3) -> Float[Tensor, " N"]:
    """Weights w proportional to 1 / (k N + rank), the best score's rank being 0; they add up to 1.

    Tripp, Daxberger, Hernández-Lobato, "Sample-efficient optimization in the latent space of deep generative models via
    weighted retraining", 2020, arXiv:2006.09191. Great `k` is near to equal weights, 0 leaves the best alone. Equal
    scores keep their order.

    >>> rank_weights([3.0, 1.0, 2.0], k=1.0)
    tensor([0.4255, 0.2553, 0.3191], dtype=torch.float64)

    Raises:
        ValueError: no scores, one that is nan, or k not above 0.
    """
    values = torch.as_tensor(scores, dtype=torch.float64)
    if values.ndim != 1 or not len(values) or values.isnan().any():
        raise ValueError(f"scores have shape {tuple(values.shape)}; expected a list of at least one number, none nan")
    if not (k > 0 and math.isfinite(k)):
        raise ValueError(f"k is {k}; expected a number above 0")
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
    folder: str | Path | None = None,
    minimised: bool = False,
    retrain: Retrain | None = None,
    say: Callable[[str], None] | None = None,
    search: Search | None = None,
    **settings: object,
) -> History:
    """Look for strings of great score: rounds of a surrogate of the scores over codes, and new codes where it is high.

    * ``trust-region``: Thompson's draws in a box about the best code, which grows with success and shrinks without
      (TuRBO-1, `region_batch`); an exact process on `keep` training codes and on all new
      ones. Codes are proposed where `density` has mass, as a decoder has learnt nothing elsewhere, and where the
      likeliest string is one that is not known yet: all candidates are decoded first.
    * ``box``: expected improvement in [min, max] of the training codes with a sparse process over all (`box_batch`):
      the protocol of Kusner, Paige, Hernández-Lobato (2017, arXiv:1703.01925).

    Of each code the most frequent of its strings that has a score is kept. A code without one counts as the worst
    training score in the surrogate's data. The search goes on whatever the score function does.

    Args:
        codes: (N, D), of the training strings.
        scores: (N,), finite; greater is better.
        decode: codes (n, D), draws, seed to a list of strings for each code, the likeliest first; None and "" are
            invalid. The same arguments give the same strings.
        score: from a string to a number; for `workers` above 1 a function that other processes can import.
        density: a density, with ``log_prob``: (n, D) to (n,), and ``sample``. None: codes are proposed anywhere in the
            box.
        strings: the training strings, for novelty and `retrain`; their scores are then known.
        folder: where the state is written after every round: ``state.json`` and ``codes.safetensors``.
        minimised: whether the scores are those of an objective that is minimised, with their sign turned; what is said
            and returned has the objective's sign.
        retrain: function of round, strings, scores and weights (`rank_weights`), called between rounds; it returns a
            `Retrained`, or a tuple like it. A resumed search calls it again for every round that is done, with the same
            arguments, so let it keep its models.
        say: called with one line for each round.
        search: the settings of the search; by default the defaults.
        settings: fields of `Search` that replace those of `search`: rounds, batch, method and so on.

    Returns:
        what was evaluated.

    Raises:
        ValueError: settings out of range, codes, scores and strings that do not fit each other, a decoder that gives
            another number of lists than of codes, other settings than those of the search that is resumed.
        FileExistsError: the folder holds a search, and neither resume nor overwrite is set.
        FileNotFoundError: there is nothing to resume.
        ImportError: BoTorch is missing.
    """
    chosen = Search.of(search, settings)
    chosen.check_plain()
    start = Retrained(decode, codes, torch.as_tensor(scores, dtype=torch.float64), density).checked()
    strings = None if strings is None else list(strings)
    problem = Problem(start, score, strings, minimised, retrain)
    return Loop(problem, chosen, None if folder is None else Path(folder), say).run()


class Loop:
    """The rounds of a search.

    Args:
        problem: what is searched.
        search: how.
        folder: where the state is written after every round; None for nowhere.
        say: called with one line for each round.

    Raises:
        ValueError: the score function cannot be imported by other processes; the folder's search is another one.
        TypeError: the score cannot be called.
        FileExistsError, FileNotFoundError: as `search`.
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
            self.state = State.open(folder, self.state, self.facts, search)
        #: the decoder with its codes, and from which row on the rows are not yet among these (after a retraining)
        self.now, self.since = start, 0
        self.worst, self.best = float(start.scores.min()), float(start.scores.max())
        pairs = zip(problem.strings or (), start.scores.tolist(), strict=False)
        self.known = {string: Scored(value) for string, value in pairs}

    def run(self) -> History:
        """Do the rounds that are left."""
        state, rounds = self.state, self.search.rounds
        done = state.rows[-1].round if state.rows else 0
        for number in range(1, min(done, rounds - 1) + 1):
            self._retrain(number, [row for row in state.rows if row.round <= number])
        for number in range(done + 1, rounds + 1):
            self._round(number)
            if number < rounds:
                self._retrain(number, state.rows)
        strings = self.problem.strings
        history = History(tuple(state.rows), self.worst, self.best, None if strings is None else frozenset(strings))
        return history.flipped() if self.problem.minimised else history

    def _retrain(self, number: int, rows: Sequence[Row]) -> None:
        """Let the user's function retrain after a round, if there is one."""
        problem = self.problem
        if problem.retrain is None:
            return
        strings = list(problem.strings or ())
        training = set(strings)
        new = {row.string: row.score for row in rows if row.string and row.score is not None}
        new = {string: score for string, score in new.items() if string not in training}
        scores = torch.cat([problem.start.scores, torch.tensor(list(new.values()), dtype=torch.float64)])
        weights = rank_weights(scores, self.search.k)
        after = Retrained(*problem.retrain(number, strings + list(new), scores, weights))
        if problem.start.density is not None and after.density is None:
            raise ValueError("a density bounds the search; retrain must give one that is fitted to the new codes")
        self.now, self.since = after.checked(), len(rows)

    def _round(self, number: int) -> None:
        """Propose, decode, score; move the region; write the state."""
        state, search = self.state, self.search
        generator = _generator(search.seed, number)
        known = self.known.keys() | state.scored.keys()
        codes = self._propose(number, generator, known)
        if not len(codes):
            raise ArithmeticError(
                f"round {number}: no code was found where the density has mass that decodes to a string not yet known; "
                "lower support, or give no density"
            )
        seed = int(torch.randint(2**31, (1,), generator=generator))
        lists = _decoded(self.now.decode, codes, search.draws, seed)
        chosen = _choose(lists, search.batch, known)
        results = self._evaluate([lists[i] for i in chosen])
        first = len(state.rows)
        rows = [Row(number, first + i, string, r.score, r.error) for i, (string, r) in enumerate(results)]
        former = max([self.best, *(row.score for row in state.rows if row.score is not None)])
        top = max([former, *(row.score for row in rows if row.score is not None)])
        better = top > former + 1e-3 * abs(former)
        state.region = state.region.after(better, dimension=codes.shape[1], batch=search.batch, start=search.side)
        state.rows = state.rows + rows
        state.proposed = torch.cat([state.proposed, codes[chosen]])
        if self.folder is not None:
            state.write(self.folder, self.facts)
        self._report(number, state.rows[:first], rows)

    def _report(self, number: int, former: Sequence[Row], rows: Sequence[Row]) -> None:
        """Say how a round went: its best score, and how many strings are valid and new."""
        strings = {row.string for row in former} | set(self.problem.strings or ())
        new = len({row.string for row in rows if row.valid} - strings)
        minimised = self.problem.minimised
        scores = [0.0 - row.score if minimised else row.score for row in rows if row.score is not None]
        peak = f"{(min if minimised else max)(scores):.4g}" if scores else "none"
        valid = sum(row.valid for row in rows)
        self.say(f"round {number}/{self.search.rounds}  best of it {peak}  valid {valid}/{len(rows)}  new {new}")

    def _propose(self, number: int, generator: torch.Generator, known: Set[str]) -> Tensor:
        """Codes to decode, the most promising first."""
        search, state, now = self.search, self.state, self.now
        rows = state.rows[self.since :]
        x = torch.cat([now.codes, state.proposed[self.since :]])
        new = torch.tensor([self.worst if row.score is None else row.score for row in rows])
        y = torch.cat([now.scores, new.to(now.scores)])
        allowed, fine = None, torch.ones(len(x), dtype=torch.bool)
        if now.density is not None:
            allowed, fine = self._support(now.density, x[len(now.codes) :])
        # the best code, or after a restart another of the best
        order = torch.where(fine, y, -math.inf).argsort(descending=True, stable=True)
        place = (state.region.restarts * search.batch) % max(1, int(fine.sum()))
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
            ways=_ways(now.density, x[order[: search.keep]], generator),
            fresh=functools.partial(_unseen, now.decode, set(known), search.seed),
        )

    def _support(self, density: CodeDensity, new: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Whether codes are in the density's support: a function of codes, and its values at all codes, the last ones
        being `new`."""
        codes = self.now.codes
        inside = _log_prob(density, codes)
        if inside.shape != (len(codes),) or not inside.isfinite().any():
            raise ValueError(
                f"the density's log_prob of {len(codes)} codes has shape {tuple(inside.shape)}, or is not finite"
            )
        least = float(inside.quantile(self.search.support) if len(codes) < 10**7 else inside.min())

        def allowed(z: Tensor) -> Tensor:
            return _log_prob(density, z) >= least

        return allowed, torch.cat([inside >= least, allowed(new)]) if len(new) else inside >= least

    def _surrogate(
        self, number: int, x: Tensor, y: Tensor, centre: Tensor | None, generator: torch.Generator
    ) -> Surrogate:
        """A surrogate of the scores `y` at codes `x`, of which the exact process learns from a part."""
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

    def _evaluate(self, lists: Sequence[Sequence[str | None]]) -> list[tuple[str, Scored]]:
        """A string of each code with its score: the most frequent one that has any; where none has, the first failure.

        What is scored here joins the state's table.
        """
        scored = self.state.scored
        ranked = [_ranked(candidates)[:TRIES] for candidates in lists]
        results: list[tuple[str, Scored]] = [("", Scored(None, "the decoder gave no valid string"))] * len(lists)
        for turn in range(TRIES):
            unscored = [i for i, r in enumerate(ranked) if turn < len(r) and results[i][1].score is None]
            if not unscored:
                break
            wanted = dict.fromkeys(ranked[i][turn] for i in unscored)
            unknown = [string for string in wanted if string not in self.known and string not in scored]
            answers = score_strings(unknown, self.problem.score, workers=self.workers, timeout=self.search.timeout)
            scored.update(zip(unknown, answers, strict=True))
            table = {s: self.known[s] if s in self.known else scored[s] for s in wanted}
            for i in unscored:
                string = ranked[i][turn]
                if turn == 0 or table[string].score is not None:
                    results[i] = string, table[string]
        return results


def _generator(seed: int, number: int) -> torch.Generator:
    """The generator of a round: it depends on seed and round alone, so that a search can be resumed."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))


def _log_prob(density: CodeDensity, z: Tensor) -> Tensor:
    """log p of codes in double precision, by the density in its own precision."""
    kinds = [b for b in density.buffers() if b.is_floating_point()] if isinstance(density, torch.nn.Module) else []
    z = z.to(kinds[0]) if kinds else z
    with torch.no_grad():
        return torch.cat([density.log_prob(part) for part in z.split(10_000)]).to("cpu", torch.float64)


def _ways(density: CodeDensity | None, best: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where from and where to: from the best codes to each other, and to as many draws of the density."""
    if density is None:
        return best, best
    with torch.no_grad():
        drawn = density.sample(len(best), generator=generator)
    return best, torch.cat([best, drawn.to(best)])


def _decoded(decode: Decode, z: Tensor, draws: int, seed: int) -> list[Sequence[str | None]]:
    """The strings of each code, or a ValueError where there are not as many lists as codes."""
    lists = list(decode(z, draws, seed))
    if len(lists) != len(z):
        raise ValueError(f"decode gave {len(lists)} lists of strings for {len(z)} codes; expected one a code")
    return lists


def _unseen(decode: Decode, known: set[str], seed: int, z: Tensor) -> Tensor:
    """Which codes decode to a string that is neither known nor that of a code before."""
    fresh = torch.zeros(len(z), dtype=torch.bool)
    for i, candidates in enumerate(_decoded(decode, z, 1, seed)):
        if candidates and candidates[0] and candidates[0] not in known:
            known.add(candidates[0])
            fresh[i] = True
    return fresh


def _subset(
    x: Tensor, y: Tensor, old: int, keep: int, centre: Tensor | None, box: tuple[Tensor, Tensor],
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Rows for an exact process: of `keep` training codes a third each that are best, nearest to the centre, and any,
    and all new codes, of which the last where they are too many. Of good codes alone a process would learn that codes
    are good wherever it knows nothing."""
    kinds = [y[:old].argsort(descending=True, stable=True), torch.randperm(old, generator=generator)]
    if centre is not None:
        kinds.insert(1, ((x[:old] - centre) / (box[1] - box[0])).square().sum(1).argsort(stable=True))
    rows: dict[int, None] = {}
    for i, kind in enumerate(kinds, 1):
        for row in kind.tolist():
            if len(rows) >= keep * i // len(kinds):
                break
            rows[row] = None
    return torch.tensor([*rows, *range(max(old, len(x) - EXACT), len(x))])


def _ranked(candidates: Sequence[str | None]) -> list[str]:
    """The strings of a code: the most frequent first, then in order of appearance."""
    counts = Counter(s for s in candidates if s)
    return sorted(counts, key=lambda s: -counts[s])


def _choose(lists: Sequence[Sequence[str | None]], batch: int, known: Set[str]) -> list[int]:
    """Which codes take the places of a batch: those with new strings first, each in its order."""
    new, rest = [], []
    strings = set(known)
    for i, candidates in enumerate(lists):
        ranked = _ranked(candidates)
        if ranked and ranked[0] not in strings:
            strings.add(ranked[0])
            new.append(i)
        else:
            rest.append(i)
    return sorted((new + rest)[:batch])
