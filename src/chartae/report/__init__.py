"""Finished runs as one self-contained HTML file: read a folder, write a page that opens anywhere, offline."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chartae.report import strings
from chartae.report.charts import _cell, _curves, _ranking
from chartae.report.plates import _interpolations, _points, _reconstructions, _samples
from chartae.report.reading import _inside, _json, _mapping, _mappings, _read, _Run
from chartae.report.words import (
    _densities,
    _duration,
    _finite,
    _flat,
    _in_order,
    _measure,
    _number,
    _said,
    _spread,
    _title,
)

__all__ = ["write"]

_Heads = dict[str, tuple[str, str, float, int | None]]

#: how a column is headed, which way is better, what its numbers are multiplied by, and their decimals
COLUMNS: _Heads = {
    "kid": ("KID × 10³", "↓", 1000, 3),
    "precision": ("precision", "↑", 1, 3),
    "recall": ("recall", "↑", 1, 3),
    "density": ("density", "↑", 1, 3),
    "coverage": ("coverage", "↑", 1, 3),
    "log_likelihood": ("log p(z), nats per code", "↑", 1, 2),
}
#: of the categories and the code of runs with critics: a part of the results, its title, how its numbers are called and
#: what they are multiplied by, and what they mean
_Names = dict[str, tuple[str, float]]
LEARNT: dict[str, tuple[str, _Names, str]] = {
    "classes": (
        "Classes",
        {"error": ("test error, %", 100)},
        "The share of the test examples with a label whose likeliest class is another.",
    ),
    "clusters": (
        "Clusters",
        {
            "error_majority": ("error, named by the majority, %", 100),
            "error_confident": ("error, named by the surest example, %", 100),
            "nmi": ("normalised mutual information", 1),
            "used": ("clusters in use", 1),
        },
        "A cluster is named by validation examples, and judged on test examples; in use are those with more than 1 % "
        "of them.",
    ),
    "code": (
        "Is the code used?",
        {
            "error": ("squared error from its own code", 1),
            "shuffled": ("from another example's code", 1),
            "spread": ("spread within a code", 1),
            "information": ("I(x; code), nats", 1),
            "bound": ("I(x; code) at least, nats", 1),
            "used": ("categories in use", 1),
        },
        "Where another example's code serves as well, the decoder ignores the code. Spread: the variance of "
        "reconstructions of one code, as a share of the data's: 0 for a deterministic decoder, 1 where the code says "
        "nothing.",
    ),
}
ENVIRONMENT = ("chartae", "torch", "numpy", "python", "versions", "environment", "machine", "device")


def write(folder: str | Path, out: str | Path) -> Path:
    """Write the report of a run, or of a comparison of runs, as one HTML file, whole or not at all.

    A run folder holds ``run.toml`` and, as far as it got, ``log.jsonl``, ``results.json`` and
    ``pictures.npz``; a comparison folder holds ``comparison.json`` and run folders. What is absent is said on
    the page. The page has no scripts and asks nothing of any network: its pictures and its style are in it.

    Args:
        folder: the run or the comparison.
        out: the file to write; its folder is made where it is absent.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: no such folder, or one that holds neither a run nor a comparison.
        ValueError: a file that is damaged, or a comparison that points outside its own folder.
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give the folder of a run or of a comparison")
    if (folder / "comparison.json").is_file():
        html = _comparison(folder)
    elif (folder / "run.toml").is_file():
        html = _run(folder)
    else:
        raise FileNotFoundError(f"{folder} holds neither run.toml nor comparison.json: it is no run and no comparison")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    part.write_text(html, encoding="utf-8")
    os.replace(part, out)
    return out


# -- the page of a run ---------------------------------------------------------------------------------------


def _best(scores: Mapping[str, Any]) -> str | None:
    """The density with the lowest Fréchet number."""
    able = [n for n in _densities(scores) if _finite(scores[n])]
    return min(able, key=lambda n: scores[n], default=None)


def _lower(a: float, b: float) -> str:
    """How much lower a is than b."""
    if a <= 0 or b / a < 1.005:
        return ""
    ratio = b / a
    return f", {ratio:.1f} times lower" if ratio >= 1.5 else f", {1 - a / b:.1%} lower"


def _headline(scores: dict[str, Any], own: Any, measure: str, errors: dict[str, Any]) -> str:
    best = _best(scores)
    if best is None:
        mse = errors.get("mse")
        return f"Test data are reconstructed with a mean squared error of {_number(mse)}." if _finite(mse) else ""
    others = [n for n in _densities(scores) if n != best and _finite(scores[n])]
    baseline = next((n for n in (own, "normal", "prior", *others) if n in others), None)
    text = f"{_title(best)} samples score {_number(float(scores[best]))}"
    if baseline:
        text += f" against {_number(float(scores[baseline]))} for the {_said(baseline)}"
        text += _lower(scores[best], scores[baseline])
    text += f" ({measure}; lower is better)."
    for name, what in (("reconstruction", "Reconstructions"), ("floor", "Real data, the floor,")):
        if _finite(scores.get(name)):
            text += f" {what} score {_number(float(scores[name]))}."
    return text


def _scores(sets: dict[str, Any]) -> dict[str, Any]:
    return {n: _mapping(v, f"{n} in sets").get("frechet") for n, v in sets.items()}


def _table(
    run: _Run, known: _Heads, best: str | None, *, hidden: Collection[str] = (), bold: bool = False, floor: str = ""
) -> dict[str, Any] | None:
    """Sets by numbers, with what a density's own likelihood says; `bold` marks each column's best density."""
    sets, densities = run.part("sets"), run.part("densities")
    rows = {
        n: dict(_mapping(sets.get(n), f"{n} in sets"))
        for n in _in_order([*sets, *(d for d in densities if d not in sets)])
    }
    for name in densities:
        likelihood = _mapping(densities[name], f"{name} in densities").get("log_likelihood")
        if likelihood is not None:
            rows[name]["log_likelihood"] = likelihood
    if not rows:
        return None
    given = dict.fromkeys(k for row in rows.values() for k in row if k not in ("kid_sd", *hidden))
    columns = [k for k in known if k in given]
    columns += [k for k in given if k not in columns]
    heads: _Heads = {k: (k.replace("_", " "), "", 1, None) for k in columns} | known
    able = {
        k: [rows[n][k] for n in _densities(rows) if _finite(rows[n].get(k))] for k in columns if bold and heads[k][1]
    }
    tops = {k: (min if heads[k][1] == "↓" else max)(v) for k, v in able.items() if len(set(v)) > 1}

    def cell(name: str, k: str) -> tuple[str, Any, bool]:
        row, (_, _, times, decimals) = rows[name], heads[k]
        value, sd = row.get(k), row.get(f"{k}_sd")
        top = k in tops and name in _densities([name]) and value == tops[k]
        if decimals is None or not _finite(value):
            return _spread(value, sd), value, top
        text = f"{times * float(value or 0):.{decimals}f}"
        return text + (f" ± {times * float(sd or 0):.{decimals}f}" if _finite(sd) else ""), value, top

    return {
        "heads": [heads[k][:2] for k in columns],
        "bold": bold,
        "rows": [
            {
                "title": floor if name == "floor" and floor else _title(name),
                "best": name == best and len(_densities(rows)) > 1,
                "kind": "density" if name in _densities([name]) else "other",
                "cells": [cell(name, k) for k in columns],
            }
            for name in rows
        ],
    }


def _tiles(run: _Run, scores: dict[str, Any], best: str | None, measure: str) -> list[tuple[str, str]]:
    training, errors = run.part("training"), run.part("reconstruction")
    kind = "FID" if measure == "FID" else "Fréchet"
    tiles = []
    if best is not None:
        tiles.append((f"{kind}, {_said(best)} samples", _number(float(scores[best]))))
    if _finite(scores.get("reconstruction")):
        tiles.append((f"{kind}, reconstructions", _number(float(scores["reconstruction"]))))
    names = {"mse": "mean squared error", "psnr": "PSNR, dB", "ssim": "SSIM"}
    tiles += [(names[k], _number(errors[k])) for k in names if errors.get(k) is not None]
    if training.get("parameters") is not None:
        tiles.append(("parameters", _number(training["parameters"])))
    if _finite(training.get("seconds")):
        tiles.append(("training time", _duration(training["seconds"])))
    return tiles


def _facts(settings: dict[str, Any], protocol: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Settings, protocol and environment, each in full."""
    environment = {k: v for k, v in protocol.items() if k in ENVIRONMENT or k.endswith("version")}
    chartae = {"trained with chartae": settings["version"]} if "version" in settings else {}
    return {
        "Settings": _flat({k: v for k, v in settings.items() if k not in ("version", "objective")}),
        "Protocol": _flat({k: v for k, v in protocol.items() if k not in environment}),
        "Environment": _flat(chartae | environment),
    }


def _what(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """The model in a line of facts."""
    shape = settings.get("shape")
    pairs = [
        ("data", settings.get("data")),
        ("shape", " × ".join(map(str, shape)) if isinstance(shape, list) else shape),
        ("latent dimensions", settings.get("latent_dim")),
        ("net", settings.get("net")),
        ("seed", settings.get("seed")),
    ]
    return [(k, str(v)) for k, v in pairs if v is not None]


def _run(folder: Path) -> str:
    run = _read(folder)
    if strings._is_of_strings(run):
        return _strings(run)
    sets, protocol = run.part("sets"), run.part("protocol")
    measure, scores = _measure((run.results or {}).get("metric")), _scores(sets)
    best = _best(scores)
    budget = 400_000
    return _render(
        "run.html",
        **_common(run),
        title=f"{run.settings.get('recipe', 'run')} on {run.settings.get('data', 'data')}",
        headline=_headline(scores, (run.results or {}).get("own"), measure, run.part("reconstruction")),
        pictured=bool(run.arrays),
        what=_what(run.settings),
        tiles=_tiles(run, scores, best, measure),
        table=_table(run, {"frechet": (measure, "↓", 1, None)} | COLUMNS, best),
        measure=measure,
        errors=[(k, _number(v)) for k, v in run.part("reconstruction").items()],
        samples=_samples(run.arrays, budget, best),
        best=best,
        reconstructions=_reconstructions(run.arrays, budget),
        interpolations=_interpolations(run.arrays, budget),
        latent=_points(run.arrays, "latent", "latent_", "test codes", best),
        data=_points(run.arrays, "data_2d", "samples_2d_", "data", best),
        facts=_facts(run.settings, protocol),
    )


def _learnt(run: _Run) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Categories and code, where there are numbers of them: title, names and values, what they mean."""
    found = []
    for part, (title, names, note) in LEARNT.items():
        values = run.part(part)
        rows = [
            (name, _number(times * values[key] if _finite(values[key]) and times != 1 else values[key]))
            for key, (name, times) in names.items()
            if values.get(key) is not None
        ]
        if rows:
            found.append((title, rows, note))
    return found


def _advice(settings: dict[str, Any]) -> str:
    """What to do with a run that has not been evaluated."""
    if settings.get("to"):
        return "A run that translates is judged by its translations: chartae translate RUN --from A --out grid.png."
    return "Not evaluated yet: there is no results.json. chartae evaluate RUN would add the table of numbers."


def _common(run: _Run) -> dict[str, Any]:
    """What the page of any run shows."""
    training = {k: v for k, v in run.part("training").items() if k != "alarms"}
    alarms = [row for row in run.log if row.get("split") == "alarm"]
    return {
        "evaluated": run.results is not None,
        "advice": _advice(run.settings),
        "critics": any("accuracy" in key for row in run.log for key in row),
        "alarms": [{"epoch": _number(row.get("epoch")), "text": str(row.get("alarm"))} for row in alarms],
        "learnt": _learnt(run),
        "objective": run.settings.get("objective"),
        "curves": _curves(run.log, training.get("best_epoch")),
        "training": _flat(training),
        "best_epoch": training.get("best_epoch"),
        "protocol": run.part("protocol"),
        "densities": [row for row in _flat(run.part("densities")) if not row[0].endswith(".log_likelihood")],
    }


def _strings(run: _Run) -> str:
    """The page of a run on strings."""
    codec, grammar = strings._codec(run.settings)
    settings = run.settings | ({"codec": codec} if grammar or len(str(run.settings.get("codec"))) > 200 else {})
    return _render(
        "strings.html",
        **_common(run),
        title=f"{run.settings.get('recipe', 'run')} on {strings._source(run.settings)}",
        headline=strings._headline(run),
        what=strings._what(run.settings),
        tiles=strings._tiles(run),
        table=_table(
            run,
            strings.COLUMNS,
            strings._fcd(run.part("sets")),
            hidden=strings.HIDDEN,
            bold=True,
            floor="Test strings (floor)",
        ),
        errors=strings._errors(run.part("reconstruction")),
        facts=_facts(settings, run.part("protocol")),
        **strings._page(run),
    )


# -- the page of a comparison --------------------------------------------------------------------------------


def _winner(summary: list[dict[str, Any]], measure: str) -> str:
    """The recipe and density with the lowest mean, against the best of the next recipe."""
    ranked: list[tuple[float, Any, str]] = []
    for row in summary:
        cells = {n: _cell(row, n) for n in _mapping(row.get("columns"), "columns of the summary")}
        best = _best({n: c.get("mean") for n, c in cells.items()})
        if best is not None:
            who = f"{row.get('recipe', '?')} with {_said(best)} samples"
            ranked.append((cells[best]["mean"], cells[best].get("sd"), who))
    if not ranked:
        return ""
    (low, sd, who), *rest = sorted(ranked, key=lambda r: r[0])
    text = f"{who} scores lowest: {_spread(low, sd)}"
    if not rest:
        return f"{text} ({measure})."
    next_low, next_sd, next_who = rest[0]
    text += f", against {_spread(next_low, next_sd)} for the next recipe, {next_who}"
    text += f"{_lower(low, next_low)} ({measure})."
    if not (_finite(sd) and _finite(next_sd)):
        return text + " Without several seeds of both, how far such numbers scatter is not known here."
    if next_low - low <= sd + next_sd:
        return text + " The difference is within the two standard deviations: no clear winner."
    return text


def _ranks(summary: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    best = {}
    for name in names:
        means: list[Any] = [m for row in summary if _finite(m := _cell(row, name).get("mean"))]
        best[name] = min(means) if len(means) > 1 else None
    return {
        "heads": [_title(n) for n in names],
        "rows": [
            {
                "title": str(row.get("recipe", "?")),
                "n": _number(row.get("n")),
                "cells": [
                    {
                        "text": _spread(cell.get("mean"), cell.get("sd")),
                        "aside": row.get("own") if n == "own" and cell else cell.get("n"),
                        "value": cell.get("mean"),
                        "best": best[n] is not None and cell.get("mean") == best[n],
                    }
                    for n in names
                    for cell in (_cell(row, n),)
                ],
            }
            for row in summary
        ],
    }


def _seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Every run of the comparison, one line each."""
    scores = [_scores(_mapping(row.get("sets"), "sets of a row")) for row in rows]
    errors = [_mapping(row.get("reconstruction"), "reconstruction of a row") for row in rows]
    names = _in_order(dict.fromkeys(n for s in scores for n in s))
    kinds = list(dict.fromkeys(k for e in errors for k in e))
    return {
        "heads": ["seed", *map(_title, names), *kinds, "seconds"],
        "rows": [
            {
                "title": str(row.get("recipe", "?")),
                "cells": [
                    (str(row.get("seed", "–")), None),
                    *((_number(s.get(n)), s.get(n)) for n in names),
                    *((_number(e.get(k)), e.get(k)) for k in kinds),
                    (_number(row.get("seconds")), row.get("seconds")),
                ],
            }
            for row, s, e in zip(rows, scores, errors, strict=True)
        ],
    }


def _comparison(folder: Path) -> str:
    data = _json(folder / "comparison.json")
    rows, summary = (_mappings(data.get(k), f"{k} in comparison.json") for k in ("rows", "summary"))
    firsts: dict[str, Path] = {}
    for row in rows:
        path = _inside(folder, row["folder"]) if row.get("folder") is not None else None
        if path is not None:
            firsts.setdefault(str(row.get("recipe", "?")), path)
    measure = _measure(data.get("metric"))
    names = _in_order(dict.fromkeys(n for row in summary for n in _mapping(row.get("columns"), "columns")))
    protocol = _mapping(data.get("protocol"), "protocol in comparison.json")
    order = dict.fromkeys([*(str(row.get("recipe", "?")) for row in summary), *firsts])
    budget = 3_000_000 // max(1, 6 * len(firsts))
    return _render(
        "comparison.html",
        title=f"{len(order)} recipes on {data.get('data', 'data')}",
        headline=_winner(summary, measure),
        table=_ranks(summary, names) if summary and names else None,
        chart=_ranking(summary, ["reconstruction", *_densities(names)], measure),
        measure=measure,
        recipes=[_recipe(name, firsts.get(name), summary, budget) for name in order],
        seeds=_seeds(rows) if rows else None,
        given=_flat({k: v for k, v in data.items() if k not in ("rows", "summary", "protocol")}),
        facts=_facts({}, protocol),
        protocol=protocol,
    )


def _recipe(name: str, folder: Path | None, summary: list[dict[str, Any]], budget: int) -> dict[str, Any]:
    """One recipe's part of a comparison, from the folder of its first seed."""
    present = folder is not None and (folder / "run.toml").is_file()
    run = _read(folder) if folder is not None and present else _Run({})
    row = next((r for r in summary if str(r.get("recipe", "?")) == name), {})
    best = _best({n: _cell(row, n).get("mean") for n in _mapping(row.get("columns"), "columns")})
    return {
        "name": name,
        "present": present,
        "seed": run.settings.get("seed"),
        "objective": run.settings.get("objective"),
        "settings": _flat({k: v for k, v in run.settings.items() if k != "objective"}),
        "best": best,
        "samples": _samples({k: x for k, x in run.arrays.items() if k != "originals"}, budget, best),
        "data": _points(run.arrays, "data_2d", "samples_2d_", "data", best),
        "reconstructions": _reconstructions(run.arrays, budget),
        "interpolations": _interpolations(run.arrays, budget),
    }


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
