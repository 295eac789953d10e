"""Pictures that lie in the page itself."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from chartae.draw import pictures
from chartae.draw.pictures import Picture

__all__ = ["Embedded", "uri"]


@dataclass(frozen=True)
class Embedded:
    """A picture on the page.

    Attributes:
        title: what the picture is called.
        alt: what a reader who cannot see it is told.
        light: its data URI.
        dark: the data URI for dark pages, if it is another.
        note: what stands beside the title.
        name: the density it is of.
    """

    title: str
    alt: str
    light: str
    dark: str | None = None
    note: str = ""
    name: str = ""


def uri(picture: Picture) -> str:
    """A picture (H, W), (H, W, 3) or (H, W, 4), uint8, as a data URI."""
    return "data:image/png;base64," + base64.b64encode(pictures.png(picture)).decode()
