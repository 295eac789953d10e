"""Write pictures as users bring them: folders with splits and classes, and a file of every mode, depth and format.

    python tools/trial_pictures.py OUT

OUT gets photos/ (splits and classes, mixed sizes and modes), flat/ (one folder of mixed sizes), depth/ (12-bit values
in 16-bit files), clear/ (black glyphs on transparent), many/ (a file of every kind) and arrays of every layout.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Levels = NDArray[np.generic]


def disc(i: int, height: int = 24, width: int = 32, colours: int = 3) -> NDArray[np.uint8]:
    """Levels (height, width, colours) of a disc; its place, radius and colours depend on `i`."""
    rng = np.random.default_rng(i)
    y, x = np.mgrid[:height, :width]
    radius = rng.uniform(0.2, 0.4) * min(height, width)
    inside = (y - rng.uniform(0.3, 0.7) * height) ** 2 + (x - rng.uniform(0.3, 0.7) * width) ** 2 < radius**2
    front, back = rng.integers(0, 256, (2, colours))
    return np.where(inside[..., None], front, back).astype(np.uint8)


def save(path: Path, image: Image.Image | Levels, **options: object) -> Path:
    """Write a Pillow image, or an array of levels, to a file; the folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    image.save(path, **options)
    return path


def png16(path: Path, levels: Levels, significant: int | None = None) -> Path:
    """Write a PNG of 16 bits a channel, (h, w, 1 to 4), whose chunk sBIT names the significant bits."""
    height, width, channels = levels.shape
    rows = levels.astype(">u2").tobytes()
    step = width * channels * 2
    lines = b"".join(b"\0" + rows[i : i + step] for i in range(0, len(rows), step))
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    chunks += [(b"sBIT", bytes([significant] * channels))] if significant else []
    chunks += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in chunks:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    return path


def turned(path: Path, image: Levels, orientation: int) -> Path:
    """Write a picture with an EXIF orientation from 1 to 8."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(path, image, exif=exif)


def glyph(i: int) -> NDArray[np.uint8]:
    """Levels (16, 16, 4) of a black bar on transparent, with colours hidden below the transparency."""
    rng = np.random.default_rng(i)
    image = rng.integers(0, 256, (16, 16, 4), np.uint8)
    image[..., 3] = 0
    image[2 + i % 12 : 4 + i % 12, 1 + i % 7 : 9 + i % 7] = (0, 0, 0, 255)
    return image


def folder_of_splits(folder: Path) -> None:
    """Splits and classes; pictures of mixed sizes, modes and formats, and files that are none."""
    formats = (("L", "png"), ("RGB", "jpg"), ("RGBA", "png"), ("P", "gif"), ("1", "bmp"), ("CMYK", "tif"))
    for i in range(160):
        split = "Train" if i < 100 else "Val" if i < 130 else "TEST"
        mode, suffix = formats[i % len(formats)]
        image = Image.fromarray(disc(i, 20 + i % 30, 30 + i % 20)).convert(mode)
        save(folder / split / ("cat", "dog")[i % 7 < 3] / f"{i:03}.{suffix}", image)
    (folder / "Train" / "cat" / "._00.png").write_bytes(b"a file of macOS")
    (folder / "README.txt").write_text("not a picture\n")
    (folder / "Train" / "bird").mkdir(exist_ok=True)


def every_kind(folder: Path) -> None:
    """One picture of every mode, depth and format."""
    colour = Image.fromarray(disc(0))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        save(folder / f"{mode}.png", colour.convert(mode))
    for mode in ("CMYK", "YCbCr"):
        save(folder / f"{mode}.jpg", colour.convert(mode))
    lab = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    to_lab = ImageCms.buildTransform(lab[1], lab[0], "RGB", "LAB")
    save(folder / "LAB.tif", ImageCms.applyTransform(colour, to_lab))
    save(folder / "I.tif", disc(1, colours=1)[..., 0].astype(np.int32))
    save(folder / "F.tif", disc(1, colours=1)[..., 0].astype(np.float32) / 255)
    save(folder / "key.png", colour.convert("RGB"), transparency=tuple(map(int, disc(0)[0, 0])))
    frames = [Image.fromarray(disc(i)) for i in range(3)]
    for suffix in ("gif", "webp", "png", "tif"):
        save(folder / f"frames.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    for orientation in range(1, 9):
        turned(folder / f"turned{orientation}.jpg", disc(2), orientation)
    png16(folder / "deep.png", disc(3).astype(np.uint16) * 257)
    whole = save(folder / "whole.jpg", colour)
    (folder / "truncated.jpg").write_bytes(whole.read_bytes()[:-300])


def arrays(folder: Path) -> None:
    """Arrays of every layout and type."""
    folder.mkdir(parents=True, exist_ok=True)
    levels = np.stack([disc(i, 24, 24) for i in range(40)])
    np.save(folder / "channels-last.npy", levels)
    np.save(folder / "channels-first.npy", levels.transpose(0, 3, 1, 2))
    np.save(folder / "two-bands.npy", levels[..., :2])
    np.save(folder / "eight-bands.npy", np.concatenate([levels, levels, levels[..., :2]], 3))
    np.save(folder / "floats.npy", (levels / 255).astype(">f8"))
    np.save(folder / "twelve-bits.npy", levels[..., 0].astype(np.uint16) * 16)
    np.save(folder / "int64.npy", levels[..., 0].astype(np.int64))


def pictures(folder: Path) -> None:
    """Write all of them into a folder.

    Args:
        folder: the folder, which is made if it does not exist.
    """
    folder_of_splits(folder / "photos")
    for i in range(40):
        save(folder / "flat" / f"{i:02}.png", disc(i, 24 + i % 9, 40 - i % 11))
        save(folder / "clear" / f"{i:02}.png", glyph(i))
        save(folder / "depth" / f"{i:02}.png", disc(i, 24, 24, 1)[..., 0].astype(np.uint16) * 16)
    every_kind(folder / "many")
    arrays(folder / "arrays")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pictures(Path(sys.argv[1]))
