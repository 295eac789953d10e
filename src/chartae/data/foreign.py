"""Data of other libraries: how to give them to chartae."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["remedy_for"]

#: package and name of a class -> how to make an array, a data frame or a list of it
_REMEDIES = {
    ("scipy.sparse", "*"): "Give x.toarray(), or fewer columns if that does not fit into memory.",
    ("torch.utils.data", "DataLoader"): "Give its data set, loader.dataset; fit makes the batches.",
    ("torch.utils.data", "IterableDataset"): "Give a list of its examples, list(x).",
    ("anndata", "AnnData"): "Give x.to_df(), a data frame of its matrix, or x.obsm[...].",
    ("xarray", "Dataset"): "Give x.to_dataframe(), or the values of one variable, x[name].values.",
    ("dask", "*"): "Give x.compute().",
    ("pyspark", "*"): "Give x.toPandas().",
    ("h5py", "File"): "Give one of its arrays, x[name][:].",
    ("h5py", "Group"): "Give one of its arrays, x[name][:].",
    ("tensorflow", "*"): "Give a NumPy array of its examples.",
    ("jax", "*"): "Give numpy.asarray(x).",
    ("numpy.lib", "NpzFile"): "Give one of its arrays, x[name], or the path of the file.",
    ("_io", "*"): "Give the path of the file.",
    ("pathlib", "*"): "Give the path of one file or folder.",
    ("builtins", "dict"): "Give columns of equal length, by name.",
}


def remedy_for(x: object) -> str:
    """How to give an object of another library, as a sentence.

    Args:
        x: anything that is not read.

    >>> from chartae.data.foreign import remedy_for
    >>> remedy_for(iter([1, 2]))
    'Give a list of its examples, list(x).'
    """
    for ancestor in type(x).__mro__:
        module = f"{ancestor.__module__}."
        for (package, name), remedy in _REMEDIES.items():
            if module.startswith(f"{package}.") and name in ("*", ancestor.__name__):
                return remedy
    if isinstance(x, Iterable):
        return "Give a list of its examples, list(x)."
    return "Give an array, a data frame, a list, or the path of a file."
