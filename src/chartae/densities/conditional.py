"""Densities of codes given a condition, p(z | c), built from any density p(z)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chartae.densities.base import Density, Plain, check_codes
from chartae.densities.registry import make, register
from chartae.distributions import Distribution

__all__ = ["ByCondition", "Shifted", "fit"]


class Shifted(Distribution):
    """One distribution for each row: row i follows the distribution of its group, shifted by `shift[i]`.

    Args:
        members: distribution of each group, over vectors (D,).
        group: index of each row's group (B,).
        shift: vector added to the draws of each row (B, D).
    """

    event_ndim = 1

    def __init__(self, members: Sequence[Distribution], group: Tensor, shift: Float[Tensor, "B D"]) -> None:
        self.members, self.group, self.shift = members, group, shift

    def _rows(self) -> list[tuple[Distribution, Tensor]]:
        """Each distribution that some rows follow, with the indices of these rows."""
        return [(self.members[g], (self.group == g).nonzero()[:, 0]) for g in self.group.unique().tolist()]

    @property
    def mean(self) -> Float[Tensor, "B D"]:
        out = torch.empty_like(self.shift)
        for member, rows in self._rows():
            out[rows] = member.mean + self.shift[rows]
        return out

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw for each row (B, D), or `n` draws for each (n, B, D)."""
        times = 1 if n is None else n
        out = self.shift.new_empty(times, *self.shift.shape)
        for member, rows in self._rows():
            draws = member.sample(times * len(rows), generator=generator)
            out[:, rows] = draws.unflatten(0, (times, len(rows))) + self.shift[rows]
        return out[0] if n is None else out

    def log_prob(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != self.shift.shape:
            raise ValueError(
                f"codes have shape {tuple(x.shape)}; expected (..., {len(self.shift)}, {self.shift.shape[1]}), one row "
                "for each condition. Pass one condition for all codes, or one for each code."
            )
        residuals = x - self.shift
        out = residuals.new_empty(x.shape[:-1])
        for member, rows in self._rows():
            out[..., rows] = member.log_prob(residuals[..., rows, :])
        return out


@register
class ByCondition(Density):
    """A separate density for each class of the condition, shifted linearly by its real numbers.

    A condition c is a vector of K numbers: the first `discrete` are one-hot, the others, r, are real. `fit` groups the
    codes by their one-hot numbers. Within a group g it regresses z on r by least squares and fits a density to the
    residuals::

        p(z | c) = p_g(z - a_g - r B_g)

    with intercept a_g (D,) and slopes B_g (R, D). For a `Normal`, this is the conditional of a joint normal of (z, r),
    fitted by maximum likelihood. Without real numbers, it is the density of the codes of the group.

    Args:
        density: name of the density p(z) to fit to each group, such as ``"normal"`` or ``"gmm-10"``.
        discrete: number of one-hot columns, which come first in a condition; >= 0; default 0.
        entries: name of each of the K columns, for messages; default: their numbers.
        settings: arguments of the constructor of `density`.

    Raises:
        ValueError: an unknown density, one that takes a condition itself, or a negative `discrete`.

    >>> import torch
    >>> from chartae.densities import ByCondition
    >>> labels = torch.eye(2).repeat(50, 1)
    >>> z = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) + 9 * labels[:, :1]
    >>> density = ByCondition("normal", discrete=2).fit(z, condition=labels)
    >>> density(condition=torch.eye(2)).mean.mean(1).round().abs()
    tensor([9., 0.])
    >>> density.sample(4, condition=labels[0]).shape
    torch.Size([4, 3])
    """

    name = "by-condition"
    conditional = True
    listed = False
    groups: Tensor  # (G, discrete), 0 or 1
    intercepts: Float[Tensor, "G D"]
    slopes: Float[Tensor, "G R D"]

    def __init__(
        self,
        density: str = "normal",
        *,
        discrete: int = 0,
        entries: Sequence[str] = (),
        settings: Mapping[str, Plain] | None = None,
    ) -> None:
        super().__init__()
        self.density = make(density, **(settings or {}))
        if self.density.conditional:
            raise ValueError(
                f"density is {density!r}; expected a density p(z), but it takes a condition itself. Fit it directly."
            )
        if discrete < 0:
            raise ValueError(f"discrete is {discrete}; expected a number >= 0. Pass the number of one-hot columns.")
        self.discrete, self.entries = discrete, tuple(entries)
        self.members = nn.ModuleList()
        for key in ("groups", "intercepts", "slopes"):
            self.register_buffer(key, None)

    def settings(self) -> dict[str, Plain]:
        return {
            "density": self.density.name,
            "discrete": self.discrete,
            "entries": list(self.entries),
            "settings": self.density.settings(),
        }

    def extra_repr(self) -> str:
        return f"discrete={self.discrete}"

    @property
    def note(self) -> str:
        notes = [f"{self._name_of(g)}: {m.note}" for g, m in zip(self.groups, self._members(), strict=True) if m.note]
        more = f"; and {len(notes) - 3} more" if len(notes) > 3 else ""
        return "; ".join(notes[:3]) + more

    @property
    def least(self) -> int:
        """The smallest number of codes in a group; each real column of the condition needs one more."""
        return self.density.least

    @torch.no_grad()
    def fit(
        self, z: Tensor, *, condition: Tensor | None = None, seed: int = 0, weight: Tensor | None = None
    ) -> ByCondition:
        """Fit the density of each group.

        Args:
            z: codes (N, D).
            condition: condition of each code (N, K).
            seed: seed of the fit, the same for all groups.
            weight: weights (N,) > 0 of the codes; None for equal ones.

        Returns:
            The fitted density itself.

        Raises:
            ValueError: no condition, one of the wrong shape, or a group with too few codes; nothing is fitted then.
        """
        z = check_codes(z)
        condition = self._checked(condition, len(z)).to(z.device)
        real = condition[:, self.discrete :].double()
        self.check(condition)
        groups, which = _distinct(condition[:, : self.discrete].bool())
        members, regressions = [], []
        for g in range(len(groups)):
            codes, r = z[which == g], real[which == g]
            w = None if weight is None else weight[which == g] / weight[which == g].mean()
            if r.shape[1]:
                intercept, slope = _regression(codes.double(), r, w)
                codes = (codes.double() - intercept - r @ slope).to(z.dtype)
            else:
                intercept, slope = real.new_zeros(z.shape[1]), real.new_zeros(0, z.shape[1])
            try:
                members.append(_fitted(self._unfitted(), codes, w, seed))
            except ValueError as error:
                raise ValueError(f"codes of {self._name_of(groups[g])}: {error}") from error
            regressions.append((intercept, slope))
        self.members = nn.ModuleList(members)
        self.groups = groups
        self.intercepts = torch.stack([intercept for intercept, _ in regressions]).to(z.dtype)
        self.slopes = torch.stack([slope for _, slope in regressions]).to(z.dtype)
        return self

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Shifted:
        """The distribution of codes at each row of a condition (B, K), or at one condition (K,).

        Args:
            c: ignored; it is part of the interface of every `Conditional`.
            condition: conditions (B, K), or one condition (K,), which counts as one row.

        Returns:
            A distribution over codes with one row for each condition.

        Raises:
            ValueError: no condition, one of the wrong shape, or a combination of classes that `fit` has not seen.
        """
        return self._at([member() for member in self._members()], condition)

    def sample(
        self,
        n: int | None = None,
        c: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Draw codes: `n` at one condition, or one at each of `n` conditions.

        Args:
            n: number of codes; default: the number of conditions.
            c: ignored; it is part of the interface of every `Conditional`.
            condition: one condition (K,) or (1, K) for all codes, or one for each code (n, K).
            generator: source of randomness; default: torch's global generator.
            temperature: >= 0; 1 samples the fitted density, less gives codes nearer its modes.

        Returns:
            Codes (n, D).

        Raises:
            ValueError: a negative temperature; no condition, one of the wrong shape, or a combination of classes that
                `fit` has not seen.
        """
        if not 0 <= temperature < float("inf"):
            raise ValueError(f"temperature is {temperature}; expected a finite number >= 0. Leave it out for 1.")
        members = self._members()
        distributions = [member() if temperature == 1 else member.tempered(temperature) for member in members]
        return self._at(distributions, self._rows_of(condition, n)).sample(generator=generator)

    def log_prob(self, a: Tensor, c: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """log p(z | condition) of codes `a` (N, D), in nats per code (N,).

        The condition is one for all codes (K,), or one for each (N, K).
        """
        self.require_fit()
        return self(None, self._rows_of(condition, len(a))).log_prob(a)

    # -- conditions ----------------------------------------------------------------------------------------------------

    def _members(self) -> list[Density]:
        self.require_fit()
        return [cast(Density, member) for member in self.members]

    def _at(self, distributions: Sequence[Distribution], condition: Tensor | None) -> Shifted:
        rows = self._checked(condition).to(self.intercepts.device)
        size = self.discrete + self.slopes.shape[1]
        if rows.shape[1] != size:
            raise ValueError(
                f"condition has {rows.shape[1]} columns; expected {size}, as in fit. Encode it as the condition of fit "
                "was, with the same Condition.read."
            )
        group = self._group(rows[:, : self.discrete].bool())
        real = rows[:, self.discrete :].to(self.slopes.dtype)
        shift = self.intercepts[group] + torch.einsum("br,brd->bd", real, self.slopes[group])
        return Shifted(distributions, group, shift)

    def _group(self, discrete: Tensor) -> Tensor:
        """The index of each row's group."""
        numbers = {tuple(row): g for g, row in enumerate(self.groups.tolist())}
        distinct, inverse = _distinct(discrete)
        for row in distinct:
            if tuple(row.tolist()) not in numbers:
                known = [self._name_of(group) for group in self.groups[:20]]
                more = f" and {len(self.groups) - 20} more" if len(self.groups) > 20 else ""
                raise ValueError(
                    f"condition is {self._name_of(row)}; expected one that fit has seen: {'; '.join(known)}{more}. "
                    "Choose one of these, or fit the density to codes of all conditions."
                )
        return torch.tensor([numbers[tuple(row)] for row in distinct.tolist()], device=discrete.device)[inverse]

    def _rows_of(self, condition: Tensor | None, n: int | None) -> Tensor:
        """The condition of each of `n` codes; a single condition is repeated."""
        rows = self._checked(condition)
        if n is None or len(rows) == n:
            return rows
        if len(rows) != 1:
            raise ValueError(
                f"condition has {len(rows)} rows for {n} codes; expected 1 row or {n}. Pass one condition for all "
                "codes, or one for each code."
            )
        return rows.expand(n, -1)

    def _checked(self, condition: Tensor | None, n: int | None = None) -> Float[Tensor, "N K"]:
        """The condition as a matrix of rows (n, K), after checking its shape and its one-hot columns."""
        if condition is None:
            raise ValueError(
                "condition is None; expected (N, K) numbers, because this density is conditional. Pass condition=..., "
                "or fit a density without a condition."
            )
        rows = condition[None] if condition.ndim == 1 else condition
        if rows.ndim != 2 or rows.shape[1] < max(1, self.discrete) or len(rows) != (len(rows) if n is None else n):
            raise ValueError(
                f"condition has shape {tuple(condition.shape)}; expected ({'N' if n is None else n}, K) with K >= "
                f"{max(1, self.discrete)}. Pass one row for each code, as Condition.read returns them."
            )
        if not rows.isfinite().all():
            raise ValueError("condition has values that are not finite; expected finite numbers. Leave these rows out.")
        first = rows[:, : self.discrete]
        if not ((first == 0) | (first == 1)).all():
            raise ValueError(
                f"condition has values other than 0 and 1 in its first {self.discrete} columns; expected one-hot "
                "vectors there. Put the real columns after them, as Condition.read does."
            )
        return rows

    def check(self, condition: Float[Tensor, "N K"]) -> None:
        """Raise ValueError if a group of codes with these conditions (N, K) is too small to fit the density to."""
        condition = self._checked(condition, len(condition))
        groups, which = _distinct(condition[:, : self.discrete].bool())
        self._check_sizes(groups, which.bincount(minlength=len(groups)), condition.shape[1] - self.discrete)

    def _check_sizes(self, groups: Tensor, counts: Tensor, covariates: int) -> None:
        least = self.density.least + covariates
        small = (counts < least).nonzero()[:, 0].tolist()
        if small:
            listed = ", ".join(f"{self._name_of(groups[g])} has {int(counts[g])}" for g in small[:5])
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            raise ValueError(
                f"condition leaves too few codes in {len(small)} of {len(groups)} groups ({listed}{more}); expected at "
                f"least {least} in each for a {type(self.density).__name__}. Use fewer components or the density "
                "'normal', leave out rare classes, or add data."
            )

    def _name_of(self, group: Tensor) -> str:
        """The name of a group in messages."""
        on = group.nonzero()[:, 0].tolist()
        return ", ".join(self.entries[k] if self.entries else f"column {k}" for k in on) or "all conditions"

    # -- saving and loading --------------------------------------------------------------------------------------------

    def _unfitted(self) -> Density:
        return make(self.density.name, **self.density.settings())

    @property
    def is_fitted(self) -> bool:
        return super().is_fitted and len(self.members) > 0

    def fitted(self) -> dict[str, Plain]:
        """The facts about the fit of each group."""
        return {"members": [cast(Density, member).fitted() for member in self.members]}

    def restore(self, facts: Mapping[str, Plain]) -> None:
        records = cast(Sequence[Mapping[str, Plain]], facts["members"])
        for member, record in zip(self._members(), records, strict=True):
            member.restore(record)

    def check_state(self, shape: tuple[int, ...] | None = None) -> None:
        for member in self._members():
            member.check_state(tuple(self.intercepts.shape[1:]) if shape is None else shape)
        if shape is not None and tuple(self.intercepts.shape[1:]) != shape:
            raise ValueError(f"codes of the density have shape {tuple(self.intercepts.shape[1:])}; expected {shape}")
        str(self.note)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        groups, intercepts, slopes = (state.get(prefix + key) for key in ("groups", "intercepts", "slopes"))
        if groups is not None and intercepts is not None and slopes is not None:
            count, d = intercepts.shape if intercepts.ndim == 2 else (0, 0)
            members = {name.split(".")[1] for name in state if name.startswith("members.")} if not prefix else set()
            if not prefix and len(members) != count:
                raise ValueError(f"there are {len(members)} members and {count} groups; expected one for each group.")
            if (
                not count
                or not d
                or groups.shape != (count, self.discrete)
                or slopes.shape != (count, slopes.shape[1], d)
            ):
                raise ValueError(
                    f"groups has shape {tuple(groups.shape)}, intercepts {tuple(intercepts.shape)} and slopes "
                    f"{tuple(slopes.shape)}; expected (G, {self.discrete}), (G, D) and (G, R, D). Load a state that "
                    "this class saved."
                )
            self.members = nn.ModuleList(self._unfitted() for _ in range(count))
        super()._load_from_state_dict(state, prefix, *args)


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows of a matrix (N, d), sorted, and for each row the index of its distinct row."""
    if rows.shape[1]:
        return rows.unique(dim=0, return_inverse=True)
    # torch returns no distinct row for rows without columns, although they are all equal
    return rows[:1], torch.zeros(len(rows), dtype=torch.int64, device=rows.device)


def _fitted(density: Density, z: Tensor, weight: Tensor | None, seed: int) -> Density:
    return density.fit(z, seed=seed) if weight is None else density.fit_weighted(z, weight, seed=seed)


def _regression(
    z: Float[Tensor, "N D"], r: Float[Tensor, "N R"], weight: Float[Tensor, " N"] | None = None
) -> tuple[Tensor, Tensor]:
    """Intercept (D,) and slopes (R, D) of z on r by least squares; the minimum-norm solution if r is rank-deficient.

    The weights have mean 1.
    """
    w = z.new_ones(len(z), 1) if weight is None else weight.to(z)[:, None]
    mean_z, mean_r = (w * z).mean(0), (w * r).mean(0)
    constant = r.amax(0) == r.amin(0)
    scale = torch.where(constant, 1.0, r.std(0, correction=0))  # so that the rank does not depend on the units
    centred = torch.where(constant, 0.0, (r - mean_r) / scale)
    weighted = (w * centred).mT
    slopes = torch.linalg.pinv(weighted @ centred, rtol=1e-12, hermitian=True) @ (weighted @ (z - mean_z))
    slopes = slopes / scale[:, None]
    return mean_z - mean_r @ slopes, slopes


def fit(
    name: str,
    z: Tensor,
    *,
    condition: Tensor | None = None,
    discrete: int = 0,
    entries: Sequence[str] = (),
    seed: int = 0,
    weight: Tensor | None = None,
    settings: Mapping[str, Plain] | None = None,
) -> Density:
    """Fit a density to codes by name: p(z), or p(z | condition) if a condition is given.

    Args:
        name: a key of `NAMES`, such as ``"normal"``, or ``"gmm-K"`` for a Gaussian mixture of K components.
        z: codes (N, D).
        condition: condition of each code (N, K), as `Condition.read` returns it; default: none.
        discrete: number of one-hot columns, which come first in the condition; default 0.
        entries: name of each of the K columns, for messages; default: their numbers.
        seed: seed of the fit.
        weight: weights (N,) of the codes, >= 0 and not all 0. Codes of weight 0 are left out; a density that cannot
            weigh the others warns. None (default) for equal weights.
        settings: arguments of the density's constructor.

    Returns:
        The fitted density; with a condition, a `ByCondition` with one such density for each class.

    Raises:
        ValueError: an unknown name, a setting out of range, or codes or conditions that cannot be fitted.

    >>> import torch
    >>> from chartae import densities
    >>> z, labels = torch.randn(60, 2), torch.eye(3).repeat(20, 1)
    >>> densities.fit("normal", z, condition=labels, discrete=3).sample(5, condition=labels[1]).shape
    torch.Size([5, 2])
    """
    if weight is not None:
        weight = _checked_weight(weight, len(z)).to(z.device)
        rows = weight > 0
        z, weight = z[rows], weight[rows] / weight[rows].mean()
        condition = None if condition is None else condition[rows.to(condition.device)]
    if condition is None:
        return _fitted(make(name, **(settings or {})), z, weight, seed)
    density = ByCondition(name, discrete=discrete, entries=entries, settings=settings)
    return density.fit(z, condition=condition, seed=seed, weight=weight)


def _checked_weight(weight: Tensor, n: int) -> Float[Tensor, " N"]:
    if weight.shape != (n,) or not (weight.isfinite() & (weight >= 0)).all() or not weight.any():
        raise ValueError(
            f"weight has shape {tuple(weight.shape)} for {n} codes; expected {n} finite numbers >= 0, not all 0. Give "
            "one for each code."
        )
    return weight
