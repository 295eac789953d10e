"""The ELBO gap of a linear-Gaussian model in closed form (arXiv:2206.02416)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from chartae.diagnostics import geometry, linear_gap
from papers.parts import Cell, Columns, Parts, Row, Rows, first, numbers, summary
from papers.table import Request, reproduction

__all__ = ["ima_linear"]

GAMMAS = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)


def gap_at(k: int) -> Cell:
    """Cell with the gap at one of the `GAMMAS`."""
    return lambda rows: f"{rows[k]['gap']:.6f}"


COLUMNS: Columns = {
    "n x d": lambda rows: f"{rows[0]['n']} x {rows[0]['d']}",
    **{f"{gamma2:.0e}": gap_at(k) for k, gamma2 in enumerate(GAMMAS)},
    "c_IMA(A)": first("contrast", ".6f"),
    "worst error": lambda rows: f"{max(numbers(rows, 'worst')):.1e}",
}


@reproduction("ima-linear")
def ima_linear(request: Request) -> Row:
    """The linear-Gaussian identity log p - ELBO* = ½ (Σ log Λ_kk - log det Λ), with both sides in closed form."""
    parts = Parts(request, "ima-linear")
    part = parts.make("linear", gaps)
    parts.write("log p - ELBO*, in nats, for each gamma²\n\n" + summary(part.result, COLUMNS, "n", "d"))
    return {"linear": part.row()}


def gaps() -> Rows:
    rows: Rows = []
    for n, d in ((3, 3), (5, 3), (20, 8)):
        g = torch.Generator().manual_seed(0)
        A = torch.randn(n, d, generator=g, dtype=torch.float64)
        z, e = (torch.randn(8, k, generator=g, dtype=torch.float64) for k in (d, n))
        contrast = float(geometry(lambda z, A=A: z @ A.T, torch.zeros(1, d, dtype=A.dtype)).contrast)
        for gamma2 in GAMMAS:
            x = z @ A.T + e / math.sqrt(gamma2)
            exact = linear_gap(A, gamma2)
            direct = log_likelihood(A, gamma2, x) - best_elbo(A, gamma2, x)
            rows.append({
                "n": n, "d": d, "gamma2": gamma2, "gap": float(exact), "contrast": contrast,
                "worst": float((direct - exact).abs().max()),
            })  # fmt: skip
    return rows


def log_likelihood(A: Tensor, gamma2: float, x: Tensor) -> Tensor:
    """log N(x; 0, A Aᵀ + I / gamma²), in the axes of A, where the residual outside its image keeps its precision."""
    U, s, _ = torch.linalg.svd(A, full_matrices=False)
    along = x @ U
    off = x - along @ U.T
    variance = s.square() + 1 / gamma2
    n, d = A.shape
    quadratic = (along.square() / variance).sum(1) + gamma2 * off.square().sum(1)
    return -0.5 * (quadratic + variance.log().sum() - (n - d) * math.log(gamma2) + n * math.log(2 * math.pi))


def best_elbo(A: Tensor, gamma2: float, x: Tensor) -> Tensor:
    """The ELBO with the best factorised posterior, term by term."""
    n, d = A.shape
    precision = torch.eye(d, dtype=A.dtype) + gamma2 * A.T @ A
    m = gamma2 * torch.linalg.solve(precision, A.T @ x.T).T
    v = 1 / precision.diagonal()
    error = (x - m @ A.T).square().sum(1) + (v * A.square().sum(0)).sum()
    divergence = 0.5 * (m.square().sum(1) + (v - 1 - v.log()).sum())
    return -0.5 * n * math.log(2 * math.pi / gamma2) - 0.5 * gamma2 * error - divergence
