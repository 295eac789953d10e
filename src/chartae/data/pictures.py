"""Read pictures of any size, mode and depth as images of one shape."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeGuard

import numpy as np
from torch import Tensor

from chartae.data.decoding import BACKGROUNDS, Picture, Pixels, Source, decode, is_picture, is_picture_file
from chartae.data.levels import white_of
from chartae.data.notes import guess
from chartae.data.options import Reading, height_and_width
from chartae.records.choices import one_of

__all__ = ["is_pictures", "read_pictures", "size_of"]

#: facts about a picture, in sentences: {n} pictures, {name} is the first
_SENTENCES = {
    "turned": "{n} are turned as their EXIF orientation says, such as {name}.",
    "frames": "{n} have several frames, such as {name}; the first one is read.",
    "converted": "{n} are CMYK or LAB, such as {name}; they are converted to RGB without their colour profile.",
}


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
        pictures = list(pool.map(lambda source, name: decode(source, name, background, size), listed, names))
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
        whole = np.concatenate([colours, opacity], 2) if opacity.size else colours
        images.append(whole.transpose(2, 0, 1))
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
    stacked = np.empty((len(images), *images[0].shape), np.float32)
    for place, image, top in zip(stacked, images, tops, strict=True):  # in place, as pictures may be large
        place[...] = image
        place /= np.float32(top)
        np.clip(place, 0, 1, out=place)
    return stacked
