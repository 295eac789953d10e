"""Sentences at random from what chartae says, for someone to judge whether each is understood at first reading.

    python tools/sentences.py --n 60 --seed 0             # numbered, one a line
    python tools/sentences.py --root DIR --json           # of another checkout, with the place of each

A third each from error messages, docstrings and pages of the documentation. Nothing is imported: the source is parsed.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path


def sentences(text: str) -> list[str]:
    """The sentences of a text, with their white space joined."""
    parts = re.split(r"(?<=[.!?:])\s+(?=[A-Z`*])|\n\s*\n|\n(?=\s*[-*] )", text)
    cleaned = (" ".join(part.split()) for part in parts)
    return [s for s in cleaned if len(s.split()) >= 5 and re.search("[a-z]{3}", s)]


def message(node: ast.expr) -> str:
    """The text of a string expression; what is filled in is shown as {...}."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return message(node.left) + message(node.right)
    return ""


def errors(root: Path) -> Iterator[tuple[str, str]]:
    """The messages of errors and warnings, each whole, and where it stands."""
    for path in sorted((root / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            calls = [node.exc] if isinstance(node, ast.Raise) else [node] if isinstance(node, ast.Call) else []
            for call in calls:
                if not isinstance(call, ast.Call) or not call.args:
                    continue
                warns = isinstance(call.func, ast.Attribute) and call.func.attr == "warn"
                if (isinstance(node, ast.Raise) or warns) and len(text := message(call.args[0])) > 20:
                    yield " ".join(text.split()), f"{path.relative_to(root)}:{node.lineno}"


def docstrings(root: Path) -> Iterator[tuple[str, str]]:
    """The sentences of docstrings, without their examples."""
    for path in sorted((root / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = re.split(r"\n\s*>>> ", ast.get_docstring(node) or "")[0]
                line = getattr(node, "lineno", 1)
                yield from ((s, f"{path.relative_to(root)}:{line}") for s in sentences(text))


def pages(root: Path) -> Iterator[tuple[str, str]]:
    """The sentences of the README and the documentation, without code and tables."""
    for path in [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]:
        if "_build" in path.parts or path.name == "evidence.md":
            continue
        text = re.sub(r"(?s)```.*?```", "", path.read_text(encoding="utf-8"))
        text = re.sub(r"(?m)^[|#].*$", "", text)
        yield from ((s, str(path.relative_to(root))) for s in sentences(text))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    chosen: list[tuple[str, str]] = []
    kinds = (errors, docstrings, pages)
    for i, kind in enumerate(kinds):
        every = sorted(set(kind(arguments.root)))
        chosen += chance.sample(every, arguments.n * (i + 1) // len(kinds) - arguments.n * i // len(kinds))
    chance.shuffle(chosen)
    if arguments.json:
        print(json.dumps([{"sentence": text, "place": place} for text, place in chosen], indent=1))
        return
    for number, (text, _) in enumerate(chosen, 1):
        print(f"{number}. {text}")


if __name__ == "__main__":
    main()
