"""The page of a run on strings: its headline and tiles, strings in rows, and formulas of those that are molecules."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from chartae.draw.structures import molecules
from chartae.report.charts import _uri
from chartae.report.reading import _mapping, _Run
from chartae.report.words import _densities, _duration, _finite, _number, _percent, _said, _title

#: as in the tables of pictures: heading, which way is better, factor, decimals
COLUMNS: dict[str, tuple[str, str, float, int | None]] = {
    "valid": ("valid, %", "↑", 100, 1),
    "unique": ("unique, %", "↑", 100, 1),
    "novel": ("novel, %", "↑", 100, 1),
    "fcd": ("FCD", "↓", 1, 2),
    "snn": ("SNN", "↑", 1, 3),
    "fragments": ("fragments", "↑", 1, 3),
    "scaffolds": ("scaffolds", "↑", 1, 3),
    "internal_diversity": ("internal diversity", "", 1, 3),
    "distance_logp": ("Δ logP", "↓", 1, 3),
    "distance_sa": ("Δ SA", "↓", 1, 3),
    "distance_qed": ("Δ QED", "↓", 1, 3),
    "distance_weight": ("Δ weight", "↓", 1, 1),
    "mean_length": ("mean length", "", 1, 1),
    "length_distance": ("Δ length", "↓", 1, 2),
    "log_likelihood": ("log p(z)", "↑", 1, 2),
}
#: the reference's length is that of the floor's row; notes are told below the table
HIDDEN = ("reference_length", "notes")
SHARES = ("valid", "unique", "novel")
#: strings that are shown of a density: as formulas, and as text
FEW, MANY = 12, 24
#: characters of one string, paths, and steps of one path that are shown
LONGEST, PATHS, STEPS = 400, 4, 9
SIDE = 190
#: strings less alike than this have no marks: all of them would be marked
ALIKE = 0.6


@dataclass(frozen=True)
class _String:
    """A string on the page: its pieces, which of them another string lacks, and its formula."""

    pieces: list[tuple[str, bool]]
    picture: str | None = None
    again: bool = False


@dataclass(frozen=True)
class _Pair:
    given: _String
    back: _String
    same: bool


class _Pen:
    """Writes strings, and draws them where they are molecules and RDKit is there; none is drawn twice."""

    def __init__(self, draws: bool) -> None:
        self.draws, self.known = draws, dict[str, str]()

    def _picture(self, text: str) -> str | None:
        if not self.draws:
            return None
        if text not in self.known:
            self.known[text] = _uri(molecules([text[:LONGEST]], columns=1, side=SIDE))
        return self.known[text]

    def write(self, text: str, pieces: list[tuple[str, bool]] | None = None, again: bool = False) -> _String:
        whole = [(_cut(text), False)] if text else []
        return _String(pieces or whole, self._picture(text), again)

    def pair(self, given: str, back: str) -> _Pair:
        """Original and reconstruction, with what one of them has and the other lacks."""
        a, b = _cut(given), _cut(back)
        matcher = SequenceMatcher(None, a, b, autojunk=False)
        if matcher.ratio() < ALIKE:
            return _Pair(self.write(given), self.write(back), given == back)
        codes = matcher.get_opcodes()
        own = [(a[i:j], tag != "equal") for tag, i, j, _, _ in codes if i < j]
        other = [(b[i:j], tag != "equal") for tag, _, _, i, j in codes if i < j]
        return _Pair(self.write(given, own), self.write(back, other), given == back)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _texts(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(s, str) for s in value):
        raise ValueError(f"{what} in results.json is no list of strings")
    return value


def _rows(run: _Run, name: str) -> list[list[str]]:
    value = (run.results or {}).get(name)
    if not isinstance(value or [], list):
        raise ValueError(f"{name} in results.json is a {type(value).__name__}; a list is expected")
    return [_texts(row, f"a row of {name}") for row in value or []]


def _is_of_strings(run: _Run) -> bool:
    return bool(run.settings.get("codec")) or (run.results or {}).get("metric") == "strings"


def _fcd(sets: dict[str, Any]) -> str | None:
    """The density with the lowest FCD: of strings that are no molecules no one number says which is best."""
    found = {n: _mapping(sets[n], f"{n} in sets").get("fcd") for n in _densities(sets)}
    able = [n for n in found if _finite(found[n])]
    return min(able, key=lambda n: found[n] or 0.0, default=None)


def _chosen(run: _Run) -> str | None:
    """The density that the headline is about: the best if one is, else the one that samples are drawn from."""
    sets = run.part("sets")
    names = _densities(sets)
    return _fcd(sets) or next(
        (n for n in ("gmm", (run.results or {}).get("own")) if n in names), next(iter(names), None)
    )


def _shares(scores: dict[str, Any], decimals: int = 0) -> str:
    return ", ".join(f"{_percent(scores[k], decimals)} {k}" for k in SHARES if _finite(scores.get(k)))


def _headline(run: _Run) -> str:
    name, exact, told = _chosen(run), run.part("reconstruction").get("exact"), ""
    if name is not None:
        scores = _mapping(run.part("sets")[name], f"{name} in sets")
        fcd = f"FCD {_number(float(scores['fcd']))}" if _finite(scores.get("fcd")) else ""
        told = ", ".join(filter(None, [_shares(scores), fcd]))
        told = told and f"{_title(name)}: {told}"
    back = f"{_percent(exact)} of test strings come back exactly" if _finite(exact) else ""
    text = "; ".join(filter(None, [told, back]))
    return text and f"{text}."


def _tiles(run: _Run) -> list[tuple[str, str]]:
    name, errors, training = _chosen(run), run.part("reconstruction"), run.part("training")
    tiles = []
    if name is not None:
        scores = _mapping(run.part("sets")[name], f"{name} in sets")
        tiles += [(f"{k}, {_said(name)}", _percent(scores[k], 1)) for k in SHARES if _finite(scores.get(k))]
        if _finite(scores.get("fcd")):
            tiles.append((f"FCD, {_said(name)}", _number(float(scores["fcd"]))))
    tiles += _errors(errors)
    if training.get("parameters") is not None:
        tiles.append(("parameters", _number(training["parameters"])))
    if _finite(training.get("seconds")):
        tiles.append(("training time", _duration(training["seconds"])))
    return tiles


def _errors(errors: dict[str, Any]) -> list[tuple[str, str]]:
    names = {"exact": "of test strings come back exactly", "steps": "of steps right, given those before"}
    found = [(told, _percent(errors[k], 1)) for k, told in names.items() if _finite(errors.get(k))]
    if _finite(errors.get("nll")):
        found.append(("−log p(x|z), nats per string", _number(float(errors["nll"]))))
    return found


def _codec(settings: dict[str, Any]) -> tuple[str, str]:
    """What strings are read by, in words, and an own grammar in full."""
    try:
        told = json.loads(settings["codec"])
        ((kind, value), *_) = told.items()
        name = f"grammar {value}" if kind == "grammar" else f"{kind}, {len(value)} of them"
        return name, str(told.get("text", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", ""


def _source(settings: dict[str, Any]) -> str:
    """The data's name: of a file the last part of its path."""
    return Path(str(settings.get("data", "data"))).name or "data"


def _what(settings: dict[str, Any]) -> list[tuple[str, str]]:
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


def _valid(kind: Any) -> str:
    """What valid means, in a clause."""
    if kind == "molecules":
        return "RDKit reads it as a molecule"
    return "it is not cut off" if kind in ("any string", None) else f"it is a whole string of the grammar {kind}"


def _notes(sets: dict[str, Any]) -> list[str]:
    """Why a table's cell is empty: a line a reason, with the sets that it holds for."""
    found: dict[str, list[str]] = {}
    for name in sets:
        notes = _mapping(_mapping(sets[name], f"{name} in sets").get("notes"), f"notes of {name}")
        for key, why in notes.items():
            heading = COLUMNS[key][0].split(",")[0] if key in COLUMNS else key
            found.setdefault(f"{heading}: {why}", []).append(_title(name))
    return [f"{', '.join(names)}: {text}." for text, names in found.items()]


def _page(run: _Run) -> dict[str, Any]:
    """What the template shows of strings."""
    results, protocol = run.results or {}, run.part("protocol")
    chemical = protocol.get("valid") == "molecules"
    pen = _Pen(chemical and _drawable())
    most = FEW if pen.draws else MANY
    sets, chosen = run.part("sets"), _chosen(run)
    given = _mapping(results.get("examples"), "examples in results.json")
    examples = []
    for name in sorted(_densities(given), key=lambda n: n != chosen):
        shown = [pen.write(s) for s in _texts(given[name], f"examples of {name}")[:most]]
        note = _shares(_mapping(sets.get(name), f"{name} in sets"), 1)
        examples.append({"title": _title(name), "note": note, "strings": shown})
    pairs = _rows(run, "reconstructions")
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("reconstructions in results.json are not pairs (original, reconstruction)")
    return {
        "examples": examples,
        "pairs": [pen.pair(*pair) for pair in pairs[:most]],
        "paths": [_path(pen, row[:STEPS]) for row in _rows(run, "interpolations")[:PATHS]],
        "drawn": pen.draws,
        "undrawn": chemical and not pen.draws,
        "means": _valid(protocol.get("valid")),
        "chemical": chemical,
        "notes": _notes(sets),
        "fcd": _fcd(sets) is not None,
        "grammar": _codec(run.settings)[1],
    }


def _drawable() -> bool:
    try:
        molecules(["C"], side=40)
    except ImportError:
        return False
    return True


def _path(pen: _Pen, row: Iterable[str]) -> list[_String]:
    strings, before = [], None
    for text in row:
        strings.append(pen.write(text, again=text == before))
        before = text
    return strings
