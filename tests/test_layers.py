"""Who may import whom (docs/architecture), read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "chartae"

#: from the ground up; a module imports only from the floors below its own (and from its own package)
FLOORS = [
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
NEVER = {
    "samplers": {"terms", "diagnostics"},
    "diagnostics": {"terms", "samplers"},
    "densities": {"terms", "objectives"},
    "report": {"runs", "evaluation", "autoencoder", "data"},
}
MODULES = sorted(p for p in SOURCE.rglob("*.py") if p not in (SOURCE / "__init__.py", SOURCE / "__main__.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms of ours that a module imports, anywhere in it."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "chartae":
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("chartae.")}
    return rooms - {room(path)}


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_downwards(path):
    own = room(path)
    for other in imported(path):
        assert floor(other) < floor(own), f"{own} imports {other}"
        assert other not in NEVER.get(own, ()), f"{own} must never import {other}"


@pytest.mark.parametrize(
    "package", ["terms", "densities", "metrics", "data", "samplers", "diagnostics", "grammar", "optimise"]
)
def test_all_is_what_can_be_imported(package):
    module = __import__(f"chartae.{package}", fromlist=["__all__"])
    assert all(hasattr(module, name) for name in module.__all__)
