"""Fits called from threads, event loops, notebooks and terminals; and the number of threads of a fit itself."""

from __future__ import annotations

import asyncio
import io
import signal
import threading

import joblib
import pytest
import torch
from rich.console import Console
from torch import nn

import chartae as ch
from chartae.data import Batches
from chartae.maths import threads
from chartae.maths.threads import limited_threads
from chartae.recipes import Setting, build
from chartae.terms import Term
from chartae.training import fit, progress
from chartae.training.work import step_work

pytestmark = pytest.mark.usefixtures("float32")

X = torch.rand(65, 6, generator=torch.Generator().manual_seed(1))  # the last batch of 16 has one example


def fitted(name, seed=0):
    """The weights after a fit, as one vector."""
    objective = build(name, Setting((6,), 2, "mlp"), seed=seed).objective
    fit(objective, Batches(X, 16, seed=seed), valid=Batches(X, 64), epochs=2, seed=seed, device="cpu", progress=False)
    return torch.cat([p.detach().flatten() for p in objective.parameters()])


class ThreadCount(Term):
    """Counts nothing; notes the threads of this thread of Python, and of a new one."""

    def __init__(self):
        super().__init__()
        self.counts = set()

    def forward(self, t):
        thread = threading.Thread(target=lambda: self.counts.add(("new", torch.get_num_threads())))
        thread.start()
        thread.join()
        self.counts.add(("here", torch.get_num_threads()))
        return t.z.new_zeros(())


def counting_objective():
    torch.manual_seed(0)
    model = ch.Autoencoder(ch.Dirac(nn.Linear(6, 2)), ch.Gaussian(nn.Linear(2, 6)), ch.StandardNormal(2))
    counter = ThreadCount()
    return ch.Penalised(model, ch.Reconstruction() + counter), counter


# -- several at once ---------------------------------------------------------------------------------------------------


NAMES = ("vae", "wae", "aae")


@pytest.mark.parametrize("large", [0, 1e5, 1e99], ids=["all threads", "some", "one thread"])
def test_three_fits_at_once_are_the_three_fits(monkeypatch, large):
    monkeypatch.setattr(threads, "ONE_THREAD", large)
    alone = [fitted(name, seed) for seed, name in enumerate(NAMES)]
    jobs = [joblib.delayed(fitted)(name, seed) for seed, name in enumerate(NAMES)]
    beside = joblib.Parallel(n_jobs=3, backend="threading")(jobs)
    for a, b in zip(alone, beside, strict=True):
        assert torch.equal(a, b)


def test_within_an_event_loop():
    expected = fitted("vae")

    async def both():
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGINT, stopped.set)
        try:
            weights = [fitted("vae"), *await asyncio.gather(*[asyncio.to_thread(fitted, "vae") for _ in range(2)])]
            signal.raise_signal(signal.SIGINT)  # the loop's handler is back
            await asyncio.wait_for(stopped.wait(), 10)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        return weights

    assert all(torch.equal(expected, w) for w in asyncio.run(both()))


def test_handlers_come_back_and_foreign_ones_stay(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    fitted("vae")
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(signal, "getsignal", lambda s: None)  # set by C code, so that Python cannot set it again
    fitted("vae")


# -- threads of the processor ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explicit", [False, True], ids=["OpenMP", "torch"])
@pytest.mark.parametrize(("most", "expected"), [(1e99, 1), (0, 3)])
def test_a_fit_has_the_threads_of_its_work_and_the_caller_keeps_its_own(monkeypatch, most, expected, explicit):
    monkeypatch.setattr(threads, "ONE_THREAD", most)
    if explicit:  # as if torch.set_num_threads had been called, after which MKL does not follow OpenMP
        monkeypatch.setattr(threads, "_mkl_threads", lambda: 99)
    outside = torch.get_num_threads()
    with limited_threads(3):
        objective, counter = counting_objective()
        history = fit(objective, Batches(X, 16), epochs=1, device="cpu", progress=False)
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == outside
    assert counter.counts == {("here", expected), ("new", outside)}
    assert history.threads == expected


def test_the_work_of_a_step():
    dense, kernel = torch.zeros(10, 5), torch.zeros(4, 3, 2, 2)
    assert step_work([dense], Batches(torch.zeros(8, 5), 4)) == 6 * 4 * 50
    assert step_work([kernel], Batches(torch.zeros(8, 3, 5, 7), 4)) == 6 * 4 * 48 * 35


def test_a_resumed_run_says_that_it_has_other_threads(monkeypatch, tmp_path):
    monkeypatch.setattr(threads, "ONE_THREAD", 0)
    settings = {"device": "cpu", "progress": False, "folder": tmp_path}
    with limited_threads(2):
        fit(counting_objective()[0], Batches(X, 16), epochs=1, **settings)
        fit(counting_objective()[0], Batches(X, 16), epochs=2, resume=True, **settings)
    with limited_threads(1), pytest.warns(UserWarning, match="trained with 2 threads and continues with 1"):
        history = fit(counting_objective()[0], Batches(X, 16), epochs=3, resume=True, **settings)
    assert history.threads == 1


def test_a_run_stores_its_threads(tmp_path):
    run = ch.fit("vae", X, epochs=1, latent_dim=2, densities=(), progress=False, out=tmp_path / "run")
    assert run.settings.threads == ch.load(tmp_path / "run").settings.threads == 1


# -- progress ----------------------------------------------------------------------------------------------------------


def test_a_notebook_shows_a_bar_without_widgets(monkeypatch):
    ipython = pytest.importorskip("IPython.display")
    shown = []

    class Handle:
        def update(self, formats, raw):
            shown.append(formats)

    def display(formats, raw, display_id):
        shown.append(formats)
        return Handle()

    monkeypatch.setattr(progress, "Console", lambda **_: Console(force_jupyter=True))
    monkeypatch.setattr(ipython, "display", display)
    fit(counting_objective()[0], Batches(X, 16), epochs=2, device="cpu")
    assert shown[0]["text/plain"].startswith("training  0/8")
    assert shown[-1]["text/plain"].startswith("epoch 2/2  train ")
    assert '<progress value="8" max="8">' in shown[-1]["text/html"]


def test_a_terminal_shows_one_bar_at_a_time(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=file, force_terminal=True))
    with progress.TrainingProgress(None, True, 8, 4) as first:
        with (
            progress.TrainingProgress(None, True, 8, 4) as second,
            progress.TrainingProgress(True, True, 8, 4) as third,
        ):
            assert (second.bar, second.lines) == (None, False)
            assert (third.bar, third.lines) == (None, True)
        assert first.bar is not None
    with progress.TrainingProgress(None, True, 8, 4) as again:
        assert again.bar is not None
    monkeypatch.setattr(progress.multiprocessing, "parent_process", lambda: object())
    with progress.TrainingProgress(None, True, 8, 4) as child:
        assert child.bar is None
