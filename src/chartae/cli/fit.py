"""`chartae fit`, and the demonstration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from chartae.cli.evaluate import Compare
from chartae.cli.verb import TrainingFlags, Verb, say
from chartae.records.training import Training

__all__ = ["Demo", "Fit"]


@dataclass(frozen=True)
class Fit(Verb):
    """Train a recipe on data; the recipe's own options are further flags, such as --beta 0.01."""

    data: Annotated[
        Positional[str],
        arg(help="a data set's name, a folder of pictures, .npy, .npz, .csv, .parquet; strings: .txt, .smi"),
    ]
    out: Annotated[Path, arg(help="folder for the run")]
    recipe: Annotated[str | None, arg(help="what to train, by name; an unknown name lists all")] = None
    condition: Annotated[
        str | None, arg(help="what to condition on: labels, or columns of a table, such as age,sex")
    ] = None
    to: Annotated[
        str | None, arg(help="the other domain, for recipes that translate: a name or path, e.g. mnist+coloured")
    ] = None
    grammar: Annotated[
        str | None,
        arg(help="for strings: zinc-smiles, expressions, smiles, arithmetic, rna, a file; or characters, ..."),
    ] = None
    limit: Annotated[int | None, arg(help="use only the first N strings")] = None
    column: Annotated[str | None, arg(help="column of a table that holds the strings")] = None
    target: Annotated[
        str | None, arg(help="a property to read off the code: a table's column; logp, sa, qed, weight, penalised-logp")
    ] = None
    skip: Annotated[bool, arg(help="leave out strings that the grammar cannot read, and count them")] = False
    latent_dim: Annotated[int | None, arg(help="size of the codes; 16, or the data's own where smaller")] = None
    net: Annotated[str, arg(help="mlp, conv (or with widths, conv:16x32x64), residual, paper, or auto")] = "auto"
    training: TrainingFlags = field(default_factory=Training)
    densities: Annotated[
        tuple[str, ...] | None, arg(help="fitted to the codes afterwards; by default normal gmm, or none for a score")
    ] = None
    components: Annotated[int, arg(help="components of the mixture")] = 10
    data_root: Annotated[Path | None, arg(help="folder of named data sets; else CHARTAE_DATA, else a download")] = None
    resume: Annotated[bool, arg(help="continue from the folder's checkpoint")] = False
    overwrite: Annotated[bool, arg(help="remove a run that is in the folder")] = False

    takes_options: ClassVar[bool] = True

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.data import Reading
        from chartae.recipes import DEFAULT

        request = runs.Request(
            latent_dim=self.latent_dim,
            net=self.net,
            densities=self.densities,
            components=self.components,
            to=self.to,
            condition=self.condition,
            out=self.out,
            root=self.data_root,
            overwrite=self.overwrite,
            resume=self.resume,
            progress=True,
            reading=Reading(
                grammar=self.grammar,
                limit=self.limit,
                column=self.column,
                errors="skip" if self.skip else None,
                target=self.target,
            ),
            training=self.training,
            options=options,
        )
        recipe = self.recipe or DEFAULT
        run = runs.fit_request(recipe, self.data, request)
        assert run.history is not None
        best, epochs = run.history.best_epoch, run.history.epochs
        say(f"{recipe} on {self.data}: epoch {best} of {epochs} is kept; the run is in {self.out}")
        if run.skipped:
            say(f"{run.skipped:,} strings were left out; chartae grammar audit says why")
        if runs.same_pictures(run):
            say(f"{self.data} and {self.to} are the same pictures: each was trained on another half of them")


@dataclass(frozen=True)
class Demo(Verb):
    """Compare ae, vae, rae-l2 and rae-gp on the images that ship with chartae: a table and a report."""

    out: Path = Path("chartae-demo")
    epochs: int = 20
    overwrite: bool = False

    def run(self, options: Mapping[str, str]) -> None:
        recipes = ("ae", "vae", "rae-l2", "rae-gp")
        training = Training(epochs=self.epochs)
        Compare("fashion-mini", self.out, recipes, training=training, overwrite=self.overwrite).run({})
