"""Sets of molecules against each other: lists of SMILES in, numbers out. Needs RDKit (``chartae[molecules]``).

The measures are those of MOSES (Polykovskiy et al., "Molecular sets (MOSES): a benchmarking platform for molecular
generation models", 2020, arXiv:1811.12823); fingerprints are Morgan's of radius 2 with 1,024 bits. `summary` takes all
of them at once. Wherever strings are asked for, `Described` will do: a set of strings that keeps what was computed of
it, for several measures, or several sets against one reference.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from chartae.metrics.sets import frechet
from chartae.metrics.strings import Summary, wasserstein

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = [
    "CONSTANTS",
    "PROPERTIES",
    "Constants",
    "Described",
    "canonical",
    "distances",
    "fcd",
    "fragment_similarity",
    "internal_diversity",
    "novelty",
    "penalised_logp",
    "properties",
    "scaffold_similarity",
    "snn",
    "summary",
    "uniqueness",
    "validity",
]


#: what `properties` tells
PROPERTIES = ("logp", "sa", "qed", "weight")


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
def _rdkit() -> SimpleNamespace:
    try:
        from rdkit import Chem, RDConfig, rdBase
        from rdkit.Chem import QED, Crippen, Descriptors, rdFingerprintGenerator, rdmolops
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
        cut=vars(rdmolops)["FragmentOnBRICSBonds"],
        qed=QED.qed,
        # RDKit makes these two as it is imported, unseen by type checkers
        logp=vars(Crippen)["MolLogP"],
        weight=vars(Descriptors)["MolWt"],
        morgan=rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024),
        scaffold=MurckoScaffold.GetScaffoldForMol,
        sa=sascorer.calculateScore,
    )


class Described:
    """Strings with what RDKit says of them: each part is computed when it is first asked for, and kept.

    Args:
        strings: SMILES; the empty string is no molecule.
        what: they are called in messages.

    >>> reference = Described(["CCO", "CCCC", "X"])
    >>> snn(["CCO"], reference), uniqueness(reference)
    (1.0, 1.0)
    """

    def __init__(self, strings: Sequence[str], what: str = "strings") -> None:
        if isinstance(strings, str):
            raise TypeError(f"{what} is the one string {strings[:40]!r}; expected a list of SMILES")
        self.strings, self.what = list(strings), what
        self._measured: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.strings)

    def _read(self) -> Iterator[Mol | None]:
        if "molecules" in self.__dict__:
            yield from self.molecules
            return
        rd = _rdkit()
        for s in self.strings:
            block = rd.quiet()
            try:
                m = rd.chem.MolFromSmiles(s) if s else None
            finally:
                del block
            yield m

    @cached_property
    def molecules(self) -> list[Mol | None]:
        """One for each string, None for those that are no molecules."""
        return list(self._read())

    @cached_property
    def canonical(self) -> list[str | None]:
        """RDKit's canonical SMILES of each string, None for those that are no molecules."""
        # the molecules are not kept: a training set has too many
        write = _rdkit().chem.MolToSmiles
        return [None if m is None else write(m) for m in self._read()]

    @cached_property
    def different(self) -> set[str]:
        """The canonical SMILES of the valid strings."""
        return {c for c in self.canonical if c is not None}

    @cached_property
    def valid(self) -> list[Mol]:
        """The molecules of the valid strings."""
        found = [m for m in self.molecules if m is not None]
        if not found:
            raise ValueError(f"none of the {len(self)} {self.what} is a valid molecule; expected at least one")
        return found

    @cached_property
    def prints(self) -> np.ndarray:
        """(V, 1024) fingerprints of the valid strings, 0 and 1."""
        make = _rdkit().morgan.GetFingerprintAsNumPy
        return np.stack([make(m) for m in self.valid]).astype(np.float32)

    @cached_property
    def fragments(self) -> Counter[str]:
        """BRICS fragments of the valid strings."""
        rd = _rdkit()
        return Counter(part for m in self.valid for part in rd.chem.MolToSmiles(rd.cut(m)).split("."))

    @cached_property
    def scaffolds(self) -> list[tuple[str, int]]:
        """Scaffolds of the valid strings, each with its number of rings."""
        rd = _rdkit()
        cores = [rd.scaffold(m) for m in self.valid]
        return [(rd.chem.MolToSmiles(c), c.GetRingInfo().NumRings()) for c in cores]

    def measured(self, name: str) -> np.ndarray:
        """One of `properties`."""
        if name not in self._measured:
            rd = _rdkit()
            measure = {"logp": rd.logp, "sa": rd.sa, "qed": rd.qed, "weight": rd.weight}[name]
            self._measured[name] = np.array([np.nan if m is None else measure(m) for m in self.molecules])
        return self._measured[name]

    @cached_property
    def activations(self) -> np.ndarray:
        """(V, 512) activations of ChemNet for the valid strings."""
        return _chemnet([c for c in self.canonical if c is not None])


#: rows of a block of similarities
_BLOCK = 512

#: what every measure takes
Strings = Sequence[str] | Described


def _described(strings: Strings, what: str = "strings") -> Described:
    return strings if isinstance(strings, Described) else Described(strings, what)


def canonical(strings: Strings) -> list[str | None]:
    """RDKit's canonical SMILES of each string, None for those that are no molecules."""
    return _described(strings).canonical


def validity(strings: Strings) -> float:
    """Share of strings that RDKit reads and sanitises; an empty string is not valid.

    >>> validity(["CCO", "c1ccccc1", "C1CC", ""])
    0.5
    """
    given = _described(strings)
    if not len(given):
        raise ValueError("there are no strings; expected at least one")
    return sum(m is not None for m in given.molecules) / len(given)


def uniqueness(strings: Strings) -> float:
    """Different canonical molecules as a share of the valid strings; nan where none is valid.

    >>> uniqueness(["CCO", "OCC", "CC", "X"])
    0.6666666666666666
    """
    given = _described(strings)
    count = sum(c is not None for c in given.canonical)
    return len(given.different) / count if count else float("nan")


def novelty(strings: Strings, training: Strings) -> float:
    """Share of the different valid molecules that are not in `training`; nan where none is valid.

    >>> novelty(["CCO", "CC", "CC"], ["OCC"])
    0.5
    """
    found = _described(strings).different
    return len(found - _described(training, "training").different) / len(found) if found else float("nan")


def _tanimoto(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) similarities of fingerprints; those without a bit are like none, as in RDKit."""
    both = a @ b.T  # whole numbers, exact
    either = a.sum(1)[:, None] + b.sum(1) - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def internal_diversity(strings: Strings, p: float = 1.0) -> float:
    """1 - (mean over all pairs of Tanimoto(a, b)^p)^(1/p) of the valid strings, each with itself too, in [0, 1].

    >>> internal_diversity(["CCO", "CCO"])
    0.0
    """
    if p <= 0:
        raise ValueError(f"p is {p}; expected a positive power, 1 or 2")
    prints, total = _described(strings).prints, 0.0
    for i in range(0, len(prints), _BLOCK):
        # a molecule without a bit is still like itself
        similar = _tanimoto(prints[i : i + _BLOCK], prints[i:])
        np.fill_diagonal(similar, 1)
        power = (similar if p == 1 else similar**p).sum(0, dtype=np.float64)
        total += power[:_BLOCK].sum() + 2 * power[_BLOCK:].sum()
    return float(1 - (total / len(prints) ** 2) ** (1 / p))


def snn(strings: Strings, reference: Strings) -> float:
    """Mean Tanimoto similarity of each valid string to its nearest neighbour in `reference`, in [0, 1].

    >>> snn(["CCO"], ["CCCC", "OCC"])
    1.0
    """
    own, other = _described(strings).prints, _described(reference, "reference").prints
    nearest = [_tanimoto(own[i : i + _BLOCK], other).max(1) for i in range(0, len(own), _BLOCK)]
    return float(np.concatenate(nearest).mean(dtype=np.float64))


def _cosine(a: Counter[str], b: Counter[str]) -> float:
    if not a or not b:
        return float("nan")
    norms = [float(np.sqrt(sum(v * v for v in c.values()))) for c in (a, b)]
    return sum(n * b[key] for key, n in a.items()) / (norms[0] * norms[1])


def fragment_similarity(strings: Strings, reference: Strings) -> float:
    """Cosine between the counts of BRICS fragments (Degen et al., 2008) of two sets, in [0, 1].

    >>> round(fragment_similarity(["CCOC(C)=O", "CCO"], ["CCOC(C)=O", "CCO"]), 6)
    1.0
    """
    return _cosine(_described(strings).fragments, _described(reference, "reference").fragments)


def scaffold_similarity(strings: Strings, reference: Strings, rings: int = 2) -> float:
    """Cosine between the counts of Bemis-Murcko scaffolds (1996) with at least `rings` rings of two sets, in [0, 1];
    nan where a set has none."""
    both = _described(strings), _described(reference, "reference")
    return _cosine(*(Counter(core for core, n in x.scaffolds if n >= rings) for x in both))


def properties(strings: Strings, names: Sequence[str] = PROPERTIES) -> dict[str, np.ndarray]:
    """(N,) of each name: logP (Crippen), SA (1 easy to 10 hard), QED (0 to 1), weight (g/mol), nan for strings that are
    not valid; a ValueError for another name.

    The octanol-water partition's logarithm by Wildman, Crippen (1999), synthetic accessibility by Ertl, Schuffenhauer
    (2009), drug-likeness by Bickerton et al. (2012), all as RDKit has them.
    """
    if unknown := [name for name in names if name not in PROPERTIES]:
        raise ValueError(f"no property {unknown[0]!r}; choose from {', '.join(PROPERTIES)}")
    given = _described(strings)
    return {name: given.measured(name) for name in names}


def distances(strings: Strings, reference: Strings) -> dict[str, float]:
    """Wasserstein-1 distance between the distributions of each of `properties`, in its units: the area between the two
    distribution functions."""
    own, other = _described(strings), _described(reference, "reference")
    for given in (own, other):
        if not any(m is not None for m in given.molecules):
            raise ValueError(f"{given.what} holds no valid molecule; expected at least one")
    pairs = {name: [x.measured(name) for x in (own, other)] for name in PROPERTIES}
    return {name: wasserstein(*(x[~np.isnan(x)] for x in both)) for name, both in pairs.items()}


@cache
def _net() -> tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[list[str]], Sequence[np.ndarray]]]:
    try:
        from fcd import load_ref_model, utils
    except ImportError as e:
        raise ImportError("the Fréchet ChemNet distance needs the package fcd: pip install 'chartae[fcd]'") from e
    return load_ref_model(), utils.SmilesDataset


def _chemnet(smiles: list[str], batch: int = 128) -> np.ndarray:
    """(N, 512) activations of ChemNet's last layer but one."""
    net, coded = _net()
    with warnings.catch_warnings():
        # strings of more than 350 characters are read in full
        warnings.filterwarnings("ignore", message="Padding lengths", category=UserWarning)
        rows = coded(smiles) if smiles else []
    parts = []
    for i in range(0, len(smiles), batch):
        x = np.stack([rows[k] for k in range(i, min(i + batch, len(smiles)))]).astype(np.float32)
        with torch.no_grad():
            parts.append(net(torch.from_numpy(x).transpose(1, 2)).numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 512), np.float32)


def fcd(strings: Strings, reference: Strings) -> float:
    """The Fréchet ChemNet distance, 0 or more: `frechet` of ChemNet's activations for the valid strings of two sets.

    Preuer, Renz, Unterthiner, Hochreiter, Klambauer, "Fréchet ChemNet Distance: a metric for generative models for
    molecules in drug discovery", 2018, arXiv:1803.09518. The net and its weights are those of the authors' package
    (``chartae[fcd]``), read canonical SMILES, and run on the CPU. The distance falls with the number of strings; those
    published are of 10,000 (or 5,000) against their reference.

    Raises:
        ImportError: the package is not there.
        ValueError: one of the sets holds fewer than two valid molecules.
    """
    both = _described(strings), _described(reference, "reference")
    _net()
    for given in both:
        count = sum(c is not None for c in given.canonical)
        if count < 2:
            raise ValueError(f"{given.what} holds {count} valid molecules; a covariance needs at least 2")
    return frechet(both[0].activations, both[1].activations)


#: measures of `summary`: the fewest valid strings, the fewest of the reference (0: it takes no part), what is computed
_MEASURES: dict[str, tuple[int, int, Callable[[Described, Described], dict[str, float]]]] = {
    "internal_diversity": (2, 0, lambda own, _: {"internal_diversity": internal_diversity(own)}),
    "snn": (1, 1, lambda own, other: {"snn": snn(own, other)}),
    "fragments": (1, 1, lambda own, other: {"fragments": fragment_similarity(own, other)}),
    "scaffolds": (1, 1, lambda own, other: {"scaffolds": scaffold_similarity(own, other)}),
    "distances": (1, 1, lambda own, other: {f"distance_{k}": v for k, v in distances(own, other).items()}),
    "fcd": (2, 2, lambda own, other: {"fcd": fcd(own, other)}),
}


def summary(strings: Strings, training: Strings, reference: Strings, *, without: Collection[str] = ()) -> Summary:
    """All measures of a set of strings at once; those that are not valid count against validity, the rest is measured.

    ``count`` and ``valid`` (numbers of strings), ``validity``, ``uniqueness``, ``novelty`` against `training`, and
    against `reference` (usually test molecules) ``internal_diversity``, ``snn``, ``fragments``, ``scaffolds``,
    ``distance_logp``, ``distance_sa``, ``distance_qed``, ``distance_weight`` and, where its package is there, ``fcd``.
    What the strings do not suffice for is None, and ``notes`` says why under the same key. `without` names measures to
    leave out: novelty, internal_diversity, snn, fragments, scaffolds, distances, fcd.

    10,000 strings against a reference of 10,000 take 146 s of one core at 2.5 GHz, 66 s where the reference is a
    `Described` that was used before, and ChemNet 4 ms a molecule beside that.

    >>> found = summary(["CCO", "OCC", "CCCl", "C1CC"], training=["CCO"], reference=["CCO", "CCN"])
    >>> found["validity"], found["novelty"], found["snn"] > 0.5
    (0.75, 0.5, True)
    >>> found["scaffolds"], found["notes"]["scaffolds"]
    (None, 'no scaffold of two rings in one of the sets')
    """
    unknown = set(without) - {"novelty", *_MEASURES}
    if unknown:
        raise ValueError(f"without names {sorted(unknown)}; choose from novelty, {', '.join(_MEASURES)}")
    own, known, other = _described(strings), _described(training, "training"), _described(reference, "reference")
    notes: dict[str, str] = {}
    counts = [sum(m is not None for m in x.molecules) for x in (own, other)]
    found: Summary = {"count": len(own), "valid": counts[0]}
    found["validity"] = counts[0] / len(own) if len(own) else None
    if not len(own):
        notes["validity"] = "there are no strings"
    firsts: dict[str, Callable[[], float]] = {
        "uniqueness": lambda: uniqueness(own),
        "novelty": lambda: novelty(own, known),
    }
    for name in sorted(set(firsts) - set(without), reverse=True):
        found[name] = firsts[name]() if counts[0] else None
        if not counts[0]:
            notes[name] = "none of the strings is a valid molecule"
    for name, (fewest, fewest_other, measure) in _MEASURES.items():
        if name in without or (name == "fcd" and importlib.util.find_spec("fcd") is None):
            continue
        keys = [f"distance_{k}" for k in ("logp", "sa", "qed", "weight")] if name == "distances" else [name]
        reason = ""
        for what, count, least in (("strings", counts[0], fewest), ("reference", counts[1], fewest_other)):
            if count < least:
                reason = f"{count} valid molecules in {what}; at least {least} needed"
        if reason:
            found |= dict.fromkeys(keys)
            notes |= dict.fromkeys(keys, reason)
            continue
        values = measure(own, other)
        found |= values
        if name == "scaffolds" and np.isnan(values[name]):
            found[name], notes[name] = None, "no scaffold of two rings in one of the sets"
    return found | {"notes": notes}


def _longest_ring(molecule: Mol) -> int:
    import networkx

    # networkx's basis and not RDKit's rings: another basis is another score
    rings = networkx.cycle_basis(networkx.Graph(_rdkit().chem.GetAdjacencyMatrix(molecule)))
    return max(map(len, rings), default=0)


def penalised_logp(strings: Strings, constants: str | Constants = "literature") -> np.ndarray:
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
