"""The settings of a run, written to `run.toml` and read from it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from chartae.records.files import read_text
from chartae.records.parsing import parse_toml

__all__ = ["IN_MEMORY", "Plain", "Settings"]

#: the name that stands for in-memory data, which cannot be loaded again
IN_MEMORY = "array"

#: values that both TOML and JSON can hold
Plain: TypeAlias = "str | int | float | bool | Sequence[Plain] | Mapping[str, Plain] | Mapping[int, float] | None"


@dataclass(frozen=True)
class Settings:
    """The settings of a run; `run.toml` holds exactly these.

    Attributes:
        recipe: name of the recipe.
        data: name or path of the data set; ``"array"`` for in-memory data.
        shape: shape of one example in the model's form.
        latent_dim: number of code dimensions.
        net: architecture of encoder and decoder, such as ``"mlp"``.
        epochs: number of passes over the training data.
        batch_size: number of examples in a batch.
        lr: learning rate.
        seed: seed of all random numbers in training.
        precision: ``"fp32"`` (default), ``"bf16"`` or ``"fp16"``.
        root: folder of named data sets; empty (default) if none was given.
        fingerprint: hash of the training data (`chartae.runs.fingerprint`).
        objective: description of the objective that was minimised.
        version: version of chartae.
        to: name or path of the other domain's data set, for a recipe that translates; empty (default) otherwise.
        to_shape: shape of one example of the other domain.
        to_fingerprint: hash of the other domain's training data.
        codec: name of the codec that reads strings; empty (default) for other data.
        notes: what the reader of the data and the fit decided, in sentences; none by default.
        classes: number of classes of the labels; 0 (default) without labels.
        threads: number of threads of a training step (`chartae.training.History.threads`); 0 (default) before training.
        start: digest of the weights of another run that the training started with; empty (default) for random ones.
        kind: kind of data, as `chartae.data.kinds.Kind.to_dict` returns it.
        to_kind: kind of data of the other domain.
        reading: how the data were read, as `chartae.data.Reading.to_dict` returns it; empty (default) for no options.
        training: settings of the training beside those above, where they are not the default.
        densities: ``names`` of the densities that were asked for, and the number of ``components`` of the mixture, if
            they are not the recipe's own.
        augment: names of the augmentations of the training pictures, or ``"own: "`` and the name of the function; empty
            (default) for none.
        weight: hash of the weights of the training rows; empty (default) if they have none.
        condition: the condition, as `chartae.data.Condition.to_dict` returns it; empty (default) for none.
        options: the recipe's own keywords.

    >>> from chartae.runs import Settings
    >>> settings = Settings("vae", "digits", (1, 8, 8), 16, "mlp", 10, 128, 1e-3, 0, options={"gamma2": 2.0})
    >>> print(settings.to_toml())
    recipe = "vae"
    data = "digits"
    shape = [1, 8, 8]
    latent_dim = 16
    ...
    [options]
    gamma2 = 2.0
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
    notes: tuple[str, ...] = ()
    classes: int = 0
    augment: str = ""
    weight: str = ""
    threads: int = 0
    start: str = ""
    kind: dict[str, Plain] = field(default_factory=dict)
    to_kind: dict[str, Plain] = field(default_factory=dict)
    reading: dict[str, Plain] = field(default_factory=dict)
    training: dict[str, Plain] = field(default_factory=dict)
    densities: dict[str, Plain] = field(default_factory=dict)
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

    def changed(self, former: Settings, movable: Collection[str]) -> tuple[str, object, object] | None:
        """The first setting in which this run differs from another; None if they agree.

        Args:
            former: settings of the other run.
            movable: names of settings that may differ.

        Returns:
            Name of the setting, such as ``"epochs"`` or ``"reading.drop"``, its value, and that of the other run.
        """
        for name in (f.name for f in fields(self) if f.name not in movable):
            new, old = getattr(self, name), getattr(former, name)
            if new == old:
                continue
            if not (isinstance(new, Mapping) and isinstance(old, Mapping)):
                return name, new, old
            key = next(key for key in {**old, **new} if old.get(key) != new.get(key))
            return f"{name}.{key}", new.get(key), old.get(key)
        return None

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Read a `run.toml`.

        Args:
            path: the file.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is damaged, or a key is unknown, missing or invalid; the message names the key.
        """
        return cls.parse(read_text(path), path)

    @classmethod
    def parse(cls, text: str, path: Path) -> Settings:
        """Read the text of a `run.toml`.

        Args:
            text: the text.
            path: the file that it comes from, for error messages.

        Raises:
            ValueError: the text is damaged, or a key is unknown, missing or invalid; the message names the key.
        """
        values: dict[str, Any] = dict(parse_toml(text, path))
        known = {f.name: f for f in fields(cls)}
        if unknown := set(values) - set(known):
            raise ValueError(
                f"{path} has unknown keys: {', '.join(sorted(unknown))}. It may be of another version of chartae; use "
                "that version, or fit the run again"
            )
        required = [f.name for f in fields(cls)][:9]
        if missing := [k for k in required if k not in values]:
            raise ValueError(f"{path} lacks {', '.join(missing)}; restore the file, or fit the run again")
        types = {"str": str, "int": int, "float": (int, float), "tuple[int, ...]": list, "tuple[str, ...]": list}
        for key, value in values.items():
            expected = types.get(str(known[key].type), dict)
            if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):  # type: ignore[arg-type]
                raise ValueError(f"{path}: {key} is {value!r}; expected {known[key].type}")
        shapes = {key: tuple(values.get(key, ())) for key in ("shape", "to_shape")}
        for key, shape in shapes.items():
            if not all(isinstance(s, int) and s > 0 for s in shape) or not 1 <= math.prod(shape) <= 10**8:
                raise ValueError(f"{path}: {key} is {list(shape)}; expected sizes above 0 of at most 10^8 values")
        notes = tuple(map(str, values.get("notes", ())))
        return cls(**values | shapes | {"notes": notes})


def _key(name: str | int) -> str:
    name = str(name)
    return name if name.replace("-", "_").isidentifier() and name.isascii() else _quoted(name)


def _quoted(value: Plain) -> str:
    """JSON's text, with the one character escaped that TOML forbids and JSON does not."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml(value: Plain) -> str:
    """A value in one line of TOML, which writes strings, numbers and lists as JSON does."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    return _quoted(value)
