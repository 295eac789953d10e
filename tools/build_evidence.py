"""Write docs/evidence.md from benchmarks/results/: every number there comes from a file that names its command.

python tools/build_evidence.py            # writes
python tools/build_evidence.py --check    # exits with 1 if the page is not what the results say
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from chartae.records.comparison import Spread
from papers.rae_table1 import TABLE1

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "evidence.md"
OWN = ROOT / "docs" / "posteriors.md"
START, END = "<!-- built by tools/build_evidence.py -->", "<!-- end -->"


def read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def machine(result: dict[str, Any]) -> str:
    m = result["machine"]
    if isinstance(m, str):
        return m
    return f"{m['cpu']}, {m['threads']} of {m['cores']} cores, torch {m['torch']}"


def table1(result: dict[str, Any]) -> list[str]:
    paper = TABLE1[result["data"]]
    columns = ["reconstruction", "own", "gmm", "gmm-100", "interpolation-linear"]
    rows = []
    summary = {row["recipe"]: row for row in result["summary"]}
    for recipe, row in summary.items():
        cells = [str(Spread(**row["columns"].get(c, {}))) for c in columns]
        cells.append(f"{_ratio(row, 'own', 'gmm'):.1f} / {_ratio(row, 'own', 'gmm-100'):.1f}")
        rows.append([f"`{recipe}`", *cells, " / ".join(f"{v:g}" for v in paper[recipe])])
    prior = summary["vae"]["columns"]["own"]["mean"]
    raes = {r: row for r, row in summary.items() if r.startswith("rae")}

    def best(column: str) -> tuple[float, str]:
        return min((row["columns"][column]["mean"], r) for r, row in raes.items())

    (ten, ten_name), (hundred, hundred_name) = best("gmm"), best("gmm-100")
    every = all(_ratio(row, "own", "gmm") > 1 for row in summary.values())
    targets = [
        ["GMM-10 beats the model's own N column, every recipe", "yes" if every else "**no**", "> 1 everywhere"],
        ["`ae`: N over GMM-10", f"{_ratio(summary['ae'], 'own', 'gmm'):.2f}", ">= 4"],
        ["`ae`: N over GMM-100", f"{_ratio(summary['ae'], 'own', 'gmm-100'):.2f}", ">= 4"],
        [f"VAE prior over the best RAE + GMM-10 (`{ten_name}`)", f"{prior / ten:.2f}", ">= 3"],
        [f"VAE prior over the best RAE + GMM-100 (`{hundred_name}`)", f"{prior / hundred:.2f}", ">= 3"],
    ]
    n, settings = len(result["seeds"]), result["settings"]
    extractor = result["protocol"]["extractor"]
    return [
        "## Table 1 of 1903.12436, on a small scale\n",
        f"Command: `{result['command']}`. Mean ± sd of {n} seeds; {result['metric']}, lower is better; "
        f"n = {result['protocol']['n']}; for as many training images the value is {result['floor']['frechet']:.3f}.\n",
        table(
            [
                "model",
                "reconstruction",
                "N (own)",
                "GMM-10",
                "GMM-100",
                "interpolation",
                "N : GMM-10 / -100",
                "paper's FID: rec / N / GMM / interp",
            ],
            rows,
        ),
        "\nThe claims, on these numbers:\n",
        table(["claim", "measured", "wanted"], targets),
        "\nWhat differs from the paper: the net "
        f"(`{settings['net']}`, {settings['epochs']} epochs, batch {settings['batch_size']}, for the paper's "
        "convolutional net of 22.7 million parameters and 100 epochs); the features "
        f"(`{extractor['name']}`, {extractor['dim']} of a classifier, for Inception's 2,048), so that absolute values "
        "do not compare and ratios only roughly; splits that do not overlap; validation images for the reconstruction "
        "column; mid-points that are linear. N is the prior for `vae` and `wae`, a fitted full-covariance normal for "
        "the others, as in the paper. GMM-100 is not in the paper's table.\n",
    ]


def _ratio(row: dict[str, Any], above: str, below: str) -> float:
    return row["columns"][above]["mean"] / row["columns"][below]["mean"]


def _mean(found: dict[str, Any], digits: int = 3) -> str:
    sd = "" if found["sd"] is None else f" ± {found['sd']:.2g}"
    return f"{found['mean']:.{digits}g}{sd} (n = {found['n']})"


def score(result: dict[str, Any]) -> list[str]:
    """What the autoencoder says of the density, 1211.4246."""
    parts = ["## Score, Hessian and sampling: 1211.4246\n"]

    def section(name: str, title: str, heads: list[str], rows: list[list[str]], after: str = "") -> None:
        m = result[name]["machine"]
        where = f"{m['cpu']}, {m['threads']} thread(s), torch {m['torch']}"
        parts.extend([f"### {title}\n", table(heads, rows), f"\n{after}`{result[name]['command']}`; {where}.\n"])

    if "theorem" in result:
        found = result["theorem"]
        rows = []
        for name, kept in found["tables"].items():
            small = [f"{kept['rows'][s]['relative_l2']:.4g}" for s in ("0.1", "0.03", "0.01")]
            rows.append([name, *small, f"**{kept['slope']:.2f}**"])
        worst = found["worst_relative_difference_to_the_sheet"]
        section(
            "theorem",
            "The theorem on a grid: relative L2 of the best reconstruction's score (wanted: slope >= 1.85)",
            ["", "σ = 0.1", "0.03", "0.01", "log-log slope, 0.03 to 0.01"],
            rows,
            f"All 32 values against reference values computed independently: within {worst:.2%} (wanted: 5 %). ",
        )
    if "linear" in result:
        found = result["linear"]["relative_error_of_the_map"]
        section(
            "linear",
            "A linear net on normal data against C (C + σ²I)⁻¹, relative Frobenius error (wanted: <= 0.02)",
            ["criterion", "error"],
            [[f"`{k}`", _mean(v)] for k, v in found.items()],
        )
    if "fields" in result:
        rows = []
        for name, kept in result["fields"]["rows"].items():
            recipe, form, sigma = name.split()
            wanted = {("residual", "0.3"): "<= 0.08", ("residual", "0.1"): "<= 0.12"}.get((form, sigma), "")
            smooth = kept["smoothed"]
            cells = [_mean(smooth["relative_l2"]), wanted if recipe == "dae" else ""]
            cells += [_mean(smooth["cosine"], 4), _mean(kept["plain"]["relative_l2"])]
            rows.append([f"`{recipe}`, {form}", sigma, *cells])
        section(
            "fields",
            "MLPs on the 2-D mixture, 20,000 points, 50 epochs, the recipes' defaults (wanted: cosine >= 0.99)",
            ["recipe", "σ", "relative L2, smoothed score", "wanted", "cosine", "relative L2, unsmoothed"],
            rows,
        )
    if "quadrature" in result:
        rows = [[k, f"{v['rmse']:.3g}", f"{v['antisymmetry']:.1e}"] for k, v in result["quadrature"]["rows"].items()]
        section(
            "quadrature",
            "log p(y) - log p(x) by path integral, proposals of sd 0.5 (wanted: Gauss-Legendre 5 <= 0.006, 1e-6)",
            ["rule, nodes", "rmse, nats", "forth and back, largest sum"],
            rows,
        )
    if "samplers" in result:
        found = result["samplers"]
        rows = [
            [f"`{k}`", f"{v['variance']:.4f}", f"{v['closed_form']:.4f}", f"{v['relative']:+.2%}"]
            for k, v in found["variances"].items()
        ]
        section(
            "samplers",
            "Stationary variances on N(0, 1.5) (wanted: within 3 %)",
            ["kernel", "measured", "closed form", "difference"],
            rows,
        )
        rows = [[k, _mean(v)] for k, v in found["energy_distance_over_floor"].items()]
        section(
            "samplers",
            "Energy distance on the 2-D mixture over that of two samples (wanted: exact <= 2, trained <= 4)",
            ["kernel", "times the floor"],
            rows,
            "First order is the simplest sampler of the paper. ",
        )
    if "modes" in result:
        rows = [[k, _mean(v)] for k, v in result["modes"]["share_in_the_heavier_mode"].items()]
        section(
            "modes",
            "Two modes 8 sd apart, all chains started in the lighter (wanted: 0.70 within 0.05, MALA failing)",
            ["kernel", "share in the heavier mode"],
            rows,
        )
    if "spiral" in result:
        rows = [
            [k, " / ".join(f"{e:.1%}" for e in v["escape"]), _mean(v["denoise_ratio"])]
            for k, v in result["spiral"]["rows"].items()
        ]
        section(
            "spiral",
            "Spiral, σ = 0.01: chains more than 0.1 away after 3,000 steps (wanted: 0 of 3 seeds x 500 chains)",
            ["training", "escaped, each seed", "distance after / before one r (the best possible: 0.076)"],
            rows,
        )
    if "penalty" in result:
        rows = [
            [k, f"**{v['median']:.2f}** ({v['least']:.2f} to {v['most']:.2f}, n = {v['repeats']})"]
            for k, v in result["penalty"]["rows"].items()
        ]
        section(
            "penalty",
            "What a step costs, in units of the plain DAE's (wanted: <= 1.5)",
            ["", "ratio"],
            rows,
        )
    if "chains" in result:
        rows = [
            [
                k,
                f"**{v['median']:.0f}** ({v['least']:.0f} to {v['most']:.0f}, n = {v['repeats']})",
                f"{v['batch']:.3g} s",
            ]
            for k, v in result["chains"]["rows"].items()
        ]
        section(
            "chains",
            "1,000 chains x 1,000 steps of MALA in one batch against a loop over chains (wanted: >= 50)",
            ["score", "times as fast", "the batch takes"],
            rows,
        )
    if "mnist" in result:
        found = result["mnist"]
        rows = [
            [k, f"{v['frechet']:.2f}", f"{v['precision']:.2f}", f"{v['recall']:.2f}"] for k, v in found["sets"].items()
        ]
        ratio = found["sets"]["annealed"]["frechet"] / found["sets"]["rae-l2 + gmm"]["frechet"]
        section(
            "mnist",
            "MNIST: a noise-conditional DAE (wanted: annealed <= 1.5 x RAE-L2 + GMM-10, and below the naive loop)",
            ["samples", found["metric"], "precision", "recall"],
            rows,
            f"Annealed over RAE-L2 + GMM-10: **{ratio:.2f}**. n = {found['n']}; for as many training images it is "
            f"{found['floor']:.2f}. The chain: {found['chain']}; the model: {found['settings']}. ",
        )
    return parts


def ima(result: dict[str, Any]) -> list[str]:
    """Near-deterministic VAEs and independent mechanisms, 2206.02416."""
    parts = ["## Near-deterministic VAEs and independent mechanisms: 2206.02416\n"]
    titles = {
        "linear": "The linear-Gaussian identity (wanted: to 1e-10)",
        "gap": "Fixed decoders: ELBO*, log p, and the limit",
        "consistency": "Self-consistency (wanted: slopes -1, -1, -2, -1, -1 within 0.1)",
        "moebius": "Moebius maps (wanted: MCC >= 0.96 at 1e4 and 1e5, chance at 1e1; Spearman <= -0.40)",
        "sprites": "Sprites and dSprites (wanted, of the paper's net: MCC >= 0.97)",
    }
    for name, title in titles.items():
        found = result.get(f"ima-{name}")
        if found is not None:
            body = found["table"].strip().replace("### ", "#### ")
            parts += [f"### {title}\n", body, f"\n`{found['command']}`; {machine(found)}.\n"]
    rows = []
    for part, label, wanted in (
        ("jacobians", "Jacobian of a 64x64x3 decoder, 10 latents: a loop over outputs / forward mode", ">= 50"),
        ("ensembles", "64 small VAEs by `fit_many` / one by `fit`, a step", "<= 8"),
    ):
        if part in result:
            row = result[part]["rows"]
            rows.append([label, f"**{row['median']:.1f}** ({row['least']:.1f} to {row['most']:.1f})", wanted])
    if rows:
        found = result["jacobians"]
        parts += ["### Speed\n", table(["", "ratio", "wanted"], rows)]
        parts.append(
            f"\nThe contrast at 1,000 points of that decoder took {found['seconds']:.0f} s and "
            f"{found['grown_by_MiB']:.0f} MiB more memory. `{found['command']}`; {machine(found)}.\n"
        )
    return parts


def implicit(result: dict[str, Any]) -> list[str]:
    """Implicit autoencoders, 1805.09804."""
    rows = []
    for name, found in result["rows"].items():
        ratios = ", ".join(f"{r['within'] / result['floor']:.1f}" for r in found)
        used = ", ".join(str(r["used"]) for r in found)
        purity = min(r["purity"] for r in found)
        told = mean(r["information"] for r in found) / math.log(8)
        rows.append([name, str(len(found)), used, f"{purity:.4f}", f"{told:.3f}", ratios])
    heads = [
        "settings",
        "n",
        "codes used of 8",
        "least purity",
        "I(x; code) / log 8",
        "energy distance within a code / perfect code's floor",
    ]
    title = (
        "## Implicit autoencoders: 1805.09804\n\n### Ring of eight normals, categorical code (wanted: 8, 0.95, <= 7)\n"
    )
    return [title, table(heads, rows), f"\n`{result['command']}`; {machine(result)}.\n"]


def grid(result: dict[str, Any]) -> list[str]:
    """25 normals, 1606.00704's counting."""
    rows = []
    for name, found in result["rows"].items():
        error, shuffled = (sum(r[key] for r in found) / len(found) for key in ("error", "shuffled"))
        for density in ("prior", "gmm"):
            some = [r[density] for r in found]
            modes = ", ".join(str(r["modes"]) for r in some)
            near = [r["near_a_mode"] for r in some]
            rows.append([
                f"`{name}`", {"prior": "the prior", "gmm": "a mixture, ex post"}[density], str(len(found)),
                f"**{mean(r['modes'] for r in some):.1f}** ({modes})", f"{mean(r['modes_near'] for r in some):.1f}",
                f"{mean(near):.3f} ({min(near):.3f} to {max(near):.3f})", f"{mean(r['samples'] for r in some):.4f}",
                f"{error:.2f} / {shuffled:.2f}",
            ])  # fmt: skip
    heads = [
        "recipe", "codes of", "n", "modes of 25", "with a sample within 3 sd", "samples within 3 sd of a mode",
        "energy distance", "squared error / from another's code",
    ]  # fmt: skip
    title = "### Grid of 25 normals, 10,000 samples (wanted: 24 modes; published: ALI 13.4, GAN 10.4)\n"
    return [title, table(heads, rows), f"\n`{result['command']}`; {machine(result)}.\n"]


def reproduced(result: dict[str, Any], only: tuple[str, ...] = ()) -> list[str]:
    """What `chartae reproduce iae-*` and `grae-*` found."""
    titles = {
        "iae-cluster": "### MNIST's clusters (wanted of 30: error <= 4.1 %, by the surest example)\n",
        "iae-cluster-full": "### The same, convolutions for longer\n",
        "iae-semisup": "### MNIST's classes from few labels (wanted of 100: error <= 1.9 %)\n",
        "iae-semisup-full": "### The same, convolutions for longer\n",
        "iae-semisup-1000": "### From 1,000 labels (published: AAE 1.60)\n",
        "iae-semisup-1000-full": "### From 1,000 labels, convolutions for longer\n",
        "iae-translate": "### Unpaired translation (wanted: content >= 0.95, and diversity)\n",
        "iae-translate-full": "### The same, larger batches for longer\n",
        "iae-posterior": "### Expressive posteriors (wanted: the MMD test passed, -log p(x) <= 1.416)\n",
        "iae-style": "### Content and style: stochastic reconstructions\n",
        "grae-expressions": "### Expressions (wanted: 100 % valid; best <= 0.39, average <= 3.22)\n\n"
        "Searches: new strings only, but in the box; of the rows that are missing none was run.\n",
        "grae-molecules": "### Molecules (wanted: >= 99 % valid; best of a run >= 3.74, all valid)\n",
    }
    parts = []
    for name, title in titles.items():
        if name in result and (not only or name in only):
            found = result[name]
            body = found["table"].strip().replace("### ", "#### ")
            parts += [title, body, f"\n`{found['command']}`; {machine(found)}.\n"]
    return parts


def grammar(result: dict[str, Any]) -> list[str]:
    """Strings with a grammar, 1703.01925 and 1903.12436."""
    zinc, own, decoding = result["zinc"], result["expressions"], result["decoding"]
    rows = [
        [f"parsing ZINC, {zinc['strings']:,} strings, CPU seconds", f"{zinc['seconds_cpu']:.1f}", "<= 60"],
        ["NLTK's chart parser over ours, ZINC", f"{zinc['nltk_over_ours']:,.0f}", ">= 100"],
        ["productions of ZINC resident, MB", f"{zinc['megabytes']:.1f}", "<= 100"],
        ["every string of ZINC round-trips", "yes" if zinc["round_trip"] else "no", "yes"],
        [f"parsing {own['strings']:,} expressions, CPU seconds", f"{own['seconds_cpu']:.2f}", "<= 5"],
        [
            f"decoding {decoding['codes']:,} codes of {decoding['steps']} steps: a loop over strings / ours",
            f"{decoding['ratio_median']:.1f} ({decoding['ratio_least']:.1f} to {decoding['ratio_most']:.1f})",
            ">= 50",
        ],
        ["the same without numba, batched", f"{decoding['ratio_without_numba']:.1f}", ""],
        ["the same strings with numba and without", "yes" if decoding["same_without_numba"] else "no", "yes"],
    ]
    steps = [key for key in result["validity"] if key != "codes"]
    kinds = list(result["validity"][steps[0]])
    body = [[kind, *(f"{result['validity'][s][kind]['valid']:.1%}" for s in steps)] for kind in kinds]
    return [
        "## Strings with a grammar: 1703.01925\n",
        table(["", "measured", "wanted"], rows),
        f"\nValid molecules of {result['validity']['codes']:,} random logits (wanted of a density's codes: >= 99 %):\n",
        table(["decoding", *steps], body),
        f"\n`python benchmarks/grammar.py --data-root FOLDER`; {machine(result)}.\n",
    ]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def speed() -> list[str]:
    parts: list[str] = [
        "## Speed\n",
        "Contestants take turns in one run; the ratio is the median of ratios taken turn by turn (least to most).\n",
    ]
    titles = {
        "training-loop-mlp": "Training against a bare PyTorch loop, MLP 784-512-16 (wanted: >= 0.95)",
        "training-loop-conv": "Training against a bare PyTorch loop, pythae's MNIST nets (wanted: >= 0.95)",
        "training-pythae-mlp": "Training against pythae 0.1.2, its default MLP (wanted: >= 1.7)",
        "training-pythae-conv": "Training against pythae 0.1.2, its MNIST convolutional nets (wanted: >= 1.3)",
        "training-pythae-conv-bf16": "The same, chartae in bf16",
        "linear": "The drop-in Linear against torch's, forward and backward, one precision: float32",
        "convolution": "The drop-in Conv2d against torch's where the output is a few pixels",
        "gmm": "GaussianMixture against scikit-learn, K = 10, full covariance (wanted: >= 4)",
        "frechet": "Fréchet distance of 10,000 x 2,048 features against scipy's sqrtm (wanted: >= 3)",
    }
    for name, title in titles.items():
        result = read(name)
        if result is None:
            continue
        rows, heads = [], ["", f"ratio {next(iter(result['rows'].values()))['ratio']}", result["unit"]]
        likelihoods = result.get("log_likelihood", {})
        for label, row in result["rows"].items():
            a, b = row["ratio"].split(" / ")
            ratio = f"**{row['median']:.2f}** ({row['least']:.2f} to {row['most']:.2f}, n = {row['repeats']})"
            more = [f"{likelihoods[label]['difference']:+.1g}"] if label in likelihoods else []
            rows.append([label, ratio, f"{a} {_figure(row[a])}, {b} {_figure(row[b])}", *more])
        if likelihoods:
            heads.append("log-likelihood, ours less theirs, nats a point")
        script = name.split("-")[0]
        parts += [f"### {title}\n", table(heads, rows)]
        if "relative_difference" in result:
            parts.append(
                f"\nRelative difference of the two numbers: {result['relative_difference']:.1e} (wanted: <= 1e-6)."
            )
        parts.append(f"\n`python benchmarks/{script}.py`; {machine(result)}.\n")
    return parts


def page() -> str:
    parts = [
        "# The evidence\n",
        "Built by `tools/build_evidence.py` from `benchmarks/results/`; nothing here is written by hand.\n",
    ]
    result = read("rae-table1-mnist-quick")
    if result is not None:
        parts += table1(result)
    result = read("score")
    if result is not None:
        parts += score(result)
    result = read("ima")
    if result is not None:
        parts += ima(result)
    result = read("implicit")
    if result is not None:
        parts += implicit(result)
    parts += expressive()
    result = read("grammar")
    if result is not None:
        parts += grammar(result)
    result = read("strings")
    if result is not None:
        parts += reproduced(result)
    return "\n".join([*parts, *speed()]).rstrip() + "\n"


def expressive(*only: str) -> list[str]:
    """The grid, and what was reproduced; `only` some of it, on a page of its own."""
    parts, made = [], read("implicit-grid")
    if made is not None:
        parts += grid(made)
    made = read("iae")
    return parts if made is None else parts + reproduced(made, only)


def own_page() -> str:
    """docs/posteriors.md with its tables."""
    before, rest = OWN.read_text().split(f"{START}\n")
    _, after = rest.split(END)
    return before + "\n".join([START, *expressive("iae-posterior", "iae-style")]).rstrip() + "\n" + END + after


def main() -> int:
    pages = {PAGE: page(), OWN: own_page()}
    if "--check" in sys.argv:
        return int(any(path.read_text() != text for path, text in pages.items()))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
