"""Features of a net trained on ImageNet (SqueezeNet 1.1), with which pictures of any kind can be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional as F

from chartae.metrics import Extractor

__all__ = ["WEIGHTS", "ImageNetFeatures"]

#: path of the weights in the folder of named data sets
WEIGHTS = Path("weights") / "squeezenet1.1-imagenet-notop.safetensors"
#: mean of ImageNet's blue, green and red levels
MEAN = (103.939, 116.779, 123.68)
#: side in pixels to which pictures are enlarged
SIDE = 96


class ImageNetFeatures(Extractor):
    """512 features of SqueezeNet 1.1 (Iandola et al., 2016, arXiv 1602.07360): its last fire, averaged.

    A Fréchet distance between these features is not the FID, which uses Inception's.

    Args:
        weights: file of the weights in safetensors, of the port by Wohlert (MIT).
        device: device to compute on; default "cpu". The features stay there, so that distances are computed there too.

    Raises:
        ValueError: there is no file at `weights`.
    """

    name = "imagenet-squeezenet"
    dim = 512
    accuracy = "a linear probe of 3,000 CIFAR-10 pictures classifies 73 % of 1,000 test pictures"
    rule = f"grey repeated to 3 channels, bilinear to {SIDE} x {SIDE}, BGR minus ImageNet's mean"

    def __init__(self, weights: str | Path, device: str | torch.device = "cpu") -> None:
        path = Path(weights)
        if not path.is_file():
            raise ValueError(f"weights is {str(weights)!r}; expected a file of SqueezeNet's weights. Check the path.")
        raw = path.read_bytes()
        self.sha256, self.device = hashlib.sha256(raw).hexdigest(), torch.device(device)
        self.weights = {name: tensor.float().to(self.device) for name, tensor in load(raw).items()}
        self.mean = torch.tensor(MEAN, device=self.device)[:, None, None]

    def __call__(self, images: Tensor | np.ndarray, *, batch: int = 500) -> Tensor:
        x = torch.as_tensor(images).detach()
        self.check(x)
        with torch.no_grad():
            return torch.cat([self.features(part) for part in x.split(batch)])

    def _convolved(self, x: Tensor, name: str, **options: int) -> Tensor:
        return F.relu(F.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], **options))

    def _fire(self, x: Tensor, number: int) -> Tensor:
        squeezed = self._convolved(x, f"fire{number}.squeeze1x1")
        small = self._convolved(squeezed, f"fire{number}.expand1x1")
        return torch.cat([small, self._convolved(squeezed, f"fire{number}.expand3x3", padding=1)], 1)

    def features(self, x: Tensor) -> Tensor:
        pictures = x.to(self.device).float().expand(-1, 3, -1, -1)
        pictures = F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False)
        out = self._convolved(pictures.flip(1) - self.mean, "conv1", stride=2)
        for numbers in ((2, 3), (4, 5), (6, 7, 8, 9)):
            out = F.max_pool2d(out, 3, 2)
            for number in numbers:
                out = self._fire(out, number)
        return out.mean((2, 3))
