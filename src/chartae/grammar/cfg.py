"""Context-free grammars: checked when they are built, and codecs between strings and leftmost derivations."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chartae.grammar import analysis
from chartae.grammar.derivations import Codec, Derivations, Description, Failure, checked, gather
from chartae.grammar.productions import Production, Terminal, read, read_lark
from chartae.records.files import LINE, quoted

if TYPE_CHECKING:
    from chartae.grammar.earley import Tables

__all__ = ["PADDING", "Grammar"]

#: left side of the last production of every grammar, which pads rows to a common length
PADDING = "Nothing"

_BATCH = 8192

#: cells of the largest table of a grammar, and characters of a terminal
MOST_CELLS, MOST_TERMINAL = 1 << 24, 1000


def _listed(names: Iterable[str]) -> str:
    listed = sorted(quoted(str(n)) for n in names)
    return ", ".join(listed[:20]) + (f", ... ({len(listed):,})" if len(listed) > 20 else "")


def _shown(production: Production) -> str:
    return str(production)[:LINE]


class Grammar(Codec):
    """A context-free grammar, as a codec between strings and leftmost derivations.

    A string is encoded as the sequence of productions of its leftmost derivation (Kusner, Paige, Hernández-Lobato,
    "Grammar variational autoencoder", 2017, arXiv:1703.01925). The last production, ``Nothing ->``, does not belong to
    the language: it pads sequences to a common length.

    Strings are parsed by Earley's algorithm, which allows left recursion and empty productions. Cycles (A => B => A)
    are refused. If a string has several derivations, `encode` takes one by rule and marks the string as ambiguous: from
    the start symbol downwards, it takes the production of the smallest number, and then the derivation in which each
    last symbol is as short as possible. So 1+2+3 under E -> E '+' E is read as (1+2)+3.

    Args:
        productions: a sequence of `Production`, or a text. A text with ``->`` is a production list, one left side a
            line (``S -> S '+' T | T``); any other text is EBNF (``s = t {'+' t};``).
        start: start symbol; by default the left side of the first production.
        name: name of the grammar in messages and in saved runs.
        ignore: characters that are removed from strings before parsing, such as ``" "``; default none.
        useless: what to do with nonterminals that are undefined, derive no string, or are not reached from the start
            symbol: ``"refuse"`` (default) raises ValueError; ``"mask"`` keeps their productions, which keep their
            numbers but are never used. The paper's grammar of SMILES needs ``"mask"``.

    Attributes:
        productions: the productions in their order, padding last; P = len(productions) = size.
        terminals: terminal symbols in order of appearance.
        nonterminals: K nonterminals in order of appearance; the last one, ``Nothing``, is that of the padding.
        masks: (K, P) bool, the productions that can be used for each nonterminal.
        costs: (K,) int, the fewest productions that derive a string from each nonterminal.

    Raises:
        ValueError: the text cannot be read, or the grammar has undefined, endless or unreached nonterminals, an empty
            language, a cycle, or a production twice. The message names them and says what to change.

    >>> from chartae.grammar import Grammar
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
        rules = read(productions) if isinstance(productions, str) else list(productions)
        if rules and rules[-1].lhs == PADDING and all(PADDING not in p.rhs for p in rules):
            rules.pop()  # the texts of the paper's grammars include the padding
        if not rules:
            raise ValueError(f"{name} has no productions; expected at least one, such as \"S -> 'a'\"")
        if useless not in ("refuse", "mask"):
            raise ValueError(f"useless is {useless!r}; expected 'refuse' or 'mask'")
        if clash := {PADDING} & {s for p in rules for s in (p.lhs, *p.rhs) if not isinstance(s, Terminal)}:
            raise ValueError(f"{name} has a symbol {_listed(clash)}, which is the name of the padding. Rename it.")
        self.name, self.ignore = name, ignore
        self.start = rules[0].lhs if start is None else start
        self.productions = (*rules, Production(PADDING, ()))
        self.nonterminals = tuple(dict.fromkeys(p.lhs for p in self.productions))
        self.terminals = tuple(dict.fromkeys(str(s) for p in rules for s in p.rhs if isinstance(s, Terminal)))
        self.size, self.padding = len(self.productions), len(rules)
        if self.size > 65_536:
            raise ValueError(
                f"{name} has {self.size:,} productions with the padding; expected at most 65,536, which 16 bits can"
                " number"
            )
        self._check_sizes()
        self._check(useless)
        self.masks: np.ndarray = np.zeros((len(self.nonterminals), self.size), dtype=bool)
        for p, (lhs, _) in enumerate(self.rules):
            self.masks[lhs, p] = self._live[p] or p == self.padding

    @classmethod
    def from_lark(cls, text_or_path: str | os.PathLike[str], start: str | None = None, **settings: str) -> Grammar:
        """Read a grammar in lark's notation. Needs the package lark (``chartae[grammar]``).

        Terminals are strings, or regular expressions of characters, classes, groups, alternatives and repetitions.

        Args:
            text_or_path: path of a file that ends in ``.lark``, or the text itself.
            start: start symbol; by default the rule ``start``, or the first rule.
            settings: further arguments of the constructor: `name`, `ignore`, `useless`. By default the characters of
                the text's ``%ignore`` lines are ignored, and the name is that of the file.

        Returns:
            The grammar.

        Raises:
            ValueError: lark cannot read the text, or the grammar is not valid.
            ImportError: lark is not installed.
        """
        path = Path(text_or_path) if str(text_or_path).endswith(".lark") else None
        settings = {"name": path.stem} | settings if path else settings
        try:
            text = path.read_text(encoding="utf-8") if path else str(text_or_path)
            productions, start, ignored = read_lark(text, start)
        except ValueError as e:
            raise ValueError(f"{path}: {e}" if path else str(e)) from e
        return cls(productions, start, **({"ignore": ignored} | settings))

    def _check_sizes(self) -> None:
        """Raise ValueError if the tables of parser and decoder would be too large."""
        k, t, p = len(self.nonterminals), len(self.terminals), self.size
        dots = sum(len(q.rhs) + 1 for q in self.productions)
        longest = max(len(q.rhs) for q in self.productions)
        cells = max(k * p, (k + t) * t, p * longest, dots * (t + 2) // 4)
        if cells > MOST_CELLS or max(map(len, self.terminals), default=0) > MOST_TERMINAL:
            raise ValueError(
                f"{self.name} has {k:,} nonterminals, {t:,} terminals, {p:,} productions and {dots - p:,} symbols, and"
                f" so a table of {cells:,} cells; expected at most {MOST_CELLS:,}, and terminals of at most"
                f" {MOST_TERMINAL:,} characters. Use a smaller grammar."
            )

    def _check(self, useless: str) -> None:
        number = {n: k for k, n in enumerate(self.nonterminals)}
        if self.start not in number:
            raise ValueError(
                f"{self.name}: the start symbol {quoted(self.start)} has no production; expected one of"
                f" {_listed(number)}"
            )
        twice = next((p for p, count in Counter(self.productions).items() if count > 1), None)
        if twice is not None:
            raise ValueError(
                f"{self.name} has a production twice, which makes its strings ambiguous: {_shown(twice)}. Remove one"
                " of the two."
            )
        undefined = {s for p in self.productions for s in p.rhs if not isinstance(s, Terminal) and s not in number}
        if undefined and useless == "refuse":
            where = next(p for p in self.productions if undefined & set(p.rhs))
            raise ValueError(
                f"{self.name}: {_listed(undefined)} has no production (used in: {_shown(where)}). Define it,"
                f" put it in quotes"
                " if it is a terminal, or pass useless='mask' to disable the productions that need it."
            )
        extra = len(self.nonterminals)  # one nonterminal without productions stands for all undefined ones
        terminal = {t: extra + 1 + i for i, t in enumerate(self.terminals)}
        rules = [
            (number[p.lhs], tuple(terminal[str(s)] if isinstance(s, Terminal) else number.get(s, extra) for s in p.rhs))
            for p in self.productions
        ]
        least, each = analysis.costs(rules, extra + 1)
        if least[number[self.start]] >= analysis.UNREACHED:
            raise ValueError(
                f"{self.name}: the language is empty, because no derivation from {quoted(self.start)} ends. Give it an"
                " alternative of terminals, or of nonterminals whose derivations end."
            )
        endless = [n for n, k in number.items() if least[k] >= analysis.UNREACHED]
        live = each < analysis.UNREACHED
        reached = analysis.reachable([r for r, a in zip(rules, live, strict=True) if a], extra + 1, number[self.start])
        unreached = [n for n, k in number.items() if k not in reached and n != PADDING and n not in endless]
        if useless == "refuse" and endless:
            raise ValueError(
                f"{self.name}: no derivation from {_listed(endless)} ends. Give it an alternative without itself,"
                " remove it, or pass useless='mask'."
            )
        if useless == "refuse" and unreached:
            raise ValueError(
                f"{self.name}: {_listed(unreached)} is not reached from the start symbol {quoted(self.start)}."
                f" Remove it, use"
                " it, pass another start, or pass useless='mask'."
            )
        self._live = live & np.array([k in reached for k, _ in rules])
        cycle = analysis.cycle([r for r, a in zip(rules, self._live, strict=True) if a], extra + 1)
        if cycle:
            path = " => ".join(self.nonterminals[a] for a in [*cycle, cycle[0]])
            raise ValueError(
                f"{self.name}: {path[:LINE]} derives itself, which gives strings infinitely many derivations."
                f" Remove one of"
                " the productions of this cycle."
            )
        # k < K is a nonterminal, K + t a terminal, -1 an undefined symbol
        self.rules = [(lhs, tuple(s if s < extra else s - 1 if s > extra else -1 for s in rhs)) for lhs, rhs in rules]
        self.costs = least[:extra]
        self.production_costs = each
        if overlap := [c for c in self.ignore if any(c in t for t in self.terminals)]:
            raise ValueError(
                f"{self.name}: ignore has {overlap[0]!r}, but a terminal contains it too. Remove it from one of them."
            )

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
        """The name of the grammar."""
        return self.name

    def described(self) -> Description:
        """The grammar's name, text, start symbol and ignored characters."""
        return {"grammar": self.name, "text": self.text, "start": self.start, "ignore": self.ignore}

    @property
    def text(self) -> str:
        """The grammar as a production list without the padding, one production a line, in order."""
        return "\n".join(str(p) for p in self.productions[:-1])

    @property
    def lhs(self) -> np.ndarray:
        """(P,) int, the nonterminal on the left side of each production."""
        return np.array([lhs for lhs, _ in self.rules])

    # -- parsing ---------------------------------------------------------------------------------------------

    @cached_property
    def _tables(self) -> Tables:
        from chartae.grammar import earley

        k, t = len(self.nonterminals), len(self.terminals)
        encoded = [s.encode() for s in self.terminals]
        symbol: list[int] = []
        rule: list[int] = []
        dot: list[int] = []
        for p, (_, rhs) in enumerate(self.rules):
            dot.append(len(symbol))
            symbol += [*rhs, -1]
            rule += [p] * (len(rhs) + 1)
        used = [p for p in range(self.size) if self._live[p]]
        usable = np.zeros((len(symbol), t + 2), dtype=np.uint8)
        table = analysis.viable([self.rules[p] for p in used], k, encoded, self.nonterminals.index(self.start))
        usable[np.concatenate([np.arange(dot[p], dot[p] + len(self.rules[p][1]) + 1) for p in used])] = table
        step, accept = _trie(encoded)
        options = [[p for p in used if self.rules[p][0] == a] for a in range(k)]
        prefix = analysis.prefixes(encoded).astype(np.uint8).reshape(-1)
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
            length=np.array([len(c) for c in encoded], i32),
            prefix=prefix,
            place=np.cumsum([0, *map(len, encoded)]).astype(i32),
            bytes=np.frombuffer(b"".join(encoded), np.uint8),
            sizes=np.array([k, t, self.nonterminals.index(self.start), self.padding], np.int64),
        )

    def _reduced(self, string: str) -> str:
        return string.translate({ord(c): None for c in self.ignore}) if self.ignore else string

    def encode(
        self, strings: Sequence[str], *, errors: str = "raise", ambiguous: str = "resolve", workers: int = 1
    ) -> Derivations:
        """Parse strings to leftmost derivations.

        Args:
            strings: a list of N strings.
            errors: what to do with strings outside the language: ``"raise"`` (default) raises ValueError for the first
                one; ``"skip"`` leaves them out, lists them in `Derivations.failures`, and gives the numbers of the
                other strings in `Derivations.kept`.
            ambiguous: what to do with strings of several derivations: ``"resolve"`` (default) takes the production of
                the smallest number, then the derivation in which each last symbol is as short as possible;
                ``"refuse"`` treats these strings as errors.
            workers: number of threads, >= 1. They run in parallel only where numba is installed.

        Returns:
            The production numbers of the derivations. `Derivations.ambiguous` marks strings of several derivations.

        Raises:
            ValueError: a string is outside the language; the message gives its number, the character at which no
                derivation continues, and the terminals that could follow there. Or an argument is out of its range.
            TypeError: `strings` is a single string, or holds something other than strings.
        """
        listed = checked(strings, errors)
        if ambiguous not in ("resolve", "refuse"):
            raise ValueError(f"ambiguous is {ambiguous!r}; expected 'resolve' or 'refuse'")
        if workers < 1:
            raise ValueError(f"workers is {workers}; expected at least 1")
        reduced = [self._reduced(s) for s in listed] if self.ignore else listed
        parts = [reduced[i : i + _BATCH] for i in range(0, len(reduced), _BATCH)]
        from chartae.grammar import parsing

        if workers > 1 and len(parts) > 1:
            with ThreadPoolExecutor(workers) as pool:
                parsed = list(pool.map(lambda part: parsing.parse(self._tables, part), parts))
        else:
            parsed = [parsing.parse(self._tables, part) for part in parts]
        status = np.concatenate([np.zeros(0, np.uint8), *(p.status for p in parsed)])
        is_ambiguous = status == parsing.AMBIGUOUS
        is_long = status == parsing.TOO_LONG
        bad = (status == parsing.OUTSIDE) | is_long | (is_ambiguous & (ambiguous == "refuse"))
        failures = []
        for i in np.flatnonzero(bad):
            where = int(parsed[i // _BATCH].where[i % _BATCH])
            wanted = "a string with one derivation" if is_ambiguous[i] else "a string that needs fewer steps to parse"
            failure = (
                Failure(int(i), listed[i], 0, listed[i][:40], (wanted,))
                if is_ambiguous[i] or is_long[i]
                else self._failure(int(i), listed[i], where)
            )
            if errors == "raise":
                if is_ambiguous[i]:
                    raise ValueError(
                        f"{self.name}: string {i} ({listed[i][:60]!r}) has several derivations. Pass"
                        " ambiguous='resolve' to take one by rule, or make the grammar unambiguous."
                    )
                raise ValueError(f"{self.name}: {failure}. Correct or remove the string, or pass errors='skip'.")
            failures.append(failure)
        flat = np.concatenate([np.zeros(0, np.uint8), *(p.flat for p in parsed)])
        if self.size > 256 and flat.dtype == np.uint8:
            flat = flat.astype(np.uint16)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, int), *(p.lengths for p in parsed)]))])
        derivations = Derivations(flat, offsets, np.arange(len(listed)), (), is_ambiguous)
        if not failures:
            return derivations
        kept = derivations[np.flatnonzero(~bad)]
        assert isinstance(kept, Derivations)
        return Derivations(kept.flat, kept.offsets, kept.kept, tuple(failures), kept.ambiguous)

    def _failure(self, index: int, string: str, where: int) -> Failure:
        from chartae.grammar import parsing

        reduced = self._reduced(string).encode()
        terminals, may_end = parsing.expected(self._tables, reduced)
        place = len(reduced[:where].decode(errors="ignore"))
        # the place in the user's string, where the ignored characters before it count
        kept = [i for i, c in enumerate(string) if c not in self.ignore]
        place = kept[place] if place < len(kept) else len(string)
        unexpected = string[place : place + 1]
        names = (*(self.terminals[t] for t in terminals), *(("the end",) if may_end else ()))
        return Failure(index, string, place, unexpected, names)

    # -- printing --------------------------------------------------------------------------------------------

    def decode(
        self,
        sequences: Derivations | np.ndarray | Iterable[Sequence[int] | np.ndarray],
        *,
        incomplete: str = "raise",
    ) -> list[str]:
        """Expand derivations to strings; padding at the end of a row is skipped.

        Args:
            sequences: `Derivations`, a padded (N, T) array of production numbers, or N rows of them.
            incomplete: what to do with derivations in which nonterminals remain at the end: ``"raise"`` (default)
                raises ValueError; ``"empty"`` returns the empty string for them, as the paper's code does.

        Returns:
            N strings.

        Raises:
            ValueError: a production does not expand the leftmost nonterminal, or nonterminals remain at the end. The
                message gives the number of the derivation, and the step.
        """
        if incomplete not in ("raise", "empty"):
            raise ValueError(f"incomplete is {incomplete!r}; expected 'raise' or 'empty'")
        from chartae.grammar import parsing

        derivations = gather(sequences)
        texts, status, where = parsing.expand(self._tables, self._right, derivations)
        for i in np.flatnonzero(status).tolist():
            if status[i] == parsing.INCOMPLETE and incomplete == "empty":
                texts[i] = ""
                continue
            if status[i] == parsing.ENDLESS:
                fault = f"has more than {parsing.MOST_BYTES:,} bytes at step {int(where[i])}; expected a shorter string"
            elif status[i] == parsing.INCOMPLETE:
                fault = "ends although nonterminals remain. Complete it, or pass incomplete='empty'."
            else:
                fault = self._misplaced(derivations, i, where)
            raise ValueError(f"{self.name}: derivation {i} {fault}")
        return texts

    @cached_property
    def _right(self) -> np.ndarray:
        """All right sides, last symbol first, preceded by the P + 1 positions at which they begin."""
        parts = [rhs[::-1] for _, rhs in self.rules]
        begins = np.cumsum([self.size + 1, *map(len, parts)])
        return np.concatenate([begins, np.array([s for p in parts for s in p], int)]).astype(np.int32)

    def _misplaced(self, derivations: Derivations, i: int, where: np.ndarray) -> str:
        row = derivations[int(i)]
        assert isinstance(row, np.ndarray)
        step = int(where[i])
        p = int(row[step])
        if p >= self.size:
            return f"has production {p} at step {step}; expected 0 to {self.size - 1}"
        what = f"has production {p} ({_shown(self.productions[p])}) at step {step}"
        if not self.masks[:, p].any():
            return f"{what}, from which no string can be derived"
        return f"{what}, where another nonterminal is leftmost"


def _trie(terminals: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Transitions (256 * nodes,) of the trie of terminals, and the terminal that ends at each node, -1 for none."""
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
