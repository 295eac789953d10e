"""What a run on strings is worth: what comes back of test strings, and whether new ones are valid, unique, novel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from chartae.autoencoder import in_slices
from chartae.data import Dataset
from chartae.grammar import load
from chartae.metrics import molecules, string_summary
from chartae.objectives.predicting import Predicting
from chartae.records.files import replace_text
from chartae.runs import Run

__all__ = ["MOLECULES", "evaluate_strings", "judged_as"]

#: grammars whose strings are molecules, and judged as such
MOLECULES = ("zinc-smiles", "smiles")

#: molecules of each set whose chemistry is compared
CHEMICAL = 2000

#: strings of each kind that are kept to be looked at
SHOWN = 24


def judged_as(run: Run, language: str | None = None) -> str:
    """What strings of a run must be to be valid: ``"molecules"``, the name of a grammar, or ``""``, any string.

    Raises:
        ValueError: no such grammar.
    """
    if language is None:
        language = run.codec.language
    elif language != "molecules":
        load(language)
    return "molecules" if language in MOLECULES else language


def evaluate_strings(
    run: Run,
    data: Dataset | None = None,
    *,
    densities: Sequence[str] | None = None,
    language: str | None = None,
    n: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge a run on strings: reconstructions of test strings, and new strings of each density.

    Densities that the run lacks are fitted. Where the run has a folder, `results.json` goes there.

    Args:
        run: what is judged.
        data: its data; loaded again by the run where they are not given.
        densities: ``"prior"`` and names of `chartae.densities.NAMES`; by default the prior and all that are fitted.
        language: what a string must be to be valid: ``"molecules"``, or a grammar's name; by default the codec's own.
        n: new strings of each density.
        seed: of the samples.

    Returns:
        `{"protocol", "metric": "strings", "sets", "reconstruction", "densities", "training"}`, and to be looked at
        `"examples"` of each density, `"reconstructions"` (pairs) and `"interpolations"` (rows). `sets` has
        of each density, and of as many test strings (`floor`), the shares valid, unique (of the valid) and novel (of
        the unique), and of molecules how far they are from the test set. `reconstruction`: shares of test strings that
        come back `exact`, and of their `steps` that the decoder would take right, given those before; `nll`,
        -log p(x|z) in nats for each string.

    Raises:
        ValueError: too few strings to judge by, an unknown language or density, other data than the run's.
    """
    if n < 20:
        raise ValueError(f"n is {n}; give at least 20 strings a density")
    kind = judged_as(run, language)
    data = run.data() if data is None else data
    run.check_data(data)
    if len(data.test) < 20:
        raise ValueError(f"{data.name} has {len(data.test)} test strings; give a set of at least 200")
    names = list(densities) if densities is not None else ["prior", *(run.densities or ("normal", "gmm"))]
    codes = None
    for name in names:
        if name != "prior" and name not in run.densities:
            codes = run.encode(data.train) if codes is None else codes
            run.fit_density(name, codes)
    train, test = data.strings(), data.strings("test")
    found = {name: run.sample_strings(n, name, seed=seed) for name in names}

    described = molecules.Described(test[:CHEMICAL]) if kind == "molecules" else None

    def judge(strings: list[str]) -> dict[str, Any]:
        if described is not None:
            slow = ("internal_diversity", "snn", "fragments", "scaffolds", "distances", "fcd")
            counted = molecules.summary(strings, train, described, without=slow)
            measured = molecules.summary(strings[:CHEMICAL], [], described, without=["novelty"])
            names = {"validity": "valid", "uniqueness": "unique", "novelty": "novel"}
            shares = {name: counted[key] for key, name in names.items()}
            return shares | {k: v for k, v in measured.items() if k not in (*names, "count", "valid")}
        if kind not in ("", run.codec.language):
            whole = set(load(kind).encode(strings, errors="skip").kept.tolist())
            strings = [s if i in whole else "" for i, s in enumerate(strings)]
        found = string_summary(strings, train, test)
        return {"valid": found.pop("complete")} | {k: v for k, v in found.items() if k != "count"}

    held = run.encode(data.test)
    back = [strings[0] for strings in run.decode_strings(held)]
    with torch.no_grad():
        likelihoods = {name: float(run.density(name).log_prob(held).mean()) for name in names}
    results: dict[str, Any] = {
        "protocol": {
            "valid": kind or "any string",
            "n": n,
            "reconstructions": f"all {len(test):,} test strings, the most probable production at each step",
            "new strings": "codes of a density, the most probable production at each step",
            **({"chemistry": f"of the first {CHEMICAL:,} molecules of each set"} if kind == "molecules" else {}),
            "split": f"train {len(train):,}, valid {len(data.valid):,}, test {len(test):,}",
            "skipped": data.skipped,
            "seed": seed,
            "data": data.name,
            "chartae": version("chartae"),
            "torch": torch.__version__,
        },
        "metric": "strings",
        "own": run.own,
        "sets": {name: judge(strings) for name, strings in found.items()} | {"floor": judge(test[:n])},
        "reconstruction": _reconstruction(run, data, test, held, back),
        "densities": {name: {"log_likelihood": value} for name, value in likelihoods.items()},
        "examples": {name: strings[:SHOWN] for name, strings in found.items()},
        "reconstructions": [list(pair) for pair in zip(test[:SHOWN], back[:SHOWN], strict=True)],
        "interpolations": _between(run, held),
        "training": run.training(),
    }
    if isinstance(run.objective, Predicting) and data.test_labels is not None:
        truth, known = data.test_labels, data.train_labels
        assert known is not None
        there = truth.isfinite()
        error = (run.properties(test).cpu() - truth)[there]
        spread = (truth[there] - known[known.isfinite()].mean()).square().mean().sqrt()
        results["property"] = {"rmse": float(error.square().mean().sqrt()), "trivial_rmse": float(spread)}
    if run.folder is not None:
        replace_text(run.folder / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def _between(run: Run, codes: Tensor, rows: int = 4, steps: int = 7) -> list[list[str]]:
    """Strings on the straight line between the codes of pairs of test strings, both ends with them."""
    rows = min(rows, len(codes) // 2)
    t = torch.linspace(0, 1, steps, device=codes.device)[:, None]
    lines = [torch.lerp(codes[2 * i], codes[2 * i + 1], t) for i in range(rows)]
    texts = [strings[0] for strings in run.decode_strings(torch.cat(lines))]
    return [texts[i * steps : (i + 1) * steps] for i in range(rows)]


def _reconstruction(run: Run, data: Dataset, test: list[str], codes: Tensor, back: list[str]) -> dict[str, float]:
    exact = sum(a == b for a, b in zip(back, test, strict=True)) / len(test)
    padding, decoder = run.codec.padding, run.model.decoder
    parts = []
    for x, z in zip(data.test.split(500), codes.split(500), strict=True):
        real = x.to(z.device).long()

        def judged(part: Tensor, real: Tensor = real) -> Tensor:
            p = decoder(part)
            log_p = p.log_prob(real)
            taken = p.smooth(real).argmax(2)
            there = real[:, : taken.shape[1]]
            counted = there != padding
            hits = ((taken == there) & counted).sum(1)
            return torch.stack([-log_p, hits.to(log_p.dtype), counted.sum(1).to(log_p.dtype)], 1)

        parts.append(in_slices(run.model, judged, z))
    nll, hits, steps = torch.cat(parts).T
    return {"exact": exact, "steps": float(hits.sum() / steps.sum()), "nll": float(nll.mean())}
