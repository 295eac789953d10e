"""Sets of molecules against each other: lists of SMILES in, numbers out. Needs RDKit (``chartae[molecules]``).

The measures are those of MOSES (Polykovskiy et al., "Molecular sets (MOSES): a benchmarking platform for molecular
generation models", 2020, arXiv:1811.12823); fingerprints are Morgan's of radius 2 with 1,024 bits.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "CONSTANTS",
    "Constants",
    "canonical",
    "distances",
    "fragment_similarity",
    "internal_diversity",
    "novelty",
    "penalised_logp",
    "properties",
    "scaffold_similarity",
    "snn",
    "uniqueness",
    "validity",
]


class Constants(NamedTuple):
    """Means and standard deviations by which `penalised_logp` standardises its three parts."""

    logp: tuple[float, float]
    sa: tuple[float, float]
    cycle: tuple[float, float]


#: ``literature``: as in GCPN (You et al., 2018, arXiv:1806.02473) and later; ``recomputed``: over the canonical SMILES
#: of ZINC 250k with RDKit 2026.09 and networkx 3.6. SA and cycle are those of the negative score.
CONSTANTS = {
    "literature": Constants((2.4570953, 1.4343244), (-3.0525811, 0.8335207), (-0.0485697, 0.2860212)),
    "recomputed": Constants((2.45712, 1.43433), (-3.05330, 0.83490), (-0.04908, 0.29029)),
}


@cache
def _rdkit() -> Any:
    try:
        from rdkit import Chem, DataStructs, RDConfig, rdBase
        from rdkit.Chem import BRICS, QED, Crippen, Descriptors, rdFingerprintGenerator
        from rdkit.Chem.Scaffolds import MurckoScaffold
    except ImportError as e:
        raise ImportError("metrics of molecules need RDKit: pip install 'chartae[molecules]'") from e
    # the synthetic accessibility score (Ertl, Schuffenhauer, 2009) comes with RDKit, outside its importable modules
    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    if not path.is_file():
        raise ImportError(f"this RDKit has no SA_Score ({path}); install a wheel of rdkit 2024.3 or later")
    spec = importlib.util.spec_from_file_location("sascorer", path)
    assert spec is not None
    assert spec.loader is not None
    sascorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sascorer)
    return SimpleNamespace(
        chem=Chem,
        quiet=rdBase.BlockLogs,
        bulk=DataStructs.BulkTanimotoSimilarity,
        fragments=BRICS.BRICSDecompose,
        qed=QED.qed,
        # RDKit makes these two as it is imported, unseen by type checkers
        logp=vars(Crippen)["MolLogP"],
        weight=vars(Descriptors)["MolWt"],
        morgan=rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024),
        scaffold=MurckoScaffold.GetScaffoldForMol,
        sa=sascorer.calculateScore,
    )


def _molecules(strings: Sequence[str], what: str = "strings") -> list[Any]:
    """A molecule for each string, None for those that are none; the empty string is none."""
    if isinstance(strings, str):
        raise TypeError(f"{what} is the one string {strings[:40]!r}; expected a list of SMILES")
    rd = _rdkit()
    block = rd.quiet()
    try:
        return [rd.chem.MolFromSmiles(s) if s else None for s in strings]
    finally:
        del block


def _valid(strings: Sequence[str], what: str = "strings") -> list[Any]:
    found = [m for m in _molecules(strings, what) if m is not None]
    if not found:
        raise ValueError(f"none of the {len(strings)} {what} is a valid molecule; expected at least one")
    return found


def canonical(strings: Sequence[str]) -> list[str | None]:
    """RDKit's canonical SMILES of each string, None for those that are no molecules."""
    to_smiles = _rdkit().chem.MolToSmiles
    return [None if m is None else to_smiles(m) for m in _molecules(strings)]


def validity(strings: Sequence[str]) -> float:
    """Share of strings that RDKit reads and sanitises; an empty string is not valid.

    >>> validity(["CCO", "c1ccccc1", "C1CC", ""])
    0.5
    """
    if not len(strings):
        raise ValueError("there are no strings; expected at least one")
    return sum(m is not None for m in _molecules(strings)) / len(strings)


def uniqueness(strings: Sequence[str]) -> float:
    """Different canonical molecules as a share of the valid strings; nan where none is valid.

    >>> uniqueness(["CCO", "OCC", "CC", "X"])
    0.6666666666666666
    """
    found = [c for c in canonical(strings) if c is not None]
    return len(set(found)) / len(found) if found else float("nan")


def novelty(strings: Sequence[str], reference: Sequence[str]) -> float:
    """Share of the different valid molecules that are not in `reference`; nan where none is valid.

    >>> novelty(["CCO", "CC", "CC"], ["OCC"])
    0.5
    """
    found = {c for c in canonical(strings) if c is not None}
    return len(found - set(canonical(reference))) / len(found) if found else float("nan")


def internal_diversity(strings: Sequence[str], p: float = 1.0) -> float:
    """1 - (mean over all pairs of Tanimoto(a, b)^p)^(1/p) of the valid strings, each with itself too, in [0, 1].

    >>> internal_diversity(["CCO", "CCO"])
    0.0
    """
    if p <= 0:
        raise ValueError(f"p is {p}; expected a positive power, 1 or 2")
    rd = _rdkit()
    prints = [rd.morgan.GetFingerprint(m) for m in _valid(strings)]
    total = 2 * sum(float((np.array(rd.bulk(f, prints[:i])) ** p).sum()) for i, f in enumerate(prints) if i)
    return float(1 - ((total + len(prints)) / len(prints) ** 2) ** (1 / p))


def snn(strings: Sequence[str], reference: Sequence[str]) -> float:
    """Mean Tanimoto similarity of each valid string to its nearest neighbour in `reference`, in [0, 1].

    >>> snn(["CCO"], ["CCCC", "OCC"])
    1.0
    """
    rd = _rdkit()
    own, other = (
        [rd.morgan.GetFingerprint(m) for m in _valid(s, w)] for s, w in ((strings, "strings"), (reference, "reference"))
    )
    return float(np.mean([max(rd.bulk(f, other)) for f in own]))


def _cosine(a: Counter[str], b: Counter[str]) -> float:
    if not a or not b:
        return float("nan")
    norms = [float(np.sqrt(sum(v * v for v in c.values()))) for c in (a, b)]
    return sum(n * b[key] for key, n in a.items()) / (norms[0] * norms[1])


def _counted(strings: Sequence[str], what: str, parts: Callable[[Any], Sequence[str]]) -> Counter[str]:
    return Counter(p for m in _valid(strings, what) for p in parts(m))


def fragment_similarity(strings: Sequence[str], reference: Sequence[str]) -> float:
    """Cosine between the counts of BRICS fragments (Degen et al., 2008) of two sets, in [0, 1].

    >>> round(fragment_similarity(["CCOC(C)=O", "CCO"], ["CCOC(C)=O", "CCO"]), 6)
    1.0
    """
    parts = _rdkit().fragments
    sets = [_counted(s, w, lambda m: list(parts(m))) for s, w in ((strings, "strings"), (reference, "reference"))]
    return _cosine(*sets)


def scaffold_similarity(strings: Sequence[str], reference: Sequence[str], rings: int = 2) -> float:
    """Cosine between the counts of Bemis-Murcko scaffolds (1996) with at least `rings` rings of two sets, in [0, 1];
    nan where a set has none."""
    rd = _rdkit()

    def parts(m: Any) -> list[str]:
        core = rd.scaffold(m)
        return [rd.chem.MolToSmiles(core)] if core.GetRingInfo().NumRings() >= rings else []

    return _cosine(*(_counted(s, w, parts) for s, w in ((strings, "strings"), (reference, "reference"))))


def properties(strings: Sequence[str]) -> dict[str, np.ndarray]:
    """logP (Crippen), SA (1 easy to 10 hard), QED (0 to 1), weight (g/mol) of each string, nan for those not valid."""
    rd = _rdkit()
    functions = {"logp": rd.logp, "sa": rd.sa, "qed": rd.qed, "weight": rd.weight}
    found = _molecules(strings)
    return {n: np.array([np.nan if m is None else f(m) for m in found]) for n, f in functions.items()}


def distances(strings: Sequence[str], reference: Sequence[str]) -> dict[str, float]:
    """Wasserstein-1 distance between the distributions of each of `properties`, in its units: the area between the two
    distribution functions."""
    own, other = properties(strings), properties(reference)
    found = {}
    for name in own:
        a, b = (np.sort(x[~np.isnan(x)]) for x in (own[name], other[name]))
        if not len(a) or not len(b):
            raise ValueError(
                f"{'strings' if not len(a) else 'reference'} holds no valid molecule; expected at least one"
            )
        both = np.sort(np.concatenate([a, b]))
        steps = [np.searchsorted(x, both[:-1], side="right") / len(x) for x in (a, b)]
        found[name] = float((np.abs(steps[0] - steps[1]) * np.diff(both)).sum())
    return found


def _longest_ring(molecule: Any) -> int:
    import networkx

    # networkx's basis and not RDKit's rings: another basis is another score
    rings = networkx.cycle_basis(networkx.Graph(_rdkit().chem.GetAdjacencyMatrix(molecule)))
    return max(map(len, rings), default=0)


def penalised_logp(strings: Sequence[str], constants: str | Constants = "literature") -> np.ndarray:
    """z(logP) + z(-SA) + z(-cycle) of each string, nan for those not valid; higher is better.

    z standardises by `constants`, those of ZINC 250k; cycle = max(0, longest ring - 6) over networkx's cycle basis of
    the canonical SMILES (Kusner, Paige, Hernández-Lobato, 2017, arXiv:1703.01925).

    >>> penalised_logp(["CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1"]).round(2)
    array([3.14])
    """
    if isinstance(constants, str) and constants not in CONSTANTS:
        raise ValueError(f"constants is {constants!r}; choose from {', '.join(CONSTANTS)}, or give Constants")
    c = CONSTANTS[constants] if isinstance(constants, str) else constants
    rd = _rdkit()
    scores = []
    for text in canonical(strings):
        if text is None:
            scores.append(np.nan)
            continue
        m = rd.chem.MolFromSmiles(text)
        parts = rd.logp(m), -rd.sa(m), -max(0, _longest_ring(m) - 6)
        scores.append(sum((v - mean) / std for v, (mean, std) in zip(parts, c, strict=True)))
    return np.array(scores)
