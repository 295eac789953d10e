"""Images, tables and strings: read, checked, split without overlap, and handed out in batches from where they reside.

data = load("fashion-mini")                      # or a path: a folder of pictures, .npy, .npz, .csv, .parquet
for x, y in Batches(data.train, 128, labels=data.train_labels).epoch(0): ...
"""

from chartae.data import mixings, sprites, toys
from chartae.data.arrays import Dataset, as_examples, from_arrays
from chartae.data.batches import Batch, Batches
from chartae.data.catalogue import NAMES, load
from chartae.data.derived import VIEWS, apart, derive, taken_apart
from chartae.data.download import fetch
from chartae.data.strings import from_strings, indices, is_strings, read_strings

__all__ = [
    "NAMES", "VIEWS", "Batch", "Batches", "Dataset", "apart", "as_examples", "derive", "fetch", "from_arrays",
    "from_strings", "indices", "is_strings", "load", "mixings", "read_strings", "sprites", "taken_apart", "toys",
]  # fmt: skip
