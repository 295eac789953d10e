"""The fast path from a set in memory to batches: gathered by index, scaled where the data reside."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chartae.data.arrays import as_tensor
from chartae.maths import as_float

__all__ = ["Batches"]

#: on an accelerator, one set of kernel launches gathers and scales several batches, up to this many bytes
_CHUNK_BYTES = 32 << 20


class Batches:
    """A whole set resident on one device, handed out in batches ``(x, y)``; y is None without labels.

    uint8 becomes float32 in [0, 1], and int8 or int16 (indices) float32 of the same values, batch by batch, on the
    device: the resident set keeps one or two bytes a value (50,000 MNIST images: 39 MB, not 157). What else an epoch
    takes is one permutation of 8 bytes an example, and, on an accelerator, the few batches that are gathered at once
    (32 MiB); nothing grows with the number of epochs.

    The order is a function of (seed, epoch) alone: it is drawn on the CPU by a generator of its own, so that
    it is the same on every device and neither reads nor moves torch's global state.

    Args:
        x: (N, ...) numbers, numpy or torch; uint8, int8 and int16 stay, everything else becomes float32 once.
        batch_size: examples in a (global) batch.
        seed: non-negative.
        labels: (N, ...), handed out beside x, type unchanged.
        shuffle: a new order every epoch; without it batches are slices in the order of the set (of float
            data: views, not to be written into).
        drop_last: leave out the last batch where it is smaller.
        labelled: so many examples whose label is 0 or above are drawn beside each batch, at random with replacement,
            and come last in it, with their labels; those of the batch itself are then withheld, as -1.
        beside: (M, ...) of another set, handed out in place of labels, as many as there are in the batch and scaled
            like x: in an order of its own, which is new every epoch where x is shuffled, and begins again where it
            ends. What meets by that is accident.
        device: where the set shall reside; where it already is, if None.

    >>> b = Batches(np.arange(10.0)[:, None], 4, seed=1)
    >>> [len(x) for x, _ in b.epoch(0)], len(b)
    ([4, 4, 2], 3)
    >>> torch.cat([x for x, _ in b.epoch(3)]).flatten().sort().values.tolist() == list(range(10))
    True
    """

    def __init__(
        self,
        x: Any,
        batch_size: int,
        *,
        seed: int = 0,
        labels: Any = None,
        shuffle: bool = True,
        drop_last: bool = False,
        labelled: int = 0,
        beside: Any = None,
        device: torch.device | str | None = None,
    ) -> None:
        x = as_tensor(x)
        if x.ndim < 1 or x.numel() == 0:
            raise ValueError(f"x has shape {tuple(x.shape)}; batches need at least one example (N, ...)")
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}; expected a whole number of at least 1")
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected a number of at least 0")
        if drop_last and len(x) < batch_size:
            raise ValueError(
                f"{len(x)} examples do not fill one batch of {batch_size}, and drop_last leaves nothing; use"
                " a smaller batch_size or drop_last=False"
            )
        if x.dtype not in (torch.uint8, torch.int8, torch.int16, torch.float32):
            x = as_float(x)
        if x.is_floating_point() and not all(v.isfinite() for v in x.aminmax()):
            bad = (~x.isfinite()).flatten(1).any(1) if x.ndim > 1 else ~x.isfinite()
            raise ValueError(
                f"{int(bad.sum())} of {len(x)} examples hold NaN or infinity (first: row {int(bad.nonzero()[0])})"
            )
        y = None if labels is None else as_tensor(labels, "labels")
        if y is not None and (y.ndim < 1 or len(y) != len(x)):
            raise ValueError(f"labels have shape {tuple(y.shape)} for {len(x)} examples; one for each is needed")
        self.labelled, self._known = labelled, torch.empty(0, dtype=torch.int64)
        if labelled:
            if y is None or y.ndim != 1 or y.is_floating_point() or not (y >= 0).any():
                raise ValueError(
                    f"{labelled} labelled examples are wanted in each batch, but none has a label (0, 1, ...; -1 for "
                    "none)"
                )
            self._known = (y >= 0).nonzero()[:, 0].cpu()
        other = None if beside is None else as_tensor(beside, "beside")
        if other is not None:
            if y is not None:
                raise ValueError("labels and another set beside x are both given; y can be only one of them")
            if other.ndim < 1 or other.numel() == 0:
                raise ValueError(f"the set beside x has shape {tuple(other.shape)}; it needs at least one example")
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.shuffle, self.drop_last = shuffle, drop_last
        self.x, self.labels, self.beside = x, y, other
        self._place(x.device if device is None else torch.device(device))

    def _place(self, device: torch.device) -> None:
        self.x = self.x.to(device).contiguous()
        self.labels = None if self.labels is None else self.labels.to(device)
        self.beside = None if self.beside is None else self.beside.to(device)

    def to(self, device: torch.device | str) -> Batches:
        """The same batches from another device; where the set is there already, it is shared."""
        other = copy.copy(self)
        other._place(torch.device(device))
        return other

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

    def epoch(
        self, epoch: int, *, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
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
        found = self._gathered(epoch, start, rank, world) if self.shuffle else self._sliced(start, steps, rank, world)
        if self.beside is not None:
            return self._met(found, epoch, start, rank, world)
        return self._joined(found, epoch, start, steps, rank, world) if self.labelled else found

    def _met(
        self, found: Iterator[tuple[Tensor, Tensor | None]], epoch: int, start: int, rank: int, world: int
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Each batch with as many of the other set; of a global batch every rank has its own."""
        assert self.beside is not None
        order = torch.arange(len(self.beside))
        if self.shuffle:
            mixed = np.random.SeedSequence((self.seed, epoch, 2)).generate_state(1, np.uint64)
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(int(mixed[0])))
        for number, (x, _) in enumerate(found, start):
            rows = order[(number * self.batch_size + rank * len(x) + torch.arange(len(x))) % len(order)]
            yield x, as_float(self.beside.index_select(0, rows.to(x.device)))

    def _joined(
        self, found: Iterator[tuple[Tensor, Tensor | None]], epoch: int, start: int, steps: int, rank: int, world: int
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Each batch with its labelled examples behind it; ranks draw apart."""
        mixed = np.random.SeedSequence((self.seed, epoch, 1)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        drawn = self._known[torch.randint(len(self._known), (steps, world, self.labelled), generator=generator)]
        assert self.labels is not None
        for (x, y), rows in zip(found, drawn[start:, rank].to(self.x.device), strict=False):
            assert y is not None
            yield torch.cat([x, as_float(self.x[rows])]), torch.cat([torch.full_like(y, -1), self.labels[rows]])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        return self.epoch(0)

    def _sliced(self, start: int, steps: int, rank: int, world: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        y = self.labels
        for b in range(start, steps):
            lo = b * self.batch_size
            share = min(self.batch_size, self.n - lo) // world
            lo += rank * share
            yield as_float(self.x[lo : lo + share]), None if y is None else y[lo : lo + share]

    def _gathered(self, epoch: int, start: int, rank: int, world: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        full, rest = divmod(self.n, self.batch_size)
        share, last = self.batch_size // world, 0 if self.drop_last else rest // world
        order = self.order(epoch)
        head, tail = order[: self.n - rest].view(full, self.batch_size), order[self.n - rest :]
        mine = head[start:, rank * share : (rank + 1) * share].reshape(-1)
        if start <= full:
            mine = torch.cat([mine, tail[rank * last : (rank + 1) * last]])
        if not len(mine):  # split would make one empty batch of it
            return
        x, y = self.x, self.labels
        for some in mine.to(x.device).split(share * self._chunk(share)):
            xs = as_float(x.index_select(0, some)).split(share)
            ys = repeat(None, len(xs)) if y is None else y.index_select(0, some).split(share)
            yield from zip(xs, ys, strict=True)

    def _chunk(self, share: int) -> int:
        """How many batches are gathered at once: on the CPU one, which stays in its cache (measured)."""
        if self.x.device.type == "cpu":
            return 1
        return max(1, min(16, _CHUNK_BYTES // (4 * share * max(1, self.x[0].numel()))))
