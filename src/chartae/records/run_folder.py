"""What a run folder holds for a reader that does not load the model: settings, log, results, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chartae.records import manifest
from chartae.records.log import LogRow, read_log
from chartae.records.parsing import Value, read_toml
from chartae.records.pictures import Pictures
from chartae.records.results import Results

__all__ = ["RunFolder"]

#: keys of run.toml that runs on one kind of data alone have
OF_ONE_KIND = {"codec": "strings"}


@dataclass(frozen=True)
class RunFolder:
    """The readable files of a run folder.

    Attributes:
        settings: `run.toml`, as it stands there.
        log: `log.jsonl`; empty if there is none.
        results: `results.json`; None of a run that has not been evaluated.
        pictures: `pictures.npz`; empty if there is none.
    """

    settings: Mapping[str, Value] = field(default_factory=dict)
    log: Sequence[LogRow] = ()
    results: Results | None = None
    pictures: Pictures = field(default_factory=Pictures)

    @property
    def scored(self) -> Results:
        """The results; empty ones of a run that has not been evaluated."""
        return self.results or Results.from_dict({})

    @property
    def kind(self) -> str:
        """The name of the kind of data, as far as `run.toml` names it; else empty."""
        kind = self.settings.get("kind")
        if isinstance(kind, Mapping):
            kind = kind.get("kind")
        return str(kind or next((name for key, name in OF_ONE_KIND.items() if self.settings.get(key)), ""))

    @classmethod
    def read(cls, folder: str | Path) -> RunFolder:
        """Read a run folder; files but `run.toml` may be absent.

        Raises:
            FileNotFoundError: there is no `run.toml`.
            ValueError: a file is damaged, or is not what chartae wrote.
        """
        folder = Path(folder)
        names = ("run.toml", "log.jsonl", "results.json", "pictures.npz")
        manifest.verify(folder, *(name for name in names if (folder / name).is_file()))
        return cls(
            read_toml(folder / "run.toml"),
            read_log(folder / "log.jsonl"),
            Results.read(folder / "results.json") if (folder / "results.json").is_file() else None,
            Pictures.read(folder / "pictures.npz") if (folder / "pictures.npz").is_file() else Pictures(),
        )
