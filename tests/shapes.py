"""The type checker of the test run: it looks at the shapes and dtypes of tensors, and leaves other types to mypy.

What a user may get wrong has error messages of ours, which tests must be able to reach.
"""

from __future__ import annotations

from typing import Any

from beartype import beartype


def check(function: Any) -> Any:
    """beartype over the annotations that name a tensor's shape."""
    hints = getattr(function, "__annotations__", None)
    if hints is None:
        return function
    function.__annotations__ = {k: v for k, v in hints.items() if "jaxtyping" in repr(v) or "Float[" in repr(v)}
    return beartype(function)
