"""How well codes recover the factors that made the data: up to permutation and scale, or by disentanglement scores.

Every function takes two matrices with a row per example, tensors or arrays: true factors (N, K) and learnt codes
(N, D). They compute in float64 on the CPU.

Scores that need discrete factors read a column as discrete if its dtype is integer or boolean, or if it takes at
most 64 values, each in at least two rows on average; any other column is continuous."""

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

#: a column of floating point with at most so many values is discrete
DISCRETE = 64


@dataclass(frozen=True, eq=False)
class MCC:
    """A mean correlation coefficient, how it comes about, and what it is without recovery; see `mcc`."""

    value: float
    #: the code matched to each factor, on all rows
    matching: tuple[int, ...]
    #: signed, on all rows
    correlations: Float[Tensor, "K D"]
    #: mean and standard deviation for codes that are independent of the factors; NaN if not asked for
    chance: float
    chance_sd: float
    #: mean and standard deviation for a random rotation of the factors; NaN if not asked for
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
    """Disentanglement, completeness and informativeness, each at most 1, and the importances; see `dci`."""

    disentanglement: float
    completeness: float
    informativeness: float
    #: of each code for each factor; a column sums to 1, or is 0 if no code helps
    importance: Float[Tensor, "D K"]


@dataclass(frozen=True, eq=False)
class UDR:
    """A score per model, and of each pair of models (NaN on the diagonal); see `udr`."""

    scores: Float[Tensor, " M"]
    pairs: Float[Tensor, "M M"]


# -- input ---------------------------------------------------------------------------------------------------


def _raw(given: ArrayLike, what: str) -> np.ndarray:
    """A finite real matrix in its own dtype."""
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        given = (given.double() if given.is_floating_point() else given).numpy()
    x: np.ndarray = np.asarray(given)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{what} are {x.dtype}; give real numbers")
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(
            f"{what} have shape {x.shape}; give a matrix with a row per example, x[:, None] for one column"
        )
    if len(x) < 3:
        raise ValueError(f"{what} have {len(x)} rows; at least 3 are needed")
    bad = ~np.isfinite(x).all(1)
    if bad.any():
        raise ValueError(f"{bad.sum()} of {len(x)} rows of {what} are not finite (row {bad.argmax()})")
    return x


def _read(factors: ArrayLike, codes: ArrayLike) -> tuple[np.ndarray, Float[np.ndarray, "N D"]]:
    """Factors in their own dtype, none constant, and codes in float64."""
    y, c = _raw(factors, "the factors"), _raw(codes, "the codes").astype(np.float64)
    if len(y) != len(c):
        raise ValueError(f"the factors have {len(y)} rows and the codes {len(c)}; row n of both is example n")
    for j, constant in enumerate((y == y[0]).all(0)):
        if constant:
            raise ValueError(f"factor {j} is {y[0, j]} in every row, which no code can recover; drop that column")
    return y, c


def _choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r}; choose {' or '.join(repr(c) for c in choices)}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}={value}; at least {least} is needed")


def _levels(column: np.ndarray) -> Int[np.ndarray, " N"] | None:
    """The values of a discrete factor as 0, 1, ...; None for a continuous factor."""
    values, levels = np.unique(column, return_inverse=True)
    if column.dtype.kind in "biu" or len(values) <= min(DISCRETE, len(column) // 2):
        return levels.astype(np.int64)
    return None


def _binned(column: np.ndarray, bins: int) -> Int[np.ndarray, " N"]:
    """A factor as 0, 1, ...: its values if discrete, else bins of equal count."""
    levels = _levels(column)
    if levels is None:
        edges = np.quantile(column, np.arange(1, bins) / bins)
        levels = np.unique(np.searchsorted(edges, column, side="right"), return_inverse=True)[1].astype(np.int64)
    return levels


def _split(n: int, n_train: int, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows to train and to test on, two thirds and one third of all if there are too few."""
    _at_least("n_train", n_train, 2)
    _at_least("n_test", n_test, 1)
    if n < n_train + n_test:
        n_test = min(n_test, n // 3)
        n_train = min(n_train, n - n_test)
    rows = np.random.default_rng(seed).permutation(n)
    return rows[:n_train], rows[n_train : n_train + n_test]


def _trainable(levels: np.ndarray, j: int) -> None:
    if (levels == levels[0]).all():
        raise ValueError(f"factor {j} takes a single value in all {len(levels)} training rows; give more rows")


# -- correlation ---------------------------------------------------------------------------------------------


def _unit(x: Float[np.ndarray, "*B N D"]) -> Float[np.ndarray, "*B N D"]:
    """Columns of mean 0 and norm 1; constant columns are 0."""
    x = x - x.mean(-2, keepdims=True)
    constant = x.max(-2, keepdims=True) == x.min(-2, keepdims=True)
    x = np.where(constant, 0, x / np.where(constant, 1, np.abs(x).max(-2, keepdims=True)))  # squares neither over
    return x / np.where(constant, 1, np.linalg.norm(x, axis=-2, keepdims=True))  # nor underflow


def _ranks(x: Float[np.ndarray, "*B N D"]) -> Float[np.ndarray, "*B N D"]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(x, axis=-2), np.float64)


def _products(x: Float[np.ndarray, "*B N K"], y: Float[np.ndarray, "*B N D"]) -> Float[np.ndarray, "*B K D"]:
    return np.asarray(np.clip(np.swapaxes(x, -1, -2) @ y, -1, 1))


def _match(correlations: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The largest mean of |correlation| over assignments of a code of its own to each factor, and the codes."""
    from scipy.optimize import linear_sum_assignment

    strength = np.abs(correlations)
    rows, columns = linear_sum_assignment(strength, maximize=True)
    return float(strength[rows, columns].mean()), tuple(int(i) for i in columns)


@cache
def _rotation(k: int, draws: int = 2000) -> tuple[float, float]:
    """Mean and standard deviation of the MCC of randomly rotated factors, for N -> infinity."""
    if k == 1:
        return 1.0, 0.0
    if k == 2:  # max(|cos|, |sin|) of a uniform angle
        return 2 * sqrt(2) / pi, sqrt(0.5 + 1 / pi - 8 / pi**2)
    rotations = np.linalg.qr(np.random.default_rng(0).standard_normal((draws, k, k))).Q  # Haar but for signs
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
    """Mean correlation coefficient: the mean of |corr(z_j, c_m(j))| over factors j under the best matching m,

        max_m 1/K sum_j |corr(z_j, c_m(j))|,     m one-to-one, D >= K.

    1 if codes are the factors up to permutation, sign and scale (`kind="spearman"`: up to permutation and strictly
    monotone maps). A constant code correlates 0; a collapsed code that is not quite constant may still correlate,
    so read it beside KL per dimension.

    `protocol="full"` matches once, on all rows. `protocol="batches"` matches in each run of `batch` rows apart and
    averages; rows beyond the last full batch are left out. Small batches bias it upwards: independent codes give
    0.15 for batches of 64 and K = D = 3. `matching` and `correlations` are those of all rows under either.

    Read a value beside both baselines: `chance`, the mean over random permutations of the rows of the codes under
    the same protocol, 100 of them or 20 for large inputs; `rotation`, the mean for factors (K = D, uncorrelated,
    N -> infinity) after a Haar random rotation, which is what a model without identifiability reaches: 0.900,
    0.828, 0.774 for K = 2, 3, 4. `chance_sd` and `rotation_sd` are standard deviations of one value.

    Hyvärinen, Morioka, "Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear ICA", 2016
    (arXiv 1605.06336).

    Raises:
        ValueError: unknown settings; fewer codes than factors; different numbers of rows; fewer than 3 rows; values
            that are not finite; a constant factor; `batch` below 3 or above the number of rows.
        TypeError: values that are not real numbers.

    >>> z = torch.rand(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> result = mcc(z, torch.stack([-3 * z[:, 1], z[:, 0] + 5], 1))
    >>> round(float(result), 9), result.matching, round(result.rotation, 4)
    (1.0, (1, 0), 0.9003)
    """
    _choose("kind", kind, ("pearson", "spearman"))
    _choose("protocol", protocol, ("full", "batches"))
    z, c = _read(z_true, z_learnt)
    z = z.astype(np.float64)
    n, k = z.shape
    if c.shape[1] < k:
        raise ValueError(f"{c.shape[1]} codes cannot match {k} factors; each factor needs a code of its own")
    if protocol == "batches":
        _at_least("batch", batch, 3)
        if batch > n:
            raise ValueError(f"batch={batch} is above the {n} rows; take it from 3 to {n}")

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
        rotation, rotation_sd = _rotation(k)
    return MCC(result, matching, torch.from_numpy(correlations), chance, chance_sd, rotation, rotation_sd)


def affine_r2(z_true: Tensor | np.ndarray, z_learnt: Tensor | np.ndarray) -> Float[Tensor, " K"]:
    """R^2 of the least-squares fit of each factor by the codes and a constant, on the rows given:

        R^2_j = 1 - min_{w, b} sum_n (z_nj - w.c_n - b)^2 / sum_n (z_nj - mean_j)^2.

    1 if the factor is an affine function of the codes, whatever their rotation; D / (N - 1) in the mean if the
    codes are independent of it. The mean over factors is `affine_r2(...).mean()`.

    Raises:
        ValueError: as `mcc`, and fewer than D + 2 rows, where any factor is fitted exactly.

    >>> z = torch.rand(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> affine_r2(z, z @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64) + 2).mean().round(decimals=9)
    tensor(1., dtype=torch.float64)
    """
    z, c = _read(z_true, z_learnt)
    if len(z) < c.shape[1] + 2:
        raise ValueError(
            f"{len(z)} rows are fitted exactly by {c.shape[1]} codes; at least {c.shape[1] + 2} are needed"
        )
    target, codes = _unit(z.astype(np.float64)), _unit(c)
    residual = target - codes @ np.linalg.lstsq(codes, target, rcond=None)[0]
    return torch.from_numpy(np.clip(1 - np.square(residual).sum(0), 0, 1))


# -- disentanglement -----------------------------------------------------------------------------------------


def _impurity(weights: Float[np.ndarray, "M L"]) -> Float[np.ndarray, " M"]:
    """Entropy of each normalised row to the base of its length: 1 for equal weights, 0 for one weight."""
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
    """Disentanglement, completeness and informativeness, from the importance R_ij >= 0 of code i for factor j:

        disentanglement  sum_i rho_i (1 - H_K(R_i. / sum_j R_ij)),   rho_i = sum_j R_ij / sum R
        completeness     sum_j w_j (1 - H_D(R_.j / sum_i R_ij)),     w_j = sum_i R_ij / sum R
        informativeness  mean over factors of the score on test rows: accuracy if discrete, R^2 if continuous

    with H_m the entropy to the base m. The first two are from 0 to 1; with a single factor disentanglement is 1,
    with a single code completeness is 1, for nothing can be mixed.

    R holds the impurity importances of gradient-boosted trees (100 of depth 3 per factor, and per class if more
    than two), a classifier for a discrete factor and a regressor for a continuous one, fitted to `n_train` random
    rows; the same split for every factor. Time grows with rows, codes and classes: a factor of 40 values takes 40
    times as long as one of two, and 10 codes for 113 classes in all take a minute or two. Published numbers mostly
    come from 10 000 rows to train and 5 000 to test; scores depend on these, and on the kind of predictor. `ordered`
    reads every factor as a quantity, to be regressed, which takes seconds. With
    fewer rows than `n_train + n_test`, at most a third is for testing.

    Eastwood, Williams, "A Framework for the Quantitative Evaluation of Disentangled Representations", 2018; boosted
    trees as in Locatello, Bauer, Lucic, Rätsch, Gelly, Schölkopf, Bachem, "Challenging Common Assumptions in the
    Unsupervised Learning of Disentangled Representations", 2019 (arXiv 1811.12359).

    Raises:
        ValueError: different numbers of rows; fewer than 3 rows; values that are not finite; a constant factor, on
            all or on the training rows; `n_train` below 2 or `n_test` below 1.

    >>> z = torch.randint(0, 2, (300, 2), generator=torch.Generator().manual_seed(0))
    >>> result = dci(z, z.flip(1))
    >>> round(result.disentanglement, 6), round(result.completeness, 6), result.informativeness
    (1.0, 1.0, 1.0)
    """
    y, c = _read(factors, codes)
    train, test = _split(len(y), n_train, n_test, seed)
    levels = [None if ordered else _levels(column) for column in y.T]
    for j, level in enumerate(levels):
        _trainable(y[train, j] if level is None else level[train], j)

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
        with np.errstate(invalid="ignore"):  # NaN if no split of any tree gains
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
    """Mutual information of each binned code with each factor, and the factors' entropies, in nats."""
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
    """The best code's score less the second best's, which is 0 if there is one code."""
    ordered = np.sort(scores, 0)
    return np.asarray(ordered[-1] - (ordered[-2] if len(ordered) > 1 else 0))


def mig(factors: ArrayLike, codes: ArrayLike, *, bins: int = 20) -> float:
    """Mutual information gap: how much more the best code tells of a factor than the second best,

        1/K sum_j (I(c_(1); v_j) - I(c_(2); v_j)) / H(v_j),     from 0 to 1,

    with I from counts in `bins` bins of equal width per code; continuous factors are cut into `bins` bins of equal
    count, discrete ones are taken as they are. Estimates from counts are biased upwards for few rows, alike for
    all codes. With a single code, the second is 0.

    Chen, Li, Grosse, Duvenaud, "Isolating Sources of Disentanglement in Variational Autoencoders", 2018
    (arXiv 1802.04942).

    Raises:
        ValueError: different numbers of rows; fewer than 3 rows; values that are not finite; a constant factor;
            fewer than 2 bins.

    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> round(mig(z, z), 9), round(mig(z, torch.cat([z, z], 1)), 9)
    (1.0, 0.0)
    """
    y, c = _read(factors, codes)
    _at_least("bins", bins, 2)
    information, entropies = _information(y, c, bins)
    return float((_gap(information) / entropies).mean())


def modularity(factors: ArrayLike, codes: ArrayLike, *, bins: int = 20) -> float:
    """Modularity: whether each code tells of one factor only,

        1/D sum_i 1 - (sum_j m_ij - max_j m_ij) / ((K - 1) max_j m_ij),     m_ij = I(c_i; v_j)^2,

    from 0 to 1, with I as in `mig`; 0 for a constant code, 1 for any other if there is one factor. Several codes of
    one factor do not lower it.

    Ridgeway, Mozer, "Learning Deep Disentangled Embeddings with the F-Statistic Loss", 2018 (arXiv 1802.05312).

    Raises:
        ValueError: as `mig`.

    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> round(modularity(z, torch.cat([z, z], 1)), 9)
    1.0
    """
    y, c = _read(factors, codes)
    _at_least("bins", bins, 2)
    squares = np.square(_information(y, c, bins)[0])
    largest = squares.max(1)
    live = largest > 0
    others = (squares.sum(1) - largest) / (max(y.shape[1] - 1, 1) * np.where(live, largest, 1))
    return float(np.where(live, 1 - others, 0).mean())


def sap(
    factors: Tensor | np.ndarray,
    codes: Tensor | np.ndarray,
    *,
    n_train: int = 10_000,
    n_test: int = 5_000,
    seed: int = 0,
) -> float:
    """Separated attribute predictability: how much better the best code predicts a factor than the second best,

        1/K sum_j S_(1)j - S_(2)j,

    S_ij for a continuous factor the squared correlation with code i, on all rows (0 if the code's variance is at
    most 1e-12), and for a discrete factor the accuracy on test rows of a linear support vector machine (C = 0.01,
    classes weighted to balance) that sees code i alone, as it is: unlike the other scores this depends on the
    scale of the codes. An uninformative code has the accuracy of a guess, so two binary factors reach 1/2 at most
    unless there is a single code, where the second is 0.

    Kumar, Sattigeri, Balakrishnan, "Variational Inference of Disentangled Latent Concepts from Unlabeled
    Observations", 2018 (arXiv 1711.00848).

    Raises:
        ValueError: as `dci`.

    >>> z = torch.rand(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> round(sap(z, torch.cat([z, z], 1)), 9), round(sap(z, z), 9)
    (0.0, 1.0)
    """
    y, c = _read(factors, codes)
    train, test = _split(len(y), n_train, n_test, seed)
    levels = [_levels(column) for column in y.T]
    for j, level in enumerate(levels):
        if level is not None:
            _trainable(level[train], j)
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
    """FactorVAE score: whether the code that varies least tells which factor was held fixed.

    For a vote, a factor is chosen at random and `batch` rows are drawn, with replacement, that share its value in a
    random row; the vote is for the code of the lowest variance among them over its variance in all rows. `votes`
    votes settle by majority which factor each code stands for, and half as many again are counted: the share that
    names the right factor, from 1/K or so to 1. Codes with a standard deviation below `min_std`, in the units of a
    standard normal prior, have collapsed and are left out; the score is 0 if all have.

    Data should hold every combination of values (or many, at random), or rows that share one value also share
    others. Continuous factors are cut into `bins` bins of equal count.

    Kim, Mnih, "Disentangling by Factorising", 2018 (arXiv 1802.05983).

    Raises:
        ValueError: different numbers of rows; fewer than 3 rows; values that are not finite; a constant factor; a
            value in a single row, where nothing varies; `votes`, `batch` or `bins` below 2.

    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> factor_vae(z, z, votes=200)
    1.0
    """
    y, c = _read(factors, codes)
    for name, value in (("votes", votes), ("batch", batch), ("bins", bins)):
        _at_least(name, value, 2)
    n, k = y.shape
    levels = np.stack([_binned(column, bins) for column in y.T])
    counts = [np.bincount(level) for level in levels]
    for j, count in enumerate(counts):
        if (count < 2).any():
            raise ValueError(
                f"factor {j} has {(count < 2).sum()} values that a single row takes; each value needs 2 rows or more,"
                " and a continuous factor in integers needs a floating point dtype"
            )
    orders = np.argsort(levels, axis=1, kind="stable")  # rows by value
    starts = np.stack([(np.cumsum(count) - count)[level] for count, level in zip(counts, levels, strict=True)])
    sizes = np.stack([count[level] for count, level in zip(counts, levels, strict=True)])
    c = c[:, c.std(0) >= min_std]
    if not c.shape[1]:
        return 0.0
    c = (c - c.mean(0)) / c.std(0)
    rng = np.random.default_rng(seed)

    def ballot(size: int) -> Int[np.ndarray, "D K"]:
        tally = np.zeros((c.shape[1], k), np.int64)
        for start in range(0, size, 1000):
            part = min(1000, size - start)
            fixed, example = rng.integers(k, size=(part, 1)), rng.integers(n, size=(part, 1))
            places = starts[fixed, example] + (rng.random((part, batch)) * sizes[fixed, example]).astype(np.int64)
            np.add.at(tally, (c[orders[fixed, places]].var(1).argmin(1), fixed[:, 0]), 1)
        return tally

    named = ballot(votes).argmax(1)
    tally = ballot(max(votes // 2, 1))
    return float(tally[np.arange(len(named)), named].sum() / tally.sum())


def udr(
    codes: Sequence[Tensor | np.ndarray],
    informative: Sequence[Tensor | np.ndarray] | None = None,
    *,
    threshold: float = 0.01,
) -> UDR:
    """Unsupervised disentanglement ranking: how far the codes of a model agree, one to one, with those of the same
    model trained from other seeds, on the same examples. With R_ab = |Spearman correlation| of code a of model i and
    code b of model j,

        UDR_ij = 1 / (d_i + d_j) ( sum_b max_a R_ab^2 / sum_a R_ab + sum_a max_b R_ab^2 / sum_b R_ab ),

    a and b over the d_i and d_j informative codes; the score of model i is the median of UDR_ij over j. From 0
    to 1; 1 if the codes agree up to permutation and monotone maps and are independent.

    `codes` holds a matrix (N, D_i) per model, with row n for the same example in all. `informative` holds a vector
    (D_i,) per model: booleans, or the mean KL divergence of each code from the prior in nats, informative above
    `threshold`; without it every code counts that is not constant.

    Duan, Matthey, Saraiva, Watters, Burgess, Lerchner, Higgins, "Unsupervised Model Selection for Variational
    Disentangled Representation Learning", 2020 (arXiv 1905.12614).

    Raises:
        ValueError: fewer than 2 models; different numbers of rows; fewer than 3 rows; values that are not finite;
            an `informative` that does not fit the codes.

    >>> z = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    >>> udr([z, z.flip(1), -z]).scores.round(decimals=9)
    tensor([1., 1., 1.], dtype=torch.float64)
    """
    if len(codes) < 2:
        raise ValueError(f"{len(codes)} models are given; ranking compares at least 2")
    models = [_raw(c, f"the codes of model {i}").astype(np.float64) for i, c in enumerate(codes)]
    for i, c in enumerate(models):
        if len(c) != len(models[0]):
            raise ValueError(
                f"model {i} has codes of {len(c)} examples, model 0 of {len(models[0])}; encode the same ones"
            )
    if informative is None:
        masks = [(c != c[0]).any(0) for c in models]
    elif len(informative) != len(models):
        raise ValueError(f"informative has {len(informative)} entries for {len(models)} models; give one for each")
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


def _mask(given: ArrayLike, d: int, i: int, threshold: float) -> np.ndarray:
    x: np.ndarray = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    if x.shape != (d,):
        raise ValueError(f"informative[{i}] has shape {x.shape}; model {i} has {d} codes, so give ({d},)")
    if x.dtype == bool:
        return x
    if not np.isfinite(x).all():
        raise ValueError(f"informative[{i}] is not finite; give booleans or the KL divergence of each code in nats")
    return np.asarray(x > threshold)


def _relative(r: Float[np.ndarray, "D E"]) -> float:
    total = r.sum(0)
    return float((np.square(r.max(0)) / np.where(total > 0, total, 1)).sum())
