"""What a post-mortem of a training found: the step, its cause, and numbers around it, stored in `postmortem.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from chartae.records.choices import one_of
from chartae.records.files import Damaged, replace_text
from chartae.records.parsing import Place, Value, is_number, read_json

__all__ = ["CAUSES", "Arithmetic", "Findings", "LayerExtent", "StepRow", "Try"]

#: cause -> what it means, in words
CAUSES: Mapping[str, str] = {
    "input": "the batch has values that are not finite",
    "weights": "a weight was not finite before the step",
    "logarithm": "the logarithm of zero or of a negative number",
    "division": "a division by zero",
    "overflow": "a value too large for its type",
    "undefined": "an operation without a value, such as 0/0 or inf - inf",
    "gradient": "a gradient that is not finite, of a loss that is",
    "unrepeated": "a replay of the step did not repeat it",
}
VERSION = 1
#: the most rows and layers that are read, and the longest name
MOST, LONGEST = 10_000, 400


@dataclass(frozen=True)
class LayerExtent:
    """What a layer gave in the step.

    Attributes:
        name: name of the layer in the objective, such as ``"model.encoder.net.0"``.
        kind: its class.
        largest: largest absolute finite value of its output.
        bad: number of values of its output that are not finite.
    """

    name: str
    kind: str
    largest: float
    bad: int


@dataclass(frozen=True)
class StepRow:
    """One step up to the failed one.

    Attributes:
        batch: number of the step in its epoch, from 1.
        values: the loss and each term, by name; they may be infinite or NaN.
        norms: norm of each player's gradient before clipping, by the player's name.
    """

    batch: int
    values: Mapping[str, float]
    norms: Mapping[str, float]


@dataclass(frozen=True)
class Arithmetic:
    """The operation that made the first value that is not finite.

    Attributes:
        name: name of the operation in torch, such as ``"log"``.
        least: least value that it was given.
        most: largest value that it was given.
        nan: whether it made NaN, and not only infinity.
    """

    name: str
    least: float
    most: float
    nan: bool


@dataclass(frozen=True)
class Try:
    """A change that may help.

    Attributes:
        text: what to change and why, in words.
        changes: keyword of `chartae.fit` -> its new value; None stands for leaving the keyword out. Empty if the remedy
            is not a keyword.
        command: the command line with the change; empty if the run cannot be written as one.
    """

    text: str
    changes: Mapping[str, Value] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class Findings:
    """What a post-mortem of a training found.

    Attributes:
        cause: a key of `CAUSES`.
        epoch: epoch of the failed step, from 1.
        batch: number of the failed step in its epoch, from 1.
        steps: number of steps in an epoch.
        examples: number of examples in the batch.
        player: the player whose turn it was.
        layer: name of the layer that gave the first value that is not finite; empty if no layer did.
        layer_kind: class of that layer.
        operation: the operation that made the first value that is not finite; None if unknown.
        terms: the terms of the loss that are not finite.
        parameter: the first parameter that has no finite gradient, or whose value is not finite.
        returning: the layer at whose output the first gradient that is not finite arrived, in the backward pass.
        fields: the fields of the batch that hold values that are not finite.
        layers: what each layer gave in the failed step.
        tail: the last steps, the failed one last.
        largest_weight: largest absolute weight before the step.
        repeated: whether the replay of the step failed again.
        threads: number of threads of a step on the CPU.
        device: torch's name of the device.
        ranks: number of processes that trained together.
        rank: the process whose batch this is, from 0.
        objective: description of the objective.
        versions: versions of chartae and torch.
        left_out: why the batch is not stored; empty if it is.

    >>> from chartae.records.postmortem import Findings
    >>> findings = Findings("overflow", 1, 3, 10, 128, layer="model.decoder.0", layer_kind="Linear")
    >>> findings.described
    'the first non-finite value is the output of layer model.decoder.0 (Linear)'
    """

    cause: str
    epoch: int
    batch: int
    steps: int
    examples: int
    player: str = "model"
    layer: str = ""
    layer_kind: str = ""
    operation: Arithmetic | None = None
    terms: tuple[str, ...] = ()
    parameter: str = ""
    returning: str = ""
    fields: tuple[str, ...] = ()
    layers: tuple[LayerExtent, ...] = ()
    tail: tuple[StepRow, ...] = ()
    largest_weight: float = 0.0
    repeated: bool = True
    threads: int = 0
    device: str = "cpu"
    ranks: int = 1
    rank: int = 0
    objective: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""

    @property
    def described(self) -> str:
        """The first value that was not finite, in words, without a full stop."""
        if self.cause == "unrepeated":
            return "a replay from the start of the epoch did not reproduce it, so an operation may be non-deterministic"
        parts: list[str] = []
        if self.fields:
            parts.append(f"the batch itself has values that are not finite, in {', '.join(self.fields)}")
        elif self.cause == "weights":
            parts.append(f"the first non-finite value is the weight {self.parameter}, before the step")
        elif self.layer:
            parts.append(f"the first non-finite value is the output of layer {self.layer} ({self.layer_kind})")
        elif self.cause == "gradient":
            return (
                f"the first non-finite value is the gradient of {self.parameter} in batch {self.batch}, whose loss was "
                "finite"
            )
        elif self.operation is not None:
            parts.append(f"the first non-finite value is the result of {self.operation.name}, outside all layers")
        if self.terms:
            parts.append(f"term {self.terms[0]} is not finite")
        return "; ".join(parts) or "the first non-finite value is the loss"

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, in sentences."""
        who = "" if self.player == "model" else f", in the turn of {self.player}"
        where = f"epoch {self.epoch}, batch {self.batch} of {self.steps}"
        if self.ranks > 1:
            where += f", process {self.rank} of {self.ranks}"
        sentences = [f"The loss stopped being a finite number in {where}{who}."]
        described = self.described
        sentences.append(f"{described[0].upper()}{described[1:]}.")
        sentences.append(f"The cause is {CAUSES[self.cause]}.")
        if self.operation is not None:
            least, most = self.operation.least, self.operation.most
            between = f"{least:.4g}" if least == most else f"values from {least:.4g} to {most:.4g}"
            sentences.append(
                f"The operation {self.operation.name} was given {between}, and gave "
                f"{'NaN' if self.operation.nan else 'an infinite value'}."
            )
        if self.returning and self.cause == "gradient":
            sentences.append(f"In the backward pass it first arrived at the output of layer {self.returning}.")
        sentences += self._growth()
        return tuple(sentences)

    def _growth(self) -> list[str]:
        """How large weights and gradients were."""
        sentences = [f"The largest weight before the step was {self.largest_weight:.4g}."]
        norms = [row.norms.get(self.player, math.nan) for row in self.tail]
        if len(norms) > 1:
            shown = ", ".join(f"{norm:.4g}" for norm in norms[-5:])
            sentences.append(f"The norm of the gradient in the last {len(norms[-5:])} steps was {shown}.")
        return sentences

    def to_dict(self) -> dict[str, Value]:
        """The values as JSON holds them; infinity and NaN are the strings ``"inf"``, ``"-inf"`` and ``"nan"``."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain

    def write(self, path: Path, more: Mapping[str, Value]) -> None:
        """Write `postmortem.json`, with further values under names of their own."""
        values = {"version": VERSION, **self.to_dict(), **more}
        replace_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> tuple[Findings, Mapping[str, Value], Place]:
        """Read a `postmortem.json`; also return all values in it, and their place, for messages.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is damaged, or a value is of the wrong type; the message names it.
        """
        with read_json(path, "Delete the folder, and fit the run again") as (values, place):
            if values.get("version") != VERSION:
                raise place.at("version").wrong(values.get("version"), f"{VERSION}; update chartae if it is larger")
            return cls._of(values, place), values, place

    @classmethod
    def _of(cls, values: Mapping[str, Value], place: Place) -> Findings:
        cause = _text(values, "cause", place)
        if cause not in CAUSES:
            raise Damaged(f"cause in {place.file} is {cause!r}; {one_of(cause, CAUSES)}")
        texts = {name: _text(values, name, place) for name in _named(str)}
        counts = {name: _count(values, name, place) for name in _named(int)}
        lists = {name: _names(values, name, place) for name in ("terms", "fields")}
        at = place.at("operation")
        raw = values.get("operation")
        operation = None if raw is None else at.mapping(raw)
        versions, at_versions = place.at("versions").mapping(values.get("versions")), place.at("versions")
        return cls(
            **texts, **counts, **lists,  # type: ignore[arg-type]
            operation=None if operation is None else Arithmetic(
                _text(operation, "name", at), _number(operation.get("least"), at.at("least")),
                _number(operation.get("most"), at.at("most")), bool(operation.get("nan")),
            ),
            layers=tuple(
                LayerExtent(
                    _text(row, "name", at), _text(row, "kind", at), _number(row.get("largest"), at.at("largest")),
                    _count(row, "bad", at),
                )
                for row, at in _rows(values, "layers", place)
            ),
            tail=tuple(
                StepRow(_count(row, "batch", at), _numbers(row, "values", at), _numbers(row, "norms", at))
                for row, at in _rows(values, "tail", place)
            ),
            largest_weight=_number(values.get("largest_weight"), place.at("largest_weight")),
            repeated=bool(values.get("repeated")),
            versions={_short(k, at_versions): _text(versions, k, at_versions) for k in versions},
        )  # fmt: skip


def _named(kind: type) -> list[str]:
    """Names of the fields of `Findings` that are of a plain type."""
    return [f.name for f in fields(Findings) if f.type == kind.__name__]


def _plain(value: object) -> Value:
    """A value as JSON holds it."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    assert value is None or isinstance(value, bool | int | float | str)
    return value


def _number(value: Value, place: Place) -> float:
    if isinstance(value, str) and value in ("inf", "-inf", "nan"):
        return float(value)
    if not is_number(value):
        raise place.wrong(value, "a number, or inf, -inf or nan as a string")
    return float(value)


def _numbers(values: Mapping[str, Value], name: str, place: Place) -> dict[str, float]:
    at = place.at(name)
    return {_short(k, at): _number(v, at.at(k)) for k, v in at.mapping(values.get(name)).items()}


def _count(values: Mapping[str, Value], name: str, place: Place) -> int:
    value = place.at(name).whole(values.get(name))
    if value is None or not 0 <= value < 1 << 62:
        raise place.at(name).wrong(value, "a whole number of at least 0")
    return value


def _short(text: str, place: Place) -> str:
    most = LONGEST if not place.key.endswith("objective") else 50 * LONGEST
    if len(text) > most or not text.isprintable():  # it may be shown on a terminal
        raise place.wrong(text, f"at most {most} printable characters")
    return text


def _text(values: Mapping[str, Value], name: str, place: Place) -> str:
    return _short(place.at(name).text(values.get(name)), place.at(name))


def _names(values: Mapping[str, Value], name: str, place: Place) -> tuple[str, ...]:
    return tuple(_short(text, place.at(name)) for text in place.at(name).texts(values.get(name)))


def _rows(values: Mapping[str, Value], name: str, place: Place) -> Sequence[tuple[Mapping[str, Value], Place]]:
    at = place.at(name)
    rows = at.items(values.get(name))
    if len(rows) > MOST:
        raise at.wrong(f"{len(rows)} rows", f"at most {MOST}")
    return [(at.mapping(row), at) for row in rows]
