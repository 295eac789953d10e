"""The layout of arrays of images, and the level that is white."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from chartae.data.notes import guess
from chartae.maths.rows import by_blocks

__all__ = ["CHANNELS", "channels_first", "channels_last_of", "elongated", "in_unit", "levels_in_unit", "white_of"]

#: usual numbers of channels: grey, colour, colour with transparency
CHANNELS = (1, 3, 4)
#: floats may lie this far outside [0, 1], because they were rounded or resampled; they are clipped
OVERSHOOT = 1e-3
#: deepest level that is read as a picture without `white`
DEEPEST = 2**16 - 1


def _last_and_sure(a: int, b: int, c: int) -> tuple[bool, bool]:
    """Whether the last of the sizes (a, b, c) of a picture is the number of channels, and whether that is sure."""
    if (b == c) != (a == b):  # two axes make a square
        last = a == b
        channels, side = (c, a) if last else (a, c)
        return last, side > 1 and (channels in CHANNELS or (channels < side and side not in CHANNELS))
    if (a in CHANNELS) != (c in CHANNELS):
        last = c in CHANNELS
        return last, (a if last else c) > max(CHANNELS)
    if a in CHANNELS:
        return False, a == b == c == 1
    fewest = min(a, c)
    return c < a, a != c and fewest <= 16 and 2 * fewest <= min(b, max(a, c))


def channels_last_of(shape: Sequence[int], like: Sequence[int] | None = None) -> tuple[bool, str]:
    """Whether the last axis of images holds the channels, and a warning if that is not sure.

    Args:
        shape: shape (n, a, b, c) of the images.
        like: shape (C, H, W) of images that were read before; if these images can be of that shape, they are.

    Returns:
        Whether the last axis holds the channels, and the sentence of the warning, empty if it is sure.

    >>> from chartae.data.levels import channels_last_of
    >>> channels_last_of((9, 32, 32, 2)), channels_last_of((9, 12, 32, 32))
    ((True, ''), (False, ''))
    """
    a, b, c = shape[1:]
    if like is not None and tuple(like) in ((a, b, c), (c, a, b)):
        return tuple(like) != (a, b, c), ""
    last, sure = _last_and_sure(a, b, c)
    if sure:
        return last, ""
    (k, h, w), other = ((c, a, b), f"{a} channels of {b}x{c}") if last else ((a, b, c), f"{c} channels of {a}x{b}")
    return last, guess(
        f"x of shape {tuple(shape)} is read as images of {k} channels and {h}x{w} pixels (height x width). Give"
        f" channels_last={not last} if they have {other}, channels_last={last} to say that this is right."
    )


def elongated(x: Tensor) -> list[str]:
    """Warn of numbers (n, a, b) that are read as grey images, but may be series, as one side is much longer.

    Args:
        x: images; those of 8 bits and booleans are surely some.

    Returns:
        One sentence, or none.
    """
    if x.ndim != 3 or x.dtype in (torch.uint8, torch.bool) or 3 * min(x.shape[1:]) >= max(x.shape[1:]):
        return []
    n, h, w = x.shape
    return [guess(
        f"x of shape {(n, h, w)} is read as {n:,} grey images of {h}x{w} pixels (height x width). For series and other"
        " rows of numbers, give x.reshape(len(x), -1); for images, x[:, None]."
    )]  # fmt: skip


def channels_first(x: Tensor, channels_last: bool) -> Tensor:
    """Images (n, c, h, w) of images (n, h, w), (n, h, w, c) or (n, c, h, w)."""
    if x.ndim == 3:
        return x.unsqueeze(1)
    return x.permute(0, 3, 1, 2) if channels_last else x


def white_of(peak: float, what: str, stated: int | None = None) -> tuple[int, str]:
    """The level that is white, of images of more than 8 bits, and a sentence about it.

    It is the one that their files state, otherwise the smallest 2^k - 1 that no level exceeds, k >= 8.

    Args:
        peak: largest level of the training images.
        what: what the sentence calls the images.
        stated: level that their files state; None (default) if they state none.

    Raises:
        ValueError: `peak` exceeds 65535.

    >>> from chartae.data.levels import white_of
    >>> white_of(4000, "x", stated=4095)
    (4095, 'x has levels up to 4000; 4095 is white, as its files say.')
    """
    if stated is not None and peak <= stated:
        return stated, f"{what} has levels up to {peak:g}; {stated} is white, as its files say."
    if peak > DEEPEST:
        raise ValueError(
            f"{what} has levels up to {peak:g}; expected at most {DEEPEST}. Give the level that is white, white=N, or"
            " rescale the images to floats in [0, 1]."
        )
    white = max(2 ** int(peak).bit_length() - 1, 255)
    sentence = f"{what} has levels up to {peak:g}; {white} is read as white"
    return white, f"{sentence}." if white == DEEPEST else guess(f"{sentence}. Give white=N for another level.")


def in_unit(x: Tensor, what: str = "x") -> Tensor:
    """Floats in [0, 1], clipped where they exceed it by rounding or resampling alone.

    Raises:
        ValueError: a value is farther outside; the message says how to rescale.
    """
    lo, hi = (float(v) for v in x.aminmax())
    if not (lo >= -OVERSHOOT and hi <= 1 + OVERSHOOT):
        remedy = (
            "Rescale it, such as (x - x.min()) / (x.max() - x.min()), or give rows, x.reshape(len(x), -1), if these are"
            " no images"
        )
        if lo >= 0 and 2 < hi <= 255:
            remedy = "Divide it by 255"
        elif -1.05 <= lo < 0 and hi <= 1.05:
            remedy = "If -1 is black and 1 white, give (x + 1) / 2"
        elif lo >= -0.2 and hi <= 1.2:
            remedy = "Give x.clip(0, 1) if the overshoot means nothing"
        raise ValueError(
            f"{what} holds floating-point images with values from {lo:g} to {hi:g}; expected values in [0, 1]."
            f" {remedy}, or give levels 0..255 as uint8."
        )
    return x.clamp(0, 1) if lo < 0 or hi > 1 else x


def levels_in_unit(x: Tensor, white: int | None, what: str = "x") -> Tensor:
    """Levels 0..`white` as uint8 levels 0..255 where these hold them, otherwise as floats in [0, 1].

    Args:
        x: whole numbers (n, ...) >= 0. The white of uint8 is 255, unless `white` is smaller.
        white: level that is white, None for 255. Levels above it are clipped, with a warning, if it exceeds 255.
        what: what messages call the images.

    Raises:
        ValueError: a level exceeds a `white` of at most 255.

    >>> import torch
    >>> from chartae.data.levels import levels_in_unit
    >>> levels_in_unit(torch.tensor([0, 4095]), 4095), levels_in_unit(torch.tensor([0, 255]), None)
    (tensor([0., 1.]), tensor([  0, 255], dtype=torch.uint8))
    """
    top = min(white or 255, 255) if x.dtype == torch.uint8 else white or 255
    lo, peak = (int(v) for v in x.aminmax())
    if lo < 0 or (peak > top and top <= 255):
        kind = str(x.dtype).removeprefix("torch.")
        remedy = "Rescale it to floats in [0, 1]" if lo < 0 else "Give the images in the levels of the fit"
        raise ValueError(
            f"{what} holds integer images ({kind}) with values from {lo} to {peak}; expected levels 0..{top}. {remedy}."
        )
    if peak > top:
        above = int((x > top).flatten(1).any(1).sum())
        guess(
            f"{above} of the {len(x)} images of {what} {'has' if above == 1 else 'have'} levels above white={top}, up"
            f" to {peak}, which are clipped. Give white={2 ** peak.bit_length() - 1} to fit to keep them."
        )
    if top == 255:
        return x.to(torch.uint8)
    if top == 1:
        return x.to(torch.uint8) * 255
    return by_blocks(lambda part: (part.to(torch.float64).clamp(max=top) / top).to(torch.float32), x)
