"""`chartae fit`, and the demonstration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

from chartae.cli.evaluate import Compare, RunsFlags
from chartae.cli.flags import BreakLock, FitDataFlags, ModelFlags, Root, RunFolder, flag
from chartae.cli.recipes import options_help, refuse_unknown
from chartae.cli.verb import Verb, progress, say, unlock
from chartae.records.training import Training

if TYPE_CHECKING:
    from chartae.runs import Estimate, Request, Run

__all__ = ["Demo", "Fit", "Resume"]


@dataclass(frozen=True)
class OneDataFlags(FitDataFlags):
    """How the data are read."""

    target: Annotated[
        str | None,
        flag("for strings: learn to predict this property from the code: a column of the table, or logp, sa, qed, "
             "weight, penalised-logp", "NAME"),
    ] = None  # fmt: skip
    skip: Annotated[bool, flag("for strings: leave out those that the grammar cannot read, and count them")] = False
    to: Annotated[
        str | None, flag("for recipes that translate: the other domain, a name or path, such as mnist+coloured", "DATA")
    ] = None

    def reading(self) -> dict[str, object]:
        target = {} if self.target is None else {"target": self.target}
        return super().reading() | target | ({"errors": "skip"} if self.skip else {})


@dataclass(frozen=True)
class RecipeFlags:
    """The recipe."""

    recipe: Annotated[
        str | None, flag("what to train: a name that `chartae list recipes` shows (default: rae-l2)", "NAME")
    ] = None


@dataclass(frozen=True)
class OneModelFlags(ModelFlags, RecipeFlags):
    """The model."""

    densities: Annotated[
        tuple[str, ...] | None,
        flag("densities to fit to the codes: names that `chartae list densities` shows; by default as the recipe says, "
             "usually normal gmm", "NAME ..."),
    ] = None  # fmt: skip


@dataclass(frozen=True)
class OutputFlags:
    """What is written."""

    out: Annotated[Path | None, flag("folder for the run (required, except with --dry-run)", "FOLDER")] = None
    resume: Annotated[
        bool, flag("continue from the checkpoint in the folder; start if there is none; say so if the run is complete")
    ] = False
    overwrite: Annotated[bool, flag("replace the run in the folder, which stays until the new one is complete")] = False
    init: Annotated[
        Path | None, flag("start with the weights of another run of the same recipe and code size", "RUN")
    ] = None
    break_lock: BreakLock = False
    dry_run: Annotated[
        bool, flag("check everything and print the objective, the number of parameters and the time; write nothing")
    ] = False
    json: Annotated[bool, flag("print the facts of the run as JSON on stdout")] = False


@dataclass(frozen=True)
class Fit(Verb):
    """Train a recipe on data and fit densities to its codes; the recipe's options are further flags."""

    takes_options: ClassVar[bool] = True
    examples: ClassVar[tuple[str, ...]] = (
        "fit fashion-mini --recipe rae-l2 --out runs/a",
        "fit pictures/ --recipe vae --latent-dim 32 --epochs 50 --sigma 0.1 --out runs/b",
        "fit table.csv --recipe rae --condition age,sex --out runs/c",
        "fit fashion-mini --recipe vae --dry-run",
    )

    dataset: Annotated[
        Positional[str],
        flag("name of a data set (`chartae list data`), or a path: a folder of pictures, .npy, .npz, .csv, .tsv, "
             ".parquet; for strings .txt, .smi, .csv, .tsv", "DATA"),
    ]  # fmt: skip
    data: OneDataFlags = field(default_factory=OneDataFlags)
    model: OneModelFlags = field(default_factory=OneModelFlags)
    training: Training = field(default_factory=Training)
    output: OutputFlags = field(default_factory=OutputFlags)

    @classmethod
    def options_help(cls, words: Sequence[str]) -> str:
        return options_help(words)

    def run(self, options: Mapping[str, str]) -> None:
        if self.output.out is None and not self.output.dry_run:
            raise ValueError("--out is missing; give a folder for the run, or --dry-run to see what would be done")
        from chartae import runs
        from chartae.recipes import DEFAULT

        recipe = self.model.recipe or DEFAULT
        refuse_unknown(Fit, [recipe], options)
        request = self._request(options)
        if self.output.break_lock and self.output.out is not None:
            unlock(self.output.out)
        if self.output.dry_run:
            estimate = runs.estimate(recipe, self.dataset, request)
            print(json.dumps(estimate.to_dict(), indent=1) if self.output.json else _described(estimate))
            return
        run = runs.fit_request(recipe, self.dataset, request)
        say_kept(run)
        if run.skipped:
            say(f"{run.skipped:,} strings were left out; `chartae grammar audit` says why")
        if runs.same_pictures(run):
            say(
                f"{self.dataset} and {self.data.to} are the same pictures; each domain was trained on a different half "
                "of them"
            )
        if self.output.json:
            print_facts(run)

    def _request(self, options: Mapping[str, str]) -> Request:
        from chartae import runs
        from chartae.data import Reading

        data, model, output = self.data, self.model, self.output
        return runs.Request(
            latent_dim=model.latent_dim, net=model.net, densities=model.densities, components=model.components,
            to=data.to, condition=data.condition, out=output.out, root=data.data_root, overwrite=output.overwrite,
            resume=output.resume, init=output.init, progress=progress(), training=self.training, options=options,
            reading=Reading(**data.reading()),  # type: ignore[arg-type]
        )  # fmt: skip


def say_kept(run: Run) -> None:
    """Say which epoch's weights a run has, and where it is."""
    assert run.history is not None
    best, epochs, settings = run.history.best_epoch, run.history.epochs, run.settings
    where = "could not be written" if run.folder is None else f"is in {run.folder}"
    say(f"{settings.recipe} on {settings.data}: the weights of epoch {best} of {epochs} are kept; the run {where}")


def print_facts(run: Run) -> None:
    """Print the facts of a run as JSON."""
    facts = {
        "folder": str(run.folder), "recipe": run.settings.recipe, "densities": list(run.densities), **run.training()
    }  # fmt: skip
    print(json.dumps(facts, indent=1))


@dataclass(frozen=True)
class Resume(Verb):
    """Continue the training of a run from its checkpoint, with all settings from its folder."""

    examples: ClassVar[tuple[str, ...]] = ("resume runs/a", "resume runs/a --epochs 100")

    run_folder: RunFolder
    epochs: Annotated[
        int | None, flag("total number of passes over the data, with those before; by default as in the run", "N")
    ] = None
    dataset: Annotated[
        str | None, flag("name or path of the training data; by default those that the run names", "DATA", "data")
    ] = None
    data_root: Root = None
    device: Annotated[str | None, flag("cpu or cuda; by default a GPU if there is one", "NAME")] = None
    break_lock: BreakLock = False
    json: Annotated[bool, flag("print the facts of the run as JSON on stdout")] = False

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs

        if self.break_lock:
            unlock(self.run_folder)
        run = runs.resume(
            self.run_folder, epochs=self.epochs, data=self.dataset, root=self.data_root, device=self.device,
            progress=progress(),
        )  # fmt: skip
        say_kept(run)
        if self.json:
            print_facts(run)


def _described(estimate: Estimate) -> str:
    """An estimate in lines."""
    each = ", ".join(f"{part} {count:,}" for part, count in estimate.parts.items())
    return "\n".join((
        f"recipe      {estimate.recipe}",
        f"data        {estimate.data}",
        f"codes       {estimate.latent_dim}, densities: {', '.join(estimate.densities) or 'none'}",
        f"objective   {estimate.objective}",
        f"parameters  {estimate.parameters:,} ({each})",
        f"time        about {_duration(estimate.seconds)}: {estimate.epochs} epochs of {estimate.steps:,} steps, "
        f"{_duration(estimate.seconds_per_epoch)} each, measured over {estimate.measured} steps on {estimate.device}",
    ))  # fmt: skip


def _duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Demo(Verb):
    """Compare ae, vae, rae-l2 and rae-gp on the images that ship with chartae: a table and a report."""

    examples: ClassVar[tuple[str, ...]] = ("demo", "demo --epochs 5 --out runs/demo --overwrite")

    out: Annotated[Path, flag("folder for the comparison", "FOLDER")] = Path("chartae-demo")
    epochs: Annotated[int, flag("passes over the data", "N")] = 20
    overwrite: Annotated[bool, flag("remove the comparison in the folder first")] = False

    def run(self, options: Mapping[str, str]) -> None:
        runs = RunsFlags(self.out, ("ae", "vae", "rae-l2", "rae-gp"), overwrite=self.overwrite)
        Compare("fashion-mini", runs, training=Training(epochs=self.epochs)).run({})
