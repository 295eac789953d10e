"""Write docs/evidence.md from benchmarks/results/: every number there comes from a file that names its command.

python tools/build_evidence.py            # writes
python tools/build_evidence.py --check    # exits with 1 if the page is not what the results say
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from chartae.reproduce import TABLE1, spread

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "evidence.md"


def read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def machine(result: dict[str, Any]) -> str:
    m = result["machine"]
    return f"{m['cpu']}, {m['threads']} of {m['cores']} cores, torch {m['torch']}"


def table1(result: dict[str, Any]) -> list[str]:
    paper = TABLE1[result["data"]]
    columns = ["reconstruction", "own", "gmm", "gmm-100", "interpolation-linear"]
    rows = []
    summary = {row["recipe"]: row for row in result["summary"]}
    for recipe, row in summary.items():
        cells = [spread(row["columns"].get(c)) for c in columns]
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
        "## Table 1 of 1903.12436, in the small\n",
        f"Command: `{result['command']}`. Mean ± sd of {n} seeds; {result['metric']}, lower is better; "
        f"n = {result['protocol']['n']}; as many training images score {result['floor']['frechet']:.3f}.\n",
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
    return "\n".join([*parts, *speed()]).rstrip() + "\n"


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        return int(PAGE.read_text() != text)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
