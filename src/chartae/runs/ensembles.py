"""Train many small nets at once: the parameters of all seeds and settings are stacked and mapped over.

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
    """Settings that all runs of `fit_many` share.

    Attributes:
        steps: number of gradient steps of each run, >= 1. Give either `steps` or `epochs`.
        epochs: number of passes over the training data, >= 1. Give either `steps` or `epochs`.
        latent_dim: number of code dimensions, >= 1; None (default) for the recipe's default.
        batch_size: number of examples in a batch, >= 1; default 128.
        net: architecture of encoder and decoder; default ``"smooth"``, an MLP with two hidden layers of 64.
        lr: learning rate, > 0; None (default) for the recipe's own.
        cosine: whether the learning rate decays to zero along half a cosine; default True.
        device: device as PyTorch names it; default ``"cpu"``.

    >>> from chartae.runs import Sweep
    >>> Sweep(epochs=3).length(per_epoch=10)
    30
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
        """Raise ValueError if neither or both of `steps` and `epochs` are given, or `batch_size` is below 1."""
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"steps is {self.steps} and epochs is {self.epochs}; give one of them")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; give at least 1")

    def length(self, per_epoch: int) -> int:
        """The number of gradient steps, for `per_epoch` batches in an epoch.

        Raises:
            ValueError: the number is below 1.
        """
        steps = self.steps if self.epochs is None else per_epoch * self.epochs
        if steps is None or steps < 1:
            raise ValueError(f"the number of steps is {steps}; give steps or epochs of at least 1")
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
    """Train one recipe at every point of a grid, all runs at the same time; meant for sweeps over small nets.

    Up to rounding, each run equals
    ``chartae.fit(recipe, data, seed=..., cosine=cosine, plateau=False, densities=(), ...)`` on batches without the
    last, smaller one: initial weights, order of examples and noise are the same. If a loss draws random numbers that
    are not normal (masks, noise levels, walkback, sliced distances), the two agree in distribution only. Runs whose
    options differ in more than numbers (a prior, a method) are trained in separate groups.

    Args:
        recipe: name of a recipe in `chartae.recipes.RECIPES`, such as ``"vae"``.
        data: a `Dataset`, the name or path of one, or an array of examples.
        grid: option -> its values. Every combination is a run; the last key varies fastest. Keys are the recipe's
            options and ``"seed"``.
        root: folder of named data sets; None (default) for the environment variable ``CHARTAE_DATA``, or else a cache
            folder.
        progress: whether to show progress; None (default) shows it on a terminal only.
        steps: number of gradient steps of each run, >= 1. Give either `steps` or `epochs`.
        epochs: number of passes over the training data, >= 1. Give either `steps` or `epochs`.
        latent_dim: number of code dimensions, >= 1; None (default) for the recipe's default.
        batch_size: number of examples in a batch, >= 1; default 128.
        net: architecture of encoder and decoder; default ``"smooth"``, an MLP with two hidden layers of 64.
        lr: learning rate, > 0; None (default) for the recipe's own.
        cosine: whether the learning rate decays to zero along half a cosine; default True.
        device: device as PyTorch names it; default ``"cpu"``.
        options: the recipe's other keywords, which are the same for all runs.

    Returns:
        One `Run` for each point of the grid, in order, without fitted densities.

    Raises:
        ValueError, TypeError: the data, a name or an option is invalid. Raised before training starts.
        ArithmeticError: a loss became NaN or infinite; the message names the run and the epoch.

    >>> import torch
    >>> import chartae as ch
    >>> grid = {"gamma2": [1.0, 10.0], "seed": range(2)}
    >>> runs = ch.fit_many("vae", torch.randn(64, 3), grid, steps=3, batch_size=16, net="smooth:8", latent_dim=2)
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
    if dataset.train_weight is not None:
        raise ValueError("the data have weights, which fit_many does not use; fit the runs one by one")
    per_epoch = len(dataset.train) // sweep.batch_size
    if not per_epoch:
        raise ValueError(
            f"{len(dataset.train)} training examples do not fill a batch of {sweep.batch_size}; give a smaller "
            "batch_size"
        )
    steps = sweep.length(per_epoch)
    source = origin(dataset)
    recipes = [
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
    lr = recipes[0].lr if sweep.lr is None else float(sweep.lr)
    inside = dataset.kind.inside(dataset.train)
    rows: dict[int, list[Row]] = {}
    for group in _groups(recipes):
        logs = train_many(
            [recipes[i].objective for i in group], inside, seeds=[seeds[i] for i in group], steps=steps,
            batch_size=sweep.batch_size, lr=lr, cosine=sweep.cosine, device=sweep.device, progress=progress,
        )  # fmt: skip
        rows |= dict(zip(group, logs, strict=True))
    training = Training(epochs=math.ceil(steps / per_epoch), batch_size=sweep.batch_size, lr=lr)
    runs = [
        Run(
            settings_of(built, dataset, source, replace(training, seed=seeds[i])), dataset.kind, built.objective.model,
            built.objective, rows[i],
        )
        for i, built in enumerate(recipes)
    ]  # fmt: skip
    return [replace(run, residuals=run.measure_residuals(dataset)) for run in runs]


def _points(grid: Mapping[str, Iterable[Any]], options: Mapping[str, Any]) -> tuple[list[int], list[dict[str, Any]]]:
    """The seed and the options of each point of a grid."""
    if not isinstance(grid, Mapping) or any(isinstance(v, str) or not isinstance(v, Iterable) for v in grid.values()):
        raise TypeError(
            f"grid is {grid!r}; expected a mapping of option -> its values. Give, e.g., {{'seed': range(10)}}"
        )
    table = {key: list(values) for key, values in grid.items()}
    if not table or any(not values for values in table.values()):
        raise ValueError("the grid is empty; give each option at least one value, e.g. {'seed': range(10)}")
    if both := set(table) & set(options):
        raise ValueError(f"{', '.join(sorted(both))} is given twice, in the grid and as a keyword; leave one out")
    for seed in table.get("seed", ()):
        if isinstance(seed, str) or seed != int(seed) or seed < 0:
            raise ValueError(f"seed is {seed!r}; expected a whole number of at least 0")
    points = [dict(zip(table, values, strict=True)) for values in itertools.product(*table.values())]
    return [int(point.pop("seed", 0)) for point in points], points


def _groups(recipes: Sequence[Built]) -> list[list[int]]:
    """Indices of the recipes in groups that differ in floats only, so that each group can be trained as one."""
    groups: dict[str, list[int]] = {}
    for i, built in enumerate(recipes):
        fixed = {k: v for k, v in built.options.items() if isinstance(v, str | bool | int)}
        groups.setdefault(repr(sorted(fixed.items())), []).append(i)
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
    """Minimise several objectives of the same structure at once, in place; they may differ in weights and floats.

    The parameters are stacked and mapped over (`torch.func`), so that a step launches as many operations as that of a
    single model. Adam updates each value independently, so the members do not affect one another.

    Args:
        objectives: K objectives of the same structure, each with one player. Afterwards they are in evaluation mode and
            have their trained weights.
        x: training data (N, *S) in the model's form, or one such tensor for each member, all of the same shape.
        seeds: seed of each member's order of examples and noise.
        steps: number of gradient steps, >= 1.
        batch_size: number of examples in a batch, >= 1; default 128.
        lr: learning rate, > 0; default 1e-3.
        cosine: whether the learning rate decays to zero along half a cosine; default True.
        device: device as PyTorch names it; default ``"cpu"``.
        progress: whether to show progress; None (default) shows it on a terminal only.

    Returns:
        For each member the rows of its log, with the mean of the loss and of every term over each epoch.

    Raises:
        TypeError: an objective has a critic, a term that contains gradients, spectral norms or tied weights; train it
            on its own.
        ValueError: the members differ in more than floats, the number of seeds or data sets is wrong, or the device is
            not available.
        ArithmeticError: a loss became NaN or infinite; the message names the member and the epoch.

    >>> import torch
    >>> from torch import nn
    >>> import chartae as ch
    >>> from chartae.runs import train_many
    >>> def objective(seed, weight):
    ...     torch.manual_seed(seed)
    ...     model = ch.Autoencoder(ch.Dirac(nn.Linear(3, 2)), ch.Gaussian(nn.Linear(2, 3)), ch.StandardNormal(2))
    ...     return ch.Penalised(model, ch.Reconstruction() + weight * ch.LatentNorm())
    >>> logs = train_many([objective(0, 0.1), objective(1, 10.0)], torch.randn(64, 3), seeds=[0, 1], steps=8,
    ...                   batch_size=16, progress=False)
    >>> len(logs), [row["epoch"] for row in logs[0]]
    (2, [1, 2])
    """
    _check_members(objectives, seeds, device)
    ensemble = _Ensemble(objectives, x, seeds, batch_size, device)
    optimiser = torch.optim.Adam(list(ensemble.parameters.values()), lr=lr, fused=True)
    per_epoch = ensemble.per_epoch
    rows: list[list[Row]] = [[] for _ in objectives]
    total: dict[str, Tensor] = {}
    started, steps_in_epoch = time.perf_counter(), 0
    stream = Stream(seeds[0])
    drawing = stream.lent(device) if draws_itself(objectives[0]) else stream.used()
    with TrainingProgress(progress, True, steps, per_epoch) as bar, drawing:
        for step in range(steps):
            epoch, batch = divmod(step, per_epoch)
            if cosine:
                optimiser.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimiser.zero_grad(set_to_none=True)
            values = ensemble.losses(epoch, batch)
            values["loss"].sum().backward()
            optimiser.step()
            for name, value in values.items():
                total[name] = total.get(name, torch.zeros(())) + value.detach()
            steps_in_epoch += 1
            bar.tick()
            if batch == per_epoch - 1 or step == steps - 1:
                means = {name: value / steps_in_epoch for name, value in total.items()}
                _check_finite(means["loss"], objectives, seeds, epoch)
                for k, log in enumerate(rows):
                    numbers: Row = {n: float(v[k]) for n, v in means.items()}
                    log.append({"split": "train", "epoch": epoch + 1, "step": step + 1, **numbers})
                total, steps_in_epoch = {}, 0
                losses = f"mean loss {float(means['loss'].mean()):.4g}"
                bar.epoch(epoch + 1, math.ceil(steps / per_epoch), losses, time.perf_counter() - started)
    ensemble.copy_back()
    return rows


def _check_members(objectives: Sequence[Objective], seeds: Sequence[int], device: str) -> None:
    """Raise for objectives that cannot be stacked, and for a device that is not available."""
    first = objectives[0]
    if len(seeds) != len(objectives):
        raise ValueError(f"there are {len(objectives)} objectives and {len(seeds)} seeds; give one seed for each")
    if any(list(o.players()) != ["model"] for o in objectives):
        raise TypeError(f"{first!r} has a critic; expected an objective with one player. Fit the runs one by one")
    if first.second_order:
        raise TypeError(f"{first!r} contains gradients, which cannot be mapped over; fit the runs one by one")
    if any(is_parametrized(m) for m in first.modules()) or any(isinstance(m, TiedDecoder) for m in first.modules()):
        raise TypeError(
            f"{first!r} has spectral norms or tied weights, which cannot be stacked; fit the runs one by one"
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {device!r}, which torch cannot use here: {error}") from None


class _Ensemble:
    """The stacked parameters of several objectives, with their data, orders of examples and noise."""

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
        self.differing = _differing_numbers(self.objectives)
        self.parameters, buffers = torch.func.stack_module_state(self.objectives)
        self.buffers = {k: v.clone() for k, v in buffers.items()}
        skeleton = copy.deepcopy(first).to("meta")
        self.shared = isinstance(x, Tensor)
        sets = [Batches(data, batch_size, device=device).x for data in ([x] if isinstance(x, Tensor) else x)]
        if not self.shared and (len(sets) != len(objectives) or len({data.shape for data in sets}) > 1):
            raise ValueError(
                f"there are {len(sets)} data sets for {len(objectives)} members; give one for each, all of the same "
                "shape"
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
            draws = iter(noise)
            with _with_numbers(skeleton, d), supplied(lambda shape, like: next(draws)):
                values: dict[str, Tensor] = torch.func.functional_call(skeleton, (p, b), (batch,))
                return values

        self.mapped_loss = torch.func.vmap(loss, in_dims=(0, 0, 0, 0, 0), randomness="different")

    def losses(self, epoch: int, index: int) -> dict[str, Tensor]:
        """The loss and terms of every member (K,) on the batch with this index in the epoch."""
        if not index:
            self.order = torch.stack([o.order(epoch) for o in self.orders]).to(self.device)
        rows = self.order[:, index * self.batch_size : (index + 1) * self.batch_size]
        batch = as_float(self.data[rows] if self.shared else self.data[self.members, rows])
        noise = [
            torch.stack([
                torch.randn(s, dtype=batch.dtype, device=self.device, generator=g) for g in self.generators
            ])
            for s in self.shapes
        ]  # fmt: skip
        values: dict[str, Tensor] = self.mapped_loss(self.parameters, self.buffers, self.differing, batch, noise)
        return values

    @torch.no_grad()
    def copy_back(self) -> None:
        """Copy the trained parameters and buffers to the members."""
        for k, objective in enumerate(self.objectives):
            for name, p in objective.named_parameters():
                p.copy_(self.parameters[name][k])
            for name, b in objective.named_buffers():
                b.copy_(self.buffers[name][k])
            objective.eval()


def _check_finite(loss: Tensor, objectives: Sequence[Objective], seeds: Sequence[int], epoch: int) -> None:
    """Raise ArithmeticError if the loss of a member is NaN or infinite."""
    if not loss.isfinite().all():
        k = int((~loss.isfinite()).nonzero()[0])
        raise ArithmeticError(
            f"the loss of member {k} (seed {seeds[k]}, {objectives[k]!r}) is {float(loss[k])} in epoch {epoch}; "
            "lower lr, or leave that point of the grid out"
        )


def _shapes(objective: Objective, x: Tensor) -> list[tuple[int, ...]]:
    """The shapes of the normal random numbers that a forward pass draws, in order."""
    shapes: list[tuple[int, ...]] = []

    def record(shape: tuple[int, ...], like: Tensor) -> Tensor:
        shapes.append(shape)
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    trial = copy.deepcopy(objective)
    with Stream(0).used(), supplied(record):
        trial(x)
    return shapes


# -- numbers in which members differ ----------------------------------------------------------------------------------


def _differing_numbers(objectives: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The floats in which members differ: path -> values (K,). They are attributes of modules, or in their dicts.

    Raises:
        ValueError: the members differ in anything else.
    """
    like = next(objectives[0].parameters())
    numbers = {}
    for modules in zip(*(o.named_modules() for o in objectives), strict=True):
        path = modules[0][0]
        for key, tables in _plain_attributes(modules):
            values = [table[key[-1]] for table in tables]
            if all(v == values[0] for v in values):
                continue
            if not all(isinstance(v, float) for v in values):
                raise ValueError(
                    f"{path or 'the objective'}.{key[0]} is {values[0]!r} in one member and "
                    f"{next(v for v in values if v != values[0])!r} in another; expected members that differ in floats "
                    "only. Fit the runs one by one"
                )
            numbers["|".join((path, *key))] = torch.tensor(values, dtype=like.dtype, device=like.device)
    return numbers


def _plain_attributes(
    modules: Sequence[tuple[str, nn.Module]],
) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """The keys of a module's plain attributes, each with the dict of every member that holds its value."""
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
def _with_numbers(module: nn.Module, numbers: dict[str, Tensor]) -> Iterator[None]:
    """Set these numbers on the module within the block, and restore the previous values afterwards."""
    before = []
    for path, value in numbers.items():
        submodule, *keys = path.split("|")
        table: dict[str, Any] = module.get_submodule(submodule).__dict__
        if len(keys) == 2:
            table = table[keys[0]]
        before.append((table, keys[-1], table[keys[-1]]))
        table[keys[-1]] = value
    try:
        yield
    finally:
        for table, name, previous in before:
            table[name] = previous
