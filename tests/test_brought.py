"""What users bring: small awkward tables and strings, and what must happen: the right value, a note, a warning or an
error that names the column, the line and the remedy. Every reported fault adds a row."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import chartae as ch
from chartae.data import Batches, Dataset, Reading, Strings, from_strings, inspect, load, origin, read, read_strings
from chartae.data.arrays import splits
from chartae.data.notes import Guess

pytestmark = pytest.mark.usefixtures("float32")
RNG = np.random.default_rng(0)


def write(path: Path, content: str | bytes) -> Path:
    """Write a file; text as UTF-8, gzipped if its name says so."""
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def lines(*rows: object, sep: str = ",") -> str:
    return "".join(sep.join(map(str, row)) + "\n" for row in rows)


def table(header: object, rows: object, **settings: str) -> str:
    return lines(header, *rows, **settings)


@contextlib.contextmanager
def guesses(note: str):
    """Expects a guess that says `note` if that begins with "!", and none otherwise."""
    if not note.startswith("!"):
        yield
        return
    with pytest.warns(Guess) as caught:
        yield
    assert any(re.search(note[1:], str(warning.message)) for warning in caught), [str(w.message) for w in caught]


def said(data: Dataset, note: str) -> bool:
    return any(note in sentence for sentence in data.notes)


def ordered(rows: object) -> np.ndarray:
    return np.array(sorted(map(tuple, np.asarray(rows, np.float32).tolist())))


def whole(data: Dataset) -> np.ndarray:
    """The rows of all splits, sorted."""
    return ordered(torch.cat([data.train, data.valid, data.test]))


def whole_in_order(data: Dataset) -> torch.Tensor:
    """The rows of all splits, in the order of the file."""
    rows = torch.cat([data.train, data.valid, data.test])
    order = torch.cat(list(splits(len(rows), 0.1, 0.1, 0).values()))
    return rows[order.argsort()]


# -- tables -----------------------------------------------------------------------------------------------------------

SMALL = np.round(RNG.random((9, 4)), 4) + 0.0001
WIDE = np.round(RNG.random((9, 10)), 4)
COUNTS = RNG.integers(0, 9, (9, 10))
NARROW, TWO = SMALL[:, :2], [[1, 2], [3, 5]]
AROUND_2000 = [[1900, 2100, 2000], [2100, 1900, 2101], [1900, 2000, 2101], [2100, 2000, 1902]]
EXCELS = [[0.5, 1.25], [1.5, 2.75], [2.5, 7]]
INDEXED = [(i, *row) for i, row in enumerate(SMALL)]
EXCEL = lines(["a", "b"], ["0,5", "1,25"], ["1,5", "2,75"], ["2,5", "7"], sep=";")

#: name of the file, content, options, names of the columns, rows, what is said ("!" first: as a guess)
READ = {
    "wavelengths": ("t.csv", table([400, 402, 404, 406], SMALL), {}, "400 402 404 406", SMALL, "header=False"),
    "wavelengths of counts": (
        "t.csv", table(range(400, 420, 2), COUNTS), {}, " ".join(map(str, range(400, 420, 2))), COUNTS,
        "400, 402",
    ),
    "years, and an index": ("t.csv", table(["", 2001, 2002, 2003, 2004], INDEXED), {}, "2001 2002 2003 2004", SMALL,
                            "index"),
    "years, and a named index": (
        "t.csv", table(["site", 2001, 2002, 2003, 2004], [(f"s{i}", *row) for i, row in enumerate(SMALL)]),
        {"drop": "site"}, "2001 2002 2003 2004", SMALL, "",
    ),
    "irregular wavelengths": ("t.csv", table([1.1, 2.7, 4, 9], SMALL), {"header": True}, "1.1 2.7 4 9", SMALL, ""),
    "irregular whole wavelengths": ("t.csv", table([40, 42, 44, 49], SMALL), {}, "40 42 44 49", SMALL, "!far from"),
    "numbers of columns": ("t.csv", table(range(10), WIDE), {}, "0 1 2 3 4 5 6 7 8 9", WIDE, "header=False"),
    "numbers of three": ("t.csv", table([0, 1, 2], COUNTS[:, :3]), {}, "0 1 2", COUNTS[:, :3], "!evenly spaced"),
    "years above counts": (
        "t.csv", table([2001, 2002, 2003], AROUND_2000), {}, "", [[2001, 2002, 2003], *AROUND_2000], "!header=True",
    ),
    "two years": ("t.csv", table([2001, 2002], NARROW), {}, "2001 2002", NARROW, "!evenly spaced"),
    "counts": ("t.csv", table([1, 2, 3, 4], [[5, 7, 1, 2], [6, 6, 6, 6]]), {}, "", None, "!evenly spaced"),
    "rows of numbers": ("t.csv", lines(*SMALL), {}, "", SMALL, ""),
    "series": ("t.csv", lines(*[[i, i + 1, i + 2, i + 3] for i in range(9)]), {}, "", None, ""),
    "a header that is a row": ("t.csv", table([400, 402, 404, 406], SMALL), {"header": False}, "", None, ""),
    "gzipped": ("t.csv.gz", table("ab", NARROW), {}, "a b", NARROW, ""),
    "tabs": ("t.tsv", table("ab", NARROW, sep="\t"), {}, "a b", NARROW, ""),
    "tabs, gzipped": ("t.tsv.gz", table("ab", NARROW, sep="\t"), {}, "a b", NARROW, ""),
    "gzipped, unsaid": ("t.csv", gzip.compress(b"a,b\n1,2\n3,5\n"), {}, "a b", TWO, ""),
    "decimal commas": ("t.csv", EXCEL, {}, "a b", EXCELS, "decimal commas"),
    "decimal commas, tabs": ("t.tsv", EXCEL.replace(";", "\t"), {}, "a b", EXCELS, "in line 2"),
    "decimal commas, no header": ("t.csv", EXCEL[4:], {}, "", EXCELS, "decimal commas"),
    "quoted line breaks": (
        "t.csv", '"a\nof b",b,"note"\n1,2,"x\ny, z"\n3,5,"u"\n', {"drop": "note"}, "a\nof b b", TWO, "",
    ),
    "Windows": ("t.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n3,5\r\n\r\n", {}, "a b", TWO, ""),
    "UTF-16": ("t.csv", "a\tb\n1\t2\n3\t5\n".encode("utf-16"), {}, "a b", TWO, ""),
    "delimiters at the end": ("t.csv", "a,b,\n1,2,\n3,5,\n", {}, "a b", TWO, "at the end"),
    "delimiters at the end of rows": ("t.csv", "a,b\n1,2,\n3,5,\n", {}, "a b", TWO, "at the end"),
    "empty columns at the end": (
        "t.csv", "a,b,,\n1,2,,\n3,5,,\n,,,\n", {}, "a b", TWO, "2 empty columns at the end are ignored",
    ),
    "a delimiter that is named": ("t.csv", "sep=;\n" + EXCEL, {}, "a b", EXCELS, "decimal commas"),
    "the same name twice": (
        "t.csv", "a,b,a\n1,2,3\n3,5,4\n", {}, "", [[1, 2, 3], [3, 5, 4]], "!several columns named 'a'",
    ),
    "empty rows": ("t.csv", "a,b\n1,2\n,\n3,5\n,\n \n", {}, "a b", TWO, "3 empty rows are left out"),
    "comments": ("t.csv", "# by a tool\na,b\n1,2\n# stop\n3,5\n", {}, "a b", TWO, "2 comments"),
    "a header of NumPy": ("t.csv", "# a,b\n1,2\n3,5\n", {}, "a b", TWO, "the comment above"),
    "spaces": ("t.csv", "1.0  2.0\n3.0 5.0\n", {}, "", TWO, "separated by spaces"),
    "bars": ("t.csv", "a|b\n1|2\n3|5\n", {}, "a b", TWO, "separated by bars"),
    "names of rows of R": ("t.csv", '"a","b"\n"r1",1,2\n"r2",3,5\n', {}, "a b", TWO, "one cell more"),
    "numbers of rows of R": ("t.csv", '"a","b"\n1,1,2\n2,3,5\n', {}, "a b", TWO, "!one cell more"),
    "an index of pandas, twice": ("t.csv", "Unnamed: 0,a\n0,1\n1,3\n", {}, "a", [[1], [3]], "as an index"),
    "a column that counts": ("t.csv", "id,a\n1,5\n2,5\n3,1\n", {}, "id a", [[1, 5], [2, 5], [3, 1]], "!drop='id'"),
    "a column that counts, shuffled": (
        "t.csv", "a,No.\n5,3\n5,1\n1,2\n", {}, "a No.", [[5, 3], [5, 1], [1, 2]], "!drop='No.'",
    ),
    "identifiers": (
        "t.csv", "customerId,a\n17,5\n15,5\n40,1\n", {}, "customerId a", [[17, 5], [15, 5], [40, 1]], "!identifies",
    ),
    "no identifiers": ("t.csv", "id,index\n1,5\n2,5\n1,9\n", {}, "id index", [[1, 5], [2, 5], [1, 9]], ""),
    "truth": ("t.csv", "a,b\nTrue,1\nFalse,2\n", {}, "a b", [[0, 2], [1, 1]], ""),
    "x and y": ("t.csv", table("xy", NARROW), {}, "x y", NARROW, ""),
    "an unnamed target": ("t.csv", table(["a", "target"], NARROW), {}, "a target", NARROW, "label='target'"),
    "no label": ("t.csv", table(["a", "label"], NARROW), {"label": ""}, "a label", NARROW, ""),
    "dropped": ("t.csv", "a,b,town\n1,2,x\n3,5,y\n", {"drop": ["Town"]}, "a b", TWO, ""),
    "dropped, with commas": ("t.csv", "a,u,b,v\n1,x,2,x\n3,y,5,y\n", {"drop": "v,u"}, "a b", TWO, ""),
    "a dropped name with a comma": ("t.csv", 'a,b,"u,v"\n1,2,x\n3,5,y\n', {"drop": "u,v"}, "a b", TWO, ""),
    "dropped by number": ("t.csv", "1,2,x\n3,5,y\n", {"drop": ["column 3"]}, "", TWO, ""),
    "a label without a header": ("t.csv", "1,2,x\n3,5,y\n", {"label": "column 3"}, "", TWO, ""),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "columns", "rows", "note"), READ.values(), ids=READ)
def test_a_table_is_read(tmp_path, name, content, options, columns, rows, note):
    path = write(tmp_path / name, content)
    with guesses(note):
        data = read(path, reading=Reading(**options))
    names = ("a\nof b", "b") if "\n" in columns else tuple(columns.split())
    assert data.columns == names
    if rows is not None:
        np.testing.assert_array_equal(whole(data), ordered(rows))
    assert not note or said(data, note.removeprefix("!"))
    assert inspect(data).notes == data.notes
    new = data.kind.file_rows(path, data.reading)  # new data are read alike, without another warning
    assert torch.equal(data.kind.read_named(new.x, new.names, "t"), data.kind.read(whole_in_order(data)))


#: content, options, message
REFUSED = {
    "thousands": ('a,b\n1,"1,234"\n2,5\n', {}, r"a thousands separator in column 'b' \('1,234' in line 2\).*drop='b'"),
    "thousands, European": ("a;b\n1;1.234,5\n2;5\n", {}, "a thousands separator in column 'b'"),
    "thousands or decimals": ("a;b\n1;1,234\n2;5,678\n", {}, "may be a decimal comma or a thousands separator"),
    "both decimals": ("a;b\n1,5;2\n2.5;5\n", {}, "a comma in column 'a' .* but a point in '2.5', line 3"),
    "quoted decimals": ('a,b\n1,"0,5"\n2,"1,25"\n', {}, r"a decimal comma in column 'b' \('0,5' in line 2\)"),
    "decimals that are cut": (
        "-0,132\n0,64\n1,5\n",
        {},
        "'-0,132' in line 1, which may be a number with a decimal comma",
    ),
    "decimals that are cut twice": ("1,5,2,7\n3,05,4,8\n", {"header": False}, "'3,05' in line 2"),
    "percent": ("a,b\n1,12%\n2,5\n", {}, "a percent sign in column 'b'"),
    "currency": ("a,b\n1,$12\n2,5 EUR\n", {}, "a currency in column 'b'"),
    "dates": ("day,b\n2024-01-02,12\n2024-01-03,5\n", {}, "a date in column 'day'"),
    "text": ("a,town\n1,x\n2,y\n", {}, r"not numeric in column 'town' \('x' in line 2\).*drop='town'.*label='town'"),
    "strings": ("smiles,a\nCCO,1\nC,2\n", {}, "For strings, use a recipe that reads them"),
    "missing": ("a,b\n1,2\n?,3\n", {}, "1 missing value, the first in line 3, column 'a'.*drop='a'"),
    "missing label column": ("a,b\n1,2\n3,4\n", {"label": "y"}, "label is 'y'; expected a column of .*: a, b"),
    "missing dropped column": ("a,b\n1,2\n3,4\n", {"drop": ["c"]}, "drop is 'c'; expected a column of"),
    "nothing left": (
        "a,b\n1,2\n3,4\n",
        {"drop": ["a", "b"]},
        "no columns but those of labels, weights and what is left",
    ),
    "missing weight": ("a,w\n1,2\n3,\n", {"weight": "w"}, "weight is '' in line 3, column 'w'"),
    "negative weight": ("a,w\n1,2\n3,-1\n", {"weight": "w"}, "weight is '-1' in line 3"),
    "no weight": ("a,w\n1,0\n3,0\n", {"weight": "w"}, "all weights in column 'w' .* are 0"),
    "two roles": ("a,w\n1,2\n3,4\n", {"weight": "w", "label": "w"}, "column 'w' is named twice"),
    "two labels": ("a,y,y\n1,2,3\n3,4,5\n", {"label": "y"}, "label is 'y', the name of 2 columns"),
    "labels of fractions, missing": ("a,y\n1,.5\n3,\n", {"label": "y"}, "the others are not classes"),
    "a spreadsheet": (b"PK\x03\x04....", {}, "spreadsheet or an archive; expected text. Export"),
    "Latin-1": ("größe,b\n1,2\n".encode("latin-1"), {}, "not UTF-8 text"),
    "a short row": ("a,b\n1,2\n3\n", {}, "line 3, has 1 cells; expected 2"),
    "a comma too many": ("a,b\n1,2,5\n3,4,5\n3,4,6\n", {}, "line 2, has 3 cells; expected 2"),
    "one column of decimal commas": ("a\n1,5\n2,5\n", {}, "line 2, has 2 cells; expected 1"),
    "nothing": ("\n\n", {}, "is empty"),
}


@pytest.mark.parametrize(("content", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_a_table_is_refused(tmp_path, content, options, message):
    path = write(tmp_path / "t.csv", content)
    with pytest.raises(ValueError, match=message):
        read(path, reading=Reading(**options))


#: cells of a column of labels -> classes, labels, note
LABELS = {
    "names": (["u", "v", "NA", "u"], ("u", "v"), [0, 1, -1, 0], "10 of 40 labels in column 'kind' are missing"),
    "question marks": (["3", "?", "4", "?"], (), [3, -1, 4, -1], "20 of 40 labels"),
    "empty": (["u", "", "v", "w"], ("u", "v", "w"), [0, -1, 1, 2], "10 of 40 labels"),
    "whole": (["1.0", "2.0", "nan", "1"], (), [1, 2, -1, 1], "10 of 40 labels"),
    "minus one": (["1", "2", "-1", "1"], (), [1, 2, -1, 1], "are -1, which marks an unknown label"),
}


@pytest.mark.parametrize("form", ["file", "frame"])
@pytest.mark.parametrize(("cells", "classes", "labels", "note"), LABELS.values(), ids=LABELS)
def test_missing_labels_are_no_class(tmp_path, form, cells, classes, labels, note):
    cells, labels = cells * 10, labels * 10
    rows = [(i, -i, cell) for i, cell in enumerate(cells)]
    source = write(tmp_path / "t.csv", lines(["a", "b", "kind"], *rows))
    if form == "frame":
        pandas = pytest.importorskip("pandas")
        source = pandas.DataFrame(rows, columns=["a", "b", "kind"])
    data = read(source, valid=0, test=0, reading=Reading(label="kind"))
    assert (data.train_labels.tolist(), data.classes, data.columns) == (labels, classes, ("a", "b"))
    assert said(data, note)
    kept = ch.fit("ae", source, condition="labels", label="kind", epochs=1, densities=(), progress=False)
    assert kept.condition.size == len(set(labels) - {-1})
    assert said(kept, f"{labels.count(-1)} examples without a label are left out")


@pytest.mark.parametrize(
    ("recipe", "condition", "label", "column"),
    [
        ("ae", None, None, ""),
        ("ae", "labels", None, "target"),
        ("aae-semisup", None, None, "target"),
        ("ae", None, "y", "y"),
        ("ae", "labels", "y", "y"),
    ],
)
def test_labels_are_taken_where_they_are_needed(tmp_path, recipe, condition, label, column):
    x = RNG.normal(size=(40, 3))
    path = write(tmp_path / "t.csv", lines(["x", "y", "target"], *[(a, int(b > 0), int(c > 0)) for a, b, c in x]))
    fit = {"condition": condition, "label": label, "epochs": 1, "progress": False, "batch_size": 20}
    run = ch.fit(recipe, path, densities=(), **fit, **({"labelled": 4} if "semi" in recipe else {}))
    assert run.kind.columns.label == column
    assert len(run.kind.columns.names) == 3 - bool(column)
    assert (label is None and bool(column)) == said(run, "Column 'target' holds the labels")
    assert run.data().train_labels is None or column  # read again from the settings
    assert len(run.encode(path)) == 40


def test_a_weight_is_no_feature(tmp_path):
    rows = [(i, -i, 1 + i % 3, "ab"[i % 2]) for i in range(30)]
    path = write(tmp_path / "t.csv", lines(["a", "b", "w", "town"], *rows))
    reading = Reading(weight="w", drop="town")
    data = read(path, reading=reading)
    for split in ("train", "valid", "test"):
        x, weight = getattr(data, split), getattr(data, f"{split}_weight")
        assert (1 + x[:, 0] % 3).tolist() == weight.tolist()
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(path)
    assert torch.equal(read(frame, reading=reading).train_weight, data.train_weight)
    # new data may have these columns or not
    expected = data.kind.read(frame[["b", "a"]])
    bare = write(tmp_path / "u.csv", lines(["b", "a"], *[(b, a) for a, b, *_ in rows]))
    for again in (path, frame, bare, frame.to_dict("records")):
        assert torch.equal(data.kind.read(again), expected)
    with pytest.raises(ValueError, match="weight is 'w'; expected None, as a ndarray has no named columns"):
        read(np.eye(3), reading=Reading(weight="w"))


# -- what fit accepts, everything accepts -----------------------------------------------------------------------------


def forms(x: np.ndarray) -> dict[str, object]:
    pandas = pytest.importorskip("pandas")
    names = [f"c{i}" for i in range(x.shape[1])]
    frame = pandas.DataFrame(x, columns=names)
    return {
        "array": x, "list": x.tolist(), "tensor": torch.from_numpy(x), "frame": frame,
        "shuffled frame": frame[names[::-1]], "dictionaries": frame.to_dict("records"),
        "dictionary": {name: frame[name].to_numpy() for name in names},
        "records": frame.to_records(index=False), "arrow": pytest.importorskip("pyarrow").Table.from_pandas(frame),
    }  # fmt: skip


@pytest.mark.parametrize("fitted", ["array", "frame", "dictionaries", "records", "dictionary"])
def test_tables_of_all_forms_are_read_alike(fitted):
    x = RNG.normal([5, -300, 7], [1, 100, 2], (200, 3)).astype(np.float32)
    brought = forms(x)
    run = ch.fit("vae", brought[fitted], epochs=1, latent_dim=2, progress=False)
    codes = run.encode(x)
    for name, form in brought.items():
        if fitted != "array" or name != "shuffled frame":  # an array has no names to sort the columns by
            assert torch.equal(run.encode(form), codes), name
            np.testing.assert_array_equal(np.asarray(run.reconstruct(form)), np.asarray(run.reconstruct(x)))
            assert set(ch.evaluate(run, data=form, n=20)) == set(ch.evaluate(run, data=x, n=20)), name
    new = run.sample(100)
    if fitted != "array":
        assert list(new.columns) == ["c0", "c1", "c2"]
        assert list(run.decode(codes).columns) == ["c0", "c1", "c2"]
    assert len(new) == 100


@pytest.mark.parametrize("fitted", ["file", "frame", "frame without"])
def test_an_index_may_be_there_or_not(tmp_path, fitted):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(RNG.normal(size=(40, 2)).astype(np.float32), columns=["a", "b"])
    path = tmp_path / "t.csv"
    frame.to_csv(path)
    brought = {"file": path, "frame": pandas.read_csv(path), "frame without": frame, "row": dict(frame.iloc[0])}
    run = ch.fit("rae", brought[fitted], epochs=1, latent_dim=2, densities=(), progress=False)
    codes = run.encode(frame)
    for name, form in brought.items():
        assert torch.allclose(run.encode(form), codes[: 1 if name == "row" else 40], atol=1e-5), name
    assert run.kind.columns.names == ("a", "b")
    with pytest.raises(ValueError, match="unknown: 'Unnamed: 0'"):
        run.encode(pandas.read_csv(path)[["a", "Unnamed: 0", "b"]])  # not the first column


def test_a_fit_is_resumed_and_compared_with_the_same_options(tmp_path):
    rows = [(i, -i, 1 + i % 3, "ab"[i % 2], *RNG.normal(size=2)) for i in range(200)]
    path = write(tmp_path / "t.csv", lines(["n", "m", "w", "town", "a", "b"], *rows))
    fit = {"drop": "town,m", "weight": "w", "latent_dim": 2, "progress": False, "components": 2}
    ch.fit("rae", path, epochs=1, out=tmp_path / "r", **fit)
    ch.fit("rae", path, epochs=2, out=tmp_path / "r", resume=True, **fit | {"drop": ["m", "Town"]})
    with pytest.raises(ValueError, match=r"reading.header is True; expected None, as in the run in .* that is resumed"):
        ch.fit("rae", path, epochs=2, out=tmp_path / "r", resume=True, header=True, **fit)
    compare = {"epochs": 1, "n": 20, "drop": "town,m", "weight": "w", "latent_dim": 2}
    said: list[str] = []
    for _ in range(2):
        ch.evaluation.compare(path, ["rae"], tmp_path / "c", say=said.append, **compare)
    assert said == ["rae, seed 0: training", "rae, seed 0: finished already"]
    with pytest.raises(ValueError, match="weight is ''; expected '.*', as in the finished run"):
        ch.evaluation.compare(path, ["rae"], tmp_path / "c", **compare | {"weight": None, "drop": "town,m,w"})


@pytest.mark.parametrize("weight", [[0.0] * 50, "w"])
def test_weights_of_0_alone_are_refused(weight):
    pandas = pytest.importorskip("pandas")
    train = splits(50, 0.1, 0.1, 0)["train"]
    frame = pandas.DataFrame({"a": np.arange(50.0), "b": RNG.normal(size=50), "w": np.ones(50)})
    frame.loc[train.numpy(), "w"] = 0.0
    with pytest.raises(ValueError, match="weight is 0 in all 40 training rows"):
        ch.fit("rae", frame, weight=weight, latent_dim=2, epochs=1, densities=(), progress=False)


def test_the_data_are_not_an_empty_name():
    with pytest.raises(ValueError, match="data is ''; expected a name or a path"):
        read("")


def test_small_whole_numbers_are_no_pictures():
    z = RNG.integers(0, 10, (60, 2))
    x = torch.from_numpy(np.stack([z[:, 0], z[:, 1], z.sum(1)], 1).astype(np.uint8))
    assert next(iter(Batches(x, 60, shuffle=False).epoch(0))).x.tolist() == x.tolist()
    kinds = [read(form, valid=0, test=0).kind for form in (x, x.long(), x.numpy(), x.tolist())]
    assert all(torch.equal(kind.read(x), kinds[0].read(x.float())) for kind in kinds)
    pictures = x.reshape(15, 1, 4, 3)
    assert next(iter(Batches(pictures, 15).epoch(0))).x.max() <= 1


# -- strings ----------------------------------------------------------------------------------------------------------

MOLECULES = ["C" * (i + 1) + "O" for i in range(20)]
NAMED = [f"ZINC{i:04d}" for i in range(20)]
COUNTED = table(["id", "x"], [(name, i) for i, name in enumerate(NAMED)])
DOUBLE = table(["a", "b"], [(molecule, molecule + "C") for molecule in MOLECULES])
PAIRS = list(zip(NAMED, MOLECULES, strict=True))
FLIPPED = [(b, a) for a, b in PAIRS]

#: name of the file, content, options, note ("!" first: as a guess); the strings are MOLECULES
FILES = {
    "a header in .smi": ("t.smi", table(["smiles", "name"], FLIPPED, sep=" "), {}, "is read as the header"),
    "names in .smi": ("t.smi", lines(*FLIPPED, sep="\t"), {}, ""),
    "names first in .smi": ("t.smi", lines(*PAIRS, sep=" "), {}, "!'column 2'"),
    "comments in .smi": ("t.smi", "# by a tool\n" + lines(*FLIPPED, sep=" "), {}, "1 comment is left out"),
    "a mark in .smi": ("t.smi", b"\xef\xbb\xbf" + "\n".join(MOLECULES).encode(), {}, ""),
    "a mark in .txt": ("t.txt", "\n".join(MOLECULES).encode("utf-16"), {}, ""),
    "a header in .txt": ("t.txt", "SMILES\n" + "\n".join(MOLECULES), {}, "is read as the header"),
    "one column": ("t.csv", "\n".join(MOLECULES) + "\n", {}, ""),
    "one column with a header": ("t.csv", "SMILES\r\n" + "\r\n".join(MOLECULES), {}, ""),
    "one column with another header": ("t.csv", "molecule\n" + "\n".join(MOLECULES), {}, "!header=False"),
    "id, smiles": ("t.csv", table(["id", "smiles"], PAIRS), {}, "'smiles' holds the strings"),
    "smiles, id": ("t.csv", table(["SMILES", "id"], FLIPPED), {}, "'SMILES' holds the strings"),
    "canonical": ("t.tsv", table(["id", "canonical_smiles"], PAIRS, sep="\t"), {}, "'canonical_smiles' holds"),
    "two columns of SMILES": ("t.csv", table(["rdkit_smiles", "canonical_smiles"], [(m[::-1], m) for m in MOLECULES]),
                              {}, "not rdkit_smiles"),
    "another name": ("t.csv", table(["id", "structure"], PAIRS), {}, "!'structure'"),
    "no header": ("t.csv", lines(*PAIRS), {}, "!'column 2'"),
    "by name": ("t.csv", table(["structure", "text"], FLIPPED), {"column": "structure"}, ""),
    "by number": ("t.csv", lines(*PAIRS), {"column": "column 2"}, ""),
    "German": ("t.csv", table(["smiles", "x"], [(m, "1,5") for m in MOLECULES], sep=";"), {}, "'smiles' holds"),
}  # fmt: skip


@pytest.mark.parametrize("grammar", ["zinc-smiles", "characters"])
@pytest.mark.parametrize(("name", "content", "options", "note"), FILES.values(), ids=FILES)
def test_strings_are_read(tmp_path, grammar, name, content, options, note):
    path = write(tmp_path / name, content)
    if (name, note, grammar) == ("t.csv", "!header=False", "characters"):
        return  # any word can be written in characters
    with guesses(note):
        data = read(path, kinds=[Strings], valid=0, test=0, reading=Reading(grammar=grammar, **options))
    assert data.strings() == MOLECULES
    assert not note or said(data, note.removeprefix("!"))
    if data.reading.column:  # new data are read from the same column
        assert len(data.kind.file_rows(path, data.reading).x) == len(MOLECULES)


@pytest.mark.parametrize(
    ("name", "content", "grammar", "options", "message"),
    [
        ("t.csv", COUNTED, "characters", {},
         r"no column holds strings that can be read .*'id' \(such as 'ZINC0000'\), 'x'.*Give column="),
        ("t.csv", COUNTED, "zinc-smiles", {}, "no column holds strings"),
        ("t.csv", DOUBLE, "characters", {"header": True}, "several columns may hold"),
        ("t.csv", DOUBLE, "zinc-smiles", {"header": True}, "several columns may hold"),
        ("t.csv", table(["smiles", "b"], FLIPPED), "zinc-smiles", {"column": "c"}, "column is 'c'; expected a column"),
        ("t.txt", "\n".join(MOLECULES), "zinc-smiles", {"column": "c"}, "t.txt has no columns"),
        ("t.txt", lines(["id", "smiles"], *PAIRS, sep="\t"), "characters", {}, "2 cells in every line.*tabs.*to .tsv"),
        ("t.csv", b"PK\x03\x04", "zinc-smiles", {}, "spreadsheet"),
        ("t.csv", "smiles\n\n", "zinc-smiles", {}, "holds no strings"),
    ],
)  # fmt: skip
def test_strings_are_refused(tmp_path, name, content, grammar, options, message):
    with pytest.raises(ValueError, match=message):
        from_strings(write(tmp_path / name, content), grammar, **options)


@pytest.mark.parametrize("strings", [NAMED, list(map(str, range(100, 120))), [f"id_{i}" for i in range(20)]])
def test_characters_are_not_learnt_from_identifiers_without_a_word(tmp_path, strings):
    for name in ("t.txt", "t.csv", "t.smi"):
        with pytest.warns(Guess, match=f"look like identifiers, such as '{strings[0]}'"):
            from_strings(write(tmp_path / name, "\n".join(strings)), "characters")


#: rows of (smiles, carbons, weight); a string of n letters C has n carbons
GAPS = {
    "a missing target": lambda rows: [(s, "" if i == 3 else c, w) for i, (s, c, w) in enumerate(rows)],
    "NA": lambda rows: [(s, "NA" if i % 7 == 3 else c, w) for i, (s, c, w) in enumerate(rows)],
    "a missing string": lambda rows: [("" if i == 3 else s, c, w) for i, (s, c, w) in enumerate(rows)],
    "both": lambda rows: [
        ("" if i in (1, 4) else s, "nan" if i in (2, 4) else c, w) for i, (s, c, w) in enumerate(rows)
    ],
    "nothing": lambda rows: rows,
}


@pytest.mark.parametrize("form", ["t.csv", "t.tsv.gz", "frame"])
@pytest.mark.parametrize("gaps", GAPS)
def test_pairs_do_not_slip(tmp_path, gaps, form):
    rows = GAPS[gaps]([(m, m.count("C"), 100 + m.count("C")) for m in MOLECULES])
    names = ["smiles", "carbons", "w"]
    sep = "\t" if "tsv" in form else ","
    source = write(tmp_path / form, table(names, rows, sep=sep)) if form != "frame" else None
    if source is None:
        pandas = pytest.importorskip("pandas")
        source = pandas.DataFrame(rows, columns=names)
    for limit in (None, 12):
        settings = {"target": "carbons", "weight": "w", "limit": limit, "valid": 0.2, "test": 0.1}
        data = from_strings(source, "zinc-smiles", **settings)
        total = 0
        for split in ("train", "valid", "test"):
            strings, target, weight = (
                data.strings(split),
                getattr(data, f"{split}_target"),
                getattr(data, f"{split}_weight"),
            )
            total += len(strings)
            for string, carbons, w in zip(strings, target.tolist(), weight.tolist(), strict=True):
                assert carbons in (string.count("C"), pytest.approx(np.nan, nan_ok=True))
                assert w == 100 + string.count("C")
        empty = sum(not row[0] for row in rows)
        assert total == min(limit or 99, 20 - empty)
        unknown = sum(str(c) in ("", "NA", "nan") for s, c, _ in [row for row in rows if row[0]][:limit])
        assert bool(unknown) == said(data, f"The target is unknown for {unknown}")
        assert bool(empty) == said(data, "without a string")


def test_a_missing_target_is_masked_in_the_loss(tmp_path):
    rows = [(m, "" if i % 2 else m.count("C")) for i, m in enumerate(MOLECULES * 3)]
    path = write(tmp_path / "t.csv", table(["smiles", "carbons"], rows))
    run = ch.fit("grae", path, grammar="zinc-smiles", target="carbons", epochs=2, latent_dim=2, net="gru:8",
                 densities=(), progress=False)  # fmt: skip
    assert all(np.isfinite(float(row["loss"])) for row in run.log if "loss" in row)
    assert said(run, "The target is unknown for 30 of 60 strings")
    pandas = pytest.importorskip("pandas")
    new = pandas.DataFrame({"id": NAMED, "smiles": MOLECULES})
    codes = run.encode(MOLECULES)
    for form in (new, new["smiles"], MOLECULES, np.array(MOLECULES), new.to_dict("records")):
        assert torch.equal(run.encode(form), codes)


@pytest.mark.parametrize("kinds", [None, [Strings]])
def test_tables_and_strings_that_are_the_other_are_refused(tmp_path, kinds):
    pandas = pytest.importorskip("pandas")
    numbers = write(tmp_path / "n.csv", lines("abc", *SMALL[:, :3]))
    strings = write(tmp_path / "s.csv", table(["id", "smiles"], PAIRS))
    frame = pandas.DataFrame(PAIRS, columns=["id", "smiles"])
    if kinds is None:
        for source in (strings, frame):
            with pytest.raises((ValueError, TypeError), match="not numeric in column 'id'.*'smiles'"):
                read(source)
        assert read(numbers).kind.name == "table"
    else:
        reading = Reading(grammar="zinc-smiles")
        assert read(frame, kinds=kinds, valid=0, test=0, reading=reading).strings() == MOLECULES
        for source in (numbers, pandas.read_csv(numbers)):
            with pytest.raises(ValueError, match="no column holds strings that can be read"):
                read(source, kinds=kinds, reading=reading)


# -- names and paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "brought"), [("./digits.npy", "digits.npy"), ("spiral.csv", "spiral.csv"), ("mnist.npz", "mnist.npz"),
                          ("./digits", "digits"), (Path("digits"), "digits")],
)  # fmt: skip
def test_a_path_is_stored_as_a_path(tmp_path, monkeypatch, name, brought):
    monkeypatch.chdir(tmp_path)
    x = RNG.normal(size=(30, 3))
    if "csv" in brought:
        np.savetxt(brought, x, delimiter=",")
    elif "npz" in brought:
        np.savez(brought, x=x)
    else:  # a bare name without a suffix is a folder, or cannot be read
        np.save("digits.npy", x)
        if brought == "digits":
            from PIL import Image

            os.mkdir("digits")
            for i in range(30):
                Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8)).save(f"digits/{i}.png")
    for source in (name, str(name)) if str(name).startswith(".") else (name,):
        data = load(source)
        assert origin(data).data == str(tmp_path / brought)
    run = ch.fit("ae", name, epochs=1, latent_dim=2, densities=("normal",), progress=False, out=tmp_path / "run")
    monkeypatch.chdir("/")
    assert torch.equal(ch.load(run.folder).data().train, data.train)
    assert load("digits").source == "scikit-learn"


def test_a_name_wins_over_a_file_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("digits")
    with pytest.warns(Guess, match=r"'digits' is the named data set; for the file .*write '.*digits'"):
        data = read("digits")
    assert origin(data).data == "digits"
    assert said(data, "is the named data set")
    assert read_strings(write(tmp_path / "digits.txt", "a\nb\n")) == ["a", "b"]
