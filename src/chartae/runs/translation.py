"""Runs that translate between two domains: their domains and translations."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.autoencoder import in_slices
from chartae.data import Dataset, split_views
from chartae.data import read as read_data
from chartae.data.kinds import Kind
from chartae.records.settings import IN_MEMORY
from chartae.runs.run import Run, fingerprint

__all__ = ["domain", "domain_kind", "same_pictures", "translate"]


def domain_kind(run: Run, name: str) -> Kind:
    """The kind of data of domain ``"A"``, what a run was fitted on, or ``"B"``, what it was fitted to.

    Raises:
        ValueError: a run of one domain, or another name.
    """
    s = run.settings
    if not run.translates:
        raise ValueError(
            f"this is a run of {s.recipe!r}, which has one domain; translation needs a run that was fitted to another "
            "one: chartae fit DATA --to OTHER, with a recipe that translates"
        )
    if name not in ("A", "B"):
        raise ValueError(
            f"there is no domain {name!r}; the run's two are A, the data it was fitted on ({s.data}), and B, "
            f"what it was fitted to ({s.to})"
        )
    return run.kind if name == "A" else Kind.from_dict(s.to_kind)


def same_pictures(run: Run) -> bool:
    """Whether the two domains are the same pictures, so that each was trained on a half of them."""
    s = run.settings
    return run.translates and s.data != IN_MEMORY and split_views(s.data)[0] == split_views(s.to)[0]


def domain(run: Run, name: str, root: str | Path | None = None) -> Dataset:
    """The data of a domain, loaded again.

    Raises:
        ValueError: no such domain; data that were in memory, or have changed.
    """
    kind, s = domain_kind(run, name), run.settings
    if (s.data if name == "A" else s.to) == IN_MEMORY:
        raise ValueError(
            f"domain {name} of this run was in memory, which it does not keep; name the data to translate (--data), "
            "or call translate with yours"
        )
    if name == "A":
        return run.data(root)
    data = read_data(s.to, kinds=[type(kind)], root=root or s.root or None)
    if tuple(data.shape) != s.to_shape or fingerprint(data.train) != s.to_fingerprint:
        raise ValueError(f"the training data of {data.name!r} are not those that the run was fitted to")
    return data


def translate(run: Run, x: object, to: str = "B", n: int = 8, *, seed: int = 0) -> Float[Tensor, "N n *S"]:
    """`n` translations of each example of the one domain into the other.

    Where a direction has no noise, its `n` draws are the same. Images are clipped to [0, 1].

    Args:
        run: one that translates.
        x: examples (N, ...) of the other domain than `to`, N >= 1, in any form that `fit` accepts.
        to: ``"B"``, or ``"A"`` for the way back.
        n: translations of each example, >= 1.
        seed: of the draws.

    Returns:
        (N, n, *S) in the units of the domain `to`.

    Raises:
        ValueError: another recipe's run, an unknown domain, examples of another shape, n below 1.
    """
    kind = domain_kind(run, to)
    inside = domain_kind(run, "A" if to == "B" else "B").read(x)
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one translation")
    part = run.model.encoder if to == "B" else run.model.decoder
    generator = torch.Generator(run.device).manual_seed(seed)
    # a slice becomes n times as large
    size = max(1, 1000 // n)
    out = in_slices(run.model, lambda a: part(a).sample(n, generator=generator).transpose(0, 1), inside, size=size)
    out = out.clamp(0, 1) if kind.unit else out
    return kind.outside(out.flatten(0, 1)).unflatten(0, out.shape[:2])
