"""The one place that uses what torch keeps to itself: faster, or with a generator, and never needed.

Each function does the same by public means where a version of torch lacks the private ones, or where `ALLOWED` is
False (as a test sets it).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from chartae.maths.random import Stream

__all__ = [
    "ALLOWED",
    "Tree",
    "foreach_copy_",
    "foreach_lerp_",
    "has_onednn",
    "onednn_linear",
    "parsed_regex",
    "standard_gamma",
    "transformed",
]

#: pairs of an operator and what it is applied to; the standard library has no types for them
Tree = Iterable[tuple[object, Any]]
#: whether the private ways may be used
ALLOWED = True


def _private(root: object, path: str) -> Callable[..., object] | None:
    """A private function by its path from a public module; None where there is none."""
    if not ALLOWED:
        return None
    for name in path.split("."):
        root = getattr(root, name, None)
    return cast("Callable[..., object] | None", root)


def transformed() -> bool:
    """Whether `torch.func` transforms or forward-mode differentiation are at work; True where torch does not say."""
    level = _private(torch, "_C._functorch.maybe_current_level")
    forward = getattr(forward_ad, "_current_level", None)
    return level is None or forward is None or level() is not None or forward >= 0


def has_onednn() -> bool:
    """Whether `onednn_linear` uses oneDNN."""
    return torch.backends.mkldnn.is_available() and _private(torch, "ops.mkldnn._linear_pointwise") is not None


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b of float32 matrices by oneDNN, without derivatives; by `linear` where torch does not have it."""
    product = _private(torch, "ops.mkldnn._linear_pointwise")
    if product is None:
        return F.linear(x, weight, bias)
    return cast(Tensor, product(x, weight, bias, "none", [], ""))


def standard_gamma(a: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draws of Gamma(a, 1) in the shape of `a`, differentiable in `a`.

    The public way has no generator: it seeds torch's process-wide one from ours, for the length of the draw.
    """
    draw = _private(torch, "_standard_gamma")
    if draw is not None:
        return cast(Tensor, draw(a.contiguous(), generator))
    gamma = torch.distributions.Gamma(a, torch.ones_like(a), validate_args=False)
    if generator is None:
        return gamma.rsample()
    seed = int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
    with Stream(seed).lent(a.device):
        return gamma.rsample()


def foreach_lerp_(targets: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """target += weight (end - target) for each pair, in place."""
    lerp = _private(torch, "_foreach_lerp_")
    if lerp is not None:
        lerp(list(targets), list(ends), weight)
        return
    for target, end in zip(targets, ends, strict=True):
        target.lerp_(end, weight)


def foreach_copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Each target becomes its source, in place."""
    copy = _private(torch, "_foreach_copy_")
    if copy is not None:
        copy(list(targets), list(sources))
        return
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def parsed_regex(pattern: str) -> Tree:
    """The syntax tree of a regular expression, as the standard library parses it; a `re.error` where it cannot.

    The public name of the parser is deprecated, and warns once where it is imported.
    """
    parser = _private(re, "_parser.parse")
    if parser is not None:
        return cast(Tree, parser(pattern))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import sre_parse
    return cast(Tree, sre_parse.parse(pattern))
