"""Classes of errors, read past whatever a metaclass makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

lineage = type.__dict__["__mro__"].__get__
qualname_of = type.__dict__["__qualname__"].__get__
module_of = type.__dict__["__module__"].__get__

_MOST = 256


def name_of(kind: type) -> str:
    """Name a class as "module.Class"; a module that is not a text names nothing."""
    module = module_of(kind)
    return f"{module}.{qualname_of(kind)}" if type(module) is str else ""


def by_class(find: Callable[[type], T]) -> Callable[[BaseException], T]:
    """Have what is asked of an error answered by its class, once for each class.

    A process meets few types of errors, and these again and again. By id, since the metaclass of
    one may compare in its own way; a class that is kept keeps its id.
    """
    met: dict[int, tuple[type, T]] = {}

    def found(error: BaseException) -> T:
        kind = type(error)
        try:
            return met[id(kind)][1]
        except KeyError:
            if len(met) >= _MOST:
                met.clear()
            met[id(kind)] = kind, find(kind)
        return met[id(kind)][1]

    return found
