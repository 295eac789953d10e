"""The settings of a fit, as one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chartae.data import Reading
from chartae.training import OnEpoch, Training

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """The settings of `chartae.fit` except recipe and data.

    Attributes:
        latent_dim: number of code dimensions, >= 1; None (default) for the recipe's default.
        net: architecture of encoder and decoder, such as ``"mlp"``; ``"auto"`` (default) chooses by the data.
        densities: names of the densities to fit to the codes; None (default) for the recipe's.
        components: number of components of the mixture ``"gmm"``, >= 1; None (default) for 10, or for a number chosen
            by held-out likelihood if there are few rows (`chartae.densities.GaussianMixture`).
        to: the other domain, for a recipe that translates; None (default) otherwise.
        condition: ``"labels"``, names of columns, or values, one row for each example; None (default) for nothing.
        out: folder for the run; None (default) keeps it in memory only.
        root: folder of named data sets; None (default) for the environment variable ``CHARTAE_DATA``, or else a cache
            folder.
        overwrite: whether to replace a run in `out`; default False.
        resume: whether to continue from the checkpoint in `out`, or to start if there is none; default False.
        init: folder of a run of the same recipe and code size, with whose weights the training starts; None (default)
            for random weights.
        progress: whether to show progress; None (default) shows it on a terminal only.
        reading: how the data are read, such as the grammar of strings.
        training: how the objective is minimised: epochs, batch size, learning rate, seed, ...
        weight: weights of the rows, one for each row of in-memory data; None (default) for those of the data set.
        on_epoch: function that is called after each epoch, as in `chartae.training.fit`; None (default) for none.
        options: the recipe's own keywords, such as ``{"beta": 0.01}``.

    >>> from chartae.runs import Request
    >>> from chartae.training import Training
    >>> request = Request(latent_dim=8, training=Training(epochs=3), options={"beta": 0.01})
    >>> request.training.epochs, request.net, request.densities
    (3, 'auto', None)
    """

    latent_dim: int | None = None
    net: str = "auto"
    densities: Sequence[str] | None = None
    components: int | None = None
    to: object = None
    condition: object = None
    out: str | Path | None = None
    root: str | Path | None = None
    overwrite: bool = False
    resume: bool = False
    init: str | Path | None = None
    progress: bool | None = None
    weight: object = None
    on_epoch: OnEpoch | None = None
    reading: Reading = field(default_factory=Reading)
    training: Training = field(default_factory=Training)
    options: Mapping[str, object] = field(default_factory=dict)
