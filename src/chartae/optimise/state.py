"""The state of a search after each round, and its files."""

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
from chartae.records import manifest
from chartae.records.files import Damaged, quoted, read_text, reading, replace_text
from chartae.records.tensors import read_tensors, write_tensors

__all__ = ["FILES", "Shared", "State", "fingerprint", "shared"]

FORMAT = 1
#: the largest state that is read, in bytes
MOST_STATE = 1 << 28
#: the files of the state, and all files of a search
FILES = ("codes.safetensors", "state.json")
OF_A_SEARCH = (*FILES, "scores.safetensors", "results.json", "strings.csv")


def fingerprint(*parts: object) -> str:
    """A digest of tensors and strings, as sixteen hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.detach().cpu().contiguous().numpy().tobytes() if isinstance(part, Tensor) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


class Shared(TypedDict):
    """The facts in which a resumed search must agree with the search in the folder."""

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
    """The facts about a problem and its settings that must not change between rounds."""
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
        "data": fingerprint(start.codes, start.scores, *(problem.strings or []), *problem.known.strings),
    }


@dataclass
class State:
    """The state of a search after a round.

    Attributes:
        region: trust region of the next round.
        proposed: codes (n, D) of the rows.
        rows: evaluated codes, in order.
        scored: result of every string that the search has scored, including strings that no row keeps.
    """

    region: Region
    proposed: Tensor
    rows: list[Row] = field(default_factory=list)
    scored: dict[str, Scored] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, first: State, facts: Shared, search: Search) -> State:
        """Open the state in a folder: read it if the search is resumed, else write `first`.

        Raises:
            FileExistsError: the folder holds a search, and neither resume nor overwrite is set; it holds something
                else; or it is a file.
            ValueError: the files are damaged, have a newer format, or belong to a search with other settings.
        """
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"folder is {folder}, a file; expected a folder. Choose another path.")
        check_target(folder, search)
        if search.resume and (folder / "state.json").is_file():
            return cls._read(folder, first, facts)
        first.write(folder, facts)
        return first

    @classmethod
    def _read(cls, folder: Path, first: State, facts: Shared) -> State:
        path = folder / "state.json"
        with reading(path, "state of a search; start again with overwrite"):
            record = json.loads(read_text(path, MOST_STATE))
            if record["format"] > FORMAT:
                raise Damaged(
                    f"{path} has format {quoted(record['format'])}; expected at most {FORMAT}. Update chartae, which "
                    "wrote it in a newer version."
                )
            former, region = dict(record["settings"]), Region(**record["region"])
            rows = [Row(**row) for row in record["rows"]]
            scored = {string: Scored(*result) for string, result in record["scored"].items()}
        for key, now in json.loads(json.dumps(facts)).items():
            if former.get(key) != now:
                raise ValueError(
                    f"{key} is {now!r}; expected {former.get(key)!r:.200}, as in the search in {folder} that is "
                    "resumed. Resume with the same settings, or start again with overwrite."
                )
        tensors, _ = read_tensors(folder / "codes.safetensors", kind="search")
        proposed = tensors.get("codes")
        if proposed is None or proposed.shape[1:] != first.proposed.shape[1:] or len(proposed) < len(rows):
            raise ValueError(
                f"{folder / 'codes.safetensors'} does not match {path}; expected one code for each of {len(rows)} "
                "rows. Start again with overwrite."
            )
        return cls(region, proposed[: len(rows)].to(torch.float64), rows, scored)

    def write(self, folder: Path, facts: Shared) -> None:
        """Write ``codes.safetensors`` and ``state.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        manifest.register(folder, *FILES, changing=True)
        # the codes first, because codes without rows in state.json are ignored
        write_tensors(
            folder / "codes.safetensors", {"codes": self.proposed}, kind="search", facts={"rows": len(self.rows)}
        )
        record = {
            "format": FORMAT,
            "settings": facts,
            "region": asdict(self.region),
            "rows": [asdict(row) for row in self.rows],
            "scored": self.scored,
        }
        replace_text(folder / "state.json", json.dumps(record, indent=1))


def check_target(folder: Path, search: Search) -> None:
    """Check that the folder is new or holds a search, and that `resume` and `overwrite` suit what it holds.

    Raises:
        FileExistsError: the folder holds a search, and neither is set; or it holds files of something else, such as a
            run, which a search would replace.
    """
    if (folder / "state.json").is_file() and not (search.resume or search.overwrite):
        raise FileExistsError(
            f"{folder} holds a search; expected a new folder. Set resume or overwrite, or choose another folder."
        )
    others = sorted({*(manifest.listed(folder) or ())} - {*OF_A_SEARCH})
    if others:
        raise FileExistsError(
            f"{folder} holds {', '.join(others[:3])}, which no search wrote; expected a new folder, or that of a "
            "search. Choose another folder."
        )
