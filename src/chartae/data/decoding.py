"""Decode one picture: a file, a Pillow image or an array becomes levels (h, w, c)."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.levels import channels_last_of, in_unit, levels_in_unit
from chartae.data.text import SNIFFED, impostor_of

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "BACKGROUNDS",
    "SUFFIXES",
    "Picture",
    "Pixels",
    "Source",
    "decode",
    "is_picture",
    "is_picture_file",
    "resized",
]

#: files that are read as pictures
SUFFIXES = frozenset({
    ".apng", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga",
    ".tif", ".tiff", ".webp",
})  # fmt: skip
BACKGROUNDS = ("white", "black", "alpha")
#: pixels that are mixed with a background at a time
SLICE = 1 << 18

Pixels: TypeAlias = "NDArray[Any]"
#: a path, a Pillow image, or an array (h, w), (h, w, c) or (c, h, w)
Source: TypeAlias = "str | os.PathLike[str] | Image | NDArray[np.generic] | Tensor"

_ORIENTATION = 0x0112
_TIFF_BITS, _TIFF_WHITE = 258, 281
#: how an array (h, w, ...) is turned for each value of the EXIF orientation
_TURNS: Mapping[int, Callable[[Pixels], Pixels]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True)
class Picture:
    """One decoded picture.

    Attributes:
        pixels: (h, w, c) uint8 levels, or float32 levels of which `white` is white.
        size: height and width before it was resized.
        colour: whether its channels are red, green and blue, not grey.
        peak: its largest level; 0 for floats in [0, 1].
        white: level that is white; 255 for uint8, 1 for floats in [0, 1], None if the file does not say.
        facts: what it is or what was done: "transparent", "turned", "frames" (it has several), "converted".
    """

    pixels: Pixels
    size: tuple[int, int]
    colour: bool
    peak: float
    white: int | None
    facts: frozenset[str]


def is_picture_file(path: object) -> bool:
    """Whether `path` is a path with the suffix of a picture."""
    return isinstance(path, str | os.PathLike) and Path(path).suffix.lower() in SUFFIXES


def is_picture(x: object) -> TypeGuard[Image]:
    """Whether `x` is a Pillow image."""
    pillow = sys.modules.get("PIL.Image")  # without it, nothing is a Pillow image
    return pillow is not None and isinstance(x, pillow.Image)


def decode(source: Source, name: str, background: str, size: tuple[int, int] | None) -> Picture:
    """Decode a picture, put it on the background, and resize it.

    Args:
        source: the picture.
        name: what messages call it.
        background: one of `BACKGROUNDS`.
        size: height and width; None keeps its own.

    Raises:
        ValueError: it cannot be read; the message begins with `name`.
    """
    from PIL import Image

    try:
        if isinstance(source, np.ndarray | Tensor):
            return _of_array(source, name, size)
        if is_picture(source):
            return _shown(*_channels(source, None), background, size)
        with Image.open(cast(str, source)) as image:
            channels = _channels(image, Path(cast(str, source)))
        return _shown(*channels, background, size)
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        MemoryError,
        zlib.error,
        struct.error,
        Image.DecompressionBombError,
    ) as e:
        raise ValueError(f"{name} cannot be read as an image: {_impostor(source) or f'{e}.'}") from e


def _shown(
    levels: Pixels,
    opacity: Pixels | None,
    white: int | None,
    facts: set[str],
    background: str,
    size: tuple[int, int] | None,
) -> Picture:
    """A picture of its channels, on a background and in another size."""
    height, width = levels.shape[:2]
    colour = levels.shape[2] == 3
    top = 1.0 if levels.dtype.kind == "f" else float(white or 255)
    if opacity is not None and opacity.min() < top:
        facts |= {"transparent"}
    levels = _on_background(levels, opacity, top, background)
    peak = 0.0 if white == 1 else float(levels[..., : 3 if colour else 1].max())
    kept = background == "alpha" and opacity is not None
    if size is not None and size != (height, width):
        levels = resized(levels, size, alpha=kept)
    if levels.dtype != np.uint8:
        levels = levels.astype(np.float32)
    if background == "alpha" and not kept:  # opaque, whatever level is white
        opaque = np.full((*levels.shape[:2], 1), 255 if levels.dtype == np.uint8 else np.inf, levels.dtype)
        levels = np.concatenate([levels, opaque], 2)
    return Picture(levels, (height, width), colour, peak, white, frozenset(facts))


def _impostor(source: object) -> str:
    """What a file holds that is no picture; empty if that is not known."""
    if not isinstance(source, str | os.PathLike) or not os.path.isfile(source):
        return ""
    with open(source, "rb") as file:
        what = impostor_of(file.read(SNIFFED))
    return f"it is {what}" if what else ""


def _of_array(source: Pixels | Tensor, name: str, size: tuple[int, int] | None) -> Picture:
    """A picture of an array: its levels 0..255, or floats in [0, 1]."""
    x = source.detach().cpu() if isinstance(source, Tensor) else torch.from_numpy(np.array(source))
    if x.ndim == 3:
        x = x if channels_last_of((1, *x.shape))[0] else x.permute(1, 2, 0)
    x = x.unsqueeze(2) if x.ndim == 2 else x
    x = x.to(torch.uint8) * 255 if x.dtype == torch.bool else x
    x = in_unit(x.to(torch.float32), name) if x.is_floating_point() else levels_in_unit(x, None, name)
    levels = x.numpy()
    if size is not None:
        levels = resized(levels, size)
    return Picture(
        levels, (x.shape[0], x.shape[1]), x.shape[2] == 3, 0.0, 1 if x.is_floating_point() else 255, frozenset()
    )


def _channels(image: Image, path: Path | None) -> tuple[Pixels, Pixels | None, int | None, set[str]]:
    """Levels (h, w, 1 or 3), opacity (h, w) or None, the level that is white if it is known, and facts."""
    facts: set[str] = {"frames"} if getattr(image, "n_frames", 1) > 1 else set()
    file_format = image.format
    low = _low_bytes(image, path)
    is_grey = image.mode in ("P", "PA") or (low is not None and _is_deep_grey(image, cast(Path, path)))
    image.load()
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    facts |= {"turned"} if turn else set()
    white: int | None = 255
    levels: Pixels
    if image.mode == "F":
        levels, white = np.asarray(image, np.float32), 1
        if not (np.isfinite(levels).all() and levels.min() >= 0 and levels.max() <= 1):
            raise ValueError(
                f"it has floating-point levels from {levels.min():g} to {levels.max():g}; expected levels in [0, 1]."
                " Convert it to 8 or 16 bits"
            )
    elif image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int32)
        if levels.min() < 0:
            raise ValueError(f"it has levels from {levels.min()} to {levels.max()}; expected levels >= 0. Convert it")
        white = 65535 if file_format == "PPM" else _stated_white(image, path)
    else:
        levels = np.asarray(_as_usual(image, facts))
        if low is not None and low.shape == levels.shape:  # the picture holds the upper bytes
            levels = levels.astype(np.int32) * 256 + low
            white = 65535 if levels.ndim == 3 and levels.shape[2] in (2, 4) else _stated_white(image, path)
    if levels.ndim == 2:
        levels = levels[:, :, None]
    levels = levels if turn is None else turn(levels)
    opacity = levels[..., -1] if levels.shape[2] in (2, 4) else None
    levels = levels if opacity is None else levels[..., :-1]
    if levels.shape[2] == 3 and is_grey and (levels == levels[..., :1]).all():
        levels = levels[..., :1]
    return levels, opacity, white, facts


def _as_usual(image: Image, facts: set[str]) -> Image:
    """The picture as L, LA, RGB or RGBA."""
    if image.mode in ("CMYK", "LAB"):
        facts |= {"converted"}
    if image.mode == "LAB":
        from PIL import ImageCms

        spaces = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        lab = ImageCms.buildTransform(*spaces, "LAB", "RGB")
        return cast("Image", ImageCms.applyTransform(image, lab))
    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    grey = image.mode in ("1", "L", "LA", "La")
    return image.convert(("LA" if clear else "L") if grey else ("RGBA" if clear else "RGB"))


def _low_bytes(image: Image, path: Path | None) -> Pixels | None:
    """The lower bytes of a colour picture of 16 bits, which Pillow drops; None for other pictures.

    Pillow unpacks "RGB;16B" (big-endian) to the upper bytes. Unpacked as "RGB;16L", the same data give the lower ones.
    """
    from PIL import Image as pillow

    if path is None or image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA"):
        return None
    if image.format == "PNG" and _depth_and_type(path)[0] != 16:
        return None
    if _is_deep_grey(image, path):
        return _low_bytes_of_grey(path)
    with pillow.open(path) as again:
        tiles = [(*tile[:3], _swapped(tile[3])) for tile in getattr(again, "tile", ())]
        if not tiles or any(args is None for *_, args in tiles):
            return None
        cast(Any, again).tile = tiles
        return np.asarray(again).astype(np.int32)


def _swapped(args: object) -> object:
    """The arguments of a decoder that unpacks the other byte of 16; None if it unpacks 8 bits."""
    raw = args[0] if isinstance(args, tuple) else args
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    if not isinstance(raw, str) or raw[:-1] not in ("RGB;16", "RGBA;16"):
        return None
    swapped = raw[:-1] + other[raw[-1]]
    return (swapped, *args[1:]) if isinstance(args, tuple) else swapped


def _depth_and_type(path: Path) -> bytes:
    """Bits of a channel and type of the colours of a PNG."""
    with open(path, "rb") as file:
        return file.read(26)[24:]


def _is_deep_grey(image: Image, path: Path) -> bool:
    """Whether a picture is a PNG of grey and opacity (type 4) of 16 bits, which Pillow reads as colours."""
    return image.format == "PNG" and _depth_and_type(path) == b"\x10\x04"


def _low_bytes_of_grey(path: Path) -> Pixels:
    """Lower bytes (h, w, 4) of grey and opacity of 16 bits, a PNG whose rows are those of RGBA of 8 bits."""
    from PIL import Image as pillow

    data = path.read_bytes()
    header = data[8:24] + b"\x08\x06" + data[26:29]
    relabelled = data[:8] + header + zlib.crc32(header[4:]).to_bytes(4, "big") + data[33:]
    with pillow.open(io.BytesIO(relabelled)) as image:
        pixels = np.asarray(image).astype(np.int32)
    return cast(Pixels, pixels[..., [1, 1, 1, 3]])


def _stated_white(image: Image, path: Path | None) -> int | None:
    """The level that is white, as a TIFF of fewer bits or a PNG with significant bits states it."""
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        bits = tags.get(_TIFF_BITS, (16,))
        white = tags.get(_TIFF_WHITE)
        white = white[0] if isinstance(white, tuple) else white
        if isinstance(white, int) and 255 < white < 65535:
            return white
        return 2 ** int(bits[0]) - 1 if 8 < int(bits[0]) < 16 else None
    for name, chunk in _chunks(path) if image.format == "PNG" and path is not None else ():
        if name == b"sBIT" and 8 < chunk[0] < 16:
            return int(2 ** chunk[0] - 1)
    return None


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks of a PNG before its pixels."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            yield head[4:], file.read(int.from_bytes(head[:4], "big"))
            file.seek(4, 1)  # the checksum


def _on_background(levels: Pixels, opacity: Pixels | None, top: float, background: str) -> Pixels:
    """Levels (h, w, c) on the background, or with the opacity as the last channel."""
    if opacity is not None and background == "alpha":
        visible = np.where(opacity[..., None] > 0, levels, np.zeros((), levels.dtype))
        return np.concatenate([visible, opacity[..., None]], 2)
    if opacity is None or opacity.min() >= top:
        return levels
    behind = top if background == "white" else 0.0
    flat, shares, mixed = levels.reshape(-1, levels.shape[2]), opacity.reshape(-1, 1), np.empty_like(levels)
    out = mixed.reshape(-1, levels.shape[2])
    # in slices, as the numbers of a large picture take four times the memory of its levels
    for at in range(0, len(flat), SLICE):
        share = shares[at : at + SLICE].astype(np.float32) / top
        out[at : at + SLICE] = np.rint(flat[at : at + SLICE] * share + behind * (1 - share))
    return mixed


def resized(levels: Pixels, size: tuple[int, int], *, alpha: bool = False) -> Pixels:
    """Crop the centre of an image to the proportions of `size`, and resize it (Lanczos).

    Args:
        levels: (h, w, c), uint8 or numbers >= 0.
        size: height and width.
        alpha: whether the last channel is opacity, which weights the others.

    Returns:
        (height, width, c), uint8 or float32 >= 0; floats may exceed the largest level a little.
    """
    from PIL import Image, ImageOps

    width_and_height = (size[1], size[0])
    fit = lambda image: np.asarray(ImageOps.fit(image, width_and_height, Image.Resampling.LANCZOS))  # noqa: E731
    levels = np.ascontiguousarray(levels)
    channels = levels.shape[2]
    if levels.dtype == np.uint8 and (channels in (1, 3) or (alpha and channels in (2, 4))):
        image = fit(Image.fromarray(levels[..., 0] if channels == 1 else levels))
        return cast(Pixels, image.reshape(*size, channels))
    if levels.dtype == np.uint8:
        return np.stack([fit(Image.fromarray(levels[..., c].copy())) for c in range(channels)], 2)
    numbers = levels.astype(np.float32)
    if alpha:
        numbers = np.concatenate([numbers[..., :-1] * numbers[..., -1:], numbers[..., -1:]], 2)
    image = np.stack([fit(Image.fromarray(numbers[..., c].copy())) for c in range(channels)], 2)
    if alpha:
        image[..., :-1] /= np.maximum(image[..., -1:], 1e-6 * numbers[..., -1].max() + 1e-30)
    return np.maximum(image, 0)
