"""Feature extractors: they map examples to the feature vectors that `sets` compares.

A Fréchet distance depends on its features, so each extractor names the metric that it yields: only the Inception
network of 2015 yields "fid", the others yield "frechet-<name>". Images are uint8: the protocol quantises first
(`to_uint8`), so that a generator is evaluated on images as they would be written to a file.
"""

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

from chartae.records.choices import one_of

__all__ = ["NAMES", "Extractor", "Inception", "LeNet", "LeNetFeatures", "Pixels", "default_for", "extractor"]


class Extractor(ABC):
    """Abstract feature extractor: a callable from examples (N, ...) to float32 features (N, dim).

    It works in batches and without gradients. A subclass defines `features`, and `check` where it reads other inputs
    than uint8 images of 1 or 3 channels.

    Attributes:
        name: name of the extractor, as in `extractor` and on the command line.
        dim: number of features.
        sha256: SHA-256 of the weights, hexadecimal.
        accuracy: evidence for the features in words, such as a classifier's test accuracy.
        rule: preprocessing of an example, in words.
    """

    name: str
    dim: int
    sha256: str
    accuracy: str
    rule: str

    @property
    def metric(self) -> str:
        """Name of the Fréchet distance between these features; "fid" only for Inception."""
        return f"frechet-{self.name}"

    def describe(self) -> dict[str, str | int]:
        """Everything that must be equal for two metrics to be comparable, as plain values."""
        return {
            "name": self.name,
            "metric": self.metric,
            "dim": self.dim,
            "sha256": self.sha256,
            "accuracy": self.accuracy,
            "input": self.rule,
        }

    def __call__(self, images: Tensor | np.ndarray, *, batch: int = 500) -> Float[Tensor, "N dim"]:
        """The features of examples.

        Args:
            images: uint8 images (N, C, H, W), N >= 1; `Pixels` also reads vectors (N, D).
            batch: number of examples processed at a time.

        Returns:
            Features (N, dim), float32, on the CPU.

        Raises:
            TypeError: the images are not uint8 (`to_uint8` quantises them).
            ValueError: the extractor cannot read this shape, or there are no examples.
        """
        x = torch.as_tensor(images).detach()
        self.check(x)
        if not len(x):
            raise ValueError(f"images has shape {tuple(x.shape)}; expected at least one example")
        with torch.no_grad():
            return torch.cat([self.features(part).float().cpu() for part in x.split(batch)])

    def check(self, x: Tensor) -> None:
        """Raise an error if the extractor cannot read `x`."""
        if x.dtype != torch.uint8:
            raise TypeError(f"images are {x.dtype}; {self.name} expects uint8. Quantise them with to_uint8")
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"images have shape {tuple(x.shape)}; {self.name} expects (N, C, H, W) with C = 1 or 3")

    @abstractmethod
    def features(self, x: Tensor) -> Float[Tensor, "B dim"]:
        """The features of one batch, which has passed `check`."""


class LeNet(nn.Module):
    """Small classifier of 28 x 28 grey images in [0, 1]: two convolutions, 128 hidden units, 10 classes.

    The forward pass returns the 128 hidden units after their ReLU. After LeCun, Bottou, Bengio, Haffner,
    "Gradient-Based Learning Applied to Document Recognition", 1998.

    >>> import torch
    >>> from chartae.metrics.features import LeNet
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
        # ReLU and max commute, and after pooling the ReLU has a quarter of the work
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.dropout(x.flatten(1), 0.25, self.training)
        return F.relu(self.hidden(x))

    def classify(self, x: Float[Tensor, "B 1 28 28"]) -> Float[Tensor, "B 10"]:
        """The logits of the ten classes."""
        return self.head(F.dropout(self(x), 0.5, self.training))


class LeNetFeatures(Extractor):
    """128 features of a small convolutional classifier (LeNet) trained on MNIST or Fashion-MNIST.

    The features are the last hidden layer after its ReLU; the weights are part of the package. Images are uint8 with
    one or three channels, which are averaged to grey. A size of 32 x 32 is cropped by two pixels on every side
    (zero-padded MNIST); any size but 28 x 28 and 32 x 32 is interpolated bilinearly with antialiasing.

    Args:
        name: ``"lenet-mnist"`` or ``"lenet-fashion"``.
        device: device to compute on; default ``"cpu"``. The features are returned on the CPU.

    >>> import torch
    >>> from chartae.metrics import LeNetFeatures
    >>> features = LeNetFeatures("lenet-mnist")
    >>> features(torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape, features.metric
    (torch.Size([3, 128]), 'frechet-lenet-mnist')
    """

    dim = 128
    rule = "uint8 / 255, mean of channels, 28 x 28: 32 x 32 centre-cropped, other sizes by antialiased bilinear"

    def __init__(self, name: str, device: str | torch.device = "cpu") -> None:
        # imported here, because the other metrics do not need it
        from safetensors.torch import load

        raw = (resources.files("chartae.metrics") / "weights" / f"{name}.safetensors").read_bytes()
        metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
        self.name = name
        self.sha256 = hashlib.sha256(raw).hexdigest()
        self.accuracy = (
            f"{float(metadata['test_accuracy']):.2%} of the {metadata['data']} test set classified correctly"
        )
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
    """Principal components of the examples themselves, for data without a suitable pretrained network.

    The components are fitted to a reference set. Images (uint8) are scaled to [0, 1] and centred; vectors are
    standardised column by column, and a constant column is only centred. The components are not whitened, so the
    Fréchet distance is in squared units of the scaled data. The attribute `sha256` is that of the reference examples.

    Args:
        reference: reference examples, usually the training set: uint8 images (N, C, H, W) or vectors (N, D), N >= 2.
        dim: number of components; default 64, lowered to N - 1 or to the number of values of an example if these are
            smaller.
        device: device to compute on; default ``"cpu"``. The features are returned on the CPU.
        limit: maximal number of reference examples to fit on, drawn with seed 0; default 10,000.

    Raises:
        ValueError: the reference has fewer than 2 examples, another shape, or values that are not finite.
        TypeError: the images are not uint8 (`to_uint8` quantises them).

    >>> import torch
    >>> from chartae.metrics import Pixels
    >>> x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    >>> features = Pixels(x)
    >>> features.dim, features(x).shape
    (3, torch.Size([50, 3]))
    """

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
            raise ValueError(f"reference holds {len(x)} examples; expected at least 2")
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
            raise TypeError(f"images are {x.dtype}; pixels expects uint8. Quantise them with to_uint8")
        if x.ndim not in (2, 4):
            raise ValueError(f"examples have shape {tuple(x.shape)}; pixels expects (N, D) or (N, C, H, W)")
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"each example has shape {tuple(x.shape[1:])}; expected {self.shape}, the shape of the reference"
            )
        if x.is_floating_point() and not x.isfinite().all():
            raise ValueError("some examples are not finite; expected finite numbers. Drop or impute them first")

    def features(self, x: Tensor) -> Tensor:
        flat = x.to(self.device).flatten(1).float() / (255 if x.ndim == 4 else 1)
        return (flat - self.centre) @ self.axes


class Inception(Extractor):
    """2048 pooled features of the Inception network of 2015-12-05, those behind published FIDs.

    The network is torch-fidelity's port (``pip install 'chartae[inception]'``); nothing is downloaded. It reads uint8
    images of any size and resizes them to 299 x 299 internally, as TensorFlow 1 did. Grey images are repeated to three
    channels. The Fréchet distance between these features is the FID.

    Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, "GANs Trained by a Two Time-Scale Update Rule Converge
    to a Local Nash Equilibrium", 2017 (arXiv 1706.08500).

    Args:
        weights: path of the weights, ``weights-inception-2015-12-05-6726825d.pth`` from torch-fidelity's releases.
        device: device to compute on; default ``"cpu"``. The features are returned on the CPU.

    Raises:
        ValueError: there is no file at `weights`.
        ImportError: torch-fidelity is not installed.

    >>> from chartae.metrics import Inception
    >>> Inception.dim
    2048
    >>> Inception("absent.pth")
    Traceback (most recent call last):
    ValueError: weights is 'absent.pth', which is not a file; expected the path of the Inception weights...
    """

    name = "inception"
    dim = 2048
    accuracy = "the 2015-12-05 graph, pool_3, as ported by torch-fidelity"
    rule = "uint8 at native size, grey repeated to 3 channels, resized to 299 x 299 inside the net"

    def __init__(self, weights: str | Path, device: str | torch.device = "cpu") -> None:
        path = Path(weights)
        if not path.is_file():
            raise ValueError(
                f"weights is {str(weights)!r}, which is not a file; expected the path of the Inception weights, "
                "weights-inception-2015-12-05-6726825d.pth"
            )
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ImportError(
                f"inception needs torch-fidelity ({error}). Install it with pip install 'chartae[inception]'"
            ) from error
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
        raise ValueError("reference is None; pixels is fitted to data. Pass reference=<training examples>")
    return Pixels(reference, device=device)


def _inception(
    reference: Tensor | np.ndarray | None, weights: str | Path | None, device: str | torch.device
) -> Extractor:
    if weights is None:
        raise ValueError(
            "weights is None; inception needs its weights. Pass weights=<path of "
            "weights-inception-2015-12-05-6726825d.pth>"
        )
    return Inception(weights, device)


_BUILDERS: dict[str, Callable[..., Extractor]] = {
    "lenet-mnist": lambda reference, weights, device: LeNetFeatures("lenet-mnist", device),
    "lenet-fashion": lambda reference, weights, device: LeNetFeatures("lenet-fashion", device),
    "pixels": _pixels,
    "inception": _inception,
}

#: names of the extractors that `extractor` builds
NAMES = tuple(_BUILDERS)


def extractor(
    name: str,
    *,
    reference: Tensor | np.ndarray | None = None,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Extractor:
    """Build a feature extractor by name.

    Arguments that an extractor does not need are ignored, so one call serves all.

    Args:
        name: ``"lenet-mnist"``, ``"lenet-fashion"``, ``"pixels"`` or ``"inception"``.
        reference: examples to fit ``"pixels"`` to, usually the training set: uint8 images (N, C, H, W) or vectors
            (N, D).
        weights: path of the weights for ``"inception"``, ``weights-inception-2015-12-05-6726825d.pth``.
        device: device to compute on; default ``"cpu"``.

    Returns:
        The extractor, a callable from examples (N, ...) to features (N, dim).

    Raises:
        ValueError: `name` is unknown, or the `reference` or `weights` that this extractor needs is missing.

    >>> import torch
    >>> from chartae.metrics import extractor
    >>> extractor("lenet-mnist")(torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([3, 128])
    """
    if name not in _BUILDERS:
        raise ValueError(f"name is {name!r}; {one_of(name, NAMES)}")
    return _BUILDERS[name](reference, weights, device)


def default_for(dataset: str, shape: Sequence[int]) -> str:
    """Name of the default extractor for a data set: a LeNet for MNIST-like images, else ``"pixels"``.

    Args:
        dataset: name of the data set.
        shape: shape of one example, (C, H, W) for images.

    Returns:
        A name that `extractor` knows.

    >>> from chartae.metrics import default_for
    >>> default_for("fashion-mnist", (1, 28, 28)), default_for("cifar10", (3, 32, 32))
    ('lenet-fashion', 'pixels')
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        return "pixels"
    known = {"mnist": "lenet-mnist", "fashion-mnist": "lenet-fashion", "fashion-mini": "lenet-fashion"}
    return known.get(dataset, "pixels")
