"""`chartae reproduce`: find the reproductions of the source checkout, and run one."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from chartae.cli.verb import Verb, say

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
class Reproduce(Verb):
    """Reproduce a published result, part by part; run it again to continue where it stopped."""

    name: Annotated[Positional[str], arg(help=names())]
    out: Annotated[Path, arg(help="folder for the parts, the table and the pictures")]
    data: Annotated[str | None, arg(help=f"data set; default mnist ({takers('data')})")] = None
    quick: Annotated[bool, arg(help="small nets, few seeds and few steps, for two CPU cores")] = False
    seeds: Annotated[int | None, arg(help="number of seeds; each reproduction has its own default")] = None
    labels: Annotated[
        int | None, arg(help=f"number of training examples that keep their label ({takers('labels')})")
    ] = None
    recipes: Annotated[tuple[str, ...], arg(help=f"only these rows of the table ({takers('recipes')})")] = ()
    limit: Annotated[int | None, arg(help=f"use only the first N strings ({takers('limit')})")] = None
    epochs: Annotated[int | None, arg(help=f"training epochs ({takers('epochs')})")] = None
    weights: Annotated[
        Path | None, arg(help=f"file of Inception's weights; with it the numbers are FID ({takers('weights')})")
    ] = None
    device: Annotated[
        str | None, arg(help="where to train, such as cpu; small two-dimensional models always train on the CPU")
    ] = None
    data_root: Annotated[Path | None, arg(help="folder of named data sets; default: CHARTAE_DATA, else a download")] = (
        None
    )
    overwrite: Annotated[bool, arg(help="remove the parts in the folder first")] = False

    def run(self, options: Mapping[str, str]) -> None:
        find_papers()
        from papers import Request, reproduce

        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        name, root = values.pop("name"), values.pop("data_root")
        reproduce(name, Request(**values, root=root, say=say, progress=True))
        print((self.out / "table.md").read_text())
        say(f"the table and its pictures are in {self.out}")
