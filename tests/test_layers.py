"""Who may import whom (docs/architecture), read from the source: `LAYERS` and `NEVER` of tools/house.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import house

HOUSE = house.House(Path(__file__).parents[1])


@pytest.mark.parametrize("source", HOUSE.package, ids=lambda source: source.inside)
def test_imports_go_downwards(source):
    assert [str(offence) for offence in house.upward_imports(HOUSE, source)] == []


def test_layers_name_each_package_once():
    names = [name for layer in house.LAYERS for name in sorted(layer)]
    assert len(names) == len(set(names))
    assert {name for pair in house.NEVER.items() for name in (pair[0], *pair[1])} <= set(names)


@pytest.mark.parametrize(
    "package", ["terms", "densities", "metrics", "data", "samplers", "diagnostics", "grammar", "optimise"]
)
def test_all_is_what_can_be_imported(package):
    module = __import__(f"chartae.{package}", fromlist=["__all__"])
    assert all(hasattr(module, name) for name in module.__all__)
