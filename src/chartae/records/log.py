"""The training log, stored in `log.jsonl`: one line for each row of training losses, validation losses or alarm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from chartae.records.files import read_text
from chartae.records.named import Named
from chartae.records.parsing import Place, Value, is_finite, is_number

__all__ = ["LogRow", "read_log"]

#: the largest log that is read, in bytes
MOST_LOG = 1 << 30
#: keys of a row that are not terms of the loss
NOT_TERMS = ("split", "epoch", "step", "lr", "seconds", "kind", "alarm")


class LogRow(Named[Value]):
    """A row of the log: `row["loss"]` or `row.loss`.

    `split` is ``"train"``, ``"valid"`` or ``"alarm"``; `epoch` and `step` count from 1; the loss and its terms are in
    nats per example. In an alarm row, `alarm` says what went wrong.
    """

    __slots__ = ()

    @property
    def split(self) -> str:
        return str(self.get("split", ""))

    @property
    def epoch(self) -> float | None:
        value = self.get("epoch")
        return value if is_finite(value) else None

    @property
    def step(self) -> float | None:
        value = self.get("step")
        return value if is_finite(value) else None

    @property
    def alarm(self) -> str:
        return str(self.get("alarm"))

    @property
    def terms(self) -> Mapping[str, float]:
        """The loss and all numbers logged with it, finite or not."""
        return {k: v for k, v in self.items() if is_number(v) and k not in NOT_TERMS}

    def to_dict(self) -> dict[str, Value]:
        return {**self}


def read_log(path: str | Path) -> list[LogRow]:
    """Read the rows of a `log.jsonl`; empty if the file does not exist.

    Raises:
        ValueError: a line is damaged; the message names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        return []
    rows: list[LogRow] = []
    number = 0
    try:
        for number, line in enumerate(read_text(path, MOST_LOG).split("\n"), 1):  # noqa: B007 - in the error
            if line.strip():
                rows.append(LogRow(Place(key="a row").mapping(json.loads(line))))
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise ValueError(f"{path} is damaged in line {number}: {error}") from error
    return rows
