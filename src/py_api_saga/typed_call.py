"""The type of a call, for type checkers alone: nothing imports this when it runs."""

from collections.abc import Callable
from typing import Any, TypeAlias

from typing_extensions import TypeVar

# Eight for an action, eight for its compensation. With the defaults a bare `TypedCall` is a call
# of anything; `typing.TypeVar` has them only from Python 3.13.
A1 = TypeVar("A1", default=Any)
A2 = TypeVar("A2", default=Any)
A3 = TypeVar("A3", default=Any)
A4 = TypeVar("A4", default=Any)
A5 = TypeVar("A5", default=Any)
A6 = TypeVar("A6", default=Any)
A7 = TypeVar("A7", default=Any)
A8 = TypeVar("A8", default=Any)
B1 = TypeVar("B1", default=Any)
B2 = TypeVar("B2", default=Any)
B3 = TypeVar("B3", default=Any)
B4 = TypeVar("B4", default=Any)
B5 = TypeVar("B5", default=Any)
B6 = TypeVar("B6", default=Any)
B7 = TypeVar("B7", default=Any)
B8 = TypeVar("B8", default=Any)

# A union of fixed arities: overloads over a TypeVarTuple reject right calls in mypy (omitted
# defaults). Lists, and calls with more than eight arguments, are not checked.
TypedCall: TypeAlias = (
    Callable[[], object]
    | tuple[Callable[[], object]]
    | tuple[Callable[[A1], object], A1]
    | tuple[Callable[[A1, A2], object], A1, A2]
    | tuple[Callable[[A1, A2, A3], object], A1, A2, A3]
    | tuple[Callable[[A1, A2, A3, A4], object], A1, A2, A3, A4]
    | tuple[Callable[[A1, A2, A3, A4, A5], object], A1, A2, A3, A4, A5]
    | tuple[Callable[[A1, A2, A3, A4, A5, A6], object], A1, A2, A3, A4, A5, A6]
    | tuple[Callable[[A1, A2, A3, A4, A5, A6, A7], object], A1, A2, A3, A4, A5, A6, A7]
    | tuple[Callable[[A1, A2, A3, A4, A5, A6, A7, A8], object], A1, A2, A3, A4, A5, A6, A7, A8]
    | tuple[Callable[..., object], Any, Any, Any, Any, Any, Any, Any, Any, Any, *tuple[Any, ...]]
    | list[Any]
)
