"""A run as a search sees it. This is the only module of the package that knows runs."""

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
    """Strings, their codes and the density of these, by a run.

    Args:
        run: of a recipe over strings.
        density: name of the density that bounds the search, None for the run's own choice, ``none`` for none.

    Attributes:
        density: that density; None without.

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
        """Codes of strings, or of rows of the data, in double precision on the CPU."""
        return self.run.encode(x).detach().to("cpu").double()

    def decode(self, z: Float[Tensor, "N D"], draws: int, seed: int) -> Sequence[Sequence[str]]:
        """Strings of each code, the likeliest first."""
        return decode_draws(self.run, z.float(), draws, seed=seed)

    def retrained(
        self, strings: Sequence[str], weights: Float[Tensor, " N"], *, epochs: int, seed: int, fit_seed: int
    ) -> tuple[CodedStrings, Float[Tensor, "N D"]]:
        """The same with a run that was trained on for some epochs, and the codes of the strings.

        A fitted density is fitted to the new codes.

        Args:
            strings: drawn with these weights in training.
            weights: one of each string, 0 or more.
            epochs: passes over the strings.
            seed: of the training.
            fit_seed: of the density.
        """
        after = CodedStrings(retrained(self.run, strings, weights, epochs=epochs, seed=seed), self.name)
        codes = after.encode(strings)
        if isinstance(after.density, densities.Density):
            fresh = densities.make(after.density.name, **after.density.settings())
            after.density = fresh.fit(codes.float(), seed=fit_seed)
        return after, codes
