"""What a search keeps after every round, and its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from chartae.optimise.acquisition import Region
from chartae.optimise.history import Row
from chartae.optimise.problem import Problem
from chartae.optimise.settings import Search
from chartae.optimise.surrogates import Fit
from chartae.optimise.workers import Scored
from chartae.records.files import read_tensors, replace_text, write_tensors

__all__ = ["Shared", "State", "fingerprint", "shared"]

FORMAT = 1


def fingerprint(*parts: object) -> str:
    """Sixteen hex digits that change with tensors and strings."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.detach().cpu().contiguous().numpy().tobytes() if isinstance(part, Tensor) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


class Shared(TypedDict):
    """What a resumed search must have in common with the one in the folder."""

    about: Mapping[str, str | float | None]
    method: str
    surrogate: str
    batch: int
    support: float | None
    keep: int
    floor: float
    draws: int
    spares: int
    side: float
    candidates: int
    explore: float
    starts: int
    fit: Fit
    seed: int
    timeout: float | None
    retrain: float | None
    data: str


def shared(problem: Problem, search: Search) -> Shared:
    """What of a problem and its settings may not change between rounds."""
    start = problem.start
    return {
        "about": dict(problem.about),
        "method": search.method,
        "surrogate": search.surrogate,
        "batch": search.batch,
        "support": None if start.density is None else search.support,
        "keep": search.keep,
        "floor": search.quantile,
        "draws": search.draws,
        "spares": search.spares,
        "side": search.side,
        "candidates": search.candidates,
        "explore": search.explore,
        "starts": search.starts,
        "fit": search.fit,
        "seed": search.seed,
        "timeout": search.timeout,
        "retrain": None if problem.retrain is None else search.k,
        "data": fingerprint(start.codes, start.scores, *(problem.strings or [])),
    }


@dataclass
class State:
    """What a search knows after a round.

    Attributes:
        region: the trust region of the next round.
        proposed: codes (n, D) of the rows.
        rows: what was evaluated, in order.
        scored: every string that was scored in the search, kept or not.
    """

    region: Region
    proposed: Tensor
    rows: list[Row] = field(default_factory=list)
    scored: dict[str, Scored] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, first: State, facts: Shared, search: Search) -> State:
        """The state in a folder: `first`, written there, or the one of a search that is resumed.

        Raises:
            FileExistsError: the folder holds a search, and neither resume nor overwrite is set; it is a file.
            FileNotFoundError: there is nothing to resume.
            ValueError: the files are damaged, of a newer version, or of a search with other settings.
        """
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"{folder} is a file; a search needs a folder")
        check_folder(folder, search)
        if search.resume:
            return cls._read(folder, first, facts)
        first.write(folder, facts)
        return first

    @classmethod
    def _read(cls, folder: Path, first: State, facts: Shared) -> State:
        path = folder / "state.json"
        try:
            kept = json.loads(path.read_text())
            if kept["format"] > FORMAT:
                raise ValueError(f"{path} was written by a newer chartae (format {kept['format']}); update chartae")
            former, rows, region = kept["settings"], [Row(**row) for row in kept["rows"]], Region(**kept["region"])
            scored = {string: Scored(*result) for string, result in kept["scored"].items()}
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        for key, now in json.loads(json.dumps(facts)).items():
            if former.get(key) != now:
                raise ValueError(
                    f"the search in {folder} has {key} = {former.get(key)!r}, this one {now!r}; resume needs the same"
                )
        tensors, _ = read_tensors(folder / "codes.safetensors", kind="search")
        proposed = tensors.get("codes")
        if proposed is None or proposed.shape[1:] != first.proposed.shape[1:] or len(proposed) < len(rows):
            raise ValueError(f"{folder / 'codes.safetensors'} does not fit {path}; begin again with overwrite")
        return cls(region, proposed[: len(rows)].to(torch.float64), rows, scored)

    def write(self, folder: Path, facts: Shared) -> None:
        """Write ``codes.safetensors`` and ``state.json``."""
        # the codes first: until state.json names their rows, they do not count
        write_tensors(
            folder / "codes.safetensors", {"codes": self.proposed}, kind="search", facts={"rows": len(self.rows)}
        )
        kept = {
            "format": FORMAT,
            "settings": facts,
            "region": asdict(self.region),
            "rows": [asdict(row) for row in self.rows],
            "scored": self.scored,
        }
        replace_text(folder / "state.json", json.dumps(kept, indent=1))


def check_folder(folder: Path, search: Search) -> None:
    """Raise an error if the folder's content and `resume` or `overwrite` do not go together."""
    holds = (folder / "state.json").is_file()
    if holds and not (search.resume or search.overwrite):
        raise FileExistsError(f"{folder} holds a search; choose a new folder, or say overwrite or resume")
    if search.resume and not holds:
        raise FileNotFoundError(f"{folder} holds no search to resume")
