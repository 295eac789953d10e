"""Measure the structure of the source code.

    python tools/house.py             print the table of measures
    python tools/house.py -v          also print every line that counts towards a measure
    python tools/house.py --check     exit 1 and print file:line if a bound is exceeded
    python tools/house.py --json      print the table as JSON
    python tools/house.py --write     update the table in CONTRIBUTING.md
    python tools/house.py --root DIR  measure another checkout

The files are parsed with `ast` and `tokenize`; chartae is not imported. `tests/test_structure.py` checks the bounds,
`tests/test_layers.py` the direction of imports.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import sys
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

__all__ = ["LAYERS", "NEVER", "House", "Measure", "Offence", "Source", "measures", "table"]

#: the layers, from the lowest; a module imports only from lower layers and from its own package
LAYERS = [
    {"maths", "records"},
    {"distributions", "nn", "grammar", "draw"},
    {"conditionals", "metrics"},
    {"data"},
    {"autoencoder"},
    {"terms", "samplers", "diagnostics"},
    {"objectives"},
    {"training"},
    {"densities"},
    {"recipes"},
    {"runs"},
    {"evaluation"},
    {"report", "optimise"},
    {"estimator", "cli"},
]

#: package -> lower packages that it must not import
NEVER = {
    "samplers": {"terms", "diagnostics"},
    "diagnostics": {"terms", "samplers"},
    "densities": {"terms", "objectives"},
    "report": {"runs", "evaluation", "autoencoder", "data"},
}

#: (file under src/chartae, function) of the two functions that may list every keyword
MANY_PARAMETERS = {
    ("runs/fitting.py", "fit"),
    ("estimator/generative.py", "GenerativeAutoencoder.__init__"),
}
GUARDED = "maths/private.py"
LONGEST, WIDEST, TOP, ANYTHING, REPEATED, WINDOW = 80, 12, 26, 250, 1.0, 6

#: the measures of the first edition, commit 730d5d6, with the layers of that edition and its reproduce/ as papers/
FIRST_EDITION = {
    "top": "41",
    "circles": "0",
    "upward": "0",
    "branches": "58",
    "literals": "17",
    "function": "141 `fit`",
    "parameters": "31 `search`",
    "any": "568",
    "ours": "59",
    "others": "27",
    "init": "52",
    "repeated": "0.31",
    "lines": "19,037",
}

OPEN, CLOSE = "<!-- tools/house.py --write: begin -->", "<!-- tools/house.py --write: end -->"
#: names with an underscore that their packages document as public
DOCUMENTED = {"_asdict", "_replace", "_fields", "_make", "_exit", "_getframe", "_repr_html_"}
DISSECTING = {"startswith", "endswith", "split", "partition", "rpartition", "removeprefix", "removesuffix"}

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Offence:
    """A line that counts towards a measure.

    Args:
        path: path of the file, relative to the checkout.
        line: line number, from 1.
        text: the line, or what is wrong with it.
    """

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Measure:
    """One row of the table.

    Args:
        key: name in JSON and in tests.
        title: name in the table.
        value: measured value.
        bound: largest allowed value; None for no bound.
        offences: lines that count; for a maximum, only the lines that exceed the bound.
        note: function that has the maximum.
    """

    key: str
    title: str
    value: float
    bound: float | None
    offences: Sequence[Offence] = ()
    note: str = ""

    @property
    def broken(self) -> bool:
        return self.bound is not None and self.value > self.bound


# ------------------------------------------------------------------------------------------------------ the source


@dataclass(frozen=True)
class Import:
    """One imported name: a `module`, or a `name` from it; `bound` is the name that the file gives it."""

    line: int
    module: str
    name: str
    bound: str


@dataclass(frozen=True)
class Source:
    """A parsed file.

    Args:
        path: path relative to the checkout.
        module: dotted name of the module.
        inside: path under src/chartae; empty for other files.
        text: content of the file.
    """

    path: str
    module: str
    inside: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> Sequence[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def docstrings(self) -> Sequence[ast.Constant]:
        """Strings that are statements: docstrings, and strings that document attributes."""
        expressions = (node.value for node in self.nodes if isinstance(node, ast.Expr))
        return [value for value in expressions if isinstance(value, ast.Constant) and isinstance(value.value, str)]

    @cached_property
    def functions(self) -> Sequence[tuple[str, Function]]:
        """All functions with their qualified names."""
        return list(_functions(self.tree, ""))

    @cached_property
    def imports(self) -> Sequence[Import]:
        """All imports, anywhere in the file."""
        return list(_imports(self))

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    @property
    def top_level(self) -> str:
        """The top-level folder or module of the package that the file belongs to."""
        return self.inside.split("/")[0].removesuffix(".py")

    def offence(self, node: ast.AST | int, text: str = "") -> Offence:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Offence(self.path, line, text or self.text.splitlines()[line - 1].strip())


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


@dataclass(frozen=True)
class House:
    """The files of a checkout that are measured: src/chartae and papers.

    Args:
        root: folder of the checkout.
        layers: layers of packages, from the lowest; default `LAYERS`.
        never: package -> lower packages that it must not import; default `NEVER`.
    """

    root: Path
    layers: Sequence[set[str]] = field(default_factory=lambda: LAYERS)
    never: Mapping[str, set[str]] = field(default_factory=lambda: NEVER)

    @cached_property
    def package(self) -> Sequence[Source]:
        return self._read(self.root / "src" / "chartae", "chartae")

    @cached_property
    def papers(self) -> Sequence[Source]:
        return self._read(self.root / "papers", "papers")

    @property
    def everything(self) -> Sequence[Source]:
        return [*self.package, *self.papers]

    def _read(self, folder: Path, package: str) -> Sequence[Source]:
        sources = []
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            module = ".".join([package, *inside.with_suffix("").parts]).removesuffix(".__init__")
            under = inside.as_posix() if package == "chartae" else ""
            sources.append(Source(path.relative_to(self.root).as_posix(), module, under, path.read_text("utf-8")))
        return sources

    @cached_property
    def modules(self) -> frozenset[str]:
        return frozenset(source.module for source in self.everything)

    @cached_property
    def recipes(self) -> frozenset[str]:
        """The names of all recipes in recipes/: keys of RECIPES, and arguments of the decorator `@recipe("name")`."""
        names: set[str] = set()
        sources = [source for source in self.package if source.top_level == "recipes"]
        for source in sources:
            for node in source.nodes:
                if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
                    if "RECIPES" in _targets(node):
                        names |= {text for key in node.value.keys if (text := _text(key)) is not None}
                elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                    for call in node.decorator_list:
                        if isinstance(call, ast.Call) and _last(call.func) == "recipe":
                            first = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "name")]
                            names |= {text for value in first if (text := _text(value)) is not None}
        if sources and not names:
            raise ValueError(
                "recipes/ names no recipe; expected a dict RECIPES or decorators @recipe. Adapt House.recipes to how "
                "recipes are registered."
            )
        return frozenset(names)

    @cached_property
    def name_tables(self) -> frozenset[tuple[str, str]]:
        """Constants that hold names of recipes, as (module, name), except the table of all recipes."""
        tables: set[tuple[str, str]] = set()
        for source in self.package:
            for node in source.tree.body:
                if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                    continue
                names = set(_targets(node)) - {"RECIPES", "__all__", ""}
                if any(text in self.recipes for item in _items(node.value) if (text := _text(item))):
                    tables |= {(source.module, name) for name in names}
        return frozenset(tables)

    def tables_in(self, source: Source) -> frozenset[str]:
        """The names under which a file can use constants that hold names of recipes.

        They are its own constants, those that it imports, and `module.NAME` for an imported module. A package counts as
        if it defined what its modules define.
        """
        called = {"WITH_PRIOR"}
        for module, name in self.name_tables:
            if module == source.module:
                called.add(name)
            for item in source.imports:
                whole = f"{item.module}.{item.name}".rstrip(".")
                if item.name == name and f"{module}.".startswith(f"{item.module}."):
                    called.add(item.bound)
                elif item.bound and f"{module}.".startswith(f"{whole}."):
                    called.add(f"{item.bound}.{name}")
        return frozenset(called)


def _ends(node: ast.AST) -> str:
    """The first and the last name of a.b.c, joined: a.c; a single name stays as it is."""
    chain = _chain(node)
    return ".".join([*chain[:-1][:1], *chain[-1:]])


def _text(node: ast.AST | None) -> str | None:
    """The value of a string constant; None for other nodes."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _targets(node: ast.AST) -> Sequence[str]:
    """The names that an assignment binds."""
    if isinstance(node, ast.Assign):
        return [_last(target) for target in node.targets]
    return [_last(node.target)] if isinstance(node, ast.AnnAssign | ast.AugAssign) else []


def _last(node: ast.AST | None) -> str:
    """The last name of a.b.c; empty for nodes without a name."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _chain(node: ast.AST) -> Sequence[str]:
    """The names of a.b.c; empty if the expression does not start with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _items(node: ast.AST) -> Iterator[ast.AST]:
    """An operand and its members, in displays, unpackings, sums, keys, `set(...)` and similar calls."""
    yield node
    inner: Iterable[ast.AST | None] = ()
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        inner = node.elts
    elif isinstance(node, ast.Dict):
        inner = [key if key is not None else value for key, value in zip(node.keys, node.values, strict=True)]
    elif isinstance(node, ast.Starred | ast.NamedExpr):
        inner = [node.value]
    elif isinstance(node, ast.BinOp):
        inner = [node.left, node.right]
    elif isinstance(node, ast.Call) and _last(node.func) in {"set", "frozenset", "tuple", "list", "sorted", "keys"}:
        inner = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
    for item in inner:
        if item is not None:
            yield from _items(item)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


# ------------------------------------------------------------------------------------------------------ imports


def _imports(source: Source) -> Iterator[Import]:
    """All imports of a file, including relative imports and `import_module("...")`."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, "", alias.asname or alias.name.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parts = source.module.split(".")
                above = parts[: len(parts) - node.level + source.is_package]
                module = ".".join([*above, module] if module else above)
            for alias in node.names:
                yield Import(node.lineno, module, alias.name, alias.asname or alias.name)
        elif isinstance(node, ast.Call) and _last(node.func) == "import_module":
            yield from (Import(node.lineno, text, "", "") for word in node.args[:1] if (text := _text(word)))


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in ("chartae", "papers")


def _imported(house: House, source: Source) -> Iterator[tuple[str, int]]:
    """The modules of chartae and papers that a file imports, with line numbers."""
    for item in source.imports:
        if _is_ours(item.module):
            whole = f"{item.module}.{item.name}"
            yield whole if whole in house.modules else item.module, item.line


def upward_imports(house: House, source: Source) -> Iterator[Offence]:
    """The imports of a file that do not go to a lower layer; `__init__` and `__main__` at the top may import all."""
    if source.inside in ("", "__init__.py", "__main__.py"):
        return
    layers = {name: height for height, names in enumerate(house.layers) for name in names}
    if source.top_level not in layers:
        yield source.offence(1, f"{source.top_level} is in no layer; add it to LAYERS in tools/house.py")
        return
    for item in source.imports:
        if item.module.split(".")[0] != "chartae":
            continue
        other = f"{item.module}.{item.name}".split(".")[1] or "chartae"
        if other == source.top_level:
            continue
        if other == "chartae" and source.top_level in house.layers[-1]:
            continue  # the lazy names of the package are all in lower layers
        if other not in layers:
            yield source.offence(item.line, f"{source.top_level} imports {other}, which is in no layer")
        elif layers[other] >= layers[source.top_level]:
            yield source.offence(item.line, f"{source.top_level} imports {other}, which is not in a lower layer")
        elif other in house.never.get(source.top_level, ()):
            yield source.offence(item.line, f"{source.top_level} must never import {other}")


def circles(house: House) -> Iterator[Offence]:
    """Groups of modules that import each other, one offence for each group; lazy imports are ignored."""
    edges: dict[str, dict[str, int]] = {source.module: {} for source in house.everything}
    where = {source.module: source for source in house.everything}
    for source in house.everything:
        for module, line in _imported(house, source) if source.module != "chartae" else ():
            if module in edges and module != source.module:
                edges[source.module].setdefault(module, line)
    reach = {module: _reachable(edges, module) for module in edges}
    done: set[str] = set()
    for module in edges:
        circle = {other for other in reach[module] if module in reach[other]}
        if circle and module not in done:
            done |= circle
            line = next(line for other, line in edges[module].items() if other in circle)
            yield where[module].offence(line, "import cycle of " + ", ".join(sorted(circle)))


def _reachable(edges: Mapping[str, Mapping[str, int]], start: str) -> set[str]:
    """The modules that can be reached from a module in one or more steps."""
    reached: set[str] = set()
    todo = list(edges[start])
    while todo:
        module = todo.pop()
        if module not in reached:
            reached.add(module)
            todo += edges[module]
    return reached


def private_imports(house: House) -> Iterator[Offence]:
    """Private names of chartae and papers that another of their modules imports or reads from an imported module."""
    for source in house.everything:
        modules = set()
        for item in source.imports:
            if not _is_ours(item.module):
                continue
            if any(_is_private(part) for part in [*item.module.split("."), item.name]):
                yield source.offence(item.line, f"imports {item.name or item.module} of {item.module}")
            if f"{item.module}.{item.name}" in house.modules:
                modules.add(item.bound)
        for node in source.nodes:
            if isinstance(node, ast.Attribute) and _is_private(node.attr) and _last(node.value) in modules:
                yield source.offence(node, f"reads {_last(node.value)}.{node.attr}")


def foreign_privates(house: House) -> Iterator[Offence]:
    """Private names of other packages that are used outside the guarded module.

    An attribute with an underscore belongs to another package if it is read from an import of that package, or if no
    file of chartae or papers defines the name. `getattr(x, "_name")` counts as well.
    """
    defined = {name for source in house.everything for name in _defined(source)}
    for source in house.everything:
        if source.inside == GUARDED:
            continue
        foreign = {item.bound for item in source.imports if not _is_ours(item.module)} - {""}
        for item in source.imports:
            names = [*item.module.split("."), item.name]
            if not _is_ours(item.module) and any(_is_private(part) for part in names):
                yield source.offence(item.line, f"imports {'.'.join(names).strip('.')}")
        for node in source.nodes:
            owner, name = _read_off(node)
            if owner is None or not _is_private(name) or name in DOCUMENTED:
                continue
            if name not in defined or set(_chain(owner)[:1]) & foreign:
                yield source.offence(node, f"{ast.unparse(owner)}.{name}")


def _read_off(node: ast.AST) -> tuple[ast.AST | None, str]:
    """The object and the name in `x.name`, `getattr(x, "name")` and similar calls."""
    if isinstance(node, ast.Attribute):
        return node.value, node.attr
    if isinstance(node, ast.Call) and _last(node.func) in {"getattr", "hasattr", "setattr", "delattr"}:
        return node.args[0], "".join(_text(word) or "" for word in node.args[1:2])
    return None, ""


def _defined(source: Source) -> Iterator[str]:
    """The private names that a file defines."""
    for node in source.nodes:
        name = ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr if _last(node.value) in ("self", "cls") else ""
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Call) and _last(node.func) == "register_buffer" and node.args:
            name = _text(node.args[0]) or ""
        if _is_private(name):
            yield name


# ------------------------------------------------------------------------------------------------------ recipes


def branches(house: House) -> Iterator[Offence]:
    """Branches on a recipe's name, or on whether there is a codec, outside recipes/.

    A branch on a name is a comparison, `in`, case, key, subscript or `startswith` with a recipe's name or a table of
    such names. A branch on a codec is `codec is None`, or `codec` as a truth value; grammar/ is exempt, because codecs
    are its subject.
    """
    for source in house.package:
        if source.top_level == "recipes":
            continue
        lines = {(node.lineno, node.col_offset) for node in _name_branches(house, source)}
        if source.top_level != "grammar":
            lines |= {(node.lineno, node.col_offset) for node in _codec_branches(source)}
        for line, _ in sorted(lines):
            yield source.offence(line)


def _name_branches(house: House, source: Source) -> Iterator[ast.expr | ast.pattern]:
    tables = house.tables_in(source)

    def names(node: ast.AST | None) -> bool:
        return node is not None and any(
            _text(item) in house.recipes or _ends(item) in tables or _last(item).startswith("OF_")
            for item in _items(node)
        )

    for node in source.nodes:
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            part = isinstance(node.ops[0], ast.In | ast.NotIn) and _text(node.left) is not None
            if any(names(operand) for operand in operands) or (part and _last(node.comparators[0]) == "recipe"):
                yield node
        elif isinstance(node, ast.MatchValue):
            if names(node.value):
                yield node
        elif isinstance(node, ast.Dict):
            if any(_text(key) in house.recipes for key in node.keys):
                yield node
        elif isinstance(node, ast.Subscript):
            if _text(node.slice) in house.recipes or names(node.value):
                yield node
        elif isinstance(node, ast.Call):
            name, arguments = _last(node.func), node.args
            receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
            dissects = name in DISSECTING and (any(map(names, arguments)) or _last(receiver) == "recipe")
            looks_up = name in ("get", "pop") and (names(receiver) or any(map(names, arguments[:1])))
            keyed = name == "dict" and any(word.arg in house.recipes for word in node.keywords)
            if dissects or looks_up or keyed or name == "paper_lr":
                yield node


def _is_codec(node: ast.AST | None) -> bool:
    """Whether an expression is the codec of an object: `x.codec`, `x["codec"]`, `getattr(x, "codec")`."""
    if isinstance(node, ast.NamedExpr):
        return _is_codec(node.target) or _is_codec(node.value)
    if isinstance(node, ast.Subscript):
        return _text(node.slice) == "codec"
    if isinstance(node, ast.Call):
        place = {"get": 0, "getattr": 1}.get(_last(node.func))
        return place is not None and any(_text(word) == "codec" for word in node.args[place : place + 1])
    return _last(node) == "codec"


def _codec_branches(source: Source) -> Iterator[ast.expr]:
    for node in source.nodes:
        truths: Sequence[ast.expr] = ()
        if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            truths = [node.test]
        elif isinstance(node, ast.comprehension):
            truths = node.ifs
        elif isinstance(node, ast.BoolOp):
            truths = node.values
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            truths = [node.operand]
        elif isinstance(node, ast.Match):
            truths = [node.subject]
        elif isinstance(node, ast.Call) and _last(node.func) == "bool":
            truths = node.args[:1]
        elif isinstance(node, ast.Call) and _last(node.func) == "isinstance":
            truths = node.args[:1] if _last(node.args[-1]) in ("Codec", "str") else ()
        elif isinstance(node, ast.Call) and _last(node.func) == "hasattr":
            if any(_text(word) == "codec" for word in node.args):
                yield node
        elif isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            has_constant = any(isinstance(operand, ast.Constant) for operand in operands)
            holds = isinstance(node.ops[0], ast.In | ast.NotIn) and _text(node.left) == "codec"
            if holds or (has_constant and any(_is_codec(operand) for operand in operands)):
                yield node
        yield from (truth for truth in truths if _is_codec(truth))


def recipe_literals(house: House) -> Iterator[Offence]:
    """Names of recipes as strings outside recipes/, except in docstrings and in the list of the demo in cli/."""
    for source in house.package:
        if source.top_level == "recipes":
            continue
        exempt = {id(node) for node in source.docstrings}
        if source.top_level == "cli":
            exempt |= {id(node) for part in source.nodes if _is_demo(part) for node in ast.walk(part)}
        for node in source.nodes:
            if id(node) not in exempt and _text(node) in house.recipes:
                yield source.offence(node, f"{_text(node)!r}: {source.offence(node).text}")


def _is_demo(node: ast.AST) -> bool:
    """Whether a node is the command `Demo`, or a constant whose name starts with DEMO."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return any(name.startswith("DEMO") for name in _targets(node))
    return isinstance(node, ast.ClassDef) and node.name == "Demo"


# ------------------------------------------------------------------------------------------------------ functions


def function_lines(house: House) -> Iterator[tuple[int, Offence]]:
    """The length of every function: its lines from `def` on, without the docstring."""
    for source in house.everything:
        for name, node in source.functions:
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                first = node.body[0]
                length -= (first.end_lineno or first.lineno) - first.lineno + 1
            yield length, source.offence(node, f"{name} has {length} lines")


def parameters(house: House) -> Iterator[tuple[int, Offence]]:
    """The number of parameters of every function, without `self`, except the two that may list every keyword."""
    for source in house.everything:
        methods = {
            id(child) for node in source.nodes if isinstance(node, ast.ClassDef) for child in ast.iter_child_nodes(node)
        }
        for name, node in source.functions:
            if (source.inside, name) in MANY_PARAMETERS:
                continue
            listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len(listed) + (node.args.vararg is not None) + (node.args.kwarg is not None)
            if id(node) in methods and listed and not any(_last(d) == "staticmethod" for d in node.decorator_list):
                count -= 1
            yield count, source.offence(node, f"{name} has {count} parameters")


# ------------------------------------------------------------------------------------------------------ types and lines


def untyped(house: House) -> Iterator[Offence]:
    """Lines with `Any`, `dict[str, object]`, an alias of these, or a bare `dict`, `list` or `tuple` annotation."""
    everywhere = {source.module: set(_aliases(source)) for source in house.everything}
    named = set().union(*everywhere.values())
    for source in house.everything:
        imported = {item.name for item in source.imports if _is_ours(item.module)}
        aliases = everywhere[source.module] | (named & imported)
        lines = {node.lineno for node in source.nodes if isinstance(node, ast.expr) and _is_untyped(node, aliases)}
        for node in source.nodes:
            if isinstance(node, ast.ImportFrom):
                lines |= {alias.lineno for alias in node.names if alias.name in {"Any", *aliases}}
            for annotation in _annotations(node):
                lines |= set(_bare(annotation, annotation.lineno, aliases))
        for line in sorted(lines):
            yield source.offence(line)


def _is_untyped(node: ast.AST, aliases: Iterable[str] = ()) -> bool:
    if _last(node) in {"Any", *aliases}:
        return True
    if isinstance(node, ast.Subscript) and _last(node.value) in ("dict", "Dict") and isinstance(node.slice, ast.Tuple):
        return [_last(part) for part in node.slice.elts] == ["str", "object"]
    return False


def _aliases(source: Source) -> Iterator[str]:
    """Names at the top level of a file that are aliases of `Any`, or of a container of `Any` or of any type."""
    for node in source.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            parts: Sequence[ast.expr] = [node.value]
            if isinstance(node.value, ast.Subscript) and isinstance(node.value.slice, ast.Tuple):
                parts = [node.value, *node.value.slice.elts]
            if any(map(_is_untyped, parts)):
                yield from _targets(node)


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    annotation: ast.expr | None = None
    if isinstance(node, ast.arg | ast.AnnAssign):
        annotation = node.annotation
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        annotation = node.returns
    if annotation is not None:
        yield annotation


def _bare(node: ast.AST, line: int, aliases: Iterable[str]) -> Iterator[int]:
    """The lines of an annotation that name a bare container; a string annotation is parsed."""
    if isinstance(node, ast.Name) and node.id in ("dict", "list", "tuple"):
        yield getattr(node, "lineno", line)
    elif isinstance(node, ast.Subscript):
        if not isinstance(node.value, ast.Name):
            yield from _bare(node.value, line, aliases)
        if _last(node.value) not in ("Literal", "Annotated"):
            for part in ast.iter_child_nodes(node.slice) if isinstance(node.slice, ast.Tuple) else [node.slice]:
                if _text(part) is None:
                    yield from _bare(part, line, aliases)
    elif (text := _text(node)) is not None:
        try:
            written = ast.parse(text, mode="eval").body
        except SyntaxError:
            return
        inner = any(_is_untyped(part, aliases) for part in ast.walk(written))
        yield from [line] * (inner or any(True for _ in _bare(written, line, aliases)))
    else:
        for child in ast.iter_child_nodes(node):
            yield from _bare(child, line, aliases)


def code_lines(source: Source) -> int:
    """The number of lines of code, without comments, docstrings and blank lines."""
    lines: set[int] = set()
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type not in layout:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in source.docstrings:
        lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def _stripped(source: Source) -> Sequence[tuple[int, str]]:
    """The lines to compare, with their numbers: stripped, without blank lines, comments and imports."""
    skipped: set[int] = set()
    for node in source.nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = ((number, line.strip()) for number, line in enumerate(source.text.splitlines(), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#") and number not in skipped]


def repeated(house: House) -> tuple[float, Sequence[Offence]]:
    """The percentage of windows of 6 lines that occur more than once, and where they start."""
    places: dict[tuple[str, ...], list[tuple[Source, int]]] = defaultdict(list)
    for source in house.everything:
        lines = _stripped(source)
        for start in range(len(lines) - WINDOW + 1):
            part = lines[start : start + WINDOW]
            places[tuple(line for _, line in part)].append((source, part[0][0]))
    total = sum(map(len, places.values()))
    offences = []
    for same in places.values():
        for source, line in same if len(same) > 1 else ():
            other = next((o, n) for o, n in same if (o, n) != (source, line))
            offences.append(source.offence(line, f"the same 6 lines as {other[0].path}:{other[1]}"))
    return 100 * len(offences) / max(total, 1), sorted(offences)


def top_names(house: House) -> Iterator[Offence]:
    """The top-level modules and packages of src/chartae."""
    for top_level in sorted({source.top_level for source in house.package}):
        folder = Path("src/chartae") / top_level
        is_module = (house.root / folder.with_suffix(".py")).exists()
        yield Offence(str(folder.with_suffix(".py") if is_module else folder), 1, top_level)


def init_logic(house: House) -> Iterator[Offence]:
    """Statements in `__init__` files except docstring, imports and `__all__`, and lazy imports at the top level."""
    for source in house.package:
        if not source.is_package:
            continue
        for node in source.tree.body:
            names = set(_targets(node)) or {getattr(node, "name", "")}
            lazy = source.inside == "__init__.py" and (
                names <= {"__getattr__", "__dir__"} or all(_is_private(n) and n.isupper() for n in names)
            )
            if not (lazy or names == {"__all__"} or _is_import(node) or _is_docstring(node)):
                yield source.offence(node)


def _is_import(node: ast.AST) -> bool:
    if isinstance(node, ast.If) and _last(node.test) == "TYPE_CHECKING":
        return all(_is_import(child) for child in [*node.body, *node.orelse])
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and _text(node.value) is not None


# ------------------------------------------------------------------------------------------------------ the table


def measures(house: House) -> Sequence[Measure]:
    """The rows of the table, in order."""

    def counted(key: str, title: str, bound: int, offences: Iterable[Offence]) -> Measure:
        listed = sorted(offences)
        return Measure(key, title, len(listed), bound, listed)

    def largest(key: str, title: str, bound: int, sizes: Callable[[House], Iterator[tuple[int, Offence]]]) -> Measure:
        listed = sorted(sizes(house), reverse=True)
        value, offence = listed[0] if listed else (0, Offence("", 1, ""))
        note = f"`{offence.text.split()[0]}`" if listed else ""
        return Measure(key, title, value, bound, [o for size, o in listed if size > bound], note)

    upward = (offence for source in house.package for offence in upward_imports(house, source))
    share, windows = repeated(house)
    return [
        counted("top", "top-level names in `src/chartae`", TOP, top_names(house)),
        counted("circles", "import cycles", 0, circles(house)),
        counted("upward", "upward imports", 0, upward),
        counted("branches", "branches on a recipe's name or codec outside `recipes/`", 0, branches(house)),
        counted("literals", "names of recipes as strings outside `recipes/`", 0, recipe_literals(house)),
        largest("function", "longest function, without its docstring", LONGEST, function_lines),
        largest("parameters", "most parameters, except `ch.fit` and the estimator", WIDEST, parameters),
        counted("any", "lines with `Any` or an untyped container", ANYTHING, untyped(house)),
        counted("ours", "private names of chartae imported across modules", 0, private_imports(house)),
        counted("others", "private names of other packages outside `maths/private.py`", 0, foreign_privates(house)),
        counted("init", "statements with logic in `__init__` files", 0, init_logic(house)),
        Measure("repeated", f"repeated windows of {WINDOW} lines, %", round(share, 2), REPEATED, windows),
        Measure("lines", "lines of code, including `papers`", sum(map(code_lines, house.everything)), None),
    ]


def _cell(measure: Measure) -> str:
    return f"{measure.value:,} {measure.note}".strip()


def _target(measure: Measure) -> str:
    if measure.bound is None:
        return "fewer"
    return "0" if measure.bound == 0 else f"<= {measure.bound:g}"


def table(rows: Sequence[Measure]) -> str:
    """The table in Markdown: measure, first edition, now, target."""
    lines = ["| measure | first edition | now | target |", "|---|---|---|---|"]
    for row in rows:
        now = f"**{_cell(row)}**" if row.broken else _cell(row)
        lines.append(f"| {row.title} | {FIRST_EDITION.get(row.key, '')} | {now} | {_target(row)} |")
    return "\n".join(lines)


def write(page: Path, rows: Sequence[Measure]) -> None:
    """Write the table between two comments of a page.

    Raises:
        ValueError: the page does not have these comments.
    """
    before, begin, remainder = page.read_text("utf-8").partition(OPEN)
    _, end, after = remainder.partition(CLOSE)
    if not begin or not end:
        raise ValueError(
            f"{page} has no place for the table; expected the comments {OPEN} and {CLOSE}. Add them on separate lines."
        )
    page.write_text(f"{before}{OPEN}\n\n{table(rows)}\n\n{CLOSE}{after}", "utf-8")


def _as_json(rows: Sequence[Measure], verbose: bool) -> str:
    table_rows = [
        {"key": row.key, "title": row.title, "value": row.value, "wanted": row.bound, "note": row.note.strip("`")}
        | {"broken": row.broken}
        | ({"offences": [str(offence) for offence in row.offences]} if verbose else {})
        for row in rows
    ]
    return json.dumps(table_rows, indent=2)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; with --check, the exit status is 1 if a bound is exceeded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="checkout to measure")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--check", action="store_true", help="exit 1 and list the offences if a bound is exceeded")
    parser.add_argument("--write", action="store_true", help="update the table in CONTRIBUTING.md")
    parser.add_argument("-v", "--verbose", action="store_true", help="list the offences of every measure")
    flags = parser.parse_args(words)
    rows = measures(House(flags.root))
    print(_as_json(rows, flags.verbose) if flags.json else table(rows))
    if flags.write:
        write(flags.root / "CONTRIBUTING.md", rows)
    broken = [row for row in rows if row.broken]
    if not flags.json:
        for row in rows if flags.verbose else broken if flags.check else ():
            print(f"\n{row.title}: {_cell(row)} (target {_target(row)})")
            for offence in row.offences:
                print(f"  {offence}")
    return 1 if flags.check and broken else 0


if __name__ == "__main__":
    sys.exit(main())
