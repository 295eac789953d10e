"""Runs that translate between two domains: their data and their translations."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.autoencoder import in_slices
from chartae.data import Dataset, split_views
from chartae.data.kinds import Kind
from chartae.records.settings import IN_MEMORY
from chartae.runs.reading import options_like
from chartae.runs.run import Run, fingerprint
from chartae.runs.sources import reread

__all__ = ["domain", "domain_kind", "same_pictures", "translate"]


def domain_kind(run: Run, name: str) -> Kind:
    """The kind of data of one domain of a run that translates.

    Args:
        run: a run that translates.
        name: ``"A"`` for the domain given to `chartae.fit` as `data`, ``"B"`` for the one given as `to`.

    Returns:
        The kind, which reads examples of the domain.

    Raises:
        ValueError: the run has one domain, or the name is another.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.runs import domain_kind
    >>> a, b = torch.randn(10, 2), torch.randn(10, 3)
    >>> run = ch.fit("iae-translate", a, to=b, epochs=1, progress=False)
    >>> domain_kind(run, "A").shape, domain_kind(run, "B").shape
    ((2,), (3,))
    """
    s = run.settings
    if not run.translates:
        raise ValueError(
            f"this is a run of {s.recipe!r}, which has one domain; expected a run that translates between two. Fit one "
            "with `to` (chartae fit DATA --to OTHER) and a recipe that translates"
        )
    if name not in ("A", "B"):
        raise ValueError(
            f"domain is {name!r}; expected 'A', the data that the run was fitted on ({s.data}), or 'B', the data that "
            f"it translates them to ({s.to})"
        )
    return run.kind if name == "A" else Kind.from_dict(s.to_kind)


def same_pictures(run: Run) -> bool:
    """Whether the two domains of a run hold the same images, as mnist and mnist+coloured do.

    Each domain was then trained on another half of the images, so that no pairs occurred.

    Args:
        run: any run.

    Returns:
        False for a run that does not translate, and for in-memory data.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.runs import same_pictures
    >>> same_pictures(ch.fit("rae", torch.randn(64, 3), epochs=1, densities=(), progress=False))
    False
    """
    s = run.settings
    return run.translates and s.data != IN_MEMORY and split_views(s.data)[0] == split_views(s.to)[0]


def domain(run: Run, name: str, root: str | Path | None = None) -> Dataset:
    """Reload the data set of one domain of a run that translates.

    Args:
        run: a run that translates.
        name: ``"A"`` for the domain given to `chartae.fit` as `data`, ``"B"`` for the one given as `to`.
        root: folder of named data sets; None (default) for that of the fit.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: the files are not there; nothing is downloaded.
        ValueError: the run has one domain, the name is another, the data were in memory, or they have changed.

    >>> import warnings
    >>> import chartae as ch
    >>> from chartae.runs import domain
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # after one epoch the decoder may still ignore the code
    ...     run = ch.fit("iae-translate", "mixture-2d", to="spiral", epochs=1, batch_size=1000, progress=False)
    >>> domain(run, "B").name
    'spiral'
    """
    kind, s = domain_kind(run, name), run.settings
    if (s.data if name == "A" else s.to) == IN_MEMORY:
        raise ValueError(
            f"domain {name} of this run was in memory, which it does not keep; name the data to translate (--data), "
            "or pass them to chartae.runs.translate"
        )
    if name == "A":
        return run.data(root)
    data = reread(s, kind, options_like(s.to, kind), root, other=True)
    if tuple(data.shape) != s.to_shape or fingerprint(data.train) != s.to_fingerprint:
        raise ValueError(
            f"the training data of {data.name!r} are not those that the run was fitted to; restore them, or fit again"
        )
    return data


def translate(run: Run, x: object, to: str = "B", n: int = 8, *, seed: int = 0) -> Float[Tensor, "N n *S"]:
    """Translate examples of one domain into the other, `n` times each.

    The encoder translates A to B, y ~ q(y|x), and the decoder B to A, x ~ p(x|y). If a direction is deterministic, its
    `n` translations are equal. Images are clipped to [0, 1].

    Args:
        run: a run that translates.
        x: examples (N, ...) of the domain to translate from, N >= 1, in any form that `fit` accepts.
        to: domain to translate to: ``"B"`` (default), or ``"A"`` for the reverse.
        n: number of translations of each example, >= 1; default 8.
        seed: seed of the draws; default 0.

    Returns:
        Translations (N, n, *S), in the units of the domain `to`.

    Raises:
        ValueError: the run has one domain, `to` is not one of its domains, the examples have another shape, or `n` is
            below 1.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.runs import translate
    >>> a, b = torch.randn(10, 2), torch.randn(10, 3)
    >>> run = ch.fit("iae-translate", a, to=b, epochs=1, progress=False)
    >>> translate(run, a[:5], "B", n=4).shape, translate(run, b[:5], "A", n=1).shape
    (torch.Size([5, 4, 3]), torch.Size([5, 1, 2]))
    """
    kind = domain_kind(run, to)
    inside = domain_kind(run, "A" if to == "B" else "B").read(x)
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one translation")
    conditional = run.model.encoder if to == "B" else run.model.decoder
    generator = torch.Generator(run.device).manual_seed(seed)
    size = max(1, 1000 // n)  # each slice grows by a factor of n
    out = in_slices(
        run.model, lambda batch: conditional(batch).sample(n, generator=generator).transpose(0, 1), inside, size=size
    )
    out = out.clamp(0, 1) if kind.unit else out
    return kind.outside(out.flatten(0, 1)).unflatten(0, out.shape[:2])
