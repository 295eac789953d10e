"""Data in forms that are not read: objects of other libraries, files of other formats, names that are no paths."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeGuard, runtime_checkable

__all__ = ["ToPandas", "absent", "is_array_like", "is_foreign", "is_foreign_frame", "remedy_for", "remedy_for_file"]


class ToPandas(Protocol):
    """A table that can be converted to a data frame of pandas."""

    def to_pandas(self) -> object: ...


@runtime_checkable
class _ToNumPy(Protocol):
    def __array__(self) -> object: ...


#: package and name of the classes of tables that are read as data frames
_FRAMES = (("pyarrow", "Table"), ("pyarrow", "RecordBatch"), ("polars", "DataFrame"), ("datasets", "Dataset"))

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
    ("rdkit", "Mol"): "Give SMILES: rdkit.Chem.MolToSmiles(x).",
    ("builtins", "bytes"): "Decode it: x.decode().",
    ("decimal", "*"): "Convert them with .astype(float).",
    ("fractions", "*"): "Convert them with .astype(float).",
    ("datetime", "*"): "Convert them to days or seconds.",
    ("builtins", "float"): "Convert them with .astype(float).",
    ("builtins", "int"): "Convert them with .astype(float).",
    ("builtins", "bool"): "Convert them with .astype(float).",
    ("builtins", "str"): "Encode text as numbers.",
    ("builtins", "NoneType"): "Leave out missing values.",
    ("sklearn", "Bunch"): "Give chartae.data.from_arrays(x.data, x.target).",
    ("polars", "*"): "Give x.collect(), or x.to_list() for a series.",
    ("pyarrow", "*"): "Give x.to_pylist().",
    ("datasets", "DatasetDict"): "Give one of its splits, x['train'].",
    ("datasets", "*"): "Give one of its columns as a list, such as list(x['image']).",
    ("pandas", "*"): "Give a data frame.",
    ("builtins", "dict"): "Give columns of equal length, by name.",
}


def _is_from(x: object, package: str, name: str) -> bool:
    """Whether `x` is of a class of this package and name, or of one that inherits from it; "*" is any name."""
    return any(
        f"{ancestor.__module__}.".startswith(f"{package}.") and name in ("*", ancestor.__name__)
        for ancestor in type(x).__mro__
    )


def is_foreign_frame(x: object) -> TypeGuard[ToPandas]:
    """Whether `x` is a table of Arrow, polars or Hugging Face. This does not import them."""
    return any(_is_from(x, package, name) for package, name in _FRAMES)


def is_foreign(x: object) -> bool:
    """Whether `x` is of another library, and `remedy_for` says what to make of it."""
    return any(_is_from(x, package, name) for package, name in _REMEDIES if package != "builtins")


def is_array_like(x: object) -> bool:
    """Whether NumPy can convert `x` in finite time: a number, a sequence, or what offers an array.

    NumPy also reads objects with numbered items, without asking for their length.

    >>> from chartae.data.foreign import is_array_like
    >>> is_array_like([1, 2]), is_array_like(iter([1, 2]))
    (True, False)
    """
    return isinstance(x, Sequence | _ToNumPy | int | float | complex)


def remedy_for(x: object) -> str:
    """How to give an object of another library, as a sentence.

    Args:
        x: anything that is not read.

    >>> from chartae.data.foreign import remedy_for
    >>> remedy_for(iter([1, 2]))
    'Give a list of its examples, list(x).'
    """
    for (package, name), remedy in _REMEDIES.items():
        if _is_from(x, package, name):
            return remedy
    if isinstance(x, Iterable):
        return "Give a list of its examples, list(x)."
    return "Give an array, a data frame, a list, or the path of a file."


_BY_PANDAS = "Convert it with pandas.{reader}(path).to_csv(new_path, index=False)."
#: suffixes of files -> how to convert them, with {path} for the path without its last suffix
_FORMATS = {
    ".xlsx .xls .xlsm .ods .numbers": "Export the sheet as CSV.",
    ".json .jsonl .ndjson": _BY_PANDAS.format(reader="read_json"),
    ".feather .arrow .ipc": _BY_PANDAS.format(reader="read_feather"),
    ".orc": _BY_PANDAS.format(reader="read_orc"),
    ".dta": _BY_PANDAS.format(reader="read_stata"),
    ".sav": _BY_PANDAS.format(reader="read_spss"),
    ".sas7bdat .xpt": _BY_PANDAS.format(reader="read_sas"),
    ".pt .pth": "Give the tensor that torch.load(path) returns, or save it with numpy.save.",
    ".safetensors": "Give a tensor of safetensors.torch.load_file(path), or save it with numpy.save.",
    ".pkl .pickle .joblib": "Pickled objects are never loaded: load it yourself and give the array, or use numpy.save.",
    ".h5 .hdf5 .he5 .nc": "Give the array, such as h5py.File(path)[name][:], or save it with numpy.save.",
    ".h5ad .loom": "Give anndata.read_h5ad(path).to_df(), or save that with .to_parquet(new_path).",
    ".mat": "Give scipy.io.loadmat(path)[name], or save that with numpy.save.",
    ".rds .rdata .rda": "Write it in R with write.csv(x, path, row.names = FALSE).",
    ".zip .tar .tgz .7z .rar": "Unpack it, and give the file or the folder.",
    ".gz .bz2 .xz .zst .lz4": "Unpack it, or compress it with gzip as .csv.gz or .tsv.gz.",
    ".dat .data .asc .prn .tab .csv~": "If it is a table of text, rename it to .csv.",
    ".libsvm .svm .svmlight": "Give sklearn.datasets.load_svmlight_file(path)[0].toarray().",
    ".arff": "Give pandas.DataFrame(scipy.io.arff.loadarff(path)[0]).",
    ".sdf .mol .mol2 .pdb": "Write one SMILES for each molecule, with rdkit.Chem.MolToSmiles, to a .smi file.",
    ".fasta .fa .fastq": "Write one sequence in each line of a .txt file.",
    ".heic .heif .avif .svg .psd .raw .dng .cr2 .nef .dcm .exr .hdr": "Convert the picture to PNG.",
    ".nii .mha .nrrd": "Give an array of slices (n, h, w), with levels or floats in [0, 1].",
    ".mp4 .avi .mov .mkv .webm": "Write its frames as pictures into a folder.",
    ".wav .mp3 .flac .ogg": "Give rows of numbers, such as windows of the signal or spectra.",
    ".pdf .doc .docx .html": "Write the data as a table of text, .csv.",
    ".parq .pq": "Rename it to .parquet.",
    ".idx3-ubyte .idx1-ubyte .ubyte": "Give the name of the data set, mnist or fashion-mnist, or an array.",
    ".db .sqlite .sqlite3": "Give pandas.read_sql(query, connection).",
    ".tfrecord": "Give a NumPy array of its examples.",
}


def remedy_for_file(path: Path) -> str:
    """How to give a file of a format that is not read, as a sentence; empty if that is not known.

    Args:
        path: path of the file; its suffix is looked at.

    >>> from pathlib import Path
    >>> from chartae.data.foreign import remedy_for_file
    >>> remedy_for_file(Path("table.xlsx"))
    'Export the sheet as CSV.'
    """
    suffix = path.suffix.lower()
    if not suffix:
        return "Add the suffix of its format, such as .csv."
    return next((remedy for suffixes, remedy in _FORMATS.items() if suffix in suffixes.split()), "")


def absent(name: str) -> str:
    """What is wrong with a path that does not exist, and what to do, in a sentence.

    Args:
        name: the path as the user wrote it.

    >>> from chartae.data.foreign import absent
    >>> absent("https://example.org/x.csv")
    "'https://example.org/x.csv' is a URL; expected a path. Download the file and give its path."
    """
    if "://" in name:
        return f"{name!r} is a URL; expected a path. Download the file and give its path."
    if any(mark in name for mark in "*?["):
        return (
            f"{name!r} is a pattern; expected a path. Give the folder of the files, or in Python a list of the paths of"
            " pictures."
        )
    path = Path(name).expanduser()
    if "$" in name:
        return f"there is no file or folder {name!r}; expected a path. Variables of the shell are not replaced in it."
    where = "" if path.is_absolute() else f" in {os.getcwd()}"
    beside = os.listdir(path.parent) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, 1, 0.75)
    hint = f" Did you mean {str(path.parent / close[0])!r}?" if close else ""
    return (
        f"there is no file or folder {name!r}{where}; expected a folder of pictures, or a .npy, .npz, .csv, .tsv or"
        f" .parquet file.{hint}"
    )
