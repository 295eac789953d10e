"""The only module that uses private functions of torch and Python; they are faster or take a generator.

Each function falls back on public functions with the same result if a version of torch lacks the private ones, or if
`ALLOWED` is False (tests set it).
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

#: pairs of an operator and its arguments, in a parsed regular expression; the standard library has no types for them
Tree = Iterable[tuple[object, Any]]
#: whether private functions may be used
ALLOWED = True


def _private(root: object, path: str) -> Callable[..., object] | None:
    """Return a private function by its path from a public module, or None if it does not exist."""
    if not ALLOWED:
        return None
    for name in path.split("."):
        root = getattr(root, name, None)
    return cast("Callable[..., object] | None", root)


def transformed() -> bool:
    """Return whether a `torch.func` transform or forward-mode differentiation is active; True if torch cannot say."""
    level = _private(torch, "_C._functorch.maybe_current_level")
    forward = getattr(forward_ad, "_current_level", None)
    return level is None or forward is None or level() is not None or forward >= 0


def has_onednn() -> bool:
    """Return whether `onednn_linear` uses oneDNN."""
    return torch.backends.mkldnn.is_available() and _private(torch, "ops.mkldnn._linear_pointwise") is not None


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b for float32 matrices by oneDNN, without derivatives; by `linear` if torch has no oneDNN.

    Args:
        x: input (N, D).
        weight: matrix W (K, D).
        bias: vector b (K,), or None.

    Returns:
        The product (N, K).
    """
    product = _private(torch, "ops.mkldnn._linear_pointwise")
    if product is None:
        return F.linear(x, weight, bias)
    return cast(Tensor, product(x, weight, bias, "none", [], ""))


def standard_gamma(a: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw from Gamma(a, 1), differentiable with respect to `a`.

    The public function takes no generator, so the fallback seeds torch's global one from `generator` for one draw.

    Args:
        a: concentrations, > 0.
        generator: random generator; default None.

    Returns:
        Draws in the shape of `a`.
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
    """Update each target in place: target += weight (end - target).

    Args:
        targets: tensors to update.
        ends: tensors of the same shapes.
        weight: weight of `ends`, from 0 to 1.
    """
    lerp = _private(torch, "_foreach_lerp_")
    if lerp is not None:
        lerp(list(targets), list(ends), weight)
        return
    for target, end in zip(targets, ends, strict=True):
        target.lerp_(end, weight)


def foreach_copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target, in place.

    Args:
        targets: tensors to overwrite.
        sources: tensors of the same shapes.
    """
    copy = _private(torch, "_foreach_copy_")
    if copy is not None:
        copy(list(targets), list(sources))
        return
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def parsed_regex(pattern: str) -> Tree:
    """Parse a regular expression with the parser of the standard library.

    The public name of the parser is deprecated and warns once when it is imported.

    Args:
        pattern: regular expression.

    Returns:
        The syntax tree.

    Raises:
        re.error: the pattern is not a valid regular expression.
    """
    parser = _private(re, "_parser.parse")
    if parser is not None:
        return cast(Tree, parser(pattern))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import sre_parse
    return cast(Tree, sre_parse.parse(pattern))
