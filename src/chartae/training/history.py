"""The log of a training run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from chartae.records.log import LOG, read_log

__all__ = ["History", "Row", "read_rows"]


#: a row of `log.jsonl`
Row = dict[str, float | str]


@dataclass
class History:
    """The log of a training run, and how it ended.

    Attributes:
        rows: the log, as written to `log.jsonl`: dicts with `split` ("train" or "valid"), `epoch` (counted from 1),
            `step` (counted over the whole run), `loss` and each term by its name, in nats per example. Train rows also
            have `lr` and `seconds` since the start. Rows of split "alarm" are warnings of the objective, with `kind`
            and `alarm`.
        epochs: number of epochs trained.
        best_epoch: the epoch whose weights the model has, counted from 1.
        stopped: the reason why training ended, in words.
        seconds: wall time of training steps and validation, summed over resumed parts.
        threads: number of threads of a step on the CPU: 1 if a step has at most 3e8 floating-point operations
            (`chartae.training.work.step_work`), otherwise `torch.get_num_threads()` of the caller; 0 if unknown.

    >>> from chartae.training import History
    >>> history = History([{"split": "train", "loss": 3.0}, {"split": "valid", "loss": 4.0}])
    >>> history.last("train")["loss"], len(history.of("valid"))
    (3.0, 1)
    """

    rows: list[Row] = field(default_factory=list)
    epochs: int = 0
    best_epoch: int = 0
    stopped: str = ""
    seconds: float = 0.0
    threads: int = 0

    def last(self, split: str = "train") -> Row:
        """The last row of a split."""
        return next(row for row in reversed(self.rows) if row["split"] == split)

    def of(self, split: str) -> list[Row]:
        """The rows of a split."""
        return [row for row in self.rows if row["split"] == split]

    def tail(self, split: str, count: int) -> list[Row]:
        """The last `count` rows of a split, in order."""
        return [*itertools.islice((row for row in reversed(self.rows) if row["split"] == split), count)][::-1]


def read_rows(folder: Path, size: int | None = None) -> list[Row]:
    """The rows of a folder's log, or of its first `size` bytes; an empty list if it has none.

    Raises:
        ValueError: the log is damaged.
    """
    return [cast(Row, {**row}) for row in read_log(folder / LOG, size)]
