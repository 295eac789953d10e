"""The page of a run on strings: its headline and tiles, strings in rows, and formulas of those that are molecules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chartae.records.parsing import Value, is_finite
from chartae.records.results import Results, Scores, Sets
from chartae.records.run_folder import RunFolder
from chartae.report.names import best, densities, said, title
from chartae.report.numbers import number, percent
from chartae.report.parts import Column, Columns, Facts, Head, resources, run_parts, sections, set_table
from chartae.report.pen import Pair, Pen, Written, can_draw
from chartae.report.rendering import render

__all__ = ["page"]

COLUMNS: Columns = {
    "valid": Column("valid, %", "↑", 100, 1),
    "unique": Column("unique, %", "↑", 100, 1),
    "novel": Column("novel, %", "↑", 100, 1),
    "fcd": Column("FCD", "↓", 1, 2),
    "snn": Column("SNN", "↑", 1, 3),
    "fragments": Column("fragments", "↑", 1, 3),
    "scaffolds": Column("scaffolds", "↑", 1, 3),
    "internal_diversity": Column("internal diversity", "", 1, 3),
    "distance_logp": Column("Δ logP", "↓", 1, 3),
    "distance_sa": Column("Δ SA", "↓", 1, 3),
    "distance_qed": Column("Δ QED", "↓", 1, 3),
    "distance_weight": Column("Δ weight", "↓", 1, 1),
    "mean_length": Column("mean length", "", 1, 1),
    "length_distance": Column("Δ length", "↓", 1, 2),
    "log_likelihood": Column("log p(z)", "↑", 1, 2),
}
#: the reference's length is that of the floor's row
HIDDEN = ("reference_length",)
SHARES = ("valid", "unique", "novel")
#: strings that are shown of a density: as formulas, and as text
FEW, MANY = 12, 24
#: paths, and steps of one path that are shown
PATHS, STEPS = 4, 9
#: characters of a description of strings above which it is shown by its name alone
LONG = 200


@dataclass(frozen=True)
class Examples:
    """Samples of a density: its title, a remark, and the strings."""

    title: str
    note: str
    strings: Sequence[Written]


@dataclass(frozen=True)
class Shown:
    """What the page of a run on strings shows besides what every run's page shows."""

    examples: Sequence[Examples]
    pairs: Sequence[Pair]
    paths: Sequence[Sequence[Written]]
    drawn: bool
    undrawn: bool
    means: str
    chemical: bool
    notes: Sequence[str]
    fcd: bool
    grammar: str


def page(run: RunFolder) -> str:
    """The page as HTML."""
    results = run.scored
    name, grammar = _codec(run.settings)
    short = bool(grammar) or len(str(run.settings.get("codec"))) > LONG
    table = set_table(run, COLUMNS, _fcd(results.sets), hidden=HIDDEN, bold=True, floor="Test strings (floor)")
    return render(
        "strings.html",
        run_parts(run),
        Head(
            title=f"{run.settings.get('recipe', 'run')} on {_source(run.settings)}",
            headline=_headline(results),
            what=_what(run.settings),
            tiles=_tiles(run),
            table=table,
            errors=_errors(results.reconstruction),
            facts=sections({**run.settings, **({"codec": name} if short else {})}, results.protocol),
        ),
        _shown(results, grammar),
    )


def _fcd(sets: Sets) -> str | None:
    """The density with the lowest FCD: of strings that are no molecules no one number says which is best."""
    return best({n: s.get("fcd") for n, s in sets.items()})


def _chosen(results: Results) -> str | None:
    """The density that the headline is about: the best if one is, else the one that samples are drawn from."""
    names = densities(results.sets)
    return _fcd(results.sets) or next((n for n in ("gmm", results.own) if n in names), next(iter(names), None))


def _shares(scores: Mapping[str, float | None], digits: int = 0) -> str:
    return ", ".join(f"{percent(x, digits)} {k}" for k in SHARES if is_finite(x := scores.get(k)))


def _headline(results: Results) -> str:
    name, exact, text = _chosen(results), results.reconstruction.get("exact"), ""
    if name is not None:
        scores = results.sets[name]
        fcd = f"FCD {number(float(x))}" if is_finite(x := scores.get("fcd")) else ""
        text = ", ".join(filter(None, [_shares(scores), fcd]))
        text = text and f"{title(name)}: {text}"
    back = f"{percent(exact)} of test strings come back exactly" if is_finite(exact) else ""
    text = "; ".join(filter(None, [text, back]))
    return text and f"{text}."


def _tiles(run: RunFolder) -> Facts:
    name, tiles = _chosen(run.scored), []
    if name is not None:
        scores = run.scored.sets[name]
        tiles += [(f"{k}, {said(name)}", percent(x, 1)) for k in SHARES if is_finite(x := scores.get(k))]
        if is_finite(x := scores.get("fcd")):
            tiles.append((f"FCD, {said(name)}", number(float(x))))
    return tiles + _errors(run.scored.reconstruction) + resources(run)


def _errors(errors: Scores) -> Facts:
    names = {"exact": "of test strings come back exactly", "steps": "of steps right, given those before"}
    rows = [(text, percent(x, 1)) for k, text in names.items() if is_finite(x := errors.get(k))]
    if is_finite(x := errors.get("nll")):
        rows.append(("−log p(x|z), nats per string", number(float(x))))
    return rows


def _codec(settings: Mapping[str, Value]) -> tuple[str, str]:
    """What strings are read by, in words, and an own grammar in full."""
    try:
        described = json.loads(str(settings["codec"]))
        ((kind, value), *_) = described.items()
        name = f"grammar {value}" if kind == "grammar" else f"{kind}, {len(value)} of them"
        return name, str(described.get("text", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", ""


def _source(settings: Mapping[str, Value]) -> str:
    """The data's name: of a file the last part of its path."""
    return Path(str(settings.get("data", "data"))).name or "data"


def _what(settings: Mapping[str, Value]) -> Facts:
    shape = settings.get("shape")
    pairs = [
        ("data", _source(settings)),
        ("strings by", _codec(settings)[0] or None),
        ("steps at most", ", ".join(map(str, shape)) if isinstance(shape, list) else shape),
        ("latent dimensions", settings.get("latent_dim")),
        ("net", settings.get("net")),
        ("seed", settings.get("seed")),
    ]
    return [(k, str(v)) for k, v in pairs if v is not None]


def _valid(kind: Value) -> str:
    """What valid means, in a clause."""
    if kind == "molecules":
        return "RDKit reads it as a molecule"
    return "it is not cut off" if kind in ("any string", None) else f"it is a whole string of the grammar {kind}"


def _notes(sets: Sets) -> list[str]:
    """Why a table's cell is empty: a line a reason, with the sets that it holds for."""
    lines: dict[str, list[str]] = {}
    for name, scores in sets.items():
        for key, why in scores.notes.items():
            heading = COLUMNS[key].heading.split(",")[0] if key in COLUMNS else key
            lines.setdefault(f"{heading}: {why}", []).append(title(name))
    return [f"{', '.join(names)}: {text}." for text, names in lines.items()]


def _shown(results: Results, grammar: str) -> Shown:
    valid = results.protocol.get("valid")
    chemical = valid == "molecules"
    pen = Pen(chemical and can_draw())
    most = FEW if pen.draws else MANY
    chosen = _chosen(results)
    examples = []
    for name in sorted(densities(results.examples), key=lambda n: n != chosen):
        written = [pen.write(s) for s in results.examples[name][:most]]
        examples.append(Examples(title(name), _shares(results.sets.get(name, {}), 1), written))
    return Shown(
        examples=examples,
        pairs=[pen.pair(before, after) for before, after in results.reconstructions[:most]],
        paths=[pen.path(row[:STEPS]) for row in results.interpolations[:PATHS]],
        drawn=pen.draws,
        undrawn=chemical and not pen.draws,
        means=_valid(valid),
        chemical=chemical,
        notes=_notes(results.sets),
        fcd=_fcd(results.sets) is not None,
        grammar=grammar,
    )
