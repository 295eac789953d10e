"""The evaluator of strings: reconstruction of test strings, and validity, uniqueness and novelty of samples."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor

from chartae.autoencoder import in_slices
from chartae.data import Dataset
from chartae.data.kinds import Kind, Strings
from chartae.evaluation.base import Evaluator, Measuring, Reconstruction, evaluates
from chartae.evaluation.codes import Codes
from chartae.grammar import MOLECULES, Codec, Grammar, load, needed
from chartae.metrics import molecules, string_summary
from chartae.records.comparison import ComparedColumn
from chartae.records.parsing import Value
from chartae.records.results import Scores
from chartae.runs import Run

__all__ = ["Language", "StringEvaluator", "language_of"]

#: number of molecules of each set whose chemistry is compared
CHEMICAL = 2000

#: number of strings kept of each set; number of rows and of steps of the interpolations
SHOWN, PATHS, STEPS = 24, 4, 7

#: metrics of molecules that are computed for the first `CHEMICAL` of a set only
SLOW = ("internal_diversity", "snn", "fragments", "scaffolds", "distances", "fcd")


class Language:
    """The language in which a string must be to be valid.

    Attributes:
        name: ``"molecules"``, the name of a grammar, or ``""`` for any string.
        grammar: grammar that strings must be parsed by; None if the codec writes nothing outside the language.
    """

    def __init__(self, name: str, grammar: Grammar | None = None) -> None:
        self.name, self.grammar = name, grammar

    @property
    def molecules(self) -> bool:
        """Whether strings are molecules."""
        return self.name == "molecules"

    def complete(self, strings: list[str]) -> list[str]:
        """The strings, with those outside the language replaced by empty ones."""
        if self.grammar is None:
            return strings
        parsed = set(self.grammar.encode(strings, errors="skip").kept.tolist())
        return [string if i in parsed else "" for i, string in enumerate(strings)]


def language_of(codec: Codec, language: str | Path | Grammar | None = None) -> Language:
    """The language in which strings of a codec must be to be valid.

    Args:
        codec: codec of the strings.
        language: ``"molecules"``, a grammar, or the name or file of one; None (default) for the codec's own language.

    Raises:
        ValueError: there is no such grammar.
    """
    if language is None or language == codec.language:
        name = codec.language
        return Language("molecules" if name in MOLECULES else name)  # the codec writes nothing outside its language
    if language in MOLECULES:
        return Language("molecules")
    grammar = language if isinstance(language, Grammar) else load(language)
    if grammar.name in MOLECULES:
        return Language("molecules")
    return Language(grammar.name, None if grammar.name == codec.language else grammar)


@final
@evaluates(Strings)
class StringEvaluator(Evaluator):
    """Evaluator of strings: the fractions that are valid, unique (of the valid) and novel (of the unique).

    For molecules it also computes distances from the test set.

    Attributes:
        language: language in which a string must be to be valid.
    """

    options: ClassVar[frozenset[str]] = frozenset({"language"})

    def __init__(self, data: Dataset, measuring: Measuring) -> None:
        if len(data.test) < 20:
            raise ValueError(
                f"{data.name} has {len(data.test)} test strings; expected at least 20. Give a data set of at least 200 "
                "strings"
            )
        self.data, self.n = data, measuring.n
        self.codec = needed(data.kind.codec)
        self.language = language_of(self.codec, measuring.language)
        self.train, self.test = data.strings(), data.strings("test")
        self.described = molecules.Described(self.test[:CHEMICAL]) if self.language.molecules else None
        self.floor = self.measure(self.test[: self.n])

    @classmethod
    def check(cls, measuring: Measuring, kind: Kind) -> None:
        super().check(measuring, kind)
        language_of(needed(kind.codec), measuring.language)

    def check_same(self, other: Evaluator) -> None:
        """Raise ValueError if the two codecs have left out different strings."""
        data, others = self.data, other.data
        plain = lambda strings: ["".join(s.split()) for s in strings]  # noqa: E731 - a grammar may ignore white space
        if (data.skipped or others.skipped) and plain(self.test) != plain(others.strings("test")):
            raise ValueError(
                f"{self.codec!r} reads other strings of {data.name} than {others.codec!r} (left out: {data.skipped} "
                f"and {others.skipped}), so the recipes would be trained and evaluated on different data. Remove these "
                "strings from the data, or compare recipes that read the same strings"
            )

    @property
    def metric(self) -> str:
        return "strings"

    def measure(self, examples: object) -> Scores:
        """The fractions of strings that are valid, unique and novel; one without a value is None, with a note."""
        strings = _listed(examples)
        if self.described is not None:
            return self._chemistry(strings, self.described)
        return _scores(string_summary(self.language.complete(strings), self.train, self.test), {"complete": "valid"})

    def _chemistry(self, examples: list[str], test: molecules.Described) -> Scores:
        """The metrics of a set of molecules; the slow ones are computed for the first `CHEMICAL` only."""
        names = {"validity": "valid", "uniqueness": "unique", "novelty": "novel"}
        fractions = _scores(molecules.summary(examples, self.train, test, without=SLOW), names)
        summary = molecules.summary(examples[:CHEMICAL], [], test, without=["novelty"])
        chemistry = _scores({k: v for k, v in summary.items() if k not in names}, {})
        return Scores({**fractions, **chemistry}, {**fractions.notes, **chemistry.notes})

    def generated(self, run: Run, x: Tensor) -> list[str]:
        return _texts(run, x)

    def protocol(self, run: Run | None = None) -> dict[str, Value]:
        data = self.data
        chemistry = f"of the first {CHEMICAL:,} molecules of each set"
        return {
            "valid": self.language.name or "any string",
            "n": self.n,
            "reconstructions": f"all {len(self.test):,} test strings, the most probable production at each step",
            "new strings": "codes of a density, the most probable production at each step",
            **({"chemistry": chemistry} if self.language.molecules else {}),
            "split": f"train {len(data.train):,}, valid {len(data.valid):,}, test {len(self.test):,}",
            "skipped": data.skipped,
        }

    def reconstruction(self, run: Run, test: Codes) -> Reconstruction:
        """How well the decoder reproduces the test strings.

        `exact` is the fraction of strings that are reproduced exactly; `steps` the fraction of indices that are the
        decoder's most probable ones, given the correct indices before them; `nll` the mean of -log p(x|z), in nats a
        string.
        """
        decoded = _texts(run, run.decode_inside(test.z, test.condition))
        exact = sum(a == b for a, b in zip(decoded, self.test, strict=True)) / len(decoded)
        accuracy = _step_accuracy(run, self.codec.padding)
        conditions = run.conditions(test.condition, len(test))
        inputs = (self.data.test,) if conditions is None else (self.data.test, conditions)
        nll, hits, steps = in_slices(run.model, accuracy, test.z, *inputs, size=500).T
        errors = {"exact": exact, "steps": float(hits.sum() / steps.sum()), "nll": float(nll.mean())}
        return Reconstruction(Scores(errors), tuple(zip(self.test[:SHOWN], decoded[:SHOWN], strict=True)))

    def examples(self, drawn: object) -> tuple[str, ...]:
        return tuple(_listed(drawn)[:SHOWN])

    def paths(self, run: Run, test: Codes) -> tuple[tuple[str, ...], ...]:
        """Strings decoded along the straight line between the codes of two test strings, both ends included."""
        rows = min(PATHS, len(test) // 2)
        t = torch.linspace(0, 1, STEPS, device=test.z.device)[:, None]
        ends = torch.arange(2 * rows).unflatten(0, (rows, 2))
        lines = torch.cat([torch.lerp(test.z[a], test.z[b], t) for a, b in ends.tolist()])
        starts = test[ends[:, 0].repeat_interleave(STEPS)]
        texts = _texts(run, run.decode_inside(lines, starts.condition))
        return tuple(tuple(texts[i * STEPS : (i + 1) * STEPS]) for i in range(rows))

    # -- a comparison -----------------------------------------------------------------------------------------------

    @property
    def compared(self) -> str:
        """The main number: ``"fcd"``, the Fréchet ChemNet distance, for molecules if its package is installed.

        Otherwise ``"strings"``, the fraction of new strings that are valid, unique and novel.
        """
        chemical = self.language.molecules and importlib.util.find_spec("fcd") is not None
        return "fcd" if chemical else "strings"

    def columns(self, densities: Sequence[str]) -> dict[str, ComparedColumn]:
        main = {"fcd": (("fcd",), "lower"), "strings": (("valid", "unique", "novel"), "higher")}[self.compared]
        columns = {"reconstruction": ComparedColumn("", ("exact",), "higher")}
        for name in ("own", *densities):
            columns[name] = ComparedColumn(name, *main)
        for name in densities:
            for metric in ("valid", "unique", "novel"):
                columns[f"{name}/{metric}"] = ComparedColumn(name, (metric,), "higher")
        return columns


def _scores(summary: Mapping[str, float | dict[str, str] | None], names: Mapping[str, str]) -> Scores:
    """Convert a summary of strings to metrics: rename some, and leave out counts."""
    values: dict[str, float | None] = {}
    notes: dict[str, str] = {}
    for key, value in summary.items():
        if isinstance(value, dict):
            notes = {names.get(k, k): why for k, why in value.items()}
        elif key not in ("count", "valid"):  # these two are counts
            values[names.get(key, key)] = value
    return Scores(values, notes)


def _listed(strings: object) -> list[str]:
    """The strings as a list; raises TypeError if they are not a sequence of strings."""
    if not isinstance(strings, Sequence) or isinstance(strings, str):
        raise TypeError(f"examples is a {type(strings).__name__}; expected a list of strings")
    return list(strings)


def _texts(run: Run, x: Tensor) -> list[str]:
    return _listed(run.restore(x))


def _step_accuracy(run: Run, padding: int) -> Callable[..., Tensor]:
    """Function from codes and strings to -log p(x|z), the number of correct steps, and the number of steps (N, 3)."""

    def accuracy(z: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
        real, p = x.long(), run.model.decoder(z, condition)
        log_p = p.log_prob(real)
        choices = p.smooth(real).argmax(2)
        target = real[:, : choices.shape[1]]
        counted = target != padding
        hits = ((choices == target) & counted).sum(1)
        return torch.stack([-log_p, hits.to(log_p.dtype), counted.sum(1).to(log_p.dtype)], 1)

    return accuracy
