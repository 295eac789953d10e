"""The evaluation protocol that images, tables and points share: sets of features against those of the test set.

The protocol follows the evaluation of the RAE paper (Ghosh et al., 2020, arXiv 1903.12436), with two corrections:
images are rounded and clamped to uint8 before their features are computed, and reconstructions and interpolations are
those of validation examples, so that no example is compared with itself. Each set has n examples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chartae import metrics
from chartae.data import Dataset, as_tensor
from chartae.evaluation.base import Evaluator, Measuring, Reconstruction
from chartae.evaluation.codes import INTERPOLATIONS, Codes, conditions_for, interpolated
from chartae.maths import as_float, sample_rows
from chartae.metrics import Extractor, Reference
from chartae.records.comparison import ComparedColumn
from chartae.records.parsing import Value
from chartae.records.results import Scores
from chartae.runs import Run
from chartae.samplers import by_name

__all__ = ["CODES", "SetEvaluator", "plane"]

#: number of codes and points that are kept for plots
CODES = 2000


def plane(x: Float[Tensor, "N D"]) -> Float[Tensor, "D 2"]:
    """The first two principal axes of centred points; the second is zero if D is 1."""
    axes = torch.linalg.svd(x, full_matrices=False).Vh[:2].T
    return axes if axes.shape[1] == 2 else torch.nn.functional.pad(axes, (0, 1))


class SetEvaluator(Evaluator):
    """Evaluator that compares sets by features, with Fréchet and kernel distance, precision and recall.

    Attributes:
        extractor: feature extractor.
        reference: features of the test set.
        kid_size: number of examples in each subset for the kernel distance.
    """

    options: ClassVar[frozenset[str]] = frozenset({"extractor", "weights"})
    #: how examples are quantised before their features are computed, for the protocol
    quantisation: ClassVar[str] = "none"

    def __init__(self, data: Dataset, measuring: Measuring) -> None:
        if len(data.test) < 20 or len(data.valid) < 20:
            raise ValueError(
                f"{data.name} has {len(data.valid)} validation and {len(data.test)} test examples; comparing sets "
                "needs at least 20 of each. Give more data, or larger splits"
            )
        self.data = data
        extractor = measuring.extractor
        if not isinstance(extractor, Extractor):
            name = extractor or metrics.default_for(data.name, data.shape)
            extractor = metrics.extractor(
                name, reference=self.level(data.train), weights=measuring.weights, device=measuring.device
            )
        self.extractor = extractor
        self.n = min(measuring.n, len(data.test))
        self.reference = Reference(extractor(self.level(data.test)))
        self.kid_size = min(1000, self.n // 2)
        self.floor = self.measure(data.train[sample_rows(len(data.train), self.n)])

    @abstractmethod
    def level(self, x: Tensor) -> Tensor:
        """Examples in the units of the data set, quantised as they are compared."""

    @property
    @abstractmethod
    def errors(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """Reconstruction errors: name -> function from originals and reconstructions (N, ...) to N numbers."""

    @abstractmethod
    def shown(self, run: Run, test: Codes, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Arrays of the examples that a report shows.

        Args:
            run: the run.
            test: codes of test examples.
            drawn: name of each density or sampler -> its samples, in the model's form.
        """

    @property
    def metric(self) -> str:
        return self.extractor.metric

    def measure(self, examples: object) -> Scores:
        """Fréchet and kernel distance, precision, recall, density and coverage of a set against the test set.

        Args:
            examples: examples (N, *shape), in the units of the data set.

        Returns:
            The metrics by name.
        """
        features = self.extractor(self.level(as_tensor(examples, "examples")))
        kid, kid_sd = self.reference.kid(features, subsets=50, subset_size=min(self.kid_size, len(features)))
        frechet = self.reference.frechet(features)
        return Scores({"frechet": frechet, "kid": kid, "kid_sd": kid_sd} | self.reference.prdc(features))

    def generated(self, run: Run, x: Tensor) -> Tensor:
        return self.data.kind.outside(x)

    def protocol(self) -> dict[str, Value]:
        data = self.data
        conditional = "those of the test examples; an interpolation has that of the first code of its pair"
        return {
            "extractor": self.extractor.describe(),
            "n": self.n,
            "reference": f"all {len(data.test)} test examples",
            "samples": "draws of p(x|z), with noise" if data.kind.noise else "means of p(x|z), without noise",
            "reconstructions": "validation examples, against the test set",
            "interpolations": "mid-points of random pairs of validation codes, against the test set",
            "quantisation": self.quantisation,
            "kid": f"cubic polynomial kernel, 50 subsets of {self.kid_size}",
            "neighbours": 5,
            "split": f"train {len(data.train)}, valid {len(data.valid)}, test {len(data.test)}",
            "densities": "fitted to the means of q(z|x) of all training examples",
            **({} if data.condition is None else {"conditions": conditional}),
        }

    def reconstructed(self, run: Run, valid: Codes) -> Iterator[tuple[str, Tensor]]:
        codes = valid[sample_rows(len(valid), self.n)]
        yield "reconstruction", self.generated(run, run.render(codes.z, codes.condition))

    def interpolated(self, run: Run, valid: Codes, seed: int) -> Iterator[tuple[str, Tensor]]:
        for how in INTERPOLATIONS:
            codes = interpolated(valid, self.n, how, seed)
            yield how, self.generated(run, run.render(codes.z, codes.condition))

    def reconstruction(self, run: Run, test: Codes) -> Reconstruction:
        x, totals = self.data.test, dict.fromkeys(self.errors, 0.0)
        for start in range(0, len(x), 1000):
            rows = slice(start, start + 1000)
            codes = test[rows]
            original = as_float(x[rows].to(codes.z.device))
            image = self.data.kind.outside(run.decode_inside(codes.z, codes.condition))
            for name, measure in self.errors.items():
                totals[name] += measure(original, image).sum().item()
        return Reconstruction(Scores({name: total / len(x) for name, total in totals.items()}))

    def pictures(self, run: Run, test: Codes, densities: Sequence[str], seed: int) -> dict[str, NDArray[np.generic]]:
        """Codes on their first two principal axes, and examples."""
        codes, data = test[:CODES], self.data
        conditions = conditions_for(data, CODES)
        rows = run.conditions(conditions, CODES)
        generator = lambda: torch.Generator(codes.z.device).manual_seed(seed)  # noqa: E731
        draws = {
            name: run.density(name).sample(CODES, condition=rows, generator=generator()).detach()
            for name in densities
            if name not in by_name.NAMES
        }
        drawn = {name: run.render(z, conditions, seed=seed, noise=None) for name, z in draws.items()}
        for name in densities:
            if name in by_name.NAMES:
                drawn[name] = self.drawn(run, name, seed, self.shown_of_chains)
        centre = codes.z.mean(0)
        axes = plane(codes.z - centre)
        arrays = {"latent": (codes.z - centre) @ axes}
        arrays |= {f"latent_{name}": (z - centre) @ axes for name, z in draws.items()}
        if data.test_labels is not None and not data.test_labels.is_floating_point():
            arrays["latent_labels"] = data.test_labels[:CODES]
        arrays |= self.shown(run, codes, drawn)
        return {key: value.numpy(force=True) for key, value in arrays.items()}

    #: number of samples drawn for plots from a sampler, whose chains take long
    shown_of_chains: ClassVar[int] = CODES

    def columns(self, densities: Sequence[str]) -> dict[str, ComparedColumn]:
        names = ("reconstruction", "own", *densities, *INTERPOLATIONS)
        return {name: ComparedColumn(name) for name in names}
