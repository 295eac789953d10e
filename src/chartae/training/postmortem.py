"""A post-mortem of a training whose loss became infinite or NaN: the step, its cause, and what reproduces it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from chartae.data import Batch
from chartae.records import manifest
from chartae.records.files import Damaged, replace_text
from chartae.records.parsing import Place, Value, is_number
from chartae.records.postmortem import Findings, Try
from chartae.records.settings import Settings
from chartae.records.tensors import read_header, read_tensors, write_tensors
from chartae.records.training import Training
from chartae.training.augmentation import augmentation_name
from chartae.training.checkpoint import Facts, Snapshot

__all__ = [
    "FACTS", "FOLDER", "MOST_BATCH", "STATE", "NonFinite", "PostMortem", "Rerun", "batch_of", "foreign_of",
    "tensors_of", "tries_for",
]  # fmt: skip

#: the folder of a post-mortem in the folder of a run
FOLDER = "postmortem"
FACTS, STATE, BATCH = "postmortem.json", "state.safetensors", "batch.safetensors"
#: the largest batch that is stored, in bytes
MOST_BATCH = 64 << 20
#: the learning rate to try where a much larger one failed: torch's own for Adam
USUAL_LR = 1e-3
#: the largest learning rate with which other changes are worth a try
LARGEST_LR = 1.0


class NonFinite(ArithmeticError):
    """The loss became infinite or NaN; the message names the first layer, term and batch where it did.

    Attributes:
        postmortem: what was found, with the state before the step and its batch, which reproduce it.
    """

    def __init__(self, message: str, postmortem: PostMortem) -> None:
        super().__init__(message)
        self.postmortem = postmortem

    def __reduce__(self) -> tuple[object, ...]:  # for processes that train several runs
        return type(self), (str(self), self.postmortem)


@dataclass(frozen=True)
class Rerun:
    """What happened when the failed step was taken again from its saved state and batch.

    Attributes:
        repeats: whether a loss, a gradient or a weight was not finite again; None if the step could not be taken.
        text: what happened, in a sentence.
        values: the loss and each term of the step, by name; empty if the step could not be taken.
        exact: whether these are the values of the training, to the bit; False by default.

    >>> from chartae.training import Rerun
    >>> Rerun(True, "The step fails again: the loss is nan.", {"loss": float("nan")}).repeats
    True
    """

    repeats: bool | None
    text: str
    values: Mapping[str, float] = field(default_factory=dict)
    exact: bool = False


@dataclass(frozen=True, eq=False)
class PostMortem:
    """What reproduces a training step whose loss was not finite, and what was found about it.

    `chartae.postmortem` reads one from a run folder, and `NonFinite.postmortem` is one. It holds the rows of one batch
    of the training data as they are: delete the folder before you pass a run on whose data are confidential.

    Attributes:
        findings: the step, its cause, and numbers around it.
        training: settings of the training, as they were resolved; an optimiser or augmentation that is a function is
            None.
        state: state before the step: weights, optimisers, moving average and random numbers.
        batch: tensors of the batch by the field of `chartae.data.Batch`, as the model saw them, after augmentation;
            empty if the batch was too large to store.
        rows: row numbers of the examples in the training data, from 0.
        foreign: the functions that the training used in place of settings by name, such as ``"own: module.function"``.
        tries: changes that may help.
        settings: settings of the run; None (default) for a training without a recipe.
        rerun: what a further try of the step gave; None (default) if there was none.
        folder: folder that it was read from or saved to; None (default) if it is in memory only.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.training import NonFinite
    >>> try:
    ...     run = ch.fit("rae", torch.randn(64, 3), lr=1e30, latent_dim=2, progress=False)
    ... except NonFinite as error:
    ...     report = error.postmortem
    >>> report.findings.epoch, report.findings.cause, len(report.batch["x"])
    (2, 'overflow', 52)
    >>> report.tries[0].changes
    {'lr': 0.001}
    """

    findings: Findings
    training: Training
    state: Snapshot
    batch: Mapping[str, Tensor]
    rows: Tensor
    foreign: tuple[str, ...] = ()
    tries: tuple[Try, ...] = ()
    settings: Settings | None = None
    rerun: Rerun | None = None
    folder: Path | None = None

    def save(self, folder: str | Path) -> PostMortem:
        """Write the post-mortem into a folder, in place of an earlier one there.

        Args:
            folder: folder that is new, empty, or holds a post-mortem.

        Returns:
            The same post-mortem, with this `folder`.

        Raises:
            FileExistsError: the folder holds something else.
            OSError: it cannot be written.
        """
        folder = Path(folder)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise FileExistsError(f"{folder} is a link or a file; expected a folder. Choose another name")
        if folder.is_dir() and any(folder.iterdir()) and manifest.listed(folder) is None:
            raise FileExistsError(f"{folder} is not empty and holds no post-mortem; choose a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        manifest.clear(folder)
        names = [STATE, *([BATCH] if self.batch else []), *(["run.toml"] if self.settings else []), FACTS]
        manifest.register(folder, *names, changing=True)
        digests = {"state": write_tensors(folder / STATE, self.state.tensors, kind=FOLDER, facts={**self.state.facts})}
        if self.batch:
            tensors = {**self.batch, "rows": self.rows}
            digests["batch"] = write_tensors(folder / BATCH, tensors, kind=FOLDER, facts={})
        if self.settings is not None:
            replace_text(folder / "run.toml", self.settings.to_toml())
        more: dict[str, Value] = {
            "training": _training_facts(self.training), "foreign": list(self.foreign), "digests": digests,
        }  # fmt: skip
        self.findings.write(folder / FACTS, more)
        manifest.register(folder, *names)
        return replace(self, folder=folder)

    @classmethod
    def read(cls, folder: str | Path) -> PostMortem:
        """Read a post-mortem from the folder that `save` wrote.

        Args:
            folder: folder of the post-mortem.

        Raises:
            FileNotFoundError: there is no post-mortem in the folder.
            ValueError: a file is damaged, is a link, or belongs to another post-mortem.
        """
        folder = Path(folder)
        if folder.is_symlink():
            raise Damaged(f"{folder} is a link; expected a folder. Give the folder itself")
        if not (folder / FACTS).is_file():
            raise FileNotFoundError(f"there is no post-mortem in {folder} (it has no {FACTS})")
        findings, values, place = Findings.read(folder / FACTS)
        training = _training_of(values.get("training"), place.at("training"))
        names = place.at("digests").mapping(values.get("digests"))
        tensors, facts = _read(folder / STATE, names.get("state"))
        batch: dict[str, Tensor] = {}
        if "batch" in names:
            batch, _ = _read(folder / BATCH, names["batch"])
        rows = batch.pop("rows", None)
        if batch and (rows is None or "x" not in batch or set(batch) - {f.name for f in fields(Batch)}):
            raise Damaged(f"{folder / BATCH} holds {', '.join(sorted(batch))[:200]}; expected the fields of a batch")
        settings = Settings.read(folder / "run.toml") if (folder / "run.toml").is_file() else None
        foreign = place.at("foreign").texts(values.get("foreign"))
        return cls(
            findings, training, Snapshot(tensors, cast(Facts, facts)), batch,
            torch.empty(0, dtype=torch.int64) if rows is None else rows, foreign,
            tries_for(findings, training, "augment" in str(foreign)), settings, folder=folder,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Value]:
        """What was found, what may help, and what a further try gave, as JSON holds them; without tensors."""
        tries: list[Value] = [{"text": t.text, "changes": {**t.changes}, "command": t.command} for t in self.tries]
        rerun: dict[str, Value] | None = None
        if self.rerun is not None:
            values: dict[str, Value] = {k: v if math.isfinite(v) else str(v) for k, v in self.rerun.values.items()}
            rerun = {
                "repeats": self.rerun.repeats, "exact": self.rerun.exact, "text": self.rerun.text, "values": values,
            }  # fmt: skip
        return {
            **self.findings.to_dict(), "described": self.findings.described, "sentences": list(self.findings.sentences),
            "rows": self.rows.tolist(), "training": _training_facts(self.training), "foreign": list(self.foreign),
            "folder": None if self.folder is None else str(self.folder), "tries": tries, "rerun": rerun,
        }  # fmt: skip


def _read(path: Path, digest: Value) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The tensors and facts of a file whose digest `postmortem.json` names."""
    if not isinstance(digest, str) or read_header(path, kind=FOLDER)[2] != digest:
        raise Damaged(f"{path} belongs to another post-mortem than {path.parent / FACTS}; fit the run again")
    return read_tensors(path, kind=FOLDER)


# -- the batch ---------------------------------------------------------------------------------------------------------


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """The tensors of a batch by the names of its fields, on the CPU."""
    values = ((f.name, getattr(batch, f.name)) for f in fields(batch))
    return {name: value.detach().cpu().clone() for name, value in values if value is not None}


def batch_of(tensors: Mapping[str, Tensor]) -> Batch:
    """The batch of these tensors."""
    return Batch(**tensors)


# -- the settings ------------------------------------------------------------------------------------------------------


def _training_facts(training: Training) -> dict[str, Value]:
    """Settings as plain values; a function is null."""
    values = {f.name: getattr(training, f.name) for f in fields(training)}
    plateau = values["plateau"]
    return values | {
        "optimizer": values["optimizer"] if isinstance(values["optimizer"], str) else None,
        "augment": values["augment"] if isinstance(values["augment"], str) else None,
        "plateau": list(plateau) if isinstance(plateau, tuple) else plateau,
    }


def _training_of(value: Value, place: Place) -> Training:
    """Settings of the plain values that `_training_facts` gave."""
    values = dict(place.mapping(value))
    if unknown := set(values) - {f.name for f in fields(Training)}:
        raise Damaged(f"{place.file} has unknown settings {', '.join(sorted(unknown))[:200]}; update chartae")
    kinds: dict[str, type | tuple[type, ...]] = {
        "epochs": int, "batch_size": int, "seed": int, "checkpoint_every": int, "precision": str, "optimizer": str,
        "augment": str, "device": str, "cosine": bool, "compile": bool, "patience": int, "clip": (int, float),
        "ema": (int, float), "lr": (int, float, dict), "plateau": (bool, list),
    }  # fmt: skip
    for name, kind in kinds.items():
        entry = values.get(name)
        wrong = isinstance(entry, bool) and bool not in (kind if isinstance(kind, tuple) else (kind,))
        if entry is not None and (wrong or not isinstance(entry, kind)):
            raise place.at(name).wrong(entry, "a setting of a training as chartae wrote it")
    rates = values.get("lr")
    if isinstance(rates, Mapping) and not all(is_number(v) for v in rates.values()):
        raise place.at("lr").wrong(rates, "numbers by the names of players")
    plateau = values.pop("plateau", False)
    pair = tuple(v for v in plateau if is_number(v)) if isinstance(plateau, list) else ()
    optimizer = values.pop("optimizer", None) or "adam"
    known = {name: values[name] for name in values if values[name] is not None}
    training = Training(optimizer=optimizer, plateau=pair if len(pair) == 2 else False, **known)  # type: ignore[arg-type]
    replace(training, device=None, precision="fp32" if training.precision == "fp16" else training.precision).check()
    return training


def foreign_of(training: Training) -> tuple[str, ...]:
    """The functions that stand in the place of settings by name."""
    optimizer = [] if isinstance(training.optimizer, str) else ["optimizer"]
    name = augmentation_name(training.augment)
    return (*optimizer, *([f"augment {name}"] if name.startswith("own: ") else []))


# -- what may help -----------------------------------------------------------------------------------------------------


def tries_for(findings: Findings, training: Training, own_augment: bool = False) -> tuple[Try, ...]:
    """Changes that may help, the likeliest first, by the cause.

    Args:
        findings: what was found.
        training: settings of the training that failed.
        own_augment: whether the training changed its data by the user's own function.
    """
    if findings.cause == "input":
        return _for_input(findings, training, own_augment)
    smaller = _smaller_lr(training)
    # no other change helps beside a learning rate beyond all reason
    first = smaller.changes if isinstance(training.lr, float | int) and training.lr > LARGEST_LR else {}
    clip = [] if training.clip is not None and training.clip <= 1 else [
        Try(
            "Limit the norm of the gradient, so that a single batch cannot throw the weights far away.",
            {**first, "clip": 1.0},
        )
    ]  # fmt: skip
    exact = [] if training.precision == "fp32" else [
        Try(f"Compute in fp32: {training.precision} has a smaller range or fewer digits.", {"precision": "fp32"})
    ]  # fmt: skip
    # a term is at fault only if all layers before it are well
    weight = [] if not findings.terms or findings.layer else [
        Try(f"Give the term {findings.terms[0]} a smaller weight in the objective.")
    ]  # fmt: skip
    orders: Mapping[str, Sequence[Try]] = {
        "overflow": (*exact, smaller, *clip, *weight),
        "gradient": (*clip, smaller, *exact, *weight),
        "logarithm": (*weight, smaller, *exact, *clip),
        "division": (*weight, smaller, *exact, *clip),
        "undefined": (*exact, smaller, *clip, *weight),
        "weights": (Try("Initialise the model with finite weights."),),
        "unrepeated": (smaller, *clip, *exact),
    }
    return tuple(orders[findings.cause])


def _smaller_lr(training: Training) -> Try:
    lr = training.lr
    if isinstance(lr, dict):
        return Try("Train with a smaller learning rate.", {"lr": {k: _smaller(v) for k, v in lr.items()}})
    rate = 1e-3 if lr is None else lr
    return Try(f"Train with a smaller learning rate than {rate:g}.", {"lr": _smaller(rate)})


def _smaller(rate: float) -> float:
    """A tenth; of a rate beyond all reason, the usual one."""
    return float(f"{rate / 10:.3g}") if rate <= 10 * USUAL_LR else USUAL_LR


def _for_input(findings: Findings, training: Training, own_augment: bool) -> tuple[Try, ...]:
    if training.augment is not None or own_augment:
        return (Try("Leave the augmentation out, or make it return finite values.", {"augment": None}),)
    where = ", ".join(findings.fields)
    return (Try(f"Leave out the rows of the batch whose {where} are not finite, or replace their values."),)
