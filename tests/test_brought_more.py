"""What users bring, second round: frames, arrays, files, strings and folders of public issue threads, and what must
happen to each: the right value, a note, a warning or an error that names the column, the file and the remedy."""

from __future__ import annotations

import decimal

import numpy as np
import pytest
import torch

import chartae as ch
from chartae.data import Reading, as_tensor, read
from test_brought import guesses, said

pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.usefixtures("float32")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
QUICK = {"epochs": 1, "latent_dim": 2, "densities": ("normal",), "progress": False}


def frame(**columns: object) -> pandas.DataFrame:
    return pandas.DataFrame({"a": X[:, 0], **columns})


# -- frames -----------------------------------------------------------------------------------------------------------

DAYS = pandas.date_range("2021-03-01", periods=40, freq="3D")
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
    "numbers by name": ({"a": 1, "b": 2}, "x is a dict that is no table"),
    "fields that are arrays": (np.zeros(4, [("a", "f4"), ("b", "f4", (2,))]), "is no table"),
    "None": (None, "x is a NoneType; expected an array of numbers. Give an array"),
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
