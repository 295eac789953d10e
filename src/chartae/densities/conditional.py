"""Densities of codes given a condition, p(z | c), made of any density of p(z)."""

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
    """One distribution a row: row i is that of its group, moved by `shift[i]`.

    Args:
        members: the distribution of each group, over vectors (D,).
        group: the number of each row's group (B,).
        shift: what is added to a row's points (B, D).
    """

    event_ndim = 1

    def __init__(self, members: Sequence[Distribution], group: Tensor, shift: Float[Tensor, "B D"]) -> None:
        self.members, self.group, self.shift = members, group, shift

    def _rows(self) -> list[tuple[Distribution, Tensor]]:
        """Each distribution that has rows, and those rows."""
        return [(self.members[g], (self.group == g).nonzero()[:, 0]) for g in self.group.unique().tolist()]

    @property
    def mean(self) -> Float[Tensor, "B D"]:
        out = torch.empty_like(self.shift)
        for member, rows in self._rows():
            out[rows] = member.mean + self.shift[rows]
        return out

    def sample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw for each row (B, D), or `n` of them (n, B, D)."""
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
                "for each condition. Give one condition for all codes, or one for each."
            )
        residuals = x - self.shift
        out = residuals.new_empty(x.shape[:-1])
        for member, rows in self._rows():
            out[..., rows] = member.log_prob(residuals[..., rows, :])
        return out


@register
class ByCondition(Density):
    """p(z | c): a density of its own for each value of the discrete part of c, moved linearly by the real part.

    Codes are grouped by the first `discrete` numbers of their condition. Within a group z is regressed on the real
    numbers r by least squares, and the density is fitted to what the regression leaves:
    p(z | c) = p_group(z - a_group - r B_group). Of a normal, that is the conditional of a joint normal of (z, r), by
    maximum likelihood. Without real numbers it is the density of the group's codes alone.

    Args:
        density: the name of the density of each group, of p(z).
        discrete: how many numbers of a condition, the first ones, are one-hot; the others are real.
        entries: a name for each number of a condition, for messages; see `Condition.entries`.
        settings: arguments of that density's constructor.

    >>> labels = torch.eye(2).repeat(50, 1)
    >>> z = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) + 9 * labels[:, :1]
    >>> density = ByCondition("normal", discrete=2).fit(z, condition=labels)
    >>> density.sample(4, condition=torch.tensor([1.0, 0.0])).mean() > 4
    tensor(True)
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
                f"density is {density!r}, which takes a condition itself; expected one of p(z). Fit it directly."
            )
        if discrete < 0:
            raise ValueError(f"discrete is {discrete}; expected 0 or more. Give the number of one-hot columns.")
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
    def least(self) -> int:
        """The fewest codes that a group can be fitted to without real conditions; each of these needs one more."""
        return self.density.least

    @torch.no_grad()
    def fit(self, z: Tensor, *, condition: Tensor | None = None, seed: int = 0) -> ByCondition:
        """Fit to codes (N, D) and their conditions (N, K); each group's density is fitted by the same seed.

        Raises:
            ValueError: no condition, one of the wrong shape, or a group of too few codes, before anything is fitted.
        """
        z = check_codes(z)
        condition = self._checked(condition, len(z)).to(z.device)
        real = condition[:, self.discrete :].double()
        self.check(condition)
        groups, which = _distinct(condition[:, : self.discrete].bool())
        members, lines = [], []
        for g in range(len(groups)):
            codes, r = z[which == g], real[which == g]
            if r.shape[1]:
                intercept, slope = _regression(codes.double(), r)
                codes = (codes.double() - intercept - r @ slope).to(z.dtype)
            else:
                intercept, slope = real.new_zeros(z.shape[1]), real.new_zeros(0, z.shape[1])
            try:
                members.append(self._unfitted().fit(codes, seed=seed))
            except ValueError as error:
                raise ValueError(f"codes of {self._called(groups[g])}: {error}") from error
            lines.append((intercept, slope))
        self.members = nn.ModuleList(members)
        self.groups = groups
        self.intercepts = torch.stack([intercept for intercept, _ in lines]).to(z.dtype)
        self.slopes = torch.stack([slope for _, slope in lines]).to(z.dtype)
        return self

    def forward(self, c: Tensor | None = None, condition: Tensor | None = None) -> Shifted:
        """The density at each row of a condition (B, K), or at one condition (K,): a distribution of that many rows."""
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
        """`n` codes (n, D) of one condition (K,) or (1, K), or one code for each of `n` conditions (n, K).

        Args:
            n: the number of codes; by default as many as there are conditions.
            c: not used.
            condition: as `Condition.read` gives it.
            generator: of the draws.
            temperature: 1 for the fitted density, lower for codes nearer its modes; see `tempered` of the density.

        Raises:
            ValueError: no condition, one of the wrong shape, or one that no code was fitted with.
        """
        if not 0 <= temperature < float("inf"):
            raise ValueError(f"temperature is {temperature}; expected a number of at least 0. Leave it out for 1.")
        members = self._members()
        distributions = [member() if temperature == 1 else member.tempered(temperature) for member in members]
        return self._at(distributions, self._rows_of(condition, n)).sample(generator=generator)

    def log_prob(self, a: Tensor, c: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """log p(z | condition) of codes (N, D), in nats per code, at one condition (K,) or one for each (N, K)."""
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
                f"condition has {rows.shape[1]} columns; expected {size}, as in fit. Read it with the run's condition."
            )
        group = self._group(rows[:, : self.discrete].bool())
        real = rows[:, self.discrete :].to(self.slopes.dtype)
        shift = self.intercepts[group] + torch.einsum("br,brd->bd", real, self.slopes[group])
        return Shifted(distributions, group, shift)

    def _group(self, discrete: Tensor) -> Tensor:
        """The number of each row's group."""
        numbers = {tuple(row): g for g, row in enumerate(self.groups.tolist())}
        distinct, inverse = _distinct(discrete)
        for row in distinct:
            if tuple(row.tolist()) not in numbers:
                known = [self._called(group) for group in self.groups[:20]]
                more = f" and {len(self.groups) - 20} more" if len(self.groups) > 20 else ""
                raise ValueError(
                    f"condition is {self._called(row)}, of which no code was fitted; expected {'; '.join(known)}"
                    f"{more}. Ask for one of these, or fit the density to codes of all conditions."
                )
        return torch.tensor([numbers[tuple(row)] for row in distinct.tolist()], device=discrete.device)[inverse]

    def _rows_of(self, condition: Tensor | None, n: int | None) -> Tensor:
        """A condition for each of `n` codes."""
        rows = self._checked(condition)
        if n is None or len(rows) == n:
            return rows
        if len(rows) != 1:
            raise ValueError(
                f"condition has {len(rows)} rows for {n} codes; expected one for all, or {n}, one for each. "
                "Give a single row, or as many as there are codes."
            )
        return rows.expand(n, -1)

    def _checked(self, condition: Tensor | None, n: int | None = None) -> Float[Tensor, "N K"]:
        """The condition as rows, of which there are `n`; its discrete part is made of zeros and ones."""
        if condition is None:
            raise ValueError(
                "condition is None, but this density is one of codes given a condition; expected (N, K) numbers. "
                "Give a condition, or fit a density without one."
            )
        rows = condition[None] if condition.ndim == 1 else condition
        if rows.ndim != 2 or rows.shape[1] < max(1, self.discrete) or len(rows) != (len(rows) if n is None else n):
            raise ValueError(
                f"condition has shape {tuple(condition.shape)}; expected ({'N' if n is None else n}, K), K at least "
                f"{max(1, self.discrete)}. Give a row for each code, as Condition.read does."
            )
        if not rows.isfinite().all():
            raise ValueError("condition has values that are not finite; expected numbers. Leave out these rows.")
        first = rows[:, : self.discrete]
        if not ((first == 0) | (first == 1)).all():
            raise ValueError(
                f"condition holds other numbers than 0 and 1 in its first {self.discrete} columns; expected one-hot "
                "vectors. Put the real columns behind them, as Condition.read does."
            )
        return rows

    def check(self, condition: Float[Tensor, "N K"]) -> None:
        """Raise ValueError where codes of these conditions could not be fitted: a group of too few of them."""
        condition = self._checked(condition, len(condition))
        groups, which = _distinct(condition[:, : self.discrete].bool())
        self._check_sizes(groups, which.bincount(minlength=len(groups)), condition.shape[1] - self.discrete)

    def _check_sizes(self, groups: Tensor, counts: Tensor, covariates: int) -> None:
        least = self.density.least + covariates
        small = (counts < least).nonzero()[:, 0].tolist()
        if small:
            listed = ", ".join(f"{self._called(groups[g])} has {int(counts[g])}" for g in small[:5])
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            raise ValueError(
                f"condition leaves too few codes in {len(small)} of {len(groups)} groups ({listed}{more}); expected at "
                f"least {least} in each for a {type(self.density).__name__}. Take fewer components or density "
                "'normal', leave out rare classes, or give more data."
            )

    def _called(self, group: Tensor) -> str:
        """What a group is called in messages."""
        on = group.nonzero()[:, 0].tolist()
        return ", ".join(self.entries[k] if self.entries else f"column {k}" for k in on) or "all conditions"

    # -- saved and loaded ----------------------------------------------------------------------------------------------

    def _unfitted(self) -> Density:
        return make(self.density.name, **self.density.settings())

    @property
    def is_fitted(self) -> bool:
        return super().is_fitted and len(self.members) > 0

    def fitted(self) -> dict[str, Plain]:
        """What is known about the fit of each group."""
        return {"members": [cast(Density, member).fitted() for member in self.members]}

    def restore(self, facts: Mapping[str, Plain]) -> None:
        records = cast(Sequence[Mapping[str, Plain]], facts["members"])
        for member, record in zip(self._members(), records, strict=True):
            member.restore(record)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        groups, lines, slopes = (state.get(prefix + key) for key in ("groups", "intercepts", "slopes"))
        if groups is not None and lines is not None and slopes is not None:
            count, d = lines.shape if lines.ndim == 2 else (0, 0)
            if not count or groups.shape != (count, self.discrete) or slopes.shape != (count, slopes.shape[1], d):
                raise ValueError(
                    f"groups {tuple(groups.shape)}, intercepts {tuple(lines.shape)} and slopes {tuple(slopes.shape)} "
                    f"do not make a density by a condition of {self.discrete} one-hot columns"
                )
            self.members = nn.ModuleList(self._unfitted() for _ in range(count))
        super()._load_from_state_dict(state, prefix, *args)


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows of a matrix (N, d), in order, and which of them each row is."""
    if rows.shape[1]:
        return rows.unique(dim=0, return_inverse=True)
    # torch finds no distinct rows where rows are empty, though they are all the same
    return rows[:1], torch.zeros(len(rows), dtype=torch.int64, device=rows.device)


def _regression(z: Float[Tensor, "N D"], r: Float[Tensor, "N R"]) -> tuple[Tensor, Tensor]:
    """Intercept (D,) and slopes (R, D) of z on r by least squares, the shortest where they are not determined."""
    mean_z, mean_r = z.mean(0), r.mean(0)
    centred = r - mean_r
    slopes = torch.linalg.pinv(centred.mT @ centred, rtol=1e-12, hermitian=True) @ (centred.mT @ (z - mean_z))
    return mean_z - mean_r @ slopes, slopes


def fit(
    name: str,
    z: Tensor,
    *,
    condition: Tensor | None = None,
    discrete: int = 0,
    entries: Sequence[str] = (),
    seed: int = 0,
    settings: Mapping[str, Plain] | None = None,
) -> Density:
    """A density by its name, fitted to codes: of p(z), or with a condition of p(z | condition).

    Args:
        name: a key of `NAMES`, or ``gmm-K``.
        z: codes (N, D).
        condition: the condition of each code (N, K), as `Condition.read` gives it; none by default.
        discrete: how many of its K numbers, the first ones, are one-hot: `Condition.discrete`.
        entries: a name for each of the K numbers, for messages: `Condition.entries`.
        seed: of the fit.
        settings: arguments of the density's constructor.

    Returns:
        The fitted density; with a condition, a `ByCondition` of it.

    Raises:
        ValueError: an unknown name, settings out of their range, or codes or conditions that it cannot be fitted to.

    >>> z, labels = torch.randn(60, 2), torch.eye(3).repeat(20, 1)
    >>> fit("normal", z, condition=labels, discrete=3).sample(5, condition=labels[1]).shape
    torch.Size([5, 2])
    """
    if condition is None:
        return make(name, **(settings or {})).fit(z, seed=seed)
    density = ByCondition(name, discrete=discrete, entries=entries, settings=settings)
    return density.fit(z, condition=condition, seed=seed)
