"""The results of an evaluation, as typed objects that `results.json` stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from chartae.records.files import replace_text
from chartae.records.named import Named
from chartae.records.parsing import Place, Value, read_json

__all__ = ["Densities", "DensityFacts", "Results", "Scores", "Sets", "TrainingFacts"]

#: rows of strings
Texts: TypeAlias = "tuple[tuple[str, ...], ...]"


class Scores(Named[float | None]):
    """Metrics by name: `scores["frechet"]` or `scores.frechet`. A metric without a value is None.

    Args:
        values: name -> value of each metric.
        notes: name -> reason, for metrics without a value.

    >>> from chartae.records.results import Scores
    >>> Scores({"valid": 0.5, "fcd": None}, notes={"fcd": "fewer than 50 molecules"}).valid
    0.5
    """

    __slots__ = ("notes",)

    notes: Mapping[str, str]

    def __init__(self, values: Mapping[str, float | None], notes: Mapping[str, str] | None = None) -> None:
        super().__init__(values)
        self.notes = dict(notes or {})

    @classmethod
    def read(cls, value: Value, place: Place | None = None) -> Scores:
        """Read a mapping of metrics, which may also hold `notes`.

        Raises:
            ValueError: a metric is neither a number nor null.
        """
        place = place or Place()
        numbers = {k: place.at(k).number(v) for k, v in place.mapping(value).items() if k != "notes"}
        at_notes = place.at("notes")
        notes = {k: at_notes.at(k).text(v) for k, v in at_notes.mapping(place.mapping(value).get("notes")).items()}
        return cls(numbers, notes)

    def to_dict(self) -> dict[str, Value]:
        return {**self, "notes": self.notes} if self.notes else {**self}


class Sets(Named[Scores]):
    """Metrics of each set that was compared with the test set: `sets["gmm"].frechet`."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Value, place: Place | None = None) -> Sets:
        """Read a mapping of sets to mappings of metrics."""
        place = place or Place()
        return cls({k: Scores.read(v, place.at(k)) for k, v in place.mapping(value).items()})

    def to_dict(self) -> dict[str, Value]:
        return {name: scores.to_dict() for name, scores in self.items()}


class DensityFacts(Named[Value]):
    """Facts about a fitted density, such as `log_likelihood`, the mean of log p(z) over test codes in nats per code."""

    __slots__ = ()

    @property
    def log_likelihood(self) -> float | None:
        return Place(key="log_likelihood").number(self.get("log_likelihood"))

    @classmethod
    def read(cls, value: Value, place: Place | None = None) -> DensityFacts:
        """Read a mapping of facts."""
        place = place or Place()
        facts = place.mapping(value)
        place.at("log_likelihood").number(facts.get("log_likelihood"))
        return cls(facts)

    def to_dict(self) -> dict[str, Value]:
        return {**self}


class Densities(Named[DensityFacts]):
    """Facts about each density: `densities["gmm"].log_likelihood`."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Value, place: Place | None = None) -> Densities:
        """Read a mapping of densities to mappings of facts."""
        place = place or Place()
        return cls({k: DensityFacts.read(v, place.at(k)) for k, v in place.mapping(value).items()})

    def to_dict(self) -> dict[str, Value]:
        return {name: facts.to_dict() for name, facts in self.items()}


class TrainingFacts(Named[Value]):
    """How a run was trained. An unknown fact is None; unknown `alarms` are empty."""

    __slots__ = ()

    @property
    def parameters(self) -> int | None:
        """Number of parameters of the model."""
        return Place(key="parameters").whole(self.get("parameters"))

    @property
    def epochs(self) -> int | None:
        """Number of epochs."""
        return Place(key="epochs").whole(self.get("epochs"))

    @property
    def best_epoch(self) -> int | None:
        """Epoch whose weights were kept."""
        return Place(key="best_epoch").whole(self.get("best_epoch"))

    @property
    def seconds(self) -> float | None:
        """Duration of the training, in seconds."""
        return Place(key="seconds").number(self.get("seconds"))

    @property
    def alarms(self) -> tuple[str, ...]:
        """Warnings that training logged."""
        return Place(key="alarms").texts(self.get("alarms"))

    @classmethod
    def read(cls, value: Value, place: Place | None = None) -> TrainingFacts:
        """Read a mapping of facts."""
        place = place or Place()
        facts = place.mapping(value)
        for name in ("parameters", "epochs", "best_epoch"):
            place.at(name).whole(facts.get(name))
        place.at("seconds").number(facts.get("seconds"))
        place.at("alarms").texts(facts.get("alarms"))
        return cls(facts)

    def to_dict(self) -> dict[str, Value]:
        return {**self}


#: a part of the results
Part: TypeAlias = "str | Scores | Sets | Densities | TrainingFacts | Mapping[str, Value] | Texts | None"


@dataclass(frozen=True, eq=False)
class Results(Mapping[str, Any]):
    """Results of an evaluation, by attribute or by name; `results.json` holds exactly these.

    `results.sets.gmm.frechet` is `results["sets"]["gmm"]["frechet"]`. A part that an evaluation does not have is None
    or empty, and is not among the names.

    Attributes:
        protocol: everything that is needed to reproduce the numbers.
        metric: name of the metric of `sets`: ``"fid"``, ``"frechet-NAME"`` of a feature extractor, or ``"strings"``.
        own: name of the density that samples are drawn from by default.
        sets: metrics of each set against the test set: reconstructions, samples of each density, interpolations, and
            ``floor``, real training examples.
        reconstruction: mean errors of reconstructions of test examples against their originals.
        densities: facts about each density, such as its mean log-likelihood of test codes.
        training: how the run was trained.
        classes: how well a semi-supervised run predicts the classes of test examples.
        clusters: how well clusters agree with the classes of test examples.
        code: whether the decoder uses the code.
        property: how well a property is predicted.
        examples: samples of each density, if they are strings.
        reconstructions: pairs of a test string and its reconstruction.
        interpolations: rows of strings, each a path between two test strings.
        of: digest of the weights and settings that were evaluated; empty if unknown.
        more: further metrics, by the name of their part.
    """

    protocol: Mapping[str, Value]
    metric: str
    own: str
    sets: Sets
    reconstruction: Scores = field(default_factory=lambda: Scores({}))
    densities: Densities = field(default_factory=lambda: Densities({}))
    training: TrainingFacts = field(default_factory=lambda: TrainingFacts({}))
    classes: Scores | None = None
    clusters: Scores | None = None
    code: Scores | None = None
    property: Scores | None = None
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reconstructions: Texts = ()
    interpolations: Texts = ()
    of: str = ""
    more: Mapping[str, Scores] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Value], place: Place | None = None) -> Results:
        """Read results from the values of a JSON file. An unknown part must be a mapping of metrics.

        Args:
            values: name -> value of each part.
            place: where the values come from, for error messages.

        Raises:
            ValueError: a part is invalid; the message names the key, the value and what is expected.
        """
        place = place or Place()
        parts: dict[str, Any] = {"protocol": {}, "metric": "", "own": "", "sets": Sets({})}
        parts |= {k: read(values[k], place.at(k)) for k, read in READERS.items() if k in values}
        more = {k: Scores.read(v, place.at(k)) for k, v in values.items() if k not in READERS}
        return cls(**parts, more=more)

    @classmethod
    def read(cls, path: str | Path) -> Results:
        """Read a `results.json`.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is damaged, or a value in it is invalid.
        """
        path = Path(path)
        with read_json(path, f"`chartae evaluate {path.parent}` writes it again") as (values, place):
            return cls.from_dict(values, place)

    def belongs_to(self, digest: str) -> bool:
        """Whether these are results of the weights with a digest; True if either is unknown."""
        return not self.of or not digest or self.of == digest

    def to_dict(self) -> dict[str, Value]:
        """The results as plain JSON types."""
        return {k: v.to_dict() if isinstance(v, Named) else v for k, v in self._parts().items()}

    def to_json(self) -> str:
        """The text of `results.json`."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def write(self, path: str | Path) -> None:
        """Write a `results.json`, atomically."""
        replace_text(path, self.to_json())

    def _parts(self) -> dict[str, Part]:
        """The parts that the results have, in the order in which they are written."""
        parts: dict[str, Part] = {name: getattr(self, name) for name in READERS}
        return {k: v for k, v in parts.items() if k not in OPTIONAL or v} | {**self.more}

    def __getitem__(self, name: str) -> Any:
        return self._parts()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts())

    def __len__(self) -> int:
        return len(self._parts())


def _examples(value: Value, place: Place) -> dict[str, tuple[str, ...]]:
    return {k: place.at(k).texts(v) for k, v in place.mapping(value).items()}


def _rows(value: Value, place: Place) -> Texts:
    return tuple(place.at(str(i)).texts(row) for i, row in enumerate(place.items(value)))


def _pairs(value: Value, place: Place) -> Texts:
    rows = _rows(value, place)
    if any(len(row) != 2 for row in rows):
        raise place.wrong(value, "pairs (original, reconstruction)")
    return rows


def _scores(value: Value, place: Place) -> Scores | None:
    return None if value is None else Scores.read(value, place)


#: part -> function that reads it, in the order in which parts are written
READERS: Mapping[str, Callable[[Value, Place], object]] = {
    "protocol": lambda value, place: place.mapping(value),
    "metric": lambda value, place: place.text(value),
    "own": lambda value, place: place.text(value),
    "of": lambda value, place: place.text(value),
    "sets": Sets.read,
    "reconstruction": Scores.read,
    "densities": Densities.read,
    "training": TrainingFacts.read,
    "classes": _scores,
    "clusters": _scores,
    "code": _scores,
    "property": _scores,
    "examples": _examples,
    "reconstructions": _pairs,
    "interpolations": _rows,
}
#: parts that only some evaluations have
OPTIONAL = frozenset(("of", "classes", "clusters", "code", "property", "examples", "reconstructions", "interpolations"))
