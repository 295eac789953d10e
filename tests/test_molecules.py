"""Molecules: golden properties, metrics with known values, pictures, and decoding to valid molecules."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit")

from chartae import metrics
from chartae.data import read_strings
from chartae.draw import pictures, structures
from chartae.grammar import Molecules, Selfies, StackDecoder, load, repair
from chartae.grammar.chemistry import ELEMENTS
from chartae.metrics import molecules

GOLDEN = {
    "CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1": (5.0506, 2.08409, 3.1399),
    "C[C@@H]1CC(Nc2cncc(-c3nncn3C)c2)C[C@@H](C)C1": (3.1137, 3.43200, 0.1724),
    "N#Cc1ccc(-c2ccc(O[C@@H](C(=O)N3CCCC3)c3ccccc3)cc2)cc1": (4.96778, 2.47063, 2.6184),
    "COc1ccc(-c2cc(-c3ccccc3)cc(-c3ccc(Br)cc3)[o+]2)cc1": (7.3328, 2.26008, 4.5199),
    "N#Cc1ccc2c(c1)OCCOCCOCCOc1ccc(C#N)cc1OCCOCCOCCO2": (2.72536, 3.00373, -62.5169),
}
NINE = {
    "sin(3)+x": 0.4304,
    "x+1/exp(1)": 0.3892,
    "x+1+2*sin(3+1+2)": 0.3906,
    "x/1+sin(x)+sin(x*x)": 0.4625,
    "1/2+(x)+sin(x*x)": 0.0274,
    "x/2+sin(1)+(x/2)": 0.5176,
    "x*1+sin(x)+sin(3+x)": 0.4887,
    "x/1+sin(1)+sin(2*2)": 0.4506,
    "1/1+(x)+sin(1/2)": 0.9782,
    "1/3+x+sin(x*x)": 0.0,
    "1/3+(x)+sin(x*x)": 0.0,
}


def test_penalised_logp():
    strings = list(GOLDEN)
    expected = np.array(list(GOLDEN.values()))
    properties = molecules.properties(strings)
    assert np.array_equal(molecules.properties(strings, ["qed"])["qed"], properties["qed"], equal_nan=True)
    with pytest.raises(ValueError, match="names contains 'qde'; expected names from logp, sa, qed, weight"):
        molecules.properties(strings, ["qde"])
    np.testing.assert_allclose(properties["logp"], expected[:, 0], atol=0.01)
    np.testing.assert_allclose(properties["sa"], expected[:, 1], atol=0.01)
    np.testing.assert_allclose(molecules.penalised_logp(strings), expected[:, 2], atol=0.01)
    assert molecules.penalised_logp([strings[3]], "recomputed")[0] == pytest.approx(4.518, abs=0.01)
    assert molecules.penalised_logp([strings[4]], "recomputed")[0] == pytest.approx(-61.59, abs=0.01)
    assert np.isnan(molecules.penalised_logp(["C1CC", ""])).all()
    with pytest.raises(ValueError, match="literature, recomputed"):
        molecules.penalised_logp(["C"], "mine")


def test_the_nine_expressions():
    np.testing.assert_allclose(metrics.expression_scores(list(NINE)), list(NINE.values()), atol=5e-5)


@pytest.mark.parametrize("text", ["x+", "y", "1/0", "(x", "__import__('os')", "", "exp(exp(exp(x)))-exp(exp(exp(x)))"])
def test_what_cannot_be_evaluated_is_worst(text):
    assert metrics.expression_scores([text])[0] == pytest.approx(np.log(1001))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2^3^2", 512),
        ("-2^2", -4),
        ("2*-3", -6),
        ("1-2-3", -4),
        ("8/4/2", 1),
        ("--1", 1),
        ("(1+2)*3", 9),
        (".5+1.", 1.5),
    ],
)
def test_precedence(text, value):
    assert metrics.evaluate_expression(text, {}) == value


def test_expressions_of_any_depth():
    n = 20_000
    assert metrics.evaluate_expression("(" * n + "x" + ")" * n, {"x": 2.0}) == 2
    with pytest.raises(ValueError, match="unknown name 'z'"):
        metrics.evaluate_expression("1+z", {"x": 1.0})


@pytest.mark.slow
def test_scores_of_the_data(data_root):
    scores = metrics.expression_scores(read_strings(data_root / "expressions" / "equation2_15_dataset.txt"))
    assert scores.mean() == pytest.approx(4.7187, abs=1e-4)
    assert scores.std() == pytest.approx(1.4582, abs=1e-4)
    assert np.sort(scores)[0] == 0
    assert (scores > 6.90875).mean() == pytest.approx(0.06328, abs=1e-5)


def test_counting():
    assert molecules.validity(["C", "X", "", "O"]) == 0.5
    assert molecules.uniqueness(["CCO", "OCC", "C"]) == pytest.approx(2 / 3)
    assert np.isnan(molecules.uniqueness(["X"]))
    assert molecules.novelty(["CCO", "C"], ["OCC"]) == 0.5
    assert molecules.canonical(["OCC", "X"]) == ["CCO", None]
    with pytest.raises(ValueError, match="none of the 1 SMILES in strings"):
        molecules.snn(["X"], ["C"])
    with pytest.raises(TypeError, match="list of SMILES"):
        molecules.validity("CCO")


def test_similarities_by_hand():
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator
    from scipy.stats import wasserstein_distance

    a, b = list(GOLDEN)[:3], list(GOLDEN)[2:]
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024).GetFingerprint
    prints = [[make(Chem.MolFromSmiles(s)) for s in x] for x in (a, b)]
    inner = np.array([[DataStructs.TanimotoSimilarity(f, g) for f in prints[0]] for g in prints[0]])
    assert molecules.internal_diversity(a) == pytest.approx(1 - inner.mean())
    assert molecules.internal_diversity(a, 2) == pytest.approx(1 - np.sqrt((inner**2).mean()))
    outer = np.array([[DataStructs.TanimotoSimilarity(f, g) for g in prints[1]] for f in prints[0]])
    assert molecules.snn(a, b) == pytest.approx(outer.max(1).mean())
    many = [*a, *b] * 130  # several blocks
    everything = np.array([[DataStructs.TanimotoSimilarity(f, g) for g in prints[0] + prints[1]] for f in prints[0]])
    assert molecules.internal_diversity([*a] * 300) == pytest.approx(1 - inner.mean())
    assert molecules.snn([*a] * 300, many) == pytest.approx(everything.max(1).mean())
    for similarity in (molecules.fragment_similarity, molecules.scaffold_similarity):
        assert similarity(a, a) == pytest.approx(1)
        assert 0 <= similarity(a, b) < 1
    properties_a, properties_b = molecules.properties(a), molecules.properties(b)
    for name, value in molecules.distances(a, b).items():
        assert value == pytest.approx(wasserstein_distance(properties_a[name], properties_b[name]))


def test_fragments_are_counted_with_repetitions():
    # one cut at the ester, one at the amide; two phenyls are two fragments
    assert molecules.Described(["CC(=O)OC"]).fragments.total() == 2
    assert molecules.Described(["c1ccc(cc1)-c1ccccc1", "CC"]).fragments == {"[16*]c1ccccc1": 2, "CC": 1}


def test_described_molecules_stand_in_for_strings():
    a, b = list(GOLDEN)[:3], list(GOLDEN)[2:]
    described, other = molecules.Described([*a, "X"]), molecules.Described(b)
    for metric in (molecules.snn, molecules.fragment_similarity, molecules.novelty, molecules.distances):
        assert metric(described, other) == metric([*a, "X"], b)
    assert molecules.validity(described) == 0.75
    assert described.molecules is described.molecules  # computed once
    with pytest.raises(ValueError, match="none of the 1 SMILES in reference"):
        molecules.snn(["C"], ["X"])


class _Net(torch.nn.Module):
    def forward(self, x):
        return torch.stack([x[:, :17].sum((1, 2)), (x * torch.arange(35.0, dtype=x.dtype)[:, None]).sum((1, 2))], 1)


class _Coded:
    def __init__(self, smiles):
        warnings.warn("Padding lengths differing from the default of 350 may affect FCD scores", UserWarning)
        self.smiles = smiles

    def __getitem__(self, i):
        return np.array([[(ord(c) * k) % 7 for k in range(35)] for c in self.smiles[i].ljust(60)], dtype=float)


@pytest.fixture
def stand_in(monkeypatch):
    """Replaces the package fcd by a net of two features."""
    package = types.ModuleType("fcd")
    package.__spec__ = importlib.machinery.ModuleSpec("fcd", None)
    package.load_ref_model, package.utils = _Net, types.SimpleNamespace(SmilesDataset=_Coded)
    monkeypatch.setitem(sys.modules, "fcd", package)
    molecules._net.cache_clear()
    yield
    molecules._net.cache_clear()


def test_chemnet_distance_with_a_replaced_net(stand_in):
    a, b = [*GOLDEN, "X", "CCO"], ["OCC", "CCN", "c1ccccc1"] * 60
    assert molecules.fcd(a, a) == pytest.approx(0, abs=1e-4)  # of large features in float32
    assert molecules.fcd(a, b) == pytest.approx(molecules.fcd(b, a))
    assert molecules.fcd(a, b) > 0
    # the net reads canonical SMILES
    assert molecules.Described(["OCC"]).activations.tolist() == molecules.Described(["CCO"]).activations.tolist()
    assert len(molecules.Described(b).activations) == 180
    with pytest.raises(ValueError, match="reference holds 1 valid molecules"):
        molecules.fcd(a, ["C", "X"])
    assert molecules.summary(a, [], b)["fcd"] == molecules.fcd(a, b)
    assert molecules.summary(["C", "X"], [], b)["notes"]["fcd"] == "1 valid molecules in strings; at least 2 needed"


def test_chemnet_distance_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcd", None)
    molecules._net.cache_clear()
    with pytest.raises(ImportError, match=r"chartae\[fcd\]"):
        molecules.fcd(list(GOLDEN), list(GOLDEN))


def test_chemnet_distance_equals_that_of_the_package():
    package = pytest.importorskip("fcd")
    a, b = list(GOLDEN), ["CCO", "CCN", "c1ccccc1", "CC(=O)Nc1ccc(S(N)(=O)=O)cc1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = package.load_ref_model().float()
        activations = [package.get_predictions(net, molecules.canonical(s), n_jobs=0, device="cpu") for s in (a, b)]
        expected = package.calculate_frechet_distance(*(f for x in activations for f in (x.mean(0), np.cov(x.T))))
    np.testing.assert_allclose(molecules.Described(a).activations, activations[0], atol=1e-5)
    assert molecules.fcd(a, b) == pytest.approx(expected, rel=1e-3)


def without_chemnet(*sets):
    return molecules.summary(*sets, without=["fcd"])


def test_summary():
    a, b = [*GOLDEN, "CCO", "C1CC", ""], [*list(GOLDEN)[:3], "CCN"]
    summary = without_chemnet(a, ["OCC"], b)
    assert summary["count"] == 8
    assert summary["valid"] == 6
    assert summary["validity"] == 0.75
    assert summary["uniqueness"] == 1
    assert summary["novelty"] == pytest.approx(5 / 6)
    assert summary["snn"] == molecules.snn(a, b)
    assert summary["internal_diversity"] == molecules.internal_diversity(a)
    assert summary["fragments"] == molecules.fragment_similarity(a, b)
    assert summary["scaffolds"] == molecules.scaffold_similarity(a, b)
    assert {k.removeprefix("distance_"): v for k, v in summary.items() if "distance" in k} == molecules.distances(a, b)
    assert summary["notes"] == {}
    json.dumps(summary)
    fewer = molecules.summary(a, [], b, without=["fcd", "novelty", "distances", "snn"])
    assert set(fewer) == set(summary) - {"novelty", "snn"} - {k for k in summary if "distance" in k}
    with pytest.raises(ValueError, match=r"without contains \['sn'\]"):
        molecules.summary(a, [], b, without=["sn"])


@pytest.mark.parametrize("strings", [[], ["X"], ["", ""], ["C"], ["C", "X"], ["[H][H]", "[Na+].[Cl-]"]])
@pytest.mark.parametrize("reference", [[], ["X"], ["C"], ["CCO", "C1CC"]])
def test_a_summary_never_fails(strings, reference):
    summary = without_chemnet(strings, ["X", "C"], reference)
    assert {k for k, v in summary.items() if v is None} == set(summary["notes"])
    json.dumps(summary, allow_nan=False)
    assert set(summary) == set(without_chemnet(list(GOLDEN), [], list(GOLDEN)))


# -- pictures ------------------------------------------------------------------------------------------------


def test_structures():
    strings = ["CCO", "c1ccccc1", "C1CC", "", "C" * 400 + "(", *GOLDEN]
    picture = structures.molecules(strings, columns=4, side=80)
    assert picture.shape == (3 * 82 + 2, 4 * 82 + 2, 3)
    assert pictures.png(picture)[1:4] == b"PNG"
    cells = [picture[2 + 82 * (i // 4) :, 2 + 82 * (i % 4) :][:80, :80] for i in range(len(strings))]
    assert all((cell < 128).any() for cell in cells)  # something is drawn
    crossed = [bool((np.abs(cell[5:-5, 5:-5].astype(int) - (213, 94, 0)).sum(2) < 20).any()) for cell in cells]
    assert crossed == [False, False, True, True, True, *[False] * len(GOLDEN)]
    wider = structures.molecules(strings[:2], ["0.42", "a legend that is too long for its place by far"], side=80)
    assert wider.shape == (80 + 16 + 4, 2 * 82 + 2, 3)
    assert (wider[84:96, 2:82] < 200).any()
    plain = structures.molecules(strings[:2], side=80)
    assert np.array_equal(plain, structures.molecules(strings[:2], side=80))
    assert np.array_equal(plain[:82], wider[:82])


def test_errors_of_structures():
    with pytest.raises(TypeError, match="list of SMILES"):
        structures.molecules("CCO")
    with pytest.raises(ValueError, match="at least one"):
        structures.molecules([])
    with pytest.raises(ValueError, match="2 legends for 1 strings"):
        structures.molecules(["C"], ["a", "b"])
    with pytest.raises(ValueError, match="40 pixels"):
        structures.molecules(["C"], side=10)


# -- decoding ------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_productions():
    g = load("zinc-smiles")
    assert tuple(p.rhs[0] for p in g.productions[4:18]) == ELEMENTS
    with pytest.raises(ValueError, match="expected the grammar 'zinc-smiles'"):
        Molecules(load("smiles"))


@pytest.mark.parametrize("steps", [20, 60, 150])
def test_random_logits_decode_to_molecules(steps):
    g = load("zinc-smiles")
    logits = torch.randn(400, steps, g.size, dtype=torch.float32, generator=torch.Generator().manual_seed(steps))
    draw = {"sample": True, "generator": torch.Generator().manual_seed(0)}
    plain = StackDecoder(g)(logits, **draw)
    out = StackDecoder(g, semantics=Molecules())(logits, **draw)
    assert out.complete.all()
    assert out.relaxed.double().mean() <= 0.01
    strings = repair(g.decode(out.derivations()))
    g.encode(strings)  # still in the language
    assert molecules.validity(strings) >= 0.99
    assert molecules.uniqueness(strings) > 0.3
    assert molecules.validity(g.decode(plain.derivations())) < 0.3


def test_largest_logits_decode_to_molecules():
    g = load("zinc-smiles")
    logits = torch.randn(200, 80, g.size, dtype=torch.float32, generator=torch.Generator().manual_seed(3))
    assert molecules.validity(repair(g.decode(StackDecoder(g, semantics=Molecules())(logits).derivations()))) >= 0.99


@pytest.mark.parametrize(
    "smiles", [*GOLDEN, "CC(=O)Nc1ccc(S(N)(=O)=O)cc1", "C[N+](=O)[O-]", "c1ccc2[nH]ccc2c1", "FC(F)(F)C#N"]
)
def test_the_masks_admit_real_molecules(smiles):
    ids = load("zinc-smiles").encode([smiles])
    assert Molecules().admits(torch.from_numpy(ids.padded(75).astype(np.int64))).all()
    assert repair([smiles]) == [smiles]


@pytest.mark.parametrize(
    "smiles", ["C(C)(C)(C)(C)C", "C1CC", "C11", "C1C1", "cC", "C=C=C=O=C", "C#C#C", "O=O=O", "CF=C", "[NH5]"]
)
def test_the_masks_exclude_invalid_molecules(smiles):
    ids = load("zinc-smiles").encode([smiles])
    assert not Molecules().admits(torch.from_numpy(ids.padded(75).astype(np.int64))).any()


REPAIRED = {
    "c1cccc1": "C1CCCC1",
    "c1ccnc1": "c1cc[nH]c1",
    "c1cnc[nH]1": "c1cnc[nH]1",
    "c1ccccc1-c1ccco1": "c1ccccc1-c1ccco1",
    "cC": "CC",
    "C1CC": "CCC",
    "Cn1cccc1": "Cn1cccc1",
    "c1ccc2cccc2c1": "C1CCC2CCCC2C1",
}


@pytest.mark.parametrize("broken", REPAIRED)
def test_repair(broken):
    assert repair([broken]) == [REPAIRED[broken]]
    assert molecules.validity(repair([broken])) == 1


@pytest.mark.slow
def test_the_masks_admit_zinc_and_repair_leaves_it_unchanged(data_root):
    strings = read_strings(data_root / "zinc250k" / "250k_rndm_zinc_drugs_clean.smi.gz", limit=5000)
    assert repair(strings) == strings
    rows = torch.from_numpy(load("zinc-smiles").encode(strings).padded(75).astype(np.int64))
    assert Molecules().admits(rows).double().mean() > 0.99


def test_selfies():
    pytest.importorskip("selfies")
    codec = Selfies(["CCO", "c1ccccc1Cl"])
    ids = codec.encode(["CCO", "ClC"])
    assert molecules.canonical(codec.decode(ids)) == ["CCO", "CCl"]
    rows = np.random.default_rng(0).integers(0, codec.size - 1, (50, 12))
    strings = [s for s in codec.decode(rows) if s]
    assert molecules.validity(strings) == 1
    with pytest.raises(ValueError, match="has no SELFIES"):
        codec.encode(["C(", "C"])
    assert codec.encode(["C(", "C"], errors="skip").kept.tolist() == [1]
