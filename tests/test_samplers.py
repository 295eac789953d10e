"""Chains against the laws that they are known to have."""

from __future__ import annotations

import math

import pytest
import torch

import chartae as ch
from chartae.data import toys
from chartae.maths import energy_distance
from chartae.recipes import Setting, build
from chartae.samplers import (
    GSN,
    MALA,
    ULA,
    AnnealedLangevin,
    CorruptDenoise,
    ParallelTempering,
    RandomWalk,
    by_name,
    geometric,
    run,
)

WORLD = toys.mixture_2d()
SCORE = WORLD.score
SIGMA = 0.5


def at(sigma):
    return WORLD.smoothed(sigma).score


def denoise(x):
    return x + SIGMA**2 * at(SIGMA)(x)


KERNELS = {
    "mala": lambda: MALA(SCORE, 0.2),
    "random-walk": lambda: RandomWalk(SCORE, 0.8),
    "first-order": lambda: RandomWalk(SCORE, 0.8, rule="first-order"),
    "ula": lambda: ULA(SCORE, 0.05),
    **{form: lambda form=form: CorruptDenoise(denoise, SIGMA, form) for form in CorruptDenoise.FORMS},
    "gsn": lambda: GSN(denoise, SIGMA),
    "gsn-isotropic": lambda: GSN(denoise, SIGMA, "isotropic"),
    "gsn-fixed": lambda: GSN(denoise, SIGMA, 0.3),
    "annealed": lambda: AnnealedLangevin(at, geometric(3, 0.1, 20), repeats=2),
    "tempering": lambda: ParallelTempering(at, geometric(3, 0.1, 3)),
}


@pytest.mark.filterwarnings("ignore:the chains accept almost")
@pytest.mark.parametrize("name", KERNELS)
def test_contract(name):
    kernel, x0 = KERNELS[name](), WORLD.sample(6, seed=0)
    chain = run(kernel, x0, steps=40, warmup=10, seed=3)
    assert chain.positions.shape == (40, 6, 2)
    assert chain.info.acceptance.shape == (40, 6)
    assert ((chain.info.acceptance >= 0) & (chain.info.acceptance <= 1)).all()
    assert chain.positions.isfinite().all()
    assert not chain.stopped
    again = run(kernel, x0, steps=40, warmup=10, seed=3)
    assert torch.equal(chain.positions, again.positions)
    assert not torch.equal(chain.positions, run(kernel, x0, steps=40, warmup=10, seed=4).positions)
    thinned = run(kernel, x0, steps=40, warmup=10, seed=3, thin=8)
    assert torch.equal(thinned.positions, chain.positions[7::8])
    assert torch.equal(thinned.final, chain.final)
    single = run(KERNELS[name](), x0.float(), steps=20)
    assert single.positions.dtype == torch.float32


# -- closed forms ------------------------------------------------------------------------------------------------------


def variances(v, s):
    """Section 9.7 of the sheet, along an axis of variance v."""
    a = v / (v + s**2)
    b = (1 + a) / 2
    return {
        "langevin": 2 * a**2 * s**2 / (1 - a**2),
        "after": 2 * s**2 / (1 - a**2),
        "half": b**2 * s**2 / (1 - b**2),
        "naive": a**2 * s**2 / (1 - a**2),
        "gsn": v,
        "gsn-isotropic": v,
    }


@pytest.mark.parametrize("name", variances(1, 1))
def test_stationary_variances_on_a_normal(name):
    v, s, n = 1.5, 0.5, 60_000
    r = lambda x: v / (v + s**2) * x  # noqa: E731
    kernel = GSN(r, s, "isotropic" if "-" in name else "tweedie") if "gsn" in name else CorruptDenoise(r, s, name)
    start = math.sqrt(v) * torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    final = run(kernel, start, steps=60, thin=60, seed=1).final
    assert final.var().item() == pytest.approx(variances(v, s)[name], rel=0.02)


@pytest.mark.parametrize("h", [0.5, 0.25])
def test_ula_is_too_wide_by_half_its_step(h):
    start = torch.randn(60_000, 1, generator=torch.Generator().manual_seed(0))
    final = run(ULA(lambda x: -x, h), start, steps=60, thin=60).final
    assert final.var().item() == pytest.approx(1 / (1 - h / 2), rel=0.02)


@pytest.mark.parametrize("kernel", [MALA(SCORE, 0.4), RandomWalk(SCORE, 1.0)], ids=["mala", "random-walk"])
def test_metropolis_with_the_exact_score_keeps_the_density(kernel):
    n = 3000
    start, truth = WORLD.sample(n, seed=1), WORLD.sample(n, seed=2)
    final = run(kernel, start, steps=60, thin=60).final
    floor = 2 / n * torch.cdist(truth, start).mean()
    assert energy_distance(final, truth) < 2 * floor


def test_mala_finds_a_normal_from_afar():
    world = toys.gaussian([[1.0, 0.8], [0.8, 2.0]])
    start = 4 + torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    chain = run(MALA(world.score, 0.01), start, steps=100, warmup=200, thin=100)
    assert torch.allclose(chain.final.T.cov(), world.covariance, atol=0.15)
    assert chain.final.mean(0).abs().max() < 0.12


def test_the_first_order_ratio_spreads_too_wide():
    start = WORLD.sample(4000, seed=1)
    spread = {
        rule: run(RandomWalk(SCORE, 1.0, rule=rule), start, steps=80, thin=80).final.var(0).sum().item()
        for rule in ("first-order", "gauss-legendre")
    }
    assert spread["first-order"] > 5.5
    assert spread["gauss-legendre"] == pytest.approx(WORLD.covariance.trace().item(), rel=0.08)


# -- identities and limits ---------------------------------------------------------------------------------------------


def test_acceptance_tends_to_one_with_the_step():
    rates = [
        run(MALA(SCORE, h, target=None), WORLD.sample(500, seed=0), steps=20).info.acceptance.mean().item()
        for h in (0.4, 0.1, 0.025)
    ]
    assert rates == sorted(rates)
    assert 0.97 < rates[-1] < 0.995
    # the refused share falls with h^1.5
    order = math.log((1 - rates[1]) / (1 - rates[2])) / math.log(4)
    assert 1.2 < order < 1.9


@pytest.mark.parametrize(("kernel", "target"), [(MALA(SCORE, 1e-3), 0.6), (RandomWalk(SCORE, 20.0), 0.35)])
def test_warm_up_tunes_the_step(kernel, target):
    chain = run(kernel, WORLD.sample(400, seed=0), steps=60, warmup=200)
    assert chain.info.acceptance.mean().item() == pytest.approx(target, abs=0.06)
    with pytest.warns(RuntimeWarning, match="accept almost"):
        fixed = run(kernel, WORLD.sample(400, seed=0), steps=20)
    assert fixed.step == kernel.size


def test_an_exact_ratio_is_used_where_the_score_has_one():
    class Exact:
        calls = 0

        def __call__(self, x):
            return SCORE(x)

        def log_ratio(self, x, y):
            self.calls += 1
            return WORLD.log_prob(y) - WORLD.log_prob(x)

    exact, x0 = Exact(), WORLD.sample(50, seed=0)
    a = run(MALA(exact, 0.2), x0, steps=20)
    assert exact.calls > 20
    b = run(MALA(SCORE, 0.2, log_ratio=lambda x, y: WORLD.log_prob(y) - WORLD.log_prob(x)), x0, steps=20)
    assert torch.equal(a.positions, b.positions)
    assert torch.allclose(run(MALA(SCORE, 0.2, nodes=20), x0, steps=20).positions, b.positions, atol=1e-4)


def test_temperature_scales_a_normals_variance():
    start = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    for kernel in (MALA(lambda x: -x, 0.8, temperature=2.0), RandomWalk(lambda x: -x, 2.0, temperature=2.0)):
        final = run(kernel, start, steps=60, thin=60).final
        assert final.var().item() == pytest.approx(2, rel=0.05)


@pytest.mark.slow
def test_chains_do_not_mix_between_far_modes_but_tempering_and_annealing_do():
    world = toys.mixture([[-4.0, 0.0], [4.0, 0.0]], sds=1.0, weights=[0.3, 0.7])
    level = lambda sigma: world.smoothed(sigma).score  # noqa: E731
    start = torch.tensor([-4.0, 0.0]) + torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    stuck = run(MALA(world.score, 0.5), start, steps=200, thin=200).final
    assert (stuck[:, 0] > 0).double().mean() < 0.1
    tempered = run(ParallelTempering(level, geometric(6, 0.3, 5)), start, steps=100, warmup=100)
    assert (tempered.positions[20:, :, 0] > 0).double().mean().item() == pytest.approx(0.7, abs=0.05)
    assert tempered.info.swaps.shape == (100, 4)
    far = start + 20 * torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    annealed = run(AnnealedLangevin(level, geometric(20, 0.1, 60), repeats=5), far)
    assert (annealed.final[:, 0] > 0).double().mean().item() == pytest.approx(0.7, abs=0.07)


def test_annealing_ends_with_tweedies_formula():
    chain = run(AnnealedLangevin(at, [1.0, 0.5], repeats=3, step=0.5), WORLD.sample(5, seed=0))
    assert chain.positions.shape[0] == 6
    assert torch.allclose(chain.final, denoise(chain.positions[-1]))


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_a_score_that_stops_being_a_number_stops_the_chain():
    def breaks(x):
        return torch.where(x.norm(dim=1, keepdim=True) > 3, math.nan, 0 * x)

    x0 = torch.zeros(50, 2)
    for kernel in (ULA(breaks, 0.01), MALA(breaks, 0.01, target=None), CorruptDenoise(lambda x: x + breaks(x), 0.1)):
        with pytest.warns(RuntimeWarning, match=r"stopped at step \d+: .* of 50 chains \(the first: chain \d+, coming"):
            chain = run(kernel, x0, steps=5000)
        kept = len(chain.positions)
        assert 20 < kept < 5000
        assert f"step {kept + 1}:" in chain.stopped
        assert chain.positions.isfinite().all()
        assert chain.positions[-1].norm(dim=1).max() > 2
        assert torch.equal(chain.final, chain.positions[-1])
        assert len(chain.info.acceptance) == kept


def test_chains_that_start_outside_the_support():
    def half_line(x):
        return torch.where(x > 0, -x, math.nan)

    x0 = torch.tensor([[1.0], [-1.0], [2.0], [-3.0]])
    with pytest.raises(ValueError, match=r"2 of 4 chains start where .* \(the first: chain 1 at \(-1\)\)"):
        run(MALA(half_line, 0.1), x0, steps=5)
    ratio = lambda x, y: torch.where(y[:, 0] > 0, 0.5 * (x**2 - y**2)[:, 0], -math.inf)  # noqa: E731
    outside = lambda x, y: ratio(x, y) - torch.where(x[:, 0] > 0, 0.0, -math.inf)  # noqa: E731
    with pytest.raises(ValueError, match="2 of 4 chains"):
        run(RandomWalk(lambda x: -x, 0.5, log_ratio=outside), x0, steps=5)
    # moves out of it are refused, and no fault
    inside = run(RandomWalk(lambda x: -x, 1.0, log_ratio=ratio), x0.abs().repeat(2000, 1), steps=100, thin=100)
    assert inside.final.min() > 0
    assert inside.final.mean().item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MALA(SCORE, 0.0), "step is 0"),
        (lambda: RandomWalk(SCORE, -1.0), "step is -1"),
        (lambda: ULA(SCORE, math.nan), "step is nan"),
        (lambda: MALA(SCORE, 1.0, target=2.0), "target is 2"),
        (lambda: MALA(SCORE, 1.0, rule="euler"), "rule is 'euler'"),
        (lambda: MALA(SCORE, 1.0, temperature=0.0), "temperature is 0"),
        (lambda: CorruptDenoise(denoise, 0.0), "sigma is 0"),
        (lambda: CorruptDenoise(denoise, 1.0, "double"), "form is 'double'"),
        (lambda: GSN(denoise, 1.0, "wide"), "spread is 'wide'"),
        (lambda: GSN(denoise, 1.0, 0.0), "spread is 0"),
        (lambda: AnnealedLangevin(at, [0.1, 1.0]), "falling order"),
        (lambda: AnnealedLangevin(at, []), "falling order"),
        (lambda: AnnealedLangevin(at, [1.0], step=2.0), "step is 2"),
        (lambda: AnnealedLangevin(at, [1.0, 0.5]), "expected at least 0.5, .* Use more levels"),
        (lambda: ParallelTempering(at, [1.0]), "at least 2"),
        (lambda: geometric(0.1, 1.0, 3), "0 < low <= high"),
        (lambda: run(MALA(SCORE, 1.0), torch.zeros(3, 2)), "Pass the number of steps"),
        (lambda: run(MALA(SCORE, 1.0), torch.zeros(3, 2), steps=0), "steps is 0"),
        (lambda: run(MALA(SCORE, 1.0), torch.zeros(3, 2), steps=3, thin=4), "thin 4"),
        (lambda: run(MALA(SCORE, 1.0), torch.zeros(3, 2, dtype=int), steps=3), "one row for each chain"),
        (lambda: run(MALA(SCORE, 1.0), torch.zeros(0, 2), steps=3), "one row for each chain"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_diagnostics_of_mixing():
    pytest.importorskip("arviz")
    mixed = run(RandomWalk(SCORE, 1.5), WORLD.sample(8, seed=1), steps=400)
    found = mixed.diagnose()
    assert {key: tuple(value.shape) for key, value in found.items()} == dict.fromkeys(found, (2,))
    assert found["ess_bulk"].max() < 3200
    assert torch.allclose(found["autocorrelation_time"], 3200 / found["ess_bulk"])
    apart = run(RandomWalk(lambda x: -x, 0.01), 5 * torch.randn(8, 2), steps=50)
    assert apart.diagnose()["r_hat"].min() > 1.5
    with pytest.raises(ValueError, match="at least 4"):
        run(RandomWalk(SCORE, 1.5), WORLD.sample(8, seed=1), steps=3).diagnose()


# -- with a model ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the chains accept almost")
@pytest.mark.parametrize("name", by_name.NAMES)
def test_every_named_sampler_runs_on_a_run(name, float32):
    world = toys.mixture([[-1.0, 0.0], [1.0, 0.0]], sds=0.5)
    recipe, options = ("ncdae", {"low": 0.1, "high": 2.0}) if name in by_name.WITH_LEVELS else ("dae", {})
    made = ch.fit(recipe, world.sample(500, seed=0), latent_dim=16, epochs=2, progress=False, **options)
    if name == "annealed":
        x = made.sample(12, seed=1)
        assert torch.equal(x, made.sample(12, name, seed=1))
        assert x.shape == (12, 2)
        assert x.isfinite().all()
        return
    chain = made.chains(12, name, start=world.sample(40, seed=1), steps=20, warmup=10, thin=1)
    assert chain.positions.shape == (20, 12, 2)
    assert not chain.stopped
    with pytest.raises(ValueError, match="fitted to in-memory data"):
        made.sample(12, name)


def test_samplers_by_name_refuse_what_they_cannot_do():
    model = build("dae", Setting((2,), 8, unit=False)).objective.model
    score = ch.diagnostics.Score(model)
    with pytest.raises(ValueError, match="Did you mean 'mala'"):
        by_name.kernel("mal", score)
    with pytest.raises(ValueError, match="Train the recipe ncdae"):
        by_name.kernel("annealed", score)


def test_consistent_noise_is_what_the_level_says():
    """For data at one point, x stays N(0, sigma^2) at every level; Song and Ermon's steps leave more than that."""
    point = lambda sigma: lambda x: -x / sigma**2  # noqa: E731
    levels = geometric(1.0, 0.05, 40)
    x0 = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    left = {
        consistent: run(AnnealedLangevin(point, levels, repeats=1, consistent=consistent), x0).positions[-1].std()
        for consistent in (True, False)
    }
    assert left[True].item() == pytest.approx(0.05, rel=0.03)
    assert left[False] > 1.05 * 0.05


def test_annealed_chains_do_not_reuse_the_noise_of_their_start():
    class Flat:
        sigma, levels = 1.0, (0.1, 10.0)

        def at(self, sigma):
            level = Flat()
            level.sigma = sigma
            return level

        def denoise(self, x):
            return torch.zeros_like(x)

        def __call__(self, x):
            return torch.zeros_like(x)

    start = by_name.noise_start(Flat(), (1,), 4000, 0, torch.device("cpu"))
    step = by_name.run(Flat(), "annealed", start, steps=1, seed=0).final - start
    correlation = torch.corrcoef(torch.cat([start, step], 1).T)[0, 1]
    assert correlation.abs() < 0.1  # 1 / sqrt(4000) is 0.016


@pytest.mark.parametrize("setting", [{"steps": 0}, {"step": 0.0}, {"thin": 0}, {"step": -1.0}])
def test_zero_is_no_default(setting):
    class Score:
        sigma, levels = 1.0, (1.0, 1.0)
        denoise = __call__ = staticmethod(torch.zeros_like)

    with pytest.raises(ValueError, match="(is|thin) (0|-1)"):
        by_name.run(Score(), "ula", torch.zeros(3, 2), **setting)
