"""Kinds of data: what one example is, an image, a row of a table, a point or a string; one class per file."""

from chartae.data.kinds.base import Kind, Plain, kind_named, kind_of, kinds, register
from chartae.data.kinds.images import Images
from chartae.data.kinds.points import Points
from chartae.data.kinds.rows import Rows
from chartae.data.kinds.strings import Strings
from chartae.data.kinds.table import Table

__all__ = [
    "Images", "Kind", "Plain", "Points", "Rows", "Strings", "Table", "kind_named", "kind_of", "kinds", "register",
]  # fmt: skip
