"""Kinds of data as contracts: what is read comes back, a description makes the kind again, and what is of another kind,
shape or set of columns is refused in words that name it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from chartae.data import Dataset, Reading, derive, from_arrays, from_strings, load, origin, read
from chartae.data.kinds import Images, Kind, Plain, Points, Strings, Table, base, kind_named, kind_of, kinds, register
from chartae.grammar import codec_for
from chartae.maths import as_float

RNG = np.random.default_rng(0)
CORPUS = ["x+1", "sin(x)", "x*x", "x", "exp(x+1)", "(x)", "x/2", "1", "2", "3", "x+2", "x+3"]
LEVELS = RNG.integers(0, 256, (20, 1, 8, 6), dtype=np.uint8)
NUMBERS = RNG.normal([5, -300, 7], [1, 100, 0], (20, 3)).astype(np.float32)


def frame(n: int = 20):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    return pandas.DataFrame(
        {
            "age": rng.integers(0, 90, n),
            "height": rng.normal(170, 10, n),
            "smoker": rng.random(n) > 0.5,
            "small": rng.integers(0, 256, n).astype(np.uint8),
            "rooms": pandas.array(rng.integers(1, 6, n), dtype="Int64"),
            "weight": rng.normal(70, 9, n).astype(np.float32),
        }
    )


# -- contracts --------------------------------------------------------------------------------------------------------

#: kind, what it was fitted to, new data, and what comes back of them
ROUND_TRIPS = {
    "images, levels": (from_arrays(LEVELS).kind, LEVELS[:3], torch.from_numpy(LEVELS[:3] / 255).float()),
    "images, floats": (Images((3, 5, 6)), RNG.random((2, 5, 6, 3)), None),
    "images, truth values": (Images((1, 4, 5)), np.eye(4, 5, dtype=bool)[None], torch.eye(4, 5)[None, None]),
    "one image": (Images((1, 8, 6)), LEVELS[:1, 0], torch.from_numpy(LEVELS[:1] / 255).float()),
    "table": (from_arrays(NUMBERS).kind, NUMBERS, torch.from_numpy(NUMBERS)),
    "table, integers": (from_arrays(np.arange(40).reshape(20, 2)).kind, [[3, 4]], torch.tensor([[3.0, 4.0]])),
    "table, bytes": (from_arrays(LEVELS[:, 0, 0]).kind, LEVELS[:2, 0, 0], torch.from_numpy(LEVELS[:2, 0, 0]).float()),
    "points": (Points((3,)), NUMBERS, torch.from_numpy(NUMBERS)),
    "strings": (from_strings(CORPUS, "expressions").kind, CORPUS[:3], CORPUS[:3]),
    "strings, characters": (from_strings(CORPUS, "characters").kind, CORPUS[:3], CORPUS[:3]),
}


@pytest.mark.parametrize(("kind", "new", "back"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_what_is_read_comes_back(kind, new, back):
    x = kind.read(new)
    assert tuple(x.shape[1:]) == kind.shape
    assert torch.equal(kind.read(new), x)
    restored = kind.restore(as_float(x))
    if isinstance(back, torch.Tensor):
        torch.testing.assert_close(restored, back, rtol=1e-5, atol=1e-5)
    elif back is not None:
        assert restored == back
    if kind.unit:
        assert x.min() >= 0
        assert x.max() <= 1
    torch.testing.assert_close(kind.inside(kind.outside(x)), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [row[0] for row in ROUND_TRIPS.values()], ids=ROUND_TRIPS)
def test_a_description_makes_the_kind_again(kind):
    facts = json.loads(json.dumps(kind.to_dict()))
    again = Kind.from_dict(facts)
    assert again == kind
    assert type(again) is type(kind)
    assert again.unit == kind.unit
    assert (again.codec is None) == (kind.codec is None)
    facts.pop("shape")
    facts.pop("mean", None)
    with pytest.raises(ValueError, match=f"expected the entries of {kind.noun}"):
        Kind.from_dict(facts)
    with pytest.raises(ValueError, match="kind is 'sounds'; expected one of"):
        Kind.from_dict({"kind": "sounds"})
    # TOML has neither null nor mixed depths
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in kind.to_dict().items())
    assert Kind.from_dict(tomllib.loads(text)) == kind


IMAGES, TABLE = Images((1, 8, 6)), from_arrays(NUMBERS).kind
POINTS, STRINGS = Points((3,)), from_strings(CORPUS, "expressions").kind
NAN = NUMBERS.copy()
NAN[[2, 4], 1] = np.nan


@pytest.mark.parametrize(
    ("kind", "x", "message"),
    [
        # another kind
        (IMAGES, NUMBERS, r"x holds table rows \(a ndarray of shape \(20, 3\)\); expected images of shape \(1, 8, 6\)"),
        (IMAGES, CORPUS, r"x holds strings \(a list\); expected images"),
        (TABLE, LEVELS, r"x holds images .*; expected table rows of shape \(3,\)"),
        (TABLE, CORPUS, r"x holds strings \(a list\); expected table rows"),
        (POINTS, LEVELS, "x holds images .*; expected points"),
        (POINTS, np.array(CORPUS), "x holds strings .*; expected points"),
        (STRINGS, LEVELS, "x holds images .*; expected strings"),
        (STRINGS, NUMBERS, "x holds table rows .*; expected strings"),
        (STRINGS, RNG.random((2, 15)), "numbers that are not indices of the codec"),
        (STRINGS, np.full((2, 15), 99), "not indices of the codec; .* from 0 to"),
        (STRINGS, "x+1", r"expected a list of strings, such as \['x\+1'\]"),
        # another shape
        (IMAGES, LEVELS[:, :, :5], r"images of shape \(1, 5, 6\); expected shape \(1, 8, 6\)"),
        (IMAGES, np.zeros((2, 8, 6, 3), np.uint8), r"images of shape \(3, 8, 6\); expected shape \(1, 8, 6\)"),
        (TABLE, NUMBERS[:, :2], r"table rows of shape \(2,\); expected shape \(3,\)"),
        (POINTS, NUMBERS[:, :2], r"points of shape \(2,\); expected shape \(3,\)"),
        (TABLE, NUMBERS[:, 0], "reshape"),
        (STRINGS, ["+".join("x" * 30)], r"string 0, 'x\+x.* has .* indices; expected at most 15"),
        # empty
        (IMAGES, LEVELS[:0], "x is empty"),
        (TABLE, NUMBERS[:0], "x is empty"),
        (POINTS, NUMBERS[:0], "x is empty"),
        (STRINGS, [], "x is an empty list; expected a list of strings"),
        # missing, or out of range
        (TABLE, NAN, r"2 values of x in 2 of 20 examples are NaN or infinite \(first: row 2, column"),
        (POINTS, NAN, "NaN or infinite"),
        (IMAGES, np.full((2, 8, 6), np.nan), "NaN or infinite"),
        (IMAGES, np.full((2, 8, 6), 2.0), r"expected values in \[0, 1\]"),
        (IMAGES, np.full((2, 8, 6), 300), "levels 0..255"),
        (STRINGS, ["x+?"], r"\?"),
        (TABLE, [[1, 2], [3]], "ragged"),
    ],
)
def test_what_cannot_be_read_is_named(kind, x, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kind.read(x)


def test_levels_and_floats_of_a_picture_are_read_alike():
    for kind in (from_arrays(LEVELS).kind, from_arrays(LEVELS / 255).kind):
        torch.testing.assert_close(kind.read(LEVELS), kind.read(LEVELS / 255), rtol=0, atol=1e-6)
        assert kind == IMAGES
        assert kind.read(LEVELS).dtype == torch.float32


def test_columns_are_standardised_by_the_training_examples_alone():
    data = from_arrays(NUMBERS, valid=0.3)
    assert torch.equal(data.train[:, 2], torch.full_like(data.train[:, 2], 7))
    x = data.kind.inside(data.train)
    torch.testing.assert_close(x.mean(0), torch.zeros(3, dtype=torch.float32), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        x.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float32), rtol=0, atol=1e-6
    )
    assert data.kind.sd[2] == 0  # a constant column
    assert abs(float(data.kind.inside(data.valid).mean(0)[0])) > 1e-3
    torch.testing.assert_close(data.kind.outside(x), data.train, rtol=1e-5, atol=1e-4)
    # a constant column comes back as it is, whatever a decoder says of it
    assert torch.equal(data.kind.outside(x + 0.3)[:, 2], data.train[:, 2])
    assert Table.of(data.train[:0]).sd == (1.0, 1.0, 1.0)


def test_a_column_too_fine_for_single_precision_is_refused():
    stamps = np.stack([1.7e9 + np.arange(50.0), np.arange(50.0)], 1)
    with pytest.raises(ValueError, match=r"column 1 of x .* 1\.7e\+09; expected a variation that 32-bit floats"):
        from_arrays(stamps)
    from_arrays(stamps - [1.7e9, 0])


# -- data frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [Table, Points])
def test_a_data_frame_comes_back(wanted, tmp_path):
    pandas = pytest.importorskip("pandas")
    people = frame()
    data = read(people, kinds=[wanted])
    kind = data.kind
    assert kind.shape == (6,)
    assert Kind.from_dict(json.loads(json.dumps(kind.to_dict()))) == kind
    again = kind.restore(kind.read(people))
    pandas.testing.assert_frame_equal(again, people, rtol=1e-5)
    # in any order, and beside a column of labels that was there
    shuffled = people[list(people.columns)[::-1]]
    assert torch.equal(kind.read(shuffled), kind.read(people))
    assert torch.equal(kind.read(people.to_numpy("float64")), kind.read(people))
    with pytest.raises(ValueError, match=r"missing: 'height'.*; expected age, height"):
        kind.read(people.drop(columns=["height"]))
    with pytest.raises(ValueError, match="unknown: 'town'"):
        kind.read(people.assign(town=1))
    with pytest.raises(ValueError, match=r"missing: 'age'; unknown: 'Age'"):
        kind.read(people.rename(columns={"age": "Age"}))
    for suffix in (".csv", ".parquet"):
        kind.write(kind.read(people), tmp_path / f"t{suffix}")
        assert torch.equal(kind.read(tmp_path / f"t{suffix}"), kind.read(people))
    assert pandas.read_csv(tmp_path / "t.csv").dtypes.astype(str).to_dict()["age"] == "int64"
    # what a model draws is rounded, and cut to what the type holds
    drawn = kind.restore(kind.inside(torch.tensor([[2.4, 170.0, 0.7, 300.0, -1.6, 70.0]])))
    assert drawn.iloc[0][["age", "smoker", "small", "rooms"]].tolist() == [2, True, 255, -2]
    assert drawn.dtypes.astype(str).tolist() == people.dtypes.astype(str).tolist()


def test_labels_of_a_data_frame_are_asked_for():
    people = frame().assign(town=list("ab") * 10)
    with pytest.raises(TypeError, match="not numeric in column 'town'"):
        read(people)
    data = read(people, reading=Reading(label="town"), valid=0, test=0)
    assert data.classes == ("a", "b")
    assert data.train_labels.tolist() == [0, 1] * 10
    assert torch.equal(data.kind.read(people), data.kind.read(people.drop(columns=["town"])))
    with pytest.raises(ValueError, match="label is 'city'; expected a column of"):
        read(people, reading=Reading(label="city"))


def test_awkward_data_frames():
    people = frame()
    holes = people.astype("float64")
    holes.loc[3, "height"] = np.nan
    with pytest.raises(ValueError, match="the data frame has 1 missing value, the first in row 3, column 'height'"):
        read(holes)
    with pytest.raises(ValueError, match="two columns named 'a'; expected different names"):
        read(frame()[["age", "height"]].set_axis(["a", "a"], axis=1))
    with pytest.raises(TypeError, match="column named 1.5; expected text or a whole number"):
        read(frame()[["age"]].set_axis([1.5], axis=1))
    with pytest.raises(ValueError, match=r"x holds table rows \(a DataFrame of shape \(20, 6\)\); expected images"):
        IMAGES.read(people)
    numbered = people[["age", "height"]].set_axis([0, 1], axis=1)
    kind = read(numbered).kind
    assert list(kind.restore(kind.read(numbered)).columns) == [0, 1]


# -- files ------------------------------------------------------------------------------------------------------------


def test_pictures_are_written_as_bytes(tmp_path):
    x = IMAGES.read(LEVELS[:5])
    for suffix in (".npy", ".npz"):
        IMAGES.write(x, tmp_path / "deep" / f"x{suffix}")
        assert torch.equal(IMAGES.read(tmp_path / "deep" / f"x{suffix}"), x)
    assert np.array_equal(np.load(tmp_path / "deep" / "x.npy"), LEVELS[:5])
    IMAGES.write(x, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (2 * (3 * 8 + 2), 2 * (2 * 10 + 2))
    with pytest.raises(ValueError, match=r"x.gif'; expected a suffix for images: .png, .npy, .npz"):
        IMAGES.write(x, tmp_path / "x.gif")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "x.png"]


def test_tables_and_strings_are_written_in_the_users_units(tmp_path):
    for suffix in (".csv", ".parquet", ".npy", ".npz"):
        TABLE.write(TABLE.read(NUMBERS), tmp_path / f"t{suffix}")
        torch.testing.assert_close(
            TABLE.restore(TABLE.read(tmp_path / f"t{suffix}")), torch.from_numpy(NUMBERS), rtol=1e-5, atol=1e-5
        )
    for suffix in (".txt", ".smi"):
        STRINGS.write(as_float(STRINGS.read(CORPUS)), tmp_path / f"s{suffix}")
        assert (tmp_path / f"s{suffix}").read_text().splitlines() == CORPUS
        assert torch.equal(STRINGS.read(tmp_path / f"s{suffix}"), STRINGS.read(CORPUS))
    with pytest.raises(ValueError, match=r"s.txt holds strings; expected table rows"):
        TABLE.read(tmp_path / "s.txt")
    with pytest.raises(ValueError, match=r"x holds table rows .*; expected images"):
        IMAGES.read(tmp_path / "t.npy")
    with pytest.raises(ValueError, match=r"t.csv holds a table; expected images of shape"):
        IMAGES.read(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="holds pictures; expected table rows of shape"):
        TABLE.read(tmp_path)
    (tmp_path / "u.csv").write_text("a,town\n1,x\n2,y\n")
    with pytest.raises(
        ValueError, match=r"column 'town' \('x' in line 2\); expected the fitted columns. Leave others out"
    ):
        TABLE.read(tmp_path / "u.csv")


def test_a_csv_file_is_read_like_the_first(tmp_path):
    rows = [f"{i},{i * i},{'uv'[i % 2]}" for i in range(30)]
    (tmp_path / "a.csv").write_text("n,square,y\n" + "\n".join(rows))
    data = read(tmp_path / "a.csv", reading=Reading(label="y"))
    assert data.classes == ("u", "v")
    assert data.kind.columns.names == ("n", "square")
    (tmp_path / "b.csv").write_text("square,y,n\n4,u,2\n9,v,3\n")
    (tmp_path / "c.csv").write_text("square,n\n4,2\n9,3\n")
    for name in ("b.csv", "c.csv"):
        assert torch.equal(data.kind.read(tmp_path / name), data.kind.read([[2, 4], [3, 9]]))
    (tmp_path / "d.csv").write_text("square,other\n4,2\n9,3\n")
    with pytest.raises(ValueError, match=r"d.csv has other columns .*missing: 'n'; unknown: 'other'"):
        data.kind.read(tmp_path / "d.csv")
    # which column holds labels can be said
    (tmp_path / "e.csv").write_text("x,y,town\n" + "\n".join(f"{i},{-i},{'ab'[i % 2]}" for i in range(30)))
    with pytest.raises(ValueError, match="not numeric in column 'town'"):
        read(tmp_path / "e.csv")
    places = read(tmp_path / "e.csv", reading=Reading(label="town"))
    assert (places.kind.columns.names, places.classes) == (("x", "y"), ("a", "b"))
    assert torch.equal(places.kind.read(tmp_path / "e.csv")[:2], places.kind.read([[0, 0], [1, -1]]))
    with pytest.raises(ValueError, match="label is 'city'; expected a column of"):
        read(tmp_path / "e.csv", reading=Reading(label="city"))


# -- the one reader ---------------------------------------------------------------------------------------------------


def test_what_becomes_what(tmp_path):
    assert type(read(LEVELS).kind) is Images
    assert type(read(NUMBERS).kind) is Table
    assert type(read(NUMBERS, kinds=[Points, Images]).kind) is Points
    assert type(read(NUMBERS, kinds=[Points, Table]).kind) is Table
    assert type(read("mixture-2d").kind) is Points
    assert type(read("mixture-2d", kinds=[Images, Table]).kind) is Table
    assert type(read("digits", kinds=[Points, Images]).kind) is Images
    assert derive(load("digits"), "coloured").kind.shape == (3, 8, 8)
    assert read(CORPUS, reading=Reading(grammar="expressions")).codec is not None
    data = from_arrays(NUMBERS)
    assert read(data) is data
    points = read(data, kinds=[Points])
    assert type(points.kind) is Points
    assert torch.equal(points.train, data.train)
    # a table unless strings alone are asked for
    path = tmp_path / "t.csv"
    path.write_text("x,label\n" + "\n".join(f"{i},{i % 2}" for i in range(20)))
    assert type(read(path, kinds=[Table, Strings]).kind) is Table
    path.write_text("smiles\n" + "\n".join(CORPUS))
    assert read(path, kinds=[Strings], reading=Reading(grammar="characters")).strings("test")
    np.save(tmp_path / "x.npy", NUMBERS)
    assert [len(s) for s in (read(tmp_path / "x.npy", valid=0.25, test=0).valid, NUMBERS)] == [5, 20]


@pytest.mark.parametrize(
    ("x", "settings", "message"),
    [
        ("digits", {"kinds": [Table, Points]}, r"'digits' holds images of shape \(1, 8, 8\); expected table rows or p"),
        (LEVELS, {"kinds": [Table]}, "'array' holds images .*; expected table rows"),
        (CORPUS, {"kinds": [Table, Images]}, "a list holds strings; expected table rows or images"),
        ("mnist", {"kinds": [Strings]}, "x is 'mnist'; expected strings: a list of them, or a file"),
        (NUMBERS, {"kinds": [Strings]}, "x is a ndarray; expected strings"),
        (CORPUS, {}, "reading strings needs a grammar: one of zinc-smiles"),
        (NUMBERS, {"reading": Reading(grammar="expressions")}, "grammar is an option for strings; a ndarray holds tab"),
        ("digits", {"reading": Reading(target="logp", limit=3)}, "limit, target are options for strings; 'digits' h"),
        ("digits", {"reading": Reading(label="y")}, "label is 'y'; expected None, as 'digits' comes with its labels"),
        (LEVELS, {"reading": Reading(label="y")}, "label is an option for points and table rows; a ndarray holds im"),
        (CORPUS, {"reading": Reading(grammar="expressions", size=8)}, "size is an option for images; a list holds st"),
        (from_arrays(NUMBERS), {"reading": Reading(limit=8)}, "reading has limit; .* 'array' is a data set that has"),
        (np.zeros((2,) * 5), {}, "expected a table"),
    ],
)
def test_what_is_not_asked_for_is_refused(x, settings, message):
    with pytest.raises(ValueError, match=message):
        read(x, **settings)


def test_a_property_is_a_target_and_no_label():
    data = from_strings(CORPUS, "expressions", target=np.arange(12.0), valid=0.2, test=0.2)
    assert data.train_labels is None
    for split in ("train", "valid", "test"):
        targets = getattr(data, f"{split}_target")
        assert [CORPUS[int(i)] for i in targets] == data.strings(split)


def test_where_data_come_from(tmp_path):
    np.save(tmp_path / "x.npy", LEVELS)
    (tmp_path / "s.txt").write_text("\n".join(CORPUS))
    path = str(tmp_path / "x.npy")
    assert origin(load(path)).data == path
    assert origin(load(f"{path}+edges")).data == f"{path}+edges"
    assert origin(from_strings(tmp_path / "s.txt", "expressions")).data == str(tmp_path / "s.txt")
    assert origin(load("digits+edges")).data == "digits+edges"
    assert origin(load("digits")).same_examples(origin(load("digits+edges")))
    for data in (from_arrays(NUMBERS), from_strings(CORPUS, "expressions")):
        assert origin(data).in_memory
        assert not origin(data).same_examples(origin(data))


# -- a kind of one's own ----------------------------------------------------------------------------------------------


def test_a_new_kind_is_one_class(monkeypatch):
    monkeypatch.setattr(base, "_KINDS", dict(base._KINDS))

    @register
    class Angles(Kind):
        name, noun, unit, guessed = "angles", "angles", True, False

        def __init__(self, shape):
            self.shape = shape

        @classmethod
        def takes(cls, x):
            return np.ndim(x) == 2

        @classmethod
        def examples(cls, x, *, at_least=1):
            return torch.as_tensor(np.asarray(x), dtype=torch.float32)

        @classmethod
        def of(cls, train, *, columns=None, codec=None):
            return cls(tuple(train.shape[1:]))

        def inside(self, x):
            return x % 360 / 360

        def outside(self, x):
            return x * 360

        def restore(self, x):
            return self.outside(x)

        def writers(self):
            return {}

        def to_dict(self) -> dict[str, Plain]:
            return {"kind": self.name, "shape": list(self.shape)}

        @classmethod
        def restored(cls, facts):
            return cls(tuple(facts["shape"]))

    x = np.arange(40.0).reshape(20, 2) * 9
    data = read(x, kinds=[Angles])
    assert type(data.kind) is Angles
    assert kind_named("angles") is Angles
    assert Angles in kinds()
    assert kind_of(x) is Table  # it must be asked for
    torch.testing.assert_close(data.kind.restore(data.kind.read(x)), torch.from_numpy(x).float(), rtol=1e-5, atol=1e-3)
    assert Kind.from_dict(data.kind.to_dict()) == data.kind
    with pytest.raises(ValueError, match="two kinds named 'angles'"):
        register(type("Other", (Angles,), {"name": "angles"}))


def test_every_file_of_the_package_is_a_kind_or_a_base():
    files = {p.stem for p in Path(base.__file__).parent.glob("*.py")} - {"__init__", "base", "rows"}
    assert {kind.__module__.rpartition(".")[2] for kind in kinds()} == files


def test_a_data_set_has_the_kind_of_its_examples():
    data = Dataset("mine", *(torch.rand(n, 3) for n in (5, 2, 2)))
    assert type(data.kind) is Table
    assert type(Dataset("mine", *(torch.rand(n, 1, 4, 4) for n in (0, 0, 0))).kind) is Images
    with pytest.raises(ValueError, match=r"kind is of shape \(3,\); expected \(2,\), the shape of the examples"):
        replace(data, train=torch.rand(5, 2))
    assert codec_for("characters", CORPUS).size
