from __future__ import annotations

import pytest
import torch
from torch import nn as tnn
from torch.nn import functional as F

from chartae import nn
from chartae.nn import layers
from chartae.nn.papers import _Crop

SHAPES = [(1, 28, 28), (3, 17, 30), (1, 8, 8), (3, 64, 64), (2, 5, 9)]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("net", ["mlp", "conv", "residual"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bodies_fit_any_image(net, shape):
    x = torch.rand(3, *shape)
    z = nn.encoder(net, shape, 5)(x)
    assert z.shape == (3, 5)
    out = nn.decoder(net, 5, shape, output="sigmoid")(z)
    assert out.shape == x.shape
    assert 0 <= out.min() <= out.max() <= 1


def test_vectors_and_small_images():
    assert nn.decoder("mlp", 2, (7,), output="identity")(nn.encoder("mlp", (7,), 2)(torch.rand(3, 7))).shape == (3, 7)
    with pytest.raises(ValueError, match="too small.*net='mlp'"):
        nn.encoder("conv", (1, 3, 3), 2)
    with pytest.raises(ValueError, match="reads images"):
        nn.encoder("conv", (9,), 2)
    with pytest.raises(ValueError, match="expected one of mlp, shallow, smooth, conv, smooth-conv, residual, paper"):
        nn.encoder("transformer", (9,), 2)


@pytest.mark.parametrize(
    ("name", "latent", "shape", "encoder", "decoder"),
    [
        ("mnist", 16, (1, 28, 28), 11_083_408, 11_606_273),
        ("cifar10", 128, (3, 32, 32), 11_546_368, 18_954_499),
        ("celeba", 64, (3, 64, 64), 18_267_200, 21_475_331),
    ],
)
def test_the_papers_parameter_counts(name, latent, shape, encoder, decoder):
    with torch.device("meta"):
        e, d = nn.PaperEncoder(name, latent), nn.PaperDecoder(name, latent, shape)
        assert (count(e), count(d)) == (encoder, decoder)
        assert d(e(torch.empty(2, *shape))).shape == (2, *shape)


def test_the_papers_encoder_pads_mnist_and_rescales():
    torch.manual_seed(0)
    e = nn.PaperEncoder("mnist", 4, filters=2).eval()
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(e(x), e(F.pad(x, (2, 2, 2, 2))))
    assert torch.allclose(e(x), e.body(2 * F.pad(x, (2, 2, 2, 2)) - 1))
    d = nn.PaperDecoder("mnist", 4, filters=2).eval()
    cropped = nn.PaperDecoder("mnist", 4, (1, 28, 28), filters=2).eval()
    cropped.load_state_dict(d.state_dict())
    assert torch.equal(cropped(torch.ones(1, 4)), d(torch.ones(1, 4))[:, :, 2:30, 2:30])


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (5, 2), (4, 1), (5, 1)])
def test_transposed_convolutions_are_adjoints_of_same_convolutions(kernel, stride):
    """<conv(x), y> = <x, conv_transposed(y)> with "same" padding (the larger half behind), section 6.3 of the sheet."""
    n = 8
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 1, kernel, kernel, generator=g)
    x, y = torch.randn(1, 1, n * stride, n * stride, generator=g), torch.randn(1, 1, n, n, generator=g)
    total = kernel - stride
    before, behind = total // 2, total - total // 2
    forward = F.conv2d(F.pad(x, (before, behind, before, behind)), weight, stride=stride)
    # what PaperDecoder builds: padding 1 (kernel 5 at stride 1: 2), then cropped
    padding = kernel - 3 if stride == 1 else 1
    back = _Crop()(F.conv_transpose2d(y, weight, stride=stride, padding=padding))
    assert torch.allclose((forward * y).sum(), (x * back).sum())


@pytest.mark.parametrize("size", [(3, 3), (4, 4), (2, 3), (1, 1), (4, 2), (9, 9)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(4, 2, 1), (3, 2, 1), (4, 4, 0), ((4, 3), (2, 1), (1, 0)), (3, 1, 2)]
)
def test_the_drop_in_convolution_is_torchs(size, kernel, stride, padding):
    ours = nn.Conv2d(3, 5, kernel, stride, padding)
    theirs = tnn.Conv2d(3, 5, kernel, stride, padding)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, *size)
    try:
        expected = theirs(x)
    except RuntimeError:
        with pytest.raises(RuntimeError):
            ours(x)
        return
    assert torch.allclose(ours(x), expected)
    weight = torch.randn_like(expected)
    (ours(x) * weight).sum().backward()
    (expected * weight).sum().backward()
    assert torch.allclose(ours.weight.grad, theirs.weight.grad)
    assert torch.allclose(ours.bias.grad, theirs.bias.grad)


def test_the_fast_product_is_torchs_to_any_order(monkeypatch, float32):
    monkeypatch.setattr(layers, "_onednn", lambda: True)
    g = torch.Generator().manual_seed(0)
    for bias in (True, False):
        ours = nn.Linear(200, 180, bias=bias)
        theirs = tnn.Linear(200, 180, bias=bias)
        theirs.load_state_dict(ours.state_dict())
        x, u, v = (torch.randn(20, d, generator=g) for d in (200, 180, 200))
        found = []
        for layer in (ours, theirs):
            z = x.clone().requires_grad_()
            out = layer(z)
            # a penalty of the gradient: the parameters' derivatives go through the backward pass
            (pulled,) = torch.autograd.grad(out.square(), z, u, create_graph=True)
            loss = (pulled * v).sum() + pulled.square().sum()
            parameters = list(layer.parameters())
            found.append([out, pulled, *torch.autograd.grad(loss, [z, *parameters])])
        assert type(found[0][0].grad_fn).__name__ == "_ProductBackward"
        for a, b in zip(*found, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.detach().abs().max()))


def test_the_fast_product_leaves_transforms_and_slices_to_torch(monkeypatch, float32):
    monkeypatch.setattr(layers, "_onednn", lambda: True)
    wide = torch.randn(20, 300)[:, :200].requires_grad_()
    assert type(layers.product(wide, torch.randn(180, 200)).grad_fn).__name__ != "_ProductBackward"
    layer, x = nn.Linear(200, 180), torch.randn(20, 200)
    expected = F.linear(x, layer.weight, layer.bias)
    assert torch.allclose(torch.func.vmap(layer)(x), expected, atol=1e-5)
    _, tangent = torch.func.jvp(layer, (x,), (x,))
    assert torch.allclose(tangent, x @ layer.weight.T, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        assert torch.autograd.forward_ad.unpack_dual(layer(dual)).tangent is not None
    assert layer.double()(x.double()).dtype == torch.float64


def test_spectral_norm_is_one_after_enough_iterations():
    body = tnn.Sequential(tnn.Linear(6, 5), tnn.ReLU(), tnn.Linear(5, 4))
    conv = tnn.ConvTranspose2d(3, 4, 3)
    nn.spectral(body)
    nn.spectral(conv, authors=True)
    for _ in range(200):
        body(torch.randn(2, 6))
        conv(torch.randn(2, 3, 5, 5))
    for layer in (body[0], body[2]):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=1e-6)
    # the authors read a transposed kernel as (in, out k k)
    assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-6)
