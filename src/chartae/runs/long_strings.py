"""The longest string that a training step has memory for: all rows of a batch are padded to it."""

from __future__ import annotations

import torch

from chartae.data import Dataset
from chartae.nn.sequences import sequence_bytes
from chartae.records.space import HALF, in_units, total_memory
from chartae.records.training import Training

__all__ = ["check_lengths", "most_indices"]


def most_indices(data: Dataset, net: str, training: Training) -> int | None:
    """The largest number of indices in a string such that a training step fits into half of the machine's memory.

    It depends on the machine, but not on what else runs on it, so that the same command reads the same strings again.

    Args:
        data: the data set.
        net: the net, as `fit` takes it.
        training: settings of the training.

    Returns:
        The number; None if all strings fit, the data are no strings, or the memory is unknown.
    """
    memory, lengths = _memory(training), _lengths(data)
    if lengths is None or memory is None:
        return None
    rows = min(training.batch_size, len(data.train))
    each = sequence_bytes("gru" if net == "auto" else net, data.shape)
    most = int(HALF * memory / (rows * each))
    return most if int(lengths.max()) > most else None


def check_lengths(data: Dataset, net: str, training: Training) -> None:
    """Raise ValueError, which names the longest string, if a training step does not fit into memory.

    Args:
        data, net, training: those of `most_indices`.
    """
    most, lengths = most_indices(data, net, training), _lengths(data)
    if most is None or lengths is None:
        return
    longest, rows = int(lengths.max()), min(training.batch_size, len(data.train))
    number = int(lengths.argmax())
    row = data.train[number] if number < len(data.train) else data.valid[number - len(data.train)]
    string = data.kind.strings(row[None])[0]
    size = rows * longest * sequence_bytes("gru" if net == "auto" else net, data.shape)
    shown = string if len(string) <= 40 else f"{string[:40]}..."
    raise ValueError(
        f"the string {shown!r} of {len(string):,} characters has {longest:,} indices, to which all rows of a batch are"
        f" padded; a step of {rows} rows needs about {in_units(size)} of memory; expected at most {most:,} indices."
        " Leave such strings out (errors='skip', --skip), or give a smaller batch_size."
    )


def _memory(training: Training) -> int | None:
    """Bytes of memory of the device that is trained on."""
    device = training.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    return total_memory()


def _lengths(data: Dataset) -> torch.Tensor | None:
    """The number of indices in each string of the training and validation data; None for other data."""
    parts = [data.kind.lengths(x) for x in (data.train, data.valid) if len(x)]
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None
