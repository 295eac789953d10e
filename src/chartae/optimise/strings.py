"""A run of strings as a search uses it; the only module of this package, with `entry`, that depends on runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from chartae import densities
from chartae.data import Dataset
from chartae.optimise.problem import CodeDensity
from chartae.runs import Run, decode_draws, retrained

__all__ = ["CodedStrings"]


class CodedStrings:
    """Encoder, decoder and density of a run of strings.

    Args:
        run: run of a recipe for strings.
        density: name of the density that bounds the search, None for the run's own choice, ``none`` for no bound.

    Attributes:
        density: the density, or None for no bound.

    Raises:
        ValueError: the run has no such density.
    """

    def __init__(self, run: Run, density: str | None) -> None:
        self.run, self.name = run, density
        self.density: CodeDensity | None = None if density == "none" else run.density(density)

    def data(self, root: str | Path | None) -> Dataset:
        """The data that the run was fitted to."""
        return self.run.data(root)

    def encode(self, x: Tensor | Sequence[str]) -> Float[Tensor, "N D"]:
        """Codes (N, D) of strings or of rows of the data, in double precision on the CPU."""
        return self.run.encode(x).detach().to("cpu").double()

    def decode(self, z: Float[Tensor, "N D"], draws: int, seed: int) -> Sequence[Sequence[str]]:
        """The strings of each code, the likeliest first."""
        return decode_draws(self.run, z.float(), draws, seed=seed)

    def retrained(
        self, strings: Sequence[str], weights: Float[Tensor, " N"], *, epochs: int, seed: int, fit_seed: int
    ) -> tuple[CodedStrings, Float[Tensor, "N D"]]:
        """Retrain the run for some epochs, and encode the strings again.

        A fitted density is fitted again, to the new codes.

        Args:
            strings: training strings, drawn in proportion to the weights.
            weights: weights (N,) of the strings, >= 0.
            epochs: number of epochs, >= 1.
            seed: seed of the training.
            fit_seed: seed of the density's fit.

        Returns:
            The retrained run as `CodedStrings`, and the codes (N, D) of the strings.
        """
        after = CodedStrings(retrained(self.run, strings, weights, epochs=epochs, seed=seed), self.name)
        codes = after.encode(strings)
        if isinstance(after.density, densities.Density):
            fresh = densities.make(after.density.name, **after.density.settings())
            after.density = fresh.fit(codes.float(), seed=fit_seed)
        return after, codes
