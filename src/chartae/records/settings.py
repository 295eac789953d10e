"""The settings of a run <-> `run.toml`."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TypeAlias

__all__ = ["IN_MEMORY", "Plain", "Settings"]

#: the name of in-memory data, which cannot be loaded again
IN_MEMORY = "array"

#: what TOML and JSON hold alike
Plain: TypeAlias = "str | int | float | bool | Sequence[Plain] | Mapping[str, Plain] | Mapping[int, float] | None"


@dataclass(frozen=True)
class Settings:
    """Everything a run was made with; `run.toml` is this and nothing else.

    Attributes:
        recipe: by name.
        data: the data set's name or path; ``"array"`` for in-memory data.
        shape: of one example, as the model sees it.
        latent_dim, net, epochs, batch_size, lr, seed, precision: as in `chartae.fit`.
        root: where named data lie.
        fingerprint: of the training data.
        objective: what was minimised, in words.
        version: of chartae.
        to, to_shape, to_fingerprint, to_kind: of the other domain, where there is one.
        codec: what strings are read by.
        limit, column, errors, target: how the data were read.
        classes: how many classes the labels have; 0 without labels.
        kind: the kind of data (`chartae.data.kinds.Kind.to_dict`).
        condition: what the run is conditioned on (`chartae.data.Condition.to_dict`); empty where on nothing.
        options: the recipe's own.
    """

    recipe: str
    data: str
    shape: tuple[int, ...]
    latent_dim: int
    net: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    precision: str = "fp32"
    root: str = ""
    fingerprint: str = ""
    objective: str = ""
    version: str = ""
    to: str = ""
    to_shape: tuple[int, ...] = ()
    to_fingerprint: str = ""
    codec: str = ""
    limit: int = 0
    column: str = ""
    errors: str = "raise"
    target: str = ""
    classes: int = 0
    kind: dict[str, Plain] = field(default_factory=dict)
    to_kind: dict[str, Plain] = field(default_factory=dict)
    condition: dict[str, Plain] = field(default_factory=dict)
    options: dict[str, str | int | float | bool] = field(default_factory=dict)

    def to_toml(self) -> str:
        """The text of `run.toml`: flat keys, then a table for each nested part."""
        values = asdict(self)
        tables = {k: v for k, v in values.items() if isinstance(v, dict)}
        text = "".join(f"{k} = {_toml(v)}\n" for k, v in values.items() if k not in tables)
        for name, table in tables.items():
            if table or name == "options":
                text += f"\n[{name}]\n" + "".join(f"{_key(k)} = {_toml(v)}\n" for k, v in table.items())
        return text

    @classmethod
    def read(cls, path: Path) -> Settings:
        """From a `run.toml`.

        Raises:
            ValueError: what is wrong with the file, and in which key.
        """
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        known = {f.name: f for f in fields(cls)}
        if unknown := set(given) - set(known):
            raise ValueError(
                f"{path} has unknown keys: {', '.join(sorted(unknown))}; it may be of another version of chartae"
            )
        needed = [f.name for f in fields(cls)][:9]
        if missing := [k for k in needed if k not in given]:
            raise ValueError(f"{path} lacks {', '.join(missing)}")
        kinds = {"str": str, "int": int, "float": (int, float), "tuple[int, ...]": list}
        for key, value in given.items():
            kind = kinds.get(str(known[key].type), dict)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):  # type: ignore[arg-type]
                raise ValueError(f"{path}: {key} is {value!r}, but should be {known[key].type}")
        shapes = {key: tuple(given.get(key, ())) for key in ("shape", "to_shape")}
        for key, shape in shapes.items():
            if not all(isinstance(s, int) and s > 0 for s in shape) or not 1 <= math.prod(shape) <= 10**8:
                raise ValueError(f"{path}: {key} is {list(shape)}, but should be sizes above 0 of at most 10^8 values")
        return cls(**given | shapes)


def _key(name: str | int) -> str:
    name = str(name)
    return name if name.replace("-", "_").isidentifier() and name.isascii() else json.dumps(name, ensure_ascii=False)


def _toml(value: Plain) -> str:
    """A value in one line; JSON's strings, numbers and lists are TOML's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    return json.dumps(value, ensure_ascii=False)
