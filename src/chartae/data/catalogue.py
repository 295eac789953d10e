"""The named data sets, and `load` for a named data set or any path."""

from __future__ import annotations

import gzip
import importlib.resources
import inspect
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from chartae.data import sprites, toys
from chartae.data.arrays import SPLITS, held_out
from chartae.data.dataset import Dataset, Shares, from_path
from chartae.data.derived import VIEWS, derive, split_views
from chartae.data.download import extract, fetch
from chartae.data.foreign import absent
from chartae.data.kinds import Images, Points
from chartae.data.options import Reading
from chartae.records.choices import one_of

__all__ = ["NAMES", "SUMMARIES", "files_of", "load", "read_cifar", "read_idx"]

_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DIGITS = tuple("0123456789")
#: how many bytes gzip packs into one, at most
MOST_PACKED = 1032
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"


#: images and their labels
Labelled: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class _Published(NamedTuple):
    """A published file: its name without suffix, checksum and size in bytes."""

    stem: str
    md5: str
    size: int


_MNIST_FILES = (
    _Published("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9912422),
    _Published("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432", 28881),
    _Published("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3", 1648877),
    _Published("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c", 4542),
)
_FASHION_FILES = (
    _Published("train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26421880),
    _Published("train-labels-idx1-ubyte", "25c81989df183df01b3e8a0aad5dffbe", 29515),
    _Published("t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79", 4422102),
    _Published("t10k-labels-idx1-ubyte", "bb300cfdad3c16e7a12a480ee83cd310", 5148),
)
_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION_MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzipped: images (n, h, w) or labels (n,).

    Raises:
        ValueError: the file is damaged or not an IDX file of bytes.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as f:
            magic = f.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08" or magic[3] not in (1, 3):
                raise ValueError(
                    f"{path} begins with {magic.hex() or 'nothing'}; expected an IDX file of bytes, which begins with"
                    " 00000801 (labels) or 00000803 (images)."
                )
            header = f.read(4 * magic[3])
            shape = tuple(int(v) for v in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
            length = math.prod(shape)
            # one more byte, to detect a file that is too long; none, if even the best packing could not hold so many
            most = path.stat().st_size * (MOST_PACKED if path.suffix == ".gz" else 1)
            body = f.read(length + 1) if len(shape) == magic[3] and length <= most else b""
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ValueError(f"{path} is damaged or cut short ({e}). Download it again.") from e
    if len(shape) < magic[3] or len(body) != length:
        actual = "more" if len(shape) == magic[3] and len(body) > length else f"{len(body):,}"
        raise ValueError(f"{path} is damaged: it has {actual} bytes; expected {shape} = {length:,}. Download it again.")
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_cifar(path: str | os.PathLike[str]) -> Labelled:
    """Read images (n, 3, 32, 32) and labels (n,) from a file of the binary version of CIFAR-10.

    Raises:
        ValueError: the file has a wrong size, or holds labels above 9.
    """
    raw = np.fromfile(path, np.uint8)
    if len(raw) == 0 or len(raw) % 3073:
        raise ValueError(
            f"{path} has {len(raw):,} bytes; expected a multiple of 3,073 (a label and 3x32x32 levels). Download it"
            " again."
        )
    raw = raw.reshape(-1, 3073)
    if raw[:, 0].max() > 9:
        raise ValueError(
            f"{path} holds a label {raw[:, 0].max()}; expected the labels 0..9 of CIFAR-10. Download the file again."
        )
    return raw[:, 1:].reshape(-1, 3, 32, 32), raw[:, 0]


def _fixed(name: str, train: Labelled, test: Labelled, last: int, classes: tuple[str, ...], source: object) -> Dataset:
    """The usual split: the last 1/`last` of the training file is used for validation."""
    x, y = (torch.from_numpy(np.array(a)) for a in train)
    xt, yt = (torch.from_numpy(np.array(a)) for a in test)
    y, yt = y.long(), yt.long()
    cut = len(x) - len(x) // last
    return Dataset(name, x[:cut], x[cut:], xt, y[:cut], y[cut:], yt, classes, str(source))


def _cache(name: str) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chartae" / name


def _missing(name: str, folders: list[Path], names: list[str]) -> FileNotFoundError:
    return FileNotFoundError(
        f"files of {name!r} are missing; looked for {', '.join(names)} in "
        + ", ".join(map(str, folders))
        + ". Put them there, or give their folder as root= or in the environment variable CHARTAE_DATA."
        " Without either, they are downloaded."
    )


def _idx_files(name: str, root: Path | None, files: tuple[_Published, ...]) -> list[Path]:
    """The files of a data set of IDX files: images and labels of the training set, and those of the test set."""
    folders = [_cache(name)] if root is None else [root / name, root]
    for folder in folders:
        paths = [next((p for s in (".gz", "") if (p := folder / (f.stem + s)).is_file()), None) for f in files]
        if all(paths):
            return [path for path in paths if path]
    raise _missing(name, folders, [f.stem + "[.gz]" for f in files])


def _idx(name: str, root: Path | None, files: tuple[_Published, ...], mirrors: tuple[str, ...],
         classes: tuple[str, ...]) -> Dataset:  # fmt: skip
    if root is None:
        for file in files:
            gz = file.stem + ".gz"
            fetch([m + gz for m in mirrors], _cache(name) / gz, md5=file.md5, size=file.size, progress=True)
    paths = _idx_files(name, root, files)
    x, y, xt, yt = map(read_idx, paths)
    for images, labels, where in ((x, y, paths[0]), (xt, yt, paths[2])):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{where} has shape {images.shape} and its labels {labels.shape}; expected (n, h, w) and (n,)."
                " Download both files again."
            )
    return _fixed(name, (x[:, None], y), (xt[:, None], yt), 6, classes, paths[0].parent)


def _mnist(root: Path | None, seed: int) -> Dataset:
    return _idx("mnist", root, _MNIST_FILES, _MNIST_MIRRORS, _DIGITS)


def _fashion_mnist(root: Path | None, seed: int) -> Dataset:
    return _idx("fashion-mnist", root, _FASHION_FILES, _FASHION_MIRRORS, _FASHION)


#: files of CIFAR-10: of the training set, and of the test set, of which a part may lie in its place
_CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_CIFAR_TEST = ("test_batch.bin", "test_batch_first1000.bin")


def _cifar_files(root: Path | None) -> list[Path]:
    """The files of CIFAR-10 that there are; the last is that of the test set."""
    folders = [_cache("cifar10")] if root is None else [root / "cifar10", root / "cifar-10-batches-bin", root]
    for place in folders:
        train, test = ([p for n in names if (p := place / n).is_file()] for names in (_CIFAR_TRAIN, _CIFAR_TEST))
        if train and test:
            return [*train, test[0]]
    raise _missing("cifar10", folders, ["data_batch_*.bin", "test_batch.bin (or test_batch_first1000.bin)"])


def _cifar10(root: Path | None, seed: int) -> Dataset:
    names, folder = [*_CIFAR_TRAIN, _CIFAR_TEST[0]], _cache("cifar10")
    if root is None and not all((folder / n).is_file() for n in names):
        archive = fetch(_CIFAR_URL, folder / "cifar-10-binary.tar.gz", md5=_CIFAR_MD5, progress=True)
        extract(archive, folder, names)
        archive.unlink()
    *train, test = _cifar_files(root)
    xs, ys = zip(*map(read_cifar, train), strict=True)
    return _fixed("cifar10", (np.concatenate(xs), np.concatenate(ys)), read_cifar(test), 5, _CIFAR, test.parent)


def _digits(root: Path | None, seed: int) -> Dataset:
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.from_numpy(np.rint(raw.images * (255 / 16)).astype(np.uint8))[:, None]
    y = torch.from_numpy(raw.target.astype(np.int64))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    i, j, k = order.split([len(x) - 500, 250, 250])
    return Dataset("digits", x[i], x[j], x[k], y[i], y[j], y[k], _DIGITS, "scikit-learn")


def _fashion_mini(root: Path | None, seed: int) -> Dataset:
    file = importlib.resources.files("chartae.data") / "fashion_mini" / "fashion_mini.npz"
    with file.open("rb") as f, np.load(f, allow_pickle=False) as z:
        a, b, c = (torch.from_numpy(z[s])[:, None] for s in SPLITS)
        ya, yb, yc = (torch.from_numpy(z[f"{s}_labels"].astype(np.int64)) for s in SPLITS)
    return Dataset("fashion-mini", a, b, c, ya, yb, yc, _FASHION, "shipped with chartae")


#: number of images in the three splits of sprites
SPRITES = (20_000, 2_000, 2_000)
_DSPRITES_FACTORS = ("shape", "scale", "orientation", "x", "y")
_DSPRITES = "dsprites_downsampled.npz"


def _sprites(root: Path | None, seed: int) -> Dataset:
    folder = _cache("sprites")
    x, z = sprites.cached(sum(SPRITES), seed, folder)
    (a, b, c), (za, zb, zc) = x.split(SPRITES), z.float().split(SPRITES)
    return Dataset("sprites", a, b, c, za, zb, zc, (), str(folder), sprites.FACTORS)


def _dsprites_files(root: Path | None) -> list[Path]:
    folders = [_cache("dsprites")] if root is None else [root / "dsprites", root]
    path = next((p for f in folders if (p := f / _DSPRITES).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"the file of 'dsprites' is missing; looked for {_DSPRITES} in {', '.join(map(str, folders))}. Put it"
            " there, or give its folder as root= or in the environment variable CHARTAE_DATA; it is not downloaded."
        )
    return [path]


def _dsprites(root: Path | None, seed: int) -> Dataset:
    path = _dsprites_files(root)[0]
    keys = ("imgs", "latents_values")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as f:
            if missing := [k for k in keys if k not in f.files]:
                raise ValueError(f"it lacks {', '.join(missing)} (it has {', '.join(f.files) or 'nothing'})")
            images, values = (f[k] for k in keys)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise ValueError(f"{path} cannot be read as dSprites: {e}. Download it again.") from e
    n = len(images)
    if images.shape != (n, 64, 64) or values.shape != (n, 5) or n < 3 or images.dtype != np.uint8 or images.max() > 1:
        raise ValueError(
            f"{path} holds images {images.shape} {images.dtype} and values {values.shape}; expected (N, 64, 64)"
            " uint8 of 0 and 1, and (N, 5). Download it again."
        )
    x, y = torch.from_numpy(images)[:, None] * 255, torch.from_numpy(values).float()
    valid, test = held_out(n, 0.1, 0.1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    i, j, k = order.split([n - valid - test, valid, test])
    return Dataset("dsprites", x[i], x[j], x[k], y[i], y[j], y[k], (), str(path.parent), _DSPRITES_FACTORS)


def _toy(name: str) -> Callable[[Path | None, int], Dataset]:
    def draw(root: Path | None, seed: int) -> Dataset:
        x = toys.WORLDS[name]().draw(30_000, torch.Generator().manual_seed(seed)).float()
        a, b, c = x.split([20_000, 5_000, 5_000])
        return Dataset(name, a, b, c, source="chartae.data.toys", kind=Points.of(a))

    return draw


_SETS: dict[str, Callable[[Path | None, int], Dataset]] = {
    "fashion-mini": _fashion_mini,
    "digits": _digits,
    "mnist": _mnist,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "sprites": _sprites,
    "dsprites": _dsprites,
    **{name: _toy(name) for name in toys.WORLDS},
}

#: data set -> function from a folder to the files that it is read from; others are made here, or come with a package
_FILES: dict[str, Callable[[Path | None], list[Path]]] = {
    "mnist": lambda root: _idx_files("mnist", root, _MNIST_FILES),
    "fashion-mnist": lambda root: _idx_files("fashion-mnist", root, _FASHION_FILES),
    "cifar10": _cifar_files,
    "dsprites": _dsprites_files,
}


def files_of(name: str, root: Path | None) -> list[Path]:
    """The files that a named data set is read from, without reading or downloading any.

    Args:
        name: one of `NAMES`.
        root: folder of the files; None for the cache folder.

    Returns:
        Paths; empty for a data set that needs no files.

    Raises:
        FileNotFoundError: a file is missing.
    """
    return _FILES[name](root) if name in _FILES else []


#: names of the data sets of `load`; only mnist, fashion-mnist, cifar10 and dsprites need files or a network
NAMES: tuple[str, ...] = tuple(_SETS)


def load(
    name_or_path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    size: int | str | Sequence[int] | None = None,
    reading: Reading = Reading(),
) -> Dataset:
    """Load a named data set, or the one in a file or folder, as three disjoint splits.

    The named data sets, with the sizes of train + valid + test, are:

    * ``fashion-mini``, 6,000 + 1,000 + 1,000: 28x28 grey images, a class-balanced subset of Fashion-MNIST that ships
      with the package;
    * ``digits``, 1,297 + 250 + 250: 8x8 grey images of scikit-learn, levels 0..16 rescaled to 0..255; random split;
    * ``mnist``, 50,000 + 10,000 + 10,000: 28x28 grey images (LeCun, Bottou, Bengio, Haffner, 1998);
    * ``fashion-mnist``, the same sizes as mnist (Xiao, Rasul, Vollgraf, 2017, arXiv:1708.07747);
    * ``cifar10``, 40,000 + 10,000 + 10,000: 32x32 colour images, the binary version (Krizhevsky, 2009); smaller if
      some of the five training files are missing;
    * ``sprites``, 20,000 + 2,000 + 2,000: 64x64 colour images of one triangle each, drawn by `chartae.data.sprites`
      (15 s) and cached in ``~/.cache/chartae`` (or XDG_CACHE_HOME); the labels are the four factors (Reizinger et al.,
      2022, arXiv:2206.02416);
    * ``dsprites``, 36,864 + 4,608 + 4,608: 64x64 binary images of every combination of five factors, which are the
      labels, from ``dsprites_downsampled.npz`` (Matthey, Higgins, Hassabis, Lerchner, 2017, downsampled by C. Gillon);
      random split; not downloaded;
    * the distributions of `chartae.data.toys.WORLDS`, such as ``mixture-2d`` or ``spiral``, 20,000 + 5,000 + 5,000
      points, whose density and score are known.

    The validation split is the last sixth (``cifar10``: the last fifth) of the training files. In contrast, the code
    of "From Variational to Deterministic Autoencoders" (Ghosh et al., 2020, arXiv:1903.12436) validates on images that
    it also trains on.

    A path is one of:

    * a folder of pictures (png, jpg, bmp, gif, tif, webp, ppm, jp2 and others, at any depth). Grey pictures have one
      channel; if any picture is coloured, all have three; transparent ones are put on white. Subfolders ``train`` or
      ``training``, ``valid``, ``validation``, ``val`` or ``dev``, and ``test`` or ``testing``, in any case, are the
      splits. If every picture is in one of several subfolders, of the folder or of its splits, the names of these
      subfolders are the labels;
    * a ``.npy`` file: an array as for `from_arrays`. A ``.npz`` file: ``train``, ``valid``, ``test`` (each with
      ``..._labels``), or one of X, x, data, images, imgs, with y or labels. Pickles are refused. Integer images of
      only 0 and 1 are binary;
    * a ``.csv`` or ``.tsv`` file, plain or gzipped (``.gz``), with or without a header, or a ``.parquet`` file
      (requires ``chartae[parquet]``): numbers. Every column is a feature: `chartae.data.read` can take labels and
      weights from columns, or leave some out. A first column without a name is an index, which is left out.

    Splits that a path does not have are held out of train at random, a tenth each.

    A suffix selects a view of a data set of grey images: ``mnist+coloured``, ``fashion-mini+edges``,
    ``x.npy+inverted`` (see `chartae.data.derive`).

    Args:
        name_or_path: one of `NAMES`, or a path. A name takes precedence over a file of that name in the current
            folder.
        root: folder of the files of a named data set, which are in ``root/<name>/`` or `root` itself. By default the
            environment variable CHARTAE_DATA; if that is not set either, they are downloaded to ``~/.cache/chartae``
            (or XDG_CACHE_HOME).
        seed: seed of random splits and drawn data; default 0.
        size: for images of a path: crop the centre of each image and resize it, to `size` x `size` pixels, or to
            (height, width), which may be written ``"HxW"``.
        reading: other options for reading a path; none by default. What was decided is `Dataset.reading` and, in
            sentences, `Dataset.notes`.

    Returns:
        The data set, of kind `Images`, `Table` or (for the distributions of `chartae.data.toys`) `Points`.

    Raises:
        FileNotFoundError: there is no such file, or the files of a named data set are missing under `root`.
        ValueError: the name or view is unknown, or a file cannot be read.
        ConnectionError: the files cannot be downloaded.

    >>> from chartae.data import load
    >>> load("digits")
    Dataset('digits': images 1x8x8 uint8, 1,297 + 250 + 250 (train + valid + test), 10 classes; scikit-learn)
    """
    name = os.fspath(name_or_path)
    if not name.strip():
        raise ValueError(f"data is {name!r}; expected a name or a path. Write '.' for the current folder.")
    reading = reading if size is None else replace(reading, size=size)
    if isinstance(name_or_path, str) and name in _SETS:
        if fixed := [option for option in reading.stated() if option in Images.options and option != "shape"]:
            value = getattr(reading, fixed[0])
            raise ValueError(
                f"{fixed[0]} is {value!r}; expected None, as {name!r} is read in one way. Use it for your own images."
            )
        folder = root or os.environ.get("CHARTAE_DATA")
        return _SETS[name](Path(folder).expanduser() if folder else None, seed)
    path = Path(name).expanduser()
    if path.exists():
        return from_path(path, reading=reading, shares=Shares(seed))
    base, views = split_views(name)
    if views:
        unknown = [view for view in views if view not in VIEWS]
        if unknown:
            raise ValueError(
                f"view is {unknown[0]!r}; expected a view of {base}: one of {', '.join(f'+{v}' for v in VIEWS)}."
            )
        data = load(base, root, seed=seed, reading=replace(reading, shape=None))
        # data from a path are found again by the path, named data by their name and folder
        for view in views:
            data = derive(data, view, seed=seed)
        suffix = "+" + "+".join(views)
        return replace(data, source=data.source + suffix, path=data.path + suffix) if data.path else data
    if path.suffix or path.name != name or not isinstance(name_or_path, str):
        raise FileNotFoundError(absent(name))
    formats = "a path to a folder of images or to a .npy, .npz, .csv or .parquet file"
    raise ValueError(f"there is no data set {name!r}; {one_of(name, NAMES, also=formats)}")


#: name of a data set -> sizes of train + valid + test, what it holds, and where it comes from
SUMMARIES = {
    "fashion-mini": "6,000 + 1,000 + 1,000 grey pictures 28x28 of clothes, 10 classes; ships with chartae",
    "digits": "1,297 + 250 + 250 grey pictures 8x8 of digits, 10 classes; ships with scikit-learn",
    "mnist": "50,000 + 10,000 + 10,000 grey pictures 28x28 of digits, 10 classes; downloaded",
    "fashion-mnist": "50,000 + 10,000 + 10,000 grey pictures 28x28 of clothes, 10 classes; downloaded",
    "cifar10": "40,000 + 10,000 + 10,000 colour pictures 32x32, 10 classes; downloaded",
    "sprites": "20,000 + 2,000 + 2,000 colour pictures 64x64 of one triangle, 4 factors; drawn here",
    "dsprites": "36,864 + 4,608 + 4,608 binary pictures 64x64, 5 factors; needs its file",
    **{
        name: "20,000 + 5,000 + 5,000 points of a known density: "
        + " ".join((inspect.getdoc(world) or "").split("\n\n")[0].split()).replace("`", "")
        for name, world in toys.WORLDS.items()
    },
}
