"""The post-mortem of a run whose training failed: read from its folder, with commands to try, and a further try."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from chartae.data.kinds import Kind
from chartae.grammar.saving import CODECS
from chartae.objectives import Objective, Penalised, Wrapped
from chartae.recipes import options as options_of
from chartae.recipes import trial
from chartae.records import manifest
from chartae.records.files import Damaged, replace_text
from chartae.records.parsing import Value
from chartae.records.postmortem import Findings, Try
from chartae.records.replacing import NEW
from chartae.records.settings import IN_MEMORY, Settings
from chartae.runs.conditioning import LABELS
from chartae.runs.run import built_from, condition_of
from chartae.runs.sizes import built_for
from chartae.training import NonFinite, PostMortem, Rerun, rerun_step
from chartae.training.postmortem import FACTS, FOLDER, STATE

__all__ = ["explaining", "postmortem"]

#: settings of a training in `[training]` of run.toml that are flags
FLAGS = ("clip", "cosine", "patience", "ema")


def postmortem(folder: str | Path, *, rerun: bool = True) -> PostMortem:
    """Read why the training in a folder failed, and take the failed step again.

    When a loss becomes infinite or NaN, `chartae.fit` saves the state before that step, its batch, and what it found
    into the folder ``postmortem`` of the run folder.

    Args:
        folder: folder of a run whose training failed, or the folder of a post-mortem itself.
        rerun: whether to take the failed step again; default True.

    Returns:
        What was found, the changes that may help, each with the command to run, and what the further try gave.

    Raises:
        FileNotFoundError: there is no post-mortem in the folder.
        ValueError: a file is damaged, or does not match the others.

    >>> import tempfile
    >>> import torch
    >>> import chartae as ch
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         _ = ch.fit("rae", x, lr=1e30, latent_dim=2, out=folder, progress=False)
    ...     except ArithmeticError:
    ...         report = ch.postmortem(folder)
    >>> report.findings.cause, report.rerun.repeats, [t.changes for t in report.tries][:2]
    ('overflow', True, [{'lr': 0.001}, {'lr': 0.001, 'clip': 1.0}])
    """
    folder = Path(folder)
    # a run that was to replace another one failed in a folder of its own
    places = [path for path in (folder / NEW / FOLDER, folder / FOLDER) if path.is_symlink() or path.is_dir()]
    if any(path.is_symlink() for path in (folder / NEW, *places)):
        raise Damaged(f"a folder in {folder} is a link; expected folders of chartae. Delete the link")
    place = places[0] if places else folder
    if not places and not (folder / FACTS).is_file():
        raise FileNotFoundError(
            f"there is no post-mortem in {folder}; expected the folder of a run whose training failed because a loss "
            "was not finite"
        )
    manifest.verify(place, *(manifest.listed(place) or ()))
    report = PostMortem.read(place)
    settings = report.settings
    if settings is None and places and (place.parent / "run.toml").is_file():
        settings = Settings.read(place.parent / "run.toml")  # it was killed before it wrote its copy
    report = _explained(report, settings, folder if places else folder.parent)
    return replace(report, rerun=_again(report)) if rerun else report


def _again(report: PostMortem) -> Rerun:
    """What a further try of the step gives."""
    if report.settings is None:
        return Rerun(
            None,
            "The step cannot be taken again from here, as the training had no recipe: build its objective, and call "
            "chartae.training.rerun_step(postmortem, objective).",
        )
    return rerun_step(report, _objective(report, report.settings))


@contextmanager
def explaining(settings: Settings, out: Path | None) -> Iterator[None]:
    """Add the settings of a run to the post-mortem of a training that fails in the block, and to its folder.

    Args:
        settings: settings of the run.
        out: folder of the run; None without one.
    """
    try:
        yield
    except NonFinite as error:
        report = error.postmortem
        if report.folder is not None and manifest.listed(report.folder) is not None:
            with manifest.writing(report.folder, "run.toml"):
                replace_text(report.folder / "run.toml", settings.to_toml())
            # the user knows the run, not the folder in it in which its replacement was trained
            inner, named = (shlex.quote(str(path)) for path in (report.folder.parent, out))
            error.args = (str(error).replace(f"postmortem {inner}`", f"postmortem {named}`"),)
        error.postmortem = _explained(report, settings, out)
        raise


def _explained(report: PostMortem, settings: Settings | None, folder: Path | None) -> PostMortem:
    """The post-mortem with its settings, and with the options and commands of the changes to try."""
    if settings is None:
        return report
    tries = []
    for change in report.tries:
        if not change.changes and report.findings.terms and not report.findings.layer:
            change = _of_term(change, settings, report.findings, _objective(report, settings))
        command = _command(settings, report, change.changes, folder) if change.changes else ""
        tries.append(replace(change, command=command))
    return replace(report, settings=settings, tries=tuple(tries))


# -- the weight of a term ----------------------------------------------------------------------------------------------


def _objective(report: PostMortem, settings: Settings) -> Objective:
    """The objective of the training, which takes no more memory than its weights in the post-mortem, if it has a file.

    Raises:
        Damaged: the settings are not those of the weights.
    """
    path = None if report.folder is None else report.folder / STATE
    if path is None or not path.is_file():
        return built_from(settings).objective
    return built_for(settings, path, kind=FOLDER, prefix="model/")


def _of_term(change: Try, settings: Settings, findings: Findings, objective: Objective) -> Try:
    """The change of a term's weight as that of the recipe's option that scales it, if there is one."""
    term = findings.terms[0]
    present = _weights(objective).get(term)
    for name, (kind, _) in options_of(settings.recipe).items():
        if kind is not float or not present:
            continue
        try:
            once, twice = (_weights(trial(settings.recipe, {name: value})).get(term) for value in (1.0, 2.0))
        except ValueError:  # the option has another range
            continue
        if once and twice and once != twice:
            value = float(f"{0.1 * present / once:.3g}")
            return Try(f"Give the term {term} a tenth of its weight, by the option {name}.", {name: value})
    return change


def _weights(objective: Objective) -> Mapping[str, float]:
    """The weights of the terms by name; empty for an objective that is no sum of terms."""
    while isinstance(objective, Wrapped):
        objective = objective.inner
    return objective.terms.weights if isinstance(objective, Penalised) else {}


# -- commands ----------------------------------------------------------------------------------------------------------


def _command(settings: Settings, report: PostMortem, changes: Mapping[str, Value], folder: Path | None) -> str:
    """The command line of the run with changes; empty if it cannot be written as one."""
    grammar, training = _grammar(settings), report.training
    in_memory = IN_MEMORY in (settings.data, settings.to) or (settings.weight and "weight" not in settings.reading)
    unwritable = {*settings.training} - {*FLAGS, "checkpoint_every"}
    if in_memory or grammar is None or unwritable or report.foreign or settings.start or isinstance(training.lr, dict):
        return ""
    name = "-".join(changes)
    values: dict[str, object] = {
        "data_root": settings.root or None, "to": settings.to or None, "recipe": settings.recipe,
        "latent_dim": settings.latent_dim, "net": settings.net, "components": settings.densities.get("components"),
        "epochs": training.epochs, "batch_size": training.batch_size, "lr": training.lr, "seed": training.seed,
        "precision": training.precision, "augment": settings.augment or None,
        **{key: settings.training.get(key) for key in FLAGS}, **settings.options, **changes,
        "out": f"{folder}-{name}" if folder is not None else f"runs/{name}",
    }  # fmt: skip
    words = ["chartae", "fit", settings.data]
    for key, value in values.items():
        if value is not None:
            flag, text = f"--{key.replace('_', '-')}", str(value)
            words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]  # else it would be read as a flag
    densities = settings.densities.get("names")
    if isinstance(densities, list | tuple) and densities:
        words += ["--densities", *map(str, densities)]
    if (condition := condition_of(settings)) is not None:
        words += ["--condition", LABELS if condition.names == (LABELS,) else ",".join(condition.names)]
    return shlex.join([*words, *grammar, *_reading(settings)])


def _reading(settings: Settings) -> list[str]:
    """The flags by which the data were read."""
    words: list[str] = []
    for key, value in settings.reading.items():
        if key == "errors":
            words += ["--skip"] if value == "skip" else []
        elif key in ("size", "drop") and isinstance(value, list | tuple):
            texts = [str(v) for v in value]
            words += [f"--{key}", *(["x".join(texts)] if key == "size" else texts)]
        elif key != "shape":
            words += [f"--{str(key).replace('_', '-')}", str(value)]
    return words


def _grammar(settings: Settings) -> list[str] | None:
    """The flag of the grammar, or nothing for data that are no strings; None for a codec that has no name."""
    if "grammar" not in Kind.from_dict(settings.kind).options:
        return []
    try:
        description = json.loads(settings.codec)
        names = [description.get("grammar"), *(name for name in CODECS if name in description)]
        named = [str(name) for name in names if name]
        return None if "text" in description else ["--grammar", named[0]]
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return None
