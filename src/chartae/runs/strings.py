"""Runs on strings: several decoded strings a code, predicted properties, and retraining on weighted strings."""

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
    """The codec of a run on strings, which encodes strings as rows of indices and decodes them.

    Args:
        run: a run on strings.

    Returns:
        The codec, such as a grammar.

    Raises:
        ValueError: the run is not on strings.

    >>> import chartae as ch
    >>> from chartae.runs import codec_of
    >>> strings = ["x", "x+1", "x*2", "sin(x)", "exp(x)", "x/3"] * 10
    >>> run = ch.fit("grae", strings, grammar="expressions", latent_dim=2, epochs=1, net="gru", densities=(),
    ...              progress=False)
    >>> codec_of(run).name
    'expressions'
    """
    return needed(run.kind.codec, f"this is a run of {run.settings.recipe!r} on {run.kind.noun}: strings")


def decode_draws(run: Run, z: Tensor, draws: int = 1, *, seed: int = 0) -> list[list[str]]:
    """Decode each code to several strings: the greedy one, then `draws` - 1 samples of p(x|z).

    The greedy string takes the most probable index at each step. With a grammar, all strings are in its language.

    Args:
        run: a run on strings.
        z: codes (N, D).
        draws: number of strings for each code, >= 1; default 1.
        seed: seed of the samples; default 0.

    Returns:
        A list of `draws` strings for each of the N codes.

    Raises:
        ValueError: the run is not on strings, or `draws` is below 1.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.runs import decode_draws
    >>> strings = ["x", "x+1", "x*2", "sin(x)", "exp(x)", "x/3"] * 10
    >>> run = ch.fit("grae", strings, grammar="expressions", latent_dim=2, epochs=1, net="gru", densities=(),
    ...              progress=False)
    >>> draws = decode_draws(run, torch.zeros(4, 2), draws=3)
    >>> len(draws), [len(row) for row in draws]
    (4, [3, 3, 3, 3])
    """
    codec_of(run)
    if draws < 1:
        raise ValueError(f"draws is {draws}; ask for at least one string for each code")
    generator = torch.Generator(run.device).manual_seed(seed)
    rows = [run.decode_inside(z)]
    for _ in range(draws - 1):
        rows.append(in_slices(run.model, lambda codes: run.model.decoder(codes).sample(generator=generator), z))
    texts = [_texts(run, x) for x in rows]
    return [list(row) for row in zip(*texts, strict=True)]


def _texts(run: Run, x: Tensor) -> list[str]:
    texts = run.restore(x)
    assert isinstance(texts, list)
    return texts


def properties(run: Run, strings: Sequence[str]) -> Float[Tensor, " N"]:
    """Predict the property of strings from their codes, by the head that was trained with `target`.

    Args:
        run: a run on strings that was fitted with a `target`.
        strings: N strings.

    Returns:
        Predictions (N,), in the units of the target.

    Raises:
        ValueError: the run has no head, or a string cannot be encoded.

    >>> import chartae as ch
    >>> from chartae.runs import properties
    >>> strings = ["x", "x+1", "x*2", "sin(x)", "exp(x)", "x/3"] * 10
    >>> lengths = [float(len(string)) for string in strings]
    >>> run = ch.fit("grae", strings, grammar="expressions", target=lengths, latent_dim=2, epochs=1, net="gru",
    ...              densities=(), progress=False)
    >>> properties(run, ["x", "sin(x)"]).shape
    torch.Size([2])
    """
    objective = run.objective
    if not isinstance(objective, Predicting):
        raise ValueError("this run has learnt no property; fit it with target")
    return in_slices(objective, objective.predict, run.encode(strings))


def retrained(run: Run, strings: Sequence[str], weights: Float[Tensor, " N"], *, epochs: int = 1, seed: int = 0) -> Run:
    """Continue the training of a run on weighted strings; the run itself is left unchanged.

    It trains on as many strings as are passed, drawn once with replacement, with probabilities proportional to the
    weights. Weighted retraining: Tripp, Daxberger, Hernández-Lobato, 2020 (arXiv 2006.09191).

    Args:
        run: a run on strings.
        strings: N strings; those that cannot be encoded are left out.
        weights: weights (N,), >= 0, not all 0.
        epochs: number of passes over the drawn strings, >= 1; default 1.
        seed: seed of the draws and the training; default 0.

    Returns:
        A new run, in memory only. Its densities are those of `run`, which are not fitted to the new codes.

    Raises:
        ValueError: the run is not on strings, there is not one weight for each string, a weight is below 0, all are 0,
            or no string can be encoded.

    >>> import torch
    >>> import chartae as ch
    >>> from chartae.runs import retrained
    >>> strings = ["x", "x+1", "x*2", "sin(x)", "exp(x)", "x/3"] * 10
    >>> run = ch.fit("grae", strings, grammar="expressions", latent_dim=2, epochs=1, net="gru", densities=(),
    ...              progress=False)
    >>> new = retrained(run, ["x", "x+1"], torch.tensor([1.0, 3.0]))
    >>> torch.equal(new.encode(["x"]), run.encode(["x"]))
    False
    """
    codec = codec_of(run)
    weights = torch.as_tensor(weights).double().cpu()
    if len(weights) != len(strings) or not len(weights) or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(
            f"there are {len(strings)} strings and {len(weights)} weights; expected one weight >= 0 for each string, "
            "not all 0"
        )
    rows = codec.encode(strings, errors="skip")
    if not len(rows):
        raise ValueError(f"none of the {len(strings)} strings can be encoded; give strings that the run's codec reads")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(weights[rows.kept], len(rows), replacement=True, generator=generator)
    objective = copy.deepcopy(run.objective)
    # the strings have no targets, so the head cannot learn from them
    learner = objective.inner if isinstance(objective, Predicting) else objective
    s = run.settings
    x = run.kind.read([strings[int(i)] for i in rows.kept])
    batches = Batches(x[drawn], min(s.batch_size, len(rows)), seed=seed)
    fit(learner, batches, epochs=epochs, lr=s.lr, cosine=True, seed=seed, progress=False)
    objective.eval()
    return replace(run, objective=objective, model=objective.model, folder=None, densities=dict(run.densities))
