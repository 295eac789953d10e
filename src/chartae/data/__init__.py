"""Images, tables, points and strings: read, checked, split without overlap and served in batches.

data = load("fashion-mini")                      # or a path: a folder of images, .npy, .npz, .csv, .parquet
for batch in Batches(data.train, 128, labels=data.train_labels).epoch(0): ...
"""

from chartae.data import mixings, sprites, toys
from chartae.data.arrays import as_examples, as_tensor
from chartae.data.batches import Batch, Batches
from chartae.data.catalogue import NAMES, load
from chartae.data.conditions import Condition, Encoded
from chartae.data.dataset import Dataset, from_arrays
from chartae.data.derived import VIEWS, derive, disjoint_halves, split_views
from chartae.data.download import fetch
from chartae.data.inspection import Inspection, inspect
from chartae.data.kinds import Images, Kind, Points, Strings, Table
from chartae.data.lines import indices, is_strings, read_strings
from chartae.data.options import Reading
from chartae.data.reading import IN_MEMORY, Origin, WrongKind, origin, read
from chartae.data.strings import from_strings

__all__ = [
    "IN_MEMORY",
    "NAMES",
    "VIEWS",
    "Batch",
    "Batches",
    "Condition",
    "Dataset",
    "Encoded",
    "Images",
    "Inspection",
    "Kind",
    "Origin",
    "Points",
    "Reading",
    "Strings",
    "Table",
    "WrongKind",
    "as_examples",
    "as_tensor",
    "derive",
    "disjoint_halves",
    "fetch",
    "from_arrays",
    "from_strings",
    "indices",
    "inspect",
    "is_strings",
    "load",
    "mixings",
    "origin",
    "read",
    "read_strings",
    "split_views",
    "sprites",
    "toys",
]
