"""Training throughput against a plain PyTorch loop over tensors in memory, and against pythae, with the same nets.

    python benchmarks/training.py --data-root FOLDER [--only loop|mlp|conv]
    python benchmarks/training.py --data-root FOLDER --device cuda [--seconds 170]     # see training_cuda.py

Figures are examples per second over whole epochs, without the first. The contestants run in turn, and the ratio is
computed turn by turn.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import training_cuda
from common import alternate, write
from torch import nn

import chartae as ch
from chartae.data import Batches
from chartae.recipes import HALF

BATCH = 100


# -- the nets, written in torch; pythae uses the same layers -----------------------------------------------------------


def mlp(latent: int, heads: int, layers: Any) -> tuple[nn.Module, nn.Module]:
    """pythae's default: one hidden layer of 512."""
    encoder = nn.Sequential(nn.Flatten(), layers.Linear(784, 512), nn.ReLU(), layers.Linear(512, heads * latent))
    decoder = nn.Sequential(
        layers.Linear(latent, 512), nn.ReLU(), layers.Linear(512, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))
    )
    return encoder, decoder


def conv(latent: int, heads: int, layers: Any) -> tuple[nn.Module, nn.Module]:
    """pythae's convolutional nets for MNIST."""
    body: list[nn.Module] = []
    for a, b in ((1, 128), (128, 256), (256, 512), (512, 1024)):
        body += [layers.Conv2d(a, b, 4, 2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    encoder = nn.Sequential(*body, nn.Flatten(), layers.Linear(1024, heads * latent))
    decoder = nn.Sequential(
        layers.Linear(latent, 1024 * 4 * 4),
        nn.Unflatten(1, (1024, 4, 4)),
        nn.ConvTranspose2d(1024, 512, 3, 2, padding=1),
        nn.BatchNorm2d(512),
        nn.ReLU(),
        nn.ConvTranspose2d(512, 256, 3, 2, padding=1, output_padding=1),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        nn.ConvTranspose2d(256, 1, 3, 2, padding=1, output_padding=1),
        nn.Sigmoid(),
    )
    return encoder, decoder


NETS = {"mlp": mlp, "conv": conv}


def objective(kind: str, net: str, layers: Any, latent: int = 16) -> ch.Penalised:
    encoder, decoder = NETS[net](latent, 2 if kind == "vae" else 1, layers)
    q = ch.Gaussian(encoder, "learnt") if kind == "vae" else ch.Dirac(encoder)
    model = ch.Autoencoder(q, ch.Gaussian(decoder, HALF), ch.StandardNormal(latent))
    terms = {
        "ae": ch.Reconstruction(),
        "vae": ch.Reconstruction() + 2.0 * ch.KL(),
        "rae-l2": ch.Reconstruction() + 0.0128 * ch.LatentNorm() + 1e-4 * ch.DecoderL2(),
        "rae-gp": ch.Reconstruction() + 0.0128 * ch.LatentNorm() + 1e-4 * ch.DecoderGradient(),
    }
    return ch.Penalised(model, terms[kind])


def ours(kind: str, net: str, x: torch.Tensor, layers: Any, precision: str = "fp32") -> float:
    """Examples per second of `chartae.training.fit`, over whole epochs after the first.

    `layers` is torch.nn in the comparison with the plain loop, so that only the loops differ, and chartae.nn with its
    faster layers in the comparison with pythae.
    """
    torch.manual_seed(0)
    history = ch.training.fit(
        objective(kind, net, layers),
        Batches(x, BATCH),
        epochs=3,
        lr=1e-3,
        precision=precision,
        progress=False,
        device="cpu",
    )
    ends = [max(r["seconds"] for r in history.rows if r["epoch"] == e) for e in (1, 3)]
    return 2 * len(x) / (ends[1] - ends[0])


def loop(kind: str, net: str, x: torch.Tensor) -> float:
    """Examples per second of a loop written by hand: floats in memory, a permutation per epoch, fused Adam."""
    torch.manual_seed(0)
    encoder, decoder = NETS[net](16, 2 if kind == "vae" else 1, nn)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    adam = torch.optim.Adam(parameters, 1e-3, fused=True)
    x = x.float() / 255
    for epoch in range(3):
        if epoch == 1:
            started = time.perf_counter()
        order = torch.randperm(len(x))
        for i in range(0, len(x), BATCH):
            batch = x[order[i : i + BATCH]]
            code = encoder(batch)
            penalty = 0.0
            if kind == "vae":
                mean, raw = code.chunk(2, 1)
                log_sigma = 5 * raw.tanh()
                code = mean + log_sigma.exp() * torch.randn_like(mean)
                kl = 0.5 * (mean.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1)
                penalty = 2.0 * kl.mean()
            elif kind == "rae-l2":
                penalty = 0.0128 * 0.5 * code.square().sum(1).mean()
                penalty = penalty + 1e-4 * sum(p.square().sum() for p in decoder.parameters())
            image = decoder(code)
            if kind == "rae-gp":
                signs = torch.empty_like(image).bernoulli_(0.5).mul_(2).sub_(1)
                (g,) = torch.autograd.grad(image, code, signs, create_graph=True)
                penalty = 0.0128 * 0.5 * code.square().sum(1).mean() + 1e-4 * g.square().sum(1).mean()
            loss = (batch - image).square().sum((1, 2, 3)).mean() + penalty
            adam.zero_grad()
            loss.backward()
            adam.step()
    return 2 * len(x) / (time.perf_counter() - started)


def pythae(kind: str, net: str, x: torch.Tensor) -> float:
    """Examples per second of pythae's pipeline with its nets and trainer, over whole epochs after the first."""
    import pythae.models as models
    from pythae.models.nn.benchmarks import mnist
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig, CoupledOptimizerTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    logging.disable(logging.WARNING)
    name = {"ae": "AE", "vae": "VAE", "rae-l2": "RAE_L2", "rae-gp": "RAE_GP"}[kind]
    config = getattr(models, f"{name}Config" if "_" not in name else f"{name}_Config")(
        input_dim=(1, 28, 28), latent_dim=16
    )
    nets = {}
    if net == "conv":
        encoder = mnist.Encoder_Conv_VAE_MNIST if kind == "vae" else mnist.Encoder_Conv_AE_MNIST
        nets = {"encoder": encoder(config), "decoder": mnist.Decoder_Conv_AE_MNIST(config)}
    model = getattr(models, name)(config, **nets)
    ends: list[float] = []

    class Clock(TrainingCallback):
        def on_epoch_end(self, training_config: object, **kwargs: object) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        shared = {"output_dir": folder, "num_epochs": 3, "per_device_train_batch_size": BATCH, "no_cuda": True}
        if kind == "rae-l2":
            rates = {"encoder_learning_rate": 1e-3, "decoder_learning_rate": 1e-3}
            training = CoupledOptimizerTrainerConfig(**shared, **rates)
        else:
            training = BaseTrainerConfig(**shared, learning_rate=1e-3)
        pipeline = TrainingPipeline(model=model, training_config=training)
        pipeline(train_data=(x.float() / 255).numpy(), callbacks=[Clock()])
    return 2 * len(x) / (ends[2] - ends[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--only", choices=("loop", "mlp", "conv"))
    parser.add_argument("--repeats", type=int, default=5, help="number of turns for MLPs; convolutions take two fewer")
    parser.add_argument("--mlp-size", type=int, default=20_000, help="number of examples in an epoch")
    parser.add_argument("--conv-size", type=int, default=400)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: see training_cuda.py")
    parser.add_argument("--seconds", type=float, default=170, help="time budget of --device cuda")
    parser.add_argument("--try-cuda", action="store_true", help="run the script of --device cuda on the CPU")
    arguments = parser.parse_args()
    x = ch.data.load("mnist", root=arguments.data_root).train
    if arguments.device == "cuda" or arguments.try_cuda:
        sizes = {"mlp": arguments.mlp_size, "paper": 10 * arguments.conv_size}
        device, repeats = arguments.device, arguments.repeats
        training_cuda.measure(x, device=device, repeats=repeats, sizes=sizes, seconds=arguments.seconds)
        return
    sizes = {"mlp": arguments.mlp_size, "conv": arguments.conv_size}
    every = ("ae", "vae", "rae-l2", "rae-gp")

    def contest(
        title: str, net: str, other: Callable[..., float], kinds: tuple[str, ...] = every, precision: str = "fp32"
    ) -> None:
        part = x[: sizes[net]]
        rows = {}
        for kind in kinds:
            rows[kind] = alternate(
                {
                    "chartae": lambda kind=kind: ours(kind, net, part, nn if other is loop else ch.nn, precision),
                    other.__name__: lambda kind=kind: other(kind, net, part),
                },
                repeats=arguments.repeats if net == "mlp" else max(3, arguments.repeats - 2),
                ratio=("chartae", other.__name__),
            )
            print(title, kind, rows[kind], flush=True)
        write(title, {"unit": "examples per second", "batch": BATCH, "precision": precision, "rows": rows})

    if arguments.only in (None, "loop"):
        contest("training-loop-mlp", "mlp", loop)
        contest("training-loop-conv", "conv", loop, ("ae", "vae"))
    if arguments.only in (None, "mlp"):
        contest("training-pythae-mlp", "mlp", pythae)
    if arguments.only in (None, "conv"):
        contest("training-pythae-conv", "conv", pythae)
        contest("training-pythae-conv-bf16", "conv", pythae, ("ae", "rae-l2"), "bf16")


if __name__ == "__main__":
    main()
