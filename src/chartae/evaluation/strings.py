"""The row of strings: what comes back of test strings, and whether new ones are valid, unique, novel."""

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

#: molecules of each set whose chemistry is compared
CHEMICAL = 2000

#: strings of each set that are kept to be looked at; rows and steps of interpolations
SHOWN, PATHS, STEPS = 24, 4, 7

#: measures of molecules that are taken of the first `CHEMICAL` of a set only
SLOW = ("internal_diversity", "snn", "fragments", "scaffolds", "distances", "fcd")


class Language:
    """What a string must be to be valid.

    Attributes:
        name: ``"molecules"``, the name of a grammar, or ``""``, any string.
        grammar: the grammar, where strings must still be parsed by it.
    """

    def __init__(self, name: str, grammar: Grammar | None = None) -> None:
        self.name, self.grammar = name, grammar

    @property
    def molecules(self) -> bool:
        """Whether strings are molecules."""
        return self.name == "molecules"

    def complete(self, strings: list[str]) -> list[str]:
        """The strings, those outside the language as empty ones."""
        if self.grammar is None:
            return strings
        whole = set(self.grammar.encode(strings, errors="skip").kept.tolist())
        return [string if i in whole else "" for i, string in enumerate(strings)]


def language_of(codec: Codec, asked: str | Path | Grammar | None = None) -> Language:
    """What strings of a codec must be to be valid.

    Args:
        codec: whose strings they are.
        asked: ``"molecules"``, or a grammar, its name or its file; by default the codec's own language.

    Raises:
        ValueError: no such grammar.
    """
    if asked is None or asked == codec.language:
        name = codec.language
        return Language("molecules" if name in MOLECULES else name)  # whatever the codec writes is in its language
    if asked in MOLECULES:
        return Language("molecules")
    grammar = asked if isinstance(asked, Grammar) else load(asked)
    if grammar.name in MOLECULES:
        return Language("molecules")
    return Language(grammar.name, None if grammar.name == codec.language else grammar)


@final
@evaluates(Strings)
class StringEvaluator(Evaluator):
    """Strings: the shares valid, unique (of the valid) and novel (of the unique), and of molecules how far they are
    from the test set.

    Attributes:
        language: what a string must be to be valid.
    """

    options: ClassVar[frozenset[str]] = frozenset({"language"})

    def __init__(self, data: Dataset, measuring: Measuring) -> None:
        if len(data.test) < 20:
            raise ValueError(f"{data.name} has {len(data.test)} test strings; give a set of at least 200")
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
        """Codecs may have left out different strings."""
        mine, others = self.data, other.data
        plain = lambda strings: ["".join(s.split()) for s in strings]  # noqa: E731 - a grammar may ignore white space
        if (mine.skipped or others.skipped) and plain(self.test) != plain(others.strings("test")):
            raise ValueError(
                f"{self.codec!r} reads other strings of {mine.name} than {others.codec!r} (left out: {mine.skipped} "
                f"and {others.skipped}), so that the recipes would be trained and measured on different ones. Leave "
                "these strings out of the data, or compare recipes that read strings alike"
            )

    @property
    def metric(self) -> str:
        return "strings"

    def measure(self, examples: object) -> Scores:
        """The shares of strings that are valid, unique and novel; what cannot be said is None, with a note why."""
        strings = _listed(examples)
        if self.described is not None:
            return self._chemistry(strings, self.described)
        return _scores(string_summary(self.language.complete(strings), self.train, self.test), {"complete": "valid"})

    def _chemistry(self, examples: list[str], test: molecules.Described) -> Scores:
        names = {"validity": "valid", "uniqueness": "unique", "novelty": "novel"}
        shares = _scores(molecules.summary(examples, self.train, test, without=SLOW), names)
        chemistry = molecules.summary(examples[:CHEMICAL], [], test, without=["novelty"])
        measured = _scores({k: v for k, v in chemistry.items() if k not in names}, {})
        return Scores({**shares, **measured}, {**shares.notes, **measured.notes})

    def generated(self, run: Run, x: Tensor) -> list[str]:
        return _texts(run, x)

    def protocol(self) -> dict[str, Value]:
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
        """The shares of test strings that come back `exact`, and of their `steps` that the decoder would take right,
        given those before; `nll`, -log p(x|z) in nats for each string."""
        back = _texts(run, run.decode_inside(test.z, test.condition))
        exact = sum(a == b for a, b in zip(back, self.test, strict=True)) / len(back)
        taken = _steps_of(run, self.codec.padding)
        conditions = run.conditions(test.condition, len(test))
        beside = (self.data.test,) if conditions is None else (self.data.test, conditions)
        nll, hits, steps = in_slices(run.model, taken, test.z, *beside, size=500).T
        errors = {"exact": exact, "steps": float(hits.sum() / steps.sum()), "nll": float(nll.mean())}
        return Reconstruction(Scores(errors), tuple(zip(self.test[:SHOWN], back[:SHOWN], strict=True)))

    def examples(self, drawn: object) -> tuple[str, ...]:
        return tuple(_listed(drawn)[:SHOWN])

    def paths(self, run: Run, test: Codes) -> tuple[tuple[str, ...], ...]:
        """Strings on the straight line between the codes of pairs of test strings, both ends with them."""
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
        """The Fréchet ChemNet distance of molecules where its package is there; else the share of new strings that are
        valid, unique and novel."""
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
    """A summary of strings as metrics, some of them under other names, without counts of strings."""
    values: dict[str, float | None] = {}
    notes: dict[str, str] = {}
    for key, value in summary.items():
        if isinstance(value, dict):
            notes = {names.get(k, k): why for k, why in value.items()}
        elif key not in ("count", "valid"):  # numbers of strings
            values[names.get(key, key)] = value
    return Scores(values, notes)


def _listed(strings: object) -> list[str]:
    """Strings as a list; a TypeError of anything else."""
    if not isinstance(strings, Sequence) or isinstance(strings, str):
        raise TypeError(f"examples is a {type(strings).__name__}; expected a list of strings")
    return list(strings)


def _texts(run: Run, x: Tensor) -> list[str]:
    return _listed(run.restore(x))


def _steps_of(run: Run, padding: int) -> Callable[..., Tensor]:
    """Of codes and strings: -log p(x|z), how many steps the decoder would take right, and how many there are."""

    def taken(z: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
        real, p = x.long(), run.model.decoder(z, condition)
        log_p = p.log_prob(real)
        choices = p.smooth(real).argmax(2)
        there = real[:, : choices.shape[1]]
        counted = there != padding
        hits = ((choices == there) & counted).sum(1)
        return torch.stack([-log_p, hits.to(log_p.dtype), counted.sum(1).to(log_p.dtype)], 1)

    return taken
