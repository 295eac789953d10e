from __future__ import annotations

import pytest
import torch
from torch import nn

import chartae as ch
from chartae import maths
from chartae.conditionals import Empirical
from chartae.data import Batch
from chartae.nn import Critic
from chartae.recipes import Setting, build
from chartae.terms import (
    KL,
    MMD,
    AdversarialKL,
    AdversarialLatent,
    Contraction,
    DecoderGradient,
    DecoderL2,
    LatentNorm,
    Orthogonality,
    Reconstruction,
    SlicedScoreMatching,
    SlicedWasserstein,
    Sum,
    Trace,
)
from closed_forms import CODE, SIZE, linear, linear_autoencoder, points

#: term -> whether it reaches (encoder, decoder), and whether it needs a density q(z|x)
TERMS = {
    "reconstruction": (Reconstruction, (True, True), False),
    "kl": (KL, (True, False), True),
    "latent-norm": (LatentNorm, (True, False), False),
    "decoder-l2": (DecoderL2, (False, True), False),
    "gradient-exact": (lambda: DecoderGradient("exact"), (False, True), False),
    "gradient-hutchinson": (DecoderGradient, (False, True), False),
    "gradient-authors": (lambda: DecoderGradient("authors"), (True, True), False),
    "contraction": (lambda: Contraction("exact"), (True, True), False),
    "contraction-hutchinson": (Contraction, (True, True), False),
    "contraction-encoder": (lambda: Contraction("exact", "encoder"), (True, False), False),
    "orthogonality": (Orthogonality, (False, True), False),
    "score-matching": (lambda: SlicedScoreMatching(0.5), (True, True), False),
    "mmd": (MMD, (True, False), False),
    "mmd-rbf": (lambda: MMD("rbf"), (True, False), False),
    "sliced": (lambda: SlicedWasserstein(8), (True, False), False),
    "adversarial-latent": (lambda: AdversarialLatent(Critic(nn.Linear(CODE, 1))), (True, False), False),
    "adversarial-kl": (lambda: AdversarialKL(Critic(nn.Linear(SIZE + CODE, 1))), (True, False), False),
    "adversarial-kl-plain": (lambda: AdversarialKL(Critic(nn.Linear(SIZE + CODE, 1)), 0), (True, False), False),
}


def trace(model, x):
    return ch.Penalised(model, Reconstruction() + 0.0 * DecoderGradient() + 0.0 * Contraction()).trace(Batch(x))


@pytest.mark.parametrize("variational", [False, True], ids=["dirac", "gaussian"])
@pytest.mark.parametrize("name", TERMS)
def test_contract(name, variational):
    make, (encoder, decoder), density = TERMS[name]
    model, x = linear_autoencoder(variational=variational), points()
    if density and not variational:
        with pytest.raises(TypeError, match="Use LatentNorm for a deterministic encoder"):
            ch.Penalised(model, make())
        return
    term = make()
    torch.manual_seed(0)
    t = trace(model, x)
    value = term(t)
    assert value.shape in ((), (len(x),))
    assert value.isfinite().all()
    assert value.dtype == torch.float64
    assert repr(term).startswith(type(term).__name__)
    value.mean().backward()
    reached = [
        any(p.grad is not None and p.grad.any() for p in part.parameters()) for part in (model.encoder, model.decoder)
    ]
    assert reached == [encoder, decoder]


@pytest.mark.parametrize(
    "name", [n for n in TERMS if n not in ("kl", "mmd", "mmd-rbf", "sliced", "score-matching") and "hutch" not in n]
)
def test_a_permuted_batch_permutes_the_values(name):
    model, x, term = linear_autoencoder(), points(), TERMS[name][0]()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    a, b = term(trace(model, x)), term(trace(model, x[order]))
    assert torch.allclose(a[order] if a.ndim else a, b)


def test_closed_forms_of_a_linear_decoder():
    model, x = linear_autoencoder(sigma=0.5), points()
    V = model.decoder.net.weight
    t = trace(model, x)
    norm = V.square().sum()
    assert torch.allclose(DecoderGradient("exact")(t), norm.expand(len(x)))
    # with x^ = V z the authors' surrogate is 4/d ||V^T V z||^2
    with torch.no_grad():
        model.decoder.net.bias.zero_()
    t = trace(model, x)
    assert torch.allclose(DecoderGradient("authors")(t), 4 / CODE * (t.z @ V.T @ V).square().sum(1))
    big = trace(model, points(100_000))
    assert DecoderGradient("hutchinson")(big).mean().item() == pytest.approx(norm.item(), rel=0.01)
    assert torch.allclose(DecoderL2()(t), V.square().sum())
    assert torch.allclose(LatentNorm()(t), 0.5 * t.z.square().sum(1))
    squared = (x - t.z @ V.T).square().sum(1)
    constant = SIZE / 2 * torch.log(torch.tensor(2 * torch.pi * 0.25))
    assert torch.allclose(Reconstruction()(t), 2 * squared + constant)


def test_an_encoder_that_leaves_the_priors_support_is_refused():
    decoder = ch.Gaussian(linear(SIZE, CODE, 2), 0.5)
    model = ch.Autoencoder(ch.Gaussian(linear(2 * CODE, SIZE, 1), "learnt"), decoder, ch.Uniform(CODE))
    with pytest.raises(TypeError, match="lies in the unit cube.*Use LogitNormal"):
        ch.Penalised(model, Reconstruction() + KL())
    model = ch.Autoencoder(ch.LogitNormal(linear(2 * CODE, SIZE, 1)), decoder, ch.Uniform(CODE))
    assert ch.Penalised(model, Reconstruction() + KL())(points())["kl"] > 0


def test_orthogonality_of_a_linear_decoder():
    model, x = linear_autoencoder(), points()
    V = model.decoder.net.weight.detach()
    gap = 0.5 * (V.square().sum(0).log().sum() - torch.linalg.slogdet(V.T @ V).logabsdet)
    assert Orthogonality()(trace(model, x)).item() == pytest.approx(gap.item(), rel=1e-4)
    assert torch.equal(Orthogonality(3)(trace(model, x)), Orthogonality()(trace(model, x[:3])))
    with torch.no_grad():
        model.decoder.net.weight.copy_(torch.linalg.qr(V).Q)
    assert Orthogonality()(trace(model, x)).item() == pytest.approx(0, abs=1e-10)
    # two equal columns: large and with a gradient, not infinite
    with torch.no_grad():
        model.decoder.net.weight[:, 1] = model.decoder.net.weight[:, 0]
    value = Orthogonality()(trace(model, x))
    value.backward()
    assert 3 < value.item() < 20
    assert model.decoder.net.weight.grad.isfinite().all()
    normed = ch.Autoencoder(
        model.encoder, ch.Gaussian(nn.Sequential(linear(SIZE, CODE, 0), nn.BatchNorm1d(SIZE))), ch.StandardNormal(CODE)
    )
    with pytest.raises(TypeError, match="batch normalisation"):
        ch.Penalised(normed, Orthogonality())
    with pytest.raises(ValueError, match="at least 1"):
        Orthogonality(0)


def test_pythaes_variable_is_not_ours():
    """The gradient with respect to the image, through encoder and decoder, is ||A^T V^T 1||^2: another quantity."""
    model, x = linear_autoencoder(), points().requires_grad_()
    t = trace(model, x)
    (g,) = torch.autograd.grad(t.p.mean.sum(), x, retain_graph=True)
    A, V = model.encoder.net.weight, model.decoder.net.weight
    assert torch.allclose(g.square().sum(1), (A.T @ V.T @ torch.ones(SIZE)).square().sum().expand(len(x)))
    assert not torch.allclose(DecoderGradient("exact")(t), g.square().sum(1))


def test_jacobian_norms_of_a_curved_decoder_are_autograds():
    net = nn.Sequential(linear(5, CODE, 0), nn.Tanh(), linear(SIZE, 5, 1), nn.Sigmoid())
    z = torch.randn(4, CODE, requires_grad=True)
    J = torch.func.vmap(torch.func.jacrev(net))(z)
    assert torch.allclose(maths.jacobian_norm(net(z), z), J.square().sum((1, 2)))
    out = net(z)
    pulled = torch.einsum("bs,bsd->bd", out, J)
    assert torch.allclose(maths.output_energy_gradient(out, z), 4 / CODE * pulled.square().sum(1))
    # it can be differentiated again
    maths.jacobian_norm(net(z), z).sum().backward()
    assert net[0].weight.grad.any()


def test_the_exact_norm_survives_batch_normalisation():
    """Perturbing all codes together vanishes in the normalisation; random signs keep the estimate on the mean."""
    torch.manual_seed(0)
    net = nn.Sequential(linear(8, CODE, 0), nn.BatchNorm1d(8), nn.ReLU(), linear(SIZE, 8, 1))
    z = torch.randn(64, CODE, requires_grad=True)
    exact = torch.stack([maths.jacobian_norm(net(z), z).sum() for _ in range(50)]).mean()
    hutchinson = torch.stack([maths.jacobian_norm_hutchinson(net(z), z).sum() for _ in range(400)]).mean()
    assert exact.item() == pytest.approx(hutchinson.item(), rel=0.05)


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_mmd_is_the_double_sum(kernel):
    a, b = torch.randn(6, CODE), torch.randn(5, CODE) + 1
    total = 0.0
    for s in MMD.SCALES:
        c = 2 * CODE * s

        def k(x, y, c=c):
            d = (x - y).square().sum()
            return c / (c + d) if kernel == "imq" else torch.exp(-d / c)

        n, m = len(a), len(b)
        total += sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
        total += sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
        total -= 2 * sum(k(p, q) for p in a for q in b) / (n * m)
    assert torch.allclose(maths.mmd(a, b, kernel=kernel, scales=MMD.SCALES), torch.as_tensor(total))
    with pytest.raises(ValueError, match="at least 2"):
        maths.mmd(a[:1], b)


def test_mmd_is_zero_in_the_mean_for_equal_distributions():
    values = torch.stack([maths.mmd(*torch.randn(2, 50, 4).unbind()) for _ in range(300)])
    assert abs(values.mean()) < 4 * values.std() / 300**0.5


def test_sliced_wasserstein_of_a_shift_is_its_square():
    torch.manual_seed(0)
    a, shift = torch.randn(40, CODE), torch.tensor([3.0, 0.0, 0.0])
    # E (u . s)^2 = ||s||^2 / D over unit directions u
    value = CODE * maths.sliced_wasserstein(a, a + shift, 20_000)
    assert value.item() == pytest.approx(9.0, rel=0.03)


def test_kl_of_a_fixed_sigma_is_the_latent_norm_up_to_a_constant():
    model = ch.Autoencoder(
        ch.Gaussian(linear(CODE, SIZE, 0), 0.7), ch.Gaussian(linear(SIZE, CODE, 1)), ch.StandardNormal(CODE)
    )
    t = trace(model, points())
    difference = KL()(t) - LatentNorm()(t)
    assert torch.allclose(difference, difference[0].expand(len(difference)))


def test_the_algebra_of_terms():
    total = 2 * (Reconstruction() + 0.5 * LatentNorm()) + LatentNorm() * 3
    assert isinstance(total, Sum)
    assert repr(total) == "2 Reconstruction() + 1 LatentNorm() + 3 LatentNorm()".replace("1 L", "L")
    assert total.weights == {"reconstruction": 2.0, "latent_norm": 1.0, "latent_norm-2": 3.0}
    t = trace(linear_autoencoder(), points())
    by_hand = 2 * Reconstruction()(t).mean() + 4 * LatentNorm()(t).mean()
    assert torch.allclose(total(t), by_hand)
    assert (Reconstruction() + DecoderGradient()).second_order
    assert not total.second_order
    with pytest.raises(ValueError, match="weight of"):
        float("nan") * Reconstruction()


def test_decoder_l2_selections():
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Unflatten(1, (2, 2, 2)), nn.BatchNorm2d(2), nn.ConvTranspose2d(2, 1, 2))
    model = ch.Autoencoder(ch.Dirac(nn.Flatten()), ch.Gaussian(decoder), ch.StandardNormal(2))
    counted = {
        s: sum(p.numel() for p in DecoderL2(s).parameters_of(model.decoder)) for s in ("all", "weights", "transposed")
    }
    assert counted == {"all": 16 + 8 + 4 + 8 + 1, "weights": 24, "transposed": 8}
    with pytest.raises(TypeError, match="finds no such parameters"):
        ch.Penalised(linear_autoencoder(), DecoderL2("transposed"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DecoderGradient("fast"), "expected one of exact, hutchinson, authors"),
        (lambda: DecoderL2("some"), "expected 'all'"),
        (lambda: MMD("linear"), "expected 'imq' or 'rbf'"),
        (lambda: MMD(scales=()), "at least one"),
        (lambda: SlicedWasserstein(0), "at least 1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_trace_is_made_once():
    seen = []
    model = linear_autoencoder()
    model.encoder.register_forward_hook(lambda *_: seen.append("encoder"))
    model.decoder.register_forward_hook(lambda *_: seen.append("decoder"))
    objective = ch.Penalised(
        model, Reconstruction() + 0.1 * LatentNorm() + 0.1 * DecoderGradient("exact") + 0.1 * MMD()
    )
    objective(points())
    assert seen == ["encoder", "decoder"]
    assert isinstance(objective.trace(Batch(points())), Trace)


def test_contraction_of_a_linear_map_is_the_norm_of_the_product():
    model, x = linear_autoencoder(), points()
    A, V = model.encoder.net.weight, model.decoder.net.weight
    t = trace(model, x)
    assert torch.allclose(Contraction("exact")(t), (V @ A).square().sum().expand(len(x)))
    assert torch.allclose(Contraction("exact", "encoder")(t), A.square().sum().expand(len(x)))


def shallow(form, weights="free"):
    """A denoiser with one hidden layer and drawn weights."""
    options = {"sigma": 0.7, "form": form, "weights": weights}
    model = build("dae", Setting((4,), 6, "shallow", unit=False), **options).objective.model
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.5)
    return model


@pytest.mark.parametrize("of", ["reconstruction", "encoder"])
@pytest.mark.parametrize("weights", ["free", "tied"])
@pytest.mark.parametrize("form", ["residual", "plain"])
def test_the_closed_form_of_one_hidden_layer_is_the_exact_norm(form, weights, of):
    model, x = shallow(form, weights), torch.randn(9, 4, generator=torch.Generator().manual_seed(2))
    t = trace(model, x)
    closed, exact = Contraction("closed", of)(t), Contraction("exact", of)(t)
    if (form, of) == ("residual", "encoder"):
        exact = exact - 4  # the code (x, h) keeps x: an identity on top
    assert torch.allclose(closed, exact, atol=1e-10)
    a, b = (torch.autograd.grad(v.sum(), model.encoder.parameters(), retain_graph=True) for v in (closed, exact))
    assert all(torch.allclose(g, h, atol=1e-9) for g, h in zip(a, b, strict=True))


def test_hutchinsons_variance_is_that_of_signs():
    """2 (||J Jᵀ||_F^2 - Σ_i (J Jᵀ)_ii^2): less than that of normal probes by the diagonal."""
    model = shallow("plain")
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(3)).expand(100_000, 4).contiguous()
    values = Contraction()(trace(model, x))
    j = torch.autograd.functional.jacobian(lambda a: model.reconstruct(a[None])[0], x[0])
    gram = j @ j.T
    assert values.mean().item() == pytest.approx(gram.trace().item(), rel=0.01)
    predicted = 2 * (gram.square().sum() - gram.diagonal().square().sum())
    assert values.var().item() == pytest.approx(predicted.item(), rel=0.03)


@pytest.mark.parametrize("make", [MMD, SlicedWasserstein, lambda: AdversarialLatent(Critic(nn.Linear(CODE, 1)))])
def test_a_prior_that_is_drawn_from_is_enough(make):
    """An `Empirical` prior has no density, and needs none where codes are compared with its draws."""
    prior = Empirical(CODE)
    prior.remember(torch.randn(50, CODE))
    plain = linear_autoencoder()
    model = ch.Autoencoder(plain.encoder, plain.decoder, prior)
    assert ch.Penalised(model, Reconstruction() + make())(points())["loss"].isfinite()


def test_the_uniform_prior_is_a_class():
    prior = ch.Uniform(3)
    assert isinstance(prior, ch.Uniform)
    assert repr(prior).startswith("Uniform(")
    z = torch.rand(7, 3)
    assert torch.allclose(prior.log_prob(z), ch.Beta(3).log_prob(z))
