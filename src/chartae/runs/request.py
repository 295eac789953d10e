"""Everything that a fit is asked for, as one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chartae.data import Reading
from chartae.training import Training

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """What `chartae.fit` is asked for beside recipe and data.

    Attributes:
        latent_dim, net, densities, components, to, condition: as in `chartae.fit`.
        out, root, overwrite, resume, progress: as in `chartae.fit`.
        reading: how the data are read.
        training: how the objective is minimised.
        options: the recipe's own.
    """

    latent_dim: int | None = None
    net: str = "auto"
    densities: Sequence[str] | None = None
    components: int = 10
    to: object = None
    condition: object = None
    out: str | Path | None = None
    root: str | Path | None = None
    overwrite: bool = False
    resume: bool = False
    progress: bool | None = None
    reading: Reading = field(default_factory=Reading)
    training: Training = field(default_factory=Training)
    options: Mapping[str, object] = field(default_factory=dict)
