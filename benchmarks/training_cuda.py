"""Training on a GPU: chartae's loop against a plain PyTorch loop, and that loop's step captured as a CUDA graph.

Seconds of a step are slopes between trainings of a few and of more epochs, so that start-up costs cancel. The
contestants run in turn. chartae does not capture CUDA graphs at present; the captured loop shows what that would gain.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from common import write
from torch import Tensor, nn
from torch.nn.functional import softplus

import chartae as ch
from chartae.data import Batches
from chartae.nn import MLP, Critic, PaperDecoder, PaperEncoder
from chartae.recipes import HALF
from chartae.terms import AdversarialLatent

BATCH, LATENT = 100, 16
#: numbers of epochs between whose trainings the slope is taken
EPOCHS = (1, 4)


@dataclass
class Model:
    """An encoder, a decoder and perhaps a critic of the codes, with the kind of their objective."""

    kind: str
    encoder: nn.Module
    decoder: nn.Module
    critic: nn.Module | None = None
    losses: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)

    def loss(self, x: Tensor) -> Tensor:
        code, penalty = self.encoder(x), torch.zeros((), device=x.device)
        if self.kind == "vae":
            mean, raw = code.chunk(2, 1)
            log_sigma = 5 * raw.tanh()
            code = mean + log_sigma.exp() * torch.randn_like(mean)
            penalty = 2.0 * (0.5 * (mean.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1)).mean()
        elif self.kind == "rae-l2":
            penalty = 0.0128 * 0.5 * code.square().sum(1).mean()
            penalty = penalty + 1e-4 * sum(p.square().sum() for p in self.decoder.parameters())
        elif self.critic is not None:
            penalty = softplus(-self.critic(code)).mean()
        return (x - self.decoder(code)).square().sum((1, 2, 3)).mean() + penalty

    def critic_loss(self, x: Tensor) -> Tensor:
        assert self.critic is not None
        code = self.encoder(x).detach()
        return softplus(-self.critic(torch.randn_like(code))).mean() + softplus(self.critic(code)).mean()

    def players(self) -> list[tuple[list[nn.Parameter], Callable[[Tensor], Tensor]]]:
        """Parameters and loss of each player."""
        players = [([*self.encoder.parameters(), *self.decoder.parameters()], self.loss)]
        return players if self.critic is None else [*players, ([*self.critic.parameters()], self.critic_loss)]

    def objective(self) -> ch.Penalised:
        """The same as an objective of chartae."""
        q = ch.Gaussian(self.encoder, "learnt") if self.kind == "vae" else ch.Dirac(self.encoder)
        model = ch.Autoencoder(q, ch.Gaussian(self.decoder, HALF), ch.StandardNormal(LATENT))
        terms = ch.Reconstruction()
        if self.kind == "vae":
            terms = terms + 2.0 * ch.KL()
        elif self.kind == "rae-l2":
            terms = terms + 0.0128 * ch.LatentNorm() + 1e-4 * ch.DecoderL2()
        elif self.critic is not None:
            terms = terms + AdversarialLatent(self.critic, penalty=0.0)
        return ch.Penalised(model, terms)


def build(kind: str, net: str) -> Model:
    """A model with fresh weights; the same ones at each call."""
    torch.manual_seed(0)
    out = LATENT * (2 if kind == "vae" else 1)
    encoder: nn.Module
    decoder: nn.Module
    if net == "paper":
        encoder, decoder = PaperEncoder("mnist", out), PaperDecoder("mnist", LATENT, (1, 28, 28))
    else:
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, out))
        layers = [nn.Linear(LATENT, 512), nn.ReLU(), nn.Linear(512, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))]
        decoder = nn.Sequential(*layers)
    critic = Critic(MLP(LATENT, 1, (128, 128), norm=False)) if kind == "aae" else None
    return Model(kind, encoder, decoder, critic)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Loop:
    """A training loop written by hand: bytes on the device, a permutation an epoch, fused Adam; perhaps captured."""

    def __init__(self, model: Model, x: Tensor, precision: str, device: str, *, captured: bool) -> None:
        self.x, self.device, self.precision = x.to(device), device, precision
        self.players = []
        for module in (model.encoder, model.decoder, model.critic):
            if module is not None:
                module.to(device).train()
        for parameters, loss in model.players():
            adam = torch.optim.Adam(parameters, 1e-3, fused=device == "cuda", capturable=captured)
            self.players.append((adam, loss))
        self.parameters = [p for parameters, _ in model.players() for p in parameters]
        self.batch = torch.zeros(BATCH, *x.shape[1:], device=device)
        self.value = torch.zeros((), device=device)
        self.graph: Any = None
        if captured:
            self._capture()

    def step(self) -> None:
        """A step of every player on `self.batch`."""
        for number, (adam, loss) in enumerate(self.players):
            for p in self.parameters:
                p.grad = None
            half = self.precision == "bf16"
            with torch.autocast(self.device, torch.bfloat16, enabled=half, cache_enabled=not self.captured):
                value = loss(self.batch)
            value.float().backward()
            adam.step()
            if number == 0:
                self.value.copy_(value.detach())

    captured = False

    def _capture(self) -> None:
        """Capture the step; the warm-up before it must not train, so the weights are restored."""
        self.captured = True
        modules = {id(p): p.detach().clone() for p in self.parameters}
        self.batch.copy_(self.x[:BATCH].float() / 255)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.no_grad():
            for p in self.parameters:
                p.copy_(modules[id(p)])
            for adam, _ in self.players:
                for state in adam.state.values():
                    for value in state.values():
                        value.zero_()
        for p in self.parameters:
            p.grad = None
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()

    def run(self, epochs: int) -> float:
        """The seconds of so many epochs."""
        wait(self.device)
        started = time.perf_counter()
        for _ in range(epochs):
            order = torch.randperm(len(self.x), device=self.device)
            for i in range(0, len(order), BATCH):
                torch.div(self.x[order[i : i + BATCH]], 255, out=self.batch)
                if self.graph is None:
                    self.step()
                else:
                    self.graph.replay()
        wait(self.device)
        return time.perf_counter() - started


def by_hand(kind: str, net: str, x: Tensor, precision: str, device: str, *, captured: bool = False) -> float:
    """Seconds of a step of the loop written by hand."""
    loop = Loop(build(kind, net), x, precision, device, captured=captured)
    loop.run(1)
    a, b = (loop.run(epochs) for epochs in EPOCHS)
    return (b - a) / ((EPOCHS[1] - EPOCHS[0]) * (len(x) // BATCH))


def ours(kind: str, net: str, x: Tensor, precision: str, device: str) -> float:
    """Seconds of a step of `chartae.training.fit`."""

    def run(epochs: int) -> float:
        objective = build(kind, net).objective()
        wait(device)
        started = time.perf_counter()
        ch.training.fit(
            objective, Batches(x, BATCH), epochs=epochs, lr=1e-3, precision=precision, progress=False, device=device
        )
        wait(device)
        return time.perf_counter() - started

    a, b = (run(epochs) for epochs in EPOCHS)
    return (b - a) / ((EPOCHS[1] - EPOCHS[0]) * (len(x) // BATCH))


def many(x: Tensor, seeds: int, device: str) -> float:
    """Seconds of a step of all seeds together, by `chartae.fit_many`."""

    def run(epochs: int) -> float:
        wait(device)
        started = time.perf_counter()
        ch.fit_many(
            "vae", ch.data.from_arrays(x), {"seed": range(seeds)}, epochs=epochs, batch_size=BATCH, latent_dim=LATENT,
            net="smooth:512", device=device, progress=False,
        )  # fmt: skip
        wait(device)
        return time.perf_counter() - started

    a, b = (run(epochs) for epochs in EPOCHS)
    steps = len(ch.data.from_arrays(x).train) // BATCH
    return (b - a) / ((EPOCHS[1] - EPOCHS[0]) * steps)


def agreement(net: str, x: Tensor) -> dict[str, float]:
    """Losses after 50 steps of an autoencoder, eager and captured, on the same batches, and the rounding of a rerun."""
    losses = []
    for captured in (False, False, True):
        loop = Loop(build("ae", net), x, "fp32", "cuda", captured=captured)
        for i in range(50):
            torch.div(loop.x[BATCH * i : BATCH * (i + 1)], 255, out=loop.batch)
            if loop.graph is None:
                loop.step()
            else:
                loop.graph.replay()
        losses.append(float(loop.value))
    eager, again, captured_loss = losses
    return {
        "eager": eager, "eager again": again, "captured": captured_loss,
        "relative difference": abs(captured_loss - eager) / eager,
    }  # fmt: skip


@dataclass
class Clock:
    """A time budget in seconds, after which no further row is started."""

    seconds: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def over(self) -> bool:
        return time.perf_counter() - self.started > self.seconds


def contest(contestants: dict[str, Callable[[], float]], repeats: int, clock: Clock) -> dict[str, Any]:
    """Medians over turns of the contestants; one that fails is reported with its error."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    errors: dict[str, str] = {}
    for turn in range(repeats):
        if turn and clock.over:
            break
        for name, run in contestants.items():
            if name not in errors:
                try:
                    figures[name].append(run())
                except Exception as error:
                    traceback.print_exc()
                    errors[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    row: dict[str, Any] = {"repeats": max(len(values) for values in figures.values())}
    for name, values in figures.items():
        if values:
            row[name] = {
                key: float(f"{f(values):.4g}") for key, f in (("median", median), ("least", min), ("most", max))
            }
    for name in contestants:
        if name != "eager" and figures.get("eager") and figures[name]:
            ratios = [a / b for a, b in zip(figures["eager"], figures[name], strict=False)]
            row[f"eager / {name}"] = round(median(ratios), 3)
    return row | ({"errors": errors} if errors else {})


def measure(x: Tensor, *, device: str, repeats: int, sizes: dict[str, int], seconds: float, seeds: int = 16) -> None:
    """Measure all rows and write ``results/training-cuda.json`` after each.

    Args:
        x: pictures of MNIST (N, 1, 28, 28), uint8.
        device: "cuda"; or "cpu" to try the script, without graphs.
        repeats: number of turns, >= 1.
        sizes: net -> number of examples in an epoch.
        seconds: time budget; rows that are not begun by then are left out.
        seeds: number of seeds that are trained together.
    """
    clock, rows, skipped = Clock(seconds), dict[str, Any](), list[str]()
    cases = [
        ("vae", "mlp", "fp32"), ("ae", "paper", "fp32"), ("ae", "paper", "bf16"), ("aae", "mlp", "fp32"),
        ("ae", "mlp", "fp32"), ("rae-l2", "mlp", "fp32"), ("vae", "paper", "bf16"),
    ]  # fmt: skip
    result: dict[str, Any] = {
        "command": f"python benchmarks/training.py --data-root FOLDER --device {device}",
        "unit": "seconds per step", "batch": BATCH, "examples": sizes,
        "note": "chartae captures no CUDA graphs at present; fp32 convolutions use TF32, PyTorch's default.",
        "rows": rows, "skipped": skipped,
    }  # fmt: skip
    if device == "cuda":
        result["gpu"] = torch.cuda.get_device_name()
        for net in ("mlp", "paper"):
            try:
                result[f"captured against eager, {net}"] = agreement(net, x)
            except RuntimeError as error:
                result[f"captured against eager, {net}"] = f"failed: {str(error).splitlines()[0][:200]}"
    for kind, net, precision in cases:
        name, part = f"{kind}, {net}, {precision}", x[: sizes[net]]
        if clock.over:
            skipped.append(name)
            continue
        case = (kind, net, part, precision, device)
        contestants: dict[str, Callable[[], float]] = {"eager": lambda case=case: by_hand(*case)}  # type: ignore[misc]
        if device == "cuda":
            contestants["captured"] = lambda case=case: by_hand(*case, captured=True)  # type: ignore[misc]
        contestants["chartae"] = lambda case=case: ours(*case)  # type: ignore[misc]
        rows[name] = contest(contestants, repeats, clock)
        print(name, rows[name], flush=True)
        write("training-cuda", result)
        if len(rows) == 1:  # the sweep early on, as its ratio is of interest in itself
            sweeps: dict[str, Callable[[], float]] = {
                label: lambda count=count: many(x[: sizes["mlp"]], count, device)  # type: ignore[misc]
                for label, count in (("one", 1), ("all", seeds))
            }
            row = contest(sweeps, 2, clock)
            if {"one", "all"} <= set(row):
                row["runs per second of a step, all / one"] = round(
                    seeds * row["one"]["median"] / row["all"]["median"], 2
                )
            rows[f"fit_many, {seeds} seeds, vae, smooth:512, fp32"] = row
            print("fit_many", row, flush=True)
    write("training-cuda", result)
