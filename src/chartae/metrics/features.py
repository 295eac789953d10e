"""Extractors: what turns examples into the feature vectors that the numbers of `sets` compare.

A Fréchet distance means nothing without its features, so an extractor carries the name of the number it
makes: only the 2015 Inception net makes a "fid", the others a "frechet-<name>". Images come in as uint8: the
protocol quantises first (`images.to_uint8`), so that a generator is measured on pictures that could be
written to a file."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["NAMES", "Extractor", "Inception", "LeNet", "LeNetFeatures", "Pixels", "default_for", "extractor"]


class Extractor(ABC):
    """Examples to features: a callable `images -> (N, dim)`, float32, in batches, without gradients."""

    #: the extractor's name, as the factory and the command line know it
    name: str
    #: the number of features
    dim: int
    #: sha256 of the weights, hexadecimal
    sha256: str
    #: the stated accuracy of a classifier's features, or what else vouches for them
    accuracy: str
    #: what happens to an example on its way in
    rule: str

    @property
    def metric(self) -> str:
        """The name of the Fréchet distance between these features: "fid" for Inception alone."""
        return f"frechet-{self.name}"

    def describe(self) -> dict[str, str | int]:
        """Everything that must be equal for two numbers to be comparable, as plain values."""
        return {
            "name": self.name,
            "metric": self.metric,
            "dim": self.dim,
            "sha256": self.sha256,
            "accuracy": self.accuracy,
            "input": self.rule,
        }

    def __call__(self, images: Tensor | np.ndarray, *, batch: int = 500) -> Float[Tensor, "N dim"]:
        """The features of `images` (N, ...), `batch` at a time, on the CPU.

        Raises:
            TypeError: images that are not uint8 (`to_uint8` quantises them).
            ValueError: a shape the extractor cannot read, or no examples at all.
        """
        x = torch.as_tensor(images).detach()
        self.check(x)
        if not len(x):
            raise ValueError("no examples were given; features need at least one")
        with torch.no_grad():
            return torch.cat([self.features(part).float().cpu() for part in x.split(batch)])

    def check(self, x: Tensor) -> None:
        """Raise what is wrong with `x`, if anything is."""
        if x.dtype != torch.uint8:
            raise TypeError(f"images are {x.dtype}; {self.name} reads uint8: quantise them first with to_uint8")
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"images have shape {tuple(x.shape)}; {self.name} reads (N, 1 or 3 channels, H, W)")

    @abstractmethod
    def features(self, x: Tensor) -> Float[Tensor, "B dim"]:
        """The features of one batch that has passed `check`."""


class LeNet(nn.Module):
    """A small classifier of 28 x 28 grey images in [0, 1]: two convolutions, 128 hidden units, 10 classes.

    Called, it returns the 128 hidden units after their ReLU. After LeCun, Bottou, Bengio, Haffner,
    "Gradient-Based Learning Applied to Document Recognition", 1998.

    >>> LeNet()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 128])
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.hidden = nn.Linear(32 * 5 * 5, 128)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Float[Tensor, "B 1 28 28"]) -> Float[Tensor, "B 128"]:
        # ReLU and max commute, and after the pool there is a quarter of the work
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.dropout(x.flatten(1), 0.25, self.training)
        return F.relu(self.hidden(x))

    def classify(self, x: Float[Tensor, "B 1 28 28"]) -> Float[Tensor, "B 10"]:
        """The logits of the ten classes."""
        return self.head(F.dropout(self(x), 0.5, self.training))


class LeNetFeatures(Extractor):
    """The 128 features, after their ReLU, of a `LeNet` trained on MNIST or Fashion-MNIST (weights in the
    package).

    One or three channels (grey is their mean); 28 x 28 is read as it is, 32 x 32 loses the two outermost
    pixels on every side (zero-padded MNIST), any other size is interpolated bilinearly, with antialiasing.
    """

    dim = 128
    rule = "uint8 / 255, mean of channels, 28 x 28: 32 x 32 centre-cropped, other sizes by antialiased bilinear"

    def __init__(self, name: str, device: str | torch.device = "cpu") -> None:
        # imported here: a package that only computes SSIM does not need it
        from safetensors.torch import load

        raw = (resources.files("chartae.metrics") / "weights" / f"{name}.safetensors").read_bytes()
        made = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
        self.name = name
        self.sha256 = hashlib.sha256(raw).hexdigest()
        self.accuracy = f"{float(made['test_accuracy']):.2%} of the {made['data']} test set classified correctly"
        self.device = torch.device(device)
        self.net = LeNet().float()
        self.net.load_state_dict(load(raw))
        self.net.eval().requires_grad_(False).to(self.device)

    def features(self, x: Tensor) -> Tensor:
        x = x.to(self.device).float().mean(1, keepdim=True) / 255
        if x.shape[-2:] == (32, 32):
            x = x[..., 2:-2, 2:-2]
        elif x.shape[-2:] != (28, 28):
            x = F.interpolate(x, (28, 28), mode="bilinear", antialias=True)
        return self.net(x)


class Pixels(Extractor):
    """Principal components of the examples themselves, for data that no trained net knows: any image, any
    table.

    Fitted on a reference (training) set, of which at most 10,000 examples, drawn with seed 0, are used.
    Images (uint8) are scaled to [0, 1] and centred; vectors (N, D) are standardised, column by column (a
    constant column is only centred). The components are not whitened, so the Fréchet distance is in squared
    units of the scaled data. `dim` is lowered to what the reference can carry. The sha256 is that of the
    reference examples."""

    name = "pixels"

    def __init__(
        self,
        reference: Tensor | np.ndarray,
        *,
        dim: int = 64,
        device: str | torch.device = "cpu",
        limit: int = 10_000,
    ) -> None:
        from sklearn.decomposition import PCA

        x = torch.as_tensor(reference).detach().cpu()
        self.shape = tuple(x.shape[1:])
        self.check(x)
        if len(x) < 2:
            raise ValueError(f"the reference holds {len(x)} examples; principal components need at least 2")
        if len(x) > limit:
            x = x[np.sort(np.random.default_rng(0).choice(len(x), limit, replace=False))]
        self.sha256 = hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()
        self.device = torch.device(device)
        flat = x.flatten(1).float() / (255 if x.ndim == 4 else 1)
        centre = flat.mean(0)
        scale = flat.std(0) if x.ndim == 2 else torch.ones_like(centre)
        scale = torch.where(scale > 0, scale, 1)
        self.dim = min(dim, len(x) - 1, flat.shape[1])
        pca = PCA(self.dim, random_state=0).fit(((flat - centre) / scale).numpy())
        self.accuracy = f"{pca.explained_variance_ratio_.sum():.1%} of the reference's variance kept"
        self.rule = "uint8 / 255, centred" if x.ndim == 4 else "columns standardised by the reference"
        axes = torch.from_numpy(pca.components_).float().T / scale.unsqueeze(-1)
        self.centre, self.axes = centre.to(self.device), axes.contiguous().to(self.device)

    def check(self, x: Tensor) -> None:
        if x.ndim == 4 and x.dtype != torch.uint8:
            raise TypeError(f"images are {x.dtype}; pixels reads uint8: quantise them first with to_uint8")
        if x.ndim not in (2, 4):
            raise ValueError(f"examples have shape {tuple(x.shape)}; pixels reads (N, D) or (N, C, H, W)")
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"examples have shape {tuple(x.shape[1:])}, the reference had {self.shape}")
        if x.is_floating_point() and not x.isfinite().all():
            raise ValueError("some examples are not finite; drop or impute them before they are compared")

    def features(self, x: Tensor) -> Tensor:
        flat = x.to(self.device).flatten(1).float() / (255 if x.ndim == 4 else 1)
        return (flat - self.centre) @ self.axes


class Inception(Extractor):
    """The 2048 pooled features of the Inception net of 2015-12-05: those of the published FID numbers.

    The net is torch-fidelity's port (`pip install 'chartae[inception]'`) with a file of weights the caller
    has (`weights-inception-2015-12-05-6726825d.pth` of torch-fidelity's releases; nothing is downloaded). It
    reads 0..255 at native size and resizes itself, as TensorFlow 1 did; grey images are repeated to three
    channels.

    Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, "GANs Trained by a Two Time-Scale Update Rule Converge
    to a Local Nash Equilibrium", 2017 (arXiv 1706.08500)."""

    name = "inception"
    dim = 2048
    accuracy = "the 2015-12-05 graph, pool_3, as ported by torch-fidelity"
    rule = "uint8 at native size, grey repeated to 3 channels, resized to 299 x 299 inside the net"

    def __init__(self, weights: str | Path, device: str | torch.device = "cpu") -> None:
        path = Path(weights)
        if not path.is_file():
            raise ValueError(f"weights={str(weights)!r} is not a file; give the Inception weights you have")
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ImportError(f"inception needs torch-fidelity: pip install 'chartae[inception]' ({error})") from error
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.device = torch.device(device)
        net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
        self.net = net.eval().to(self.device)

    @property
    def metric(self) -> str:
        return "fid"

    def __call__(self, images: Tensor | np.ndarray, *, batch: int = 50) -> Float[Tensor, "N 2048"]:
        return super().__call__(images, batch=batch)

    def features(self, x: Tensor) -> Tensor:
        (out,) = self.net(x.to(self.device).expand(-1, 3, -1, -1))
        return out


def _pixels(reference: Tensor | np.ndarray | None, weights: str | Path | None, device: str | torch.device) -> Extractor:
    if reference is None:
        raise ValueError("pixels is fitted to data: give reference=<training examples>")
    return Pixels(reference, device=device)


def _inception(
    reference: Tensor | np.ndarray | None, weights: str | Path | None, device: str | torch.device
) -> Extractor:
    if weights is None:
        raise ValueError("inception needs weights=<path of weights-inception-2015-12-05-6726825d.pth>")
    return Inception(weights, device)


_MAKERS: dict[str, Callable[..., Extractor]] = {
    "lenet-mnist": lambda reference, weights, device: LeNetFeatures("lenet-mnist", device),
    "lenet-fashion": lambda reference, weights, device: LeNetFeatures("lenet-fashion", device),
    "pixels": _pixels,
    "inception": _inception,
}

#: the extractors `extractor` can make
NAMES = tuple(_MAKERS)


def extractor(
    name: str,
    *,
    reference: Tensor | np.ndarray | None = None,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Extractor:
    """An extractor by name: lenet-mnist, lenet-fashion, pixels (needs `reference`) or inception (needs
    `weights`).

    What a member does not need, it ignores, so that one call serves all.

    >>> extractor("lenet-mnist")(torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([3, 128])
    """
    if name not in _MAKERS:
        raise ValueError(f"there is no extractor {name!r}; choose one of {', '.join(NAMES)}")
    return _MAKERS[name](reference, weights, device)


def default_for(dataset: str, shape: Sequence[int]) -> str:
    """The extractor for a data set, by its name and the shape of one example.

    >>> default_for("fashion-mnist", (1, 28, 28)), default_for("cifar10", (3, 32, 32))
    ('lenet-fashion', 'pixels')
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        return "pixels"
    known = {"mnist": "lenet-mnist", "fashion-mnist": "lenet-fashion", "fashion-mini": "lenet-fashion"}
    return known.get(dataset, "pixels")
