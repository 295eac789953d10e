"""Metrics of how well codes recover the factors that generated the data.

Some compare up to permutation and scale (`mcc`, `affine_r2`), the others measure disentanglement. Every function takes
two matrices with one row per example, tensors or arrays: true factors (N, K) and learnt codes (N, D). They compute in
float64 on the CPU.

A metric that distinguishes discrete from continuous factors treats a column as discrete if its dtype is integer or
boolean, or if it takes at most 64 values, each in at least two rows on average; any other column is continuous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import nan, pi, sqrt

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["DCI", "MCC", "UDR", "affine_r2", "dci", "factor_vae", "mcc", "mig", "modularity", "sap", "udr"]

#: a floating-point column with at most this many values is discrete
DISCRETE = 64


@dataclass(frozen=True, eq=False)
class MCC:
    """Mean correlation coefficient of codes and factors, with the matching and two baselines; returned by `mcc`.

    ``float(result)`` is `value`; ``str(result)`` adds the baselines.

    Attributes:
        value: the coefficient, from 0 to 1.
        matching: for each factor, the index of the code matched to it, on all rows (K,).
        correlations: signed correlation of each factor with each code, on all rows (K, D).
        chance: mean coefficient of codes that are independent of the factors; NaN without baselines.
        chance_sd: standard deviation of one such coefficient; NaN without baselines.
        rotation: mean coefficient of randomly rotated factors; NaN without baselines.
        rotation_sd: standard deviation of one such coefficient; NaN without baselines.

    >>> import torch
    >>> from chartae.metrics import mcc
    >>> z = torch.eye(4, dtype=torch.float64)[:, :2]
    >>> result = mcc(z, -z.flip(1), baselines=False)
    >>> round(result.value, 9), result.matching
    (1.0, (1, 0))
    """

    value: float
    matching: tuple[int, ...]
    correlations: Float[Tensor, "K D"]
    chance: float
    chance_sd: float
    rotation: float
    rotation_sd: float

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return (
            f"{self.value:.3f} (chance {self.chance:.3f} ± {self.chance_sd:.3f},"
            f" rotation {self.rotation:.3f} ± {self.rotation_sd:.3f})"
        )


@dataclass(frozen=True, eq=False)
class DCI:
    """Disentanglement, completeness and informativeness of codes; returned by `dci`.

    Attributes:
        disentanglement: whether each code matters for one factor only, from 0 to 1.
        completeness: whether each factor depends on one code only, from 0 to 1.
        informativeness: how well the codes predict the factors, at most 1: mean of accuracy (discrete factors) and R^2
            (continuous factors) on test rows.
        importance: importance of each code for each factor (D, K); a column sums to 1, or is 0 if no code helps.

    >>> import torch
    >>> from chartae.metrics import dci
    >>> z = torch.randint(0, 2, (60, 2), generator=torch.Generator().manual_seed(0))
    >>> dci(z, z.flip(1)).importance.round(decimals=3)
    tensor([[0., 1.],
            [1., 0.]], dtype=torch.float64)
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Float[Tensor, "D K"]


@dataclass(frozen=True, eq=False)
class UDR:
    """Unsupervised disentanglement ranking of M models; returned by `udr`.

    Attributes:
        scores: metric of each model (M,), the median over its pairs; from 0 to 1, higher is better.
        pairs: metric of each pair of models (M, M); symmetric, NaN on the diagonal.

    >>> import torch
    >>> from chartae.metrics import udr
    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> udr([z, z.flip(1)]).pairs.round(decimals=9)
    tensor([[nan, 1.],
            [1., nan]], dtype=torch.float64)
    """

    scores: Float[Tensor, " M"]
    pairs: Float[Tensor, "M M"]


# -- input ---------------------------------------------------------------------------------------------------


def _matrix(values: ArrayLike, what: str) -> np.ndarray:
    """The values as a finite real matrix; integers and booleans keep their dtype."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    x: np.ndarray = np.asarray(values)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{what} are {x.dtype}; expected real numbers")
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(
            f"{what} have shape {x.shape}; expected a matrix with one row per example. For one column pass x[:, None]"
        )
    if len(x) < 3:
        raise ValueError(f"{what} have {len(x)} rows; expected at least 3")
    bad = ~np.isfinite(x).all(1)
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {len(x)} rows of {what} are not finite (the first is row {bad.argmax()}); "
            "expected finite numbers. Drop these rows"
        )
    return x


def _read(factors: ArrayLike, codes: ArrayLike) -> tuple[np.ndarray, Float[np.ndarray, "N D"]]:
    """Check factors and codes; codes become float64, integer factors keep their dtype."""
    y, c = _matrix(factors, "the factors"), _matrix(codes, "the codes").astype(np.float64)
    if len(y) != len(c):
        raise ValueError(
            f"the factors have {len(y)} rows and the codes {len(c)}; expected equal numbers. Row n of both must be "
            "example n"
        )
    for j, constant in enumerate((y == y[0]).all(0)):
        if constant:
            raise ValueError(
                f"factor {j} is {y[0, j]} in every row; expected a factor that varies. No code can recover a "
                "constant: drop that column"
            )
    return y, c


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected {' or '.join(repr(c) for c in choices)}")


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}; expected at least {least}")


def _levels(column: np.ndarray) -> Int[np.ndarray, " N"] | None:
    """The values of a discrete factor, numbered 0, 1, ...; None for a continuous factor."""
    values, levels = np.unique(column, return_inverse=True)
    if column.dtype.kind in "biu" or len(values) <= min(DISCRETE, len(column) // 2):
        return levels.astype(np.int64)
    return None


def _binned(column: np.ndarray, bins: int) -> Int[np.ndarray, " N"]:
    """A factor as numbers 0, 1, ...: its values if it is discrete, else bins of equal count."""
    levels = _levels(column)
    if levels is None:
        edges = np.quantile(column, np.arange(1, bins) / bins)
        levels = np.unique(np.searchsorted(edges, column, side="right"), return_inverse=True)[1].astype(np.int64)
    return levels


def _split(n: int, n_train: int, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random training rows and test rows; if there are fewer than asked for, at most a third is for testing."""
    _check_least("n_train", n_train, 2)
    _check_least("n_test", n_test, 1)
    if n < n_train + n_test:
        n_test = min(n_test, n // 3)
        n_train = min(n_train, n - n_test)
    rows = np.random.default_rng(seed).permutation(n)
    return rows[:n_train], rows[n_train : n_train + n_test]


def _check_varies(levels: np.ndarray, j: int) -> None:
    if (levels == levels[0]).all():
        raise ValueError(
            f"factor {j} takes a single value in all {len(levels)} training rows; expected at least two values. "
            "Raise n_train, or give more rows"
        )


# -- correlation ---------------------------------------------------------------------------------------------


def _unit(x: Float[np.ndarray, "*B N D"]) -> Float[np.ndarray, "*B N D"]:
    """Columns of mean 0 and norm 1; constant columns are 0."""
    x = x - x.mean(-2, keepdims=True)
    constant = x.max(-2, keepdims=True) == x.min(-2, keepdims=True)
    # scaled by the largest value first, so that squares neither overflow nor underflow
    x = np.where(constant, 0, x / np.where(constant, 1, np.abs(x).max(-2, keepdims=True)))
    return x / np.where(constant, 1, np.linalg.norm(x, axis=-2, keepdims=True))


def _ranks(x: Float[np.ndarray, "*B N D"]) -> Float[np.ndarray, "*B N D"]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(x, axis=-2), np.float64)


def _products(x: Float[np.ndarray, "*B N K"], y: Float[np.ndarray, "*B N D"]) -> Float[np.ndarray, "*B K D"]:
    return np.asarray(np.clip(np.swapaxes(x, -1, -2) @ y, -1, 1))


def _match(correlations: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The largest mean absolute correlation over one-to-one matchings, and the code matched to each factor."""
    from scipy.optimize import linear_sum_assignment

    strength = np.abs(correlations)
    rows, columns = linear_sum_assignment(strength, maximize=True)
    return float(strength[rows, columns].mean()), tuple(int(i) for i in columns)


@cache
def _rotation_baseline(k: int, draws: int = 2000) -> tuple[float, float]:
    """Mean and standard deviation of the MCC of randomly rotated factors, in the limit N -> infinity."""
    if k == 1:
        return 1.0, 0.0
    if k == 2:  # max(|cos|, |sin|) of a uniform angle
        return 2 * sqrt(2) / pi, sqrt(0.5 + 1 / pi - 8 / pi**2)
    # Haar but for the signs of columns, which |correlation| ignores
    rotations = np.linalg.qr(np.random.default_rng(0).standard_normal((draws, k, k))).Q
    values = [_match(q)[0] for q in rotations]
    return float(np.mean(values)), float(np.std(values, ddof=1))


def mcc(
    z_true: Tensor | np.ndarray,
    z_learnt: Tensor | np.ndarray,
    *,
    kind: str = "pearson",
    protocol: str = "full",
    batch: int = 64,
    baselines: bool = True,
    seed: int = 0,
) -> MCC:
    """Mean correlation coefficient of factors z_j and codes c_i under the best one-to-one matching m:

        max_m 1/K sum_j abs(corr(z_j, c_m(j))),     D >= K.

    It is 1 if the codes equal the factors up to permutation, sign and scale; with ``kind="spearman"``, up to
    permutation and strictly monotone maps. A constant code has correlation 0. A collapsed code that is not exactly
    constant may still correlate, so look at the KL of each dimension as well.

    Compare a value with both baselines in the result:

    - `chance` is the mean over random permutations of the codes' rows under the same protocol: 100 permutations, or
      20 for large inputs.
    - `rotation` is the mean for factors after a Haar random rotation (K = D, uncorrelated factors, N -> infinity). A
      model without identifiability reaches it: 0.900, 0.828, 0.774 for K = 2, 3, 4.

    Hyvärinen, Morioka, "Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear ICA", 2016
    (arXiv 1605.06336).

    Args:
        z_true: true factors (N, K), none of them constant, N >= 3.
        z_learnt: learnt codes (N, D) of the same examples, D >= K.
        kind: correlation, ``"pearson"`` or ``"spearman"``; default ``"pearson"``.
        protocol: ``"full"`` (default) matches once, on all rows. ``"batches"`` matches separately in each block of
            `batch` rows and averages; rows after the last full block are dropped. Small blocks bias the value upwards:
            independent codes give 0.15 for blocks of 64 and K = D = 3.
        batch: rows of a block under ``"batches"``, from 3 to N; default 64.
        baselines: whether to compute `chance` and `rotation`; default True.
        seed: seed of the permutations for `chance`; default 0.

    Returns:
        The coefficient with its matching (K,), correlations (K, D) and baselines; matching and correlations are those
        of all rows under either protocol.

    Raises:
        ValueError: `kind` or `protocol` is unknown; there are fewer codes than factors, different numbers of rows, or
            fewer than 3 rows; a value is not finite; a factor is constant; `batch` is below 3 or above N.
        TypeError: the values are not real numbers.

    >>> import torch
    >>> from chartae.metrics import mcc
    >>> z = torch.rand(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> result = mcc(z, torch.stack([-3 * z[:, 1], z[:, 0] + 5], 1))
    >>> round(float(result), 9), result.matching, round(result.rotation, 4)
    (1.0, (1, 0), 0.9003)
    """
    _check_choice("kind", kind, ("pearson", "spearman"))
    _check_choice("protocol", protocol, ("full", "batches"))
    z, c = _read(z_true, z_learnt)
    z = z.astype(np.float64)
    n, k = z.shape
    if c.shape[1] < k:
        raise ValueError(
            f"there are {c.shape[1]} codes for {k} factors; expected at least {k}, since each factor is matched to a "
            "different code"
        )
    if protocol == "batches":
        _check_least("batch", batch, 3)
        if batch > n:
            raise ValueError(f"batch is {batch}; expected a number from 3 to {n}, the number of rows")

    def whole(x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "B n D"]:
        return _unit(_ranks(x) if kind == "spearman" else x)[None]

    def batches(x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "B n D"]:
        x = x[: n // batch * batch].reshape(-1, batch, x.shape[1])
        return _unit(_ranks(x) if kind == "spearman" else x)

    def value(a: Float[np.ndarray, "B n K"], b: Float[np.ndarray, "B n D"]) -> float:
        return float(np.mean([_match(r)[0] for r in _products(a, b)]))

    truth, learnt = whole(z), whole(c)
    correlations = _products(truth, learnt)[0]
    result, matching = _match(correlations)
    if protocol == "batches":
        truth = batches(z)
        result = value(truth, batches(c))
    chance = chance_sd = rotation = rotation_sd = nan
    if baselines:
        rng = np.random.default_rng(seed)
        orders = (rng.permutation(n) for _ in range(100 if c.size <= 1e5 else 20))
        if protocol == "full":
            values = [value(truth, learnt[:, order]) for order in orders]
        else:
            values = [value(truth, batches(c[order])) for order in orders]
        chance, chance_sd = float(np.mean(values)), float(np.std(values, ddof=1))
        rotation, rotation_sd = _rotation_baseline(k)
    return MCC(result, matching, torch.from_numpy(correlations), chance, chance_sd, rotation, rotation_sd)


def affine_r2(z_true: Tensor | np.ndarray, z_learnt: Tensor | np.ndarray) -> Float[Tensor, " K"]:
    """Coefficient of determination R^2 of the least-squares fit of each factor by the codes and a constant.

        R^2_j = 1 - min_{w, b} sum_n (z_nj - w.c_n - b)^2 / sum_n (z_nj - mean_j)^2.

    It is 1 if the factor is an affine function of the codes, whatever their rotation. If the codes are independent
    of the factor, its mean is D / (N - 1). The fit and R^2 use the same rows.

    Args:
        z_true: true factors (N, K), none of them constant.
        z_learnt: learnt codes (N, D) of the same examples, N >= D + 2.

    Returns:
        R^2 of each factor (K,), from 0 to 1, float64; ``affine_r2(...).mean()`` is the mean over factors.

    Raises:
        ValueError: there are different numbers of rows, or fewer than 3 or D + 2 rows (D + 1 rows fit any factor
            exactly); a value is not finite; a factor is constant.
        TypeError: the values are not real numbers.

    >>> import torch
    >>> from chartae.metrics import affine_r2
    >>> z = torch.rand(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> affine_r2(z, z @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64) + 2).mean().round(decimals=9)
    tensor(1., dtype=torch.float64)
    """
    z, c = _read(z_true, z_learnt)
    if len(z) < c.shape[1] + 2:
        raise ValueError(
            f"there are {len(z)} rows for {c.shape[1]} codes; expected at least {c.shape[1] + 2}. With fewer, the "
            "codes fit any factor exactly"
        )
    target, codes = _unit(z.astype(np.float64)), _unit(c)
    residual = target - codes @ np.linalg.lstsq(codes, target, rcond=None)[0]
    return torch.from_numpy(np.clip(1 - np.square(residual).sum(0), 0, 1))


# -- disentanglement -----------------------------------------------------------------------------------------


def _impurity(weights: Float[np.ndarray, "M L"]) -> Float[np.ndarray, " M"]:
    """Entropy of each normalised row, to the base of its length: 1 for equal weights, 0 for a single weight."""
    if weights.shape[1] == 1:
        return np.zeros(len(weights))
    p = weights + 1e-11
    p = p / p.sum(1, keepdims=True)
    return np.asarray(-(p * np.log(p)).sum(1) / np.log(weights.shape[1]))


def dci(
    factors: Tensor | np.ndarray,
    codes: Tensor | np.ndarray,
    *,
    n_train: int = 2000,
    n_test: int = 1000,
    ordered: bool = False,
    seed: int = 0,
) -> DCI:
    """Disentanglement, completeness and informativeness, from the importance R_ij >= 0 of code i for factor j.

    - disentanglement: sum_i rho_i (1 - H_K(R_i)), with R_i row i of R and rho_i = sum_j R_ij / sum R;
    - completeness: sum_j w_j (1 - H_D(C_j)), with C_j column j of R and w_j = sum_i R_ij / sum R;
    - informativeness: mean over factors, on test rows, of accuracy (discrete factors) or R^2 (continuous factors).

    H_m is the entropy, to the base m, of weights normalised to sum to 1. Disentanglement and completeness are from 0 to
    1. With a single factor disentanglement is 1, and with a single code completeness is 1, because nothing can be
    mixed.

    R holds the impurity importances of gradient-boosted trees: a classifier for a discrete factor, a regressor for a
    continuous one, with 100 trees of depth 3 per factor (and per class, if there are more than two). A factor is
    discrete if its dtype is integer or boolean, or if it takes at most 64 values, each in two rows or more on average.

    Time grows with rows, codes and classes: a factor of 40 values takes 40 times as long as one of two, and 10 codes
    with 113 classes in all take a minute or two. Most published numbers use 10,000 training rows and 5,000 test rows;
    the numbers depend on these, and on the kind of predictor.

    Eastwood, Williams, "A Framework for the Quantitative Evaluation of Disentangled Representations", 2018; boosted
    trees as in Locatello, Bauer, Lucic, Rätsch, Gelly, Schölkopf, Bachem, "Challenging Common Assumptions in the
    Unsupervised Learning of Disentangled Representations", 2019 (arXiv 1811.12359).

    Args:
        factors: true factors (N, K), none of them constant, N >= 3.
        codes: learnt codes (N, D) of the same examples.
        n_train: random rows to fit the trees on, the same for every factor; >= 2, default 2000.
        n_test: random rows to measure informativeness on; >= 1, default 1000. If N < n_train + n_test, at most a third
            of the rows is for testing.
        ordered: regress every factor as a quantity, also a discrete one, which takes seconds; default False.
        seed: seed of the split and of the trees; default 0.

    Returns:
        The three metrics and the importances R (D, K).

    Raises:
        ValueError: there are different numbers of rows, or fewer than 3; a value is not finite; a factor is constant on
            all rows or on the training rows; `n_train` is below 2, or `n_test` below 1.
        TypeError: the values are not real numbers.

    >>> import torch
    >>> from chartae.metrics import dci
    >>> z = torch.randint(0, 2, (300, 2), generator=torch.Generator().manual_seed(0))
    >>> result = dci(z, z.flip(1))
    >>> round(result.disentanglement, 6), round(result.completeness, 6), result.informativeness
    (1.0, 1.0, 1.0)
    """
    y, c = _read(factors, codes)
    train, test = _split(len(y), n_train, n_test, seed)
    levels = [None if ordered else _levels(column) for column in y.T]
    for j, level in enumerate(levels):
        _check_varies(y[train, j] if level is None else level[train], j)

    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    importance = np.zeros((c.shape[1], y.shape[1]))
    scores = []
    for j, level in enumerate(levels):
        if level is None:
            model = GradientBoostingRegressor(random_state=seed)
            target = _unit(y[:, j : j + 1].astype(np.float64))[:, 0] * sqrt(len(y))
        else:
            model, target = GradientBoostingClassifier(random_state=seed), level
        model.fit(c[train], target[train])
        with np.errstate(invalid="ignore"):  # importances are NaN if no split of any tree helps
            importance[:, j] = np.nan_to_num(model.feature_importances_)
        if level is None:
            error = np.square(model.predict(c[test]) - target[test]).sum()
            spread = np.square(target[test] - target[test].mean()).sum()
            scores.append(1 - error / spread if spread else float(error == 0))
        else:
            scores.append((model.predict(c[test]) == target[test]).mean())
    total = importance.sum()
    shares = importance / total if total else importance
    return DCI(
        float(shares.sum(1) @ (1 - _impurity(importance))),
        float(shares.sum(0) @ (1 - _impurity(importance.T))),
        float(np.mean(scores)),
        torch.from_numpy(importance),
    )


def _information(
    y: np.ndarray, c: Float[np.ndarray, "N D"], bins: int
) -> tuple[Float[np.ndarray, "D K"], Float[np.ndarray, " K"]]:
    """Mutual information of each binned code with each factor, and the entropy of each factor; in nats."""
    n, d = c.shape
    low, high = c.min(0), c.max(0)
    span = np.where(high > low, high - low, 1)
    cells = np.minimum(((c - low) / span * bins).astype(np.int64), bins - 1) + bins * np.arange(d)

    def entropy(counts: np.ndarray) -> np.ndarray:  # over the last axis
        p = counts / n
        return np.asarray(-(p * np.log(np.where(p > 0, p, 1))).sum(-1))

    of_codes = entropy(np.bincount(cells.ravel(), minlength=d * bins).reshape(d, bins))
    information, entropies = np.empty((d, y.shape[1])), np.empty(y.shape[1])
    for j, column in enumerate(y.T):
        levels = _binned(column, bins)
        m = int(levels.max()) + 1
        joint = np.bincount((cells * m + levels[:, None]).ravel(), minlength=d * bins * m).reshape(d, bins * m)
        entropies[j] = entropy(np.bincount(levels))
        information[:, j] = of_codes + entropies[j] - entropy(joint)
    return np.where(high[:, None] > low[:, None], np.maximum(information, 0), 0), entropies


def _gap(scores: Float[np.ndarray, "D K"]) -> Float[np.ndarray, " K"]:
    """The best code's value minus the second best's; the second is 0 if there is a single code."""
    ordered = np.sort(scores, 0)
    return np.asarray(ordered[-1] - (ordered[-2] if len(ordered) > 1 else 0))


def mig(factors: ArrayLike, codes: ArrayLike, *, bins: int = 20) -> float:
    """Mutual information gap: how much more information the best code holds about a factor than the second best.

        1/K sum_j (I(c_(1); v_j) - I(c_(2); v_j)) / H(v_j),     from 0 to 1.

    I is estimated from counts. With few rows it is biased upwards, by the same amount for all codes. With a single
    code, the second term is 0.

    Chen, Li, Grosse, Duvenaud, "Isolating Sources of Disentanglement in Variational Autoencoders", 2018
    (arXiv 1802.04942).

    Args:
        factors: true factors (N, K), none of them constant, N >= 3. Discrete factors (integer, boolean, or at most 64
            values, each in two rows or more on average) keep their values; others are cut into `bins` bins of equal
            count.
        codes: learnt codes (N, D) of the same examples; each is cut into `bins` bins of equal width.
        bins: number of bins, >= 2; default 20.

    Returns:
        The mean gap over factors, as a share of each factor's entropy.

    Raises:
        ValueError: there are different numbers of rows, or fewer than 3; a value is not finite; a factor is constant;
            `bins` is below 2.
        TypeError: the values are not real numbers.

    >>> import torch
    >>> from chartae.metrics import mig
    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> round(mig(z, z), 9), round(mig(z, torch.cat([z, z], 1)), 9)
    (1.0, 0.0)
    """
    y, c = _read(factors, codes)
    _check_least("bins", bins, 2)
    information, entropies = _information(y, c, bins)
    return float((_gap(information) / entropies).mean())


def modularity(factors: ArrayLike, codes: ArrayLike, *, bins: int = 20) -> float:
    """Modularity: whether each code holds information about one factor only.

        1/D sum_i 1 - (sum_j m_ij - max_j m_ij) / ((K - 1) max_j m_ij),     m_ij = I(c_i; v_j)^2,

    from 0 to 1. The mutual information I is estimated from counts. A constant code contributes 0; with a single
    factor, any other code contributes 1. Several codes for one factor do not lower the value.

    Ridgeway, Mozer, "Learning Deep Disentangled Embeddings with the F-Statistic Loss", 2018 (arXiv 1802.05312).

    Args:
        factors: true factors (N, K), none of them constant, N >= 3. Discrete factors (integer, boolean, or at most 64
            values, each in two rows or more on average) keep their values; others are cut into `bins` bins of equal
            count.
        codes: learnt codes (N, D) of the same examples; each is cut into `bins` bins of equal width.
        bins: number of bins, >= 2; default 20.

    Returns:
        The mean over codes.

    Raises:
        ValueError: there are different numbers of rows, or fewer than 3; a value is not finite; a factor is constant;
            `bins` is below 2.
        TypeError: the values are not real numbers.

    >>> import torch
    >>> from chartae.metrics import modularity
    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> round(modularity(z, torch.cat([z, z], 1)), 9)
    1.0
    """
    y, c = _read(factors, codes)
    _check_least("bins", bins, 2)
    squares = np.square(_information(y, c, bins)[0])
    largest = squares.max(1)
    informative = largest > 0
    others = (squares.sum(1) - largest) / (max(y.shape[1] - 1, 1) * np.where(informative, largest, 1))
    return float(np.where(informative, 1 - others, 0).mean())


def sap(
    factors: Tensor | np.ndarray,
    codes: Tensor | np.ndarray,
    *,
    n_train: int = 10_000,
    n_test: int = 5_000,
    seed: int = 0,
) -> float:
    """Separated attribute predictability: how much better the best code predicts a factor than the second best.

        1/K sum_j S_(1)j - S_(2)j.

    For a continuous factor j, S_ij is its squared correlation with code i on all rows (0 if the code's variance is at
    most 1e-12). For a discrete factor, S_ij is the accuracy on test rows of a linear support vector machine
    (C = 0.01, balanced class weights) whose only input is code i. The code is not standardised, so the value depends
    on the scale of the codes, unlike the other metrics here. A factor is discrete if its dtype is integer or boolean,
    or if it takes at most 64 values, each in two rows or more on average.

    A code without information has the accuracy of a guess, so two binary factors reach at most 1/2. With a single
    code the second term is 0 and there is no such limit.

    Kumar, Sattigeri, Balakrishnan, "Variational Inference of Disentangled Latent Concepts from Unlabeled
    Observations", 2018 (arXiv 1711.00848).

    Args:
        factors: true factors (N, K), none of them constant, N >= 3.
        codes: learnt codes (N, D) of the same examples.
        n_train: random rows to fit the support vector machines on; >= 2, default 10,000.
        n_test: random rows to measure their accuracy on; >= 1, default 5,000. If N < n_train + n_test, at most a third
            of the rows is for testing.
        seed: seed of the split and of the support vector machines; default 0.

    Returns:
        The mean gap over factors, from 0 to 1.

    Raises:
        ValueError: there are different numbers of rows, or fewer than 3; a value is not finite; a factor is constant on
            all rows, or a discrete one on the training rows; `n_train` is below 2, or `n_test` below 1.
        TypeError: the values are not real numbers.

    >>> import torch
    >>> from chartae.metrics import sap
    >>> z = torch.rand(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> round(sap(z, torch.cat([z, z], 1)), 9), round(sap(z, z), 9)
    (0.0, 1.0)
    """
    y, c = _read(factors, codes)
    train, test = _split(len(y), n_train, n_test, seed)
    levels = [_levels(column) for column in y.T]
    for j, level in enumerate(levels):
        if level is not None:
            _check_varies(level[train], j)
    scores = np.square(_products(_unit(c), _unit(y.astype(np.float64))))
    scores[c.var(0) <= 1e-12] = 0
    for j, level in enumerate(levels):
        if level is None:
            continue
        from sklearn.svm import LinearSVC

        for i in range(c.shape[1]):
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=False, random_state=seed)
            machine.fit(c[train, i : i + 1], level[train])
            scores[i, j] = (machine.predict(c[test, i : i + 1]) == level[test]).mean()
    return float(_gap(scores).mean())


def factor_vae(
    factors: Tensor | np.ndarray,
    codes: Tensor | np.ndarray,
    *,
    votes: int = 10_000,
    batch: int = 64,
    bins: int = 20,
    min_std: float = 0.05,
    seed: int = 0,
) -> float:
    """FactorVAE metric: accuracy of a majority vote that names the fixed factor by the code that varies least.

    For one vote, choose a factor and a row at random and draw `batch` rows, with replacement, that share this row's
    value of the factor. The vote goes to the code whose variance in these rows, divided by its variance in all rows, is
    lowest. `votes` votes decide by majority which factor each code stands for. The metric is the share of
    ``votes // 2`` new votes that name the right factor: from about 1/K to 1.

    The data should contain every combination of values (or many, at random); otherwise rows that share one value also
    share others.

    Kim, Mnih, "Disentangling by Factorising", 2018 (arXiv 1802.05983).

    Args:
        factors: true factors (N, K), none of them constant, N >= 3. Continuous factors are cut into `bins` bins of
            equal count. Discrete ones (integer, boolean, or at most 64 values, each in two rows or more on average)
            keep their values, and each value must occur in at least two rows.
        codes: learnt codes (N, D) of the same examples.
        votes: number of votes that decide the majorities, >= 2; default 10,000.
        batch: rows drawn for one vote, >= 2; default 64.
        bins: number of bins of a continuous factor, >= 2; default 20.
        min_std: standard deviation below which a code counts as collapsed and is dropped, in the units of a standard
            normal prior; default 0.05.
        seed: seed of the draws; default 0.

    Returns:
        The accuracy; 0 if all codes have collapsed.

    Raises:
        ValueError: there are different numbers of rows, or fewer than 3; a value is not finite; a factor is constant,
            or takes a value in a single row; `votes`, `batch` or `bins` is below 2.
        TypeError: the values are not real numbers.

    >>> import torch
    >>> from chartae.metrics import factor_vae
    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> factor_vae(z, z, votes=200)
    1.0
    """
    y, c = _read(factors, codes)
    for name, value in (("votes", votes), ("batch", batch), ("bins", bins)):
        _check_least(name, value, 2)
    n, k = y.shape
    levels = np.stack([_binned(column, bins) for column in y.T])
    counts = [np.bincount(level) for level in levels]
    for j, count in enumerate(counts):
        if (count < 2).any():
            raise ValueError(
                f"factor {j} has {(count < 2).sum()} values that occur in a single row; expected each value in at "
                "least 2 rows. If the factor is continuous but stored as integers, convert it to floating point"
            )
    orders = np.argsort(levels, axis=1, kind="stable")  # rows sorted by value
    starts = np.stack([(np.cumsum(count) - count)[level] for count, level in zip(counts, levels, strict=True)])
    sizes = np.stack([count[level] for count, level in zip(counts, levels, strict=True)])
    c = c[:, c.std(0) >= min_std]
    if not c.shape[1]:
        return 0.0
    c = (c - c.mean(0)) / c.std(0)
    rng = np.random.default_rng(seed)

    def count_votes(size: int) -> Int[np.ndarray, "D K"]:
        counts = np.zeros((c.shape[1], k), np.int64)
        for start in range(0, size, 1000):
            part = min(1000, size - start)
            fixed, example = rng.integers(k, size=(part, 1)), rng.integers(n, size=(part, 1))
            places = starts[fixed, example] + (rng.random((part, batch)) * sizes[fixed, example]).astype(np.int64)
            np.add.at(counts, (c[orders[fixed, places]].var(1).argmin(1), fixed[:, 0]), 1)
        return counts

    majority = count_votes(votes).argmax(1)
    test = count_votes(max(votes // 2, 1))
    return float(test[np.arange(len(majority)), majority].sum() / test.sum())


def udr(
    codes: Sequence[Tensor | np.ndarray],
    informative: Sequence[Tensor | np.ndarray] | None = None,
    *,
    threshold: float = 0.01,
) -> UDR:
    """Unsupervised disentanglement ranking: how far models trained from different seeds agree, code by code.

    With R_ab the absolute Spearman correlation of code a of model i and code b of model j,

        UDR_ij = 1 / (d_i + d_j) ( sum_b max_a R_ab^2 / sum_a R_ab + sum_a max_b R_ab^2 / sum_b R_ab ).

    a and b run over the d_i and d_j informative codes. The metric of model i is the median of UDR_ij over j, from 0 to
    1. It is 1 if the codes agree up to permutation and monotone maps, and are independent.

    Duan, Matthey, Saraiva, Watters, Burgess, Lerchner, Higgins, "Unsupervised Model Selection for Variational
    Disentangled Representation Learning", 2020 (arXiv 1905.12614).

    Args:
        codes: codes (N, D_i) of each model, 2 models or more; row n is the same example in all, N >= 3.
        informative: one vector (D_i,) per model, either booleans or the mean KL divergence of each code from the prior,
            in nats. By default every code that is not constant is informative.
        threshold: KL divergence, in nats, above which a code is informative; default 0.01.

    Returns:
        The metric of each model (M,) and of each pair (M, M).

    Raises:
        ValueError: there are fewer than 2 models, different numbers of rows, or fewer than 3 rows; a code is not
            finite; `informative` does not fit the codes.
        TypeError: the codes are not real numbers.

    >>> import torch
    >>> from chartae.metrics import udr
    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> udr([z, z.flip(1), -z]).scores.round(decimals=9)
    tensor([1., 1., 1.], dtype=torch.float64)
    """
    if len(codes) < 2:
        raise ValueError(f"codes holds {len(codes)} models; expected at least 2")
    models = [_matrix(c, f"the codes of model {i}").astype(np.float64) for i, c in enumerate(codes)]
    for i, c in enumerate(models):
        if len(c) != len(models[0]):
            raise ValueError(
                f"model {i} has codes of {len(c)} examples and model 0 of {len(models[0])}; expected the same number. "
                "Encode the same examples with every model"
            )
    if informative is None:
        masks = [(c != c[0]).any(0) for c in models]
    elif len(informative) != len(models):
        raise ValueError(f"informative has {len(informative)} entries for {len(models)} models; expected one per model")
    else:
        masks = [_mask(m, models[i].shape[1], i, threshold) for i, m in enumerate(informative)]
    units = [_unit(_ranks(c[:, m])) if m.any() else c[:, m] for c, m in zip(models, masks, strict=True)]
    ends = np.cumsum([0] + [u.shape[1] for u in units])
    stacked = np.concatenate(units, 1)
    strength = np.abs(_products(stacked, stacked))
    pairs = np.full((len(models), len(models)), nan)
    for i in range(len(models)):
        for j in range(i):
            r = strength[ends[i] : ends[i + 1], ends[j] : ends[j + 1]]
            pairs[i, j] = pairs[j, i] = (_relative(r) + _relative(r.T)) / sum(r.shape) if r.size else 0
    return UDR(torch.from_numpy(np.nanmedian(pairs, 1)), torch.from_numpy(pairs))


def _mask(informative: ArrayLike, d: int, i: int, threshold: float) -> np.ndarray:
    """The informative codes of model i, as booleans (d,)."""
    x: np.ndarray = np.asarray(informative.detach().cpu() if isinstance(informative, Tensor) else informative)
    if x.shape != (d,):
        raise ValueError(f"informative[{i}] has shape {x.shape}; expected ({d},), since model {i} has {d} codes")
    if x.dtype == bool:
        return x
    if not np.isfinite(x).all():
        raise ValueError(
            f"informative[{i}] is not finite; expected booleans, or the KL divergence of each code in nats"
        )
    return np.asarray(x > threshold)


def _relative(r: Float[np.ndarray, "D E"]) -> float:
    """The sum over columns b of max_a r_ab^2 / sum_a r_ab."""
    total = r.sum(0)
    return float((np.square(r.max(0)) / np.where(total > 0, total, 1)).sum())
