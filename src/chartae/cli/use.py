"""`chartae sample`, `translate` and `report`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from chartae.cli.verb import Verb, say

if TYPE_CHECKING:
    from torch import Tensor

    from chartae.runs import Run

__all__ = ["Report", "Sample", "Translate"]


@dataclass(frozen=True)
class Sample(Verb):
    """Draw new examples from a run, as a picture (.png), an array (.npy, .npz), a table (.csv) or text (.txt, .smi)."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    out: Annotated[
        Path | None, arg(help="NAME.png, .npy, .npz, .csv, .txt, as the data allow; by default samples.* in the run")
    ] = None
    density: Annotated[str | None, arg(help="prior, normal or gmm; by default the mixture")] = None
    sampler: Annotated[str | None, arg(help="chains that follow the score: mala, annealed, tempering, ...")] = None
    condition: Annotated[
        str | None, arg(help="for a run with a condition: the value, such as 3, or of several columns a=1,b=2")
    ] = None
    n: Annotated[int, arg(help="number of samples")] = 64
    steps: Annotated[int | None, arg(help="steps of the chains; 1000, or the sampler's schedule")] = None
    warmup: Annotated[int | None, arg(help="steps before, which tune the step size; 500 where it can be tuned")] = None
    step: Annotated[float | None, arg(help="the chains' step size")] = None
    sigma: Annotated[float | None, arg(help="noise level, of a noise-conditional model")] = None
    seed: Annotated[int, arg(help="of the draws")] = 0
    data_root: Annotated[Path | None, arg(help="folder of named data sets, if data must be read")] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.cli.writers import writer_for
        from chartae.samplers import by_name

        if self.density is not None and self.sampler is not None:
            raise ValueError("--density draws codes, --sampler runs chains of points; give one of them")
        run = runs.load(self.run_folder)
        writer = writer_for(run, self.out, self.n)
        default = run.own if self.density is None and run.own in by_name.NAMES else None
        sampler = self.sampler or default
        writer(self._drawn(run) if sampler is None else self._chains(run, sampler))
        say(f"{self.n} {writer.noun} are in {writer.path}")

    def _drawn(self, run: Run) -> Tensor:
        """Draws of a density of codes, decoded; one that the run lacks is fitted."""
        from chartae import densities

        for flag in ("steps", "warmup", "step", "sigma"):
            if getattr(self, flag) is not None:
                raise ValueError(f"--{flag} is for chains; give --sampler as well")
        run.conditions(self.condition, max(1, self.n))  # what is wrong shows before any data are read
        name = self.density
        if name is not None and name not in ("prior", *run.densities):
            densities.make(name)  # an unknown one shows before any data are read
            run.refuse_densities()
            run.fit_densities({name: {}}, run.data(self.data_root))
        return run.draw(self.n, name, condition=self.condition, seed=self.seed)

    def _chains(self, run: Run, sampler: str) -> Tensor:
        """The ends of chains that follow the score."""
        if self.condition is not None:
            raise ValueError("--condition is for densities of codes, and chains of points have none; leave it out")
        chain = run.chains(
            self.n, sampler, seed=self.seed, root=self.data_root, steps=self.steps, warmup=self.warmup,
            step=self.step, sigma=self.sigma,
        )  # fmt: skip
        say(f"{sampler}: {self.n} chains, acceptance {float(chain.info.acceptance.mean()):.2f}")
        return chain.final


@dataclass(frozen=True)
class Translate(Verb):
    """Translate test examples between the two domains of a run: a grid, the input first, then its translations."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    out: Annotated[Path, arg(help="NAME.png of a grid; or .npy, an array (inputs, n, ...)")]
    source: Annotated[
        str | None, arg(name="from", help="A, the data the run was fitted on, or B, those it was fitted to; default: A")
    ] = None
    to: Annotated[str | None, arg(help="B or A; by default the other one")] = None
    n: Annotated[int, arg(help="translations of each input")] = 8
    inputs: Annotated[int, arg(help="how many test examples")] = 8
    data: Annotated[
        str | None, arg(help="whose test examples, a data set's name or path; by default the run's own")
    ] = None
    seed: Annotated[int, arg(help="of the draws")] = 0
    data_root: Annotated[Path | None, arg(help="folder of named data sets")] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.data import read

        if self.out.suffix not in (".png", ".npy"):
            raise ValueError(f"--out is {self.out}; give a name that ends in .png or .npy")
        if self.inputs < 1:
            raise ValueError(f"--inputs is {self.inputs}; give at least 1")
        other = {"A": "B", "B": "A"}
        source = self.source or other.get(self.to or "B", "A")
        to = self.to or other.get(source, "B")
        run = runs.load(self.run_folder)
        kind, translated = (runs.domain_kind(run, name) for name in (source, to))
        if to == source:
            raise ValueError(f"--from and --to are both {to}; translate from A to B, or from B to A")
        if self.out.suffix == ".png" and not {".png"} <= set(kind.writers()) & set(translated.writers()):
            raise ValueError(f"--out is {self.out}, but translations of this run are {translated.noun}; use .npy")
        root = self.data_root or run.settings.root or None
        data = read(self.data, kinds=[type(kind)], root=root) if self.data else runs.domain(run, source, root)
        x = (data.test if len(data.test) else data.train)[: self.inputs]
        self._write(x, runs.translate(run, x, to, self.n, seed=self.seed))
        say(f"{len(x)} test examples of {data.name}, {self.n} translations each, are in {self.out}")

    def _write(self, x: Tensor, translations: Tensor) -> None:
        """Translations (N, n, ...) as an array, or as a grid with a row for each of the examples x (N, ...)."""
        import numpy as np
        import torch

        from chartae import metrics
        from chartae.draw import pictures
        from chartae.maths import as_float

        self.out.parent.mkdir(parents=True, exist_ok=True)
        if self.out.suffix == ".npy":
            np.save(self.out, translations.numpy(force=True))
            return
        x, translations = as_float(x.cpu()), translations.cpu()
        colours = max(x.shape[1], translations.shape[2])
        originals = x.expand(-1, colours, -1, -1)[:, None]
        columns = torch.cat([originals, translations.expand(-1, -1, colours, -1, -1)], 1)
        levels = metrics.to_uint8(columns.flatten(0, 1)).numpy()
        pictures.save_png(self.out, pictures.enlarge(pictures.grid(levels, columns.shape[1]), 2))


@dataclass(frozen=True)
class Report(Verb):
    """Write a run or a comparison as one HTML file without outside links."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    out: Annotated[Path | None, arg(help="by default report.html in the folder")] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import report

        say(f"the report is {report.write(self.run_folder, self.out or self.run_folder / 'report.html')}")
