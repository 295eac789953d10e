"""`chartae reproduce`: find the reproductions of the source checkout, and run one."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional

from chartae.cli.flags import DataFlags, flag
from chartae.cli.verb import Printing, progress, say
from chartae.records.comparison import Comparison

if TYPE_CHECKING:
    from papers import Record

__all__ = ["Reproduce", "find_papers"]

WHERE = """reproductions are scripts of chartae's source checkout, which are not installed with the package.
Get the source (git clone its repository, or unpack its sdist: pip download --no-deps --no-binary chartae chartae),
run `make setup` there, then `.venv/bin/chartae reproduce NAME --out FOLDER`
or `.venv/bin/python -m papers NAME --out FOLDER`."""


def find_papers() -> dict[str, Record]:
    """The table of reproductions, imported from the checkout that this package lies in.

    Where the caller has imported `papers` already, as ``python -m papers`` does, that package is used.

    Raises:
        ImportError: the package is installed without its source checkout; the message says where to get it.
    """
    if "papers" not in sys.modules:
        package = Path(__file__).resolve().parents[1]
        checkout = package.parents[1]
        init = checkout / "papers" / "__init__.py"
        if package != checkout / "src" / "chartae" or not init.is_file():
            raise ImportError(WHERE)
        spec = importlib.util.spec_from_file_location("papers", init, submodule_search_locations=[str(init.parent)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules["papers"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    from papers import records

    return records()


def names() -> str:
    """What --help says of the names: one a line, with its summary."""
    try:
        return "one of\n" + "\n".join(f"{record.name}: {record.summary}" for record in find_papers().values())
    except ImportError as error:
        return str(error)


def takers(field: str) -> str:
    """What --help says of a flag that only some reproductions take: which ones."""
    try:
        return "for " + ", ".join(name for name, record in find_papers().items() if field in record.takes)
    except ImportError:
        return "for some"


@dataclass(frozen=True)
class Reproduce(Printing):
    """Reproduce a published result, part by part; run it again to continue where it stopped."""

    examples: ClassVar[tuple[str, ...]] = (
        "reproduce rae-table1 --quick --data mnist --out runs/table1",
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
    device: Annotated[
        str | None, flag("where to train, such as cpu; small two-dimensional models always train on the CPU", "NAME")
    ] = None
    data: DataFlags = dataclasses.field(default_factory=DataFlags)
    overwrite: Annotated[bool, flag("remove the parts in the folder first")] = False

    def run(self, options: Mapping[str, str]) -> None:
        find_papers()
        from papers import Request, reproduce

        shared = {f.name for f in dataclasses.fields(Request)} & {f.name for f in dataclasses.fields(self)}
        values: dict[str, Any] = {name: getattr(self, name) for name in shared}
        values |= {"data": self.dataset, "root": self.data.data_root, "say": say, "progress": progress()}
        results: Any = reproduce(self.name, Request(**values))
        self.conclude(
            results.to_dict() if isinstance(results, Comparison) else results or {},
            lambda: print((self.out / "table.md").read_text()),
        )
        say(f"the table and its pictures are in {self.out}")
