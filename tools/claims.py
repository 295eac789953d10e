"""The claims of the evidence page, computed from the results in benchmarks/results/.

A claim has a target, our values, and what a reader must know to judge it: the control, and what differs from the
published protocol. Whether it is met is computed (`papers.parts.Claim`).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the reproductions are not installed

from papers.parts import Claim  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
Result = dict[str, Any]
RAE, SCORE, IMA, IAE = "1903.12436", "1211.4246", "2206.02416", "1805.09804"
#: differences from the papers' protocols that several claims share
SMALL = "small dense nets, 15 epochs, features of a small classifier instead of Inception's"
SHORT_TRAINING = "the paper's nets for 3 to 16 of 100 epochs, features of a small classifier instead of Inception's"
ANNEALED = "wider nets, another learning rate and a decoder whose precision is annealed"
SEMISUP = "views and neighbours must agree, which the paper does not ask"
#: worlds in which the right answer is known
WORLDS = "a world with a known score, where the paper looks at its fields and samples"
TOY = "a toy problem, which the paper does not have"


def read(name: str) -> Result | None:
    """A file of results, or None."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _seeds(rows: Iterable[Result]) -> tuple[int, ...]:
    return tuple(row["seed"] for row in rows)


def table1(result: Result, differs: str) -> list[Claim]:
    """Claims of Table 1, seed by seed: densities fitted after training against a normal, and the VAE's prior."""
    columns = ("own", "gmm", "gmm-100")
    by_seed: dict[int, Result] = {seed: {} for seed in result["seeds"]}
    for row in result["rows"]:
        sets = {name: row["sets"][row["own"] if name == "own" else name]["frechet"] for name in columns}
        by_seed[row["seed"]][row["recipe"]] = sets
    claims = _table1_claims("", by_seed, differs)
    if "imagenet" in result:
        (seed,) = result["seeds"]
        rows = {
            row["recipe"]: {name: row["columns"][name]["mean"] for name in columns}
            for row in result["imagenet"]["summary"]
        }
        claims += _table1_claims(", features of ImageNet", {seed: rows}, differs)
    return claims


def _table1_claims(features: str, by_seed: dict[int, Result], differs: str) -> list[Claim]:
    def best(rows: Result, density: str) -> float:
        return min(values[density] for recipe, values in rows.items() if recipe.startswith("rae"))

    def values(ratio: Callable[[Result], float]) -> list[float]:
        return [ratio(rows) for rows in by_seed.values()]

    chosen = "the best RAE is chosen on these seeds"
    least = values(lambda r: min(v["own"] / v["gmm"] for v in r.values()))
    own, own_100 = (values(lambda r, d=d: r["ae"]["own"] / r["ae"][d]) for d in ("gmm", "gmm-100"))
    control = values(lambda r: best(r, "gmm") / r["ae"]["gmm"])
    by_10, by_100 = (values(lambda r, d=d: r["vae"]["own"] / best(r, d)) for d in ("gmm", "gmm-100"))
    rows = [
        ("least N over GMM-10 of all recipes", "> 1", least, "1.09", ""),
        ("ae: N over GMM-10", ">= 4", own, "5.51", ""),
        ("ae: N over GMM-100", ">= 4", own_100, "", ""),
        ("VAE's prior over the best RAE with GMM-10", ">= 3", by_10, "2.21", chosen),
        ("VAE's prior over the best RAE with GMM-100", ">= 3", by_100, "", chosen),
        ("control: best RAE over ae without regulariser, both with GMM-10", "< 1", control, "0.82", chosen),
    ]
    return [
        Claim(text + features, RAE, target, numbers, published, note, tuple(by_seed), differs)
        for text, target, numbers, published, note in rows
    ]


def score(result: Result) -> list[Claim]:
    """Claims on the score, the Hessian and sampling."""
    claims = []
    if "theorem" in result:
        slopes = [entry["slope"] for entry in result["theorem"]["tables"].values()]
        claims.append(
            Claim(
                "error of the optimal reconstruction's score: smallest slope in sigma",
                SCORE,
                ">= 1.85",
                [min(slopes)],
                "2",
                "no seeds: computed on a grid",
            )
        )
    for recipe, errors in result.get("linear", {}).get("relative_error_of_the_map", {}).items():
        claims.append(
            Claim(
                f"{recipe}: relative error of the linear map on normal data",
                SCORE,
                "<= 0.02",
                errors["values"],
                "0",
                seeds=range(errors["n"]),
                differs=WORLDS,
            )
        )
    for name, most in (("0.3", 0.08), ("0.1", 0.12)):
        row = result.get("fields", {}).get("rows", {}).get(f"dae residual {name}")
        if row is not None:
            error = row["smoothed"]["relative_l2"]
            claims.append(
                Claim(
                    f"DAE at sigma {name}: relative error of the smoothed score",
                    SCORE,
                    f"<= {most}",
                    error["values"],
                    "0",
                    seeds=range(error["n"]),
                    differs=WORLDS,
                )
            )
    if "modes" in result:
        for name, share in result["modes"]["share_in_the_heavier_mode"].items():
            if not name.startswith("mala"):
                off = [abs(value - result["modes"]["true_share"]) for value in share["values"]]
                claims.append(
                    Claim(
                        f"{name}: distance of the heavier mode's share from 0.7",
                        "ours",
                        "<= 0.05",
                        off,
                        note="MALA, the control, stays in the mode where it starts",
                        seeds=range(share["n"]),
                    )
                )
    if "spiral" in result:
        for name, row in result["spiral"]["rows"].items():
            claims.append(
                Claim(
                    f"spiral, {name}: share of chains that escape",
                    SCORE,
                    "<= 0",
                    row["escape"],
                    seeds=range(len(row["escape"])),
                    differs=WORLDS,
                )
            )
    if "mnist" in result:
        sets = result["mnist"]["sets"]
        claims.append(
            Claim(
                "MNIST: annealed samples of an ncdae over RAE-L2 with GMM-10",
                "ours",
                "<= 1.5",
                [sets["annealed"]["frechet"] / sets["rae-l2 + gmm"]["frechet"]],
                seeds=(0,),
            )
        )
    return claims


def ima(result: Result) -> list[Claim]:
    """Claims on near-deterministic VAEs and independent mechanisms."""
    claims = []
    if "ima-linear" in result:
        worst = max(row["worst"] for row in result["ima-linear"]["parts"]["linear"]["found"])
        claims.append(
            Claim(
                "linear-Gaussian identity of the gap: largest error, nats",
                IMA,
                "<= 1e-10",
                [worst],
                "0",
                "no seeds: closed forms",
            )
        )
    if "ima-moebius" in result:
        rows = result["ima-moebius"]["parts"]["precision"]["found"]
        for gamma2 in (1e4, 1e5):
            chosen = [row for row in rows if row["gamma2"] == gamma2]
            claims.append(
                Claim(
                    f"Moebius maps, gamma² = {gamma2:.0e}: MCC",
                    IMA,
                    ">= 0.96",
                    [row["mcc"] for row in chosen],
                    "near 1",
                    f"at gamma² = 10, where nothing is learnt, it is {_low(rows):.2f}",
                    _seeds(chosen),
                    ANNEALED,
                )
            )
    if "ima-consistency" in result:
        slopes = result["ima-consistency"]["parts"]["exact"]["found"]["slopes"]
        expected = {"code": -1, "variance": -1, "reconstruction": -2, "variance_error": -1, "ima": -1}
        off = [abs(_first(slopes[name]) - value) for name, value in expected.items()]
        claims.append(
            Claim(
                "self-consistency with a known decoder: largest error of a slope",
                IMA,
                "<= 0.1",
                [max(off)],
                "0",
                "no seeds: the optimal posterior of each point",
            )
        )
    if "ima-sprites" in result:
        found = [part["found"] for part in result["ima-sprites"]["parts"].values()]
        vaes = [row for row in found if row["data"] == "sprites" and row["recipe"] == "vae"]
        claims.append(
            Claim(
                "sprites, VAE: MCC",
                IMA,
                ">= 0.97",
                [row["mcc"] for row in vaes],
                "0.97",
                "a random rotation of the true factors has 0.77",
                _seeds(vaes),
                "a smaller net, fewer steps, one seed",
            )
        )
    return claims


def _low(rows: Sequence[Result]) -> float:
    return mean(row["mcc"] for row in rows if row["gamma2"] == 10)


def _first(value: Any) -> float:
    return float(value[0]) if isinstance(value, list) else float(value["slope"] if isinstance(value, dict) else value)


def ring(result: Result) -> list[Claim]:
    """Claims on the ring of eight normals."""
    claims = []
    for name, rows in result["rows"].items():
        claims.append(
            Claim(
                f"ring of eight normals, {name}: purity of the codes",
                IAE,
                ">= 0.95",
                [row["purity"] for row in rows],
                seeds=_seeds(rows),
                differs=TOY,
            )
        )
    return claims


def grid(result: Result) -> list[Claim]:
    """Claims on the grid of 25 normals."""
    claims = []
    for recipe, rows in result["rows"].items():
        for density, said in (("prior", "prior"), ("gmm", "ex-post mixture")):
            near = mean(row[density]["near_a_mode"] for row in rows)
            claims.append(
                Claim(
                    f"grid of 25 normals, {recipe}, {said}: modes with a sample within 3 sd",
                    "1606.00704",
                    ">= 24",
                    [row[density]["modes_near"] for row in rows],
                    "13.4 (ALI), nearest sample",
                    f"{near:.0%} of the samples lie within 3 sd of a mode",
                    _seeds(rows),
                    "smaller nets and fewer steps",
                )
            )
    return claims


def reproduced(result: Result) -> list[Claim]:
    """Claims of `chartae reproduce iae-*`: those in the results, or computed from their rows."""
    claims = []
    for name, entry in result.items():
        if not name.startswith("iae-"):
            continue
        found = entry["results"]
        net = "convolutions, 20 epochs" if name.endswith("-full") else "small dense nets, 8 epochs"
        if name.startswith("iae-cluster"):
            rows = [r for r in found["rows"] if (r["recipe"], r["clusters"], r["options"]) == ("aae-cluster", 30, {})]
            bare = [r["error_confident"] for r in found["rows"] if r["options"] == {"agreement": 0.0}]
            note = f"without agreement of views and neighbours {100 * min(bare):.0f} to {100 * max(bare):.0f} %; the "
            note += "control without decoder and critics: see --factorial"
            claims.append(
                Claim(
                    f"MNIST, 30 clusters ({net}): error",
                    "1511.05644",
                    "<= 0.041",
                    [r["error_confident"] for r in rows],
                    "0.041",
                    note,
                    _seeds(rows),
                    SEMISUP,
                )
            )
        elif name.startswith("iae-semisup"):
            labels, target = found["labels"], {100: "0.019", 1000: "0.016"}[found["labels"]]
            rows = [r for r in found["rows"] if r["name"] == "aae-semisup"]
            alone = [r["error"] for r in found["rows"] if r["name"] == "labels alone, views"]
            note = f"labels alone, with views: {100 * mean(alone):.1f} %; the control without decoder and critics: see "
            claims.append(
                Claim(
                    f"MNIST, {labels} labels ({net}): error",
                    "1511.05644",
                    f"<= {target}",
                    [r["error"] for r in rows],
                    target,
                    note + "--factorial",
                    _seeds(rows),
                    SEMISUP,
                )
            )
        elif name.startswith("iae-translate"):
            rows = [r for r in found["rows"] if r["task"] == "coloured"]
            claims.append(
                Claim(
                    f"MNIST to coloured MNIST ({net}): content kept",
                    IAE,
                    ">= 0.95",
                    [r["there"]["content"] for r in rows],
                    "",
                    f"shuffled pictures {mean(r['there']['shuffled'] for r in rows):.2f}",
                    _seeds(rows),
                    "digits and their colours, where the paper has edges and shoes",
                )
            )
        elif name == "iae-posterior":
            for method in ("VAE, normal posterior", "AAE, implicit posterior", "AVB, implicit posterior"):
                rows = [r for r in found["points"] if r["method"] == method]
                claims.append(
                    Claim(
                        f"four points, {method}: -log p(x), nats",
                        "1701.04722",
                        "<= 1.416",
                        [r["nll"] for r in rows],
                        "1.403 (AVB)",
                        "the least is log 4 = 1.386",
                        _seeds(rows),
                        "an encoder of our own with noise",
                    )
                )
        elif name == "iae-style":
            for size in (2, 5, 10):
                rows = [r for r in found["rows"] if (r["latent_dim"], r["noise_dim"]) == (size, 20)]
                ratios = [r["calibration"] for r in rows if "calibration" in r]
                if not ratios:  # results from before it was measured
                    continue
                claims.append(
                    Claim(
                        f"content and style, code of {size}: calibration of the noise",
                        IAE,
                        ">= 0.5",
                        ratios,
                        "1",
                        "1 is right; 0 ignores the noise",
                        _seeds(rows),
                        "small dense nets, 3,000 steps",
                    )
                )
    return claims


def stated(result: Result) -> list[Claim]:
    """Claims that are in the results themselves; results of an older protocol have none."""
    entries = [entry["results"] for entry in result.values() if isinstance(entry, dict) and "results" in entry]
    return [Claim.of(row) for entry in entries for row in entry.get("claims", [])]


def speed(text: str, target: str) -> Callable[[Result], list[Claim]]:
    """Claims of a benchmark whose rows are ratios."""

    def claims(result: Result) -> list[Claim]:
        return [
            Claim(f"{text}: {label}", "ours", target, [row["median"]], note=f"median of {row['repeats']} turns")
            for label, row in result["rows"].items()
            if not math.isnan(row["median"])
        ]

    return claims


#: the sections of the page and their claims: file of results, name of the section, function
SECTIONS: tuple[tuple[str, str, Callable[[Result], list[Claim]]], ...] = (
    ("rae-table1-mnist-quick", "Table 1, small nets", lambda r: table1(r, SMALL)),
    ("rae-table1-mnist-paper", "Table 1, the paper's nets", lambda r: table1(r, SHORT_TRAINING)),
    ("score", "Score and sampling", score),
    ("ima", "Independent mechanisms", ima),
    ("implicit", "Implicit autoencoders", ring),
    ("implicit-grid", "Implicit autoencoders", grid),
    ("iae", "Implicit autoencoders", reproduced),
    ("factorial", "What does the work", stated),
    ("strings", "Strings", stated),
    ("training-loop-mlp", "Speed", speed("training against a plain loop", ">= 0.95")),
    ("training-loop-conv", "Speed", speed("training against a plain loop", ">= 0.95")),
    ("training-pythae-mlp", "Speed", speed("training against pythae", ">= 1.7")),
    ("training-pythae-conv", "Speed", speed("training against pythae", ">= 1.3")),
    ("gmm", "Speed", speed("GaussianMixture against scikit-learn", ">= 4")),
    ("frechet", "Speed", speed("Fréchet distance against scipy", ">= 3")),
)


def all_claims() -> list[tuple[str, Claim]]:
    """All claims with the section that they belong to."""
    found = []
    for name, section, function in SECTIONS:
        result = read(name)
        if result is not None:
            found += [(section, claim) for claim in function(result)]
    return found
