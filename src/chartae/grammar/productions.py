"""Productions, and how they are read from production lists, EBNF and lark's grammar files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lark.lexer import Pattern

from chartae.maths.private import Tree, parsed_regex
from chartae.records.files import one_line, quoted

__all__ = ["Production", "Terminal", "read", "read_ebnf", "read_lark", "read_productions"]


#: productions of a grammar, which 16 bits can number with the padding; and repetitions of a part of a terminal
MOST_PRODUCTIONS, MOST_REPEATS = 65_535, 1000


class Terminal(str):
    """A terminal symbol of a grammar; a subclass of `str`, to tell it from nonterminals, which are plain strings.

    Args:
        symbol: the text of the terminal, one or more characters.

    >>> from chartae.grammar import Production, Terminal
    >>> print(Production("S", (Terminal("a"), "S")))
    S -> 'a' S
    """

    __slots__ = ()

    def __new__(cls, symbol: str) -> Terminal:
        return super().__new__(cls, symbol)


class Production(NamedTuple):
    """A production ``lhs -> rhs`` of a context-free grammar.

    Args:
        lhs: the nonterminal on the left side.
        rhs: symbols on the right side: a `Terminal`, or a plain `str` for a nonterminal; ``()`` derives the empty
            string.

    >>> from chartae.grammar import Grammar, Production, Terminal
    >>> g = Grammar([Production("S", (Terminal("a"), "S")), Production("S", ())])
    >>> g.encode(["aa"])[0].tolist()
    [0, 0, 1]
    """

    lhs: str
    rhs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.lhs} -> " + " ".join(repr(str(s)) if isinstance(s, Terminal) else s for s in self.rhs)


def read(text: str) -> list[Production]:
    """Read productions from a text: a production list if it has ``->`` outside quotes, else EBNF.

    Args:
        text: the text.

    Returns:
        The productions, in order.

    Raises:
        ValueError: the text is empty, or cannot be read.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"the grammar is {quoted(text)}; expected a text such as \"S -> S '+' T | T\"")
    bare = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"|#.*", "", text)
    return read_productions(text) if "->" in bare else read_ebnf(text)


def _check_count(count: int) -> None:
    if count > MOST_PRODUCTIONS:
        raise ValueError(f"the grammar has more than {MOST_PRODUCTIONS:,} productions; expected fewer")


# -- production lists ----------------------------------------------------------------------------------------

_PIECE = re.compile(r"""\s*(?:(?P<text>'[^']*'|"[^"]*")|(?P<bar>\|)|(?P<name>[^\W\d][\w<>^+*-]*)|(?P<end>\#.*|$))""")


def read_productions(text: str) -> list[Production]:
    """Read productions from a list in the notation of NLTK.

    Each line has one left side, ``->``, and alternatives separated by ``|``. Terminals are quoted, without escapes;
    names without quotes are nonterminals. An alternative without symbols derives the empty string. ``#`` begins a
    comment. A line that begins with ``|`` continues the alternatives of the line above.

    Args:
        text: the production list.

    Returns:
        The productions, in order.

    Raises:
        ValueError: a line cannot be read; the message gives its number.

    >>> from chartae.grammar.productions import read_productions
    >>> [str(p) for p in read_productions("S -> S '+' T | T")]
    ["S -> S '+' T", 'S -> T']
    """
    productions: list[Production] = []
    lhs = ""
    for number, line in enumerate(text.splitlines(), 1):
        body = line.strip()
        if not body or body.startswith("#"):
            continue
        head, arrow, tail = body.partition("->")
        if body.startswith("|") and lhs:
            tail = body[1:]
        elif not arrow or not re.fullmatch(r"[^\W\d][\w<>^+*-]*", head.strip()):
            raise ValueError(
                f"line {number} of the grammar is {quoted(body)}; expected: nonterminal -> symbols | symbols"
            )
        else:
            lhs = head.strip()
        alternatives: list[list[str]] = [[]]
        at = 0
        while at < len(tail):
            piece = _PIECE.match(tail, at)
            if piece is None:
                raise ValueError(
                    f"line {number} of the grammar: {quoted(tail[at : at + 100].strip())} is neither a name nor a"
                    " terminal in quotes"
                )
            if piece["bar"]:
                alternatives.append([])
            elif piece["name"]:
                alternatives[-1].append(piece["name"])
            elif piece["text"]:
                if len(piece["text"]) == 2:
                    raise ValueError(
                        f"line {number} of the grammar has an empty terminal. Write an empty alternative instead."
                    )
                alternatives[-1].append(Terminal(piece["text"][1:-1]))
            else:
                break
            at = piece.end()
        productions += [Production(lhs, tuple(a)) for a in alternatives]
        _check_count(len(productions))
    return productions


# -- EBNF ----------------------------------------------------------------------------------------------------

_EBNF = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*|//[^\n]*|\(\*.*?\*\))
      |(?P<text>'[^'\n]*'|"[^"\n]*")
      |(?P<define>::=|:=|=|:)
      |(?P<range>\.\.)
      |(?P<name>[^\W\d][\w-]*)
      |(?P<sign>[|()\[\]{}?*+;,])""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class _Ebnf:
    """A recursive-descent parser of EBNF texts; every group and repetition becomes a new nonterminal."""

    def __init__(self, text: str) -> None:
        self.pieces: list[tuple[str, str, int]] = []
        at, line = 0, 1
        while at < len(text):
            piece = _EBNF.match(text, at)
            if piece is None:
                raise ValueError(
                    f"line {line} of the grammar: {text[at : at + 20].splitlines()[0]!r} is not understood; expected"
                    " name = ..., terminals in quotes, | ( ) [ ] { } ? * + or ranges '0'..'9'"
                )
            if piece.lastgroup != "skip":
                self.pieces.append((str(piece.lastgroup), piece[0], line))
            line += piece[0].count("\n")
            at = piece.end()
        if not self.pieces:
            raise ValueError("the grammar has no rules; expected name = ...")
        self.at = 0
        self.productions: list[Production] = []
        self.names = {value for kind, value, _ in self.pieces if kind == "name"}
        self.helpers: dict[tuple[object, ...], str] = {}
        self.numbers: dict[str, int] = {}  # of the last new name of each owner
        self.ranges: dict[tuple[str, str], str] = {}

    def peek(self, ahead: int = 0) -> tuple[str, str, int]:
        place = self.at + ahead
        return self.pieces[place] if place < len(self.pieces) else ("end", "the end", self.pieces[-1][2])

    def rules(self) -> list[Production]:
        while self.at < len(self.pieces):
            (kind, name, line), (define, _, _) = self.peek(), self.peek(1)
            if kind != "name" or define != "define":
                raise ValueError(f"line {line} of the grammar has {name!r}; expected a rule, name = ...")
            self.at += 2
            mark = len(self.productions)
            alternatives = self.alternatives(name)
            helpers = self.productions[mark:]
            self.productions[mark:] = [*(Production(name, a) for a in alternatives), *helpers]
            if self.peek()[1] == ";":
                self.at += 1
            elif self.peek()[0] != "end" and not self.starts_rule():
                raise ValueError(
                    f"line {self.peek()[2]} of the grammar has {self.peek()[1]!r}; expected a symbol, ';' or the next"
                    " rule"
                )
            _check_count(len(self.productions))
        return self.productions

    def starts_rule(self) -> bool:
        return self.peek()[0] == "name" and self.peek(1)[0] == "define"

    def alternatives(self, owner: str) -> list[tuple[str, ...]]:
        alternatives: list[tuple[str, ...]] = []
        while True:
            symbols: list[str] = []
            while self.peek()[0] in ("name", "text") or self.peek()[1] in (*_CLOSING, ","):
                if self.starts_rule():
                    break
                if self.peek()[1] == "," and self.peek()[0] == "sign":
                    self.at += 1
                    continue
                symbols += self.item(owner)
            alternatives.append(tuple(symbols))
            if self.peek()[:2] != ("sign", "|"):
                return alternatives
            self.at += 1

    def item(self, owner: str) -> list[str]:
        kind, value, line = self.peek()
        self.at += 1
        if kind == "name":
            symbol: list[str] = [value]
        elif kind == "text":
            symbol = self.literal(owner, value, line)
        else:
            inner = self.alternatives(owner)
            if self.peek()[1] != _CLOSING[value]:
                raise ValueError(
                    f"line {line} of the grammar has {value!r}, which is never closed; expected {_CLOSING[value]!r}"
                )
            self.at += 1
            if len(inner) == 1 and value == "(":
                symbol = list(inner[0])
                if self.peek()[1] in "?*+" and len(symbol) != 1:
                    symbol = [self.helper(owner, tuple(inner))]
            elif value == "(":
                symbol = [self.helper(owner, tuple(inner))]
            elif value == "[":
                symbol = [self.helper(owner, ((), *(a for a in inner if a)))]
            else:
                symbol = [self.repeated(owner, tuple(inner), least=0)]
        while self.peek()[0] == "sign" and self.peek()[1] in "?*+":
            sign = self.peek()[1]
            self.at += 1
            if sign == "?":
                symbol = [self.helper(owner, ((), tuple(symbol)))]
            else:
                symbol = [self.repeated(owner, (tuple(symbol),), least=int(sign == "+"))]
        return symbol

    def literal(self, owner: str, value: str, line: int) -> list[str]:
        first = value[1:-1]
        if self.peek()[0] != "range":
            return [Terminal(first)] if first else []
        last = self.peek(1)[1][1:-1]
        if self.peek(1)[0] != "text" or len(first) != 1 or len(last) != 1 or first > last:
            raise ValueError(
                f"line {line} of the grammar has a range from {value}; expected two single characters in ascending"
                " order, such as '0'..'9'"
            )
        self.at += 2
        if (first, last) not in self.ranges:
            _check_count(ord(last) - ord(first) + 1)
            alternatives = tuple((Terminal(chr(c)),) for c in range(ord(first), ord(last) + 1))
            self.ranges[first, last] = self.helper(owner, alternatives)
        return [self.ranges[first, last]]

    def new_name(self, owner: str) -> str:
        number = self.numbers.get(owner, 0) + 1
        while (name := f"{owner}_{number}") in self.names:
            number += 1
        self.numbers[owner] = number
        self.names.add(name)
        _check_count(len(self.productions))
        return name

    def helper(self, owner: str, alternatives: tuple[tuple[str, ...], ...]) -> str:
        if alternatives not in self.helpers:
            self.helpers[alternatives] = self.new_name(owner)
            self.productions += [Production(self.helpers[alternatives], a) for a in alternatives]
        return self.helpers[alternatives]

    def repeated(self, owner: str, alternatives: tuple[tuple[str, ...], ...], least: int) -> str:
        key = ("repeated", least, alternatives)
        if key not in self.helpers:
            name = self.helpers[key] = self.new_name(owner)
            # left-recursive, so that a list of thousands of members needs no more memory than a short one
            begin = [()] if least == 0 else list(alternatives)
            self.productions += [Production(name, a) for a in begin]
            self.productions += [Production(name, (name, *a)) for a in alternatives]
        return self.helpers[key]


def read_ebnf(text: str) -> list[Production]:
    """Read productions from an EBNF text.

    A rule is ``name = ...`` (or ``::=``, ``:=``, ``:``). Its right side has terminals in quotes, names of nonterminals,
    alternatives ``|``, groups ``( )``, options ``[ ]`` or ``?``, repetitions ``{ }``, ``*`` or ``+``, and ranges
    ``'0'..'9'``. Commas and ``;`` may be left out. Groups, options and repetitions become nonterminals ``name_1``,
    ``name_2``, and so on; those of repetitions are left-recursive.

    Args:
        text: the EBNF text.

    Returns:
        The productions, in order.

    Raises:
        ValueError: the text cannot be read; the message gives the line.

    >>> from chartae.grammar.productions import read_ebnf
    >>> [str(p) for p in read_ebnf("number = digit {digit}; digit = '0' | '1';")]
    ['number -> digit number_1', 'number_1 -> ', 'number_1 -> number_1 digit', "digit -> '0'", "digit -> '1'"]
    """
    try:
        return _Ebnf(text).rules()
    except RecursionError as e:
        raise ValueError("the grammar has groups inside groups, too deep to be read; expected fewer levels") from e


# -- lark ----------------------------------------------------------------------------------------------------


def read_lark(text: str, start: str | None = None) -> tuple[list[Production], str, str]:
    """Read productions from a grammar in lark's notation. Needs the package lark (``chartae[grammar]``).

    lark reads the text and resolves its templates, imports and repetitions. Terminals are strings, or regular
    expressions of characters, classes, groups, alternatives and repetitions, which become productions. The
    longest-match and priority rules of lark's lexer do not apply, because strings are parsed character by character.

    Args:
        text: the grammar.
        start: start symbol; by default the rule ``start``, or the first rule.

    Returns:
        The productions, the start symbol, and the ignored characters.

    Raises:
        ValueError: lark cannot read the text, or a terminal has no finite alphabet.
        ImportError: lark is not installed.
    """
    try:
        import lark
    except ImportError as e:
        raise ImportError(
            "a grammar in lark's notation needs the package lark. Install it by pip install 'chartae[grammar]'."
        ) from e
    if start is None:
        names = re.findall(r"^[!?]*([a-z_][a-z0-9_]*)(?:\.\d+)?\s*:", text, re.MULTILINE)
        if not names:
            raise ValueError('the lark grammar has no rules; expected lines such as: start: "a" start | "b"')
        start = "start" if "start" in names else names[0]
    try:
        grammar = lark.Lark(text, start=start, parser="earley", lexer="dynamic", maybe_placeholders=False)
    except Exception as e:  # of lark, and of the packages for regular expressions that it uses
        raise ValueError(f"lark cannot read the grammar: {one_line(e)}") from e
    patterns = {t.name: t.pattern for t in grammar.terminals}
    regexes = _Regexes()
    productions: list[Production] = []
    for rule in grammar.rules:
        symbols = [regexes.symbol(s.name, patterns[s.name]) if s.is_term else str(s.name) for s in rule.expansion]
        productions.append(Production(str(rule.origin.name), tuple(symbols)))
    ignored = "".join(sorted({c for name in grammar.ignore_tokens for c in regexes.characters(name, patterns[name])}))
    return [*productions, *regexes.productions], start, ignored


class _Regexes:
    """Converts the regular expressions of terminals to productions, from the standard library's parse of them."""

    def __init__(self) -> None:
        self.productions: list[Production] = []
        self.symbols: dict[str, str] = {}

    def symbol(self, name: str, pattern: Pattern) -> str:
        if pattern.type == "str" and not pattern.flags:
            return Terminal(pattern.value)
        if name not in self.symbols:
            self.symbols[name] = name
            for alternative in self.alternatives(name, self.parsed(name, pattern)):
                self.productions.append(Production(name, alternative))
        return name

    def characters(self, name: str, pattern: Pattern) -> set[str]:
        """The characters of an ignored terminal, which must be a single character or a class, perhaps repeated."""
        if pattern.type == "str" and len(pattern.value) == 1:
            return {pattern.value}
        if pattern.type == "re":
            tree = list(self.parsed(name, pattern))
            if len(tree) == 1 and str(tree[0][0]) == "MAX_REPEAT":
                tree = list(tree[0][1][2])
            if len(tree) == 1 and str(tree[0][0]) in ("IN", "LITERAL"):
                return {a[0] for a in self.alternatives(name, tree)}
        raise ValueError(
            f"%ignore {name} is {pattern.value!r}; expected single characters, such as / / or /[ \\t]+/. Remove"
            " comments and the like from the strings beforehand."
        )

    def parsed(self, name: str, pattern: Pattern) -> Tree:
        if pattern.flags and set(pattern.flags) - {"s", "m", "u"}:
            raise ValueError(
                f"terminal {name} has the flags {sorted(pattern.flags)}; expected none but m, s and u. Write the cases"
                " out, such as [aA]."
            )
        return parsed_regex(pattern.value)

    def helper(self, name: str, alternatives: list[tuple[str, ...]]) -> str:
        helper = f"{name}__{len(self.symbols)}"
        self.symbols[helper] = helper
        self.productions += [Production(helper, a) for a in alternatives]
        return helper

    def alternatives(self, name: str, tree: Tree) -> list[tuple[str, ...]]:
        parts = list(tree)
        if len(parts) == 1:
            kind, value = str(parts[0][0]), parts[0][1]
            if kind == "BRANCH":
                return [a for branch in value[1] for a in self.alternatives(name, branch)]
            if kind == "IN":
                return [(Terminal(c),) for c in self.members(name, value)]
            if kind == "SUBPATTERN":
                return self.alternatives(name, value[-1])
        symbols: list[str] = []
        for kind, value in ((str(k), v) for k, v in parts):
            if kind == "LITERAL":
                symbols.append(Terminal(chr(value)))
            elif kind in ("IN", "SUBPATTERN", "BRANCH"):
                symbols.append(self.helper(name, self.alternatives(name, [(kind, value)])))
            elif kind in ("MAX_REPEAT", "MIN_REPEAT"):
                least, most, inner = value
                if max(least, 0 if str(most) == "MAXREPEAT" else most) > MOST_REPEATS:
                    raise ValueError(
                        f"terminal {name} repeats a part more than {MOST_REPEATS:,} times; expected fewer times"
                    )
                _check_count(len(self.productions))
                one = self.helper(name, self.alternatives(name, inner))
                symbols += [one] * least
                if str(most) == "MAXREPEAT":
                    helper = self.helper(name, [()])
                    self.productions.append(Production(helper, (helper, one)))
                    symbols.append(helper)
                elif most > least:
                    tail: list[tuple[str, ...]] = [(one,) * i for i in range(int(most) - least + 1)]
                    symbols.append(self.helper(name, tail))
            else:
                raise ValueError(
                    f"terminal {name} uses {kind.lower()} in its regular expression; expected only characters, classes,"
                    " groups, alternatives and repetitions"
                )
        return [tuple(symbols)]

    def members(self, name: str, parts: Tree) -> list[str]:
        characters: list[str] = []
        for kind, value in ((str(k), v) for k, v in parts):
            if kind == "LITERAL":
                characters.append(chr(value))
            elif kind == "RANGE":
                _check_count(value[1] - value[0] + 1)
                characters += [chr(c) for c in range(value[0], value[1] + 1)]
            elif kind == "CATEGORY" and str(value) == "CATEGORY_DIGIT":
                characters += list("0123456789")
            elif kind == "CATEGORY" and str(value) == "CATEGORY_SPACE":
                characters += list(" \t\n\r\f\v")
            elif kind == "CATEGORY" and str(value) == "CATEGORY_WORD":
                characters += [chr(c) for c in range(128) if chr(c).isalnum() or chr(c) == "_"]
            else:
                raise ValueError(
                    f"terminal {name} has a class that excludes characters ({kind.lower()} {value}). List its members"
                    " instead."
                )
        return list(dict.fromkeys(characters))
