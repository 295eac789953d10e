"""Read the settings, log, results and pictures of a run folder without loading the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chartae.records import manifest
from chartae.records.files import digest_of
from chartae.records.log import LOG, LogRow, read_log
from chartae.records.parsing import Value, read_toml
from chartae.records.pictures import Pictures
from chartae.records.replacing import settle
from chartae.records.results import Results
from chartae.records.settings import paths_in
from chartae.records.tensors import read_header

__all__ = ["WEIGHTS", "RunFolder", "weights_digest"]

#: the file of the weights in a run folder
WEIGHTS = "weights.safetensors"
#: keys that run.toml has for one kind of data only
OF_ONE_KIND = {"codec": "strings"}


@dataclass(frozen=True)
class RunFolder:
    """The readable files of a run folder.

    Attributes:
        settings: values of `run.toml`.
        log: rows of `log.jsonl`; empty if there is none.
        results: results in `results.json`; None if the run has not been evaluated.
        pictures: arrays of `pictures.npz`; empty if there is none, or if they belong to other results.
        is_stale: whether there are results of other weights, which are left out; default False.
        has_other_pictures: whether there are pictures of other results, which are left out; default False.
    """

    settings: Mapping[str, Value] = field(default_factory=dict)
    log: Sequence[LogRow] = ()
    results: Results | None = None
    pictures: Pictures = field(default_factory=Pictures)
    is_stale: bool = False
    has_other_pictures: bool = False

    @property
    def scored(self) -> Results:
        """The results, or empty ones if the run has not been evaluated."""
        return self.results or Results.from_dict({})

    @property
    def kind(self) -> str:
        """Name of the kind of data; empty if `run.toml` does not name it."""
        kind = self.settings.get("kind")
        if isinstance(kind, Mapping):
            kind = kind.get("kind")
        return str(kind or next((name for key, name in OF_ONE_KIND.items() if self.settings.get(key)), ""))

    @classmethod
    def read(cls, folder: str | Path) -> RunFolder:
        """Read a run folder; all files except `run.toml` may be absent. An interrupted replacement is completed first.

        Raises:
            FileNotFoundError: there is no `run.toml`.
            InUse: another process replaces the run.
            ValueError: a file is damaged, or has changed since chartae wrote it.
        """
        folder = Path(folder)
        settle(folder)
        names = ("run.toml", LOG, "results.json", "pictures.npz")
        manifest.verify(folder, *(name for name in names if (folder / name).is_file()))
        results = Results.read(folder / "results.json") if (folder / "results.json").is_file() else None
        is_stale = results is not None and not results.belongs_to(weights_digest(folder))
        path = folder / "pictures.npz"
        pictures = Pictures.read(path) if path.is_file() and not is_stale else Pictures()
        has_other = results is not None and not pictures.belongs_to(digest_of(folder / "results.json"))
        return cls(
            {**(settings := read_toml(folder / "run.toml")), **paths_in(settings)},
            read_log(folder / LOG),
            None if is_stale else results,
            Pictures() if has_other else pictures,
            is_stale,
            has_other,
        )


def weights_digest(folder: str | Path) -> str:
    """The digest of the weights and settings in a run folder, by which files that are derived from them are marked.

    Args:
        folder: the run folder.

    Returns:
        64 hexadecimal digits; empty if there are no weights, or if an older version wrote them.

    Raises:
        ValueError: the file of the weights is damaged.
    """
    path = Path(folder) / WEIGHTS
    return read_header(path, kind="weights")[2] if path.is_file() else ""
