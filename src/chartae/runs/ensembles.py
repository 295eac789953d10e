"""Many small nets trained as one: seeds and settings side by side in stacked parameters.

runs = fit_many("vae", data, grid={"gamma2": [1e1, 1e3, 1e5], "seed": range(10)}, steps=20_000)
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from chartae.data import Batches, origin
from chartae.data import read as read_data
from chartae.maths import as_float
from chartae.maths.random import Stream, supplied
from chartae.nn import TiedDecoder, draws_itself
from chartae.objectives import Objective
from chartae.recipes import RECIPES, Built, build, recipe_options, setting_for
from chartae.runs.fitting import settings_of
from chartae.runs.run import Run
from chartae.training import Row, Training
from chartae.training.progress import TrainingProgress
from chartae.training.settings import lists_fields

__all__ = ["Sweep", "fit_many", "train_many"]


@dataclass(frozen=True)
class Sweep:
    """How many nets are trained as one.

    Attributes:
        steps: batches that each run sees, or `epochs`, passes over the data; one of the two is given.
        latent_dim: size of the codes; None for the recipe's default.
        batch_size: examples in a batch, >= 1.
        net: a small one: `smooth`, of two layers of 64, by default.
        lr: learning rate, > 0; None for the recipe's own.
        cosine: whether the learning rate falls to zero as half a cosine.
        device: as torch names it.
    """

    steps: int | None = None
    epochs: int | None = None
    latent_dim: int | None = None
    batch_size: int = 128
    net: str = "smooth"
    lr: float | None = None
    cosine: bool = True
    device: str = "cpu"

    def check(self) -> None:
        """Raise ValueError for what no sweep can have."""
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"steps is {self.steps} and epochs {self.epochs}; give one of them")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; give at least 1")

    def length(self, per_epoch: int) -> int:
        """The number of steps."""
        steps = self.steps if self.epochs is None else per_epoch * self.epochs
        if steps is None or steps < 1:
            raise ValueError(f"training takes {steps} steps; give at least 1")
        return steps


@lists_fields(Sweep)
def fit_many(
    recipe: str,
    data: object,
    grid: Mapping[str, Iterable[Any]],
    *,
    root: str | Path | None = None,
    progress: bool | None = None,
    **options: Any,
) -> list[Run]:
    """Train one recipe at every point of a grid, all runs at once: what a sweep over small nets wants.

    Each run is the one that ``chartae.fit(recipe, data, seed=..., cosine=cosine, plateau=False, densities=(), ...)``
    would have made on batches without the last, smaller one: the same start, order of examples and noise, to rounding.
    Where a loss draws other than normal numbers (masks, noise levels, walkback, sliced distances) it is so in
    distribution. Runs whose options differ in more than numbers (a prior, a method) are trained group by group.

    Args:
        recipe: a name of `chartae.recipes.RECIPES`.
        data: a `Dataset`, the name or path of one, or an array of examples.
        grid: option -> its values; every combination is a run, the last key varying fastest. Keys are the recipe's
            options and ``"seed"``.
        root: where named data lie.
        progress: a progress bar; by default only on a terminal.
        options: the fields of `Sweep` (steps or epochs, latent_dim, batch_size, net, lr, cosine, device), and the
            recipe's other keywords, the same for all.

    Returns:
        One `Run` for each point of the grid, in order, not fitted with densities.

    Raises:
        ValueError, TypeError: whatever is wrong with data, names or options, before training starts.
        ArithmeticError: a loss stopped being a number; the message says whose and when.

    >>> import torch
    >>> runs = fit_many("vae", torch.randn(64, 3), {"gamma2": [1.0, 10.0], "seed": range(2)}, steps=3, batch_size=16,
    ...                 net="smooth:8", latent_dim=2)
    >>> [(run.settings.options["gamma2"], run.settings.seed) for run in runs]
    [(1.0, 0), (1.0, 1), (10.0, 0), (10.0, 1)]
    """
    names = {f.name for f in fields(Sweep)}
    sweep = Sweep(**{key: options.pop(key) for key in names & set(options)})
    seeds, points = _points(grid, options)
    sweep.check()
    for point in points:
        recipe_options(recipe, options | point)
    record = RECIPES[recipe]
    dataset = read_data(data, kinds=record.kinds, root=root)
    per_epoch = len(dataset.train) // sweep.batch_size
    if not per_epoch:
        raise ValueError(
            f"{len(dataset.train)} training examples do not fill a batch of {sweep.batch_size}; use a smaller one"
        )
    steps = sweep.length(per_epoch)
    source = origin(dataset)
    builts = [
        build(
            recipe,
            setting_for(
                recipe, dataset.kind, data=Path(source.data).stem, latent_dim=sweep.latent_dim, net=sweep.net,
                options=options | point,
            ),
            seed=seed, **options | point,
        )
        for seed, point in zip(seeds, points, strict=True)
    ]  # fmt: skip
    rate = builts[0].lr if sweep.lr is None else float(sweep.lr)
    inside = dataset.kind.inside(dataset.train)
    rows: dict[int, list[Row]] = {}
    for members in _groups(builts):
        logs = train_many(
            [builts[i].objective for i in members], inside, seeds=[seeds[i] for i in members], steps=steps,
            batch_size=sweep.batch_size, lr=rate, cosine=sweep.cosine, device=sweep.device, progress=progress,
        )  # fmt: skip
        rows |= dict(zip(members, logs, strict=True))
    training = Training(epochs=math.ceil(steps / per_epoch), batch_size=sweep.batch_size, lr=rate)
    return [
        Run(
            settings_of(built, dataset, source, replace(training, seed=seeds[i])), dataset.kind, built.objective.model,
            built.objective, rows[i],
        )
        for i, built in enumerate(builts)
    ]  # fmt: skip


def _points(grid: Mapping[str, Iterable[Any]], options: Mapping[str, Any]) -> tuple[list[int], list[dict[str, Any]]]:
    """The seed and the options of each point of a grid."""
    if not isinstance(grid, Mapping) or any(isinstance(v, str) or not isinstance(v, Iterable) for v in grid.values()):
        raise TypeError(f"the grid is {grid!r}; give a table of option -> its values, e.g. {{'seed': range(10)}}")
    table = {key: list(values) for key, values in grid.items()}
    if not table or any(not values for values in table.values()):
        raise ValueError("the grid is empty; give each key at least one value, e.g. {'seed': range(10)}")
    if both := set(table) & set(options):
        raise ValueError(f"{', '.join(sorted(both))} is given twice, in the grid and beside it")
    for seed in table.get("seed", ()):
        if isinstance(seed, str) or seed != int(seed) or seed < 0:
            raise ValueError(f"seed is {seed!r}; a seed is a whole number of at least 0")
    points = [dict(zip(table, values, strict=True)) for values in itertools.product(*table.values())]
    return [int(point.pop("seed", 0)) for point in points], points


def _groups(builts: Sequence[Built]) -> list[list[int]]:
    """Which recipes differ in numbers alone, and can be trained as one."""
    groups: dict[str, list[int]] = {}
    for i, one in enumerate(builts):
        kind = {k: v for k, v in one.options.items() if isinstance(v, str | bool | int)}
        groups.setdefault(repr(sorted(kind.items())), []).append(i)
    return list(groups.values())


def train_many(
    objectives: Sequence[Objective],
    x: Tensor | Sequence[Tensor],
    *,
    seeds: Sequence[int],
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    cosine: bool = True,
    device: str = "cpu",
    progress: bool | None = None,
) -> list[list[Row]]:
    """Minimise objectives of one make, which may differ in weights, seeds and numbers, in one pass a step; in place.

    Parameters are stacked and mapped over (`torch.func`): a step launches as many operations as that of one model.
    Adam acts value by value, so each member goes its own way.

    Args:
        objectives: of one structure and one player; afterwards in evaluation mode with their trained weights.
        x: training data (N, *S) in the model's form, or one such tensor for each member, all of a length.
        seeds: of each member's order of examples and noise.
        steps, batch_size, lr, cosine, device, progress: as of `fit_many`.

    Returns:
        Of each member the rows of its log: the mean of every term over each epoch.

    Raises:
        TypeError: objectives with critics, terms made of gradients, spectral norms or tied weights, which must be
            trained one at a time.
        ValueError: members that differ in more than numbers; a device that is not there.
    """
    _check_members(objectives, seeds, device)
    ensemble = _Ensemble(objectives, x, seeds, batch_size, device)
    optimiser = torch.optim.Adam(list(ensemble.parameters.values()), lr=lr, fused=True)
    per_epoch = ensemble.per_epoch
    rows: list[list[Row]] = [[] for _ in objectives]
    total: dict[str, Tensor] = {}
    started, seen = time.perf_counter(), 0
    stream = Stream(seeds[0])
    drawing = stream.lent(device) if draws_itself(objectives[0]) else stream.used()
    with TrainingProgress(progress, True, steps, per_epoch) as bar, drawing:
        for step in range(steps):
            epoch, at = divmod(step, per_epoch)
            if cosine:
                optimiser.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimiser.zero_grad(set_to_none=True)
            values = ensemble.losses(epoch, at)
            values["loss"].sum().backward()
            optimiser.step()
            for name, value in values.items():
                total[name] = total.get(name, torch.zeros(())) + value.detach()
            seen += 1
            bar.tick()
            if at == per_epoch - 1 or step == steps - 1:
                means = {name: value / seen for name, value in total.items()}
                _sound(means["loss"], objectives, seeds, epoch)
                for k, log in enumerate(rows):
                    numbers: Row = {n: float(v[k]) for n, v in means.items()}
                    log.append({"split": "train", "epoch": epoch + 1, "step": step + 1, **numbers})
                total, seen = {}, 0
                losses = f"mean loss {float(means['loss'].mean()):.4g}"
                bar.epoch(epoch + 1, math.ceil(steps / per_epoch), losses, time.perf_counter() - started)
    ensemble.hand_back()
    return rows


def _check_members(objectives: Sequence[Objective], seeds: Sequence[int], device: str) -> None:
    first = objectives[0]
    if len(seeds) != len(objectives):
        raise ValueError(f"there are {len(objectives)} objectives, but {len(seeds)} seeds")
    if any(list(o.players()) != ["model"] for o in objectives):
        raise TypeError(f"{first!r} has a critic; ensembles are for objectives of one player: fit them one by one")
    if first.second_order:
        raise TypeError(f"{first!r} is made of gradients, which cannot be mapped over; fit the runs one by one")
    if any(is_parametrized(m) for m in first.modules()) or any(isinstance(m, TiedDecoder) for m in first.modules()):
        raise TypeError(
            f"{first!r} has spectral norms or tied weights, which cannot be stacked; fit the runs one by one"
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {device!r}, which torch cannot use here: {error}") from None


class _Ensemble:
    """Stacked parameters of many objectives, their data, orders and noise."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        x: Tensor | Sequence[Tensor],
        seeds: Sequence[int],
        batch_size: int,
        device: str,
    ) -> None:
        self.objectives = [o.to(device).train() for o in objectives]
        self.device, self.batch_size = device, batch_size
        first = self.objectives[0]
        self.dials = _dials(self.objectives)
        self.parameters, buffers = torch.func.stack_module_state(self.objectives)
        self.buffers = {k: v.clone() for k, v in buffers.items()}
        skeleton = copy.deepcopy(first).to("meta")
        self.shared = isinstance(x, Tensor)
        sets = [Batches(one, batch_size, device=device).x for one in ([x] if isinstance(x, Tensor) else x)]
        if not self.shared and (len(sets) != len(objectives) or len({one.shape for one in sets}) > 1):
            raise ValueError(
                f"there are {len(sets)} data sets for {len(objectives)} members; give each one, all of a shape"
            )
        self.data = sets[0] if self.shared else torch.stack(sets)
        self.orders = [Batches(sets[0], batch_size, seed=seed, drop_last=True) for seed in seeds]
        self.order = torch.empty(0)
        self.members = torch.arange(len(objectives), device=device)[:, None]
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.per_epoch = len(sets[0]) // batch_size
        self.shapes = _shapes(first, as_float(sets[0][:batch_size]))

        def loss(
            p: dict[str, Tensor], b: dict[str, Tensor], d: dict[str, Tensor], batch: Tensor, noise: list[Tensor]
        ) -> dict[str, Tensor]:
            given = iter(noise)
            with _turned(skeleton, d), supplied(lambda shape, like: next(given)):
                values: dict[str, Tensor] = torch.func.functional_call(skeleton, (p, b), (batch,))
                return values

        self.every = torch.func.vmap(loss, in_dims=(0, 0, 0, 0, 0), randomness="different")

    def losses(self, epoch: int, at: int) -> dict[str, Tensor]:
        """The loss and terms of every member (K,) on batch number `at` of an epoch."""
        if not at:
            self.order = torch.stack([o.order(epoch) for o in self.orders]).to(self.device)
        rows = self.order[:, at * self.batch_size : (at + 1) * self.batch_size]
        batch = as_float(self.data[rows] if self.shared else self.data[self.members, rows])
        noise = [
            torch.stack([
                torch.randn(s, dtype=batch.dtype, device=self.device, generator=g) for g in self.generators
            ])
            for s in self.shapes
        ]  # fmt: skip
        values: dict[str, Tensor] = self.every(self.parameters, self.buffers, self.dials, batch, noise)
        return values

    @torch.no_grad()
    def hand_back(self) -> None:
        """Each member its trained parameters and buffers."""
        for k, objective in enumerate(self.objectives):
            for name, p in objective.named_parameters():
                p.copy_(self.parameters[name][k])
            for name, b in objective.named_buffers():
                b.copy_(self.buffers[name][k])
            objective.eval()


def _sound(loss: Tensor, objectives: Sequence[Objective], seeds: Sequence[int], epoch: int) -> None:
    if not loss.isfinite().all():
        k = int((~loss.isfinite()).nonzero()[0])
        raise ArithmeticError(
            f"the loss of member {k} (seed {seeds[k]}, {objectives[k]!r}) is {float(loss[k])} in epoch {epoch}; "
            "lower lr, or leave that point of the grid out"
        )


def _shapes(objective: Objective, x: Tensor) -> list[tuple[int, ...]]:
    """The shapes of the normal numbers that one pass draws, in their order."""
    shapes: list[tuple[int, ...]] = []

    def note(shape: tuple[int, ...], like: Tensor) -> Tensor:
        shapes.append(shape)
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    trial = copy.deepcopy(objective)
    with Stream(0).used(), supplied(note):
        trial(x)
    return shapes


# -- numbers in which members differ ----------------------------------------------------------------------------------


def _dials(objectives: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Every number kept on a module, or in a table on one, that is not the same for all: path -> (K,).

    Raises:
        ValueError: members that differ in anything else.
    """
    like = next(objectives[0].parameters())
    found = {}
    for modules in zip(*(o.named_modules() for o in objectives), strict=True):
        path = modules[0][0]
        for key, tables in _plain(modules):
            values = [table[key[-1]] for table in tables]
            if all(v == values[0] for v in values):
                continue
            if not all(isinstance(v, float) for v in values):
                raise ValueError(
                    f"members of an ensemble may differ in numbers alone, but {path or 'the objective'}.{key[0]} is "
                    f"{values[0]!r} in one and {next(v for v in values if v != values[0])!r} in another"
                )
            found["|".join((path, *key))] = torch.tensor(values, dtype=like.dtype, device=like.device)
    return found


def _plain(modules: Sequence[tuple[str, nn.Module]]) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    tables = [module.__dict__ for _, module in modules]
    for name, value in tables[0].items():
        if name.startswith("_") or name == "training":
            continue
        if isinstance(value, dict):
            for key in value:
                yield (name, key), [table[name] for table in tables]
        elif isinstance(value, int | float | str | tuple | type(None)):
            yield (name,), tables


@contextmanager
def _turned(module: nn.Module, dials: dict[str, Tensor]) -> Iterator[None]:
    """The module with its dials set; its own numbers come back afterwards."""
    before = []
    for path, value in dials.items():
        where, *keys = path.split("|")
        table: dict[str, Any] = module.get_submodule(where).__dict__
        if len(keys) == 2:
            table = table[keys[0]]
        before.append((table, keys[-1], table[keys[-1]]))
        table[keys[-1]] = value
    try:
        yield
    finally:
        for table, name, own in before:
            table[name] = own
