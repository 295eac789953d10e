"""Pictures embedded in the page as data URIs."""

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
        title: title of the picture.
        alt: alternative text for readers who cannot see it.
        light: data URI of the picture.
        dark: data URI for dark pages, if it differs.
        note: note next to the title.
        name: density that the picture shows, if any.
    """

    title: str
    alt: str
    light: str
    dark: str | None = None
    note: str = ""
    name: str = ""


def uri(picture: Picture) -> str:
    """The data URI of a uint8 picture (H, W), (H, W, 3) or (H, W, 4)."""
    return "data:image/png;base64," + base64.b64encode(pictures.png(picture)).decode()
