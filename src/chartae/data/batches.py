"""The fast path from a set in memory to batches: gathered by index, scaled where the data reside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from chartae.data.arrays import as_tensor
from chartae.maths import as_float

__all__ = ["Batch", "Batches"]

#: on an accelerator, one set of kernel launches gathers and scales several batches, up to this many bytes
_CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class Batch:
    """What the training loop hands to an objective; each field has one meaning, and is None where there is none.

    Attributes:
        x: examples (B, *S), as the model reads them.
        condition: what encoder, decoder and density are conditioned on (B, K).
        labels: classes to learn from (B,), int64; -1 where the class is unknown.
        target: a property of each example to predict (B,); NaN where it is unknown.
        partner: examples of the other domain (B, *T), paired with `x` at random.
        weight: how much each example counts (B,).
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
        """The batch of `function` of every tensor that is there."""
        return self._of({f.name: None if (t := getattr(self, f.name)) is None else function(t) for f in fields(self)})

    def join(self, other: Batch) -> Batch:
        """This batch with another behind it; what one of the two lacks is left out."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return self._of({name: None if a is None or b is None else torch.cat([a, b]) for name, (a, b) in pairs.items()})

    @staticmethod
    def _of(values: dict[str, Tensor | None]) -> Batch:
        x = values.pop("x")
        assert x is not None
        return Batch(x, **values)


#: the fields of a batch that have one row for each example of the set
_BESIDE = ("condition", "labels", "target", "weight")


class Batches:
    """A whole set resident on one device, handed out as `Batch` objects.

    uint8 becomes float32 in [0, 1], and int8 or int16 (indices) float32 of the same values, batch by batch, on the
    device: the resident set keeps one or two bytes a value (50,000 MNIST images: 39 MB, not 157). What else an epoch
    takes is one permutation of 8 bytes an example, and, on an accelerator, the few batches that are gathered at once
    (32 MiB); nothing grows with the number of epochs.

    The order is a function of (seed, epoch) alone: it is drawn on the CPU by a generator of its own, so that
    it is the same on every device and neither reads nor moves torch's global state.

    Args:
        x: (N, ...) numbers, numpy or torch; uint8, int8 and int16 stay, everything else becomes float32 once.
        batch_size: examples in a (global) batch, >= 1.
        seed: non-negative.
        condition, labels, target, weight: (N, ...), the fields of `Batch` of the same names, types unchanged.
        shuffle: a new order every epoch; without it batches are slices in the order of the set (of float
            data: views, not to be written into).
        drop_last: leave out the last batch where it is smaller.
        labelled: number of labelled examples (label 0 or above) drawn beside each batch, at random with replacement;
            they come last in it, with their labels; labels of the batch itself are then withheld, as -1.
        partner: (M, ...) examples of another set, as many as there are in the batch and scaled like x: in an order of
            its own, which is new every epoch where x is shuffled, and begins again where it ends. Pairing is random.
        device: where the set shall reside; where it already is, if None.

    Raises:
        ValueError: no examples, sizes that do not agree, values that are not finite, labels missing where they are
            wanted.

    >>> b = Batches(np.arange(10.0)[:, None], 4, seed=1)
    >>> [len(batch) for batch in b.epoch(0)], len(b)
    ([4, 4, 2], 3)
    >>> torch.cat([batch.x for batch in b.epoch(3)]).flatten().sort().values.tolist() == list(range(10))
    True
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
            raise ValueError(f"x has shape {tuple(rows.shape)}; batches need at least one example (N, ...)")
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}; expected a whole number of at least 1")
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected a number of at least 0")
        if drop_last and len(rows) < batch_size:
            raise ValueError(
                f"{len(rows)} examples do not fill one batch of {batch_size}, and drop_last leaves nothing; use"
                " a smaller batch_size or drop_last=False"
            )
        if rows.dtype not in (torch.uint8, torch.int8, torch.int16, torch.float32):
            rows = as_float(rows)
        if rows.is_floating_point() and not all(v.isfinite() for v in rows.aminmax()):
            bad = (~rows.isfinite()).flatten(1).any(1) if rows.ndim > 1 else ~rows.isfinite()
            raise ValueError(
                f"{int(bad.sum())} of {len(rows)} examples hold NaN or infinity (first: row {int(bad.nonzero()[0])})"
            )
        beside = {
            name: _column(name, value, len(rows))
            for name, value in zip(_BESIDE, (condition, labels, target, weight), strict=True)
        }
        self.labelled, self._known = labelled, _labelled_rows(beside["labels"], labelled)
        other = None if partner is None else as_tensor(partner, "partner")
        if other is not None and (other.ndim < 1 or other.numel() == 0):
            raise ValueError(f"partner has shape {tuple(other.shape)}; it needs at least one example")
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.shuffle, self.drop_last = shuffle, drop_last
        self._set = Batch(rows.contiguous(), **beside, partner=other)
        if device is not None:
            self._set = self.to(device)._set

    @property
    def x(self) -> Tensor:
        """The whole set (N, ...)."""
        return self._set.x

    @property
    def labels(self) -> Tensor | None:
        """The labels of the whole set, where there are any."""
        return self._set.labels

    @property
    def target(self) -> Tensor | None:
        """The property of the whole set, where there is one."""
        return self._set.target

    @property
    def condition(self) -> Tensor | None:
        """The conditions of the whole set, where there are any."""
        return self._set.condition

    @property
    def partner(self) -> Tensor | None:
        """The examples of the other domain, where there are any."""
        return self._set.partner

    def to(self, device: torch.device | str) -> Batches:
        """The same batches from another device; where the set is there already, it is shared."""
        there = copy.copy(self)
        there._set = self._set.map(lambda values: values.to(device))
        return there

    def first(self, n: int) -> Batches:
        """Batches of the first `n` examples, or of all if there are fewer."""
        part = copy.copy(self)
        part._set = self._set.map(lambda values: values[:n])
        part._known = self._known[self._known < n]
        if self.labelled and not len(part._known):
            part.labelled = 0
        return part

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.x.shape[1:])

    def steps(self, world: int = 1) -> int:
        """Batches in an epoch on each of `world` ranks; the last counts if every rank gets a share of it."""
        if world < 1:
            raise ValueError(f"world is {world}; expected a number of at least 1")
        if self.batch_size < world:
            raise ValueError(
                f"a batch of {self.batch_size} cannot be split over {world} ranks; use a larger batch_size"
            )
        full, rest = divmod(self.n, self.batch_size)
        steps = full + (not self.drop_last and rest >= world)
        if not steps:
            raise ValueError(f"{self.n} examples cannot be split over {world} ranks; use fewer ranks")
        return steps

    def __len__(self) -> int:
        return self.steps()

    def order(self, epoch: int) -> Tensor:
        """The order of the examples in that epoch: a permutation of 0..N-1, on the CPU."""
        if not self.shuffle:
            return torch.arange(self.n)
        mixed = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)
        return torch.randperm(self.n, generator=torch.Generator().manual_seed(int(mixed[0])))

    def epoch(self, epoch: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of one epoch from number `start` on, float32 (b, *shape) on the device.

        With `world` > 1 every global batch is cut to a multiple of `world` and split evenly: the batches of
        all ranks, one after the other, are the batch that a single process would see (so cut). A last batch
        smaller than `world` is left out on every rank.
        """
        steps = self.steps(world)
        if epoch < 0 or start < 0:
            raise ValueError(f"epoch is {epoch} and start is {start}; both must be at least 0")
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank}; expected 0 <= rank < {world}, the world")
        batches = self._gathered(epoch, start, rank, world) if self.shuffle else self._sliced(start, steps, rank, world)
        if self._set.partner is not None:
            batches = self._partnered(batches, self._set.partner, epoch, start, rank)
        return self._joined(batches, epoch, start, steps, rank, world) if self.labelled else batches

    def _partnered(
        self, batches: Iterator[Batch], partner: Tensor, epoch: int, start: int, rank: int
    ) -> Iterator[Batch]:
        """Each batch with as many of the other set; of a global batch every rank has its own."""
        order = torch.arange(len(partner))
        if self.shuffle:
            mixed = np.random.SeedSequence((self.seed, epoch, 2)).generate_state(1, np.uint64)
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(int(mixed[0])))
        for number, batch in enumerate(batches, start):
            size = len(batch)
            rows = order[(number * self.batch_size + rank * size + torch.arange(size)) % len(order)]
            yield replace(batch, partner=as_float(partner.index_select(0, rows.to(batch.x.device))))

    def _joined(
        self, batches: Iterator[Batch], epoch: int, start: int, steps: int, rank: int, world: int
    ) -> Iterator[Batch]:
        """Each batch with its labelled examples behind it; ranks draw different ones."""
        mixed = np.random.SeedSequence((self.seed, epoch, 1)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        drawn = self._known[torch.randint(len(self._known), (steps, world, self.labelled), generator=generator)]
        for batch, rows in zip(batches, drawn[start:, rank].to(self.x.device), strict=False):
            known = self._rows(rows)
            assert batch.labels is not None
            hidden = replace(batch, labels=torch.full_like(batch.labels, -1))
            yield hidden.join(known)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def _sliced(self, start: int, steps: int, rank: int, world: int) -> Iterator[Batch]:
        present = self._present()
        for b in range(start, steps):
            lo = b * self.batch_size
            share = min(self.batch_size, self.n - lo) // world
            lo += rank * share
            yield Batch(as_float(self.x[lo : lo + share]), **{name: v[lo : lo + share] for name, v in present.items()})

    def _present(self) -> dict[str, Tensor]:
        """What each example has beside it."""
        return {name: v for name in _BESIDE if (v := getattr(self._set, name)) is not None}

    def _rows(self, rows: Tensor) -> Batch:
        beside = {name: v.index_select(0, rows) for name, v in self._present().items()}
        return Batch(as_float(self.x.index_select(0, rows)), **beside)

    def _gathered(self, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        full, rest = divmod(self.n, self.batch_size)
        share, last = self.batch_size // world, 0 if self.drop_last else rest // world
        order = self.order(epoch)
        head, tail = order[: self.n - rest].view(full, self.batch_size), order[self.n - rest :]
        mine = head[start:, rank * share : (rank + 1) * share].reshape(-1)
        if start <= full:
            mine = torch.cat([mine, tail[rank * last : (rank + 1) * last]])
        if not len(mine):  # split would make one empty batch of it
            return
        for rows in mine.to(self.x.device).split(share * self._chunk(share)):
            chunk = self._rows(rows)
            parts = {name: getattr(chunk, name).split(share) for name in ("x", *self._present())}
            for values in zip(*parts.values(), strict=True):
                yield Batch(values[0], **dict(zip(self._present(), values[1:], strict=True)))

    def _chunk(self, share: int) -> int:
        """How many batches are gathered at once: on the CPU one, which stays in its cache (measured)."""
        if self.x.device.type == "cpu":
            return 1
        return max(1, min(16, _CHUNK_BYTES // (4 * share * max(1, self.x[0].numel()))))


def _column(name: str, value: object, n: int) -> Tensor | None:
    """One row for each of `n` examples."""
    if value is None:
        return None
    column = as_tensor(value, name)
    if column.ndim < 1 or len(column) != n:
        raise ValueError(f"{name} has shape {tuple(column.shape)} for {n} examples; one row for each is needed")
    return column


def _labelled_rows(labels: Tensor | None, labelled: int) -> Tensor:
    """The numbers of the examples that have a label, where labelled ones are wanted in each batch."""
    if not labelled:
        return torch.empty(0, dtype=torch.int64)
    if labels is None or labels.ndim != 1 or labels.is_floating_point() or not (labels >= 0).any():
        raise ValueError(
            f"{labelled} labelled examples are wanted in each batch, but none has a label (0, 1, ...; -1 for none)"
        )
    return (labels >= 0).nonzero()[:, 0].cpu()
