"""Images: levels or floats, which the model sees in [0, 1]."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast, final

import numpy as np
import torch
from torch import Tensor

from chartae.data.arrays import as_examples, as_tensor
from chartae.data.columns import Columns
from chartae.data.contents import Contents
from chartae.data.decoding import Source, is_picture, resized
from chartae.data.items import examples_of
from chartae.data.kinds.base import FileRows, Kind, Plain, Stream, Writer, at_once, dimensions, register, shape_of
from chartae.data.levels import channels_last_of, elongated, white_of
from chartae.data.options import Reading
from chartae.data.pictures import is_pictures, read_pictures, size_of
from chartae.data.streaming import write_npy, write_npz
from chartae.draw import pictures
from chartae.grammar import Codec
from chartae.maths import as_float

__all__ = ["Images"]

#: options that new images are read with
_KEPT = ("size", "background", "channels_last", "white")


@final
@register
class Images(Kind):
    """Images (C, H, W): floats in [0, 1] for the model and in results, uint8 levels 0..255 in files.

    Read are arrays (n, h, w), (n, c, h, w) and channels-last (n, h, w, c) of booleans, levels or floats in [0, 1];
    lists of arrays, of Pillow images and of paths of pictures; and files and folders of pictures. Levels are divided
    by the level that is white, usually 255, so that levels and floats of the same image give the same result. One
    image without the axis of examples is read as a batch of one.

    Args:
        shape: shape (C, H, W) of one image.
        reading: options with which new images are read; none by default.

    >>> import numpy as np
    >>> from chartae.data import Images
    >>> x = Images((1, 2, 2)).read(np.full((3, 2, 2), 255, np.uint8))
    >>> x.shape, x.max()
    (torch.Size([3, 1, 2, 2]), tensor(1.))
    """

    name: ClassVar[str] = "images"
    noun: ClassVar[str] = "images"
    unit: ClassVar[bool] = True
    guessed: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = frozenset({"size", "background", "channels_last", "white", "shape"})

    def __init__(self, shape: tuple[int, ...], reading: Reading = Reading()) -> None:
        self.shape = tuple(int(size) for size in shape)
        options = {name: getattr(reading, name) for name in _KEPT}
        if reading.size is None and len(set(self.shape)) > 1:
            options["channels_last"] = None  # the shape says so
        self._reading = Reading(**options, shape=self.shape)

    @classmethod
    def takes(cls, x: object) -> bool:
        return is_pictures(x) or is_picture(x) or dimensions(x) in (3, 4)

    @classmethod
    def examples(cls, x: object, *, at_least: int = 1) -> Tensor:
        return as_examples(x, at_least=at_least)

    @classmethod
    def convert(cls, contents: Contents) -> tuple[dict[str, Tensor], Contents]:
        contents = _decoded(contents)
        parts = {split: part.x for split, part in contents.parts.items()}
        if contents.decoded:
            decoded = {
                split: as_examples(x, at_least=2 if split == "train" else 1, channels_last=False, white=255)
                for split, x in parts.items()
            }
            return decoded, contents
        reading, notes = contents.reading, list(contents.notes)
        if reading.background is not None and reading.shape is None:
            raise ValueError(
                f"background is {reading.background!r}; expected None, as x is an array, whose channels are kept. Use"
                " it for files of pictures."
            )
        tensors = {split: as_tensor(x) for split, x in parts.items()}
        reading = _decided(tensors["train"], reading, notes)
        images: dict[str, Tensor] = {}
        for split, x in tensors.items():
            shape = reading.shape if split == "train" else images["train"].shape[1:]
            images[split] = _read_array(x, replace(reading, shape=shape), at_least=2 if split == "train" else 1)
        if contents.reading.shape is None:
            notes += elongated(tensors["train"])
        return images, replace(contents, reading=replace(reading, shape=None), notes=tuple(notes))

    @classmethod
    def of(cls, train: Tensor, *, columns: Columns | None = None, codec: Codec | None = None) -> Self:
        return cls(tuple(train.shape[1:]))

    def keeping(self, reading: Reading) -> Images:
        return Images(self.shape, reading)

    def alike(self, reading: Reading) -> Reading:
        return replace(reading.for_new_data(), **_stated(self._reading), shape=self.shape)

    def read(self, x: object) -> Tensor:
        if isinstance(x, str | os.PathLike):
            x = self.file_rows(x).x
        return as_float(self._stored(x))

    def read_named(self, x: object, names: Sequence[str | int], source: str) -> Tensor:
        """Read the images of a file; levels stay uint8, which nets read as floats in [0, 1], a few at a time."""
        return self._stored(x)

    def _stored(self, x: object) -> Tensor:
        """Images as levels of uint8, or as floats in [0, 1]."""
        x = examples_of(x)
        if is_pictures(x) or is_picture(x):
            pictures = [x] if is_picture(x) else x
            x = read_pictures({"train": cast(Sequence[Source], pictures)}, self._reading)[0]["train"]
        elif dimensions(x) != 2 or tuple(shape_of(x) or ()) != self.shape[1:] or self.shape[0] != 1:
            self.refuse_others(x)
        images = _read_array(as_tensor(x), self._reading, at_least=1)
        self.check_shape(images)
        return images

    def file_rows(self, path: str | os.PathLike[str], reading: Reading = Reading()) -> FileRows:
        """Read every picture or array of a path with the options of the fit; see `Kind.file_rows`."""
        contents = self._contents(path, replace(self._reading, **_stated(reading)))
        labels = [np.asarray(part.labels) for part in contents.parts.values() if part.labels is not None]
        x = contents.examples()
        if contents.decoded and x.dtype == np.uint8:  # their white is 255, whatever that of arrays is
            x = as_float(torch.from_numpy(x)).numpy()
        return FileRows(x, (), np.concatenate(labels) if labels else None)

    def inside(self, x: Tensor) -> Tensor:
        """The same tensor: uint8 levels are scaled to [0, 1] batch by batch, on the device (`maths.as_float`)."""
        return x

    def outside(self, x: Tensor) -> Tensor:
        """The same tensor: images are floats in [0, 1] in both forms."""
        return x

    def restore(self, x: Tensor) -> Tensor:
        """The same tensor: floats (n, C, H, W), as they come from the model."""
        return x

    def writers(self) -> Mapping[str, Writer]:
        return {".png": _write_grid, **at_once(self.streams())}

    def streams(self) -> Mapping[str, Stream]:
        return {
            ".npy": lambda slices, n, path: write_npy(map(levels, slices), n, path),
            ".npz": lambda slices, n, path: write_npz(map(levels, slices), n, path),
        }

    def bytes_in(self, suffix: str) -> int:
        return math.prod(self.shape) if suffix in self.streams() else 0

    def to_dict(self) -> dict[str, Plain]:
        options = {name: value for name, value in self._reading.to_dict().items() if name != "shape"}
        return {"kind": self.name, "shape": list(self.shape), **options}

    @classmethod
    def restored(cls, facts: Mapping[str, Plain]) -> Self:
        options = {name: value for name, value in facts.items() if name in _KEPT}
        return cls(tuple(cast(list[int], facts["shape"])), Reading.from_dict(options))


def _stated(reading: Reading) -> dict[str, Any]:
    """The options of images that are set, by name."""
    return {name: getattr(reading, name) for name in reading.stated() if name in _KEPT}


def _decoded(contents: Contents) -> Contents:
    """The contents, with the pictures of a list decoded."""
    train = contents.parts["train"].x
    if not (is_pictures(train) or is_picture(train)):
        return contents
    sources = {
        split: cast(Sequence[Source], [part.x] if is_picture(part.x) else part.x)
        for split, part in contents.parts.items()
    }
    arrays, reading, notes = read_pictures(sources, contents.reading)
    parts = {split: replace(part, x=arrays[split]) for split, part in contents.parts.items()}
    return replace(contents, parts=parts, reading=reading, notes=(*contents.notes, *notes), decoded=True)


def _decided(train: Tensor, reading: Reading, notes: list[str]) -> Reading:
    """The options, with the axis of the channels and the level that is white of training images."""
    last, white = reading.channels_last, reading.white
    if reading.shape is not None:
        return reading
    if train.ndim == 4 and last is None:
        last, note = channels_last_of(train.shape)
        if last and not note:
            note = f"The last axis of x, of shape {tuple(train.shape)}, holds the {train.shape[3]} channels."
        notes += [note] * bool(note)
    if white is None and _is_whole(train):
        lo, peak = (int(v) for v in train.aminmax())
        if lo >= 0 and peak > 255:
            white, note = white_of(peak, "x")
            notes.append(note)
    size = size_of(reading)
    if size is not None and train.ndim > 2:
        height, width = train.shape[1:3] if train.ndim == 3 or last else train.shape[2:]
        if (height, width) != size:
            notes.append(
                f"Images of {height}x{width} pixels are cropped to their centre and resized to {size[0]}x{size[1]}"
                " (height x width)."
            )
    return replace(reading, channels_last=last, white=white, size=size)


def _is_whole(x: Tensor) -> bool:
    """Whether `x` holds whole numbers."""
    return not x.is_floating_point() and x.dtype != torch.bool and x.numel() > 0


def _read_array(x: Tensor, reading: Reading, at_least: int) -> Tensor:
    """Images (n, c, h, w) of an array: uint8, or floats in [0, 1]."""
    x, last = _arranged(x, reading)
    white = reading.white
    if reading.shape is not None and white is None and _is_whole(x) and int(x.amax()) > 1:
        white = 255  # like the fitted images; those of only 0 and 1 are refused
    images = as_examples(x, at_least=at_least, channels_last=last, white=white)
    size = size_of(reading)
    if size is None or images.shape[2:] == size:
        return images
    rows = np.stack([resized(image.permute(1, 2, 0).cpu().numpy(), size) for image in images])
    rows = np.minimum(rows, np.array(1 if images.is_floating_point() else 255, rows.dtype))
    return torch.from_numpy(rows).permute(0, 3, 1, 2).contiguous().to(images.device)


def _arranged(x: Tensor, reading: Reading) -> tuple[Tensor, bool | None]:
    """Images with an axis of examples, and whether their last axis holds the channels; None without such an axis."""
    shape, last = reading.shape, reading.channels_last
    if shape is None:
        return x, last
    channels, height, width = shape
    sizes = tuple(x.shape)
    if x.ndim == 2 and (channels, *sizes) == tuple(shape):
        return x[None], None
    layouts = {False: (channels, height, width), True: (height, width, channels)}
    is_one = sizes in layouts.values() and (channels != 1 or sizes[1:] != (height, width))
    if x.ndim == 3 and (is_one or (reading.size is not None and 1 < channels in (sizes[0], sizes[2]))):
        x, sizes = x[None], (1, *sizes)
    if x.ndim != 4:
        return x, None
    ways = [way for way, layout in layouts.items() if sizes[1:] == layout]
    if len(ways) == 1:
        return x, ways[0]
    if last is None:
        last = False if ways else channels_last_of(sizes)[0]
    return x, last


def levels(x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Levels 0..255 of floats in [0, 1]; values outside are clipped."""
    return np.asarray(as_float(x).clamp(0, 1).mul(255).round().to(torch.uint8).numpy())


def _write_grid(x: Tensor, path: Path) -> None:
    pictures.save_png(path, pictures.enlarge(pictures.grid(levels(x)), 2))
