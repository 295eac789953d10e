"""Context-free grammars: checked when they are made, compiled once, then strings to leftmost derivations and back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chartae.grammar import analysis
from chartae.grammar.derivations import Codec, Derivations, Description, Failure, checked, gather
from chartae.grammar.productions import Production, Terminal, read, read_lark

if TYPE_CHECKING:
    from chartae.grammar.earley import Tables

__all__ = ["PADDING", "Grammar"]

#: left side of the last production of every grammar, which fills rows of different lengths up
PADDING = "Nothing"

_BATCH = 8192


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(repr(str(n)) for n in names))


class Grammar(Codec):
    """A context-free grammar, as a codec of its strings.

    A string becomes the sequence of productions of its leftmost derivation (Kusner, Paige, Hernández-Lobato, "Grammar
    variational autoencoder", 2017, arXiv:1703.01925). The last production, ``Nothing ->``, is no part of the grammar:
    it is padding. Parsing is Earley's, so that left recursion and empty productions are allowed; productions that lead
    round in a circle (A => B => A) are not. Where a string has several derivations one is taken by rule, and marked:
    from the start symbol downwards, the production of least number, then each last symbol as short as it can be (so
    that 1+2+3 under E -> E '+' E is (1+2)+3).

    Args:
        productions: `Production` objects, or a text in either notation of `productions.read`.
        start: by default the left side of the first production.
        name: shown in messages.
        ignore: characters that are left out of strings before they are parsed, such as " ".
        useless: ``refuse`` nonterminals that are undefined, derive no string, or are not reached from the start; or
            ``mask`` their productions, which keep their numbers and are never used (as the paper's grammar of SMILES
            needs it).

    Attributes:
        productions: in their order, padding last; P = len(productions) = size.
        terminals, nonterminals: in order of appearance; the K-th nonterminal is `PADDING`.
        masks: (K, P) bool: the productions that can be used for each nonterminal.
        costs: (K,) fewest productions that derive a string from each nonterminal.

    Raises:
        ValueError: what is wrong with the grammar, and what to do.

    >>> g = Grammar("S -> S '+' T | T  \\n T -> 'x' | '1'")
    >>> g
    Grammar('grammar': 5 productions (1 padding), 3 nonterminals, 3 terminals, start S)
    >>> [row.tolist() for row in g.encode(["x+1", "x"])]
    [[0, 1, 2, 3], [1, 2]]
    >>> g.decode([[0, 1, 2, 3]])
    ['x+1']
    """

    def __init__(
        self,
        productions: str | Sequence[Production],
        start: str | None = None,
        *,
        name: str = "grammar",
        ignore: str = "",
        useless: str = "refuse",
    ) -> None:
        given = read(productions) if isinstance(productions, str) else list(productions)
        if given and given[-1].lhs == PADDING and all(PADDING not in p.rhs for p in given):
            given.pop()  # texts of the paper's grammars have the padding written out
        if not given:
            raise ValueError(f"{name} has no productions; give at least one, such as \"S -> 'a'\"")
        if useless not in ("refuse", "mask"):
            raise ValueError(f"useless is {useless!r}; expected 'refuse' or 'mask'")
        if clash := {PADDING} & {s for p in given for s in (p.lhs, *p.rhs) if not isinstance(s, Terminal)}:
            raise ValueError(f"{name} uses {_listed(clash)}, which is the name of the padding; rename it")
        self.name, self.ignore = name, ignore
        self.start = given[0].lhs if start is None else start
        self.productions = (*given, Production(PADDING, ()))
        self.nonterminals = tuple(dict.fromkeys(p.lhs for p in self.productions))
        self.terminals = tuple(dict.fromkeys(str(s) for p in given for s in p.rhs if isinstance(s, Terminal)))
        self.size, self.padding = len(self.productions), len(given)
        if self.size > 65_536:
            raise ValueError(f"{name} has {self.size:,} productions; at most 65,536 can be numbered in 16 bits")
        self._check(useless)
        self.masks: np.ndarray = np.zeros((len(self.nonterminals), self.size), dtype=bool)
        for p, (lhs, _) in enumerate(self.rules):
            self.masks[lhs, p] = self._live[p] or p == self.padding

    @classmethod
    def from_lark(cls, text_or_path: str | os.PathLike[str], start: str | None = None, **settings: str) -> Grammar:
        """From a grammar in lark's notation: a path that ends in ``.lark``, or a text (see `productions.read_lark`)."""
        path = Path(text_or_path) if str(text_or_path).endswith(".lark") else None
        text = path.read_text(encoding="utf-8") if path else str(text_or_path)
        settings = {"name": path.stem} | settings if path else settings
        try:
            productions, start, ignored = read_lark(text, start)
        except ValueError as e:
            raise ValueError(f"{path}: {e}" if path else str(e)) from e
        return cls(productions, start, **({"ignore": ignored} | settings))

    def _check(self, useless: str) -> None:
        number = {n: k for k, n in enumerate(self.nonterminals)}
        if self.start not in number:
            raise ValueError(
                f"{self.name}: the start symbol {self.start!r} has no production; give one of {_listed(number)}"
            )
        twice = {p for p in self.productions if self.productions.count(p) > 1} if self.size < 2000 else set()
        if twice:
            raise ValueError(
                f"{self.name} has a production twice, so that its strings are ambiguous: {next(iter(twice))}"
            )
        undefined = {s for p in self.productions for s in p.rhs if not isinstance(s, Terminal) and s not in number}
        if undefined and useless == "refuse":
            where = next(p for p in self.productions if undefined & set(p.rhs))
            raise ValueError(
                f"{self.name}: {_listed(undefined)} has no production (used in: {where}). Define it, put it in quotes"
                " if it is a terminal, or pass useless='mask' to leave out what needs it"
            )
        extra = len(self.nonterminals)  # one nonterminal without productions stands for all that are undefined
        of = {t: extra + 1 + i for i, t in enumerate(self.terminals)}
        rules = [
            (number[p.lhs], tuple(of[str(s)] if isinstance(s, Terminal) else number.get(s, extra) for s in p.rhs))
            for p in self.productions
        ]
        least, each = analysis.costs(rules, extra + 1)
        if least[number[self.start]] >= analysis.UNREACHED:
            raise ValueError(
                f"{self.name}: the language is empty: no derivation from {self.start!r} ends. Give it an alternative of"
                " terminals, or of nonterminals that end"
            )
        endless = [n for n, k in number.items() if least[k] >= analysis.UNREACHED]
        live = each < analysis.UNREACHED
        reached = analysis.reachable([r for r, a in zip(rules, live, strict=True) if a], extra + 1, number[self.start])
        lost = [n for n, k in number.items() if k not in reached and n != PADDING and n not in endless]
        if useless == "refuse" and endless:
            raise ValueError(
                f"{self.name}: no derivation from {_listed(endless)} ends. Give it an alternative without itself,"
                " remove it, or pass useless='mask'"
            )
        if useless == "refuse" and lost:
            raise ValueError(
                f"{self.name}: {_listed(lost)} is not reached from the start symbol {self.start!r}. Remove it, use it,"
                " name another start, or pass useless='mask'"
            )
        self._live = live & np.array([k in reached for k, _ in rules])
        circle = analysis.cycle([r for r, a in zip(rules, self._live, strict=True) if a], extra + 1)
        if circle:
            path = " => ".join(self.nonterminals[a] for a in [*circle, circle[0]])
            raise ValueError(
                f"{self.name}: {path} derives itself, so that strings have no end of derivations; remove the circle"
            )
        # k < K is a nonterminal, K + t a terminal, -1 what is undefined
        self.rules = [(lhs, tuple(s if s < extra else s - 1 if s > extra else -1 for s in rhs)) for lhs, rhs in rules]
        self.costs = least[:extra]
        self.production_costs = each
        if overlap := [c for c in self.ignore if any(c in t for t in self.terminals)]:
            raise ValueError(f"{self.name}: ignore has {overlap[0]!r}, but a terminal has it too; take it out of one")

    def __repr__(self) -> str:
        return (
            f"Grammar({self.name!r}: {self.size} productions (1 padding), {len(self.nonterminals)} nonterminals,"
            f" {len(self.terminals)} terminals, start {self.start})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grammar):
            return NotImplemented
        return (self.productions, self.start, self.ignore) == (other.productions, other.start, other.ignore) and bool(
            (self.masks == other.masks).all()
        )

    def __hash__(self) -> int:
        return hash((self.productions, self.start, self.ignore))

    @property
    def language(self) -> str:
        """Its own, by its name."""
        return self.name

    def described(self) -> Description:
        return {"grammar": self.name, "text": self.text, "start": self.start, "ignore": self.ignore}

    @property
    def text(self) -> str:
        """The grammar as a production list, without the padding: one production a line, in order."""
        return "\n".join(str(p) for p in self.productions[:-1])

    @property
    def lhs(self) -> np.ndarray:
        """(P,) the nonterminal on the left of each production."""
        return np.array([lhs for lhs, _ in self.rules])

    # -- parsing ---------------------------------------------------------------------------------------------

    @cached_property
    def _tables(self) -> Tables:
        from chartae.grammar import earley

        k, t = len(self.nonterminals), len(self.terminals)
        coded = [s.encode() for s in self.terminals]
        symbol: list[int] = []
        rule: list[int] = []
        dot: list[int] = []
        for p, (_, rhs) in enumerate(self.rules):
            dot.append(len(symbol))
            symbol += [*rhs, -1]
            rule += [p] * (len(rhs) + 1)
        used = [p for p in range(self.size) if self._live[p]]
        usable = np.zeros((len(symbol), t + 2), dtype=np.uint8)
        table = analysis.viable([self.rules[p] for p in used], k, coded, self.nonterminals.index(self.start))
        usable[np.concatenate([np.arange(dot[p], dot[p] + len(self.rules[p][1]) + 1) for p in used])] = table
        step, accept = _trie(coded)
        options = [[p for p in used if self.rules[p][0] == a] for a in range(k)]
        prefix = np.array([[u.startswith(v) for v in coded] for u in coded], dtype=np.uint8).reshape(-1)
        i32 = np.int32
        return earley.Tables(
            symbol=np.array(symbol, i32),
            rule=np.array(rule, i32),
            lhs=np.where(self._live, self.lhs, -1).astype(i32),
            dot=np.array(dot, i32),
            options=np.array([p for o in options for p in o], i32),
            option=np.cumsum([0, *map(len, options)]).astype(i32),
            viable=usable.reshape(-1),
            step=step,
            accept=accept,
            length=np.array([len(c) for c in coded], i32),
            prefix=prefix,
            place=np.cumsum([0, *map(len, coded)]).astype(i32),
            bytes=np.frombuffer(b"".join(coded), np.uint8),
            sizes=np.array([k, t, self.nonterminals.index(self.start), self.padding], np.int64),
        )

    def _reduced(self, string: str) -> str:
        return string.translate({ord(c): None for c in self.ignore}) if self.ignore else string

    def encode(
        self, strings: Sequence[str], *, errors: str = "raise", ambiguous: str = "resolve", workers: int = 1
    ) -> Derivations:
        """Leftmost derivations of strings.

        Args:
            strings: a list of N strings.
            errors: ``raise`` for the first string outside the grammar, or ``skip`` those (`Derivations.failures` has
                them, `Derivations.kept` the numbers of the others).
            ambiguous: ``resolve`` several derivations by the rule of the class, or ``refuse`` such strings as errors.
            workers: threads, each with its share of the strings; they run side by side where numba is installed.

        Raises:
            ValueError: the first string outside the grammar: its number, the place, what was found there, and the
                terminals that could have followed.
        """
        listed = checked(strings, errors)
        if ambiguous not in ("resolve", "refuse"):
            raise ValueError(f"ambiguous is {ambiguous!r}; expected 'resolve' or 'refuse'")
        if workers < 1:
            raise ValueError(f"workers is {workers}; expected at least 1")
        reduced = [self._reduced(s) for s in listed] if self.ignore else listed
        parts = [reduced[i : i + _BATCH] for i in range(0, len(reduced), _BATCH)]
        from chartae.grammar import running

        if workers > 1 and len(parts) > 1:
            with ThreadPoolExecutor(workers) as pool:
                done = list(pool.map(lambda part: running.parse(self._tables, part), parts))
        else:
            done = [running.parse(self._tables, part) for part in parts]
        status = np.concatenate([np.zeros(0, np.uint8), *(d.status for d in done)])
        double = status == running.AMBIGUOUS
        bad = (status == running.OUTSIDE) | (double & (ambiguous == "refuse"))
        failures = []
        for i in np.flatnonzero(bad):
            where = int(done[i // _BATCH].where[i % _BATCH])
            failure = self._failure(int(i), listed[i], where, bool(double[i]))
            if errors == "raise":
                if double[i]:
                    raise ValueError(
                        f"{self.name}: string {i} ({listed[i][:60]!r}) has several derivations. Pass"
                        " ambiguous='resolve' to take one by rule, or make the grammar unambiguous"
                    )
                raise ValueError(f"{self.name}: {failure}; correct or remove it, or pass errors='skip'")
            failures.append(failure)
        flat = np.concatenate([np.zeros(0, np.uint8), *(d.flat for d in done)])
        if self.size > 256 and flat.dtype == np.uint8:
            flat = flat.astype(np.uint16)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, int), *(d.lengths for d in done)]))])
        everything = Derivations(flat, offsets, np.arange(len(listed)), (), double)
        if not failures:
            return everything
        kept = everything[np.flatnonzero(~bad)]
        assert isinstance(kept, Derivations)
        return Derivations(kept.flat, kept.offsets, kept.kept, tuple(failures), kept.ambiguous)

    def _failure(self, index: int, string: str, where: int, double: bool) -> Failure:
        if double:
            return Failure(index, string, 0, string, ("a string with one derivation",))
        from chartae.grammar import running

        reduced = self._reduced(string).encode()
        terminals, whole = running.expected(self._tables, reduced)
        place = len(reduced[:where].decode(errors="ignore"))
        # the place in the string as it was given: the ignored characters before it count
        kept = [i for i, c in enumerate(string) if c not in self.ignore]
        place = kept[place] if place < len(kept) else len(string)
        found = string[place : place + 1]
        names = (*(self.terminals[t] for t in terminals), *(("the end",) if whole else ()))
        return Failure(index, string, place, found, names)

    # -- printing --------------------------------------------------------------------------------------------

    def decode(
        self,
        sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray],
        *,
        incomplete: str = "raise",
    ) -> list[str]:
        """Strings of derivations; padding at the end of a row is skipped.

        Args:
            sequences: `Derivations`, a padded (N, T) array of production numbers, or rows.
            incomplete: ``raise`` where nonterminals remain at the end, or give the ``empty`` string, as the
                paper's code does.

        Raises:
            ValueError: a production that does not belong to the leftmost nonterminal: its sequence and step.
        """
        if incomplete not in ("raise", "empty"):
            raise ValueError(f"incomplete is {incomplete!r}; expected 'raise' or 'empty'")
        from chartae.grammar import running

        given = gather(sequences)
        texts, status, where = running.expand(self._tables, self._right, given)
        for i in np.flatnonzero(status).tolist():
            if status[i] == running.INCOMPLETE and incomplete == "empty":
                texts[i] = ""
                continue
            said = (
                "ends although nonterminals remain"
                if status[i] == running.INCOMPLETE
                else self._misplaced(given, i, where)
            )
            raise ValueError(f"{self.name}: derivation {i} {said}")
        return texts

    @cached_property
    def _right(self) -> np.ndarray:
        """All right sides, last symbol first, behind the P + 1 places at which they begin."""
        parts = [rhs[::-1] for _, rhs in self.rules]
        begins = np.cumsum([self.size + 1, *map(len, parts)])
        return np.concatenate([begins, np.array([s for p in parts for s in p], int)]).astype(np.int32)

    def _misplaced(self, given: Derivations, i: int, where: np.ndarray) -> str:
        row = given[int(i)]
        assert isinstance(row, np.ndarray)
        step = int(where[i])
        p = int(row[step])
        if p >= self.size:
            return f"has the production {p} at step {step}; the grammar has 0 to {self.size - 1}"
        if not self.masks[:, p].any():
            return f"has the production {p} ({self.productions[p]}) at step {step}, from which no string can be derived"
        return f"has the production {p} ({self.productions[p]}) at step {step}, where another nonterminal is leftmost"


def _trie(terminals: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Transitions (256 * nodes,) and the terminal that ends at each node."""
    steps, accept = [[-1] * 256], [-1]
    for t, word in enumerate(terminals):
        node = 0
        for byte in word:
            if steps[node][byte] < 0:
                steps[node][byte] = len(steps)
                steps.append([-1] * 256)
                accept.append(-1)
            node = steps[node][byte]
        accept[node] = t
    return np.array(steps, np.int32).reshape(-1), np.array(accept, np.int32)
