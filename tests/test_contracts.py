"""Contracts: what every member of a package does, whatever else it does. A member without a row fails the first test.

Shapes; finite values; gradients to all that is learnt or given, and to nothing else; a permuted batch gives permuted
values; float32 in, float32 out; a move to another device takes everything along.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import chartae as ch
from chartae import conditionals as q
from chartae import densities, samplers
from chartae import distributions as p
from chartae import nn as nets
from chartae.conditionals.strings import MaskedCategorical
from chartae.data import Batch
from chartae.distributions import Distribution
from chartae.grammar import load
from chartae.maths.random import Stream
from closed_forms import CODE, SIZE, linear, linear_autoencoder, points
from test_terms import TERMS

GRAMMAR = load("expressions")
LIMIT = 15


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=seeded())


def strings() -> Tensor:
    """Derivations (5, T) as an encoder of strings reads them."""
    rows = GRAMMAR.encode(["x", "x+1", "sin(x)", "x*x", "2"])
    out = torch.full((5, LIMIT), float(GRAMMAR.padding))
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.as_tensor(row, dtype=out.dtype)
    return out


# -- every member has a row -------------------------------------------------------------------------------------------

#: package -> members that are no rows of its table, and are tested as what they are elsewhere
OTHERS = {
    "conditionals": {"Conditional", "Corruption", "event_shape", "through"},
    "distributions": {"LOG_2PI", "Distribution", "randn", "supplied"},
    "terms": {"Sum", "Term", "Trace"},
    "densities": {"NAMES", "Density", "accepted", "fit", "load", "make", "register", "save"},
    "samplers": {"Chain", "Info", "Kernel", "State", "by_name", "geometric", "run"},
    "nn": {
        "ACTIVATIONS", "BATCH_NORMS", "DROPOUTS", "NETS", "SEQUENCE_NETS", "draws_itself", "pair_critic", "spectral",
        "translator",
    },
}  # fmt: skip


@pytest.mark.parametrize("package", OTHERS)
def test_every_member_has_a_row(package):
    rows = {
        "conditionals": lambda: {type(row.make()).__name__ for row in CONDITIONALS.values()} | {"Uniform"},
        "distributions": lambda: set(LAWS),
        "terms": lambda: {type(row[0]()).__name__ for row in TERMS.values()},
        "densities": lambda: {type(make_density()).__name__ for make_density, _ in DENSITIES.values()},
        "samplers": lambda: {type(make_kernel()).__name__ for make_kernel in KERNELS.values()},
        "nn": lambda: set(NETS),
    }[package]()
    module = importlib.import_module(f"chartae.{package}")
    public = set(module.__all__)
    assert public - rows - OTHERS[package] == set(), "members without a row in the table of contracts"
    assert OTHERS[package] <= public, "no longer there"
    assert not rows & OTHERS[package]


# -- conditionals -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One conditional, and what is peculiar about it.

    Attributes:
        make: the conditional.
        c: what it is conditioned on; None: on nothing.
        event: shape of a point.
        density: whether a point has one.
        smooth: whether draws have gradients with respect to what is learnt and given; None: they have no gradient
            and neither has the mean.
        alone: whether each row's distribution depends on its own row of c alone, and on no draw.
        anywhere: whether a pass works on tensors without data.
    """

    make: Callable[[], q.Conditional]
    c: Callable[[], Tensor] | None = None
    event: tuple[int, ...] = (CODE,)
    density: bool = True
    smooth: bool | None = True
    alone: bool = True
    anywhere: bool = True


def vectors(n: int = 11) -> Tensor:
    return points(n)[:, :CODE]


def split() -> q.Product:
    parts = [q.Categorical(nn.Identity(), "gumbel"), q.Gaussian(nn.Identity(), 0.5)]
    return q.Product(parts, [2, 1], linear(CODE, SIZE, 0))


def remembered() -> q.Empirical:
    prior = q.Empirical(CODE, 9)
    prior.remember(torch.randn(9, CODE, generator=seeded()))
    return prior


def denoised() -> q.Denoised:
    return q.Denoised(nets.NoiseDecoder(linear(CODE, SIZE - CODE, 0), (CODE,), spread=1.0, lowest=0.1))


def masked() -> MaskedCategorical:
    net = nets.sequence_decoder("gru", CODE, GRAMMAR.size, GRAMMAR.states, (LIMIT,))
    return MaskedCategorical(net, GRAMMAR, LIMIT)


CONDITIONALS = {
    "dirac": Row(lambda: q.Dirac(linear(CODE, SIZE, 0)), points, density=False),
    "gaussian": Row(lambda: q.Gaussian(linear(CODE, SIZE, 0), 0.7), points),
    "gaussian-learnt": Row(lambda: q.Gaussian(linear(2 * CODE, SIZE, 0), "learnt"), points),
    "gaussian-optimal": Row(lambda: q.Gaussian(linear(CODE, SIZE, 0), "optimal"), points, alone=False),
    "bernoulli": Row(lambda: q.Bernoulli(linear(CODE, SIZE, 0)), points, smooth=False),
    "logit-normal": Row(lambda: q.LogitNormal(linear(2 * CODE, SIZE, 0)), points),
    **{
        f"categorical-{mode}": Row(
            lambda mode=mode: q.Categorical(linear(CODE, SIZE, 0), mode), points, smooth=mode != "exact"
        )
        for mode in p.OneHot.MODES
    },
    "product": Row(split, points),
    "product-prior": Row(lambda: q.Product([q.UniformCategorical(2), q.StandardNormal(1)], [2, 1])),
    "implicit": Row(lambda: q.Implicit(linear(CODE, SIZE + 2, 0), 2), points, density=False),
    "denoised": Row(denoised, points),
    "masked-categorical": Row(
        masked, lambda: torch.randn(5, CODE, generator=seeded()), (LIMIT,), smooth=None, anywhere=False
    ),
    "standard-normal": Row(lambda: q.StandardNormal(CODE)),
    "laplace": Row(lambda: q.Laplace(CODE, 0.7)),
    "uniform": Row(lambda: q.Uniform(CODE)),
    "beta": Row(lambda: q.Beta(CODE, 3.0, 5.0)),
    "beta-learnt": Row(lambda: q.Beta(CODE, 2.0, 2.0, learnt=True)),
    "uniform-categorical": Row(lambda: q.UniformCategorical(CODE), smooth=False),
    "empirical": Row(remembered, density=False),
    "noise": Row(lambda: q.GaussianNoise(0.3), vectors),
    "rare": Row(lambda: q.RareNoise(0.3), vectors, alone=False),
    "annealed": Row(lambda: q.AnnealedNoise(0.3, 3.0, 10), vectors, alone=False),
    "levels": Row(lambda: q.NoiseLevels(0.1, 3.0), vectors, alone=False),
    "jitter": Row(q.Jitter, vectors, density=False, alone=False),
    "jitter-images": Row(q.Jitter, images, (1, 8, 8), density=False, alone=False),
    "flip": Row(q.Flip, images, (1, 8, 8), density=False, alone=False),
    "crop": Row(q.Crop, images, (1, 8, 8), density=False, alone=False),
    "masking": Row(lambda: q.Masking(0.3), vectors, density=False),
    "salt-and-pepper": Row(lambda: q.SaltAndPepper(0.3), vectors, density=False),
}


def given(row: Row, **options: object) -> tuple[Tensor, ...]:
    return () if row.c is None else (row.c().to(**options),)  # type: ignore[call-overload]


def slope(value: Tensor, leaves: list[Tensor]) -> bool:
    """Whether a value changes with what it was made from."""
    if not leaves or not value.requires_grad:
        return False
    gradients = torch.autograd.grad(value.square().sum(), leaves, allow_unused=True, retain_graph=True)
    return any(g is not None and bool(g.any()) for g in gradients)


def point_of(row: Row, law: Distribution, n: int | None = None) -> Tensor:
    """A point, or `n` draws of each row, of which the density is asked."""
    return strings() if row.make is masked else law.sample(n, generator=seeded()).detach()


@pytest.mark.parametrize("name", CONDITIONALS)
def test_a_conditional_has_its_shapes_and_draws_again_from_a_seed(name):
    row = CONDITIONALS[name]
    conditional, c = row.make(), given(row)
    law = conditional(*c)
    assert isinstance(law, Distribution)
    batch = tuple(len(part) for part in c)
    assert law.mean.shape == (*batch, *row.event)
    assert law.point(seeded()).shape == law.mean.shape
    assert law.sample(generator=seeded()).shape == law.mean.shape
    draws = law.sample(4, generator=seeded())
    assert draws.shape == (4, *law.mean.shape)
    assert draws.isfinite().all()
    assert torch.equal(draws, law.sample(4, generator=seeded()))
    assert conditional.has_density == row.density
    if conditional.bounded:
        assert ((draws >= 0) & (draws <= 1)).all()


@pytest.mark.parametrize("name", CONDITIONALS)
def test_a_density_is_finite_or_refused(name):
    row = CONDITIONALS[name]
    conditional, c = row.make(), given(row)
    law = conditional(*c)
    if not row.density:
        if name.startswith("jitter"):
            return  # its points are those of a Dirac
        with pytest.raises(TypeError, match=r"no density|TypeError"):
            law.log_prob(law.mean)
        return
    n = None if row.make is masked else 4
    log_p = law.log_prob(point_of(row, law, n))
    shape = tuple(len(part) for part in c)
    assert log_p.shape == (shape if n is None else (n, *shape))
    assert log_p.isfinite().all()


@pytest.mark.parametrize("name", CONDITIONALS)
def test_gradients_reach_what_a_conditional_learns_and_is_given_and_nothing_else(name):
    row = CONDITIONALS[name]
    conditional, c = row.make(), tuple(part.requires_grad_() for part in given(row))
    learnt = dict(conditional.named_parameters()) | {f"given {i}": part for i, part in enumerate(c)}
    assert not any(buffer.requires_grad for buffer in conditional.buffers())
    law = conditional(*c)
    quantities = [law.log_prob(point_of(row, law)).sum()] if row.density else []
    quantities += [] if row.smooth is None else [law.mean.square().sum()]
    quantities += [law.sample(generator=seeded()).square().sum()] if row.smooth else []
    total = torch.stack(quantities).sum()
    assert total.requires_grad == bool(learnt)
    if not learnt:
        return
    gradients = torch.autograd.grad(total, list(learnt.values()), allow_unused=True, retain_graph=True)
    unreached = [key for key, g in zip(learnt, gradients, strict=True) if g is None or not g.any()]
    assert unreached == []
    assert all(g.isfinite().all() for g in gradients)
    assert slope(law.sample(generator=seeded()), list(learnt.values())) == bool(row.smooth)


@pytest.mark.parametrize("name", [name for name, row in CONDITIONALS.items() if row.c is not None and row.alone])
def test_permuted_rows_have_permuted_distributions(name):
    row = CONDITIONALS[name]
    conditional, (c,) = row.make().eval(), given(row)
    order = torch.randperm(len(c), generator=seeded(2))
    law, permuted = conditional(c), conditional(c[order])
    assert torch.allclose(permuted.mean, law.mean[order])
    if row.density:
        a = point_of(row, law)
        assert torch.allclose(permuted.log_prob(a[order]), law.log_prob(a)[order])


@pytest.mark.parametrize("name", CONDITIONALS)
def test_a_conditional_keeps_single_precision(name):
    row = CONDITIONALS[name]
    conditional, c = row.make().float(), given(row, dtype=torch.float32)
    law = conditional(*c)
    values = [law.mean, law.sample(generator=seeded()), law.sample(2, generator=seeded())]
    values += [law.log_prob(point_of(row, law).float())] if row.density else []
    assert {value.dtype for value in values} == {torch.float32}


@pytest.mark.parametrize("name", CONDITIONALS)
def test_a_conditional_moves_to_another_device(name):
    row = CONDITIONALS[name]
    conditional = row.make().to("meta")
    assert {t.device.type for t in (*conditional.parameters(), *conditional.buffers())} <= {"meta"}
    if row.anywhere:
        law = conditional(*given(row, device="meta"))
        assert law.mean.device.type == "meta"
        assert law.sample(2).shape == (2, *law.mean.shape)
        assert law.sample(2).device.type == "meta"


# -- distributions ----------------------------------------------------------------------------------------------------


def parameter(*shape: int, low: float = 0.5, high: float = 1.5) -> Tensor:
    return (low + (high - low) * torch.rand(shape, generator=seeded(5))).requires_grad_()


def pushed() -> tuple[p.Pushed, list[Tensor]]:
    c = parameter(4, CODE)
    return p.Pushed(linear(CODE, CODE + 2, 0), c, 2), [c]


def product() -> tuple[p.Product, list[Tensor]]:
    mean, logits = parameter(4, 1), parameter(4, 2, low=-1)
    return p.Product([p.OneHot(logits, "gumbel"), p.Normal(mean, 0.5)], [2, 1]), [mean, logits]


def of(make_law: Callable[..., Distribution], *leaves: Tensor) -> tuple[Distribution, list[Tensor]]:
    return make_law(*leaves), list(leaves)


#: name -> (a distribution of 4 rows of vectors, what its gradients reach), and whether it has a density
LAWS = {
    "Normal": (lambda: of(p.Normal, parameter(4, CODE), parameter(4, CODE)), True),
    "OptimalNormal": (lambda: of(lambda m: p.OptimalNormal(m, torch.ones(()), 0.0), parameter(4, CODE)), True),
    "Laplace": (lambda: (p.Laplace(torch.zeros(4, CODE), 0.7, 1), []), True),
    "LogitBeta": (lambda: of(lambda a, b: p.LogitBeta(a, b, 1), parameter(4, CODE), parameter(4, CODE, low=1)), True),
    "Beta": (lambda: of(p.Beta, parameter(4, CODE), parameter(4, CODE, low=1)), True),
    "Squashed": (lambda: of(lambda m: p.Squashed(p.Normal(m, 0.5)), parameter(4, CODE)), True),
    "Bernoulli": (lambda: of(p.Bernoulli, parameter(4, CODE, low=-1)), True),
    "OneHot": (lambda: of(lambda t: p.OneHot(t, "gumbel"), parameter(4, CODE, low=-1)), True),
    "Product": (product, True),
    "PointMass": (lambda: of(p.PointMass, parameter(4, CODE)), False),
    "Replaced": (lambda: of(lambda x: p.Replaced(x, 0.3, (0.0, 1.0)), parameter(4, CODE)), False),
    "Pushed": (pushed, False),
    "Atoms": (lambda: (p.Atoms(torch.randn(9, 4, CODE, generator=seeded())), []), False),
}
#: laws whose draws have no gradient
STEPS = ("Bernoulli",)


@pytest.mark.parametrize("name", LAWS)
def test_a_distribution(name):
    make_law, density = LAWS[name]
    law, leaves = make_law()
    assert law.mean.shape == (4, CODE)
    draws = law.sample(6, generator=seeded())
    assert draws.shape == (6, 4, CODE)
    assert draws.isfinite().all()
    assert torch.equal(draws, law.sample(6, generator=seeded()))
    assert slope(draws, leaves) == (bool(leaves) and name not in STEPS)
    if not density:
        with pytest.raises(TypeError, match=r"no density"):
            law.log_prob(law.mean)
        return
    value = law.log_prob(draws.detach())
    assert value.shape == (6, 4)
    assert value.isfinite().all()
    if leaves:
        gradients = torch.autograd.grad(value.sum(), leaves)
        assert all(g.any() and g.isfinite().all() for g in gradients)
    # a divergence from itself is none, however it is computed
    one = draws[0].detach()
    assert torch.allclose(law.kl(make_law()[0], one), torch.zeros(4), atol=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_the_mean_of_a_distribution_is_that_of_its_draws(name):
    if name in ("Pushed", "Squashed", "Beta"):
        return  # their `mean` is the image of a middle, not a mean
    law, _ = LAWS[name][0]()
    draws = law.sample(40_000, generator=seeded()).detach()
    assert torch.allclose(draws.mean(0), law.mean.detach(), atol=0.06)


# -- terms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TERMS)
def test_a_term_keeps_single_precision_and_carries_gradients(name):
    make_term, reached, density = TERMS[name]
    model, x = linear_autoencoder(variational=density).float(), points().float()
    # whatever a term may need of a pass: the graph back to the codes and to the input
    asked = ch.Penalised(model, ch.Reconstruction() + 0.0 * ch.DecoderGradient() + 0.0 * ch.Contraction())
    value = make_term().float()(asked.trace(Batch(x)))
    assert value.shape in ((), (len(x),))
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    parts = (model.encoder, model.decoder)
    for part, wanted in zip(parts, reached, strict=True):
        gradients = torch.autograd.grad(value.sum(), list(part.parameters()), allow_unused=True, retain_graph=True)
        assert any(g is not None and bool(g.any()) for g in gradients) == wanted


# -- densities --------------------------------------------------------------------------------------------------------

LABELS = torch.eye(2).repeat(100, 1)

#: a density, and what it is fitted and asked with besides codes
DENSITIES: dict[str, tuple[Callable[[], densities.Density], dict[str, Tensor]]] = {
    "normal": (densities.Normal, {}),
    "mixture": (lambda: densities.GaussianMixture(2), {}),
    "by-condition": (lambda: densities.ByCondition("normal", discrete=2), {"condition": LABELS}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DENSITIES)
def test_a_density(name, dtype):
    z = torch.randn(200, CODE, generator=seeded(), dtype=dtype) * torch.tensor([1.0, 3.0, 0.1], dtype=dtype)
    make_density, asked = DENSITIES[name]
    density = make_density().fit(z, **asked)
    value = density.log_prob(z, **asked)
    assert value.shape == (len(z),)
    assert value.dtype == dtype
    assert value.isfinite().all()
    order = torch.randperm(len(z), generator=seeded(2))
    permuted = density.log_prob(z[order], **{key: v[order] for key, v in asked.items()})
    assert torch.allclose(permuted, value[order])
    # a gradient to the codes, and to nothing else
    leaf = z.clone().requires_grad_()
    assert slope(density.log_prob(leaf, **asked), [leaf])
    assert not value.requires_grad
    one = {key: v[0] for key, v in asked.items()}
    draws = density.sample(7, generator=seeded(), **one)
    assert draws.shape == (7, CODE)
    assert draws.dtype == dtype
    assert torch.equal(draws, density.sample(7, generator=seeded(), **one))
    with Stream(3).used():
        inside = density.sample(7, **one)
    assert torch.equal(inside, density.sample(7, generator=seeded(3), **one)), "without a generator, from the stream"
    assert {t.device.type for t in density.to("meta").buffers()} == {"meta"}


# -- samplers ---------------------------------------------------------------------------------------------------------


def score(x: Tensor) -> Tensor:
    return -x


def score_at(sigma: float) -> Callable[[Tensor], Tensor]:
    return lambda x: -x / (1 + sigma**2)


def denoise(x: Tensor) -> Tensor:
    return x / 1.25


#: chains of N(0, I), or of what is near it
KERNELS: dict[str, Callable[[], samplers.Kernel]] = {
    "mala": lambda: samplers.MALA(score, 0.2),
    "random-walk": lambda: samplers.RandomWalk(score, 0.8),
    "ula": lambda: samplers.ULA(score, 0.05),
    "corrupt-denoise": lambda: samplers.CorruptDenoise(denoise, 0.5),
    "gsn": lambda: samplers.GSN(denoise, 0.5),
    "annealed": lambda: samplers.AnnealedLangevin(score_at, samplers.geometric(3, 0.1, 20), repeats=2),
    "tempering": lambda: samplers.ParallelTempering(score_at, samplers.geometric(3, 0.1, 3)),
}


@pytest.mark.filterwarnings("ignore:the chains accept almost")
@pytest.mark.parametrize("name", KERNELS)
def test_a_sampler(name):
    x0 = torch.randn(6, 2, generator=seeded())
    before = torch.get_rng_state()
    chain = samplers.run(KERNELS[name](), x0, steps=20, warmup=5, seed=3)
    assert torch.equal(before, torch.get_rng_state()), "a chain draws from its own seed"
    assert chain.positions.shape == (20, 6, 2)
    assert chain.positions.isfinite().all()
    assert not chain.positions.requires_grad
    assert ((chain.info.acceptance >= 0) & (chain.info.acceptance <= 1)).all()
    assert torch.equal(chain.positions, samplers.run(KERNELS[name](), x0, steps=20, warmup=5, seed=3).positions)
    single = samplers.run(KERNELS[name](), x0.float(), steps=20)
    assert single.positions.dtype == torch.float32


# -- nets -------------------------------------------------------------------------------------------------------------

PLACE = {"spread": 1.0, "lowest": 0.1}


@dataclass(frozen=True)
class Net:
    """A net, its inputs, and the shape of one row of what comes out."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]
    out: tuple[int, ...]


def sequence() -> tuple[Tensor, ...]:
    before = torch.randint(GRAMMAR.size, (4, LIMIT), generator=seeded())
    return torch.randn(4, CODE, generator=seeded()), before, torch.zeros_like(before)


def codes() -> tuple[Tensor, ...]:
    return (torch.randn(4, CODE, generator=seeded()),)


def pictures() -> tuple[Tensor, ...]:
    return (images(4),)


NETS = {
    "MLP": Net(lambda: nets.MLP((1, 8, 8), CODE, (16,)), pictures, (CODE,)),
    "Linear": Net(lambda: nets.Linear(CODE, 5), codes, (5,)),
    "Conv2d": Net(lambda: nets.Conv2d(1, 5, 8), pictures, (5, 1, 1)),
    "ConvEncoder": Net(lambda: nets.ConvEncoder((1, 8, 8), CODE, (4, 8)), pictures, (CODE,)),
    "ConvDecoder": Net(lambda: nets.ConvDecoder(CODE, (1, 8, 8), (4, 8)), codes, (1, 8, 8)),
    "ResidualEncoder": Net(lambda: nets.ResidualEncoder((1, 8, 8), CODE, (4, 8)), pictures, (CODE,)),
    "ResidualDecoder": Net(lambda: nets.ResidualDecoder(CODE, (1, 8, 8), (4, 8)), codes, (1, 8, 8)),
    "PaperEncoder": Net(
        lambda: nets.PaperEncoder("mnist", CODE, filters=2), lambda: (torch.rand(4, 1, 28, 28),), (CODE,)
    ),
    "PaperDecoder": Net(lambda: nets.PaperDecoder("mnist", CODE, (1, 28, 28), filters=2), codes, (1, 28, 28)),
    "HiddenLayer": Net(lambda: nets.HiddenLayer(CODE, 5), codes, (5,)),
    "TiedDecoder": Net(lambda: nets.TiedDecoder(nets.HiddenLayer(5, CODE), 5), codes, (5,)),
    "SkipEncoder": Net(lambda: nets.SkipEncoder(nn.Linear(CODE, 2)), codes, (CODE + 2,)),
    "SkipDecoder": Net(lambda: nets.SkipDecoder(nn.Linear(1, 2), (2,), 0.5), codes, (2,)),
    "NoiseEncoder": Net(
        lambda: nets.NoiseEncoder((CODE,), 8, 2, **PLACE), lambda: (*codes(), torch.rand(4) + 0.1), (CODE + 8,)
    ),
    "NoiseDecoder": Net(
        lambda: nets.NoiseDecoder(nn.Linear(1, 2), (2,), **PLACE), lambda: (*codes(), torch.rand(4) + 0.1), (2,)
    ),
    "NoiseConvDecoder": Net(
        lambda: nets.NoiseConvDecoder(6, (1, 8, 8), 4, **PLACE),
        lambda: (torch.randn(4, 70, generator=seeded()), torch.rand(4) + 0.1),
        (1, 8, 8),
    ),
    "ConditionedEncoder": Net(
        lambda: nets.ConditionedEncoder(nn.Linear(CODE, 8), 8, 2, 5), lambda: (*codes(), torch.rand(4, 2)), (5,)
    ),
    "ConditionedDecoder": Net(
        lambda: nets.ConditionedDecoder(nn.Linear(CODE + 2, 5)), lambda: (*codes(), torch.rand(4, 2)), (5,)
    ),
    "Critic": Net(lambda: nets.Critic(nn.Linear(CODE, 1)), codes, ()),
    "Translator": Net(lambda: nets.Translator((1, 8, 8), (3, 8, 8), width=4), pictures, (3, 8, 8)),
    "SequenceDecoder": Net(
        lambda: nets.sequence_decoder("gru", CODE, GRAMMAR.size, GRAMMAR.states, (LIMIT,)),
        sequence,
        (LIMIT, GRAMMAR.size),
    ),
    # built by name
    "critic": Net(lambda: nets.critic("mlp", (1, 8, 8), CODE), lambda: (*pictures(), *codes()), ()),
    "encoder": Net(lambda: nets.encoder("smooth", (1, 8, 8), CODE), pictures, (CODE,)),
    "decoder": Net(lambda: nets.decoder("smooth-conv", CODE, (1, 8, 8), output="sigmoid"), codes, (1, 8, 8)),
    "sequence_encoder": Net(
        lambda: nets.sequence_encoder("gru", GRAMMAR.size, GRAMMAR.padding, (40,), CODE),
        lambda: (torch.randint(GRAMMAR.padding, (4, 40), generator=seeded()),),
        (CODE,),
    ),
    "sequence_decoder": Net(
        lambda: nets.sequence_decoder("transformer", CODE, GRAMMAR.size, GRAMMAR.states, (LIMIT,)),
        sequence,
        (LIMIT, GRAMMAR.size),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_a_net(name):
    row = NETS[name]
    torch.manual_seed(0)
    net, inputs = row.make(), row.inputs()
    with torch.no_grad():
        for parameter_ in net.parameters():  # none at zero, where a gradient may end
            parameter_.add_(0.1 * torch.randn(parameter_.shape, generator=seeded(7)))
    out = net(*inputs)
    assert out.shape == (4, *row.out)
    assert out.isfinite().all()
    weight = torch.randn(out.shape, generator=seeded(8))
    gradients = torch.autograd.grad((out * weight).sum(), list(net.parameters()), allow_unused=True)
    unreached = [
        key for (key, _), g in zip(net.named_parameters(), gradients, strict=True) if g is None or not bool(g.any())
    ]
    assert unreached == []
    net.eval()
    out, order = net(*inputs), torch.tensor([2, 0, 3, 1])
    assert torch.allclose(net(*(part[order] for part in inputs)), out[order], atol=1e-9)
    single = net.float()(*(part.float() if part.is_floating_point() else part for part in inputs))
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), out, atol=1e-3)
    net.to("meta")
    assert {t.device.type for t in (*net.parameters(), *net.buffers())} == {"meta"}
