"""The stacks of `decoding`, walked row by row where numba compiles the loop: each choice as `StackDecoder` makes it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from chartae.grammar.earley import compiled

__all__ = ["Ways", "walk"]


class Ways(NamedTuple):
    """What may come of every nonterminal, as arrays."""

    option: np.ndarray  # (K, n) its productions
    options: np.ndarray  # (K,) how many of them there are
    inner: np.ndarray  # (P, w) the nonterminals of a right side, the last one first
    inners: np.ndarray  # (P,) how many of them there are
    steps: np.ndarray  # (P,) by how much a production moves the fewest steps that are needed, beside the one it is


@compiled
def walk(
    logits: np.ndarray,
    uniforms: np.ndarray,
    temperature: float,
    close: bool,
    start: int,
    least: int,
    ways: Ways,
    stack: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
    lengths: np.ndarray,
    complete: np.ndarray,
) -> None:
    """Derivations of logits (B, T, P) into `out` (B, T), which holds the padding: by the uniforms (B, T), or by the
    largest logits where there are none. Sums are in double precision, in the order of the productions."""
    option, options, inner, count, steps = ways.option, ways.options, ways.inner, ways.inners, ways.steps
    batch, limit = logits.shape[0], logits.shape[1]
    sample = uniforms.shape[0] > 0
    for b in range(batch):
        stack[0], height, need, t = start, 1, least, 0
        while height > 0 and t < limit:
            height -= 1
            top = stack[height]
            n = options[top]
            left = limit - t - need
            taken, most = -1, -math.inf
            for i in range(n):
                p = option[top, i]
                weights[i] = -math.inf
                if close and steps[p] > left:
                    continue
                score = float(logits[b, t, p])
                # a row of NaN or of -inf still gets an allowed production
                if not score >= -1e30:
                    score = -1e30
                score = min(score, 1e30)
                weights[i] = score
                if score > most:
                    taken, most = p, score
            if sample and n > 1:
                total = 0.0
                for i in range(n):
                    if weights[i] > -math.inf:
                        total += math.exp(max((weights[i] - most) / temperature, -80.0))
                    weights[i] = total
                level = uniforms[b, t] * total
                i = 0
                while weights[i] <= level:
                    i += 1
                taken = option[top, i]
            out[b, t] = taken
            for i in range(count[taken]):
                stack[height] = inner[taken, i]
                height += 1
            need += steps[taken] - 1
            t += 1
        lengths[b], complete[b] = t, height == 0
