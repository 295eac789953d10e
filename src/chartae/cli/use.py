"""`chartae sample`, `translate` and `report`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional

from chartae.cli.flags import DataFlags, RunDataFlags, RunFolder, Seed, flag
from chartae.cli.verb import Verb, say

if TYPE_CHECKING:
    from torch import Tensor

    from chartae.data.kinds import Kind
    from chartae.runs import Run

__all__ = ["Report", "Sample", "Translate"]


@dataclass(frozen=True)
class ChainFlags:
    """Chains that follow the score, for models that estimate one."""

    sampler: Annotated[
        str | None, flag("sampler: mala, annealed, tempering, ... (`chartae list samplers`)", "NAME")
    ] = None
    steps: Annotated[int | None, flag("steps of each chain; by default 1000, or the sampler's schedule", "N")] = None
    warmup: Annotated[
        int | None, flag("warm-up steps, which tune the step size; by default 500 where it can be tuned", "N")
    ] = None
    step: Annotated[float | None, flag("step size; by default as the noise level suggests", "SIZE")] = None
    sigma: Annotated[float | None, flag("noise level, for a noise-conditional model", "SIGMA")] = None


@dataclass(frozen=True)
class Sample(Verb):
    """Draw new examples from a run, as a picture (.png), an array (.npy, .npz), a table (.csv) or text (.txt, .smi)."""

    examples: ClassVar[tuple[str, ...]] = (
        "sample runs/a --n 64 --out samples.png",
        "sample runs/conditional --condition 3 --density gmm --n 1000 --out threes.npy",
    )

    run_folder: RunFolder
    out: Annotated[
        Path | None,
        flag("file: .png, .npy, .npz, .csv, .txt, as the data allow; by default samples.* in the run", "FILE"),
    ] = None
    n: Annotated[int, flag("number of samples", "N")] = 64
    density: Annotated[
        str | None, flag("density to draw codes from: prior, normal, gmm, ...; by default gmm if it is fitted", "NAME")
    ] = None
    condition: Annotated[
        str | None, flag("for a conditional run: the value, such as 3, or a=1,b=2 for several columns", "VALUE")
    ] = None
    noise: Annotated[bool, flag("draw from p(x|z); the default for tables and points")] = False
    no_noise: Annotated[bool, flag("take the mean of p(x|z); the default for images and strings")] = False
    seed: Seed = 0
    chains: ChainFlags = field(default_factory=ChainFlags)
    data: RunDataFlags = field(default_factory=RunDataFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.cli.writers import writer_for
        from chartae.samplers import by_name

        if self.density is not None and self.chains.sampler is not None:
            raise ValueError("--density draws codes, and --sampler runs chains of points; give one of them")
        self._noise()
        run = runs.load(self.run_folder)
        writer = writer_for(run, self.out, self.n)
        default = run.own if self.density is None and run.own in by_name.NAMES else None
        sampler = self.chains.sampler or default
        writer.write_slices(self._drawn(run) if sampler is None else self._chains(run, sampler), self.n)
        say(f"{self.n} {writer.noun} are in {writer.path}")

    def _noise(self) -> bool | None:
        """Whether examples are drawn from p(x|z); None for the default of the kind of data."""
        if self.noise and self.no_noise:
            raise ValueError("--noise and --no-noise are both given; give one of them")
        return self.noise if self.noise or self.no_noise else None

    def _drawn(self, run: Run) -> Iterator[Tensor]:
        """Slices of draws of a density of codes, decoded; one that the run lacks is fitted."""
        from chartae import densities

        for option in ("steps", "warmup", "step", "sigma"):
            if getattr(self.chains, option) is not None:
                raise ValueError(f"--{option} is for chains; give --sampler as well")
        run.conditions(self.condition, 1)  # a wrong condition is refused before data are read
        name = self.density
        if name is not None and name not in ("prior", *run.densities):
            densities.make(name)  # an unknown name is refused before data are read
            run.refuse_densities()
            run.fit_densities({name: {}}, run.source(self.data.dataset, self.data.data_root))
        return run.drawn(self.n, name, condition=self.condition, seed=self.seed, noise=self._noise())

    def _chains(self, run: Run, sampler: str) -> Iterator[Tensor]:
        """Slices of the ends of chains that follow the score."""
        if self.condition is not None:
            raise ValueError("--condition is for densities of codes; chains of points have none. Leave it out")
        if self._noise() is not None:
            raise ValueError("--noise is for densities of codes; chains of points have no decoder. Leave it out")
        chains, start = self.chains, None
        if self.data.dataset is not None:
            start = run.kind.inside(run.read(self.data.dataset, root=self.data.data_root).train)
        slices = run.chain_slices(
            self.n, sampler, seed=self.seed, start=start, root=self.data.data_root, steps=chains.steps,
            warmup=chains.warmup, step=chains.step, sigma=chains.sigma,
        )  # fmt: skip

        def ends() -> Iterator[Tensor]:
            accepted = 0.0
            for chain in slices:
                accepted += float(chain.info.acceptance.mean()) * len(chain.final)
                yield chain.final
            say(f"{sampler}: {self.n} chains, mean acceptance {accepted / self.n:.2f}")

        return ends()


@dataclass(frozen=True)
class Translate(Verb):
    """Translate test examples between the two domains of a run: a grid, the input first, then its translations."""

    examples: ClassVar[tuple[str, ...]] = (
        "translate runs/t --out translations.png",
        "translate runs/t --from B --to A --inputs 100 --n 1 --out back.npy",
    )

    run_folder: RunFolder
    out: Annotated[Path, flag("file: a .png grid, or a .npy array (inputs, n, ...)", "FILE")]
    source: Annotated[
        str | None,
        flag("domain of the inputs: A (default), the data of the fit, or B, those of --to", "A|B", "from"),
    ] = None
    to: Annotated[str | None, flag("domain of the translations: B or A; by default the other one", "A|B")] = None
    n: Annotated[int, flag("translations of each input", "N")] = 8
    inputs: Annotated[int, flag("number of test examples", "N")] = 8
    dataset: Annotated[
        str | None, flag("data set or path whose test examples are translated; by default the run's", "DATA", "data")
    ] = None
    seed: Seed = 0
    data: DataFlags = field(default_factory=DataFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import runs
        from chartae.data import read
        from chartae.runs.reading import options_like

        if self.out.suffix not in (".png", ".npy"):
            raise ValueError(f"--out is {self.out}; expected a name that ends in .png or .npy")
        if self.inputs < 1:
            raise ValueError(f"--inputs is {self.inputs}; expected at least 1")
        other = {"A": "B", "B": "A"}
        source = self.source or other.get(self.to or "B", "A")
        to = self.to or other.get(source, "B")
        run = runs.load(self.run_folder)
        kind, translated = (runs.domain_kind(run, name) for name in (source, to))
        if to == source:
            raise ValueError(f"--from and --to are both {to}; translate from A to B, or from B to A")
        if self.out.suffix == ".png" and not {".png"} <= set(kind.writers()) & set(translated.writers()):
            raise ValueError(f"--out is {self.out}, but translations of this run are {translated.noun}; use .npy")
        root = self.data.data_root
        if self.dataset:
            reading = options_like(self.dataset, kind)
            data = read(self.dataset, kinds=[type(kind)], root=root, reading=reading)
        else:
            data = runs.domain(run, source, root)
        x = (data.test if len(data.test) else data.train)[: self.inputs]
        self._check_room(len(x), translated)
        self._write(x, runs.translate(run, x, to, self.n, seed=self.seed))
        say(f"{len(x)} test examples of {data.name}, {self.n} translations each, are in {self.out}")

    def _check_room(self, inputs: int, translated: Kind) -> None:
        """Raise OSError if the file cannot be written, and ValueError if there is no memory for the translations."""
        from chartae.records.space import check_disk, check_memory, check_output

        size = 4 * inputs * self.n * math.prod(translated.shape)
        what = f"--n is {self.n:,}: {inputs:,} inputs with as many translations each, which"
        if self.out.suffix == ".npy":
            check_disk(self.out, size, what)
        check_memory(size, what, "Use fewer.")
        check_output(self.out)

    def _write(self, x: Tensor, translations: Tensor) -> None:
        """Translations (N, n, ...) as an array, or as a grid with a row for each of the examples x (N, ...)."""
        import numpy as np
        import torch

        from chartae import metrics
        from chartae.draw import pictures
        from chartae.maths import as_float
        from chartae.records.files import whole_file

        if self.out.suffix == ".npy":
            with whole_file(self.out) as part:
                np.save(part, translations.numpy(force=True))
            return
        x, translations = as_float(x.cpu()), translations.cpu()
        colours = max(x.shape[1], translations.shape[2])
        originals = x.expand(-1, colours, -1, -1)[:, None]
        columns = torch.cat([originals, translations.expand(-1, -1, colours, -1, -1)], 1)
        levels = metrics.to_uint8(columns.flatten(0, 1)).numpy()
        pictures.save_png(self.out, pictures.enlarge(pictures.grid(levels, columns.shape[1]), 2))


@dataclass(frozen=True)
class Report(Verb):
    """Write a run or a comparison as one self-contained HTML file."""

    examples: ClassVar[tuple[str, ...]] = ("report runs/a", "report runs/comparison --out comparison.html")

    run_folder: Annotated[Positional[Path], flag("folder of a run or of a comparison", "FOLDER")]
    out: Annotated[Path | None, flag("file; by default report.html in the folder", "FILE")] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import report

        say(f"the report is {report.write(self.run_folder, self.out or self.run_folder / 'report.html')}")
