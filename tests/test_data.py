"""Data sets: every format in, three disjoint splits out, and refusals that say why."""

import errno
import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request

import numpy as np
import pytest
import torch
from PIL import Image

from chartae.data import (
    NAMES,
    Dataset,
    Reading,
    as_examples,
    catalogue,
    download,
    fetch,
    files,
    from_arrays,
    load,
    read,
)
from chartae.data.download import extract
from chartae.maths import rows as blockwise

ROOT = Path(os.environ.get("CHARTAE_DATA") or Path(__file__).parents[2] / "shared" / "data")
SPLITS = ("train", "valid", "test")
RNG = np.random.default_rng(0)


def real(name: str) -> Path:
    if not (ROOT / name).is_dir():
        pytest.skip(f"{name} is not there")
    return ROOT


def sizes(d: Dataset) -> tuple[int, ...]:
    return tuple(len(getattr(d, s)) for s in SPLITS)


def tagged(n: int) -> np.ndarray:
    """A table whose first column is the row number, the second its square."""
    return np.stack([np.arange(n), np.arange(n) ** 2], 1).astype(np.float32)


def check_partition(d: Dataset, n: int) -> None:
    """Every row once over the splits, and every label still beside its row."""
    rows = torch.cat([d.train, d.valid, d.test])[:, 0].long()
    assert torch.equal(rows.sort().values, torch.arange(n))
    if d.train_labels is not None:
        labels = torch.cat([d.train_labels, d.valid_labels, d.test_labels])
        assert torch.equal(labels, rows % 3)


# -- arrays


def test_splits_are_disjoint_aligned_and_a_function_of_the_seed() -> None:
    a, b, c = (from_arrays(tagged(200), np.arange(200) % 3, seed=s) for s in (0, 0, 1))
    assert sizes(a) == (160, 20, 20)
    check_partition(a, 200)
    assert torch.equal(a.train, b.train)
    assert not torch.equal(a.train, c.train)
    assert a.shape == (2,)
    assert not a.is_image
    assert a.train_labels is not None
    assert a.train_labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("n", "valid", "test", "expected"),
    [
        (10, 0, 0, (10, 0, 0)),
        (10, 0.25, 0, (8, 2, 0)),
        (2, 0.1, 0.1, (2, 0, 0)),
        (3, 0.1, 0.1, (2, 0, 1)),
        (4, 0.1, 0.1, (2, 1, 1)),
        (1000, 0.3, 0.2, (500, 300, 200)),
    ],
)
def test_held_out_sizes(n: int, valid: float, test: float, expected: tuple[int, ...]) -> None:
    d = from_arrays(tagged(n), np.arange(n) % 3, valid=valid, test=test)
    assert sizes(d) == expected
    assert d.test.shape[1:] == d.train.shape[1:]
    check_partition(d, n)


def test_text_labels_become_classes() -> None:
    d = from_arrays(tagged(4), ["b", "a", "c", "a"], valid=0, test=0)
    assert d.classes == ("a", "b", "c")
    assert d.train_labels is not None
    assert d.train_labels.tolist() == [1, 0, 2, 0]
    assert "4 + 0 + 0" in repr(d)
    assert "3 classes" in repr(d)
    assert from_arrays(tagged(4), [0.5, 1, 2, 3], valid=0, test=0).train_labels.dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (RNG.random((5, 3)), (5, 3), torch.float32),
        (np.arange(10, dtype=np.uint8).reshape(5, 2), (5, 2), torch.float32),
        (np.arange(10).reshape(5, 2), (5, 2), torch.float32),
        (np.eye(5, dtype=bool), (5, 5), torch.float32),
        (RNG.random((5, 8, 7)), (5, 1, 8, 7), torch.float32),
        (RNG.integers(0, 256, (5, 8, 7)), (5, 1, 8, 7), torch.uint8),
        (RNG.random((5, 8, 7)) > 0.5, (5, 1, 8, 7), torch.uint8),
        (RNG.random((5, 3, 8, 7)), (5, 3, 8, 7), torch.float32),
        (RNG.integers(0, 256, (5, 8, 7, 3), dtype=np.uint8), (5, 3, 8, 7), torch.uint8),
        (RNG.random((5, 8, 7, 1)), (5, 1, 8, 7), torch.float32),
        (RNG.random((5, 4, 8, 7)), (5, 4, 8, 7), torch.float32),
        (RNG.random((5, 6, 18, 17)), (5, 6, 18, 17), torch.float32),
        (torch.rand(5, 1, 4, 4, dtype=torch.float64, requires_grad=True), (5, 1, 4, 4), torch.float32),
        ([[1, 2], [3, 4]], (2, 2), torch.float32),
    ],
)
def test_examples_have_one_layout(x: object, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    e = as_examples(x)
    assert (tuple(e.shape), e.dtype) == (shape, dtype)
    assert e.is_contiguous()
    assert not e.requires_grad


def test_values_survive() -> None:
    x = RNG.integers(0, 256, (5, 8, 7, 3), dtype=np.uint8)
    assert np.array_equal(as_examples(x).numpy(), x.transpose(0, 3, 1, 2))
    assert as_examples(np.eye(3, dtype=bool)[:, None]).unique().tolist() == [0, 255]
    same = torch.rand(4, 1, 3, 3, dtype=torch.float32)
    assert as_examples(same).data_ptr() == same.data_ptr()


NAN = tagged(6)
NAN[[2, 4], 1] = np.nan
OUT = np.linspace(-1, 1, 2 * 16).reshape(2, 4, 4)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((0, 3)), ValueError, "empty"),
        (np.zeros((3, 0)), ValueError, "empty"),
        (np.ones((1, 3)), ValueError, "1 example .*at least 2"),
        (NAN, ValueError, r"2 values of x in 2 of 6 examples are NaN or infinite \(first: row 2, column"),
        (np.array([[1.0], [np.inf]]), ValueError, r"1 value .* is NaN or infinite \(first: row 1, column"),
        (np.array([[1.0], [1e300]]), ValueError, "beyond the range of float32"),
        (np.array([[1, "a"], [2, "b"]], object), TypeError, "dtype object and holds an int; expected numbers"),
        (np.array([["a"], ["b"]]), TypeError, "expected numbers"),
        (np.array([[1j], [2]]), TypeError, "complex"),
        (torch.eye(3).to_sparse(), TypeError, "to_dense"),
        ([[1], [2, 3]], ValueError, "ragged"),
        (np.ma.array([[1.0], [2.0]], mask=[[0], [1]]), ValueError, "masked"),
        (np.arange(5.0), ValueError, r"x has shape \(5,\).*reshape\(-1, 1\)"),
        (np.zeros((2,) * 5), ValueError, "expected a table"),
        (np.ones((4, 3)), ValueError, "all 4 examples of x are identical"),
        (np.full((4, 3, 3), 7, np.uint8), ValueError, "identical"),
        (np.arange(32).reshape(2, 4, 4) * 10_000, ValueError, "up to 310000; expected at most 65535.* white=N"),
        (np.arange(32).reshape(2, 4, 4) - 1, ValueError, "from -1 to 30; expected levels 0..255"),
        (OUT, ValueError, r"values from -1 to 1; expected values in \[0, 1\]. If .* \(x \+ 1\) / 2"),
        (np.eye(4, dtype=np.uint8)[:, None], ValueError, "only 0 and 1.*astype"),
    ],
)
def test_bad_arrays_are_refused(x: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_examples(x)


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"labels": [1, 2]}, "labels have 2 entries for 6 examples"),
        ({"labels": [1.0, np.nan] * 3}, r"NaN or infinity \(first: row 1\)"),
        ({"valid": 1.0}, "valid is 1.0; expected a fraction"),
        ({"test": -0.1}, "test is -0.1"),
        ({"valid": 0.5, "test": 0.5}, "leave nothing to train on"),
    ],
)
def test_bad_splits_and_labels_are_refused(kw: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_arrays(tagged(6), **kw)


def test_one_example_will_do_where_asked() -> None:
    assert as_examples(np.ones((1, 3)), at_least=1).shape == (1, 3)


# -- named sets


def test_digits_and_mini_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTAE_DATA", "/nowhere")
    digits, again, mini = load("digits", seed=1), load("digits"), load("fashion-mini")
    assert sizes(digits) == (1297, 250, 250)
    assert (digits.shape, digits.train.dtype, int(digits.train.max())) == ((1, 8, 8), torch.uint8, 255)
    assert not torch.equal(digits.train, again.train)
    pixels = [torch.cat([getattr(d, s) for s in SPLITS]).long().sum() for d in (digits, again)]
    assert pixels[0] == pixels[1]

    assert sizes(mini) == (6000, 1000, 1000)
    assert mini.shape == (1, 28, 28)
    assert mini.is_image
    for s in SPLITS:
        counts = getattr(mini, s + "_labels").bincount()
        assert len(counts) == len(mini.classes) == 10
        assert (counts == len(getattr(mini, s)) // 10).all()
    assert len({i.numpy().tobytes() for s in SPLITS for i in getattr(mini, s)}) == 8000
    folder = Path(catalogue.__file__).parent / "fashion_mini"
    assert "MIT License" in (folder / "LICENSE").read_text()
    assert (folder / "fashion_mini.npz").stat().st_size < 3.2e6


def test_mini_is_what_its_name_says() -> None:
    whole, mini = load("fashion-mnist", real("fashion-mnist")), load("fashion-mini")
    known = {
        i.tobytes(): int(y)
        for x, labels in (
            (torch.cat([whole.train, whole.valid]), torch.cat([whole.train_labels, whole.valid_labels])),
            (whole.test, whole.test_labels),
        )
        for i, y in zip(x.numpy(), labels, strict=True)
    }
    for s in SPLITS:
        found = [known[i.tobytes()] for i in getattr(mini, s).numpy()]
        assert found == getattr(mini, s + "_labels").tolist()


def test_mnist_and_cifar_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTAE_DATA", str(real("mnist")))
    mnist, cifar = load("mnist"), load("cifar10")
    assert sizes(mnist) == (50_000, 10_000, 10_000)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(mnist.train.float().mean().item() / 255 - 0.1307) < 1e-3
    assert sizes(cifar) == (16_000, 4_000, 1_000)
    assert cifar.shape == (3, 32, 32)
    assert [cifar.classes[i] for i in cifar.test_labels[:4]] == ["cat", "ship", "ship", "airplane"]


def idx(a: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape) + a.tobytes()


def write_mnist(folder: Path, n: int = 12, zipped: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, m in (("train", n), ("t10k", 3)):
        images = np.arange(m, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
        for kind, a in (("images-idx3", images), ("labels-idx1", np.arange(m, dtype=np.uint8) % 10)):
            path = folder / f"{stem}-{kind}-ubyte{'.gz' * zipped}"
            path.write_bytes(gzip.compress(idx(a)) if zipped else idx(a))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("sub", ["mnist", "."])
def test_idx_files_are_found_and_split_in_file_order(tmp_path: Path, sub: str, zipped: bool) -> None:
    write_mnist(tmp_path / sub, zipped=zipped)
    d = load("mnist", tmp_path)
    assert d.train[:, 0, 0, 0].tolist() == d.train_labels.tolist() == list(range(10))
    assert d.valid[:, 0, 0, 0].tolist() == [10, 11]
    assert sizes(d) == (10, 2, 3)


IMAGES = idx(np.ones((3, 2, 2), np.uint8))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (gzip.compress(IMAGES, mtime=0)[:-10], "cut short"),
        (gzip.compress(IMAGES[:-1], mtime=0), "has 11 bytes; expected .* = 12"),
        (gzip.compress(IMAGES + b"x", mtime=0), "has more bytes"),
        (gzip.compress(b"\0\0\x0d\x03" + IMAGES[4:], mtime=0), "begins with 00000d03; expected an IDX file of bytes"),
        (gzip.compress(IMAGES[:9], mtime=0), "damaged"),
        (b"no gzip at all", "damaged"),
        (b"", "begins with nothing"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=message) as e:
        catalogue.read_idx(path)
    assert str(path) in str(e.value)


def test_cifar_files(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, n in (("data_batch_1.bin", 6), ("data_batch_3.bin", 4), ("test_batch.bin", 2)):
        rows = RNG.integers(0, 256, (n, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(n)
        (folder / name).write_bytes(rows.tobytes())
    d = load("cifar10", tmp_path)
    assert sizes(d) == (8, 2, 2)
    assert torch.cat([d.train_labels, d.valid_labels]).tolist() == [*range(6), *range(4)]
    (folder / "data_batch_1.bin").write_bytes(b"x" * 3074)
    with pytest.raises(ValueError, match=r"data_batch_1.bin has 3,074 bytes; expected a multiple of 3,073"):
        load("cifar10", tmp_path)


def test_names_and_places_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no data set 'minst'; expected one of .*path.* Did you mean 'mnist'\?"):
        load("minst")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load(tmp_path / "x.csv")
    for name in ("mnist", "fashion-mnist", "cifar10"):
        assert name in NAMES
        with pytest.raises(FileNotFoundError, match=r"looked for .*(ubyte|bin).* in .*root=.*CHARTAE_DATA"):
            load(name, tmp_path)
    (tmp_path / "x.txt").write_text("1")
    with pytest.raises(ValueError, match=r"unknown format; expected .npy, .npz, .csv, .tsv, .parquet"):
        load(tmp_path / "x.txt")


# -- files


def test_npy_and_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", tagged(50))
    d = load(tmp_path / "a.npy")
    check_partition(d, 50)
    assert (sizes(d), d.name, d.source) == ((40, 5, 5), "a", str(tmp_path / "a.npy"))

    np.savez(tmp_path / "b.npz", X=tagged(50), y=np.arange(50) % 3)
    check_partition(load(str(tmp_path / "b.npz"), seed=4), 50)

    x, y = tagged(50), np.array(["u", "v", "w"])[np.arange(50) % 3]
    parts = {"train": x[:30], "valid": x[30:40], "test": x[40:]}
    labels = {"train_labels": y[:30], "valid_labels": y[30:40], "test_labels": y[40:]}
    np.savez_compressed(tmp_path / "c.npz", **parts, **labels)
    d = load(tmp_path / "c.npz")
    assert torch.equal(d.valid, torch.from_numpy(x[30:40]))
    assert d.classes == ("u", "v", "w")
    check_partition(d, 50)

    np.savez(tmp_path / "d.npz", train=x[:40], train_labels=np.arange(40) % 3, test=x[40:],
             test_labels=np.arange(40, 50) % 3)  # fmt: skip
    d = load(tmp_path / "d.npz")
    assert sizes(d) == (36, 4, 10)
    check_partition(d, 50)

    np.savez(tmp_path / "e.npz", weights=x, other=x)
    with pytest.raises(ValueError, match=r"has the keys weights, other; expected"):
        load(tmp_path / "e.npz")
    np.save(tmp_path / "f.npy", np.eye(4, dtype=np.uint8)[:, None])
    assert load(tmp_path / "f.npy").train.unique().tolist() == [0, 255]
    np.savez(tmp_path / "g.npz", train=x, valid=x[:, :1])
    with pytest.raises(ValueError, match=r"g.npz: valid holds .* as in train"):
        load(tmp_path / "g.npz")
    np.savez(tmp_path / "h.npz", train=x, valid=x[:9], train_labels=y)
    with pytest.raises(ValueError, match=r"given for .'train'. but not for .'valid'."):
        load(tmp_path / "h.npz")


class Hostile:
    def __reduce__(self) -> tuple:
        return os.mkdir, (os.environ["CHARTAE_TRAP"],)


@pytest.mark.parametrize("kind", ["object.npy", "object.npz", "pickle.npy"])
def test_pickles_are_never_opened(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trap, path = tmp_path / "sprung", tmp_path / kind
    monkeypatch.setenv("CHARTAE_TRAP", str(trap))
    a = np.array([[Hostile()]], object)
    if kind == "object.npy":
        np.save(path, a, allow_pickle=True)
    elif kind == "object.npz":
        np.savez(path, X=a)
    else:
        path.write_bytes(pickle.dumps(a))
    with pytest.raises(ValueError, match=r"pickled objects, which are never loaded"):
        load(path)
    assert not trap.exists()


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY\x01\x00"])
def test_damaged_numpy_files_are_named(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(ValueError, match=r"a.npz"):
        load(tmp_path / "a.npz")


def rows(sep: str = ",", label: str = "{}") -> str:
    return "".join(f"{i}{sep}{i * i}{sep}{label.format('abc'[i % 3])}\n" for i in range(30))


@pytest.mark.parametrize(
    ("text", "d", "label"),
    [
        ("n,square,label\n" + rows(), 2, "label"),
        ("n;square;Class\n" + rows(";"), 2, "class"),
        ('"n","square","y"\n' + rows(label='"{}"'), 2, "y"),
        ("\ufeffn\tsquare\ttarget\n" + rows("\t").replace("\n", "\r\n"), 2, "target"),
        ("0,1,label\n" + rows(), 2, "label"),
        ("\n".join(f"{i},{i}" for i in range(30)), 2, None),
        ("n\n" + "\n".join(map(str, range(30))), 1, None),
        (",n,y\n" + "\n".join(f"{i},{i},{i % 3}" for i in range(30)), 1, "y"),
    ],
)
def test_csv(tmp_path: Path, text: str, d: int, label: str | None) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    data = read(tmp_path / "t.csv", reading=Reading(label=label))
    assert data.shape == (d,)
    assert (data.train_labels is not None) is (label is not None)
    check_partition(data, 30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,x\n2,y\n", r"not numeric in column 'b' \('x' in line 2\); expected numbers. Leave"),
        ("1,2,red\n2,3,blue\n", r"not numeric in column 'column 3' \('red' in line 1\)"),
        ("a,b\n1,2\n3,\n5,NA\n", "2 missing values, the first in line 3, column 'b'"),
        ("a,b\n1,nan\n3,4\n", "1 missing value, the first in line 2, column 'b'"),
        ("a,b\n1,2\n3\n", "line 3, has 1 cells; expected 2"),
        ("a,b\nr1,1,2,3\n", "line 2, has 4 cells; expected 2"),
        ("a,label\n1,\n2,NA\n", "all 2 labels in column 'label' of .* are missing"),
        ("a,b\n", "header but no rows"),
        ("label\nu\n", "no columns but those of labels"),
        ("", "is empty; expected a header or rows"),
        ("a,b\n1,inf\n2,3\n", "t.csv: 1 value .* infinite"),
        ("a,b\n1,2\n1,2\n", "t.csv: all 2 examples of x are identical"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    label = "label" if "label" in text else None
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "t.csv", reading=Reading(label=label))


def test_parquet(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"n": range(30), "square": [i * 1.0 for i in range(30)], "flag": [True, False] * 15}
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({**columns, "label": list("abc") * 10}), path)
    d = read(path, reading=Reading(label="label"))
    assert (d.shape, d.classes) == ((3,), ("a", "b", "c"))
    check_partition(d, 30)
    pq.write_table(pa.table({**columns, "town": list("abc") * 10}), path)
    with pytest.raises(ValueError, match="not numeric in column 'town'"):
        load(path)
    pq.write_table(pa.table({**columns, "age": [1.0, 2.0, None] * 10}), path)
    with pytest.raises(ValueError, match="10 missing values in column 'age', the first in row 2"):
        load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot be read as parquet"):
        load(path)


# -- pictures


def draw(path: Path, level: int, mode: str = "L", size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).convert(mode).save(path)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3)])
def test_a_folder_of_pictures(tmp_path: Path, mode: str, channels: int) -> None:
    for i in range(20):
        draw(tmp_path / f"{i:02}.png", 255 * (i % 2) if mode == "1" else i, mode)
    draw(tmp_path / ".hidden" / "x.png", 7)
    (tmp_path / "notes.txt").write_text("no picture")
    d = load(tmp_path)
    assert (sizes(d), d.shape, d.train.dtype) == ((16, 2, 2), (channels, 4, 6), torch.uint8)
    assert d.train_labels is None
    assert d.name == tmp_path.name
    if mode != "1":
        assert sorted(torch.cat([d.train, d.valid, d.test])[:, 0, 0, 0].tolist()) == list(range(20))


def test_subfolders_are_classes_or_splits(tmp_path: Path) -> None:
    for i in range(20):
        draw(tmp_path / "a" / "abc"[i % 3] / "deep" / f"{i}.png", i)
        split = "train" if i < 12 else "val" if i < 16 else "test"
        draw(tmp_path / "b" / split / "abc"[i % 3] / f"{i}.bmp", i)
        draw(tmp_path / "c" / "only" / f"{i}.png", i, "RGB" if i == 3 else "L")
    for folder, expected in (("a", (16, 2, 2)), ("b", (12, 4, 4))):
        d = load(tmp_path / folder)
        assert (sizes(d), d.classes) == (expected, ("a", "b", "c"))
        for s in SPLITS:
            assert torch.equal(getattr(d, s)[:, 0, 0, 0] % 3, getattr(d, s + "_labels"))
    assert load(tmp_path / "b").test[:, 0, 0, 0].sort().values.tolist() == [16, 17, 18, 19]
    mixed = load(tmp_path / "c")
    assert (mixed.train_labels, mixed.shape) == (None, (3, 4, 6))


def test_picture_sizes(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    draw(tmp_path / "b.png", 2, size=(9, 9))
    with pytest.raises(ValueError, match=r"b.png has 9x9 pixels but .*a.png 4x6 .* Give size="):
        load(tmp_path)
    assert load(tmp_path, size=3).shape == (1, 3, 3)
    with pytest.raises(ValueError, match="'digits' is read in one way"):
        load("digits", size=3)
    (tmp_path / "c.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"c.png cannot be read as an image"):
        load(tmp_path, size=3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        load(tmp_path / "empty")


# -- downloads

BODY = RNG.bytes(300_000)
MD5 = hashlib.md5(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/range honours ranges, /plain ignores them, /broken gives half of what is left, /wrong other bytes."""

    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        kind, wanted = urlparse(self.path).path[1:], self.headers.get("Range")
        self.seen.append((kind, wanted))
        body = BODY[::-1] if kind == "wrong" else BODY + b"+" if kind == "long" else BODY
        start = int(wanted[6:-1]) if wanted and kind != "plain" else 0
        if kind == "gone":
            self.send_error(404)
            return
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/range")
            self.end_headers()
            return
        if kind == "late":  # the header of the response never ends
            for _ in range(100):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.1)
            return
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if kind == "slow":
            for i in range(100):
                self.wfile.write(rest[100 * i : 100 * i + 100])
                self.wfile.flush()
                time.sleep(0.05)
            return
        broken = kind == "broken" and len(rest) > 50_000
        self.wfile.write(rest[: len(rest) // 2] if broken else rest)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[tuple[str, list]]:
    Handler.seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{s.server_port}/", Handler.seen
        s.shutdown()


def test_a_file_is_fetched_once(server: tuple[str, list], tmp_path: Path) -> None:
    url, seen = server
    path = tmp_path / "deep" / "f"
    for _ in range(2):
        assert fetch(url + "range", path, md5=MD5, size=len(BODY), progress=True) == path
    assert path.read_bytes() == BODY
    assert len(seen) == 1
    path.write_bytes(b"damaged")
    assert fetch(url + "range", path, sha256=hashlib.sha256(BODY).hexdigest()).read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("kind", "have", "ranges"),
    [
        ("range", BODY[:1000], ["bytes=1000-"]),
        ("plain", BODY[:1000], ["bytes=1000-"]),
        ("range", BODY, ["bytes=300000-"]),
        ("range", b"of another file", ["bytes=15-", None]),
        ("range", BODY + b"too long", ["bytes=300008-", None]),
        ("broken", b"", [None, "bytes=150000-", "bytes=225000-", "bytes=262500-"]),
    ],
)
def test_a_broken_download_is_continued(
    server: tuple[str, list], tmp_path: Path, kind: str, have: bytes, ranges: list
) -> None:
    url, seen = server
    if have:
        (tmp_path / "f.part").write_bytes(have)
    assert fetch(url + kind, tmp_path / "f", md5=MD5).read_bytes() == BODY
    assert [r for _, r in seen] == ranges


def test_mirrors_are_tried_in_order(server: tuple[str, list], tmp_path: Path) -> None:
    url, seen = server
    mirrors = ["http://127.0.0.1:9/nobody", url + "gone", url + "wrong", url + "range"]
    assert fetch(mirrors, tmp_path / "f", md5=MD5).read_bytes() == BODY
    assert [k for k, _ in seen] == ["gone", "wrong", "range"]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("wrong", ValueError, "has md5 [0-9a-f]{32}, expected " + MD5 + "; the partial file was deleted"),
        ("long", ValueError, "has 300001 bytes, expected 300000"),
        ("gone", ConnectionError, r"(?s)could not download f:.*404.*Put the file at .*f by hand"),
    ],
)
def test_failures_say_why(
    server: tuple[str, list], tmp_path: Path, kind: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fetch(server[0] + kind, tmp_path / "f", md5=MD5, size=len(BODY))
    assert not list(tmp_path.iterdir())


def test_fetch_is_told_what_to_expect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exactly one checksum"):
        fetch("http://127.0.0.1:9/", tmp_path / "f")
    with pytest.raises(ValueError, match="expected http"):
        fetch("file:///etc/hostname", tmp_path / "f", md5=MD5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("kind", "limits", "message"),
    [
        ("slow", {"limit": 0.5}, "took more than 0.5 seconds|time of 0.5 seconds is over"),
        ("late", {"limit": 0.5}, "time of 0.5 seconds is over"),
        ("slow", {"slowest": 1e5}, "bytes per second, fewer than 100,000"),
    ],
)
def test_a_server_that_trickles_is_left(
    server: tuple[str, list], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limits: dict, message: str
) -> None:
    monkeypatch.setattr(download, "_WINDOW", 0.3)
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=message):
        fetch(server[0] + kind, tmp_path / "f", md5=MD5, **limits)
    assert time.monotonic() - began < 4
    if kind == "slow":  # what has come is kept, and resumed
        assert 0 < (tmp_path / "f.part").stat().st_size < 10_000
        assert BODY.startswith((tmp_path / "f.part").read_bytes())
        assert fetch(server[0] + "range", tmp_path / "f", md5=MD5).read_bytes() == BODY
        assert server[1][-1][1] is not None


def test_a_slow_mirror_is_followed_by_the_next(
    server: tuple[str, list], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_WINDOW", 0.2)
    url = server[0]
    assert fetch([url + "slow", url + "range"], tmp_path / "f", md5=MD5, slowest=1e5).read_bytes() == BODY


def test_redirections_stay_encrypted(server: tuple[str, list], tmp_path: Path) -> None:
    assert fetch(server[0] + "moved", tmp_path / "f", md5=MD5).read_bytes() == BODY
    follow = download._Secure().redirect_request
    for old, new, allowed in (
        ("https://a/x", "https://b/x", True),
        ("http://a/x", "https://b/x", True),
        ("http://a/x", "http://b/x", True),
        ("https://a/x", "http://b/x", False),
        ("http://a/x", "ftp://b/x", False),
        ("https://a/x", "file:///etc/hostname", False),
    ):
        answer = (Request(old), io.BytesIO(), 302, "Found", Message(), new)
        if allowed:
            assert follow(*answer).full_url == new
        else:
            with pytest.raises(ConnectionError, match="redirects to"):
                follow(*answer)


@pytest.mark.parametrize("how", ["link", "hard link", "dangling link"])
def test_a_download_writes_through_no_link(server: tuple[str, list], tmp_path: Path, how: str) -> None:
    outside, part = tmp_path / "outside", tmp_path / "in" / "f.part"
    part.parent.mkdir()
    if how != "dangling link":
        outside.write_bytes(BODY[:1000])
    os.link(outside, part) if how == "hard link" else part.symlink_to(outside)
    assert fetch(server[0] + "range", tmp_path / "in" / "f", md5=MD5).read_bytes() == BODY
    assert outside.exists() == (how != "dangling link")
    if outside.exists():
        assert outside.read_bytes() == BODY[:1000]
    (tmp_path / "in" / "f").unlink()
    os.mkfifo(part)
    with pytest.raises(ValueError, match="no regular file"):
        fetch(server[0] + "range", tmp_path / "in" / "f", md5=MD5)


def test_a_full_disk_ends_a_download(server: tuple[str, list], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, block: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_opened", lambda part, resumes: Full())
    with pytest.raises(OSError, match="No space left on device") as caught:
        fetch([server[0] + "range", server[0] + "plain"], tmp_path / "f", md5=MD5)
    assert caught.value.errno == errno.ENOSPC
    assert len(server[1]) == 1  # no other mirror helps


def test_an_archive_replaces_links(tmp_path: Path) -> None:
    archive, outside = tmp_path / "a.tar.gz", tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "in").mkdir()
    for name in ("test_batch.bin", "test_batch.bin.part"):
        (tmp_path / "in" / name).symlink_to(outside)
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("test_batch.bin")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    extract(archive, tmp_path / "in", ["test_batch.bin"])
    assert (tmp_path / "in" / "test_batch.bin").read_bytes() == b"data"
    assert not (tmp_path / "in" / "test_batch.bin").is_symlink()
    assert outside.read_text() == "mine"


def test_named_sets_are_downloaded_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHARTAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_mnist(tmp_path / "web")
    files = tuple(
        catalogue._Published(f.stem, hashlib.md5(raw).hexdigest(), len(raw))
        for f in catalogue._MNIST_FILES
        for raw in [(tmp_path / "web" / f"{f.stem}.gz").read_bytes()]
    )
    asked = []

    def fake(url: list[str], path: Path, *, md5: str, size: int, progress: bool) -> Path:
        asked.append(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((tmp_path / "web" / path.name).read_bytes())
        return path

    monkeypatch.setattr(catalogue, "_MNIST_FILES", files)
    monkeypatch.setattr(catalogue, "fetch", fake)
    assert sizes(load("mnist")) == (10, 2, 3)
    assert all(len(u) == 2 and u[0].endswith("-ubyte.gz") for u in asked)
    assert len(list((tmp_path / "cache" / "chartae" / "mnist").iterdir())) == 4


def test_an_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    archive, target = tmp_path / "a.tar.gz", tmp_path / "in"
    target.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("sub/test_batch.bin", "../../escaped.bin", "/tmp/other.bin", "sub/readme.html"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"data"))
        link = tarfile.TarInfo("data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    extract(archive, target, ["test_batch.bin", "data_batch_1.bin", "escaped.bin"])
    assert sorted(p.name for p in target.iterdir()) == ["escaped.bin", "test_batch.bin"]
    assert not (tmp_path / "escaped.bin").exists()


# -- memory


def test_a_large_array_is_mapped_and_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.normal(size=(300, 4)).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    before = load(tmp_path / "a.npy")
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    monkeypatch.setattr(blockwise, "BLOCK", 64)
    parts = files.read_contents(tmp_path / "a.npy").parts
    assert isinstance(parts["train"].x, np.memmap)
    after = load(tmp_path / "a.npy")
    for split in ("train", "valid", "test"):
        assert torch.equal(after.split(split), before.split(split))
    mapped = read(tmp_path / "a.npy", valid=0, test=0).train
    mapped.zero_()  # changes memory, not the file
    assert np.array_equal(np.load(tmp_path / "a.npy"), x)


@pytest.mark.parametrize("wrong", ["pickled", "short", "empty", "fortran", "zipped"])
def test_files_that_cannot_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setattr(files, "MAPPED_FROM", 0)
    path, x = tmp_path / "a.npy", RNG.normal(size=(300, 4)).astype(np.float32)
    np.save(path, {"pickled": np.array([{}], object), "empty": x[:0]}.get(wrong, np.asfortranarray(x)))
    if wrong == "short":
        path.write_bytes(path.read_bytes()[:-100])
    elif wrong == "zipped":
        np.savez(tmp_path / "b.npz", x=x)
        (tmp_path / "b.npz").rename(path)
    if wrong in ("fortran", "zipped"):
        assert sizes(load(path)) == (240, 30, 30)
    else:
        with pytest.raises(
            ValueError, match={"pickled": "pickled", "short": "cannot be read", "empty": "empty"}[wrong]
        ):
            load(path)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.float32])
def test_columns_are_scaled_alike_in_blocks(monkeypatch: pytest.MonkeyPatch, dtype: type) -> None:
    x = (1000 * RNG.normal(size=(500, 3)) + 7).astype(dtype)
    x_before = x.copy()
    whole = from_arrays(x)
    monkeypatch.setattr(blockwise, "BLOCK", 100)
    blocks = from_arrays(x)
    assert np.array_equal(x, x_before)  # the user's array is never changed
    assert torch.equal(whole.train, blocks.train)
    np.testing.assert_allclose(blocks.kind.mean, whole.kind.mean, rtol=1e-13)
    np.testing.assert_allclose(blocks.kind.sd, whole.kind.sd, rtol=1e-13)
    inside = whole.kind.inside(whole.train)
    monkeypatch.undo()
    assert torch.equal(inside, whole.kind.inside(whole.train))
