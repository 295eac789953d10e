"""Searches without a model of the scores, as controls of a latent search under the same budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from chartae.grammar import Grammar, Terminal
from chartae.optimise.goals import is_minimised
from chartae.optimise.history import History, Row
from chartae.optimise.identity import Identities, Known
from chartae.optimise.surrogates import check_scores
from chartae.optimise.workers import Score, score_strings

__all__ = ["evolve", "random_search"]

#: strings that are proposed for each one that is still to be scored, before a search without new strings gives up
PROPOSALS = 1000


class _Tally:
    """The strings that a search has scored, and those that it must not score."""

    def __init__(
        self, strings: Sequence[str], scores: object, score: Score, known: Known, calls: int, batch: int, workers: int
    ) -> None:  # fmt: skip
        for name, value in (("calls", calls), ("batch", batch)):
            if value < 1:
                raise ValueError(f"{name} is {value}; expected a number of strings to score, >= 1.")
        if not strings:
            raise ValueError("strings is empty; expected the training strings with their scores.")
        self.scores = check_scores(torch.as_tensor(scores, dtype=torch.float64), len(strings))
        self.score, self.calls, self.batch, self.workers = score, calls, batch, workers
        self.identities = Identities(known.identity)
        self.known = {*self.identities.of(strings), *self.identities.of(known.strings)}
        self.taken = set(self.known)
        self.rows: list[Row] = []
        self.proposed = 0

    @property
    def wanted(self) -> int:
        """Number of new strings in the next round; 0 at the end, or if hardly any proposal is new."""
        return 0 if self.proposed > PROPOSALS * self.calls else min(self.batch, self.calls - len(self.rows))

    def is_new(self, string: str) -> bool:
        """Whether a string is neither known nor proposed before; from now on it has been."""
        self.proposed += 1
        identity = self.identities[string]
        if not string or identity in self.taken:
            return False
        self.taken.add(identity)
        return True

    def evaluate(self, strings: Sequence[str]) -> list[Row]:
        """Score the new strings of a round."""
        results = score_strings(strings, self.score, workers=self.workers)
        first, number = len(self.rows), self.rows[-1].round + 1 if self.rows else 1
        pairs = enumerate(zip(strings, results, strict=True), first)
        rows = [Row(number, i, string, result.score, result.error) for i, (string, result) in pairs]
        self.rows += rows
        return rows

    def history(self) -> History:
        worst, best = float(self.scores.min()), float(self.scores.max())
        calls = tuple(row.score for row in self.rows)
        history = History(tuple(self.rows), worst, best, len(self.known), calls=calls)
        return history.flipped() if is_minimised(self.score) else history


def random_search(
    draw: Callable[[int, int], Sequence[str]],
    strings: Sequence[str],
    scores: object,
    score: Score,
    *,
    calls: int = 250,
    batch: int = 50,
    known: Known | None = None,
    seed: int = 0,
    workers: int = 1,
) -> History:
    """Score strings that are drawn at random, such as samples of a model.

    It says what a latent search owes to the model alone: a search that finds no better strings than this one has
    learnt nothing from the scores.

    Args:
        draw: function of a number and a seed that returns as many strings; "" is invalid.
        strings: N training strings, which are known.
        scores: finite scores (N,) of the training strings; greater is better.
        score: function from a string to a number, or to None; greater is better. If it is a `Goal` that is minimised,
            the result has its sign.
        calls: number of new strings that are scored, >= 1; default 250.
        batch: number of new strings in a round, >= 1; default 50.
        known: further strings that are known, and when two strings are the same; default: none. Known strings are
            neither scored nor reported.
        seed: seed, >= 0; default 0.
        workers: number of processes that score strings, >= 1; default 1.

    Returns:
        The scored strings: fewer than `calls` if hardly any draw is new.

    Raises:
        ValueError: no strings, scores of another length or not finite, or a count below 1.

    >>> from chartae.optimise import random_search
    >>> history = random_search(lambda n, seed: [str(seed % 1000 + i) for i in range(n)], ["5"], [5.0], float, calls=3)
    >>> len(history.rows), history.best_new.string == str(int(max(history.calls)))
    (3, True)
    """
    tally = _Tally(strings, scores, score, known or Known(), calls, batch, workers)
    seeds = np.random.SeedSequence(seed)
    fresh: list[str] = []
    while wanted := tally.wanted:
        if len(fresh) < wanted:
            drawn = draw(batch, int(seeds.spawn(1)[0].generate_state(1)[0]))
            fresh += [string for string in drawn if tally.is_new(string)]
        else:
            tally.evaluate(fresh[:wanted])
            fresh = fresh[wanted:]
    return tally.history()


def evolve(
    grammar: Grammar,
    strings: Sequence[str],
    scores: object,
    score: Score,
    *,
    calls: int = 250,
    batch: int = 50,
    population: int = 100,
    mutation: float = 0.5,
    known: Known | None = None,
    seed: int = 0,
    workers: int = 1,
) -> History:
    """A genetic algorithm over derivations, a control for latent searches that has no model at all.

    The population are the best strings so far. A child is the derivation of one of them in which the subtree of a
    random nonterminal is replaced by a subtree of the same nonterminal from another derivation: from the population
    (crossover), or, with probability `mutation`, from a random training string. Parents are drawn with the weights
    (P - rank) of linear ranking. Derivations are no longer than the longest one of the training strings. It is
    grammar-guided genetic programming (Whigham, "Grammatically-based genetic programming", 1995) with the training
    strings as its first generation.

    Args:
        grammar: grammar of the strings.
        strings: N training strings in the grammar's language, which are known.
        scores: finite scores (N,) of the training strings; greater is better.
        score: function from a string to a number, or to None; greater is better. If it is a `Goal` that is minimised,
            the result has its sign.
        calls: number of new strings that are scored, >= 1; default 250.
        batch: number of children in a generation, >= 1; default 50.
        population: number of strings that have children, >= 2; default 100.
        mutation: probability of a partner from the training strings, in [0, 1]; default 0.5.
        known: further strings that are known, and when two strings are the same; default: none. Known strings are
            neither scored nor reported.
        seed: seed, >= 0; default 0.
        workers: number of processes that score strings, >= 1; default 1.

    Returns:
        The scored strings: fewer than `calls` if hardly any child is new.

    Raises:
        ValueError: no strings, a string outside the language, scores of another length or not finite, or a number out
            of range.

    >>> from chartae.grammar import load
    >>> from chartae.optimise import evolve, goal
    >>> strings = ["x+1", "x*x", "sin(x)+2", "x/3", "x+sin(x)", "exp(x)"]
    >>> score = goal("expression-fit")
    >>> history = evolve(load("expressions"), strings, [score(s) for s in strings], score, calls=40, batch=10,
    ...                  population=6)
    >>> len(history.rows), history.best_new.score < history.best_known
    (40, True)
    """
    if population < 2 or not 0 <= mutation <= 1:
        raise ValueError(f"population is {population} and mutation {mutation}; expected >= 2 and a number in [0, 1].")
    tally = _Tally(strings, scores, score, known or Known(), calls, batch, workers)
    trees = _Trees(grammar)
    data = list(grammar.encode(list(strings)))
    longest = max(map(len, data))
    order = tally.scores.argsort(descending=True, stable=True)[:population].tolist()
    parents = [(float(tally.scores[i]), data[i]) for i in order]
    rng = np.random.default_rng(seed)
    children: dict[str, np.ndarray] = {}
    while wanted := tally.wanted:
        if len(children) < wanted:
            weights = np.arange(len(parents), 0, -1.0)
            a, b = rng.choice(len(parents), 2, p=weights / weights.sum())
            partner = data[rng.integers(len(data))] if rng.random() < mutation else parents[b][1]
            child = trees.crossed(parents[a][1], partner, rng)
            text = grammar.decode([child])[0] if len(child) <= longest else ""
            if tally.is_new(text):
                children[text] = child
        else:
            rows = tally.evaluate(list(children))
            parents += [(row.score, children[row.string]) for row in rows if row.score is not None]
            parents = sorted(parents, key=lambda parent: -parent[0])[:population]
            children = {}
    return tally.history()


class _Trees:
    """Subtrees of leftmost derivations, which are slices of their productions."""

    def __init__(self, grammar: Grammar) -> None:
        self.left = np.array([grammar.nonterminals.index(p.lhs) for p in grammar.productions])
        self.children = np.array([sum(not isinstance(s, Terminal) for s in p.rhs) for p in grammar.productions])

    def end(self, derivation: np.ndarray, begin: int) -> int:
        """The end of the subtree that begins at a step."""
        remaining = 1 + np.cumsum(self.children[derivation[begin:]] - 1)  # nonterminals to expand after each step
        return begin + 1 + int((remaining == 0).argmax())

    def crossed(self, a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Derivation `a` with the subtree of a nonterminal that `b` has too replaced by such a subtree of `b`."""
        i = int(rng.choice(np.flatnonzero(np.isin(self.left[a], self.left[b]))))
        j = int(rng.choice(np.flatnonzero(self.left[b] == self.left[a[i]])))
        return np.concatenate([a[:i], b[j : self.end(b, j)], a[self.end(a, i) :]])
