"""Autoencoders of strings: nets, the masked likelihood, recipes, runs, the estimator, and errors."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import chartae as ch
from chartae import cli
from chartae.autoencoder import Autoencoder
from chartae.conditionals import Dirac, GaussianNoise, StandardNormal
from chartae.conditionals.strings import MaskedCategorical
from chartae.data import Reading, Strings, from_strings, indices, is_strings, read, read_strings
from chartae.grammar import Grammar, Selfies, StackDecoder, codec_for, described, load, restored
from chartae.nn import SEQUENCE_NETS, sequence_decoder, sequence_encoder
from chartae.nn.sequences import GrammarDecoder, GrammarEncoder
from chartae.objectives import Penalised
from chartae.objectives.predicting import Predicting
from chartae.recipes import Setting, build
from chartae.records.results import Results
from chartae.runs import codec_of, decode_draws, properties, retrained
from chartae.terms import Reconstruction
from families import STRINGS

EXPRESSIONS = load("expressions")
CORPUS = [
    f"{a}{op}{b}"
    for a in ("x", "1", "2", "sin(x)", "exp(3)", "(x+1)")
    for op in "+*/"
    for b in ("x", "3", "(x*x)", "sin(2)")
]
QUICK = {"epochs": 1, "batch_size": 16, "progress": False, "seed": 0, "latent_dim": 5}


def masked_categorical(net="gru", codec=EXPRESSIONS, limit=15, latent=5, **settings):
    torch.manual_seed(0)
    return MaskedCategorical(
        sequence_decoder(net, latent, codec.size, codec.states, (limit,)), codec, limit, **settings
    )


def rows(strings, codec=EXPRESSIONS):
    return indices(codec.encode(strings), codec).to(torch.get_default_dtype())


# -- nets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "count"),
    [(GrammarEncoder(76, 75, 277, 56), 1_124_604), (GrammarEncoder(12, 11, 15, 25), 6_366),
     # torch's GRU has a second bias, which adds 3 times the hidden size per layer
     (GrammarDecoder(56, 76, 277), 3_895_036 + 3 * 1_503), (GrammarDecoder(25, 12, 15), 160_312 + 3 * 300)],
)  # fmt: skip
def test_the_papers_nets_have_their_parameters(net, count):
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("net", SEQUENCE_NETS)
def test_encoders_do_not_see_padding(net):
    """A code depends neither on the other rows of the batch nor on the amount of padding."""
    torch.manual_seed(0)
    encoder = sequence_encoder(net, 12, 11, (15,), 4).eval()
    x = rows(CORPUS)
    together = encoder(x)
    assert together.shape == (len(x), 4)
    assert together.unique(dim=0).shape[0] == len(x)
    for i in (0, 9, 40):
        length = int((x[i] != 11).sum())
        assert torch.allclose(encoder(x[i : i + 1]), together[i], atol=1e-9)
        assert torch.allclose(encoder(x[i : i + 1, :length]), together[i], atol=1e-9)
    if net != "paper":
        assert encoder(torch.zeros(2, 40)).isfinite().all()  # longer than the training strings


@pytest.mark.parametrize("net", SEQUENCE_NETS)
def test_all_places_at_once_equal_step_by_step(net):
    torch.manual_seed(0)
    decoder = sequence_decoder(net, 5, 12, 3, (15,)).eval()
    z, before, tops = torch.randn(3, 5), torch.randint(12, (3, 9)), torch.randint(3, (3, 9))
    whole, state = decoder(z, before, tops), decoder.begin(z)
    for t in range(9):
        logits, state = decoder.step(before[:, t], tops[:, t], state)
        assert torch.allclose(logits, whole[:, t], atol=1e-9)


@pytest.mark.parametrize("net", ["gru", "transformer"])
def test_decoders_do_not_look_ahead(net):
    decoder = sequence_decoder(net, 5, 12, 3, (15,)).eval()
    z, before, tops = torch.randn(2, 5), torch.randint(12, (2, 9)), torch.randint(3, (2, 9))
    other = before.clone()
    other[:, 6:] = (before[:, 6:] + 1) % 12
    a, b = decoder(z, before, tops), decoder(z, other, tops)
    assert torch.allclose(a[:, :6], b[:, :6])
    assert not torch.allclose(a[:, 6:], b[:, 6:])


def test_a_gru_with_spectral_weights_is_bounded_and_learns():
    gru = ch.nn.spectral(nn.GRU(4, 6))
    gru.train()
    for _ in range(30):
        out, _ = gru(torch.randn(7, 2, 4))
    norms = [torch.linalg.matrix_norm(getattr(gru, name), 2).item() for name in ("weight_ih_l0", "weight_hh_l0")]
    assert norms == pytest.approx([1, 1], abs=0.02)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gru.parameters())


@pytest.mark.parametrize("bad", ["lstm", "gru:12", "gru:x", "paper:64"])
def test_unknown_nets(bad):
    with pytest.raises(ValueError, match="net is"):
        sequence_encoder(bad, 12, 11, (15,), 4)


def test_the_papers_net_refuses_longer_strings():
    with pytest.raises(ValueError, match=r"has 16 indices; expected at most 15, .*\. Train with net='gru'"):
        GrammarEncoder(12, 11, 15, 4)(torch.zeros(1, 16))
    with pytest.raises(ValueError, match="length is 5; expected at least 7"):
        GrammarEncoder(12, 11, 5, 4)


# -- the likelihood ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["gru", "transformer"])
def test_probabilities_of_all_derivations_add_up_to_one(net):
    g = Grammar("S -> 'a' S | 'b' T | 'c' \n T -> 'd' | 'e'")
    z = torch.randn(1, 5)
    decoder = masked_categorical(net, g, 8).eval()
    # all derivations of at most 5 productions; longer ones begin with four a's and have the remaining probability
    short = ["a" * k + end for k in range(4) for end in ("c", "bd", "be")]
    x = rows(short, g)
    logs = decoder(z.expand(len(x), -1)).log_prob(x)
    p = decoder(z)
    longer = p.logits(rows(["aaaac"], g)).log_softmax(2)[0, :4, 0].sum()
    assert (logs.exp().sum() + longer.exp()).item() == pytest.approx(1, abs=1e-9)


@torch.no_grad()
def test_log_prob_is_the_masked_softmax():
    decoder = masked_categorical().eval()
    z, x = torch.randn(len(CORPUS), 5), rows(CORPUS)
    p = decoder(z)
    logits = p.logits(x)
    by_hand = []
    for i, row in enumerate(x.long()):
        total = 0.0
        for t, production in enumerate(row.tolist()):
            if production == EXPRESSIONS.padding:
                break
            allowed = EXPRESSIONS.masks[EXPRESSIONS.lhs[production]]
            unmasked = logits[i, t][torch.from_numpy(allowed)]
            total += float(logits[i, t, production] - unmasked.logsumexp(0))
        by_hand.append(total)
    assert p.log_prob(x).tolist() == pytest.approx(by_hand)
    # padding adds nothing
    longer = torch.nn.functional.pad(x, (0, 7), value=EXPRESSIONS.padding)
    assert torch.allclose(p.log_prob(longer), p.log_prob(x))


@torch.no_grad()
def test_draws_have_their_probabilities():
    """Frequencies of draws agree with log p if derivations are much shorter than the limit."""
    g = Grammar("S -> 'a' S | 'b' T | 'c' \n T -> 'd' | 'e'")
    decoder, z = masked_categorical(codec=g, limit=60).eval(), torch.randn(1, 5)
    draws = g.decode(decoder(z.expand(4000, -1)).sample(generator=torch.Generator().manual_seed(0)).long().numpy())
    for text in ("c", "bd", "be", "ac"):
        share = float(decoder(z).log_prob(rows([text], g)).exp())
        assert draws.count(text) / 4000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))


@torch.no_grad()
def test_without_a_grammar_the_end_counts():
    codec = codec_for("characters", ["ab"])
    decoder = masked_categorical(codec=codec, limit=3).eval()
    z = torch.randn(1, 5)
    texts = ["", "a", "b", "aa", "ab", "ba", "bb"]
    x = torch.full((7, 3), codec.padding, dtype=torch.get_default_dtype())
    for i, text in enumerate(texts):
        for t, c in enumerate(text):
            x[i, t] = codec.encode([c])[0][0]
    total = float(decoder(z.expand(7, -1)).log_prob(x).exp().sum())
    # the probability of three characters or more
    p = decoder(z)
    longer = 0.0
    for a in range(2):
        for b in range(2):
            row = torch.tensor([[a, b, 0]], dtype=x.dtype)
            steps = p.logits(row).log_softmax(2)[0]
            longer += float((steps[0, a] + steps[1, b]).exp() * (1 - steps[2, codec.padding].exp()))
    assert total + longer == pytest.approx(1, abs=1e-9)
    draws = decoder(torch.randn(50, 5)).sample(generator=torch.Generator().manual_seed(1))
    assert draws.shape == (50, 3)


@pytest.mark.parametrize("net", SEQUENCE_NETS)
def test_every_decoded_string_is_in_the_language(net):
    decoder = masked_categorical(net).eval()
    z = 3 * torch.randn(40, 5)
    p = decoder(z)
    for x in (p.mean, p.sample(generator=torch.Generator().manual_seed(0)), p.sample(2).flatten(0, 1)):
        texts = EXPRESSIONS.decode(x.long().numpy())
        assert all(texts)
        assert [list(r) for r in EXPRESSIONS.encode(texts)] == [[int(v) for v in r if v != 11] for r in x]
    assert torch.equal(p.mean, decoder(z).mean)
    assert p.mean.shape == (40, 15)


@pytest.mark.slow
def test_molecules_are_valid_without_any_training():
    rdkit = pytest.importorskip("rdkit")
    assert rdkit
    g = load("zinc-smiles")
    run = ch.fit("grae", ["CCO", "c1ccccc1", "CC(=O)N"] * 4, grammar="zinc-smiles", densities=(), **QUICK)
    texts = [t for row in decode_draws(run, 5 * torch.randn(60, 5), draws=2) for t in row]
    assert ch.metrics.molecules.validity(texts) > 0.99
    assert len(g.encode(texts)) == 120


def test_scheduled_forcing_and_dropout():
    decoder = masked_categorical(forcing=0.5)
    decoder.plan(10)
    assert decoder.forcing_now() == 1
    decoder.passes += 5
    assert decoder.forcing_now() == pytest.approx(0.75)
    decoder.passes += 50
    assert decoder.forcing_now() == 0.5
    assert decoder.eval().forcing_now() == 1
    x, z = rows(CORPUS[:4]), torch.randn(4, 5)
    exact = decoder(z).log_prob(x)
    assert torch.equal(exact, decoder(z).log_prob(x))  # nothing is random in evaluation mode
    decoder.train()
    passes = int(decoder.passes)
    assert not torch.equal(decoder(z).log_prob(x), decoder(z).log_prob(x))
    assert int(decoder.passes) == passes + 2
    dropping = masked_categorical(dropout=0.5).train()
    assert not torch.equal(dropping(z).log_prob(x), dropping(z).log_prob(x))
    for settings in ({"forcing": 1.2}, {"dropout": -0.1}):
        with pytest.raises(ValueError, match="between 0 and 1"):
            masked_categorical(**settings)
    with pytest.raises(ValueError, match="the shortest derivation of expressions takes 2 steps"):
        masked_categorical(limit=1)


# -- data -------------------------------------------------------------------------------------------------------------


def test_indices_are_a_byte_each_and_reach_nets_unchanged():
    data = from_strings(CORPUS, "expressions", valid=0.2, test=0.1)
    assert data.train.dtype == torch.int8
    assert data.train.shape[1] == 15
    assert sorted(data.strings() + data.strings("valid") + data.strings("test")) == sorted(CORPUS)
    x = next(iter(ch.data.Batches(data.train, 8, shuffle=False))).x
    assert x.is_floating_point()
    assert torch.equal(x.long(), data.train[:8].long())
    assert "strings 15 int8" in repr(data)
    with pytest.raises(ValueError, match="expected strings"):
        ch.data.from_arrays(np.eye(4)).strings()


def test_many_tokens_take_two_bytes():
    words = [chr(0x4E00 + i) for i in range(200)]
    data = from_strings(["".join(words[i : i + 3]) for i in range(190)], "characters", valid=0, test=0)
    assert data.train.dtype == torch.int16
    assert data.train.shape == (190, 4)  # three tokens and the padding that ends the string
    assert data.strings()[5] == "".join(words[5:8])


def test_a_string_much_longer_than_the_others_causes_a_warning(monkeypatch):
    strings = ["x+1"] * 50 + ["+".join(["x"] * 300)]
    assert from_strings(strings, "expressions").shape == (600,)
    monkeypatch.setattr("chartae.data.strings._MANY", 10_000)
    with pytest.warns(UserWarning, match=r"'x\+x.*has 600 indices, while half of the strings have 4 or fewer; all"):
        from_strings(strings, "expressions")
    from_strings(strings[:50], "expressions")


def test_errors_name_the_line_of_a_string_outside_the_grammar(tmp_path):
    path = tmp_path / "e.txt"
    path.write_text("x+1\n\nx*x\nx+?\nsin(x)\n")
    with pytest.raises(ValueError, match=r"1 of 4 strings cannot be encoded. The first, .*e.txt, line 4: .*found '\?'"):
        from_strings(path, "expressions")
    data = from_strings(path, "expressions", errors="skip", valid=0, test=0)
    assert data.skipped == 1
    assert data.strings() == ["x+1", "x*x", "sin(x)"]
    assert from_strings(path, "expressions", limit=2, valid=0, test=0).strings() == ["x+1", "x*x"]
    with pytest.raises(ValueError, match="1 of 1 strings of .* can be encoded; expected at least 2"):
        from_strings(path, "expressions", limit=1)
    with pytest.raises(ValueError, match="errors is 'ignore'"):
        from_strings(path, "expressions", errors="ignore")
    assert is_strings(path)
    assert is_strings(["a"])
    assert not is_strings("mnist")
    assert not is_strings(np.eye(3))


@pytest.mark.parametrize(
    "codec",
    [load("expressions"), load("zinc-smiles"), Grammar("S -> 'a' S | 'b'", name="custom", ignore=" "),
     codec_for("characters", ["ab c", 'quote"']), codec_for("tokens", ["C[NH+]C", "BrCl"])],
    ids=repr,
)  # fmt: skip
def test_codecs_are_described_and_restored(codec):
    copied = restored(json.dumps(json.loads(described(codec))))
    assert (copied.size, copied.padding, type(copied)) == (codec.size, codec.padding, type(codec))
    text = {"expressions": "x+1", "zinc-smiles": "CCO", "custom": "aab"}.get(getattr(codec, "name", ""))
    text = text or codec.decode([[0, 1, 2]])[0]
    assert [r.tolist() for r in copied.encode([text])] == [r.tolist() for r in codec.encode([text])]
    assert described(copied) == described(codec)


def test_selfies_are_described_and_restored():
    pytest.importorskip("selfies")
    codec = Selfies(["CCO", "c1ccccc1"])
    copied = restored(described(codec))
    assert copied.decode(copied.encode(["CCO"])) == codec.decode(codec.encode(["CCO"])) == ["CCO"]
    with pytest.raises(ValueError, match="expected a description of a codec"):
        restored("[1]")


# -- recipes and runs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", SEQUENCE_NETS)
@pytest.mark.parametrize("name", STRINGS)
def test_contract(name, net):
    codec = EXPRESSIONS if name != "cvae" else codec_for("characters", CORPUS)
    x = rows(CORPUS[:6], codec)
    recipe = build(name, Setting(tuple(x.shape[1:]), 5, net, False, codec=codec), seed=1)
    values = recipe.objective(x)
    assert all(v.isfinite() for v in values.values())
    values["loss"].backward()
    # every parameter gets a gradient, even without a stack, where the only nonterminal is always on top
    assert all(p.grad is not None for p in recipe.objective.model.parameters())
    again = build(name, recipe.setting, seed=1).objective
    for key, weight in again.named_parameters():
        assert torch.equal(weight, recipe.objective.get_parameter(key))
    assert repr(again) == repr(recipe.objective)


@pytest.mark.parametrize(
    ("option", "terms"),
    [({"penalty": "gp"}, "0.001 DecoderGradient(hutchinson)"), ({"penalty": "l2", "strength": 0.5}, "0.5 DecoderL2()"),
     ({"penalty": "none", "beta": 0.25}, "Reconstruction() + 0.25 LatentNorm()"), ({"penalty": "sn"}, "LatentNorm()")],
)  # fmt: skip
def test_regularisers_of_the_grammar_rae(option, terms):
    setting = Setting((15,), 5, "auto", False, codec=EXPRESSIONS)
    objective = build("grae", setting, **option).objective
    assert repr(objective).endswith(terms)
    objective(rows(CORPUS[:5]))["loss"].backward()
    normed = any(nn.utils.parametrize.is_parametrized(m) for m in objective.model.decoder.modules())
    assert normed == (option["penalty"] == "sn")
    assert not any(nn.utils.parametrize.is_parametrized(m) for m in objective.model.encoder.modules())


def test_the_gradient_penalty_is_that_of_the_logits():
    decoder, z = masked_categorical().eval(), torch.randn(3, 5, requires_grad=True)
    x = rows(CORPUS[:3])
    p = decoder(z)
    norms = [torch.autograd.grad(v, z, retain_graph=True)[0].square().sum(1) for v in p.smooth(x).flatten(1).sum(0)]
    exact = torch.stack(norms).sum(0)
    torch.manual_seed(0)
    from chartae.maths import jacobian_norm_hutchinson

    estimate = torch.stack([jacobian_norm_hutchinson(p.smooth(x), z).detach() for _ in range(600)]).mean(0)
    assert torch.allclose(estimate, exact, rtol=0.3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    path = tmp_path_factory.mktemp("strings") / "data.txt"
    path.write_text("\n".join(CORPUS * 4) + "\n")
    settings = QUICK | {"epochs": 40, "batch_size": 32, "latent_dim": 8, "lr": 8e-3}
    return ch.fit("grae", path, grammar="expressions", components=3, out=path.parent / "run", **settings)


def test_a_run_reconstructs_and_is_loaded_again(run, float32):
    data = run.data()
    texts = data.strings("test")
    decoded = run.decode(run.encode(data.test))
    assert np.mean([a == b for a, b in zip(decoded, texts, strict=True)]) > 0.9
    loaded = ch.load(run.folder)
    assert loaded.settings == run.settings
    assert torch.equal(loaded.encode(texts), run.encode(data.test))
    assert loaded.sample(9, "gmm", seed=3) == run.sample(9, "gmm", seed=3)
    assert loaded.data().strings() == data.strings()
    assert all(EXPRESSIONS.encode(run.sample(50, "gmm")).lengths > 0)
    with pytest.raises(ValueError, match="found 'y' at character 2"):
        run.encode(["x+y"])
    with pytest.raises(ValueError, match="draws is 0"):
        decode_draws(run, torch.zeros(1, 8), draws=0)


def test_evaluation_of_strings(run, float32):
    results = ch.evaluate(run, n=60)
    assert results["reconstruction"]["exact"] > 0.9
    assert results["reconstruction"]["steps"] > 0.95
    assert results["reconstruction"]["nll"] > 0
    assert set(results["sets"]) == {"prior", "normal", "gmm", "floor"}
    for metrics in results["sets"].values():
        assert metrics["valid"] == 1
        assert 0 < metrics["unique"] <= 1
    assert results["sets"]["floor"]["novel"] < 0.2  # each string occurs four times in the data
    assert Results.read(run.folder / "results.json") == results
    wider = ch.evaluate(run, n=60, language="arithmetic", densities=["gmm"])
    assert wider.protocol["valid"] == "arithmetic"
    assert wider.sets.gmm.valid == 1  # every expression belongs to this language too
    other = ch.evaluate(run, n=60, language="rna", densities=["gmm"])
    assert other["sets"]["gmm"]["valid"] == 0  # no expression is a secondary structure
    with pytest.raises(ValueError, match="grammar is 'aritmetic'"):
        ch.evaluate(run, language="aritmetic")
    with pytest.raises(ValueError, match="extractor is for images .* but these data are strings"):
        ch.evaluate(run, extractor="pixels")


def test_commands_that_do_not_apply_to_strings(run, tmp_path, capsys, float32):
    """Each is refused before any work, and the message names the alternative."""
    folder, out = str(run.folder), str(tmp_path / "out")
    cases = [
        (["score", folder], "'grae', which estimates no score"),
        (["translate", folder, "--out", "t.png"], "'grae', which has one domain"),
        (["sample", folder, "--sampler", "mala"], "(r(x) - x)"),
        (["sample", folder, "--step", "0.1"], "--step is for chains; give --sampler as well"),
        (["sample", folder, "--out", "s.png"], "are strings; use .txt or .smi"),
        (["compare", "absent.smi.gz", "--recipes", "ae", "--out", out], "holds strings"),
    ]  # fmt: skip
    for words, message in cases:
        assert cli.main(words) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="holds strings"):
        ch.evaluation.compare(run.data(), ["ae"], out)
    assert not (tmp_path / "out").exists()


def test_the_report_of_a_run_on_strings(run, capsys, float32):
    ch.evaluate(run, n=60)
    assert cli.main(["report", str(run.folder)]) == 0
    text = (run.folder / "report.html").read_text()
    assert "Gaussian mixture: 100 % valid" in text
    assert run.data().strings("test")[0] in text


@pytest.mark.slow
def test_formulas_from_the_command_line(tmp_path, monkeypatch, capsys, float32):
    """Even an untrained net decodes molecules under the grammar, and `sample` draws their formulas."""
    pytest.importorskip("rdkit")
    smiles = ["C" * i + end for i in range(1, 9) for end in ("O", "N", "Cl", "=O", "C(C)C")]
    ch.fit("grae", smiles, grammar="zinc-smiles", net="gru:8", densities=(), out=tmp_path / "run", **QUICK)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sample", "run", "--density", "prior", "--n", "5", "--out", "deep/grid.png"]) == 0
    assert "5 formulas are in deep/grid.png" in capsys.readouterr().err
    with Image.open("deep/grid.png") as picture:
        assert picture.width > picture.height > 100
    assert cli.main(["sample", "run", "--n", "1001", "--out", "grid.png"]) == 2
    assert "holds at most 1000 formulas" in capsys.readouterr().err


def test_bad_input(tmp_path, float32):
    cases = [
        (lambda: ch.fit("grae", CORPUS, **QUICK), "needs a grammar: one of zinc-smiles, expressions"),
        (
            lambda: ch.fit("grae", "digits", grammar="expressions", **QUICK),
            "expected strings: a list of them, or a file",
        ),
        (
            lambda: ch.fit("rae", "digits", grammar="expressions", **QUICK),
            "grammar is an option for strings; .* holds images",
        ),
        (lambda: ch.fit("grae", CORPUS, grammar="expresions", **QUICK), "Did you mean 'expressions'"),
        (lambda: ch.fit("grae", CORPUS, grammar="expressions", net="mlp", **QUICK), "for strings expected one of gru"),
        (lambda: ch.fit("rae", tmp_path / "s.smi", **QUICK), "s.smi' holds strings; .* use one of grae"),
        (lambda: build("grae", Setting((15,), 5)), "is for strings; give a grammar"),
        (lambda: build("rae", Setting((15,), 5, codec=EXPRESSIONS)), "does not read strings; use grae"),
        (lambda: build("grae", Setting((15,), 5, codec=EXPRESSIONS), penalty="l1"), "penalty is 'l1'"),
        (lambda: build("grae", Setting((15,), 5, codec=EXPRESSIONS), penalty="sn", strength=1), "which has none"),
        (lambda: codec_of(ch.fit("ae", np.eye(8), densities=(), **QUICK)), "this is a run of 'ae' on table rows"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_estimator_takes_lists_of_strings():
    from sklearn.base import clone

    est = ch.GenerativeAutoencoder("grae", latent_dim=5, epochs=1, options={"grammar": "expressions"}, random_state=0)
    est = clone(est).fit(CORPUS)
    codes = est.transform(CORPUS)
    assert codes.shape == (len(CORPUS), 5)
    assert len(est.inverse_transform(codes)) == len(CORPUS)
    assert all(isinstance(s, str) for s in est.sample(4))
    assert est.sample(4) == est.sample(4)
    assert est.score_samples(CORPUS[:3]).shape == (3,)
    assert np.allclose(est.transform(np.array(CORPUS[:2])), codes[:2], atol=1e-5)
    with pytest.raises(ValueError, match="expected strings"):
        est.transform([[1.0, 2.0]])
    with pytest.raises(TypeError, match="expected .* a list of strings"):
        est.fit("x+1")
    with pytest.raises(ValueError, match="needs a grammar"):
        ch.GenerativeAutoencoder("grae").fit(CORPUS)
    baseline = ch.GenerativeAutoencoder("cvae", latent_dim=5, epochs=1, random_state=0).fit(CORPUS)
    assert baseline.transform(CORPUS[:2]).shape == (2, 5)


def test_a_custom_grammar_from_the_command_line(tmp_path, monkeypatch, capsys, float32):
    pytest.importorskip("lark")
    (tmp_path / "custom.lark").write_text('start: "a" start | "b"\n')
    (tmp_path / "data.txt").write_text("\n".join("a" * (i % 9) + "b" for i in range(300)) + "\nabc\n")
    monkeypatch.chdir(tmp_path)
    fit = ["fit", "data.txt", "--grammar", "custom.lark", "--recipe", "grae", "--epochs", "1", "--out", "run",
           "--latent-dim", "3"]  # fmt: skip
    assert cli.main(fit) == 2
    assert "data.txt, line 301" in capsys.readouterr().err
    assert cli.main([*fit, "--skip"]) == 0
    assert "1 strings were left out" in capsys.readouterr().err
    # the run stores the grammar, so it no longer needs the file
    (tmp_path / "custom.lark").unlink()
    assert cli.main(["sample", "run", "--n", "7", "--out", "s.txt"]) == 0
    assert len(read_strings("s.txt")) == 7
    assert cli.main(["evaluate", "run", "--n", "40"]) == 0
    assert "reconstruction: exact" in capsys.readouterr().out
    assert cli.main(["sample", "run", "--n", "7", "--out", "s.png"]) == 2
    assert "are strings; use .txt or .smi" in capsys.readouterr().err


def test_an_autoencoder_without_a_recipe():
    torch.manual_seed(0)
    model = Autoencoder(
        Dirac(sequence_encoder("gru", 12, 11, (15,), 3)), masked_categorical(latent=3), StandardNormal(3)
    )
    x = rows(CORPUS[:5])
    assert model.reconstruct(x).shape == (5, 15)
    assert model.sample(4).shape == (4, 15)
    assert StackDecoder(EXPRESSIONS).grammar is model.decoder.codec


def test_weighted_retraining(run, float32):
    """Retraining follows the weights: the likelihood of strings that have all the weight rises."""
    strings = ["exp(1)/exp(2)", "2*exp(x*2)", "3/(1+2)", *CORPUS]  # the first three are not in the training data
    weights = torch.zeros(len(strings))
    weights[:3] = 1.0
    tuned = retrained(run, strings, weights, epochs=5, seed=0)

    def likelihood(trained):
        x = rows(strings[:3])
        with torch.no_grad():
            return float(trained.model.decoder(trained.model.encoder(x).mean).log_prob(x).mean())

    before = likelihood(run)
    assert likelihood(tuned) > before
    assert likelihood(run) == before
    assert tuned.folder is None
    repeated = retrained(run, strings, weights, epochs=5, seed=0)
    assert torch.equal(repeated.encode(strings[:3]), tuned.encode(strings[:3]))
    with pytest.raises(ValueError, match="there are 2 strings and 3 weights"):
        retrained(run, ["x", "1"], torch.ones(3))


# -- properties -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_property_is_predicted_from_the_code(tmp_path, float32):
    """The length of strings is learnt from half of them and predicted for all, also by the loaded run."""
    strings = CORPUS * 3
    length = np.array([float(len(s)) for s in strings])
    known = np.where(np.random.default_rng(0).random(len(strings)) < 0.5, length, np.nan)
    settings = QUICK | {"epochs": 20, "batch_size": 32, "lr": 8e-3}
    run = ch.fit("grae", strings, grammar="expressions", target=known, densities=(), **settings)
    predicted = properties(run, CORPUS).numpy()
    truth = np.array([len(s) for s in CORPUS])
    assert np.sqrt(np.mean((predicted - truth) ** 2)) < 0.4 * truth.std()
    assert repr(run.objective).endswith("+ 1 ½ ((y - h(z)) / s)²")
    tuned = retrained(run, ["x+1", "x*x"], torch.ones(2))
    assert properties(tuned, ["x+1"]).isfinite().all()
    loaded = ch.load(run.save(tmp_path / "run").folder)
    assert torch.equal(properties(loaded, CORPUS[:5]), properties(run, CORPUS[:5]))
    with pytest.raises(ValueError, match="has learnt no property"):
        properties(ch.fit("grae", CORPUS, grammar="expressions", densities=(), **QUICK), ["x+1"])
    blurred = Penalised(copy.deepcopy(run.model), Reconstruction(), corrupt=GaussianNoise(0.1))
    with pytest.raises(ValueError, match="predicted from the codes of clean data"):
        Predicting(blurred, 5)


@pytest.mark.slow
def test_a_property_comes_from_a_column_or_by_name(tmp_path, float32):
    path = tmp_path / "t.csv"
    path.write_text("smiles,activity\n" + "".join(f"{'C' * (i % 7 + 1)}O,{i % 7}\n" for i in range(240)))
    data = from_strings(path, "zinc-smiles", target="activity")
    assert [len(s) - 2 for s in data.strings()] == data.train_target.tolist()
    settings = QUICK | {"densities": ("normal",), "out": tmp_path / "run"}
    run = ch.fit("grae", path, grammar="zinc-smiles", target="activity", property=0.5, **settings)
    results = ch.evaluate(ch.load(run.folder), n=20)
    assert set(results["property"]) == {"rmse", "trivial_rmse"}
    pytest.importorskip("rdkit")
    named = read(path, kinds=[Strings], reading=Reading(grammar="zinc-smiles", target="weight"))
    ethanol = named.strings().index("CCO")
    assert named.train_target[ethanol] == pytest.approx(46.07, abs=0.01)
    path.write_text("smiles,activity\nCCO,1\nCC,high\n")
    for target, message in (
        ("activity", "column 'activity' of .* is not numeric"),
        ("other", "target is 'other'; expected a column of"),
        ([1.0], "each of 2 strings"),
    ):
        with pytest.raises(ValueError, match=message):
            from_strings(path, "zinc-smiles", target=target)
    with pytest.raises(ValueError, match="predicts a target, but there is no target"):
        ch.fit("grae", CORPUS, grammar="expressions", property=1.0, **QUICK)
    with pytest.raises(ValueError, match="too few or all equal"):
        ch.fit("grae", CORPUS, grammar="expressions", target=[1.0] * len(CORPUS), **QUICK)
