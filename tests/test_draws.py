"""Draws of p(x|z), the spread of draws, and what fit chooses where rows are few."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import chartae as ch
from chartae import cli
from chartae.maths import rows
from chartae.runs import Residuals
from chartae.runs.code_size import code_size

pytestmark = pytest.mark.usefixtures("float32")
pd = pytest.importorskip("pandas")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def bent(n=2500):
    """Eight columns on a bent surface, with noise of different size in each."""
    x = torch.tanh(torch.randn(n, 3, generator=generator()) @ torch.randn(3, 8, generator=generator(1)))
    return x + torch.linspace(0.1, 0.6, 8) * torch.randn(n, 8, generator=generator(2))


def clusters(n=2500):
    """Six columns of three clusters, in different units."""
    x = 4 * torch.randn(3, 6, generator=generator(3))[torch.arange(n) % 3] + torch.randn(n, 6, generator=generator(4))
    return x * 10.0 ** torch.arange(-3, 3)


def spread(run, x, **settings):
    """Standard deviations of samples, relative to those of the data."""
    return np.asarray(run.sample(20_000, **settings)).std(0) / x.numpy().std(0)


@pytest.fixture(
    scope="module",
    params=[(r, t) for r in ("rae-l2", "vae") for t in (bent, clusters)],
    ids=lambda p: f"{p[0]}-{p[1].__name__}",
)
def run_and_data(request):
    torch.set_default_dtype(torch.float32)
    recipe, table = request.param
    return ch.fit(recipe, table(), latent_dim=2, epochs=15, progress=False), table()


def test_samples_spread_as_the_data_do(run_and_data):
    run, x = run_and_data
    ratios, means = spread(run, x), spread(run, x, noise=False)
    assert np.abs(ratios - 1).max() < 0.1
    assert np.abs(ratios - 1).mean() < 0.03 < np.abs(means - 1).mean()
    assert np.array_equal(run.sample(50), run.sample(50, noise=True))
    assert not np.array_equal(run.sample(50), run.sample(50, seed=1))


def test_residuals_come_back_with_the_run(run_and_data, tmp_path):
    run, _ = run_and_data
    loaded = ch.load(run.save(tmp_path / "a").folder)
    assert torch.allclose(loaded.sample(50), run.sample(50), rtol=1e-4, atol=1e-4)
    (tmp_path / "a" / "residuals.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="residuals"):
        ch.load(tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["rae-l2", "vae"])
@pytest.mark.parametrize("name", ["magic", "adult", "beijing"])
def test_samples_of_real_tables_spread_as_the_data_do(recipe, name, data_root):
    path = data_root / "tables" / f"{name}-train.csv.gz"
    if not path.is_file():
        pytest.skip(f"there is no {path.name}")
    table = pd.read_csv(path).select_dtypes("number").dropna().iloc[:8000]
    run = ch.fit(recipe, table, epochs=10, progress=False)
    ratios = (run.sample(20_000).std() / table.std()).to_numpy()
    assert abs(np.median(ratios) - 1) < 0.05
    assert np.mean(np.abs(ratios - 1) < 0.1) > 0.7  # the densities of codes miss the tails of a few columns


def test_residuals_are_a_regression():
    means = torch.randn(20_000, 3, generator=generator())
    noise = torch.randn(20_000, 3, generator=generator(1))
    x = torch.tensor([1.0, 0.0, 2.0]) + torch.tensor([1.25, 0.5, 0.0]) * means + torch.tensor([0.3, 0.0, 1.0]) * noise
    residuals = Residuals.of(x, means)
    assert torch.allclose(residuals.offset, torch.tensor([1.0, 0.0, 2.0]), atol=0.03)
    assert torch.allclose(residuals.slope, torch.tensor([1.25, 0.5, 0.0]), atol=0.03)
    assert torch.allclose(residuals.sigma, torch.tensor([0.3, 0.0, 1.0]), atol=0.03)
    assert torch.allclose(residuals.draw(means, generator(2)).std(0), x.std(0), rtol=0.02)
    twice = Residuals.of(x[:9], means[:9], torch.tensor([0.0, 2, 2, 1, 1, 1, 1, 1, 1]))
    assert torch.allclose(twice.sigma, Residuals.of(*(t[[1, 1, 2, 2, 3, 4, 5, 6, 7, 8]] for t in (x, means))).sigma)
    for slope in (-1.0, 3.0):  # beyond what a slope may be
        x = slope * means + 0.5 * noise
        assert torch.allclose(Residuals.of(x, means).draw(means, generator(2)).std(0), x.std(0), rtol=0.02)
    constant = Residuals.of(torch.ones(9, 2), torch.zeros(9, 2))
    assert torch.equal(constant.draw(torch.zeros(4, 2)), torch.ones(4, 2))


@pytest.mark.parametrize(("recipe", "options"), [("sigma-vae", {}), ("vae", {"likelihood": "bernoulli"}), ("iae", {})])
def test_every_decoder_draws_pictures_with_noise(recipe, options):
    run = ch.fit(recipe, ch.data.load("digits"), epochs=1, progress=False, **options)
    mean, noisy = run.sample(200), run.sample(200, noise=True)
    assert ((noisy >= 0) & (noisy <= 1)).all()
    assert torch.equal(mean, run.sample(200, noise=False))
    implicit = recipe == "iae"  # draws its noise in any case
    assert torch.equal(mean, noisy) == implicit
    assert implicit or noisy.std(0).mean() > mean.std(0).mean()


def test_conditional_rows_spread_as_the_data_do():
    x, y = bent(), np.arange(2500) % 3
    run = ch.fit("rae-l2", x + 2 * torch.as_tensor(y)[:, None], condition=y, latent_dim=2, epochs=10, progress=False)
    rows = np.concatenate([run.sample(5000, condition=k) for k in range(3)])
    ratios = rows.std(0) / (x + 2 * torch.as_tensor(y)[:, None]).numpy().std(0)
    assert np.abs(ratios - 1).mean() < 0.04


def test_noise_that_is_not_known_or_not_there():
    run = ch.fit("vae", bent(300), latent_dim=2, epochs=1, progress=False)
    known = run.residuals
    object.__setattr__(run, "residuals", None)
    assert torch.equal(run.sample(5), run.sample(5, noise=False))
    with pytest.raises(ValueError, match="noise is True, but this run does not know"):
        run.sample(5, noise=True)
    data = ch.data.read(bent(300))
    for residuals, protocol in ((None, "means of p(x|z), without noise"), (known, "draws of p(x|z), with noise")):
        object.__setattr__(run, "residuals", residuals)
        assert ch.evaluate(run, data, densities=["normal"], n=20).protocol["samples"] == protocol
    denoiser = ch.fit("dae", ch.data.load("spiral"), epochs=1, progress=False)
    with pytest.raises(ValueError, match="noise is True, but 'mala' runs chains"):
        denoiser.sample(5, "mala", noise=True)


def test_noise_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ch.fit("vae", bent(300), latent_dim=2, epochs=1, progress=False, out="run")
    files = {"default": [], "with": ["--noise"], "without": ["--no-noise"]}
    for name, flags in files.items():
        assert cli.main(["sample", "run", "--n", "20", "--out", f"{name}.npy", *flags]) == 0
    default, noisy, mean = (np.load(f"{name}.npy") for name in files)
    assert np.array_equal(default, noisy)
    assert not np.array_equal(noisy, mean)
    assert cli.main(["sample", "run", "--noise", "--no-noise"]) == 2
    assert "--noise and --no-noise are both given" in capsys.readouterr().err


# -- few rows ----------------------------------------------------------------------------------------------------------


def correlated(n, d=20, factors=3):
    x = torch.randn(n, factors, generator=generator()) @ torch.randn(factors, d, generator=generator(1))
    return x + 0.3 * torch.randn(n, d, generator=generator(2))


@pytest.mark.parametrize("recipe", ["rae-l2", "vae"])
def test_defaults_on_sixty_rows_suit_new_rows(recipe, tmp_path):
    """Ten full components in 16 dimensions gave 46 nats per code in training, and -557,342 on new rows."""
    x = correlated(1060)
    run = ch.fit(recipe, x[:60], epochs=5, progress=False, out=tmp_path / "a")
    codes, new = run.encode(x[:60]), run.encode(x[60:])
    for density in run.densities.values():
        assert density.log_prob(codes).mean() - density.log_prob(new).mean() < 5
    assert run.settings.latent_dim < 10
    assert any("48 codes are" in note for note in run.density_notes)
    assert ch.load(tmp_path / "a").density_notes == run.density_notes
    resumed = ch.fit(recipe, x[:60], epochs=6, progress=False, out=tmp_path / "a", resume=True)
    assert resumed.settings.latent_dim == run.settings.latent_dim


def test_the_size_of_codes():
    sizes = {n: code_size(correlated(n), 16) for n in (5, 30, 80, 85)}
    assert sizes == {5: 2, 30: 3, 80: 3, 85: 16}
    assert code_size(correlated(40) * 1e-9 + 5e-8, 16) == 3
    assert code_size((correlated(40, 12, 2)[:, None, None] > 0).to(torch.uint8) * 255, 8) <= 8
    assert code_size(torch.randn(60, 3), 3) >= 1


def test_a_size_or_number_that_is_given_is_kept_with_a_warning():
    x = correlated(40)
    with pytest.warns(UserWarning, match="latent_dim is 36|components is 4") as warned:
        run = ch.fit("vae", torch.cat([x, x], 1), latent_dim=36, components=4, epochs=1, progress=False)
    assert run.settings.latent_dim == 36
    assert run.densities["gmm"].components_ == 4
    text = " ".join(str(w.message) for w in warned)
    assert "latent_dim is 36 for 32 training rows" in text
    assert "components is 4 for 32 codes; expected at least 148" in text


# -- units -------------------------------------------------------------------------------------------------------------


def test_columns_in_other_units_are_learnt_as_well():
    x = bent(1500)
    units = 10.0 ** torch.tensor([-3.0, 3, 0, -3, 3, 0, -6, 6])
    r2 = [
        ch.evaluate(ch.fit("rae-l2", table, latent_dim=3, epochs=10, progress=False), table, n=100).reconstruction["r2"]
        for table in (x, x * units, x * units + 100 * units)
    ]
    assert r2[0] > 0.6
    assert r2 == pytest.approx([r2[0]] * 3, abs=0.02)


def test_residuals_are_measured_alike_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(700, 3, generator=generator, dtype=torch.float64)
    means, weight = x + torch.randn(700, 3, generator=generator, dtype=torch.float64), torch.rand(700)
    for w in (None, weight):
        whole = Residuals.of(x, means, w)
        with monkeypatch.context() as patch:
            patch.setattr(rows, "BLOCK", 100)
            blocks = Residuals.of(x, means, w)
        for name in ("offset", "slope", "sigma"):
            torch.testing.assert_close(getattr(blocks, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
