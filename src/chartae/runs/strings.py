"""Runs on strings: draws of one code, the property that a head reads, and training on weighted strings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from chartae.autoencoder import in_slices
from chartae.data import Batches
from chartae.grammar import Codec, needed
from chartae.objectives import Predicting
from chartae.runs.run import Run
from chartae.training import fit

__all__ = ["codec_of", "decode_draws", "properties", "retrained"]


def codec_of(run: Run) -> Codec:
    """What the indices of a run on strings mean; a ValueError for other runs."""
    return needed(run.kind.codec, f"this is a run of {run.settings.recipe!r} on {run.kind.noun}: strings")


def decode_draws(run: Run, z: Tensor, draws: int = 1, *, seed: int = 0) -> list[list[str]]:
    """Strings of each code: the most probable one, step by step, then `draws` - 1 that are drawn from p(x|z).

    With a grammar every string is in its language.

    Args:
        run: a run on strings.
        z: codes (N, D).
        draws: strings of each code, >= 1.
        seed: of the draws.
    """
    codec_of(run)
    if draws < 1:
        raise ValueError(f"draws is {draws}; ask for at least one string a code")
    generator = torch.Generator(run.device).manual_seed(seed)
    rows = [run.decode_inside(z)]
    for _ in range(draws - 1):
        rows.append(in_slices(run.model, lambda part: run.model.decoder(part).sample(generator=generator), z))
    texts = [_texts(run, x) for x in rows]
    return [list(row) for row in zip(*texts, strict=True)]


def _texts(run: Run, x: Tensor) -> list[str]:
    texts = run.restore(x)
    assert isinstance(texts, list)
    return texts


def properties(run: Run, strings: Sequence[str]) -> Float[Tensor, " N"]:
    """What the head reads off the codes of strings, in the units of the target; a ValueError without a head."""
    objective = run.objective
    if not isinstance(objective, Predicting):
        raise ValueError("this run has learnt no property; fit it with a target")
    return in_slices(objective, objective.predict, run.encode(strings))


def retrained(run: Run, strings: Sequence[str], weights: Float[Tensor, " N"], *, epochs: int = 1, seed: int = 0) -> Run:
    """A run whose model was trained on for some epochs over `strings`, drawn with these weights.

    Weighted retraining: Tripp, Daxberger, Hernández-Lobato, 2020 (arXiv 2006.09191). The run itself stays as it is;
    the new one has no folder, and its densities are the old ones.

    Args:
        run: a run on strings.
        strings: N of them; those that cannot be encoded are left out.
        weights: (N,), >= 0.
        epochs: over as many draws as there are strings, >= 1.
        seed: of the draws and the training.

    Raises:
        ValueError: another number of weights than of strings, weights below 0 or all 0, no string that can be encoded.
    """
    codec = codec_of(run)
    weights = torch.as_tensor(weights).double().cpu()
    if len(weights) != len(strings) or not len(weights) or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(f"there are {len(strings)} strings and {len(weights)} weights; give one of 0 or above each")
    rows = codec.encode(strings, errors="skip")
    if not len(rows):
        raise ValueError(f"none of the {len(strings)} strings can be encoded")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(weights[rows.kept], len(rows), replacement=True, generator=generator)
    objective = copy.deepcopy(run.objective)
    # the head does not learn from these strings
    learner = objective.inner if isinstance(objective, Predicting) else objective
    s = run.settings
    x = run.kind.read([strings[int(i)] for i in rows.kept])
    batches = Batches(x[drawn], min(s.batch_size, len(rows)), seed=seed)
    fit(learner, batches, epochs=epochs, lr=s.lr, cosine=True, seed=seed, progress=False)
    objective.eval()
    return replace(run, objective=objective, model=objective.model, folder=None, densities=dict(run.densities))
