"""What users bring, pictures: small awkward folders, files and arrays, and what must happen to each."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import chartae as ch
from chartae import cli
from chartae.data import Images, Reading, as_examples, from_arrays, inspect, load, read
from chartae.data.notes import Guess
from chartae.draw.pictures import grid
from chartae.runs import domain, translate

sys.path.insert(0, str(Path(__file__).parents[1]))
from tools import trial_pictures as trial

RNG = np.random.default_rng(0)
SPLITS = ("train", "valid", "test")
QUICK = {"latent_dim": 2, "epochs": 1, "net": "mlp", "densities": ["normal"], "progress": False}


@contextlib.contextmanager
def guessing(text: str | None):
    """Within the block, exactly one guess that matches is a warning; none if `text` is None."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    guesses = [str(w.message) for w in caught]
    assert all(w.category is Guess for w in caught)
    if text is None:
        assert not guesses
    else:
        assert [text in guess for guess in guesses] == [True], guesses


# -- folders: splits and classes --------------------------------------------------------------------------------------

#: folders with their number of pictures -> rows of each split, classes, a part of the notes and of the guess
FOLDERS = {
    "training and testing": (
        "training/a 6, training/b 6, testing/a 2, testing/b 2",
        (11, 1, 4), "a b", "train 12 (training/)", None,
    ),
    "any case": ("Train/a 4, Train/b 4, TEST/a 2, TEST/b 2", (7, 1, 4), "a b", "test 4 (TEST/)", None),
    "validation": (
        "train/a 4, train/b 4, validation/a 1, validation/b 2, test/a 2, test/b 2",
        (8, 3, 4), "a b", "valid 3 (validation/)", None,
    ),
    "dev": ("train 8, dev 2, test 3", (8, 2, 3), "", "no classes", None),
    "val without test": ("train 10, Val 2", (9, 2, 1), "", "valid 2 (Val/)", None),
    "train alone": ("train/a 5, train/b 5", (8, 1, 1), "a b", "10 pictures; 2 classes: a, b", None),
    "train alone, no classes": ("train 10", (8, 1, 1), "", "10 pictures; no classes", None),
    "one folder inside another": (
        "photos/train/a 4, photos/train/b 4, photos/test/a 1, photos/test/b 1",
        (7, 1, 2), "a b", "test 2", None,
    ),
    "test alone": ("test 10", (8, 1, 1), "", "split at random", None),
    "classes": ("a 5, b 5", (8, 1, 1), "a b", "2 classes: a, b", None),
    "nested classes": ("a/deep 5, b/deep 3, b 2", (8, 1, 1), "a b", "a/deep, are no classes of their own", None),
    "an empty class": ("a 5, b 5, c 0", (8, 1, 1), "a b", "no classes: c", None),
    "a class called test": ("a 4, b 4, test 2", (8, 1, 1), "a b test", "read as classes", "test/ beside a/, b/"),
    "a class called train": (
        "bus 4, car 4, train 2",
        (8, 1, 1), "bus car train", "read as classes", "train/ beside bus/, car/",
    ),
    "loose pictures beside classes": ("a 5, b 4, . 1", (8, 1, 1), "", "none has a label", "1 of 10 pictures"),
    "a test split without classes": (
        "train/a 5, train/b 4, test 2",
        (8, 1, 2), "", "none has a label", "2 of 11 pictures",
    ),
    "something beside the splits": ("train 8, test 2, extra 3", (7, 1, 2), "", "left out", "extra/ beside them"),
    "a class that test lacks": (
        "train/a 4, train/b 4, test/a 2",
        (7, 1, 2), "a b", "test split has no pictures of: b", None,
    ),
    "a class that train lacks": (
        "train/a 4, train/b 4, test/a 1, test/c 1",
        (7, 1, 2), "a b c", "train split has no pictures of: c", "Nothing is learnt",
    ),
    "one class in train": (
        "train/a 8, test/a 1, test/b 1",
        (7, 1, 2), "a b", "train split has no pictures of: b", "Nothing is learnt",
    ),
}  # fmt: skip


def build(folder: Path, counts: str) -> Path:
    """A folder of grey pictures: "a 2, b 3" for two in a/ and three in b/, each of another grey."""
    number = 0
    for name, n in (part.rsplit(" ", 1) for part in counts.split(", ")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(int(n)):
            trial.save(folder / name / f"{number}.png", np.full((4, 6), 10 * number, np.uint8))
            number += 1
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_splits_or_classes(name, tmp_path):
    counts, sizes, classes, note, guess = FOLDERS[name]
    with guessing(guess):
        data = read(build(tmp_path, counts))
    assert tuple(len(data.split(split)) for split in SPLITS) == sizes
    assert data.classes == tuple(classes.split())
    assert (data.train_labels is None) == (not classes)
    assert note in " ".join(data.notes)
    assert inspect(data).notes == data.notes
    assert sum(sizes) == len({int(x[0, 0, 0]) for split in SPLITS for x in data.split(split)})  # each picture once


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("train 4, Training 4, test 2", "Training/ and train/|train/ and Training/"),
        ("valid 4, test 4", "no train/; expected train/"),
        ("a 0", "holds no images"),
    ],
)
def test_folders_that_contradict_themselves_are_refused(counts, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read(build(tmp_path, counts))


def test_files_that_are_no_pictures_are_counted(tmp_path):
    folder = build(tmp_path, "a 4, b 4")
    for name in ("a/._0.png", "a/.DS_Store", "Thumbs.db", "__MACOSX/a/9.png", "a/x.heic", "b/y.heic", "labels.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no picture")
    with pytest.warns(Guess, match=r"Pictures that cannot be read are left out: 2 \.heic\. Convert them"):
        data = read(folder)
    assert sum(len(data.split(split)) for split in SPLITS) == 8
    assert "Ignored, as they are no pictures: 1 .csv." in data.notes


def levels(x: torch.Tensor) -> torch.Tensor:
    """Levels 0..255 of floats in [0, 1]."""
    return (x * 255).round().to(torch.uint8)


# -- files: what one picture is ---------------------------------------------------------------------------------------


COLOUR, GREY = trial.disc(0), trial.disc(1, colours=1)[..., 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_exif_orientation(orientation, suffix, tmp_path):
    options = {"lossless": True} if suffix == ".webp" else {}
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = trial.save(tmp_path / f"x{suffix}", COLOUR, exif=exif, **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = Images((3, *expected.shape[:2])).read(path)[0].mul(255).round().numpy()
    assert np.array_equal(picture.transpose(1, 2, 0), expected)


def saved(mode: str, suffix: str = ".png"):
    return lambda path: trial.save(path.with_suffix(suffix), Image.fromarray(COLOUR).convert(mode))


def frames(suffix: str):
    def write(path: Path) -> Path:
        images = [Image.fromarray(trial.disc(i)) for i in range(3)]
        lossless = {"lossless": True} if suffix == ".webp" else {}
        return trial.save(path.with_suffix(suffix), images[0], save_all=True, append_images=images[1:], **lossless)

    return write


def lab(path: Path) -> Path:
    trial.every_kind(path.parent / "many")
    return path.parent / "many" / "LAB.tif"


#: a file -> its channels, the largest difference from the picture it was made of, and a word of the notes
FILES = {
    "1": (saved("1"), 1, None, ""),
    "L": (saved("L"), 1, 0, ""),
    "opaque LA": (saved("LA"), 1, 0, ""),
    "P": (saved("P"), 3, 60, ""),
    "opaque RGBA": (saved("RGBA"), 3, 0, ""),
    "palette of greys": (lambda p: trial.save(p, Image.fromarray(COLOUR).convert("L").convert("P")), 1, 0, ""),
    "CMYK": (saved("CMYK", ".tif"), 3, 2, "CMYK or LAB"),
    "CMYK JPEG": (saved("CMYK", ".jpg"), 3, 60, "CMYK or LAB"),
    "LAB": (lab, 3, 12, "CMYK or LAB"),
    "GIF": (frames(".gif"), 3, 0, "several frames"),
    "APNG": (frames(".png"), 3, 0, "several frames"),
    "WebP": (frames(".webp"), 3, 0, "several frames"),
    "TIFF of pages": (frames(".tif"), 3, 0, "several frames"),
    "PPM": (saved("RGB", ".ppm"), 3, 0, ""),
    "PGM": (saved("L", ".pgm"), 1, 0, ""),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_mode(name, tmp_path):
    write, channels, error, note = FILES[name]
    path = write(tmp_path / "x.png")
    other = trial.save(tmp_path / "other.png", GREY)
    data = read([path, other], valid=0, test=0)
    assert data.train.dtype == torch.uint8
    assert data.shape == (channels, 24, 32)
    expected = np.asarray(Image.fromarray(COLOUR).convert("L"))[..., None] if channels == 1 else COLOUR
    if error is not None:
        difference = np.abs(data.train[0].numpy().transpose(1, 2, 0).astype(int) - expected)
        assert difference.max() <= error
    assert note in " ".join(data.notes)
    assert ("several frames" in " ".join(data.notes)) == (note == "several frames")


def clear(mode: str):
    """Two pictures with colours hidden below the transparency, and what they are on white: opaque in one half."""

    def write(folder: Path) -> list[Path]:
        paths = []
        for i in range(2):
            levels = RNG.integers(0, 256, (4, 6, 4), np.uint8)
            levels[..., 3] = 0
            levels[i : i + 2] = (0, 0, 0, 255)
            image = Image.fromarray(levels)
            options = {}
            if mode in ("key", "palette"):
                image = Image.fromarray(np.where(levels[..., 3] > 0, 0, 77).astype(np.uint8))
                image, options = image.convert("P" if mode == "palette" else "L"), {"transparency": 77}
            elif mode == "LA":
                image = image.convert("LA")
            paths.append(trial.save(folder / f"{i}.png", image, **options))
        return paths

    return write


@pytest.mark.parametrize("mode", ["RGBA", "LA", "key", "palette"])
def test_transparency(mode, tmp_path):
    paths = clear(mode)(tmp_path)
    black = np.zeros((2, 4, 6))
    for i in range(2):
        black[i, i : i + 2] = 1  # where the pictures are opaque, and black
    white = read(paths, valid=0, test=0)
    assert white.reading.background == "white"
    assert "have transparent pixels" in white.notes[0]
    assert np.array_equal(white.train.numpy(), np.broadcast_to(255 * (1 - black[:, None]), white.train.shape))
    alpha = read(paths, valid=0, test=0, reading=Reading(background="alpha"))
    colours = 3 if mode == "RGBA" else 1
    assert alpha.shape == (colours + 1, 4, 6)
    assert not alpha.train[:, :-1].any()  # the hidden colours are gone
    assert np.array_equal(alpha.train[:, -1].numpy(), 255 * black)
    with pytest.raises(ValueError, match="identical on a black background.*background='white' or 'alpha'"):
        read(paths, reading=Reading(background="black"))
    assert torch.equal(levels(alpha.kind.read(paths)), alpha.train)
    assert torch.equal(levels(white.kind.read(paths[0])), white.train[:1])
    with pytest.raises(ValueError, match="background is 'grey'"):
        read(paths, reading=Reading(background="grey"))


DEEP = np.linspace(0, 4000, 24).reshape(4, 6).round().astype(np.uint16)


def in_16_bits(levels: np.ndarray, channels: int = 1, significant: int | None = None):
    def write(path: Path) -> Path:
        full = np.repeat(levels[..., None], channels, 2)
        if channels in (2, 4):
            full[..., -1] = 65535
        return trial.png16(path, full, significant)

    return write


def tiff(path: Path) -> Path:
    return trial.save(path.with_suffix(".tif"), DEEP)


def tiff_with_white(path: Path) -> Path:
    return trial.save(path.with_suffix(".tif"), DEEP, tiffinfo={281: 4000})


#: a file of 16 bits -> channels, white, the sentence of a guess
DEPTHS = {
    "PNG": (in_16_bits(DEEP), 1, 4095, "4095 is read as white"),
    "PNG, significant bits": (in_16_bits(DEEP, 1, 12), 1, 4095, None),
    "PNG, scaled to 16 bits": (in_16_bits(DEEP * 16, 1, 12), 1, 65535, None),
    "PNG of colours": (in_16_bits(DEEP, 3), 3, 4095, "4095 is read as white"),
    "PNG of colours, significant bits": (in_16_bits(DEEP, 3, 12), 3, 4095, None),
    "PNG, opaque colours": (in_16_bits(DEEP * 16, 4), 3, 65535, None),
    "PNG, opaque greys": (in_16_bits(DEEP * 16, 2), 1, 65535, None),
    "TIFF": (tiff, 1, 4095, "4095 is read as white"),
    "TIFF that states its white": (tiff_with_white, 1, 4000, None),
    "32 bits": (lambda p: trial.save(p.with_suffix(".tif"), DEEP.astype(np.int32)), 1, 4095, "4095 is read"),
    "10 bits": (in_16_bits(DEEP // 4), 1, 1023, "1023 is read as white"),
    "the whole range": (in_16_bits(DEEP * 16), 1, 65535, None),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_deep_levels_are_kept(name, tmp_path):
    write, channels, white, guess = DEPTHS[name]
    path = write(tmp_path / "x.png")
    other = in_16_bits(np.zeros((4, 6)), channels, 12 if "significant" in name or "scaled" in name else None)
    if "TIFF" in name or "32" in name:
        paths = [path]
    else:
        paths = [path, other(tmp_path / "y.png")]
    with guessing(guess):
        data = read([*paths, path] if len(paths) == 2 else [path, turned_copy(path)], valid=0, test=0)
    assert (data.shape, data.train.dtype, data.reading.white) == ((channels, 4, 6), torch.float32, white)
    scale = {1023: 1 / 4, 65535: 16}.get(white, 1)
    expected = np.floor(DEEP * scale) / white
    np.testing.assert_allclose(data.train[0].numpy(), np.broadcast_to(expected, data.shape), atol=1e-7)
    assert f"{white} is" in " ".join(data.notes)
    assert torch.equal(data.kind.read(path), data.train[:1])
    resized = data.kind.from_dict({**data.kind.to_dict(), "size": [4, 6]})
    assert torch.equal(resized.read([path]), data.train[:1])


def turned_copy(path: Path) -> Path:
    """The same picture upside down."""
    with Image.open(path) as image:
        tags = {281: image.tag_v2[281]} if 281 in image.tag_v2 else {}
        return trial.save(path.with_name(f"turned{path.suffix}"), np.asarray(image)[::-1].copy(), tiffinfo=tags)


def test_new_levels_above_white_are_clipped_with_a_warning_or_refused(tmp_path):
    path = in_16_bits(DEEP * 2)(tmp_path / "x.png")
    with guessing("levels above white=4095, up to 8000"):
        x = Images((1, 4, 6), Reading(white=4095)).read(path)
    np.testing.assert_allclose(x[0, 0].numpy(), np.minimum(DEEP * 2 / 4095, 1), atol=1e-6)
    with guessing("levels above white=4095, up to 8000"):
        assert torch.equal(Images((1, 4, 6), Reading(white=4095)).read(DEEP[None] * 2), x)
    for new in (path, DEEP[None]):
        with pytest.raises(ValueError, match=r"expected levels 0\.\.255"):
            Images((1, 4, 6)).read(new)
    with guessing(None):
        read([path, in_16_bits(DEEP)(tmp_path / "y.png")], valid=0, test=0, reading=Reading(white=8191))


def test_masks_of_0_and_1_are_read_as_black_and_white(tmp_path):
    for i in range(4):
        trial.save(tmp_path / f"{i}.png", np.eye(4, 6, i - 1, np.uint8))
    with guessing("white=255 otherwise"):
        data = read(tmp_path, valid=0, test=0)
    assert data.train.unique().tolist() == [0, 1]
    assert data.reading.white == 1
    torch.testing.assert_close(data.kind.read(tmp_path / "0.png"), data.train[:1])
    with guessing(None):
        assert read(tmp_path, reading=Reading(white=255)).train.dtype == torch.uint8


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_bytes(b"no picture"), "bad.png cannot be read as an image"),
        (lambda p: p.write_bytes(b""), "bad.png cannot be read as an image"),
        (lambda p: p.write_bytes(trial.save(p, COLOUR).read_bytes()[:-30]), "bad.png cannot be read as an image"),
        (lambda p: trial.save(p, trial.disc(0, 9, 9)), r"bad.png has 9x9 pixels but .*24x32 .*Give size="),
        (lambda p: p.write_bytes(trial.save(p.with_suffix(".tif"), GREY.astype(np.float32)).read_bytes()), "floating"),
        (lambda p: p.write_bytes(trial.save(p.with_suffix(".tif"), -DEEP.astype(np.int32)).read_bytes()), ">= 0"),
    ],
)
def test_files_that_cannot_be_read_are_named(write, message, tmp_path):
    write(tmp_path / "bad.png")
    (tmp_path / "bad.tif").unlink(missing_ok=True)
    trial.save(tmp_path / "a.png", COLOUR)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_floats_in_a_tiff(tmp_path):
    paths = [trial.save(tmp_path / f"{i}.tif", trial.disc(i, colours=1)[..., 0] / np.float32(255)) for i in range(3)]
    data = read(paths, valid=0, test=0)
    assert (data.train.dtype, data.reading.white) == (torch.float32, None)
    assert torch.equal(data.train[1, 0], torch.from_numpy(trial.disc(1, colours=1)[..., 0]).float() / 255)


# -- arrays -----------------------------------------------------------------------------------------------------------

#: sizes of a picture -> (C, H, W), and whether that is a guess
LAYOUTS = {
    (32, 32, 2): ((2, 32, 32), False),
    (2, 32, 32): ((2, 32, 32), False),
    (32, 32, 8): ((8, 32, 32), False),
    (13, 32, 32): ((13, 32, 32), False),
    (24, 32, 5): ((5, 24, 32), False),
    (24, 32, 3): ((3, 24, 32), False),
    (4, 24, 32): ((4, 24, 32), False),
    (1, 4, 4): ((1, 4, 4), False),
    (4, 4, 1): ((1, 4, 4), False),
    (3, 8, 4): ((3, 8, 4), True),
    (3, 3, 3): ((3, 3, 3), True),
    (6, 8, 7): ((6, 8, 7), True),
    (9, 8, 7): ((7, 9, 8), True),
    (32, 32, 64): ((64, 32, 32), True),
}


@pytest.mark.parametrize("sizes", LAYOUTS)
def test_the_axis_of_the_channels(sizes):
    shape, guessed = LAYOUTS[sizes]
    x = RNG.random((6, *sizes))
    last = shape != sizes
    with guessing(f"channels_last={not last}" if guessed else None):
        data = from_arrays(x, valid=0, test=0)
    assert (data.shape, data.reading.channels_last) == (shape, last)
    assert len(data.notes) == (guessed or last)
    first = np.moveaxis(x, -1, 1) if last else x
    for stated in (True, False):  # both are obeyed
        other = read(x, valid=0, test=0, reading=Reading(channels_last=stated))
        expected = np.moveaxis(x, -1, 1) if stated else x
        assert np.array_equal(other.train.numpy(), expected.astype(np.float32))
    for new in (first, np.moveaxis(first, 1, -1)) if len(set(shape)) > 1 else (x,):  # and new ones fit the old
        assert np.array_equal(data.kind.read(new).numpy(), first.astype(np.float32))


U8 = RNG.integers(0, 256, (6, 3, 8, 9), np.uint8)
U8[0, 0, 0, :2] = 0, 255


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.setflags(write=False)
    return x


#: the same pictures in another form
FORMS = {
    "uint8": U8,
    "int64": U8.astype(np.int64),
    "int32 tensor": torch.from_numpy(U8.astype(np.int32)),
    "uint16 tensor": torch.from_numpy(U8.astype(np.uint16)),
    "floats": U8 / 255,
    "float32": (U8 / 255).astype(np.float32),
    "big-endian": (U8 / 255).astype(">f4"),
    "big-endian levels": U8.astype(">i4"),
    "channels-last": U8.transpose(0, 2, 3, 1),
    "channels-last floats": (U8 / 255).transpose(0, 2, 3, 1),
    "not contiguous": np.repeat(U8, 2, 3)[..., ::2],
    "reversed twice": U8[::-1][::-1],
    "read-only": read_only(U8),
    "tensor": torch.from_numpy(U8),
    "tensor with a gradient": torch.from_numpy(U8 / 255).requires_grad_(),
    "overshoot of rounding": np.where(U8 == 255, 1 + 1e-6, np.where(U8 == 0, -1e-7, U8 / 255)),
    "list of arrays": list(U8),
    "list of tensors": list(torch.from_numpy(U8 / 255).requires_grad_()),
    "nested lists": U8.tolist(),
    "list of channels-last arrays": list(U8.transpose(0, 2, 3, 1)),
    "Pillow images": [Image.fromarray(x.transpose(1, 2, 0)) for x in U8],
    "tuple of Pillow images": tuple(Image.fromarray(x.transpose(1, 2, 0)) for x in U8),
    "array of Pillow images": np.fromiter((Image.fromarray(x.transpose(1, 2, 0)) for x in U8), object),
}
SINGLES = {
    "array (c, h, w)": U8[0],
    "array (h, w, c)": U8[0].transpose(1, 2, 0),
    "floats (h, w, c)": U8[0].transpose(1, 2, 0) / 255,
    "tensor (c, h, w)": torch.from_numpy(U8[0]),
    "Pillow image": Image.fromarray(U8[0].transpose(1, 2, 0)),
}


@pytest.fixture(scope="module")
def run():
    return ch.fit("ae", np.concatenate([U8] * 5), **QUICK)


@pytest.mark.parametrize("name", FORMS)
def test_fit_and_encode_read_every_form_alike(name, run):
    form = FORMS[name]
    expected = torch.from_numpy(U8).float() / 255
    torch.testing.assert_close(run.kind.read(form), expected, atol=2e-6, rtol=0)
    data = read(form, valid=0, test=0)
    torch.testing.assert_close(data.kind.inside(data.train).float() / (255 if data.train.dtype == torch.uint8 else 1),
                               expected, atol=2e-6, rtol=0)  # fmt: skip
    torch.testing.assert_close(run.encode(form), run.encode(U8), atol=1e-4, rtol=1e-4)


def test_every_verb_takes_every_form(run):
    for form in FORMS.values():
        assert run.reconstruct(form).shape == (6, 3, 8, 9)
        assert len(run.read(form).train) + len(run.read(form).valid) + len(run.read(form).test) == 6
    for one_picture in SINGLES.values():
        torch.testing.assert_close(run.kind.read(one_picture), torch.from_numpy(U8[:1]).float() / 255)
        assert run.interpolate(one_picture, U8[1:2], 3).shape == (3, 3, 8, 9)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (U8 / 1.0, r"from 0 to 255; expected values in \[0, 1\]. Divide it by 255"),
        (U8 / 127.5 - 1, r"from -1 to 1; .*\(x \+ 1\) / 2"),
        (U8 / 255 * 1.1, r"to 1.1; .*clip\(0, 1\)"),
        (U8 / 255 * 40 - 3, "Rescale it"),
        (U8.astype(int) - 1, "from -1 to 254; expected levels 0..255"),
        (U8 > 127, None),
        ((U8 > 127).astype(int), "only 0 and 1"),
        (U8.astype(int) * 4, r"expected levels 0\.\.255"),
        (U8[:, :2], r"shape \(2, 8, 9\); expected shape \(3, 8, 9\)"),
        (U8[0, 0], "rows|shape"),
        ([Image.fromarray(U8[0, 0])], None),
        ([Image.fromarray(np.zeros((5, 5), np.uint8))], "picture 0 of x has 5x5 pixels; expected 8x9"),
        ([U8[0], U8[1, :, :4]], "expected 8x9"),
    ],
)
def test_what_encode_cannot_read_is_refused(x, message, run):
    if message is None:
        assert run.encode(x).shape[1] == 2
    else:
        with pytest.raises((ValueError, TypeError), match=message):
            run.encode(x)


@pytest.mark.parametrize(
    ("x", "reading", "message"),
    [
        (U8.transpose(0, 2, 3, 1)[0].repeat(2, 0), Reading(), r"one image \(h, w, c\).*x\[:, None\]"),
        (np.zeros((480, 640, 4)), Reading(), r"one image \(h, w, c\)"),
        (Image.fromarray(COLOUR), Reading(), "1 example"),
        (U8, Reading(background="black"), "background is 'black'; expected None, as x is an array"),
        (U8[:, 0], Reading(channels_last=True), "has no axis of channels"),
        ([U8[0], U8[1, :, :4]], Reading(), r"picture 1 of x has 4x9 pixels.*Give size="),
        (np.arange(64).reshape(4, 4, 4) * 5_000, Reading(), "at most 65535.*white=N"),
        ("digits", Reading(white=16), "white is 16; expected None, as 'digits' is read in one way"),
    ],
)
def test_what_fit_cannot_read_is_refused(x, reading, message):
    with pytest.raises(ValueError, match=message):
        read(x, reading=reading)


def test_levels_of_12_bits_in_arrays():
    x = np.stack([DEEP, DEEP[::-1], DEEP // 2])
    for levels in (x, x.astype(np.int64), torch.from_numpy(x.astype(np.int32))):
        with guessing("4095 is read as white. Give white=N"):
            data = from_arrays(levels, valid=0, test=0)
        assert np.allclose(data.train[:, 0].numpy(), x / 4095)
        for new in (x, x / 4095, x.astype(int)):
            torch.testing.assert_close(data.kind.read(new), data.train)
    assert np.allclose(read(x, valid=0, test=0, reading=Reading(white=4000)).train[:, 0].numpy(), x / 4000)
    with guessing(None):
        assert as_examples(x.astype(int) * 16).dtype == torch.float32


def test_sizes_are_those_of_the_fit(tmp_path):
    mixed = [trial.disc(i, 20 + i, 30 - i) for i in range(8)]
    paths = [trial.save(tmp_path / f"{i}.png", x) for i, x in enumerate(mixed)]
    reading = Reading(size="8x12")
    folder = read(tmp_path, valid=0, test=0, reading=reading)
    assert folder.shape == (3, 8, 12)
    assert folder.reading.size == (8, 12)
    assert "height 20 to 27 and width 23 to 30" in " ".join(folder.notes)
    forms = ([Image.fromarray(x) for x in mixed], [x.astype(np.uint8) for x in mixed], paths, list(map(str, paths)))
    for form in forms:
        data = read(form, valid=0, test=0, reading=reading)
        assert torch.equal(data.train, folder.train)
        assert torch.equal(levels(folder.kind.read(form)), folder.train)
    for i, path in enumerate(paths):
        assert torch.equal(levels(folder.kind.read(path)), folder.train[i : i + 1])
    stack = np.stack([trial.disc(i) for i in range(4)])
    floats, of_levels = (folder.kind.read(x) for x in (stack / 255, stack))
    torch.testing.assert_close(floats, of_levels, atol=0.02, rtol=0)
    assert floats.shape == (4, 3, 8, 12)
    assert torch.equal(folder.kind.read(stack[0]), of_levels[:1])
    assert "24x32 pixels are cropped to their centre and resized to 8x12" in read(stack, reading=reading).notes[-1]


@pytest.mark.parametrize("colours", [1, 3])
def test_new_pictures_have_the_colours_of_the_fit(colours, tmp_path):
    kind = Images((colours, 24, 32))
    grey = trial.save(tmp_path / "grey.png", GREY)
    equal = trial.save(tmp_path / "equal.png", np.repeat(GREY[..., None], 3, 2))
    colour = trial.save(tmp_path / "colour.png", COLOUR)
    assert torch.equal(kind.read(grey), kind.read(equal))
    assert kind.read(grey).shape == (1, colours, 24, 32)
    if colours == 3:
        assert kind.read([grey, colour]).shape == (2, 3, 24, 32)
        mixed = read([grey, colour], valid=0, test=0)
        assert any("1 of 2 pictures are grey" in note for note in mixed.notes)
    else:
        with pytest.raises(ValueError, match=r"colour.png is coloured; expected a grey image"):
            kind.read([grey, colour])
    with pytest.raises(ValueError, match="expected 5 channels"):
        Images((5, 24, 32)).read(grey)


# -- from end to end --------------------------------------------------------------------------------------------------


def test_the_trial_files_are_fitted_and_evaluated(float32, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trial.folder_of_splits(Path("photos"))
    words = "fit photos/ --size 16 --recipe rae-l2 --epochs 1 --out runs/p --latent-dim 2 --components 2"
    assert cli.main(words.split()) == 0
    err = capsys.readouterr().err
    assert "photos holds 160 pictures: train 100 (Train/), valid 30 (Val/), test 30 (TEST/); 2 classes: cat" in err
    assert cli.main(["evaluate", "runs/p", "--extractor", "pixels", "--n", "20"]) == 0
    run = ch.load("runs/p")
    assert run.notes == load("photos", size=16).notes
    folder = run.encode("photos")
    assert folder.shape == (160, 2)
    pictures = sorted(p for p in Path("photos/Train").rglob("[0-9]*"))
    torch.testing.assert_close(run.encode(pictures), folder[:100], atol=1e-5, rtol=1e-4)
    assert cli.main(f"encode runs/p {pictures[7]} --out z.npy".split()) == 0
    np.testing.assert_allclose(np.load("z.npy"), folder[7:8].numpy(), atol=1e-5, rtol=1e-4)
    with Image.open(pictures[7]) as image:
        torch.testing.assert_close(run.encode(image), folder[7:8], atol=1e-5, rtol=1e-4)
    again = ch.fit("rae-l2", tmp_path / "photos", size="16x16", out="runs/p", resume=True, epochs=2, latent_dim=2,
                   components=2, progress=False)  # fmt: skip
    assert again.settings.epochs == 2


@pytest.mark.parametrize(("background", "channels"), [("white", 3), ("alpha", 4)])
def test_a_run_of_transparent_pictures(background, channels, tmp_path, float32):
    for i in range(30):
        trial.save(tmp_path / "glyphs" / f"{i:02}.png", trial.glyph(i))
    run = ch.fit("ae", tmp_path / "glyphs", background=background, size=8, out=tmp_path / "r", **QUICK)
    again = ch.load(tmp_path / "r")
    assert again.settings.shape == (channels, 8, 8)
    assert again.kind == run.kind
    x = again.data().train
    glyph = tmp_path / "glyphs" / "03.png"
    assert any(torch.equal(levels(again.kind.read(glyph))[0], row) for row in x)
    assert again.sample(4).shape == (4, channels, 8, 8)
    again.kind.write(again.kind.inside(x).float() / 255, tmp_path / "grid.png")


def test_a_run_that_translates_reads_both_domains_alike(tmp_path, float32):
    for i in range(12):
        trial.save(tmp_path / "a" / f"{i:02}.png", trial.disc(i, 12 + i, 14))
        trial.save(tmp_path / "b" / f"{i:02}.png", trial.glyph(i))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # after one epoch the decoder may ignore the code
        run = ch.fit("iae-translate", tmp_path / "a", to=tmp_path / "b", size=8, epochs=1, progress=False,
                     out=tmp_path / "r")  # fmt: skip
    glyph = tmp_path / "b" / "03.png"
    assert translate(run, tmp_path / "a" / "03.png", "B", n=2).shape == (1, 2, 3, 8, 8)
    assert translate(run, glyph, "A", n=2).shape == (1, 2, 3, 8, 8)
    assert domain(ch.load(tmp_path / "r"), "B").shape == (3, 8, 8)


@pytest.mark.parametrize("view", ["inverted", "coloured"])
def test_views_of_a_folder_keep_its_options(view, tmp_path, float32):
    for i in range(12):
        trial.save(tmp_path / "x" / f"{i:02}.png", Image.fromarray(trial.glyph(i)).convert("LA"))
    run = ch.fit("ae", f"{tmp_path / 'x'}+{view}", background="white", size=8, out=tmp_path / "r", **QUICK)
    assert run.settings.shape == (3 if view == "coloured" else 1, 8, 8)
    assert len(ch.load(tmp_path / "r").data().train) == 10


def test_opacity_is_drawn_on_white():
    clear = np.zeros((1, 4, 2, 2), np.uint8)
    assert (grid(clear, pad=0) == 255).all()
    clear[:, 3] = 255
    assert not grid(clear, pad=0).any()


def test_pictures_of_arrays_are_written_and_evaluated(tmp_path, float32):
    x = np.stack([trial.disc(i, 8, 8, 5) for i in range(250)])
    np.save(tmp_path / "x.npy", x)
    run = ch.fit("ae", tmp_path / "x.npy", out=tmp_path / "r", **QUICK)
    assert run.settings.shape == (5, 8, 8)
    assert ch.evaluate(run, n=20, extractor="pixels").sets
    assert cli.main(["sample", str(tmp_path / "r"), "--out", str(tmp_path / "r" / "x.png"), "--n", "4"]) == 0
