"""The parts that the pages share: tables, facts, and the sections of every run's page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from chartae.records.parsing import Value, is_finite
from chartae.records.run_folder import RunFolder
from chartae.report.curves import curves
from chartae.report.embedded import Embedded
from chartae.report.names import densities, in_order, title
from chartae.report.numbers import duration, number, spread

__all__ = [
    "Alarm", "Column", "Columns", "Facts", "Head", "Row", "RunParts", "SetTable", "flat", "resources", "run_parts",
    "sections", "set_table",
]  # fmt: skip

#: rows (name, value)
Facts: TypeAlias = "list[tuple[str, str]]"


class Column(NamedTuple):
    """How a column of metrics is shown.

    Attributes:
        heading: heading of the column.
        better: ``"↓"`` if lower is better, ``"↑"`` if higher is better, else empty.
        factor: factor by which its numbers are multiplied.
        decimals: number of decimals; None for the default of `number`.
    """

    heading: str
    better: str = ""
    factor: float = 1
    decimals: int | None = None


Columns: TypeAlias = Mapping[str, Column]


@dataclass(frozen=True)
class CodePart:
    """A part of the results about the code.

    Attributes:
        title: title of the part.
        names: for each metric, its heading and the factor by which it is multiplied.
        note: what the metrics mean.
    """

    title: str
    names: Mapping[str, tuple[str, float]]
    note: str


CODE_PARTS: Mapping[str, CodePart] = {
    "classes": CodePart(
        "Classes",
        {"error": ("test error, %", 100)},
        "The share of labelled test examples whose most probable class is not their label.",
    ),
    "clusters": CodePart(
        "Clusters",
        {
            "error_majority": ("error, majority class, %", 100),
            "error_confident": ("error, class of the most confident example, %", 100),
            "nmi": ("normalised mutual information", 1),
            "used": ("clusters in use", 1),
        },
        "Each cluster predicts a class, chosen by validation examples: that of the majority of its examples, or that "
        "of the example with the highest probability for it. The error is measured on test examples. Clusters in use "
        "hold more than 1 % of the test examples.",
    ),
    "code": CodePart(
        "Is the code used?",
        {
            "error": ("squared error with its own code", 1),
            "shuffled": ("squared error with another example's code", 1),
            "other_category": ("squared error with another example's category", 1),
            "spread": ("spread within a code", 1),
            "calibration": ("calibration of this spread", 1),
            "information": ("I(x; code), nats", 1),
            "bound": ("I(x; code), lower bound, nats", 1),
            "used": ("categories in use", 1),
        },
        "If the error is as small with another example's code, the decoder ignores the code; if it is with another "
        "example's category, it draws the same for each cluster. Spread: the variance of "
        "the reconstructions of one code, as a share of the variance of the data: 0 for a deterministic decoder, 1 if "
        "the code holds no information. Calibration: the same variance as a share of that of the examples with this "
        "code; 1 is right, and far below 1 the decoder ignores its noise.",
    ),
}
ENVIRONMENT = ("chartae", "torch", "numpy", "python", "versions", "environment", "machine", "device")


# -- facts -----------------------------------------------------------------------------------------------------


def flat(value: Value, prefix: str = "") -> Facts:
    """Nested facts as rows (name, value), with names joined by dots and values in full.

    >>> from chartae.report.parts import flat
    >>> flat({"a": {"b": 1}, "c": [1, True]})
    [('a.b', '1'), ('c', '1, yes')]
    """
    if isinstance(value, Mapping):
        return [row for k, v in value.items() for row in flat(v, f"{prefix}.{k}" if prefix else str(k))]
    if isinstance(value, list | tuple) and not any(isinstance(v, Mapping | list | tuple) for v in value):
        return [(prefix, ", ".join(map(_fact, value)))]
    return [(prefix, _fact(value))]


def _fact(value: Value) -> str:
    return {True: "yes", False: "no", None: "–"}[value] if value is None or isinstance(value, bool) else str(value)


def sections(settings: Mapping[str, Value], protocol: Mapping[str, Value]) -> Mapping[str, Facts]:
    """Settings, protocol and environment, each in full."""
    environment = {k: v for k, v in protocol.items() if k in ENVIRONMENT or k.endswith("version")}
    chartae = {"trained with chartae": settings["version"]} if "version" in settings else {}
    return {
        "Settings": flat({k: v for k, v in settings.items() if k not in ("version", "objective")}),
        "Protocol": flat({k: v for k, v in protocol.items() if k not in environment}),
        "Environment": flat(chartae | environment),
    }


def resources(run: RunFolder) -> Facts:
    """The size of the model and the duration of its training."""
    training = run.scored.training
    rows = [] if training.parameters is None else [("parameters", number(training.parameters))]
    return rows + ([("training time", duration(training.seconds))] if is_finite(training.seconds) else [])


# -- tables ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A row of the table of sets.

    Attributes:
        title: title of the set.
        best: whether it is the best density.
        kind: ``"density"`` or ``"other"``.
        cells: cells (text, value, whether it is bold).
    """

    title: str
    best: bool
    kind: str
    cells: Sequence[tuple[str, float | None, bool]]


@dataclass(frozen=True)
class SetTable:
    """A table of sets by metrics.

    Attributes:
        heads: headings, each with an arrow in the better direction, or nothing.
        bold: whether the best density of each column is bold.
        rows: one row per set.
    """

    heads: Sequence[tuple[str, str]]
    bold: bool
    rows: Sequence[Row]


def set_table(
    run: RunFolder,
    known: Columns,
    best: str | None,
    *,
    hidden: Collection[str] = (),
    bold: bool = False,
    floor: str = "",
) -> SetTable | None:
    """The table of sets by metrics, with the log-likelihood of each density; None if there are no sets.

    Args:
        run: run whose results are shown.
        known: columns with a heading, in order; other metrics follow under their name.
        best: density whose row is marked.
        hidden: metrics that are left out.
        bold: whether the best density of each column is bold.
        floor: title of the row of real data.
    """
    sets, facts = run.scored.sets, run.scored.densities
    names = in_order([*sets, *(d for d in facts if d not in sets)])
    rows = {n: {**sets.get(n, {})} for n in names}
    for name, density in facts.items():
        if density.log_likelihood is not None:
            rows[name]["log_likelihood"] = density.log_likelihood
    if not rows:
        return None
    shown = dict.fromkeys(k for row in rows.values() for k in row if k not in ("kid_sd", *hidden))
    columns = {k: known.get(k, Column(k.replace("_", " "))) for k in [*known, *shown] if k in shown}
    tops = _tops(rows, columns) if bold else {}
    kinds = dict.fromkeys(densities(rows), "density")
    return SetTable(
        [(column.heading, column.better) for column in columns.values()],
        bold,
        [
            Row(
                floor if name == "floor" and floor else title(name),
                name == best and len(kinds) > 1,
                kinds.get(name, "other"),
                [
                    (_cell(row, k, column), row.get(k), k in tops and name in kinds and row.get(k) == tops[k])
                    for k, column in columns.items()
                ],
            )
            for name, row in rows.items()
        ],
    )


def _tops(rows: Mapping[str, Mapping[str, float | None]], columns: Columns) -> dict[str, float]:
    """The best density's value in each column in which densities differ."""
    tops = {}
    for k, column in columns.items():
        values = {x for n in densities(rows) if is_finite(x := rows[n].get(k))}
        if column.better and len(values) > 1:
            tops[k] = min(values) if column.better == "↓" else max(values)
    return tops


def _cell(row: Mapping[str, float | None], name: str, column: Column) -> str:
    value, sd = row.get(name), row.get(f"{name}_sd")
    if column.decimals is None or not is_finite(value):
        return spread(value, sd)
    text = f"{column.factor * float(value):.{column.decimals}f}"
    return text + (f" ± {column.factor * float(sd):.{column.decimals}f}" if is_finite(sd) else "")


# -- the page of any run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """The sections that every run's page has, with a content that depends on the kind of data."""

    title: str
    headline: str
    model: Facts
    tiles: Facts
    table: SetTable | None
    errors: Facts
    facts: Mapping[str, Facts]


@dataclass(frozen=True)
class Alarm:
    """A warning that training gave, and its epoch."""

    epoch: str
    text: str


@dataclass(frozen=True)
class RunParts:
    """The sections that are alike on every run's page."""

    evaluated: bool
    advice: str
    critics: bool
    alarms: Sequence[Alarm]
    about_code: Sequence[tuple[str, Facts, str]]
    objective: str
    curves: Sequence[Embedded]
    training: Facts
    best_epoch: int | None
    protocol: Mapping[str, Value]
    densities: Facts


def run_parts(run: RunFolder) -> RunParts:
    """The sections that are alike on every run's page."""
    results = run.scored
    training = results.training
    return RunParts(
        evaluated=run.results is not None,
        advice=(
            "Not evaluated yet: results.json is of other weights. Run chartae evaluate RUN to evaluate these."
            if run.is_stale
            else "Not evaluated yet: there is no results.json. Run chartae evaluate RUN to add the metrics."
        ),
        critics=any("accuracy" in key for row in run.log for key in row),
        alarms=[Alarm(number(row.epoch), row.alarm) for row in run.log if row.split == "alarm"],
        about_code=_about_code(run),
        objective=str(run.settings.get("objective") or ""),
        curves=curves(run.log, training.best_epoch),
        training=flat({k: v for k, v in training.items() if k != "alarms"}),
        best_epoch=training.best_epoch,
        protocol=results.protocol,
        densities=[row for row in flat(results.densities.to_dict()) if not row[0].endswith(".log_likelihood")],
    )


def _about_code(run: RunFolder) -> list[tuple[str, Facts, str]]:
    """The parts about the code that the results hold: title, names and values, and a note."""
    parts = []
    for name, part in CODE_PARTS.items():
        metrics = run.scored.get(name, {})
        rows = [
            (heading, number(factor * value if is_finite(value) and factor != 1 else value))
            for key, (heading, factor) in part.names.items()
            if (value := metrics.get(key)) is not None
        ]
        if rows:
            parts.append((part.title, rows, part.note))
    return parts
