"""What users bring, second round: frames, arrays, files, strings and folders of public issue threads, and what must
happen to each: the right value, a note, a warning or an error that names the column, the file and the remedy."""

from __future__ import annotations

import decimal
import io
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.datasets import load_iris
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

import chartae as ch
from chartae import cli
from chartae.data import Reading, as_tensor, from_strings, read
from test_brought import guesses, said

pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.usefixtures("float32")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
QUICK = {"epochs": 1, "latent_dim": 2, "densities": ("normal",), "progress": False}


def frame(**columns: object) -> pandas.DataFrame:
    return pandas.DataFrame({"a": X[:, 0], **columns})


# -- frames -----------------------------------------------------------------------------------------------------------

DAYS = pandas.date_range("2021-03-01", periods=40, freq="20D")
NUMBERS = pandas.Series(range(40))
#: dtype of a column -> values of the column
DTYPES = {
    "Int64": NUMBERS, "UInt8": NUMBERS, "Float32": NUMBERS / 7, "boolean": NUMBERS % 2, "bool": NUMBERS % 2,
    "int64[pyarrow]": NUMBERS, "uint8[pyarrow]": NUMBERS, "double[pyarrow]": NUMBERS / 7, "bool[pyarrow]": NUMBERS % 2,
    "Sparse[int64, 0]": NUMBERS, "Sparse[bool, False]": NUMBERS % 2, "float16": NUMBERS, "int8": NUMBERS,
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_frame_comes_back_with_its_dtypes(dtype):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    values = DTYPES[dtype]
    x = frame(c=values.astype("bool" if "bool" in dtype else values.dtype).astype(dtype))
    run = ch.fit("ae", x, **QUICK)
    new = run.sample(50)
    assert list(new.dtypes.astype(str)) == list(x.dtypes.astype(str))
    again = run.kind.restore(run.kind.read(x))
    np.testing.assert_allclose(again["c"].to_numpy("f8"), x["c"].to_numpy("f8"), atol=1e-2)
    if "bool" in dtype:
        assert set(run.kind.restore(run.kind.read(x))["c"]) == {True, False}


#: frame -> what is said ("!" first: as a guess), "" for nothing
SAID = {
    "whole names": (pandas.DataFrame(X), ""),
    "mixed names": (pandas.DataFrame(X, columns=[0, "a", 7]), ""),
    "days as numbers": (frame(day=DAYS.strftime("%Y%m%d").astype(int)), "!'day' .* dates as whole .*20210301.*drop='d"),
    "days as floats": (frame(day=DAYS.strftime("%Y%m%d").astype(float)), "!dates as whole numbers"),
    "no days": (frame(day=20210301 + 25 * np.arange(40)), "round to 7 digits"),
    "identifiers": (frame(id=10**18 + 10**16 * RNG.permutation(40)), "!'id' .* whole numbers up to 1,3.*drop='id'"),
    "users": (frame(user_id=2**24 + RNG.permutation(40) * 10001), "!'user_id' .* round to 7 digits"),
    "large amounts": (frame(people=2**24 + RNG.permutation(40) * 10001), "'people' of the data frame holds whole"),
    "large, but exact": (frame(people=2**24 + 1024 * NUMBERS), ""),
    "large floats": (frame(density=1e18 * (1 + X[:, 1] ** 2)), ""),
    "numbers of rows": (pandas.DataFrame(X, columns=list("abc")).reset_index(), "!'index' .* numbers the rows"),
    "a named index": (frame().set_index(pandas.Index(range(40), name="patient")), "index of the data frame (patient)"),
    "an index of text": (frame().set_index(pandas.Index([f"s{i}" for i in range(40)])), "frame.reset_index()"),
    "an index of levels": (frame().set_index(pandas.MultiIndex.from_product([range(4), range(10)])), "is left out"),
    "chosen rows": (pandas.DataFrame(X)[X[:, 0] > 0], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_of_a_frame(name):
    x, note = SAID[name]
    with guesses(note):
        data = read(x, valid=0, test=0)
    assert len(data.notes) == bool(note)
    assert note.startswith("!") or not note or said(data, note)
    np.testing.assert_allclose(data.train.numpy(), x.to_numpy("f8").astype("f4"))


#: what is brought -> message
REFUSED = {
    "0 and '0'": (pandas.DataFrame(X, columns=[0, "0", "a"]), "two columns named '0'; expected different names"),
    "names twice": (pandas.DataFrame(X, columns=["a", "a", "b"]), "two columns named 'a'"),
    "names of levels": (
        pandas.DataFrame(X, columns=pandas.MultiIndex.from_product([["u"], [1, 2, 3]])), r"columns\.map\(str\)",
    ),
    "names that are fractions": (pandas.DataFrame(X, columns=[0.5, 1.5, 2.5]), r"columns\.map\(str\)"),
    "names that are days": (pandas.DataFrame(X, columns=DAYS[:3]), r"columns\.map\(str\)"),
    "datetimes": (frame(c=DAYS), r"'c' \(datetime64.*days: frame\['c'\].*/ 86400.*drop='c'"),
    "time zones": (frame(c=DAYS.tz_localize("UTC")), "Write 'c' as days"),
    "durations": (frame(c=DAYS - DAYS[0]), r"seconds: frame\['c'\]\.dt\.total_seconds\(\)"),
    "categories": (frame(c=pandas.Categorical(list("ab") * 20)), r"pandas\.get_dummies\(frame, columns=\['c'\]\)"),
    "numbers as text": (frame(c=NUMBERS.astype(str)), r"pandas\.to_numeric\(frame\['c'\]\)"),
    "decimals": (frame(c=[decimal.Decimal(i) for i in range(40)]), r"'c' \(object\).*to_numeric"),
    "complex": (frame(c=X[:, 1] * 1j), "real and imaginary parts"),
    "missing whole numbers": (frame(c=pandas.array([1, None] * 20, "Int64")), "20 missing.*row 1, column 'c'.*drop="),
    "a column of NaN": (frame(c=np.nan), "40 missing values"),
    "infinity": (frame(c=[np.inf, *X[1:, 1]]), "row 0, column 'c'"),
    "beyond float32": (frame(c=[1e39, *X[1:, 1]]), "beyond the range of float32.*column 'c'"),
    "no rows": (frame()[:0], "is empty"),
    "no columns": (pandas.DataFrame(), "the data frame has no columns; expected"),
    "one row": (frame()[:1], "x has 1 example"),
    "lists that differ in length": ({"a": [1, 2], "b": [1]}, "x is a dict that is no table.*same length"),
    "numbers by name": ({"a": 1, "b": 2}, "x has 1 example"),
    "fields that are arrays": (np.zeros(4, [("a", "f4"), ("b", "f4", (2,))]), "is no table"),
    "None": (None, "x is a NoneType; expected an array of numbers."),
    "a generator": ((i for i in range(3)), "x is a generator.*list"),
    "volumes": (np.zeros((4, 1, 5, 5, 5)), r"x\.reshape\(len\(x\), -1\)"),
    "series": (5 * RNG.normal(size=(4, 50, 6)), r"x\.reshape\(len\(x\), -1\), if these"),
    "text": (np.array([["1", "2"], ["3", "4"]]), r"x holds text \(dtype <U1\).*astype\(float\)"),
    "objects": (np.array([[1, 2.5], [3, 4]], object), r"dtype object.*astype\(float\)"),
    "masked values": (np.ma.array(X, mask=X > 1), "masked"),
    "infinity in an array": (np.where(X > 2, np.inf, X), "row .*, column "),
}  # fmt: skip


@pytest.mark.parametrize(("x", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_table_is_refused(x, message):
    with pytest.raises((ValueError, TypeError), match=message):
        read(x)


# -- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy])
def test_whole_numbers_beyond_int64_keep_their_sign(form):
    x = np.array([[2**63, 1], [2**64 - 1, 2]], np.uint64)
    assert as_tensor(form(x)).tolist() == [[2.0**63, 1], [2.0**64, 2]]
    assert (read(form(x), valid=0, test=0).train > 0).all()
    assert as_tensor(form(x // 4)).dtype == torch.int64


SERIES = RNG.random((8, 50, 6))


@pytest.mark.parametrize(
    ("x", "shape", "guessed"),
    [
        (SERIES, (1, 50, 6), True),
        (SERIES.transpose(0, 2, 1), (1, 6, 50), True),
        (SERIES[:, :, :1], (1, 50, 1), True),
        (SERIES[:, None], (1, 50, 6), False),
        (SERIES[:, :12], (1, 12, 6), False),
        ((255 * SERIES).astype(np.uint8), (1, 50, 6), False),
        (SERIES.reshape(8, -1), (300,), False),
    ],
)
def test_series_are_not_read_as_images_without_a_word(x, shape, guessed):
    note = r"read as 8 grey images of .*x\.reshape\(len\(x\), -1\); for images, x\[:, None\]"
    with guesses(f"!{note}" * guessed):
        data = read(x, valid=0, test=0)
    assert data.shape == shape
    assert len(data.notes) == guessed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_every_precision(dtype):
    x = torch.from_numpy(X).to(dtype).requires_grad_()
    data = read(x, valid=0, test=0)
    assert torch.equal(data.train, x.detach().float())
    assert not data.train.requires_grad
    assert torch.equal(data.kind.read(x), data.kind.inside(data.train))


def test_a_file_that_is_mapped_into_memory(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert torch.equal(read(mapped, valid=0, test=0).train, torch.from_numpy(X).float())


def test_a_doubt_is_a_note_in_arrays_too():
    x = np.stack([10**18 + 10**16 * RNG.permutation(40), RNG.integers(0, 9, 40)], 1)
    with guesses("!'column 1' of x .* leave it out"):
        assert len(read(x).notes) == 1
    assert read(x.astype(float)).notes == ()
    assert read(X, reading=Reading()).notes == ()


# -- tables in files --------------------------------------------------------------------------------------------------


def column(name: str, *cells: object) -> str:
    """A table of 30 rows: a counter, and a column of the cells over and over."""
    return f"a,{name}\n" + "".join(f"{i / 4},{cells[i % len(cells)]}\n" for i in range(30))


#: cells of a column of labels -> classes, first labels, what is said ("!" first: as a guess)
LABELS = {
    "zip codes": (["01234", "1234", "00100"], ("00100", "01234", "1234"), [1, 2, 0], "leading zeros, such as '01234'"),
    "padded numbers": (["01", "02", "03"], ("01", "02", "03"), [0, 1, 2], "leading zeros"),
    "zero": (["0", "1", "2"], (), [0, 1, 2], ""),
    "written by NumPy": (["0.000e+00", "1.000e+00", "2.000e+00"], (), [0, 1, 2], ""),
    "countries": (["NA", "DE", "FR"], ("DE", "FR"), [-1, 0, 1], r"!missing \('NA'\).*If 'NA' is a class"),
    "no countries": (
        ["NA", "oak", "elm"],
        ("elm", "oak"),
        [-1, 1, 0],
        "10 of 30 labels in column 'y' are missing ('NA')",
    ),
    "spaces": (["u ", "u", " v"], ("u", "v"), [0, 0, 1], ""),
    "cases": (["u", "U", "v"], ("U", "u", "v"), [1, 0, 2], "!Classes 'U' and 'u' in column 'y' differ in upper"),
    "truth": (["True", "true", "False"], ("False", "True", "true"), [1, 2, 0], "!'True' and 'true'"),
    "numbers as classes": (["1.0", "2.0", "1"], (), [1, 2, 1], ""),
    "names": ([f"n{i}" for i in range(30)], tuple(sorted(f"n{i}" for i in range(30))), [0, 1, 12], "30 classes in 30"),
}


@pytest.mark.parametrize("form", ["file", "frame"])
@pytest.mark.parametrize("name", LABELS)
def test_labels_are_the_classes_that_are_meant(tmp_path, name, form):
    cells, classes, labels, note = LABELS[name]
    source = tmp_path / "t.csv"
    source.write_text(column("y", *cells))
    if form == "frame":
        source = pandas.DataFrame({"a": np.arange(30) / 4, "y": [cells[i % len(cells)] for i in range(30)]})
    with guesses(note):
        data = read(source, valid=0, test=0, reading=Reading(label="y"))
    assert (data.classes, data.train_labels[:3].tolist()) == (classes, labels)
    assert len(data.notes) == bool(note)
    assert note.startswith("!") or not note or said(data, note)


WIDE = "\n".join(",".join(f"{x:.18f}" for x in row) for row in RNG.normal(size=(3, 8000)))
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = "<!DOCTYPE html>\n<html><body>404, not found</body></html>\n"
#: content -> message of the error, or what is said; None where nothing is
CSV = {
    "a wide table": (WIDE, None),
    "names twice": ("a,a,b\n1,2,3\n3,4,5\n", "!several columns named 'a', so columns are known by their positions"),
    "days": (column("day", *DAYS.strftime("%Y%m%d")[:30]), "!'day' .* dates as whole numbers, such as 20210301"),
    "identifiers": (column("id", *(10**18 + 10**16 * RNG.permutation(30))), "!whole numbers up to 1,2"),
    "seconds": (column("t", *range(1687500000, 1687600000, 3601)), "32-bit floats round to 7 digits"),
    "too large": ("a,b\n1e400,2\n3,4\n5,6\n", ValueError("row 0, column 'a'")),
    "infinity": ("a,b\n1,2\n3,-Infinity\n5,6\n", ValueError("row 1, column 'b'")),
    "rounded away": (column("id", *range(10**18, 10**18 + 30_000, 1000)), ValueError("!column 'id' of x varies by")),
    "a web page": (PAGE, ValueError("t.csv is a web page; expected data. Download")),
    "Git LFS": (LFS, ValueError("t.csv is a pointer to a file in Git LFS.*git lfs pull")),
    "JSON": ('[{"a": 1}, {"a": 2}]', ValueError(r"t.csv is JSON.*read_json\(path\)\.to_csv")),
    "one row": ("a,b\n1,2\n", ValueError("1 example")),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), CSV.values(), ids=CSV)
def test_numbers_in_a_file(tmp_path, content, expected):
    path = tmp_path / "t.csv"
    path.write_text(content)
    if isinstance(expected, ValueError):
        message = str(expected).removeprefix("!")
        with guesses("!whole" * str(expected).startswith("!")), pytest.raises(ValueError, match=message):
            read(path)
        return
    with guesses(expected or ""):
        data = read(path, valid=0, test=0)
    assert len(data.notes) == bool(expected)
    assert data.shape == ((8000,) if content is WIDE else data.shape)
    assert len(data.kind.read(path)) == len(data.train)  # without another warning


ROWS, OTHERS = X[:30], X[30:]
#: arrays in a file -> rows of train, of test, whether there are labels, what is said
ARRAYS = {
    "one array": ({"arr_0": ROWS}, 30, 0, False, "'arr_0' of"),
    "one array of a known name": ({"data": ROWS}, 30, 0, False, ""),
    "examples and labels": ({"X": ROWS, "target": np.arange(30)}, 30, 0, True, ""),
    "Keras": (
        {"x_train": ROWS, "y_train": np.arange(30), "x_test": OTHERS, "y_test": np.arange(10)}, 30, 10, True, "",
    ),
    "upper case": ({"X_train": ROWS, "X_test": OTHERS}, 30, 10, False, ""),
    "something else": ({"x": ROWS, "z": OTHERS}, 30, 0, False, "that are not read: z"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_in_a_file(tmp_path, name):
    arrays, train, test, labelled, note = ARRAYS[name]
    np.savez(tmp_path / "x.npz", **arrays)
    data = read(tmp_path / "x.npz", valid=0, test=0)
    assert (len(data.train), len(data.test), data.train_labels is not None) == (train, test, labelled)
    assert torch.equal(data.train, torch.from_numpy(ROWS).float())
    assert len(data.notes) == bool(note)
    assert not note or said(data, note)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: np.savez(p, a=X, b=X), "has the keys a, b; expected train .*x_train"),
        (lambda p: np.save(p, frame(b=1.0).to_records(index=False)), "has the columns a, b; expected an array without"),
        (lambda p: np.save(p, np.array(["CCO", "C"])), "holds text; expected numbers. Save strings as lines"),
        (lambda p: np.save(p, np.array([{}], object)), "pickled objects, which are never loaded"),
        (lambda p: p.write(LFS.encode()), "a pointer to a file in Git LFS"),
    ],
)
def test_arrays_that_cannot_be_read(tmp_path, write, message):
    path = tmp_path / ("x.npz" if "keys" in message else "x.npy")
    with open(path, "wb") as file:
        write(file)
    with pytest.raises(ValueError, match=message):
        read(path)


# -- files and folders ------------------------------------------------------------------------------------------------

#: name of a file -> what to do about it
FORMATS = {
    "x.pt": "torch.load", "x.pkl": "numpy.save", "x.h5": r"h5py.File\(path\)\[name\]", "x.mat": "scipy.io.loadmat",
    "x.xlsx": "Export the sheet as CSV", "x.feather": "read_feather", "x.h5ad": r"to_df\(\)", "x.zip": "Unpack it",
    "x.csv.zip": "Unpack it", "x.tar.gz": "Unpack it", "x.csv.xz": r"\.csv\.gz", "x.json": "read_json",
    "x.jsonl": "read_json", "x.dat": r"rename it to \.csv", "x.heic": "to PNG", "x.svg": "to PNG",
    "x": "Add the suffix",
    "x.sdf": "MolToSmiles", "x.parq": r"to \.parquet", "x.wav": "rows of numbers", "x.mp4": "pictures into a folder",
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_another_format_is_refused_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=f"{re.escape(name)} has an unknown format; expected .*{FORMATS[name]}"):
        read(tmp_path / name)


#: what is given as data -> message
ABSENT = {
    "https://example.org/x.csv": "is a URL; expected a path. Download the file",
    "s3://bucket/x.csv": "is a URL",
    "photos/*.png": "is a pattern; expected a path. Give the folder",
    "$HOME/x.csv": "Variables of the shell are not replaced",
    "tabel.csv": "there is no file or folder 'tabel.csv' in .*Did you mean 'table.csv'",
    "/gone/x.csv": r"there is no file or folder '/gone/x.csv'; expected a folder of pictures, or a \.npy",
    "": "data is ''; expected a name or a path",
    "mnits": "there is no data set 'mnits'.*Did you mean 'mnist'",
    "numbers.txt": r"numbers.txt holds numbers; expected strings.*Rename it to \.csv",
    "tables": r"holds no images.*2 \.csv. Give the path of one file",
}


@pytest.mark.parametrize("name", ABSENT)
def test_a_path_that_holds_no_data_is_explained(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("a,b\n1,2\n3,5\n")
    Path("numbers.txt").write_text("# by NumPy\n1.0 2.0\n3.0 4.0\n")
    Path("tables").mkdir()
    for path in ("tables/a.csv", "tables/b.csv"):
        Path(path).write_text("a,b\n1,2\n3,5\n")
    with pytest.raises((ValueError, FileNotFoundError), match=ABSENT[name]):
        read(name)


def test_several_paths_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        Path(name).write_text("a,b\n1,2\n3,5\n")
    with pytest.raises(ValueError, match=r"x is a list of 2 paths, such as 'a.csv'; expected one.*pandas\.concat"):
        read(["a.csv", "b.csv"])
    with pytest.raises(TypeError, match="holds a PosixPath; expected numbers. Give the path of one"):
        read([Path("a.csv"), Path("b.csv")])
    assert cli.main(["inspect", "a.csv", "b.csv"]) == 2
    assert "It takes one path: give the folder of the files" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["with a space.csv", "größe.csv", "~/t.csv", "./t.csv", "sub/../t.csv"])
def test_a_path_is_found_again_from_another_folder(tmp_path, monkeypatch, form):
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    frame(b=X[:, 1]).to_csv(Path(form).expanduser(), index=False)
    run = ch.fit("ae", form, **QUICK, out="run")
    monkeypatch.chdir(tmp_path)
    again = ch.load(home / "run")
    assert torch.equal(again.data().train, run.data().train)


def test_data_that_changed_after_the_fit_are_told_from_others(tmp_path):
    path = tmp_path / "t.csv"
    frame(b=X[:, 1]).to_csv(path, index=False)
    run = ch.fit("ae", path, **QUICK, out=tmp_path / "run")
    frame(b=X[:, 2]).to_csv(path, index=False)
    with pytest.raises(ValueError, match="the training data are not those of the run in .* that is resumed, although"):
        ch.fit("ae", path, **{**QUICK, "epochs": 2}, out=tmp_path / "run", resume=True)
    with pytest.raises(
        ValueError, match=r"the files of .*t\.csv' are not those that the run was fitted to, which were 1 of"
    ):
        ch.load(run.folder).data()
    with pytest.raises(ValueError, match="seed is 1; expected 0"):
        ch.fit("ae", path, **QUICK, seed=1, out=tmp_path / "run", resume=True)


#: what is in a folder beside a/ and b/ with four pictures each -> rows, classes, what is said ("!" first: as a guess)
FOLDERS = {
    "an empty class": (lambda f: (f / "c").mkdir(), 8, "a b", "Without pictures, and so no classes: c."),
    "a README": (lambda f: (f / "README.md").touch(), 8, "a b", "1 .md"),
    "a LICENSE": (lambda f: (f / "LICENSE").touch(), 8, "a b", "1 without a suffix"),
    "Jupyter": (lambda f: picture(f / ".ipynb_checkpoints" / "0-checkpoint.png"), 8, "a b", ""),
    "Jupyter in a class": (lambda f: picture(f / "a" / ".ipynb_checkpoints" / "0.png"), 8, "a b", ""),
    "a broken link": (lambda f: (f / "a" / "9.png").symlink_to("gone.png"), 8, "a b", "!1 of 9 .*9.png. Restore"),
    "a broken folder": (lambda f: (f / "z").symlink_to("gone"), 8, "a b", "!lead nowhere .*/z"),
    "a linked class": (lambda f: (f / "c").symlink_to(f / "a"), 12, "a b c", ""),
    "one picture in a class": (lambda f: picture(f / "c" / "0.png"), 9, "a b c", ""),
    "masks": (lambda f: picture(f / "Masks" / "0.png"), 9, "Masks a b", "!Folders called Masks are read as classes"),
}  # fmt: skip


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (4, 6), dtype=np.uint8)).save(path)


@pytest.mark.parametrize("name", FOLDERS)
def test_what_lies_beside_pictures(tmp_path, name):
    add, rows, classes, note = FOLDERS[name]
    for one in "ab":
        for i in range(4):
            picture(tmp_path / one / f"{i}.png")
    add(tmp_path)
    with guesses(note):
        data = read(f"{tmp_path}/", valid=0, test=0)
    assert (len(data.train), data.classes) == (rows, tuple(classes.split()))
    assert len(data.notes) == 1 + bool(note)
    assert note.startswith("!") or not note or said(data, note)


def test_a_folder_that_cannot_be_opened_is_said(tmp_path, monkeypatch):
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        picture(tmp_path / name)
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with guesses("!cannot be opened: 1 of 3 .*/b. Restore"):
        assert len(read(tmp_path, valid=0, test=0).train) == 2


def test_a_picture_that_is_a_pointer_is_named(tmp_path):
    (tmp_path / "a.png").write_text(LFS)
    with pytest.raises(ValueError, match=r"a.png cannot be read as an image: it is a pointer to .*git lfs pull"):
        read(tmp_path)


# -- strings ----------------------------------------------------------------------------------------------------------

SMILES = ["CCO", "CCC", "c1ccccc1", "CC(=O)O", "CCN", "C"]
WORDS = ["ethanol", "propane", "benzene", "acetic", "ethylamine", "methane"]
#: name of a file, lines, grammar -> what is said ("!" first: as a guess); the strings are SMILES
LINES = {
    "the first line": ("t.smi", SMILES, "zinc-smiles", ""),
    "the first line in .txt": ("t.txt", SMILES, "zinc-smiles", ""),
    "the first line in .csv": ("t.csv", SMILES, "zinc-smiles", ""),
    "names that are words": ("t.smi", [f"{s} {n}" for s, n in zip(SMILES, WORDS, strict=True)], "zinc-smiles", ""),
    "names like identifiers": ("t.smi", [f"{s} m{i}" for i, s in enumerate(SMILES)], "characters", ""),
    "extensions behind a space": ("t.smi", [f"{s} |$;;$|" for s in SMILES], "zinc-smiles", ""),
    "extensions behind a tab": ("t.smi", [f"{s}\t|$;;$|\tm{i}" for i, s in enumerate(SMILES)], "zinc-smiles", ""),
    "Windows": ("t.smi", [f"{s}\r" for s in SMILES], "zinc-smiles", ""),
    "Windows in .csv": ("t.csv", ["smiles\r", *[f"{s}\r" for s in SMILES]], "zinc-smiles", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_no_line_of_strings_is_lost(tmp_path, name):
    file, lines, grammar, note = LINES[name]
    path = tmp_path / file
    path.write_bytes("\n".join(lines).encode())
    with guesses(note):
        assert from_strings(path, grammar, valid=0, test=0).strings() == SMILES


@pytest.mark.parametrize(("first", "grammar"), [("CN methylamine", "zinc-smiles"), ("NO I", "smiles")])
def test_a_molecule_that_is_a_word_is_no_header(tmp_path, first, grammar):
    lines = [first, *[f"{s} name{i}" for i, s in enumerate(SMILES)]]
    (tmp_path / "t.smi").write_text("\n".join(lines))
    assert from_strings(tmp_path / "t.smi", grammar, valid=0, test=0).strings() == [first.split()[0], *SMILES]


@pytest.mark.parametrize(
    "form",
    [
        SMILES, tuple(SMILES), np.array(SMILES), np.array(SMILES, object), pandas.Series(SMILES), pandas.Index(SMILES),
        pandas.DataFrame({"id": range(6), "smiles": SMILES}), [f"{s}\n" for s in SMILES], [f"{s}\r\n" for s in SMILES],
    ],
)  # fmt: skip
def test_strings_of_every_form(form):
    data = from_strings(form, "zinc-smiles", valid=0, test=0)
    assert data.strings() == SMILES
    assert torch.equal(data.kind.read(form), data.train)


#: what is given -> message
NO_STRINGS = {
    "None": (["CCO", None, "C"], "string 1 of x is missing; expected text. Leave out"),
    "None first": ([None, "CCO", "C"], "string 0 of x is missing"),
    "NaN": (["CCO", float("nan"), "C"], "string 1 of x is missing"),
    "numbers": (["CCO", 1, "C"], "string 1 of x is a int"),
    "bytes": ([b"CCO", b"C"], r"string 0 of x is a bytes; .*x\.decode\(\)"),
    "a set": ({"CCO", "C"}, r"data is a set; expected a list of strings. Give a list of its examples, list\(x\)"),
    "one string": ("CCO", r"If it is a string, give a list, \['CCO'\]"),
    "a file of structures": ("x.sdf", r"MolToSmiles, to a \.smi file"),
    "a lost file": ("gone.smi", "there is no file or folder 'gone.smi' in"),
    "names": (["CCO ethanol", "C methane"], "first, string 0 .*Leave out what follows the space"),
    "extensions": (["CCO |$;;$|", "C |$$|"], "Leave out what follows the space"),
    "a salt": ([*SMILES, "CCO.[Na+].[Cl-]"], "1 of 7 .*string 6 .*character 3.*Keep one part of a salt"),
    "a metal": ([*SMILES, "[Pt]"], "1 of 7 .*string 6 .*character 2"),
    "nothing": ([*SMILES, ""], "1 of 7 .*string 6 .*character 0"),
}


@pytest.mark.parametrize("name", NO_STRINGS)
def test_what_holds_no_strings_is_located(name):
    x, message = NO_STRINGS[name]
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        from_strings(x, "zinc-smiles")


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_string_is_no_word(missing):
    for grammar in ("characters", "zinc-smiles"):
        with pytest.raises(TypeError, match="string 1 of x is missing"):
            read(["CCO", missing, "C"], reading=Reading(grammar=grammar))
    data = from_strings(SMILES, "characters")
    with pytest.raises(TypeError, match="string 1 of x is missing"):
        data.kind.read(["CCO", missing])


def test_molecules_of_rdkit_are_refused_with_what_to_do():
    chem = pytest.importorskip("rdkit.Chem")
    molecules = [chem.MolFromSmiles(s) for s in SMILES]
    for give in (lambda: from_strings(molecules, "zinc-smiles"), lambda: read(molecules)):
        with pytest.raises(TypeError, match=r"a Mol.*rdkit\.Chem\.MolToSmiles\(x\)"):
            give()


@pytest.mark.parametrize(("strings", "guessed"), [(["[C][C][O]", "[C][O]"], True), (["[C][C]", "CO"], False)])
def test_selfies_are_not_read_as_smiles_without_a_word(strings, guessed):
    with guesses("!look like SELFIES .*grammar='selfies'" * guessed):
        from_strings(strings, "zinc-smiles")


# -- objects of other libraries ---------------------------------------------------------------------------------------


class Endless:
    """Numbered items without a length, which NumPy would read for ever."""

    def __getitem__(self, i: int) -> float:
        return 1.0


class Items(torch.utils.data.Dataset):
    def __init__(self, form):
        self.form = form

    def __len__(self):
        return 40

    def __getitem__(self, i):  # never ends by itself
        return self.form(torch.from_numpy(X[i % 40]), i % 3)


TENSORS = TensorDataset(torch.from_numpy(X), torch.arange(40) % 3)
#: a data set of PyTorch -> number of examples, whether it has labels
TORCH = {
    "tensors": (TENSORS, 40, True),
    "one tensor": (TensorDataset(torch.from_numpy(X)), 40, False),
    "a part": (Subset(TENSORS, range(20)), 20, True),
    "parts": (ConcatDataset([TENSORS, TENSORS]), 80, True),
    "pairs": (Items(lambda x, y: (x, y)), 40, True),
    "examples": (Items(lambda x, y: x), 40, False),
    "arrays": (Items(lambda x, y: (x.numpy(), np.int64(y))), 40, True),
    "dictionaries": (Items(lambda x, y: {"labels": torch.tensor(y), "data": x}), 40, True),
    "two views": (Items(lambda x, y: (x, x)), 40, False),
    "triples": (Items(lambda x, y: (x, "abc"[y], 0)), 40, True),
}


@pytest.mark.parametrize("name", TORCH)
def test_data_sets_of_pytorch(name):
    x, n, labelled = TORCH[name]
    data = read(x, valid=0, test=0)
    assert torch.equal(data.train, torch.from_numpy(X).float()[torch.arange(n) % 40])
    assert (data.train_labels is not None) == labelled
    if labelled:
        assert data.train_labels.tolist() == [i % 40 % 3 for i in range(n)]
    assert said(data, f"The {n} items of the {type(x).__name__} are read once")
    assert torch.equal(data.kind.read(x), data.kind.inside(data.train))


@pytest.mark.parametrize("form", [lambda p: p, lambda p: (p / 255).float(), lambda p: Image.fromarray(p[0].numpy())])
def test_pictures_in_a_data_set_of_pytorch(form):
    pictures = torch.from_numpy(RNG.integers(0, 256, (6, 1, 4, 6), dtype=np.uint8))
    data = read(TensorDataset(pictures), valid=0, test=0)
    items = Items(lambda x, y: (form(pictures[y]), y))
    assert torch.equal((data.kind.read(items)[:3] * 255).round(), pictures[:3].float())
    again = read(items, valid=0, test=0)
    assert (again.shape, again.train_labels[:3].tolist()) == ((1, 4, 6), [0, 1, 2])


#: object -> message
FOREIGN = {
    "a loader": (DataLoader(TENSORS), r"x is a DataLoader; .*Give its data set, loader\.dataset"),
    "a generator": (iter(X), r"list\(x\)"),
    "a sparse matrix": (scipy.sparse.csr_matrix(X), r"x is a csr_matrix; .*x\.toarray\(\)"),
    "a sparse tensor": (torch.from_numpy(X).to_sparse(), r"to_dense\(\)"),
    "examples and labels": ((X, np.arange(40)), r"is ragged.*chartae\.data\.from_arrays\(\*x\)"),
    "a dictionary of them": ({"x": X, "y": np.arange(40)}, r"chartae\.data\.from_arrays\(x, y\)"),
    "a bunch": (load_iris(), r"x is a Bunch; .*chartae\.data\.from_arrays\(x\.data, x\.target\)"),
    "endless items": (Endless(), "x is an Endless; expected an array"),
    "an open file": (io.BytesIO(b"a,b"), "x is a BytesIO; .*Give the path of the file"),
}


@pytest.mark.parametrize(("x", "message"), FOREIGN.values(), ids=FOREIGN)
def test_objects_that_are_not_read_are_refused_with_what_to_do(x, message):
    with pytest.raises((TypeError, ValueError), match=message):
        read(x)


#: package -> a table of it
TABLES = {
    "pandas": lambda pandas, columns: pandas.DataFrame(columns),
    "polars": lambda polars, columns: polars.DataFrame(columns),
    "pyarrow": lambda pyarrow, columns: pyarrow.table(columns),
    "datasets": lambda datasets, columns: datasets.Dataset.from_dict(columns),
}


@pytest.mark.parametrize("library", TABLES)
def test_tables_of_other_libraries(library):
    x = TABLES[library](pytest.importorskip(library), {"a": X[:, 0], "b": X[:, 1]})
    data = read(x, valid=0, test=0)
    assert data.columns == ("a", "b")
    assert torch.equal(data.train, torch.from_numpy(X[:, :2]).float())
    assert torch.equal(data.kind.read(x), data.kind.inside(data.train))


def test_arrays_of_other_libraries(tmp_path):
    h5py, xarray = pytest.importorskip("h5py"), pytest.importorskip("xarray")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = X
        for x in (file["x"], xarray.DataArray(X)):
            assert torch.equal(read(x, valid=0, test=0).train, torch.from_numpy(X).float())
        with pytest.raises(TypeError, match=r"x is a File; .*x\[name\]\[:\]"):
            read(file)
    with pytest.raises(TypeError, match=r"x is a Dataset; .*to_dataframe"):
        read(xarray.Dataset({"a": ("n", X[:, 0])}))


def test_annotated_data_are_refused_with_what_to_do():
    anndata = pytest.importorskip("anndata")
    with pytest.raises(TypeError, match=r"x is an AnnData; .*x\.to_df\(\)"):
        read(anndata.AnnData(X))


def test_a_message_quotes_the_beginning_of_a_long_name(tmp_path):
    """The first line of a file may be anything; a message never repeats more of it than fits into a line or two."""
    name = "9" * 5000
    path = tmp_path / "x.csv"
    path.write_text("\n".join([f"a,{name}", *(f"{i}.5,{i * i}.25" for i in range(20)), "3.5,1e400"]) + "\n")
    with pytest.raises(ValueError, match="infinite") as caught:
        ch.data.load(path)
    assert len(str(caught.value)) < 700
    frame = pd.DataFrame({"a": [1.5, 2.5, None] * 10, name: [0.5, 1.5, 2.5] * 10})
    with pytest.raises(ValueError, match="missing value"):
        ch.data.from_arrays(frame.rename(columns={"a": name, name: "a"}))
    with pytest.raises(TypeError, match="not numeric") as caught:
        ch.data.from_arrays(pd.DataFrame({name: ["x", "y"] * 10, "a": range(20)}))
    assert len(str(caught.value)) < 1200
