"""Molecules: golden scores, measures with known values, and decoding that writes valid ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit")

from chartae import metrics
from chartae.data import read_strings
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
    want = np.array(list(GOLDEN.values()))
    found = molecules.properties(strings)
    np.testing.assert_allclose(found["logp"], want[:, 0], atol=0.01)
    np.testing.assert_allclose(found["sa"], want[:, 1], atol=0.01)
    np.testing.assert_allclose(molecules.penalised_logp(strings), want[:, 2], atol=0.01)
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
    with pytest.raises(ValueError, match="none of the 1 strings"):
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
    for similarity in (molecules.fragment_similarity, molecules.scaffold_similarity):
        assert similarity(a, a) == pytest.approx(1)
        assert 0 <= similarity(a, b) < 1
    mine, theirs = molecules.properties(a), molecules.properties(b)
    for name, value in molecules.distances(a, b).items():
        assert value == pytest.approx(wasserstein_distance(mine[name], theirs[name]))


# -- decoding ------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_productions():
    g = load("zinc-smiles")
    assert tuple(p.rhs[0] for p in g.productions[4:18]) == ELEMENTS
    with pytest.raises(ValueError, match="those of 'zinc-smiles'"):
        Molecules(load("smiles"))


@pytest.mark.parametrize("steps", [20, 60, 150])
def test_random_logits_write_molecules(steps):
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


def test_arg_max_writes_molecules_too():
    g = load("zinc-smiles")
    logits = torch.randn(200, 80, g.size, dtype=torch.float32, generator=torch.Generator().manual_seed(3))
    assert molecules.validity(repair(g.decode(StackDecoder(g, semantics=Molecules())(logits).derivations()))) >= 0.99


@pytest.mark.parametrize(
    "smiles", [*GOLDEN, "CC(=O)Nc1ccc(S(N)(=O)=O)cc1", "C[N+](=O)[O-]", "c1ccc2[nH]ccc2c1", "FC(F)(F)C#N"]
)
def test_real_molecules_can_be_derived(smiles):
    ids = load("zinc-smiles").encode([smiles])
    assert Molecules().admits(torch.from_numpy(ids.padded(75).astype(np.int64))).all()
    assert repair([smiles]) == [smiles]


@pytest.mark.parametrize(
    "smiles", ["C(C)(C)(C)(C)C", "C1CC", "C11", "C1C1", "cC", "C=C=C=O=C", "C#C#C", "O=O=O", "CF=C", "[NH5]"]
)
def test_nonsense_cannot(smiles):
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
def test_zinc_is_derived_and_left_alone(data_root):
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
