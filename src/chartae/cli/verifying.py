"""`chartae verify`: whether the files of a run are as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from chartae.cli.checks import NotMet
from chartae.cli.flags import flag
from chartae.cli.verb import Printing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chartae.records.verification import Verified

__all__ = ["Verify"]


@dataclass(frozen=True)
class Verify(Printing):
    """Check every file of a run, or of a comparison, against its digest: exit status 1 if one is wrong."""

    examples: ClassVar[tuple[str, ...]] = ("verify runs/a", "verify runs/comparison --json")

    folder: Annotated[Positional[Path], flag("folder of a run or of a comparison", "FOLDER")]

    def run(self, options: Mapping[str, str]) -> None:
        from chartae.records.verification import verify

        files = verify(self.folder)
        self.conclude([file.to_dict() for file in files], lambda: _print(files))
        if wrong := [file.name for file in files if file.state == "wrong"]:
            raise NotMet(f"{len(wrong)} of {len(files)} files of {self.folder} are wrong: {', '.join(wrong)}")


def _print(files: Sequence[Verified]) -> None:
    table = Table("file", "state", "reason", box=None, pad_edge=False)
    for file in files:
        table.add_row(escape(file.name), file.state, escape(file.reason))
    Console().print(table, highlight=False)
