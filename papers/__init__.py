"""Published results, made again: one function a table, its rows resumable, the paper's numbers beside ours."""

from collections.abc import Callable
from typing import Any

from papers.ima import (
    ima_consistency,
    ima_gap,
    ima_linear,
    ima_moebius,
    ima_sprites,
)
from papers.implicit import iae_cluster, iae_semisup
from papers.posterior import iae_posterior
from papers.strings import grae_expressions, grae_molecules
from papers.style import iae_style
from papers.table1 import TABLE1, rae_table1, table1_markdown
from papers.translate import iae_translate

__all__ = ["NAMES", "TABLE1", "rae_table1", "table1_markdown"]

NAMES: dict[str, Callable[..., Any]] = {
    "rae-table1": rae_table1,
    "ima-moebius": ima_moebius,
    "ima-linear": ima_linear,
    "ima-gap": ima_gap,
    "ima-consistency": ima_consistency,
    "ima-sprites": ima_sprites,
    "iae-cluster": iae_cluster,
    "iae-semisup": iae_semisup,
    "iae-posterior": iae_posterior,
    "iae-style": iae_style,
    "iae-translate": iae_translate,
    "grae-expressions": grae_expressions,
    "grae-molecules": grae_molecules,
}
