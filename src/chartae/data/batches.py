"""Batches of a data set in memory, gathered by index and scaled on the device of the data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from chartae.data.arrays import as_tensor
from chartae.maths import as_float

__all__ = ["Batch", "Batches"]

#: on an accelerator, several batches are gathered and scaled by the same kernel launches, up to this many bytes
_CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class Batch:
    """A batch of B examples, as the training loop passes it to an objective. Fields without data are None.

    Attributes:
        x: examples (B, ...), as the model reads them.
        condition: values (B, K) that encoder, decoder and density are conditioned on.
        labels: classes (B,) to learn from, int64; -1 where the class is unknown.
        target: property (B,) of each example to predict; NaN where it is unknown.
        partner: examples (B, ...) of the other domain, paired with `x` at random.
        weight: weight (B,) of each example in the loss, of mean 1 over the whole data set.

    >>> import torch
    >>> from chartae.data import Batch
    >>> batch = Batch(torch.zeros(4, 3), labels=torch.tensor([0, 1, -1, 1]))
    >>> len(batch), batch.join(batch).x.shape, batch.target
    (4, torch.Size([8, 3]), None)
    """

    x: Tensor
    condition: Tensor | None = None
    labels: Tensor | None = None
    target: Tensor | None = None
    partner: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Apply `function` to every tensor of the batch."""
        return self._from({f.name: None if (t := getattr(self, f.name)) is None else function(t) for f in fields(self)})

    def join(self, other: Batch) -> Batch:
        """Concatenate this batch and another one; a field that is None in either is None in the result."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return self._from(
            {name: None if a is None or b is None else torch.cat([a, b]) for name, (a, b) in pairs.items()}
        )

    @staticmethod
    def _from(values: dict[str, Tensor | None]) -> Batch:
        x = values.pop("x")
        assert x is not None
        return Batch(x, **values)


#: the fields of a batch, besides x, that have one row for each example of the data set
_COLUMNS = ("condition", "labels", "target", "weight")


class Batches:
    """A data set that resides on one device and is served as `Batch` objects.

    uint8 levels become float32 in [0, 1], and int8 or int16 indices float32 of the same values, batch by batch on the
    device, so that the data set takes only one or two bytes per value (50,000 MNIST images: 39 MB instead of 157).
    An epoch also needs a permutation of 8 bytes per example and, on an accelerator, the few batches that are gathered
    at once (32 MiB). Memory does not grow with the number of epochs.

    The order of the examples depends only on (seed, epoch). It is drawn on the CPU by a separate generator, so it is
    the same on every device and neither depends on nor changes torch's global random state.

    Args:
        x: (N, ...) numpy array or tensor of numbers, N >= 1. uint8, int8 and int16 are kept; other dtypes are
            converted to float32.
        batch_size: number of examples in a (global) batch; >= 1.
        seed: seed of the order; >= 0; default 0.
        condition: (N, K) conditions of the examples; None by default.
        labels: (N,) classes of the examples, -1 where unknown; None by default.
        target: (N,) property of the examples, NaN where unknown; None by default.
        partner: (M, ...) examples of another domain; each batch has as many of them as examples, scaled like `x`.
            They are in a separate order, new in every epoch if `shuffle`, and start again at the end. Pairing is
            random.
        weight: (N,) weights of the examples in the loss, >= 0 and not all 0; they are divided by their mean over all N
            examples. None by default.
        shuffle: whether every epoch has a new order (default). Otherwise batches are slices in the order of the data;
            slices of float data are views, which must not be modified.
        drop_last: whether to drop the last batch if it is smaller; default False.
        labelled: number of labelled examples (label >= 0) that are added at the end of each batch, drawn at random
            with replacement; default 0. Only these have their labels; all other labels of the batch are set to -1.
        device: device of the data set; by default the one where `x` is.

    Raises:
        ValueError: there are no examples, numbers of rows do not agree, values are not finite, no labels exist although
            `labelled` is positive, or a weight is negative or not finite, or all are 0.

    >>> import numpy as np
    >>> from chartae.data import Batches
    >>> batches = Batches(np.arange(10.0)[:, None], 4, seed=1)
    >>> [len(batch) for batch in batches.epoch(0)], len(batches)
    ([4, 4, 2], 3)
    >>> sorted(value.item() for batch in batches.epoch(3) for value in batch.x)
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    """

    def __init__(
        self,
        x: object,
        batch_size: int,
        *,
        seed: int = 0,
        condition: object = None,
        labels: object = None,
        target: object = None,
        partner: object = None,
        weight: object = None,
        shuffle: bool = True,
        drop_last: bool = False,
        labelled: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        rows = as_tensor(x)
        if rows.ndim < 1 or rows.numel() == 0:
            raise ValueError(f"x has shape {tuple(rows.shape)}; expected at least one example (N, ...).")
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}; expected a whole number of at least 1.")
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected a number of at least 0.")
        if drop_last and len(rows) < batch_size:
            raise ValueError(
                f"batch_size is {batch_size}; expected at most {len(rows)}, the number of examples, as drop_last drops"
                " the only batch. Use a smaller batch_size or drop_last=False."
            )
        if rows.dtype not in (torch.uint8, torch.int8, torch.int16, torch.float32):
            rows = as_float(rows)
        if rows.is_floating_point() and not all(v.isfinite() for v in rows.aminmax()):
            bad = (~rows.isfinite()).flatten(1).any(1) if rows.ndim > 1 else ~rows.isfinite()
            raise ValueError(
                f"x has NaN or infinity in {int(bad.sum())} of {len(rows)} examples (first: row"
                f" {int(bad.nonzero()[0])}); expected finite numbers. Drop or impute these rows."
            )
        columns = {
            name: _column(name, value, len(rows))
            for name, value in zip(_COLUMNS, (condition, labels, target, weight), strict=True)
        }
        columns["weight"] = _weights(columns["weight"])
        self.labelled, self._labelled_indices = labelled, _labelled_rows(columns["labels"], labelled)
        partners = None if partner is None else as_tensor(partner, "partner")
        if partners is not None and (partners.ndim < 1 or partners.numel() == 0):
            raise ValueError(f"partner has shape {tuple(partners.shape)}; expected at least one example (M, ...).")
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.shuffle, self.drop_last = shuffle, drop_last
        self._inside: Callable[[Tensor], Tensor] | None = None
        self._data = Batch(rows.contiguous(), **columns, partner=partners)
        if device is not None:
            self._data = self.to(device)._data

    @property
    def x(self) -> Tensor:
        """All examples (N, ...), as they are stored."""
        return self._data.x

    def _read(self, rows: Tensor) -> Tensor:
        """Stored examples as floats in the model's form."""
        return as_float(rows if self._inside is None else self._inside(rows))

    @property
    def labels(self) -> Tensor | None:
        """Labels of all examples; None if there are none."""
        return self._data.labels

    @property
    def target(self) -> Tensor | None:
        """Targets of all examples; None if there are none."""
        return self._data.target

    @property
    def condition(self) -> Tensor | None:
        """Conditions of all examples; None if there are none."""
        return self._data.condition

    @property
    def weight(self) -> Tensor | None:
        """Weights of all examples, of mean 1; None if all weigh the same."""
        return self._data.weight

    @property
    def partner(self) -> Tensor | None:
        """All examples of the other domain; None if there are none."""
        return self._data.partner

    def to(self, device: torch.device | str) -> Batches:
        """The same batches on another device; tensors that are already there are shared."""
        moved = copy.copy(self)
        moved._data = self._data.map(lambda values: values.to(device))
        return moved

    def converted(self, inside: Callable[[Tensor], Tensor]) -> Batches:
        """The same batches, whose examples are converted batch by batch, without a second copy of the data set.

        Args:
            inside: function that converts stored examples (n, ...) to the model's form, such as `Kind.inside`.
        """
        changed = copy.copy(self)
        changed._inside = inside
        return changed

    def first(self, n: int) -> Batches:
        """Batches of the first `n` examples, or of all if there are fewer."""
        part = copy.copy(self)
        part._data = self._data.map(lambda values: values[:n])
        part._labelled_indices = self._labelled_indices[self._labelled_indices < n]
        if self.labelled and not len(part._labelled_indices):
            part.labelled = 0
        return part

    def without_single(self, world: int = 1) -> Batches:
        """These batches, without a last one in which a rank would have one example, unless it is the only batch.

        Batch normalisation cannot train on one example, and distances between batches are undefined. In a new order,
        another example is left out in each epoch.

        Args:
            world: number of ranks (processes); default 1.
        """
        full, remainder = divmod(self.n, self.batch_size)
        if not full or self.batch_size // world < 2 or remainder // world != 1:
            return self
        changed = copy.copy(self)
        changed.drop_last = True
        return changed

    def resized(self) -> Batches:
        """These batches in the smallest size, from `batch_size` on, whose last batch has more than one example.

        All examples are kept. The size does not change if it is 1, or if there is one example only.
        """
        changed = copy.copy(self)
        while changed.batch_size > 1 and self.n > 1 and self.n % changed.batch_size == 1:
            changed.batch_size += 1
        return changed

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, in the model's form."""
        return tuple((self.x if self._inside is None else self._inside(self.x[:1])).shape[1:])

    def steps(self, world: int = 1) -> int:
        """Number of batches in an epoch on each rank.

        Args:
            world: number of ranks (processes); default 1. The last batch counts if every rank gets a share of it.

        Raises:
            ValueError: a batch, or all examples together, cannot be split over the ranks.
        """
        if world < 1:
            raise ValueError(f"world is {world}; expected a number of at least 1.")
        if self.batch_size < world:
            raise ValueError(
                f"batch_size is {self.batch_size}; expected at least {world}, the number of ranks. Use a larger"
                " batch_size or fewer ranks."
            )
        full, remainder = divmod(self.n, self.batch_size)
        steps = full + (not self.drop_last and remainder >= world)
        if not steps:
            raise ValueError(
                f"x has {self.n} examples; expected at least {world}, the number of ranks. Use fewer ranks."
            )
        return steps

    def __len__(self) -> int:
        return self.steps()

    def order(self, epoch: int) -> Tensor:
        """Order of the examples in an epoch: a permutation of 0..N-1, on the CPU."""
        if not self.shuffle:
            return torch.arange(self.n)
        state = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)
        return torch.randperm(self.n, generator=torch.Generator().manual_seed(int(state[0])))

    def rows(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Tensor:
        """Row numbers, counted from 0, of the examples of one batch, in the order in which `epoch` serves them.

        Args:
            epoch: number of the epoch, >= 0.
            step: number of the batch in the epoch, from 0.
            rank: number of this process, 0 <= rank < world; default 0.
            world: number of processes; default 1.

        Returns:
            Row numbers (b,), int64, on the CPU.

        Raises:
            ValueError: the epoch has no such batch.
        """
        steps = self.steps(world)
        if not 0 <= step < steps:
            raise ValueError(f"step is {step}; expected a number of at least 0 and below {steps}.")
        start = step * self.batch_size
        share = min(self.batch_size, self.n - start) // world
        rows = self.order(epoch)[start + rank * share : start + (rank + 1) * share]
        return torch.cat([rows, self._labelled_draws(epoch, steps, world)[step, rank]]) if self.labelled else rows

    def epoch(self, epoch: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Iterate over the batches of one epoch, with float32 examples (b, ...) on the device.

        With several ranks every global batch is cut to a multiple of `world` and split evenly, so that the batches of
        all ranks, concatenated, are the (cut) batch of a single process. A last batch smaller than `world` is dropped
        on every rank.

        Args:
            epoch: number of the epoch, >= 0; it determines the order.
            start: number of the first batch, >= 0; default 0.
            rank: number of this process, 0 <= rank < world; default 0.
            world: number of processes; default 1.

        Raises:
            ValueError: an argument is out of range, or the batches cannot be split over the ranks.
        """
        steps = self.steps(world)
        if epoch < 0 or start < 0:
            raise ValueError(f"epoch is {epoch} and start is {start}; expected numbers of at least 0.")
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank}; expected 0 <= rank < {world}, the world.")
        batches = self._gathered(epoch, start, rank, world) if self.shuffle else self._sliced(start, steps, rank, world)
        if self._data.partner is not None:
            batches = self._with_partners(batches, self._data.partner, epoch, start, rank)
        return self._with_labelled(batches, epoch, start, steps, rank, world) if self.labelled else batches

    def _with_partners(
        self, batches: Iterator[Batch], partner: Tensor, epoch: int, start: int, rank: int
    ) -> Iterator[Batch]:
        """Add partners to each batch, different ones on each rank."""
        order = torch.arange(len(partner))
        if self.shuffle:
            state = np.random.SeedSequence((self.seed, epoch, 2)).generate_state(1, np.uint64)
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(int(state[0])))
        for number, batch in enumerate(batches, start):
            size = len(batch)
            rows = order[(number * self.batch_size + rank * size + torch.arange(size)) % len(order)]
            yield replace(batch, partner=as_float(partner.index_select(0, rows.to(batch.x.device))))

    def _with_labelled(
        self, batches: Iterator[Batch], epoch: int, start: int, steps: int, rank: int, world: int
    ) -> Iterator[Batch]:
        """Append labelled examples to each batch, different ones on each rank."""
        drawn = self._labelled_draws(epoch, steps, world)
        for batch, rows in zip(batches, drawn[start:, rank].to(self.x.device), strict=False):
            labelled = self._rows(rows, self._columns())
            assert batch.labels is not None
            unlabelled = replace(batch, labels=torch.full_like(batch.labels, -1))
            yield unlabelled.join(labelled)

    def _labelled_draws(self, epoch: int, steps: int, world: int) -> Tensor:
        """Row numbers (steps, world, labelled) of the labelled examples that are appended in an epoch."""
        state = np.random.SeedSequence((self.seed, epoch, 1)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        candidates = self._labelled_indices
        return candidates[torch.randint(len(candidates), (steps, world, self.labelled), generator=generator)]

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def _sliced(self, start: int, steps: int, rank: int, world: int) -> Iterator[Batch]:
        columns = self._columns()
        for b in range(start, steps):
            lo = b * self.batch_size
            share = min(self.batch_size, self.n - lo) // world
            lo += rank * share
            yield Batch(
                self._read(self.x[lo : lo + share]), **{name: v[lo : lo + share] for name, v in columns.items()}
            )

    def _columns(self) -> dict[str, Tensor]:
        """The fields besides x that have one row for each example."""
        return {name: v for name in _COLUMNS if (v := getattr(self._data, name)) is not None}

    def _rows(self, rows: Tensor, columns: Mapping[str, Tensor]) -> Batch:
        """The examples of some rows, with the same rows of `columns`."""
        x = self._read(self._data.x.index_select(0, rows))
        return Batch(x, **{name: v.index_select(0, rows) for name, v in columns.items()}) if columns else Batch(x)

    def _gathered(self, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        full, remainder = divmod(self.n, self.batch_size)
        share, last = self.batch_size // world, 0 if self.drop_last else remainder // world
        order = self.order(epoch)
        head, tail = order[: self.n - remainder].view(full, self.batch_size), order[self.n - remainder :]
        local = head[start:, rank * share : (rank + 1) * share].reshape(-1)
        if start <= full:
            local = torch.cat([local, tail[rank * last : (rank + 1) * last]])
        if not len(local):  # split would yield one empty batch
            return
        columns, together = self._columns(), self._chunk(share)
        for rows in local.to(self.x.device).split(share * together):
            chunk = self._rows(rows, columns)
            if together == 1:
                yield chunk
                continue
            parts = {name: getattr(chunk, name).split(share) for name in ("x", *columns)}
            for values in zip(*parts.values(), strict=True):
                yield Batch(values[0], **dict(zip(columns, values[1:], strict=True)))

    def _chunk(self, share: int) -> int:
        """Number of batches that are gathered at once; 1 on the CPU, where it fits the cache (measured)."""
        if self.x.device.type == "cpu":
            return 1
        return max(1, min(16, _CHUNK_BYTES // (4 * share * max(1, self.x[0].numel()))))


def _column(name: str, value: object, n: int) -> Tensor | None:
    """Convert one field of a batch, checking that it has one row for each of `n` examples."""
    if value is None:
        return None
    column = as_tensor(value, name)
    if column.ndim < 1 or len(column) != n:
        raise ValueError(f"{name} has shape {tuple(column.shape)} for {n} examples; expected one row for each.")
    return column


def _weights(weight: Tensor | None) -> Tensor | None:
    """Check the weights of the examples, and divide them by their mean."""
    if weight is None:
        return None
    if weight.ndim != 1:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected one number for each example.")
    values = weight.double()
    bad = ~(values.isfinite() & (values >= 0))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"weight is {values[row]:g} in row {row} ({int(bad.sum())} such rows); expected finite numbers of at least"
            " 0. Drop these rows, or give them the weight 0."
        )
    if not values.any():
        raise ValueError("weight is 0 in all rows; expected a number above 0 in at least one.")
    return (values / values.mean()).float()


def _labelled_rows(labels: Tensor | None, labelled: int) -> Tensor:
    """Row numbers of the labelled examples; empty if no labelled examples are added to the batches."""
    if not labelled:
        return torch.empty(0, dtype=torch.int64)
    if labels is None or labels.ndim != 1 or labels.is_floating_point() or not (labels >= 0).any():
        raise ValueError(
            f"labelled is {labelled}, but no example has a label; expected labels 0, 1, ..., and -1 for none."
            " Give labels=, or labelled=0."
        )
    return (labels >= 0).nonzero()[:, 0].cpu()
