"""Decode pictures: files, Pillow images and arrays of any size become images of one shape."""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chartae.data.levels import channels_last_of, in_unit, levels_in_unit, white_of
from chartae.data.notes import guess
from chartae.data.options import Reading, height_and_width
from chartae.records.choices import one_of

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "BACKGROUNDS", "SUFFIXES", "Source", "is_picture", "is_picture_file", "is_pictures", "read_pictures", "resized",
    "size_of",
]  # fmt: skip

#: files that are read as pictures
SUFFIXES = frozenset({
    ".apng", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga",
    ".tif", ".tiff", ".webp",
})  # fmt: skip
BACKGROUNDS = ("white", "black", "alpha")

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
#: facts about a picture, in sentences: {n} pictures, {name} is the first
_SENTENCES = {
    "turned": "{n} are turned as their EXIF orientation says, such as {name}.",
    "frames": "{n} have several frames, such as {name}; the first one is read.",
    "converted": "{n} are CMYK or LAB, such as {name}; they are converted to RGB without their colour profile.",
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
        facts: what was done: a key of `_SENTENCES`, or "transparent".
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


def is_pictures(x: object) -> TypeGuard[Sequence[Source]]:
    """Whether `x` is a list of Pillow images, of paths of pictures, or of arrays that differ in size."""
    if (isinstance(x, np.ndarray) and x.dtype != object) or not isinstance(x, Sequence | np.ndarray) or not len(x):
        return False
    if isinstance(x, str | bytes) or (isinstance(x, np.ndarray) and x.ndim != 1):
        return False
    if all(map(is_picture, x)) or all(map(is_picture_file, x)):
        return True
    arrays = [a for a in x if isinstance(a, np.ndarray | Tensor) and a.ndim in (2, 3)]
    return len(arrays) == len(x) and len({tuple(a.shape) for a in arrays}) > 1


def size_of(reading: Reading) -> tuple[int, int] | None:
    """Height and width to which images are resized; None if they are not."""
    return None if reading.size is None else height_and_width(reading.size)


def is_picture(x: object) -> TypeGuard[Image]:
    """Whether `x` is a Pillow image."""
    pillow = sys.modules.get("PIL.Image")  # without it, nothing is a Pillow image
    return pillow is not None and isinstance(x, pillow.Image)


def read_pictures(
    sources: Mapping[str, Sequence[Source]], reading: Reading, what: str = "x"
) -> tuple[dict[str, Pixels], Reading, tuple[str, ...]]:
    """Decode the pictures of each split as images of one shape.

    Args:
        sources: pictures of each split, ``"train"`` at least.
        reading: options for reading. With `reading.shape`, the pictures are read like those of that shape.
        what: what messages call the pictures.

    Returns:
        Images (n, c, h, w) of each split, uint8 or float32 in [0, 1]; the options, completed by what was decided; and
        the decisions, in sentences.

    Raises:
        ValueError: a picture cannot be read, or is not of the shape of the others; the message names it.
    """
    size = size_of(reading)
    background = reading.background or "white"
    if background not in BACKGROUNDS:
        raise ValueError(f"background is {background!r}; {one_of(background, BACKGROUNDS)}")
    listed = [source for part in sources.values() for source in part]
    names = [
        os.fspath(source) if isinstance(source, str | os.PathLike) else f"picture {i} of {what}"
        for i, source in enumerate(listed)
    ]
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        pictures = list(pool.map(lambda source, name: _decode(source, name, background, size), listed, names))
    reading = replace(reading, size=size)
    if reading.shape is None:
        _check_sizes(pictures, names)
        colour = any(picture.colour for picture in pictures)
    else:
        colour = _colour_of(pictures, names, reading.shape, background == "alpha")
    transparent = any("transparent" in picture.facts for picture in pictures)
    notes = list(_notes(pictures, names, background, size, colour)) if reading.shape is None else []
    if transparent:
        reading = replace(reading, background=background)
    counts = [len(part) for part in sources.values()]
    if reading.shape is None:
        train = pictures[: counts[0]]
        white, note = _white(train, what) if reading.white is None else (reading.white, "")
        reading = replace(reading, white=white)
        notes += [note] * bool(note)
    ends = np.cumsum(counts)
    parts = {
        split: _stacked(pictures[end - count : end], colour, reading, what)
        for split, count, end in zip(sources, counts, ends, strict=True)
    }
    first = parts["train"]
    if transparent and reading.shape is None and len(first) > 1 and background != "alpha" and (first == first[0]).all():
        others = " or ".join(repr(other) for other in BACKGROUNDS if other != background)
        raise ValueError(
            f"all pictures of {what} are identical on a {background} background; expected pictures that differ. Give"
            f" background={others}."
        )
    return parts, replace(reading, shape=None), tuple(notes)


# -- one picture ------------------------------------------------------------------------------------------------------


def _decode(source: Source, name: str, background: str, size: tuple[int, int] | None) -> Picture:
    """Decode a picture, put it on the background, and resize it."""
    from PIL import Image

    try:
        if isinstance(source, np.ndarray | Tensor):
            return _of_array(source, name, size)
        if is_picture(source):
            levels, opacity, white, facts = _channels(source, None)
        else:
            with Image.open(cast(str, source)) as image:
                levels, opacity, white, facts = _channels(image, Path(cast(str, source)))
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, zlib.error, Image.DecompressionBombError) as e:
        raise ValueError(f"{name} cannot be read as an image: {e}.") from e
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
    share = opacity[..., None].astype(np.float32) / top
    mixed = levels * share + (top if background == "white" else 0.0) * (1 - share)
    return cast(Pixels, np.rint(mixed).astype(levels.dtype))


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


# -- all pictures -----------------------------------------------------------------------------------------------------


def _check_sizes(pictures: Sequence[Picture], names: Sequence[str]) -> None:
    h0, w0 = pictures[0].pixels.shape[:2]
    for picture, name in zip(pictures, names, strict=True):
        h, w = picture.pixels.shape[:2]
        if (h, w) != (h0, w0):
            raise ValueError(
                f"{name} has {h}x{w} pixels but {names[0]} {h0}x{w0} (height x width); expected images of one size."
                " Give size= to crop their centres and resize them."
            )


def _colour_of(pictures: Sequence[Picture], names: Sequence[str], shape: Sequence[int], alpha: bool) -> bool:
    """Whether new pictures are read as colour; ValueError if one cannot have the shape of the fitted ones."""
    channels = shape[0] - alpha
    if channels not in (1, 3):
        raise ValueError(
            f"pictures have 1 or 3 channels{' and transparency' * alpha}; expected {shape[0]} channels, those of the"
            " fitted images. Give an array."
        )
    for picture, name in zip(pictures, names, strict=True):
        colours = picture.pixels[..., :3]
        if channels == 1 and picture.colour and (colours != colours[..., :1]).any():
            raise ValueError(f"{name} is coloured; expected a grey image, as in the fitted data. Convert it to grey.")
        h, w = picture.pixels.shape[:2]
        if (h, w) != tuple(shape[1:]):
            raise ValueError(
                f"{name} has {h}x{w} pixels; expected {shape[1]}x{shape[2]} (height x width), as in the fitted data."
                " Resize it, or fit with size=."
            )
    return channels == 3


def _notes(
    pictures: Sequence[Picture], names: Sequence[str], background: str, size: tuple[int, int] | None, colour: bool
) -> Iterator[str]:
    def count(chosen: Sequence[bool]) -> tuple[str, str]:
        return f"{sum(chosen):,} of {len(pictures):,} pictures", names[list(chosen).index(True)]

    if size is not None and any(picture.size != size for picture in pictures):
        heights, widths = ([picture.size[axis] for picture in pictures] for axis in (0, 1))
        between = " and ".join(f"{kind} {min(v)} to {max(v)}" for kind, v in (("height", heights), ("width", widths)))
        yield (
            f"Pictures of {between} pixels are cropped to their centre and resized to {size[0]}x{size[1]} (height x"
            " width)."
        )
    if colour and not all(picture.colour for picture in pictures):
        n, name = count([not picture.colour for picture in pictures])
        yield f"{n} are grey, such as {name}; all are read as colour."
    transparent = ["transparent" in picture.facts for picture in pictures]
    if any(transparent):
        n, name = count(transparent)
        others = " or ".join(f"background={other!r}" for other in BACKGROUNDS if other != background)
        how = "transparency is kept as the last channel" if background == "alpha" else f"they are put on {background}"
        yield f"{n} have transparent pixels, such as {name}; {how}. Give {others} to read them otherwise."
    elif background == "alpha":
        yield "No picture is transparent; the last channel, their opacity, is 1 everywhere."
    for fact, sentence in _SENTENCES.items():
        chosen = [fact in picture.facts for picture in pictures]
        if any(chosen):
            n, name = count(chosen)
            yield sentence.format(n=n, name=name)


def _white(train: Sequence[Picture], what: str) -> tuple[int | None, str]:
    """The level that is white in the pictures that do not have the usual one, and a sentence about it."""
    deep = [picture for picture in train if picture.white not in (1, 255)]
    if deep:
        stated = {picture.white for picture in deep}
        common = stated.pop() if len(stated) == 1 else None
        return white_of(max(picture.peak for picture in deep), what, common)
    plain = [picture for picture in train if picture.white == 255]
    if plain and max(picture.peak for picture in plain) == 1 and len(plain) == len(train):
        return 1, guess(f"{what} holds only the levels 0 and 1; 1 is read as white. Give white=255 otherwise.")
    return None, ""


def _stacked(pictures: Sequence[Picture], colour: bool, reading: Reading, what: str) -> Pixels:
    """Images (n, c, h, w) of one split: uint8 if all pictures have 8 bits, otherwise floats in [0, 1]."""
    alpha, channels = reading.background == "alpha", 3 if colour else 1
    images = []
    for picture in pictures:
        colours, opacity = picture.pixels, picture.pixels[..., :0]
        if alpha:
            colours, opacity = colours[..., :-1], colours[..., -1:]
        if colours.shape[2] != channels and colours.shape[2] in (1, 3):
            colours = np.repeat(colours[..., :1], channels, 2)
        images.append(np.concatenate([colours, opacity], 2).transpose(2, 0, 1))
    if all(image.dtype == np.uint8 for image in images) and (reading.white or 255) >= 255:
        return np.stack(images)
    white = reading.white or 255
    tops = [
        float(min(white, 255) if picture.white == 255 else 1 if picture.white == 1 else white) for picture in pictures
    ]
    above = [picture.peak > top for picture, top in zip(pictures, tops, strict=True) if picture.white != 1]
    if any(above):
        peak = max(picture.peak for picture in pictures)
        if white <= 255:
            raise ValueError(f"{what} has levels up to {peak:g}; expected levels 0..{white}, as in the fitted data.")
        guess(
            f"{sum(above)} of the {len(pictures)} pictures of {what} have levels above white={white}, up to {peak:g},"
            f" which are clipped. Give white={2 ** int(peak).bit_length() - 1} to fit to keep them."
        )
    return np.stack(
        [np.clip(image.astype(np.float32) / np.float32(top), 0, 1) for image, top in zip(images, tops, strict=True)]
    )
