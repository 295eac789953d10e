"""The settings of a run, written to `run.toml` and read from it."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote_from_bytes, unquote_to_bytes

import tomli_w

from chartae.records.files import LINE, Damaged, quoted, read_text
from chartae.records.parsing import MOST_TOML, parse_toml

__all__ = ["IN_MEMORY", "Plain", "Settings"]

#: the name that stands for in-memory data, which cannot be loaded again
IN_MEMORY = "array"

#: settings that may hold paths, whose bytes need be no UTF-8, and what then begins them
PATHS, URI = ("data", "root", "to"), "file://"
#: characters of a name, such as that of a recipe or a net; a whole number is below this
MOST_NAME, MOST_NUMBER = 1000, 1 << 63
#: settings that are short texts
NAMES = ("recipe", "net", "precision", "version", "augment", "weight", "fingerprint", "to_fingerprint")

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
        files: the files that the data were read from, as `chartae.data.sources.Source.to_dict` returns them; empty
            (default) for in-memory data, and for named data without files.
        to_files: the files of the other domain's data.
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
    shape = [
        1,
        8,
        8,
    ]
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
    files: dict[str, Plain] = field(default_factory=dict)
    to_files: dict[str, Plain] = field(default_factory=dict)
    kind: dict[str, Plain] = field(default_factory=dict)
    to_kind: dict[str, Plain] = field(default_factory=dict)
    reading: dict[str, Plain] = field(default_factory=dict)
    training: dict[str, Plain] = field(default_factory=dict)
    densities: dict[str, Plain] = field(default_factory=dict)
    condition: dict[str, Plain] = field(default_factory=dict)
    options: dict[str, str | int | float | bool] = field(default_factory=dict)

    def to_toml(self) -> str:
        """The text of `run.toml`: flat keys, then a table for each nested part.

        Raises:
            ValueError: the text is too long to be read again.
        """
        values = {k: v for k, v in asdict(self).items() if k == "options" or v or not isinstance(v, dict)}
        values |= {name: _as_uri(values[name]) for name in PATHS}
        text = tomli_w.dumps(_toml(values))  # type: ignore[arg-type]  # a mapping stays one
        if len(text.encode("utf-8", "backslashreplace")) > MOST_TOML:
            raise ValueError(
                f"the settings of the run have {len(text):,} characters, such as those of many columns; expected at "
                f"most {MOST_TOML:,} bytes. Use fewer columns, or a smaller code book"
            )
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
        return cls.parse(read_text(path, MOST_TOML), path)

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
        if unknown := sorted(set(values) - set(known)):
            raise Damaged(
                f"{path} has unknown keys: {', '.join(map(_key, unknown))[:LINE]}. It may be of another version of "
                "chartae; use that version, or fit the run again"
            )
        required = [f.name for f in fields(cls)][:9]
        if missing := [k for k in required if k not in values]:
            raise Damaged(f"{path} lacks {', '.join(missing)}; restore the file, or fit the run again")
        types = {"str": str, "int": int, "float": (int, float), "tuple[int, ...]": list, "tuple[str, ...]": list}
        for key, value in values.items():
            expected = types.get(str(known[key].type), dict)
            if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):  # type: ignore[arg-type]
                raise Damaged(f"{path}: {key} is {quoted(value)}; expected {known[key].type}")
            if key in NAMES and len(value) > MOST_NAME:
                raise Damaged(f"{path}: {key} is {quoted(value)}; expected at most {MOST_NAME:,} characters")
        for key, number in _numbers(values):
            if isinstance(number, int) and abs(number) >= MOST_NUMBER:
                raise Damaged(f"{path}: {key} is {quoted(number)}; expected a number of at most 64 bits")
        shapes = {key: tuple(values.get(key, ())) for key in ("shape", "to_shape")}
        for key, shape in shapes.items():
            whole = all(isinstance(s, int) and not isinstance(s, bool) and 0 < s < MOST_NUMBER for s in shape)
            if not whole or len(shape) > 8 or not 1 <= math.prod(shape) <= 10**8 or (key == "shape" and not shape):
                raise Damaged(f"{path}: {key} is {quoted(list(shape))}; expected sizes above 0 of at most 10^8 values")
        for key, value in values.get("options", {}).items():
            if not isinstance(value, str | int | float):
                raise Damaged(
                    f"{path}: options.{key[:60]} is {quoted(value)}; expected a number, a name, true or false"
                )
        paths = {name: _as_path(values[name]) for name in PATHS if name in values}
        notes = tuple(map(str, values.get("notes", ())))
        return cls(**values | shapes | paths | {"notes": notes})


def _key(name: str) -> str:
    return name if name.isascii() and name.isidentifier() and len(name) < MOST_NAME else quoted(name)


def _numbers(values: Mapping[str, Any]) -> list[tuple[str, int | float]]:
    """The numbers among the values and the options, with their names."""
    options = {f"options.{name[:60]}": value for name, value in values.get("options", {}).items()}
    return [(name, value) for name, value in ({**values, **options}).items() if isinstance(value, int | float)]


def _as_uri(name: str) -> str:
    """A name or path as TOML can hold it: as a URI if it has bytes that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return URI + quote_from_bytes(os.fsencode(name), safe="/+: ")
    return name


def _as_path(text: str) -> str:
    """The name or path that `_as_uri` wrote."""
    return os.fsdecode(unquote_to_bytes(text.removeprefix(URI))) if text.startswith(URI) else text


def _toml(value: Plain) -> Plain:
    """A value as tomli-w takes it: keys are strings, and lone bytes of file names are escaped."""
    if isinstance(value, Mapping):
        return {str(_toml(str(k))): _toml(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_toml(v) for v in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
