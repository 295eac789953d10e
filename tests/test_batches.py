"""Batches: what comes out, in which order, on which rank."""

from itertools import chain

import numpy as np
import pytest
import torch

from chartae.data import Batches
from chartae.data import batches as module
from chartae.maths import as_float

IDS = torch.arange(103, dtype=torch.float32)[:, None]


def ids(b: Batches, epoch: int = 0, **kw: int) -> list[list[float]]:
    return [batch.x.flatten().tolist() for batch in b.epoch(epoch, **kw)]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("chunk", [1, 4])
def test_an_epoch_is_every_example_once_with_its_label(
    shuffle: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batches, "_chunk", lambda self, share: chunk)
    b = Batches(IDS, 10, labels=np.arange(103) * 2, shuffle=shuffle)
    seen = list(b.epoch(5))
    assert [len(batch) for batch in seen] == [10] * 10 + [3]
    assert len(seen) == len(b) == b.steps(1) == 11
    x, y = torch.cat([b.x for b in seen]).flatten(), torch.cat([b.labels for b in seen])
    assert torch.equal(x.sort().values, IDS.flatten())
    assert torch.equal(y, x.long() * 2)
    assert (x.tolist() == IDS.flatten().tolist()) is not shuffle
    assert all(batch.labels is None for batch in Batches(IDS, 10, shuffle=shuffle))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = ids(Batches(IDS, 7, seed=3), 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert ids(Batches(IDS.numpy(), 7, seed=3), 2) == first
    assert ids(Batches(IDS, 7, seed=4), 2) != first
    assert ids(Batches(IDS, 7, seed=2), 3) != first
    b = Batches(IDS, 7, seed=3)
    assert sorted(chain(*ids(b, 0))) == sorted(chain(*ids(b, 1)))
    assert ids(b, 0) != ids(b, 1)
    assert [batch.x.flatten().tolist() for batch in b] == ids(b, 0)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("n", [100, 101, 102, 103, 108])
def test_ranks_share_the_single_process_batches_and_resume(n: int, shuffle: bool, world: int, drop_last: bool) -> None:
    b = Batches(IDS.repeat(2, 1)[:n], 10, shuffle=shuffle, drop_last=drop_last)
    whole = ids(b, 1)
    ranks = [ids(b, 1, rank=r, world=world) for r in range(world)]
    assert {len(r) for r in ranks} == {b.steps(world)}
    for step, shares in enumerate(zip(*ranks, strict=True)):
        assert len({len(s) for s in shares}) == 1
        assert list(chain(*shares)) == whole[step][: len(whole[step]) // world * world]
    for start in (0, 1, b.steps(world) - 1, b.steps(world), b.steps(world) + 5):
        for rank in range(world):
            assert ids(b, 1, start=start, rank=rank, world=world) == ranks[rank][start:]


@pytest.mark.parametrize("labelled", [0, 4])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world", [1, 3])
def test_rows_are_those_of_the_examples(labelled: int, shuffle: bool, world: int) -> None:
    labels = torch.where(torch.arange(103) % 3 == 0, torch.arange(103), -1)
    b = Batches(IDS, 10, shuffle=shuffle, labels=labels, labelled=labelled)
    for rank in range(world):
        for step, batch in enumerate(b.epoch(2, rank=rank, world=world)):
            assert torch.equal(IDS[b.rows(2, step, rank=rank, world=world)], batch.x)
    with pytest.raises(ValueError, match=f"step is {b.steps(world)}; expected a number of at least 0"):
        b.rows(2, b.steps(world), world=world)


def test_a_remainder_smaller_than_the_world_is_left_out() -> None:
    b = Batches(IDS[:21], 10)
    assert (b.steps(1), b.steps(2)) == (3, 2)
    with pytest.raises(ValueError, match="batch_size is 10; expected at least 11, the number of ranks"):
        b.epoch(0, world=11)
    with pytest.raises(ValueError, match="x has 3 examples; expected at least 4, the number of ranks"):
        Batches(IDS[:3], 10).steps(4)


@pytest.mark.parametrize("shuffle", [True, False])
def test_levels_are_scaled_exactly_and_the_set_stays_bytes(shuffle: bool) -> None:
    x = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    b = Batches(x, 100, shuffle=shuffle)
    out = torch.cat([batch.x for batch in b.epoch(0)])
    assert out.dtype == torch.float32
    assert torch.equal(out, as_float(x)[b.order(0)])
    assert (out.min(), out.max()) == (0, 1)
    assert b.x.dtype == torch.uint8
    assert b.x.data_ptr() == x.data_ptr()
    assert (b.n, b.shape) == (256, (1, 1, 1))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, bool, ">f8", np.uint16])
def test_other_numbers_become_float32_once(dtype: object) -> None:
    b = Batches(np.eye(6).astype(dtype), 6, shuffle=False)
    assert b.x.dtype == torch.float32
    assert torch.equal(next(iter(b)).x, torch.eye(6))


def test_chunks_are_bounded_by_bytes_off_the_cpu() -> None:
    meta = Batches(torch.zeros(100, 1000), 10).to("meta")
    assert meta.x.device.type == "meta"
    assert meta._chunk(10) == 16
    assert Batches(torch.zeros(2, module._CHUNK_BYTES // 8, dtype=torch.uint8), 2).to("meta")._chunk(2) == 1


def test_read_only_and_reversed_arrays_are_taken_without_a_warning() -> None:
    a = np.arange(6.0, dtype=np.float32)[:, None]
    a.flags.writeable = False
    assert ids(Batches(a[::-1], 6, shuffle=False)) == [[5, 4, 3, 2, 1, 0]]


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"x": torch.zeros(0, 3)}, "at least one example"),
        ({"x": torch.tensor(1.0)}, "at least one example"),
        ({"labels": np.zeros(4)}, r"labels has shape \(4,\) for 5 examples"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_size": 6, "drop_last": True}, "batch_size is 6; expected at most 5, the number of examples"),
        ({"x": torch.tensor([[0.0], [torch.nan], [torch.inf]])}, r"2 of 3 examples .*\(first: row 1\)"),
    ],
)
def test_what_cannot_be_batched_is_refused(kw: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batches(**{"x": torch.zeros(5, 2), "batch_size": 2, **kw})


@pytest.mark.parametrize("kw", [{"start": -1}, {"rank": 2, "world": 2}, {"rank": -1}, {"world": 0}])
def test_impossible_epochs_are_refused_at_once(kw: dict) -> None:
    with pytest.raises(ValueError, match=r"is -?[0-9]"):
        Batches(IDS, 10).epoch(0, **kw)


@pytest.mark.parametrize(
    ("n", "world", "sizes"),
    [
        (9, 1, [4, 4]),
        (10, 1, [4, 4, 2]),
        (8, 1, [4, 4]),
        (1, 1, [1]),
        (10, 2, [2, 2]),
        (12, 2, [2, 2, 2]),
        (9, 2, [2, 2]),
    ],
)
def test_a_last_batch_of_one_is_left_out(n: int, world: int, sizes: list[int]) -> None:
    batches = Batches(np.arange(float(n))[:, None], 4).without_single(world)
    assert [len(b) for b in batches.epoch(0, world=world)] == sizes
    assert batches.steps(world) == len(sizes)


@pytest.mark.parametrize(
    ("n", "size", "expected"), [(501, 500, 501), (9, 4, 5), (9, 2, 3), (7, 3, 4), (1, 4, 4), (8, 4, 4)]
)
def test_a_size_without_a_last_batch_of_one_keeps_all_examples(n: int, size: int, expected: int) -> None:
    batches = Batches(np.arange(float(n))[:, None], size, shuffle=False).resized()
    assert batches.batch_size == expected
    assert sum(len(b) for b in batches) == n


def test_examples_are_converted_batch_by_batch() -> None:
    x = torch.arange(20.0).reshape(10, 2)
    for shuffle in (True, False):
        at_once = Batches(3 * x + 1, 4, seed=1, shuffle=shuffle)
        lazily = Batches(x, 4, seed=1, shuffle=shuffle).converted(lambda rows: 3 * rows + 1)
        pairs = zip(at_once.epoch(2), lazily.epoch(2), strict=True)
        assert all(torch.equal(a.x, b.x) for a, b in pairs)
        assert lazily.shape == (2,)
        assert torch.equal(lazily.first(3).x, x[:3])
