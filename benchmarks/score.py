"""Accuracy and speed of score estimation and sampling: theorem, fields, quadrature, samplers, spiral, speed.

python benchmarks/score.py                 # everything except MNIST, about 25 minutes on two cores
python benchmarks/score.py --only fields   # one part: theorem, linear, fields, quadrature, samplers, modes, spiral,
                                           # penalty, chains
python benchmarks/score.py --only mnist --data-root FOLDER --runs FOLDER   # an hour
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, alternate, machine

import chartae as ch
from chartae.data import Batches, toys
from chartae.diagnostics import optimal_reconstruction, score_error
from chartae.draw import pictures
from chartae.maths import energy_distance, log_ratio
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

SEEDS = 5


def spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": statistics.mean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
        "values": values,
    }


def noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- the theorem, without training -------------------------------------------------------------------------------------

REFERENCE = {  # independently computed reference values, relative L2: part -> criterion -> sigma -> error
    "sextic": {
        "rcae": {1.0: 0.9326, 0.31: 0.7563, 0.1: 0.3839, 0.06: 0.2071, 0.03: 0.06747, 0.01: 0.008264},
        "dae": {1.0: 0.9345, 0.31: 0.7889, 0.1: 0.3927, 0.06: 0.2179, 0.03: 0.07355, 0.01: 0.009222},
    },
    "mixture": {
        "rcae": {1.0: 0.8288, 0.31: 0.3902, 0.1: 0.07446, 0.06: 0.02972, 0.03: 0.007924, 0.01: 9.035e-4},
        "dae": {1.0: 0.8919, 0.31: 0.3588, 0.1: 0.05346, 0.06: 0.01989, 0.03: 0.005045, 0.01: 5.629e-4},
    },
    "hessian": {
        "rcae": {0.3: 0.4632, 0.1: 0.1226, 0.03: 0.01701, 0.01: 0.00206},
        "dae": {0.3: 0.4335, 0.1: 0.0729, 0.03: 0.00696, 0.01: 7.78e-4},
    },
}


def theorem() -> dict[str, Any]:
    torch.set_default_dtype(torch.float64)
    tables: dict[str, Any] = {}
    worst = 0.0
    worlds = {
        "sextic": (toys.sextic(), torch.linspace(-1.5, 1.5, 20_001), (-1.2, 1.2)),
        "mixture": (toys.mixture_1d(), torch.linspace(-8, 8, 40_001), (-4.0, 5.0)),
    }
    for name, (world, grid, (low, high)) in worlds.items():
        at = grid[:, None]
        p, s, h = world.log_prob(at).exp(), world.score(at)[:, 0], world.hessian(at)[:, 0, 0]
        compared = torch.zeros(len(grid), dtype=torch.bool)
        compared[::20] = True
        inside = compared & (grid >= low) & (grid <= high)

        def error(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor, p: torch.Tensor = p) -> float:
            return float(((p * (a - b) ** 2)[where].sum() / (p * b**2)[where].sum()).sqrt())

        for criterion in ("rcae", "dae"):
            rows = {}
            for sigma, expected in REFERENCE[name][criterion].items():
                r = optimal_reconstruction(world.log_prob, grid, sigma, criterion)
                e = error((r - grid) / sigma**2, s, inside)
                rows[str(sigma)] = {"relative_l2": e, "sheet": expected}
                worst = max(worst, abs(e / expected - 1))
            slope = math.log(rows["0.03"]["relative_l2"] / rows["0.01"]["relative_l2"]) / math.log(3)
            tables[f"{name} {criterion}"] = {"rows": rows, "slope": slope}
        if name == "mixture":
            where = compared & (grid > -3.5) & (grid < 4)
            for criterion in ("rcae", "dae"):
                rows = {}
                for sigma, expected in REFERENCE["hessian"][criterion].items():
                    if criterion == "dae":
                        estimate = world.smoothed(sigma).hessian(at)[:, 0, 0]
                    else:
                        r = optimal_reconstruction(world.log_prob, grid, sigma, criterion)
                        estimate = (torch.gradient(r, spacing=(grid,))[0] - 1) / sigma**2
                    e = error(estimate, h, where)
                    rows[str(sigma)] = {"relative_l2": e, "sheet": expected}
                    worst = max(worst, abs(e / expected - 1))
                slope = math.log(rows["0.03"]["relative_l2"] / rows["0.01"]["relative_l2"]) / math.log(3)
                tables[f"hessian {criterion}"] = {"rows": rows, "slope": slope}
    torch.set_default_dtype(torch.float32)
    return {"tables": tables, "worst_relative_difference_to_the_sheet": worst}


# -- linear nets -------------------------------------------------------------------------------------------------------


def linear() -> dict[str, Any]:
    """Both criteria with linear maps, whose optimum is r(x) = A x with A = C (C + s^2 I)^-1."""
    c = torch.tensor([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])
    sigma, rows = 0.5, {}
    wiener = c @ torch.linalg.inv(c + sigma**2 * torch.eye(3))
    for name in ("dae", "rcae"):
        errors = []
        for seed in range(SEEDS):
            x = toys.gaussian(c).sample(100_000, seed=seed)
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                nets = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
            model = ch.Autoencoder(ch.Dirac(nets[0]), ch.Gaussian(nets[1], 0.5**0.5), ch.StandardNormal(3))
            objective = (
                ch.Penalised(model, ch.Reconstruction(), corrupt=ch.GaussianNoise(sigma), antithetic=True)
                if name == "dae"
                else ch.Penalised(model, ch.Reconstruction() + sigma**2 * ch.Contraction("exact"))
            )
            batches = Batches(x, 500, seed=seed)
            ch.training.fit(objective, batches, epochs=15, lr=5e-3, cosine=True, seed=seed, progress=False)
            a = (nets[1].weight @ nets[0].weight).detach()
            errors.append(float((a - wiener).norm() / wiener.norm()))
        rows[name] = spread(errors)
    return {"sigma": sigma, "relative_error_of_the_map": rows}


# -- trained fields ----------------------------------------------------------------------------------------------------


def fields() -> dict[str, Any]:
    """Cosine and relative L2 error of trained scores on 5,000 test points, against smoothed and unsmoothed scores."""
    world = toys.mixture_2d()
    test = world.sample(5000, seed=99)
    rows: dict[str, Any] = {}
    for recipe, sigma, form in [
        ("dae", 0.3, "residual"), ("dae", 0.1, "residual"), ("rcae", 0.3, "residual"), ("rcae", 0.1, "residual"),
        ("dae", 1.0, "residual"), ("dae", 0.03, "residual"),
        ("dae", 1.0, "plain"), ("dae", 0.3, "plain"), ("dae", 0.1, "plain"),
        ("dae", 0.03, "plain"), ("cae", 0.3, "plain"),
    ]:  # fmt: skip
        main = form == "residual" and sigma in (0.1, 0.3) and recipe != "cae"
        seeds = SEEDS if main and recipe == "dae" else 1
        smooth: dict[str, list[float]] = {"relative_l2": [], "cosine": []}
        plain: dict[str, list[float]] = {"relative_l2": [], "cosine": []}
        for seed in range(seeds):
            data = ch.data.from_arrays(world.sample(20_000, seed=seed), kind=ch.data.Points, valid=0, test=0)
            options = {} if recipe == "cae" else {"form": form}
            trained = ch.fit(recipe, data, sigma=sigma, epochs=50, seed=seed, progress=False, **options)
            s = trained.score()
            for metrics, truth in ((smooth, world.smoothed(sigma).score), (plain, world.score)):
                for key, value in score_error(s, truth, test).items():
                    metrics[key].append(value)
        rows[f"{recipe} {form} {sigma}"] = {
            "smoothed": {k: spread(v) for k, v in smooth.items()},
            "plain": {k: spread(v) for k, v in plain.items()},
        }
        print(recipe, form, sigma, rows[f"{recipe} {form} {sigma}"]["smoothed"]["relative_l2"]["mean"], flush=True)
    return {"rows": rows}


def quadrature() -> dict[str, Any]:
    torch.set_default_dtype(torch.float64)
    world = toys.mixture_2d()
    x = world.sample(200_000, seed=0)
    y = x + 0.5 * noise((200_000, 2), 1)
    truth = world.log_prob(y) - world.log_prob(x)
    rows = {}
    rules = [("first-order", 1), *(("trapezoid", n) for n in (2, 5, 9)), *(("gauss-legendre", n) for n in (2, 3, 5, 9))]
    for rule, nodes in rules:
        forth = log_ratio(world.score, x, y, rule=rule, nodes=nodes)
        back = log_ratio(world.score, y, x, rule=rule, nodes=nodes)
        rows[f"{rule} {nodes}"] = {
            "rmse": float((forth - truth).square().mean().sqrt()),
            "antisymmetry": float((forth + back).abs().max()),
        }
    torch.set_default_dtype(torch.float32)
    return {"proposal_sd": 0.5, "pairs": 200_000, "rows": rows}


# -- samplers ----------------------------------------------------------------------------------------------------------


def variances(v: float, s: float, h: float) -> dict[str, float]:
    """The stationary variance of each kernel on N(0, v), with noise level s and step size h."""
    a = v / (v + s**2)
    b = (1 + a) / 2
    return {
        "langevin": 2 * a**2 * s**2 / (1 - a**2),
        "after": 2 * s**2 / (1 - a**2),
        "half": b**2 * s**2 / (1 - b**2),
        "naive": a**2 * s**2 / (1 - a**2),
        "gsn": v,
        "gsn-isotropic": v,
        "ula": v / (1 - h / (2 * v)),
        "mala": v,
        "random-walk": v,
        "annealed": v,
        "tempering": v,
    }


def samplers() -> dict[str, Any]:
    """Stationary variances on N(0, 1.5), and energy distances on the 2-D mixture relative to two exact samples."""
    v, s, h, n = 1.5, 0.3, 0.3, 40_000
    r = lambda x: v / (v + s**2) * x  # noqa: E731
    score = lambda x: -x / v  # noqa: E731
    at = lambda sigma: lambda x: -x / (v + sigma**2)  # noqa: E731
    kernels: dict[str, Any] = {form: CorruptDenoise(r, s, form) for form in CorruptDenoise.FORMS}
    kernels |= {
        "gsn": GSN(r, s), "gsn-isotropic": GSN(r, s, "isotropic"), "ula": ULA(score, h), "mala": MALA(score, 1.0),
        "random-walk": RandomWalk(score, 2.0), "tempering": ParallelTempering(at, [2.0, 0.5, 1e-3], step=1.0),
        "annealed": AnnealedLangevin(at, geometric(20, 0.01, 200), repeats=1),
    }  # fmt: skip
    rows, expected = {}, variances(v, s, h)
    # annealing is not a stationary chain, so its variance is computed step by step
    levels, spread_now = kernels["annealed"].levels, 400.0
    for sigma, following in zip(levels, [*levels[1:], levels[-1]], strict=True):
        factor = 1 - 0.2 * sigma**2 / (v + sigma**2)
        spread_now = factor**2 * spread_now + max(0.0, following**2 - (0.8 * sigma) ** 2)
    expected["annealed"] = spread_now * (v / (v + levels[-1] ** 2)) ** 2
    for name, kernel in kernels.items():
        start = (20 if name == "annealed" else v**0.5) * noise((n, 1), 0)
        if name == "tempering":
            kernel.kernels[0].size = 1.0
            start = start[:20_000]
        steps = kernel.length or 150
        final = run(kernel, start, steps=steps, thin=steps, seed=1, warmup=0).final
        rows[name] = {"variance": float(final.var()), "closed_form": expected[name], "points": len(start)}
        rows[name]["relative"] = rows[name]["variance"] / expected[name] - 1

    world = toys.mixture_2d()
    n = 4000
    distances: dict[str, list[float]] = {}
    floors = []
    for seed in range(3):
        start, truth = world.sample(n, seed=10 + seed), world.sample(n, seed=100 + seed)
        floors.append(float(energy_distance(world.sample(n, seed=200 + seed), truth)))
        exact = {"mala": MALA(world.score, 0.3), "random-walk": RandomWalk(world.score, 1.0)}
        exact["first-order"] = RandomWalk(world.score, 1.0, rule="first-order")
        for name, kernel in exact.items():
            final = run(kernel, start, steps=300, thin=300, seed=seed).final
            distances.setdefault(f"{name}, exact score", []).append(float(energy_distance(final, truth)))
        for sigma in (0.1, 0.3):
            data = ch.data.from_arrays(world.sample(20_000, seed=seed), kind=ch.data.Points, valid=0, test=0)
            trained = ch.fit("dae", data, sigma=sigma, epochs=50, seed=seed, progress=False).score()
            smoothed = world.smoothed(sigma)
            for name, kernel in {"mala": MALA(trained, 0.3), "random-walk": RandomWalk(trained, 1.0)}.items():
                final = run(kernel, smoothed.sample(n, seed=10 + seed), steps=300, thin=300, seed=seed).final
                key = f"{name}, DAE at {sigma}, against p_sigma"
                distance = float(energy_distance(final, smoothed.sample(n, seed=100 + seed)))
                distances.setdefault(key, []).append(distance)
    floor = statistics.mean(floors)
    return {
        "variances": rows,
        "floor": spread(floors),
        "energy_distance_over_floor": {k: spread([d / floor for d in ds]) for k, ds in distances.items()},
    }


def modes() -> dict[str, Any]:
    """Two modes eight standard deviations apart, with weights 0.3 and 0.7; all chains start in the lighter mode."""
    world = toys.mixture([[-4.0, 0.0], [4.0, 0.0]], sds=1.0, weights=[0.3, 0.7])
    exact = lambda sigma: world.smoothed(sigma).score  # noqa: E731
    shares: dict[str, list[float]] = {}
    for seed in range(3):
        data = ch.data.from_arrays(world.sample(20_000, seed=seed), kind=ch.data.Points, valid=0, test=0)
        trained = ch.fit("ncdae", data, low=0.1, high=20.0, spread=3.0, epochs=50, seed=seed, progress=False)
        score = trained.score()
        start = torch.tensor([-4.0, 0.0]) + noise((500, 2), seed)
        low = 0.1
        contestants = {
            "mala, exact score": (MALA(world.score, 0.5), start, 300),
            "tempering, exact score": (ParallelTempering(exact, geometric(6, low, 6)), start, 200),
            "annealing, exact score": (AnnealedLangevin(exact, geometric(20, low, 100), repeats=3), None, None),
            "mala, trained": (MALA(score, 0.5), start, 300),
            "tempering, trained": (ParallelTempering(score.at, geometric(6, low, 6)), start, 200),
            "annealing, trained": (AnnealedLangevin(score.at, geometric(20, low, 100), repeats=3), None, None),
        }
        for name, (kernel, x0, steps) in contestants.items():
            x0 = start + 20 * noise((500, 2), seed + 50) if x0 is None else x0
            chain = run(kernel, x0, steps=steps, warmup=150 if kernel.target else 0, seed=seed, thin=10)
            x = chain.final if steps is None else chain.positions[len(chain.positions) // 3 :].flatten(0, 1)
            shares.setdefault(name, []).append(float((x[:, 0] > 0).float().mean()))
            print(name, shares[name][-1], flush=True)
    return {"true_share": 0.7, "share_in_the_heavier_mode": {k: spread(v) for k, v in shares.items()}}


def spiral() -> dict[str, Any]:
    """Chains x <- r(x + sqrt(2) sigma e) from the spiral, sigma 0.01: the fraction over 0.1 away after 3,000 steps."""
    world = toys.spiral()
    rows: dict[str, Any] = {}
    for name, options in {
        "sigma alone": {},
        "rare large noise (recommended)": {"corrupt": "rare"},
        "sigma alone, plain output": {"form": "plain"},
    }.items():
        escapes, ratios = [], []
        for seed in range(3):
            data = ch.data.from_arrays(world.sample(20_000, seed=seed), kind=ch.data.Points, valid=0, test=0)
            settings: dict[str, Any] = {"gain": 6.0, "epochs": 100, "lr": 2e-3} | options
            s = ch.fit("dae", data, sigma=0.01, seed=seed, progress=False, **settings).score()
            start = world.sample(500, seed=100 + seed)
            final = run(CorruptDenoise(s.denoise, s.sigma), start, steps=3000, thin=3000, seed=seed).final
            escapes.append(float((world.distance(final) > 0.1).float().mean()))
            x = world.sample(5000, seed=7)
            y = x + 0.01 * noise((5000, 2), 8)
            with torch.no_grad():
                ratios.append(float(world.distance(s.denoise(y)).mean() / world.distance(y).mean()))
        rows[name] = {"escape": escapes, "denoise_ratio": spread(ratios)}
        print(name, rows[name], flush=True)
    return {"chains": 500, "steps": 3000, "rows": rows}


# -- speed -------------------------------------------------------------------------------------------------------------


def penalty() -> dict[str, Any]:
    """The time of a training step relative to the DAE: 2-D points with two layers, 784-D points with one."""

    def steps(objective: ch.Objective, x: torch.Tensor, count: int) -> Callable[[], float]:
        optimiser = torch.optim.Adam(objective.parameters())

        def train() -> float:
            started = time.perf_counter()
            for _ in range(count):
                optimiser.zero_grad()
                objective(x)["loss"].backward()
                optimiser.step()
            return (time.perf_counter() - started) / count * 1000

        train()
        return train

    rows: dict[str, Any] = {}
    for label, shape, net, width, count, methods in (
        ("2-D, two layers of 128, batch 512", (2,), "mlp", 128, 20, ("exact", "hutchinson")),
        ("2-D, one layer of 128, batch 512", (2,), "shallow", 128, 20, ("exact", "hutchinson", "closed")),
        ("784-D, one layer of 512, batch 256", (784,), "shallow", 512, 10, ("hutchinson", "closed")),
    ):
        setting = Setting(shape, width, net, unit=False)
        x = noise((512 if shape == (2,) else 256, *shape), 0)
        base = steps(build("dae", setting, antithetic=False).objective, x, count)
        pairs = steps(build("dae", setting, antithetic=True).objective, x, count)
        rows[f"DAE with antithetic pairs: {label}"] = alternate(
            {"dae": base, "pairs": pairs}, repeats=5, ratio=("pairs", "dae")
        )
        for method in methods:
            other = steps(build("rcae", setting, method=method).objective, x, count)
            rows[f"RCAE {method}: {label}"] = alternate({"dae": base, "rcae": other}, repeats=5, ratio=("rcae", "dae"))
            rows[f"RCAE {method} against DAE with pairs: {label}"] = alternate(
                {"dae": pairs, "rcae": other}, repeats=5, ratio=("rcae", "dae")
            )
        if "exact" in methods:
            hutchinson = steps(build("rcae", setting, method="hutchinson").objective, x, count)
            exact = steps(build("rcae", setting, method="exact").objective, x, count)
            rows[f"RCAE exact against Hutchinson: {label}"] = alternate(
                {"exact": exact, "hutchinson": hutchinson}, repeats=5, ratio=("exact", "hutchinson")
            )
    return {"unit": "milliseconds a step", "rows": rows}


def chains() -> dict[str, Any]:
    """1,000 steps of 1,000 MALA chains on the 2-D mixture, in one batch and in a loop over chains."""
    world = toys.mixture_2d()
    trained = ch.fit("dae", world.sample(5000, seed=0), sigma=0.3, epochs=5, seed=0, progress=False)
    start = world.sample(1000, seed=1)
    rows = {}
    for name, score in (("exact score", world.score), ("trained DAE", trained.score())):

        def timed(x0: torch.Tensor, steps: int, score: Any = score) -> float:
            started = time.perf_counter()
            run(MALA(score, 0.3), x0, steps=steps, thin=steps)
            return time.perf_counter() - started

        # the loop is timed on 4 chains of 250 steps and scaled, because its time is linear in both numbers
        rows[name] = alternate(
            {
                "loop": lambda timed=timed: sum(timed(start[i : i + 1], 250) for i in range(4)) * 250 * 4,
                "batch": lambda timed=timed: timed(start, 1000),
            },
            repeats=3,
            ratio=("loop", "batch"),
        )
    return {"unit": "seconds for 1,000 chains of 1,000 steps", "rows": rows}


# -- MNIST -------------------------------------------------------------------------------------------------------------


def mnist(root: str, runs: Path) -> dict[str, Any]:
    """Samples of a noise-conditional DAE, of RAE-L2 + GMM, and of the naive loop, measured by one evaluator."""
    data = ch.data.load("mnist", root=root)
    evaluator = ch.evaluation.evaluator_for(data, ch.evaluation.Measuring(n=2000))
    n = evaluator.n

    def measured(x: torch.Tensor) -> dict[str, Any]:
        return evaluator.measure(x).to_dict()

    settings = {"net": "conv", "latent_dim": 512, "epochs": 5, "batch_size": 64, "ema": 0.999, "low": 0.02}

    def trained(name: str, recipe: str, **keywords: Any) -> ch.Run:
        folder = runs / name
        if (folder / "weights.safetensors").is_file():
            return ch.load(folder)
        return ch.fit(recipe, data, seed=0, out=folder, overwrite=True, **keywords)

    rae = trained("rae-l2", "rae-l2", latent_dim=16, epochs=15)
    model = trained("ncdae", "ncdae", **settings)
    sets: dict[str, Any] = {"rae-l2 + gmm": measured(rae.draw(n, "gmm", seed=0))}
    settings_of_chain = {"levels": 100, "repeats": 1, "step": 0.2}
    score = model.score()
    kernel = AnnealedLangevin(score.at, geometric(3.0, 0.02, 100), repeats=1, step=0.2)
    start = by_name.noise_start(score, (1, 28, 28), n, 0, torch.device("cpu"))
    final = run(kernel, start, thin=kernel.length or 1).final
    sets["annealed"] = measured(final)
    pictures.save_png(runs / "annealed.png", pictures.grid(ch.metrics.to_uint8(final[:100]).numpy()))
    print({k: v["frechet"] for k, v in sets.items()}, flush=True)
    for sigma in (0.3,):
        for name in ("naive",):
            chain = model.chains(n, name, sigma=sigma, start=data.train, steps=40, seed=0)
            sets[f"{name}, sigma {sigma}, 40 steps from training images"] = measured(chain.final)
            print(name, sigma, measured(chain.final)["frechet"], flush=True)
    noise_0 = 0.5 + 0.3 * noise((n, 1, 28, 28), 0)
    chain = model.chains(n, "naive", sigma=0.3, start=noise_0, steps=40, seed=0)
    sets["naive, sigma 0.3, 40 steps from noise"] = measured(chain.final)
    return {
        "metric": evaluator.metric, "n": n, "floor": evaluator.floor["frechet"], "sets": sets,
        "settings": settings, "chain": settings_of_chain,
    }  # fmt: skip


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "theorem": theorem,
    "linear": linear,
    "quadrature": quadrature,
    "fields": fields,
    "samplers": samplers,
    "modes": modes,
    "spiral": spiral,
    "penalty": penalty,
    "chains": chains,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=[*PARTS, "mnist"])
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--runs", default="runs/score", type=Path)
    arguments = parser.parse_args()
    path = RESULTS / "score.json"
    for name in [arguments.only] if arguments.only else PARTS:
        print(name, flush=True)
        started = time.perf_counter()
        result = mnist(arguments.data_root, arguments.runs) if name == "mnist" else PARTS[name]()
        known = json.loads(path.read_text()) if path.is_file() else {"benchmark": "score"}
        command = f"python benchmarks/score.py --only {name}"
        known[name] = {
            "command": command,
            "seconds": round(time.perf_counter() - started),
            "machine": machine(),
        } | result
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
