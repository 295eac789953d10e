"""The search: rounds of proposing codes, decoding them, scoring the strings. It knows nothing of runs."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.densities.base import check_codes
from chartae.optimise.acquisition import SIDE, Region, box_batch, region_batch
from chartae.optimise.history import Found, Row
from chartae.optimise.workers import Scored, check_importable, score_strings
from chartae.optimise.surrogates import EXACT, KINDS, botorch, box_of, check_scores, fit_surrogate, resolve
from chartae.records.files import read_tensors, replace_text, write_tensors

__all__ = ["METHODS", "Retrained", "rank_weights", "search"]

METHODS = ("trust-region", "box")
#: strings of one code that are tried, the most frequent first, until one has a score
TRIES = 10
FORMAT = 1

Decode = Callable[[Tensor, int, int], Sequence[Sequence[str | None]]]


class Retrained(NamedTuple):
    """What a retraining gives back: a decoder, the codes (N, D) of all strings, their scores (N,), and where a density
    bounds the search, one fitted to the new codes."""

    decode: Decode
    codes: Tensor
    scores: Tensor
    density: Any = None


def rank_weights(scores: Any, k: float = 1e-3) -> Float[Tensor, " N"]:
    """Weights w proportional to 1 / (k N + rank), the best score's rank being 0; they add up to 1.

    Tripp, Daxberger, Hernández-Lobato, "Sample-efficient optimization in the latent space of deep generative models via
    weighted retraining", 2020, arXiv:2006.09191. Great `k` is near to equal weights, 0 leaves the best alone. Equal
    scores keep their order.

    >>> rank_weights([3.0, 1.0, 2.0], k=1.0)
    tensor([0.4255, 0.2553, 0.3191], dtype=torch.float64)

    Raises:
        ValueError: no scores, one that is nan, or k not above 0.
    """
    scores = torch.as_tensor(scores, dtype=torch.float64)
    if scores.ndim != 1 or not len(scores) or scores.isnan().any():
        raise ValueError(f"scores have shape {tuple(scores.shape)}; expected a list of at least one number, none nan")
    if not (k > 0 and math.isfinite(k)):
        raise ValueError(f"k is {k}; expected a number above 0")
    ranks = torch.empty_like(scores)
    ranks[scores.argsort(descending=True, stable=True)] = torch.arange(len(scores), dtype=torch.float64)
    weights = 1 / (k * len(scores) + ranks)
    return weights / weights.sum()


@dataclass
class _Search:
    """What a search holds between rounds: the data of the surrogate, what was evaluated, the region."""

    decode: Decode
    codes: Tensor
    scores: Tensor
    density: Any
    region: Region
    rows: list[Row] = field(default_factory=list)
    #: codes of the rows, and from which row on they are not yet among `codes` (after a retraining they are)
    proposed: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.float64))
    since: int = 0
    #: every string that was scored in the search, kept or not
    scored: dict[str, Scored] = field(default_factory=dict)


def _generator(seed: int, number: int) -> torch.Generator:
    """Of a round: it depends on seed and round alone, so that a search can go on where it stopped."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))


def fingerprint(*parts: Any) -> str:
    """Of tensors and strings."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.detach().cpu().contiguous().numpy().tobytes() if isinstance(part, Tensor) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def _log_prob(density: Any, z: Tensor) -> Tensor:
    """Of codes in double precision, as the density's own precision has it."""
    kinds = [b for b in density.buffers() if b.is_floating_point()] if isinstance(density, torch.nn.Module) else []
    z = z.to(kinds[0]) if kinds else z
    with torch.no_grad():
        return torch.cat([density.log_prob(part) for part in z.split(10_000)]).to("cpu", torch.float64)


def search(
    codes: Float[Tensor, "N D"],
    scores: Any,
    decode: Decode,
    score: Callable[[str], Any],
    *,
    rounds: int = 5,
    batch: int = 50,
    method: str = "trust-region",
    surrogate: str = "auto",
    density: Any = None,
    support: float = 0.01,
    keep: int = 500,
    floor: float | None = None,
    draws: int = 1,
    spares: int = 0,
    side: float = SIDE,
    candidates: int = 2000,
    explore: float = 0.1,
    starts: int = 10_000,
    fit: dict[str, Any] | None = None,
    strings: Sequence[str] | None = None,
    seed: int = 0,
    workers: int = 1,
    timeout: float | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    minimised: bool = False,
    about: dict[str, Any] | None = None,
    retrain: Callable[[int, list[str], Tensor, Tensor], Retrained | tuple[Any, ...]] | None = None,
    k: float = 1e-3,
    say: Callable[[str], None] | None = None,
) -> Found:
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
        rounds: how many, those before a resume included.
        batch: new strings a round.
        method: ``trust-region`` or ``box``.
        surrogate: ``exact``, ``sparse``, or ``auto``: exact in a trust region, and in a box up to 2,000 codes.
        density: a density, with ``log_prob``: (n, D) to (n,), and ``sample``. None: codes are proposed anywhere in the
            box.
        support: share of the training codes that lie in the density's tail, where nothing is proposed.
        keep: training codes of which the exact process learns: a third each are best, near the best, and any.
        floor: scores below this quantile of the training scores count as that quantile for the surrogate, which far
            outliers would else rule; by default 0.01 in a trust region, 0 in a box.
        draws: strings decoded of each code.
        spares: codes beyond each of the batch, which stand in for those whose string is known already.
        side: of the trust region at first, in units of the box.
        candidates: in the trust region, which are decoded, and among whose new strings Thompson's draws choose.
        explore: how far the draws deviate from the mean there, 1 being Thompson sampling proper (`region_batch`).
        starts: uniform codes from which the box's climbs begin.
        fit: settings of `fit_surrogate`: inducing, steps, batch_size, lr, iterations.
        strings: the training strings, for novelty and `retrain`; their scores are then known.
        seed: the same seed gives the same search.
        workers: processes that score; 1 means this one.
        timeout: seconds that a string's score may take; needs a process of its own.
        folder: where the state is written after every round: ``state.json`` and ``codes.safetensors``.
        resume: go on from the folder, to the same numbers as an uninterrupted search.
        overwrite: begin again where the folder holds a search.
        minimised: the scores are those of an objective that is minimised, with their sign turned; what is told and
            given back is in its own direction again.
        about: plain facts that a resumed search must share (the objective's name, say).
        retrain: of round, strings, scores and weights (`rank_weights`), called between rounds; it gives back a
            `Retrained`, or a tuple like it. A resumed search calls it again for every round that is done, with the same
            arguments, so let it keep its models.
        k: of the weights.
        say: takes a line a round.

    Raises:
        ValueError: settings out of range, codes, scores and strings that do not fit each other, a decoder that gives
            another number of lists than of codes, other settings than those of the search that is resumed.
        FileExistsError: the folder holds a search, and neither resume nor overwrite is said.
        FileNotFoundError: there is nothing to resume.
        ImportError: BoTorch is missing.
    """
    codes = check_codes(codes, what="search").to("cpu", torch.float64)
    scores = check_scores(scores, len(codes))
    strings = None if strings is None else list(strings)
    if strings is not None and len(strings) != len(codes):
        raise ValueError(f"there are {len(strings)} strings and {len(codes)} codes; expected as many")
    if not 0 <= explore < math.inf:
        raise ValueError(f"explore is {explore}; deviations are multiplied by 0 or more")
    _check(method, surrogate, rounds, batch, support, keep, floor, draws, spares, side, candidates, starts, seed)
    if retrain is not None and strings is None:
        raise ValueError("retraining needs the training strings; pass strings=")
    score_strings([], score, workers=workers, timeout=timeout)
    if workers > 1 or timeout is not None:
        check_importable(score)
    botorch()
    region = method == "trust-region"
    settings = {
        "about": about or {},
        "method": method,
        "surrogate": surrogate,
        "batch": batch,
        "support": support if density is not None else None,
        "keep": keep,
        "floor": floor if floor is not None else 0.01 if region else 0.0,
        "draws": draws,
        "spares": spares,
        "side": side,
        "candidates": candidates,
        "explore": explore,
        "starts": starts,
        "fit": fit or {},
        "seed": seed,
        "timeout": timeout,
        "retrain": k if retrain is not None else None,
        "data": fingerprint(codes, scores, *(strings or [])),
    }
    say = say or (lambda line: None)
    folder = None if folder is None else Path(folder)
    state = _Search(decode, codes, scores, density, Region(side), proposed=codes[:0])
    if folder is not None:
        _prepare(folder, settings, state, resume, overwrite)
    worst, best = float(scores.min()), float(scores.max())
    known = {} if strings is None else {s: Scored(v) for s, v in zip(strings, scores.tolist(), strict=True)}

    def retrained(number: int, rows: Sequence[Row]) -> None:
        assert retrain is not None
        assert strings is not None
        new = {row.string: row.score for row in rows if row.string and row.score is not None}
        new = {s: v for s, v in new.items() if s not in set(strings)}
        every, values = strings + list(new), torch.cat([scores, torch.tensor(list(new.values()), dtype=torch.float64)])
        made = Retrained(*retrain(number, every, values, rank_weights(values, k)))
        state.codes = check_codes(made.codes, what="search").to("cpu", torch.float64)
        state.scores = check_scores(made.scores, len(state.codes))
        state.decode, state.since = made.decode, len(rows)
        if density is not None and made.density is None:
            raise ValueError("the search is bounded by a density; retrain must give one of the new codes as well")
        state.density = made.density

    done = state.rows[-1].round if state.rows else 0
    if retrain is not None:
        for number in range(1, min(done, rounds - 1) + 1):
            retrained(number, [row for row in state.rows if row.round <= number])
    for number in range(done + 1, rounds + 1):
        generator = _generator(seed, number)
        proposed = _propose(state, settings, number, generator, worst, known.keys() | state.scored.keys())
        if not len(proposed):
            raise ArithmeticError(
                f"round {number}: no code was found where the density has mass that decodes to a string not yet known; "
                "lower support, or give no density"
            )
        lists = _decoded(state.decode, proposed, draws, int(torch.randint(2**31, (1,), generator=generator)))
        chosen = _choose(lists, batch, known.keys() | state.scored.keys())
        proposed, lists = proposed[chosen], [lists[i] for i in chosen]
        first = len(state.rows)
        rows = [
            Row(number, first + i, string, found.score, found.error)
            for i, (string, found) in enumerate(_evaluate(lists, score, known, state.scored, workers, timeout))
        ]
        former = max([best, *(row.score for row in state.rows if row.score is not None)])
        top = max([former, *(row.score for row in rows if row.score is not None)])
        better = top > former + 1e-3 * abs(former)
        state.region = state.region.after(better, dimension=codes.shape[1], batch=batch, start=side)
        state.rows = state.rows + rows
        state.proposed = torch.cat([state.proposed, proposed])
        if folder is not None:
            _save(folder, settings, state)
        valid, fresh = (sum(map(bool, a)) for a in ([r.valid for r in rows], _fresh(rows, state.rows[:first], strings)))
        told = [0.0 - r.score if minimised else r.score for r in rows if r.score is not None]
        peak = f"{(min if minimised else max)(told):.4g}" if told else "none"
        say(f"round {number}/{rounds}  best of it {peak}  valid {valid}/{len(rows)}  new {fresh}")
        if retrain is not None and number < rounds:
            retrained(number, state.rows)
    found = Found(tuple(state.rows), worst, best, None if strings is None else frozenset(strings))
    return _flipped(found) if minimised else found


def _fresh(rows: Sequence[Row], former: Sequence[Row], strings: Sequence[str] | None) -> list[bool]:
    """Which rows have a valid string that was not there before, in the data or in the search."""
    seen = {row.string for row in former} | set(strings or ())
    found = []
    for row in rows:
        found.append(row.valid and row.string not in seen)
        seen.add(row.string)
    return found


def _check(
    method: str, surrogate: str, rounds: int, batch: int, support: float, keep: int, floor: float | None, draws: int,
    spares: int, side: float, candidates: int, starts: int, seed: int,
) -> None:  # fmt: skip
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose from {', '.join(METHODS)}")
    if surrogate not in KINDS:
        raise ValueError(f"surrogate is {surrogate!r}; choose from {', '.join(KINDS)}")
    least = {"rounds": rounds, "batch": batch, "draws": draws, "candidates": candidates, "starts": starts}
    for name, value in least.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    if keep < 2:
        raise ValueError(f"keep is {keep}; expected at least 2")
    if spares < 0:
        raise ValueError(f"spares is {spares}; expected at least 0")
    for name, share in (("support", support), ("floor", floor)):
        if share is not None and not 0 <= share < 1:
            raise ValueError(f"{name} is {share}; expected a share from 0 to below 1")
    if not side > 0:
        raise ValueError(f"side is {side}; expected a length above 0, in units of the box")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected at least 0")


def _propose(
    state: _Search, settings: dict[str, Any], number: int, generator: torch.Generator, worst: float, known: Set[str]
) -> Tensor:
    """Codes to decode, the most promising first."""
    rows = state.rows[state.since :]
    x = torch.cat([state.codes, state.proposed[state.since :]])
    y = torch.cat([state.scores, torch.tensor([worst if r.score is None else r.score for r in rows]).to(state.scores)])
    old = len(state.codes)
    box = box_of(state.codes)
    allowed, fine = None, torch.ones(len(x), dtype=torch.bool)
    if state.density is not None:
        inside = _log_prob(state.density, state.codes)
        if inside.shape != (old,) or not inside.isfinite().any():
            raise ValueError(f"the density's log_prob of {old} codes has shape {tuple(inside.shape)}, or is not finite")
        least = float(inside.quantile(settings["support"]) if old < 10**7 else inside.min())
        allowed = lambda z: _log_prob(state.density, z) >= least  # noqa: E731
        fine = torch.cat([inside >= least, allowed(x[old:])]) if len(x) > old else inside >= least
    limit = float(state.scores.quantile(settings["floor"])) if settings["floor"] else -math.inf
    values = y.clamp_min(limit)
    region = settings["method"] == "trust-region"
    kind = "exact" if region and settings["surrogate"] == "auto" else resolve(settings["surrogate"], len(x))
    # the best code, or after a restart another of the best
    order = torch.where(fine, y, -math.inf).argsort(descending=True, stable=True)
    place = (state.region.restarts * settings["batch"]) % max(1, int(fine.sum()))
    centre = x[order[place]]
    seen = torch.arange(len(x))
    if kind == "exact":
        seen = _subset(x, y, old, settings["keep"], centre if region else None, box, generator)
    model = fit_surrogate(x[seen], values[seen], kind=kind, box=box, seed=settings["seed"] + number, **settings["fit"])
    wanted = settings["batch"] * (1 + settings["spares"])
    if region:
        return region_batch(
            model,
            wanted,
            generator,
            centre=centre,
            side=state.region.side,
            candidates=max(settings["candidates"], wanted),
            explore=settings["explore"],
            allowed=allowed,
            ways=_ways(state, x[order[: settings["keep"]]], generator),
            fresh=functools.partial(_unseen, state.decode, set(known), settings["seed"]),
        )
    return box_batch(model, wanted, generator, starts=settings["starts"], allowed=allowed)


def _ways(state: _Search, best: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where from and where to: from the best codes to each other, and to as many draws of the density."""
    if state.density is None:
        return best, best
    with torch.no_grad():
        drawn = state.density.sample(len(best), generator=generator)
    return best, torch.cat([best, drawn.to(best)])


def _decoded(decode: Decode, z: Tensor, draws: int, seed: int) -> list[Sequence[str | None]]:
    lists = list(decode(z, draws, seed))
    if len(lists) != len(z):
        raise ValueError(f"decode gave {len(lists)} lists of strings for {len(z)} codes; expected one a code")
    return lists


def _unseen(decode: Decode, seen: set[str], seed: int, z: Tensor) -> Tensor:
    """Which codes decode to a string that is neither known nor that of a code before."""
    fresh = torch.zeros(len(z), dtype=torch.bool)
    for i, candidates in enumerate(_decoded(decode, z, 1, seed)):
        if candidates and candidates[0] and candidates[0] not in seen:
            seen.add(candidates[0])
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
    seen = set(known)
    for i, candidates in enumerate(lists):
        ranked = _ranked(candidates)
        if ranked and ranked[0] not in seen:
            seen.add(ranked[0])
            new.append(i)
        else:
            rest.append(i)
    return sorted((new + rest)[:batch])


def _evaluate(
    lists: Sequence[Sequence[str | None]],
    score: Callable[[str], Any],
    known: dict[str, Scored],
    scored: dict[str, Scored],
    workers: int,
    timeout: float | None,
) -> list[tuple[str, Scored]]:
    """A string of each code with its score: the most frequent one that has any; where none has, the first failure.

    `known` are the training strings' scores; what is scored here is added to `scored`.
    """
    ranked = [_ranked(candidates)[:TRIES] for candidates in lists]
    found: list[tuple[str, Scored]] = [("", Scored(None, "the decoder gave no valid string"))] * len(lists)
    for turn in range(TRIES):
        open_ = [i for i, r in enumerate(ranked) if turn < len(r) and found[i][1].score is None]
        if not open_:
            break
        wanted = dict.fromkeys(ranked[i][turn] for i in open_)
        unknown = [s for s in wanted if s not in known and s not in scored]
        scored.update(zip(unknown, score_strings(unknown, score, workers=workers, timeout=timeout), strict=True))
        for i in open_:
            string = ranked[i][turn]
            result = known[string] if string in known else scored[string]
            if turn == 0 or result.score is not None:
                found[i] = string, result
    return found


def _prepare(folder: Path, settings: dict[str, Any], state: _Search, resume: bool, overwrite: bool) -> None:
    """The folder of a search: begun, or taken up."""
    path = folder / "state.json"
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a search needs a folder")
    if not resume:
        if path.is_file() and not overwrite:
            raise FileExistsError(f"{folder} holds a search; choose a new folder, or say overwrite or resume")
        _save(folder, settings, state)
        return
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no search to resume")
    try:
        kept = json.loads(path.read_text())
        if kept["format"] > FORMAT:
            raise ValueError(f"{path} was written by a newer chartae (format {kept['format']}); update chartae")
        former, rows, region = kept["settings"], [Row(**row) for row in kept["rows"]], Region(**kept["region"])
        scored = {string: Scored(*result) for string, result in kept["scored"].items()}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    for key, now in json.loads(json.dumps(settings)).items():
        if former.get(key) != now:
            raise ValueError(
                f"the search in {folder} has {key} = {former.get(key)!r}, this one {now!r}; resume needs the same"
            )
    tensors, _ = read_tensors(folder / "codes.safetensors", kind="search")
    proposed = tensors.get("codes")
    if proposed is None or proposed.shape[1:] != state.codes.shape[1:] or len(proposed) < len(rows):
        raise ValueError(f"{folder / 'codes.safetensors'} does not fit {path}; begin again with overwrite")
    state.rows, state.region, state.scored = rows, region, scored
    state.proposed = proposed[: len(rows)].to(torch.float64)


def _save(folder: Path, settings: dict[str, Any], state: _Search) -> None:
    # the codes first: until state.json names their rows, they do not count
    write_tensors(
        folder / "codes.safetensors", {"codes": state.proposed}, kind="search", facts={"rows": len(state.rows)}
    )
    kept = {
        "format": FORMAT,
        "settings": settings,
        "region": asdict(state.region),
        "rows": [asdict(row) for row in state.rows],
        "scored": state.scored,
    }
    replace_text(folder / "state.json", json.dumps(kept, indent=1))


def _flipped(found: Found) -> Found:
    """The same search with the scores' sign turned, nought without one: of an objective that is minimised."""
    rows = tuple(replace(row, score=None if row.score is None else 0.0 - row.score) for row in found.rows)
    worst, best = 0.0 - found.worst, 0.0 - found.best_known
    return replace(found, rows=rows, worst=worst, best_known=best, maximise=not found.maximise)
