"""What a training logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["History", "Row", "read_log"]

#: a row of `log.jsonl`
Row = dict[str, float | str]


@dataclass
class History:
    """How a training went.

    Attributes:
        rows: the log, as written to `log.jsonl`: dicts with `split` ("train" or "valid"), `epoch` (from 1), `step`
            (of the whole run), `loss` and every term by its name, in nats per example; train rows also `lr` and
            `seconds` since the start. Rows of split "alarm" are what the objective finds wrong: `kind` and `alarm`.
        epochs: number of epochs trained.
        best_epoch: the epoch whose weights the model now has.
        stopped: why training ended.
        seconds: wall time in training steps and validation, over all resumed parts.
    """

    rows: list[Row] = field(default_factory=list)
    epochs: int = 0
    best_epoch: int = 0
    stopped: str = ""
    seconds: float = 0.0

    def last(self, split: str = "train") -> Row:
        """The newest row of a split."""
        return next(row for row in reversed(self.rows) if row["split"] == split)

    def of(self, split: str) -> list[Row]:
        """The rows of a split."""
        return [row for row in self.rows if row["split"] == split]

    def append(self, rows: Sequence[Row], folder: Path | None) -> None:
        """Add rows, also to the log file of a folder."""
        self.rows += rows
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "log.jsonl").open("a") as f:
                f.writelines(json.dumps(row) + "\n" for row in rows)

    def rewrite(self, folder: Path) -> None:
        """The log file as these rows alone: those of steps that will be taken again are dropped."""
        (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.rows))


def read_log(folder: Path) -> list[Row]:
    """The rows of a folder's log; an empty list where there is none.

    Raises:
        ValueError: a log that is damaged.
    """
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
