"""`chartae reproduce`: find the reproductions of the source checkout, and run one."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import Positional

from chartae.cli.flags import DataFlags, flag
from chartae.cli.verb import Printing, progress, say

__all__ = ["Reproduce", "find_papers"]

WHERE = """reproductions are scripts of chartae's source checkout, which are not installed with the package.
Get the source (git clone its repository, or unpack its sdist: pip download --no-deps --no-binary chartae chartae),
run `make setup` there, then `.venv/bin/chartae reproduce NAME --out FOLDER`
or `.venv/bin/python -m papers NAME --out FOLDER`."""


def folders() -> tuple[Path, ...]:
    """Where the reproductions lie: in the checkout that this package lies in, or where `papers` was imported from.

    Raises:
        ImportError: the package is installed without its source checkout; the message says where to get it.
    """
    if "papers" in sys.modules:
        return tuple(Path(folder) for folder in sys.modules["papers"].__path__)
    package = Path(__file__).resolve().parents[1]
    papers = package.parents[1] / "papers"
    if package != package.parents[1] / "src" / "chartae" or not (papers / "__init__.py").is_file():
        raise ImportError(WHERE)
    return (papers,)


def find_papers() -> None:
    """Import `papers` from the checkout, unless it is imported already, as by ``python -m papers``."""
    folder = folders()[0]
    if "papers" not in sys.modules:
        init = folder / "__init__.py"
        spec = importlib.util.spec_from_file_location("papers", init, submodule_search_locations=[str(folder)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules["papers"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


@dataclass(frozen=True)
class Listed:
    """What the source of a reproduction says: its name, its summary, and the optional flags that it takes."""

    name: str
    summary: str
    takes: tuple[str, ...]


@cache
def listed(places: tuple[Path, ...]) -> tuple[Listed, ...]:
    """The reproductions in some folders, read from their source: importing them would load torch for --help."""
    rows: list[Listed] = []
    for path in (path for folder in places for path in folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for function in tree.body:
            if isinstance(function, ast.FunctionDef):
                rows += [_listed(function, call, constants) for call in function.decorator_list]
    return tuple(sorted((row for row in rows if row.name), key=lambda row: row.name))


def _listed(function: ast.FunctionDef, call: ast.expr, constants: Mapping[str, ast.expr]) -> Listed:
    """A function with one of its decorators; without a name if that is not `reproduction`."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "reproduction":
        return Listed("", "", ())
    values = {keyword.arg: keyword.value for keyword in call.keywords} | dict(zip(("name", "takes"), call.args))  # noqa: B905
    takes = values.get("takes", ast.Tuple([], ast.Load()))
    takes = constants.get(takes.id, takes) if isinstance(takes, ast.Name) else takes
    summary = (ast.get_docstring(function) or "").split("\n\n")[0]
    return Listed(ast.literal_eval(values["name"]), " ".join(summary.split()), tuple(ast.literal_eval(takes)))


def names() -> str:
    """What --help says of the names: one a line, with its summary."""
    try:
        return "one of\n" + "\n".join(f"{row.name}: {row.summary}" for row in listed(folders()))
    except ImportError as error:
        return str(error)


def takers(field: str) -> str:
    """What --help says of a flag that only some reproductions take: which ones."""
    try:
        return "for " + ", ".join(row.name for row in listed(folders()) if field in row.takes)
    except ImportError:
        return "for some"


@dataclass(frozen=True)
class Reproduce(Printing):
    """Reproduce a published result, part by part; run it again to continue where it stopped."""

    examples: ClassVar[tuple[str, ...]] = (
        "reproduce rae-table1 --quick --data mnist --out runs/table1",
        "reproduce rae-table1 --epochs 30 --precision bf16 --jobs 4 --minutes 60 --device cuda --out runs/table1",
        "reproduce iae-cluster --quick --seeds 2 --out runs/clusters",
    )

    name: Annotated[Positional[str], flag(names(), "NAME")]
    out: Annotated[Path, flag("folder for the parts, the table and the pictures", "FOLDER")]
    dataset: Annotated[str | None, flag(f"data set; by default mnist ({takers('data')})", "DATA", "data")] = None
    quick: Annotated[bool, flag("small nets, few seeds and few steps, for two CPU cores")] = False
    seeds: Annotated[int | None, flag("number of seeds; by default as the reproduction says", "N")] = None
    labels: Annotated[
        int | None, flag(f"number of training examples that keep their label ({takers('labels')})", "N")
    ] = None
    recipes: Annotated[tuple[str, ...], flag(f"only these rows of the table ({takers('recipes')})", "NAME ...")] = ()
    limit: Annotated[int | None, flag(f"use only the first N strings ({takers('limit')})", "N")] = None
    epochs: Annotated[int | None, flag(f"training epochs ({takers('epochs')})", "N")] = None
    weights: Annotated[
        Path | None, flag(f"file of Inception's weights; with it the numbers are FID ({takers('weights')})", "FILE")
    ] = None
    net: Annotated[str | None, flag(f"nets, such as paper:0.25 ({takers('net')})", "NET")] = None
    precision: Annotated[str | None, flag(f"fp32, bf16, or fp16 on a GPU ({takers('precision')})", "NAME")] = None
    jobs: Annotated[int | None, flag(f"number of models trained at the same time ({takers('jobs')})", "N")] = None
    minutes: Annotated[
        float | None,
        flag(f"time for training, after which it stops, resumable ({takers('minutes')})", "MINUTES"),
    ] = None
    factorial: Annotated[
        bool, flag(f"switch each part of the objective on and off, in all combinations ({takers('factorial')})")
    ] = False
    device: Annotated[
        str | None, flag("where to train, such as cpu; small two-dimensional models always train on the CPU", "NAME")
    ] = None
    data: DataFlags = dataclasses.field(default_factory=DataFlags)
    overwrite: Annotated[bool, flag("remove the parts in the folder first")] = False

    def run(self, options: Mapping[str, str]) -> None:
        find_papers()
        from chartae.records import lock
        from chartae.records.comparison import Comparison
        from papers import Request, reproduce

        shared = {f.name for f in dataclasses.fields(Request)} & {f.name for f in dataclasses.fields(self)}
        values: dict[str, Any] = {name: getattr(self, name) for name in shared}
        values |= {"data": self.dataset, "root": self.data.data_root, "say": say, "progress": progress()}
        with lock.writer(self.out):
            results: Any = reproduce(self.name, Request(**values))
        self.conclude(
            results.to_dict() if isinstance(results, Comparison) else results or {},
            lambda: print((self.out / "table.md").read_text()),
        )
        say(f"the table and its pictures are in {self.out}")
