"""Tensors in files: safetensors with a header that names the kind of file, plain facts, and a digest. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

from chartae.records.files import Damaged, one_line, opened, whole_file

__all__ = ["kind_of", "read_header", "read_tensors", "write_tensors"]

VERSION = 2
#: the largest header of a safetensors file that is read, in bytes
MOST_HEADER = 16 << 20


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], *, kind: str, facts: Mapping[str, Any]) -> str:
    """Write tensors and plain facts, whole or not at all, with a digest of all of them.

    Args:
        path: the file; its folder is created if it does not exist.
        tensors: tensors by name.
        kind: kind of file, such as ``"weights"``, which the header names.
        facts: values that JSON can hold.

    Returns:
        The digest: 64 hexadecimal digits of sha256 over kind, facts, and the tensors' names, types, shapes and values.
    """
    dense = _separate({name: values.detach().cpu().contiguous() for name, values in tensors.items()})
    text = json.dumps(facts)
    digest = _digest(kind, text, dense)
    header = {"chartae": kind, "version": str(VERSION), "facts": text, "digest": digest}
    try:
        with whole_file(path) as part:
            if _is_utf8(part):
                save_file(dense, part, metadata=header)
            else:
                part.write_bytes(save(dense, header))
    except SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error
    return digest


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with a copy of each that shares its memory with another one or is a part of a larger one."""
    known: set[int] = set()
    for name, values in tensors.items():
        storage = values.untyped_storage()
        if storage.data_ptr() in known or storage.nbytes() != values.numel() * values.element_size():
            tensors[name] = values.clone()
        known.add(storage.data_ptr())
    return tensors


def _digest(kind: str, facts: str, tensors: Mapping[str, Tensor]) -> str:
    state = hashlib.sha256(f"{kind}\n{facts}\n".encode())
    for name in sorted(tensors):
        values = tensors[name].contiguous()
        state.update(f"{name}\n{values.dtype}\n{list(values.shape)}\n".encode())
        if values.numel():
            state.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def kind_of(path: str | Path) -> str:
    """The kind of file that the header of a file of tensors names.

    Raises:
        FileNotFoundError: the file does not exist.
        Damaged: the file is damaged, or not chartae's.
    """
    header = _header(Path(path), "file").get("__metadata__") or {}
    kind = header.get("chartae") if isinstance(header, dict) else None
    if not isinstance(kind, str):
        raise Damaged(f"{path} is damaged or not a chartae file")
    return kind


def read_header(path: str | Path, *, kind: str) -> tuple[dict[str, tuple[str, tuple[int, ...]]], dict[str, Any], str]:
    """Read the header of a file that `write_tensors` wrote, without its tensors.

    Args:
        path: the file.
        kind: expected kind of file.

    Returns:
        Type and shape of each tensor by name, as safetensors names types; the facts; and the digest, which is empty in
        files of the first format. The digest has not been compared with the tensors.

    Raises:
        FileNotFoundError: the file does not exist.
        Damaged: the file is damaged, or is not a chartae file of this kind.
    """
    path = Path(path)
    values = _header(path, kind)
    try:
        header = values.pop("__metadata__", {})
        facts, digest = _facts(header, path, kind)
        shapes = {name: (str(entry["dtype"]), tuple(map(int, entry["shape"]))) for name, entry in values.items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise _not_ours(error, path, kind) from error
    return shapes, facts, digest


def _header(path: Path, kind: str) -> dict[str, Any]:
    """The header of a safetensors file, as JSON holds it."""
    if not path.is_file() and not path.is_symlink():
        raise FileNotFoundError(f"there is no {kind} at {path}")
    with opened(path) as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= MOST_HEADER:
            raise Damaged(f"{path} is damaged or not a chartae {kind}: its header has {size:,} bytes")
        content = file.read(size)
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _not_ours(error, path, kind) from error
    if not isinstance(values, dict):
        raise Damaged(f"{path} is damaged or not a chartae {kind}: its header is no mapping")
    return values


def _facts(header: Mapping[str, str], path: Path, kind: str) -> tuple[dict[str, Any], str]:
    """The facts and the digest in the header of a file."""
    if header.get("chartae") != kind:
        raise Damaged(f"{path} is not a chartae {kind} (its header says {header.get('chartae', 'nothing')!r:.60})")
    version = int(header["version"])
    if version < 1 or (version > 1 and "digest" not in header):
        raise Damaged(f"{path} is damaged or not a chartae {kind}: its format is {version}")
    if version > VERSION:
        raise Damaged(f"{path} was written by a newer chartae (format {version}); update chartae")
    facts = json.loads(header["facts"])
    if not isinstance(facts, dict):
        raise Damaged(f"{path} is damaged: its facts are no mapping")
    return facts, header.get("digest", "")


def _not_ours(error: Exception, path: Path, kind: str) -> Damaged:
    if isinstance(error, Damaged):
        return error
    return Damaged(f"{path} is damaged or not a chartae {kind} ({one_line(error)})")


def _is_utf8(path: Path) -> bool:
    """Whether the bytes of a path are UTF-8; safetensors opens no others by name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_tensors(path: str | Path, *, kind: str, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and facts that `write_tensors` wrote, and compare them with their digest.

    Args:
        path: the file.
        kind: expected kind of file.
        device: device to put the tensors on; default ``"cpu"``.

    Returns:
        The tensors by name, and the facts.

    Raises:
        FileNotFoundError: the file does not exist.
        Damaged: the file is damaged, or is not a chartae file of this kind.
    """
    path = Path(path)
    _, facts, digest = read_header(path, kind=kind)
    try:
        text = _header(path, kind)["__metadata__"]["facts"]
        if _is_utf8(path):
            with safe_open(path, framework="pt", device="cpu") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        else:
            with opened(path) as content:
                tensors = load(content.read())
        changed = digest and _digest(kind, text, tensors) != digest
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _not_ours(error, path, kind) from error
    if changed:
        raise Damaged(f"{path} has changed since chartae wrote it: its digest is not that of its content")
    return {name: values.to(device) for name, values in tensors.items()}, facts
