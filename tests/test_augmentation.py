"""Augmentation changes the training pictures at random, and nothing else."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

import chartae as ch
from chartae.conditionals import Crop, Flip, Jitter
from chartae.data import Batches
from chartae.training import Training, fit

pytestmark = pytest.mark.usefixtures("float32")


def picture(n=64):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def objective():
    torch.manual_seed(0)
    encoder, decoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), nn.Sequential(nn.Linear(3, 64))
    decoder.append(nn.Unflatten(1, (1, 8, 8)))
    return ch.Penalised(
        ch.Autoencoder(ch.Dirac(encoder), ch.Gaussian(decoder), ch.StandardNormal(3)), ch.Reconstruction()
    )


def trained(augment, *, epochs=4, **options):
    o = objective()
    state = torch.get_rng_state()
    batches, valid = Batches(picture(), 16), Batches(picture(10), 10, shuffle=False)
    history = fit(o, batches, valid=valid, epochs=epochs, augment=augment, progress=False, device="cpu", **options)
    assert torch.equal(torch.get_rng_state(), state)
    return o, history


def noisy(x):
    """Draws from torch's global generator, and writes into what it is given."""
    return x.mul_(0.5).add_(0.1 * torch.rand_like(x))


def test_each_view_moves_pixels_and_makes_none():
    x = picture(200)
    torch.manual_seed(0)
    flipped = Flip()(x).sample()
    is_flipped = (flipped == x.flip(3)).flatten(1).all(1)
    assert (is_flipped | (flipped == x).flatten(1).all(1)).all()
    assert 70 < int(is_flipped.sum()) < 130
    cropped = Crop()(x).sample()  # at most one pixel each way
    padded = nn.functional.pad(x, (1, 1, 1, 1), "replicate")
    windows = torch.stack([padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)])
    equal = (windows == cropped).flatten(2).all(2)
    assert (equal.sum(0) == 1).all()
    assert (equal.sum(1) > 5).all()
    ones = torch.ones(20, 1, 8, 8)
    assert torch.allclose(Jitter(45, padding="border")(ones).sample(), ones)
    assert Jitter(45)(ones).sample().min() < 0.5
    for refused in (lambda: Flip()(x[0]), lambda: Crop(0.0), lambda: Jitter(padding="edge")):
        with pytest.raises(ValueError, match="expected"):
            refused()


@pytest.mark.parametrize("augment", ["flip,crop,rotate", noisy], ids=["names", "function"])
def test_it_is_reproducible_and_resumes_to_the_bit(augment, tmp_path):
    whole, history = trained(augment)
    assert history.rows[-1]["loss"] != trained(None)[1].rows[-1]["loss"]
    trained(augment, epochs=2, folder=tmp_path)
    resumed, again = trained(augment, folder=tmp_path, resume=True)
    assert [r["loss"] for r in again.rows] == [r["loss"] for r in history.rows]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"was written with augment = .*, but this run has 'flip'"):
        trained("flip", folder=tmp_path, resume=True)


def test_only_training_examples_are_changed():
    shapes = []

    def count(x):
        shapes.append(tuple(x.shape))
        return x

    run = ch.fit("rae", picture(50), epochs=2, batch_size=20, augment=count, components=2, progress=False)
    assert shapes == [(20, 1, 8, 8), (20, 1, 8, 8)] * 2  # 40 training rows; not the density, nor validation
    assert run.settings.augment.startswith("own: test_augmentation.")
    # an identity that draws nothing changes nothing
    plain = ch.fit("rae", picture(50), epochs=2, batch_size=20, components=2, progress=False)
    assert run.log[-1]["loss"] == plain.log[-1]["loss"]


@pytest.mark.parametrize(
    ("augment", "error"),
    [
        ("flop", "expected different names of flip, crop, rotate"),
        ("flip,flip", "expected different names"),
        ("", "expected different names"),
        (["flip"], "augment is a list"),
        (lambda x: x[:, :, 1:], r"of shape \(16, 1, 7, 8\); expected"),
        (lambda x: x.double(), "expected torch.float32"),
        (lambda x: x.numpy(), "returns a ndarray"),
    ],
)
def test_what_cannot_be_is_refused(augment, error):
    with pytest.raises((ValueError, TypeError), match=error):
        trained(augment)


def test_names_are_for_pictures_and_a_function_for_everything(tmp_path):
    table = torch.randn(60, 3)
    fitted = functools.partial(ch.fit, "rae", table, epochs=1, densities=(), progress=False)
    with pytest.raises(ValueError, match=r"augment is 'flip', but one example has shape \(3,\); expected pictures"):
        fitted(augment="flip")
    fitted(augment=noisy, out=tmp_path / "r")
    assert 'augment = "own: test_augmentation.noisy"' in (tmp_path / "r" / "run.toml").read_text()
    with pytest.raises(ValueError, match="augment is ''; expected 'own: test_augmentation.noisy'"):
        fitted(out=tmp_path / "r", resume=True)
    assert Training(augment="flip , crop").check() is None
