"""What one example is: a picture, a row of a table, a point, a string; one class in one file each."""

from chartae.data.kinds.base import Kind, Plain, kind_named, kind_of, kinds, register
from chartae.data.kinds.images import Images
from chartae.data.kinds.points import Points
from chartae.data.kinds.rows import Rows
from chartae.data.kinds.strings import Strings
from chartae.data.kinds.table import Table

__all__ = [
    "Images", "Kind", "Plain", "Points", "Rows", "Strings", "Table", "kind_named", "kind_of", "kinds", "register",
]  # fmt: skip
