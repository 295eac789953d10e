"""The page of a run on strings: headline, tiles, metrics, and strings as text or as formulas of molecules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chartae.records.parsing import Value, is_finite
from chartae.records.results import Results, Scores, Sets
from chartae.records.run_folder import RunFolder
from chartae.report.formulas import RenderedString, StringPair, StringRenderer, can_draw
from chartae.report.names import best, densities, in_sentence, title
from chartae.report.numbers import number, percent
from chartae.report.parts import Column, Columns, Facts, Head, resources, run_parts, sections, set_table
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
#: metrics without a column: the reference's mean length equals that in the row of the floor
HIDDEN = ("reference_length",)
SHARES = ("valid", "unique", "novel")
#: number of strings shown of each density: as formulas, and as text
FORMULAS, TEXTS = 12, 24
#: number of interpolation paths shown, and of steps of each path
PATHS, STEPS = 4, 9
#: a codec's description with more characters than this is shown by its name only
LONG = 200


@dataclass(frozen=True)
class Examples:
    """Samples of a density: its title, a note, and the strings."""

    title: str
    note: str
    strings: Sequence[RenderedString]


@dataclass(frozen=True)
class StringParts:
    """The parts that only the page of a run on strings has."""

    examples: Sequence[Examples]
    pairs: Sequence[StringPair]
    paths: Sequence[Sequence[RenderedString]]
    drawn: bool
    rdkit_missing: bool
    validity: str
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
            model=_model(run.settings),
            tiles=_tiles(run),
            table=table,
            errors=_errors(results.reconstruction),
            facts=sections({**run.settings, **({"codec": name} if short else {})}, results.protocol),
        ),
        _string_parts(results, grammar),
    )


def _fcd(sets: Sets) -> str | None:
    """The density with the lowest FCD; None for strings that are not molecules, for which no single metric decides."""
    return best({n: s.get("fcd") for n, s in sets.items()})


def _chosen(results: Results) -> str | None:
    """The density of the headline: the best if there is one, else the one that samples are drawn from."""
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
    exact_text = f"{percent(exact)} of test strings are reconstructed exactly" if is_finite(exact) else ""
    text = "; ".join(filter(None, [text, exact_text]))
    return text and f"{text}."


def _tiles(run: RunFolder) -> Facts:
    name, tiles = _chosen(run.scored), []
    if name is not None:
        scores = run.scored.sets[name]
        tiles += [(f"{k}, {in_sentence(name)}", percent(x, 1)) for k in SHARES if is_finite(x := scores.get(k))]
        if is_finite(x := scores.get("fcd")):
            tiles.append((f"FCD, {in_sentence(name)}", number(float(x))))
    return tiles + _errors(run.scored.reconstruction) + resources(run)


def _errors(errors: Scores) -> Facts:
    names = {
        "exact": "of test strings are reconstructed exactly",
        "steps": "of steps right, given the true steps before",
    }
    rows = [(text, percent(x, 1)) for k, text in names.items() if is_finite(x := errors.get(k))]
    if is_finite(x := errors.get("nll")):
        rows.append(("−log p(x|z), nats per string", number(float(x))))
    return rows


def _codec(settings: Mapping[str, Value]) -> tuple[str, str]:
    """The codec in words, and the text of a grammar that the user gave."""
    try:
        codec = json.loads(str(settings["codec"]))
        ((kind, value), *_) = codec.items()
        name = f"grammar {value}" if kind == "grammar" else f"{kind}, {len(value)} symbols"
        return name, str(codec.get("text", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", ""


def _source(settings: Mapping[str, Value]) -> str:
    """Name of the data; for a file, the last part of its path."""
    return Path(str(settings.get("data", "data"))).name or "data"


def _model(settings: Mapping[str, Value]) -> Facts:
    """The facts of the model that stand in one line."""
    shape = settings.get("shape")
    pairs = [
        ("data", _source(settings)),
        ("codec", _codec(settings)[0] or None),
        ("largest number of steps", ", ".join(map(str, shape)) if isinstance(shape, list) else shape),
        ("latent dimensions", settings.get("latent_dim")),
        ("net", settings.get("net")),
        ("seed", settings.get("seed")),
    ]
    return [(k, str(v)) for k, v in pairs if v is not None]


def _valid(kind: Value) -> str:
    """When a string is valid, as a clause."""
    if kind == "molecules":
        return "RDKit reads it as a molecule"
    return "it is complete" if kind in ("any string", None) else f"it is a complete string of the grammar {kind}"


def _notes(sets: Sets) -> list[str]:
    """Why cells of the table are empty: one line per reason, with the sets that it concerns."""
    lines: dict[str, list[str]] = {}
    for name, scores in sets.items():
        for key, reason in scores.notes.items():
            heading = COLUMNS[key].heading.split(",")[0] if key in COLUMNS else key
            lines.setdefault(f"{heading}: {reason}", []).append(title(name))
    return [f"{', '.join(names)}: {text}." for text, names in lines.items()]


def _string_parts(results: Results, grammar: str) -> StringParts:
    valid = results.protocol.get("valid")
    chemical = valid == "molecules"
    renderer = StringRenderer(chemical and can_draw())
    most = FORMULAS if renderer.draws else TEXTS
    chosen = _chosen(results)
    examples = []
    for name in sorted(densities(results.examples), key=lambda n: n != chosen):
        strings = [renderer.render(s) for s in results.examples[name][:most]]
        examples.append(Examples(title(name), _shares(results.sets.get(name, {}), 1), strings))
    return StringParts(
        examples=examples,
        pairs=[renderer.pair(before, after) for before, after in results.reconstructions[:most]],
        paths=[renderer.path(row[:STEPS]) for row in results.interpolations[:PATHS]],
        drawn=renderer.draws,
        rdkit_missing=chemical and not renderer.draws,
        validity=_valid(valid),
        chemical=chemical,
        notes=_notes(results.sets),
        fcd=_fcd(results.sets) is not None,
        grammar=grammar,
    )
