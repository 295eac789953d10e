"""Tables of measured numbers, read from benchmarks/results/ when the site is built: no page repeats a number by hand.

```{measured} samples
```
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def read(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def spread(values: Iterable[float], digits: int = 2) -> str:
    numbers = list(values)
    sd = f" ± {stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{mean(numbers):.{digits}f}{sd}"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def source(result: Mapping[str, Any], command: str | None = None) -> str:
    m = result["machine"]
    return (
        f"\n\n`{command or result['command']}`; {m['cpu']}, {m['threads']} of {m['cores']} cores, torch {m['torch']}."
    )


def _table1() -> tuple[dict[str, Any], list[str], Callable[[str, str, str], str]]:
    result = read("rae-table1-mnist-quick")

    def cell(recipe: str, name: str, metric: str) -> str:
        return spread(
            row["sets"][row["own"] if name == "own" else name][metric]
            for row in result["rows"]
            if row["recipe"] == recipe
        )

    recipes = sorted(result["recipes"], key=lambda r: mean(
        row["sets"]["gmm-100"]["frechet"] for row in result["rows"] if row["recipe"] == r))  # fmt: skip
    return result, recipes, cell


def samples() -> str:
    """Fréchet distances of every recipe's samples, on MNIST."""
    result, recipes, cell = _table1()
    heads = ["recipe", "reconstructions", "prior or normal", "`gmm` (10)", "`gmm-100`", "recall, `gmm-100`", "MSE"]
    rows = []
    for recipe in recipes:
        error = spread((row["reconstruction"]["mse"] for row in result["rows"] if row["recipe"] == recipe), 4)
        distances = [cell(recipe, name, "frechet") for name in ("reconstruction", "own", "gmm", "gmm-100")]
        rows.append([f"`{recipe}`", *distances, cell(recipe, "gmm-100", "recall"), error])
    s, floor = result["settings"], result["floor"]["frechet"]
    note = (
        f"\n\nMNIST, {s['latent_dim']} latent dimensions, net `{s['net']}`, {s['epochs']} epochs, mean ± standard "
        f"deviation of {len(result['seeds'])} seeds. Distances are {result['metric']}, lower is better; for as many "
        f'training images it is {floor:.2f}. "Prior or normal" is the prior of `vae` and `wae`, and a fitted normal '
        "for the others."
    )
    return table(heads, rows) + note + source(result)


def densities() -> str:
    """One decoder, several densities."""
    result, _, cell = _table1()
    names = {
        "prior": "`prior`, not fitted",
        "normal": "`normal`",
        "gmm": "`gmm`, 10 components",
        "gmm-100": "`gmm-100`",
    }
    metrics = ["frechet", "precision", "recall", "coverage"]
    parts = []
    for recipe in ("rae-l2", "vae"):
        rows = [[label, *(cell(recipe, name, m) for m in metrics)] for name, label in names.items()]
        parts.append(table([f"`{recipe}`", "Fréchet distance", *metrics[1:]], rows))
    floor = result["floor"]
    note = (
        f"\n\nMNIST, {len(result['seeds'])} seeds, the run of the table above. For as many training images the values "
        f"are {floor['frechet']:.2f}, {floor['precision']:.2f}, {floor['recall']:.2f} and {floor['coverage']:.2f}."
    )
    return "\n\n".join(parts) + note


def speed() -> str:
    """What a recipe costs."""
    dense, convolutional = read("training-loop-mlp"), read("training-pythae-conv")
    rates = [{name: row["chartae"] for name, row in r["rows"].items()} for r in (dense, convolutional)]
    rows = []
    for name in rates[0]:
        cells = [f"{rate[name]:,.0f} ({rate['ae'] / rate[name]:.1f})" for rate in rates]
        rows.append([f"`{name}`", *cells])
    heads = ["recipe", "MLP 784-512-16: examples per second", "convolutional net of 28 x 28 images"]
    note = "\n\nTraining, batches of 100; in brackets the time of a step in units of `ae`."
    return table(heads, rows) + note + source(dense, "python benchmarks/training.py")


def mixtures() -> str:
    """How long a mixture takes to fit."""
    result = read("gmm")
    rows = [
        [label.removesuffix(", own start"), f"{row['chartae']:.2f}", f"{row['scikit-learn']:.2f}"]
        for label, row in result["rows"].items()
        if label.endswith("own start")
    ]
    note = "\n\nTen components, full covariance." + source(result, "python benchmarks/gmm.py")
    return table(["codes", "chartae, seconds", "scikit-learn, seconds"], rows) + note


def conditions() -> str:
    """Whether conditional samples have the class that was asked for."""
    result = read("conditions")
    rows = [[f"{name}", f"{row['mean']:.3f} ± {row['sd']:.3f}"] for name, row in result["rows"].items()]
    s = result["settings"]
    note = (
        f"\n\nThe {result['what']}; {len(result['seeds'])} seeds, {s['epochs']} epochs. Of real test pictures it is "
        f"{result['real_test_pictures']:.3f}."
    )
    return table(["recipe, density", "share of samples with the right class"], rows) + note + source(
        result, "python benchmarks/conditions.py"
    )  # fmt: skip


def grid() -> str:
    """Samples of two adversarial recipes from the prior and from a mixture."""
    result = read("implicit-grid")
    names = {"prior": "the prior", "gmm": "a fitted mixture"}
    rows = []
    for recipe, runs in result["rows"].items():
        for name, label in names.items():
            near = spread(run[name]["near_a_mode"] for run in runs)
            error = spread(run["error"] for run in runs)
            rows.append([f"`{recipe}`", label, f"{mean(run[name]['modes'] for run in runs):.1f}", near, error])
    n = len(next(iter(result["rows"].values())))
    heads = [
        "recipe",
        "codes from",
        "modes found, of 25",
        "samples within 3 sd of a mode",
        "squared error of reconstructions",
    ]
    return table(heads, rows) + f"\n\nA grid of 25 normals, {n} seeds." + source(result)


def score_samples() -> str:
    """A score model's samples beside an autoencoder's."""
    result = read("score")["mnist"]
    rows = [
        [name, *(f"{row[m]:.2f}" for m in ("frechet", "precision", "recall"))] for name, row in result["sets"].items()
    ]
    note = (
        f"\n\nMNIST, {result['n']:,} samples, {result['metric']}; for as many training images it is "
        f"{result['floor']:.2f}. One run."
    )
    return table(["samples", "Fréchet distance", "precision", "recall"], rows) + note + source(result)


def modes() -> str:
    """Which sampler crosses between modes."""
    result = read("score")["modes"]
    rows = [[name, f"{row['mean']:.3f} ± {row['sd']:.3f}"] for name, row in result["share_in_the_heavier_mode"].items()]
    note = (
        "\n\nTwo modes 8 standard deviations apart; all chains start in the lighter one; the right share is "
        f"{result['true_share']}."
    )
    return table(["sampler, score", "share of chains in the heavier mode"], rows) + note + source(result)


def pythae() -> str:
    """Training speed beside pythae."""
    parts = []
    for name, title in (("training-pythae-mlp", "default MLP"), ("training-pythae-conv", "MNIST convolutional nets")):
        result = read(name)
        rows = [
            [f"`{k}`", f"{row['chartae']:,.0f}", f"{row['pythae']:,.0f}", f"{row['median']:.2f} ({row['least']:.2f} to "
             f"{row['most']:.2f})"] for k, row in result["rows"].items()
        ]  # fmt: skip
        heads = [f"pythae's {title}", "chartae, examples per second", "pythae 0.1.2", "ratio (least to most)"]
        parts.append(table(heads, rows))
    return "\n\n".join(parts) + source(result, "python benchmarks/training.py")


TABLES: Mapping[str, Callable[[], str]] = {
    "samples": samples,
    "densities": densities,
    "speed": speed,
    "mixtures": mixtures,
    "conditions": conditions,
    "grid": grid,
    "score-samples": score_samples,
    "modes": modes,
    "pythae": pythae,
}


class Measured(SphinxDirective):
    """A table by name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        for path in RESULTS.glob("*.json"):
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(TABLES[self.arguments[0]]())


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
