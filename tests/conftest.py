"""Tests run in float64, with the shapes in annotations checked; data of the field are used where they lie."""

from __future__ import annotations

import os
from pathlib import Path

from jaxtyping import install_import_hook

hook = install_import_hook("chartae", "shapes.check")

import pytest  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def float32(_float64):
    """For tests of what users run: torch's own default dtype."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; tests that need it are skipped where there is none."""
    for root in (os.environ.get("CHARTAE_DATA"), ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "mnist").is_dir():
            return Path(root)
    pytest.skip("no real data: set CHARTAE_DATA")
