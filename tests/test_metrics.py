"""Metrics against slow, plain versions of themselves, and on data whose answer is known."""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from chartae import metrics
from chartae.metrics import (
    Reference,
    default_for,
    extractor,
    frechet,
    kid,
    mse,
    prdc,
    psnr,
    sets,
    ssim,
    to_uint8,
)
from chartae.metrics.features import LeNet


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# -- sets ----------------------------------------------------------------------------------------------------


def test_frechet_reads_arrays_tensors_and_references() -> None:
    a, b = normal(60, 4, seed=1), normal(50, 4, seed=2) + 1
    reference = Reference(a)
    want = frechet(a, b)
    assert isinstance(want, float)
    assert frechet(a.numpy(), b.numpy()) == want == reference.frechet(b) == reference.frechet(b)


def test_kid_equals_the_double_loop() -> None:
    a, b = normal(9, 3, seed=1).numpy(), normal(9, 3, seed=2).numpy() + 0.5

    def k(x: Any, y: Any) -> Any:
        return (x @ y / 3 + 1) ** 3

    pairs = [(i, j) for i in range(9) for j in range(9)]
    want = np.mean([k(a[i], a[j]) for i, j in pairs if i != j]) + np.mean([k(b[i], b[j]) for i, j in pairs if i != j])
    want -= 2 * np.mean([k(a[i], b[j]) for i, j in pairs])
    mean, sd = kid(a, b, subsets=3, subset_size=9)
    assert mean == pytest.approx(want, rel=1e-12)
    assert sd == pytest.approx(0, abs=1e-12)


def test_kid_is_unbiased_seeded_and_sees_a_shift() -> None:
    a, b = normal(2000, 5, seed=1), normal(2000, 5, seed=2)
    mean, sd = kid(a, b, subsets=40, subset_size=200)
    assert abs(mean) < 4 * sd / 40**0.5
    assert kid(a, b, subsets=4, subset_size=50) == kid(a, b, subsets=4, subset_size=50)
    assert kid(a, b, subsets=4, subset_size=50) != kid(a, b, subsets=4, subset_size=50, seed=1)
    assert kid(a, b + 1, subsets=4, subset_size=200)[0] > 0.5


def brute_prdc(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(x[:, None] - y[None]).sum(-1))

    real_radii = np.sort(distances(real, real), 1)[:, k]
    fake_radii = np.sort(distances(fake, fake), 1)[:, k]
    across = distances(real, fake)
    inside = across <= real_radii[:, None]
    return {
        "precision": inside.any(0).mean(),
        "recall": (across <= fake_radii[None]).any(1).mean(),
        "density": inside.sum(0).mean() / k,
        "coverage": inside.any(1).mean(),
    }


@pytest.mark.parametrize("k", [1, 5])
def test_prdc_equals_brute_force(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    real, fake = normal(80, 3, seed=1), 1.3 * normal(60, 3, seed=2) + 1 + 1e3
    real = real + 1e3  # far from the origin, where |x|^2 + |y|^2 - 2 x.y cancels
    want = brute_prdc(real.numpy(), fake.numpy(), k)
    assert prdc(real, fake, k=k) == pytest.approx(want, abs=1e-12)
    monkeypatch.setattr(sets, "BLOCK", 7 * 60)
    assert prdc(real, fake, k=k) == pytest.approx(want, abs=1e-12)
    reference = Reference(real)
    assert reference.prdc(fake, k=k) == reference.prdc(fake, k=k) == pytest.approx(want, abs=1e-12)


def test_prdc_of_equal_duplicated_and_distant_sets() -> None:
    x = normal(100, 6)
    assert prdc(x, x, k=5) == pytest.approx({"precision": 1, "recall": 1, "density": 1.2, "coverage": 1})
    tripled = torch.cat([x, x, x])  # radii of zero: a point on the sphere is inside
    assert prdc(tripled, x, k=2) == pytest.approx({"precision": 1, "recall": 1, "density": 1.5, "coverage": 1})
    assert prdc(x, x + 100) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_a_collapsed_set_is_precise_and_recalls_nothing() -> None:
    real = normal(500, 4, seed=1)
    got = prdc(real, 0.01 * normal(500, 4, seed=2))
    assert got["precision"] == 1
    assert got["recall"] < 0.05
    assert got["coverage"] < 0.2


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(9, 3), "the reference holds 1 points"),
        (torch.zeros(9, 3), torch.zeros(1, 3), "the compared set holds 1 points"),
        (torch.zeros(9, 3), torch.zeros(9, 2), "2 dimensions; expected 3"),
        (torch.zeros(9, 3, 2), torch.zeros(9, 2), r"shape \(9, 3, 2\)"),
        (
            torch.zeros(9, 2),
            torch.tensor([[0.0, 0.0], [torch.nan, 0.0]]),
            r"1 of 2 points .* not finite .*row 1",
        ),
    ],
)
def test_bad_sets_are_refused(a: Tensor, b: Tensor, message: str) -> None:
    for number in (frechet, kid, prdc):
        with pytest.raises(ValueError, match=message):
            number(a, b)


def test_impossible_settings_are_refused() -> None:
    a = normal(9, 2)
    with pytest.raises(ValueError, match=r"k is 9; expected a number of neighbours from 1 to 8"):
        prdc(a, a, k=9)
    with pytest.raises(ValueError, match=r"subset_size is 1000; expected a number from 2 to 9"):
        kid(a, a)
    with pytest.raises(ValueError, match="subsets is 0"):
        kid(a, a, subsets=0, subset_size=5)


# -- images --------------------------------------------------------------------------------------------------


def slow_ssim(a: np.ndarray, b: np.ndarray, size: int) -> float:
    t = np.arange(size) - size // 2
    window = np.exp(-(t[:, None] ** 2 + t[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for x, y in zip(a, b, strict=True):  # channels

        def local(z: np.ndarray) -> np.ndarray:
            return scipy.signal.convolve2d(z, window, mode="valid")

        mx, my = local(x), local(y)
        vx, vy, vxy = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
        top = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4)
        values.append(top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 28, 28), 11), ((3, 20, 13), 11), ((3, 8, 8), 7), ((1, 30, 5), 5), ((2, 1, 1), 1)]
)
def test_ssim_equals_the_slow_version(shape: tuple[int, ...], size: int) -> None:
    a = torch.rand(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    b = (a + 0.2 * normal(4, *shape)).clamp(0, 1)
    want = [slow_ssim(x, y, size) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(ssim(a, b, batch=3), want, rtol=1e-10)
    np.testing.assert_allclose(ssim(a.float(), b.float()), want, atol=1e-5)


def test_errors_per_image_of_bytes_and_floats() -> None:
    a, b = pictures(5, 3, 12, 12, seed=1), pictures(5, 3, 12, 12, seed=2)
    want = np.square(a.numpy() / 255.0 - b.numpy() / 255.0).mean((1, 2, 3))
    np.testing.assert_allclose(mse(a, b), want, rtol=1e-5)
    np.testing.assert_allclose(psnr(a, b), -10 * np.log10(want), rtol=1e-5)
    np.testing.assert_allclose(mse(a.double() / 255, b.double() / 255), want, rtol=1e-12)
    assert psnr(a, a).isinf().all()
    assert (ssim(a, a) > 1 - 1e-6).all()
    assert (ssim(a, b) < 0.2).all()


def test_images_that_do_not_match_are_refused() -> None:
    x = torch.zeros(2, 1, 4, 4)
    for number in (mse, psnr, ssim):
        with pytest.raises(ValueError, match=r"expected the same shape \(B, \.\.\.\)"):
            number(x, x[:1])
        with pytest.raises(TypeError, match=r"int64"):
            number(x, x.long())
    with pytest.raises(ValueError, match=r"expected images \(B, C, H, W\)"):
        ssim(x[0], x[0])
    assert mse(x.flatten(1), x.flatten(1) + 2).tolist() == [4, 4]


def test_quantisation_clips_and_never_wraps() -> None:
    x = torch.tensor([-torch.inf, -0.01, 0.0, 1.0, 1.02, 7.0, torch.inf])
    for mode in ("round", "truncate"):
        assert to_uint8(x, mode).tolist() == [0, 0, 0, 255, 255, 255, 255]
    assert to_uint8(torch.tensor([0.999, 0.0039])).tolist() == [255, 1]
    assert to_uint8(torch.tensor([0.999, 0.0039]), "truncate").tolist() == [254, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_rounding_undoes_a_division_by_255(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    back = to_uint8((levels.double() / 255).to(dtype))
    if dtype == torch.bfloat16:  # eight bits of mantissa cannot hold 256 levels of equal width
        assert (back.int() - levels.int()).abs().max() <= 1
    else:
        assert torch.equal(back, levels)
    assert to_uint8(levels) is levels


def test_what_has_no_level_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.tensor([torch.nan]))
    with pytest.raises(TypeError, match="int64"):
        to_uint8(torch.tensor([1]))
    with pytest.raises(ValueError, match="'floor'"):
        to_uint8(torch.zeros(1), "floor")


# -- features ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lenet-mnist", "lenet-fashion"])
def test_lenet_features_do_not_depend_on_batches_channels_or_padding(name: str) -> None:
    make = extractor(name)
    x = pictures(7, 1, 28, 28)
    f = make(x)
    assert f.shape == (7, make.dim) == (7, 128)
    assert f.dtype == torch.float32
    assert not f.requires_grad
    assert f.min() == 0  # after the ReLU
    torch.testing.assert_close(make(x.numpy(), batch=2), f, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(make(x.expand(-1, 3, -1, -1)), f, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(make(torch.nn.functional.pad(x, (2, 2, 2, 2))), f, rtol=1e-4, atol=1e-4)
    assert make(pictures(2, 3, 64, 48)).isfinite().all()


@pytest.mark.parametrize("name", ["lenet-mnist", "lenet-fashion"])
def test_weights_are_small_and_described(name: str) -> None:
    path = Path(metrics.__file__).parent / "weights" / f"{name}.safetensors"
    got = extractor(name).describe()
    assert path.stat().st_size < 1_000_000
    assert got["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert got["metric"] == f"frechet-{name}"
    assert float(got["accuracy"].split("%")[0]) > (99 if "mnist" in name.split("-") else 90)
    assert set(got) == {"name", "metric", "dim", "sha256", "accuracy", "input"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder"), [("lenet-mnist", "mnist"), ("lenet-fashion", "fashion-mnist")])
def test_real_images_are_closer_than_spoilt_ones(name: str, folder: str, data_root: Path) -> None:
    def read(stem: str) -> Tensor:
        with gzip.open(data_root / folder / f"{stem}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(16 + 2000 * 784), np.uint8, offset=16)
        return torch.from_numpy(pixels.copy()).view(-1, 1, 28, 28)

    make = extractor(name)
    train, test = read("train"), read("t10k")
    noisy = to_uint8(test / 255 + 0.2 * normal(*test.shape))
    reference = Reference(make(test))
    floor, spoilt = reference.frechet(make(train)), reference.frechet(make(noisy))
    assert 0 < 3 * floor < spoilt


def test_pixels_of_vectors_is_principal_components() -> None:
    x = normal(300, 5) @ normal(5, 5, seed=1) * torch.tensor([1, 10, 0.1, 1, 0]) + 3  # the last column is constant
    make = extractor("pixels", reference=x)
    assert make.dim == 5
    f = make(x)
    assert f.mean(0).abs().max() < 1e-4
    # four standardised columns hold a variance of four, and axes are orthogonal
    assert f.var(0).sum().item() == pytest.approx(4, rel=1e-3)
    cov = f.T.cov()
    assert (cov - cov.diag().diag()).abs().max() < 1e-3
    assert make.metric == "frechet-pixels"
    assert "100.0%" in make.describe()["accuracy"]


def test_pixels_of_images_and_its_reference() -> None:
    x = pictures(200, 1, 12, 12)
    make = extractor("pixels", reference=x)
    assert make.dim == 64
    assert make(x[:9]).shape == (9, 64)
    assert extractor("pixels", reference=x[:20]).dim == 19
    assert extractor("pixels", reference=x).describe() == make.describe()
    assert extractor("pixels", reference=x[1:]).sha256 != make.sha256
    with pytest.raises(ValueError, match=r"shape \(1, 11, 12\); expected \(1, 12, 12\)"):
        make(x[:, :, 1:])
    with pytest.raises(TypeError, match="to_uint8"):
        make(x / 255)
    with pytest.raises(ValueError, match="not finite"):
        metrics.Pixels(torch.full((5, 2), torch.nan))
    with pytest.raises(ValueError, match="at least 2"):
        metrics.Pixels(torch.zeros(1, 2))


def test_images_must_be_quantised_pictures() -> None:
    make = extractor("lenet-mnist")
    with pytest.raises(TypeError, match="to_uint8"):
        make(torch.rand(2, 1, 28, 28))
    with pytest.raises(ValueError, match="C = 1 or 3"):
        make(pictures(2, 2, 28, 28))
    with pytest.raises(ValueError, match="at least one example"):
        make(pictures(2, 1, 28, 28)[:0])


class StandIn(torch.nn.Module):
    """Torch-fidelity's class by its documented signature: uint8 (N, 3, H, W) in, a tuple of features out."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None) -> None:
        super().__init__()
        assert features_list == ["2048"]
        assert Path(str(feature_extractor_weights_path)).is_file()

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        assert not torch.is_grad_enabled()
        return (x.float().mean((1, 2, 3)).unsqueeze(1).expand(-1, 2048),)


def test_inception_hands_three_channels_of_bytes_to_torch_fidelity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    make = extractor("inception", weights=path)
    x = pictures(120, 1, 9, 9)
    assert make.metric == "fid"
    assert make(x).shape == (120, make.dim)
    torch.testing.assert_close(make(x)[:, 0], x.float().mean((1, 2, 3)))
    assert make.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_inception_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Pass weights="):
        extractor("inception")
    with pytest.raises(ValueError, match="not a file"):
        extractor("inception", weights=tmp_path / "absent.pth")
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    with pytest.raises(ImportError, match=r"pip install 'chartae\[inception\]'"):
        extractor("inception", weights=path)


def test_the_factory_and_its_defaults() -> None:
    with pytest.raises(ValueError, match="'vgg'; expected one of lenet-mnist, lenet-fashion, pixels, inception"):
        extractor("vgg")
    with pytest.raises(ValueError, match="reference="):
        extractor("pixels")
    assert default_for("mnist", (1, 28, 28)) == "lenet-mnist"
    assert default_for("fashion-mini", (1, 28, 28)) == "lenet-fashion"
    assert default_for("mnist", (784,)) == default_for("frey", (1, 28, 20)) == "pixels"


def test_lenet_classifies_from_its_features() -> None:
    net = LeNet().eval()
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(net.classify(x), net.head(net(x)))
