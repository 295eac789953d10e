"""Build docs/evidence.md, and the tables of docs/posteriors.md, from the results in benchmarks/results/.

python tools/build_evidence.py            # write the pages
python tools/build_evidence.py --check    # exit with 1 if a page differs from the results, or a claim lacks something

Every number on the pages comes from a file of results that names its command.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from chartae.records.comparison import Spread

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]  # the reproductions are not installed

from claims import Claim, all_claims, read  # noqa: E402

from papers.parts import mean_sd  # noqa: E402
from papers.rae_table1 import TABLE1  # noqa: E402

PAGE = ROOT / "docs" / "evidence.md"
POSTERIORS = ROOT / "docs" / "posteriors.md"
#: the paper's FID on MNIST, by model
PAPER = {name: fid for name, fid in TABLE1["mnist"].items() if fid is not None}
START, END = "<!-- built by tools/build_evidence.py -->", "<!-- end -->"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def machine(result: dict[str, Any]) -> str:
    m = result["machine"]
    if isinstance(m, str):
        return m
    gpu = "" if m.get("gpu", "none") == "none" else f"one {m['gpu']}; "
    return f"{gpu}{m['cpu']}, {m['threads']} of {m['cores']} cores, torch {m['torch']}"


def _distances(summary: list[dict[str, Any]], epochs: dict[str, list[int]]) -> str:
    """A row for each recipe: distances and their ratios, with the epochs that it was trained for, if they differ."""
    columns = ["reconstruction", "own", "gmm", "gmm-100", "interpolation-linear", "interpolation-spherical"]
    rows = []
    for row in summary:
        spreads = [Spread(**row["columns"].get(c, {})) for c in columns]
        large = max(s.mean or 0 for s in spreads) >= 1000
        cells = [f"{s.mean:,.0f}" if large and s.mean is not None and s.sd is None else str(s) for s in spreads]
        cells.append(f"{_ratio(row, 'own', 'gmm'):.1f} / {_ratio(row, 'own', 'gmm-100'):.1f}")
        more = [" ".join(map(str, epochs[row["recipe"]]))] if epochs else []
        paper = PAPER.get(row["recipe"], ())
        rows.append([f"`{row['recipe']}`", *more, *cells, " / ".join(f"{v:g}" for v in paper) or "-"])
    heads = ["model", *(["epochs"] if epochs else []), "reconstruction", "N", "GMM-10", "GMM-100"]
    heads += ["interpolation, linear", "spherical"]
    return table([*heads, "N : GMM-10 / -100", "paper's FID: rec / N / GMM / interp"], rows)


#: what differs from the paper in all of these tables
DIFFERENCES = (
    "- The data splits do not overlap, the reconstruction column uses validation images, and interpolations are "
    "midpoints, linear ones and spherical ones.\n\nAs in the paper, N is the prior for `vae` and `wae`, and a fitted "
    "normal with full covariance for "
    "the others. The paper's table does not have GMM-100.\n"
)


def _features(result: dict[str, Any]) -> str:
    extractor = result["protocol"]["extractor"]
    return (
        f"- The features are the {extractor['dim']} of the classifier `{extractor['name']}` instead of Inception's "
        "2,048. Absolute values are therefore not comparable, and ratios only roughly.\n"
    )


def table1_small(result: dict[str, Any]) -> list[str]:
    n, settings = len(result["seeds"]), result["settings"]
    return [
        "## Table 1 of 1903.12436, with small nets\n",
        f"Command: `{result['command']}`; {machine(result)}. Mean ± standard deviation over {n} seeds of "
        f"{result['metric']}, lower is better, with {result['protocol']['n']} samples. The same number of training "
        f"images has {result['floor']['frechet']:.3f}.\n",
        _distances(result["summary"], {}),
        "\nDifferences from the paper:\n\n"
        f"- The net is `{settings['net']}`, trained for {settings['epochs']} epochs with batch size "
        f"{settings['batch_size']}, instead of a convolutional net with 22.7 million parameters and 100 epochs.\n"
        f"{_features(result)}{DIFFERENCES}",
    ]


def table1_paper(result: dict[str, Any]) -> list[str]:
    """Table 1 with the paper's nets, by the features of two nets."""
    other, settings, reached = result["imagenet"], result["settings"], result["epochs_reached"]
    counts = [n for epochs in reached.values() for n in epochs]
    slowest = min(reached, key=lambda recipe: max(reached[recipe]))
    extractor, seeds = other["extractor"], ", ".join(map(str, result["seeds"]))
    return [
        "## Table 1 of 1903.12436, with the paper's nets\n",
        f"Command: `{result['command']}`; {machine(result)}. One seed ({seeds}), so there is no standard deviation. "
        f"{result['metric']}, lower is better, with {result['protocol']['n']} samples. The same number of training "
        f"images has {result['floor']['frechet']:.3f}.\n",
        _distances(result["summary"], reached),
        f"\nThe same samples by the {extractor['dim']} features of a SqueezeNet trained on ImageNet "
        f"({other['metric']}; {extractor['accuracy']}). The same number of training images has "
        f"{other['floor']['frechet']:,.0f}.\n",
        _distances(other["summary"], reached),
        "\nDifferences from the paper:\n\n"
        f"- The nets are the paper's, with {settings['latent_dim']} latent dimensions and batch size "
        f"{settings['batch_size']}. All {len(reached)} models were trained side by side in {settings['precision']} on "
        f"one GPU for {result['minutes']:g} minutes, and reached {min(counts)} to {max(counts)} epochs instead of "
        f"{settings['epochs']}: `{slowest}`, whose step takes longest, the fewest. Rows with fewer epochs are behind "
        "for that reason too.\n"
        f"{_features(result)}{DIFFERENCES}",
    ]


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _ratio(row: dict[str, Any], above: str, below: str) -> float:
    return row["columns"][above]["mean"] / row["columns"][below]["mean"]


def _mean(values: dict[str, Any], digits: int = 3) -> str:
    sd = "" if values["sd"] is None else f" ± {values['sd']:.2g}"
    return f"{values['mean']:.{digits}g}{sd} (n = {values['n']})"


def score(result: dict[str, Any]) -> list[str]:
    """Score, Hessian and sampling by autoencoders (arXiv:1211.4246)."""
    parts = ["## Score, Hessian and sampling: 1211.4246\n"]

    def section(name: str, title: str, heads: list[str], rows: list[list[str]], after: str = "") -> None:
        m = result[name]["machine"]
        where = f"{m['cpu']}, {m['threads']} thread(s), torch {m['torch']}"
        parts.extend([f"### {title}\n", table(heads, rows), f"\n{after}`{result[name]['command']}`; {where}.\n"])

    if "theorem" in result:
        theorem = result["theorem"]
        rows = []
        for name, entry in theorem["tables"].items():
            small = [f"{entry['rows'][s]['relative_l2']:.4g}" for s in ("0.1", "0.03", "0.01")]
            rows.append([name, *small, f"**{entry['slope']:.2f}**"])
        worst = theorem["worst_relative_difference_to_the_sheet"]
        section(
            "theorem",
            "Relative L2 error of the score of the optimal reconstruction, on a grid (target: slope >= 1.85)",
            ["", "σ = 0.1", "0.03", "0.01", "log-log slope, 0.03 to 0.01"],
            rows,
            f"All 32 values agree with independently computed reference values within {worst:.2%} (target: 5 %). ",
        )
    if "linear" in result:
        errors = result["linear"]["relative_error_of_the_map"]
        section(
            "linear",
            "Relative Frobenius error of a linear net on normal data, against C (C + σ²I)⁻¹ (target: <= 0.02)",
            ["criterion", "error"],
            [[f"`{k}`", _mean(v)] for k, v in errors.items()],
        )
    if "fields" in result:
        rows = []
        for name, entry in result["fields"]["rows"].items():
            recipe, form, sigma = name.split()
            target = {("residual", "0.3"): "<= 0.08", ("residual", "0.1"): "<= 0.12"}.get((form, sigma), "")
            smooth = entry["smoothed"]
            cells = [_mean(smooth["relative_l2"]), target if recipe == "dae" else ""]
            cells += [_mean(smooth["cosine"], 4), _mean(entry["plain"]["relative_l2"])]
            rows.append([f"`{recipe}`, {form}", sigma, *cells])
        section(
            "fields",
            "Scores of MLPs on the 2-D mixture: 20,000 points, 50 epochs, default settings (target: cosine >= 0.99)",
            ["recipe", "σ", "relative L2, smoothed score", "target", "cosine", "relative L2, unsmoothed score"],
            rows,
        )
    if "quadrature" in result:
        rows = [[k, f"{v['rmse']:.3g}", f"{v['antisymmetry']:.1e}"] for k, v in result["quadrature"]["rows"].items()]
        section(
            "quadrature",
            "log p(y) - log p(x) by path integrals, steps of sd 0.5 (target for Gauss-Legendre 5: <= 0.006, <= 1e-6)",
            ["rule, nodes", "RMSE, nats", "largest sum of both directions"],
            rows,
        )
    if "samplers" in result:
        samplers = result["samplers"]
        rows = [
            [f"`{k}`", f"{v['variance']:.4f}", f"{v['closed_form']:.4f}", f"{v['relative']:+.2%}"]
            for k, v in samplers["variances"].items()
        ]
        section(
            "samplers",
            "Stationary variances of the samplers on N(0, 1.5) (target: within 3 %)",
            ["kernel", "measured", "closed form", "difference"],
            rows,
        )
        rows = [[k, _mean(v)] for k, v in samplers["energy_distance_over_floor"].items()]
        section(
            "samplers",
            "Energy distance to the 2-D mixture, relative to two exact samples (target: exact <= 2, trained <= 4)",
            ["kernel and score", "ratio"],
            rows,
            "First order is the simplest sampler of the paper. ",
        )
    if "modes" in result:
        rows = [[k, _mean(v)] for k, v in result["modes"]["share_in_the_heavier_mode"].items()]
        section(
            "modes",
            "Two modes 8 sd apart, with all chains started in the lighter mode (target: 0.70 ± 0.05; MALA fails)",
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
            "Spiral with σ = 0.01: chains more than 0.1 away after 3,000 steps (target: none of 3 x 500 chains)",
            ["training", "escaped chains, each seed", "distance after / before one r (best possible: 0.076)"],
            rows,
        )
    if "penalty" in result:
        rows = [
            [k, f"**{v['median']:.2f}** ({v['least']:.2f} to {v['most']:.2f}, n = {v['repeats']})"]
            for k, v in result["penalty"]["rows"].items()
        ]
        section(
            "penalty",
            "Time of a training step, relative to a plain DAE (target: <= 1.5)",
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
            "Speed of 1,000 MALA chains of 1,000 steps in one batch, relative to a loop over chains (target: >= 50)",
            ["score", "speed-up", "time of the batch"],
            rows,
        )
    if "mnist" in result:
        mnist = result["mnist"]
        rows = [
            [k, f"{v['frechet']:.2f}", f"{v['precision']:.2f}", f"{v['recall']:.2f}"] for k, v in mnist["sets"].items()
        ]
        ratio = mnist["sets"]["annealed"]["frechet"] / mnist["sets"]["rae-l2 + gmm"]["frechet"]
        section(
            "mnist",
            "MNIST by a noise-conditional DAE (target: annealed <= 1.5 x RAE-L2 + GMM-10, and below the naive loop)",
            ["samples", mnist["metric"], "precision", "recall"],
            rows,
            f"Annealed over RAE-L2 + GMM-10: **{ratio:.2f}**, with {mnist['n']} samples. The same number of training "
            f"images has {mnist['floor']:.2f}. Settings of the chain: {_settings(mnist['chain'])}. Settings of the "
            f"model: {_settings(mnist['settings'])}. ",
        )
    return parts


def ima(result: dict[str, Any]) -> list[str]:
    """Near-deterministic VAEs and independent mechanisms (arXiv:2206.02416)."""
    parts = ["## Near-deterministic VAEs and independent mechanisms: 2206.02416\n"]
    titles = {
        "linear": "The linear-Gaussian identity (target: error <= 1e-10)",
        "gap": "Fixed decoders: ELBO*, log p, and the limit",
        "consistency": "Self-consistency (target: slopes -1, -1, -2, -1, -1 within 0.1)",
        "moebius": "Moebius maps (target: MCC >= 0.96 at 1e4 and 1e5, chance level at 1e1; Spearman <= -0.40)",
        "sprites": "Sprites and dSprites (target for the paper's net: MCC >= 0.97)",
    }
    for name, title in titles.items():
        entry = result.get(f"ima-{name}")
        if entry is not None:
            body = entry["table"].strip().replace("### ", "#### ")
            parts += [f"### {title}\n", body, f"\n`{entry['command']}`; {machine(entry)}.\n"]
    rows = []
    for part, label, target in (
        (
            "jacobians",
            "time of the Jacobian of a decoder from 10 dimensions to 64x64x3: a loop over outputs / forward mode",
            ">= 50",
        ),
        ("ensembles", "time of a training step: 64 small VAEs with `fit_many` / one with `fit`", "<= 8"),
    ):
        if part in result:
            row = result[part]["rows"]
            rows.append([label, f"**{row['median']:.1f}** ({row['least']:.1f} to {row['most']:.1f})", target])
    if rows:
        entry = result["jacobians"]
        parts += ["### Speed\n", table(["", "ratio", "target"], rows)]
        parts.append(
            f"\nThe contrast at 1,000 points of this decoder took {entry['seconds']:.0f} s and "
            f"{entry['grown_by_MiB']:.0f} MiB of additional memory. `{entry['command']}`; {machine(entry)}.\n"
        )
    return parts


def implicit(result: dict[str, Any]) -> list[str]:
    """Implicit autoencoders (arXiv:1805.09804) on a ring of eight normals."""
    rows = []
    for name, seeds in result["rows"].items():
        ratios = ", ".join(f"{r['within'] / result['floor']:.1f}" for r in seeds)
        used = ", ".join(str(r["used"]) for r in seeds)
        purity = min(r["purity"] for r in seeds)
        information = mean(r["information"] for r in seeds) / math.log(8)
        rows.append([name, str(len(seeds)), used, f"{purity:.4f}", f"{information:.3f}", ratios])
    heads = [
        "settings",
        "n",
        "codes used of 8",
        "smallest purity",
        "I(x; code) / log 8",
        "energy distance within codes, relative to a perfect code",
    ]
    title = (
        "## Implicit autoencoders: 1805.09804\n\n"
        "### Ring of eight normals with a categorical code (target: 8 codes, purity >= 0.95, distance <= 7)\n"
    )
    return [title, table(heads, rows), f"\n`{result['command']}`; {machine(result)}.\n"]


def grid(result: dict[str, Any]) -> list[str]:
    """A grid of 25 normals, with modes counted as in arXiv:1606.00704."""
    rows = []
    for name, seeds in result["rows"].items():
        error, shuffled = (sum(r[key] for r in seeds) / len(seeds) for key in ("error", "shuffled"))
        for density in ("prior", "gmm"):
            metrics = [r[density] for r in seeds]
            modes = ", ".join(str(r["modes"]) for r in metrics)
            near = [r["near_a_mode"] for r in metrics]
            rows.append([
                f"`{name}`", {"prior": "prior", "gmm": "ex-post mixture"}[density], str(len(seeds)),
                f"**{mean(near):.3f}** ({min(near):.3f} to {max(near):.3f})",
                f"{mean(r['modes_near'] for r in metrics):.1f}", f"{mean(r['modes'] for r in metrics):.1f} ({modes})",
                f"{mean(r['samples'] for r in metrics):.4f}",
                f"{error:.2f} / {shuffled:.2f}",
            ])  # fmt: skip
    heads = [
        "recipe", "density of the codes", "n", "fraction of samples within 3 sd of a mode",
        "modes with a sample within 3 sd", "modes that are nearest to a sample, of 25", "energy distance",
        "squared error / with another point's code",
    ]  # fmt: skip
    title = (
        "### Grid of 25 normals, 10,000 samples (published: ALI 13.4 modes, GAN 10.4)\n\n"
        "The papers count a mode if a sample is nearest to it, wherever the sample lies; by this count all modes can "
        "be hit by samples of which hardly any lies near one. The fraction of samples near a mode comes first.\n"
    )
    return [title, table(heads, rows), f"\n`{result['command']}`; {machine(result)}.\n"]


#: in place of searches that counted known strings
FORMER = (
    "The searches of this run are withdrawn: they counted strings of the data file as found. `chartae reproduce` now "
    "counts new strings only, and compares with random draws and a genetic algorithm; its numbers are still to come."
)


def reproduced(result: dict[str, Any], only: tuple[str, ...] = ()) -> list[str]:
    """The results of `chartae reproduce iae-*` and `grae-*`."""
    titles = {
        "iae-cluster": "### Clustering MNIST (target with 30 clusters: error <= 4.1 % by the most confident example)\n",
        "iae-cluster-full": "### Clustering MNIST, with convolutions and longer training\n",
        "iae-semisup": "### Classifying MNIST with 100 labels (target: error <= 1.9 %)\n",
        "iae-semisup-full": "### Classifying MNIST with 100 labels, with convolutions and longer training\n",
        "iae-semisup-1000": "### Classifying MNIST with 1,000 labels (published: AAE 1.60)\n",
        "iae-semisup-1000-full": "### Classifying MNIST with 1,000 labels, with convolutions and longer training\n",
        "iae-translate": "### Unpaired translation (target: content >= 0.95, and diversity)\n",
        "iae-translate-full": "### Unpaired translation, with larger batches and longer training\n",
        "iae-posterior": "### Expressive posteriors (target: MMD test passed, -log p(x) <= 1.416)\n",
        "iae-style": "### Content and style: stochastic reconstructions\n",
        "grae-expressions": "### Expressions (target: 100 % valid)\n",
        "grae-molecules": "### Molecules (target: >= 99 % valid)\n",
    }
    parts = []
    for name, title in titles.items():
        if name in result and (not only or name in only):
            entry = result[name]
            body = entry["table"].strip().replace("### ", "#### ")
            if name.startswith("grae-") and "claims" not in entry["results"]:
                body = body.split("#### Search")[0] + FORMER
            parts += [title, body, f"\n`{entry['command']}`; {machine(entry)}.\n"]
    return parts


def grammar(result: dict[str, Any]) -> list[str]:
    """Strings with a grammar (arXiv:1703.01925 and 1903.12436)."""
    zinc, expressions, decoding = result["zinc"], result["expressions"], result["decoding"]
    rows = [
        [f"time to parse the {zinc['strings']:,} strings of ZINC, CPU seconds", f"{zinc['seconds_cpu']:.1f}", "<= 60"],
        ["time per string of ZINC: NLTK's chart parser / chartae", f"{zinc['nltk_over_ours']:,.0f}", ">= 100"],
        ["memory for the productions of ZINC, MB", f"{zinc['megabytes']:.1f}", "<= 100"],
        ["every string of ZINC is decoded exactly", "yes" if zinc["round_trip"] else "no", "yes"],
        [
            f"time to parse {expressions['strings']:,} expressions, CPU seconds",
            f"{expressions['seconds_cpu']:.2f}",
            "<= 5",
        ],
        [
            f"time to decode {decoding['codes']:,} codes of {decoding['steps']} steps: a loop over strings / chartae",
            f"{decoding['ratio_median']:.1f} ({decoding['ratio_least']:.1f} to {decoding['ratio_most']:.1f})",
            ">= 50",
        ],
        ["the same in batches without numba", f"{decoding['ratio_without_numba']:.1f}", ""],
        ["strings are the same with and without numba", "yes" if decoding["same_without_numba"] else "no", "yes"],
    ]
    steps = [key for key in result["validity"] if key != "codes"]
    kinds = list(result["validity"][steps[0]])
    body = [[kind, *(f"{result['validity'][s][kind]['valid']:.1%}" for s in steps)] for kind in kinds]
    return [
        "## Strings with a grammar: 1703.01925\n",
        table(["", "measured", "target"], rows),
        f"\nValid molecules decoded from {result['validity']['codes']:,} random logits (target for codes of a density: "
        ">= 99 %):\n",
        table(["decoding", *steps], body),
        f"\n`python benchmarks/grammar.py --data-root FOLDER`; {machine(result)}.\n",
    ]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def speed() -> list[str]:
    parts: list[str] = [
        "## Speed\n",
        "The contestants run in turn. Ratios are computed turn by turn; tables show their median, least and most.\n",
    ]
    titles = {
        "training-loop-mlp": "Training against a plain PyTorch loop, MLP 784-512-16 (target: >= 0.95)",
        "training-loop-conv": "Training against a plain PyTorch loop, pythae's MNIST nets (target: >= 0.95)",
        "training-pythae-mlp": "Training against pythae 0.1.2, its default MLP (target: >= 1.7)",
        "training-pythae-conv": "Training against pythae 0.1.2, its convolutional nets for MNIST (target: >= 1.3)",
        "training-pythae-conv-bf16": "Training in bf16 against pythae 0.1.2, its convolutional nets for MNIST",
        "linear": "The drop-in Linear against torch's, forward and backward, in float32",
        "convolution": "The drop-in Conv2d against torch's, for outputs of a few pixels",
        "gmm": "GaussianMixture against scikit-learn's, K = 10, full covariance (target: >= 4)",
        "frechet": "Fréchet distance of 10,000 x 2,048 features against scipy's sqrtm (target: >= 3)",
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
            heads.append("log-likelihood, chartae minus scikit-learn, nats per point")
        script = name.split("-")[0]
        parts += [f"### {title}\n", table(heads, rows)]
        if "relative_difference" in result:
            parts.append(
                f"\nRelative difference of the two distances: {result['relative_difference']:.1e} (target: <= 1e-6)."
            )
        parts.append(f"\n`python benchmarks/{script}.py`; {machine(result)}.\n")
    return parts + cuda()


def cuda() -> list[str]:
    """Training steps on a GPU."""
    result = read("training-cuda")
    if result is None:
        return []

    def cell(values: dict[str, float]) -> str:
        return f"{1000 * values['median']:.2f} ({1000 * values['least']:.2f} to {1000 * values['most']:.2f})"

    rows, sweeps = [], []
    for name, row in result["rows"].items():
        if "eager" in row:
            net = name.split(", ")[1]
            steps = result["examples"][net] // result["batch"]
            cells = [cell(row[k]) for k in ("eager", "captured", "chartae")]
            ratios = [f"{row['eager / captured']:.2f}", f"**{row['eager / chartae']:.2f}**"]
            verdict = "met" if row["eager / chartae"] >= 0.95 else "**not met**"
            rows.append([name, str(steps), str(row["repeats"]), *cells, *ratios, verdict])
        else:
            ratio = row["runs per second of a step, all / one"]
            sweeps.append(
                f"`{name}`: a step of all seeds takes {cell(row['all'])} ms, of one seed {cell(row['one'])} ms "
                f"(n = {row['repeats']}), so that {ratio:.1f} runs are trained in the time of one.\n"
            )
    times = ["eager loop, ms a step", "captured loop, ms", "chartae, ms"]
    heads = ["recipe, net, precision", "steps an epoch", "n", *times, "eager / captured", "eager / chartae", ">= 0.95"]
    title = (
        "### Training on a GPU against a plain PyTorch loop, eager and captured (target for chartae: >= 0.95)\n\n"
        "Median (least to most) of the turns. The captured loop replays its step as a CUDA graph. chartae captures no "
        "graphs, so for small nets, whose step is spent in launching kernels, it leaves that factor unused.\n"
    )
    more = [f"\n{result['note']}\n", *([f"{result['remark']}\n"] if "remark" in result else []), *sweeps]
    if result["skipped"]:
        more.append(f"Not measured for lack of time: {'; '.join(result['skipped'])}.\n")
    return [title, table(heads, rows), *more, f"`{result['command']}`; {machine(result)}.\n"]


def folded(title: str, text: str) -> str:
    """A part of the page that opens by a click."""
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>\n"


def overview() -> list[str]:
    """All claims with their targets, and whether they are met."""
    found = all_claims()
    measured = [claim for _, claim in found if claim.met is not None]
    met, stale = sum(bool(c.met) for c in measured), sum(c.chosen_on == "**not fresh**" for c in measured)
    sections: dict[str, list[Claim]] = {}
    for section, claim in found:
        sections.setdefault(section, []).append(claim)
    parts = [
        "## All claims\n",
        f"{len(found)} claims: {met} met, {len(measured) - met} not met, {len(found) - len(measured)} not measured. "
        f'"Within noise" means that the mean is within two standard errors of the target. {stale} claims rest on seeds '
        "on which settings may have been chosen, and say so; they wait to be measured again on fresh ones.\n",
    ]
    heads = ["claim", "source", "published", "target", "ours", "n", "seeds", "verdict", "to judge it by"]
    for section, claims in sections.items():
        rows = []
        for c in claims:
            hints = [c.note, f"differs: {c.differs}" if c.differs else ""]
            rows.append([
                c.text, c.source, c.published or "-", c.target, _shown(c), str(len(c.values)), c.chosen_on, c.verdict,
                "; ".join(hint for hint in hints if hint) or "-",
            ])  # fmt: skip
        count = sum(bool(c.met) for c in claims)
        parts.append(folded(f"{section}: {count} of {len(claims)} met", table(heads, rows)))
    return parts


def _shown(claim: Claim) -> str:
    """Mean ± standard deviation, with as many digits as the target needs."""
    number = abs(float(claim.target.split(" ")[1]))
    small = claim.values and 0 < abs(mean(claim.values)) < 1e-3
    return f"{mean(claim.values):.1e}" if small else mean_sd(claim.values, 1 if number >= 10 else 3)


def lacking() -> list[str]:
    """What a claim lacks to be judged: a target, numbers, or what differs from the published protocol."""
    found = []
    for section, claim in all_claims():
        if not claim.values:
            found.append(f"{section}: {claim.text}: not measured")
        if claim.source != "ours" and claim.seeds and not claim.differs:
            found.append(f"{section}: {claim.text}: what differs from the published protocol is not said")
    return found


def page() -> str:
    parts = [
        "# The evidence\n",
        "`tools/build_evidence.py` builds this page from the files in `benchmarks/results/`. Every section names the "
        "command that produced its numbers.\n",
        *overview(),
    ]
    result = read("rae-table1-mnist-quick")
    if result is not None:
        parts += table1_small(result)
    result = read("rae-table1-mnist-paper")
    if result is not None:
        parts += table1_paper(result)
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
    return (
        "\n".join([*parts, *speed(), *small_fits(), *busy_machine(), *startup(), *editions(), *reliability()]).rstrip()
        + "\n"
    )


def startup() -> list[str]:
    """How long commands take to start."""
    result = read("startup")
    if result is None:
        return []
    rows = [
        [f"`{name}`", f"**{row['seconds']:.2f}** ({row['least']:.2f} to {row['most']:.2f}, n = {row['repeats']})",
         f"{row['ratio']:.1f}", "-" if row["wanted"] is None else f"<= {row['wanted']} s, "
         f"{'met' if row['seconds'] <= row['wanted'] else 'not met'}"]
        for name, row in result["rows"].items()
    ]  # fmt: skip
    heads = ["command", "seconds", "ratio to `python -c pass`", "target"]
    title = "### Start of the command line\n"
    return [title, table(heads, rows), f"\n`python benchmarks/startup.py`; {machine(result)}.\n"]


def small_fits() -> list[str]:
    """The fixed cost of a fit, and its steps against a plain loop."""
    result = read("small-fits")
    if result is None:
        return []
    rows = []
    for name, row in result["contests"].items():
        speed, cost = row["speed / plain loop, median of turns"], row["fixed seconds of a fit"]
        wanted = [_verdict(row["targets"].get("speed"), speed, ">="), _verdict(row["targets"].get("fixed"), cost, "<=")]
        rows.append([
            name, f"**{speed:.2f}** ({row['least']:.2f} to {row['most']:.2f}, n = {row['repeats']})", wanted[0],
            f"**{cost:.3f}** s", wanted[1],
        ])  # fmt: skip
    grid = result["grid"]
    return [
        "### Many small fits\n",
        "The slope between fits of 1 and 4 epochs is the time of a step; the rest of a fit of one epoch is its fixed "
        "cost, which is negative where it is less than the noise of the steps. The plain "
        "loop has the same nets, loss and (fused) optimiser, and writes no log.\n",
        table(["net and rows", "speed / plain loop", "target", "fixed cost of a fit", "target"], rows),
        f"\nscikit-learn's `GridSearchCV(n_jobs=2)` with {grid['fits']} fits of 1,000 x 10: "
        f"{grid['seconds of a fit of 1 epoch']:.3f} s a fit of one epoch and "
        f"{grid['seconds of a fit of 4 epochs']:.3f} s of "
        f"four, of which {grid['share of the fixed cost, 4 epochs']:.0%} are fixed cost (no target).\n"
        f"\n`{result['command']}`; {machine(result)}.\n",
    ]


def busy_machine() -> list[str]:
    """Threads of a fit on a quiet and on a busy machine."""
    result = read("threads")
    if result is None:
        return []
    seconds = result["seconds of an epoch of 17,117 x 10"]
    modes = list(seconds["quiet"])

    def shown(value: float | None, digits: int) -> str:
        return "> 60" if value is None else f"{value:.{digits}f}"

    rows = [[place, *(f"{shown(values[mode], 2)} s" if mode in values else "-" for mode in modes)]
            for place, values in seconds.items()]  # fmt: skip
    pairs = [[mode, *(f"{shown(value, 1)} s" for value in row.values())] for mode, row in
             result["seconds of two fits of digits"].items()]  # fmt: skip
    steps = [["-".join(map(str, row["widths"])), f"{row['operations']:.1e}", shown(row["one thread"], 2),
              shown(row["all threads"], 2)] for row in result["milliseconds of a step"]]  # fmt: skip
    busy, quiet = (result[key]["ratio"] for key in ("busy: rule / one thread", "quiet: rule / all threads"))
    return [
        "### Threads of a fit, quiet and beside a busy process\n",
        f"A step of at most {result['limit']:.0e} operations runs on one thread; others run on the caller's number.\n",
        table(["an epoch of 17,117 x 10", *modes], rows),
        f"\nBeside a busy process the rule takes **{busy:.2f}** times as long as one thread "
        f"({_verdict(1.3, busy, '<=')}); quiet, **{quiet:.2f}** times as long as all threads "
        f"({_verdict(1, quiet, '<=')}).\n",
        table(["two fits of digits", "one after the other", "side by side"], pairs),
        "\n",
        table(["hidden layers", "operations of a step", "ms, one thread", "ms, all threads"], steps),
        f"\n`{result['command']}`; {machine(result)}.\n",
    ]


def _verdict(wanted: float | None, value: float, sign: str) -> str:
    """A target, and whether a value meets it."""
    if wanted is None:
        return "-"
    met = value >= wanted if sign == ">=" else value <= wanted
    return f"{sign} {wanted:g}, {'met' if met else '**not met**'}"


def reliability() -> list[str]:
    """What was killed, flipped, linked, raced and fuzzed, and what bookkeeping and data cost."""
    parts: list[str] = []
    result = read("reliability")
    if result is not None:
        names = {"kills": "SIGKILL during `fit --resume`, answered by the same command",
                 "verbs": "SIGKILL during evaluate, report, density fitting and `--overwrite`",
                 "flips": "one flipped bit of a file of a run",
                 "pairs": "two processes that fit into one folder",
                 "links": "a file's name as a link to a file outside"}  # fmt: skip
        rows = [[text, f"{result[key]['trials']:,}", f"{len(result[key]['faults'])}"]
                for key, text in names.items() if key in result]  # fmt: skip
        faults = sum(len(result[key]["faults"]) for key in names if key in result)
        parts += [
            "### What was broken on purpose\n",
            "A fault is a run whose weights or densities are not bit-equal to those of an undisturbed one, a file that "
            "is read although it was changed, a folder that the same command cannot use afterwards, two processes that "
            "both train, or a file outside the folder that is changed.\n",
            table(["what", "trials", "faults"], rows),
            f"\n{faults} faults ({_verdict(0, faults, '<=')}). `{result['command']}`.\n",
        ]
    return parts + mutated() + bookkeeping() + memory()


def mutated() -> list[str]:
    """What readers do with mutated files."""
    parts: list[str] = []
    result = read("fuzz")
    if result is not None:
        rows = [[name, f"{row['inputs']:,}", f"{row['values']:,}", f"{row['errors']:,}", f"{len(row['faults'])}",
                 f"{row['slowest']:.1f} s", f"{row['peak_megabytes']:.0f} MB"]
                for name, row in result["formats"].items()]  # fmt: skip
        parts += [
            "### Mutated files\n",
            "Every input gives a value or one kind of error; a crash, a hang, another exception or a gigabyte of "
            "memory is a fault.\n",
            table(["format", "inputs", "read", "refused", "faults", "slowest", "most memory"], rows),
            f"\n`{result['command']}`, which continues the formats that have fewer inputs.\n",
        ]
    return parts


def bookkeeping() -> list[str]:
    """What the files of a run cost while it trains."""
    parts: list[str] = []
    result = read("bookkeeping")
    if result is not None:
        rows = [[name, f"{row['milliseconds of training an epoch']:.2f} ms",
                 f"{row['milliseconds of bookkeeping']:.2f} ms", f"{100 * row['share']:.1f} %",
                 _verdict(result["target"], row["share"], "<=")]
                for name, row in result["shares"].items()]  # fmt: skip
        parts += [
            "### Bookkeeping\n",
            f"What log and checkpoints add to an epoch of a tiny net, in a fit of {result['epochs']:,} epochs.\n",
            table(["", "training an epoch", "log and checkpoints", "share", "target"], rows),
            f"\n`{result['command']}`; {machine(result)}.\n",
        ]
    return parts


def memory() -> list[str]:
    """The largest memory of commands on data of 500 MB."""
    result = read("memory")
    if result is None:
        return []
    rows = [[name, f"{row['data_mb']:,} MB", f"{row['ratio']:.2f}", _verdict(row["wanted"], row["ratio"], "<=")]
            for name, row in result["rows"].items()]  # fmt: skip
    return [
        "### Memory\n",
        "Peak of a process beyond its start-up, as a multiple of the data that it reads or writes.\n",
        table(["command", "data", "peak", "target"], rows),
        f"\n`{result['command']}`; {machine(result)}.\n",
    ]


def editions() -> list[str]:
    """The same benchmarks before and after the rebuilding of the house."""
    result = read("editions")
    if result is None:
        return []

    def shown(turns: list[dict[str, Any]]) -> str:
        spread = lambda t: f" ({t['least']:.2f} to {t['most']:.2f})" if "least" in t else ""  # noqa: E731
        return "; ".join(f"{t['median']:.3g}{spread(t)}" for t in turns)

    rows = [[n, row["unit"], shown(row["before"]), shown(row["after"])] for n, row in result["rows"].items()]
    title = (
        "### The second edition against the first (target: unchanged within noise)\n\n"
        "Median (least to most) of each turn; the two editions took turns on one machine.\n"
    )
    heads = ["benchmark", "number", "first edition (730d5d6)", "second edition (8c6d5f7)"]
    return [title, table(heads, rows), f"\nCommand: {result['command']}; {machine(result)}.\n"]


def expressive(*only: str) -> list[str]:
    """The grid, and the reproductions of implicit autoencoders; all of them, or `only` some."""
    parts, result = [], read("implicit-grid")
    if result is not None:
        parts += grid(result)
    result = read("iae")
    return parts if result is None else parts + reproduced(result, only)


def posteriors_page() -> str:
    """The text of docs/posteriors.md with new tables."""
    before, remainder = POSTERIORS.read_text().split(f"{START}\n")
    _, after = remainder.split(END)
    return before + "\n".join([START, *expressive("iae-posterior", "iae-style")]).rstrip() + "\n" + END + after


def main() -> int:
    pages = {PAGE: page(), POSTERIORS: posteriors_page()}
    if "--check" in sys.argv:
        stale = [f"{path.relative_to(ROOT)} differs from the results" for path, text in pages.items()
                 if path.read_text() != text]  # fmt: skip
        print(*stale, *lacking(), sep="\n", file=sys.stderr)
        return int(bool(stale or lacking()))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
