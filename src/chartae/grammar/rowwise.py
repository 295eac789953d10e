"""Decoding of one row after another, in a loop that numba compiles; it makes the same choices as the batched steps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from chartae.grammar.earley import compiled

__all__ = ["Choices", "decode_rows"]


class Choices(NamedTuple):
    """The productions of every nonterminal, as arrays."""

    productions: np.ndarray  # (K, n) production numbers of each nonterminal, padded
    counts: np.ndarray  # (K,) number of productions of each nonterminal
    children: np.ndarray  # (P, w) nonterminals on the right side of each production, the last one first, padded
    child_counts: np.ndarray  # (P,) number of these nonterminals
    excess: np.ndarray  # (P,) steps beyond those of the cheapest production of the same nonterminal


@compiled
def decode_rows(
    logits: np.ndarray,
    uniforms: np.ndarray,
    temperature: float,
    close: bool,
    start: int,
    least: int,
    choices: Choices,
    stack: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
    lengths: np.ndarray,
    complete: np.ndarray,
) -> None:
    """Write derivations of logits (B, T, P) into `out` (B, T), which must be filled with the padding.

    With uniforms (B, T) in [0, 1) productions are drawn; with uniforms of shape (0, 0) the production of the largest
    logit is taken. Sums are in double precision, in the order of the productions.
    """
    productions, counts = choices.productions, choices.counts
    children, child_counts, excess = choices.children, choices.child_counts, choices.excess
    batch, limit = logits.shape[0], logits.shape[1]
    sample = uniforms.shape[0] > 0
    for b in range(batch):
        stack[0], height, need, t = start, 1, least, 0
        while height > 0 and t < limit:
            height -= 1
            top = stack[height]
            n = counts[top]
            left = limit - t - need
            taken, most = -1, -math.inf
            for i in range(n):
                p = productions[top, i]
                weights[i] = -math.inf
                if close and excess[p] > left:
                    continue
                logit = float(logits[b, t, p])
                # a row of NaN or of -inf still gets an allowed production
                if not logit >= -1e30:
                    logit = -1e30
                logit = min(logit, 1e30)
                weights[i] = logit
                if logit > most:
                    taken, most = p, logit
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
                taken = productions[top, i]
            out[b, t] = taken
            for i in range(child_counts[taken]):
                stack[height] = children[taken, i]
                height += 1
            need += excess[taken] - 1
            t += 1
        lengths[b], complete[b] = t, height == 0
