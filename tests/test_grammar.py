"""Grammars: golden derivations, brute force, NLTK, round trips, notations, errors, decoding, codecs and the command."""

from __future__ import annotations

import gzip
import importlib
import json
import sys

import numpy as np
import pytest
import torch

from chartae import cli, grammar
from chartae.data import read_strings
from chartae.grammar import NAMES, Characters, Derivations, Grammar, StackDecoder, Tokens, audit, earley, load, rowwise
from chartae.grammar.productions import read_ebnf

GOLDEN = {
    "expressions": {
        "sin(3)+x": "0 3 5 3 10 7",
        "x+1/exp(1)": "2 0 3 7 8 6 3 8",
        "1/3+x+sin(x*x)": "0 0 2 3 8 10 7 5 1 3 7 7",
        "x+1+2*sin(3+1+2)": "1 0 0 3 7 8 9 5 0 0 3 10 8 9",
    },
    "zinc-smiles": {
        "CCO": "0 73 73 72 62 2 5 62 2 5 62 2 7",
        "C[NH+]1CCC1": "0 73 73 73 73 72 62 2 5 63 1 18 20 32 6 24 26 47 30 52 67 60 37 62 2 5 62 2 5 63 2 5 67 60 37",
        "F/C=C\\Cl": "0 74 74 74 72 62 2 10 58 62 2 5 56 62 2 5 59 62 2 12",
        "C[C@@H](N)C(=O)O": "0 73 73 73 72 62 2 5 64 1 18 20 32 5 23 46 28 47 69 70 72 62 2 6 64 2 5 69 71 56 72 62 2 7"
        " 62 2 7",
    },
}
FIRST = "CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1"


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_derivations(name):
    g = load(name)
    ids = g.encode(list(GOLDEN[name]))
    assert [" ".join(map(str, row)) for row in ids] == list(GOLDEN[name].values())
    assert g.decode(ids) == list(GOLDEN[name])
    assert not ids.ambiguous.any()
    assert ids.flat.dtype == np.uint8


def test_the_papers_grammars():
    g = load("zinc-smiles")
    assert (len(g.productions), len(g.nonterminals), g.start, g.padding) == (76, 23, "smiles", 75)
    assert max(sum(s in g.nonterminals for s in p.rhs) for p in g.productions) == 3
    assert g.masks.shape == (23, 76)
    # productions 29 and 31 need a nonterminal that has no production
    assert np.flatnonzero(~g.masks.any(0)).tolist() == [29, 31]
    assert (g.masks.sum(0) <= 1).all()
    e = load("expressions")
    assert (len(e.productions), len(e.nonterminals), e.masks.sum(1).tolist()) == (12, 3, [4, 7, 1])
    row = g.encode([FIRST])[0]
    assert len(row) == 124
    assert row[:16].tolist() == [0, *[73] * 10, 72, 62, 2, 5, 64]
    assert "76 productions" in repr(g)
    assert load("zinc-smiles") is g


# -- ambiguity, compared with all derivations ----------------------------------------------------------------

SMALL = {
    "sums": ("E -> E '+' E | E '*' E | 'x'", ["x", "x+x", "x+x*x", "x*x+x+x"]),
    "empty": ("S -> A B A\nA -> 'a' |\nB -> 'b' B |", ["", "a", "b", "aa", "aba", "abbba"]),
    "palindromes": ("S -> 'a' S 'a' | 'b' S 'b' | 'a' | 'b' |", ["", "abba", "ababa", "aabaa"]),
    "tokens": ("S -> S T | T\nT -> 'a' | 'ab' | 'b'", ["ab", "aab", "abab"]),
    "right": ("S -> 'a' S | B\nB -> 'b' B | 'b'", ["b", "aab", "abbb"]),
    "nested": ("S -> '(' S ')' S |", ["", "()", "(())()", "()()(())"]),
    "hidden": ("S -> N S 'x' | 'y'\nN -> 'n' |", ["y", "yx", "nyx", "nyxx", "nnyxx"]),
}


def every(g: Grammar, text: str) -> list[list[int]]:
    """All leftmost derivations of a text, by brute force."""
    derivations = []
    terminal = len(g.nonterminals)
    todo = [((g.nonterminals.index(g.start),), 0, [])]
    while todo:
        symbols, at, path = todo.pop()
        while symbols and symbols[0] >= terminal and text.startswith(g.terminals[symbols[0] - terminal], at):
            at += len(g.terminals[symbols[0] - terminal])
            symbols = symbols[1:]
        if not symbols:
            derivations += [path] if at == len(text) else []
        elif (
            symbols[0] < terminal
            and sum(s >= terminal for s in symbols) <= len(text) - at
            and len(path) < 3 * len(text) + 6
        ):
            for p in np.flatnonzero(g.masks[symbols[0]]):
                todo.append(((*g.rules[p][1], *symbols[1:]), at, [*path, int(p)]))
    return derivations


@pytest.mark.parametrize("name", SMALL)
def test_a_string_is_ambiguous_if_it_has_several_derivations(name):
    text, strings = SMALL[name]
    g = Grammar(text)
    for s in strings:
        derivations = every(g, s)
        ids = g.encode([s])
        assert ids[0].tolist() in derivations
        assert bool(ids.ambiguous[0]) == (len(derivations) > 1), (s, derivations)
        if len(derivations) > 1:
            with pytest.raises(ValueError, match="several derivations"):
                g.encode([s], ambiguous="refuse")
            assert len(g.encode([s], ambiguous="refuse", errors="skip").failures) == 1


def test_which_of_several_derivations_is_taken():
    g = Grammar("E -> E '+' E | 'x'")
    assert g.encode(["x+x+x"])[0].tolist() == [0, 0, 1, 1, 1]  # (x+x)+x
    g = Grammar("S -> A | B\nA -> 'x'\nB -> 'x'")
    assert g.encode(["x"])[0].tolist() == [0, 2]


def test_equal_to_nltk(data_root):
    nltk = pytest.importorskip("nltk")
    g = load("zinc-smiles")
    strings = read_strings(data_root / "zinc250k" / "250k_rndm_zinc_drugs_clean.smi.gz", limit=8)
    usable = [str(p) for p, used in zip(g.productions, g.masks.any(0), strict=True) if used][:-1]
    parser = nltk.ChartParser(nltk.CFG.fromstring([p.replace("'\\\\'", '"\\"') for p in usable]))
    numbers = {p: i for i, p in enumerate(map(str, g.productions))}
    long_terminals = [t for t in g.terminals if len(t) > 1]
    for s in strings:
        tokens, at = [], 0
        while at < len(s):
            tokens.append(next((t for t in long_terminals if s.startswith(t, at)), s[at]))
            at += len(tokens[-1])
        trees = list(parser.parse(tokens))
        assert len(trees) == 1
        by_nltk = [numbers[str(p).replace('"\\"', "'\\\\'")] for p in trees[0].productions()]
        assert g.encode([s])[0].tolist() == by_nltk


# -- round trips ---------------------------------------------------------------------------------------------


def drawn_and_parsed(g: Grammar, n: int, steps: int, **settings) -> list[str]:
    logits = torch.randn(n, steps, g.size, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    out = StackDecoder(g, **settings)(logits, sample=True, generator=torch.Generator().manual_seed(1))
    assert out.complete.all()
    assert (out.lengths <= steps).all()
    ids = out.derivations()
    strings = g.decode(ids)
    assert g.decode(out.productions.numpy()) == strings  # padded rows
    # these grammars are unambiguous, so parsing returns the derivation that was drawn
    parsed = g.encode(strings)
    assert np.array_equal(parsed.flat, ids.flat)
    assert np.array_equal(parsed.offsets, ids.offsets)
    return strings


@pytest.mark.parametrize(("name", "steps"), [("expressions", 15), ("rna", 40), ("arithmetic", 40), ("smiles", 60)])
def test_parsing_recovers_random_derivations(name, steps):
    drawn_and_parsed(load(name), 300, steps)


def test_random_derivations_of_zinc_differ():
    strings = drawn_and_parsed(load("zinc-smiles"), 300, 80)
    assert len(set(strings)) > 250


@pytest.mark.slow
def test_real_data_survive_encoding_and_decoding(data_root):
    g = load("zinc-smiles")
    strings = read_strings(data_root / "zinc250k" / "250k_rndm_zinc_drugs_clean.smi.gz")
    ids = g.encode(strings, workers=2)
    assert (len(ids), ids.lengths.min(), np.median(ids.lengths), ids.lengths.max()) == (249_456, 28, 129, 277)
    assert np.flatnonzero(np.bincount(ids.flat, minlength=76) == 0).tolist() == [
        4, 19, 21, 22, 29, 31, 34, 35, 36, 50, 51, 53, 54, 75,
    ]  # fmt: skip
    assert not ids.ambiguous.any()
    assert ids.nbytes < 100e6
    assert g.decode(ids) == strings
    e = load("expressions")
    strings = read_strings(data_root / "expressions" / "equation2_15_dataset.txt")
    ids = e.encode(strings)
    assert np.bincount(ids.lengths)[[8, 10, 12, 14]].tolist() == [624, 3748, 28092, 67536]
    assert np.bincount(ids.flat).tolist() == [
        270960, 70960, 48080, 272540, 57620, 57460, 57460, 128940, 126380, 118540, 116140,
    ]  # fmt: skip
    assert e.decode(ids) == [s.replace(" ", "") for s in strings]


@pytest.mark.parametrize("form", ["{0}", "{0}{1}{2}", "{1}{0}{2}"])
def test_long_strings(form):
    n = 5000
    s = form.format("C" * n, "C" + "(C" * n, ")" * n)
    g = load("zinc-smiles")
    assert g.decode(g.encode([s])) == [s]
    nested = Grammar("S -> '(' S ')' S |")
    s = form.format("()" * n, "(" * n, ")" * n)
    assert nested.decode(nested.encode([s])) == [s]


def test_parsing_without_numba_is_the_same(monkeypatch):
    from chartae.grammar import parsing

    strings = [*GOLDEN["zinc-smiles"], FIRST, "C(", "X"]
    g = load("zinc-smiles")
    compiled = g.encode(strings, errors="skip")
    small = {name: (Grammar(text), s) for name, (text, s) in SMALL.items()}
    expected = {name: language.encode(s) for name, (language, s) in small.items()}
    with monkeypatch.context() as m:
        m.setitem(sys.modules, "numba", None)
        importlib.reload(earley)
        try:
            assert not earley.COMPILED
            interpreted = g.encode(strings, errors="skip")
            assert g.decode(interpreted) == strings[:-2]
            for name, (language, s) in small.items():
                ids = language.encode(s)
                assert np.array_equal(ids.flat, expected[name].flat)
                assert np.array_equal(ids.ambiguous, expected[name].ambiguous)
        finally:
            m.undo()
            importlib.reload(earley)
    assert parsing.earley is earley
    assert np.array_equal(interpreted.flat, compiled.flat)
    assert interpreted.failures == compiled.failures


# -- notations -----------------------------------------------------------------------------------------------


def test_ebnf_and_production_lists_describe_the_same_language():
    a = Grammar("list = item {',' item} ; item = ('a'..'c')+ ['!'] ;")
    b = Grammar("list -> item | list ',' item\nitem -> word | word '!'\nword -> c | word c\nc -> 'a' | 'b' | 'c'")
    for s in ("a", "ab!,c,aaa", "b!"):
        assert a.decode(a.encode([s])) == b.decode(b.encode([s])) == [s]
    for s in ("", ",", "a,", "d"):
        for g in (a, b):
            assert len(g.encode([s], errors="skip")) == 0
    assert Grammar(a.text, start="list") == a  # `text` is a production list
    assert [str(p) for p in read_ebnf("s ::= 'x' s | 'x'")] == ["s -> 'x' s", "s -> 'x'"]


def test_lark(tmp_path):
    pytest.importorskip("lark")
    path = tmp_path / "my.lark"
    path.write_text(
        'start: pair ("," pair)*\npair: NAME "=" NUMBER\n'
        'NAME: /[a-c]+/\nNUMBER: /[0-9]{1,3}(\\.[0-9]+)?/\n%ignore " "\n'
    )
    g = load(path)
    assert g.decode(g.encode(["a = 12, bc=3.25"])) == ["a=12,bc=3.25"]
    assert g.start == "start"
    assert g.ignore == " "
    for bad in ("a=1234", "d=1", "a=1,", "a=1."):
        with pytest.raises(ValueError, match="expected"):
            g.encode([bad])
    with pytest.raises(ValueError, match="not_literal"):
        Grammar.from_lark("start: /[^a]/")
    with pytest.raises(ValueError, match="lark cannot read"):
        Grammar.from_lark("start: (")


BAD = {
    "undefined": ("S -> A 'x' | 'y'", "'A' has no production"),
    "empty language": ("S -> S 'x'", "language is empty"),
    "endless": ("S -> 'x' | A\nA -> A 'y'", "no derivation from 'A' ends"),
    "unreached": ("S -> 'x'\nA -> 'y'", "'A' is not reached"),
    "circle": ("S -> A | 'x'\nA -> S", "S => A => S derives itself"),
    "circle through nothing": ("S -> S A | 'x'\nA -> 'y' |", "S => S derives itself"),
    "twice": ("S -> 'x' | 'x'", "production twice"),
    "sign": ("S -> 'x' | $", "neither a name nor"),
    "no left side": ("-> 'x'", "expected: nonterminal ->"),
    "nothing": (" ", "expected a text"),
    "open bracket": ("a = 'x' | ( 'y' ", "never closed"),
    "stray bracket": ("a = 'x' )", r"has '\)'; expected a symbol"),
    "no rule": ("'x' = 'y'", r"has \"'x'\"; expected a rule"),
    "empty terminal": ("S -> ''", "has an empty terminal"),
    "ebnf sign": ("a = 'x' ~ 'y'", "is not understood"),
    "range": ("a = '9'..'0'", "single characters in ascending order"),
    "padding": ("S -> Nothing 'x'\nNothing -> 'y'", "name of the padding"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_grammars(name):
    text, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        Grammar(text)


def test_useless_productions_can_be_masked():
    g = Grammar("S -> 'x' S | A | 'y'\nA -> A 'z'\nB -> 'b'", useless="mask")
    assert g.masks.any(0).tolist() == [True, False, True, False, False, True]
    assert g.encode(["xxy"])[0].tolist() == [0, 0, 2]
    with pytest.raises(ValueError, match="no string can be derived"):
        g.decode([[1]])
    with pytest.raises(ValueError, match="start symbol 'T'"):
        Grammar("S -> 'x'", start="T")
    with pytest.raises(ValueError, match="ignore has"):
        Grammar("S -> 'x y'", ignore=" ")
    with pytest.raises(ValueError, match="Did you mean 'zinc-smiles'"):
        load("zinc_smile")


OUTSIDE = [
    ("CCX", 2, "X", "the end"),
    ("CC(", 3, "", "C"),
    ("C[", 2, "", "n"),
    ("", 0, "", "["),
    ("Cl]", 2, "]", "the end"),
    ("C=", 2, "", "C"),
    ("Cé", 1, "é", "("),
]


@pytest.mark.parametrize(("string", "place", "unexpected", "expected"), OUTSIDE)
def test_strings_outside_the_grammar(string, place, unexpected, expected):
    g = load("zinc-smiles")
    with pytest.raises(ValueError, match=f"string 1 .*at character {place}, expected"):
        g.encode(["CC", string])
    ids = g.encode(["CC", string, "O"], errors="skip")
    assert ids.kept.tolist() == [0, 2]
    (failure,) = ids.failures
    assert (failure.index, failure.place, failure.unexpected) == (1, place, unexpected)
    assert expected in failure.expected


def test_places_count_ignored_characters():
    with pytest.raises(ValueError, match=r"found '\+' at character 6, expected"):
        load("expressions").encode(["x + ( + 1 )"])


def test_wrong_derivations():
    g = load("expressions")
    for rows, message in (
        ([[0, 3]], "ends although"),
        ([[0, 5]], "at step 1, where another nonterminal"),
        ([[3, 7, 7]], "at step 2"),
        ([[12]], "has production 12 at step 0; expected 0 to 11"),
        ([[3, 7, 11, 7]], "at step 3"),
    ):
        with pytest.raises(ValueError, match=message):
            g.decode(rows)
    assert g.decode([[0, 3], [3, 7]], incomplete="empty") == ["", "x"]
    assert g.decode([]) == []
    assert len(g.encode([])) == 0
    with pytest.raises(TypeError, match="list of strings"):
        g.encode("x")
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        g.encode(["x"], errors="ignore")


def test_derivations_are_ragged(tmp_path):
    ids = load("expressions").encode(["x", "x+1", "sin(x)"])
    assert [len(r) for r in ids] == ids.lengths.tolist() == [2, 4, 4]
    assert ids[[2, 0]].lengths.tolist() == [4, 2]
    assert ids[::2].kept.tolist() == [0, 2]
    assert ids.padded(11).tolist() == [[3, 7, 11, 11], [0, 3, 7, 8], [3, 5, 3, 7]]
    with pytest.raises(ValueError, match="length is 3; expected at least 4"):
        ids.padded(11, 3)
    with pytest.raises(ValueError, match="fill is -1; expected 0 to 255"):
        ids.padded(-1)
    ids.save(tmp_path / "ids.npz")
    assert np.array_equal(Derivations.load(tmp_path / "ids.npz").flat, ids.flat)
    np.savez(tmp_path / "other.npz", flat=ids.flat)
    with pytest.raises(ValueError, match="lacks kept, offsets"):
        Derivations.load(tmp_path / "other.npz")
    wide = Grammar("\n".join(f"S -> 'a{i};' S" for i in range(300)) + "\nS -> '.'")
    many = wide.encode(["a299;a0;."])
    assert many.flat.dtype == np.uint16
    assert wide.decode(many) == ["a299;a0;."]


# -- decoding ------------------------------------------------------------------------------------------------


def test_decoding_follows_the_reference_algorithm():
    g = load("expressions")
    logits = torch.randn(50, 15, g.size)
    out = StackDecoder(g, close=False)(logits)
    for row, decoded, complete in zip(logits, out.productions.tolist(), out.complete.tolist(), strict=True):
        stack, taken = [g.start], []
        for step in row:
            top = stack.pop() if stack else "Nothing"
            mask = torch.from_numpy(g.masks[g.nonterminals.index(top)])
            p = int(torch.where(mask, step, -torch.inf).argmax())
            taken.append(p)
            stack += [s for s in g.productions[p].rhs if s in g.nonterminals][::-1]
        assert taken == decoded
        assert complete == (not stack)


def test_draws_have_the_masked_probabilities():
    g = Grammar("S -> 'a' | 'b' | T\nT -> 'c'")
    logits = torch.tensor([0.5, -0.3, -torch.inf, 9.0, 9.0]).expand(40_000, 2, 5)
    out = StackDecoder(g)(logits, sample=True, generator=torch.Generator().manual_seed(0))
    share = (out.productions[:, 0] == 0).double().mean()
    probability = torch.tensor([0.5, -0.3]).softmax(0)[0]
    assert abs(share - probability) < 4 * (probability * (1 - probability) / 40_000) ** 0.5
    hot = StackDecoder(g)(logits, sample=True, temperature=100.0, generator=torch.Generator().manual_seed(0))
    assert abs((hot.productions[:, 0] == 0).double().mean() - 0.5) < 0.02


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_decoding_row_by_row_equals_batched_decoding(name, close, monkeypatch):
    g = load(name)
    decoder = StackDecoder(g, close=close)
    logits = 3 * torch.randn(300, 60, g.size, dtype=torch.float32, generator=torch.Generator().manual_seed(2))
    logits[:40] = logits[:40].round()  # many equal logits
    logits[40:43], logits[43:46], logits[46:49] = torch.nan, torch.inf, -torch.inf
    logits[50:60, :, ::2] = -torch.inf
    settings = ({}, {"sample": True}, {"sample": True, "temperature": 0.2}, {"sample": True, "temperature": 30.0})
    for x in (logits, logits.double(), logits[:9, ::2]):
        for drawing in settings:
            outs = []
            for compiled in (True, False):
                monkeypatch.setattr(earley, "COMPILED", compiled)
                outs.append(decoder(x, generator=torch.Generator().manual_seed(1), **drawing))
            for field in ("productions", "lengths", "complete", "relaxed"):
                a, b = (getattr(out, field) for out in outs)
                assert a.dtype == b.dtype
                assert torch.equal(a, b)
    # the same loop, interpreted
    monkeypatch.setattr(rowwise, "decode_rows", getattr(rowwise.decode_rows, "py_func", rowwise.decode_rows))
    monkeypatch.setattr(earley, "COMPILED", True)
    interpreted = decoder(x, generator=torch.Generator().manual_seed(1), **drawing)
    assert torch.equal(interpreted.productions, outs[0].productions)


def test_draws_of_a_row_do_not_depend_on_other_rows():
    g = load("arithmetic")
    logits = torch.randn(20, 40, g.size)
    draw = {"sample": True, "temperature": 0.7}
    a = StackDecoder(g)(logits, generator=torch.Generator().manual_seed(5), **draw)
    logits[:10] = torch.randn(10, 40, g.size)
    b = StackDecoder(g)(logits, generator=torch.Generator().manual_seed(5), **draw)
    assert torch.equal(a.productions[10:], b.productions[10:])
    half = StackDecoder(g)(logits.bfloat16(), generator=torch.Generator().manual_seed(5), **draw)
    same = StackDecoder(g)(logits.bfloat16().float(), generator=torch.Generator().manual_seed(5), **draw)
    assert torch.equal(half.productions, same.productions)


def test_autoregressive_decoding_ends_in_time():
    g = load("rna")
    weights = torch.randn(g.size, g.size, generator=torch.Generator().manual_seed(0))
    inputs, tops = [], []

    def step(previous, top, count):
        inputs.append(previous.clone())
        tops.append(top.clone())
        return weights[previous], count + 1

    out = StackDecoder(g).run(step, 0, 64, limit=70, sample=True, generator=torch.Generator().manual_seed(0))
    assert out.complete.all()
    assert inputs[0].eq(g.padding).all()
    # every step gets the productions of the previous step
    for t in range(1, len(inputs)):
        assert torch.equal(inputs[t], out.productions[:, t - 1].long())
    # and the nonterminal on top of the stack is the left side of the production that it takes
    for t, top in enumerate(tops):
        assert torch.equal(top, torch.from_numpy(g.lhs)[out.productions[:, t].long()])
    assert all(len(s) for s in g.decode(out.derivations()))


def test_errors_of_decoding():
    g = load("zinc-smiles")
    with pytest.raises(ValueError, match=r"expected \(B, T, 76\)"):
        StackDecoder(g)(torch.zeros(2, 5, 75))
    with pytest.raises(ValueError, match="shortest derivation"):
        StackDecoder(g)(torch.zeros(2, 3, 76))
    with pytest.raises(ValueError, match="temperature"):
        StackDecoder(g)(torch.zeros(2, 30, 76), sample=True, temperature=0)
    nan = torch.full((4, 40, 76), torch.nan)
    assert StackDecoder(g)(nan).complete.all()
    assert StackDecoder(g)(nan, sample=True).complete.all()


# -- codecs, audit, files ------------------------------------------------------------------------------------


def test_baselines():
    c = Characters("CNO()=1 ")
    ids = c.encode(["C=O", "CC(N)=O"])
    assert c.masks is None
    assert c.decode(ids.padded(c.padding)) == ["C=O", "CC(N)=O"]
    with pytest.raises(ValueError, match="found 'X' at character 1"):
        c.encode(["CX"])
    assert c.encode(["CX", "C"], errors="skip").kept.tolist() == [1]
    t = Tokens.of(["CCl", "C[NH+](Br)C%12"], grammar.SMILES_TOKENS)
    assert t.encode(["C[NH+]Cl"]).lengths.tolist() == [3]
    assert set(t.tokens) == {"C", "Cl", "[NH+]", "(", "Br", ")", "%12"}
    longest = Tokens(["a", "ab", "b"])
    assert longest.encode(["abb"])[0].tolist() == [1, 2]
    with pytest.raises(ValueError, match="sequence 0 has the number 4"):
        longest.decode([[4]])


def test_an_audit_gives_reasons():
    result = audit(["CCO", "CCX", "CX", "C(", "CCO"], load("zinc-smiles"))
    assert (result.strings, result.different, result.parsed, result.survived) == (5, 4, 2, 2)
    assert [(r.why, r.count, r.index) for r in result.reasons] == [("found 'X'", 2, 1), ("ends too early", 1, 3)]
    with pytest.raises(ValueError, match="strings is empty"):
        audit([], load("rna"))


def test_the_command(tmp_path, capsys):
    path = tmp_path / "x.smi.gz"
    with gzip.open(path, "wt") as f:
        f.write("CCO ethanol\nC[X]\n\nCC\n")
    assert cli.main(["grammar", "audit", str(path), "--grammar", "zinc-smiles"]) == 0
    assert "66.667 %" in capsys.readouterr().out
    assert cli.main(["grammar", "audit", str(path), "--grammar", "zinc-smiles", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reasons"][0] == {
        "why": "found 'X'", "count": 1, "index": 1, "string": "C[X]", "place": 2,
    }  # fmt: skip
    assert cli.main(["grammar", "audit", str(path), "--grammar", "nonsense"]) == 2
    assert cli.main(["grammar", "eat", str(path), "--grammar", "rna"]) == 2


def test_reading_strings(tmp_path):
    def file(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    assert read_strings(file("a.txt", "x + 1 \n\n 2\n")) == ["x + 1", "2"]
    assert read_strings(file("a.smi", "CC name\nO\n"), limit=1) == ["CC"]
    assert read_strings(file("a.csv", "logP,SMILES\n1,CC\n2,O\n")) == ["CC", "O"]
    assert read_strings(file("b.csv", "CC\nO\n")) == ["CC", "O"]
    assert read_strings(file("c.tsv", "name\tformula\nx\tH2O\n"), column="formula") == ["H2O"]
    assert read_strings(file("h.txt.gz", "CC\n")) == ["CC"]  # the contents decide
    (tmp_path / "j.txt.gz").write_bytes(gzip.compress(b"CC\n" * 99)[:-9])
    with pytest.raises(ValueError, match="cannot be read"):
        read_strings(tmp_path / "j.txt.gz")
    for name, text, settings, message in (
        ("a.pdf", "x", {}, "has an unknown suffix"),
        ("d.csv", "a,smiles\nb\n", {}, "line 2, has 1 cells"),
        ("e.csv", "a,b\nb,c\n", {"column": "smiles"}, "column is 'smiles'; expected a column of"),
        ("f.txt", "\n", {}, "holds no strings"),
        ("g.txt", "x", {"column": "a"}, "no columns"),
        ("i.txt", "x", {"limit": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            read_strings(file(name, text), **settings)
    with pytest.raises(FileNotFoundError):
        read_strings(tmp_path / "absent.txt")


def test_importing_the_package_imports_no_optional_package():
    import subprocess

    code = (
        "import sys, chartae.grammar.builtin as b; b.load('rna');"
        "assert not {'numba', 'lark', 'rdkit', 'selfies'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
