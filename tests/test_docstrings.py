"""Every public name says what it is, what it takes and gives, and shows an example that stands alone.

Public are the names in the `__all__` of chartae and of its packages. The examples themselves are executed as doctests.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from typing import is_typeddict

import pytest

import chartae

PACKAGES = ["chartae", *(m.name for m in pkgutil.walk_packages(chartae.__path__, "chartae.") if m.ispkg)]


def public() -> Iterator[tuple[str, object]]:
    """Every public function and class once, with the shortest path to it."""
    seen: set[int] = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and id(value) not in seen:
                seen.add(id(value))
                yield f"{package}.{name}", value


NAMES = dict(public())


def doc_of(value: object) -> str:
    return inspect.cleandoc(value.__doc__ or "")


def parts_of(doc: str) -> dict[str, str]:
    """The text of each section of a docstring."""
    heads = list(re.finditer(r"^(Args|Attributes|Returns|Yields|Raises):[ ]*$", doc, re.MULTILINE))
    ends = [*(head.start() for head in heads), len(doc)][1:]
    return {head[1]: doc[head.end() : end] for head, end in zip(heads, ends, strict=True)}


def listed(part: str) -> set[str]:
    """The names that a section explains: `a, b: ...`, `**options: ...`."""
    heads = re.findall(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*):", part, re.MULTILINE)
    return {name.lstrip("*") for head in heads for name in head.split(", ")}


def parameters_of(value: object) -> set[str]:
    if inspect.isclass(value) and "__init__" not in vars(value):
        return set()  # what a base class takes is explained there
    names = {name for name in inspect.signature(value).parameters if not name.startswith("_")}  # type: ignore[arg-type]
    return names - {"self", "cls"}


def raises_itself(value: object) -> bool:
    """Whether a function has a `raise` of its own, which is not for what can never happen."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(value)))  # type: ignore[arg-type]
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def needs_example(value: object) -> bool:
    """Everything but what cannot be made or called alone: abstract classes, protocols, exceptions, types of records."""
    if not inspect.isclass(value):
        return True
    is_protocol = getattr(value, "_is_protocol", False)
    return not (inspect.isabstract(value) or is_protocol or is_typeddict(value) or issubclass(value, BaseException))


def unbound(source: str) -> set[str]:
    """The names that an example uses without having made or imported them."""
    tree = ast.parse(source)
    made = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    made |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
            made.add(node.name)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return used - made - set(dir(__import__("builtins"))) - {"_"}


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented(name: str) -> None:
    value, doc = NAMES[name], doc_of(NAMES[name])
    faults: list[str] = []
    # a sentence may go on with a formula in a line of its own
    first, _, others = doc.partition("\n\n")
    if not re.match(r"\S.*[.:?]$", first.replace("\n", " ")) and not others.startswith("    "):
        faults.append("the first paragraph is no sentence")
    parts = parts_of(doc)
    explained = listed(parts.get("Args", "")) | listed(parts.get("Attributes", ""))
    is_record = is_typeddict(value) or (inspect.isclass(value) and getattr(value, "_is_protocol", False))
    abstract = inspect.isclass(value) and inspect.isabstract(value)
    error = inspect.isclass(value) and issubclass(value, BaseException)
    if not (is_record or abstract or error) and (missing := parameters_of(value) - explained):
        faults.append(f"not under Args or Attributes: {', '.join(sorted(missing))}")
    if inspect.isfunction(value):
        returned = inspect.signature(value).return_annotation
        if returned not in (None, "None", inspect.Signature.empty) and not {"Returns", "Yields"} & set(parts):
            faults.append("no Returns")
        if raises_itself(value) and "Raises" not in parts:
            faults.append("no Raises")
    examples = doctest.DocTestParser().get_examples(doc)
    if needs_example(value) and not examples:
        faults.append("no example")
    if any(doctest.SKIP in example.options for example in examples):
        faults.append("an example that is not executed")
    if examples and (free := unbound("".join(example.source for example in examples))):
        faults.append(f"the example uses {', '.join(sorted(free))} without importing it")
    assert not faults, f"{name}: " + "; ".join(faults)
