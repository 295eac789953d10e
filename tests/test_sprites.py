"""Sprites and dSprites: what a triangle measures against its factors, and the files they are kept in."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from chartae.data import as_examples, catalogue, from_arrays, load, sprites


def whole(x: float, y: float, scale: float, hue: float) -> np.ndarray:
    """The recipe of the sheet in so many words: the whole canvas, five times as fine, reduced and flipped."""
    radius = 1 / math.sqrt(3 * math.sqrt(3) / 4)
    angles = [math.pi / 2 + 2 * math.pi * i / 3 for i in range(3)]
    points = [(320 * (x + scale * radius * math.cos(t)), 320 * (y + scale * radius * math.sin(t))) for t in angles]
    canvas = Image.new("RGB", (320, 320))
    colour = tuple(int(255 * v) for v in colorsys.hsv_to_rgb(hue, 1.0, 1.0))
    ImageDraw.Draw(canvas).polygon(points, fill=colour)
    small = canvas.resize((64, 64), Image.Resampling.LANCZOS)
    return np.array(small.transpose(Image.Transpose.FLIP_TOP_BOTTOM)).transpose(2, 0, 1)


def test_drawing_follows_the_recipe():
    rng = np.random.default_rng(0)
    inside = sprites.factors(60, seed=3).numpy()
    # over the edges of the frame, and beyond
    across = np.concatenate([rng.uniform(-0.3, 1.3, (60, 2)), rng.uniform(0.02, 0.6, (60, 1)), rng.random((60, 1))], 1)
    z = np.concatenate([inside, across])
    drawn = sprites.draw(z)
    assert (drawn.shape, drawn.dtype) == ((120, 3, 64, 64), torch.uint8)
    expected = np.stack([whole(*row) for row in z])
    # equal but for corners that a last bit puts into the next fine pixel
    assert (drawn.numpy() != expected).any((1, 2, 3)).sum() <= 2
    assert torch.equal(drawn, sprites.draw(torch.from_numpy(z)))
    assert torch.equal(drawn[7:9], sprites.draw(z[7:9]))


def test_a_triangle_measures_what_its_factors_say():
    z = sprites.grid(x=[0.3, 0.6], y=[0.25, 0.7], scale=[0.11, 0.2], hue=[0.0])
    red = sprites.draw(z)[:, 0].double() / 255
    area = red.sum((1, 2)) / 64**2
    # the edge is in it: half a fine pixel all around
    edge = 3 * math.sqrt(4 / math.sqrt(3)) * z[:, 2] / 2 / 320
    assert torch.allclose(area, z[:, 2] ** 2 + edge, rtol=0.03)
    at = (torch.arange(64) + 0.5) / 64
    centre = torch.stack([(red.sum(1) * at).sum(1), (red.sum(2) * at.flip(0)).sum(1)], 1) / red.sum((1, 2))[:, None]
    assert (centre - z[:, :2]).abs().max() < 0.2 / 64
    # a corner up: the widest row is the lowest
    for picture in red:
        rows = (picture > 0.5).sum(1).nonzero()[:, 0]
        widths = (picture > 0.5).sum(1)[rows]
        assert widths[0] <= 2
        assert widths[-1] == widths.max()


@pytest.mark.parametrize(
    ("hue", "colour"),
    [
        (0.0, (255, 0, 0)),
        (1 / 3, (0, 255, 0)),
        (0.5, (0, 255, 255)),
        (0.1, (255, 153, 0)),
    ],
)
def test_colours(hue, colour):
    x = sprites.draw(sprites.grid(x=[0.5], y=[0.5], scale=[0.2], hue=[hue]))[0]
    assert torch.allclose(x[:, 32, 32].double(), torch.tensor(colour).double(), atol=1)
    # black, and nothing where the kernel does not reach
    assert x[:, :17].sum() == x[:, 41:].sum() == x[:, :, :18].sum() == x[:, :, 46:].sum() == 0


def test_other_sizes():
    z = [[0.5, 0.5, 0.2, 0.0]]
    for size in (1, 16, 100):
        x = sprites.draw(z, size=size)
        assert x.shape == (1, 3, size, size)
    assert (x[:, 0].double().mean() / 255).item() == pytest.approx(0.04, rel=0.05)
    assert sprites.draw(torch.zeros(0, 4)).shape == (0, 3, 64, 64)


def test_factors():
    z = sprites.factors(20_000, seed=4)
    assert torch.equal(z, sprites.factors(20_000, seed=4))
    assert torch.equal(sprites.factors(1, seed=4), sprites.factors(1, seed=4))
    assert not torch.equal(sprites.shapes(4), sprites.shapes(5))
    a, b = sprites.shapes(4).unbind(1)
    assert ((a > 2) & (a < 15) & (b > 2) & (b < 15)).all()
    low, width = torch.tensor(sprites.RANGES).unbind(1)
    u = (z - low) / width
    assert u.min() > 0
    assert u.max() < 1
    mean, variance = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
    assert ((u.mean(0) - mean).abs() < 5 * (variance / 20_000).sqrt()).all()
    assert torch.allclose(u.var(0), variance, rtol=0.08)
    assert (u.T.corrcoef() - torch.eye(4)).abs().max() < 0.04


def test_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(catalogue, "SPRITES", (12, 5, 3))
    first = load("sprites", seed=2)
    assert repr(first).startswith(
        "Dataset('sprites': images 3x64x64 uint8, 12 + 5 + 3 (train + valid + test), 4 factors"
    )
    assert first.factors == sprites.FACTORS == ("x", "y", "scale", "hue")
    assert (first.train_labels.shape, first.train_labels.dtype) == ((12, 4), torch.float32)
    assert torch.equal(first.train, sprites.draw(sprites.factors(20, seed=2))[:12])
    assert torch.allclose(torch.cat([first.train_labels, first.valid_labels]).double(), sprites.factors(20, 2)[:17])
    files = list((tmp_path / "chartae" / "sprites").iterdir())
    assert [f.name for f in files] == ["sprites-20-2.npz"]
    with np.load(files[0]) as f:
        assert torch.equal(torch.from_numpy(f["shapes"]), sprites.shapes(2))

    drawn = []
    monkeypatch.setattr(sprites, "draw", lambda z, **_: drawn.append(len(z)) or torch.zeros(len(z), 3, 64, 64).byte())
    again = load("sprites", root=tmp_path / "elsewhere", seed=2)
    assert not drawn
    assert all(torch.equal(getattr(first, s), getattr(again, s)) for s in ("train", "test", "test_labels"))
    files[0].write_bytes(files[0].read_bytes()[:1000])
    load("sprites", seed=2)
    assert drawn == [20]
    load("sprites", seed=3)
    assert drawn == [20, 20]
    # nowhere to write
    monkeypatch.setenv("XDG_CACHE_HOME", str(files[0]))
    assert len(load("sprites", seed=2).train) == 12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sprites.draw(torch.zeros(3, 5)), r"shape \(3, 5\); expected \(N, 4\): x, y, scale, hue"),
        (lambda: sprites.draw([[0.5, 0.5, 0.0, 0.5]]), "scale > 0"),
        (lambda: sprites.draw([[0.5, math.nan, 0.1, 0.5]]), "finite"),
        (lambda: sprites.draw([[0.5, 0.5, 0.1, 0.5]], size=0), "size is 0"),
        (lambda: sprites.factors(0), "n is 0"),
        (lambda: sprites.grid(angle=[0.0]), "no factor 'angle'"),
        (lambda: sprites.grid(x=[]), "expected a list"),
        (lambda: load("sprites", size=32), "'sprites' is read in one way"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_other_labels_are_named_as_before():
    x = np.random.default_rng(0).random((6, 2))
    assert "labelled" in repr(from_arrays(x, np.arange(6.0)))
    assert from_arrays(x).factors == ()


# -- dSprites


def squares(n: int = 40) -> dict[str, np.ndarray]:
    """Squares whose side is the class of the first factor plus one."""
    images, classes = np.zeros((n, 64, 64), np.uint8), np.zeros((n, 5), np.int64)
    for i in range(n):
        images[i, : i + 1, : i + 1] = 1
        classes[i, 0] = i
    return {"imgs": images, "latents_values": classes * 0.5, "latents_classes": classes,
            "metadata": np.array({"never": "read"}, dtype=object)}  # fmt: skip


@pytest.mark.parametrize("place", ["dsprites", "."])
def test_dsprites(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    np.savez(tmp_path / place / "dsprites_downsampled.npz", **squares())
    data = load("dsprites", root=tmp_path, seed=1)
    assert [len(v) for v in (data.train, data.valid, data.test)] == [32, 4, 4]
    assert (data.shape, data.train.dtype, data.train.unique().tolist()) == ((1, 64, 64), torch.uint8, [0, 255])
    assert data.factors == ("shape", "scale", "orientation", "x", "y")
    assert "5 factors" in repr(data)
    x = torch.cat([data.train, data.valid, data.test])
    y = torch.cat([data.train_labels, data.valid_labels, data.test_labels])
    assert y.dtype == torch.float32
    side = (x > 0).sum((1, 2, 3)).double().sqrt()
    assert torch.equal(side, 2 * y[:, 0].double() + 1)
    assert torch.equal(side.sort().values, torch.arange(1.0, 41.0))
    assert torch.equal(data.train, load("dsprites", root=tmp_path, seed=1).train)
    assert not torch.equal(data.train, load("dsprites", root=tmp_path, seed=2).train)
    assert as_examples(data.train) is not None


def test_dsprites_that_are_not_there_or_something_else(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"looked for dsprites_downsampled.npz in .*CHARTAE_DATA"):
        load("dsprites", root=tmp_path)
    monkeypatch.delenv("CHARTAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="not downloaded"):
        load("dsprites")
    path = tmp_path / "dsprites_downsampled.npz"
    good = squares()
    for change, message in (
        ({"imgs": None}, "lacks imgs"),
        ({"imgs": good["imgs"] * 255}, "of 0 and 1"),
        ({"latents_values": np.zeros((3, 5))}, "expected"),
        ({"latents_values": np.array([{}], dtype=object)}, "cannot be read"),
    ):
        np.savez(path, **{k: v for k, v in (good | change).items() if v is not None})
        with pytest.raises(ValueError, match=message):
            load("dsprites", root=tmp_path)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        load("dsprites", root=tmp_path)


def test_the_real_dsprites(data_root):
    if not (data_root / "dsprites").is_dir():
        pytest.skip("dsprites is not there")
    data = load("dsprites", root=data_root)
    assert (len(data.train), len(data.valid), len(data.test)) == (36_864, 4_608, 4_608)
    assert data.train_labels[:, 0].unique().tolist() == [1, 2, 3]
