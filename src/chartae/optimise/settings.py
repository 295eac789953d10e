"""The settings of a search as keywords."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection
from typing import TypeVar

from chartae.records.search import METHODS, OF_A_RUN, Search

__all__ = ["METHODS", "OF_A_RUN", "Search", "lists_fields"]

Function = TypeVar("Function", bound=Callable[..., object])


def lists_fields(fields_of: type, *, without: Collection[str] = ()) -> Callable[[Function], Function]:
    """Decorator that lists the fields of a dataclass in a function's signature, in place of ``**settings``.

    Args:
        fields_of: dataclass whose fields are listed.
        without: names of fields to leave out.

    Returns:
        The decorator.

    >>> import inspect
    >>> from chartae.optimise.settings import Search, lists_fields
    >>> @lists_fields(Search)
    ... def look(run, **settings): ...
    >>> list(inspect.signature(look).parameters)[:3]
    ['run', 'rounds', 'batch']
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        kept = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        names = {p.name for p in kept} | set(without)
        more = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default if field.default_factory is dataclasses.MISSING else field.default_factory(),
                annotation=field.type,
            )
            for field in dataclasses.fields(fields_of)
            if field.name not in names
        ]
        function.__signature__ = signature.replace(parameters=kept + more)  # type: ignore[attr-defined]
        return function

    return decorate
