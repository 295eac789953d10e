"""Train the two small classifiers whose features replace Inception's for grey 28 x 28 images.

    python tools/train_extractors.py --data-root DATA              # both, into src/chartae/metrics/weights
    python tools/train_extractors.py --data-root DATA lenet-mnist

DATA holds `mnist/` and `fashion-mnist/`, each with the four gzipped idx files. The test set is used once, after the
last epoch, for the accuracy in the file's metadata. Training uses one thread, so that it is reproducible, and takes two
to three minutes for each classifier.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from chartae.data.catalogue import read_idx
from chartae.metrics.features import LeNet

FOLDERS = {"lenet-mnist": "mnist", "lenet-fashion": "fashion-mnist"}
WEIGHTS = Path(__file__).resolve().parents[1] / "src" / "chartae" / "metrics" / "weights"


def augment(x: Tensor, generator: torch.Generator, *, flip: bool, reach: int = 2) -> Tensor:
    """Shift each image by up to `reach` pixels in both directions and, if `flip`, mirror half of them."""
    n, size = len(x), x.shape[-1]
    dy, dx = torch.randint(0, 2 * reach + 1, (2, n, 1), generator=generator)
    columns = torch.arange(size).expand(n, size)
    if flip:
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, size - 1 - columns, columns)
    rows, columns = torch.arange(size) + dy, columns + dx
    padded = F.pad(x, (reach,) * 4)[:, 0]
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]].unsqueeze(1)


@torch.no_grad()
def accuracy(net: LeNet, images: Tensor, labels: Tensor) -> float:
    net.eval()
    guesses = torch.cat([net.classify(batch / 255).argmax(1) for batch in images.split(1000)])
    return (guesses == labels).double().mean().item()


def train(name: str, folder: Path, *, epochs: int, batch: int, lr: float, seed: int) -> None:
    start = time.perf_counter()
    train_x, train_y, test_x, test_y = (
        torch.tensor(read_idx(folder / f"{stem}-ubyte.gz"))
        for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    )
    images, labels = train_x.view(-1, 1, 28, 28), train_y.long()
    torch.manual_seed(seed)  # for initial weights and dropout; a script may seed the global generator
    generator = torch.Generator().manual_seed(seed)
    net = LeNet().to(memory_format=torch.channels_last)  # twice as fast as the default layout on a CPU
    steps = epochs * (len(images) // batch)
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        net.train()
        total = 0.0
        order = torch.randperm(len(images), generator=generator)
        for rows in order[: len(images) // batch * batch].split(batch):
            x = augment(images[rows] / 255, generator, flip=name == "lenet-fashion")
            loss = F.cross_entropy(net.classify(x), labels[rows], label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"{name} epoch {epoch + 1}/{epochs}: loss {total / (len(images) // batch):.4f}", flush=True)
    test = accuracy(net, test_x.view(-1, 1, 28, 28), test_y.long())
    metadata = {
        "data": FOLDERS[name],
        "test_accuracy": f"{test:.4f}",
        "seed": str(seed),
        "command": f"python tools/train_extractors.py --data-root DATA {name}"
        f" --epochs {epochs} --batch {batch} --lr {lr} --seed {seed}",
        "torch": torch.__version__,
    }
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    path = WEIGHTS / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path, metadata)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(
        f"{name}: test accuracy {test:.4f}, {path.stat().st_size / 1e3:.0f} kB, sha256 {digest[:12]}...,"
        f" {time.perf_counter() - start:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"classifiers to train: {', '.join(FOLDERS)}; default: both")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if unknown := set(args.names) - set(FOLDERS):
        parser.error(f"names has {', '.join(sorted(unknown))}; expected classifiers. Choose from {', '.join(FOLDERS)}.")
    for name in args.names or FOLDERS:
        train(
            name,
            args.data_root / FOLDERS[name],
            epochs=args.epochs,
            batch=args.batch,
            lr=args.lr,
            seed=args.seed,
        )


if __name__ == "__main__":
    main()
